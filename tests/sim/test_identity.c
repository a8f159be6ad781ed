/* SPDX-License-Identifier: MIT */
/* Who sent what: numbers of senders and topics on a link, sequence numbers, NO_LOCAL, CONFIRM.
 * docs/protocol.md, sections 5 and 6. */
#include "core/router.h"
#include "support/world.h"

static const struct world_sub all_of_a = {
    .filter = "a", .policy = BUS_POLICY_DROP_OLDEST, .window = 100, .queue = 100};

/* ---- senders ---- */

static void test_sender_and_topic_are_introduced_before_their_first_use_only(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    sim_advertise(&w->s, p, 0, "a");
    world_subscribe(w, c, 0, &all_of_a);
    w->shows_names = true;
    world_publish_n(w, p, "a", 2);
    world_expect(w, c, "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\n");
    world_publish(w, c, "a");
    world_expect(w, c, "PEER 2 2 sim\nMESSAGE 1 a 2.1\n");
}

static void test_number_of_a_sender_is_bound_again_when_it_is_another_connection(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0, &all_of_a);
    world_publish(w, p, "a");
    world_expect(w, c, "MESSAGE 1 a 1.1\n");
    sim_disconnect(&w->s, p);
    p = world_join(w);
    w->shows_names = true;
    world_publish(w, p, "a");
    world_expect(w, c, "TOPIC 1 a\nPEER 1 3 sim\nMESSAGE 1 a 3.1\n");
}

static void test_number_of_a_sender_is_kept_while_its_messages_wait(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 9});
    world_publish_n(w, p, "a", 3);
    sim_disconnect(&w->s, p);
    p = world_join(w);
    world_publish(w, p, "a");
    w->shows_names = true;
    sim_settle(&w->s);
    world_expect(w, c,
                 "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.1\nTOPIC 1 a\nMESSAGE 1 a 1.2\n"
                 "MESSAGE 1 a 1.3\nPEER 3 3 sim\nMESSAGE 1 a 3.1\n");
    /* now it is free, and the next connection has it */
    sim_disconnect(&w->s, p);
    p = world_join(w);
    world_publish(w, p, "a");
    w->shows_names = false;
    world_expect(w, c, "MESSAGE 1 a 4.1\n");
}

static void test_many_generations_of_publishers_are_never_confused(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *p[3] = {0};
    char due[64];

    w->s.rng = rng_from_env();
    world_subscribe(w, c, 0, &all_of_a);
    for (unsigned i = 0; i < 300; i++) {
        unsigned k = rng_below(&w->s.rng, 3);

        if (p[k] && rng_below(&w->s.rng, 2)) {
            sim_disconnect(&w->s, p[k]);
            p[k] = NULL;
        }
        p[k] = p[k] ? p[k] : world_join(w);
        world_publish(w, p[k], "a");
        snprintf(due, sizeof(due), "MESSAGE 1 a %llu.%llu\n", (unsigned long long) p[k]->id,
                 (unsigned long long) p[k]->sequence);
        world_expect(w, c, due);
        sim_give_credit(&w->s, c, 0);
    }
}

static void test_connection_ids_are_never_used_again(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 1; i < 20; i++) {
        struct sim_client *c = world_join(w);

        assert_int_equal(c->id, i);
        assert_int_equal(peer_connection_id(c->peer), i);
        sim_disconnect(&w->s, c);
    }
}

/* ---- topics ---- */

static void test_number_of_a_topic_is_bound_again_when_it_is_another_name(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0,
                    &(struct world_sub){"#", BUS_POLICY_DROP_OLDEST, .window = 9, .queue = 9});
    w->shows_names = true;
    world_publish(w, p, "a");
    world_publish(w, p, "b");
    world_publish(w, p, "a");
    world_expect(w, c,
                 "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.1\nTOPIC 1 b\nMESSAGE 1 b 1.2\n"
                 "TOPIC 1 a\nMESSAGE 1 a 1.3\n");
}

