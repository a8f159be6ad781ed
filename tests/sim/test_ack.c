/* SPDX-License-Identifier: MIT */
/* Acknowledgement in groups: what is done, what comes back, and what is given up.
 * docs/protocol.md, section 13. */
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/parties.h"
#include "support/sim_cargo.h"

static const struct world_sub work = {"a", .window = 2, .queue = 9, .group = "g", .ack = true};

static void test_acknowledgement_is_what_gives_credit_back(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    sim_unsubscribe(&w->s, x.m[1], 0);
    world_publish_n(w, x.p, "a", 5);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 1 a 1.2 #2\n");
    world_credit(w, x.m[0], 0, 2, 20); /* is not heard */
    x.m[0]->subs[0].credit = 0;
    world_expect(w, x.m[0], "");
    world_ack(w, x.m[0], 0, 2, false);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.3 #3\n");
    assert_int_equal(x.k->messages_unacknowledged_now, 2);
    world_ack(w, x.m[0], 0, 1, false);
    world_ack(w, x.m[0], 0, 3, false);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.4 #4\nMESSAGE 1 a 1.5 #5\n");
    sim_settle(&w->s);
    assert_int_equal(x.k->messages_unacknowledged_now, 0);
}

static void test_acknowledgement_of_nothing_is_refused(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);
    struct wire_ack m = {1, 1, 2};

    world_subscribe(w, x.m[0], 1, &(struct world_sub){"b", .window = 1, .queue = 1});
    world_publish(w, x.p, "a");
    world_publish(w, x.p, "b");
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 2 b 1.2\n");
    world_ack(w, x.m[0], 0, 1, false);
    world_ack(w, x.m[0], 0, 1, false); /* twice */
    world_ack(w, x.m[0], 0, 0, false);
    world_ack(w, x.m[0], 0, 9, true);
    world_ack(w, x.m[0], 1, 1, false); /* nothing is acknowledged there */
    world_ack(w, x.m[0], 2, 1, false);
    world_expect(w, x.m[0],
                 "STATUS UNKNOWN_DELIVERY ACK sub=1\nSTATUS UNKNOWN_DELIVERY ACK sub=1\n"
                 "STATUS UNKNOWN_DELIVERY ACK sub=1\nSTATUS UNKNOWN_DELIVERY ACK sub=2\n"
                 "STATUS UNKNOWN_DELIVERY ACK sub=3\n");
    sim_send(&w->s, x.m[0], VERB_ACK, &m, NULL, 0);
    m = (struct wire_ack){0, 0, 0};
    sim_send(&w->s, x.m[0], VERB_ACK, &m, NULL, 0);
    world_expect(w, x.m[0], "STATUS INVALID_ARGUMENT ACK sub=1\nSTATUS UNKNOWN_DELIVERY ACK\n");
    sim_settle(&w->s);
}

static void test_what_a_dead_member_had_comes_first_and_in_order(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    world_publish_n(w, x.p, "a", 7); /* two each, three wait */
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 1 a 1.3 #2\n");
    sim_disconnect(&w->s, x.m[0]);
    router_check(w->s.router);
    assert_int_equal(x.k->messages_returned, 2);
    assert_int_equal(x.k->messages_queued_now, 5);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #1\nMESSAGE 1 a 1.4 #2\n");
    world_ack(w, x.m[1], 0, 1, false);
    world_ack(w, x.m[1], 0, 2, false);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 #3 again 1\nMESSAGE 1 a 1.3 #4 again 1\n");
    sim_settle(&w->s);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.5 #5\nMESSAGE 1 a 1.6 #6\nMESSAGE 1 a 1.7 #7\n");
    assert_int_equal(x.k->messages_redelivered, 2);
}

static void test_what_was_acknowledged_does_not_come_back(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    world_publish_n(w, x.p, "a", 4);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 1 a 1.3 #2\n");
    world_ack(w, x.m[0], 0, 1, false);
    sim_unsubscribe(&w->s, x.m[0], 0);
    sim_settle(&w->s);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #1\nMESSAGE 1 a 1.4 #2\nMESSAGE 1 a 1.3 #3 again 1\n");
}

