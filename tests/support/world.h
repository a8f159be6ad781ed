/* SPDX-License-Identifier: MIT */
#pragma once
/* Directed tests on support/sim: a few clients, and for each the transcript of what it received,
 * one line a frame. The oracle of sim looks on. At the end everything is gone and paid back.
 *
 *     MESSAGE subscription topic connection.sequence [#delivery [again deliveries]] [reliable]
 * [resent]
 *     ACKED sequence
 *     LOSS subscription count bytes REASON
 *     INTEREST alias subscriptions
 *     SILENCE subscription since_ms
 *     STOPPING deadline_ms
 *     STATUS CODE VERB [alias=n] [sub=n] [seq=n] [buffer=n] [call=n]
 *     MESSAGE subscription topic connection.sequence [in buffer offset bytes lease]
 * [fds/descriptors] [retained] LIVE subscription messages (the end of what was kept) BUFFER id
 * bytes [immutable] MONITORED order topic connection.sequence body/whole STATUS
 * [connection/subscription VERDICT REASON evicted]
 *
 * A monitor's record of another kind than PUBLISH has its name and #n behind MONITORED. Calls and
 * requests to monitors are numbered 1, 2, … in the order in which clients first hear of them; in
 * ANSWER, DONE and STATUS of REQUEST it is the requester's own number:
 *
 *     CALL subscription topic connection call=n timeout [in buffer offset bytes lease] [fds/n]
 *     ANSWER number[.part] connection [MORE] [error=n] [in buffer offset bytes lease] [fds/n]
 *     DONE STATUS number [replied/gone/timed out, if any]
 *     CANCEL call=n REASON
 *     CREDIT call=n messages
 */

#include "support/sim.h"

#define WORLD_TEXT 32768u
#define WORLD_BODY 10u /* bytes of a body, if nothing else is said */
#define WORLD_CALLS 4096u

struct world {
    struct sim s;     /* first, so that on_frame() finds it */
    bool shows_names; /* TOPIC and PEER are in the transcript too */
    bool on_streams;  /* those who join */
    bool hides_pongs;
    uint64_t calls[WORLD_CALLS]; /* CALL.call, by number - 1 */
    unsigned n_calls;
    uint64_t requests[WORLD_CALLS]; /* MONITORED.call, by number - 1 */
    unsigned n_requests;
    char text[SIM_CLIENTS][WORLD_TEXT];
    size_t len[SIM_CLIENTS];
};

#define NAME_OF(list, number) ((number) < ARRAY_LEN(list) ? (list)[number] : "?")

static const char *const world_status[] = {
#define X(name, number, text) [number] = #name,
    BUS_STATUS_LIST(X)
#undef X
};
static const char *const world_goodbye[] = {
#define X(name, number, text) [number] = #name,
    BUS_GOODBYE_LIST(X)
#undef X
};
static const char *const world_loss[] = {
#define X(name, number, text) [number] = #name,
    BUS_LOSS_LIST(X)
#undef X
};
static const char *const world_verdict[] = {
#define X(name, number, text) [number] = #name,
    BUS_VERDICT_LIST(X)
#undef X
};

static inline struct world *world_of(struct sim *s)
{
    return container_of(s, struct world, s);
}

__attribute__((format(printf, 3, 4))) static inline void
world_print(struct world *w, const struct sim_client *c, const char *format, ...)
{
    size_t i = (size_t) (c - w->s.clients);
    va_list args;

    va_start(args, format);
    w->len[i] += (size_t) vsnprintf(w->text[i] + w->len[i], WORLD_TEXT - w->len[i], format, args);
    va_end(args);
    assert_true(w->len[i] < WORLD_TEXT);
}

static inline unsigned world_number(uint64_t *ids, unsigned *n, uint64_t id)
{
    for (unsigned i = 0; i < *n; i++) {
        if (ids[i] == id) {
            return i + 1;
        }
    }
    assert_true(*n < WORLD_CALLS);
    ids[(*n)++] = id;
    return *n;
}

static inline unsigned world_call_number(struct world *w, uint64_t id)
{
    return world_number(w->calls, &w->n_calls, id);
}

static inline void world_print_status(struct world *w, const struct sim_client *c,
                                      const struct wire_status *m)
{
    world_print(w, c, "STATUS %s %s", NAME_OF(world_status, m->code), verb_name((uint8_t) m->verb));
    if (m->alias) {
        world_print(w, c, " alias=%u", m->alias);
    }
    if (m->subscription) {
        world_print(w, c, " sub=%u", m->subscription);
    }
    if (m->sequence) {
        world_print(w, c, " seq=%llu", (unsigned long long) m->sequence);
    }
    if (m->buffer) {
        world_print(w, c, " buffer=%u", m->buffer);
    }
    if (m->call) {
        world_print(w, c, " call=%u",
                    m->verb == VERB_REPLY ? world_call_number(w, m->call) : (unsigned) m->call);
    }
    world_print(w, c, "\n");
}

