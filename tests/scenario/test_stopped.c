/* SPDX-License-Identifier: MIT */
/* A subscriber that is stopped under full load: what it costs the others, the router and itself.
 * BUS_TEST_LONG=1 stops it for 10 s. */
#include "support/children.h"

#define HEALTHY 2
#define MIB_BYTES (1024u * 1024u)
#define BODY_BYTES 512u
/* What the router may hold more than before: three queues (8 MiB) and the window of the publisher
 * (4 MiB), and 128 bytes around each of the 16,384 messages in each of them. What is in the windows
 * of the subscriptions is no longer in the router. */
#define RSS_MAX ((size_t) (3 * 8 + 4) * MIB_BYTES + (size_t) 4 * 16384 * 128)

/* A publisher, two healthy subscribers that may block it, and the one that will be stopped. */
struct cast {
    struct router_fixture f;
    struct child publisher, healthy[HEALTHY], stopped;
    size_t rss_before, rss_max;
};

static void start_subscriber(struct child *c, const char *address, const struct bus_sub_opts *opts)
{
    const struct child_role role = {
        .address = address, .topic = "load/+", .is_alone = true, .opts = *opts};

    child_start(c, child_subscriber, &role);
    child_expect_ready(c);
}

static void cast_start(struct cast *t, const char *const *args, const struct bus_sub_opts *opts)
{
    const struct router_options o = {.args = args};
    struct child_role publisher = {.topic = "load/all", .body_bytes = BODY_BYTES};
    struct bus_sub_opts block = BUS_SUB_OPTS_INIT;

    router_start(&t->f, &o);
    block.policy = BUS_POLICY_BLOCK;
    start_subscriber(&t->healthy[0], t->f.seqpacket, &block);
    start_subscriber(&t->healthy[1], t->f.stream, &block);
    start_subscriber(&t->stopped, t->f.seqpacket, opts);
    publisher.address = t->f.seqpacket;
    child_start(&t->publisher, child_publisher, &publisher);
    child_expect_ready(&t->publisher);
    t->rss_before = t->rss_max = router_rss_bytes(&t->f.process);
}

static void watch(struct cast *t, int ms)
{
    struct child *const all[] = {&t->publisher, &t->healthy[0], &t->healthy[1], &t->stopped};
    size_t rss;

    children_watch(all, ARRAY_LEN(all), ms);
    rss = router_rss_bytes(&t->f.process);
    t->rss_max = MAX(t->rss_max, rss);
}

/* What the slower of the healthy ones gets, messages a second. */
static double healthy_rate(struct cast *t, int ms)
{
    uint64_t before[HEALTHY], start_ns = clock_monotonic_ns(), least = UINT64_MAX;
    double seconds;

    for (int i = 0; i < HEALTHY; i++) {
        before[i] = t->healthy[i].report->done;
    }
    for (int passed = 0; passed < ms; passed += 50) {
        watch(t, 50);
    }
    seconds = (double) (clock_monotonic_ns() - start_ns) / NS_PER_S;
    for (int i = 0; i < HEALTHY; i++) {
        least = MIN(least, t->healthy[i].report->done - before[i]);
    }
    return (double) least / seconds;
}

/* Everybody gets what is left; the healthy ones have lost nothing. */
static void cast_finish(struct cast *t)
{
    struct child *const subs[] = {&t->healthy[0], &t->healthy[1], &t->stopped};

    children_finish(&t->publisher, subs, ARRAY_LEN(subs));
    for (int i = 0; i < HEALTHY; i++) {
        assert_int_equal(t->healthy[i].report->lost, 0);
        assert_int_equal(t->healthy[i].report->done, t->publisher.report->done);
        child_forget(&t->healthy[i]);
    }
    assert_true(t->rss_before > 0);
    print_message("router: RSS %.1f MiB before, %.1f MiB at most\n",
                  (double) t->rss_before / MIB_BYTES, (double) t->rss_max / MIB_BYTES);
    if (!CHILDREN_SANITIZED) {
        assert_true(t->rss_max < t->rss_before + RSS_MAX);
    }
    router_stop(&t->f);
}

static void cast_forget(struct cast *t)
{
    child_forget(&t->publisher);
    child_forget(&t->stopped);
}

/* ---- the policies that drop ---- */

static double stop_one(struct cast *t, int ms)
{
    double without, with;

    watch(t, 100); /* all have begun, or go on */
    without = healthy_rate(t, ms / 2);
    child_stop(&t->stopped);
    with = healthy_rate(t, ms);
    child_continue(&t->stopped);
    watch(t, 100);
    print_message("healthy: %.0f messages/s with all running, %.0f with one stopped: %.2f\n",
                  without, with, with / without);
    return with / without;
}

