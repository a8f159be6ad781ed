/* SPDX-License-Identifier: MIT */
/* Servers: who gets a call, where it waits, and how it ends. */
#include <limits.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/units.h"
#include "core/drain.h"
#include "core/envelope.h"
#include "core/judge.h"
#include "core/request.h"
#include "core/state.h"
#include "wire/hot_requests.h"

/* Fields 1, 4 and 12 of CALL: subscription, call and timeout_ms. */
#define CALL_LEAD_MAX (SUB_FIELD_BYTES + 11u + 6u)

static struct sub *server_of(const struct call *c)
{
    return c->match ? c->match->sub : NULL;
}

struct server *server_new(void)
{
    return calloc(1, sizeof(struct server));
}

bool match_serves(const struct match *match)
{
    const struct sub *s = match->sub;

    return (s->flags & (SUB_SERVE | SUB_DRAINING)) == SUB_SERVE && !s->is_ended && !s->is_denied &&
           s->peer->state == PEER_READY;
}

/* ---- who gets it ---- */

/* Not whether it has credit, but whether its link has room. Otherwise it is pumped when it has. */
static bool link_takes(struct sub *s, const struct message *m)
{
    const struct envelope e = {.peer = s->peer, .wants_fds = s->flags & SUB_DESCRIPTORS};

    if (s->peer->out.bytes < s->peer->output_max && (!m || !m->cargo || cargo_may_go(&e, m))) {
        return true;
    }
    sub_wait(s);
    return false;
}

static bool can_take(struct sub *s, const struct message *m)
{
    return sub_has_credit(s) && link_takes(s, m);
}

static uint32_t n_open_at(const struct sub *s)
{
    return sub_window(s)->messages - s->credit_messages;
}

struct match *server_choose(struct topic *t, const struct message_parts *parts,
                            enum server_choice *ret)
{
    struct match *best = NULL;
    uint32_t fewest = UINT32_MAX;

    *ret = SERVER_NONE;
    for (uint32_t n = 0; n < t->n_matches && fewest > 0; n++) {
        parts->sender->peer->router->work++;
        /* in turn: from behind the one that was chosen last */
        struct match *match = t->matches[(t->last_server + 1 + n) % t->n_matches];

        if (!match_serves(match)) {
            continue;
        }
        if (!body_fits(match->sub->peer, parts)) {
            *ret = MAX(*ret, SERVER_TOO_LARGE);
            continue;
        }
        *ret = SERVER_BUSY;
        if (n_open_at(match->sub) < fewest && can_take(match->sub, parts->whole)) {
            fewest = n_open_at(match->sub);
            best = match;
        }
    }
    t->last_server = best ? best->index : t->last_server;
    return best;
}

/* ---- to the server ---- */

static uint32_t timeout_left_ms(const struct request *r)
{
    uint64_t now = r->peer->router->now.monotonic_ns;

    /* rounded up: 0 would mean that there is no end */
    return r->timer.ns > now ? (uint32_t) ((r->timer.ns - now + NS_PER_MS - 1) / NS_PER_MS) : 1;
}

static size_t lead_write(uint8_t lead[CALL_LEAD_MAX], const struct call *c, const struct sub *s)
{
    uint8_t *p = lead + s->field_bytes;

    memcpy(lead, s->field, s->field_bytes);
    p = hot_put_field(p, 4, c->id);
    return (size_t) (hot_put_field(p, 12, timeout_left_ms(c->request)) - lead);
}

/* False if out of memory. */
static bool call_put(struct call *c, const struct message_parts *parts)
{
    struct sub *s = server_of(c);
    struct peer *p = s->peer;
    uint8_t lead[CALL_LEAD_MAX];
    size_t n = lead_write(lead, c, s);
    const struct envelope e = {p, VERB_CALL, lead, n, n, s->flags & SUB_DESCRIPTORS, 0};

    if (!sub_introduce(s, c->match, parts->sender)) {
        return false;
    }
    if (!(has_cargo(parts) ? cargo_put(&e, parts->whole) : envelope_put(&p->out, &e, parts))) {
        return false;
    }
    peer_mark_dirty(p);
    return true;
}

