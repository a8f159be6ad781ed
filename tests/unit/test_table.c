/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "core/table.h"
#include "support/failmalloc.h"
#include "support/unit.h"

#define OBJECTS 200u

struct object {
    uint32_t key;
    uint32_t hash;
    bool in; /* the naive model: whether it is in the table */
};

static bool key_equals(const void *object, const void *key)
{
    return ((const struct object *) object)->key == *(const uint32_t *) key;
}

static struct object *find(const struct table *t, uint32_t hash, uint32_t key)
{
    return table_find(t, hash, key_equals, &key);
}

static void add(struct table *t, struct object *o)
{
    assert_int_equal(table_prepare(t), 0);
    table_insert(t, o->hash, o);
    o->in = true;
}

static void take(struct table *t, struct object *o)
{
    table_remove(t, o->hash, o);
    o->in = false;
}

static void assert_like_model(const struct table *t, struct object *all)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < OBJECTS; i++) {
        n += all[i].in;
        assert_ptr_equal(find(t, all[i].hash, all[i].key), all[i].in ? &all[i] : NULL);
    }
    assert_int_equal(t->n, n);
}

/* Hashes of few bits: long runs, and runs that go round the end of the array. */
static void random_operations(struct rng *rng, uint32_t hash_mask, unsigned steps)
{
    static struct object all[OBJECTS];
    struct table t;

    table_init(&t, rng_u64(rng));
    for (uint32_t i = 0; i < OBJECTS; i++) {
        all[i] = (struct object){i, (uint32_t) rng_u64(rng) & hash_mask, false};
    }
    for (unsigned i = 0; i < steps; i++) {
        /* phases in which it grows and in which it shrinks */
        struct object *o = &all[rng_below(rng, OBJECTS)];
        bool grows = i / 400 % 2 == 0;

        if (!o->in && (grows || rng_below(rng, 4) == 0)) {
            add(&t, o);
        } else if (o->in && (!grows || rng_below(rng, 4) == 0)) {
            take(&t, o);
        }
        if (i % 16 == 0) {
            assert_like_model(&t, all);
        }
    }
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (all[i].in) {
            take(&t, &all[i]);
            assert_like_model(&t, all);
        }
    }
    assert_null(t.slots);
    table_fini(&t);
}

static void test_random_operations_agree_with_a_naive_model(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    for (unsigned bits = 0; bits <= 32; bits += 4) {
        random_operations(&rng, bits == 32 ? UINT32_MAX : (1u << bits) - 1, 2000);
    }
}

static void test_removal_in_a_run_that_wraps_keeps_the_rest_findable(void **state)
{
    struct object o[] = {{0, 14, 0}, {1, 15, 0}, {2, 14, 0}, {3, 15, 0}, {4, 0, 0}, {5, 1, 0}};

    (void) state;
    for (size_t removed = 0; removed < ARRAY_LEN(o); removed++) {
        struct table t;

        table_init(&t, 1);
        for (size_t i = 0; i < ARRAY_LEN(o); i++) {
            add(&t, &o[i]);
        }
        table_remove(&t, o[removed].hash, &o[removed]);
        for (size_t i = 0; i < ARRAY_LEN(o); i++) {
            assert_ptr_equal(find(&t, o[i].hash, o[i].key), i == removed ? NULL : &o[i]);
        }
        table_fini(&t);
    }
}

static void test_failed_growth_changes_nothing_and_can_be_repeated(void **state)
{
    static struct object all[OBJECTS];
    struct table t;
    unsigned failures = 0;

    (void) state;
    table_init(&t, 7);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        all[i] = (struct object){i, i * 2654435761u, false};
    }
    for (uint32_t i = 0; i < OBJECTS; i++) {
        failmalloc_arm_from(1);
        if (table_prepare(&t) == -ENOMEM) {
            failures++;
        }
        (void) failmalloc_disarm();
        assert_like_model(&t, all);
        add(&t, &all[i]);
    }
    assert_int_equal(failures, 5); /* to 16, 32, 64, 128 and 256 slots */
    assert_like_model(&t, all);
    table_fini(&t);
}

static void test_prepare_promises_one_insertion_without_memory(void **state)
{
    static struct object all[OBJECTS];
    struct table t;

    (void) state;
    table_init(&t, 7);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        all[i] = (struct object){i, i, false};
        assert_int_equal(table_prepare(&t), 0);
        failmalloc_arm_from(1);
        table_insert(&t, all[i].hash, &all[i]);
        assert_int_equal(failmalloc_disarm(), 0);
        assert_true(t.n <= (t.mask + 1) - (t.mask + 1) / 5); /* a fifth is free: runs end */
    }
    table_fini(&t);
}

