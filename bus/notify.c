/* SPDX-License-Identifier: MIT */
#include "notify.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include "base/macros.h"

enum outcome { TAKEN, LATER, NEVER };

/* Relative paths mean nothing to a daemon, and other kinds of sockets are for virtual machines. */
static bool name_init(struct notify *n, const char *address)
{
    size_t len = address ? strlen(address) : 0;

    if (len < 2 || len >= sizeof(n->sun.sun_path) || (*address != '/' && *address != '@')) {
        return false;
    }
    n->sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(n->sun.sun_path, address, len);
    n->bytes = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (*address == '@') {
        n->sun.sun_path[0] = '\0';
        n->bytes--; /* the name of an abstract socket has no end but its length */
    }
    return true;
}

/* It is not connected: a manager that starts anew is found again under its name. */
void notify_open(struct notify *n, const char *address)
{
    const struct timeval patience = {.tv_sec = NOTIFY_LAST_MS / 1000};

    *n = (struct notify){.fd = -1};
    if (!name_init(n, address)) {
        return;
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd >= 0) {
        (void) setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0) {
        (void) close(n->fd);
    }
    n->fd = -1;
}

bool notify_is_open(const struct notify *n)
{
    return n->fd >= 0;
}

static enum outcome put(const struct notify *n, const char *text, int flags)
{
    size_t len = strnlen(text, NOTIFY_BYTES - 1);
    ssize_t sent;

    do {
        sent = sendto(n->fd, text, len, flags | MSG_NOSIGNAL, (const struct sockaddr *) &n->sun,
                      n->bytes);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        return TAKEN;
    }
    return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM ? LATER : NEVER;
}

void notify_say(struct notify *n, const char *text)
{
    if (n->fd >= 0) {
        (void) put(n, text, MSG_DONTWAIT);
    }
}

bool notify_retry(struct notify *n)
{
    unsigned done = 0;

    while (n->fd >= 0 && done < n->n_owed && put(n, n->owed[done], MSG_DONTWAIT) != LATER) {
        done++;
    }
    n->n_owed -= done;
    memmove(n->owed[0], n->owed[done], n->n_owed * sizeof(n->owed[0]));
    return n->n_owed > 0;
}

void notify_change(struct notify *n, const char *text)
{
    if (n->fd < 0 || (!notify_retry(n) && put(n, text, MSG_DONTWAIT) != LATER)) {
        return;
    }
    if (n->n_owed == NOTIFY_OWED_MAX) {
        n->n_owed--;
        memmove(n->owed[0], n->owed[1], n->n_owed * sizeof(n->owed[0]));
    }
    (void) snprintf(n->owed[n->n_owed++], NOTIFY_BYTES, "%s", text);
}

void notify_last(struct notify *n, const char *text)
{
    enum outcome last = TAKEN;

    if (n->fd < 0) {
        return;
    }
    for (unsigned i = 0; i < n->n_owed && last != LATER; i++) {
        last = put(n, n->owed[i], 0);
    }
    n->n_owed = 0;
    (void) put(n, text, 0);
}
