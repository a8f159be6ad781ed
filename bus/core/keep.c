/* SPDX-License-Identifier: MIT */
#include "core/keep.h"
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/units.h"
#include "core/judge.h"
#include "core/state.h"
#include "wire/topic.h"

/* ---- one message ---- */

/* As if it were alone: it may be all that keeps its topic and its sender alive. */
static uint64_t kept_memory(const struct message_parts *parts, uint64_t body_bytes)
{
    return sizeof(struct kept) + sizeof(struct keep) + sizeof(struct sender) +
           sizeof(struct message) + parts->header_bytes + topic_memory(parts->topic->len) +
           body_bytes;
}

static void keep_end_idle(struct keep *k)
{
    if (k->n == 0 && k->n_wishes == 0) {
        struct topic *t = k->topic;

        t->keep = NULL;
        free(k);
        topic_unref(t);
    }
}

/* The keep stays, even if it is idle now. */
static void kept_drop(struct kept *k)
{
    struct keep *keep = k->keep;
    struct router *r = keep->router;

    timer_stop(&r->timers, &k->timer);
    DL_DELETE(keep->list, k);
    DL_DELETE2(r->keeper.all, k, all_prev, all_next);
    keep->n--;
    keep->bytes -= k->charge.bytes;
    r->counters.retained_messages_now--;
    r->counters.retained_bytes_now -= k->charge.bytes;
    charge_fini(&k->charge);
    message_unref(k->message);
    free(k);
}

static void on_expired(struct router *r, struct timer *t)
{
    struct kept *k = container_of(t, struct kept, timer);
    struct keep *keep = k->keep;

    (void) r;
    kept_drop(k);
    keep_end_idle(keep);
}

/* When it ends by its age: that of the topic, or its own. UINT64_MAX if never. */
static uint64_t kept_end_ns(const struct keep *keep, const struct message *m)
{
    uint64_t own_ns = m->expires_ns ? m->expires_ns : UINT64_MAX;

    return keep->ttl_ms ? MIN(own_ns, keep->router->now.monotonic_ns + keep->ttl_ms * NS_PER_MS)
                        : own_ns;
}

/* ---- publishing ---- */

/* What makes room for it is released before it is asked for, though it goes only afterwards. */
static bool kept_charge(const struct keep *keep, struct kept *k, uint64_t bytes)
{
    struct charge *oldest = keep->n >= keep->n_max ? &keep->list->charge : NULL;
    bool is_allowed;

    if (oldest) {
        quota_release(oldest->quota, oldest->bytes);
    }
    is_allowed = charge_add(&k->charge, bytes);
    if (oldest) {
        quota_force(oldest->quota, oldest->bytes);
    }
    return is_allowed;
}

struct kept *keep_prepare(struct topic *t, const struct message_parts *parts, uint64_t body_bytes,
                          enum bus_status *ret)
{
    struct kept *k = calloc(1, sizeof(*k));

    if (!k) {
        *ret = BUS_STATUS_NO_MEMORY;
        return NULL;
    }
    k->keep = t->keep;
    charge_init(&k->charge, &parts->sender->user->retained_bytes);
    if (!kept_charge(t->keep, k, kept_memory(parts, body_bytes))) {
        free(k);
        *ret = BUS_STATUS_LIMIT;
        return NULL;
    }
    return k;
}

void keep_cancel(struct kept *k)
{
    if (k) {
        charge_fini(&k->charge);
        free(k);
    }
}

static void keep_shorten(struct keep *keep)
{
    while (keep->n > keep->n_max) {
        keep->router->work++;
        kept_drop(keep->list);
    }
}

void keep_commit(struct kept *k, struct message *m)
{
    struct keep *keep = k->keep;
    struct router *r = keep->router;
    uint64_t end_ns = kept_end_ns(keep, m);

    k->message = message_ref(m);
    DL_APPEND(keep->list, k);
    DL_APPEND2(r->keeper.all, k, all_prev, all_next);
    keep->n++;
    keep->bytes += k->charge.bytes;
    r->counters.retained_messages_now++;
    r->counters.retained_bytes_now += k->charge.bytes;
    if (end_ns != UINT64_MAX) {
        timer_set(&r->timers, &k->timer, end_ns, on_expired);
    }
    keep_shorten(keep);
}

void keep_clear(struct keep *k)
{
    while (k->list) {
        kept_drop(k->list);
    }
    keep_end_idle(k);
}

void keep_clear_all(struct router *r)
{
    while (r->keeper.all) {
        keep_clear(r->keeper.all->keep);
    }
}

/* ---- who wants it ---- */

static struct keep *keep_get(struct router *r, struct topic *t)
{
    if (!t->keep) {
        t->keep = calloc(1, sizeof(*t->keep));
        if (t->keep) {
            t->keep->router = r;
            t->keep->topic = topic_ref(t);
        }
    }
    return t->keep;
}

