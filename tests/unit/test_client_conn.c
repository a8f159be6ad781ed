/* SPDX-License-Identifier: MIT */
/* The life of a connection: greeting, waiting, ends, forks, and routers that misbehave. */
#include <bus/request.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_fake.h"

/* ---- greeting ---- */

static void test_hello_and_welcome(void **state)
{
    struct fake *f = *state;

    fake_connect(f);
    assert_int_equal(bus_connection_id(f->conn), 0);
    assert_int_equal(bus_body_max(f->conn), 0);
    fake_welcome(f);
    assert_int_equal(bus_connection_id(f->conn), 7);
    assert_int_equal(bus_body_max(f->conn), f->welcome.inline_max);
    assert_int_equal(f->n_closed, 0);
}

static void test_hello_carries_the_name(void **state)
{
    struct fake *f = *state;
    union wire_any m;

    f->opts.name = NULL;
    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    m = fake_hear(f, VERB_HELLO);
    assert_text(m.hello.client_name, program_invocation_short_name);
}

static void test_open_refuses_bad_options(void **state)
{
    struct fake *f = *state;
    struct bus_conn *c = NULL;
    struct bus_opts opts = f->opts;
    char name[BUS_NAME_MAX + 2];

    opts.size = 4;
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    opts.flags = 4;
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    opts.backlog_bytes_max = 1; /* only with BUS_OPEN_RECONNECT */
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    opts.reconnect_timeout_ms = 1;
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    opts.name = "a\nb";
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    opts.spin_us = SPIN_US_MAX + 1;
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    opts = f->opts;
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    opts.name = name;
    assert_int_equal(bus_open(f->address, &opts, &c), -EINVAL);
    assert_int_equal(bus_open("", &f->opts, &c), -EINVAL);
    assert_null(c);
}

static void test_open_without_a_router(void **state)
{
    struct fake *f = *state;
    struct bus_conn *c = NULL;
    char address[160];

    (void) snprintf(address, sizeof(address), "%s-not-there", f->address);
    assert_int_equal(bus_open(address, &f->opts, &c), -ENOENT);
    (void) close(f->listen_fd);
    assert_int_equal(bus_open(f->address, &f->opts, &c), -ECONNREFUSED);
    f->listen_fd = sock_new(SOCK_STREAM);
    assert_null(c);
}

/* The other end of bus_open() that waits is a child process that says the given bytes. */
static int open_answered_with(struct fake *f, const void *bytes, size_t n)
{
    struct bus_conn *c = NULL;
    pid_t child = fork();
    int r;

    assert_true(child >= 0);
    if (child == 0) {
        int fd = -1;

        while (fd < 0) {
            fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        }
        (void) recv(fd, f->in, FAKE_IN_BYTES, 0);
        (void) send(fd, bytes, n, MSG_NOSIGNAL);
        _exit(0);
    }
    f->opts.flags = 0;
    r = bus_open(f->address, &f->opts, &c);
    assert_int_equal(f->n_closed, 0);
    bus_close(c);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return r;
}

static void test_open_waits_for_welcome(void **state)
{
    struct fake *f = *state;

    fake_say(f, VERB_WELCOME, &f->welcome);
    assert_int_equal(open_answered_with(f, f->out, f->out_len), 0);
}

static void test_open_refused(void **state)
{
    struct fake *f = *state;
    struct wire_goodbye m = {BUS_GOODBYE_LIMIT, {"full", 4}};

    fake_say(f, VERB_GOODBYE, &m);
    assert_int_equal(open_answered_with(f, f->out, f->out_len), -EUSERS);
    m.reason = BUS_GOODBYE_VERSION;
    f->out_len = 0;
    fake_say(f, VERB_GOODBYE, &m);
    assert_int_equal(open_answered_with(f, f->out, f->out_len), -EPROTO);
}

static void test_open_of_something_else(void **state)
{
    assert_int_equal(open_answered_with(*state, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), -EPROTO);
}

static void test_open_times_out(void **state)
{
    struct fake *f = *state;
    struct bus_conn *c = NULL;

    f->opts.flags = 0;
    f->opts.timeout_ms = 1;
    assert_int_equal(bus_open(f->address, &f->opts, &c), -ETIMEDOUT);
    assert_null(c);
}

