/* SPDX-License-Identifier: MIT */
/* Receiving bodies in buffers and descriptors: mappings, leases, what is kept, what is lost, and
 * routers that say nonsense about it. */
#include <bus/request.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "support/fds.h"
#include "unit/test_client_fake.h"

#define BYTES 16384u

struct seen {
    struct fake *f;
    unsigned n, n_lost;
    enum bus_loss_reason reason;
    const uint8_t *data;
    size_t bytes;
    int is_immutable;
    size_t n_fds;
    int fd;
    struct bus_message *kept[4];
    unsigned n_keep, n_kept;
};

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    s->n++;
    s->data = bus_message_data(message);
    s->bytes = bus_message_bytes(message);
    s->is_immutable = bus_message_is_immutable(message);
    s->n_fds = bus_message_n_fds(message);
    s->fd = bus_message_fd(message, 0);
    while (s->n_keep > 0) {
        s->n_keep--;
        s->kept[s->n_kept++] = bus_message_ref(message);
        assert_non_null(s->kept[s->n_kept - 1]);
    }
    if (s->bytes > 0) {
        assert_int_equal(s->data[s->bytes - 1], s->data[0]);
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct seen *s = userdata;

    (void) sub;
    assert_int_equal(loss->count, 1);
    s->n_lost++;
    s->reason = loss->reason;
}

/* A subscription that the router has accepted, and a topic and a sender to use. */
static struct bus_sub *begin(struct fake *f, struct seen *s, unsigned flags)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_sub *sub = NULL;

    *s = (struct seen){.f = f};
    fake_take_buffers(f);
    fake_start(f);
    opts.flags = flags;
    opts.on_loss = on_loss;
    assert_int_equal(bus_subscribe(f->conn, "a/#", &opts, on_message, s, &sub), 0);
    assert_int_equal(fake_hear(f, VERB_SUBSCRIBE).subscribe.flags, flags & 3);
    fake_say_status(f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, 1, 0);
    fake_bind(f, 1, "a/b");
    fake_bind_peer(f, 1, "peer");
    assert_int_equal(fake_settle(f), 0);
    return sub;
}

/* A memfd full of one letter. */
static int memfd_of(char letter, size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char *p;

    assert_true(fd >= 0 && ftruncate(fd, (off_t) bytes) == 0);
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    memset(p, letter, bytes);
    assert_int_equal(munmap(p, bytes), 0);
    return fd;
}

static void bind_buffer(struct fake *f, uint32_t id, char letter, bool immutable)
{
    struct wire_buffer m = {id, BYTES, immutable ? BUFFER_IMMUTABLE : 0};
    int fd = memfd_of(letter, BYTES);

    if (f->out_len > 0) {
        fake_send(f);
    }
    fake_say(f, VERB_BUFFER, &m);
    fake_send_fds(f, &fd, 1, 1);
    (void) close(fd);
}

static void say_in_buffer(struct fake *f, uint32_t buffer, uint64_t offset, uint64_t bytes,
                          uint32_t lease)
{
    struct wire_message m = {.subscription = 1,
                             .topic = 1,
                             .sender = 1,
                             .sequence = 1,
                             .time = 1,
                             .buffer = buffer,
                             .offset = offset,
                             .bytes = bytes,
                             .lease = lease};

    fake_say(f, VERB_MESSAGE, &m);
}

static void hear_release(struct fake *f, uint32_t lease, uint32_t flags)
{
    struct wire_release m = fake_hear(f, VERB_RELEASE).release;

    assert_int_equal(m.lease, lease);
    assert_int_equal(m.flags, flags);
}

/* ---- leases ---- */