/* The same, and then it is tried again later. */
static bool call_put_or_retry(struct call *c, const struct message_parts *parts)
{
    struct sub *s = server_of(c);

    if (call_put(c, parts)) {
        return true;
    }
    sub_wait(s);
    peer_retry_later(s->peer);
    return false;
}

static void call_open(struct call *c)
{
    struct sub *s = server_of(c);

    c->state = CALL_OPEN;
    sub_take_credit(s, c->request->size);
    DL_APPEND(s->server->open, c);
}

bool call_deliver(struct call *c, const struct message_parts *parts)
{
    if (!can_take(server_of(c), parts->whole) || !call_put_or_retry(c, parts)) {
        return false;
    }
    call_open(c);
    return true;
}

/* ---- waiting ---- */

static struct call_queue *queue_new(struct topic *t, struct router *r)
{
    struct call_queue *q = malloc(sizeof(*q));

    if (q) {
        *q = (struct call_queue){.topic = t};
        t->calls = q;
        DL_APPEND(r->call_queues, q);
    }
    return q;
}

static void queue_remove(struct call *c)
{
    struct router *r = c->request->peer->router;
    struct topic *t = c->request->topic;

    DL_DELETE(t->calls->calls, c);
    if (!t->calls->calls) {
        DL_DELETE(r->call_queues, t->calls);
        free(t->calls);
        t->calls = NULL;
    }
}

/* Some server is not known for want of memory, and is looked for again. */
static void queue_note_unresolved(const struct call_queue *q)
{
    if (!topic_is_resolved(q->topic)) {
        struct peer *p = q->calls->request->peer;

        p->router->calls_unresolved = true;
        peer_retry_later(p);
    }
}

bool call_wait(struct call *c)
{
    struct topic *t = c->request->topic;

    if (!c->match && !t->calls && !queue_new(t, c->request->peer->router)) {
        return false;
    }
    if (c->match) {
        DL_APPEND(server_of(c)->server->waiting, c);
    } else {
        DL_APPEND(t->calls->calls, c);
        queue_note_unresolved(t->calls);
    }
    c->request->n_waiting++;
    return true;
}

/* The last one that waits takes the message with it. */
static void call_unwait(struct call *c)
{
    struct request *r = c->request;

    if (c->match) {
        DL_DELETE(server_of(c)->server->waiting, c);
    } else {
        queue_remove(c);
    }
    if (--r->n_waiting == 0) {
        charge_release(&r->charge, message_memory(r->message));
        message_release(r->message);
        r->message = NULL;
    }
}

/* A call that has waited: gives it to that server. False if it has to wait on. */
static bool call_take(struct call *c, struct match *match)
{
    const struct message_parts parts = message_parts_of(c->request->message);
    struct match *was = c->match;
    bool done;

    c->match = match;
    done = call_put_or_retry(c, &parts);
    c->match = was;
    if (done) {
        call_unwait(c);
        c->match = match;
        call_open(c);
    }
    return done;
}

/* Calls in a row that this server cannot get, for their bodies do not fit onto its link: others
 * will, and those behind them need not wait. */
#define CALLS_PASSED_OVER_MAX 64u

/* Whether the server got one. */
static bool pump_topic(struct sub *s, struct match *match)
{
    struct call *c = match->topic->calls ? match->topic->calls->calls : NULL, *next;
    unsigned n_passed = 0;
    bool taken = false;

    for (; c && n_passed < CALLS_PASSED_OVER_MAX && sub_has_credit(s); c = next) {
        const struct message_parts parts = message_parts_of(c->request->message);

        next = c->next;
        s->peer->router->work++;
        if (!body_fits(s->peer, &parts)) {
            n_passed++;
        } else if (!link_takes(s, parts.whole) || !call_take(c, match)) {
            break;
        } else {
            taken = true;
        }
    }
    return taken;
}

