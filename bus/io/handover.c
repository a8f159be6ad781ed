/* SPDX-License-Identifier: MIT */
#include "io/handover.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/macros.h"
#include "base/sock.h"
#include "io/descriptors.h"

#define HANDOVER_MAGIC UINT64_C(0x62757365737461ff)
/* As many as go with one packet. */
#define BATCH_FDS 250u
/* How long until something is tried again for which the kernel has no room. */
#define RETRY_MS 1
#define TEXT_MAX 200u
/* More than any process can have: /proc/sys/fs/nr_open is at most that. */
#define FDS_MAX (1u << 24)

enum handover_kind {
    HANDOVER_STATE, /* a: bytes, b: descriptors; with a memfd */
    HANDOVER_FDS,   /* a: of these; with them */
    HANDOVER_READY,
    HANDOVER_GO,
    HANDOVER_REFUSED, /* with a text, of a bytes */
};

struct handover_packet {
    uint64_t magic;
    uint64_t kind;
    uint64_t a, b;
    char text[TEXT_MAX];
};

static int fail(struct failure *f, int error, const char *what)
{
    return failure_set(f, error, "%s: %s", what, strerror(-error));
}

/* ---- packets ---- */

/* Waits until the socket is ready. 0, or a negative errno. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = events};
    uint64_t now = clock_monotonic_ns();
    int left_ms = -1, n;

    if (deadline_ns != UINT64_MAX) {
        left_ms = deadline_ns > now ? (int) ((deadline_ns - now) / NS_PER_MS + 1) : 0;
    }
    do {
        n = poll(&p, 1, left_ms);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int packet_send(int fd, const struct handover_packet *packet, const struct parcel *parcel,
                       uint64_t deadline_ns)
{
    struct iovec iov = {(void *) (uintptr_t) packet, sizeof(*packet)};

    for (;;) {
        ssize_t n = sock_send(fd, &iov, 1, parcel);
        int r = 0;

        if (n >= 0) {
            return 0;
        }
        if (n == -EAGAIN) {
            r = wait_for(fd, POLLOUT, deadline_ns);
        } else if (n == -ETOOMANYREFS || n == -ENOBUFS || n == -ENOMEM) {
            /* until the other one has taken some */
            r = clock_monotonic_ns() < deadline_ns ? 0 : -ETIMEDOUT;
            (void) poll(NULL, 0, RETRY_MS);
        } else {
            r = (int) n;
        }
        if (r < 0) {
            return r;
        }
    }
}

/* *ret_parcel may be NULL: then none may come. */
static int packet_receive(int fd, struct handover_packet *ret, struct parcel **ret_parcel,
                          uint64_t deadline_ns)
{
    struct iovec iov = {ret, sizeof(*ret)};
    struct sock_received in;
    ssize_t n;

    do {
        int r = wait_for(fd, POLLIN, deadline_ns);

        if (r < 0) {
            return r;
        }
        n = sock_receive(fd, &iov, 1, MSG_DONTWAIT, &in);
    } while (n == -EAGAIN || n == -EINTR);
    if (n < 0) {
        return (int) n;
    }
    if (n == 0 && !in.parcel) {
        return -ECONNRESET;
    }
    if (n != sizeof(*ret) || ret->magic != HANDOVER_MAGIC || (in.parcel && in.parcel->truncated) ||
        (in.parcel && !ret_parcel)) {
        n = in.parcel && in.parcel->truncated ? -EMFILE : -EPROTO;
        parcel_unref(in.parcel);
        return (int) n;
    }
    if (ret_parcel) {
        *ret_parcel = in.parcel;
    }
    return 0;
}

/* What it says must be that, or it says why not. */
static int expect(int fd, enum handover_kind kind, struct handover_packet *ret,
                  struct parcel **ret_parcel, uint64_t deadline_ns, struct failure *f)
{
    int r = packet_receive(fd, ret, ret_parcel, deadline_ns);

    if (r == -ECONNRESET || r == -EPIPE) {
        return failure_set(f, r, "the other router has gone");
    }
    if (r == -ETIMEDOUT) {
        return failure_set(f, r, "the other router does not answer");
    }
    if (r < 0) {
        return fail(f, r, "what the other router says cannot be received");
    }
    if (ret->kind == HANDOVER_REFUSED) {
        return failure_set(f, -ECANCELED, "the other router says: %.*s",
                           (int) MIN(ret->a, TEXT_MAX), ret->text);
    }
    return ret->kind == kind ? 0 : failure_set(f, -EPROTO, "the other router says nonsense");
}

/* ---- the one that goes ---- */

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        data += MAX(n, 0);
        bytes -= (size_t) MAX(n, 0);
    }
    return 0;
}

/* A descriptor of memory that nobody can change any more, or a negative errno. */
static int state_file(const void *state, size_t bytes)
{
    AUTO_CLOSE int fd = memfd_create("bus-router-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = write_all(fd, state, bytes);
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        r = -errno;
    }
    return r < 0 ? r : take_fd(&fd);
}

static void close_nothing(int fd)
{
    (void) fd; /* they stay their owners' */
}

