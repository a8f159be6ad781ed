/* SPDX-License-Identifier: MIT */
#include "core/replay.h"
#include <stdlib.h>
#include "core/state.h"
#include "wire/hot.h"

/* Headers were made to leave room for the longest subscription field. */
_Static_assert(SUB_FIELD_BYTES + RETAINED_FIELD_BYTES <= HOT_SUBSCRIPTION_MAX, "no room for flags");

bool replay_new(struct sub *s)
{
    struct sub_queue *sq = s->queue;

    if (!charge_add(&sq->charge, sizeof(*sq->replay))) {
        return false;
    }
    sq->replay = calloc(1, sizeof(*sq->replay));
    if (!sq->replay) {
        charge_release(&sq->charge, sizeof(*sq->replay));
        return false;
    }
    subq_init(&sq->replay->q, &sq->charge); /* without descriptors: they are not kept */
    return true;
}

void replay_free(struct sub *s)
{
    struct sub_queue *sq = s->queue;

    subq_fini(&sq->replay->q, publish_release);
    free(sq->replay);
    sq->replay = NULL;
    charge_release(&sq->charge, sizeof(*sq->replay));
}

static void replay_lose(struct sub *s, enum bus_loss_reason reason, const struct message *m)
{
    subq_note_loss(&s->queue->replay->q, reason, 1, m->size);
    sub_count_lost(s, reason, 1);
    m->topic->lost_messages++;
}

static void replay_add(struct sub *s, struct match *match, struct message *m)
{
    struct subq *q = &s->queue->replay->q;

    s->peer->router->counters.messages_matched++;
    if (!sub_takes(s, m)) {
        replay_lose(s, BUS_LOSS_TOO_LARGE, m);
    } else if (!match || !subq_prepare(q, m)) {
        replay_lose(s, BUS_LOSS_NO_MEMORY, m);
    } else {
        subq_push(q, m, match);
        sub_count_queued(s, 1, m->size);
    }
}

void replay_fill(struct sub *s, enum bus_retained retained)
{
    keep_walk(s, retained, replay_add);
}

bool replay_end(struct sub *s)
{
    struct wire_snapshot_end end = {.subscription = sub_id(s),
                                    .messages = s->queue->replay->n_sent};

    if (!peer_try_send(s->peer, VERB_SNAPSHOT_END, &end)) {
        return false;
    }
    replay_free(s);
    return true;
}

size_t replay_put_field(const struct sub *s, uint8_t *dst)
{
    if (!sub_is_replaying(s)) {
        return 0;
    }
    dst[0] = 6 << 3; /* MESSAGE.flags, a varint */
    dst[1] = MESSAGE_RETAINED;
    return RETAINED_FIELD_BYTES;
}
