/* SPDX-License-Identifier: MIT */
#pragma once
/* Rules for a simulated router. */

#include "core/policy.h"
#include "support/sim.h"

/* They hold from now on, and in routers that replace this one. */
static inline void sim_set_rules(struct sim *s, const struct policy_rule *rules, size_t n)
{
    struct router_settings settings = {.limits = s->config.limits,
                                       .overrides = s->config.overrides,
                                       .n_overrides = s->config.n_overrides};
    struct policy *p = NULL;

    assert_int_equal(policy_new(rules, n, &p), 0);
    settings.policy = p;
    assert_int_equal(router_reconfigure(s->router, &settings, &s->now), 0);
    policy_unref(s->config.policy);
    s->config.policy = p;
}

/* All users may do everything, the router's own events included. */
static inline void sim_allow_everybody(struct sim *s)
{
    static const struct policy_rule rules[] = {{.verbs = POLICY_ALL, .topic = {"#", 1}},
                                               {.verbs = POLICY_ALL, .topic = {"$bus/#", 6}},
                                               {.verbs = POLICY_ALL, .topic = {"$sys/#", 6}}};

    sim_set_rules(s, rules, ARRAY_LEN(rules));
}
