/* SPDX-License-Identifier: MIT */
#include "support/failmalloc.h"
#include "support/unit.h"
#include "wire/slab.h"

#define SLABS 3u

static int setup(void **state)
{
    static struct slab_pool pool;

    slab_pool_init(&pool, SLABS);
    *state = &pool;
    return 0;
}

static int teardown(void **state)
{
    struct slab_pool *pool = *state;

    assert_int_equal(slab_pool_pinned(pool), 0);
    slab_pool_fini(pool);
    assert_int_equal(pool->n_slabs, 0);
    return 0;
}

/* A read of so many bytes, of which all are kept. */
static struct slab *keep(struct slab_pool *pool, size_t bytes)
{
    struct slab *s = slab_pool_current(pool, bytes);

    if (s) {
        memset(slab_room(s), 0x5A, bytes);
        slab_keep(s, slab_room(s), bytes);
    }
    return s;
}

static void test_slab_of_which_nothing_is_kept_is_used_again(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *s = slab_pool_current(pool, 1000);
    uint8_t *room = slab_room(s);

    assert_int_equal(slab_room_bytes(s), SLAB_BYTES);
    slab_keep(s, room, 1000);
    slab_unref(s);
    assert_ptr_equal(slab_pool_current(pool, SLAB_BYTES), s);
    assert_ptr_equal(slab_room(s), room);
    assert_int_equal(pool->n_slabs, 1);
}

static void test_reads_go_behind_what_is_kept_and_over_the_rest(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *s = slab_pool_current(pool, 1000);
    uint8_t *room = slab_room(s);

    slab_keep(s, room + 300, 100);
    slab_keep(s, room + 100, 100); /* not in order */
    assert_ptr_equal(slab_pool_current(pool, 1000), s);
    assert_ptr_equal(slab_room(s), room + 448); /* 400, at the next line */
    assert_int_equal(slab_room_bytes(s), SLAB_BYTES - 448);
    slab_unref(s);
    assert_ptr_equal(slab_pool_current(pool, 1000), s);
    assert_ptr_equal(slab_room(s), room + 448); /* the other part is still kept */
    slab_unref(s);
    assert_ptr_equal(slab_pool_current(pool, 1000), s);
    assert_ptr_equal(slab_room(s), room);
}

static void test_slab_without_room_is_followed_by_another(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *a = keep(pool, SLAB_BYTES - 64), *b;

    assert_ptr_equal(slab_pool_current(pool, 64), a);
    b = slab_pool_current(pool, 65);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_int_equal(slab_pool_pinned(pool), 1);
    slab_unref(a);
    assert_int_equal(slab_pool_pinned(pool), 0);
    assert_int_equal(pool->n_free, 1);
}

static void test_part_that_ends_with_the_slab_is_kept(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *s = keep(pool, SLAB_BYTES - 1);

    assert_int_equal(slab_room_bytes(s), 0);
    slab_unref(s);
}

static void test_pool_is_bounded_and_recovers(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *s[SLABS];

    for (unsigned i = 0; i < SLABS; i++) {
        s[i] = keep(pool, SLAB_BYTES);
        assert_non_null(s[i]);
    }
    assert_null(slab_pool_current(pool, 1));
    assert_null(slab_pool_current(pool, 1));
    assert_int_equal(slab_pool_pinned(pool), SLABS);
    slab_unref(s[1]);
    assert_ptr_equal(slab_pool_current(pool, SLAB_BYTES), s[1]);
    slab_unref(s[0]);
    slab_unref(s[2]);
    assert_int_equal(slab_pool_pinned(pool), 0);
}

static void test_no_more_than_a_few_free_slabs_are_kept(void **state)
{
    struct slab *s[SLAB_FREE_MAX + 3];
    struct slab_pool many;

    (void) state;
    slab_pool_init(&many, ARRAY_LEN(s));
    for (unsigned i = 0; i < ARRAY_LEN(s); i++) {
        s[i] = keep(&many, SLAB_BYTES);
    }
    for (unsigned i = 0; i < ARRAY_LEN(s); i++) {
        slab_unref(s[i]);
    }
    assert_int_equal(many.n_free, SLAB_FREE_MAX);
    assert_int_equal(many.n_slabs, SLAB_FREE_MAX + 1); /* and the current one */
    assert_int_equal(slab_pool_pinned(&many), 0);
    slab_pool_fini(&many);
}

static void test_without_memory_there_is_none_until_there_is(void **state)
{
    struct slab_pool *pool = *state;
    struct slab *s;

    FOR_EACH_FAILING_MALLOC (n) {
        s = slab_pool_current(pool, 1);
        assert_int_equal(!s, n == 1);
    }
    s = keep(pool, SLAB_BYTES);
    failmalloc_arm(1);
    assert_null(slab_pool_current(pool, 1));
    assert_int_equal(failmalloc_disarm(), 1);
    slab_unref(s); /* the current one no more: it is free now */
    failmalloc_arm(1);
    assert_ptr_equal(slab_pool_current(pool, 1), s);
    assert_int_equal(failmalloc_disarm(), 0);
}

/* Reads and releases in any order: what is kept stays as it was read. */
static void test_random_use_keeps_every_byte(void **state)
{
    struct {
        struct slab *slab;
        const uint8_t *data;
        size_t bytes;
        uint8_t fill;
    } parts[20] = {{0}};
    struct slab_pool *pool = *state;
    struct rng r = rng_from_env();

    for (unsigned turn = 0; turn < 20000; turn++) {
        size_t k = rng_below(&r, ARRAY_LEN(parts)), bytes = 1 + rng_below(&r, 100000);
        struct slab *s;

        if (parts[k].slab) {
            for (size_t i = 0; i < parts[k].bytes; i += 1 + rng_below(&r, 500)) {
                assert_int_equal(parts[k].data[i], parts[k].fill);
            }
            slab_unref(parts[k].slab);
            parts[k].slab = NULL;
        } else if ((s = slab_pool_current(pool, bytes))) {
            size_t from = rng_below(&r, (uint32_t) bytes);

            memset(slab_room(s), (int) (turn & 0xff), bytes);
            parts[k].slab = s;
            parts[k].data = slab_room(s) + from;
            parts[k].bytes = bytes - from;
            parts[k].fill = turn & 0xff;
            slab_keep(s, parts[k].data, parts[k].bytes);
        }
        assert_true(pool->n_slabs <= SLABS);
    }
    for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
        if (parts[k].slab) {
            slab_unref(parts[k].slab);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(slab_of_which_nothing_is_kept_is_used_again),
        CASE(reads_go_behind_what_is_kept_and_over_the_rest),
        CASE(slab_without_room_is_followed_by_another),
        CASE(part_that_ends_with_the_slab_is_kept),
        CASE(pool_is_bounded_and_recovers),
        CASE(no_more_than_a_few_free_slabs_are_kept),
        CASE(without_memory_there_is_none_until_there_is),
        CASE(random_use_keeps_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
