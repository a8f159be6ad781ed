/* SPDX-License-Identifier: MIT */
#pragma once
/* Requests, the calls that servers get for them, and the answers. docs/protocol.md, section 12.
 * request.c: the requester's side; call.c: the servers'; answer.c: the way back. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/message.h"
#include "core/quota.h"
#include "core/timers.h"
#include "wire/messages.h"

struct match;
struct peer;
struct router;
struct sub;
struct topic;

/* CALL.call: the place in router.calls, and above it how many calls there were before. */
#define CALL_PLACE_BITS 20u
#define CALLS_MAX ((1u << CALL_PLACE_BITS) - 1)
/* Replies with MORE that the requester has not consumed. */
#define REPLIES_AHEAD_MAX 64u

enum call_state {
    CALL_WAITING, /* for its server, or for any */
    CALL_OPEN,    /* the server has it */
    CALL_OVER,
};

/* What one server is asked. Part of its request. */
struct call {
    struct request *request;
    struct match *match;      /* of the server; NULL while it waits for any */
    struct call *prev, *next; /* server.open, server.waiting or call_queue.calls */
    uint64_t id;              /* CALL.call */
    uint8_t state;            /* enum call_state */
    uint8_t n_ahead;          /* replies with MORE that are not consumed */
};

/* One REQUEST, until the requester has been told its end. Owned by the requester. */
struct request {
    struct peer *peer;
    struct topic *topic;
    struct message *message; /* what calls that wait will say; NULL if none does */
    uint64_t id;             /* to monitors */
    struct timer timer;
    struct charge charge;
    uint32_t number; /* REQUEST.call */
    uint32_t timeout_ms;
    uint32_t size; /* what it uses of servers' windows */
    bool to_all;
    bool wants_fds;
    uint32_t n_calls, n_over;
    uint32_t n_waiting;                      /* of those that are not over */
    uint32_t n_replied, n_gone, n_timed_out; /* of n_over */
    struct call calls[];
};

/* What a serving subscription has instead of a queue. */
struct server {
    struct call *open;    /* of call.next */
    struct call *waiting; /* of call.next: those of requests to all, for this server alone */
};

/* Calls to a topic that wait for any of its servers, in their order. */
struct call_queue {
    struct call_queue *prev, *next; /* router.call_queues */
    struct topic *topic;
    struct call *calls; /* of call.next; never empty */
};

/* What a requester is to be told, and has no room for. */
struct answer {
    struct answer *prev, *next; /* peer.answers */
    uint32_t number, part;
    bool wants_fds;
    struct message *message; /* NULL: the end */
    struct wire_done done;   /* its text is static */
};

/* ---- request.c ---- */

/* The requester goes: what it has asked for is cancelled. False if the budget was used up before
 * that. */
bool requests_drop(struct peer *p, unsigned *budget);
/* A call has ended, and is in no list any more; the request perhaps with it. */
void request_note_over(struct request *r);
/* Its time begins anew. */
void request_rearm(struct request *r);
/* All calls end, and the requester is told why. */
void request_end(struct request *r, enum bus_status status, const char *why);
/* The same for want of the right to ask. */
void request_withdraw(struct request *r);

/* One that was another router's, whose calls have these numbers (0: over): they wait, and are in no
 * row yet. NULL if out of memory, or it cannot be. */
struct request *request_restore(struct peer *p, uint32_t number, struct topic *t,
                                const uint64_t *ids, uint32_t n_calls);
/* When its time is over, and what calls that wait will say. */
void request_restore_end(struct request *r, uint64_t ns);
void request_restore_message(struct request *r, struct message *m);

/* ---- call.c ---- */

/* The servers' side of a serving subscription, charged to its peer; NULL if out of memory. */
struct server *server_new(void);
/* Ends what is open there; afterwards sub.server is NULL. False as above. */
bool server_end(struct sub *s, unsigned *budget);
/* Ends what is open there of one topic, and what waits there, if it was its last server. */
void server_lose(struct sub *s, struct match *match);
/* It gets no further calls but those that wait for it alone. */
void server_drain(struct sub *s);
/* Whether it has no calls, and none waits for it alone. */
bool server_is_idle(const struct sub *s);
/* It may be able to take calls again. */
void server_pump(struct sub *s);
/* A new server: it may take what waits. */
void server_welcome(struct sub *s);
/* Servers of a topic, from that match on, soon take what waits. */
void servers_wake(struct topic *t, uint32_t first);
/* Completes the matches of a topic, as far as there is memory. Servers that so get to know of calls
 * that wait take them soon. */
void topic_find_servers(struct router *r, struct topic *t);
/* The same for topics at which calls wait, at most so many; if memory was missing it is to be tried
 * again. */
void calls_resolve(struct router *r, unsigned n_queues);

/* Why no server was chosen. */
enum server_choice {
    SERVER_NONE,
    SERVER_TOO_LARGE, /* the body does not fit onto the link of any */
    SERVER_BUSY,      /* none can take it now */
};

/* The server that a call goes to now, as a match of the topic; NULL if none can take it, and *ret
 * says why. */
struct match *server_choose(struct topic *t, const struct message_parts *parts,
                            enum server_choice *ret);
/* Whether the match is that of a server that has not gone. */
bool match_serves(const struct match *match);
/* Gives a call to the server of call.match. False if it has to wait. */
bool call_deliver(struct call *c, const struct message_parts *parts);
/* Puts a call where it waits: for call.match, or at its topic. The request has a message. False if
 * out of memory. */
bool call_wait(struct call *c);
/* Ends it without a word to anybody, but with what it used of the server's window given back. */
void call_over(struct call *c);
/* Tells the server, if it has got the call, that nobody waits for the answer any more. */
void call_cancel(struct call *c, enum bus_status reason);

/* ---- answer.c ---- */

/* Which request is answered. */
struct answer_to {
    struct peer *peer;
    uint32_t number, part;
    bool wants_fds;
};

/* To the requester, behind what already waits for it. NULL, or why it cannot get it: then nothing
 * was sent. */
const char *answer_send(const struct answer_to *to, const struct message_parts *parts);
/* The same for the end of a request that was open. Cannot fail: without memory the requester is
 * ended. */
void answer_done(struct peer *p, const struct wire_done *done);
/* Sends what waits, as far as it can go. */
void answers_pump(struct peer *p);
/* False if the budget was used up before that. */
bool answers_drop(struct peer *p, unsigned *budget);

/* One that was another router's, behind the others. False if out of memory. */
bool answer_restore(struct peer *p, const struct answer *as);
