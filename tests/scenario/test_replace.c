/* SPDX-License-Identifier: MIT */
/* The router is replaced while everybody works: nobody is to notice. And what becomes of it if the
 * one that is to replace it fails. */
#include <bus/request.h>
#include <grp.h>
#include <sys/stat.h>
#include "base/sock.h"
#include "support/children.h"
#include "support/crowd.h"
#include "support/raw_fds.h"

#define REPLACEMENTS 20
#define BETWEEN 300u /* messages that each subscriber gets in between, at least */
#define PATIENCE_NS (UINT64_C(60) * 1000000000)

/* A machine that is busy takes its time. */
static const char *const patient_args[] = {"--replace-timeout", "60s", NULL};
static const struct router_options patient = {.args = patient_args};

/* ---- children ---- */

static void on_call(struct bus_call *call, void *userdata)
{
    struct child_self *self = userdata;
    const struct bus_message *m = bus_call_message(call);

    CHILD_CHECK(self, bus_call_reply(call, bus_message_data(m), bus_message_bytes(m), NULL) == 0);
    self->report->done++;
}

static void server(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_serve(conn, role->topic, NULL, on_call, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        CHILD_CHECK(self, bus_process(conn) >= 0);
    }
    bus_close(conn);
}

static void requester(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    child_ready(self);
    while (!child_wait(self, -1, 0)) {
        uint64_t number = self->report->done + 1;
        struct bus_answer a;

        CHILD_CHECK(self,
                    bus_request_wait(conn, role->topic, &number, sizeof(number), NULL, &a) == 0);
        CHILD_CHECK(self, a.status == BUS_STATUS_OK);
        CHILD_CHECK(self, memcmp(bus_message_data(a.message), &number, sizeof(number)) == 0);
        bus_message_unref(a.message);
        self->report->done++;
    }
    bus_close(conn);
}

/* Each job once: nobody dies here. */
static void on_job(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct child_self *self = userdata;

    (void) sub;
    CHILD_CHECK(self, !bus_message_is_redelivered(m));
    CHILD_CHECK(self, bus_message_ack(m) == 0);
    self->report->done++;
}

static void worker(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;

    opts.group = "workers";
    opts.flags = BUS_SUB_ACK;
    opts.policy = BUS_POLICY_BLOCK;
    opts.window_messages = 20;
    opts.on_loss = child_on_loss;
    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_subscribe(conn, role->topic, &opts, on_job, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        CHILD_CHECK(self, bus_process(conn) >= 0);
    }
    bus_close(conn);
}

static void on_record(struct bus_conn *conn, const struct bus_record *record, void *userdata)
{
    struct child_self *self = userdata;

    (void) conn;
    (void) record;
    self->report->done++;
}

static void monitor(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_monitor(conn, NULL, 0, NULL, on_record, self) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        CHILD_CHECK(self, bus_process(conn) >= 0);
    }
    bus_close(conn);
}

/* ---- the company ---- */

enum {
    SMALL,
    LARGE,
    BLOCKS,
    BLOCKS_LARGE,
    DROPS,
    LATEST,
    DROPS_LARGE,
    WORKER,
    WORKER_2,
    SERVER,
    REQUESTER,
    MONITOR,
    COMPANY
};

struct company {
    struct router_fixture f;
    struct child children[COMPANY];
    struct bus_conn *keeper; /* has published what is kept */
};

static void company_add(struct company *x, int who, child_fn fn, const char *address,
                        const char *topic, uint32_t body_bytes, enum bus_policy policy,
                        uint32_t window)
{
    struct child_role role = {.address = address,
                              .topic = topic,
                              .body_bytes = body_bytes,
                              .is_alone = true,
                              .opts = BUS_SUB_OPTS_INIT};

    role.opts.policy = policy;
    role.opts.window_messages = window;
    role.opts.queue_messages = window ? 2 * window : 0;
    child_start(&x->children[who], fn, &role);
    child_expect_ready(&x->children[who]);
}

