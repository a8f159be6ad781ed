/* SPDX-License-Identifier: MIT */
/* Every refusal and every end of a connection: docs/protocol.md, section 11. */
#include "core/router.h"
#include "support/failmalloc.h"
#include "support/world.h"

static void send_raw_frame(struct world *w, struct sim_client *c, uint8_t verb, uint8_t fds,
                           const char *header, size_t header_bytes, size_t body_bytes)
{
    static uint8_t buf[FRAME_PACKET_MAX + 100];

    frame_write_prefix(buf, (enum verb) verb, header_bytes, body_bytes);
    buf[7] = fds;
    memcpy(buf + FRAME_PREFIX_BYTES, header, header_bytes);
    sim_send_raw(&w->s, c, buf, FRAME_PREFIX_BYTES + header_bytes + body_bytes);
}

static void ping(struct world *w, struct sim_client *c)
{
    struct wire_ping m = {9};

    sim_send(&w->s, c, VERB_PING, &m, NULL, 0);
}

/* ---- frames ---- */

static void test_header_that_is_not_protobuf_is_malformed(void **state)
{
    static const uint8_t verbs[] = {VERB_ADVERTISE, VERB_SUBSCRIBE, VERB_PING,
                                    VERB_CREDIT,    VERB_SNAPSHOT,  VERB_MONITOR};
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char due[64];

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        send_raw_frame(w, c, verbs[i], 0, "\xff\xff", 2, 0);
        snprintf(due, sizeof(due), "STATUS MALFORMED %s\n", verb_name(verbs[i]));
        world_expect(w, c, due);
    }
    send_raw_frame(w, c, VERB_PUBLISH, 0, "\xff\xff", 2, 0);
    ping(w, c);
    world_expect(w, c, "STATUS MALFORMED PUBLISH seq=1\nPONG 9\n");
}

static void test_publish_with_more_than_64_headers_is_malformed(void **state)
{
    struct wire_header headers[65];
    struct wire_publish m = {.topic = text_from("a"), .headers = headers};
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        headers[i] = (struct wire_header){text_from("n"), text_from("")};
    }
    m.n_headers = 65;
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    m.n_headers = 64;
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    world_expect(w, c, "STATUS MALFORMED PUBLISH seq=1\n");
    assert_int_equal(router_counters(w->s.router)->messages_published, 1);
}

static void test_unknown_verbs_are_refused_and_the_connection_goes_on(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    unsigned n = 1;

    send_raw_frame(w, c, 0, 0, "", 0, 0);
    world_expect(w, c, "STATUS UNKNOWN_VERB ?\n");
    for (unsigned verb = 1; verb < 256; verb++) {
        if (*verb_name((uint8_t) verb) == '?') {
            send_raw_frame(w, c, (uint8_t) verb, 0, "", 0, 0);
            n++;
            sim_read(&w->s, c, 10);
        }
    }
    assert_int_equal(c->n_status[BUS_STATUS_UNKNOWN_VERB], n);
    assert_int_equal(n, 256 - 44);
    world_clear(w, c);
    ping(w, c);
    world_expect(w, c, "PONG 9\n");
}

static void test_verbs_of_the_router_are_unexpected(void **state)
{
    static const enum verb verbs[] = {
        VERB_WELCOME, VERB_STATUS,      VERB_PUBLISH_CREDIT, VERB_CONFIRM,   VERB_MESSAGE,
        VERB_TOPIC,   VERB_PEER,        VERB_LOSS,           VERB_MONITORED, VERB_CLIENT_STATS,
        VERB_COUNTER, VERB_TOPIC_STATS, VERB_SNAPSHOT_END,   VERB_RETURNED};
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char due[64];

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        send_raw_frame(w, c, (uint8_t) verbs[i], 0, "", 0, 0);
        snprintf(due, sizeof(due), "STATUS UNEXPECTED %s\n", verb_name((uint8_t) verbs[i]));
        world_expect(w, c, due);
    }
}

static void test_frames_with_descriptors_are_unsupported_and_have_no_effect(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    send_raw_frame(w, c, VERB_PING, 1, "", 0, 0);
    send_raw_frame(w, c, VERB_SUBSCRIBE, 2,
                   "\x08\x01\x12\x01"
                   "a",
                   5, 0);
    send_raw_frame(w, c, VERB_PUBLISH, 255,
                   "\x12\x01"
                   "a",
                   3, 0);
    world_expect(w, c,
                 "STATUS UNSUPPORTED PING\nSTATUS UNSUPPORTED SUBSCRIBE\n"
                 "STATUS UNSUPPORTED PUBLISH seq=1\n");
    assert_int_equal(router_counters(w->s.router)->subscriptions_now, 0);
    assert_int_equal(router_counters(w->s.router)->messages_published, 0);
}