/* One more wish: the largest holds. Whoever is the only one decides alone, whatever those wanted
 * who have gone. */
static void keep_set(struct keep *k, uint32_t n_max, uint32_t ttl_ms)
{
    if (k->n_wishes > 0) {
        n_max = MAX(k->n_max, n_max);
        ttl_ms = k->ttl_ms && ttl_ms ? MAX(k->ttl_ms, ttl_ms) : 0;
    }
    k->n_max = n_max;
    k->ttl_ms = ttl_ms;
    k->n_wishes++;
    keep_shorten(k);
}

static bool sets_add(struct peer *p, const struct wire_advertise *m)
{
    if ((m->flags & ADVERTISE_OWNED) && !peer_set_add(p, &p->owned, m->alias)) {
        return false;
    }
    if (m->retain_messages > 0 && !peer_set_add(p, &p->wishes, m->alias)) {
        idset_remove(&p->owned, m->alias);
        return false;
    }
    return true;
}

const char *keep_wish(struct peer *p, const struct wire_advertise *m, struct topic *t,
                      enum bus_status *ret)
{
    struct keep *k = NULL;

    if (m->retain_messages > p->router->config.limits.retained_messages_max) {
        *ret = BUS_STATUS_LIMIT;
        return "retained_messages_max";
    }
    if (!quota_allows(&p->quota, sizeof(*k))) {
        *ret = BUS_STATUS_LIMIT;
        return bytes_refusal(p, sizeof(*k));
    }
    if (!sets_add(p, m)) {
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory";
    }
    if (m->retain_messages == 0) {
        return NULL;
    }
    k = keep_get(p->router, t);
    if (!k) {
        idset_remove(&p->owned, m->alias);
        idset_remove(&p->wishes, m->alias);
        *ret = BUS_STATUS_NO_MEMORY;
        return "out of memory";
    }
    charge_force(&p->charge, sizeof(*k)); /* allowed, or nearly: the sets are small */
    keep_set(k, m->retain_messages, m->retain_ttl_ms);
    return NULL;
}

/* Drops what one connection has published itself: when it goes, its wills may come before this. */
static void keep_disown(struct keep *keep, const struct sender *sender)
{
    struct kept *k, *next;

    DL_FOREACH_SAFE (keep->list, k, next) {
        if (k->message->sender == sender && !k->is_routers) {
            kept_drop(k);
        }
    }
}

unsigned keep_unwish(struct peer *p, uint32_t alias, struct topic *t)
{
    bool is_wish = idset_has(&p->wishes, alias), is_owned = idset_has(&p->owned, alias);
    unsigned n = t->keep && is_owned ? t->keep->n : 0;

    if (!is_wish && !is_owned) {
        return 0;
    }
    idset_remove(&p->wishes, alias);
    idset_remove(&p->owned, alias);
    if (is_wish) {
        charge_release(&p->charge, sizeof(*t->keep));
        t->keep->n_wishes--;
    }
    if (t->keep) {
        if (is_owned) {
            keep_disown(t->keep, p->sender);
        }
        keep_end_idle(t->keep);
    }
    return n;
}

void keep_lose_wish(struct peer *p, uint32_t alias, struct topic *t)
{
    idset_remove(&p->wishes, alias);
    charge_release(&p->charge, sizeof(*t->keep));
    t->keep->n_wishes--;
    keep_end_idle(t->keep);
}

/* ---- subscribing ---- */

struct walk {
    struct sub *sub;
    const char *filter;
    size_t len;
    enum bus_retained retained;
    keep_visit_fn visit;
};

/* Its timer may be due and wait for its turn. */
static bool walk_wants(const struct walk *w, const struct kept *k)
{
    const struct peer *p = w->sub->peer;

    return !((w->sub->flags & SUB_NO_LOCAL) && k->message->sender == p->sender) &&
           !(k->timer.is_set && k->timer.ns <= p->router->now.monotonic_ns);
}

/* Whether the topic matches; its match is made when it is first come to. */
static bool walk_topic(const struct walk *w, struct keep *k)
{
    struct topic *t = k->topic;

    if (!filter_matches(w->filter, w->len, t->name, t->len) || !topic_suits(t, w->sub)) {
        return false;
    }
    if (k->walk != k->router->keeper.n_walks) {
        k->walk = k->router->keeper.n_walks;
        k->match = topic_match(t, w->sub);
    }
    return true;
}

static void walk_one(const struct walk *w, struct kept *k)
{
    w->sub->peer->router->work++;
    if ((w->retained == BUS_RETAINED_ALL || !k->next) && walk_topic(w, k->keep) &&
        walk_wants(w, k)) {
        w->visit(w->sub, k->keep->match, k->message);
    }
}

