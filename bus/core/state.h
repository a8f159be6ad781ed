/* SPDX-License-Identifier: MIT */
#pragma once
/* The objects that the verbs of the router work on: the router and its peers. Private to bus/core.
 */

#include "core/accesses.h"
#include "core/cargo.h"
#include "core/closed.h"
#include "core/denied.h"
#include "core/exceeded.h"
#include "core/group.h"
#include "core/inside.h"
#include "core/keep.h"
#include "core/message.h"
#include "core/presence.h"
#include "core/quota.h"
#include "core/router.h"
#include "core/sub.h"
#include "core/timers.h"
#include "core/topics.h"
#include "core/user.h"
#include "core/windows.h"
#include "wire/codec.h"

struct envelope;
struct request;
struct answer;
struct call_queue;
struct reliable;
struct reliance;

/* A monitor's own state: docs/protocol.md, section 9. */
struct tap {
    struct idset known_topics;
    uint64_t snap_bytes;
    struct gap loss; /* not yet told */
    uint32_t n_filters;
    struct tap_filter {
        uint8_t len;
        char text[BUS_TOPIC_MAX];
    } filters[];
};

/* A batch for the frame that is on its way, and one for the next: a client that obeys the rules
 * cannot have more. */
#define PEER_PARCELS_MAX 2u

enum peer_state {
    PEER_GREETING, /* no HELLO yet */
    PEER_READY,
    PEER_CLOSING, /* GOODBYE is in the output; nothing else is added */
};

/* enum bus_loss_reason, NONE included. */
#define PEER_LOSS_REASONS 9u

