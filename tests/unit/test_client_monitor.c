/* SPDX-License-Identifier: MIT */
/* bus/monitor.h: records, their losses, and snapshots in parts. */
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_fake.h"

struct seen {
    struct fake *f;
    char log[512];
    bool process;
};

static void note(struct seen *s, const char *what, unsigned long number)
{
    size_t len = strlen(s->log);

    (void) snprintf(s->log + len, sizeof(s->log) - len, "%s%lu ", what, number);
}

/* ---- monitor ---- */

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    struct seen *s = userdata;

    note(s, "r", record->order);
    if (s->process) { /* the ids of the record are bound anew while it is looked at */
        fake_bind(s->f, 1, "new");
        fake_bind_peer(s->f, 1, "new");
        fake_bind_peer(s->f, 2, "new");
        fake_send(s->f);
        while (bus_process(conn) > 0) {
            continue;
        }
    }
    assert_string_equal(record->topic, "a/b");
    assert_string_equal(record->sender->name, "sender");
    assert_int_equal(record->sequence, 3);
    assert_int_equal(record->time_ns, 4);
    assert_int_equal(record->status, BUS_STATUS_OK);
    assert_int_equal(record->snap_bytes, 2);
    assert_memory_equal(record->data, "ab", 2);
    assert_int_equal(record->body_bytes, 200);
    assert_int_equal(record->n_headers, 1);
    assert_string_equal(record->headers[0].name, "h");
    assert_string_equal(record->headers[0].value, "v");
    assert_int_equal(record->n_recipients, 2);
    assert_string_equal(record->recipients[0].peer->name, "other");
    assert_int_equal(record->recipients[0].subscription, 5);
    assert_int_equal(record->recipients[0].verdict, BUS_VERDICT_DELIVERED);
    assert_int_equal(record->recipients[1].verdict, BUS_VERDICT_DROPPED);
    assert_int_equal(record->recipients[1].reason, BUS_LOSS_QUEUE_FULL);
    assert_int_equal(record->recipients[1].evicted, 9);
    assert_int_equal(record->recipients_omitted, 6);
}

static void on_loss(struct bus_conn *conn, const struct bus_loss *loss, void *userdata)
{
    (void) conn;
    note(userdata, "l", loss->count);
}

static void on_ready(struct bus_conn *conn, enum bus_status status, const char *text,
                     void *userdata)
{
    (void) conn;
    assert_string_equal(text, "why");
    note(userdata, "ready", status);
}

static void start_monitor(struct seen *s, struct fake *f)
{
    struct bus_monitor_opts opts = BUS_MONITOR_OPTS_INIT;
    const char *filters[] = {"a/#", "$bus/#"};
    union wire_any m;

    *s = (struct seen){.f = f};
    fake_start(f);
    opts.snap_bytes = 2;
    opts.queue_bytes = 100000;
    opts.on_loss = on_loss;
    opts.on_ready = on_ready;
    assert_int_equal(bus_monitor(f->conn, filters, 2, &opts, on_record, s), 0);
    m = fake_hear(f, VERB_MONITOR);
    assert_int_equal(m.monitor.n_filters, 2);
    assert_text(m.monitor.filters[1], "$bus/#");
    assert_int_equal(m.monitor.snap_bytes, 2);
    assert_int_equal(m.monitor.queue_bytes, 100000);
}

static void say_record(struct fake *f)
{
    struct wire_recipient recipients[] = {{2, 5, 1, 0, 0}, {2, 6, 3, 1, 9}};
    struct wire_header header = {{"h", 1}, {"v", 1}};
    struct wire_monitored m = {.order = 8,
                               .topic = 1,
                               .sender = 1,
                               .sequence = 3,
                               .time = 4,
                               .body_bytes = 200,
                               .recipients = recipients,
                               .n_recipients = 2,
                               .recipients_omitted = 6,
                               .headers = &header,
                               .n_headers = 1};

    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "sender");
    fake_bind_peer(f, 2, "other");
    fake_say_body(f, VERB_MONITORED, &m, "ab", 2);
}

static void test_records(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct wire_loss loss = {0, 17, 170, BUS_LOSS_QUEUE_FULL};

    start_monitor(&s, f);
    fake_say_status(f, BUS_STATUS_OK, VERB_MONITOR, 0, 0, 0);
    say_record(f);
    fake_say(f, VERB_LOSS, &loss);
    say_record(f);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "ready0 r8 l17 r8 ");
}

