/* SPDX-License-Identifier: MIT */
#pragma once
/* One message on its way to the subscriptions of its topic, from a client or from the router. */

#include <stdbool.h>
#include "core/state.h"
#include "wire/hot.h"

struct fan_out {
    struct router *router;
    struct peer *from; /* NULL: the router itself */
    const struct message_parts *parts;
    struct message *message; /* made when the first subscription has to queue it */
    bool tapped;
    struct wire_confirm counts;
};

/* To all of them; and counts it. */
void fan_out(struct fan_out *f);
/* Lets go of the message, if one had to be made. Whether no queue holds it beyond its bounds. */
bool fan_out_end(struct fan_out *f);
