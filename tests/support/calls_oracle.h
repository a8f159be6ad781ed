/* SPDX-License-Identifier: MIT */
#pragma once
/* An oracle for schedules with requests: it sees what clients ask and reply and every frame that
 * they get. Each request ends once, for a reason that is possible after what has happened; nothing
 * comes after its end; each server gets a call at most once; the counts of requests to all add up.
 */

#include "support/calls.h"
#include "support/topic_reference.h"

#define ORACLE_REQUESTS 8192u
#define ORACLE_CALLS 16384u
#define ORACLE_GOALS 6u

struct oracle_request {
    uint64_t connection; /* of the requester */
    uint64_t body;       /* what it says */
    char topic[32];
    uint32_t number, flags, timeout_ms;
    uint32_t n_servers; /* that served its topic when it was made */
    uint64_t began_ns;  /* or when the last reply with MORE was sent */
    bool ended, cancelled;
    bool lost_server; /* one that serves its topic has gone since */
    uint32_t n_calls; /* that servers have got */
    uint32_t n_final; /* answers without MORE */
};

/* One CALL as a server got it. */
struct oracle_call {
    uint64_t id, connection;
    uint32_t subscription;
    struct oracle_request *request;
    bool replied;   /* for good, and not refused as far as is known */
    bool cancelled; /* CANCEL has come */
    int n_ahead;    /* replies with MORE, less what was given back */
};

struct oracle_server {
    uint64_t connection; /* 0: none */
    char filter[32];
};

struct oracle {
    struct world w;   /* first: world_of() */
    bool is_starving; /* memory may be missing: any end is possible, but only one */
    bool is_small;    /* quotas may be hit */
    struct oracle_request requests[ORACLE_REQUESTS];
    uint32_t n_requests;
    struct oracle_call calls[ORACLE_CALLS];
    uint32_t n_calls;
    struct oracle_server servers[SIM_CLIENTS][SIM_SUBS];
    uint64_t n_ended[32]; /* by status; answered ones as OK */
};

static inline struct oracle *oracle_of(struct sim *s)
{
    return container_of(world_of(s), struct oracle, w);
}

static inline struct oracle_request *oracle_open_request(struct oracle *o, uint64_t connection,
                                                         uint32_t number)
{
    for (uint32_t i = o->n_requests; i > 0; i--) {
        struct oracle_request *r = &o->requests[i - 1];

        if (r->connection == connection && r->number == number && !r->ended) {
            return r;
        }
    }
    return NULL;
}

static inline struct oracle_call *oracle_call_by_id(struct oracle *o, uint64_t id)
{
    for (uint32_t i = o->n_calls; i > 0; i--) {
        if (o->calls[i - 1].id == id) {
            return &o->calls[i - 1];
        }
    }
    return NULL;
}

/* ---- what clients do ---- */

/* c does not serve any more under that number, or under any (SIM_SUBS). */
static inline void oracle_unserve(struct oracle *o, const struct sim_client *c, unsigned index)
{
    for (unsigned i = 0; i < SIM_SUBS; i++) {
        struct oracle_server *server = &o->servers[c - o->w.s.clients][i];

        if (server->connection == 0 || (index != SIM_SUBS && i != index)) {
            continue;
        }
        server->connection = 0;
        for (uint32_t k = 0; k < o->n_requests; k++) {
            struct oracle_request *r = &o->requests[k];

            r->lost_server |= !r->ended && ref_matches(server->filter, strlen(server->filter),
                                                       r->topic, strlen(r->topic));
        }
    }
}

static inline void oracle_serve(struct oracle *o, const struct sim_client *c, unsigned index,
                                const char *filter)
{
    struct oracle_server *server = &o->servers[c - o->w.s.clients][index];

    server->connection = c->id;
    snprintf(server->filter, sizeof(server->filter), "%s", filter);
}

