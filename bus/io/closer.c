/* SPDX-License-Identifier: MIT */
#include "io/closer.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than this are not kept waiting: then whoever comes next waits for them. */
#define PENDING_MAX 65536u
/* Memory of up to this size is given back in no time. */
#define MEMFD_AT_ONCE ((off_t) 64 << 20)

struct closing {
    uv_work_t work;
    int fd;
};

/* One router in a process; and parcels carry no more than a function. */
static uv_loop_t *closing_loop;
static unsigned n_pending;
static bool abandoned;

void closer_init(uv_loop_t *uv)
{
    closing_loop = uv;
}

void closer_abandon(void)
{
    abandoned = true;
}

unsigned closer_pending(void)
{
    return n_pending;
}

static void on_work(uv_work_t *work)
{
    struct closing *c = (struct closing *) work->data;

    (void) close(c->fd);
}

static void on_done(uv_work_t *work, int status)
{
    (void) status;
    n_pending--;
    free(work->data);
}

/* Seals are asked for first: that never waits, whatever it is. */
static bool is_small_memfd(int fd)
{
    struct stat st;

    return fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &st) == 0 && st.st_size <= MEMFD_AT_ONCE;
}

void closer_close(int fd)
{
    struct closing *c = NULL;

    if (abandoned) {
        return;
    }
    if (closing_loop && n_pending < PENDING_MAX && !is_small_memfd(fd)) {
        c = calloc(1, sizeof(*c));
    }
    if (!c) {
        (void) close(fd);
        return;
    }
    c->fd = fd;
    c->work.data = c;
    if (uv_queue_work(closing_loop, &c->work, on_work, on_done) < 0) {
        (void) close(fd);
        free(c);
        return;
    }
    n_pending++;
}
