/* SPDX-License-Identifier: MIT */
/* The file of those who would come back: what a router has written there the next one reads, and
 * whatever else is there does no harm. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "roster.h"
#include "support/failmalloc.h"
#include "support/unit.h"

static const char boot[ROSTER_BOOT_BYTES] = "00000000-1111-2222-3333-444444444444";

/* ---- the format ---- */

struct seen {
    unsigned n, n_there;
    struct session_id last;
};

static void on_record(void *ctx, bool is_there, const struct session_id *id)
{
    struct seen *s = ctx;

    s->n++;
    s->n_there += is_there;
    s->last = *id;
}

/* A header and n records that say that the sessions 1 to n are there. */
static size_t make_file(uint8_t *dst, unsigned n)
{
    roster_put_header(dst, boot);
    for (unsigned i = 0; i < n; i++) {
        const struct session_id id = {1, 2, i + 1};

        roster_put_record(dst + ROSTER_HEADER_BYTES + i * ROSTER_RECORD_BYTES, i != 1, &id);
    }
    return ROSTER_HEADER_BYTES + n * ROSTER_RECORD_BYTES;
}

static void test_what_was_written_is_read(void **state)
{
    uint8_t file[1024];
    size_t n = make_file(file, 3);
    struct seen s = {0};

    (void) state;
    assert_int_equal(roster_parse(file, n, boot, on_record, &s), n);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.n_there, 2);
    assert_true(s.last.uid == 1 && s.last.pid == 2 && s.last.session == 3);
}

static void test_a_torn_end_is_ignored(void **state)
{
    uint8_t file[1024];
    size_t n = make_file(file, 3);

    (void) state;
    for (size_t cut = 0; cut < n; cut++) {
        struct seen s = {0};
        size_t good = roster_parse(file, cut, boot, on_record, &s);

        assert_true(good <= cut);
        assert_int_equal(
            s.n, cut < ROSTER_HEADER_BYTES ? 0 : (cut - ROSTER_HEADER_BYTES) / ROSTER_RECORD_BYTES);
    }
}

static void test_any_changed_byte_ends_it_there(void **state)
{
    uint8_t file[1024];
    size_t n = make_file(file, 3);

    (void) state;
    for (size_t i = 0; i < n; i++) {
        struct seen s = {0};

        file[i] ^= 0x20;
        (void) roster_parse(file, n, boot, on_record, &s);
        assert_int_equal(
            s.n, i < ROSTER_HEADER_BYTES ? 0 : (i - ROSTER_HEADER_BYTES) / ROSTER_RECORD_BYTES);
        file[i] ^= 0x20;
    }
}

static void test_a_file_of_another_boot_is_none(void **state)
{
    static const char other[ROSTER_BOOT_BYTES] = "00000000-1111-2222-3333-444444444445";
    uint8_t file[1024];
    struct seen s = {0};

    (void) state;
    assert_int_equal(roster_parse(file, make_file(file, 3), other, on_record, &s), 0);
    assert_int_equal(s.n, 0);
}

/* ---- the file ---- */

struct place {
    char dir[64], path[96], file[128];
    struct router *router;
    struct roster roster;
};

static void router_begin(struct place *p)
{
    struct router_config config = {.limits = LIMITS_DEFAULT, .version = "test"};

    assert_int_equal(router_new(&config, &p->router), 0);
    roster_init(&p->roster, p->path, 100, 1);
}