struct peer {
    struct router *router;                      /* not owned; outlives every peer */
    struct peer *prev, *next;                   /* router.peers, by connection id */
    struct peer *timed_prev, *timed_next;       /* router.greeting, .claiming or .lingering */
    struct peer *dirty_prev, *dirty_next;       /* router.dirty */
    struct peer *doomed_prev, *doomed_next;     /* router.doomed */
    struct peer *draining_prev, *draining_next; /* router.draining */
    struct peer *user_prev, *user_next;         /* user.payers */
    struct peer_info info;
    struct sender *sender;
    struct user *user; /* not owned: the sender's, or its group's */
    struct outq out;
    uint64_t out_charged;       /* capacity of out that is in charge */
    uint64_t output_max;        /* above this, messages wait in their queues */
    struct idset known;         /* sender ids bound on this link by PEER */
    struct sub **subs;          /* by number - 1 */
    struct topic **aliases;     /* by number - 1 */
    struct idset wishes, owned; /* aliases whose topics are to keep something, or to lose it */
    struct access *access;      /* what it may; NULL: it stands for a group */
    struct idset muted;         /* aliases to which it may not publish */
    struct idset unasked;       /* aliases to which it may send no requests */
    uint32_t n_muted;
    struct buffer **buffers;    /* by number - 1 */
    struct idpool leases;       /* messages in buffers that the client holds */
    struct idset drained;       /* numbers of subscriptions that drain, and may be over */
    struct idset known_topics;  /* topic ids bound on this link by TOPIC for groups */
    struct idset known_buffers; /* buffer ids bound on this link by BUFFER */
    struct cargo *returns;      /* of cargo.next: RETURNED frames for which there was no memory */
    struct parcel *parcels[PEER_PARCELS_MAX]; /* arrived and not claimed, in order */
    struct charge parcels_charge;             /* of these, in descriptors */
    uint32_t waiting; /* number of the first, of sub.waiting_next; 0 if none */
    uint32_t waiting_last;
    struct windows windows;    /* of its subscriptions */
    struct request **requests; /* by number - 1 */
    struct answer *answers;    /* of answer.next: what it is to be told, and has no room for */
    struct reliable *reliable; /* NULL before it has advertised a reliable topic */
    struct tap *tap;           /* if it is a monitor */
    struct group *group;       /* it is no client, but stands for that group */
    struct peer *tap_next;     /* router.taps */
    struct quota quota;
    struct charge charge; /* the tables above and the output */
    uint32_t n_subs, n_subs_max;
    uint32_t n_wildcards; /* of n_subs, those whose filters have some */
    uint32_t n_aliases, n_aliases_max;
    uint32_t n_buffers_max;
    uint32_t n_requests, n_requests_max;
    uint32_t n_wills; /* of sender.wills */
    uint32_t n_alarms, n_alarms_max;
    uint32_t n_own;        /* during interest_tell() */
    struct alarm **alarms; /* by number of their subscription - 1 */
    uint32_t n_watches_max;
    struct watch **watches;        /* by alias - 1 */
    struct watch *waiting_watches; /* of watch.waiting_next: for room in the output */
    uint32_t n_parcels;
    uint32_t features; /* of HELLO */
    /* descriptors that were put on the link and not answered by a PONG; part of them by the PING
     * that is out */
    uint32_t fds_flying, fds_pinged;
    uint64_t n_pings, ping_token; /* of the last one */
    uint64_t buffer_bytes;        /* registered */
    uint64_t lease_bytes;         /* of the messages in leases */
    uint32_t inline_max;
    enum peer_state state;
    enum bus_goodbye goodbye;
    const char *goodbye_text; /* static */
    uint64_t deadline_ns;     /* of its timed list */
    bool is_dirty;
    bool is_doomed;   /* on router.doomed */
    bool is_draining; /* on router.draining */
    bool is_gone;     /* its link is: freed as soon as nothing is left to be dropped */
    bool is_expired;
    bool is_held;         /* what comes next is held until those who are expected have come back */
    bool comes_back;      /* config.sessions was told of it */
    bool is_over_limit;   /* why the parcel that was claimed last was empty */
    bool is_claiming;     /* on router.claiming */
    bool has_spoken;      /* a whole frame has come */
    bool is_answers_turn; /* of the two in peer_pump_waiting() */
    /* publishing: what it has used of its window, and how much of that can be given back */
    uint64_t sequence;
    uint32_t used_messages, free_messages;
    uint64_t used_bytes, free_bytes;
    uint64_t published_messages, published_bytes;
    uint64_t delivered_messages, delivered_bytes;
    uint64_t lost_messages, refused_messages;
    uint64_t lost_by[PEER_LOSS_REASONS]; /* of lost_messages, by reason */
    uint64_t since_ns;                   /* realtime: when it connected */
    uint64_t heard_ns;                   /* when something came from it last */
    uint64_t blocked_ns; /* since when its link has taken nothing of what is in out; 0: it does */
    uint64_t queued_messages, queued_bytes;
    uint64_t progress_ns; /* when it last took something, or something began to wait for it */
    uint64_t full_ns;     /* the time at which no room could be made for it */
    uint32_t reclaim_at;  /* where its queues give way next: core/reclaim.c */
};

