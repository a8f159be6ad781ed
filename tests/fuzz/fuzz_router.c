/* SPDX-License-Identifier: MIT */
/* A script of what several peers and the clock do, into the core: nothing may break its invariants,
 * and everything it sends must be whole, decodable frames; every
 * descriptor that it got is closed once. Input: operations of one byte and their
 * arguments, see step(). */
#include "core/policy.h"
#include "core/router.h"
#include "fuzz/fuzz.h"
#include "wire/codec.h"

#define N_PEERS 4
#define N_STEPS 300
#define CALLS_KEPT 16u
#define NS_PER_MS_FUZZ UINT64_C(1000000)
#define PENDING_MAX (128u * 1024u)
/* Shorter bodies come in memory of their exact size, so that the sanitizer sees what lies beyond.
 */
#define SLAB_FROM 2048u

struct client {
    struct peer *peer;
    bool packets;
    uint8_t *pending; /* stream: bytes that the router has not consumed yet */
    size_t n_pending;
};

/* ---- descriptors: numbers that are open or not; each kind is there ---- */

#define N_FDS 16384
#define BUFFER_BYTES 4096u

static bool fd_is_open[N_FDS];
static int n_fds, n_fds_open;

static void fd_close(int fd)
{
    CHECK(fd >= 0 && fd < n_fds && fd_is_open[fd]);
    fd_is_open[fd] = false;
    n_fds_open--;
}

static int fd_inspect(int fd, struct descriptor_info *ret)
{
    CHECK(fd_is_open[fd]);
    *ret = (struct descriptor_info){fd % 8 != 0, fd % 2, BUFFER_BYTES};
    return fd % 16 == 15 ? -1 : 0;
}

static bool fd_read(int fd, uint64_t offset, void *dst, size_t bytes)
{
    CHECK(fd_is_open[fd]);
    CHECK(offset <= BUFFER_BYTES && bytes <= BUFFER_BYTES - offset);
    memset(dst, fd, bytes);
    return fd % 32 != 1;
}

static const struct descriptor_ops fd_ops = {fd_inspect, fd_read};

static struct parcel *parcel_of(unsigned n, bool truncated)
{
    int fds[PARCEL_FDS_MAX];
    struct parcel *p;

    if (n_fds + (int) n > N_FDS) {
        return NULL;
    }
    for (unsigned i = 0; i < n; i++) {
        fd_is_open[n_fds] = true;
        n_fds_open++;
        fds[i] = n_fds++;
    }
    p = parcel_new(fds, n, fd_close);
    CHECK(p);
    p->truncated = truncated;
    return p;
}

struct world {
    struct router *router;
    struct slab_pool slabs;
    struct client clients[N_PEERS];
    struct now now;
    struct arena arena;
    uint8_t fds;                /* that the next frame announces */
    uint64_t calls[CALLS_KEPT]; /* that servers have got last */
    unsigned n_calls;
    bool keeps; /* the next operation has a byte more, for what is kept, expires or is paced */
};

static const char *const texts[] = {"a",      "a/b", "a/#", "+/b",  "#",     "$x/y",
                                    "$bus/z", "a+",  "b/c", "+",    "a/b/c", "",
                                    "\x01x",  "b/#", "//",  "+/+/#"};

static struct text take_text(struct input *in)
{
    return text_from(texts[take_u8(in) % (sizeof(texts) / sizeof(texts[0]))]);
}

static void client_gone(struct world *w, struct client *c)
{
    router_remove_peer(w->router, c->peer);
    free(c->pending);
    *c = (struct client){0};
}

/* ---- output ---- */

