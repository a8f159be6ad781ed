/* SPDX-License-Identifier: MIT */
#include "hostile/attacker.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sock.h"
#include "wire/codec.h"

#define BREATH_MS 1
#define STUCK_MS 20

void breathe(void)
{
    (void) poll(NULL, 0, BREATH_MS);
}

int line_open(struct attacker *a, int link)
{
    int type, fd = sock_connect(&a->addresses[link], &type);

    if (fd < 0) {
        breathe();
        return -1;
    }
    a->board->connections++;
    return fd;
}

int line_greet(struct attacker *a, int link)
{
    struct wire_hello hello = {.protocol_min = 1,
                               .protocol_max = 1,
                               .client_name = text_from("attacker"),
                               .features = FEATURE_BUFFERS,
                               .resume_token = text_from("")};
    int fd = line_open(a, link);

    a->len = 0;
    put(a, VERB_HELLO, &hello, 0);
    if (fd >= 0 && !say(a, fd)) {
        line_close(a, &fd);
    }
    return fd;
}

void line_close(struct attacker *a, int *fd)
{
    if (*fd >= 0) {
        a->board->ended++;
        (void) close(*fd);
        *fd = -1;
    }
}

static void put_any(struct attacker *a, enum verb verb, const void *m, size_t body_bytes,
                    unsigned fds)
{
    uint8_t *at = a->out + a->len;
    size_t cap = sizeof(a->out) - a->len;
    long n;

    if (cap < FRAME_PREFIX_BYTES + body_bytes) {
        return;
    }
    n = codec_encode(&a->arena, verb, m, at + FRAME_PREFIX_BYTES,
                     cap - FRAME_PREFIX_BYTES - body_bytes);
    arena_reset(&a->arena);
    if (n >= 0) {
        frame_write_prefix_fds(at, verb, (size_t) n, body_bytes, fds);
        a->len += FRAME_PREFIX_BYTES + (size_t) n + body_bytes;
        a->board->frames++;
    }
}

void put(struct attacker *a, enum verb verb, const void *m, size_t body_bytes)
{
    put_any(a, verb, m, body_bytes, 0);
}

void put_fds(struct attacker *a, enum verb verb, const void *m, unsigned fds)
{
    put_any(a, verb, m, 0, fds);
}

bool swallow(struct attacker *a, int fd)
{
    static uint8_t sink[1u << 18];
    ssize_t n;

    (void) a;
    do {
        n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
    } while (n > 0);
    return n < 0 && errno == EAGAIN;
}

static ssize_t send_fds(int fd, const uint8_t *data, size_t len, int fd_sent, unsigned n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ATTACK_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *) (uintptr_t) data, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (unsigned i = 0; i < n; i++) {
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd_sent, sizeof(int));
        }
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool say_fds(struct attacker *a, int fd, int fd_sent, unsigned n)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    size_t at = 0, len = a->len;

    a->len = 0;
    while (at < len) {
        ssize_t sent = send_fds(fd, a->out + at, len - at, fd_sent, at == 0 ? n : 0);

        if (sent >= 0) {
            at += (size_t) sent;
        } else if ((errno != EAGAIN && errno != EINTR) || poll(&p, 1, STUCK_MS) != 1) {
            return false; /* EPIPE, ECONNRESET, ETOOMANYREFS, or it is not read */
        }
    }
    return true;
}

bool say(struct attacker *a, int fd)
{
    return say_fds(a, fd, -1, 0);
}

struct text topic_of(char buf[256], unsigned uid, const char *rest)
{
    (void) snprintf(buf, 256, "%s/%u/%s", strncmp(rest, "public", 6) == 0 ? "public" : "home", uid,
                    rest);
    return text_from(buf);
}

struct text own_topic(char buf[256], size_t bytes, unsigned number)
{
    size_t len = (size_t) snprintf(buf, 256, "home/%u/%x", (unsigned) getuid(), number);

    /* two bytes a level, until there are 32; then one long level */
    for (unsigned level = 3; len + 2 <= bytes && level < 32; level++) {
        buf[len++] = '/';
        buf[len++] = 'x';
    }
    while (len < bytes) {
        buf[len++] = 'y';
    }
    buf[len] = '\0';
    return text_from(buf);
}

/* ---- all of them ---- */

const struct attack_kind attack_kinds[] = {
    {"connections", "connects as fast as it can, and keeps as many as it can", attack_connections,
     2},
    {"half-frames", "sends parts of frames, slowly", attack_half_frames, 1},
    {"deaf", "never reads what it has asked for", attack_deaf, 1},
    {"descriptors", "sends descriptors that nobody takes, and takes none", attack_descriptors, 2},
    {"subscriptions", "subscribes to everything, again and again", attack_subscriptions, 2},
    {"topics", "topics and filters of 255 bytes and 32 levels", attack_topics, 2},
    {"requests", "opens requests by the ten thousand", attack_requests, 1},
    {"flood", "publishes as fast as it can", attack_flood, 2},
    {"refused", "asks for what it must not have", attack_refused, 1},
};
const unsigned n_attack_kinds = sizeof(attack_kinds) / sizeof(attack_kinds[0]);

static int attack_process(const struct stage *s, unsigned index, unsigned process)
{
    static struct attacker a;

    a = (struct attacker){.board = &s->board->attacks[index],
                          .process = process,
                          .victim_uid = (unsigned) s->users[PARTY_VICTIM].uid,
                          .dice = {index * 1000u + process + 1}};
    if (address_parse(s->addresses[0], &a.addresses[0]) < 0 ||
        address_parse(s->addresses[1], &a.addresses[1]) < 0 ||
        arena_init(&a.arena, CODEC_ARENA_BYTES) < 0) {
        return 1;
    }
    s->board->n_attacking++;
    attack_kinds[index].run(&a);
    return 1;
}

int attacks_run(const struct stage *s, const void *arg)
{
    unsigned which = *(const unsigned *) arg;

    for (unsigned i = 0; i < n_attack_kinds; i++) {
        for (unsigned k = 0; (which & 1u << i) && k < attack_kinds[i].n_processes; k++) {
            if (party_fork() == 0) {
                _exit(attack_process(s, i, k));
            }
        }
    }
    while (wait(NULL) > 0 || errno == EINTR) {
    }
    return 1;
}
