/* SPDX-License-Identifier: MIT */
/* What administrators ask of the process by requests to $bus/control/. */
#include <stdio.h>
#include "parts.h"

static int on_reload(void *userdata, char *text, size_t size)
{
    struct broker *b = userdata;
    struct failure f = {.text = ""};
    int r = broker_reload(b, &f);

    (void) snprintf(text, size, "%s",
                    r < 0 ? f.text : "the configuration was read, and is in force");
    return r;
}

static void on_drain(void *userdata)
{
    struct broker *b = userdata;

    if (b->state == BROKER_SERVING) {
        broker_stop(b);
    }
}

const struct router_controls broker_controls = {.reload = on_reload, .drain = on_drain};
