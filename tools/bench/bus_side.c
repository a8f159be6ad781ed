/* SPDX-License-Identifier: MIT */
/* The roles on the bus. */

#include "bus_side.h"
#include <stdlib.h>
#include <string.h>
#include "common.h"
#include "harness.h"
#include "parties.h"

/* Held-back messages go out, and the answers of the router come in, once in so many. */
#define BATCH 4096

static const char flow_topic[] = "bench/flow";
static const char ping_topic[] = "bench/ping";
static const char pong_topic[] = "bench/pong";

struct subscriber {
    struct client client; /* first: the library hands it to on_message */
    struct checker checker;
};

static void on_flow_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct subscriber *s = userdata;
    int r;

    (void) sub;
    if (s->client.done || s->client.failed) {
        return;
    }
    r = checker_message(&s->checker, bus_message_data(message), bus_message_bytes(message));
    if (r > 0) {
        client_finish(&s->client);
    } else if (r < 0) {
        client_fail(&s->client);
    }
}

int bus_subscriber(struct party *p)
{
    struct subscriber s;
    uint64_t start_ns;

    checker_init(&s.checker, p);
    if (client_open(&s.client, p) < 0 ||
        client_subscribe(&s.client, flow_topic, on_flow_message) < 0 ||
        party_ready(p, &start_ns) < 0) {
        return 1;
    }
    checker_start(&s.checker, start_ns);
    return client_run(&s.client) < 0 || client_close(&s.client) < 0;
}

/* What a publisher begins with. 0 or -1. */
static int publisher_init(struct client *c, struct party *p, struct bus_topic **ret_topic,
                          unsigned char **ret_body, uint64_t *ret_start_ns)
{
    *ret_body = malloc(p->spec->bytes);
    if (!*ret_body || client_open(c, p) < 0 || client_advertise(c, flow_topic, ret_topic) < 0 ||
        bus_flush(c->conn, -1) < 0) {
        return -1;
    }
    return party_ready(p, ret_start_ns);
}

int bus_publisher(struct party *p)
{
    struct client c;
    struct bus_topic *topic;
    unsigned char *body;
    uint64_t start_ns;
    struct stint stint;
    bool is_last = false;

    if (publisher_init(&c, p, &topic, &body, &start_ns) < 0) {
        return 1;
    }
    stint_init(&stint, p->spec, start_ns);
    while (!is_last) {
        bus_cork(c.conn);
        for (unsigned i = 0; i < BATCH && !is_last; i++) {
            is_last = stint_next(&stint, p->index, body, p->spec->bytes);
            if (client_publish(&c, topic, body, p->spec->bytes) < 0) {
                return 1;
            }
        }
        (void) bus_uncork(c.conn);
        if (bus_process(c.conn) < 0) {
            return 1;
        }
    }
    free(body);
    return client_close(&c) < 0;
}

int bus_paced_publisher(struct party *p)
{
    double interval_ns = 1e9 / p->spec->rate;
    uint64_t n = p->spec->count;
    struct client c;
    struct bus_topic *topic;
    unsigned char *body;
    uint64_t start_ns;

    if (publisher_init(&c, p, &topic, &body, &start_ns) < 0) {
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        pattern_fill(body, p->spec->bytes, pattern_word(p->index, i, i + 1 == n));
        sleep_until(start_ns + (uint64_t) ((double) i * interval_ns));
        if (client_publish(&c, topic, body, p->spec->bytes) < 0 ||
            (i % BATCH == 0 && bus_process(c.conn) < 0)) {
            return 1;
        }
    }
    free(body);
    return client_close(&c) < 0;
}

/* ---- round trips ---- */

struct pinger {
    struct client client; /* first, as above */
    struct bus_topic *topic;
    struct stint stint;
    unsigned char *body;
    uint64_t sent_ns;
    bool is_last;
};

static void ping(struct pinger *g)
{
    const struct spec *spec = g->client.party->spec;

    g->is_last = stint_next(&g->stint, 0, g->body, spec->bytes);
    g->sent_ns = tool_now_ns();
    if (client_publish(&g->client, g->topic, g->body, spec->bytes) < 0) {
        client_fail(&g->client);
    }
}

static void on_pong(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct pinger *g = userdata;
    struct party *p = g->client.party;

    (void) sub;
    p->samples[p->result->n_samples++] = tool_now_ns() - g->sent_ns;
    if (bus_message_bytes(message) != p->spec->bytes ||
        memcmp(bus_message_data(message), g->body, p->spec->bytes) != 0) {
        tool_error("the answer is not what was sent");
        client_fail(&g->client);
        return;
    }
    if (g->is_last) {
        client_finish(&g->client);
        return;
    }
    ping(g);
}

int bus_pinger(struct party *p)
{
    struct pinger g = {.body = malloc(p->spec->bytes)};
    uint64_t start_ns;
    int r;

    if (!g.body || client_open(&g.client, p) < 0 ||
        client_subscribe(&g.client, pong_topic, on_pong) < 0 ||
        client_advertise(&g.client, ping_topic, &g.topic) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&g.stint, p->spec, start_ns);
    p->result->first_ns = tool_now_ns();
    ping(&g);
    r = client_run(&g.client);
    p->result->last_ns = tool_now_ns();
    p->result->messages = g.stint.sent;
    free(g.body);
    return r < 0 || client_close(&g.client) < 0;
}

struct ponger {
    struct client client; /* first, as above */
    struct bus_topic *topic;
};

static void on_ping(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct ponger *g = userdata;
    const void *data = bus_message_data(message);
    size_t bytes = bus_message_bytes(message);

    (void) sub;
    if (bytes < PATTERN_BYTES_MIN || !pattern_matches(data, bytes)) {
        tool_error("a question is not what was sent");
        client_fail(&g->client);
        return;
    }
    if (client_publish(&g->client, g->topic, data, bytes) < 0) {
        client_fail(&g->client);
    }
    if (pattern_first_word(data) & PATTERN_LAST) {
        client_finish(&g->client);
    }
}

int bus_ponger(struct party *p)
{
    struct ponger g;
    uint64_t start_ns;

    if (client_open(&g.client, p) < 0 || client_subscribe(&g.client, ping_topic, on_ping) < 0 ||
        client_advertise(&g.client, pong_topic, &g.topic) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    return client_run(&g.client) < 0 || client_close(&g.client) < 0;
}
