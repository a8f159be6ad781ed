/* SPDX-License-Identifier: MIT */
/* Reliable topics: publishers are told how far what they have published is consumed.
 * docs/protocol.md, sections 16 and 17. */
#include "core/router.h"
#include "support/cargo.h"
#include "support/failmalloc.h"
#include "support/parties.h"

/* A client that may publish reliably, with "a" under its first alias. */
static struct sim_client *join_publisher(struct world *w)
{
    struct sim_client *p;

    w->s.session = 7;
    p = world_join(w);
    w->s.session = 0;
    sim_advertise_with(&w->s, p, 0, "a", ADVERTISE_RELIABLE);
    return p;
}

/* Connection 1 publishes, connection 2 subscribes. */
static struct pair join_reliable(struct world *w, const struct world_sub *sub)
{
    struct pair x = {.p = join_publisher(w)};

    x.c = world_join(w);
    world_subscribe(w, x.c, 0, sub);
    return x;
}

static bool publish_with(struct world *w, struct sim_client *p, struct sim_publish m)
{
    m.body_bytes = m.body_bytes ? m.body_bytes : WORLD_BODY;
    return sim_publish(&w->s, p, &m);
}

static void publish(struct world *w, struct sim_client *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_true(publish_with(w, p, (struct sim_publish){.alias = 0}));
    }
}

/* ---- sequence numbers and flags ---- */

static void test_a_session_may_go_on_counting_where_it_was(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 10, .queue = 10});

    publish(w, x.p, 1);
    assert_true(publish_with(w, x.p, (struct sim_publish){.sequence = 5, .resent = true}));
    publish(w, x.p, 1);
    assert_false(publish_with(w, x.p, (struct sim_publish){.sequence = 6}));
    assert_true(publish_with(w, x.p, (struct sim_publish){.topic = "a", .sequence = 8}));
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1 reliable\nMESSAGE 1 a 1.5 reliable resent\n"
                 "MESSAGE 1 a 1.6 reliable\nMESSAGE 1 a 1.8\n");
    world_expect(w, x.p, "STATUS INVALID_ARGUMENT PUBLISH alias=1 seq=7\n");
}

static void test_who_has_no_session_neither_counts_nor_is_reliable(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);

    assert_false(publish_with(w, p, (struct sim_publish){.topic = "a", .sequence = 1}));
    world_expect(w, p, "STATUS INVALID_ARGUMENT PUBLISH seq=1\n");
    sim_advertise_with(&w->s, p, 0, "a", ADVERTISE_RELIABLE);
    world_expect(w, p, "STATUS INVALID_ARGUMENT ADVERTISE alias=1\n");
}

static void test_a_sequence_that_cannot_be_counted_on_is_refused(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 10, .queue = 10});

    assert_false(publish_with(w, x.p, (struct sim_publish){.sequence = UINT64_MAX}));
    world_expect(w, x.p, "STATUS INVALID_ARGUMENT PUBLISH alias=1 seq=1\n");
    assert_true(publish_with(w, x.p, (struct sim_publish){.sequence = (UINT64_C(1) << 62) - 1}));
    publish(w, x.p, 1);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.4611686018427387903 reliable\n"
                 "MESSAGE 1 a 1.4611686018427387904 reliable\n");
}

static void test_only_what_was_published_so_is_reliable(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"#", .window = 2, .queue = 10});

    sim_advertise(&w->s, x.p, 1, "a");
    publish(w, x.p, 1);
    assert_true(publish_with(w, x.p, (struct sim_publish){.alias = 1, .resent = true}));
    /* out of the queue it looks the same */
    publish(w, x.p, 1);
    assert_true(publish_with(w, x.p, (struct sim_publish){.alias = 1}));
    assert_true(publish_with(w, x.p, (struct sim_publish){.alias = 0, .n_headers = 3}));
    world_credit(w, x.c, 0, 2, 100);
    sim_settle(&w->s);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1 reliable\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3 reliable\n"
                 "MESSAGE 1 a 1.4\nMESSAGE 1 a 1.5 reliable\n");
}

static void test_what_was_kept_is_not_reliable_when_it_is_replayed(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_publisher(w), *c = world_join(w);
    struct wire_advertise keep = {2, text_from("a"), ADVERTISE_OWNED, 5};
    struct wire_subscribe m = {
        .filter = text_from("a"), .window_messages = 9, .retained = BUS_RETAINED_ALL};

    sim_send(&w->s, p, VERB_ADVERTISE, &keep, NULL, 0);
    assert_true(publish_with(w, p, (struct sim_publish){.alias = 0, .sequence = 4}));
    assert_true(sim_subscribe(&w->s, c, 0, &m));
    sim_due(&c->subs[0], 1);
    assert_true(publish_with(w, p, (struct sim_publish){.alias = 0, .resent = true}));
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.4 retained\nLIVE 1 1\n"
                 "MESSAGE 1 a 1.5 reliable resent\n");
}

