/* SPDX-License-Identifier: MIT */
/* What goes to a requester: answers and the ends of its requests, in their order. If the client
 * does not read they wait here, charged to it. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/envelope.h"
#include "core/request.h"
#include "core/state.h"
#include "wire/hot.h"

/* Fields 1 and 2 of ANSWER: call and part. */
#define ANSWER_LEAD_MAX (2 * HOT_SUBSCRIPTION_MAX)

struct answer_lead {
    uint8_t bytes[ANSWER_LEAD_MAX];
    size_t n;
};

static struct answer_lead lead_of(uint32_t number, uint32_t part)
{
    struct answer_lead lead;

    lead.n = hot_put_field_1(lead.bytes, number);
    lead.n = (size_t) (hot_put_field(lead.bytes + lead.n, 2, part) - lead.bytes);
    return lead;
}

static bool has_room(const struct peer *p)
{
    return p->out.bytes < p->output_max || p->router->is_shutting_down;
}

/* 1: it is on the link; 0: it has to wait; -1: out of memory. */
static int answer_put(struct peer *p, const struct answer_lead *lead, bool wants_fds,
                      const struct message_parts *parts)
{
    const struct envelope e = {p, VERB_ANSWER, lead->bytes, lead->n, lead->n, wants_fds, 0};

    if (!has_room(p) || (has_cargo(parts) && !cargo_may_go(&e, parts->whole))) {
        return 0;
    }
    if (!idset_has(&p->known, parts->sender->id) && !peer_introduce(p, parts->sender)) {
        return -1;
    }
    if (!(has_cargo(parts) ? cargo_put(&e, parts->whole) : envelope_put(&p->out, &e, parts))) {
        return -1;
    }
    peer_mark_dirty(p);
    return 1;
}

static uint64_t answer_memory(const struct answer *a)
{
    return sizeof(*a) + (a->message ? message_memory(a->message) : 0);
}

static void answer_free(struct peer *p, struct answer *a)
{
    DL_DELETE(p->answers, a);
    charge_release(&p->charge, answer_memory(a));
    if (a->message) {
        message_release(a->message);
    }
    free(a);
}

/* False if quota or memory forbid. */
static bool answer_queue(const struct answer_to *to, const struct message_parts *parts)
{
    struct peer *p = to->peer;
    struct answer *a = malloc(sizeof(*a));

    if (!a) {
        return false;
    }
    *a = (struct answer){.number = to->number, .part = to->part, .wants_fds = to->wants_fds};
    a->message = parts->whole ? message_ref(parts->whole) : message_new(parts);
    if (!a->message || !charge_add(&p->charge, answer_memory(a))) {
        if (a->message) {
            message_unref(a->message);
        }
        free(a);
        return false;
    }
    if (a->message->cargo) {
        a->message->cargo->n_wanted++;
    }
    DL_APPEND(p->answers, a);
    return true;
}

const char *answer_send(const struct answer_to *to, const struct message_parts *parts)
{
    struct answer_lead lead = lead_of(to->number, to->part);
    struct peer *p = to->peer;
    int sent = 0;

    if (p->state == PEER_CLOSING) {
        return NULL;
    }
    if (!body_fits(p, parts)) {
        return "the answer is too large for this link";
    }
    if (!p->answers) {
        sent = answer_put(p, &lead, to->wants_fds, parts);
    }
    if (sent > 0 || (sent == 0 && answer_queue(to, parts))) {
        return NULL;
    }
    return "no memory for the answers that wait to be read";
}

void answer_done(struct peer *p, const struct wire_done *done)
{
    struct answer *a;

    if (p->state == PEER_CLOSING) {
        return;
    }
    if (!p->answers) {
        peer_send(p, VERB_DONE, done);
        return;
    }
    a = malloc(sizeof(*a));
    if (!a) {
        peer_end(p, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    *a = (struct answer){.done = *done};
    charge_force(&p->charge, answer_memory(a)); /* less than what the request was charged with */
    DL_APPEND(p->answers, a);
}

/* 1, 0 or -1 as answer_put(). */
static int answer_out(struct peer *p, const struct answer *a)
{
    struct answer_lead lead = lead_of(a->number, a->part);
    struct message *m = a->message;

    if (m) {
        const struct message_parts parts = message_parts_of(m);

        return answer_put(p, &lead, a->wants_fds, &parts);
    }
    if (!has_room(p)) {
        return 0;
    }
    return peer_try_send(p, VERB_DONE, &a->done) ? 1 : -1;
}

void answers_pump(struct peer *p)
{
    while (p->answers && p->state == PEER_READY) {
        int sent = answer_out(p, p->answers);

        if (sent < 0) {
            peer_retry_later(p);
        }
        if (sent <= 0) {
            return;
        }
        p->router->work++;
        answer_free(p, p->answers);
    }
}

bool answers_drop(struct peer *p, unsigned *budget)
{
    for (; p->answers && *budget > 0; (*budget)--) {
        answer_free(p, p->answers);
    }
    return !p->answers;
}

/* ---- built up again ---- */

bool answer_restore(struct peer *p, const struct answer *as)
{
    struct text text = as->done.text;
    struct answer *a = malloc(sizeof(*a) + text.len); /* the text is no static one here */

    if (!a) {
        return false;
    }
    *a = *as;
    if (text.len > 0) {
        memcpy(a + 1, text.data, text.len);
        a->done.text.data = (const char *) (a + 1);
    }
    charge_force(&p->charge, answer_memory(a));
    if (a->message) {
        (void) message_ref(a->message);
        if (a->message->cargo) {
            a->message->cargo->n_wanted++;
        }
    }
    DL_APPEND(p->answers, a);
    return true;
}
