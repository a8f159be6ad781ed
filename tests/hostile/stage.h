/* SPDX-License-Identifier: MIT */
#pragma once
/* The stage of bus-hostile: a router of one user, victims of another, attackers of a third, each in
 * a session of its own. */

#include <stddef.h>
#include "hostile/board.h"
#include "hostile/users.h"

#define ADDRESS_BYTES 96u

struct settings {
    const char *router;          /* the program */
    uint64_t phase_ms;           /* of each measurement */
    unsigned rounds, rounds_max; /* with one attack; so many if it looks bad */
    const char *only;            /* the attack, or NULL: all of them */
    bool is_wordy, keeps;        /* says all rates; keeps the router's log */
    bool is_lenient;             /* about times: others use the machine, too */
    uint64_t rss_max;            /* bytes that the router may have */
};

struct stage {
    struct settings settings;
    struct user users[N_PARTIES];
    char dir[64];
    char addresses[2][ADDRESS_BYTES]; /* seqpacket, stream */
    struct board *board;
    pid_t parties[N_PARTIES]; /* leaders of their sessions; 0: none */
    unsigned n_wrong;
};

/* What runs in a process of a party. Its return is the exit code. */
typedef int (*party_fn)(const struct stage *s, const void *arg);

/* 0, or it says why not. The users are made already. */
int stage_open(struct stage *s);
void stage_close(struct stage *s);
/* Says so, and the end is not 0. */
void wrong(struct stage *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A process of that user, the leader of a session of its own. */
bool party_start(struct stage *s, enum party party, party_fn fn, const void *arg);
/* In a leader: one more process. */
pid_t party_fork(void);
/* Kills the session, and waits for its leader. */
void party_kill(struct stage *s, enum party party);
/* Whether the leader still runs. */
bool party_lives(struct stage *s, enum party party);

/* Whether it is ready to serve. */
bool router_start(struct stage *s);
/* SIGTERM: whether it exits with 0. */
bool router_stop(struct stage *s);

/* ---- victim.c, asking.c ---- */

struct victim_kind {
    const char *name;
    uint64_t rate_max;                                    /* paced */
    int (*feed)(const struct stage *s, unsigned pair);    /* publishes, or asks */
    int (*consume)(const struct stage *s, unsigned pair); /* NULL: nothing */
    unsigned n_feeders;                                   /* processes that do that */
    uint64_t turn_max_us; /* of the router\'s own time, before it is this pair\'s turn */
};
extern const struct victim_kind victim_kinds[];
extern const unsigned n_victim_kinds;
/* Of a party: all of them. */
int victims_run(const struct stage *s, const void *arg);
/* How many processes say that they are set up. */
unsigned victims_expected(void);

/* ---- attacks ---- */

struct attacker;
struct attack_kind {
    const char *name;
    const char *what;
    void (*run)(struct attacker *a);
    unsigned n_processes;
};
extern const struct attack_kind attack_kinds[];
extern const unsigned n_attack_kinds;
/* Of a party: those whose bits are set in the unsigned at arg. */
int attacks_run(const struct stage *s, const void *arg);
