/* SPDX-License-Identifier: MIT */
#pragma once
/* The connection, as the files of libbus/client share it. conn.c: its life and its waiting; link.c:
 * the socket; session.c: one link after another; input.c: what the router says; publish.c,
 * subscribe.c, monitor.c: what the application says and the answers to it. */

#include <bus/bus.h>
#include <bus/monitor.h>
#include <stdbool.h>
#include <sys/types.h>
#include "base/arena.h"
#include "base/macros.h"
#include "base/spin.h"
#include "client/message.h"
#include "client/pool.h"
#include "client/table.h"
#include "wire/messages.h"
#include "wire/outq.h"

/* Room for the header of any control frame but MONITOR. */
#define CONTROL_HEADER_MAX 384u
#define INLINE_MAX_BELIEVED (64u << 20)
#define GOODBYE_TEXT_MAX 255u

/* A batch for the frame that is on its way, and one for the next. */
#define PARCELS_MAX 2u

enum conn_state {
    CONN_GREETING, /* HELLO is on its way */
    CONN_READY,
    CONN_LOST,   /* the link is of no use any more, but there will be another: session.c */
    CONN_AWAY,   /* everything that belonged to the old link is gone; deadline_ns is the next try */
    CONN_BROKEN, /* no use any more; on_closed follows in the next processing */
    CONN_ENDED,  /* on_closed has been called */
    CONN_CLOSED, /* bus_close() has been called; the memory goes with the last pin */
};

enum timer_state { TIMER_OFF, TIMER_DEADLINE, TIMER_NOW };

/* What the outcome of one step was, and whether the next is worth a try without waiting. NONE:
 * there was no step yet. */
enum step { STEP_NONE, STEP_IDLE, STEP_SOME, STEP_MORE };

enum receive_mode { RECEIVE_NOW, RECEIVE_WAIT };

enum output_extent {
    OUTPUT_FULL, /* chunks that are full */
    OUTPUT_ALL,
};

struct monitor {
    bus_record_fn on_record; /* NULL: not a monitor */
    bus_monitor_loss_fn on_loss;
    bus_monitor_ready_fn on_ready;
    void *userdata;
};

struct bus_conn {
    /* what every publish looks at; all of it says no unless the connection is READY */
    const volatile uint8_t *fork_mark; /* 0 in a child process, see conn.c */
    int64_t credit_messages;
    int64_t credit_bytes;
    size_t max_out_bytes;
    size_t plain_limit; /* shorter bodies go into the frame without a second thought */
    uint32_t hold;      /* corks and running steps: output is collected */
    struct outq outq;
    uint64_t sequence;
    uint32_t *
        sizes; /* of the last publishes by sequence number, so that refused ones give credit back */
    uint32_t sizes_mask;

    enum conn_state state;
    int fd; /* -1 once the connection has ended */
    bool seqpacket;
    bool opened;        /* bus_open() has returned: callbacks may run */
    bool blocked;       /* the socket takes no more until POLLOUT, or retry_ns */
    bool out_dead;      /* the other side does not read any more; input may be left */
    bool reset;         /* ECONNRESET was read once */
    bool interrupted;   /* a signal ends the wait behind this step */
    bool urgent;        /* control frames wait: they pass a cork */
    bool away;          /* from the end of a link until the WELCOME of the next */
    bool want_writable; /* something returned -EAGAIN */
    size_t want_bytes;  /* that it needs in the output */
    bool kick;          /* bus_process() has something to do though the socket has not */
    bool stop;          /* for bus_run() */
    uint32_t cork;
    uint32_t generation; /* how many links there were before this one */
    uint32_t pins;       /* calls on the stack that will touch the connection again */

    /* input */
    struct rxbuf *rx; /* NULL before the first read */
    size_t rx_pos;    /* of the next frame */
    size_t rx_len;
    size_t rx_need; /* bytes from rx_pos on without which parsing is useless */
    struct rxpool *rxpool;
    struct arena arena;  /* for one decoded header; base is NULL while a callback looks at one */
    struct table topics; /* struct topic_name, by the router's topic id */
    struct table peers;  /* struct peer_name, by the router's sender id */
    enum bus_goodbye goodbye; /* what the router said, then what on_closed gets */
    bool goodbye_local;       /* it is this side that has a reason to end */
    char goodbye_text[GOODBYE_TEXT_MAX + 1];

