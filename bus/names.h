/* SPDX-License-Identifier: MIT */
#pragma once
/* Names of users and groups, as the system knows them (getpwuid_r(3), getgrgid_r(3)): asked for
 * while everything waits, so only if a rule needs them, and once for each number until
 * names_forget(). What could not be told is asked for again after NAMES_RETRY_NS. Owned by the
 * broker. */

#include <stdint.h>
#include "core/subject.h"

/* Those that were used last are known, of users and of groups each. */
#define NAMES_MAX 4096u
#define NAMES_RETRY_NS (UINT64_C(10) * 1000 * 1000 * 1000)
/* The kernel and the tools know of no longer ones; with the NUL. */
#define NAMES_BYTES 257u

/* Who is asked: 1 and the name, 0 if the number has none, or a negative errno. */
typedef int (*names_fn)(uint32_t id, char name[NAMES_BYTES]);

struct name_entry;

/* Numbers of one kind. */
struct name_table {
    names_fn ask;
    struct name_entry *entries; /* uthash, those used last at the end */
    uint32_t n;
};

struct names {
    struct name_table users;
    struct name_table groups;
};

/* The system's. */
int names_ask_user(uint32_t uid, char name[NAMES_BYTES]);
int names_ask_group(uint32_t gid, char name[NAMES_BYTES]);

void names_init(struct names *n, names_fn user, names_fn group);
void names_fini(struct names *n);
/* Everything is asked for anew. */
void names_forget(struct names *n);

/* The name, or "" if there is none, if nobody could tell, or for want of memory. Valid until the
 * table is asked for another number. */
struct text names_user(struct names *n, uint32_t uid, uint64_t now_ns);
struct text names_group(struct names *n, uint32_t gid, uint64_t now_ns);
/* Puts them into a subject; names is a struct names. */
void names_fill(void *names, struct subject *s);
