/* SPDX-License-Identifier: MIT */
/* Other rules: everything that is there is judged anew. First whatever can fail, then all in one
 * turn, so that nobody ever has rights that neither the old nor the new rules give. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/judge.h"
#include "core/member.h"
#include "core/request.h"
#include "core/will.h"
#include "core/withdraw.h"

/* ---- what can fail ---- */

struct judgement {
    struct accesses accesses;
    struct access **of_wills; /* in the order of presence.wills */
    size_t n_peers, n_wills;
    struct judged {
        struct access *access;
        struct idset muted, unasked;
        uint32_t n_muted;
    } peers[]; /* in the order of router.peers */
};

static bool judge_aliases(const struct peer *p, struct judged *j)
{
    for (uint32_t alias = 1; alias <= p->n_aliases_max; alias++) {
        const struct topic *t = p->aliases ? p->aliases[alias - 1] : NULL;
        struct text topic = t ? (struct text){t->name, t->len} : (struct text){"", 0};

        if (!t) {
            continue;
        }
        if (!access_topic(j->access, POLICY_PUBLISH, topic).is_allowed) {
            if (!idset_add(&j->muted, alias)) {
                return false;
            }
            j->n_muted++;
        }
        if (!access_topic(j->access, POLICY_REQUEST, topic).is_allowed &&
            !idset_add(&j->unasked, alias)) {
            return false;
        }
    }
    return true;
}

static bool judge_peer(struct judgement *j, const struct peer *p)
{
    const struct subject s = subject_of(p->access, p->sender);
    struct judged *to = &j->peers[j->n_peers++];

    to->access = accesses_get(&j->accesses, &s, &p->user->bytes);
    return to->access && (p->state != PEER_READY || judge_aliases(p, to));
}

static bool judge_will(struct judgement *j, const struct will *w)
{
    const struct subject s = subject_of(w->access, w->sender);

    j->of_wills[j->n_wills] = accesses_get(&j->accesses, &s, &w->sender->user->bytes);
    return j->of_wills[j->n_wills++];
}

static bool judge_all(struct judgement *j, const struct router *r)
{
    const struct peer *p;
    const struct will *w;

    DL_FOREACH (r->peers, p) {
        if (!judge_peer(j, p)) {
            return false;
        }
    }
    DL_FOREACH2(r->presence.wills, w, left_next)
    {
        if (!judge_will(j, w)) {
            return false;
        }
    }
    return true;
}

struct judgement *judge_prepare(struct router *r, struct policy *policy)
{
    const struct peer *p;
    const struct will *w;
    struct judgement *j;
    size_t n = 0, n_wills = 0;

    DL_COUNT(r->peers, p, n);
    DL_COUNT2(r->presence.wills, w, n_wills, left_next);
    j = calloc(1, sizeof(*j) + n * sizeof(j->peers[0]) + n_wills * sizeof(struct access *));
    if (!j) {
        return NULL;
    }
    j->of_wills = (struct access **) (void *) &j->peers[n];
    accesses_init(&j->accesses, r->config.hash_seed, policy, r->config.owner_uid);
    j->accesses.names = r->config.names;
    j->accesses.names_userdata = r->config.names_userdata;
    if (!judge_all(j, r)) {
        judge_cancel(r, j);
        return NULL;
    }
    return j;
}

/* What is in there has been taken out of it, or goes. */
static void judgement_free(const struct router *r, struct judgement *j, struct accesses *from)
{
    const struct will *w = r->presence.wills;
    const struct peer *p = r->peers;

    for (size_t i = 0; i < j->n_peers; i++, p = p->next) {
        accesses_put(from, j->peers[i].access, &p->user->bytes);
        idset_fini(&j->peers[i].muted);
        idset_fini(&j->peers[i].unasked);
    }
    for (size_t i = 0; i < j->n_wills; i++, w = w->left_next) {
        accesses_put(from, j->of_wills[i], &w->sender->user->bytes);
    }
    accesses_fini(from);
}

void judge_cancel(struct router *r, struct judgement *j)
{
    judgement_free(r, j, &j->accesses);
    free(j);
}

/* ---- putting it into force ---- */

static void access_swap(struct access **a, struct access **b)
{
    struct access *was = *a;

    *a = *b;
    *b = was;
}

static void set_swap(struct peer *p, struct idset *a, struct idset *b)
{
    struct idset was = *a;

    charge_release(&p->charge, idset_memory(a));
    charge_force(&p->charge, idset_memory(b));
    *a = *b;
    *b = was;
}

/* From here on the new rules hold; what is in j is what held before. */
static void rules_swap(struct router *r, struct judgement *j)
{
    struct accesses was = r->accesses;
    struct will *w = r->presence.wills;
    struct peer *p = r->peers;

    r->accesses = j->accesses;
    j->accesses = was;
    for (size_t i = 0; i < j->n_peers; i++, p = p->next) {
        access_swap(&p->access, &j->peers[i].access);
        set_swap(p, &p->muted, &j->peers[i].muted);
        set_swap(p, &p->unasked, &j->peers[i].unasked);
        p->n_muted = j->peers[i].n_muted;
    }
    for (size_t i = 0; i < j->n_wills; i++, w = w->left_next) {
        access_swap(&w->access, &j->of_wills[i]);
    }
}

