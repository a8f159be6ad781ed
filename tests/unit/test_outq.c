/* SPDX-License-Identifier: MIT */
#include "support/failmalloc.h"
#include "support/unit.h"
#include "wire/outq.h"

struct fixture {
    struct outq_pool pool;
    struct outq q;
};

static int setup(void **state)
{
    static struct fixture f;

    outq_pool_init(&f.pool, 2);
    outq_init(&f.q, &f.pool);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    outq_fini(&f->q);
    assert_int_equal(f->q.bytes, 0);
    assert_int_equal(f->q.capacity_bytes, 0);
    outq_pool_fini(&f->pool);
    return 0;
}

static void put(struct outq *q, size_t bytes, uint8_t fill)
{
    uint8_t *p = outq_reserve(q, bytes);

    assert_non_null(p);
    memset(p, fill,
           bytes + OUTQ_SLACK_BYTES); /* the slack must be there: for the sanitizer to see */
    outq_commit(q, bytes);
}

static void assert_invariant(const struct outq *q)
{
    size_t bytes = 0, capacity = 0;

    for (const struct outq_chunk *c = q->head; c; c = c->next) {
        assert_true(c->sent <= c->len && c->len <= c->capacity);
        assert_true(c->next || c == q->tail);
        bytes += c->len - c->sent;
        capacity += c->capacity;
    }
    assert_int_equal(bytes, q->bytes);
    assert_int_equal(capacity, q->capacity_bytes);
    assert_true(q->head || !q->tail);
}

static void test_empty_queue_has_nothing_to_send(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[2];

    assert_int_equal(outq_peek(&f->q, iov, 2), 0);
    outq_consume(&f->q, 0);
    assert_int_equal(f->q.bytes, 0);
}

static void test_frames_are_packed_into_one_chunk(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[2];

    put(&f->q, 10, 1);
    put(&f->q, 20, 2);
    put(&f->q, 30, 3);
    assert_int_equal(outq_peek(&f->q, iov, 2), 1);
    assert_int_equal(iov[0].iov_len, 60);
    assert_int_equal(((uint8_t *) iov[0].iov_base)[9], 1);
    assert_int_equal(((uint8_t *) iov[0].iov_base)[10], 2);
    assert_int_equal(((uint8_t *) iov[0].iov_base)[59], 3);
    assert_invariant(&f->q);
}

static void test_reservation_without_commit_queues_nothing(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[1];

    assert_non_null(outq_reserve(&f->q, 100));
    assert_int_equal(f->q.bytes, 0);
    assert_int_equal(outq_peek(&f->q, iov, 1), 0);
    put(&f->q, 5, 7);
    assert_int_equal(outq_peek(&f->q, iov, 1), 1);
    assert_int_equal(iov[0].iov_len, 5);
}

static void test_chunk_never_exceeds_64_kib_of_packed_frames(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[32];
    size_t total = 0;
    int n;

    for (int i = 0; i < 200; i++) {
        put(&f->q, 1000, (uint8_t) i);
    }
    n = outq_peek(&f->q, iov, 32);
    assert_true(n >= 4 && n <= 6);
    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len <= OUTQ_CHUNK_BYTES);
        assert_int_equal(iov[i].iov_len % 1000, 0); /* whole frames only */
        total += iov[i].iov_len;
    }
    assert_int_equal(total, 200000);
    assert_invariant(&f->q);
}

static void test_larger_frame_gets_a_chunk_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];

    put(&f->q, 10, 1);
    put(&f->q, OUTQ_CHUNK_BYTES + 1, 2);
    put(&f->q, 10, 3);
    assert_int_equal(outq_peek(&f->q, iov, 4), 3);
    assert_int_equal(iov[0].iov_len, 10);
    assert_int_equal(iov[1].iov_len, OUTQ_CHUNK_BYTES + 1);
    assert_int_equal(iov[2].iov_len, 10);
}