static void test_number_of_a_topic_is_kept_while_its_messages_wait(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0,
                    &(struct world_sub){"#", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 9});
    world_publish_n(w, p, "a", 2);
    world_publish(w, p, "b");
    w->shows_names = true;
    sim_settle(&w->s);
    world_expect(w, c,
                 "TOPIC 1 a\nPEER 1 1 sim\nMESSAGE 1 a 1.1\nTOPIC 1 a\nMESSAGE 1 a 1.2\nTOPIC 2 b\n"
                 "MESSAGE 1 b 1.3\n");
}

/* ---- order and sequence ---- */

static void test_sequence_counts_refused_publishes_too(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0, &all_of_a);
    world_publish(w, p, "a");
    assert_false(world_publish_bytes(w, p, "+", 10));
    world_publish(w, p, "a");
    world_expect(w, c, "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.3\n");
    world_expect(w, p, "STATUS INVALID_TOPIC PUBLISH seq=2\n");
}

static void test_all_subscriptions_see_one_order_over_all_topics_and_publishers(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *q = world_join(w), *c = world_join(w);
    struct world_sub sub = {"#", BUS_POLICY_DROP_OLDEST, .window = 9, .queue = 9};

    world_subscribe(w, c, 0, &sub);
    world_publish(w, p, "a");
    world_subscribe(w, q, 0, &sub);
    world_publish(w, q, "b");
    world_publish(w, p, "c");
    world_publish(w, q, "a");
    world_expect(w, c, "MESSAGE 1 a 1.1\nMESSAGE 1 b 2.1\nMESSAGE 1 c 1.2\nMESSAGE 1 a 2.2\n");
    world_expect(w, q, "MESSAGE 1 b 2.1\nMESSAGE 1 c 1.2\nMESSAGE 1 a 2.2\n");
}

static void test_each_matching_subscription_of_a_connection_gets_its_own_message(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct world_sub sub = {"+", BUS_POLICY_DROP_OLDEST, .window = 9, .queue = 9};

    world_subscribe(w, c, 0, &all_of_a);
    world_subscribe(w, c, 1, &sub);
    world_publish(w, p, "a");
    world_publish(w, p, "b");
    world_expect(w, c, "MESSAGE 1 a 1.1\nMESSAGE 2 a 1.1\nMESSAGE 2 b 1.2\n");
}

/* ---- what a message carries ---- */

static struct {
    struct wire_message m;
    char names[256]; /* name=value; of each header */
} last;

static void keep_message(struct sim *s, struct sim_client *c, const struct frame *f,
                         const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb != VERB_MESSAGE) {
        return;
    }
    last.m = m->message;
    last.names[0] = '\0';
    for (size_t i = 0; i < m->message.n_headers; i++) {
        const struct wire_header *h = &m->message.headers[i];
        size_t len = strlen(last.names);

        snprintf(last.names + len, sizeof(last.names) - len, "%.*s=%.*s;", (int) h->name.len,
                 h->name.data, (int) h->value.len, h->value.data);
    }
}

static void test_message_carries_headers_in_order_and_the_time_of_the_router(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct sim_publish with_headers = {.topic = "a", .body_bytes = 10, .n_headers = 4};

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 1, .queue = 9});
    w->s.on_frame = keep_message;
    assert_true(sim_publish(&w->s, p, &with_headers));
    assert_true(sim_publish(&w->s, p, &with_headers)); /* this one waits */
    for (unsigned i = 0; i < 2; i++) {
        sim_read(&w->s, c, 10);
        assert_int_equal(last.m.sequence, i + 1);
        assert_int_equal(last.m.time, UINT64_C(1700000000000000000));
        assert_int_equal(last.m.flags, 0);
        assert_string_equal(last.names, "n=value;traceparent=00-1-2-3;n=;\xc3\xa4=x;");
        w->s.now.realtime_ns += 5; /* when it is sent does not matter */
        sim_give_credit(&w->s, c, 0);
    }
}