static void test_body_beyond_the_limit_or_without_right_ends_the_connection(void **state)
{
    static const struct {
        uint8_t verb;
        bool packets;
        size_t body_bytes;
    } cases[] = {{VERB_PUBLISH, true, FRAME_INLINE_MAX_SEQPACKET + 1},
                 {VERB_PUBLISH, false, 8193}, /* the small limits of streams */
                 {VERB_PING, true, 1},
                 {VERB_SUBSCRIBE, false, 1},
                 {200, true, 1}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim_client *c = sim_connect(&w->s, cases[i].packets);

        world_clear(w, c);
        send_raw_frame(w, c, cases[i].verb, 0,
                       "\x12\x01"
                       "a",
                       3, cases[i].body_bytes);
        world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    }
    assert_int_equal(router_counters(w->s.router)->protocol_errors, ARRAY_LEN(cases));
}

static void test_largest_body_of_each_link_is_taken(void **state)
{
    struct world *w = *state;
    struct sim_client *packets = world_join(w), *stream = sim_connect(&w->s, false);

    assert_true(world_publish_bytes(w, packets, "a", FRAME_INLINE_MAX_SEQPACKET));
    assert_true(world_publish_bytes(w, stream, "a", 8192));
}

static void test_headers_that_are_too_long_together_are_refused(void **state)
{
    static char value[FRAME_HEADER_MAX];
    struct wire_header header = {text_from("n"), {value, 0}};
    struct wire_publish m = {.topic = text_from("a"), .headers = &header, .n_headers = 1};
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    memset(value, 'v', sizeof(value));
    header.value.len = FRAME_HEADER_MAX - 20;
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    header.value.len = FRAME_HEADER_MAX - 200;
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    world_expect(w, c, "STATUS LIMIT PUBLISH seq=1\nPUBLISH_CREDIT 1 65336\n");
}

/* ---- PUBLISH, ADVERTISE ---- */

static void publish_header(struct world *w, struct sim_client *c, struct text name,
                           struct text value)
{
    struct wire_header header = {name, value};
    struct wire_publish m = {.topic = text_from("a"), .headers = &header, .n_headers = 1};

    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
}

static void test_header_names_and_values_are_checked(void **state)
{
    static const char longest[256] = {[0 ... 255] = 'n'};
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    const struct text ok = text_from("v");

    publish_header(w, c, (struct text){longest, 256}, ok);
    publish_header(w, c, (struct text){"", 0}, ok);
    publish_header(w, c, (struct text){"a\n", 2}, ok);
    publish_header(w, c, (struct text){"\xff", 1}, ok);
    publish_header(w, c, ok, (struct text){"\xff", 1});
    publish_header(w, c, ok, (struct text){"a\0b", 3});
    assert_int_equal(router_counters(w->s.router)->messages_refused, 6);
    sim_read(&w->s, c, 10);
    assert_int_equal(c->n_status[BUS_STATUS_INVALID_ARGUMENT], 6);
    publish_header(w, c, (struct text){longest, 255}, ok);
    publish_header(w, c, ok, (struct text){"a\n\x7f", 3});
    assert_int_equal(router_counters(w->s.router)->messages_published, 2);
}

static void test_publish_gives_alias_or_topic_and_known_flags_only(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_publish m = {.topic = text_from("")};

    sim_advertise(&w->s, c, 0, "a");
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    m = (struct wire_publish){.alias = 1, .topic = text_from("a")};
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    m = (struct wire_publish){.alias = 1, .topic = text_from(""), .flags = 4};
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    m = (struct wire_publish){.alias = 2, .topic = text_from("")};
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    m.alias = UINT32_MAX;
    sim_send(&w->s, c, VERB_PUBLISH, &m, NULL, 0);
    world_expect(w, c,
                 "STATUS INVALID_ARGUMENT PUBLISH seq=1\n"
                 "STATUS INVALID_ARGUMENT PUBLISH alias=1 seq=2\n"
                 "STATUS INVALID_ARGUMENT PUBLISH alias=1 seq=3\n"
                 "STATUS UNKNOWN_ALIAS PUBLISH alias=2 seq=4\n"
                 "STATUS UNKNOWN_ALIAS PUBLISH alias=4294967295 seq=5\n");
}

