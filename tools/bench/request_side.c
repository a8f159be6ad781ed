/* SPDX-License-Identifier: MIT */
/* Requests on the bus: a server that answers with what it was asked, and a requester that has a
 * number of them open at any time and checks every byte of every answer. */

#include <bus/request.h>
#include <stdlib.h>
#include <string.h>
#include "bus_side.h"
#include "common.h"
#include "harness.h"
#include "parties.h"

static const char topic[] = "bench/service";

struct asker;

/* One of the requests that are open at the same time. */
struct slot {
    struct asker *asker;
    uint64_t word;
    uint64_t sent_ns;
};

struct asker {
    struct client client; /* first, so that both have one address */
    struct stint stint;
    struct slot *slots;
    unsigned char *body;
    unsigned n_open;
    bool is_over; /* the last one has been sent */
};

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata);

static void ask(struct slot *s)
{
    struct asker *a = s->asker;
    struct party *p = a->client.party;
    int r;

    a->is_over = stint_next(&a->stint, 0, a->body, p->spec->bytes);
    s->word = pattern_first_word(a->body);
    s->sent_ns = tool_now_ns();
    r = bus_request(a->client.conn, topic, a->body, p->spec->bytes, NULL, on_reply, s, NULL);
    if (r < 0) {
        tool_error("cannot request: %s", strerror(-r));
        client_fail(&a->client);
    }
    a->n_open++;
}

static bool is_right(const struct slot *s, const struct bus_reply *reply)
{
    const struct party *p = s->asker->client.party;
    const unsigned char *data;

    if (reply->status != BUS_STATUS_OK || reply->error != 0) {
        tool_error("a request failed: %s %s", bus_status_text(reply->status), reply->text);
        return false;
    }
    data = bus_message_data(reply->message);
    if (bus_message_bytes(reply->message) != p->spec->bytes ||
        pattern_first_word(data) != s->word || !pattern_matches(data, p->spec->bytes)) {
        tool_error("the answer is not what was asked");
        return false;
    }
    return true;
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct slot *s = userdata;
    struct asker *a = s->asker;
    struct party *p = a->client.party;

    (void) conn;
    if (a->client.failed) {
        return;
    }
    if (!is_right(s, reply)) {
        client_fail(&a->client);
        return;
    }
    if (p->result->n_samples < SAMPLES_MAX) {
        p->samples[p->result->n_samples++] = tool_now_ns() - s->sent_ns;
    }
    a->n_open--;
    if (!a->is_over) {
        ask(s);
    } else if (a->n_open == 0) {
        client_finish(&a->client);
    }
}

static int asker_init(struct asker *a, struct party *p)
{
    *a = (struct asker){.slots = calloc(p->spec->n, sizeof(*a->slots)),
                        .body = malloc(p->spec->bytes)};
    if (!a->slots || !a->body) {
        tool_error("out of memory");
        return -1;
    }
    for (unsigned i = 0; i < p->spec->n; i++) {
        a->slots[i].asker = a;
    }
    return client_open(&a->client, p);
}

int bus_requester(struct party *p)
{
    struct asker a;
    uint64_t start_ns;
    int r;

    if (asker_init(&a, p) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&a.stint, p->spec, start_ns);
    p->result->first_ns = tool_now_ns();
    bus_cork(a.client.conn);
    for (unsigned i = 0; i < p->spec->n && !a.is_over; i++) {
        ask(&a.slots[i]);
    }
    (void) bus_uncork(a.client.conn);
    r = client_run(&a.client);
    p->result->last_ns = tool_now_ns();
    p->result->messages = a.stint.sent;
    free(a.slots);
    free(a.body);
    return r < 0 || client_close(&a.client) < 0;
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct client *c = userdata;
    const struct bus_message *m = bus_call_message(call);
    const void *data = bus_message_data(m);
    bool is_last = pattern_first_word(data) & PATTERN_LAST;
    int r = bus_call_reply(call, data, bus_message_bytes(m), NULL);

    if (r < 0) {
        tool_error("cannot reply: %s", strerror(-r));
        client_fail(c);
    } else if (is_last) {
        client_finish(c);
    }
}

int bus_server(struct party *p)
{
    struct client c;
    uint64_t start_ns;
    int r;

    if (client_open(&c, p) < 0) {
        return 1;
    }
    r = bus_serve(c.conn, topic, NULL, on_call, &c, NULL);
    if (r < 0) {
        tool_error("cannot serve: %s", strerror(-r));
        return 1;
    }
    if (bus_flush(c.conn, -1) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    return client_run(&c) < 0 || client_close(&c) < 0;
}
