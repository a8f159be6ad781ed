/* SPDX-License-Identifier: MIT */
/* One link after another: what happens to a connection when its link breaks, and how the next one
 * is made what the last one was. docs/protocol.md, section 16. */

#include "client/session.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>
#include "base/clock.h"
#include "base/sock.h"
#include "client/handlers.h"
#include "client/publish.h"
#include "client/topic_handle.h"
#include "wire/codec.h"

#define GREETING_MS 5000u
#define PAUSE_MIN_MS 10u
#define RELIABLE_BYTES_MAX ((size_t) 16 << 20)
#define PAUSE_MAX_MS 1000u
#define CODEC_SCRATCH_BYTES 8192

/* ---- frames that are kept ---- */

int bus__kept_frame_new(enum verb verb, const void *m, size_t header_max, struct kept_frame **ret)
{
    _Alignas(16) uint8_t memory[CODEC_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    struct kept_frame *k = malloc(sizeof(*k) + FRAME_PREFIX_BYTES + header_max);
    struct kept_frame *fitting;
    long n;

    if (!k) {
        return -ENOMEM;
    }
    n = codec_encode(&scratch, verb, m, k->data + FRAME_PREFIX_BYTES, header_max);
    if (n < 0) {
        free(k);
        return -ENOMEM;
    }
    frame_write_prefix(k->data, verb, (size_t) n, 0);
    k->bytes = FRAME_PREFIX_BYTES + (size_t) n;
    fitting = realloc(k, sizeof(*k) + k->bytes);
    *ret = fitting ? fitting : k;
    return 0;
}

int bus__kept_frame_send(struct bus_conn *c, const struct kept_frame *k)
{
    uint8_t *dst;

    if (!bus__has_link(c)) {
        return 0;
    }
    dst = outq_reserve(&c->outq, k->bytes);
    if (!dst) {
        return -ENOMEM;
    }
    memcpy(dst, k->data, k->bytes);
    outq_commit(&c->outq, k->bytes);
    c->urgent = true;
    bus__output_queued(c);
    return 0;
}

/* ---- beginning and end ---- */

static uint64_t random_next(struct session *s)
{
    s->random ^= s->random << 13; /* xorshift; never 0 */
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

static int session_identify(struct session *s, struct wire_hello *hello)
{
    uint64_t numbers[2];

    do {
        if (getrandom(numbers, sizeof(numbers), 0) != (ssize_t) sizeof(numbers)) {
            return -errno;
        }
    } while (numbers[0] == 0 || numbers[1] == 0);
    s->random = numbers[1];
    hello->session = numbers[0];
    hello->features |= FEATURE_RETURNS;
    return bus__kept_frame_new(VERB_HELLO, hello, CONTROL_HEADER_MAX, &s->hello);
}

int bus__session_new(struct bus_conn *c, const struct address *a, const struct bus_opts *opts,
                     struct wire_hello *hello)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s) {
        return -ENOMEM;
    }
    c->session = s;
    s->address = *a;
    s->address.type = c->seqpacket ? ADDRESS_SEQPACKET : ADDRESS_STREAM;
    s->on_state = opts->on_state;
    s->greeting_ms = opts->timeout_ms ? opts->timeout_ms : GREETING_MS;
    s->pause_min_ms = opts->reconnect_min_ms ? opts->reconnect_min_ms : PAUSE_MIN_MS;
    s->pause_max_ms = opts->reconnect_max_ms ? opts->reconnect_max_ms : PAUSE_MAX_MS;
    s->pause_max_ms = MAX(s->pause_max_ms, s->pause_min_ms);
    s->pause_ms = s->pause_min_ms;
    s->timeout_ms = opts->reconnect_timeout_ms;
    s->backlog.bytes_max = (size_t) MIN(opts->backlog_bytes_max, (uint64_t) SIZE_MAX);
    s->reliable.bytes_max = opts->reliable_bytes_max
                                ? (size_t) MIN(opts->reliable_bytes_max, (uint64_t) SIZE_MAX)
                                : RELIABLE_BYTES_MAX;
    return session_identify(s, hello);
}

static void will_free(struct kept_will *w)
{
    free(w->frame);
    free(w);
}

