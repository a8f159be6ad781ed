/* SPDX-License-Identifier: MIT */
/* Attacks with connections and with speed. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "hostile/attacker.h"

/* ---- connections ---- */

#define CHURN 256u
#define HOARD 15000u

/* Says nothing, half a greeting, or all of it and something that the router must keep. */
static void begin_somehow(struct attacker *a, int fd)
{
    struct wire_hello hello = {1, 1, text_from("flood"), 0, text_from("")};
    struct wire_subscribe all = {.subscription = 1, .filter = text_from("#")};

    a->len = 0;
    put(a, VERB_HELLO, &hello, 0);
    switch (dice_below(&a->dice, 4)) {
    case 0:
        break;
    case 1:
        a->len = dice_below(&a->dice, (uint32_t) a->len);
        (void) say(a, fd);
        break;
    default:
        put(a, VERB_SUBSCRIBE, &all, 0);
        (void) say(a, fd);
        break;
    }
}

static void churn(struct attacker *a, int fds[], unsigned n)
{
    for (unsigned i = 0;; i = (i + 1) % n) {
        line_close(a, &fds[i]);
        fds[i] = line_open(a, i % 2);
        if (fds[i] >= 0) {
            begin_somehow(a, fds[i]);
        }
    }
}

/* Those that were ended are opened again. */
static void hoard(struct attacker *a, int fds[], unsigned n)
{
    for (unsigned i = 0;; i = (i + 1) % n) {
        if (fds[i] >= 0 && !swallow(a, fds[i])) {
            line_close(a, &fds[i]);
        }
        if (fds[i] < 0) {
            fds[i] = dice_below(&a->dice, 2) ? line_greet(a, i % 2) : line_open(a, i % 2);
        }
        if (i == n - 1) {
            breathe();
        }
    }
}

void attack_connections(struct attacker *a)
{
    static int fds[HOARD];

    memset(fds, 0xff, sizeof(fds));
    if (a->process == 0) {
        churn(a, fds, CHURN);
    }
    hoard(a, fds, HOARD);
}

/* ---- half frames ---- */

#define HALVES 300u
#define HALF_BODY (1024u * 1024u)
#define HALF_PIECE 8192u

struct half {
    int fd;
    size_t left; /* of the body that it has announced */
};

static void half_begin(struct attacker *a, struct half *h)
{
    struct wire_publish m = {.topic = text_from("x")};
    char topic[256];

    h->fd = line_greet(a, LINK_STREAM);
    if (h->fd < 0) {
        return;
    }
    m.topic = topic_of(topic, (unsigned) getuid(), "half");
    put(a, VERB_PUBLISH, &m, 0);
    h->left = HALF_BODY - dice_below(&a->dice, 3);
    a->out[0] = (uint8_t) h->left;
    a->out[1] = (uint8_t) (h->left >> 8);
    a->out[2] = (uint8_t) (h->left >> 16);
    if (dice_below(&a->dice, 4) == 0) { /* not even the header; or it has descriptors, too */
        a->len -= dice_below(&a->dice, (uint32_t) a->len);
        h->left = 1;
    }
    if (!say(a, h->fd)) {
        line_close(a, &h->fd);
    }
}

/* All but the last byte, and then that never comes; now and then it ends the connection there. */
static void half_go_on(struct attacker *a, struct half *h)
{
    size_t n = h->left > HALF_PIECE ? HALF_PIECE : h->left - 1;

    a->len = n;
    h->left -= n;
    if (!say(a, h->fd) || (n == 0 && dice_below(&a->dice, 1000) == 0)) {
        line_close(a, &h->fd);
    }
}

void attack_half_frames(struct attacker *a)
{
    static struct half halves[HALVES];

    for (unsigned i = 0; i < HALVES; i++) {
        halves[i].fd = -1;
    }
    for (;;) {
        for (unsigned i = 0; i < HALVES; i++) {
            if (halves[i].fd < 0) {
                half_begin(a, &halves[i]);
            } else {
                half_go_on(a, &halves[i]);
            }
        }
        breathe();
    }
}

