/* SPDX-License-Identifier: MIT */
#include "support/sim.h"
#include "core/policy.h"
#include "support/sim_cargo.h"
#include "support/sim_replace.h"
#include "support/topic_reference.h"
#include "wire/topic.h"

/* Few, so that they run out. */
#define SIM_SLABS 2u

/* Memory of the test itself must not fail when the router's does. */
void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);

static const char *const sim_topics[] = {"a",    "a/b",   "a/b/c", "b",      "b/",     "/b",
                                         "a//c", "c/d/e", "$sys",  "$sys/a", "x/y/z/w"};
static const char *const sim_filters[] = {"#",   "+",  "a",     "a/#", "a/+",    "+/b",     "a/b/c",
                                          "b/#", "/+", "a/+/c", "+/+", "$sys/#", "x/y/z/w", "+/#"};

const char *sim_random_topic(struct sim *s)
{
    return sim_topics[rng_below(&s->rng, ARRAY_LEN(sim_topics))];
}

const char *sim_random_filter(struct sim *s)
{
    return sim_filters[rng_below(&s->rng, ARRAY_LEN(sim_filters))];
}

struct limits sim_small_limits(void)
{
    struct limits l = LIMITS_DEFAULT;

    l.clients_max = SIM_CLIENTS;
    l.client_bytes_max = 256 * 1024;
    l.publish_window_messages = 16;
    l.publish_window_bytes = 16384;
    l.output_bytes_max = 4096;
    l.stream_inline_max = 8192;
    l.aliases_max = 8;
    l.subscriptions_max = 16;
    return l;
}

void sim_init_with(struct sim *s, const struct limits *limits,
                   const struct descriptor_ops *descriptors)
{
    struct router_config config = {.limits = limits ? *limits : sim_small_limits(),
                                   .epoch = 42,
                                   .owner_uid = 1000,
                                   .version = "test",
                                   .descriptors = descriptors};

    memset(s, 0, sizeof(*s));
    s->now = (struct now){1000000, 1700000000000000000};
    s->uid = 1000;
    assert_int_equal(arena_init(&s->arena, CODEC_ARENA_BYTES), 0);
    assert_int_equal(router_new(&config, &s->router), 0);
    s->config = config;
    s->replace_each = sim_replace_each();
    slab_pool_init(&s->slabs, SIM_SLABS);
    assert_non_null(slab_pool_current(&s->slabs, 1));
}

void sim_init(struct sim *s, const struct limits *limits)
{
    sim_init_with(s, limits, &sim_descriptor_ops);
}

static void client_fini(struct sim_client *c)
{
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        free(c->subs[i].due);
        free(c->subs[i].unacked);
    }
    free(c->rx);
    memset(c, 0, sizeof(*c));
}

void sim_shutdown(struct sim *s)
{
    router_shutdown(s->router, &s->now);
    for (unsigned k = 0; k < SIM_CLIENTS; k++) {
        sim_read(s, &s->clients[k], 100000);
        assert_null(s->clients[k].peer);
    }
}

void sim_fini(struct sim *s)
{
    s->router = router_free(s->router);
    policy_unref(s->config.policy);
    assert_int_equal(slab_pool_pinned(&s->slabs), 0);
    slab_pool_fini(&s->slabs);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        client_fini(&s->clients[i]);
    }
    arena_fini(&s->arena);
    sim_fds_end();
}

/* ---- from client to router ---- */

struct input_result sim_send_raw(struct sim *s, struct sim_client *c, const void *data, size_t n)
{
    struct slab *slab = n <= SLAB_BYTES ? slab_pool_current(&s->slabs, n) : NULL;
    struct received in = {slab ? memcpy(slab_room(slab), data, n) : data, n, slab};
    struct input_result r = router_input(s->router, c->peer, &in, 1000000, &s->now);

    if (slab) {
        memset(slab_room(slab), 0xDD, MIN(n, slab_room_bytes(slab)));
    }
    return r;
}

