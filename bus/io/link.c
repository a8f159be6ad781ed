/* SPDX-License-Identifier: MIT */
#include "io/link.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/macros.h"
#include "base/sock.h"
#include "io/closer.h"
#include "io/rest.h"

/* A stream gives all that waits with one read, but a packet link one packet: of small ones so many
 * are read in a turn, because a turn costs more than they do. */
#define BURST_PACKETS 16
#define BURST_PACKET_BYTES 4096
/* Reads with which a closing link empties its receive queue. */
#define DRAIN_READS_MAX 16384
/* Where turns are shared, a stream gives about as much as can be handled in one: the rest would be
 * copied. */
#define READ_BYTES_MIN 16384
#define READ_BYTES_A_UNIT 32

/* ---- polling ---- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void link_arm(struct link *l, int events)
{
    if (events == l->armed) {
        return;
    }
    l->armed = (uint8_t) events;
    lane_spend(l->task.lane, LANE_ARM_UNITS);
    if (events) {
        (void) uv_poll_start(&l->poll, events, on_poll);
    } else {
        (void) uv_poll_stop(&l->poll);
    }
}

static int link_wanted(const struct link *l)
{
    return (l->paused || l->ended || l->is_due ? 0 : UV_READABLE) | (l->blocked ? UV_WRITABLE : 0);
}

/* Every change of what is polled for costs two system calls. So an event is added when it is
 * needed, but dropped only when it comes unwanted: most pauses end before that. */
static void link_arm_needed(struct link *l)
{
    int wanted = link_wanted(l);

    if (!l->closed && (wanted & ~l->armed)) {
        link_arm(l, wanted);
    }
}

static bool link_has_task(const struct link *l)
{
    size_t left = l->rest_end - l->rest_start;

    return !l->paused && left > 0 && (l->more || left >= l->need);
}

static void link_end(struct link *l, int error)
{
    l->ended = true;
    l->ops->on_end(l, error); /* the link may be closed now */
}

/* ---- what is kept between two reads ---- */

/* What the owner made of len bytes that it was offered. */
static void link_note(struct link *l, const struct link_input *in, size_t len)
{
    size_t left = len - in->consumed;

    l->more = in->more && left > 0;
    l->need = MAX(in->need, left + 1);
}

/* Offers the rest, completed from data as far as a frame needs it. Returns how much of data it
 * took, or -ENOMEM. */
static ssize_t rest_feed(struct link *l, const uint8_t *data, size_t len)
{
    size_t left = l->rest_end - l->rest_start;
    size_t take = left < l->need ? MIN(l->need - left, len) : 0;
    struct link_input in;
    int r = rest_append(l, data, take);

    if (r < 0) {
        return r;
    }
    left += take;
    if (left < l->need && !l->more) {
        return (ssize_t) take;
    }
    in = l->ops->on_input(l, l->rest + l->rest_start, left, NULL);
    link_note(l, &in, left);
    l->rest_start += in.consumed;
    if (l->rest_start == l->rest_end) {
        rest_free(l);
    }
    return (ssize_t) take;
}

/* ---- input ---- */

/* Hands over what was kept, then data; keeps what is not consumed. 0 or -ENOMEM. */
static int link_feed(struct link *l, const uint8_t *data, size_t len)
{
    struct link_input in;

    while (l->rest_end > l->rest_start) {
        ssize_t n = rest_feed(l, data, len);

        if (n < 0) {
            return (int) n;
        }
        data += n;
        len -= (size_t) n;
        if (l->more || l->paused || len == 0) {
            return rest_append(l, data, len);
        }
    }
    if (len == 0) {
        return 0;
    }
    in = l->ops->on_input(l, data, len, l->loop->slab);
    link_note(l, &in, len);
    return rest_append(l, data + in.consumed, len - in.consumed);
}

/* Descriptors that no frame has claimed when nothing received is left to be handled belong to none.
 */
static void parcels_settle(struct link *l)
{
    if (l->has_parcels && !l->closed && l->rest_start == l->rest_end) {
        l->has_parcels = false;
        l->ops->on_settled(l);
    }
}

