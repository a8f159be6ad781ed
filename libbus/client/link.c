/* SPDX-License-Identifier: MIT */
/* The socket of a connection: sending what is queued, reading into buffers, and the descriptor for
 * event loops. Knows no frames beyond their prefix. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/sock.h"
#include "client/conn.h"
#include "client/handlers.h"
#include "client/session.h"
#include "wire/codec.h"

#define IOV_MAX_SENT 16
#define SNDBUF_BYTES (1024 * 1024)
/* A seqpacket read of at least this much is a sign of a stream of packets: try again before
 * waiting. */
#define BUSY_PACKET_BYTES 4096
#define CODEC_SCRATCH_BYTES 8192
/* How long until something is sent again for which the kernel has no room. */
#define RETRY_NS (10 * NS_PER_MS)

/* ---- output ---- */

static void output_fail(struct bus_conn *c)
{
    /* what the router said before it left is still to be read: on_closed comes after that */
    c->out_dead = true;
    c->credit_messages = 0;
    c->kick = true;
    if (c->session && c->opened) {
        bus__session_leave(c);
    }
    outq_fini(&c->outq);
    bus__sync_fd(c);
}

static void output_blocked(struct bus_conn *c)
{
    c->blocked = true;
    bus__sync_fd(c);
}

static bool output_once(struct bus_conn *c)
{
    struct iovec iov[IOV_MAX_SENT];
    int n_iov = outq_peek(&c->outq, iov, c->seqpacket ? 1 : IOV_MAX_SENT);
    ssize_t n = sock_send(c->fd, iov, n_iov, outq_parcel(&c->outq));

    if (n >= 0) {
        outq_consume(&c->outq, (size_t) n);
        return true;
    }
    if (n == -EAGAIN) {
        output_blocked(c);
    } else if (n == -ENOBUFS || n == -ENOMEM || n == -ETOOMANYREFS) {
        c->retry_ns = clock_monotonic_ns() + RETRY_NS; /* of that POLLOUT knows nothing */
        output_blocked(c);
    } else {
        output_fail(c);
    }
    return false;
}

/* A packet should be large, but a chunk with hardly any room left need not wait for its successor.
 */
static bool only_a_part(const struct outq *q)
{
    return q->head == q->tail && q->bytes < OUTQ_CHUNK_BYTES;
}

void bus__output(struct bus_conn *c, enum output_extent extent)
{
    while (c->outq.bytes > 0 && !c->blocked && !c->out_dead && c->fd >= 0) {
        if (extent == OUTPUT_FULL && only_a_part(&c->outq)) {
            return;
        }
        if (!output_once(c)) {
            return;
        }
    }
    c->urgent = c->urgent && c->outq.bytes > 0;
}

int bus__room(struct bus_conn *c)
{
    if (c->outq.bytes < c->max_out_bytes) {
        return 0;
    }
    bus__output(c, OUTPUT_ALL);
    if (c->outq.bytes < c->max_out_bytes) {
        return 0;
    }
    c->want_writable = true;
    return -EAGAIN;
}

