/* SPDX-License-Identifier: MIT */
/* What the service manager is told, as text, and whether it watches this process. */
#include <inttypes.h>
#include "service.h"
#include "support/unit.h"

static void expect_status(uint64_t clients, uint64_t rate, const char *problem, const char *text)
{
    char buf[SERVICE_STATUS_BYTES];

    service_format_status(buf, clients, rate, problem);
    assert_string_equal(buf, text);
}

static void test_the_status_is_short(void **state)
{
    (void) state;
    expect_status(0, 0, "", "0 clients, 0 messages/s");
    expect_status(1, 999, "", "1 client, 999 messages/s");
    expect_status(12, 1000, "", "12 clients, 1.0k messages/s");
    expect_status(12, 3456, "", "12 clients, 3.4k messages/s");
    expect_status(12, 99999, "", "12 clients, 99.9k messages/s");
    expect_status(12, 100000, "", "12 clients, 100k messages/s");
    expect_status(12, 999999, "", "12 clients, 999k messages/s");
    expect_status(12, 1000000, "", "12 clients, 1.0M messages/s");
    expect_status(12, UINT64_C(123456789012), "", "12 clients, 123G messages/s");
}

static void test_any_number_fits(void **state)
{
    char buf[SERVICE_STATUS_BYTES];

    (void) state;
    service_format_status(buf, UINT64_MAX, UINT64_MAX, "");
    assert_true(strlen(buf) < 100);
}

/* A line of its own would be a notice of its own. */
static void test_a_problem_is_one_line_and_has_an_end(void **state)
{
    char buf[SERVICE_STATUS_BYTES], longer[2 * SERVICE_STATUS_BYTES];

    (void) state;
    expect_status(2, 0, "a.conf:3:1: no\nMAINPID=1",
                  "2 clients, 0 messages/s; reload failed: a.conf:3:1: no MAINPID=1");
    memset(longer, '\n', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    service_format_status(buf, 2, 0, longer);
    assert_int_equal(strlen(buf), SERVICE_STATUS_BYTES - 1);
    assert_null(strchr(buf, '\n'));
}

static void test_the_watchdog_is_for_one_process(void **state)
{
    (void) state;
    assert_int_equal(service_watchdog_ms("30000000", NULL, 7), 15000);
    assert_int_equal(service_watchdog_ms("30000000", "7", 7), 15000);
    assert_int_equal(service_watchdog_ms("30000000", "8", 7), 0);
    assert_int_equal(service_watchdog_ms("30000000", "", 7), 0);
    assert_int_equal(service_watchdog_ms("30000000", "7 ", 7), 0);
}

static void test_a_watchdog_of_no_time_is_none(void **state)
{
    (void) state;
    assert_int_equal(service_watchdog_ms(NULL, NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("0", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("-5", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("3s", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("18446744073709551615", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("99999999999999999999", NULL, 7), 0);
    assert_int_equal(service_watchdog_ms("1", NULL, 7), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_status_is_short),
        cmocka_unit_test(test_any_number_fits),
        cmocka_unit_test(test_a_problem_is_one_line_and_has_an_end),
        cmocka_unit_test(test_the_watchdog_is_for_one_process),
        cmocka_unit_test(test_a_watchdog_of_no_time_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
