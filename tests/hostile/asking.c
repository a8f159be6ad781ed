/* SPDX-License-Identifier: MIT */
/* Victims that ask and answer, and such that come and go. */
#include <bus/request.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include "hostile/victim.h"

#define TURN_MS 1
#define OPEN_MAX 256u

struct slot {
    struct pair_board *pair;
    const struct stage *stage;
    struct moment sent; /* t_ns is 0: it is free */
    uint8_t body[64];
};

struct asker {
    const struct stage *stage;
    struct pair_board *pair;
    bool is_over;
    struct slot slots[OPEN_MAX];
};

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct asker *a = userdata;

    (void) conn;
    complain("bus-hostile: a victim was disconnected: %d %s\n", (int) reason, text);
    a->pair->broken++;
    a->is_over = true;
}

/* ---- answering ---- */

static void on_call(struct bus_call *call, void *userdata)
{
    struct asker *a = userdata;
    const struct bus_message *m = bus_call_message(call);

    a->pair->foreign += bus_message_sender(m)->uid != getuid();
    if (bus_call_reply(call, bus_message_data(m), bus_message_bytes(m), NULL) < 0) {
        a->pair->broken++;
    }
}

int consume_requests(const struct stage *s, unsigned pair)
{
    struct asker a = {.stage = s, .pair = &s->board->pairs[pair]};
    struct bus_conn *conn;
    char name[64];

    victim_topic(name, pair);
    if (victim_open(s, pair, &conn, &a, on_closed, NULL) < 0 ||
        bus_serve(conn, name, NULL, on_call, &a, NULL) < 0 || bus_flush(conn, 60000) < 0) {
        return 1;
    }
    s->board->n_ready++;
    (void) bus_run(conn);
    return 1;
}

/* ---- asking ---- */

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    struct slot *slot = userdata;

    (void) conn;
    latency_note(slot->stage, slot->pair, &slot->sent);
    slot->sent.t_ns = 0;
    if (reply->status == BUS_STATUS_OK && reply->error == 0) {
        slot->pair->got++;
        return;
    }
    complain("bus-hostile: a victim's request has ended: %s %s\n", bus_status_text(reply->status),
             reply->text);
    slot->pair->lost++;
}

static struct slot *slot_find(struct slot slots[OPEN_MAX])
{
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        if (slots[i].sent.t_ns == 0) {
            return &slots[i];
        }
    }
    return NULL;
}

static int ask(struct asker *a, struct bus_conn *conn, const char *name)
{
    struct slot *slot = slot_find(a->slots);
    int r;

    if (!slot) {
        return 0;
    }
    *slot = (struct slot){.pair = a->pair, .stage = a->stage, .sent = moment_now(a->stage)};
    while ((r = bus_request(conn, name, slot->body, sizeof(slot->body), NULL, on_reply, slot,
                            NULL)) == -EAGAIN) {
        (void) bus_wait_writable(conn, 1000);
    }
    a->pair->sent += r == 0;
    return r;
}

int feed_requests(const struct stage *s, unsigned pair)
{
    static struct asker a;
    struct pace pace = {0};
    struct bus_conn *conn;
    char name[64];

    a.stage = s;
    a.pair = &s->board->pairs[pair];
    victim_topic(name, pair);
    if (victim_open(s, pair, &conn, &a, on_closed, NULL) < 0 || bus_flush(conn, 60000) < 0) {
        return 1;
    }
    s->board->n_ready++;
    while (!a.is_over) {
        uint64_t n = victim_due(s->board, pair, &pace, OPEN_MAX);

        bus_cork(conn);
        for (uint64_t i = 0; i < n; i++) {
            if (ask(&a, conn, name) < 0) {
                a.pair->broken++;
                return 1;
            }
        }
        (void) bus_uncork(conn);
        if (bus_process(conn) < 0) {
            return 1;
        }
        (void) bus_wait(conn, TURN_MS);
    }
    return 1;
}

/* ---- coming and going ---- */

int feed_visits(const struct stage *s, unsigned pair)
{
    struct asker a = {.stage = s, .pair = &s->board->pairs[pair]};
    struct pace pace = {0};
    struct bus_conn *conn;

    s->board->n_ready++;
    for (;;) {
        struct moment begin = moment_now(s);

        if (victim_due(s->board, pair, &pace, VISITORS) == 0) {
            (void) poll(NULL, 0, TURN_MS);
            continue;
        }
        a.pair->sent++;
        if (victim_open(s, pair, &conn, &a, on_closed, NULL) < 0) {
            a.pair->lost++;
            continue;
        }
        a.pair->got++;
        latency_note(s, a.pair, &begin);
        bus_close(conn);
    }
}
