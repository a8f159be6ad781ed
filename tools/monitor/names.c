/* SPDX-License-Identifier: MIT */
/* Stable names for the numbers of the protocol, made from the lists in <bus/types.h>. */
#include "names.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>

struct entry {
    const char *name;
    int number;
};

#define X(name, number, text) {#name, number},
static const struct entry statuses[] = {BUS_STATUS_LIST(X)};
static const struct entry losses[] = {BUS_LOSS_LIST(X)};
static const struct entry verdicts[] = {BUS_VERDICT_LIST(X)};
#undef X

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *find(const struct entry *entries, size_t n, int number, char buffer[NAME_BYTES])
{
    for (size_t i = 0; i < n; i++) {
        if (entries[i].number == number) {
            size_t at = 0;

            for (; entries[i].name[at] && at + 1 < NAME_BYTES; at++) {
                buffer[at] = (char) tolower((unsigned char) entries[i].name[at]);
            }
            buffer[at] = '\0';
            return buffer;
        }
    }
    snprintf(buffer, NAME_BYTES, "unknown_%d", number);
    return buffer;
}

const char *name_of_status(enum bus_status status, char buffer[NAME_BYTES])
{
    return find(statuses, COUNT(statuses), (int) status, buffer);
}

const char *name_of_loss(enum bus_loss_reason reason, char buffer[NAME_BYTES])
{
    return find(losses, COUNT(losses), (int) reason, buffer);
}

const char *name_of_verdict(enum bus_verdict verdict, char buffer[NAME_BYTES])
{
    return find(verdicts, COUNT(verdicts), (int) verdict, buffer);
}
