/* SPDX-License-Identifier: MIT */
/* Starting and ending commands. All descriptors of this program are close-on-exec, so that nothing
 * but the pipes reaches a command. */

#include "serve_child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THEIRS, OURS };

void child_close(int *fd)
{
    if (*fd >= 0) {
        (void) close(*fd);
        *fd = -1;
    }
}

/* A pipe of which our end does not block. */
static int pipe_new(int ends[2], int our_end)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC)) {
        return -errno;
    }
    (void) fcntl(fds[our_end], F_SETFL, O_NONBLOCK);
    ends[OURS] = fds[our_end];
    ends[THEIRS] = fds[1 - our_end];
    return 0;
}

static int attr_init(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    (void) sigemptyset(&none);
    (void) sigfillset(&all);
    if (posix_spawnattr_init(attr)) {
        return -ENOMEM;
    }
    (void) posix_spawnattr_setpgroup(attr, 0);
    (void) posix_spawnattr_setsigmask(attr, &none);
    (void) posix_spawnattr_setsigdefault(attr, &all);
    (void) posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    return 0;
}

static int spawn(struct child *c, char *const argv[], char *const env[], int ends[3][2])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = attr_init(&attr);

    if (r < 0) {
        return r;
    }
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        for (int i = 0; i < 3 && r == 0; i++) {
            r = posix_spawn_file_actions_adddup2(&actions, ends[i][THEIRS], i);
        }
        r = r ? r : posix_spawnp(&c->pid, argv[0], &actions, &attr, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
    }
    (void) posix_spawnattr_destroy(&attr);
    return -r;
}

int child_start(struct child *c, char *const argv[], char *const env[])
{
    int ends[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int r = pipe_new(ends[0], 1);

    r = r < 0 ? r : pipe_new(ends[1], 0);
    r = r < 0 ? r : pipe_new(ends[2], 0);
    r = r < 0 ? r : spawn(c, argv, env, ends);
    for (int i = 0; i < 3; i++) {
        child_close(&ends[i][THEIRS]);
        if (r < 0) {
            child_close(&ends[i][OURS]);
        }
    }
    if (r < 0) {
        c->pid = 0;
        return r;
    }
    c->in = ends[0][OURS];
    c->out = ends[1][OURS];
    c->err = ends[2][OURS];
    return 0;
}

bool child_check_exit(struct child *c)
{
    siginfo_t info = {.si_pid = 0};

    if (c->pid == 0 || c->has_exited) {
        return c->has_exited;
    }
    /* Not reaped: as long as it is a zombie no other process gets its number, or that of its group.
     */
    if (waitid(P_PID, (id_t) c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == c->pid) {
        c->has_exited = true;
        c->status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    }
    return c->has_exited;
}

void child_signal(const struct child *c, int number)
{
    if (c->pid > 0) {
        (void) kill(-c->pid, number);
    }
}

void child_fini(struct child *c)
{
    child_close(&c->in);
    child_close(&c->out);
    child_close(&c->err);
    if (c->pid > 0) {
        (void) waitpid(c->pid, NULL, 0); /* it has exited: does not wait */
        c->pid = 0;
    }
}
