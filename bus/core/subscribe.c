/* SPDX-License-Identifier: MIT */
/* SUBSCRIBE, UNSUBSCRIBE and CREDIT: docs/protocol.md, section 6. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/drain.h"
#include "core/group.h"
#include "core/judge.h"
#include "core/pace.h"
#include "core/replay.h"
#include "core/request.h"
#include "core/state.h"
#include "wire/hot.h"
#include "wire/topic.h"

struct verdict {
    enum bus_status status;
    const char *why; /* static, or router.refusal */
};

static struct verdict ok(void)
{
    return (struct verdict){BUS_STATUS_OK, ""};
}

static struct verdict refused(enum bus_status status, const char *why)
{
    return (struct verdict){status, why};
}

static struct sub *sub_by_number(const struct peer *p, uint32_t number)
{
    return number > 0 && number <= p->n_subs_max ? p->subs[number - 1] : NULL;
}

static void answer(struct peer *p, enum verb verb, uint32_t subscription, struct verdict v)
{
    struct wire_status status = {
        .code = v.status, .verb = verb, .subscription = subscription, .text = text_from(v.why)};

    peer_send_status(p, &status);
}

static bool has_wildcards(struct text filter)
{
    return memchr(filter.data, '+', filter.len) || memchr(filter.data, '#', filter.len);
}

/* A publish to a new topic has to look at them. */
static bool sub_has_wildcards(const struct sub *s)
{
    return s->flags & SUB_MEMBER ? member_has_wildcards(s) : s->place != FILTER_EXACT;
}

/* Shorter silences are not worth a timer. */
#define SILENCE_MS_MIN 10u

static struct verdict options_check(const struct peer *p, const struct wire_subscribe *m)
{
    const struct limits *l = &p->router->config.limits;
    enum bus_status status;
    const char *why;

    if ((m->flags & SUB_SERVE) && (m->group.len > 0 || m->retained || m->min_interval_ms ||
                                   m->silence_ms || (m->flags & SUB_NO_LOCAL))) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "not for a server");
    }
    if ((m->flags & SUBSCRIBE_NARROW) && m->group.len > 0) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "flags: NARROW is not for groups");
    }
    if (m->retained > BUS_RETAINED_ALL || (m->retained && m->group.len > 0)) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "retained");
    }
    if (m->min_interval_ms && (m->group.len > 0 || m->policy == BUS_POLICY_BLOCK)) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "min_interval_ms");
    }
    if (m->window_messages > l->window_messages_max || m->window_bytes > l->window_bytes_max) {
        return refused(BUS_STATUS_LIMIT, "window_messages_max or window_bytes_max");
    }
    if (m->queue_messages > l->queue_messages_max || m->queue_bytes > l->queue_bytes_max) {
        return refused(BUS_STATUS_LIMIT, "queue_messages_max or queue_bytes_max");
    }
    if (m->silence_ms > 0 && m->silence_ms < SILENCE_MS_MIN) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "silence_ms");
    }
    if (m->silence_ms > 0 && p->n_alarms >= l->alarms_max) {
        return refused(BUS_STATUS_LIMIT, "alarms_max");
    }
    why = group_check(m, &status);
    return refused(status, why);
}

static struct verdict subscribe_check(struct peer *p, const struct wire_subscribe *m)
{
    const struct limits *l = &p->router->config.limits;
    const char *why;

    if (p->tap) {
        return refused(BUS_STATUS_UNEXPECTED, "a monitor cannot subscribe");
    }
    if (m->subscription == 0) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "subscription");
    }
    if (m->subscription > l->subscriptions_max) {
        return refused(BUS_STATUS_LIMIT, "subscriptions_max");
    }
    if (sub_by_number(p, m->subscription)) {
        return refused(BUS_STATUS_IN_USE, "that subscription number is in use");
    }
    if (!filter_valid(m->filter.data, m->filter.len)) {
        return refused(BUS_STATUS_INVALID_FILTER, "not a valid topic filter");
    }
    if (m->policy > BUS_POLICY_DISCONNECT) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "policy");
    }
    if (m->flags & ~(uint32_t) (SUB_FLAGS | SUBSCRIBE_NARROW)) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    if ((m->flags & SUB_SERVE) && topic_is_reserved(m->filter.data, m->filter.len)) {
        return refused(BUS_STATUS_DENIED, "$bus belongs to the router");
    }
    why = slot_refusal(p, USER_SLOT_subscriptions, 1);
    if (!why && has_wildcards(m->filter)) {
        why = slot_refusal(p, USER_SLOT_wildcards, 1);
    }
    return why ? refused(BUS_STATUS_LIMIT, why) : options_check(p, m);
}

/* Nothing is lost behind a full queue that blocks, and the fewer bodies go round the likelier
 * they are in the caches. */
static uint64_t queue_bytes_default(const struct limits *l, uint32_t policy)
{
    return policy == BUS_POLICY_BLOCK ? l->block_queue_bytes_default : l->queue_bytes_default;
}

