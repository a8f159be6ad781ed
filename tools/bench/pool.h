/* SPDX-License-Identifier: MIT */
#pragma once
/* The memory floor's buffers: memfds of one body each, which one source writes and all others can
 * only read. Made before the processes start, mapped once by each. */

#include <stddef.h>

/* Each source has as many buffers as make up POOL_BYTES, within these bounds. Of large bodies there
 * are few, so that they stay in the caches; of small ones many, because each stands for a message
 * under way. */
#define POOL_BYTES ((size_t) 8 * 1024 * 1024)
#define POOL_BUFFERS_MIN 8u
#define POOL_BUFFERS_MAX 128u
/* All sources together, if two of each are not more: tokens must fit into the buffers of a socket's
 * two directions, of which one that comes alone takes up to 832 bytes. */
#define POOL_TOTAL_MAX 256u
/* Tokens of smaller bodies go together, so that nobody is woken for little work. */
#define POOL_BATCH_BYTES ((size_t) 1024 * 1024)
#define POOL_TOTAL_BYTES_MAX ((size_t) 2 * 1024 * 1024 * 1024)

struct pool {
    unsigned n_sources;
    unsigned n;     /* of each source */
    unsigned batch; /* so many tokens go together */
    size_t bytes;
    struct pool_buffer *buffers; /* by source */
};

/* Makes, maps and seals them: nobody else can ever write to them. 0, or -1 after saying why not. */
int pool_init(struct pool *pool, unsigned n_sources, size_t bytes);
/* Processes keep what they have mapped. */
void pool_fini(struct pool *pool);

/* For the processes: the buffers of `source` at ret[0 .. pool->n - 1]. pool_own() is for the source
 * itself, to write; pool_borrow() for everybody else, to read. 0, or -1 after saying why not. */
int pool_own(const struct pool *pool, unsigned source, unsigned char **ret);
int pool_borrow(const struct pool *pool, unsigned source, unsigned char **ret);
