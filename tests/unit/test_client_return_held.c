/* SPDX-License-Identifier: MIT */
/* What an application holds when the link breaks: requests, calls, messages, loans, memory. */
#include <bus/drain.h>
#include <bus/request.h>
#include <fcntl.h>
#include <sys/mman.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_return.h"

#define BODY_BYTES 16384u

struct held {
    struct seen seen;
    struct bus_request *request;
    struct bus_call *call;
    struct bus_message *message;
    unsigned n_replies, n_cancelled, n_ends;
    enum bus_status status;
};

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct held *h = userdata;

    h->n_replies++;
    h->status = reply->status;
    assert_int_equal(reply->more, 0);
    assert_int_equal(bus_is_away(conn), 1);
    assert_int_equal(bus_request(conn, "a/b", "q", 1, NULL, on_reply, h, NULL), -ENOTCONN);
    bus_request_cancel(h->request); /* another, whose number means nothing any more */
    h->request = NULL;
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct held *h = userdata;

    h->call = call;
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct held *h = userdata;

    assert_ptr_equal(call, h->call);
    h->n_cancelled++;
    h->status = reason;
}

static void on_entry(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                     enum bus_status status, void *userdata)
{
    struct held *h = userdata;

    (void) conn;
    assert_null(entry);
    h->n_ends++;
    h->status = status;
}

static void on_kept(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct held *h = userdata;

    (void) sub;
    if (!h->message) {
        h->message = bus_message_ref(message);
        assert_non_null(h->message);
    }
}

/* ---- requests and calls ---- */

static void test_requests_end_at_once(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_request(f->conn, "a/b", "1", 1, NULL, on_reply, &h, NULL), 0);
    assert_int_equal(bus_request(f->conn, "a/b", "2", 1, NULL, on_reply, &h, &h.request), 0);
    fake_lose(f);
    assert_int_equal(h.n_replies, 1);
    assert_int_equal(h.status, BUS_STATUS_DISCONNECTED);
    fake_accept_again(f);
    fake_welcome(f);
    fake_forget(f);
    while (fake_read(f)) {
        fake_forget(f);
    }
    assert_int_equal(bus_request(f->conn, "a/b", "3", 1, NULL, on_reply, &h, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_REQUEST).request.call, 1);
    fake_hear_nothing(f);
}

static void test_snapshots_end_at_once(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_COUNTERS, on_entry, &h), 0);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, on_entry, &h), 0);
    fake_lose(f);
    assert_int_equal(h.n_ends, 2);
    assert_int_equal(h.status, BUS_STATUS_DISCONNECTED);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, on_entry, &h), -ENOTCONN);
    fake_come_back(f);
    assert_int_equal(bus_snapshot(f->conn, BUS_SNAPSHOT_TOPICS, on_entry, &h), 0);
    (void) fake_hear(f, VERB_SNAPSHOT);
}

static void say_call(struct fake *f, uint64_t number)
{
    struct wire_call m = {.subscription = 1, .topic = 1, .sender = 1, .call = number};

    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    fake_say_body(f, VERB_CALL, &m, "q", 1);
    assert_int_equal(fake_settle(f), 0);
}

static void test_calls_are_cancelled_and_their_answers_go_nowhere(void **state)
{
    struct fake *f = *state;
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct held h = {.status = BUS_STATUS_OK};
    struct bus_call *old;

    return_quickly(f);
    fake_start(f);
    opts.on_cancel = on_cancel;
    assert_int_equal(bus_serve(f->conn, "a/b", &opts, on_call, &h, NULL), 0);
    say_call(f, 5);
    assert_non_null(h.call);
    fake_lose(f);
    assert_int_equal(h.n_cancelled, 1);
    assert_int_equal(h.status, BUS_STATUS_DISCONNECTED);
    assert_int_equal(bus_call_is_cancelled(h.call), 1);
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.flags, SUBSCRIBE_SERVE);
    (void) fake_hear(f, VERB_RESTORED);
    fake_welcome(f);
    old = TAKE(h.call);
    say_call(f, 5); /* another router has a number of its own */
    assert_non_null(h.call);
    assert_ptr_not_equal(h.call, old);
    assert_memory_equal(bus_message_data(bus_call_message(old)), "q", 1);
    assert_int_equal(bus_call_reply(old, "late", 4, NULL), 0);
    fake_hear_nothing(f);
    assert_int_equal(bus_call_reply(h.call, "answer", 6, NULL), 0);
    assert_int_equal(fake_hear(f, VERB_REPLY).reply.call, 5);
}