/* A packet holds one frame with descriptors at most, and that comes first. */
static void check_frames(struct world *w, const uint8_t *data, size_t len,
                         const struct parcel *parcel)
{
    for (bool first = true; len > 0; first = false) {
        union wire_any m;
        struct frame f;
        size_t bytes;

        CHECK(frame_parse(data, len, UINT32_MAX, &f, &bytes) == FRAME_OK);
        arena_reset(&w->arena);
        CHECK(codec_decode(&w->arena, f.verb, f.header, f.header_bytes, &m) == CODEC_OK);
        CHECK(f.fds == (first && parcel ? parcel->n : 0));
        CHECK(f.fds == 0 || f.verb == VERB_MESSAGE || f.verb == VERB_BUFFER ||
              f.verb == VERB_CALL || f.verb == VERB_ANSWER);
        if (f.verb == VERB_CALL) {
            w->calls[w->n_calls++ % CALLS_KEPT] = m.call.call;
        }
        data += bytes;
        len -= bytes;
    }
}

/* Checks the next packet; returns its length. */
static size_t packet_check(struct world *w, struct client *c)
{
    static const char line[] = "This is";
    static uint8_t b[FRAME_PACKET_MAX];
    struct iovec iov[OUTQ_PACKET_IOV];
    int n = outq_peek_packet(peer_output(c->peer), iov);
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        CHECK(iov[i].iov_len > 0 && iov[i].iov_len <= sizeof(b) - bytes);
        memcpy(b + bytes, iov[i].iov_base, iov[i].iov_len);
        bytes += iov[i].iov_len;
    }
    /* the answer to text by mistake is the only thing that is no frame */
    if (bytes < sizeof(line) || memcmp(b, line, sizeof(line) - 1) != 0) {
        if (!(b[0] >= 'A' && b[0] <= 'z' && b[1] >= ' ' && b[2] >= ' ' && b[3] >= ' ')) {
            check_frames(w, b, bytes, outq_parcel(peer_output(c->peer)));
        }
    }
    return bytes;
}

/* Sends one packet, or a part of a piece on a stream. */
static bool client_drain(struct world *w, struct client *c, size_t part)
{
    struct iovec iov;

    if (outq_peek(peer_output(c->peer), &iov, 1) == 0) {
        if (peer_is_closing(c->peer)) {
            client_gone(w, c);
        }
        return false;
    }
    part = c->packets ? packet_check(w, c) : MIN(part, iov.iov_len);
    router_output_sent(w->router, c->peer, part);
    return true;
}

static void drain_all(struct world *w)
{
    while (router_next_dirty(w->router)) {
    }
    for (size_t i = 0; i < N_PEERS; i++) {
        struct client *c = &w->clients[i];

        for (unsigned n = 0; c->peer && n < 1000 && client_drain(w, c, SIZE_MAX); n++) {
        }
    }
}

/* ---- input ---- */

/* It waits for those who are expected; what it was to say is said another time. */
static bool is_held(const struct world *w, const struct client *c)
{
    return router_is_holding(w->router) && !peer_wants_input(c->peer);
}

static void feed_packet(struct world *w, struct client *c, const uint8_t *data, size_t len)
{
    uint8_t *copy = exact_copy(data, len);
    size_t at = 0;

    while (at < len) {
        struct received in = {copy + at, len - at, NULL};
        struct input_result r = router_input(w->router, c->peer, &in, 3, &w->now);

        CHECK(r.consumed <= len - at);
        at += r.consumed;
        if (!r.more || is_held(w, c)) {
            break;
        }
    }
    free(copy);
}

/* Whole frames that outputs may keep; what they do not keep is overwritten. False if there is no
 * slab. */
static bool feed_slab(struct world *w, struct client *c, const uint8_t *data, size_t len)
{
    struct slab *slab = slab_pool_current(&w->slabs, len);
    struct received in = {data, len, slab};

    if (!slab || c->n_pending > 0) {
        return false;
    }
    in.data = memcpy(slab_room(slab), data, len);
    while (in.len > 0) {
        struct input_result r = router_input(w->router, c->peer, &in, 3, &w->now);

        CHECK(r.consumed == in.len || r.more);
        in.data += r.consumed;
        in.len -= r.consumed;
        if (is_held(w, c)) {
            break;
        }
    }
    memset(slab_room(slab), 0xDD, MIN(len, slab_room_bytes(slab)));
    return true;
}

