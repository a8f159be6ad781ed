/* SPDX-License-Identifier: MIT */
/* Servers and their calls. A call belongs to the application until it has answered it. */

#include <bus/request.h>
#include <errno.h>
#include <string.h>
#include <utlist.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "wire/codec.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define REPLIES_AHEAD_MAX 64u
#define SERVE_FLAGS (BUS_SUB_DESCRIPTORS | BUS_SUB_IMMUTABLE | BUS_SUB_NARROW)

struct bus_call {
    struct bus_conn *conn; /* not owned; outlives it */
    uint64_t id;           /* the router's number */
    uint32_t subscription;
    uint32_t timeout_ms;
    uint32_t n_ahead; /* replies with MORE that the requester has not consumed */
    bool cancelled;
    bool starved;                 /* -EAGAIN because of n_ahead was the last word */
    bool is_orphan;               /* its link was lost, or its server denied; in bus_conn.orphans */
    bool to_tell;                 /* that this is so */
    struct bus_message message;   /* with references of its own; its headers are behind the call */
    UT_hash_handle hh;            /* bus_conn.calls */
    struct bus_call *prev, *next; /* bus_conn.orphans */
};

/* ---- serving ---- */

int bus_serve(struct bus_conn *conn, const char *filter, const struct bus_serve_opts *opts,
              bus_call_fn on_call, void *userdata, struct bus_sub **ret_sub)
{
    static const struct bus_serve_opts defaults = BUS_SERVE_OPTS_INIT;
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    AUTO_FREE struct bus_sub *sub = NULL;
    int r = bus__usable(conn);

    opts = opts ? opts : &defaults;
    if (r < 0) {
        return r;
    }
    if (!on_call || opts->size != sizeof(*opts) || (opts->flags & ~SERVE_FLAGS) != 0) {
        return -EINVAL;
    }
    sub_opts.flags = opts->flags;
    sub_opts.window_messages = opts->calls_max;
    sub_opts.window_bytes = opts->calls_bytes_max;
    sub_opts.on_ready = opts->on_ready;
    r = bus__sub_new(conn, filter, &sub_opts, &sub);
    if (r < 0) {
        return r;
    }
    sub->on_call = on_call;
    sub->on_cancel = opts->on_cancel;
    sub->userdata = userdata;
    r = bus__sub_ask(conn, sub, &sub_opts, SUBSCRIBE_SERVE);
    if (r < 0) {
        return r;
    }
    if (ret_sub) {
        *ret_sub = sub;
    }
    (void) TAKE(sub);
    return 0;
}

/* ---- calls ---- */

/* What made a reply wait has ended. */
static void call_feed(struct bus_call *call)
{
    if (call->starved) {
        call->starved = false;
        call->conn->starved = false;
        call->conn->want_writable = true;
    }
}

static void call_free(struct bus_call *call)
{
    call_feed(call);
    if (call->is_orphan) {
        DL_DELETE(call->conn->orphans, call);
    } else {
        HASH_DEL(call->conn->calls, call);
    }
    bus__lease_unref(call->message.lease);
    bus__message_drop(&call->message);
    free(call);
}

static struct bus_call *call_by_id(struct bus_conn *c, uint64_t id)
{
    struct bus_call *call;

    HASH_FIND(hh, c->calls, &id, sizeof(id), call);
    return call;
}

/* Takes the lease of m, and references to the rest. */
static struct bus_call *call_new(struct bus_conn *c, const struct wire_call *w,
                                 const struct bus_message *m)
{
    struct bus_call *call = malloc(sizeof(*call) + bus__headers_bytes(m));

    if (!call) {
        return NULL;
    }
    *call = (struct bus_call){.conn = c,
                              .id = w->call,
                              .subscription = w->subscription,
                              .timeout_ms = w->timeout_ms,
                              .message = *m};
    HASH_ADD(hh, c->calls, id, sizeof(call->id), call);
    if (!call->hh.tbl) {
        free(call);
        return NULL;
    }
    bus__headers_copy(&call->message, call + 1, m);
    bus__message_hold(&call->message);
    return call;
}

