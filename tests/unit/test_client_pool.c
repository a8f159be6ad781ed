/* SPDX-License-Identifier: MIT */
/* The publisher's memory: sizes, what is used again, bounds, and that nobody else can write it. */
#include <errno.h>
#include <sys/mman.h>
#include "client/pool.h"
#include "support/failmalloc.h"
#include "support/fds.h"

#define KIB_ (size_t) 1024
#define MIB_ ((size_t) 1 << 20)

static struct pool pool;
static unsigned n_fds_before;

static int setup(void **state)
{
    (void) state;
    n_fds_before = fds_open();
    pool = (struct pool){0};
    bus__pool_limit(&pool, 128, 64 * MIB_);
    return 0;
}

static int teardown(void **state)
{
    (void) state;
    bus__pool_fini(&pool);
    assert_int_equal(fds_open(), n_fds_before);
    return 0;
}

static struct slot take(size_t bytes)
{
    struct slot slot = {NULL, 0};

    assert_int_equal(bus__pool_take(&pool, bytes, &slot), 0);
    assert_non_null(slot.segment);
    assert_int_equal((uintptr_t) bus__slot_data(slot) % 4096, 0);
    return slot;
}

static uint32_t give(struct slot slot)
{
    uint32_t drop = 77;

    bus__pool_give(&pool, slot, &drop);
    return drop;
}

static void test_slots_are_powers_of_two_that_hold_the_body(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 4097, 8192, 65537, 1200000, 4 * MIB_, 4 * MIB_ + 1};

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct slot slot = take(sizes[i]);
        size_t room = (size_t) 1 << slot.segment->shift;

        assert_true(room >= sizes[i] && (room == 4096 || room / 2 < sizes[i]));
        assert_true(bus__slot_offset(slot) + room <= slot.segment->bytes);
        memset(bus__slot_data(slot), 1, sizes[i]);
        assert_int_equal(give(slot), 0);
    }
}

static void test_what_was_returned_last_is_used_next(void **state)
{
    struct slot a = take(10000), b = take(10000), c;

    (void) state;
    assert_ptr_equal(a.segment, b.segment);
    assert_int_not_equal(a.index, b.index);
    (void) give(a);
    (void) give(b);
    c = take(9000);
    assert_int_equal(c.index, b.index);
    assert_int_equal(take(16384).index, a.index);
}

static void test_slots_do_not_overlap(void **state)
{
    static struct slot slots[1000];

    (void) state;
    for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
        slots[i] = take(5000);
        memset(bus__slot_data(slots[i]), (int) (i % 251), 5000);
        bus__pool_publish(slots[i]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
        assert_int_equal(bus__slot_data(slots[i])[0], i % 251);
        assert_int_equal(bus__slot_data(slots[i])[4999], i % 251);
        assert_ptr_equal(
            bus__pool_find(&pool, slots[i].segment->number, bus__slot_offset(slots[i])).segment,
            slots[i].segment);
    }
}

static void test_the_pool_grows_up_to_its_bound(void **state)
{
    struct slot slot, first = take(16 * MIB_);

    (void) state;
    for (unsigned i = 1; i < 4; i++) {
        (void) take(16 * MIB_);
    }
    assert_int_equal(pool.bytes, 64 * MIB_);
    assert_int_equal(bus__pool_take(&pool, 16 * MIB_, &slot), -ENOBUFS);
    assert_int_equal(bus__pool_take(&pool, 100, &slot), -ENOBUFS);
    (void) give(first);
    assert_int_equal(take(16 * MIB_).segment->number, first.segment->number);
}

static void test_numbers_are_limited(void **state)
{
    struct slot slot;

    (void) state;
    pool.numbers_max = 2;
    assert_int_equal(take(100).segment->number, 1);
    assert_int_equal(take(10000).segment->number, 2);
    assert_int_equal(bus__pool_take(&pool, 100000, &slot), -ENOBUFS);
    assert_int_equal(bus__pool_take_once(&pool, 100000, &slot), -ENOBUFS);
    (void) take(200);
}

