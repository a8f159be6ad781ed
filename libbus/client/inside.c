/* SPDX-License-Identifier: MIT */
/* Asking the router about itself: bus/inside.h. Lists are asked for page by page; what is asked for
 * stands in bus_conn.inquiries until its last callback. */

#include "wire/inside.h"
#include <bus/inside.h>
#include <bus/request.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>
#include "client/conn.h"
#include "client/handlers.h"

#define QUERY_MAX 64u
#define CONTROL_TEXT_MAX 255u

/* ---- entries ---- */

/* The structs of bus/inside.h have the fields of those of wire/inside.h in the same order. */
#define AT(type, name) offsetof(struct type, name),

static const uint16_t client_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_client, name)
    BUS_INSIDE_CLIENT_FIELDS(X)
#undef X
};
static const uint16_t topic_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_topic, name)
    BUS_INSIDE_TOPIC_FIELDS(X)
#undef X
};
static const uint16_t subscription_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_subscription, name)
    BUS_INSIDE_SUBSCRIPTION_FIELDS(X)
#undef X
};
static const uint16_t group_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_group, name)
    BUS_INSIDE_GROUP_FIELDS(X)
#undef X
};
static const uint16_t quota_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_quota, name)
    BUS_INSIDE_QUOTA_FIELDS(X)
#undef X
};
static const uint16_t closed_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_closed, name)
    BUS_INSIDE_CLOSED_FIELDS(X)
#undef X
};
static const uint16_t counter_at[] = {
#define X(number, kind, name, meaning) AT(bus_inside_counter, name)
    BUS_INSIDE_COUNTER_FIELDS(X)
#undef X
};

static const uint16_t *const places[BUS_INSIDE_LISTS_END] = {
    [BUS_INSIDE_CLIENTS] = client_at,
    [BUS_INSIDE_TOPICS] = topic_at,
    [BUS_INSIDE_SUBSCRIPTIONS] = subscription_at,
    [BUS_INSIDE_GROUPS] = group_at,
    [BUS_INSIDE_QUOTAS] = quota_at,
    [BUS_INSIDE_CLOSED] = closed_at,
    [BUS_INSIDE_COUNTERS] = counter_at,
};

union public_any {
    struct bus_inside_client client;
    struct bus_inside_topic topic;
    struct bus_inside_subscription subscription;
    struct bus_inside_group group;
    struct bus_inside_quota quota;
    struct bus_inside_closed closed;
    struct bus_inside_counter counter;
};

/* A page on its way to the application. */
struct reading {
    enum bus_inside_list list;
    struct inside_page_reader page;
    union inside_any wire;
    union public_any entry;
    struct bus_inside_entry shown;
    char *texts; /* of one entry, with NULs behind them */
};

static bool reading_init(struct reading *r, enum bus_inside_list list, const void *data,
                         size_t bytes)
{
    const uint8_t *body = bytes > 0 ? data : (const uint8_t *) "";

    *r = (struct reading){.list = list, .page.in = {body, body + bytes}};
    r->texts = malloc(bytes + inside_layout_of(list)->n_fields);
    return r->texts != NULL;
}

/* The texts of an entry are all in it, so there is room for them. */
static void entry_convert(struct reading *r)
{
    const struct inside_layout *layout = inside_layout_of(r->list);
    char *texts = r->texts;

    for (unsigned i = 0; i < layout->n_fields; i++) {
        const char *from = (const char *) &r->wire + layout->fields[i].at;
        char *to = (char *) &r->entry + places[r->list][i];

        if (layout->fields[i].is_text) {
            struct text text;

            memcpy(&text, from, sizeof(text));
            memcpy(to, &texts, sizeof(texts));
            memcpy(texts, text.data, text.len);
            texts[text.len] = '\0';
            texts += text.len + 1;
        } else {
            memcpy(to, from, sizeof(uint64_t));
        }
    }
}

static void entry_show(struct reading *r)
{
    r->shown = (struct bus_inside_entry){.list = r->list, .time_ns = r->page.time_ns};
    r->shown.client = r->list == BUS_INSIDE_CLIENTS ? &r->entry.client : NULL;
    r->shown.topic = r->list == BUS_INSIDE_TOPICS ? &r->entry.topic : NULL;
    r->shown.subscription = r->list == BUS_INSIDE_SUBSCRIPTIONS ? &r->entry.subscription : NULL;
    r->shown.group = r->list == BUS_INSIDE_GROUPS ? &r->entry.group : NULL;
    r->shown.quota = r->list == BUS_INSIDE_QUOTAS ? &r->entry.quota : NULL;
    r->shown.closed = r->list == BUS_INSIDE_CLOSED ? &r->entry.closed : NULL;
    r->shown.counter = r->list == BUS_INSIDE_COUNTERS ? &r->entry.counter : NULL;
}

