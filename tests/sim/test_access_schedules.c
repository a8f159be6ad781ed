/* SPDX-License-Identifier: MIT */
/* Random clients of several users under rules that change again and again: at no moment does
 * somebody get, or publish, what the rules of that moment do not allow, and the delivery contract
 * holds across all changes. The rules are read a second time here, as plainly as possible. */
#include "core/state.h"
#include "support/sim_policy.h"
#include "support/topic_reference.h"

#define STEPS 1500
#define USERS 3u
#define RULES_MAX 8u

static struct {
    struct policy_rule rules[RULES_MAX];
    size_t n;
    uint32_t uids[SIM_CLIENTS];           /* of the clients */
    bool narrow[SIM_CLIENTS][SIM_SUBS];   /* they asked for that */
    bool blocking[SIM_CLIENTS][SIM_SUBS]; /* policy block, which needs a right */
    uint64_t n_taken, n_narrow_losses, n_muted, n_refused, n_narrowed;
} now;

static size_t index_of(const struct sim *s, const struct sim_client *c)
{
    return (size_t) (c - s->clients);
}

/* ---- the rules, read plainly ---- */

static bool concerns(const struct policy_rule *r, uint32_t uid, uint32_t verb, const char *topic)
{
    return (r->verbs & verb) && (!r->by_uid || r->uid == uid) &&
           ref_matches(r->topic.data, r->topic.len, topic, strlen(topic));
}

static bool allows(uint32_t uid, uint32_t verb, const char *topic)
{
    bool is_allowed = false;

    for (size_t i = 0; i < now.n; i++) {
        if (concerns(&now.rules[i], uid, verb, topic)) {
            if (now.rules[i].deny) {
                return false;
            }
            is_allowed = true;
        }
    }
    return is_allowed;
}

static bool may_get(const struct sim *s, const struct sim_client *c, const struct sim_sub *sub,
                    const char *topic)
{
    size_t i = index_of(s, c), k = (size_t) (sub - c->subs);

    return !now.narrow[i][k] || (allows(now.uids[i], POLICY_SUBSCRIBE, topic) &&
                                 (!now.blocking[i][k] || allows(now.uids[i], POLICY_BLOCK, topic)));
}

/* ---- what clients see ---- */

static void on_status(const struct sim *s, struct sim_client *c, const struct wire_status *m)
{
    struct sim_sub *sub;

    if (m->verb == VERB_UNSUBSCRIBE) { /* without the right, a member that drains does not wait */
        c->subs[m->subscription - 1].n_unacked = 0;
    }
    now.n_muted += m->verb == VERB_PUBLISH && m->sequence == 0;
    if (m->verb != VERB_SUBSCRIBE || m->code != BUS_STATUS_DENIED) {
        now.n_narrowed += m->verb == VERB_SUBSCRIBE && m->code == BUS_STATUS_OK && m->text.len > 0;
        return;
    }
    sub = &c->subs[m->subscription - 1];
    if (!sub->used) {
        now.n_refused++;
        return;
    }
    now.n_taken++;
    assert_true(sub->grouped || sub->at == sub->n_due); /* all is accounted for */
    sub->used = false;
    (void) s;
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    uint32_t uid = now.uids[index_of(s, c)];

    if (f->verb == VERB_MESSAGE) {
        /* everything was read before the rules changed, so this was sent under these */
        assert_true(allows(uid, POLICY_SUBSCRIBE, c->topics[m->message.topic]));
    } else if (f->verb == VERB_STATUS) {
        on_status(s, c, &m->status);
    } else if (f->verb == VERB_LOSS && m->loss.reason == BUS_LOSS_DENIED) {
        now.n_narrow_losses++;
    }
}

/* ---- rules ---- */

static void rules_random(struct sim *s)
{
    static const char *const filters[] = {"#",   "+",     "a",      "a/#", "a/+",     "+/b",
                                          "b/#", "a/b/c", "$sys/#", "+/+", "x/y/z/w", "+/b/#"};

    now.n = 1 + rng_below(&s->rng, RULES_MAX);
    for (size_t i = 0; i < now.n; i++) {
        struct policy_rule *r = &now.rules[i];

        *r = (struct policy_rule){
            .deny = i > 0 && rng_below(&s->rng, 3) == 0,
            .by_uid = rng_below(&s->rng, 2),
            .uid = 1000 + rng_below(&s->rng, USERS),
            .verbs = rng_below(&s->rng, 2) ? POLICY_ALL : 1 + rng_below(&s->rng, POLICY_ALL),
            .topic = text_from(filters[rng_below(&s->rng, ARRAY_LEN(filters))])};
    }
    if (rng_below(&s->rng, 3) > 0) { /* so that something is left */
        now.rules[0] = (struct policy_rule){.verbs = POLICY_ALL, .topic = text_from("#")};
    }
}

static void read_all(struct sim *s)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        sim_read(s, &s->clients[i], 100000);
    }
}

static void rules_change(struct sim *s)
{
    struct policy *p = NULL;

    read_all(s);
    rules_random(s);
    if (rng_below(&s->rng, 3) > 0) {
        sim_set_rules(s, now.rules, now.n);
        read_all(s); /* who lost something knows it before anything else happens */
        return;
    }
    /* by a router that takes over */
    assert_int_equal(policy_new(now.rules, now.n, &p), 0);
    policy_unref(s->config.policy);
    s->config.policy = p;
    assert_true(sim_replace(s));
    read_all(s);
}

/* ---- steps ---- */