static void test_a_body_is_seen_where_it_is_and_released(void **state)
{
    struct fake *f = *state;
    struct seen s;
    unsigned before;

    (void) begin(f, &s, 0);
    before = fds_open();
    bind_buffer(f, 3, 'x', false);
    say_in_buffer(f, 3, 100, 1000, 7);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.bytes, 1000);
    assert_int_equal(s.data[999], 'x');
    assert_int_equal(s.is_immutable, 0);
    assert_int_equal(fds_open(), before); /* mapped, and its descriptor closed */
    hear_release(f, 7, 0);
    say_in_buffer(f, 3, 0, 0, 7);
    say_in_buffer(f, 3, BYTES, 0, 8);
    say_in_buffer(f, 3, 0, BYTES, 9);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 4);
    for (uint32_t lease = 7; lease < 10; lease++) {
        hear_release(f, lease, 0);
    }
    fake_hear_nothing(f);
}

static void test_a_kept_message_is_released_with_its_last_reference(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) begin(f, &s, 0);
    bind_buffer(f, 1, 'x', true);
    s.n_keep = 2; /* two references to what the callback has borrowed */
    say_in_buffer(f, 1, 0, 1000, 5);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.is_immutable, 1);
    assert_ptr_equal(bus_message_ref(s.kept[0]), s.kept[0]);
    fake_hear_nothing(f);
    bus_message_unref(s.kept[0]);
    bus_message_unref(s.kept[1]);
    fake_hear_nothing(f);
    assert_int_equal(((const uint8_t *) bus_message_data(s.kept[0]))[0], 'x');
    bus_message_unref(s.kept[0]);
    hear_release(f, 5, 0);
    fake_hear_nothing(f);
}

static void test_kept_messages_outlive_the_connection(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) begin(f, &s, 0);
    bind_buffer(f, 1, 'x', false);
    s.n_keep = 2;
    say_in_buffer(f, 1, 0, 1000, 5);
    assert_int_equal(fake_settle(f), 0);
    fake_hang_up(f);
    (void) fake_settle(f);
    assert_int_equal(f->n_closed, 1);
    bus_message_unref(s.kept[0]);
    bus_close(f->conn);
    f->conn = NULL;
    assert_int_equal(((const uint8_t *) bus_message_data(s.kept[1]))[999], 'x');
    bus_message_unref(s.kept[1]);
}

static void test_unbuffer_while_it_is_held(void **state)
{
    struct fake *f = *state;
    struct wire_unbuffer m = {1};
    struct seen s;

    (void) begin(f, &s, 0);
    bind_buffer(f, 1, 'x', false);
    s.n_keep = 1;
    say_in_buffer(f, 1, 0, 1000, 5);
    fake_say(f, VERB_UNBUFFER, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(((const uint8_t *) bus_message_data(s.kept[0]))[999], 'x');
    bind_buffer(f, 1, 'y', false);
    say_in_buffer(f, 1, 0, 1000, 6);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.data[0], 'y');
    hear_release(f, 6, 0);
    assert_int_equal(((const uint8_t *) bus_message_data(s.kept[0]))[999], 'x');
    bus_message_unref(s.kept[0]);
    hear_release(f, 5, 0);
}

static void test_an_id_is_bound_again(void **state)
{
    struct fake *f = *state;
    struct seen s;

    (void) begin(f, &s, 0);
    for (unsigned i = 0; i < 20; i++) {
        bind_buffer(f, 1, (char) ('a' + i), i % 2);
        say_in_buffer(f, 1, 0, 1000, i + 1);
        assert_int_equal(fake_settle(f), 0);
        assert_int_equal(s.data[0], 'a' + i);
        assert_int_equal(s.is_immutable, i % 2);
        hear_release(f, i + 1, 0);
    }
}

/* Nobody is told of a message whose subscription is let go of; it is released all the same. */
static void test_messages_of_a_subscription_that_ends_are_released(void **state)
{
    struct fake *f = *state;
    struct bus_sub *sub;
    struct seen s;

    sub = begin(f, &s, 0);
    bus_sub_unref(sub);
    (void) fake_hear(f, VERB_UNSUBSCRIBE);
    bind_buffer(f, 1, 'x', false);
    say_in_buffer(f, 1, 0, 1000, 5);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 0);
    hear_release(f, 5, 0);
}

