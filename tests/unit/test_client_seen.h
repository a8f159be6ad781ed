/* SPDX-License-Identifier: MIT */
#pragma once
/* Callbacks that write down what they were called with, and a subscription that has them. */

#include "client/conn.h"
#include "client/handlers.h"
#include "unit/test_client_fake.h"

/* What the callbacks of a test have seen, as one line of text. */
struct seen {
    struct fake *f;
    unsigned n;
    char log[512];
    struct bus_sub *other;
    struct bus_message *kept[64];
    unsigned n_kept;
};

static inline void note(struct seen *s, const char *what, unsigned long number)
{
    size_t len = strlen(s->log);

    (void) snprintf(s->log + len, sizeof(s->log) - len, "%s%lu ", what, number);
}

static inline void on_message(struct bus_sub *sub, const struct bus_message *message,
                              void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->n++;
    note(s, "m", bus_message_sequence(message));
}

static inline void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) sub;
    note(userdata, "l", loss->count);
}

static inline void on_ready(struct bus_sub *sub, enum bus_status status, const char *text,
                            void *userdata)
{
    (void) sub;
    assert_string_equal(text, "why");
    note(userdata, "r", status);
}

static inline struct bus_sub *subscribe(struct seen *s, const char *filter, bus_message_fn fn)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(s->f->conn, filter, &opts, fn, s, &sub), 0);
    return sub;
}

/* A subscription that the router has accepted, and a topic and a sender to use. */
static inline struct bus_sub *start(struct seen *s, struct fake *f, bus_message_fn fn)
{
    struct bus_sub *sub;

    *s = (struct seen){.f = f};
    fake_start(f);
    sub = subscribe(s, "a/#", fn);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s->log, "r0 ");
    s->log[0] = '\0';
    (void) fake_hear(f, VERB_SUBSCRIBE);
    return sub;
}
