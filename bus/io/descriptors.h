/* SPDX-License-Identifier: MIT */
#pragma once
/* What a descriptor that a client has sent is, and reading from it. Knows nothing of the router:
 * the results are plain values. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of a memfd by its seals: memfd_create(2), fcntl(2). */
struct memfd_facts {
    bool sealed;    /* cannot shrink, grow, be sealed otherwise, or be mapped writable any more; can
                       be read and mapped by whoever gets it */
    bool immutable; /* cannot be written at all */
    uint64_t bytes;
};

/* 0 or a negative errno; not a memfd is not an error, but not sealed. */
int descriptor_inspect(int fd, struct memfd_facts *ret);
/* Reads all of it, or false. */
bool descriptor_read(int fd, uint64_t offset, void *dst, size_t bytes);
