/* SPDX-License-Identifier: MIT */
#pragma once
/* The few macros that the whole tree uses. */

#include <stddef.h>
#include <stdlib.h>
#include <sys/param.h> /* MIN, MAX: <uv.h> brings these in any case */
#include <unistd.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *) (void *) ((char *) (ptr) -offsetof(type, member)))

/* AUTO(free_fn): the variable is released by free_fn(variable) at the end of its scope; TAKE()
 * moves it out. */
#define AUTO(free_fn) __attribute__((cleanup(free_fn##p)))
#define TAKE(var)                                                                                  \
    __extension__({                                                                                \
        __typeof__(var) take_ = (var);                                                             \
        (var) = NULL;                                                                              \
        take_;                                                                                     \
    })
#define DEFINE_AUTO(type, free_fn)                                                                 \
    static inline void free_fn##p(type *p)                                                         \
    {                                                                                              \
        if (*p) {                                                                                  \
            free_fn(*p);                                                                           \
        }                                                                                          \
    }                                                                                              \
    struct auto_##free_fn##_ends_with_semicolon

static inline void auto_freep(void *p)
{
    free(*(void **) p);
}
#define AUTO_FREE __attribute__((cleanup(auto_freep)))

static inline void auto_closep(int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd);
    }
}
#define AUTO_CLOSE __attribute__((cleanup(auto_closep)))
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
