/* SPDX-License-Identifier: MIT */
#include "base/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include "base/macros.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

/* Room for most of what is read at once. */
#define OPTION_BYTES 256u

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

/* Those who wait for room in the backlog are woken in turn, but only a blocking connect() waits.
 * The timeout has no effect on the socket when it does not block any more. */
static int wait_while_full(int fd, unsigned timeout_ms)
{
    const struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
                   fcntl(fd, F_SETFL, 0) < 0
               ? -errno
               : 0;
}

static int connect_as(const struct address *a, int type, unsigned timeout_ms)
{
    AUTO_CLOSE int fd = sock_new(type);
    struct sock_name name;
    int r;

    if (fd < 0) {
        return fd;
    }
    r = timeout_ms > 0 ? wait_while_full(fd, timeout_ms) : 0;
    r = r < 0 ? r : sock_name_init(&name, a);
    if (r < 0) {
        return r;
    }
    r = connect(fd, (const struct sockaddr *) &name.sun, name.bytes) < 0 ? -errno : 0;
    sock_name_fini(&name);
    if (r == 0 && timeout_ms > 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        r = -errno;
    }
    return r < 0 ? r : take_fd(&fd);
}

/* The kernel keeps a table of abstract names for each socket type: the wrong type is not found. */
static bool may_be_other_type(const struct address *a, int error)
{
    return a->type == ADDRESS_ANY &&
           (error == -EPROTOTYPE || (a->abstract && error == -ECONNREFUSED));
}

int sock_connect_within(const struct address *a, unsigned timeout_ms, int *ret_type)
{
    int type = a->type == ADDRESS_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
    int r = connect_as(a, type, timeout_ms);

    if (may_be_other_type(a, r)) {
        type = SOCK_STREAM;
        r = connect_as(a, type, timeout_ms);
    }
    if (r >= 0) {
        *ret_type = type;
    }
    return r;
}

int sock_connect(const struct address *a, int *ret_type)
{
    return sock_connect_within(a, 0, ret_type);
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

/* Reads an option, which is the socket's for good: with ERANGE the kernel says how long it is. 0,
 * or a negative errno; -E2BIG: it is longer than max. */
static int read_option(int fd, int option, size_t max, void **ret, size_t *ret_bytes)
{
    socklen_t bytes = OPTION_BYTES;
    AUTO_FREE void *value = NULL;
    int r;

    do {
        void *larger = realloc(value, MAX(bytes, 1u));

        if (!larger) {
            return -ENOMEM;
        }
        value = larger;
        r = getsockopt(fd, SOL_SOCKET, option, value, &bytes) < 0 ? -errno : 0;
        r = r == -ERANGE && bytes > max ? -E2BIG : r;
    } while (r == -ERANGE);
    r = r == 0 && bytes > max ? -E2BIG : r;
    if (r == 0) {
        *ret = TAKE(value);
        *ret_bytes = bytes;
    }
    return r;
}

/* Nobody knows: the kernel is too old, there is no security module, or nobody has connected. */
static bool is_nothing(int r)
{
    return r == -ENOPROTOOPT || r == -EINVAL || r == -ENODATA;
}

int sock_peer_groups(int fd, size_t max, gid_t **ret_groups, size_t *ret_n)
{
    void *groups = NULL;
    size_t bytes = 0;
    int r = read_option(fd, SO_PEERGROUPS, max * sizeof(gid_t), &groups, &bytes);

    if (r < 0 && !is_nothing(r)) {
        return r;
    }
    if (bytes == 0) {
        free(TAKE(groups));
    }
    *ret_groups = groups;
    *ret_n = bytes / sizeof(gid_t);
    return 0;
}

int sock_peer_label(int fd, char **ret_label)
{
    AUTO_FREE void *value = NULL;
    size_t bytes = 0;
    int r = read_option(fd, SO_PEERSEC, SIZE_MAX, &value, &bytes);
    char *label = NULL;

    if (r < 0 && !is_nothing(r)) {
        return r;
    }
    bytes = value ? strnlen(value, bytes) : 0;
    if (bytes > 0) {
        label = calloc(1, bytes + 1);
        if (!label) {
            return -ENOMEM;
        }
        memcpy(label, value, bytes);
    }
    *ret_label = label;
    return 0;
}

void sock_close_fd(int fd)
{
    (void) close(fd);
}

/* ---- bytes and descriptors ---- */

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(PARCEL_FDS_MAX * sizeof(int))];
};

static void control_fill(union control *control, struct msghdr *msg, const struct parcel *parcel)
{
    size_t bytes = parcel->n * sizeof(int);
    struct cmsghdr *c;

    memset(control, 0, sizeof(*control));
    msg->msg_control = control->bytes;
    msg->msg_controllen = CMSG_SPACE(bytes);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), parcel->fds, bytes);
}

ssize_t sock_send(int fd, const struct iovec *iov, int n, const struct parcel *parcel)
{
    struct msghdr msg = {.msg_iov = (struct iovec *) iov, .msg_iovlen = (size_t) n};
    union control control;
    ssize_t sent;

    if (parcel && parcel->n > 0) {
        control_fill(&control, &msg, parcel);
    }
    do {
        sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        (void) close(fds[i]);
    }
}

/* All descriptors of the control data; there is one SCM_RIGHTS at most, but that is the kernel's
 * affair. */
static unsigned control_fds(struct msghdr *msg, int fds[PARCEL_FDS_MAX])
{
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t bytes = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            bytes <= (PARCEL_FDS_MAX - n) * sizeof(int)) {
            memcpy(fds + n, CMSG_DATA(c), bytes);
            n += (unsigned) (bytes / sizeof(int));
        }
    }
    return n;
}

/* A truncated batch is noted even if it is empty: a frame is going to ask for it. */
static int parcel_receive(struct msghdr *msg, struct sock_received *ret)
{
    int fds[PARCEL_FDS_MAX];
    unsigned n = control_fds(msg, fds);

    if (n == 0 && !(msg->msg_flags & MSG_CTRUNC)) {
        return 0;
    }
    ret->parcel = parcel_new(fds, n, sock_close_fd);
    if (!ret->parcel) {
        close_all(fds, n);
        return -ENOMEM;
    }
    ret->parcel->truncated = (msg->msg_flags & MSG_CTRUNC) != 0;
    return 0;
}

ssize_t sock_receive(int fd, struct iovec *iov, int n, int flags, struct sock_received *ret)
{
    union control control;
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = (size_t) n,
                         .msg_control = control.bytes,
                         /* not all of it: padding would hold one more */
                         .msg_controllen = CMSG_LEN(PARCEL_FDS_MAX * sizeof(int))};
    ssize_t bytes = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);

    *ret = (struct sock_received){.flags = msg.msg_flags};
    if (bytes < 0) {
        return -errno;
    }
    if (UNLIKELY(msg.msg_controllen > 0 || (msg.msg_flags & MSG_CTRUNC)) &&
        parcel_receive(&msg, ret) < 0) {
        return -ENOMEM;
    }
    return bytes;
}