static void test_topics_are_checked_and_those_of_the_router_denied(void **state)
{
    static const struct {
        const char *topic, *answer;
    } cases[] = {{"a/+", "INVALID_TOPIC"}, {"#", "INVALID_TOPIC"},     {"\xff", "INVALID_TOPIC"},
                 {"a\n", "INVALID_TOPIC"}, {"$bus", "DENIED"},         {"$bus/", "DENIED"},
                 {"$bus/a/b", "DENIED"},   {"$bus/+", "INVALID_TOPIC"}};
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char due[64];

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_advertise m = {7, text_from(cases[i].topic)};

        assert_false(world_publish_bytes(w, c, cases[i].topic, 10));
        snprintf(due, sizeof(due), "STATUS %s PUBLISH seq=%u\n", cases[i].answer, i + 1);
        world_expect(w, c, due);
        sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
        snprintf(due, sizeof(due), "STATUS %s ADVERTISE alias=7\n", cases[i].answer);
        world_expect(w, c, due);
    }
    world_publish(w, c, "$busy");
    world_publish(w, c, "$sys/bus");
    assert_int_equal(router_counters(w->s.router)->topics_now, 0);
}

static void test_aliases_are_numbers_in_range_used_once(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_advertise m = {0, text_from("a")};
    struct wire_unadvertise un = {3};

    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    m.alias = 9; /* the small limits have 8 */
    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    m.alias = 8;
    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0);
    sim_send(&w->s, c, VERB_UNADVERTISE, &un, NULL, 0);
    un.alias = 8;
    sim_send(&w->s, c, VERB_UNADVERTISE, &un, NULL, 0);
    sim_send(&w->s, c, VERB_ADVERTISE, &m, NULL, 0); /* free at once */
    world_expect(w, c,
                 "STATUS INVALID_ARGUMENT ADVERTISE\n"
                 "STATUS LIMIT ADVERTISE alias=9\nSTATUS IN_USE ADVERTISE alias=8\n"
                 "STATUS UNKNOWN_ALIAS UNADVERTISE alias=3\n");
}

/* ---- SUBSCRIBE ---- */

static void subscribe(struct world *w, struct sim_client *c, struct wire_subscribe m)
{
    if (!m.filter.data) {
        m.filter = text_from("a");
    }
    sim_send(&w->s, c, VERB_SUBSCRIBE, &m, NULL, 0);
}

static void test_subscriptions_are_checked(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct limits l = sim_small_limits();

    subscribe(w, c, (struct wire_subscribe){.subscription = 0});
    world_expect(w, c, "STATUS INVALID_ARGUMENT SUBSCRIBE\n");
    subscribe(w, c, (struct wire_subscribe){.subscription = 17});
    world_expect(w, c, "STATUS LIMIT SUBSCRIBE sub=17\n");
    subscribe(w, c, (struct wire_subscribe){.subscription = 1, .filter = text_from("a/#/b")});
    world_expect(w, c, "STATUS INVALID_FILTER SUBSCRIBE sub=1\n");
    subscribe(w, c, (struct wire_subscribe){.subscription = 1, .filter = text_from("")});
    world_expect(w, c, "STATUS INVALID_FILTER SUBSCRIBE sub=1\n");
    subscribe(w, c, (struct wire_subscribe){.subscription = 1, .policy = 5});
    world_expect(w, c, "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n");
    subscribe(w, c, (struct wire_subscribe){.subscription = 1, .flags = 4});
    world_expect(w, c, "STATUS INVALID_ARGUMENT SUBSCRIBE sub=1\n");
    subscribe(w, c,
              (struct wire_subscribe){.subscription = 1,
                                      .window_messages = (uint32_t) l.window_messages_max + 1});
    world_expect(w, c, "STATUS LIMIT SUBSCRIBE sub=1\n");
    subscribe(w, c,
              (struct wire_subscribe){.subscription = 1, .window_bytes = l.window_bytes_max + 1});
    world_expect(w, c, "STATUS LIMIT SUBSCRIBE sub=1\n");
    subscribe(w, c,
              (struct wire_subscribe){.subscription = 1,
                                      .queue_messages = (uint32_t) l.queue_messages_max + 1});
    world_expect(w, c, "STATUS LIMIT SUBSCRIBE sub=1\n");
    subscribe(w, c,
              (struct wire_subscribe){.subscription = 1, .queue_bytes = l.queue_bytes_max + 1});
    world_expect(w, c, "STATUS LIMIT SUBSCRIBE sub=1\n");
    assert_int_equal(router_counters(w->s.router)->subscriptions_now, 0);
}