static inline uint32_t oracle_count_servers(const struct oracle *o, const char *topic)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < SIM_CLIENTS * SIM_SUBS; i++) {
        const struct oracle_server *server = &o->servers[i / SIM_SUBS][i % SIM_SUBS];
        const struct sim_client *c = &o->w.s.clients[i / SIM_SUBS];

        n += c->id != 0 && server->connection == c->id && !peer_is_closing(c->peer) &&
             ref_matches(server->filter, strlen(server->filter), topic, strlen(topic));
    }
    return n;
}

/* Its requests are nobody's business any more. */
static inline void oracle_gone(struct oracle *o, const struct sim_client *c)
{
    oracle_unserve(o, c, SIM_SUBS);
    for (uint32_t i = 0; i < o->n_requests; i++) {
        if (o->requests[i].connection == c->id) {
            o->requests[i].ended = true;
        }
    }
}

/* A number that the client may use now, or 0. */
static inline uint32_t oracle_free_number(struct oracle *o, const struct sim_client *c,
                                          uint32_t max)
{
    uint32_t first = rng_below(&o->w.s.rng, max);

    for (uint32_t i = 0; i < max; i++) {
        uint32_t number = 1 + (first + i) % max;

        if (!oracle_open_request(o, c->id, number)) {
            return number;
        }
    }
    return 0;
}

static inline void oracle_request(struct oracle *o, struct sim_client *c,
                                  const struct sim_request *q)
{
    struct oracle_request *r = &o->requests[o->n_requests++];

    assert_true(o->n_requests < ORACLE_REQUESTS);
    *r = (struct oracle_request){
        .connection = c->id,
        .body = o->w.s.n_asked + 1,
        .number = q->call,
        .flags = q->flags,
        .timeout_ms = q->timeout_ms,
        .n_servers = oracle_count_servers(o, q->topic),
        .began_ns = o->w.s.now.monotonic_ns,
    };
    snprintf(r->topic, sizeof(r->topic), "%s", q->topic);
    sim_request(&o->w.s, c, q);
}

static inline void oracle_reply(struct oracle *o, struct sim_client *c, struct oracle_call *call,
                                const struct sim_reply *q)
{
    uint64_t n_replies = router_counters(o->w.s.router)->replies;
    struct sim_reply reply = *q;

    reply.call = call->id;
    sim_reply(&o->w.s, c, &reply);
    call->replied = !(q->flags & REPLY_MORE);
    if (router_counters(o->w.s.router)->replies > n_replies && !call->replied) {
        call->n_ahead++;
        call->request->began_ns = o->w.s.now.monotonic_ns;
    }
}

static inline void oracle_cancel(struct oracle *o, struct sim_client *c, uint32_t number)
{
    struct oracle_request *r = oracle_open_request(o, c->id, number);

    if (r) {
        r->cancelled = true;
    }
    world_cancel(&o->w, c, number);
}

/* ---- what they get ---- */

static inline uint64_t oracle_body_number(const struct sim_client *c, const struct frame *f,
                                          uint32_t buffer, uint64_t offset)
{
    uint64_t number = 0;

    if (buffer) {
        memcpy(&number, sim_fd_data(c->bound[buffer]) + offset, sizeof(number));
    } else {
        assert_true(f->body_bytes >= sizeof(number));
        memcpy(&number, f->body, sizeof(number));
    }
    return number;
}