void sim_send(struct sim *s, struct sim_client *c, enum verb verb, const void *message,
              const void *body, size_t body_bytes)
{
    static uint8_t buf[FRAME_PREFIX_BYTES + FRAME_HEADER_MAX + (1 << 20)];
    long n = codec_encode(&s->arena, verb, message, buf + FRAME_PREFIX_BYTES, FRAME_HEADER_MAX);
    struct input_result r;
    size_t bytes;

    assert_true(n >= 0);
    frame_write_prefix(buf, verb, (size_t) n, body_bytes);
    buf[FRAME_PREFIX_BYTES - 1] = (uint8_t) s->n_fds;
    if (body_bytes > 0) {
        memcpy(buf + FRAME_PREFIX_BYTES + n, body, body_bytes);
    }
    bytes = FRAME_PREFIX_BYTES + (size_t) n + body_bytes;
    r = sim_send_raw(s, c, buf, bytes);
    assert_int_equal(r.consumed, bytes);
}

struct sim_client *sim_attach(struct sim *s, bool packets)
{
    struct sim_client *c = NULL;

    for (unsigned i = 0; i < SIM_CLIENTS && !c; i++) {
        c = s->clients[i].peer ? NULL : &s->clients[i];
    }
    if (!c) {
        return NULL;
    }
    client_fini(c);

    struct peer_info info = {s->uid, 1000, 77, packets, c, s->subject};

    if (router_add_peer(s->router, &info, &s->now, &c->peer) != ROUTER_OK) {
        c->peer = NULL;
        return NULL;
    }
    c->packets = packets;
    return c;
}

struct sim_client *sim_connect(struct sim *s, bool packets)
{
    struct wire_hello hello = {1, 1, text_from("sim"), s->features, {"", 0}, s->session};
    struct sim_client *c = sim_attach(s, packets);

    if (c) {
        c->features = s->features;
        sim_send(s, c, VERB_HELLO, &hello, NULL, 0);
        sim_read(s, c, 100);
    }
    return c;
}

void sim_disconnect(struct sim *s, struct sim_client *c)
{
    router_remove_peer(s->router, c->peer);
    client_fini(c);
}

bool sim_subscribe(struct sim *s, struct sim_client *c, unsigned index,
                   const struct wire_subscribe *m)
{
    const struct counters *k = router_counters(s->router);
    uint64_t before = k->subscriptions_now + k->subscriptions_drained;
    struct sim_sub *sub = &c->subs[index];
    struct wire_subscribe with_number = *m;

    with_number.subscription = index + 1;
    sim_send(s, c, VERB_SUBSCRIBE, &with_number, NULL, 0);
    if (k->subscriptions_now + k->subscriptions_drained != before + 1) { /* some may end here */
        return false;
    }
    free(sub->due);
    free(sub->unacked);
    *sub = (struct sim_sub){.used = true,
                            .no_local = m->flags & 1,
                            .is_paced = m->min_interval_ms > 0,
                            .grouped = m->group.len > 0,
                            .acks = m->flags & 8,
                            .window_messages = m->window_messages,
                            .credit = m->window_messages};
    snprintf(sub->filter, sizeof(sub->filter), "%.*s", (int) m->filter.len, m->filter.data);
    return true;
}

void sim_unsubscribe(struct sim *s, struct sim_client *c, unsigned index)
{
    struct wire_unsubscribe m = {index + 1};

    /* what is in the output was delivered before */
    sim_read(s, c, 1000);
    if (!c->peer) {
        return;
    }
    c->n_endings[index]++;
    sim_send(s, c, VERB_UNSUBSCRIBE, &m, NULL, 0);
    c->subs[index].used = false;
}

void sim_drain(struct sim *s, struct sim_client *c, unsigned index)
{
    struct wire_unsubscribe m = {index + 1, UNSUBSCRIBE_DRAIN};

    c->n_endings[index]++;
    c->subs[index].drains = true;
    sim_send(s, c, VERB_UNSUBSCRIBE, &m, NULL, 0);
}

