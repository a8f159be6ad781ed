/* SPDX-License-Identifier: MIT */
/* A router made of records again. They come from a router of the same user, but they are checked
 * like what any peer sends: what is wrong is refused, and the other one goes on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/judge.h"
#include "core/member.h"

bool load_refuse(struct load *l, const char *why)
{
    l->why = why;
    return false;
}

bool load_starve(struct load *l)
{
    l->has_failed = true;
    return load_refuse(l, "out of memory");
}

bool load_reach(struct load *l, void ***list, size_t n, size_t *n_max)
{
    size_t n_new = *n_max ? 2 * *n_max : 64;
    void **more;

    if (n < *n_max) {
        return true;
    }
    more = reallocarray(*list, n_new, sizeof(*more));
    if (!more) {
        return load_starve(l);
    }
    *list = more;
    *n_max = n_new;
    return true;
}

/* ---- what fields name ---- */

struct peer *load_peer_of(const struct load *l, unsigned field)
{
    const struct sender *s = idpool_get(&l->router->sender_ids, record_get_32(l->record, field));

    return s ? s->peer : NULL;
}

struct topic *load_topic_of(const struct load *l, unsigned field)
{
    return idpool_get(&l->router->topics.ids, record_get_32(l->record, field));
}

struct message *load_message_of(const struct load *l, unsigned field)
{
    uint64_t n = record_get(l->record, field);

    return n > 0 && n <= l->n_messages ? l->messages[n - 1] : NULL;
}

struct parcel *load_parcel_of(const struct load *l, unsigned field)
{
    uint64_t n = record_get(l->record, field);

    return n > 0 && n <= l->n_parcels ? l->parcels[n - 1] : NULL;
}

struct group *load_group_of(const struct load *l, unsigned field)
{
    uint64_t n = record_get(l->record, field);

    return n > 0 && n <= l->n_groups ? l->groups[n - 1] : NULL;
}

struct sub *load_sub_of(const struct load *l, unsigned peer_field, unsigned number_field)
{
    const struct peer *p = load_peer_of(l, peer_field);
    uint32_t number = record_get_32(l->record, number_field);

    return p && number > 0 && number <= p->n_subs_max ? p->subs[number - 1] : NULL;
}

/* ---- limits ---- */

/* While it is built up everything may be there that any limit allows: it was allowed once. */
static struct limits limits_wide(void)
{
    return (struct limits){
#define X(name, default_value, low, high, unit, meaning) .name = (high),
        LIMITS(X)
#undef X
    };
}

/* ---- the router ---- */

/* The first record: without it there is no router for the others. */
static bool load_router(struct load *l, const struct router_config *config, struct limits *keep)
{
    const struct record *rec = l->record;
    struct router_config wide = *config;
    struct router *r;

    if (rec->kind != STATE_ROUTER || record_get(rec, ROUTER_MAJOR) != STATE_MAJOR) {
        return load_refuse(l, "the state has another version");
    }
    *keep = config->limits;
    keep->publish_window_messages = record_get(rec, ROUTER_PUBLISH_MESSAGES);
    keep->publish_window_bytes = record_get(rec, ROUTER_PUBLISH_BYTES);
    l->sessions = config->sessions;
    wide.sessions = NULL;
    wide.limits = limits_wide();
    wide.n_overrides = 0; /* they come with the limits, at the end */
    wide.epoch = record_get(rec, ROUTER_EPOCH);
    wide.hash_seed = record_get(rec, ROUTER_HASH_SEED);
    if (keep->publish_window_messages < 2 ||
        keep->publish_window_messages > wide.limits.publish_window_messages ||
        keep->publish_window_bytes < 2 ||
        keep->publish_window_bytes > wide.limits.publish_window_bytes) {
        return load_refuse(l, "publish window");
    }
    if (router_new(&wide, &r) < 0) {
        return load_starve(l);
    }
    r->next_connection_id = record_get(rec, ROUTER_CONNECTIONS);
    r->order = record_get(rec, ROUTER_ORDER);
    r->n_calls = record_get(rec, ROUTER_CALLS) & (UINT64_MAX >> 21);
    r->n_requests = record_get(rec, ROUTER_REQUESTS);
    l->retry_ns = record_get(rec, ROUTER_RETRY_NS);
    l->is_unresolved = record_get(rec, ROUTER_UNRESOLVED);
    l->on_new_topic = r->topics.on_new;
    r->topics.on_new = NULL;
    r->is_loading = true;
    l->router = r;
    return true;
}

