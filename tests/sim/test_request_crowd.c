/* SPDX-License-Identifier: MIT */
/* 10,000 requests at 1,000 servers that die at random: each ends once, for the right reason. Light
 * clients of their own, whose every frame is read at once, so that it is known who has what. */
#include "core/request.h"
#include "core/state.h"
#include "support/unit.h"
#include "wire/codec.h"

#define N_SERVERS 1000u
#define N_REQUESTERS 10u
#define N_REQUESTS 1000u /* of each */
#define WINDOW 8u        /* so some wait */

enum state { FREE, WAITING, OPEN, ANSWERED, GONE, CANCELLED };

struct entry {
    enum state state;
    uint32_t server; /* while OPEN, or when it was */
    uint64_t call;
    unsigned n_ends;
};

struct light {
    struct peer *peer;
    uint32_t number; /* in its list */
    uint32_t n_open;
    struct entry *open[WINDOW];
};

struct crowd {
    struct router *router;
    struct now now;
    struct rng rng;
    struct arena arena;
    struct light servers[N_SERVERS];
    struct light requesters[N_REQUESTERS];
    struct entry entries[N_REQUESTERS][N_REQUESTS];
    uint32_t n_alive;
    uint64_t n_ended, n_gone, n_answered, n_cancelled, n_nobody;
};

/* ---- frames ---- */

static void feed(struct crowd *w, struct light *c, enum verb verb, const void *m, const void *body,
                 size_t body_bytes)
{
    uint8_t buf[512];
    long n = codec_encode(&w->arena, verb, m, buf + FRAME_PREFIX_BYTES, 256);
    struct received in = {buf, 0, NULL};

    assert_true(n >= 0);
    frame_write_prefix(buf, verb, (size_t) n, body_bytes);
    if (body_bytes > 0) {
        memcpy(buf + FRAME_PREFIX_BYTES + n, body, body_bytes);
    }
    in.len = FRAME_PREFIX_BYTES + (size_t) n + body_bytes;
    assert_int_equal(router_input(w->router, c->peer, &in, 1000000, &w->now).consumed, in.len);
}

/* The frame's body names its entry. */
static void on_call(struct crowd *w, struct light *c, const struct wire_call *m,
                    const struct frame *f)
{
    struct entry *e;

    assert_int_equal(f->body_bytes, sizeof(e));
    memcpy((void *) &e, f->body, sizeof(e));
    assert_true(e->state == WAITING && c->n_open < WINDOW);
    e->state = OPEN;
    e->server = c->number;
    e->call = m->call;
    c->open[c->n_open++] = e;
    (void) w;
}

static void close_entry(struct crowd *w, struct entry *e)
{
    struct light *s = &w->servers[e->server];

    for (uint32_t i = 0; i < s->n_open; i++) {
        if (s->open[i] == e) {
            s->open[i] = s->open[--s->n_open];
            return;
        }
    }
}

static void on_done(struct crowd *w, struct light *c, const struct wire_done *m)
{
    struct entry *e = &w->entries[c->number][m->call - 1];

    assert_int_equal(e->n_ends, 0);
    e->n_ends++;
    w->n_ended++;
    if (m->status == BUS_STATUS_RESPONDER_GONE) {
        assert_true(e->state == OPEN && !w->servers[e->server].peer);
        w->n_gone++;
    } else if (m->status == BUS_STATUS_NO_RESPONDER) {
        assert_true(e->state == WAITING && w->n_alive == 0);
        w->n_nobody++;
    } else {
        assert_true(m->status == BUS_STATUS_CANCELLED && e->state == CANCELLED);
        w->n_cancelled++;
    }
    e->state = GONE;
}

static void on_frame(struct crowd *w, struct light *c, const struct frame *f)
{
    union wire_any m;
    struct entry *e;

    arena_reset(&w->arena);
    assert_int_equal(codec_decode(&w->arena, f->verb, f->header, f->header_bytes, &m), CODEC_OK);
    switch (f->verb) {
    case VERB_CALL:
        on_call(w, c, &m.call, f);
        break;
    case VERB_ANSWER:
        e = &w->entries[c->number][m.answer.call - 1];
        assert_true(e->state == ANSWERED && e->n_ends == 0);
        e->n_ends++;
        w->n_ended++;
        w->n_answered++;
        break;
    case VERB_DONE:
        on_done(w, c, &m.done);
        break;
    case VERB_STATUS:
        assert_int_equal(m.status.code, BUS_STATUS_OK);
        break;
    default:
        assert_int_not_equal(f->verb, VERB_GOODBYE);
    }
}

static void read_all(struct crowd *w)
{
    static uint8_t packet[FRAME_PACKET_MAX];
    struct peer *p;

    while ((p = router_next_dirty(w->router)) || router_deadline(w->router) == 0) {
        struct iovec iov[OUTQ_PACKET_IOV];
        size_t bytes = 0, at = 0, len;
        struct frame f;
        int n;

        if (!p) {
            router_tick(w->router, &w->now);
            continue;
        }
        n = outq_peek_packet(peer_output(p), iov);
        for (int i = 0; i < n; i++) {
            memcpy(packet + bytes, iov[i].iov_base, iov[i].iov_len);
            bytes += iov[i].iov_len;
        }
        if (bytes == 0) {
            continue;
        }
        for (; at < bytes; at += len) {
            assert_int_equal(frame_parse(packet + at, bytes - at, 65536, &f, &len), FRAME_OK);
            on_frame(w, peer_userdata(p), &f);
        }
        router_output_sent(w->router, p, bytes);
        peer_mark_dirty(p); /* until it is empty */
    }
}

