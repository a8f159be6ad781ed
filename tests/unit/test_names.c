/* SPDX-License-Identifier: MIT */
/* Names of users and groups: each asked for once, so many known, and nothing told for true that is
 * not. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>
#include "names.h"
#include "support/failmalloc.h"
#include "support/texts.h"

#define SECOND UINT64_C(1000000000)

static struct {
    unsigned n_users, n_groups;
    int answer; /* of both: 1, 0 or a negative errno */
} service;

static int ask_user(uint32_t uid, char name[NAMES_BYTES])
{
    service.n_users++;
    (void) snprintf(name, NAMES_BYTES, "user%u", uid);
    return service.answer;
}

static int ask_group(uint32_t gid, char name[NAMES_BYTES])
{
    service.n_groups++;
    (void) snprintf(name, NAMES_BYTES, "group%u", gid);
    return service.answer;
}

static struct names names;

static int setup(void **state)
{
    (void) state;
    memset(&service, 0, sizeof(service));
    service.answer = 1;
    names_init(&names, ask_user, ask_group);
    return 0;
}

static int teardown(void **state)
{
    (void) state;
    names_fini(&names);
    return 0;
}

static void test_each_number_is_asked_for_once(void **state)
{
    (void) state;
    for (int i = 0; i < 3; i++) {
        assert_text(names_user(&names, 7, 0), "user7");
        assert_text(names_user(&names, 8, 0), "user8");
        assert_text(names_group(&names, 7, 0), "group7");
    }
    assert_int_equal(service.n_users, 2);
    assert_int_equal(service.n_groups, 1);
}

static void test_what_has_no_name_is_asked_for_once_too(void **state)
{
    (void) state;
    service.answer = 0;
    assert_text(names_user(&names, 7, 0), "");
    assert_text(names_user(&names, 7, 1000 * SECOND), "");
    assert_int_equal(service.n_users, 1);
}

static void test_what_nobody_could_tell_is_asked_for_again_later(void **state)
{
    (void) state;
    service.answer = -ETIMEDOUT;
    assert_text(names_user(&names, 7, SECOND), "");
    assert_text(names_user(&names, 7, SECOND + NAMES_RETRY_NS - 1), "");
    assert_int_equal(service.n_users, 1);
    service.answer = 1;
    assert_text(names_user(&names, 7, SECOND + NAMES_RETRY_NS), "user7");
    assert_text(names_user(&names, 7, 1000 * SECOND), "user7");
    assert_int_equal(service.n_users, 2);
}

static void test_after_forgetting_all_are_asked_for_again(void **state)
{
    (void) state;
    assert_text(names_user(&names, 7, 0), "user7");
    names_forget(&names);
    assert_text(names_user(&names, 7, 0), "user7");
    assert_int_equal(service.n_users, 2);
}

static void test_a_subject_gets_both(void **state)
{
    struct subject s = {.uid = 7, .gid = 8};

    (void) state;
    names_fill(&names, &s);
    assert_text(s.user, "user7");
    assert_text(s.group, "group8");
}

static void test_those_used_last_are_known(void **state)
{
    (void) state;
    (void) names_user(&names, 0, 0);
    for (uint32_t i = 1; i < NAMES_MAX; i++) {
        (void) names_user(&names, i, 0);
    }
    assert_int_equal(names.users.n, NAMES_MAX);
    assert_text(names_user(&names, 0, 0), "user0");
    assert_text(names_user(&names, NAMES_MAX, 0), "user4096");
    assert_int_equal(names.users.n, NAMES_MAX);
    assert_int_equal(service.n_users, NAMES_MAX + 1);
    assert_text(names_user(&names, 0, 0), "user0"); /* 1 had to go */
    assert_int_equal(service.n_users, NAMES_MAX + 1);
    assert_text(names_user(&names, 1, 0), "user1");
    assert_int_equal(service.n_users, NAMES_MAX + 2);
}

static void test_the_system_knows_root(void **state)
{
    const struct passwd *user = getpwuid(0);
    const struct group *group = getgrgid(0);
    char name[NAMES_BYTES];

    (void) state;
    assert_int_equal(names_ask_user(0, name), user != NULL);
    assert_string_equal(name, user ? user->pw_name : name);
    assert_int_equal(names_ask_group(0, name), group != NULL);
    assert_string_equal(name, group ? group->gr_name : name);
}

static void test_the_system_does_not_know_everybody(void **state)
{
    uint32_t id = 3999999999u;
    char name[NAMES_BYTES];

    (void) state;
    while (getpwuid(id) || getgrgid(id)) {
        id--;
    }
    assert_int_equal(names_ask_user(id, name), 0);
    assert_int_equal(names_ask_group(id, name), 0);
}

static void test_without_memory_there_is_no_name(void **state)
{
    (void) state;
    FOR_EACH_FAILING_MALLOC (n) {
        struct text user = names_user(&names, 7, 0);
        bool failed = failmalloc_has_failed();

        (void) failmalloc_disarm();
        assert_text(user, failed ? "" : "user7");
        names_forget(&names);
        if (!failed) {
            break;
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_number_is_asked_for_once),
        CASE(what_has_no_name_is_asked_for_once_too),
        CASE(what_nobody_could_tell_is_asked_for_again_later),
        CASE(after_forgetting_all_are_asked_for_again),
        CASE(a_subject_gets_both),
        CASE(those_used_last_are_known),
        CASE(the_system_knows_root),
        CASE(the_system_does_not_know_everybody),
        CASE(without_memory_there_is_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
