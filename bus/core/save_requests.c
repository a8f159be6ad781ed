/* SPDX-License-Identifier: MIT */
/* The state of a router as records: requests and answers, wills, monitors. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/request.h"
#include "core/will.h"

/* ---- requests ---- */

/* In the record that is being written. */
static void write_call_ids(struct save *s, const struct request *r)
{
    uint8_t *row = malloc((size_t) r->n_calls * NUMBER_MAX), *p = row;

    if (!row) {
        s->w->is_failed = true;
        return;
    }
    for (uint32_t i = 0; i < r->n_calls; i++) {
        p = number_put(p, r->calls[i].state == CALL_OVER ? 0 : r->calls[i].id);
    }
    record_bytes(s->w, REQUEST_CALL_IDS, row, (size_t) (p - row));
    free(row);
}

static void save_calls(struct save *s, const struct request *r)
{
    for (uint32_t i = 0; i < r->n_calls; i++) {
        const struct call *c = &r->calls[i];

        if (c->state == CALL_OVER) {
            continue;
        }
        record_begin(s->w, STATE_CALL);
        record_number(s->w, CALL_INDEX, i);
        record_number(s->w, CALL_STATE, c->state);
        record_number(s->w, CALL_AHEAD, c->n_ahead);
        record_number(s->w, CALL_MATCH, c->match ? (uint64_t) c->match->index + 1 : 0);
        record_end(s->w);
    }
}

static void save_request(struct save *s, const struct request *r)
{
    uint32_t message = save_message(s, r->message);

    record_begin(s->w, STATE_REQUEST);
    record_number(s->w, REQUEST_PEER, peer_number(r->peer));
    record_number(s->w, REQUEST_NUMBER, r->number);
    record_number(s->w, REQUEST_TOPIC, r->topic->id);
    record_number(s->w, REQUEST_MESSAGE, message);
    record_number(s->w, REQUEST_ID, r->id);
    record_number(s->w, REQUEST_NS, r->timer.ns);
    record_number(s->w, REQUEST_TIMEOUT_MS, r->timeout_ms);
    record_number(s->w, REQUEST_SIZE, r->size);
    record_number(s->w, REQUEST_FLAGS,
                  (r->to_all ? REQUEST_ALL : 0) | (r->wants_fds ? REQUEST_DESCRIPTORS : 0));
    write_call_ids(s, r);
    record_number(s->w, REQUEST_REPLIED, r->n_replied);
    record_number(s->w, REQUEST_GONE, r->n_gone);
    record_number(s->w, REQUEST_TIMED_OUT, r->n_timed_out);
    record_end(s->w);
    save_calls(s, r);
}

/* Calls that wait at one place, in their order: at a topic, or at a server. */
static void save_row(struct save *s, const struct topic *t, const struct sub *server,
                     const struct call *calls)
{
    const struct call *c;
    size_t n = 0;
    uint8_t *dst;

    DL_COUNT(calls, c, n);
    if (n == 0) {
        return;
    }
    record_begin(s->w, STATE_CALL_ROW);
    if (t) {
        record_number(s->w, CALL_ROW_TOPIC, t->id);
    } else {
        record_number(s->w, CALL_ROW_PEER, peer_number(server->peer));
        record_number(s->w, CALL_ROW_SUB, sub_id(server));
    }
    dst = record_room(s->w, CALL_ROW_PLACES, n * sizeof(uint64_t));
    DL_FOREACH (calls, c) {
        if (dst) {
            store_u64le(dst, c->id);
            dst += sizeof(uint64_t);
        }
    }
    record_end(s->w);
}

static void save_rows(struct save *s)
{
    const struct call_queue *q;
    const struct peer *p;

    DL_FOREACH (s->router->call_queues, q) {
        save_row(s, q->topic, NULL, q->calls);
    }
    DL_FOREACH (s->router->peers, p) {
        for (uint32_t i = 0; i < p->n_subs_max; i++) {
            if (p->subs[i] && (p->subs[i]->flags & SUB_SERVE) && p->subs[i]->server) {
                save_row(s, NULL, p->subs[i], p->subs[i]->server->waiting);
            }
        }
    }
}

