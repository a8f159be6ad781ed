/* SPDX-License-Identifier: MIT */
#include "io/loop.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/clock.h"
#include "base/macros.h"

static void loop_flush(struct loop *loop)
{
    loop->round++;
    loop->work_bytes = 0;
    loop->on_flush(loop);
}

static void on_idle(uv_idle_t *handle);

/* Whether the poll that follows may sleep. */
static bool may_sleep(struct loop *loop)
{
    uint64_t now_ns;

    if (lanes_are_waiting(&loop->lanes)) {
        return false;
    }
    if (spin_is_off(&loop->spin)) {
        return true;
    }
    now_ns = clock_monotonic_ns();
    if (!spin_is_waiting(&loop->spin)) {
        spin_begin(&loop->spin, now_ns);
    }
    if (!spin_again(&loop->spin, now_ns)) {
        return true;
    }
    (void) sched_yield(); /* what we wait for may need this processor */
    return false;
}

/* Right before the poll, and so behind everything that can make output: links that were read in the
 * poll before, timers and tasks. */
static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = container_of(handle, struct loop, prepare);

    lanes_turn(&loop->lanes); /* output goes first */
    loop_flush(loop);
    if (may_sleep(loop)) {
        (void) uv_idle_stop(&loop->idle);
    } else {
        (void) uv_idle_start(&loop->idle, on_idle);
    }
}

void loop_woke(struct loop *loop)
{
    spin_end(&loop->spin);
}

/* The idle handle is active only while tasks are queued, or we look for input: it keeps the poll
 * that follows from sleeping. */
static void on_idle(uv_idle_t *handle)
{
    struct loop *loop = container_of(handle, struct loop, idle);

    lanes_run(&loop->lanes);
}

static void on_retry(uv_timer_t *handle)
{
    struct loop *loop = container_of(handle, struct loop, retry);

    while (loop->later) {
        struct lane_task *t = loop->later;

        loop_cancel(loop, t);
        loop_soon(loop, t);
    }
}

int loop_open(struct loop *loop, uv_loop_t *uv, unsigned spin_us,
              void (*on_flush)(struct loop *loop))
{
    *loop = (struct loop){.uv = uv, .on_flush = on_flush};
    loop->buffer = malloc(LOOP_BUFFER_BYTES);
    if (!loop->buffer) {
        return -ENOMEM;
    }
    slab_pool_init(&loop->slabs, SLAB_POOL_MAX);
    spin_init(&loop->spin, spin_us);
    lanes_init(&loop->lanes);
    /* these three cannot fail */
    (void) uv_prepare_init(uv, &loop->prepare);
    (void) uv_idle_init(uv, &loop->idle);
    (void) uv_timer_init(uv, &loop->retry);
    (void) uv_prepare_start(&loop->prepare, on_prepare);
    return 0;
}

void loop_close(struct loop *loop)
{
    if (!loop->buffer) {
        return;
    }
    slab_pool_fini(&loop->slabs);
    free(loop->buffer);
    loop->buffer = NULL;
    uv_close((uv_handle_t *) &loop->prepare, NULL);
    uv_close((uv_handle_t *) &loop->idle, NULL);
    uv_close((uv_handle_t *) &loop->retry, NULL);
}

struct iovec loop_room(struct loop *loop)
{
    loop->slab = slab_pool_current(&loop->slabs, LOOP_ROOM_BYTES);
    if (!loop->slab) {
        return (struct iovec){loop->buffer, LOOP_BUFFER_BYTES};
    }
    return (struct iovec){slab_room(loop->slab),
                          MIN(slab_room_bytes(loop->slab), LOOP_BUFFER_BYTES)};
}

void loop_soon(struct loop *loop, struct lane_task *t)
{
    if (t->queue == LANE_LINE) {
        return;
    }
    loop_cancel(loop, t);
    lane_wait(t);
    (void) uv_idle_start(&loop->idle, on_idle);
}

void loop_later(struct loop *loop, struct lane_task *t)
{
    if (t->queue != LANE_NONE) {
        return;
    }
    if (!loop->later) {
        (void) uv_timer_start(&loop->retry, on_retry, LOOP_RETRY_MS, 0);
    }
    DL_APPEND(loop->later, t);
    t->queue = LANE_LATER;
}

void loop_cancel(struct loop *loop, struct lane_task *t)
{
    if (t->queue == LANE_LATER) {
        DL_DELETE(loop->later, t);
        t->queue = LANE_NONE;
    }
    lane_leave(t);
}

void loop_worked(struct loop *loop, size_t bytes)
{
    loop->work_bytes += bytes;
    if (loop->work_bytes >= LOOP_FLUSH_BYTES) {
        loop_flush(loop);
    }
}
