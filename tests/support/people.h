/* SPDX-License-Identifier: MIT */
#pragma once
/* Children that are other users: real ones, as far as the kernel is concerned, though nobody has
 * given them a name. Needs root. */

#include <grp.h>
#include "support/children.h"

#define ALICE 40001u
#define BOB 40002u
#define CREW 40500u /* a group that only some are in */

/* ---- somebody else ---- */

struct person {
    uid_t uid;
    bool is_crew;
    const char *address;
};

/* The child is that user from here on. */
static inline struct bus_conn *become(struct child_self *self, const struct person *p,
                                      const struct bus_opts *opts)
{
    const gid_t crew = CREW;
    struct bus_conn *conn = NULL;

    CHILD_CHECK(self, setgroups(p->is_crew ? 1 : 0, &crew) == 0);
    CHILD_CHECK(self, setresgid(p->uid, p->uid, p->uid) == 0);
    CHILD_CHECK(self, setresuid(p->uid, p->uid, p->uid) == 0);
    CHILD_CHECK(self, bus_open(p->address, opts, &conn) == 0);
    return conn;
}

static inline void run_as(child_fn fn, const struct person *p)
{
    struct child c;

    child_start(&c, fn, p);
    child_join(&c);
    child_forget(&c);
}

static inline void run_both(child_fn fn, const struct router_fixture *f, uid_t uid, bool is_crew)
{
    const struct person packets = {uid, is_crew, f->seqpacket}, stream = {uid, is_crew, f->stream};

    run_as(fn, &packets);
    run_as(fn, &stream);
}

static inline void need_root(void)
{
    if (geteuid() != 0) {
        (void) fprintf(stderr, "NOT RUN: only root can become other users\n");
        skip();
    }
}