static void test_calls_are_freed_with_the_connection(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_serve(f->conn, "a/b", NULL, on_call, &h, NULL), 0);
    say_call(f, 5);
    fake_lose(f);
    bus_close(TAKE(f->conn)); /* the sanitizer sees what is left */
    assert_non_null(h.call);
}

/* ---- draining ---- */

static void on_drained(struct bus_sub *sub, enum bus_status status, void *userdata)
{
    struct held *h = userdata;

    h->n_ends++;
    h->status = status;
    bus_sub_unref(sub);
}

static void test_what_drains_does_not_come_back(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};
    struct bus_sub *before, *away, *stays;

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "before", NULL, on_kept, &h, &before), 0);
    assert_int_equal(bus_subscribe(f->conn, "away", NULL, on_kept, &h, &away), 0);
    assert_int_equal(bus_subscribe(f->conn, "stays", NULL, on_kept, &h, &stays), 0);
    assert_int_equal(bus_sub_drain(before, on_drained), 0);
    fake_lose(f);
    assert_int_equal(h.n_ends, 1);
    assert_int_equal(h.status, BUS_STATUS_DISCONNECTED);
    assert_int_equal(bus_sub_drain(away, on_drained), 0);
    assert_int_equal(bus_sub_drain(away, on_drained), -EALREADY);
    assert_int_equal(h.n_ends, 1); /* not inside the call */
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    assert_text(fake_hear(f, VERB_SUBSCRIBE).subscribe.filter, "stays");
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
    fake_welcome(f);
    assert_int_equal(h.n_ends, 2);
    assert_int_equal(h.status, BUS_STATUS_DISCONNECTED);
    assert_int_equal(f->conn->n_draining, 0);
    assert_int_equal(f->conn->n_subs, 1);
}

/* ---- messages ---- */

static void test_kept_messages_stay_valid(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};

    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_kept, &h, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
        fake_bind(f, 1, i ? "other" : "a");
        fake_bind_peer(f, 1, i ? "else" : "peer");
        fake_say_message(f, 1, 7, i ? "y" : "x", 1);
        assert_int_equal(fake_settle(f), 0);
        if (i == 0) {
            fake_lose(f);
            fake_accept_again(f);
            fake_welcome(f);
        }
        assert_memory_equal(bus_message_data(h.message), "x", 1);
        assert_string_equal(bus_message_topic(h.message), "a");
        assert_string_equal(bus_message_sender(h.message)->name, "peer");
    }
    bus_message_unref(h.message);
}

static void test_an_old_message_cannot_be_acknowledged(void **state)
{
    struct fake *f = *state;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct wire_message m = {.subscription = 1, .topic = 1, .sender = 1, .delivery = 3};
    struct held h = {.status = BUS_STATUS_OK};

    return_quickly(f);
    fake_start(f);
    opts.group = "g";
    opts.flags = BUS_SUB_ACK;
    assert_int_equal(bus_subscribe(f->conn, "a", &opts, on_kept, &h, NULL), 0);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a");
    fake_bind_peer(f, 1, "peer");
    fake_say(f, VERB_MESSAGE, &m);
    assert_int_equal(fake_settle(f), 0);
    fake_lose(f);
    assert_int_equal(bus_message_ack(h.message), -ESTALE);
    fake_accept_again(f);
    fake_welcome(f);
    assert_int_equal(bus_message_ack(h.message), -ESTALE);
    assert_int_equal(bus_message_refuse(h.message), -ESTALE);
    bus_message_unref(h.message);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
}

static int memfd_of(const char *byte)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BODY_BYTES), 0);
    for (unsigned i = 0; i < BODY_BYTES; i++) {
        assert_int_equal(pwrite(fd, byte, 1, i), 1);
    }
    return fd;
}

static void say_in_buffer(struct fake *f, int fd, const char *topic)
{
    struct wire_buffer b = {.id = 1, .bytes = BODY_BYTES};
    struct wire_message m = {
        .subscription = 1, .topic = 1, .sender = 1, .buffer = 1, .bytes = BODY_BYTES, .lease = 1};

    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, topic);
    fake_bind_peer(f, 1, "peer");
    fake_send(f);
    fake_say(f, VERB_BUFFER, &b);
    fake_send_fds(f, &fd, 1, 1);
    fake_say(f, VERB_MESSAGE, &m);
    assert_int_equal(fake_settle(f), 0);
}

