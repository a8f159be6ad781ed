/* SPDX-License-Identifier: MIT */
/* Events of clients, and what is due in general. */
#include "core/presence.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/state.h"
#include "core/words.h"
#include "wire/events.h"

#define SELF_NAME "bus-router"

void presence_init(struct router *r)
{
    table_init(&r->presence.identities, r->config.hash_seed);
}

static void due_remove(struct router *r, struct sender *s)
{
    DL_DELETE2(r->presence.due, s, due_prev, due_next);
    r->presence.n_due--;
    s->due = 0;
    sender_unref(s);
}

void presence_fini(struct router *r)
{
    while (r->presence.due) {
        due_remove(r, r->presence.due);
    }
    excesses_drop(r);
    wills_fini(r);
    denied_fini(r);
    if (r->presence.self) {
        sender_unref(r->presence.self);
    }
    table_fini(&r->presence.identities);
}

void presence_note(struct router *r, struct sender *s, unsigned due)
{
    if (s->due == 0) {
        (void) sender_ref(s);
        DL_APPEND2(r->presence.due, s, due_prev, due_next);
        r->presence.n_due++;
    }
    s->due |= (uint8_t) due;
}

void presence_retry(struct router *r)
{
    r->presence.is_starved = false;
    r->presence.is_interest_starved = false;
}

/* ---- events ---- */

struct sender *router_self(struct router *r)
{
    struct sender *s = r->presence.self ? r->presence.self : calloc(1, sizeof(*s));

    if (!s || r->presence.self) {
        return s;
    }
    /* who pays if an event becomes a dead letter that is kept */
    s->user = users_get(&r->users, r->config.owner_uid);
    s->id = s->user ? idpool_add(&r->sender_ids, s) : 0;
    if (s->id == 0) {
        user_unref(s->user);
        free(s);
        return NULL;
    }
    s->refs = 1;
    s->ids = &r->sender_ids;
    s->uid = r->config.owner_uid;
    s->name_len = sizeof(SELF_NAME) - 1;
    memcpy(s->name, SELF_NAME, sizeof(SELF_NAME));
    sender_forget(r, s->id);
    r->presence.self = s;
    return s;
}

#define EVENT_TOPIC_MAX 48u

static struct text event_topic(char dst[EVENT_TOPIC_MAX], const struct sender *s,
                               enum client_event_kind kind)
{
    struct words w = {dst, dst + EVENT_TOPIC_MAX};

    words_put(&w, "$bus/client/");
    words_number(&w, s->connection_id);
    words_put(&w, kind == CLIENT_JOINED ? "/joined" : "/left");
    return (struct text){dst, (size_t) (w.at - dst)};
}

/* The peer of a group always is closing. */
static void note_match(struct sub *s, void *ctx)
{
    *(bool *) ctx |= s->peer->group || s->peer->state != PEER_CLOSING;
}

/* Without a topic object: nearly always nobody does. */
static bool is_asked_for(struct router *r, struct text topic)
{
    bool wanted = tap_asked_for(r, topic);

    if (!wanted) {
        r->work += filters_match(&r->topics.filters, topic.data, topic.len, note_match, &wanted);
    }
    return wanted;
}

bool presence_wants_event(struct router *r, struct text topic)
{
    return tap_sees_all(r) || is_asked_for(r, topic);
}

bool presence_publish_event(struct router *r, struct text topic, const uint8_t *body, size_t bytes)
{
    struct publication pub = {.topic = topic, .body = body, .body_bytes = bytes};

    if (!presence_wants_event(r, topic)) {
        return true;
    }
    pub.sender = router_self(r);
    if (!pub.sender || !publish_as(r, &pub)) {
        return false;
    }
    r->counters.events_published++;
    return true;
}

static bool event_is_wanted(struct router *r, const struct sender *s, enum client_event_kind kind)
{
    char name[EVENT_TOPIC_MAX];

    return is_asked_for(r, event_topic(name, s, kind));
}

