/* SPDX-License-Identifier: MIT */
/* Requests: what is asked, of whom, and that each of them ends exactly once. */
#include "core/request.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "base/units.h"
#include "core/envelope.h"
#include "core/inside.h"
#include "core/judge.h"
#include "core/state.h"
#include "wire/hot_requests.h"
#include "wire/topic.h"

/* One REQUEST on its way through the checks. */
struct asked {
    struct wire_request m;
    struct topic *topic;
    struct message_parts parts;
    uint64_t size;
    enum bus_status status;
    const char *why; /* static, or router.refusal */
    unsigned n_fds;
    struct parcel *parcel; /* not owned */
};

static bool asked_fail(struct asked *a, enum bus_status status, const char *why)
{
    a->status = status;
    a->why = why;
    return false;
}

/* ---- the end ---- */

static void request_show_end(const struct request *r, enum bus_status status)
{
    struct router *router = r->peer->router;
    const struct message_parts parts = {.topic = r->topic, .sender = r->peer->sender};
    struct tap_record record = {
        .parts = &parts, .status = status, .kind = MONITORED_DONE, .call = r->id};

    router->counters.requests_failed += status != BUS_STATUS_OK;
    if (tap_wants(router)) {
        tap_emit(router, &record);
    }
}

static void request_free(struct request *r)
{
    struct peer *p = r->peer;

    p->requests[r->number - 1] = NULL;
    p->n_requests--;
    quota_release(&p->user->requests, 1);
    p->router->counters.requests_now--;
    timer_stop(&p->router->timers, &r->timer);
    if (r->message) {
        message_release(r->message);
    }
    topic_unref(r->topic);
    charge_fini(&r->charge);
    free(r);
}

static void request_finish(struct request *r, enum bus_status status, const char *why)
{
    struct wire_done done = {.call = r->number,
                             .status = (uint32_t) status,
                             .replied = r->n_replied,
                             .gone = r->n_gone,
                             .timed_out = r->n_timed_out,
                             .text = text_from(why)};

    request_show_end(r, status);
    answer_done(r->peer, &done);
    request_free(r);
}

void request_note_over(struct request *r)
{
    if (r->n_over < r->n_calls) {
        return;
    }
    if (r->to_all) {
        request_finish(r, BUS_STATUS_OK, "");
    } else if (r->n_gone > 0) {
        request_finish(r, BUS_STATUS_RESPONDER_GONE, "who was to answer has gone");
    } else {
        request_free(r); /* its answer was the end */
    }
}

/* Servers that have got it are told, and may take other calls then. */
static void request_end_calls(struct request *r, enum bus_status reason)
{
    for (uint32_t i = 0; i < r->n_calls; i++) {
        struct call *c = &r->calls[i];
        struct sub *s = c->match && c->state == CALL_OPEN ? c->match->sub : NULL;

        if (c->state == CALL_OVER) {
            continue;
        }
        r->peer->router->work++;
        call_cancel(c, reason);
        call_over(c);
        if (s) {
            server_pump(s);
        }
    }
}

void request_end(struct request *r, enum bus_status status, const char *why)
{
    request_end_calls(r, status);
    request_finish(r, status, why);
}

void request_withdraw(struct request *r)
{
    request_end_calls(r, BUS_STATUS_CANCELLED);
    request_finish(r, BUS_STATUS_DENIED, "the right to ask for it was taken away");
}

static void request_on_timer(struct router *router, struct timer *t)
{
    struct request *r = container_of(t, struct request, timer);

    (void) router;
    r->n_timed_out = r->n_calls - r->n_over;
    if (!r->to_all) {
        request_end(r, BUS_STATUS_TIMEOUT, "no answer in time");
        return;
    }
    request_end_calls(r, BUS_STATUS_TIMEOUT);
    request_finish(r, BUS_STATUS_OK, "");
}

void request_rearm(struct request *r)
{
    struct router *router = r->peer->router;

    timer_set(&router->timers, &r->timer, router->now.monotonic_ns + r->timeout_ms * NS_PER_MS,
              request_on_timer);
}

bool requests_drop(struct peer *p, unsigned *budget)
{
    for (; p->n_requests_max > 0; p->n_requests_max--) {
        struct request *r = p->requests[p->n_requests_max - 1];

        if (r) {
            if (*budget == 0) {
                return false;
            }
            *budget -= MIN(*budget, r->n_calls);
            request_end_calls(r, BUS_STATUS_CANCELLED);
            request_show_end(r, BUS_STATUS_CANCELLED);
            request_free(r);
        }
        charge_release(&p->charge, sizeof(void *));
    }
    free(p->requests);
    p->requests = NULL;
    return true;
}

