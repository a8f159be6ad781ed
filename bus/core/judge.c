/* SPDX-License-Identifier: MIT */
/* Rights, as the verbs ask for them. */
#include "core/judge.h"
#include "core/words.h"
#include "wire/topic.h"

/* ---- refusals ---- */

/* What is needed beside the right that the frame asks for: whoever reads the text would look for
 * the wrong one. */
#define RIGHTS_BESIDE (POLICY_RETAIN | POLICY_BLOCK | POLICY_DESCRIPTORS)

/* What would be said of it. */
static const char *verdict_text(struct router *r, uint32_t verb, const struct access_verdict *v)
{
    size_t len = access_text(v, r->refusal);
    struct words w = {r->refusal + len, r->refusal + sizeof(r->refusal) - 1};

    if (verb & RIGHTS_BESIDE) {
        words_put(&w, " (");
        words_put(&w, policy_verb_name(verb));
        words_put(&w, ")");
    }
    *w.at = '\0';
    return r->refusal;
}

const char *denial_note(struct router *r, const struct sender *s, uint32_t verb, struct text topic,
                        const struct access_verdict *v, bool is_lost)
{
    const struct denial d = {.connection_id = s->connection_id,
                             .uid = s->uid,
                             .gid = s->gid,
                             .pid = s->pid,
                             .name = {s->name, s->name_len},
                             .verb = verb,
                             .topic = topic,
                             .place = v->place,
                             .why = v->why,
                             .is_lost = is_lost};

    denied_tell(r, &d);
    return verdict_text(r, verb, v);
}

/* Questions cost time: what the rules are is not the client's fault, how often it asks is. */
#define RULES_FOR_A_UNIT 16u

static void question_count(const struct peer *p)
{
    p->router->work += access_count(p->access) / RULES_FOR_A_UNIT;
}

bool peer_may(const struct peer *p, uint32_t verb, struct text topic)
{
    question_count(p);
    return p->router->is_loading || access_topic(p->access, verb, topic).is_allowed;
}

const char *peer_denied(struct peer *p, uint32_t verb, struct text topic)
{
    struct access_verdict v;

    question_count(p);
    v = access_topic(p->access, verb, topic);
    return v.is_allowed || p->router->is_loading
               ? NULL
               : denial_note(p->router, p->sender, verb, topic, &v, false);
}

const char *denial_name(struct router *r, uint32_t verb, struct text topic)
{
    struct words w = {r->refusal + strlen(r->refusal), r->refusal + sizeof(r->refusal) - 1};

    words_put(&w, " (");
    words_put(&w, policy_verb_name(verb));
    words_put(&w, " ");
    words_bytes(&w, topic.data, topic.len);
    words_put(&w, ")");
    *w.at = '\0';
    return r->refusal;
}

const char *peer_denied_beside(struct peer *p, uint32_t verb, struct text topic)
{
    return peer_denied(p, verb, topic) ? denial_name(p->router, verb, topic) : NULL;
}

const char *peer_denied_filter(struct peer *p, uint32_t verb, struct text filter,
                               const char **ret_narrowed)
{
    struct access_verdict v;

    question_count(p);
    v = access_filter(p->access, verb, filter);
    if (v.is_allowed || p->router->is_loading) {
        return NULL;
    }
    if (ret_narrowed && access_filter_partly(p->access, verb, filter)) {
        *ret_narrowed = verdict_text(p->router, verb, &v);
        return NULL;
    }
    return denial_note(p->router, p->sender, verb, filter, &v, false);
}

static const char *const everything[] = {"#", "$bus/#"};

const char *peer_denied_all(struct peer *p, uint32_t verb)
{
    const char *why = NULL;

    for (size_t i = 0; i < ARRAY_LEN(everything) && !why; i++) {
        why = peer_denied_filter(p, verb, text_from(everything[i]), NULL);
    }
    return why;
}

uint32_t sub_right(uint32_t flags)
{
    return flags & SUB_SERVE ? POLICY_SERVE : POLICY_SUBSCRIBE;
}

bool sub_is_blocking(uint32_t flags, uint32_t policy)
{
    return policy == BUS_POLICY_BLOCK && !(flags & SUB_SERVE);
}

/* Whoever publishes waits while the subscriptions to a topic are found, however many narrowed ones
 * there are that are not to have it: for those of equal rights it is looked up once. */
static bool may_get(const struct topic *t, const struct sub *s, uint32_t verb)
{
    struct text topic = {t->name, t->len};
    struct peer *p = s->peer;
    bool is_allowed, looked_up;

    if (t->topics->resolving == 0 || p->router->is_loading) {
        return peer_may(p, verb, topic);
    }
    is_allowed = access_topic_once(p->access, t->topics->resolving, verb, topic, &looked_up);
    if (looked_up) {
        question_count(p);
    }
    return is_allowed;
}

bool sub_may_get(const struct topic *t, const struct sub *s)
{
    return may_get(t, s, sub_right(s->flags)) &&
           (!sub_is_blocking(s->flags, s->policy) || may_get(t, s, POLICY_BLOCK));
}

const char *subscribe_denied(struct peer *p, const struct wire_subscribe *m,
                             const char **ret_narrowed)
{
    const char **narrowed = m->flags & SUBSCRIBE_NARROW ? ret_narrowed : NULL;
    const char *why = peer_denied_filter(p, sub_right(m->flags), m->filter, narrowed);

    if (!why && sub_is_blocking(m->flags, m->policy)) {
        why = peer_denied_filter(p, POLICY_BLOCK, m->filter, narrowed);
    }
    if (!why && m->dead_letter.len > 0) {
        why = peer_denied_beside(p, POLICY_PUBLISH, m->dead_letter);
    }
    return why;
}

/* ---- who it is ---- */

bool access_begin(struct peer *p, const struct subject *s)
{
    struct subject subject = s ? *s : (struct subject){0};

    subject.uid = p->info.uid;
    subject.gid = p->info.gid;
    subject.name = (struct text){p->sender->name, p->sender->name_len};
    p->access = accesses_get(&p->router->accesses, &subject, &p->sender->user->bytes);
    return p->access;
}

struct subject subject_of(const struct access *a, const struct sender *s)
{
    struct subject subject = *access_subject(a);

    subject.name = (struct text){s->name, s->name_len};
    return subject;
}

bool access_greet(struct peer *p)
{
    const struct subject subject = subject_of(p->access, p->sender);
    struct access *a = accesses_get(&p->router->accesses, &subject, &p->user->bytes);

    if (!a) {
        return false;
    }
    access_end(p);
    p->access = a;
    return true;
}

void access_end(struct peer *p)
{
    accesses_put(&p->router->accesses, TAKE(p->access), &p->user->bytes);
}
