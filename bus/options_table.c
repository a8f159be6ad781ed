/* SPDX-License-Identifier: MIT */
/* The table of options, and values that are only in it. */
#include "options_table.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/macros.h"
#include "base/spin.h"
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

/* ---- defaults ---- */

static const struct options defaults = {
    .access = {.mode = 0600, .owner = LISTENER_KEEP_ID, .group = LISTENER_KEEP_ID},
    .drain_timeout_ms = 5000,
    .replace_timeout_ms = 5000,
    .restart_grace_ms = 5000,
    .spin_us = SPIN_US_DEFAULT,
    .log_level = LOG_INFO,
    .ready_fd = -1,
    .limits = LIMITS_DEFAULT,
};

const struct options *options_defaults(void)
{
    return &defaults;
}
