/* SPDX-License-Identifier: MIT */
#include "core/counters.h"
#include <stddef.h>
#include <string.h>
#include "base/macros.h"

static const struct {
    const char *name;
    size_t at;
} all[COUNTERS_COUNT] = {
#define X(name, unit, meaning) {#name, offsetof(struct counters, name)},
    COUNTERS(X)
#undef X
};

const char *counter_name(unsigned counter)
{
    return all[counter].name;
}

uint64_t counter_get(const struct counters *c, unsigned counter)
{
    uint64_t value;

    memcpy(&value, (const char *) c + all[counter].at, sizeof(value));
    return value;
}

void counter_set(struct counters *c, unsigned counter, uint64_t value)
{
    memcpy((char *) c + all[counter].at, &value, sizeof(value));
}

bool counter_is_momentary(unsigned counter)
{
    const char *name = all[counter].name;
    size_t len = strlen(name);

    return len >= 4 && strcmp(name + len - 4, "_now") == 0;
}