static void test_member_may_die_at_any_stage(void **state)
{
    struct world *w = *state;

    for (unsigned stage = 0; stage < 5; stage++) {
        struct trio x = join_trio(w, &work);

        world_publish_n(w, x.p, "a", 4);
        switch (stage) {
        case 0: /* before it has read */
            sim_disconnect(&w->s, x.m[0]);
            break;
        case 1: /* when it has read */
            sim_read(&w->s, x.m[0], 100);
            sim_disconnect(&w->s, x.m[0]);
            break;
        case 2: /* with a goodbye, and what it says behind that is not heard */
            sim_read(&w->s, x.m[0], 100);
            sim_send(&w->s, x.m[0], VERB_GOODBYE, &(struct wire_goodbye){1, {"", 0}}, NULL, 0);
            sim_send(&w->s, x.m[0], VERB_ACK, &(struct wire_ack){1, 1, 0}, NULL, 0);
            break;
        case 3: /* for a mistake */
            sim_send_raw(&w->s, x.m[0], "\xff\xff\xff\xff\x01\x00\x10\x00", 8);
            break;
        case 4: /* both: the second gets it and dies too */
            sim_disconnect(&w->s, x.m[0]);
            sim_read(&w->s, x.m[1], 100);
            x.m[0] = world_join(w);
            world_subscribe(w, x.m[0], 0, &work);
            sim_disconnect(&w->s, x.m[1]);
            x.m[1] = x.m[0];
            break;
        }
        router_check(w->s.router);
        sim_settle(&w->s);
        assert_int_equal(x.m[1]->subs[0].delivered, 4);
        assert_int_equal(x.m[1]->subs[0].lost, 0);
        for (unsigned i = 0; i < SIM_CLIENTS; i++) {
            if (w->s.clients[i].peer) {
                sim_disconnect(&w->s, &w->s.clients[i]);
            }
        }
    }
}

static void test_refused_message_goes_to_another(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    world_publish(w, x.p, "a");
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\n");
    world_ack(w, x.m[0], 0, 1, true);
    world_expect(w, x.m[0], "");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 #1 again 1\n");
    world_ack(w, x.m[1], 0, 1, true);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #2 again 2\n");
    sim_unsubscribe(&w->s, x.m[1], 0);
    world_ack(w, x.m[0], 0, 2, true); /* nobody else is there */
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #3 again 3\n");
    sim_settle(&w->s);
    assert_int_equal(x.k->messages_returned, 3);
}

static void test_given_up_without_a_dead_letter_is_a_loss(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    world_publish(w, x.p, "a");
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\n");
    for (unsigned i = 0; i < 4; i++) {
        sim_ack(&w->s, x.m[i % 2], 0, true, true);
        sim_read(&w->s, x.m[1 - i % 2], 10);
    }
    world_clear(w, x.m[0]);
    world_clear(w, x.m[1]);
    sim_ack(&w->s, x.m[0], 0, true, true); /* the fifth time */
    assert_int_equal(x.k->messages_lost, 1);
    sim_read(&w->s, x.m[0], 10);
    sim_read(&w->s, x.m[1], 10);
    assert_int_equal(x.m[0]->subs[0].lost + x.m[1]->subs[0].lost, 1);
    world_expect(w, x.m[1], "LOSS 1 1 10 EXPIRED\n");
    world_expect(w, x.m[0], "");
    sim_settle(&w->s);
}

/* ---- dead letters ---- */

/* Shows the headers of messages too. */
static void on_letter(struct sim *s, struct sim_client *c, const struct frame *f,
                      const union wire_any *m)
{
    struct world *w = world_of(s);

    world_on_frame(s, c, f, m);
    if (f->verb != VERB_MESSAGE) {
        return;
    }
    for (size_t i = 0; i < m->message.n_headers; i++) {
        const struct wire_header *h = &m->message.headers[i];

        world_print(w, c, "  %.*s=%.*s\n", (int) h->name.len, h->name.data, (int) h->value.len,
                    h->value.data);
    }
}

static const struct world_sub mortal = {"a",
                                        .window = 2,
                                        .queue = 9,
                                        .group = "g",
                                        .ack = true,
                                        .deliveries_max = 2,
                                        .dead_letter = "dead/a"};

