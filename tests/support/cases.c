/* SPDX-License-Identifier: MIT */
/* Stands before cmocka's runner (linker option --wrap), so that every test executable can list its
 * cases (TEST_LIST=1) and run one of them (TEST_CASE=name) without a line of code in it. */
#include "support/unit.h"

int __real__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);

static const struct CMUnitTest *find(const struct CMUnitTest *tests, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(tests[i].name, name) == 0) {
            return &tests[i];
        }
    }
    return NULL;
}

static int list(const struct CMUnitTest *tests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        /* of two cases of one name only the first could ever be run */
        if (find(tests, n, tests[i].name) != &tests[i]) {
            (void) fprintf(stderr, "%s is listed twice\n", tests[i].name);
            return 1;
        }
        (void) puts(tests[i].name);
    }
    return 0;
}

int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const char *only = getenv("TEST_CASE");

    if (getenv("TEST_LIST")) {
        return list(tests, n);
    }
    if (!only) {
        return __real__cmocka_run_group_tests(group, tests, n, setup, teardown);
    }
    tests = find(tests, n, only);
    if (!tests) {
        return 0; /* it belongs to another group of this executable */
    }
    return __real__cmocka_run_group_tests(group, tests, 1, setup, teardown);
}
