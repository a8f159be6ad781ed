/* SPDX-License-Identifier: MIT */
#pragma once
/* The calls that bus-serve has: each waits for a place, is worked on by a command, and answered.
 * Nothing here blocks. */

#include <bus/request.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* Numbers of errors beyond those that commands can end with. */
#define SERVE_ERROR_TOO_LONG 256u

enum serve_mode { SERVE_COMMAND, SERVE_ECHO, SERVE_TEXT };

struct serve_settings {
    enum serve_mode mode;
    char *const *argv; /* SERVE_COMMAND */
    const char *text;  /* SERVE_TEXT */
    uint32_t jobs_max; /* commands at a time */
    bool stream;       /* each line of output is a reply */
    bool verbose;      /* show what commands write to standard error */
};

struct jobs {
    const struct serve_settings *settings;
    struct bus_conn *conn;
    struct job *first; /* of job.next, in the order in which they came */
    uint32_t n_running;
};

#define JOB_FDS 3u

/* What the loop needs room for; at most. */
static inline size_t jobs_fds_max(const struct serve_settings *s)
{
    return s->mode == SERVE_COMMAND ? (size_t) s->jobs_max * JOB_FDS : 0;
}

/* For bus_serve(); userdata is struct jobs. */
void jobs_on_call(struct bus_call *call, void *userdata);
void jobs_on_cancel(struct bus_call *call, enum bus_status reason, void *userdata);

/* What to wait for: returns how many entries of fds it has filled in. Lowers *until_ns if there is
 * something to do before. */
size_t jobs_poll(struct jobs *j, struct pollfd *fds, uint64_t *until_ns);
/* What the last jobs_poll() waited for may be there. */
void jobs_polled(struct jobs *j);
/* Commands may have ended. */
void jobs_reap(struct jobs *j);
/* Does what can be done now. */
void jobs_step(struct jobs *j);
/* Nobody waits for answers any more, and commands are told to end; jobs_step() until all have. */
void jobs_abandon(struct jobs *j);