static void test_dead_letter_says_whose_and_why(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &mortal);
    struct sim_client *d = world_join(w);

    w->s.on_frame = on_letter;
    world_subscribe(w, d, 0, &(struct world_sub){"dead/#", .window = 9, .queue = 9});
    assert_true(
        sim_publish(&w->s, x.p, &(struct sim_publish){"a", .body_bytes = 10, .n_headers = 1}));
    sim_read(&w->s, x.m[0], 10);
    sim_disconnect(&w->s, x.m[0]);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 #1 again 1\n  n=value\n");
    assert_int_equal(x.k->messages_dead_lettered, 0);
    /* what the oracle is to expect for d: the same body once more */
    d->subs[0].due = realloc(d->subs[0].due, sizeof(uint64_t));
    d->subs[0].due[d->subs[0].n_due++] = w->s.n_published;
    d->subs[0].n_due_max = 1;
    world_ack(w, x.m[1], 0, 1, true);
    assert_int_equal(x.k->messages_dead_lettered, 1);
    world_expect(w, x.m[1], "");
    world_expect(w, d,
                 "MESSAGE 1 dead/a 1.1\n  n=value\n  bus-topic=a\n  bus-group=g\n"
                 "  bus-deliveries=2\n");
    sim_settle(&w->s);
}

static void test_dead_letter_may_be_one_of_many_headers(void **state)
{
    struct wire_header headers[BUS_HEADERS_MAX];
    struct world *w = *state;
    struct trio x = join_trio(w, &mortal);
    struct wire_publish m = {.topic = text_from("a"), .headers = headers};
    static char value[65000];
    struct sim_client *d = world_join(w);

    memset(value, 'v', sizeof(value) - 1);
    sim_unsubscribe(&w->s, x.m[1], 0);
    world_subscribe(w, d, 0,
                    &(struct world_sub){"dead/a", .window = 9, .queue = 9, .queue_bytes = 1000000,
                                        .group = "d"});
    for (unsigned i = 0; i < BUS_HEADERS_MAX; i++) {
        headers[i] = (struct wire_header){text_from("n"), text_from("v")};
    }
    m.n_headers = BUS_HEADERS_MAX;
    sim_send(&w->s, x.p, VERB_PUBLISH, &m, "01234567", 8);
    headers[0].value = (struct text){value, 16000};
    sim_send(&w->s, x.p, VERB_PUBLISH, &m, "01234567", 8);
    for (unsigned i = 0; i < 2; i++) {
        sim_read(&w->s, x.m[0], 100);
        sim_ack(&w->s, x.m[0], 0, true, true);
    }
    sim_settle(&w->s);
    assert_int_equal(x.k->messages_dead_lettered, 2);
    assert_int_equal(d->subs[0].delivered, 2);
}

static void test_dead_letters_outlive_their_group(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &mortal);
    struct sim_client *d = world_join(w);

    world_subscribe(w, d, 0, &(struct world_sub){"dead/a", .window = 9, .queue = 9, .group = "d"});
    world_publish(w, x.p, "a");
    sim_read(&w->s, x.m[0], 10);
    sim_disconnect(&w->s, x.m[0]);
    sim_read(&w->s, x.m[1], 10);
    d->peer->output_max = 0; /* it does not get through at once */
    sim_ack(&w->s, x.m[1], 0, true, true);
    sim_disconnect(&w->s, x.m[1]);
    sim_disconnect(&w->s, x.p);
    assert_int_equal(x.k->groups_now, 1);
    d->peer->output_max = 4096;
    sub_pump(d->peer->subs[0]);
    sim_settle(&w->s);
    assert_int_equal(d->subs[0].delivered, 1);
    assert_int_equal(x.k->messages_dead_lettered, 1);
}

static void test_dead_letter_waits_for_memory(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &mortal);
    struct sim_client *d = world_join(w);

    world_subscribe(w, d, 0, &(struct world_sub){"dead/a", .window = 9, .queue = 9, .group = "d"});
    world_publish(w, x.p, "a");
    sim_read(&w->s, x.m[0], 10);
    sim_disconnect(&w->s, x.m[0]);
    sim_read(&w->s, x.m[1], 10);
    failmalloc_arm_from(1);
    world_ack(w, x.m[1], 0, 1, true);
    router_check(w->s.router);
    assert_true(failmalloc_disarm() > 0);
    assert_non_null(w->s.router->groups.dead);
    assert_int_equal(d->subs[0].delivered, 0);
    sim_settle(&w->s);
    assert_null(w->s.router->groups.dead);
    assert_int_equal(d->subs[0].delivered, 1);
}

/* ---- bodies in buffers, and descriptors ---- */

