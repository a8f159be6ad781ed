/* SPDX-License-Identifier: MIT */
/* Advertised topics: aliases, and the automatic ones by name. */

#include "client/topic_handle.h"
#include <errno.h>
#include <string.h>
#include "client/handlers.h"
#include "client/session.h"
#include "wire/topic.h"

#define TOPIC_FLAGS (BUS_TOPIC_OWNED | BUS_TOPIC_RELIABLE)

static struct bus_topic *topic_new(struct bus_conn *c, const char *name, size_t len)
{
    struct bus_topic *t = calloc(1, sizeof(*t) + len + 1);

    if (t) {
        t->conn = c;
        t->subscriptions = -1;
        t->len = len;
        memcpy(t->name, name, len);
    }
    return t;
}

static int send_advertise(struct bus_conn *c, const struct bus_topic *t)
{
    struct wire_advertise m = {.alias = t->alias,
                               .topic = {t->name, t->len},
                               .flags = t->flags | (t->on_interest ? ADVERTISE_INTEREST : 0),
                               .retain_messages = t->retain_messages,
                               .retain_ttl_ms = t->retain_ttl_ms};

    return bus__send(c, VERB_ADVERTISE, &m, CONTROL_HEADER_MAX);
}

/* Also for a refused alias: whether the refusal was of this topic or of an earlier one by that
 * alias cannot be known for certain. */
static int send_unadvertise(struct bus_conn *c, const struct bus_topic *t)
{
    struct wire_unadvertise m = {.alias = t->alias};

    return bus__send(c, VERB_UNADVERTISE, &m, CONTROL_HEADER_MAX);
}

static int advertise(struct bus_conn *c, struct bus_topic *t)
{
    int r = bus__numbers_peek(&c->alias_numbers, c->aliases_max, &t->alias);

    r = r < 0 ? r : bus__table_reserve(&c->aliases, t->alias);
    r = r < 0 ? r : send_advertise(c, t);
    if (r < 0) {
        return r;
    }
    t->lead_bytes = FRAME_PREFIX_BYTES;
    t->lead_bytes += (uint32_t) hot_put_field_1(t->lead + FRAME_PREFIX_BYTES, t->alias);
    frame_write_prefix(t->lead, VERB_PUBLISH, t->lead_bytes - FRAME_PREFIX_BYTES, 0);
    t->since = c->sequence;
    bus__numbers_take(&c->alias_numbers);
    c->aliases.at[t->alias] = t;
    c->n_topics++;
    return 0;
}

static void topic_free(struct bus_topic *t)
{
    bus__topic_name_unref(t->shared_name);
    free(t->why_text);
    free(t);
}

static void topic_remove(struct bus_conn *c, struct bus_topic *t)
{
    if (t->automatic) {
        HASH_DEL(c->by_name, t);
        DL_DELETE(c->lru, t);
    }
    c->aliases.at[t->alias] = NULL;
    bus__numbers_give(&c->alias_numbers, t->alias);
    c->n_topics--;
    topic_free(t);
}

void bus__topic_refuse(struct bus_topic *t, const struct wire_status *m)
{
    size_t len = MIN(m->text.len, GOODBYE_TEXT_MAX);

    t->refused = m->code;
    t->why = m->code;
    free(t->why_text);
    t->why_text = len > 0 ? calloc(1, len + 1) : NULL; /* without memory the status says it */
    if (t->why_text) {
        memcpy(t->why_text, m->text.data, len);
    }
}

void bus__topic_why(const struct bus_topic *t, uint32_t *code, struct text *text)
{
    if (*code == BUS_STATUS_UNKNOWN_ALIAS && t->why) {
        *code = t->why;
        *text = text_from(t->why_text ? t->why_text : bus_status_text((enum bus_status) t->why));
    }
}

struct topic_name *bus__topic_shared_name(struct bus_topic *t)
{
    if (!t->shared_name) {
        t->shared_name = bus__topic_name_new(t->name, t->len);
    }
    if (t->shared_name) {
        t->shared_name->refs++;
    }
    return t->shared_name;
}

