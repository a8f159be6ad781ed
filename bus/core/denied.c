/* SPDX-License-Identifier: MIT */
#include "core/denied.h"
#include <assert.h>
#include <stdlib.h>
#include <utlist.h>
#include "core/policy.h"
#include "core/state.h"
#include "wire/denied_event.h"

#define SECOND_NS UINT64_C(1000000000)

struct denied_note {
    struct denied_note *prev, *next; /* denials.notes */
    struct denied_event event;       /* its texts are behind it; left_out is put in at the end */
    char texts[];
};

static struct text topic_of_events(void)
{
    return text_from("$bus/access/denied");
}

/* One more in this second. */
static bool is_within_rate(struct router *r)
{
    struct denials *all = &r->denials;
    uint64_t now_ns = r->now.monotonic_ns;

    if (now_ns - all->second_ns >= SECOND_NS) {
        all->second_ns = now_ns;
        all->n_in_second = 0;
    }
    if (all->n_in_second == DENIED_PER_SECOND || all->n_notes == DENIED_PER_SECOND) {
        return false;
    }
    all->n_in_second++;
    return true;
}

static struct text keep(char **at, struct text t)
{
    struct text kept = {*at, t.len};

    if (t.len > 0) {
        memcpy(*at, t.data, t.len);
    }
    *at += t.len;
    return kept;
}

static bool note(struct router *r, const struct denial *d)
{
    struct text name = text_cut(d->name, BUS_NAME_MAX), topic = text_cut(d->topic, BUS_TOPIC_MAX);
    struct text place = text_cut(d->place, EVENT_TEXT_MAX);
    struct denied_note *n = calloc(1, sizeof(*n) + name.len + topic.len + place.len);
    char *at = n ? n->texts : NULL;

    if (!n) {
        return false;
    }
    n->event = (struct denied_event){
        .connection_id = d->connection_id,
        .uid = d->uid,
        .gid = d->gid,
        .pid = d->pid,
        .name = keep(&at, name),
        .verb = text_from(policy_verb_name(d->verb)),
        .topic = keep(&at, topic),
        .rule = keep(&at, place),
        .text = text_from(d->why ? d->why : ""),
        .taken = d->is_lost,
    };
    DL_APPEND(r->denials.notes, n);
    r->denials.n_notes++;
    return true;
}

void denied_tell(struct router *r, const struct denial *d)
{
    const struct router_events *events = r->config.events;

    r->counters.denials++;
    if (events && events->denied) {
        events->denied(r->config.events_userdata, d);
    }
    if (r->is_shutting_down || !presence_wants_event(r, topic_of_events())) {
        return;
    }
    if (!is_within_rate(r) || !note(r, d)) {
        r->denials.left_out++;
    }
}

static void note_remove(struct router *r, struct denied_note *n)
{
    DL_DELETE(r->denials.notes, n);
    r->denials.n_notes--;
    free(n);
}

bool denied_turn(struct router *r, uint64_t end)
{
    struct denials *all = &r->denials;
    uint8_t body[DENIED_EVENT_MAX];

    while (all->notes && r->work < end) {
        struct denied_note *n = all->notes;
        size_t bytes;

        n->event.left_out = all->left_out;
        bytes = denied_event_encode(&n->event, body);
        r->work++;
        if (!presence_publish_event(r, topic_of_events(), body, bytes)) {
            return false;
        }
        all->left_out -= n->event.left_out; /* publishing may have caused others */
        note_remove(r, n);
    }
    return true;
}

void denied_fini(struct router *r)
{
    while (r->denials.notes) {
        note_remove(r, r->denials.notes);
    }
}

void denied_check(const struct router *r)
{
    const struct denied_note *n;
    uint32_t n_notes = 0;

    DL_FOREACH (r->denials.notes, n) {
        n_notes++;
    }
    assert(n_notes == r->denials.n_notes && n_notes <= DENIED_PER_SECOND);
    assert(r->denials.n_in_second <= DENIED_PER_SECOND);
}
