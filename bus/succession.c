/* SPDX-License-Identifier: MIT */
#include "succession.h"
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/macros.h"
#include "core/kinds.h"
#include "io/closer.h"
#include "takeover.h"

extern char **environ;

static struct now now_read(void)
{
    return (struct now){clock_monotonic_ns(), clock_realtime_ns()};
}

/* ---- the one that goes ---- */

static void listeners_save(const struct estate *e, struct image *image)
{
    struct record_writer *w = &image->records;
    char address[ADDRESS_PATH_MAX + 16];

    for (size_t i = 0; i < e->n_listeners; i++) {
        const struct listener *l = &e->listeners[i];

        address_format(&l->address, address, sizeof(address));
        record_begin(w, STATE_LISTENER);
        record_bytes(w, LISTENER_ADDRESS, address, strlen(address));
        record_number(w, LISTENER_HAS_LOCK, l->lock_fd >= 0);
        record_number(w, LISTENER_DEV, l->dev);
        record_number(w, LISTENER_INO, l->ino);
        record_bytes(w, LISTENER_NAME, l->name, strlen(l->name));
        record_number(w, LISTENER_IS_GIVEN, l->is_given);
        record_end(w);
        (void) image_add_fds(image, &l->fd, 1);
        (void) image_add_fds(image, &l->lock_fd, l->lock_fd >= 0);
    }
}

static int estate_save(const struct estate *e, struct image *image, struct failure *f)
{
    const char *why;
    int r = router_save(e->router, image, &why);

    if (r == IMAGE_REFUSED) {
        return failure_set(f, -EBUSY, "%s", why);
    }
    listeners_save(e, image);
    sessions_save(e->sessions, image);
    return r < 0 || image->records.is_failed ? failure_set(f, -ENOMEM, "out of memory") : 0;
}

int estate_hand_over(const struct estate *e, int fd, uint64_t timeout_ms, struct failure *f)
{
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    struct image image = {0};
    int r = estate_save(e, &image, f);

    if (r == 0) {
        r = handover_offer(fd, image.records.data, image.records.len, image.fds, image.n_fds,
                           deadline_ns, f);
    }
    if (r == 0 && handover_go(fd) < 0) {
        r = failure_set(f, -EPIPE, "the other router has gone");
    }
    if (r < 0) {
        handover_refuse(fd, f->text);
    }
    image_fini(&image);
    return r;
}

int successor_start(const char *path, char **argv)
{
    pid_t pid;

    /* nobody waits for it: if it fails, it says so itself */
    (void) signal(SIGCHLD, SIG_IGN);
    return -posix_spawn(&pid, path, NULL, NULL, argv, environ);
}

bool program_path(char *buf, size_t bytes)
{
    static const char deleted[] = " (deleted)";
    ssize_t n = readlink("/proc/self/exe", buf, bytes - 1);
    size_t tail = sizeof(deleted) - 1;

    if (n <= 0 || (size_t) n == bytes - 1) {
        return false;
    }
    buf[n] = '\0';
    if ((size_t) n > tail && strcmp(buf + n - tail, deleted) == 0) {
        buf[(size_t) n - tail] = '\0';
    }
    return true;
}

/* ---- the one that comes ---- */

int succession_begin(struct succession *s, const struct address *a, struct failure *f)
{
    int r;

    *s = (struct succession){.fd = -1};
    r = takeover_ask(a, &s->fd, f);
    r = r < 0 ? r : handover_receive(s->fd, &s->handover, f);
    if (r < 0) {
        return r;
    }
    s->source = (struct image_source){.records = {s->handover.state, s->handover.bytes},
                                      .fds = s->handover.fds,
                                      .n_fds = s->handover.n_fds,
                                      .close = closer_close};
    return 0;
}

int succession_load(struct succession *s, const struct router_config *config, struct router **ret,
                    struct failure *f)
{
    struct now now = now_read();
    const char *why;