/* ---- NO_LOCAL, CONFIRM ---- */

static void test_no_local_hears_others_and_not_its_own_connection(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct world_sub sub = all_of_a;

    sub.no_local = true;
    world_subscribe(w, c, 0, &sub);
    world_subscribe(w, c, 1, &all_of_a);
    world_publish(w, c, "a");
    world_publish(w, p, "a");
    world_expect(w, c, "MESSAGE 2 a 2.1\nMESSAGE 1 a 1.1\nMESSAGE 2 a 1.1\n");
}

static void test_confirm_counts_what_became_of_each_match(void **state)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_LATEST, BUS_POLICY_BLOCK};
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w), *d = world_join(w);
    struct sim_publish confirmed = {.topic = "a", .body_bytes = 10, .confirm = true};

    for (unsigned i = 0; i < ARRAY_LEN(policies); i++) {
        world_subscribe(w, c, i, &(struct world_sub){"a", policies[i], .window = 1, .queue = 1});
    }
    world_subscribe(w, c, 4, &all_of_a);
    world_subscribe(w, c, 5, &(struct world_sub){"b", BUS_POLICY_LATEST, .window = 1, .queue = 1});
    world_subscribe(w, d, 0,
                    &(struct world_sub){"a", BUS_POLICY_DISCONNECT, .window = 1, .queue = 1});
    for (unsigned i = 0; i < 4; i++) {
        assert_true(sim_publish(&w->s, p, &confirmed));
    }
    /* the third: drop_newest drops it, disconnect loses its connection */
    world_expect(w, p,
                 "CONFIRM 1 6 6 0 0\nCONFIRM 2 6 1 5 0\nCONFIRM 3 6 1 3 2\n"
                 "CONFIRM 4 5 1 3 1\n");
    sim_settle(&w->s);
}

static void test_confirm_of_a_publish_nobody_wants_is_all_zeros(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_publish confirmed = {.topic = "a", .body_bytes = 10, .confirm = true};
    struct world_sub sub = all_of_a;

    assert_true(sim_publish(&w->s, p, &confirmed));
    sub.no_local = true;
    world_subscribe(w, p, 0, &sub);
    assert_true(sim_publish(&w->s, p, &confirmed));
    world_expect(w, p, "CONFIRM 2 0 0 0 0\n");
}

static void test_refused_publish_is_answered_once_and_not_confirmed(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct sim_publish confirmed = {.topic = "$bus/x", .body_bytes = 10, .confirm = true};

    assert_false(sim_publish(&w->s, p, &confirmed));
    world_expect(w, p, "STATUS DENIED PUBLISH seq=1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_sender_and_topic_are_introduced_before_their_first_use_only),
        WORLD_CASE(test_number_of_a_sender_is_bound_again_when_it_is_another_connection),
        WORLD_CASE(test_number_of_a_sender_is_kept_while_its_messages_wait),
        WORLD_CASE(test_many_generations_of_publishers_are_never_confused),
        WORLD_CASE(test_connection_ids_are_never_used_again),
        WORLD_CASE(test_number_of_a_topic_is_bound_again_when_it_is_another_name),
        WORLD_CASE(test_number_of_a_topic_is_kept_while_its_messages_wait),
        WORLD_CASE(test_sequence_counts_refused_publishes_too),
        WORLD_CASE(test_all_subscriptions_see_one_order_over_all_topics_and_publishers),
        WORLD_CASE(test_each_matching_subscription_of_a_connection_gets_its_own_message),
        WORLD_CASE(test_message_carries_headers_in_order_and_the_time_of_the_router),
        WORLD_CASE(test_no_local_hears_others_and_not_its_own_connection),
        WORLD_CASE(test_confirm_counts_what_became_of_each_match),
        WORLD_CASE(test_confirm_of_a_publish_nobody_wants_is_all_zeros),
        WORLD_CASE(test_refused_publish_is_answered_once_and_not_confirmed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
