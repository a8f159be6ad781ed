/* SPDX-License-Identifier: MIT */
#pragma once
/* What a link has received and not consumed. Part of struct link; its owner is asked for the room,
 * its lane pays for it. */

#include <stddef.h>
#include <stdint.h>

struct link;

/* Steps in which the buffer for a partial frame grows: what a client makes us allocate stays in
 * proportion to what it has sent, whatever length it announced. */
#define REST_BYTES_MIN 512u

void rest_free(struct link *l);
/* Room for so many bytes in all, moved to the front. 0 or -ENOMEM. */
int rest_reserve(struct link *l, size_t bytes);
int rest_append(struct link *l, const uint8_t *data, size_t len);
