/* SPDX-License-Identifier: MIT */
#pragma once
/* What a peer is: a way to get messages from one publisher through a broker to N subscribers. What
 * is the same for all of them is in publisher.c and subscriber.c, so that no peer has it easier. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/pattern.h"
#include "server.h"

#define NS_PER_S UINT64_C(1000000000)
#define SUBSCRIBERS_MAX 64
/* Longest that anything may take that is not meant to take time. */
#define PATIENCE_MS 20000
/* Wish for the send buffers of sockets that a peer lets us reach; what libbus asks for. */
#define SOCKET_BUFFER_BYTES (1024 * 1024)

/* What the processes of a measurement leave behind, in memory that they share. */
struct board {
    int n_failures; /* atomic; the first one writes its reason */
    bool cannot;    /* the peer is not made for this, instead of failing at it */
    char reason[400];
    uint64_t first_ns; /* CLOCK_MONOTONIC before the first message */
    uint64_t sent;
    struct {
        uint64_t received;
        uint64_t last_ns;
    } subscribers[SUBSCRIBERS_MAX];
};

/* One measurement. */
struct job {
    const struct peer *peer;
    size_t bytes; /* of a body */
    unsigned n;   /* subscribers */
    double seconds;
    unsigned window; /* messages that a subscriber may be behind the publisher */
    unsigned step;   /* it acknowledges each so many */
    const struct server *server;
    int acks[2]; /* one pipe for all subscribers */
    struct board *board;
};

/* In the process of the publisher. */
struct publisher {
    const struct job *job;
    void *state;         /* of the peer */
    unsigned char *body; /* of job->bytes, for peers that copy it */
    uint64_t sent;
    uint64_t acked; /* by all subscribers */
    uint64_t acked_by[SUBSCRIBERS_MAX];
    bool is_seen_by[SUBSCRIBERS_MAX]; /* has got a probe */
    uint64_t deadline_ns;
    bool is_over;
};

/* In the process of a subscriber. */
struct subscriber {
    const struct job *job;
    unsigned index;
    uint64_t received;
    bool is_seen;
    bool is_done; /* has got the last message */
    bool failed;
};

/* All functions return 0, or -1 after job_fail(), if not said otherwise. */
struct peer {
    const char *name;
    const char *about;   /* how it is used here */
    const char *program; /* of its server; NULL: a process of ours */
    const char *version; /* argument that makes the program say its version */
    void (*client_library)(char *buf, size_t size); /* the library's name and version */

    /* In the parent, which must not use the peer's library: starts the server. Its end is the same
     * for all, server_stop(). */
    int (*start)(struct server *s, const struct job *job);

    /* The publisher. */
    int (*open)(struct publisher *p);
    /* Makes a message whose body is pattern_fill() of the word. May keep it back. */
    int (*send)(struct publisher *p, uint64_t word);
    /* Nothing is to be kept back any longer: the window is full. */
    int (*flush)(struct publisher *p);
    /* For libraries without threads, NULL otherwise: the descriptor to watch while waiting, and
     * what to do when it is ready. */
    int (*watch)(struct publisher *p, short *ret_events);
    int (*service)(struct publisher *p);
    void (*close)(struct publisher *p);

    /* A subscriber: connects, subscribes, hands everything to subscriber_message() until that has
     * returned something else than 0, and disconnects. */
    int (*subscribe)(struct subscriber *s);
};

/* The end of a measurement, with a reason; the first is kept. Returns -1. */
int job_fail(const struct job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for something that this peer is not made for. */
int job_cannot(const struct job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Fills the body in memory of the peer's library, or in p->body. */
static inline void publisher_fill(const struct publisher *p, void *body, uint64_t word)
{
    pattern_fill(body, p->job->bytes, word);
}

/* The whole life of the process. */
int publisher_run(const struct job *job);
int subscriber_run(const struct job *job, unsigned index);

/* Checks every byte, order and number, and acknowledges. 0: there will be more; 1: that was the
 * last; -1: not what was sent. */
int subscriber_message(struct subscriber *s, const void *body, size_t bytes);

/* Where one is not built in, peer is NULL and package says what to install. */
struct peer_entry {
    const char *name;
    const struct peer *peer;
    const char *package;
};

extern const struct peer_entry peer_entries[];
extern const unsigned n_peer_entries;

extern const struct peer peer_bus, peer_bus_stream, peer_redis, peer_mosquitto, peer_nats, peer_zmq,
    peer_nng;
