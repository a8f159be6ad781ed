/* SPDX-License-Identifier: MIT */
#include "core/fan_out.h"
#include "core/group.h"

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
    if ((s->flags & (SUB_SERVE | SUB_DRAINING)) || ((s->flags & SUB_NO_LOCAL) && s->peer == from)) {
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
           (LIKELY(!(s->flags & (SUB_NO_LOCAL | SUB_ALARM | SUB_SERVE | SUB_DRAINING))) ||
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

void fan_out(struct fan_out *f)
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

bool fan_out_end(struct fan_out *f)
{
    bool is_free = !f->message || --f->message->holds == 0;

    if (f->message) {
        message_release(f->message);
    }
    return is_free;
}
