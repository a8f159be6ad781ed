/* SPDX-License-Identifier: MIT */
#include "core/idpool.h"
#include "support/failmalloc.h"
#include "support/unit.h"

#define NUMBERS 300u

static uint64_t objects[NUMBERS]; /* only their addresses matter */

static void test_numbers_begin_with_1_and_are_dense(void **state)
{
    struct idpool pool = {0};

    (void) state;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        assert_int_equal(idpool_add(&pool, &objects[i]), i + 1);
    }
    for (uint32_t i = 0; i < NUMBERS; i++) {
        assert_ptr_equal(idpool_get(&pool, i + 1), &objects[i]);
    }
    assert_int_equal(pool.n_used, NUMBERS);
    idpool_fini(&pool);
}

static void test_unused_numbers_have_no_object(void **state)
{
    struct idpool pool = {0};

    (void) state;
    assert_null(idpool_get(&pool, 0));
    assert_null(idpool_get(&pool, 1));
    assert_int_equal(idpool_add(&pool, &objects[0]), 1);
    assert_null(idpool_get(&pool, 0));
    assert_null(idpool_get(&pool, 2));
    assert_null(idpool_get(&pool, pool.n_slots));
    assert_null(idpool_get(&pool, pool.n_slots + 1));
    assert_null(idpool_get(&pool, UINT32_MAX));
    idpool_remove(&pool, 1);
    assert_null(idpool_get(&pool, 1));
    idpool_fini(&pool);
    assert_null(idpool_get(&pool, 1));
}

static void test_removed_numbers_are_used_again_before_new_ones(void **state)
{
    struct idpool pool = {0};

    (void) state;
    for (uint32_t i = 0; i < 16; i++) {
        (void) idpool_add(&pool, &objects[i]);
    }
    idpool_remove(&pool, 3);
    idpool_remove(&pool, 9);
    assert_int_equal(idpool_add(&pool, &objects[20]), 9);
    assert_int_equal(idpool_add(&pool, &objects[21]), 3);
    assert_int_equal(pool.n_slots, 16);
    assert_int_equal(idpool_add(&pool, &objects[22]), 17);
    idpool_fini(&pool);
}

static void test_random_operations_agree_with_a_naive_model(void **state)
{
    struct rng rng = rng_from_env();
    struct idpool pool = {0};
    void *model[NUMBERS + 1] = {0};
    uint32_t n = 0;

    (void) state;
    for (unsigned i = 0; i < 5000; i++) {
        uint32_t id = 1 + rng_below(&rng, NUMBERS);

        if (model[id]) {
            idpool_remove(&pool, id);
            model[id] = NULL;
            n--;
        } else if (n < NUMBERS) {
            uint32_t added = idpool_add(&pool, &objects[i % NUMBERS]);

            assert_in_range(added, 1, NUMBERS);
            assert_null(model[added]);
            model[added] = &objects[i % NUMBERS];
            n++;
        }
        assert_int_equal(pool.n_used, n);
        for (uint32_t k = 1; i % 50 == 0 && k <= NUMBERS; k++) {
            assert_ptr_equal(idpool_get(&pool, k), model[k]);
        }
    }
    idpool_fini(&pool);
}

static void test_failed_growth_gives_0_and_changes_nothing(void **state)
{
    struct idpool pool = {0};

    (void) state;
    failmalloc_arm_from(1);
    assert_int_equal(idpool_add(&pool, &objects[0]), 0);
    (void) failmalloc_disarm();
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(idpool_add(&pool, &objects[i]), i + 1);
    }
    failmalloc_arm_from(1);
    assert_int_equal(idpool_add(&pool, &objects[16]), 0);
    assert_int_equal(pool.n_used, 16);
    assert_ptr_equal(idpool_get(&pool, 16), &objects[15]);
    idpool_remove(&pool, 5); /* a free number needs no memory */
    assert_int_equal(idpool_add(&pool, &objects[17]), 5);
    (void) failmalloc_disarm();
    assert_int_equal(idpool_add(&pool, &objects[16]), 17);
    idpool_fini(&pool);
}

static void test_set_holds_what_was_added_and_not_removed(void **state)
{
    struct rng rng = rng_from_env();
    struct idset set = {0};
    bool model[2000] = {0};

    (void) state;
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t id = rng_below(&rng, (uint32_t) ARRAY_LEN(model));

        if (rng_below(&rng, 2)) {
            assert_true(idset_add(&set, id));
            model[id] = true;
        } else {
            idset_remove(&set, id);
            model[id] = false;
        }
        for (uint32_t k = 0; i % 100 == 0 && k < ARRAY_LEN(model); k++) {
            assert_int_equal(idset_has(&set, k), model[k]);
        }
    }
    assert_false(idset_has(&set, UINT32_MAX));
    idset_remove(&set, UINT32_MAX);
    idset_fini(&set);
    assert_false(idset_has(&set, 1));
}

static void test_set_that_cannot_grow_stays_as_it_is(void **state)
{
    struct idset set = {0};

    (void) state;
    assert_true(idset_add(&set, 5));
    failmalloc_arm_from(1);
    assert_true(idset_add(&set, 6));
    assert_false(idset_add(&set, 100000));
    (void) failmalloc_disarm();
    assert_false(idset_has(&set, 100000));
    assert_true(idset_has(&set, 5) && idset_has(&set, 6));
    assert_true(idset_add(&set, 100000));
    assert_true(idset_has(&set, 100000));
    idset_fini(&set);
}

static void test_memory_of_a_set_is_known_before_it_grows(void **state)
{
    struct rng rng = rng_from_env();
    struct idset set = {0};

    (void) state;
    assert_int_equal(idset_memory(&set), 0);
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t id = (uint32_t) rng_magnitude(&rng) % 100000;
        uint64_t before = idset_memory(&set), with = idset_memory_with(&set, id);

        assert_true(with >= before && with > id / 8);
        assert_true(idset_add(&set, id));
        assert_int_equal(idset_memory(&set), with);
        assert_int_equal(idset_memory_with(&set, id), with);
    }
    idset_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_begin_with_1_and_are_dense),
        cmocka_unit_test(test_unused_numbers_have_no_object),
        cmocka_unit_test(test_removed_numbers_are_used_again_before_new_ones),
        cmocka_unit_test(test_random_operations_agree_with_a_naive_model),
        cmocka_unit_test(test_failed_growth_gives_0_and_changes_nothing),
        cmocka_unit_test(test_set_holds_what_was_added_and_not_removed),
        cmocka_unit_test(test_set_that_cannot_grow_stays_as_it_is),
        cmocka_unit_test(test_memory_of_a_set_is_known_before_it_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
