/* SPDX-License-Identifier: MIT */
#include "takeover.h"
#include <bus/types.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "base/sock.h"
#include "wire/codec.h"

/* The router may be busy, but it answers. */
#define ANSWER_MS 60000
#define NAME "bus-router --replace"

struct takeover {
    const struct address *address;
    struct failure *f;
    struct arena arena;
    int fd;        /* the connection */
    int theirs;    /* of the pair: the other router's */
    uint8_t *data; /* FRAME_PACKET_MAX, received */
    size_t len;
    bool done;
};

static int fail(const struct takeover *t, int error, const char *what)
{
    char address[ADDRESS_PATH_MAX + 16];

    address_format(t->address, address, sizeof(address));
    return failure_set(t->f, error, "%s at %s: %s", what, address, strerror(-error));
}

/* ---- frames ---- */

static int wait_for(const struct takeover *t, short events)
{
    struct pollfd p = {.fd = t->fd, .events = events};
    int n;

    do {
        n = poll(&p, 1, ANSWER_MS);
    } while (n < 0 && errno == EINTR);
    return n < 0    ? fail(t, -errno, "waiting for the router")
           : n == 0 ? fail(t, -ETIMEDOUT, "waiting for the router")
                    : 0;
}

static int send_frame(struct takeover *t, enum verb verb, const void *m,
                      const struct parcel *parcel)
{
    uint8_t frame[256];
    long n = codec_encode(&t->arena, verb, m, frame + FRAME_PREFIX_BYTES,
                          sizeof(frame) - FRAME_PREFIX_BYTES);
    struct iovec iov = {frame, FRAME_PREFIX_BYTES + (size_t) MAX(n, 0L)};
    ssize_t sent;

    frame_write_prefix_fds(frame, verb, (size_t) MAX(n, 0L), 0, parcel_count(parcel));
    for (;;) {
        int r;

        sent = n < 0 ? -ENOMEM : sock_send(t->fd, &iov, 1, parcel);
        if (sent != -EAGAIN) {
            break;
        }
        r = wait_for(t, POLLOUT);
        if (r < 0) {
            return r;
        }
    }
    if (sent < 0) {
        return fail(t, (int) sent, "asking the router");
    }
    /* so few bytes go onto a new link at once */
    return (size_t) sent == iov.iov_len ? 0 : fail(t, -EPROTO, "asking the router");
}

static int on_status(struct takeover *t, const struct wire_status *m)
{
    if (m->verb != VERB_REPLACE) {
        return 0;
    }
    t->done = m->code == BUS_STATUS_OK;
    if (m->code == BUS_STATUS_UNKNOWN_VERB) {
        return failure_set(t->f, -EOPNOTSUPP,
                           "the router is of a version that cannot be replaced; stop it and start "
                           "this one without --replace");
    }
    return t->done ? 0
                   : failure_set(t->f, -EPERM, "the router does not hand over: %.*s",
                                 (int) m->text.len, m->text.data);
}

static int on_frame(struct takeover *t, const struct frame *f)
{
    union wire_any m;

    arena_reset(&t->arena);
    if (codec_decode(&t->arena, f->verb, f->header, f->header_bytes, &m) != CODEC_OK) {
        return 0; /* what is not known is not for us */
    }
    if (f->verb == VERB_GOODBYE) {
        return failure_set(t->f, -ECONNRESET, "the router says goodbye: %.*s",
                           (int) m.goodbye.text.len, m.goodbye.text.data);
    }
    return f->verb == VERB_STATUS ? on_status(t, &m.status) : 0;
}

static int on_bytes(struct takeover *t)
{
    struct frame f;
    size_t at = 0, bytes = 0;
    int r = 0;

    while (r == 0 && !t->done &&
           frame_parse(t->data + at, t->len - at, FRAME_INLINE_MAX_SEQPACKET, &f, &bytes) ==
               FRAME_OK) {
        r = on_frame(t, &f);
        at += bytes;
    }
    memmove(t->data, t->data + at, t->len - at);
    t->len -= at;
    return r;
}

static int read_answer(struct takeover *t)
{
    int r = 0;

    while (r == 0 && !t->done) {
        struct iovec iov = {t->data + t->len, FRAME_PACKET_MAX - t->len};
        struct sock_received in;
        ssize_t n;

        r = wait_for(t, POLLIN);
        if (r < 0) {
            return r;
        }
        n = sock_receive(t->fd, &iov, 1, MSG_DONTWAIT, &in);
        if (n == -EAGAIN || n == -EINTR) {
            continue;
        }
        if (n >= 0) {
            parcel_unref(in.parcel);
        }
        if (n <= 0) {
            return fail(t, n < 0 ? (int) n : -ECONNRESET, "reading what the router answers");
        }
        t->len += (size_t) n;
        r = on_bytes(t);
    }
    return r;
}

/* ---- asking ---- */

/* Whoever else could listen there must not be given what clients send. */
static int check_owner(const struct takeover *t)
{
    struct creds creds;
    int r = sock_peer_creds(t->fd, &creds);

    if (r < 0) {
        return fail(t, r, "asking who the router is");
    }
    if (creds.uid != geteuid() && creds.uid != 0) {
        return failure_set(t->f, -EPERM, "the router there belongs to the user %u",
                           (unsigned) creds.uid);
    }
    return 0;
}

static int ask(struct takeover *t)
{
    const struct wire_hello hello = {
        .protocol_min = 1, .protocol_max = 1, .client_name = text_from(NAME)};
    const struct wire_replace replace = {1};
    struct parcel *parcel = parcel_new(&t->theirs, 1, sock_close_fd);
    int r;

    if (!parcel) {
        return fail(t, -ENOMEM, "asking the router");
    }
    t->theirs = -1;
    r = check_owner(t);
    r = r < 0 ? r : send_frame(t, VERB_HELLO, &hello, NULL);
    r = r < 0 ? r : send_frame(t, VERB_REPLACE, &replace, parcel);
    parcel_unref(parcel);
    return r < 0 ? r : read_answer(t);
}

static int connect_or_explain(struct takeover *t)
{
    char address[ADDRESS_PATH_MAX + 16];
    int type;

    t->fd = sock_connect(t->address, &type);
    if (t->fd == -ENOENT || t->fd == -ECONNREFUSED) {
        address_format(t->address, address, sizeof(address));
        return failure_set(t->f, t->fd, "nobody to replace at %s; start without --replace",
                           address);
    }
    return t->fd < 0 ? fail(t, t->fd, "connecting to the router") : 0;
}

int takeover_ask(const struct address *a, int *ret_fd, struct failure *f)
{
    struct takeover t = {.address = a, .f = f, .fd = -1, .theirs = -1};
    int pair[2] = {-1, -1}, r;

    t.data = malloc(FRAME_PACKET_MAX);
    if (!t.data || arena_init(&t.arena, CODEC_ARENA_BYTES) < 0) {
        free(t.data);
        return failure_set(f, -ENOMEM, "out of memory");
    }
    r = connect_or_explain(&t);
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        r = fail(&t, -errno, "making a pair of sockets");
    }
    t.theirs = pair[1];
    r = r < 0 ? r : ask(&t);
    arena_fini(&t.arena);
    free(t.data);
    for (int *fd = (int[]){t.fd, t.theirs, r < 0 ? pair[0] : -1}, i = 0; i < 3; i++) {
        if (fd[i] >= 0) {
            (void) close(fd[i]);
        }
    }
    *ret_fd = r < 0 ? -1 : pair[0];
    return r;
}