static void test_headers_go_with_a_body_in_a_buffer(void **state)
{
    struct fake *f = *state;
    struct wire_header header = {text_from("k"), text_from("v")};
    struct wire_message m = {.subscription = 1,
                             .topic = 1,
                             .sender = 1,
                             .sequence = 1,
                             .time = 1,
                             .buffer = 1,
                             .bytes = 10,
                             .lease = 2,
                             .descriptors = 3,
                             .headers = &header,
                             .n_headers = 1};
    struct seen s;

    (void) begin(f, &s, 0);
    bind_buffer(f, 1, 'x', false);
    s.n_keep = 1;
    fake_say(f, VERB_MESSAGE, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_string_equal(bus_message_header(s.kept[0], "k"), "v");
    assert_int_equal(bus_message_n_fds(s.kept[0]), 3);
    assert_int_equal(bus_message_fd(s.kept[0], 2), -ENOTSUP);
    assert_int_equal(bus_message_fd(s.kept[0], 3), -EINVAL);
    bus_message_unref(s.kept[0]);
    hear_release(f, 2, 0);
}

/* ---- copies ---- */

static void test_immutable_subscriptions_copy_what_could_change(void **state)
{
    struct fake *f = *state;
    const uint8_t *first;
    struct seen s;

    (void) begin(f, &s, BUS_SUB_IMMUTABLE);
    bind_buffer(f, 1, 'x', false);
    s.n_keep = 1;
    say_in_buffer(f, 1, 0, 1000, 5);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.is_immutable, 1);
    assert_int_equal(s.data[999], 'x');
    hear_release(f, 5, 0); /* at once, though it is kept */
    first = bus_message_data(s.kept[0]);
    assert_int_equal(first[999], 'x');
    bus_message_unref(s.kept[0]);
    bind_buffer(f, 2, 'y', true);
    s.n_kept = 0;
    s.n_keep = 1;
    say_in_buffer(f, 2, 0, 1000, 6);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.is_immutable, 1);
    fake_hear_nothing(f); /* not copied: held */
    bus_message_unref(s.kept[0]);
    hear_release(f, 6, 0);
}

/* ---- what does not come ---- */

static void test_a_buffer_that_did_not_come_is_forgotten_and_its_message_lost(void **state)
{
    struct fake *f = *state;
    struct wire_buffer m = {1, BYTES, 0};
    struct rlimit old, none;
    struct seen s;
    int fd;

    (void) begin(f, &s, 0);
    fd = memfd_of('x', BYTES);
    fake_say(f, VERB_BUFFER, &m);
    fake_send_fds(f, &fd, 1, 1);
    say_in_buffer(f, 1, 100, 1000, 5);
    fake_send(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 1; /* the kernel cuts the batch */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (bus_process(f->conn) > 0) {
        continue;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.n_lost, 1);
    assert_int_equal(s.reason, BUS_LOSS_NO_DESCRIPTORS);
    hear_release(f, 5, RELEASE_FORGET);
    bind_buffer(f, 1, 'x', false); /* as the router does then */
    say_in_buffer(f, 1, 100, 1000, 5);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 1);
    hear_release(f, 5, 0);
    (void) close(fd);
}

/* By the second time the router may have bound it anew: that one must not be forgotten. */
static void test_a_buffer_is_forgotten_once(void **state)
{
    struct fake *f = *state;
    struct wire_buffer m = {1, BYTES, 0};
    struct seen s;
    int fd;

    (void) begin(f, &s, 0);
    fd = memfd_of('x', BYTES - 1);
    fake_say(f, VERB_BUFFER, &m);
    fake_send_fds(f, &fd, 1, 1);
    say_in_buffer(f, 1, 0, 10, 5);
    say_in_buffer(f, 1, 10, 10, 6);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_lost, 2);
    hear_release(f, 5, RELEASE_FORGET);
    hear_release(f, 6, 0);
    (void) close(fd);
}

