/* SPDX-License-Identifier: MIT */
#include "core/sub.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "core/drain.h"
#include "core/envelope.h"
#include "core/group.h"
#include "core/pace.h"
#include "core/reclaim.h"
#include "core/reliance.h"
#include "core/replay.h"
#include "core/request.h"
#include "core/state.h"
#include "core/sub_queue.h"
#include "wire/hot.h"

/* ---- onto the link ---- */

static bool topic_introduce(struct sub *s, struct match *match)
{
    if (s->flags & SUB_MEMBER) { /* the match is the group's */
        return peer_introduce_topic(s->peer, match->topic);
    }
    if (!match->announced && !peer_announce_topic(s->peer, match->topic)) {
        return false;
    }
    match->announced = true;
    return true;
}

bool sub_introduce(struct sub *s, struct match *match, struct sender *sender)
{
    if (!topic_introduce(s, match)) {
        return false;
    }
    return idset_has(&s->peer->known, sender->id) || peer_introduce(s->peer, sender);
}

static inline struct envelope sub_envelope(const struct sub *s)
{
    return (struct envelope){s->peer,
                             VERB_MESSAGE,
                             s->field,
                             s->field_bytes,
                             SUB_FIELD_BYTES,
                             (s->flags & SUB_DESCRIPTORS) && !sub_is_replaying(s),
                             0};
}

/* What is not the usual frame: with cargo, or kept. */
static inline bool is_special(const struct sub *s, const struct message_parts *parts)
{
    return UNLIKELY(parts->whole != NULL) && (parts->whole->cargo || sub_is_replaying(s));
}

/* With further fields that the other subscribers do not get. They have the flags, if there are
 * any, so what comes before these in the header comes before the further fields, too. */
static bool put_with(struct sub *s, const struct message_parts *parts,
                     const struct message_extra *extra)
{
    uint8_t lead[SUB_FIELD_BYTES + HOT_MESSAGE_MAX + MESSAGE_EXTRA_MAX];
    struct message_parts rest = *parts;
    struct envelope e = sub_envelope(s);

    memcpy(lead, s->field, s->field_bytes);
    if ((parts->flags & MESSAGE_SHARED_FLAGS) && extra->n > 0) {
        size_t n = hot_message_end(parts->header, parts->header_bytes);

        memcpy(lead + e.lead_bytes, parts->header, n);
        e.lead_bytes += n;
        e.skip = n + HOT_FLAGS_BYTES;
        rest.header += e.skip;
        rest.header_bytes -= e.skip;
    }
    memcpy(lead + e.lead_bytes, extra->bytes, extra->n);
    e.lead_bytes += extra->n;
    e.lead = lead;
    e.lead_copied = e.lead_bytes;
    return has_cargo(parts) ? cargo_put(&e, parts->whole) : envelope_put(&s->peer->out, &e, &rest);
}

static bool special_put(struct sub *s, const struct message_parts *parts)
{
    struct message_extra extra;

    extra.n = (uint8_t) replay_put_field(s, extra.bytes);
    return put_with(s, parts, &extra);
}

static inline void message_count(struct sub *s, struct match *match,
                                 const struct message_parts *parts)
{
    struct peer *p = s->peer;

    sub_take_credit(s, (uint32_t) parts->size);
    p->delivered_messages++;
    p->delivered_bytes += parts->size;
    match->topic->delivered_messages++;
    if (!p->is_dirty) {
        peer_mark_dirty(p);
    }
}

/* One MESSAGE into the output. False if out of memory. */
static inline bool message_put(struct sub *s, struct match *match,
                               const struct message_parts *parts)
{
    const struct envelope e = sub_envelope(s);
    struct peer *p = s->peer;

    if (UNLIKELY(!match->announced || !idset_has(&p->known, parts->sender->id)) &&
        !sub_introduce(s, match, parts->sender)) {
        return false;
    }
    if (!(is_special(s, parts) ? special_put(s, parts) : envelope_put(&p->out, &e, parts))) {
        return false;
    }
    message_count(s, match, parts);
    return true;
}

