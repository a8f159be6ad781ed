/* SPDX-License-Identifier: MIT */
#pragma once
/* The router as a deterministic state machine: received bytes and the time go in, bytes in the
 * output queues of peers and a list of dirty peers come out. No sockets, no clock, no logging, no
 * globals. Return codes: 0 done, > 0 a verdict, < 0 a fatal errno (out of memory at creation);
 * nothing that a peer sends can cause a negative code. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/counters.h"
#include "core/limits.h"
#include "core/subject.h"
#include "wire/outq.h"

struct policy;
struct quota_event;
struct router;
struct peer;

/* The time of one dispatch. */
struct now {
    uint64_t monotonic_ns; /* for deadlines */
    uint64_t realtime_ns;  /* for time stamps */
};

/* What the router must know about a descriptor. */
struct descriptor_info {
    bool is_buffer; /* a memfd that can neither shrink nor grow nor be mapped writable any more */
    bool immutable; /* nor be written by those who have it mapped */
    uint64_t bytes;
};

/* The system, as far as descriptors are concerned. */
struct descriptor_ops {
    int (*inspect)(int fd, struct descriptor_info *ret);            /* 0 or a negative errno */
    bool (*read)(int fd, uint64_t offset, void *dst, size_t bytes); /* all of it, or false */
};

/* Who a session is: docs/protocol.md, section 16. */
struct session_id {
    uint32_t uid;
    uint32_t pid;
    uint64_t session; /* not 0 */
};

/* Told of the connections of sessions that would come back to a router that is started again: each
 * begins once and ends once, unless the router is freed before. Nothing may be called from here. */
struct session_ops {
    void (*begun)(void *userdata, const struct session_id *id);
    void (*ended)(void *userdata, const struct session_id *id);
};

/* What administrators may ask for besides what the router does itself: by requests to
 * $bus/control/. Called when nothing of the router is being looked at; a member may be NULL. */
struct router_controls {
    /* 0, or a negative errno; what there is to say of it goes into text, as UTF-8. */
    int (*reload)(void *userdata, char *text, size_t size);
    /* Everything that a signal to stop does. */
    void (*drain)(void *userdata);
};

/* Somebody was refused something, or has lost it, for want of a right. Valid during the call. */
struct denial {
    uint64_t connection_id;
    uint32_t uid, gid, pid;
    struct text name;  /* of HELLO */
    uint32_t verb;     /* one of POLICY_VERBS */
    struct text topic; /* or filter */
    struct text place; /* of the rule that has decided; empty: none */
    const char *why;   /* static */
    bool is_lost;      /* it had the right before router_reconfigure() */
};

/* Told of what an administrator wants to know of. Nothing of the router may be called from here;
 * what is NULL is not told. */
struct router_events {
    void (*denied)(void *userdata, const struct denial *d);
    void (*quota)(void *userdata, const struct quota_event *e);
};

/* Who knows the names of users and groups (policy_needs_names()). */
struct subject_ops {
    /* Fills in user and group of that uid and gid, as far as they are known; the texts stay until
     * the next call. Nothing of the router may be called from here. */
    void (*name)(void *userdata, struct subject *s);
};

struct router_config {
    struct limits limits;
    uint64_t epoch;      /* WELCOME.router_epoch */
    uint64_t hash_seed;  /* a secret: with it, names can be chosen that collide in the tables */
    uint32_t owner_uid;  /* may replace the router, and without a policy everything, besides root */
    const char *version; /* static text */
    const struct user_override *overrides; /* not owned; copied by router_new() and router_load() */
    size_t n_overrides;
    const struct descriptor_ops
        *descriptors;                   /* static; NULL: buffers and descriptors are refused */
    const struct session_ops *sessions; /* static; NULL: nobody wants to know */
    void *sessions_userdata;
    struct policy *policy;           /* a reference is taken; NULL: there are no rules */
    const struct subject_ops *names; /* static; NULL: names are known if peer_info has them */
    void *names_userdata;
    const struct router_events *events; /* static; NULL: nobody wants to know */
    void *events_userdata;
    const struct router_controls *controls; /* static; NULL: nothing of that can be done */
    void *controls_userdata;
};

/* What the kernel knows about a client, and its kind of link. */
struct peer_info {
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;
    bool packets;   /* seqpacket: input arrives as packets, each a whole number of frames */
    void *userdata; /* peer_userdata() */
    /* Who it is to the rules; its uid and gid are those above, its name comes with HELLO. Copied.
     * NULL: there is no more than these. Names that it does not have are asked for. */
    const struct subject *subject;
};

enum router_verdict {
    ROUTER_OK,
    ROUTER_FULL, /* clients_max is reached, or what its user may have */
};

/* 0 or -ENOMEM */
int router_new(const struct router_config *config, struct router **ret);
/* Frees everything; the peers' userdata is not touched. NULL is fine. Returns NULL. */
struct router *router_free(struct router *r);

/* What can be changed while it runs. */
struct router_settings {
    struct limits limits;                  /* the publish window stays: clients were told of it */
    struct policy *policy;                 /* a reference is taken; NULL: there are no rules */
    const struct user_override *overrides; /* copied */
    size_t n_overrides;
};
/* In one step. What is there already stays above a limit until it goes; what is new is judged by
 * these. What the policy does not allow any more ends now: docs/protocol.md, section 20. 0, or
 * -ENOMEM and nothing has changed. */
int router_reconfigure(struct router *r, const struct router_settings *settings,
                       const struct now *now);
/* What is outside of the router has read a configuration: it counts how that went. */
void router_count_reload(struct router *r, bool is_good);

