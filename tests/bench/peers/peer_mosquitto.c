/* SPDX-License-Identifier: MIT */
/* Mosquitto: MQTT 3.1.1 with QoS 0 over its Unix socket, with libmosquitto in our own loop. */

#include <errno.h>
#include <mosquitto.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common.h"
#include "peer.h"

#define CONFIG_NAME "mosquitto.conf"
#define SOCKET_NAME "mosquitto.sock"
#define TOPIC "bench/flow"
/* Nothing has to keep a connection alive that is as busy as these. */
#define KEEPALIVE_S 3600

/* One client of either kind. */
struct client {
    const struct job *job;
    struct mosquitto *mosquitto;
    struct subscriber *subscriber;
    bool is_connected;
    bool failed;
    uint64_t n_messages; /* seen by on_message() */
};

/* ---- server ---- */

static int start(struct server *s, const struct job *job)
{
    const struct passwd *user = getpwuid(geteuid());
    char config[1024], path[128];
    char *argv[] = {"mosquitto", "-c", path, NULL};

    (void) job;
    (void) snprintf(s->address, sizeof(s->address), "%s/" SOCKET_NAME, s->dir);
    (void) snprintf(path, sizeof(path), "%s/" CONFIG_NAME, s->dir);
    /* user: as root it would become another one, who cannot enter the directory */
    (void) snprintf(config, sizeof(config),
                    "user %s\n"
                    "listener 0 %s\n"
                    "allow_anonymous true\n"
                    "persistence false\n"
                    "log_dest stderr\n"
                    "log_type error\n"
                    "sys_interval 0\n"
                    "max_inflight_messages 0\n"
                    "max_queued_messages 0\n"
                    "max_queued_bytes 0\n"
                    "message_size_limit 0\n"
                    "set_tcp_nodelay true\n",
                    user ? user->pw_name : "root", s->address);
    return server_write(s, CONFIG_NAME, config) < 0 || server_exec(s, argv) < 0
               ? -1
               : server_wait_socket(s, SOCKET_NAME);
}

/* ---- connection ---- */

static int fail(struct client *c, const char *what, int r)
{
    c->failed = true;
    return job_fail(c->job, "cannot %s: %s", what,
                    r == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(r));
}

static void on_connect(struct mosquitto *mosquitto, void *userdata, int code)
{
    struct client *c = userdata;

    (void) mosquitto;
    if (code != 0) {
        c->failed = true;
        job_fail(c->job, "cannot connect: %s", mosquitto_connack_string(code));
    }
    c->is_connected = true;
}

/* Sends what waits, and reads as long as that brings something. */
static int process(struct client *c)
{
    uint64_t n;
    int r = MOSQ_ERR_SUCCESS;

    if (mosquitto_want_write(c->mosquitto)) {
        r = mosquitto_loop_write(c->mosquitto, 1);
    }
    do { /* the library reads one message in a call, and does not say whether it did */
        n = c->n_messages;
        r = r == MOSQ_ERR_SUCCESS ? mosquitto_loop_read(c->mosquitto, 1) : r;
    } while (r == MOSQ_ERR_SUCCESS && c->n_messages > n);
    return r == MOSQ_ERR_SUCCESS || c->failed ? 0 : fail(c, "process", r);
}

static short wanted_events(const struct client *c)
{
    return (short) (mosquitto_want_write(c->mosquitto) ? POLLIN | POLLOUT : POLLIN);
}

static int wait_and_process(struct client *c)
{
    struct pollfd p = {.fd = mosquitto_socket(c->mosquitto), .events = wanted_events(c)};

    if (p.fd < 0 || (poll(&p, 1, -1) < 0 && errno != EINTR)) {
        return fail(c, "wait", MOSQ_ERR_CONN_LOST);
    }
    return process(c) < 0 || c->failed ? -1 : 0;
}

