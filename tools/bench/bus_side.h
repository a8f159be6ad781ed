/* SPDX-License-Identifier: MIT */
#pragma once
/* A client of the bus in a measurement: any refusal, loss or end of the connection is a failure. */

#include <bus/bus.h>
#include "bench.h"

struct client {
    struct party *party;
    struct bus_conn *conn;
    bool failed;
    bool done;
};

/* Connects. 0 or -1, and it has been said why not. */
int client_open(struct client *c, struct party *p);
/* With policy block; returns when it is in force. userdata of on_message is `c`. 0 or -1. */
int client_subscribe(struct client *c, const char *filter, bus_message_fn on_message);
/* 0 or -1. */
int client_advertise(struct client *c, const char *topic, struct bus_topic **ret);
/* Waits until it makes sense to try again after -EAGAIN: 0 or a negative errno. */
int client_wait_writable(struct client *c);
/* Publishes, waiting for room if there is none; what was held back by bus_cork() goes out then. 0
 * or -1. */
int client_publish(struct client *c, struct bus_topic *topic, const void *data, size_t bytes);
/* Each makes client_run() return. */
void client_fail(struct client *c);
void client_finish(struct client *c);
/* Processes until done or failed: 0 or -1. */
int client_run(struct client *c);
/* Ends it when everything was handled: 0 or -1. */
int client_close(struct client *c);