static void test_bodies_in_buffers_are_reliable_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p, *c;

    w->s.session = 9;
    p = cargo_publisher(w);
    w->s.session = 0;
    c = cargo_subscriber(w, &(struct world_sub){"a", .window = 9, .queue = 9});
    sim_advertise_with(&w->s, p, 0, "a", ADVERTISE_RELIABLE);
    assert_true(publish_with(w, p, (struct sim_publish){.buffer = 1, .body_bytes = 100}));
    sim_read(&w->s, c, 100);
    assert_non_null(strstr(w->text[1], "MESSAGE 1 a 1.1 in 1 0 100 1 reliable\n"));
    sim_settle(&w->s);
    sim_read(&w->s, p, 100);
    assert_non_null(strstr(w->text[0], "ACKED 1\n"));
}

/* ---- ACKED ---- */

static void test_without_subscriptions_everything_is_done(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_publisher(w);

    publish(w, p, 1);
    world_expect(w, p, "ACKED 1\n");
    world_publish(w, p, "a"); /* not with the alias */
    world_expect(w, p, "");
    publish(w, p, 2);
    world_expect(w, p, "ACKED 3\nACKED 4\n");
}

static void test_what_is_consumed_is_acknowledged(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 10, .queue = 10});

    publish(w, x.p, 1);
    publish(w, x.p, 2);
    world_expect(w, x.p, "");
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1 reliable\nMESSAGE 1 a 1.2 reliable\nMESSAGE 1 a 1.3 reliable\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "ACKED 1\n");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "");
    world_credit(w, x.c, 0, 1, 10);
    world_expect(w, x.p, "ACKED 3\n");
}

static void test_all_subscriptions_must_have_consumed_it(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 10, .queue = 10});
    struct sim_client *other = world_join(w);

    world_subscribe(w, other, 0, &(struct world_sub){"#", .window = 10, .queue = 10});
    publish(w, x.p, 1);
    sim_read(&w->s, x.c, 100);
    sim_give_credit(&w->s, x.c, 0);
    world_expect(w, x.p, "");
    sim_read(&w->s, other, 100);
    sim_give_credit(&w->s, other, 0);
    world_expect(w, x.p, "ACKED 1\n");
}

static void test_what_waits_is_not_done(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, 3);
    for (unsigned i = 0; i < 2; i++) {
        sim_read(&w->s, x.c, 100);
        sim_give_credit(&w->s, x.c, 0);
        router_check(w->s.router);
    }
    world_expect(w, x.p, "ACKED 1\n");
    sim_read(&w->s, x.c, 100);
    sim_give_credit(&w->s, x.c, 0);
    world_expect(w, x.p, "ACKED 3\n");
}

static void test_the_end_of_a_subscription_is_waited_for_no_longer(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, 3);
    sim_unsubscribe(&w->s, x.c, 0);
    world_expect(w, x.p, "ACKED 3\n");
    world_subscribe(w, x.c, 0, &(struct world_sub){"a", .window = 1, .queue = 10});
    publish(w, x.p, 3);
    world_expect(w, x.p, "");
    sim_disconnect(&w->s, x.c);
    sim_work_off(&w->s);
    world_expect(w, x.p, "ACKED 6\n");
}

static void test_what_the_policy_drops_is_done_and_the_rest_is_not(void **state)
{
    (void) state;
    for (enum bus_policy policy = 0; policy <= BUS_POLICY_DISCONNECT; policy++) {
        struct world *w = world_new(NULL);
        struct pair x = join_reliable(w, &(struct world_sub){"a", policy, .window = 1, .queue = 2});

        publish(w, x.p, 10);
        router_check(w->s.router);
        sim_read(&w->s, x.p, 100);
        if (policy == BUS_POLICY_DISCONNECT) { /* it has ended */
            sim_work_off(&w->s);
            assert_non_null(strstr(w->text[0], "ACKED 4\n"));
        } else {
            assert_null(strstr(w->text[0], "ACKED"));
        }
        sim_settle(&w->s);
        sim_read(&w->s, x.p, 100);
        assert_non_null(strstr(w->text[0], "ACKED 10\n"));
        world_free(w);
    }
}

