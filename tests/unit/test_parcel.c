/* SPDX-License-Identifier: MIT */
/* Descriptors that go with a frame: the parcel, and its way through an output queue. */
#include "base/parcel.h"
#include "support/failmalloc.h"
#include "support/unit.h"
#include "wire/outq.h"

static unsigned n_closed, n_closed_of[PARCEL_FDS_MAX];

static void count_close(int fd)
{
    n_closed++;
    n_closed_of[fd]++;
}

static struct parcel *parcel_of(int first, unsigned n)
{
    int fds[PARCEL_FDS_MAX];
    struct parcel *p;

    for (unsigned i = 0; i < n; i++) {
        fds[i] = first + (int) i;
    }
    p = parcel_new(fds, n, count_close);
    assert_non_null(p);
    return p;
}

struct fixture {
    struct outq_pool pool;
    struct outq q;
};

static int setup(void **state)
{
    static struct fixture f;

    n_closed = 0;
    memset(n_closed_of, 0, sizeof(n_closed_of));
    outq_pool_init(&f.pool, 2);
    outq_init(&f.q, &f.pool);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    outq_fini(&f->q);
    outq_pool_fini(&f->pool);
    for (size_t i = 0; i < ARRAY_LEN(n_closed_of); i++) {
        assert_true(n_closed_of[i] <= 1);
    }
    return 0;
}

/* ---- parcels ---- */

static void test_descriptors_are_closed_with_the_last_reference(void **state)
{
    struct parcel *p = parcel_of(1, 3);

    (void) state;
    assert_ptr_equal(parcel_ref(p), p);
    parcel_unref(p);
    assert_int_equal(n_closed, 0);
    parcel_unref(p);
    assert_int_equal(n_closed, 3);
    parcel_unref(NULL);
}

static void test_an_empty_parcel_and_a_full_one(void **state)
{
    struct parcel *p = parcel_new(NULL, 0, count_close);

    (void) state;
    assert_int_equal(p->n, 0);
    parcel_unref(p);
    assert_int_equal(n_closed, 0);
    parcel_unref(parcel_of(0, PARCEL_FDS_MAX));
    assert_int_equal(n_closed, PARCEL_FDS_MAX);
}

static void test_without_memory_they_stay_the_callers(void **state)
{
    int fd = 5;

    (void) state;
    failmalloc_arm(1);
    assert_null(parcel_new(&fd, 1, count_close));
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(n_closed, 0);
}

/* ---- in an output queue ---- */

static void put(struct outq *q, size_t bytes, uint8_t fill)
{
    uint8_t *dst = outq_reserve(q, bytes);

    assert_non_null(dst);
    memset(dst, fill, bytes);
    outq_commit(q, bytes);
}

static void put_with(struct outq *q, size_t bytes, uint8_t fill, int first, unsigned n)
{
    struct parcel *p = parcel_of(first, n);
    uint8_t *dst = outq_reserve_first(q, bytes);

    assert_non_null(dst);
    memset(dst, fill, bytes);
    outq_commit_parcel(q, bytes, p);
    parcel_unref(p);
}

/* What goes in one send: its first byte, its length and its descriptors. */
static void expect_send(struct outq *q, int n_iov, uint8_t fill, size_t bytes, int first_fd)
{
    struct iovec iov[8];
    size_t total = 0;
    int n = outq_peek(q, iov, n_iov);

    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    assert_int_equal(total, bytes);
    assert_int_equal(*(const uint8_t *) iov[0].iov_base, fill);
    if (first_fd >= 0) {
        assert_non_null(outq_parcel(q));
        assert_int_equal(outq_parcel(q)->fds[0], first_fd);
    } else {
        assert_null(outq_parcel(q));
    }
    outq_consume(q, total);
}

static void test_a_frame_with_descriptors_begins_a_chunk(void **state)
{
    struct fixture *f = *state;

    put(&f->q, 10, 1);
    put_with(&f->q, 20, 2, 1, 1);
    put(&f->q, 30, 3); /* goes along with it */
    put_with(&f->q, 40, 4, 2, 2);
    put(&f->q, 50, 5);
    expect_send(&f->q, 8, 1, 10, -1); /* up to the chunk with descriptors */
    expect_send(&f->q, 8, 2, 20 + 30, 1);
    assert_int_equal(n_closed_of[1], 1);
    expect_send(&f->q, 8, 4, 40 + 50, 2);
    assert_int_equal(n_closed, 3);
    assert_null(outq_parcel(&f->q));
}

static void test_an_empty_queue_gives_its_first_chunk(void **state)
{
    struct fixture *f = *state;

    put_with(&f->q, 20, 2, 1, 1);
    put_with(&f->q, 20, 3, 2, 1);
    put(&f->q, OUTQ_CHUNK_BYTES, 4);
    expect_send(&f->q, 1, 2, 20, 1);
    expect_send(&f->q, 8, 3, 20 + OUTQ_CHUNK_BYTES, 2);
    assert_int_equal(n_closed, 2);
}

static void test_an_unused_reservation_is_used(void **state)
{
    struct fixture *f = *state;

    assert_non_null(outq_reserve_first(&f->q, 100));
    put_with(&f->q, 20, 2, 1, 1);
    expect_send(&f->q, 8, 2, 20, 1);
    put(&f->q, 10, 1);
    assert_non_null(outq_reserve_first(&f->q, 100));
    put(&f->q, 20, 2); /* a frame without may go there, too */
    put_with(&f->q, 30, 3, 4, 1);
    expect_send(&f->q, 8, 1, 30, -1);
    expect_send(&f->q, 8, 3, 30, 4);
}

/* The chunk of an unused reservation stays empty between two others: what comes after it is the
 * first to be sent, with its descriptors. */
