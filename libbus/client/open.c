/* SPDX-License-Identifier: MIT */
/* bus_open(): from an address to a connection that has been greeted. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/sock.h"
#include "client/conn.h"
#include "client/session.h"
#include "wire/topic.h"

#define OPEN_TIMEOUT_MS 5000u
#define OPEN_FLAGS (BUS_OPEN_NOWAIT | BUS_OPEN_RECONNECT)
#define MAX_OUT_BYTES (1024u * 1024u)
#define MAX_OUT_BYTES_LEAST (256u * 1024u)
#define BACKLOG_WAIT_MS_MAX UINT64_C(60000)
/* Chunks kept for reuse by one connection. */
#define CHUNKS_KEPT 4u

DEFINE_AUTO(struct bus_conn *, bus_close);

/* Options that mean nothing for a connection that does not come back. */
static bool is_for_session(const struct bus_opts *opts)
{
    return opts->on_state || opts->reconnect_min_ms || opts->reconnect_max_ms ||
           opts->reconnect_timeout_ms || opts->backlog_bytes_max || opts->reliable_bytes_max;
}

static int opts_check(const struct bus_opts *opts)
{
    if (opts->size != sizeof(*opts) || (opts->flags & ~OPEN_FLAGS) != 0 ||
        (!(opts->flags & BUS_OPEN_RECONNECT) && is_for_session(opts)) ||
        opts->resume_token_bytes > BUS_RESUME_TOKEN_MAX ||
        (!opts->resume_token && opts->resume_token_bytes > 0) ||
        (opts->spin_us > SPIN_US_MAX && opts->spin_us != BUS_SPIN_OFF)) {
        return -EINVAL;
    }
    if (opts->name) {
        size_t len = strnlen(opts->name, BUS_NAME_MAX + 1);

        if (len > BUS_NAME_MAX || !utf8_valid_printable(opts->name, len)) {
            return -EINVAL;
        }
    }
    return 0;
}

/* The name of a program may be anything; what the router would refuse becomes '?'. */
static void name_of_program(char ret[BUS_NAME_MAX + 1])
{
    size_t len = strnlen(program_invocation_short_name, BUS_NAME_MAX);

    memcpy(ret, program_invocation_short_name, len);
    ret[len] = '\0';
    if (utf8_valid_printable(ret, len)) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (ret[i] < 0x20 || ret[i] > 0x7E) {
            ret[i] = '?';
        }
    }
}

/* A page that the kernel clears in a child process, so that noticing a fork costs no system call.
 */
static int fork_mark_init(struct bus_conn *c)
{
    static const uint8_t unknown = 0;
    void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    c->pid = getpid();
    c->fork_mark = &unknown;
    if (page == MAP_FAILED) {
        return -errno;
    }
    if (madvise(page, 1, MADV_WIPEONFORK) < 0) {
        (void) munmap(page, 1); /* an old kernel: bus__forked_slow() asks for the pid each time */
        return 0;
    }
    c->fork_page = page;
    c->fork_page[0] = 1;
    c->fork_mark = c->fork_page;
    return 0;
}

static int descriptors_init(struct bus_conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN};

    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0) {
        return -errno;
    }
    c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->timer_fd < 0) {
        return -errno;
    }
    return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &ev) < 0 ? -errno : 0;
}

static struct bus_conn *conn_new(const struct bus_opts *opts)
{
    struct bus_conn *c = calloc(1, sizeof(*c));

    if (!c) {
        return NULL;
    }
    c->fd = c->epoll_fd = c->timer_fd = -1;
    c->max_out_bytes =
        opts->max_out_bytes ? MAX(opts->max_out_bytes, MAX_OUT_BYTES_LEAST) : MAX_OUT_BYTES;
    c->on_status = opts->on_status;
    c->on_writable = opts->on_writable;
    c->on_closed = opts->on_closed;
    c->on_stopping = opts->on_stopping;
    c->userdata = opts->userdata;
    c->rx_need = FRAME_PREFIX_BYTES;
    c->aliases_max = c->subscriptions_max = TABLE_INDEX_MAX; /* until WELCOME says better */
    spin_init(&c->spin, opts->spin_us == BUS_SPIN_OFF ? 0
                        : opts->spin_us               ? opts->spin_us
                                                      : SPIN_US_DEFAULT);
    outq_pool_init(&c->chunks, CHUNKS_KEPT);
    outq_init(&c->outq, &c->chunks);
    c->buffer_wish = (size_t) MIN(opts->buffer_threshold_bytes, (uint64_t) SIZE_MAX);
    c->pool_bytes_max = (size_t) MIN(opts->pool_bytes_max, (uint64_t) SIZE_MAX);
    return c;
}