static void test_what_its_publisher_alone_would_get_concerns_nobody(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_publisher(w);

    world_subscribe(w, p, 0, &(struct world_sub){"a", .window = 1, .queue = 10, .no_local = true});
    publish(w, p, 2);
    world_expect(w, p, "ACKED 1\nACKED 2\n");
}

static void test_refused_ones_are_done(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 9, .queue = 10});

    publish(w, x.p, 1);
    assert_false(publish_with(w, x.p, (struct sim_publish){.topic = "#"}));
    sim_settle(&w->s);
    world_expect(w, x.p, "STATUS INVALID_TOPIC PUBLISH seq=2\nACKED 1\n");
}

static void test_an_alias_that_is_given_up_is_still_acknowledged(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 9, .queue = 10});
    struct wire_unadvertise un = {1};

    publish(w, x.p, 2);
    sim_send(&w->s, x.p, VERB_UNADVERTISE, &un, NULL, 0);
    world_expect(w, x.p, "");
    sim_settle(&w->s);
    world_expect(w, x.p, "ACKED 2\n");
}

static void test_a_publisher_that_goes_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, 5);
    sim_disconnect(&w->s, x.p);
    sim_work_off(&w->s);
    router_check(w->s.router);
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
    sim_settle(&w->s);
}

/* At the end of an interval what waited is sent, and then it must be consumed. */
static void test_what_waits_for_the_end_of_its_interval_is_not_done(void **state)
{
    struct world *w = *state;
    struct pair x =
        join_reliable(w, &(struct world_sub){"#", .window = 9, .queue = 10, .min_interval_ms = 10});

    publish(w, x.p, 1);
    sim_read(&w->s, x.c, 100);
    sim_give_credit(&w->s, x.c, 0);
    world_expect(w, x.p, "ACKED 1\n");
    publish(w, x.p, 2); /* the first of which is conflated */
    sim_read(&w->s, x.c, 100);
    sim_give_credit(&w->s, x.c, 0);
    world_expect(w, x.p, "ACKED 2\n");
    sim_advance(&w->s, 10 * MS);
    world_expect(w, x.c,
                 "MESSAGE 1 a 1.1 reliable\nLOSS 1 1 10 CONFLATED\nMESSAGE 1 a 1.3 reliable\n");
    world_expect(w, x.p, "");
    sim_give_credit(&w->s, x.c, 0);
    world_expect(w, x.p, "ACKED 3\n");
}

/* ---- clients that consume nothing ---- */

static void test_who_gives_no_credit_is_not_waited_for(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, 3);
    sim_advance(&w->s, 30000 * MS - 1);
    world_expect(w, x.p, "");
    sim_advance(&w->s, 1);
    world_expect(w, x.p, "ACKED 3\n");
    world_expect(w, x.c, "MESSAGE 1 a 1.1 reliable\nSTATUS STALLED SUBSCRIBE sub=1\n");
    publish(w, x.p, 1);
    world_expect(w, x.p, "ACKED 4\n");
    assert_int_equal(router_counters(w->s.router)->reliable_stalls, 1);
    /* until it gives some */
    sim_give_credit(&w->s, x.c, 0);
    publish(w, x.p, 1);
    sim_settle(&w->s);
    world_expect(w, x.p, "ACKED 5\n");
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

static void test_any_credit_is_progress(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(w, &(struct world_sub){"a", .window = 1, .queue = 10});

    publish(w, x.p, 4);
    for (unsigned i = 0; i < 4; i++) {
        sim_advance(&w->s, 29000 * MS);
        sim_read(&w->s, x.c, 100);
        sim_give_credit(&w->s, x.c, 0);
    }
    assert_int_equal(router_counters(w->s.router)->reliable_stalls, 0);
    world_expect(w, x.p, "ACKED 1\nACKED 4\n");
}

/* Somebody else whose interval is longer than that owes nothing. */
static void test_an_interval_is_no_stall(void **state)
{
    struct world *w = *state;
    struct pair x = join_reliable(
        w, &(struct world_sub){"a", .window = 9, .queue = 10, .min_interval_ms = 60000});

    publish(w, x.p, 2);
    sim_read(&w->s, x.c, 100);
    sim_give_credit(&w->s, x.c, 0);
    sim_advance(&w->s, 50000 * MS);
    assert_int_equal(router_counters(w->s.router)->reliable_stalls, 0);
    world_expect(w, x.p, "ACKED 1\n");
    sim_advance(&w->s, 10000 * MS);
    sim_settle(&w->s);
    world_expect(w, x.p, "ACKED 2\n");
}

