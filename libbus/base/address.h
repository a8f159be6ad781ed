/* SPDX-License-Identifier: MIT */
#pragma once
/* Addresses as text: docs/protocol.md, section 1. No I/O but for the default directory under /tmp.
 */

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_PATH_MAX 4095

enum address_type { ADDRESS_ANY, ADDRESS_SEQPACKET, ADDRESS_STREAM };

struct address {
    enum address_type type; /* ADDRESS_ANY: a bare path */
    bool abstract;
    char path[ADDRESS_PATH_MAX + 1]; /* without the '@' if abstract */
};

/* 0, -EINVAL if the text is no address, -ENAMETOOLONG if it cannot fit a socket address. */
int address_parse(const char *text, struct address *ret);

/* Writes the address as text, with its type. */
void address_format(const struct address *a, char *buf, size_t bytes);

enum address_use { ADDRESS_TO_CONNECT, ADDRESS_TO_LISTEN };

/* The default address of the environment; 0, or -EPERM if the directory under /tmp is there but not
 * safe. If it is not there: to listen it is made, or an errno of mkdir(2), to connect it is
 * -ENOENT. With $BUS_ADDRESS the errors of address_parse(). */
int address_default(struct address *ret, enum address_use use);