/* ---- flood ---- */

#define FLOODS 16u

static void flood_begin(struct attacker *a, int *fd, unsigned i)
{
    struct wire_advertise advertise = {.alias = 1};
    struct wire_subscribe subscribe = {
        .subscription = 1, .window_messages = 1u << 20, .window_bytes = 1u << 28};
    char topic[256];

    *fd = line_greet(a, (int) (i % 2));
    if (*fd < 0) {
        return;
    }
    advertise.topic = topic_of(topic, (unsigned) getuid(), i % 4 ? "flood" : "flood/unheard");
    put(a, VERB_ADVERTISE, &advertise, 0);
    if (i % 8 == 1) {
        subscribe.filter = advertise.topic;
        put(a, VERB_SUBSCRIBE, &subscribe, 0);
    }
    if (!say(a, *fd)) {
        line_close(a, fd);
    }
}

/* Without a look at its credit; and its ears are open, so that nothing stops it. */
void attack_flood(struct attacker *a)
{
    struct wire_publish m = {.alias = 1};
    struct wire_ping ping = {1};
    struct wire_credit credit = {.subscription = 1, .messages = 1u << 19, .bytes = 1u << 27};
    int fds[FLOODS];

    memset(fds, 0xff, sizeof(fds));
    for (unsigned i = 0;; i = (i + 1) % FLOODS) {
        if (fds[i] < 0) {
            flood_begin(a, &fds[i], i);
            continue;
        }
        a->len = 0;
        put(a, VERB_CREDIT, &credit, 0);
        for (unsigned k = 0; k < 1000 && a->len < ATTACK_PACKET_BYTES; k++) {
            put(a, VERB_PUBLISH, &m, 16);
            if (k % 16 == 0) {
                put(a, VERB_PING, &ping, 0);
            }
        }
        if (!swallow(a, fds[i]) || !say(a, fds[i])) {
            line_close(a, &fds[i]);
        }
    }
}

/* ---- what it must not have ---- */

#define ASKERS 8u

static void put_refused(struct attacker *a)
{
    static const char *const topics[] = {"seqpacket", "stream", "large", "requests"};
    struct wire_publish publish = {.topic = text_from("$bus/client/1/joined")};
    struct wire_monitor monitor = {.filters = NULL};
    struct wire_snapshot snapshot = {.kind = 1};
    struct wire_replace replace = {1};
    struct wire_subscribe subscribe = {.subscription = 1};
    char topic[256];

    switch (dice_below(&a->dice, 6)) {
    case 0:
        put(a, VERB_MONITOR, &monitor, 0);
        break;
    case 1:
        put(a, VERB_SNAPSHOT, &snapshot, 0);
        break;
    case 2:
        put(a, VERB_REPLACE, &replace, 0);
        break;
    case 3: /* as blocking as it may be */
        subscribe.filter = topic_of(topic, a->victim_uid, topics[dice_below(&a->dice, 4)]);
        subscribe.policy = BUS_POLICY_BLOCK;
        subscribe.window_messages = 1;
        put(a, VERB_SUBSCRIBE, &subscribe, 0);
        break;
    case 4:
        publish.topic = topic_of(topic, a->victim_uid, topics[dice_below(&a->dice, 4)]);
        put(a, VERB_PUBLISH, &publish, 32);
        break;
    default:
        put(a, VERB_PUBLISH, &publish, 32);
        break;
    }
}

void attack_refused(struct attacker *a)
{
    int fds[ASKERS];

    memset(fds, 0xff, sizeof(fds));
    for (unsigned i = 0;; i = (i + 1) % ASKERS) {
        if (fds[i] < 0) {
            fds[i] = line_greet(a, (int) (i % 2));
            continue;
        }
        a->len = 0;
        for (unsigned k = 0; k < 100; k++) {
            put_refused(a);
        }
        if (!swallow(a, fds[i]) || !say(a, fds[i])) {
            line_close(a, &fds[i]);
        }
    }
}
