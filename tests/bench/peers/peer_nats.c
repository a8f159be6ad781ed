/* SPDX-License-Identifier: MIT */
/* NATS: nats-server on loopback, as it has no Unix sockets, with the C client. */

#include <nats/nats.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common.h"
#include "peer.h"

#define CONFIG_NAME "nats.conf"
#define TOPIC "bench.flow"
/* The library's, whose default is 32 KiB; much larger ones brought nothing. */
#define IO_BUFFER_BYTES (64 * 1024)

struct state {
    natsConnection *connection;
};

/* ---- server ---- */

/* The address out of the file in which the server tells its ports. */
static int find_address(struct server *s, const char *text)
{
    const char *begin = strstr(text, "nats://");
    size_t n = begin ? strcspn(begin, "\"") : 0;

    if (n == 0 || n >= sizeof(s->address)) {
        return job_fail(s->job, "its server does not tell its port");
    }
    memcpy(s->address, begin, n);
    s->address[n] = '\0';
    return 0;
}

static int start(struct server *s, const struct job *job)
{
    char config[1024], path[128], name[64], text[1024];
    char *argv[] = {"nats-server", "-c", path, NULL};

    (void) job;
    (void) snprintf(config, sizeof(config),
                    "host: \"127.0.0.1\"\n"
                    "port: -1\n"
                    "ports_file_dir: \"%s\"\n"
                    "max_payload: 64MB\n"
                    "max_pending: 1GB\n"
                    "write_deadline: \"60s\"\n",
                    s->dir);
    (void) snprintf(path, sizeof(path), "%s/" CONFIG_NAME, s->dir);
    if (server_write(s, CONFIG_NAME, config) < 0 || server_exec(s, argv) < 0) {
        return -1;
    }
    (void) snprintf(name, sizeof(name), "nats-server_%ld.ports", (long) s->pid);
    if (server_wait_text(s, name, "nats://", text, sizeof(text)) < 0) {
        return -1;
    }
    return find_address(s, text);
}

/* ---- clients ---- */

static int fail(const struct job *job, const char *what, natsStatus status)
{
    return job_fail(job, "cannot %s: %s", what, natsStatus_GetText(status));
}

static int connect_nats(const struct job *job, natsConnection **ret)
{
    natsOptions *options = NULL;
    natsStatus status = natsOptions_Create(&options);

    if (status == NATS_OK) {
        status = natsOptions_SetURL(options, job->server->address);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetAllowReconnect(options, false);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetIOBufSize(options, IO_BUFFER_BYTES);
    }
    if (status == NATS_OK) {
        status = natsConnection_Connect(ret, options);
    }
    natsOptions_Destroy(options);
    return status == NATS_OK ? 0 : fail(job, "connect", status);
}

static int publisher_open(struct publisher *p)
{
    struct state *state = calloc(1, sizeof(*state));
    int64_t most;

    if (!state) {
        return job_fail(p->job, "out of memory");
    }
    p->state = state;
    if (connect_nats(p->job, &state->connection) < 0) {
        return -1;
    }
    most = natsConnection_GetMaxPayload(state->connection);
    return most >= (int64_t) p->job->bytes
               ? 0
               : job_cannot(p->job, "the server takes %lld bytes at most", (long long) most);
}

static int publisher_send(struct publisher *p, uint64_t word)
{
    struct state *state = p->state;
    natsStatus status;

    publisher_fill(p, p->body, word);
    status = natsConnection_Publish(state->connection, TOPIC, p->body, (int) p->job->bytes);
    return status == NATS_OK ? 0 : fail(p->job, "publish", status);
}

/* A round trip with the server: the only way to have the library's buffer sent now. Its own thread
 * would do it a millisecond later. */
static int publisher_flush(struct publisher *p)
{
    struct state *state = p->state;
    natsStatus status;

    status = natsConnection_FlushTimeout(state->connection, PATIENCE_MS);
    return status == NATS_OK ? 0 : fail(p->job, "flush", status);
}

static void publisher_close(struct publisher *p)
{
    struct state *state = p->state;

    natsConnection_Destroy(state->connection);
    free(state);
}

/* Between the library's thread, which calls back, and ours, which waits. */
struct reader {
    struct subscriber *subscriber;
    sem_t end;
};

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *userdata)
{
    struct reader *reader = userdata;
    struct subscriber *s = reader->subscriber;

    (void) connection;
    (void) subscription;
    if (!s->is_done && !s->failed &&
        subscriber_message(s, natsMsg_GetData(message), (size_t) natsMsg_GetDataLength(message))) {
        (void) sem_post(&reader->end);
    }
    natsMsg_Destroy(message);
}

static int subscribe(struct subscriber *s)
{
    struct reader reader = {.subscriber = s};
    natsSubscription *subscription = NULL;
    natsConnection *connection;
    natsStatus status;

    if (sem_init(&reader.end, 0, 0) || connect_nats(s->job, &connection) < 0) {
        return -1;
    }
    status = natsConnection_Subscribe(&subscription, connection, TOPIC, on_message, &reader);
    if (status == NATS_OK) { /* nothing is dropped; the window bounds what waits */
        status = natsSubscription_SetPendingLimits(subscription, -1, -1);
    }
    if (status != NATS_OK) {
        return fail(s->job, "subscribe", status);
    }
    while (sem_wait(&reader.end)) {
    }
    natsSubscription_Destroy(subscription);
    natsConnection_Destroy(connection);
    return s->is_done ? 0 : -1;
}

static void client_library(char *buf, size_t size)
{
    (void) snprintf(buf, size, "libnats %s", nats_GetVersion());
}

const struct peer peer_nats = {
    .name = "nats",
    .about = "nats-server, TCP on loopback; client flushes when the window is full",
    .program = "nats-server",
    .version = "--version",
    .client_library = client_library,
    .start = start,
    .open = publisher_open,
    .send = publisher_send,
    .flush = publisher_flush,
    .close = publisher_close,
    .subscribe = subscribe,
};
