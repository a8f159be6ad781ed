/* SPDX-License-Identifier: MIT */
/* A million frames that no library would send, from several clients at once, on both kinds of link:
 * nobody else notices, and nothing of it stays. With the sanitizers 200,000; BUS_TEST_LONG=1 sends
 * ten times as many. */
#include "support/hostile.h"

#define HOSTILE 4
#define FRAMES (CHILDREN_SANITIZED ? 200000 : 1000000)

static void start_hostile(struct child children[HOSTILE], const struct router_fixture *f,
                          uint64_t n_frames)
{
    struct rng rng = rng_from_env();

    for (int i = 0; i < HOSTILE; i++) {
        const struct hostile_role role = {
            .address = i % 2 ? f->stream : f->seqpacket,
            .seed = rng_u64(&rng),
            .n_frames = n_frames / HOSTILE,
        };

        child_start(&children[i], hostile_child, &role);
        child_expect_ready(&children[i]);
    }
}

/* Until all have sent theirs; the healthy ones get on meanwhile. */
static void watch_hostile(struct child children[HOSTILE], struct healthy_pair *pair)
{
    for (int i = 0; i < HOSTILE; i++) {
        const struct child_report *r = children[i].report;

        while (!child_is_readable(&children[i], 0)) {
            pair_watch(pair, 1, 10);
        }
        child_join(&children[i]);
        print_message("hostile, %s: %llu frames in %llu connections, %llu times with descriptors\n",
                      i % 2 ? "stream" : "seqpacket", (unsigned long long) r->done,
                      (unsigned long long) r->n_links, (unsigned long long) r->n_gaps);
        child_forget(&children[i]);
    }
}

/* ---- what they leave behind: messages that topics keep until they are cleared ---- */

static void on_kept(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) userdata;
    assert_int_equal(bus_clear(bus_sub_conn(sub), bus_message_topic(message)), 0);
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    (void) sub;
    (void) messages;
    --*(unsigned *) userdata;
}

static void clear_all_topics(const struct router_fixture *f)
{
    static const char *const filters[] = {"#", "$x/#"};
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    unsigned left = ARRAY_LEN(filters);
    struct bus_conn *conn;

    opts.retained = BUS_RETAINED_LAST;
    opts.on_live = on_live;
    assert_int_equal(bus_open(f->seqpacket, NULL, &conn), 0);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        assert_int_equal(bus_subscribe(conn, filters[i], &opts, on_kept, &left, NULL), 0);
    }
    while (left > 0) {
        assert_true(bus_wait(conn, FIXTURE_TIMEOUT_MS) > 0);
        assert_true(bus_process(conn) >= 0);
    }
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    bus_close(conn);
}

static void print_counters(struct bus_conn *conn)
{
    static const char *const names[] = {"clients_total",
                                        "protocol_errors",
                                        "frames_in",
                                        "frames_refused",
                                        "stalls",
                                        "messages_lost",
                                        "messages_refused",
                                        "messages_matched",
                                        "monitor_records",
                                        "wills_now",
                                        "retained_messages_now"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        print_message("%s %llu\n", names[i], (unsigned long long) router_counter(conn, names[i]));
    }
}

static void test_a_storm_of_frames_costs_nobody_else_anything(void **state)
{
    /* Hostile subscriptions that match the healthy ones' topic may block them for so long, but the
     * healthy one must not meet it on a busy machine; and so long the wills of those who have gone
     * may wait. */
    static const char *const args[] = {"--stall-timeout",  "2s", "--log-level", "error",
                                       "--will-delay-max", "1s", NULL};
    const struct router_options o = {.args = args};
    struct child hostile[HOSTILE];
    struct router_state before;
    struct healthy_pair pair;
    struct router_fixture f;
    struct bus_conn *conn;
    const uint64_t n_frames = is_long_run() ? 10 * FRAMES : FRAMES;
    uint64_t n_healthy;
    size_t rss;

    (void) state;
    router_start(&f, &o);
    before = router_ask(&f, &conn);
    rss = router_rss_bytes(&f.process);
    pair_start(&pair, &f);
    start_hostile(hostile, &f, n_frames);
    watch_hostile(hostile, &pair);
    pair_watch(&pair, 1000, 0);
    n_healthy = pair_finish(&pair);
    print_counters(conn);
    /* the rest stood behind what ended a connection */
    assert_true(router_counter(conn, "frames_in") > n_healthy + n_frames / 3);
    print_message("router: RSS %zu KiB before, %zu KiB after\n", rss / 1024,
                  router_rss_bytes(&f.process) / 1024);
    clear_all_topics(&f);
    expect_router_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_storm_of_frames_costs_nobody_else_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
