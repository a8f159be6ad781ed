/* SPDX-License-Identifier: MIT */
/* The publisher's process: the same window, the same messages for each peer. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ack.h"
#include "common.h"
#include "peer.h"

#define PROBE_MS 20
#define PROBES_MAX (PATIENCE_MS / PROBE_MS)

/* ---- acknowledgements ---- */

static void note_ack(struct publisher *p, const struct ack *ack)
{
    p->acked_by[ack->index] = ack->received;
    p->is_seen_by[ack->index] = true;
}

/* Those of all subscribers that are there, in one read. */
static int read_acks(struct publisher *p)
{
    struct ack acks[256];
    ssize_t n = read(p->job->acks[0], acks, sizeof(acks));
    uint64_t least = UINT64_MAX;

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : job_fail(p->job, "cannot read acknowledgements: %s", strerror(errno));
    }
    for (size_t i = 0; i < (size_t) n / sizeof(acks[0]); i++) {
        note_ack(p, &acks[i]);
    }
    for (unsigned i = 0; i < p->job->n; i++) {
        least = p->acked_by[i] < least ? p->acked_by[i] : least;
    }
    p->acked = least;
    return 0;
}

/* Sends what the peer has kept back, waits for acknowledgements, and does what the peer wants to
 * do meanwhile. 1 if there are acknowledgements to read, 0 if not or after the timeout. */
static int wait_ack(struct publisher *p, int timeout_ms)
{
    const struct peer *peer = p->job->peer;
    struct pollfd fds[] = {{.fd = p->job->acks[0], .events = POLLIN}, {.fd = -1}};
    int r;

    if (peer->watch) {
        fds[1].fd = peer->watch(p, &fds[1].events);
    }
    r = poll(fds, ARRAY_LEN(fds), timeout_ms);
    if (r < 0 && errno != EINTR) {
        return job_fail(p->job, "cannot wait: %s", strerror(errno));
    }
    if (r > 0 && fds[1].revents && peer->service(p) < 0) {
        return -1;
    }
    return r > 0 && fds[0].revents;
}

/* ---- probes ---- */

static bool is_seen_by_all(const struct publisher *p)
{
    for (unsigned i = 0; i < p->job->n; i++) {
        if (!p->is_seen_by[i]) {
            return false;
        }
    }
    return true;
}

/* Not each peer can say when a subscription is in force. So messages that do not count are sent
 * until each subscriber has got one. */
static int probe(struct publisher *p)
{
    const struct peer *peer = p->job->peer;

    for (unsigned i = 0; i < PROBES_MAX; i++) {
        uint64_t until_ns = tool_now_ns() + PROBE_MS * UINT64_C(1000000);

        if (peer->send(p, pattern_word(PROBE_PUBLISHER, i, false)) < 0 || peer->flush(p) < 0) {
            return -1;
        }
        while (tool_now_ns() < until_ns) {
            int r = wait_ack(p, PROBE_MS);

            if (r < 0 || (r > 0 && read_acks(p) < 0)) {
                return -1;
            }
            if (is_seen_by_all(p)) {
                return 0;
            }
        }
    }
    return job_fail(p->job, "not all subscribers get messages within %d s", PATIENCE_MS / 1000);
}

/* ---- messages ---- */

/* How many messages may be sent now; waits if there are none. 0 or less: failed. */
static int wait_room(struct publisher *p)
{
    unsigned window = p->job->window;

    if (p->sent - p->acked == window && read_acks(p) < 0) {
        return -1;
    }
    if (p->sent - p->acked == window && p->job->peer->flush(p) < 0) {
        return -1;
    }
    while (p->sent - p->acked == window) {
        if (wait_ack(p, -1) < 0 || read_acks(p) < 0) {
            return -1;
        }
    }
    return (int) (window - (p->sent - p->acked));
}

static int send_some(struct publisher *p, int n)
{
    p->is_over = tool_now_ns() >= p->deadline_ns;
    for (int i = 0; i < n; i++) {
        uint64_t word = pattern_word(0, p->sent, p->is_over);

        if (p->job->peer->send(p, word) < 0) {
            return -1;
        }
        p->sent++;
        if (p->is_over) {
            break;
        }
    }
    p->job->board->sent = p->sent;
    return 0;
}

static int flow(struct publisher *p)
{
    p->job->board->first_ns = tool_now_ns();
    p->deadline_ns = p->job->board->first_ns + (uint64_t) (p->job->seconds * 1e9);
    while (!p->is_over) {
        int n = wait_room(p);

        if (n <= 0 || send_some(p, n) < 0) {
            return -1;
        }
    }
    if (p->job->peer->flush(p) < 0) {
        return -1;
    }
    while (p->acked < p->sent) { /* a library may lose what was not sent when it is closed */
        if (wait_ack(p, -1) < 0 || read_acks(p) < 0) {
            return -1;
        }
    }
    return 0;
}

int publisher_run(const struct job *job)
{
    struct publisher p = {.job = job, .body = aligned_alloc(64, (job->bytes + 63) / 64 * 64)};
    int r;

    if (!p.body) {
        return job_fail(job, "out of memory");
    }
    r = job->peer->open(&p);
    if (r == 0) {
        r = probe(&p) < 0 || flow(&p) < 0 ? -1 : 0;
        job->peer->close(&p);
    }
    free(p.body);
    return r;
}
