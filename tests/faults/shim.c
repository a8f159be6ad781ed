/* SPDX-License-Identifier: MIT */
/* Loaded in front of libc: system calls of sockets and memory fail now and then, in ways in which
 * the kernel may let them fail. BUS_FAULTS_SHIM is CONTROL:SEED:ONE_IN. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "faults/shared.h"

#define SHIM __attribute__((visibility("default")))
#define IOV_MAX_SHORT 64

static const struct control *control;
static uint64_t state;
static uint32_t one_in;

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("BUS_FAULTS_SHIM");
    char path[512];
    unsigned long long seed;
    void *at;
    int fd;

    if (!text || sscanf(text, "%511[^:]:%llu:%u", path, &seed, &one_in) != 3 || one_in == 0) {
        return;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    at = mmap(NULL, sizeof(*control), PROT_READ, MAP_SHARED, fd, 0);
    (void) close(fd);
    state = seed;
    control = at == MAP_FAILED ? NULL : at;
}

/* Two threads at a time get the same number, which does no harm. */
static uint32_t below(uint32_t n)
{
    uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    return (uint32_t) ((x >> 16) % n);
}

static bool strikes(void)
{
    return control && control->shim_is_on && below(one_in) == 0;
}

/* 0, or one of the errnos. */
static int pick(const int *errnos, unsigned n)
{
    return strikes() ? errnos[below(n)] : 0;
}
#define PICK(...) pick((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real) {                                                                                   \
        *(void **) &real = dlsym(RTLD_NEXT, name);                                                 \
    }
#define FAIL_WITH(...)                                                                             \
    do {                                                                                           \
        int error_ = PICK(__VA_ARGS__);                                                            \
        if (error_) {                                                                              \
            errno = error_;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

static bool is_stream(int fd)
{
    int type = 0, domain = 0;
    socklen_t bytes = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) {
        return false;
    }
    bytes = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_UNIX &&
           type == SOCK_STREAM;
}

/* The beginning of an iov: at least one byte of it. */
static size_t shorten(const struct iovec *iov, size_t n, struct iovec *ret)
{
    size_t total = 0, left;

    for (size_t i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    if (total < 2 || n > IOV_MAX_SHORT) {
        return 0;
    }
    left = 1 + below(total - 1 > UINT32_MAX ? UINT32_MAX : (uint32_t) (total - 1));
    for (size_t i = 0; i < n; i++) {
        ret[i] = iov[i];
        if (left <= iov[i].iov_len) {
            ret[i].iov_len = left;
            return i + 1;
        }
        left -= iov[i].iov_len;
    }
    return n;
}

SHIM ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct iovec iov[IOV_MAX_SHORT];
    struct msghdr part = *msg;
    size_t n;

    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int)
    FAIL_WITH(EAGAIN, EINTR, ENOBUFS, EAGAIN);
    if (strikes() && is_stream(fd) && (n = shorten(msg->msg_iov, msg->msg_iovlen, iov)) > 0) {
        part.msg_iov = iov;
        part.msg_iovlen = n;
        return real(fd, &part, flags);
    }
    return real(fd, msg, flags);
}

SHIM ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec iov[IOV_MAX_SHORT], *whole = msg->msg_iov;
    size_t n_whole = msg->msg_iovlen, n;
    ssize_t r;

    REAL(ssize_t, "recvmsg", int, struct msghdr *, int)
    FAIL_WITH(EAGAIN, EINTR);
    if (strikes() && is_stream(fd) && (n = shorten(whole, n_whole, iov)) > 0) {
        msg->msg_iov = iov;
        msg->msg_iovlen = n;
        r = real(fd, msg, flags);
        msg->msg_iov = whole;
        msg->msg_iovlen = n_whole;
        return r;
    }
    return real(fd, msg, flags);
}

SHIM ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    REAL(ssize_t, "send", int, const void *, size_t, int)
    FAIL_WITH(EAGAIN, EINTR, ENOBUFS);
    return real(fd, data, bytes, flags);
}

SHIM ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    REAL(ssize_t, "recv", int, void *, size_t, int)
    FAIL_WITH(EAGAIN, EINTR);
    return real(fd, data, bytes, flags);
}

SHIM int accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
    REAL(int, "accept4", int, struct sockaddr *, socklen_t *, int)
    FAIL_WITH(ECONNABORTED, EMFILE, ENFILE, EINTR, ENOMEM);
    return real(fd, address, bytes, flags);
}

SHIM int connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    REAL(int, "connect", int, const struct sockaddr *, socklen_t)
    FAIL_WITH(EAGAIN, ECONNREFUSED);
    return real(fd, address, bytes);
}

SHIM int socket(int domain, int type, int protocol)
{
    REAL(int, "socket", int, int, int)
    FAIL_WITH(EMFILE, ENFILE, ENOMEM, ENOBUFS);
    return real(domain, type, protocol);
}

SHIM int socketpair(int domain, int type, int protocol, int fds[2])
{
    REAL(int, "socketpair", int, int, int, int[2])
    FAIL_WITH(EMFILE, ENFILE, ENOMEM);
    return real(domain, type, protocol, fds);
}

SHIM int memfd_create(const char *name, unsigned flags)
{
    REAL(int, "memfd_create", const char *, unsigned)
    FAIL_WITH(EMFILE, ENFILE, ENOMEM);
    return real(name, flags);
}

SHIM void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t)
    if (fd >= 0 && PICK(ENOMEM)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return real(at, bytes, protection, flags, fd, offset);
}

SHIM int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    REAL(int, "poll", struct pollfd *, nfds_t, int)
    FAIL_WITH(EINTR);
    return real(fds, n, timeout);
}

SHIM int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    REAL(int, "ppoll", struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)
    FAIL_WITH(EINTR);
    return real(fds, n, timeout, mask);
}

SHIM int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    REAL(int, "epoll_wait", int, struct epoll_event *, int, int)
    FAIL_WITH(EINTR);
    return real(fd, events, n, timeout);
}

SHIM int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
    REAL(int, "epoll_pwait", int, struct epoll_event *, int, int, const sigset_t *)
    FAIL_WITH(EINTR);
    return real(fd, events, n, timeout, mask);
}
