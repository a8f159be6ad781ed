/* SPDX-License-Identifier: MIT */
#pragma once
/* What the files of libbus/client that speak the protocol know of each other: input.c takes frames
 * apart and calls the others, one for each part of the API. */

#include <bus/drain.h>
#include <bus/request.h>
#include "client/conn.h"
#include "client/seen.h"
#include "wire/hot.h"

enum sub_state {
    SUB_ASKED,
    SUB_ACTIVE,
    SUB_REFUSED, /* also later: the right to it was taken away */
    SUB_DRAINED, /* the router has ended it */
    SUB_ENDING,  /* let go of; the number is in use until UNSUBSCRIBE is answered */
    SUB_DEAD,    /* in no table; freed when its last dispatcher returns */
};

struct bus_sub {
    struct bus_conn *conn; /* not owned; outlives it */
    bus_message_fn on_message;
    bus_loss_fn on_loss;
    bus_ready_fn on_ready;
    bus_live_fn on_live;
    bus_silence_fn on_silence;
    bus_call_fn on_call; /* a server's: it gets no messages */
    bus_cancel_fn on_cancel;
    bus_drained_fn on_drained;
    void *userdata;
    uint64_t used_bytes; /* consumed since the last CREDIT */
    uint64_t half_bytes; /* of the window: time for a CREDIT */
    uint32_t used_messages;
    uint32_t half_messages;
    uint32_t number;             /* index into bus_conn.subs */
    struct bus_sub *prev, *next; /* bus_conn.sub_list */
    struct kept_frame *again;    /* its SUBSCRIBE, if the connection comes back; else NULL */
    struct bus_sub *owing_prev, *owing_next; /* bus_conn.owing, if it owes */
    struct seen_table seen;
    struct ack_link *acks; /* NULL: nothing is acknowledged */
    uint32_t busy;         /* dispatchers that will touch it again after a callback */
    uint32_t n_endings;    /* UNSUBSCRIBE frames without an answer */
    enum sub_state state;
    bool drains;    /* the first of these asked for that */
    bool owes;      /* credit for reliable messages, whose publishers wait for it */
    bool shares;    /* it is a member of a group */
    bool by_topic;  /* messages of one topic may overtake those of another */
    bool gap;       /* the link was lost while it was in force: the next answer tells */
    bool immutable; /* bodies that somebody could change are copied first */
    char filter[];
};

/* ---- input.c ---- */

/* Handles the frames that have been received. */
void bus__dispatch(struct bus_conn *c);
/* Whether there is an unhandled frame in the buffer: so it is in callbacks. */
static inline bool bus__input_waits(const struct bus_conn *c)
{
    return c->rx_len - c->rx_pos >= c->rx_need;
}
/* NUL-terminated copies in the arena; NULL if it is exhausted. */
const struct bus_header *bus__headers(struct arena *a, const struct wire_header *headers, size_t n);
const char *bus__text(struct arena *a, struct text t);
/* Calls on_status. */
void bus__tell_status(struct bus_conn *c, const struct wire_status *m, const char *topic);

/* Forgets what the router has bound. */
void bus__names_fini(struct bus_conn *c);
/* Makes at[id] exist for an id that the router binds. False if the connection has ended over it. */
bool bus__bind_reserve(struct bus_conn *c, struct table *t, uint32_t id);

/* What MESSAGE, CALL and ANSWER have in common. */
struct carried {
    struct topic_name *topic;
    uint32_t sender;
    uint32_t descriptors;
    uint64_t time_ns;
    struct hot_place place;
    const struct wire_header *headers;
    size_t n_headers;
};
/* A message made of it, which borrows everything but its lease, which is the caller's. False if the
 * connection has ended over it. */
bool bus__message_make(struct bus_conn *c, struct arena *a, const struct carried *w,
                       const struct frame *f, struct rxbuf *buf, struct parcel *parcel,
                       struct bus_message *ret);

/* ---- request.c ---- */

void bus__on_answer(struct bus_conn *c, struct arena *a, const struct wire_answer *m,
                    const struct frame *f, struct rxbuf *buf, struct parcel *parcel);
