/* SPDX-License-Identifier: MIT */
/* Requests through a real router and the library, over both kinds of link: in one process, and
 * between processes that die. */
#include <bus/request.h>
#include <errno.h>
#include <sys/resource.h>
#include "support/children.h"
#include "support/fds.h"

#define LARGE (1u << 20)
#define CALLS_MAX 128u

/* What a server in this process has and does. */
struct server {
    struct bus_conn *conn;
    struct bus_sub *sub;
    bool keeps; /* the calls, for later; otherwise it answers with what was asked */
    struct bus_call *calls[CALLS_MAX];
    unsigned n_calls, n_cancelled;
    enum bus_status cancelled;
};

/* What a request has brought. */
struct asked {
    unsigned n_replies, n_ends, n_bad;
    enum bus_status status;
    uint32_t error, parts; /* parts: bits */
    uint32_t replied, gone, timed_out;
    size_t bytes;
    uint8_t fill;
    unsigned n_fds;
    bool wants_order; /* replies are 0, 1, 2, … */
};

struct scene {
    struct router_fixture f;
    struct bus_conn *asker;
    struct server server;
    bool packets;
};

/* ---- servers ---- */

static void answer(struct server *s, unsigned i)
{
    const struct bus_message *m = bus_call_message(s->calls[i]);

    assert_int_equal(bus_call_reply(s->calls[i], bus_message_data(m), bus_message_bytes(m), NULL),
                     0);
    s->calls[i] = NULL;
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct server *s = userdata;

    assert_true(s->n_calls < CALLS_MAX);
    assert_false(bus_call_is_cancelled(call));
    assert_true(bus_call_timeout_ms(call) > 0);
    s->calls[s->n_calls++] = call;
    if (!s->keeps) {
        answer(s, --s->n_calls);
    }
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct server *s = userdata;

    assert_true(bus_call_is_cancelled(call));
    s->n_cancelled++;
    s->cancelled = reason;
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    (void) sub;
    (void) text;
    (void) userdata;
    assert_int_equal(status, BUS_STATUS_OK);
}

static void server_start(struct server *s, const char *address, const char *filter, bool keeps)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;

    *s = (struct server){.keeps = keeps};
    opts.on_cancel = on_cancel;
    opts.on_ready = on_ready;
    opts.flags = BUS_SUB_DESCRIPTORS;
    assert_int_equal(bus_open(address, NULL, &s->conn), 0);
    assert_int_equal(bus_serve(s->conn, filter, &opts, on_call, s, &s->sub), 0);
    assert_int_equal(bus_flush(s->conn, FIXTURE_TIMEOUT_MS), 0);
}

static void server_stop(struct server *s)
{
    bus_close(s->conn);
    s->conn = NULL;
}

static const char *address_of(const struct scene *x)
{
    return x->packets ? x->f.seqpacket : x->f.stream;
}

static void scene_start(struct scene *x, bool packets, bool keeps)
{
    /* one of them stops it while there are clients who do not hear that */
    const char *const args[] = {"--drain-timeout", "100ms", NULL};
    const struct router_options o = {.args = args};

    memset(x, 0, sizeof(*x));
    x->packets = packets;
    router_start(&x->f, &o);
    assert_int_equal(bus_open(address_of(x), NULL, &x->asker), 0);
    server_start(&x->server, packets ? x->f.stream : x->f.seqpacket, "t/+", keeps);
}