/* ---- groups ---- */

static struct trio join_team(struct world *w, const struct world_sub *sub)
{
    struct trio x = {.p = join_publisher(w), .k = router_counters(w->s.router)};

    for (unsigned i = 0; i < 2; i++) {
        x.m[i] = world_join(w);
        world_subscribe(w, x.m[i], 0, sub);
    }
    return x;
}

static void test_in_a_group_all_members_must_have_consumed_theirs(void **state)
{
    struct world *w = *state;
    struct trio x = join_team(w, &(struct world_sub){"a", .window = 2, .queue = 10, .group = "g"});

    publish(w, x.p, 6);
    for (unsigned i = 0; i < 2; i++) {
        sim_read(&w->s, x.m[0], 100);
        sim_give_credit(&w->s, x.m[0], 0);
        router_check(w->s.router);
        world_expect(w, x.p, i ? "" : "ACKED 1\n"); /* the second one is the other's */
    }
    sim_read(&w->s, x.m[1], 100);
    sim_give_credit(&w->s, x.m[1], 0);
    sim_settle(&w->s);
    sim_read(&w->s, x.p, 100);
    assert_non_null(strstr(w->text[0], "ACKED 6\n"));
}

static void test_with_acknowledgement_it_is_that_which_counts(void **state)
{
    struct world *w = *state;
    struct trio x =
        join_team(w, &(struct world_sub){"a", .window = 2, .queue = 10, .group = "g", .ack = true});

    publish(w, x.p, 2);
    sim_read(&w->s, x.m[0], 100);
    sim_read(&w->s, x.m[1], 100);
    world_credit(w, x.m[0], 0, 2, 20); /* means nothing here */
    x.m[0]->subs[0].credit -= 2;
    sim_ack(&w->s, x.m[0], 0, true, false);
    world_expect(w, x.p, "ACKED 1\n");
    sim_ack(&w->s, x.m[1], 0, true, true); /* comes back */
    world_expect(w, x.p, "");
    sim_settle(&w->s);
    world_expect(w, x.p, "ACKED 2\n");
    sim_read(&w->s, x.m[0], 100);
    assert_non_null(strstr(w->text[1], "MESSAGE 1 a 1.2 #2 again 1 reliable\n"));
}

static void test_what_a_member_leaves_undone_is_not_done(void **state)
{
    struct world *w = *state;
    struct trio x =
        join_team(w, &(struct world_sub){"a", .window = 1, .queue = 10, .group = "g", .ack = true});

    publish(w, x.p, 3);
    sim_disconnect(&w->s, x.m[0]);
    sim_work_off(&w->s);
    world_expect(w, x.p, "");
    sim_disconnect(&w->s, x.m[1]); /* the group ends with it */
    sim_work_off(&w->s);
    world_expect(w, x.p, "ACKED 3\n");
}

static void test_what_is_given_up_is_done(void **state)
{
    struct world *w = *state;
    struct trio x =
        join_team(w, &(struct world_sub){"a", .window = 1, .queue = 10, .group = "g", .ack = true,
                                         .deliveries_max = 1, .dead_letter = "dead"});

    w->s.looks_away = true; /* for the dead letter */
    publish(w, x.p, 1);
    sim_read(&w->s, x.m[0], 100);
    world_expect(w, x.p, "");
    sim_send(&w->s, x.m[0], VERB_ACK, &(struct wire_ack){1, 1, ACK_REFUSE}, NULL, 0);
    sim_work_off(&w->s);
    world_expect(w, x.p, "ACKED 1\n");
}

static void test_members_with_keys_have_queues_of_their_own(void **state)
{
    struct world *w = *state;
    struct trio x = join_team(
        w, &(struct world_sub){"a", .window = 1, .queue = 10, .group = "g", .sticky = true});

    for (unsigned i = 0; i < 6; i++) {
        assert_true(publish_with(w, x.p, (struct sim_publish){.key = i % 2 ? "k" : "l"}));
    }
    sim_read(&w->s, x.m[0], 100);
    sim_give_credit(&w->s, x.m[0], 0);
    router_check(w->s.router);
    world_expect(w, x.p, "ACKED 1\n");
    sim_disconnect(&w->s, x.m[1]); /* what waits for it goes to the other */
    sim_work_off(&w->s);
    router_check(w->s.router);
    world_expect(w, x.p, "");
    sim_settle(&w->s);
    sim_read(&w->s, x.p, 100);
    assert_non_null(strstr(w->text[0], "ACKED 6\n"));
}