/* As if the process had been killed: nothing more is written. */
static void router_die(struct place *p)
{
    p->roster.is_frozen = true;
    roster_fini(&p->roster);
    p->router = router_free(p->router);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    snprintf(p->dir, sizeof(p->dir), "/tmp/bus-roster-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/sock", p->dir);
    snprintf(p->file, sizeof(p->file), "%s.sessions", p->path);
    router_begin(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    router_die(p);
    (void) unlink(p->file);
    assert_int_equal(rmdir(p->dir), 0); /* nothing else was left there */
    free(p);
    return 0;
}

static struct session_id own(uint64_t session)
{
    return (struct session_id){7, (uint32_t) getpid(), session};
}

static void begun(struct place *p, uint64_t session)
{
    const struct session_id id = own(session);

    roster_ops.begun(&p->roster, &id);
}

static void ended(struct place *p, uint64_t session)
{
    const struct session_id id = own(session);

    roster_ops.ended(&p->roster, &id);
}

/* How many the next router expects. */
static size_t restart(struct place *p)
{
    size_t n;

    router_die(p);
    router_begin(p);
    n = roster_load(&p->roster, p->router, UINT64_MAX);
    assert_int_equal(router_is_holding(p->router), n > 0);
    return n;
}

static void unexpect(struct place *p, uint64_t session)
{
    const struct session_id id = own(session);

    router_unexpect(p->router, &id);
}

static void test_who_was_there_is_expected(void **state)
{
    struct place *p = *state;
    size_t n_missing = 9;

    assert_int_equal(restart(p), 0);
    begun(p, 1);
    begun(p, 2);
    begun(p, 2);
    begun(p, 3);
    ended(p, 3);
    ended(p, 2);
    assert_int_equal(restart(p), 2);
    /* and again if that one dies, too, before they have come */
    begun(p, 1);
    assert_int_equal(restart(p), 2);
    unexpect(p, 1);
    assert_true(roster_check_expected(&p->roster, p->router, &n_missing));
    unexpect(p, 2);
    assert_false(roster_check_expected(&p->roster, p->router, &n_missing));
    assert_int_equal(n_missing, 2);
    assert_int_equal(restart(p), 0);
    assert_int_equal(access(p->file, F_OK), -1);
}

static void test_who_came_stays_there_when_the_grace_is_over(void **state)
{
    struct place *p = *state;
    size_t n_missing = 9;

    begun(p, 1);
    begun(p, 2);
    assert_int_equal(restart(p), 2);
    begun(p, 2);
    unexpect(p, 1);
    unexpect(p, 2);
    assert_false(roster_check_expected(&p->roster, p->router, &n_missing));
    assert_int_equal(n_missing, 1);
    assert_int_equal(restart(p), 1);
}

static void test_the_dead_are_not_expected(void **state)
{
    struct place *p = *state;
    size_t n_missing = 9;
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    const struct session_id id = {7, (uint32_t) pid, 1};

    assert_true(pid > 0);
    roster_ops.begun(&p->roster, &id);
    assert_int_equal(restart(p), 1);
    assert_true(roster_check_expected(&p->roster, p->router, &n_missing));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(roster_check_expected(&p->roster, p->router, &n_missing));
    assert_int_equal(n_missing, 0);
    roster_ops.begun(&p->roster, &id);
    assert_int_equal(restart(p), 0);
}

static void test_after_a_good_end_who_was_there_is_expected_too(void **state)
{
    struct place *p = *state;

    begun(p, 1);
    begun(p, 2);
    roster_freeze(&p->roster);
    ended(p, 1);
    ended(p, 2);
    begun(p, 3);
    assert_int_equal(restart(p), 2);
}

static int free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    return fd;
}

static void test_while_nobody_is_there_no_file_is_and_none_is_open(void **state)
{
    struct place *p = *state;
    int fd = free_fd();

    for (int i = 0; i < 2; i++) {
        begun(p, 1);
        begun(p, 2);
        ended(p, 1);
        assert_int_equal(access(p->file, F_OK), 0);
        assert_int_not_equal(free_fd(), fd);
        ended(p, 2);
        assert_int_equal(access(p->file, F_OK), -1);
        assert_int_equal(free_fd(), fd);
    }
    begun(p, 1);
    assert_int_equal(restart(p), 1);
}

static void test_a_file_that_cannot_be_removed_says_that_nobody_is_there(void **state)
{
    struct place *p = *state;
    char aside[128];

    snprintf(aside, sizeof(aside), "%s/aside", p->dir);
    begun(p, 1);
    assert_int_equal(rename(p->file, aside), 0);
    assert_int_equal(mkdir(p->file, 0700), 0); /* unlink() fails then */
    ended(p, 1);
    assert_int_equal(rmdir(p->file), 0);
    assert_int_equal(rename(aside, p->file), 0);
    assert_int_equal(restart(p), 0);
}

