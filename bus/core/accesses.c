/* SPDX-License-Identifier: MIT */
#include "core/accesses.h"
#include <string.h>
#include "base/macros.h"
#include "core/router.h"

void accesses_init(struct accesses *as, uint64_t seed, struct policy *policy, uint32_t owner_uid)
{
    *as = (struct accesses){.policy = policy_ref(policy), .owner_uid = owner_uid};
    table_init(&as->by_subject, seed);
}

void accesses_fini(struct accesses *as)
{
    table_fini(&as->by_subject);
    policy_unref(as->policy);
}

static bool subject_equals(const void *object, const void *key)
{
    const struct subject *a = access_subject(object), *b = key;

    return a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
           (a->n_groups == 0 ||
            memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0) &&
           text_equals(a->user, b->user) && text_equals(a->group, b->group) &&
           text_equals(a->listener, b->listener) && text_equals(a->label, b->label) &&
           text_equals(a->name, b->name) && a->is_vague == b->is_vague;
}

static uint32_t subject_hash(const struct accesses *as, const struct subject *s)
{
    const struct text texts[] = {s->user, s->group, s->listener, s->label, s->name};
    const void *groups = s->n_groups > 0 ? (const void *) s->groups : "";
    uint32_t hash = table_hash(&as->by_subject, (uint64_t) s->uid << 32 | s->gid, groups,
                               s->n_groups * sizeof(*s->groups));

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        hash = table_hash(&as->by_subject, (uint64_t) texts[i].len << 32 | hash,
                          texts[i].len > 0 ? texts[i].data : "", texts[i].len);
    }
    return hash;
}

/* With the names that rules need, and without others: who differ in them only have the same rights.
 */
static struct subject subject_for(const struct accesses *as, const struct subject *s)
{
    const struct text none = {"", 0};
    struct subject key = *s;

    key.name = policy_needs_client_name(as->policy) ? key.name : none;
    if (!policy_needs_names(as->policy)) {
        key.user = key.group = none;
    } else if (key.user.len == 0 && key.group.len == 0 && as->names) {
        as->names->name(as->names_userdata, &key);
    }
    return key;
}

struct access *accesses_get(struct accesses *as, const struct subject *s, struct quota *payer)
{
    const struct subject key = subject_for(as, s);
    uint32_t hash = subject_hash(as, &key);
    struct access *a = table_find(&as->by_subject, hash, subject_equals, &key);

    if (a) {
        return access_ref(a);
    }
    if (table_prepare(&as->by_subject) < 0 || access_new(as->policy, as->owner_uid, &key, &a) < 0) {
        return NULL;
    }
    quota_force(payer, access_memory(a) + TABLE_ENTRY_BYTES); /* one for a connection at most */
    table_insert(&as->by_subject, hash, a);
    return a;
}

void accesses_put(struct accesses *as, struct access *a, struct quota *payer)
{
    if (a && access_refs(a) == 1) {
        table_remove(&as->by_subject, subject_hash(as, access_subject(a)), a);
        quota_release(payer, access_memory(a) + TABLE_ENTRY_BYTES);
    }
    access_unref(a);
}

uint64_t accesses_memory(const struct accesses *as, uint32_t uid)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; as->by_subject.slots && i <= as->by_subject.mask; i++) {
        const struct access *a = as->by_subject.slots[i].object;

        if (a && access_subject(a)->uid == uid) {
            bytes += access_memory(a) + TABLE_ENTRY_BYTES;
        }
    }
    return bytes;
}
