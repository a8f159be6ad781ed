/* SPDX-License-Identifier: MIT */
#pragma once
/* When requests were made, so that their replies and ends can be shown with the time they took. */

#include <bus/monitor.h>
#include <stdbool.h>

/** That many at least: the oldest are forgotten when more are made. */
#define CONVERSATIONS_MAX 65536u

#define CONVERSATION_UNKNOWN UINT64_MAX

struct conversation {
    uint64_t call; /* 0: none */
    uint64_t time_ns;
};

struct conversations {
    struct conversation *slots; /* CONVERSATIONS_MAX, by the last bits of their numbers */
};

/** False if out of memory. */
bool conversations_init(struct conversations *c);
void conversations_fini(struct conversations *c);

/** Nanoseconds since the request that @record belongs to; CONVERSATION_UNKNOWN for a request or a
 * publish, and if the request was made before this monitor was there, or long ago. */
uint64_t conversations_note(struct conversations *c, const struct bus_record *record);
