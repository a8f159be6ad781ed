/* SPDX-License-Identifier: MIT */
/* The variables that say which sockets a service manager gives, and the sockets. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "activation.h"
#include "support/unit.h"

#define SELF 4711

static struct activation a;
static struct failure f;

static int parse(const char *pid, const char *fds, const char *names)
{
    memset(&a, 0x5A, sizeof(a));
    return activation_parse(&a, pid, fds, names, SELF, &f);
}

static void expect_refused(const char *pid, const char *fds, const char *names, const char *why)
{
    assert_int_equal(parse(pid, fds, names), -EINVAL);
    if (!strstr(f.text, why)) {
        fail_msg("'%s' is not in: %s", why, f.text);
    }
}

static void test_what_is_not_there_or_for_another_is_nothing(void **state)
{
    (void) state;
    assert_int_equal(parse(NULL, NULL, NULL), 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(parse("4711", NULL, "x"), 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(parse(NULL, "1", "x"), 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(parse("4712", "1", "x"), 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(parse("4712", "nonsense", "::"), 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(parse("4711", "0", ""), 0);
    assert_int_equal(a.n, 0);
}

static void test_numbers_and_names_are_read(void **state)
{
    (void) state;
    assert_int_equal(parse("4711", "2", NULL), 0);
    assert_int_equal(a.n, 2);
    assert_string_equal(a.names[0], "");
    assert_string_equal(a.names[1], "");
    assert_int_equal(parse("4711", "3", "public::bus-router.socket"), 0);
    assert_int_equal(a.n, 3);
    assert_string_equal(a.names[0], "public");
    assert_string_equal(a.names[1], "");
    assert_string_equal(a.names[2], "bus-router.socket");
    assert_int_equal(parse("4711", "1", ""), 0);
    assert_string_equal(a.names[0], "");
    assert_int_equal(parse("4711", "16", NULL), 0);
    assert_int_equal(a.n, ACTIVATION_MAX);
}

static void test_numbers_that_are_none_are_refused(void **state)
{
    (void) state;
    expect_refused("", "1", NULL, "LISTEN_PID");
    expect_refused("self", "1", NULL, "LISTEN_PID");
    expect_refused("+4711", "1", NULL, "LISTEN_PID");
    expect_refused("99999999999999999999999", "1", NULL, "LISTEN_PID");
    expect_refused("4711", "", NULL, "LISTEN_FDS");
    expect_refused("4711", "-1", NULL, "LISTEN_FDS");
    expect_refused("4711", "1 ", NULL, "LISTEN_FDS");
    expect_refused("4711", "17", NULL, "up to 16");
    expect_refused("4711", "18446744073709551617", NULL, "LISTEN_FDS");
}

static void test_too_few_too_many_and_bad_names_are_refused(void **state)
{
    char longest[LISTENER_NAME_BYTES], longer[LISTENER_NAME_BYTES + 1];

    (void) state;
    expect_refused("4711", "2", "one", "expected are 2 names");
    expect_refused("4711", "2", "one:two:three", "expected are 2 names");
    expect_refused("4711", "2", "one:two:", "expected are 2 names");
    expect_refused("4711", "1", "a b", "'a b' cannot be the name");
    expect_refused("4711", "1", "a\nb", "cannot be the name");
    expect_refused("4711", "1", "gr\xC3\xBCn", "cannot be the name");
    memset(longest, 'n', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    memset(longer, 'n', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(parse("4711", "1", longest), 0);
    assert_string_equal(a.names[0], longest);
    expect_refused("4711", "1", longer, "at most 63");
}

/* ---- the sockets ---- */

/* Each case is a process of its own, so the descriptors from 3 on are nobody's. */
static void put(int fd)
{
    if (fd != ACTIVATION_FIRST_FD) {
        assert_int_equal(dup2(fd, ACTIVATION_FIRST_FD), ACTIVATION_FIRST_FD);
        (void) close(fd);
    }
}

static int bound(int type, const char *path, bool is_abstract)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0);

    (void) snprintf(sun.sun_path + is_abstract, sizeof(sun.sun_path) - is_abstract, "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &sun,
                          (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1)),
                     0);
    return fd;
}