/* The time of a page stands behind its entries: it is looked for first. */
static bool reading_find_time(struct reading *r)
{
    struct inside_page_reader ahead = r->page;
    enum inside_step step;

    do {
        step = inside_page_next(&ahead, inside_layout_of(r->list), &r->wire);
    } while (step == INSIDE_ENTRY);
    r->page.time_ns = ahead.time_ns;
    return step == INSIDE_END;
}

static enum inside_step reading_next(struct reading *r)
{
    enum inside_step step = inside_page_next(&r->page, inside_layout_of(r->list), &r->wire);

    if (step == INSIDE_ENTRY) {
        entry_convert(r);
        entry_show(r);
    }
    return step;
}

int bus_inside_parse(enum bus_inside_list list, const void *data, size_t bytes,
                     bus_inside_entry_fn on_entry, void *userdata, uint64_t *ret_next)
{
    enum inside_step step;
    struct reading r;

    if (!inside_layout_of(list) || !on_entry || (!data && bytes > 0)) {
        return -EINVAL;
    }
    if (!reading_init(&r, list, data, bytes)) {
        return -ENOMEM;
    }
    if (!reading_find_time(&r)) {
        free(r.texts);
        return -EBADMSG;
    }
    while ((step = reading_next(&r)) == INSIDE_ENTRY) {
        on_entry(&r.shown, userdata);
    }
    free(r.texts);
    if (ret_next) {
        *ret_next = r.page.next;
    }
    return 0;
}

/* ---- asking ---- */

struct inquiry {
    struct inquiry *prev, *next; /* bus_conn.inquiries */
    enum bus_inside_list list;   /* 0: a control */
    struct inside_query query;
    bus_inside_fn on_entry;
    bus_control_fn on_done;
    void *userdata;
};

static void inquiry_free(struct bus_conn *c, struct inquiry *q)
{
    DL_DELETE(c->inquiries, q);
    free(q);
}

/* The last callback. */
static void inquiry_end(struct bus_conn *c, struct inquiry *q, enum bus_status status,
                        const char *text)
{
    struct inquiry done = *q;

    inquiry_free(c, q);
    done.on_entry(c, NULL, status, text, done.userdata);
}

static void on_page(struct bus_conn *c, const struct bus_reply *reply, void *userdata);

static int inquiry_ask(struct bus_conn *c, struct inquiry *q)
{
    static const char *const topics[] = {
#define X(name, number, level, table) [number] = BUS_INSIDE_PREFIX #level,
        BUS_INSIDE_LISTS(X)
#undef X
    };
    uint8_t body[QUERY_MAX];
    size_t n = inside_encode(&inside_query_layout, &q->query, body, sizeof(body));

    return bus_request(c, topics[q->list], body, n, NULL, on_page, q, NULL);
}

static void inquiry_go_on(struct bus_conn *c, struct inquiry *q, uint64_t next)
{
    int r;

    if (next == 0) {
        inquiry_end(c, q, BUS_STATUS_OK, "");
        return;
    }
    if (next <= q->query.after) {
        inquiry_end(c, q, BUS_STATUS_MALFORMED, "the pages of the router do not come to an end");
        return;
    }
    q->query.after = next;
    r = inquiry_ask(c, q);
    if (r < 0) {
        inquiry_end(c, q, r == -ENOTCONN ? BUS_STATUS_DISCONNECTED : BUS_STATUS_NO_MEMORY,
                    strerror(-r));
    }
}

/* False if the application has closed the connection. */
static bool page_show(struct bus_conn *c, const struct inquiry *q, struct reading *r)
{
    while (reading_next(r) == INSIDE_ENTRY) {
        q->on_entry(c, &r->shown, BUS_STATUS_OK, "", q->userdata);
        if (c->state == CONN_CLOSED) {
            return false; /* with all inquiries */
        }
    }
    return true;
}

static void on_page(struct bus_conn *c, const struct bus_reply *reply, void *userdata)
{
    const struct bus_message *m = reply->message;
    struct inquiry *q = userdata;
    struct reading r;
    uint64_t next = 0;
    bool is_there;

    if (!m) {
        inquiry_end(c, q, reply->status, reply->text);
        return;
    }
    if (!reading_init(&r, q->list, bus_message_data(m), bus_message_bytes(m))) {
        inquiry_end(c, q, BUS_STATUS_NO_MEMORY, "out of memory");
        return;
    }
    if (reply->error || !reading_find_time(&r)) {
        free(r.texts);
        inquiry_end(c, q, BUS_STATUS_MALFORMED, "the router's answer cannot be read");
        return;
    }
    is_there = page_show(c, q, &r);
    next = r.page.next;
    free(r.texts);
    if (is_there) {
        inquiry_go_on(c, q, next);
    }
}

