/* SPDX-License-Identifier: MIT */
/* ZeroMQ: PUB and SUB around a process with zmq_proxy() between XSUB and XPUB, over ipc. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>
#include "common.h"
#include "peer.h"

/* Subscriptions are prefixes of messages. As long as a word, so that bodies stay aligned. */
#define TOPIC "bench/f:"
#define TOPIC_BYTES (sizeof(TOPIC) - 1)
#define IN_NAME "in.sock"
#define OUT_NAME "out.sock"

struct state {
    void *context;
    void *socket;
};

/* ---- options ---- */

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* Nothing is dropped at a high-water mark; nothing is waited for at the end. */
static int set_options(void *socket)
{
    return set_int(socket, ZMQ_SNDHWM, 0) || set_int(socket, ZMQ_RCVHWM, 0) ||
           set_int(socket, ZMQ_SNDBUF, SOCKET_BUFFER_BYTES) ||
           set_int(socket, ZMQ_RCVBUF, SOCKET_BUFFER_BYTES) || set_int(socket, ZMQ_LINGER, 0);
}

static int fail(const struct job *job, const char *what)
{
    return job_fail(job, "cannot %s: %s", what, zmq_strerror(zmq_errno()));
}

static void make_endpoint(const struct server *s, const char *name, char *buf, size_t size)
{
    (void) snprintf(buf, size, "ipc://%s/%s", s->dir, name);
}

/* ---- server ---- */

static void *bind_socket(const struct server *s, void *context, int type, const char *name)
{
    void *socket = zmq_socket(context, type);
    char endpoint[128];

    make_endpoint(s, name, endpoint, sizeof(endpoint));
    if (!socket || set_options(socket) || zmq_bind(socket, endpoint)) {
        (void) fail(s->job, "bind");
        return NULL;
    }
    return socket;
}

static int serve(const struct server *s)
{
    void *context = zmq_ctx_new();
    void *in = bind_socket(s, context, ZMQ_XSUB, IN_NAME);
    void *out = in ? bind_socket(s, context, ZMQ_XPUB, OUT_NAME) : NULL;

    if (!out || server_say_ready(s) < 0) {
        return -1;
    }
    return zmq_proxy(in, out, NULL) ? fail(s->job, "forward") : 0;
}

static int start(struct server *s, const struct job *job)
{
    (void) job;
    return server_fork(s, serve) < 0 ? -1 : server_wait_ready(s);
}

/* ---- clients ---- */

static int open_client(struct state *state, const struct job *job, int type, const char *name)
{
    char endpoint[128];

    make_endpoint(job->server, name, endpoint, sizeof(endpoint));
    state->context = zmq_ctx_new();
    state->socket = state->context ? zmq_socket(state->context, type) : NULL;
    if (!state->socket || set_options(state->socket)) {
        return fail(job, "make a socket");
    }
    return zmq_connect(state->socket, endpoint) ? fail(job, "connect") : 0;
}

static void close_client(struct state *state)
{
    (void) zmq_close(state->socket);
    (void) zmq_ctx_term(state->context);
}

static int publisher_open(struct publisher *p)
{
    p->state = calloc(1, sizeof(struct state));
    if (!p->state) {
        return job_fail(p->job, "out of memory");
    }
    return open_client(p->state, p->job, ZMQ_PUB, IN_NAME);
}

/* The body is written where the library sends it from. */
static int publisher_send(struct publisher *p, uint64_t word)
{
    struct state *state = p->state;
    zmq_msg_t message;
    char *data;

    if (zmq_msg_init_size(&message, TOPIC_BYTES + p->job->bytes)) {
        return fail(p->job, "make a message");
    }
    data = zmq_msg_data(&message);
    memcpy(data, TOPIC, TOPIC_BYTES);
    publisher_fill(p, data + TOPIC_BYTES, word);
    if (zmq_msg_send(&message, state->socket, 0) < 0) {
        (void) zmq_msg_close(&message);
        return fail(p->job, "send");
    }
    return 0;
}

static int publisher_flush(struct publisher *p)
{
    (void) p; /* a thread of the library sends */
    return 0;
}

static void publisher_close(struct publisher *p)
{
    close_client(p->state);
    free(p->state);
}

static int receive(struct subscriber *s, struct state *state)
{
    zmq_msg_t message;
    int r = 0;

    (void) zmq_msg_init(&message);
    while (r == 0) {
        int bytes = zmq_msg_recv(&message, state->socket, 0);

        if (bytes < (int) TOPIC_BYTES) {
            return fail(s->job, "receive");
        }
        r = subscriber_message(s, (const char *) zmq_msg_data(&message) + TOPIC_BYTES,
                               (size_t) bytes - TOPIC_BYTES);
    }
    (void) zmq_msg_close(&message);
    return r < 0 ? -1 : 0;
}

static int subscribe(struct subscriber *s)
{
    struct state state;
    int r;

    if (open_client(&state, s->job, ZMQ_SUB, OUT_NAME) < 0) {
        return -1;
    }
    r = zmq_setsockopt(state.socket, ZMQ_SUBSCRIBE, TOPIC, TOPIC_BYTES) ? fail(s->job, "subscribe")
                                                                        : receive(s, &state);
    close_client(&state);
    return r;
}

static void client_library(char *buf, size_t size)
{
    int major, minor, patch;

    zmq_version(&major, &minor, &patch);
    (void) snprintf(buf, size, "libzmq %d.%d.%d", major, minor, patch);
}

const struct peer peer_zmq = {
    .name = "zmq",
    .about = "zmq_proxy() between XSUB and XPUB, ipc; no high-water marks",
    .client_library = client_library,
    .start = start,
    .open = publisher_open,
    .send = publisher_send,
    .flush = publisher_flush,
    .close = publisher_close,
    .subscribe = subscribe,
};
