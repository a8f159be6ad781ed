/* SPDX-License-Identifier: MIT */
/* What becomes of publishes, and the aliases of the topics they go to. */
#include "client/conn.h"
#include "unit/test_client_fake.h"

/* ---- confirmations and refusals ---- */

struct outcome {
    unsigned n;
    struct bus_confirmation last;
};

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *confirmation,
                       void *userdata)
{
    struct outcome *o = userdata;

    (void) conn;
    o->n++;
    o->last = *confirmation;
}

static void test_confirmations(void **state)
{
    struct fake *f = *state;
    struct outcome first = {0}, second = {0};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_confirm confirm = {2, 6, 3, 2, 1};

    fake_start(f);
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    opts.userdata = &first;
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), 0);
    opts.userdata = &second;
    assert_int_equal(bus_publish_with(f->conn, "a", "x", 1, &opts), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.flags, 0);
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.flags, 1);
    fake_say(f, VERB_CONFIRM, &confirm);
    fake_say_status(f, BUS_STATUS_LIMIT, VERB_PUBLISH, 1, 0, 3);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(first.n, 1);
    assert_int_equal(first.last.status, BUS_STATUS_OK);
    assert_int_equal(first.last.sequence, 2);
    assert_int_equal(first.last.matched, 6);
    assert_int_equal(first.last.dropped, 1);
    assert_int_equal(second.n, 1);
    assert_int_equal(second.last.status, BUS_STATUS_LIMIT);
    assert_int_equal(second.last.sequence, 3);
    assert_int_equal(f->n_status, 1);
}

/* What an application that publishes by name sees of a refused ADVERTISE is the refused publish. */
static void test_denied_automatic_topic(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "$bus/x", "x", 1), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_PUBLISH);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_ADVERTISE, 1, 0, 0);
    fake_say_status(f, BUS_STATUS_UNKNOWN_ALIAS, VERB_PUBLISH, 1, 0, 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_DENIED);
    assert_int_equal(f->status_sequence, 1);
    assert_string_equal(f->status_topic, "$bus/x");
    assert_int_equal(bus_publish(f->conn, "$bus/x", "x", 1), 0);
    (void) fake_hear(f, VERB_UNADVERTISE);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_PUBLISH);
    fake_say_status(f, BUS_STATUS_UNKNOWN_ALIAS, VERB_UNADVERTISE, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
}

static void test_denied_handle(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "$bus/x", &t), 0);
    fake_say_status(f, BUS_STATUS_DENIED, VERB_ADVERTISE, 1, 0, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_string_equal(f->status_topic, "$bus/x");
    assert_int_equal(f->status_sequence, 0);
}

/* An answer to a publish names its topic, not the one that has the alias now. */
static void test_status_after_the_alias_has_moved_on(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "old", &t), 0);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    bus_topic_unref(t);
    assert_int_equal(bus_advertise(f->conn, "new", &t), 0);
    fake_say_status(f, BUS_STATUS_NO_MEMORY, VERB_PUBLISH, 1, 0, 1);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(f->status_topic, "(none)");
}

/* ---- aliases ---- */

static void test_aliases_are_dense_and_recycled(void **state)
{
    struct fake *f = *state;
    struct bus_topic *a, *b, *c;

    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "a", &a), 0);
    assert_int_equal(bus_advertise(f->conn, "a", &b), 0);
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 1);
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 2);
    bus_topic_unref(a);
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 1);
    assert_int_equal(bus_advertise(f->conn, "c", &c), 0);
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 1);
    bus_topic_unref(b);
    bus_topic_unref(NULL);
}

static void test_least_recently_used_name_makes_room(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;
    union wire_any m;

    f->welcome.aliases_max = 3;
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "handle", &t), 0);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), 0);
    assert_int_equal(bus_publish(f->conn, "b", "", 0), 0);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    for (unsigned i = 0; i < 2; i++) {
        (void) fake_hear(f, VERB_ADVERTISE);
        (void) fake_hear(f, VERB_PUBLISH);
    }
    (void) fake_hear(f, VERB_PUBLISH);
    assert_int_equal(bus_publish(f->conn, "c", "", 0), 0);
    assert_int_equal(fake_hear(f, VERB_UNADVERTISE).unadvertise.alias, 3);
    m = fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(m.advertise.alias, 3);
    assert_text(m.advertise.topic, "c");
    assert_int_equal(fake_hear(f, VERB_PUBLISH).publish.alias, 3);
}

static void test_without_aliases_the_name_travels(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t, *u;
    struct frame frame;
    union wire_any m;

    f->welcome.aliases_max = 1;
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "handle", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_advertise(f->conn, "handle", &u), -ENOSPC);
    assert_int_equal(bus_publish(f->conn, "a/b", "body", 4), 0);
    m = fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(m.publish.alias, 0);
    assert_text(m.publish.topic, "a/b");
    assert_memory_equal(frame.body, "body", 4);
    fake_hear_nothing(f);
}

static void test_many_names(void **state)
{
    struct fake *f = *state;
    struct frame frame;
    union wire_any m;
    char name[32];
    unsigned n = 0;

    f->welcome.aliases_max = 500;
    fake_start(f);
    bus_cork(f->conn);
    for (unsigned i = 0; i < 3000; i++) {
        (void) snprintf(name, sizeof(name), "t/%u", i % 700);
        assert_int_equal(bus_publish(f->conn, name, &i, sizeof(i)), 0);
        while (fake_next(f, &frame, &m)) {
            n += frame.verb == VERB_PUBLISH;
        }
    }
    assert_int_equal(bus_uncork(f->conn), 0);
    while (fake_next(f, &frame, &m)) {
        n += frame.verb == VERB_PUBLISH;
        assert_true(frame.verb != VERB_ADVERTISE || m.advertise.alias <= 500);
    }
    assert_int_equal(n, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_confirmations),
        ON_BOTH_LINKS(test_denied_automatic_topic),
        ON_BOTH_LINKS(test_denied_handle),
        ON_BOTH_LINKS(test_status_after_the_alias_has_moved_on),
        ON_BOTH_LINKS(test_aliases_are_dense_and_recycled),
        ON_BOTH_LINKS(test_least_recently_used_name_makes_room),
        ON_BOTH_LINKS(test_without_aliases_the_name_travels),
        ON_BOTH_LINKS(test_many_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
