/* SPDX-License-Identifier: MIT */
/* Output queues whose chunks share received bytes. */
#include "support/failmalloc.h"
#include "support/unit.h"
#include "wire/frame.h"
#include "wire/outq.h"

struct fixture {
    struct outq_pool pool;
    struct slab_pool slabs;
    struct outq q;
    uint64_t put, got; /* bytes */
};

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    outq_pool_init(&f.pool, 2);
    slab_pool_init(&f.slabs, SLAB_POOL_MAX);
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
    assert_int_equal(f->q.n_runs, 0);
    assert_int_equal(slab_pool_pinned(&f->slabs), 0);
    slab_pool_fini(&f->slabs);
    outq_pool_fini(&f->pool);
    return 0;
}

/* ---- bytes whose value says where they belong ---- */

static uint8_t value_at(uint64_t n)
{
    return (uint8_t) (n * 7 + n / 251);
}

static void fill(struct fixture *f, uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        p[i] = value_at(f->put + i);
    }
    f->put += bytes;
}

static bool put_own(struct fixture *f, size_t bytes)
{
    uint8_t *p = outq_reserve(&f->q, bytes);

    if (!p) {
        return false;
    }
    memset(p, 0, bytes + OUTQ_SLACK_BYTES); /* for the sanitizer to see */
    fill(f, p, bytes);
    outq_commit(&f->q, bytes);
    return true;
}

/* A frame that begins with own bytes and ends with a span. */
static bool put_shared(struct fixture *f, size_t own, size_t bytes)
{
    struct slab *s = slab_pool_current(&f->slabs, bytes);
    uint8_t *p = s ? outq_reserve_shared(&f->q, own, s, bytes) : NULL;

    if (!p) {
        return false;
    }
    memset(p, 0, own + OUTQ_SLACK_BYTES);
    fill(f, p, own);
    fill(f, slab_room(s), bytes);
    outq_commit_shared(&f->q, own, s, slab_room(s), bytes);
    return true;
}

/* What is to be sent is as it was put; returns how much that is. */
static size_t check_iov(const struct fixture *f, const struct iovec *iov, int n)
{
    size_t at = 0, n_wrong = 0;

    for (int i = 0; i < n; i++) {
        const uint8_t *p = iov[i].iov_base;

        assert_true(iov[i].iov_len > 0);
        for (size_t k = 0; k < iov[i].iov_len; k++) {
            n_wrong += p[k] != value_at(f->got + at + k);
        }
        at += iov[i].iov_len;
    }
    assert_int_equal(n_wrong, 0);
    return at;
}

static void assert_invariant(const struct fixture *f)
{
    size_t bytes = 0, capacity = 0, n_runs = 0;

    for (const struct outq_chunk *c = f->q.head; c; c = c->next) {
        assert_true(c->sent <= c->len && c->len <= c->limit && c->limit <= c->capacity);
        bytes += c->len - c->sent;
        capacity += c->capacity + (c->spans ? sizeof(*c->spans) : 0);
        for (uint32_t i = c->spans ? c->spans->first : 0; c->spans && i < c->spans->n; i++) {
            bytes += c->spans->span[i].len - (i == c->spans->first ? c->spans->first_sent : 0);
            capacity += c->spans->span[i].len;
            n_runs += c->spans->span[i].opens_run;
        }
    }
    assert_int_equal(bytes, f->q.bytes);
    assert_int_equal(bytes, f->put - f->got);
    assert_int_equal(capacity, f->q.capacity_bytes);
    assert_int_equal(n_runs, f->q.n_runs);
}

static void consume(struct fixture *f, size_t bytes)
{
    outq_consume(&f->q, bytes);
    f->got += bytes;
    assert_invariant(f);
}

static size_t next_packet(const struct fixture *f)
{
    struct iovec iov[OUTQ_PACKET_IOV];

    return check_iov(f, iov, outq_peek_packet(&f->q, iov));
}

/* ---- packing ---- */

