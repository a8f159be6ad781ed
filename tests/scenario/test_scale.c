/* SPDX-License-Identifier: MIT */
/* A client with 100,000 subscriptions, and thousands of clients: what each costs the router, and
 * what the others notice when they go. */
#include "support/crowd.h"

#define SUBS 100000u
#define SUB_BYTES_MAX 200

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
    if (CHILDREN_SANITIZED) {
        print_message("not asserted: sanitizers need memory of their own\n");
    } else {
        assert_true(each <= SUB_BYTES_MAX);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_100000_exact_subscriptions_cost_200_bytes_each),
        cmocka_unit_test(test_100000_exact_subscriptions_on_distinct_levels_cost_200_bytes_each),
        cmocka_unit_test(test_100000_subscriptions_with_a_hash_cost_200_bytes_each),
        cmocka_unit_test(test_100000_subscriptions_with_a_plus_cost_200_bytes_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