static const char *loss_note(struct peer *p, uint32_t verb, struct text topic,
                             const struct access_verdict *v)
{
    return denial_note(p->router, p->sender, verb, topic, v, true);
}

/* Its topic keeps nothing for it any more. */
static void wish_look(struct peer *p, uint32_t alias, struct topic *t)
{
    const struct text topic = {t->name, t->len};
    struct wire_status status = {
        .code = BUS_STATUS_DENIED, .verb = VERB_CLEAR, .alias = alias, .text = {"", 0}};
    struct access_verdict v;

    if (!idset_has(&p->wishes, alias)) {
        return;
    }
    v = access_topic(p->access, POLICY_RETAIN, topic);
    if (v.is_allowed) {
        return;
    }
    keep_lose_wish(p, alias, t);
    status.text = text_from(loss_note(p, POLICY_RETAIN, topic, &v));
    peer_send_status(p, &status);
}

static void alias_look(struct peer *p, uint32_t alias, bool was_muted)
{
    struct topic *t = p->aliases[alias - 1];
    const struct text topic = {t->name, t->len};
    bool is_muted = idset_has(&p->muted, alias);
    struct wire_status status = {
        .code = BUS_STATUS_DENIED, .verb = VERB_PUBLISH, .alias = alias, .text = {"", 0}};
    struct access_verdict v;

    if (is_muted != was_muted && t->interest) {
        interest_note(t, NULL);
    }
    if (is_muted && !was_muted) {
        v = access_topic(p->access, POLICY_PUBLISH, topic);
        status.text = text_from(loss_note(p, POLICY_PUBLISH, topic, &v));
        peer_send_status(p, &status);
    }
    wish_look(p, alias, t);
}

static void will_look(struct peer *p, struct will *w)
{
    const struct text topic = {w->topic, w->topic_len};
    struct access_verdict v = access_topic(p->access, POLICY_PUBLISH, topic);
    struct wire_status status = {.code = BUS_STATUS_DENIED, .verb = VERB_WILL, .text = {"", 0}};

    if (!v.is_allowed) {
        (void) loss_note(p, POLICY_PUBLISH, topic, &v);
        status.text = text_from(denial_name(p->router, POLICY_PUBLISH, topic));
        will_withdraw(p, w);
        peer_send_status(p, &status);
    }
}

/* What a subscription may not do any more. */
struct finding {
    uint32_t verb;
    struct text topic;
    struct access_verdict verdict;
    char filter[256];
};

static bool filter_fails(const struct sub *s, uint32_t verb, struct finding *f)
{
    f->verb = verb;
    f->topic = sub_filter(s, f->filter);
    f->verdict = access_filter(s->peer->access, verb, f->topic);
    return !f->verdict.is_allowed &&
           !(s->is_narrow && access_filter_partly(s->peer->access, verb, f->topic));
}

static bool dead_letter_fails(const struct sub *s, struct finding *f)
{
    const struct group *g = sub_group(s);

    if (!g || g->dead_letter_len == 0) {
        return false;
    }
    f->verb = POLICY_PUBLISH;
    f->topic = (struct text){group_dead_letter(g), g->dead_letter_len};
    f->verdict = access_topic(s->peer->access, POLICY_PUBLISH, f->topic);
    return !f->verdict.is_allowed;
}

static bool sub_fails(const struct sub *s, struct finding *f)
{
    return filter_fails(s, sub_right(s->flags), f) ||
           (sub_is_blocking(s->flags, s->policy) && filter_fails(s, POLICY_BLOCK, f)) ||
           dead_letter_fails(s, f);
}

/* First all are marked, so that what one of them leaves does not go to another. */
static void subs_mark(struct peer *p)
{
    struct finding f;

    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        struct sub *s = p->subs[i];

        if (s && sub_fails(s, &f)) {
            s->is_denied = true;
            if (s->flags & SUB_MEMBER) {
                member_refresh(member_of(s));
            }
        }
    }
}

static void subs_look(struct peer *p)
{
    struct finding f;

    for (uint32_t i = 0; i < p->n_subs_max && p->state == PEER_READY; i++) {
        struct sub *s = p->subs[i];

        if (s && s->is_denied && sub_fails(s, &f)) {
            const char *why = loss_note(p, f.verb, f.topic, &f.verdict);

            sub_withdraw(s,
                         f.verb == POLICY_PUBLISH ? denial_name(p->router, f.verb, f.topic) : why);
        }
    }
}

/* Before anything else moves, so that it goes to nobody who may not get it any more. */
static void subs_narrow(struct peer *p)
{
    for (uint32_t i = 0; i < p->n_subs_max && p->state == PEER_READY; i++) {
        struct sub *s = p->subs[i];

        if (s && s->is_narrow && !s->is_denied) {
            p->router->topics.epoch++; /* what was not allowed before is looked for again */
            sub_narrow(s);
        }
    }
}