static inline void oracle_on_call(struct oracle *o, const struct sim_client *c,
                                  const struct wire_call *m, const struct frame *f)
{
    uint64_t number = oracle_body_number(c, f, m->buffer, m->offset);
    struct oracle_call *call = &o->calls[o->n_calls];
    struct oracle_request *r = NULL;

    for (uint32_t i = 0; i < o->n_requests; i++) {
        r = o->requests[i].body == number ? &o->requests[i] : r;
    }
    assert_non_null(r);
    assert_null(oracle_call_by_id(o, m->call));
    assert_int_equal(c->senders[m->sender], r->connection);
    assert_string_equal(c->topics[m->topic], r->topic);
    r->n_calls++;
    assert_true(r->n_calls <= 1 || r->flags & REQUEST_ALL);
    assert_true(o->is_starving || !(r->flags & REQUEST_ALL) || r->n_calls <= r->n_servers);
    for (uint32_t i = 0; i < o->n_calls; i++) {
        const struct oracle_call *other = &o->calls[i];

        assert_false(other->request == r && other->connection == c->id &&
                     other->subscription == m->subscription);
    }
    o->n_calls++;
    assert_true(o->n_calls < ORACLE_CALLS);
    *call = (struct oracle_call){m->call, c->id, m->subscription, r, false, false, 0};
}

static inline void oracle_end(struct oracle *o, struct oracle_request *r, uint32_t status)
{
    assert_false(r->ended);
    r->ended = true;
    o->n_ended[status]++;
}

static inline void oracle_on_answer(struct oracle *o, const struct sim_client *c,
                                    const struct wire_answer *m)
{
    struct oracle_request *r = oracle_open_request(o, c->id, m->call);
    bool from_server = false;

    assert_non_null(r); /* nothing comes after the end */
    for (uint32_t i = 0; i < o->n_calls; i++) {
        from_server |= o->calls[i].request == r && o->calls[i].connection == c->senders[m->sender];
    }
    assert_true(from_server);
    assert_true((m->part != 0) == (r->flags & REQUEST_ALL));
    assert_true(m->part <= r->n_servers);
    if (m->flags & REPLY_MORE) {
        return;
    }
    r->n_final++;
    assert_true(r->n_final <= r->n_calls);
    if (!(r->flags & REQUEST_ALL)) {
        oracle_end(o, r, BUS_STATUS_OK);
    }
}

static inline bool oracle_allows(const struct oracle *o, const struct oracle_request *r,
                                 const struct wire_done *m)
{
    uint64_t waited_ns = o->w.s.now.monotonic_ns - r->began_ns;
    bool to_all = r->flags & REQUEST_ALL;

    switch (m->status) {
    case BUS_STATUS_OK:
        return to_all && m->replied == r->n_final &&
               (m->replied + m->gone + m->timed_out == r->n_servers || o->is_small) &&
               (m->gone == 0 || r->lost_server) &&
               (m->timed_out == 0 || waited_ns >= r->timeout_ms * 1000000ull);
    case BUS_STATUS_NO_RESPONDER:
        /* without memory a server may not be found */
        return r->n_servers == 0 || o->is_small || (!to_all && r->lost_server && r->n_calls == 0);
    case BUS_STATUS_RESPONDER_GONE:
        return !to_all && r->lost_server;
    case BUS_STATUS_TIMEOUT:
        return !to_all && waited_ns >= r->timeout_ms * 1000000ull;
    case BUS_STATUS_CANCELLED:
        return r->cancelled;
    case BUS_STATUS_LIMIT:
    case BUS_STATUS_NO_MEMORY: /* for tables that grow */
        return o->is_small;
    default:
        return false;
    }
}

static inline void oracle_on_done(struct oracle *o, const struct sim_client *c,
                                  const struct wire_done *m)
{
    struct oracle_request *r = oracle_open_request(o, c->id, m->call);

    assert_non_null(r);
    if (!o->is_starving && !oracle_allows(o, r, m)) {
        fail_msg("DONE %s %u %u/%u/%u is not possible: servers %u final %u calls %u lost %d",
                 NAME_OF(world_status, m->status), m->call, m->replied, m->gone, m->timed_out,
                 r->n_servers, r->n_final, r->n_calls, r->lost_server);
    }
    oracle_end(o, r, m->status);
}

