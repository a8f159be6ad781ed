/* SPDX-License-Identifier: MIT */
/* Publishing: aliases, credit, and the fan-out to the subscriptions of a topic. docs/protocol.md,
 * sections 5 and 7. */
#include <stdlib.h>
#include <string.h>
#include "core/group.h"
#include "core/state.h"
#include "wire/hot.h"
#include "wire/topic.h"

enum { PUBLISH_CONFIRM = 1 };

/* ---- credit ---- */

static void credit_give_back(struct peer *p)
{
    struct wire_publish_credit credit = {p->free_messages, p->free_bytes};

    if (!peer_try_send(p, VERB_PUBLISH_CREDIT, &credit)) {
        peer_retry_later(p);
        return;
    }
    p->used_messages -= p->free_messages;
    p->used_bytes -= p->free_bytes;
    p->free_messages = 0;
    p->free_bytes = 0;
}

void publish_retry(struct peer *p)
{
    const struct limits *l = &p->router->config.limits;

    if (p->free_messages >= l->publish_window_messages / 2 ||
        p->free_bytes >= l->publish_window_bytes / 2) {
        credit_give_back(p);
    }
}

static void credit_free(struct peer *p, uint64_t bytes)
{
    p->free_messages++;
    p->free_bytes += bytes;
    publish_retry(p);
}

void publish_release(struct message *m)
{
    if (m->sender->peer && !(m->flags & MESSAGE_UNCREDITED)) {
        credit_free(m->sender->peer, m->size);
    }
}

static bool credit_left(const struct peer *p)
{
    const struct limits *l = &p->router->config.limits;

    return p->used_messages < l->publish_window_messages && p->used_bytes < l->publish_window_bytes;
}

/* ---- fan-out ---- */

struct fan_out {
    struct router *router;
    struct peer *from; /* NULL: the router itself */
    const struct message_parts *parts;
    struct message *message; /* made when the first subscription has to queue it */
    bool tapped;
    struct wire_confirm counts;
};

static void outcome_count(struct fan_out *f, const struct sub *s, const struct sub_outcome *o)
{
    f->counts.matched++;
    if (o->verdict == BUS_VERDICT_DELIVERED) {
        f->counts.delivered++;
    } else if (o->verdict == BUS_VERDICT_QUEUED) {
        f->counts.queued++;
    } else {
        f->counts.dropped++;
        f->parts->topic->lost_messages++;
    }
    f->parts->topic->lost_messages += o->evicted;
    if (UNLIKELY(f->tapped)) {
        tap_note(f->router, s, o);
    }
}

/* A subscription that is not like most. */
static bool sub_is_served_specially(struct sub *s, const struct peer *from)
{
    if ((s->flags & SUB_SERVE) || ((s->flags & SUB_NO_LOCAL) && s->peer == from)) {
        return false;
    }
    if (s->flags & SUB_ALARM) {
        alarm_note(s);
    }
    return true;
}

static inline bool sub_is_served(struct sub *s, const struct peer *from)
{
    return s->peer->state != PEER_CLOSING &&
           (LIKELY(!(s->flags & (SUB_NO_LOCAL | SUB_ALARM | SUB_SERVE))) ||
            sub_is_served_specially(s, from));
}

/* It matches, but gets nothing, or it is a group. */
static void fan_out_other(struct fan_out *f, struct match *match)
{
    struct sub_outcome o = {BUS_VERDICT_NONE, BUS_LOSS_NONE, 0};
    struct sub *s = match->sub;

    if (s->peer->group) {
        o = group_publish(match, f->parts, &f->message, &s);
    }
    if (o.verdict != BUS_VERDICT_NONE) {
        outcome_count(f, s, &o);
    }
}

static inline void fan_out_one(struct fan_out *f, struct match *match)
{
    struct sub *s = match->sub;
    struct sub_outcome o = {BUS_VERDICT_DELIVERED, BUS_LOSS_NONE, 0};

    if (UNLIKELY(!sub_is_served(s, f->from))) {
        fan_out_other(f, match);
        return;
    }
    if (LIKELY(sub_send(s, match, f->parts))) {
        if (LIKELY(!f->tapped)) {
            f->counts.matched++;
            f->counts.delivered++;
            return;
        }
    } else {
        o = sub_enqueue(s, match, f->parts, &f->message);
    }
    outcome_count(f, s, &o);
}

