/* SPDX-License-Identifier: MIT */
/* Attacks that make the router keep things. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "hostile/attacker.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* ---- never reads ---- */

#define DEAF 64u
#define DEAF_BODY 60000u

static void deaf_subscribe(struct attacker *a, int fd)
{
    static const enum bus_policy policies[] = {BUS_POLICY_DROP_OLDEST, BUS_POLICY_DROP_NEWEST,
                                               BUS_POLICY_LATEST};
    char filter[256];

    for (unsigned i = 0; i < 6; i++) {
        struct wire_subscribe m = {.subscription = i + 1,
                                   .policy = policies[i % 3],
                                   .window_messages = 1u << 20,
                                   .window_bytes = 1u << 28,
                                   .queue_messages = 1u << 20,
                                   .queue_bytes = 1u << 26,
                                   .flags = BUS_SUB_DESCRIPTORS | NARROW};

        m.filter = i < 2   ? topic_of(filter, a->victim_uid, i ? "#" : "public")
                   : i < 3 ? text_from("#")
                           : topic_of(filter, (unsigned) getuid(), "#");
        put(a, VERB_SUBSCRIBE, &m, 0);
    }
    (void) say(a, fd);
}

/* Everything that is said is for it, and one of its own says much. */
void attack_deaf(struct attacker *a)
{
    struct wire_publish m = {0};
    struct wire_ping ping = {1};
    char topic[256];
    int fds[DEAF];

    memset(fds, 0xff, sizeof(fds));
    m.topic = topic_of(topic, (unsigned) getuid(), "deaf");
    for (unsigned i = 0;; i = (i + 1) % DEAF) {
        if (fds[i] < 0) {
            fds[i] = line_greet(a, (int) (i % 2));
            if (fds[i] >= 0 && i > 0) {
                deaf_subscribe(a, fds[i]);
            }
            continue;
        }
        a->len = 0;
        if (i == 0) {
            put(a, VERB_PUBLISH, &m, DEAF_BODY);
        } else {
            put(a, VERB_PING, &ping, 0); /* the answers, too, wait for it */
        }
        if ((i == 0 && !swallow(a, fds[i])) || (!say(a, fds[i]) && i == 0)) {
            line_close(a, &fds[i]);
        }
    }
}

/* ---- descriptors ---- */

#define HOLDERS 200u
#define BUFFERS 128u

static int memory_new(size_t bytes)
{
    int fd = memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, (off_t) bytes) < 0 ||
                    fcntl(fd, F_ADD_SEALS,
                          F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE) < 0)) {
        (void) close(fd);
        return -1;
    }
    return fd;
}

/* Wants the descriptors of everybody, and reads nothing; serves, and answers nothing. */
static void holder_begin(struct attacker *a, int *fd, unsigned i)
{
    struct wire_subscribe m = {
        .subscription = 1, .flags = BUS_SUB_DESCRIPTORS | NARROW, .queue_messages = 1u << 20};
    char filter[256];

    *fd = line_greet(a, (int) (i % 2));
    if (*fd < 0) {
        return;
    }
    m.filter = i % 4 ? topic_of(filter, (unsigned) getuid(), "#") : text_from("#");
    put(a, VERB_SUBSCRIBE, &m, 0);
    m.subscription = 2;
    m.filter = topic_of(filter, (unsigned) getuid(), "held");
    m.flags = BUS_SUB_DESCRIPTORS | SUBSCRIBE_SERVE;
    put(a, VERB_SUBSCRIBE, &m, 0);
    if (!say(a, *fd)) {
        line_close(a, fd);
    }
}

static bool holder_give(struct attacker *a, int fd, int memory, unsigned n)
{
    struct wire_publish publish = {0};
    struct wire_request request = {.call = n % 60000 + 1};
    struct wire_buffer buffer = {.id = n % BUFFERS + 1, .bytes = 4096};
    char topic[256];

    a->len = 0;
    switch (n % 4) {
    case 0:
        put_fds(a, VERB_BUFFER, &buffer, 1);
        return say_fds(a, fd, memory, 1);
    case 1:
        request.topic = topic_of(topic, (unsigned) getuid(), "held");
        put_fds(a, VERB_REQUEST, &request, 16);
        return say_fds(a, fd, memory, 16);
    case 2: /* more than it says, or for nothing */
        publish.topic = topic_of(topic, (unsigned) getuid(), "held");
        put_fds(a, VERB_PUBLISH, &publish, n % 8 == 2 ? 0 : 3);
        return say_fds(a, fd, fd, 1 + n % ATTACK_FDS_MAX); /* its own link, too */
    default:
        publish.topic = topic_of(topic, (unsigned) getuid(), "held");
        put_fds(a, VERB_PUBLISH, &publish, 16);
        return say_fds(a, fd, memory, 16);
    }
}

void attack_descriptors(struct attacker *a)
{
    int memory = memory_new(4096);
    int fds[HOLDERS];
    unsigned n = 0;

    memset(fds, 0xff, sizeof(fds));
    for (unsigned i = 0;; i = (i + 1) % HOLDERS) {
        if (fds[i] < 0) {
            holder_begin(a, &fds[i], i);
        } else if (!holder_give(a, fds[i], memory, n++)) {
            /* those that read nothing are not read either, and stay like that */
            if (dice_below(&a->dice, 20) == 0) {
                line_close(a, &fds[i]);
            }
        }
        if (i == 0) {
            breathe();
        }
    }
}
