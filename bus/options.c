/* SPDX-License-Identifier: MIT */
#include "options.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include "activation.h"
#include "base/macros.h"
#include "base/spin.h"
#include "log.h"

struct option_def;
typedef int (*option_parse_fn)(struct options *o, const struct option_def *d, const char *text,
                               struct failure *f);

/* One option. parse is NULL for --help and --version. */
struct option_def {
    const char *group; /* heading in --help */
    const char *name;
    const char *arg; /* what the value is called, NULL: takes none */
    const char *help;
    option_parse_fn parse;
    size_t offset; /* of a uint64_t in struct options, for numbers */
    uint64_t low, high;
};

#define NAME_BYTES 40
#define LIMITS_COUNT (sizeof(struct limits) / sizeof(uint64_t))
#define VALUE_MS "TIME"
#define VALUE_US "MICROSECONDS"
#define VALUE_BYTES "BYTES"
#define VALUE_COUNT "NUMBER"

/* ---- values ---- */

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit units_ms[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {NULL, 0}};
static const struct unit units_us[] = {{"", 1}, {"us", 1}, {"ms", 1000}, {NULL, 0}};
static const struct unit units_bytes[] = {{"", 1},           {"K", KIB}, {"k", KIB},
                                          {"M", MIB},        {"m", MIB}, {"G", 1024 * MIB},
                                          {"g", 1024 * MIB}, {NULL, 0}};
static const struct unit units_count[] = {{"", 1}, {NULL, 0}};

/* 0, -EINVAL if it is no number with one of the units, -ERANGE if it is too large for any use. */
static int parse_number(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t value;
    char *end;

    if (*text < '0' || *text > '9') {
        return -EINVAL; /* strtoull() would take signs and blanks */
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    for (const struct unit *u = units; u->suffix; u++) {
        if (strcmp(end, u->suffix) == 0) {
            return errno || __builtin_mul_overflow(value, u->factor, ret) ? -ERANGE : 0;
        }
    }
    return -EINVAL;
}

static uint64_t *option_number(struct options *o, const struct option_def *d)
{
    return (uint64_t *) (void *) ((char *) o + d->offset);
}

static void format_bytes(uint64_t n, char *buf, size_t bytes)
{
    static const char *const suffixes[] = {"", "K", "M", "G"};
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(suffixes) && n >= KIB && n % KIB == 0) {
        n /= KIB;
        i++;
    }
    (void) snprintf(buf, bytes, "%" PRIu64 "%s", n, suffixes[i]);
}

static void format_value(const struct option_def *d, uint64_t n, char *buf, size_t bytes)
{
    if (strcmp(d->arg, VALUE_BYTES) == 0) {
        format_bytes(n, buf, bytes);
    } else if (strcmp(d->arg, VALUE_MS) != 0) {
        (void) snprintf(buf, bytes, "%" PRIu64, n);
    } else if (n >= 1000 && n % 1000 == 0) {
        (void) snprintf(buf, bytes, "%" PRIu64 "s", n / 1000);
    } else {
        (void) snprintf(buf, bytes, "%" PRIu64 "ms", n);
    }
}

static int parse_ranged(struct options *o, const struct option_def *d, const char *text,
                        const struct unit *units, const char *expected, struct failure *f)
{
    char low[32], high[32];
    uint64_t value;
    int r = parse_number(text, units, &value);

    format_value(d, d->low, low, sizeof(low));
    format_value(d, d->high, high, sizeof(high));
    if (r == -EINVAL) {
        return failure_set(f, r, "expected is %s, from %s to %s", expected, low, high);
    }
    if (r < 0 || value < d->low || value > d->high) {
        return failure_set(f, -ERANGE, "out of range, which is %s to %s", low, high);
    }
    *option_number(o, d) = value;
    return 0;
}

static int parse_ms(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f)
{
    return parse_ranged(o, d, text, units_ms, "a time like 500ms or 5s", f);
}

static int parse_us(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f)
{
    return parse_ranged(o, d, text, units_us, "a time like 100 or 100us", f);
}

static int parse_bytes(struct options *o, const struct option_def *d, const char *text,
                       struct failure *f)
{
    return parse_ranged(o, d, text, units_bytes, "a number of bytes like 65536, 64K, 1M or 2G", f);
}

static int parse_count(struct options *o, const struct option_def *d, const char *text,
                       struct failure *f)
{
    return parse_ranged(o, d, text, units_count, "a number", f);
}

static bool address_equal(const struct address *a, const struct address *b)
{
    /* one file cannot be two sockets; an abstract name can, of different types */
    return a->abstract == b->abstract && strcmp(a->path, b->path) == 0 &&
           (!a->abstract || a->type == b->type);
}

