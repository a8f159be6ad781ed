/* SPDX-License-Identifier: MIT */
#pragma once
/* What topics keep, as the oracle sees it: a list of numbers of messages. A new subscription that
 * asks for them must get them first. */

#include "support/sim.h"
#include "support/topic_reference.h"

#define KEPT_MAX 4096u
#define KEPT_TOPICS 64u

struct kept_entry {
    char topic[64];
    uint64_t number, connection, end_ns;
};

struct kept_topic {
    char name[64];
    uint32_t n_max, ttl_ms, n_wishes; /* n_max 0: it keeps nothing */
};

struct kept_alias {
    char topic[64]; /* empty: none */
    uint64_t connection;
    bool wishes, owns;
};

struct kept_model {
    struct kept_topic topics[KEPT_TOPICS];
    struct kept_entry list[KEPT_MAX];
    size_t n;
    struct kept_alias aliases[SIM_CLIENTS][SIM_ALIASES];
};

struct kept_wish {
    uint32_t messages, ttl_ms;
    bool owned;
};

static inline struct kept_topic *kept_topic(struct kept_model *k, const char *name)
{
    for (unsigned i = 0; i < KEPT_TOPICS; i++) {
        if (!*k->topics[i].name) {
            snprintf(k->topics[i].name, sizeof(k->topics[i].name), "%s", name);
        }
        if (strcmp(k->topics[i].name, name) == 0) {
            return &k->topics[i];
        }
    }
    fail_msg("too many topics");
    return NULL;
}

static inline unsigned kept_count(const struct kept_model *k, const char *topic)
{
    unsigned n = 0;

    for (size_t i = 0; i < k->n; i++) {
        n += strcmp(k->list[i].topic, topic) == 0;
    }
    return n;
}

static inline void kept_end_idle(struct kept_model *k)
{
    for (unsigned i = 0; i < KEPT_TOPICS; i++) {
        struct kept_topic *t = &k->topics[i];

        if (*t->name && t->n_wishes == 0 && kept_count(k, t->name) == 0) {
            t->n_max = 0;
        }
    }
}

static inline void kept_remove(struct kept_model *k, size_t i)
{
    memmove(&k->list[i], &k->list[i + 1], (k->n - i - 1) * sizeof(k->list[0]));
    k->n--;
}

/* Of one topic: all, or what one connection has published. */
static inline void kept_remove_all(struct kept_model *k, const char *topic, uint64_t connection)
{
    for (size_t i = k->n; i-- > 0;) {
        if (strcmp(k->list[i].topic, topic) == 0 &&
            (connection == 0 || k->list[i].connection == connection)) {
            kept_remove(k, i);
        }
    }
}

static inline void kept_shorten(struct kept_model *k, const struct kept_topic *t)
{
    for (size_t i = 0; kept_count(k, t->name) > t->n_max; i++) {
        if (strcmp(k->list[i].topic, t->name) == 0) {
            kept_remove(k, i--);
        }
    }
}

static inline void kept_unadvertised(struct kept_model *k, struct kept_alias *a)
{
    if (!*a->topic) {
        return;
    }
    kept_topic(k, a->topic)->n_wishes -= a->wishes;
    if (a->owns) {
        kept_remove_all(k, a->topic, a->connection);
    }
    *a = (struct kept_alias){0};
    kept_end_idle(k);
}

/* What has ended by itself: clients and times. */
static inline void kept_sweep(struct kept_model *k, struct sim *s)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        const struct sim_client *c = &s->clients[i];

        for (unsigned a = 0; a < SIM_ALIASES; a++) {
            if (!c->peer || peer_is_closing(c->peer) ||
                peer_connection_id(c->peer) != k->aliases[i][a].connection) {
                kept_unadvertised(k, &k->aliases[i][a]);
            }
        }
    }
    for (size_t i = k->n; i-- > 0;) {
        if (k->list[i].end_ns <= s->now.monotonic_ns) {
            kept_remove(k, i);
        }
    }
    kept_end_idle(k);
}

