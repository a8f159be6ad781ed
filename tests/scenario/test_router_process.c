/* SPDX-License-Identifier: MIT */
/* bus-router as a process: starting, claiming its addresses, logging, stopping. */
#include <bus/types.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "base/sock.h"
#include "support/router_fixture.h"
#include "support/unit.h"

static char text[FIXTURE_LOG_BYTES]; /* stderr of the router that was last looked at */

/* Starts a router that must refuse; what it says is in text. */
static void assert_refuses(int code, const char *option, const char *value)
{
    const char *const args[] = {option, value, NULL};

    assert_int_equal(router_run(args, text), code);
}

/* ---- starting ---- */

static void test_it_starts_serves_both_link_types_and_stops(void **state)
{
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, NULL);
    raw_greet(&c, f.seqpacket);
    raw_round_trip(&c, 7);
    raw_close(&c);
    raw_greet(&c, f.stream);
    raw_round_trip(&c, 8);
    raw_close(&c);
    router_stop(&f);
}

static void test_usage_errors_name_option_value_and_what_is_expected(void **state)
{
    (void) state;
    assert_refuses(2, "--hello-timeout", "soon");
    assert_says(text, "--hello-timeout: 'soon': expected is a time");
    assert_refuses(2, "--hello-timeout", "1ms");
    assert_says(text, "out of range, which is 10ms to 600s");
    assert_refuses(2, "--client-bytes-max", "99999999999999999999");
    assert_says(text, "out of range");
    assert_refuses(2, "--total-bytes-max", "17179869184G");
    assert_says(text, "out of range");
    assert_refuses(2, "--clients-max", "-1");
    assert_says(text, "expected is a number");
    assert_refuses(2, "--mode", "0999");
    assert_says(text, "--mode: '0999': expected is an octal");
    assert_refuses(2, "--owner", "no-such-user-here");
    assert_says(text, "no such user");
    assert_refuses(2, "--listen", "stream:");
    assert_says(text, "--listen: 'stream:': expected");
    assert_refuses(2, "--log-level", NULL);
    assert_says(text, "--log-level needs a value");
    assert_refuses(2, "--nonsense", NULL);
    assert_says(text, "--nonsense");
    assert_refuses(2, "argument", NULL);
    assert_says(text, "unexpected argument 'argument'");
    assert_refuses(2, "--ready-fd", "999");
    assert_says(text, "not open");
}

static void test_help_and_version_exit_with_0(void **state)
{
    (void) state;
    assert_refuses(0, "--help", NULL);
    assert_refuses(0, "--version", NULL);
}

static void test_limits_that_do_not_fit_each_other_are_refused(void **state)
{
    const char *const args[] = {"--queue-bytes-default", "2M", "--queue-bytes-max", "1M", NULL};

    (void) state;
    assert_int_equal(router_run(args, text), 2);
    assert_says(text, "--queue-bytes-default");
}

