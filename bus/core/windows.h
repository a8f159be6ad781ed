/* SPDX-License-Identifier: MIT */
#pragma once
/* What the subscriptions of one client have in common: windows and the bounds of queues. Many
 * subscriptions ask for the same, so they share it, by number. */

#include <stddef.h>
#include <stdint.h>
#include "core/subq.h"

struct sub_window {
    uint32_t messages;
    uint64_t bytes;
    struct subq_bounds queue;
};

struct window_slot {
    struct sub_window w;
    uint32_t refs; /* 0: free */
    uint32_t next; /* next free one, plus 1; 0 is the end */
};

struct windows {
    struct window_slot *slots;
    uint32_t n_slots;
    uint32_t n_used;     /* slots that have ever been in use */
    uint32_t free;       /* of window_slot.next */
    struct quota *quota; /* not owned */
};

void windows_init(struct windows *ws, struct quota *quota);
void windows_fini(struct windows *ws);

#define WINDOW_NONE UINT32_MAX

/* The number of such a window, shared if one of the first few is equal; WINDOW_NONE if quota or
 * memory forbid. */
uint32_t windows_get(struct windows *ws, const struct sub_window *w);
void windows_put(struct windows *ws, uint32_t number);

static inline const struct sub_window *windows_at(const struct windows *ws, uint32_t number)
{
    return &ws->slots[number].w;
}

static inline uint64_t windows_memory(const struct windows *ws)
{
    return ws->n_slots * sizeof(struct window_slot);
}