void sim_advertise(struct sim *s, struct sim_client *c, unsigned index, const char *topic)
{
    sim_advertise_with(s, c, index, topic, 0);
}

void sim_advertise_with(struct sim *s, struct sim_client *c, unsigned index, const char *topic,
                        uint32_t flags)
{
    struct wire_unadvertise un = {index + 1};
    struct wire_advertise m = {index + 1, text_from(topic), flags};

    if (*c->aliases[index]) {
        sim_send(s, c, VERB_UNADVERTISE, &un, NULL, 0);
    }
    sim_send(s, c, VERB_ADVERTISE, &m, NULL, 0);
    snprintf(c->aliases[index], sizeof(c->aliases[index]), "%s", topic);
}

void sim_due(struct sim_sub *sub, uint64_t number)
{
    if (sub->n_due == sub->n_due_max) {
        sub->n_due_max = sub->n_due_max ? 2 * sub->n_due_max : 64;
        sub->due = __real_realloc(sub->due, sub->n_due_max * sizeof(*sub->due));
    }
    sub->due[sub->n_due++] = number;
}

/* The oracle: whom does it concern? */
static uint32_t publish_expect(struct sim *s, struct sim_client *from, const char *topic)
{
    uint32_t matched = 0;

    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *c = &s->clients[i];

        for (unsigned k = 0; c->peer && !peer_is_closing(c->peer) && k < SIM_SUBS; k++) {
            struct sim_sub *sub = &c->subs[k];

            if (!sub->used || sub->drains || sub->grouped || (sub->no_local && c == from) ||
                !ref_matches(sub->filter, strlen(sub->filter), topic, strlen(topic)) ||
                (s->may_get && !s->may_get(s, c, sub, topic))) {
                continue;
            }
            sim_due(sub, s->n_published);
            matched++;
        }
    }
    return matched;
}

bool sim_publish(struct sim *s, struct sim_client *c, const struct sim_publish *p)
{
    static uint8_t inline_body[1 << 20];
    struct sim_buffer *b = p->buffer ? &c->buffers[p->buffer - 1] : NULL;
    uint8_t *body = inline_body;
    struct wire_header headers[4] = {{text_from("n"), text_from("value")},
                                     {text_from("traceparent"), text_from("00-1-2-3")},
                                     {text_from("n"), text_from("")},
                                     {text_from("\xc3\xa4"), text_from("x")}};
    struct wire_publish m = {.alias = p->topic ? 0 : p->alias + 1,
                             .topic = text_from(p->topic ? p->topic : ""),
                             .flags = (p->confirm ? 1u : 0) | (p->resent ? PUBLISH_RESENT : 0u),
                             .sequence = p->sequence,
                             .ttl_ms = p->ttl_ms,
                             .key = text_from(p->key ? p->key : ""),
                             .headers = headers,
                             .n_headers = MIN(p->n_headers, ARRAY_LEN(headers))};
    const struct counters *k = router_counters(s->router);
    uint64_t before = k->messages_published;
    const char *topic = p->topic ? p->topic : c->aliases[p->alias];
    uint64_t number = s->n_published + 1;
    bool accepted;

    if (b) {
        m.buffer = p->buffer;
        m.offset = p->slot * b->slot_bytes;
        m.bytes = p->body_bytes;
        body = sim_fd_data(b->fd) + m.offset;
        b->due[p->slot]++;
    }
    memset(body, (int) (number & 0xff), p->body_bytes);
    memcpy(body, &number, sizeof(number));
    c->sequence = p->sequence ? p->sequence : c->sequence + 1;
    /* expected before it happens: a subscriber ended by this very message no longer counts */
    s->n_published = number;
    (void) publish_expect(s, c, topic);
    sim_send_parcel(s, c, VERB_PUBLISH, &m, body, b ? 0 : p->body_bytes, p->n_fds,
                    p->n_fds ? sim_parcel_of(p->n_fds) : NULL);
    accepted = k->messages_published == before + 1;
    if (!accepted) { /* take the expectation back */
        for (unsigned i = 0; i < SIM_CLIENTS * SIM_SUBS; i++) {
            struct sim_sub *sub = &s->clients[i / SIM_SUBS].subs[i % SIM_SUBS];

            if (!sub->grouped && sub->n_due > 0 && sub->due[sub->n_due - 1] == number) {
                sub->n_due--;
            }
        }
    }
    return accepted;
}