static inline void world_print_record(struct world *w, const struct sim_client *c,
                                      const struct wire_monitored *m, const struct frame *f)
{
    static const char *const kinds[] = {"", "REQUEST", "REPLY", "DONE", "REPLY_MORE"};

    world_print(w, c, "MONITORED ");
    if (m->kind) {
        world_print(w, c, "%s #%u ", NAME_OF(kinds, m->kind),
                    world_number(w->requests, &w->n_requests, m->call));
    }
    world_print(w, c, "%llu %s %llu.%llu %u/%llu %s", (unsigned long long) m->order,
                c->topics[m->topic], (unsigned long long) c->senders[m->sender],
                (unsigned long long) m->sequence, f->body_bytes, (unsigned long long) m->body_bytes,
                NAME_OF(world_status, m->status));
    for (size_t i = 0; i < m->n_recipients; i++) {
        const struct wire_recipient *r = &m->recipients[i];

        assert_int_not_equal(c->senders[r->peer], 0);
        world_print(w, c, " [%llu/%u %s %s %u]", (unsigned long long) c->senders[r->peer],
                    r->subscription, NAME_OF(world_verdict, r->verdict),
                    NAME_OF(world_loss, r->reason), r->evicted);
    }
    if (m->recipients_omitted) {
        world_print(w, c, " and %u more", m->recipients_omitted);
    }
    world_print(w, c, "\n");
}

static inline void world_print_snapshot(struct world *w, struct sim_client *c,
                                        const struct frame *f, const union wire_any *m)
{
    if (f->verb == VERB_CLIENT_STATS) {
        world_print(w, c, "CLIENT_STATS %llu\n",
                    (unsigned long long) m->client_stats.connection_id);
    } else if (f->verb == VERB_TOPIC_STATS) {
        world_print(w, c, "TOPIC_STATS %.*s\n", (int) m->topic_stats.name.len,
                    m->topic_stats.name.data);
    } else if (f->verb == VERB_COUNTER) {
        world_print(w, c, "COUNTER %.*s\n", (int) m->counter.name.len, m->counter.name.data);
    } else if (f->verb == VERB_SNAPSHOT_END && m->snapshot_end.subscription) {
        world_print(w, c, "LIVE %u %llu\n", m->snapshot_end.subscription,
                    (unsigned long long) m->snapshot_end.messages);
    } else if (f->verb == VERB_SNAPSHOT_END) {
        world_print(w, c, "SNAPSHOT_END %u %llu\n", m->snapshot_end.kind,
                    (unsigned long long) m->snapshot_end.next);
    }
}

static inline void world_print_names(struct world *w, struct sim_client *c, const struct frame *f,
                                     const union wire_any *m)
{
    if (f->verb == VERB_TOPIC) {
        world_print(w, c, "TOPIC %u %.*s\n", m->topic.id, (int) m->topic.name.len,
                    m->topic.name.data);
    } else if (f->verb == VERB_PEER) {
        world_print(w, c, "PEER %u %llu %.*s\n", m->peer.id,
                    (unsigned long long) m->peer.connection_id, (int) m->peer.name.len,
                    m->peer.name.data);
    }
}

/* Where the body is, and the descriptors; m may be that of another verb with these fields. */
static inline void world_print_place(struct world *w, struct sim_client *c,
                                     const struct wire_message *m, const struct frame *f)
{
    if (m->buffer) {
        world_print(w, c, " in %u %llu %llu %u", m->buffer, (unsigned long long) m->offset,
                    (unsigned long long) m->bytes, m->lease);
    }
    if (m->descriptors) {
        world_print(w, c, " %u/%u", f->fds, m->descriptors);
    }
    if (m->flags & MESSAGE_RETAINED) {
        world_print(w, c, " retained");
    }
    if (m->delivery) {
        world_print(w, c, " #%u", m->delivery);
    }
    if (m->flags & MESSAGE_REDELIVERED) {
        world_print(w, c, " again %u", m->deliveries);
    }
    if (m->flags & (MESSAGE_RELIABLE | MESSAGE_RESENT)) {
        world_print(w, c, "%s%s", m->flags & MESSAGE_RELIABLE ? " reliable" : "",
                    m->flags & MESSAGE_RESENT ? " resent" : "");
    }
    world_print(w, c, "\n");
}

