/* SPDX-License-Identifier: MIT */
/* Peers: what is put on their links, and how they end. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "base/units.h"
#include "core/reclaim.h"
#include "core/request.h"
#include "core/state.h"

void peer_mark_dirty(struct peer *p)
{
    struct router *r = p->router;

    if (p->is_dirty) {
        return;
    }
    p->is_dirty = true;
    DL_APPEND2(r->dirty, p, dirty_prev, dirty_next);
}

void peer_unmark_dirty(struct peer *p)
{
    if (p->is_dirty) {
        DL_DELETE2(p->router->dirty, p, dirty_prev, dirty_next);
        p->is_dirty = false;
    }
}

bool peer_try_send(struct peer *p, enum verb verb, const void *message)
{
    struct router *r = p->router;
    long header_bytes = codec_encode(&r->arena, verb, message, r->scratch, FRAME_HEADER_MAX);
    uint8_t *dst;

    if (p->state == PEER_CLOSING) {
        return true;
    }
    dst =
        header_bytes < 0 ? NULL : outq_reserve(&p->out, FRAME_PREFIX_BYTES + (size_t) header_bytes);
    if (!dst) {
        return false;
    }
    frame_write_prefix(dst, verb, (size_t) header_bytes, 0);
    memcpy(dst + FRAME_PREFIX_BYTES, r->scratch, (size_t) header_bytes);
    outq_commit(&p->out, FRAME_PREFIX_BYTES + (size_t) header_bytes);
    peer_mark_dirty(p);
    return true;
}

#define MEMORY_RETRY_NS UINT64_C(50000000)

void router_retry_later(struct router *r)
{
    if (r->retry_ns == 0) {
        r->retry_ns = r->now.monotonic_ns + MEMORY_RETRY_NS;
    }
}

void peer_retry_later(struct peer *p)
{
    router_retry_later(p->router);
}

void peer_send(struct peer *p, enum verb verb, const void *message)
{
    if (!peer_try_send(p, verb, message)) {
        peer_end(p, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
}

void peer_send_status(struct peer *p, const struct wire_status *status)
{
    if (status->code != BUS_STATUS_OK) {
        p->router->counters.frames_refused++;
    }
    peer_send(p, VERB_STATUS, status);
}

void peer_join_user(struct peer *p, struct user *u)
{
    p->user = u;
    u->n_payers++;
    DL_APPEND2(u->payers, p, user_prev, user_next);
}

void peer_leave_user(struct peer *p)
{
    p->user->n_payers--;
    DL_DELETE2(p->user->payers, p, user_prev, user_next);
}

void peer_doom(struct peer *p)
{
    struct router *r = p->router;

    if (!p->is_doomed) {
        p->is_doomed = true;
        r->counters.subscriptions_now -= p->n_subs; /* they get nothing any more */
        quota_release(&p->user->subscriptions, p->n_subs);
        quota_release(&p->user->wildcards, p->n_wildcards);
        p->n_wildcards = 0;
        p->n_subs = 0;
        r->reaped_work = r->doomed ? r->reaped_work : r->work;
        DL_PREPEND2(r->doomed, p, doomed_prev, doomed_next);
    }
}

void peer_begin_closing(struct peer *p, enum bus_goodbye reason, const char *text)
{
    struct router *r = p->router;

    if (p->state == PEER_GREETING) {
        DL_DELETE2(r->greeting, p, timed_prev, timed_next);
    }
    parcels_unwatch(p);
    p->state = PEER_CLOSING;
    p->goodbye = reason;
    p->goodbye_text = text;
    returns_ended(p);
    presence_left(p, reason, text);
    closed_note(p, reason, text);
    p->deadline_ns = r->now.monotonic_ns + r->config.limits.linger_ms * UINT64_C(1000000);
    DL_APPEND2(r->lingering, p, timed_prev, timed_next);
    peer_doom(p);
    peer_mark_dirty(p);
    if (reason == BUS_GOODBYE_PROTOCOL_ERROR) {
        r->counters.protocol_errors++;
    }
}

void peer_end(struct peer *p, enum bus_goodbye reason, const char *text)
{
    struct wire_goodbye goodbye = {(uint32_t) reason, text_from(text)};

    if (p->state == PEER_CLOSING) {
        return;
    }
    (void) peer_try_send(p, VERB_GOODBYE, &goodbye); /* without memory it ends without a word */
    peer_begin_closing(p, reason, text);
}

void router_starve_peer(struct router *r, struct peer *p, const struct now *now)
{
    r->now = *now;
    peer_end(p, BUS_GOODBYE_NO_MEMORY, "no memory for a frame of this size");
}

bool peer_set_add(struct peer *p, struct idset *set, uint32_t id)
{
    uint64_t more = idset_memory_with(set, id) - idset_memory(set);

    if (!quota_allows(&p->quota, more) || !idset_add(set, id)) {
        return false;
    }
    charge_force(&p->charge, more); /* allowed, as was seen above */
    return true;
}

