/* SPDX-License-Identifier: MIT */
#include "options.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "activation.h"
#include "base/macros.h"
#include "config.h"
#include "records.h"

const char *options_keep(struct options *o, const char *text)
{
    char **texts = reallocarray(o->texts, o->n_texts + 1, sizeof(*texts));

    if (!texts) {
        return NULL;
    }
    o->texts = texts;
    texts[o->n_texts] = strdup(text);
    return texts[o->n_texts] ? texts[o->n_texts++] : NULL;
}

int option_set(struct options *o, const struct option_table *t, size_t i, const char *text,
               const char *place, struct failure *f)
{
    const struct option_def *d = &t->defs[i];
    char *copy = NULL;
    int r;

    if (d->list) {
        return record_add_text(o, d->list, text, place ? place : "--rule", f);
    }
    if (place) {
        copy = strdup(place);
        if (!copy) {
            return record_starved(f);
        }
    }
    r = d->parse(o, d, text, f);
    if (r < 0) {
        free(copy);
        return r;
    }
    free(o->places[i]);
    o->places[i] = copy;
    return 0;
}

/* ---- the command line ---- */

static int complain(struct report *report, const char *what)
{
    report_error(report, "%s", what);
    if (report->out) {
        (void) fputs("Try 'bus-router --help'.\n", report->out);
    }
    return OPTIONS_USAGE;
}

/* getopt_long() found no option of ours, or none that fits. */
static int complain_option(struct report *report, const struct option_table *t, int c,
                           const char *word)
{
    const struct option_def *d = optopt >= 0x100 ? &t->defs[optopt - 0x100] : NULL;
    struct failure f;

    if (c == ':') {
        (void) failure_set(&f, 0, "--%s needs a value: %s", d ? d->name : "?", d ? d->arg : "?");
    } else if (d) {
        (void) failure_set(&f, 0, "--%s takes no value", d->name);
    } else if (optopt) {
        (void) failure_set(&f, 0, "unknown option -%c", optopt);
    } else {
        (void) failure_set(&f, 0, "unknown or ambiguous option %.200s", word);
    }
    return complain(report, f.text);
}

/* n: how many of this option there were before. */
static int parse_one(struct options *o, const struct option_table *t, size_t i, unsigned n,
                     struct report *report)
{
    const struct option_def *d = &t->defs[i];
    struct failure why, f;
    char place[32];
    int r;

    (void) snprintf(place, sizeof(place), "--%s %u", d->name, n + 1);
    r = option_set(o, t, i, optarg, d->list ? place : NULL, &why);
    if (r < 0) {
        (void) (optarg ? failure_set(&f, r, "--%s: '%.200s': %.300s", d->name, optarg, why.text)
                       : failure_set(&f, r, "--%s: %.300s", d->name, why.text));
        return r == -ENOMEM ? r : complain(report, f.text);
    }
    return OPTIONS_RUN;
}

/* A router that replaces this one gets the same arguments, but for a descriptor that is closed by
 * then, and so does who reads the configuration again. from, n: those of one option. */
static void note_successor(struct options *o, const struct option_def *d, char **from, int n)
{
    for (int i = 0; i < n && !(d->traits & OPTION_ONCE); i++) {
        o->successor[o->n_successor++] = from[i];
    }
}

/* The early options, or all others. */
static int parse_some(struct options *o, const struct option_table *t, int argc, char **argv,
                      bool early, struct report *report)
{
    unsigned n[OPTIONS_COUNT] = {0};
    int at = 1;
    int c;

    optind = 0; /* begin anew, however often this is called */
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", t->longopts, NULL)) != -1) {
        size_t i = (size_t) c - 0x100;
        int r = OPTIONS_RUN;

        if (c < 0x100) {
            return complain_option(report, t, c, argv[optind - 1]);
        }
        if (!t->defs[i].parse && !t->defs[i].list) {
            return c; /* --help or --version */
        }
        if (early == !!(t->defs[i].traits & OPTION_EARLY)) {
            r = parse_one(o, t, i, n[i]++, report);
        }
        if (r != OPTIONS_RUN) {
            return r;
        }
        if (early) {
            note_successor(o, &t->defs[i], argv + at, optind - at);
        }
        at = optind;
    }
    return OPTIONS_RUN;
}