static inline void world_print_message(struct world *w, struct sim_client *c,
                                       const struct wire_message *m, const struct frame *f)
{
    world_print(w, c, "MESSAGE %u %s %llu.%llu", m->subscription, c->topics[m->topic],
                (unsigned long long) c->senders[m->sender], (unsigned long long) m->sequence);
    world_print_place(w, c, m, f);
}

static inline void world_print_call(struct world *w, struct sim_client *c,
                                    const struct wire_call *m, const struct frame *f)
{
    const struct wire_message place = {.buffer = m->buffer,
                                       .offset = m->offset,
                                       .bytes = m->bytes,
                                       .lease = m->lease,
                                       .descriptors = m->descriptors};

    world_print(w, c, "CALL %u %s %llu call=%u %u", m->subscription, c->topics[m->topic],
                (unsigned long long) c->senders[m->sender], world_call_number(w, m->call),
                m->timeout_ms);
    world_print_place(w, c, &place, f);
}

static inline void world_print_answer(struct world *w, struct sim_client *c,
                                      const struct wire_answer *m, const struct frame *f)
{
    const struct wire_message place = {.buffer = m->buffer,
                                       .offset = m->offset,
                                       .bytes = m->bytes,
                                       .lease = m->lease,
                                       .descriptors = m->descriptors};

    world_print(w, c, "ANSWER %u", m->call);
    if (m->part) {
        world_print(w, c, ".%u", m->part);
    }
    world_print(w, c, " %llu%s", (unsigned long long) c->senders[m->sender],
                m->flags & REPLY_MORE ? " MORE" : "");
    if (m->error) {
        world_print(w, c, " error=%u", m->error);
    }
    world_print_place(w, c, &place, f);
}

static inline void world_print_done(struct world *w, struct sim_client *c,
                                    const struct wire_done *m)
{
    world_print(w, c, "DONE %s %u", NAME_OF(world_status, m->status), m->call);
    if (m->replied || m->gone || m->timed_out) {
        world_print(w, c, " %u/%u/%u", m->replied, m->gone, m->timed_out);
    }
    world_print(w, c, "\n");
}

static inline bool world_print_request(struct world *w, struct sim_client *c, const struct frame *f,
                                       const union wire_any *m)
{
    switch (f->verb) {
    case VERB_CALL:
        world_print_call(w, c, &m->call, f);
        return true;
    case VERB_ANSWER:
        world_print_answer(w, c, &m->answer, f);
        return true;
    case VERB_DONE:
        world_print_done(w, c, &m->done);
        return true;
    case VERB_CANCEL:
        world_print(w, c, "CANCEL call=%u %s\n", world_call_number(w, m->cancel.call),
                    NAME_OF(world_status, m->cancel.reason));
        return true;
    case VERB_CREDIT:
        world_print(w, c, "CREDIT call=%u %u\n", world_call_number(w, m->credit.call),
                    m->credit.messages);
        return true;
    default:
        return false;
    }
}

static inline bool world_print_cargo(struct world *w, struct sim_client *c, const struct frame *f,
                                     const union wire_any *m)
{
    if (f->verb == VERB_BUFFER) {
        world_print(w, c, "BUFFER %u %llu%s\n", m->buffer.id, (unsigned long long) m->buffer.bytes,
                    m->buffer.flags & BUFFER_IMMUTABLE ? " immutable" : "");
    } else if (f->verb == VERB_UNBUFFER) {
        world_print(w, c, "UNBUFFER %u\n", m->unbuffer.id);
    } else if (f->verb == VERB_RETURNED) {
        world_print(w, c, "RETURNED %u %llu\n", m->returned.buffer,
                    (unsigned long long) m->returned.offset);
    } else if (f->verb == VERB_PING) {
        world_print(w, c, "PING\n");
    }
    return f->verb == VERB_BUFFER || f->verb == VERB_UNBUFFER || f->verb == VERB_RETURNED ||
           f->verb == VERB_PING;
}