struct router {
    struct router_config config;
    struct counters counters;
    struct now now;             /* of this dispatch */
    struct slab *slab;          /* where the input of this dispatch lies, if it may be kept there */
    struct peer *peers;         /* of peer.next */
    struct peer *greeting;      /* of peer.timed_next, by deadline */
    struct peer *claiming;      /* of peer.timed_next, by deadline: their parcels wait for frames */
    struct peer *lingering;     /* of peer.timed_next, by deadline */
    struct peer *dirty;         /* of peer.dirty_next, in the order in which they became it */
    struct peer *doomed;        /* of peer.doomed_next: closing; what they own is to be dropped */
    struct peer *draining;      /* of peer.draining_next: what is in their drained may be over */
    struct peer *taps;          /* of peer.tap_next */
    struct sub_queue *stalling; /* of sub_queue.stalling_next, by progress */
    struct reliance *awaited;   /* of reliance.late_next, by progress */
    struct reliable *telling;   /* of reliable.telling_next: who is to get ACKED */
    uint64_t n_settles;         /* marks that were tried to be made */
    struct timers timers;       /* all other deadlines */
    struct topics topics;
    struct keeper keeper; /* what these keep */
    struct idpool sender_ids;
    struct idpool buffer_ids;
    struct idpool calls;            /* struct call, by place */
    struct call_queue *call_queues; /* of call_queue.next */
    uint64_t n_calls, n_requests;   /* since the start */
    bool calls_unresolved;          /* topics at which calls wait do not know all servers */
    struct users users;
    struct accesses accesses;
    uint32_t n_shares;                 /* of ceiling.c: at least so many as there are connections */
    bool is_loading;                   /* what comes from another router was allowed there */
    uint32_t n_excesses;               /* that are due, of all users */
    char refusal[ACCESS_TEXT_MAX + 1]; /* why somebody was refused last */
    const char *refused_client;        /* why: the text of router_refusal() */
    struct groups groups;
    struct quota descriptors; /* of all users */
    struct table expected;    /* of struct session_id: those who have not come back yet */
    struct session_id *expected_ids;
    uint64_t hold_ns; /* until when they are waited for */
    struct presence presence;
    struct denials denials;
    struct idset introduced; /* sender ids that are in peer.known of somebody, or were */
    struct outq_pool pool;
    struct quota quota;
    struct arena arena;
    uint8_t *scratch;                  /* FRAME_HEADER_MAX bytes, for encoding */
    struct wire_recipient *recipients; /* TAP_RECIPIENTS_MAX, once there is a monitor */
    uint32_t n_recipients;
    uint64_t next_connection_id;
    uint64_t order;       /* accepted messages */
    uint64_t work;        /* units done, for fairness */
    uint64_t reaped_work; /* of those, what router_reap() has kept pace with */
    uint64_t
        retry_ns;     /* something could not be sent for want of memory: try again then; 0 if not */
    uint64_t n_paced; /* messages that wait for the end of an interval */
    uint64_t stopping_ns; /* when it is to be over, if is_stopping */
    bool is_stopping;     /* STOPPING is said; everything goes on */
    bool is_shutting_down;
    bool is_judging; /* other rules are being put into force: no calls are given meanwhile */
    struct closed_ring closed;
    struct control control;     /* asked for by the frame that is being handled */
    struct parcel *replacement; /* came with REPLACE, and waits for the process to take it */
    struct peer *replacer;      /* who sent it; NULL if it has gone */
};

#define TAP_RECIPIENTS_MAX 1000u

/* What is decoded, looked up and answered takes the time of so many plain ones. */
#define FRAME_UNITS 8u
#define FRAME_BYTES_A_UNIT 256u

/* Units of work besides the one for each frame, for those that are not on a hot way. */
static inline uint64_t frame_work(const struct frame *f)
{
    return FRAME_UNITS + f->header_bytes / FRAME_BYTES_A_UNIT;
}

/* ---- peers.c ---- */

/* A sender with that number, or with any if it is 0, and one reference; NULL if out of memory, or
 * the number is taken. */
struct sender *sender_make(struct router *r, uint32_t uid, uint32_t id);
/* A peer of that sender, whose reference it takes, on no timed list yet; NULL if out of memory. */
struct peer *peer_make(struct router *r, struct sender *s, const struct peer_info *info);
/* Its output has grown or shrunk. */
void peer_charge_output(struct peer *p);
/* The number is a new sender's. */
void sender_forget(struct router *r, uint32_t id);
/* Drops what closing peers own: so many units of work now, the rest when router_deadline() says.
 * Not while subscriptions are being walked. */
void router_reap(struct router *r, unsigned budget);
/* Tries again what there was no memory for, now. */
void router_retry(struct router *r);
#define REAP_AT_ONCE 256u
/* In each turn so many for each peer, and so many more in all than others have done meanwhile: so
 * clients that come and go cannot make more than is dropped. */
#define REAP_IN_A_TURN 2048u

/* ---- ceiling.c ---- */

/* Connections of a user, or of all, have come or gone: what each may have in its output. */
void outputs_share(struct router *r, struct user *u);
/* Limits are others. */
void outputs_share_all(struct router *r);

/* ---- reconfigure.c ---- */

/* For everything that is there, and from here on. */
void limits_apply(struct router *r, const struct limits *l);

/* ---- returns.c ---- */

