/* SPDX-License-Identifier: MIT */
#pragma once
/* Why the router could not start, in words for people: what happened, to what, and what to do. */

#include <stdarg.h>
#include <stdio.h>
#include "base/address.h"

struct failure {
    char text[ADDRESS_PATH_MAX + 512];
};

/* Returns code, so that a failure can be said and returned in one statement. */
__attribute__((format(printf, 3, 4))) static inline int failure_set(struct failure *f, int code,
                                                                    const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void) vsnprintf(f->text, sizeof(f->text), format, args);
    va_end(args);
    return code;
}
