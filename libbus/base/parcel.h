/* SPDX-License-Identifier: MIT */
#pragma once
/* File descriptors that travel together with one frame. Counted; closed with the last reference.
 * What they are and how they are closed is known to whoever made the parcel, so that the router's
 * core can carry them about without touching the system. */

#include <stdbool.h>
#include <stdint.h>

/* The largest batch that is received: as many as the kernel passes at a time (SCM_MAX_FD). No frame
 * has so many, but what is not received the kernel would close itself, here and now, and that may
 * take as long as the sender likes. */
#define PARCEL_FDS_MAX 253u

struct parcel {
    uint32_t refs;
    uint8_t n;
    bool refused;   /* emptied, for its owner may not have so many */
    bool truncated; /* there were more, which the kernel has closed */
    void (*close)(int fd);
    int fds[];
};

/* Takes the descriptors; one reference. NULL if out of memory, and then they are still the
 * caller's. */
struct parcel *parcel_new(const int *fds, unsigned n, void (*close)(int fd));
/* 0 for NULL. */
static inline unsigned parcel_count(const struct parcel *p)
{
    return p ? p->n : 0;
}

/* NULL is fine. */
void parcel_unref(struct parcel *p);
/* Closes what is in it; a frame that asks for it finds it truncated. */
void parcel_empty(struct parcel *p);

static inline struct parcel *parcel_ref(struct parcel *p)
{
    p->refs++;
    return p;
}
