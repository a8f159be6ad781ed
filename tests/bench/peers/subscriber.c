/* SPDX-License-Identifier: MIT */
/* The subscriber's process: checks everything, for each peer in the same way. */

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "ack.h"
#include "common.h"
#include "peer.h"

static int fail(struct subscriber *s)
{
    s->failed = true;
    return -1;
}

static int acknowledge(struct subscriber *s)
{
    struct ack ack = {.index = s->index, .received = s->received};

    s->job->board->subscribers[s->index].received = s->received;
    if (write(s->job->acks[1], &ack, sizeof(ack)) != sizeof(ack)) {
        job_fail(s->job, "subscriber %u cannot acknowledge: %s", s->index, strerror(errno));
        return fail(s);
    }
    return 0;
}

static int say_wrong(struct subscriber *s, const unsigned char *body, size_t bytes)
{
    uint64_t word;

    if (bytes != s->job->bytes) {
        job_fail(s->job, "subscriber %u: a message of %zu bytes instead of %zu", s->index, bytes,
                 s->job->bytes);
        return fail(s);
    }
    word = pattern_first_word(body);
    if (pattern_publisher(word) != 0 || !pattern_matches(body, bytes)) {
        job_fail(s->job, "subscriber %u: message %llu has another body than was sent", s->index,
                 (unsigned long long) s->received);
    } else {
        job_fail(s->job, "subscriber %u: message %llu instead of %llu: lost, twice or out of order",
                 s->index, (unsigned long long) pattern_number(word),
                 (unsigned long long) s->received);
    }
    return fail(s);
}

static int note_probe(struct subscriber *s)
{
    if (s->is_seen) {
        return 0;
    }
    s->is_seen = true;
    return acknowledge(s);
}

int subscriber_message(struct subscriber *s, const void *body, size_t bytes)
{
    uint64_t word;

    if (bytes != s->job->bytes) {
        return say_wrong(s, body, bytes);
    }
    word = pattern_first_word(body);
    if (pattern_publisher(word) == PROBE_PUBLISHER) {
        return note_probe(s);
    }
    if (pattern_publisher(word) != 0 || pattern_number(word) != s->received ||
        !pattern_matches(body, bytes)) {
        return say_wrong(s, body, bytes);
    }
    s->received++;
    if (word & PATTERN_LAST) {
        s->job->board->subscribers[s->index].last_ns = tool_now_ns();
        s->is_done = true;
        return acknowledge(s) < 0 ? -1 : 1;
    }
    return s->received % s->job->step == 0 ? acknowledge(s) : 0;
}

int subscriber_run(const struct job *job, unsigned index)
{
    struct subscriber s = {.job = job, .index = index};

    return job->peer->subscribe(&s);
}
