/* SPDX-License-Identifier: MIT */
#pragma once
/* The accesses of a router: one for all peers of equal subjects, as far as the rules can tell them
 * apart. Each is charged to the user whom it is for. */

#include "core/access.h"
#include "core/quota.h"
#include "core/table.h"

struct subject_ops;

struct accesses {
    struct table by_subject;
    struct policy *policy; /* a reference, or NULL */
    uint32_t owner_uid;
    const struct subject_ops *names; /* who knows the names of users; NULL: nobody */
    void *names_userdata;
};

void accesses_init(struct accesses *as, uint64_t seed, struct policy *policy, uint32_t owner_uid);
/* When none is left. */
void accesses_fini(struct accesses *as);

/* That of a subject, with one more reference; NULL if out of memory. payer: its user's. */
struct access *accesses_get(struct accesses *as, const struct subject *s, struct quota *payer);
/* NULL is fine. */
void accesses_put(struct accesses *as, struct access *a, struct quota *payer);
/* What those of a user are charged with, for tests. */
uint64_t accesses_memory(const struct accesses *as, uint32_t uid);
