/* SPDX-License-Identifier: MIT */
#include "report.h"
#include <stdarg.h>

static void report_write(const struct report *r, const char *kind, const char *text)
{
    if (r->out) {
        (void) fprintf(r->out, "bus-router: %s%s\n", kind, text);
    }
}

void report_error(struct report *r, const char *format, ...)
{
    struct failure f;
    va_list args;

    va_start(args, format);
    (void) vsnprintf(f.text, sizeof(f.text), format, args);
    va_end(args);
    if (r->n_errors == 0) {
        r->first = f;
    }
    if (r->n_errors < REPORT_ERRORS_MAX) {
        report_write(r, "", f.text);
    } else if (r->n_errors == REPORT_ERRORS_MAX) {
        report_write(r, "", "there are more errors");
    }
    r->n_errors++;
}

void report_warning(struct report *r, const char *format, ...)
{
    struct failure f;
    va_list args;

    va_start(args, format);
    (void) vsnprintf(f.text, sizeof(f.text), format, args);
    va_end(args);
    report_write(r, "warning: ", f.text);
    r->n_warnings++;
}
