/* SPDX-License-Identifier: MIT */
#pragma once
/* Who is there: events when clients come and go, what they leave to be published (wills), and how
 * many subscriptions publishers have. docs/protocol.md, section 15. Nothing of it is done where it
 * is noticed, for publishing can end other peers: it is noted, and worked off in router_tick(). */

#include <stdbool.h>
#include <stdint.h>
#include "core/table.h"
#include "wire/messages.h"

struct frame;
struct interest;
struct peer;
struct router;
struct sender;
struct sub;
struct topic;
struct will;
struct wire_hello;
struct wire_subscribe;
struct wire_will;
enum bus_goodbye;

/* What of a client is to be published yet: sender.due. */
enum { DUE_JOINED = 1, DUE_LEFT = 2, DUE_WILLS = 4 };

struct presence {
    struct sender *self; /* the router's own; NULL before its first event */
    struct sender *due;  /* of sender.due_next: counted references */
    uint32_t n_due;
    struct will *wills;       /* of will.left_next: their clients have ended */
    struct table identities;  /* clients that can return, or that wills wait for */
    struct interest *watched; /* of interest.next; looked at longest ago: the first */
    struct interest *changed; /* of interest.changed_next */
    uint32_t n_watched;
    uint32_t n_to_sweep; /* of these, not looked at since there were new wildcards */
    uint64_t epoch;      /* topics.epoch at that time */
    /* no memory for events and wills, for interest: again when router.retry_ns has come. Not one
     * for both: a client that is at its limit keeps only interest waiting */
    bool is_starved;
    bool is_interest_starved;
};

/* Units of work in a turn. Clients that come and go faster than that find the router full. */
#define PRESENCE_IN_A_TURN 2048u

void presence_init(struct router *r);
/* All peers are gone; nothing more is published. */
void presence_fini(struct router *r);
/* Whether anybody would see an event of the router to that topic, that an administrator should. */
bool presence_wants_event(struct router *r, struct text topic);
/* Publishes one, if so, in the name of the router; not where peers or subscriptions are walked.
 * False if out of memory. */
bool presence_publish_event(struct router *r, struct text topic, const uint8_t *body, size_t bytes);
/* Publishes and tells what is due, a part of it in each turn. */
void presence_turn(struct router *r);
/* Whether it has something to do now. */
bool presence_is_due(const struct router *r);
/* For router_check(). Returns what is charged to no peer. */
uint64_t presence_check(const struct router *r);

/* Who the router is to clients: NULL if out of memory. */
struct sender *router_self(struct router *r);

/* HELLO, before it has any effect. False if the peer has been ended over it. */
bool presence_greet(struct peer *p, const struct wire_hello *m);
/* It has been greeted. */
void presence_joined(struct peer *p);
/* It begins to close, or its link is gone, whichever comes first. Cannot fail. */
void presence_left(struct peer *p, enum bus_goodbye reason, const char *text);
/* Something of it is to be published. */
void presence_note(struct router *r, struct sender *s, unsigned due);
/* It is time to try again what there was no memory for. */
void presence_retry(struct router *r);

/* ---- wills.c ---- */

void will_handle(struct peer *p, const struct wire_will *m, const struct frame *f);
/* A client that may return. False if out of memory. */
bool wills_greet(struct peer *p, const struct wire_hello *m);
/* It is there: wills that wait for it are dropped. */
void wills_return(struct peer *p);
/* It ends; keep says whether its wills are to be published. */
void wills_leave(struct peer *p, bool was_present, bool keep);
/* Publishes those whose time has come. False if out of memory. */
bool wills_publish(struct router *r, struct sender *s);
void wills_fini(struct router *r);
uint64_t wills_check(const struct router *r);

/* ---- interest.c ---- */

/* The peer wants to know about the topic of an alias: false if limits or memory forbid. */
bool interest_add(struct peer *p, struct topic *t, uint32_t alias);
/* Not any more, if it did. */
void interest_drop(struct peer *p, struct topic *t, uint32_t alias);
/* The matches of a topic have changed. */
void interest_note(struct topic *t, void *userdata);
/* A subscription begins or ceases to count. */
void interest_note_sub(const struct sub *s);
/* The table, when all aliases are gone. */
void interests_fini(struct peer *p);
/* There is room in its output again. */
void interest_resume(struct peer *p);
/* Tells what has changed, until the router's work reaches end. */
void interest_turn(struct router *r, uint64_t end);
bool interest_is_due(const struct router *r);
void interest_check(const struct router *r);

/* ---- alarm.c ---- */

/* The subscription has an alarm from now on: false if limits or memory forbid. */
bool alarm_add(struct sub *s, uint32_t silence_ms);
/* It has none any more, if it had one. */
void alarm_drop(struct sub *s);
/* A message matched a subscription that has one. */
void alarm_note(struct sub *s);
/* The table, when all subscriptions are gone. */
void alarms_fini(struct peer *p);