void sim_give_credit(struct sim *s, struct sim_client *c, unsigned index)
{
    struct sim_sub *sub = &c->subs[index];
    struct wire_credit m = {index + 1, sub->consumed, sub->consumed_bytes};

    if (!sub->used || sub->consumed == 0) {
        return;
    }
    sub->credit += sub->consumed;
    sub->consumed = 0;
    sub->consumed_bytes = 0;
    sim_send(s, c, VERB_CREDIT, &m, NULL, 0);
}

void sim_ack(struct sim *s, struct sim_client *c, unsigned index, bool all, bool refuse)
{
    struct sim_sub *sub = &c->subs[index];

    while (sub->used && sub->n_unacked > 0) {
        struct wire_ack m = {index + 1, sub->unacked[0], refuse ? ACK_REFUSE : 0};

        sub->n_unacked--;
        memmove(sub->unacked, sub->unacked + 1, sub->n_unacked * sizeof(*sub->unacked));
        sub->credit++;
        sub->acked += !refuse;
        sub->refused += refuse;
        sim_send(s, c, VERB_ACK, &m, NULL, 0);
        if (!all) {
            return;
        }
    }
}

/* ---- from router to client ---- */

/* What it gets is right if it is whole; the rest is the test's to judge. */
static void on_message_for_member(struct sim_sub *sub, const struct wire_message *m)
{
    sub->n_due++;
    assert_true(sub->acks == (m->delivery != 0));
    assert_true((m->flags & MESSAGE_REDELIVERED) == (m->deliveries > 0 ? 2u : 0u));
    if (!sub->acks) {
        return;
    }
    if (sub->n_unacked == sub->n_unacked_max) {
        sub->n_unacked_max = sub->n_unacked_max ? 2 * sub->n_unacked_max : 16;
        sub->unacked = __real_realloc(sub->unacked, sub->n_unacked_max * sizeof(*sub->unacked));
    }
    sub->unacked[sub->n_unacked++] = m->delivery;
}

static void on_message(struct sim_client *c, const struct wire_message *m, const struct frame *f)
{
    struct sim_sub *sub = &c->subs[m->subscription - 1];
    uint64_t number, bytes;
    const uint8_t *body = sim_body(c, m, f, &bytes);
    uint64_t size = bytes;

    for (size_t i = 0; i < m->n_headers; i++) {
        size += m->headers[i].name.len + m->headers[i].value.len;
    }
    assert_true(m->subscription >= 1 && m->subscription <= SIM_SUBS);
    assert_true(sub->used);
    assert_true(bytes >= sizeof(number));
    memcpy(&number, body, sizeof(number));
    for (uint64_t i = sizeof(number); i < bytes; i++) {
        assert_int_equal(body[i], number & 0xff);
    }
    if (sub->grouped) {
        on_message_for_member(sub, m);
    } else {
        /* the next one due, and nothing else: order, no duplicates, no gap without LOSS */
        assert_true(sub->at < sub->n_due);
        assert_true(sub->is_paced || sub->due[sub->at] == number);
    }
    sub->at++;
    sub->delivered++;
    assert_true(m->topic < SIM_IDS && *c->topics[m->topic]);
    assert_true(ref_matches(sub->filter, strlen(sub->filter), c->topics[m->topic],
                            strlen(c->topics[m->topic])));
    assert_true(m->sender < SIM_IDS && c->senders[m->sender] != 0);
    assert_true(sub->credit > 0);
    sub->credit--;
    if (!sub->acks) {
        sub->consumed++;
        sub->consumed_bytes += size;
    }
}

