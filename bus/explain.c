/* SPDX-License-Identifier: MIT */
#include "explain.h"
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
#include "base/macros.h"
#include "core/access.h"
#include "options_table.h"
#include "wire/topic.h"

/* The question, and who asks. */
struct question {
    const char *words[7]; /* by WORDS; NULL: not said */
    char user[LOGIN_NAME_MAX], group[LOGIN_NAME_MAX];
    gid_t *groups;
    int n_groups;
    uint32_t uid;
    uint32_t verb;
};

enum word { WORD_USER, WORD_VERB, WORD_TOPIC, WORD_GROUP, WORD_LISTENER, WORD_LABEL, WORD_NAME };
static const char *const words[] = {"user", "verb", "topic", "group", "listener", "label", "name"};

static int read_words(struct question *q, const struct options *o, struct report *report)
{
    for (int a = 0; a < o->n_arguments; a++) {
        const char *argument = o->arguments[a];
        size_t len = strcspn(argument, "="), i = 0;

        while (i < ARRAY_LEN(words) &&
               (strlen(words[i]) != len || memcmp(words[i], argument, len) != 0)) {
            i++;
        }
        if (i == ARRAY_LEN(words) || argument[len] != '=' || q->words[i]) {
            report_error(report,
                         "'%.200s': expected is each once: user=, verb=, topic=, and perhaps "
                         "group=, listener=, label=, name=",
                         argument);
            return -EINVAL;
        }
        q->words[i] = argument + len + 1;
    }
    if (!q->words[WORD_USER] || !q->words[WORD_VERB] || !q->words[WORD_TOPIC]) {
        report_error(report, "--explain needs user=U verb=V topic=T behind the options");
        return -EINVAL;
    }
    return 0;
}

/* ---- who asks ---- */

static int add_gid(struct question *q, gid_t gid)
{
    gid_t *groups = reallocarray(q->groups, (size_t) q->n_groups + 1, sizeof(*groups));

    if (!groups) {
        return -ENOMEM;
    }
    groups[q->n_groups++] = gid;
    q->groups = groups;
    return 0;
}

/* group=A,B: the first one is the primary group. */
static int groups_of_words(struct question *q, struct report *report)
{
    char *copy = strdup(q->words[WORD_GROUP]), *rest = copy;
    int r = copy ? 0 : -ENOMEM;

    for (char *name; r == 0 && (name = strsep(&rest, ","));) {
        uint32_t gid = 0;
        struct failure f;

        r = value_parse_group(name, &gid, &f);
        if (r < 0) {
            report_error(report, "group=: '%.200s': %.300s", name, f.text);
        } else {
            r = add_gid(q, gid);
        }
    }
    free(copy);
    return r;
}

static int groups_of_system(struct question *q, struct report *report)
{
    const struct passwd *pw = getpwuid(q->uid);
    int n = 0;

    if (!pw) {
        report_error(report, "user %" PRIu32 " is not known to the system; say group=, too",
                     q->uid);
        return -EINVAL;
    }
    (void) getgrouplist(pw->pw_name, pw->pw_gid, NULL, &n);
    q->groups = calloc((size_t) MAX(n, 1), sizeof(gid_t));
    if (!q->groups) {
        return -ENOMEM;
    }
    q->n_groups = MAX(n, 1);
    if (getgrouplist(pw->pw_name, pw->pw_gid, q->groups, &q->n_groups) < 0) {
        report_error(report, "the groups of user %s cannot be found out", pw->pw_name);
        return -EINVAL;
    }
    for (int i = 0; i < q->n_groups; i++) { /* the primary one is somewhere in it */
        if (q->groups[i] == pw->pw_gid) {
            q->groups[i] = q->groups[0];
            q->groups[0] = pw->pw_gid;
        }
    }
    return 0;
}

static void copy_name(char *dst, const char *name)
{
    (void) snprintf(dst, LOGIN_NAME_MAX, "%s", name);
}

