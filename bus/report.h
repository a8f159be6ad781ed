/* SPDX-License-Identifier: MIT */
#pragma once
/* What is wrong with a configuration, line by line, for people. Nothing ends at the first error:
 * who corrects a file wants to know all of them. */

#include "io/failure.h"

/* Of errors so many are written; the rest is counted only. */
#define REPORT_ERRORS_MAX 20u

struct report {
    FILE *out; /* NULL: nowhere */
    unsigned n_errors;
    unsigned n_warnings;
    struct failure first; /* the first error */
};

__attribute__((format(printf, 2, 3))) void report_error(struct report *r, const char *format, ...);
__attribute__((format(printf, 2, 3))) void report_warning(struct report *r, const char *format,
                                                          ...);
