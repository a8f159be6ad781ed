/* SPDX-License-Identifier: MIT */
#include "base/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "base/macros.h"

static int open_directory_of(const char *path, const char **ret_last)
{
    const char *slash = strrchr(path, '/');
    char dir[ADDRESS_PATH_MAX + 1];
    int fd;

    *ret_last = slash ? slash + 1 : path;
    if (!slash) {
        (void) snprintf(dir, sizeof(dir), ".");
    } else {
        (void) snprintf(dir, sizeof(dir), "%.*s", (int) MAX(slash - path, 1), path);
    }
    fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int sock_name_init(struct sock_name *name, const struct address *a)
{
    size_t len = strlen(a->path);
    const char *last;
    int n;

    *name = (struct sock_name){.sun.sun_family = AF_UNIX, .dir_fd = -1};
    if (a->abstract) {
        memcpy(name->sun.sun_path + 1, a->path, len);
        name->bytes = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + len);
        return 0;
    }
    if (len < sizeof(name->sun.sun_path)) {
        memcpy(name->sun.sun_path, a->path, len + 1);
        name->bytes = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len + 1);
        return 0;
    }
    name->dir_fd = open_directory_of(a->path, &last);
    if (name->dir_fd < 0) {
        return name->dir_fd;
    }
    n = snprintf(name->sun.sun_path, sizeof(name->sun.sun_path), "/proc/self/fd/%d/%s",
                 name->dir_fd, last);
    if (n >= (int) sizeof(name->sun.sun_path)) {
        sock_name_fini(name);
        return -ENAMETOOLONG;
    }
    name->bytes = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + (size_t) n + 1);
    return 0;
}

void sock_name_fini(struct sock_name *name)
{
    if (name->dir_fd >= 0) {
        (void) close(name->dir_fd);
        name->dir_fd = -1;
    }
}

int sock_new(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? -errno : fd;
}

static int connect_as(const struct address *a, int type)
{
    AUTO_CLOSE int fd = sock_new(type);
    struct sock_name name;
    int r;

    if (fd < 0) {
        return fd;
    }
    r = sock_name_init(&name, a);
    if (r < 0) {
        return r;
    }
    r = connect(fd, (const struct sockaddr *) &name.sun, name.bytes) < 0 ? -errno : 0;
    sock_name_fini(&name);
    return r < 0 ? r : take_fd(&fd);
}

/* The kernel keeps a table of abstract names for each socket type: the wrong type is not found. */
static bool may_be_other_type(const struct address *a, int error)
{
    return a->type == ADDRESS_ANY &&
           (error == -EPROTOTYPE || (a->abstract && error == -ECONNREFUSED));
}

int sock_connect(const struct address *a, int *ret_type)
{
    int type = a->type == ADDRESS_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
    int r = connect_as(a, type);

    if (may_be_other_type(a, r)) {
        type = SOCK_STREAM;
        r = connect_as(a, type);
    }
    if (r >= 0) {
        *ret_type = type;
    }
    return r;
}

int sock_peer_creds(int fd, struct creds *ret)
{
    struct ucred uc;
    socklen_t bytes = sizeof(uc);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &bytes) < 0) {
        return -errno;
    }
    *ret = (struct creds){.uid = uc.uid, .gid = uc.gid, .pid = uc.pid};
    return 0;
}
