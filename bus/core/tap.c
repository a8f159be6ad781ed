/* SPDX-License-Identifier: MIT */
/* Monitors: they see every publish and change nothing. docs/protocol.md, section 9. */
#include <stdlib.h>
#include <utlist.h>
#include "core/judge.h"
#include "wire/topic.h"

#define TAP_QUEUE_BYTES_DEFAULT (1u << 20)
#define TAP_QUEUE_BYTES_MAX (16u << 20)
#define TAP_FILTERS_MAX 32u

bool tap_wants(const struct router *r)
{
    return r->taps != NULL;
}

void tap_note(struct router *r, const struct sub *s, const struct sub_outcome *o)
{
    if (r->n_recipients < TAP_RECIPIENTS_MAX) {
        r->recipients[r->n_recipients++] =
            (struct wire_recipient){s->peer->sender->id, sub_id(s), (uint32_t) o->verdict,
                                    (uint32_t) o->reason, o->evicted};
    }
}

void tap_note_peer(struct router *r, const struct peer *p, enum bus_verdict verdict)
{
    if (r->n_recipients < TAP_RECIPIENTS_MAX) {
        r->recipients[r->n_recipients++] =
            (struct wire_recipient){.peer = p->sender->id, .verdict = (uint32_t) verdict};
    }
}

/* Without filters it is shown everything but topics with a "$" of their own that it may not watch.
 */
static bool tap_matches(const struct peer *p, const struct topic *t)
{
    const struct tap *tap = p->tap;
    struct text topic = {t->name, t->len};

    for (uint32_t i = 0; i < tap->n_filters; i++) {
        if (filter_matches(tap->filters[i].text, tap->filters[i].len, t->name, t->len)) {
            return true;
        }
    }
    return tap->n_filters == 0 && (t->name[0] != '$' || topic_is_reserved(t->name, t->len) ||
                                   peer_may(p, POLICY_MONITOR, topic));
}

bool tap_asked_for(const struct router *r, struct text topic)
{
    const struct peer *p;

    LL_FOREACH2(r->taps, p, tap_next)
    {
        for (uint32_t i = 0; i < p->tap->n_filters; i++) {
            const struct tap_filter *f = &p->tap->filters[i];

            if (filter_matches(f->text, f->len, topic.data, topic.len)) {
                return true;
            }
        }
    }
    return false;
}

static bool tap_introduce(struct peer *p, struct sender *s)
{
    return idset_has(&p->known, s->id) || peer_introduce(p, s);
}

/* PEER and TOPIC for everything that the record names. */
static bool tap_introduce_all(struct peer *p, const struct tap_record *record)
{
    struct router *r = p->router;
    struct topic *t = record->parts->topic;

    if (!tap_introduce(p, record->parts->sender)) {
        return false;
    }
    for (uint32_t i = 0; i < r->n_recipients; i++) {
        if (!tap_introduce(p, idpool_get(&r->sender_ids, r->recipients[i].peer))) {
            return false;
        }
    }
    if (!idset_has(&p->tap->known_topics, t->id)) {
        if (!peer_announce_topic(p, t)) {
            return false;
        }
        (void) peer_set_add(p, &p->tap->known_topics, t->id);
    }
    return true;
}

/* The header of a MONITORED frame in r->scratch; what does not fit into a header is left out, the
 * recipients last. */
static long tap_encode(struct router *r, const struct tap_record *record)
{
    struct wire_monitored m = {.order = r->order,
                               .topic = record->parts->topic->id,
                               .sender = record->parts->sender->id,
                               .sequence = record->sequence,
                               .time = r->now.realtime_ns,
                               .body_bytes = message_parts_body_bytes(record->parts),
                               .descriptors = record->n_fds,
                               .status = (uint32_t) record->status,
                               .kind = (uint32_t) record->kind,
                               .call = record->call,
                               .error = record->error,
                               .recipients = r->recipients,
                               .n_recipients = r->n_recipients,
                               .recipients_omitted = record->n_matched - r->n_recipients,
                               .headers = record->headers,
                               .n_headers = record->n_headers};
    long n = codec_encode(&r->arena, VERB_MONITORED, &m, r->scratch, FRAME_HEADER_MAX);

    if (n < 0) {
        m.n_headers = 0;
        n = codec_encode(&r->arena, VERB_MONITORED, &m, r->scratch, FRAME_HEADER_MAX);
    }
    if (n < 0) {
        m.n_recipients = 0;
        m.recipients_omitted = record->n_matched;
        n = codec_encode(&r->arena, VERB_MONITORED, &m, r->scratch, FRAME_HEADER_MAX);
    }
    return n;
}

