/* SPDX-License-Identifier: MIT */
#pragma once
/* Deadlines that differ from each other. A pairing heap whose nodes are parts of their owners, so
 * that setting a timer cannot fail: O(1), and O(log n) amortised to stop one or to take the
 * earliest. Deadlines that are all equally far away are kept in plain lists instead: see router.
 * Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986. */

#include <stdbool.h>
#include <stdint.h>

struct router;
struct timer;

/* Its time has come; it is not set any more. */
typedef void (*timer_fn)(struct router *r, struct timer *t);

struct timer {
    uint64_t ns; /* when, monotonic */
    timer_fn fire;
    struct timer *child;   /* the first of those that are later */
    struct timer *sibling; /* the next one of the same parent */
    struct timer *prev;    /* the sibling before it, or the parent of a first child */
    bool is_set;
};

struct timers {
    struct timer *first; /* the earliest; NULL: none is set */
};

/* Sets it, or moves it if it is set already. */
void timer_set(struct timers *ts, struct timer *t, uint64_t ns, timer_fn fire);
/* Does nothing if it is not set. */
void timer_stop(struct timers *ts, struct timer *t);
/* Fires, one after the other, those whose time has come: at most budget. */
void timers_run(struct timers *ts, struct router *r, uint64_t now_ns, unsigned budget);

/* When the earliest is due; UINT64_MAX if none is set. */
static inline uint64_t timers_next_ns(const struct timers *ts)
{
    return ts->first ? ts->first->ns : UINT64_MAX;
}
