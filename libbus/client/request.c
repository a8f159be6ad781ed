/* SPDX-License-Identifier: MIT */
/* Requests. bus_conn.requests holds each one from bus_request() until the router has said its end,
 * which may be later than bus_request_cancel(): until then its number names it. */

#include <bus/request.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/topic_handle.h"

#define TIMEOUT_DEFAULT_MS 30000u
/* Replies with MORE that are consumed before the router is told: half of what may be ahead. */
#define CREDIT_STEP 32u
#define REQUEST_FLAGS (BUS_REQUEST_ALL | BUS_REQUEST_DESCRIPTORS)

struct bus_request {
    struct bus_conn *conn; /* not owned; outlives it */
    bus_reply_fn on_reply; /* NULL: cancelled */
    void *userdata;
    struct topic_name *topic;
    struct bus_request *next; /* bus_conn.unanswered */
    uint32_t number;          /* index into bus_conn.requests; 0: its link was lost */
    uint32_t consumed;
    bool to_all;
};

/* ---- asking ---- */

static int opts_check(const struct bus_request_opts *opts)
{
    return opts->size != sizeof(*opts) || (opts->flags & ~REQUEST_FLAGS) != 0 ? -EINVAL : 0;
}

/* An alias if there is one left, and the name that goes with the answers. */
static int topic_find(struct bus_conn *c, const char *name, struct bus_topic **ret,
                      struct topic_name **ret_name)
{
    /* the router's own topics cannot be advertised: asked by name, it says why not */
    bool is_own = name[0] == '$';
    int r = !is_own ? bus__topic_automatic(c, name, ret) : bus_topic_valid(name) ? 0 : -EINVAL;

    if (r < 0 && r != -ENOSPC) {
        return r;
    }
    *ret_name = *ret ? bus__topic_shared_name(*ret) : bus__topic_name_new(name, strlen(name));
    return *ret_name ? 0 : -ENOMEM;
}

static void request_free(struct bus_request *r)
{
    bus__topic_name_unref(r->topic);
    free(r);
}

static uint32_t timeout_of(const struct bus_conn *c, const struct bus_request_opts *opts)
{
    return MIN(opts->timeout_ms ? opts->timeout_ms : TIMEOUT_DEFAULT_MS, c->request_timeout_max_ms);
}

static int send(struct bus_conn *c, const struct outgoing *o, const void *data, size_t bytes,
                const struct bus_request_opts *opts)
{
    struct bus_publish_opts frame = BUS_PUBLISH_OPTS_INIT;

    frame.headers = opts->headers;
    frame.n_headers = opts->n_headers;
    frame.fds = opts->fds;
    frame.n_fds = opts->n_fds;
    return bus__send_outgoing(c, o, data, bytes,
                              opts->n_headers > 0 || opts->n_fds > 0 ? &frame : NULL);
}

/* r has its topic and nothing else yet. */
static int ask(struct bus_conn *c, struct bus_request *r, struct outgoing *o, const void *data,
               size_t bytes, const struct bus_request_opts *opts)
{
    int e = bus__numbers_peek(&c->request_numbers, c->requests_max, &r->number);

    e = e < 0 ? e : bus__table_reserve(&c->requests, r->number);
    if (e < 0) {
        return e;
    }
    o->call = r->number;
    e = send(c, o, data, bytes, opts);
    if (e < 0) {
        return e;
    }
    bus__numbers_take(&c->request_numbers);
    c->requests.at[r->number] = r;
    c->n_requests++;
    return 0;
}

static int request_new(struct bus_conn *c, const char *topic, const void *data, size_t bytes,
                       const struct bus_request_opts *opts, struct bus_request **ret)
{
    AUTO_FREE struct bus_request *r = malloc(sizeof(*r));
    struct outgoing o = {
        .verb = VERB_REQUEST, .flags = opts->flags, .timeout_ms = timeout_of(c, opts)};
    struct topic_name *name = NULL;
    struct bus_topic *t = NULL;
    int e = r ? topic_find(c, topic, &t, &name) : -ENOMEM;

    if (e < 0) {
        return e;
    }
    *r = (struct bus_request){.conn = c, .topic = name, .to_all = opts->flags & BUS_REQUEST_ALL};
    o.topic = t;
    o.name = topic;
    e = ask(c, r, &o, data, bytes, opts);
    if (e < 0) {
        bus__topic_name_unref(name);
        return e;
    }
    *ret = TAKE(r);
    return 0;
}

