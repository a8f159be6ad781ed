/* SPDX-License-Identifier: MIT */
#include "io/rest.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/macros.h"
#include "io/link.h"

void rest_free(struct link *l)
{
    if (l->rest_capacity > 0) {
        l->ops->on_release(l, l->rest_capacity);
    }
    free(l->rest);
    l->rest = NULL;
    l->rest_start = l->rest_end = l->rest_capacity = 0;
    l->need = 0;
    l->more = false;
}

int rest_reserve(struct link *l, size_t bytes)
{
    size_t len = l->rest_end - l->rest_start;
    uint8_t *p;

    if (l->rest_start > 0 && (l->rest_start >= len || bytes > l->rest_capacity - l->rest_start)) {
        memmove(l->rest, l->rest + l->rest_start, len);
        l->rest_start = 0;
        l->rest_end = len;
    }
    if (bytes <= l->rest_capacity - l->rest_start) {
        return 0;
    }
    if (!l->ops->on_hold(l, bytes - l->rest_capacity)) {
        return -ENOMEM;
    }
    p = realloc(l->rest, bytes);
    if (!p) {
        l->ops->on_release(l, bytes - l->rest_capacity);
        return -ENOMEM;
    }
    lane_spend(l->task.lane, lane_memory(bytes - l->rest_capacity));
    l->rest = p;
    l->rest_capacity = bytes;
    return 0;
}

int rest_append(struct link *l, const uint8_t *data, size_t len)
{
    size_t left = l->rest_end - l->rest_start;
    int r;

    if (len == 0) {
        return 0;
    }
    if (left + len > l->rest_capacity - l->rest_start) {
        r = rest_reserve(l, MAX(MAX(left + len, REST_BYTES_MIN), MIN(l->need, 2 * left)));
        if (r < 0) {
            return r;
        }
    }
    memcpy(l->rest + l->rest_end, data, len);
    l->rest_end += len;
    return 0;
}
