/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sock.h"
#include "support/unit.h"

static char tmp[64];

static int setup(void **state)
{
    (void) state;
    (void) snprintf(tmp, sizeof(tmp), "/tmp/bus-test-sock-XXXXXX");
    return mkdtemp(tmp) == NULL;
}

static int teardown(void **state)
{
    char command[128];

    (void) state;
    (void) snprintf(command, sizeof(command), "rm -rf '%s'", tmp);
    return system(command);
}

static struct address address(const char *format, const char *path)
{
    char text[ADDRESS_PATH_MAX + 32];
    struct address a;

    (void) snprintf(text, sizeof(text), "%s%s", format, path);
    assert_int_equal(address_parse(text, &a), 0);
    return a;
}

static int listen_at(const struct address *a, int type, int backlog)
{
    struct sock_name name;
    int fd = sock_new(type);

    assert_true(fd >= 0);
    assert_int_equal(sock_name_init(&name, a), 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &name.sun, name.bytes), 0);
    sock_name_fini(&name);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static int socket_type(int fd)
{
    int type = 0;
    socklen_t bytes = sizeof(type);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes), 0);
    return type;
}

static void assert_connects(const char *prefix, const char *path, int listen_type)
{
    struct address a = address(prefix, path);
    AUTO_CLOSE int listener = listen_at(&a, listen_type, 4);
    AUTO_CLOSE int fd = -1;
    int type = 0;

    fd = sock_connect(&a, &type);
    assert_true(fd >= 0);
    assert_int_equal(type, listen_type);
    assert_int_equal(socket_type(fd), listen_type);
}

static const char *in_tmp(const char *name)
{
    static char path[256];

    (void) snprintf(path, sizeof(path), "%s/%s", tmp, name);
    return path;
}

static void test_both_types_connect_by_path(void **state)
{
    (void) state;
    assert_connects("seqpacket:", in_tmp("a"), SOCK_SEQPACKET);
    assert_connects("stream:", in_tmp("b"), SOCK_STREAM);
}

static void test_bare_path_finds_either_type(void **state)
{
    (void) state;
    assert_connects("", in_tmp("a"), SOCK_SEQPACKET);
    assert_connects("", in_tmp("b"), SOCK_STREAM);
}

static void test_wrong_type_is_eprototype(void **state)
{
    struct address a = address("stream:", in_tmp("a"));
    AUTO_CLOSE int listener = listen_at(&a, SOCK_SEQPACKET, 4);
    int type = 77;

    (void) state;
    assert_int_equal(sock_connect(&a, &type), -EPROTOTYPE);
    assert_int_equal(type, 77);
    a = address("seqpacket:", in_tmp("c"));
    assert_true(listener >= 0);
}

static void test_abstract_names_connect(void **state)
{
    char name[110];

    (void) state;
    (void) snprintf(name, sizeof(name), "@bus-test-%d", (int) getpid());
    assert_connects("seqpacket:", name, SOCK_SEQPACKET);
    assert_connects("", name, SOCK_STREAM);
    while (strlen(name) < 107) {
        (void) strcat(name, "x");
    }
    assert_connects("stream:", name, SOCK_STREAM);
}

static void test_abstract_name_ends_with_its_text(void **state)
{
    struct address a = address("", "@abc");
    struct sock_name name;

    (void) state;
    assert_int_equal(sock_name_init(&name, &a), 0);
    assert_int_equal(name.bytes, offsetof(struct sockaddr_un, sun_path) + 4);
    assert_memory_equal(name.sun.sun_path, "\0abc", 4);
    assert_int_equal(name.dir_fd, -1);
}

/* A directory whose path is much longer than a socket address can hold. */
static void make_long_dir(char *path, size_t bytes)
{
    size_t len = (size_t) snprintf(path, bytes, "%s", tmp);

    for (int i = 0; i < 5; i++) {
        len += (size_t) snprintf(path + len, bytes - len, "/%050d", i);
        assert_int_equal(mkdir(path, 0700), 0);
    }
}

static void test_long_paths_are_reached_through_their_directory(void **state)
{
    char path[512], full[600];

    (void) state;
    make_long_dir(path, sizeof(path));
    (void) snprintf(full, sizeof(full), "%s/bus.sock", path);
    assert_connects("seqpacket:", full, SOCK_SEQPACKET);
    (void) snprintf(full, sizeof(full), "%s/other", path);
    assert_connects("", full, SOCK_STREAM);
}

static void test_path_of_107_bytes_needs_no_directory(void **state)
{
    char path[128];
    struct sock_name name;
    struct address a;

    (void) state;
    memset(path, 'x', sizeof(path));
    path[107] = 0;
    a = address("", path);
    assert_int_equal(sock_name_init(&name, &a), 0);
    assert_int_equal(name.dir_fd, -1);
    path[107] = 'x';
    path[108] = 0;
    a = address("", path); /* relative: the directory is "." and the component too long */
    assert_int_equal(sock_name_init(&name, &a), -ENAMETOOLONG);
    assert_int_equal(name.dir_fd, -1);
}

