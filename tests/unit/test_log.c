/* SPDX-License-Identifier: MIT */
/* The log: lines for people, entries for a journal, and sinks that take nothing. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "journal.h"
#include "log.h"
#include "support/unit.h"

/* A journal: its socket, and a stderr that leads to it as that of a service does. */
struct world {
    char dir[64], path[96], stream[64];
    int journal;      /* -1: nobody is there */
    int mine, theirs; /* the stream */
};

static void journal_bind(struct world *w)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", w->path);
    w->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(w->journal >= 0);
    assert_int_equal(bind(w->journal, (struct sockaddr *) &sun, sizeof(sun)), 0);
}

static void world_open(struct world *w)
{
    struct stat st;
    int pair[2];

    (void) snprintf(w->dir, sizeof(w->dir), "/tmp/bus-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void) snprintf(w->path, sizeof(w->path), "%s/socket", w->dir);
    journal_bind(w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    w->mine = pair[0];
    w->theirs = pair[1];
    assert_int_equal(fcntl(w->theirs, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fstat(w->mine, &st), 0);
    (void) snprintf(w->stream, sizeof(w->stream), "%llu:%llu", (unsigned long long) st.st_dev,
                    (unsigned long long) st.st_ino);
    log_open_with(w->mine, LOG_INFO, w->stream, w->path);
}

static void journal_end(struct world *w)
{
    (void) close(w->journal);
    assert_int_equal(unlink(w->path), 0);
    w->journal = -1;
}

static void world_close(struct world *w)
{
    log_close();
    if (w->journal >= 0) {
        journal_end(w);
    }
    (void) close(w->mine);
    (void) close(w->theirs);
    assert_int_equal(rmdir(w->dir), 0);
}

/* The next entry; its length, 0 if there is none. */
static size_t next_entry(const struct world *w, char buf[JOURNAL_ENTRY_BYTES + 1])
{
    ssize_t n = recv(w->journal, buf, JOURNAL_ENTRY_BYTES, 0);

    assert_true(n > 0 || errno == EAGAIN);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t) n : 0;
}

static void expect_entry(const struct world *w, const char *expected)
{
    char buf[JOURNAL_ENTRY_BYTES + 1];

    (void) next_entry(w, buf);
    assert_string_equal(buf, expected);
}

/* What has come through the stream. */
static const char *streamed(const struct world *w)
{
    static char buf[65536];
    ssize_t n = recv(w->theirs, buf, sizeof(buf) - 1, 0);

    assert_true(n >= 0 || errno == EAGAIN);
    buf[n > 0 ? n : 0] = '\0';
    return buf;
}

#define STOPPED(text)                                                                              \
    "MESSAGE=router.stopped clients_total=" text "\nPRIORITY=6\nSYSLOG_IDENTIFIER=bus-router\n"    \
    "BUS_EVENT=router.stopped\nBUS_CLIENTS_TOTAL=" text "\n"

static void say(uint64_t n)
{
    log(LOG_INFO, LOG_ROUTER_STOPPED, log_number("clients_total", n));
}

/* ---- the journal ---- */

static void test_an_entry_has_fields(void **state)
{
    struct world w;

    (void) state;
    world_open(&w);
    log(LOG_WARN, LOG_CLIENT_CLOSED, log_number("uid", 1000), log_text("name", "a b"));
    log(LOG_ERROR, LOG_ROUTER_STARTED, log_text("version", ""));
    expect_entry(&w, "MESSAGE=client.closed uid=1000 name=\"a b\"\nPRIORITY=4\n"
                     "SYSLOG_IDENTIFIER=bus-router\nBUS_EVENT=client.closed\nBUS_UID=1000\n"
                     "BUS_NAME=a b\n");
    expect_entry(&w, "MESSAGE=router.started version=\"\"\nPRIORITY=3\n"
                     "SYSLOG_IDENTIFIER=bus-router\nBUS_EVENT=router.started\nBUS_VERSION=\n");
    expect_entry(&w, "");
    assert_string_equal(streamed(&w), "");
    world_close(&w);
}

/* Whoever chooses a value cannot choose fields. */
static void test_newlines_make_no_fields(void **state)
{
    static const char evil[] = "x\nPRIORITY=0\nMESSAGE=y";
    char buf[JOURNAL_ENTRY_BYTES + 1], *at;
    struct world w;
    size_t n;

    (void) state;
    world_open(&w);
    log(LOG_INFO, LOG_CLIENT_CLOSED, log_text("name", evil));
    n = next_entry(&w, buf);
    assert_non_null(strstr(buf, "MESSAGE=client.closed name=\"x\\x0aPRIORITY=0"));
    at = strstr(buf, "\nBUS_NAME\n");
    assert_non_null(at);
    at += strlen("\nBUS_NAME\n");
    /* the length, little-endian */
    assert_memory_equal(at, "\x16\0\0\0\0\0\0\0", 8);
    assert_memory_equal(at + 8, evil, sizeof(evil) - 1);
    assert_int_equal(at[8 + sizeof(evil) - 1], '\n');
    assert_int_equal((size_t) (at + 8 + sizeof(evil) - buf), n);
    world_close(&w);
}

static void test_an_entry_is_bounded(void **state)
{
    static char value[20000];
    char buf[JOURNAL_ENTRY_BYTES + 1];
    struct world w;
    size_t n;

    (void) state;
    memset(value, 'v', sizeof(value) - 1);
    world_open(&w);
    log(LOG_INFO, LOG_CLIENT_CLOSED, log_text("a", value), log_text("b", value),
        log_text("c", value), log_text("d", value), log_text("e", value), log_text("f", value),
        log_text("g", value), log_text("h", value), log_number("last", 1));
    n = next_entry(&w, buf);
    assert_in_range(n, 6 * JOURNAL_VALUE_BYTES, JOURNAL_ENTRY_BYTES);
    assert_int_equal(buf[n - 1], '\n');
    assert_non_null(strstr(buf, "\nBUS_A=vvvv"));
    assert_null(strstr(buf, "\nBUS_H=")); /* no room */
    assert_non_null(strstr(buf, "\nBUS_LAST=1\n"));
    world_close(&w);
}

static void test_another_descriptor_gets_lines(void **state)
{
    static const char *const streams[] = {NULL, "", "1:2", "x", "1", ":"};
    char longer[80];
    struct world w;

    (void) state;
    world_open(&w);
    for (size_t i = 0; i <= ARRAY_LEN(streams); i++) {
        (void) snprintf(longer, sizeof(longer), "%s0 ", w.stream);
        log_close();
        log_open_with(w.mine, LOG_INFO, i < ARRAY_LEN(streams) ? streams[i] : longer, w.path);
        say(7);
        assert_non_null(strstr(streamed(&w), "Z info router.stopped clients_total=7\n"));
        expect_entry(&w, "");
    }
    world_close(&w);
}

/* ---- a journal that takes nothing ---- */

static void test_without_a_journal_lines_go_to_the_stream(void **state)
{
    struct world w;

    (void) state;
    world_open(&w);
    (void) close(w.journal);
    say(1); /* its name is there still */
    assert_string_equal(streamed(&w), "<6>router.stopped clients_total=1\n");
    assert_int_equal(unlink(w.path), 0);
    log(LOG_ERROR, LOG_ROUTER_STOPPED, log_number("clients_total", 2));
    assert_string_equal(streamed(&w), "<3>router.stopped clients_total=2\n");
    assert_false(log_is_behind()); /* nothing is lost */
    journal_bind(&w);
    say(3);
    expect_entry(&w, STOPPED("3"));
    assert_string_equal(streamed(&w), "");
    world_close(&w);
}

static unsigned fill_journal(const struct world *w)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unsigned n = 0;

    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", w->path);
    assert_true(fd >= 0);
    while (sendto(fd, "MESSAGE=x\n", 10, 0, (struct sockaddr *) &sun, sizeof(sun)) == 10) {
        n++;
    }
    assert_int_equal(errno, EAGAIN);
    (void) close(fd);
    return n;
}

static void test_beside_a_full_journal_lines_go_to_the_stream(void **state)
{
    char buf[JOURNAL_ENTRY_BYTES + 1];
    struct world w;
    unsigned n;

    (void) state;
    world_open(&w);
    n = fill_journal(&w);
    say(1);
    assert_string_equal(streamed(&w), "<6>router.stopped clients_total=1\n");
    while (n-- > 0) {
        assert_true(next_entry(&w, buf) > 0);
    }
    say(2);
    expect_entry(&w, STOPPED("2"));
    world_close(&w);
}

/* Neither the journal nor the stream: it is counted, and said when there is one again. */
static void test_what_nobody_takes_is_counted_and_said_later(void **state)
{
    struct world w;

    (void) state;
    world_open(&w);
    journal_end(&w);
    (void) shutdown(w.theirs, SHUT_RDWR);
    for (unsigned i = 0; i < 5; i++) {
        say(i);
    }
    assert_true(log_is_behind());
    log_catch_up(); /* nor is that taken */
    assert_true(log_is_behind());
    journal_bind(&w);
    log_catch_up();
    assert_false(log_is_behind());
    expect_entry(&w, "MESSAGE=log.dropped lines=5\nPRIORITY=4\nSYSLOG_IDENTIFIER=bus-router\n"
                     "BUS_EVENT=log.dropped\nBUS_LINES=5\n");
    say(9);
    expect_entry(&w, STOPPED("9"));
    world_close(&w);
}

/* It is a blocking socket, and does not block. */
static void test_a_stream_that_nobody_reads_does_not_block(void **state)
{
    struct world w;

    (void) state;
    world_open(&w);
    journal_end(&w);
    for (unsigned i = 0; !log_is_behind(); i++) {
        say(i);
        assert_true(i < 1000000);
    }
    for (unsigned i = 0; i < 100; i++) {
        say(i);
    }
    while (*streamed(&w)) {
    }
    say(7);
    assert_non_null(strstr(streamed(&w), "<4>log.dropped lines="));
    world_close(&w);
}

/* ---- other sinks ---- */

static void test_a_pipe_without_a_reader_stops_nothing(void **state)
{
    char buf[4096];
    int pipes[2];

    (void) state;
    (void) signal(SIGPIPE, SIG_IGN); /* as the router does */
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    log_open_with(pipes[1], LOG_INFO, NULL, "");
    say(1);
    assert_in_range(read(pipes[0], buf, sizeof(buf)), 1, 200);
    (void) close(pipes[0]);
    for (unsigned i = 0; i < 100; i++) {
        say(i);
    }
    assert_true(log_is_behind());
    log_catch_up();
    assert_true(log_is_behind());
    log_close();
    (void) close(pipes[1]);
}

static void test_a_full_pipe_is_not_waited_for(void **state)
{
    static char buf[1 << 20];
    int pipes[2];

    (void) state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    log_open_with(pipes[1], LOG_INFO, NULL, "");
    for (unsigned i = 0; !log_is_behind(); i++) {
        say(i);
        assert_true(i < 1000000);
    }
    say(1);
    assert_true(read(pipes[0], buf, sizeof(buf)) > 0);
    say(2);
    assert_in_range(read(pipes[0], buf, sizeof(buf) - 1), 1, sizeof(buf) - 1);
    assert_non_null(strstr(buf, "log.dropped lines=2\n"));
    assert_non_null(strstr(buf, "router.stopped clients_total=2\n"));
    log_close();
    (void) close(pipes[0]);
    (void) close(pipes[1]);
}

static void test_a_full_disk_stops_nothing(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void) state;
    assert_true(fd >= 0);
    log_open_with(fd, LOG_INFO, NULL, "");
    say(1);
    say(2);
    assert_true(log_is_behind());
    log_close();
    (void) close(fd);
}

static void test_nowhere_is_nothing(void **state)
{
    (void) state;
    log_open_with(-1, LOG_DEBUG, "1:1", "/nowhere");
    assert_false(log_enabled(LOG_ERROR));
    say(1);
    assert_false(log_is_behind());
    log_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_entry_has_fields),
        cmocka_unit_test(test_newlines_make_no_fields),
        cmocka_unit_test(test_an_entry_is_bounded),
        cmocka_unit_test(test_another_descriptor_gets_lines),
        cmocka_unit_test(test_without_a_journal_lines_go_to_the_stream),
        cmocka_unit_test(test_beside_a_full_journal_lines_go_to_the_stream),
        cmocka_unit_test(test_what_nobody_takes_is_counted_and_said_later),
        cmocka_unit_test(test_a_stream_that_nobody_reads_does_not_block),
        cmocka_unit_test(test_a_pipe_without_a_reader_stops_nothing),
        cmocka_unit_test(test_a_full_pipe_is_not_waited_for),
        cmocka_unit_test(test_a_full_disk_stops_nothing),
        cmocka_unit_test(test_nowhere_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
