/* SPDX-License-Identifier: MIT */
/* Requests that the router answers itself. */
#include "core/inside.h"
#include <stdlib.h>
#include <string.h>
#include "core/request.h"
#include "core/state.h"
#include "wire/hot_requests.h"
#include "wire/topic.h"

#define ADMIN_TEXT "disconnected by an administrator"
/* Of a reason that is given with it, and of what a control answers. */
#define TEXT_MAX 255u

static enum bus_status refuse(enum bus_status status, const char *why, const char **ret_why)
{
    *ret_why = why;
    return status;
}

/* ---- answers ---- */

static void answer_show(const struct inside_ask *a, const struct message_parts *parts,
                        const char *why, uint32_t error)
{
    struct router *r = a->peer->router;
    struct tap_record record = {
        .parts = parts, .n_matched = 1, .kind = MONITORED_REPLY, .call = a->id, .error = error};

    if (tap_wants(r)) {
        tap_note_peer(r, a->peer,
                      why                ? BUS_VERDICT_DROPPED
                      : a->peer->answers ? BUS_VERDICT_QUEUED
                                         : BUS_VERDICT_DELIVERED);
        tap_emit(r, &record);
    }
}

static void end_show(const struct inside_ask *a, enum bus_status status)
{
    struct router *r = a->peer->router;
    const struct message_parts parts = {.topic = a->topic, .sender = a->peer->sender};
    struct tap_record record = {
        .parts = &parts, .status = status, .kind = MONITORED_DONE, .call = a->id};

    if (tap_wants(r)) {
        tap_emit(r, &record);
    }
}

static void end(const struct inside_ask *a, enum bus_status status, const char *why)
{
    struct wire_done done = {.call = a->number,
                             .status = (uint32_t) status,
                             .replied = status == BUS_STATUS_OK,
                             .text = text_from(why)};

    a->peer->router->counters.requests_failed += status != BUS_STATUS_OK;
    end_show(a, status);
    if (status == BUS_STATUS_OK) {
        answer_done(a->peer, &done); /* behind its answer */
    } else {
        peer_send(a->peer, VERB_DONE, &done); /* nothing is charged for it: it must not wait */
    }
}

void inside_answer(const struct inside_ask *a, uint32_t error, const uint8_t *body, size_t bytes)
{
    const struct answer_to to = {.peer = a->peer, .number = a->number, .part = a->to_all ? 1 : 0};
    struct router *r = a->peer->router;
    struct sender *self = router_self(r);
    uint8_t header[HOT_MESSAGE_MAX + HOT_PLACE_MAX + OUTQ_SLACK_BYTES];
    struct message_parts parts = {.topic = a->topic,
                                  .sender = self,
                                  .header = header,
                                  .body = body,
                                  .body_bytes = bytes,
                                  .size = bytes,
                                  .flags = MESSAGE_UNCREDITED};
    const char *why;

    if (!self) {
        end(a, BUS_STATUS_NO_MEMORY, "out of memory");
        return;
    }
    parts.header_bytes =
        (size_t) (hot_put_field(hot_put_origin(header, self->id, r->now.realtime_ns), 12, error) -
                  header);
    why = answer_send(&to, &parts);
    answer_show(a, &parts, why, error);
    if (why) {
        end(a, BUS_STATUS_LIMIT, why);
    } else if (a->to_all) {
        end(a, BUS_STATUS_OK, "");
    }
}

/* ---- lists ---- */

static enum bus_status query_read(const struct inside_ask *a, struct inside_query *ret,
                                  const char **ret_why)
{
    return inside_decode(&inside_query_layout, a->body, a->body_bytes, ret)
               ? BUS_STATUS_OK
               : refuse(BUS_STATUS_INVALID_ARGUMENT, "the body is no Query of schemas/inside.proto",
                        ret_why);
}

static enum bus_status list_answer(const struct inside_ask *a, enum bus_inside_list list,
                                   const struct inside_query *q, const char **ret_why)
{
    struct router *r = a->peer->router;
    size_t cap = MIN(INSIDE_PAGE_BYTES, a->peer->inline_max);
    AUTO_FREE uint8_t *dst = malloc(cap);
    struct inside_list l = {
        .router = r,
        .layout = inside_layout_of(list),
        .query = q,
        .asked = a->topic,
        .page = {dst, cap, 0},
        .room = q->limit ? (uint32_t) MIN(q->limit, INSIDE_LIMIT_MAX) : INSIDE_LIMIT_MAX,
        .steps = INSIDE_STEPS,
    };

    if (!dst) {
        return refuse(BUS_STATUS_NO_MEMORY, "out of memory", ret_why);
    }
    (void) router_counters(r);                     /* some are added up when they are looked at */
    r->counters.topics_now -= a->topic->refs == 1; /* there only because it was asked */
    inside_list_fill(&l, list);
    inside_page_end(&l.page, l.next, r->now.monotonic_ns);
    r->work += INSIDE_STEPS - l.steps;
    inside_begin(a);
    inside_answer(a, 0, dst, l.page.len);
    return BUS_STATUS_OK;
}

/* ---- controls ---- */

