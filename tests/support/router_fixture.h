/* SPDX-License-Identifier: MIT */
#pragma once
/* Real bus-router processes for scenario tests, and clients that speak raw frames to them. Nothing
 * sleeps: everything waits for a descriptor, and fails the test after FIXTURE_TIMEOUT_MS. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "wire/messages.h"

#define FIXTURE_TIMEOUT_MS 60000 /* a machine may stand still; only tests that fail wait for it */
#define FIXTURE_ARGS_MAX 32
#define FIXTURE_LOG_BYTES 65536
#define FIXTURE_STDERR_CLOSED (-2)

/* ---- processes ---- */

struct router_options {
    const char *const *args; /* further arguments, NULL at the end; NULL: none */
    uint64_t nofile;         /* RLIMIT_NOFILE, soft and hard; 0: as it is */
    int stderr_fd;           /* 0: a file that router_log() reads; FIXTURE_STDERR_CLOSED */
    const char *const *env;  /* NAME=VALUE besides, NULL at the end; NULL: none */
    const int *listen_fds;   /* given as a service manager does; NULL: none */
    unsigned n_listen_fds;
    bool watchdog_pid; /* as a service manager sets it */
};

/* A bus-router with whatever arguments. Its log is in a file until it was waited for. */
struct router_process {
    pid_t pid;     /* 0: none */
    int ready_fd;  /* becomes readable when it listens, or has ended without */
    int stderr_fd; /* of the file; -1 if there is none */
};

void router_spawn(struct router_process *p, const struct router_options *o);
/* Whether it says READY, or ends without. */
bool router_is_ready(struct router_process *p);
/* Waits for its end; returns the exit code, or -SIGNAL. */
int router_wait(struct router_process *p);
/* What it has written to stderr so far. */
void router_log(const struct router_process *p, char buf[FIXTURE_LOG_BYTES]);
/* Fails the test if the log does not say that. */
void assert_says(const char *log, const char *needle);
/* Forgets it, with its log. */
void router_discard(struct router_process *p);
/* Runs it to its end, which must come by itself; returns the exit code and what it wrote to
 * stderr. */
int router_run(const char *const *args, char err[FIXTURE_LOG_BYTES]);

size_t router_rss_bytes(const struct router_process *p);
/* Time on a processor since its start. */
uint64_t router_cpu_ns(const struct router_process *p);
unsigned router_fd_count(const struct router_process *p);

/* ---- the fixture: one router on two sockets in a directory of its own ---- */

struct router_fixture {
    struct router_process process;
    char dir[64];
    char seqpacket[96]; /* addresses */
    char stream[96];
};

/* A case for each kind of link: scenario(whether it is seqpacket). */
#define ON_BOTH_LINKS(scenario)                                                                    \
    static void test_##scenario##_on_seqpacket(void **state)                                       \
    {                                                                                              \
        (void) state;                                                                              \
        scenario(true);                                                                            \
    }                                                                                              \
    static void test_##scenario##_on_stream(void **state)                                          \
    {                                                                                              \
        (void) state;                                                                              \
        scenario(false);                                                                           \
    }
#define BOTH_CASES(scenario)                                                                       \
    cmocka_unit_test(test_##scenario##_on_seqpacket), cmocka_unit_test(test_##scenario##_on_stream)

/* Starts it and waits until it listens. o may be NULL. */
void router_start(struct router_fixture *f, const struct router_options *o);
/* The same once more, after router_kill9(), on the same addresses. */
void router_restart(struct router_fixture *f, const struct router_options *o);
/* Another process takes its place, with the same addresses; the old one must exit with 0. */
void router_replace(struct router_fixture *f, const struct router_options *o);
/* SIGTERM: it must exit with 0 and leave no file. */
void router_stop(struct router_fixture *f);
void router_kill9(struct router_fixture *f);
/* The path of an address. */
const char *fixture_path(const char *address);
/* A new directory for a test without the fixture, and its removal with all that is in it. */
void fixture_dir_new(char dir[64]);
void fixture_dir_remove(const char *dir);

/* ---- raw clients ---- */

struct raw_client {
    int fd;
    size_t len;    /* received and not yet taken */
    uint8_t *data; /* RAW_BYTES */
};

#define RAW_BYTES (2u * 1024u * 1024u)

void raw_connect(struct raw_client *c, const char *address);
void raw_close(struct raw_client *c);
/* Sends bytes as they are: on seqpacket as one packet. */
void raw_send(struct raw_client *c, const void *data, size_t len);
/* Encodes a frame; returns its length. */
size_t raw_frame(uint8_t *dst, size_t cap, enum verb verb, const void *message);
void raw_send_frame(struct raw_client *c, enum verb verb, const void *message);
void raw_send_hello(struct raw_client *c, const char *name);
void raw_send_ping(struct raw_client *c, uint64_t token);
/* Receives more; false at end of file. */
bool raw_receive(struct raw_client *c);
/* Whether something is there to be received within so many ms. */
bool raw_is_readable(const struct raw_client *c, int timeout_ms);
/* The next frame, decoded: texts are valid until the next call. Returns its verb, or 0 at end of
 * file. */
int raw_next(struct raw_client *c, union wire_any *ret);
/* HELLO and its WELCOME. */
void raw_greet(struct raw_client *c, const char *address);
/* PING and its PONG. */
void raw_round_trip(struct raw_client *c, uint64_t token);
/* Sends PINGs, whose PONGs it does not read, until the router takes no more. Returns how many;
 * their tokens are 1, 2, … */
uint64_t raw_fill(struct raw_client *c);
/* GOODBYE with that reason, then end of file. */
void raw_expect_goodbye(struct raw_client *c, unsigned reason);
