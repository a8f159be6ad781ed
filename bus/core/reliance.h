/* SPDX-License-Identifier: MIT */
#pragma once
/* Reliable topics: how far what a client has published is consumed. docs/protocol.md, section 17;
 * why it is so: docs/decisions/031-reliable-topics.md.
 *
 * A publisher has marks: everything up to a sequence number. A mark has a note at each
 * subscription, or group, that something before it went to, and is done when these are. A
 * subscription has a reliance, which works in rounds: a round is over when everything that was not
 * done when it began is done, and so are the notes that it began with. Those that come meanwhile
 * wait for the next round; a publisher has at most one among these. */

#include <stdbool.h>
#include <stdint.h>
#include "core/idpool.h"
#include "core/state.h"
#include "core/table.h"

struct delivery;
struct member;

/* A mark at a place. Charged to its publisher. */
struct note {
    struct note *prev, *next;           /* reliance.current or .next */
    struct note *mark_prev, *mark_next; /* mark.notes */
    struct mark *mark;
    struct reliance *place;
    bool is_next; /* in reliance.next, and in reliable.next of its publisher */
};

/* Charged to its publisher. */
struct mark {
    struct mark *prev, *next; /* reliable.marks */
    struct reliable *owner;
    struct note *notes; /* of note.mark_next */
    uint64_t sequence;  /* up to which it covers */
};

/* What a client has that advertises reliable topics; owned by its peer. */
struct reliable {
    struct peer *peer;
    struct idset aliases;
    struct idset noted; /* of these: published to, and no mark covers it */
    uint32_t *list;     /* the same, as a list */
    uint32_t n_listed, n_listed_max;
    uint32_t n_aliases;
    struct mark *marks; /* of mark.next, the oldest first */
    struct table next;  /* its notes that wait for the next round, by place */
    uint64_t done;      /* everything up to this number is */
    uint64_t told;      /* and its publisher knows it up to this one */
    struct reliable *telling_prev, *telling_next; /* router.telling */
    bool is_telling;
};

enum place_stage {
    PLACE_IDLE,    /* no notes */
    PLACE_PACED,   /* what waited for the end of an interval has not all gone its way */
    PLACE_QUEUED,  /* what was in the queue is not all gone */
    PLACE_MEMBERS, /* a group: what was in the queues of its members is not */
    PLACE_SENT,    /* what was sent is not all consumed */
};

/* What a subscription or the face of a group has that reliable messages went to: of its queue. */
struct reliance {
    struct sub *sub;
    struct note *current;                   /* end with this round */
    struct note *next;                      /* with the next one */
    struct reliance *late_prev, *late_next; /* router.awaited, by progress_ns */
    uint64_t progress_ns;                   /* last credit, or when it began to be awaited */
    uint64_t queue_end;                     /* PLACE_QUEUED: what is before that position is old */
    uint64_t n_left; /* PLACE_MEMBERS: of them; PLACE_SENT: messages that are not consumed */
    uint64_t settle; /* router.n_settles when it got a note last, or was to get one */
    enum place_stage stage;
    bool is_frozen;  /* its members change: no round ends */
    bool is_awaited; /* on router.awaited */
    bool is_stalled; /* gave no credit for too long: nobody waits for it until it does */
};

/* ---- publishers: reliable.c ---- */

static inline bool alias_is_reliable(const struct peer *p, uint32_t alias)
{
    return p->reliable && idset_has(&p->reliable->aliases, alias);
}

/* The alias is free, but its topic has a reference. False if limits or memory forbid. */
bool reliable_add(struct peer *p, struct topic *t, uint32_t alias);
/* Does nothing if it is none. */
void reliable_remove(struct peer *p, struct topic *t, uint32_t alias);
/* Something was published to a reliable alias. */
void reliable_note(struct peer *p, uint32_t alias);
/* A mark for what was published since the last one. Without memory, or at a limit, it is made
 * later: until then nothing of that counts as done. */
void reliable_settle(struct peer *p);
/* What could not be said or done for want of memory or room. */
void reliable_retry(struct peer *p);
/* ACKED to all who are to get it. */
void reliable_tell_all(struct router *r);
/* The notes of a closing peer, one for each unit. False if something is left. */
bool reliable_drop(struct peer *p, unsigned *budget);
/* The rest, when it has no aliases any more. */
void reliable_fini(struct peer *p);
/* It ends because its place says so. */
void note_done(struct note *n);
/* It goes with its publisher, who does not wait for it any more. */
void note_free(struct note *n);
/* Its round begins. */
void note_leave_next(struct note *n);
/* For a client that is built up again: how far it was told, and then each place that one mark for
 * all of what is not done has a note at. False if it cannot be, or there is no memory. */
bool reliable_restore(struct peer *p, uint64_t done, uint64_t told);
bool reliable_restore_note(struct peer *p, struct sub *s, uint64_t sequence);
/* Asserts the invariants; for tests. */
void reliable_check(const struct peer *p);

/* ---- subscriptions: reliance.c ---- */

/* That of a subscription, made if there is none. NULL if out of memory. */
struct reliance *reliance_get(struct sub *s);
/* A note comes to it. If it is the first one a round begins, which reliance_look() may end. */
void reliance_add(struct reliance *rel, struct note *n);
/* Something has moved: ends the round if it is over. */
void reliance_look(struct reliance *rel);
/* It is without notes. */
void reliance_rest(struct reliance *rel);
/* The members of a group change, and with them where things are; and that is over. */
void reliance_freeze(struct reliance *rel);
void reliance_thaw(struct reliance *rel);
/* Its client has given credit for so many messages; the client of a member of a group has. */
void reliance_credit(struct reliance *rel, uint32_t messages);
void reliance_credit_member(struct reliance *rel, struct member *m, uint32_t messages);
/* The same for what is acknowledged or given up. */
void reliance_delivery_ended(struct reliance *rel, const struct delivery *d);
/* What waited for a member alone has moved. */
void reliance_look_member(struct reliance *rel, struct member *m);
/* A sign of life. */
void reliance_progress(struct reliance *rel);
/* With its subscription, a note for each unit. False if something is left. */
bool reliance_end(struct sub *s, unsigned *budget);
uint64_t reliance_deadline(const struct router *r);
/* Those that are awaited for too long. */
void reliance_expire(struct router *r, uint64_t now_ns);
/* Asserts the invariants; for tests. */
void reliance_check(const struct sub *s);
