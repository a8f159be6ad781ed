/* SPDX-License-Identifier: MIT */
#pragma once
/* Raw clients that send descriptors, by the rules or against them, and the memory they would have
 * for bodies. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "support/router_fixture.h"
#include "support/unit.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define RAW_FDS_MAX 64u
#define SEALS_OF_SIZE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_POOLED (SEALS_OF_SIZE | F_SEAL_FUTURE_WRITE)

/* Bytes in one sendmsg(), with descriptors. Returns its result: a raw client may go too far. */
static inline ssize_t raw_try_send_fds(struct raw_client *c, const void *data, size_t len,
                                       const int *fds, unsigned n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *) (uintptr_t) data, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *cmsg;

    assert_true(n <= RAW_FDS_MAX);
    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
    }
    return sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static inline void raw_send_fds(struct raw_client *c, const void *data, size_t len, const int *fds,
                                unsigned n)
{
    assert_int_equal(raw_try_send_fds(c, data, len, fds, n), len);
}

/* A frame that says it has so many descriptors. */
static inline size_t raw_frame_fds(uint8_t *dst, size_t cap, enum verb verb, const void *message,
                                   unsigned fds)
{
    size_t len = raw_frame(dst, cap, verb, message);

    dst[FRAME_PREFIX_BYTES - 1] = (uint8_t) fds;
    return len;
}

/* A frame by the rules. */
static inline void raw_send_frame_fds(struct raw_client *c, enum verb verb, const void *message,
                                      const int *fds, unsigned n)
{
    uint8_t buf[1024];

    raw_send_fds(c, buf, raw_frame_fds(buf, sizeof(buf), verb, message, n), fds, n);
}

/* STATUS, and for which verb. */
static inline struct wire_status raw_expect_status(struct raw_client *c, enum verb verb,
                                                   enum bus_status code)
{
    union wire_any m;

    assert_int_equal(raw_next(c, &m), VERB_STATUS);
    assert_int_equal(m.status.verb, verb);
    assert_int_equal(m.status.code, code);
    return m.status;
}

/* A memfd of that size with these seals; ret_data, if it is not NULL, was mapped before them. */
static inline int memfd_sealed(size_t bytes, int seals, uint8_t **ret_data)
{
    int fd = memfd_create("bus-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t) bytes), 0);
    if (ret_data) {
        *ret_data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(*ret_data, MAP_FAILED);
    }
    if (seals) {
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    }
    return fd;
}
