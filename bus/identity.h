/* SPDX-License-Identifier: MIT */
#pragma once
/* Who has connected, as the rules of the access policy see it: what the kernel says, and the
 * listener. Names of users are asked for where a rule needs them: names.h. */

#include "base/sock.h"
#include "core/subject.h"
#include "io/listener.h"

/* The texts of the subject belong to it or to the listener. */
struct identity {
    struct subject subject;
    struct creds creds;
    gid_t *groups;
    char *label;
};

/* Of the client on the other side of fd. 0 or a negative errno; identity_fini() in any case. */
int identity_read(struct identity *i, int fd, const struct listener *l);
void identity_fini(struct identity *i);

/* Whether a process has ended. One that cannot be seen may be there, and so may another that has
 * its number by now. */
bool process_is_gone(uint32_t pid);