static inline void world_on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                                  const union wire_any *m)
{
    struct world *w = world_of(s);

    switch (f->verb) {
    case VERB_WELCOME:
        world_print(w, c, "WELCOME\n");
        break;
    case VERB_STATUS:
        world_print_status(w, c, &m->status);
        break;
    case VERB_GOODBYE:
        world_print(w, c, "GOODBYE %s\n", NAME_OF(world_goodbye, m->goodbye.reason));
        break;
    case VERB_PONG:
        if (!w->hides_pongs) {
            world_print(w, c, "PONG %llu\n", (unsigned long long) m->pong.token);
        }
        break;
    case VERB_ACKED:
        world_print(w, c, "ACKED %llu\n", (unsigned long long) m->acked.sequence);
        break;
    case VERB_PUBLISH_CREDIT:
        world_print(w, c, "PUBLISH_CREDIT %u %llu\n", m->publish_credit.messages,
                    (unsigned long long) m->publish_credit.bytes);
        break;
    case VERB_CONFIRM:
        world_print(w, c, "CONFIRM %llu %u %u %u %u\n", (unsigned long long) m->confirm.sequence,
                    m->confirm.matched, m->confirm.delivered, m->confirm.queued,
                    m->confirm.dropped);
        break;
    case VERB_MESSAGE:
        world_print_message(w, c, &m->message, f);
        break;
    case VERB_LOSS:
        world_print(w, c, "LOSS %u %llu %llu %s\n", m->loss.subscription,
                    (unsigned long long) m->loss.count, (unsigned long long) m->loss.bytes,
                    NAME_OF(world_loss, m->loss.reason));
        break;
    case VERB_MONITORED:
        world_print_record(w, c, &m->monitored, f);
        break;
    case VERB_STOPPING:
        world_print(w, c, "STOPPING %u\n", m->stopping.deadline_ms);
        break;
    case VERB_INTEREST:
        world_print(w, c, "INTEREST %u %u\n", m->interest.alias, m->interest.subscriptions);
        break;
    case VERB_SILENCE:
        world_print(w, c, "SILENCE %u %llu\n", m->silence.subscription,
                    (unsigned long long) m->silence.since_ms);
        break;
    default:
        if (world_print_cargo(w, c, f, m) || world_print_request(w, c, f, m)) {
            break;
        }
        world_print_snapshot(w, c, f, m);
        if (w->shows_names) {
            world_print_names(w, c, f, m);
        }
    }
}

/* ---- fixture ---- */

static inline struct world *world_new(const struct limits *limits)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    sim_init(&w->s, limits);
    w->s.on_frame = world_on_frame;
    return w;
}

static inline void world_free(struct world *w)
{
    const struct counters *k = router_counters(w->s.router);

    router_check(w->s.router);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (w->s.clients[i].peer) {
            sim_disconnect(&w->s, &w->s.clients[i]);
            router_check(w->s.router);
        }
    }
    sim_work_off(&w->s);
    k = router_counters(w->s.router);
    assert_int_equal(k->clients_now, 0);
    assert_int_equal(k->subscriptions_now, 0);
    assert_int_equal(k->topics_now, 0);
    assert_int_equal(k->monitors_now, 0);
    assert_int_equal(k->groups_now, 0);
    assert_int_equal(k->messages_unacknowledged_now, 0);
    assert_int_equal(k->messages_queued_now, 0);
    assert_int_equal(k->charged_bytes_now, 0);
    assert_int_equal(k->buffers_now, 0);
    assert_int_equal(k->leases_now, 0);
    assert_int_equal(k->descriptors_now, 0);
    assert_int_equal(k->requests_now, 0);
    assert_int_equal(k->calls_now, 0);
    sim_fini(&w->s);
    free(w);
}

/* A further one, for clients on the same kind of link. */
static inline struct world *world_like(const struct world *other, const struct limits *limits)
{
    struct world *w = world_new(limits);

    w->on_streams = other->on_streams;
    return w;
}

static inline int world_setup(void **state)
{
    *state = world_new(NULL);
    return 0;
}

static inline int world_teardown(void **state)
{
    world_free(*state);
    return 0;
}

#define WORLD_CASE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

static inline int world_setup_streams(void **state)
{
    struct world *w = world_new(NULL);

    w->on_streams = true;
    *state = w;
    return 0;
}

/* The same case on both kinds of links, in a world of one's own. */
#define WORLD_CASES_IN(f, setup, setup_streams, teardown)                                          \
    cmocka_unit_test_setup_teardown(f, setup, teardown),                                           \
    {                                                                                              \
#f "_on_streams", f, setup_streams, teardown, NULL                                         \
    }
#define WORLD_CASES(f) WORLD_CASES_IN(f, world_setup, world_setup_streams, world_teardown)

/* ---- clients ---- */

static inline void world_clear(struct world *w, const struct sim_client *c)
{
    w->len[c - w->s.clients] = 0;
    w->text[c - w->s.clients][0] = '\0';
}

/* A client that has not greeted yet; NULL if the router is full. */
static inline struct sim_client *world_attach(struct world *w)
{
    return sim_attach(&w->s, !w->on_streams);
}

/* A client that has been greeted; its transcript is empty. */
static inline struct sim_client *world_join(struct world *w)
{
    struct sim_client *c = sim_connect(&w->s, !w->on_streams);

    assert_non_null(c);
    world_clear(w, c);
    return c;
}

