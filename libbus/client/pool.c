/* SPDX-License-Identifier: MIT */
#include "client/pool.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/macros.h"
#include "base/sock.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

/* Segments are of this size, if that makes sensible numbers of slots. */
#define SEGMENT_BYTES ((size_t) 4 << 20)
#define SEGMENT_SLOTS_MAX ((size_t) 256)
/* After so many bodies of one size the pool looks whether it needs what it has. */
#define TAKES_REVIEWED 256u
#define SEALS_OF_SIZE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

void bus__pool_limit(struct pool *pool, uint32_t numbers_max, size_t bytes_max)
{
    pool->numbers_max = numbers_max;
    pool->bytes_max = MAX(bytes_max, pool->bytes);
}

/* ---- segments ---- */

static int memfd_new(size_t bytes)
{
    static const char name[] = "bus-buffer";
    AUTO_CLOSE int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) { /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0 || ftruncate(fd, (off_t) bytes) < 0) {
        return -errno;
    }
    return take_fd(&fd);
}

/* Who has mapped it so far can write it, nobody else ever. */
static int seal_pooled(int fd)
{
    return fcntl(fd, F_ADD_SEALS, SEALS_OF_SIZE | F_SEAL_FUTURE_WRITE) < 0 ? -errno : 0;
}

static int segment_map(struct segment *s, bool pooled)
{
    int fd = s->parcel->fds[0];
    void *data = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int r;

    if (data == MAP_FAILED) {
        return -errno;
    }
    r = pooled ? seal_pooled(fd) : 0;
    if (r < 0) {
        (void) munmap(data, s->bytes);
        return r;
    }
    s->data = data;
    return 0;
}

static void segment_free(struct segment *s)
{
    if (!s) {
        return;
    }
    if (s->data) {
        (void) munmap(s->data, s->bytes);
    }
    parcel_unref(s->parcel);
    free(s);
}

DEFINE_AUTO(struct segment *, segment_free);

static struct segment *segment_alloc(unsigned shift, uint32_t n_slots, size_t bytes)
{
    struct segment *s = calloc(1, sizeof(*s) + n_slots * sizeof(s->state[0]));

    if (s) {
        s->shift = (uint8_t) shift;
        s->n_slots = n_slots;
        s->bytes = bytes;
    }
    return s;
}

static int segment_open(struct segment *s, bool pooled)
{
    AUTO_CLOSE int fd = memfd_new(s->bytes);

    if (fd < 0) {
        return fd;
    }
    s->parcel = parcel_new(&fd, 1, sock_close_fd);
    if (!s->parcel) {
        return -ENOMEM;
    }
    (void) take_fd(&fd);
    return segment_map(s, pooled);
}

/* A new segment with a number of its own. */
static int segment_new(struct pool *pool, unsigned shift, uint32_t n_slots, size_t bytes,
                       bool pooled, struct segment **ret)
{
    AUTO(segment_free) struct segment *s = segment_alloc(shift, n_slots, bytes);
    int r = s ? 0 : -ENOMEM;

    r = r < 0 ? r : bus__numbers_peek(&pool->numbers, pool->numbers_max, &s->number);
    r = r < 0 ? r : bus__table_reserve(&pool->segments, s->number);
    r = r < 0 ? r : segment_open(s, pooled);
    if (r < 0) {
        return r;
    }
    s->keeps_fd = pool->keeps_fds;
    bus__numbers_take(&pool->numbers);
    pool->segments.at[s->number] = s;
    *ret = TAKE(s);
    return 0;
}

static void segment_remove(struct pool *pool, struct segment *s)
{
    pool->segments.at[s->number] = NULL;
    pool->n_leaving -= s->left_at != 0;
    bus__numbers_give(&pool->numbers, s->number);
    segment_free(s);
}

/* ---- slots ---- */

static unsigned shift_for(size_t bytes)
{
    unsigned shift = SLOT_SHIFT_MIN;

    while (((size_t) 1 << shift) < bytes) {
        shift++;
    }
    return shift;
}

static struct slot_list *list_of(struct pool *pool, const struct segment *s)
{
    return &pool->sizes[s->shift - SLOT_SHIFT_MIN];
}

/* Takes the free slots of a segment off the list. */
static void list_drop(struct pool *pool, const struct segment *s)
{
    struct slot_list *list = list_of(pool, s);
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->n_free; i++) {
        if (list->free[i].segment != s) {
            list->free[n++] = list->free[i];
        }
    }
    list->n_free = n;
    list->n_slots -= s->n_slots;
}

