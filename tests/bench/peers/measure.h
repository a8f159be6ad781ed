/* SPDX-License-Identifier: MIT */
#pragma once
/* One measurement: a server, a publisher, subscribers, and what came of it. */

#include "peer.h"

enum outcome { OUTCOME_OK, OUTCOME_FAILED, OUTCOME_CANNOT };

struct result {
    enum outcome outcome;
    char reason[400];  /* if not ok */
    double per_second; /* deliveries: messages times subscribers */
    uint64_t deliveries;
};

/* What a measurement is of; the window in messages follows from both numbers and the size. */
struct spec {
    const struct peer *peer;
    size_t bytes;
    unsigned n;
    double seconds;
    unsigned window_messages;
    uint64_t window_bytes;
};

unsigned spec_window(const struct spec *spec);
/* 0, or -1 if interrupted: whatever else happens is part of the result. */
int measure(const struct spec *spec, struct result *ret);
