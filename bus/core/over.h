/* SPDX-License-Identifier: MIT */
#pragma once
/* Subscriptions that end because one topic matches too many of their user: whoever publishes to it
 * would have to do the work for all of them. docs/protocol.md, section 21. */

#include <stdbool.h>

struct sub;

/* It is to end, as soon as no subscriptions are being walked. False if out of memory: then it
 * stays, without that topic, until it is found again. */
bool over_note(struct sub *s);
/* Ends it: what waits for it is lost, and told. */
void over_end(struct sub *s);
