/* SPDX-License-Identifier: MIT */
#include "core/exceeded.h"
#include <utlist.h>
#include "core/state.h"
#include "core/words.h"
#include "wire/quota_event.h"

#define EVENT_EACH_NS UINT64_C(1000000000)
#define QUOTA_TOPIC "$bus/quota/exceeded"

/* Who met a bound. */
struct asking {
    struct router *router;
    struct user *user;
    const struct sender *sender; /* NULL: a group, or a connection that is not to be */
};

static struct asking asking_of(struct peer *p)
{
    return (struct asking){p->router, p->user, p->sender};
}

/* ---- which bound it is ---- */

/* Which slot of its user, or EXCESS_TOTAL; EXCESS_NONE: it is the client's own. */
static unsigned excess_of(const struct router *r, const struct user *u, const struct quota *bound)
{
    if (bound == &r->quota) {
        return EXCESS_TOTAL;
    }
    return bound >= u->slots && bound < u->slots + USER_SLOTS_COUNT ? (unsigned) (bound - u->slots)
                                                                    : EXCESS_NONE;
}

static const char *excess_name(unsigned excess)
{
    return excess == EXCESS_TOTAL ? "total_bytes" : user_slot_name((enum user_slot) excess);
}

/* The first one that is in the way. */
static const struct quota *bound_find(const struct quota *q, uint64_t more)
{
    for (const struct quota *bound = q; bound; bound = bound->parent) {
        if (!quota_fits(bound, more)) {
            return bound;
        }
    }
    return q;
}

/* ---- words ---- */

static void name_put(struct words *w, const struct asking *a, const struct quota *bound)
{
    unsigned excess = excess_of(a->router, a->user, bound);

    if (excess < USER_SLOTS_COUNT) {
        words_put(w, excess_name(excess));
    } else if (excess == EXCESS_TOTAL) {
        words_put(w, "total_bytes_max");
        return;
    } else if (bound == &a->user->groups) {
        words_put(w, "groups_bytes_max");
    } else {
        words_put(w, a->sender && bound == &a->sender->descriptors ? "client_descriptors_max"
                                                                   : "client_bytes_max");
        return;
    }
    words_put(w, " of uid ");
    words_number(w, a->user->uid);
}

static const char *refusal_write(const struct asking *a, const struct quota *bound, uint64_t more)
{
    char *text = a->router->refusal;
    struct words w = {text, text + REFUSAL_MAX - 1};

    name_put(&w, a, bound);
    words_put(&w, ": ");
    words_number(&w, bound->used);
    words_put(&w, " of ");
    words_number(&w, bound->limit);
    words_put(&w, " used, ");
    words_number(&w, more);
    words_put(&w, " more asked for");
    *w.at = '\0';
    return text;
}

/* ---- noting ---- */

static void note(const struct asking *a, const struct quota *bound, uint64_t more)
{
    struct router *r = a->router;
    unsigned which = excess_of(r, a->user, bound);
    struct user_excess *e;

    if (which == EXCESS_NONE) {
        return;
    }
    e = &a->user->excesses[which];
    e->n++;
    if (e->is_due || r->now.monotonic_ns < e->next_ns) {
        return;
    }
    e->connection_id = a->sender ? a->sender->connection_id : 0;
    e->used = bound->used;
    e->limit = bound->limit;
    e->requested = more;
    e->is_due = true;
    r->n_excesses++;
    (void) user_ref(a->user); /* until it is said */
}

void excess_note(struct peer *p, const struct quota *bound, uint64_t more)
{
    const struct asking a = asking_of(p);

    note(&a, bound, more);
}

/* ---- refusing ---- */

const char *quota_refusal(struct peer *p, const struct quota *q, uint64_t more)
{
    const struct quota *bound = bound_find(q, more);
    const struct asking a = asking_of(p);

    note(&a, bound, more);
    return refusal_write(&a, bound, more);
}

const char *user_refusal(struct router *r, struct user *u, enum user_slot slot)
{
    const struct asking a = {r, u, NULL};

    if (quota_fits(&u->slots[slot], 1)) {
        return NULL;
    }
    note(&a, &u->slots[slot], 1);
    return refusal_write(&a, &u->slots[slot], 1);
}

const char *slot_refusal(struct peer *p, enum user_slot slot, uint64_t more)
{
    const struct quota *q = &p->user->slots[slot];

    return quota_fits(q, more) ? NULL : quota_refusal(p, q, more);
}

const char *bytes_refusal(struct peer *p, uint64_t more)
{
    return quota_refusal(p, &p->quota, more);
}

/* ---- who holds the most ---- */

