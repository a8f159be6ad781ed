/* SPDX-License-Identifier: MIT */
/* Rules of who may do what, from words to struct policy_rule. What they mean: docs/protocol.md,
 * section 20; how they are written: docs/configuration.md. */
#include <errno.h>
#include <string.h>
#include "base/macros.h"
#include "records.h"

static int put_verbs(struct record *rec, bool deny, const char *word, struct failure *f)
{
    uint32_t verbs = strcmp(word, "all") == 0 ? POLICY_ALL : policy_verb_find(text_from(word));

    if (rec->verbs != 0 && rec->deny != deny) {
        return failure_set(f, -EINVAL, "a rule either allows or denies");
    }
    if (verbs == 0) {
#define X(name, number, word_of, meaning) word_of ", "
        return failure_set(f, -EINVAL, "expected is one of " POLICY_VERBS(X) "all");
#undef X
    }
    rec->deny = deny;
    rec->verbs |= verbs;
    return 0;
}

/* Of one topic of a record, for one user and one group of it. */
static struct policy_rule rule_of(const struct record *rec, const char *topic)
{
    return (struct policy_rule){
        .deny = rec->deny,
        .verbs = rec->verbs,
        .listener = text_from(rec->listener ? rec->listener : ""),
        .label = text_from(rec->label ? rec->label : ""),
        .topic = text_from(topic),
        .place = text_from(""),
    };
}

static int put_topic(struct record *rec, const char *value, struct failure *f)
{
    struct policy_rule rule = rule_of(rec, value);
    char **topics;
    const char *wrong;

    rule.deny = false; /* what a rule that denies must not have is known when it is complete */
    rule.verbs = POLICY_ALL;
    wrong = policy_rule_check(&rule);
    if (wrong) {
        return failure_set(f, -EINVAL, "%s", wrong);
    }
    topics = reallocarray(rec->topics, rec->n_topics + 1, sizeof(*topics));
    if (!topics) {
        return record_starved(f);
    }
    rec->topics = topics;
    topics[rec->n_topics] = strdup(value);
    return topics[rec->n_topics] ? (rec->n_topics++, 0) : record_starved(f);
}

static int put_rule(struct record *rec, const char *key, const char *value, struct failure *f)
{
    bool deny = strcmp(key, "deny") == 0;

    if (deny || strcmp(key, "allow") == 0) {
        return put_verbs(rec, deny, value, f);
    }
    if (strcmp(key, "user") == 0) {
        return record_put_user(rec, value, f);
    }
    if (strcmp(key, "group") == 0) {
        return record_put_group(rec, value, f);
    }
    if (strcmp(key, "topic") == 0) {
        return put_topic(rec, value, f);
    }
    return record_put_text(strcmp(key, "label") == 0 ? &rec->label : &rec->listener, key, value, f);
}

/* KEY=VALUE; lists have commas, but for topics and labels, which may hold them. */
static int parse_pair(struct record *rec, char *word, struct failure *f)
{
    char *value = NULL;
    const char *key = record_split(rec, word, &value, f);

    if (!key) {
        return -EINVAL;
    }
    return strcmp(key, "topic") == 0 || strcmp(key, "label") == 0 || strcmp(key, "listener") == 0
               ? put_rule(rec, key, value, f)
               : record_put_list(rec, key, value, f);
}

/* allow|deny VERB[,VERB...] KEY=VALUE... */
static int parse_rule(struct record *rec, char *text, struct failure *f)
{
    char *effect, *word;
    int r = record_next_word(&text, &effect, f);

    if (r > 0 && strcmp(effect, "allow") != 0 && strcmp(effect, "deny") != 0) {
        return failure_set(f, -EINVAL, "'%.100s': expected is allow or deny", effect);
    }
    if (r > 0) {
        r = record_next_word(&text, &word, f);
    }
    if (r <= 0) {
        return r < 0 ? r
                     : failure_set(f, -EINVAL,
                                   "expected is allow or deny, and then what: "
                                   "allow publish,subscribe topic=home/#");
    }
    r = record_put_list(rec, effect, word, f);
    while (r >= 0 && (r = record_next_word(&text, &word, f)) > 0) {
        r = parse_pair(rec, word, f);
    }
    return r;
}

/* ---- adding ---- */

static int add_rule(struct options *o, struct policy_rule *rule, struct failure *f)
{
    struct policy_rule *rules;

    if (o->n_rules == POLICY_RULES_MAX) {
        return failure_set(f, -EINVAL,
                           "at most %u rules can be given, each user, group and topic "
                           "of a list being one",
                           POLICY_RULES_MAX);
    }
    rules = reallocarray(o->rules, o->n_rules + 1, sizeof(*rules));
    if (!rules) {
        return record_starved(f);
    }
    o->rules = rules;
    rules[o->n_rules++] = *rule;
    return 0;
}

static int add_for_ids(struct options *o, const struct record *rec, struct policy_rule *rule,
                       struct failure *f)
{
    int r = 0;

    rule->by_uid = rec->users.n > 0;
    rule->by_gid = rec->groups.n > 0;
    for (size_t u = 0; u < MAX(rec->users.n, 1) && r == 0; u++) {
        rule->uid = rule->by_uid ? rec->users.ids[u] : 0;
        for (size_t g = 0; g < MAX(rec->groups.n, 1) && r == 0; g++) {
            rule->gid = rule->by_gid ? rec->groups.ids[g] : 0;
            r = add_rule(o, rule, f);
        }
    }
    return r;
}

/* An empty text for NULL; false: out of memory. */
static bool keep_text(struct options *o, const char *text, struct text *ret)
{
    const char *copy = options_keep(o, text ? text : "");

    *ret = text_from(copy ? copy : "");
    return copy;
}

static int commit_rule(struct options *o, const struct record *rec, const char *place,
                       struct failure *f)
{
    struct policy_rule rule = rule_of(rec, "");
    int r = 0;

    if (rec->verbs == 0) {
        return failure_set(f, -EINVAL, "a rule needs allow or deny");
    }
    if (rec->n_topics == 0) {
        return failure_set(f, -EINVAL, "a rule needs a topic: # for all but those below $bus/");
    }
    if (!keep_text(o, rec->listener, &rule.listener) || !keep_text(o, rec->label, &rule.label) ||
        !keep_text(o, place, &rule.place)) {
        return record_starved(f);
    }
    for (size_t i = 0; i < rec->n_topics && r == 0; i++) {
        const char *wrong;

        if (!keep_text(o, rec->topics[i], &rule.topic)) {
            return record_starved(f);
        }
        wrong = policy_rule_check(&rule);
        r = wrong ? failure_set(f, -EINVAL, "topic %.200s: %s", rec->topics[i], wrong)
                  : add_for_ids(o, rec, &rule, f);
    }
    return r;
}

static const char *const rule_keys[] = {"allow",    "deny",  "user",  "group",
                                        "listener", "label", "topic", NULL};

const struct record_kind record_rule = {
    .name = "rule",
    .keys = rule_keys,
    .put = put_rule,
    .parse = parse_rule,
    .commit = commit_rule,
};
