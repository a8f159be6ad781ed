/* SPDX-License-Identifier: MIT */
#pragma once
/* Who hears that a right is missing: router_events, of each refusal, and `$bus/access/denied`.
 * docs/protocol.md, section 20. An event is noted where it happens, for publishing can end other
 * peers, and published at the end of router_tick(). What clients can cause is bounded: at most
 * DENIED_PER_SECOND are published, and so at most that many wait; the rest is counted. */

#include <stdbool.h>
#include <stdint.h>

struct denial;
struct denied_note;
struct router;

#define DENIED_PER_SECOND 100u

struct denials {
    struct denied_note *notes; /* of denied_note.next, in their order */
    uint32_t n_notes;
    uint32_t n_in_second;
    uint64_t second_ns; /* when that began */
    uint64_t left_out;  /* since the last one that was published */
};

/* Tells of one. Publishes nothing yet, so it may be called wherever somebody is refused. */
void denied_tell(struct router *r, const struct denial *d);
/* Publishes what was noted, until the router's work reaches end. False if out of memory: then again
 * later. */
bool denied_turn(struct router *r, uint64_t end);
void denied_fini(struct router *r);
void denied_check(const struct router *r);