/* Nothing that was asked is left in the router. */
static void scene_stop(struct scene *x)
{
    struct bus_conn *conn;
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    bus_close(x->asker);
    server_stop(&x->server);
    assert_int_equal(bus_open(x->f.seqpacket, NULL, &conn), 0);
    while (router_counter(conn, "requests_now") + router_counter(conn, "calls_now") > 0) {
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    assert_int_equal(router_counter(conn, "leases_now"), 0);
    bus_close(conn);
    router_stop(&x->f);
}

/* ---- asking ---- */

static void asked_note(struct asked *a, const struct bus_reply *reply)
{
    const uint8_t *data = bus_message_data(reply->message);

    a->bytes = bus_message_bytes(reply->message);
    a->fill = a->bytes > 0 ? data[0] : 0;
    for (size_t i = 0; i < a->bytes && !a->wants_order; i += 991) {
        a->n_bad += data[i] != data[0];
    }
    if (a->wants_order) {
        a->n_bad += a->bytes != 8 || load_u64le(data) != a->n_replies;
    }
    a->n_fds = (unsigned) bus_message_n_fds(reply->message);
    if (a->n_fds > 0) {
        a->n_bad += write(bus_message_fd(reply->message, 0), "r", 1) != 1;
    }
    a->error = reply->error;
    a->parts |= 1u << reply->part;
    a->n_replies++;
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct asked *a = userdata;

    (void) conn;
    assert_int_equal(a->n_ends, 0);
    if (reply->message) {
        asked_note(a, reply);
    }
    if (!reply->more) {
        a->n_ends++;
        a->status = reply->status;
        a->replied = reply->replied;
        a->gone = reply->gone;
        a->timed_out = reply->timed_out;
    }
}

static struct bus_request *ask(struct scene *x, const char *topic, struct asked *a,
                               const struct bus_request_opts *opts)
{
    struct bus_request *request;

    assert_int_equal(bus_request(x->asker, topic, "question", 8, opts, on_reply, a, &request), 0);
    return request;
}

/* Both sides work until *n has reached so many. */
static void settle(struct scene *x, const unsigned *n, unsigned until)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (*n < until) {
        struct pollfd fds[] = {{.fd = bus_fd(x->asker), .events = POLLIN},
                               {.fd = bus_fd(x->server.conn), .events = POLLIN}};

        assert_true(clock_monotonic_ns() < deadline_ns);
        assert_true(bus_process(x->asker) >= 0);
        assert_true(bus_process(x->server.conn) >= 0);
        if (*n < until) {
            (void) poll(fds, ARRAY_LEN(fds), 100);
        }
    }
}

/* ---- in one process ---- */

