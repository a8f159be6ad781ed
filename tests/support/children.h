/* SPDX-License-Identifier: MIT */
#pragma once
/* Clients in processes of their own, so that they can be stopped and killed: publishers and
 * subscribers that work until they are told to finish, and check every message. A child tells in
 * shared memory how far it is; its control socket becomes readable when it is ready, and when it
 * ends. */

#include <bus/monitor.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "support/router_fixture.h"
#include "support/unit.h"

/* Then memory says nothing about the router. clang has another way to tell than gcc. */
#if defined(__SANITIZE_ADDRESS__)
#define CHILDREN_SANITIZED 1
#elif defined(__has_feature)
#define CHILDREN_SANITIZED __has_feature(address_sanitizer)
#else
#define CHILDREN_SANITIZED 0
#endif

#define CHILD_BODY_MIN 16u
#define CHILD_BODY_MAX 65536u
#define CHILD_BATCH 64
#define CHILD_PUBLISHER "publisher"

/* What a child says, and what it is told: memory that both have. */
struct child_report {
    _Atomic uint64_t done; /* messages published, or received */
    _Atomic uint64_t lost; /* counts of all LOSS */
    _Atomic uint64_t n_gaps;
    _Atomic uint64_t stalls;   /* STATUS {STALLED} */
    _Atomic uint64_t n_links;  /* for those that connect again and again */
    _Atomic uint64_t expected; /* for subscribers: what there is to get, once it is known */
    char failure[256];
};

struct child {
    pid_t pid; /* 0: none */
    int control;
    struct child_report *report;
};

/* The child's own side. */
struct child_self {
    int control;
    struct child_report *report;
    const void *role;
};

typedef void (*child_fn)(struct child_self *self);

/* What a publisher or a subscriber does. */
struct child_role {
    const char *address;
    const char *topic;        /* or filter */
    uint32_t body_bytes;      /* publishers */
    bool is_alone;            /* subscribers: one publisher only, of which everything is checked */
    struct bus_sub_opts opts; /* subscribers; BUS_SUB_OPTS_INIT and more */
};

/* ---- the child's side ---- */

#define CHILD_CHECK(self, condition)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            child_fail(self, __LINE__, #condition);                                                \
        }                                                                                          \
    } while (0)

static inline _Noreturn void child_fail(struct child_self *self, int line, const char *what)
{
    struct child_report *r = self->report;

    (void) snprintf(r->failure, sizeof(r->failure), "line %d: %s (errno %d, done %llu, lost %llu)",
                    line, what, errno, (unsigned long long) r->done, (unsigned long long) r->lost);
    _exit(1);
}

/* Waits for fd to become readable, or for the word to finish; true if that has come. fd may be -1.
 */
static inline bool child_wait(struct child_self *self, int fd, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = self->control, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    CHILD_CHECK(self, poll(fds, 2, timeout_ms) >= 0);
    return fds[0].revents != 0;
}

static inline void child_ready(struct child_self *self)
{
    CHILD_CHECK(self, write(self->control, "r", 1) == 1);
}

static inline void child_body_fill(uint8_t *body, size_t bytes, uint64_t number)
{
    memset(body, (int) (number & 0xff), bytes);
    store_u64le(body, number);
}

static inline bool child_body_is(const uint8_t *body, size_t bytes, uint64_t number)
{
    return bytes >= CHILD_BODY_MIN && load_u64le(body) == number &&
           body[sizeof(number)] == (number & 0xff) &&
           memcmp(body + sizeof(number), body + sizeof(number) + 1, bytes - sizeof(number) - 1) ==
               0;
}

static inline void child_publish_batch(struct child_self *self, struct bus_conn *conn,
                                       struct bus_topic *topic)
{
    const struct child_role *role = self->role;
    uint8_t body[CHILD_BODY_MAX];
    int r = 0;

