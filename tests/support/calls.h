/* SPDX-License-Identifier: MIT */
#pragma once
/* Words for the tests of requests: docs/protocol.md, section 12. */

#include "core/state.h"
#include "support/cargo.h"

/* ---- frames ---- */

/* What requests and replies have in common. */
struct sim_body {
    size_t bytes;       /* WORLD_BODY if 0; NO_BODY for none */
    unsigned n_headers; /* up to 2 */
    unsigned buffer;    /* it lies there, or 0 */
    unsigned slot;
    unsigned n_fds;
};

#define NO_BODY SIZE_MAX

struct sim_request {
    uint32_t call;     /* the client's number */
    const char *topic; /* or NULL: by alias */
    unsigned alias;
    uint32_t flags;
    uint32_t timeout_ms;
    struct sim_body body;
};

struct sim_reply {
    uint64_t call; /* the router's number; 0: that of the last CALL */
    uint32_t flags;
    uint32_t error;
    struct sim_body body;
};

static const struct wire_header sim_headers[] = {{{"n", 1}, {"value", 5}},
                                                 {{"traceparent", 11}, {"", 0}}};

/* Writes a body where it is to lie; returns what goes into the frame, and how much of it. */
static inline const uint8_t *sim_body_write(struct sim *s, struct sim_client *c,
                                            const struct sim_body *b, uint64_t *ret_offset,
                                            uint64_t *ret_bytes, size_t *ret_frame_bytes)
{
    static uint8_t inline_body[1 << 20];
    size_t bytes = b->bytes == NO_BODY ? 0 : b->bytes ? b->bytes : WORLD_BODY;
    uint64_t number = ++s->n_asked;
    uint8_t *body = inline_body;

    *ret_offset = *ret_bytes = 0;
    *ret_frame_bytes = bytes;
    if (b->buffer) {
        struct sim_buffer *buffer = &c->buffers[b->buffer - 1];

        *ret_offset = b->slot * buffer->slot_bytes;
        *ret_bytes = bytes;
        *ret_frame_bytes = 0;
        body = buffer->fd ? sim_fd_data(buffer->fd) + *ret_offset : body;
        buffer->due[b->slot]++;
    }
    memset(body, (int) (number & 0xff), bytes);
    memcpy(body, &number, MIN(bytes, sizeof(number)));
    return body;
}

static inline void sim_request(struct sim *s, struct sim_client *c, const struct sim_request *r)
{
    struct wire_request m = {.alias = r->topic ? 0 : r->alias + 1,
                             .topic = text_from(r->topic ? r->topic : ""),
                             .flags = r->flags,
                             .call = r->call,
                             .timeout_ms = r->timeout_ms,
                             .buffer = r->body.buffer,
                             .headers = sim_headers,
                             .n_headers = r->body.n_headers};
    size_t bytes;
    const uint8_t *body = sim_body_write(s, c, &r->body, &m.offset, &m.bytes, &bytes);

    sim_send_parcel(s, c, VERB_REQUEST, &m, body, bytes, r->body.n_fds,
                    r->body.n_fds ? sim_parcel_of(r->body.n_fds) : NULL);
}

static inline void sim_reply(struct sim *s, struct sim_client *c, const struct sim_reply *r)
{
    struct wire_reply m = {.call = r->call ? r->call : c->call,
                           .flags = r->flags,
                           .error = r->error,
                           .buffer = r->body.buffer,
                           .headers = sim_headers,
                           .n_headers = r->body.n_headers};
    size_t bytes;
    const uint8_t *body = sim_body_write(s, c, &r->body, &m.offset, &m.bytes, &bytes);

    sim_send_parcel(s, c, VERB_REPLY, &m, body, bytes, r->body.n_fds,
                    r->body.n_fds ? sim_parcel_of(r->body.n_fds) : NULL);
}

/* ---- a world with requests ---- */

