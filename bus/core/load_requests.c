/* SPDX-License-Identifier: MIT */
/* Records of requests and answers, wills and monitors. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/request.h"
#include "core/will.h"
#include "wire/topic.h"

/* ---- requests ---- */

/* The numbers of its calls, in a row of *ret_n. NULL, and why not is said, if there are none. */
static uint64_t *call_ids(struct load *l, uint32_t *ret_n)
{
    struct text row = record_text(l->record, REQUEST_CALL_IDS);
    uint64_t *ids = row.len > 0 ? malloc(row.len * sizeof(*ids)) : NULL;
    uint32_t n = 0;

    if (!ids) {
        (void) (row.len > 0 ? load_starve(l) : load_refuse(l, "request: no calls"));
        return NULL;
    }
    while (number_take(&row, &ids[n])) {
        n++;
    }
    *ret_n = n;
    return ids;
}

static bool request_details(struct load *l, struct request *r)
{
    const struct record *rec = l->record;
    uint32_t flags = record_get_32(rec, REQUEST_FLAGS);
    struct message *m = load_message_of(l, REQUEST_MESSAGE);

    r->id = record_get(rec, REQUEST_ID);
    r->timeout_ms = record_get_32(rec, REQUEST_TIMEOUT_MS);
    r->size = record_get_32(rec, REQUEST_SIZE);
    r->to_all = flags & REQUEST_ALL;
    r->wants_fds = flags & REQUEST_DESCRIPTORS;
    r->n_replied = record_get_32(rec, REQUEST_REPLIED);
    r->n_gone = record_get_32(rec, REQUEST_GONE);
    r->n_timed_out = record_get_32(rec, REQUEST_TIMED_OUT);
    if (m) {
        request_restore_message(r, m);
    }
    request_restore_end(r, record_get(rec, REQUEST_NS));
    return ((r->to_all || r->n_calls == 1) && r->n_over < r->n_calls &&
            (uint64_t) r->n_replied + r->n_gone + r->n_timed_out <= r->n_over) ||
           load_refuse(l, "request: its calls");
}

bool load_request(struct load *l)
{
    struct peer *p = load_peer_of(l, REQUEST_PEER);
    struct topic *t = load_topic_of(l, REQUEST_TOPIC);
    uint32_t n = 0;
    uint64_t *ids;

    l->request = NULL;
    if (!p || !t) {
        return load_refuse(l, "request: its peer or its topic");
    }
    ids = call_ids(l, &n);
    if (!ids) {
        return false;
    }
    l->request = request_restore(p, record_get_32(l->record, REQUEST_NUMBER), t, ids, n);
    free(ids);
    return l->request ? request_details(l, l->request)
                      : load_refuse(l, "request, or memory for it");
}

static bool serves(const struct match *match)
{
    return (match->sub->flags & SUB_SERVE) && match->sub->server;
}

bool load_call(struct load *l)
{
    const struct record *rec = l->record;
    uint64_t index = record_get(rec, CALL_INDEX), at = record_get(rec, CALL_MATCH);
    uint64_t state = record_get(rec, CALL_STATE), ahead = record_get(rec, CALL_AHEAD);
    struct request *r = l->request;
    struct match *match =
        r && at > 0 && at <= r->topic->n_matches ? r->topic->matches[at - 1] : NULL;
    struct call *c = r && index < r->n_calls ? &r->calls[index] : NULL;

    if (!c || c->state != CALL_WAITING || c->match || (at && (!match || !serves(match))) ||
        (!match && r->to_all) || ahead > REPLIES_AHEAD_MAX || state > CALL_OPEN ||
        (state == CALL_OPEN ? !match : match && !r->to_all)) {
        return load_refuse(l, "call");
    }
    c->match = match;
    c->n_ahead = (uint8_t) ahead;
    if (state == CALL_OPEN) {
        c->state = CALL_OPEN;
        DL_APPEND(match->sub->server->open, c);
    }
    return true;
}

bool load_call_row(struct load *l)
{
    const struct topic *t = load_topic_of(l, CALL_ROW_TOPIC);
    const struct sub *s = t ? NULL : load_sub_of(l, CALL_ROW_PEER, CALL_ROW_SUB);
    struct text row = record_text(l->record, CALL_ROW_PLACES);

    for (; row.len >= sizeof(uint64_t); row.len -= sizeof(uint64_t)) {
        uint64_t id = load_u64le(row.data);
        struct call *c = idpool_get(&l->router->calls, (uint32_t) (id & CALLS_MAX));

        row.data += sizeof(uint64_t);
        /* prev: it is in a row already */
        if (!c || c->id != id || c->state != CALL_WAITING || c->prev || !c->request->message ||
            (t ? c->match || c->request->topic != t || c->request->to_all
               : !c->match || c->match->sub != s)) {
            return load_refuse(l, "calls that wait");
        }
        if (!call_wait(c)) {
            return load_starve(l);
        }
    }
    return true;
}

