/* SPDX-License-Identifier: MIT */
/* Those who are to notice nothing: publishers and their subscribers, with the public API. At most
 * so much is under way that nothing can be lost but by the router's fault. */
#include "hostile/victim.h"
#include <bus/bus.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TURN_MS 1
#define BATCH 64u
#define LARGE_BYTES 65536u
#define TURN_MAX_US 50000u
#define COMPLAINTS_MAX 3u /* of a process */

struct victim {
    const struct stage *stage;
    struct pair_board *pair;
    struct bus_conn *conn;
    bool is_over;
    uint64_t last;                 /* number of the last message that came */
    uint64_t owed_from_ns, n_owed; /* paced */
};

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct victim *v = userdata;

    (void) conn;
    complain("bus-hostile: a victim was disconnected: %d %s\n", (int) reason, text);
    v->pair->broken++;
    v->is_over = true;
}

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct victim *v = userdata;

    (void) conn;
    complain("bus-hostile: a victim was refused: %s %s\n", bus_status_text(event->status),
             event->text);
    v->pair->refused++;
}

int victim_open(const struct stage *s, unsigned pair, struct bus_conn **ret_conn, void *userdata,
                bus_closed_fn closed, bus_status_fn status)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    char name[32];
    int r;

    (void) snprintf(name, sizeof(name), "victim-%s", victim_kinds[pair].name);
    opts.name = name;
    opts.timeout_ms = 60000;
    opts.spin_us = BUS_SPIN_OFF; /* it is the router's time that is measured, not that of looking */
    opts.on_closed = closed;
    opts.on_status = status;
    opts.userdata = userdata;
    r = bus_open(s->addresses[strcmp(victim_kinds[pair].name, "stream") == 0], &opts, ret_conn);
    if (r < 0) {
        complain("bus-hostile: a victim cannot connect: %s\n", strerror(-r));
        s->board->pairs[pair].broken++;
    }
    return r;
}

void victim_topic(char name[64], unsigned pair)
{
    const char *kind = victim_kinds[pair].name;

    (void) snprintf(name, 64, "%s/%u/%s", strcmp(kind, "public") == 0 ? "public" : "home",
                    (unsigned) getuid(), kind);
}

struct moment moment_now(const struct stage *s)
{
    struct timespec t = {0};

    (void) clock_gettime((clockid_t) s->board->router_clock, &t);
    return (struct moment){now_ns(),
                           (uint64_t) t.tv_sec * UINT64_C(1000000000) + (uint64_t) t.tv_nsec};
}

static unsigned bucket_of(uint64_t ns)
{
    uint64_t us = ns / 1000 + 1;
    unsigned power = 63u - (unsigned) __builtin_clzll(us);
    unsigned eighth =
        power >= 3 ? (unsigned) (us >> (power - 3)) & 7u : (unsigned) (us << (3 - power)) & 7u;
    unsigned bucket = power * 8 + eighth;

    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

void latency_note(const struct stage *s, struct pair_board *pair, const struct moment *since)
{
    struct moment now = moment_now(s);

    pair->latency[bucket_of(now.t_ns - since->t_ns)]++;
    pair->turn[bucket_of(now.router_ns - since->router_ns)]++;
}

void complain(const char *format, ...)
{
    static unsigned n;
    va_list args;

    if (n++ < COMPLAINTS_MAX) {
        va_start(args, format);
        (void) vfprintf(stderr, format, args);
        va_end(args);
    }
}

uint64_t victim_due(const struct board *b, unsigned pair, struct pace *p, uint64_t ahead_max)
{
    const struct pair_board *pb = &b->pairs[pair];
    uint64_t under_way = pb->sent - pb->got - pb->lost;
    uint64_t room = under_way < ahead_max ? ahead_max - under_way : 0;
    uint64_t n, now = now_ns();

    switch ((enum tempo) b->tempo) {
    case TEMPO_FULL:
        p->from_ns = 0;
        return room < BATCH ? room : BATCH;
    case TEMPO_PACED:
        if (p->from_ns == 0) {
            /* processes of one kind do not all come at once */
            *p = (struct pace){.from_ns = now - UINT64_C(1000000000) *
                                                    victim_kinds[pair].n_feeders / (pb->rate + 1) *
                                                    ((unsigned) getpid() % VISITORS) / VISITORS};
        }
        n = (uint64_t) ((double) (now - p->from_ns) * (double) pb->rate /
                        victim_kinds[pair].n_feeders / 1e9) -
            p->n;
        p->n += n; /* what has no room now is not made up for: it is missing in the rate */
        return n < room ? n : room;
    case TEMPO_REST:
    default:
        p->from_ns = 0;
        return 0;
    }
}

/* ---- publishing ---- */

static int feed_one(struct victim *v, struct bus_topic *topic, uint8_t *body, size_t bytes, int fd)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    struct victim_body head = {.n = v->pair->sent + 1, .sent = moment_now(v->stage)};
    int r;

    memcpy(body, &head, sizeof(head));
    opts.fds = &fd;
    opts.n_fds = fd >= 0;
    while ((r = bus_topic_publish(topic, body, bytes, &opts)) == -EAGAIN && !v->is_over) {
        (void) bus_wait_writable(v->conn, 1000);
    }
    if (r == 0) {
        v->pair->sent++;
    }
    return r;
}