static void feed_stream(struct world *w, struct client *c, const uint8_t *data, size_t len)
{
    uint8_t *all;

    if (c->n_pending + len > PENDING_MAX) {
        return;
    }
    all = malloc(c->n_pending + len + 1);
    CHECK(all);
    if (c->n_pending > 0) {
        memcpy(all, c->pending, c->n_pending);
    }
    memcpy(all + c->n_pending, data, len);
    len += c->n_pending;
    free(c->pending);
    for (size_t at = 0;;) {
        struct received in = {all + at, len - at, NULL};
        struct input_result r = router_input(w->router, c->peer, &in, 5, &w->now);

        CHECK(r.consumed <= len - at);
        at += r.consumed;
        if (!r.more || is_held(w, c)) {
            memmove(all, all + at, len - at);
            c->n_pending = len - at;
            break;
        }
    }
    c->pending = all;
}

static void feed(struct world *w, struct client *c, const uint8_t *data, size_t len)
{
    if (!peer_wants_input(c->peer)) {
        return;
    }
    if (c->packets) {
        feed_packet(w, c, data, len);
    } else {
        feed_stream(w, c, data, len);
    }
    if (c->n_pending == 0) {
        router_settle_parcels(c->peer);
    }
}

static void feed_frame(struct world *w, struct client *c, enum verb verb, const void *m,
                       size_t body_bytes)
{
    static uint8_t buf[FRAME_PREFIX_BYTES + 4096 + 4096];
    long n;

    arena_reset(&w->arena);
    n = codec_encode(&w->arena, verb, m, buf + FRAME_PREFIX_BYTES, 4096);
    CHECK(n >= 0);
    frame_write_prefix(buf, verb, (size_t) n, body_bytes);
    buf[FRAME_PREFIX_BYTES - 1] = w->fds;
    w->fds = 0;
    memset(buf + FRAME_PREFIX_BYTES + n, 'b', body_bytes);
    if (body_bytes < SLAB_FROM || !peer_wants_input(c->peer) ||
        !feed_slab(w, c, buf, FRAME_PREFIX_BYTES + (size_t) n + body_bytes)) {
        feed(w, c, buf, FRAME_PREFIX_BYTES + (size_t) n + body_bytes);
    }
}

static void do_connect(struct world *w, struct client *c, struct input *in)
{
    uint8_t how = take_u8(in);
    struct peer_info info = {.uid = how & 2 ? 7 : 0, .pid = 1, .packets = how & 1};
    struct wire_hello hello = {.protocol_min = 1,
                               .protocol_max = 1,
                               .client_name = text_from("c"),
                               .features = how & 8 ? FEATURE_BUFFERS : 0,
                               .resume_token = text_from(how & 16 ? "t" : ""),
                               .session = how >> 6};

    if (c->peer) {
        client_gone(w, c);
    }
    if (router_add_peer(w->router, &info, &w->now, &c->peer) != ROUTER_OK) {
        c->peer = NULL;
        return;
    }
    c->packets = info.packets;
    if (!(how & 4)) {
        feed_frame(w, c, VERB_HELLO, &hello, 0);
    }
}

static void do_subscribe(struct world *w, struct client *c, struct input *in)
{
    struct wire_subscribe m = {.subscription = take_u8(in) & 7, .filter = take_text(in)};

    m.policy = take_u8(in) % 6;
    m.window_messages = take_u8(in) & 15;
    m.window_bytes = take_u8(in);
    m.queue_messages = take_u8(in) & 15;
    m.queue_bytes = take_u16(in) & 2047;
    m.flags = take_u8(in);
    m.silence_ms = m.flags & 128 ? m.flags & 127 : 0;
    m.flags %= 5;
    if (w->keeps) {
        uint8_t how = take_u8(in);

        m.retained = how & 3;
        m.min_interval_ms = how >> 2;
    }
    feed_frame(w, c, VERB_SUBSCRIBE, &m, 0);
}