static void test_long_last_component_is_enametoolong_and_leaks_nothing(void **state)
{
    char path[256];
    struct sock_name name;
    struct address a;
    int type, before = dup(0);

    (void) state;
    (void) close(before);
    (void) snprintf(path, sizeof(path), "%s/%0100d", tmp, 1);
    a = address("", path);
    assert_int_equal(sock_name_init(&name, &a), -ENAMETOOLONG);
    assert_int_equal(sock_connect(&a, &type), -ENAMETOOLONG);
    assert_int_equal(dup(0), before); /* the lowest free descriptor is the same */
    (void) close(before);
}

static void test_long_path_of_a_missing_directory_is_enoent(void **state)
{
    char path[256];
    struct sock_name name;
    struct address a;

    (void) state;
    (void) snprintf(path, sizeof(path), "%s/%0120d/bus.sock", tmp, 1);
    a = address("", path);
    assert_int_equal(sock_name_init(&name, &a), -ENOENT);
}

static void test_long_component_in_the_root_directory(void **state)
{
    char path[128] = "/";
    struct sock_name name;
    struct address a;

    (void) state;
    memset(path + 1, 'x', 110);
    a = address("", path);
    assert_int_equal(sock_name_init(&name, &a), -ENAMETOOLONG);
}

static void test_nobody_there_is_enoent_or_econnrefused(void **state)
{
    struct address a = address("", in_tmp("none"));
    int type;

    (void) state;
    assert_int_equal(sock_connect(&a, &type), -ENOENT);
    a = address("seqpacket:", in_tmp("dead"));
    (void) close(listen_at(&a, SOCK_SEQPACKET, 4));
    assert_int_equal(sock_connect(&a, &type), -ECONNREFUSED);
}

static void test_full_backlog_is_eagain_at_once(void **state)
{
    struct address a = address("seqpacket:", in_tmp("full"));
    AUTO_CLOSE int listener = listen_at(&a, SOCK_SEQPACKET, 0);
    int fds[8], n = 0, type, r = 0;

    (void) state;
    while (n < 8 && (r = sock_connect(&a, &type)) >= 0) {
        fds[n++] = r;
    }
    assert_int_equal(r, -EAGAIN);
    while (n > 0) {
        (void) close(fds[--n]);
    }
    assert_true(listener >= 0);
}

/* Who stands in line gets in when there is room. */
static void test_full_backlog_can_be_waited_for(void **state)
{
    struct address a = address("seqpacket:", in_tmp("line"));
    AUTO_CLOSE int listener = listen_at(&a, SOCK_SEQPACKET, 0);
    int type, r, accepted;
    pid_t pid;

    (void) state;
    while ((r = sock_connect_within(&a, 1, &type)) >= 0) {
        (void) close(r); /* it keeps its place */
    }
    assert_int_equal(r, -EAGAIN);
    pid = fork();
    if (pid == 0) {
        int fd = sock_connect_within(&a, 60000, &type);

        _exit(fd >= 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) ? 0 : 1);
    }
    do { /* those who were first, and then the one that waits or has come meanwhile */
        accepted = accept(listener, NULL, NULL);
        assert_true(accepted >= 0 || errno == EAGAIN);
        (void) (accepted >= 0 && close(accepted));
    } while (waitpid(pid, &r, WNOHANG) == 0);
    assert_int_equal(r, 0);
}

static void test_descriptors_are_cloexec_and_nonblocking(void **state)
{
    AUTO_CLOSE int fd = sock_new(SOCK_STREAM);

    (void) state;
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(sock_new(12345), -EINVAL);
}

static void test_creds_are_those_of_this_process(void **state)
{
    struct address a = address("", in_tmp("a"));
    AUTO_CLOSE int listener = listen_at(&a, SOCK_SEQPACKET, 4);
    int type;
    AUTO_CLOSE int fd = sock_connect(&a, &type);
    AUTO_CLOSE int accepted = accept(listener, NULL, NULL);
    struct creds creds;

    (void) state;
    assert_true(accepted >= 0);
    assert_int_equal(sock_peer_creds(accepted, &creds), 0);
    assert_int_equal(creds.uid, geteuid());
    assert_int_equal(creds.gid, getegid());
    assert_int_equal(creds.pid, getpid());
    assert_int_equal(sock_peer_creds(fd, &creds), 0);
    assert_int_equal(creds.pid, getpid());
    assert_int_equal(sock_peer_creds(-1, &creds), -EBADF);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(both_types_connect_by_path),
        CASE(bare_path_finds_either_type),
        CASE(wrong_type_is_eprototype),
        CASE(abstract_names_connect),
        CASE(abstract_name_ends_with_its_text),
        CASE(long_paths_are_reached_through_their_directory),
        CASE(path_of_107_bytes_needs_no_directory),
        CASE(long_last_component_is_enametoolong_and_leaks_nothing),
        CASE(long_path_of_a_missing_directory_is_enoent),
        CASE(long_component_in_the_root_directory),
        CASE(nobody_there_is_enoent_or_econnrefused),
        CASE(full_backlog_is_eagain_at_once),
        CASE(full_backlog_can_be_waited_for),
        CASE(descriptors_are_cloexec_and_nonblocking),
        CASE(creds_are_those_of_this_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