static void test_span_goes_between_the_bytes_around_it(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[OUTQ_PACKET_IOV];

    assert_true(put_own(f, 10) && put_shared(f, 20, 3000) && put_own(f, 30));
    assert_int_equal(outq_peek_packet(&f->q, iov), 3);
    assert_int_equal(iov[0].iov_len, 30);
    assert_int_equal(iov[1].iov_len, 3000);
    assert_int_equal(iov[2].iov_len, 30);
    assert_int_equal(check_iov(f, iov, 3), 3060);
    assert_ptr_equal(iov[1].iov_base, f->slabs.current->data);
    assert_int_equal(f->q.capacity_bytes, OUTQ_SMALL_BYTES + sizeof(struct outq_spans) + 3000);
    assert_invariant(f);
}

static void test_chunk_with_spans_never_exceeds_64_kib(void **state)
{
    static const size_t sizes[] = {2048, 4096, 5000, 16384, 40000};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (unsigned k = 0; k < 40; k++) {
            assert_true(put_shared(f, 30, sizes[i]));
            assert_true(put_own(f, 1 + k % 50 * 100)); /* small ones in between */
            while (f->q.bytes > 200000) {
                consume(f, next_packet(f));
            }
        }
        while (f->q.bytes > 0) {
            assert_in_range(next_packet(f), 1, OUTQ_CHUNK_BYTES);
            consume(f, next_packet(f));
        }
    }
}

static void test_packets_of_medium_bodies_are_filled(void **state)
{
    struct fixture *f = *state;

    for (unsigned k = 0; k < 6; k++) {
        assert_true(put_shared(f, 40, 16384));
    }
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(next_packet(f), (size_t) 3 * (40 + 16384));
        consume(f, next_packet(f));
    }
    assert_null(f->q.head);
}

static void test_more_spans_than_a_chunk_holds_go_into_the_next(void **state)
{
    struct fixture *f = *state;

    for (unsigned k = 0; k < OUTQ_SPANS_MAX + 1; k++) {
        assert_true(put_shared(f, 8, 100));
    }
    assert_int_equal(next_packet(f), (size_t) OUTQ_SPANS_MAX * 108);
    consume(f, next_packet(f));
    assert_int_equal(next_packet(f), 108);
}

static void test_larger_span_travels_alone(void **state)
{
    struct fixture *f = *state;

    assert_true(put_own(f, 10) && put_shared(f, 20, OUTQ_CHUNK_BYTES) && put_own(f, 30));
    assert_true(put_shared(f, 20, 300000) && put_own(f, 30));
    assert_int_equal(next_packet(f), 10);
    consume(f, 10);
    assert_int_equal(next_packet(f), 20 + OUTQ_CHUNK_BYTES);
    consume(f, 20 + OUTQ_CHUNK_BYTES);
    assert_int_equal(next_packet(f), 30);
    consume(f, 30);
    assert_int_equal(next_packet(f), 300020);
    consume(f, 300020);
    assert_int_equal(next_packet(f), 30);
}

static void test_span_goes_into_a_full_size_chunk_that_is_there(void **state)
{
    struct fixture *f = *state;

    assert_true(put_own(f, 5000) && put_shared(f, 20, 50000) && put_own(f, 10000));
    assert_true(put_own(f, 600)); /* there would be room for it without the span */
    assert_int_equal(next_packet(f), 65020);
    consume(f, 65020);
    assert_int_equal(next_packet(f), 600);
}

static void test_large_beginning_is_copied_with_its_body(void **state)
{
    struct fixture *f = *state;
    const struct slab *s = slab_pool_current(&f->slabs, 4096);

    assert_null(outq_reserve_shared(&f->q, OUTQ_SMALL_BYTES + 1, s, 4096));
    assert_non_null(outq_reserve_shared(&f->q, OUTQ_SMALL_BYTES, s, 4096));
}

static void test_peek_of_a_stream_goes_over_chunks_up_to_its_bound(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[OUTQ_PACKET_IOV];

    for (unsigned k = 0; k < 6; k++) {
        assert_true(put_shared(f, 40, 16384));
    }
    assert_int_equal(outq_peek(&f->q, iov, OUTQ_PACKET_IOV), 12);
    assert_int_equal(check_iov(f, iov, 12), f->q.bytes);
    for (int n = 0; n <= 12; n++) {
        assert_int_equal(outq_peek(&f->q, iov, n), n);
        (void) check_iov(f, iov, n);
    }
}