int bus_request(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
                const struct bus_request_opts *opts, bus_reply_fn on_reply, void *userdata,
                struct bus_request **ret_request)
{
    static const struct bus_request_opts defaults = BUS_REQUEST_OPTS_INIT;
    struct bus_request *r;
    int e = bus__connected(conn);

    opts = opts ? opts : &defaults;
    if (e < 0) {
        return e;
    }
    if (!on_reply || !topic || opts_check(opts) < 0) {
        return -EINVAL;
    }
    if (conn->state == CONN_GREETING) {
        conn->want_writable = true;
        return bus_topic_valid(topic) ? -EAGAIN : -EINVAL;
    }
    e = request_new(conn, topic, data, bytes, opts, &r);
    if (e < 0) {
        return e;
    }
    r->on_reply = on_reply;
    r->userdata = userdata;
    if (ret_request) {
        *ret_request = r;
    }
    return 0;
}

void bus_request_cancel(struct bus_request *request)
{
    struct wire_cancel m = {0};

    if (!request) {
        return;
    }
    m.call = request->number;
    request->on_reply = NULL; /* it stays until the router has said its end */
    if (m.call && bus__usable(request->conn) == 0) {
        bus__send_or_fail(request->conn, VERB_CANCEL, &m);
    }
}

/* ---- what the router says ---- */

/* Its number is free: there will be nothing more. */
static void request_detach(struct bus_conn *c, struct bus_request *r)
{
    c->requests.at[r->number] = NULL;
    c->n_requests--;
    bus__numbers_give(&c->request_numbers, r->number);
}

/* The last that is said of it. */
static void request_end(struct bus_conn *c, struct bus_request *r, const struct bus_reply *reply)
{
    request_detach(c, r);
    if (r->on_reply) {
        r->on_reply(c, reply, r->userdata);
    }
    request_free(r);
}

static void give_credit(struct bus_conn *c, struct bus_request *r, uint32_t part)
{
    struct wire_credit m = {.call = r->number, .part = part, .messages = 1};

    if (!r->to_all) {
        if (++r->consumed < CREDIT_STEP) {
            return;
        }
        m.messages = r->consumed;
        r->consumed = 0;
    }
    bus__send_or_fail(c, VERB_CREDIT, &m);
}

/* One of several. The callback may cancel it, and may close the connection. */
static void request_go_on(struct bus_conn *c, struct bus_request *r, const struct bus_reply *reply,
                          bool is_more)
{
    uint32_t generation = c->generation;
    uint32_t number = r->number;

    if (r->on_reply) {
        r->on_reply(c, reply, r->userdata);
    }
    if (is_more && c->generation == generation && bus__table_get(&c->requests, number) == r) {
        give_credit(c, r, reply->part);
    }
}

void bus__on_answer(struct bus_conn *c, struct arena *a, const struct wire_answer *m,
                    const struct frame *f, struct rxbuf *buf, struct parcel *parcel)
{
    struct bus_request *r = bus__table_get(&c->requests, m->call);
    struct bus_reply reply = {.text = "", .error = m->error, .part = m->part};
    struct carried carried = {.topic = r ? r->topic : NULL,
                              .sender = m->sender,
                              .descriptors = m->descriptors,
                              .time_ns = m->time,
                              .place = {m->buffer, m->lease, m->offset, m->bytes},
                              .headers = m->headers,
                              .n_headers = m->n_headers};
    bool is_more = m->flags & REPLY_MORE;
    struct bus_message message;

    if (!r || !bus__message_make(c, a, &carried, f, buf, parcel, &message)) {
        bus__fail_protocol(c, "ANSWER to nothing that was asked");
        return;
    }
    bus__message_hold(&message);
    reply.message = &message;
    reply.more = is_more || r->to_all;
    if (bus__message_secure(c, false, &message) != BUS_LOSS_NONE) {
        reply.message = NULL;
        reply.status = BUS_STATUS_LIMIT;
        reply.text = "this process has too many descriptors open to take the answer";
    }
    if (reply.more) {
        request_go_on(c, r, &reply, is_more);
    } else {
        request_end(c, r, &reply);
    }
    bus__lease_unref(message.lease);
    bus__message_drop(&message);
}

/* Why it has no answer; if the alias of its topic is unknown, why that is so. */
static enum bus_status explain(struct bus_conn *c, const struct bus_request *r,
                               const struct wire_done *m, char text[GOODBYE_TEXT_MAX + 1])
{
    const char *name = r->topic->name;
    const struct bus_topic *t = bus__topic_find(c, name, strlen(name));
    struct text said = m->text;
    uint32_t code = m->status;

    if (t) {
        bus__topic_why(t, &code, &said);
    }
    (void) snprintf(text, GOODBYE_TEXT_MAX + 1, "%.*s", (int) MIN(said.len, GOODBYE_TEXT_MAX),
                    said.data);
    return (enum bus_status) code;
}