static void test_the_file_does_not_grow_with_those_who_come_and_go(void **state)
{
    struct place *p = *state;
    struct stat st;

    begun(p, 1);
    for (uint64_t i = 0; i < 20000; i++) {
        begun(p, 2 + i);
        ended(p, 2 + i);
    }
    assert_int_equal(stat(p->file, &st), 0);
    assert_in_range(st.st_size, ROSTER_HEADER_BYTES, 4200 * ROSTER_RECORD_BYTES);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(restart(p), 1);
}

static void put_file(struct place *p, mode_t mode)
{
    int fd = open(p->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    uint8_t content[ROSTER_HEADER_BYTES + ROSTER_RECORD_BYTES];
    const struct session_id id = own(1);

    assert_true(fd >= 0);
    roster_put_header(content, p->roster.boot);
    roster_put_record(content + ROSTER_HEADER_BYTES, true, &id);
    assert_int_equal(write(fd, content, sizeof(content)), sizeof(content));
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void test_a_file_that_others_may_have_written_does_not_count(void **state)
{
    struct place *p = *state;
    char target[128];

    put_file(p, 0600);
    assert_int_equal(restart(p), 1);
    put_file(p, 0620);
    assert_int_equal(restart(p), 0);
    put_file(p, 0600);
    snprintf(target, sizeof(target), "%s/other", p->dir);
    assert_int_equal(rename(p->file, target), 0);
    assert_int_equal(symlink(target, p->file), 0);
    assert_int_equal(restart(p), 0);
    assert_int_equal(unlink(target), 0);
    (void) unlink(p->file);
    assert_int_equal(mkfifo(p->file, 0600), 0); /* which nobody would ever write to */
    assert_int_equal(restart(p), 0);
}

static void test_a_file_that_cannot_be_written_stops_nothing(void **state)
{
    struct place *p = *state;

    assert_int_equal(mkdir(p->file, 0700), 0);
    begun(p, 1);
    begun(p, 2);
    ended(p, 1);
    assert_true(p->roster.has_failed);
    assert_int_equal(rmdir(p->file), 0);
    begun(p, 3); /* now it can */
    assert_false(p->roster.has_failed);
    assert_int_equal(restart(p), 2);
}

static void test_without_a_path_nothing_is_noted(void **state)
{
    struct roster r;
    const struct session_id id = own(1);

    (void) state;
    roster_init(&r, NULL, 100, 1);
    roster_ops.begun(&r, &id);
    roster_ops.ended(&r, &id);
    assert_null(r.list);
    roster_fini(&r);
}

static void test_any_failing_allocation_is_survived(void **state)
{
    struct place *p = *state;

    for (unsigned long n = 1; n < 12; n++) {
        begun(p, 1);
        begun(p, 2);
        router_die(p);
        router_begin(p);
        failmalloc_arm(n);
        (void) roster_load(&p->roster, p->router, UINT64_MAX);
        begun(p, 3);
        ended(p, 3);
        (void) failmalloc_disarm();
        ended(p, 4);
        (void) unlink(p->file);
        assert_true(p->roster.by_id.n <= 3);
        router_die(p);
        router_begin(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_a_torn_end_is_ignored),
        cmocka_unit_test(test_any_changed_byte_ends_it_there),
        cmocka_unit_test(test_a_file_of_another_boot_is_none),
        cmocka_unit_test_setup_teardown(test_who_was_there_is_expected, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_came_stays_there_when_the_grace_is_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_dead_are_not_expected, setup, teardown),
        cmocka_unit_test_setup_teardown(test_after_a_good_end_who_was_there_is_expected_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_while_nobody_is_there_no_file_is_and_none_is_open,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_file_that_cannot_be_removed_says_that_nobody_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_file_does_not_grow_with_those_who_come_and_go,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_others_may_have_written_does_not_count,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_written_stops_nothing, setup,
                                        teardown),
        cmocka_unit_test(test_without_a_path_nothing_is_noted),
        cmocka_unit_test_setup_teardown(test_any_failing_allocation_is_survived, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
