/* SPDX-License-Identifier: MIT */
#pragma once
/* Many connections of one process that do little: plain descriptors, without the buffers of
 * raw_client. */

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/sock.h"
#include "support/children.h"

#define CROWD_MAX 5000

struct crowd {
    int n;
    struct pollfd fds[CROWD_MAX]; /* fd -1: closed */
};

/* This process needs a descriptor for each of them. */
static inline void crowd_allow(unsigned n)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < n + 100) {
        fail_msg("this test needs %u descriptors, the hard limit is %llu", n + 100,
                 (unsigned long long) limit.rlim_max);
    }
}

/* Connects one more; false if the listener's backlog is full. */
static inline bool crowd_connect(struct crowd *c, const struct address *a)
{
    int type, fd = sock_connect(a, &type);

    if (fd == -EAGAIN) {
        return false;
    }
    assert_true(fd >= 0);
    assert_true(c->n < CROWD_MAX);
    c->fds[c->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    return true;
}

/* The first words of a client, in one piece. */
static inline size_t crowd_greeting(uint8_t *dst, size_t cap, const char *filter)
{
    const struct wire_hello hello = {.protocol_min = 1,
                                     .protocol_max = 1,
                                     .client_name = text_from("crowd"),
                                     .resume_token = text_from("")};
    const struct wire_subscribe subscribe = {.subscription = 1, .filter = text_from(filter)};
    size_t len = raw_frame(dst, cap, VERB_HELLO, &hello);

    return len + raw_frame(dst + len, cap - len, VERB_SUBSCRIBE, &subscribe);
}

/* Appends what is there to dst. 0: end of file; -EAGAIN: nothing. */
static inline ssize_t crowd_read(const struct crowd *c, int i, uint8_t *dst, size_t cap)
{
    ssize_t n = recv(c->fds[i].fd, dst, cap, 0);

    return n < 0 ? -errno : n;
}

static inline void crowd_close(struct crowd *c, int i)
{
    if (c->fds[i].fd >= 0) {
        (void) close(c->fds[i].fd);
        c->fds[i].fd = -1;
    }
}

static inline void crowd_close_all(struct crowd *c)
{
    for (int i = 0; i < c->n; i++) {
        crowd_close(c, i);
    }
    c->n = 0;
}
