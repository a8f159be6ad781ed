/* SPDX-License-Identifier: MIT */
/* The lists of what the router has, a page at a time. A page says where the next one begins:
 * numbers that stay what they are while clients come and go, so nothing that is there all the time
 * is left out; of users and groups, which have no numbers, their places. */
#include <utlist.h>
#include "base/units.h"
#include "core/inside.h"
#include "core/member.h"
#include "core/replay.h"
#include "core/state.h"

/* Subscriptions have the number of their client's sender, and behind it their own. */
#define SUB_BITS 20u

/* ---- the page ---- */

/* One thing more is looked at. False if it is for the next page, which begins behind after. */
static bool list_step(struct inside_list *l, uint64_t after)
{
    if (l->room == 0 || l->steps == 0) {
        l->next = after;
        return false;
    }
    l->steps--;
    return true;
}

static bool list_add(struct inside_list *l, const void *entry, uint64_t after)
{
    if (!inside_page_add(&l->page, l->layout, entry)) {
        l->next = after;
        return false;
    }
    l->room--;
    return true;
}

static uint64_t ms_since(const struct router *r, uint64_t ns)
{
    return ns && r->now.monotonic_ns > ns ? (r->now.monotonic_ns - ns) / NS_PER_MS : 0;
}

/* ---- clients ---- */

static uint64_t link_of(bool packets)
{
    return packets ? BUS_LINK_SEQPACKET : BUS_LINK_STREAM;
}

static void client_counts(const struct peer *p, struct inside_client *c)
{
    c->published_messages = p->published_messages;
    c->published_bytes = p->published_bytes;
    c->refused_messages = p->refused_messages;
    c->delivered_messages = p->delivered_messages;
    c->delivered_bytes = p->delivered_bytes;
    c->lost_messages = p->lost_messages;
    c->lost_queue_full = p->lost_by[BUS_LOSS_QUEUE_FULL];
    c->lost_conflated = p->lost_by[BUS_LOSS_CONFLATED];
    c->lost_no_memory = p->lost_by[BUS_LOSS_NO_MEMORY];
    c->lost_too_large = p->lost_by[BUS_LOSS_TOO_LARGE];
    c->lost_expired = p->lost_by[BUS_LOSS_EXPIRED];
    c->lost_denied = p->lost_by[BUS_LOSS_DENIED];
}

static void client_holds(const struct peer *p, struct inside_client *c)
{
    c->queued_messages = p->queued_messages;
    c->queued_bytes = p->queued_bytes;
    c->output_bytes = p->out.bytes;
    c->output_stalled_ms = p->out.bytes ? ms_since(p->router, p->blocked_ns) : 0;
    c->subscriptions = p->n_subs;
    c->topics = p->n_aliases;
    c->requests = p->n_requests;
    c->wills = p->n_wills;
    c->leases = p->leases.n_used;
    c->lease_bytes = p->lease_bytes;
    c->buffer_bytes = p->buffer_bytes;
    c->descriptors = p->sender->descriptors.used;
    c->charged_bytes = p->quota.used;
    c->is_monitor = p->tap != NULL;
}

static struct inside_client client_entry(const struct peer *p, uint32_t *steps)
{
    const struct slowness slow = peer_slowness(p, steps);
    const struct sender *s = p->sender;
    struct inside_client c = {
        .connection_id = s->connection_id,
        .uid = s->uid,
        .gid = s->gid,
        .pid = s->pid,
        .name = {s->name, s->name_len},
        .session = s->session,
        .link = link_of(p->info.packets),
        .state = (uint64_t) p->state + BUS_CLIENT_STATE_GREETING,
        .since_ns = p->since_ns,
        .idle_ms = ms_since(p->router, p->heard_ns),
        .slow = slow.why,
        .slow_ms = slow.why ? ms_since(p->router, slow.since_ns) : 0,
        .slow_subscription = slow.subscription,
        .slow_messages = slow.messages,
    };

    client_counts(p, &c);
    client_holds(p, &c);
    return c;
}

/* Whether the query is about it. */
static bool is_asked_for(const struct inside_list *l, const struct sender *s)
{
    return s && s->peer &&
           (l->query->connection_id == 0 || l->query->connection_id == s->connection_id);
}

static void list_clients(struct inside_list *l)
{
    const struct idpool *ids = &l->router->sender_ids;

    for (uint64_t id = MIN(l->query->after, ids->n_slots) + 1; id <= ids->n_slots; id++) {
        const struct sender *s = idpool_get(ids, (uint32_t) id);
        struct inside_client c;

        if (!list_step(l, id - 1)) {
            return;
        }
        if (is_asked_for(l, s)) {
            c = client_entry(s->peer, &l->steps);
            if (!list_add(l, &c, id - 1)) {
                return;
            }
        }
    }
}

/* ---- subscriptions ---- */

