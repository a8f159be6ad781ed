/* SPDX-License-Identifier: MIT */
/* Anything in place of what a router says that hands over. Each packet of the input begins with a
 * byte: how many descriptors go with it, of which the first may be sealed memory, and whether its
 * magic number is put right. All descriptors are closed again, whatever was refused. */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/sock.h"
#include "fuzz/fuzz.h"
#include "io/handover.h"

#define PACKET_BYTES 232u /* magic, kind, a, b, text */
#define PACKETS_MAX 16
#define FDS_MAX 4
enum { FDS_MASK = 3, SEALED = 4, WITH_MAGIC = 8, WHOLE = 16 };

static int sealed_memory(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0);
    return fd;
}

static struct parcel *some_descriptors(unsigned how)
{
    unsigned n = how & FDS_MASK;
    struct parcel *parcel;
    int fds[FDS_MAX];

    for (unsigned i = 0; i < n; i++) {
        fds[i] =
            i == 0 && (how & SEALED) ? sealed_memory() : open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(fds[i] >= 0);
    }
    parcel = n > 0 ? parcel_new(fds, n, sock_close_fd) : NULL;
    CHECK(n == 0 || parcel);
    return parcel;
}

/* Returns how much of the input it has taken. */
static size_t send_packet(int fd, const uint8_t *data, size_t len)
{
    static const uint64_t magic = UINT64_C(0x62757365737461ff);
    uint8_t packet[PACKET_BYTES] = {0};
    unsigned how = data[0];
    size_t n = len - 1 < PACKET_BYTES ? len - 1 : PACKET_BYTES;
    struct iovec iov = {packet, how & WHOLE ? PACKET_BYTES : n};
    struct parcel *parcel = some_descriptors(how);

    memcpy(packet, data + 1, n);
    if (how & WITH_MAGIC) {
        memcpy(packet, &magic, sizeof(magic));
    }
    (void) sock_send(fd, &iov, 1, parcel);
    parcel_unref(parcel);
    return n + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct handover h;
    struct failure f;
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    for (int i = 0; i < PACKETS_MAX && len > 0; i++) {
        size_t taken = send_packet(pair[0], data, len);

        data += taken;
        len -= taken;
    }
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    if (handover_receive(pair[1], &h, &f) == 0) {
        CHECK(h.bytes > 0 && h.bytes <= 4096 && h.fds);
        (void) handover_ready(pair[1], &f);
    }
    for (size_t i = 0; i < h.n_fds; i++) {
        CHECK(close(h.fds[i]) == 0);
    }
    handover_fini(&h);
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    return 0;
}
