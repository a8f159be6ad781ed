/* SPDX-License-Identifier: MIT */
#include "session.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>
#include "base/clock.h"
#include "base/macros.h"
#include "base/sock.h"
#include "core/kinds.h"
#include "identity.h"
#include "log.h"

/* What it costs that a client comes, and that it goes again. */
#define SESSION_UNITS 256u
/* Room in the kernel for output: the fewer wake-ups the more fits. The kernel cuts it to
 * net.core.wmem_max. */
#define SESSION_SNDBUF_BYTES (1024 * 1024)

struct session {
    struct link link;
    struct peer *peer;           /* NULL once it is gone */
    struct sessions *all;        /* not owned; outlives every session */
    struct user_lane *lane;      /* of its user */
    struct session *prev, *next; /* sessions.head */
};

/* How an end is logged. */
static const struct {
    const char *reason;
    enum log_level level;
} goodbyes[] = {
    [BUS_GOODBYE_NONE] = {"gone", LOG_DEBUG},
    [BUS_GOODBYE_NORMAL] = {"goodbye", LOG_DEBUG},
    [BUS_GOODBYE_SHUTDOWN] = {"shutdown", LOG_DEBUG},
    [BUS_GOODBYE_PROTOCOL_ERROR] = {"protocol_error", LOG_WARN},
    [BUS_GOODBYE_HELLO_TIMEOUT] = {"hello_timeout", LOG_INFO},
    [BUS_GOODBYE_SLOW_CONSUMER] = {"slow_consumer", LOG_INFO},
    [BUS_GOODBYE_LIMIT] = {"limit", LOG_WARN},
    [BUS_GOODBYE_NO_MEMORY] = {"no_memory", LOG_WARN},
    [BUS_GOODBYE_VERSION] = {"version", LOG_INFO},
    [BUS_GOODBYE_ADMIN] = {"admin", LOG_INFO},
};

static struct session *session_of(struct link *l)
{
    return container_of(l, struct session, link);
}

static struct now now_read(void)
{
    return (struct now){clock_monotonic_ns(), clock_realtime_ns()};
}

static void log_closed(enum log_level level, const struct peer *p, const char *reason,
                       const char *text)
{
    const struct peer_info *info = peer_info(p);

    log(level, LOG_CLIENT_CLOSED, log_number("id", peer_connection_id(p)),
        log_number("uid", info->uid), log_number("pid", info->pid), log_text("name", peer_name(p)),
        log_text("reason", reason), log_text("text", text));
}

/* Ends the session for a reason that is not a goodbye; s is gone when the link is closed. */
static void session_close(struct session *s, enum log_level level, const char *reason,
                          const char *text)
{
    if (!s->peer) {
        return;
    }
    log_closed(level, s->peer, reason, text);
    router_remove_peer(s->all->router, s->peer);
    s->peer = NULL;
    link_close(&s->link);
}

static void session_close_error(struct session *s, int error)
{
    session_close(s, LOG_WARN, "link_error", strerror(-error));
}

static void session_close_goodbye(struct session *s)
{
    size_t goodbye = MIN((size_t) peer_goodbye(s->peer), ARRAY_LEN(goodbyes) - 1);

    session_close(s, goodbyes[goodbye].level, goodbyes[goodbye].reason, peer_goodbye_text(s->peer));
}

/* What was done for the user is paid by all its links. */
static void session_pay(struct session *s)
{
    lane_spend(&s->lane->lane, peer_take_work(s->peer));
}

/* A client that does not read its answers is not read either; when it reads again, it goes on. */
static void session_update_reading(struct session *s)
{
    if (peer_wants_input(s->peer)) {
        link_resume(&s->link);
    } else {
        link_pause(&s->link);
        s->all->on_unread(s->all);
    }
}

/* ---- link_ops ---- */

static struct link_input on_input(struct link *l, const uint8_t *data, size_t len,
                                  struct slab *slab)
{
    struct session *s = session_of(l);
    struct now now = now_read();
    struct received input = {data, len, slab};
    struct input_result in =
        router_input(s->all->router, s->peer, &input, lane_budget(&s->lane->lane), &now);

    session_pay(s);
    session_update_reading(s);
    return (struct link_input){.consumed = in.consumed, .need = in.need, .more = in.more};
}

/* The router gets less than a frame's prefix: to it this is a packet that ends inside a frame,
 * which it answers as such. */
static void on_oversized(struct link *l, const uint8_t *data, size_t len)
{
    struct session *s = session_of(l);
    struct now now = now_read();
    struct received input = {data, MIN(len, 7), NULL};

    (void) router_input(s->all->router, s->peer, &input, lane_budget(&s->lane->lane), &now);
    session_pay(s);
    session_update_reading(s);
}

