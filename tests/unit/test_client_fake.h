/* SPDX-License-Identifier: MIT */
#pragma once
/* A router for the tests of the client library that does only what a test tells it to, in the same
 * thread: frames are said to the client and heard from it one by one. */

#include <bus/bus.h>
#include <bus/monitor.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/address.h"
#include "base/arena.h"
#include "base/sock.h"
#include "support/texts.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define FAKE_IN_BYTES (4u << 20)
#define FAKE_OUT_BYTES (4u << 20)

struct fake {
    bool seqpacket;
    int listen_fd;
    int fd; /* -1 before the client has connected */
    char dir[64];
    char address[128];
    struct wire_welcome welcome;
    struct arena arena;
    size_t out_len; /* said, but not sent */
    size_t in_pos, in_len;
    size_t n_packets;           /* received so far; reads on a stream */
    struct parcel *batches[64]; /* received and not claimed by a frame yet */
    unsigned n_batches;
    struct parcel *parcel; /* of the frame that was heard last, or NULL */
    uint8_t *in;
    uint8_t *out;
    /* the client's side */
    struct bus_conn *conn;
    struct bus_opts opts;
    unsigned n_closed, n_writable, n_status;
    enum bus_goodbye goodbye;
    char text[256];
    enum bus_status status;
    uint64_t status_sequence;
    char status_topic[256];
    char status_text[256];
};

/* ---- the socket ---- */

static inline void fake_listen(struct fake *f)
{
    struct address a;
    struct sock_name name;

    (void) snprintf(f->dir, sizeof(f->dir), "/tmp/bus-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void) snprintf(f->address, sizeof(f->address), "%s:%s/s",
                    f->seqpacket ? "seqpacket" : "stream", f->dir);
    assert_int_equal(address_parse(f->address, &a), 0);
    assert_int_equal(sock_name_init(&name, &a), 0);
    f->listen_fd = sock_new(f->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM);
    assert_true(f->listen_fd >= 0);
    assert_int_equal(bind(f->listen_fd, (const struct sockaddr *) &name.sun, name.bytes), 0);
    assert_int_equal(listen(f->listen_fd, 8), 0);
    sock_name_fini(&name);
}

static inline void fake_accept(struct fake *f)
{
    f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(f->fd >= 0);
}

static inline void fake_hang_up(struct fake *f)
{
    assert_int_equal(close(f->fd), 0);
    f->fd = -1;
}

/* ---- saying ---- */

static inline void fake_say_bytes(struct fake *f, const void *bytes, size_t n)
{
    assert_true(n <= FAKE_OUT_BYTES - f->out_len);
    memcpy(f->out + f->out_len, bytes, n);
    f->out_len += n;
}

static inline void fake_say_body(struct fake *f, enum verb verb, const void *m, const void *body,
                                 size_t bytes)
{
    uint8_t header[FRAME_PREFIX_BYTES + FRAME_HEADER_MAX];
    long n = codec_encode(&f->arena, verb, m, header + FRAME_PREFIX_BYTES, FRAME_HEADER_MAX);

    assert_true(n >= 0);
    frame_write_prefix(header, verb, (size_t) n, bytes);
    fake_say_bytes(f, header, FRAME_PREFIX_BYTES + (size_t) n);
    if (bytes > 0) {
        fake_say_bytes(f, body, bytes);
    }
}

static inline void fake_say(struct fake *f, enum verb verb, const void *m)
{
    fake_say_body(f, verb, m, NULL, 0);
}

/* Sends what was said, as one packet. The client reads meanwhile if it has to. */
static inline void fake_send(struct fake *f)
{
    size_t sent = 0;

    while (sent < f->out_len) {
        ssize_t n = send(f->fd, f->out + sent, f->out_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            (void) bus_process(f->conn);
        } else {
            sent += (size_t) n;
        }
    }
    f->out_len = 0;
}

/* Sends what was said, whose first frame announces n descriptors, with as many as are in fds. */
static inline void fake_send_fds(struct fake *f, const int *fds, unsigned n_sent, unsigned n)
{
    struct parcel *p = parcel_new(fds, n_sent, NULL);
    struct iovec iov = {f->out, f->out_len};

    f->out[FRAME_PREFIX_BYTES - 1] = (uint8_t) n;
    p->refs = 1;
    assert_int_equal(sock_send(f->fd, &iov, 1, p), f->out_len);
    free(p); /* the descriptors are the test's */
    f->out_len = 0;
}

