/* SPDX-License-Identifier: MIT */
#include "fair/attack.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/macros.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define BATCH_BYTES (64u * 1024u)
#define SUBS 1000u

/* What is sent once at first, and what for ever. */
struct script {
    uint8_t *data;
    size_t len, cap;
};

struct attacker {
    const struct attack_plan *plan;
    struct arena arena;
    struct script hello, loop;
    struct hostile_link {
        int fd;
        bool has_greeted;
        size_t at;
    } * links;
    int epoll;
};

const char *attack_name(enum attack a)
{
    static const char *const names[] = {"none",
#define X(name, meaning) #name,
                                        ATTACKS(X)
#undef X
    };

    return names[a];
}

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "attack: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* ---- what is sent ---- */

static uint8_t *script_room(struct script *s, size_t bytes)
{
    if (s->len + bytes > s->cap) {
        s->cap = MAX(2 * s->cap, s->len + bytes);
        s->data = realloc(s->data, s->cap);
        if (!s->data) {
            give_up("memory");
        }
    }
    return s->data + s->len;
}

static void add_frame(struct attacker *a, struct script *s, enum verb verb, const void *m,
                      size_t body)
{
    uint8_t *dst = script_room(s, FRAME_PREFIX_BYTES + 1024 + body);
    long n = codec_encode(&a->arena, verb, m, dst + FRAME_PREFIX_BYTES, 1024);

    if (n < 0) {
        give_up("frame");
    }
    frame_write_prefix(dst, verb, (size_t) n, body);
    memset(dst + FRAME_PREFIX_BYTES + n, 'x', body);
    s->len += FRAME_PREFIX_BYTES + (size_t) n + body;
    arena_reset(&a->arena);
}

static void add_raw(struct script *s, enum verb verb, size_t header, uint8_t byte)
{
    uint8_t *dst = script_room(s, FRAME_PREFIX_BYTES + header);

    frame_write_prefix(dst, verb, header, 0);
    memset(dst + FRAME_PREFIX_BYTES, byte, header);
    s->len += FRAME_PREFIX_BYTES + header;
}

/* A field that nobody knows, of 60,000 bytes. */
static void add_ping(struct script *s)
{
    static const uint8_t tag[] = {0xFA, 0x3F, 0xE0, 0xD4, 0x03};
    size_t at = s->len + FRAME_PREFIX_BYTES;

    add_raw(s, VERB_PING, sizeof(tag) + 60000, 'x');
    memcpy(s->data + at, tag, sizeof(tag));
}

static void add_turn(struct attacker *a, uint32_t i)
{
    struct script *s = &a->loop;

    switch (a->plan->attack) {
    case ATTACK_publish:
    case ATTACK_fanout:
        add_frame(a, s, VERB_PUBLISH, &(struct wire_publish){.alias = 1}, 16);
        return;
    case ATTACK_subscribe:
        add_frame(a, s, VERB_SUBSCRIBE,
                  &(struct wire_subscribe){.subscription = 1, .filter = text_from("h/+/x")}, 0);
        add_frame(a, s, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){.subscription = 1}, 0);
        return;
    case ATTACK_malformed:
        add_raw(s, VERB_SUBSCRIBE, 16, 0xFF);
        return;
    case ATTACK_pings:
        add_ping(s);
        return;
    case ATTACK_requests:
        add_frame(
            a, s, VERB_REQUEST,
            &(struct wire_request){.topic = text_from("h/nobody"), .call = i, .timeout_ms = 1000},
            16);
        return;
    case ATTACK_halves:
        add_frame(a, s, VERB_PUBLISH, &(struct wire_publish){.alias = 1}, 60000);
        return;
    case ATTACK_NONE:
    case ATTACK_connect:
    case ATTACK_COUNT:
        return;
    }
}

static void write_scripts(struct attacker *a)
{
    static const struct wire_hello hello = {
        .protocol_min = 1, .protocol_max = 1, .client_name = {"hostile", 7}};

    add_frame(a, &a->hello, VERB_HELLO, &hello, 0);
    add_frame(a, &a->hello, VERB_ADVERTISE,
              &(struct wire_advertise){.alias = 1, .topic = text_from("h/topic")}, 0);
    for (uint32_t i = 1; a->loop.len < BATCH_BYTES && a->plan->attack != ATTACK_connect; i++) {
        add_turn(a, i);
    }
}

