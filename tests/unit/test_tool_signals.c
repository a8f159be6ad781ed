/* SPDX-License-Identifier: MIT */
/* A tool that writes to somebody who does not read ends when it is told to, at whatever moment the
 * signal comes. */
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "client/names.h"
#include "support/unit.h"

/* The signal comes between the last look and the system call, which blocks. */
static ssize_t writev_after_signal(int fd, const struct iovec *iov, int n)
{
    assert_int_equal(raise(SIGTERM), 0);
    return writev(fd, iov, n);
}

#define writev writev_after_signal
#include "../../tools/common.c"
#include "../../tools/sub_out.c"
#undef writev

static void fill_pipe(int fd)
{
    static const char some[4096];

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, some, sizeof(some)) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

/* In a process of its own, for it changes what signals do. */
static int write_to_nobody(int fd)
{
    struct out out;

    if (!tool_catch_signals() || !out_init(&out, fd)) {
        return 1;
    }
    out_bytes(&out, "x", 1);
    out_flush(&out);
    out_fini(&out);
    return out.error == EINTR && tool_interrupted() ? 0 : 1;
}

static void test_signal_just_before_a_write_that_blocks(void **state)
{
    int fds[2], status;
    pid_t pid;

    (void) state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fill_pipe(fds[1]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(write_to_nobody(fds[1]));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(close(fds[0]) | close(fds[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signal_just_before_a_write_that_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
