/* SPDX-License-Identifier: MIT */
/* What subscribers check, and when publishers stop. */

#include <string.h>
#include "common.h"
#include "parties.h"

void checker_init(struct checker *c, struct party *p)
{
    *c = (struct checker){.party = p, .bytes = p->spec->bytes, .n_publishers = 1};
    if (p->spec->mode == MODE_FANIN) {
        c->n_publishers = p->spec->n;
    }
}

void checker_start(struct checker *c, uint64_t start_ns)
{
    c->start_ns = start_ns;
    if (c->party->spec->mode == MODE_LATENCY) {
        c->interval_ns = 1e9 / c->party->spec->rate;
    }
}

int checker_fail(const struct checker *c, const unsigned char *body, size_t bytes)
{
    uint64_t word;
    unsigned publisher;

    if (bytes != c->bytes) {
        tool_error("subscriber %u: a message of %zu bytes instead of %zu", c->party->index, bytes,
                   c->bytes);
        return -1;
    }
    word = pattern_first_word(body);
    publisher = pattern_publisher(word);
    if (publisher >= c->n_publishers || !pattern_matches(body, bytes)) {
        tool_error("subscriber %u: message %llu has another body than was sent", c->party->index,
                   (unsigned long long) c->messages);
    } else {
        tool_error("subscriber %u: message %llu of publisher %u instead of its message %llu: lost, "
                   "twice or out of order",
                   c->party->index, (unsigned long long) pattern_number(word), publisher,
                   (unsigned long long) c->next[publisher]);
    }
    return -1;
}

void checker_note_first(struct checker *c)
{
    c->party->result->first_ns = tool_now_ns();
}

void checker_note_last(struct checker *c)
{
    c->party->result->last_ns = tool_now_ns();
    c->party->result->messages = c->messages;
}

/* From the time at which the message was to be sent, whether or not it could be: a stall counts for
 * all messages that it delays. */
void checker_note_latency(struct checker *c, uint64_t number)
{
    struct party_result *result = c->party->result;
    uint64_t due_ns = c->start_ns + (uint64_t) ((double) number * c->interval_ns);
    uint64_t now_ns = tool_now_ns();

    if (result->n_samples < SAMPLES_MAX) {
        c->party->samples[result->n_samples++] = now_ns > due_ns ? now_ns - due_ns : 0;
    }
}

void stint_init(struct stint *s, const struct spec *spec, uint64_t start_ns)
{
    *s = (struct stint){.count = spec->count,
                        .looks_every = spec->bytes < PACKET_BYTES_MAX ? 256 : 1,
                        .deadline_ns = start_ns + (uint64_t) (spec->seconds * 1e9)};
}

void stint_look_at_clock(struct stint *s)
{
    s->is_over = tool_now_ns() >= s->deadline_ns;
}