/* A member of one of few groups, most of which agree. */
static void do_join(struct world *w, struct client *c, struct input *in)
{
    uint8_t how = take_u8(in), id = take_u8(in);
    const char *filter = id >> 3 == 31 ? "$bus/client/#" : texts[(id >> 3) % 5];
    struct wire_subscribe m = {.subscription = id & 7,
                               .filter = text_from(filter),
                               .group = text_from("g"),
                               .policy = how & 3,
                               .queue_messages = 4,
                               .window_messages = 1 + (how >> 6),
                               .window_bytes = 1000,
                               .queue_bytes = 2000};

    m.flags = (how & 4 ? 8u : 0) | (how & 8 ? 16u : 0) | (how & 16 ? 2u : 0);
    m.deliveries_max = how & 4 ? 2 : 0;
    m.dead_letter = text_from((how & 36) == 36 ? "b/c" : "");
    feed_frame(w, c, VERB_SUBSCRIBE, &m, 0);
}

static void do_ack(struct world *w, struct client *c, struct input *in)
{
    uint8_t how = take_u8(in);
    struct wire_ack m = {.subscription = how & 7,
                         .delivery = take_u8(in) & 31,
                         .flags = how >> 6 == 3 ? how >> 3 & 3 : how >> 6 & 1};

    feed_frame(w, c, VERB_ACK, &m, 0);
}

static void do_publish(struct world *w, struct client *c, struct input *in)
{
    struct wire_header headers[2] = {{text_from("k"), text_from("value")},
                                     {text_from("k"), text_from("")}};
    uint8_t how = take_u8(in);
    struct wire_publish m = {.flags = how & 3, .headers = headers, .n_headers = (how >> 1) % 3};
    unsigned count = 1 + (how >> 5);

    if (how & 16) {
        m.key = text_from(texts[count]);
    }
    if (how & 8) {
        m.alias = take_u8(in) & 7;
    } else {
        m.topic = take_text(in);
    }
    m.ttl_ms = w->keeps ? take_u8(in) : 0;
    m.sequence = m.ttl_ms > 0xF0 ? take_u16(in) : 0;
    for (size_t bytes = take_u16(in) & 4095; count > 0 && c->peer; count--) {
        feed_frame(w, c, VERB_PUBLISH, &m, bytes);
    }
}

static void do_raw(struct world *w, struct client *c, struct input *in)
{
    size_t len = take_u8(in);
    const uint8_t *data = take_bytes(in, &len);

    if (len > 0) {
        feed(w, c, data, len);
    }
}

/* A header of any verb, as the input has it. */
static void do_any_frame(struct world *w, struct client *c, struct input *in)
{
    uint8_t buf[FRAME_PREFIX_BYTES + 255], verb = take_u8(in);
    size_t len = take_u8(in);
    const uint8_t *header = take_bytes(in, &len);

    frame_write_prefix(buf, (enum verb) verb, len, 0);
    if (len > 0) {
        memcpy(buf + FRAME_PREFIX_BYTES, header, len);
    }
    feed(w, c, buf, FRAME_PREFIX_BYTES + len);
}

static void do_keep(struct world *w, struct client *c, struct input *in)
{
    uint8_t what = take_u8(in), id = take_u8(in) & 7, how = take_u8(in);
    struct wire_advertise advertise = {.alias = id,
                                       .topic = text_from(texts[what >> 4]),
                                       .flags = (how >> 6) | (what & 2 ? ADVERTISE_RELIABLE : 0u),
                                       .retain_messages = how & 15,
                                       .retain_ttl_ms = (how & 48) * 4};
    struct wire_clear clear = {.alias = how & 1 ? id : 0,
                               .topic = text_from(how & 1 ? "" : texts[what >> 4])};

    if (what & 1) {
        feed_frame(w, c, VERB_CLEAR, &clear, 0);
    } else {
        feed_frame(w, c, VERB_ADVERTISE, &advertise, 0);
    }
}