static void step_connect(struct sim *s)
{
    struct sim_client *c;

    s->uid = 1000 + rng_below(&s->rng, USERS);
    s->features = 0;
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (!s->clients[i].peer) {
            now.uids[i] = s->uid;
            break;
        }
    }
    c = sim_connect(s, rng_below(&s->rng, 2));
    assert_true(!c || now.uids[index_of(s, c)] == s->uid);
}

/* What is accepted without NARROW is allowed altogether. */
static void filter_check(struct sim *s, uint32_t uid, const char *filter)
{
    for (unsigned i = 0; i < 20; i++) {
        const char *topic = sim_random_topic(s);

        assert_true(!ref_matches(filter, strlen(filter), topic, strlen(topic)) ||
                    allows(uid, POLICY_SUBSCRIBE, topic));
    }
}

static void step_subscribe(struct sim *s, struct sim_client *c)
{
    unsigned k = rng_below(&s->rng, SIM_SUBS);
    size_t i = index_of(s, c);
    bool grouped = rng_below(&s->rng, 5) == 0, narrow = !grouped && rng_below(&s->rng, 2);
    struct wire_subscribe m = {.filter = text_from(sim_random_filter(s)),
                               .policy = rng_below(&s->rng, grouped ? 2 : 4),
                               .window_messages = 1 + rng_below(&s->rng, 8),
                               .window_bytes = 100000,
                               .queue_messages = 1 + rng_below(&s->rng, 8),
                               .queue_bytes = 10000,
                               .flags = (narrow ? SUBSCRIBE_NARROW : 0u),
                               .group = text_from(grouped ? "g" : "")};

    if (grouped) { /* all alike */
        m.policy = BUS_POLICY_DROP_OLDEST;
        m.queue_messages = 4;
        m.flags = SUB_ACK;
    }
    read_all(s);
    if (!c->peer || c->subs[k].used || c->n_endings[k] > 0) {
        return;
    }
    now.narrow[i][k] = narrow;
    now.blocking[i][k] = m.policy == BUS_POLICY_BLOCK;
    if (sim_subscribe(s, c, k, &m) && !narrow) {
        filter_check(s, now.uids[i], c->subs[k].filter);
    }
}

static void step_publish(struct sim *s, struct sim_client *c)
{
    bool by_alias = rng_below(&s->rng, 2);
    unsigned alias = rng_below(&s->rng, SIM_ALIASES);
    const char *topic = by_alias ? c->aliases[alias] : sim_random_topic(s);
    struct sim_publish p = {
        .topic = by_alias ? NULL : topic, .alias = alias, .body_bytes = 8 + rng_below(&s->rng, 50)};
    bool accepted;

    if (!*topic || c->credit_messages <= 0 || c->credit_bytes <= 0) {
        return;
    }
    accepted = sim_publish(s, c, &p);
    /* an alias that was refused is unknown */
    assert_true(!accepted || allows(now.uids[index_of(s, c)], POLICY_PUBLISH, topic));
    assert_true(accepted || by_alias || !allows(now.uids[index_of(s, c)], POLICY_PUBLISH, topic));
}

static void step(struct sim *s)
{
    struct sim_client *c = &s->clients[rng_below(&s->rng, SIM_CLIENTS)];

    if (rng_below(&s->rng, 40) == 0) {
        rules_change(s);
        return;
    }
    if (!c->peer || c->ended) {
        step_connect(s);
        return;
    }
    switch (rng_below(&s->rng, 12)) {
    case 0:
        step_subscribe(s, c);
        break;
    case 1:
        sim_read(s, c, 1000);
        if (c->peer && c->subs[1].used && !c->subs[1].drains) {
            rng_below(&s->rng, 2) ? sim_unsubscribe(s, c, 1) : sim_drain(s, c, 1);
        }
        break;
    case 2:
        sim_advertise_with(s, c, rng_below(&s->rng, SIM_ALIASES), sim_random_topic(s), 0);
        break;
    case 3:
        if (rng_below(&s->rng, 10) == 0) {
            sim_disconnect(s, c);
        }
        break;
    case 4:
    case 5:
        sim_read(s, c, 1 + rng_below(&s->rng, 3));
        break;
    case 6:
    case 7:
        sim_give_credit(s, c, rng_below(&s->rng, SIM_SUBS));
        sim_ack(s, c, rng_below(&s->rng, SIM_SUBS), rng_below(&s->rng, 2), false);
        break;
    default:
        step_publish(s, c);
    }
}

static void test_nobody_ever_has_more_than_the_rules_of_the_moment_give(void **state)
{
    struct sim s;

    (void) state;
    memset(&now, 0, sizeof(now));
    sim_init(&s, NULL);
    s.rng = rng_from_env();
    s.on_frame = on_frame;
    s.may_get = may_get;
    s.changes_rules = true; /* and topics look for narrowed subscriptions again */
    sim_replace_sometimes(&s, &s.rng);
    rules_change(&s);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&s);
        sim_advance(&s, rng_below(&s.rng, 3) * MS);
        router_check(s.router);
    }
    /* otherwise this says little */
    assert_true(now.n_taken > 0 && now.n_refused > 0 && now.n_narrowed > 0);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (s.clients[i].peer) {
            sim_disconnect(&s, &s.clients[i]);
        }
    }
    (void) sim_work_off(&s);
    assert_int_equal(router_counters(s.router)->charged_bytes_now, 0);
    sim_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_ever_has_more_than_the_rules_of_the_moment_give),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
