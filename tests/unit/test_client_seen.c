/* SPDX-License-Identifier: MIT */
/* Receiving from reliable topics: what is sent again is not shown again, and credit comes soon. */
#include <sys/mman.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_return.h"

#define SENDERS_MAX 1024u

static void say_peer(struct fake *f, uint32_t id, uint32_t pid, uint64_t session)
{
    struct wire_peer p = {id, 40 + id, 1000, 1001, pid, {"p", 1}, session};

    fake_say(f, VERB_PEER, &p);
}

static void say(struct fake *f, uint32_t topic, uint32_t sender, uint64_t sequence, uint32_t flags)
{
    struct wire_message m = {.subscription = 1,
                             .topic = topic,
                             .sender = sender,
                             .sequence = sequence,
                             .time = 1,
                             .flags = flags};

    fake_say_body(f, VERB_MESSAGE, &m, "x", 1);
}

static void bind_all(struct fake *f)
{
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a");
    fake_bind(f, 2, "b");
    say_peer(f, 1, 7, 100);
}

static void begin(struct fake *f, struct seen *s, const struct bus_sub_opts *opts)
{
    *s = (struct seen){.f = f};
    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "#", opts, on_message, s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    bind_all(f);
    assert_int_equal(fake_settle(f), 0);
}

/* Another router, with other numbers for everything. */
static void lose_and_return(struct fake *f)
{
    fake_lose(f);
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    (void) fake_hear(f, VERB_RESTORED);
    fake_welcome(f);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 3, "b");
    fake_bind(f, 4, "a");
    say_peer(f, 9, 7, 100);
    assert_int_equal(fake_settle(f), 0);
}

#define NEW MESSAGE_RELIABLE
#define AGAIN (MESSAGE_RELIABLE | MESSAGE_RESENT)

static void test_what_comes_again_is_dropped(void **state)
{
    struct fake *f = *state;
    struct seen s;

    begin(f, &s, NULL);
    say(f, 1, 1, 1, NEW);
    say(f, 2, 1, 3, NEW);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 2);
    lose_and_return(f);
    say(f, 4, 9, 1, AGAIN);
    say(f, 3, 9, 3, AGAIN);
    say(f, 3, 9, 4, AGAIN); /* this had not come */
    say(f, 3, 9, 5, NEW);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m3 m4 m5 ");
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 4); /* dropped ones, too */
    fake_hear_nothing(f);
}

/* A publisher that was thrown out comes back to the same router; this side has lost nothing. */
static void test_without_a_loss_here(void **state)
{
    struct fake *f = *state;
    struct seen s;

    begin(f, &s, NULL);
    say(f, 1, 1, 1, NEW);
    say_peer(f, 2, 7, 100);
    say(f, 1, 2, 1, AGAIN);
    say(f, 1, 2, 2, AGAIN);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 ");
}

static void test_others_of_the_same_number_are_not_meant(void **state)
{
    struct fake *f = *state;
    struct seen s;

    begin(f, &s, NULL);
    say(f, 1, 1, 9, NEW);
    say_peer(f, 2, 8, 100);
    say_peer(f, 3, 7, 101);
    say(f, 1, 2, 1, AGAIN);
    say(f, 1, 3, 2, AGAIN);
    say(f, 1, 1, 3, 0);   /* not reliable */
    say(f, 1, 1, 4, NEW); /* not sent again: a router that counts so */
    say(f, 1, 1, 5, AGAIN);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m9 m1 m2 m3 m4 ");
}

static void test_with_an_interval_each_topic_counts(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s;

    opts.min_interval_ms = 10;
    begin(f, &s, &opts);
    say(f, 1, 1, 5, NEW);
    say(f, 2, 1, 2, AGAIN); /* was held back by its interval */
    assert_int_equal(fake_settle(f), 0);
    lose_and_return(f);
    say(f, 4, 9, 5, AGAIN);
    say(f, 3, 9, 2, AGAIN);
    say(f, 3, 9, 3, AGAIN);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m5 m2 m3 ");
}

static void test_members_of_a_group_drop_nothing(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct seen s;

    opts.group = "g";
    begin(f, &s, &opts);
    say(f, 1, 1, 5, NEW);
    say(f, 1, 1, 4, AGAIN); /* another member had it, and died with the router */
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m5 m4 ");
}

/* ---- credit ---- */

static void test_credit_is_given_when_all_is_handled(void **state)
{
    struct fake *f = *state;
    struct seen s;

    begin(f, &s, NULL);
    say(f, 1, 1, 1, 0);
    assert_int_equal(fake_settle(f), 0);
    fake_hear_nothing(f); /* not yet half a window */
    say(f, 1, 1, 2, NEW);
    say(f, 1, 1, 3, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.messages, 3);
    fake_hear_nothing(f);
}

static void end_in_callback(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    on_message(sub, message, userdata);
    if (bus_message_sequence(message) == 2) {
        bus_sub_unref(sub);
    }
}

