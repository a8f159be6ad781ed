/* SPDX-License-Identifier: MIT */
/* Any bytes as the body of a request to the router itself, or of its answer: read without looking
 * beyond them; and what was read is written and read again as it was. The first byte says what it
 * is to be. */
#include "fuzz/fuzz.h"
#include "wire/inside.h"

#define BODY_MAX (1u << 20)

union any {
    union inside_any entry;
    struct inside_query query;
    struct inside_disconnect disconnect;
    struct inside_controlled controlled;
};

static const struct inside_layout *layout_of(uint8_t what)
{
    const struct inside_layout *others[] = {&inside_query_layout, &inside_disconnect_layout,
                                            &inside_controlled_layout};

    return what % 10 < 7 ? inside_layout_of(1 + what % 10) : others[what % 10 - 7];
}

static void check_message(const struct inside_layout *layout, const uint8_t *data, size_t len)
{
    union any a, b;
    uint8_t *again = malloc(len + 1), *last = malloc(len + 1);
    size_t n;

    CHECK(again && last);
    if (inside_decode(layout, data, len, &a)) {
        n = inside_encode(layout, &a, again, len);
        CHECK(inside_decode(layout, again, n, &b));
        CHECK(inside_encode(layout, &b, last, n) == n);
        CHECK(memcmp(again, last, n) == 0);
    }
    free(again);
    free(last);
}

static void check_page(const struct inside_layout *layout, const uint8_t *data, size_t len)
{
    struct inside_page_reader reader = {.in = {data, data + len}};
    uint8_t *dst = malloc(2 * len + 64);
    struct inside_page page = {dst, 2 * len + 64, 0};
    union inside_any any;
    enum inside_step step;
    unsigned n = 0;

    CHECK(dst);
    while ((step = inside_page_next(&reader, layout, &any)) == INSIDE_ENTRY) {
        CHECK(inside_page_add(&page, layout, &any));
        n++;
    }
    if (step == INSIDE_END) {
        inside_page_end(&page, reader.next, reader.time_ns);
        CHECK(page.len <= page.cap);
        reader.in = (struct pb_reader){dst, dst + page.len};
        while (inside_page_next(&reader, layout, &any) == INSIDE_ENTRY) {
            n--;
        }
        CHECK(n == 0);
    }
    free(dst);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (len == 0 || len > BODY_MAX) {
        return 0;
    }
    copy = exact_copy(data + 1, len - 1);
    check_message(layout_of(*data), copy, len - 1);
    if (*data % 10 < 7) {
        check_page(layout_of(*data), copy, len - 1);
    }
    (void) inside_list_of((struct text){(const char *) copy, len - 1});
    (void) inside_control_of((struct text){(const char *) copy, len - 1});
    free(copy);
    return 0;
}