/* ---- the beginning ---- */

/* It may be all that keeps its topic alive. */
static uint64_t request_memory(const struct topic *t, uint32_t n_calls)
{
    return sizeof(struct request) + n_calls * (sizeof(struct call) + sizeof(uintptr_t)) +
           sizeof(struct call_queue) + topic_memory(t->len);
}

/* Numbers for its calls. False, and none is taken, if there is no memory. */
static bool calls_number(struct request *r, struct router *router)
{
    for (uint32_t i = 0; i < r->n_calls; i++) {
        uint32_t place = idpool_add(&router->calls, &r->calls[i]);

        if (place == 0 || place > CALLS_MAX) {
            if (place) {
                idpool_remove(&router->calls, place);
            }
            while (i > 0) {
                idpool_remove(&router->calls, (uint32_t) (r->calls[--i].id & CALLS_MAX));
            }
            return false;
        }
        r->calls[i].request = r;
        r->calls[i].id = ++router->n_calls << CALL_PLACE_BITS | place;
    }
    return true;
}

static struct request *request_alloc(struct peer *p, struct asked *a, uint32_t n_calls)
{
    struct request *r;

    if (!peer_table_reach(p, (void ***) &p->requests, &p->n_requests_max, a->m.call)) {
        (void) asked_fail(a, BUS_STATUS_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!quota_allows(&p->quota, request_memory(a->topic, n_calls))) {
        (void) asked_fail(a, BUS_STATUS_LIMIT, bytes_refusal(p, request_memory(a->topic, n_calls)));
        return NULL;
    }
    r = calloc(1, sizeof(*r) + n_calls * sizeof(struct call));
    if (r) {
        r->n_calls = n_calls;
    }
    if (!r || !calls_number(r, p->router)) {
        free(r);
        (void) asked_fail(a, BUS_STATUS_NO_MEMORY, "out of memory");
        return NULL;
    }
    return r;
}

static struct request *request_new(struct peer *p, struct asked *a, uint32_t n_calls)
{
    struct router *router = p->router;
    struct request *r = request_alloc(p, a, n_calls);

