/* SPDX-License-Identifier: MIT */
#pragma once
/* A world around the router core without sockets and clocks: clients that speak frames, and an
 * oracle that knows for each subscription which messages it must get, in which order, and where
 * gaps may be. */

#include <stdbool.h>
#include <stdint.h>
#include "core/router.h"
#include "unit.h"
#include "wire/codec.h"

#define MS UINT64_C(1000000) /* the clock is in nanoseconds */
#define SIM_CLIENTS 12
#define SIM_SUBS 8
#define SIM_ALIASES 6
#define SIM_IDS 4096
#define SIM_BUFFERS 6
#define SIM_SLOTS 8

struct sim_sub {
    bool used; /* SUBSCRIBE sent and accepted */
    bool no_local;
    bool is_paced; /* topics overtake each other: only numbers are compared here */
    bool grouped;  /* a member of a group: the oracle does not know what it gets, tests/sim do */
    bool acks;     /* with what it got, below */
    bool drains;   /* nothing more is due but what is by now */
    uint32_t *unacked;
    size_t n_unacked, n_unacked_max;
    uint64_t acked, refused;
    char filter[64];
    uint64_t *due; /* numbers of the messages that matched, in order */
    size_t n_due, n_due_max;
    size_t at; /* how many of them are accounted for: delivered or lost */
    uint64_t delivered, lost;
    uint32_t window_messages;
    uint32_t consumed; /* messages to give back */
    uint64_t consumed_bytes;
    int64_t credit; /* messages, as the client sees it */
};

/* A buffer that the client has registered: SIM_SLOTS places for bodies. */
struct sim_buffer {
    int fd; /* 0: none */
    uint64_t slot_bytes;
    unsigned due[SIM_SLOTS]; /* so many RETURNED frames are to come */
};

/* A body in a buffer that the client holds. */
struct sim_lease {
    int fd; /* 0: none */
    uint32_t buffer;
    uint64_t offset, bytes;
    uint64_t number; /* its first bytes */
    uint8_t last;
};

/* Descriptors that came and belong to a frame that is still to come. */
struct sim_batch {
    unsigned n;
    int fds[FRAME_FDS_MAX];
};

struct sim_client {
    struct peer *peer; /* NULL: not connected */
    bool packets;
    bool ended; /* GOODBYE received */
    enum bus_goodbye goodbye;
    uint64_t id;
    uint64_t sequence;
    int64_t credit_messages, credit_bytes;
    struct sim_sub subs[SIM_SUBS];
    char aliases[SIM_ALIASES][64];
    char topics[SIM_IDS][64];  /* TOPIC */
    uint64_t senders[SIM_IDS]; /* PEER: connection ids */
    uint32_t router_sender;    /* PEER: the router itself; 0: not introduced */
    uint8_t *rx;               /* received bytes that are no whole frame yet (stream) */
    size_t n_rx;
    unsigned n_endings[SIM_SUBS]; /* UNSUBSCRIBE frames without an answer */
    uint32_t n_status[32];
    uint32_t last_status;
    uint64_t n_pongs, n_confirms, n_records, n_record_losses, n_credits;
    uint64_t n_omitted; /* recipients that records do not list */
    struct wire_confirm confirm;
    struct wire_snapshot_end snapshot_end;
    bool monitoring;
    uint64_t features;
    struct sim_buffer buffers[SIM_BUFFERS];
    struct sim_batch batches[8];
    unsigned n_batches;
    int bound[SIM_IDS]; /* BUFFER: descriptors by id, 0 if there is none */
    struct sim_lease leases[SIM_IDS];
    unsigned n_leases;
    uint64_t ping;
    bool is_pinged;                                /* and has not answered */
    unsigned n_buffers_flying, n_buffers_pinged;   /* introduced since the last answer */
    unsigned n_carriers_flying, n_carriers_pinged; /* messages with descriptors */
    uint64_t n_returned;
    /* of the last CALL or ANSWER */
    uint64_t call;
    uint64_t body_number, body_bytes; /* what its sender wrote there, and how much */
    size_t n_text_headers;
};