    uint32_t inline_max;                 /* longest body in a frame */
    struct parcel *parcels[PARCELS_MAX]; /* received and not claimed by a frame yet, in order */
    uint32_t n_parcels;
    struct table buffers;     /* struct mapping, by the router's buffer id */
    struct mapping *mappings; /* of mapping.next: also those without an id that messages hold */

    /* subscriptions */
    struct table subs;
    struct bus_sub *owing;    /* of bus_sub.owing_next: those that owe credit */
    struct bus_sub *sub_list; /* of bus_sub.next: those in subs, in the order they were made */
    struct numbers sub_numbers;
    uint32_t n_subs;     /* that the application has */
    uint32_t n_draining; /* of these */
    bool drain_failed;   /* the router could not drain one that bus_drain() waits for */
    uint32_t subscriptions_max;

    /* publishing */
    struct table aliases; /* struct bus_topic */
    struct numbers alias_numbers;
    uint32_t n_topics;
    uint32_t aliases_max;
    struct bus_topic *by_name; /* uthash of the automatic topics */
    struct bus_topic *lru;     /* of the automatic topics, the latest used last */
    struct bus_topic
        *leaving; /* of bus_topic.next: ended, but numbers of them may be on their way */
    struct bus_topic *departing; /* of bus_topic.next: ended behind publishes that wait */
    struct confirm *confirms;    /* in the order of their sequence numbers */
    struct confirm *unknown;     /* the same, of publishes on a link that was lost: to be told */
    uint64_t wire_sequence;      /* number of the last that was sent because it had waited */
    bool sequence_due;           /* the next publish has to say its number: the link is new */
    size_t body_max;             /* longest body in a buffer; 0: the router takes none */
    size_t buffer_wish;          /* what the application wants of buffer_from; 0: nothing */
    size_t buffer_from;          /* bodies of so many bytes and more go into buffers */
    size_t pool_bytes_max;
    size_t handed_over; /* bodies in buffers since the output was looked at */
    struct pool pool;
    struct bus_loan *loans; /* of bus_loan.next: those the application has */
    uint32_t buffer_status; /* with which the router refused a buffer last, or 0 */
    int64_t window_messages;
    int64_t window_bytes;

    /* requests and calls */
    struct table requests; /* struct bus_request, by its number */
    struct numbers request_numbers;
    uint32_t n_requests; /* in requests */
    uint32_t requests_max;
    uint32_t request_timeout_max_ms;
    struct bus_request *unanswered; /* of bus_request.next: their link was lost, to be told */
    struct bus_call *calls;         /* uthash of those that are open here */
    struct bus_call *orphans;       /* of bus_call.next: calls of links that were lost */
    bool starved;                   /* the last -EAGAIN was for want of credit for replies */

    struct monitor monitor;
    struct inquiry *inquiries;  /* of inquiry.next: inside.c */
    struct snapshot *snapshots; /* the first one is being answered */
    struct snapshot *cut_short; /* of snapshot.next: their link was lost, to be told */

    uint64_t connection_id;
    uint64_t ping_token; /* the last sent */
    uint64_t pong_token; /* the last answered */

    /* the descriptor for event loops */
    int epoll_fd;
    int timer_fd;
    bool exposed; /* bus_fd() was called: keep the two up to date */
    bool epoll_out;
    enum timer_state timer;
    uint64_t timer_ns;    /* what TIMER_DEADLINE was set to */
    uint64_t retry_ns;    /* when to send again what the kernel had no room for; else 0 */
    uint64_t deadline_ns; /* of the greeting, if nobody waits for it, or of the next try; else 0 */
    struct session *session; /* NULL: it does not come back */

    struct spin spin;   /* while we wait ourselves, and not the application's loop */
    bool signals_held;  /* by bus__signals_hold() */
    sigset_t signals;   /* then: what it had blocked before */
    uint8_t *fork_page; /* NULL: the kernel cannot do it, compare pid */
    pid_t pid;
    struct outq_pool chunks;
    bus_status_fn on_status;
    bus_writable_fn on_writable;
    bus_closed_fn on_closed;
    bus_stopping_fn on_stopping;
    void *userdata;
};

/* ---- conn.c ---- */