static bool load_counter(struct load *l)
{
    struct text name = record_text(l->record, COUNTER_NAME);
    uint64_t value = record_get(l->record, COUNTER_VALUE);

    /* one that is not known here is one that is not counted any more */
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        struct text known = text_from(counter_name(i));

        if (name.len == known.len && memcmp(name.data, known.data, name.len) == 0) {
            counter_set(&l->counters, i, value);
        }
    }
    return true;
}

/* Those of what there is now were counted while it was made. */
static void counters_apply(struct router *r, const struct counters *from)
{
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        if (!counter_is_momentary(i)) {
            counter_set(&r->counters, i, counter_get(from, i));
        }
    }
}

/* ---- the end ---- */

static void ids_relink(struct router *r)
{
    struct peer *p;

    idpool_relink(&r->sender_ids);
    idpool_relink(&r->buffer_ids);
    idpool_relink(&r->calls);
    idpool_relink(&r->topics.ids);
    DL_FOREACH (r->peers, p) {
        idpool_relink(&p->leases);
    }
}

/* Everything has one reference more than its owners, and messages a hold, which nobody is waiting
 * for: what it withheld was given back long ago. */
static void references_drop(struct load *l)
{
    struct router *r = l->router;

    for (size_t i = 0; i < l->n_messages; i++) {
        l->messages[i]->holds--;
        message_release(l->messages[i]);
    }
    for (size_t i = 0; i < l->n_parcels; i++) {
        parcel_unref(l->parcels[i]);
    }
    for (uint32_t id = 1; id <= r->buffer_ids.n_slots; id++) {
        struct buffer *b = idpool_get(&r->buffer_ids, id);

        if (b) {
            buffer_close(b);
            buffer_unref(b);
        }
    }
    for (uint32_t id = 1; id <= r->topics.ids.n_slots; id++) {
        struct topic *t = idpool_get(&r->topics.ids, id);

        if (t) {
            topic_unref(t);
        }
    }
    for (uint32_t id = 1; id <= r->sender_ids.n_slots; id++) {
        struct sender *s = idpool_get(&r->sender_ids, id);

        if (s && !s->peer && s != r->presence.self) {
            sender_unref(s);
        }
    }
}

/* Keeps that nobody wanted to keep anything. */
static void keeps_drop(struct router *r)
{
    for (uint32_t id = 1; id <= r->topics.ids.n_slots; id++) {
        struct topic *t = idpool_get(&r->topics.ids, id);

        if (t && t->keep && t->keep->n == 0 && t->keep->n_wishes == 0) {
            keep_clear(t->keep);
        }
    }
}

static bool load_one(struct load *l)
{
    switch ((enum state_kind) l->record->kind) {
    case STATE_COUNTER:
        return load_counter(l);
    case STATE_SENDER:
        return load_sender(l);
    case STATE_PARCEL:
        return load_parcel(l);
    case STATE_PEER:
        return load_peer(l);
    case STATE_OUTPUT:
        return load_output(l);
    case STATE_SUB:
        return load_sub(l);
    case STATE_GROUP:
        return load_group(l);
    case STATE_TOPIC:
        return load_topic(l);
    case STATE_ALIAS:
        return load_alias(l);
    case STATE_KEEP:
        return load_keep(l);
    case STATE_BUFFER:
        return load_buffer(l);
    case STATE_MESSAGE:
        return load_message(l);
    case STATE_KEPT:
        return load_kept(l);
    case STATE_LEASE:
        return load_lease(l);
    case STATE_QUEUE:
        return load_queue(l);
    case STATE_ITEM:
        return load_item(l);
    case STATE_PACE:
        return load_pace(l);
    case STATE_DELIVERY:
        return load_delivery(l);
    case STATE_REQUEST:
        return load_request(l);
    case STATE_CALL:
        return load_call(l);
    case STATE_CALL_ROW:
        return load_call_row(l);
    case STATE_ANSWER:
        return load_answer(l);
    case STATE_WAITING:
        return load_waiting(l);
    case STATE_TEXT:
        return load_text(l);
    case STATE_WILL:
        return load_will(l);
    case STATE_MONITOR:
        return load_monitor(l);
    case STATE_RELIABLE:
        return load_reliable(l);
    case STATE_STALLED:
        return load_stalled(l);
    case STATE_CLOSED:
        return load_closed(l);
    case STATE_ROUTER:
    case STATE_LISTENER:
    case STATE_LINK:
        break;
    }
    /* state of a kind that is not known here would be lost */
    return load_refuse(l, "a record of an unknown kind");
}

