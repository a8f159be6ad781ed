/* SPDX-License-Identifier: MIT */
#include "client/mapping.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

void bus__mappings_orphan(struct bus_conn *c)
{
    struct mapping *m, *next;

    DL_FOREACH_SAFE (c->mappings, m, next) {
        m->conn = NULL;
    }
    c->mappings = NULL;
}

struct lease *bus__lease_new(struct mapping *m, uint32_t number)
{
    struct lease *l = malloc(sizeof(*l));

    if (l) {
        *l = (struct lease){.mapping = m, .number = number, .refs = 1};
        m->refs++;
    }
    return l;
}

static void say_release(struct bus_conn *c, const struct lease *l)
{
    struct wire_release m = {l->number, RELEASE_FORGET};
    uint8_t *dst;
    size_t n;

    if (c->out_dead || bus__is_over(c)) {
        return;
    }
    dst =
        l->mapping->data ? outq_reserve(&c->outq, FRAME_PREFIX_BYTES + HOT_SUBSCRIPTION_MAX) : NULL;
    if (!dst) {
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
    bus__mapping_unref(l->mapping);
    free(l);
}
