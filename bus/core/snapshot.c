/* SPDX-License-Identifier: MIT */
/* SNAPSHOT: lists of clients, topics and counters, in parts. docs/protocol.md, section 9. */
#include "core/judge.h"

#define SNAPSHOT_LIMIT_MAX 1000u

static void send_client(struct peer *to, const struct peer *p)
{
    struct wire_client_stats m = {
        .connection_id = p->sender->connection_id,
        .uid = p->info.uid,
        .gid = p->info.gid,
        .pid = p->info.pid,
        .name = {p->sender->name, p->sender->name_len},
        .published_messages = p->published_messages,
        .published_bytes = p->published_bytes,
        .delivered_messages = p->delivered_messages,
        .delivered_bytes = p->delivered_bytes,
        .lost_messages = p->lost_messages,
        .refused_messages = p->refused_messages,
        .queued_messages = p->queued_messages,
        .queued_bytes = p->queued_bytes,
        .subscriptions = p->n_subs,
        .aliases = p->n_aliases,
        .charged_bytes = p->quota.used,
    };

    peer_send(to, VERB_CLIENT_STATS, &m);
}

/* Each returns what to ask for next, or 0. */
static uint64_t snapshot_clients(struct peer *to, uint64_t after, uint32_t limit)
{
    uint64_t last = 0;

    for (const struct peer *p = to->router->peers; p; p = p->next) {
        if (p->sender->connection_id <= after || p->state != PEER_READY) {
            continue;
        }
        if (limit-- == 0) {
            return last;
        }
        send_client(to, p);
        last = p->sender->connection_id;
    }
    return 0;
}

static void send_topic(struct peer *to, const struct topic *t)
{
    struct wire_topic_stats m = {
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

    peer_send(to, VERB_TOPIC_STATS, &m);
}

static uint64_t snapshot_topics(struct peer *to, uint64_t after, uint32_t limit)
{
    const struct idpool *ids = &to->router->topics.ids;

    for (uint64_t id = MIN(after, ids->n_slots) + 1; id <= ids->n_slots; id++) {
        const struct topic *t = idpool_get(ids, (uint32_t) id);

        if (!t) {
            continue;
        }
        if (limit-- == 0) {
            return id - 1;
        }
        send_topic(to, t);
    }
    return 0;
}

/* Their numbers are their places in the list, from 1. */
static uint64_t snapshot_counters(struct peer *to, uint64_t after, uint32_t limit)
{
    const struct counters *c = router_counters(to->router);

    for (uint64_t i = after; i < COUNTERS_COUNT; i++) {
        struct wire_counter m = {text_from(counter_name((unsigned) i)),
                                 counter_get(c, (unsigned) i)};

        if (limit-- == 0) {
            return i;
        }
        peer_send(to, VERB_COUNTER, &m);
    }
    return 0;
}

static void snapshot_refuse(struct peer *p, enum bus_status code, const char *why)
{
    struct wire_status status = {.code = code, .verb = VERB_SNAPSHOT, .text = text_from(why)};

    peer_send_status(p, &status);
}

void snapshot_handle(struct peer *p, const struct wire_snapshot *m)
{
    uint32_t limit = m->limit ? MIN(m->limit, SNAPSHOT_LIMIT_MAX) : SNAPSHOT_LIMIT_MAX;
    struct wire_snapshot_end end = {.kind = m->kind};
    const char *why = peer_denied_all(p, POLICY_MONITOR);

    if (why) {
        snapshot_refuse(p, BUS_STATUS_DENIED, why);
        return;
    }
    p->router->work += limit;
    switch (m->kind) {
    case BUS_SNAPSHOT_CLIENTS:
        end.next = snapshot_clients(p, m->after, limit);
        break;
    case BUS_SNAPSHOT_TOPICS:
        end.next = snapshot_topics(p, m->after, limit);
        break;
    case BUS_SNAPSHOT_COUNTERS:
        end.next = snapshot_counters(p, m->after, limit);
        break;
    default:
        snapshot_refuse(p, BUS_STATUS_INVALID_ARGUMENT, "kind");
        return;
    }
    peer_send(p, VERB_SNAPSHOT_END, &end);
}