/* The lease was the old router's, and so was the promise that nobody writes there. */
static void test_a_body_in_a_buffer_stays_and_its_lease_is_not_released(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};
    int fd = memfd_of("x");

    fake_take_buffers(f);
    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_kept, &h, NULL), 0);
    say_in_buffer(f, fd, "a");
    assert_non_null(h.message);
    fake_lose(f);
    assert_int_equal(pwrite(fd, "y", 1, 0), 1);
    assert_memory_equal(bus_message_data(h.message), "xx", 2);
    fake_accept_again(f);
    fake_welcome(f);
    fake_forget(f);
    while (fake_read(f)) {
        fake_forget(f);
    }
    say_in_buffer(f, fd, "a"); /* the same numbers: its own lease is given back */
    assert_int_equal(fake_hear(f, VERB_RELEASE).release.lease, 1);
    bus_message_unref(h.message);
    fake_hear_nothing(f);
    (void) close(fd);
}

/* ---- our own buffers ---- */

static uint64_t hear_place(struct fake *f, uint32_t *ret_buffer)
{
    union wire_any m = fake_hear(f, VERB_PUBLISH);

    *ret_buffer = m.publish.buffer;
    return m.publish.offset;
}

static void test_published_memory_is_not_used_again(void **state)
{
    struct fake *f = *state;
    static uint8_t body[BODY_BYTES];
    uint32_t before, after;
    struct bus_topic *t;
    struct stat old, new;

    fake_take_buffers(f);
    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    (void) fake_hear(f, VERB_BUFFER);
    assert_int_equal(fstat(f->parcel->fds[0], &old), 0);
    (void) hear_place(f, &before);
    fake_lose(f); /* somebody may still be reading it */
    fake_accept_again(f);
    fake_welcome(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_RESTORED);
    assert_int_equal(f->conn->pool.bytes, 0);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    (void) fake_hear(f, VERB_BUFFER);
    assert_int_equal(fstat(f->parcel->fds[0], &new), 0);
    (void) hear_place(f, &after);
    assert_int_not_equal(old.st_ino, new.st_ino);
}

static void test_memory_that_nobody_reads_is_registered_again(void **state)
{
    struct fake *f = *state;
    static uint8_t body[BODY_BYTES];
    struct wire_returned returned = {0};
    struct bus_topic *t;
    struct stat old, new;

    fake_take_buffers(f);
    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    (void) fake_hear(f, VERB_BUFFER);
    assert_int_equal(fstat(f->parcel->fds[0], &old), 0);
    returned.offset = hear_place(f, &returned.buffer);
    fake_say(f, VERB_RETURNED, &returned);
    assert_int_equal(fake_settle(f), 0);
    fake_lose(f);
    fake_accept_again(f);
    fake_welcome(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_RESTORED);
    assert_int_equal(bus_topic_publish(t, body, sizeof(body), NULL), 0);
    assert_int_equal(fake_hear(f, VERB_BUFFER).buffer.id, returned.buffer);
    assert_int_equal(fstat(f->parcel->fds[0], &new), 0);
    assert_int_equal(old.st_ino, new.st_ino);
}

/* Two from one piece of memory, one of which was published before. */
static void test_loans_can_be_published_on_the_next_link(void **state)
{
    struct fake *f = *state;
    struct bus_loan *loans[2], *away;
    uint32_t numbers[3];
    struct bus_topic *t;

    fake_take_buffers(f);
    return_quickly(f);
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(bus_loan(t, BODY_BYTES, &loans[i]), 0);
        memset(bus_loan_data(loans[i]), 'a' + (int) i, BODY_BYTES);
    }
    assert_int_equal(bus_loan_publish(loans[0], BODY_BYTES, NULL), 0);
    (void) fake_hear(f, VERB_BUFFER);
    (void) hear_place(f, &numbers[0]);
    fake_lose(f);
    assert_int_equal(bus_loan(t, BODY_BYTES, &away), 0);
    memset(bus_loan_data(away), 'c', BODY_BYTES);
    assert_int_equal(bus_loan_publish(away, BODY_BYTES, NULL), -ENOTCONN);
    fake_accept_again(f);
    fake_welcome(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear(f, VERB_RESTORED);
    assert_int_equal(bus_loan_publish(loans[1], BODY_BYTES, NULL), 0);
    assert_int_equal(bus_loan_publish(away, BODY_BYTES, NULL), 0);
    for (unsigned i = 1; i < 3; i++) {
        struct frame frame;
        union wire_any m;
        uint8_t byte = 0;
        int fd = -1;

        while (fake_next(f, &frame, &m) && frame.verb == VERB_BUFFER) {
            fd = fcntl(f->parcel->fds[0], F_DUPFD_CLOEXEC, 0);
            numbers[1] = m.buffer.id;
        }
        assert_int_equal(frame.verb, VERB_PUBLISH);
        assert_int_equal(m.publish.buffer, numbers[1]);
        if (fd >= 0) {
            assert_int_equal(pread(fd, &byte, 1, (off_t) m.publish.offset), 1);
            assert_int_equal(byte, 'a' + i);
            (void) close(fd);
        }
    }
    assert_int_equal(f->n_closed, 0);
}