/* A burst made the pool large; when bodies are as few as before for a while, it lets go. */
static void test_spare_segments_are_dropped_after_a_while(void **state)
{
    static struct slot burst[400];
    unsigned n_dropped = 0;

    (void) state;
    for (unsigned i = 0; i < ARRAY_LEN(burst); i++) {
        burst[i] = take(60 * KIB_);
        burst[i].segment->announced = true;
    }
    for (unsigned i = 0; i < ARRAY_LEN(burst); i++) {
        (void) give(burst[i]);
    }
    assert_true(pool.bytes >= 400 * 64 * KIB_);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t drop = give(take(60 * KIB_));

        if (drop > 0) {
            n_dropped++;
            assert_null(bus__table_get(&pool.segments, drop));
        }
    }
    assert_true(n_dropped > 0);
    assert_true(pool.bytes < 400 * 64 * KIB_);
    (void) take(60 * KIB_);
}

static void test_refused_segments_are_not_used_again(void **state)
{
    struct slot a = take(10000), b = take(10000), c;

    (void) state;
    a.segment->announced = true;
    bus__pool_refused(&pool, a.segment->number);
    bus__pool_refused(&pool, a.segment->number);
    bus__pool_refused(&pool, 99);
    bus__pool_refused(&pool, 0);
    assert_int_equal(bus__pool_take(&pool, 10000, &c), -ENOBUFS); /* so much it takes, not more */
    memset(bus__slot_data(b), 1, 10000);                          /* what is in use stays */
    assert_int_equal(give(a), 0);
    assert_int_equal(give(b), 1); /* the last one: the number comes back */
}

static void test_places_are_found_if_they_are_published(void **state)
{
    struct slot a = take(10000);
    uint32_t number = a.segment->number;

    (void) state;
    assert_null(bus__pool_find(&pool, number, bus__slot_offset(a)).segment); /* ours still */
    bus__pool_publish(a);
    assert_ptr_equal(bus__pool_find(&pool, number, bus__slot_offset(a)).segment, a.segment);
    assert_null(bus__pool_find(&pool, number, bus__slot_offset(a) + 1).segment);
    assert_null(bus__pool_find(&pool, number, bus__slot_offset(a) + 16384).segment);
    assert_null(bus__pool_find(&pool, number, UINT64_MAX).segment);
    assert_null(bus__pool_find(&pool, number, a.segment->bytes).segment);
    assert_null(bus__pool_find(&pool, number + 1, 0).segment);
    assert_null(bus__pool_find(&pool, UINT32_MAX, 0).segment);
    (void) give(a);
    assert_null(bus__pool_find(&pool, number, bus__slot_offset(a)).segment);
}

static void expect_read_only(int fd)
{
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_true(pwrite(fd, "x", 1, 0) < 0);
    assert_true(ftruncate(fd, 0) < 0 && ftruncate(fd, 1 << 30) < 0);
    assert_true(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) < 0);
}

static void test_only_this_mapping_can_write_a_pooled_segment(void **state)
{
    struct slot a = take(10000);
    int fd = a.segment->parcel->fds[0], copy;
    char path[64], c;

    (void) state;
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GET_SEALS) &
                         (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE | 0x10),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | 0x10 /* FUTURE_WRITE */);
    expect_read_only(fd);
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    copy = open(path, O_RDWR | O_CLOEXEC);
    if (copy >= 0) { /* opened anew it is no better */
        expect_read_only(copy);
        (void) close(copy);
    }
    bus__slot_data(a)[7] = 'w';
    assert_int_equal(pread(fd, &c, 1, (off_t) bus__slot_offset(a) + 7), 1);
    assert_int_equal(c, 'w');
}

static void test_a_segment_for_one_body_is_sealed_when_it_is_full(void **state)
{
    struct slot slot;
    char c;
    int fd;

    (void) state;
    assert_int_equal(bus__pool_take_once(&pool, 10000, &slot), 0);
    assert_int_equal(pool.bytes, 0); /* nothing that is kept */
    bus__slot_data(slot)[9999] = 'i';
    fd = dup(slot.segment->parcel->fds[0]);
    bus__pool_seal(slot.segment);
    assert_null(slot.segment->data);
    assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE);
    expect_read_only(fd);
    assert_int_equal(pread(fd, &c, 1, 9999), 1);
    assert_int_equal(c, 'i');
    (void) close(fd);
    slot.segment->announced = true;
    assert_int_equal(give(slot), 1);
    assert_int_equal(bus__pool_take_once(&pool, 0, &slot), 0);
    assert_int_equal(slot.segment->number, 1);
    assert_int_equal(give(slot), 0); /* nobody has been told of it */
}