void bus__on_done(struct bus_conn *c, const struct wire_done *m)
{
    struct bus_request *r = bus__table_get(&c->requests, m->call);
    char text[GOODBYE_TEXT_MAX + 1];
    struct bus_reply reply = {
        .text = text, .replied = m->replied, .gone = m->gone, .timed_out = m->timed_out};

    if (!r || (m->status == BUS_STATUS_OK && !r->to_all)) {
        bus__fail_protocol(c, "DONE with nothing that was asked, or without its answer");
        return;
    }
    reply.status = explain(c, r, m, text);
    request_end(c, r, &reply);
}

void bus__requests_lost(struct bus_conn *c)
{
    for (uint32_t i = c->requests.n; i > 0; i--) {
        struct bus_request *r = c->requests.at[i - 1];

        if (r) {
            request_detach(c, r);
            r->number = 0;
            LL_PREPEND(c->unanswered, r);
        }
    }
}

void bus__requests_end(struct bus_conn *c)
{
    struct bus_reply reply = {.status = BUS_STATUS_DISCONNECTED, .text = c->goodbye_text};

    while (c->unanswered) { /* a callback may close the connection */
        struct bus_request *r = c->unanswered;

        LL_DELETE(c->unanswered, r);
        if (r->on_reply) {
            r->on_reply(c, &reply, r->userdata);
        }
        request_free(r);
    }
}

void bus__requests_fini(struct bus_conn *c)
{
    bus__requests_lost(c);
    while (c->unanswered) {
        struct bus_request *r = c->unanswered;

        LL_DELETE(c->unanswered, r);
        request_free(r);
    }
    bus__table_fini(&c->requests);
    bus__numbers_fini(&c->request_numbers);
}

/* ---- waiting ---- */

struct waiter {
    struct bus_answer answer;
    bool done;
};

static void on_waited(struct bus_conn *c, const struct bus_reply *reply, void *userdata)
{
    struct waiter *w = userdata;

    (void) c;
    if (reply->message) {
        bus_message_unref(w->answer.message); /* of several the last one counts */
        w->answer.message = bus_message_ref(reply->message);
    } else {
        bus_message_unref(TAKE(w->answer.message));
    }
    w->answer.status = reply->message && !w->answer.message ? BUS_STATUS_NO_MEMORY : reply->status;
    w->answer.error = reply->error;
    w->done = !reply->more;
}

static bool has_room(const struct bus_conn *c, uint64_t unused)
{
    (void) unused;
    return bus__has_room(c) && c->state != CONN_GREETING;
}

static bool is_done(const struct bus_conn *c, uint64_t waiter)
{
    (void) c;
    return ((const struct waiter *) (uintptr_t) waiter)->done;
}

static int wait_for(struct bus_conn *c, struct waiter *w, struct bus_request *request)
{
    int r = bus__run_until(c, is_done, (uintptr_t) w, UINT64_MAX);

    if (w->done) {
        return 0;
    }
    if (c->state != CONN_CLOSED) {
        bus_request_cancel(request);
    }
    return r;
}

static int ask_and_wait(struct bus_conn *c, const char *topic, const void *data, size_t bytes,
                        const struct bus_request_opts *opts, struct waiter *w)
{
    struct bus_request *request;
    int r;

    for (;;) {
        bus__signals_hold(c);
        r = bus_request(c, topic, data, bytes, opts, on_waited, w, &request);
        if (r != -EAGAIN) {
            break;
        }
        r = bus__run_until(c, has_room, 0, UINT64_MAX);
        if (r < 0) {
            break;
        }
    }
    return r < 0 ? r : wait_for(c, w, request);
}

int bus_request_wait(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
                     const struct bus_request_opts *opts, struct bus_answer *ret_answer)
{
    struct waiter w = {{0}, false};
    int r;

    if (opts && (opts->flags & BUS_REQUEST_ALL)) {
        return -EINVAL;
    }
    r = bus__forked(conn) ? -ECHILD : conn->state >= CONN_ENDED ? -ENOTCONN : 0;
    if (r < 0) {
        return r;
    }
    conn->pins++;
    r = bus__unpin(conn, ask_and_wait(conn, topic, data, bytes, opts, &w));
    if (r < 0) {
        bus_message_unref(w.answer.message);
        return r;
    }
    *ret_answer = w.answer;
    return 0;
}
