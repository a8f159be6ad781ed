/* SPDX-License-Identifier: MIT */
#pragma once
/* Wills and who may return before they are published: the inside of core/wills.c. */

#include "core/state.h"

/* Behind it: the headers, the topic, the texts of the headers, the body. */
struct will {
    struct will *prev, *next;           /* sender.wills, in the order in which they were set */
    struct will *left_prev, *left_next; /* presence.wills, once its client has ended */
    struct will *same_prev, *same_next; /* identity.waiting, while it waits */
    struct sender *sender;              /* a reference, once its client has ended */
    struct identity *identity;          /* a reference, while it waits */
    struct access *access;              /* a reference, once its client has ended */
    struct quota *payer;                /* once its client has ended; before, it is the client */
    struct timer timer;                 /* when it has waited long enough */
    uint64_t memory;                    /* that is charged for it */
    uint32_t delay_ms;
    uint32_t n_headers;
    bool is_ripe; /* it has waited */
    uint8_t topic_len;
    uint32_t body_bytes;
    const char *topic;
    const uint8_t *body;
    struct wire_header headers[];
};

/* Clients of one uid, one name and one token: they are the same one that has returned. */
struct identity {
    uint32_t refs;        /* clients that are there, and wills that wait */
    uint32_t n_present;   /* clients */
    struct will *waiting; /* of will.same_next */
    uint32_t hash;
    uint32_t uid;
    uint8_t name_len;
    uint8_t token_len;
    char text[BUS_NAME_MAX + BUS_RESUME_TOKEN_MAX]; /* both */
};

#define IDENTITY_BYTES (sizeof(struct identity) + TABLE_ENTRY_BYTES)

/* A will of a client that is there, or of one that has gone, is not to be published. */
void will_withdraw(struct peer *p, struct will *w);
void will_drop_left(struct router *r, struct will *w);

/* For those that are built up again. */
struct will_wait {
    uint64_t ns;                   /* until when */
    struct text token;             /* of who may return; empty: nobody */
    const struct subject *subject; /* whose it was; its sender says more */
};
/* A will of a client that is there. False if it is none that a client could set, or there is no
 * memory. */
bool will_restore(struct peer *p, const struct wire_will *m, const struct frame *f);
/* One of a client that has ended, which waits. The topic and the headers are valid. */
bool will_restore_left(struct router *r, struct sender *s, const struct wire_will *m,
                       const struct frame *f, const struct will_wait *wait);
