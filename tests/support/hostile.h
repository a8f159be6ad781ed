/* SPDX-License-Identifier: MIT */
#pragma once
/* A client that sends whatever frames: valid ones, ones with random or damaged headers, wrong
 * lengths, cut packets, descriptors. It connects again whenever it is sent away. */

#include <fcntl.h>
#include "base/arena.h"
#include "base/sock.h"
#include "support/children.h"
#include "support/random_header.h"
#include "wire/codec.h"

#define HOSTILE_BUFFER (192u * 1024u)
#define HOSTILE_BATCH_BYTES (60u * 1024u)
#define HOSTILE_FRAMES_A_LINK 2000
#define HOSTILE_FDS_MAX 4

struct hostile_role {
    const char *address;
    uint64_t seed;
    uint64_t n_frames;
};

/* In the child's report: done is frames, n_links connections, n_gaps packets with descriptors. */
struct hostile {
    struct child_self *self;
    struct rng rng;
    struct address address;
    struct arena arena;
    struct random_header header;
    int fd;         /* -1: not connected */
    bool is_deaf;   /* reads nothing */
    bool is_doomed; /* has sent what must end the connection */
    unsigned left;  /* frames until it leaves by itself */
    size_t len;
    uint8_t buf[HOSTILE_BUFFER];
};

/* ---- frames ---- */

/* Not so near to the topic of a healthy pair that damage could make it that. */
static inline struct text hostile_topic(struct hostile *h)
{
    static const char *const topics[] = {"fuzz/a", "fuzz/b", "fuzz/a/b", "fuzz", "$x/y",
                                         "$bus/x", "sick/1", "",         "a//b", "fuzz/+"};

    return text_from(topics[rng_below(&h->rng, ARRAY_LEN(topics))]);
}

static inline struct text hostile_filter(struct hostile *h)
{
    static const char *const filters[] = {"fuzz/+",    "fuzz/#", "fuzz/a", "+/a", "$x/#",
                                          "healthy/1", "a#",     "+/+/b",  "",    "x/"};

    if (rng_below(&h->rng, 50) == 0) {
        return text_from(rng_below(&h->rng, 2) ? "#" : "healthy/+");
    }
    return text_from(filters[rng_below(&h->rng, ARRAY_LEN(filters))]);
}

static inline uint32_t hostile_number(struct hostile *h)
{
    return rng_below(&h->rng, 20) ? rng_below(&h->rng, 8) : random_u32(&h->rng);
}

/* What a client might well say. Returns the verb. */
static inline enum verb hostile_plausible(struct hostile *h)
{
    union wire_any *m = &h->header.m;

    memset(m, 0, sizeof(*m));
    switch (rng_below(&h->rng, 15)) {
    case 0:
        m->advertise = (struct wire_advertise){hostile_number(h), hostile_topic(h)};
        return VERB_ADVERTISE;
    case 1:
        m->unadvertise = (struct wire_unadvertise){hostile_number(h)};
        return VERB_UNADVERTISE;
    case 2:
    case 3:
        m->subscribe = (struct wire_subscribe){
            .subscription = hostile_number(h),
            .filter = hostile_filter(h),
            .policy = rng_below(&h->rng, 6),
            .window_messages = hostile_number(h),
            .window_bytes = hostile_number(h) * 1000ull,
            .queue_messages = hostile_number(h),
            .queue_bytes = hostile_number(h) * 1000ull,
            .flags = rng_below(&h->rng, 3) | (rng_below(&h->rng, 3) ? 0 : SUBSCRIBE_SERVE),
        };
        return VERB_SUBSCRIBE;
    case 4:
        m->unsubscribe = (struct wire_unsubscribe){.subscription = hostile_number(h)};
        return VERB_UNSUBSCRIBE;
    case 5:
        m->credit = (struct wire_credit){hostile_number(h), hostile_number(h), hostile_number(h)};
        return VERB_CREDIT;
    case 6:
        m->snapshot = (struct wire_snapshot){rng_below(&h->rng, 5), hostile_number(h),
                                             rng_below(&h->rng, 20)};
        return VERB_SNAPSHOT;
    case 7:
    case 8:
        m->request.call = hostile_number(h);
        m->request.topic = hostile_topic(h);
        m->request.flags = rng_below(&h->rng, 3);
        m->request.timeout_ms = hostile_number(h) * 10;
        return VERB_REQUEST;
    case 9: /* as the router numbers calls: their place, and how many there were */
    case 10:
        m->reply.call = (uint64_t) rng_below(&h->rng, 64) << 20 | hostile_number(h);
        m->reply.flags = rng_below(&h->rng, 2);
        return VERB_REPLY;
    case 11:
        m->cancel = (struct wire_cancel){hostile_number(h), 0};
        return VERB_CANCEL;
    default:
        m->publish.alias = rng_below(&h->rng, 2) ? hostile_number(h) : 0;
        m->publish.topic = m->publish.alias ? text_from("") : hostile_topic(h);
        m->publish.flags = rng_below(&h->rng, 2);
        return VERB_PUBLISH;
    }
}

