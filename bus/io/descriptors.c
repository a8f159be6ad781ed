/* SPDX-License-Identifier: MIT */
#include "io/descriptors.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SEALS_OF_SIZE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* A memfd can be opened again for writing alone: then nobody can read or map what comes. */
static bool is_readable(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY;
}

/* Huge pages are mapped and unmapped in lengths of their own, and run out. */
static bool has_usual_pages(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

int descriptor_inspect(int fd, struct memfd_facts *ret)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    *ret = (struct memfd_facts){0};
    if (seals < 0) {
        return errno == EINVAL ? 0 : -errno;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    ret->bytes = (uint64_t) st.st_size;
    ret->immutable = seals & F_SEAL_WRITE;
    ret->sealed = (seals & SEALS_OF_SIZE) == SEALS_OF_SIZE && S_ISREG(st.st_mode) &&
                  (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && is_readable(fd) &&
                  has_usual_pages(fd);
    return 0;
}

bool descriptor_read(int fd, uint64_t offset, void *dst, size_t bytes)
{
    char *p = dst;

    while (bytes > 0) {
        ssize_t n = pread(fd, p, bytes, (off_t) offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        offset += (uint64_t) n;
        bytes -= (size_t) n;
    }
    return true;
}
