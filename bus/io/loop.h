/* SPDX-License-Identifier: MIT */
#pragma once
/* What all links of one loop share: the read buffer, their lanes, and the moment in each turn when
 * output is sent. Owned by the router process. Knows nothing of links,
 * sessions or topics. */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>
#include "base/spin.h"
#include "io/lane.h"
#include "wire/slab.h"

/* One recvmsg() reads at most this much, and has room for at least the largest packet. */
#define LOOP_BUFFER_BYTES (256u * 1024u)
#define LOOP_ROOM_BYTES (132u * 1024u)
/* Output is sent at the end of a turn, or as soon as this much input was handled. */
#define LOOP_FLUSH_BYTES (256u * 1024u)
/* How soon something is tried again that failed for lack of kernel memory. */
#define LOOP_RETRY_MS 10u

struct loop {
    uv_loop_t *uv;   /* not owned; outlives the loop */
    uint8_t *buffer; /* LOOP_BUFFER_BYTES, valid during one callback; for want of a slab */
    struct slab_pool slabs;
    struct slab *slab; /* where the last read went; NULL: into the buffer */
    struct lanes lanes;
    struct lane_task *later; /* of lane_task.prev/next: stand in line after LOOP_RETRY_MS */
    unsigned round;          /* counts the flushes */
    size_t work_bytes;       /* handled since the last flush */
    void (*on_flush)(struct loop *loop); /* send what there is to be sent */
    struct spin spin;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t retry;
};

/* spin_us: how long to look for input before sleeping. 0 or -ENOMEM. */
int loop_open(struct loop *loop, uv_loop_t *uv, unsigned spin_us,
              void (*on_flush)(struct loop *loop));
/* Ends the handles; the struct may go when uv_run() has returned. */
void loop_close(struct loop *loop);

/* Where the next recvmsg() puts what it gets: it is there during one callback, and longer if it is
 * in loop.slab and kept there. */
struct iovec loop_room(struct loop *loop);

/* Its lane's turn; the loop does not sleep before that. */
void loop_soon(struct loop *loop, struct lane_task *t);
void loop_later(struct loop *loop, struct lane_task *t);
void loop_cancel(struct loop *loop, struct lane_task *t);

/* A poll has found something. */
void loop_woke(struct loop *loop);
/* Input was handled; sends output in between if it was a lot, so that one turn with many busy links
 * does not fill the queues of receivers who are waiting to read. May end any link. */
void loop_worked(struct loop *loop, size_t bytes);