/* ---- links ---- */

static int link_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        give_up("socket");
    }
    (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
        (void) close(fd);
        return -1;
    }
    return fd;
}

static void link_watch(struct attacker *a, struct hostile_link *l)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = l};

    if (epoll_ctl(a->epoll, EPOLL_CTL_ADD, l->fd, &event) < 0) {
        give_up("epoll");
    }
}

/* Its 1,000 subscriptions, which it reads, but never gives credit back for. */
static void subscribe_all(struct attacker *a, struct hostile_link *l)
{
    struct script s = {0};

    for (uint32_t i = 1; i <= SUBS; i++) {
        add_frame(a, &s, VERB_SUBSCRIBE,
                  &(struct wire_subscribe){.subscription = i, .filter = text_from("h/topic")}, 0);
    }
    if (send(l->fd, a->hello.data, a->hello.len, MSG_NOSIGNAL) != (ssize_t) a->hello.len ||
        send(l->fd, s.data, s.len, MSG_NOSIGNAL) != (ssize_t) s.len) {
        give_up("subscribe");
    }
    l->has_greeted = true;
    free(s.data);
}

static void links_open(struct attacker *a)
{
    for (unsigned i = 0; i < a->plan->n_links;) {
        struct hostile_link *l = &a->links[i];

        l->fd = link_connect(a->plan->path);
        if (l->fd < 0) {
            (void) usleep(1000); /* the backlog is full */
            continue;
        }
        if (a->plan->attack == ATTACK_fanout && i == 0) {
            subscribe_all(a, l);
        }
        link_watch(a, l);
        i++;
    }
}

/* ---- the attack ---- */

static void link_reconnect(struct attacker *a, struct hostile_link *l)
{
    (void) close(l->fd);
    *l = (struct hostile_link){.fd = link_connect(a->plan->path)};
    if (l->fd >= 0) {
        link_watch(a, l);
    }
}

/* False if the link is broken. */
static bool link_send(struct attacker *a, struct hostile_link *l)
{
    const struct script *s = l->has_greeted ? &a->loop : &a->hello;
    size_t part = a->plan->attack == ATTACK_halves && l->has_greeted ? 1 : s->len - l->at;
    ssize_t n = s->len > 0 ? send(l->fd, s->data + l->at, part, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

    if (n < 0) {
        return errno == EAGAIN;
    }
    l->at += (size_t) n;
    if (l->at == s->len) {
        l->has_greeted = true;
        l->at = 0;
    }
    return true;
}

static bool link_receive(struct hostile_link *l)
{
    static uint8_t nowhere[256 * 1024];
    ssize_t n = recv(l->fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);

    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void link_turn(struct attacker *a, struct hostile_link *l, uint32_t events)
{
    bool is_fine = !(events & ~(uint32_t) EPOLLOUT) || link_receive(l);

    if (a->plan->attack == ATTACK_connect && l->has_greeted) {
        is_fine = false;
    } else if (is_fine && (events & EPOLLOUT)) {
        is_fine = link_send(a, l);
    }
    if (!is_fine) {
        link_reconnect(a, l);
    }
}

_Noreturn void attack_run(const struct attack_plan *plan, _Atomic bool *is_ready)
{
    struct attacker a = {.plan = plan, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event events[256];

    a.links = calloc(MAX(plan->n_links, 1u), sizeof(*a.links));
    if (!a.links || arena_init(&a.arena, CODEC_ARENA_BYTES) < 0) {
        give_up("memory");
    }
    write_scripts(&a);
    links_open(&a);
    *is_ready = true;
    for (;;) {
        int n = epoll_wait(a.epoll, events, ARRAY_LEN(events), 10);

        for (int i = 0; i < n; i++) {
            link_turn(&a, events[i].data.ptr, events[i].events);
        }
        for (unsigned i = 0; n <= 0 && i < plan->n_links; i++) { /* what could not connect */
            if (a.links[i].fd < 0) {
                link_reconnect(&a, &a.links[i]);
            }
        }
    }
}