/* An answer that libbus gives itself. */
static void answer_dropped(struct bus_conn *c, uint64_t id)
{
    static const char text[] = "the server has dropped the call";
    struct wire_reply m = {.call = id, .error = BUS_ERROR_DROPPED};
    _Alignas(16) uint8_t memory[512];
    struct arena scratch = {memory, 0, sizeof(memory)};
    uint8_t *dst;
    long n;

    if (!bus__has_link(c)) {
        return;
    }
    dst = outq_reserve(&c->outq, CONTROL_HEADER_MAX);
    n = dst ? codec_encode(&scratch, VERB_REPLY, &m, dst + FRAME_PREFIX_BYTES, 64) : -1;
    if (n < 0) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    frame_write_prefix(dst, VERB_REPLY, (size_t) n, sizeof(text) - 1);
    memcpy(dst + FRAME_PREFIX_BYTES + n, text, sizeof(text) - 1);
    outq_commit(&c->outq, FRAME_PREFIX_BYTES + (size_t) n + sizeof(text) - 1);
    c->urgent = true;
    bus__output_queued(c);
}

/* What has come for a server that can take it. */
static void call_deliver(struct bus_conn *c, struct bus_sub *sub, const struct wire_call *w,
                         const struct bus_message *m)
{
    struct bus_call *call = call_new(c, w, m);

    if (!call) {
        bus__lease_unref(m->lease);
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    sub->busy++;
    sub->on_call(call, sub->userdata); /* the call may be gone */
    (void) bus__sub_release(sub);
}

void bus__on_call(struct bus_conn *c, struct arena *a, const struct wire_call *w,
                  const struct frame *f, struct rxbuf *buf, struct parcel *parcel)
{
    struct bus_sub *sub = bus__table_get(&c->subs, w->subscription);
    struct carried carried = {.topic = bus__table_get(&c->topics, w->topic),
                              .sender = w->sender,
                              .descriptors = w->descriptors,
                              .time_ns = w->time,
                              .place = {w->buffer, w->lease, w->offset, w->bytes},
                              .headers = w->headers,
                              .n_headers = w->n_headers};
    struct bus_message m;
    struct rxbuf *copy;

    if (!sub || !sub->on_call || call_by_id(c, w->call)) {
        bus__fail_protocol(c, "CALL with an unknown number");
        return;
    }
    if (!bus__message_make(c, a, &carried, f, buf, parcel, &m)) {
        return;
    }
    if (sub->state >= SUB_ENDING) {
        bus__lease_unref(m.lease); /* the router ends it with the server */
        return;
    }
    copy = m.buf;
    if (bus__message_secure(c, sub->immutable, &m) != BUS_LOSS_NONE) {
        bus__lease_unref(m.lease);
        answer_dropped(c, w->call);
        return;
    }
    copy = m.buf != copy ? m.buf : NULL;
    call_deliver(c, sub, w, &m);
    bus__rxbuf_unref(copy);
}

const struct bus_message *bus_call_message(const struct bus_call *call)
{
    return &call->message;
}

uint32_t bus_call_timeout_ms(const struct bus_call *call)
{
    return call->timeout_ms;
}

int bus_call_is_cancelled(const struct bus_call *call)
{
    return call->cancelled;
}

/* ---- replies ---- */

static int reply_check(const struct bus_reply_opts *opts)
{
    return opts->size != sizeof(*opts) || (opts->flags & ~BUS_REPLY_MORE) != 0 ||
                   opts->error == BUS_ERROR_DROPPED
               ? -EINVAL
               : 0;
}

static int reply_send(struct bus_call *call, const void *data, size_t bytes,
                      const struct bus_reply_opts *opts)
{
    struct bus_publish_opts frame = BUS_PUBLISH_OPTS_INIT;
    struct outgoing o = {
        .verb = VERB_REPLY, .call = call->id, .flags = opts->flags, .error = opts->error};

    frame.headers = opts->headers;
    frame.n_headers = opts->n_headers;
    frame.fds = opts->fds;
    frame.n_fds = opts->n_fds;
    return bus__send_outgoing(call->conn, &o, data, bytes,
                              opts->n_headers > 0 || opts->n_fds > 0 ? &frame : NULL);
}

int bus_call_reply(struct bus_call *call, const void *data, size_t bytes,
                   const struct bus_reply_opts *opts)
{
    static const struct bus_reply_opts defaults = BUS_REPLY_OPTS_INIT;
    struct bus_conn *c = call->conn;
    int r = bus__usable(c);
    bool is_more;

    opts = opts ? opts : &defaults;
    is_more = opts->flags & BUS_REPLY_MORE;
    r = r < 0 ? r : reply_check(opts);
    if (r == 0 && is_more && call->n_ahead >= REPLIES_AHEAD_MAX && !call->cancelled) {
        call->starved = c->starved = true;
        return -EAGAIN;
    }
    if (r == 0 && !call->cancelled) {
        r = reply_send(call, data, bytes, opts);
        r = r == -ENOTCONN && c->away ? 0 : r; /* it is about to be cancelled */
        call->n_ahead += r == 0 && is_more;
    }
    if (r == 0 && !is_more) {
        call_free(call);
    }
    return r;
}

int bus_call_fail(struct bus_call *call, uint32_t error, const char *text)
{
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;

    if (error == 0 || !text) {
        return -EINVAL;
    }
    opts.error = error;
    return bus_call_reply(call, text, strlen(text), &opts);
}

void bus_call_drop(struct bus_call *call)
{
    if (!call) {
        return;
    }
    if (!call->cancelled && !bus__forked(call->conn)) {
        answer_dropped(call->conn, call->id);
    }
    call_free(call);
}

/* ---- what the router says ---- */

static void tell_cancelled(struct bus_conn *c, struct bus_call *call, enum bus_status reason)
{
    struct bus_sub *sub = bus__table_get(&c->subs, call->subscription);

    if (sub && sub->state < SUB_ENDING && sub->on_cancel) {
        sub->busy++;
        sub->on_cancel(call, reason, sub->userdata);
        (void) bus__sub_release(sub);
    }
}

void bus__on_cancel(struct bus_conn *c, const struct wire_cancel *m)
{
    struct bus_call *call = call_by_id(c, m->call);

    if (!call || call->cancelled) {
        return; /* answered meanwhile */
    }
    call->cancelled = true;
    call_feed(call);
    tell_cancelled(c, call, (enum bus_status) m->reason);
}

void bus__on_call_credit(struct bus_conn *c, const struct wire_credit *m)
{
    struct bus_call *call = call_by_id(c, m->call);

    if (call) {
        call->n_ahead -= MIN(m->messages, call->n_ahead);
        call_feed(call);
    }
}

/* A call that has ended while its answer was on its way is nothing to talk about. Any other answer
 * that is refused leaves a requester waiting. */
void bus__on_reply_status(struct bus_conn *c, const struct wire_status *m)
{
    struct bus_call *call = call_by_id(c, m->call);

    if (m->code == BUS_STATUS_UNKNOWN_CALL) {
        return;
    }
    if (!call) {
        answer_dropped(c, m->call);
    } else { /* it was one with MORE, of which nobody will give credit back */
        call->n_ahead -= call->n_ahead > 0;
        call_feed(call);
    }
    bus__tell_status(c, m, NULL);
}

void bus__calls_cancel(struct bus_conn *c, uint32_t subscription)
{
    struct bus_call *call, *next;

    HASH_ITER (hh, c->calls, call, next) {
        if (subscription == 0 || call->subscription == subscription) {
            call->cancelled = true;
            call_feed(call);
        }
    }
}

void bus__calls_lost(struct bus_conn *c, uint32_t subscription)
{
    struct bus_call *call, *next;

    HASH_ITER (hh, c->calls, call, next) {
        if (subscription != 0 && call->subscription != subscription) {
            continue;
        }
        HASH_DEL(c->calls, call);
        call->is_orphan = true;
        call->to_tell = !call->cancelled;
        call->cancelled = true;
        DL_PREPEND(c->orphans, call);
        call_feed(call);
    }
}

/* Those that are to be told are in front. */
void bus__calls_tell_lost(struct bus_conn *c, enum bus_status why)
{
    while (c->orphans && c->orphans->to_tell) {
        struct bus_call *call = c->orphans;

        call->to_tell = false;
        DL_DELETE(c->orphans, call);
        DL_APPEND(c->orphans, call);
        tell_cancelled(c, call, why); /* it may be gone */
    }
}

void bus__calls_fini(struct bus_conn *c)
{
    while (c->calls) {
        call_free(c->calls);
    }
    while (c->orphans) {
        call_free(c->orphans);
    }
}
