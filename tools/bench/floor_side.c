/* SPDX-License-Identifier: MIT */
/* Clients of the relay: the same bodies, the same checks, bare sockets. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common.h"
#include "harness.h"
#include "parties.h"
#include "relay.h"

#define WRITE_BYTES ((size_t) 64 * 1024)
#define READ_BYTES ((size_t) 256 * 1024)

static unsigned char *buffer_new(size_t bytes)
{
    unsigned char *buffer = malloc(bytes);

    if (!buffer) {
        tool_error("out of memory");
    }
    return buffer;
}

static int say_failed(const char *what)
{
    tool_error("cannot %s the relay: %s", what, strerror(errno));
    return 1;
}

int floor_publisher(struct party *p)
{
    size_t bytes = p->spec->bytes;
    size_t n_block = bytes < WRITE_BYTES ? WRITE_BYTES / bytes : 1;
    unsigned char *block = buffer_new(n_block * bytes);
    uint64_t start_ns;
    struct stint stint;
    bool is_last = false;

    if (!block || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&stint, p->spec, start_ns);
    while (!is_last) {
        size_t n = 0;

        while (n < n_block && !is_last) {
            is_last = stint_next(&stint, p->index, block + n * bytes, bytes);
            n++;
        }
        if (send_all(p->socket, block, n * bytes) < 0) {
            return say_failed("write to");
        }
    }
    free(block);
    return 0;
}

int floor_paced_publisher(struct party *p)
{
    unsigned char *body = buffer_new(p->spec->bytes);
    double interval_ns = 1e9 / p->spec->rate;
    uint64_t n = p->spec->count;
    uint64_t start_ns;

    if (!body || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        pattern_fill(body, p->spec->bytes, pattern_word(p->index, i, i + 1 == n));
        sleep_until(start_ns + (uint64_t) ((double) i * interval_ns));
        if (send_all(p->socket, body, p->spec->bytes) < 0) {
            return say_failed("write to");
        }
    }
    free(body);
    return 0;
}

/* All whole messages of the buffer; moves the rest to its front. As checker_message(). */
static int check_buffer(struct checker *c, unsigned char *buffer, size_t *used)
{
    size_t at = 0;
    int r = 0;

    while (r == 0 && *used - at >= c->bytes) {
        r = checker_message(c, buffer + at, c->bytes);
        at += c->bytes;
    }
    *used -= at;
    memmove(buffer, buffer + at, *used);
    return r;
}

int floor_subscriber(struct party *p)
{
    unsigned char *buffer = buffer_new(READ_BYTES + p->spec->bytes);
    struct checker c;
    uint64_t start_ns;
    size_t used = 0;
    int r = 0;

    checker_init(&c, p);
    if (!buffer || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    checker_start(&c, start_ns);
    while (r == 0) {
        ssize_t n = recv(p->socket, buffer + used, READ_BYTES, 0);

        if (n <= 0) {
            return say_failed("read from");
        }
        used += (size_t) n;
        r = check_buffer(&c, buffer, &used);
    }
    free(buffer);
    return r < 0;
}

/* ---- round trips ---- */

/* One message, whole. 0 or -1. */
static int receive(struct party *p, unsigned char *body)
{
    return recv(p->socket, body, p->spec->bytes, MSG_WAITALL) == (ssize_t) p->spec->bytes ? 0 : -1;
}

int floor_pinger(struct party *p)
{
    unsigned char *body = buffer_new(p->spec->bytes);
    uint64_t start_ns;
    struct stint stint;
    bool is_last = false;

    if (!body || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&stint, p->spec, start_ns);
    p->result->first_ns = tool_now_ns();
    while (!is_last) {
        uint64_t word, sent_ns;

        is_last = stint_next(&stint, 0, body, p->spec->bytes);
        word = pattern_first_word(body);
        sent_ns = tool_now_ns();
        if (send_all(p->socket, body, p->spec->bytes) < 0 || receive(p, body) < 0) {
            return say_failed("exchange messages with");
        }
        p->samples[p->result->n_samples++] = tool_now_ns() - sent_ns;
        if (pattern_first_word(body) != word || !pattern_matches(body, p->spec->bytes)) {
            tool_error("the answer is not what was sent");
            return 1;
        }
    }
    p->result->last_ns = tool_now_ns();
    p->result->messages = stint.sent;
    free(body);
    return 0;
}

int floor_ponger(struct party *p)
{
    unsigned char *body = buffer_new(p->spec->bytes);
    uint64_t start_ns;
    bool is_last = false;

    if (!body || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    while (!is_last) {
        if (receive(p, body) < 0 || send_all(p->socket, body, p->spec->bytes) < 0) {
            return say_failed("exchange messages with");
        }
        is_last = pattern_first_word(body) & PATTERN_LAST;
    }
    free(body);
    return 0;
}