/* Refused: its body will not be returned. What somebody here still has stays. */
static void test_refused_segments_for_one_body(void **state)
{
    struct slot slot;

    (void) state;
    assert_int_equal(bus__pool_take_once(&pool, 10000, &slot), 0);
    slot.segment->announced = true;
    bus__pool_seal(slot.segment);
    bus__pool_publish(slot);
    bus__pool_refused(&pool, 1);
    assert_null(bus__table_get(&pool.segments, 1));
    for (unsigned kept = 0; kept < 2; kept++) { /* by what waits, or for the case that it does */
        assert_int_equal(bus__pool_take_once(&pool, 10000, &slot), 0);
        slot.segment->announced = true;
        bus__pool_publish(slot);
        if (kept) {
            bus__pool_keep(slot);
            assert_false(bus__pool_returned(slot));
        } else {
            bus__pool_reclaim(&pool, slot);
        }
        bus__pool_refused(&pool, 1);
        assert_ptr_equal(bus__table_get(&pool.segments, 1), slot.segment);
        assert_true(!kept || bus__pool_unkeep(slot));
        assert_int_equal(give(slot), 0);
        assert_null(bus__table_get(&pool.segments, 1));
    }
    for (unsigned early = 0; early < 2; early++) {
        assert_int_equal(bus__pool_take_once(&pool, 10000, &slot), 0);
        assert_int_equal(slot.segment->number, 1);
        slot.segment->announced = true;
        slot.segment->dead = true; /* it could not be published after it was announced */
        if (early) {
            bus__pool_refused(&pool, 1);
            memset(bus__slot_data(slot), 1, 10000);
            assert_int_equal(give(slot), 0);
        } else {
            assert_int_equal(give(slot), 0);
            assert_non_null(bus__table_get(&pool.segments, 1)); /* the refusal is still to come */
            bus__pool_refused(&pool, 1);
        }
        assert_null(bus__table_get(&pool.segments, 1));
    }
}

static void test_failing_allocations_change_nothing(void **state)
{
    struct slot slot;

    (void) state;
    for (unsigned once = 0; once < 2; once++) {
        unsigned before = fds_open();
        int r = -1;

        FOR_EACH_FAILING_MALLOC (n) {
            r = once ? bus__pool_take_once(&pool, 10000, &slot)
                     : bus__pool_take(&pool, 10000, &slot);
            assert_true(r == 0 || r == -ENOMEM);
            if (r == 0) {
                (void) failmalloc_disarm();
                break;
            }
            assert_int_equal(fds_open(), before);
            assert_int_equal(pool.bytes, once ? 4 * MIB_ : 0);
        }
        assert_int_equal(r, 0);
        assert_int_equal(slot.segment->number, 1 + once);
    }
}

static void test_without_memfds_there_is_no_pool(void **state)
{
    struct slot slot;

    (void) state;
    pool.no_memfd = true;
    assert_int_equal(bus__pool_take(&pool, 10000, &slot), -ENOBUFS);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(slots_are_powers_of_two_that_hold_the_body),
        CASE(what_was_returned_last_is_used_next),
        CASE(slots_do_not_overlap),
        CASE(the_pool_grows_up_to_its_bound),
        CASE(numbers_are_limited),
        CASE(spare_segments_are_dropped_after_a_while),
        CASE(refused_segments_are_not_used_again),
        CASE(places_are_found_if_they_are_published),
        CASE(only_this_mapping_can_write_a_pooled_segment),
        CASE(a_segment_for_one_body_is_sealed_when_it_is_full),
        CASE(refused_segments_for_one_body),
        CASE(failing_allocations_change_nothing),
        CASE(without_memfds_there_is_no_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