int bus__send(struct bus_conn *c, enum verb verb, const void *m, size_t header_max)
{
    _Alignas(16) uint8_t memory[CODEC_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    uint8_t *dst;
    long bytes;

    if (c->away && !bus__has_link(c)) {
        return 0;
    }
    dst = outq_reserve(&c->outq, FRAME_PREFIX_BYTES + header_max);
    if (!dst) {
        return -ENOMEM;
    }
    bytes = codec_encode(&scratch, verb, m, dst + FRAME_PREFIX_BYTES, header_max);
    if (bytes < 0) {
        return -ENOMEM;
    }
    frame_write_prefix(dst, verb, (size_t) bytes, 0);
    outq_commit(&c->outq, FRAME_PREFIX_BYTES + (size_t) bytes);
    c->urgent = true;
    bus__output_queued(c);
    return 0;
}

void bus__send_or_fail(struct bus_conn *c, enum verb verb, const void *m)
{
    if (!bus__has_link(c)) {
        return;
    }
    if (bus__send(c, verb, m, CONTROL_HEADER_MAX) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
}

/* ---- input ---- */

/* A new buffer that begins with the unhandled bytes of the old one. */
static bool rx_replace(struct bus_conn *c, size_t capacity)
{
    struct rxbuf *b = bus__rxbuf_new(c->rxpool, capacity);
    size_t left = c->rx_len - c->rx_pos;

    if (!b) {
        return false;
    }
    if (left > 0) {
        memcpy(b->data, c->rx->data + c->rx_pos, left);
    }
    bus__rxbuf_unref(c->rx);
    c->rx = b;
    c->rx_pos = 0;
    c->rx_len = left;
    return true;
}

/* Nobody else looks at the buffer: what is left may move to its beginning. */
static void rx_rewind(struct bus_conn *c)
{
    size_t left = c->rx_len - c->rx_pos;

    if (left > 0 && c->rx_pos > 0) {
        memmove(c->rx->data, c->rx->data + c->rx_pos, left);
    }
    c->rx_pos = 0;
    c->rx_len = left;
}

static bool rx_make_room(struct bus_conn *c)
{
    size_t left = c->rx_len - c->rx_pos;
    size_t need = MAX((size_t) FRAME_PACKET_MAX + left, c->rx_need);

    if (!c->rx) {
        return rx_replace(c, need);
    }
    if (c->rx->refs == 1) {
        rx_rewind(c);
    }
    if (c->rx->capacity - c->rx_pos < need || (left == 0 && c->rx->capacity > RXBUF_KEEP_BYTES)) {
        return rx_replace(c, need);
    }
    return true;
}

/* The other side has closed. */
static enum step rx_end(struct bus_conn *c)
{
    bus__fail(c, c->goodbye, NULL);
    return STEP_IDLE;
}

static enum step rx_error(struct bus_conn *c, int error)
{
    if (error == -EAGAIN && !c->out_dead) {
        return STEP_IDLE;
    }
    if (error == -ENOMEM || error == -ENOBUFS) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return STEP_IDLE;
    }
    return rx_end(c);
}

/* Descriptors came along. A router that obeys the rules never has more of them on their way. */
static bool rx_parcel(struct bus_conn *c, struct parcel *parcel)
{
    if (c->n_parcels == PARCELS_MAX) {
        parcel_unref(parcel);
        bus__fail_protocol(c, "descriptors that belong to no frame");
        return false;
    }
    c->parcels[c->n_parcels++] = parcel;
    return true;
}

static enum step rx_got(struct bus_conn *c, const struct sock_received *in, size_t room,
                        size_t bytes)
{
    if (UNLIKELY(in->parcel != NULL) && !rx_parcel(c, in->parcel)) {
        return STEP_IDLE;
    }
    if (bytes == 0) {
        return rx_end(c);
    }
    if (in->flags & MSG_TRUNC) {
        bus__fail_protocol(c, "packet too large");
        return STEP_IDLE;
    }
    c->rx_len += bytes;
    if (c->seqpacket) {
        return bytes >= BUSY_PACKET_BYTES ? STEP_MORE : STEP_SOME;
    }
    /* a stream also stops where descriptors are */
    return bytes == room || in->parcel ? STEP_MORE : STEP_IDLE;
}

enum step bus__receive(struct bus_conn *c, enum receive_mode mode)
{
    struct sock_received in;
    struct iovec iov;
    ssize_t n;

    if (!rx_make_room(c)) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return STEP_IDLE;
    }
    iov.iov_base = c->rx->data + c->rx_len;
    iov.iov_len = c->rx->capacity - c->rx_len;
    for (;;) {
        n = sock_receive(c->fd, &iov, 1, mode == RECEIVE_WAIT ? 0 : MSG_DONTWAIT, &in);
        if (n == -ECONNRESET && !c->reset) {
            c->reset = true; /* it is reported once, before what was sent earlier: read on */
            output_fail(c);
        } else if (n == -EINTR) {
            if (mode == RECEIVE_WAIT) {
                c->interrupted = true;
                return STEP_IDLE;
            }
        } else {
            break;
        }
    }
    spin_end(&c->spin);
    return n < 0 ? rx_error(c, (int) n) : rx_got(c, &in, iov.iov_len, (size_t) n);
}

/* ---- one link after another ---- */

int bus__link_attach(struct bus_conn *c, int fd, int type)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int sndbuf = SNDBUF_BYTES;

    /* every call says itself whether it may wait, see RECEIVE_WAIT */
    if (fcntl(fd, F_SETFL, 0) < 0 || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        return -errno;
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)); /* a wish */
    c->fd = fd;
    c->seqpacket = type == SOCK_SEQPACKET;
    c->epoll_out = false;
    return 0;
}

void bus__link_drop(struct bus_conn *c)
{
    if (c->fd >= 0) {
        /* a child process may have it open, too: then closing it would not do */
        (void) epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        (void) close(c->fd);
        c->fd = -1;
    }
    outq_fini(&c->outq);
    bus__rxbuf_unref(TAKE(c->rx));
    c->rx_pos = c->rx_len = 0;
    c->rx_need = FRAME_PREFIX_BYTES;
    c->blocked = c->out_dead = c->reset = c->urgent = c->kick = false;
    c->retry_ns = 0;
}

/* ---- the descriptor for event loops ---- */

static void sync_timer(struct bus_conn *c, enum timer_state timer)
{
    struct itimerspec when = {0};
    uint64_t due_ns = bus__due_ns(c);

    if (timer == c->timer && (timer != TIMER_DEADLINE || c->timer_ns == due_ns)) {
        return;
    }
    if (timer == TIMER_NOW) {
        when.it_value.tv_nsec = 1; /* since boot: in the past */
    } else if (timer == TIMER_DEADLINE) {
        when.it_value.tv_sec = (time_t) (due_ns / NS_PER_S);
        when.it_value.tv_nsec = (long) (due_ns % NS_PER_S);
    }
    (void) timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &when, NULL); /* valid by construction */
    c->timer = timer;
    c->timer_ns = due_ns;
}

void bus__sync_fd(struct bus_conn *c)
{
    bool out = bus__waits_for_room(c);
    struct epoll_event ev = {.events = EPOLLIN | (out ? (uint32_t) EPOLLOUT : 0)};

    if (!c->exposed) {
        return;
    }
    if (c->fd >= 0 && c->epoll_out != out) {
        (void) epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev); /* it is there: cannot fail */
        c->epoll_out = out;
    }
    if (c->kick) {
        sync_timer(c, TIMER_NOW);
    } else {
        sync_timer(c, bus__due_ns(c) ? TIMER_DEADLINE : TIMER_OFF);
    }
}