static void test_limits_given_as_options_are_in_the_welcome(void **state)
{
    const char *const args[] = {"--stall-timeout", "2s", "--aliases-max", "17", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c;
    union wire_any m;

    (void) state;
    router_start(&f, &o);
    raw_connect(&c, f.seqpacket);
    raw_send_hello(&c, "");
    assert_int_equal(raw_next(&c, &m), VERB_WELCOME);
    assert_int_equal(m.welcome.stall_timeout_ms, 2000);
    assert_int_equal(m.welcome.aliases_max, 17);
    raw_close(&c);
    router_stop(&f);
}

/* ---- files ---- */

static unsigned mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_sockets_and_new_directories_are_private_by_default(void **state)
{
    char dir[64], address[128], parent[96];
    const char *const args[] = {"--listen", address, NULL};
    const struct router_options o = {.args = args};
    mode_t before = umask(0);
    struct router_process p;

    (void) state;
    fixture_dir_new(dir);
    (void) snprintf(parent, sizeof(parent), "%s/a/b", dir);
    (void) snprintf(address, sizeof(address), "%s/s", parent);
    router_spawn(&p, &o);
    assert_true(router_is_ready(&p));
    assert_int_equal(mode_of(parent), 0700);
    assert_int_equal(mode_of(address), 0600);
    assert_int_equal(kill(p.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&p), 0);
    router_discard(&p);
    (void) umask(before);
    fixture_dir_remove(dir);
}

static void test_mode_and_group_are_applied(void **state)
{
    char gid[16];
    const char *const args[] = {"--mode", "0666", "--group", gid, NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct stat st;

    (void) state;
    (void) snprintf(gid, sizeof(gid), "%u", (unsigned) (geteuid() == 0 ? 12345 : getegid()));
    router_start(&f, &o);
    assert_int_equal(stat(fixture_path(f.stream), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0666);
    assert_int_equal(st.st_gid, strtoul(gid, NULL, 10));
    router_stop(&f);
}

static void test_a_stale_socket_is_replaced(void **state)
{
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, NULL);
    router_kill9(&f);
    assert_int_equal(access(fixture_path(f.seqpacket), F_OK), 0);
    router_restart(&f, NULL);
    raw_greet(&c, f.seqpacket);
    raw_close(&c);
    router_stop(&f);
}

static void test_a_living_router_is_not_replaced(void **state)
{
    struct router_fixture f;
    struct raw_client c;
    char pid[32];

    (void) state;
    router_start(&f, NULL);
    (void) snprintf(pid, sizeof(pid), "pid %ld;", (long) f.process.pid);
    assert_refuses(1, "--listen", f.seqpacket);
    assert_says(text, f.seqpacket);
    assert_says(text, pid);
    /* the other type of socket on the same path */
    assert_refuses(1, "--listen", fixture_path(f.stream));
    assert_says(text, pid);
    raw_greet(&c, f.seqpacket);
    raw_close(&c);
    router_stop(&f);
}

static void test_another_programs_socket_is_not_replaced(void **state)
{
    static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char dir[64], pid[32];

    (void) state;
    fixture_dir_new(dir);
    (void) snprintf(pid, sizeof(pid), "pid %ld;", (long) getpid());
    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        int fd = sock_new(types[i]);

        assert_int_equal(bind(fd, (struct sockaddr *) &sun, sizeof(sun)), 0);
        assert_int_equal(listen(fd, 5), 0);
        assert_refuses(1, "--listen", sun.sun_path);
        assert_says(text, pid);
        assert_int_equal(access(sun.sun_path, F_OK), 0);
        (void) close(fd);
        (void) unlink(sun.sun_path);
    }
    fixture_dir_remove(dir);
}

static void test_a_file_that_is_no_socket_is_left_alone(void **state)
{
    char dir[64], path[96];
    int fd;

    (void) state;
    fixture_dir_new(dir);
    (void) snprintf(path, sizeof(path), "%s/precious", dir);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void) close(fd);
    assert_refuses(1, "--listen", path);
    assert_says(text, "is not a socket");
    assert_int_equal(access(path, F_OK), 0);
    fixture_dir_remove(dir);
}

/* What somebody else put under the name in the meantime stays. */
static void test_only_its_own_socket_is_removed(void **state)
{
    struct router_fixture f;
    const char *path;
    int fd;

    (void) state;
    router_start(&f, NULL);
    path = fixture_path(f.stream);
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void) close(fd);
    assert_int_equal(kill(f.process.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&f.process), 0);
    router_discard(&f.process);
    assert_int_equal(access(path, F_OK), 0);
    fixture_dir_remove(f.dir);
}

static void test_of_two_started_at_once_exactly_one_lives(void **state)
{
    char dir[64], path[96];
    const char *const args[] = {"--listen", path, NULL};
    const struct router_options o = {.args = args};

    (void) state;
    fixture_dir_new(dir);
    (void) snprintf(path, sizeof(path), "%s/s", dir);
    for (int round = 0; round < 20; round++) {
        struct router_process p[2];
        bool ready[2];
        int winner;

        router_spawn(&p[0], &o);
        router_spawn(&p[1], &o);
        ready[0] = router_is_ready(&p[0]);
        ready[1] = router_is_ready(&p[1]);
        assert_int_equal(ready[0] + ready[1], 1);
        winner = ready[1];
        assert_int_equal(router_wait(&p[!winner]), 1);
        router_log(&p[!winner], text);
        assert_says(text, "is in use by ");
        /* every second round begins with a stale socket and lock */
        assert_int_equal(kill(p[winner].pid, round % 2 ? SIGTERM : SIGKILL), 0);
        assert_int_equal(router_wait(&p[winner]), round % 2 ? 0 : -SIGKILL);
        router_discard(&p[0]);
        router_discard(&p[1]);
    }
    fixture_dir_remove(dir);
}

