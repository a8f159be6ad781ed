/* SPDX-License-Identifier: MIT */
#include "core/topics.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "base/macros.h"
#include "core/sub.h"
#include "core/user.h"
#include "wire/topic.h"

void topics_init(struct topics *ts, uint64_t seed)
{
    *ts = (struct topics){.epoch = 1};
    table_init(&ts->by_name, seed);
    filters_init(&ts->filters, seed);
}

void topics_fini(struct topics *ts)
{
    filters_fini(&ts->filters);
    table_fini(&ts->by_name);
    idpool_fini(&ts->ids);
    message_pool_fini(&ts->messages);
}

/* ---- topics ---- */

struct name_key {
    const char *name;
    size_t len;
};

static bool name_equals(const void *object, const void *key)
{
    const struct topic *t = object;
    const struct name_key *k = key;

    return t->len == k->len && memcmp(t->name, k->name, k->len) == 0;
}

static uint32_t name_hash(const struct topics *ts, const char *name, size_t len)
{
    return table_hash(&ts->by_name, 0, name, len);
}

struct topic *topics_find(const struct topics *ts, const char *name, size_t len)
{
    struct name_key key = {name, len};

    return table_find(&ts->by_name, name_hash(ts, name, len), name_equals, &key);
}

/* With that number, or with any if it is 0. */
static struct topic *topic_new(struct topics *ts, uint32_t id, const char *name, size_t len)
{
    AUTO_FREE struct topic *t = calloc(1, MAX(sizeof(*t), offsetof(struct topic, name) + len));

    if (!t || table_prepare(&ts->by_name) < 0) {
        return NULL;
    }
    if (id == 0) {
        id = idpool_add(&ts->ids, t);
    } else if (!idpool_put(&ts->ids, id, t)) {
        return NULL;
    }
    if (id == 0) {
        return NULL;
    }
    t->id = id;
    t->refs = 1;
    t->topics = ts;
    t->matches = &t->first;
    t->n_matches_max = 1;
    t->len = (uint8_t) len;
    memcpy(t->name, name, len);
    table_insert(&ts->by_name, name_hash(ts, name, len), t);
    if (ts->on_new) {
        ts->on_new(t, ts->userdata);
    }
    return TAKE(t);
}

struct topic *topics_get(struct topics *ts, const char *name, size_t len)
{
    struct topic *t = topics_find(ts, name, len);

    return t ? topic_ref(t) : topic_new(ts, 0, name, len);
}

struct topic *topics_restore(struct topics *ts, uint32_t id, const char *name, size_t len)
{
    return id == 0 || topics_find(ts, name, len) ? NULL : topic_new(ts, id, name, len);
}

struct topic *topic_ref(struct topic *t)
{
    t->refs++;
    return t;
}

/* ---- matches ---- */

/* Another length for the array; the first place is in the topic itself. */
static bool matches_resize(struct topic *t, uint32_t n)
{
    struct match **old = t->matches == &t->first ? NULL : t->matches;
    struct match **list = reallocarray(old, n, sizeof(struct match *));

    if (!list) {
        return false;
    }
    if (!old) {
        list[0] = t->first;
    }
    t->matches = list;
    t->n_matches_max = n;
    return true;
}

#define MATCHES_MIN 4u

static bool matches_have_room(struct topic *t)
{
    return t->n_matches < t->n_matches_max ||
           matches_resize(t, MAX(t->n_matches_max * 2, MATCHES_MIN));
}

/* Gives back what is not needed any more; what cannot be given back now is the next time. */
static void matches_shrink(struct topic *t)
{
    if (t->n_matches_max == 1 || t->n_matches * 3 > t->n_matches_max) {
        return;
    }
    if (t->n_matches_max > MATCHES_MIN) {
        (void) matches_resize(t, t->n_matches_max / 2);
        return;
    }
    t->first = t->matches[0];
    free(t->matches);
    t->matches = &t->first;
    t->n_matches_max = 1;
}

static void matches_changed(struct topic *t)
{
    if (UNLIKELY(t->interest != NULL)) {
        t->topics->on_matches(t, t->topics->userdata);
    }
}

static bool match_new(struct topic *t, struct sub *sub)
{
    struct match *m;

    matches_changed(t); /* also if it cannot be noted */
    if (!matches_have_room(t)) {
        return false;
    }
    if (!quota_add(sub_quota(sub), MATCH_BYTES)) {
        return false;
    }
    m = malloc(sizeof(*m));
    if (!m) {
        quota_release(sub_quota(sub), MATCH_BYTES);
        return false;
    }
    *m = (struct match){.sub = sub, .topic = t, .index = t->n_matches & INT32_MAX};
    t->matches[t->n_matches++] = m;
    DL_APPEND2(sub->matches, m, sub_prev, sub_next);
    return true;
}

static void match_free(struct match *m)
{
    struct topic *t = m->topic;
    struct match *last = t->matches[--t->n_matches];

    t->matches[m->index] = last;
    last->index = m->index;
    matches_shrink(t);
    matches_changed(t);
    DL_DELETE2(m->sub->matches, m, sub_prev, sub_next);
    quota_release(sub_quota(m->sub), MATCH_BYTES);
    free(m);
}