static void test_a_group_that_does_nothing_is_not_waited_for(void **state)
{
    struct world *w = *state;
    struct trio x = join_team(w, &(struct world_sub){"a", .window = 1, .queue = 10, .group = "g"});

    publish(w, x.p, 3);
    sim_advance(&w->s, 30000 * MS);
    world_expect(w, x.p, "ACKED 3\n");
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 reliable\nSTATUS STALLED SUBSCRIBE sub=1\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 reliable\nSTATUS STALLED SUBSCRIBE sub=1\n");
}

/* ---- want of memory ---- */

/* What happens first to a publisher and two subscribers fails at its n-th allocation. */
static void fails_at(unsigned long n)
{
    struct world *w = world_new(NULL);
    struct pair x;

    w->s.session = 7;
    x.p = world_join(w);
    w->s.session = 0;
    x.c = world_join(w);
    world_subscribe(w, x.c, 0, &(struct world_sub){"#", .window = 1, .queue = 10});
    world_subscribe(w, x.c, 1, &(struct world_sub){"a", .window = 9, .queue = 10});
    failmalloc_arm(n);
    sim_advertise_with(&w->s, x.p, 0, "a", ADVERTISE_RELIABLE);
    sim_advertise_with(&w->s, x.p, 1, "b", ADVERTISE_RELIABLE);
    for (unsigned i = 0; i < 6 && !peer_is_closing(x.p->peer); i++) {
        (void) publish_with(w, x.p, (struct sim_publish){.alias = i % 2});
        router_check(w->s.router);
    }
    (void) failmalloc_disarm();
    if (!peer_is_closing(x.p->peer)) {
        sim_read(&w->s, x.p, 100);
        assert_null(strstr(w->text[0], "ACKED"));
    }
    sim_settle(&w->s);
    if (x.p->peer) { /* if the aliases are there, nothing stays unacknowledged */
        sim_read(&w->s, x.p, 100);
        assert_true(strstr(w->text[0], "ACKED 6\n") || strstr(w->text[0], "STATUS"));
    }
    world_free(w);
}

static void test_without_memory_nothing_is_acknowledged_too_early(void **state)
{
    (void) state;
    for (unsigned long n = 1; n < 40; n++) {
        fails_at(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_a_session_may_go_on_counting_where_it_was),
        WORLD_CASE(test_who_has_no_session_neither_counts_nor_is_reliable),
        WORLD_CASE(test_a_sequence_that_cannot_be_counted_on_is_refused),
        WORLD_CASES(test_only_what_was_published_so_is_reliable),
        WORLD_CASE(test_what_was_kept_is_not_reliable_when_it_is_replayed),
        WORLD_CASE(test_bodies_in_buffers_are_reliable_too),
        WORLD_CASES(test_without_subscriptions_everything_is_done),
        WORLD_CASES(test_what_is_consumed_is_acknowledged),
        WORLD_CASE(test_all_subscriptions_must_have_consumed_it),
        WORLD_CASE(test_what_waits_is_not_done),
        WORLD_CASE(test_the_end_of_a_subscription_is_waited_for_no_longer),
        cmocka_unit_test(test_what_the_policy_drops_is_done_and_the_rest_is_not),
        WORLD_CASE(test_what_its_publisher_alone_would_get_concerns_nobody),
        WORLD_CASE(test_refused_ones_are_done),
        WORLD_CASE(test_an_alias_that_is_given_up_is_still_acknowledged),
        WORLD_CASE(test_a_publisher_that_goes_leaves_nothing_behind),
        WORLD_CASE(test_what_waits_for_the_end_of_its_interval_is_not_done),
        WORLD_CASE(test_who_gives_no_credit_is_not_waited_for),
        WORLD_CASE(test_any_credit_is_progress),
        WORLD_CASE(test_an_interval_is_no_stall),
        WORLD_CASE(test_in_a_group_all_members_must_have_consumed_theirs),
        WORLD_CASE(test_with_acknowledgement_it_is_that_which_counts),
        WORLD_CASE(test_what_a_member_leaves_undone_is_not_done),
        WORLD_CASE(test_what_is_given_up_is_done),
        WORLD_CASE(test_members_with_keys_have_queues_of_their_own),
        WORLD_CASE(test_a_group_that_does_nothing_is_not_waited_for),
        cmocka_unit_test(test_without_memory_nothing_is_acknowledged_too_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