static void test_subscription_numbers_are_used_once_and_can_be_given_back(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_unsubscribe un = {16};

    sim_send(&w->s, c, VERB_UNSUBSCRIBE, &un, NULL, 0);
    subscribe(w, c, (struct wire_subscribe){.subscription = 16});
    subscribe(w, c, (struct wire_subscribe){.subscription = 16, .filter = text_from("b")});
    sim_send(&w->s, c, VERB_UNSUBSCRIBE, &un, NULL, 0);
    subscribe(w, c, (struct wire_subscribe){.subscription = 16});
    world_expect(w, c,
                 "STATUS UNKNOWN_SUBSCRIPTION UNSUBSCRIBE sub=16\n"
                 "STATUS OK SUBSCRIBE sub=16\nSTATUS IN_USE SUBSCRIBE sub=16\n"
                 "STATUS OK UNSUBSCRIBE sub=16\nSTATUS OK SUBSCRIBE sub=16\n");
}

static void test_status_ok_comes_before_the_first_message(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_subscribe m = {.filter = text_from("a"), .window_messages = 5};

    assert_true(sim_subscribe(&w->s, c, 0, &m));
    world_publish(w, c, "a");
    world_expect(w, c, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 1.1\n");
}

static void test_zero_asks_for_the_default_window_and_queue(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;

    (void) state;
    limits.window_messages_default = 3;
    limits.queue_messages_default = 2;
    w = world_new(&limits);
    c = world_join(w);
    p = world_join(w);
    c->subs[0].window_messages = 3;
    assert_true(sim_subscribe(&w->s, c, 0, &(struct wire_subscribe){.filter = text_from("a")}));
    c->subs[0].window_messages = 3;
    c->subs[0].credit = 3; /* the oracle does not know defaults */
    world_publish_n(w, p, "a", 6);
    sim_settle(&w->s);
    world_expect(w, c,
                 "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 a 2.1\nMESSAGE 1 a 2.2\n"
                 "MESSAGE 1 a 2.3\nLOSS 1 1 10 QUEUE_FULL\nMESSAGE 1 a 2.5\n"
                 "MESSAGE 1 a 2.6\n");
    world_free(w);
}

/* ---- memory ---- */

static void test_request_that_finds_no_memory_is_refused_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    uint64_t charged = router_counters(w->s.router)->charged_bytes_now;

    for (unsigned long n = 1; n <= 3; n++) {
        ping(w, c); /* its output has room for the answers */
        failmalloc_arm(n);
        subscribe(w, c, (struct wire_subscribe){.subscription = 1});
        assert_int_equal(failmalloc_disarm(), 1);
        world_expect(w, c, "PONG 9\nSTATUS NO_MEMORY SUBSCRIBE sub=1\n");
        assert_int_equal(router_counters(w->s.router)->subscriptions_now, 0);
        router_check(w->s.router);
    }
    for (unsigned long n = 1; n <= 3; n++) {
        ping(w, c);
        failmalloc_arm(n);
        sim_advertise(&w->s, c, 0, "a");
        assert_int_equal(failmalloc_disarm(), 1);
        *c->aliases[0] = '\0';
        world_expect(w, c, "PONG 9\nSTATUS NO_MEMORY ADVERTISE alias=1\n");
        assert_int_equal(router_counters(w->s.router)->topics_now, 0);
    }
    ping(w, c);
    failmalloc_arm(1);
    assert_false(world_publish_bytes(w, c, "a", 10));
    (void) failmalloc_disarm();
    world_expect(w, c, "PONG 9\nSTATUS NO_MEMORY PUBLISH seq=1\n");
    assert_in_range(router_counters(w->s.router)->charged_bytes_now, charged, charged + 128);
}

static void test_client_that_would_miss_an_answer_is_ended(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    failmalloc_arm(1); /* the output for PONG; there is some for GOODBYE */
    ping(w, c);
    assert_int_equal(failmalloc_disarm(), 1);
    world_expect(w, c, "GOODBYE NO_MEMORY\n");
    c = world_join(w);
    failmalloc_arm_from(1);
    ping(w, c);
    (void) failmalloc_disarm();
    assert_int_equal(peer_goodbye(c->peer), BUS_GOODBYE_NO_MEMORY);
    world_expect(w, c, ""); /* it ends without a word */
    assert_null(c->peer);
}

/* ---- ends ---- */

