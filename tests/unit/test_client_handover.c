/* SPDX-License-Identifier: MIT */
/* Publishing bodies in buffers, loans and descriptors: what goes over the wire and when, and what
 * can be used again. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "support/fds.h"
#include "unit/test_client_fake.h"

#define LARGE 100000u

static uint8_t big[2u << 20];

static struct bus_topic *begin(struct fake *f)
{
    struct bus_topic *t = NULL;

    fake_take_buffers(f);
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    memset(big, 'b', sizeof(big));
    return t;
}

/* BUFFER, and what it is: sealed, and nothing that this side could write. */
static uint32_t hear_buffer(struct fake *f, int seals)
{
    struct frame frame;
    union wire_any m = fake_hear_frame(f, VERB_BUFFER, &frame);
    int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | seals;
    struct stat st;
    void *p;

    assert_int_equal(frame.fds, 1);
    assert_int_equal(frame.body_bytes, 0);
    assert_int_equal(m.buffer.flags, 0);
    assert_int_equal(fstat(f->parcel->fds[0], &st), 0);
    assert_true(m.buffer.bytes > 0 && (uint64_t) st.st_size >= m.buffer.bytes);
    assert_int_equal(fcntl(f->parcel->fds[0], F_GET_SEALS) & all, all);
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f->parcel->fds[0], 0);
    assert_ptr_equal(p, MAP_FAILED);
    assert_true(pwrite(f->parcel->fds[0], "x", 1, 0) < 0);
    assert_true(ftruncate(f->parcel->fds[0], 1) < 0);
    return m.buffer.id;
}

static struct wire_publish hear_place(struct fake *f, uint32_t buffer, size_t bytes)
{
    struct frame frame;
    struct wire_publish m = fake_hear_frame(f, VERB_PUBLISH, &frame).publish;

    assert_int_equal(m.buffer, buffer);
    assert_int_equal(m.bytes, bytes);
    assert_int_equal(frame.body_bytes, 0);
    assert_int_equal(frame.fds, 0);
    return m;
}

static void say_returned(struct fake *f, uint32_t buffer, uint64_t offset)
{
    struct wire_returned m = {buffer, offset};

    fake_say(f, VERB_RETURNED, &m);
    assert_int_equal(fake_settle(f), 0);
}

static void say_buffer_status(struct fake *f, enum bus_status code, uint32_t buffer)
{
    struct wire_status m = {(uint32_t) code, VERB_BUFFER, 0, 0, 0, {"why", 3}, buffer};

    fake_say(f, VERB_STATUS, &m);
    assert_int_equal(fake_settle(f), 0);
}

/* ---- bodies ---- */