static void test_an_empty_chunk_before_it_does_not_hide_descriptors(void **state)
{
    struct fixture *f = *state;

    put(&f->q, 10, 1);
    assert_non_null(outq_reserve_first(&f->q, 100));
    put_with(&f->q, OUTQ_CHUNK_BYTES + 1, 2, 1, 1);
    expect_send(&f->q, 8, 1, 10, -1);
    expect_send(&f->q, 8, 2, OUTQ_CHUNK_BYTES + 1, 1);
    assert_int_equal(n_closed, 1);
}

static void test_descriptors_go_with_the_first_byte_only(void **state)
{
    struct fixture *f = *state;

    put_with(&f->q, 100, 2, 1, 1);
    put_with(&f->q, 100, 3, 2, 1);
    assert_int_equal(outq_parcel(&f->q)->fds[0], 1);
    outq_consume(&f->q, 1);
    assert_null(outq_parcel(&f->q));
    assert_int_equal(n_closed, 0); /* with the chunk */
    expect_send(&f->q, 8, 2, 99, -1);
    assert_int_equal(n_closed, 1);
    expect_send(&f->q, 8, 3, 100, 2);
}

static void test_what_is_not_sent_is_closed_with_the_queue(void **state)
{
    struct fixture *f = *state;

    put_with(&f->q, 100, 2, 1, 3);
    put_with(&f->q, OUTQ_CHUNK_BYTES * 2, 3, 8, 3);
    outq_consume(&f->q, 50);
    outq_fini(&f->q);
    assert_int_equal(n_closed, 6);
}

static void test_a_parcel_may_be_on_many_queues(void **state)
{
    struct fixture *f = *state;
    struct parcel *p = parcel_of(1, 2);

    for (unsigned i = 0; i < 3; i++) {
        assert_non_null(outq_reserve_first(&f->q, 8));
        outq_commit_parcel(&f->q, 8, p);
    }
    assert_int_equal(p->refs, 4);
    parcel_unref(p);
    outq_consume(&f->q, 16);
    assert_int_equal(n_closed, 0);
    outq_consume(&f->q, 8);
    assert_int_equal(n_closed, 2);
}

/* A chunk of the pool is used again without what it carried. */
static void test_chunks_forget_their_descriptors(void **state)
{
    struct fixture *f = *state;

    put(&f->q, OUTQ_CHUNK_BYTES, 1);
    put_with(&f->q, 100, 2, 1, 1);
    outq_consume(&f->q, OUTQ_CHUNK_BYTES + 100);
    assert_int_equal(f->pool.n_free, 2);
    put(&f->q, 5000, 3);
    expect_send(&f->q, 8, 3, 5000, -1);
    assert_int_equal(n_closed, 1);
}

static void test_without_memory_nothing_is_queued(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[2];

    put(&f->q, 10, 1);
    failmalloc_arm(1);
    assert_null(outq_reserve_first(&f->q, 10));
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(outq_peek(&f->q, iov, 2), 1);
    put(&f->q, 10, 1);
    expect_send(&f->q, 8, 1, 20, -1);
}

static void test_random_use_keeps_order_and_descriptors(void **state)
{
    struct rng rng = rng_from_env();
    struct fixture *f = *state;

    for (unsigned turn = 0; turn < 2000; turn++) {
        uint8_t expected[16];
        unsigned n = 1 + rng_below(&rng, 15), at = 0;

        memset(n_closed_of, 0, sizeof(n_closed_of));
        for (unsigned i = 0; i < n; i++) {
            size_t bytes = 1 + rng_below(&rng, rng_below(&rng, 4) ? 300 : 100000);

            expected[i] = (uint8_t) rng_below(&rng, 2);
            if (rng_below(&rng, 3) == 0) {
                (void) outq_reserve_first(&f->q, 1 + rng_below(&rng, 100000));
            }
            if (expected[i]) {
                put_with(&f->q, bytes, (uint8_t) i, (int) i, 1);
            } else {
                put(&f->q, bytes, (uint8_t) i);
            }
        }
        while (f->q.bytes > 0) {
            struct iovec iov[3];
            const struct parcel *p = outq_parcel(&f->q);
            int n_iov = outq_peek(&f->q, iov, 1 + (int) rng_below(&rng, 3));
            size_t all = 0;

            if (p) { /* of the frame that begins here; all before it have been sent */
                const uint8_t *first = iov[0].iov_base;

                assert_int_equal(p->fds[0], *first);
                while (at < *first) {
                    assert_true(!expected[at] || n_closed_of[at]);
                    at++;
                }
                expected[at] = 2;
            }
            for (int i = 0; i < n_iov; i++) {
                all += iov[i].iov_len;
            }
            outq_consume(&f->q, 1 + rng_below(&rng, (uint32_t) all));
        }
        for (unsigned i = 0; i < n; i++) {
            assert_int_not_equal(expected[i], 1); /* each has been offered */
            assert_int_equal(n_closed_of[i], expected[i] == 2);
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(descriptors_are_closed_with_the_last_reference),
        CASE(an_empty_parcel_and_a_full_one),
        CASE(without_memory_they_stay_the_callers),
        CASE(a_frame_with_descriptors_begins_a_chunk),
        CASE(an_empty_queue_gives_its_first_chunk),
        CASE(an_unused_reservation_is_used),
        CASE(an_empty_chunk_before_it_does_not_hide_descriptors),
        CASE(descriptors_go_with_the_first_byte_only),
        CASE(what_is_not_sent_is_closed_with_the_queue),
        CASE(a_parcel_may_be_on_many_queues),
        CASE(chunks_forget_their_descriptors),
        CASE(without_memory_nothing_is_queued),
        CASE(random_use_keeps_order_and_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
