/* SPDX-License-Identifier: MIT */
/* Publishing for bus-pub. */

#include "pub_send.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include "common.h"

enum { PUB_UNMATCHED = 4 };

/* What waits for the return of the router; beyond that reading waits. */
#define BACKLOG_BYTES (1024u * 1024u)

/* After a signal the router gets so long to take what is on its way. */
/* A signal may come between looking for it and waiting: so often it is looked for again. */
#define SIGNAL_MS 200
#define LAST_FLUSH_MS 2000

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct sender *s = userdata;

    (void) conn;
    s->n_refused += event->sequence != 0;
    if (!s->refused) { /* the others will be the same: their number is said at the end */
        s->refused = true;
        tool_say_refused("publish to", event->topic ? event->topic : s->settings->topic,
                         event->status, event->text);
    }
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct sender *s = userdata;

    (void) conn;
    s->closed = true;
    tool_say_closed(reason, text);
}

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *c, void *userdata)
{
    struct sender *s = userdata;

    (void) conn;
    s->matched += c->matched;
    s->delivered += c->delivered;
    s->queued += c->queued;
    s->dropped += c->dropped;
    s->n_unmatched += c->status == BUS_STATUS_OK && c->matched == 0;
}

/* The number is asked for with bus_topic_subscriptions(). */
static void on_interest(struct bus_topic *topic, uint32_t subscriptions, void *userdata)
{
    (void) topic;
    (void) subscriptions;
    (void) userdata;
}

static int advertise(struct sender *s)
{
    struct bus_topic_opts opts = s->settings->topic_opts;
    int r;

    opts.on_interest = s->settings->wait_subscribers > 0 ? on_interest : NULL;
    r = bus_advertise_with(s->conn, s->settings->topic, &opts, &s->topic);
    if (r < 0) {
        tool_error("cannot advertise %s: %s", s->settings->topic, strerror(-r));
    }
    return r;
}

static int leave_wills(struct sender *s)
{
    struct bus_will_opts opts = BUS_WILL_OPTS_INIT;
    int r = 0;

    opts.delay_ms = s->settings->will_delay_ms;
    for (size_t i = 0; i < s->settings->n_wills && r == 0; i++) {
        const struct will *w = &s->settings->wills[i];

        r = bus_will(s->conn, w->topic, w->body, strlen(w->body), &opts);
        if (r < 0) {
            tool_error("cannot leave a will for %s: %s", w->topic, strerror(-r));
        }
    }
    return r;
}

int sender_wait_subscribers(struct sender *s)
{
    int64_t wanted = (int64_t) s->settings->wait_subscribers;
    int r = 0;

    while (wanted > 0 && r >= 0 && !s->refused && bus_topic_subscriptions(s->topic) < wanted) {
        struct pollfd fds[] = {{.fd = bus_fd(s->conn), .events = POLLIN},
                               {.fd = tool_signal_fd(), .events = POLLIN}};

        if (tool_interrupted()) {
            return -EINTR;
        }
        r = poll(fds, ARRAY_LEN(fds), -1) > 0 && fds[0].revents ? bus_process(s->conn) : 0;
    }
    return r < 0 ? r : s->refused ? -ECANCELED : 0;
}

int sender_open(struct sender *s, const struct sender_settings *settings)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    int r;

    *s = (struct sender){.settings = settings, .opts = BUS_PUBLISH_OPTS_INIT};
    opts.on_status = on_status;
    opts.on_closed = on_closed;
    opts.userdata = s;
    if (settings->reconnect) {
        opts.flags |= BUS_OPEN_RECONNECT;
        opts.on_state = tool_say_state;
        opts.backlog_bytes_max = BACKLOG_BYTES;
    }
    opts.resume_token = settings->resume_token;
    opts.resume_token_bytes = settings->resume_token ? strlen(settings->resume_token) : 0;
    s->opts.headers = settings->headers;
    s->opts.n_headers = settings->n_headers;
    s->opts.userdata = s;
    s->opts.key = settings->key;
    s->opts.fds = settings->fds;
    s->opts.n_fds = settings->n_fds;
    if (settings->confirm) {
        s->opts.flags = BUS_PUBLISH_CONFIRM;
        s->opts.on_confirm = on_confirm;
    }
    s->opts.ttl_ms = settings->ttl_ms;
    s->has_opts = settings->confirm || settings->n_headers > 0 || settings->n_fds > 0 ||
                  settings->ttl_ms > 0 || settings->key;
    r = tool_connect(settings->address, &opts, &s->conn);
    if (r < 0) {
        return r;
    }
    r = leave_wills(s);
    r = r < 0 ? r : advertise(s);
    if (r < 0) {
        bus_close(s->conn);
    }
    return r;
}

int sender_clear(struct sender *s)
{
    int r = bus_topic_clear(s->topic);

    if (r < 0) {
        tool_error("cannot clear %s: %s", s->settings->topic, strerror(-r));
    }
    return r;
}

void sender_hold(struct sender *s)
{
    if (!s->corked && s->settings->rate == 0) {
        bus_cork(s->conn);
        s->corked = true;
    }
}

void sender_release(struct sender *s)
{
    if (s->corked) {
        s->corked = false;
        (void) bus_uncork(s->conn); /* a connection that has ended shows at the next publish */
    }
}

