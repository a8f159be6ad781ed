/* SPDX-License-Identifier: MIT */
/* nng: pub0 and sub0 around a process with nng_device() between a raw sub0 and a raw pub0, over
 * ipc. */

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common.h"
#include "peer.h"

/* Subscriptions are prefixes of messages. As long as a word, so that bodies stay aligned. */
#define TOPIC "bench/f:"
#define TOPIC_BYTES (sizeof(TOPIC) - 1)
#define IN_NAME "in.sock"
#define OUT_NAME "out.sock"
/* Messages; the most it takes. More than that in the window would be dropped. */
#define BUFFER_MAX 8192

static int fail(const struct job *job, const char *what, int r)
{
    return job_fail(job, "cannot %s: %s", what, nng_strerror(r));
}

static void make_url(const struct server *s, const char *name, char *buf, size_t size)
{
    (void) snprintf(buf, size, "ipc://%s/%s", s->dir, name);
}

/* Not each kind of socket has each of them. */
static int set_options(nng_socket socket)
{
    int r = nng_socket_set_int(socket, NNG_OPT_SENDBUF, BUFFER_MAX);

    if (r == 0 || r == NNG_ENOTSUP) {
        r = nng_socket_set_int(socket, NNG_OPT_RECVBUF, BUFFER_MAX);
    }
    if (r == 0 || r == NNG_ENOTSUP) {
        r = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 0); /* no limit */
    }
    return r;
}

/* ---- server ---- */

static int open_listener(const struct server *s, int (*open)(nng_socket *), const char *name,
                         nng_socket *ret)
{
    char url[128];
    int r = open(ret);

    make_url(s, name, url, sizeof(url));
    if (r == 0) {
        r = set_options(*ret);
    }
    if (r == 0) {
        r = nng_listen(*ret, url, NULL, 0);
    }
    return r == 0 ? 0 : fail(s->job, "listen", r);
}

static int serve(const struct server *s)
{
    nng_socket in, out;

    if (open_listener(s, nng_sub0_open_raw, IN_NAME, &in) < 0 ||
        open_listener(s, nng_pub0_open_raw, OUT_NAME, &out) < 0 || server_say_ready(s) < 0) {
        return -1;
    }
    return fail(s->job, "forward", nng_device(in, out));
}

static int start(struct server *s, const struct job *job)
{
    if (job->window > BUFFER_MAX) {
        return job_cannot(job, "its buffers hold %d messages at most, the window is %u", BUFFER_MAX,
                          job->window);
    }
    return server_fork(s, serve) < 0 ? -1 : server_wait_ready(s);
}

/* ---- clients ---- */

static int open_dialer(const struct job *job, int (*open)(nng_socket *), const char *name,
                       nng_socket *ret)
{
    char url[128];
    int r = open(ret);

    make_url(job->server, name, url, sizeof(url));
    if (r == 0) {
        r = set_options(*ret);
    }
    if (r == 0) {
        r = nng_dial(*ret, url, NULL, 0);
    }
    return r == 0 ? 0 : fail(job, "connect", r);
}

static int publisher_open(struct publisher *p)
{
    p->state = calloc(1, sizeof(nng_socket));
    return p->state ? open_dialer(p->job, nng_pub0_open, IN_NAME, p->state)
                    : job_fail(p->job, "out of memory");
}

/* The body is written where the library sends it from. */
static int publisher_send(struct publisher *p, uint64_t word)
{
    nng_socket *socket = p->state;
    nng_msg *message;
    char *data;
    int r = nng_msg_alloc(&message, TOPIC_BYTES + p->job->bytes);

    if (r) {
        return fail(p->job, "make a message", r);
    }
    data = nng_msg_body(message);
    memcpy(data, TOPIC, TOPIC_BYTES);
    publisher_fill(p, data + TOPIC_BYTES, word);
    r = nng_sendmsg(*socket, message, 0);
    if (r) {
        nng_msg_free(message);
        return fail(p->job, "send", r);
    }
    return 0;
}

static int publisher_flush(struct publisher *p)
{
    (void) p; /* threads of the library send */
    return 0;
}

static void publisher_close(struct publisher *p)
{
    nng_socket *socket = p->state;

    (void) nng_close(*socket);
    free(socket);
}

static int receive(struct subscriber *s, nng_socket socket)
{
    int r = 0;

    while (r == 0) {
        nng_msg *message;
        int error = nng_recvmsg(socket, &message, 0);

        if (error) {
            return fail(s->job, "receive", error);
        }
        r = nng_msg_len(message) < TOPIC_BYTES
                ? job_fail(s->job, "a message without topic")
                : subscriber_message(s, (const char *) nng_msg_body(message) + TOPIC_BYTES,
                                     nng_msg_len(message) - TOPIC_BYTES);
        nng_msg_free(message);
    }
    return r < 0 ? -1 : 0;
}

static int subscribe(struct subscriber *s)
{
    nng_socket socket;
    int r;

    if (open_dialer(s->job, nng_sub0_open, OUT_NAME, &socket) < 0) {
        return -1;
    }
    r = nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, TOPIC, TOPIC_BYTES);
    r = r ? fail(s->job, "subscribe", r) : receive(s, socket);
    (void) nng_close(socket);
    return r;
}

static void client_library(char *buf, size_t size)
{
    (void) snprintf(buf, size, "libnng %s", nng_version());
}

const struct peer peer_nng = {
    .name = "nng",
    .about = "nng_device() between raw sub0 and pub0, ipc; largest buffers",
    .client_library = client_library,
    .start = start,
    .open = publisher_open,
    .send = publisher_send,
    .flush = publisher_flush,
    .close = publisher_close,
    .subscribe = subscribe,
};
