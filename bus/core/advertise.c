/* SPDX-License-Identifier: MIT */
/* ADVERTISE and UNADVERTISE: the aliases of a client. docs/protocol.md, section 5. */
#include "core/judge.h"
#include "core/reliance.h"
#include "core/state.h"

static const char *refuse(enum bus_status *ret, enum bus_status code, const char *why)
{
    *ret = code;
    return why;
}

/* NULL, or why not, and *ret is the status. */
static const char *alias_add(struct peer *p, const struct wire_advertise *m, enum bus_status *ret)
{
    uint64_t memory = topic_memory(m->topic.len);
    const char *why;
    struct topic *t;

    if (!charge_add(&p->charge, memory)) {
        return refuse(ret, BUS_STATUS_LIMIT, bytes_refusal(p, memory));
    }
    if (!peer_table_reach(p, (void ***) &p->aliases, &p->n_aliases_max, m->alias) ||
        !(t = topics_get(&p->router->topics, m->topic.data, m->topic.len))) {
        charge_release(&p->charge, memory);
        return refuse(ret, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    why = keep_wish(p, m, t, ret);
    if (why) {
        topic_unref(t);
        charge_release(&p->charge, memory);
        return why;
    }
    if ((m->flags & ADVERTISE_INTEREST) && !interest_add(p, t, m->alias)) {
        (void) keep_unwish(p, m->alias, t);
        topic_unref(t);
        charge_release(&p->charge, memory);
        return refuse(ret, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    if ((m->flags & ADVERTISE_RELIABLE) && !reliable_add(p, t, m->alias)) {
        interest_drop(p, t, m->alias);
        (void) keep_unwish(p, m->alias, t);
        topic_unref(t);
        charge_release(&p->charge, memory);
        return refuse(ret, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    t->n_publishers++;
    p->n_muted += idset_has(&p->muted, m->alias);
    p->aliases[m->alias - 1] = t;
    p->n_aliases++;
    quota_force(&p->user->topics, 1);
    return NULL;
}

/* What only publishers want is refused to those who may only send requests. */
static const char *rights_check(struct peer *p, const struct wire_advertise *m)
{
    const char *why = NULL;

    if (m->flags || m->retain_messages || !peer_may(p, POLICY_REQUEST, m->topic)) {
        why = peer_denied(p, POLICY_PUBLISH, m->topic);
    }
    return !why && m->retain_messages ? peer_denied(p, POLICY_RETAIN, m->topic) : why;
}

static void rights_forget(struct peer *p, uint32_t alias)
{
    idset_remove(&p->muted, alias);
    idset_remove(&p->unasked, alias);
}

/* Notes what it is not good for. */
static const char *alias_judged(struct peer *p, const struct wire_advertise *m,
                                enum bus_status *ret)
{
    const char *why;

    if ((!peer_may(p, POLICY_PUBLISH, m->topic) && !peer_set_add(p, &p->muted, m->alias)) ||
        (!peer_may(p, POLICY_REQUEST, m->topic) && !peer_set_add(p, &p->unasked, m->alias))) {
        rights_forget(p, m->alias);
        return refuse(ret, BUS_STATUS_NO_MEMORY, "out of memory");
    }
    why = alias_add(p, m, ret);
    if (why) {
        rights_forget(p, m->alias);
    }
    return why;
}

static const char *advertise(struct peer *p, const struct wire_advertise *m, enum bus_status *ret)
{
    const char *why;

    if (p->tap) {
        return refuse(ret, BUS_STATUS_UNEXPECTED, "a monitor cannot publish");
    }
    if (m->alias == 0) {
        return refuse(ret, BUS_STATUS_INVALID_ARGUMENT, "alias");
    }
    if (m->alias > p->router->config.limits.aliases_max) {
        return refuse(ret, BUS_STATUS_LIMIT, "aliases_max");
    }
    if (m->flags & ~(uint32_t) (ADVERTISE_OWNED | ADVERTISE_INTEREST | ADVERTISE_RELIABLE)) {
        return refuse(ret, BUS_STATUS_INVALID_ARGUMENT, "flags");
    }
    if ((m->flags & ADVERTISE_RELIABLE) && p->sender->session == 0) {
        return refuse(ret, BUS_STATUS_INVALID_ARGUMENT, "flags: RELIABLE needs HELLO {session}");
    }
    if (alias_topic(p, m->alias)) {
        return refuse(ret, BUS_STATUS_IN_USE, "that alias is in use");
    }
    why = topic_refusal(m->topic, ret);
    if (why) {
        return why;
    }
    why = rights_check(p, m);
    if (why) {
        return refuse(ret, BUS_STATUS_DENIED, why);
    }
    why = slot_refusal(p, USER_SLOT_topics, 1);
    return why ? refuse(ret, BUS_STATUS_LIMIT, why) : alias_judged(p, m, ret);
}

void advertise_handle(struct peer *p, const struct wire_advertise *m)
{
    enum bus_status code = BUS_STATUS_OK;
    const char *why = advertise(p, m, &code);

    if (why) {
        struct wire_status status = {
            .code = code, .verb = VERB_ADVERTISE, .alias = m->alias, .text = text_from(why)};

        peer_send_status(p, &status);
    }
}

unsigned alias_drop(struct peer *p, uint32_t alias)
{
    struct topic *t = p->aliases[alias - 1];
    unsigned more = keep_unwish(p, alias, t);

    interest_drop(p, t, alias);
    reliable_remove(p, t, alias);
    p->aliases[alias - 1] = NULL;
    p->n_aliases--;
    p->n_muted -= idset_has(&p->muted, alias);
    rights_forget(p, alias);
    quota_release(&p->user->topics, 1);
    t->n_publishers--;
    charge_release(&p->charge, topic_memory(t->len));
    topic_unref(t);
    return more;
}

void unadvertise_handle(struct peer *p, const struct wire_unadvertise *m)
{
    struct wire_status status = {.code = BUS_STATUS_UNKNOWN_ALIAS,
                                 .verb = VERB_UNADVERTISE,
                                 .alias = m->alias,
                                 .text = {"", 0}};

    if (alias_topic(p, m->alias)) {
        p->router->work += alias_drop(p, m->alias);
    } else {
        peer_send_status(p, &status);
    }
}

bool alias_restore(struct peer *p, const struct wire_advertise *m)
{
    enum bus_status code = BUS_STATUS_OK;

    return p->state == PEER_READY && !advertise(p, m, &code);
}
