/* SPDX-License-Identifier: MIT */
/* Who has connected, put together from what the kernel and the listener say. */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "identity.h"
#include "support/failmalloc.h"
#include "support/unit.h"

static struct listener listener = {.name = "public", .fd = -1, .lock_fd = -1};

static int pair[2];

static int setup(void **state)
{
    (void) state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
}

static int teardown(void **state)
{
    (void) state;
    (void) close(pair[0]);
    (void) close(pair[1]);
    return 0;
}

static void test_it_is_this_process(void **state)
{
    gid_t groups[1024];
    int n = getgroups(1024, groups);
    struct identity i;

    (void) state;
    assert_int_equal(identity_read(&i, pair[0], &listener), 0);
    assert_int_equal(i.creds.pid, getpid());
    assert_int_equal(i.subject.uid, geteuid());
    assert_int_equal(i.subject.gid, getegid());
    assert_int_equal(i.subject.n_groups, n);
    assert_true(n <= 0 || memcmp(i.subject.groups, groups, (size_t) n * sizeof(*groups)) == 0);
    assert_int_equal(i.subject.listener.len, 6);
    assert_memory_equal(i.subject.listener.data, "public", 6);
    assert_int_equal(i.subject.user.len, 0); /* nobody has asked */
    assert_int_equal(i.subject.group.len, 0);
    assert_int_equal(i.subject.name.len, 0);
    identity_fini(&i);
}

static void test_no_socket(void **state)
{
    struct identity i;

    (void) state;
    assert_int_equal(identity_read(&i, -1, &listener), -EBADF);
    identity_fini(&i);
}

static void test_nobody_in_more_groups_than_are_looked_at(void **state)
{
    gid_t before[1024], groups[SUBJECT_GROUPS_MAX + 1];
    int n = getgroups(1024, before), many[2];
    struct identity i;

    (void) state;
    for (unsigned g = 0; g < ARRAY_LEN(groups); g++) {
        groups[g] = 100000 + g;
    }
    if (n < 0 || setgroups(SUBJECT_GROUPS_MAX, groups) < 0) {
        print_message("only root can have so many groups\n");
        skip();
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, many), 0);
    assert_int_equal(identity_read(&i, many[0], &listener), 0);
    assert_int_equal(i.subject.n_groups, SUBJECT_GROUPS_MAX);
    identity_fini(&i);
    (void) close(many[0]);
    (void) close(many[1]);

    assert_int_equal(setgroups(ARRAY_LEN(groups), groups), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, many), 0);
    assert_int_equal(identity_read(&i, many[0], &listener), -E2BIG);
    identity_fini(&i);
    (void) close(many[0]);
    (void) close(many[1]);
    assert_int_equal(setgroups((size_t) n, before), 0);
}

static void test_without_memory(void **state)
{
    (void) state;
    FOR_EACH_FAILING_MALLOC (n) {
        struct identity i;
        int r = identity_read(&i, pair[0], &listener);

        assert_int_equal(r, failmalloc_has_failed() ? -ENOMEM : 0);
        identity_fini(&i);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_is_this_process),
        CASE(no_socket),
        CASE(nobody_in_more_groups_than_are_looked_at),
        CASE(without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
