/* SPDX-License-Identifier: MIT */
/* Who is on the other side: supplementary groups and labels, of real processes. */
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sock.h"
#include "support/failmalloc.h"
#include "support/unit.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

#define GROUPS_MAX 65536u /* the kernel's NGROUPS_MAX */

/* What a process has, and what another one reads of it. */
struct peer {
    int fd; /* of the connection, on the side that is asked who connected */
    pid_t pid;
    int hold; /* the child lives until this is closed */
};

static void child_connect(const struct address *a, const gid_t *groups, size_t n, int hold)
{
    int type;
    char byte;

    if (setgroups(n, groups) < 0 || sock_connect(a, &type) < 0) {
        _exit(1);
    }
    (void) !read(hold, &byte, 1);
    _exit(0);
}

/* A child with these groups connects. */
static struct peer peer_begin(int type, const gid_t *groups, size_t n)
{
    struct address a = {.type = type == SOCK_STREAM ? ADDRESS_STREAM : ADDRESS_SEQPACKET,
                        .abstract = true};
    AUTO_CLOSE int listener = sock_new(type);
    struct sock_name name;
    struct peer p;
    int pair[2];

    (void) snprintf(a.path, sizeof(a.path), "bus-test-peer-%d", (int) getpid());
    assert_int_equal(sock_name_init(&name, &a), 0);
    assert_int_equal(bind(listener, (struct sockaddr *) &name.sun, name.bytes), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(pipe(pair), 0);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        (void) close(pair[1]);
        child_connect(&a, groups, n, pair[0]);
    }
    (void) close(pair[0]);
    p.hold = pair[1];
    do {
        p.fd = accept(listener, NULL, NULL);
    } while (p.fd < 0 && errno == EAGAIN && waitpid(p.pid, NULL, WNOHANG) == 0);
    assert_true(p.fd >= 0);
    return p;
}

static void peer_end(struct peer *p)
{
    int status;

    (void) close(p->hold);
    (void) close(p->fd);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_int_equal(status, 0);
}

/* Only root may choose the groups of a process. */
static void need_root(void)
{
    if (geteuid() != 0) {
        (void) fprintf(stderr, "NOT RUN: setgroups(2) needs root\n");
        skip();
    }
}

/* The kernel keeps them in order. */
static void assert_groups(int type, size_t n)
{
    AUTO_FREE gid_t *want = calloc(n + 1, sizeof(*want));
    AUTO_FREE gid_t *got = NULL;
    struct peer p;
    size_t n_got = 77;

    for (size_t i = 0; i < n; i++) {
        want[i] = (gid_t) (1000 + 3 * i);
    }
    p = peer_begin(type, want, n);
    assert_int_equal(sock_peer_groups(p.fd, GROUPS_MAX, &got, &n_got), 0);
    assert_int_equal(n_got, n);
    assert_true(n > 0 ? got != NULL : got == NULL);
    if (n > 0) {
        gid_t *none = NULL;

        assert_memory_equal(got, want, n * sizeof(*want));
        assert_int_equal(sock_peer_groups(p.fd, n - 1, &none, &n_got), -E2BIG);
        assert_null(none);
    }
    peer_end(&p);
}

static void test_supplementary_groups_of_another_process(void **state)
{
    (void) state;
    need_root();
    assert_groups(SOCK_SEQPACKET, 3);
    assert_groups(SOCK_STREAM, 3);
}

static void test_no_groups_at_all(void **state)
{
    (void) state;
    need_root();
    assert_groups(SOCK_SEQPACKET, 0);
}

static void test_as_many_as_the_kernel_allows(void **state)
{
    (void) state;
    need_root();
    assert_groups(SOCK_SEQPACKET, 64);
    assert_groups(SOCK_SEQPACKET, 65);
    assert_groups(SOCK_STREAM, GROUPS_MAX);
}