static int feed(const struct stage *s, unsigned pair, size_t bytes, uint64_t ahead_max, int fd)
{
    static uint8_t body[LARGE_BYTES];
    struct victim v = {.stage = s, .pair = &s->board->pairs[pair]};
    struct pace pace = {0};
    struct bus_topic *topic;
    char name[64];

    victim_topic(name, pair);
    if (victim_open(s, pair, &v.conn, &v, on_closed, on_status) < 0 ||
        bus_advertise(v.conn, name, &topic) < 0 || bus_flush(v.conn, 60000) < 0) {
        return 1;
    }
    s->board->n_ready++;
    while (!v.is_over) {
        uint64_t n = victim_due(s->board, pair, &pace, ahead_max);

        bus_cork(v.conn);
        for (uint64_t i = 0; i < n; i++) {
            if (feed_one(&v, topic, body, bytes, fd) < 0) {
                v.pair->broken++;
                return 1;
            }
        }
        (void) bus_uncork(v.conn);
        if (bus_process(v.conn) < 0) {
            return 1;
        }
        if (n == 0 || s->board->tempo != TEMPO_FULL) {
            (void) bus_wait(v.conn, TURN_MS);
        }
    }
    return 1;
}

/* ---- subscribing ---- */

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct victim *v = userdata;
    struct victim_body head;

    (void) sub;
    if (bus_message_sender(message)->uid != getuid()) {
        v->pair->foreign++;
        return;
    }
    memcpy(&head, bus_message_data(message), sizeof(head));
    v->pair->missing += head.n != v->last + 1;
    v->last = head.n;
    v->pair->got++;
    latency_note(v->stage, v->pair, &head.sent);
}

static void on_message_fd(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct victim *v = userdata;

    v->pair->lost += bus_message_n_fds(message) == 0;
    on_message(sub, message, userdata);
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct victim *v = userdata;

    (void) sub;
    complain("bus-hostile: a victim has lost %llu messages: reason %d\n",
             (unsigned long long) loss->count, (int) loss->reason);
    v->pair->lost += loss->count;
    v->last += loss->count;
}

static int consume(const struct stage *s, unsigned pair, uint32_t flags, bus_message_fn on)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct victim v = {.stage = s, .pair = &s->board->pairs[pair]};
    char name[64];

    victim_topic(name, pair);
    opts.flags = flags;
    opts.on_loss = on_loss;
    if (victim_open(s, pair, &v.conn, &v, on_closed, on_status) < 0 ||
        bus_subscribe(v.conn, name, &opts, on, &v, NULL) < 0 || bus_flush(v.conn, 60000) < 0) {
        return 1;
    }
    s->board->n_ready++;
    (void) bus_run(v.conn);
    return 1;
}

/* ---- the kinds ---- */

/* Windows and queues of the subscriptions are the router's defaults: 32,768 messages, 12 MiB. */
static int feed_small(const struct stage *s, unsigned pair)
{
    return feed(s, pair, 64, 16384, -1);
}

static int feed_large(const struct stage *s, unsigned pair)
{
    return feed(s, pair, LARGE_BYTES, 96, -1);
}

/* One waits at the router's own door at a time, the others in the queue, which takes 64. */
static int feed_fds(const struct stage *s, unsigned pair)
{
    return feed(s, pair, 64, 32, open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static int consume_bytes(const struct stage *s, unsigned pair)
{
    return consume(s, pair, 0, on_message);
}

static int consume_fds(const struct stage *s, unsigned pair)
{
    return consume(s, pair, BUS_SUB_DESCRIPTORS, on_message_fd);
}

const struct victim_kind victim_kinds[] = {
    {"seqpacket", 20000, feed_small, consume_bytes, 1, TURN_MAX_US},
    {"stream", 20000, feed_small, consume_bytes, 1, TURN_MAX_US},
    {"large", 1000, feed_large, consume_bytes, 1, TURN_MAX_US},
    {"descriptors", 300, feed_fds, consume_fds, 1, TURN_MAX_US},
    {"public", 1000, feed_small, consume_bytes, 1, TURN_MAX_US}, /* others may listen, too */
    {"requests", 5000, feed_requests, consume_requests, 1, TURN_MAX_US},
    /* those who connect stand in one line, which is the kernel's: they wait longer */
    {"visits", 200, feed_visits, NULL, VISITORS, 10 * TURN_MAX_US},
};
const unsigned n_victim_kinds = sizeof(victim_kinds) / sizeof(victim_kinds[0]);

unsigned victims_expected(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_victim_kinds; i++) {
        n += victim_kinds[i].n_feeders + (victim_kinds[i].consume != NULL);
    }
    return n;
}

static void victim_start(const struct stage *s, unsigned pair,
                         int (*fn)(const struct stage *s, unsigned pair))
{
    if (fn && party_fork() == 0) {
        _exit(fn(s, pair));
    }
}

int victims_run(const struct stage *s, const void *arg)
{
    (void) arg;
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        victim_start(s, i, victim_kinds[i].consume);
        for (unsigned k = 0; k < victim_kinds[i].n_feeders; k++) {
            victim_start(s, i, victim_kinds[i].feed);
        }
    }
    (void) wait(NULL); /* none of them should end */
    return 1;
}
