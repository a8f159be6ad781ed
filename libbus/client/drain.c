/* SPDX-License-Identifier: MIT */
/* Subscriptions that end when what waits for them has come. The router answers each UNSUBSCRIBE, so
 * one that is let go of while it drains is over with the second answer. */

#include <bus/drain.h>
#include <errno.h>
#include "client/conn.h"
#include "client/handlers.h"

static int ask(struct bus_sub *sub, bus_drained_fn on_drained)
{
    struct wire_unsubscribe m = {sub->number, UNSUBSCRIBE_DRAIN};
    int r = bus__send(sub->conn, VERB_UNSUBSCRIBE, &m, CONTROL_HEADER_MAX);

    if (r == 0) {
        sub->drains = true;
        if (sub->conn->state != CONN_AWAY) {
            sub->n_endings++;
        } else {
            sub->state = SUB_DRAINED; /* nothing waits for it anywhere */
        }
        sub->on_drained = on_drained;
        sub->conn->n_draining++;
    }
    return r;
}

int bus_sub_drain(struct bus_sub *sub, bus_drained_fn on_drained)
{
    int r = bus__usable(sub->conn);

    if (r < 0) {
        return r;
    }
    if (sub->drains || sub->state == SUB_DRAINED) {
        return -EALREADY;
    }
    return sub->state == SUB_REFUSED ? -EINVAL : ask(sub, on_drained);
}

void bus__drain_forget(struct bus_sub *sub)
{
    if (sub->drains) {
        sub->drains = false;
        sub->conn->n_draining--;
    }
}

static void drain_end(struct bus_sub *sub, enum bus_status status)
{
    bus_drained_fn on_drained = sub->on_drained;

    bus__drain_forget(sub);
    if (on_drained) {
        sub->busy++;
        on_drained(sub, status, sub->userdata);
        (void) bus__sub_release(sub);
    }
}

void bus__on_drained_status(struct bus_conn *c, struct bus_sub *sub, const struct wire_status *m)
{
    if (m->code == BUS_STATUS_OK) {
        sub->state = SUB_DRAINED;
    } else if (m->code != BUS_STATUS_UNKNOWN_SUBSCRIPTION) {
        c->drain_failed = true;
    }
    drain_end(sub, (enum bus_status) m->code);
}

void bus__drains_end(struct bus_conn *c)
{
    for (uint32_t i = 0; i < c->subs.n; i++) { /* a callback may close the connection */
        struct bus_sub *sub = c->subs.at[i];

        if (sub && sub->drains && (sub->state == SUB_DRAINED || bus__is_over(c))) {
            drain_end(sub, BUS_STATUS_DISCONNECTED);
        }
    }
}

/* ---- all of them ---- */

static int drain_all(struct bus_conn *c)
{
    c->drain_failed = false;
    for (uint32_t i = 0; i < c->subs.n; i++) {
        struct bus_sub *sub = c->subs.at[i];
        int r = sub && sub->state <= SUB_ACTIVE && !sub->drains ? ask(sub, NULL) : 0;

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static bool is_drained(const struct bus_conn *c, uint64_t unused)
{
    (void) unused;
    return c->n_draining == 0 && c->n_requests == 0;
}

static int drain(struct bus_conn *c, uint64_t deadline_ns)
{
    int r;

    bus__signals_hold(c);
    r = drain_all(c);
    r = r < 0 ? r : bus__run_until(c, is_drained, 0, deadline_ns);
    r = r < 0 ? r : bus__flush(c, deadline_ns);
    return r == 0 && c->drain_failed ? -ENOMEM : r;
}

int bus_drain(struct bus_conn *conn, int timeout_ms)
{
    int r = bus__usable(conn);

    if (r < 0) {
        return r;
    }
    conn->pins++;
    return bus__unpin(conn, drain(conn, bus__deadline_ns(timeout_ms)));
}
