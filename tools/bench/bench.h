/* SPDX-License-Identifier: MIT */
#pragma once
/* What a measurement is: its parameters, its result, and the processes that take part. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_S UINT64_C(1000000000)
#define PARTIES_MAX 200
/* The largest body that a seqpacket socket takes. */
#define PACKET_BYTES_MAX ((size_t) 65536)
/* Most round trips or latencies kept of one run: they live in shared memory that is used only as
 * far as it is written. */
#define SAMPLES_MAX ((size_t) 8 * 1024 * 1024)

enum mode {
    MODE_THROUGHPUT,
    MODE_FANOUT,
    MODE_FANIN,
    MODE_RTT,
    MODE_REQUEST,  /* one at a time */
    MODE_REQUESTS, /* n at a time */
    MODE_LATENCY,
    MODE_CONNECT,
    MODE_SUBS
};
#define N_MODES (MODE_SUBS + 1)
enum side { SIDE_BUS, SIDE_FLOOR };
enum link { LINK_SEQPACKET, LINK_STREAM };

/* One measurement. */
struct spec {
    enum mode mode;
    enum side side;
    enum link link;
    size_t bytes;   /* of a message's body */
    bool in_place;  /* --loan: publishers fill bodies where subscribers read them */
    bool reliable;  /* SIDE_BUS: topics are */
    bool in_memory; /* SIDE_FLOOR: bodies go through memory, tokens through sockets */
    unsigned n;     /* subscribers, publishers, open requests, connections or subscriptions */
    uint64_t count; /* messages of each publisher; 0: as many as fit into the time */
    double seconds; /* how long publishers send */
    double rate;    /* MODE_LATENCY: messages a second */
    uint32_t window_messages; /* of the subscriptions; 0: the router's default */
    uint64_t window_bytes;
    uint64_t buffer_from; /* SIDE_BUS: of the publishers; 0: the library's */
    const char *address;  /* SIDE_BUS: the router's */
    int router_pid;       /* 0: not ours */
};

enum { P50, P90, P99, P999, N_PERCENTILES };

struct result {
    double rate; /* deliveries or round trips a second; connections or subscriptions a second */
    double percentile_us[N_PERCENTILES]; /* MODE_RTT, MODE_REQUEST, MODE_REQUESTS, MODE_LATENCY */
    /* MODE_CONNECT, MODE_SUBS: the router's private memory for each; -1: unknown */
    double bytes_each;
    uint64_t messages; /* checked */
};

/* What one process reports, in memory shared with the parent. */
struct party_result {
    uint64_t first_ns; /* CLOCK_MONOTONIC of its first and last message; 0 if it does not count */
    uint64_t last_ns;
    uint64_t messages;
    size_t n_samples;
};

struct pool;

/* SIDE_FLOOR: the sockets between relay and clients. */
struct net {
    size_t unit;             /* bytes that a stream must not tear apart: a body or a token */
    const struct pool *pool; /* of the bodies, or NULL: they go through the sockets */
    unsigned n;
    unsigned n_sources; /* the first so many clients are publishers, the rest subscribers; MODE_RTT:
                           there are two, who exchange messages */
    int client[PARTIES_MAX];
    int relay[PARTIES_MAX];
};

/* What a process of a measurement knows. */
struct party {
    const struct spec *spec;
    unsigned index;        /* among those of its role */
    const struct net *net; /* SIDE_FLOOR */
    int socket;            /* SIDE_FLOOR: its end of the connection to the relay, -1 in the relay */
    int control;           /* to the parent: party_ready() */
    struct party_result *result;
    uint64_t *samples; /* nanoseconds; one process of a measurement may use them */
};

/* Runs in a process of its own. 0, or 1 after saying on stderr what is wrong. */
typedef int (*party_fn)(struct party *p);

const char *mode_name(enum mode mode);
const char *side_name(enum side side);
const char *link_name(enum link link);
int link_socket_type(enum link link);

/* The measurements by mode. */
int flow_measure(const struct spec *spec, struct result *ret);
int pingpong_measure(const struct spec *spec, struct result *ret);
int request_measure(const struct spec *spec, struct result *ret);
int latency_measure(const struct spec *spec, struct result *ret);
int connect_measure(const struct spec *spec, struct result *ret);
int subs_measure(const struct spec *spec, struct result *ret);
