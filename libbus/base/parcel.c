/* SPDX-License-Identifier: MIT */
#include "base/parcel.h"
#include <stdlib.h>
#include <string.h>

struct parcel *parcel_new(const int *fds, unsigned n, void (*close)(int fd))
{
    struct parcel *p = malloc(sizeof(*p) + n * sizeof(int));

    if (!p) {
        return NULL;
    }
    *p = (struct parcel){.refs = 1, .n = (uint8_t) n, .close = close};
    if (n > 0) {
        memcpy(p->fds, fds, n * sizeof(int));
    }
    return p;
}

void parcel_empty(struct parcel *p)
{
    while (p->n > 0) {
        p->close(p->fds[--p->n]);
    }
    p->truncated = true;
}

void parcel_unref(struct parcel *p)
{
    if (!p || --p->refs > 0) {
        return;
    }
    for (unsigned i = 0; i < p->n; i++) {
        p->close(p->fds[i]);
    }
    free(p);
}