static void test_open_with_a_full_backlog_times_out(void **state)
{
    struct fake *f = *state;
    struct bus_conn *conns[64] = {0};
    int r = 0;
    int n = 0;

    f->opts.timeout_ms = 5;
    assert_int_equal(listen(f->listen_fd, 0), 0);
    for (; n < 64 && r == 0; n++) {
        r = bus_open(f->address, &f->opts, &conns[n]);
    }
    assert_int_equal(r, -ETIMEDOUT);
    while (n-- > 0) {
        bus_close(conns[n]);
    }
}

static void test_nowait_deadline_passes(void **state)
{
    struct fake *f = *state;

    f->opts.timeout_ms = 1;
    fake_connect(f);
    assert_int_equal(bus_fd(f->conn), f->conn->epoll_fd);
    struct pollfd p = {bus_fd(f->conn), POLLIN, 0};

    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->goodbye, BUS_GOODBYE_NONE);
}

static void test_second_welcome_is_a_violation(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    fake_say(f, VERB_WELCOME, &f->welcome);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

/* ---- ends ---- */

static void test_goodbye_and_end_of_file(void **state)
{
    struct fake *f = *state;
    struct wire_goodbye m = {BUS_GOODBYE_SHUTDOWN, {"stopping", 8}};

    fake_start(f);
    fake_say(f, VERB_GOODBYE, &m);
    assert_int_equal(fake_settle(f), -ENOTCONN); /* it does not wait for the end of file */
    assert_int_equal(f->n_closed, 1);
    fake_hang_up(f);
    assert_int_equal(f->goodbye, BUS_GOODBYE_SHUTDOWN);
    assert_string_equal(f->text, "stopping");
    assert_int_equal(bus_process(f->conn), -ENOTCONN);
    assert_int_equal(bus_run(f->conn), -ENOTCONN);
    assert_int_equal(bus_flush(f->conn, 0), -ENOTCONN);
    assert_int_equal(bus_wait(f->conn, 0), -ENOTCONN);
    assert_int_equal(bus_wait_writable(f->conn, 0), -ENOTCONN);
    assert_int_equal(bus_publish(f->conn, "a", "", 0), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
}

static void test_hang_up_without_a_word(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    fake_hang_up(f);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_NONE);
}

/* A router that closes with unread input resets the connection: its last words count all the same.
 */
static void test_last_words_survive_a_reset(void **state)
{
    struct fake *f = *state;
    struct wire_goodbye m = {BUS_GOODBYE_SLOW_CONSUMER, {"slow", 4}};

    fake_start(f);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    fake_say(f, VERB_GOODBYE, &m);
    fake_send(f);
    fake_hang_up(f);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_SLOW_CONSUMER);
}

static void test_last_words_survive_a_failed_send(void **state)
{
    struct fake *f = *state;
    struct wire_goodbye m = {BUS_GOODBYE_SHUTDOWN, {"bye", 3}};

    fake_start(f);
    fake_say(f, VERB_GOODBYE, &m);
    fake_send(f);
    fake_hang_up(f);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), -ENOTCONN);
    assert_int_equal(f->n_closed, 0);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->goodbye, BUS_GOODBYE_SHUTDOWN);
    assert_int_equal(f->n_closed, 1);
}

static void test_close_says_goodbye(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    bus_cork(f->conn);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    bus_close(f->conn);
    f->conn = NULL;
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_PUBLISH);
    assert_int_equal(fake_hear(f, VERB_GOODBYE).goodbye.reason, BUS_GOODBYE_NORMAL);
    fake_hear_nothing(f);
}

static void close_in_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                            void *userdata)
{
    struct fake *f = userdata;

    (void) reason;
    (void) text;
    f->n_closed++;
    bus_close(conn);
    f->conn = NULL;
}