/* The client handles everything that has been sent. Returns the last result of bus_process(). */
static inline int fake_settle(struct fake *f)
{
    int r;

    if (f->out_len > 0) {
        fake_send(f);
    }
    do {
        r = bus_process(f->conn);
    } while (r > 0 || (r == 0 && bus_wait(f->conn, 0) > 0));
    return r;
}

/* ---- hearing ---- */

static inline bool fake_read(struct fake *f)
{
    struct sock_received in;
    struct iovec iov;
    ssize_t n;

    if (f->in_pos > 0) {
        memmove(f->in, f->in + f->in_pos, f->in_len - f->in_pos);
        f->in_len -= f->in_pos;
        f->in_pos = 0;
    }
    iov = (struct iovec){f->in + f->in_len, FAKE_IN_BYTES - f->in_len};
    n = sock_receive(f->fd, &iov, 1, MSG_DONTWAIT, &in);
    if (in.parcel) {
        assert_true(f->n_batches < ARRAY_LEN(f->batches));
        f->batches[f->n_batches++] = in.parcel;
    }
    f->n_packets += n > 0;
    f->in_len += n > 0 ? (size_t) n : 0;
    return n > 0;
}

/* Each batch is that of a frame, whole and in order. */
static inline void fake_claim(struct fake *f, unsigned n)
{
    parcel_unref(f->parcel);
    f->parcel = NULL;
    if (n > 0) {
        assert_true(f->n_batches > 0);
        f->parcel = f->batches[0];
        f->n_batches--;
        memmove(f->batches, f->batches + 1, f->n_batches * sizeof(*f->batches));
        assert_int_equal(f->parcel->n, n);
        assert_false(f->parcel->truncated);
    }
}

/* The next frame of the client, or false if there is none now. */
static inline bool fake_next(struct fake *f, struct frame *ret, union wire_any *m)
{
    size_t bytes;

    while (frame_parse(f->in + f->in_pos, f->in_len - f->in_pos, 64u << 20, ret, &bytes) !=
           FRAME_OK) {
        if (!fake_read(f)) {
            return false;
        }
    }
    f->in_pos += bytes;
    fake_claim(f, ret->fds);
    arena_reset(&f->arena);
    assert_int_equal(codec_decode(&f->arena, ret->verb, ret->header, ret->header_bytes, m),
                     CODEC_OK);
    return true;
}

static inline union wire_any fake_hear_frame(struct fake *f, enum verb verb, struct frame *ret)
{
    union wire_any m;

    assert_true(fake_next(f, ret, &m));
    assert_string_equal(verb_name(ret->verb), verb_name((uint8_t) verb));
    return m;
}

static inline union wire_any fake_hear(struct fake *f, enum verb verb)
{
    struct frame frame;

    return fake_hear_frame(f, verb, &frame);
}

static inline void fake_hear_nothing(struct fake *f)
{
    struct frame frame;
    union wire_any m;

    assert_false(fake_next(f, &frame, &m));
}

/* ---- the client ---- */

static inline void fake_on_status(struct bus_conn *conn, const struct bus_status_event *event,
                                  void *userdata)
{
    struct fake *f = userdata;

    assert_ptr_equal(conn, f->conn);
    f->n_status++;
    f->status = event->status;
    f->status_sequence = event->sequence;
    (void) snprintf(f->status_topic, sizeof(f->status_topic), "%s",
                    event->topic ? event->topic : "(none)");
    (void) snprintf(f->status_text, sizeof(f->status_text), "%s", event->text);
}

static inline void fake_on_writable(struct bus_conn *conn, void *userdata)
{
    struct fake *f = userdata;

    assert_ptr_equal(conn, f->conn);
    f->n_writable++;
}

static inline void fake_on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                                  void *userdata)
{
    struct fake *f = userdata;

    assert_ptr_equal(conn, f->conn);
    f->n_closed++;
    f->goodbye = reason;
    (void) snprintf(f->text, sizeof(f->text), "%s", text);
}

/* Connects, and leaves the client waiting for WELCOME. */
static inline void fake_connect(struct fake *f)
{
    union wire_any m;

    assert_int_equal(bus_open(f->address, &f->opts, &f->conn), 0);
    fake_accept(f);
    m = fake_hear(f, VERB_HELLO);
    assert_int_equal(m.hello.protocol_min, 1);
    assert_int_equal(m.hello.protocol_max, 1);
}

static inline void fake_welcome(struct fake *f)
{
    fake_say(f, VERB_WELCOME, &f->welcome);
    assert_int_equal(fake_settle(f), 0);
}