static struct inside_subscription sub_entry(const struct sub *s, char filter[256])
{
    const struct group *g = sub_group(s);
    const struct sub_window *w = sub_window(s);
    const struct sub_queue *sq = sub_queue(s);
    const struct slowness slow = sub_slowness(s);
    struct inside_subscription e = {
        .connection_id = s->peer->sender->connection_id,
        .subscription = sub_id(s),
        .filter = sub_filter(s, filter),
        .group = g ? (struct text){group_name(g), g->name_len} : (struct text){"", 0},
        .policy = s->policy,
        .flags = s->flags & SUB_FLAGS,
        .is_draining = (s->flags & SUB_DRAINING) != 0,
        .window_messages = w->messages,
        .window_bytes = w->bytes,
        .used_messages = w->messages - s->credit_messages,
        .used_bytes = (uint64_t) ((int64_t) w->bytes - s->credit_bytes),
        .queue_messages = w->queue.messages,
        .queue_bytes = w->queue.bytes,
        .slow = slow.why,
    };

    if (sq && sub_has_backlog(s)) {
        e.queued_messages = sq->q.n_messages + (sq->replay ? sq->replay->q.n_messages : 0);
        e.queued_bytes = sq->q.bytes + (sq->replay ? sq->replay->q.bytes : 0);
        e.waiting_ms = ms_since(s->peer->router, sq->began_ns);
        e.stalled_ms = ms_since(s->peer->router, sq->moved_ns);
    }
    return e;
}

/* Those of one client behind that number. False if the page ends. */
static bool list_subs_of(struct inside_list *l, const struct peer *p, uint64_t number)
{
    uint64_t base = (uint64_t) p->sender->id << SUB_BITS;
    char filter[256];

    for (; number < p->n_subs_max; number++) {
        struct inside_subscription e;

        if (!list_step(l, base + number)) {
            return false;
        }
        if (p->subs[number] && !p->subs[number]->is_ended) {
            e = sub_entry(p->subs[number], filter);
            if (!list_add(l, &e, base + number)) {
                return false;
            }
        }
    }
    return true;
}

static void list_subscriptions(struct inside_list *l)
{
    const struct idpool *ids = &l->router->sender_ids;
    uint64_t id = MAX(l->query->after >> SUB_BITS, 1);
    uint64_t number = l->query->after & ((1u << SUB_BITS) - 1);

    for (; id <= ids->n_slots; id++, number = 0) {
        const struct sender *s = idpool_get(ids, (uint32_t) id);

        if (!list_step(l, id << SUB_BITS | number)) {
            return;
        }
        if (is_asked_for(l, s) && s->peer->state != PEER_CLOSING &&
            !list_subs_of(l, s->peer, number)) {
            return;
        }
    }
}

/* ---- topics ---- */

static struct inside_topic topic_entry(const struct topic *t)
{
    return (struct inside_topic){
        .id = t->id,
        .name = {t->name, t->len},
        .published_messages = t->published_messages,
        .published_bytes = t->published_bytes,
        .delivered_messages = t->delivered_messages,
        .lost_messages = t->lost_messages,
        .publishers = t->n_publishers,
        .subscriptions = t->n_matches,
        .retained_messages = t->keep ? t->keep->n : 0,
        .retained_bytes = t->keep ? t->keep->bytes : 0,
    };
}

static void list_topics(struct inside_list *l)
{
    const struct idpool *ids = &l->router->topics.ids;

    for (uint64_t id = MIN(l->query->after, ids->n_slots) + 1; id <= ids->n_slots; id++) {
        const struct topic *t = idpool_get(ids, (uint32_t) id);
        struct inside_topic e;

        if (!list_step(l, id - 1)) {
            return;
        }
        /* not the one that this very request has made */
        if (t && !(t == l->asked && t->refs == 1)) {
            e = topic_entry(t);
            if (!list_add(l, &e, id - 1)) {
                return;
            }
        }
    }
}

/* ---- groups ---- */

static struct inside_group group_entry(const struct group *g)
{
    const struct sub_queue *sq = g->face ? sub_queue(g->face) : NULL;
    struct inside_group e = {
        .filter = {g->text, g->filter_len},
        .name = {group_name(g), g->name_len},
        .policy = g->face ? g->face->policy : g->policy,
        .flags = g->flags & SUB_FLAGS,
        .members = g->n_members,
        .ready_members = g->n_ready,
        .draining_members = g->n_draining,
        .lost_messages = g->peer.lost_messages,
        .queued_messages = g->peer.queued_messages,
        .queued_bytes = g->peer.queued_bytes,
        .returned_messages = g->n_returned,
        .unacknowledged_messages = g->n_deliveries - g->n_returned,
        .charged_bytes = g->peer.quota.used,
    };

    if (sq && sub_has_backlog(g->face)) {
        e.waiting_ms = ms_since(g->peer.router, sq->began_ns);
    }
    return e;
}

static void list_groups(struct inside_list *l)
{
    const struct group *g;
    uint64_t place = 0;

    DL_FOREACH (l->router->groups.list, g) {
        struct inside_group e;

        if (place++ < l->query->after) {
            continue;
        }
        if (!list_step(l, place - 1)) {
            return;
        }
        e = group_entry(g);
        if (!list_add(l, &e, place - 1)) {
            return;
        }
    }
}