static bool tap_send_loss(struct peer *p)
{
    struct wire_loss loss = {0, p->tap->loss.count, p->tap->loss.bytes, BUS_LOSS_QUEUE_FULL};

    if (p->tap->loss.count == 0) {
        return true;
    }
    if (!peer_try_send(p, VERB_LOSS, &loss)) {
        peer_retry_later(p);
        return false;
    }
    p->tap->loss = (struct gap){0};
    return true;
}

/* The beginning of a body; of one in a buffer that cannot be read, NULs. */
static void body_put(uint8_t *dst, const struct router *r, const struct message_parts *parts,
                     size_t bytes)
{
    const struct cargo *c = parts->whole ? parts->whole->cargo : NULL;

    if (!c || !c->buffer) {
        memcpy(dst, parts->body ? parts->body : (const uint8_t *) "", bytes);
    } else if (!cargo_read(r, c, dst, bytes)) {
        memset(dst, 0, bytes);
    }
}

static bool tap_send(struct peer *p, const struct tap_record *record)
{
    struct router *r = p->router;
    size_t body_bytes =
        MIN(message_parts_body_bytes(record->parts), MIN(p->tap->snap_bytes, p->inline_max));
    uint8_t *dst;
    long n;

    if (p->out.bytes >= p->output_max || !quota_allows(&p->quota, body_bytes) ||
        !tap_send_loss(p) || !tap_introduce_all(p, record)) {
        return false;
    }
    n = tap_encode(r, record);
    dst = n < 0 ? NULL : outq_reserve(&p->out, FRAME_PREFIX_BYTES + (size_t) n + body_bytes);
    if (!dst) {
        return false;
    }
    frame_write_prefix(dst, VERB_MONITORED, (size_t) n, body_bytes);
    memcpy(dst + FRAME_PREFIX_BYTES, r->scratch, (size_t) n);
    body_put(dst + FRAME_PREFIX_BYTES + n, r, record->parts, body_bytes);
    outq_commit(&p->out, FRAME_PREFIX_BYTES + (size_t) n + body_bytes);
    peer_mark_dirty(p);
    return true;
}

void tap_emit(struct router *r, const struct tap_record *record)
{
    struct peer *p;

    LL_FOREACH2(r->taps, p, tap_next)
    {
        if (p->state == PEER_CLOSING || !tap_matches(p, record->parts->topic)) {
            continue;
        }
        if (tap_send(p, record)) {
            r->counters.monitor_records++;
        } else {
            p->tap->loss.count++;
            p->tap->loss.bytes += record->parts->size;
            r->counters.monitor_records_lost++;
            if (p->out.bytes < p->output_max) {
                peer_retry_later(p); /* it was memory, not room: reading may never bring us back */
            }
        }
    }
    r->n_recipients = 0;
}

void tap_flush_loss(struct peer *p)
{
    if (p->tap && p->out.bytes < p->output_max) {
        (void) tap_send_loss(p);
    }
}

/* ---- MONITOR ---- */

const char *tap_denied(struct peer *p, const struct tap *tap)
{
    const char *why = tap->n_filters == 0 ? peer_denied_all(p, POLICY_MONITOR) : NULL;

    for (uint32_t i = 0; i < tap->n_filters && !why; i++) {
        const struct text filter = {tap->filters[i].text, tap->filters[i].len};

        why = peer_denied_filter(p, POLICY_MONITOR, filter, NULL);
    }
    return why;
}

