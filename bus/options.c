/* SPDX-License-Identifier: MIT */
#include "options.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include "activation.h"
#include "base/macros.h"
#include "base/spin.h"
#include "config.h"
#include "log.h"
#include "records.h"

/* ---- values that are only here ---- */

static int parse_fd(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f)
{
    uint64_t fd;

    (void) d;
    if (value_parse(VALUE_COUNT, text, 0, INT32_MAX, &fd, f) < 0) {
        return failure_set(f, -EINVAL, "expected is the number of an open descriptor");
    }
    if (fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0) {
        return failure_set(f, -EBADF, "that descriptor is not open");
    }
    o->ready_fd = (int) fd;
    return 0;
}

static int parse_replace(struct options *o, const struct option_def *d, const char *text,
                         struct failure *f)
{
    (void) d;
    (void) text;
    (void) f;
    o->replace = true;
    return 0;
}

static int parse_config(struct options *o, const struct option_def *d, const char *text,
                        struct failure *f)
{
    (void) d;
    if (!*text) {
        return failure_set(f, -EINVAL, "expected is the path of a file");
    }
    o->config = text;
    o->no_config = false;
    return 0;
}

static int parse_no_config(struct options *o, const struct option_def *d, const char *text,
                           struct failure *f)
{
    (void) d;
    (void) text;
    (void) f;
    o->config = NULL;
    o->no_config = true;
    return 0;
}

static int set_action(struct options *o, enum options_action action, struct failure *f)
{
    if (o->action != OPTIONS_SERVE && o->action != action) {
        return failure_set(f, -EINVAL, "only one of --check, --print-config and --explain");
    }
    o->action = action;
    return 0;
}

static int parse_check(struct options *o, const struct option_def *d, const char *text,
                       struct failure *f)
{
    (void) d;
    (void) text;
    return set_action(o, OPTIONS_CHECK, f);
}

static int parse_print_config(struct options *o, const struct option_def *d, const char *text,
                              struct failure *f)
{
    (void) d;
    (void) text;
    return set_action(o, OPTIONS_PRINT, f);
}

static int parse_explain(struct options *o, const struct option_def *d, const char *text,
                         struct failure *f)
{
    (void) d;
    (void) text;
    return set_action(o, OPTIONS_EXPLAIN, f);
}

/* ---- the table ---- */

#define EARLY (OPTION_EARLY | OPTION_NO_FILE)
#define ACTION (EARLY | OPTION_ONCE)
#define FIELD(field) .offset = offsetof(struct options, field)

static const struct option_def options_general[] = {
    {"General", "help", NULL, "print this and exit", .traits = ACTION},
    {"General", "version", NULL, "print the version and exit", .traits = ACTION},
    {"General", "config", "FILE",
     "configuration file; FILE.d/*.conf are read after it, and flags count more", parse_config,
     .traits = EARLY},
    {"General", "no-config", NULL, "read no configuration files", parse_no_config, .traits = EARLY},
    {"General", "check", NULL, "say what is wrong with the configuration, and exit", parse_check,
     .traits = ACTION},
    {"General", "print-config", NULL,
     "print everything that is in force as a configuration file, and exit", parse_print_config,
     .traits = ACTION},
    {"General", "explain", NULL,
     "print what the rules say to user=U verb=V topic=T, and exit; further words: group=G "
     "listener=L label=L name=N",
     parse_explain, .traits = ACTION},
    {"General", "log-level", "LEVEL", "error, warn, info or debug", parse_log_level,
     format_log_level, .traits = 0},
    {"General", "ready-fd", "FD", "write \"READY\\n\" there and close it when listening", parse_fd,
     .traits = OPTION_ONCE | OPTION_NO_FILE},
    {"General", "drain-timeout", VALUE_MS, "time to hand over what waits when stopping", parse_ms,
     format_number, FIELD(drain_timeout_ms), .high = 3600000},
    {"General", "restart-grace", VALUE_MS,
     "time for clients of the router before this one to return; 0 waits for nobody", parse_ms,
     format_number, FIELD(restart_grace_ms), .high = 30000, .traits = OPTION_FIXED},
    {"General", "spin", VALUE_US,
     "longest time to look for input before sleeping, while that pays; 0 saves power", parse_us,
     format_number, FIELD(spin_us), .high = SPIN_US_MAX, .traits = OPTION_FIXED},
    {"General", "replace", NULL, "take the place of the router that listens there", parse_replace,
     .traits = OPTION_ONCE | OPTION_NO_FILE},
    {"General", "replace-timeout", VALUE_MS, "time for a router that replaces this one to be ready",
     parse_ms, format_number, FIELD(replace_timeout_ms), .low = 10, .high = 600000},
    {"Listening", "listen", "LISTENER", "where to listen; may be given several times",
     .list = &record_listen, .traits = OPTION_FIXED},
    {"Listening", "mode", "OCTAL", "mode of the socket files", parse_mode, format_mode,
     .traits = OPTION_FIXED},
    {"Listening", "owner", "USER", "owner of the socket files: a name or a number", parse_owner,
     format_owner, .traits = OPTION_FIXED},
    {"Listening", "group", "GROUP", "group of the socket files: a name or a number", parse_group,
     format_group, .traits = OPTION_FIXED},
    {"Access", "rule", "RULE", "who may do what; may be given several times", .list = &record_rule},
    {"Access", "quota", "QUOTA", "what a user may have; may be given several times",
     .list = &record_quota},
};

