/* SPDX-License-Identifier: MIT */
/* What the router says. The cursor into the receive buffer is in the connection, not here: a
 * callback may process further input itself, and the dispatchers below it then find less left. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/session.h"
#include "wire/codec.h"
#include "wire/hot_requests.h"
#include "wire/topic.h"

/* PONGs that may wait beyond max_out_bytes for a router that asks but does not read. */
#define PREFETCH_BYTES 512u
#define PONG_BYTES_MAX (1024u * 1024u)

/* ---- texts ---- */

const char *bus__text(struct arena *a, struct text t)
{
    char *copy = arena_alloc(a, t.len + 1);

    if (copy) {
        memcpy(copy, t.data, t.len);
        copy[t.len] = '\0';
    }
    return copy;
}

const struct bus_header *bus__headers(struct arena *a, const struct wire_header *headers, size_t n)
{
    struct bus_header *v = arena_alloc(a, (n + 1) * sizeof(*v));

    for (size_t i = 0; v && i < n; i++) {
        v[i].name = bus__text(a, headers[i].name);
        v[i].value = bus__text(a, headers[i].value);
        if (!v[i].name || !v[i].value) {
            return NULL;
        }
    }
    return v;
}

void bus__tell_status(struct bus_conn *c, const struct wire_status *m, const char *topic)
{
    char text[GOODBYE_TEXT_MAX + 1];
    struct bus_status_event event = {(enum bus_status) m->code, text, topic, m->sequence};

    if (c->on_status && c->opened) {
        (void) snprintf(text, sizeof(text), "%.*s", (int) MIN(m->text.len, GOODBYE_TEXT_MAX),
                        m->text.data);
        c->on_status(c, &event, c->userdata);
    }
}

/* ---- greeting and link ---- */

