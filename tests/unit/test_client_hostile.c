/* SPDX-License-Identifier: MIT */
/* Routers that break the protocol: the connection ends, and nothing else does. */
#include "client/conn.h"
#include "unit/test_client_fake.h"

static void expect_violation(struct fake *f)
{
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
    assert_true(f->text[0] != '\0');
    assert_int_equal(fake_hear(f, VERB_GOODBYE).goodbye.reason, BUS_GOODBYE_PROTOCOL_ERROR);
}

#define VIOLATION(name, verb, ...)                                                                 \
    static void test_violation_##name(void **state)                                                \
    {                                                                                              \
        struct fake *f = *state;                                                                   \
                                                                                                   \
        fake_start(f);                                                                             \
        fake_say(f, VERB_##verb, &(__VA_ARGS__));                                                  \
        expect_violation(f);                                                                       \
    }
VIOLATION(topic_id_0, TOPIC, (struct wire_topic){0, {"a", 1}})
VIOLATION(topic_id_huge, TOPIC, (struct wire_topic){UINT32_MAX, {"a", 1}})
VIOLATION(topic_name_empty, TOPIC, (struct wire_topic){1, {"", 0}})
VIOLATION(peer_id_huge, PEER, (struct wire_peer){(1u << 22) + 1, 1, 0, 0, 0, {"a", 1}, 0})
VIOLATION(peer_name_control, PEER, (struct wire_peer){1, 1, 0, 0, 0, {"\33[2J", 4}, 0})
VIOLATION(message_unknown, MESSAGE, (struct wire_message){9, 9, 9, 1, 1, 0, 0, 0, 0, 0, 0, NULL, 0})
VIOLATION(loss_unknown, LOSS, (struct wire_loss){9, 1, 1, 1})
VIOLATION(loss_of_nothing, LOSS, (struct wire_loss){1, 0, 0, 1})
VIOLATION(loss_of_no_monitor, LOSS, (struct wire_loss){0, 1, 1, 1})
VIOLATION(confirm_unasked, CONFIRM, (struct wire_confirm){1, 0, 0, 0, 0})
VIOLATION(status_of_no_publish, STATUS, (struct wire_status){10, VERB_PUBLISH, 1, 0, 5, {"", 0}, 0})
VIOLATION(status_of_no_unsubscribe, STATUS,
          (struct wire_status){0, VERB_UNSUBSCRIBE, 0, 3, 0, {"", 0}, 0})
VIOLATION(status_of_no_monitor, STATUS, (struct wire_status){0, VERB_MONITOR, 0, 0, 0, {"", 0}, 0})
VIOLATION(status_of_no_snapshot, STATUS,
          (struct wire_status){0, VERB_SNAPSHOT, 0, 0, 0, {"", 0}, 0})
VIOLATION(pong_unasked, PONG, (struct wire_pong){3})
VIOLATION(monitored_unasked, MONITORED, (struct wire_monitored){.order = 1, .topic = 1})
VIOLATION(snapshot_end_unasked, SNAPSHOT_END, (struct wire_snapshot_end){1, 0})
VIOLATION(entry_unasked, COUNTER, (struct wire_counter){{"a", 1}, 1})
VIOLATION(verb_of_clients, SUBSCRIBE, (struct wire_subscribe){.filter = {"a", 1}})

#define RAW_VIOLATION(name, ...)                                                                   \
    static void test_violation_##name(void **state)                                                \
    {                                                                                              \
        static const uint8_t bytes[] = {__VA_ARGS__};                                              \
        struct fake *f = *state;                                                                   \
                                                                                                   \
        fake_start(f);                                                                             \
        fake_say_bytes(f, bytes, sizeof(bytes));                                                   \
        expect_violation(f);                                                                       \
    }
RAW_VIOLATION(body_too_large, 255, 255, 255, 255, 0, 0, VERB_MESSAGE, 0)
RAW_VIOLATION(body_on_topic, 1, 0, 0, 0, 0, 0, VERB_TOPIC, 0, 1)
RAW_VIOLATION(descriptors, 0, 0, 0, 0, 0, 0, VERB_PING, 1)
RAW_VIOLATION(not_protobuf, 0, 0, 0, 0, 2, 0, VERB_PING, 0, 255, 255)
RAW_VIOLATION(unknown_verb, 0, 0, 0, 0, 0, 0, 200, 0)

static void test_a_packet_that_ends_inside_a_frame(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    fake_say_bytes(f, "\0\0\0\0\5\0\5\0ab", 10);
    if (f->seqpacket) {
        expect_violation(f);
    } else {
        assert_int_equal(fake_settle(f), 0);
        assert_int_equal(f->n_closed, 0);
    }
}

static void test_a_packet_that_is_too_large(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    if (f->seqpacket) {
        int bytes = 2000000;

        (void) setsockopt(f->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
        if (send(f->fd, f->out, 300000, MSG_NOSIGNAL) == 300000) { /* the limits of the host */
            expect_violation(f);
        }
    }
}

/* A router that pings without reading the answers cannot make the client hoard them. */
static void test_pings_without_end(void **state)
{
    struct fake *f = *state;
    struct wire_ping m = {1};

    fake_start(f);
    for (unsigned i = 0; i < 10000 && f->n_closed == 0; i++) {
        for (unsigned k = 0; k < 1000; k++) {
            fake_say(f, VERB_PING, &m);
        }
        while (f->n_closed == 0 && send(f->fd, f->out, f->out_len, MSG_NOSIGNAL) < 0) {
            (void) bus_process(f->conn);
        }
        f->out_len = 0;
        (void) bus_process(f->conn);
        assert_true(f->n_closed > 0 || f->conn->outq.bytes < (4u << 20));
    }
    assert_int_equal(f->n_closed, 1);
}

static void fuzz_once(struct rng *rng, bool seqpacket)
{
    struct fake *f = fake_new(seqpacket);
    size_t n = 1 + rng_u64(rng) % 200;

    fake_start(f);
    fake_bind(f, 1, "a");
    fake_bind_peer(f, 1, "p");
    for (unsigned i = 0; i < n; i++) {
        fake_say_message(f, (uint32_t) (rng_u64(rng) % 3), i, "abcd", 4);
    }
    for (unsigned i = 0; i < 1 + rng_u64(rng) % 8; i++) {
        f->out[rng_u64(rng) % f->out_len] = (uint8_t) rng_u64(rng);
    }
    (void) send(f->fd, f->out, f->out_len, MSG_NOSIGNAL);
    while (bus_process(f->conn) > 0) {
        continue;
    }
    fake_free(f);
}

static void test_damaged_input_never_crashes(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned i = 0; i < 300; i++) {
        fuzz_once(&rng, i % 2 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_violation_topic_id_0),
        ON_BOTH_LINKS(test_violation_topic_id_huge),
        ON_BOTH_LINKS(test_violation_topic_name_empty),
        ON_BOTH_LINKS(test_violation_peer_id_huge),
        ON_BOTH_LINKS(test_violation_peer_name_control),
        ON_BOTH_LINKS(test_violation_message_unknown),
        ON_BOTH_LINKS(test_violation_loss_unknown),
        ON_BOTH_LINKS(test_violation_loss_of_nothing),
        ON_BOTH_LINKS(test_violation_loss_of_no_monitor),
        ON_BOTH_LINKS(test_violation_confirm_unasked),
        ON_BOTH_LINKS(test_violation_status_of_no_publish),
        ON_BOTH_LINKS(test_violation_status_of_no_unsubscribe),
        ON_BOTH_LINKS(test_violation_status_of_no_monitor),
        ON_BOTH_LINKS(test_violation_status_of_no_snapshot),
        ON_BOTH_LINKS(test_violation_pong_unasked),
        ON_BOTH_LINKS(test_violation_monitored_unasked),
        ON_BOTH_LINKS(test_violation_snapshot_end_unasked),
        ON_BOTH_LINKS(test_violation_entry_unasked),
        ON_BOTH_LINKS(test_violation_verb_of_clients),
        ON_BOTH_LINKS(test_violation_body_too_large),
        ON_BOTH_LINKS(test_violation_body_on_topic),
        ON_BOTH_LINKS(test_violation_descriptors),
        ON_BOTH_LINKS(test_violation_not_protobuf),
        ON_BOTH_LINKS(test_violation_unknown_verb),
        ON_BOTH_LINKS(test_a_packet_that_ends_inside_a_frame),
        ON_BOTH_LINKS(test_a_packet_that_is_too_large),
        ON_BOTH_LINKS(test_pings_without_end),
        cmocka_unit_test(test_damaged_input_never_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
