/* SPDX-License-Identifier: MIT */
#pragma once
/* Publishing for bus-pub: one topic, waiting when the router says so, rate, repetition,
 * confirmations. */

#include <bus/bus.h>
#include <stdbool.h>

#define WILLS_MAX 16

struct will {
    const char *topic;
    const char *body;
};

struct sender_settings {
    const char *address;
    const char *topic;
    const struct bus_header *headers;
    size_t n_headers;
    const char *key; /* or NULL */
    const int *fds;
    size_t n_fds;
    double rate;     /* messages a second; 0: as fast as possible */
    uint64_t repeat; /* 0: until interrupted */
    uint32_t ttl_ms; /* 0: none */
    struct bus_topic_opts topic_opts;
    bool confirm;
    const struct will *wills;
    size_t n_wills;
    uint32_t will_delay_ms;
    const char *resume_token;  /* or NULL */
    uint64_t wait_subscribers; /* 0: do not wait */
    bool must_match;
    bool reconnect;
    bool verbose;
};

struct sender {
    const struct sender_settings *settings;
    struct bus_conn *conn;
    struct bus_topic *topic;
    struct bus_publish_opts opts;
    bool has_opts;
    bool corked;
    uint64_t n_published;
    uint64_t start_ns; /* of the rate */
    /* what the router said */
    bool refused;       /* the topic or a message was refused */
    uint64_t n_refused; /* messages */
    uint64_t n_unmatched;
    uint64_t matched, delivered, queued, dropped;
    bool closed;
};

/* Connects; says what is wrong. 0 or a negative errno. */
int sender_open(struct sender *s, const struct sender_settings *settings);
/* Waits for as many subscriptions as the settings say: 0, -EINTR after a signal, or another
 * negative errno that has been reported. */
int sender_wait_subscribers(struct sender *s);
/* Publishes a message, as often as it is to be repeated. 0; -EINTR after a signal, -EMSGSIZE if it
 * is too long (the caller says so); any other negative errno has been reported. */
int sender_publish(struct sender *s, const void *data, size_t bytes);
/* Drops what is kept of the topic: 0, or a negative errno that has been reported. */
int sender_clear(struct sender *s);
/* Holds messages back to send them together, until sender_release(); with a rate it does nothing.
 */
void sender_hold(struct sender *s);
void sender_release(struct sender *s);
/* Waits until the router has handled everything, prints the outcome and closes. r is what
 * publishing ended with. Returns an exit code. */
int sender_close(struct sender *s, int r);
/* How to send larger messages, if there is a way. */
const char *sender_size_hint(const struct sender *s);
