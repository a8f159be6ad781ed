/* SPDX-License-Identifier: MIT */
/* What administrators ask of the process by requests to $bus/control/. */
#include "parts.h"

static void on_drain(void *userdata)
{
    struct broker *b = userdata;

    if (b->state == BROKER_SERVING) {
        broker_stop(b);
    }
}

const struct router_controls broker_controls = {.drain = on_drain};
