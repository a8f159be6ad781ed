/* SPDX-License-Identifier: MIT */
#include "faults/shared.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The shim may be in the way, too. */
#define TRIES 100u

static void *map(const char *path, size_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *at = MAP_FAILED;

    if (fd < 0) {
        return NULL;
    }
    if (ftruncate(fd, (off_t) bytes) == 0) {
        for (unsigned i = 0; i < TRIES && at == MAP_FAILED; i++) {
            at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
    }
    (void) close(fd);
    return at == MAP_FAILED ? NULL : at;
}

struct control *control_map(const char *dir)
{
    char path[512];

    (void) snprintf(path, sizeof(path), "%s/control", dir);
    return map(path, sizeof(struct control));
}

static size_t records_bytes(void)
{
    return sizeof(struct records) + RECORDS_MAX * sizeof(struct record);
}

struct records *records_map(const char *dir, unsigned index)
{
    char path[512];

    (void) snprintf(path, sizeof(path), "%s/records-%02u", dir, index);
    return map(path, records_bytes());
}

void records_clear(struct records *r)
{
    memset(r->at, 0, r->n * sizeof(r->at[0]));
    memset(r, 0, sizeof(*r));
}

void records_add(struct records *r, const struct record *record)
{
    uint32_t n = r->n;

    if (n == RECORDS_MAX) {
        r->is_full = 1;
        return;
    }
    r->at[n] = *record;
    r->at[n].t_ns = now_ns();
    r->n = n + 1; /* whoever is killed before that has not written it */
}

unsigned count_fds(pid_t pid)
{
    char path[64];
    unsigned n = 0;
    DIR *d;

    (void) snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
    d = opendir(path);
    while (d && readdir(d)) {
        n++;
    }
    if (d) {
        (void) closedir(d);
    }
    return n;
}

void dir_remove(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        (void) unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) {
        (void) closedir(d);
    }
    (void) rmdir(path);
}

uint64_t now_ns(void)
{
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * UINT64_C(1000000000) + (uint64_t) t.tv_nsec;
}

uint64_t dice_u64(struct dice *d)
{
    uint64_t x = d->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint32_t dice_below(struct dice *d, uint32_t n)
{
    return (uint32_t) ((dice_u64(d) >> 32) * n >> 32);
}
