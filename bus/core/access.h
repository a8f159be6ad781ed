/* SPDX-License-Identifier: MIT */
#pragma once
/* What one subject may: the rules of a policy that concern it, with its names put in. What it says
 * never changes; counted, so that equal subjects can share it. docs/protocol.md, section 20. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/policy.h"
#include "core/subject.h"

struct access;

struct access_verdict {
    bool is_allowed;
    bool is_partial;   /* by policy_explain(): not allowed, but some topics of the filter are */
    struct text place; /* of the rule that has decided, as long as the policy lives; empty: none */
    const char *why;   /* static: what the rule says, or why there is none */
};

/* A policy of NULL: there are no rules; owner_uid and root may everything, others nothing. What the
 * subject refers to is copied. 0 or -ENOMEM. */
int access_new(struct policy *policy, uint32_t owner_uid, const struct subject *s,
               struct access **ret);
struct access *access_ref(struct access *a);
/* NULL is fine. */
void access_unref(struct access *a);

uint32_t access_refs(const struct access *a);

/* Whom it is for. */
const struct subject *access_subject(const struct access *a);
/* Memory that it takes. */
size_t access_memory(const struct access *a);
/* Rules it has to look at, about what a question costs. */
size_t access_count(const struct access *a);

/* verb: one of POLICY_VERBS. The topic is valid. */
struct access_verdict access_topic(const struct access *a, uint32_t verb, struct text topic);
/* Whether it is allowed, of a topic that many subscriptions may get: it is looked up once. topic_of
 * stands for the topic, and is another, not 0, whenever that may be another. */
bool access_topic_once(struct access *a, uint64_t topic_of, uint32_t verb, struct text topic,
                       bool *ret_looked_up);
/* As access_topic(), for all topics that a valid filter matches: one rule must allow all of them,
 * and none deny any. */
struct access_verdict access_filter(const struct access *a, uint32_t verb, struct text filter);
/* Whether some topic of a filter that is not allowed is. Costs more than that: rules that allow
 * times rules that deny, at worst. */
bool access_filter_partly(const struct access *a, uint32_t verb, struct text filter);

/* What an access of that policy and subject would say: to the owner_uid without rules, see
 * access_new(). topic may be a filter for the verbs that take one. 0, -EINVAL (it is neither) or
 * -ENOMEM. */
int policy_explain(struct policy *policy, uint32_t owner_uid, const struct subject *s,
                   uint32_t verb, struct text topic, struct access_verdict *ret);

#define ACCESS_TEXT_MAX 512u
/* What is said of a verdict: "PLACE: why". Returns its length. */
size_t access_text(const struct access_verdict *v, char dst[ACCESS_TEXT_MAX]);