/* Not what the router has checked: smaller than it says, or no file at all. */
static void test_a_buffer_that_cannot_be_mapped_is_lost(void **state)
{
    struct fake *f = *state;
    struct wire_buffer m = {1, BYTES, 0};
    struct seen s;
    int fds[2];

    (void) begin(f, &s, 0);
    fds[0] = memfd_of('x', BYTES - 1);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_say(f, VERB_BUFFER, &m);
        fake_send_fds(f, &fds[i], 1, 1);
        say_in_buffer(f, 1, 0, 10, 5 + i);
        assert_int_equal(fake_settle(f), 0);
        assert_int_equal(s.n_lost, i + 1);
        hear_release(f, 5 + i, RELEASE_FORGET);
    }
    (void) close(fds[0]);
    (void) close(fds[1]);
}

/* ---- descriptors ---- */

static void say_with_fds(struct fake *f, const int *fds, unsigned n_sent, unsigned n)
{
    struct wire_message m = {
        .subscription = 1, .topic = 1, .sender = 1, .sequence = 1, .time = 1, .descriptors = n};

    fake_say_body(f, VERB_MESSAGE, &m, "aa", 2);
    fake_send_fds(f, fds, n_sent, n);
    assert_int_equal(fake_settle(f), 0);
}

static void test_descriptors_belong_to_their_message(void **state)
{
    struct fake *f = *state;
    unsigned before;
    struct seen s;
    int fds[16];

    (void) begin(f, &s, BUS_SUB_DESCRIPTORS);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = fd_any();
    }
    before = fds_open();
    say_with_fds(f, fds, 16, 16);
    assert_int_equal(s.n_fds, 16);
    assert_true(s.fd >= 0);
    assert_int_equal(fds_open(), before); /* closed after the callback */
    s.n_keep = 2;
    say_with_fds(f, fds, 3, 3);
    assert_int_equal(fds_open(), before + 3);
    assert_int_equal(fcntl(bus_message_fd(s.kept[0], 2), F_GETFD), FD_CLOEXEC);
    assert_int_equal(bus_message_fd(s.kept[1], 2), bus_message_fd(s.kept[0], 2));
    assert_int_equal(bus_message_fd(s.kept[0], 3), -EINVAL);
    bus_message_unref(s.kept[0]);
    assert_int_equal(fds_open(), before + 3);
    bus_message_unref(s.kept[1]);
    assert_int_equal(fds_open(), before);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        (void) close(fds[i]);
    }
}

static void test_a_batch_of_another_size_is_as_good_as_none(void **state)
{
    struct fake *f = *state;
    int fds[2] = {fd_any(), fd_any()};
    unsigned before;
    struct seen s;

    (void) begin(f, &s, BUS_SUB_DESCRIPTORS);
    before = fds_open();
    say_with_fds(f, fds, 1, 2);
    assert_int_equal(s.n, 1); /* delivered without them, and says so */
    assert_int_equal(s.n_fds, 2);
    assert_int_equal(s.fd, -EMFILE);
    say_with_fds(f, fds, 2, 2);
    assert_int_equal(s.n, 2);
    assert_true(s.fd >= 0);
    assert_int_equal(fds_open(), before);
    (void) close(fds[0]);
    (void) close(fds[1]);
}

/* ---- nonsense ---- */

static void expect_violation(struct fake *f)
{
    assert_int_equal(fake_settle(f), -ENOTCONN);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->goodbye, BUS_GOODBYE_PROTOCOL_ERROR);
}