/* A subscription that matches but could not be noted at the topic. */
static void fan_out_missing(struct sub *s, void *ctx)
{
    struct fan_out *f = ctx;
    struct sub_outcome o = {BUS_VERDICT_DROPPED, BUS_LOSS_NO_MEMORY, 0};

    f->router->work++;
    if (s->peer->group) {
        s = group_lose(s, f->parts->size);
        if (s) {
            outcome_count(f, s, &o);
        }
    } else if (sub_is_served(s, f->from)) {
        sub_lose(s, BUS_LOSS_NO_MEMORY, 1, f->parts->size);
        outcome_count(f, s, &o);
    }
}

static void fan_out_count(struct fan_out *f)
{
    struct counters *c = &f->router->counters;
    struct topic *t = f->parts->topic;
    uint64_t size = f->parts->size;

    f->router->order++;
    t->published_messages++;
    t->published_bytes += size;
    c->messages_published++;
    c->bytes_published += size;
    c->messages_matched += f->counts.matched;
    c->messages_delivered += f->counts.delivered;
    c->bytes_delivered += f->counts.delivered * size;
    f->router->work += t->n_matches; /* those passed over cost time too */
}

static void fan_out(struct fan_out *f)
{
    struct topic *t = f->parts->topic;

    if (UNLIKELY(!topic_is_resolved(t))) {
        uint32_t n = t->n_matches;

        f->router->work += topic_resolve(t, fan_out_missing, f);
        servers_found(t, n);
    }
    for (uint32_t i = 0; i < t->n_matches; i++) {
        fan_out_one(f, t->matches[i]);
    }
    fan_out_count(f);
}

/* Lets go of the message, if one had to be made. Whether no queue holds it beyond its bounds. */
static bool fan_out_end(struct fan_out *f)
{
    bool is_free = !f->message || --f->message->holds == 0;

    if (f->message) {
        message_release(f->message);
    }
    return is_free;
}

/* What a client publishes, for which it uses credit. */
static void fan_out_credited(struct fan_out *f)
{
    uint64_t size = f->parts->size;
    struct peer *p = f->from;

    p->used_messages++;
    p->used_bytes += size;
    p->published_messages++;
    p->published_bytes += size;
    fan_out(f);
    if (fan_out_end(f)) {
        credit_free(p, size);
    }
}

/* ---- PUBLISH ---- */

/* One PUBLISH on its way through the checks. */
struct publish {
    struct wire_publish m;
    struct text topic; /* its name, as far as it is known */
    uint64_t size;
    enum bus_status status;
    const char *why; /* static */
    unsigned n_fds;
    struct parcel *parcel; /* not owned; NULL if there is none or it did not arrive */
    struct kept *kept;     /* its place if its topic keeps it, until that is done */
};

static bool publish_fail(struct publish *pub, enum bus_status status, const char *why)
{
    pub->status = status;
    pub->why = why;
    return false;
}

struct topic *alias_topic(const struct peer *p, uint32_t alias)
{
    return alias > 0 && alias <= p->n_aliases_max ? p->aliases[alias - 1] : NULL;
}

const char *text_headers_check(const struct wire_header *headers, size_t n, uint64_t *size)
{
    for (size_t i = 0; i < n; i++) {
        const struct wire_header *h = &headers[i];

        if (h->name.len == 0 || h->name.len > BUS_TOPIC_MAX ||
            !utf8_valid_printable(h->name.data, h->name.len)) {
            return "header name";
        }
        if (!utf8_valid(h->value.data, h->value.len)) {
            return "header value";
        }
        *size += h->name.len + h->value.len;
    }
    return NULL;
}

