/* SPDX-License-Identifier: MIT */
/* Bodies of publishers on the bus, copied or in place. */

#include "loan.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "common.h"

int outlet_init(struct outlet *o, struct client *c, struct bus_topic *topic)
{
    const struct spec *spec = c->party->spec;

    *o = (struct outlet){.client = c, .topic = topic, .bytes = spec->bytes};
    if (spec->in_place) {
        return 0;
    }
    o->own = malloc(spec->bytes);
    if (!o->own) {
        tool_error("out of memory");
        return -1;
    }
    memset(o->own, 0, spec->bytes); /* its pages come now, not while it is measured */
    return 0;
}

void outlet_fini(struct outlet *o)
{
    free(o->own);
    if (o->loan) {
        bus_loan_cancel(o->loan);
    }
}

static int borrow(struct outlet *o)
{
    int r = bus_loan(o->topic, o->bytes, &o->loan);

    while (r == -EAGAIN) {
        r = client_wait_writable(o->client);
        if (r == 0) {
            r = bus_loan(o->topic, o->bytes, &o->loan);
        }
    }
    return r;
}

unsigned char *outlet_body(struct outlet *o)
{
    int r = 0;

    if (o->own) {
        return o->own;
    }
    if (!o->loan) {
        r = borrow(o);
    }
    if (r < 0) {
        tool_error("cannot borrow a buffer: %s", strerror(-r));
        return NULL;
    }
    return bus_loan_data(o->loan);
}

int outlet_publish(struct outlet *o)
{
    int r;

    if (o->own) {
        return client_publish(o->client, o->topic, o->own, o->bytes);
    }
    r = bus_loan_publish(o->loan, o->bytes, NULL);
    while (r == -EAGAIN) {
        r = client_wait_writable(o->client);
        if (r == 0) {
            r = bus_loan_publish(o->loan, o->bytes, NULL);
        }
    }
    if (r < 0) {
        tool_error("cannot publish a buffer: %s", strerror(-r));
        return -1;
    }
    o->loan = NULL;
    return o->client->failed ? -1 : 0;
}
