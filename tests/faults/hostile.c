/* SPDX-License-Identifier: MIT */
/* What no client should do: half frames, garbage, subscribing and never reading, storms of
 * connections. Speaks raw frames. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/address.h"
#include "base/arena.h"
#include "base/sock.h"
#include "faults/client.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define BURSTS 200u
#define STORM 50u

struct hostile {
    struct dice dice;
    struct arena arena;
    int fd;
    uint8_t out[8192];
};

static int join(const char *address)
{
    struct address a;
    int type;

    return address_parse(address, &a) < 0 ? -EINVAL : sock_connect(&a, &type);
}

static size_t put(struct hostile *h, enum verb verb, const void *m)
{
    long n = codec_encode(&h->arena, verb, m, h->out + FRAME_PREFIX_BYTES,
                          sizeof(h->out) - FRAME_PREFIX_BYTES);

    arena_reset(&h->arena);
    if (n < 0) {
        return 0;
    }
    frame_write_prefix(h->out, verb, (size_t) n, 0);
    return FRAME_PREFIX_BYTES + (size_t) n;
}

static bool shout(struct hostile *h, size_t bytes)
{
    ssize_t n = send(h->fd, h->out, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n >= 0 || errno == EAGAIN;
}

static bool greet(struct hostile *h)
{
    struct wire_hello m = {1, 1, text_from("hostile"), dice_below(&h->dice, 16), text_from("")};

    return shout(h, put(h, VERB_HELLO, &m));
}

static void garbage(struct hostile *h)
{
    for (size_t i = 0; i < sizeof(h->out); i++) {
        h->out[i] = (uint8_t) dice_u64(&h->dice);
    }
    (void) shout(h, 1 + dice_below(&h->dice, sizeof(h->out)));
}

/* Verbs at random, with headers at random. */
static void nonsense(struct hostile *h)
{
    for (unsigned i = 0; i < BURSTS; i++) {
        size_t header = dice_below(&h->dice, 40);

        for (size_t k = 0; k < header; k++) {
            h->out[FRAME_PREFIX_BYTES + k] = (uint8_t) dice_below(&h->dice, 64);
        }
        frame_write_prefix(h->out, (enum verb) dice_below(&h->dice, 80), header, 0);
        if (!shout(h, FRAME_PREFIX_BYTES + header)) {
            return;
        }
    }
}

static void half_a_frame(struct hostile *h)
{
    struct wire_publish m = {.topic = text_from("hostile/half")};
    size_t bytes = put(h, VERB_PUBLISH, &m);

    h->out[0] = 200; /* a body that never comes */
    (void) shout(h, bytes - dice_below(&h->dice, 3));
}

/* Everything is for it, and it reads nothing; it floods everybody who wants to hear of it, too. */
static void deaf_and_loud(struct hostile *h)
{
    struct wire_subscribe all = {.subscription = 1, .filter = text_from("#")};
    struct wire_publish m = {.topic = text_from("hostile/flood")};
    size_t bytes;

    (void) shout(h, put(h, VERB_SUBSCRIBE, &all));
    bytes = put(h, VERB_PUBLISH, &m);
    for (unsigned i = 0; i < BURSTS * 10; i++) {
        if (!shout(h, bytes)) {
            return;
        }
    }
}

static void storm(const char *address)
{
    int fds[STORM];

    for (unsigned i = 0; i < STORM; i++) {
        fds[i] = join(address);
    }
    for (unsigned i = 0; i < STORM; i++) {
        if (fds[i] >= 0) {
            (void) close(fds[i]);
        }
    }
}

int hostile_run(const char *const addresses[2], uint64_t seed)
{
    static void (*const acts[])(struct hostile * h) = {garbage, nonsense, half_a_frame,
                                                       deaf_and_loud};
    struct hostile h = {.dice = {seed}};
    const char *address = addresses[dice_below(&h.dice, 2)];
    unsigned act = dice_below(&h.dice, 5);

    if (act == 4) {
        storm(address);
        return 0;
    }
    h.fd = join(address);
    if (h.fd < 0 || arena_init(&h.arena, CODEC_ARENA_BYTES) < 0) {
        return 0; /* there is no router now */
    }
    if (act == 0 || greet(&h)) {
        acts[act](&h);
        (void) poll(NULL, 0, (int) dice_below(&h.dice, 300)); /* it stays for a while */
    }
    (void) close(h.fd);
    arena_fini(&h.arena);
    return 0;
}
