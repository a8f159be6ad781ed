/* SPDX-License-Identifier: MIT */
/* What a service manager learns from a router, with a socket that stands for the manager's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "support/router_fixture.h"
#include "support/unit.h"

/* A machine that is busy takes its time. */
#define PATIENCE_MS 60000

struct manager {
    char dir[64], path[96], variable[128];
    int fd;
    char text[1024]; /* the last notice */
};

static void manager_open(struct manager *m)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    fixture_dir_new(m->dir);
    (void) snprintf(m->path, sizeof(m->path), "%s/notify", m->dir);
    (void) snprintf(m->variable, sizeof(m->variable), "NOTIFY_SOCKET=%s", m->path);
    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", m->path);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(m->fd >= 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *) &sun, sizeof(sun)), 0);
}

static void manager_close(struct manager *m)
{
    (void) close(m->fd);
    fixture_dir_remove(m->dir);
}

/* Waits for the next notice; false if none comes in time. */
static bool manager_next(struct manager *m, int timeout_ms)
{
    struct pollfd p = {.fd = m->fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, timeout_ms) != 1) {
        return false;
    }
    n = recv(m->fd, m->text, sizeof(m->text) - 1, 0);
    assert_true(n > 0);
    m->text[n] = '\0';
    return true;
}

/* Whether the last notice has that line, or a line that begins so. */
static bool has_line(const struct manager *m, const char *begin)
{
    for (const char *at = m->text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, begin, strlen(begin)) == 0) {
            return true;
        }
    }
    return false;
}

/* Waits for a notice with that line, and passes over others. */
static void manager_expect(struct manager *m, const char *begin)
{
    do {
        if (!manager_next(m, PATIENCE_MS)) {
            fail_msg("no notice of %s", begin);
        }
    } while (!has_line(m, begin));
}