    bus_cork(conn);
    for (int i = 0; i < CHILD_BATCH && r == 0; i++) {
        child_body_fill(body, role->body_bytes, self->report->done + 1);
        r = bus_topic_publish(topic, body, role->body_bytes, NULL);
        self->report->done += r == 0;
    }
    (void) bus_uncork(conn);
    CHILD_CHECK(self, r == 0 || r == -EAGAIN);
    r = r == 0 ? bus_process(conn) : bus_wait_writable(conn, 100);
    CHILD_CHECK(self, r >= 0 || r == -ETIMEDOUT);
}

/* Publishes as fast as it can until it is told to finish, then sees to it that all is routed. */
static inline void child_publisher(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_topic *topic;
    struct bus_conn *conn;

    opts.name = CHILD_PUBLISHER;
    CHILD_CHECK(self, bus_open(role->address, &opts, &conn) == 0);
    CHILD_CHECK(self, bus_advertise(conn, role->topic, &topic) == 0);
    child_ready(self);
    while (!child_wait(self, -1, 0)) {
        child_publish_batch(self, conn, topic);
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, bus_sequence(conn) == self->report->done);
    bus_close(conn);
}

/* One publisher: its numbers are without a gap but for what the losses in between say. */
static inline void child_on_message(struct bus_sub *sub, const struct bus_message *m,
                                    void *userdata)
{
    struct child_self *self = userdata;
    struct child_report *r = self->report;
    const struct child_role *role = self->role;

    (void) sub;
    if (role->is_alone) {
        CHILD_CHECK(self, strcmp(bus_message_sender(m)->name, CHILD_PUBLISHER) == 0);
        CHILD_CHECK(self, bus_message_sequence(m) == r->done + r->lost + 1);
        CHILD_CHECK(self, child_body_is(bus_message_data(m), bus_message_bytes(m),
                                        bus_message_sequence(m)));
    }
    r->done++;
}

static inline void child_on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct child_self *self = userdata;

    (void) sub;
    CHILD_CHECK(self, loss->count > 0);
    self->report->lost += loss->count;
    self->report->n_gaps++;
}

static inline void child_on_ready(struct bus_sub *sub, enum bus_status status, const char *text,
                                  void *userdata)
{
    struct child_self *self = userdata;

    (void) sub;
    (void) text;
    CHILD_CHECK(self, status == BUS_STATUS_OK || status == BUS_STATUS_STALLED);
    self->report->stalls += status == BUS_STATUS_STALLED;
}

static inline bool child_has_all(const struct child_report *r)
{
    return r->done + r->lost >= r->expected;
}

/* Until it is told to finish, and then until it has got what there is to get. */
static inline void child_receive(struct child_self *self, struct bus_conn *conn)
{
    bool is_told = false;
    int r = 0;

    while (!is_told) {
        is_told = child_wait(self, bus_fd(conn), r > 0 ? 0 : -1);
        r = bus_process(conn);
        CHILD_CHECK(self, r >= 0);
    }
    while (!child_has_all(self->report)) {
        CHILD_CHECK(self, r > 0 || bus_wait(conn, FIXTURE_TIMEOUT_MS) == 1);
        r = bus_process(conn);
        CHILD_CHECK(self, r >= 0);
    }
}

/* Receives until it is told to finish and has got everything, and not one more. */
static inline void child_subscriber(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_sub_opts opts = role->opts;
    struct bus_conn *conn;

    opts.on_loss = child_on_loss;
    opts.on_ready = child_on_ready;
    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_subscribe(conn, role->topic, &opts, child_on_message, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    child_receive(self, conn);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, self->report->done + self->report->lost == self->report->expected);
    bus_close(conn);
}

/* ---- the parent's side ---- */

static inline _Noreturn void child_run(struct child *c, child_fn fn, const void *role, int control)
{
    struct child_self self = {.control = 3, .report = c->report, .role = role};

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* nothing of the others: a connection ends with its last descriptor */
    if (control != self.control) {
        (void) dup2(control, self.control);
    }
    (void) syscall(SYS_close_range, 4u, ~0u, 0u);
    fn(&self);
    _exit(0);
}

static inline void child_start(struct child *c, child_fn fn, const void *role)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c->control = pair[0];
    c->report =
        mmap(NULL, sizeof(*c->report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(c->report, MAP_FAILED);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        child_run(c, fn, role, pair[1]);
    }
    (void) close(pair[1]);
}