static void on_welcome(struct bus_conn *c, const struct wire_welcome *m)
{
    if (m->protocol != 1 || m->inline_max > INLINE_MAX_BELIEVED) {
        bus__fail_protocol(c, "WELCOME out of range");
        return;
    }
    if (bus__publish_init(c, m) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    c->state = CONN_READY;
    c->connection_id = m->connection_id;
    c->inline_max = c->seqpacket ? MIN(m->inline_max, FRAME_INLINE_MAX_SEQPACKET) : m->inline_max;
    bus__buffers_init(c, m);
    c->subscriptions_max = MIN(m->subscriptions_max, TABLE_INDEX_MAX);
    c->aliases_max = MIN(m->aliases_max, TABLE_INDEX_MAX);
    c->requests_max = MIN(m->requests_max, TABLE_INDEX_MAX);
    c->request_timeout_max_ms = m->request_timeout_max_ms;
    c->deadline_ns = 0;
    bus__sync_fd(c);
    if (c->session && !c->out_dead) {
        bus__session_greeted(c);
    }
}

static void on_goodbye(struct bus_conn *c, const struct wire_goodbye *m)
{
    c->goodbye = (enum bus_goodbye) m->reason;
    (void) snprintf(c->goodbye_text, sizeof(c->goodbye_text), "%.*s",
                    (int) MIN(m->text.len, GOODBYE_TEXT_MAX), m->text.data);
    /* nothing comes behind it, and the router may be waiting for this side to close, see
     * bus__mappings_detach() */
    bus__fail(c, c->goodbye, NULL);
}

static void on_stopping(struct bus_conn *c, const struct wire_stopping *m)
{
    if (!c->on_stopping) {
        bus__fail_protocol(c, "STOPPING that was not asked for");
    } else if (c->opened) {
        c->on_stopping(c, m->deadline_ms, c->userdata);
    }
}

static void on_ping(struct bus_conn *c, const struct wire_ping *m)
{
    struct wire_pong pong = {.token = m->token};

    if (c->outq.bytes > c->max_out_bytes + PONG_BYTES_MAX) {
        bus__fail_protocol(c, "PING without reading the answers");
        return;
    }
    bus__send_or_fail(c, VERB_PONG, &pong);
}

static void on_pong(struct bus_conn *c, const struct wire_pong *m)
{
    if (m->token > c->ping_token || m->token <= c->pong_token) {
        bus__fail_protocol(c, "PONG without PING");
        return;
    }
    c->pong_token = m->token;
    bus__pool_settle(&c->pool, m->token);
    bus__topics_settle(c, m->token);
}

static void on_status(struct bus_conn *c, const struct wire_status *m)
{
    switch (m->verb) {
    case VERB_PUBLISH:
        bus__on_publish_status(c, m);
        return;
    case VERB_ADVERTISE:
        bus__on_advertise_status(c, m);
        return;
    case VERB_CLEAR:
        bus__on_clear_status(c, m);
        return;
    case VERB_BUFFER:
        bus__on_buffer_status(c, m);
        return;
    case VERB_UNBUFFER:
    case VERB_RELEASE:
        return; /* of a buffer that was refused; of one of a connection before a fork */
    case VERB_RESTORED:
        return; /* of a router that does not wait for it */
    case VERB_UNADVERTISE:
        return; /* of an alias whose ADVERTISE was refused: told already */
    case VERB_SUBSCRIBE:
        bus__on_subscribe_status(c, m);
        return;
    case VERB_REPLY:
        bus__on_reply_status(c, m);
        return;
    case VERB_UNSUBSCRIBE:
        bus__on_unsubscribe_status(c, m);
        return;
    case VERB_MONITOR:
        bus__on_monitor_status(c, m);
        return;
    case VERB_SNAPSHOT:
        bus__on_snapshot_status(c, m);
        return;
    }
    bus__tell_status(c, m, NULL);
}

/* ---- names ---- */

bool bus__bind_reserve(struct bus_conn *c, struct table *t, uint32_t id)
{
    if (id == 0 || id > TABLE_INDEX_MAX) {
        bus__fail_protocol(c, "id out of range");
        return false;
    }
    if (bus__table_reserve(t, id) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    return true;
}

static void on_topic(struct bus_conn *c, const struct wire_topic *m)
{
    struct topic_name *t;

    if (!topic_valid(m->name.data, m->name.len)) {
        bus__fail_protocol(c, "TOPIC with an invalid name");
        return;
    }
    if (!bus__bind_reserve(c, &c->topics, m->id)) {
        return;
    }
    t = bus__topic_name_new(m->name.data, m->name.len);
    if (!t) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    bus__topic_name_unref(c->topics.at[m->id]);
    c->topics.at[m->id] = t;
}

static void on_peer(struct bus_conn *c, const struct wire_peer *m)
{
    struct peer_name *p;

    if (m->name.len > BUS_NAME_MAX || !utf8_valid_printable(m->name.data, m->name.len)) {
        bus__fail_protocol(c, "PEER with an invalid name");
        return;
    }
    if (!bus__bind_reserve(c, &c->peers, m->id)) {
        return;
    }
    p = malloc(sizeof(*p) + m->name.len + 1);
    if (!p) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    p->refs = 1;
    memcpy(p->name, m->name.data, m->name.len);
    p->name[m->name.len] = '\0';
    p->peer = (struct bus_peer){m->connection_id, m->uid, m->gid, m->pid, p->name};
    p->session = m->session;
    bus__peer_name_unref(c->peers.at[m->id]);
    c->peers.at[m->id] = p;
}

/* ---- messages ---- */

/* CREDIT goes out at the end of the step; but behind bodies in buffers, which are large, what the
 * step still has to do may take longer than the router has to send meanwhile. */
static void consume(struct bus_conn *c, struct bus_sub *sub, size_t bytes, bool handed_over,
                    uint32_t flags)
{
    sub->used_messages++;
    sub->used_bytes += bytes;
    if (UNLIKELY(flags & MESSAGE_RELIABLE)) {
        bus__owe_credit(c, sub);
    }
    if (UNLIKELY(sub->used_messages >= sub->half_messages || sub->used_bytes >= sub->half_bytes)) {
        bus__give_credit(c, sub);
        if (handed_over) {
            bus__output(c, OUTPUT_ALL);
        }
    }
}

/* Everything the message borrows is held during the callback, in which ids may be bound anew. */
static void deliver(struct bus_conn *c, struct bus_sub *sub, struct bus_message *m, size_t bytes)
{
    bool handed_over = m->lease != NULL;
    uint32_t generation = c->generation;

    m->topic->refs++;
    m->sender->refs++;
    sub->busy++;
    sub->on_message(sub, m, sub->userdata);
    if (UNLIKELY(handed_over)) {
        bus__lease_unref(m->lease);
    }
    bus__topic_name_unref(m->topic);
    bus__peer_name_unref(m->sender);
    if (bus__sub_release(sub) && LIKELY(c->generation == generation)) {
        consume(c, sub, bytes, handed_over, m->flags);
    }
}

/* The subscription a message is for, or NULL if it is not to be delivered. */
static inline struct bus_sub *message_begin(struct bus_conn *c, const struct hot_message *h,
                                            const struct frame *f, struct bus_message *ret)
{
    struct bus_sub *sub = bus__table_get(&c->subs, h->subscription);

    ret->topic = bus__table_get(&c->topics, h->topic);
    ret->sender = bus__table_get(&c->peers, h->sender);
    if (UNLIKELY(!sub || !ret->topic || !ret->sender || !sub->on_message)) {
        bus__fail_protocol(c, "MESSAGE with an unknown number");
        return NULL;
    }
    ret->data = f->body;
    ret->bytes = f->body_bytes;
    ret->sequence = h->sequence;
    ret->time_ns = h->time_ns;
    return LIKELY(sub->state < SUB_ENDING) ? sub : NULL;
}

static size_t headers_bytes(const struct wire_header *headers, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++) {
        bytes += headers[i].name.len + headers[i].value.len;
    }
    return bytes;
}

/* A body that could not be mapped or copied: lost here, and told like any other loss. */
static void message_lost(struct bus_conn *c, struct bus_sub *sub, enum bus_loss_reason reason,
                         size_t bytes, uint32_t flags)
{
    struct bus_loss loss = {1, bytes, reason};
    uint32_t generation = c->generation;

    sub->busy++;
    if (sub->on_loss) {
        sub->on_loss(sub, &loss, sub->userdata);
    }
    if (bus__sub_release(sub) && c->generation == generation) {
        consume(c, sub, bytes, false, flags);
    }
}

/* A reliable message: whether it is to be shown. What was shown before is consumed at once. */
static bool is_new(struct bus_conn *c, struct bus_sub *sub, const struct bus_message *m,
                   size_t bytes)
{
    switch (bus__seen(c, sub, m->sender, m->topic, m->sequence, m->flags)) {
    case SEEN_NEW:
        return true;
    case SEEN_BEFORE:
        consume(c, sub, bytes, false, m->flags);
        return false;
    case SEEN_FAILED:
        break;
    }
    return false;
}

static void message_deliver(struct bus_conn *c, struct bus_sub *sub, struct bus_message *m,
                            size_t bytes)
{
    bool leased = m->lease != NULL;
    enum bus_loss_reason reason;
    struct rxbuf *copy;

    if ((m->flags & MESSAGE_RELIABLE) && !is_new(c, sub, m, bytes)) {
        bus__lease_unref(m->lease);
        return;
    }
    reason = bus__message_secure(c, sub->immutable, m);
    copy = leased && !m->lease ? m->buf : NULL;
    if (reason == BUS_LOSS_NONE) {
        deliver(c, sub, m, bytes);
        bus__rxbuf_unref(copy);
        return;
    }
    bus__lease_unref(m->lease);
    if (m->ack) { /* somebody else may be able to take it */
        (void) bus__ack_send(m->ack, ACK_REFUSE);
    } else {
        message_lost(c, sub, reason, bytes, m->flags);
    }
}

bool bus__message_make(struct bus_conn *c, struct arena *a, const struct carried *w,
                       const struct frame *f, struct rxbuf *buf, struct parcel *parcel,
                       struct bus_message *ret)
{
    *ret = (struct bus_message){.data = f->body,
                                .bytes = f->body_bytes,
                                .topic = w->topic,
                                .sender = bus__table_get(&c->peers, w->sender),
                                .time_ns = w->time_ns,
                                .headers =
                                    w->n_headers ? bus__headers(a, w->headers, w->n_headers) : NULL,
                                .n_headers = w->n_headers,
                                .buf = buf,
                                .parcel = parcel,
                                .n_fds = w->descriptors};
    if (!ret->topic || !ret->sender || (w->n_headers > 0 && !ret->headers)) {
        bus__fail_protocol(c, "a message with an unknown number, or too large headers");
        return false;
    }
    return w->place.buffer == 0 || bus__body_find(c, &w->place, ret);
}

/* What it is to be acknowledged by. False if the connection has ended over it. */
static bool ack_of(struct bus_conn *c, const struct bus_sub *sub, const struct wire_message *w,
                   struct ack **ret)
{
    *ret = NULL;
    if (!sub || !sub->acks || w->delivery == 0) {
        return true;
    }
    *ret = bus__ack_new(sub->acks, w->delivery);
    if (!*ret) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
    return *ret;
}

static void on_message(struct bus_conn *c, struct arena *a, const struct wire_message *w,
                       const struct frame *f, struct rxbuf *buf, struct parcel *parcel)
{
    struct bus_sub *sub = bus__table_get(&c->subs, w->subscription);
    struct carried carried = {
        bus__table_get(&c->topics, w->topic),       w->sender,  w->descriptors, w->time,
        {w->buffer, w->lease, w->offset, w->bytes}, w->headers, w->n_headers};
    struct bus_message m;

    if (!sub || sub->on_call) {
        bus__fail_protocol(c, "MESSAGE with an unknown number");
        return;
    }
    if (!bus__message_make(c, a, &carried, f, buf, parcel, &m)) {
        return;
    }
    m.sequence = w->sequence;
    m.flags = w->flags;
    m.delivery = w->delivery;
    m.deliveries = w->deliveries;
    if (!ack_of(c, sub, w, &m.ack)) {
        bus__lease_unref(m.lease);
    } else if (sub->state < SUB_ENDING) {
        message_deliver(c, sub, &m, m.bytes + headers_bytes(w->headers, w->n_headers));
    } else {
        bus__lease_unref(m.lease);
    }
    bus__ack_unref(m.ack);
}

/* Its body is in a buffer. */
static void on_message_place(struct bus_conn *c, const struct hot_message *h, const struct frame *f)
{
    struct bus_message m = {0};
    struct bus_sub *sub = message_begin(c, h, f, &m);

    if (!bus__is_up(c) || !bus__body_find(c, &h->place, &m)) {
        return;
    }
    m.flags = h->flags;
    if (sub) {
        message_deliver(c, sub, &m, m.bytes);
    } else {
        bus__lease_unref(m.lease);
    }
}

static void on_message_hot(struct bus_conn *c, const struct hot_message *h, const struct frame *f,
                           struct rxbuf *buf)
{
    struct bus_message m;
    struct bus_sub *sub;

    if (h->place.buffer) {
        on_message_place(c, h, f);
        return;
    }
    sub = message_begin(c, h, f, &m);
    if (LIKELY(sub)) {
        m.headers = NULL;
        m.n_headers = 0;
        m.buf = buf;
        m.lease = NULL;
        m.parcel = NULL;
        m.ack = NULL;
        m.n_fds = 0;
        m.flags = h->flags;
        m.delivery = 0;
        m.deliveries = 0;
        m.refs = 0;
        if (UNLIKELY(h->flags) && !is_new(c, sub, &m, f->body_bytes)) {
            return;
        }
        deliver(c, sub, &m, f->body_bytes);
    }
}

static void on_loss(struct bus_conn *c, const struct wire_loss *m)
{
    if (m->subscription == 0) {
        bus__on_monitor_loss(c, m);
    } else {
        bus__on_loss(c, m);
    }
}

/* ---- dispatch ---- */

static void handle(struct bus_conn *c, struct arena *a, const struct frame *f,
                   const union wire_any *m, struct rxbuf *buf, struct parcel *parcel)
{
    switch (f->verb) {
    case VERB_STATUS:
        on_status(c, &m->status);
        break;
    case VERB_GOODBYE:
        on_goodbye(c, &m->goodbye);
        break;
    case VERB_STOPPING:
        on_stopping(c, &m->stopping);
        break;
    case VERB_PING:
        on_ping(c, &m->ping);
        break;
    case VERB_PONG:
        on_pong(c, &m->pong);
        break;
    case VERB_PUBLISH_CREDIT:
        bus__on_publish_credit(c, &m->publish_credit);
        break;
    case VERB_CONFIRM:
        bus__on_confirm(c, &m->confirm);
        break;
    case VERB_MESSAGE:
        on_message(c, a, &m->message, f, buf, parcel);
        break;
    case VERB_CALL:
        bus__on_call(c, a, &m->call, f, buf, parcel);
        break;
    case VERB_ANSWER:
        bus__on_answer(c, a, &m->answer, f, buf, parcel);
        break;
    case VERB_DONE:
        bus__on_done(c, &m->done);
        break;
    case VERB_CANCEL:
        bus__on_cancel(c, &m->cancel);
        break;
    case VERB_CREDIT:
        bus__on_call_credit(c, &m->credit);
        break;
    case VERB_BUFFER:
        bus__on_buffer(c, &m->buffer, parcel);
        break;
    case VERB_UNBUFFER:
        bus__on_unbuffer(c, &m->unbuffer);
        break;
    case VERB_RETURNED:
        bus__on_returned(c, &m->returned);
        break;
    case VERB_TOPIC:
        on_topic(c, &m->topic);
        break;
    case VERB_PEER:
        on_peer(c, &m->peer);
        break;
    case VERB_LOSS:
        on_loss(c, &m->loss);
        break;
    case VERB_ACKED:
        bus__on_acked(c, &m->acked);
        break;
    case VERB_SILENCE:
        bus__on_silence(c, &m->silence);
        break;
    case VERB_INTEREST:
        bus__on_interest(c, &m->interest);
        break;
    case VERB_MONITORED:
        bus__on_monitored(c, a, &m->monitored, f);
        break;
    case VERB_CLIENT_STATS:
        bus__on_client_stats(c, a, &m->client_stats);
        break;
    case VERB_TOPIC_STATS:
        bus__on_topic_stats(c, a, &m->topic_stats);
        break;
    case VERB_COUNTER:
        bus__on_counter(c, a, &m->counter);
        break;
    case VERB_SNAPSHOT_END:
        if (m->snapshot_end.subscription) {
            bus__on_live(c, &m->snapshot_end);
        } else {
            bus__on_snapshot_end(c, &m->snapshot_end);
        }
        break;
    default:
        bus__fail_protocol(c, "a verb that a router does not send, or not now");
    }
}

/* Before READY only the answer to HELLO is allowed, and it only then. */
static void handle_in_state(struct bus_conn *c, struct arena *a, const struct frame *f,
                            const union wire_any *m, struct rxbuf *buf, struct parcel *parcel)
{
    if (c->state == CONN_GREETING && f->verb == VERB_WELCOME) {
        on_welcome(c, &m->welcome);
    } else if (c->state == CONN_READY || f->verb == VERB_GOODBYE) {
        handle(c, a, f, m, buf, parcel);
    } else {
        bus__fail_protocol(c, "no WELCOME");
    }
}

static bool arena_take(struct bus_conn *c, struct arena *ret)
{
    if (!c->arena.base && arena_init(&c->arena, CODEC_ARENA_BYTES) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    *ret = c->arena;
    c->arena = (struct arena){0};
    arena_reset(ret);
    return true;
}

/* A callback may have processed input and so made itself a second arena: one is enough. */
static void arena_give(struct bus_conn *c, struct arena *a)
{
    if (c->arena.base) {
        arena_fini(a);
    } else {
        c->arena = *a;
    }
}

/* The descriptors of a frame. False if it cannot have any, or they did not come. */
static bool parcel_of(struct bus_conn *c, const struct frame *f, struct parcel **ret)
{
    *ret = f->fds ? bus__claim_parcel(c, f->fds) : NULL;
    return f->fds == 0 || (*ret && (f->verb == VERB_MESSAGE || f->verb == VERB_BUFFER ||
                                    f->verb == VERB_CALL || f->verb == VERB_ANSWER));
}

static void dispatch_decoded(struct bus_conn *c, const struct frame *f, struct rxbuf *buf)
{
    struct parcel *parcel;
    union wire_any m;
    struct arena a;

    if (!arena_take(c, &a)) {
        return;
    }
    if (!parcel_of(c, f, &parcel) ||
        codec_decode(&a, f->verb, f->header, f->header_bytes, &m) != CODEC_OK) {
        bus__fail_protocol(c, "a frame that cannot be decoded, or without its descriptors");
    } else {
        handle_in_state(c, &a, f, &m, buf, parcel);
    }
    parcel_unref(parcel);
    arena_give(c, &a);
}

/* CALL and ANSWER without texts. False if it is not that. */
static bool dispatch_conversation(struct bus_conn *c, const struct frame *f, struct rxbuf *buf)
{
    struct wire_answer answer;
    struct wire_call call;

    if (f->fds != 0 || c->state != CONN_READY) {
        return false;
    }
    if (f->verb == VERB_CALL && hot_get_call(f->header, f->header_bytes, &call)) {
        bus__on_call(c, NULL, &call, f, buf, NULL);
        return true;
    }
    if (f->verb == VERB_ANSWER && hot_get_answer(f->header, f->header_bytes, &answer)) {
        bus__on_answer(c, NULL, &answer, f, buf, NULL);
        return true;
    }
    return false;
}

static void dispatch_one(struct bus_conn *c, const struct frame *f, struct rxbuf *buf)
{
    struct wire_returned returned = {0};
    struct hot_message h;

    if (LIKELY(f->verb == VERB_MESSAGE && f->fds == 0 && c->state == CONN_READY) &&
        LIKELY(hot_get_message(f->header, f->header_bytes, &h))) {
        on_message_hot(c, &h, f, buf);
    } else if (f->verb == VERB_RETURNED && f->fds == 0 && c->state == CONN_READY &&
               hot_get_returned(f->header, f->header_bytes, &returned.buffer, &returned.offset)) {
        bus__on_returned(c, &returned);
    } else if (!dispatch_conversation(c, f, buf)) {
        dispatch_decoded(c, f, buf);
    }
}

/* What is usual while somebody waits for something else, and what calls nobody back. */
static bool is_quiet(uint32_t verb)
{
    return verb == VERB_PUBLISH_CREDIT || verb == VERB_RETURNED || verb == VERB_PING ||
           verb == VERB_PONG;
}

/* The next frame, or false: there is no whole one, or the connection is over. */
static bool next_frame(struct bus_conn *c, struct frame *ret)
{
    size_t bytes;

    if (UNLIKELY(!bus__is_up(c)) || c->rx_pos == c->rx_len) {
        return false;
    }
    switch (
        frame_parse(c->rx->data + c->rx_pos, c->rx_len - c->rx_pos, c->inline_max, ret, &bytes)) {
    case FRAME_OK:
        c->rx_pos += bytes;
        c->rx_need = FRAME_PREFIX_BYTES;
        __builtin_prefetch(c->rx->data + c->rx_pos + PREFETCH_BYTES);
        __builtin_prefetch(c->rx->data + c->rx_pos + PREFETCH_BYTES + 64);
        return true;
    case FRAME_PARTIAL:
        if (c->seqpacket) {
            bus__fail_protocol(c, "a packet that ends inside a frame");
        }
        c->rx_need = bytes;
        return false;
    case FRAME_TOO_LARGE:
        bus__fail_protocol(c, "a body that is too large or not allowed");
        return false;
    }
    return false;
}

void bus__dispatch(struct bus_conn *c)
{
    struct rxbuf *buf = c->rx ? bus__rxbuf_ref(c->rx) : NULL;
    struct frame f;

    while (next_frame(c, &f)) {
        if (UNLIKELY(buf != c->rx)) { /* a callback has read on */
            bus__rxbuf_unref(buf);
            buf = bus__rxbuf_ref(c->rx);
        }
        if (UNLIKELY(c->signals_held) && !is_quiet(f.verb)) {
            bus__signals_note(c);
        }
        dispatch_one(c, &f, buf);
    }
    bus__rxbuf_unref(buf);
    if (UNLIKELY(c->owing != NULL)) {
        bus__give_owed(c);
    }
}