static void test_paths_beyond_sun_path_work(void **state)
{
    char dir[64], path[512];
    const char *const args[] = {"--listen", path, NULL};
    const struct router_options o = {.args = args};
    struct router_process p;
    struct raw_client c;
    size_t n;

    (void) state;
    fixture_dir_new(dir);
    n = (size_t) snprintf(path, sizeof(path), "%s/", dir);
    memset(path + n, 'x', 200);
    (void) snprintf(path + n + 200, sizeof(path) - n - 200, "/s");
    router_spawn(&p, &o);
    assert_true(router_is_ready(&p));
    raw_greet(&c, path);
    raw_close(&c);
    assert_refuses(1, "--listen", path);
    assert_says(text, "is in use by pid");
    assert_int_equal(kill(p.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&p), 0);
    assert_int_equal(access(path, F_OK), -1);
    router_discard(&p);
    fixture_dir_remove(dir);
}

static void test_abstract_names_work_and_are_claimed_once(void **state)
{
    char name[64], pid[32];
    const char *const args[] = {"--listen", name, NULL};
    const struct router_options o = {.args = args};
    struct router_process p;
    struct raw_client c;

    (void) state;
    (void) snprintf(name, sizeof(name), "@bus-test-%ld", (long) getpid());
    router_spawn(&p, &o);
    assert_true(router_is_ready(&p));
    raw_greet(&c, name);
    raw_close(&c);
    assert_refuses(1, "--listen", name);
    (void) snprintf(pid, sizeof(pid), "pid %ld;", (long) p.pid);
    assert_says(text, pid);
    assert_int_equal(kill(p.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&p), 0);
    router_discard(&p);
}

static void test_an_address_given_twice_is_refused(void **state)
{
    const char *const args[] = {"--listen", "/tmp/x", "--listen", "stream:/tmp/x", NULL};

    (void) state;
    assert_int_equal(router_run(args, text), 2);
    assert_says(text, "given twice");
}

/* ---- a log that nobody reads ---- */

static void serve_some(const struct router_options *o)
{
    struct router_fixture f;
    struct raw_client c;

    router_start(&f, o);
    for (int i = 0; i < 100; i++) {
        raw_greet(&c, i % 2 ? f.stream : f.seqpacket);
        raw_close(&c);
    }
    router_stop(&f);
}

static void test_a_log_that_is_not_read_stops_nothing(void **state)
{
    const char *const args[] = {"--log-level", "debug", NULL};
    struct router_options o = {.args = args, .stderr_fd = FIXTURE_STDERR_CLOSED};
    char page[4096] = {0};
    int pipes[2];

    (void) state;
    serve_some(&o);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pipes[1], F_SETFL, O_NONBLOCK), 0);
    while (write(pipes[1], page, sizeof(page)) > 0) {
    }
    assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
    o.stderr_fd = pipes[1];
    serve_some(&o);
    (void) close(pipes[0]);
    serve_some(&o);
    (void) close(pipes[1]);
}

/* ---- stopping ---- */

/* PONGs in order, then GOODBYE {SHUTDOWN}, then the end. */
static void expect_drained(struct raw_client *c)
{
    union wire_any m;
    uint64_t n = 0;
    int verb;

    while ((verb = raw_next(c, &m)) == VERB_PONG) {
        assert_int_equal(m.pong.token, ++n);
    }
    assert_int_equal(verb, VERB_GOODBYE);
    assert_int_equal(m.goodbye.reason, BUS_GOODBYE_SHUTDOWN);
    assert_true(n > 1000);
    assert_int_equal(raw_next(c, &m), 0);
}

