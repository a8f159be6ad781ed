/* SPDX-License-Identifier: MIT */
#pragma once
/* What comes with a message but not in its bytes: a body that lies in a buffer, and descriptors.
 * docs/protocol.md, section 10. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/parcel.h"
#include "core/quota.h"

struct message;
struct sender;

/* A memfd that a client has registered. Lives as long as the registration and the messages in it;
 * its descriptor as long as somebody may have to get it. */
struct buffer {
    uint32_t refs;
    uint32_t id;     /* BUFFER.id to subscribers; in router.buffer_ids */
    uint32_t number; /* its publisher's */
    bool registered; /* the publisher still has it: it wants to hear what is returned */
    bool immutable;
    struct router *router; /* not owned; outlives every buffer */
    struct sender *sender;
    struct parcel *parcel; /* one descriptor; NULL when nobody will need it any more */
    uint32_t n_open;       /* messages in it that are not settled */
    uint32_t n_known;      /* links it is bound on, and those of them that are gone */
    uint64_t bytes;
    struct charge charge; /* that descriptor */
};

struct cargo {
    struct buffer *buffer; /* NULL: the body is in the message */
    uint64_t offset;
    uint32_t bytes;         /* of the body in the buffer */
    uint32_t n_leases;      /* references to the message that are leases */
    bool settled;           /* all of them are: it will not be put on a link again */
    struct parcel *parcel;  /* descriptors of the application, or NULL */
    uint32_t n_wanted;      /* queues in which it waits for who wants these, and the fan-out */
    struct charge charge;   /* of these */
    struct message *origin; /* NULL, or whose body it is: the publisher hears of that message */
    struct cargo *next;     /* peer.returns: the publisher is still to be told */
};

struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b);
/* Lets its descriptor go if nobody will have to be sent it: it is held, or nothing is in it, and
 * nothing more will be. */
void buffer_close(struct buffer *b);

/* With its references to the buffer and the parcel, both may be NULL; NULL if out of memory. The
 * charge is empty. */
struct cargo *cargo_new(struct buffer *buffer, uint64_t offset, uint32_t bytes,
                        struct parcel *parcel);
/* The message is gone: tells the publisher, if it is to be told, and frees. */
void cargo_end(struct cargo *c);
/* The message is not in any queue any more: its descriptors are not needed here. */
void cargo_settle(struct cargo *c);
/* One of cargo.n_wanted does not wait any more: the last one lets the descriptors go. */
void cargo_unwant(struct cargo *c);
/* The body of a message once more, for another one. NULL if out of memory. */
struct cargo *cargo_share(struct message *m);
/* It was never published: the publisher is not told. */
void cargo_discard(struct cargo *c);

/* Called whenever a reference to its message has gone. */
static inline void cargo_note_unref(struct cargo *c, uint32_t refs)
{
    if (refs == c->n_leases && !c->settled) {
        cargo_settle(c);
    }
}

static inline unsigned cargo_n_fds(const struct cargo *c)
{
    return parcel_count(c->parcel);
}