static void test_small_bodies_go_in_the_frame_and_large_ones_in_a_buffer(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct wire_publish m;
    struct frame frame;
    uint32_t buffer;
    uint8_t *body;
    int fd;

    assert_int_equal(bus_topic_publish(t, big, 1000, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 1000);
    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    fd = dup(f->parcel->fds[0]);
    m = hear_place(f, buffer, LARGE);
    body = malloc(LARGE);
    assert_int_equal(pread(fd, body, LARGE, (off_t) m.offset), LARGE);
    assert_memory_equal(body, big, LARGE);
    free(body);
    (void) close(fd);
    assert_int_equal(f->conn->credit_bytes, f->conn->window_bytes - 1000 - LARGE);
    fake_hear_nothing(f);
}

static void test_the_threshold_is_an_option(void **state)
{
    struct fake *f = *state;
    struct frame frame;
    struct bus_topic *t;

    f->opts.buffer_threshold_bytes = 100;
    t = begin(f);
    assert_int_equal(bus_topic_publish(t, big, 99, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 99);
    assert_int_equal(bus_topic_publish(t, big, 100, NULL), 0);
    (void) hear_place(f, hear_buffer(f, F_SEAL_FUTURE_WRITE), 100);
}

static void test_a_buffer_is_announced_once_and_its_places_are_used_again(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    uint64_t first, second;
    uint32_t buffer;

    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    first = hear_place(f, buffer, LARGE).offset;
    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    second = hear_place(f, buffer, LARGE).offset;
    assert_true(second >= first + LARGE || first >= second + LARGE);
    say_returned(f, buffer, first);
    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    assert_int_equal(hear_place(f, buffer, LARGE).offset, first);
    say_returned(f, buffer, second);
    say_returned(f, buffer, first);
    fake_hear_nothing(f);
}

static void test_returned_of_what_was_not_published_ends_the_connection(void **state)
{
    static const struct wire_returned wrong[] = {{1, 1 << 17}, {1, 1},          {2, 0},
                                                 {0, 0},       {1, UINT64_MAX}, {UINT32_MAX, 0}};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct fake *f = fake_new(i % 2);
        struct bus_topic *t = begin(f);

        assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
        assert_int_equal(hear_buffer(f, F_SEAL_FUTURE_WRITE), 1);
        assert_int_equal(hear_place(f, 1, LARGE).offset, 0);
        fake_say(f, VERB_RETURNED, &wrong[i]);
        assert_int_equal(fake_settle(f), -ENOTCONN);
        assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
        fake_free(f);
    }
}

static void test_bodies_beyond_the_limit(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t;

    fake_take_buffers(f);
    f->welcome.body_max = 1500000;
    fake_start(f);
    assert_int_equal(bus_body_max(f->conn), 1500000);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    assert_int_equal(bus_topic_publish(t, big, 1500001, NULL), -EMSGSIZE);
    assert_int_equal(bus_topic_publish(t, big, 1500000, NULL), 0);
}

static void test_a_router_without_buffers_gets_bodies_in_frames_only(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = NULL;
    struct bus_loan *loan = NULL;
    struct frame frame;

    fake_take_buffers(f);
    f->welcome.features = 0;
    fake_start(f);
    assert_int_equal(bus_body_max(f->conn), f->welcome.inline_max);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    assert_int_equal(bus_topic_publish(t, big, 50000, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 50000);
    assert_int_equal(bus_loan(t, f->welcome.inline_max + 1, &loan), -EMSGSIZE);
    assert_int_equal(bus_loan(t, 50000, &loan), 0);
    assert_int_equal(bus_loan_publish(loan, 50000, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 50000);
}

/* ---- refused buffers ---- */

static void test_a_refused_buffer_is_not_used_any_more(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct frame frame;
    uint32_t buffer;

    assert_int_equal(bus_topic_publish(t, big, 50000, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    (void) hear_place(f, buffer, 50000);
    say_buffer_status(f, BUS_STATUS_LIMIT, buffer);
    fake_say_status(f, BUS_STATUS_UNKNOWN_BUFFER, VERB_PUBLISH, 1, 0, 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(f->n_status, 1);
    assert_int_equal(f->status, BUS_STATUS_LIMIT); /* the cause */
    assert_int_equal(f->status_sequence, 1);
    assert_int_equal(bus_topic_publish(t, big, 50000, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 50000); /* in the frame */
    assert_int_equal(bus_topic_publish(t, big, 1200000, NULL), 0);
    (void) hear_place(f, hear_buffer(f, F_SEAL_WRITE), 1200000); /* in a buffer of its own */
}

/* ---- buffers for one body ---- */

/* Returns the token of the PING behind it. */
static uint64_t publish_once(struct fake *f, struct bus_topic *t, uint32_t *ret_buffer)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;

    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, big, 1200000, &opts), 0);
    *ret_buffer = hear_buffer(f, F_SEAL_WRITE);
    assert_int_equal(hear_place(f, *ret_buffer, 1200000).offset, 0);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, *ret_buffer);
    return fake_hear(f, VERB_PING).ping.token;
}

static void say_pong(struct fake *f, uint64_t token)
{
    struct wire_pong m = {token};

    fake_say(f, VERB_PONG, &m);
    assert_int_equal(fake_settle(f), 0);
}

static void test_an_immutable_body_gets_a_buffer_of_its_own(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    uint32_t one, two;

    (void) publish_once(f, t, &one);
    (void) publish_once(f, t, &two);
    assert_int_not_equal(one, two);
    say_returned(f, one, 0);
    say_returned(f, two, 0);
    fake_hear_nothing(f);
}

/* With nobody to get it RETURNED is said before the UNBUFFER is heard. If the number were another
 * buffer's by then, its first place would seem to be free. */
static void test_returned_at_once_frees_nothing_else(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    uint32_t one, two, three;
    uint64_t token;

    token = publish_once(f, t, &one);
    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    two = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    assert_int_not_equal(two, one);
    (void) hear_place(f, two, LARGE);
    say_returned(f, one, 0);
    (void) publish_once(f, t, &three);
    assert_int_equal(three, one);
    say_pong(f, token); /* that is not the third one's */
    say_returned(f, three, 0);
    assert_int_equal(f->n_closed, 0);
}

/* However long its body is held: a subscriber that keeps many takes no number from the publisher.
 */
static void test_the_number_of_a_buffer_for_one_body_is_free_with_the_pong(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    uint32_t one, two, three;
    uint64_t token;

    token = publish_once(f, t, &one);
    (void) publish_once(f, t, &two);
    assert_int_not_equal(two, one);
    say_pong(f, token);
    (void) publish_once(f, t, &three);
    assert_int_equal(three, one);
    assert_int_equal(f->n_closed, 0);
}

static void test_immutable_bodies_that_fit_go_in_the_frame(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct frame frame;

    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_topic_publish(t, big, 60000, &opts), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 60000); /* nobody can change that either */
}

static void test_as_many_buffers_as_the_router_allows(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t;
    uint32_t buffer[3];
    uint64_t token;

    opts.flags = BUS_PUBLISH_IMMUTABLE;
    fake_take_buffers(f);
    f->welcome.buffers_max = 2;
    fake_start(f);
    assert_int_equal(bus_advertise(f->conn, "t", &t), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    token = publish_once(f, t, &buffer[0]);
    (void) publish_once(f, t, &buffer[1]);
    assert_int_equal(bus_topic_publish(t, big, 1200000, &opts), -ENOBUFS);
    assert_int_equal(bus_sequence(f->conn), 2);
    say_pong(f, token);
    (void) publish_once(f, t, &buffer[2]);
    assert_int_equal(buffer[2], buffer[0]);
}

/* ---- loans ---- */

static void test_a_loan_is_published_where_it_is(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_loan *loan = NULL;
    struct wire_publish m;
    uint32_t buffer;
    char text[6];
    int fd;

    assert_int_equal(bus_loan(t, LARGE, &loan), 0);
    assert_int_equal(bus_loan_bytes(loan), LARGE);
    assert_int_equal((uintptr_t) bus_loan_data(loan) % 4096, 0);
    fake_hear_nothing(f);
    memcpy((uint8_t *) bus_loan_data(loan) + 1000, "where?", 6);
    assert_int_equal(bus_loan_publish(loan, LARGE + 1, NULL), -EINVAL);
    assert_int_equal(bus_loan_publish(loan, 50000, NULL), 0); /* not all of it */
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    fd = dup(f->parcel->fds[0]);
    m = hear_place(f, buffer, 50000);
    assert_int_equal(pread(fd, text, 6, (off_t) m.offset + 1000), 6);
    assert_memory_equal(text, "where?", 6);
    (void) close(fd);
    say_returned(f, buffer, m.offset);
}

static void test_loans_of_all_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 8192, 65537, 1u << 20, 1200000, 8u << 20};
    struct fake *f = *state;
    struct bus_topic *t = begin(f);

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct bus_loan *loan = NULL;

        assert_int_equal(bus_loan(t, sizes[i], &loan), 0);
        assert_non_null(bus_loan_data(loan));
        assert_int_equal((uintptr_t) bus_loan_data(loan) % 64, 0);
        memset(bus_loan_data(loan), 1, sizes[i]);
        bus_loan_cancel(loan);
        assert_int_equal(bus_loan(t, sizes[i], &loan), 0);
        assert_int_equal(bus_loan_publish(loan, sizes[i] / 2, NULL), 0);
        while (f->conn->outq.bytes > 0) { /* a frame of 512 KiB on a stream */
            assert_true(fake_read(f));
            assert_true(bus_process(f->conn) >= 0);
        }
    }
    assert_int_equal(bus_sequence(f->conn), ARRAY_LEN(sizes));
    bus_loan_cancel(NULL);
}

