/* SPDX-License-Identifier: MIT */
#pragma once
/* Bodies of the events that the router publishes: schemas/events.proto, written and read by hand,
 * so that neither the router's core nor applications need generated code. Tests hold this equal to
 * what protobuf-c makes of the schema. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/messages.h"

#define EVENT_TEXT_MAX 255u

enum client_event_kind { CLIENT_JOINED = 1, CLIENT_LEFT = 2 };

/* ClientEvent */
struct client_event {
    uint32_t kind;
    uint64_t connection_id;
    uint32_t uid, gid, pid;
    struct text name;
    uint32_t reason; /* enum bus_goodbye */
    struct text text;
};

/* With a name and a text of their greatest length. */
#define CLIENT_EVENT_MAX (7u * 11u + 2u * 3u + BUS_NAME_MAX + EVENT_TEXT_MAX)

/* The name and the text are cut to their greatest length. Returns the length. */
size_t client_event_encode(const struct client_event *e, uint8_t dst[CLIENT_EVENT_MAX]);
/* False if it is not valid protobuf or a known field has another type. Texts point into the
 * bytes. */
bool client_event_decode(const uint8_t *data, size_t bytes, struct client_event *ret);