/* Any verb, with fields that are anything; GOODBYE seldom, as it is the end. */
static inline enum verb hostile_random(struct hostile *h)
{
    static const uint8_t verbs[] = {
#define X(name, number, pb, member, body) number,
        VERB_LIST(X)
#undef X
    };
    uint8_t verb = verbs[rng_below(&h->rng, ARRAY_LEN(verbs))];

    if ((verb == VERB_GOODBYE || verb == VERB_MONITOR) && rng_below(&h->rng, 20)) {
        verb = VERB_PING;
    }
    random_header_fill(&h->header, &h->rng, verb);
    return (enum verb) verb;
}

static inline size_t hostile_body(struct hostile *h, enum verb verb)
{
    if (verb != VERB_PUBLISH && verb != VERB_REQUEST && verb != VERB_REPLY) {
        return 0;
    }
    return rng_below(&h->rng, 100) ? rng_below(&h->rng, 500) : rng_below(&h->rng, 40000);
}

static inline void hostile_damage(struct hostile *h, uint8_t *data, size_t len)
{
    for (unsigned n = 1 + rng_below(&h->rng, 4); n > 0 && len > 0; n--) {
        data[rng_below(&h->rng, (uint32_t) len)] = (uint8_t) rng_u64(&h->rng);
    }
}

/* Changes the prefix so that it lies. Most of that ends the connection. */
static inline void hostile_lie(struct hostile *h, uint8_t *prefix)
{
    switch (rng_below(&h->rng, 8)) {
    case 0:
        prefix[rng_below(&h->rng, 4)] = (uint8_t) rng_u64(&h->rng); /* body_bytes */
        break;
    case 1:
        prefix[4 + rng_below(&h->rng, 2)] = (uint8_t) rng_u64(&h->rng); /* header_bytes */
        break;
    case 2:
        hostile_damage(h, prefix, FRAME_PREFIX_BYTES);
        break;
    case 3:
        h->len -= rng_below(&h->rng, (uint32_t) (prefix + FRAME_PREFIX_BYTES - h->buf)); /* cut */
        break;
    default:
        return;
    }
    h->is_doomed = true;
}

/* Small lies that cost only the frame. */
static inline void hostile_twist(struct hostile *h, uint8_t *prefix, size_t header_bytes)
{
    switch (rng_below(&h->rng, 20)) {
    case 0:
        prefix[7] = (uint8_t) (1 + rng_below(&h->rng, 255)); /* fds */
        break;
    case 1:
        if (load_u64le(prefix) << 32 == 0) { /* without a body any verb may stand there */
            prefix[6] = (uint8_t) rng_u64(&h->rng);
        }
        break;
    case 2:
    case 3:
    case 4:
        hostile_damage(h, prefix + FRAME_PREFIX_BYTES, header_bytes);
        break;
    default:
        break;
    }
}

static inline void hostile_append(struct hostile *h)
{
    enum verb verb = rng_below(&h->rng, 3) ? hostile_plausible(h) : hostile_random(h);
    uint8_t *prefix = h->buf + h->len;
    size_t body = hostile_body(h, verb);
    long n;

    arena_reset(&h->arena);
    n = codec_encode(&h->arena, verb, &h->header.m, prefix + FRAME_PREFIX_BYTES, FRAME_HEADER_MAX);
    if (n < 0) {
        return; /* it is too large to be sent */
    }
    frame_write_prefix(prefix, verb, (size_t) n, body);
    memset(prefix + FRAME_PREFIX_BYTES + n, 'b', body);
    h->len += FRAME_PREFIX_BYTES + (size_t) n + body;
    hostile_twist(h, prefix, (size_t) n);
    if (rng_below(&h->rng, 150) == 0) {
        hostile_lie(h, prefix);
    }
    h->self->report->done++;
    h->left -= h->left > 0;
}

/* ---- the link ---- */

static inline void hostile_leave(struct hostile *h)
{
    if (h->fd >= 0) {
        (void) close(h->fd);
    }
    h->fd = -1;
    h->len = 0;
}