int bus_advertise(struct bus_conn *conn, const char *topic, struct bus_topic **ret_topic)
{
    return bus_advertise_with(conn, topic, NULL, ret_topic);
}

int bus_advertise_with(struct bus_conn *conn, const char *topic, const struct bus_topic_opts *opts,
                       struct bus_topic **ret_topic)
{
    static const struct bus_topic_opts defaults = BUS_TOPIC_OPTS_INIT;
    AUTO_FREE struct bus_topic *t = NULL;
    size_t len = topic ? strnlen(topic, BUS_TOPIC_MAX + 1) : 0;
    int r = bus__usable(conn);

    if (r < 0) {
        return r;
    }
    opts = opts ? opts : &defaults;
    if (!topic_valid(topic, len) || opts->size != sizeof(*opts) ||
        (opts->flags & ~TOPIC_FLAGS) != 0 ||
        ((opts->flags & BUS_TOPIC_RELIABLE) && !conn->session)) {
        return -EINVAL;
    }
    r = conn->monitor.on_record ? -EBUSY : bus__room(conn);
    if (r < 0) {
        return r;
    }
    t = topic_new(conn, topic, len);
    if (!t) {
        return -ENOMEM;
    }
    t->flags = opts->flags;
    t->retain_messages = opts->retain_messages;
    t->retain_ttl_ms = opts->retain_ttl_ms;
    t->on_interest = opts->on_interest;
    t->userdata = opts->userdata;
    r = advertise(conn, t);
    if (r < 0) {
        return r;
    }
    *ret_topic = TAKE(t);
    return 0;
}

/* Its alias is not used again before the router has seen the end: or an INTEREST that is on its way
 * would be taken for one of the next topic. False if that cannot be asked. */
static bool topic_leave(struct bus_conn *c, struct bus_topic *t)
{
    struct wire_ping ping = {c->ping_token + 1};

    if (!bus__has_link(c) || bus__usable(c) < 0 ||
        bus__send(c, VERB_PING, &ping, CONTROL_HEADER_MAX) < 0) {
        return false;
    }
    c->ping_token++;
    t->left_at = ping.token;
    c->n_topics--;
    DL_APPEND(c->leaving, t);
    return true;
}

static void topic_end(struct bus_conn *c, struct bus_topic *t)
{
    struct wire_unadvertise m = {.alias = t->alias};

    if (bus__usable(c) == 0) {
        bus__send_or_fail(c, VERB_UNADVERTISE, &m);
    }
    if (!t->on_interest || !topic_leave(c, t)) {
        topic_remove(c, t);
    }
}

/* What waits to be published may name its alias, which then must not mean something else. */
static bool is_needed(const struct bus_conn *c)
{
    return c->session && c->session->backlog.bytes_max > 0 &&
           (c->session->backlog.first || c->outq.bytes > 0);
}

/* What was published to it may have to be published again. */
static bool is_kept(const struct bus_conn *c, const struct bus_topic *t)
{
    return (t->flags & BUS_TOPIC_RELIABLE) && bus__reliable_first(c) <= t->ends_behind;
}

void bus_topic_unref(struct bus_topic *topic)
{
    struct bus_conn *c;

    if (!topic) {
        return;
    }
    c = topic->conn;
    topic->ends_behind = c->sequence;
    if (!bus__forked(c) && (is_needed(c) || is_kept(c, topic))) {
        topic->left_at = UINT64_MAX;
        c->n_topics--;
        DL_APPEND(c->departing, topic);
    } else {
        topic_end(c, topic);
    }
}

void bus__topics_depart(struct bus_conn *c)
{
    struct bus_topic *t, *next;

    DL_FOREACH_SAFE (c->departing, t, next) {
        if (!c->session->backlog.first && !is_kept(c, t)) {
            DL_DELETE(c->departing, t);
            c->n_topics++; /* which it was taken from when it was ended */
            topic_end(c, t);
        }
    }
}