static void test_body_in_a_buffer_is_leased_anew_and_returned_when_it_is_done(void **state)
{
    struct world *w = *state;
    struct sim_client *p, *m[2];

    p = world_join_mapping(w);
    for (unsigned i = 0; i < 2; i++) {
        w->s.features = i == 0 ? FEATURE_BUFFERS : 0; /* the second gets the body in the frame */
        m[i] = world_join(w);
        w->s.features = 0;
        world_subscribe(w, m[i], 0, &work);
    }
    assert_true(sim_register(&w->s, p, 1, 1000, false));
    assert_true(sim_publish(&w->s, p, &(struct sim_publish){"a", .body_bytes = 900, .buffer = 1}));
    world_expect(w, m[0], "BUFFER 1 8000\nMESSAGE 1 a 1.1 in 1 0 900 1 #1\nPING\n");
    sim_pong(&w->s, m[0]);
    world_ack(w, m[0], 0, 1, true); /* but it still looks at the body */
    world_expect(w, m[1], "MESSAGE 1 a 1.1 #1 again 1\n");
    world_ack(w, m[1], 0, 1, true);
    world_expect(w, m[0], "MESSAGE 1 a 1.1 in 1 0 900 2 #2 again 2\n");
    world_ack(w, m[0], 0, 2, false);
    sim_release(&w->s, m[0], 1, 0);
    sim_read(&w->s, p, 10);
    assert_int_equal(p->n_returned, 0);
    sim_release(&w->s, m[0], 2, 0);
    sim_read(&w->s, p, 10);
    assert_int_equal(p->n_returned, 1);
}

static void test_body_in_a_buffer_goes_into_the_dead_letter_and_is_returned_once(void **state)
{
    struct world *w = *state;
    struct sim_client *p, *m, *d;

    p = world_join_mapping(w);
    m = world_join_mapping(w);
    d = world_join_mapping(w);
    world_subscribe(w, m, 0,
                    &(struct world_sub){"a", .window = 2, .queue = 9, .group = "g", .ack = true,
                                        .deliveries_max = 1, .dead_letter = "dead"});
    world_subscribe(w, d, 0,
                    &(struct world_sub){"dead", .window = 2, .queue = 9, .group = "d", .ack = true,
                                        .deliveries_max = 1, .dead_letter = "deader"});
    world_subscribe(w, d, 1, &(struct world_sub){"deader", .window = 2, .queue = 9, .group = "e"});
    assert_true(sim_register(&w->s, p, 1, 1000, false));
    assert_true(sim_publish(&w->s, p, &(struct sim_publish){"a", .body_bytes = 900, .buffer = 1}));
    sim_read(&w->s, m, 10);
    sim_ack(&w->s, m, 0, true, true);
    sim_read(&w->s, d, 10);
    assert_int_equal(d->subs[0].delivered, 1);
    sim_ack(&w->s, d, 0, true, true);
    sim_release_all(&w->s, m);
    sim_release_all(&w->s, d);
    sim_read(&w->s, p, 10);
    assert_int_equal(p->n_returned, 0);
    sim_settle(&w->s);
    assert_int_equal(d->subs[1].delivered, 1);
    assert_int_equal(p->n_returned, 1);
}

static void test_descriptors_come_with_the_first_delivery_only(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &(struct world_sub){"a", .window = 2, .queue = 9, .group = "g",
                                                     .ack = true, .descriptors = true});

    assert_true(sim_publish(&w->s, x.p, &(struct sim_publish){"a", .body_bytes = 10, .n_fds = 2}));
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 2/2 #1\nPING\n");
    assert_int_equal(x.p->peer->sender->descriptors.used, 0);
    sim_disconnect(&w->s, x.m[0]);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 0/2 #1 again 1\n");
    sim_settle(&w->s);
}

/* ---- keys ---- */

static void test_keys_come_back_to_their_new_member_in_order(void **state)
{
    const struct world_sub sub = {"a",          .window = 2, .queue = 9,
                                  .group = "g", .ack = true, .sticky = true};
    struct world *w = *state;
    struct trio x = join_trio(w, &sub);
    struct sim_client *c = world_join(w);

    for (unsigned i = 0; i < 5; i++) {
        world_publish_key(w, x.p, "a", "one");
    }
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 1 a 1.2 #2\n");
    sim_disconnect(&w->s, x.m[0]);
    router_check(w->s.router);
    world_publish_key(w, x.p, "a", "one");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.1 #1 again 1\nMESSAGE 1 a 1.2 #2 again 1\n");
    world_ack(w, x.m[1], 0, 1, false);
    world_expect(w, x.m[1], "MESSAGE 1 a 1.3 #3\n");
    world_ack(w, x.m[1], 0, 2, true); /* to the same, for the key is its */
    world_expect(w, x.m[1], "MESSAGE 1 a 1.2 #4 again 2\n");
    world_subscribe(w, c, 0, &sub);
    sim_disconnect(&w->s, x.m[1]); /* 3 and 2 are with it, in this order; 4 to 6 wait */
    router_check(w->s.router);
    sim_settle(&w->s);
    world_expect(w, c,
                 "MESSAGE 1 a 1.3 #1 again 1\nMESSAGE 1 a 1.2 #2 again 3\nMESSAGE 1 a 1.4 #3\n"
                 "MESSAGE 1 a 1.5 #4\nMESSAGE 1 a 1.6 #5\n");
}

