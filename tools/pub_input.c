/* SPDX-License-Identifier: MIT */
/* Lines of a descriptor as messages. Reads large blocks and splits them in place; holds messages
 * back only while more input is there to be read at once, so that a line that comes alone goes out
 * alone. */

#include "pub_input.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"

/* A pipe holds 64 KiB unless somebody made it larger. */
#define READ_BYTES ((size_t) 256 * 1024)

struct input {
    struct sender *sender;
    int fd;
    char delimiter;
    char *buffer;
    size_t size;
    size_t used;     /* the buffer holds the beginning of one line so long */
    uint64_t n_line; /* lines published so far */
};

static int say_error(const struct input *in, int error)
{
    if (error == EMSGSIZE) {
        tool_error(
            "line %llu of standard input is longer than %zu bytes, the most that one message "
            "can have here; it and what follows was not published%s",
            (unsigned long long) in->n_line + 1, bus_body_max(in->sender->conn),
            sender_size_hint(in->sender));
    }
    return -error;
}

/* Publishes the whole lines of the buffer and moves the rest to its front. searched is how much of
 * it is known to hold no delimiter. */
static int publish_lines(struct input *in, size_t searched)
{
    char *line = in->buffer;
    char *end = in->buffer + in->used;
    char *found = memchr(line + searched, in->delimiter, in->used - searched);

    while (found) {
        int r = sender_publish(in->sender, line, (size_t) (found - line));

        if (r < 0) {
            return say_error(in, -r);
        }
        in->n_line++;
        line = found + 1;
        found = memchr(line, in->delimiter, (size_t) (end - line));
    }
    in->used = (size_t) (end - line);
    memmove(in->buffer, line, in->used);
    return in->used > bus_body_max(in->sender->conn) ? say_error(in, EMSGSIZE) : 0;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* Until there is input. The connection is served meanwhile. */
static int wait_for_input(struct input *in)
{
    struct pollfd fds[] = {{.fd = in->fd, .events = POLLIN},
                           {.fd = bus_fd(in->sender->conn), .events = POLLIN},
                           {.fd = tool_signal_fd(), .events = POLLIN}};
    int r;

    for (;;) {
        if (tool_interrupted()) {
            return -EINTR;
        }
        if (poll(fds, ARRAY_LEN(fds), -1) < 0) {
            continue; /* EINTR */
        }
        if (fds[1].revents) {
            r = bus_process(in->sender->conn);
            if (r < 0) {
                return r;
            }
            if (in->sender->refused) {
                return -ECANCELED;
            }
        }
        if (fds[0].revents) {
            return 0;
        }
    }
}

/* One block, and its lines: 1 to go on, 0 at the end of file. */
static int step(struct input *in)
{
    size_t before = in->used;
    ssize_t n;
    int r = 0;

    if (!is_readable(in->fd)) {
        sender_release(in->sender);
        r = wait_for_input(in);
    }
    if (r < 0) {
        return r;
    }
    n = read(in->fd, in->buffer + in->used, in->size - in->used);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return tool_interrupted() ? -EINTR : 1;
    }
    if (n < 0) {
        r = -errno;
        tool_error("cannot read standard input: %s", strerror(errno));
        return r;
    }
    if (n == 0) {
        return 0;
    }
    in->used += (size_t) n;
    sender_hold(in->sender);
    r = publish_lines(in, before);
    return r < 0 ? r : tool_interrupted() ? -EINTR : 1;
}

int input_publish(struct sender *sender, int fd, char delimiter)
{
    struct input in = {.sender = sender, .fd = fd, .delimiter = delimiter};
    int r;

    in.size = bus_body_max(sender->conn) + 1 + READ_BYTES;
    in.buffer = malloc(in.size);
    if (!in.buffer) {
        tool_error("out of memory");
        return -ENOMEM;
    }
    do {
        r = step(&in);
    } while (r > 0);
    if (r == 0 && in.used > 0) { /* the last line has no delimiter */
        r = sender_publish(sender, in.buffer, in.used);
        r = r < 0 ? say_error(&in, -r) : 0;
    }
    free(in.buffer);
    return r;
}
