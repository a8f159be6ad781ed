/* SPDX-License-Identifier: MIT */
/* The first frame, and frames in pieces: docs/protocol.md, sections 2 and 3. */
#include "core/state.h"
#include "support/world.h"

#define SECOND_NS UINT64_C(1000000000)

static void hello(struct world *w, struct sim_client *c, uint32_t min, uint32_t max,
                  struct text name)
{
    struct wire_hello m = {min, max, name, 0, {"", 0}};

    sim_send(&w->s, c, VERB_HELLO, &m, NULL, 0);
}

/* ---- HELLO ---- */

static struct wire_welcome welcome;

static void keep_welcome(struct sim *s, struct sim_client *c, const struct frame *f,
                         const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb == VERB_WELCOME) {
        welcome = m->welcome;
        assert_int_equal(m->welcome.router_version.len, 4);
        assert_memory_equal(m->welcome.router_version.data, "test", 4);
    }
}

static void test_welcome_tells_the_limits_of_this_link(void **state)
{
    struct world *w = *state;
    struct limits l = sim_small_limits();

    w->s.on_frame = keep_welcome;
    for (unsigned packets = 0; packets < 2; packets++) {
        (void) sim_connect(&w->s, packets);
        assert_int_equal(welcome.protocol, 1);
        assert_int_equal(welcome.connection_id, packets + 1);
        assert_int_equal(welcome.router_epoch, 42);
        assert_int_equal(welcome.features, FEATURE_BUFFERS | FEATURE_DESCRIPTORS);
        assert_int_equal(welcome.body_max, l.body_max);
        assert_int_equal(welcome.buffers_max, l.buffers_max);
        assert_int_equal(welcome.buffer_bytes_max, l.buffer_bytes_max);
        assert_int_equal(welcome.descriptors_max, 16);
        assert_int_equal(welcome.leases_max, l.leases_max);
        assert_int_equal(welcome.inline_max, packets ? 65536 : l.stream_inline_max);
        assert_int_equal(welcome.publish_window_messages, l.publish_window_messages);
        assert_int_equal(welcome.publish_window_bytes, l.publish_window_bytes);
        assert_int_equal(welcome.aliases_max, l.aliases_max);
        assert_int_equal(welcome.subscriptions_max, l.subscriptions_max);
        assert_int_equal(welcome.queue_messages_max, l.queue_messages_max);
        assert_int_equal(welcome.queue_bytes_max, l.queue_bytes_max);
        assert_int_equal(welcome.window_messages_max, l.window_messages_max);
        assert_int_equal(welcome.window_bytes_max, l.window_bytes_max);
        assert_int_equal(welcome.stall_timeout_ms, l.stall_timeout_ms);
    }
}

static void test_ranges_that_hold_version_1_are_welcome_and_no_others(void **state)
{
    static const struct {
        uint32_t min, max;
        const char *answer;
    } cases[] = {{1, 1, "WELCOME\n"},         {0, 1, "WELCOME\n"},
                 {1, 9, "WELCOME\n"},         {0, 0, "GOODBYE VERSION\n"},
                 {2, 9, "GOODBYE VERSION\n"}, {1, 0, "GOODBYE VERSION\n"}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim_client *c = sim_attach(&w->s, i % 2);

        hello(w, c, cases[i].min, cases[i].max, text_from("x"));
        world_expect(w, c, cases[i].answer);
    }
}

static void test_names_are_short_printable_text_or_nothing(void **state)
{
    static const char longest[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    const struct text good[] = {{"", 0}, {longest, 64}, text_from("\xc3\xa4 b")};
    const struct text bad[] = {{longest, 65}, {"a\nb", 3}, {"a\0b", 3},
                               {"\xff", 1},   {"\x7f", 1}, {"\xc2\x85", 2}};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct sim_client *c = sim_attach(&w->s, true);

        assert_string_equal(peer_name(c->peer), "");
        hello(w, c, 1, 1, good[i]);
        world_expect(w, c, "WELCOME\n");
        assert_int_equal(strlen(peer_name(c->peer)), good[i].len);
        assert_memory_equal(peer_name(c->peer), good[i].data, good[i].len);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sim_client *c = sim_attach(&w->s, true);

        hello(w, c, 1, 1, bad[i]);
        world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    }
}