static void test_a_cancelled_loan_is_lent_again(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_loan *a = NULL, *b = NULL, *c = NULL;
    void *where;

    assert_int_equal(bus_loan(t, LARGE, &a), 0);
    assert_int_equal(bus_loan(t, LARGE, &b), 0);
    where = bus_loan_data(b);
    assert_ptr_not_equal(bus_loan_data(a), where);
    bus_loan_cancel(b);
    assert_int_equal(bus_loan(t, LARGE, &c), 0);
    assert_ptr_equal(bus_loan_data(c), where);
    bus_loan_cancel(c);
    fake_hear_nothing(f);
    /* a is left to bus_close() */
}

static void test_an_immutable_loan_is_copied(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_loan *loan = NULL, *again = NULL;
    uint32_t buffer;
    void *where;

    opts.flags = BUS_PUBLISH_IMMUTABLE;
    assert_int_equal(bus_loan(t, 1200000, &loan), 0);
    where = bus_loan_data(loan);
    assert_int_equal(bus_loan_publish(loan, 1200000, &opts), 0);
    buffer = hear_buffer(f, F_SEAL_WRITE);
    (void) hear_place(f, buffer, 1200000);
    assert_int_equal(bus_loan(t, 1200000, &again), 0);
    assert_ptr_equal(bus_loan_data(again), where); /* it was free at once */
}

