/* SPDX-License-Identifier: MIT */
/* Values of options as texts, both ways. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include "base/macros.h"
#include "options_table.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* What numbers of one kind look like. */
struct number_kind {
    const char *name;
    const char *expected;
    struct unit units[8]; /* up to suffix NULL; the first one is "" */
};

static const struct number_kind kinds[] = {
    {VALUE_MS, "a time like 500ms or 5s", {{"", 1}, {"ms", 1}, {"s", 1000}}},
    {VALUE_US, "a time like 100 or 100us", {{"", 1}, {"us", 1}, {"ms", 1000}}},
    {VALUE_BYTES,
     "a number of bytes like 65536, 64K, 1M or 2G",
     {{"", 1},
      {"K", KIB},
      {"k", KIB},
      {"M", MIB},
      {"m", MIB},
      {"G", 1024 * MIB},
      {"g", 1024 * MIB}}},
    {VALUE_COUNT, "a number", {{"", 1}}},
};

static const struct number_kind *kind_of(const char *name)
{
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(kinds) && strcmp(kinds[i].name, name) != 0) {
        i++;
    }
    return &kinds[i];
}

/* 0, -EINVAL if it is no number with one of the units, -ERANGE if it is too large for any use. */
static int parse_number(const char *text, const struct number_kind *kind, uint64_t *ret)
{
    uint64_t value;
    char *end;

    if (*text < '0' || *text > '9') {
        return -EINVAL; /* strtoull() would take signs and blanks */
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    for (size_t i = 0; i < ARRAY_LEN(kind->units) && kind->units[i].suffix; i++) {
        const struct unit *u = &kind->units[i];

        if (strcmp(end, u->suffix) == 0) {
            return errno || __builtin_mul_overflow(value, u->factor, ret) ? -ERANGE : 0;
        }
    }
    return -EINVAL;
}

/* ---- numbers ---- */

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

void value_format(const char *kind, uint64_t n, char *buf, size_t bytes)
{
    if (strcmp(kind, VALUE_BYTES) == 0) {
        format_bytes(n, buf, bytes);
    } else if (strcmp(kind, VALUE_MS) != 0) {
        (void) snprintf(buf, bytes, "%" PRIu64, n);
    } else if (n >= 1000 && n % 1000 == 0) {
        (void) snprintf(buf, bytes, "%" PRIu64 "s", n / 1000);
    } else {
        (void) snprintf(buf, bytes, "%" PRIu64 "ms", n);
    }
}

int value_parse(const char *kind, const char *text, uint64_t low, uint64_t high, uint64_t *ret,
                struct failure *f)
{
    char low_text[OPTION_VALUE_BYTES], high_text[OPTION_VALUE_BYTES];
    const struct number_kind *k = kind_of(kind);
    uint64_t value = 0;
    int r = parse_number(text, k, &value);

    value_format(kind, low, low_text, sizeof(low_text));
    value_format(kind, high, high_text, sizeof(high_text));
    if (r == -EINVAL) {
        return failure_set(f, r, "expected is %s, from %s to %s", k->expected, low_text, high_text);
    }
    if (r < 0 || value < low || value > high) {
        return failure_set(f, -ERANGE, "out of range, which is %s to %s", low_text, high_text);
    }
    *ret = value;
    return 0;
}

static int parse_ranged(struct options *o, const struct option_def *d, const char *kind,
                        const char *text, struct failure *f)
{
    uint64_t *value = (uint64_t *) (void *) ((char *) o + d->offset);

    return value_parse(kind, text, d->low, d->high, value, f);
}

int parse_ms(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    return parse_ranged(o, d, VALUE_MS, text, f);
}

int parse_us(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    return parse_ranged(o, d, VALUE_US, text, f);
}

int parse_bytes(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    return parse_ranged(o, d, VALUE_BYTES, text, f);
}

int parse_count(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    return parse_ranged(o, d, VALUE_COUNT, text, f);
}

void format_number(const struct options *o, const struct option_def *d, char *buf, size_t bytes)
{
    value_format(d->arg, *(const uint64_t *) (const void *) ((const char *) o + d->offset), buf,
                 bytes);
}

/* ---- access ---- */

int value_parse_mode(const char *text, mode_t *ret, struct failure *f)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    if (*text < '0' || *text > '7' || *end || mode > 0777) {
        return failure_set(f, -EINVAL, "expected is an octal file mode, from 0 to 0777");
    }
    *ret = (mode_t) mode;
    return 0;
}

/* Not found, or not to be found out. */
static int parse_id(const char *text, int error, const char *what, uint32_t *ret, struct failure *f)
{
    uint64_t id;

    if (parse_number(text, kind_of(VALUE_COUNT), &id) == 0 && id < LISTENER_KEEP_ID) {
        *ret = (uint32_t) id;
        return 0;
    }
    /* what a look-up of nobody leaves in errno differs between systems */
    if (error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM) {
        return failure_set(f, -error, "cannot look up that %s: %s", what, strerror(error));
    }
    return failure_set(f, -EINVAL, "there is no such %s; expected is a name or a number", what);
}

int value_parse_user(const char *text, uint32_t *ret, struct failure *f)
{
    const struct passwd *pw;

    errno = 0;
    pw = getpwnam(text);
    if (pw) {
        *ret = pw->pw_uid;
        return 0;
    }
    return parse_id(text, errno, "user", ret, f);
}

int value_parse_group(const char *text, uint32_t *ret, struct failure *f)
{
    const struct group *gr;

    errno = 0;
    gr = getgrnam(text);
    if (gr) {
        *ret = gr->gr_gid;
        return 0;
    }
    return parse_id(text, errno, "group", ret, f);
}

int parse_mode(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    (void) d;
    return value_parse_mode(text, &o->access.mode, f);
}

int parse_owner(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    (void) d;
    return value_parse_user(text, &o->access.owner, f);
}

int parse_group(struct options *o, const struct option_def *d, const char *text, struct failure *f)
{
    (void) d;
    return value_parse_group(text, &o->access.group, f);
}

void format_mode(const struct options *o, const struct option_def *d, char *buf, size_t bytes)
{
    (void) d;
    (void) snprintf(buf, bytes, "%04o", (unsigned) o->access.mode);
}

static void format_id(uint32_t id, char *buf, size_t bytes)
{
    *buf = '\0';
    if (id != LISTENER_KEEP_ID) {
        (void) snprintf(buf, bytes, "%" PRIu32, id);
    }
}

void format_owner(const struct options *o, const struct option_def *d, char *buf, size_t bytes)
{
    (void) d;
    format_id(o->access.owner, buf, bytes);
}

void format_group(const struct options *o, const struct option_def *d, char *buf, size_t bytes)
{
    (void) d;
    format_id(o->access.group, buf, bytes);
}

/* ---- words ---- */

static const char *const log_levels[] = {"error", "warn", "info", "debug"};

int parse_log_level(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f)
{
    (void) d;
    for (size_t i = 0; i < ARRAY_LEN(log_levels); i++) {
        if (strcmp(text, log_levels[i]) == 0) {
            o->log_level = i;
            return 0;
        }
    }
    return failure_set(f, -EINVAL, "expected is error, warn, info or debug");
}

void format_log_level(const struct options *o, const struct option_def *d, char *buf, size_t bytes)
{
    (void) d;
    (void) snprintf(buf, bytes, "%s", log_levels[o->log_level]);
}