/* The router's own topics, with any bytes for a body: also what they mean, most often. */
static void do_inside(struct world *w, struct client *c, struct input *in, uint8_t what)
{
    static const char *const topics[] = {"clients", "subscriptions", "topics",        "groups",
                                         "quotas",  "closed",        "control/drain", "counters"};
    uint8_t frame[FRAME_PREFIX_BYTES + 64 + 32], how = take_u8(in);
    size_t bytes = how & 31;
    const uint8_t *body = take_bytes(in, &bytes);
    char topic[40] = "$bus/";
    struct wire_request m = {.call = 1 + (how >> 5) % 6, .flags = how >> 7};
    long n;

    strcat(topic, how == 0xFF ? "control/disconnect" : topics[what & 7]);
    m.topic = text_from(topic);
    arena_reset(&w->arena);
    n = codec_encode(&w->arena, VERB_REQUEST, &m, frame + FRAME_PREFIX_BYTES, 64);
    CHECK(n >= 0);
    frame_write_prefix(frame, VERB_REQUEST, (size_t) n, bytes);
    if (bytes > 0) {
        memcpy(frame + FRAME_PREFIX_BYTES + n, body, bytes);
    }
    feed(w, c, frame, FRAME_PREFIX_BYTES + (size_t) n + bytes);
}

static void do_small(struct world *w, struct client *c, struct input *in)
{
    uint8_t what = take_u8(in), id = take_u8(in) & 7;
    struct wire_credit credit = {.subscription = id, .messages = take_u8(in), .bytes = 500};
    struct wire_advertise advertise = {.alias = id,
                                       .topic = text_from(texts[what >> 4]),
                                       .flags = (what & 8 ? ADVERTISE_INTEREST : 0u) |
                                                (what & 16 ? ADVERTISE_RELIABLE : 0u)};
    struct text filter = text_from(texts[what >> 4]);
    struct wire_monitor monitor = {.filters = &filter, .n_filters = id & 1, .queue_bytes = 4096};
    struct wire_snapshot snapshot = {.kind = id, .limit = what >> 4};

    switch (what & 7) {
    case 0:
    case 1:
        feed_frame(w, c, VERB_CREDIT, &credit, 0);
        return;
    case 2:
        feed_frame(w, c, VERB_ADVERTISE, &advertise, 0);
        return;
    case 3:
        feed_frame(w, c, VERB_UNADVERTISE, &(struct wire_unadvertise){.alias = id}, 0);
        return;
    case 4:
        feed_frame(w, c, VERB_UNSUBSCRIBE,
                   &(struct wire_unsubscribe){.subscription = id, .flags = what >> 4}, 0);
        return;
    case 5:
        feed_frame(w, c, VERB_MONITOR, &monitor, 0);
        return;
    case 6:
        if (what & 128) {
            do_inside(w, c, in, id);
            return;
        }
        feed_frame(w, c, VERB_SNAPSHOT, &snapshot, 0);
        return;
    case 7:
        if (what & 16) {
            feed_frame(w, c, VERB_RESTORED, &(struct wire_restored){.flags = what >> 7}, 0);
        } else {
            feed_frame(w, c, VERB_PING, &(struct wire_ping){.token = id}, 0);
        }
        return;
    }
}

/* A batch that arrives, and how many the next frame announces. */
static void take_parcel(struct world *w, struct client *c, struct input *in)
{
    uint8_t how = take_u8(in);
    struct parcel *p = how & 3 ? parcel_of(how & 3, (how & 12) == 12) : NULL;

    if (p) {
        router_add_parcel(w->router, c->peer, p, &w->now);
    }
    w->fds = how & 4 ? how & 3 : how >> 3;
}

static void do_cargo(struct world *w, struct client *c, struct input *in, uint8_t what)
{
    uint8_t id = take_u8(in);
    struct wire_buffer buffer = {.id = id & 7, .bytes = BUFFER_BYTES - (id >> 3)};
    struct wire_publish publish = {.flags = id >> 7, .buffer = id & 7};

    if (!peer_wants_input(c->peer)) {
        return;
    }
    switch (what & 7) {
    case 0:
    case 1:
        take_parcel(w, c, in);
        feed_frame(w, c, VERB_BUFFER, &buffer, 0);
        return;
    case 2:
        feed_frame(w, c, VERB_UNBUFFER, &(struct wire_unbuffer){.id = id & 7}, 0);
        return;
    case 3:
    case 4:
        publish.topic = take_text(in);
        publish.offset = take_u16(in) & 4095;
        publish.bytes = take_u16(in) & 4095;
        if (what & 8) {
            take_parcel(w, c, in);
        }
        feed_frame(w, c, VERB_PUBLISH, &publish, what & 16 ? id : 0);
        return;
    case 5:
        feed_frame(w, c, VERB_RELEASE, &(struct wire_release){.lease = id & 31, .flags = id >> 5},
                   0);
        return;
    case 6:
        feed_frame(w, c, VERB_PONG, &(struct wire_pong){.token = id}, 0);
        return;
    case 7:
        take_parcel(w, c, in);
        return;
    }
}