/* False if out of memory. */
static bool event_publish(struct router *r, const struct sender *s, enum client_event_kind kind)
{
    bool left = kind == CLIENT_LEFT;
    struct client_event event = {.kind = kind,
                                 .connection_id = s->connection_id,
                                 .uid = s->uid,
                                 .gid = s->gid,
                                 .pid = s->pid,
                                 .name = {s->name, s->name_len},
                                 .reason = left ? s->goodbye : 0,
                                 .text = text_from(left ? s->goodbye_text : "")};
    uint8_t body[CLIENT_EVENT_MAX];
    char name[EVENT_TOPIC_MAX];

    r->work++;
    if (!event_is_wanted(r, s, kind)) {
        return true;
    }
    return presence_publish_event(r, event_topic(name, s, kind), body,
                                  client_event_encode(&event, body));
}

/* In this order; false if out of memory, and then again from there. */
static bool due_publish(struct router *r, struct sender *s)
{
    if ((s->due & DUE_JOINED) && !event_publish(r, s, CLIENT_JOINED)) {
        return false;
    }
    s->due &= (uint8_t) ~DUE_JOINED;
    if ((s->due & DUE_LEFT) && !event_publish(r, s, CLIENT_LEFT)) {
        return false;
    }
    s->due &= (uint8_t) ~DUE_LEFT;
    return !(s->due & DUE_WILLS) || wills_publish(r, s);
}

static void starve(struct router *r)
{
    r->presence.is_starved = true;
    router_retry_later(r);
}

static void due_turn(struct router *r, uint64_t end)
{
    while (r->presence.due && r->work < end && !r->presence.is_starved) {
        if (due_publish(r, r->presence.due)) {
            due_remove(r, r->presence.due);
        } else {
            starve(r);
        }
    }
}

/* ---- coming and going ---- */

bool presence_greet(struct peer *p, const struct wire_hello *m)
{
    if (m->resume_token.len > BUS_RESUME_TOKEN_MAX) {
        peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR, "HELLO: resume_token");
        return false;
    }
    if (!wills_greet(p, m)) {
        peer_end(p, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return false;
    }
    return true;
}

/* Said at once, before anything that the client may have sent right behind its HELLO, but after
 * what is due of others: publishing is as safe here as in a PUBLISH. */
void presence_joined(struct peer *p)
{
    struct router *r = p->router;

    p->sender->is_present = true;
    wills_return(p);
    presence_note(r, p->sender, DUE_JOINED);
    due_turn(r, r->work + PRESENCE_IN_A_TURN);
}

void presence_left(struct peer *p, enum bus_goodbye reason, const char *text)
{
    struct router *r = p->router;
    struct sender *s = p->sender;
    bool was_present = s->is_present, silent = r->is_shutting_down;

    s->is_present = false;
    s->goodbye = (uint8_t) reason;
    s->goodbye_text = text;
    if (was_present && !silent && event_is_wanted(r, s, CLIENT_LEFT)) {
        presence_note(r, s, DUE_LEFT);
    }
    wills_leave(p, was_present, !silent && reason != BUS_GOODBYE_NORMAL);
}

/* ---- turns ---- */

void presence_turn(struct router *r)
{
    uint64_t end = r->work + PRESENCE_IN_A_TURN;

    arena_reset(&r->arena);
    due_turn(r, end);
    if (!r->presence.is_starved && (!denied_turn(r, end) || !excesses_turn(r))) {
        starve(r);
    }
    interest_turn(r, end);
}

bool presence_is_due(const struct router *r)
{
    bool is_due = r->presence.due || r->denials.notes || r->n_excesses > 0;

    return (is_due && !r->presence.is_starved) || interest_is_due(r);
}

uint64_t presence_check(const struct router *r)
{
    const struct sender *s;
    uint32_t n = 0;

    DL_FOREACH2(r->presence.due, s, due_next)
    {
        assert(s->refs > 0 && s->due != 0);
        n++;
    }
    assert(n == r->presence.n_due);
    assert(r->retry_ns != 0 || !(r->presence.is_starved || r->presence.is_interest_starved));
    interest_check(r);
    denied_check(r);
    return wills_check(r);
}
