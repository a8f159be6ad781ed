/* SPDX-License-Identifier: MIT */
/* Watching a router: bus/monitor.h. */

#include <errno.h>
#include <string.h>
#include <utlist.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "wire/topic.h"

#define FILTERS_MAX 32u
/* All filters of the greatest length, their tags, and the numbers. */
#define MONITOR_HEADER_MAX (FILTERS_MAX * (BUS_TOPIC_MAX + 4u) + 64u)

/* A list that has been asked for. Only the first one's request is on its way. */
struct snapshot {
    struct snapshot *prev, *next; /* bus_conn.snapshots */
    enum bus_snapshot_kind kind;
    uint64_t after; /* the part that is being answered */
    bus_snapshot_fn on_entry;
    void *userdata;
};

/* ---- monitor ---- */

static int monitor_check(struct bus_conn *c, const char *const *filters, size_t n,
                         const struct bus_monitor_opts *opts, bus_record_fn on_record)
{
    int r = bus__usable(c);

    if (r < 0) {
        return r;
    }
    if (!on_record || n > FILTERS_MAX || (n > 0 && !filters) || opts->size != sizeof(*opts) ||
        c->session) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!filters[i] || !bus_filter_valid(filters[i])) {
            return -EINVAL;
        }
    }
    if (c->n_subs > 0 || c->n_topics > 0 || c->monitor.on_record) {
        return -EBUSY;
    }
    return bus__room(c);
}

int bus_monitor(struct bus_conn *conn, const char *const *filters, size_t n_filters,
                const struct bus_monitor_opts *opts, bus_record_fn on_record, void *userdata)
{
    static const struct bus_monitor_opts defaults = BUS_MONITOR_OPTS_INIT;
    struct text texts[FILTERS_MAX];
    struct wire_monitor m = {.filters = texts, .n_filters = n_filters};
    int r;

    opts = opts ? opts : &defaults;
    r = monitor_check(conn, filters, n_filters, opts, on_record);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < n_filters; i++) {
        texts[i] = text_from(filters[i]);
    }
    m.snap_bytes = opts->snap_bytes;
    m.queue_bytes = opts->queue_bytes;
    r = bus__send(conn, VERB_MONITOR, &m, MONITOR_HEADER_MAX);
    if (r == 0) {
        conn->monitor = (struct monitor){on_record, opts->on_loss, opts->on_ready, userdata};
    }
    return r;
}

void bus__on_monitor_status(struct bus_conn *c, const struct wire_status *m)
{
    struct monitor monitor = c->monitor;
    char text[GOODBYE_TEXT_MAX + 1];
    size_t len = MIN(m->text.len, sizeof(text) - 1);

    if (!monitor.on_record) {
        bus__fail_protocol(c, "STATUS for a MONITOR that was not sent");
        return;
    }
    if (m->code != BUS_STATUS_OK) {
        c->monitor = (struct monitor){0}; /* an ordinary connection again */
    }
    memcpy(text, m->text.data, len);
    text[len] = '\0';
    if (monitor.on_ready) {
        monitor.on_ready(c, (enum bus_status) m->code, text, monitor.userdata);
    } else if (m->code != BUS_STATUS_OK) {
        bus__tell_status(c, m, NULL);
    }
}

void bus__on_monitor_loss(struct bus_conn *c, const struct wire_loss *m)
{
    struct bus_loss loss = {m->count, m->bytes, (enum bus_loss_reason) m->reason};

    if (!c->monitor.on_record || m->count == 0) {
        bus__fail_protocol(c, "LOSS of nothing, or without MONITOR");
    } else if (c->monitor.on_loss) {
        c->monitor.on_loss(c, &loss, c->monitor.userdata);
    }
}

/* ---- records ---- */

/* A record borrows from the tables of ids, which may change in the callback: it holds what it
 * shows. */
struct record_refs {
    struct topic_name *topic;
    struct peer_name *sender;
    struct peer_name **peers; /* of the recipients */
    size_t n_peers;
};

static bool record_refs_init(struct bus_conn *c, struct arena *a, const struct wire_monitored *m,
                             struct record_refs *ret)
{
    ret->topic = bus__table_get(&c->topics, m->topic);
    ret->sender = bus__table_get(&c->peers, m->sender);
    ret->peers = arena_alloc(a, (m->n_recipients + 1) * sizeof(struct peer_name *));
    ret->n_peers = m->n_recipients;
    if (!ret->topic || !ret->sender || !ret->peers) {
        return false;
    }
    for (size_t i = 0; i < m->n_recipients; i++) {
        ret->peers[i] = bus__table_get(&c->peers, m->recipients[i].peer);
        if (!ret->peers[i]) {
            return false;
        }
    }
    return true;
}