static inline void oracle_on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                                   const union wire_any *m)
{
    struct oracle *o = oracle_of(s);
    struct oracle_call *call;

    switch (f->verb) {
    case VERB_CALL:
        oracle_on_call(o, c, &m->call, f);
        break;
    case VERB_ANSWER:
        oracle_on_answer(o, c, &m->answer);
        break;
    case VERB_DONE:
        oracle_on_done(o, c, &m->done);
        break;
    case VERB_CANCEL:
        call = oracle_call_by_id(o, m->cancel.call);
        assert_true(call && call->connection == c->id && !call->cancelled);
        call->cancelled = true;
        break;
    case VERB_CREDIT:
        call = oracle_call_by_id(o, m->credit.call);
        assert_true(call && call->connection == c->id);
        call->n_ahead -= (int) m->credit.messages;
        assert_true(o->is_starving || call->n_ahead >= 0);
        break;
    case VERB_STATUS:
        /* numbers are used again only after their end was read */
        assert_true(m->status.verb != VERB_REQUEST);
        assert_true(m->status.verb != VERB_REPLY || o->is_starving ||
                    m->status.code == BUS_STATUS_UNKNOWN_CALL ||
                    m->status.code == BUS_STATUS_NO_CREDIT);
        break;
    case VERB_GOODBYE:
        oracle_gone(o, c);
        break;
    default:
        break;
    }
}

static inline struct oracle *oracle_new(const struct limits *limits)
{
    struct oracle *o = calloc(1, sizeof(*o));

    assert_non_null(o);
    sim_init(&o->w.s, limits);
    o->w.s.on_frame = oracle_on_frame;
    return o;
}

/* Some call that the client has got and, for all it knows, can answer. */
static inline struct oracle_call *oracle_any_call(struct oracle *o, const struct sim_client *c)
{
    uint32_t first = o->n_calls ? rng_below(&o->w.s.rng, o->n_calls) : 0;

    for (uint32_t i = 0; i < o->n_calls; i++) {
        struct oracle_call *call = &o->calls[(first + i) % o->n_calls];

        if (call->connection == c->id && !call->replied && !call->cancelled) {
            return call;
        }
    }
    return NULL;
}

/* Without memory a connection may end without a word. */
static inline bool oracle_is_there(const struct oracle *o, uint64_t connection)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (o->w.s.clients[i].peer && o->w.s.clients[i].id == connection) {
            return true;
        }
    }
    return false;
}

/* All servers answer what they have got, everybody reads, and then time passes, until all has ended
 * of which an end can be read. */
static inline void oracle_settle(struct oracle *o)
{
    struct sim *s = &o->w.s;

    for (unsigned turn = 0; turn < 20; turn++) {
        for (unsigned i = 0; i < SIM_CLIENTS; i++) {
            struct sim_client *c = &s->clients[i];
            struct oracle_call *call;

            sim_read(s, c, 10000);
            while (c->peer && turn < 10 && (call = oracle_any_call(o, c))) {
                oracle_reply(o, c, call, &(struct sim_reply){0});
            }
            sim_release_all(s, c);
            sim_pong(s, c);
            sim_read(s, c, 10000);
        }
        sim_advance(s, turn < 10 ? UINT64_C(60000000) : UINT64_C(3600000000000));
        (void) sim_work_off(s);
    }
    for (uint32_t i = 0; i < o->n_requests; i++) {
        assert_true(o->requests[i].ended || !oracle_is_there(o, o->requests[i].connection));
    }
    assert_int_equal(router_counters(s->router)->requests_now, 0);
    assert_int_equal(router_counters(s->router)->calls_now, 0);
}

static inline void oracle_free(struct oracle *o)
{
    struct sim *s = &o->w.s;

    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (s->clients[i].peer) {
            sim_disconnect(s, &s->clients[i]);
        }
    }
    (void) sim_work_off(s);
    assert_int_equal(router_counters(s->router)->charged_bytes_now, 0);
    assert_int_equal(router_counters(s->router)->topics_now, 0);
    sim_fini(s);
    free(o);
}