static struct sub_window window_of(const struct limits *l, const struct wire_subscribe *m)
{
    return (struct sub_window){
        .messages = m->window_messages ? m->window_messages : (uint32_t) l->window_messages_default,
        .bytes = m->window_bytes ? m->window_bytes : l->window_bytes_default,
        .queue = {m->queue_messages ? m->queue_messages : (uint32_t) l->queue_messages_default,
                  m->queue_bytes ? m->queue_bytes : queue_bytes_default(l, m->policy)}};
}

static struct sub *sub_new(struct peer *p, const struct wire_subscribe *m)
{
    const struct sub_window w = window_of(&p->router->config.limits, m);
    struct sub *s =
        calloc(1, m->group.len ? member_memory()
                               : sizeof(*s) + filters_tail(m->filter.data, m->filter.len));
    uint8_t field[HOT_SUBSCRIPTION_MAX];
    uint32_t window;

    if (!s) {
        return NULL;
    }
    window = windows_get(&p->windows, &w);
    if (window == WINDOW_NONE) {
        free(s);
        return NULL;
    }
    s->window = window & SUB_WINDOW_MAX;
    s->server = m->flags & SUB_SERVE ? server_new() : NULL;
    if ((m->flags & SUB_SERVE) && !s->server) {
        windows_put(&p->windows, s->window);
        free(s);
        return NULL;
    }
    s->peer = p;
    s->policy = (uint8_t) (m->policy & 7);
    s->flags = (uint8_t) ((m->flags & SUB_FLAGS) | (m->group.len ? SUB_MEMBER : 0));
    s->is_narrow = (m->flags & SUBSCRIBE_NARROW) != 0;
    s->credit_messages = w.messages;
    s->credit_bytes = (int64_t) w.bytes;
    s->field_bytes = (uint8_t) hot_put_field_1(field, m->subscription);
    assert(s->field_bytes <= SUB_FIELD_BYTES); /* subscriptions_max is below 2^21 */
    memcpy(s->field, field, SUB_FIELD_BYTES);
    return s;
}

static void sub_undo(struct sub *s)
{
    if (s->flags & SUB_SERVE) {
        free(s->server);
    }
    alarm_drop(s);
    windows_put(&s->peer->windows, s->window);
    free(s);
}

/* What few subscriptions have. False if limits or memory forbid; sub_drop_queue() takes it
 * back. */
static bool sub_equip(struct sub *s, const struct wire_subscribe *m)
{
    return (m->retained == 0 && m->min_interval_ms == 0) ||
           (sub_make_queue(s) && (m->retained == 0 || replay_new(s)) &&
            (m->min_interval_ms == 0 || pacer_new(s, m->min_interval_ms)));
}

/* Where messages find it. */
static struct verdict sub_place(struct sub *s, const struct wire_subscribe *m)
{
    enum bus_status status;
    const char *why;

    if (s->flags & SUB_MEMBER) {
        why = group_join(s, m, &status);
        return refused(status, why);
    }
    switch (topics_add_sub(&s->peer->router->topics, m->filter.data, m->filter.len, s)) {
    case 0:
        return ok();
    case TOPICS_OVER:
        return refused(BUS_STATUS_LIMIT, TOPICS_OVER_TEXT);
    default:
        return refused(BUS_STATUS_NO_MEMORY, "out of memory");
    }
}

static struct verdict sub_add(struct peer *p, const struct wire_subscribe *m)
{
    uint64_t memory = m->group.len
                          ? member_memory()
                          : sizeof(struct sub) + filters_memory(m->filter.data, m->filter.len);
    struct verdict v;
    struct sub *s;

    if (!peer_table_reach(p, (void ***) &p->subs, &p->n_subs_max, m->subscription)) {
        return refused(BUS_STATUS_NO_MEMORY, "out of memory");
    }
    s = sub_new(p, m);
    if (!s) {
        return refused(BUS_STATUS_NO_MEMORY, "out of memory");
    }
    if (m->silence_ms > 0 && !alarm_add(s, m->silence_ms)) {
        sub_undo(s);
        return refused(BUS_STATUS_NO_MEMORY, "out of memory");
    }
    if (!quota_add(&p->quota, memory)) {
        sub_undo(s);
        return refused(BUS_STATUS_LIMIT, bytes_refusal(p, memory));
    }
    v = sub_equip(s, m) ? sub_place(s, m) : refused(BUS_STATUS_NO_MEMORY, "out of memory");
    if (v.status != BUS_STATUS_OK) {
        sub_drop_queue(s);
        quota_release(&p->quota, memory);
        sub_undo(s);
        return v;
    }
    if (s->flags & SUB_SERVE) {
        quota_force(&p->quota, sizeof(*s->server)); /* a few bytes more than was asked for */
    }
    p->subs[m->subscription - 1] = s;
    p->n_subs++;
    quota_force(&p->user->subscriptions, 1);
    p->n_wildcards += sub_has_wildcards(s);
    quota_force(&p->user->wildcards, sub_has_wildcards(s));
    p->router->counters.subscriptions_now++;
    if (m->retained) {
        replay_fill(s, (enum bus_retained) m->retained);
    }
    return ok();
}