/* The topics up to this one had their turn: the next one is the first the next time. */
static void matches_rotate(struct sub *s, struct match *last)
{
    struct match *first = s->matches;

    if (last->sub_next) {
        first->sub_prev->sub_next = first;
        s->matches = last->sub_next;
        last->sub_next = NULL;
    }
}

#define MATCHES_A_UNIT 16u

static void pump_topics(struct sub *s)
{
    struct match *match = s->matches, *last = NULL;
    unsigned n = 0;

    for (; match && sub_has_credit(s); match = match->sub_next) {
        last = pump_topic(s, match) ? match : last;
        n++;
    }
    s->peer->router->work += n / MATCHES_A_UNIT;
    if (last) {
        matches_rotate(s, last);
    }
}

static void pump_waiting(struct sub *s)
{
    while (s->server->waiting && can_take(s, s->server->waiting->request->message)) {
        struct call *c = s->server->waiting;

        s->peer->router->work++;
        if (!call_take(c, c->match)) {
            return;
        }
    }
}

void server_pump(struct sub *s)
{
    const struct router *r = s->peer->router;

    if (s->is_ended || s->peer->state != PEER_READY || r->is_shutting_down) {
        return;
    }
    if (UNLIKELY(r->is_judging)) {
        s->is_put_off = true; /* what it would get now, or it, may not have been judged yet */
        return;
    }
    sub_unwait(s);
    pump_waiting(s);
    if (!r->call_queues || (s->flags & SUB_DRAINING)) {
        return;
    }
    pump_topics(s);
    if (UNLIKELY(r->calls_unresolved)) {
        sub_wait(s); /* there may be more, of which it does not know */
        peer_retry_later(s->peer);
    }
}

static void ignore_missing(struct sub *s, void *ctx)
{
    (void) s;
    (void) ctx;
}

void servers_wake(struct topic *t, uint32_t first)
{
    for (uint32_t i = first; i < t->n_matches; i++) {
        if (match_serves(t->matches[i])) {
            sub_wait(t->matches[i]->sub);
            peer_retry_later(t->matches[i]->sub->peer);
        }
    }
}

void servers_found(struct topic *t, uint32_t first)
{
    if (t->calls) {
        servers_wake(t, first);
    }
}

void topic_find_servers(struct router *r, struct topic *t)
{
    uint32_t n = t->n_matches;

    r->work += topic_resolve(t, ignore_missing, NULL);
    servers_found(t, n);
}

void calls_resolve(struct router *r, unsigned n_queues)
{
    struct call_queue *q = NULL, *first = r->call_queues;

    r->calls_unresolved = false;
    for (; first && q != first && n_queues > 0; n_queues--) {
        q = r->call_queues;
        r->work++;
        if (!topic_is_resolved(q->topic)) {
            topic_find_servers(r, q->topic);
        }
        queue_note_unresolved(q);
        /* to the end: the others are the first the next time */
        DL_DELETE(r->call_queues, q);
        DL_APPEND(r->call_queues, q);
        q = r->call_queues;
    }
    if (first && q != first) {
        r->calls_unresolved = true;
        peer_retry_later(q->calls->request->peer);
    }
}

void server_welcome(struct sub *s)
{
    if (s->place != FILTER_EXACT || !s->matches) {
        calls_resolve(s->peer->router, UINT_MAX);
    }
    server_pump(s);
}

/* ---- the end ---- */

void call_over(struct call *c)
{
    struct sub *s = server_of(c);
    struct router *r = c->request->peer->router;

    if (c->state == CALL_WAITING) {
        call_unwait(c);
    } else {
        DL_DELETE(s->server->open, c);
        s->credit_messages++;
        s->credit_bytes += c->request->size;
    }
    c->state = CALL_OVER;
    c->request->n_over++;
    idpool_remove(&r->calls, (uint32_t) (c->id & CALLS_MAX));
    r->counters.calls_now--;
    if (s && (s->flags & SUB_DRAINING)) {
        drain_note(s);
    }
}