/* Reads all there is and compares the transcript since the last time. */
static inline void world_expect(struct world *w, struct sim_client *c, const char *due)
{
    sim_read(&w->s, c, 10000);
    assert_string_equal(w->text[c - w->s.clients], due);
    world_clear(w, c);
}

struct world_sub {
    const char *filter;
    enum bus_policy policy;
    uint32_t window; /* messages; bytes are plenty */
    uint32_t queue;  /* messages */
    uint64_t queue_bytes;
    uint64_t window_bytes;
    bool no_local;
    bool descriptors;
    enum bus_retained retained;
    uint32_t min_interval_ms;
    const char *group; /* or NULL */
    bool ack, sticky;
    uint32_t deliveries_max;
    const char *dead_letter; /* or NULL */
};

static inline struct wire_subscribe world_subscribe_of(const struct world_sub *sub)
{
    return (struct wire_subscribe){.filter = text_from(sub->filter),
                                   .policy = sub->policy,
                                   .window_messages = sub->window,
                                   .window_bytes = sub->window_bytes ? sub->window_bytes : 100000,
                                   .queue_messages = sub->queue,
                                   .queue_bytes = sub->queue_bytes ? sub->queue_bytes : 100000,
                                   .flags = (sub->no_local ? 1u : 0) | (sub->descriptors ? 2u : 0) |
                                            (sub->ack ? 8u : 0) | (sub->sticky ? 16u : 0),
                                   .group = text_from(sub->group ? sub->group : ""),
                                   .retained = sub->retained,
                                   .min_interval_ms = sub->min_interval_ms,
                                   .deliveries_max = sub->deliveries_max,
                                   .dead_letter =
                                       text_from(sub->dead_letter ? sub->dead_letter : "")};
}

/* Subscribes as number index + 1 and swallows the answer. */
static inline void world_subscribe(struct world *w, struct sim_client *c, unsigned index,
                                   const struct world_sub *sub)
{
    struct wire_subscribe m = world_subscribe_of(sub);

    sim_read(&w->s, c, 10000);
    assert_true(sim_subscribe(&w->s, c, index, &m));
    sim_read(&w->s, c, 10000);
    world_clear(w, c);
}

/* A client that can receive bodies in buffers. */
static inline struct sim_client *world_join_mapping(struct world *w)
{
    struct sim_client *c;

    w->s.features = FEATURE_BUFFERS;
    c = world_join(w);
    w->s.features = 0;
    return c;
}

static inline bool world_publish_bytes(struct world *w, struct sim_client *c, const char *topic,
                                       size_t body_bytes)
{
    return sim_publish(&w->s, c, &(struct sim_publish){.topic = topic, .body_bytes = body_bytes});
}

static inline void world_publish(struct world *w, struct sim_client *c, const char *topic)
{
    assert_true(world_publish_bytes(w, c, topic, WORLD_BODY));
}

static inline void world_publish_n(struct world *w, struct sim_client *c, const char *topic,
                                   unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        world_publish(w, c, topic);
    }
}

/* ACK of a delivery by its number, or a refusal. */
static inline void world_ack(struct world *w, struct sim_client *c, unsigned index,
                             uint32_t delivery, bool refuse)
{
    struct wire_ack m = {index + 1, delivery, refuse ? ACK_REFUSE : 0};
    struct sim_sub *sub = &c->subs[index];

    for (size_t i = 0; i < sub->n_unacked; i++) {
        if (sub->unacked[i] == delivery) {
            sub->unacked[i] = sub->unacked[--sub->n_unacked];
            sub->credit++;
        }
    }
    sim_send(&w->s, c, VERB_ACK, &m, NULL, 0);
}

static inline void world_publish_key(struct world *w, struct sim_client *c, const char *topic,
                                     const char *key)
{
    assert_true(sim_publish(
        &w->s, c, &(struct sim_publish){.topic = topic, .body_bytes = WORLD_BODY, .key = key}));
}

/* CREDIT as a client may send it, whatever it has consumed. */
static inline void world_credit(struct world *w, struct sim_client *c, unsigned index,
                                uint32_t messages, uint64_t bytes)
{
    struct wire_credit m = {index + 1, messages, bytes};
    struct sim_sub *sub = &c->subs[index];

    sub->credit += messages; /* the router may cut it */
    sub->consumed -= MIN(sub->consumed, messages);
    sub->consumed_bytes -= MIN(sub->consumed_bytes, bytes);
    sim_send(&w->s, c, VERB_CREDIT, &m, NULL, 0);
}