static int add_address(struct options *o, const struct address *a, struct failure *f)
{
    struct address *p;

    for (size_t i = 0; i < o->n_addresses; i++) {
        if (address_equal(&o->addresses[i], a)) {
            return failure_set(f, -EINVAL, "the address is given twice");
        }
    }
    if (o->n_addresses == ACCEPTOR_SOCKETS_MAX) {
        return failure_set(f, -EINVAL, "at most %d addresses can be given", ACCEPTOR_SOCKETS_MAX);
    }
    p = reallocarray(o->addresses, o->n_addresses + 1, sizeof(*p));
    if (!p) {
        return failure_set(f, -ENOMEM, "out of memory");
    }
    p[o->n_addresses] = *a;
    if (a->type == ADDRESS_ANY) {
        p[o->n_addresses].type = ADDRESS_SEQPACKET;
    }
    o->addresses = p;
    o->n_addresses++;
    return 0;
}

static int parse_listen(struct options *o, const struct option_def *d, const char *text,
                        struct failure *f)
{
    struct address a;
    int r = address_parse(text, &a);

    (void) d;
    if (r == -ENAMETOOLONG) {
        return failure_set(f, r, "too long: a path has at most %d bytes, an abstract name 106",
                           ADDRESS_PATH_MAX);
    }
    if (r < 0) {
        return failure_set(f, r,
                           "expected is seqpacket:PATH, stream:PATH, or a PATH, which may be "
                           "@NAME");
    }
    return add_address(o, &a, f);
}

static int parse_mode(struct options *o, const struct option_def *d, const char *text,
                      struct failure *f)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    (void) d;
    if (*text < '0' || *text > '7' || *end || mode > 0777) {
        return failure_set(f, -EINVAL, "expected is an octal file mode, from 0 to 0777");
    }
    o->access.mode = (mode_t) mode;
    return 0;
}

static bool parse_id(const char *text, unsigned *ret)
{
    uint64_t id;

    if (parse_number(text, units_count, &id) < 0 || id >= LISTENER_KEEP_ID) {
        return false;
    }
    *ret = (unsigned) id;
    return true;
}

static int parse_owner(struct options *o, const struct option_def *d, const char *text,
                       struct failure *f)
{
    const struct passwd *pw = getpwnam(text);

    (void) d;
    if (pw) {
        o->access.owner = pw->pw_uid;
    } else if (!parse_id(text, &o->access.owner)) {
        return failure_set(f, -EINVAL, "there is no such user; expected is a name or a number");
    }
    return 0;
}

static int parse_group(struct options *o, const struct option_def *d, const char *text,
                       struct failure *f)
{
    const struct group *gr = getgrnam(text);

    (void) d;
    if (gr) {
        o->access.group = gr->gr_gid;
    } else if (!parse_id(text, &o->access.group)) {
        return failure_set(f, -EINVAL, "there is no such group; expected is a name or a number");
    }
    return 0;
}

static int parse_log_level(struct options *o, const struct option_def *d, const char *text,
                           struct failure *f)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    (void) d;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            o->log_level = i;
            return 0;
        }
    }
    return failure_set(f, -EINVAL, "expected is error, warn, info or debug");
}

