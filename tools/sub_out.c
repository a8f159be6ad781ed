/* SPDX-License-Identifier: MIT */
/* Output of bus-sub: one large buffer in front of a descriptor. */

#include "sub_out.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#include "common.h"

bool out_init(struct out *o, int fd)
{
    *o = (struct out){.fd = fd, .buffer = malloc(OUT_BYTES)};
    return o->buffer != NULL;
}

void out_fini(struct out *o)
{
    free(o->buffer);
    o->buffer = NULL;
}

/* After a failed write: waits if that helps, else remembers the error. */
static void recover(struct out *o)
{
    struct pollfd fds[] = {{.fd = o->fd, .events = POLLOUT},
                           {.fd = tool_signal_fd(), .events = POLLIN}};

    if (tool_interrupted()) {
        o->error = EINTR;
    } else if (errno == EAGAIN) { /* somebody else's O_NONBLOCK on a shared terminal or pipe */
        (void) poll(fds, ARRAY_LEN(fds), -1);
    } else if (errno != EINTR) {
        o->error = errno;
    }
}

static size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

static bool is_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, 0) > 0;
}

static void write_all(struct out *o, struct iovec *iov, int n)
{
    while (n > 0 && !o->error) {
        ssize_t written;

        if (tool_interrupted() && !is_writable(o->fd)) {
            o->error = EINTR;
            return;
        }
        written = writev(o->fd, iov, n);

        if (written < 0) {
            recover(o);
            continue;
        }
        if (tool_interrupted() && (size_t) written < iov_bytes(iov, n)) {
            o->error = EINTR; /* the reader is slow, and somebody wants us to end */
            return;
        }
        while (n > 0 && (size_t) written >= iov->iov_len) {
            written -= (ssize_t) iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (char *) iov->iov_base + written;
            iov->iov_len -= (size_t) written;
        }
    }
}

void out_flush(struct out *o)
{
    struct iovec iov = {.iov_base = o->buffer, .iov_len = o->used};

    if (o->used > 0) {
        write_all(o, &iov, 1);
        o->used = 0;
    }
}

void out_bytes_slowly(struct out *o, const void *data, size_t bytes)
{
    struct iovec iov[] = {{.iov_base = o->buffer, .iov_len = o->used},
                          {.iov_base = (void *) (uintptr_t) data, .iov_len = bytes}};

    if (bytes <= OUT_BYTES / 4) {
        out_flush(o);
        memcpy(o->buffer, data, bytes);
        o->used = bytes;
        return;
    }
    write_all(o, iov, 2); /* large bodies are not worth the copy */
    o->used = 0;
}

void out_u64(struct out *o, uint64_t value)
{
    char text[20];
    size_t at = sizeof(text);

    do {
        text[--at] = (char) ('0' + value % 10);
        value /= 10;
    } while (value > 0);
    out_bytes(o, text + at, sizeof(text) - at);
}