static void test_places_that_are_none(void **state)
{
    static const struct wire_message cases[] = {
        {.buffer = 2, .bytes = 1, .lease = 1},
        {.buffer = UINT32_MAX, .bytes = 1, .lease = 1},
        {.buffer = 1, .bytes = 1, .lease = 0},
        {.buffer = 1, .bytes = BYTES + 1, .lease = 1},
        {.buffer = 1, .offset = BYTES + 1, .lease = 1},
        {.buffer = 1, .offset = BYTES, .bytes = 1, .lease = 1},
        {.buffer = 1, .offset = UINT64_MAX, .bytes = 2, .lease = 1},
        {.buffer = 1, .offset = 2, .bytes = UINT64_MAX, .lease = 1},
        {.buffer = 1, .offset = 1, .bytes = BYTES, .lease = 1, .descriptors = 1}};

    (void) state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct fake *f = fake_new(i % 2);
        struct wire_message m = cases[i / 2];
        struct seen s;

        (void) begin(f, &s, 0);
        bind_buffer(f, 1, 'x', false);
        m.subscription = m.topic = m.sender = 1;
        m.sequence = 1;
        m.time = 1;
        fake_say(f, VERB_MESSAGE, &m);
        expect_violation(f);
        assert_int_equal(s.n, 0);
        fake_free(f);
    }
}

static void test_buffers_that_are_none(void **state)
{
    static const struct wire_buffer cases[] = {
        {0, BYTES, 0}, {1, 0, 0}, {UINT32_MAX, BYTES, 0}, {1, UINT64_MAX, 0}};

    (void) state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct fake *f = fake_new(i % 2);
        int fd = memfd_of('x', BYTES);
        struct seen s;

        (void) begin(f, &s, 0);
        fake_say(f, VERB_BUFFER, &cases[i / 2]);
        fake_send_fds(f, &fd, 1, 1);
        (void) close(fd);
        expect_violation(f);
        fake_free(f);
    }
}

static void test_descriptors_that_do_not_come(void **state)
{
    struct wire_buffer m = {1, BYTES, 0};
    struct fake *f = *state;
    struct seen s;

    (void) begin(f, &s, 0);
    fake_say(f, VERB_BUFFER, &m);
    f->out[FRAME_PREFIX_BYTES - 1] = 1;
    expect_violation(f);
}

static void test_descriptors_on_a_frame_that_takes_none(void **state)
{
    struct wire_ping m = {1};
    struct fake *f = *state;
    int fd = fd_any();
    struct seen s;

    (void) begin(f, &s, 0);
    fake_say(f, VERB_PING, &m);
    fake_send_fds(f, &fd, 1, 1);
    (void) close(fd);
    expect_violation(f);
}

static void test_descriptors_that_no_frame_asks_for(void **state)
{
    struct wire_ping m = {1};
    struct fake *f = *state;
    int fd = fd_any();
    struct seen s;
    unsigned before = fds_open();

    (void) begin(f, &s, 0);
    for (unsigned i = 0; i < 3; i++) {
        fake_say(f, VERB_PING, &m);
        fake_send_fds(f, &fd, 1, 0);
    }
    expect_violation(f);
    bus_close(f->conn);
    f->conn = NULL;
    fake_hang_up(f);
    assert_int_equal(fds_open(), before);
    (void) close(fd);
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct seen *s = userdata;

    assert_int_equal(bus_message_bytes(bus_call_message(call)), 1000);
    s->n++;
}

/* What is left of it at bus_close() still has a lease. */
static void test_a_call_in_a_buffer_at_the_end(void **state)
{
    struct fake *f = *state;
    struct seen s;
    struct wire_call m = {.subscription = 2,
                          .call = 5,
                          .topic = 1,
                          .sender = 1,
                          .time = 1,
                          .timeout_ms = 1000,
                          .buffer = 1,
                          .offset = 0,
                          .bytes = 1000,
                          .lease = 1};

    (void) begin(f, &s, 0);
    assert_int_equal(bus_serve(f->conn, "a/b", NULL, on_call, &s, NULL), 0);
    (void) fake_hear(f, VERB_SUBSCRIBE);
    bind_buffer(f, 1, 'x', false);
    fake_say(f, VERB_CALL, &m);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n, 1);
    bus_close(f->conn);
    f->conn = NULL;
    assert_int_equal(fake_hear(f, VERB_GOODBYE).goodbye.reason, BUS_GOODBYE_NORMAL);
}

