/* SPDX-License-Identifier: MIT */
#pragma once
/* Who a client is to the rules: what the kernel says of it, through which listener it has come, and
 * what it calls itself. docs/protocol.md, section 20. */

#include "wire/messages.h"

struct subject {
    uint32_t uid;
    uint32_t gid;           /* its primary group */
    const uint32_t *groups; /* its further groups */
    size_t n_groups;
    struct text user,
        group;            /* their names; empty: not known, or not needed (policy_needs_names()) */
    struct text listener; /* the listener's name; empty: it has none */
    struct text label;    /* from the kernel's security module; empty: none */
    struct text name;     /* of HELLO: the client has chosen it itself */
};

/* More are not kept: rules that name others do not match. */
#define SUBJECT_GROUPS_MAX 65536u
