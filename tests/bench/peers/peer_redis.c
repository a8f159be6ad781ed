/* SPDX-License-Identifier: MIT */
/* Redis: SUBSCRIBE and pipelined PUBLISH over its Unix socket, with hiredis. */

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common.h"
#include "peer.h"

#define SOCKET_NAME "redis.sock"
#define TOPIC "bench/flow"
/* Commands are collected up to here before they are written. */
#define PIPELINE_BYTES ((size_t) 256 * 1024)
/* Replies are read when so many can be had. */
#define REPLIES 128

struct state {
    redisContext *redis;
    uint64_t replied;
    size_t kept_bytes;
};

/* ---- server ---- */

static int start(struct server *s, const struct job *job)
{
    char *argv[] = {"redis-server", "--port",     "0",
                    "--unixsocket", s->address,   "--dir",
                    s->dir,         "--save",     "",
                    "--appendonly", "no",         "--client-output-buffer-limit",
                    "pubsub 0 0 0", "--loglevel", "warning",
                    "--daemonize",  "no",         NULL};

    (void) job;
    (void) snprintf(s->address, sizeof(s->address), "%s/" SOCKET_NAME, s->dir);
    return server_exec(s, argv) < 0 ? -1 : server_wait_socket(s, SOCKET_NAME);
}

/* ---- connection ---- */

static redisContext *connect_redis(const struct job *job)
{
    redisContext *redis = redisConnectUnix(job->server->address);
    int bytes = SOCKET_BUFFER_BYTES;

    if (!redis || redis->err) {
        job_fail(job, "cannot connect: %s", redis ? redis->errstr : "out of memory");
        if (redis) {
            redisFree(redis);
        }
        return NULL;
    }
    (void) setsockopt(redis->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* a wish */
    redis->reader->maxbuf = 0; /* keep the buffer: else it is freed and made again and again */
    return redis;
}

static int fail(const struct job *job, const redisContext *redis, const char *what)
{
    return job_fail(job, "cannot %s: %s", what, redis->err ? redis->errstr : "unexpected reply");
}

/* ---- publisher ---- */

static int publisher_open(struct publisher *p)
{
    struct state *state = calloc(1, sizeof(*state));

    if (!state) {
        return job_fail(p->job, "out of memory");
    }
    p->state = state;
    state->redis = connect_redis(p->job);
    return state->redis ? 0 : -1;
}

static int write_all(struct publisher *p)
{
    struct state *state = p->state;
    int done = 0;

    while (!done) {
        if (redisBufferWrite(state->redis, &done) != REDIS_OK) {
            return fail(p->job, state->redis, "publish");
        }
    }
    state->kept_bytes = 0;
    return 0;
}

/* Of messages that were acknowledged, replies are there or about to come. */
static int read_replies(struct publisher *p)
{
    struct state *state = p->state;

    while (state->replied < p->acked) {
        void *reply;
        bool is_fine;

        if (redisGetReply(state->redis, &reply) != REDIS_OK) {
            return fail(p->job, state->redis, "publish");
        }
        is_fine = ((redisReply *) reply)->type == REDIS_REPLY_INTEGER;
        freeReplyObject(reply);
        if (!is_fine) {
            return fail(p->job, state->redis, "publish");
        }
        state->replied++;
    }
    return 0;
}

static int publisher_send(struct publisher *p, uint64_t word)
{
    struct state *state = p->state;
    const char *argv[] = {"PUBLISH", TOPIC, (const char *) p->body};
    const size_t sizes[] = {strlen("PUBLISH"), strlen(TOPIC), p->job->bytes};

    publisher_fill(p, p->body, word);
    if (redisAppendCommandArgv(state->redis, ARRAY_LEN(argv), argv, sizes) != REDIS_OK) {
        return fail(p->job, state->redis, "publish");
    }
    state->kept_bytes += p->job->bytes;
    return state->kept_bytes >= PIPELINE_BYTES ? write_all(p) : 0;
}

static int publisher_flush(struct publisher *p)
{
    struct state *state = p->state;

    if (write_all(p) < 0) {
        return -1;
    }
    return p->acked >= state->replied + REPLIES ? read_replies(p) : 0;
}

static void publisher_close(struct publisher *p)
{
    struct state *state = p->state;

    redisFree(state->redis);
    free(state);
}

/* ---- subscriber ---- */

/* 0, 1 or -1 as subscriber_message(). */
static int handle(struct subscriber *s, const redisReply *reply)
{
    const redisReply *body;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
        return job_fail(s->job, "cannot receive: unexpected reply");
    }
    body = reply->element[2]; /* an integer in the answer to SUBSCRIBE */
    return body->type == REDIS_REPLY_STRING ? subscriber_message(s, body->str, (size_t) body->len)
                                            : 0;
}

static int receive(struct subscriber *s, redisContext *redis)
{
    int r = 0;

    while (r == 0) {
        void *reply;

        if (redisGetReply(redis, &reply) != REDIS_OK) {
            return fail(s->job, redis, "receive");
        }
        r = handle(s, reply);
        freeReplyObject(reply);
    }
    return r < 0 ? -1 : 0;
}

static int subscribe(struct subscriber *s)
{
    redisContext *redis = connect_redis(s->job);
    int r;

    if (!redis) {
        return -1;
    }
    r = redisAppendCommand(redis, "SUBSCRIBE %s", TOPIC) == REDIS_OK
            ? receive(s, redis)
            : fail(s->job, redis, "subscribe");
    redisFree(redis);
    return r;
}

static void client_library(char *buf, size_t size)
{
    (void) snprintf(buf, size, "hiredis %d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
}

const struct peer peer_redis = {
    .name = "redis",
    .about = "redis-server, Unix socket; pipelined PUBLISH, nothing stored",
    .program = "redis-server",
    .version = "--version",
    .client_library = client_library,
    .start = start,
    .open = publisher_open,
    .send = publisher_send,
    .flush = publisher_flush,
    .close = publisher_close,
    .subscribe = subscribe,
};