void keep_walk(struct sub *s, enum bus_retained retained, keep_visit_fn visit)
{
    struct router *r = s->peer->router;
    char filter[256];
    struct walk w = {s, filter, filters_text(s, filter), retained, visit};
    struct topic *t;
    struct kept *k;

    r->keeper.n_walks++;
    if (filter_has_wildcard(filter, w.len)) {
        DL_FOREACH2(r->keeper.all, k, all_next)
        {
            walk_one(&w, k);
        }
        return;
    }
    t = topics_find(&r->topics, filter, w.len);
    if (t && t->keep) {
        DL_FOREACH (t->keep->list, k) {
            walk_one(&w, k);
        }
    }
}

/* ---- CLEAR ---- */

/* The topic, NULL if there is none of that name: then nothing is kept either. */
static const char *clear_topic(struct peer *p, const struct wire_clear *m, struct topic **ret,
                               enum bus_status *ret_status)
{
    const char *why;

    *ret_status = BUS_STATUS_UNEXPECTED;
    if (p->tap) {
        return "a monitor cannot publish";
    }
    *ret_status = BUS_STATUS_INVALID_ARGUMENT;
    if ((m->alias != 0) == (m->topic.len != 0)) {
        return "give either alias or topic";
    }
    *ret_status = BUS_STATUS_UNKNOWN_ALIAS;
    if (m->alias != 0) {
        *ret = alias_topic(p, m->alias);
        if (!*ret) {
            return "no topic is advertised under that alias";
        }
        *ret_status = BUS_STATUS_DENIED;
        return peer_denied(p, POLICY_RETAIN, (struct text){(*ret)->name, (*ret)->len});
    }
    why = topic_refusal(m->topic, ret_status);
    if (why) {
        return why;
    }
    *ret_status = BUS_STATUS_DENIED;
    *ret = topics_find(&p->router->topics, m->topic.data, m->topic.len);
    return peer_denied(p, POLICY_RETAIN, m->topic);
}

void clear_handle(struct peer *p, const struct wire_clear *m)
{
    struct wire_status status = {.verb = VERB_CLEAR, .alias = m->alias};
    struct topic *t = NULL;
    enum bus_status code;
    const char *why = clear_topic(p, m, &t, &code);

    if (why) {
        status.code = code;
        status.text = text_from(why);
        peer_send_status(p, &status);
    } else if (t && t->keep) {
        p->router->work += t->keep->n;
        keep_clear(t->keep);
    }
}

/* ---- built up again ---- */

bool keep_restore(struct router *r, struct topic *t, uint32_t n_max, uint32_t ttl_ms)
{
    struct keep *k = keep_get(r, t);

    if (k) {
        k->n_max = n_max;
        k->ttl_ms = ttl_ms;
    }
    return k;
}

bool kept_restore(struct topic *t, struct message *m, uint64_t end_ns, bool is_routers)
{
    const struct message_parts parts = message_parts_of(m);
    enum bus_status status;
    struct kept *k;

    if (!t->keep || m->topic != t || t->keep->n >= t->keep->n_max) {
        return false;
    }
    k = keep_prepare(t, &parts, message_parts_body_bytes(&parts), &status);
    if (!k) {
        return false;
    }
    k->is_routers = is_routers;
    keep_commit(k, m);
    if (end_ns) {
        timer_set(&t->keep->router->timers, &k->timer, end_ns, on_expired);
    } else {
        timer_stop(&t->keep->router->timers, &k->timer);
    }
    return true;
}

/* ---- tests ---- */

static uint64_t keep_check(const struct router *r, const struct keep *keep)
{
    const struct kept *k;
    uint64_t bytes = 0;
    uint32_t n = 0;

    assert(keep->router == r && keep->topic->keep == keep && keep->n <= keep->n_max);
    DL_FOREACH (keep->list, k) {
        assert(k->keep == keep && k->message->refs > 0 && k->message->topic == keep->topic);
        assert(k->charge.quota == &k->message->sender->user->retained_bytes);
        bytes += k->charge.bytes;
        n++;
    }
    assert(n == keep->n && n > 0 && bytes == keep->bytes);
    return n;
}

uint64_t keeper_check(const struct router *r)
{
    uint64_t n = 0, of_keeps = 0, bytes = 0, of_users = 0;
    const struct kept *k;
    const struct user *u;

    DL_FOREACH2(r->keeper.all, k, all_next)
    {
        n++;
        bytes += k->charge.bytes;
        of_keeps += k == k->keep->list ? keep_check(r, k->keep) : 0;
    }
    assert(n == of_keeps);
    assert(n == r->counters.retained_messages_now && bytes == r->counters.retained_bytes_now);
    DL_FOREACH (r->users.list, u) {
        of_users += u->retained_bytes.used;
    }
    assert(of_users == bytes);
    return of_users;
}