void topic_unref(struct topic *t)
{
    if (--t->refs > 0) {
        return;
    }
    while (t->n_matches > 0) {
        match_free(t->matches[t->n_matches - 1]);
    }
    if (t->matches != &t->first) {
        free(t->matches); /* it could not shrink for want of memory */
    }
    table_remove(&t->topics->by_name, name_hash(t->topics, t->name, t->len), t);
    idpool_remove(&t->topics->ids, t->id);
    free(t);
}

/* Whether one more of that user is too many. */
static bool topic_is_over(const struct topic *t, const struct user *user)
{
    uint32_t n = 0;

    if (t->n_matches < user->matches.limit) {
        return false;
    }
    for (uint32_t i = 0; i < t->n_matches; i++) {
        n += sub_user(t->matches[i]->sub) == user && !sub_is_gone(t->matches[i]->sub);
    }
    t->topics->n_counted += t->n_matches;
    return n >= user->matches.limit;
}

/* ---- subscriptions ---- */

int topics_add_sub(struct topics *ts, const char *filter, size_t len, struct sub *sub)
{
    bool is_exact = !filter_has_wildcard(filter, len);
    struct topic *t = is_exact ? topics_find(ts, filter, len) : NULL;
    int r;

    if (t && topic_is_over(t, sub_user(sub))) {
        return TOPICS_OVER;
    }
    r = filters_add(&ts->filters, filter, len, sub);
    if (r < 0) {
        return r;
    }
    if (!is_exact) {
        ts->epoch++;
        return 0;
    }
    /* one topic at most: told now, so that the others stay as they are */
    if (t && !match_new(t, sub)) {
        t->epoch = 0;
    }
    return 0;
}

void topics_remove_sub(struct topics *ts, struct sub *sub)
{
    filters_remove(&ts->filters, sub);
}

void topics_forget_match(struct match *m)
{
    match_free(m);
}

bool topic_suits(const struct topic *t, const struct sub *sub)
{
    return LIKELY(!sub->is_narrow) || t->topics->suits(t, sub);
}

bool topics_forget_sub(struct sub *sub, unsigned *budget)
{
    while (sub->matches && *budget > 0) {
        match_free(sub->matches);
        (*budget)--;
    }
    return !sub->matches;
}

struct match *topic_match(struct topic *t, struct sub *sub)
{
    if (sub->place == FILTER_EXACT) {
        return sub->matches; /* topics_add_sub() has tried */
    }
    if (topic_is_over(t, sub_user(sub))) {
        return NULL; /* topic_resolve() will find it, too */
    }
    if (!match_new(t, sub)) {
        t->epoch = 0;
        return NULL;
    }
    return t->matches[t->n_matches - 1];
}

struct match *topic_restore_match(struct topic *t, struct sub *sub)
{
    return match_new(t, sub) ? t->matches[t->n_matches - 1] : NULL;
}

struct resolve {
    struct topic *topic;
    topics_missing_fn missing;
    void *ctx;
    bool incomplete;
};

static bool make_room(const struct topics *ts, struct sub *sub)
{
    return ts->make_room && ts->make_room(sub, MATCH_BYTES);
}

static void resolve_sub(struct sub *sub, void *ctx)
{
    struct resolve *r = ctx;
    struct topics *ts = r->topic->topics;
    struct user *user;

    if (sub->is_marked || sub_is_gone(sub) || !topic_suits(r->topic, sub)) {
        return;
    }
    user = sub_user(sub);
    if (user->n_here >= user->matches.limit) {
        r->incomplete |= !ts->on_over(sub);
    } else if (match_new(r->topic, sub) || (make_room(ts, sub) && match_new(r->topic, sub))) {
        user->n_here++;
    } else {
        r->incomplete = true;
        r->missing(sub, r->ctx);
    }
}

/* Those that the topic knows already. */
static void matches_mark(struct topic *t)
{
    for (uint32_t i = 0; i < t->n_matches; i++) {
        struct sub *sub = t->matches[i]->sub;

        sub->is_marked = true;
        sub_user(sub)->n_here += !sub_is_gone(sub);
    }
}

static void matches_unmark(struct topic *t)
{
    for (uint32_t i = 0; i < t->n_matches; i++) {
        struct sub *sub = t->matches[i]->sub;

        sub->is_marked = false;
        sub_user(sub)->n_here = 0;
    }
}

size_t topic_resolve(struct topic *t, topics_missing_fn missing, void *ctx)
{
    struct topics *ts = t->topics;
    struct resolve r = {t, missing, ctx, false};
    size_t passed;

    ts->resolving = ++ts->n_resolved;
    matches_mark(t);
    passed = filters_match(&ts->filters, t->name, t->len, resolve_sub, &r);
    matches_unmark(t);
    ts->resolving = 0;
    t->epoch = r.incomplete ? 0 : ts->epoch;
    return passed;
}
