/* SPDX-License-Identifier: MIT */
#include "core/windows.h"
#include "support/failmalloc.h"
#include "support/unit.h"

static struct sub_window window(uint32_t messages)
{
    return (struct sub_window){messages, 10, {20, 30}};
}

static uint32_t get(struct windows *ws, uint32_t messages)
{
    const struct sub_window w = window(messages);

    return windows_get(ws, &w);
}

static void test_equal_windows_are_shared_and_others_are_not(void **state)
{
    struct sub_window w = window(1);
    struct windows ws;
    struct quota q;
    uint32_t n;

    (void) state;
    quota_init(&q, UINT64_MAX, NULL);
    windows_init(&ws, &q);
    n = windows_get(&ws, &w);
    assert_int_equal(windows_get(&ws, &w), n);
    w.bytes++;
    assert_int_not_equal(windows_get(&ws, &w), n);
    w = window(1);
    w.queue.messages++;
    assert_int_not_equal(windows_get(&ws, &w), n);
    w = window(1);
    w.queue.bytes++;
    assert_int_not_equal(windows_get(&ws, &w), n);
    assert_int_not_equal(get(&ws, 2), n);
    assert_int_equal(windows_at(&ws, n)->messages, 1);
    assert_int_equal(windows_at(&ws, n)->queue.bytes, 30);
    assert_int_equal(ws.n_used, 5);
    windows_fini(&ws);
    assert_int_equal(q.used, 0);
}

static void test_window_is_there_until_its_last_user_has_gone(void **state)
{
    struct windows ws;
    struct quota q;
    uint32_t a, b;

    (void) state;
    quota_init(&q, UINT64_MAX, NULL);
    windows_init(&ws, &q);
    a = get(&ws, 1);
    (void) get(&ws, 1);
    b = get(&ws, 2);
    windows_put(&ws, a);
    assert_int_equal(windows_at(&ws, a)->messages, 1);
    assert_int_equal(get(&ws, 1), a);
    windows_put(&ws, a);
    windows_put(&ws, a);
    /* its place is used again, and nothing finds it by what it was */
    assert_int_equal(get(&ws, 3), a);
    assert_int_not_equal(get(&ws, 1), a);
    assert_int_equal(windows_at(&ws, b)->messages, 2);
    windows_fini(&ws);
}

static void test_many_different_windows_come_and_go_and_are_charged(void **state)
{
    static uint32_t numbers[1000];
    struct windows ws;
    struct quota q;

    (void) state;
    quota_init(&q, UINT64_MAX, NULL);
    windows_init(&ws, &q);
    for (unsigned turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < ARRAY_LEN(numbers); i++) {
            numbers[i] = get(&ws, i + 1);
            assert_int_equal(windows_at(&ws, numbers[i])->messages, i + 1);
        }
        assert_int_equal(q.used, windows_memory(&ws));
        assert_int_equal(ws.n_used, ARRAY_LEN(numbers));
        for (uint32_t i = 0; i < ARRAY_LEN(numbers); i++) {
            assert_int_equal(windows_at(&ws, numbers[i])->messages, i + 1);
            windows_put(&ws, numbers[i]);
        }
    }
    windows_fini(&ws);
    assert_int_equal(q.used, 0);
}

static void test_without_memory_or_quota_nothing_changes(void **state)
{
    struct windows ws;
    struct quota q;

    (void) state;
    quota_init(&q, UINT64_MAX, NULL);
    windows_init(&ws, &q);
    FOR_EACH_FAILING_MALLOC (n) {
        uint64_t used = q.used;
        uint32_t number = get(&ws, 1);

        if (number == WINDOW_NONE) {
            assert_int_equal(q.used, used);
        } else {
            windows_put(&ws, number);
        }
    }
    q.limit = q.used;
    assert_int_not_equal(get(&ws, 1), WINDOW_NONE);
    assert_int_equal(get(&ws, 2), WINDOW_NONE);
    assert_int_not_equal(get(&ws, 1), WINDOW_NONE);
    windows_fini(&ws);
    assert_int_equal(q.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_windows_are_shared_and_others_are_not),
        cmocka_unit_test(test_window_is_there_until_its_last_user_has_gone),
        cmocka_unit_test(test_many_different_windows_come_and_go_and_are_charged),
        cmocka_unit_test(test_without_memory_or_quota_nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
