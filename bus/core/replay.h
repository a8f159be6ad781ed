/* SPDX-License-Identifier: MIT */
#pragma once
/* What a new subscription gets of what was kept, in front of what is published after it:
 * docs/protocol.md, section 14. A queue of its own, to which policy and bounds do not apply. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/subq.h"

struct sub;

struct replay {
    struct subq q;
    uint64_t n_sent;
};

/* A MESSAGE header's field flags with RETAINED. */
#define RETAINED_FIELD_BYTES 2u

/* The subscription has a queue of its own by sub_make_queue(). False if limits or memory forbid. */
bool replay_new(struct sub *s);
/* Fills it with what there is now. Cannot fail: what has no room is lost and told in its place. */
void replay_fill(struct sub *s, enum bus_retained retained);
/* Everything has gone: tells the client, and lets the others follow. False if out of memory. */
bool replay_end(struct sub *s);
/* Nothing must be in it any more but gaps. */
void replay_free(struct sub *s);
/* That field if what goes now was kept, otherwise nothing. Returns its length. */
size_t replay_put_field(const struct sub *s, uint8_t *dst);
