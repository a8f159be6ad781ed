/* SPDX-License-Identifier: MIT */
#pragma once
/* The table of options: private to options*.c, rules.c and config.c. */

#include <getopt.h>
#include "options.h"

struct option_def;
struct record_kind;

/* Reads a value. 0, or a negative errno and what was expected in *f. */
typedef int (*option_parse_fn)(struct options *o, const struct option_def *d, const char *text,
                               struct failure *f);
/* Writes a value as it is read; "" if there is none. */
typedef void (*option_format_fn)(const struct options *o, const struct option_def *d, char *buf,
                                 size_t bytes);

enum option_trait {
    OPTION_EARLY = 1,   /* says which files are read, or what is to be done */
    OPTION_ONCE = 2,    /* not for a router that replaces this one */
    OPTION_NO_FILE = 4, /* on the command line only */
    OPTION_FIXED = 8,   /* cannot change while a router runs */
};

/* One option: a value with parse and format, or a list of records. --help and --version have
 * neither. */
struct option_def {
    const char *group; /* heading in --help */
    const char *name;
    const char *arg; /* what the value is called, NULL: takes none */
    const char *help;
    option_parse_fn parse;
    option_format_fn format;
    const struct record_kind *list;
    unsigned traits; /* enum option_trait */
    size_t offset;   /* of a uint64_t in struct options, for numbers */
    uint64_t low, high;
};

#define OPTION_NAME_BYTES 40
#define OPTIONS_GENERAL_COUNT 20u
#define OPTIONS_LIMITS_COUNT (sizeof(struct limits) / sizeof(uint64_t))
#define OPTIONS_COUNT (OPTIONS_GENERAL_COUNT + OPTIONS_LIMITS_COUNT)
#define OPTION_VALUE_BYTES 64

/* The whole table; names of limits are made from those of their fields. */
struct option_table {
    struct option_def defs[OPTIONS_COUNT];
    char names[OPTIONS_LIMITS_COUNT][OPTION_NAME_BYTES];
    struct option longopts[OPTIONS_COUNT + 1];
};

void option_table_init(struct option_table *t);
/* Its place in the table; OPTIONS_COUNT if there is none. */
size_t option_find(const struct option_table *t, const char *name);
/* The name in files: log_level for log-level. */
void option_setting_name(const struct option_def *d, char buf[OPTION_NAME_BYTES]);

/* Sets a value. place: where it was said, NULL on the command line; copied. 0, or a negative errno
 * said in *f. */
int option_set(struct options *o, const struct option_table *t, size_t i, const char *text,
               const char *place, struct failure *f);
/* A copy that lives as long as the options; NULL: out of memory. */
const char *options_keep(struct options *o, const char *text);

/* What is in force if nothing is said. */
const struct options *options_defaults(void);
void options_help(const struct option_table *t, FILE *out);

/* ---- options_values.c ---- */

#define VALUE_MS "TIME"
#define VALUE_US "MICROSECONDS"
#define VALUE_BYTES "BYTES"
#define VALUE_COUNT "NUMBER"

int parse_ms(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_us(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_bytes(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_count(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_mode(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_owner(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_group(struct options *o, const struct option_def *d, const char *text, struct failure *f);
int parse_log_level(struct options *o, const struct option_def *d, const char *text,
                    struct failure *f);

void format_number(const struct options *o, const struct option_def *d, char *buf, size_t bytes);
void format_mode(const struct options *o, const struct option_def *d, char *buf, size_t bytes);
void format_owner(const struct options *o, const struct option_def *d, char *buf, size_t bytes);
void format_group(const struct options *o, const struct option_def *d, char *buf, size_t bytes);
void format_log_level(const struct options *o, const struct option_def *d, char *buf, size_t bytes);

/* A number of that kind (VALUE_*) within these bounds, alone. */
int value_parse(const char *kind, const char *text, uint64_t low, uint64_t high, uint64_t *ret,
                struct failure *f);
void value_format(const char *kind, uint64_t n, char *buf, size_t bytes);
/* 0, or a negative errno and what was expected in *f. */
int value_parse_mode(const char *text, mode_t *ret, struct failure *f);
int value_parse_user(const char *text, uint32_t *ret, struct failure *f);
int value_parse_group(const char *text, uint32_t *ret, struct failure *f);