static void company_start(struct company *x)
{
    const char *packets = x->f.seqpacket, *stream = x->f.stream;
    struct bus_topic_opts keep = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *topic;

    company_add(x, BLOCKS, child_subscriber, packets, "load/small", 0, BUS_POLICY_BLOCK, 0);
    company_add(x, BLOCKS_LARGE, child_subscriber, stream, "load/large", 0, BUS_POLICY_BLOCK, 50);
    company_add(x, DROPS, child_subscriber, stream, "load/small", 0, BUS_POLICY_DROP_OLDEST, 10);
    company_add(x, LATEST, child_subscriber, packets, "+/small", 0, BUS_POLICY_LATEST, 10);
    company_add(x, DROPS_LARGE, child_subscriber, packets, "load/large/#", 0,
                BUS_POLICY_DROP_NEWEST, 5);
    company_add(x, WORKER, worker, packets, "load/#", 0, BUS_POLICY_BLOCK, 0);
    company_add(x, WORKER_2, worker, stream, "load/#", 0, BUS_POLICY_BLOCK, 0);
    company_add(x, SERVER, server, packets, "ask", 0, BUS_POLICY_DROP_OLDEST, 0);
    company_add(x, MONITOR, monitor, stream, "", 0, BUS_POLICY_DROP_OLDEST, 0);
    company_add(x, REQUESTER, requester, stream, "ask", 0, BUS_POLICY_DROP_OLDEST, 0);
    company_add(x, SMALL, child_publisher, stream, "load/small", 100, BUS_POLICY_DROP_OLDEST, 0);
    company_add(x, LARGE, child_publisher, packets, "load/large", 40000, BUS_POLICY_DROP_OLDEST, 0);
    keep.retain_messages = 1;
    assert_int_equal(bus_open(packets, NULL, &x->keeper), 0);
    assert_int_equal(bus_advertise_with(x->keeper, "kept", &keep, &topic), 0);
    assert_int_equal(bus_topic_publish(topic, "value", 5, NULL), 0);
    assert_int_equal(bus_flush(x->keeper, FIXTURE_TIMEOUT_MS), 0);
}

/* Everybody gets on, and nobody ends. */
static void company_watch(struct company *x)
{
    static const int who[] = {BLOCKS,      BLOCKS_LARGE, DROPS,     LATEST,
                              DROPS_LARGE, WORKER,       REQUESTER, MONITOR};
    struct child *all[COMPANY];
    uint64_t from[ARRAY_LEN(who)], deadline_ns = clock_monotonic_ns() + PATIENCE_NS;

    for (int i = 0; i < COMPANY; i++) {
        all[i] = &x->children[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        from[i] = x->children[who[i]].report->done;
    }
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        /* who asks waits for each answer, and who drops may get little */
        uint64_t n = who[i] == BLOCKS ? BETWEEN : 3;

        while (x->children[who[i]].report->done < from[i] + n) {
            children_watch(all, COMPANY, 1);
            if (clock_monotonic_ns() > deadline_ns) {
                fail_msg("child %d does not get on", who[i]);
            }
        }
    }
}

static void on_kept(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    (void) sub;
    assert_true(bus_message_is_retained(m));
    assert_int_equal(bus_message_bytes(m), 5);
    assert_memory_equal(bus_message_data(m), "value", 5);
    ++*(unsigned *) userdata;
}

static void expect_kept(const struct company *x)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;
    unsigned n = 0;

    opts.retained = BUS_RETAINED_LAST;
    assert_int_equal(bus_open(x->f.stream, NULL, &conn), 0);
    assert_int_equal(bus_subscribe(conn, "kept", &opts, on_kept, &n, NULL), 0);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    while (bus_process(conn) > 0) {
    }
    assert_int_equal(n, 1);
    bus_close(conn);
}

static void finish(struct company *x, int who)
{
    child_finish(&x->children[who]);
    child_join(&x->children[who]);
}

static void finish_with(struct company *x, int who, uint64_t expected)
{
    x->children[who].report->expected = expected;
    finish(x, who);
    assert_int_equal(x->children[who].report->done + x->children[who].report->lost, expected);
}

