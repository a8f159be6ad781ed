/* SPDX-License-Identifier: MIT */
/* The state of a router, from anywhere: it is refused, or it makes a router that is in order,
 * serves, and can be handed over again. */
#include "core/image.h"
#include "core/kinds.h"
#include "fuzz.h"

#define N_FDS 64
#define BUFFER_BYTES 65536u

static unsigned n_open;

static int inspect(int fd, struct descriptor_info *ret)
{
    *ret = (struct descriptor_info){fd % 4 != 0, fd % 2 != 0, BUFFER_BYTES};
    return 0;
}

static bool read_body(int fd, uint64_t offset, void *dst, size_t bytes)
{
    (void) fd;
    CHECK(offset <= BUFFER_BYTES && bytes <= BUFFER_BYTES - offset);
    memset(dst, 0, bytes);
    return true;
}

static void close_fd(int fd)
{
    (void) fd;
    CHECK(n_open > 0);
    n_open--;
}

/* Everybody reads, time passes, everybody goes. */
static void live(struct router *r, struct now *now)
{
    for (int i = 0; i < 20; i++) {
        struct peer *p;

        now->monotonic_ns += UINT64_C(3000000000);
        router_tick(r, now);
        while ((p = router_next_dirty(r))) {
            router_output_sent(r, p, peer_output(p)->bytes);
        }
        router_check(r);
    }
}

static void hand_over(struct router *r, const struct now *now)
{
    struct image image = {0};
    const char *why;

    router_settle(r, now);
    CHECK(router_save(r, &image, &why) >= 0);
    image_fini(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct descriptor_ops ops = {inspect, read_body};
    struct router_config config = {.limits = LIMITS_DEFAULT,
                                   .epoch = 1,
                                   .owner_uid = 1000,
                                   .version = "fuzz",
                                   .descriptors = &ops};
    int fds[N_FDS];
    struct image_source from = {
        .records = {data, len}, .fds = fds, .n_fds = N_FDS, .close = close_fd};
    struct now now = {UINT64_C(10000000000), 1};
    struct router *r = NULL;
    const char *why;

    for (int i = 0; i < N_FDS; i++) {
        fds[i] = i + 1;
    }
    config.limits.total_bytes_max = 16 * MIB;
    n_open = N_FDS;
    if (router_load(&config, &from, &now, &r, &why) == IMAGE_OK) {
        router_check(r);
        hand_over(r, &now);
        live(r, &now);
        (void) router_free(r);
    }
    CHECK(n_open == N_FDS - from.fds_used);
    return 0;
}
