/* SPDX-License-Identifier: MIT */
#include "io/lockfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/macros.h"

/* Each attempt fails only because another holder removed its file just then. */
#define CLAIM_ATTEMPTS 100

static pid_t lockfile_pid(int fd)
{
    char buf[32];
    ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);
    long pid;

    if (n <= 0) {
        return 0;
    }
    buf[n] = '\0';
    pid = strtol(buf, NULL, 10);
    return pid > 0 && pid <= INT32_MAX ? (pid_t) pid : 0;
}

/* Whether the locked file is still the one that has the name. */
static bool lockfile_is_current(const char *path, int fd)
{
    struct stat locked, named;

    return fstat(fd, &locked) == 0 && lstat(path, &named) == 0 && locked.st_dev == named.st_dev &&
           locked.st_ino == named.st_ino;
}

void lockfile_sign(int fd)
{
    char buf[32];
    int n = snprintf(buf, sizeof(buf), "%ld\n", (long) getpid());

    /* the lock is what counts; the pid is a courtesy */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, buf, (size_t) n, 0) < 0) {
        return;
    }
}

int lockfile_claim(const char *path, int *ret_fd, pid_t *ret_pid)
{
    for (int i = 0; i < CLAIM_ATTEMPTS; i++) {
        AUTO_CLOSE int fd =
            open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

        if (fd < 0) {
            return -errno;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno != EWOULDBLOCK) {
                return -errno;
            }
            *ret_pid = lockfile_pid(fd);
            return LOCKFILE_HELD;
        }
        if (lockfile_is_current(path, fd)) {
            lockfile_sign(fd);
            *ret_fd = take_fd(&fd);
            return LOCKFILE_OK;
        }
    }
    return -EAGAIN;
}

void lockfile_release(const char *path, int fd)
{
    if (fd < 0) {
        return;
    }
    if (lockfile_is_current(path, fd)) {
        (void) unlink(path);
    }
    (void) close(fd);
}
