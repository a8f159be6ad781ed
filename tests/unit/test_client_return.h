/* SPDX-License-Identifier: MIT */
#pragma once
/* A client that comes back, and the router that it finds then. */

#include "client/conn.h"
#include "client/session.h"
#include "unit/test_client_seen.h"

#define PATIENCE_MS 60000

/* What on_state was called with, as text, and what it is to do. */
struct states {
    char log[256];
    void (*act)(struct bus_conn *conn, enum bus_conn_state state);
};

static struct states states;

static inline void on_state(struct bus_conn *conn, const struct bus_state_event *event,
                            void *userdata)
{
    size_t len = strlen(states.log);

    (void) userdata;
    (void) snprintf(states.log + len, sizeof(states.log) - len, "%s%d%s ",
                    event->state == BUS_CONN_LOST ? "lost" : "restored", (int) event->reason,
                    event->text);
    if (states.act) {
        states.act(conn, event->state);
    }
}

/* Options of a client that comes back at once. */
static inline void return_quickly(struct fake *f)
{
    states = (struct states){0};
    f->opts.flags |= BUS_OPEN_RECONNECT;
    f->opts.on_state = on_state;
    f->opts.reconnect_min_ms = 1;
    f->opts.reconnect_max_ms = 2;
}

/* What the last link has said is not looked at any more. */
static inline void fake_forget(struct fake *f)
{
    fake_claim(f, 0);
    while (f->n_batches > 0) {
        parcel_unref(f->batches[--f->n_batches]);
    }
    f->in_pos = f->in_len = f->out_len = 0;
}

/* The link breaks, and the client has seen it. */
static inline void fake_lose(struct fake *f)
{
    fake_hang_up(f);
    while (bus_process(f->conn) >= 0 && f->conn->state < CONN_AWAY) {
        continue;
    }
    fake_forget(f);
}

/* The client connects again: only its frames before WELCOME are there to be heard. */
static inline void fake_accept_again(struct fake *f)
{
    for (;;) { /* it may have tried already */
        f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (f->fd >= 0) {
            break;
        }
        assert_int_equal(bus_wait(f->conn, PATIENCE_MS), 1);
        assert_true(bus_process(f->conn) >= 0);
    }
}

/* The client is about to greet: a link that it has left again is not that one. */
static inline void fake_accept_newest(struct fake *f)
{
    struct pollfd p = {.events = POLLIN};

    if (f->fd >= 0) {
        fake_hang_up(f);
    }
    fake_forget(f);
    for (;;) {
        p.fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_true(p.fd >= 0);
        if (poll(&p, 1, 0) == 0 || !(p.revents & POLLHUP)) {
            break;
        }
        assert_int_equal(close(p.fd), 0);
    }
    f->fd = p.fd;
}

/* The same, for a client that has nothing to set up. */
static inline void fake_come_back(struct fake *f)
{
    fake_accept_again(f);
    (void) fake_hear(f, VERB_HELLO);
    (void) fake_hear(f, VERB_RESTORED);
    fake_hear_nothing(f);
    f->welcome.connection_id++;
    fake_welcome(f);
}