/* A link has been accepted: ROUTER_OK, ROUTER_FULL or -ENOMEM. */
int router_add_peer(struct router *r, const struct peer_info *info, const struct now *now,
                    struct peer **ret);
/* What to send to a client that cannot be taken because of ROUTER_FULL, before the link is closed:
 * a GOODBYE {LIMIT} frame. Returns its length, at most cap. */
size_t router_refusal(struct router *r, uint8_t *dst, size_t cap);
/* The same in words. */
const char *router_refusal_text(const struct router *r);
/* The link cannot be read any more, but written: GOODBYE {NO_MEMORY}. The peer is closing then. */
void router_starve_peer(struct router *r, struct peer *p, const struct now *now);
/* The link is gone, or will never be read or written again. What the peer owned may take some
 * turns to be dropped: router_deadline(). */
void router_remove_peer(struct router *r, struct peer *p);

/* Who is expected to come back, said before the first peer: until all of them have said RESTORED,
 * or are not expected any more, or until_ns is over (router_tick()), what is published is held. 0,
 * or -ENOMEM: then nobody is expected. */
int router_expect(struct router *r, const struct session_id *ids, size_t n, uint64_t until_ns);
/* It will not come. Does nothing if it is not expected. */
void router_unexpect(struct router *r, const struct session_id *id);
bool router_is_holding(const struct router *r);

/* What a link has received. */
struct received {
    const uint8_t *data;
    size_t len;
    struct slab *slab; /* where data lies, if outputs may keep it there; NULL: they copy it */
};

struct input_result {
    size_t consumed; /* the caller drops so many bytes and keeps the rest for the next call */
    size_t
        need;  /* if nothing more can be consumed yet: bytes the next frame has in all, at least */
    bool more; /* the budget is used up: call again with the rest in the next turn, before reading
                  more */
};

/* Units of work done for the client's user since the last call: what its clients have sent, and
 * what had to be dropped when they went. */
uint64_t peer_take_work(struct peer *p);

/* Handles whole frames at the front of in->data, until about budget units of work are done (a
 * frame, a subscription that a message is for, and a step in finding these is one each). On a link
 * with packets, data ends where a packet ends. A peer that is closing consumes everything and does
 * nothing. */
struct input_result router_input(struct router *r, struct peer *p, const struct received *in,
                                 unsigned budget, const struct now *now);

/* Descriptors that came with what router_input() gets next: takes the reference. */
void router_add_parcel(struct router *r, struct peer *p, struct parcel *parcel,
                       const struct now *now);
/* Everything received is consumed: closes what no frame has claimed. */
void router_settle_parcels(struct peer *p);

/* Takes the next peer off the dirty list: it has output to be sent, or is closing and has none
 * left. NULL if none is left. */
struct peer *router_next_dirty(struct router *r);

/* The peer's output: send with outq_peek() or outq_peek_packet(), then report with
 * router_output_sent(). */
struct outq *peer_output(struct peer *p);
/* So many bytes at the front of the output were sent. May move waiting messages into the output and
 * make the peer dirty again. */
void router_output_sent(struct router *r, struct peer *p, size_t bytes);

/* The link keeps so many bytes of input for this peer: false, and nothing charged, if the peer may
 * not have them. What is not released is released with the peer. */
bool peer_charge_input(struct peer *p, size_t bytes);
void peer_release_input(struct peer *p, size_t bytes);

/* Whether the link should be read: false while the peer does not read our answers, is held or its
 * user owes work, and when it is closing, unless its end of file is waited for. It gets dirty when
 * that is over. */
bool peer_wants_input(const struct peer *p);
/* Whether the link has taken nothing of its output for stall_timeout_ms. */
bool peer_is_stalled(const struct peer *p, uint64_t now_ns);
/* Closing: nothing more will be added to the output. When it is over, close the link: its output is
 * empty and it holds nothing, or the linger deadline has passed. */
bool peer_is_closing(const struct peer *p);
bool peer_is_expired(const struct peer *p);
bool peer_is_over(const struct peer *p);
enum bus_goodbye peer_goodbye(const struct peer *p);
/* Why, in words, for the log; "" if the client just went. */
const char *peer_goodbye_text(const struct peer *p);

void *peer_userdata(const struct peer *p);
uint64_t peer_connection_id(const struct peer *p);
/* What the client calls itself; "" before its HELLO. */
const char *peer_name(const struct peer *p);
const struct peer_info *peer_info(const struct peer *p);

/* When router_tick() must be called next, in monotonic nanoseconds; 0 if in the next turn, because
 * there is work left; UINT64_MAX if never. */
uint64_t router_deadline(const struct router *r);
/* Does what is due: hello, stall, claim and linger deadlines, and a part of the work that was left.
 * Makes the peers concerned dirty. */
void router_tick(struct router *r, const struct now *now);

/* The router is to stop: STOPPING to those who want to know. Everything goes on meanwhile. */
void router_drain(struct router *r, uint64_t deadline_ns, const struct now *now);
/* Whether nothing waits, is being worked on or asked that router_shutdown() would cut off. What
 * waits for the end of an interval does not count: it goes then. */
bool router_is_drained(const struct router *r);
/* GOODBYE {SHUTDOWN} to every peer, behind what is in its output and what waits within credit. All
 * peers are closing from here on. */
void router_shutdown(struct router *r, const struct now *now);

const struct counters *router_counters(struct router *r);

/* Walks everything and asserts the invariants (charges add up, queues within bounds, lists
 * consistent). For tests; costs O(everything). */
void router_check(const struct router *r);
