/* SPDX-License-Identifier: MIT */
/* Buffers in memfds. */

#include "pool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common.h"

struct pool_buffer {
    int fd;
    unsigned char *data; /* mapped by the parent before it is sealed, inherited by its source */
};

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static unsigned at_most(size_t value, size_t limit)
{
    return (unsigned) (value < limit ? value : limit);
}

static unsigned at_least(size_t value, size_t limit)
{
    return (unsigned) (value > limit ? value : limit);
}

static unsigned count_buffers(unsigned n_sources, size_t bytes)
{
    unsigned n = at_most(at_least(POOL_BYTES / bytes, POOL_BUFFERS_MIN), POOL_BUFFERS_MAX);

    n = at_most(n, POOL_TOTAL_MAX / n_sources);
    n = at_most(n, POOL_TOTAL_BYTES_MAX / n_sources / bytes);
    return at_least(n, 2); /* one to fill while another is read */
}

/* At most half of them, so that both sides always have something to do. */
static unsigned count_batch(unsigned n, size_t bytes)
{
    return at_least(at_most(POOL_BATCH_BYTES / bytes, n / 2), 1);
}

static int buffer_init(struct pool_buffer *b, size_t bytes)
{
    b->fd = memfd_create("bus-bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (b->fd < 0 || ftruncate(b->fd, (off_t) bytes)) {
        return -1;
    }
    b->data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
    return b->data == MAP_FAILED ? -1 : fcntl(b->fd, F_ADD_SEALS, SEALS);
}

int pool_init(struct pool *pool, unsigned n_sources, size_t bytes)
{
    unsigned n = count_buffers(n_sources, bytes);

    *pool = (struct pool){
        .n_sources = n_sources, .n = n, .batch = count_batch(n, bytes), .bytes = bytes};
    pool->buffers = malloc(sizeof(*pool->buffers) * n * n_sources);
    for (unsigned i = 0; pool->buffers && i < n * n_sources; i++) {
        pool->buffers[i] = (struct pool_buffer){.fd = -1, .data = MAP_FAILED};
    }
    for (unsigned i = 0; i < n * n_sources; i++) {
        if (!pool->buffers || buffer_init(&pool->buffers[i], bytes) < 0) {
            tool_error("cannot make %u buffers of %zu bytes in memory: %s", n * n_sources, bytes,
                       strerror(errno));
            pool_fini(pool);
            return -1;
        }
    }
    return 0;
}

void pool_fini(struct pool *pool)
{
    for (unsigned i = 0; pool->buffers && i < pool->n * pool->n_sources; i++) {
        struct pool_buffer *b = &pool->buffers[i];

        if (b->data != MAP_FAILED) {
            (void) munmap(b->data, pool->bytes);
        }
        if (b->fd >= 0) {
            (void) close(b->fd);
        }
    }
    free(pool->buffers);
    *pool = (struct pool){0};
}

int pool_own(const struct pool *pool, unsigned source, unsigned char **ret)
{
    for (unsigned i = 0; i < pool->n; i++) {
        ret[i] = pool->buffers[source * pool->n + i].data;
        /* Its pages come now, not while it is measured; before Linux 5.14 they come then. */
        if (madvise(ret[i], pool->bytes, MADV_POPULATE_WRITE) && errno != EINVAL) {
            tool_error("cannot fill a buffer of %zu bytes: %s", pool->bytes, strerror(errno));
            return -1;
        }
    }
    return 0;
}

int pool_borrow(const struct pool *pool, unsigned source, unsigned char **ret)
{
    for (unsigned i = 0; i < pool->n; i++) {
        const struct pool_buffer *b = &pool->buffers[source * pool->n + i];

        (void) munmap(b->data, pool->bytes); /* the parent's, which is writable */
        ret[i] = mmap(NULL, pool->bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, b->fd, 0);
        if (ret[i] == MAP_FAILED) {
            tool_error("cannot map a buffer of %zu bytes: %s", pool->bytes, strerror(errno));
            return -1;
        }
    }
    return 0;
}
