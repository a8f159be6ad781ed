/* SPDX-License-Identifier: MIT */
#pragma once
/* Handing a router over to another process: everything it holds as bytes and descriptors, and a
 * router made of these again. docs/decisions/030-replacing.md. */

#include <stddef.h>
#include "core/record.h"
#include "core/router.h"

/* Begins as zeroes. Records of the process may follow those of the core: core/kinds.h. */
struct image {
    struct record_writer records;
    int *fds; /* that the records need, in their order; still their owners' */
    size_t n_fds, n_fds_max;
};

void image_fini(struct image *image);
/* The next descriptors. False if out of memory. */
bool image_add_fds(struct image *image, const int *fds, size_t n);

enum image_verdict {
    IMAGE_OK,
    IMAGE_REFUSED, /* not now: *ret_why says what is in the way */
};

/* Does at once what would be done in the next turns, so that nothing is half done. */
void router_settle(struct router *r, const struct now *now);
/* Changes nothing, and the router may go on afterwards. IMAGE_OK, IMAGE_REFUSED or -ENOMEM. */
int router_save(const struct router *r, struct image *image, const char **ret_why);

/* What router_load() reads. */
struct image_source {
    struct record_reader records; /* afterwards: those of the process */
    int *fds;                     /* afterwards: from fds_used on they are still the caller's */
    size_t n_fds, fds_used;
    void (*close)(int fd); /* for those that are the router's */
};

/* A router that goes on where another one stopped: its peers have no userdata yet. config as for
 * router_new(), but for the epoch, the seed and the publish window, which are the other one's.
 * IMAGE_OK, IMAGE_REFUSED or -ENOMEM; the caller closes the descriptors that were not used. */
int router_load(const struct router_config *config, struct image_source *from,
                const struct now *now, struct router **ret, const char **ret_why);

/* Tells config.sessions of those who come back, as if they had just been greeted. */
void router_list_returning(const struct router *r);
/* The one behind p, or the first; NULL if that was the last. */
struct peer *router_next_peer(const struct router *r, const struct peer *p);
void peer_set_userdata(struct peer *p, void *userdata);
/* What its link had kept of its input is in charge again, whatever the limits are now. */
void peer_force_input(struct peer *p, size_t bytes);
/* Not before who asked has its answer: its link ends when the router hands over. */
bool router_is_to_be_replaced(const struct router *r);
/* The descriptor that came with REPLACE since the last call, and who sent it; NULL if there is
 * none. The caller's. */
struct parcel *router_take_replacement(struct router *r, struct peer **ret_peer);