struct world_server {
    const char *filter;
    uint32_t window;
    uint64_t window_bytes;
    bool descriptors;
};

/* Serves as subscription index + 1 and swallows the answer. */
static inline void world_serve_as(struct world *w, struct sim_client *c, unsigned index,
                                  const struct world_server *server)
{
    struct wire_subscribe m = {.filter = text_from(server->filter),
                               .window_messages = server->window ? server->window : 100,
                               .window_bytes = server->window_bytes ? server->window_bytes : 100000,
                               .flags = SUBSCRIBE_SERVE | (server->descriptors ? 2u : 0)};

    assert_true(sim_subscribe(&w->s, c, index, &m));
    c->subs[index].used = false; /* it gets no messages */
}

static inline void world_serve(struct world *w, struct sim_client *c, const char *filter,
                               uint32_t window)
{
    world_serve_as(w, c, 0, &(struct world_server){filter, window});
    sim_read(&w->s, c, 10000);
    world_clear(w, c);
}

/* A client that serves as its subscription 1. */
static inline struct sim_client *world_join_server(struct world *w, const char *filter,
                                                   uint32_t window)
{
    struct sim_client *c = world_join(w);

    world_serve(w, c, filter, window);
    return c;
}

/* To one, with all the time there is. */
static inline void world_request(struct world *w, struct sim_client *c, uint32_t number,
                                 const char *topic)
{
    sim_request(&w->s, c, &(struct sim_request){number, topic});
}

static inline void world_request_all(struct world *w, struct sim_client *c, uint32_t number,
                                     const char *topic)
{
    sim_request(&w->s, c, &(struct sim_request){number, topic, .flags = REQUEST_ALL});
}

/* call: as in the transcript. */
static inline uint64_t world_call(const struct world *w, unsigned call)
{
    assert_true(call >= 1 && call <= w->n_calls);
    return w->calls[call - 1];
}

static inline void world_reply(struct world *w, struct sim_client *c, unsigned call)
{
    sim_reply(&w->s, c, &(struct sim_reply){world_call(w, call)});
}

static inline void world_reply_more(struct world *w, struct sim_client *c, unsigned call)
{
    sim_reply(&w->s, c, &(struct sim_reply){world_call(w, call), .flags = REPLY_MORE});
}

static inline void world_cancel(struct world *w, struct sim_client *c, uint32_t number)
{
    struct wire_cancel m = {.call = number};

    sim_send(&w->s, c, VERB_CANCEL, &m, NULL, 0);
}

/* The requester has consumed so many answers. */
static inline void world_consume(struct world *w, struct sim_client *c, uint32_t number,
                                 uint32_t part, uint32_t messages)
{
    struct wire_credit m = {.call = number, .part = part, .messages = messages};

    sim_send(&w->s, c, VERB_CREDIT, &m, NULL, 0);
}

static inline void world_unsubscribe(struct world *w, struct sim_client *c, unsigned index)
{
    struct wire_unsubscribe m = {index + 1};

    sim_send(&w->s, c, VERB_UNSUBSCRIBE, &m, NULL, 0);
}

static inline void world_leave(struct world *w, struct sim_client *c)
{
    struct wire_goodbye m = {BUS_GOODBYE_NORMAL, text_from("")};

    sim_send(&w->s, c, VERB_GOODBYE, &m, NULL, 0);
}

static inline void world_advance_ms(struct world *w, uint64_t ms)
{
    sim_advance(&w->s, ms * 1000000);
}

/* Its output is full until it reads; what filled it is not in its transcript. */
static inline void world_fill_output(struct world *w, struct sim_client *c)
{
    struct wire_ping m = {1};

    w->hides_pongs = true;
    while (peer_output(c->peer)->bytes < w->s.router->config.limits.output_bytes_max &&
           !peer_is_closing(c->peer)) {
        sim_send(&w->s, c, VERB_PING, &m, NULL, 0);
    }
}