static uint64_t peer_part(const struct peer *p, unsigned excess)
{
    switch (excess) {
    case USER_SLOT_bytes:
        return p->quota.used;
    case USER_SLOT_descriptors:
        return p->sender ? p->sender->descriptors.used : 0;
    case USER_SLOT_subscriptions:
        return p->n_subs;
    case USER_SLOT_wildcards:
        return p->n_wildcards;
    case USER_SLOT_topics:
        return p->n_aliases;
    case USER_SLOT_requests:
        return p->n_requests;
    default:
        return 0; /* that has no parts by connection */
    }
}

static void holder_add(struct quota_event *e, const struct quota_holder *h)
{
    uint32_t at = e->n_holders;

    while (at > 0 && e->holders[at - 1].used < h->used) {
        at--;
    }
    if (h->used == 0 || at == QUOTA_HOLDERS_MAX) {
        return;
    }
    e->n_holders = MIN(e->n_holders + 1, QUOTA_HOLDERS_MAX);
    for (uint32_t i = e->n_holders - 1; i > at; i--) {
        e->holders[i] = e->holders[i - 1];
    }
    e->holders[at] = *h;
}

static void holders_of_user(struct quota_event *e, const struct user *u, unsigned excess)
{
    const struct peer *p;

    DL_FOREACH2(u->payers, p, user_next)
    {
        struct quota_holder h = {.uid = u->uid, .used = peer_part(p, excess), .name = {"", 0}};

        if (p->group) {
            h.name = text_from("(group)");
        } else {
            h.connection_id = p->sender->connection_id;
            h.name = (struct text){p->sender->name, p->sender->name_len};
        }
        holder_add(e, &h);
    }
}

/* Of the router's bound, and of what has no parts by connection. */
static void holders_of_router(struct quota_event *e, const struct router *r, unsigned excess)
{
    unsigned slot = excess == EXCESS_TOTAL ? USER_SLOT_bytes : excess;
    const struct user *u;

    DL_FOREACH (r->users.list, u) {
        struct quota_holder h = {.uid = u->uid, .used = u->slots[slot].used, .name = {"", 0}};

        holder_add(e, &h);
    }
}

/* ---- saying ---- */

static struct quota_event event_of(const struct router *r, const struct user *u, unsigned excess)
{
    const struct user_excess *x = &u->excesses[excess];
    struct quota_event e = {.uid = u->uid,
                            .connection_id = x->connection_id,
                            .slot = text_from(excess_name(excess)),
                            .limit = x->limit,
                            .used = x->used,
                            .requested = x->requested,
                            .times = x->n};

    if (excess != EXCESS_TOTAL) {
        holders_of_user(&e, u, excess);
    }
    if (e.n_holders == 0) {
        holders_of_router(&e, r, excess);
    }
    return e;
}

/* False if out of memory. */
static bool excess_say(struct router *r, struct user *u, unsigned excess)
{
    const struct quota_event e = event_of(r, u, excess);
    uint8_t body[QUOTA_EVENT_MAX];

    return presence_publish_event(r, text_from(QUOTA_TOPIC), body, quota_event_encode(&e, body));
}

static void excess_tell(const struct router *r, const struct user *u, unsigned excess)
{
    const struct router_events *events = r->config.events;

    if (events && events->quota) {
        const struct quota_event e = event_of(r, u, excess);

        events->quota(r->config.events_userdata, &e);
    }
}

/* Returns how many were said. */
static uint32_t user_turn(struct router *r, struct user *u, bool *starved)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < EXCESSES_COUNT; i++) {
        struct user_excess *x = &u->excesses[i];

        if (!x->is_due) {
            continue;
        }
        if (!excess_say(r, u, i)) {
            *starved = true; /* again in a later turn; what comes meanwhile is counted */
            return n;
        }
        excess_tell(r, u, i);
        x->is_due = false;
        x->n = 0;
        x->next_ns = r->now.monotonic_ns + EVENT_EACH_NS;
        n++;
    }
    return n;
}

void excesses_drop(struct router *r)
{
    struct user *u, *next;

    DL_FOREACH_SAFE (r->users.list, u, next) {
        uint32_t n = 0;

        for (unsigned i = 0; i < EXCESSES_COUNT; i++) {
            n += u->excesses[i].is_due;
            u->excesses[i].is_due = false;
        }
        for (; n > 0; n--) {
            user_unref(u);
        }
    }
    r->n_excesses = 0;
}

bool excesses_turn(struct router *r)
{
    struct user *u, *next;
    bool starved = false;

    if (r->n_excesses == 0) {
        return true;
    }
    for (u = r->users.list; u; u = next) {
        (void) user_ref(u);
        for (uint32_t n = user_turn(r, u, &starved); n > 0; n--) {
            r->n_excesses--;
            user_unref(u);
        }
        next = u->next; /* not before: what gives way to an event may be all that is left of one */
        user_unref(u);
    }
    return !starved;
}
