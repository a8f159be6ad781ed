/* SPDX-License-Identifier: MIT */
#include "io/acceptor.h"
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include "base/macros.h"

static void on_poll(uv_poll_t *handle, int status, int events);

static void acceptor_poll_all(struct acceptor *a)
{
    for (size_t i = 0; i < a->n_sockets; i++) {
        (void) uv_poll_start(&a->sockets[i].poll, UV_READABLE, on_poll);
    }
}

static void on_retry(uv_timer_t *handle)
{
    acceptor_resume(container_of(handle, struct acceptor, retry));
}

static void acceptor_pause(struct acceptor *a, int error)
{
    for (size_t i = 0; i < a->n_sockets; i++) {
        (void) uv_poll_stop(&a->sockets[i].poll);
    }
    (void) uv_timer_start(&a->retry, on_retry, ACCEPTOR_RETRY_MS, 0);
    a->paused = true;
    if (!a->starved) {
        a->starved = true;
        a->ops->on_paused(a, error);
    }
}

static void acceptor_accepted(struct acceptor_socket *s, int fd)
{
    struct acceptor *a = s->acceptor;

    if (a->starved) {
        a->starved = false;
        a->ops->on_resumed(a);
    }
    lane_spend(&a->lane, ACCEPTOR_REFUSED_UNITS);
    a->ops->on_accept(a, s->listener, &fd);
    if (fd >= 0) {
        (void) close(fd);
    } else {
        lane_spend(&a->lane, ACCEPTOR_UNITS - ACCEPTOR_REFUSED_UNITS);
    }
}

/* Whether to go on accepting in this turn. */
static bool acceptor_failed(struct acceptor *a, int error)
{
    switch (error) {
    case EAGAIN:
        return false;
    case ECONNABORTED:
    case EINTR:
        return true; /* that one is gone: the next */
    default: /* out of descriptors or memory, or something that may last: not again at once */
        acceptor_pause(a, error);
        return false;
    }
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct acceptor_socket *s = container_of(handle, struct acceptor_socket, poll);
    struct acceptor *a = s->acceptor;

    (void) events;
    if (status < 0) {
        acceptor_pause(a, -status); /* libuv has stopped the handle: poll again later */
        return;
    }
    /* whoever waits is there in the next turn, too */
    for (int i = 0; i < ACCEPTOR_BATCH && !a->paused && !a->closed && lane_may_go(&a->lane); i++) {
        int fd = accept4(s->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            acceptor_accepted(s, fd);
        } else if (!acceptor_failed(a, errno)) {
            return;
        }
    }
}

void acceptor_open(struct acceptor *a, uv_loop_t *uv, struct lanes *lanes,
                   const struct acceptor_ops *ops)
{
    *a = (struct acceptor){.uv = uv, .ops = ops};
    lane_init(&a->lane, lanes);
    (void) uv_timer_init(uv, &a->retry); /* cannot fail */
}

int acceptor_add(struct acceptor *a, const struct listener *l)
{
    struct acceptor_socket *s = &a->sockets[a->n_sockets];
    int r;

    assert(a->n_sockets < ACCEPTOR_SOCKETS_MAX);
    *s = (struct acceptor_socket){.acceptor = a, .listener = l};
    r = uv_poll_init(a->uv, &s->poll, l->fd);
    if (r < 0) {
        return r;
    }
    a->n_sockets++;
    return uv_poll_start(&s->poll, UV_READABLE, on_poll);
}

void acceptor_resume(struct acceptor *a)
{
    if (!a->paused || a->closed) {
        return;
    }
    a->paused = false;
    (void) uv_timer_stop(&a->retry);
    acceptor_poll_all(a);
}

void acceptor_close(struct acceptor *a)
{
    if (a->closed || !a->uv) {
        return;
    }
    a->closed = true;
    uv_close((uv_handle_t *) &a->retry, NULL);
    for (size_t i = 0; i < a->n_sockets; i++) {
        uv_close((uv_handle_t *) &a->sockets[i].poll, NULL);
    }
}
