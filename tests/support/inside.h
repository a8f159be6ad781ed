/* SPDX-License-Identifier: MIT */
#pragma once
/* Words for the tests of requests to the router's own topics: docs/protocol.md, section 22. */

#include "core/state.h"
#include "support/calls.h"
#include "support/texts.h"
#include "wire/inside.h"

/* The last answer of the router, and how many there were of each kind. */
static struct inside_heard {
    uint8_t body[INSIDE_PAGE_BYTES];
    size_t bytes;
    uint32_t error, part;
    unsigned n_answers, n_done;
    enum bus_status status; /* of the last DONE */
    uint64_t next;          /* of the last page */
} heard;

static inline void inside_on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                                   const union wire_any *m)
{
    if (f->verb == VERB_ANSWER) {
        assert_true(f->body_bytes <= sizeof(heard.body));
        memcpy(heard.body, f->body, f->body_bytes);
        heard.bytes = f->body_bytes;
        heard.error = m->answer.error;
        heard.part = m->answer.part;
        heard.n_answers++;
    } else if (f->verb == VERB_DONE) {
        heard.status = (enum bus_status) m->done.status;
        heard.n_done++;
    }
    world_on_frame(s, c, f, m);
}

static inline void inside_send(struct world *w, struct sim_client *c, const char *topic,
                               const void *body, size_t bytes, uint32_t flags)
{
    struct wire_request m = {.call = 1, .topic = text_from(topic), .flags = flags};

    sim_send(&w->s, c, VERB_REQUEST, &m, body, bytes);
}

static inline void inside_send_message(struct world *w, struct sim_client *c, const char *topic,
                                       const struct inside_layout *layout, const void *message)
{
    uint8_t body[512];
    size_t n = inside_encode(layout, message, body, sizeof(body));

    inside_send(w, c, topic, body, n, 0);
}

/* Asks for a page and returns how many entries there are; *ret is the last of them, or the one at
 * that place. */
static inline unsigned inside_page_at(struct world *w, struct sim_client *c,
                                      enum bus_inside_list list, const struct inside_query *q,
                                      unsigned at, union inside_any *ret)
{
    static const char *const topics[] = {
#define X(name, number, level, table) [number] = "$bus/" #level,
        BUS_INSIDE_LISTS(X)
#undef X
    };
    struct inside_page_reader page = {0};
    union inside_any any;
    enum inside_step step;
    unsigned n = 0, before = heard.n_answers;

    w->s.on_frame = inside_on_frame;
    inside_send_message(w, c, topics[list], &inside_query_layout, q);
    sim_read(&w->s, c, 10000);
    assert_int_equal(heard.n_answers, before + 1);
    world_clear(w, c);
    page.in = (struct pb_reader){heard.body, heard.body + heard.bytes};
    while ((step = inside_page_next(&page, inside_layout_of(list), &any)) == INSIDE_ENTRY) {
        if (ret && (at == n || at == UINT32_MAX)) {
            *ret = any;
        }
        n++;
    }
    assert_int_equal(step, INSIDE_END);
    assert_int_equal(page.time_ns, w->s.now.monotonic_ns);
    heard.next = page.next;
    return n;
}

static inline unsigned inside_ask_for(struct world *w, struct sim_client *c,
                                      enum bus_inside_list list, struct inside_query q,
                                      union inside_any *ret)
{
    return inside_page_at(w, c, list, &q, UINT32_MAX, ret);
}

/* The only entry about a client. */
static inline struct inside_client inside_client_of(struct world *w, struct sim_client *c,
                                                    uint64_t connection_id)
{
    union inside_any any;

    assert_int_equal(inside_ask_for(w, c, BUS_INSIDE_CLIENTS,
                                    (struct inside_query){.connection_id = connection_id}, &any),
                     1);
    return any.client;
}

/* The connection of a client is closed when it has read what was there for it. */
static inline struct inside_closed inside_last_closed(struct world *w, struct sim_client *c)
{
    union inside_any any;

    assert_true(inside_ask_for(w, c, BUS_INSIDE_CLOSED, (struct inside_query){0}, &any) > 0);
    assert_int_equal(heard.next, 0);
    return any.closed;
}