    switch (router_load(config, &s->source, &now, ret, &why)) {
    case IMAGE_OK:
        return 0;
    case IMAGE_REFUSED:
        return failure_set(f, -EINVAL, "the state cannot be taken over: %s", why);
    default:
        return failure_set(f, -ENOMEM, "out of memory");
    }
}

/* The next descriptor, or -1. */
static int take_next(struct succession *s)
{
    struct image_source *from = &s->source;

    return from->fds_used < from->n_fds ? from->fds[from->fds_used++] : -1;
}

static int adopt_listener(struct succession *s, const struct record *rec,
                          struct listener *listeners, size_t *n)
{
    struct text text = record_text(rec, LISTENER_ADDRESS);
    struct text name = record_text(rec, LISTENER_NAME);
    char address[ADDRESS_PATH_MAX + 16];
    struct listener *l;
    struct address a;
    int fd = take_next(s);
    int lock_fd = record_get(rec, LISTENER_HAS_LOCK) ? take_next(s) : -1;

    if (text.len >= sizeof(address) || name.len >= LISTENER_NAME_BYTES ||
        *n == ACCEPTOR_SOCKETS_MAX || fd < 0 ||
        (record_get(rec, LISTENER_HAS_LOCK) && lock_fd < 0)) {
        return -EINVAL;
    }
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    if (address_parse(address, &a) < 0) {
        return -EINVAL;
    }
    l = &listeners[(*n)++];
    listener_adopt(l, &a, fd, lock_fd, record_get(rec, LISTENER_DEV),
                   record_get(rec, LISTENER_INO));
    memcpy(l->name, name.data, name.len);
    l->is_given = record_get(rec, LISTENER_IS_GIVEN);
    return 0;
}

/* Links come in the order of connection ids or nearly so: the search goes on where it was. */
static struct peer *find_peer(const struct router *r, uint64_t connection_id, struct peer *from)
{
    struct peer *p = router_next_peer(r, from), *first = p;

    do {
        p = p ? p : router_next_peer(r, NULL);
        if (!p || peer_connection_id(p) == connection_id) {
            return p;
        }
        p = router_next_peer(r, p);
    } while (p != first);
    return NULL;
}

static int adopt_link(struct succession *s, struct sessions *sessions, const struct record *rec,
                      struct peer **last)
{
    struct peer *p = find_peer(sessions->router, record_get(rec, LINK_CONNECTION), *last);
    int fd = take_next(s);

    if (fd < 0 || !p || peer_userdata(p)) {
        return -EINVAL;
    }
    *last = p;
    return session_adopt(sessions, p, rec, &fd);
}

static bool all_have_links(const struct router *r)
{
    struct peer *p = NULL;

    while ((p = router_next_peer(r, p))) {
        if (!peer_userdata(p)) {
            return false;
        }
    }
    return true;
}

int succession_adopt(struct succession *s, struct sessions *sessions, struct listener *listeners,
                     size_t *n_listeners, struct failure *f)
{
    AUTO_FREE struct record *rec = calloc(1, sizeof(*rec));
    struct peer *last = NULL;
    int r = rec ? 0 : -ENOMEM;

    while (r == 0) {
        enum record_verdict v = record_next(&s->source.records, rec);

        if (v == RECORD_LAST) {
            break;
        }
        if (v == RECORD_MALFORMED) {
            r = -EINVAL;
        } else if (rec->kind == STATE_LISTENER) {
            r = adopt_listener(s, rec, listeners, n_listeners);
        } else if (rec->kind == STATE_LINK) {
            r = adopt_link(s, sessions, rec, &last);
        } else {
            r = -EINVAL;
        }
    }
    if (r == 0 && (s->source.fds_used != s->source.n_fds || !all_have_links(sessions->router))) {
        r = -EINVAL;
    }
    return r < 0 ? failure_set(f, r, "the links cannot be taken over: %s", strerror(-r)) : 0;
}

int succession_end(struct succession *s, struct failure *f)
{
    int r = handover_ready(s->fd, f);

    if (r == 0) {
        (void) close(s->fd);
        handover_fini(&s->handover);
    }
    return r;
}