static void save_answers(struct save *s, const struct peer *p)
{
    const struct answer *a;

    DL_FOREACH (p->answers, a) {
        uint32_t message = save_message(s, a->message);

        record_begin(s->w, STATE_ANSWER);
        record_number(s->w, ANSWER_PEER, peer_number(p));
        record_number(s->w, ANSWER_NUMBER, a->message ? a->number : a->done.call);
        record_number(s->w, ANSWER_PART, a->part);
        record_number(s->w, ANSWER_WANTS_FDS, a->wants_fds);
        record_number(s->w, ANSWER_MESSAGE, message);
        record_number(s->w, ANSWER_STATUS, a->done.status);
        record_number(s->w, ANSWER_REPLIED, a->done.replied);
        record_number(s->w, ANSWER_GONE, a->done.gone);
        record_number(s->w, ANSWER_TIMED_OUT, a->done.timed_out);
        record_bytes(s->w, ANSWER_TEXT, a->done.text.data, a->done.text.len);
        record_end(s->w);
    }
}

void save_requests(struct save *s)
{
    const struct peer *p;

    DL_FOREACH (s->router->peers, p) {
        for (uint32_t i = 0; i < p->n_requests_max; i++) {
            if (p->requests[i]) {
                save_request(s, p->requests[i]);
            }
        }
    }
    save_rows(s);
    DL_FOREACH (s->router->peers, p) {
        save_answers(s, p);
    }
}

/* ---- wills ---- */

static void save_text(struct save *s, struct text name, struct text value)
{
    record_begin(s->w, STATE_TEXT);
    record_bytes(s->w, TEXT_NAME, name.data, name.len);
    record_bytes(s->w, TEXT_VALUE, value.data, value.len);
    record_end(s->w);
}

static void save_will(struct save *s, const struct sender *sender, const struct will *w)
{
    for (uint32_t i = 0; i < w->n_headers; i++) {
        save_text(s, w->headers[i].name, w->headers[i].value);
    }
    record_begin(s->w, STATE_WILL);
    record_number(s->w, WILL_SENDER, sender->id);
    record_bytes(s->w, WILL_TOPIC, w->topic, w->topic_len);
    record_number(s->w, WILL_DELAY_MS, w->delay_ms);
    record_bytes(s->w, WILL_BODY, w->body, w->body_bytes);
    if (w->sender) {
        record_number(s->w, WILL_HAS_LEFT, 1);
        record_number(s->w, WILL_NS, w->timer.ns);
        save_subject(s, SUBJECT_FIELDS(WILL), access_subject(w->access));
    }
    if (w->identity) {
        record_bytes(s->w, WILL_TOKEN, w->identity->text + w->identity->name_len,
                     w->identity->token_len);
    }
    record_end(s->w);
}

static void save_monitor(struct save *s, const struct peer *p)
{
    const struct tap *tap = p->tap;

    for (uint32_t i = 0; i < tap->n_filters; i++) {
        save_text(s, (struct text){tap->filters[i].text, tap->filters[i].len}, text_from(""));
    }
    record_begin(s->w, STATE_MONITOR);
    record_number(s->w, MONITOR_PEER, peer_number(p));
    record_number(s->w, MONITOR_SNAP_BYTES, tap->snap_bytes);
    record_number(s->w, MONITOR_QUEUE_BYTES, p->output_max);
    record_number(s->w, MONITOR_LOST, tap->loss.count);
    record_number(s->w, MONITOR_LOST_BYTES, tap->loss.bytes);
    save_set(s, MONITOR_KNOWN_TOPICS, &tap->known_topics);
    record_end(s->w);
}

void save_presence(struct save *s)
{
    const struct peer *p;
    const struct will *w;

    DL_FOREACH (s->router->peers, p) {
        /* those of a client that is closing have left it */
        for (w = p->n_wills > 0 ? p->sender->wills : NULL; w; w = w->next) {
            save_will(s, p->sender, w);
        }
    }
    DL_FOREACH2(s->router->presence.wills, w, left_next)
    {
        save_will(s, w->sender, w);
    }
    LL_FOREACH2(s->router->taps, p, tap_next)
    {
        save_monitor(s, p);
    }
}