static uint64_t value_of(const struct manager *m, const char *key)
{
    const char *at = strstr(m->text, key);

    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static void test_it_says_ready_how_it_does_and_that_it_stops(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    assert_true(manager_next(&m, PATIENCE_MS));
    assert_string_equal(m.text, "READY=1\nSTATUS=0 clients, 0 messages/s");
    router_stop(&f);
    manager_expect(&m, "STOPPING=1");
    assert_true(has_line(&m, "EXTEND_TIMEOUT_USEC=30000000"));
    assert_true(has_line(&m, "STATUS=stopping: clients 0, messages that wait 0"));
    manager_close(&m);
}

static void test_ready_comes_when_clients_can_connect(void **state)
{
    struct manager m;
    char listen[128], address[112];
    const char *const env[] = {m.variable, NULL}, *const args[] = {"--listen", listen, NULL};
    const struct router_options o = {.env = env, .args = args};
    struct router_process p;
    struct raw_client c;

    (void) state;
    manager_open(&m);
    (void) snprintf(address, sizeof(address), "seqpacket:%s/bus.sock", m.dir);
    (void) snprintf(listen, sizeof(listen), "%s", address);
    router_spawn(&p, &o);
    manager_expect(&m, "READY=1");
    raw_greet(&c, address);
    raw_close(&c);
    assert_true(router_is_ready(&p)); /* the other way to say so is still there */
    assert_int_equal(kill(p.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&p), 0);
    router_discard(&p);
    manager_close(&m);
}

static void test_an_abstract_socket_is_told_too(void **state)
{
    struct manager m = {.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    const char *const env[] = {m.variable, NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;
    struct sockaddr_un sun;
    socklen_t len = sizeof(sun);

    (void) state;
    /* the kernel chooses a name */
    assert_int_equal(bind(m.fd, (const struct sockaddr *) &any, sizeof(any.sun_family)), 0);
    assert_int_equal(getsockname(m.fd, (struct sockaddr *) &sun, &len), 0);
    (void) snprintf(m.variable, sizeof(m.variable), "NOTIFY_SOCKET=@%.*s",
                    (int) (len - offsetof(struct sockaddr_un, sun_path) - 1), sun.sun_path + 1);
    router_start(&f, &o);
    manager_expect(&m, "READY=1");
    router_stop(&f);
    (void) close(m.fd);
}

/* Type=notify-reload: the manager compares the time with that of its signal. */
static void test_a_reload_is_told_with_its_time_and_its_end(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;
    uint64_t before_us;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    manager_expect(&m, "READY=1");
    for (int i = 0; i < 3; i++) {
        before_us = clock_monotonic_ns() / 1000;
        assert_int_equal(kill(f.process.pid, SIGHUP), 0);
        manager_expect(&m, "RELOADING=1");
        assert_false(has_line(&m, "READY=1"));
        assert_in_range(value_of(&m, "MONOTONIC_USEC="), before_us, clock_monotonic_ns() / 1000);
        manager_expect(&m, "READY=1");
        assert_false(has_line(&m, "RELOADING=1"));
    }
    router_stop(&f);
    manager_close(&m);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* It goes on with what it had, so it is ready; and it says so until a reload succeeds. */
static void test_a_reload_that_fails_is_told_with_the_reason(void **state)
{
    struct manager m;
    char config[128];
    const char *const env[] = {m.variable, NULL}, *const args[] = {"--config", config, NULL};
    const struct router_options o = {.env = env, .args = args};
    struct router_fixture f;

    (void) state;
    manager_open(&m);
    (void) snprintf(config, sizeof(config), "%s/bus.conf", m.dir);
    write_file(config, "log_level = \"info\";\n");
    router_start(&f, &o);
    manager_expect(&m, "READY=1");
    write_file(config, "\nlog_level = \"loud\";\n");
    assert_int_equal(kill(f.process.pid, SIGHUP), 0);
    manager_expect(&m, "RELOADING=1");
    manager_expect(&m, "READY=1");
    assert_non_null(strstr(m.text, "; reload failed: "));
    assert_non_null(strstr(m.text, "bus.conf:2:"));
    write_file(config, "log_level = \"debug\";\n");
    assert_int_equal(kill(f.process.pid, SIGHUP), 0);
    manager_expect(&m, "RELOADING=1");
    manager_expect(&m, "READY=1");
    assert_null(strstr(m.text, "failed"));
    router_stop(&f);
    manager_close(&m);
}

static void test_the_watchdog_is_fed_by_the_loop_alone(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, "WATCHDOG_USEC=100000", NULL};
    const struct router_options o = {.env = env, .watchdog_pid = true};
    struct router_fixture f;
    int status;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    for (int i = 0; i < 5; i++) {
        manager_expect(&m, "WATCHDOG=1");
    }
    assert_int_equal(kill(f.process.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(f.process.pid, &status, WUNTRACED), f.process.pid);
    assert_true(WIFSTOPPED(status));
    while (manager_next(&m, 0)) { /* what it said before */
    }
    assert_false(manager_next(&m, 500));
    assert_int_equal(kill(f.process.pid, SIGCONT), 0);
    for (int i = 0; i < 5; i++) {
        manager_expect(&m, "WATCHDOG=1");
    }
    router_stop(&f);
    manager_close(&m);
}

/* It is another process, perhaps the one that started this one, that is watched. */
static void test_the_watchdog_of_another_process_is_not_fed(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, "WATCHDOG_USEC=100000", "WATCHDOG_PID=1", NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    manager_expect(&m, "READY=1");
    assert_false(manager_next(&m, 500));
    router_stop(&f);
    manager_close(&m);
}

static void fill(const struct manager *m)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", m->path);
    assert_true(fd >= 0);
    while (sendto(fd, "X=1", 3, 0, (struct sockaddr *) &sun, sizeof(sun)) == 3) {
    }
    assert_int_equal(errno, EAGAIN);
    (void) close(fd);
}

/* The router serves meanwhile, and READY is not lost. */
static void test_a_manager_that_does_not_read_is_told_later(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    manager_open(&m);
    fill(&m);
    router_start(&f, &o);
    raw_greet(&c, f.stream);
    assert_int_equal(kill(f.process.pid, SIGHUP), 0);
    raw_round_trip(&c, 1);
    raw_close(&c);
    manager_expect(&m, "READY=1");
    manager_expect(&m, "RELOADING=1");
    manager_expect(&m, "READY=1");
    router_stop(&f);
    manager_close(&m);
}

static void test_a_manager_that_is_gone_stops_nothing(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, "WATCHDOG_USEC=20000", NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    manager_expect(&m, "WATCHDOG=1");
    manager_close(&m);
    assert_int_equal(kill(f.process.pid, SIGHUP), 0);
    for (int i = 0; i < 100; i++) {
        raw_greet(&c, f.seqpacket);
        raw_close(&c);
    }
    router_stop(&f);
}

/* ---- replacing ---- */

static void test_who_replaces_it_is_the_main_process_then(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, NULL};
    const struct router_options o = {.env = env};
    struct router_fixture f;

    (void) state;
    manager_open(&m);
    router_start(&f, &o);
    manager_expect(&m, "READY=1");
    for (int i = 0; i < 2; i++) {
        pid_t old = f.process.pid;
        int said_by_new = 0;

        router_replace(&f, &o); /* waits for the end of the old one */
        assert_int_not_equal(f.process.pid, old);
        /* both say so, so that it is known before the old one is gone */
        for (int n = 0; n < 2; n++) {
            manager_expect(&m, "MAINPID=");
            assert_int_equal(value_of(&m, "MAINPID="), f.process.pid);
            said_by_new += has_line(&m, "READY=1");
        }
        assert_int_equal(said_by_new, 1);
    }
    router_stop(&f);
    manager_close(&m);
}

/* The one that the router starts itself has its environment, and feeds its watchdog. */
static void test_a_successor_feeds_the_watchdog(void **state)
{
    struct manager m;
    const char *const env[] = {m.variable, "WATCHDOG_USEC=100000", NULL};
    const struct router_options o = {.env = env, .watchdog_pid = true};
    struct router_fixture f;
    pid_t old, successor;

    (void) state;
    /* its child is ours when it has gone */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    manager_open(&m);
    router_start(&f, &o);
    manager_expect(&m, "WATCHDOG=1");
    old = f.process.pid;
    assert_int_equal(kill(old, SIGUSR2), 0);
    manager_expect(&m, "MAINPID=");
    successor = (pid_t) value_of(&m, "MAINPID=");
    assert_int_not_equal(successor, old);
    assert_int_equal(router_wait(&f.process), 0);
    f.process.pid = successor;
    while (manager_next(&m, 0)) {
    }
    manager_expect(&m, "WATCHDOG=1"); /* nobody else is there to say it */
    router_stop(&f);
    manager_close(&m);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* ---- the journal ---- */

#define JOURNAL "/run/systemd/journal/socket"

struct journal {
    int fd;      /* stands for the journal's */
    int pair[2]; /* a stderr that leads there */
    char stream[80];
};

/* In a /run of this test's own: the path of the journal is no matter of choice. */
static bool journal_open(struct journal *j)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = JOURNAL};
    struct stat st;

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0) {
        print_message("NOT RUN: it needs root and mount namespaces: %s\n", strerror(errno));
        return false;
    }
    assert_int_equal(mkdir("/run/systemd", 0755), 0);
    assert_int_equal(mkdir("/run/systemd/journal", 0755), 0);
    j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(j->fd >= 0);
    assert_int_equal(bind(j->fd, (struct sockaddr *) &sun, sizeof(sun)), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, j->pair), 0);
    assert_int_equal(fstat(j->pair[1], &st), 0);
    (void) snprintf(j->stream, sizeof(j->stream), "JOURNAL_STREAM=%llu:%llu",
                    (unsigned long long) st.st_dev, (unsigned long long) st.st_ino);
    return true;
}