void bus__session_fini(struct bus_conn *c)
{
    struct kept_will *w, *next;

    if (!c->session) {
        return;
    }
    bus__backlog_fini(c);
    bus__reliable_fini(c);
    DL_FOREACH_SAFE (c->session->wills, w, next) {
        will_free(w);
    }
    free(c->session->hello);
    free(TAKE(c->session));
}

int bus__session_will(struct bus_conn *c, const char *topic, struct kept_frame *frame)
{
    size_t bytes = strlen(topic) + 1;
    struct kept_will *w;

    DL_FOREACH (c->session->wills, w) {
        if (strcmp(w->topic, topic) == 0) {
            break;
        }
    }
    if (w && frame) {
        free(w->frame);
        w->frame = frame;
    } else if (w) {
        DL_DELETE(c->session->wills, w);
        will_free(w);
    } else if (frame) {
        w = malloc(sizeof(*w) + bytes);
        if (!w) {
            free(frame);
            return -ENOMEM;
        }
        w->frame = frame;
        memcpy(w->topic, topic, bytes);
        DL_APPEND(c->session->wills, w);
    }
    return 0;
}

/* ---- losing a link ---- */

bool bus__session_returns(const struct bus_conn *c, enum bus_goodbye reason)
{
    return c->session && c->opened && reason != BUS_GOODBYE_PROTOCOL_ERROR &&
           reason != BUS_GOODBYE_VERSION && reason != BUS_GOODBYE_NORMAL;
}

void bus__session_leave(struct bus_conn *c)
{
    c->away = true;
    bus__backlog_salvage(c);
    outq_fini(&c->outq);
}

/* Everything that the other side knew, and what came from it. */
static void forget_link(struct bus_conn *c)
{
    c->generation++;
    bus__mappings_detach(c);
    bus__buffers_fini(c);
    bus__names_fini(c);
    bus__link_drop(c);
    bus__subscribe_lost(c);
    bus__publish_lost(c);
    bus__reliable_lost(c);
    bus__topics_lost(c);
    bus__pool_lost(&c->pool);
    bus__requests_lost(c);
    bus__calls_lost(c, 0);
    bus__snapshots_lost(c);
    c->session->ping_due = c->pong_token < c->ping_token;
    c->connection_id = 0;
    c->deadline_ns = 0;
}

/* The next try is after a pause of random length, so that the clients of a router do not all come
 * at once. */
static void try_later(struct bus_conn *c)
{
    struct session *s = c->session;
    uint64_t now = clock_monotonic_ns();
    uint64_t pause_ns = random_next(s) % (s->pause_ms * NS_PER_MS + 1);

    if (now >= s->give_up_ns) {
        c->state = CONN_BROKEN;
        c->kick = true;
    } else {
        s->pause_ms = (uint32_t) MIN((uint64_t) s->pause_ms * 2, (uint64_t) s->pause_max_ms);
        c->deadline_ns = MIN(now + pause_ns, s->give_up_ns);
    }
    bus__sync_fd(c);
}

static void tell_state(struct bus_conn *c, enum bus_conn_state state)
{
    struct bus_state_event event = {state, c->goodbye, c->goodbye_text};

    if (c->session->on_state) {
        c->session->on_state(c, &event, c->userdata);
    }
}

/* Each of these may close the connection, and then has nothing more to do. */
static void tell_lost(struct bus_conn *c)
{
    tell_state(c, BUS_CONN_LOST);
    bus__requests_end(c);
    bus__confirms_unknown(c);
    bus__snapshots_end(c);
    bus__calls_tell_lost(c, BUS_STATUS_DISCONNECTED);
    bus__drains_end(c);
}

void bus__session_lost(struct bus_conn *c)
{
    struct session *s = c->session;
    bool is_new = !s->is_told;

    forget_link(c);
    c->state = CONN_AWAY;
    if (is_new) {
        s->is_told = true;
        s->give_up_ns = bus__deadline_ns(s->timeout_ms ? (int) MIN(s->timeout_ms, INT32_MAX) : -1);
    }
    /* a router that ends each link at once is to be asked less and less often */
    if (clock_monotonic_ns() - s->greeted_ns > s->pause_max_ms * NS_PER_MS && is_new) {
        s->pause_ms = s->pause_min_ms;
    }
    try_later(c);
    if (is_new) {
        tell_lost(c);
    }
}