static void link_handle(struct link *l, const uint8_t *data, size_t len)
{
    size_t bytes = len + l->rest_end - l->rest_start;
    int r = link_feed(l, data, len);

    if (r < 0) {
        link_end(l, r); /* the link may be closed now */
        return;
    }
    if (link_has_task(l)) {
        loop_soon(l->loop, &l->task);
    }
    parcels_settle(l);
    loop_worked(l->loop, l->more ? LOOP_FLUSH_BYTES : bytes);
}

/* Where to receive: behind a partial frame on a stream, so that a large one is not copied, and in
 * what all links share. */
static int link_receive_iov(struct link *l, struct iovec iov[2])
{
    size_t left = l->rest_end - l->rest_start;
    size_t target = MIN(l->need, MAX(2 * left, REST_BYTES_MIN));
    int n = 0;

    if (l->kind == LINK_STREAM && left > 0 && left < l->need) {
        if (rest_reserve(l, MAX(target, left + 1)) < 0) {
            return -ENOMEM;
        }
        iov[n++] = (struct iovec){
            l->rest + l->rest_end,
            MIN(l->rest_capacity - l->rest_end, l->need - left),
        };
    }
    iov[n] = loop_room(l->loop);
    if (l->kind == LINK_STREAM && lanes_are_shared(&l->loop->lanes)) {
        iov[n].iov_len = MIN(iov[n].iov_len, READ_BYTES_MIN + lane_budget(l->task.lane) *
                                                                  (size_t) READ_BYTES_A_UNIT);
    } else if (l->kind ==
               LINK_PACKETS) { /* how large a packet may be does not depend on the slab */
        iov[n].iov_len = LOOP_ROOM_BYTES;
    }
    return n + 1;
}

static void parcel_discard(struct parcel *parcel)
{
    if (parcel) {
        parcel->close = closer_close;
        parcel_unref(parcel);
    }
}

/* The other side went away, or reads no more. What it sent before is still there to be read, up to
 * the end of file; on seqpacket the error comes before it. */
static void link_deafen(struct link *l)
{
    l->deaf = true;
    l->blocked = false;
    loop_soon(l->loop, &l->task);
}

static void on_receive_error(struct link *l, int error)
{
    switch (error) {
    case -EAGAIN:
    case -EINTR:
    case -ENOBUFS:
        return; /* readable again in the next turn */
    case -ECONNRESET:
    case -EPIPE:
        link_deafen(l);
        return;
    default:
        link_end(l, error); /* the link may be closed now */
    }
}

static void on_received(struct link *l, const struct sock_received *in, const uint8_t *data,
                        size_t to_rest, size_t n)
{
    if (UNLIKELY(in->parcel != NULL)) {
        in->parcel->close = closer_close;
        lane_spend(l->task.lane, LANE_FD_UNITS * (uint64_t) in->parcel->n);
        l->has_parcels = true;
        l->ops->on_parcel(l, in->parcel);
    }
    if (in->flags & MSG_TRUNC) {
        l->ops->on_oversized(l, data, n); /* the link may be closed now */
        return;
    }
    l->rest_end += to_rest;
    link_handle(l, data, n - to_rest);
}

static bool may_read_on(const struct link *l, size_t bytes)
{
    return l->kind == LINK_PACKETS && bytes <= BURST_PACKET_BYTES && !l->closed && !l->ended &&
           !l->paused && !link_has_task(l) && lane_may_pass(l->task.lane);
}

/* One recvmsg(). Returns whether another is worth while in this turn. */
static bool link_read_once(struct link *l)
{
    struct iovec iov[2];
    struct sock_received in;
    int n_iov = link_receive_iov(l, iov);
    size_t first;
    ssize_t n;

    if (n_iov < 0) {
        link_end(l, n_iov);
        return false;
    }
    first = n_iov > 1 ? iov[0].iov_len : 0;
    n = sock_receive(l->fd, iov, n_iov, MSG_DONTWAIT, &in);
    lane_spend(l->task.lane, LANE_READ_UNITS + lane_bytes((uint64_t) MAX(n, 0)));
    if (n < 0) {
        on_receive_error(l, (int) n);
        return false;
    }
    if (n == 0) {
        parcel_discard(in.parcel);
        link_end(l, 0);
        return false;
    }
    on_received(l, &in, iov[n_iov - 1].iov_base, MIN((size_t) n, first), (size_t) n);
    return may_read_on(l, (size_t) n);
}