static void test_first_frame_must_be_hello(void **state)
{
    struct world *w = *state;
    struct wire_ping ping = {1};
    uint8_t frame[] = {0, 0, 0, 0, 2, 0, VERB_HELLO, 0, 0xff, 0xff};
    struct sim_client *c = sim_attach(&w->s, true);

    sim_send(&w->s, c, VERB_PING, &ping, NULL, 0);
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    c = sim_attach(&w->s, true);
    sim_send_raw(&w->s, c, frame, sizeof(frame)); /* not protobuf */
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    c = sim_attach(&w->s, true);
    frame[4] = 0;
    frame[7] = 1; /* fds */
    sim_send_raw(&w->s, c, frame, 8);
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    c = sim_attach(&w->s, true);
    frame[6] = 99; /* no verb at all */
    frame[7] = 0;
    sim_send_raw(&w->s, c, frame, 8);
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
    assert_int_equal(router_counters(w->s.router)->protocol_errors, 4);
}

static void test_second_hello_is_refused_and_the_connection_goes_on(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    struct wire_ping ping = {5};

    hello(w, c, 1, 1, text_from("other"));
    sim_send(&w->s, c, VERB_PING, &ping, NULL, 0);
    world_expect(w, c, "STATUS UNEXPECTED HELLO\nPONG 5\n");
    assert_string_equal(peer_name(c->peer), "sim");
}

/* ---- in time ---- */

static void test_client_that_does_not_greet_in_time_is_ended(void **state)
{
    struct world *w = *state;
    struct sim_client *c = sim_attach(&w->s, true), *later, *greeted;
    static const uint8_t half[] = {0, 0, 0, 0, 4};

    greeted = world_join(w);
    sim_advance(&w->s, 2 * SECOND_NS);
    later = sim_attach(&w->s, false);
    sim_send_raw(&w->s, later, half, sizeof(half));
    sim_advance(&w->s, 3 * SECOND_NS - 1);
    assert_false(peer_is_closing(c->peer));
    assert_int_equal(router_deadline(w->s.router), w->s.now.monotonic_ns + 1);
    sim_advance(&w->s, 1);
    world_expect(w, c, "GOODBYE HELLO_TIMEOUT\n");
    assert_false(peer_is_closing(later->peer));
    sim_advance(&w->s, 2 * SECOND_NS);
    world_expect(w, later, "GOODBYE HELLO_TIMEOUT\n");
    sim_advance(&w->s, 100 * SECOND_NS);
    world_expect(w, greeted, "");
    assert_int_equal(router_counters(w->s.router)->hello_timeouts, 2);
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

static void test_client_that_leaves_before_it_greets_leaves_nothing(void **state)
{
    struct world *w = *state;

    sim_disconnect(&w->s, sim_attach(&w->s, true));
    assert_int_equal(router_deadline(w->s.router), UINT64_MAX);
}

/* ---- text by mistake ---- */

static void assert_answered_as_a_mistake(struct world *w, struct sim_client *c)
{
    struct iovec iov;
    char text[512];

    assert_true(peer_is_closing(c->peer));
    assert_int_equal(peer_goodbye(c->peer), BUS_GOODBYE_PROTOCOL_ERROR);
    assert_int_equal(outq_peek(peer_output(c->peer), &iov, 1), 1);
    assert_true(iov.iov_len < sizeof(text));
    memcpy(text, iov.iov_base, iov.iov_len);
    text[iov.iov_len] = '\0';
    assert_non_null(strstr(text, "bus-router"));
    assert_ptr_equal(strchr(text, '\n'), text + iov.iov_len - 1); /* one line, and nothing else */
    sim_disconnect(&w->s, c);
}

static void test_text_is_answered_with_a_line_of_text(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n", "hello\n", "\n", "x"};
    struct world *w = *state;

    for (size_t i = 0; i < 2 * ARRAY_LEN(texts); i++) {
        struct sim_client *c = sim_attach(&w->s, i % 2);
        const char *text = texts[i / 2];
        struct input_result r = sim_send_raw(&w->s, c, text, strlen(text));

        assert_int_equal(r.consumed, strlen(text));
        assert_answered_as_a_mistake(w, c);
    }
}

static void test_any_of_the_first_four_bytes_may_show_the_mistake(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < 4; i++) {
        uint8_t data[8] = {0, 0, 0, 0, 0, 0, VERB_HELLO, 0};
        struct sim_client *c = sim_attach(&w->s, false);

        data[i] = 'x';
        sim_send_raw(&w->s, c, data, i + 1); /* as soon as it is there */
        assert_answered_as_a_mistake(w, c);
    }
}

