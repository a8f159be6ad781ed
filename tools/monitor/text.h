/* SPDX-License-Identifier: MIT */
#pragma once
/* Records as text for people. */

#include <bus/monitor.h>
#include <stdbool.h>
#include <stdio.h>
#include "safe.h"

/** How to write, and what was written last. */
struct text_out {
    FILE *file;
    enum safe_charset charset;
    bool colour;
    bool no_body;
    int year, day; /* of the last record: the date is written only when it changes */
};

/** @after_ns: how long after its request it came, or CONVERSATION_UNKNOWN. */
void text_record(struct text_out *out, const struct bus_record *record, uint64_t after_ns);
void text_loss(struct text_out *out, const struct bus_loss *loss);