/* Bounded, so that every readable link gets its share. */
static void link_read(struct link *l)
{
    for (int i = 0; i < BURST_PACKETS && link_read_once(l); i++) {
    }
}

/* There is something to be read: now, or in its turn. With a task queued the loop does not sleep,
 * and what was kept goes first. */
static void link_readable(struct link *l)
{
    if (l->closed || l->ended || l->paused || l->is_due || link_has_task(l)) {
        return;
    }
    if (lane_may_pass(l->task.lane)) {
        link_read(l);
        return;
    }
    l->is_due = true;
    loop_soon(l->loop, &l->task);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct link *l = container_of(handle, struct link, poll);

    loop_woke(l->loop);
    lane_spend(l->task.lane, LANE_POLL_UNITS);
    if (status < 0) {
        /* an error waits at the socket and libuv has stopped the handle; recvmsg() will say which
         */
        l->armed = 0;
        events = UV_READABLE | UV_WRITABLE;
    } else if (events & ~link_wanted(l)) {
        link_arm(l, link_wanted(l));
    }
    if ((events & UV_WRITABLE) && l->blocked) {
        l->blocked = false;
        l->n_sends = 0;
        l->ops->on_writable(l);
    }
    if (events & UV_READABLE) {
        link_readable(l);
    }
    link_arm_needed(l);
}

/* What was kept, or else what waits to be read. Output may have used up the turn. */
static void link_go_on(struct link *l, bool was_due)
{
    if (!lane_may_go(l->task.lane)) {
        l->is_due = was_due;
        loop_soon(l->loop, &l->task);
    } else if (link_has_task(l)) {
        link_handle(l, l->loop->buffer, 0); /* not NULL: its end is computed */
    } else if (was_due && !l->paused) {
        link_read(l);
    }
}

static void on_task(struct lane_task *t)
{
    struct link *l = container_of(t, struct link, task);
    bool was_due = l->is_due;

    l->is_due = false;
    l->n_sends = 0;
    l->ops->on_writable(l);
    if (!l->closed && !l->ended && (was_due || link_has_task(l))) {
        link_go_on(l, was_due);
    }
    link_arm_needed(l);
}

/* ---- output ---- */

static size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

/* What a failed send means for the link: 0 if it goes on. */
static int on_send_error(struct link *l, int error)
{
    switch (error) {
    case -EAGAIN:
        l->blocked = true;
        link_arm_needed(l);
        return 0;
    case -ENOBUFS:
    case -ENOMEM:
    case -ETOOMANYREFS: /* too many descriptors of this user are on their way */
        loop_later(l->loop, &l->task);
        return 0;
    case -EPIPE:
    case -ECONNRESET:
    case -ENOTCONN:
        link_deafen(l);
        return 0;
    default:
        return error;
    }
}

/* One send: a packet, or many chunks of a stream. 0, > 0 if the socket is full, or a negative
 * errno.
 */
static int link_send(struct link *l, struct iovec *iov, int n)
{
    size_t offered = iov_bytes(iov, n);
    ssize_t sent;

    sent = l->deaf ? (ssize_t) offered : sock_send(l->fd, iov, n, l->ops->output_parcel(l));
    lane_spend(l->task.lane, LANE_SEND_UNITS + lane_bytes((uint64_t) MAX(sent, 0)));
    if (sent < 0) {
        int r = on_send_error(l, (int) sent);

        return r < 0 ? r : 1;
    }
    l->ops->on_sent(l, (size_t) sent);
    if ((size_t) sent < offered) {
        (void) on_send_error(l, -EAGAIN); /* a short write: the next one would say so */
        return 1;
    }
    return 0;
}