static int parse_early(struct options *o, const struct option_table *t, int argc, char **argv,
                       struct report *report)
{
    static char replace[] = "--replace";
    int r = parse_some(o, t, argc, argv, true, report);
    struct failure f;

    if (r != OPTIONS_RUN) {
        return r;
    }
    o->successor[o->n_successor++] = replace;
    o->arguments = argv + optind;
    o->n_arguments = argc - optind;
    if (optind < argc && o->action != OPTIONS_EXPLAIN) {
        (void) failure_set(&f, 0, "unexpected argument '%.200s'", argv[optind]);
        return complain(report, f.text);
    }
    return OPTIONS_RUN;
}

/* ---- what must fit together ---- */

/* Where the option was said, or its flag. */
static void place_of(const struct options *o, const struct option_table *t, const char *name,
                     char *buf, size_t bytes)
{
    size_t i = option_find(t, name);
    const char *place = i < OPTIONS_COUNT ? o->places[i] : NULL;

    (void) snprintf(buf, bytes, "%s%s", place ? place : "", place ? ": " : "");
}

/* Limits that must fit each other. */
static int check_limits(const struct options *o, const struct option_table *t,
                        struct report *report)
{
    const struct limits *l = &o->limits;
    const struct {
        uint64_t low, high;
        const char *text;
    } pairs[] = {
        {l->window_messages_default, l->window_messages_max, "window-messages"},
        {l->window_bytes_default, l->window_bytes_max, "window-bytes"},
        {l->queue_messages_default, l->queue_messages_max, "queue-messages"},
        {l->queue_bytes_default, l->queue_bytes_max, "queue-bytes"},
    };
    char name[OPTION_NAME_BYTES], place[ADDRESS_PATH_MAX + 64];

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i].low > pairs[i].high) {
            (void) snprintf(name, sizeof(name), "%s-default", pairs[i].text);
            place_of(o, t, name, place, sizeof(place));
            if (!*place) {
                (void) snprintf(name, sizeof(name), "%s-max", pairs[i].text);
                place_of(o, t, name, place, sizeof(place));
            }
            report_error(report, "%s--%s-default (%" PRIu64 ") is more than --%s-max (%" PRIu64 ")",
                         place, pairs[i].text, pairs[i].low, pairs[i].text, pairs[i].high);
        }
    }
    return report->n_errors == 0 ? OPTIONS_RUN : o->n_files > 0 ? OPTIONS_INVALID : OPTIONS_USAGE;
}

static int add_default_address(struct options *o, struct report *report)
{
    struct listen_option l = {.access = o->access};
    struct failure f;
    int r = address_default(&l.address, ADDRESS_TO_LISTEN);

    if (r == 0) {
        r = options_add_listen(o, &l, &f);
        return r == 0 ? OPTIONS_RUN : r == -ENOMEM ? r : complain(report, f.text);
    }
    if (r == -EPERM) {
        return complain(report, "the default directory under /tmp is not a private directory of "
                                "this user; remove it, or choose an address with --listen");
    }
    if (r != -EINVAL && r != -ENAMETOOLONG) {
        return complain(report, "the default directory under /tmp cannot be made; choose an "
                                "address with --listen");
    }
    return complain(report,
                    "$BUS_ADDRESS is not an address; correct it, or choose one with --listen");
}

/* What a listener does not say is what is said for all. */
static void complete_listens(struct options *o)
{
    for (size_t i = 0; i < o->n_listens; i++) {
        struct listener_access *a = &o->listens[i].access;

        a->mode = a->mode == LISTEN_MODE_DEFAULT ? o->access.mode : a->mode;
        a->owner = a->owner == LISTENER_KEEP_ID ? o->access.owner : a->owner;
        a->group = a->group == LISTENER_KEEP_ID ? o->access.group : a->group;
    }
}

