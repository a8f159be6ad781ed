/* SPDX-License-Identifier: MIT */
/* A client with 100,000 subscriptions, and thousands of clients: what each costs the router, and
 * what the others notice when they go. */
#include "support/crowd.h"

#define SUBS 100000u
#define SUB_BYTES_MAX 200
#define TOPICS 100000u
#define CLIENTS 4000u
#define CLIENT_BYTES_MAX 2048
#define PAUSE_MAX_MS 500 /* on a processor; the machine may do other things meanwhile */

static struct crowd crowd;

/* What router_rss_bytes() cannot tell from pages of the program itself. */
static size_t private_bytes(const struct router_process *p)
{
    unsigned long kib = 0, total = 0;
    char path[64], line[256];
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", (long) p->pid);
    f = fopen(path, "re");
    if (!f) {
        return router_rss_bytes(p);
    }
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Private_Clean: %lu", &kib) == 1 ||
            sscanf(line, "Private_Dirty: %lu", &kib) == 1) {
            total += kib;
        }
    }
    (void) fclose(f);
    return total * 1024;
}

/* ---- subscriptions ---- */

/* Takes STATUS {OK} of each of them. */
static void expect_ok(struct raw_client *c, unsigned n)
{
    union wire_any m;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(raw_next(c, &m), VERB_STATUS);
        assert_int_equal(m.status.code, BUS_STATUS_OK);
    }
}

#define BATCH 500u

/* Filters of a number between two texts. */
static void subscribe_many(struct raw_client *c, unsigned n, const char *front, const char *back)
{
    static uint8_t buf[BATCH * 64];
    char filter[64];

    for (unsigned i = 0; i < n; i += BATCH) {
        size_t len = 0;

        for (unsigned k = i; k < MIN(i + BATCH, n); k++) {
            (void) snprintf(filter, sizeof(filter), "%s%u%s", front, k, back);
            const struct wire_subscribe m = {.subscription = k + 1, .filter = text_from(filter)};

            len += raw_frame(buf + len, sizeof(buf) - len, VERB_SUBSCRIBE, &m);
        }
        raw_send(c, buf, len);
        expect_ok(c, MIN(BATCH, n - i));
    }
}

static void advertise_many(struct raw_client *c, unsigned n)
{
    static uint8_t buf[BATCH * 64];
    char name[64];

    for (unsigned i = 0; i < n; i += BATCH) {
        size_t len = 0;

        for (unsigned k = i; k < MIN(i + BATCH, n); k++) {
            (void) snprintf(name, sizeof(name), "scale/topic/%u", k);
            const struct wire_advertise m = {.alias = k + 1, .topic = text_from(name)};

            len += raw_frame(buf + len, sizeof(buf) - len, VERB_ADVERTISE, &m);
        }
        raw_send(c, buf, len);
        raw_round_trip(c, i);
    }
}

static void say_if_not_asserted(void)
{
    if (CHILDREN_SANITIZED) {
        print_message("not asserted: sanitizers need memory and time of their own\n");
    }
}

static void expect_small_subscriptions(const char *front, const char *back)
{
    struct router_fixture f;
    struct raw_client c;
    size_t before;
    double each;

    router_start(&f, NULL);
    raw_greet(&c, f.seqpacket);
    raw_round_trip(&c, 1);
    before = private_bytes(&f.process);
    subscribe_many(&c, SUBS, front, back);
    each = (double) (private_bytes(&f.process) - before) / SUBS;
    print_message("%sN%s: %.1f bytes for each of %u subscriptions\n", front, back, each, SUBS);
    say_if_not_asserted();
    assert_true(CHILDREN_SANITIZED || each <= SUB_BYTES_MAX);
    raw_close(&c);
    router_stop(&f);
}

static void test_100000_exact_subscriptions_cost_200_bytes_each(void **state)
{
    (void) state;
    expect_small_subscriptions("scale/topic/", "");
}

static void test_100000_exact_subscriptions_on_distinct_levels_cost_200_bytes_each(void **state)
{
    (void) state;
    expect_small_subscriptions("dev/", "/temp");
}

static void test_100000_subscriptions_with_a_hash_cost_200_bytes_each(void **state)
{
    (void) state;
    expect_small_subscriptions("dev/", "/#");
}

static void test_100000_subscriptions_with_a_plus_cost_200_bytes_each(void **state)
{
    (void) state;
    expect_small_subscriptions("dev/", "/+");
}

/* ---- leaving ---- */