static void test_stopping_sends_what_was_on_its_way(void **state)
{
    const char *const args[] = {"--linger", "20s", "--drain-timeout", "20s", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, &o);
    raw_greet(&c, f.seqpacket);
    (void) raw_fill(&c);
    assert_int_equal(kill(f.process.pid, SIGTERM), 0);
    expect_drained(&c);
    raw_close(&c);
    router_stop(&f);
}

static void test_stopping_does_not_wait_for_clients_for_ever(void **state)
{
    const char *const args[] = {"--linger", "600s", "--drain-timeout", "100ms", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, &o);
    raw_greet(&c, f.seqpacket);
    (void) raw_fill(&c);
    router_stop(&f);
    raw_close(&c);
}

static void test_a_second_signal_stops_at_once(void **state)
{
    const char *const args[] = {"--linger", "600s", "--drain-timeout", "600s", NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct raw_client c, other;

    (void) state;
    router_start(&f, &o);
    raw_greet(&c, f.seqpacket);
    raw_greet(&other, f.seqpacket);
    (void) raw_fill(&c);
    assert_int_equal(kill(f.process.pid, SIGTERM), 0);
    raw_expect_goodbye(&other, BUS_GOODBYE_SHUTDOWN);
    router_stop(&f); /* the second one */
    raw_close(&other);
    raw_close(&c);
}

/* What libraries do when a process returns from main() is not waited for. */
static void test_no_destructor_holds_up_the_end(void **state)
{
#ifdef BUS_SANITIZE
    (void) state;
    print_message("NOT RUN: sanitizers look for leaks in exit()\n");
    skip();
#else
    const char *const args[] = {"--version", NULL};
    const char *library = getenv("BUS_HANG_AT_EXIT");
    char preload[1024];
    const char *const env[] = {preload, NULL};
    struct router_options o = {.env = env};
    struct router_process p;
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    assert_non_null(library);
    (void) snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
    router_start(&f, &o);
    raw_greet(&c, f.stream);
    raw_close(&c);
    router_stop(&f);
    o.args = args;
    router_spawn(&p, &o);
    assert_int_equal(router_wait(&p), 0);
    router_discard(&p);
#endif
}

static void test_sighup_and_sigpipe_change_nothing(void **state)
{
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    router_start(&f, NULL);
    assert_int_equal(kill(f.process.pid, SIGHUP), 0);
    assert_int_equal(kill(f.process.pid, SIGPIPE), 0);
    raw_greet(&c, f.stream);
    raw_close(&c);
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_starts_serves_both_link_types_and_stops),
        cmocka_unit_test(test_usage_errors_name_option_value_and_what_is_expected),
        cmocka_unit_test(test_help_and_version_exit_with_0),
        cmocka_unit_test(test_limits_that_do_not_fit_each_other_are_refused),
        cmocka_unit_test(test_limits_given_as_options_are_in_the_welcome),
        cmocka_unit_test(test_sockets_and_new_directories_are_private_by_default),
        cmocka_unit_test(test_mode_and_group_are_applied),
        cmocka_unit_test(test_a_stale_socket_is_replaced),
        cmocka_unit_test(test_a_living_router_is_not_replaced),
        cmocka_unit_test(test_another_programs_socket_is_not_replaced),
        cmocka_unit_test(test_a_file_that_is_no_socket_is_left_alone),
        cmocka_unit_test(test_only_its_own_socket_is_removed),
        cmocka_unit_test(test_of_two_started_at_once_exactly_one_lives),
        cmocka_unit_test(test_paths_beyond_sun_path_work),
        cmocka_unit_test(test_abstract_names_work_and_are_claimed_once),
        cmocka_unit_test(test_an_address_given_twice_is_refused),
        cmocka_unit_test(test_a_log_that_is_not_read_stops_nothing),
        cmocka_unit_test(test_stopping_sends_what_was_on_its_way),
        cmocka_unit_test(test_stopping_does_not_wait_for_clients_for_ever),
        cmocka_unit_test(test_a_second_signal_stops_at_once),
        cmocka_unit_test(test_no_destructor_holds_up_the_end),
        cmocka_unit_test(test_sighup_and_sigpipe_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