static void test_largest_body_gets_a_chunk_of_the_pool_and_travels_alone(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];

    for (int turn = 0; turn < 2; turn++) {
        put(&f->q, OUTQ_CHUNK_BYTES + 40, 1);
        put(&f->q, 10, 2); /* there would be memory for it */
        put(&f->q, OUTQ_CHUNK_BYTES - 10, 3);
        assert_int_equal(outq_peek(&f->q, iov, 4), 2);
        assert_int_equal(iov[0].iov_len, OUTQ_CHUNK_BYTES + 40);
        assert_int_equal(iov[1].iov_len, OUTQ_CHUNK_BYTES);
        outq_consume(&f->q, f->q.bytes);
        assert_int_equal(f->pool.n_free, 2);
    }
}

static void test_peek_fills_no_more_than_asked_for(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[3] = {0};

    put(&f->q, OUTQ_CHUNK_BYTES, 1);
    put(&f->q, OUTQ_CHUNK_BYTES, 2);
    put(&f->q, OUTQ_CHUNK_BYTES, 3);
    assert_int_equal(outq_peek(&f->q, iov, 2), 2);
    assert_null(iov[2].iov_base);
    assert_int_equal(outq_peek(&f->q, iov, 0), 0);
}

static void test_stream_may_send_any_part(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];
    size_t total = 3 * 50000, sent = 0;

    for (uint8_t i = 1; i <= 3; i++) {
        put(&f->q, 50000, i);
    }
    while (sent < total) {
        size_t step = MIN(total - sent, 17777u);
        int n = outq_peek(&f->q, iov, 4);

        assert_true(n > 0);
        assert_int_equal(*(uint8_t *) iov[0].iov_base, 1 + sent / 50000);
        outq_consume(&f->q, step);
        sent += step;
        assert_int_equal(f->q.bytes, total - sent);
        assert_invariant(&f->q);
    }
    assert_null(f->q.head);
}

static void test_consuming_exactly_one_chunk_leaves_the_next(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];

    put(&f->q, OUTQ_CHUNK_BYTES, 1);
    put(&f->q, 10, 2);
    outq_consume(&f->q, OUTQ_CHUNK_BYTES);
    assert_int_equal(outq_peek(&f->q, iov, 4), 1);
    assert_int_equal(iov[0].iov_len, 10);
    assert_int_equal(*(uint8_t *) iov[0].iov_base, 2);
}

static void test_frames_go_behind_a_partly_sent_chunk(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[2];

    put(&f->q, 100, 1);
    outq_consume(&f->q, 60);
    put(&f->q, 100, 2);
    assert_int_equal(outq_peek(&f->q, iov, 2), 1);
    assert_int_equal(iov[0].iov_len, 140);
    assert_invariant(&f->q);
}

static void test_idle_queue_holds_no_memory(void **state)
{
    struct fixture *f = *state;

    for (int turn = 0; turn < 3; turn++) {
        put(&f->q, 100000, 1);
        put(&f->q, 10, 2);
        outq_consume(&f->q, 100010);
        assert_null(f->q.head);
        assert_null(f->q.tail);
        assert_int_equal(f->q.capacity_bytes, 0);
    }
}

static void test_few_bytes_cost_a_small_chunk_only(void **state)
{
    struct fixture *f = *state;

    put(&f->q, 20, 1);
    assert_int_equal(f->q.capacity_bytes, OUTQ_SMALL_BYTES);
    outq_consume(&f->q, 20);
    put(&f->q, OUTQ_SMALL_BYTES, 1);
    put(&f->q, 20, 1); /* does not fit: the link is busy */
    assert_int_equal(f->q.capacity_bytes, OUTQ_SMALL_BYTES + OUTQ_CHUNK_CAPACITY);
    outq_consume(&f->q, OUTQ_SMALL_BYTES + 20);
}

static void test_unused_reservation_is_replaced_by_a_larger_one(void **state)
{
    struct fixture *f = *state;

    assert_non_null(outq_reserve(&f->q, 100));
    assert_non_null(outq_reserve(&f->q, 10000));
    assert_int_equal(f->q.capacity_bytes, OUTQ_CHUNK_CAPACITY);
    assert_ptr_equal(f->q.head, f->q.tail);
}

