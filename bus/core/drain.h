/* SPDX-License-Identifier: MIT */
#pragma once
/* Subscriptions that end when what waits for them has gone: docs/protocol.md, section 18. */

#include <stdbool.h>

struct peer;
struct router;
struct sub;

/* Nothing new is for it from here on. False if limits or memory forbid. */
bool drain_begin(struct sub *s);
/* Makes sure that drain_note() can note it: false if limits or memory forbid. */
bool drain_reserve(struct sub *s);
/* It drained in another router. False if out of memory. */
bool drain_restore(struct sub *s);
/* Whether nothing is left of what a draining subscription had. */
bool drain_is_over(const struct sub *s);
/* Something of it has gone, or it is to end by over_note(): it may be over, which drains_finish()
 * finds out. Cannot fail. */
void drain_note(struct sub *s);
/* Ends those that are over, at most so many; the rest when router_deadline() says. Not while
 * subscriptions are being walked. */
void drains_finish(struct router *r, unsigned budget);
/* A peer is going, with its subscriptions. */
void drains_drop(struct peer *p);