void restored_handle(struct peer *p, const struct wire_restored *m);
/* Whether the frame at the front must wait, and with it all that comes from this peer. */
bool hold_begins(struct peer *p, const uint8_t *data, size_t len);
/* Those who do not come in time are not waited for. */
uint64_t hold_deadline(const struct router *r);
void hold_expire(struct router *r, uint64_t now_ns);
void expected_forget(struct router *r);
/* For config.sessions. */
void returns_greeted(struct peer *p, const struct wire_hello *m);
void returns_ended(struct peer *p);

/* ---- deadlines.c ---- */

/* STOPPING, if it wants to know. */
void router_tell_stopping(struct peer *p);

/* ---- peer.c ---- */

/* It has something for its link; the other: not any more. */
void peer_mark_dirty(struct peer *p);
void peer_unmark_dirty(struct peer *p);
/* Puts a control frame into the output. If there is no memory for it the peer is ended: it must not
 * miss an answer. */
void peer_send(struct peer *p, enum verb verb, const void *message);
/* The same, but only says so if there is no memory. */
bool peer_try_send(struct peer *p, enum verb verb, const void *message);
/* What it is charged with is its user's, too. */
void peer_join_user(struct peer *p, struct user *u);
void peer_leave_user(struct peer *p);
/* Something could not be put into the output for want of memory: the router tries again soon. */
void peer_retry_later(struct peer *p);
void router_retry_later(struct router *r);
void peer_send_status(struct peer *p, const struct wire_status *status);
/* GOODBYE behind what is in the output; from now on the peer is closing. text is static. */
void peer_end(struct peer *p, enum bus_goodbye reason, const char *text);
/* What it owns is to be dropped by router_reap(). */
void peer_doom(struct peer *p);
/* The same as peer_end() without GOODBYE. */
void peer_begin_closing(struct peer *p, enum bus_goodbye reason, const char *text);
/* Adds to a set that belongs to the peer and is charged to it. False if limits or memory forbid. */
bool peer_set_add(struct peer *p, struct idset *set, uint32_t id);
/* Binds a sender's id on this link if it is not yet. False if out of memory. */
bool peer_introduce(struct peer *p, struct sender *s);
bool peer_announce_topic(struct peer *p, const struct topic *t);
/* The same if it is not bound yet, as far as it was by this. */
bool peer_introduce_topic(struct peer *p, const struct topic *t);
/* Goes on with the subscriptions that waited for room in the output. */
void peer_pump_waiting(struct peer *p);
/* A slot table that reaches up to a number: false if limits or memory forbid. */
bool peer_table_reach(struct peer *p, void ***table, uint32_t *n, uint32_t number);

/* ---- subscriptions ---- */

static inline const struct sub_window *sub_window(const struct sub *s)
{
    return windows_at(&s->peer->windows, s->window);
}

static inline struct subq_bounds sub_bounds(const struct sub *s)
{
    return sub_window(s)->queue;
}

/* What waits, or does not any more. */
static inline void sub_count_queued(struct sub *s, int64_t messages, int64_t bytes)
{
    if (s->peer->queued_messages == 0) {
        s->peer->progress_ns = s->peer->router->now.monotonic_ns;
    }
    s->peer->queued_messages += (uint64_t) messages;
    s->peer->queued_bytes += (uint64_t) bytes;
    s->peer->router->counters.messages_queued_now += (uint64_t) messages;
}

static inline void sub_count_lost(struct sub *s, enum bus_loss_reason reason, uint64_t count)
{
    s->peer->lost_messages += count;
    s->peer->lost_by[reason] += count;
    s->peer->router->counters.messages_lost += count;
}

/* Whether its time to live is over. */
static inline bool message_is_over(const struct message *m, const struct router *r)
{
    return UNLIKELY(m->expires_ns != 0) && m->expires_ns <= r->now.monotonic_ns;
}

/* ---- publish.c ---- */

/* The header that all subscribers share: each gets something of its own with it (wire/hot.h). */
#define MESSAGE_HEADER_MAX                                                                         \
    (FRAME_HEADER_MAX - HOT_SUBSCRIPTION_MAX - HOT_PLACE_MAX - HOT_DELIVERY_MAX)