/* ---- quotas ---- */

struct slot {
    const char *name;
    uint64_t used, limit;
};

static bool list_slot(struct inside_list *l, const struct user *u, const struct slot *slot,
                      uint64_t after)
{
    const struct inside_quota e = {.is_total = u == NULL,
                                   .uid = u ? u->uid : 0,
                                   .slot = text_from(slot->name),
                                   .used = slot->used,
                                   .limit = slot->limit};

    return list_step(l, after) && list_add(l, &e, after);
}

/* All slots of a user, or of all together: they are not many. False if the page ends. */
static bool list_slots(struct inside_list *l, const struct user *u, const struct slot *slots,
                       unsigned n, uint64_t place)
{
    uint64_t i = l->query->after > place ? l->query->after - place : 0;

    for (; i < n; i++) {
        if (!list_slot(l, u, &slots[i], place + i)) {
            return false;
        }
    }
    return true;
}

/* Places of a user's slots, and of the totals', begin at multiples of this. */
#define SLOTS_MAX 32u

static bool list_totals(struct inside_list *l)
{
    const struct router *r = l->router;
    const struct slot slots[] = {
        {"bytes", r->quota.used, r->quota.limit},
        {"connections", r->counters.clients_now, r->config.limits.clients_max},
        {"monitors", r->counters.monitors_now, r->config.limits.monitors_max},
    };

    return list_slots(l, NULL, slots, ARRAY_LEN(slots), 0);
}

static bool list_user(struct inside_list *l, const struct user *u, uint64_t place)
{
    struct slot slots[USER_SLOTS_COUNT + 1];
    unsigned n = 0;

    for (; n < USER_SLOTS_COUNT; n++) {
        slots[n] =
            (struct slot){user_slot_name((enum user_slot) n), u->slots[n].used, u->slots[n].limit};
    }
    slots[n++] = (struct slot){"groups_bytes", u->groups.used, u->groups.limit};
    return list_slots(l, u, slots, n, place);
}

static void list_quotas(struct inside_list *l)
{
    const struct user *u;
    uint64_t place = 0;

    if (!list_totals(l)) {
        return;
    }
    DL_FOREACH (l->router->users.list, u) {
        place += SLOTS_MAX;
        if (place + SLOTS_MAX > l->query->after && !list_user(l, u, place)) {
            return;
        }
    }
}

/* ---- ends, counters ---- */

static void list_closed(struct inside_list *l)
{
    const struct closed *c = closed_after(&l->router->closed, l->query->after);

    for (; c; c = closed_after(&l->router->closed, c->number)) {
        const struct inside_closed e = {
            .number = c->number,
            .connection_id = c->connection_id,
            .uid = c->uid,
            .gid = c->gid,
            .pid = c->pid,
            .name = {c->name, c->name_len},
            .session = c->session,
            .link = link_of(c->packets),
            .reason = c->reason,
            .text = {c->text, c->text_len},
            .since_ns = c->since_ns,
            .until_ns = c->until_ns,
            .times = c->times,
            .published_messages = c->published_messages,
            .published_bytes = c->published_bytes,
            .refused_messages = c->refused_messages,
            .delivered_messages = c->delivered_messages,
            .delivered_bytes = c->delivered_bytes,
            .lost_messages = c->lost_messages,
            .queued_messages = c->queued_messages,
            .charged_bytes = c->charged_bytes,
            .subscriptions = c->subscriptions,
        };
        bool is_wanted =
            l->query->connection_id == 0 || l->query->connection_id == c->connection_id;

        if (!list_step(l, c->number - 1) || (is_wanted && !list_add(l, &e, c->number - 1))) {
            return;
        }
    }
}

/* Their numbers are their places in the table, from 1. */
static void list_counters(struct inside_list *l)
{
    for (uint64_t i = l->query->after; i < COUNTERS_COUNT; i++) {
        const struct inside_counter e = {
            text_from(counter_name((unsigned) i)),
            counter_get(&l->router->counters, (unsigned) i),
        };

        if (!list_step(l, i) || !list_add(l, &e, i)) {
            return;
        }
    }
}

void inside_list_fill(struct inside_list *l, enum bus_inside_list list)
{
    static void (*const lists[BUS_INSIDE_LISTS_END])(struct inside_list *) = {
        [BUS_INSIDE_CLIENTS] = list_clients,
        [BUS_INSIDE_TOPICS] = list_topics,
        [BUS_INSIDE_SUBSCRIPTIONS] = list_subscriptions,
        [BUS_INSIDE_GROUPS] = list_groups,
        [BUS_INSIDE_QUOTAS] = list_quotas,
        [BUS_INSIDE_CLOSED] = list_closed,
        [BUS_INSIDE_COUNTERS] = list_counters,
    };

    lists[list](l);
}
