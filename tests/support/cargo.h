/* SPDX-License-Identifier: MIT */
#pragma once
/* Words for the tests of buffers and descriptors. */

#include "support/failmalloc.h"
#include "support/sim_cargo.h"
#include "support/world.h"

#define SLOT_BYTES 1024u

/* A client that takes buffers and has subscription 1. */
static inline struct sim_client *cargo_subscriber(struct world *w, const struct world_sub *sub)
{
    struct sim_client *c = world_join_mapping(w);

    world_subscribe(w, c, 0, sub);
    return c;
}

/* A client with buffer 1. */
static inline struct sim_client *cargo_publisher(struct world *w)
{
    struct sim_client *p = world_join(w);

    assert_true(sim_register(&w->s, p, 1, SLOT_BYTES, false));
    return p;
}

static inline bool cargo_try(struct world *w, struct sim_client *p, const char *topic,
                             unsigned slot)
{
    return sim_publish(
        &w->s, p,
        &(struct sim_publish){.topic = topic, .buffer = 1, .slot = slot, .body_bytes = 100});
}

/* Publishes 100 bytes in a place of buffer 1. */
static inline void cargo_publish(struct world *w, struct sim_client *p, unsigned slot)
{
    assert_true(cargo_try(w, p, "a", slot));
}

static inline bool cargo_try_fds(struct world *w, struct sim_client *p, unsigned n)
{
    return sim_publish(&w->s, p, &(struct sim_publish){.topic = "a", .body_bytes = 10, .n_fds = n});
}

static inline uint64_t cargo_counter(struct world *w, size_t offset)
{
    uint64_t value;

    memcpy(&value, (const uint8_t *) router_counters(w->s.router) + offset, sizeof(value));
    return value;
}
#define COUNTER(w, name) cargo_counter(w, offsetof(struct counters, name))