static void test_unbuffer_of_nothing(void **state)
{
    struct wire_unbuffer m = {1};
    struct fake *f = *state;
    struct seen s;

    (void) begin(f, &s, 0);
    fake_say(f, VERB_UNBUFFER, &m);
    expect_violation(f);
}

/* ---- memory ---- */

static bool play(bool seqpacket, unsigned flags, unsigned long n)
{
    struct fake *f = fake_new(seqpacket);
    unsigned long failed;
    struct seen s;
    int fd = fd_any(), r;

    (void) begin(f, &s, flags);
    bind_buffer(f, 1, 'x', false);
    say_in_buffer(f, 1, 0, 1000, 1);
    fake_send(f);
    bind_buffer(f, 40, 'y', true);
    say_in_buffer(f, 40, 10, 1000, 2);
    fake_send(f);
    failmalloc_arm(n);
    do {
        r = bus_process(f->conn);
    } while (r > 0);
    failed = failmalloc_disarm();
    if (r == 0) {
        r = fake_settle(f);
    }
    /* a copy there was no memory for is one message lost, all else is the end */
    assert_true(r == 0 || r == -ENOTCONN);
    assert_int_equal(f->n_closed, r != 0);
    assert_int_equal(f->goodbye, r != 0 ? BUS_GOODBYE_NO_MEMORY : 0);
    if (r == 0) {
        say_with_fds(f, &fd, 1, 1);
        assert_int_equal(s.n + s.n_lost, 3);
        assert_true(s.n_lost == 0 || (failed > 0 && s.reason == BUS_LOSS_NO_MEMORY));
    }
    (void) close(fd);
    fake_free(f);
    return failed > 0;
}

static void test_each_allocation_fails_once(void **state)
{
    unsigned before = fds_open();

    (void) state;
    for (unsigned k = 0; k < 4; k++) {
        unsigned long n = 1;

        while (play(k & 1, k & 2 ? BUS_SUB_IMMUTABLE : 0, n)) {
            n++;
        }
        assert_true(n > 4);
    }
    assert_int_equal(fds_open(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH_LINKS(test_a_body_is_seen_where_it_is_and_released),
        ON_BOTH_LINKS(test_a_kept_message_is_released_with_its_last_reference),
        ON_BOTH_LINKS(test_kept_messages_outlive_the_connection),
        ON_BOTH_LINKS(test_unbuffer_while_it_is_held),
        ON_BOTH_LINKS(test_an_id_is_bound_again),
        ON_BOTH_LINKS(test_messages_of_a_subscription_that_ends_are_released),
        ON_BOTH_LINKS(test_headers_go_with_a_body_in_a_buffer),
        ON_BOTH_LINKS(test_immutable_subscriptions_copy_what_could_change),
        ON_BOTH_LINKS(test_a_buffer_that_did_not_come_is_forgotten_and_its_message_lost),
        ON_BOTH_LINKS(test_a_buffer_is_forgotten_once),
        ON_BOTH_LINKS(test_a_buffer_that_cannot_be_mapped_is_lost),
        ON_BOTH_LINKS(test_descriptors_belong_to_their_message),
        ON_BOTH_LINKS(test_a_batch_of_another_size_is_as_good_as_none),
        cmocka_unit_test(test_places_that_are_none),
        cmocka_unit_test(test_buffers_that_are_none),
        ON_BOTH_LINKS(test_descriptors_that_do_not_come),
        ON_BOTH_LINKS(test_descriptors_on_a_frame_that_takes_none),
        ON_BOTH_LINKS(test_descriptors_that_no_frame_asks_for),
        ON_BOTH_LINKS(test_a_call_in_a_buffer_at_the_end),
        ON_BOTH_LINKS(test_unbuffer_of_nothing),
        cmocka_unit_test(test_each_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