static void do_request(struct world *w, struct client *c, struct input *in, uint8_t what)
{
    struct wire_header header = {text_from("k"), text_from("value")};
    uint8_t id = take_u8(in);
    struct wire_request m = {.call = id & 7,
                             .flags = (what >> 3) & 3,
                             .timeout_ms = 8u * (id >> 3),
                             .headers = &header,
                             .n_headers = id >> 7};
    size_t body_bytes = take_u8(in) * 16u;

    if (what & 32) {
        m.alias = id & 3;
    } else {
        m.topic = take_text(in);
    }
    if (what & 64) {
        m.buffer = take_u8(in) & 7;
        m.bytes = body_bytes;
        body_bytes = 0;
    }
    if (what & 128) {
        take_parcel(w, c, in);
    }
    feed_frame(w, c, VERB_REQUEST, &m, body_bytes);
}

/* One that a server has got, or what may be one. */
static uint64_t take_call(const struct world *w, struct input *in)
{
    uint8_t id = take_u8(in);

    return id & 128 ? (uint64_t) (id >> 3 & 15) << 20 | (id & 7) : w->calls[id % CALLS_KEPT];
}

static void do_reply(struct world *w, struct client *c, struct input *in, uint8_t what)
{
    struct wire_header header = {text_from("k"), text_from("value")};
    struct wire_reply m = {.call = take_call(w, in), .flags = (what >> 3) & 1, .headers = &header};
    size_t body_bytes = take_u8(in) * 16u;
    unsigned n = what & 16 ? 70 : 1; /* more than may be ahead */

    m.n_headers = body_bytes & 16 ? 1 : 0;
    if (what & 64) {
        m.buffer = take_u8(in) & 7;
        m.bytes = body_bytes;
        body_bytes = 0;
    }
    if (what & 128) {
        take_parcel(w, c, in);
    }
    for (; n > 0 && c->peer; n--) {
        feed_frame(w, c, VERB_REPLY, &m, body_bytes);
    }
}

static void do_call(struct world *w, struct client *c, struct input *in)
{
    uint8_t what = take_u8(in), id;
    struct wire_subscribe serve = {.flags = 32 | (what & 128 ? 2 : 0)};
    struct wire_credit credit = {0};

    if (!peer_wants_input(c->peer)) {
        return;
    }
    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        do_request(w, c, in, what);
        return;
    case 3:
    case 4:
        do_reply(w, c, in, what);
        return;
    case 5:
        feed_frame(w, c, VERB_CANCEL, &(struct wire_cancel){.call = what >> 3 & 7}, 0);
        return;
    case 6:
        id = take_u8(in);
        credit = (struct wire_credit){.call = id & 7, .part = id >> 3 & 3, .messages = id >> 5};
        feed_frame(w, c, VERB_CREDIT, &credit, 0);
        return;
    case 7:
        serve.subscription = what >> 3 & 7;
        serve.filter = take_text(in);
        serve.window_messages = take_u8(in) & 3;
        serve.window_bytes = take_u8(in);
        feed_frame(w, c, VERB_SUBSCRIBE, &serve, 0);
        return;
    }
}