/* ---- memory ---- */

/* Whatever fails, it comes back, and says everything. False if nothing failed. */
static bool return_with_failure(struct fake *f, unsigned long n)
{
    unsigned n_subs = 0, n_topics = 0, n_wills = 0, n_publishes = 0;
    struct frame frame;
    union wire_any m;
    bool failed;

    fake_lose(f);
    assert_int_equal(bus_publish(f->conn, "t", "x", 1), 0);
    failmalloc_arm(n);
    while (f->conn->away) {
        (void) bus_wait(f->conn, PATIENCE_MS);
        assert_true(bus_process(f->conn) >= 0);
        if (f->conn->state == CONN_GREETING) {
            fake_accept_newest(f);
            fake_say(f, VERB_WELCOME, &f->welcome);
            fake_send(f);
        }
    }
    failed = failmalloc_disarm() > 0;
    if (f->conn->state == CONN_READY) { /* else it was the publish that failed */
        while (fake_next(f, &frame, &m)) {
            n_subs += frame.verb == VERB_SUBSCRIBE;
            n_topics += frame.verb == VERB_ADVERTISE;
            n_wills += frame.verb == VERB_WILL;
            n_publishes += frame.verb == VERB_PUBLISH;
        }
        assert_int_equal(n_subs, 2);
        assert_int_equal(n_topics, 1);
        assert_int_equal(n_wills, 1);
        assert_true(n_publishes >= 1);
        assert_int_equal(f->conn->session->backlog.n, 0);
    }
    return failed;
}

static void test_every_failed_allocation_of_a_return(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};
    unsigned long n = 1;

    return_quickly(f);
    f->opts.backlog_bytes_max = 1u << 20;
    fake_start(f);
    assert_int_equal(bus_subscribe(f->conn, "a", NULL, on_kept, &h, NULL), 0);
    assert_int_equal(bus_subscribe(f->conn, "b", NULL, on_kept, &h, NULL), 0);
    assert_int_equal(bus_publish(f->conn, "t", "x", 1), 0);
    assert_int_equal(bus_will(f->conn, "w", "x", 1, NULL), 0);
    while (return_with_failure(f, n)) {
        n++;
    }
    assert_true(n > 3);
    assert_int_equal(f->n_closed, 0);
}

static void test_every_failed_allocation_of_what_is_kept(void **state)
{
    struct fake *f = *state;
    struct held h = {.status = BUS_STATUS_OK};
    int r = -1;

    return_quickly(f);
    fake_start(f);
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_subscribe(f->conn, "a", NULL, on_kept, &h, NULL);
        if (r == 0) {
            (void) failmalloc_disarm();
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(f->conn->n_subs, 0);
    }
    assert_int_equal(r, 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_will(f->conn, "w", "x", 1, NULL);
        if (r == 0) {
            (void) failmalloc_disarm();
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(f->conn->session->wills);
    }
    assert_int_equal(r, 0);
    (void) fake_hear(f, VERB_WILL);
    fake_hear_nothing(f);
}

static void test_every_failed_allocation_of_opening(void **state)
{
    struct fake *f = *state;

    return_quickly(f);
    FOR_EACH_FAILING_MALLOC (n) {
        struct bus_conn *c = NULL;
        int r = bus_open(f->address, &f->opts, &c);

        assert_true(r == 0 ? c != NULL : r == -ENOMEM && c == NULL);
        bus_close(c);
        while (close(accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK)) == 0) {
            continue;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_requests_end_at_once),
        ON_BOTH_LINKS(test_snapshots_end_at_once),
        ON_BOTH_LINKS(test_calls_are_cancelled_and_their_answers_go_nowhere),
        ON_BOTH_LINKS(test_calls_are_freed_with_the_connection),
        ON_BOTH_LINKS(test_what_drains_does_not_come_back),
        ON_BOTH_LINKS(test_kept_messages_stay_valid),
        ON_BOTH_LINKS(test_an_old_message_cannot_be_acknowledged),
        ON_BOTH_LINKS(test_a_body_in_a_buffer_stays_and_its_lease_is_not_released),
        ON_BOTH_LINKS(test_published_memory_is_not_used_again),
        ON_BOTH_LINKS(test_memory_that_nobody_reads_is_registered_again),
        ON_BOTH_LINKS(test_loans_can_be_published_on_the_next_link),
        ON_BOTH_LINKS(test_every_failed_allocation_of_a_return),
        ON_BOTH_LINKS(test_every_failed_allocation_of_what_is_kept),
        ON_BOTH_LINKS(test_every_failed_allocation_of_opening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
