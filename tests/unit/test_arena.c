/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include "base/arena.h"
#include "support/failmalloc.h"
#include "support/unit.h"

static int setup(void **state)
{
    static struct arena a;

    *state = &a;
    return arena_init(&a, 256);
}

static int teardown(void **state)
{
    arena_fini(*state);
    return 0;
}

static void test_memory_is_aligned_for_any_type(void **state)
{
    for (size_t bytes = 0; bytes < 8; bytes++) {
        uint8_t *p = arena_alloc(*state, bytes);

        assert_non_null(p);
        assert_int_equal((uintptr_t) p % _Alignof(max_align_t), 0);
    }
}

static void test_pieces_do_not_overlap(void **state)
{
    uint8_t *a = arena_alloc(*state, 17), *b = arena_alloc(*state, 1);

    assert_non_null(a);
    assert_true(b >= a + 17);
}

static void test_exhausted_arena_returns_null_and_keeps_the_rest(void **state)
{
    struct arena *a = *state;

    assert_non_null(arena_alloc(a, 240));
    assert_null(arena_alloc(a, 17));
    assert_non_null(arena_alloc(a, 16));
    assert_null(arena_alloc(a, 1));
    assert_int_equal(a->used, a->capacity);
}

static void test_size_that_overflows_is_refused(void **state)
{
    assert_null(arena_alloc(*state, SIZE_MAX));
    assert_null(arena_alloc(*state, SIZE_MAX - 15));
    assert_null(arena_alloc(*state, SIZE_MAX - 14));
}

static void test_reset_makes_everything_available_again(void **state)
{
    uint8_t *first = arena_alloc(*state, 256);

    arena_reset(*state);
    assert_ptr_equal(arena_alloc(*state, 256), first);
}

static void test_fini_leaves_an_arena_that_gives_nothing(void **state)
{
    arena_fini(*state);
    assert_null(arena_alloc(*state, 1));
}

static void test_init_without_memory_is_enomem(void **state)
{
    struct arena a;

    (void) state;
    failmalloc_arm(1);
    assert_int_equal(arena_init(&a, 64), -ENOMEM);
    assert_int_equal(failmalloc_disarm(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_memory_is_aligned_for_any_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pieces_do_not_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exhausted_arena_returns_null_and_keeps_the_rest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_size_that_overflows_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_makes_everything_available_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_fini_leaves_an_arena_that_gives_nothing, setup,
                                        teardown),
        cmocka_unit_test(test_init_without_memory_is_enomem),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