/* ---- sending ---- */

static void put_mixture(struct fixture *f)
{
    assert_true(put_own(f, 3) && put_shared(f, 2, 5) && put_shared(f, 1, 4));
    assert_true(put_own(f, 4) && put_shared(f, 8, 3000) && put_own(f, 2));
}

static void test_stream_may_stop_at_every_byte(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[OUTQ_PACKET_IOV];

    for (size_t stop = 1; stop <= 30; stop++) {
        size_t total;

        put_mixture(f);
        total = f->q.bytes;
        consume(f, stop);
        assert_int_equal(check_iov(f, iov, outq_peek(&f->q, iov, OUTQ_PACKET_IOV)), total - stop);
        for (size_t i = 0; i < 30; i++) {
            consume(f, 1);
            assert_int_equal(check_iov(f, iov, outq_peek(&f->q, iov, OUTQ_PACKET_IOV)), f->q.bytes);
        }
        consume(f, f->q.bytes);
        assert_int_equal(slab_pool_pinned(&f->slabs), 0);
    }
}

static void test_what_is_put_behind_a_partly_sent_span_follows_it(void **state)
{
    struct fixture *f = *state;

    for (size_t stop = 1; stop < 3020; stop += 7) {
        assert_true(put_shared(f, 20, 3000));
        consume(f, stop);
        assert_true(put_own(f, 10) && put_shared(f, 9, 2500) && put_own(f, 8));
        assert_int_equal(next_packet(f), 3020 - stop + 2527);
        consume(f, f->q.bytes);
    }
}

static void test_sent_span_is_released_at_once(void **state)
{
    struct fixture *f = *state;

    assert_true(put_shared(f, 10, 4000) && put_own(f, 10));
    consume(f, 4009);
    assert_int_equal(slab_pool_pinned(&f->slabs), 1);
    consume(f, 1);
    assert_int_equal(slab_pool_pinned(&f->slabs), 0);
    assert_int_equal(f->q.bytes, 10);
}

static void test_queue_that_ends_releases_its_spans(void **state)
{
    struct fixture *f = *state;

    put_mixture(f);
    consume(f, 7);
    assert_int_equal(slab_pool_pinned(&f->slabs), 1);
    outq_fini(&f->q); /* teardown looks */
}

static void test_descriptors_wait_for_the_rest_of_a_span_before_them(void **state)
{
    struct fixture *f = *state;
    struct parcel *p = parcel_new(NULL, 0, NULL);
    struct iovec iov[4];
    uint8_t *dst;

    assert_true(put_shared(f, 10, 4000));
    dst = outq_reserve_first(&f->q, 8);
    assert_non_null(dst);
    fill(f, dst, 8);
    outq_commit_parcel(&f->q, 8, p);
    parcel_unref(p);
    for (unsigned i = 0; i < 2; i++) { /* in the header, then in the span */
        consume(f, i == 0 ? 3 : 2000);
        assert_null(outq_parcel(&f->q));
        assert_int_equal(check_iov(f, iov, outq_peek(&f->q, iov, 4)), f->q.bytes - 8);
    }
    consume(f, f->q.bytes - 8);
    assert_ptr_equal(outq_parcel(&f->q), p);
}

/* ---- bounds ---- */

static void test_queue_pins_a_bounded_number_of_slabs(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;

    for (unsigned i = 0; i < 20; i++) {
        struct slab *other = slab_pool_current(&f->slabs, SLAB_BYTES / 2);

        n += put_shared(f, 10, 2048);
        slab_keep(other, slab_room(other), SLAB_BYTES / 2); /* somebody else's */
        (void) slab_pool_current(&f->slabs, SLAB_BYTES);
        slab_unref(other);
    }
    assert_int_equal(n, OUTQ_RUNS_MAX);
    assert_int_equal(slab_pool_pinned(&f->slabs), OUTQ_RUNS_MAX);
    assert_invariant(f);
    consume(f, 2058);
    assert_true(put_shared(f, 10, 2048)); /* and goes on when it has sent some */
}

