/* SPDX-License-Identifier: MIT */
/* What an application has kept stays as it is, whatever becomes of its connection: the publisher
 * gets its memory back only when nobody can look at it any more. */
#include <bus/bus.h>
#include <errno.h>
#include "support/children.h"

#define BODY ((size_t) 1 << 20)
#define ROUNDS 40u
#define LOANS_MAX 24u

struct scene {
    struct router_fixture f;
    struct bus_conn *publisher, *holder, *other;
    struct bus_topic *topic;
    struct bus_message *kept;
    unsigned n_other;
    unsigned n_closed;
    const void *place; /* where the publisher wrote what is kept */
    unsigned n_reused; /* how often it wrote there again */
};

static void on_held(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct scene *x = userdata;

    (void) sub;
    if (!x->kept) {
        x->kept = bus_message_ref(message);
    }
}

static void on_other(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct scene *x = userdata;

    (void) sub;
    (void) message;
    x->n_other++;
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct scene *x = userdata;

    (void) conn;
    (void) text;
    assert_int_equal(reason, BUS_GOODBYE_SLOW_CONSUMER);
    x->n_closed++;
}

static struct bus_loan *borrow(struct scene *x, int fill)
{
    struct bus_loan *loan = NULL;

    assert_int_equal(bus_loan(x->topic, BODY, &loan), 0);
    x->n_reused += bus_loan_data(loan) == x->place;
    x->place = x->place ? x->place : bus_loan_data(loan);
    memset(bus_loan_data(loan), fill, BODY);
    return loan;
}

static void publish(struct scene *x, struct bus_loan *loan)
{
    int r;

    while ((r = bus_loan_publish(loan, BODY, NULL)) == -EAGAIN) {
        assert_int_equal(bus_wait_writable(x->publisher, FIXTURE_TIMEOUT_MS), 0);
    }
    assert_int_equal(r, 0);
    assert_int_equal(bus_flush(x->publisher, FIXTURE_TIMEOUT_MS), 0);
}

/* The other subscriber lets everything go again, so that the memory comes back to the publisher.
 * More loans each time: what is free is used again last in first out, and how much there is depends
 * on how fast it came back. */
static void publish_rounds(struct scene *x)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct bus_loan *loans[LOANS_MAX];
        unsigned n = MIN(4 + i, LOANS_MAX);

        for (unsigned k = 0; k < n; k++) {
            loans[k] = borrow(x, 0x55);
        }
        for (unsigned k = 0; k < n; k++) {
            publish(x, loans[k]);
        }
        assert_int_equal(bus_flush(x->other, FIXTURE_TIMEOUT_MS), 0);
        assert_int_equal(bus_flush(x->publisher, FIXTURE_TIMEOUT_MS), 0);
    }
}

static void assert_kept(const struct scene *x)
{
    const uint8_t *data = bus_message_data(x->kept);

    for (size_t i = 0; i < BODY; i++) {
        assert_int_equal(data[i], 0xAA);
    }
}

static void scene_start(struct scene *x, bool packets, enum bus_policy policy)
{
    const char *const args[] = {"--linger", "60s", NULL};
    const struct router_options options = {.args = args};
    struct bus_sub_opts sub = BUS_SUB_OPTS_INIT;
    struct bus_opts opts = BUS_OPTS_INIT;
    const char *address;

    memset(x, 0, sizeof(*x));
    router_start(&x->f, &options);
    address = packets ? x->f.seqpacket : x->f.stream;
    opts.on_closed = on_closed;
    opts.userdata = x;
    assert_int_equal(bus_open(address, NULL, &x->publisher), 0);
    assert_int_equal(bus_open(address, &opts, &x->holder), 0);
    assert_int_equal(bus_open(address, NULL, &x->other), 0);
    assert_int_equal(bus_advertise(x->publisher, "t", &x->topic), 0);
    sub.policy = policy;
    sub.window_messages = 1;
    sub.queue_messages = 1;
    assert_int_equal(bus_subscribe(x->holder, "t", &sub, on_held, x, NULL), 0);
    assert_int_equal(bus_subscribe(x->other, "t", NULL, on_other, x, NULL), 0);
    assert_int_equal(bus_flush(x->holder, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(bus_flush(x->other, FIXTURE_TIMEOUT_MS), 0);
    publish(x, borrow(x, 0xAA));
    assert_int_equal(bus_flush(x->holder, FIXTURE_TIMEOUT_MS), 0);
    assert_non_null(x->kept);
    assert_kept(x);
}

static void scene_stop(struct scene *x)
{
    bus_message_unref(x->kept);
    bus_close(x->publisher);
    bus_close(x->other);
    router_stop(&x->f);
}

static void what_is_kept_outlives_bus_close(bool packets)
{
    struct scene x;

    scene_start(&x, packets, BUS_POLICY_DROP_OLDEST);
    bus_close(x.holder);
    publish_rounds(&x);
    assert_true(x.n_reused > 0);
    assert_kept(&x);
    scene_stop(&x);
}

static void what_is_kept_outlives_being_disconnected(bool packets)
{
    struct scene x;

    scene_start(&x, packets, BUS_POLICY_DISCONNECT);
    publish_rounds(&x); /* the holder does not read: it is told to go */
    assert_int_equal(x.n_reused, 0);
    assert_kept(&x);
    while (x.n_closed == 0) {
        assert_true(bus_wait(x.holder, FIXTURE_TIMEOUT_MS) >= 0);
        (void) bus_process(x.holder);
    }
    publish_rounds(&x);
    assert_kept(&x);
    bus_close(x.holder);
    scene_stop(&x);
}

static void what_is_kept_outlives_the_router(bool packets)
{
    struct scene x;

    scene_start(&x, packets, BUS_POLICY_DROP_OLDEST);
    router_kill9(&x.f);
    bus_close(x.publisher);
    bus_close(x.holder);
    assert_kept(&x);
    bus_message_unref(x.kept);
    bus_close(x.other);
    router_restart(&x.f, NULL);
    router_stop(&x.f);
}

ON_BOTH_LINKS(what_is_kept_outlives_bus_close)
ON_BOTH_LINKS(what_is_kept_outlives_being_disconnected)
ON_BOTH_LINKS(what_is_kept_outlives_the_router)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(what_is_kept_outlives_bus_close),
        BOTH_CASES(what_is_kept_outlives_being_disconnected),
        BOTH_CASES(what_is_kept_outlives_the_router),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
