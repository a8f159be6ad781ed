/* SPDX-License-Identifier: MIT */
/* What single users may have instead of what the limits say, from words to struct user_override. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "base/macros.h"
#include "records.h"

/* ---- slots ---- */

struct slot {
    const char *name;
    const char *unit;
    size_t offset; /* in struct user_limits */
    uint64_t low, high;
};

static const struct slot slots[USER_SLOTS_COUNT] = {
#define X(slot, own, default_value, low, high, unit, meaning)                                      \
    {#slot, unit, offsetof(struct user_limits, slot), low, high},
    USER_SLOTS(X)
#undef X
};

static const char *kind_of(const struct slot *s)
{
    return strcmp(s->unit, "bytes") == 0 ? VALUE_BYTES : VALUE_COUNT;
}

static uint64_t *slot_of(struct user_limits *l, const struct slot *s)
{
    return (uint64_t *) (void *) ((char *) l + s->offset);
}

void quota_format(const struct user_override *q, size_t slot, char *buf, size_t bytes)
{
    struct user_limits limits = q->limits;

    *buf = '\0';
    if (q->set & (UINT32_C(1) << slot)) {
        value_format(kind_of(&slots[slot]), *slot_of(&limits, &slots[slot]), buf, bytes);
    }
}

/* ---- a record ---- */

static int put_quota(struct record *rec, const char *key, const char *value, struct failure *f)
{
    size_t i = 0;

    if (strcmp(key, "user") == 0) {
        return record_put_user(rec, value, f);
    }
    while (strcmp(slots[i].name, key) != 0) { /* it is one of the keys */
        i++;
    }
    if (rec->quota.set & (UINT32_C(1) << i)) {
        return failure_set(f, -EINVAL, "%s is given twice", key);
    }
    rec->quota.set |= UINT32_C(1) << i;
    return value_parse(kind_of(&slots[i]), value, slots[i].low, slots[i].high,
                       slot_of(&rec->quota.limits, &slots[i]), f);
}

/* KEY=VALUE... */
static int parse_quota(struct record *rec, char *text, struct failure *f)
{
    char *word;
    int r;

    while ((r = record_next_word(&text, &word, f)) > 0) {
        char *value = NULL;
        const char *key = record_split(rec, word, &value, f);

        if (!key) {
            return -EINVAL;
        }
        r = strcmp(key, "user") == 0 ? record_put_list(rec, key, value, f)
                                     : put_quota(rec, key, value, f);
        if (r < 0) {
            break;
        }
    }
    return r;
}

/* The override of that user, a new one if there is none; NULL: out of memory. */
static struct user_override *override_of(struct options *o, uint32_t uid)
{
    struct user_override *quotas;

    for (size_t i = 0; i < o->n_quotas; i++) {
        if (o->quotas[i].uid == uid) {
            return &o->quotas[i];
        }
    }
    quotas = reallocarray(o->quotas, o->n_quotas + 1, sizeof(*quotas));
    if (!quotas) {
        return NULL;
    }
    o->quotas = quotas;
    quotas[o->n_quotas] = (struct user_override){.uid = uid, .place = text_from("")};
    return &quotas[o->n_quotas++];
}

/* What is said later of the same slot of the same user counts. */
static int commit_quota(struct options *o, const struct record *rec, const char *place,
                        struct failure *f)
{
    const char *kept;

    if (rec->users.n == 0 || rec->quota.set == 0) {
        return failure_set(f, -EINVAL, "a quota needs a user, and what the user may have");
    }
    kept = options_keep(o, place);
    for (size_t u = 0; u < rec->users.n && kept; u++) {
        struct user_override *q = override_of(o, rec->users.ids[u]);
        struct user_limits from = rec->quota.limits;

        if (!q) {
            return record_starved(f);
        }
        for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
            if (rec->quota.set & (UINT32_C(1) << i)) {
                *slot_of(&q->limits, &slots[i]) = *slot_of(&from, &slots[i]);
            }
        }
        q->set |= rec->quota.set;
        q->place = text_from(kept);
    }
    return kept ? 0 : record_starved(f);
}

static const char *const quota_keys[] = {
    "user",
#define X(slot, own, default_value, low, high, unit, meaning) #slot,
    USER_SLOTS(X)
#undef X
        NULL,
};

const char *quota_slot_name(size_t slot)
{
    return slots[slot].name;
}

const struct record_kind record_quota = {
    .name = "quota",
    .keys = quota_keys,
    .put = put_quota,
    .parse = parse_quota,
    .commit = commit_quota,
};