static int parse_fd(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f)
{
    uint64_t fd;

    (void) d;
    if (parse_number(text, units_count, &fd) < 0 || fd > INT32_MAX) {
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

/* ---- the table ---- */

static const struct option_def options_general[] = {
    {"General", "help", NULL, "print this and exit", NULL, 0, 0, 0},
    {"General", "version", NULL, "print the version and exit", NULL, 0, 0, 0},
    {"General", "log-level", "LEVEL", "error, warn, info or debug (default info)", parse_log_level,
     0, 0, 0},
    {"General", "ready-fd", "FD", "write \"READY\\n\" there and close it when listening", parse_fd,
     0, 0, 0},
    {"General", "drain-timeout", VALUE_MS, "time to hand over what waits when stopping", parse_ms,
     offsetof(struct options, drain_timeout_ms), 0, 3600000},
    {"General", "restart-grace", VALUE_MS,
     "time for clients of the router before this one to return; 0 waits for nobody", parse_ms,
     offsetof(struct options, restart_grace_ms), 0, 30000},
    {"General", "spin", VALUE_US,
     "longest time to look for input before sleeping, while that pays; 0 saves power", parse_us,
     offsetof(struct options, spin_us), 0, SPIN_US_MAX},
    {"General", "replace", NULL, "take the place of the router that listens there", parse_replace,
     0, 0, 0},
    {"General", "replace-timeout", VALUE_MS, "time for a router that replaces this one to be ready",
     parse_ms, offsetof(struct options, replace_timeout_ms), 10, 600000},
    {"Listening", "listen", "ADDRESS", "where to listen; may be given several times", parse_listen,
     0, 0, 0},
    {"Listening", "mode", "OCTAL", "mode of the socket files (default 0600)", parse_mode, 0, 0, 0},
    {"Listening", "owner", "USER", "owner of the socket files: a name or a number", parse_owner, 0,
     0, 0},
    {"Listening", "group", "GROUP", "group of the socket files: a name or a number", parse_group, 0,
     0, 0},
};

#define OPTIONS_COUNT (ARRAY_LEN(options_general) + LIMITS_COUNT)

/* The whole table; names of limits are made from those of their fields. */
struct option_table {
    struct option_def defs[OPTIONS_COUNT];
    char names[LIMITS_COUNT][NAME_BYTES];
    struct option longopts[OPTIONS_COUNT + 1];
};

/* hello_timeout_ms, "ms" -> hello-timeout */
static void limit_name(const char *field, const char *unit, char name[NAME_BYTES])
{
    size_t len = strlen(field);

    if (strcmp(unit, "ms") == 0) {
        len -= strlen("_ms");
    }
    (void) snprintf(name, NAME_BYTES, "%.*s", (int) len, field);
    for (char *p = name; *p; p++) {
        *p = *p == '_' ? '-' : *p;
    }
}

static void limit_def(struct option_def *d, const char *unit)
{
    d->group = "Limits";
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

static void option_table_init(struct option_table *t)
{
    struct option_def *d = t->defs + ARRAY_LEN(options_general);
    size_t i = 0;

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

/* ---- help ---- */

static void print_option(FILE *out, const struct option_def *d, const struct options *defaults)
{
    char value[32];

    (void) fprintf(out, "  --%s%s%s\n        %s", d->name, d->arg ? " " : "", d->arg ? d->arg : "",
                   d->help);
    if (d->high > 0) {
        format_value(d, *(const uint64_t *) (const void *) ((const char *) defaults + d->offset),
                     value, sizeof(value));
        (void) fprintf(out, " (default %s)", value);
    }
    (void) fputc('\n', out);
}

static void print_help(FILE *out, const struct option_table *t, const struct options *defaults)
{
    const char *group = "";

    (void) fputs("Usage: bus-router [OPTION]...\n"
                 "Routes messages between the programs of this host that connect to it.\n",
                 out);
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        if (strcmp(group, t->defs[i].group) != 0) {
            group = t->defs[i].group;
            (void) fprintf(out, "\n%s:\n", group);
        }
        print_option(out, &t->defs[i], defaults);
    }
    (void) fputs(
        "\nADDRESS is seqpacket:PATH or stream:PATH; PATH alone is seqpacket. A PATH that begins "
        "with @\n"
        "is an abstract name. Without --listen it is $BUS_ADDRESS, else\n"
        "$XDG_RUNTIME_DIR/bus-router/bus.sock, else /run/bus-router/bus.sock for root and\n"
        "/tmp/bus-router-UID/bus.sock for others. Missing directories are created with mode 0700.\n"
        "PATH.lock beside a socket keeps a second router away; PATH.sessions beside the first one "
        "says\n"
        "who will come back if this router is gone.\n"
        "TIME is in milliseconds, or a number with ms or s. BYTES may end in K, M or G.\n"
        "\nSIGTERM and SIGINT stop the router when its clients have read what was on its way, a "
        "second\n"
        "one at once. SIGUSR2 replaces it by the program that is now where it was started from,\n"
        "with the same arguments; its clients notice nothing. Exit codes: 0 stopped, 1 could not "
        "start or failed, 2 wrong usage.\n",
        out);
}

/* ---- parsing ---- */

static int complain(FILE *err, const char *what)
{
    (void) fprintf(err, "bus-router: %s\nTry 'bus-router --help'.\n", what);
    return OPTIONS_USAGE;
}

/* getopt_long() found no option of ours, or none that fits. */
static int complain_option(FILE *err, const struct option_table *t, int c, const char *word)
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
    return complain(err, f.text);
}

static int parse_one(struct options *o, const struct option_def *d, FILE *err)
{
    struct failure why, f;
    int r = d->parse(o, d, optarg, &why);

    if (r < 0) {
        (void) failure_set(&f, r, "--%s: '%.200s': %.300s", d->name, optarg ? optarg : "",
                           why.text);
        return complain(err, f.text);
    }
    return OPTIONS_RUN;
}

/* A router that replaces this one gets the same arguments, but for a descriptor that is closed by
 * then. from, n: those of one option. */
static void note_successor(struct options *o, const struct option_def *d, char **from, int n)
{
    if (d->parse == parse_fd || d->parse == parse_replace) {
        return;
    }
    for (int i = 0; i < n; i++) {
        o->successor[o->n_successor++] = from[i];
    }
}

static int parse_all(struct options *o, const struct option_table *t, int argc, char **argv,
                     FILE *err)
{
    static char replace[] = "--replace";
    int at = 1;
    int c;

    optind = 0; /* begin anew, however often this is called */
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", t->longopts, NULL)) != -1) {
        int r;

        if (c < 0x100) {
            return complain_option(err, t, c, argv[optind - 1]);
        }
        if (!t->defs[c - 0x100].parse) {
            return c; /* --help or --version */
        }
        r = parse_one(o, &t->defs[c - 0x100], err);
        if (r != OPTIONS_RUN) {
            return r;
        }
        note_successor(o, &t->defs[c - 0x100], argv + at, optind - at);
        at = optind;
    }
    o->successor[o->n_successor++] = replace;
    if (optind < argc) {
        struct failure f;

        (void) failure_set(&f, 0, "unexpected argument '%.200s'", argv[optind]);
        return complain(err, f.text);
    }
    return OPTIONS_RUN;
}

/* Limits that must fit each other. */
static int check_limits(const struct limits *l, FILE *err)
{
    const struct {
        uint64_t low, high;
        const char *text;
    } pairs[] = {
        {l->window_messages_default, l->window_messages_max, "window-messages"},
        {l->window_bytes_default, l->window_bytes_max, "window-bytes"},
        {l->queue_messages_default, l->queue_messages_max, "queue-messages"},
        {l->queue_bytes_default, l->queue_bytes_max, "queue-bytes"},
    };

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i].low > pairs[i].high) {
            struct failure f;

            (void) failure_set(&f, 0,
                               "--%s-default (%" PRIu64 ") is more than --%s-max (%" PRIu64 ")",
                               pairs[i].text, pairs[i].low, pairs[i].text, pairs[i].high);
            return complain(err, f.text);
        }
    }
    return OPTIONS_RUN;
}

