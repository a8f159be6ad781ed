/* SPDX-License-Identifier: MIT */
/* Descriptors that arrive, batch for batch, until a frame claims them; and those on their way to a
 * client, until it has answered the PING behind them. docs/protocol.md, sections 2 and 10. */
#include <string.h>
#include <utlist.h>
#include "base/units.h"
#include "core/state.h"

/* ---- descriptors that arrive ---- */

/* Who sends the beginning of a frame with descriptors must send the rest. Its own end of the link
 * may be among them: then it would stay connected though nobody is there any more. */
void parcels_watch(struct peer *p)
{
    struct router *r = p->router;

    if (p->n_parcels > 0 && p->state == PEER_READY && !p->is_held && !p->is_claiming) {
        p->is_claiming = true;
        p->deadline_ns = r->now.monotonic_ns + r->config.limits.stall_timeout_ms * NS_PER_MS;
        DL_APPEND2(r->claiming, p, timed_prev, timed_next);
    }
}

void parcels_unwatch(struct peer *p)
{
    if (p->is_claiming) {
        DL_DELETE2(p->router->claiming, p, timed_prev, timed_next);
        p->is_claiming = false;
    }
}

void router_add_parcel(struct router *r, struct peer *p, struct parcel *parcel,
                       const struct now *now)
{
    r->now = *now;
    if (p->state == PEER_CLOSING || p->n_parcels == PEER_PARCELS_MAX) {
        parcel_unref(parcel); /* more than a client can have sent by the rules */
        return;
    }
    /* no frame can have so many, or they are more than this client may make us keep */
    if (parcel->n > FRAME_FDS_MAX || !charge_add(&p->parcels_charge, parcel->n)) {
        parcel->refused = parcel->n <= FRAME_FDS_MAX;
        parcel_empty(parcel);
    }
    p->parcels[p->n_parcels++] = parcel;
    parcels_watch(p);
}

/* The first is somebody else's now. */
static struct parcel *parcels_shift(struct peer *p)
{
    struct parcel *first = p->parcels[0];

    p->n_parcels--;
    memmove(p->parcels, p->parcels + 1, p->n_parcels * sizeof(*p->parcels));
    charge_release(&p->parcels_charge, first->n);
    return first;
}

void router_settle_parcels(struct peer *p)
{
    parcels_unwatch(p);
    while (p->n_parcels > 0) {
        parcel_unref(parcels_shift(p));
    }
}

struct parcel *peer_claim_parcel(struct peer *p, unsigned n)
{
    struct parcel *first;

    if (p->n_parcels == 0) {
        return NULL;
    }
    first = parcels_shift(p);
    parcels_unwatch(p);
    parcels_watch(p);
    p->is_over_limit = first->refused;
    if (first->truncated || first->n != n) {
        parcel_unref(first);
        return NULL;
    }
    return first;
}

/* ---- descriptors on their way to a client ---- */

/* Only who has read the PING can answer it. */
static uint64_t ping_token_new(const struct peer *p)
{
    const struct table *t = &p->router->topics.by_name;
    const uint64_t key[] = {p->sender->connection_id, p->n_pings};

    return (uint64_t) table_hash(t, 1, key, sizeof(key)) << 32 | table_hash(t, 2, key, sizeof(key));
}

void descriptors_ping(struct peer *p)
{
    struct wire_ping m;

    if (p->fds_pinged > 0 || p->fds_flying == 0) {
        return;
    }
    m.token = ping_token_new(p);
    if (!peer_try_send(p, VERB_PING, &m)) {
        peer_retry_later(p);
        return;
    }
    p->n_pings++;
    p->ping_token = m.token;
    p->fds_pinged = p->fds_flying;
}

void pong_handle(struct peer *p, const struct wire_pong *m)
{
    if (p->fds_pinged == 0 || m->token != p->ping_token) {
        return;
    }
    p->fds_flying -= p->fds_pinged;
    p->fds_pinged = 0;
    peer_pump_waiting(p); /* also asks anew, if others have flown meanwhile */
}