void bus__topics_settle(struct bus_conn *c, uint64_t token)
{
    while (UNLIKELY(c->leaving && c->leaving->left_at <= token)) {
        struct bus_topic *t = c->leaving;

        DL_DELETE(c->leaving, t);
        c->n_topics++; /* which it was taken from when it was ended */
        topic_remove(c, t);
    }
}

void bus__topics_lost(struct bus_conn *c)
{
    bus__topics_settle(c, UINT64_MAX);
    for (uint32_t i = 0; i < c->aliases.n; i++) {
        struct bus_topic *t = c->aliases.at[i];

        if (t) {
            t->refused = 0;
        }
    }
}

int bus__topics_again(struct bus_conn *c)
{
    int r = 0;

    for (uint32_t i = 0; i < c->aliases.n && r == 0; i++) {
        r = c->aliases.at[i] ? send_advertise(c, c->aliases.at[i]) : 0;
    }
    return r;
}

void bus__topics_fini(struct bus_conn *c)
{
    HASH_CLEAR(hh, c->by_name);
    c->lru = c->leaving = c->departing = NULL;
    for (uint32_t i = 0; i < c->aliases.n; i++) {
        struct bus_topic *t = c->aliases.at[i];

        if (t) {
            topic_free(t);
        }
    }
    bus__table_fini(&c->aliases);
    bus__numbers_fini(&c->alias_numbers);
}

/* ---- automatic topics ---- */

/* The one that has not been used for the longest time makes room. Only what it is known by changes:
 * a later publish makes it anew. */
static int recycle(struct bus_conn *c)
{
    struct bus_topic *t = is_needed(c) ? NULL : c->lru;
    int r = t ? send_unadvertise(c, t) : -ENOSPC;

    if (r == 0) {
        topic_remove(c, t);
    }
    return r;
}

static int automatic_add(struct bus_conn *c, struct bus_topic *t)
{
    int r;

    HASH_ADD_KEYPTR(hh, c->by_name, t->name, t->len, t);
    if (!t->hh.tbl) {
        return -ENOMEM;
    }
    r = advertise(c, t);
    if (r == -ENOSPC) {
        r = recycle(c);
        r = r < 0 ? r : advertise(c, t);
    }
    if (r < 0) {
        HASH_DEL(c->by_name, t);
        return r;
    }
    t->automatic = true;
    DL_APPEND(c->lru, t);
    return 0;
}

static int automatic_new(struct bus_conn *c, const char *name, size_t len, struct bus_topic **ret)
{
    struct bus_topic *t;
    int r;

    if (c->monitor.on_record) {
        return -EBUSY; /* which has no topics, so that every name comes here */
    }
    t = topic_new(c, name, len);
    r = t ? automatic_add(c, t) : -ENOMEM;
    if (r < 0) {
        free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* The router may think better of it now. */
static int automatic_again(struct bus_conn *c, struct bus_topic *t)
{
    int r = send_unadvertise(c, t);

    r = r < 0 ? r : send_advertise(c, t);
    if (r == 0) {
        t->refused = 0;
    }
    return r;
}

struct bus_topic *bus__topic_find(const struct bus_conn *c, const char *name, size_t len)
{
    struct bus_topic *t = NULL;

    HASH_FIND(hh, c->by_name, name, len, t);
    return t;
}

int bus__topic_automatic(struct bus_conn *c, const char *name, struct bus_topic **ret)
{
    size_t len = name ? strnlen(name, BUS_TOPIC_MAX + 1) : 0;
    struct bus_topic *t = bus__topic_find(c, name, len);

    if (UNLIKELY(!t)) {
        return topic_valid(name, len) ? automatic_new(c, name, len, ret) : -EINVAL;
    }
    if (UNLIKELY(t->refused)) {
        int r = automatic_again(c, t);

        if (r < 0) {
            return r;
        }
    }
    if (c->lru->prev != t) { /* the prev of utlist's head is the tail */
        DL_DELETE(c->lru, t);
        DL_APPEND(c->lru, t);
    }
    *ret = t;
    return 0;
}
