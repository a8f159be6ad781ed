/* SPDX-License-Identifier: MIT */
/* The life of a connection after bus_open(): steps, waiting, the end. Every call that runs
 * callbacks pins the connection, so that a bus_close() inside leaves the memory to the outermost of
 * them. */

#include "client/conn.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "client/handlers.h"
#include "client/session.h"
#include "wire/topic.h"

bool bus__forked_slow(const struct bus_conn *c)
{
    return c->fork_page || getpid() != c->pid;
}

int bus__usable(const struct bus_conn *c)
{
    if (bus__forked(c)) {
        return -ECHILD;
    }
    return bus__is_over(c) || (c->out_dead && !c->away) ? -ENOTCONN : 0;
}

int bus__connected(const struct bus_conn *c)
{
    int r = bus__usable(c);

    return r == 0 && c->away ? -ENOTCONN : r;
}

/* ---- the end ---- */

void bus__fail(struct bus_conn *c, enum bus_goodbye reason, const char *text)
{
    if (!bus__is_up(c)) {
        return;
    }
    c->state = bus__session_returns(c, reason) ? CONN_LOST : CONN_BROKEN;
    c->credit_messages = 0;
    c->goodbye = reason;
    c->kick = true;
    if (c->state == CONN_LOST) {
        bus__session_leave(c);
    }
    if (text) {
        c->goodbye_local = true;
        (void) snprintf(c->goodbye_text, sizeof(c->goodbye_text), "%s", text);
    }
    bus__sync_fd(c);
}

static void say_goodbye(struct bus_conn *c, enum bus_goodbye reason, const char *text)
{
    struct wire_goodbye m = {.reason = (uint32_t) reason, .text = text_from(text)};

    if (!c->out_dead && c->fd >= 0 && bus__send(c, VERB_GOODBYE, &m, CONTROL_HEADER_MAX) == 0) {
        bus__output(c, OUTPUT_ALL);
    }
}

void bus__fail_protocol(struct bus_conn *c, const char *text)
{
    if (bus__is_up(c)) {
        bus__fail(c, BUS_GOODBYE_PROTOCOL_ERROR, text);
        say_goodbye(c, BUS_GOODBYE_PROTOCOL_ERROR, text);
    }
}

static void close_socket(struct bus_conn *c)
{
    outq_fini(&c->outq);
    bus__mappings_detach(c);
    if (c->fd >= 0) {
        (void) close(c->fd);
        c->fd = -1;
    }
}

/* BROKEN becomes ENDED: the application hears of it. */
static void tell_closed(struct bus_conn *c)
{
    close_socket(c);
    c->state = CONN_ENDED;
    c->kick = false;
    c->deadline_ns = c->retry_ns = 0;
    bus__sync_fd(c);
    bus__calls_cancel(c, 0);
    bus__requests_lost(c);
    bus__requests_end(c);
    bus__snapshots_lost(c);
    bus__snapshots_end(c);
    bus__drains_end(c);
    if (c->opened && c->on_closed && c->state == CONN_ENDED) {
        c->on_closed(c, c->goodbye, c->goodbye_text, c->userdata);
    }
}

static void table_of_names_fini(struct table *t, void (*unref)(void *entry))
{
    for (uint32_t i = 0; i < t->n; i++) {
        unref(t->at[i]);
    }
    bus__table_fini(t);
}

static void topic_name_drop(void *entry)
{
    bus__topic_name_unref(entry);
}

static void peer_name_drop(void *entry)
{
    bus__peer_name_unref(entry);
}

void bus__names_fini(struct bus_conn *c)
{
    table_of_names_fini(&c->topics, topic_name_drop);
    table_of_names_fini(&c->peers, peer_name_drop);
}

static void descriptors_fini(struct bus_conn *c)
{
    if (c->epoll_fd >= 0) {
        (void) close(c->epoll_fd);
    }
    if (c->timer_fd >= 0) {
        (void) close(c->timer_fd);
    }
    if (c->fork_page) {
        (void) munmap(c->fork_page, 1);
    }
}

/* Everything but the struct itself, which running steps still look at. */
static void conn_fini(struct bus_conn *c)
{
    close_socket(c);
    bus__publish_fini(c);
    bus__requests_fini(c);
    bus__calls_fini(c);
    bus__subscribe_fini(c);
    bus__monitor_fini(c);
    bus__inquiries_fini(c);
    bus__names_fini(c);
    bus__rxbuf_unref(TAKE(c->rx));
    c->rx_pos = c->rx_len = 0;
    bus__rxpool_close(c->rxpool);
    bus__buffers_fini(c);
    bus__loans_fini(c);
    bus__session_fini(c);
    bus__pool_fini(&c->pool);
    outq_pool_fini(&c->chunks);
    descriptors_fini(c); /* what lets go of a lease looks at the fork mark */
}