bool sub_put(struct sub *s, struct match *match, const struct message_parts *parts,
             const struct message_extra *extra)
{
    if (!extra) {
        return message_put(s, match, parts);
    }
    if (!sub_introduce(s, match, parts->sender) || !put_with(s, parts, extra)) {
        return false;
    }
    message_count(s, match, parts);
    return true;
}

bool sub_takes_cargo(const struct sub *s, const struct message *m)
{
    const struct envelope e = sub_envelope(s);

    return cargo_may_go(&e, m);
}

static inline bool message_try(struct sub *s, struct match *match,
                               const struct message_parts *parts)
{
    return sub_has_credit(s) && s->peer->out.bytes < s->peer->output_max &&
           body_fits(s->peer, parts) && (!has_cargo(parts) || sub_takes_cargo(s, parts->whole)) &&
           message_put(s, match, parts);
}

bool sub_fits(const struct sub *s, const struct message_parts *parts)
{
    return body_fits(s->peer, parts);
}

bool sub_send(struct sub *s, struct match *match, const struct message_parts *parts)
{
    return sub_is_open(s) && message_try(s, match, parts);
}

bool sub_takes(const struct sub *s, const struct message *m)
{
    return m->body_bytes <= s->peer->inline_max && (!m->cargo || cargo_fits(s->peer, m->cargo));
}

/* ---- losses ---- */

void sub_note_gap(struct sub *s, enum bus_loss_reason reason, uint64_t count, uint64_t bytes)
{
    struct sub_queue *sq = queue_get(s);

    if (sq) {
        subq_note_loss(&sq->q, reason, count, bytes);
    } else {
        s->starved_bytes = bytes + (s->starved_count > 0 ? s->starved_bytes : 0);
        s->starved_count += count;
    }
}

void sub_lose(struct sub *s, enum bus_loss_reason reason, uint64_t count, uint64_t bytes)
{
    sub_count_lost(s, reason, count);
    sub_note_gap(s, reason, count, bytes);
    sub_pump(s);
}

static bool queue_evict(struct sub *s, enum bus_loss_reason reason)
{
    uint64_t bytes = 0;

    if (!subq_evict(&s->queue->q, reason, &bytes)) {
        return false;
    }
    sub_count_lost(s, reason, 1);
    sub_count_queued(s, -1, -(int64_t) bytes);
    return true;
}

/* ---- policies ---- */

static bool policy_evicts(const struct sub *s)
{
    return s->policy == BUS_POLICY_DROP_OLDEST || s->policy == BUS_POLICY_LATEST;
}

/* Makes room as the policy says. Returns what became of the new message if there is none to be
 * made, else NONE. */
static enum bus_verdict policy_apply(struct sub *s, struct match *match, uint64_t size,
                                     uint32_t *evicted)
{
    struct subq_bounds bounds = sub_bounds(s);
    struct subq *q = &s->queue->q;
    uint64_t bytes = 0;

    if (s->policy == BUS_POLICY_LATEST && subq_supersede(q, match, &bytes)) {
        sub_count_lost(s, BUS_LOSS_CONFLATED, 1);
        sub_count_queued(s, -1, -(int64_t) bytes);
        (*evicted)++;
    }
    if (s->policy == BUS_POLICY_BLOCK) {
        return BUS_VERDICT_NONE;
    }
    while (!subq_fits(q, &bounds, size)) {
        if (!policy_evicts(s) || !queue_evict(s, BUS_LOSS_QUEUE_FULL)) {
            return s->policy == BUS_POLICY_DISCONNECT ? BUS_VERDICT_DISCONNECTED
                                                      : BUS_VERDICT_DROPPED;
        }
        (*evicted)++;
    }
    return BUS_VERDICT_NONE;
}

static void queue_push(struct sub *s, struct match *match, struct message *m)
{
    struct subq_bounds bounds = sub_bounds(s);

    if (s->queue->q.n_messages == 0) {
        s->queue->began_ns = s->queue->moved_ns = s->peer->router->now.monotonic_ns;
    }
    if (s->policy != BUS_POLICY_BLOCK) {
        subq_push(&s->queue->q, m, match);
    } else if (subq_push_held(&s->queue->q, m, match, &bounds) && !s->queue->is_stalling) {
        stalling_append(s->queue);
    }
    sub_count_queued(s, 1, m->size);
}