void load_requests_abandon(struct load *l)
{
    struct router *r = l->router;

    for (uint32_t place = 1; place <= r->calls.n_slots; place++) {
        struct call *c = idpool_get(&r->calls, place);

        if (c && c->state == CALL_WAITING && !c->prev) {
            c->state = CALL_OVER;
            c->request->n_over++;
            idpool_remove(&r->calls, place);
            r->counters.calls_now--;
        }
    }
}

/* ---- answers ---- */

bool load_answer(struct load *l)
{
    const struct record *rec = l->record;
    struct peer *p = load_peer_of(l, ANSWER_PEER);
    struct answer as = {
        .number = record_get_32(rec, ANSWER_NUMBER),
        .part = record_get_32(rec, ANSWER_PART),
        .wants_fds = record_get(rec, ANSWER_WANTS_FDS),
        .message = load_message_of(l, ANSWER_MESSAGE),
    };

    if (!p || p->state != PEER_READY || (record_get(rec, ANSWER_MESSAGE) && !as.message)) {
        return load_refuse(l, "answer");
    }
    if (!as.message) {
        as.done = (struct wire_done){.call = as.number,
                                     .status = record_get_32(rec, ANSWER_STATUS),
                                     .replied = record_get_32(rec, ANSWER_REPLIED),
                                     .gone = record_get_32(rec, ANSWER_GONE),
                                     .timed_out = record_get_32(rec, ANSWER_TIMED_OUT),
                                     .text = record_text(rec, ANSWER_TEXT)};
        as.number = 0;
        if (as.done.text.len > UINT8_MAX) {
            return load_refuse(l, "answer: its text");
        }
    }
    return answer_restore(p, &as) || load_starve(l);
}

/* ---- wills and monitors ---- */

bool load_text(struct load *l)
{
    if (l->n_texts == LOAD_TEXTS_MAX) {
        return load_refuse(l, "too many texts");
    }
    l->texts[l->n_texts++] =
        (struct wire_header){record_text(l->record, TEXT_NAME), record_text(l->record, TEXT_VALUE)};
    return true;
}

/* What a client could not have set is not published in its name. */
static bool will_check_texts(const struct wire_will *m)
{
    uint64_t size = 0;
    enum bus_status status;

    return !topic_refusal(m->topic, &status) &&
           !text_headers_check(m->headers, m->n_headers, &size) && size <= FRAME_HEADER_MAX;
}

bool load_will(struct load *l)
{
    const struct record *rec = l->record;
    struct sender *s = idpool_get(&l->router->sender_ids, record_get_32(rec, WILL_SENDER));
    struct text body = record_text(rec, WILL_BODY);
    const struct frame f = {.body = (const uint8_t *) body.data,
                            .body_bytes = (uint32_t) MIN(body.len, UINT32_MAX)};
    const struct wire_will m = {.topic = record_text(rec, WILL_TOPIC),
                                .delay_ms = record_get_32(rec, WILL_DELAY_MS),
                                .headers = l->texts,
                                .n_headers = l->n_texts};
    struct subject subject;
    const struct will_wait wait = {record_get(rec, WILL_NS), record_text(rec, WILL_TOKEN),
                                   &subject};
    AUTO_FREE uint32_t *groups = NULL;

    l->n_texts = 0;
    if (!s || s == l->router->presence.self || wait.token.len > BUS_RESUME_TOKEN_MAX ||
        body.len > l->router->config.limits.will_bytes_max || !will_check_texts(&m)) {
        return load_refuse(l, "will");
    }
    arena_reset(&l->router->arena);
    if (record_get(rec, WILL_HAS_LEFT)) {
        if (!load_subject(l, SUBJECT_FIELDS(WILL), &subject, &groups)) {
            return false;
        }
        return (!s->is_present && s->user && will_restore_left(l->router, s, &m, &f, &wait)) ||
               load_refuse(l, "will of a client that has gone");
    }
    return (s->peer && s->peer->state == PEER_READY && will_restore(s->peer, &m, &f)) ||
           load_refuse(l, "will of a client");
}

static bool known_topics_restore(struct load *l, struct peer *p)
{
    struct idset *set = &p->tap->known_topics;

    if (!load_set(l, MONITOR_KNOWN_TOPICS, set)) {
        return false;
    }
    charge_force(&p->charge, idset_memory(set));
    return true;
}

bool load_monitor(struct load *l)
{
    const struct record *rec = l->record;
    struct peer *p = load_peer_of(l, MONITOR_PEER);
    struct text filters[LOAD_TEXTS_MAX];
    struct wire_monitor m = {.filters = filters,
                             .n_filters = l->n_texts,
                             .queue_bytes = record_get(rec, MONITOR_QUEUE_BYTES)};

    for (size_t i = 0; i < l->n_texts; i++) {
        filters[i] = l->texts[i].name;
    }
    l->n_texts = 0;
    if (!p || !tap_restore(p, &m)) {
        return load_refuse(l, "monitor, or memory for it");
    }
    p->tap->snap_bytes = record_get(rec, MONITOR_SNAP_BYTES);
    p->tap->loss = (struct gap){record_get(rec, MONITOR_LOST), record_get(rec, MONITOR_LOST_BYTES)};
    return known_topics_restore(l, p);
}
