/* SPDX-License-Identifier: MIT */
/* The roles on the bus. */

#include "bus_side.h"
#include "common.h"
#include "harness.h"
#include "loan.h"
#include "parties.h"

/* Held-back messages go out, and the answers of the router come in, once in so many; large ones go
 * out at once, because a subscriber may read the first while the second is being written. */
#define BATCH 4096
#define BATCH_BYTES_MAX PACKET_BYTES_MAX /* of a message */

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
static int publisher_init(struct client *c, struct party *p, struct outlet *ret_outlet,
                          uint64_t *ret_start_ns)
{
    struct bus_topic *topic;

    if (client_open(c, p) < 0 || client_advertise(c, flow_topic, &topic) < 0 ||
        outlet_init(ret_outlet, c, topic) < 0 || bus_flush(c->conn, -1) < 0) {
        return -1;
    }
    return party_ready(p, ret_start_ns);
}

/* The next message. 1 if it was the last, 0 or -1. */
static int publish_next(struct party *p, struct stint *stint, struct outlet *o)
{
    unsigned char *body = outlet_body(o);
    bool is_last;

    if (!body) {
        return -1;
    }
    is_last = stint_next(stint, p->index, body, p->spec->bytes);
    return outlet_publish(o) < 0 ? -1 : is_last;
}

int bus_publisher(struct party *p)
{
    unsigned batch = p->spec->bytes <= BATCH_BYTES_MAX ? BATCH : 1;
    struct client c;
    struct outlet outlet;
    uint64_t start_ns;
    struct stint stint;
    int r = 0;

    if (publisher_init(&c, p, &outlet, &start_ns) < 0) {
        return 1;
    }
    stint_init(&stint, p->spec, start_ns);
    while (r == 0) {
        bus_cork(c.conn);
        for (unsigned i = 0; i < batch && r == 0; i++) {
            r = publish_next(p, &stint, &outlet);
        }
        if (r < 0) {
            return 1;
        }
        (void) bus_uncork(c.conn);
        if (bus_process(c.conn) < 0) {
            return 1;
        }
    }
    outlet_fini(&outlet);
    return client_close(&c) < 0;
}

int bus_paced_publisher(struct party *p)
{
    double interval_ns = 1e9 / p->spec->rate;
    uint64_t n = p->spec->count;
    struct client c;
    struct outlet outlet;
    uint64_t start_ns;

    if (publisher_init(&c, p, &outlet, &start_ns) < 0) {
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *body = outlet_body(&outlet);

        if (!body) {
            return 1;
        }
        pattern_fill(body, p->spec->bytes, pattern_word(p->index, i, i + 1 == n));
        sleep_until(start_ns + (uint64_t) ((double) i * interval_ns));
        if (outlet_publish(&outlet) < 0 || (i % BATCH == 0 && bus_process(c.conn) < 0)) {
            return 1;
        }
    }
    outlet_fini(&outlet);
    return client_close(&c) < 0;
}

/* ---- round trips ---- */

struct pinger {
    struct client client; /* first, as above */
    struct stint stint;
    struct outlet outlet;
    uint64_t word; /* of the question under way */
    uint64_t sent_ns;
    bool is_last;
};

static void ping(struct pinger *g)
{
    unsigned char *body = outlet_body(&g->outlet);

    if (!body) {
        client_fail(&g->client);
        return;
    }
    g->is_last = stint_next(&g->stint, 0, body, g->outlet.bytes);
    g->word = pattern_first_word(body);
    g->sent_ns = tool_now_ns();
    if (outlet_publish(&g->outlet) < 0) {
        client_fail(&g->client);
    }
}

static void on_pong(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct pinger *g = userdata;
    struct party *p = g->client.party;
    const unsigned char *data = bus_message_data(message);

    (void) sub;
    p->samples[p->result->n_samples++] = tool_now_ns() - g->sent_ns;
    if (bus_message_bytes(message) != p->spec->bytes || pattern_first_word(data) != g->word ||
        !pattern_matches(data, p->spec->bytes)) {
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
    struct pinger g;
    struct bus_topic *topic;
    uint64_t start_ns;
    int r;

    if (client_open(&g.client, p) < 0 || client_subscribe(&g.client, pong_topic, on_pong) < 0 ||
        client_advertise(&g.client, ping_topic, &topic) < 0 ||
        outlet_init(&g.outlet, &g.client, topic) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&g.stint, p->spec, start_ns);
    p->result->first_ns = tool_now_ns();
    ping(&g);
    r = client_run(&g.client);
    p->result->last_ns = tool_now_ns();
    p->result->messages = g.stint.sent;
    outlet_fini(&g.outlet);
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