static int send_fds(int fd, const int *fds, size_t n_fds, uint64_t deadline_ns)
{
    int r = 0;

    for (size_t i = 0; i < n_fds && r == 0; i += BATCH_FDS) {
        unsigned n = (unsigned) MIN(n_fds - i, BATCH_FDS);
        struct parcel *parcel = parcel_new(fds + i, n, close_nothing);
        const struct handover_packet packet = {
            .magic = HANDOVER_MAGIC, .kind = HANDOVER_FDS, .a = n};

        r = parcel ? packet_send(fd, &packet, parcel, deadline_ns) : -ENOMEM;
        parcel_unref(parcel);
    }
    return r;
}

static int send_state(int fd, const void *state, size_t bytes, size_t n_fds, uint64_t deadline_ns)
{
    const struct handover_packet packet = {
        .magic = HANDOVER_MAGIC, .kind = HANDOVER_STATE, .a = bytes, .b = n_fds};
    struct parcel *parcel;
    int file = state_file(state, bytes), r;

    if (file < 0) {
        return file;
    }
    parcel = parcel_new(&file, 1, sock_close_fd);
    if (!parcel) {
        (void) close(file);
        return -ENOMEM;
    }
    r = packet_send(fd, &packet, parcel, deadline_ns);
    parcel_unref(parcel);
    return r;
}

int handover_offer(int fd, const void *state, size_t bytes, const int *fds, size_t n_fds,
                   uint64_t deadline_ns, struct failure *f)
{
    struct handover_packet packet;
    int r = send_state(fd, state, bytes, n_fds, deadline_ns);

    r = r < 0 ? r : send_fds(fd, fds, n_fds, deadline_ns);
    if (r == -EPIPE || r == -ECONNRESET) {
        /* it may have said why before it went */
        r = expect(fd, HANDOVER_READY, &packet, NULL, deadline_ns, f);
        return r < 0 ? r : failure_set(f, -EPIPE, "the other router has gone");
    }
    if (r < 0) {
        return fail(f, r, "the state cannot be sent");
    }
    return expect(fd, HANDOVER_READY, &packet, NULL, deadline_ns, f);
}

int handover_go(int fd)
{
    const struct handover_packet packet = {.magic = HANDOVER_MAGIC, .kind = HANDOVER_GO};

    return packet_send(fd, &packet, NULL, clock_monotonic_ns());
}

void handover_refuse(int fd, const char *why)
{
    struct handover_packet packet = {.magic = HANDOVER_MAGIC, .kind = HANDOVER_REFUSED};

    packet.a = MIN(strlen(why), TEXT_MAX);
    memcpy(packet.text, why, packet.a);
    (void) packet_send(fd, &packet, NULL, clock_monotonic_ns());
}

/* ---- the one that comes ---- */

static int map_state(struct handover *h, const struct parcel *parcel, uint64_t bytes)
{
    struct memfd_facts facts = {0};
    void *at;

    if (!parcel || parcel->n != 1 || descriptor_inspect(parcel->fds[0], &facts) < 0 ||
        !facts.immutable || facts.bytes < bytes || bytes == 0) {
        return -EPROTO;
    }
    at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, parcel->fds[0], 0);
    if (at == MAP_FAILED) {
        return -errno;
    }
    h->state = at;
    h->bytes = bytes;
    return 0;
}

static int receive_fds(int fd, struct handover *h, size_t n_fds, struct failure *f)
{
    while (h->n_fds < n_fds) {
        struct handover_packet packet;
        struct parcel *parcel = NULL;
        int r = expect(fd, HANDOVER_FDS, &packet, &parcel, UINT64_MAX, f);

        if (r == 0 && (!parcel || parcel->n == 0 || parcel->n > n_fds - h->n_fds)) {
            r = failure_set(f, -EPROTO, "the other router sends other descriptors than it said");
        }
        if (r < 0) {
            parcel_unref(parcel);
            return r;
        }
        memcpy(h->fds + h->n_fds, parcel->fds, parcel->n * sizeof(int));
        h->n_fds += parcel->n;
        parcel->n = 0; /* they are in the list now */
        parcel_unref(parcel);
    }
    return 0;
}

int handover_receive(int fd, struct handover *ret, struct failure *f)
{
    struct handover_packet packet;
    struct parcel *parcel = NULL;
    int r = expect(fd, HANDOVER_STATE, &packet, &parcel, UINT64_MAX, f);

    *ret = (struct handover){0};
    if (r == 0) {
        r = map_state(ret, parcel, packet.a);
        r = r < 0 ? fail(f, r, "the state of the other router cannot be read") : 0;
    }
    parcel_unref(parcel);
    if (r < 0) {
        return r;
    }
    ret->fds = packet.b <= FDS_MAX ? calloc(packet.b + 1, sizeof(int)) : NULL;
    return ret->fds ? receive_fds(fd, ret, packet.b, f) : fail(f, -ENOMEM, "the descriptors");
}

void handover_fini(struct handover *h)
{
    if (h->state) {
        (void) munmap((void *) (uintptr_t) h->state, h->bytes);
    }
    free(h->fds);
    *h = (struct handover){0};
}

int handover_ready(int fd, struct failure *f)
{
    struct handover_packet packet = {.magic = HANDOVER_MAGIC, .kind = HANDOVER_READY};
    int r = packet_send(fd, &packet, NULL, UINT64_MAX);

    if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
        return fail(f, r, "the other router cannot be told");
    }
    /* if it is gone, or has given up, it may have said why */
    return expect(fd, HANDOVER_GO, &packet, NULL, UINT64_MAX, f);
}