static void test_without_memory_nothing_is_shared_and_nothing_is_lost(void **state)
{
    struct fixture *f = *state;

    (void) slab_pool_current(&f->slabs, 1);
    FOR_EACH_FAILING_MALLOC (n) {
        bool shared = put_shared(f, 20, 60000);

        assert_int_equal(shared, n > 2); /* the chunk, its spans */
        assert_int_equal(next_packet(f), shared ? 60020 : 0);
        assert_invariant(f);
    }
    for (unsigned k = 0; k < 3; k++) { /* behind data, again and again */
        failmalloc_arm(k == 0 ? 2 : 1);
        assert_false(put_shared(f, 20, 60000));
        assert_int_equal(failmalloc_disarm(), 1);
        assert_invariant(f);
    }
    assert_true(put_own(f, 100000) && put_shared(f, 20, 60000));
    while (f->q.bytes > 0) {
        consume(f, next_packet(f));
    }
}

static void test_random_use_delivers_the_bytes_in_order(void **state)
{
    struct fixture *f = *state;
    struct rng r = rng_from_env();

    for (unsigned turn = 0; turn < 5000; turn++) {
        struct iovec iov[7];
        size_t bytes;

        if (rng_below(&r, 5) == 0) {
            failmalloc_arm(1 + rng_below(&r, 3));
        }
        if (f->q.bytes < 400000 && rng_below(&r, 2)) {
            (void) put_shared(f, 8 + rng_below(&r, 100), 1 + rng_below(&r, 20000));
        } else if (f->q.bytes < 400000 && rng_below(&r, 2)) {
            (void) put_own(f, 1 + rng_below(&r, rng_below(&r, 9) ? 300 : 70000));
        } else if (rng_below(&r, 2)) {
            consume(f, next_packet(f));
        } else {
            bytes = check_iov(f, iov, outq_peek(&f->q, iov, 1 + (int) rng_below(&r, 7)));
            consume(f, bytes > 0 ? rng_below(&r, (uint32_t) bytes + 1) : 0);
        }
        (void) failmalloc_disarm();
        assert_invariant(f);
        assert_true(slab_pool_pinned(&f->slabs) <= OUTQ_RUNS_MAX + 1);
    }
}

static void no_close(int fd)
{
    (void) fd;
}

/* What is left of a span goes before the next chunk, and without its descriptors. */
static void test_descriptors_wait_for_the_span_before_them(void **state)
{
    struct fixture *f = *state;
    struct parcel *p = parcel_new(&(int){7}, 1, no_close);
    struct iovec iov[4];

    assert_non_null(p);
    assert_true(put_shared(f, 20, 5000));
    fill(f, outq_reserve_first(&f->q, 10), 10);
    outq_commit_parcel(&f->q, 10, p);
    for (unsigned sent = 0; sent < 5020; sent += 20) {
        assert_null(outq_parcel(&f->q));
        assert_true(outq_peek(&f->q, iov, 4) <= 2);
        outq_consume(&f->q, 20);
    }
    assert_ptr_equal(outq_parcel(&f->q), p);
    outq_consume(&f->q, 10);
    parcel_unref(p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(span_goes_between_the_bytes_around_it),
        CASE(chunk_with_spans_never_exceeds_64_kib),
        CASE(packets_of_medium_bodies_are_filled),
        CASE(more_spans_than_a_chunk_holds_go_into_the_next),
        CASE(larger_span_travels_alone),
        CASE(span_goes_into_a_full_size_chunk_that_is_there),
        CASE(large_beginning_is_copied_with_its_body),
        CASE(peek_of_a_stream_goes_over_chunks_up_to_its_bound),
        CASE(stream_may_stop_at_every_byte),
        CASE(what_is_put_behind_a_partly_sent_span_follows_it),
        CASE(sent_span_is_released_at_once),
        CASE(queue_that_ends_releases_its_spans),
        CASE(descriptors_wait_for_the_rest_of_a_span_before_them),
        CASE(queue_pins_a_bounded_number_of_slabs),
        CASE(without_memory_nothing_is_shared_and_nothing_is_lost),
        CASE(descriptors_wait_for_the_span_before_them),
        CASE(random_use_delivers_the_bytes_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