static bool headers_check(struct publish *pub)
{
    const char *why = text_headers_check(pub->m.headers, pub->m.n_headers, &pub->size);

    return !why || publish_fail(pub, BUS_STATUS_INVALID_ARGUMENT, why);
}

static bool topic_check(struct publish *pub, struct text topic)
{
    if (!topic_valid(topic.data, topic.len)) {
        return publish_fail(pub, BUS_STATUS_INVALID_TOPIC, "not a valid topic");
    }
    if (topic_is_reserved(topic.data, topic.len)) {
        return publish_fail(pub, BUS_STATUS_DENIED, "$bus belongs to the router");
    }
    return true;
}

/* The topic with one more reference, or NULL if there is none; the reason is in pub. */
static struct topic *publish_topic(struct peer *p, struct publish *pub)
{
    struct topic *t;

    if ((pub->m.alias != 0) == (pub->m.topic.len != 0)) {
        publish_fail(pub, BUS_STATUS_INVALID_ARGUMENT, "give either alias or topic");
        return NULL;
    }
    if (pub->m.alias != 0) {
        t = alias_topic(p, pub->m.alias);
        if (!t) {
            publish_fail(pub, BUS_STATUS_UNKNOWN_ALIAS, "no topic is advertised under that alias");
            return NULL;
        }
        return topic_ref(t);
    }
    if (!topic_check(pub, pub->m.topic) && pub->status != BUS_STATUS_DENIED) {
        return NULL;
    }
    t = topics_get(&p->router->topics, pub->m.topic.data, pub->m.topic.len);
    if (!t) {
        publish_fail(pub, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    return t; /* also if it is denied: monitors show it */
}

static void publish_refuse(struct peer *p, const struct publish *pub)
{
    struct wire_status status = {.code = pub->status,
                                 .verb = VERB_PUBLISH,
                                 .alias = pub->m.alias,
                                 .sequence = p->sequence,
                                 .text = text_from(pub->why)};

    p->refused_messages++;
    p->router->counters.messages_refused++;
    peer_send_status(p, &status);
    if (pub->m.buffer != 0) {
        cargo_refused(p, &pub->m);
    }
}

/* The MESSAGE header that all subscribers share, in r->scratch. */
static bool shared_header(struct peer *p, struct publish *pub, struct message_parts *parts)
{
    struct router *r = p->router;
    struct wire_message m = {.topic = parts->topic->id,
                             .sender = p->sender->id,
                             .sequence = p->sequence,
                             .time = r->now.realtime_ns,
                             .descriptors = pub->n_fds,
                             .headers = pub->m.headers,
                             .n_headers = pub->m.n_headers};
    size_t cap = MESSAGE_HEADER_MAX;
    long n = codec_encode(&r->arena, VERB_MESSAGE, &m, r->scratch, cap);

    if (n < 0) {
        return publish_fail(pub, BUS_STATUS_LIMIT, "the headers are too long together");
    }
    parts->header = r->scratch;
    parts->header_bytes = (size_t) n;
    return true;
}

static void publish_show_refused(struct peer *p, const struct publish *pub, struct topic *t,
                                 const struct frame *f)
{
    struct message_parts parts = {t,         p->sender, NULL, 0, f->body, f->body_bytes,
                                  pub->size, NULL,      NULL, 0, 0};
    struct tap_record record = {.parts = &parts,
                                .headers = pub->m.headers,
                                .n_headers = pub->m.n_headers,
                                .sequence = p->sequence,
                                .status = pub->status,
                                .n_fds = pub->n_fds};

    if (tap_wants(p->router)) {
        tap_emit(p->router, &record);
    }
}

/* Everything that can be refused once the topic is known. */
static bool publish_check(struct peer *p, struct publish *pub, const struct frame *f)
{
    if (pub->status != BUS_STATUS_OK) {
        return false;
    }
    if (pub->m.buffer != 0 && f->body_bytes > 0) {
        return publish_fail(pub, BUS_STATUS_INVALID_ARGUMENT, "a body in the frame and a buffer");
    }
    pub->size += pub->m.buffer != 0 ? pub->m.bytes : f->body_bytes;
    if (!headers_check(pub)) {
        return false;
    }
    if (pub->m.key.len > BUS_TOPIC_MAX) {
        return publish_fail(pub, BUS_STATUS_INVALID_ARGUMENT, "key");
    }
    return credit_left(p) || publish_fail(pub, BUS_STATUS_NO_CREDIT, "no publish credit left");
}

/* When a message with that time to live must not be sent any more; 0: never. */
static uint64_t expiry_ns(const struct router *r, uint32_t ttl_ms)
{
    return ttl_ms ? r->now.monotonic_ns + ttl_ms * UINT64_C(1000000) : 0;
}

const char *message_load(struct peer *p, const struct wire_publish *m, unsigned n_fds,
                         struct parcel *parcel, struct message_parts *parts, enum bus_status *ret)
{
    struct cargo *cargo = NULL;
    const char *why;

    *ret = BUS_STATUS_OK;
    if (m->buffer == 0 && n_fds == 0 && m->offset == 0 && m->bytes == 0) {
        return "";
    }
    why = cargo_load(p, m, n_fds, parcel, &cargo, ret);
    if (!cargo) {
        return why;
    }
    parts->whole = message_new(parts);
    if (!parts->whole) {
        cargo_discard(cargo);
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory";
    }
    parts->whole->cargo = cargo;
    return "";
}

/* With a time to live, or if it is kept, it becomes a message at once, too. */
static bool publish_load(struct peer *p, struct publish *pub, struct message_parts *parts)
{
    pub->why = message_load(p, &pub->m, pub->n_fds, pub->parcel, parts, &pub->status);
    if (pub->status != BUS_STATUS_OK) {
        return false;
    }
    if (!parts->whole && (pub->m.ttl_ms > 0 || pub->kept)) {
        parts->whole = message_new(parts);
        if (!parts->whole) {
            return publish_fail(pub, BUS_STATUS_NO_MEMORY, "out of memory");
        }
    }
    if (!parts->whole) {
        return true;
    }
    parts->whole->expires_ns = expiry_ns(p->router, pub->m.ttl_ms);
    return true;
}

/* A place for it where it is to be kept. What cannot be kept is not published: so what is kept is
 * never older than what was published last, and the publisher learns it. */
static bool publish_keep(struct publish *pub, const struct message_parts *parts)
{
    enum bus_status status = BUS_STATUS_OK;

    if (!parts->topic->keep) {
        return true;
    }
    pub->kept = keep_prepare(parts->topic, parts, parts->body_bytes + pub->m.bytes, &status);
    return pub->kept ||
           publish_fail(pub, status,
                        status == BUS_STATUS_LIMIT ? "user_retained_bytes_max or total_bytes_max"
                                                   : "out of memory");
}

static void publish_deliver(struct peer *p, struct publish *pub, struct message_parts *parts)
{
    struct fan_out out = {.router = p->router,
                          .from = p,
                          .parts = parts,
                          .message = parts->whole,
                          .tapped = tap_wants(p->router)};
    struct tap_record record = {.parts = parts,
                                .headers = pub->m.headers,
                                .n_headers = pub->m.n_headers,
                                .sequence = p->sequence,
                                .n_fds = pub->n_fds};

    if (parts->whole) {
        (void) message_ref(parts->whole); /* for the record */
    }
    fan_out_credited(&out);
    if (pub->kept) {
        keep_commit(pub->kept, parts->whole);
    }
    if (out.tapped) {
        record.n_matched = out.counts.matched;
        tap_emit(p->router, &record);
    }
    if (parts->whole) {
        message_unref(parts->whole);
    }
    if (pub->m.flags & PUBLISH_CONFIRM) {
        out.counts.sequence = p->sequence;
        peer_send(p, VERB_CONFIRM, &out.counts);
    }
}

/* Never 0 if there is one. */
static uint32_t key_hash(const struct router *r, struct text key)
{
    uint32_t hash = key.len > 0 ? table_hash(&r->groups.by_name, 0, key.data, key.len) : 0;

    return key.len > 0 && hash == 0 ? 1 : hash;
}

/* What every refusal, and every publish that is not plain, goes through. */
static void publish_full(struct peer *p, struct publish *pub, const struct frame *f)
{
    AUTO_FREE uint8_t *header = NULL; /* r->scratch is used again by what is sent meanwhile */
    struct message_parts parts = {
        .sender = p->sender, .body = f->body, .body_bytes = f->body_bytes};
    struct topic *t = publish_topic(p, pub);

    if (!t) {
        publish_refuse(p, pub);
        return;
    }
    parts.topic = t;
    if (!publish_check(p, pub, f) || !shared_header(p, pub, &parts) ||
        (!(header = malloc(parts.header_bytes + OUTQ_SLACK_BYTES)) &&
         !publish_fail(pub, BUS_STATUS_NO_MEMORY, "out of memory"))) {
        publish_show_refused(p, pub, t, f);
        publish_refuse(p, pub);
        topic_unref(t);
        return;
    }
    memcpy(header, parts.header, parts.header_bytes);
    parts.header = header;
    parts.size = pub->size;
    parts.slab = p->router->slab;
    parts.key = key_hash(p->router, pub->m.key);
    if (publish_keep(pub, &parts) && publish_load(p, pub, &parts)) {
        publish_deliver(p, pub, &parts);
    } else {
        keep_cancel(pub->kept);
        publish_show_refused(p, pub, t, f);
        publish_refuse(p, pub);
    }
    topic_unref(t);
}

/* An alias and nothing else, credit, no monitor, nothing to be kept: the topic, or NULL if it is
 * not that plain. */
static inline struct topic *plain_topic(struct peer *p, uint32_t alias)
{
    struct topic *t = credit_left(p) && !tap_wants(p->router) ? alias_topic(p, alias) : NULL;

    return LIKELY(t && !t->keep) ? t : NULL;
}

/* The usual case, with the body in a buffer. False if it is not that, or to be refused. */
static bool publish_plain_place(struct peer *p, const struct frame *f)
{
    uint8_t header[HOT_MESSAGE_MAX + OUTQ_SLACK_BYTES];
    struct hot_place place;
    uint32_t alias = 0;
    struct topic *t;

    if (!hot_get_publish_place(f->header, f->header_bytes, &alias, &place) || f->body_bytes > 0) {
        return false;
    }
    t = plain_topic(p, alias);
    if (!t) {
        return false;
    }

    struct publish pub = {
        .m = {.buffer = place.buffer, .offset = place.offset, .bytes = place.bytes},
        .size = place.bytes};
    struct message_parts parts = {.topic = t, .sender = p->sender, .header = header};
    struct fan_out out = {.router = p->router, .from = p, .parts = &parts};

    parts.size = place.bytes;
    parts.header_bytes =
        hot_put_message(header, t->id, p->sender->id, p->sequence, p->router->now.realtime_ns);
    if (!publish_load(p, &pub, &parts)) {
        return false;
    }
    out.message = parts.whole;
    fan_out_credited(&out);
    return true;
}

/* The usual case, with the body in the frame. False if it is not that. */
static inline bool publish_plain(struct peer *p, const struct frame *f)
{
    uint8_t header[HOT_MESSAGE_MAX + OUTQ_SLACK_BYTES];
    struct router *r = p->router;
    uint32_t alias = 0;
    struct topic *t;

    if (!hot_get_field_1(f->header, f->header_bytes, &alias)) {
        return publish_plain_place(p, f);
    }
    t = plain_topic(p, alias);
    if (!t) {
        return false;
    }

    struct message_parts parts = {t,    p->sender, header, 0, f->body, f->body_bytes, f->body_bytes,
                                  NULL, r->slab,   0,      0};
    struct fan_out out = {.router = p->router, .from = p, .parts = &parts};

    parts.header_bytes =
        hot_put_message(header, t->id, p->sender->id, p->sequence, r->now.realtime_ns);
    fan_out_credited(&out);
    return true;
}

/* Whatever is not plain: decoded, checked, and refused if need be. */
static void publish_decoded(struct peer *p, const struct frame *f, struct parcel *parcel,
                            bool fds_allowed)
{
    struct publish pub = {.m.topic = {"", 0}, .n_fds = f->fds, .parcel = parcel};
    union wire_any any;

    if (codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &any) != 0) {
        publish_fail(&pub, BUS_STATUS_MALFORMED, "PUBLISH");
    } else {
        pub.m = any.publish; /* also if it is refused: its place is returned */
        if (!fds_allowed) {
            publish_fail(&pub, BUS_STATUS_UNSUPPORTED, "more descriptors than descriptors_max");
        } else if (p->tap) {
            publish_fail(&pub, BUS_STATUS_UNEXPECTED, "a monitor cannot publish");
        } else if (pub.m.flags & ~(uint32_t) PUBLISH_CONFIRM) {
            publish_fail(&pub, BUS_STATUS_INVALID_ARGUMENT, "flags");
        }
    }
    if (pub.status != BUS_STATUS_OK) {
        publish_refuse(p, &pub);
        return;
    }
    publish_full(p, &pub, f);
}

void publish_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed)
{
    p->sequence++;
    if (UNLIKELY(f->fds != 0) || !publish_plain(p, f)) {
        publish_decoded(p, f, parcel, fds_allowed);
    }
}