static void test_nothing_is_handled_after_the_clients_goodbye(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, text_from("bye")};

    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_OLDEST, .window = 9, .queue = 9});
    sim_send(&w->s, p, VERB_GOODBYE, &goodbye, NULL, 0);
    ping(w, p);
    assert_false(world_publish_bytes(w, p, "a", 10));
    assert_false(peer_wants_input(p->peer));
    world_expect(w, p, "GOODBYE NORMAL\n");
    world_expect(w, c, "");
    assert_null(p->peer);
}

static void test_client_that_says_goodbye_is_told_nothing_more(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, text_from("")};

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 1, .queue = 1});
    world_publish_n(w, p, "a", 16);
    sim_send(&w->s, c, VERB_GOODBYE, &goodbye, NULL, 0);
    world_publish(w, p, "a"); /* its credit is back */
    world_expect(w, c, "MESSAGE 1 a 1.1\nGOODBYE NORMAL\n");
}

static void test_shutdown_says_goodbye_behind_what_is_within_credit(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w), *c = world_join(w);

    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_BLOCK, .window = 20, .queue = 20});
    for (unsigned i = 0; i < 12; i++) {
        assert_true(world_publish_bytes(w, p, "a", 1000)); /* more than the output takes */
    }
    assert_int_not_equal(router_counters(w->s.router)->messages_queued_now, 0);
    router_shutdown(w->s.router, &w->s.now);
    assert_null(sim_attach(&w->s, true));
    sim_read(&w->s, p, 100);
    assert_null(p->peer);
    world_expect(w, c,
                 "MESSAGE 1 a 1.1\nMESSAGE 1 a 1.2\nMESSAGE 1 a 1.3\nMESSAGE 1 a 1.4\n"
                 "MESSAGE 1 a 1.5\nMESSAGE 1 a 1.6\nMESSAGE 1 a 1.7\nMESSAGE 1 a 1.8\n"
                 "MESSAGE 1 a 1.9\nMESSAGE 1 a 1.10\nMESSAGE 1 a 1.11\n"
                 "MESSAGE 1 a 1.12\nGOODBYE SHUTDOWN\n");
}

static void test_client_that_does_not_read_its_goodbye_expires(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_goodbye goodbye = {BUS_GOODBYE_NORMAL, text_from("")};
    struct now later = w->s.now;

    sim_send(&w->s, c, VERB_GOODBYE, &goodbye, NULL, 0);
    while (router_next_dirty(w->s.router)) {
    }
    later.monotonic_ns += 2000000000 - 1;
    router_tick(w->s.router, &later);
    assert_false(peer_is_expired(c->peer));
    assert_int_equal(router_deadline(w->s.router), later.monotonic_ns + 1);
    later.monotonic_ns++;
    router_tick(w->s.router, &later);
    assert_true(peer_is_expired(c->peer));
    assert_ptr_equal(router_next_dirty(w->s.router), c->peer);
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_header_that_is_not_protobuf_is_malformed),
        WORLD_CASE(test_publish_with_more_than_64_headers_is_malformed),
        WORLD_CASE(test_unknown_verbs_are_refused_and_the_connection_goes_on),
        WORLD_CASE(test_verbs_of_the_router_are_unexpected),
        WORLD_CASE(test_frames_with_descriptors_are_unsupported_and_have_no_effect),
        WORLD_CASE(test_body_beyond_the_limit_or_without_right_ends_the_connection),
        WORLD_CASE(test_largest_body_of_each_link_is_taken),
        WORLD_CASE(test_headers_that_are_too_long_together_are_refused),
        WORLD_CASE(test_header_names_and_values_are_checked),
        WORLD_CASE(test_publish_gives_alias_or_topic_and_known_flags_only),
        WORLD_CASE(test_topics_are_checked_and_those_of_the_router_denied),
        WORLD_CASE(test_aliases_are_numbers_in_range_used_once),
        WORLD_CASE(test_subscriptions_are_checked),
        WORLD_CASE(test_subscription_numbers_are_used_once_and_can_be_given_back),
        WORLD_CASE(test_status_ok_comes_before_the_first_message),
        cmocka_unit_test(test_zero_asks_for_the_default_window_and_queue),
        WORLD_CASE(test_request_that_finds_no_memory_is_refused_and_changes_nothing),
        WORLD_CASE(test_client_that_would_miss_an_answer_is_ended),
        WORLD_CASE(test_nothing_is_handled_after_the_clients_goodbye),
        WORLD_CASE(test_client_that_says_goodbye_is_told_nothing_more),
        WORLD_CASE(test_shutdown_says_goodbye_behind_what_is_within_credit),
        WORLD_CASE(test_client_that_does_not_read_its_goodbye_expires),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