/* A body of support/calls.h, wherever it lies. */
static void body_check(struct sim_client *c, const struct wire_message *place,
                       const struct frame *f)
{
    const uint8_t *body = sim_body(c, place, f, &c->body_bytes);

    c->body_number = 0;
    if (c->body_bytes >= sizeof(c->body_number)) {
        memcpy(&c->body_number, body, sizeof(c->body_number));
    }
    for (uint64_t i = sizeof(c->body_number); i < c->body_bytes; i++) {
        assert_int_equal(body[i], c->body_number & 0xff);
    }
    assert_true(place->sender < SIM_IDS && c->senders[place->sender] != 0);
    c->n_text_headers = place->n_headers;
}

static void on_call(struct sim_client *c, const struct wire_call *m, const struct frame *f)
{
    const struct wire_message place = {.sender = m->sender,
                                       .buffer = m->buffer,
                                       .offset = m->offset,
                                       .bytes = m->bytes,
                                       .lease = m->lease,
                                       .n_headers = m->n_headers};

    assert_true(m->subscription >= 1 && m->subscription <= SIM_SUBS);
    assert_true(m->topic < SIM_IDS && *c->topics[m->topic]);
    assert_true(m->call != 0 && m->timeout_ms > 0 && m->time != 0);
    c->call = m->call;
    body_check(c, &place, f);
}

static void on_answer(struct sim_client *c, const struct wire_answer *m, const struct frame *f)
{
    const struct wire_message place = {.sender = m->sender,
                                       .buffer = m->buffer,
                                       .offset = m->offset,
                                       .bytes = m->bytes,
                                       .lease = m->lease,
                                       .n_headers = m->n_headers};

    assert_true(m->call != 0 && m->time != 0 && m->sender != 0);
    if (m->sender != c->router_sender) { /* it says what is in schemas/inside.proto */
        body_check(c, &place, f);
    }
}

static void on_unsubscribed(struct sim_client *c, const struct wire_status *m)
{
    struct sim_sub *sub;
    unsigned *n;

    if (m->subscription == 0 || m->subscription > SIM_SUBS) {
        return; /* transcripts ask for other numbers, too; nobody keeps account of these */
    }
    sub = &c->subs[m->subscription - 1];
    n = &c->n_endings[m->subscription - 1];
    *n -= *n > 0;
    if (*n == 0 && sub->used && sub->drains && m->code == BUS_STATUS_OK) {
        assert_int_equal(sub->at, sub->n_due);
        assert_int_equal(sub->n_unacked, 0);
        sub->used = false;
    }
}