/* Waits until it is this message's turn. */
static int keep_rate(struct sender *s)
{
    uint64_t due_ns;
    int r = 0;

    if (s->start_ns == 0) {
        s->start_ns = tool_now_ns();
    }
    due_ns = s->start_ns + (uint64_t) ((double) s->n_published * 1e9 / s->settings->rate);
    while (r >= 0 && !tool_interrupted()) {
        struct pollfd fds[] = {{.fd = bus_fd(s->conn), .events = POLLIN},
                               {.fd = tool_signal_fd(), .events = POLLIN}};
        uint64_t now_ns = tool_now_ns();
        struct timespec left;

        if (now_ns >= due_ns) {
            return 0;
        }
        left.tv_sec = (time_t) ((due_ns - now_ns) / 1000000000u);
        left.tv_nsec = (long) ((due_ns - now_ns) % 1000000000u);
        if (ppoll(fds, ARRAY_LEN(fds), &left, NULL) > 0 && fds[0].revents) {
            r = bus_process(s->conn);
        }
    }
    return r < 0 ? r : -EINTR;
}

/* No room: sends what is held back and waits for the router. */
static int wait_for_room(struct sender *s)
{
    bool was_corked = s->corked;
    int r;

    sender_release(s);
    do {
        r = bus_wait_writable(s->conn, SIGNAL_MS);
    } while ((r == -EINTR || r == -ETIMEDOUT) && !tool_interrupted());
    r = r == -ETIMEDOUT ? -EINTR : r;
    if (was_corked) {
        sender_hold(s);
    }
    return r;
}

static int publish_once(struct sender *s, const void *data, size_t bytes)
{
    int r;

    if (s->settings->rate > 0) {
        r = keep_rate(s);
        if (r < 0) {
            return r;
        }
    }
    do {
        r = bus_topic_publish(s->topic, data, bytes, s->has_opts ? &s->opts : NULL);
        if (r != -EAGAIN) {
            break;
        }
        r = wait_for_room(s);
    } while (r == 0);
    if (r == 0) {
        s->n_published++;
    }
    return r;
}

int sender_publish(struct sender *s, const void *data, size_t bytes)
{
    uint64_t left = s->settings->repeat;
    int r = 0;

    if (bytes > bus_body_max(s->conn)) {
        return -EMSGSIZE;
    }
    if (left != 1) {
        sender_hold(s);
    }
    do {
        r = publish_once(s, data, bytes);
    } while (r == 0 && --left > 0 && !tool_interrupted() && !s->refused);
    if (r == -EMSGSIZE || r == -EINVAL) { /* the body is short enough and the topic valid */
        tool_error(
            "the headers are not valid, or too long: names are 1 to %d bytes of UTF-8 without "
            "control characters, all together about 60 KiB",
            BUS_TOPIC_MAX);
        return -EINVAL;
    }
    if (r < 0 && r != -EINTR && !s->closed) {
        tool_error("cannot publish to %s: %s", s->settings->topic, strerror(-r));
    }
    return r == 0 && s->refused ? -ECANCELED : r;
}

const char *sender_size_hint(const struct sender *s)
{
    return bus_body_max(s->conn) <= 65536 ? "; a stream: address takes larger ones" : "";
}

static void print_outcome(const struct sender *s)
{
    if (s->settings->confirm) {
        tool_error("published %llu, refused %llu, matched %llu, delivered %llu, queued %llu, "
                   "dropped %llu",
                   (unsigned long long) s->n_published, (unsigned long long) s->n_refused,
                   (unsigned long long) s->matched, (unsigned long long) s->delivered,
                   (unsigned long long) s->queued, (unsigned long long) s->dropped);
    } else {
        tool_error("published %llu, refused %llu", (unsigned long long) s->n_published,
                   (unsigned long long) s->n_refused);
    }
}

static int flush(struct sender *s)
{
    uint64_t deadline_ns = 0;

    for (;;) {
        int r;

        if (tool_interrupted() && deadline_ns == 0) {
            deadline_ns = tool_now_ns() + LAST_FLUSH_MS * UINT64_C(1000000);
        }
        r = bus_flush(s->conn, deadline_ns ? LAST_FLUSH_MS : -1);
        if (r != -EINTR || (deadline_ns && tool_now_ns() >= deadline_ns)) {
            return r;
        }
    }
}

int sender_close(struct sender *s, int r)
{
    int flushed;

    sender_release(s);
    flushed = s->closed ? 0 : flush(s);
    if (flushed < 0 && !s->closed) {
        tool_error("the router has not answered for everything: %s", strerror(-flushed));
    }
    if (s->n_refused > 1) {
        tool_error("%llu messages were refused in all", (unsigned long long) s->n_refused);
    }
    if (s->settings->verbose) {
        print_outcome(s);
    }
    bus_close(s->conn);
    if ((r < 0 && r != -EINTR) || flushed < 0 || s->closed || s->refused) {
        return TOOL_FAILURE;
    }
    if (s->settings->must_match && s->n_unmatched > 0) {
        tool_error("%llu of %llu messages matched no subscription",
                   (unsigned long long) s->n_unmatched, (unsigned long long) s->n_published);
        return PUB_UNMATCHED;
    }
    return TOOL_OK;
}