static inline void fake_start(struct fake *f)
{
    fake_connect(f);
    fake_welcome(f);
}

static inline struct fake *fake_new(bool seqpacket)
{
    struct fake *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    *f = (struct fake){.seqpacket = seqpacket, .fd = -1, .listen_fd = -1};
    f->in = malloc(FAKE_IN_BYTES);
    f->out = malloc(FAKE_OUT_BYTES);
    assert_true(f->in && f->out);
    assert_int_equal(arena_init(&f->arena, CODEC_ARENA_BYTES), 0);
    f->opts = (struct bus_opts) BUS_OPTS_INIT;
    f->opts.flags = BUS_OPEN_NOWAIT;
    f->opts.name = "tester";
    f->opts.on_status = fake_on_status;
    f->opts.on_writable = fake_on_writable;
    f->opts.on_closed = fake_on_closed;
    f->opts.userdata = f;
    f->welcome = (struct wire_welcome){
        .protocol = 1,
        .connection_id = 7,
        .router_epoch = 1,
        .router_version = {"test", 4},
        .inline_max = seqpacket ? FRAME_INLINE_MAX_SEQPACKET : 1u << 20,
        .publish_window_messages = 16384,
        .publish_window_bytes = 8u << 20,
        .aliases_max = 1000,
        .subscriptions_max = 1000,
        .queue_messages_max = 1u << 20,
        .queue_bytes_max = 64u << 20,
        .window_messages_max = 1u << 20,
        .window_bytes_max = 64u << 20,
        .stall_timeout_ms = 30000,
        .requests_max = 100,
        .request_timeout_max_ms = 3600000,
    };
    fake_listen(f);
    return f;
}

/* A router that takes bodies in buffers, and descriptors. */
static inline void fake_take_buffers(struct fake *f)
{
    f->welcome.features = FEATURE_BUFFERS | FEATURE_DESCRIPTORS;
    f->welcome.body_max = 64u << 20;
    f->welcome.buffers_max = 128;
    f->welcome.buffer_bytes_max = 1u << 30;
    f->welcome.descriptors_max = 16;
    f->welcome.leases_max = 16384;
}

static inline void fake_free(struct fake *f)
{
    bus_close(f->conn);
    if (f->fd >= 0) {
        (void) close(f->fd);
    }
    (void) close(f->listen_fd);
    (void) unlink(strchr(f->address, ':') + 1);
    (void) rmdir(f->dir);
    arena_fini(&f->arena);
    fake_claim(f, 0);
    while (f->n_batches > 0) {
        parcel_unref(f->batches[--f->n_batches]);
    }
    free(f->in);
    free(f->out);
    free(f);
}

static inline int fake_set_up_seqpacket(void **state)
{
    *state = fake_new(true);
    return 0;
}

static inline int fake_set_up_stream(void **state)
{
    *state = fake_new(false);
    return 0;
}

static inline int fake_tear_down(void **state)
{
    fake_free(*state);
    return 0;
}

/* ---- what routers say often ---- */

static inline void fake_bind(struct fake *f, uint32_t topic, const char *name)
{
    struct wire_topic t = {topic, text_from(name)};

    fake_say(f, VERB_TOPIC, &t);
}

static inline void fake_bind_peer(struct fake *f, uint32_t id, const char *name)
{
    struct wire_peer p = {id, 40 + id, 1000, 1001, 1002, text_from(name)};

    fake_say(f, VERB_PEER, &p);
}

static inline void fake_say_message(struct fake *f, uint32_t sub, uint64_t sequence,
                                    const void *body, size_t bytes)
{
    struct wire_message m = {.subscription = sub,
                             .topic = 1,
                             .sender = 1,
                             .sequence = sequence,
                             .time = 1000 + sequence};

    fake_say_body(f, VERB_MESSAGE, &m, body, bytes);
}

static inline void fake_say_status(struct fake *f, enum bus_status code, enum verb verb,
                                   uint32_t alias, uint32_t sub, uint64_t sequence)
{
    struct wire_status m = {(uint32_t) code, (uint32_t) verb, alias, sub, sequence, {"why", 3}, 0};

    fake_say(f, VERB_STATUS, &m);
}

/* The same case on both types of link. */
#define ON_BOTH_LINKS(fn)                                                                          \
    {#fn "@seqpacket", fn, fake_set_up_seqpacket, fake_tear_down, NULL},                           \
    {                                                                                              \
#fn "@stream", fn, fake_set_up_stream, fake_tear_down, NULL                                \
    }