/* ---- who waits for room ---- */

static void test_members_of_one_connection_wait_for_leases_side_by_side(void **state)
{
    const struct world_sub sub = {"a",          .window = 4, .queue = 9,    .window_bytes = 100000,
                                  .group = "g", .ack = true, .sticky = true};
    struct limits limits = sim_small_limits();
    struct world *w;
    struct sim_client *p, *c, *d;

    (void) state;
    limits.leases_max = 1;
    w = world_new(&limits);
    p = world_join_mapping(w);
    d = world_join_mapping(w);
    c = world_join_mapping(w);
    world_subscribe(w, d, 0, &sub);
    assert_true(sim_register(&w->s, p, 1, 1000, false));
    for (unsigned i = 0; i < 4; i++) {
        assert_true(sim_publish(&w->s, p,
                                &(struct sim_publish){"a", .body_bytes = 900, .buffer = 1,
                                                      .slot = i, .key = i % 2 ? "x" : "y"}));
    }
    sim_read(&w->s, d, 10);
    sim_pong(&w->s, d);
    sim_release_all(&w->s, d);
    sim_read(&w->s, d, 10);
    world_subscribe(w, c, 0, &sub);
    world_subscribe(w, c, 1, &sub);
    sim_disconnect(&w->s, d); /* two had been delivered: both members get what came back */
    router_check(w->s.router);
    sim_read(&w->s, c, 10);
    assert_int_equal(c->n_leases, 1);
    assert_true(c->peer->subs[0]->is_waiting || c->peer->subs[1]->is_waiting);
    for (unsigned i = 0; i < 8 && c->n_leases > 0; i++) {
        sim_pong(&w->s, c);
        sim_release_all(&w->s, c);
        router_check(w->s.router);
        sim_read(&w->s, c, 10);
    }
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered + c->subs[1].delivered, 4);
    world_free(w);
}

static void test_member_that_waits_for_room_may_unsubscribe(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    for (unsigned i = 0; i < 3; i++) {
        world_subscribe(w, c, i, &(struct world_sub){"a", .window = 100, .queue = 9, .group = "g"});
    }
    c->peer->output_max = 1;
    world_publish_n(w, p, "a", 6); /* no member has room: all wait for it */
    for (unsigned i = 3; i > 0; i--) {
        sim_send(&w->s, c, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = i}, NULL,
                 0);
        c->subs[i - 1].used = i > 1 ? false : true;
        router_check(w->s.router);
    }
    c->subs[0].used = true; /* for what is in the output */
    assert_int_equal(c->peer->waiting, 0);
    assert_int_equal(router_counters(w->s.router)->groups_now, 0);
}

/* ---- the end ---- */

static void test_shutdown_gives_members_what_waits_within_credit(void **state)
{
    struct world *w = *state;
    struct trio x = join_trio(w, &work);

    x.m[0]->peer->output_max = 0;
    x.m[1]->peer->output_max = 0;
    world_publish_n(w, x.p, "a", 7);
    router_shutdown(w->s.router, &w->s.now);
    router_check(w->s.router);
    world_expect(w, x.m[0], "MESSAGE 1 a 1.1 #1\nMESSAGE 1 a 1.2 #2\nGOODBYE SHUTDOWN\n");
    world_expect(w, x.m[1], "MESSAGE 1 a 1.3 #1\nMESSAGE 1 a 1.4 #2\nGOODBYE SHUTDOWN\n");
    assert_int_equal(x.k->messages_unacknowledged_now, 0);
    assert_int_equal(x.k->messages_redelivered, 0);
}