static struct inquiry *inquiry_new(struct bus_conn *c, enum bus_inside_list list, void *userdata)
{
    struct inquiry *q = calloc(1, sizeof(*q));

    if (q) {
        q->list = list;
        q->userdata = userdata;
        DL_APPEND(c->inquiries, q);
    }
    return q;
}

int bus_inside(struct bus_conn *conn, enum bus_inside_list list, const struct bus_inside_opts *opts,
               bus_inside_fn on_entry, void *userdata)
{
    static const struct bus_inside_opts defaults = BUS_INSIDE_OPTS_INIT;
    struct inquiry *q;
    int r = bus__connected(conn);

    opts = opts ? opts : &defaults;
    if (r < 0) {
        return r;
    }
    if (!inside_layout_of(list) || !on_entry || opts->size != sizeof(*opts)) {
        return -EINVAL;
    }
    q = inquiry_new(conn, list, userdata);
    if (!q) {
        return -ENOMEM;
    }
    q->on_entry = on_entry;
    q->query = (struct inside_query){.limit = opts->page, .connection_id = opts->connection_id};
    r = inquiry_ask(conn, q);
    if (r < 0) {
        inquiry_free(conn, q);
    }
    return r;
}

/* ---- controls ---- */

static void on_controlled(struct bus_conn *c, const struct bus_reply *reply, void *userdata)
{
    struct inquiry *q = userdata;
    struct inquiry done = *q;
    char text[CONTROL_TEXT_MAX + 1] = "";
    struct bus_control_result result = {reply->status, reply->error, reply->text};
    struct inside_controlled m;

    inquiry_free(c, q);
    if (reply->message && inside_decode(&inside_controlled_layout, bus_message_data(reply->message),
                                        bus_message_bytes(reply->message), &m)) {
        (void) snprintf(text, sizeof(text), "%.*s", (int) MIN(m.text.len, CONTROL_TEXT_MAX),
                        m.text.data);
        result.text = text;
    } else if (reply->message) {
        result.status = BUS_STATUS_MALFORMED;
        result.text = "the router's answer cannot be read";
    }
    done.on_done(c, &result, done.userdata);
}

static int control_ask(struct bus_conn *c, enum bus_control control,
                       const struct bus_control_opts *opts, struct inquiry *q)
{
    static const char *const topics[] = {
        [BUS_CONTROL_RELOAD] = BUS_INSIDE_PREFIX "control/reload",
        [BUS_CONTROL_DRAIN] = BUS_INSIDE_PREFIX "control/drain",
        [BUS_CONTROL_DISCONNECT] = BUS_INSIDE_PREFIX "control/disconnect",
    };
    const struct inside_disconnect m = {opts->connection_id,
                                        text_from(opts->text ? opts->text : "")};
    uint8_t body[CONTROL_TEXT_MAX + QUERY_MAX];
    size_t n = control == BUS_CONTROL_DISCONNECT
                   ? inside_encode(&inside_disconnect_layout, &m, body, sizeof(body))
                   : 0;

    return bus_request(c, topics[control], body, n, NULL, on_controlled, q, NULL);
}

int bus_control_router(struct bus_conn *conn, enum bus_control control,
                       const struct bus_control_opts *opts, bus_control_fn on_done, void *userdata)
{
    static const struct bus_control_opts defaults = BUS_CONTROL_OPTS_INIT;
    struct inquiry *q;
    int r = bus__connected(conn);

    opts = opts ? opts : &defaults;
    if (r < 0) {
        return r;
    }
    if (control < BUS_CONTROL_RELOAD || control > BUS_CONTROL_DISCONNECT || !on_done ||
        opts->size != sizeof(*opts) ||
        (control == BUS_CONTROL_DISCONNECT && opts->connection_id == 0)) {
        return -EINVAL;
    }
    if (opts->text && strnlen(opts->text, CONTROL_TEXT_MAX + 1) > CONTROL_TEXT_MAX) {
        return -EMSGSIZE;
    }
    q = inquiry_new(conn, (enum bus_inside_list) 0, userdata);
    if (!q) {
        return -ENOMEM;
    }
    q->on_done = on_done;
    r = control_ask(conn, control, opts, q);
    if (r < 0) {
        inquiry_free(conn, q);
    }
    return r;
}

void bus__inquiries_fini(struct bus_conn *c)
{
    struct inquiry *q, *next;

    DL_FOREACH_SAFE (c->inquiries, q, next) {
        free(q);
    }
    c->inquiries = NULL;
}

const char *bus_slow_text(enum bus_slow slow)
{
    switch (slow) {
#define X(name, number, text)                                                                      \
    case BUS_SLOW_##name:                                                                          \
        return text;
        BUS_SLOW_LIST(X)
#undef X
    }
    return "unknown";
}
