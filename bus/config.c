/* SPDX-License-Identifier: MIT */
/* One configuration file: from libconfig's settings to options. */
#include "config.h"
#include <errno.h>
#include <libconfig.h>
#include <stdint.h>
#include <string.h>
#include "base/macros.h"
#include "config_lex.h"
#include "records.h"

/* One file while it is read. */
struct reading {
    struct options *options;
    const struct option_table *table;
    struct report *report;
    const char *name; /* of the file */
    const char *text;
    size_t len;
    size_t at;        /* where the next setting is looked for */
    size_t placed_at; /* what was asked for last, and where it is: settings come in order */
    struct place placed;
    bool is_lost; /* something is not where it should be: from here on only lines are known */
};

/* ---- where settings stand ---- */

static struct token take(struct reading *in)
{
    struct token t = token_next(in->text, in->len, in->at);

    in->at = t.at + t.len;
    return t;
}

/* Whether the next token begins with that sign, which is taken then. */
static bool take_sign(struct reading *in, const char *signs)
{
    struct token t = token_next(in->text, in->len, in->at);

    if (t.kind != TOKEN_SIGN || !strchr(signs, in->text[t.at])) {
        return false;
    }
    in->at = t.at + t.len;
    return true;
}

static struct place place_at(struct reading *in, size_t at)
{
    if (at < in->placed_at) {
        in->placed_at = 0;
        in->placed = (struct place){1, 1};
    }
    in->placed = place_move(in->placed, in->text + in->placed_at, at - in->placed_at);
    in->placed_at = at;
    return in->placed;
}

/* The place goes into the hook of a setting, which is otherwise not used: that of its name, or of
 * its value if it has none. +1, so that NULL says that it is not known. */
static void place_settings(struct reading *in, config_setting_t *s)
{
    struct token t = token_next(in->text, in->len, in->at);

    if (in->is_lost) {
        return;
    }
    config_setting_set_hook(s, (void *) (uintptr_t) (t.at + 1));
    if (config_setting_name(s)) {
        in->is_lost = take(in).kind != TOKEN_NAME || !take_sign(in, "=:");
    }
    if (config_setting_is_scalar(s) == CONFIG_TRUE) {
        do {
            t = take(in);
        } while (t.kind == TOKEN_STRING &&
                 token_next(in->text, in->len, in->at).kind == TOKEN_STRING);
        return;
    }
    in->is_lost = in->is_lost || (!config_setting_is_root(s) && !take_sign(in, "([{"));
    for (int i = 0; i < config_setting_length(s); i++) {
        place_settings(in, config_setting_get_elem(s, (unsigned) i));
        while (take_sign(in, ";,")) {
        }
    }
    in->is_lost = in->is_lost || (!config_setting_is_root(s) && !take_sign(in, ")]}"));
}

static struct place place_of(struct reading *in, const config_setting_t *s)
{
    uintptr_t hook = (uintptr_t) config_setting_get_hook(s);

    return hook ? place_at(in, hook - 1) : (struct place){config_setting_source_line(s), 1};
}

/* That of the value, if it has a name before it. */
static struct place place_of_value(struct reading *in, const config_setting_t *s)
{
    uintptr_t hook = (uintptr_t) config_setting_get_hook(s);
    struct token t;

    if (!hook || !config_setting_name(s)) {
        return place_of(in, s);
    }
    t = token_next(in->text, in->len, hook - 1);     /* the name */
    t = token_next(in->text, in->len, t.at + t.len); /* = */
    t = token_next(in->text, in->len, t.at + t.len);
    return place_at(in, t.at);
}

static void say(const struct reading *in, struct place p, const char *text)
{
    report_error(in->report, "%s:%u:%u: %s", in->name, p.line, p.column, text);
}

/* ---- names that there are not ---- */

#define WORD_MAX 48