static struct sub_outcome sub_drop(struct sub *s, enum bus_loss_reason reason, uint64_t size,
                                   uint32_t evicted)
{
    sub_lose(s, reason, 1, size);
    return (struct sub_outcome){BUS_VERDICT_DROPPED, reason, evicted};
}

static struct sub_outcome message_enqueue(struct sub *s, struct match *match,
                                          const struct message_parts *parts,
                                          struct message **message)
{
    struct sub_outcome outcome = {BUS_VERDICT_QUEUED, BUS_LOSS_NONE, 0};
    enum bus_verdict verdict;

    if (!body_fits(s->peer, parts)) {
        return sub_drop(s, BUS_LOSS_TOO_LARGE, parts->size, 0);
    }
    if (!*message) {
        *message = message_new(parts);
    }
    if (!*message || !(queue_get(s) || (room_make_in(s, *message) && queue_get(s)))) {
        return sub_drop(s, BUS_LOSS_NO_MEMORY, parts->size, 0);
    }
    verdict = policy_apply(s, match, parts->size, &outcome.evicted);
    if (verdict == BUS_VERDICT_DISCONNECTED) {
        peer_end(s->peer, BUS_GOODBYE_SLOW_CONSUMER, "a subscription with policy disconnect");
        s->peer->router->counters.messages_discarded++;
        return (struct sub_outcome){verdict, BUS_LOSS_QUEUE_FULL, 0};
    }
    if (verdict == BUS_VERDICT_DROPPED) {
        return sub_drop(s, BUS_LOSS_QUEUE_FULL, parts->size, outcome.evicted);
    }
    while (!subq_prepare(&s->queue->q, *message)) {
        if (room_make_in(s, *message)) {
            continue; /* before its own policy: whoever holds the most */
        }
        if (!policy_evicts(s) || !queue_evict(s, BUS_LOSS_NO_MEMORY)) {
            return sub_drop(s, BUS_LOSS_NO_MEMORY, parts->size, outcome.evicted);
        }
        outcome.evicted++;
    }
    queue_push(s, match, *message);
    /* it may be the output that was full, not the window: then nobody else will think of this queue
     */
    sub_pump(s);
    return outcome;
}

struct sub_outcome sub_pass(struct sub *s, struct match *match, const struct message_parts *parts,
                            struct message **message)
{
    struct sub_outcome outcome = {BUS_VERDICT_DELIVERED, BUS_LOSS_NONE, 0};

    return !sub_has_backlog(s) && message_try(s, match, parts)
               ? outcome
               : message_enqueue(s, match, parts, message);
}

struct sub_outcome sub_enqueue(struct sub *s, struct match *match,
                               const struct message_parts *parts, struct message **message)
{
    return UNLIKELY(sub_pacer(s) != NULL) && body_fits(s->peer, parts)
               ? pace_message(s, match, parts, message)
               : message_enqueue(s, match, parts, message);
}

/* ---- out of the queue ---- */

/* What goes next, of a subscription with a queue. */
static struct subq *subq_next(struct sub *s)
{
    return UNLIKELY(s->queue->replay != NULL) ? &s->queue->replay->q : &s->queue->q;
}

static void starved_or_pop(struct sub *s)
{
    struct subq_bounds bounds = sub_bounds(s);

    if (sub_queue(s)) {
        s->queue->moved_ns = s->peer->router->now.monotonic_ns;
        subq_pop(subq_next(s), &bounds, publish_release);
        if (s->queue->is_stalling && !subq_has_held(&s->queue->q)) {
            stalling_remove(s->queue);
        }
    } else {
        s->starved_count = 0;
        s->queue = NULL;
    }
}

static struct message *backlog_front(struct sub *s, struct match **match, struct gap *gap,
                                     enum bus_loss_reason *reason)
{
    if (sub_queue(s)) {
        subq_prefetch(subq_next(s));
        return subq_front(subq_next(s), match, gap, reason);
    }
    *gap = (struct gap){s->starved_count, s->starved_bytes};
    *reason = BUS_LOSS_NO_MEMORY;
    return NULL;
}

bool sub_tell_loss(struct sub *s, const struct gap *gap, enum bus_loss_reason reason)
{
    struct wire_loss loss = {sub_id(s), gap->count, gap->bytes, (uint32_t) reason};

    return peer_try_send(s->peer, VERB_LOSS, &loss);
}