/* ---- what the router publishes ---- */

/* It may have to be kept; it can then not be refused. */
static void publication_keep(struct fan_out *out, struct message_parts *parts, struct kept **ret)
{
    enum bus_status status;

    uint64_t bytes = message_parts_body_bytes(parts);

    if (!parts->topic->keep) {
        return;
    }
    if (!out->message) {
        out->message = message_new(parts);
    }
    *ret = out->message ? keep_prepare(parts->topic, parts, bytes, &status) : NULL;
}

/* What was kept before must not stand for it. */
static void publication_kept(struct fan_out *out, struct kept *kept)
{
    if (kept) {
        kept->is_routers = true;
        keep_commit(kept, out->message);
    } else if (out->parts->topic->keep) {
        keep_clear(out->parts->topic->keep);
    }
}

bool publish_as(struct router *r, const struct publication *pub)
{
    size_t cap = MESSAGE_HEADER_MAX;
    AUTO_FREE uint8_t *header = malloc(FRAME_HEADER_MAX + OUTQ_SLACK_BYTES);
    struct topic *t = topics_get(&r->topics, pub->topic.data, pub->topic.len);
    struct message_parts parts = {.topic = t,
                                  .sender = pub->sender,
                                  .header = header,
                                  .body = pub->body,
                                  .body_bytes = pub->body_bytes,
                                  .size = pub->body_bytes,
                                  .flags = MESSAGE_UNCREDITED};
    struct fan_out out = {.router = r, .parts = &parts, .tapped = tap_wants(r)};
    struct kept *kept = NULL;
    struct tap_record record = {.parts = &parts,
                                .headers = pub->headers,
                                .n_headers = pub->n_headers,
                                .sequence = pub->sequence};
    struct wire_message m = {.topic = t ? t->id : 0,
                             .sender = pub->sender->id,
                             .sequence = pub->sequence,
                             .time = r->now.realtime_ns,
                             .headers = pub->headers,
                             .n_headers = pub->n_headers};
    long n = t && header ? codec_encode(&r->arena, VERB_MESSAGE, &m, header, cap) : -1;

    if (pub->cargo) {
        parts.body_bytes = 0;
        parts.size = pub->cargo->bytes;
    }
    for (size_t i = 0; i < pub->n_headers; i++) {
        parts.size += pub->headers[i].name.len + pub->headers[i].value.len;
    }
    parts.header_bytes = (size_t) MAX(n, 0L);
    if (pub->cargo) {
        parts.whole = n > 0 ? message_new(&parts) : NULL;
        out.message = parts.whole;
        n = parts.whole ? n : -1;
        if (!parts.whole) {
            cargo_discard(pub->cargo);
        } else {
            parts.whole->cargo = pub->cargo;
            (void) message_ref(parts.whole); /* for the record */
        }
    }
    if (n > 0) {
        publication_keep(&out, &parts, &kept);
        fan_out(&out);
        publication_kept(&out, kept);
        if (out.tapped) {
            record.n_matched = out.counts.matched;
            tap_emit(r, &record);
        }
        (void) fan_out_end(&out);
    }
    if (parts.whole) {
        message_unref(parts.whole);
    }
    if (t) {
        topic_unref(t);
    }
    return n > 0;
}