static inline bool kept_advertise(struct kept_model *k, struct sim *s, struct sim_client *c,
                                  unsigned index, const char *topic, struct kept_wish wish)
{
    struct kept_alias *a = &k->aliases[c - s->clients][index];
    struct wire_unadvertise un = {index + 1};
    struct wire_advertise m = {index + 1, text_from(topic), wish.owned, wish.messages, wish.ttl_ms};
    struct kept_topic *t = kept_topic(k, topic);
    uint64_t refused;

    kept_sweep(k, s);
    if (*c->aliases[index]) {
        sim_send(s, c, VERB_UNADVERTISE, &un, NULL, 0);
        kept_unadvertised(k, a);
        *c->aliases[index] = '\0';
    }
    refused = router_counters(s->router)->frames_refused;
    sim_send(s, c, VERB_ADVERTISE, &m, NULL, 0);
    if (router_counters(s->router)->frames_refused != refused || peer_is_closing(c->peer)) {
        return false;
    }
    snprintf(c->aliases[index], sizeof(c->aliases[index]), "%s", topic);
    *a = (struct kept_alias){
        .connection = peer_connection_id(c->peer), .wishes = wish.messages > 0, .owns = wish.owned};
    snprintf(a->topic, sizeof(a->topic), "%s", topic);
    if (wish.messages > 0) {
        t->ttl_ms = t->n_wishes == 0           ? wish.ttl_ms
                    : t->ttl_ms && wish.ttl_ms ? MAX(t->ttl_ms, wish.ttl_ms)
                                               : 0;
        t->n_max = t->n_wishes == 0 ? wish.messages : MAX(t->n_max, wish.messages);
        t->n_wishes++;
        kept_shorten(k, t);
    }
    return true;
}

static inline void kept_unadvertise(struct kept_model *k, struct sim *s, struct sim_client *c,
                                    unsigned index)
{
    struct wire_unadvertise un = {index + 1};

    sim_send(s, c, VERB_UNADVERTISE, &un, NULL, 0);
    *c->aliases[index] = '\0';
    kept_unadvertised(k, &k->aliases[c - s->clients][index]);
}

static inline bool kept_publish(struct kept_model *k, struct sim *s, struct sim_client *c,
                                const struct sim_publish *p)
{
    uint64_t connection = peer_connection_id(c->peer), end_ns = UINT64_MAX;
    struct kept_topic *t = kept_topic(k, p->topic ? p->topic : c->aliases[p->alias]);
    struct kept_entry *e = &k->list[k->n];
    bool accepted;

    kept_sweep(k, s);
    e = &k->list[k->n];
    accepted = sim_publish(s, c, p);
    if (!accepted || t->n_max == 0) {
        return accepted;
    }
    assert_true(k->n < KEPT_MAX);
    if (p->ttl_ms) {
        end_ns = s->now.monotonic_ns + p->ttl_ms * UINT64_C(1000000);
    }
    if (t->ttl_ms) {
        end_ns = MIN(end_ns, s->now.monotonic_ns + t->ttl_ms * UINT64_C(1000000));
    }
    *e = (struct kept_entry){.number = s->n_published, .connection = connection, .end_ns = end_ns};
    snprintf(e->topic, sizeof(e->topic), "%s", t->name);
    k->n++;
    kept_shorten(k, t);
    return true;
}

static inline void kept_clear(struct kept_model *k, struct sim *s, struct sim_client *c,
                              const char *topic)
{
    struct wire_clear m = {.topic = text_from(topic)};

    kept_sweep(k, s);
    sim_send(s, c, VERB_CLEAR, &m, NULL, 0);
    kept_remove_all(k, topic, 0);
    kept_end_idle(k);
}

static inline bool kept_is_due(const struct kept_model *k, size_t i, uint64_t connection,
                               const struct wire_subscribe *m)
{
    const struct kept_entry *e = &k->list[i];
    bool is_last = true;

    for (size_t later = i + 1; later < k->n; later++) {
        is_last = is_last && strcmp(k->list[later].topic, e->topic) != 0;
    }
    return ref_matches(m->filter.data, m->filter.len, e->topic, strlen(e->topic)) &&
           (is_last || m->retained == BUS_RETAINED_ALL) &&
           !((m->flags & 1) && e->connection == connection);
}

/* SUBSCRIBE; what is kept is due first. */
static inline bool kept_subscribe(struct kept_model *k, struct sim *s, struct sim_client *c,
                                  unsigned index, const struct wire_subscribe *m)
{
    uint64_t connection = peer_connection_id(c->peer);
    struct sim_sub *sub = &c->subs[index];

    kept_sweep(k, s);
    if (!sim_subscribe(s, c, index, m)) {
        return false;
    }
    for (size_t i = 0; m->retained && i < k->n; i++) {
        if (kept_is_due(k, i, connection, m)) {
            sim_due(sub, k->list[i].number);
        }
    }
    return true;
}

/* Every topic forgets, so that nothing is left at the end. */
static inline void kept_clear_all(struct kept_model *k, struct sim *s)
{
    struct sim_client *c = NULL;

    for (unsigned i = 0; i < SIM_CLIENTS && !c; i++) {
        c = s->clients[i].peer && !peer_is_closing(s->clients[i].peer) ? &s->clients[i] : NULL;
    }
    c = c ? c : sim_connect(s, true);
    for (unsigned i = 0; i < KEPT_TOPICS && *k->topics[i].name; i++) {
        kept_clear(k, s, c, k->topics[i].name);
    }
}
