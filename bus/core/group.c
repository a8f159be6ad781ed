/* SPDX-License-Identifier: MIT */
/* Who is in a group, and how groups begin and end. */
#include "core/group.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/drain.h"
#include "core/member.h"
#include "core/reliance.h"
#include "wire/topic.h"

#define READY_MIN 4u

/* ---- all groups ---- */

void groups_init(struct groups *gs, uint64_t seed)
{
    *gs = (struct groups){0};
    table_init(&gs->by_name, seed);
}

static void group_unref(struct group *g)
{
    struct router *r = g->peer.router;

    if (--g->refs > 0) {
        return;
    }
    windows_fini(&g->peer.windows);
    charge_fini(&g->charge);
    assert(g->peer.quota.used == 0);
    peer_leave_user(&g->peer);
    user_unref(g->peer.user);
    DL_DELETE(r->groups.list, g);
    free(g->ready);
    free(g->slots);
    free(g);
}

void group_bury(struct delivery *d)
{
    struct group *g = d->group;

    delivery_free(d);
    group_unref(g);
}

void groups_fini(struct router *r)
{
    while (r->groups.dead) {
        struct delivery *d = r->groups.dead;

        DL_DELETE(r->groups.dead, d);
        group_bury(d);
    }
    assert(!r->groups.list);
    table_fini(&r->groups.by_name);
    idset_fini(&r->groups.topics);
}

/* ---- looking ---- */

struct group_key {
    struct text filter, name;
};

static bool group_equals(const void *object, const void *key)
{
    const struct group *g = object;
    const struct group_key *k = key;

    return g->filter_len == k->filter.len && g->name_len == k->name.len &&
           memcmp(g->text, k->filter.data, g->filter_len) == 0 &&
           memcmp(group_name(g), k->name.data, g->name_len) == 0;
}

static uint32_t group_hash(const struct groups *gs, const struct group_key *k)
{
    uint32_t filter = table_hash(&gs->by_name, 0, k->filter.data, k->filter.len);

    return table_hash(&gs->by_name, filter, k->name.data, k->name.len);
}

static struct group_key key_of(const struct group *g)
{
    return (struct group_key){{g->text, g->filter_len}, {group_name(g), g->name_len}};
}

/* ---- SUBSCRIBE ---- */

static const char *alone_check(const struct wire_subscribe *m)
{
    if (m->flags & (SUB_ACK | SUB_STICKY)) {
        return "flags: only in a group";
    }
    return m->deliveries_max || m->dead_letter.len ? "deliveries_max or dead_letter: only with ACK"
                                                   : "";
}

static const char *dead_letter_check(const struct wire_subscribe *m, enum bus_status *ret)
{
    const struct text *t = &m->dead_letter;

    if (t->len == 0) {
        return "";
    }
    if (!topic_valid(t->data, t->len) ||
        filter_matches(m->filter.data, m->filter.len, t->data, t->len)) {
        return "dead_letter: no topic, or one that the group itself gets";
    }
    if (topic_is_reserved(t->data, t->len)) {
        *ret = BUS_STATUS_DENIED;
        return "$bus belongs to the router";
    }
    return "";
}

static const char *member_check(const struct wire_subscribe *m, enum bus_status *ret)
{
    if (m->group.len > GROUP_NAME_MAX || !utf8_valid_printable(m->group.data, m->group.len)) {
        return "group";
    }
    if (m->policy == BUS_POLICY_DISCONNECT ||
        (m->policy == BUS_POLICY_LATEST && (m->flags & SUB_STICKY))) {
        return "policy: not in such a group";
    }
    if (m->flags & SUB_NO_LOCAL) {
        return "flags: NO_LOCAL is not for groups";
    }
    if (m->retained || m->min_interval_ms || m->silence_ms) {
        return "retained, min_interval_ms or silence_ms: not in a group";
    }
    if (!(m->flags & SUB_ACK) && (m->deliveries_max || m->dead_letter.len)) {
        return "deliveries_max or dead_letter: only with ACK";
    }
    return dead_letter_check(m, ret);
}

const char *group_check(const struct wire_subscribe *m, enum bus_status *ret)
{
    const char *why;

    *ret = BUS_STATUS_INVALID_ARGUMENT;
    why = m->group.len > 0 ? member_check(m, ret) : alone_check(m);
    if (!*why) {
        *ret = BUS_STATUS_OK;
    }
    return why;
}

static uint32_t deliveries_max_of(const struct wire_subscribe *m)
{
    return m->deliveries_max ? m->deliveries_max : GROUP_DELIVERIES_DEFAULT;
}

