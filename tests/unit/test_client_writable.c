/* SPDX-License-Identifier: MIT */
/* Waiting after -EAGAIN is waiting for room for what did not fit, however large it is. */
#include "client/conn.h"
#include "unit/test_client_fake.h"

#define LARGE (900u * 1024u)

static uint8_t large[LARGE];

/* More than nothing and less than half of max_out_bytes waits, and the router does not read. */
static void fill(struct fake *f, struct bus_topic **ret)
{
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", ret), 0);
    while (f->conn->outq.bytes < LARGE / 3) {
        assert_int_equal(bus_topic_publish(*ret, large, 65536, NULL), 0);
    }
    assert_true(f->conn->outq.bytes < f->conn->max_out_bytes / 2);
}

static void drain(struct fake *f)
{
    struct frame frame;
    union wire_any m;

    do {
        while (fake_next(f, &frame, &m)) {
        }
        (void) fake_settle(f);
    } while (f->conn->outq.bytes > 0);
}

static void test_wait_writable_waits_for_room_for_a_large_body(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fill(f, &t);
    assert_int_equal(bus_topic_publish(t, large, LARGE, NULL), -EAGAIN);
    assert_int_equal(bus_wait_writable(f->conn, 10), -ETIMEDOUT);
    drain(f);
    assert_int_equal(bus_wait_writable(f->conn, 10), 0);
    assert_int_equal(bus_topic_publish(t, large, LARGE, NULL), 0);
}

static void test_on_writable_comes_when_a_large_body_fits(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fill(f, &t);
    assert_int_equal(bus_topic_publish(t, large, LARGE, NULL), -EAGAIN);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_writable, 0);
    drain(f);
    assert_int_equal(f->n_writable, 1);
    assert_int_equal(bus_topic_publish(t, large, LARGE, NULL), 0);
}

static void test_a_small_body_need_not_wait_for_a_large_one(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fill(f, &t);
    assert_int_equal(bus_topic_publish(t, large, LARGE, NULL), -EAGAIN);
    assert_int_equal(bus_topic_publish(t, large, 100, NULL), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, fake_set_up_stream, fake_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_wait_writable_waits_for_room_for_a_large_body),
        CASE(test_on_writable_comes_when_a_large_body_fits),
        CASE(test_a_small_body_need_not_wait_for_a_large_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
