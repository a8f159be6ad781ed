/* SPDX-License-Identifier: MIT */
#include "faults/client.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define OPEN_TIMEOUT_MS 2000
#define AGAIN_MS 5
#define STEP_MS 2
#define RECONNECT_MS 50
#define BACKLOG_BYTES 100000
#define FLUSH_MS 60000

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    (void) reason;
    (void) text;
    c->is_over = true;
}

static void note(struct client *c, enum record_kind kind)
{
    records_add(c->records, &(struct record){.kind = (uint8_t) kind, .life = c->life});
}

static void on_state(struct bus_conn *conn, const struct bus_state_event *event, void *userdata)
{
    struct client *c = userdata;

    (void) conn;
    if (event->state == BUS_CONN_LOST) {
        note(c, RECORD_AWAY);
    }
}

static int open_any(struct client *c, const char *const addresses[2])
{
    struct bus_opts opts = BUS_OPTS_INIT;

    opts.on_closed = on_closed;
    opts.userdata = c;
    opts.timeout_ms = OPEN_TIMEOUT_MS;
    if (c->returns) {
        opts.flags = BUS_OPEN_RECONNECT;
        opts.on_state = on_state;
        opts.reconnect_max_ms = RECONNECT_MS;
        opts.backlog_bytes_max = dice_below(&c->dice, 2) ? BACKLOG_BYTES : 0;
    }
    return bus_open(addresses[dice_below(&c->dice, 2)], &opts, &c->conn);
}

static void live(const struct role *role, struct client *c)
{
    int r = 0;

    while (r >= 0 && !c->is_over && client_phase(c) != PHASE_END) {
        r = bus_process(c->conn);
        if (r < 0 || c->is_over) {
            return;
        }
        role->step(c);
        c->records->is_idle =
            client_phase(c) == PHASE_QUIET && !bus_is_away(c->conn) && role->is_idle(c);
        if (r == 0) {
            (void) bus_wait(c->conn, STEP_MS);
        }
    }
}

/* The router has nothing more for it: a round trip, and all of it has come. */
static void settle(const struct role *role, struct client *c)
{
    int r;

    do {
        r = bus_flush(c->conn, FLUSH_MS);
    } while (r == -EINTR);
    if (r == 0 && !c->is_over) {
        role->settled(c);
    }
}

int client_run(const struct role *role, struct client *c, const char *const addresses[2])
{
    while (client_phase(c) != PHASE_END) {
        c->is_over = false;
        c->returns = role->returns || dice_below(&c->dice, 2);
        if (open_any(c, addresses) < 0) { /* the router is away, or a fault was in the way */
            (void) poll(NULL, 0, AGAIN_MS);
            continue;
        }
        c->life = (uint64_t) c->index << 32 | ++c->records->n_lives;
        note(c, RECORD_OPENED);
        role->opened(c);
        live(role, c);
        if (!c->is_over && client_phase(c) == PHASE_END) {
            settle(role, c);
        }
        role->closed(c);
        records_add(c->records,
                    &(struct record){.kind = RECORD_CLOSED, .life = c->life, .again = c->is_over});
        bus_close(c->conn);
        c->conn = NULL;
        c->records->is_idle = false;
    }
    return 0;
}

/* ---- bodies ---- */

uint32_t body_size(struct dice *d)
{
    uint32_t least = sizeof(struct body);

    switch (dice_below(d, 64)) {
    case 0:
        return least + dice_below(d, BODY_MAX - least);
    case 1:
    case 2:
    case 3:
        return least + dice_below(d, 8000);
    default:
        return least + dice_below(d, 200);
    }
}

void body_write(struct body *b, uint8_t *dst)
{
    b->fill = (uint8_t) (b->n + b->life);
    memcpy(dst, b, sizeof(*b));
    memset(dst + sizeof(*b), b->fill, b->bytes - sizeof(*b));
}

/* For whoever looks for the reason: the beginning, and where the rest is not what it says. */
static bool body_is_wrong(const uint8_t *at, size_t bytes, size_t where)
{
    (void) fprintf(stderr, "bus-faults: a body of %zu bytes is wrong at %zu:", bytes, where);
    for (size_t i = 0; i < 48 && i < bytes; i++) {
        (void) fprintf(stderr, " %02x", at[i]);
    }
    for (size_t i = where; i < where + 16 && i < bytes; i++) {
        (void) fprintf(stderr, "%s%02x", i == where ? " ... " : " ", at[i]);
    }
    (void) fputc('\n', stderr);
    return false;
}

bool body_read(const void *data, size_t bytes, struct body *ret)
{
    const uint8_t *at = data;

    if (bytes < sizeof(*ret)) {
        return body_is_wrong(at, bytes, 0);
    }
    memcpy(ret, data, sizeof(*ret));
    if (ret->bytes != bytes || ret->fill != (uint8_t) (ret->n + ret->life)) {
        return body_is_wrong(at, bytes, 0);
    }
    for (size_t i = sizeof(*ret); i < bytes; i++) {
        if (at[i] != ret->fill) {
            return body_is_wrong(at, bytes, i);
        }
    }
    return true;
}