static int add_default_address(struct options *o, FILE *err)
{
    struct failure f;
    struct address a;
    int r = address_default(&a, ADDRESS_TO_LISTEN);

    if (r == 0) {
        r = add_address(o, &a, &f);
        return r == 0 ? OPTIONS_RUN : complain(err, f.text);
    }
    if (r == -EPERM) {
        return complain(err, "the default directory under /tmp is not a private directory of this "
                             "user; remove it, or choose an address with --listen");
    }
    if (r != -EINVAL && r != -ENAMETOOLONG) {
        return complain(err, "the default directory under /tmp cannot be made; choose an address "
                             "with --listen");
    }
    return complain(err, "$BUS_ADDRESS is not an address; correct it, or choose one with --listen");
}

int options_parse(struct options *ret, int argc, char **argv, FILE *out, FILE *err)
{
    struct option_table t;
    int r;

    *ret = (struct options){
        .access = {.mode = 0600, .owner = LISTENER_KEEP_ID, .group = LISTENER_KEEP_ID},
        .drain_timeout_ms = 5000,
        .replace_timeout_ms = 5000,
        .restart_grace_ms = 2000,
        .spin_us = SPIN_US_DEFAULT,
        .log_level = LOG_INFO,
        .ready_fd = -1,
        .limits = LIMITS_DEFAULT,
    };
    ret->successor = calloc((size_t) argc + 3, sizeof(char *));
    if (!ret->successor) {
        return -ENOMEM;
    }
    ret->successor[ret->n_successor++] = argv[0];
    option_table_init(&t);
    r = parse_all(ret, &t, argc, argv, err);
    if (r >= 0x100) {
        if (strcmp(t.defs[r - 0x100].name, "help") == 0) {
            const struct options defaults = {.drain_timeout_ms = 5000,
                                             .replace_timeout_ms = 5000,
                                             .restart_grace_ms = 2000,
                                             .spin_us = SPIN_US_DEFAULT,
                                             .limits = LIMITS_DEFAULT};

            print_help(out, &t, &defaults);
        } else {
            (void) fprintf(out, "bus-router %s\n", BUS_VERSION);
        }
        return OPTIONS_DONE;
    }
    r = r != OPTIONS_RUN ? r : check_limits(&ret->limits, err);
    if (r == OPTIONS_RUN && ret->n_addresses == 0 && !activation_is_there()) {
        r = add_default_address(ret, err);
    }
    return r;
}

void options_fini(struct options *o)
{
    free(o->addresses);
    free(o->successor);
    o->successor = NULL;
    o->addresses = NULL;
    o->n_addresses = 0;
}
