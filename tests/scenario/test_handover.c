/* SPDX-License-Identifier: MIT */
/* Large bodies and descriptors through a real router and the library, over both kinds of link. */
#include <bus/bus.h>
#include <errno.h>
#include <sys/resource.h>
#include "support/children.h"
#include "support/fds.h"

#define LARGE 1500000u

struct seen {
    unsigned n, n_lost, n_bad, n_kept;
    enum bus_loss_reason reason;
    uint64_t bytes;
    struct bus_message *kept[8];
    unsigned n_keep;
};

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    const uint8_t *data = bus_message_data(message);
    size_t bytes = bus_message_bytes(message);
    struct seen *s = userdata;

    (void) sub;
    s->n++;
    s->bytes += bytes;
    for (size_t i = 0; i < bytes; i += 997) {
        s->n_bad += data[i] != data[0];
    }
    if (s->n_keep > 0) {
        s->n_keep--;
        s->kept[s->n_kept++] = bus_message_ref(message);
    }
    if (bus_message_n_fds(message) > 0 && bus_message_fd(message, 0) >= 0) {
        s->n_bad += write(bus_message_fd(message, 0), "!", 1) != 1;
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->n_lost += (unsigned) loss->count;
    s->reason = loss->reason;
}

struct scene {
    struct router_fixture f;
    struct bus_conn *p, *c;
    struct bus_topic *t;
    struct seen s;
};

static void scene_start(struct scene *x, bool packets, unsigned flags)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub;

    memset(x, 0, sizeof(*x));
    router_start(&x->f, NULL);
    assert_int_equal(bus_open(packets ? x->f.seqpacket : x->f.stream, NULL, &x->p), 0);
    assert_int_equal(bus_open(packets ? x->f.stream : x->f.seqpacket, NULL, &x->c), 0);
    assert_int_equal(bus_advertise(x->p, "t", &x->t), 0);
    opts.flags = flags;
    opts.policy = BUS_POLICY_BLOCK;
    opts.window_bytes = 64u << 20;
    opts.on_loss = on_loss;
    assert_int_equal(bus_subscribe(x->c, "t", &opts, on_message, &x->s, &sub), 0);
    assert_int_equal(bus_flush(x->c, 5000), 0);
}

static void scene_stop(struct scene *x)
{
    bus_close(x->p);
    bus_close(x->c);
    router_stop(&x->f);
}

/* Everything that was published so far is seen. */
static void settle(struct scene *x, unsigned n)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (x->s.n + x->s.n_lost < n && clock_monotonic_ns() < deadline_ns) {
        assert_true(bus_process(x->p) >= 0); /* either may have something to send */
        assert_true(bus_wait(x->c, 10) >= 0);
        assert_true(bus_process(x->c) >= 0);
    }
    assert_true(x->s.n + x->s.n_lost >= n);
    assert_int_equal(bus_flush(x->c, 5000), 0);
    assert_int_equal(bus_flush(x->p, 5000), 0);
}

static void publish(struct scene *x, uint8_t fill, size_t bytes,
                    const struct bus_publish_opts *opts)
{
    static uint8_t body[LARGE];
    int r;

    memset(body, fill, bytes);
    while ((r = bus_topic_publish(x->t, body, bytes, opts)) == -EAGAIN) {
        settle(x, x->s.n);
        assert_int_equal(bus_wait_writable(x->p, 5000), 0);
    }
    assert_int_equal(r, 0);
}

static void test_many_large_bodies_arrive_unchanged(void **state)
{
    (void) state;
    for (unsigned packets = 0; packets < 2; packets++) {
        struct scene x;
        unsigned n = 0;

        scene_start(&x, packets, 0);
        for (unsigned i = 0; i < 300; i++) {
            publish(&x, (uint8_t) i, i % 3 ? LARGE : 20000, NULL);
            if (++n % 7 == 0) {
                settle(&x, n);
            }
        }
        settle(&x, n);
        assert_int_equal(x.s.n, n);
        assert_int_equal(x.s.n_bad + x.s.n_lost, 0);
        scene_stop(&x);
    }
}

/* Nobody wants them: each is returned before it could be unregistered. More of them than a client
 * may have buffers. */
static void test_immutable_bodies_for_nobody(void **state)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;

    (void) state;
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    for (unsigned packets = 0; packets < 2; packets++) {
        static uint8_t body[LARGE];
        struct bus_topic *nobody;
        struct scene x;

        scene_start(&x, packets, 0);
        assert_int_equal(bus_advertise(x.p, "nobody", &nobody), 0);
        for (unsigned i = 0; i < 300; i++) {
            int r = bus_topic_publish(nobody, body, sizeof(body), &opts);

            assert_true(r == 0 || r == -EAGAIN || r == -ENOBUFS);
            if (r < 0 || i % 10 == 0) {
                assert_int_equal(bus_flush(x.p, 5000), 0);
            }
            publish(&x, (uint8_t) i, 20000, NULL); /* in a place that is used again and again */
            publish(&x, (uint8_t) (i + 1), LARGE, i % 2 ? &opts : NULL);
            settle(&x, 2 * i + 2);
        }
        assert_int_equal(x.s.n_bad, 0);
        assert_true(bus_connection_id(x.p) > 0 && bus_flush(x.p, 5000) == 0);
        scene_stop(&x);
    }
}

