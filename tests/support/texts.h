/* SPDX-License-Identifier: MIT */
#pragma once
/* Texts that are not NUL-terminated, in assertions. */

#include "support/unit.h"
#include "wire/messages.h"

static inline void assert_texts_equal(struct text a, struct text b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, b.len);
}

static inline void assert_text(struct text t, const char *expected)
{
    assert_texts_equal(t, text_from(expected));
}