static void test_a_loan_in_a_refused_buffer_goes_another_way(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_loan *a = NULL, *b = NULL;
    struct frame frame;
    uint32_t buffer;

    assert_int_equal(bus_loan(t, 50000, &a), 0);
    assert_int_equal(bus_loan(t, 50000, &b), 0);
    memset(bus_loan_data(b), 'l', 50000);
    assert_int_equal(bus_loan_publish(a, 50000, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    (void) hear_place(f, buffer, 50000);
    say_buffer_status(f, BUS_STATUS_LIMIT, buffer);
    assert_int_equal(bus_loan_publish(b, 50000, NULL), 0);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.body_bytes, 50000);
    assert_int_equal(frame.body[49999], 'l');
}

static void test_a_loan_that_cannot_be_published_stays(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct wire_publish_credit credit = {.messages = 1, .bytes = LARGE};
    struct bus_loan *loan = NULL;
    struct bus_topic *t;

    f->welcome.publish_window_messages = 1;
    t = begin(f);
    assert_int_equal(bus_topic_publish(t, "x", 1, NULL), 0);
    (void) fake_hear(f, VERB_PUBLISH);
    assert_int_equal(bus_loan(t, LARGE, &loan), 0);
    assert_int_equal(bus_loan_publish(loan, LARGE, NULL), -EAGAIN);
    opts.flags = 0x80;
    assert_int_equal(bus_loan_publish(loan, LARGE, &opts), -EINVAL);
    fake_say(f, VERB_PUBLISH_CREDIT, &credit);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(bus_loan_publish(loan, LARGE, NULL), 0);
    (void) hear_place(f, hear_buffer(f, F_SEAL_FUTURE_WRITE), LARGE);
}

static void test_a_loan_before_welcome_waits(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = NULL;
    struct bus_loan *loan = NULL;

    fake_connect(f);
    if (bus_advertise(f->conn, "t", &t) == 0) {
        assert_int_equal(bus_loan(t, 10, &loan), -EAGAIN);
        assert_null(loan);
    }
    fake_welcome(f);
}

/* Numbers and places are easily guessed. What is lent stays so, or it would be used twice. */
static void test_a_router_cannot_return_what_is_lent(void **state)
{
    const size_t sizes[] = {50000, 1200000}; /* one place of many, and a buffer of its own */
    struct wire_returned returned = {1, 0};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(sizes) * 2; i++) {
        struct fake *f = fake_new(true);
        struct bus_loan *loan = NULL;
        struct bus_topic *t;

        f->opts.pool_bytes_max = 5u << 20;
        t = begin(f);
        if (i % 2 == 1) {
            f->conn->pool.bytes_max = 0;
        }
        assert_int_equal(bus_loan(t, sizes[i / 2], &loan), 0);
        say_buffer_status(f, BUS_STATUS_LIMIT, 1);
        memset(bus_loan_data(loan), 1, bus_loan_bytes(loan));
        fake_say(f, VERB_RETURNED, &returned);
        assert_int_equal(fake_settle(f), -ENOTCONN);
        assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
        memset(bus_loan_data(loan), 1, bus_loan_bytes(loan));
        bus_loan_cancel(loan);
        fake_free(f);
    }
}

static void test_a_loan_outlives_the_connection_to_the_router(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_loan *a = NULL, *b = NULL;

    assert_int_equal(bus_loan(t, LARGE, &a), 0);
    assert_int_equal(bus_loan(t, LARGE, &b), 0);
    fake_hang_up(f);
    (void) fake_settle(f);
    assert_int_equal(f->n_closed, 1);
    memset(bus_loan_data(a), 1, LARGE);
    assert_int_equal(bus_loan_publish(a, LARGE, NULL), -ENOTCONN);
    bus_loan_cancel(a);
}