/* Waits while the backlog is full. */
static int connect_until(const struct address *a, uint64_t deadline_ns, int *ret_type)
{
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns) / 1000000 + 1 : 0;
        int r = sock_connect_within(a, (unsigned) MIN(left_ms, BACKLOG_WAIT_MS_MAX), ret_type);

        if (r != -EAGAIN && r != -EINTR) {
            return r;
        }
        if (left_ms == 0) {
            return -ETIMEDOUT;
        }
    }
}

static int address_of(const char *text, struct address *ret)
{
    return text ? address_parse(text, ret) : address_default(ret, ADDRESS_TO_CONNECT);
}

static int conn_connect(struct bus_conn *c, const struct address *a, uint64_t deadline_ns)
{
    int type = 0;
    AUTO_CLOSE int fd = connect_until(a, deadline_ns, &type);
    int r = fd < 0 ? fd : descriptors_init(c);

    r = r < 0 ? r : bus__link_attach(c, fd, type);
    if (r == 0) {
        (void) take_fd(&fd);
    }
    return r;
}

static int say_hello(struct bus_conn *c, const struct address *a, const struct bus_opts *opts)
{
    char program[BUS_NAME_MAX + 1];
    struct wire_hello hello = {
        .protocol_min = 1, .protocol_max = 1, .features = FEATURE_BUFFERS, .resume_token = {"", 0}};

    hello.features |= opts->on_stopping ? FEATURE_STOPPING : 0;

    if (opts->resume_token_bytes > 0) {
        hello.resume_token = (struct text){opts->resume_token, opts->resume_token_bytes};
    }

    name_of_program(program);
    hello.client_name = text_from(opts->name ? opts->name : program);
    if (opts->flags & BUS_OPEN_RECONNECT) {
        int r = bus__session_new(c, a, opts, &hello);

        return r < 0 ? r : bus__kept_frame_send(c, c->session->hello);
    }
    return bus__send(c, VERB_HELLO, &hello, CONTROL_HEADER_MAX);
}

static bool is_greeted(const struct bus_conn *c, uint64_t unused)
{
    (void) unused;
    return c->state != CONN_GREETING;
}

static int why_refused(const struct bus_conn *c)
{
    if (c->goodbye == BUS_GOODBYE_NO_MEMORY && c->goodbye_local) {
        return -ENOMEM;
    }
    return c->goodbye == BUS_GOODBYE_LIMIT && !c->goodbye_local ? -EUSERS : -EPROTO;
}

static int wait_for_welcome(struct bus_conn *c, uint64_t deadline_ns)
{
    int r;

    c->pins++;
    do {
        r = bus__run_until(c, is_greeted, 0, deadline_ns);
    } while (r == -EINTR);
    r = bus__unpin(c, r);
    return r == -ENOTCONN ? why_refused(c) : r;
}

static int conn_open(struct bus_conn *c, const struct address *a, const struct bus_opts *opts)
{
    uint32_t timeout_ms = opts->timeout_ms ? opts->timeout_ms : OPEN_TIMEOUT_MS;
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    int r = fork_mark_init(c);

    c->rxpool = bus__rxpool_new();
    if (!c->rxpool) {
        return -ENOMEM;
    }
    r = r < 0 ? r : conn_connect(c, a, deadline_ns);
    r = r < 0 ? r : say_hello(c, a, opts);
    if (r < 0) {
        return r;
    }
    if (opts->flags & BUS_OPEN_NOWAIT) {
        c->deadline_ns = deadline_ns;
        return 0;
    }
    return wait_for_welcome(c, deadline_ns);
}

int bus_open(const char *address, const struct bus_opts *opts, struct bus_conn **ret_conn)
{
    static const struct bus_opts defaults = BUS_OPTS_INIT;
    AUTO(bus_close) struct bus_conn *c = NULL;
    struct address a;
    int r;

    opts = opts ? opts : &defaults;
    r = opts_check(opts);
    r = r < 0 ? r : address_of(address, &a);
    if (r < 0) {
        return r;
    }
    c = conn_new(opts);
    if (!c) {
        return -ENOMEM;
    }
    r = conn_open(c, &a, opts);
    if (r < 0) {
        return r;
    }
    c->opened = true;
    *ret_conn = TAKE(c);
    return 0;
}