int link_flush(struct link *l)
{
    struct iovec iov[LINK_IOV];

    if (l->round != l->loop->round) {
        l->round = l->loop->round;
        l->n_sends = 0;
    }
    while (!l->blocked && !l->closed && l->task.queue != LANE_LATER) {
        int n = l->ops->output(l, iov);
        int r;

        if (n == 0) {
            return 0;
        }
        if (l->n_sends++ >= LINK_SENDS_MAX || !lane_may_go(l->task.lane)) {
            loop_soon(l->loop, &l->task);
            return 0;
        }
        r = link_send(l, iov, n);
        if (r != 0) {
            return MIN(r, 0);
        }
    }
    return 0;
}

/* ---- lifecycle ---- */

int link_open(struct link *l, struct loop *loop, struct lane *lane, int *take_fd,
              enum link_kind kind, const struct link_ops *ops)
{
    int r;

    *l = (struct link){.loop = loop, .ops = ops, .fd = *take_fd, .kind = (uint8_t) kind};
    l->task = (struct lane_task){.lane = lane, .on_run = on_task};
    r = uv_poll_init(loop->uv, &l->poll, *take_fd);
    if (r < 0) {
        return r;
    }
    *take_fd = -1;
    link_arm(l, UV_READABLE);
    return 0;
}

int link_adopt(struct link *l, struct loop *loop, struct lane *lane, int *take_fd,
               enum link_kind kind, const struct link_ops *ops, const struct link_rest *rest)
{
    int r;

    *l = (struct link){.loop = loop,
                       .ops = ops,
                       .fd = *take_fd,
                       .kind = (uint8_t) kind,
                       .has_parcels = rest->has_parcels,
                       .deaf = rest->deaf,
                       .ended = rest->ended};
    l->task = (struct lane_task){.lane = lane, .on_run = on_task};
    if (rest->len > 0) {
        l->rest = malloc(rest->len);
        if (!l->rest) {
            return -ENOMEM;
        }
        memcpy(l->rest, rest->data, rest->len);
        l->rest_end = l->rest_capacity = rest->len;
    }
    r = uv_poll_init(loop->uv, &l->poll, *take_fd);
    if (r < 0) {
        free(l->rest);
        return r;
    }
    *take_fd = -1;
    return 0;
}

void link_start(struct link *l)
{
    /* also to send, and to handle what was kept */
    loop_soon(l->loop, &l->task);
    link_arm_needed(l);
}

struct link_rest link_rest(const struct link *l)
{
    return (struct link_rest){.data = l->rest + l->rest_start,
                              .len = l->rest_end - l->rest_start,
                              .has_parcels = l->has_parcels,
                              .deaf = l->deaf,
                              .ended = l->ended};
}

/* A socket that is closed with unread bytes gives the other side ECONNRESET, on seqpacket before
 * the goodbye that waits there to be read. So nothing more may come in, and what did is thrown
 * away. */
static void link_drain(struct link *l)
{
    (void) shutdown(l->fd, SHUT_RDWR);
    for (int i = 0; i < DRAIN_READS_MAX; i++) {
        struct iovec iov = {l->loop->buffer, LOOP_BUFFER_BYTES};
        struct sock_received in;
        ssize_t n = sock_receive(l->fd, &iov, 1, MSG_DONTWAIT, &in);

        lane_spend(l->task.lane, LANE_READ_UNITS + lane_bytes((uint64_t) MAX(n, 0)));
        if (n >= 0) {
            parcel_discard(in.parcel); /* not by the kernel: it would wait for them here */
        }
        if (n <= 0) {
            return;
        }
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct link *l = container_of((uv_poll_t *) handle, struct link, poll);

    l->ops->on_closed(l); /* l is gone */
}

void link_close(struct link *l)
{
    if (l->closed) {
        return;
    }
    l->closed = true;
    loop_cancel(l->loop, &l->task);
    rest_free(l);
    link_drain(l);
    uv_close((uv_handle_t *) &l->poll, on_handle_closed);
    (void) close(l->fd);
    l->fd = -1;
}

void link_pause(struct link *l)
{
    l->paused = true;
}

void link_resume(struct link *l)
{
    if (!l->paused || l->closed) {
        return;
    }
    l->paused = false;
    l->need = 0; /* the owner may have stopped in the middle: ask again before reading more */
    if (link_has_task(l)) {
        loop_soon(l->loop, &l->task);
    }
    link_arm_needed(l);
}
