/* SPDX-License-Identifier: MIT */
#pragma once
/* What the kinds of victim have in common. */

#include <bus/bus.h>
#include "hostile/stage.h"

/* What a body begins with. */
struct victim_body {
    uint64_t n;
    struct moment {
        uint64_t t_ns;
        uint64_t router_ns; /* by the router's clock */
    } sent;
};

/* At a fixed rate: since when, and how many since then. */
struct pace {
    uint64_t from_ns, n;
};

int victim_open(const struct stage *s, unsigned pair, struct bus_conn **ret_conn, void *userdata,
                bus_closed_fn closed, bus_status_fn status);
/* How many to send now, so that not more than ahead_max are under way. */
uint64_t victim_due(const struct board *b, unsigned pair, struct pace *p, uint64_t ahead_max);
/* What a pair talks about. */
void victim_topic(char name[64], unsigned pair);
struct moment moment_now(const struct stage *s);
/* That something took since then. */
void latency_note(const struct stage *s, struct pair_board *pair, const struct moment *since);
/* For people; not again and again. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- asking.c ---- */

#define VISITORS 8u /* at a time */

int feed_requests(const struct stage *s, unsigned pair);
int consume_requests(const struct stage *s, unsigned pair);
/* Connects, is greeted, and leaves. */
int feed_visits(const struct stage *s, unsigned pair);