static void on_parcel(struct link *l, struct parcel *parcel)
{
    struct session *s = session_of(l);
    struct now now = now_read();

    router_add_parcel(s->all->router, s->peer, parcel, &now);
}

static void on_settled(struct link *l)
{
    struct session *s = session_of(l);

    if (s->peer) {
        router_settle_parcels(s->peer);
    }
}

static bool on_hold(struct link *l, size_t bytes)
{
    struct session *s = session_of(l);

    return s->peer && peer_charge_input(s->peer, bytes);
}

/* What a peer that is gone had been charged went with it. */
static void on_release(struct link *l, size_t bytes)
{
    struct session *s = session_of(l);

    if (s->peer) {
        peer_release_input(s->peer, bytes);
    }
}

static void on_writable(struct link *l)
{
    struct session *s = session_of(l);

    if (s->peer) {
        session_flush(s->peer); /* s may be closed now */
    }
}

static void on_end(struct link *l, int error)
{
    struct session *s = session_of(l);
    struct now now = now_read();

    if (error == -ENOMEM && !peer_is_closing(s->peer)) {
        router_starve_peer(s->all->router, s->peer, &now); /* dirty now: session_flush() follows */
    } else if (error < 0) {
        session_close_error(s, error);
    } else if (peer_is_closing(s->peer)) {
        session_close_goodbye(s);
    } else {
        session_close(s, LOG_DEBUG, "gone", "");
    }
}

static int output(struct link *l, struct iovec iov[LINK_IOV])
{
    const struct outq *q = peer_output(session_of(l)->peer);

    return l->kind == LINK_PACKETS ? outq_peek_packet(q, iov) : outq_peek(q, iov, LINK_IOV);
}

static const struct parcel *output_parcel(struct link *l)
{
    return outq_parcel(peer_output(session_of(l)->peer));
}

static void on_sent(struct link *l, size_t bytes)
{
    struct session *s = session_of(l);

    router_output_sent(s->all->router, s->peer, bytes);
    session_pay(s);
}

static void on_closed(struct link *l)
{
    struct session *s = session_of(l);
    struct sessions *all = s->all;

    DL_DELETE(all->head, s);
    turns_put(s->lane);
    free(s);
    all->n--;
    all->on_closed(all);
}

static const struct link_ops session_link_ops = {
    .on_input = on_input,
    .on_parcel = on_parcel,
    .on_settled = on_settled,
    .on_oversized = on_oversized,
    .on_hold = on_hold,
    .on_release = on_release,
    .on_writable = on_writable,
    .on_end = on_end,
    .output = output,
    .output_parcel = output_parcel,
    .on_sent = on_sent,
    .on_closed = on_closed,
};

/* ---- lifecycle ---- */

static void log_refused(const struct creds *creds, const char *reason)
{
    log(LOG_WARN, LOG_CLIENT_REFUSED, log_number("uid", creds->uid),
        log_number("pid", (uint64_t) creds->pid), log_text("reason", reason));
}

/* 0, ROUTER_FULL, or a negative errno; then nothing is left behind. */
static int session_start(struct session *s, int *take_fd, enum link_kind kind,
                         const struct identity *who)
{
    const struct peer_info info = {
        .uid = who->creds.uid,
        .gid = who->creds.gid,
        .pid = (uint32_t) who->creds.pid,
        .packets = kind == LINK_PACKETS,
        .userdata = s,
        .subject = &who->subject,
    };
    struct now now = now_read();
    int r = router_add_peer(s->all->router, &info, &now, &s->peer);

    if (r != ROUTER_OK) {
        return r;
    }
    r = link_open(&s->link, s->all->loop, &s->lane->lane, take_fd, kind, &session_link_ops);
    if (r < 0) {
        router_remove_peer(s->all->router, s->peer);
    }
    return r;
}