static inline void hostile_connect(struct hostile *h)
{
    const struct wire_hello hello = {.protocol_min = 1,
                                     .protocol_max = 1,
                                     .client_name = text_from("hostile"),
                                     .resume_token = text_from("")};
    int type;
    long n;

    while ((h->fd = sock_connect(&h->address, &type)) == -EAGAIN) {
        (void) child_wait(h->self, -1, 1);
    }
    CHILD_CHECK(h->self, h->fd >= 0);
    arena_reset(&h->arena);
    n = codec_encode(&h->arena, VERB_HELLO, &hello, h->buf + FRAME_PREFIX_BYTES, 256);
    CHILD_CHECK(h->self, n > 0);
    frame_write_prefix(h->buf, VERB_HELLO, (size_t) n, 0);
    h->len = rng_below(&h->rng, 20) ? FRAME_PREFIX_BYTES + (size_t) n : 0; /* or rudely without */
    h->is_deaf = rng_below(&h->rng, 10) == 0;
    h->is_doomed = false;
    h->left = 1 + rng_below(&h->rng, HOSTILE_FRAMES_A_LINK);
    h->self->report->n_links++;
}

/* False when the connection has ended. */
static inline bool hostile_drain(struct hostile *h)
{
    static uint8_t sink[256 * 1024];
    ssize_t n;

    if (h->is_deaf) {
        return true;
    }
    do {
        n = recv(h->fd, sink, sizeof(sink), 0);
    } while (n > 0);
    return n < 0 && errno == EAGAIN;
}

static inline ssize_t hostile_send_with_fds(struct hostile *h, size_t at, size_t n)
{
    union {
        char buf[CMSG_SPACE(sizeof(int) * HOSTILE_FDS_MAX)];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {h->buf + at, n};
    int n_fds = 1 + (int) rng_below(&h->rng, HOSTILE_FDS_MAX);
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t) n_fds)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t) n_fds);
    for (int i = 0; i < n_fds; i++) {
        const int fd = i % 2 ? h->fd : STDERR_FILENO; /* its own end of the link, too */

        memcpy(CMSG_DATA(c) + sizeof(int) * (size_t) i, &fd, sizeof(fd));
    }
    h->self->report->n_gaps++;
    return sendmsg(h->fd, &msg, MSG_NOSIGNAL);
}

static inline ssize_t hostile_send_some(struct hostile *h, size_t at)
{
    size_t n = h->len - at;

    if (rng_below(&h->rng, 10) == 0) {
        return hostile_send_with_fds(h, at, n);
    }
    return send(h->fd, h->buf + at, n, MSG_NOSIGNAL);
}

/* Sends what is in the buffer. False if the connection has ended, or nobody gets on with it. */
static inline bool hostile_flush(struct hostile *h)
{
    size_t at = 0;

    while (at < h->len) {
        struct pollfd p = {.fd = h->fd, .events = (short) (POLLOUT | (h->is_deaf ? 0 : POLLIN))};
        ssize_t n = hostile_send_some(h, at);

        if (n >= 0) {
            at += (size_t) n;
        } else if (errno != EAGAIN || poll(&p, 1, h->is_deaf ? 50 : FIXTURE_TIMEOUT_MS) != 1) {
            return false; /* EPIPE, ECONNRESET, EMSGSIZE, ETOOMANYREFS */
        }
        if (!hostile_drain(h)) {
            return false;
        }
    }
    h->len = 0;
    return true;
}

/* A batch of frames, as one packet on seqpacket. */
static inline bool hostile_turn(struct hostile *h)
{
    unsigned n = 1 + rng_below(&h->rng, 64);

    while (n-- > 0 && h->len < HOSTILE_BATCH_BYTES && !h->is_doomed) {
        hostile_append(h);
    }
    return h->len == 0 || (hostile_flush(h) && !h->is_doomed && h->left > 0);
}

/* As many frames as its role says. */
static inline void hostile_child(struct child_self *self)
{
    static struct hostile h;
    const struct hostile_role *role = self->role;

    h = (struct hostile){.self = self, .rng = {role->seed}, .fd = -1};
    CHILD_CHECK(self, address_parse(role->address, &h.address) == 0);
    CHILD_CHECK(self, arena_init(&h.arena, CODEC_ARENA_BYTES) == 0);
    child_ready(self);
    while (self->report->done < role->n_frames) {
        if (h.fd < 0) {
            hostile_connect(&h);
        }
        if (!hostile_turn(&h)) {
            hostile_leave(&h);
        }
    }
}