/* One policy for all: which it is must not depend on who came first. */
static const char *agreement_check(const struct group *g, const struct sub *s,
                                   const struct wire_subscribe *m)
{
    struct subq_bounds bounds = sub_bounds(s);

    if (g->policy != s->policy || (g->flags | SUB_MEMBER) != s->flags) {
        return "other members of the group have another policy or other flags";
    }
    if (g->bounds.messages != bounds.messages || g->bounds.bytes != bounds.bytes) {
        return "other members of the group have another queue_messages or queue_bytes";
    }
    if (g->deliveries_max != deliveries_max_of(m) || g->dead_letter_len != m->dead_letter.len ||
        memcmp(group_dead_letter(g), m->dead_letter.data, g->dead_letter_len) != 0) {
        return "other members of the group have another deliveries_max or dead_letter";
    }
    return "";
}

/* ---- a new group ---- */

static void group_init(struct group *g, const struct sub *s, const struct wire_subscribe *m)
{
    struct router *r = s->peer->router;
    char *text = g->text;

    g->refs = 1;
    g->flags = s->flags & (uint8_t) ~SUB_MEMBER;
    g->policy = s->policy;
    g->bounds = sub_bounds(s);
    g->deliveries_max = deliveries_max_of(m);
    g->filter_len = (uint8_t) m->filter.len;
    g->name_len = (uint8_t) m->group.len;
    g->dead_letter_len = (uint8_t) m->dead_letter.len;
    memcpy(text, m->filter.data, m->filter.len);
    text += m->filter.len + 1;
    memcpy(text, m->group.data, m->group.len);
    memcpy(text + m->group.len, m->dead_letter.data, m->dead_letter.len);
    g->peer.router = r;
    g->peer.group = g;
    g->peer.state = PEER_CLOSING;
    g->peer.features = FEATURE_BUFFERS | FEATURE_DESCRIPTORS;
    g->peer.inline_max = UINT32_MAX;
    peer_join_user(&g->peer, user_ref(s->peer->user));
    quota_init(&g->peer.quota, r->config.limits.client_bytes_max, &s->peer->user->groups);
    windows_init(&g->peer.windows, &g->peer.quota);
    charge_init(&g->charge, &g->peer.quota);
}

/* Its subscription, with nothing but a queue. NULL if quota or memory forbid. */
static struct sub *face_new(struct group *g)
{
    const struct sub_window w = {.queue = g->bounds};
    uint64_t memory = sizeof(struct sub) + filters_memory(g->text, g->filter_len);
    uint32_t window;
    struct sub *s;

    if (!quota_add(&g->peer.quota, memory)) {
        return NULL;
    }
    s = calloc(1, sizeof(*s) + filters_tail(g->text, g->filter_len));
    window = s ? windows_get(&g->peer.windows, &w) : WINDOW_NONE;
    if (window == WINDOW_NONE) {
        quota_release(&g->peer.quota, memory);
        free(s);
        return NULL;
    }
    s->window = window & SUB_WINDOW_MAX;
    s->peer = &g->peer;
    s->policy = g->policy & 7;
    s->flags = g->flags & SUB_DESCRIPTORS;
    return s;
}

static bool group_prepare(struct group *g)
{
    uint64_t slots = g->flags & SUB_STICKY ? GROUP_SLOTS * sizeof(struct member *) : 0;
    uint64_t text = (uint64_t) g->filter_len + g->name_len + g->dead_letter_len + 1;

    if (!charge_add(&g->charge, sizeof(*g) + text + slots + TABLE_ENTRY_BYTES)) {
        return false;
    }
    g->slots = slots ? calloc(GROUP_SLOTS, sizeof(struct member *)) : NULL;
    if ((slots && !g->slots) || table_prepare(&g->peer.router->groups.by_name) < 0) {
        return false;
    }
    g->face = face_new(g);
    return g->face;
}

static void face_discard(struct group *g)
{
    if (g->face) {
        windows_put(&g->peer.windows, g->face->window);
        quota_release(&g->peer.quota, sizeof(struct sub) + filters_memory(g->text, g->filter_len));
        free(g->face);
        g->face = NULL;
    }
}

/* NULL if quota or memory forbid, or *ret_over: its topic matches too many of its user. */
static struct group *group_new(const struct sub *s, const struct wire_subscribe *m, bool *ret_over)
{
    struct groups *gs = &s->peer->router->groups;
    struct group_key key = {m->filter, m->group};
    struct group *g = calloc(1, sizeof(*g) + m->filter.len + 1 + m->group.len + m->dead_letter.len);
    int r;

