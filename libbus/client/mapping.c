/* SPDX-License-Identifier: MIT */
#include "client/mapping.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include "client/conn.h"
#include "wire/hot.h"

/* Why a buffer cannot be used, or NONE. */
static enum bus_loss_reason map(struct mapping *m, const struct parcel *parcel)
{
    struct stat st;
    void *data;

    if (!parcel || parcel->n != 1) {
        return BUS_LOSS_NO_DESCRIPTORS;
    }
    if (fstat(parcel->fds[0], &st) < 0 || st.st_size < 0 || (uint64_t) st.st_size < m->bytes) {
        return BUS_LOSS_NO_DESCRIPTORS; /* not what the router has checked */
    }
    data = mmap(NULL, m->bytes, PROT_READ, MAP_SHARED, parcel->fds[0], 0);
    if (data == MAP_FAILED) {
        return BUS_LOSS_NO_MEMORY;
    }
    m->data = data;
    return BUS_LOSS_NONE;
}

struct mapping *bus__mapping_new(struct bus_conn *c, const struct parcel *parcel, size_t bytes,
                                 bool immutable)
{
    struct mapping *m = calloc(1, sizeof(*m));

    if (!m) {
        return NULL;
    }
    m->refs = 1;
    m->conn = c;
    m->bytes = bytes;
    m->immutable = immutable;
    m->why = map(m, parcel);
    DL_APPEND(c->mappings, m);
    return m;
}

void bus__mapping_unref(struct mapping *m)
{
    if (!m || --m->refs > 0) {
        return;
    }
    if (m->conn) {
        DL_DELETE(m->conn->mappings, m);
    }
    if (m->data) {
        (void) munmap((void *) (uintptr_t) m->data, m->bytes);
    }
    free(m);
}

/* Puts a copy of these pages in their place. Without memory for it they stay what they are. */
static void pages_detach(const struct mapping *m, size_t start, size_t bytes)
{
    void *from = (void *) (uintptr_t) (m->data + start);
    void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (copy == MAP_FAILED) {
        return;
    }
    memcpy(copy, from, bytes);
    (void) mprotect(copy, bytes, PROT_READ); /* a hint at mistakes; it works without */
    if (mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, from) == MAP_FAILED) {
        (void) munmap(copy, bytes);
    }
}

static void lease_detach(const struct lease *l)
{
    size_t page = (size_t) sysconf(_SC_PAGESIZE);
    size_t start = l->offset / page * page;
    size_t end = MIN((l->offset + l->bytes + page - 1) / page * page,
                     (l->mapping->bytes + page - 1) / page * page);

    if (l->bytes > 0) {
        pages_detach(l->mapping, start, end - start);
    }
}

void bus__mappings_detach(struct bus_conn *c)
{
    struct mapping *m;
    struct lease *l;

    DL_FOREACH (c->mappings, m) {
        DL_FOREACH (m->leases, l) {
            if (m->data && !m->immutable) {
                lease_detach(l);
            }
        }
    }
}

void bus__mappings_orphan(struct bus_conn *c)
{
    struct mapping *m, *next;

    DL_FOREACH_SAFE (c->mappings, m, next) {
        m->conn = NULL;
    }
    c->mappings = NULL;
}

struct lease *bus__lease_new(struct mapping *m, uint32_t number, size_t offset, size_t bytes)
{
    struct lease *l = malloc(sizeof(*l));

    if (l) {
        *l = (struct lease){
            .mapping = m, .offset = offset, .bytes = bytes, .number = number, .refs = 1};
        DL_APPEND(m->leases, l);
        m->refs++;
    }
    return l;
}

static void say_release(struct bus_conn *c, const struct lease *l)
{
    struct wire_release m = {l->number, RELEASE_FORGET};
    uint8_t *dst;
    size_t n;

    if (!bus__has_link(c)) {
        return;
    }
    /* FORGET once: said again it could concern the next BUFFER of that id, which then would stay
     * mapped without an UNBUFFER */
    dst = l->mapping->data || l->mapping->forgotten
              ? outq_reserve(&c->outq, FRAME_PREFIX_BYTES + HOT_SUBSCRIPTION_MAX)
              : NULL;
    if (!dst) {
        l->mapping->forgotten = true;
        bus__send_or_fail(c, VERB_RELEASE, &m); /* without flags the same would fail */
        return;
    }
    n = hot_put_field_1(dst + FRAME_PREFIX_BYTES, l->number);
    frame_write_prefix(dst, VERB_RELEASE, n, 0);
    outq_commit(&c->outq, FRAME_PREFIX_BYTES + n);
    c->urgent = true;
    bus__output_queued(c);
}

void bus__lease_unref(struct lease *l)
{
    if (!l || --l->refs > 0) {
        return;
    }
    if (l->mapping->conn && !bus__forked(l->mapping->conn)) {
        say_release(l->mapping->conn, l);
    }
    DL_DELETE(l->mapping->leases, l);
    bus__mapping_unref(l->mapping);
    free(l);
}
