/* SPDX-License-Identifier: MIT */
/* What administrators ask of the process by requests to $bus/control/. */
#include <stdio.h>
#include "parts.h"

static int on_reload(void *userdata, char *text, size_t size)
{
    struct broker *b = userdata;
    struct failure f = {.text = ""};
    char pending[PENDING_BYTES];
    int r = broker_reload(b, &f);

    if (r < 0) {
        (void) snprintf(text, size, "%s", f.text);
        return r;
    }
    options_pending(b->started, b->options, pending, sizeof(pending));
    (void) snprintf(text, size, "the configuration was read, and is in force%s%s",
                    *pending ? ", but for what needs --replace or a restart: " : "", pending);
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
