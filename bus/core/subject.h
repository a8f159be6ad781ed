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
    /* Nothing is known of its further groups, its listener and its label: rules that deny and go by
     * them concern it, those that allow do not. */
    bool is_vague;
};

/* Whoever is in more is not served: to leave some out would be to leave out rules that deny. */
#define SUBJECT_GROUPS_MAX 1024u
