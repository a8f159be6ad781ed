/* SPDX-License-Identifier: MIT */
#include "io/lane.h"
#include <utlist.h>
#include "base/macros.h"

/* More turns than that pay every debt. */
#define TURNS_MAX (UINT64_C(1) << 32)

void lanes_init(struct lanes *all)
{
    *all = (struct lanes){.turn = 1};
}

void lane_init(struct lane *lane, struct lanes *all)
{
    *lane = (struct lane){.all = all};
}

void lanes_turn(struct lanes *all)
{
    all->turn++;
    all->n_busy = 0;
}

static int64_t lanes_quantum(const struct lanes *all)
{
    return lanes_are_shared(all) ? LANE_TURN_SHARED : LANE_TURN_ALONE;
}

/* Nothing is saved for later, but debts stay, less what the turns meanwhile would have brought. */
void lane_refill(struct lane *lane)
{
    struct lanes *all = lane->all;
    uint64_t n = MIN(all->turn - lane->turn, TURNS_MAX);
    int64_t quantum;

    if (++all->n_busy > 1) {
        all->shared_until = all->turn + LANE_SHARED_TURNS;
    }
    quantum = lanes_quantum(all);
    lane->left = MIN(lane->left + (int64_t) n * quantum, quantum);
    lane->n_links_before = n == 1 ? lane->n_links : 0;
    lane->n_links = 0;
    lane->turn = all->turn;
}

bool lane_owes(const struct lane *lane)
{
    uint64_t n = MIN(lane->all->turn - lane->turn, TURNS_MAX);

    return lane->left + (int64_t) n * LANE_TURN_SHARED < 0;
}

unsigned lane_budget(struct lane *lane)
{
    unsigned share = LANE_LINK_MAX;

    if (!lane_may_go(lane)) {
        return LANE_LINK_MIN;
    }
    lane->n_links++;
    if (lanes_are_shared(lane->all)) {
        share = LANE_TURN_SHARED / MAX(lane->n_links_before, 1u);
    }
    return (unsigned) MAX(MIN((int64_t) share, lane->left), (int64_t) LANE_LINK_MIN);
}

void lane_wait(struct lane_task *t)
{
    struct lane *lane = t->lane;

    if (t->queue != LANE_NONE) {
        return;
    }
    if (!lane->line) {
        DL_APPEND(lane->all->waiting, lane);
        lane->all->n_waiting++;
    }
    DL_APPEND(lane->line, t);
    lane->n_line++;
    t->queue = LANE_LINE;
}

void lane_leave(struct lane_task *t)
{
    struct lane *lane = t->lane;

    if (t->queue != LANE_LINE) {
        return;
    }
    DL_DELETE(lane->line, t);
    lane->n_line--;
    t->queue = LANE_NONE;
    if (!lane->line) {
        DL_DELETE(lane->all->waiting, lane);
        lane->all->n_waiting--;
    }
}

static void lane_run(struct lane *lane)
{
    for (unsigned n = lane->n_line; n > 0 && lane->line && lane_may_go(lane); n--) {
        struct lane_task *t = lane->line;

        lane_leave(t);
        t->on_run(t);
    }
}

/* Another one is the first in each turn. */
void lanes_run(struct lanes *all)
{
    for (unsigned n = all->n_waiting; n > 0 && all->waiting; n--) {
        struct lane *lane = all->waiting;

        DL_DELETE(all->waiting, lane);
        DL_APPEND(all->waiting, lane);
        lane_run(lane);
    }
}