/* ---- clients ---- */

static void join(struct crowd *w, struct light *c, uint32_t number)
{
    struct peer_info info = {.uid = 1, .packets = true, .userdata = c};
    struct wire_hello hello = {.protocol_min = 1, .protocol_max = 1};

    c->number = number;
    hello.client_name = hello.resume_token = text_from("");
    assert_int_equal(router_add_peer(w->router, &info, &w->now, &c->peer), ROUTER_OK);
    feed(w, c, VERB_HELLO, &hello, NULL, 0);
}

static void serve(struct crowd *w, uint32_t number)
{
    static const char *const filters[] = {"job", "+", "#", "job/#"};
    struct wire_subscribe m = {.subscription = 1,
                               .filter = text_from(filters[number % ARRAY_LEN(filters)]),
                               .window_messages = WINDOW,
                               .flags = SUBSCRIBE_SERVE};

    join(w, &w->servers[number], number);
    feed(w, &w->servers[number], VERB_SUBSCRIBE, &m, NULL, 0);
    w->n_alive++;
    read_all(w);
}

static void ask(struct crowd *w, uint32_t requester, uint32_t number)
{
    struct entry *e = &w->entries[requester][number - 1];
    struct wire_request m = {.call = number, .topic = text_from("job")};

    e->state = WAITING;
    feed(w, &w->requesters[requester], VERB_REQUEST, &m, (const void *) &e, sizeof(e));
    read_all(w);
}

static void kill_server(struct crowd *w, struct light *s)
{
    struct peer *p = s->peer;

    if (p) {
        s->peer = NULL;
        w->n_alive--;
        router_remove_peer(w->router, p);
        read_all(w);
        s->n_open = 0;
    }
}

static void answer_one(struct crowd *w, struct light *s)
{
    struct wire_reply m = {0};

    if (s->peer && s->n_open > 0) {
        struct entry *e = s->open[rng_below(&w->rng, s->n_open)];

        m.call = e->call;
        e->state = ANSWERED;
        close_entry(w, e);
        feed(w, s, VERB_REPLY, &m, NULL, 0);
        read_all(w);
    }
}

static void cancel_one(struct crowd *w)
{
    uint32_t requester = rng_below(&w->rng, N_REQUESTERS), i = rng_below(&w->rng, N_REQUESTS);
    struct entry *e = &w->entries[requester][i];
    struct wire_cancel m = {.call = i + 1};

    if (e->state == WAITING || e->state == OPEN) {
        if (e->state == OPEN) {
            close_entry(w, e);
        }
        e->state = CANCELLED;
        feed(w, &w->requesters[requester], VERB_CANCEL, &m, NULL, 0);
        read_all(w);
    }
}

static void step(struct crowd *w)
{
    struct light *s = &w->servers[rng_below(&w->rng, N_SERVERS)];

    switch (rng_below(&w->rng, 4)) {
    case 0:
        kill_server(w, s);
        break;
    case 1:
        cancel_one(w);
        break;
    default:
        answer_one(w, s);
    }
}

static void test_each_of_10000_requests_ends_once_while_1000_servers_die(void **state)
{
    const struct router_config config = {
        .limits = LIMITS_DEFAULT, .owner_uid = 1, .version = "test"};
    struct crowd *w = calloc(1, sizeof(*w));
    unsigned n = 0;

    (void) state;
    w->rng = rng_from_env();
    w->now = (struct now){1000000, 1700000000000000000};
    assert_int_equal(arena_init(&w->arena, CODEC_ARENA_BYTES), 0);
    assert_int_equal(router_new(&config, &w->router), 0);
    for (uint32_t i = 0; i < N_REQUESTERS; i++) {
        join(w, &w->requesters[i], i);
    }
    for (uint32_t i = 0; i < N_SERVERS; i++) {
        serve(w, i);
    }
    for (uint32_t i = 0; i < N_REQUESTERS * N_REQUESTS; i++) {
        ask(w, i % N_REQUESTERS, i / N_REQUESTERS + 1);
    }
    assert_int_equal(router_counters(w->router)->requests_now, N_REQUESTERS * N_REQUESTS);
    assert_int_equal(w->n_ended, 0);
    while (w->n_alive > 0) {
        step(w);
        if (++n % 200 == 0) {
            router_check(w->router);
        }
        if (n > 3000) { /* so that there are some for whom nobody is left */
            kill_server(w, &w->servers[n % N_SERVERS]);
        }
    }
    assert_int_equal(w->n_ended, N_REQUESTERS * N_REQUESTS);
    assert_true(w->n_gone > 100 && w->n_answered > 100 && w->n_cancelled > 100);
    assert_int_equal(router_counters(w->router)->requests_now, 0);
    assert_int_equal(router_counters(w->router)->calls_now, 0);
    router_check(w->router);
    w->router = router_free(w->router);
    arena_fini(&w->arena);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_of_10000_requests_ends_once_while_1000_servers_die),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