static bool message_send(struct sub *s, struct match *match, struct message *m)
{
    const struct message_parts parts = message_parts_of(m);

    if (!(s->flags & SUB_ACK ? member_put(s, match, &parts) : message_put(s, match, &parts))) {
        return false;
    }
    s->peer->router->counters.messages_delivered++;
    s->peer->router->counters.bytes_delivered += m->size;
    s->peer->router->work++;
    sub_count_queued(s, -1, -(int64_t) m->size);
    if (UNLIKELY(s->queue->replay != NULL)) {
        s->queue->replay->n_sent++;
    }
    return true;
}

/* Those at the front that are too old: LOSS comes in their place. */
static void messages_expire(struct sub *s)
{
    struct subq_bounds bounds = sub_bounds(s);
    struct router *r = s->peer->router;
    uint64_t bytes = 0;
    uint32_t n = subq_expire(subq_next(s), r->now.monotonic_ns, &bounds, publish_release, &bytes);

    sub_count_lost(s, BUS_LOSS_EXPIRED, n);
    sub_count_queued(s, -(int64_t) n, -(int64_t) bytes);
    r->counters.messages_expired += n;
    r->work += n;
    if (s->queue->is_stalling && !subq_has_held(&s->queue->q)) {
        stalling_remove(s->queue);
    }
}

/* PUMP_WAITS: for room in the output, for a lease, or for a PONG. */
enum pump_step { PUMP_DONE, PUMP_NO_CREDIT, PUMP_WAITS, PUMP_NO_MEMORY };

static enum pump_step pump_one(struct sub *s)
{
    enum bus_loss_reason reason = BUS_LOSS_NONE;
    struct match *match = NULL;
    struct message *m;
    struct gap gap;
    bool sent;

    if (s->peer->out.bytes >= s->peer->output_max) {
        return PUMP_WAITS;
    }
    if (UNLIKELY(sub_is_replaying(s)) && subq_is_empty(subq_next(s))) {
        return replay_end(s) ? PUMP_DONE : PUMP_NO_MEMORY;
    }
    m = backlog_front(s, &match, &gap, &reason);
    if (m && message_is_over(m, s->peer->router)) {
        messages_expire(s);
        return PUMP_DONE;
    }
    /* a gap grows until what follows it can be sent: one notice, not one for each loss */
    if (!sub_has_credit(s) && (m || (sub_queue(s) && subq_next(s)->n_messages > 0))) {
        return PUMP_NO_CREDIT;
    }
    if (m && m->cargo && !sub_takes_cargo(s, m)) {
        return PUMP_WAITS;
    }
    sent = m ? message_send(s, match, m) : sub_tell_loss(s, &gap, reason);
    if (!sent) {
        return PUMP_NO_MEMORY;
    }
    starved_or_pop(s);
    return PUMP_DONE;
}

#define QUEUE_KEEP_ITEMS 4096u

void sub_pump_queue(struct sub *s)
{
    enum pump_step step = PUMP_DONE;

    while (step == PUMP_DONE && sub_has_backlog(s)) {
        step = pump_one(s);
    }
    if (step == PUMP_WAITS || step == PUMP_NO_MEMORY) {
        sub_unwait(s);
        sub_wait(s); /* at the end */
    } else {
        sub_unwait(s);
    }
    if (step == PUMP_NO_MEMORY) {
        peer_retry_later(s->peer);
    }
    if (step == PUMP_DONE && sub_queue(s) &&
        (s->queue->q.capacity > QUEUE_KEEP_ITEMS || s->queue->q.capacity == 0)) {
        queue_trim(s); /* it is empty, and large, or was there for a replay alone */
    }
}

void sub_pump(struct sub *s)
{
    if (s->peer->state == PEER_CLOSING || s->is_denied) {
        return;
    }
    if (s->flags & SUB_SERVE) {
        server_pump(s);
    } else if (s->flags & SUB_MEMBER) {
        member_pump(s);
    } else {
        sub_pump_queue(s);
        if (UNLIKELY(sub_reliance(s) != NULL)) {
            reliance_look(s->queue->reliance);
        }
    }
    if (UNLIKELY(s->flags & SUB_DRAINING)) {
        drain_note(s);
    }
}