/* parcel: its descriptors, not owned, NULL if there are none or they did not arrive. */
void publish_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed);
/* Whether clients may publish to it: NULL, or why not, and *ret is the status. */
const char *topic_refusal(struct text topic, enum bus_status *ret);
/* Checks text headers and adds their size. NULL, or what is wrong. */
const char *text_headers_check(const struct wire_header *headers, size_t n, uint64_t *size);
/* With a buffer or descriptors parts become a message at once, parts->whole: there is something to
 * be counted. *ret is OK, or why it cannot be, and the reason is returned. */
const char *message_load(struct peer *p, const struct wire_publish *m, unsigned n_fds,
                         struct parcel *parcel, struct message_parts *parts, enum bus_status *ret);
/* Credit for one message comes back to its publisher. */
void publish_release(struct message *m);
/* Gives back the credit that is due, if there was no memory to say so before. */
void publish_retry(struct peer *p);

/* ---- publication.c ---- */

/* A message that no client sends: the router publishes it in the name of a sender. */
struct publication {
    struct sender *sender;
    uint64_t sequence; /* 0: it is none of the sender's publishes */
    struct text topic; /* valid */
    const struct wire_header *headers;
    size_t n_headers;
    const void *body;
    size_t body_bytes;
    struct cargo *cargo; /* NULL, or the body in a buffer: it is taken over, whatever happens */
};
/* False if out of memory: then nobody got it. */
bool publish_as(struct router *r, const struct publication *pub);

/* ---- advertise.c ---- */

void advertise_handle(struct peer *p, const struct wire_advertise *m);
void unadvertise_handle(struct peer *p, const struct wire_unadvertise *m);
/* One that was another router's: as after an ADVERTISE. False if that would be refused. */
bool alias_restore(struct peer *p, const struct wire_advertise *m);
/* Returns how much more than one unit of work it was. */
unsigned alias_drop(struct peer *p, uint32_t alias);
/* The topic advertised under an alias, or NULL. */
static inline struct topic *alias_topic(const struct peer *p, uint32_t alias)
{
    return alias > 0 && alias <= p->n_aliases_max ? p->aliases[alias - 1] : NULL;
}

/* ---- request.c, call.c: see also request.h ---- */

void request_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed);
void cancel_handle(struct peer *p, const struct wire_cancel *m);
/* CREDIT for a call. */
void request_credit(struct peer *p, const struct wire_credit *m);
/* Whoever has resolved a topic says so: from that match on they are new, and calls may wait there.
 */
void servers_found(struct topic *t, uint32_t first);
void reply_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed);

/* ---- subscribe.c ---- */

void subscribe_handle(struct peer *p, const struct wire_subscribe *m);
void unsubscribe_handle(struct peer *p, const struct wire_unsubscribe *m);
/* Ends a subscription, without a word. */
void subscription_end(struct sub *s);
/* The same, and says so. */
void unsubscribe_finish(struct sub *s);
void credit_handle(struct peer *p, const struct wire_credit *m);
/* One that was another router's: as after a SUBSCRIBE. NULL if that would be refused. */
struct sub *sub_restore(struct peer *p, const struct wire_subscribe *m);

/* ---- buffer.c ---- */

void buffer_handle(struct peer *p, const struct wire_buffer *m, struct parcel *parcel);
void unbuffer_handle(struct peer *p, const struct wire_unbuffer *m);
/* NULL if the client has registered none under that number. */
struct buffer *buffer_by_number(const struct peer *p, uint32_t number);
/* The client does not know it any more. */
void buffer_unlearn(struct peer *p, struct buffer *b);
/* One that was another router's, with one reference more than that of its registration. NULL if out
 * of memory, or it cannot be. */
struct buffer *buffer_restore(struct router *r, const struct buffer *as);
/* Those that a peer has registered, when it goes. */
void buffers_drop_all(struct peer *p);

/* ---- descriptors.c ---- */

