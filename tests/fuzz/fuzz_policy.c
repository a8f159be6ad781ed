/* SPDX-License-Identifier: MIT */
/* Any rules, any subject, any topics and filters: what is said of a topic is what its rules say,
 * read plainly; what is said of a filter agrees with what is said of the topics it matches. Input:
 * rules, the subject, and then texts. */
#include "core/access.h"
#include "core/overlap.h"
#include "core/template.h"
#include "fuzz/fuzz.h"
#include "support/topic_reference.h"

#define N_RULES 6u
#define N_TEXTS 8u

struct world {
    struct policy_rule rules[N_RULES];
    size_t n_rules;
    struct subject subject;
    struct text texts[N_TEXTS];
    size_t n_texts;
    struct policy *policy;
    struct access *access;
};

static struct text take_text(struct input *in)
{
    size_t len = take_u8(in);
    const uint8_t *p = take_bytes(in, &len);

    return (struct text){(const char *) p, len};
}

static void take_rules(struct world *w, struct input *in)
{
    unsigned n = take_u8(in) % (N_RULES + 1);

    for (unsigned i = 0; i < n; i++) {
        uint8_t how = take_u8(in);
        struct policy_rule r = {.deny = how & 1,
                                .by_uid = how & 2,
                                .by_gid = how & 4,
                                .uid = how >> 4 & 1,
                                .gid = how >> 5 & 1,
                                .verbs = take_u8(in),
                                .topic = take_text(in)};

        r.listener = how & 8 ? take_text(in) : (struct text){"", 0};
        if (!policy_rule_check(&r)) {
            w->rules[w->n_rules++] = r;
        } else {
            CHECK(policy_new(&r, 1, &w->policy) < 0);
        }
    }
}

static void take_subject(struct world *w, struct input *in)
{
    static const uint32_t groups[] = {1, 0};

    w->subject.uid = take_u8(in) & 1;
    w->subject.gid = take_u8(in) & 1;
    w->subject.groups = groups;
    w->subject.n_groups = take_u8(in) % 3;
    w->subject.user = take_text(in);
    w->subject.group = take_text(in);
    w->subject.name = take_text(in);
    w->subject.listener = take_text(in);
}

static bool concerns(const struct world *w, const struct policy_rule *r)
{
    const struct subject *s = &w->subject;
    bool in_group = s->gid == r->gid;

    for (size_t i = 0; i < s->n_groups; i++) {
        in_group = in_group || s->groups[i] == r->gid;
    }
    return (!r->by_uid || r->uid == s->uid) && (!r->by_gid || in_group) &&
           (r->listener.len == 0 ||
            (r->listener.len == s->listener.len &&
             memcmp(r->listener.data, s->listener.data, s->listener.len) == 0));
}

static bool allows(const struct world *w, uint32_t verb, struct text topic)
{
    bool is_allowed = false;

    for (size_t i = 0; i < w->n_rules; i++) {
        const struct policy_rule *r = &w->rules[i];
        char filter[BUS_TOPIC_MAX];
        size_t len = template_expand(r->topic, &w->subject, r->deny, filter);

        CHECK(len == 0 || ref_filter_valid(filter, len));
        CHECK(len > 0 || !r->deny);
        if ((r->verbs & verb) && len > 0 && concerns(w, r) &&
            ref_matches(filter, len, topic.data, topic.len)) {
            if (r->deny) {
                return false;
            }
            is_allowed = true;
        }
    }
    return is_allowed;
}

static void check_filter(const struct world *w, uint32_t verb, struct text filter)
{
    struct access_verdict v = access_filter(w->access, verb, filter);

    bool is_partial = !v.is_allowed && access_filter_partly(w->access, verb, filter);

    for (size_t i = 0; i < w->n_texts; i++) {
        struct text t = w->texts[i];

        if (ref_topic_valid(t.data, t.len) && ref_matches(filter.data, filter.len, t.data, t.len)) {
            bool is_allowed = access_topic(w->access, verb, t).is_allowed;

            CHECK(is_allowed || !v.is_allowed);
            CHECK(!is_allowed || v.is_allowed || is_partial);
        }
    }
}

static void check_pair(const struct world *w, struct text a, struct text b)
{
    char common[COMMON_MAX];
    size_t len = filters_common(a, b, common);

    CHECK(filters_meet(a, b) == (len > 0) && filters_meet(b, a) == (len > 0));
    CHECK(len <= a.len + b.len);
    CHECK(filter_contains(a, a));
    CHECK(!filter_contains(a, b) || len > 0);
    for (size_t i = 0; i < w->n_texts; i++) {
        struct text t = w->texts[i];
        bool in_a, in_b;

        if (!ref_topic_valid(t.data, t.len)) {
            continue;
        }
        in_a = ref_matches(a.data, a.len, t.data, t.len);
        in_b = ref_matches(b.data, b.len, t.data, t.len);
        CHECK(!filter_contains(a, b) || !in_b || in_a);
        CHECK((len > 0 && ref_matches(common, len, t.data, t.len)) == (in_a && in_b));
        CHECK(filter_contains(a, t) == in_a);
    }
}

static void check_all(const struct world *w)
{
    for (size_t i = 0; i < w->n_texts; i++) {
        struct text t = w->texts[i];

        if (!ref_filter_valid(t.data, t.len)) {
            continue;
        }
        for (uint32_t verb = 1; verb <= POLICY_ALL; verb *= 2) {
            if (ref_topic_valid(t.data, t.len)) {
                CHECK(access_topic(w->access, verb, t).is_allowed == allows(w, verb, t));
            }
            check_filter(w, verb, t);
        }
        for (size_t k = 0; k < w->n_texts; k++) {
            if (ref_filter_valid(w->texts[k].data, w->texts[k].len)) {
                check_pair(w, t, w->texts[k]);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w = {.n_rules = 0};
    struct input in = {data, len};

    take_rules(&w, &in);
    take_subject(&w, &in);
    while (in.left > 0 && w.n_texts < N_TEXTS) {
        w.texts[w.n_texts++] = take_text(&in);
    }
    CHECK(policy_new(w.rules, w.n_rules, &w.policy) == 0);
    CHECK(access_new(w.policy, 0, &w.subject, &w.access) == 0);
    check_all(&w);
    access_unref(w.access);
    policy_unref(w.policy);
    return 0;
}