static struct peer *peer_by_connection(struct router *r, uint64_t connection_id)
{
    struct peer *p;

    for (p = r->peers; p && p->sender->connection_id < connection_id; p = p->next) {
        r->work++;
    }
    return p && p->sender->connection_id == connection_id && p->state != PEER_CLOSING ? p : NULL;
}

static enum bus_status disconnect_check(const struct inside_ask *a, const char **ret_why)
{
    struct router *r = a->peer->router;
    struct inside_disconnect m;

    if (!inside_decode(&inside_disconnect_layout, a->body, a->body_bytes, &m)) {
        return refuse(BUS_STATUS_INVALID_ARGUMENT,
                      "the body is no Disconnect of schemas/inside.proto", ret_why);
    }
    if (m.text.len > TEXT_MAX || !utf8_valid_printable(m.text.data, m.text.len)) {
        return refuse(BUS_STATUS_INVALID_ARGUMENT, "text", ret_why);
    }
    r->control.target = peer_by_connection(r, m.connection_id);
    r->control.text = m.text;
    return r->control.target
               ? BUS_STATUS_OK
               : refuse(BUS_STATUS_INVALID_ARGUMENT, "no client has that connection_id", ret_why);
}

static enum bus_status control_check(const struct inside_ask *a, enum inside_control control,
                                     const char **ret_why)
{
    const struct router *r = a->peer->router;
    const struct router_controls *ops = r->config.controls;

    if (control == INSIDE_DISCONNECT) {
        return disconnect_check(a, ret_why);
    }
    if (!ops || !(control == INSIDE_RELOAD ? (void *) ops->reload : (void *) ops->drain)) {
        return refuse(BUS_STATUS_UNSUPPORTED, "this router cannot do that", ret_why);
    }
    return !r->is_stopping ? BUS_STATUS_OK
                           : refuse(BUS_STATUS_UNEXPECTED, "the router stops already", ret_why);
}

/* It is done when the frame has been dealt with: what it changes is not looked at then. */
static enum bus_status control_note(const struct inside_ask *a, enum inside_control control,
                                    const char **ret_why)
{
    struct router *r = a->peer->router;
    enum bus_status status = control_check(a, control, ret_why);

    if (status == BUS_STATUS_OK) {
        inside_begin(a);
        r->control.kind = control;
        r->control.ask = *a;
        (void) topic_ref(a->topic);
    }
    return status;
}

static void answer_controlled(const struct inside_ask *a, uint32_t error, const char *text)
{
    struct inside_controlled m = {text_from(text)};
    uint8_t body[TEXT_MAX + 1 + PB_NUMBER_MAX];
    size_t n;

    while (!utf8_valid_printable(m.text.data, m.text.len)) {
        m.text.len--; /* it may quote a file, and may have been cut */
    }
    n = inside_encode(&inside_controlled_layout, &m, body, sizeof(body));
    inside_answer(a, error, body, n);
}

static void reload(struct router *r, const struct inside_ask *a)
{
    char text[TEXT_MAX + 1] = "";
    int ret = r->config.controls->reload(r->config.controls_userdata, text, sizeof(text));

    answer_controlled(a, ret < 0, *text ? text : ret < 0 ? "it failed" : "reloaded");
}

static void disconnect(struct router *r, const struct inside_ask *a)
{
    struct peer *p = r->control.target;
    struct text text = r->control.text.len ? r->control.text : text_from(ADMIN_TEXT);
    const struct wire_goodbye goodbye = {BUS_GOODBYE_ADMIN, text};

    answer_controlled(a, 0, "disconnected"); /* first: it may be the requester itself */
    if (p->state != PEER_CLOSING) {
        (void) peer_try_send(p, VERB_GOODBYE, &goodbye);
        peer_begin_closing(p, BUS_GOODBYE_ADMIN, ADMIN_TEXT);
        closed_set_text(p, text);
    }
}

void inside_control_run(struct router *r)
{
    const struct inside_ask a = r->control.ask;

    switch (r->control.kind) {
    case INSIDE_RELOAD:
        reload(r, &a);
        break;
    case INSIDE_DRAIN:
        answer_controlled(&a, 0, "the router drains, and stops then");
        r->config.controls->drain(r->config.controls_userdata);
        break;
    case INSIDE_DISCONNECT:
        disconnect(r, &a);
        break;
    }
    r->control = (struct control){0};
    topic_unref(a.topic);
}

/* ---- requests ---- */

enum bus_status inside_handle(const struct inside_ask *a, const char **ret_why)
{
    const struct text topic = {a->topic->name, a->topic->len};
    enum inside_control control = (enum inside_control) inside_control_of(topic);
    enum bus_inside_list list = (enum bus_inside_list) inside_list_of(topic);
    enum bus_status status;
    struct inside_query q;

    if (control) {
        return control_note(a, control, ret_why);
    }
    if (!list) {
        return refuse(BUS_STATUS_NO_RESPONDER, "the router does not serve that topic", ret_why);
    }
    status = query_read(a, &q, ret_why);
    return status == BUS_STATUS_OK ? list_answer(a, list, &q, ret_why) : status;
}