static inline bool child_is_readable(const struct child *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->control, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static inline void child_expect_ready(struct child *c)
{
    char byte;

    assert_true(child_is_readable(c, FIXTURE_TIMEOUT_MS));
    if (read(c->control, &byte, 1) != 1) {
        fail_msg("a child ended before it was ready: %s", c->report->failure);
    }
}

static inline void child_forget(struct child *c)
{
    (void) close(c->control);
    (void) munmap(c->report, sizeof(*c->report));
    *c = (struct child){.control = -1};
}

static inline void child_finish(struct child *c)
{
    assert_int_equal(shutdown(c->control, SHUT_WR), 0);
}

/* Waits for its end, which must be a good one. Its report stays until it is forgotten. */
static inline void child_join(struct child *c)
{
    int status;

    if (!child_is_readable(c, 2 * FIXTURE_TIMEOUT_MS)) {
        fail_msg("a child does not end: done %llu, lost %llu, expected %llu",
                 (unsigned long long) c->report->done, (unsigned long long) c->report->lost,
                 (unsigned long long) c->report->expected);
    }
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    if (status != 0) {
        fail_msg("a child ended with %d: %s", status, c->report->failure);
    }
    c->pid = 0;
}

/* kill -9, and nothing of it is left. */
static inline void child_kill9(struct child *c)
{
    assert_int_equal(kill(c->pid, SIGKILL), 0);
    assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
    child_forget(c);
}

/* Stops it, and returns when it is. */
static inline void child_stop(struct child *c)
{
    int status;

    assert_int_equal(kill(c->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(c->pid, &status, WUNTRACED), c->pid);
    assert_true(WIFSTOPPED(status));
}

static inline void child_continue(struct child *c)
{
    assert_int_equal(kill(c->pid, SIGCONT), 0);
}

/* Lets so much time pass in which none of the children may end. */
static inline void children_watch(struct child *const *children, size_t n, int ms)
{
    struct pollfd fds[16];

    assert_true(n <= ARRAY_LEN(fds));
    for (size_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = children[i]->control, .events = POLLIN};
    }
    if (poll(fds, n, ms) != 0) {
        for (size_t i = 0; i < n; i++) {
            if (fds[i].revents) {
                fail_msg("child %zu ended early: %s", i, children[i]->report->failure);
            }
        }
    }
}

/* Ends a publisher, and lets its subscribers get what is left. */
static inline void children_finish(struct child *publisher, struct child *const *subs, size_t n)
{
    child_finish(publisher);
    child_join(publisher);
    for (size_t i = 0; i < n; i++) {
        subs[i]->report->expected = publisher->report->done;
        child_finish(subs[i]);
    }
    for (size_t i = 0; i < n; i++) {
        child_join(subs[i]);
    }
}

/* A publisher and a subscriber with policy block, who must get on and lose nothing whatever else
 * happens. */
struct healthy_pair {
    struct child publisher, subscriber;
};

static inline void pair_start(struct healthy_pair *p, const struct router_fixture *f)
{
    struct child_role role = {
        .address = f->seqpacket,
        .topic = "healthy/0",
        .body_bytes = 100,
        .is_alone = true,
        .opts = BUS_SUB_OPTS_INIT,
    };

    role.opts.policy = BUS_POLICY_BLOCK;
    child_start(&p->subscriber, child_subscriber, &role);
    child_expect_ready(&p->subscriber);
    role.address = f->stream;
    child_start(&p->publisher, child_publisher, &role);
    child_expect_ready(&p->publisher);
}

/* Waits until so many messages more have come, and at least so long. */
static inline void pair_watch(struct healthy_pair *p, uint64_t n, int ms)
{
    struct child *const both[] = {&p->publisher, &p->subscriber};
    uint64_t until = p->subscriber.report->done + n;
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    children_watch(both, ARRAY_LEN(both), ms);
    while (p->subscriber.report->done < until) {
        children_watch(both, ARRAY_LEN(both), 1);
        if (clock_monotonic_ns() > deadline_ns) {
            fail_msg("the healthy pair does not get on: %llu published, %llu received",
                     (unsigned long long) p->publisher.report->done,
                     (unsigned long long) p->subscriber.report->done);
        }
    }
}

/* Returns how many messages there were. */
static inline uint64_t pair_finish(struct healthy_pair *p)
{
    uint64_t n;

    struct child *const subs[] = {&p->subscriber};

    children_finish(&p->publisher, subs, 1);
    assert_int_equal(p->subscriber.report->lost, 0);
    assert_int_equal(p->subscriber.report->done, p->publisher.report->done);
    n = p->publisher.report->done;
    print_message("healthy: %llu messages, all of them received\n", (unsigned long long) n);
    child_forget(&p->publisher);
    child_forget(&p->subscriber);
    return n;
}

/* ---- what the router says about itself ---- */

struct counter_wanted {
    const char *name;
    uint64_t value;
    bool is_found;
    bool is_done;
};

static inline void counter_on_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                                    enum bus_status status, void *userdata)
{
    struct counter_wanted *w = userdata;

    assert_int_equal(status, BUS_STATUS_OK);
    if (!entry) {
        w->is_done = true;
        bus_stop(conn);
    } else if (strcmp(entry->counter->name, w->name) == 0) {
        w->value = entry->counter->value;
        w->is_found = true;
    }
}

