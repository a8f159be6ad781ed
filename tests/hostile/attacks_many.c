/* SPDX-License-Identifier: MIT */
/* Attacks with as many of something as may be. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "hostile/attacker.h"

/* ---- subscriptions ---- */

#define SUBSCRIBERS 4u
#define SUBSCRIPTIONS 131072u
#define STEP 500u

static struct text some_filter(struct attacker *a, char buf[256], unsigned n)
{
    static const char *const kinds[] = {"#", "+", "public", "stream", "public/#", "+/#"};

    switch (n % 8) {
    case 0:
        return text_from("#");
    case 1:
        return text_from("home/#");
    case 2:
        return text_from("public/+/+");
    case 3: /* never matches, but it must be kept */
        (void) snprintf(buf, 256, "home/%u/%u/+/#", (unsigned) getuid(), n);
        return text_from(buf);
    default:
        return topic_of(buf, a->victim_uid, kinds[n % 6]);
    }
}

/* The first halves read, the others do not. */
void attack_subscriptions(struct attacker *a)
{
    unsigned n[SUBSCRIBERS] = {0};
    int fds[SUBSCRIBERS];
    char filter[256];

    memset(fds, 0xff, sizeof(fds));
    for (unsigned i = 0;; i = (i + 1) % SUBSCRIBERS) {
        if (fds[i] < 0) {
            fds[i] = line_greet(a, (int) (i % 2));
            n[i] = 0;
            continue;
        }
        a->len = 0;
        for (unsigned k = 0; k < STEP && n[i] < SUBSCRIPTIONS; k++) {
            struct wire_subscribe m = {.subscription = ++n[i],
                                       .window_messages = 1u << 20,
                                       .window_bytes = 1u << 28,
                                       .flags = n[i] % 3 ? NARROW : 0};

            m.filter = some_filter(a, filter, n[i]);
            put(a, VERB_SUBSCRIBE, &m, 0);
        }
        if ((i < SUBSCRIBERS / 2 && !swallow(a, fds[i])) || !say(a, fds[i])) {
            line_close(a, &fds[i]);
        }
        if (i == 0) {
            breathe();
        }
    }
}

/* ---- topics ---- */

#define PUBLISHERS 4u
#define TOPICS 131072u
#define TOPIC_BYTES 255u

/* Literal or `+` at each level: a tree of filters in which many paths lead to one topic. */
static struct text bushy_filter(struct attacker *a, char buf[256])
{
    size_t len = (size_t) snprintf(buf, 256, "home/%u/+", (unsigned) getuid());

    for (unsigned level = 3; level < 31; level++) {
        buf[len++] = '/';
        buf[len++] = dice_below(&a->dice, 2) ? 'x' : '+';
    }
    buf[len++] = '/';
    buf[len++] = '#';
    buf[len] = '\0';
    return text_from(buf);
}

static void put_topic(struct attacker *a, unsigned n)
{
    struct wire_advertise advertise = {
        .alias = n % TOPICS + 1, .flags = ADVERTISE_OWNED, .retain_messages = n % 2};
    struct wire_unadvertise unadvertise = {n % TOPICS + 1};
    struct wire_subscribe subscribe = {.subscription = n % TOPICS + 1};
    struct wire_publish by_alias = {.alias = n % TOPICS + 1};
    struct wire_publish by_name = {0};
    char buf[256];

    if (n >= TOPICS) {
        put(a, VERB_UNADVERTISE, &unadvertise, 0);
    }
    advertise.topic = own_topic(buf, TOPIC_BYTES, n);
    put(a, VERB_ADVERTISE, &advertise, 0);
    put(a, VERB_PUBLISH, &by_alias, 64);
    by_name.topic = own_topic(buf, TOPIC_BYTES, n ^ 0x800000u);
    put(a, VERB_PUBLISH, &by_name, 64);
    if (n % 2) {
        subscribe.filter = bushy_filter(a, buf);
        put(a, VERB_SUBSCRIBE, &subscribe, 0);
    }
}

void attack_topics(struct attacker *a)
{
    unsigned n[PUBLISHERS] = {0};
    int fds[PUBLISHERS];

    memset(fds, 0xff, sizeof(fds));
    for (unsigned i = 0;; i = (i + 1) % PUBLISHERS) {
        if (fds[i] < 0) {
            fds[i] = line_greet(a, (int) (i % 2));
            n[i] = 0;
            continue;
        }
        a->len = 0;
        while (a->len < ATTACK_PACKET_BYTES - 2048) {
            put_topic(a, n[i]++);
        }
        if (!swallow(a, fds[i]) || !say(a, fds[i])) {
            line_close(a, &fds[i]);
        }
    }
}

/* ---- requests ---- */

#define SERVERS 64u
#define REQUESTS 65000u

static void serve(struct attacker *a, int *fd, unsigned i)
{
    struct wire_subscribe m = {
        .subscription = 1, .flags = SUBSCRIBE_SERVE, .window_messages = 10000};
    char filter[256];

    *fd = line_greet(a, (int) (i % 2));
    m.filter = topic_of(filter, (unsigned) getuid(), "ask");
    put(a, VERB_SUBSCRIBE, &m, 0);
    if (*fd >= 0 && !say(a, *fd)) {
        line_close(a, fd);
    }
}

/* To one who never answers, to all of them, to nobody; some are given up again. */
static void put_requests(struct attacker *a, unsigned *n)
{
    char buf[256];

    for (unsigned k = 0; k < 200; k++, ++*n) {
        struct wire_request m = {.call = *n % REQUESTS + 1, .timeout_ms = 3600000};
        struct wire_cancel cancel = {.call = *n % REQUESTS + 1};

        if (*n >= REQUESTS && dice_below(&a->dice, 2)) {
            put(a, VERB_CANCEL, &cancel, 0);
        }
        m.topic = topic_of(buf, (unsigned) getuid(), *n % 16 == 15 ? "nobody" : "ask");
        m.flags = *n % 64 == 0 ? REQUEST_ALL : 0;
        put(a, VERB_REQUEST, &m, 100);
    }
}

void attack_requests(struct attacker *a)
{
    int servers[SERVERS], fd = -1;
    unsigned n = 0;

    memset(servers, 0xff, sizeof(servers));
    for (;;) {
        for (unsigned i = 0; i < SERVERS; i++) {
            if (servers[i] < 0) {
                serve(a, &servers[i], i);
            } else if (i % 2 && !swallow(a, servers[i])) {
                line_close(a, &servers[i]);
            }
        }
        if (fd < 0) {
            fd = line_greet(a, LINK_SEQPACKET);
            n = 0;
            continue;
        }
        a->len = 0;
        put_requests(a, &n);
        if (!swallow(a, fd) || !say(a, fd)) {
            line_close(a, &fd);
        }
    }
}
