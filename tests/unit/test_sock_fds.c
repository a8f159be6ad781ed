/* SPDX-License-Identifier: MIT */
/* Bytes with descriptors over both types of link: nothing is lost without a word, nothing leaks. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/sock.h"
#include "support/failmalloc.h"
#include "support/fds.h"

static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};

static void pair(int type, int ret[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret), 0);
}

static void unpair(const int fds[2])
{
    (void) close(fds[0]);
    (void) close(fds[1]);
}

static struct parcel *parcel_of(unsigned n)
{
    int fds[PARCEL_FDS_MAX];
    struct parcel *p;

    for (unsigned i = 0; i < n; i++) {
        fds[i] = fd_any();
    }
    p = parcel_new(fds, n, sock_close_fd);
    assert_non_null(p);
    return p;
}

static ssize_t receive(int fd, void *buf, size_t bytes, struct sock_received *ret)
{
    struct iovec iov = {buf, bytes};

    return sock_receive(fd, &iov, 1, MSG_DONTWAIT, ret);
}

static void test_every_number_of_descriptors_arrives(void **state)
{
    (void) state;
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        for (unsigned n = 0; n <= PARCEL_FDS_MAX; n++) {
            unsigned before = fds_open();
            struct parcel *p = parcel_of(n);
            struct iovec iov[2] = {{"ab", 2}, {"c", 1}};
            struct sock_received in;
            struct stat sent, got;
            char buf[8];
            int s[2];

            pair(types[t], s);
            assert_int_equal(sock_send(s[0], iov, 2, p), 3);
            assert_int_equal(receive(s[1], buf, sizeof(buf), &in), 3);
            assert_memory_equal(buf, "abc", 3);
            assert_int_equal(in.parcel ? in.parcel->n : 0, n);
            for (unsigned i = 0; i < n; i++) {
                assert_int_equal(fstat(p->fds[i], &sent), 0);
                assert_int_equal(fstat(in.parcel->fds[i], &got), 0);
                assert_true(sent.st_ino == got.st_ino && sent.st_dev == got.st_dev);
                assert_int_not_equal(p->fds[i], in.parcel->fds[i]);
                assert_int_equal(fcntl(in.parcel->fds[i], F_GETFD), FD_CLOEXEC);
            }
            assert_true(n == 0 || !in.parcel->truncated);
            parcel_unref(in.parcel);
            parcel_unref(p);
            unpair(s);
            assert_int_equal(fds_open(), before);
        }
    }
}

static void test_no_parcel_is_no_descriptors(void **state)
{
    struct iovec iov = {"ab", 2};
    struct sock_received in;
    char buf[8];
    int s[2];

    (void) state;
    pair(SOCK_SEQPACKET, s);
    assert_int_equal(sock_send(s[0], &iov, 1, NULL), 2);
    assert_int_equal(receive(s[1], buf, 1, &in), 1);
    assert_null(in.parcel);
    assert_true(in.flags & MSG_TRUNC);
    assert_int_equal(receive(s[1], buf, 1, &in), -EAGAIN);
    assert_null(in.parcel);
    (void) close(s[0]);
    assert_int_equal(receive(s[1], buf, 1, &in), 0);
    (void) close(s[1]);
}

static void test_errors_of_sending(void **state)
{
    static char big[1 << 20];
    struct iovec iov = {big, sizeof(big)};
    struct parcel *p = parcel_of(1);
    int s[2];

    (void) state;
    pair(SOCK_STREAM, s);
    while (sock_send(s[0], &iov, 1, p) > 0) {
        continue;
    }
    assert_int_equal(sock_send(s[0], &iov, 1, p), -EAGAIN);
    (void) close(s[1]);
    assert_int_equal(sock_send(s[0], &iov, 1, p), -EPIPE);
    (void) close(s[0]);
    assert_int_equal(fcntl(p->fds[0], F_GETFD), FD_CLOEXEC); /* they stay the sender's */
    parcel_unref(p);
}

