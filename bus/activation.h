/* SPDX-License-Identifier: MIT */
#pragma once
/* Sockets that a service manager has opened for this process: descriptors from 3 on, told by
 * $LISTEN_PID, $LISTEN_FDS and $LISTEN_FDNAMES as sd_listen_fds(3) lays down. They belong to the
 * manager: the router accepts from them and never removes their files. docs/service.md. */

#include <stdbool.h>
#include "io/acceptor.h"
#include "io/failure.h"
#include "io/listener.h"

#define ACTIVATION_FIRST_FD 3
#define ACTIVATION_MAX ACCEPTOR_SOCKETS_MAX

struct activation {
    unsigned n;                                      /* descriptors, from ACTIVATION_FIRST_FD on */
    char names[ACTIVATION_MAX][LISTENER_NAME_BYTES]; /* "": none */
};

/* The three variables, each a text or NULL. 0, with n = 0 if they are not there or for another
 * process; or -EINVAL said in *f. */
int activation_parse(struct activation *ret, const char *pid, const char *fds, const char *names,
                     pid_t self, struct failure *f);

/* Whether the environment gives sockets to this process. */
bool activation_is_there(void);
/* Makes listeners of them and takes the variables out of the environment. Sets *n, at most
 * ACTIVATION_MAX; 0, or a negative errno said in *f: then the descriptors are as they were. */
int activation_take(struct listener *listeners, size_t *n, struct failure *f);