static int read_subject(struct question *q, struct report *report)
{
    const struct passwd *pw;
    const struct group *gr;
    struct failure f;
    int r = value_parse_user(q->words[WORD_USER], &q->uid, &f);

    if (r < 0) {
        report_error(report, "user=: '%.200s': %.300s", q->words[WORD_USER], f.text);
        return r;
    }
    r = q->words[WORD_GROUP] ? groups_of_words(q, report) : groups_of_system(q, report);
    if (r < 0) {
        return r;
    }
    pw = getpwuid(q->uid);
    copy_name(q->user, pw ? pw->pw_name : "");
    gr = getgrgid(q->groups[0]);
    copy_name(q->group, gr ? gr->gr_name : "");
    return 0;
}

/* ---- the answer ---- */

static struct text word_text(const struct question *q, enum word word)
{
    return text_from(q->words[word] ? q->words[word] : "");
}

static int ask(const struct question *q, struct policy *policy, struct access_verdict *ret)
{
    const struct subject s = {
        .uid = q->uid,
        .gid = q->groups[0],
        .groups = (const uint32_t *) q->groups + 1,
        .n_groups = (size_t) q->n_groups - 1,
        .user = text_from(q->user),
        .group = text_from(q->group),
        .listener = word_text(q, WORD_LISTENER),
        .label = word_text(q, WORD_LABEL),
        .name = word_text(q, WORD_NAME),
    };

    _Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are handed on as they are");
    return policy_explain(policy, (uint32_t) geteuid(), &s, q->verb, word_text(q, WORD_TOPIC), ret);
}

static int say_verdict(const struct access_verdict *v, FILE *out)
{
    char text[ACCESS_TEXT_MAX];
    size_t len = access_text(v, text);

    (void) fprintf(out, "%s: %.*s\n",
                   v->is_allowed   ? "allowed"
                   : v->is_partial ? "denied as a whole, allowed in part"
                                   : "denied",
                   (int) len, text);
    return v->is_allowed ? EXIT_CODE_OK : EXIT_CODE_DENIED;
}

/* Rules cannot give these away. */
static bool is_for_nobody(const struct question *q)
{
    const char *topic = q->words[WORD_TOPIC];

    return q->verb & (POLICY_PUBLISH | POLICY_SERVE | POLICY_RETAIN) &&
           topic_is_reserved(topic, strlen(topic));
}

static int answer(const struct question *q, const struct options *o, FILE *out,
                  struct report *report)
{
    struct policy *policy = NULL;
    struct access_verdict v;
    int r = o->n_rules > 0 ? policy_new(o->rules, o->n_rules, &policy) : 0;

    r = r < 0 ? r : ask(q, policy, &v);
    if (r == 0 && is_for_nobody(q)) {
        (void) fprintf(out, "denied: $bus belongs to the router\n");
        r = EXIT_CODE_DENIED;
    } else if (r == 0) {
        r = say_verdict(&v, out);
    } else if (r == -EINVAL) {
        report_error(report, "topic=: '%.200s': for %s expected is %s", q->words[WORD_TOPIC],
                     q->words[WORD_VERB],
                     q->verb & POLICY_WITH_FILTER ? "a topic or a topic filter" : "a topic");
    }
    policy_unref(policy);
    return r;
}

int explain(const struct options *o, FILE *out, struct report *report)
{
    struct question q = {.groups = NULL};
    int r = read_words(&q, o, report);

    if (r == 0) {
        q.verb = policy_verb_find(text_from(q.words[WORD_VERB]));
        if (q.verb == 0) {
            report_error(report,
                         "verb=: '%.200s': expected is one of publish, subscribe, request, "
                         "serve, monitor, retain, block, descriptors",
                         q.words[WORD_VERB]);
            r = -EINVAL;
        }
    }
    r = r < 0 ? r : read_subject(&q, report);
    r = r < 0 ? r : answer(&q, o, out, report);
    free(q.groups);
    if (r == -ENOMEM) {
        report_error(report, "out of memory");
        return EXIT_CODE_FAILED;
    }
    return r < 0 ? EXIT_CODE_USAGE : r;
}