/* How many letters must be changed, added or left out; `-` is `_`. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1];
    size_t n = strlen(b);

    if (strlen(a) > WORD_MAX || n > WORD_MAX) {
        return UINT32_MAX;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned) j;
    }
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0]++;

        for (size_t j = 0; j < n; j++) {
            bool is_same = a[i] == b[j] || (a[i] == '-' && b[j] == '_');
            unsigned change = diagonal + !is_same;

            diagonal = row[j + 1];
            row[j + 1] = MIN(change, MIN(diagonal, row[j]) + 1);
        }
    }
    return row[n];
}

struct suggestion {
    const char *name;
    char best[OPTION_NAME_BYTES];
    unsigned distance;
};

static void suggest(struct suggestion *s, const char *candidate)
{
    unsigned d = distance(s->name, candidate);

    if (d < s->distance) {
        s->distance = d;
        (void) snprintf(s->best, sizeof(s->best), "%s", candidate);
    }
}

/* what: "setting", or "key of a rule". others: said if nothing is near. */
static void say_unknown(struct reading *in, const config_setting_t *s, const char *what,
                        const struct suggestion *near, const char *others)
{
    struct failure f;
    bool is_near = near->distance <= 2 + strlen(near->name) / 4;

    (void) failure_set(&f, 0, "there is no %s '%.100s'; %s%s%s", what, config_setting_name(s),
                       is_near ? "is it '" : "expected is ", is_near ? near->best : others,
                       is_near ? "'?" : "");
    say(in, place_of(in, s), f.text);
}

/* ---- values ---- */

#define NUMBER_BYTES 48

/* A value as a flag would take it; NULL if it is more than one. */
static const char *scalar_text(const config_setting_t *s, char buf[NUMBER_BYTES])
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        (void) snprintf(buf, NUMBER_BYTES, "%lld", config_setting_get_int64(s));
        return buf;
    case CONFIG_TYPE_FLOAT:
        (void) snprintf(buf, NUMBER_BYTES, "%g", config_setting_get_float(s));
        return buf;
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(s) ? "true" : "false";
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(s);
    default:
        return NULL;
    }
}

/* -ENOMEM ends everything, other errors are said at the value. */
static int say_value(struct reading *in, const config_setting_t *s, const char *value, int r,
                     const struct failure *why)
{
    struct failure f;

    if (r < 0 && r != -ENOMEM) {
        (void) failure_set(&f, r, "'%.200s': %.400s", value, why->text);
        say(in, place_of_value(in, s), f.text);
        r = 0;
    }
    return r;
}

static int load_value(struct reading *in, size_t i, const config_setting_t *s)
{
    char number[NUMBER_BYTES], place[ADDRESS_PATH_MAX + 32];
    const char *value = scalar_text(s, number);
    struct place p = place_of(in, s);
    struct failure f;

    if (!value) {
        say(in, place_of_value(in, s), "expected is one value");
        return 0;
    }
    (void) snprintf(place, sizeof(place), "%s:%u:%u", in->name, p.line, p.column);
    return say_value(in, s, value, option_set(in->options, in->table, i, value, place, &f), &f);
}

/* ---- records ---- */

static int put_one(struct reading *in, struct record *rec, const char *key,
                   const config_setting_t *s)
{
    char number[NUMBER_BYTES];
    const char *value = scalar_text(s, number);
    struct failure f;

    if (!value) {
        say(in, place_of_value(in, s), "expected is one value, or a list of values");
        return 0;
    }
    return say_value(in, s, value, rec->kind->put(rec, key, value, &f), &f);
}

static int put_values(struct reading *in, struct record *rec, const char *key,
                      const config_setting_t *s)
{
    int r = 0;

    if (!config_setting_is_list(s) && !config_setting_is_array(s)) {
        return put_one(in, rec, key, s);
    }
    if (config_setting_length(s) == 0) {
        say(in, place_of_value(in, s), "the list is empty, so nothing is meant");
    }
    for (int i = 0; i < config_setting_length(s) && r == 0; i++) {
        r = put_one(in, rec, key, config_setting_get_elem(s, (unsigned) i));
    }
    return r;
}

static int load_key(struct reading *in, struct record *rec, const config_setting_t *s)
{
    struct suggestion near = {.name = config_setting_name(s), .distance = UINT32_MAX};
    char what[32], others[256] = "";
    size_t len = 0;

    for (const char *const *key = rec->kind->keys; *key; key++) {
        if (strcmp(*key, near.name) == 0) {
            return put_values(in, rec, *key, s);
        }
        suggest(&near, *key);
        len += (size_t) snprintf(others + len, sizeof(others) - len, "%s%s", len ? ", " : "", *key);
        len = MIN(len, sizeof(others) - 1);
    }
    (void) snprintf(what, sizeof(what), "key of a %s", rec->kind->name);
    say_unknown(in, s, what, &near, others);
    return 0;
}