static void test_a_record_keeps_what_it_shows(void **state)
{
    struct fake *f = *state;
    struct seen s;

    start_monitor(&s, f);
    s.process = true;
    fake_say_status(f, BUS_STATUS_OK, VERB_MONITOR, 0, 0, 0);
    say_record(f);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "ready0 r8 ");
}

static void test_a_monitor_does_nothing_else(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct bus_topic *t;

    start_monitor(&s, f);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), -EBUSY);
    assert_int_equal(bus_advertise(f->conn, "a", &t), -EBUSY);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, (bus_message_fn) (void *) abort, NULL, NULL),
                     -EBUSY);
    assert_int_equal(bus_monitor(f->conn, NULL, 0, NULL, on_record, NULL), -EBUSY);
    fake_hear_nothing(f);
}

static void test_a_refused_monitor_is_a_client_again(void **state)
{
    struct fake *f = *state;
    struct seen s;

    start_monitor(&s, f);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_MONITOR, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "ready10 ");
    assert_int_equal(bus_publish(f->conn, "a", "", 0), 0);
}

static void test_monitor_arguments(void **state)
{
    struct fake *f = *state;
    const char *filters[33];
    struct bus_topic *t;
    static char filter[BUS_TOPIC_MAX + 1];

    fake_start(f);
    memset(filter, 'f', sizeof(filter) - 1);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        filters[i] = filter;
    }
    assert_int_equal(bus_monitor(f->conn, NULL, 0, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(bus_monitor(f->conn, filters, 33, NULL, on_record, NULL), -EINVAL);
    filters[31] = "a#";
    assert_int_equal(bus_monitor(f->conn, filters, 32, NULL, on_record, NULL), -EINVAL);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_monitor(f->conn, filters, 1, NULL, on_record, NULL), -EBUSY);
    bus_topic_unref(t);
    (void) fake_hear(f, VERB_UNADVERTISE);
    filters[31] = filter;
    assert_int_equal(bus_monitor(f->conn, filters, 32, NULL, on_record, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_MONITOR).monitor.n_filters, 32);
}

/* ---- snapshots ---- */

static void on_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                     enum bus_status status, void *userdata)
{
    struct seen *s = userdata;

    (void) conn;
    if (!entry) {
        note(s, "end", status);
    } else if (entry->client) {
        assert_int_equal(entry->kind, BUS_SNAPSHOT_CLIENTS);
        assert_string_equal(entry->client->peer.name, "c");
        assert_int_equal(entry->client->peer.pid, 3);
        assert_int_equal(entry->client->refused_messages, 16);
        note(s, "c", entry->client->peer.connection_id);
    } else if (entry->topic) {
        assert_string_equal(entry->topic->name, "t");
        note(s, "t", entry->topic->id);
    } else {
        assert_string_equal(entry->counter->name, "n");
        note(s, "n", entry->counter->value);
    }
}

static void say_client(struct fake *f, uint64_t id)
{
    struct wire_client_stats m = {.connection_id = id,
                                  .uid = 1,
                                  .gid = 2,
                                  .pid = 3,
                                  .name = {"c", 1},
                                  .refused_messages = 16};

    fake_say(f, VERB_CLIENT_STATS, &m);
}

static void test_snapshot_in_parts(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct wire_snapshot_end end = {1, 12};
    union wire_any m;

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, on_entry, &s), 0);
    m = fake_hear(f, VERB_SNAPSHOT);
    assert_int_equal(m.snapshot.kind, 1);
    assert_int_equal(m.snapshot.after, 0);
    say_client(f, 10);
    say_client(f, 12);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), 0);
    m = fake_hear(f, VERB_SNAPSHOT);
    assert_int_equal(m.snapshot.after, 12);
    say_client(f, 15);
    end.next = 0;
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "c10 c12 c15 end0 ");
    fake_hear_nothing(f);
}

static void test_snapshots_in_turn(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct wire_snapshot_end end = {2, 0};
    struct wire_topic_stats topic = {.id = 4, .name = {"t", 1}};
    struct wire_counter counter = {{"n", 1}, 5};

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, on_entry, &s), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_COUNTERS, on_entry, &s), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, on_entry, &s), 0);
    assert_int_equal(fake_hear(f, VERB_SNAPSHOT).snapshot.kind, 2);
    fake_hear_nothing(f);
    fake_say(f, VERB_TOPIC_STATS, &topic);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_SNAPSHOT).snapshot.kind, 3);
    fake_say(f, VERB_COUNTER, &counter);
    end.kind = 3;
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_SNAPSHOT).snapshot.kind, 1);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_SNAPSHOT, 0, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "t4 end0 n5 end0 end10 ");
}