void call_cancel(struct call *c, enum bus_status reason)
{
    struct wire_cancel m = {c->id, (uint32_t) reason};

    if (c->state == CALL_OPEN) {
        peer_send(server_of(c)->peer, VERB_CANCEL, &m);
    }
}

/* If the last server of a topic has gone nobody will get what waits there. False if the budget was
 * used up before that. The topic may end with it. */
static bool topic_abandon(struct topic *t, unsigned *budget)
{
    bool done;

    for (uint32_t i = 0; i < t->n_matches; i++) {
        if (match_serves(t->matches[i])) {
            return true;
        }
    }
    (void) topic_ref(t);
    for (; t->calls && *budget > 0; (*budget)--) {
        request_end(t->calls->calls->request, BUS_STATUS_NO_RESPONDER, "its last server has gone");
    }
    done = !t->calls;
    topic_unref(t);
    return done;
}

/* The same for all topics of a server that has ended. */
static bool topics_abandon(struct sub *s, unsigned *budget)
{
    struct match *match, *next;

    DL_FOREACH_SAFE2(s->matches, match, next, sub_next)
    {
        if (match->topic->calls && !topic_abandon(match->topic, budget)) {
            return false;
        }
    }
    return true;
}

static void call_gone(struct call *c)
{
    struct request *r = c->request;

    call_over(c);
    r->n_gone++;
    request_note_over(r);
}

static void calls_lose(struct call *list, const struct match *match)
{
    struct call *c = list;

    while (c) {
        struct call *next = c->next;

        if (c->match == match) {
            call_gone(c); /* which ends its request perhaps, but no other call of this server */
        }
        c = next;
    }
}

void server_lose(struct sub *s, struct match *match)
{
    bool is_denied = s->is_denied;
    unsigned all = UINT_MAX;

    calls_lose(s->server->open, match);
    calls_lose(s->server->waiting, match);
    if (match->topic->calls) {
        s->is_denied = true; /* it does not serve this one any more */
        (void) topic_abandon(match->topic, &all);
        s->is_denied = is_denied;
    }
}

bool server_end(struct sub *s, unsigned *budget)
{
    struct server *server = s->server;

    for (; server->open || server->waiting; (*budget)--) {
        if (*budget == 0) {
            return false;
        }
        call_gone(server->open ? server->open : server->waiting);
    }
    if (s->peer->router->call_queues && !topics_abandon(s, budget)) {
        return false;
    }
    quota_release(&s->peer->quota, sizeof(*server));
    free(server);
    s->server = NULL;
    return true;
}

void server_drain(struct sub *s)
{
    unsigned all = UINT_MAX;

    if (s->peer->router->call_queues) {
        (void) topics_abandon(s, &all);
    }
}

bool server_is_idle(const struct sub *s)
{
    return !s->server->open && !s->server->waiting;
}

/* ---- REPLY ---- */

struct reply {
    struct wire_reply m;
    enum bus_status status;
    const char *why; /* static, or router.refusal */
    struct call *call;
    uint64_t size;
    unsigned n_fds;
    struct parcel *parcel; /* not owned */
};

static bool reply_fail(struct reply *reply, enum bus_status status, const char *why)
{
    reply->status = status;
    reply->why = why;
    return false;
}

static void reply_refuse(struct peer *p, const struct reply *reply)
{
    struct wire_status status = {.code = reply->status,
                                 .verb = VERB_REPLY,
                                 .call = reply->m.call,
                                 .text = text_from(reply->why)};
    struct wire_publish place = {
        .buffer = reply->m.buffer, .offset = reply->m.offset, .bytes = reply->m.bytes};

    p->router->counters.replies_refused++;
    peer_send_status(p, &status);
    if (place.buffer != 0) {
        cargo_refused(p, &place);
    }
}

