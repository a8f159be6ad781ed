/* SPDX-License-Identifier: MIT */
#include "support/failmalloc.h"
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_reallocarray(void *p, size_t n, size_t bytes);
char *__wrap_strdup(const char *s);

static struct {
    bool armed;
    unsigned long first; /* the first that fails */
    unsigned long last;  /* the last that fails */
    unsigned long count;
    unsigned long failed;
} fail;

static void arm(unsigned long first, unsigned long last)
{
    fail.armed = true;
    fail.first = first;
    fail.last = last;
    fail.count = 0;
    fail.failed = 0;
}

void failmalloc_arm(unsigned long n)
{
    arm(n, n);
}

void failmalloc_arm_from(unsigned long n)
{
    arm(n, (unsigned long) -1);
}

unsigned long failmalloc_disarm(void)
{
    fail.armed = false;
    return fail.failed;
}

bool failmalloc_has_failed(void)
{
    return fail.failed > 0;
}

unsigned long failmalloc_count(void)
{
    return fail.count;
}

bool failmalloc_step(unsigned long *n)
{
    if (*n > 0 && failmalloc_disarm() == 0) {
        return false;
    }
    failmalloc_arm(++*n);
    return true;
}

static bool must_fail(void)
{
    if (!fail.armed) {
        return false;
    }
    fail.count++;
    if (fail.count < fail.first || fail.count > fail.last) {
        return false;
    }
    fail.failed++;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return must_fail() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return must_fail() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return must_fail() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_reallocarray(void *p, size_t n, size_t bytes)
{
    size_t total;

    if (__builtin_mul_overflow(n, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return must_fail() ? NULL : __real_realloc(p, total);
}

char *__wrap_strdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = must_fail() ? NULL : __real_malloc(bytes);

    return copy ? memcpy(copy, s, bytes) : NULL;
}
