/* SPDX-License-Identifier: MIT */
/* Any two texts: the grammar agrees with the plain reference. Input: the length of the filter, the
 * filter, the topic. */
#include "fuzz/fuzz.h"
#include "support/topic_reference.h"
#include "wire/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    size_t fn = take_u8(&in), tn;
    const uint8_t *filter = take_bytes(&in, &fn);
    char *f = exact_copy(filter, fn), *t;

    tn = in.left;
    t = exact_copy(in.data, tn);
    CHECK(filter_valid(f, fn) == ref_filter_valid(f, fn));
    CHECK(topic_valid(f, fn) == ref_topic_valid(f, fn));
    CHECK(topic_valid(t, tn) == ref_topic_valid(t, tn));
    CHECK(utf8_valid_printable(t, tn) == ref_utf8_printable(t, tn));
    CHECK(!utf8_valid_printable(t, tn) || utf8_valid(t, tn));
    if (filter_valid(f, fn) && topic_valid(t, tn)) {
        CHECK(filter_matches(f, fn, t, tn) == ref_matches(f, fn, t, tn));
        CHECK(filter_matches(t, tn, t, tn));
        (void) topic_is_reserved(t, tn);
    }
    free(f);
    free(t);
    return 0;
}
