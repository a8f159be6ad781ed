/* SPDX-License-Identifier: MIT */
/* What members of groups have got and not acknowledged, how it comes back, and what becomes of it
 * when it has come back too often. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/cargo.h"
#include "core/group.h"
#include "core/member.h"
#include "core/reliance.h"
#include "wire/hot.h"

/* Dead letters that are published in a turn. */
#define DEAD_IN_A_TURN 32u
/* Headers that each of them gets. */
#define DEAD_HEADERS 3u

/* ---- one delivery ---- */

uint64_t delivery_memory(const struct delivery *d)
{
    return sizeof(*d) + TABLE_ENTRY_BYTES + message_memory(d->message);
}

void delivery_free(struct delivery *d)
{
    struct group *g = d->group;

    g->n_deliveries--;
    if (g->face && UNLIKELY(sub_reliance(g->face) != NULL)) {
        reliance_delivery_ended(g->face->queue->reliance, d);
    }
    quota_release(&g->peer.quota, delivery_memory(d));
    message_unref(d->message);
    free(d);
}

/* NULL if quota or memory forbid. What waited is in charge already: there it never is refused. */
static struct delivery *delivery_new(struct group *g, const struct offering *o)
{
    struct delivery *d;

    if (!*o->message) {
        *o->message = message_new(o->parts);
    }
    d = *o->message ? calloc(1, sizeof(*d)) : NULL;
    if (!d) {
        return NULL;
    }
    d->message = *o->message;
    d->group = g;
    d->round = g->round;
    if (!o->is_paid && !quota_allows(&g->peer.quota, delivery_memory(d))) {
        free(d);
        return NULL;
    }
    quota_force(&g->peer.quota, delivery_memory(d));
    (void) message_ref(d->message);
    g->n_deliveries++;
    return d;
}

static bool number_equals(const void *object, const void *key)
{
    return ((const struct delivery *) object)->number == *(const uint32_t *) key;
}

/* Numbers follow each other: they are hashes that do not collide. */
static struct delivery *delivery_find(const struct member *m, uint32_t number)
{
    return table_find(&m->deliveries, number, number_equals, &number);
}

static uint32_t number_next(const struct member *m)
{
    uint32_t number = m->last_delivery + 1;

    while (number == 0 || delivery_find(m, number)) {
        number++;
    }
    return number;
}

static struct message_extra extra_of(const struct delivery *d, uint32_t number)
{
    uint32_t flags = d->message->flags & MESSAGE_SHARED_FLAGS;
    struct message_extra extra;

    flags |= d->deliveries > 0 ? MESSAGE_REDELIVERED : 0;
    extra.n = (uint8_t) hot_put_delivery(extra.bytes, flags, number, d->deliveries);
    return extra;
}

bool delivery_put(struct member *m, const struct offering *o)
{
    struct group *g = m->group;
    struct delivery *d = o->back ? o->back : delivery_new(g, o);
    struct message_extra extra;
    uint32_t number;

    if (!d) {
        return false;
    }
    number = number_next(m);
    extra = extra_of(d, number);
    if (table_prepare(&m->deliveries) < 0 || !sub_put(&m->sub, o->match, o->parts, &extra)) {
        if (!o->back) {
            delivery_free(d);
        }
        return false;
    }
    if (o->back) {
        DL_DELETE(*o->list, d);
        g->n_returned--;
        g->peer.router->counters.messages_redelivered++;
    }
    d->number = number;
    d->deliveries++;
    m->last_delivery = number;
    table_insert(&m->deliveries, number, d);
    DL_APPEND(m->unacked, d);
    m->n_unacked++;
    m->unacked_bytes += d->message->size;
    g->peer.router->counters.messages_unacknowledged_now++;
    return true;
}

/* ---- back to the group ---- */

static void count_returned(struct group *g, uint32_t n, uint64_t bytes)
{
    struct counters *c = &g->peer.router->counters;

    g->n_returned += n;
    sub_count_queued(g->face, n, (int64_t) bytes);
    c->messages_returned += n;
    c->messages_unacknowledged_now -= n;
}

/* The member that has its key; NULL: it is for any. */
static struct member *owner_of(struct group *g, const struct delivery *d)
{
    return g->slots && d->message->key ? group_slot(g, d->message->key) : NULL;
}