/* ---- coming back ---- */

static int wills_send(struct bus_conn *c)
{
    struct kept_will *w;
    int r = 0;

    DL_FOREACH (c->session->wills, w) {
        r = r < 0 ? r : bus__kept_frame_send(c, w->frame);
    }
    return r;
}

/* All that this side can say before WELCOME. */
static int set_up(struct bus_conn *c)
{
    struct wire_restored restored = {0};
    int r = bus__kept_frame_send(c, c->session->hello);

    r = r < 0 ? r : bus__subscribe_again(c);
    r = r < 0 ? r : bus__topics_again(c);
    r = r < 0 ? r : wills_send(c);
    return r < 0 ? r : bus__send(c, VERB_RESTORED, &restored, CONTROL_HEADER_MAX);
}

static int come_back(struct bus_conn *c)
{
    int type = 0;
    int fd = sock_connect(&c->session->address, &type);
    int r = fd < 0 ? fd : bus__link_attach(c, fd, type);

    if (r < 0) {
        if (fd >= 0) {
            sock_close_fd(fd);
        }
        return r;
    }
    c->state = CONN_GREETING;
    c->hold++; /* in as few packets as possible */
    r = set_up(c);
    c->hold--;
    return r;
}

void bus__session_try(struct bus_conn *c)
{
    struct session *s = c->session;
    uint64_t now = clock_monotonic_ns();

    if (now < c->deadline_ns) {
        return;
    }
    if (now < s->give_up_ns && come_back(c) == 0) {
        c->deadline_ns = MIN(now + s->greeting_ms * NS_PER_MS, s->give_up_ns);
        bus__sync_fd(c);
        return;
    }
    if (c->state == CONN_GREETING) {
        bus__session_leave(c);
        forget_link(c);
        c->state = CONN_AWAY;
    }
    try_later(c);
}

/* ---- what waits for a link ---- */

uint64_t bus__session_next(const struct bus_conn *c)
{
    return MIN(bus__backlog_next(c), bus__reliable_next(c));
}

bool bus__session_waits(const struct bus_conn *c)
{
    return c->session && bus__session_next(c) != UINT64_MAX;
}

void bus__session_send(struct bus_conn *c)
{
    bool goes_on = true;

    c->hold++; /* in as few packets as possible */
    while (goes_on && bus__session_waits(c) && c->credit_messages > 0 && c->credit_bytes > 0 &&
           bus__has_link(c)) {
        goes_on = bus__backlog_next(c) < bus__reliable_next(c) ? bus__backlog_send_next(c)
                                                               : bus__reliable_send_next(c);
    }
    c->hold--;
    bus__session_settle(c);
}

void bus__session_settle(struct bus_conn *c)
{
    struct wire_ping ping = {.token = c->ping_token + 1};

    bus__topics_depart(c);
    if (bus__session_waits(c) || c->state != CONN_READY || c->away) {
        return;
    }
    if (c->sequence_due && c->wire_sequence == c->sequence) {
        bus__publish_count_on(c);
    }
    if (c->session->ping_due) {
        c->session->ping_due = false;
        c->ping_token++; /* a new one: its answer is that to all before */
        bus__send_or_fail(c, VERB_PING, &ping);
    }
}

bool bus__session_ping_later(struct bus_conn *c)
{
    if (!c->away && !bus__session_waits(c)) {
        return false;
    }
    c->session->ping_due = true;
    return true;
}

void bus__session_greeted(struct bus_conn *c)
{
    if (!c->away) { /* the first one */
        c->session->greeted_ns = clock_monotonic_ns();
        return;
    }
    c->away = false;
    c->session->is_told = false;
    c->session->greeted_ns = clock_monotonic_ns();
    c->goodbye = BUS_GOODBYE_NONE;
    c->goodbye_local = false;
    c->goodbye_text[0] = '\0';
    bus__session_send(c);
    tell_state(c, BUS_CONN_RESTORED);
    bus__drains_end(c); /* those that were asked for meanwhile */
}