static void test_unused_reservation_behind_data_goes_with_the_data(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[4];

    put(&f->q, 60000, 1);
    assert_non_null(outq_reserve(&f->q, 60000)); /* never committed */
    put(&f->q, 70000, 2);
    assert_int_equal(outq_peek(&f->q, iov, 4), 2);
    assert_invariant(&f->q);
    outq_consume(&f->q, 60000);
    assert_int_equal(outq_peek(&f->q, iov, 4), 1);
    outq_consume(&f->q, 70000);
    assert_null(f->q.head);
    put(&f->q, 60000, 1);
    assert_non_null(outq_reserve(&f->q, 60000));
    outq_consume(&f->q, 60000);
    assert_null(f->q.head);
}

static void test_pool_keeps_full_chunks_up_to_its_bound(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++) {
        put(&f->q, OUTQ_CHUNK_BYTES, 1);
    }
    outq_consume(&f->q, 5u * OUTQ_CHUNK_BYTES);
    assert_int_equal(f->pool.n_free, 2);
    failmalloc_arm(1);
    put(&f->q, OUTQ_CHUNK_BYTES, 1); /* from the pool */
    put(&f->q, OUTQ_CHUNK_BYTES, 1);
    assert_null(outq_reserve(&f->q, 1));
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(f->pool.n_free, 0);
}

static void test_without_memory_reserve_is_null_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[2];

    put(&f->q, 10, 1);
    failmalloc_arm_from(1);
    assert_null(outq_reserve(&f->q, 100000));
    assert_int_equal(failmalloc_disarm(), 1);
    assert_int_equal(outq_peek(&f->q, iov, 2), 1);
    assert_int_equal(iov[0].iov_len, 10);
    put(&f->q, 100000, 2);
    assert_invariant(&f->q);
}

static void test_absurd_size_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_null(outq_reserve(&f->q, UINT32_MAX));
    assert_null(outq_reserve(&f->q, SIZE_MAX));
    assert_invariant(&f->q);
}

static void test_random_use_delivers_the_bytes_in_order(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();
    uint64_t put_bytes = 0, got_bytes = 0;

    for (int turn = 0; turn < 20000; turn++) {
        size_t n = rng_below(&r, rng_below(&r, 20) ? 500 : 80000) + 1;
        struct iovec iov[3];

        if (rng_below(&r, 3)) {
            uint8_t *p = outq_reserve(&f->q, n);

            assert_non_null(p);
            n = rng_below(&r, 4) ? n : rng_below(&r, (uint32_t) n) + 1;
            for (size_t i = 0; i < n; i++) {
                p[i] = (uint8_t) ((put_bytes + i) * 7);
            }
            outq_commit(&f->q, n);
            put_bytes += n;
        } else if (outq_peek(&f->q, iov, 3) > 0) {
            size_t step =
                rng_below(&r, 2) ? iov[0].iov_len : rng_below(&r, (uint32_t) iov[0].iov_len);

            for (size_t i = 0; i < step; i++) {
                assert_int_equal(((uint8_t *) iov[0].iov_base)[i], (uint8_t) ((got_bytes + i) * 7));
            }
            outq_consume(&f->q, step);
            got_bytes += step;
        }
        assert_invariant(&f->q);
        assert_int_equal(f->q.bytes, put_bytes - got_bytes);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(empty_queue_has_nothing_to_send),
        CASE(frames_are_packed_into_one_chunk),
        CASE(reservation_without_commit_queues_nothing),
        CASE(chunk_never_exceeds_64_kib_of_packed_frames),
        CASE(larger_frame_gets_a_chunk_of_its_own),
        CASE(largest_body_gets_a_chunk_of_the_pool_and_travels_alone),
        CASE(peek_fills_no_more_than_asked_for),
        CASE(stream_may_send_any_part),
        CASE(consuming_exactly_one_chunk_leaves_the_next),
        CASE(frames_go_behind_a_partly_sent_chunk),
        CASE(idle_queue_holds_no_memory),
        CASE(few_bytes_cost_a_small_chunk_only),
        CASE(unused_reservation_is_replaced_by_a_larger_one),
        CASE(unused_reservation_behind_data_goes_with_the_data),
        CASE(pool_keeps_full_chunks_up_to_its_bound),
        CASE(without_memory_reserve_is_null_and_nothing_is_lost),
        CASE(absurd_size_is_refused),
        CASE(random_use_delivers_the_bytes_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