/* What it was when it connected. */
static void test_own_groups_without_root(void **state)
{
    gid_t want[1024];
    AUTO_FREE gid_t *got = NULL;
    int n = getgroups(1024, want);
    size_t n_got;
    int pair[2];

    (void) state;
    assert_true(n >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(sock_peer_groups(pair[0], GROUPS_MAX, &got, &n_got), 0);
    assert_int_equal(n_got, n);
    assert_true(n == 0 || memcmp(got, want, n_got * sizeof(*got)) == 0);
    (void) close(pair[0]);
    (void) close(pair[1]);
}

static void test_of_no_socket_is_an_error(void **state)
{
    gid_t *groups = (gid_t *) 1;
    char *label = (char *) 1;
    size_t n = 77;

    (void) state;
    assert_int_equal(sock_peer_groups(-1, GROUPS_MAX, &groups, &n), -EBADF);
    assert_int_equal(sock_peer_label(-1, &label), -EBADF);
    assert_ptr_equal(groups, (gid_t *) 1);
    assert_ptr_equal(label, (char *) 1);
    assert_int_equal(n, 77);
}

static void test_of_nobody_is_nothing(void **state)
{
    AUTO_CLOSE int fd = sock_new(SOCK_STREAM);
    gid_t *groups = (gid_t *) 1;
    size_t n = 77;

    (void) state;
    assert_int_equal(sock_peer_groups(fd, GROUPS_MAX, &groups, &n), 0);
    assert_null(groups);
    assert_int_equal(n, 0);
}

/* What a security module says is what it says of that process itself. */
static void test_label_is_the_kernels(void **state)
{
    char want[4096] = "";
    AUTO_FREE char *label = NULL;
    socklen_t bytes = sizeof(want) - 1;
    int pair[2];

    (void) state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (getsockopt(pair[0], SOL_SOCKET, SO_PEERSEC, want, &bytes) < 0) {
        want[0] = '\0';
    }
    assert_int_equal(sock_peer_label(pair[0], &label), 0);
    assert_string_equal(label ? label : "", want);
    assert_true(!label || *label);
    (void) close(pair[0]);
    (void) close(pair[1]);
}

/* ---- kernels of another kind ---- */

/* From now on getsockopt(2) of that option fails, in this process. */
static void forbid_option(int option, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned) option, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        _exit(77);
    }
}

static int in_child(int option, int error)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        gid_t *groups = (gid_t *) 1;
        char *label = (char *) 1;
        size_t n = 77;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
            _exit(1);
        }
        forbid_option(option, error);
        if (option == SO_PEERGROUPS) {
            r = sock_peer_groups(pair[0], GROUPS_MAX, &groups, &n);
            _exit(r == 0 ? (!groups && n == 0 ? 0 : 1) : r == -error ? 2 : 1);
        }
        r = sock_peer_label(pair[0], &label);
        _exit(r == 0 ? (!label ? 0 : 1) : r == -error ? 2 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_kernel_that_does_not_know_says_nothing(void **state)
{
    (void) state;
    if (in_child(SO_PEERGROUPS, ENOPROTOOPT) == 77) {
        (void) fprintf(stderr, "NOT RUN: no seccomp(2) here\n");
        skip();
    }
    assert_int_equal(in_child(SO_PEERGROUPS, ENOPROTOOPT), 0);
    assert_int_equal(in_child(SO_PEERGROUPS, EINVAL), 0);
    assert_int_equal(in_child(SO_PEERSEC, ENOPROTOOPT), 0);
    assert_int_equal(in_child(SO_PEERGROUPS, EFAULT), 2); /* that is no answer */
    assert_int_equal(in_child(SO_PEERSEC, EACCES), 2);
}

static void test_failing_allocations(void **state)
{
    int pair[2];

    (void) state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    FOR_EACH_FAILING_MALLOC (n) {
        gid_t *groups = NULL;
        char *label = NULL;
        size_t n_groups;
        int r = sock_peer_groups(pair[0], GROUPS_MAX, &groups, &n_groups);

        r = r < 0 ? r : sock_peer_label(pair[0], &label);
        assert_int_equal(r, failmalloc_has_failed() ? -ENOMEM : 0);
        free(groups);
        free(label);
    }
    (void) close(pair[0]);
    (void) close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_supplementary_groups_of_another_process),
        cmocka_unit_test(test_no_groups_at_all),
        cmocka_unit_test(test_as_many_as_the_kernel_allows),
        cmocka_unit_test(test_own_groups_without_root),
        cmocka_unit_test(test_of_no_socket_is_an_error),
        cmocka_unit_test(test_of_nobody_is_nothing),
        cmocka_unit_test(test_label_is_the_kernels),
        cmocka_unit_test(test_a_kernel_that_does_not_know_says_nothing),
        cmocka_unit_test(test_failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
