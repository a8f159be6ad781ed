/* SPDX-License-Identifier: MIT */
/* Bodies and headers that come from the command line. */

#include "body.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"

int tool_read_all(int fd, size_t limit, char **ret, size_t *ret_bytes)
{
    size_t used = 0, cap = 0;
    char *data = NULL;

    while (used <= limit) {
        ssize_t n;

        if (used == cap) {
            char *grown = realloc(data, cap = cap ? cap * 2 : 65536);

            if (!grown) {
                free(data);
                return -ENOMEM;
            }
            data = grown;
        }
        n = read(fd, data + used, cap - used < limit + 1 - used ? cap - used : limit + 1 - used);
        if (n < 0 && (errno != EINTR || tool_interrupted())) {
            int error = errno;

            free(data);
            return -error;
        }
        if (n == 0) {
            break;
        }
        used += n > 0 ? (size_t) n : 0;
    }
    *ret = data;
    *ret_bytes = used;
    return 0;
}

int tool_add_header(struct bus_header headers[BUS_HEADERS_MAX], size_t *n, char *text)
{
    char *equals = strchr(text, '=');

    if (!equals || equals == text) {
        return tool_usage("--header %s: not NAME=VALUE", text);
    }
    if (*n == BUS_HEADERS_MAX) {
        return tool_usage("more than %d headers", BUS_HEADERS_MAX);
    }
    *equals = '\0';
    headers[(*n)++] = (struct bus_header){.name = text, .value = equals + 1};
    return 0;
}