void bus__on_done(struct bus_conn *c, const struct wire_done *m);
/* The link has ended: none of them will be answered, and their numbers are free. */
void bus__requests_lost(struct bus_conn *c);
/* Their callers hear of it. */
void bus__requests_end(struct bus_conn *c);
void bus__requests_fini(struct bus_conn *c);

/* ---- serve.c ---- */

void bus__on_call(struct bus_conn *c, struct arena *a, const struct wire_call *m,
                  const struct frame *f, struct rxbuf *buf, struct parcel *parcel);
void bus__on_cancel(struct bus_conn *c, const struct wire_cancel *m);
void bus__on_call_credit(struct bus_conn *c, const struct wire_credit *m);
void bus__on_reply_status(struct bus_conn *c, const struct wire_status *m);
/* Nobody waits for the answers any more: those of a server, or, with 0, all. */
void bus__calls_cancel(struct bus_conn *c, uint32_t subscription);
/* The same for a link, or a server, that has ended otherwise, and whose numbers may be used again.
 */
void bus__calls_lost(struct bus_conn *c, uint32_t subscription);
/* Their servers hear of it. */
void bus__calls_tell_lost(struct bus_conn *c, enum bus_status why);
void bus__calls_fini(struct bus_conn *c);

/* ---- buffers.c ---- */

void bus__buffers_init(struct bus_conn *c, const struct wire_welcome *m);
void bus__buffers_fini(struct bus_conn *c);
/* The next batch of descriptors, which a frame with n of them asks for: a reference; NULL if none
 * came. */
struct parcel *bus__claim_parcel(struct bus_conn *c, unsigned n);
void bus__on_buffer(struct bus_conn *c, const struct wire_buffer *m, const struct parcel *parcel);
void bus__on_unbuffer(struct bus_conn *c, const struct wire_unbuffer *m);
void bus__on_returned(struct bus_conn *c, const struct wire_returned *m);
void bus__on_buffer_status(struct bus_conn *c, const struct wire_status *m);
/* The lease that a message names, which is the caller's then, and its body. False if the connection
 * has ended over it. */
bool bus__body_find(struct bus_conn *c, const struct hot_place *place, struct bus_message *m);
/* Whether a message can be shown; makes a private copy if nobody may change it. */
enum bus_loss_reason bus__message_secure(struct bus_conn *c, bool immutable, struct bus_message *m);
/* A slot is free again. */
void bus__give_slot(struct bus_conn *c, struct slot slot);

/* ---- loan.c ---- */

void bus__loans_fini(struct bus_conn *c);

/* ---- publish.c ---- */

/* Publishes what is in a slot. On success the slot is not the caller's any more. */
int bus__publish_slot(struct bus_topic *topic, struct slot slot, size_t bytes,
                      const struct bus_publish_opts *opts);

/* A request or a reply: a frame with a body that is no publish. */
struct outgoing {
    enum verb verb; /* VERB_REQUEST or VERB_REPLY */
    /* VERB_REQUEST: the topic, or if there is none its name */
    const struct bus_topic *topic;
    const char *name;
    uint64_t call;
    uint32_t flags;
    uint32_t timeout_ms; /* VERB_REQUEST */
    uint32_t error;      /* VERB_REPLY */
};
/* Sends one; of opts only headers and descriptors are looked at. Errors as bus_publish_with(). */
int bus__send_outgoing(struct bus_conn *c, const struct outgoing *o, const void *data, size_t bytes,
                       const struct bus_publish_opts *opts);

/* Whether what returned -EAGAIN would fit into the output now; the second: also a publish. */
bool bus__has_room(const struct bus_conn *c);
bool bus__is_writable(const struct bus_conn *c);
/* 0 or -EINVAL; adds the lengths of names and values. */
int bus__headers_check(const struct bus_header *headers, size_t n, size_t *text_bytes);
/* Whether a frame with that body goes onto links of every kind: what only this one takes would be
 * lost to subscribers on others. */
bool bus__fits_every_link(const struct bus_conn *c, size_t bytes);

/* ---- outcome.c ---- */