bool bus__forked_slow(const struct bus_conn *c);
static inline bool bus__forked(const struct bus_conn *c)
{
    return UNLIKELY(!*c->fork_mark) && bus__forked_slow(c);
}

/* 0, -ECHILD or -ENOTCONN: it has ended for good. */
int bus__usable(const struct bus_conn *c);
/* The same, and -ENOTCONN while it is away. */
int bus__connected(const struct bus_conn *c);
/* The connection is of no use any more; on_closed follows. The first reason stays. */
void bus__fail(struct bus_conn *c, enum bus_goodbye reason, const char *text);
/* Input against the protocol. */
void bus__fail_protocol(struct bus_conn *c, const char *text);
/* 1: a step has something to do; 0: the time has come; -EINTR. UINT64_MAX waits for ever. */
int bus__wait(struct bus_conn *c, uint64_t deadline_ns);
/* Steps until done(c, arg): 0, -ETIMEDOUT, -EINTR or -ENOTCONN. The connection must be pinned. */
int bus__run_until(struct bus_conn *c, bool (*done)(const struct bus_conn *c, uint64_t arg),
                   uint64_t arg, uint64_t deadline_ns);
/* Releases the signals, and the memory if bus_close() has been called; returns r. */
int bus__unpin(struct bus_conn *c, int r);
uint64_t bus__deadline_ns(int timeout_ms);
/* Signals of a call that waits: held from before it sends, let through while it sleeps, which they
 * end with -EINTR, and released before anything calls back. So none that comes meanwhile is missed:
 * it may well be the answer to what was sent. */
void bus__signals_hold(struct bus_conn *c);
void bus__signals_release(struct bus_conn *c);
/* The same inside of a step, behind which the wait is over if one came. */
void bus__signals_note(struct bus_conn *c);
/* bus_flush() of a pinned connection. */
int bus__flush(struct bus_conn *c, uint64_t deadline_ns);

/* ---- link.c ---- */

/* Sends what waits, as far as the socket takes it. */
void bus__output(struct bus_conn *c, enum output_extent extent);
/* Reads once. Failures end in bus__fail(). */
enum step bus__receive(struct bus_conn *c, enum receive_mode mode);
/* Queues a control frame: 0 or -ENOMEM. It may exceed max_out_bytes. Without a link nothing is to
 * be done: the next one begins with what there is then. */
int bus__send(struct bus_conn *c, enum verb verb, const void *m, size_t header_max);
/* The same, for what cannot be reported to a caller. */
void bus__send_or_fail(struct bus_conn *c, enum verb verb, const void *m);
/* Brings bus_fd() in line with blocked, kick and what is due. */
void bus__sync_fd(struct bus_conn *c);
/* When there is something to do without input, or 0: never. */
static inline uint64_t bus__due_ns(const struct bus_conn *c)
{
    return c->retry_ns == 0 || (c->deadline_ns != 0 && c->deadline_ns < c->retry_ns)
               ? c->deadline_ns
               : c->retry_ns;
}
/* Whether POLLOUT is what it waits for. */
static inline bool bus__waits_for_room(const struct bus_conn *c)
{
    return c->blocked && c->retry_ns == 0;
}
/* A connected socket becomes the connection's: 0, or a negative errno, and it is the caller's. */
int bus__link_attach(struct bus_conn *c, int fd, int type);
/* Closes it, and forgets what was on its way in both directions. */
void bus__link_drop(struct bus_conn *c);
/* -EAGAIN if control frames should wait too. */
int bus__room(struct bus_conn *c);

static inline void bus__output_queued(struct bus_conn *c)
{
    if (c->hold == 0) {
        bus__output(c, OUTPUT_ALL);
    } else if (UNLIKELY(c->outq.bytes >= OUTQ_CHUNK_BYTES)) {
        bus__output(c, OUTPUT_FULL);
    }
}

static inline bool bus__is_over(const struct bus_conn *c)
{
    return c->state >= CONN_BROKEN;
}

/* There is a link to read from. */
static inline bool bus__is_up(const struct bus_conn *c)
{
    return c->state < CONN_LOST;
}

/* There is a link to write to. */
static inline bool bus__has_link(const struct bus_conn *c)
{
    return bus__is_up(c) && !c->out_dead;
}
