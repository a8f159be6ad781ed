/* SPDX-License-Identifier: MIT */
/* Every allocation of the client library fails once, in the middle of everything it can do. */
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_fake.h"

static unsigned n_messages;
static struct bus_message *kept;

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    n_messages++;
    if (!kept) {
        kept = bus_message_ref(message);
    }
}

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *confirmation,
                       void *userdata)
{
    (void) conn;
    (void) confirmation;
    (void) userdata;
}

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    (void) conn;
    (void) record;
    (void) userdata;
}

static void on_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                     enum bus_status status, void *userdata)
{
    (void) conn;
    (void) entry;
    (void) status;
    (void) userdata;
}

/* ---- calls: -ENOMEM, and nothing has changed ---- */

static void test_open(void **state)
{
    struct fake *f = *state;

    FOR_EACH_FAILING_MALLOC (n) {
        struct bus_conn *c = NULL;
        int r = bus_open(f->address, &f->opts, &c);

        assert_true(r == 0 ? c != NULL : r == -ENOMEM && c == NULL);
        bus_close(c);
        while (close(accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK)) == 0) {
            continue;
        }
    }
    assert_int_equal(f->n_closed, 0);
}

/* Runs a call with each of its allocations failing, until none does: then it must have succeeded.
 */
#define EVERY_FAILURE(call)                                                                        \
    do {                                                                                           \
        int r_ = -1;                                                                               \
                                                                                                   \
        FOR_EACH_FAILING_MALLOC (n) {                                                              \
            r_ = (call);                                                                           \
            assert_true(r_ == 0 || r_ == -ENOMEM);                                                 \
            if (r_ == 0) {                                                                         \
                (void) failmalloc_disarm();                                                        \
                break;                                                                             \
            }                                                                                      \
        }                                                                                          \
        assert_int_equal(r_, 0);                                                                   \
    } while (0)

static void test_calls(void **state)
{
    struct fake *f = *state;
    struct bus_header header = {"a", "b"};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t = NULL;
    struct bus_sub *sub = NULL;

    fake_start(f);
    opts.headers = &header;
    opts.n_headers = 1;
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    EVERY_FAILURE(bus_advertise(f->conn, "t", &t));
    EVERY_FAILURE(bus_subscribe(f->conn, "s", NULL, on_message, NULL, &sub));
    EVERY_FAILURE(bus_topic_publish(t, "x", 1, NULL));
    EVERY_FAILURE(bus_topic_publish(t, "x", 1, &opts));
    EVERY_FAILURE(bus_publish(f->conn, "u", "x", 1));
    EVERY_FAILURE(bus_publish_with(f->conn, "v", "x", 1, &opts));
    EVERY_FAILURE(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, on_entry, NULL));
    assert_int_equal(bus_sequence(f->conn), 4);
    assert_int_equal(f->conn->n_topics, 3);
    assert_int_equal(fake_hear(f, VERB_ADVERTISE).advertise.alias, 1);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.subscription, 1);
    (void) fake_hear(f, VERB_PUBLISH);
    (void) fake_hear(f, VERB_PUBLISH);
    assert_int_equal(f->n_closed, 0);
}

static void test_monitor(void **state)
{
    struct fake *f = *state;
    const char *filters[] = {"a", "b"};

    fake_start(f);
    EVERY_FAILURE(bus_monitor(f->conn, filters, 2, NULL, on_record, NULL));
    (void) fake_hear(f, VERB_MONITOR);
    fake_hear_nothing(f);
}

static void test_flush(void **state)
{
    struct fake *f = *state;
    int r = -ENOMEM;

    fake_start(f);
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_flush(f->conn, 0);
        assert_true(r == -ENOMEM || r == -ETIMEDOUT);
    }
    assert_int_equal(r, -ETIMEDOUT);
}

/* ---- input: a clean end of the connection ---- */

static void say_everything(struct fake *f)
{
    struct wire_header header = {{"a", 1}, {"b", 1}};
    struct wire_message message = {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, &header, 1};
    struct wire_ping ping = {1};
    struct wire_counter counter = {{"n", 1}, 1};
    struct wire_snapshot_end end = {3, 9};
    static uint8_t body[30000]; /* all of it fits into the socket */

    fake_say(f, VERB_WELCOME, &f->welcome);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    for (uint32_t id = 1; id < 40; id++) {
        fake_bind(f, id, "a");
        fake_bind_peer(f, id, "p");
    }
    fake_send(f);
    fake_say_message(f, 1, 1, "x", 1);
    fake_say_body(f, VERB_MESSAGE, &message, "x", 1);
    fake_say(f, VERB_PING, &ping);
    fake_say(f, VERB_COUNTER, &counter);
    fake_say(f, VERB_SNAPSHOT_END, &end);
    fake_send(f);
    for (unsigned i = 0; i < 5; i++) {
        fake_say_message(f, 1, 2 + i, body, sizeof(body));
        if (i % 2 == 0) {
            fake_send(f);
        }
    }
}

static bool hear_everything(bool seqpacket, unsigned long n)
{
    struct fake *f = fake_new(seqpacket);
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub;
    unsigned long failed;
    int r;

    opts.window_messages = 2;
    fake_connect(f);
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_message, NULL, &sub), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_COUNTERS, on_entry, NULL), 0);
    say_everything(f);
    failmalloc_arm(n);
    r = fake_settle(f);
    bus_sub_unref(sub);
    failed = failmalloc_disarm();
    bus_message_unref(TAKE(kept));
    if (r == 0) {
        r = fake_settle(f);
    }
    assert_true(r == 0 || r == -ENOTCONN);
    assert_int_equal(f->n_closed, r != 0);
    assert_int_equal(f->goodbye, r != 0 ? BUS_GOODBYE_NO_MEMORY : 0);
    fake_free(f);
    return failed > 0;
}

static void test_input(void **state)
{
    (void) state;
    for (unsigned k = 0; k < 2; k++) {
        unsigned long n = 1;

        while (hear_everything(k == 0, n)) {
            n++;
        }
        assert_true(n > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_open),  ON_BOTH_LINKS(test_calls),    ON_BOTH_LINKS(test_monitor),
        ON_BOTH_LINKS(test_flush), cmocka_unit_test(test_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