struct message *sub_front(struct sub *s, struct match **match, struct gap *gap,
                          enum bus_loss_reason *reason)
{
    struct message *m = backlog_front(s, match, gap, reason);

    if (m && message_is_over(m, s->peer->router)) {
        messages_expire(s);
        m = backlog_front(s, match, gap, reason);
    }
    return m;
}

void sub_pop(struct sub *s)
{
    starved_or_pop(s);
    if (!sub_has_backlog(s) && s->queue && s->queue->q.capacity > QUEUE_KEEP_ITEMS) {
        queue_trim(s);
    }
}

void sub_add_credit(struct sub *s, uint32_t messages, uint64_t bytes)
{
    const struct sub_window *w = sub_window(s);
    uint32_t room = w->messages - s->credit_messages;
    uint64_t room_bytes = (uint64_t) ((int64_t) w->bytes - s->credit_bytes);

    messages = MIN(messages, room);
    bytes = MIN(bytes, room_bytes);
    s->credit_messages += messages;
    s->credit_bytes += (int64_t) bytes;
    if (messages > 0 || bytes > 0) {
        sub_note_progress(s);
        if (s->flags & SUB_MEMBER) {
            member_note_progress(s, messages);
        } else if (UNLIKELY(sub_reliance(s) != NULL)) {
            reliance_credit(s->queue->reliance, messages);
        }
    }
    sub_pump(s);
}

void sub_end_blocking(struct sub *s)
{
    struct wire_status status = {.code = BUS_STATUS_STALLED,
                                 .verb = VERB_SUBSCRIBE,
                                 .subscription = sub_id(s),
                                 .text = text_from("no progress; the policy is drop_oldest now")};
    struct subq_bounds bounds = sub_bounds(s);

    stalling_remove(s->queue);
    s->policy = BUS_POLICY_DROP_OLDEST;
    s->queue->q.bounds_fds = true;
    subq_release_all(&s->queue->q, publish_release);
    while (subq_exceeds(&s->queue->q, &bounds) && queue_evict(s, BUS_LOSS_QUEUE_FULL)) {
    }
    s->peer->router->counters.stalls++;
    if (s->peer->group) {
        group_tell_stalled(s->peer->group);
    } else {
        peer_send_status(s->peer, &status);
    }
}

bool sub_is_gone(const struct sub *s)
{
    return s->peer->state == PEER_CLOSING && !s->peer->group;
}

struct user *sub_user(const struct sub *s)
{
    return s->peer->user;
}

struct quota *sub_quota(const struct sub *s)
{
    return &s->peer->quota;
}

uint64_t sub_memory(const struct sub *s)
{
    char filter[256];

    if (s->flags & SUB_MEMBER) {
        return member_memory();
    }
    return sizeof(*s) + filters_memory(filter, filters_text(s, filter));
}

/* ---- the end ---- */

static void sub_detach(struct sub *s)
{
    uint64_t memory = sub_memory(s);

    s->is_ended = true;
    sub_unwait(s);
    alarm_drop(s);
    if (sub_queue(s)) {
        stalling_remove(s->queue);
    }
    if (s->flags & SUB_MEMBER) {
        member_leave(s);
    } else {
        topics_remove_sub(&s->peer->router->topics, s);
    }
    quota_release(&s->peer->quota, memory);
}

bool sub_end(struct sub *s, unsigned *budget)
{
    if (!s->is_ended) {
        sub_detach(s);
    }
    if (s->flags & SUB_SERVE && s->server && !server_end(s, budget)) {
        return false;
    }
    /* what waits names matches, so it goes first */
    if (!reliance_end(s, budget) || !queue_drop(s, budget) || !topics_forget_sub(s, budget) ||
        ((s->flags & SUB_MEMBER) && !member_end(s, budget))) {
        return false;
    }
    windows_put(&s->peer->windows, s->window);
    free(s);
    return true;
}

void sub_free(struct sub *s)
{
    struct router *r = s->peer->router;
    unsigned all = UINT_MAX;

    (void) sub_end(s, &all);
    r->work += UINT_MAX - all; /* whoever ends it pays for what goes with it */
}