/* Of the first link or a further one: 0 or -ENOMEM */
int bus__publish_init(struct bus_conn *c, const struct wire_welcome *m);
/* The link has ended: what became of its publishes will not be known. */
void bus__publish_lost(struct bus_conn *c);
/* Those who asked for the outcome hear of it. */
void bus__confirms_unknown(struct bus_conn *c);
void bus__publish_fini(struct bus_conn *c);
void bus__on_publish_credit(struct bus_conn *c, const struct wire_publish_credit *m);
void bus__on_confirm(struct bus_conn *c, const struct wire_confirm *m);
void bus__on_publish_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_advertise_status(struct bus_conn *c, const struct wire_status *m);

/* ---- presence.c ---- */

void bus__on_interest(struct bus_conn *c, const struct wire_interest *m);
void bus__on_silence(struct bus_conn *c, const struct wire_silence *m);

/* ---- topic_handle.c ---- */

/* The router has answered a PING: aliases whose end it has seen before may be used again. */
void bus__topics_settle(struct bus_conn *c, uint64_t token);
/* The link has ended. */
void bus__topics_lost(struct bus_conn *c);
/* Advertises all of them on a new link: 0 or -ENOMEM. */
int bus__topics_again(struct bus_conn *c);
/* Those that were ended behind what waits can go if it does not wait any more. */
void bus__topics_depart(struct bus_conn *c);

/* ---- subscribe.c ---- */

/* A subscription that is to be asked for, as opts say; -EINVAL or -ENOMEM. */
int bus__sub_new(struct bus_conn *c, const char *filter, const struct bus_sub_opts *opts,
                 struct bus_sub **ret);
/* Asks for it, with further flags. On success it is the connection's. */
int bus__sub_ask(struct bus_conn *c, struct bus_sub *sub, const struct bus_sub_opts *opts,
                 uint32_t flags);
void bus__subscribe_fini(struct bus_conn *c);
void bus__on_subscribe_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_unsubscribe_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_loss(struct bus_conn *c, const struct wire_loss *m);
/* The link has ended. */
void bus__subscribe_lost(struct bus_conn *c);
/* Asks for all of them on a new link, in the order in which they were made: 0 or -ENOMEM. */
int bus__subscribe_again(struct bus_conn *c);
void bus__give_credit(struct bus_conn *c, struct bus_sub *sub);
/* Credit is to be given when everything received has been handled. */
void bus__owe_credit(struct bus_conn *c, struct bus_sub *sub);
void bus__give_owed(struct bus_conn *c);
void bus__sub_free_idle(struct bus_sub *sub);

/* After a callback of a subscription that was marked busy: whether it is still to be used. */
static inline bool bus__sub_release(struct bus_sub *sub)
{
    sub->busy--;
    if (LIKELY(sub->state < SUB_ENDING)) {
        return true;
    }
    bus__sub_free_idle(sub);
    return false;
}

/* ---- drain.c ---- */

/* The answer to an UNSUBSCRIBE with DRAIN of a subscription that the application still has. */
void bus__on_drained_status(struct bus_conn *c, struct bus_sub *sub, const struct wire_status *m);
/* The application has let go of it. */
void bus__drain_forget(struct bus_sub *sub);
/* The connection or its link has ended: those that drained hear of it. */
void bus__drains_end(struct bus_conn *c);

/* ---- retained.c ---- */

void bus__on_clear_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_live(struct bus_conn *c, const struct wire_snapshot_end *m);

/* ---- monitor.c ---- */

void bus__monitor_fini(struct bus_conn *c);
/* What was asked of the router itself: inside.c. */
void bus__inquiries_fini(struct bus_conn *c);
/* The link has ended: snapshots stop where they are. */
void bus__snapshots_lost(struct bus_conn *c);
/* Who asked for them hears of it. */
void bus__snapshots_end(struct bus_conn *c);
void bus__on_monitored(struct bus_conn *c, struct arena *a, const struct wire_monitored *m,
                       const struct frame *f);
void bus__on_monitor_loss(struct bus_conn *c, const struct wire_loss *m);
void bus__on_monitor_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_snapshot_status(struct bus_conn *c, const struct wire_status *m);
void bus__on_client_stats(struct bus_conn *c, struct arena *a, const struct wire_client_stats *m);
void bus__on_topic_stats(struct bus_conn *c, struct arena *a, const struct wire_topic_stats *m);
void bus__on_counter(struct bus_conn *c, struct arena *a, const struct wire_counter *m);
void bus__on_snapshot_end(struct bus_conn *c, const struct wire_snapshot_end *m);
