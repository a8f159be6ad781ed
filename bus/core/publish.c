/* SPDX-License-Identifier: MIT */
/* PUBLISH: credit, checks, and the two ways, the plain one and that of all others.
 * docs/protocol.md, sections 5 and 7. */
#include <stdlib.h>
#include <string.h>
#include "core/fan_out.h"
#include "core/judge.h"
#include "core/reliance.h"
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
    const char *why; /* static, or router.refusal */
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

const char *topic_refusal(struct text topic, enum bus_status *ret)
{
    if (!topic_valid(topic.data, topic.len)) {
        *ret = BUS_STATUS_INVALID_TOPIC;
        return "not a valid topic";
    }
    if (topic_is_reserved(topic.data, topic.len)) {
        *ret = BUS_STATUS_DENIED;
        return "$bus belongs to the router";
    }
    return NULL;
}

/* Whether the client has that right. */
static bool publish_ask(struct peer *p, struct publish *pub, uint32_t verb, struct text topic)
{
    const char *why = peer_denied(p, verb, topic);

    return !why || publish_fail(pub, BUS_STATUS_DENIED, why);
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
        if (idset_has(&p->muted, pub->m.alias)) {
            publish_ask(p, pub, POLICY_PUBLISH, (struct text){t->name, t->len});
        }
        return topic_ref(t);
    }
    pub->why = topic_refusal(pub->m.topic, &pub->status);
    if (pub->status == BUS_STATUS_INVALID_TOPIC) {
        return NULL;
    }
    if (pub->status == BUS_STATUS_OK) {
        publish_ask(p, pub, POLICY_PUBLISH, pub->m.topic);
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
                             .flags = parts->flags,
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
static bool publish_check(struct peer *p, struct publish *pub, const struct topic *t,
                          const struct frame *f)
{
    if (pub->status != BUS_STATUS_OK) {
        return false;
    }
    if (pub->n_fds > 0 &&
        !publish_ask(p, pub, POLICY_DESCRIPTORS, (struct text){t->name, t->len})) {
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
    return pub->kept || publish_fail(pub, status,
                                     status == BUS_STATUS_LIMIT
                                         ? quota_refusal(parts->sender->peer,
                                                         &parts->sender->user->retained_bytes,
                                                         parts->body_bytes + pub->m.bytes)
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
    if (parts->flags & MESSAGE_RELIABLE) {
        reliable_note(p, pub->m.alias);
    }
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

/* MESSAGE.flags */
static uint8_t message_flags(const struct peer *p, const struct wire_publish *m)
{
    if (!alias_is_reliable(p, m->alias)) {
        return 0;
    }
    return MESSAGE_RELIABLE | (m->flags & PUBLISH_RESENT ? MESSAGE_RESENT : 0);
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
    parts.flags = message_flags(p, &pub->m);
    if (!publish_check(p, pub, t, f) || !shared_header(p, pub, &parts) ||
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

/* An alias and nothing else, credit, no monitor, nothing to be kept, nobody who publishes reliably
 * to it, no alias without the right to publish: the topic, or NULL if it is not that plain. */
static inline struct topic *plain_topic(struct peer *p, uint32_t alias)
{
    struct topic *t = credit_left(p) && !tap_wants(p->router) ? alias_topic(p, alias) : NULL;

    return LIKELY(t && !((uintptr_t) t->keep | t->n_reliable | p->n_muted)) ? t : NULL;
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

/* The same for a topic to which somebody publishes reliably, this one or another, and for a client
 * that has other aliases to which it may not publish. */
static bool publish_plain_reliable(struct peer *p, const struct frame *f, uint32_t alias)
{
    uint8_t header[HOT_MESSAGE_MAX + HOT_FLAGS_BYTES + OUTQ_SLACK_BYTES];
    struct router *r = p->router;
    struct topic *t = credit_left(p) && !tap_wants(r) ? alias_topic(p, alias) : NULL;

    if (!t || t->keep || idset_has(&p->muted, alias)) {
        return false;
    }

    struct message_parts parts = {t,    p->sender, header, 0, f->body, f->body_bytes, f->body_bytes,
                                  NULL, r->slab,   0,      0};
    struct fan_out out = {.router = r, .from = p, .parts = &parts};
    size_t n = hot_put_message(header, t->id, p->sender->id, p->sequence, r->now.realtime_ns);

    parts.header_bytes = n;
    if (alias_is_reliable(p, alias)) {
        parts.flags = MESSAGE_RELIABLE;
        parts.header_bytes =
            (size_t) (hot_put_field(header + n, HOT_MESSAGE_FLAGS, MESSAGE_RELIABLE) - header);
        reliable_note(p, alias);
    }
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
        return publish_plain_reliable(p, f, alias);
    }

    struct message_parts parts = {t,    p->sender, header, 0, f->body, f->body_bytes, f->body_bytes,
                                  NULL, r->slab,   0,      0};
    struct fan_out out = {.router = p->router, .from = p, .parts = &parts};

    parts.header_bytes =
        hot_put_message(header, t->id, p->sender->id, p->sequence, r->now.realtime_ns);
    fan_out_credited(&out);
    return true;
}

/* From here on it can be counted for ever, and hot headers can be read. */
#define SEQUENCE_MAX ((UINT64_C(1) << 62) - 1)

/* The number that its publisher gives it in place of the next one, from which the count goes on. */
static bool sequence_take(struct peer *p, const struct publish *pub)
{
    uint64_t given = pub->m.sequence;

    if (given == 0) {
        return true;
    }
    if (p->sender->session == 0 || given < p->sequence || given > SEQUENCE_MAX) {
        return false;
    }
    p->sequence = given;
    return true;
}

/* Whatever is not plain: decoded, checked, and refused if need be. */
static void publish_decoded(struct peer *p, const struct frame *f, struct parcel *parcel,
                            bool fds_allowed)
{
    struct publish pub = {.m.topic = {"", 0}, .n_fds = f->fds, .parcel = parcel};
    union wire_any any;

    p->router->work += frame_work(f);
    if (codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &any) != 0) {
        publish_fail(&pub, BUS_STATUS_MALFORMED, "PUBLISH");
    } else {
        pub.m = any.publish; /* also if it is refused: its place is returned */
        if (!sequence_take(p, &pub)) {
            publish_fail(&pub, BUS_STATUS_INVALID_ARGUMENT, "sequence");
        } else if (!fds_allowed) {
            publish_fail(&pub, BUS_STATUS_UNSUPPORTED, "more descriptors than descriptors_max");
        } else if (p->tap) {
            publish_fail(&pub, BUS_STATUS_UNEXPECTED, "a monitor cannot publish");
        } else if (pub.m.flags & ~(uint32_t) (PUBLISH_CONFIRM | PUBLISH_RESENT)) {
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
