/* SPDX-License-Identifier: MIT */
#include "activation.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/macros.h"

/* ---- the variables ---- */

static bool parse_number(const char *text, unsigned long *ret)
{
    char *end;

    if (*text < '0' || *text > '9') {
        return false; /* strtoul() would take signs and blanks */
    }
    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && !*end;
}

/* What rules can name. A name that is cut would be another one. */
static bool is_name(const char *text, size_t len)
{
    if (len >= LISTENER_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7F) {
            return false;
        }
    }
    return true;
}

static int parse_names(struct activation *ret, const char *names, struct failure *f)
{
    for (unsigned i = 0; i < ret->n; i++) {
        size_t len = strcspn(names, ":");

        if (!is_name(names, len)) {
            return failure_set(f, -EINVAL,
                               "LISTEN_FDNAMES: '%.*s' cannot be the name of a listener: expected "
                               "are at most %d printable characters without blanks",
                               (int) MIN(len, (size_t) 300), names, LISTENER_NAME_BYTES - 1);
        }
        memcpy(ret->names[i], names, len);
        names += len;
        if ((*names == ':') != (i + 1 < ret->n)) {
            return failure_set(f, -EINVAL,
                               "LISTEN_FDNAMES: expected are %u names, one for each "
                               "descriptor",
                               ret->n);
        }
        names++;
    }
    return 0;
}

int activation_parse(struct activation *ret, const char *pid, const char *fds, const char *names,
                     pid_t self, struct failure *f)
{
    unsigned long number;

    *ret = (struct activation){0};
    if (!pid || !fds) {
        return 0;
    }
    if (!parse_number(pid, &number)) {
        return failure_set(f, -EINVAL, "LISTEN_PID: '%.100s' is not the number of a process", pid);
    }
    if (number != (unsigned long) self) {
        return 0; /* they were for whoever has started this process */
    }
    if (!parse_number(fds, &number) || number > ACTIVATION_MAX) {
        return failure_set(f, -EINVAL, "LISTEN_FDS: '%.100s': expected is a number up to %d", fds,
                           ACTIVATION_MAX);
    }
    ret->n = (unsigned) number;
    return names && ret->n > 0 ? parse_names(ret, names, f) : 0;
}

static int parse_environment(struct activation *ret, struct failure *f)
{
    return activation_parse(ret, getenv("LISTEN_PID"), getenv("LISTEN_FDS"),
                            getenv("LISTEN_FDNAMES"), getpid(), f);
}

/* A mistake in them is there too: it is explained when they are taken. */
bool activation_is_there(void)
{
    struct activation a;
    struct failure f;

    return parse_environment(&a, &f) < 0 || a.n > 0;
}

/* ---- the descriptors ---- */

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

/* Its address, if it can be written down: a router that replaces this one reads it. */
static bool find_address(int fd, int type, struct address *ret)
{
    static const char prefixes[][12] = {"seqpacket:", "stream:"};
    struct sockaddr_un sun = {0};
    socklen_t len = sizeof(sun);
    size_t begin = offsetof(struct sockaddr_un, sun_path), n;
    char text[sizeof(prefixes[0]) + sizeof(sun.sun_path) + 1];

    if (getsockname(fd, (struct sockaddr *) &sun, &len) < 0 || len <= begin) {
        return false; /* it has no name */
    }
    n = MIN((size_t) len, sizeof(sun)) - begin;
    if (sun.sun_path[0] == '\0') {
        sun.sun_path[0] = '@';
        if (memchr(sun.sun_path, '\0', n)) {
            return false;
        }
    } else if (sun.sun_path[0] != '/') {
        return false; /* relative to a directory that is not known */
    }
    (void) snprintf(text, sizeof(text), "%s%.*s", prefixes[type == SOCK_STREAM], (int) n,
                    sun.sun_path);
    return address_parse(text, ret) == 0;
}

static int listener_from(struct listener *l, int fd, const char *name, struct failure *f)
{
    int type = option_of(fd, SO_TYPE);
    struct address a;

    if (option_of(fd, SO_DOMAIN) != AF_UNIX || (type != SOCK_STREAM && type != SOCK_SEQPACKET)) {
        return failure_set(f, -EINVAL,
                           "descriptor %d, '%s', is not a Unix socket for packets or a stream; in "
                           "the socket unit use ListenSequentialPacket= or ListenStream= with a "
                           "path",
                           fd, name);
    }
    if (option_of(fd, SO_ACCEPTCONN) != 1) {
        return failure_set(f, -EINVAL,
                           "descriptor %d, '%s', does not listen; the socket unit must have "
                           "Accept=no",
                           fd, name);
    }
    if (!find_address(fd, type, &a)) {
        return failure_set(
            f, -EINVAL, "descriptor %d, '%s', has no address that clients can be told", fd, name);
    }
    listener_given(l, &a, fd, name);
    return 0;
}

/* The manager does not pass O_NONBLOCK on, and nothing that this process starts must have them. */
static int prepare(int fd, struct failure *f)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return failure_set(f, -errno, "descriptor %d of LISTEN_FDS: %s", fd, strerror(errno));
    }
    return 0;
}

int activation_take(struct listener *listeners, size_t *n, struct failure *f)
{
    struct activation a;
    int r = parse_environment(&a, f);

    *n = 0;
    (void) unsetenv("LISTEN_PID");
    (void) unsetenv("LISTEN_FDS");
    (void) unsetenv("LISTEN_FDNAMES");
    for (unsigned i = 0; r == 0 && i < a.n; i++) {
        r = prepare(ACTIVATION_FIRST_FD + (int) i, f);
    }
    for (unsigned i = 0; r == 0 && i < a.n; i++) {
        r = listener_from(&listeners[i], ACTIVATION_FIRST_FD + (int) i, a.names[i], f);
    }
    *n = r < 0 ? 0 : a.n;
    return r;
}
