/* SPDX-License-Identifier: MIT */
/* Wills: what the router publishes for a client that ends without saying so. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "base/units.h"
#include "core/judge.h"
#include "core/will.h"
#include "wire/hot.h"
#include "wire/topic.h"

/* ---- identities ---- */

static bool identity_equals(const void *object, const void *key)
{
    const struct identity *a = object, *b = key;

    return a->uid == b->uid && a->name_len == b->name_len && a->token_len == b->token_len &&
           memcmp(a->text, b->text, (size_t) a->name_len + a->token_len) == 0;
}

static struct identity *identity_get(struct router *r, const struct identity *key)
{
    struct table *all = &r->presence.identities;
    struct identity *i = table_find(all, key->hash, identity_equals, key);

    if (!i) {
        i = table_prepare(all) < 0 ? NULL : malloc(sizeof(*i));
        if (!i) {
            return NULL;
        }
        *i = *key;
        table_insert(all, i->hash, i);
    }
    i->refs++;
    return i;
}

static void identity_unref(struct router *r, struct identity *i)
{
    if (i && --i->refs == 0) {
        assert(!i->waiting && i->n_present == 0);
        table_remove(&r->presence.identities, i->hash, i);
        free(i);
    }
}

/* That of a client of that uid, name and token, with one more reference; NULL if out of memory. */
static struct identity *identity_of(struct router *r, uint32_t uid, struct text name,
                                    struct text token)
{
    struct identity key = {
        .uid = uid, .name_len = (uint8_t) name.len, .token_len = (uint8_t) token.len};

    memcpy(key.text, name.data, name.len);
    memcpy(key.text + name.len, token.data, token.len);
    key.hash = table_hash(&r->presence.identities, uid, key.text, name.len + token.len);
    return identity_get(r, &key);
}

bool wills_greet(struct peer *p, const struct wire_hello *m)
{
    if (m->client_name.len == 0 || m->resume_token.len == 0) {
        return true;
    }
    p->sender->identity = identity_of(p->router, p->info.uid, m->client_name, m->resume_token);
    if (p->sender->identity) {
        charge_force(&p->charge, IDENTITY_BYTES); /* bounded by clients_max */
    }
    return p->sender->identity != NULL;
}

/* ---- the object ---- */

static uint64_t will_memory(const struct wire_will *m, size_t body_bytes)
{
    uint64_t bytes =
        sizeof(struct will) + m->n_headers * sizeof(struct wire_header) + m->topic.len + body_bytes;

    for (size_t i = 0; i < m->n_headers; i++) {
        bytes += m->headers[i].name.len + m->headers[i].value.len;
    }
    return bytes;
}

static struct text keep_text(uint8_t **at, struct text t)
{
    struct text kept = {(const char *) *at, t.len};

    memcpy(*at, t.data, t.len);
    *at += t.len;
    return kept;
}

static struct will *will_new(const struct wire_will *m, const struct frame *f)
{
    uint64_t bytes = will_memory(m, f->body_bytes);
    struct will *w = calloc(1, bytes);
    uint8_t *at;

    if (!w) {
        return NULL;
    }
    w->memory = bytes + (m->delay_ms ? IDENTITY_BYTES : 0);
    w->delay_ms = m->delay_ms;
    w->n_headers = (uint32_t) m->n_headers;
    at = (uint8_t *) (w->headers + w->n_headers);
    w->topic_len = (uint8_t) m->topic.len;
    w->topic = keep_text(&at, m->topic).data;
    for (uint32_t i = 0; i < w->n_headers; i++) {
        w->headers[i].name = keep_text(&at, m->headers[i].name);
        w->headers[i].value = keep_text(&at, m->headers[i].value);
    }
    w->body_bytes = f->body_bytes;
    w->body = at;
    if (f->body_bytes > 0) {
        memcpy(at, f->body, f->body_bytes);
    }
    return w;
}