static void test_kept_messages_stay_when_their_publisher_dies(void **state)
{
    struct scene x;

    (void) state;
    scene_start(&x, true, 0);
    x.s.n_keep = 2;
    publish(&x, 'x', LARGE, NULL);
    publish(&x, 'y', LARGE, NULL);
    settle(&x, 2);
    bus_close(x.p);
    x.p = NULL;
    assert_int_equal(bus_flush(x.c, 5000), 0);
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *data = bus_message_data(x.s.kept[i]);

        assert_int_equal(data[0], 'x' + i);
        assert_int_equal(data[LARGE - 1], 'x' + i);
        bus_message_unref(x.s.kept[i]);
    }
    assert_int_equal(router_counter(x.c, "buffers_now"), 0);
    assert_int_equal(router_counter(x.c, "leases_now"), 0);
    scene_stop(&x);
}

static void test_descriptors_go_along_and_nothing_stays_open(void **state)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    int ends[2], fds[16];
    char buf[256];

    (void) state;
    for (unsigned packets = 0; packets < 2; packets++) {
        uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
        struct router_state before;
        struct bus_conn *conn;
        struct scene x;
        unsigned open;

        scene_start(&x, packets, BUS_SUB_DESCRIPTORS);
        before = router_ask(&x.f, &conn);
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        open = fds_open();
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            fds[i] = ends[1];
        }
        opts.fds = fds;
        for (unsigned i = 0; i < 100; i++) {
            opts.n_fds = 1 + i % 16;
            publish(&x, (uint8_t) i, i % 2 ? 100 : 50000, &opts);
            if (i % 12 == 11) {
                settle(&x, i + 1); /* no more than one client may have in the router */
            }
        }
        settle(&x, 100);
        assert_int_equal(x.s.n, 100);
        assert_int_equal(x.s.n_bad, 0);
        assert_int_equal(read(ends[0], buf, sizeof(buf)), 100);
        assert_int_equal(fds_open(), open);
        assert_int_equal(router_counter(conn, "descriptors_now"),
                         router_counter(conn, "buffers_now"));
        while (router_fd_count(&x.f.process) > before.n_fds + 8) { /* the buffers */
            assert_true(clock_monotonic_ns() < deadline_ns);       /* others are closed soon */
        }
        bus_close(conn);
        scene_stop(&x);
        (void) close(ends[0]);
        (void) close(ends[1]);
    }
}

/* A receiver whose table is full loses bodies, with the reason, and gets them again later. */
static void test_a_full_table_of_descriptors_is_told_as_loss(void **state)
{
    (void) state;
    for (unsigned packets = 0; packets < 2; packets++) {
        struct rlimit old, none;
        struct scene x;

        scene_start(&x, packets, 0);
        publish(&x, 'a', LARGE, NULL);
        assert_int_equal(bus_flush(x.p, 5000), 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        none = old;
        none.rlim_cur = 3;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        while (x.s.n + x.s.n_lost < 1) {
            (void) bus_process(x.c);
        }
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(x.s.n_lost, 1);
        assert_int_equal(x.s.reason, BUS_LOSS_NO_DESCRIPTORS);
        assert_int_equal(bus_flush(x.c, 5000), 0); /* the router knows that it was not mapped */
        publish(&x, 'b', LARGE, NULL);
        settle(&x, 2);
        assert_int_equal(x.s.n, 1);
        scene_stop(&x);
    }
}

/* What waits for it is bounded, so that the sender's own limit is left for others. */
static void test_who_does_not_read_takes_nobodys_descriptors(void **state)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_sub_opts sub = BUS_SUB_OPTS_INIT;
    int fds[8];

    (void) state;
    for (unsigned packets = 0; packets < 2; packets++) {
        struct bus_conn *idle;
        struct seen unseen = {0};
        struct scene x;

        scene_start(&x, packets, BUS_SUB_DESCRIPTORS);
        sub.flags = BUS_SUB_DESCRIPTORS;
        assert_int_equal(bus_open(packets ? x.f.seqpacket : x.f.stream, NULL, &idle), 0);
        assert_int_equal(bus_subscribe(idle, "t", &sub, on_message, &unseen, NULL), 0);
        assert_int_equal(bus_flush(idle, 5000), 0);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            fds[i] = STDERR_FILENO;
        }
        fds[0] = open("/dev/null", O_WRONLY | O_CLOEXEC);
        opts.fds = fds;
        opts.n_fds = ARRAY_LEN(fds);
        for (unsigned i = 0; i < 100; i++) {
            publish(&x, 1, 10, &opts);
            settle(&x, i + 1);
        }
        assert_int_equal(x.s.n, 100); /* with 800 descriptors; none was refused */
        assert_int_equal(x.s.n_bad, 0);
        (void) close(fds[0]);
        bus_close(idle);
        scene_stop(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_large_bodies_arrive_unchanged),
        cmocka_unit_test(test_immutable_bodies_for_nobody),
        cmocka_unit_test(test_kept_messages_stay_when_their_publisher_dies),
        cmocka_unit_test(test_descriptors_go_along_and_nothing_stays_open),
        cmocka_unit_test(test_who_does_not_read_takes_nobodys_descriptors),
        cmocka_unit_test(test_a_full_table_of_descriptors_is_told_as_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
