/* SPDX-License-Identifier: MIT */
#pragma once
/* The roles: party_fn, each for the bus and for the two floors. */

#include "bench.h"
#include "pattern.h"

/* As fast as possible, or at a rate: MODE_LATENCY. */
int bus_publisher(struct party *p);
int bus_paced_publisher(struct party *p);
int floor_publisher(struct party *p);
int floor_paced_publisher(struct party *p);
int memory_publisher(struct party *p);
int memory_paced_publisher(struct party *p);
/* Check everything. */
int bus_subscriber(struct party *p);
int floor_subscriber(struct party *p);
int memory_subscriber(struct party *p);
/* Round trips: the first sends and waits, the second answers with what it got. */
int bus_pinger(struct party *p);
int bus_ponger(struct party *p);
int floor_pinger(struct party *p);
int floor_ponger(struct party *p);
int memory_pinger(struct party *p);
int memory_ponger(struct party *p);

/* Has requests open and checks the answers; answers with what it was asked. */
int bus_requester(struct party *p);
int bus_server(struct party *p);

/* What a subscriber knows about what it has seen. */
struct checker {
    struct party *party;
    size_t bytes;
    unsigned n_publishers;
    unsigned n_ended;
    uint64_t next[PARTIES_MAX]; /* of each publisher */
    uint64_t messages;
    uint64_t start_ns; /* MODE_LATENCY: of the schedule */
    double interval_ns;
};

void checker_init(struct checker *c, struct party *p);
/* After party_ready(). */
void checker_start(struct checker *c, uint64_t start_ns);
/* Says what is wrong with a message, and that it is the checker's first. Returns -1. */
int checker_fail(const struct checker *c, const unsigned char *body, size_t bytes);
/* Takes the time of the first and of the last message; the latencies. */
void checker_note_first(struct checker *c);
void checker_note_last(struct checker *c);
void checker_note_latency(struct checker *c, uint64_t number);

/* 0 if there will be more, 1 if it was the last, -1 if it is not what it must be. */
static inline int checker_message(struct checker *c, const unsigned char *body, size_t bytes)
{
    uint64_t word;
    unsigned publisher;

    if (bytes != c->bytes) {
        return checker_fail(c, body, bytes);
    }
    word = pattern_first_word(body);
    publisher = pattern_publisher(word);
    if (publisher >= c->n_publishers || c->next[publisher] != pattern_number(word) ||
        !pattern_matches(body, bytes)) {
        return checker_fail(c, body, bytes);
    }
    c->next[publisher]++;
    if (c->messages++ == 0) {
        checker_note_first(c);
    }
    if (c->interval_ns > 0) {
        checker_note_latency(c, pattern_number(word));
    }
    if (word & PATTERN_LAST && ++c->n_ended == c->n_publishers) {
        checker_note_last(c);
        return 1;
    }
    return 0;
}

/* Whether a publisher that has sent so many has to make the next one its last. */
struct stint {
    uint64_t count;
    uint64_t deadline_ns;
    uint64_t sent;
    uint64_t looks_every; /* so many messages at the clock; a power of two */
    bool is_over;
};

void stint_init(struct stint *s, const struct spec *spec, uint64_t start_ns);
void stint_look_at_clock(struct stint *s);

/* Fills the next body. True if it is the last. The clock is not read each time if bodies are small:
 * between two of these a publisher may wait. */
static inline bool stint_next(struct stint *s, unsigned publisher, unsigned char *body,
                              size_t bytes)
{
    if (s->sent + 1 == s->count) {
        s->is_over = true;
    } else if (((s->sent + 1) & (s->looks_every - 1)) == 0 && s->count == 0) {
        stint_look_at_clock(s);
    }
    pattern_fill(body, bytes, pattern_word(publisher, s->sent, s->is_over));
    s->sent++;
    return s->is_over;
}