#define TRIES 10

/* A machine that has other things to do may disturb some measurements, but not all. */
static void expect_healthy_rate(struct cast *t)
{
    for (int i = 0; i < TRIES; i++) {
        if (stop_one(t, is_long_run() ? 10000 : 2000) >= 0.5) {
            return;
        }
    }
    fail_msg("the healthy subscribers suffer from the stopped one");
}

/* The subscriber checks itself that each gap is where its LOSS is and as long as it says. */
static void expect_losses_of_stopped(enum bus_policy policy)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    const struct child_report *r;
    struct cast t;

    opts.policy = policy;
    cast_start(&t, NULL, &opts);
    expect_healthy_rate(&t);
    cast_finish(&t);
    r = t.stopped.report;
    print_message("stopped: %llu delivered + %llu lost in %llu gaps = %llu published\n",
                  (unsigned long long) r->done, (unsigned long long) r->lost,
                  (unsigned long long) r->n_gaps, (unsigned long long) t.publisher.report->done);
    assert_int_equal(r->done + r->lost, t.publisher.report->done);
    assert_true(r->lost > 0 && r->done > 0);
    cast_forget(&t);
}

static void test_a_stopped_drop_oldest_subscriber_costs_only_itself(void **state)
{
    (void) state;
    expect_losses_of_stopped(BUS_POLICY_DROP_OLDEST);
}

static void test_a_stopped_drop_newest_subscriber_costs_only_itself(void **state)
{
    (void) state;
    expect_losses_of_stopped(BUS_POLICY_DROP_NEWEST);
}

static void test_a_stopped_latest_subscriber_costs_only_itself(void **state)
{
    (void) state;
    expect_losses_of_stopped(BUS_POLICY_LATEST);
}

/* ---- block ---- */

/* Until the publisher has published so many more. */
static void watch_publisher(struct cast *t, uint64_t n)
{
    uint64_t until = t->publisher.report->done + n;
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (t->publisher.report->done < until) {
        watch(t, 10);
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
}

static void test_a_stopped_block_subscriber_blocks_until_its_stall_timeout(void **state)
{
    /* so long a machine does not keep the healthy ones from running */
    const char *const args[] = {"--stall-timeout", "3s", NULL};
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    uint64_t blocked, stopped_ns;
    struct cast t;

    (void) state;
    opts.policy = BUS_POLICY_BLOCK;
    cast_start(&t, args, &opts);
    watch_publisher(&t, 50000);
    child_stop(&t.stopped);
    stopped_ns = clock_monotonic_ns();
    blocked = t.publisher.report->done;
    /* what fits into the windows and the queue, and much more than that */
    watch_publisher(&t, 200000);
    stopped_ns = clock_monotonic_ns() - stopped_ns;
    print_message("publisher: at %llu when one stopped, %llu ms later at %llu\n",
                  (unsigned long long) blocked, (unsigned long long) (stopped_ns / NS_PER_MS),
                  (unsigned long long) t.publisher.report->done);
    assert_true(stopped_ns > 1500 * NS_PER_MS);
    assert_int_equal(t.stopped.report->stalls, 0); /* it cannot know yet */
    child_continue(&t.stopped);
    watch_publisher(&t, 1000);
    cast_finish(&t);
    assert_int_equal(t.stopped.report->stalls, 1);
    assert_true(t.stopped.report->lost > 0);
    cast_forget(&t);
}

static void test_a_block_subscriber_that_is_stopped_for_a_moment_loses_nothing(void **state)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    uint64_t held, later;
    struct cast t;

    (void) state;
    opts.policy = BUS_POLICY_BLOCK;
    cast_start(&t, NULL, &opts);
    watch_publisher(&t, 50000);
    child_stop(&t.stopped);
    do {
        held = t.publisher.report->done;
        watch(&t, 500);
        later = t.publisher.report->done;
    } while (later != held); /* the publisher is held back */
    child_continue(&t.stopped);
    watch_publisher(&t, 50000);
    cast_finish(&t);
    assert_int_equal(t.stopped.report->stalls, 0);
    assert_int_equal(t.stopped.report->lost, 0);
    assert_int_equal(t.stopped.report->done, t.publisher.report->done);
    cast_forget(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stopped_drop_oldest_subscriber_costs_only_itself),
        cmocka_unit_test(test_a_stopped_drop_newest_subscriber_costs_only_itself),
        cmocka_unit_test(test_a_stopped_latest_subscriber_costs_only_itself),
        cmocka_unit_test(test_a_stopped_block_subscriber_blocks_until_its_stall_timeout),
        cmocka_unit_test(test_a_block_subscriber_that_is_stopped_for_a_moment_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
