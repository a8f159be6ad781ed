/* SPDX-License-Identifier: MIT */
#pragma once
/* Who has connected, as the rules of the access policy see it: what the kernel says, the listener,
 * and, where a rule needs them, the names. */

#include "base/sock.h"
#include "core/subject.h"
#include "io/listener.h"
#include "names.h"

/* The texts of the subject belong to it, to the listener or to the names. */
struct identity {
    struct subject subject;
    struct creds creds;
    gid_t *groups;
    char *label;
};

/* Of the client on the other side of fd. Names are asked for if names is not NULL. 0 or a negative
 * errno; identity_fini() in any case. */
int identity_read(struct identity *i, int fd, const struct listener *l, struct names *names,
                  uint64_t now_ns);
void identity_fini(struct identity *i);
