/* SPDX-License-Identifier: MIT */
/* Peers come and go, and with them what they own. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>
#include "base/units.h"
#include "core/drain.h"
#include "core/judge.h"
#include "core/reliance.h"
#include "core/request.h"
#include "core/state.h"

/* What the process needs for a connection outside of the core, measured. */
#define LINK_BYTES 512u

/* ---- they come ---- */

/* The number may have been another sender's: no link knows the new one. Most senders were never
 * introduced to anybody. */
void sender_forget(struct router *r, uint32_t id)
{
    if (!idset_has(&r->introduced, id)) {
        return;
    }
    for (struct peer *p = r->peers; p; p = p->next) {
        idset_remove(&p->known, id);
    }
    idset_remove(&r->introduced, id);
}

struct sender *sender_make(struct router *r, uint32_t uid, uint32_t id)
{
    struct sender *s = calloc(1, sizeof(*s));

    if (!s) {
        return NULL;
    }
    s->user = users_get(&r->users, uid);
    if (s->user && id == 0) {
        s->id = idpool_add(&r->sender_ids, s);
    } else if (s->user && idpool_put(&r->sender_ids, id, s)) {
        s->id = id;
    }
    if (s->id == 0) {
        user_unref(s->user);
        free(s);
        return NULL;
    }
    quota_init(&s->descriptors, r->config.limits.client_descriptors_max, &s->user->descriptors);
    s->refs = 1;
    s->ids = &r->sender_ids;
    s->uid = uid;
    return s;
}

static struct sender *sender_new(struct router *r, const struct peer_info *info)
{
    struct sender *s = sender_make(r, info->uid, 0);

    if (!s) {
        return NULL;
    }
    s->connection_id = ++r->next_connection_id;
    s->gid = info->gid;
    s->pid = info->pid;
    sender_forget(r, s->id);
    return s;
}

struct peer *peer_make(struct router *r, struct sender *s, const struct peer_info *info)
{
    struct peer *p = calloc(1, sizeof(*p));

    if (!p) {
        return NULL;
    }
    p->sender = s;
    p->router = r;
    p->info = *info;
    p->info.subject = NULL; /* the access has it */
    if (!access_begin(p, info->subject)) {
        free(p);
        return NULL;
    }
    s->peer = p;
    p->inline_max =
        info->packets ? FRAME_INLINE_MAX_SEQPACKET : (uint32_t) r->config.limits.stream_inline_max;
    outq_init(&p->out, &r->pool);
    peer_join_user(p, s->user);
    quota_init(&p->quota, r->config.limits.client_bytes_max, &s->user->bytes);
    quota_force(&s->user->connections, 1);
    charge_init(&p->parcels_charge, &s->descriptors);
    charge_init(&p->charge, &p->quota);
    windows_init(&p->windows, &p->quota);
    /* bounded by clients_max */
    charge_force(&p->charge, sizeof(*p) + sizeof(*s) + LINK_BYTES);
    DL_APPEND(r->peers, p);
    r->counters.clients_now++;
    outputs_share(r, p->user);
    p->output_max = p->user->output_max;
    return p;
}

static enum router_verdict refuse_client(struct router *r, const struct peer_info *info,
                                         const char *why)
{
    closed_note_refused(r, info, why);
    r->counters.clients_refused++;
    r->refused_client = why;
    return ROUTER_FULL;
}

int router_add_peer(struct router *r, const struct peer_info *info, const struct now *now,
                    struct peer **ret)
{
    struct sender *s;
    struct peer *p;
    struct user *u;

    r->now = *now;
    if (r->counters.clients_now >= r->config.limits.clients_max || r->is_shutting_down ||
        r->presence.n_due >= r->config.limits.clients_max) {
        return refuse_client(r, info, "the router serves no more clients");
    }
    u = users_find(&r->users, info->uid);
    if (u && user_refusal(r, u, USER_SLOT_connections)) {
        return refuse_client(r, info, r->refusal);
    }
    s = sender_new(r, info);
    if (!s) {
        return -ENOMEM;
    }
    p = peer_make(r, s, info);
    if (!p) {
        sender_unref(s);
        return -ENOMEM;
    }
    p->since_ns = now->realtime_ns;
    p->heard_ns = now->monotonic_ns;
    p->deadline_ns = now->monotonic_ns + r->config.limits.hello_timeout_ms * NS_PER_MS;
    DL_APPEND2(r->greeting, p, timed_prev, timed_next);
    r->counters.clients_total++;
    *ret = p;
    return ROUTER_OK;
}

const char *router_refusal_text(const struct router *r)
{
    return r->refused_client;
}

size_t router_refusal(struct router *r, uint8_t *dst, size_t cap)
{
    struct wire_goodbye goodbye = {BUS_GOODBYE_LIMIT, text_from(r->refused_client)};
    long n;

    if (cap < FRAME_PREFIX_BYTES) {
        return 0;
    }
    n = codec_encode(&r->arena, VERB_GOODBYE, &goodbye, dst + FRAME_PREFIX_BYTES,
                     cap - FRAME_PREFIX_BYTES);
    if (n < 0) {
        return 0;
    }
    frame_write_prefix(dst, VERB_GOODBYE, (size_t) n, 0);
    return FRAME_PREFIX_BYTES + (size_t) n;
}