static void record_refs_take(struct record_refs *refs)
{
    refs->topic->refs++;
    refs->sender->refs++;
    for (size_t i = 0; i < refs->n_peers; i++) {
        refs->peers[i]->refs++;
    }
}

static void record_refs_drop(struct record_refs *refs)
{
    bus__topic_name_unref(refs->topic);
    bus__peer_name_unref(refs->sender);
    for (size_t i = 0; i < refs->n_peers; i++) {
        bus__peer_name_unref(refs->peers[i]);
    }
}

static const struct bus_recipient *recipients(struct arena *a, const struct wire_monitored *m,
                                              const struct record_refs *refs)
{
    struct bus_recipient *v = arena_alloc(a, (m->n_recipients + 1) * sizeof(*v));

    for (size_t i = 0; v && i < m->n_recipients; i++) {
        const struct wire_recipient *from = &m->recipients[i];

        v[i] = (struct bus_recipient){&refs->peers[i]->peer, from->subscription,
                                      (enum bus_verdict) from->verdict,
                                      (enum bus_loss_reason) from->reason, from->evicted};
    }
    return v;
}

void bus__on_monitored(struct bus_conn *c, struct arena *a, const struct wire_monitored *m,
                       const struct frame *f)
{
    struct record_refs refs;
    struct bus_record record;

    if (!c->monitor.on_record || !record_refs_init(c, a, m, &refs)) {
        bus__fail_protocol(c, "MONITORED out of place or with an unknown number");
        return;
    }
    record = (struct bus_record){
        .order = m->order,
        .topic = refs.topic->name,
        .sender = &refs.sender->peer,
        .sequence = m->sequence,
        .time_ns = m->time,
        .status = (enum bus_status) m->status,
        .data = f->body,
        .snap_bytes = f->body_bytes,
        .body_bytes = m->body_bytes,
        .headers = bus__headers(a, m->headers, m->n_headers),
        .n_headers = m->n_headers,
        .recipients = recipients(a, m, &refs),
        .n_recipients = m->n_recipients,
        .recipients_omitted = m->recipients_omitted,
        .n_fds = m->descriptors,
        .kind = (enum bus_record_kind) m->kind,
        .call = m->call,
        .error = m->error,
    };
    if (!record.headers || !record.recipients) {
        bus__fail_protocol(c, "MONITORED too large");
        return;
    }
    record_refs_take(&refs);
    c->monitor.on_record(c, &record, c->monitor.userdata);
    record_refs_drop(&refs);
}

/* ---- snapshots ---- */

static int snapshot_ask(struct bus_conn *c, const struct snapshot *s)
{
    struct wire_snapshot m = {.kind = (uint32_t) s->kind, .after = s->after};

    return bus__send(c, VERB_SNAPSHOT, &m, CONTROL_HEADER_MAX);
}

int bus_snapshot(struct bus_conn *conn, enum bus_snapshot_kind kind, bus_snapshot_fn on_entry,
                 void *userdata)
{
    struct snapshot *s;
    int r = bus__connected(conn);

    if (r < 0) {
        return r;
    }
    if (!on_entry || kind < BUS_SNAPSHOT_CLIENTS || kind > BUS_SNAPSHOT_COUNTERS) {
        return -EINVAL;
    }
    r = bus__room(conn);
    if (r < 0) {
        return r;
    }
    s = malloc(sizeof(*s));
    if (!s) {
        return -ENOMEM;
    }
    *s = (struct snapshot){.kind = kind, .on_entry = on_entry, .userdata = userdata};
    r = conn->snapshots ? 0 : snapshot_ask(conn, s);
    if (r < 0) {
        free(s);
        return r;
    }
    DL_APPEND(conn->snapshots, s);
    return 0;
}

