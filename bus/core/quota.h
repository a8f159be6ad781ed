/* SPDX-License-Identifier: MIT */
#pragma once
/* Who pays for memory. A quota is a bound on what somebody holds, inside the bound of everybody
 * together; a charge is part of an object and is released by that object's destructor. */

#include <stdbool.h>
#include <stdint.h>

struct quota {
    uint64_t used;
    uint64_t limit;
    struct quota *parent; /* not owned; NULL for the outermost */
};

struct charge {
    struct quota *quota; /* not owned; outlives the charge */
    uint64_t bytes;
};

static inline void quota_init(struct quota *q, uint64_t limit, struct quota *parent)
{
    *q = (struct quota){.limit = limit, .parent = parent};
}

static inline void charge_init(struct charge *c, struct quota *q)
{
    *c = (struct charge){.quota = q};
}

/* Whether so many bytes more are within this bound alone. */
static inline bool quota_fits(const struct quota *q, uint64_t bytes)
{
    return q->used <= q->limit && bytes <= q->limit - q->used;
}

/* Whether so many bytes more are within all bounds. */
static inline bool quota_allows(const struct quota *q, uint64_t bytes)
{
    for (; q; q = q->parent) {
        if (!quota_fits(q, bytes)) {
            return false;
        }
    }
    return true;
}

/* Without asking: for what cannot be refused any more and is bounded otherwise. */
static inline void quota_force(struct quota *q, uint64_t bytes)
{
    for (; q; q = q->parent) {
        q->used += bytes;
    }
}

/* For objects whose charge can be computed, so that they need not keep it. False, and nothing
 * changed, if it would exceed a bound. */
static inline bool quota_add(struct quota *q, uint64_t bytes)
{
    if (!quota_allows(q, bytes)) {
        return false;
    }
    quota_force(q, bytes);
    return true;
}

static inline void quota_release(struct quota *q, uint64_t bytes)
{
    for (; q; q = q->parent) {
        q->used -= bytes;
    }
}

static inline void charge_force(struct charge *c, uint64_t bytes)
{
    c->bytes += bytes;
    quota_force(c->quota, bytes);
}

/* False, and nothing changed, if it would exceed a bound. */
static inline bool charge_add(struct charge *c, uint64_t bytes)
{
    if (!quota_allows(c->quota, bytes)) {
        return false;
    }
    charge_force(c, bytes);
    return true;
}

static inline void charge_release(struct charge *c, uint64_t bytes)
{
    c->bytes -= bytes;
    quota_release(c->quota, bytes);
}

static inline void charge_fini(struct charge *c)
{
    if (c->quota) {
        charge_release(c, c->bytes);
    }
}