static void test_close_in_on_closed(void **state)
{
    struct fake *f = *state;

    f->opts.on_closed = close_in_closed;
    fake_start(f);
    fake_hang_up(f);
    assert_int_equal(bus_run(f->conn), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
}

/* ---- waiting ---- */

static void test_ping_is_answered(void **state)
{
    struct fake *f = *state;
    struct wire_ping m = {99};

    fake_start(f);
    fake_say(f, VERB_PING, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(fake_hear(f, VERB_PONG).pong.token, 99);
}

static void test_flush_waits_for_the_answer(void **state)
{
    struct fake *f = *state;
    struct wire_pong m = {1};

    fake_start(f);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    assert_int_equal(fake_hear(f, VERB_PING).ping.token, 1);
    fake_say(f, VERB_PONG, &m);
    m.token = 2;
    fake_say(f, VERB_PONG, &m);
    fake_send(f); /* so that the answer to the second is there when it is asked: one thread */
    assert_int_equal(bus_flush(f->conn, 1000), 0);
    assert_int_equal(fake_hear(f, VERB_PING).ping.token, 2);
}

static void test_flush_sends_what_a_cork_holds(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    bus_cork(f->conn);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_PUBLISH);
    (void) fake_hear(f, VERB_PING);
    assert_int_equal(bus_uncork(f->conn), 0);
    assert_int_equal(bus_uncork(f->conn), -EINVAL);
}

static void test_stop_before_run(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    bus_stop(f->conn);
    assert_int_equal(bus_run(f->conn), 0);
}

static void test_wait_and_fd_agree(void **state)
{
    struct fake *f = *state;
    struct pollfd p;

    fake_start(f);
    p = (struct pollfd){bus_fd(f->conn), POLLIN, 0};
    assert_int_equal(bus_wait(f->conn, 0), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    fake_bind(f, 1, "a");
    fake_send(f);
    assert_int_equal(bus_wait(f->conn, 0), 1);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_wait(f->conn, 0), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    fake_hang_up(f);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(poll(&p, 1, 0), 0);
}

static void on_alarm(int signal)
{
    (void) signal;
}

static void test_a_signal_interrupts_waiting(void **state)
{
    struct fake *f = *state;
    struct sigaction action = {.sa_handler = on_alarm};
    struct timeval soon = {0, 5000};
    struct itimerval timer = {soon, soon}; /* again and again: it may come before the wait */
    struct itimerval off = {0};

    fake_start(f);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
    assert_int_equal(bus_wait(f->conn, -1), -EINTR);
    assert_int_equal(bus_run(f->conn), -EINTR);
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
}

/* It looks before it sleeps: what comes then must not be forgotten by the time it sleeps. */
static void test_a_signal_while_it_looks_interrupts_waiting(void **state)
{
    struct fake *f = *state;
    struct sigaction action = {.sa_handler = on_alarm};
    unsigned n_forgotten = 0;

    fake_start(f);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    for (suseconds_t i = 0; i < 50; i++) {
        struct itimerval once = {.it_value = {0, 20 + 5 * i}}; /* less than the longest look */

        assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
        n_forgotten += bus_wait(f->conn, 100) != -EINTR;
    }
    assert_in_range(n_forgotten, 0, 15); /* those that came before the wait */
}

/* On its way to a wait there may be frames for others; each of these is one step. */
static void fake_say_credit(struct fake *f)
{
    struct wire_publish_credit credit = {1000, 1};

    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    fake_send(f);
}

static volatile sig_atomic_t was_late;

static void on_late(int signal)
{
    was_late = signal;
}

/* The kernel signals during the system call that sends: nothing is sooner. */
static void expect_interrupts(struct fake *f)
{
    struct bus_answer answer;

    (void) alarm(5);
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    fake_say_credit(f);
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_request_wait(f->conn, "a", "x", 1, NULL, &answer), -EINTR);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0); /* heard before the wait */
    bus_cork(f->conn);
    assert_int_equal(bus_publish(f->conn, "a", "x", 1), 0);
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    assert_int_equal(bus_uncork(f->conn), 0);
    assert_int_equal(alarm(0) > 0 && !was_late, 1);
}

static void start_with_signals(struct fake *f)
{
    struct sigaction action = {.sa_handler = on_alarm}, late = {.sa_handler = on_late};

    fake_start(f);
    assert_int_equal(sigaction(SIGIO, &action, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &late, NULL), 0);
    assert_int_equal(fcntl(f->fd, F_SETOWN, getpid()), 0);
    assert_int_equal(fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) | O_ASYNC), 0);
}