static struct delivery **returned_of(struct group *g, const struct delivery *d)
{
    struct member *owner = owner_of(g, d);

    return owner ? &owner->returned : &g->returned;
}

/* Before what is there, and in its order. */
static void list_distribute(struct group *g, struct delivery *list)
{
    while (list) {
        struct delivery *d = list->prev; /* the last one */
        struct delivery **to;

        DL_DELETE(list, d);
        to = returned_of(g, d);
        DL_PREPEND(*to, d);
        g->peer.router->work++;
    }
}

void returned_hand_over(struct member *m)
{
    struct delivery *returned = m->returned;

    m->returned = NULL;
    list_distribute(m->group, returned);
}

void deliveries_take_back(struct member *m)
{
    struct delivery *returned = m->returned, *unacked = m->unacked;
    struct group *g = m->group;

    if (m->n_unacked > 0) {
        count_returned(g, m->n_unacked, m->unacked_bytes);
    }
    table_fini(&m->deliveries); /* it may be empty and there, if something could not be put */
    table_init(&m->deliveries, 0);
    m->returned = NULL;
    m->unacked = NULL;
    m->n_unacked = 0;
    m->unacked_bytes = 0;
    if (g->slots && g->members) {
        list_distribute(g, returned);
        list_distribute(g, unacked);
        return; /* member_leave() goes on with these */
    }
    DL_CONCAT(returned, g->returned);
    DL_CONCAT(unacked, returned);
    g->returned = unacked;
}

static void delivery_take_back(struct member *m, struct delivery *d)
{
    struct member *owner = owner_of(m->group, d);
    struct delivery **to = owner ? &owner->returned : &m->group->returned;

    count_returned(m->group, 1, d->message->size);
    d->refused_by = m->number;
    DL_PREPEND(*to, d);
    if (owner && owner != m) { /* this one drains, and has its keys no more */
        sub_pump(&owner->sub);
    }
}

/* ---- ACK ---- */

static void delivery_remove(struct member *m, struct delivery *d)
{
    table_remove(&m->deliveries, d->number, d);
    DL_DELETE(m->unacked, d);
    m->n_unacked--;
    m->unacked_bytes -= d->message->size;
}

static void ack_refuse(struct peer *p, const struct wire_ack *m, enum bus_status code,
                       const char *why)
{
    struct wire_status status = {
        .code = code, .verb = VERB_ACK, .subscription = m->subscription, .text = text_from(why)};

    peer_send_status(p, &status);
}

void ack_handle(struct peer *p, const struct wire_ack *ack)
{
    struct sub *s = ack->subscription > 0 && ack->subscription <= p->n_subs_max
                        ? p->subs[ack->subscription - 1]
                        : NULL;
    struct delivery *d =
        s && (s->flags & SUB_ACK) ? delivery_find(member_of(s), ack->delivery) : NULL;
    uint32_t size;

    if (ack->flags & ~(uint32_t) ACK_REFUSE) {
        ack_refuse(p, ack, BUS_STATUS_INVALID_ARGUMENT, "flags");
        return;
    }
    if (!d) {
        ack_refuse(p, ack, BUS_STATUS_UNKNOWN_DELIVERY, "not to be acknowledged, or not any more");
        return;
    }
    size = d->message->size;
    delivery_remove(member_of(s), d);
    if (ack->flags & ACK_REFUSE) {
        delivery_take_back(member_of(s), d);
    } else {
        p->router->counters.messages_unacknowledged_now--;
        delivery_free(d);
    }
    sub_add_credit(s, 1, size);
}

/* ---- what is given up ---- */

bool delivery_give_up(struct delivery *d, struct delivery **list)
{
    struct group *g = d->group;
    struct router *r = g->peer.router;
    struct gap gap = {1, d->message->size};

    if (r->is_shutting_down) {
        return false; /* nobody could read it */
    }
    DL_DELETE(*list, d);
    g->n_returned--;
    sub_count_queued(g->face, -1, -(int64_t) gap.bytes);
    if (g->dead_letter_len == 0) {
        r->counters.messages_lost++;
        group_note_gap(g, BUS_LOSS_EXPIRED, &gap);
        delivery_free(d);
    } else {
        r->counters.messages_dead_lettered++;
        g->refs++;
        DL_APPEND(r->groups.dead, d);
    }
    return true;
}

