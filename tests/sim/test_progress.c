/* SPDX-License-Identifier: MIT */
/* What counts as progress of a subscription that blocks publishers: docs/protocol.md, section 7. */
#include "core/router.h"
#include "support/world.h"

/* A block subscription whose client only pretends to go on. */
static void test_credit_of_nothing_is_no_progress(void **state)
{
    struct wire_subscribe m = {.subscription = 1,
                               .filter = {"a", 1},
                               .policy = BUS_POLICY_BLOCK,
                               .window_messages = 1,
                               .queue_messages = 1};
    struct wire_credit credit = {.subscription = 1};
    struct sim_publish publish = {.topic = "a", .body_bytes = 8};
    struct sim_client *p, *c;
    struct sim s;

    (void) state;
    sim_init(&s, NULL);
    p = sim_connect(&s, false);
    c = sim_connect(&s, false);
    assert_true(sim_subscribe(&s, c, 0, &m));
    for (unsigned i = 0; i < 4; i++) {
        assert_true(sim_publish(&s, p, &publish));
    }
    sim_advance(&s, UINT64_C(20000000000));
    sim_send(&s, c, VERB_CREDIT, &credit, NULL, 0);
    sim_advance(&s, UINT64_C(10000000000));
    assert_int_equal(router_counters(s.router)->stalls, 1);
    sim_settle(&s);
    sim_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credit_of_nothing_is_no_progress),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