/* It does not wait any more. */
static void will_wake(struct router *r, struct will *w)
{
    timer_stop(&r->timers, &w->timer);
    if (w->identity) {
        DL_DELETE2(w->identity->waiting, w, same_prev, same_next);
        identity_unref(r, TAKE(w->identity));
    }
}

/* Of a client that is still there. */
static void will_remove(struct peer *p, struct will *w)
{
    DL_DELETE(p->sender->wills, w);
    p->n_wills--;
    p->router->counters.wills_now--;
    charge_release(&p->charge, w->memory);
    free(w);
}

void will_withdraw(struct peer *p, struct will *w)
{
    will_remove(p, w);
}

/* Of one that has ended. */
static void will_free(struct router *r, struct will *w)
{
    struct sender *s = w->sender;

    will_wake(r, w);
    accesses_put(&r->accesses, w->access, &s->user->bytes);
    DL_DELETE(s->wills, w);
    DL_DELETE2(r->presence.wills, w, left_prev, left_next);
    r->counters.wills_now--;
    quota_release(w->payer, w->memory);
    free(w);
    sender_unref(s);
}

/* ---- WILL ---- */

enum { WILL_CLEAR = 1 };

static struct will *will_find(const struct sender *s, struct text topic)
{
    struct will *w;

    DL_FOREACH (s->wills, w) {
        if (w->topic_len == topic.len && memcmp(w->topic, topic.data, topic.len) == 0) {
            return w;
        }
    }
    return NULL;
}

static const char *refuse(enum bus_status *ret, enum bus_status code, const char *why)
{
    *ret = code;
    return why;
}

/* Whether it will fit into a MESSAGE, whatever the numbers are then. */
static bool headers_fit(struct router *r, const struct wire_will *m)
{
    struct wire_message all = {.topic = UINT32_MAX,
                               .sender = UINT32_MAX,
                               .time = UINT64_MAX,
                               .headers = m->headers,
                               .n_headers = m->n_headers};

    return codec_encode(&r->arena, VERB_MESSAGE, &all, r->scratch, MESSAGE_HEADER_MAX) >= 0;
}

static const char *will_check(struct peer *p, const struct wire_will *m, const struct frame *f,
                              enum bus_status *ret)
{
    const struct limits *l = &p->router->config.limits;
    uint64_t size = f->body_bytes;
    const char *why;