/* hello_timeout_ms, "ms" -> hello-timeout */
static void limit_name(const char *field, const char *unit, char name[OPTION_NAME_BYTES])
{
    size_t len = strlen(field);

    if (strcmp(unit, "ms") == 0) {
        len -= strlen("_ms");
    }
    (void) snprintf(name, OPTION_NAME_BYTES, "%.*s", (int) len, field);
    for (char *p = name; *p; p++) {
        *p = *p == '_' ? '-' : *p;
    }
}

static void limit_def(struct option_def *d, const char *unit)
{
    d->group = "Limits";
    d->format = format_number;
    if (strcmp(unit, "ms") == 0) {
        d->arg = VALUE_MS;
        d->parse = parse_ms;
    } else if (strcmp(unit, "bytes") == 0) {
        d->arg = VALUE_BYTES;
        d->parse = parse_bytes;
    } else {
        d->arg = VALUE_COUNT;
        d->parse = parse_count;
    }
}

void option_table_init(struct option_table *t)
{
    struct option_def *d = t->defs + ARRAY_LEN(options_general);
    size_t i = 0;

    _Static_assert(ARRAY_LEN(options_general) == OPTIONS_GENERAL_COUNT, "count them");
    memset(t, 0, sizeof(*t));
    memcpy(t->defs, options_general, sizeof(options_general));
#define X(field, default_value, low_value, high_value, unit, meaning)                              \
    limit_name(#field, unit, t->names[i]);                                                         \
    *d = (struct option_def){.name = t->names[i++],                                                \
                             .help = meaning,                                                      \
                             .offset = offsetof(struct options, limits.field),                     \
                             .low = (low_value),                                                   \
                             .high = (high_value)};                                                \
    limit_def(d++, unit);
    LIMITS(X)
#undef X
    for (i = 0; i < OPTIONS_COUNT; i++) {
        t->longopts[i] = (struct option){
            .name = t->defs[i].name,
            .has_arg = t->defs[i].arg ? required_argument : no_argument,
            .val = 0x100 + (int) i,
        };
    }
}

size_t option_find(const struct option_table *t, const char *name)
{
    size_t i = 0;

    while (i < OPTIONS_COUNT && strcmp(t->defs[i].name, name) != 0) {
        i++;
    }
    return i;
}

void option_setting_name(const struct option_def *d, char buf[OPTION_NAME_BYTES])
{
    /* what can be given several times is a list of them in a file */
    (void) snprintf(buf, OPTION_NAME_BYTES, "%s%s", d->name,
                    d->list && d->list != &record_listen ? "s" : "");
    for (char *p = buf; *p; p++) {
        *p = *p == '-' ? '_' : *p;
    }
}

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
        (void) failure_set(&f, r, "--%s: '%.200s': %.300s", d->name, optarg ? optarg : "",
                           why.text);
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

static int complete(struct options *o, const struct option_table *t, struct report *report)
{
    int r = check_limits(o, t, report);

    complete_listens(o);
    o->is_default_listen = o->n_listens == 0;
    if (r == OPTIONS_RUN && o->is_default_listen && o->action == OPTIONS_SERVE &&
        !activation_is_there()) {
        r = add_default_address(o, report);
    }
    return r;
}

/* ---- options ---- */

static const struct options defaults = {
    .access = {.mode = 0600, .owner = LISTENER_KEEP_ID, .group = LISTENER_KEEP_ID},
    .drain_timeout_ms = 5000,
    .replace_timeout_ms = 5000,
    .restart_grace_ms = 2000,
    .spin_us = SPIN_US_DEFAULT,
    .log_level = LOG_INFO,
    .ready_fd = -1,
    .limits = LIMITS_DEFAULT,
};

const struct options *options_defaults(void)
{
    return &defaults;
}

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
    *ret = defaults;
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
    *o = defaults;
}
