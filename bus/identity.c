/* SPDX-License-Identifier: MIT */
#include "identity.h"
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "base/macros.h"

static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups of a subject are those of the kernel");

int identity_read(struct identity *i, int fd, const struct listener *l)
{
    struct subject *s = &i->subject;
    int r;

    *i = (struct identity){0};
    r = sock_peer_creds(fd, &i->creds);
    r = r < 0 ? r : sock_peer_groups(fd, SUBJECT_GROUPS_MAX, &i->groups, &s->n_groups);
    r = r < 0 ? r : sock_peer_label(fd, &i->label);
    if (r < 0) {
        return r;
    }
    s->uid = i->creds.uid;
    s->gid = i->creds.gid;
    s->groups = i->groups;
    s->user = text_from("");
    s->group = text_from("");
    s->listener = text_from(l->name);
    s->label = text_from(i->label ? i->label : "");
    s->name = text_from("");
    return 0;
}

void identity_fini(struct identity *i)
{
    free(TAKE(i->groups));
    free(TAKE(i->label));
}

bool process_is_gone(uint32_t pid)
{
    return pid > 0 && pid <= INT32_MAX && kill((pid_t) pid, 0) < 0 && errno == ESRCH;
}
