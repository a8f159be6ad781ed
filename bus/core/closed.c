/* SPDX-License-Identifier: MIT */
#include "core/closed.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/state.h"

bool closed_init(struct closed_ring *ring)
{
    ring->n = 0;
    ring->all = calloc(CLOSED_MAX, sizeof(*ring->all));
    return ring->all != NULL;
}

void closed_fini(struct closed_ring *ring)
{
    free(ring->all);
    ring->all = NULL;
}

static struct closed *place_of(const struct closed_ring *ring, uint64_t number)
{
    return &ring->all[number % CLOSED_MAX];
}

/* The next one, in the place of the oldest. */
static struct closed *closed_next(struct router *r, const struct peer_info *info)
{
    struct closed *c = place_of(&r->closed, ++r->closed.n);

    *c = (struct closed){.number = r->closed.n,
                         .since_ns = r->now.realtime_ns,
                         .until_ns = r->now.realtime_ns,
                         .times = 1,
                         .uid = info->uid,
                         .gid = info->gid,
                         .pid = info->pid,
                         .packets = info->packets};
    return c;
}

static void set_text(struct closed *c, struct text text)
{
    size_t len = MIN(text.len, CLOSED_TEXT_MAX);

    while (len > 0 && len < text.len && ((unsigned char) text.data[len] & 0xC0) == 0x80) {
        len--; /* not within a character */
    }
    memcpy(c->text, text.data, len);
    c->text_len = (uint8_t) len;
}

void closed_note(struct peer *p, enum bus_goodbye reason, const char *text)
{
    struct closed *c = closed_next(p->router, &p->info);
    const struct sender *s = p->sender;

    c->connection_id = s->connection_id;
    c->session = s->session;
    c->since_ns = p->since_ns;
    c->reason = (uint8_t) reason;
    c->published_messages = p->published_messages;
    c->published_bytes = p->published_bytes;
    c->refused_messages = p->refused_messages;
    c->delivered_messages = p->delivered_messages;
    c->delivered_bytes = p->delivered_bytes;
    c->lost_messages = p->lost_messages;
    c->queued_messages = p->queued_messages;
    c->charged_bytes = p->quota.used;
    c->subscriptions = p->n_subs;
    memcpy(c->name, s->name, s->name_len);
    c->name_len = s->name_len;
    set_text(c, text_from(text));
}

void closed_set_text(struct peer *p, struct text text)
{
    struct closed *c = place_of(&p->router->closed, p->router->closed.n);

    if (c->connection_id == p->sender->connection_id) {
        set_text(c, text);
    }
}

/* Whoever is turned away tries again and again: that must not push out what happened before. */
void closed_note_refused(struct router *r, const struct peer_info *info, const char *text)
{
    struct closed *last = place_of(&r->closed, r->closed.n);

    if (r->closed.n > 0 && last->connection_id == 0 && last->uid == info->uid) {
        last->gid = info->gid;
        last->pid = info->pid;
        last->packets = info->packets;
        last->until_ns = r->now.realtime_ns;
        last->times++;
    } else {
        last = closed_next(r, info);
        last->reason = BUS_GOODBYE_LIMIT;
    }
    set_text(last, text_from(text));
}

const struct closed *closed_after(const struct closed_ring *ring, uint64_t number)
{
    uint64_t first = ring->n > CLOSED_MAX ? ring->n - CLOSED_MAX : 0;

    /* those that another router had are not all there, if it had lost some */
    for (number = MAX(number, first); number < ring->n; number++) {
        if (place_of(ring, number + 1)->number == number + 1) {
            return place_of(ring, number + 1);
        }
    }
    return NULL;
}

bool closed_restore(struct closed_ring *ring, const struct closed *c)
{
    if (c->number == 0 || c->number == UINT64_MAX || (ring->n > 0 && c->number != ring->n + 1)) {
        return false;
    }
    ring->n = c->number;
    *place_of(ring, c->number) = *c;
    return true;
}

void closed_check(const struct closed_ring *ring)
{
    const struct closed *c = NULL;
    uint64_t n = 0;

    while ((c = closed_after(ring, c ? c->number : 0))) {
        assert(c->number <= ring->n);
        assert(c->times > 0 && c->name_len <= BUS_NAME_MAX && c->text_len <= CLOSED_TEXT_MAX);
        n++;
    }
    assert(n <= MIN(ring->n, CLOSED_MAX));
}