static void company_finish(struct company *x)
{
    uint64_t small, large, deadline_ns = clock_monotonic_ns() + PATIENCE_NS;
    const struct child_report *w = x->children[WORKER].report, *w2 = x->children[WORKER_2].report;

    finish(x, SMALL);
    finish(x, LARGE);
    finish(x, REQUESTER);
    small = x->children[SMALL].report->done;
    large = x->children[LARGE].report->done;
    finish_with(x, BLOCKS, small);
    finish_with(x, BLOCKS_LARGE, large);
    finish_with(x, DROPS, small);
    finish_with(x, LATEST, small);
    finish_with(x, DROPS_LARGE, large);
    assert_int_equal(x->children[BLOCKS].report->lost, 0);
    assert_int_equal(x->children[BLOCKS_LARGE].report->lost, 0);
    while (w->done + w2->done < small + large && clock_monotonic_ns() < deadline_ns) {
        (void) poll(NULL, 0, 1);
    }
    finish(x, WORKER);
    finish(x, WORKER_2);
    assert_int_equal(w->done + w2->done, small + large);
    assert_int_equal(w->lost + w2->lost, 0);
    finish(x, SERVER);
    finish(x, MONITOR);
    assert_int_equal(x->children[SERVER].report->done, x->children[REQUESTER].report->done);
    assert_int_equal(bus_flush(x->keeper, FIXTURE_TIMEOUT_MS), 0);
    bus_close(x->keeper);
    print_message("%llu small, %llu large, %llu requests\n", (unsigned long long) small,
                  (unsigned long long) large,
                  (unsigned long long) x->children[REQUESTER].report->done);
    for (int i = 0; i < COMPANY; i++) {
        child_forget(&x->children[i]);
    }
}

/* How long it said that it paused. */
static unsigned long paused_us(const struct router_process *p)
{
    char log[FIXTURE_LOG_BYTES];
    const char *at;

    router_log(p, log);
    at = strstr(log, "paused_us=");
    return at ? strtoul(at + strlen("paused_us="), NULL, 10) : 0;
}

static void test_nobody_notices_20_replacements(void **state)
{
    struct company x = {0};

    (void) state;
    router_start(&x.f, &patient);
    company_start(&x);
    for (int i = 0; i < REPLACEMENTS; i++) {
        company_watch(&x);
        router_replace(&x.f, &patient);
        expect_kept(&x);
    }
    company_watch(&x);
    company_finish(&x);
    router_stop(&x.f);
}

/* ---- SIGUSR2 ---- */

static pid_t locked_by(const struct router_fixture *f)
{
    char path[128], buf[32] = "";
    int fd;

    (void) snprintf(path, sizeof(path), "%s.lock", fixture_path(f->seqpacket));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, buf, sizeof(buf) - 1) > 0);
    (void) close(fd);
    return (pid_t) strtol(buf, NULL, 10);
}