/* A new socket takes so few bytes; if not, nobody is there to read them. */
static void say_full(struct sessions *all, int fd)
{
    uint8_t goodbye[256];
    size_t bytes = router_refusal(all->router, goodbye, sizeof(goodbye));

    (void) send(fd, goodbye, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void session_begin(struct sessions *all, const struct identity *who, enum link_kind kind,
                          int *take_fd)
{
    const int sndbuf_bytes = SESSION_SNDBUF_BYTES;
    AUTO_FREE struct session *s = calloc(1, sizeof(*s));
    int r;

    if (!s) {
        log_refused(&who->creds, "no_memory");
        return;
    }
    s->all = all;
    s->lane = turns_get(&all->turns, who->creds.uid);
    r = s->lane ? session_start(s, take_fd, kind, who) : -ENOMEM;
    if (r == ROUTER_FULL) {
        say_full(all, *take_fd);
    }
    if (r != 0) {
        log_refused(&who->creds,
                    r == ROUTER_FULL ? router_refusal_text(all->router) : strerror(-r));
        turns_put(s->lane);
        return;
    }
    lane_spend(&s->lane->lane, SESSION_UNITS);
    (void) setsockopt(s->link.fd, SOL_SOCKET, SO_SNDBUF, &sndbuf_bytes, sizeof(sndbuf_bytes));
    log(LOG_DEBUG, LOG_CLIENT_CONNECTED, log_number("id", peer_connection_id(s->peer)),
        log_number("uid", who->creds.uid), log_number("pid", (uint64_t) who->creds.pid),
        log_text("link", kind == LINK_PACKETS ? "seqpacket" : "stream"));
    DL_APPEND(all->head, s);
    all->n++;
    TAKE(s);
}

void session_open(struct sessions *all, const struct listener *l, int *take_fd)
{
    enum link_kind kind = listener_sock_type(l) == SOCK_STREAM ? LINK_STREAM : LINK_PACKETS;
    struct identity who;
    int r = identity_read(&who, *take_fd, l);

    if (r < 0) {
        log_refused(&who.creds, r == -E2BIG ? "groups" : strerror(-r));
    } else {
        session_begin(all, &who, kind, take_fd);
    }
    identity_fini(&who);
}

void session_flush(struct peer *p)
{
    struct session *s = peer_userdata(p);
    int r = link_flush(&s->link);

    if (r < 0) {
        session_close_error(s, r);
        return;
    }
    if (peer_is_over(p)) {
        session_close_goodbye(s);
        return;
    }
    session_update_reading(s);
}

/* Another process may have its link, and is given time to read. */
static bool session_is_left(const struct session *s, uint64_t now_ns)
{
    return peer_is_stalled(s->peer, now_ns) && process_is_gone(peer_info(s->peer)->pid);
}

bool sessions_end_gone(struct sessions *all, uint64_t now_ns)
{
    struct session *s, *next;
    bool has_unread = false;

    DL_FOREACH_SAFE (all->head, s, next) {
        if (!s->peer || peer_wants_input(s->peer)) {
            continue;
        }
        if (session_is_left(s, now_ns)) {
            session_close(s, LOG_INFO, "gone", "its process has ended, and did not read");
        } else {
            has_unread = true;
        }
    }
    return has_unread;
}

void sessions_close_all(struct sessions *all)
{
    struct session *s;

    DL_FOREACH (all->head, s) {
        if (s->peer) {
            session_close_goodbye(s);
        }
    }
}

void session_drop(struct peer *p)
{
    session_close(peer_userdata(p), LOG_DEBUG, "gone", "");
}

/* ---- another process takes over ---- */

void sessions_save(const struct sessions *all, struct image *image)
{
    struct record_writer *w = &image->records;
    const struct session *s;

    DL_FOREACH (all->head, s) {
        struct link_rest rest = link_rest(&s->link);

        if (!s->peer) {
            continue; /* it is closing */
        }
        record_begin(w, STATE_LINK);
        record_number(w, LINK_CONNECTION, peer_connection_id(s->peer));
        record_bytes(w, LINK_REST, rest.data, rest.len);
        record_number(w, LINK_HAS_PARCELS, rest.has_parcels);
        record_number(w, LINK_IS_DEAF, rest.deaf);
        record_number(w, LINK_HAS_ENDED, rest.ended);
        record_end(w);
        (void) image_add_fds(image, &s->link.fd, 1);
    }
}

int session_adopt(struct sessions *all, struct peer *p, const struct record *record, int *take_fd)
{
    AUTO_FREE struct session *s = calloc(1, sizeof(*s));
    struct text kept = record_text(record, LINK_REST);
    const struct link_rest rest = {.data = (const uint8_t *) kept.data,
                                   .len = kept.len,
                                   .has_parcels = record_get(record, LINK_HAS_PARCELS),
                                   .deaf = record_get(record, LINK_IS_DEAF),
                                   .ended = record_get(record, LINK_HAS_ENDED)};
    int r;

    if (!s) {
        return -ENOMEM;
    }
    s->all = all;
    s->peer = p;
    s->lane = turns_get(&all->turns, peer_info(p)->uid);
    if (!s->lane) {
        return -ENOMEM;
    }
    r = link_adopt(&s->link, all->loop, &s->lane->lane, take_fd,
                   peer_info(p)->packets ? LINK_PACKETS : LINK_STREAM, &session_link_ops, &rest);
    if (r < 0) {
        turns_put(s->lane);
        return r;
    }
    peer_force_input(p, rest.len);
    peer_set_userdata(p, s);
    DL_APPEND(all->head, s);
    all->n++;
    TAKE(s);
    return 0;
}

void sessions_start(struct sessions *all)
{
    struct session *s;

    DL_FOREACH (all->head, s) {
        session_update_reading(s);
        link_start(&s->link);
    }
}
