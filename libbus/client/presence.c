/* SPDX-License-Identifier: MIT */
/* Wills, interest, silence, and events of clients. */

#include <bus/events.h>
#include <errno.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/session.h"
#include "client/topic_handle.h"
#include "wire/codec.h"
#include "wire/denied_event.h"
#include "wire/quota_event.h"
#include "wire/topic.h"

/* ---- wills ---- */

#define WILL_SCRATCH_BYTES 8192
/* Of a WILL without texts, and of one text header beyond its texts: tags and lengths. */
#define WILL_HEADER_OVERHEAD 64u
#define TEXT_HEADER_OVERHEAD 16u

enum { WILL_CLEAR = 1 };

static int will_opts_check(const struct bus_will_opts *opts, size_t *header_max)
{
    size_t text_bytes = 0;

    if (opts->size != sizeof(*opts) || opts->flags != 0 ||
        bus__headers_check(opts->headers, opts->n_headers, &text_bytes) < 0) {
        return -EINVAL;
    }
    *header_max =
        WILL_HEADER_OVERHEAD + BUS_TOPIC_MAX + text_bytes + opts->n_headers * TEXT_HEADER_OVERHEAD;
    return *header_max > FRAME_HEADER_MAX ? -EMSGSIZE : 0;
}

static long will_encode(const struct bus_will_opts *opts, const char *topic, uint32_t flags,
                        uint8_t *dst, size_t header_max)
{
    _Alignas(16) uint8_t memory[WILL_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    struct wire_header headers[BUS_HEADERS_MAX];
    struct wire_will m = {.topic = text_from(topic),
                          .flags = flags,
                          .delay_ms = opts->delay_ms,
                          .headers = headers,
                          .n_headers = opts->n_headers};

    for (size_t i = 0; i < m.n_headers; i++) {
        headers[i].name = text_from(opts->headers[i].name);
        headers[i].value = text_from(opts->headers[i].value);
    }
    return codec_encode(&scratch, VERB_WILL, &m, dst, header_max);
}

/* Takes the frame if it is to be kept. With the room for it there is nothing left that can fail
 * behind the keeping. */
static int will_say(struct bus_conn *c, const char *topic, uint32_t flags,
                    struct kept_frame **take_frame)
{
    const struct kept_frame *k = *take_frame;
    int r = 0;

    if (bus__has_link(c) && !outq_reserve(&c->outq, k->bytes)) {
        return -ENOMEM;
    }
    if (c->session) {
        r = bus__session_will(c, topic, flags & WILL_CLEAR ? NULL : TAKE(*take_frame));
    }
    return r < 0 ? r : bus__kept_frame_send(c, k);
}

static int will_send(struct bus_conn *c, const char *topic, uint32_t flags, const void *data,
                     size_t bytes, const struct bus_will_opts *opts)
{
    size_t header_max = 0;
    int r = bus__usable(c);
    AUTO_FREE struct kept_frame *k = NULL;
    long n;

    r = r < 0 ? r : will_opts_check(opts, &header_max);
    if (r < 0) {
        return r;
    }
    if (!bus_topic_valid(topic) || (!data && bytes > 0)) {
        return -EINVAL;
    }
    if (c->monitor.on_record) {
        return -EBUSY;
    }
    if (c->inline_max == 0) {
        c->want_writable = true;
        return -EAGAIN;
    }
    if (!bus__fits_every_link(c, bytes)) {
        return -EMSGSIZE;
    }
    r = bus__room(c);
    if (r < 0) {
        return r;
    }
    k = malloc(sizeof(*k) + FRAME_PREFIX_BYTES + header_max + bytes);
    n = k ? will_encode(opts, topic, flags, k->data + FRAME_PREFIX_BYTES, header_max) : -1;
    if (n < 0) {
        return -ENOMEM;
    }
    frame_write_prefix(k->data, VERB_WILL, (size_t) n, bytes);
    if (bytes > 0) {
        memcpy(k->data + FRAME_PREFIX_BYTES + n, data, bytes);
    }
    k->bytes = FRAME_PREFIX_BYTES + (size_t) n + bytes;
    return will_say(c, topic, flags, &k);
}

static const struct bus_will_opts will_defaults = BUS_WILL_OPTS_INIT;

int bus_will(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
             const struct bus_will_opts *opts)
{
    return will_send(conn, topic, 0, data, bytes, opts ? opts : &will_defaults);
}

int bus_will_clear(struct bus_conn *conn, const char *topic)
{
    return will_send(conn, topic, WILL_CLEAR, NULL, 0, &will_defaults);
}

/* ---- interest ---- */

int64_t bus_topic_subscriptions(const struct bus_topic *topic)
{
    return topic->subscriptions;
}

void bus__on_interest(struct bus_conn *c, const struct wire_interest *m)
{
    struct bus_topic *t = bus__table_get(&c->aliases, m->alias);

    if (!t || !t->on_interest || t->left_at) {
        return; /* the application has let go of it meanwhile */
    }
    t->subscriptions = m->subscriptions;
    t->on_interest(t, m->subscriptions, t->userdata);
}

/* ---- silence ---- */

void bus__on_silence(struct bus_conn *c, const struct wire_silence *m)
{
    struct bus_sub *sub = bus__table_get(&c->subs, m->subscription);

    if (!sub || !sub->on_silence) {
        bus__fail_protocol(c, "SILENCE of a subscription that has not asked");
        return;
    }
    if (sub->state >= SUB_ENDING) {
        return;
    }
    sub->busy++;
    sub->on_silence(sub, m->since_ms, sub->userdata);
    (void) bus__sub_release(sub);
}

/* ---- events ---- */

static void copy_text(char *dst, size_t room, struct text t)
{
    size_t len = MIN(t.len, room - 1);

    memcpy(dst, t.data, len);
    dst[len] = '\0';
}

int bus_client_event_parse(const void *data, size_t bytes, struct bus_client_event *ret_event)
{
    struct client_event e;

    if (ret_event->size != sizeof(*ret_event) || (!data && bytes > 0)) {
        return -EINVAL;
    }
    if (!client_event_decode(data, bytes, &e) || e.kind == 0) {
        return -EBADMSG;
    }
    ret_event->kind = (enum bus_client_event_kind) e.kind;
    ret_event->connection_id = e.connection_id;
    ret_event->uid = e.uid;
    ret_event->gid = e.gid;
    ret_event->pid = e.pid;
    ret_event->reason = (enum bus_goodbye) e.reason;
    copy_text(ret_event->name, sizeof(ret_event->name), e.name);
    copy_text(ret_event->text, sizeof(ret_event->text), e.text);
    return 0;
}

int bus_denied_event_parse(const void *data, size_t bytes, struct bus_denied_event *ret_event)
{
    struct denied_event e;

    if (ret_event->size != sizeof(*ret_event) || (!data && bytes > 0)) {
        return -EINVAL;
    }
    if (!denied_event_decode(data, bytes, &e) || e.verb.len == 0) {
        return -EBADMSG;
    }
    ret_event->taken = e.taken != 0;
    ret_event->connection_id = e.connection_id;
    ret_event->uid = e.uid;
    ret_event->gid = e.gid;
    ret_event->pid = e.pid;
    ret_event->left_out = e.left_out;
    copy_text(ret_event->name, sizeof(ret_event->name), e.name);
    copy_text(ret_event->verb, sizeof(ret_event->verb), e.verb);
    copy_text(ret_event->topic, sizeof(ret_event->topic), e.topic);
    copy_text(ret_event->rule, sizeof(ret_event->rule), e.rule);
    copy_text(ret_event->text, sizeof(ret_event->text), e.text);
    return 0;
}

int bus_quota_event_parse(const void *data, size_t bytes, struct bus_quota_event *ret_event)
{
    struct quota_event e;

    if (ret_event->size != sizeof(*ret_event) || (!data && bytes > 0)) {
        return -EINVAL;
    }
    if (!quota_event_decode(data, bytes, &e) || e.slot.len == 0) {
        return -EBADMSG;
    }
    ret_event->uid = e.uid;
    ret_event->connection_id = e.connection_id;
    copy_text(ret_event->slot, sizeof(ret_event->slot), e.slot);
    ret_event->limit = e.limit;
    ret_event->used = e.used;
    ret_event->requested = e.requested;
    ret_event->times = e.times;
    ret_event->n_holders = e.n_holders;
    for (uint32_t i = 0; i < e.n_holders; i++) {
        struct bus_quota_holder *h = &ret_event->holders[i];

        h->uid = e.holders[i].uid;
        h->connection_id = e.holders[i].connection_id;
        h->used = e.holders[i].used;
        copy_text(h->name, sizeof(h->name), e.holders[i].name);
    }
    return 0;
}
