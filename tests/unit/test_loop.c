/* SPDX-License-Identifier: MIT */
/* Where a loop's links read into. */
#include "io/loop.h"
#include "support/failmalloc.h"
#include "support/unit.h"
#include "wire/frame.h"

struct fixture {
    uv_loop_t uv;
    struct loop loop;
};

static void on_flush(struct loop *loop)
{
    (void) loop;
}

static int setup(void **state)
{
    static struct fixture f;

    assert_int_equal(uv_loop_init(&f.uv), 0);
    assert_int_equal(loop_open(&f.loop, &f.uv, 0, on_flush), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    loop_close(&f->loop);
    (void) uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->uv), 0);
    return 0;
}

static void test_each_room_holds_the_largest_packet(void **state)
{
    struct fixture *f = *state;
    struct slab *kept[20];

    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
        struct iovec room = loop_room(&f->loop);

        kept[i] = f->loop.slab;
        assert_in_range(room.iov_len, FRAME_PACKET_MAX, LOOP_BUFFER_BYTES);
        memset(room.iov_base, 1, room.iov_len); /* for the sanitizer to see */
        slab_keep(kept[i], room.iov_base, 30000);
    }
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
        slab_unref(kept[i]);
    }
}

static void test_without_memory_the_buffer_is_read_into(void **state)
{
    struct fixture *f = *state;
    struct iovec room;

    failmalloc_arm(1);
    room = loop_room(&f->loop);
    assert_int_equal(failmalloc_disarm(), 1);
    assert_null(f->loop.slab);
    assert_ptr_equal(room.iov_base, f->loop.buffer);
    assert_int_equal(room.iov_len, LOOP_BUFFER_BYTES);
    (void) loop_room(&f->loop);
    assert_non_null(f->loop.slab);
}

static void test_with_all_slabs_pinned_the_buffer_is_read_into(void **state)
{
    struct slab *kept[SLAB_POOL_MAX];
    struct fixture *f = *state;

    for (unsigned i = 0; i < SLAB_POOL_MAX; i++) {
        (void) loop_room(&f->loop);
        kept[i] = f->loop.slab;
        slab_keep(kept[i], slab_room(kept[i]), SLAB_BYTES);
    }
    assert_ptr_equal(loop_room(&f->loop).iov_base, f->loop.buffer);
    assert_null(f->loop.slab);
    slab_unref(kept[7]);
    (void) loop_room(&f->loop);
    assert_ptr_equal(f->loop.slab, kept[7]);
    for (unsigned i = 0; i < SLAB_POOL_MAX; i++) {
        if (i != 7) {
            slab_unref(kept[i]);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_room_holds_the_largest_packet),
        CASE(without_memory_the_buffer_is_read_into),
        CASE(with_all_slabs_pinned_the_buffer_is_read_into),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
