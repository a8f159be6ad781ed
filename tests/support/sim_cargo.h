/* SPDX-License-Identifier: MIT */
#pragma once
/* Buffers and descriptors in the simulated world: descriptors are numbers whose end is counted,
 * buffers are memory behind such a number. The oracle: a body stays as it was published until it is
 * released, each publish from a buffer is returned once, no descriptor is closed twice or left. */

#include "support/sim.h"

/* A descriptor that nobody has closed yet. bytes: of a buffer, 0 if it is something else. */
int sim_fd_new(uint64_t bytes, bool immutable);
/* Another router gets it, too; and is done with it. */
void sim_fd_dup(int fd);
void sim_fd_close(int fd);
/* What a buffer holds: there until sim_fds_end(). */
uint8_t *sim_fd_data(int fd);
unsigned sim_fds_open(void);
/* Asserts that each one was closed, and forgets them. */
void sim_fds_end(void);
extern const struct descriptor_ops sim_descriptor_ops;

/* A batch of n descriptors as it arrives at the router. */
struct parcel *sim_parcel(const int *fds, unsigned n, bool truncated);
/* So many that are no buffers. */
struct parcel *sim_parcel_of(unsigned n);
/* A frame that announces n_fds, and a batch (taken; or NULL) that comes with it. */
void sim_send_parcel(struct sim *s, struct sim_client *c, enum verb verb, const void *message,
                     const void *body, size_t body_bytes, unsigned n_fds, struct parcel *parcel);

/* BUFFER with SIM_SLOTS places of that size. Returns whether the router took it. */
bool sim_register(struct sim *s, struct sim_client *c, unsigned number, uint64_t slot_bytes,
                  bool immutable);
/* UNBUFFER, after all that the router has said was read. */
void sim_unregister(struct sim *s, struct sim_client *c, unsigned number);
/* RELEASE; the body must be what it was. */
void sim_release(struct sim *s, struct sim_client *c, uint32_t lease, uint32_t flags);
/* The oldest that is held, or 0. */
uint32_t sim_any_lease(const struct sim_client *c);
void sim_release_all(struct sim *s, struct sim_client *c);
/* Answers the router's PING, if there is one. */
void sim_pong(struct sim *s, struct sim_client *c);

/* ---- for sim.c ---- */

/* A batch that the router sends, at the place where it comes. */
void sim_batch_arrived(struct sim_client *c, const struct parcel *parcel);
/* Every frame: descriptors, bindings, what is returned, pings. */
void sim_cargo_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m);
/* The body of a MESSAGE, wherever it lies. */
const uint8_t *sim_body(struct sim_client *c, const struct wire_message *m, const struct frame *f,
                        uint64_t *ret_bytes);
