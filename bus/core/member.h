/* SPDX-License-Identifier: MIT */
#pragma once
/* The inside of groups: core/group.c (who is in them), core/share.c (who gets what) and core/ack.c
 * (what is not done yet). */

#include "core/state.h"

/* Keys are spread over so many slots. */
#define GROUP_SLOTS 1024u
#define GROUP_DELIVERIES_DEFAULT 5u

/* A message that is to be acknowledged. Charged to its group. */
struct delivery {
    struct delivery *prev, *next; /* member.unacked, .returned, group.returned or groups.dead */
    struct message *message;
    struct group *group;
    uint32_t number;     /* MESSAGE.delivery of the last time */
    uint32_t deliveries; /* how many times that was */
    uint32_t refused_by; /* member.number; 0: nobody */
    uint32_t round;      /* group.round when it became one */
};

/* A subscription that is in a group. */
struct member {
    struct sub sub; /* first: whoever frees that frees this */
    struct group *group;
    struct member *prev, *next; /* group.members, the oldest first */
    struct member *aside;       /* next one that cannot take the message that is being offered */
    uint64_t turn;              /* when it got something last */
    uint32_t number;            /* in the group; never used again */
    uint32_t place;             /* in group.ready, from 1; 0: it is not there */
    uint32_t n_slots;           /* of group.slots */
    uint32_t last_delivery;     /* number */
    uint32_t n_unacked;         /* length of unacked */
    uint64_t unacked_bytes;     /* sizes of these */
    uint64_t old_end;           /* for reliance.c: what of its queue is old, if is_old; */
    uint32_t n_old;             /* and how much of what it was sent and has not consumed */
    bool is_old;
    bool has_wildcards;        /* the filter, which stays with the group */
    struct table deliveries;   /* unacked, by number */
    struct delivery *unacked;  /* of delivery.next, in the order in which they were delivered */
    struct delivery *returned; /* of delivery.next: came back from others, and waits for it */
};

/* Topics know a group as one subscription, its face, whose queue is the group's. The face belongs
 * to a peer that is no client: that is always closing, so that the way of usual messages needs no
 * test for groups, and has the group's quota and its counts. */
struct group {
    struct peer peer;
    struct sub *face;          /* NULL when it has ended */
    struct group *prev, *next; /* groups.list */
    struct member *members;    /* of member.next */
    struct member **ready; /* a heap of those that can take something: least used window first */
    struct member **slots; /* of keys, NULL unless STICKY; each NULL until it is used */
    struct delivery *returned;     /* of delivery.next: waits before the queue */
    struct gap gaps[SUBQ_REASONS]; /* not yet told, before all that waits */
    uint64_t n_untold;             /* messages in gaps */
    uint64_t turn;                 /* counts what members get */
    struct charge charge;          /* itself, ready and slots */
    struct subq_bounds bounds;
    uint32_t n_returned;   /* also those of members */
    uint32_t n_deliveries; /* that exist, wherever they are */
    uint32_t round;        /* of its reliance: those of an earlier one are old */
    uint32_t n_members;
    uint32_t n_draining; /* of n_members */
    uint32_t n_ready;
    uint32_t n_ready_max;
    uint32_t last_number; /* of a member */
    uint32_t refs;        /* 1 for the members, and deliveries in groups.dead */
    uint32_t deliveries_max;
    uint8_t flags;  /* SUB_ flags that all members have */
    uint8_t policy; /* that was asked for */
    uint8_t filter_len;
    uint8_t name_len;
    uint8_t dead_letter_len;
    char text[]; /* filter, NUL, name, dead letter */
};

static inline struct member *member_of(struct sub *s)
{
    return (struct member *) (void *) s;
}

/* NULL if it is in none. */
static inline struct group *sub_group(const struct sub *s)
{
    return s->flags & SUB_MEMBER ? ((const struct member *) (const void *) s)->group : NULL;
}

/* Its filter, which is in buf unless a group has it. */
static inline struct text sub_filter(const struct sub *s, char buf[256])
{
    const struct group *g = sub_group(s);

    return g ? (struct text){g->text, g->filter_len} : (struct text){buf, filters_text(s, buf)};
}

static inline bool member_is_live(const struct member *m)
{
    return m->sub.peer->state != PEER_CLOSING && !m->sub.is_ended && !m->sub.is_denied;
}

static inline bool group_drains(const struct group *g)
{
    return g->n_draining == g->n_members;
}

/* Whether what is the group's may go to it. */
static inline bool member_takes(const struct member *m)
{
    return member_is_live(m) && (!(m->sub.flags & SUB_DRAINING) || group_drains(m->group));
}

static inline const char *group_name(const struct group *g)
{
    return g->text + g->filter_len + 1;
}

static inline const char *group_dead_letter(const struct group *g)
{
    return group_name(g) + g->name_len;
}

/* Something that is to go to a member. */
struct offering {
    struct match *match;
    const struct message_parts *parts;
    struct message **message; /* made from parts if it is to be kept and there is none */
    struct delivery *back;    /* it has come back, or NULL */
    struct delivery **list;   /* where that is */
    bool is_paid;             /* its memory is in charge already */
};

/* ---- group.c ---- */

/* Frees one of groups.dead. */
void group_bury(struct delivery *d);

/* ---- share.c ---- */

/* In or out of group.ready, as it can take something or not. */
void member_refresh(struct member *m);
/* In group.ready, as it was in another router. */
void member_restore_ready(struct member *m);
/* What waits goes to whom it can. */
void group_pump(struct group *g);
/* A loss to be told before all that waits; it has been counted. */
void group_note_gap(struct group *g, enum bus_loss_reason reason, const struct gap *gap);
/* The member that has that key, not 0, chosen now if there is none. */
struct member *group_slot(struct group *g, uint32_t key);

/* ---- ack.c ---- */

/* Puts a MESSAGE that is to be acknowledged. False if out of memory. */
bool delivery_put(struct member *m, const struct offering *o);
void delivery_free(struct delivery *d);
/* It has come back too often. False if it stays, because the router stops. */
bool delivery_give_up(struct delivery *d, struct delivery **list);
/* What a member that leaves has not done goes back to the group. */
void deliveries_take_back(struct member *m);
/* One that was another router's: what as says, in the hands of that member if it is out, else back
 * and waiting for it, or for any if m is NULL. False if out of memory, or it cannot be. */
bool delivery_restore(const struct delivery *as, struct member *m, bool is_out);
/* What came back and waits for a member goes to those who have its keys now. */
void returned_hand_over(struct member *m);
/* What it is charged with. */
uint64_t delivery_memory(const struct delivery *d);
