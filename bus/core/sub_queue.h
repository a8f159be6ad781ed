/* SPDX-License-Identifier: MIT */
#pragma once
/* The life of a subscription's queue, its place among those that hold publishers up, and that of
 * the subscription among those that wait for room. What is done with them is in core/sub.c. */

#include <stdbool.h>
#include "core/sub.h"

/* Makes it if there is none: NULL if limits or memory forbid. */
struct sub_queue *queue_get(struct sub *s);
/* It is empty, or what waits is discarded. */
void queue_free(struct sub *s);
/* It is empty: its memory goes, as far as it is not there for something else. */
void queue_trim(struct sub *s);
/* The same as queue_free(), what waits included, in parts: at most *budget units of work, which it
 * counts down. False if something is left. */
bool queue_drop(struct sub *s, unsigned *budget);
/* It begins to hold publishers up, or has made progress; it does not hold them up any more. */
void stalling_append(struct sub_queue *sq);
void stalling_remove(struct sub_queue *sq);