/* What has come to its end is told, also if the next one cannot be asked for. */
static void test_a_snapshot_ends_though_the_next_cannot_begin(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct wire_snapshot_end end = {3, 0};

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_COUNTERS, on_entry, &s), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, on_entry, &s), 0);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    fake_send(f);
    outq_pool_fini(&f->conn->chunks);
    failmalloc_arm_from(1);
    (void) bus_process(f->conn);
    assert_true(failmalloc_disarm() > 0);
    assert_int_equal(f->goodbye, BUS_GOODBYE_NO_MEMORY);
    assert_string_equal(s.log, "end0 end24 ");
}

static void test_snapshots_end_with_the_connection(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, on_entry, &s), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_COUNTERS, on_entry, &s), 0);
    say_client(f, 10);
    fake_send(f);
    fake_hang_up(f);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_string_equal(s.log, "c10 end24 end24 ");
    assert_int_equal(f->n_closed, 1);
}

static void test_snapshot_that_goes_in_circles(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};
    struct wire_snapshot_end end = {1, 5};

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, on_entry, &s), 0);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

static void test_snapshot_arguments(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, (enum bus_snapshot_kind) 4, on_entry, NULL), -EINVAL);
    assert_int_equal(bus_snapshot(f->conn, (enum bus_snapshot_kind) 0, on_entry, NULL), -EINVAL);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, NULL, NULL), -EINVAL);
}

static void close_in_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                           enum bus_status status, void *userdata)
{
    struct seen *s = userdata;

    (void) status;
    bus_close(conn);
    s->f->conn = NULL;
    assert_string_equal(entry->client->peer.name, "c");
}

static void test_close_in_an_entry(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};

    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_CLIENTS, close_in_entry, &s), 0);
    say_client(f, 1);
    say_client(f, 2);
    fake_send(f);
    assert_int_equal(bus_process(f->conn), -ENOTCONN);
}

/* ---- helpers.c ---- */

static void test_helpers(void **state)
{
    enum bus_policy policy = BUS_POLICY_DROP_OLDEST;

    (void) state;
    assert_true(bus_topic_valid("a/b"));
    assert_false(bus_topic_valid("a/+"));
    assert_true(bus_filter_valid("a/+"));
    assert_true(bus_filter_matches("a/+", "a/b"));
    assert_false(bus_filter_matches("a/+", "a/b/c"));
    assert_false(bus_filter_matches("a#", "a"));
    assert_string_equal(bus_status_text(BUS_STATUS_OK), "ok");
    assert_string_equal(bus_status_text((enum bus_status) 99), "unknown");
    assert_string_equal(bus_goodbye_text(BUS_GOODBYE_SHUTDOWN), "the router stops");
    assert_string_equal(bus_loss_text(BUS_LOSS_QUEUE_FULL), "queue full");
    assert_string_equal(bus_verdict_text(BUS_VERDICT_QUEUED), "queued");
    assert_int_equal(bus_policy_parse("block", &policy), 0);
    assert_int_equal(policy, BUS_POLICY_BLOCK);
    assert_int_equal(bus_policy_parse("blocks", &policy), -EINVAL);
    assert_string_equal(bus_version(), BUS_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_records),
        ON_BOTH_LINKS(test_a_record_keeps_what_it_shows),
        ON_BOTH_LINKS(test_a_monitor_does_nothing_else),
        ON_BOTH_LINKS(test_a_refused_monitor_is_a_client_again),
        ON_BOTH_LINKS(test_monitor_arguments),
        ON_BOTH_LINKS(test_snapshot_in_parts),
        ON_BOTH_LINKS(test_snapshots_in_turn),
        ON_BOTH_LINKS(test_a_snapshot_ends_though_the_next_cannot_begin),
        ON_BOTH_LINKS(test_snapshots_end_with_the_connection),
        ON_BOTH_LINKS(test_snapshot_that_goes_in_circles),
        ON_BOTH_LINKS(test_snapshot_arguments),
        ON_BOTH_LINKS(test_close_in_an_entry),
        cmocka_unit_test(test_helpers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
