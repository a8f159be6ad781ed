/* SPDX-License-Identifier: MIT */
#pragma once
/* Turns for links that belong together, those of one user: whoever has more links, or makes each of
 * them cost more, gets no more of the loop for it. What a link does costs units, which its lane has
 * so many of in a turn; what is too much waits in the lane's line, and what could not be known
 * before is a debt to the next turns. Knows nothing of sockets and clocks, so tests can count.
 * docs/decisions/039-fair-turns.md */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Units of a turn while other lanes want some too: so long they wait for each other. */
#define LANE_TURN_SHARED 4096
/* … and while nobody does: so long the first one who comes may have to wait. */
#define LANE_TURN_ALONE 32768
/* Somebody who was there so many turns ago may come again. */
#define LANE_SHARED_TURNS 256u
/* What one link can use at once, and, of a turn that many links share, at least. */
#define LANE_LINK_MAX 16384u
#define LANE_LINK_MIN 64u

/* What system calls cost, with the waking of who waits for them; to publish and to deliver a
 * message are one each. For bytes see lane_bytes(). */
#define LANE_READ_UNITS 24u
#define LANE_SEND_UNITS 24u
#define LANE_POLL_UNITS 4u
#define LANE_ARM_UNITS 8u
/* For each descriptor that came. */
#define LANE_FD_UNITS 16u

struct lane;

enum lane_queue { LANE_NONE, LANE_LINE, LANE_LATER };

/* Something to be done when it is its lane's turn. Embedded in its owner, who cancels it before it
 * goes. */
struct lane_task {
    struct lane_task *prev, *next; /* lane.line, or the loop's, as queue says */
    struct lane *lane;             /* not owned; outlives the task */
    void (*on_run)(struct lane_task *t);
    enum lane_queue queue;
};

/* All lanes of a loop. */
struct lanes {
    struct lane *waiting; /* of lane.prev/next: those with a line */
    unsigned n_waiting;
    uint64_t turn;         /* counts them, from 1 */
    uint64_t shared_until; /* the last turn in which there is believed to be more than one lane */
    unsigned n_busy;       /* lanes that have done something in this turn */
};

struct lane {
    struct lanes *all;
    struct lane *prev, *next; /* lanes.waiting, while there is a line */
    struct lane_task *line;   /* of lane_task.prev/next */
    unsigned n_line;
    unsigned n_links, n_links_before; /* budgets that were asked for, in this turn and the last */
    uint64_t turn;                    /* that left is of */
    int64_t left;                     /* units; below 0: debts */
};

void lanes_init(struct lanes *all);
void lane_init(struct lane *lane, struct lanes *all);

/* A new turn for all. */
void lanes_turn(struct lanes *all);
/* Does what waits in the lines, each at most once and as far as the turn reaches. */
void lanes_run(struct lanes *all);
static inline bool lanes_are_waiting(const struct lanes *all)
{
    return all->waiting != NULL;
}
/* Whether others want to have their turns soon. */
static inline bool lanes_are_shared(const struct lanes *all)
{
    return all->turn <= all->shared_until;
}

/* What the turn brings; lane_may_go() does it. */
void lane_refill(struct lane *lane);

/* Whether something of the turn is left. */
static inline bool lane_may_go(struct lane *lane)
{
    if (lane->turn != lane->all->turn) {
        lane_refill(lane);
    }
    return lane->left > 0;
}

/* The same for who has not stood in the line. */
static inline bool lane_may_pass(struct lane *lane)
{
    return lane_may_go(lane) && !lane->line;
}

static inline void lane_spend(struct lane *lane, uint64_t units)
{
    lane->left -= (int64_t) units;
}

/* What so many bytes cost, beyond the system call that moves them. */
static inline uint64_t lane_bytes(uint64_t bytes)
{
    return bytes / 512;
}

/* Whether it has debts that later turns are to pay. */
bool lane_owes(const struct lane *lane);

/* … and what it costs to get memory for so many that are to be kept. */
static inline uint64_t lane_memory(uint64_t bytes)
{
    return bytes / 64;
}

/* Units that a link may use now: never 0, or frames that are there would not be handled. */
unsigned lane_budget(struct lane *lane);

/* Stands in the line, or not any more; nothing happens if that is so already. */
void lane_wait(struct lane_task *t);
void lane_leave(struct lane_task *t);
