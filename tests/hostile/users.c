/* SPDX-License-Identifier: MIT */
#include "hostile/users.h"
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Names are PREFIX, a letter for the party, and the pid of who made them. */
#define PREFIX "bushostile-"
#define NUMBER_FIRST 60500u
#define NUMBER_LAST 64999u
#define REMOVE_TRIES 50
#define REMOVE_PAUSE_MS 100
#define STALE_MAX 32u

static const char letters[N_PARTIES + 1] = "rva";

/* Exit code, or -1. Quiet: what it says is only for people who call it. */
static int run(const char *const *argv)
{
    pid_t pid = fork();
    int status = -1;

    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) {
            _exit(126);
        }
        (void) execvp(argv[0], (char *const *) (uintptr_t) argv);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool user_find(struct user *u)
{
    const struct passwd *p = getpwnam(u->name);

    if (!p) {
        return false;
    }
    u->uid = p->pw_uid;
    u->gid = p->pw_gid;
    return true;
}

static bool user_make(struct user *u, enum party party)
{
    const char *const argv[] = {
        "useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group",
        u->name,   NULL};

    (void) snprintf(u->name, sizeof(u->name), PREFIX "%c%d", letters[party], (int) getpid());
    u->is_made = run(argv) == 0;
    return u->is_made && user_find(u);
}

/* A process that still ends holds a user for a moment. */
static void user_remove(const char *name)
{
    const char *const argv[] = {"userdel", name, NULL};

    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (run(argv) == 0 || !getpwnam(name)) {
            return;
        }
        (void) poll(NULL, 0, REMOVE_PAUSE_MS);
    }
    (void) fprintf(stderr, "bus-hostile: user %s could not be removed\n", name);
}

static bool is_stale(const char *name)
{
    int pid;

    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || strlen(name) <= strlen(PREFIX) + 1) {
        return false;
    }
    pid = atoi(name + strlen(PREFIX) + 1);
    return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

/* Of runs that had no time to. */
static void users_remove_stale(void)
{
    char names[STALE_MAX][USER_NAME_BYTES];
    const struct passwd *p;
    unsigned n = 0;

    setpwent();
    while (n < STALE_MAX && (p = getpwent())) {
        if (is_stale(p->pw_name) && strlen(p->pw_name) < USER_NAME_BYTES) {
            (void) strcpy(names[n++], p->pw_name);
        }
    }
    endpwent();
    while (n > 0) {
        user_remove(names[--n]);
    }
}

static bool users_number(struct user users[N_PARTIES])
{
    unsigned n = 0;

    for (unsigned id = NUMBER_FIRST; id <= NUMBER_LAST && n < N_PARTIES; id++) {
        if (!getpwuid((uid_t) id) && !getgrgid((gid_t) id)) {
            users[n++] = (struct user){.uid = (uid_t) id, .gid = (gid_t) id};
        }
    }
    return n == N_PARTIES;
}

bool users_make(struct user users[N_PARTIES])
{
    bool is_good = true;

    memset(users, 0, N_PARTIES * sizeof(users[0]));
    users_remove_stale();
    for (unsigned i = 0; i < N_PARTIES && is_good; i++) {
        is_good = user_make(&users[i], (enum party) i);
    }
    if (is_good) {
        return true;
    }
    users_remove(users);
    (void) fputs("bus-hostile: useradd made no users: numbers that nobody has will do\n", stderr);
    if (!users_number(users)) {
        (void) fputs("bus-hostile: no numbers of users are free\n", stderr);
        return false;
    }
    return true;
}

void users_remove(struct user users[N_PARTIES])
{
    for (unsigned i = 0; i < N_PARTIES; i++) {
        if (users[i].is_made) {
            user_remove(users[i].name);
            users[i].is_made = false;
        }
    }
}

void user_become(const struct user *u)
{
    if (setsid() < 0 || setgroups(0, NULL) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
        setresuid(u->uid, u->uid, u->uid) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        (void) fprintf(stderr, "bus-hostile: cannot become user %u: %s\n", (unsigned) u->uid,
                       strerror(errno));
        _exit(126);
    }
}
