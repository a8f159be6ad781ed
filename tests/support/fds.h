/* SPDX-License-Identifier: MIT */
#pragma once
/* Real descriptors: how many there are open in this process. */

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include "support/unit.h"

static inline unsigned fds_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    (void) closedir(dir);
    return n - 1; /* the folder itself */
}

static inline int fd_any(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}
