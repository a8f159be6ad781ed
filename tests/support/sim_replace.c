/* SPDX-License-Identifier: MIT */
#include "support/sim_replace.h"
#include "core/image.h"
#include "support/failmalloc.h"
#include "support/sim_cargo.h"

/* Memory of the test itself must not fail when the router's does. */
void *__real_malloc(size_t n);

unsigned sim_replace_each(void)
{
    const char *text = getenv("SIM_REPLACE");

    return text ? (unsigned) atoi(text) : 0;
}

static bool may_fail(const struct sim *s)
{
    return s->starving || failmalloc_has_failed();
}

/* The descriptors as they would arrive in the other process. */
static int *fds_pass(const struct image *image)
{
    int *fds = __real_malloc((image->n_fds + 1) * sizeof(*fds));

    for (size_t i = 0; i < image->n_fds; i++) {
        fds[i] = image->fds[i];
        sim_fd_dup(fds[i]);
    }
    return fds;
}

static struct router *load(const struct sim *s, const struct image *image)
{
    struct image_source from = {.records = {image->records.data, image->records.len},
                                .fds = fds_pass(image),
                                .n_fds = image->n_fds,
                                .close = sim_fd_close};
    struct router *r = NULL;
    const char *why;
    int ret = router_load(&s->config, &from, &s->now, &r, &why);

    for (size_t i = from.fds_used; i < from.n_fds; i++) {
        sim_fd_close(from.fds[i]);
    }
    free(from.fds);
    if (ret != IMAGE_OK && !may_fail(s)) {
        print_error("loading: %s\n", why);
    }
    assert_true(ret == IMAGE_OK || may_fail(s));
    if (ret == IMAGE_OK) {
        assert_int_equal(from.fds_used, from.n_fds);
        assert_int_equal(from.records.len, 0);
        router_check(r);
    }
    return r;
}

/* What the new one would hand over is what it was given. */
static void compare(const struct sim *s, const struct router *r, const struct image *with)
{
    struct image again = {0};
    const char *why;
    int ret = router_save(r, &again, &why);

    assert_true(ret == IMAGE_OK || may_fail(s));
    if (ret == IMAGE_OK) {
        assert_int_equal(again.records.len, with->records.len);
        assert_memory_equal(again.records.data, with->records.data, with->records.len);
        assert_int_equal(again.n_fds, with->n_fds);
    }
    image_fini(&again);
}

static void take_over(struct sim *s, struct router *r)
{
    struct peer *old = NULL, *new = NULL;

    while ((old = router_next_peer(s->router, old))) {
        new = router_next_peer(r, new);
        assert_non_null(new);
        assert_true(peer_connection_id(new) == peer_connection_id(old));
        peer_set_userdata(new, peer_userdata(old));
        for (unsigned i = 0; i < SIM_CLIENTS; i++) {
            if (s->clients[i].peer == old) {
                s->clients[i].peer = new;
            }
        }
    }
    assert_null(router_next_peer(r, new));
    (void) router_free(s->router);
    s->router = r;
}

bool sim_replace(struct sim *s)
{
    struct image image = {0};
    struct router *r = NULL;
    const char *why;
    int ret;

    router_settle(s->router, &s->now);
    router_check(s->router);
    ret = router_save(s->router, &image, &why);
    if (ret == IMAGE_REFUSED &&
        (router_is_holding(s->router) || strcmp(why, "the router stops") == 0)) {
        return false;
    }
    if (ret != IMAGE_OK && !may_fail(s)) {
        print_error("saving: %s\n", why);
    }
    assert_true(ret == IMAGE_OK || may_fail(s));
    r = ret == IMAGE_OK ? load(s, &image) : NULL;
    if (r) {
        if (!s->changes_rules) {
            compare(s, r, &image);
        }
        take_over(s, r);
    }
    image_fini(&image);
    return r != NULL;
}

void sim_replace_sometimes(struct sim *s, struct rng *seeds)
{
    unsigned each = rng_below(seeds, 2) ? 10 + rng_below(seeds, 200) : 0;

    s->replace_each = s->replace_each ? s->replace_each : each;
}