static void test_much_that_was_not_acknowledged_is_dropped_in_parts(void **state)
{
    struct limits limits = LIMITS_DEFAULT;
    struct world *w;
    struct sim_client *p, *c;

    (void) state;
    w = world_new(&limits);
    p = world_join(w);
    c = world_join(w);
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", .window = 10000, .queue = 10000,
                                        .window_bytes = 1000000, .queue_bytes = 1000000,
                                        .group = "g", .ack = true});
    world_publish_n(w, p, "a", 9000);
    c->peer->output_max = UINT64_MAX;
    sub_pump(c->peer->subs[0]);
    assert_int_equal(router_counters(w->s.router)->messages_unacknowledged_now, 9000);
    sim_disconnect(&w->s, c);
    router_check(w->s.router);
    assert_true(router_counters(w->s.router)->messages_queued_now > 5000);
    world_publish(w, p, "a"); /* is for nobody: the group is gone */
    assert_true(sim_work_off(&w->s) > 2);
    assert_int_equal(router_counters(w->s.router)->messages_discarded, 9000);
    world_free(w);
}

/* ---- failing allocations ---- */

static bool failing_turn(struct world *w, unsigned long n)
{
    struct trio x = join_trio(w, &mortal);
    struct sim_client *d = world_join(w);
    struct counters before;
    bool failed;

    world_subscribe(w, d, 0, &(struct world_sub){"dead/a", .window = 9, .queue = 90, .group = "d"});
    before = *x.k;
    failmalloc_arm(n);
    for (unsigned i = 0; i < 6; i++) {
        (void) world_publish_bytes(w, x.p, "a", 10);
        router_check(w->s.router);
    }
    sim_disconnect(&w->s, x.m[0]);
    router_check(w->s.router);
    sim_read(&w->s, x.m[1], 100);
    if (x.m[1]->peer && !peer_is_closing(x.m[1]->peer)) {
        sim_ack(&w->s, x.m[1], 0, false, false);
        sim_ack(&w->s, x.m[1], 0, false, true);
        router_check(w->s.router);
    }
    failed = failmalloc_disarm() > 0;
    sim_settle(&w->s);
    if (x.m[1]->peer && d->peer) {
        /* d is another group: its matches are the dead letters */
        uint64_t dead = x.k->messages_dead_lettered - before.messages_dead_lettered;
        uint64_t matched = x.k->messages_matched - before.messages_matched;

        /* who has died may have been told of some */
        uint64_t lost = x.k->messages_lost - before.messages_lost - d->subs[0].lost;

        assert_true(x.m[1]->subs[0].lost <= lost);
        assert_int_equal(d->subs[0].delivered + d->subs[0].lost, dead);
        assert_int_equal(x.m[1]->subs[0].acked + dead + lost, matched - dead);
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (w->s.clients[i].peer) {
            sim_disconnect(&w->s, &w->s.clients[i]);
        }
        world_clear(w, &w->s.clients[i]);
    }
    (void) sim_work_off(&w->s);
    assert_int_equal(router_counters(w->s.router)->charged_bytes_now, 0);
    return failed;
}

static void test_failing_allocations_lose_no_work_in_silence(void **state)
{
    struct world *w = *state;
    unsigned long n = 1;

    while (failing_turn(w, n)) {
        n++;
    }
    assert_true(n > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASES(test_acknowledgement_is_what_gives_credit_back),
        WORLD_CASES(test_acknowledgement_of_nothing_is_refused),
        WORLD_CASES(test_what_a_dead_member_had_comes_first_and_in_order),
        WORLD_CASES(test_what_was_acknowledged_does_not_come_back),
        WORLD_CASES(test_member_may_die_at_any_stage),
        WORLD_CASES(test_refused_message_goes_to_another),
        WORLD_CASES(test_given_up_without_a_dead_letter_is_a_loss),
        WORLD_CASES(test_dead_letter_says_whose_and_why),
        WORLD_CASES(test_dead_letter_may_be_one_of_many_headers),
        WORLD_CASES(test_dead_letters_outlive_their_group),
        WORLD_CASES(test_dead_letter_waits_for_memory),
        WORLD_CASES(test_body_in_a_buffer_is_leased_anew_and_returned_when_it_is_done),
        WORLD_CASES(test_body_in_a_buffer_goes_into_the_dead_letter_and_is_returned_once),
        WORLD_CASES(test_descriptors_come_with_the_first_delivery_only),
        WORLD_CASES(test_keys_come_back_to_their_new_member_in_order),
        cmocka_unit_test(test_members_of_one_connection_wait_for_leases_side_by_side),
        WORLD_CASES(test_member_that_waits_for_room_may_unsubscribe),
        WORLD_CASES(test_shutdown_gives_members_what_waits_within_credit),
        cmocka_unit_test(test_much_that_was_not_acknowledged_is_dropped_in_parts),
        WORLD_CASES(test_failing_allocations_lose_no_work_in_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
