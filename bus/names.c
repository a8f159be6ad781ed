/* SPDX-License-Identifier: MIT */
#include "names.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/macros.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* What getpwuid_r(3) and getgrgid_r(3) may need; a group comes with all of its members. */
#define RECORD_BYTES_MIN 1024u
#define RECORD_BYTES_MAX (4u * 1024 * 1024)

struct name_entry {
    uint32_t id;
    uint64_t retry_ns; /* when it is asked for again, because nobody could tell; else 0 */
    UT_hash_handle hh; /* name_table.entries */
    size_t len;
    char name[];
};

/* ---- the system ---- */

/* 1, 0, or a negative errno; -ERANGE: more room is needed. */
typedef int (*record_fn)(uint32_t id, char *record, size_t bytes, char name[NAMES_BYTES]);

static int name_copy(char name[NAMES_BYTES], const char *from)
{
    size_t len = strnlen(from, NAMES_BYTES);

    if (len == NAMES_BYTES) {
        return 0; /* a part of it would be another one */
    }
    memcpy(name, from, len + 1);
    return 1;
}

/* These say in different ways that there is no such entry. */
static int not_found(int error)
{
    return error == 0 || error == ENOENT || error == ESRCH ? 0 : -error;
}

static int record_of_user(uint32_t uid, char *record, size_t bytes, char name[NAMES_BYTES])
{
    struct passwd entry, *found = NULL;
    int r = getpwuid_r(uid, &entry, record, bytes, &found);

    return found ? name_copy(name, entry.pw_name) : not_found(r);
}

static int record_of_group(uint32_t gid, char *record, size_t bytes, char name[NAMES_BYTES])
{
    struct group entry, *found = NULL;
    int r = getgrgid_r(gid, &entry, record, bytes, &found);

    return found ? name_copy(name, entry.gr_name) : not_found(r);
}

static int ask_system(record_fn fn, uint32_t id, char name[NAMES_BYTES])
{
    int r = -ERANGE;

    for (size_t bytes = RECORD_BYTES_MIN; r == -ERANGE && bytes <= RECORD_BYTES_MAX; bytes *= 4) {
        AUTO_FREE char *record = malloc(bytes);

        r = record ? fn(id, record, bytes, name) : -ENOMEM;
    }
    return r;
}

int names_ask_user(uint32_t uid, char name[NAMES_BYTES])
{
    return ask_system(record_of_user, uid, name);
}

int names_ask_group(uint32_t gid, char name[NAMES_BYTES])
{
    return ask_system(record_of_group, gid, name);
}

/* ---- what is known ---- */

static void table_remove(struct name_table *t, struct name_entry *e)
{
    HASH_DEL(t->entries, e);
    t->n--;
    free(e);
}

static void table_clear(struct name_table *t)
{
    while (t->entries) {
        table_remove(t, t->entries);
    }
}

/* Where those are that were used last. False if out of memory. */
static bool table_append(struct name_table *t, struct name_entry *e)
{
    HASH_ADD(hh, t->entries, id, sizeof(e->id), e);
    t->n += e->hh.tbl != NULL;
    return e->hh.tbl != NULL;
}

static struct name_entry *table_find(struct name_table *t, uint32_t id, uint64_t now_ns)
{
    struct name_entry *e;

    HASH_FIND(hh, t->entries, &id, sizeof(id), e);
    if (e && e->retry_ns != 0 && now_ns >= e->retry_ns) {
        table_remove(t, e);
        return NULL;
    }
    if (e && e->hh.next) {
        HASH_DEL(t->entries, e);
        t->n--;
        if (!table_append(t, e)) { /* the table was made anew, and there is no memory for it */
            free(e);
            return NULL;
        }
    }
    return e;
}

static struct name_entry *table_learn(struct name_table *t, uint32_t id, uint64_t now_ns)
{
    char name[NAMES_BYTES];
    int r = t->ask(id, name);
    size_t len = r > 0 ? strlen(name) : 0;
    struct name_entry *e = calloc(1, sizeof(*e) + len + 1);

    if (!e) {
        return NULL;
    }
    e->id = id;
    e->retry_ns = r < 0 ? now_ns + NAMES_RETRY_NS : 0;
    e->len = len;
    memcpy(e->name, name, len);
    if (!table_append(t, e)) {
        free(e);
        return NULL;
    }
    if (t->n > NAMES_MAX) {
        table_remove(t, t->entries);
    }
    return e;
}

static struct text table_name(struct name_table *t, uint32_t id, uint64_t now_ns)
{
    struct name_entry *e = table_find(t, id, now_ns);

    e = e ? e : table_learn(t, id, now_ns);
    return e ? (struct text){e->name, e->len} : (struct text){"", 0};
}

/* ---- names ---- */

void names_init(struct names *n, names_fn user, names_fn group)
{
    *n = (struct names){.users = {.ask = user}, .groups = {.ask = group}};
}

void names_forget(struct names *n)
{
    table_clear(&n->users);
    table_clear(&n->groups);
}

void names_fini(struct names *n)
{
    names_forget(n);
}

struct text names_user(struct names *n, uint32_t uid, uint64_t now_ns)
{
    return table_name(&n->users, uid, now_ns);
}

struct text names_group(struct names *n, uint32_t gid, uint64_t now_ns)
{
    return table_name(&n->groups, gid, now_ns);
}

void names_fill(void *names, struct subject *s)
{
    uint64_t now_ns = clock_monotonic_ns();

    s->user = names_user(names, s->uid, now_ns);
    s->group = names_group(names, s->gid, now_ns);
}