/* OK says why it is narrowed, if it is. */
static struct verdict rights_check(struct peer *p, const struct wire_subscribe *m)
{
    const char *narrowed = "", *why = subscribe_denied(p, m, &narrowed);

    return why ? refused(BUS_STATUS_DENIED, why) : refused(BUS_STATUS_OK, narrowed);
}

void subscribe_handle(struct peer *p, const struct wire_subscribe *m)
{
    struct verdict v = subscribe_check(p, m);
    uint64_t n_counted = p->router->topics.n_counted;
    const char *narrowed = "";

    if (v.status == BUS_STATUS_OK) {
        v = rights_check(p, m);
        narrowed = v.why;
    }
    if (v.status == BUS_STATUS_OK) {
        v = sub_add(p, m);
    }
    p->router->work += p->router->topics.n_counted - n_counted;
    if (v.status == BUS_STATUS_OK) {
        v.why = narrowed;
    }
    answer(p, VERB_SUBSCRIBE, m->subscription, v);
    if (v.status == BUS_STATUS_OK && (m->flags & SUB_SERVE) && p->router->call_queues) {
        server_welcome(p->subs[m->subscription - 1]);
    }
    if (v.status == BUS_STATUS_OK && (m->retained || m->group.len > 0)) { /* what waits */
        if (m->group.len > 0) {
            member_welcome(sub_by_number(p, m->subscription));
        }
        sub_pump(sub_by_number(p, m->subscription));
    }
}

void subscription_end(struct sub *s)
{
    struct peer *p = s->peer;

    p->subs[sub_id(s) - 1] = NULL;
    p->n_subs--;
    quota_release(&p->user->subscriptions, 1);
    p->n_wildcards -= sub_has_wildcards(s);
    quota_release(&p->user->wildcards, sub_has_wildcards(s));
    p->router->counters.subscriptions_now--;
    sub_free(s);
}

void unsubscribe_finish(struct sub *s)
{
    struct peer *p = s->peer;
    uint32_t number = sub_id(s);

    subscription_end(s);
    answer(p, VERB_UNSUBSCRIBE, number, ok());
}

static struct verdict unsubscribe_check(const struct sub *s, const struct wire_unsubscribe *m)
{
    if (m->flags & ~(uint32_t) UNSUBSCRIBE_DRAIN) {
        return refused(BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    if ((m->flags & UNSUBSCRIBE_DRAIN) && (s->flags & SUB_DRAINING)) {
        return refused(BUS_STATUS_UNEXPECTED, "it is draining already");
    }
    return ok();
}

static void drain(struct sub *s)
{
    struct peer *p = s->peer;

    if (!drain_begin(s)) {
        answer(p, VERB_UNSUBSCRIBE, sub_id(s), refused(BUS_STATUS_NO_MEMORY, "out of memory"));
    } else if (p->state == PEER_READY &&
               drain_is_over(s)) { /* the usual case: before what follows */
        p->router->counters.subscriptions_drained++;
        unsubscribe_finish(s);
    }
}

void unsubscribe_handle(struct peer *p, const struct wire_unsubscribe *m)
{
    struct sub *s = sub_by_number(p, m->subscription);
    struct verdict v;

    if (!s) {
        answer(p, VERB_UNSUBSCRIBE, m->subscription,
               refused(BUS_STATUS_UNKNOWN_SUBSCRIPTION, "no such subscription"));
        return;
    }
    v = unsubscribe_check(s, m);
    if (v.status == BUS_STATUS_OK && (m->flags & UNSUBSCRIBE_DRAIN)) {
        drain(s);
    } else if (v.status == BUS_STATUS_OK) {
        bool was_draining = s->flags & SUB_DRAINING;

        unsubscribe_finish(s);
        if (was_draining) { /* each UNSUBSCRIBE has its answer */
            answer(p, VERB_UNSUBSCRIBE, m->subscription, ok());
        }
    } else {
        answer(p, VERB_UNSUBSCRIBE, m->subscription, v);
    }
}

void credit_handle(struct peer *p, const struct wire_credit *m)
{
    struct sub *s = sub_by_number(p, m->subscription);

    if (m->call) {
        request_credit(p, m);
        return;
    }
    /* after UNSUBSCRIBE credit may still be on its way: not worth an answer */
    if (s && !(s->flags & (SUB_SERVE | SUB_ACK))) {
        sub_add_credit(s, m->messages, m->bytes);
    }
}

/* ---- built up again ---- */

struct sub *sub_restore(struct peer *p, const struct wire_subscribe *m)
{
    struct verdict v = subscribe_check(p, m);

    if (p->state != PEER_READY || v.status != BUS_STATUS_OK) {
        return NULL;
    }
    v = sub_add(p, m);
    return v.status == BUS_STATUS_OK ? p->subs[m->subscription - 1] : NULL;
}