static void test_a_signal_that_answers_what_was_sent_interrupts_waiting(void **state)
{
    struct fake *f = *state;

    start_with_signals(f);
    expect_interrupts(f);
    f->conn->spin.max_ns = 0;
    expect_interrupts(f);
}

/* Then it is not the sleep that it ends. */
static void test_a_signal_interrupts_waiting_though_there_is_input(void **state)
{
    struct fake *f = *state;

    start_with_signals(f);
    for (unsigned i = 1; i <= 2; i++) {
        fake_say_status(f, BUS_STATUS_NO_MEMORY, VERB_ADVERTISE, 0, 0, i);
        fake_send(f);
        (void) alarm(5);
        assert_int_equal(bus_flush(f->conn, -1), -EINTR);
        assert_int_equal(f->n_status, i);
        assert_int_equal(alarm(0) > 0 && !was_late, 1);
        f->conn->spin.max_ns = 0;
    }
}

/* No signal comes while this waits. */
static void flush_inside(struct bus_conn *conn, const struct bus_status_event *event,
                         void *userdata)
{
    struct fake *f = userdata;

    (void) event;
    assert_int_equal(fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) & ~O_ASYNC), 0);
    fake_say_credit(f);
    assert_int_equal(bus_flush(conn, 0), -ETIMEDOUT);
    f->n_status++;
}

static void test_a_signal_interrupts_the_wait_in_which_it_came(void **state)
{
    struct fake *f = *state;

    f->opts.on_status = flush_inside;
    start_with_signals(f);
    fake_say_status(f, BUS_STATUS_NO_MEMORY, VERB_ADVERTISE, 0, 0, 1);
    fake_send(f);
    (void) alarm(5);
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(alarm(0) > 0 && !was_late, 1);
}

/* As long as there is always something to be read, it does not sleep. */
static void test_a_signal_does_not_wait_for_the_end_of_the_input(void **state)
{
    struct fake *f = *state;
    struct pollfd p;

    start_with_signals(f);
    for (unsigned i = 0; i < 20; i++) {
        fake_say_credit(f);
    }
    assert_int_equal(bus_flush(f->conn, -1), -EINTR);
    p = (struct pollfd){f->conn->fd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 0), f->seqpacket); /* a stream is read at once */
    assert_int_equal(fake_settle(f), 0);
}

static void stop_with_signals(struct bus_conn *conn, const struct bus_status_event *event,
                              void *userdata)
{
    struct fake *f = userdata;
    sigset_t now;

    (void) event;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    assert_int_equal(sigismember(&now, SIGUSR1), 1);
    assert_int_equal(sigismember(&now, SIGINT), 0);
    f->n_status++;
    bus_stop(conn);
}

/* Callbacks and callers find the signals that they have blocked, and no others. */
static void test_signals_are_held_for_nobody_else(void **state)
{
    struct fake *f = *state;
    sigset_t before, usr1;

    f->opts.on_status = stop_with_signals;
    fake_start(f);
    (void) sigemptyset(&usr1);
    (void) sigaddset(&usr1, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &usr1, &before), 0);
    for (unsigned i = 1; i <= 3; i++) {
        fake_say_status(f, BUS_STATUS_NO_MEMORY, VERB_ADVERTISE, 0, 0, i);
        fake_send(f);
        assert_int_equal(bus_run(f->conn), 0);
        assert_int_equal(f->n_status, i);
        assert_int_equal(bus_wait(f->conn, 0), 0);
        assert_int_equal(bus_flush(f->conn, 0), -ETIMEDOUT);
        bus_stop(f->conn);
        assert_int_equal(bus_run(f->conn), 0); /* without waiting */
        stop_with_signals(f->conn, NULL, f);
        f->n_status--;
        assert_int_equal(bus_run(f->conn), 0);
        f->conn->spin.max_ns = 0;
    }
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

/* ---- fork ---- */