static void leave_with(void (*own_many)(struct raw_client *c), const char *what)
{
    struct router_fixture f;
    struct raw_client c, other;
    struct bus_conn *conn;
    uint64_t worst_ns = 0;

    router_start(&f, NULL);
    const struct router_state before = router_ask(&f, &conn);

    raw_greet(&other, f.seqpacket);
    raw_greet(&c, f.seqpacket);
    own_many(&c);
    raw_round_trip(&other, 1);
    raw_close(&c);
    for (uint64_t i = 2; i < 500; i++) {
        uint64_t start_ns = router_cpu_ns(&f.process);

        raw_round_trip(&other, i);
        worst_ns = MAX(worst_ns, router_cpu_ns(&f.process) - start_ns);
    }
    print_message("the most work in a round trip while a client with %s leaves: %.1f ms\n", what,
                  (double) worst_ns / NS_PER_MS);
    say_if_not_asserted();
    assert_true(CHILDREN_SANITIZED || worst_ns < PAUSE_MAX_MS * NS_PER_MS);
    raw_close(&other);
    expect_router_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}

static void own_subscriptions(struct raw_client *c)
{
    subscribe_many(c, SUBS, "dev/", "/#");
}

static void own_topics(struct raw_client *c)
{
    advertise_many(c, TOPICS);
}

static void test_others_go_on_while_a_client_with_100000_subscriptions_leaves(void **state)
{
    (void) state;
    leave_with(own_subscriptions, "100,000 subscriptions");
}

static void test_others_go_on_while_a_client_with_100000_topics_leaves(void **state)
{
    (void) state;
    leave_with(own_topics, "100,000 topics");
}

/* ---- clients ---- */

/* As many as this process may have descriptors for. */
static unsigned clients_allowed(void)
{
    struct rlimit limit;
    unsigned n = CLIENTS;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < n + 200) {
        n = (unsigned) limit.rlim_max - 200;
        print_message("only %u clients: the hard limit is %llu descriptors\n", n,
                      (unsigned long long) limit.rlim_max);
    }
    crowd_allow(n);
    return n;
}

/* Each with a subscription of its own; what they are answered nobody reads. */
static void join_many(const struct router_fixture *f, struct bus_conn *conn, unsigned n)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    uint64_t due = router_counter(conn, "subscriptions_now") + n;
    struct address a;
    uint8_t buf[256];
    char filter[32];

    assert_int_equal(address_parse(f->seqpacket, &a), 0);
    for (unsigned i = 0; i < n; i++) {
        (void) snprintf(filter, sizeof(filter), "scale/%u/+", i);
        size_t len = crowd_greeting(buf, sizeof(buf), filter);

        while (!crowd_connect(&crowd, &a)) {
            assert_true(clock_monotonic_ns() < deadline_ns);
            (void) router_counter(conn, "clients_now"); /* the backlog is full: a turn or two */
        }
        assert_int_equal(send(crowd.fds[crowd.n - 1].fd, buf, len, MSG_NOSIGNAL), len);
    }
    while (router_counter(conn, "subscriptions_now") < due) {
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
}

static void test_4000_clients_come_and_go_twice(void **state)
{
    /* the time is not what is tested: a machine that stands still loses nobody */
    const char *const args[] = {"--hello-timeout", "60s", NULL};
    const struct router_options options = {.args = args};
    unsigned n = clients_allowed();
    struct router_fixture f;
    struct bus_conn *conn;
    uint64_t start_ns;
    size_t memory;
    double each;

    (void) state;
    router_start(&f, &options);
    const struct router_state before = router_ask(&f, &conn);

    memory = private_bytes(&f.process);
    for (unsigned turn = 0; turn < 2; turn++) {
        start_ns = clock_monotonic_ns();
        join_many(&f, conn, n);
        each = ((double) private_bytes(&f.process) - (double) memory) / n;
        print_message("%u clients: %.0f bytes each, they came in %.0f ms", n, each,
                      (double) (clock_monotonic_ns() - start_ns) / NS_PER_MS);
        start_ns = clock_monotonic_ns();
        crowd_close_all(&crowd);
        expect_router_state(&f, conn, &before);
        print_message(" and left in %.0f ms\n",
                      (double) (clock_monotonic_ns() - start_ns) / NS_PER_MS);
        assert_true(CHILDREN_SANITIZED || each <= CLIENT_BYTES_MAX);
    }
    say_if_not_asserted();
    bus_close(conn);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_100000_exact_subscriptions_cost_200_bytes_each),
        cmocka_unit_test(test_100000_exact_subscriptions_on_distinct_levels_cost_200_bytes_each),
        cmocka_unit_test(test_100000_subscriptions_with_a_hash_cost_200_bytes_each),
        cmocka_unit_test(test_100000_subscriptions_with_a_plus_cost_200_bytes_each),
        cmocka_unit_test(test_others_go_on_while_a_client_with_100000_subscriptions_leaves),
        cmocka_unit_test(test_others_go_on_while_a_client_with_100000_topics_leaves),
        cmocka_unit_test(test_4000_clients_come_and_go_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