struct sim {
    struct router *router;
    struct router_config config;
    struct slab_pool slabs; /* what clients send lies there, if there is one */
    struct now now;
    struct rng rng;
    struct arena arena;
    uint64_t n_published;          /* numbers messages */
    uint64_t n_asked;              /* the same for bodies of requests and replies */
    bool starving;                 /* allocations may fail: answers may be missing */
    bool looks_away;               /* messages come that no sim_publish() has made: no oracle */
    uint32_t uid;                  /* of those who connect */
    const struct subject *subject; /* the same, what else they are to rules; NULL: nothing */
    uint64_t features;             /* the same */
    uint64_t session;              /* the same */
    unsigned n_fds;                /* that the next frame announces */
    unsigned replace_each;         /* the router is replaced about each so many reads; 0: never */
    /* Sees each frame that a client receives, before the oracle does; may be NULL. */
    void (*on_frame)(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m);
    /* Whether a subscription whose filter matches is to get that topic; NULL: it is. */
    bool (*may_get)(const struct sim *s, const struct sim_client *c, const struct sim_sub *sub,
                    const char *topic);
    bool changes_rules; /* a router that takes over has others: it may end something */
    struct sim_client clients[SIM_CLIENTS];
};

/* NULL limits: small ones, so that every bound is met. */
void sim_init(struct sim *s, const struct limits *limits);
/* The same with what the router knows of descriptors: NULL for nothing. */
void sim_init_with(struct sim *s, const struct limits *limits,
                   const struct descriptor_ops *descriptors);
/* The router stops; everybody reads to the end, and is gone then. */
void sim_shutdown(struct sim *s);
void sim_fini(struct sim *s);

struct limits sim_small_limits(void);

/* Connects without a greeting; NULL if the router is full. */
struct sim_client *sim_attach(struct sim *s, bool packets);
/* Connects and greets. */
struct sim_client *sim_connect(struct sim *s, bool packets);
void sim_disconnect(struct sim *s, struct sim_client *c);
/* Hands raw bytes to the router as one packet or in one piece. What the router does not keep of
 * them is overwritten. */
struct input_result sim_send_raw(struct sim *s, struct sim_client *c, const void *data, size_t n);
void sim_send(struct sim *s, struct sim_client *c, enum verb verb, const void *message,
              const void *body, size_t body_bytes);

bool sim_subscribe(struct sim *s, struct sim_client *c, unsigned index,
                   const struct wire_subscribe *m);
void sim_unsubscribe(struct sim *s, struct sim_client *c, unsigned index);
/* It ends with the STATUS {OK} that comes behind what waits. */
void sim_drain(struct sim *s, struct sim_client *c, unsigned index);
void sim_advertise(struct sim *s, struct sim_client *c, unsigned index, const char *topic);
void sim_advertise_with(struct sim *s, struct sim_client *c, unsigned index, const char *topic,
                        uint32_t flags);

/* For the oracle: that message is the next one that the subscription must get. */
void sim_due(struct sim_sub *sub, uint64_t number);

struct sim_publish {
    const char *topic; /* or NULL: by alias */
    unsigned alias;
    size_t body_bytes; /* at least 8 */
    bool confirm;
    unsigned n_headers;
    unsigned buffer; /* the body lies there, or 0 */
    unsigned slot;
    unsigned n_fds;
    uint32_t ttl_ms;
    const char *key;   /* or NULL */
    uint64_t sequence; /* given, or 0 */
    bool resent;
};
/* Returns whether the router accepted it. */
bool sim_publish(struct sim *s, struct sim_client *c, const struct sim_publish *p);

/* Reads up to n chunks of the client's output and checks all that is in them against the oracle. */
void sim_read(struct sim *s, struct sim_client *c, unsigned n);
/* Gives back everything consumed. */
void sim_give_credit(struct sim *s, struct sim_client *c, unsigned index);
/* Acknowledges the one that it got first or, if all, all; or refuses them. */
void sim_ack(struct sim *s, struct sim_client *c, unsigned index, bool all, bool refuse);
void sim_advance(struct sim *s, uint64_t ns);
/* Another router takes the place of this one, which must not be noticed by anybody. False if it is
 * short of memory: then the old one goes on. */
bool sim_replace(struct sim *s);
/* In every other world that is done again and again from here on. */
void sim_replace_sometimes(struct sim *s, struct rng *seeds);
/* What the router left for its next turns. Returns how many it took. */
unsigned sim_work_off(struct sim *s);

/* Everybody reads and gives credit until nothing moves any more; then every message that matched is
 * delivered or reported lost. */
void sim_settle(struct sim *s);
/* The oracle's invariants at any moment. */
void sim_check(struct sim *s);

const char *sim_random_topic(struct sim *s);
const char *sim_random_filter(struct sim *s);
