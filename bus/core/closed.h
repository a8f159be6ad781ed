/* SPDX-License-Identifier: MIT */
#pragma once
/* The last connections that ended, and those that were not let in: a ring that is there from the
 * beginning, so noting one cannot fail. docs/protocol.md, section 22. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "wire/messages.h"

struct peer;
struct peer_info;
struct router;

#define CLOSED_MAX 1000u
#define CLOSED_TEXT_MAX 95u

/* The end of one connection, or of several alike in a row that were not let in. */
struct closed {
    uint64_t number; /* counts them, from 1 */
    uint64_t connection_id;
    uint64_t session;
    uint64_t since_ns, until_ns; /* realtime */
    uint64_t times;
    uint64_t published_messages, published_bytes, refused_messages;
    uint64_t delivered_messages, delivered_bytes, lost_messages;
    uint64_t queued_messages, charged_bytes;
    uint32_t uid, gid, pid;
    uint32_t subscriptions;
    bool packets;
    uint8_t reason; /* enum bus_goodbye */
    uint8_t name_len, text_len;
    char name[BUS_NAME_MAX];
    char text[CLOSED_TEXT_MAX];
};

struct closed_ring {
    struct closed *all; /* CLOSED_MAX, by number */
    uint64_t n;         /* since the start */
};

/* False if out of memory. */
bool closed_init(struct closed_ring *ring);
void closed_fini(struct closed_ring *ring);
/* A peer begins to close, or its link is gone, whichever comes first: before it loses anything. */
void closed_note(struct peer *p, enum bus_goodbye reason, const char *text);
/* Another text for the last one, which is about that peer. It is cut if it is too long. */
void closed_set_text(struct peer *p, struct text text);
/* A client was not let in. */
void closed_note_refused(struct router *r, const struct peer_info *info, const char *text);
/* The first whose number is higher; NULL if there is none. */
const struct closed *closed_after(const struct closed_ring *ring, uint64_t number);
/* One that was another router's: numbers must grow. False if it cannot be. */
bool closed_restore(struct closed_ring *ring, const struct closed *c);
void closed_check(const struct closed_ring *ring);