static inline uint64_t router_counter(struct bus_conn *conn, const char *name)
{
    struct counter_wanted w = {.name = name};

    assert_int_equal(bus_snapshot(conn, BUS_SNAPSHOT_COUNTERS, counter_on_entry, &w), 0);
    while (!w.is_done) {
        assert_int_equal(bus_run(conn), 0);
    }
    assert_true(w.is_found);
    return w.value;
}

/* What must come back when clients go. Of one type: it is compared as a whole. */
struct router_state {
    uint64_t n_fds, clients, subscriptions, topics, queued, monitors, wills, retained, charged;
};

static inline struct router_state router_state(const struct router_fixture *f,
                                               struct bus_conn *conn)
{
    return (struct router_state){
        .n_fds = router_fd_count(&f->process),
        .clients = router_counter(conn, "clients_now"),
        .subscriptions = router_counter(conn, "subscriptions_now"),
        .topics = router_counter(conn, "topics_now"),
        .queued = router_counter(conn, "messages_queued_now"),
        .monitors = router_counter(conn, "monitors_now"),
        .wills = router_counter(conn, "wills_now"),
        .retained = router_counter(conn, "retained_messages_now"),
        .charged = router_counter(conn, "charged_bytes_now"),
    };
}

/* A connection for the questions, and what there is with nobody else. */
static inline struct router_state router_ask(const struct router_fixture *f,
                                             struct bus_conn **ret_conn)
{
    assert_int_equal(bus_open(f->seqpacket, NULL, ret_conn), 0);
    (void) router_counter(*ret_conn, "clients_now"); /* what the first answer needs, it keeps */
    return router_state(f, *ret_conn);
}

/* The router notices ends in its own time; each question is a turn of its loop. */
static inline void expect_router_state(const struct router_fixture *f, struct bus_conn *conn,
                                       const struct router_state *expected)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    struct router_state now;

    do {
        now = router_state(f, conn);
    } while (memcmp(&now, expected, sizeof(now)) != 0 && clock_monotonic_ns() < deadline_ns);
    assert_int_equal(now.n_fds, expected->n_fds);
    assert_int_equal(now.clients, expected->clients);
    assert_int_equal(now.subscriptions, expected->subscriptions);
    assert_int_equal(now.topics, expected->topics);
    assert_int_equal(now.queued, expected->queued);
    assert_int_equal(now.monitors, expected->monitors);
    assert_int_equal(now.wills, expected->wills);
    assert_int_equal(now.retained, expected->retained);
    assert_int_equal(now.charged, expected->charged);
}

/* BUS_TEST_LONG=1: as long as the issue says, not as short as every run can afford. */
static inline bool is_long_run(void)
{
    const char *text = getenv("BUS_TEST_LONG");

    return text && strcmp(text, "1") == 0;
}