static struct call *call_by_id(const struct router *r, uint64_t id)
{
    struct call *c = idpool_get(&r->calls, (uint32_t) (id & CALLS_MAX));

    return c && c->id == id ? c : NULL;
}

static bool reply_check(struct peer *p, struct reply *reply, const struct frame *f)
{
    struct call *c = call_by_id(p->router, reply->m.call);

    if (!c || c->state != CALL_OPEN || server_of(c)->peer != p) {
        return reply_fail(reply, BUS_STATUS_UNKNOWN_CALL, "no such call is open here");
    }
    reply->call = c;
    if (reply->n_fds > 0) {
        const struct topic *t = c->request->topic;

        reply->why = peer_denied(p, POLICY_DESCRIPTORS, (struct text){t->name, t->len});
        if (reply->why) {
            return reply_fail(reply, BUS_STATUS_DENIED, reply->why);
        }
    }
    if (reply->m.flags & ~(uint32_t) REPLY_MORE) {
        return reply_fail(reply, BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    if (reply->m.buffer != 0 && f->body_bytes > 0) {
        return reply_fail(reply, BUS_STATUS_INVALID_ARGUMENT, "a body in the frame and a buffer");
    }
    if ((reply->m.flags & REPLY_MORE) && c->n_ahead >= REPLIES_AHEAD_MAX) {
        return reply_fail(reply, BUS_STATUS_NO_CREDIT,
                          "the requester has not consumed the last ones");
    }
    reply->size = reply->m.buffer != 0 ? reply->m.bytes : f->body_bytes;
    reply->why = text_headers_check(reply->m.headers, reply->m.n_headers, &reply->size);
    return !reply->why || reply_fail(reply, BUS_STATUS_INVALID_ARGUMENT, reply->why);
}

static enum bus_verdict reply_verdict(const struct request *r, const char *why)
{
    if (why) {
        return BUS_VERDICT_DROPPED;
    }
    if (r->peer->state == PEER_CLOSING) {
        return BUS_VERDICT_DISCONNECTED;
    }
    return r->peer->answers ? BUS_VERDICT_QUEUED : BUS_VERDICT_DELIVERED;
}

static void reply_show(struct peer *p, const struct reply *reply, const struct message_parts *parts,
                       enum bus_verdict verdict)
{
    const struct request *r = reply->call->request;
    struct tap_record record = {.parts = parts,
                                .headers = reply->m.headers,
                                .n_headers = reply->m.n_headers,
                                .n_fds = reply->n_fds,
                                .n_matched = 1,
                                .kind = reply->m.flags & REPLY_MORE ? MONITORED_REPLY_MORE
                                                                    : MONITORED_REPLY,
                                .call = r->id,
                                .error = reply->m.error};

    if (tap_wants(p->router)) {
        tap_note_peer(p->router, r->peer, verdict);
        tap_emit(p->router, &record);
    }
}

/* On its way, or the request ends over it. */
static void reply_forward(struct peer *p, struct reply *reply, const struct message_parts *parts)
{
    bool is_last = !(reply->m.flags & REPLY_MORE);
    struct call *c = reply->call;
    struct request *r = c->request;
    const struct answer_to to = {.peer = r->peer,
                                 .number = r->number,
                                 .part = r->to_all ? (uint32_t) (c - r->calls) + 1 : 0,
                                 .wants_fds = r->wants_fds};
    struct sub *s = server_of(c);
    const char *why = answer_send(&to, parts);

    reply_show(p, reply, parts, reply_verdict(r, why));
    if (is_last) {
        call_over(c); /* it has answered, whatever becomes of the answer */
    }
    if (why) {
        request_end(r, BUS_STATUS_LIMIT, why);
    } else if (is_last) {
        p->router->counters.replies++;
        r->n_replied++;
        request_note_over(r);
    } else {
        p->router->counters.replies++;
        c->n_ahead++;
        request_rearm(r);
    }
    if (is_last) {
        server_pump(s);
    }
}

static bool reply_load(struct peer *p, struct reply *reply, struct message_parts *parts)
{
    struct wire_publish place = {
        .buffer = reply->m.buffer, .offset = reply->m.offset, .bytes = reply->m.bytes};

    reply->why = message_load(p, &place, reply->n_fds, reply->parcel, parts, &reply->status);
    return reply->status == BUS_STATUS_OK;
}

/* The ANSWER header that follows the requester's own fields. */
static bool reply_header(struct peer *p, struct reply *reply, struct message_parts *parts,
                         uint8_t *header, size_t cap)
{
    struct wire_answer m = {.sender = p->sender->id,
                            .time = p->router->now.realtime_ns,
                            .flags = reply->m.flags,
                            .descriptors = reply->n_fds,
                            .error = reply->m.error,
                            .headers = reply->m.headers,
                            .n_headers = reply->m.n_headers};
    long n;

    if (m.n_headers == 0 && m.descriptors == 0) {
        uint8_t *end = hot_put_origin(header, m.sender, m.time);

        n = hot_put_field(hot_put_field(end, 6, m.flags), 12, m.error) - header;
    } else {
        n = codec_encode(&p->router->arena, VERB_ANSWER, &m, header, cap);
    }
    if (n < 0) {
        return reply_fail(reply, BUS_STATUS_LIMIT, "the headers are too long together");
    }
    parts->header = header;
    parts->header_bytes = (size_t) n;
    return true;
}

static void reply_decoded(struct peer *p, struct reply *reply, const struct frame *f)
{
    size_t cap = reply->m.n_headers > 0 ? FRAME_HEADER_MAX - CALL_LEAD_MAX - HOT_PLACE_MAX
                                        : HOT_MESSAGE_MAX + HOT_PLACE_MAX;
    struct message_parts parts = {.sender = p->sender,
                                  .body = f->body,
                                  .body_bytes = f->body_bytes,
                                  .slab = p->router->slab,
                                  .flags = MESSAGE_UNCREDITED};
    uint8_t small[HOT_MESSAGE_MAX + HOT_PLACE_MAX + OUTQ_SLACK_BYTES];
    AUTO_FREE uint8_t *large = NULL;

    if (reply_check(p, reply, f)) {
        large = cap > sizeof(small) ? malloc(cap + OUTQ_SLACK_BYTES) : NULL;
        parts.topic = reply->call->request->topic;
        parts.size = reply->size;
        if (cap > sizeof(small) && !large) {
            (void) reply_fail(reply, BUS_STATUS_NO_MEMORY, "out of memory");
        } else if (reply_header(p, reply, &parts, large ? large : small, cap) &&
                   reply_load(p, reply, &parts)) {
            reply_forward(p, reply, &parts);
            if (parts.whole) {
                message_release(parts.whole);
            }
            return;
        }
    }
    reply_refuse(p, reply);
}

static bool reply_decode(struct peer *p, const struct frame *f, struct wire_reply *ret)
{
    union wire_any any;

    if (hot_get_reply(f->header, f->header_bytes, ret)) {
        return true;
    }
    if (codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &any) != 0) {
        return false;
    }
    *ret = any.reply;
    return true;
}

void reply_handle(struct peer *p, const struct frame *f, struct parcel *parcel, bool fds_allowed)
{
    struct reply reply = {.n_fds = f->fds, .parcel = parcel};

    if (!reply_decode(p, f, &reply.m)) {
        (void) reply_fail(&reply, BUS_STATUS_MALFORMED, "REPLY");
        reply_refuse(p, &reply);
        return;
    }
    if (!fds_allowed) {
        (void) reply_fail(&reply, BUS_STATUS_UNSUPPORTED, "more descriptors than descriptors_max");
        reply_refuse(p, &reply);
        return;
    }
    reply_decoded(p, &reply, f);
}