bool peer_introduce(struct peer *p, struct sender *s)
{
    struct wire_peer m = {
        .id = s->id,
        .connection_id = s->connection_id,
        .uid = s->uid,
        .gid = s->gid,
        .pid = s->pid,
        .name = {s->name, s->name_len},
        .session = s->session,
    };

    if (!peer_try_send(p, VERB_PEER, &m)) {
        return false;
    }
    /* without memory it is introduced again next time */
    if (idset_add(&p->router->introduced, s->id)) {
        (void) peer_set_add(p, &p->known, s->id);
    }
    return true;
}

bool peer_announce_topic(struct peer *p, const struct topic *t)
{
    struct wire_topic m = {t->id, {t->name, t->len}};

    return peer_try_send(p, VERB_TOPIC, &m);
}

bool peer_introduce_topic(struct peer *p, const struct topic *t)
{
    if (idset_has(&p->known_topics, t->id)) {
        return true;
    }
    if (!peer_announce_topic(p, t)) {
        return false;
    }
    /* without memory it is announced again next time */
    if (idset_add(&p->router->groups.topics, t->id)) {
        (void) peer_set_add(p, &p->known_topics, t->id);
    }
    return true;
}

bool peer_table_reach(struct peer *p, void ***table, uint32_t *n, uint32_t number)
{
    uint32_t n_new = *n ? *n : 4;
    uint64_t more;
    void **grown;

    if (number <= *n) {
        return true;
    }
    while (n_new < number) {
        n_new *= 2;
    }
    more = (n_new - *n) * sizeof(void *);
    if (!charge_add(&p->charge, more) && !(room_make(p, more) && charge_add(&p->charge, more))) {
        return false;
    }
    grown = reallocarray(*table, n_new, sizeof(void *));
    if (!grown) {
        charge_release(&p->charge, more);
        return false;
    }
    memset(grown + *n, 0, more);
    *table = grown;
    *n = n_new;
    return true;
}

static void pump_subs(struct peer *p)
{
    uint32_t last = p->waiting_last;

    /* each one once: those that must wait again go to the end */
    while (p->waiting && p->out.bytes < p->output_max && p->state == PEER_READY) {
        uint32_t number = p->waiting;

        p->router->work++; /* who releases pays for all that look whether they may go on */
        sub_pump(p->subs[number - 1]);
        if (number == last) {
            break;
        }
    }
}

void peer_pump_waiting(struct peer *p)
{
    descriptors_ping(p);
    /* either may fill the output, so the other one is first the next time */
    p->is_answers_turn = !p->is_answers_turn;
    if (p->is_answers_turn) {
        answers_pump(p);
    }
    pump_subs(p);
    answers_pump(p);
}

struct outq *peer_output(struct peer *p)
{
    return &p->out;
}

bool peer_charge_input(struct peer *p, size_t bytes)
{
    return charge_add(&p->charge, bytes) || (room_make(p, bytes) && charge_add(&p->charge, bytes));
}

void peer_release_input(struct peer *p, size_t bytes)
{
    charge_release(&p->charge, bytes);
}

uint64_t peer_take_work(struct peer *p)
{
    uint64_t work = p->user->work;

    p->user->work = 0;
    return work;
}

bool peer_wants_input(const struct peer *p)
{
    if (p->state == PEER_CLOSING) {
        return p->out.bytes == 0 && p->leases.n_used > 0; /* for its end of file: peer_is_over() */
    }
    return !p->is_held && !p->user->is_in_debt && p->out.bytes <= 2 * p->output_max;
}

bool peer_is_stalled(const struct peer *p, uint64_t now_ns)
{
    return p->out.bytes > 0 && p->blocked_ns > 0 &&
           now_ns >= p->blocked_ns + p->router->config.limits.stall_timeout_ms * NS_PER_MS;
}

bool peer_is_closing(const struct peer *p)
{
    return p->state == PEER_CLOSING;
}

bool peer_is_expired(const struct peer *p)
{
    return p->is_expired;
}

/* As long as the client has not closed its side, it may look at what it holds. */
bool peer_is_over(const struct peer *p)
{
    return p->state == PEER_CLOSING &&
           ((p->out.bytes == 0 && p->leases.n_used == 0) || p->is_expired);
}

enum bus_goodbye peer_goodbye(const struct peer *p)
{
    return p->goodbye;
}

const char *peer_goodbye_text(const struct peer *p)
{
    return p->goodbye_text ? p->goodbye_text : "";
}

void *peer_userdata(const struct peer *p)
{
    return p->info.userdata;
}

uint64_t peer_connection_id(const struct peer *p)
{
    return p->sender->connection_id;
}

const char *peer_name(const struct peer *p)
{
    return p->sender->name;
}

const struct peer_info *peer_info(const struct peer *p)
{
    return &p->info;
}