static bool load_all(struct load *l, uint64_t bytes_max)
{
    for (;;) {
        struct record_reader at = l->from->records;

        switch (record_next(&l->from->records, l->record)) {
        case RECORD_MALFORMED:
            return load_refuse(l, "a record that cannot be decoded");
        case RECORD_LAST:
            return true;
        case RECORD_OK:
            break;
        }
        if (l->record->kind >= STATE_LISTENER) {
            l->from->records = at; /* the caller's */
            return true;
        }
        if (!load_one(l)) {
            return false;
        }
        /* outputs are charged without asking (core/ceiling.c): a router that is full can be
         * replaced, too */
        if (l->router->quota.used > bytes_max + bytes_max / 2) {
            return load_refuse(l, "it holds more than total_bytes_max; raise --total-bytes-max");
        }
    }
}

static bool load_end(struct load *l, const struct router_config *config,
                     const struct limits *limits)
{
    struct router *r = l->router;
    struct user_override *overrides;
    struct judgement *j;
    const char *why;

    if (!overrides_copy(config->overrides, config->n_overrides, &overrides)) {
        return load_starve(l);
    }
    users_override(&r->users, overrides, config->n_overrides);

    if (l->n_texts > 0) {
        return load_refuse(l, "texts that belong to nothing");
    }
    r->topics.on_new = l->on_new_topic;
    ids_relink(r);
    counters_apply(r, &l->counters);
    limits_apply(r, limits);
    references_drop(l);
    l->n_messages = l->n_parcels = 0;
    l->is_begun = false;
    keeps_drop(r);
    r->retry_ns = l->retry_ns;
    r->calls_unresolved = l->is_unresolved;
    why = load_check(r);
    if (why) {
        return load_refuse(l, why);
    }
    /* all was allowed where it comes from; here the rules may be others */
    j = judge_prepare(r, r->accesses.policy);
    if (!j) {
        return load_starve(l);
    }
    r->config.sessions = l->sessions;
    load_reliable_end(r);
    r->is_loading = false;
    judge_commit(r, j);
    router_reap(r, REAP_AT_ONCE);
    return true;
}

/* What was built up to here is a router like any other, but for the references. */
static void load_abandon(struct load *l)
{
    struct peer *p = NULL;

    while (l->router && (p = router_next_peer(l->router, p))) {
        p->comes_back = false; /* nobody is to hear that it has ended */
    }
    if (l->router) {
        load_requests_abandon(l);
    }
    if (l->is_begun) {
        l->router->topics.on_new = l->on_new_topic;
        ids_relink(l->router);
        references_drop(l);
        keeps_drop(l->router);
    }
    (void) router_free(l->router);
}

int router_load(const struct router_config *config, struct image_source *from,
                const struct now *now, struct router **ret, const char **ret_why)
{
    struct record *record = calloc(1, sizeof(*record));
    struct load l = {.from = from, .record = record, .why = "out of memory"};
    struct limits limits;
    bool done = false;

    if (record && record_next(&from->records, record) == RECORD_OK) {
        l.is_begun = load_router(&l, config, &limits);
    } else if (record) {
        l.why = "there is no state";
    }
    if (l.is_begun) {
        l.router->now = *now;
        done = load_all(&l, limits.total_bytes_max) && load_end(&l, config, &limits);
    }
    if (!done) {
        load_abandon(&l);
    }
    free(l.messages);
    free(l.parcels);
    free(l.groups);
    free(record);
    *ret_why = l.why;
    if (done) {
        *ret = l.router;
        return IMAGE_OK;
    }
    return l.has_failed || !record ? -ENOMEM : IMAGE_REFUSED;
}

struct peer *router_next_peer(const struct router *r, const struct peer *p)
{
    return p ? p->next : r->peers;
}

void peer_set_userdata(struct peer *p, void *userdata)
{
    p->info.userdata = userdata;
}

void peer_force_input(struct peer *p, size_t bytes)
{
    charge_force(&p->charge, bytes);
}
