/* SPDX-License-Identifier: MIT */
#pragma once
/* Closing descriptors that clients have sent. What they are is the client's choice, and so is how
 * long close() takes: a TCP socket lingers (SO_LINGER), a file of a FUSE file system waits for its
 * server. So it is done in libuv's threads. Owned by the process: parcels know only a function. */

#include <uv.h>

/* From here on closer_close() hands over to that loop's threads; NULL: it closes itself. */
void closer_init(uv_loop_t *uv);
/* Closes a descriptor, now or soon. For parcels. */
void closer_close(int fd);
/* How many are still to be closed. */
unsigned closer_pending(void);
/* The process is about to end: what comes now is left to the kernel, which does not linger then. */
void closer_abandon(void);