static const char *monitor_denied(struct peer *p, const struct wire_monitor *m)
{
    const char *why = m->n_filters == 0 ? peer_denied_all(p, POLICY_MONITOR) : NULL;

    for (size_t i = 0; i < m->n_filters && !why; i++) {
        why = peer_denied_filter(p, POLICY_MONITOR, m->filters[i], NULL);
    }
    return why;
}

static const char *monitor_check(struct peer *p, const struct wire_monitor *m, enum bus_status *ret)
{
    const struct router *r = p->router;
    const char *why;

    *ret = BUS_STATUS_UNEXPECTED;
    if (p->tap || p->n_subs > 0 || p->n_aliases > 0 || p->n_requests > 0) {
        return "the connection is in use for something else";
    }
    *ret = BUS_STATUS_LIMIT;
    if (m->n_filters > TAP_FILTERS_MAX) {
        return "more than 32 filters";
    }
    if (m->queue_bytes > TAP_QUEUE_BYTES_MAX) {
        return "queue_bytes is more than 16 MiB";
    }
    if (r->counters.monitors_now >= r->config.limits.monitors_max) {
        return "monitors_max";
    }
    *ret = BUS_STATUS_INVALID_FILTER;
    for (size_t i = 0; i < m->n_filters; i++) {
        if (!filter_valid(m->filters[i].data, m->filters[i].len)) {
            return "not a valid topic filter";
        }
    }
    why = monitor_denied(p, m);
    *ret = why ? BUS_STATUS_DENIED : BUS_STATUS_OK;
    return why ? why : "";
}

static const char *tap_new(struct peer *p, const struct wire_monitor *m, enum bus_status *ret)
{
    struct router *r = p->router;
    size_t memory = sizeof(struct tap) + m->n_filters * sizeof(struct tap_filter);
    struct tap *tap;

    if (!r->recipients) {
        r->recipients = calloc(TAP_RECIPIENTS_MAX, sizeof(*r->recipients));
    }
    tap = r->recipients ? calloc(1, memory) : NULL;
    if (!tap || !charge_add(&p->charge, memory)) {
        free(tap);
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory";
    }
    tap->snap_bytes = m->snap_bytes ? m->snap_bytes : UINT64_MAX;
    tap->n_filters = (uint32_t) m->n_filters;
    for (size_t i = 0; i < m->n_filters; i++) {
        tap->filters[i].len = (uint8_t) m->filters[i].len;
        memcpy(tap->filters[i].text, m->filters[i].data, m->filters[i].len);
    }
    p->tap = tap;
    p->output_max = m->queue_bytes ? m->queue_bytes : TAP_QUEUE_BYTES_DEFAULT;
    LL_APPEND2(r->taps, p, tap_next);
    r->counters.monitors_now++;
    return "";
}

void monitor_handle(struct peer *p, const struct wire_monitor *m)
{
    enum bus_status code;
    const char *why = monitor_check(p, m, &code);

    if (code == BUS_STATUS_OK) {
        why = tap_new(p, m, &code);
    }

    struct wire_status status = {.code = code, .verb = VERB_MONITOR, .text = text_from(why)};

    peer_send_status(p, &status);
}

bool tap_restore(struct peer *p, const struct wire_monitor *m)
{
    enum bus_status code;

    (void) monitor_check(p, m, &code);
    if (p->state == PEER_READY && code == BUS_STATUS_OK) {
        (void) tap_new(p, m, &code);
    }
    return p->tap && code == BUS_STATUS_OK;
}

void tap_free(struct peer *p)
{
    struct router *r = p->router;

    if (!p->tap) {
        return;
    }
    LL_DELETE2(r->taps, p, tap_next);
    r->counters.monitors_now--;
    charge_release(&p->charge, sizeof(struct tap) + p->tap->n_filters * sizeof(struct tap_filter));
    charge_release(&p->charge, idset_memory(&p->tap->known_topics));
    idset_fini(&p->tap->known_topics);
    free(p->tap);
    p->tap = NULL;
}