    if (!g) {
        return NULL;
    }
    group_init(g, s, m);
    DL_APPEND(gs->list, g);
    r = group_prepare(g)
            ? topics_add_sub(&s->peer->router->topics, m->filter.data, m->filter.len, g->face)
            : -ENOMEM;
    if (r != 0) {
        *ret_over = r == TOPICS_OVER;
        face_discard(g);
        group_unref(g);
        return NULL;
    }
    table_insert(&gs->by_name, group_hash(gs, &key), g);
    s->peer->router->counters.groups_now++;
    return g;
}

/* Nobody can join it or finds it any more; what is left of it goes with member_end(). */
static void group_close(struct group *g)
{
    struct groups *gs = &g->peer.router->groups;
    struct group_key key = key_of(g);
    unsigned nothing = 0;

    table_remove(&gs->by_name, group_hash(gs, &key), g);
    g->peer.router->counters.groups_now--;
    g->n_untold = 0; /* there is nobody to be told */
    if (sub_end(g->face, &nothing)) {
        g->face = NULL;
    }
}

/* One that nobody has joined. */
static void group_undo(struct group *g)
{
    unsigned all = UINT_MAX;

    group_close(g);
    if (g->face) {
        (void) sub_end(g->face, &all);
    }
    group_unref(g);
}

/* A place for one more member in what holds all of them. */
static bool ready_reach(struct group *g, uint32_t n)
{
    uint32_t n_new = g->n_ready_max ? g->n_ready_max * 2 : READY_MIN;
    uint64_t more = (uint64_t) (n_new - g->n_ready_max) * sizeof(struct member *);
    struct member **ready;

    if (n <= g->n_ready_max) {
        return true;
    }
    if (!charge_add(&g->charge, more)) {
        return false;
    }
    ready = reallocarray(g->ready, n_new, sizeof(*ready));
    if (!ready) {
        charge_release(&g->charge, more);
        return false;
    }
    g->ready = ready;
    g->n_ready_max = n_new;
    return true;
}

const char *group_join(struct sub *s, const struct wire_subscribe *m, enum bus_status *ret)
{
    struct groups *gs = &s->peer->router->groups;
    struct group_key key = {m->filter, m->group};
    struct group *g = table_find(&gs->by_name, group_hash(gs, &key), group_equals, &key);
    struct member *new = member_of(s);
    const char *why = g ? agreement_check(g, s, m) : "";
    bool is_over = false;

    if (*why) {
        *ret = BUS_STATUS_INVALID_ARGUMENT;
        return why;
    }
    g = g ? g : group_new(s, m, &is_over);
    if (is_over) {
        *ret = BUS_STATUS_LIMIT;
        return TOPICS_OVER_TEXT;
    }
    if (!g || !ready_reach(g, g->n_members + 1)) {
        if (g && !g->members) {
            group_undo(g);
        }
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory, or groups_bytes_max is reached";
    }

    /* nothing fails from here on */
    new->group = g;
    new->has_wildcards = memchr(g->text, '+', g->filter_len) || memchr(g->text, '#', g->filter_len);
    new->number = ++g->last_number;
    new->turn = ++g->turn;
    table_init(&new->deliveries, 0);
    DL_APPEND(g->members, new);
    g->n_members++;
    *ret = BUS_STATUS_OK;
    return "";
}

bool member_has_wildcards(const struct sub *s)
{
    return member_of((struct sub *) (uintptr_t) s)->has_wildcards;
}

uint64_t member_memory(void)
{
    return sizeof(struct member);
}

/* ---- the end ---- */

/* A message whose key is another member's now. Who published it may have the credit back: then that
 * is not to be given back again. */
static void message_hand_over(struct sub *s, struct sub *to, struct match *match, struct message *m)
{
    struct message_parts parts = message_parts_of(m);

    (void) message_ref(m);
    if (m->cargo) {
        m->cargo->n_wanted++; /* its descriptors, until they wait there */
    }
    if (m->holds == 0) {
        m->flags |= MESSAGE_UNCREDITED;
    }
    m->holds++;
    sub_count_queued(s, -1, -(int64_t) m->size);
    sub_pop(s);
    (void) sub_enqueue(to, match, &parts, &m);
    if (--m->holds == 0) {
        publish_release(m);
    }
    message_release(m);
}

