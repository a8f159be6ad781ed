/* SPDX-License-Identifier: MIT */
#pragma once
/* Groups: subscriptions with one filter and one group name share the messages. docs/protocol.md,
 * section 13; why it is so: docs/decisions/025-groups.md. What the rest of the router needs of
 * them; their inside is in core/member.h. */

#include <bus/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/idpool.h"
#include "core/quota.h"
#include "core/sub.h"
#include "core/table.h"
#include "wire/messages.h"

struct delivery;
struct group;
struct match;
struct message_parts;
struct peer;
struct router;

#define GROUP_NAME_MAX BUS_NAME_MAX

/* All groups of a router. */
struct groups {
    struct table by_name;  /* those that can be joined, by filter and name */
    struct group *list;    /* of group.next: also those that are ending */
    struct idset topics;   /* ids that are in peer.known_topics of somebody, or were */
    struct delivery *dead; /* of delivery.next: given up, to be published */
    bool is_starved;       /* there was no memory for it: router.retry_ns */
};

void groups_init(struct groups *gs, uint64_t seed);
/* When no peers are left. */
void groups_fini(struct router *r);

/* ---- subscriptions ---- */

/* What a SUBSCRIBE says of groups, as far as it can be refused without looking: why, or "". */
const char *group_check(const struct wire_subscribe *m, enum bus_status *ret);
/* Makes a new member of a subscription, and a group if it is the first: why not, or "". The member
 * gets nothing before sub_pump(). */
const char *group_join(struct sub *s, const struct wire_subscribe *m, enum bus_status *ret);
/* It is ending: what it has not done goes to others. */
void member_leave(struct sub *s);
/* After the last one the group ends: so much of it as the budget allows. False if something is
 * left. */
bool member_end(struct sub *s, unsigned *budget);
uint64_t member_memory(void);
/* It gets nothing new any more. If no other member does, the group itself drains: it matches
 * nothing, and what waits goes to its members still. */
void member_drain(struct sub *s);
/* It drained in another router; nothing waits yet. */
void member_restore_draining(struct sub *s);
bool member_has_wildcards(const struct sub *s);
/* A draining member has nothing to acknowledge and nothing to wait for. */
bool member_is_idle(const struct sub *s);
/* A new one: if the group was draining, it is not any more. */
void member_welcome(struct sub *s);
bool group_is_draining(const struct group *g);

/* ---- messages ---- */

/* A match of a group: to one member. *ret is whom the outcome is about; NONE: the group is ending
 * or draining. */
struct sub_outcome group_publish(struct match *match, const struct message_parts *parts,
                                 struct message **message, struct sub **ret);
/* A match of a group that could not be noted: a loss. */
struct sub *group_lose(struct sub *face, uint64_t size);
/* sub_pump() of a member: what came back to it, its queue, and what waits for any. */
void member_pump(struct sub *s);
/* MESSAGE with what a member that acknowledges needs. False if out of memory. */
bool member_put(struct sub *s, struct match *match, const struct message_parts *parts);
/* A member has given credit back, for so many messages. */
void member_note_progress(struct sub *s, uint32_t messages);
/* It may no longer block publishers. */
void group_tell_stalled(struct group *g);

/* ---- acknowledgement ---- */

void ack_handle(struct peer *p, const struct wire_ack *m);
/* Publishes some of what was given up. Not while anything is walked over. */
void groups_work(struct router *r);

static inline bool groups_have_work(const struct groups *gs)
{
    return gs->dead && !gs->is_starved;
}