/* The output's memory is the peer's; how much there can be is bounded by output_max and
 * peer_wants_input(). */
void peer_charge_output(struct peer *p)
{
    if (p->out.capacity_bytes >= p->out_charged) {
        charge_force(&p->charge, p->out.capacity_bytes - p->out_charged);
    } else {
        charge_release(&p->charge, p->out_charged - p->out.capacity_bytes);
    }
    p->out_charged = p->out.capacity_bytes;
}

/* ---- they go ---- */

/* Places that are empty cost next to nothing, and there may be many more of them than of others. */
static bool subs_drop(struct peer *p, unsigned *budget)
{
    for (; p->n_subs_max > 0; p->n_subs_max--) {
        struct sub *s = p->subs[p->n_subs_max - 1];

        if (s && (*budget == 0 || !sub_end(s, budget))) {
            return false;
        }
        *budget -= s && *budget > 0;
        charge_release(&p->charge, sizeof(void *));
    }
    free(p->subs);
    p->subs = NULL;
    return true;
}

static bool aliases_drop(struct peer *p, unsigned *budget)
{
    unsigned more;

    for (; p->n_aliases_max > 0; p->n_aliases_max--) {
        if (p->aliases[p->n_aliases_max - 1]) {
            if (*budget == 0) {
                return false;
            }
            more = alias_drop(p, p->n_aliases_max);
            *budget -= MIN(1 + more, *budget);
        }
        charge_release(&p->charge, sizeof(void *));
    }
    free(p->aliases);
    p->aliases = NULL;
    return true;
}

/* Everything a peer owns but its output, to which nothing more can be added from here on. False if
 * the budget was used up before that. */
static bool peer_drop(struct peer *p, unsigned *budget)
{
    tap_free(p);
    cargo_drop_all(p);
    if (!answers_drop(p, budget) || !requests_drop(p, budget) || !subs_drop(p, budget) ||
        !reliable_drop(p, budget) || !aliases_drop(p, budget)) {
        return false;
    }
    reliable_fini(p);
    interests_fini(p);
    alarms_fini(p);
    windows_fini(&p->windows);
    return true;
}

static void peer_free(struct peer *p)
{
    struct router *r = p->router;

    drains_drop(p);
    idset_fini(&p->known);
    idset_fini(&p->drained);
    idset_fini(&p->wishes);
    idset_fini(&p->muted);
    idset_fini(&p->unasked);
    idset_fini(&p->owned);
    idset_fini(&p->known_buffers);
    idset_fini(&p->known_topics);
    charge_fini(&p->charge);
    assert(p->quota.used == 0);
    DL_DELETE(r->peers, p);
    access_end(p);
    peer_leave_user(p);
    sender_unref(p->sender);
    free(p);
}

/* The latest is the first, for nearly all have little; who has more goes to the end, and then they
 * take turns. */
void router_reap(struct router *r, unsigned budget)
{
    drains_finish(r, budget);
    while (r->doomed && budget > 0) {
        struct peer *p = r->doomed;
        unsigned part = MIN(budget, REAP_IN_A_TURN), left = part;
        bool is_done = peer_drop(p, &left);

        budget -= part - left;
        p->user->work += part - left;
        DL_DELETE2(r->doomed, p, doomed_prev, doomed_next);
        if (!is_done) {
            DL_APPEND2(r->doomed, p, doomed_prev, doomed_next);
            continue;
        }
        p->is_doomed = false;
        if (p->is_gone) {
            peer_free(p);
        }
    }
    groups_work(r);
    reliable_tell_all(r);
}

void router_remove_peer(struct router *r, struct peer *p)
{
    /* first the state: what its own queues release must not be given back to it */
    if (p->state == PEER_CLOSING) {
        DL_DELETE2(r->lingering, p, timed_prev, timed_next);
    } else if (p->state == PEER_GREETING) {
        DL_DELETE2(r->greeting, p, timed_prev, timed_next);
    }
    parcels_unwatch(p);
    if (p->state != PEER_CLOSING) {
        returns_ended(p);
        presence_left(p, BUS_GOODBYE_NONE, "");
        closed_note(p, BUS_GOODBYE_NONE, "");
    }
    p->state = PEER_CLOSING;
    p->sender->peer = NULL;
    r->replacer = r->replacer == p ? NULL : r->replacer;
    peer_unmark_dirty(p);
    outq_fini(&p->out);
    leases_drop_all(p);
    peer_charge_output(p);
    r->counters.clients_now--;
    quota_release(&p->user->connections, 1);
    outputs_share(r, p->user);
    p->is_gone = true;
    peer_doom(p);
    router_reap(r, REAP_AT_ONCE);
}