static void requests_look(struct peer *p)
{
    for (uint32_t i = 0; i < p->n_requests_max && p->state == PEER_READY; i++) {
        struct request *q = p->requests[i];
        struct text topic = q ? (struct text){q->topic->name, q->topic->len} : (struct text){"", 0};
        struct access_verdict v;

        if (!q) {
            continue;
        }
        v = access_topic(p->access, POLICY_REQUEST, topic);
        if (!v.is_allowed) {
            (void) loss_note(p, POLICY_REQUEST, topic, &v);
            request_withdraw(q);
        }
    }
}

static void monitor_look(struct peer *p)
{
    struct wire_status status = {.code = BUS_STATUS_DENIED, .verb = VERB_MONITOR};
    const char *why = p->tap ? tap_denied(p, p->tap) : NULL;

    if (why) {
        status.text = text_from(why);
        tap_flush_loss(p);
        tap_free(p);
        p->output_max = p->router->config.limits.output_bytes_max;
        peer_send_status(p, &status);
    }
}

static void peer_look(struct peer *p, const struct idset *were_muted)
{
    struct will *w, *next;

    for (uint32_t alias = 1; alias <= p->n_aliases_max && p->state == PEER_READY; alias++) {
        if (p->aliases[alias - 1]) {
            alias_look(p, alias, idset_has(were_muted, alias));
        }
    }
    DL_FOREACH_SAFE (p->sender->wills, w, next) {
        if (p->state == PEER_READY) {
            will_look(p, w);
        }
    }
    requests_look(p);
    subs_look(p);
}

static void left_wills_look(struct router *r)
{
    struct will *w, *next;

    DL_FOREACH_SAFE2(r->presence.wills, w, next, left_next)
    {
        const struct text topic = {w->topic, w->topic_len};
        struct access_verdict v = access_topic(w->access, POLICY_PUBLISH, topic);

        if (!v.is_allowed) {
            (void) denial_note(r, w->sender, POLICY_PUBLISH, topic, &v, true);
            will_drop_left(r, w);
        }
    }
}

/* What has come free meanwhile goes to those who may have it, from those who may still ask. */
static void servers_go_on(struct router *r)
{
    struct peer *p;

    DL_FOREACH (r->peers, p) {
        for (uint32_t i = 0; i < p->n_subs_max; i++) {
            struct sub *s = p->subs[i];

            if (s && s->is_put_off) {
                s->is_put_off = false;
                server_pump(s);
            }
        }
    }
}

void judge_commit(struct router *r, struct judgement *j)
{
    struct peer *p;
    size_t i = 0;

    rules_swap(r, j);
    r->is_judging = true;
    DL_FOREACH (r->peers, p) {
        if (p->state == PEER_READY) {
            monitor_look(p);
            subs_mark(p);
        }
    }
    DL_FOREACH (r->peers, p) {
        subs_narrow(p);
    }
    DL_FOREACH (r->peers, p) {
        if (p->state == PEER_READY) {
            peer_look(p, &j->peers[i].muted);
        }
        i++;
    }
    r->is_judging = false;
    servers_go_on(r);
    judgement_free(r, j, &j->accesses); /* the old ones, while the wills are in their order */
    free(j);
    left_wills_look(r);
}

/* ---- tests ---- */

static void matches_check(const struct sub *s)
{
    const struct match *m;

    DL_FOREACH2(s->matches, m, sub_next)
    {
        const struct text topic = {m->topic->name, m->topic->len};

        assert(access_topic(s->peer->access, sub_right(s->flags), topic).is_allowed);
    }
}

void peer_rights_check(const struct peer *p)
{
    struct finding f;
    const struct will *w;
    uint32_t n_muted = 0;

    for (uint32_t alias = 1; alias <= p->n_aliases_max; alias++) {
        const struct topic *t = p->aliases[alias - 1];
        const struct text topic = t ? (struct text){t->name, t->len} : (struct text){"", 0};

        n_muted += idset_has(&p->muted, alias);
        assert(t || (!idset_has(&p->muted, alias) && !idset_has(&p->unasked, alias)));
        assert(!t || idset_has(&p->muted, alias) !=
                         access_topic(p->access, POLICY_PUBLISH, topic).is_allowed);
        assert(!t || idset_has(&p->unasked, alias) !=
                         access_topic(p->access, POLICY_REQUEST, topic).is_allowed);
        assert(!idset_has(&p->wishes, alias) ||
               access_topic(p->access, POLICY_RETAIN, topic).is_allowed);
    }
    assert(n_muted == p->n_muted);
    for (uint32_t i = 0; i < p->n_subs_max; i++) {
        assert(!p->subs[i] || (!p->subs[i]->is_denied && !sub_fails(p->subs[i], &f)));
        if (p->subs[i]) {
            matches_check(p->subs[i]);
        }
    }
    DL_FOREACH (p->sender->wills, w) {
        const struct text topic = {w->topic, w->topic_len};

        assert(access_topic(p->access, POLICY_PUBLISH, topic).is_allowed);
    }
}