/* The first one is done: the next one's turn, and then the application hears of it. */
static void snapshot_end(struct bus_conn *c, enum bus_status status)
{
    struct snapshot *s = c->snapshots;
    struct snapshot done = *s;

    DL_DELETE(c->snapshots, s);
    free(s);
    if (c->snapshots && bus__has_link(c) && snapshot_ask(c, c->snapshots) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
    done.on_entry(c, NULL, status, done.userdata);
}

void bus__snapshots_lost(struct bus_conn *c)
{
    DL_CONCAT(c->cut_short, c->snapshots);
    c->snapshots = NULL;
}

void bus__snapshots_end(struct bus_conn *c)
{
    while (c->cut_short) {
        struct snapshot *s = c->cut_short;
        struct snapshot done = *s;

        DL_DELETE(c->cut_short, s);
        free(s);
        done.on_entry(c, NULL, BUS_STATUS_DISCONNECTED, done.userdata);
    }
}

void bus__on_snapshot_status(struct bus_conn *c, const struct wire_status *m)
{
    if (!c->snapshots) {
        bus__fail_protocol(c, "STATUS for a SNAPSHOT that was not sent");
    } else if (m->code != BUS_STATUS_OK) {
        snapshot_end(c, (enum bus_status) m->code);
    }
}

void bus__on_snapshot_end(struct bus_conn *c, const struct wire_snapshot_end *m)
{
    struct snapshot *s = c->snapshots;

    if (!s || m->kind != (uint32_t) s->kind || (m->next != 0 && m->next <= s->after)) {
        bus__fail_protocol(c, "SNAPSHOT_END out of place");
        return;
    }
    if (m->next == 0) {
        snapshot_end(c, BUS_STATUS_OK);
        return;
    }
    s->after = m->next;
    if (bus__has_link(c) && snapshot_ask(c, s) < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
    }
}

static void tell_entry(struct bus_conn *c, const struct bus_snapshot_entry *entry)
{
    struct snapshot *s = c->snapshots;

    if (!s || s->kind != entry->kind) {
        bus__fail_protocol(c, "an entry of a snapshot that was not asked for");
        return;
    }
    s->on_entry(c, entry, BUS_STATUS_OK, s->userdata);
}

void bus__on_client_stats(struct bus_conn *c, struct arena *a, const struct wire_client_stats *m)
{
    const struct bus_client_stats stats = {
        .peer = {m->connection_id, m->uid, m->gid, m->pid, bus__text(a, m->name)},
        .published_messages = m->published_messages,
        .published_bytes = m->published_bytes,
        .delivered_messages = m->delivered_messages,
        .delivered_bytes = m->delivered_bytes,
        .lost_messages = m->lost_messages,
        .refused_messages = m->refused_messages,
        .queued_messages = m->queued_messages,
        .queued_bytes = m->queued_bytes,
        .charged_bytes = m->charged_bytes,
        .subscriptions = m->subscriptions,
        .aliases = m->aliases,
    };
    struct bus_snapshot_entry entry = {.kind = BUS_SNAPSHOT_CLIENTS, .client = &stats};

    if (!stats.peer.name) {
        bus__fail_protocol(c, "name too long");
        return;
    }
    tell_entry(c, &entry);
}

void bus__on_topic_stats(struct bus_conn *c, struct arena *a, const struct wire_topic_stats *m)
{
    const struct bus_topic_stats stats = {
        .id = m->id,
        .name = bus__text(a, m->name),
        .published_messages = m->published_messages,
        .published_bytes = m->published_bytes,
        .delivered_messages = m->delivered_messages,
        .lost_messages = m->lost_messages,
        .publishers = m->publishers,
        .subscriptions = m->subscriptions,
        .retained_messages = m->retained_messages,
        .retained_bytes = m->retained_bytes,
    };
    struct bus_snapshot_entry entry = {.kind = BUS_SNAPSHOT_TOPICS, .topic = &stats};

    if (!stats.name) {
        bus__fail_protocol(c, "name too long");
        return;
    }
    tell_entry(c, &entry);
}

void bus__on_counter(struct bus_conn *c, struct arena *a, const struct wire_counter *m)
{
    const struct bus_counter counter = {bus__text(a, m->name), m->value};
    struct bus_snapshot_entry entry = {.kind = BUS_SNAPSHOT_COUNTERS, .counter = &counter};

    if (!counter.name) {
        bus__fail_protocol(c, "name too long");
        return;
    }
    tell_entry(c, &entry);
}

void bus__monitor_fini(struct bus_conn *c)
{
    struct snapshot *s, *next;

    DL_CONCAT(c->snapshots, c->cut_short);
    DL_FOREACH_SAFE (c->snapshots, s, next) {
        free(s);
    }
    c->snapshots = c->cut_short = NULL;
    c->monitor = (struct monitor){0};
}