static int load_group(struct reading *in, const struct record_kind *kind, const config_setting_t *s,
                      const char *place)
{
    unsigned n_before = in->report->n_errors;
    struct record rec;
    struct failure f;
    int r = 0;

    record_init(&rec, kind);
    for (int i = 0; i < config_setting_length(s) && r == 0; i++) {
        r = load_key(in, &rec, config_setting_get_elem(s, (unsigned) i));
    }
    if (r == 0 && in->report->n_errors == n_before) {
        r = kind->commit(in->options, &rec, place, &f);
        if (r < 0 && r != -ENOMEM) {
            say(in, place_of(in, s), f.text);
            r = 0;
        }
    }
    record_fini(&rec);
    return r;
}

/* One of a list: a group, or a text as the flag takes it. */
static int load_record(struct reading *in, const struct record_kind *kind,
                       const config_setting_t *s)
{
    const char *text = config_setting_get_string(s);
    char place[ADDRESS_PATH_MAX + 32];
    struct failure f;

    (void) snprintf(place, sizeof(place), "%s:%u", in->name, place_of(in, s).line);
    if (config_setting_is_group(s)) {
        return load_group(in, kind, s, place);
    }
    if (!text) {
        (void) failure_set(&f, 0, "expected is a %s: { ... }, or a \"text\" as --%s takes it",
                           kind->name, kind == &record_listen ? "listen" : kind->name);
        say(in, place_of_value(in, s), f.text);
        return 0;
    }
    return say_value(in, s, text, record_add_text(in->options, kind, text, place, &f), &f);
}

static int load_records(struct reading *in, const struct record_kind *kind,
                        const config_setting_t *s)
{
    int r = 0;

    if (!config_setting_is_list(s) && !config_setting_is_array(s)) {
        return load_record(in, kind, s);
    }
    for (int i = 0; i < config_setting_length(s) && r == 0; i++) {
        r = load_record(in, kind, config_setting_get_elem(s, (unsigned) i));
    }
    return r;
}

/* ---- a file ---- */

static int load_setting(struct reading *in, const config_setting_t *s)
{
    struct suggestion near = {.name = config_setting_name(s), .distance = UINT32_MAX};
    char name[OPTION_NAME_BYTES];
    struct failure f;

    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        const struct option_def *d = &in->table->defs[i];

        option_setting_name(d, name);
        if (strcmp(name, near.name) != 0) {
            if (!(d->traits & OPTION_NO_FILE)) {
                suggest(&near, name);
            }
        } else if (d->traits & OPTION_NO_FILE) {
            (void) failure_set(&f, 0, "'%s' can be said on the command line only, as --%s", name,
                               d->name);
            say(in, place_of(in, s), f.text);
            return 0;
        } else {
            return d->list ? load_records(in, d->list, s) : load_value(in, i, s);
        }
    }
    say_unknown(in, s, "setting", &near, "one of those that --print-config shows");
    return 0;
}

/* libconfig does not see that an allocation fails, and would take the router with it. So something
 * as large as all that it can need is asked for before: if that is to be had, so are the parts. */
static bool is_memory_there(size_t len)
{
    void *p = malloc(64u * 1024u + 256u * len);

    free(p);
    return p;
}

/* Whether the text up to there, which ends with a token, is wrong at that line or before. */
static bool is_wrong_up_to(const char *text, size_t end, int line)
{
    char *copy = malloc(end + 3);
    config_t c;
    bool is_wrong;

    if (!copy) {
        return false;
    }
    memcpy(copy, text, end);
    memcpy(copy + end, "\n\n", 3); /* what is only not finished yet is wrong below the line */
    config_init(&c);
    is_wrong = config_read_string(&c, copy) != CONFIG_TRUE && config_error_line(&c) <= line;
    config_destroy(&c);
    free(copy);
    return is_wrong;
}

static size_t line_offset(const struct reading *in, int line)
{
    size_t at = 0;

    for (int i = 1; i < line && at < in->len; i++) {
        at += strcspn(in->text + at, "\n") + 1;
    }
    return MIN(at, in->len);
}

/* The first token of a line at which libconfig finds it wrong; TOKEN_END if it is none of these.
 * What follows a wrong token does not make it right, so the line can be halved. */
static struct token find_wrong_token(const struct reading *in, int line)
{
    size_t low = line_offset(in, line);
    size_t high = low + strcspn(in->text + low, "\n");
    struct token t = token_next(in->text, in->len, 0), found = {.kind = TOKEN_END, .at = in->len};