/* Waits until it has got that. */
static void expect_received(int fd, const char *needle)
{
    char buf[65536];
    ssize_t n;

    do {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, PATIENCE_MS) != 1) {
            fail_msg("no %s", needle);
        }
        n = recv(fd, buf, sizeof(buf) - 1, 0);
        assert_true(n > 0);
        buf[n] = '\0';
    } while (!strstr(buf, needle));
}

static void test_the_log_goes_to_the_journal_and_past_a_dead_one(void **state)
{
    struct journal j;
    const char *const env[] = {j.stream, NULL}, *const args[] = {"--log-level", "debug", NULL};
    struct router_options o = {.env = env, .args = args};
    struct router_fixture f;
    struct raw_client c;

    (void) state;
    if (!journal_open(&j)) {
        skip();
    }
    o.stderr_fd = j.pair[1];
    router_start(&f, &o);
    expect_received(j.fd, "BUS_EVENT=router.started\nBUS_PID=");
    raw_greet(&c, f.seqpacket);
    expect_received(j.fd, "\nBUS_EVENT=client.connected\n");
    (void) close(j.fd);
    raw_close(&c);
    expect_received(j.pair[0], ">client.closed ");
    assert_int_equal(unlink(JOURNAL), 0);
    (void) close(j.pair[0]);
    (void) close(j.pair[1]);
    for (int i = 0; i < 100; i++) {
        raw_greet(&c, i % 2 ? f.stream : f.seqpacket);
        raw_close(&c);
    }
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_ready_how_it_does_and_that_it_stops),
        cmocka_unit_test(test_ready_comes_when_clients_can_connect),
        cmocka_unit_test(test_an_abstract_socket_is_told_too),
        cmocka_unit_test(test_a_reload_is_told_with_its_time_and_its_end),
        cmocka_unit_test(test_a_reload_that_fails_is_told_with_the_reason),
        cmocka_unit_test(test_the_watchdog_is_fed_by_the_loop_alone),
        cmocka_unit_test(test_the_watchdog_of_another_process_is_not_fed),
        cmocka_unit_test(test_a_manager_that_does_not_read_is_told_later),
        cmocka_unit_test(test_a_manager_that_is_gone_stops_nothing),
        cmocka_unit_test(test_who_replaces_it_is_the_main_process_then),
        cmocka_unit_test(test_a_successor_feeds_the_watchdog),
        cmocka_unit_test(test_the_log_goes_to_the_journal_and_past_a_dead_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