static bool is_listener(const struct options *o, struct text name)
{
    for (size_t i = 0; i < o->n_listens; i++) {
        if (strlen(o->listens[i].name) == name.len &&
            memcmp(o->listens[i].name, name.data, name.len) == 0) {
            return true;
        }
    }
    return false;
}

/* Names of sockets that are given are known only where they are given. */
static void check_rules(const struct options *o, struct report *report)
{
    for (size_t i = 0; i < o->n_rules && o->n_listens > 0 && !activation_is_there(); i++) {
        const struct policy_rule *rule = &o->rules[i];

        if (rule->listener.len > 0 && !is_listener(o, rule->listener)) {
            report_warning(report, "%.*s: no listener is called '%.*s'", (int) rule->place.len,
                           rule->place.data, (int) rule->listener.len, rule->listener.data);
        }
    }
}

static int complete(struct options *o, const struct option_table *t, struct report *report)
{
    int r = check_limits(o, t, report);

    check_rules(o, report);
    complete_listens(o);
    o->is_default_listen = o->n_listens == 0;
    if (r == OPTIONS_RUN && o->is_default_listen && o->action == OPTIONS_SERVE &&
        !activation_is_there()) {
        r = add_default_address(o, report);
    }
    return r;
}

/* ---- options ---- */

static int answer(const struct option_table *t, size_t i, FILE *out)
{
    if (strcmp(t->defs[i].name, "help") == 0) {
        options_help(t, out);
    } else {
        (void) fprintf(out, "bus-router %s\n", BUS_VERSION);
    }
    return OPTIONS_DONE;
}

static int parse_files_and_flags(struct options *o, const struct option_table *t, int argc,
                                 char **argv, struct report *report)
{
    int r = o->no_config ? 0 : config_load(o, t, report);

    if (r < 0) {
        return r;
    }
    r = parse_some(o, t, argc, argv, false, report);
    if (r == OPTIONS_RUN && report->n_errors > 0) {
        r = OPTIONS_INVALID;
    }
    return r == OPTIONS_RUN ? complete(o, t, report) : r;
}

static int options_begin(struct options *ret, int argc, char **argv)
{
    *ret = *options_defaults();
    ret->successor = calloc((size_t) argc + 3, sizeof(char *));
    ret->places = calloc(OPTIONS_COUNT, sizeof(char *));
    if (!ret->successor || !ret->places) {
        return -ENOMEM;
    }
    ret->successor[ret->n_successor++] = argv[0];
    return 0;
}

int options_parse(struct options *ret, int argc, char **argv, FILE *out, struct report *report)
{
    struct option_table t;
    int r;

    r = options_begin(ret, argc, argv);
    if (r < 0) {
        return r;
    }
    option_table_init(&t);
    r = parse_early(ret, &t, argc, argv, report);
    if (r >= 0x100) {
        return answer(&t, (size_t) r - 0x100, out);
    }
    return r == OPTIONS_RUN ? parse_files_and_flags(ret, &t, argc, argv, report) : r;
}

int options_reload(struct options *ret, const struct options *running, struct report *report)
{
    struct option_table t;
    int r;

    r = options_begin(ret, (int) running->n_successor, running->successor);
    if (r < 0) {
        return r;
    }
    ret->action = OPTIONS_RELOAD;
    option_table_init(&t);
    r = parse_early(ret, &t, (int) running->n_successor, running->successor, report);
    return r == OPTIONS_RUN ? parse_files_and_flags(ret, &t, (int) running->n_successor,
                                                    running->successor, report)
                            : r;
}

static void free_texts(char **texts, size_t n)
{
    for (size_t i = 0; texts && i < n; i++) {
        free(texts[i]);
    }
    free(texts);
}

void options_fini(struct options *o)
{
    free_texts(o->places, OPTIONS_COUNT);
    free_texts(o->texts, o->n_texts);
    free_texts(o->files, o->n_files);
    free(o->listens);
    free(o->rules);
    free(o->quotas);
    free(o->successor);
    *o = *options_defaults();
}
