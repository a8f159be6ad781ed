/* SPDX-License-Identifier: MIT */
#pragma once
/* What the tools that send something make of their command line: a body and its headers. */

#include <bus/bus.h>
#include <stddef.h>

/* Reads a whole file: the caller frees *ret, which may be NULL if it is empty. More than limit
 * bytes are not read: then *ret_bytes is limit + 1. 0 or a negative errno. */
int tool_read_all(int fd, size_t limit, char **ret, size_t *ret_bytes);
/* The argument of --header, NAME=VALUE, which is taken apart in place: 0 or an exit code. */
int tool_add_header(struct bus_header headers[BUS_HEADERS_MAX], size_t *n, char *text);