/* ---- child processes ---- */

static void test_a_child_that_cancels_a_loan_says_nothing(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_loan *loan = NULL;
    struct slot_list *list;
    uint32_t buffer;
    pid_t pid;

    assert_int_equal(bus_topic_publish(t, big, LARGE, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    say_returned(f, buffer, hear_place(f, buffer, LARGE).offset);
    assert_int_equal(bus_loan(t, LARGE, &loan), 0);
    list = &f->conn->pool.sizes[17 - SLOT_SHIFT_MIN];
    assert_true(list->n_slots > 0);
    list->n_takes = 1000; /* it is not needed any more */
    list->peak = 0;
    pid = fork();
    if (pid == 0) {
        bus_loan_cancel(loan);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    fake_hear_nothing(f);
    bus_loan_cancel(loan);
    assert_int_equal(fake_hear(f, VERB_UNBUFFER).unbuffer.id, buffer);
}

/* The child has the memory mapped, so nobody can say any more that it will not change. */
static void test_a_loan_can_be_published_after_a_fork(void **state)
{
    struct fake *f = *state;
    int pipes[2], letter = 0;
    struct bus_loan *loan = NULL;
    struct bus_topic *t;
    uint32_t buffer;
    pid_t pid;

    f->opts.pool_bytes_max = 1;
    t = begin(f);
    assert_int_equal(bus_loan(t, 1200000, &loan), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        (void) close(pipes[1]);
        _exit((int) read(pipes[0], &letter, 1)); /* until the parent has published */
    }
    assert_int_equal(bus_loan_publish(loan, 1200000, NULL), 0);
    buffer = hear_buffer(f, F_SEAL_FUTURE_WRITE);
    (void) hear_place(f, buffer, 1200000);
    (void) close(pipes[0]);
    (void) close(pipes[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- descriptors ---- */

static void test_descriptors_are_duplicated_and_go_along(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    int fds[BUS_FDS_MAX], ends[2];
    struct frame frame;
    unsigned before;
    char c = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    before = fds_open();
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = ends[1];
    }
    opts.fds = fds;
    for (size_t n = 1; n <= BUS_FDS_MAX; n += 5) {
        opts.n_fds = n;
        assert_int_equal(bus_topic_publish(t, "body", 4, &opts), 0);
        assert_int_equal(fds_open(), before); /* sent: the duplicates are closed */
        (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
        assert_int_equal(frame.fds, n);
        assert_int_equal(frame.body_bytes, 4);
        assert_int_equal(write(f->parcel->fds[n - 1], "!", 1), 1);
        assert_int_equal(read(ends[0], &c, 1), 1);
        fake_claim(f, 0);
    }
    (void) close(ends[0]);
    (void) close(ends[1]);
}

/* Of root's descriptors any number may be on its way, of others' as many as one process can have.
 */
static void be_another_user(rlim_t n_fds, struct rlimit *before)
{
    struct rlimit few;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
    few = (struct rlimit){n_fds, before->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(setresuid(65534, 65534, 0), 0);
}

static void be_root(const struct rlimit *before)
{
    assert_int_equal(setresuid(0, 0, 0), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, before), 0);
}

/* Until too many are on their way. Returns how many were published. */
static unsigned publish_until_blocked(struct fake *f, struct bus_topic *t)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    int fds[BUS_FDS_MAX];
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = f->listen_fd;
    }
    opts.fds = fds;
    opts.n_fds = ARRAY_LEN(fds);
    for (; !f->conn->blocked && n < 100; n++) {
        assert_int_equal(bus_topic_publish(t, "body", 4, &opts), 0);
    }
    return n;
}

/* The socket says that it takes more, and then it does not: to ask again and again is no waiting.
 */
static void test_waits_while_too_many_descriptors_are_on_their_way(void **state)
{
    struct fake *f = *state;
    struct rlimit before;
    struct bus_topic *t;
    struct pollfd p = {-1, POLLIN, 0};
    unsigned n, n_ready = 0, n_exposed = 0;

    if (geteuid() != 0) {
        skip();
    }
    t = begin(f);
    p.fd = bus_fd(f->conn);
    be_another_user(64, &before);
    n = publish_until_blocked(f, t);
    for (int i = 0; i < 100; i++) {
        n_exposed += (unsigned) poll(&p, 1, 0);
        n_ready += bus_wait(f->conn, 0) == 1;
        assert_int_equal(bus_process(f->conn), 0);
    }
    be_root(&before);
    assert_in_range(n_ready, 0, 99);
    assert_in_range(n_exposed, 0, 99);
    while (n > 0) {
        struct frame frame;
        union wire_any m;

        if (fake_next(f, &frame, &m)) {
            assert_int_equal(frame.fds, BUS_FDS_MAX);
            n--;
        } else {
            assert_int_equal(bus_wait(f->conn, -1), 1);
            assert_int_equal(bus_process(f->conn), 0);
        }
    }
    assert_int_equal(bus_wait(f->conn, 0), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
}

static void test_descriptors_with_a_body_in_a_buffer_and_a_name(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct frame frame;
    int fd = fd_any();

    opts.fds = &fd;
    opts.n_fds = 1;
    assert_int_equal(bus_topic_publish(t, big, 1200000, &opts), 0);
    (void) hear_buffer(f, F_SEAL_FUTURE_WRITE);
    assert_int_equal(fake_hear_frame(f, VERB_PUBLISH, &frame).publish.bytes, 1200000);
    assert_int_equal(frame.fds, 1);
    assert_int_equal(bus_publish_with(f->conn, "by/name", "x", 1, &opts), 0);
    (void) fake_hear(f, VERB_ADVERTISE);
    (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
    assert_int_equal(frame.fds, 1);
    (void) close(fd);
}

static void test_bad_descriptors_are_refused_and_nothing_leaks(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    int fds[BUS_FDS_MAX + 1] = {0};
    unsigned before = fds_open();

    opts.n_fds = 1;
    assert_int_equal(bus_topic_publish(t, "x", 1, &opts), -EINVAL);
    opts.fds = fds;
    opts.n_fds = BUS_FDS_MAX + 1;
    assert_int_equal(bus_topic_publish(t, "x", 1, &opts), -EINVAL);
    opts.n_fds = 2;
    fds[1] = -1;
    assert_int_equal(bus_topic_publish(t, "x", 1, &opts), -EBADF);
    fds[1] = 1000000;
    assert_int_equal(bus_topic_publish(t, "x", 1, &opts), -EBADF);
    assert_int_equal(fds_open(), before);
    assert_int_equal(bus_sequence(f->conn), 0);
    fake_hear_nothing(f);
}

static void test_each_frame_with_descriptors_begins_a_packet(void **state)
{
    struct fake *f = *state;
    struct bus_topic *t = begin(f);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct frame frame;
    int fd = fd_any();
    size_t packets = f->n_packets;

    opts.fds = &fd;
    opts.n_fds = 1;
    bus_cork(f->conn);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(bus_topic_publish(t, "x", 1, i % 2 ? &opts : NULL), 0);
    }
    assert_int_equal(bus_uncork(f->conn), 0);
    for (unsigned i = 0; i < 6; i++) {
        (void) fake_hear_frame(f, VERB_PUBLISH, &frame);
        assert_int_equal(frame.fds, i % 2);
    }
    assert_true(!f->seqpacket || f->n_packets - packets == 4);
    (void) close(fd);
}

static void test_what_is_not_sent_is_closed_with_the_connection(void **state)
{
    struct fake *f = *state;
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    unsigned before = fds_open();
    struct bus_topic *t = begin(f);
    int fd = fd_any();

    opts.fds = &fd;
    opts.n_fds = 1;
    bus_cork(f->conn);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(bus_topic_publish(t, big, LARGE, &opts), 0);
    }
    bus_close(f->conn);
    f->conn = NULL;
    (void) close(fd);
    (void) close(f->fd);
    f->fd = -1;
    while (f->n_batches > 0) {
        parcel_unref(f->batches[--f->n_batches]);
    }
    fake_claim(f, 0);
    assert_int_equal(fds_open(), before);
}

/* ---- memory ---- */

static bool play(bool seqpacket, unsigned long n)
{
    struct fake *f = fake_new(seqpacket);
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct bus_topic *t = begin(f);
    struct bus_loan *loan = NULL;
    unsigned long failed;
    unsigned n_done = 0;
    int fd = fd_any(), r[6];

    opts.fds = &fd;
    opts.n_fds = 1;
    opts.flags = BUS_PUBLISH_IMMUTABLE;
    failmalloc_arm(n);
    r[0] = bus_topic_publish(t, big, LARGE, NULL);
    r[1] = bus_topic_publish(t, big, 1200000, &opts);
    opts.flags = 0;
    r[2] = bus_topic_publish(t, big, 10, &opts);
    r[3] = bus_topic_publish(t, big, LARGE, &opts);
    r[4] = bus_loan(t, 1200000, &loan);
    r[5] = r[4] < 0 ? r[4] : bus_loan_publish(loan, 1200000, NULL);
    failed = failmalloc_disarm();
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        assert_true(r[i] == 0 || r[i] == -ENOMEM);
        n_done += i != 4 && r[i] == 0;
    }
    assert_int_equal(bus_sequence(f->conn), n_done);
    if (r[4] == 0 && r[5] < 0) {
        assert_int_equal(bus_loan_publish(loan, 1200000, NULL), 0);
        n_done++;
    }
    for (struct frame frame; n_done > 0;) { /* each place was announced before */
        union wire_any m;

        assert_true(fake_next(f, &frame, &m));
        n_done -= frame.verb == VERB_PUBLISH;
    }
    assert_int_equal(f->n_closed, 0);
    (void) close(fd);
    fake_free(f);
    return failed > 0;
}

static void test_each_allocation_fails_once(void **state)
{
    unsigned before = fds_open();

    (void) state;
    for (unsigned k = 0; k < 2; k++) {
        unsigned long n = 1;

        while (play(k == 0, n)) {
            n++;
        }
        assert_true(n > 8);
    }
    assert_int_equal(fds_open(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_small_bodies_go_in_the_frame_and_large_ones_in_a_buffer),
        ON_BOTH_LINKS(test_the_threshold_is_an_option),
        ON_BOTH_LINKS(test_a_buffer_is_announced_once_and_its_places_are_used_again),
        cmocka_unit_test(test_returned_of_what_was_not_published_ends_the_connection),
        ON_BOTH_LINKS(test_bodies_beyond_the_limit),
        ON_BOTH_LINKS(test_a_router_without_buffers_gets_bodies_in_frames_only),
        ON_BOTH_LINKS(test_a_refused_buffer_is_not_used_any_more),
        ON_BOTH_LINKS(test_an_immutable_body_gets_a_buffer_of_its_own),
        ON_BOTH_LINKS(test_returned_at_once_frees_nothing_else),
        ON_BOTH_LINKS(test_the_number_of_a_buffer_for_one_body_is_free_with_the_pong),
        ON_BOTH_LINKS(test_immutable_bodies_that_fit_go_in_the_frame),
        ON_BOTH_LINKS(test_as_many_buffers_as_the_router_allows),
        ON_BOTH_LINKS(test_a_loan_is_published_where_it_is),
        ON_BOTH_LINKS(test_loans_of_all_sizes),
        ON_BOTH_LINKS(test_a_cancelled_loan_is_lent_again),
        ON_BOTH_LINKS(test_an_immutable_loan_is_copied),
        ON_BOTH_LINKS(test_a_loan_in_a_refused_buffer_goes_another_way),
        ON_BOTH_LINKS(test_a_loan_that_cannot_be_published_stays),
        ON_BOTH_LINKS(test_a_loan_before_welcome_waits),
        cmocka_unit_test(test_a_router_cannot_return_what_is_lent),
        ON_BOTH_LINKS(test_a_loan_outlives_the_connection_to_the_router),
        ON_BOTH_LINKS(test_a_child_that_cancels_a_loan_says_nothing),
        ON_BOTH_LINKS(test_a_loan_can_be_published_after_a_fork),
        ON_BOTH_LINKS(test_descriptors_are_duplicated_and_go_along),
        ON_BOTH_LINKS(test_waits_while_too_many_descriptors_are_on_their_way),
        ON_BOTH_LINKS(test_descriptors_with_a_body_in_a_buffer_and_a_name),
        ON_BOTH_LINKS(test_bad_descriptors_are_refused_and_nothing_leaks),
        ON_BOTH_LINKS(test_each_frame_with_descriptors_begins_a_packet),
        ON_BOTH_LINKS(test_what_is_not_sent_is_closed_with_the_connection),
        cmocka_unit_test(test_each_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