static int child_of(struct fake *f, struct bus_topic *t, struct bus_sub *sub)
{
    struct bus_sub *other = NULL;
    struct bus_topic *topic = NULL;
    bool ok =
        bus_publish(f->conn, "a", "x", 1) == -ECHILD &&
        bus_publish(f->conn, "new", "x", 1) == -ECHILD &&
        bus_topic_publish(t, "x", 1, NULL) == -ECHILD && bus_process(f->conn) == -ECHILD &&
        bus_run(f->conn) == -ECHILD && bus_flush(f->conn, 0) == -ECHILD &&
        bus_wait(f->conn, 0) == -ECHILD && bus_fd(f->conn) == -ECHILD &&
        bus_uncork(f->conn) == -ECHILD && bus_advertise(f->conn, "b", &topic) == -ECHILD &&
        bus_wait_writable(f->conn, 0) == -ECHILD &&
        bus_subscribe(f->conn, "b", NULL, (bus_message_fn) (void *) abort, NULL, &other) == -ECHILD;

    bus_sub_unref(sub);
    bus_topic_unref(t);
    bus_close(f->conn);
    return ok ? 0 : 1;
}

static void never(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) message;
    (void) userdata;
    fail();
}

static void fork_and_check(struct fake *f)
{
    struct bus_topic *t;
    struct bus_sub *sub;
    pid_t child;
    int status;

    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    assert_int_equal(bus_subscribe(f->conn, "s", NULL, never, NULL, &sub), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(child_of(f, t, sub));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    (void) fake_hear(f, VERB_PUBLISH);
    assert_int_equal(bus_process(f->conn), 0);
}

static void test_a_child_process_is_refused(void **state)
{
    struct fake *f = *state;

    fake_start(f);
    fork_and_check(f);
}

static void test_a_child_process_is_refused_on_old_kernels(void **state)
{
    struct fake *f = *state;
    static const uint8_t unknown = 0;
    uint8_t *page;

    fake_start(f);
    page = f->conn->fork_page;
    f->conn->fork_page = NULL;
    f->conn->fork_mark = &unknown;
    fork_and_check(f);
    f->conn->fork_mark = f->conn->fork_page = page;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_hello_and_welcome),
        ON_BOTH_LINKS(test_hello_carries_the_name),
        ON_BOTH_LINKS(test_open_refuses_bad_options),
        ON_BOTH_LINKS(test_open_without_a_router),
        ON_BOTH_LINKS(test_open_waits_for_welcome),
        ON_BOTH_LINKS(test_open_refused),
        ON_BOTH_LINKS(test_open_of_something_else),
        ON_BOTH_LINKS(test_open_times_out),
        ON_BOTH_LINKS(test_open_with_a_full_backlog_times_out),
        ON_BOTH_LINKS(test_nowait_deadline_passes),
        ON_BOTH_LINKS(test_second_welcome_is_a_violation),
        ON_BOTH_LINKS(test_goodbye_and_end_of_file),
        ON_BOTH_LINKS(test_hang_up_without_a_word),
        ON_BOTH_LINKS(test_last_words_survive_a_reset),
        ON_BOTH_LINKS(test_last_words_survive_a_failed_send),
        ON_BOTH_LINKS(test_close_says_goodbye),
        ON_BOTH_LINKS(test_close_in_on_closed),
        ON_BOTH_LINKS(test_ping_is_answered),
        ON_BOTH_LINKS(test_flush_waits_for_the_answer),
        ON_BOTH_LINKS(test_flush_sends_what_a_cork_holds),
        ON_BOTH_LINKS(test_stop_before_run),
        ON_BOTH_LINKS(test_wait_and_fd_agree),
        ON_BOTH_LINKS(test_a_signal_interrupts_waiting),
        ON_BOTH_LINKS(test_a_signal_while_it_looks_interrupts_waiting),
        ON_BOTH_LINKS(test_a_signal_that_answers_what_was_sent_interrupts_waiting),
        ON_BOTH_LINKS(test_a_signal_interrupts_waiting_though_there_is_input),
        ON_BOTH_LINKS(test_a_signal_interrupts_the_wait_in_which_it_came),
        ON_BOTH_LINKS(test_a_signal_does_not_wait_for_the_end_of_the_input),
        ON_BOTH_LINKS(test_signals_are_held_for_nobody_else),
        ON_BOTH_LINKS(test_a_child_process_is_refused),
        ON_BOTH_LINKS(test_a_child_process_is_refused_on_old_kernels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