/* Its queue. A gap goes where the message behind it does. */
static void member_hand_over(struct sub *s, struct group *g)
{
    struct gap gaps[SUBQ_REASONS] = {0};

    while (sub_has_backlog(s)) {
        enum bus_loss_reason reason = BUS_LOSS_NONE;
        struct match *match = NULL;
        struct gap gap = {0};
        struct message *m = sub_front(s, &match, &gap, &reason);
        struct sub *to = m ? &group_slot(g, m->key)->sub : NULL;

        s->peer->router->work++;
        for (unsigned i = 0; to && i < SUBQ_REASONS; i++) {
            if (gaps[i].count > 0) {
                sub_note_gap(to, (enum bus_loss_reason) i, gaps[i].count, gaps[i].bytes);
                gaps[i] = (struct gap){0};
            }
        }
        if (to) {
            message_hand_over(s, to, match, m);
        } else {
            sub_pop(s);
            gaps[reason].count += gap.count;
            gaps[reason].bytes += gap.bytes;
        }
    }
    for (unsigned i = 0; i < SUBQ_REASONS; i++) {
        group_note_gap(g, (enum bus_loss_reason) i, &gaps[i]);
    }
}

static void slots_give_up(struct member *m)
{
    struct group *g = m->group;

    for (uint32_t i = 0; g->slots && m->n_slots > 0 && i < GROUP_SLOTS; i++) {
        if (g->slots[i] == m) {
            g->slots[i] = NULL;
            m->n_slots--;
        }
    }
}

/* A member that stays on, but not for its keys. */
static void keys_give_up(struct member *m)
{
    slots_give_up(m);
    returned_hand_over(m);
    member_hand_over(&m->sub, m->group);
}

/* Something has been handed on. */
/* While what waits goes from hand to hand nothing of it counts as consumed. */
static void places_freeze(struct group *g)
{
    if (sub_reliance(g->face)) {
        reliance_freeze(g->face->queue->reliance);
    }
}

static void places_thaw(struct group *g)
{
    if (sub_reliance(g->face)) {
        reliance_thaw(g->face->queue->reliance);
    }
}

static void members_pump(struct group *g)
{
    struct member *m;

    DL_FOREACH (g->members, m) {
        if (m->returned) {
            sub_pump(&m->sub);
        }
    }
    group_pump(g);
}

/* If only those are left that drain, they get what waits after all. */
static void group_note_draining(struct group *g)
{
    struct member *m;

    if (!group_drains(g)) {
        return;
    }
    interest_note_sub(g->face);
    DL_FOREACH (g->members, m) {
        member_refresh(m);
    }
}

void member_leave(struct sub *s)
{
    struct member *m = member_of(s);
    struct group *g = m->group;

    places_freeze(g);
    DL_DELETE(g->members, m);
    g->n_members--;
    g->n_draining -= (s->flags & SUB_DRAINING) != 0;
    member_refresh(m);
    slots_give_up(m);
    deliveries_take_back(m);
    if (!g->members) {
        group_close(g);
        return;
    }
    member_hand_over(s, g);
    m->group = NULL; /* the last one ends it */
    if (!(s->flags & SUB_DRAINING)) {
        group_note_draining(g);
    }
    members_pump(g);
    places_thaw(g);
}

void member_drain(struct sub *s)
{
    struct member *m = member_of(s);
    struct group *g = m->group;

    places_freeze(g);
    g->n_draining++;
    member_refresh(m);
    if (group_drains(g)) {
        group_note_draining(g);
    } else {
        keys_give_up(m);
    }
    members_pump(g);
    places_thaw(g);
}

void member_restore_draining(struct sub *s)
{
    member_of(s)->group->n_draining++;
}

void member_welcome(struct sub *s)
{
    struct group *g = member_of(s)->group;
    struct member *m;

    if (g->n_draining == 0 || g->n_draining + 1 < g->n_members) {
        return;
    }
    places_freeze(g);
    interest_note_sub(g->face);
    DL_FOREACH (g->members, m) {
        if (m->sub.flags & SUB_DRAINING) {
            member_refresh(m);
            keys_give_up(m);
            drain_note(&m->sub); /* what it may have waited for is another's now */
        }
    }
    members_pump(g);
    places_thaw(g);
}

bool group_is_draining(const struct group *g)
{
    return group_drains(g);
}

bool member_end(struct sub *s, unsigned *budget)
{
    struct group *g = member_of(s)->group;

    if (!g || g->members) {
        return true;
    }
    for (; g->returned; (*budget)--) {
        struct delivery *d = g->returned;

        if (*budget == 0) {
            return false;
        }
        DL_DELETE(g->returned, d);
        g->n_returned--;
        g->peer.router->counters.messages_discarded++;
        g->peer.queued_messages--;
        g->peer.queued_bytes -= d->message->size;
        g->peer.router->counters.messages_queued_now--;
        delivery_free(d);
    }
    if (g->face && !sub_end(g->face, budget)) {
        return false;
    }
    g->face = NULL;
    group_unref(g);
    return true;
}