static void do_will(struct world *w, struct client *c, struct input *in)
{
    struct wire_header header = {text_from("k"), text_from("value")};
    uint8_t how = take_u8(in);
    struct wire_will m = {.topic = take_text(in),
                          .flags = how & 3,
                          .delay_ms = how & 4 ? take_u16(in) & 511 : 0,
                          .headers = &header,
                          .n_headers = how >> 3 & 1};

    feed_frame(w, c, VERB_WILL, &m, how >> 4 << 4);
}

static void do_time(struct world *w, struct input *in)
{
    w->now.monotonic_ns += (take_u16(in) & 1023) * NS_PER_MS_FUZZ;
    w->now.realtime_ns += 1;
    router_tick(w->router, &w->now);
    for (size_t i = 0; i < N_PEERS; i++) {
        if (w->clients[i].peer && peer_is_expired(w->clients[i].peer)) {
            client_gone(w, &w->clients[i]);
        }
    }
}

static int on_reload(void *userdata, char *text, size_t size)
{
    (void) userdata;
    (void) text;
    (void) size;
    return -1;
}

static void on_drain(void *userdata)
{
    struct world *w = userdata;

    router_drain(w->router, w->now.monotonic_ns, &w->now);
}

static struct router_config small_router(struct world *w)
{
    static const struct router_controls controls = {on_reload, on_drain};
    struct router_config config = {.limits = LIMITS_DEFAULT,
                                   .epoch = 1,
                                   .version = "fuzz",
                                   .descriptors = &fd_ops,
                                   .controls = &controls,
                                   .controls_userdata = w};

    config.limits.hello_timeout_ms = 100;
    config.limits.stall_timeout_ms = 300;
    config.limits.linger_ms = 200;
    config.limits.clients_max = N_PEERS - 1;
    config.limits.client_bytes_max = 64 * KIB;
    config.limits.total_bytes_max = 128 * KIB;
    config.limits.publish_window_messages = 20;
    config.limits.publish_window_bytes = 8192;
    config.limits.output_bytes_max = 8192;
    config.limits.subscriptions_max = 6;
    config.limits.aliases_max = 6;
    config.limits.monitors_max = 1;
    config.limits.buffers_max = 6;
    config.limits.buffer_bytes_max = 5 * BUFFER_BYTES;
    config.limits.body_max = 3000;
    config.limits.leases_max = 8;
    config.limits.lease_bytes_max = 8000;
    config.limits.client_descriptors_max = 10;
    config.limits.user_descriptors_max = 12;
    config.limits.requests_max = 6;
    config.limits.request_timeout_max_ms = 500;
    config.limits.wills_max = 3;
    config.limits.will_bytes_max = 200;
    config.limits.user_will_bytes_max = 1000;
    config.limits.user_bytes_max = 64 * KIB;
    config.limits.user_connections_max = N_PEERS - 2;
    config.limits.user_subscriptions_max = 9;
    config.limits.user_wildcards_max = 6;
    config.limits.user_topics_max = 9;
    config.limits.user_requests_max = 8;
    config.limits.alarms_max = 3;
    config.limits.retained_messages_max = 14;
    config.limits.user_retained_bytes_max = 16 * KIB;
    return config;
}

/* Everybody may do everything. */
static const struct policy_rule open_rules[] = {{.verbs = POLICY_ALL, .topic = {"#", 1}},
                                                {.verbs = POLICY_ALL, .topic = {"$bus/#", 6}},
                                                {.verbs = POLICY_ALL, .topic = {"$/#", 3}}};

/* Other rules, while everything runs. */
static void do_rules(struct world *w, struct input *in)
{
    struct router_settings settings = {.limits = small_router(w).limits};
    struct policy_rule rules[4];
    unsigned n = 0, wanted = take_u8(in) & 3;

    for (unsigned i = 0; i < wanted; i++) {
        uint8_t how = take_u8(in);

        rules[n] = (struct policy_rule){.deny = how & 1,
                                        .by_uid = how & 2,
                                        .uid = how & 4 ? 7 : 0,
                                        .verbs = take_u8(in),
                                        .topic = take_text(in)};
        n += !policy_rule_check(&rules[n]);
    }
    if (n == 0) {
        CHECK(policy_new(open_rules, ARRAY_LEN(open_rules), &settings.policy) == 0);
    } else {
        CHECK(policy_new(rules, n, &settings.policy) == 0);
    }
    CHECK(router_reconfigure(w->router, &settings, &w->now) == 0);
    policy_unref(settings.policy);
}