static void test_replaced_object_is_found_in_the_place_of_the_other(void **state)
{
    struct object o[] = {{1, 14, 0}, {2, 14, 0}, {1, 14, 0}};
    struct table t;

    (void) state;
    table_init(&t, 7);
    add(&t, &o[0]);
    add(&t, &o[1]);
    table_replace(&t, 14, &o[0], &o[2]);
    assert_ptr_equal(find(&t, 14, 1), &o[2]);
    assert_ptr_equal(find(&t, 14, 2), &o[1]);
    assert_int_equal(t.n, 2);
    take(&t, &o[2]);
    assert_null(find(&t, 14, 1));
    table_fini(&t);
}

static void test_100000_entries_fit_into_2_to_the_17_slots(void **state)
{
    static struct object all[100000];
    struct table t;

    (void) state;
    table_init(&t, 7);
    for (uint32_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i] = (struct object){i, i * 2654435761u, false};
        add(&t, &all[i]);
    }
    assert_int_equal(t.mask + 1, 1u << 17);
    table_fini(&t);
}

static void test_empty_table_holds_no_memory_and_finds_nothing(void **state)
{
    struct object o = {1, 99, false};
    struct table t;

    (void) state;
    table_init(&t, 7);
    assert_null(find(&t, 99, 1));
    add(&t, &o);
    take(&t, &o);
    assert_null(t.slots);
    assert_null(find(&t, 99, 1));
    add(&t, &o);
    assert_ptr_equal(find(&t, 99, 1), &o);
    table_fini(&t);
    assert_null(t.slots);
    assert_int_equal(t.seed, 7);
}

static void test_equal_hashes_are_told_apart_by_their_keys(void **state)
{
    struct object o[3] = {{1, 5, 0}, {2, 5, 0}, {3, 5, 0}};
    struct table t;

    (void) state;
    table_init(&t, 0);
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        add(&t, &o[i]);
    }
    take(&t, &o[0]);
    assert_null(find(&t, 5, 1));
    assert_ptr_equal(find(&t, 5, 2), &o[1]);
    assert_ptr_equal(find(&t, 5, 3), &o[2]);
    assert_null(find(&t, 6, 2));
    table_fini(&t);
}

static void test_hash_depends_on_seed_start_length_and_every_byte(void **state)
{
    static const uint8_t zeros[40];
    uint8_t data[40] = {0};
    struct table t, other;

    (void) state;
    table_init(&t, 1);
    table_init(&other, 2);
    for (size_t len = 0; len <= sizeof(data); len++) {
        uint32_t h = table_hash(&t, 0, zeros, len);

        assert_int_equal(h, table_hash(&t, 0, data, len));
        assert_int_not_equal(h, table_hash(&other, 0, zeros, len));
        assert_int_not_equal(h, table_hash(&t, 1, zeros, len));
        for (size_t i = 0; i < len; i++) {
            data[i] = 1;
            assert_int_not_equal(h, table_hash(&t, 0, data, len));
            data[i] = 0;
        }
        for (size_t shorter = 0; shorter < len; shorter++) {
            assert_int_not_equal(h, table_hash(&t, 0, zeros, shorter));
        }
    }
}

static void test_hash_spreads_over_the_low_bits(void **state)
{
    unsigned count[64] = {0};
    struct table t;

    (void) state;
    table_init(&t, 3);
    for (unsigned i = 0; i < 6400; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "sensors/%u/temperature", i);

        count[table_hash(&t, 0, name, (size_t) len) % 64]++;
    }
    for (size_t i = 0; i < ARRAY_LEN(count); i++) {
        assert_in_range(count[i], 50, 160); /* 100 are due; five sigma */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_operations_agree_with_a_naive_model),
        cmocka_unit_test(test_removal_in_a_run_that_wraps_keeps_the_rest_findable),
        cmocka_unit_test(test_failed_growth_changes_nothing_and_can_be_repeated),
        cmocka_unit_test(test_prepare_promises_one_insertion_without_memory),
        cmocka_unit_test(test_replaced_object_is_found_in_the_place_of_the_other),
        cmocka_unit_test(test_100000_entries_fit_into_2_to_the_17_slots),
        cmocka_unit_test(test_empty_table_holds_no_memory_and_finds_nothing),
        cmocka_unit_test(test_equal_hashes_are_told_apart_by_their_keys),
        cmocka_unit_test(test_hash_depends_on_seed_start_length_and_every_byte),
        cmocka_unit_test(test_hash_spreads_over_the_low_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