static void on_loss(struct sim_client *c, const struct wire_loss *m)
{
    struct sim_sub *sub;

    assert_true(m->count > 0);
    assert_true((m->reason >= BUS_LOSS_QUEUE_FULL && m->reason <= BUS_LOSS_EXPIRED) ||
                m->reason == BUS_LOSS_DENIED);
    if (m->subscription == 0) {
        assert_true(c->monitoring);
        c->n_record_losses += m->count;
        return;
    }
    sub = &c->subs[m->subscription - 1];
    assert_true(sub->used);
    sub->n_due += sub->grouped ? m->count : 0;
    assert_true(m->count <= sub->n_due - sub->at);
    sub->at += m->count;
    sub->lost += m->count;
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f)
{
    union wire_any m;

    assert_false(c->ended);
    arena_reset(&s->arena);
    assert_int_equal(codec_decode(&s->arena, f->verb, f->header, f->header_bytes, &m), CODEC_OK);
    if (s->on_frame) {
        s->on_frame(s, c, f, &m);
    }
    sim_cargo_frame(s, c, f, &m);
    switch (f->verb) {
    case VERB_WELCOME:
        c->id = m.welcome.connection_id;
        c->credit_messages = m.welcome.publish_window_messages;
        c->credit_bytes = (int64_t) m.welcome.publish_window_bytes;
        break;
    case VERB_STATUS:
        assert_true(m.status.code < ARRAY_LEN(c->n_status));
        c->n_status[m.status.code]++;
        c->last_status = m.status.code;
        if (m.status.verb == VERB_UNSUBSCRIBE && !s->looks_away) {
            on_unsubscribed(c, &m.status);
        }
        break;
    case VERB_GOODBYE:
        c->ended = true;
        c->goodbye = (enum bus_goodbye) m.goodbye.reason;
        break;
    case VERB_TOPIC:
        assert_true(m.topic.id < SIM_IDS);
        snprintf(c->topics[m.topic.id], sizeof(c->topics[0]), "%.*s", (int) m.topic.name.len,
                 m.topic.name.data);
        break;
    case VERB_PEER:
        assert_true(m.peer.id < SIM_IDS);
        c->senders[m.peer.id] = m.peer.connection_id;
        if (m.peer.connection_id == 0) {
            c->router_sender = m.peer.id;
        } else if (c->router_sender == m.peer.id) {
            c->router_sender = 0;
        }
        break;
    case VERB_MESSAGE:
        if (!s->looks_away) {
            on_message(c, &m.message, f);
        }
        break;
    case VERB_CALL:
        on_call(c, &m.call, f);
        break;
    case VERB_ANSWER:
        on_answer(c, &m.answer, f);
        break;
    case VERB_LOSS:
        if (!s->looks_away) {
            on_loss(c, &m.loss);
        }
        break;
    case VERB_PUBLISH_CREDIT:
        c->credit_messages += m.publish_credit.messages;
        c->credit_bytes += (int64_t) m.publish_credit.bytes;
        c->n_credits++;
        break;
    case VERB_CONFIRM:
        c->confirm = m.confirm;
        c->n_confirms++;
        assert_int_equal(m.confirm.matched,
                         m.confirm.delivered + m.confirm.queued + m.confirm.dropped);
        break;
    case VERB_MONITORED:
        assert_true(c->monitoring);
        assert_true(*c->topics[m.monitored.topic]);
        assert_true(s->looks_away || c->senders[m.monitored.sender] ||
                    m.monitored.sender == c->router_sender);
        c->n_records++;
        c->n_omitted += m.monitored.recipients_omitted;
        break;
    case VERB_SNAPSHOT_END:
        c->snapshot_end = m.snapshot_end;
        break;
    case VERB_PONG:
        c->n_pongs++;
        break;
    default:
        break;
    }
}

static void rx_parse(struct sim *s, struct sim_client *c, const uint8_t *data, size_t n,
                     size_t *ret_used)
{
    struct frame f;
    size_t bytes;

    *ret_used = 0;
    while (*ret_used < n &&
           frame_parse(data + *ret_used, n - *ret_used, 1 << 20, &f, &bytes) == FRAME_OK) {
        on_frame(s, c, &f);
        *ret_used += bytes;
    }
}

static size_t read_packet(struct sim *s, struct sim_client *c)
{
    static uint8_t packet[FRAME_PACKET_MAX];
    struct iovec iov[OUTQ_PACKET_IOV];
    int n = outq_peek_packet(peer_output(c->peer), iov);
    size_t bytes = 0, used;

    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len > 0 && iov[i].iov_len <= sizeof(packet) - bytes);
        memcpy(packet + bytes, iov[i].iov_base, iov[i].iov_len);
        bytes += iov[i].iov_len;
    }
    rx_parse(s, c, packet, bytes, &used);
    assert_int_equal(used, bytes);
    return used;
}

