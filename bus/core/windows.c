/* SPDX-License-Identifier: MIT */
#include "core/windows.h"
#include <stdbool.h>
#include <stdlib.h>
#include "base/macros.h"

/* Where an equal one is looked for. A client that asks for more than so many different ones pays
 * for those that are not found again. */
#define WINDOWS_SEARCHED 16u

void windows_init(struct windows *ws, struct quota *quota)
{
    *ws = (struct windows){.quota = quota};
}

void windows_fini(struct windows *ws)
{
    quota_release(ws->quota, windows_memory(ws));
    free(ws->slots);
    *ws = (struct windows){.quota = ws->quota};
}

static bool window_equals(const struct sub_window *a, const struct sub_window *b)
{
    return a->messages == b->messages && a->bytes == b->bytes &&
           a->queue.messages == b->queue.messages && a->queue.bytes == b->queue.bytes;
}

static bool windows_grow(struct windows *ws)
{
    uint32_t n = ws->n_slots ? ws->n_slots * 2 : 1;
    uint64_t more = (n - ws->n_slots) * sizeof(struct window_slot);
    struct window_slot *slots;

    if (!quota_add(ws->quota, more)) {
        return false;
    }
    slots = reallocarray(ws->slots, n, sizeof(*slots));
    if (!slots) {
        quota_release(ws->quota, more);
        return false;
    }
    ws->slots = slots;
    ws->n_slots = n;
    return true;
}

static uint32_t window_new(struct windows *ws, const struct sub_window *w)
{
    uint32_t number = ws->free ? ws->free - 1 : ws->n_used;

    if (number == ws->n_slots && !windows_grow(ws)) {
        return WINDOW_NONE;
    }
    if (ws->free) {
        ws->free = ws->slots[number].next;
    } else {
        ws->n_used++;
    }
    ws->slots[number] = (struct window_slot){.w = *w, .refs = 1};
    return number;
}

uint32_t windows_get(struct windows *ws, const struct sub_window *w)
{
    for (uint32_t i = 0; i < MIN(ws->n_used, WINDOWS_SEARCHED); i++) {
        if (ws->slots[i].refs > 0 && window_equals(&ws->slots[i].w, w)) {
            ws->slots[i].refs++;
            return i;
        }
    }
    return window_new(ws, w);
}

void windows_put(struct windows *ws, uint32_t number)
{
    struct window_slot *slot = &ws->slots[number];

    if (--slot->refs == 0) {
        slot->next = ws->free;
        ws->free = number + 1;
    }
}
