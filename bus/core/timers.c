/* SPDX-License-Identifier: MIT */
#include "core/timers.h"
#include <stddef.h>

/* Two heaps into one; either may be NULL. */
static struct timer *merge(struct timer *a, struct timer *b)
{
    if (!a || !b) {
        return a ? a : b;
    }
    if (b->ns < a->ns) {
        struct timer *later = a;

        a = b;
        b = later;
    }
    b->sibling = a->child;
    if (a->child) {
        a->child->prev = b;
    }
    b->prev = a;
    a->child = b;
    return a;
}

/* The children of one that goes: in pairs, and the pairs from the last to the first, which is what
 * makes it O(log n). */
static struct timer *merge_siblings(struct timer *first)
{
    struct timer *pairs = NULL; /* of sibling, the last one first */
    struct timer *all = NULL;

    while (first) {
        struct timer *a = first, *b = a->sibling;
        struct timer *next = b ? b->sibling : NULL;

        a->sibling = a->prev = NULL;
        if (b) {
            b->sibling = b->prev = NULL;
        }
        a = merge(a, b);
        a->sibling = pairs;
        pairs = a;
        first = next;
    }
    while (pairs) {
        struct timer *next = pairs->sibling;

        pairs->sibling = NULL;
        all = merge(all, pairs);
        pairs = next;
    }
    return all;
}

/* Takes one that is not the first out of the list of its siblings. */
static void unlink_child(struct timer *t)
{
    if (t->prev->child == t) {
        t->prev->child = t->sibling;
    } else {
        t->prev->sibling = t->sibling;
    }
    if (t->sibling) {
        t->sibling->prev = t->prev;
    }
    t->sibling = t->prev = NULL;
}

void timer_stop(struct timers *ts, struct timer *t)
{
    struct timer *children;

    if (!t->is_set) {
        return;
    }
    children = merge_siblings(t->child);
    t->child = NULL;
    t->is_set = false;
    if (ts->first == t) {
        ts->first = children;
        return;
    }
    unlink_child(t);
    ts->first = merge(ts->first, children);
}

void timer_set(struct timers *ts, struct timer *t, uint64_t ns, timer_fn fire)
{
    timer_stop(ts, t);
    *t = (struct timer){.ns = ns, .fire = fire, .is_set = true};
    ts->first = merge(ts->first, t);
}

void timers_run(struct timers *ts, struct router *r, uint64_t now_ns, unsigned budget)
{
    for (; ts->first && ts->first->ns <= now_ns && budget > 0; budget--) {
        struct timer *t = ts->first;

        timer_stop(ts, t);
        t->fire(r, t);
    }
}