static int client_open(struct client *c)
{
    int bytes = SOCKET_BUFFER_BYTES;
    int r;

    (void) mosquitto_lib_init();
    c->mosquitto = mosquitto_new(NULL, true, c);
    if (!c->mosquitto) {
        return fail(c, "make a client", MOSQ_ERR_NOMEM);
    }
    mosquitto_connect_callback_set(c->mosquitto, on_connect);
    r = mosquitto_connect(c->mosquitto, c->job->server->address, 0, KEEPALIVE_S);
    if (r != MOSQ_ERR_SUCCESS) {
        return fail(c, "connect", r);
    }
    (void) setsockopt(mosquitto_socket(c->mosquitto), SOL_SOCKET, SO_SNDBUF, &bytes,
                      sizeof(bytes)); /* a wish */
    while (!c->is_connected) {
        if (wait_and_process(c) < 0) {
            return -1;
        }
    }
    return c->failed ? -1 : 0;
}

static void client_close(struct client *c)
{
    (void) mosquitto_disconnect(c->mosquitto);
    mosquitto_destroy(c->mosquitto);
}

/* ---- publisher ---- */

static int publisher_open(struct publisher *p)
{
    struct client *c = calloc(1, sizeof(*c));

    if (!c) {
        return job_fail(p->job, "out of memory");
    }
    c->job = p->job;
    p->state = c;
    return client_open(c);
}

static int publisher_send(struct publisher *p, uint64_t word)
{
    struct client *c = p->state;
    int r;

    publisher_fill(p, p->body, word);
    r = mosquitto_publish(c->mosquitto, NULL, TOPIC, (int) p->job->bytes, p->body, 0, false);
    return r == MOSQ_ERR_SUCCESS ? 0 : fail(c, "publish", r);
}

static int publisher_flush(struct publisher *p)
{
    (void) p; /* what the socket did not take is sent while we wait: publisher_watch() */
    return 0;
}

static int publisher_watch(struct publisher *p, short *ret_events)
{
    struct client *c = p->state;

    *ret_events = wanted_events(c);
    return mosquitto_socket(c->mosquitto);
}

static int publisher_service(struct publisher *p)
{
    struct client *c = p->state;

    return process(c) < 0 || c->failed ? -1 : 0;
}

static void publisher_close(struct publisher *p)
{
    client_close(p->state);
    free(p->state);
}

/* ---- subscriber ---- */

static void on_message(struct mosquitto *mosquitto, void *userdata,
                       const struct mosquitto_message *message)
{
    struct client *c = userdata;
    struct subscriber *s = c->subscriber;

    (void) mosquitto;
    c->n_messages++;
    if (!s->is_done && !s->failed) {
        (void) subscriber_message(s, message->payload, (size_t) message->payloadlen);
    }
}

static int subscribe(struct subscriber *s)
{
    struct client c = {.job = s->job, .subscriber = s};
    int r;

    if (client_open(&c) < 0) {
        return -1;
    }
    mosquitto_message_callback_set(c.mosquitto, on_message);
    r = mosquitto_subscribe(c.mosquitto, NULL, TOPIC, 0);
    if (r != MOSQ_ERR_SUCCESS) {
        return fail(&c, "subscribe", r);
    }
    while (!s->is_done && !s->failed) {
        if (wait_and_process(&c) < 0) {
            return -1;
        }
    }
    client_close(&c);
    return s->is_done ? 0 : -1;
}

static void client_library(char *buf, size_t size)
{
    int major, minor, revision;

    (void) mosquitto_lib_version(&major, &minor, &revision);
    (void) snprintf(buf, size, "libmosquitto %d.%d.%d", major, minor, revision);
}

const struct peer peer_mosquitto = {
    .name = "mosquitto",
    .about = "mosquitto, Unix socket; MQTT with QoS 0, nothing stored",
    .program = "mosquitto",
    .version = "-h",
    .client_library = client_library,
    .start = start,
    .open = publisher_open,
    .send = publisher_send,
    .flush = publisher_flush,
    .watch = publisher_watch,
    .service = publisher_service,
    .close = publisher_close,
    .subscribe = subscribe,
};
