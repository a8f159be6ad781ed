/* SPDX-License-Identifier: MIT */
#pragma once
/* Saving and loading: what the parts of both have in common. Private to bus/core. */

#include "core/image.h"
#include "core/kinds.h"
#include "core/state.h"

/* Fields of struct peer that are numbers and stand for themselves: PEER_PLAIN and up. */
#define PEER_PLAIN_FIELDS(X)                                                                       \
    X(16, deadline_ns)                                                                             \
    X(17, is_expired)                                                                              \
    X(18, has_spoken)                                                                              \
    X(19, features)                                                                                \
    X(20, fds_flying)                                                                              \
    X(21, fds_pinged)                                                                              \
    X(22, n_pings)                                                                                 \
    X(23, ping_token)                                                                              \
    X(24, inline_max)                                                                              \
    X(25, sequence)                                                                                \
    X(26, used_messages)                                                                           \
    X(27, free_messages)                                                                           \
    X(28, used_bytes)                                                                              \
    X(29, free_bytes)                                                                              \
    X(30, published_messages)                                                                      \
    X(31, published_bytes)                                                                         \
    X(32, delivered_messages)                                                                      \
    X(33, delivered_bytes)                                                                         \
    X(34, lost_messages)                                                                           \
    X(35, refused_messages)                                                                        \
    X(36, goodbye)                                                                                 \
    X(40, since_ns)                                                                                \
    X(41, heard_ns)

/* Where a record says who somebody is to the rules, besides its sender. */
struct subject_fields {
    unsigned user, group, groups, listener, label, is_known;
};

#define SUBJECT_FIELDS(kind)                                                                       \
    (&(const struct subject_fields){kind##_USER, kind##_GROUP, kind##_GROUPS, kind##_LISTENER,     \
                                    kind##_LABEL, kind##_IS_KNOWN})

/* ---- saving ---- */

struct save {
    const struct router *router;
    struct image *image;
    struct record_writer *w;  /* image.records */
    struct numbering objects; /* messages, parcels and groups */
    uint32_t n_messages, n_parcels, n_groups;
};

static inline uint32_t peer_number(const struct peer *p)
{
    return p->sender->id;
}

/* Numbers of objects; those that are new are written now, so not within another record. 0 for
 * NULL. */
uint32_t save_message(struct save *s, const struct message *m);
uint32_t save_parcel(struct save *s, const struct parcel *parcel);
uint32_t save_group_number(struct save *s, const struct group *g);
void save_set(struct save *s, unsigned field, const struct idset *set);
void save_subject(struct save *s, const struct subject_fields *f, const struct subject *subject);

/* save_subs.c */
void save_subs(struct save *s);
void save_queues(struct save *s);
/* save_reliable.c */
void save_reliable(struct save *s);
/* save_closed.c */
void save_closed(struct save *s);
/* save_requests.c */
void save_requests(struct save *s);
void save_presence(struct save *s);

/* ---- loading ---- */

/* More is not in any state that was saved: headers of a will, filters of a monitor. */
#define LOAD_TEXTS_MAX 64u

struct load {
    struct router *router;
    struct image_source *from;
    struct record *record;
    struct message **messages; /* by number - 1; a reference and a hold each */
    struct parcel **parcels;   /* by number - 1; a reference each */
    struct group **groups;     /* by number - 1 */
    size_t n_messages, n_messages_max;
    size_t n_parcels, n_parcels_max;
    size_t n_groups, n_groups_max;
    struct counters counters;
    void (*on_new_topic)(struct topic *t,
                         void *userdata); /* what clients know is loaded as it is */
    /* what the next records belong to */
    struct peer *peer;
    struct group *group;
    struct sub *queue_of;
    uint32_t n_inside;
    struct request *request;
    struct wire_header texts[LOAD_TEXTS_MAX];
    size_t n_texts;
    const struct session_ops *sessions; /* hear of nothing before it is done */
    uint64_t retry_ns;                  /* of the router, when it is done */
    bool is_unresolved;
    bool is_begun;
    bool has_failed; /* out of memory */
    const char *why; /* static */
};

/* Says why not; returns false. */
bool load_refuse(struct load *l, const char *why);
/* Out of memory; returns false. */
bool load_starve(struct load *l);
/* Room for one more in a list of pointers. */
bool load_reach(struct load *l, void ***list, size_t n, size_t *n_max);

/* The set of numbers that a field holds, into an empty one. False if out of memory. */
bool load_set(struct load *l, unsigned field, struct idset *set);
/* All but its uid, gid and name, which are its sender's. What is not there, as in what an older
 * router has left, is not known. The caller frees *groups, which was NULL. */
bool load_subject(struct load *l, const struct subject_fields *f, struct subject *s,
                  uint32_t **groups);

/* What a field names; NULL if there is none of that number. */
struct peer *load_peer_of(const struct load *l, unsigned field);
struct topic *load_topic_of(const struct load *l, unsigned field);
struct message *load_message_of(const struct load *l, unsigned field);
struct parcel *load_parcel_of(const struct load *l, unsigned field);
struct group *load_group_of(const struct load *l, unsigned field);
struct sub *load_sub_of(const struct load *l, unsigned peer_field, unsigned number_field);

/* Handlers of records: false, and why not is said, if it cannot be so. What they leave behind is
 * whole in any case: router_free() takes it. */
/* save_closed.c */
bool load_closed(struct load *l);
/* load_objects.c */
bool load_sender(struct load *l);
bool load_parcel(struct load *l);
bool load_peer(struct load *l);
bool load_output(struct load *l);
bool load_topic(struct load *l);
bool load_alias(struct load *l);
bool load_keep(struct load *l);
bool load_buffer(struct load *l);
bool load_message(struct load *l);
bool load_kept(struct load *l);
bool load_lease(struct load *l);
/* load_subs.c */
bool load_sub(struct load *l);
bool load_group(struct load *l);
bool load_queue(struct load *l);
bool load_item(struct load *l);
bool load_pace(struct load *l);
bool load_delivery(struct load *l);
bool load_waiting(struct load *l);
/* load_reliable.c */
bool load_reliable(struct load *l);
bool load_stalled(struct load *l);
/* What was published and not yet marked, and rounds that are over: when everything is there. */
void load_reliable_end(struct router *r);
/* load_requests.c */
bool load_request(struct load *l);
bool load_call(struct load *l);
bool load_call_row(struct load *l);
bool load_answer(struct load *l);
bool load_text(struct load *l);
bool load_will(struct load *l);
bool load_monitor(struct load *l);
/* Calls that are nowhere end: for a router that is given up. */
void load_requests_abandon(struct load *l);

/* load_check.c: NULL, or what is wrong with what was loaded. */
const char *load_check(struct router *r);
