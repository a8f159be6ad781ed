/* SPDX-License-Identifier: MIT */
#pragma once
/* The rules of who may do what: docs/protocol.md, section 20. Immutable and counted; what they mean
 * for one client is its struct access. Knows nothing of files, users' names and clients. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/subject.h"

struct policy;

/* name, number, its word in rules, meaning */
#define POLICY_VERBS(X)                                                                            \
    X(PUBLISH, 1, "publish", "publish to topics, also as a will or a dead letter")                 \
    X(SUBSCRIBE, 2, "subscribe", "receive what is published to topics")                            \
    X(REQUEST, 4, "request", "ask whoever serves a topic")                                         \
    X(SERVE, 8, "serve", "answer the requests to topics")                                          \
    X(MONITOR, 16, "monitor", "watch the traffic of others")                                       \
    X(RETAIN, 32, "retain", "make topics keep messages, and clear them")                           \
    X(BLOCK, 64, "block", "hold publishers up by subscriptions with policy block")                 \
    X(DESCRIPTORS, 128, "descriptors", "attach descriptors to messages, requests and replies")

enum policy_verb {
#define X(name, number, word, meaning) POLICY_##name = number,
    POLICY_VERBS(X)
#undef X
#define X(name, number, word, meaning) +(number)
        POLICY_ALL = 0 POLICY_VERBS(X)
#undef X
};

/* Those that are asked for a filter, too. */
#define POLICY_WITH_FILTER (POLICY_SUBSCRIBE | POLICY_SERVE | POLICY_MONITOR | POLICY_BLOCK)

/* Its word; "?" if it is not one verb. */
const char *policy_verb_name(uint32_t verb);
/* The verb of that word; 0 if there is none. */
uint32_t policy_verb_find(struct text word);

/* One rule as the configuration gives it. What is not asked for (by_, or an empty text) may be
 * anything. */
struct policy_rule {
    bool deny;
    bool by_uid;
    bool by_gid; /* the primary group, or one of the others */
    uint32_t uid;
    uint32_t gid;
    uint32_t verbs; /* of POLICY_VERBS */
    struct text listener;
    struct text label;
    /* A filter; of the subject it may hold the name of its user (%u), its uid (%U), the name of its
     * primary group (%g), its gid (%G), its client name (%n), and %% for a percent sign. */
    struct text topic;
    struct text place; /* where the rule stands, for people */
};

/* NULL, or what is wrong with it, in words. */
const char *policy_rule_check(const struct policy_rule *rule);

#define POLICY_RULES_MAX 10000u
/* Texts are copied. 0, -EINVAL (a rule is not valid, or there are too many) or -ENOMEM. No rules at
 * all are a policy, too: nobody may do anything. */
int policy_new(const struct policy_rule *rules, size_t n, struct policy **ret);
/* NULL is fine for these. */
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);

size_t policy_count(const struct policy *p);
/* By their places in what policy_new() got. */
const struct policy_rule *policy_rule_at(const struct policy *p, size_t i);
/* Whether some rule has %u or %g: the names of a subject's user and group are needed. NULL: no. */
bool policy_needs_names(const struct policy *p);
/* Whether some rule has %n: clients of different names may have different rights. NULL: no. */
bool policy_needs_client_name(const struct policy *p);