    if (!r) {
        return NULL;
    }
    charge_init(&r->charge, &p->quota);
    charge_force(&r->charge, request_memory(a->topic, n_calls)); /* allowed, as was seen above */
    r->peer = p;
    r->topic = topic_ref(a->topic);
    r->id = ++router->n_requests;
    r->number = a->m.call;
    r->timeout_ms =
        a->m.timeout_ms ? a->m.timeout_ms : (uint32_t) router->config.limits.request_timeout_max_ms;
    r->size = (uint32_t) a->size;
    r->to_all = a->m.flags & REQUEST_ALL;
    r->wants_fds = a->m.flags & REQUEST_DESCRIPTORS;
    p->requests[r->number - 1] = r;
    p->n_requests++;
    quota_force(&p->user->requests, 1);
    router->counters.requests++;
    router->counters.requests_now++;
    router->counters.calls_now += n_calls;
    request_rearm(r);
    return r;
}

/* What calls that have to wait will say. False if out of memory or quota. */
static bool request_keep_message(struct request *r, struct asked *a)
{
    if (!a->parts.whole) {
        a->parts.whole = message_new(&a->parts);
    }
    if (!a->parts.whole || !charge_add(&r->charge, message_memory(a->parts.whole))) {
        return false;
    }
    r->message = message_ref(a->parts.whole);
    if (r->message->cargo) {
        r->message->cargo->n_wanted++;
    }
    return true;
}

static void ask_note(struct peer *p, const struct match *match, bool delivered)
{
    struct sub_outcome o = {delivered ? BUS_VERDICT_DELIVERED : BUS_VERDICT_QUEUED, BUS_LOSS_NONE,
                            0};

    if (match && tap_wants(p->router)) {
        tap_note(p->router, match->sub, &o);
    }
}

/* False if the call has to wait and there is no memory for that. */
static bool ask(struct request *r, struct asked *a, struct call *c)
{
    bool delivered = c->match && call_deliver(c, &a->parts);

    ask_note(r->peer, c->match, delivered);
    return delivered || ((r->message || request_keep_message(r, a)) && call_wait(c));
}

/* A call that never was. */
static void unask(struct request *r, struct call *c)
{
    struct router *router = r->peer->router;

    c->state = CALL_OVER;
    r->n_over++;
    idpool_remove(&router->calls, (uint32_t) (c->id & CALLS_MAX));
    router->counters.calls_now--;
}

static bool nobody(struct asked *a, bool is_too_large)
{
    if (is_too_large) {
        return asked_fail(a, BUS_STATUS_LIMIT, "too large for the link of any server");
    }
    return topic_is_resolved(a->topic)
               ? asked_fail(a, BUS_STATUS_NO_RESPONDER, "nobody serves that topic")
               : asked_fail(a, BUS_STATUS_NO_MEMORY, "no memory to find its servers");
}

static bool ask_one(struct peer *p, struct asked *a)
{
    enum server_choice why = SERVER_NONE;
    struct match *match = server_choose(a->topic, &a->parts, &why);
    struct request *r;

    if (!match && why != SERVER_BUSY) {
        return nobody(a, why == SERVER_TOO_LARGE);
    }
    r = request_new(p, a, 1);
    if (!r) {
        return false;
    }
    r->calls[0].match = a->topic->calls ? NULL : match; /* not before those that wait */
    if (r->calls[0].match && call_deliver(&r->calls[0], &a->parts)) {
        ask_note(p, match, true);
        return true;
    }
    r->calls[0].match = NULL; /* it waits for any */
    if (!ask(r, a, &r->calls[0])) {
        unask(r, &r->calls[0]);
        request_free(r);
        return asked_fail(a, BUS_STATUS_LIMIT, "no memory for it to wait in");
    }
    if (match) { /* somebody could have taken it, but for want of memory or those before it */
        servers_wake(a->topic, 0);
        server_pump(match->sub);
    }
    return true;
}

static bool ask_all(struct peer *p, struct asked *a)
{
    struct topic *t = a->topic;
    struct request *r;
    uint32_t n = 0, n_serving = 0;

    for (uint32_t i = 0; i < t->n_matches; i++) {
        if (match_serves(t->matches[i])) {
            n_serving++;
            n += body_fits(t->matches[i]->sub->peer, &a->parts);
        }
    }
    p->router->work += t->n_matches;
    if (n == 0) {
        return nobody(a, n_serving > 0);
    }
    r = request_new(p, a, n);
    if (!r) {
        return false;
    }
    for (uint32_t i = 0, k = 0; i < t->n_matches && k < n; i++) {
        if (match_serves(t->matches[i]) && body_fits(t->matches[i]->sub->peer, &a->parts)) {
            r->calls[k].match = t->matches[i];
            if (!ask(r, a, &r->calls[k])) {
                unask(r, &r->calls[k]);
                r->n_gone++; /* it was not reached */
            }
            k++;
        }
    }
    return true; /* request_note_over() is the caller's, when the monitors have seen it */
}

/* ---- built up again ---- */

static bool calls_restore(struct request *r, struct router *router, const uint64_t *ids)
{
    for (uint32_t i = 0; i < r->n_calls; i++) {
        r->calls[i].request = r;
        r->calls[i].id = ids[i];
        r->calls[i].state = ids[i] ? CALL_WAITING : CALL_OVER;
        if (ids[i] && ids[i] >> CALL_PLACE_BITS <= router->n_calls &&
            idpool_put(&router->calls, (uint32_t) (ids[i] & CALLS_MAX), &r->calls[i])) {
            continue;
        }
        if (ids[i]) {
            while (i-- > 0) {
                if (ids[i]) {
                    idpool_remove(&router->calls, (uint32_t) (ids[i] & CALLS_MAX));
                }
            }
            return false;
        }
    }
    return true;
}

struct request *request_restore(struct peer *p, uint32_t number, struct topic *t,
                                const uint64_t *ids, uint32_t n_calls)
{
    struct router *router = p->router;
    struct request *r;

    if (p->state != PEER_READY || p->tap || number == 0 ||
        number > router->config.limits.requests_max || n_calls == 0 ||
        !peer_table_reach(p, (void ***) &p->requests, &p->n_requests_max, number) ||
        p->requests[number - 1]) {
        return NULL;
    }
    r = calloc(1, sizeof(*r) + n_calls * sizeof(struct call));
    if (!r) {
        return NULL;
    }
    r->n_calls = n_calls;
    if (!calls_restore(r, router, ids)) {
        free(r);
        return NULL;
    }
    charge_init(&r->charge, &p->quota);
    charge_force(&r->charge, request_memory(t, n_calls));
    r->peer = p;
    r->topic = topic_ref(t);
    r->number = number;
    p->requests[number - 1] = r;
    p->n_requests++;
    quota_force(&p->user->requests, 1);
    router->counters.requests_now++;
    for (uint32_t i = 0; i < n_calls; i++) {
        r->n_over += r->calls[i].state == CALL_OVER;
        router->counters.calls_now += r->calls[i].state != CALL_OVER;
    }
    request_rearm(r);
    return r;
}

void request_restore_end(struct request *r, uint64_t ns)
{
    timer_set(&r->peer->router->timers, &r->timer, ns, request_on_timer);
}

void request_restore_message(struct request *r, struct message *m)
{
    r->message = message_ref(m);
    charge_force(&r->charge, message_memory(m));
    if (m->cargo) {
        m->cargo->n_wanted++;
    }
}

/* ---- REQUEST ---- */

static void request_show(struct peer *p, const struct asked *a, uint64_t id, uint32_t n_matched)
{
    const struct message_parts parts = a->parts;
    struct tap_record record = {.parts = &parts,
                                .headers = a->m.headers,
                                .n_headers = a->m.n_headers,
                                .status = a->status,
                                .n_fds = a->n_fds,
                                .n_matched = n_matched,
                                .kind = MONITORED_REQUEST,
                                .call = id};

    if (tap_wants(p->router)) {
        tap_emit(p->router, &record);
    }
}

static void request_refuse(struct peer *p, const struct asked *a)
{
    struct wire_done done = {
        .call = a->m.call, .status = (uint32_t) a->status, .text = text_from(a->why)};
    struct wire_publish place = {.buffer = a->m.buffer, .offset = a->m.offset, .bytes = a->m.bytes};

    if (a->topic) {
        request_show(p, a, ++p->router->n_requests, 0);
    }
    p->router->counters.requests_failed++;
    /* not behind what waits: nothing is charged for it, so nothing would bound it there */
    peer_send(p, VERB_DONE, &done);
    if (place.buffer != 0 && !a->parts.whole) {
        cargo_refused(p, &place);
    }
}

/* Whether the client has that right. */
static bool ask_right(struct peer *p, struct asked *a, uint32_t verb, struct text topic)
{
    const char *why = peer_denied(p, verb, topic);

    return !why || asked_fail(a, BUS_STATUS_DENIED, why);
}

/* With an alias the right was asked for when it was advertised. */
static bool asked_rights(struct peer *p, struct asked *a)
{
    const struct text topic = {a->topic->name, a->topic->len};

    return ((a->m.alias != 0 && !idset_has(&p->unasked, a->m.alias)) ||
            ask_right(p, a, POLICY_REQUEST, topic)) &&
           (a->n_fds == 0 || ask_right(p, a, POLICY_DESCRIPTORS, topic));
}

static bool topic_find_or_fail(struct peer *p, struct asked *a)
{
    if ((a->m.alias != 0) == (a->m.topic.len != 0)) {
        return asked_fail(a, BUS_STATUS_INVALID_ARGUMENT, "give either alias or topic");
    }
    if (a->m.alias != 0) {
        struct topic *t = alias_topic(p, a->m.alias);

        if (!t) {
            return asked_fail(a, BUS_STATUS_UNKNOWN_ALIAS,
                              "no topic is advertised under that alias");
        }
        a->topic = topic_ref(t);
    } else if (!topic_valid(a->m.topic.data, a->m.topic.len)) {
        return asked_fail(a, BUS_STATUS_INVALID_TOPIC, "not a valid topic");
    } else {
        a->topic = topics_get(&p->router->topics, a->m.topic.data, a->m.topic.len);
    }
    return a->topic || asked_fail(a, BUS_STATUS_NO_MEMORY, "out of memory");
}

static bool asked_check(struct peer *p, struct asked *a, const struct frame *f)
{
    const struct limits *l = &p->router->config.limits;

    if (a->m.flags & ~(uint32_t) (REQUEST_ALL | REQUEST_DESCRIPTORS)) {
        return asked_fail(a, BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    if (a->m.timeout_ms > l->request_timeout_max_ms) {
        return asked_fail(a, BUS_STATUS_LIMIT, "request_timeout_max_ms");
    }
    if (a->m.buffer != 0 && f->body_bytes > 0) {
        return asked_fail(a, BUS_STATUS_INVALID_ARGUMENT, "a body in the frame and a buffer");
    }
    a->size = a->m.buffer != 0 ? a->m.bytes : f->body_bytes;
    a->why = text_headers_check(a->m.headers, a->m.n_headers, &a->size);
    return !a->why || asked_fail(a, BUS_STATUS_INVALID_ARGUMENT, a->why);
}

/* The CALL header behind each server's own fields, into header. */
static bool asked_header(struct peer *p, struct asked *a, uint8_t *header, size_t cap)
{
    struct wire_message m = {.topic = a->topic->id,
                             .sender = p->sender->id,
                             .time = p->router->now.realtime_ns,
                             .descriptors = a->n_fds,
                             .headers = a->m.headers,
                             .n_headers = a->m.n_headers};
    long n;

    if (a->m.n_headers == 0 && a->n_fds == 0) {
        uint8_t *end = hot_put_origin(hot_put_field(header, 2, m.topic), m.sender, m.time);

        n = end - header;
    } else {
        n = codec_encode(&p->router->arena, VERB_MESSAGE, &m, header, cap);
    }
    if (n < 0) {
        return asked_fail(a, BUS_STATUS_LIMIT, "the headers are too long together");
    }
    a->parts.header = header;
    a->parts.header_bytes = (size_t) n;
    return true;
}

static bool asked_load(struct peer *p, struct asked *a)
{
    struct wire_publish place = {.buffer = a->m.buffer, .offset = a->m.offset, .bytes = a->m.bytes};

    a->why = message_load(p, &place, a->n_fds, a->parcel, &a->parts, &a->status);
    return a->status == BUS_STATUS_OK;
}

/* Everything is in order: asks, and shows it to the monitors. */
static void request_go(struct peer *p, struct asked *a)
{
    struct topic *t = a->topic;
    struct request *r;

    if (!topic_is_resolved(t)) {
        topic_find_servers(p->router, t);
    }
    if (!(a->m.flags & REQUEST_ALL ? ask_all(p, a) : ask_one(p, a))) {
        request_refuse(p, a);
        return;
    }
    r = p->requests[a->m.call - 1];
    /* what waits for any server has none yet */
    request_show(p, a, r->id, MAX(p->router->n_recipients, r->to_all ? r->n_calls : 0));
    request_note_over(r);
}

/* ---- the router's own topics ---- */

void inside_begin(const struct inside_ask *ask)
{
    struct peer *p = ask->peer;
    const struct asked a = {
        .topic = ask->topic,
        .parts = {.topic = ask->topic,
                  .sender = p->sender,
                  .body = ask->body,
                  .body_bytes = ask->body_bytes},
    };

    p->router->counters.requests_inside++;
    request_show(p, &a, ask->id, 0);
}

static void request_ask_router(struct peer *p, struct asked *a, const struct frame *f)
{
    const struct inside_ask ask = {.peer = p,
                                   .topic = a->topic,
                                   .body = f->body,
                                   .body_bytes = f->body_bytes,
                                   .id = ++p->router->n_requests,
                                   .number = a->m.call,
                                   .to_all = a->m.flags & REQUEST_ALL};

    if (a->m.buffer != 0 || a->n_fds > 0) {
        (void) asked_fail(a, BUS_STATUS_INVALID_ARGUMENT, "the router takes bodies in frames only");
    } else {
        a->status = inside_handle(&ask, &a->why);
    }
    if (a->status != BUS_STATUS_OK) {
        request_refuse(p, a);
    }
}

#define SMALL_HEADER_MAX (HOT_MESSAGE_MAX + HOT_PLACE_MAX)

static void request_decoded(struct peer *p, struct asked *a, const struct frame *f)
{
    uint8_t small[SMALL_HEADER_MAX + OUTQ_SLACK_BYTES];
    size_t cap = a->m.n_headers > 0 ? FRAME_HEADER_MAX - 64u : SMALL_HEADER_MAX;
    AUTO_FREE uint8_t *large = NULL;

    a->parts = (struct message_parts){.sender = p->sender,
                                      .body = f->body,
                                      .body_bytes = f->body_bytes,
                                      .slab = p->router->slab,
                                      .flags = MESSAGE_UNCREDITED};
    if (a->status == BUS_STATUS_OK && topic_find_or_fail(p, a)) {
        a->parts.topic = a->topic;
        if (asked_rights(p, a) && asked_check(p, a, f)) {
            if (topic_is_reserved(a->topic->name, a->topic->len)) {
                request_ask_router(p, a, f);
                goto out;
            }
            large = cap > SMALL_HEADER_MAX ? malloc(cap + OUTQ_SLACK_BYTES) : NULL;
            a->parts.size = a->size;
            if (cap > SMALL_HEADER_MAX && !large) {
                (void) asked_fail(a, BUS_STATUS_NO_MEMORY, "out of memory");
            } else if (asked_header(p, a, large ? large : small, cap) && asked_load(p, a)) {
                request_go(p, a);
                goto out;
            }
        }
    }
    request_refuse(p, a);
out:
    if (a->parts.whole) {
        message_release(a->parts.whole);
    }
    if (a->topic) {
        topic_unref(a->topic);
    }
}

/* Without a number of its own it cannot be said to have ended. */
static bool number_check(struct peer *p, const struct wire_request *m)
{
    struct wire_status status = {
        .verb = VERB_REQUEST, .call = m->call, .code = BUS_STATUS_INVALID_ARGUMENT};
    const char *why;

    if (m->call == 0) {
        status.text = text_from("call");
    } else if (m->call > p->router->config.limits.requests_max) {
        status.code = BUS_STATUS_LIMIT;
        status.text = text_from("requests_max");
    } else if ((why = slot_refusal(p, USER_SLOT_requests, 1))) {
        status.code = BUS_STATUS_LIMIT;
        status.text = text_from(why);
    } else if (m->call <= p->n_requests_max && p->requests[m->call - 1]) {
        status.code = BUS_STATUS_IN_USE;
        status.text = text_from("a request of that number is open");
    } else {
        return true;
    }
    peer_send_status(p, &status);
    if (m->buffer != 0) {
        struct wire_publish place = {.buffer = m->buffer, .offset = m->offset, .bytes = m->bytes};

        cargo_refused(p, &place);
    }
    return false;
}

static bool request_decode(struct peer *p, const struct frame *f, struct wire_request *ret)
{
    union wire_any any;

    if (hot_get_request(f->header, f->header_bytes, ret)) {
        return true;
    }
    if (codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &any) != 0) {
        return false;
    }
    *ret = any.request;
    return true;
}

void request_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed)
{
    struct asked a = {.n_fds = f->fds, .parcel = parcel};

    if (!request_decode(p, f, &a.m)) {
        struct wire_status status = {
            .verb = VERB_REQUEST, .code = BUS_STATUS_MALFORMED, .text = text_from("REQUEST")};

        peer_send_status(p, &status);
        return;
    }
    if (!number_check(p, &a.m)) {
        return;
    }
    if (!fds_allowed) {
        (void) asked_fail(&a, BUS_STATUS_UNSUPPORTED, "more descriptors than descriptors_max");
    } else if (p->tap) {
        (void) asked_fail(&a, BUS_STATUS_UNEXPECTED, "a monitor cannot request");
    }
    request_decoded(p, &a, f);
}

/* ---- CANCEL, CREDIT ---- */

static struct request *request_by_number(const struct peer *p, uint64_t number)
{
    return number > 0 && number <= p->n_requests_max ? p->requests[number - 1] : NULL;
}

void cancel_handle(struct peer *p, const struct wire_cancel *m)
{
    struct request *r = request_by_number(p, m->call);

    /* it may just have ended: not worth an answer */
    if (r) {
        request_end(r, BUS_STATUS_CANCELLED, "cancelled");
    }
}

void request_credit(struct peer *p, const struct wire_credit *m)
{
    struct request *r = request_by_number(p, m->call);
    uint32_t i = m->part > 0 ? m->part - 1 : 0;
    struct call *c = r && i < r->n_calls ? &r->calls[i] : NULL;
    uint32_t n = c ? MIN(m->messages, c->n_ahead) : 0;

    if (n > 0 && c->state == CALL_OPEN) {
        struct wire_credit credit = {.call = c->id, .messages = n};

        c->n_ahead = (uint8_t) (c->n_ahead - n);
        peer_send(c->match->sub->peer, VERB_CREDIT, &credit);
    }
}