    if (p->tap) {
        return refuse(ret, BUS_STATUS_UNEXPECTED, "a monitor cannot publish");
    }
    why = topic_refusal(m->topic, ret);
    if (why) {
        return why;
    }
    if (m->flags & ~(uint32_t) WILL_CLEAR) {
        return refuse(ret, BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    why = text_headers_check(m->headers, m->n_headers, &size);
    if (why) {
        return refuse(ret, BUS_STATUS_INVALID_ARGUMENT, why);
    }
    if (!headers_fit(p->router, m)) {
        return refuse(ret, BUS_STATUS_LIMIT, "the headers are too long together");
    }
    if (f->body_bytes > l->will_bytes_max) {
        return refuse(ret, BUS_STATUS_LIMIT, "will_bytes_max");
    }
    if (m->delay_ms > l->will_delay_max_ms) {
        return refuse(ret, BUS_STATUS_LIMIT, "will_delay_max_ms");
    }
    return NULL;
}

/* Takes the place of another, or NULL. */
static const char *will_set(struct peer *p, const struct wire_will *m, const struct frame *f,
                            struct will *other, enum bus_status *ret)
{
    const char *why;
    struct will *w;

    if (!other && p->n_wills >= p->router->config.limits.wills_max) {
        return refuse(ret, BUS_STATUS_LIMIT, "wills_max");
    }
    w = will_new(m, f);
    if (!w) {
        return refuse(ret, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    if (!charge_add(&p->charge, w->memory)) {
        why = bytes_refusal(p, w->memory);
        free(w);
        return refuse(ret, BUS_STATUS_LIMIT, why);
    }
    DL_APPEND(p->sender->wills, w);
    p->n_wills++;
    p->router->counters.wills_now++;
    return NULL;
}

void will_handle(struct peer *p, const struct wire_will *m, const struct frame *f)
{
    struct wire_status status = {.verb = VERB_WILL, .text = {"", 0}};
    enum bus_status code = BUS_STATUS_OK;
    const char *why = will_check(p, m, f, &code);
    struct will *other = why ? NULL : will_find(p->sender, m->topic);

    if (!why && !(m->flags & WILL_CLEAR)) {
        why = peer_denied_beside(p, POLICY_PUBLISH, m->topic);
        code = why ? BUS_STATUS_DENIED : BUS_STATUS_OK;
    }
    if (!why && !(m->flags & WILL_CLEAR)) {
        why = will_set(p, m, f, other, &code);
    }
    if (why) {
        status.code = code;
        status.text = text_from(why);
        peer_send_status(p, &status);
    } else if (other) {
        will_remove(p, other);
    }
}

void will_drop_left(struct router *r, struct will *w)
{
    will_free(r, w);
}

/* ---- the end of a client, and its return ---- */

void wills_return(struct peer *p)
{
    struct identity *i = p->sender->identity;

    if (!i) {
        return;
    }
    i->n_present++;
    while (i->waiting) {
        p->router->counters.wills_cancelled++;
        will_free(p->router, i->waiting);
    }
}

/* It is the router's from here on, and in nobody's way until presence_turn(). */
static void will_leave(struct peer *p, struct will *w)
{
    struct router *r = p->router;

    charge_release(&p->charge, w->memory);
    w->payer = &p->user->bytes;
    quota_force(w->payer, w->memory); /* the same memory, so within the same bound */
    w->sender = sender_ref(p->sender);
    w->access = access_ref(p->access);
    DL_APPEND2(r->presence.wills, w, left_prev, left_next);
}

void wills_leave(struct peer *p, bool was_present, bool keep)
{
    struct sender *s = p->sender;
    struct will *w;

    if (s->identity) {
        charge_release(&p->charge, IDENTITY_BYTES);
        s->identity->n_present -= was_present;
    }
    while (!keep && s->wills) {
        will_remove(p, s->wills);
    }
    DL_FOREACH (s->wills, w) {
        will_leave(p, w);
    }
    p->n_wills = 0;
    if (s->wills) {
        presence_note(p->router, s, DUE_WILLS); /* which still needs to know who it was */
    } else {
        identity_unref(p->router, TAKE(s->identity));
    }
}

static void will_ripen(struct router *r, struct timer *t)
{
    struct will *w = container_of(t, struct will, timer);

    w->is_ripe = true;
    presence_note(r, w->sender, DUE_WILLS);
}

/* Whether its user may have it wait; then that is who pays. */
static bool will_move_to_user(struct will *w)
{
    struct quota *wills = &w->sender->user->will_bytes;

    quota_release(w->payer, w->memory);
    if (!quota_add(wills, w->memory)) {
        quota_force(w->payer, w->memory);
        return false;
    }
    w->payer = wills;
    return true;
}

/* Begins to wait. False if there is nothing to wait for. */
static bool will_wait(struct router *r, struct will *w)
{
    struct identity *i = w->sender->identity;

    if (w->delay_ms == 0 || !will_move_to_user(w)) {
        return false;
    }
    if (i) {
        i->refs++;
        w->identity = i;
        DL_APPEND2(i->waiting, w, same_prev, same_next);
    }
    timer_set(&r->timers, &w->timer, r->now.monotonic_ns + w->delay_ms * NS_PER_MS, will_ripen);
    return true;
}

static bool will_publish(struct router *r, const struct will *w)
{
    struct publication pub = {.sender = w->sender,
                              .topic = {w->topic, w->topic_len},
                              .headers = w->headers,
                              .n_headers = w->n_headers,
                              .body = w->body,
                              .body_bytes = w->body_bytes};

    r->work++;
    if (!publish_as(r, &pub)) {
        return false;
    }
    r->counters.wills_published++;
    return true;
}

/* What is to become of one now. False if out of memory. */
static bool will_step(struct router *r, struct will *w)
{
    const struct identity *i = w->sender->identity;

    if (w->timer.is_set) {
        return true;
    }
    if (!w->is_ripe && w->delay_ms && i && i->n_present > 0) {
        r->counters.wills_cancelled++; /* it was there again before we looked */
    } else if (!w->is_ripe && will_wait(r, w)) {
        return true;
    } else if (!will_publish(r, w)) {
        w->is_ripe = true; /* it is not to wait a second time */
        return false;
    }
    will_free(r, w);
    return true;
}

bool wills_publish(struct router *r, struct sender *s)
{
    struct will *w, *next;

    DL_FOREACH_SAFE (s->wills, w, next) {
        if (!will_step(r, w)) {
            return false;
        }
    }
    identity_unref(r, TAKE(s->identity));
    return true;
}

/* ---- built up again ---- */

bool will_restore(struct peer *p, const struct wire_will *m, const struct frame *f)
{
    enum bus_status status;

    return !will_check(p, m, f, &status) && !will_find(p->sender, m->topic) &&
           !will_set(p, m, f, NULL, &status);
}

bool will_restore_left(struct router *r, struct sender *s, const struct wire_will *m,
                       const struct frame *f, const struct will_wait *wait)
{
    struct subject subject = *wait->subject;
    struct will *w = will_new(m, f);
    struct identity *i = NULL;

    subject.uid = s->uid;
    subject.gid = s->gid;
    subject.name = (struct text){s->name, s->name_len};

    if (w && wait->token.len > 0) {
        i = identity_of(r, s->uid, (struct text){s->name, s->name_len}, wait->token);
    }
    if (w) {
        w->access = accesses_get(&r->accesses, &subject, &s->user->bytes);
    }
    if (!w || !w->access || (wait->token.len > 0 && (!i || i->n_present > 0))) {
        accesses_put(&r->accesses, w ? w->access : NULL, &s->user->bytes);
        identity_unref(r, i);
        free(w);
        return false;
    }
    w->payer = &s->user->will_bytes;
    quota_force(w->payer, w->memory);
    w->sender = sender_ref(s);
    w->identity = i;
    if (i) {
        DL_APPEND2(i->waiting, w, same_prev, same_next);
    }
    DL_APPEND(s->wills, w);
    DL_APPEND2(r->presence.wills, w, left_prev, left_next);
    r->counters.wills_now++;
    timer_set(&r->timers, &w->timer, wait->ns, will_ripen);
    return true;
}

void wills_fini(struct router *r)
{
    while (r->presence.wills) {
        struct sender *s = r->presence.wills->sender;

        identity_unref(r, TAKE(s->identity));
        will_free(r, r->presence.wills);
    }
    assert(r->presence.identities.n == 0);
}

uint64_t wills_check(const struct router *r)
{
    uint64_t charged = 0, of_users = 0, n = 0;
    const struct will *w;
    const struct peer *p;
    const struct user *u;

    DL_FOREACH2(r->presence.wills, w, left_next)
    {
        charged += w->memory;
        of_users += w->payer == &w->sender->user->will_bytes ? w->memory : 0;
        n++;
        assert(!w->sender->is_present);
        assert(w->timer.is_set || (w->sender->due & DUE_WILLS));
        assert(!w->identity || w->identity->n_present == 0);
    }
    DL_FOREACH (r->peers, p) {
        n += p->n_wills;
        assert(p->n_wills == 0 || p->state == PEER_READY);
    }
    DL_FOREACH (r->users.list, u) {
        of_users -= u->will_bytes.used;
    }
    assert(of_users == 0);
    assert(n == r->counters.wills_now);
    return charged;
}