    while (t.kind != TOKEN_END && t.at < low) {
        t = token_next(in->text, in->len, t.at + t.len);
    }
    while (t.kind != TOKEN_END && t.at < high) { /* t: not known to be right, all before it is */
        struct token middle = t, next = t;

        while (next.kind != TOKEN_END && next.at < high && next.at < t.at + (high - t.at) / 2) {
            middle = next;
            next = token_next(in->text, in->len, next.at + next.len);
        }
        if (is_wrong_up_to(in->text, middle.at + middle.len, line)) {
            found = middle;
            high = middle.at;
        } else {
            t = token_next(in->text, in->len, middle.at + middle.len);
        }
    }
    return found;
}

/* Of a token that begins like one. libconfig would take the unit for the name of a setting. */
static bool is_number(const char *text, const struct token *t)
{
    char *end;

    (void) strtod(text + t->at, &end);
    end += strspn(end, "L");
    return end == text + t->at + t->len;
}

/* What is no token at all; libconfig would say less, and read other files. */
static bool check_tokens(struct reading *in)
{
    bool is_good = true;

    for (struct token t = token_next(in->text, in->len, 0); t.kind != TOKEN_END;
         t = token_next(in->text, in->len, t.at + t.len)) {
        struct failure f;
        struct place p;

        if (t.kind != TOKEN_BAD && (t.kind != TOKEN_NUMBER || is_number(in->text, &t))) {
            continue;
        }
        if (in->report->n_errors > REPORT_ERRORS_MAX) {
            return false; /* nobody reads that */
        }
        is_good = false;
        p = place_at(in, t.at);
        if (t.kind == TOKEN_NUMBER) {
            (void) failure_set(&f, 0, "'%.*s' is no number; with a unit it needs quotes",
                               (int) MIN(t.len, 60), in->text + t.at);
            say(in, p, f.text);
            continue;
        }
        switch (in->text[t.at]) {
        case '@':
            say(in, p, "@include is not supported; FILE.d/*.conf are read after FILE");
            break;
        case '"':
            say(in, p, "the text that begins here is not closed; expected is \"");
            break;
        case '/':
            say(in, p, "the comment that begins here is not closed; expected is */");
            break;
        default:
            (void) failure_set(&f, 0, "unexpected character; expected is %s",
                               config_expected(in->text, in->len, t.at));
            say(in, p, f.text);
        }
    }
    return is_good;
}

static void say_syntax_error(struct reading *in, const config_t *c)
{
    struct token t = find_wrong_token(in, config_error_line(c));
    struct failure f;

    if (strcmp(config_error_text(c), "syntax error") != 0) {
        (void) failure_set(&f, 0, "%s: '%.*s'", config_error_text(c), (int) MIN(t.len, 60),
                           in->text + t.at);
    } else if (t.kind == TOKEN_END) {
        (void) failure_set(&f, 0, "the file ends too early; expected is %s",
                           config_expected(in->text, in->len, in->len));
    } else {
        (void) failure_set(&f, 0, "'%.*s' is not right here; expected is %s", (int) MIN(t.len, 60),
                           in->text + t.at, config_expected(in->text, in->len, t.at));
    }
    say(in, place_at(in, t.at), f.text);
}

static int load_settings(struct reading *in, config_t *c)
{
    config_setting_t *root;
    int r = 0;

    if (config_read_string(c, in->text) != CONFIG_TRUE) {
        say_syntax_error(in, c);
        return 0;
    }
    root = config_root_setting(c);
    place_settings(in, root);
    for (int i = 0; i < config_setting_length(root) && r == 0; i++) {
        r = load_setting(in, config_setting_get_elem(root, (unsigned) i));
    }
    return r;
}

int config_load_text(struct options *o, const struct option_table *t, const char *name,
                     const char *text, size_t len, struct report *report)
{
    struct reading in = {
        .options = o, .table = t, .report = report, .name = name, .len = len, .placed = {1, 1}};
    const char *nul = memchr(text, '\0', len);
    char *copy;
    config_t c;
    int r;

    in.text = text;
    if (nul) {
        say(&in, place_at(&in, (size_t) (nul - text)),
            "unexpected character 0; expected is a text file");
        return 0;
    }
    if (!is_memory_there(len)) {
        return -ENOMEM;
    }
    copy = malloc(len + 1);
    if (!copy) {
        return -ENOMEM;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    in.text = copy;
    r = 0;
    if (check_tokens(&in)) {
        config_init(&c);
        r = load_settings(&in, &c);
        config_destroy(&c);
    }
    free(copy);
    return r;
}
