/* SPDX-License-Identifier: MIT */
#pragma once
/* What waits for one subscription: messages in order, and in the place of what was dropped, gaps. A
 * ring whose positions count up for ever. Knows nothing of peers and links. Invariants: n_messages
 * and bytes are sums over the items; a gap can always be noted, because slots are kept free for it.
 */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/message.h"
#include "core/quota.h"

struct match;

/* How far ahead subq_prefetch() looks. */
#define SUBQ_PREFETCH 6u
#define SUBQ_REASONS 9u /* enum bus_loss_reason, NONE included */

/* Descriptors that wait in one queue: whoever does not read must not use up what their publisher
 * may have on its way. */
#define SUBQ_FDS_MAX 64u

struct gap {
    uint64_t count;
    uint64_t bytes;
};

struct subq_item {
    struct message *message; /* NULL: a gap */
    union {
        struct match *match; /* of the message: its latest_pos is kept true */
        uint64_t gap_bytes;
    };
    uint64_t gap_count : 56;
    uint64_t gap_reason : 8;
};

struct subq {
    struct subq_item *ring;
    uint64_t head;
    uint64_t tail;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t n_messages;
    uint64_t bytes;        /* sum of message.size */
    struct charge *charge; /* not owned: that of the subscription */
    struct gap starved; /* lost when there was no memory even for a ring; comes after everything in
                           the ring */
    /* policy block: messages from held_from on are beyond the bounds and hold their publisher's
     * credit */
    uint64_t held_from;
    uint32_t n_inside;
    uint64_t bytes_inside;
    uint32_t n_fds;  /* that wait with messages */
    bool bounds_fds; /* to SUBQ_FDS_MAX, or those of one message: not for policy block */
    bool wants_fds;  /* the subscription gets descriptors: they are kept for it */
};

/* Called when a message stops holding its publisher's credit. */
typedef void (*subq_release_fn)(struct message *m);

struct subq_bounds {
    uint32_t messages;
    uint64_t bytes;
};

void subq_init(struct subq *q, struct charge *charge);
/* Releases everything; messages that hold credit are handed to release first. */
void subq_fini(struct subq *q, subq_release_fn release);

static inline bool subq_is_empty(const struct subq *q)
{
    return q->head == q->tail && q->starved.count == 0;
}

/* Whether a message of that size is within the bounds: an empty queue takes any size. */
static inline bool subq_fits(const struct subq *q, const struct subq_bounds *b, uint64_t size)
{
    return q->n_messages == 0 ||
           (q->n_messages < b->messages && q->bytes <= b->bytes && size <= b->bytes - q->bytes);
}

/* Whether more waits than the bounds allow: one message alone never is too much. */
static inline bool subq_exceeds(const struct subq *q, const struct subq_bounds *b)
{
    return q->n_messages > 1 && (q->n_messages > b->messages || q->bytes > b->bytes);
}

/* What subq_prepare() charges. */
uint64_t subq_needs(const struct subq *q, const struct message *m);
/* Memory for one more message: false if the quota, SUBQ_FDS_MAX or malloc says no. Must precede
 * subq_push(). */
bool subq_prepare(struct subq *q, const struct message *m);
/* Appends a message and takes a reference. */
void subq_push(struct subq *q, struct message *m, struct match *match);
/* The same for policy block: beyond the bounds it holds the publisher's credit. Returns whether it
 * does. */
bool subq_push_held(struct subq *q, struct message *m, struct match *match,
                    const struct subq_bounds *b);

/* Notes a loss behind everything that waits. Cannot fail. */
void subq_note_loss(struct subq *q, enum bus_loss_reason reason, uint64_t count, uint64_t bytes);
/* Drops the oldest message, leaving a gap; its size is added to *bytes. False if there is none. */
bool subq_evict(struct subq *q, enum bus_loss_reason reason, uint64_t *bytes);
/* The same with the newest message. */
bool subq_evict_newest(struct subq *q, enum bus_loss_reason reason, uint64_t *bytes);
/* The one that either of them would drop; NULL if there is none. */
const struct message *subq_oldest(const struct subq *q);
const struct message *subq_newest(const struct subq *q);
/* Gives memory back if little of it is in use. */
void subq_shrink(struct subq *q);
/* Drops the waiting message of that match, leaving a gap (policy latest). False if none waits. */
bool subq_supersede(struct subq *q, struct match *match, uint64_t *bytes);

/* The messages at the front whose time is over become a gap; the first one is such. Returns how
 * many there were, which are lost to their topics; their sizes are added to *bytes. */
uint32_t subq_expire(struct subq *q, uint64_t now_ns, const struct subq_bounds *b,
                     subq_release_fn release, uint64_t *bytes);

/* All messages of that match, or with NULL all there are, become gaps in their places. Returns how
 * many, which are lost to their topics; their sizes are added to *bytes. */
uint32_t subq_lose(struct subq *q, const struct match *match, enum bus_loss_reason reason,
                   const struct subq_bounds *b, subq_release_fn release, uint64_t *bytes);

/* First item: a message, or NULL and the gap (all adjacent ones of one reason together). Must not
 * be empty. */
struct message *subq_front(struct subq *q, struct match **ret_match, struct gap *ret_gap,
                           enum bus_loss_reason *ret_reason);
/* Begins to load what will be at the front soon: a long queue is not in any cache. */
static inline void subq_prefetch(const struct subq *q)
{
    const char *m;

    if (q->tail - q->head <= SUBQ_PREFETCH) {
        return;
    }
    m = (const char *) q->ring[(q->head + SUBQ_PREFETCH) & (q->capacity - 1)].message;
    if (m) {
        __builtin_prefetch(m);
        __builtin_prefetch(m + 64);
        __builtin_prefetch(m + 128);
    }
}

/* Removes what subq_front() returned; a message's reference is dropped. */
void subq_pop(struct subq *q, const struct subq_bounds *b, subq_release_fn release);

/* Messages that hold credit. */
bool subq_has_held(const struct subq *q);
/* The queue blocks nobody any more. */
void subq_release_all(struct subq *q, subq_release_fn release);

/* Asserts the invariants; for tests. */
void subq_check(const struct subq *q);
