/* SPDX-License-Identifier: MIT */
#include "records.h"
#include <errno.h>
#include <string.h>
#include "base/macros.h"

void record_init(struct record *rec, const struct record_kind *kind)
{
    *rec = (struct record){
        .kind = kind,
        .listen.access = {LISTEN_MODE_DEFAULT, LISTENER_KEEP_ID, LISTENER_KEEP_ID},
    };
}

void record_fini(struct record *rec)
{
    for (size_t i = 0; i < rec->n_topics; i++) {
        free(rec->topics[i]);
    }
    free(rec->topics);
    free(rec->users.ids);
    free(rec->groups.ids);
    free(rec->listener);
    free(rec->label);
    *rec = (struct record){0};
}

int record_starved(struct failure *f)
{
    return failure_set(f, -ENOMEM, "out of memory");
}

int record_put_text(char **slot, const char *key, const char *value, struct failure *f)
{
    if (*slot) {
        return failure_set(f, -EINVAL, "%s is given twice", key);
    }
    if (!*value) {
        return failure_set(f, -EINVAL, "%s is empty", key);
    }
    *slot = strdup(value);
    return *slot ? 0 : record_starved(f);
}

static int id_list_add(struct id_list *list, uint32_t id, struct failure *f)
{
    uint32_t *ids = reallocarray(list->ids, list->n + 1, sizeof(*ids));

    if (!ids) {
        return record_starved(f);
    }
    ids[list->n++] = id;
    list->ids = ids;
    return 0;
}

int record_put_user(struct record *rec, const char *value, struct failure *f)
{
    uint32_t id = 0;
    int r = value_parse_user(value, &id, f);

    return r < 0 ? r : id_list_add(&rec->users, id, f);
}

int record_put_group(struct record *rec, const char *value, struct failure *f)
{
    uint32_t id = 0;
    int r = value_parse_group(value, &id, f);

    return r < 0 ? r : id_list_add(&rec->groups, id, f);
}

int record_next_word(char **text, char **ret, struct failure *f)
{
    char *from = *text, *to;
    bool is_quoted = false;

    while (*from == ' ' || *from == '\t') {
        from++;
    }
    *ret = to = from;
    for (; *from && (is_quoted || (*from != ' ' && *from != '\t')); from++) {
        if (*from == '"') {
            is_quoted = !is_quoted;
            continue;
        }
        if (is_quoted && *from == '\\' && from[1]) {
            from++;
        }
        *to++ = *from;
    }
    if (is_quoted) {
        return failure_set(f, -EINVAL, "a quote is not closed");
    }
    if (*ret == from) {
        return 0;
    }
    *text = *from ? from + 1 : from;
    *to = '\0';
    return 1;
}