/* ---- ADVERTISE, UNADVERTISE ---- */

static bool alias_add(struct peer *p, const struct wire_advertise *m, struct publish *pub)
{
    uint64_t memory = topic_memory(m->topic.len);
    enum bus_status status = BUS_STATUS_OK;
    const char *why;
    struct topic *t;

    if (!charge_add(&p->charge, memory)) {
        return publish_fail(pub, BUS_STATUS_LIMIT, "client_bytes_max or total_bytes_max");
    }
    if (!peer_table_reach(p, (void ***) &p->aliases, &p->n_aliases_max, m->alias) ||
        !(t = topics_get(&p->router->topics, m->topic.data, m->topic.len))) {
        charge_release(&p->charge, memory);
        return publish_fail(pub, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    why = keep_wish(p, m, t, &status);
    if (why) {
        topic_unref(t);
        charge_release(&p->charge, memory);
        return publish_fail(pub, status, why);
    }
    if ((m->flags & ADVERTISE_INTEREST) && !interest_add(p, t, m->alias)) {
        (void) keep_unwish(p, m->alias, t);
        topic_unref(t);
        charge_release(&p->charge, memory);
        return publish_fail(pub, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    t->n_publishers++;
    p->aliases[m->alias - 1] = t;
    p->n_aliases++;
    return true;
}

void advertise_handle(struct peer *p, const struct wire_advertise *m)
{
    struct publish pub = {.status = BUS_STATUS_OK};

    if (p->tap) {
        publish_fail(&pub, BUS_STATUS_UNEXPECTED, "a monitor cannot publish");
    } else if (m->alias == 0) {
        publish_fail(&pub, BUS_STATUS_INVALID_ARGUMENT, "alias");
    } else if (m->alias > p->router->config.limits.aliases_max) {
        publish_fail(&pub, BUS_STATUS_LIMIT, "aliases_max");
    } else if (m->flags & ~(uint32_t) (ADVERTISE_OWNED | ADVERTISE_INTEREST)) {
        publish_fail(&pub, BUS_STATUS_INVALID_ARGUMENT, "flags");
    } else if (alias_topic(p, m->alias)) {
        publish_fail(&pub, BUS_STATUS_IN_USE, "that alias is in use");
    } else if (topic_check(&pub, m->topic)) {
        alias_add(p, m, &pub);
    }
    if (pub.status != BUS_STATUS_OK) {
        struct wire_status status = {.code = pub.status,
                                     .verb = VERB_ADVERTISE,
                                     .alias = m->alias,
                                     .text = text_from(pub.why)};

        peer_send_status(p, &status);
    }
}

unsigned alias_drop(struct peer *p, uint32_t alias)
{
    struct topic *t = p->aliases[alias - 1];
    unsigned more = keep_unwish(p, alias, t);

    interest_drop(p, t, alias);
    p->aliases[alias - 1] = NULL;
    p->n_aliases--;
    t->n_publishers--;
    charge_release(&p->charge, topic_memory(t->len));
    topic_unref(t);
    return more;
}

void unadvertise_handle(struct peer *p, const struct wire_unadvertise *m)
{
    struct wire_status status = {.code = BUS_STATUS_UNKNOWN_ALIAS,
                                 .verb = VERB_UNADVERTISE,
                                 .alias = m->alias,
                                 .text = {"", 0}};

    if (alias_topic(p, m->alias)) {
        p->router->work += alias_drop(p, m->alias);
    } else {
        peer_send_status(p, &status);
    }
}
