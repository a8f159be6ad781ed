/* SPDX-License-Identifier: MIT */
#pragma once
/* What the processes of bus-faults share: a page that says what is to be done, and for each client
 * a file of records, mapped, so that what was written is there however its writer ends. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORDS_MAX (1u << 21)
#define KINDS_OF_TOPIC 4u   /* topics of one publisher */
#define TOPIC_ALL 255u      /* a subscription to all of them */
#define TOPIC_RELIABLE 254u /* one to all reliable ones */

enum phase {
    PHASE_CHAOS,
    PHASE_QUIET, /* nobody begins anything; what is under way comes to its end */
    PHASE_END,
};

/* One page. */
struct control {
    _Atomic uint32_t phase;
    _Atomic uint32_t shim_is_on;
};

enum record_kind {
    RECORD_NONE,
    RECORD_OPENED,    /* life: of this connection */
    RECORD_CLOSED,    /* the same; again: it was not its own doing */
    RECORD_AWAY,      /* its link has broken, and the library is coming back */
    RECORD_SENT,      /* before the call: life, n, nk, topic, number (of the publish) */
    RECORD_UNSENT,    /* the call was refused: number */
    RECORD_CONFIRMED, /* number, reason: status, nk: subscriptions that matched */
    RECORD_ASKED,     /* a subscription: topic (which), reason: policy */
    RECORD_READY,     /* it is in force */
    RECORD_DRAINS,
    RECORD_STALLED, /* it is not waited for any more */
    RECORD_OVER,    /* reason: enum over */
    RECORD_GOT,     /* life (the publisher's), n, nk, topic; again: deliveries before */
    RECORD_LOST,    /* number: how many; reason */
    RECORD_ACKED,   /* a job is done: life, n */
    RECORD_UNACKED, /* that could not be said */
    RECORD_DEAD,    /* a dead letter: life, n */
    RECORD_BEGUN,   /* a request: life, n; again: to all */
    RECORD_UNBEGUN,
    RECORD_ENDED,  /* life, n, reason: status, again: with an error */
    RECORD_CALLED, /* life (the requester's), n; again: to all */
    RECORD_WRONG,  /* something was not what it must be: reason: enum wrong */
};

enum over {
    OVER_DRAINED, /* it has got all that matched before */
    OVER_SETTLED, /* the same, at the end */
    OVER_LOST,    /* with its connection, or refused */
};

enum wrong { WRONG_BODY, WRONG_ANSWER };

struct record {
    uint64_t t_ns;
    uint64_t life;
    uint32_t n, nk;
    uint32_t number;
    uint8_t kind, topic, reason, again;
};

struct records {
    _Atomic uint32_t n;
    _Atomic uint32_t is_idle; /* in PHASE_QUIET: nothing of its own is under way */
    uint32_t n_lives;
    uint32_t is_full;
    struct record at[];
};

/* A job is of the group; it has numbers of its own. */
enum { CLASS_MESSAGE, CLASS_JOB, CLASS_RELIABLE, N_CLASSES };

/* What a body begins with; the rest is filled with fill. */
struct body {
    uint64_t life;
    uint32_t n, nk;
    uint8_t class, topic, fill, is_to_all;
    uint32_t bytes;
};

/* NULL and errno. */
struct control *control_map(const char *dir);
struct records *records_map(const char *dir, unsigned index);
/* Empty again. */
void records_clear(struct records *r);
void records_add(struct records *r, const struct record *record);

/* As /proc shows them, with two entries more. */
unsigned count_fds(pid_t pid);
/* With the files in it, but no folders. */
void dir_remove(const char *path);

uint64_t now_ns(void);

/* Random numbers: the same for the same seed. */
struct dice {
    uint64_t state;
};
uint64_t dice_u64(struct dice *d);
/* 0 to n - 1; n is not 0. */
uint32_t dice_below(struct dice *d, uint32_t n);