static size_t read_stream(struct sim *s, struct sim_client *c, const struct iovec *iov)
{
    size_t n = 1 + rng_below(&s->rng, (uint32_t) iov->iov_len), used;

    c->rx = __real_realloc(c->rx, c->n_rx + n);
    memcpy(c->rx + c->n_rx, iov->iov_base, n);
    c->n_rx += n;
    rx_parse(s, c, c->rx, c->n_rx, &used);
    memmove(c->rx, c->rx + used, c->n_rx - used);
    c->n_rx -= used;
    return n;
}

void sim_read(struct sim *s, struct sim_client *c, unsigned n)
{
    if (s->replace_each && rng_below(&s->rng, s->replace_each) == 0) {
        (void) sim_replace(s);
    }
    while (n-- > 0 && c->peer) {
        struct iovec iov;
        size_t sent;

        if (outq_peek(peer_output(c->peer), &iov, 1) == 0) {
            break;
        }
        if (outq_parcel(peer_output(c->peer))) {
            sim_batch_arrived(c, outq_parcel(peer_output(c->peer)));
        }
        sent = c->packets ? read_packet(s, c) : read_stream(s, c, &iov);
        router_output_sent(s->router, c->peer, sent);
    }
    if (c->peer && peer_is_closing(c->peer) && peer_output(c->peer)->bytes == 0) {
        sim_disconnect(s, c);
    }
}

/* ---- the world ---- */

void sim_advance(struct sim *s, uint64_t ns)
{
    s->now.monotonic_ns += ns;
    s->now.realtime_ns += ns;
    router_tick(s->router, &s->now);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *c = &s->clients[i];

        if (c->peer && peer_is_expired(c->peer)) {
            sim_disconnect(s, c);
        }
    }
}

unsigned sim_work_off(struct sim *s)
{
    unsigned turns = 0;

    for (; router_deadline(s->router) == 0; turns++) {
        router_tick(s->router, &s->now);
        router_check(s->router);
    }
    return turns;
}

static bool client_is_settled(const struct sim_client *c)
{
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        const struct sim_sub *sub = &c->subs[i];

        if (sub->used && (sub->at < sub->n_due || sub->consumed > 0 || sub->n_unacked > 0)) {
            return false;
        }
    }
    return !c->peer || peer_output((struct peer *) (uintptr_t) c->peer)->bytes == 0;
}

void sim_settle(struct sim *s)
{
    bool settled = false;

    for (unsigned turn = 0; turn < 10000 && !settled; turn++) {
        settled = true;
        for (unsigned i = 0; i < SIM_CLIENTS; i++) {
            struct sim_client *c = &s->clients[i];

            for (unsigned k = 0; c->peer && k < SIM_SUBS; k++) {
                sim_give_credit(s, c, k);
                sim_ack(s, c, k, true, false);
            }
            sim_read(s, c, 64);
            /* what is let go of may be returned to somebody who was settled before */
            settled = settled && client_is_settled(c) && c->n_leases == 0 && !c->is_pinged;
            sim_release_all(s, c);
            sim_pong(s, c);
        }
        if (s->router && router_deadline(s->router) < s->now.monotonic_ns + 100000000) {
            sim_advance(s, 100000000);
            settled = false; /* it may have said what it had no memory for before */
        }
        for (unsigned i = 0; i < SIM_CLIENTS; i++) {
            /* what ended meanwhile may have been returned to those before it */
            settled = settled && client_is_settled(&s->clients[i]);
        }
    }
    assert_true(settled);
    assert_int_equal(router_counters(s->router)->messages_queued_now, 0);
    sim_check(s);
}

void sim_check(struct sim *s)
{
    router_check(s->router);
    while (router_next_dirty(s->router)) {
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *c = &s->clients[i];

        for (unsigned k = 0; k < SIM_SUBS; k++) {
            assert_int_equal(c->subs[k].at, c->subs[k].delivered + c->subs[k].lost);
            assert_true(c->subs[k].at <= c->subs[k].n_due);
        }
    }
}