static void test_client_that_has_greeted_is_not_taken_for_text(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    sim_send_raw(&w->s, c, "GET / HTTP/1.1\r\n\r\n", 18);
    world_expect(w, c, "GOODBYE PROTOCOL_ERROR\n");
}

/* ---- in pieces ---- */

struct script {
    uint8_t data[2048];
    size_t len;
};

static void script_add(struct world *w, struct script *s, enum verb verb, const void *m,
                       const void *body, size_t body_bytes)
{
    uint8_t *at = s->data + s->len;
    long n = codec_encode(&w->s.arena, verb, m, at + FRAME_PREFIX_BYTES, 500);

    assert_true(n >= 0 && s->len + 600 + body_bytes < sizeof(s->data));
    frame_write_prefix(at, verb, (size_t) n, body_bytes);
    if (body_bytes > 0) {
        memcpy(at + FRAME_PREFIX_BYTES + n, body, body_bytes);
    }
    s->len += FRAME_PREFIX_BYTES + (size_t) n + body_bytes;
}

/* Greets and does something of everything. The oracle does not know of it: it asks for nothing. */
static void script_make(struct world *w, struct script *s)
{
    struct wire_hello greeting = {1, 1, text_from("pieces"), 0, {"", 0}};
    struct wire_subscribe bad = {.subscription = 1, .filter = text_from("a#")};
    struct wire_advertise advertise = {1, text_from("a/b")};
    struct wire_publish plain = {.alias = 1, .topic = {"", 0}};
    struct wire_publish confirmed = {.topic = text_from("c"), .flags = 1};
    struct wire_snapshot snapshot = {BUS_SNAPSHOT_TOPICS, 0, 0};
    struct wire_ping ping = {7};

    s->len = 0;
    script_add(w, s, VERB_HELLO, &greeting, NULL, 0);
    script_add(w, s, VERB_PING, &ping, NULL, 0);
    script_add(w, s, VERB_SUBSCRIBE, &bad, NULL, 0);
    script_add(w, s, VERB_ADVERTISE, &advertise, NULL, 0);
    for (unsigned i = 0; i < 9; i++) {
        script_add(w, s, VERB_PUBLISH, &plain, "0123456789", 10);
    }
    script_add(w, s, VERB_PUBLISH, &confirmed, NULL, 0);
    script_add(w, s, VERB_SNAPSHOT, &snapshot, NULL, 0);
    script_add(w, s, VERB_TOPIC, &(struct wire_topic){1, text_from("x")}, NULL, 0);
    script_add(w, s, VERB_GOODBYE, &(struct wire_goodbye){1, text_from("")}, NULL, 0);
}

static const char script_answer[] =
    "WELCOME\nPONG 7\nSTATUS INVALID_FILTER SUBSCRIBE sub=1\nPUBLISH_CREDIT 8 80\n"
    "CONFIRM 10 0 0 0 0\nTOPIC_STATS a/b\nSNAPSHOT_END 2 0\nSTATUS UNEXPECTED TOPIC\n"
    "GOODBYE NORMAL\n";

/* As session and link do it: what was not consumed comes again, with more behind it. Pieces end at
 * the positions in cuts. */
static void feed(struct world *w, struct sim_client *c, const struct script *s, const size_t *cuts,
                 size_t n_cuts, unsigned budget)
{
    size_t at = 0, turns = 0;

    for (size_t i = 0; i <= n_cuts; i++) {
        size_t end = i < n_cuts ? cuts[i] : s->len;
        bool more = true;

        while (more) {
            struct received in = {s->data + at, end - at, NULL};
            struct input_result r = router_input(w->s.router, c->peer, &in, budget, &w->s.now);

            assert_true(r.consumed <= end - at);
            at += r.consumed;
            more = r.more;
            assert_true(!more || at < end);
            assert_true(more || at == end || r.need > end - at);
            assert_true(r.need <= s->len - at);
            assert_true(++turns < 10000);
        }
    }
    assert_int_equal(at, s->len);
    world_expect(w, c, script_answer);
}