int record_put_list(struct record *rec, const char *key, char *values, struct failure *f)
{
    for (char *value; (value = strsep(&values, ","));) {
        int r = rec->kind->put(rec, key, value, f);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

const char *record_split(const struct record *rec, char *word, char **ret_value, struct failure *f)
{
    char *value = strchr(word, '=');
    char expected[256] = "";
    size_t len = 0;

    for (const char *const *key = rec->kind->keys; *key; key++) {
        size_t n = strlen(*key);

        if (value && n == (size_t) (value - word) && memcmp(*key, word, n) == 0) {
            *ret_value = value + 1;
            return *key;
        }
        len += (size_t) snprintf(expected + len, sizeof(expected) - len, "%s%s=", len ? ", " : "",
                                 *key);
        len = MIN(len, sizeof(expected) - 1);
    }
    (void) failure_set(f, -EINVAL, "'%.100s': expected is one of %s with a value", word, expected);
    return NULL;
}

int record_add_text(struct options *o, const struct record_kind *kind, const char *text,
                    const char *place, struct failure *f)
{
    char *copy = strdup(text);
    struct record rec;
    int r;

    if (!copy) {
        return record_starved(f);
    }
    record_init(&rec, kind);
    r = kind->parse(&rec, copy, f);
    r = r < 0 ? r : kind->commit(o, &rec, place, f);
    record_fini(&rec);
    free(copy);
    return r;
}

/* ---- listen ---- */

static bool address_equal(const struct address *a, const struct address *b)
{
    /* one file cannot be two sockets; an abstract name can, of different types */
    return a->abstract == b->abstract && strcmp(a->path, b->path) == 0 &&
           (!a->abstract || a->type == b->type);
}

int options_add_listen(struct options *o, const struct listen_option *l, struct failure *f)
{
    struct listen_option *p;

    for (size_t i = 0; i < o->n_listens; i++) {
        if (address_equal(&o->listens[i].address, &l->address)) {
            return failure_set(f, -EINVAL, "the address is given twice");
        }
    }
    if (o->n_listens == ACCEPTOR_SOCKETS_MAX) {
        return failure_set(f, -EINVAL, "at most %d addresses can be given", ACCEPTOR_SOCKETS_MAX);
    }
    p = reallocarray(o->listens, o->n_listens + 1, sizeof(*p));
    if (!p) {
        return record_starved(f);
    }
    p[o->n_listens] = *l;
    if (l->address.type == ADDRESS_ANY) {
        p[o->n_listens].address.type = ADDRESS_SEQPACKET;
    }
    o->listens = p;
    o->n_listens++;
    return 0;
}

static int put_address(struct record *rec, const char *value, struct failure *f)
{
    int r = rec->has_address ? -EEXIST : address_parse(value, &rec->listen.address);

    if (r == -EEXIST) {
        return failure_set(f, -EINVAL, "address is given twice");
    }
    if (r == -ENAMETOOLONG) {
        return failure_set(f, r, "too long: a path has at most %d bytes, an abstract name 106",
                           ADDRESS_PATH_MAX);
    }
    if (r < 0) {
        return failure_set(f, r,
                           "expected is seqpacket:PATH, stream:PATH, or a PATH, which may be "
                           "@NAME");
    }
    rec->has_address = true;
    return 0;
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

static int put_name(struct record *rec, const char *value, struct failure *f)
{
    size_t len = strlen(value);

    if (*rec->listen.name) {
        return failure_set(f, -EINVAL, "name is given twice");
    }
    if (len == 0 || len >= LISTENER_NAME_BYTES || strspn(value, NAME_CHARACTERS) != len) {
        return failure_set(f, -EINVAL, "expected is a name of at most %d letters, digits, _ . -",
                           LISTENER_NAME_BYTES - 1);
    }
    memcpy(rec->listen.name, value, len + 1);
    return 0;
}

static int put_listen(struct record *rec, const char *key, const char *value, struct failure *f)
{
    struct listener_access *access = &rec->listen.access;
    bool is_mode = strcmp(key, "mode") == 0, is_owner = strcmp(key, "owner") == 0;

    if (strcmp(key, "address") == 0) {
        return put_address(rec, value, f);
    }
    if (strcmp(key, "name") == 0) {
        return put_name(rec, value, f);
    }
    if (is_mode ? access->mode != LISTEN_MODE_DEFAULT
                : (is_owner ? access->owner : access->group) != LISTENER_KEEP_ID) {
        return failure_set(f, -EINVAL, "%s is given twice", key);
    }
    return is_mode    ? value_parse_mode(value, &access->mode, f)
           : is_owner ? value_parse_user(value, &access->owner, f)
                      : value_parse_group(value, &access->group, f);
}

/* " mode=0660" at the end of the text is cut off and said. A path may hold blanks, so only what is
 * one of these words at the end is one. 1, 0: there is none, or a negative errno. */
static int cut_access(struct record *rec, char *text, struct failure *f)
{
    static const char *const keys[] = {"mode", "owner", "group"};
    char *word = strrchr(text, ' ');
    size_t len;

    for (size_t i = 0; word && i < ARRAY_LEN(keys); i++) {
        len = strlen(keys[i]);
        if (strncmp(word + 1, keys[i], len) == 0 && word[1 + len] == '=') {
            int r = put_listen(rec, keys[i], word + len + 2, f);

            *word = '\0';
            return r < 0 ? r : 1;
        }
    }
    return 0;
}

/* [NAME=]ADDRESS [mode=OCTAL] [owner=USER] [group=GROUP] */
static int parse_listen(struct record *rec, char *text, struct failure *f)
{
    size_t len = strspn(text, NAME_CHARACTERS);
    int r;

    do {
        r = cut_access(rec, text, f);
    } while (r > 0);
    if (r == 0 && text[len] == '=') {
        text[len] = '\0';
        r = put_name(rec, text, f);
        text += len + 1;
    }
    return r < 0 ? r : put_address(rec, text, f);
}

static int commit_listen(struct options *o, const struct record *rec, const char *place,
                         struct failure *f)
{
    (void) place;
    if (!rec->has_address) {
        return failure_set(f, -EINVAL, "a listener needs an address");
    }
    return options_add_listen(o, &rec->listen, f);
}

static const char *const listen_keys[] = {"address", "name", "mode", "owner", "group", NULL};

const struct record_kind record_listen = {
    .name = "listener",
    .keys = listen_keys,
    .put = put_listen,
    .parse = parse_listen,
    .commit = commit_listen,
};