static int take(struct listener *l, size_t *n)
{
    char pid[16];

    (void) snprintf(pid, sizeof(pid), "%ld", (long) getpid());
    assert_int_equal(setenv("LISTEN_PID", pid, 1), 0);
    assert_int_equal(setenv("LISTEN_FDS", "1", 1), 0);
    assert_int_equal(setenv("LISTEN_FDNAMES", "door", 1), 0);
    assert_true(activation_is_there());
    return activation_take(l, n, &f);
}

static void test_a_listening_socket_becomes_a_listener(void **state)
{
    static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};
    static struct listener l[ACTIVATION_MAX];
    char dir[] = "/tmp/bus-test-XXXXXX", path[96];
    size_t n;

    (void) state;
    assert_non_null(mkdtemp(dir));
    (void) snprintf(path, sizeof(path), "%s/s", dir);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        int fd = bound(types[i], path, false);

        assert_int_equal(listen(fd, 1), 0);
        put(fd);
        assert_int_equal(take(l, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(listener_sock_type(&l[0]), types[i]);
        assert_string_equal(l[0].address.path, path);
        assert_false(l[0].address.abstract);
        assert_string_equal(l[0].name, "door");
        assert_true(l[0].is_given);
        assert_int_equal(fcntl(l[0].fd, F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(l[0].fd, F_GETFL) & O_NONBLOCK);
        assert_false(activation_is_there()); /* once */
        assert_null(getenv("LISTEN_FDS"));
        listener_close(&l[0]);
        assert_int_equal(unlink(path), 0); /* it is still there */
    }
    assert_int_equal(rmdir(dir), 0);
}

static void test_an_abstract_socket_becomes_a_listener(void **state)
{
    static struct listener l[ACTIVATION_MAX];
    char name[64];
    size_t n;
    int fd;

    (void) state;
    (void) snprintf(name, sizeof(name), "bus-test-activation-%ld", (long) getpid());
    fd = bound(SOCK_STREAM, name, true);
    assert_int_equal(listen(fd, 1), 0);
    put(fd);
    assert_int_equal(take(l, &n), 0);
    assert_true(l[0].address.abstract);
    assert_string_equal(l[0].address.path, name);
    listener_close(&l[0]);
}

static void expect_not_taken(int fd, const char *why)
{
    static struct listener l[ACTIVATION_MAX];
    size_t n = 7;

    put(fd);
    assert_true(take(l, &n) < 0);
    assert_int_equal(n, 0);
    if (!strstr(f.text, why)) {
        fail_msg("'%s' is not in: %s", why, f.text);
    }
    (void) close(ACTIVATION_FIRST_FD);
}

static void test_what_is_no_listening_unix_socket_is_refused(void **state)
{
    static const char odd[] = "odd\0name";
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char name[64];
    int fd;

    (void) state;
    expect_not_taken(open("/dev/null", O_RDONLY), "is not a Unix socket");
    expect_not_taken(socket(AF_INET, SOCK_STREAM, 0), "is not a Unix socket");
    expect_not_taken(socket(AF_UNIX, SOCK_DGRAM, 0), "is not a Unix socket");
    (void) snprintf(name, sizeof(name), "bus-test-activation-%ld", (long) getpid());
    expect_not_taken(bound(SOCK_STREAM, name, true), "does not listen");
    /* an address that is no text */
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    memcpy(sun.sun_path + 1, odd, sizeof(odd));
    assert_int_equal(bind(fd, (struct sockaddr *) &sun,
                          (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + sizeof(odd))),
                     0);
    assert_int_equal(listen(fd, 1), 0);
    expect_not_taken(fd, "has no address");
}

static void test_a_descriptor_that_is_not_there_is_refused(void **state)
{
    static struct listener l[ACTIVATION_MAX];
    size_t n;

    (void) state;
    (void) close(ACTIVATION_FIRST_FD);
    assert_int_equal(take(l, &n), -EBADF);
    assert_non_null(strstr(f.text, "descriptor 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_there_or_for_another_is_nothing),
        cmocka_unit_test(test_numbers_and_names_are_read),
        cmocka_unit_test(test_numbers_that_are_none_are_refused),
        cmocka_unit_test(test_too_few_too_many_and_bad_names_are_refused),
        cmocka_unit_test(test_a_listening_socket_becomes_a_listener),
        cmocka_unit_test(test_an_abstract_socket_becomes_a_listener),
        cmocka_unit_test(test_what_is_no_listening_unix_socket_is_refused),
        cmocka_unit_test(test_a_descriptor_that_is_not_there_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