int bus__unpin(struct bus_conn *c, int r)
{
    bus__signals_release(c);
    if (--c->pins == 0 && c->state == CONN_CLOSED) {
        arena_fini(&c->arena);
        free(c);
    }
    return r;
}

void bus_close(struct bus_conn *conn)
{
    if (!conn) {
        return;
    }
    if (!bus__forked(conn) && bus__is_up(conn)) {
        conn->hold++; /* the goodbye goes with what waits */
        say_goodbye(conn, BUS_GOODBYE_NORMAL, "");
    }
    conn->state = CONN_CLOSED;
    conn_fini(conn);
    conn->pins++;
    (void) bus__unpin(conn, 0);
}

/* ---- steps ---- */

static void check_deadline(struct bus_conn *c)
{
    if (UNLIKELY(c->deadline_ns) && c->state == CONN_GREETING &&
        clock_monotonic_ns() >= c->deadline_ns) {
        bus__fail(c, BUS_GOODBYE_NONE, "the router has not answered in time");
    }
}

/* What made something return -EAGAIN may have ended by what has just been read or sent. */
static void tell_writable(struct bus_conn *c)
{
    if (!c->want_writable || !bus__is_writable(c)) {
        return;
    }
    c->want_writable = false;
    c->want_bytes = 0;
    if (c->session) {
        c->session->reliable.want_bytes = 0;
    }
    if (c->on_writable && c->opened) {
        bus__signals_note(c);
        c->hold++;
        c->on_writable(c, c->userdata);
        c->hold--;
    }
}

static enum step step_input(struct bus_conn *c, enum receive_mode mode)
{
    enum step r = STEP_MORE;

    c->hold++;
    if (!bus__input_waits(c)) {
        r = bus__receive(c, mode);
    }
    bus__dispatch(c);
    c->hold--;
    return r;
}

static void step_output(struct bus_conn *c, bool force)
{
    if (c->outq.bytes > 0) {
        bus__output(c, force || c->urgent || c->cork == 0 ? OUTPUT_ALL : OUTPUT_FULL);
    }
}

static void step_begin(struct bus_conn *c)
{
    if (UNLIKELY(c->kick)) {
        c->kick = false;
        bus__sync_fd(c);
    }
    if (UNLIKELY(c->blocked) && (c->retry_ns == 0 || clock_monotonic_ns() >= c->retry_ns)) {
        c->blocked = false;
        c->retry_ns = 0;
        bus__output(c, OUTPUT_ALL);
        bus__sync_fd(c);
    }
}

/* One turn: STEP_ or -ENOTCONN, after which the connection may be CLOSED. */
static int step(struct bus_conn *c, bool force, enum receive_mode mode)
{
    enum step r = STEP_IDLE;

    if (c->state == CONN_AWAY) {
        bus__session_try(c);
    }
    if (bus__is_up(c)) {
        step_begin(c);
        r = step_input(c, mode);
        check_deadline(c);
    }
    if (bus__is_up(c)) {
        step_output(c, force);
        tell_writable(c);
    }
    if (bus__is_up(c)) {
        step_output(c, force);
        c->kick = c->kick || c->out_dead;
    }
    if (!bus__is_up(c)) {
        bus__signals_note(c); /* what follows may call back */
    }
    if (c->state == CONN_LOST) {
        bus__session_lost(c);
    }
    if (c->state == CONN_BROKEN) {
        tell_closed(c);
    }
    if (bus__is_over(c)) {
        return -ENOTCONN;
    }
    return c->kick && r == STEP_IDLE ? STEP_SOME : (int) r;
}

int bus_process(struct bus_conn *conn)
{
    int r;

    if (bus__forked(conn)) {
        return -ECHILD;
    }
    conn->pins++;
    r = step(conn, false, RECEIVE_NOW);
    return bus__unpin(conn, r < 0 ? r : r != STEP_IDLE);
}

/* ---- waiting ---- */

uint64_t bus__deadline_ns(int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t) timeout_ms * NS_PER_MS;
}

static struct timespec *time_left(uint64_t deadline_ns, struct timespec *ret)
{
    uint64_t now = 0;
    uint64_t left;

    if (deadline_ns == UINT64_MAX) {
        return NULL;
    }
    now = clock_monotonic_ns();
    left = deadline_ns > now ? deadline_ns - now : 0;
    *ret = (struct timespec){(time_t) (left / NS_PER_S), (long) (left % NS_PER_S)};
    return ret;
}

