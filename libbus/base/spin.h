/* SPDX-License-Identifier: MIT */
#pragma once
/* Looking for input a little longer before going to sleep, as long as that pays: to be woken costs
 * more than a conversation between processes does. It has paid when input came while we looked.
 * When it did not, or somebody else had the processor meanwhile, the next waits go to sleep at
 * once: one, then two, four, … and none looks that follows a long one, so who is idle never spins.
 * docs/decisions/028-looking-before-sleeping.md */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"

#define SPIN_US_DEFAULT 250u
#define SPIN_US_MAX 10000u
/* Waits up to so many times the longest look are short. */
#define SPIN_SHORT 4u
/* One look that takes longer: somebody else had the processor meanwhile, who needed it. */
#define SPIN_LOOK_NS 3000u
/* … and for so long that it was nobody who works with us. */
#define SPIN_LOOK_MAX_NS 1000000u
#define SPIN_SKIP_MAX 256u

struct spin {
    uint32_t max_ns;    /* longest look; 0: never */
    uint32_t skip;      /* so many waits sleep at once */
    uint32_t skip_next; /* as many as that when it does not pay the next time */
    bool was_short;     /* the last wait */
    bool is_looking;
    bool is_waiting;
    uint32_t spent_ns; /* looking */
    uint64_t began_ns, looked_ns;
};

/* With one processor who looks keeps the other from working. */
static inline void spin_init(struct spin *s, uint32_t max_us)
{
    cpu_set_t set;
    bool alone = sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;

    *s = (struct spin){.max_ns = alone ? 0 : max_us * 1000};
}

/* Who never looks need not read the clock either. */
static inline bool spin_is_off(const struct spin *s)
{
    return s->max_ns == 0;
}

static inline bool spin_is_waiting(const struct spin *s)
{
    return s->is_waiting;
}

/* There is nothing to do. */
static inline void spin_begin(struct spin *s, uint64_t now_ns)
{
    s->is_waiting = true;
    s->began_ns = s->looked_ns = now_ns;
    s->spent_ns = 0;
    s->is_looking = s->max_ns > 0 && s->was_short && s->skip == 0;
    if (s->was_short && s->skip > 0) {
        s->skip--;
    }
}

/* It did not pay. */
static inline void spin_give_up(struct spin *s)
{
    s->is_looking = false;
    s->skip = s->skip_next;
    s->skip_next = s->skip_next < SPIN_SKIP_MAX / 2 ? 2 * s->skip_next + 1 : SPIN_SKIP_MAX;
}

/* There still is nothing: whether to look again, or to sleep. */
static inline bool spin_again(struct spin *s, uint64_t now_ns)
{
    uint64_t took_ns = now_ns - s->looked_ns;

    if (!s->is_looking) {
        return false;
    }
    s->spent_ns += took_ns < SPIN_LOOK_NS ? (uint32_t) took_ns : SPIN_LOOK_NS;
    if (took_ns > SPIN_LOOK_MAX_NS || s->spent_ns >= s->max_ns) {
        spin_give_up(s);
        return false;
    }
    s->looked_ns = now_ns;
    return true;
}

/* There is something, and we were looking. */
static inline void spin_paid(struct spin *s)
{
    s->is_waiting = s->is_looking = false;
    s->was_short = s->looked_ns - s->began_ns <= (uint64_t) s->max_ns * SPIN_SHORT;
    s->skip_next = 0;
}

/* There is something, after a sleep. */
static inline void spin_slept(struct spin *s, uint64_t now_ns)
{
    s->is_waiting = false;
    s->was_short = now_ns - s->began_ns <= (uint64_t) s->max_ns * SPIN_SHORT;
}

/* There is something; the clock is read only if it matters. */
static inline void spin_end(struct spin *s)
{
    if (!s->is_waiting) {
        return;
    }
    if (s->is_looking) {
        spin_paid(s);
    } else {
        spin_slept(s, clock_monotonic_ns());
    }
}