static void test_a_signal_replaces_it_by_the_program_that_is_there(void **state)
{
    struct healthy_pair pair;
    struct router_fixture f;
    struct raw_client c;
    pid_t pid;

    (void) state;
    /* its child is ours when it has gone */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    router_start(&f, &patient);
    pair_start(&pair, &f);
    for (int i = 0; i < 3; i++) {
        pair_watch(&pair, 1000, 0);
        pid = f.process.pid;
        assert_int_equal(kill(pid, SIGUSR2), 0);
        assert_int_equal(router_wait(&f.process), 0);
        f.process.pid = pid;
        /* the new one greets, so it has signed; messages may still be of the old one */
        raw_greet(&c, f.stream);
        raw_close(&c);
        pair_watch(&pair, 1000, 0);
        f.process.pid = locked_by(&f);
        assert_int_not_equal(f.process.pid, pid);
    }
    (void) pair_finish(&pair);
    router_stop(&f);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* ---- one that fails ---- */

enum fake { FAKE_GOES, FAKE_TALKS, FAKE_IS_SILENT, FAKE_READS_AND_GOES };

/* Asks like another router. Returns the end of the pair that stays here. */
static int fake_ask(struct raw_client *c, const struct router_fixture *f, enum fake how)
{
    const struct wire_replace replace = {1};
    int pair[2];

    raw_greet(c, f->stream);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    if (how == FAKE_TALKS) { /* before it can be given up */
        assert_int_equal(send(pair[0], "nonsense", 8, MSG_NOSIGNAL), 8);
    }
    raw_send_frame_fds(c, VERB_REPLACE, &replace, &pair[1], 1);
    (void) close(pair[1]);
    return pair[0];
}

static void fake_successor(const struct router_fixture *f, enum fake how)
{
    struct raw_client c;
    union wire_any m;
    uint8_t buf[4096];
    int fd = fake_ask(&c, f, how);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (how == FAKE_GOES) {
        (void) close(fd);
    }
    assert_int_equal(raw_next(&c, &m), VERB_STATUS);
    assert_int_equal(m.status.code, BUS_STATUS_OK);
    if (how == FAKE_READS_AND_GOES) {
        assert_int_equal(poll(&p, 1, (int) (PATIENCE_NS / NS_PER_MS)), 1);
        assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
        (void) close(fd);
    } else if (how == FAKE_IS_SILENT) {
        /* until it has been given up */
        while (recv(fd, buf, sizeof(buf), 0) > 0) {
        }
    }
    while (raw_next(&c, &m) != 0) { /* it is no client any more */
    }
    raw_close(&c);
    if (how == FAKE_TALKS || how == FAKE_IS_SILENT) {
        (void) close(fd);
    }
}

static void test_the_old_one_goes_on_if_the_new_one_fails(void **state)
{
    static const char *const args[] = {"--replace-timeout", "100ms", NULL};
    const struct router_options o = {.args = args};
    struct healthy_pair pair;
    struct router_fixture f;

    (void) state;
    router_start(&f, &o);
    pair_start(&pair, &f);
    for (int i = 0; i < 8; i++) {
        pair_watch(&pair, 1000, 0);
        fake_successor(&f, (enum fake)(i % 4));
    }
    pair_watch(&pair, 1000, 0);
    (void) pair_finish(&pair);
    router_stop(&f);
}

static void test_without_a_descriptor_or_with_another_version_it_is_refused(void **state)
{
    struct router_fixture f;
    struct raw_client c;
    int pair[2];

    (void) state;
    router_start(&f, &patient);
    raw_greet(&c, f.seqpacket);
    raw_send_frame(&c, VERB_REPLACE, &(struct wire_replace){1});
    (void) raw_expect_status(&c, VERB_REPLACE, BUS_STATUS_BAD_DESCRIPTORS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    raw_send_frame_fds(&c, VERB_REPLACE, &(struct wire_replace){2}, &pair[1], 1);
    (void) raw_expect_status(&c, VERB_REPLACE, BUS_STATUS_UNSUPPORTED);
    raw_round_trip(&c, 1);
    (void) close(pair[0]);
    (void) close(pair[1]);
    raw_close(&c);
    router_stop(&f);
}

/* ---- who may ---- */

#define NOBODY 65534

static void intruder(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct raw_client c;
    union wire_any m;
    int fd;

    CHILD_CHECK(self, setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    raw_greet(&c, role->address);
    fd = open("/dev/null", O_RDONLY);
    raw_send_frame_fds(&c, VERB_REPLACE, &(struct wire_replace){1}, &fd, 1);
    CHILD_CHECK(self, raw_next(&c, &m) == VERB_STATUS);
    CHILD_CHECK(self, m.status.code == BUS_STATUS_DENIED);
    child_ready(self);
}

static void test_another_user_may_not(void **state)
{
    static const char *const args[] = {"--mode", "0666", NULL};
    const struct router_options o = {.args = args};
    struct child_role role = {0};
    struct router_fixture f;
    struct child c;

    (void) state;
    if (geteuid() != 0) {
        skip(); /* nobody else to be */
    }
    router_start(&f, &o);
    assert_int_equal(chmod(f.dir, 0755), 0);
    role.address = f.seqpacket;
    child_start(&c, intruder, &role);
    child_expect_ready(&c);
    child_join(&c);
    child_forget(&c);
    router_stop(&f);
}

/* ---- addresses ---- */

static void test_with_nobody_to_replace_it_says_so(void **state)
{
    char dir[64], address[96], err[FIXTURE_LOG_BYTES];
    const char *const args[] = {"--replace", "--listen", address, NULL};

    (void) state;
    fixture_dir_new(dir);
    (void) snprintf(address, sizeof(address), "%s/socket", dir);
    assert_int_equal(router_run(args, err), 1);
    assert_says(err, "nobody to replace at");
    fixture_dir_remove(dir);
}

/* One more address is opened, and one that is not named any more is closed. */
static void test_addresses_are_those_of_the_new_one(void **state)
{
    struct router_fixture f;
    struct router_process new;
    char more[96];
    const char *const args[] = {"--replace", "--listen", f.seqpacket, "--listen", more, NULL};
    const struct router_options o = {.args = args};
    struct raw_client before, c;

    (void) state;
    router_start(&f, &patient);
    raw_greet(&before, f.stream);
    (void) snprintf(more, sizeof(more), "stream:%s/more", f.dir);
    router_spawn(&new, &o);
    assert_true(router_is_ready(&new));
    assert_int_equal(router_wait(&f.process), 0);
    router_discard(&f.process);
    f.process = new;
    assert_int_equal(access(fixture_path(f.stream), F_OK), -1);
    raw_round_trip(&before, 1); /* who came by it stays */
    raw_close(&before);
    raw_greet(&c, more);
    raw_close(&c);
    raw_greet(&c, f.seqpacket);
    raw_close(&c);
    router_stop(&f);
}

/* ---- and a crash after it ---- */

static bool is_noted(const struct router_fixture *f)
{
    char path[128];
    struct stat st;

    (void) snprintf(path, sizeof(path), "%s.sessions", fixture_path(f->seqpacket));
    return stat(path, &st) == 0 && st.st_size > 64; /* more than its header */
}

/* A router that has just been waiting for somebody leaves it to the next one. */
static void sessions_remove(const struct router_fixture *f)
{
    char path[128];

    (void) snprintf(path, sizeof(path), "%s.sessions", fixture_path(f->seqpacket));
    (void) unlink(path);
}

static void on_state(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    (void) sub;
    (void) m;
    ++*(unsigned *) userdata;
}

/* Who would come back is known to the new one, too. */
static void test_those_who_come_back_do_so_after_a_replacement(void **state)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    struct router_fixture f;
    unsigned n = 0;

    (void) state;
    router_start(&f, &patient);
    opts.flags = BUS_OPEN_RECONNECT;
    assert_int_equal(bus_open(f.seqpacket, &opts, &conn), 0);
    assert_int_equal(bus_subscribe(conn, "a", NULL, on_state, &n, NULL), 0);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    assert_true(is_noted(&f));
    router_replace(&f, &patient);
    assert_true(is_noted(&f));
    router_kill9(&f);
    router_restart(&f, NULL);
    while (n == 0) {
        int r = bus_publish(conn, "a", "x", 1);

        assert_true(r == 0 || r == -EAGAIN || r == -ENOTCONN);
        assert_true(bus_wait(conn, 100) >= 0);
        assert_true(bus_process(conn) >= 0);
    }
    bus_close(conn);
    sessions_remove(&f);
    router_stop(&f);
}

/* ---- many ---- */

#define CROWD 1000

static void test_the_pause_with_1000_clients_is_short(void **state)
{
    static const char *const args[] = {"--replace", "--replace-timeout", "60s", NULL};
    const struct router_options successor = {.args = args};
    static struct crowd crowd;
    struct router_fixture f;
    struct healthy_pair pair;
    struct address a;
    uint8_t hello[256];
    size_t n = crowd_greeting(hello, sizeof(hello), "idle/#");
    struct router_process old;
    struct bus_conn *ask;

    (void) state;
    crowd_allow(CROWD);
    router_start(&f, &patient);
    assert_int_equal(address_parse(f.seqpacket, &a), 0);
    while (crowd.n < CROWD) {
        if (crowd_connect(&crowd, &a)) {
            assert_int_equal(send(crowd.fds[crowd.n - 1].fd, hello, n, MSG_NOSIGNAL), n);
        }
    }
    assert_int_equal(bus_open(f.seqpacket, NULL, &ask), 0);
    while (router_counter(ask, "subscriptions_now") < CROWD) {
    }
    pair_start(&pair, &f);
    for (int i = 0; i < 5; i++) {
        pair_watch(&pair, 100, 0);
        old = f.process;
        router_restart(&f, &successor);
        assert_int_equal(router_wait(&old), 0);
        print_message("paused for %lu us\n", paused_us(&old));
        assert_true(paused_us(&old) > 0);
        router_discard(&old);
        assert_true(router_counter(ask, "clients_now") == CROWD + 3);
    }
    (void) pair_finish(&pair);
    assert_int_equal(router_counter(ask, "subscriptions_now"), CROWD);
    bus_close(ask);
    for (int i = 0; i < crowd.n; i++) {
        (void) close(crowd.fds[i].fd);
    }
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_notices_20_replacements),
        cmocka_unit_test(test_a_signal_replaces_it_by_the_program_that_is_there),
        cmocka_unit_test(test_the_old_one_goes_on_if_the_new_one_fails),
        cmocka_unit_test(test_without_a_descriptor_or_with_another_version_it_is_refused),
        cmocka_unit_test(test_another_user_may_not),
        cmocka_unit_test(test_with_nobody_to_replace_it_says_so),
        cmocka_unit_test(test_addresses_are_those_of_the_new_one),
        cmocka_unit_test(test_those_who_come_back_do_so_after_a_replacement),
        cmocka_unit_test(test_the_pause_with_1000_clients_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
