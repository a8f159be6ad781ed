/* SPDX-License-Identifier: MIT */
#pragma once
/* Options that are lists of records: listen, rules, quotas. A record is made of keys with values,
 * from a group of a configuration file or from the one text of a flag, and is added to the options
 * when it is complete. Private to options*.c, rules.c and config.c. */

#include "options_table.h"

struct id_list {
    uint32_t *ids;
    size_t n;
};

/* One record that is being made; which fields count depends on its kind. */
struct record {
    const struct record_kind *kind;
    struct listen_option listen;
    bool has_address;
    bool deny;
    uint32_t verbs;
    struct id_list users, groups; /* none: anyone */
    char *listener, *label;       /* NULL: any */
    char **topics;
    size_t n_topics;
    struct user_override quota; /* without its user */
};

struct record_kind {
    const char *name;        /* "rule" */
    const char *const *keys; /* up to NULL; may be said to somebody who has used another */
    /* One value of one key; lists are said value by value. 0, or a negative errno said in *f. */
    int (*put)(struct record *rec, const char *key, const char *value, struct failure *f);
    /* All of it in one text, as a flag takes it; says it to put(). The text is changed. */
    int (*parse)(struct record *rec, char *text, struct failure *f);
    /* Adds it to the options. place: where it was said, for people. */
    int (*commit)(struct options *o, const struct record *rec, const char *place,
                  struct failure *f);
};

extern const struct record_kind record_listen;
extern const struct record_kind record_rule;
extern const struct record_kind record_quota;

void record_init(struct record *rec, const struct record_kind *kind);
void record_fini(struct record *rec);
/* From the text of a flag to the options. 0, or a negative errno said in *f. */
int record_add_text(struct options *o, const struct record_kind *kind, const char *text,
                    const char *place, struct failure *f);

/* ---- for kinds ---- */

/* "out of memory" */
int record_starved(struct failure *f);
/* A text that can be said once. */
int record_put_text(char **slot, const char *key, const char *value, struct failure *f);
int record_put_user(struct record *rec, const char *value, struct failure *f);
int record_put_group(struct record *rec, const char *value, struct failure *f);
/* The next word of *text, which is moved behind it: words are separated by blanks, "..." holds
 * blanks together, and there \ stands before what is meant as it is. 1, 0 at the end, or -EINVAL
 * said in *f. */
int record_next_word(char **text, char **ret, struct failure *f);
/* Says key = each of the values, which commas separate. */
int record_put_list(struct record *rec, const char *key, char *values, struct failure *f);

/* Splits KEY=VALUE: returns the key, with the value behind = in *ret_value; NULL, and what was
 * expected in *f, if it is none of the keys of this kind. */
const char *record_split(const struct record *rec, char *word, char **ret_value, struct failure *f);

/* Adds an address, unless it is given twice or there are too many. */
int options_add_listen(struct options *o, const struct listen_option *l, struct failure *f);

/* ---- quotas.c ---- */

const char *quota_slot_name(size_t slot);
/* "" if it says nothing about that slot. */
void quota_format(const struct user_override *q, size_t slot, char *buf, size_t bytes);