/* The limit with which so many more descriptors can be opened. */
static rlim_t limit_for(unsigned room)
{
    int fd = 0;

    for (unsigned n = 0;; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && n++ == room) {
            return (rlim_t) fd;
        }
    }
}

/* The table of descriptors is full: what did not fit is missed, and it is said. */
static void test_a_full_table_truncates(void **state)
{
    struct rlimit old, few;

    (void) state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        for (unsigned room = 0; room < 4; room++) {
            unsigned before = fds_open();
            struct parcel *p = parcel_of(3);
            struct iovec iov = {"a", 1};
            struct sock_received in;
            int s[2];
            char buf[8];

            pair(types[t], s);
            assert_int_equal(sock_send(s[0], &iov, 1, p), 1);
            few = old;
            few.rlim_cur = limit_for(room);
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
            assert_int_equal(receive(s[1], buf, sizeof(buf), &in), 1);
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
            assert_int_equal(buf[0], 'a');
            assert_non_null(in.parcel); /* also if it is empty: a frame is going to ask for it */
            assert_int_equal(in.parcel->n, MIN(room, 3u));
            assert_int_equal(in.parcel->truncated, room < 3);
            parcel_unref(in.parcel);
            parcel_unref(p);
            unpair(s);
            assert_int_equal(fds_open(), before);
        }
    }
}

static void test_without_memory_nothing_leaks(void **state)
{
    (void) state;
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        unsigned before = fds_open();
        struct parcel *p = parcel_of(5);
        struct iovec iov = {"a", 1};
        struct sock_received in;
        char buf[8];
        int s[2];

        pair(types[t], s);
        assert_int_equal(sock_send(s[0], &iov, 1, p), 1);
        failmalloc_arm(1);
        assert_int_equal(receive(s[1], buf, sizeof(buf), &in), -ENOMEM);
        assert_int_equal(failmalloc_disarm(), 1);
        assert_null(in.parcel);
        parcel_unref(p);
        unpair(s);
        assert_int_equal(fds_open(), before);
    }
}

/* On a stream the batch comes with the first byte of its frame, whatever is read at once; two
 * batches never come together. */
static void test_batches_on_a_stream_come_one_by_one(void **state)
{
    struct iovec plain = {"....", 4}, first = {"AAAA", 4}, second = {"BBBB", 4};
    struct parcel *one = parcel_of(1), *two = parcel_of(2);
    unsigned n_batches = 0, sizes[2] = {0};
    struct sock_received in;
    size_t total = 0;
    char buf[64];
    int s[2];

    (void) state;
    pair(SOCK_STREAM, s);
    assert_int_equal(sock_send(s[0], &plain, 1, NULL), 4);
    assert_int_equal(sock_send(s[0], &first, 1, one), 4);
    assert_int_equal(sock_send(s[0], &plain, 1, NULL), 4);
    assert_int_equal(sock_send(s[0], &second, 1, two), 4);
    assert_int_equal(sock_send(s[0], &plain, 1, NULL), 4);
    while (total < 20) {
        ssize_t n = receive(s[1], buf, sizeof(buf), &in);

        assert_true(n > 0);
        if (in.parcel) {
            assert_non_null(memchr(buf, n_batches == 0 ? 'A' : 'B', (size_t) n));
            sizes[n_batches++] = in.parcel->n;
        }
        total += (size_t) n;
        parcel_unref(in.parcel);
    }
    assert_int_equal(n_batches, 2);
    assert_int_equal(sizes[0], 1);
    assert_int_equal(sizes[1], 2);
    parcel_unref(one);
    parcel_unref(two);
    unpair(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_of_descriptors_arrives),
        cmocka_unit_test(test_no_parcel_is_no_descriptors),
        cmocka_unit_test(test_errors_of_sending),
        cmocka_unit_test(test_a_full_table_truncates),
        cmocka_unit_test(test_without_memory_nothing_leaks),
        cmocka_unit_test(test_batches_on_a_stream_come_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