/* signals: those that are blocked while it waits, NULL: as they are. */
static int poll_socket(struct bus_conn *c, const struct timespec *timeout, const sigset_t *signals)
{
    struct pollfd p = {c->fd, (short) (POLLIN | (bus__waits_for_room(c) ? POLLOUT : 0)), 0};

    return ppoll(&p, 1, timeout, signals);
}

/* Looks for something to do before sleeping, if that is likely to pay. Whether it has come. */
static bool look(struct bus_conn *c)
{
    static const struct timespec at_once = {0, 0};
    uint64_t now_ns = clock_monotonic_ns();

    spin_begin(&c->spin, now_ns);
    while (spin_again(&c->spin, now_ns)) {
        (void) sched_yield(); /* what we wait for may need this processor */
        if (poll_socket(c, &at_once, NULL) != 0) {
            spin_paid(&c->spin);
            return true;
        }
        now_ns = clock_monotonic_ns();
    }
    return false;
}

/* All but those that an error of this very thread causes. */
void bus__signals_hold(struct bus_conn *c)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all;

    if (c->signals_held) {
        return;
    }
    (void) sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        (void) sigdelset(&all, own[i]);
    }
    (void) pthread_sigmask(SIG_BLOCK, &all, &c->signals);
    c->signals_held = true;
}

/* Leaves errno alone. */
void bus__signals_release(struct bus_conn *c)
{
    if (c->signals_held) {
        c->signals_held = false;
        (void) pthread_sigmask(SIG_SETMASK, &c->signals, NULL);
    }
}

/* Lets through what was held so far, and holds on: whether a signal came. */
static bool signals_came(struct bus_conn *c)
{
    static const struct timespec at_once = {0, 0};

    return c->signals_held && ppoll(NULL, 0, &at_once, &c->signals) < 0 && errno == EINTR;
}

void bus__signals_note(struct bus_conn *c)
{
    c->interrupted = signals_came(c) || c->interrupted;
    bus__signals_release(c);
}

/* Looks, and then sleeps: > 0 if there is something to do, 0 if the time is over, -1 with errno. */
static int look_and_poll(struct bus_conn *c, uint64_t deadline_ns)
{
    bool was_held = c->signals_held;
    struct timespec left;
    int r;

    if (c->fd < 0 || spin_is_off(&c->spin)) {
        return poll_socket(c, time_left(deadline_ns, &left), was_held ? &c->signals : NULL);
    }
    bus__signals_hold(c);
    r = look(c) ? 1 : poll_socket(c, time_left(deadline_ns, &left), &c->signals);
    if (!was_held) {
        bus__signals_release(c);
    }
    return r;
}

int bus__wait(struct bus_conn *c, uint64_t deadline_ns)
{
    uint64_t due_ns = bus__due_ns(c);
    bool due = due_ns != 0 && due_ns < deadline_ns;
    int r = 1;

    if (!c->kick && !bus__input_waits(c)) {
        r = look_and_poll(c, due ? due_ns : deadline_ns);
        spin_end(&c->spin);
        if (r < 0) {
            r = errno == EINTR ? -EINTR : 1; /* anything else, the step will meet too */
        }
        r = r == 0 && due ? 1 : r;
    }
    return r;
}

static bool is_past(uint64_t deadline_ns)
{
    return deadline_ns != UINT64_MAX && clock_monotonic_ns() >= deadline_ns;
}

/* Waits for something to do and does it. While signals are held there may always be something, so
 * that it does not sleep: they are looked for between two steps. Nothing but input to wait for, no
 * end to the waiting, no looking, and no signal held: then receiving itself can wait, which saves a
 * system call for each message of a conversation. */
static int wait_and_step(struct bus_conn *c, bool force, int last, uint64_t deadline_ns)
{
    enum receive_mode mode = RECEIVE_NOW;
    bool was_interrupted = c->interrupted; /* of a wait around this one */
    bool is_interrupted;
    int r = 1;

    if (last != STEP_NONE && signals_came(c)) {
        return -EINTR;
    }
    if (last != STEP_MORE) {
        if (deadline_ns == UINT64_MAX && c->deadline_ns == 0 && !c->blocked && !c->kick &&
            !bus__input_waits(c) && spin_is_off(&c->spin) && !c->signals_held) {
            mode = RECEIVE_WAIT;
        } else {
            r = bus__wait(c, deadline_ns);
        }
    }
    if (r <= 0) {
        return r < 0 ? r : -ETIMEDOUT;
    }
    c->interrupted = false;
    r = step(c, force, mode);
    is_interrupted = c->interrupted;
    c->interrupted = was_interrupted;
    return r >= 0 && is_interrupted ? -EINTR : r;
}