void pong_handle(struct peer *p, const struct wire_pong *m);
/* Asks the client to answer if there are descriptors on its link that no PING is behind of. */
void descriptors_ping(struct peer *p);
/* Parcels wait for the rest of their frames since now, or not any more. */
void parcels_watch(struct peer *p);
void parcels_unwatch(struct peer *p);
/* The descriptors of a frame that announces n: a reference, or NULL if they did not arrive. */
struct parcel *peer_claim_parcel(struct peer *p, unsigned n);

/* ---- cargo.c ---- */

/* RELEASE without flags. False if it is not that, or there is no such lease. */
bool release_plain(struct peer *p, const uint8_t *header, size_t bytes);
void release_handle(struct peer *p, const struct wire_release *m);
/* One that the client has from another router. False if out of memory, or it cannot be. */
bool lease_restore(struct peer *p, uint32_t lease, struct message *m);
/* Buffers and descriptors of a peer that is going. */
void cargo_drop_all(struct peer *p);
/* Its leases, when it is gone: until then it reads messages that are in its output. */
void leases_drop_all(struct peer *p);
/* What a PUBLISH brings with it: *ret_cargo, or the status and why not. parcel may be NULL. */
const char *cargo_load(struct peer *p, const struct wire_publish *m, unsigned n_fds,
                       struct parcel *parcel, struct cargo **ret_cargo, enum bus_status *ret);
/* A refused PUBLISH: its publisher gets the bytes in the buffer back all the same. */
void cargo_refused(struct peer *p, const struct wire_publish *m);
/* RETURNED frames for which there was no memory. */
void cargo_return_all(struct peer *p);
/* Whether the client can get such a body at all. */
bool cargo_fits(const struct peer *p, const struct cargo *c);
/* Whether a body of this kind and size can. */
static inline bool body_fits(const struct peer *p, const struct message_parts *parts)
{
    return parts->body_bytes <= p->inline_max &&
           (!UNLIKELY(has_cargo(parts)) || cargo_fits(p, parts->whole->cargo));
}
/* Whether it can get it now, or must return something or answer first. */
bool cargo_may_go(const struct envelope *e, const struct message *m);
/* The frame of a message with cargo, and what must precede it. False if out of memory. */
bool cargo_put(const struct envelope *e, struct message *m);
/* The first bytes of a body in a buffer. */
bool cargo_read(const struct router *r, const struct cargo *c, void *dst, size_t bytes);

/* ---- tap.c ---- */

void monitor_handle(struct peer *p, const struct wire_monitor *m);
/* One that was another router's: as after a MONITOR. False if that would be refused. */
bool tap_restore(struct peer *p, const struct wire_monitor *m);
/* Tells a monitor what it missed, if there is room now. */
void tap_flush_loss(struct peer *p);
void tap_free(struct peer *p);
bool tap_wants(const struct router *r);
/* Whether a filter of a monitor matches that topic. */
bool tap_asked_for(const struct router *r, struct text topic);
/* Whether there is a monitor without filters. */
bool tap_sees_all(const struct router *r);
void tap_note(struct router *r, const struct sub *s, const struct sub_outcome *o);
/* The same for a recipient that is no subscription. */
void tap_note_peer(struct router *r, const struct peer *p, enum bus_verdict verdict);

/* MONITORED.kind */
enum monitored_kind {
    MONITORED_PUBLISH,
    MONITORED_REQUEST,
    MONITORED_REPLY,
    MONITORED_DONE,
    MONITORED_REPLY_MORE,
};

struct tap_record {
    const struct message_parts *parts;
    const struct wire_header *headers;
    size_t n_headers;
    uint64_t sequence;
    enum bus_status status;
    uint32_t n_matched;
    uint32_t n_fds;
    enum monitored_kind kind;
    uint64_t call;  /* of which request, to monitors */
    uint32_t error; /* REPLY.error */
};
/* Shows a publish to the monitors, with what tap_note() collected. */
void tap_emit(struct router *r, const struct tap_record *record);

/* ---- replace.c ---- */

void replace_handle(struct peer *p, const struct wire_replace *m, struct parcel *parcel);

/* ---- snapshot.c ---- */

void snapshot_handle(struct peer *p, const struct wire_snapshot *m);
