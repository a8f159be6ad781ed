/* SPDX-License-Identifier: MIT */
/* Medium bodies to several subscribers on both kinds of link, of which some are stopped: every byte
 * is checked by each. That nothing stays pinned the router asserts at its end. */
#include "support/children.h"

#define HEALTHY 4
#define STOPPED 2
#define N_SUBS (HEALTHY + STOPPED)
#define MIB_BYTES (1024u * 1024u)
/* Two queues (8 MiB), the window of the publisher (4 MiB), and as many slabs as there can be; some
 * more for what outputs and messages cost besides. */
#define RSS_MAX ((size_t) (2 * 8 + 4 + 32 + 4) * MIB_BYTES)

struct cast {
    struct router_fixture f;
    struct child publisher;
    struct child subs[N_SUBS]; /* the last ones will be stopped */
};

/* Every second one on stream. */
static void start_subscribers(struct cast *t)
{
    for (unsigned i = 0; i < N_SUBS; i++) {
        struct child_role role = {
            .address = i % 2 ? t->f.stream : t->f.seqpacket,
            .topic = "medium/+",
            .is_alone = true,
            .opts = BUS_SUB_OPTS_INIT,
        };

        role.opts.policy = i < HEALTHY ? BUS_POLICY_BLOCK : BUS_POLICY_DROP_OLDEST;
        child_start(&t->subs[i], child_subscriber, &role);
        child_expect_ready(&t->subs[i]);
    }
}

static void watch_until(struct cast *t, uint64_t n)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    struct child *all[1 + N_SUBS] = {&t->publisher};

    for (unsigned i = 0; i < N_SUBS; i++) {
        all[1 + i] = &t->subs[i];
    }
    for (n += t->publisher.report->done; t->publisher.report->done < n;) {
        children_watch(all, ARRAY_LEN(all), 10);
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
}

static void stop_some(struct cast *t, uint64_t n)
{
    watch_until(t, n / 4);
    for (unsigned i = HEALTHY; i < N_SUBS; i++) {
        child_stop(&t->subs[i]);
    }
    watch_until(t, n);
    for (unsigned i = HEALTHY; i < N_SUBS; i++) {
        child_continue(&t->subs[i]);
    }
    watch_until(t, n / 4);
}

static void finish(struct cast *t, size_t rss_before)
{
    size_t rss = router_rss_bytes(&t->f.process);
    struct child *subs[N_SUBS];
    uint64_t published;

    for (unsigned i = 0; i < N_SUBS; i++) {
        subs[i] = &t->subs[i];
    }
    children_finish(&t->publisher, subs, N_SUBS);
    published = t->publisher.report->done;
    for (unsigned i = 0; i < N_SUBS; i++) {
        const struct child_report *r = t->subs[i].report;

        print_message("%s: %llu delivered + %llu lost = %llu published\n",
                      i < HEALTHY ? "healthy" : "stopped", (unsigned long long) r->done,
                      (unsigned long long) r->lost, (unsigned long long) published);
        assert_int_equal(r->done + r->lost, published);
        assert_true(i < HEALTHY ? r->lost == 0 : r->lost > 0 && r->done > 0);
        child_forget(&t->subs[i]);
    }
    print_message("router: RSS %.1f MiB before, %.1f MiB then\n", (double) rss_before / MIB_BYTES,
                  (double) rss / MIB_BYTES);
    if (!CHILDREN_SANITIZED) {
        assert_true(rss < rss_before + RSS_MAX);
    }
    child_forget(&t->publisher);
    router_stop(&t->f);
}

static void publish_bodies(bool packets, uint32_t body_bytes)
{
    struct child_role role = {.topic = "medium/all", .body_bytes = body_bytes};
    struct cast t;
    size_t rss;

    router_start(&t.f, NULL);
    start_subscribers(&t);
    rss = router_rss_bytes(&t.f.process);
    role.address = packets ? t.f.seqpacket : t.f.stream;
    child_start(&t.publisher, child_publisher, &role);
    child_expect_ready(&t.publisher);
    stop_some(&t, 64 * MIB_BYTES / body_bytes); /* more than queues and windows hold */
    finish(&t, rss);
}

static void test_bodies_of_4_kib_from_seqpacket(void **state)
{
    (void) state;
    publish_bodies(true, 4096);
}

static void test_bodies_of_20000_bytes_from_seqpacket(void **state)
{
    (void) state;
    publish_bodies(true, 20000);
}

static void test_bodies_of_64_kib_from_seqpacket(void **state)
{
    (void) state;
    publish_bodies(true, 65536);
}

static void test_bodies_of_5001_bytes_from_stream(void **state)
{
    (void) state;
    publish_bodies(false, 5001);
}

static void test_bodies_of_16_kib_from_stream(void **state)
{
    (void) state;
    publish_bodies(false, 16384);
}

static void test_bodies_of_64_kib_from_stream(void **state)
{
    (void) state;
    publish_bodies(false, 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_of_4_kib_from_seqpacket),
        cmocka_unit_test(test_bodies_of_20000_bytes_from_seqpacket),
        cmocka_unit_test(test_bodies_of_64_kib_from_seqpacket),
        cmocka_unit_test(test_bodies_of_5001_bytes_from_stream),
        cmocka_unit_test(test_bodies_of_16_kib_from_stream),
        cmocka_unit_test(test_bodies_of_64_kib_from_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