int bus__run_until(struct bus_conn *c, bool (*done)(const struct bus_conn *c, uint64_t arg),
                   uint64_t arg, uint64_t deadline_ns)
{
    int r = STEP_NONE;

    bus__signals_hold(c);
    bus__output(c, OUTPUT_ALL);
    while (r >= 0 && !done(c, arg)) {
        r = wait_and_step(c, true, r, deadline_ns);
        if (r >= 0 && is_past(deadline_ns) && !done(c, arg)) {
            r = -ETIMEDOUT; /* there may always be more input */
        }
    }
    return r == -EINTR && done(c, arg) ? 0 : MIN(r, 0);
}

int bus_wait(struct bus_conn *conn, int timeout_ms)
{
    int r;

    if (bus__forked(conn)) {
        return -ECHILD;
    }
    if (conn->state >= CONN_ENDED) {
        return -ENOTCONN;
    }
    bus__signals_hold(conn);
    if (conn->cork == 0) {
        bus__output(conn, OUTPUT_ALL);
    }
    r = bus__wait(conn, bus__deadline_ns(timeout_ms));
    bus__signals_release(conn);
    return r;
}

static int run(struct bus_conn *c)
{
    int r = STEP_NONE;

    bus__signals_hold(c);
    if (c->cork == 0) { /* also what the callback has published that this is called from */
        bus__output(c, OUTPUT_ALL);
    }
    while (r >= 0 && !c->stop) {
        r = wait_and_step(c, false, r, UINT64_MAX);
    }
    if (r < 0) {
        return r;
    }
    c->stop = false;
    return 0;
}

int bus_run(struct bus_conn *conn)
{
    if (bus__forked(conn)) {
        return -ECHILD;
    }
    if (conn->state >= CONN_ENDED) {
        return -ENOTCONN;
    }
    conn->pins++;
    return bus__unpin(conn, run(conn));
}

void bus_stop(struct bus_conn *conn)
{
    conn->stop = true;
}

static bool is_answered(const struct bus_conn *c, uint64_t token)
{
    return c->pong_token >= token;
}

int bus__flush(struct bus_conn *c, uint64_t deadline_ns)
{
    struct wire_ping ping = {.token = c->ping_token + 1};
    bool is_now = bus__usable(c) == 0 && !bus__session_ping_later(c);
    int r;

    bus__signals_hold(c);
    r = is_now ? bus__send(c, VERB_PING, &ping, CONTROL_HEADER_MAX) : 0;
    if (r < 0) {
        return r;
    }
    c->ping_token++;
    return bus__run_until(c, is_answered, ping.token, deadline_ns);
}

int bus_flush(struct bus_conn *conn, int timeout_ms)
{
    int r = bus__forked(conn) ? -ECHILD : conn->state >= CONN_ENDED ? -ENOTCONN : 0;

    if (r < 0) {
        return r;
    }
    conn->pins++;
    return bus__unpin(conn, bus__flush(conn, bus__deadline_ns(timeout_ms)));
}

static bool is_writable(const struct bus_conn *c, uint64_t unused)
{
    (void) unused;
    return bus__is_writable(c) && !c->starved;
}

int bus_wait_writable(struct bus_conn *conn, int timeout_ms)
{
    int r = bus__forked(conn) ? -ECHILD : conn->state >= CONN_ENDED ? -ENOTCONN : 0;

    if (r < 0) {
        return r;
    }
    conn->pins++;
    r = bus__run_until(conn, is_writable, 0, bus__deadline_ns(timeout_ms));
    return bus__unpin(conn, r);
}

/* ---- the rest ---- */

int bus_fd(struct bus_conn *conn)
{
    if (bus__forked(conn)) {
        return -ECHILD;
    }
    conn->exposed = true;
    bus__sync_fd(conn);
    return conn->epoll_fd;
}

void bus_cork(struct bus_conn *conn)
{
    conn->cork++;
    conn->hold++;
}

int bus_uncork(struct bus_conn *conn)
{
    int r = bus__usable(conn);

    if (r == -ECHILD || conn->cork == 0) {
        return r == -ECHILD ? r : -EINVAL;
    }
    conn->cork--;
    conn->hold--;
    if (r == 0 && conn->hold == 0) {
        bus__output(conn, OUTPUT_ALL);
    }
    return r;
}

uint64_t bus_connection_id(const struct bus_conn *conn)
{
    return conn->connection_id;
}

int bus_is_away(const struct bus_conn *conn)
{
    return conn->away && !bus__is_over(conn);
}

size_t bus_body_max(const struct bus_conn *conn)
{
    return MAX((size_t) conn->inline_max, conn->body_max);
}