static int list_grow(struct pool *pool, unsigned shift)
{
    struct slot_list *list = &pool->sizes[shift - SLOT_SHIFT_MIN];
    size_t n_slots = MIN(MAX(SEGMENT_BYTES >> shift, (size_t) 1), SEGMENT_SLOTS_MAX);
    size_t bytes = n_slots << shift;
    struct segment *s = NULL;
    struct slot *grown;
    int r;

    if (pool->no_memfd || bytes > pool->bytes_max - pool->bytes) {
        return -ENOBUFS;
    }
    grown = reallocarray(list->free, list->n_slots + n_slots, sizeof(*grown));
    if (!grown) {
        return -ENOMEM;
    }
    list->free = grown;
    r = segment_new(pool, shift, (uint32_t) n_slots, bytes, true, &s);
    if (r < 0) {
        pool->no_memfd = r == -ENOSYS || r == -EINVAL;
        return r == -ENOSPC ? -ENOBUFS : r;
    }
    for (uint32_t i = s->n_slots; i > 0; i--) {
        list->free[list->n_free++] = (struct slot){s, i - 1};
    }
    list->n_slots += s->n_slots;
    pool->bytes += bytes;
    return 0;
}

static void list_note_take(struct slot_list *list)
{
    list->peak = MAX(list->peak, list->n_slots - list->n_free);
    list->n_takes++;
}

int bus__pool_take(struct pool *pool, size_t bytes, struct slot *ret)
{
    unsigned shift = shift_for(bytes);
    struct slot_list *list = &pool->sizes[shift - SLOT_SHIFT_MIN];
    int r = list->n_free > 0 ? 0 : list_grow(pool, shift);

    if (r < 0) {
        return r;
    }
    *ret = list->free[--list->n_free];
    ret->segment->state[ret->index] = SLOT_TAKEN;
    ret->segment->n_used++;
    list_note_take(list);
    return 0;
}

int bus__pool_take_once(struct pool *pool, size_t bytes, struct slot *ret)
{
    struct segment *s = NULL;
    int r = segment_new(pool, SLOT_SHIFT_MAX, 1, MAX(bytes, (size_t) 1), false, &s);

    if (r < 0) {
        return r == -ENOSPC ? -ENOBUFS : r;
    }
    s->once = true;
    s->state[0] = SLOT_TAKEN;
    s->n_used = 1;
    *ret = (struct slot){s, 0};
    return 0;
}

void bus__pool_seal(struct segment *s)
{
    int fd = s->parcel->fds[0];

    (void) munmap(s->data, s->bytes);
    s->data = NULL;
    if (fcntl(fd, F_ADD_SEALS, SEALS_OF_SIZE | F_SEAL_WRITE) < 0) {
        (void) seal_pooled(fd); /* a child process has it mapped; the router looks in any case */
    }
    if (!s->keeps_fd) {
        parcel_unref(TAKE(s->parcel));
    }
}

/* Whether the last bodies could have done without this segment. */
static bool is_spare(struct slot_list *list, const struct segment *s)
{
    bool spare = list->n_slots - s->n_slots >= list->peak;

    if (list->n_takes < TAKES_REVIEWED) {
        return false;
    }
    list->n_takes = 0;
    list->peak = list->n_slots - list->n_free;
    return spare;
}

/* Its number cannot be used again before the router has said so. */
static bool is_refused_soon(const struct segment *s)
{
    return s->once && s->dead && s->announced;
}

static bool is_published(const struct segment *s, uint32_t index)
{
    return s->state[index] == SLOT_PUBLISHED || s->state[index] == SLOT_PUBLISHED_KEPT;
}

void bus__pool_publish(struct slot slot)
{
    uint8_t *state = &slot.segment->state[slot.index];

    *state = *state == SLOT_KEPT ? SLOT_PUBLISHED_KEPT : SLOT_PUBLISHED;
}

void bus__pool_give(struct pool *pool, struct slot slot, uint32_t *ret_drop)
{
    struct segment *s = slot.segment;
    struct slot_list *list = list_of(pool, s);

    *ret_drop = 0;
    s->state[slot.index] = SLOT_FREE;
    s->n_used--;
    if (!s->once && !s->dead) {
        list->free[list->n_free++] = slot;
        if (s->n_used > 0 || !is_spare(list, s)) {
            return;
        }
        list_drop(pool, s);
    }
    if (s->n_used > 0 || is_refused_soon(s)) {
        return;
    }
    pool->bytes -= s->once ? 0 : s->bytes;
    *ret_drop = s->announced ? s->number : 0;
    segment_remove(pool, s);
}