static void step(struct world *w, struct input *in)
{
    uint8_t op = take_u8(in);
    struct client *c = &w->clients[op & (N_PEERS - 1)];
    bool is_call = (op & 12) == 12;

    w->keeps = (op & 4) && !is_call;
    op >>= 4;
    if (op == 0) {
        do_time(w, in);
    } else if (op == 1 || !c->peer) {
        do_connect(w, c, in);
    } else if (op == 2) {
        client_gone(w, c);
    } else if (is_call) {
        do_call(w, c, in);
    } else if (op <= 4) {
        do_subscribe(w, c, in);
    } else if (op <= 7) {
        do_publish(w, c, in);
    } else if (op <= 9 && w->keeps) {
        do_keep(w, c, in);
    } else if (op <= 9) {
        do_small(w, c, in);
    } else if (op == 10) {
        do_raw(w, c, in);
    } else if (op == 11) {
        do_any_frame(w, c, in);
    } else if (op <= 13) {
        (void) client_drain(w, c, take_u8(in) + 1u);
    } else if (op == 14) {
        drain_all(w);
    } else {
        uint8_t what = take_u8(in);

        if (what >= 0xC0 && what < 0xE0) {
            do_join(w, c, in);
        } else if (what >= 0xE0 && what < 0xF8) {
            do_ack(w, c, in);
        } else if (what == 0xBF) {
            do_rules(w, in);
        } else if (what == 0xFF) {
            router_shutdown(w->router, &w->now);
        } else if (what >= 0xF8) {
            do_will(w, c, in);
        } else {
            do_cargo(w, c, in, what);
        }
    }
    router_check(w->router);
}

/* Some routers were started again. */
static void expect_some(struct world *w, const uint8_t *data, size_t len)
{
    static const struct session_id ids[] = {{7, 1, 1}, {0, 1, 2}};

    if (len > 0 && (data[len - 1] & 31) == 5) {
        CHECK(router_expect(w->router, ids, ARRAY_LEN(ids), UINT64_C(2000000000)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w = {.now = {1, 1}};
    static const struct router_controls controls = {on_reload, on_drain};
    struct router_config config = small_router(&w);
    struct input in = {data, len};

    config.controls = &controls;
    config.controls_userdata = &w;
    n_fds = n_fds_open = 0;
    CHECK(arena_init(&w.arena, CODEC_ARENA_BYTES) == 0);
    CHECK(policy_new(open_rules, ARRAY_LEN(open_rules), &config.policy) == 0);
    CHECK(router_new(&config, &w.router) == 0);
    policy_unref(config.policy);
    slab_pool_init(&w.slabs, 2);
    expect_some(&w, data, len);
    for (unsigned n = 0; in.left > 0 && n < N_STEPS; n++) {
        step(&w, &in);
    }
    drain_all(&w);
    router_check(w.router);
    for (size_t i = 0; i < N_PEERS; i++) {
        if (w.clients[i].peer) {
            client_gone(&w, &w.clients[i]);
        }
    }
    /* wills wait for their time, and nothing else is left to be done */
    for (uint64_t ns = router_deadline(w.router); ns != UINT64_MAX;
         ns = router_deadline(w.router)) {
        w.now.monotonic_ns = MAX(w.now.monotonic_ns, ns);
        router_tick(w.router, &w.now);
        router_check(w.router);
    }
    CHECK(router_counters(w.router)->wills_now == 0);
    /* what is kept outlives its publishers */
    CHECK(router_counters(w.router)->charged_bytes_now ==
          router_counters(w.router)->retained_bytes_now);
    w.router = router_free(w.router);
    CHECK(n_fds_open == 0);
    CHECK(slab_pool_pinned(&w.slabs) == 0);
    slab_pool_fini(&w.slabs);
    arena_fini(&w.arena);
    return 0;
}