static struct text number_text(uint32_t n, char buf[10])
{
    size_t at = 10;

    do {
        buf[--at] = (char) ('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return (struct text){buf + at, 10 - at};
}

/* Its own headers, at most n_own, and what it died of. */
static bool dead_publish_with(struct router *r, const struct delivery *d,
                              const struct wire_message *m, size_t n_own)
{
    const struct group *g = d->group;
    const struct message *from = d->message;
    struct wire_header headers[BUS_HEADERS_MAX];
    size_t n = MIN(n_own, MIN(m->n_headers, BUS_HEADERS_MAX - DEAD_HEADERS));
    bool has_buffer = from->cargo && from->cargo->buffer;
    char number[10];
    struct publication pub = {
        .sender = from->sender,
        .sequence = m->sequence,
        .topic = {group_dead_letter(g), g->dead_letter_len},
        .headers = headers,
        .n_headers = n + DEAD_HEADERS,
        .body = from->data + from->header_bytes,
        .body_bytes = from->body_bytes,
    };

    if (has_buffer) {
        pub.cargo = cargo_share(d->message);
        if (!pub.cargo) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        headers[i] = m->headers[i];
    }
    headers[n] =
        (struct wire_header){text_from("bus-topic"), {from->topic->name, from->topic->len}};
    headers[n + 1] = (struct wire_header){text_from("bus-group"), {group_name(g), g->name_len}};
    headers[n + 2] =
        (struct wire_header){text_from("bus-deliveries"), number_text(d->deliveries, number)};
    return publish_as(r, &pub);
}

static bool dead_publish(struct router *r, const struct delivery *d)
{
    union wire_any any;

    arena_reset(&r->arena);
    if (codec_decode(&r->arena, VERB_MESSAGE, d->message->data, d->message->header_bytes, &any) !=
        CODEC_OK) {
        any.message = (struct wire_message){0}; /* what the router wrote itself can be read */
    }
    /* if they do not fit together, without its own */
    return dead_publish_with(r, d, &any.message, BUS_HEADERS_MAX) ||
           dead_publish_with(r, d, &any.message, 0);
}

void groups_work(struct router *r)
{
    for (unsigned n = 0; groups_have_work(&r->groups) && n < DEAD_IN_A_TURN; n++) {
        struct delivery *d = r->groups.dead;

        if (!dead_publish(r, d)) {
            r->groups.is_starved = true;
            peer_retry_later(&d->group->peer);
            return;
        }
        DL_DELETE(r->groups.dead, d);
        group_bury(d);
    }
}

/* ---- built up again ---- */

static bool unacked_restore(struct member *m, struct delivery *d)
{
    if (d->number == 0 || delivery_find(m, d->number) || table_prepare(&m->deliveries) < 0) {
        return false;
    }
    table_insert(&m->deliveries, d->number, d);
    DL_APPEND(m->unacked, d);
    m->n_unacked++;
    m->unacked_bytes += d->message->size;
    d->group->peer.router->counters.messages_unacknowledged_now++;
    return true;
}

bool delivery_restore(const struct delivery *as, struct member *m, bool is_out)
{
    struct group *g = as->group;
    struct delivery *d;

    if (!(g->flags & SUB_ACK) || (is_out && !m)) {
        return false;
    }
    d = calloc(1, sizeof(*d));
    if (!d) {
        return false;
    }
    d->message = message_ref(as->message);
    d->group = g;
    d->number = as->number;
    d->deliveries = as->deliveries;
    d->refused_by = as->refused_by;
    d->round = g->round;
    g->n_deliveries++;
    quota_force(&g->peer.quota, delivery_memory(d));
    if (is_out && !unacked_restore(m, d)) {
        delivery_free(d);
        return false;
    }
    if (!is_out) {
        struct delivery **list = m ? &m->returned : &g->returned;

        DL_APPEND(*list, d);
        g->n_returned++;
        sub_count_queued(g->face, 1, d->message->size);
    }
    return true;
}