static void each_of_many_is_answered_once(bool packets)
{
    struct asked a[200] = {0};
    struct scene x;

    scene_start(&x, packets, false);
    for (size_t i = 0; i < ARRAY_LEN(a); i++) {
        (void) ask(&x, i % 2 ? "t/1" : "t/2", &a[i], NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(a); i++) {
        settle(&x, &a[i].n_ends, 1);
        assert_int_equal(a[i].status, BUS_STATUS_OK);
        assert_int_equal(a[i].n_replies, 1);
        assert_int_equal(a[i].bytes, 8);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(each_of_many_is_answered_once)

static void answers_may_come_later_and_in_any_order(bool packets)
{
    struct asked a[20] = {0};
    struct scene x;

    scene_start(&x, packets, true);
    for (size_t i = 0; i < ARRAY_LEN(a); i++) {
        (void) ask(&x, "t/later", &a[i], NULL);
    }
    settle(&x, &x.server.n_calls, ARRAY_LEN(a));
    for (unsigned i = ARRAY_LEN(a); i-- > 0;) {
        assert_int_equal(a[i].n_ends, 0);
        answer(&x.server, i);
        settle(&x, &a[i].n_ends, 1);
        assert_true(i == 0 || a[i - 1].n_ends == 0);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(answers_may_come_later_and_in_any_order)

static void a_long_stream_waits_for_its_reader(bool packets)
{
    struct bus_reply_opts more = BUS_REPLY_OPTS_INIT;
    uint8_t body[8];
    struct asked a = {.wants_order = true};
    unsigned n_waits = 0;
    struct scene x;

    more.flags = BUS_REPLY_MORE;
    scene_start(&x, packets, true);
    (void) ask(&x, "t/stream", &a, NULL);
    settle(&x, &x.server.n_calls, 1);
    for (unsigned i = 0; i < 1000; i++) {
        int r;

        store_u64le(body, i);
        while ((r = bus_call_reply(x.server.calls[0], body, 8, i < 999 ? &more : NULL)) ==
               -EAGAIN) {
            unsigned seen = a.n_replies;

            n_waits++;
            settle(&x, &a.n_replies, MIN(seen + 1, i));
            assert_int_equal(bus_flush(x.asker, FIXTURE_TIMEOUT_MS), 0);
            assert_int_equal(bus_flush(x.server.conn, FIXTURE_TIMEOUT_MS), 0);
        }
        assert_int_equal(r, 0);
    }
    settle(&x, &a.n_ends, 1);
    assert_int_equal(a.n_replies, 1000);
    assert_int_equal(a.n_bad, 0);
    assert_true(n_waits > 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_long_stream_waits_for_its_reader)

static void all_are_asked_and_accounted_for(bool packets)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct server others[3]; /* one answers, one goes, one is silent */
    struct asked a = {0};
    struct scene x;

    opts.flags = BUS_REQUEST_ALL;
    opts.timeout_ms = 1500; /* of the one that is silent: the others need time to answer */
    scene_start(&x, packets, false);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        server_start(&others[i], i % 2 ? x.f.seqpacket : x.f.stream, "t/#", i > 0);
    }
    (void) ask(&x, "t/all", &a, &opts);
    assert_int_equal(bus_flush(x.asker, FIXTURE_TIMEOUT_MS), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(bus_flush(others[i].conn, FIXTURE_TIMEOUT_MS), 0);
    }
    assert_int_equal(others[1].n_calls, 1);
    assert_int_equal(others[2].n_calls, 1);
    bus_sub_unref(others[1].sub);
    assert_true(bus_call_is_cancelled(others[1].calls[0]));
    bus_call_drop(others[1].calls[0]);
    assert_int_equal(bus_flush(others[1].conn, FIXTURE_TIMEOUT_MS), 0);
    settle(&x, &a.n_ends, 1);
    assert_int_equal(a.status, BUS_STATUS_OK);
    assert_int_equal(a.n_replies, 2);
    assert_int_equal(a.n_bad, 0);
    assert_int_equal(__builtin_popcount(a.parts), 2);
    assert_int_equal(a.parts & ~0x1eu, 0);
    assert_int_equal(a.replied, 2);
    assert_int_equal(a.gone, 1);
    assert_int_equal(a.timed_out, 1);
    assert_int_equal(bus_flush(others[2].conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(others[2].cancelled, BUS_STATUS_TIMEOUT);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        server_stop(&others[i]);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(all_are_asked_and_accounted_for)

static void large_bodies_go_both_ways(bool packets)
{
    static uint8_t body[LARGE];
    struct scene x;

    scene_start(&x, packets, false);
    for (unsigned i = 0; i < 50; i++) {
        struct asked a = {0};
        int r;

        memset(body, (int) i, sizeof(body));
        r = bus_request(x.asker, "t/large", body, sizeof(body), NULL, on_reply, &a, NULL);
        assert_int_equal(r, 0);
        settle(&x, &a.n_ends, 1);
        assert_int_equal(a.status, BUS_STATUS_OK);
        assert_int_equal(a.bytes, LARGE);
        assert_int_equal(a.fill, i);
        assert_int_equal(a.n_bad, 0);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(large_bodies_go_both_ways)

/* Large bodies that are kept, by both sides, stay as they are. */
static void large_calls_are_kept_until_they_are_answered(bool packets)
{
    static uint8_t body[LARGE];
    struct asked a[8] = {0};
    struct scene x;

    scene_start(&x, packets, true);
    for (unsigned i = 0; i < ARRAY_LEN(a); i++) {
        memset(body, (int) i + 1, sizeof(body));
        assert_int_equal(
            bus_request(x.asker, "t/l", body, sizeof(body), NULL, on_reply, &a[i], NULL), 0);
        settle(&x, &x.server.n_calls, i + 1 > 3 ? 3 : i + 1); /* its window is 4 MiB */
    }
    for (unsigned i = 0; i < ARRAY_LEN(a); i++) {
        settle(&x, &x.server.n_calls, i + 1);
        answer(&x.server, i);
        settle(&x, &a[i].n_ends, 1);
        assert_int_equal(a[i].fill, i + 1);
        assert_int_equal(a[i].n_bad, 0);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(large_calls_are_kept_until_they_are_answered)

static void descriptors_go_both_ways(bool packets)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_reply_opts with_fd = BUS_REPLY_OPTS_INIT;
    char buf[256];
    struct scene x;
    unsigned open;
    int ends[2];

    opts.flags = BUS_REQUEST_DESCRIPTORS;
    opts.n_fds = with_fd.n_fds = 1;
    scene_start(&x, packets, true);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    opts.fds = with_fd.fds = &ends[1];
    open = fds_open();
    for (unsigned i = 0; i < 50; i++) {
        struct asked a = {0};
        const struct bus_message *m;

        (void) ask(&x, "t/fds", &a, &opts);
        settle(&x, &x.server.n_calls, i + 1);
        m = bus_call_message(x.server.calls[i]);
        assert_int_equal(bus_message_n_fds(m), 1);
        assert_int_equal(write(bus_message_fd(m, 0), "c", 1), 1);
        assert_int_equal(bus_call_reply(x.server.calls[i], "x", 1, &with_fd), 0);
        settle(&x, &a.n_ends, 1);
        assert_int_equal(a.n_fds, 1);
        assert_int_equal(a.n_bad, 0);
    }
    assert_int_equal(read(ends[0], buf, sizeof(buf)), 100);
    assert_int_equal(memcmp(buf, "crcrcr", 6), 0);
    assert_int_equal(fds_open(), open);
    (void) close(ends[0]);
    (void) close(ends[1]);
    scene_stop(&x);
}
ON_BOTH_LINKS(descriptors_go_both_ways)

static void who_cancels_hears_nothing_and_the_server_does(bool packets)
{
    struct asked a = {0}, b = {0};
    struct bus_request *request;
    struct scene x;

    scene_start(&x, packets, true);
    request = ask(&x, "t/cancel", &a, NULL);
    settle(&x, &x.server.n_calls, 1);
    bus_request_cancel(request);
    settle(&x, &x.server.n_cancelled, 1);
    assert_int_equal(x.server.cancelled, BUS_STATUS_CANCELLED);
    answer(&x.server, 0); /* nobody hears of it */
    bus_request_cancel(ask(&x, "t/at-once", &a, NULL));
    (void) ask(&x, "t/other", &b, NULL);
    settle(&x, &x.server.n_calls, 3);
    answer(&x.server, 2);
    settle(&x, &b.n_ends, 1);
    bus_call_drop(x.server.calls[1]);
    assert_int_equal(a.n_replies + a.n_ends, 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(who_cancels_hears_nothing_and_the_server_does)

/* The reply and the cancellation cross. */
static void a_reply_that_comes_too_late_is_nothing_to_talk_about(bool packets)
{
    struct asked a = {0};
    struct bus_request *request;
    struct scene x;

    scene_start(&x, packets, true);
    request = ask(&x, "t/cancel", &a, NULL);
    settle(&x, &x.server.n_calls, 1);
    bus_request_cancel(request);
    assert_int_equal(bus_flush(x.asker, FIXTURE_TIMEOUT_MS), 0); /* the router knows */
    answer(&x.server, 0);
    assert_int_equal(bus_flush(x.server.conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(x.server.n_cancelled, 0);
    assert_int_equal(a.n_replies + a.n_ends, 0);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_reply_that_comes_too_late_is_nothing_to_talk_about)

static void a_timeout_is_told_to_both(bool packets)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct asked a = {0};
    struct scene x;

    opts.timeout_ms = 50;
    scene_start(&x, packets, true);
    (void) ask(&x, "t/slow", &a, &opts);
    settle(&x, &a.n_ends, 1);
    settle(&x, &x.server.n_cancelled, 1);
    assert_int_equal(a.status, BUS_STATUS_TIMEOUT);
    assert_int_equal(x.server.cancelled, BUS_STATUS_TIMEOUT);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_timeout_is_told_to_both)

static void a_dropped_call_is_an_error(bool packets)
{
    struct asked a = {0}, b = {0};
    struct scene x;

    scene_start(&x, packets, true);
    (void) ask(&x, "t/drop", &a, NULL);
    (void) ask(&x, "t/fail", &b, NULL);
    settle(&x, &x.server.n_calls, 2);
    bus_call_drop(x.server.calls[0]);
    assert_int_equal(bus_call_fail(x.server.calls[1], 17, "seventeen"), 0);
    settle(&x, &a.n_ends, 1);
    settle(&x, &b.n_ends, 1);
    assert_int_equal(a.status, BUS_STATUS_OK);
    assert_int_equal(a.error, BUS_ERROR_DROPPED);
    assert_int_equal(b.error, 17);
    assert_int_equal(b.bytes, 9);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_dropped_call_is_an_error)

static unsigned n_closed;

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    (void) conn;
    (void) text;
    assert_int_equal(reason, BUS_GOODBYE_SHUTDOWN);
    assert_int_equal(((struct asked *) userdata)->n_ends, 1); /* requests end first */
    n_closed++;
}

static void the_router_stops(bool packets)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct asked a = {0};
    struct scene x;

    scene_start(&x, packets, true);
    bus_close(x.asker);
    opts.on_closed = on_closed;
    opts.userdata = &a;
    n_closed = 0;
    assert_int_equal(bus_open(address_of(&x), &opts, &x.asker), 0);
    (void) ask(&x, "t/x", &a, NULL);
    settle(&x, &x.server.n_calls, 1);
    router_stop(&x.f);
    assert_int_equal(bus_run(x.asker), -ENOTCONN);
    assert_int_equal(a.n_ends, 1);
    assert_int_equal(a.status, BUS_STATUS_DISCONNECTED);
    assert_int_equal(n_closed, 1);
    assert_int_equal(bus_run(x.server.conn), -ENOTCONN);
    assert_true(bus_call_is_cancelled(x.server.calls[0]));
    assert_int_equal(bus_call_reply(x.server.calls[0], "x", 1, NULL), -ENOTCONN);
    bus_call_drop(x.server.calls[0]);
    bus_close(x.asker);
    server_stop(&x.server);
}
ON_BOTH_LINKS(the_router_stops)

/* ---- between processes ---- */

/* What the last level of a topic asks of the server in a process of its own. */
static void child_on_call(struct bus_call *call, void *userdata)
{
    const struct bus_message *m = bus_call_message(call);
    const char *what = strrchr(bus_message_topic(m), '/') + 1;
    struct bus_reply_opts more = BUS_REPLY_OPTS_INIT;
    struct child_self *self = userdata;

    more.flags = BUS_REPLY_MORE;
    self->report->done++;
    if (strcmp(what, "die") == 0) {
        (void) kill(getpid(), SIGKILL);
    } else if (strcmp(what, "signal") == 0) {
        CHILD_CHECK(self, kill(getppid(), SIGUSR1) == 0);
    } else if (strcmp(what, "fail") == 0) {
        CHILD_CHECK(self, bus_call_fail(call, 5, "no") == 0);
    } else if (strcmp(what, "stream") == 0) {
        CHILD_CHECK(self, bus_call_reply(call, "first", 5, &more) == 0);
        CHILD_CHECK(self, bus_call_reply(call, "last", 4, NULL) == 0);
    } else if (strcmp(what, "half") == 0) {
        CHILD_CHECK(self, bus_call_reply(call, "first", 5, &more) == 0);
    } else if (strcmp(what, "silent") != 0) {
        CHILD_CHECK(self,
                    bus_call_reply(call, bus_message_data(m), bus_message_bytes(m), NULL) == 0);
    }
}

static void child_on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct child_self *self = userdata;

    self->report->stalls = reason;
    self->report->lost++;
    bus_call_drop(call);
}

static void child_server(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct bus_conn *conn;
    int r = 0;

    opts.on_cancel = child_on_cancel;
    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_serve(conn, role->topic, &opts, child_on_call, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), r > 0 ? 0 : -1)) {
        r = bus_process(conn);
        CHILD_CHECK(self, r >= 0);
    }
    bus_close(conn);
}

static void child_on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    (void) conn;
    (void) reply;
    CHILD_CHECK((struct child_self *) userdata, !"a reply");
}

/* Asks, and hears nothing any more. */
static void child_asker(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    for (int i = 0; i < 3; i++) {
        CHILD_CHECK(self,
                    bus_request(conn, role->topic, "x", 1, NULL, child_on_reply, self, NULL) == 0);
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    (void) bus_run(conn);
}

static void the_requester_is_killed(bool packets)
{
    struct child_role role = {.topic = "t/x"};
    struct child asker;
    struct scene x;

    scene_start(&x, packets, true);
    role.address = address_of(&x);
    child_start(&asker, child_asker, &role);
    child_expect_ready(&asker);
    settle(&x, &x.server.n_calls, 3);
    assert_int_equal(x.server.n_cancelled, 0);
    child_kill9(&asker);
    settle(&x, &x.server.n_cancelled, 3);
    assert_int_equal(x.server.cancelled, BUS_STATUS_CANCELLED);
    for (unsigned i = 0; i < 3; i++) {
        bus_call_drop(x.server.calls[i]);
    }
    scene_stop(&x);
}
ON_BOTH_LINKS(the_requester_is_killed)

static void the_server_is_killed(bool packets)
{
    struct child_role role = {.topic = "c/+"};
    struct asked a[4] = {0};
    struct child server;
    struct scene x;

    scene_start(&x, packets, true);
    role.address = address_of(&x);
    child_start(&server, child_server, &role);
    child_expect_ready(&server);
    for (unsigned i = 0; i < 3; i++) {
        (void) ask(&x, i == 1 ? "c/half" : "c/silent", &a[i], NULL);
    }
    settle(&x, &a[1].n_replies, 1);
    while (server.report->done < 3) {
        children_watch((struct child *const[]){&server}, 1, 1);
    }
    child_kill9(&server);
    for (unsigned i = 0; i < 3; i++) {
        settle(&x, &a[i].n_ends, 1);
        assert_int_equal(a[i].status, BUS_STATUS_RESPONDER_GONE);
        assert_int_equal(a[i].n_replies, i == 1);
    }
    (void) ask(&x, "c/silent", &a[3], NULL);
    settle(&x, &a[3].n_ends, 1);
    assert_int_equal(a[3].status, BUS_STATUS_NO_RESPONDER);
    scene_stop(&x);
}
ON_BOTH_LINKS(the_server_is_killed)

/* A call that a stopped server has not read is its own all the same: nobody else gets it. */
static void a_server_that_is_stopped_and_killed_has_got_the_call(bool packets)
{
    struct child_role role = {.topic = "c/+"};
    struct child servers[2];
    struct asked a = {0};
    struct scene x;

    scene_start(&x, packets, true);
    role.address = address_of(&x);
    child_start(&servers[0], child_server, &role);
    child_expect_ready(&servers[0]);
    child_stop(&servers[0]);
    (void) ask(&x, "c/echo", &a, NULL);
    assert_int_equal(bus_flush(x.asker, FIXTURE_TIMEOUT_MS), 0);
    child_start(&servers[1], child_server, &role);
    child_expect_ready(&servers[1]);
    child_kill9(&servers[0]);
    settle(&x, &a.n_ends, 1);
    assert_int_equal(a.status, BUS_STATUS_RESPONDER_GONE);
    assert_int_equal(servers[1].report->done, 0);
    child_finish(&servers[1]);
    child_join(&servers[1]);
    child_forget(&servers[1]);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_server_that_is_stopped_and_killed_has_got_the_call)

/* ---- waiting ---- */

static void on_signal(int number)
{
    (void) number;
}

/* What bus_request_wait() brings from that topic. */
static struct bus_answer wait_for(struct scene *x, const char *topic, uint32_t timeout_ms)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_answer answer;

    opts.timeout_ms = timeout_ms;
    assert_int_equal(bus_request_wait(x->asker, topic, "body", 4, &opts, &answer), 0);
    assert_true((answer.status == BUS_STATUS_OK) == (answer.message != NULL));
    return answer;
}

static void expect_end(struct scene *x, const char *topic, enum bus_status status)
{
    assert_int_equal(wait_for(x, topic, 100).status, status);
}

static void expect_answer(struct scene *x, const char *topic, uint32_t error, const char *body)
{
    struct bus_answer answer = wait_for(x, topic, 0);

    assert_int_equal(answer.status, BUS_STATUS_OK);
    assert_int_equal(answer.error, error);
    assert_int_equal(bus_message_bytes(answer.message), strlen(body));
    assert_memory_equal(bus_message_data(answer.message), body, strlen(body));
    bus_message_unref(answer.message);
}

static void waiting_for_the_only_answer(bool packets)
{
    struct sigaction caught = {.sa_handler = on_signal}, before;
    struct child_role role = {.topic = "c/+"};
    struct bus_request_opts all = BUS_REQUEST_OPTS_INIT;
    struct bus_answer answer;
    struct child server;
    struct scene x;

    assert_int_equal(sigaction(SIGUSR1, &caught, &before), 0);
    scene_start(&x, packets, true);
    role.address = x.f.stream;
    child_start(&server, child_server, &role);
    child_expect_ready(&server);
    expect_answer(&x, "c/echo", 0, "body");
    expect_answer(&x, "c/fail", 5, "no");
    expect_answer(&x, "c/stream", 0, "last");
    expect_end(&x, "nobody", BUS_STATUS_NO_RESPONDER);
    expect_end(&x, "$bus/x", BUS_STATUS_NO_RESPONDER);
    expect_end(&x, "c/silent", BUS_STATUS_TIMEOUT);
    expect_end(&x, "c/half", BUS_STATUS_TIMEOUT);
    assert_int_equal(bus_request_wait(x.asker, "c/signal", "", 0, NULL, &answer), -EINTR);
    while (server.report->lost < 3) { /* two were too late, and one was cancelled */
        children_watch((struct child *const[]){&server}, 1, 1);
    }
    assert_int_equal(server.report->stalls, BUS_STATUS_CANCELLED);
    expect_answer(&x, "c/echo", 0, "body");
    all.flags = BUS_REQUEST_ALL;
    assert_int_equal(bus_request_wait(x.asker, "c/echo", "", 0, &all, &answer), -EINVAL);
    assert_int_equal(bus_request_wait(x.asker, "c/+", "", 0, NULL, &answer), -EINVAL);
    assert_int_equal(wait_for(&x, "c/die", 0).status, BUS_STATUS_RESPONDER_GONE);
    child_kill9(&server);
    scene_stop(&x);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}
ON_BOTH_LINKS(waiting_for_the_only_answer)

/* The router is killed by somebody who is asked. */
static void child_killer_on_call(struct bus_call *call, void *userdata)
{
    struct child_self *self = userdata;
    pid_t router = 0;

    memcpy(&router, bus_message_data(bus_call_message(call)), sizeof(router));
    CHILD_CHECK(self, kill(router, SIGKILL) == 0);
}

static void child_killer(struct child_self *self)
{
    const struct child_role *role = self->role;
    struct bus_conn *conn;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_serve(conn, role->topic, NULL, child_killer_on_call, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    CHILD_CHECK(self, bus_run(conn) == -ENOTCONN);
    bus_close(conn);
}

static void waiting_when_the_router_dies(bool packets)
{
    struct child_role role = {.topic = "kill"};
    struct router_fixture f;
    struct bus_answer answer;
    struct bus_conn *conn;
    struct child killer;

    router_start(&f, NULL);
    role.address = packets ? f.seqpacket : f.stream;
    child_start(&killer, child_killer, &role);
    child_expect_ready(&killer);
    assert_int_equal(bus_open(role.address, NULL, &conn), 0);
    assert_int_equal(bus_request_wait(conn, "kill", &f.process.pid, sizeof(pid_t), NULL, &answer),
                     0);
    assert_int_equal(answer.status, BUS_STATUS_DISCONNECTED);
    assert_null(answer.message);
    assert_int_equal(bus_request_wait(conn, "kill", "", 0, NULL, &answer), -ENOTCONN);
    bus_close(conn);
    child_join(&killer);
    child_forget(&killer);
    router_kill9(&f);
    fixture_dir_remove(f.dir);
}
ON_BOTH_LINKS(waiting_when_the_router_dies)

/* More than may wait to be sent: it is sent meanwhile. */
static void waiting_while_there_is_no_room(bool packets)
{
    static uint8_t body[60000];
    struct bus_opts opts = BUS_OPTS_INIT;
    struct child_role role = {.topic = "c/+"};
    struct bus_answer answer;
    struct child server;
    struct scene x;

    opts.max_out_bytes = 1; /* that is 256 KiB */
    opts.buffer_threshold_bytes = UINT64_MAX;
    scene_start(&x, packets, true);
    role.address = x.f.seqpacket;
    child_start(&server, child_server, &role);
    child_expect_ready(&server);
    bus_close(x.asker);
    assert_int_equal(bus_open(address_of(&x), &opts, &x.asker), 0);
    while (bus_publish(x.asker, "full", body, sizeof(body)) == 0) {
        continue;
    }
    assert_int_equal(bus_request_wait(x.asker, "c/echo", body, sizeof(body), NULL, &answer), 0);
    assert_int_equal(answer.status, BUS_STATUS_OK);
    assert_int_equal(bus_message_bytes(answer.message), sizeof(body));
    bus_message_unref(answer.message);
    child_finish(&server);
    child_join(&server);
    child_forget(&server);
    scene_stop(&x);
}
ON_BOTH_LINKS(waiting_while_there_is_no_room)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(each_of_many_is_answered_once),
        BOTH_CASES(answers_may_come_later_and_in_any_order),
        BOTH_CASES(a_long_stream_waits_for_its_reader),
        BOTH_CASES(all_are_asked_and_accounted_for),
        BOTH_CASES(large_bodies_go_both_ways),
        BOTH_CASES(large_calls_are_kept_until_they_are_answered),
        BOTH_CASES(descriptors_go_both_ways),
        BOTH_CASES(who_cancels_hears_nothing_and_the_server_does),
        BOTH_CASES(a_reply_that_comes_too_late_is_nothing_to_talk_about),
        BOTH_CASES(a_timeout_is_told_to_both),
        BOTH_CASES(a_dropped_call_is_an_error),
        BOTH_CASES(the_router_stops),
        BOTH_CASES(the_requester_is_killed),
        BOTH_CASES(the_server_is_killed),
        BOTH_CASES(a_server_that_is_stopped_and_killed_has_got_the_call),
        BOTH_CASES(waiting_for_the_only_answer),
        BOTH_CASES(waiting_when_the_router_dies),
        BOTH_CASES(waiting_while_there_is_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
