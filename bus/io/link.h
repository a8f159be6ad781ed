/* SPDX-License-Identifier: MIT */
#pragma once
/* One connected socket: moves bytes in and out, the same way for packets and streams. Owned by its
 * session, which it knows only as link_ops. What is received and not yet consumed is kept here;
 * what is to be sent is kept by the owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>
#include "base/parcel.h"
#include "io/loop.h"
#include "wire/outq.h"

/* Sends for one link between two flushes; a stream sends up to LINK_IOV pieces at once, a packet
 * link the pieces of one packet. */
#define LINK_SENDS_MAX 16u
#define LINK_IOV 128
_Static_assert(LINK_IOV >= OUTQ_PACKET_IOV, "a packet goes out at once");

struct link;

struct link_input {
    size_t consumed;
    size_t need; /* bytes that are needed to consume more, if not all was consumed */
    bool more;   /* enough for one turn: call again in the next one, whatever need says */
};

struct link_ops {
    /* Bytes arrived, or more of those that were not consumed. On a packet link data ends where a
     * packet ends. If they lie in a slab, parts of them may be kept there; it may be NULL. */
    struct link_input (*on_input)(struct link *l, const uint8_t *data, size_t len,
                                  struct slab *slab);
    /* Descriptors came with the bytes that on_input gets next, or with a part of a frame: the
     * owner's now. */
    void (*on_parcel)(struct link *l, struct parcel *parcel);
    /* All that was received is consumed: what is left of parcels belongs to no frame. */
    void (*on_settled)(struct link *l);
    /* A packet larger than the read buffer: its beginning. Nothing of it is kept. */
    void (*on_oversized)(struct link *l, const uint8_t *data, size_t len);
    /* So many bytes more are to be kept between two reads: false if the owner may not have them. */
    bool (*on_hold)(struct link *l, size_t bytes);
    void (*on_release)(struct link *l, size_t bytes);
    /* The socket takes bytes again, or it is this link's turn again: call link_flush(). */
    void (*on_writable)(struct link *l);
    /* Nothing more will be read: error is 0 at end of file, or a negative errno. With -ENOMEM, for
     * what is not a whole frame yet, the link can still be written to. */
    void (*on_end)(struct link *l, int error);
    /* What to send next, on a packet link the next packet: fills iov; returns how many. */
    int (*output)(struct link *l, struct iovec iov[LINK_IOV]);
    /* The descriptors that go with what output() returned, or NULL. */
    const struct parcel *(*output_parcel)(struct link *l);
    /* So many bytes at the front of the output are gone. */
    void (*on_sent)(struct link *l, size_t bytes);
    /* After link_close(), exactly once: the memory is the owner's again. */
    void (*on_closed)(struct link *l);
};

enum link_kind { LINK_STREAM, LINK_PACKETS };

struct link {
    uv_poll_t poll;
    struct lane_task task; /* input to go on with, or output to try again */
    struct loop *loop;     /* not owned; outlives every link */
    const struct link_ops *ops;
    uint8_t *rest; /* received and not consumed, from rest_start; NULL if there is nothing */
    size_t rest_start, rest_end, rest_capacity;
    size_t need;    /* with fewer bytes than this nothing of the rest can be consumed */
    unsigned round; /* loop.round that n_sends counts in */
    unsigned n_sends;
    int fd;
    uint8_t armed; /* events that are polled for */
    uint8_t kind;  /* enum link_kind */
    bool more;     /* the owner had enough for one turn */
    bool is_due;   /* readable, but it was not its turn: it stands in line to be read */
    bool paused;
    bool blocked; /* the socket took nothing more: waiting for it to be writable */
    bool deaf;    /* the other side reads no more: output is dropped, what it sent is still read */
    bool ended;   /* on_end was called */
    bool has_parcels; /* the owner was given descriptors since all was consumed last */
    bool closed;
};

/* Takes the descriptor (*take_fd = -1) and starts to read when it is the lane's turn; that outlives
 * the link. 0 or a negative errno; then nothing was
 * taken and there is nothing to close. */
int link_open(struct link *l, struct loop *loop, struct lane *lane, int *take_fd,
              enum link_kind kind, const struct link_ops *ops);
/* What another process has left of a link; the bytes are copied. */
struct link_rest {
    const uint8_t *data; /* received and not consumed */
    size_t len;
    bool has_parcels, deaf, ended;
};

/* The same with a link that was another process's; it does nothing before link_start(). */
int link_adopt(struct link *l, struct loop *loop, struct lane *lane, int *take_fd,
               enum link_kind kind, const struct link_ops *ops, const struct link_rest *rest);
void link_start(struct link *l);
struct link_rest link_rest(const struct link *l);

/* Ends with on_closed, in this turn or the next. The descriptor is closed at once. */
void link_close(struct link *l);

/* Stops and resumes reading; does nothing if it is so already. */
void link_pause(struct link *l);
void link_resume(struct link *l);

/* Sends as much as the socket takes, within the bounds of one round and of the lane's turn; the
 * rest follows by on_writable. 0, or a negative errno if this link cannot go on. */
int link_flush(struct link *l);