static void test_who_is_ended_owes_nothing(void **state)
{
    struct fake *f = *state;
    struct seen s = {.f = f};

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "#", NULL, end_in_callback, &s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    bind_all(f);
    say(f, 1, 1, 1, NEW);
    say(f, 1, 1, 2, NEW);
    say(f, 1, 1, 3, NEW);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 m2 ");
    (void) fake_hear(f, VERB_UNSUBSCRIBE);
    fake_hear_nothing(f);
    fake_say_status(f, BUS_STATUS_OK, VERB_UNSUBSCRIBE, 0, 1, 0);
    assert_int_equal(fake_settle(f), 0);
}

/* ---- bodies in buffers ---- */

static void test_the_lease_of_what_is_dropped_is_given_back(void **state)
{
    struct fake *f = *state;
    struct wire_buffer b = {.id = 1, .bytes = 4096};
    struct wire_message m = {.subscription = 1,
                             .topic = 1,
                             .sender = 1,
                             .sequence = 1,
                             .time = 1,
                             .flags = NEW,
                             .buffer = 1,
                             .bytes = 100,
                             .lease = 5};
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct seen s;

    assert_int_equal(ftruncate(fd, 4096), 0);
    fake_take_buffers(f);
    begin(f, &s, NULL);
    fake_say(f, VERB_BUFFER, &b);
    fake_send_fds(f, &fd, 1, 1);
    fake_say(f, VERB_MESSAGE, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_RELEASE).release.lease, 5);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.bytes, 100);
    m.flags = AGAIN;
    m.lease = 6;
    fake_say(f, VERB_MESSAGE, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_RELEASE).release.lease, 6);
    assert_int_equal(fake_hear(f, VERB_CREDIT).credit.bytes, 100);
    assert_string_equal(s.log, "m1 ");
    (void) close(fd);
}

/* ---- bounds ---- */

static void test_only_so_many_publishers_are_remembered(void **state)
{
    struct fake *f = *state;
    struct bus_sub *sub;
    struct seen s;

    begin(f, &s, NULL);
    sub = f->conn->subs.at[1];
    for (uint32_t i = 1; i <= SENDERS_MAX + 10; i++) {
        say_peer(f, 1, 7, 1000 + i);
        say(f, 1, 1, 1, NEW);
        say_peer(f, 2, 7, 1001);
        say(f, 1, 2, 1 + i, NEW); /* is heard all the time */
        assert_int_equal(fake_settle(f), 0);
        s.log[0] = '\0';
        while (fake_read(f)) {
            fake_forget(f);
        }
    }
    assert_int_equal(sub->seen.n, SENDERS_MAX);
    say(f, 1, 2, 5, AGAIN);
    say_peer(f, 1, 7, 1000 + SENDERS_MAX);
    say(f, 1, 1, 1, AGAIN);
    say_peer(f, 3, 7, 1003); /* forgotten */
    say(f, 1, 3, 1, AGAIN);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(s.log, "m1 ");
}

static void test_every_failed_allocation(void **state)
{
    struct fake *f = *state;
    struct seen s;
    unsigned n_failed = 0;

    begin(f, &s, NULL);
    FOR_EACH_FAILING_MALLOC (n) {
        (void) failmalloc_disarm();
        say_peer(f, 1, 7, 500 + n); /* of which nothing is known */
        assert_int_equal(fake_settle(f), 0);
        say(f, 1, 1, n, NEW);
        fake_send(f);
        s.log[0] = '\0';
        failmalloc_arm(n);
        while (bus_process(f->conn) > 0) {
            continue;
        }
        if (failmalloc_disarm() == 0) {
            assert_int_equal(s.n > 0, true);
            break;
        }
        if (f->conn->state == CONN_AWAY) { /* rather than to forget somebody without a word */
            char expected[16];

            n_failed++;
            fake_hang_up(f);
            fake_forget(f);
            fake_accept_again(f);
            fake_welcome(f);
            bind_all(f);
            say_peer(f, 1, 7, 500 + n);
            say(f, 1, 1, n, AGAIN);
            assert_int_equal(fake_settle(f), 0);
            (void) snprintf(expected, sizeof(expected), "m%lu ", n);
            assert_string_equal(s.log, expected); /* once, before or now */
        }
    }
    assert_true(n_failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_what_comes_again_is_dropped),
        ON_BOTH_LINKS(test_without_a_loss_here),
        ON_BOTH_LINKS(test_others_of_the_same_number_are_not_meant),
        ON_BOTH_LINKS(test_with_an_interval_each_topic_counts),
        ON_BOTH_LINKS(test_members_of_a_group_drop_nothing),
        ON_BOTH_LINKS(test_credit_is_given_when_all_is_handled),
        ON_BOTH_LINKS(test_who_is_ended_owes_nothing),
        ON_BOTH_LINKS(test_the_lease_of_what_is_dropped_is_given_back),
        ON_BOTH_LINKS(test_only_so_many_publishers_are_remembered),
        ON_BOTH_LINKS(test_every_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