void bus__pool_leave(struct pool *pool, struct segment *s, uint64_t token)
{
    s->announced = false;
    s->left_at = token;
    pool->n_leaving++;
}

void bus__pool_settle(struct pool *pool, uint64_t token)
{
    for (uint32_t i = 0; i < pool->segments.n && pool->n_leaving > 0; i++) {
        struct segment *s = pool->segments.at[i];

        if (s && s->left_at && s->left_at <= token) {
            segment_remove(pool, s);
        }
    }
}

struct slot bus__pool_find(const struct pool *pool, uint32_t number, uint64_t offset)
{
    struct segment *s = bus__table_get(&pool->segments, number);
    struct slot slot = {NULL, 0};

    if (s && offset < s->bytes && (offset >> s->shift) < s->n_slots) {
        slot = (struct slot){s, (uint32_t) (offset >> s->shift)};
    }
    if (slot.segment && (!is_published(s, slot.index) || bus__slot_offset(slot) != offset)) {
        slot.segment = NULL;
    }
    return slot;
}

void bus__pool_keep(struct slot slot)
{
    uint8_t *state = &slot.segment->state[slot.index];

    *state =
        *state == SLOT_PUBLISHED || *state == SLOT_PUBLISHED_KEPT ? SLOT_PUBLISHED_KEPT : SLOT_KEPT;
}

bool bus__pool_unkeep(struct slot slot)
{
    uint8_t *state = &slot.segment->state[slot.index];
    bool is_ours = *state == SLOT_KEPT;

    *state = is_ours ? SLOT_TAKEN : SLOT_PUBLISHED;
    return is_ours;
}

bool bus__pool_returned(struct slot slot)
{
    uint8_t *state = &slot.segment->state[slot.index];
    bool is_kept = *state == SLOT_PUBLISHED_KEPT;

    *state = is_kept ? SLOT_KEPT : SLOT_TAKEN;
    return !is_kept;
}

void bus__pool_refused(struct pool *pool, uint32_t number)
{
    struct segment *s = bus__table_get(&pool->segments, number);

    if (s && s->once) {
        if (!s->announced) {
            return; /* the router cannot mean it: it may be lent */
        }
        s->announced = false;
        if (s->state[0] == SLOT_PUBLISHED_KEPT) {
            s->state[0] = SLOT_KEPT;
        } else if (s->state[0] == SLOT_PUBLISHED || s->n_used == 0) {
            segment_remove(pool, s); /* else somebody here still has what is in it */
        }
        return;
    }
    if (!s || s->dead) {
        return;
    }
    s->dead = true;
    list_drop(pool, s);
    pool->bytes_max = pool->bytes; /* that much the router takes, and not more */
}

void bus__pool_reclaim(struct pool *pool, struct slot slot)
{
    slot.segment->state[slot.index] = SLOT_TAKEN;
    if (slot.segment->left_at) {
        slot.segment->left_at = 0;
        pool->n_leaving--;
    }
}

/* Gives up what was published from it; returns whether that was anything. */
static bool published_drop(struct segment *s)
{
    bool any = false;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        any = any || is_published(s, i);
        if (s->state[i] == SLOT_PUBLISHED) {
            s->state[i] = SLOT_FREE;
            s->n_used--;
        } else if (s->state[i] == SLOT_PUBLISHED_KEPT) {
            s->state[i] = SLOT_KEPT;
        }
    }
    return any;
}

static void segment_lost(struct pool *pool, struct segment *s)
{
    bool was_published = published_drop(s);

    s->announced = false;
    if (was_published && !s->once && !s->dead) {
        s->dead = true;
        list_drop(pool, s);
    }
    if (s->n_used == 0 && (s->once || s->dead)) {
        pool->bytes -= s->once ? 0 : s->bytes;
        segment_remove(pool, s);
    }
}

void bus__pool_lost(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segments.n; i++) {
        if (pool->segments.at[i]) {
            segment_lost(pool, pool->segments.at[i]);
        }
    }
}

void bus__pool_fini(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segments.n; i++) {
        segment_free(pool->segments.at[i]);
    }
    for (unsigned i = 0; i < SLOT_SIZES; i++) {
        free(pool->sizes[i].free);
    }
    bus__table_fini(&pool->segments);
    bus__numbers_fini(&pool->numbers);
    *pool = (struct pool){0};
}
