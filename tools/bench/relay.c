/* SPDX-License-Identifier: MIT */
/* The relay: reads as much as there is, up to 256 KiB at a time, and writes it to each subscriber.
 * It knows the length of messages, but only so that parts of two publishers' messages do not mix on
 * a stream.
 *
 * With tokens it cannot wait for somebody who waits for it: those that publishers send fit into the
 * sockets' buffers (POOL_TOTAL_MAX), and for those that come back a publisher has nothing to do but
 * to take them. */

#include "relay.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common.h"
#include "harness.h"

#define RELAY_READ_BYTES ((size_t) 256 * 1024)

struct source {
    int fd;
    size_t used;           /* the beginning of a unit whose rest has not come */
    unsigned char *buffer; /* RELAY_READ_BYTES + a unit */
};

int net_init(struct net *net, const struct spec *spec, unsigned n_sources, unsigned n_targets)
{
    /* Whatever the link: a stream lets many tokens be read at once. */
    int type = spec->in_memory ? SOCK_STREAM : link_socket_type(spec->link);

    *net = (struct net){.n_sources = n_sources,
                        .unit = spec->in_memory ? sizeof(struct token) : spec->bytes};
    for (unsigned i = 0; i < n_sources + n_targets; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair)) {
            tool_error("cannot make a socket: %s", strerror(errno));
            net_fini(net);
            return -1;
        }
        net->client[i] = pair[0];
        net->relay[i] = pair[1];
        net->n++;
    }
    return 0;
}

void net_fini(struct net *net)
{
    for (unsigned i = 0; i < net->n; i++) {
        (void) close(net->client[i]);
        (void) close(net->relay[i]);
    }
    net->n = 0;
}

int send_all(int fd, const void *data, size_t bytes)
{
    const char *p = data;

    while (bytes > 0) {
        ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        p += n;
        bytes -= (size_t) n;
    }
    return 0;
}

/* Tokens from a target, each to its source: as a rule there is one source. */
static int give_back(const struct net *net, const struct token *tokens, size_t n)
{
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && tokens[next].source == tokens[i].source;) {
            next++;
        }
        /* A source that has ended has all its tokens: it is there. */
        if (send_all(net->relay[tokens[i].source], &tokens[i], (next - i) * sizeof(*tokens)) < 0) {
            return -1;
        }
    }
    return 0;
}

static int forward(const struct net *net, enum mode mode, unsigned from, const void *data,
                   size_t bytes)
{
    if (mode == MODE_RTT) {
        return send_all(net->relay[1 - from], data, bytes);
    }
    if (from >= net->n_sources) {
        return give_back(net, data, bytes / sizeof(struct token));
    }
    for (unsigned i = net->n_sources; i < net->n; i++) {
        if (send_all(net->relay[i], data, bytes) < 0) {
            return -1;
        }
    }
    return 0;
}

/* One read: 1 to go on, 0 when this source has ended, -1 when nobody listens any more. */
static int handle(struct party *p, struct source *s, unsigned index)
{
    size_t unit = p->net->unit;
    ssize_t n = recv(s->fd, s->buffer + s->used, RELAY_READ_BYTES, MSG_DONTWAIT);
    size_t whole;

    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
    s->used += (size_t) n;
    whole = s->used - s->used % unit;
    if (whole > 0 && forward(p->net, p->spec->mode, index, s->buffer, whole) < 0) {
        return -1;
    }
    s->used -= whole;
    memmove(s->buffer, s->buffer + whole, s->used);
    return 1;
}

static int add_sources(struct party *p, struct source *sources, unsigned n, int epoll)
{
    for (unsigned i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        sources[i] = (struct source){.fd = p->net->relay[i],
                                     .buffer = malloc(RELAY_READ_BYTES + p->net->unit)};
        if (!sources[i].buffer || epoll_ctl(epoll, EPOLL_CTL_ADD, sources[i].fd, &event)) {
            tool_error("the relay cannot start: %s", strerror(errno));
            return -1;
        }
    }
    return 0;
}

/* The first so many sockets are read: sources, and with tokens targets too. */
static unsigned count_read(const struct party *p)
{
    return p->spec->mode == MODE_RTT || p->net->pool ? p->net->n : p->net->n_sources;
}

int relay_run(struct party *p)
{
    unsigned n = count_read(p);
    struct source *sources = calloc(n, sizeof(*sources));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[64];
    uint64_t start_ns;

    if (epoll < 0 || !sources || add_sources(p, sources, n, epoll) < 0 ||
        party_ready(p, &start_ns) < 0) {
        return 1;
    }
    for (;;) {
        int n_events = epoll_wait(epoll, events, ARRAY_LEN(events), -1);

        for (int i = 0; i < n_events; i++) {
            struct source *s = &sources[events[i].data.u32];
            int r = handle(p, s, events[i].data.u32);

            if (r < 0) {
                return 1;
            }
            if (r == 0) {
                (void) epoll_ctl(epoll, EPOLL_CTL_DEL, s->fd, NULL);
            }
        }
    }
}