static void test_stream_cut_at_any_byte_gives_the_same_as_in_one_piece(void **state)
{
    struct world *w = *state;
    struct script s;

    script_make(w, &s);
    for (size_t cut = 0; cut <= s.len; cut++) {
        feed(w, sim_attach(&w->s, false), &s, &cut, 1, 1000);
    }
}

static void test_stream_byte_by_byte_gives_the_same_as_in_one_piece(void **state)
{
    struct world *w = *state;
    struct script s;
    size_t cuts[sizeof(s.data)];

    script_make(w, &s);
    for (size_t i = 0; i < s.len; i++) {
        cuts[i] = i + 1;
    }
    feed(w, sim_attach(&w->s, false), &s, cuts, s.len, 1000);
}

static void test_any_budget_gives_the_same_as_in_one_turn(void **state)
{
    struct world *w = *state;
    struct script s;

    script_make(w, &s);
    for (unsigned budget = 1; budget < 40; budget++) {
        feed(w, sim_attach(&w->s, budget % 2), &s, NULL, 0, budget);
    }
}

static void test_deliveries_use_the_budget_of_the_publisher(void **state)
{
    struct world *w = *state;
    struct sim_client *p = world_join(w);
    struct wire_publish m = {.topic = text_from("a")};
    struct script s = {.len = 0};
    const unsigned cost = 1 + FRAME_UNITS + 8; /* by its topic; and 8 deliveries */
    struct received in;
    size_t one;

    for (unsigned i = 0; i < 8; i++) {
        struct wire_subscribe sub = {.subscription = i + 1, .filter = text_from("a")};

        sim_send(&w->s, p, VERB_SUBSCRIBE, &sub, NULL, 0);
    }
    script_add(w, &s, VERB_PUBLISH, &m, NULL, 0);
    one = s.len;
    for (unsigned i = 0; i < 9; i++) {
        script_add(w, &s, VERB_PUBLISH, &m, NULL, 0);
    }
    /* the one that uses up the budget is finished */
    in = (struct received){s.data, s.len, NULL};
    assert_int_equal(router_input(w->s.router, p->peer, &in, cost, &w->s.now).consumed, one);
    assert_int_equal(router_input(w->s.router, p->peer, &in, cost + 1, &w->s.now).consumed,
                     2 * one);
    assert_true(router_input(w->s.router, p->peer, &in, cost + 1, &w->s.now).more);
    in.len = one;
    assert_false(router_input(w->s.router, p->peer, &in, 1, &w->s.now).more);
    sim_disconnect(&w->s, p); /* the oracle knows nothing of these */
}

static void test_packet_that_ends_inside_a_frame_ends_the_connection(void **state)
{
    struct world *w = *state;
    struct sim_client *c;
    uint8_t ping[10] = {0, 0, 0, 0, 2, 0, VERB_PING, 0, 8, 9}, data[19];

    for (size_t n = 1; n < sizeof(ping); n++) {
        c = world_join(w);
        memcpy(data, ping, sizeof(ping));
        memcpy(data + sizeof(ping), ping, n);
        sim_send_raw(&w->s, c, data, sizeof(ping) + n);
        world_expect(w, c, "PONG 9\nGOODBYE PROTOCOL_ERROR\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_welcome_tells_the_limits_of_this_link),
        WORLD_CASE(test_ranges_that_hold_version_1_are_welcome_and_no_others),
        WORLD_CASE(test_names_are_short_printable_text_or_nothing),
        WORLD_CASE(test_first_frame_must_be_hello),
        WORLD_CASE(test_second_hello_is_refused_and_the_connection_goes_on),
        WORLD_CASE(test_client_that_does_not_greet_in_time_is_ended),
        WORLD_CASE(test_client_that_leaves_before_it_greets_leaves_nothing),
        WORLD_CASE(test_text_is_answered_with_a_line_of_text),
        WORLD_CASE(test_any_of_the_first_four_bytes_may_show_the_mistake),
        WORLD_CASE(test_client_that_has_greeted_is_not_taken_for_text),
        WORLD_CASE(test_stream_cut_at_any_byte_gives_the_same_as_in_one_piece),
        WORLD_CASE(test_stream_byte_by_byte_gives_the_same_as_in_one_piece),
        WORLD_CASE(test_any_budget_gives_the_same_as_in_one_turn),
        WORLD_CASE(test_deliveries_use_the_budget_of_the_publisher),
        WORLD_CASE(test_packet_that_ends_inside_a_frame_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
