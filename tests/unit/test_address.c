/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/address.h"
#include "support/unit.h"

static void assert_parses(const char *text, enum address_type type, bool abstract, const char *path)
{
    struct address a;

    assert_int_equal(address_parse(text, &a), 0);
    assert_int_equal(a.type, type);
    assert_int_equal(a.abstract, abstract);
    assert_string_equal(a.path, path);
}

static void test_type_prefix_selects_the_socket_type(void **state)
{
    (void) state;
    assert_parses("seqpacket:/run/x", ADDRESS_SEQPACKET, false, "/run/x");
    assert_parses("stream:/run/x", ADDRESS_STREAM, false, "/run/x");
    assert_parses("/run/x", ADDRESS_ANY, false, "/run/x");
    assert_parses("relative", ADDRESS_ANY, false, "relative");
}

static void test_at_sign_is_an_abstract_name(void **state)
{
    (void) state;
    assert_parses("@name", ADDRESS_ANY, true, "name");
    assert_parses("stream:@a/b", ADDRESS_STREAM, true, "a/b");
    assert_parses("@name/", ADDRESS_ANY, true, "name/"); /* any byte is fine in a name */
    assert_parses("@@", ADDRESS_ANY, true, "@");
}

static void test_only_the_known_types_are_prefixes(void **state)
{
    (void) state;
    assert_parses("dgram:/x", ADDRESS_ANY, false, "dgram:/x");
    assert_parses("seqpacket:stream:/x", ADDRESS_SEQPACKET, false, "stream:/x");
}

static void test_empty_paths_and_directories_are_refused(void **state)
{
    static const char *const bad[] = {"",  "@",     "stream:",   "seqpacket:@",
                                      "/", "/run/", "stream:/a/"};
    struct address a;

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(address_parse(bad[i], &a), -EINVAL);
    }
}

static void test_abstract_names_have_at_most_106_bytes(void **state)
{
    char text[128];
    struct address a;

    (void) state;
    memset(text, 'x', sizeof(text));
    text[0] = '@';
    text[107] = 0;
    assert_int_equal(address_parse(text, &a), 0);
    text[107] = 'x';
    text[108] = 0;
    assert_int_equal(address_parse(text, &a), -ENAMETOOLONG);
}

static void test_paths_have_at_most_4095_bytes(void **state)
{
    static char text[ADDRESS_PATH_MAX + 2];
    static struct address a;

    (void) state;
    memset(text, 'x', ADDRESS_PATH_MAX);
    assert_int_equal(address_parse(text, &a), 0);
    text[ADDRESS_PATH_MAX] = 'x';
    assert_int_equal(address_parse(text, &a), -ENAMETOOLONG);
}

static void test_failure_leaves_the_result_alone(void **state)
{
    struct address a;

    (void) state;
    assert_int_equal(address_parse("stream:/x", &a), 0);
    assert_int_equal(address_parse("seqpacket:", &a), -EINVAL);
    assert_int_equal(a.type, ADDRESS_STREAM);
    assert_string_equal(a.path, "/x");
}

static void test_format_can_be_parsed_again(void **state)
{
    static const char *const texts[] = {"stream:/a", "seqpacket:/a", "stream:@n", "seqpacket:@n"};
    struct address a;
    char buf[64];

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(address_parse(texts[i], &a), 0);
        address_format(&a, buf, sizeof(buf));
        assert_string_equal(buf, texts[i]);
    }
}

static void test_format_of_a_bare_path_is_seqpacket_and_may_be_cut(void **state)
{
    struct address a;
    char buf[12];

    (void) state;
    assert_int_equal(address_parse("/run/bus.sock", &a), 0);
    address_format(&a, buf, sizeof(buf));
    assert_string_equal(buf, "seqpacket:/");
}

static int clear_env(void **state)
{
    (void) state;
    (void) unsetenv("BUS_ADDRESS");
    (void) unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

static void test_default_is_bus_address_before_all(void **state)
{
    struct address a;

    (void) state;
    (void) setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    (void) setenv("BUS_ADDRESS", "stream:@mine", 1);
    assert_int_equal(address_default(&a, ADDRESS_TO_CONNECT), 0);
    assert_int_equal(a.type, ADDRESS_STREAM);
    assert_string_equal(a.path, "mine");
    (void) setenv("BUS_ADDRESS", "stream:", 1);
    assert_int_equal(address_default(&a, ADDRESS_TO_CONNECT), -EINVAL);
}

static void test_default_is_in_the_runtime_directory(void **state)
{
    static char long_dir[ADDRESS_PATH_MAX + 1];
    struct address a;

    (void) state;
    (void) setenv("BUS_ADDRESS", "", 1); /* empty is as good as absent */
    (void) setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    assert_int_equal(address_default(&a, ADDRESS_TO_CONNECT), 0);
    assert_int_equal(a.type, ADDRESS_ANY);
    assert_string_equal(a.path, "/run/user/1/bus-router/bus.sock");
    memset(long_dir, '/', ADDRESS_PATH_MAX);
    (void) setenv("XDG_RUNTIME_DIR", long_dir, 1);
    assert_int_equal(address_default(&a, ADDRESS_TO_CONNECT), -ENAMETOOLONG);
}

/* Runs in a child that is certainly not root, with a user number of its own. */
static int as_user(unsigned uid, int (*fn)(void))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && seteuid(uid) < 0) {
            _exit(99);
        }
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define TEST_UID 54321u

static char user_dir[64];
static enum address_use default_use;

static unsigned test_uid(void)
{
    return geteuid() == 0 ? TEST_UID : (unsigned) geteuid();
}

static int default_of_user(void)
{
    char expected[128];
    struct address a;
    int r = address_default(&a, default_use);

    (void) snprintf(expected, sizeof(expected), "%s/bus.sock", user_dir);
    return r < 0 ? -r : strcmp(a.path, expected) != 0 ? 100 : 0;
}

static int root_ignores_a_relative_runtime_directory(void)
{
    struct address a;

    (void) setenv("XDG_RUNTIME_DIR", "relative", 1);
    return address_default(&a, ADDRESS_TO_LISTEN) || strstr(a.path, "relative");
}

static int make_user_dir(mode_t mode)
{
    if (mkdir(user_dir, 0700) < 0) {
        return -1;
    }
    return chmod(user_dir, mode) < 0 || (geteuid() == 0 && chown(user_dir, test_uid(), 0) < 0);
}

/* The name is fixed by the protocol. A user's own directory that is there already is left alone. */
static void test_default_under_tmp_must_be_private(void **state)
{
    char saved[96];
    struct stat st;
    bool existed;

    (void) state;
    (void) snprintf(user_dir, sizeof(user_dir), "/tmp/bus-router-%u", test_uid());
    (void) snprintf(saved, sizeof(saved), "%s.saved-%d", user_dir, (int) getpid());
    existed = rename(user_dir, saved) == 0;
    /* absent: nobody can listen there, and whoever makes it now is somebody else */
    default_use = ADDRESS_TO_CONNECT;
    assert_int_equal(as_user(test_uid(), default_of_user), ENOENT);
    assert_int_equal(rmdir(user_dir), -1);
    default_use = ADDRESS_TO_LISTEN;
    assert_int_equal(as_user(test_uid(), default_of_user), 0);
    assert_int_equal(lstat(user_dir, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(st.st_uid, test_uid());
    assert_int_equal(as_user(test_uid(), default_of_user), 0);
    assert_int_equal(rmdir(user_dir), 0);
    default_use = ADDRESS_TO_CONNECT;
    assert_int_equal(make_user_dir(0700), 0);
    assert_int_equal(as_user(test_uid(), default_of_user), 0);
    assert_int_equal(chmod(user_dir, 0755), 0);
    assert_int_equal(as_user(test_uid(), default_of_user), EPERM);
    assert_int_equal(rmdir(user_dir), 0);
    assert_int_equal(symlink("/tmp", user_dir), 0);
    assert_int_equal(as_user(test_uid(), default_of_user), EPERM);
    assert_int_equal(unlink(user_dir), 0);
    if (geteuid() == 0) { /* owned by somebody else */
        assert_int_equal(mkdir(user_dir, 0700), 0);
        assert_int_equal(as_user(test_uid(), default_of_user), EPERM);
        assert_int_equal(rmdir(user_dir), 0);
    }
    if (existed) {
        assert_int_equal(rename(saved, user_dir), 0);
    }
}

static void test_default_of_root_is_under_run(void **state)
{
    struct address a;

    (void) state;
    assert_int_equal(root_ignores_a_relative_runtime_directory(), 0);
    assert_int_equal(address_default(&a, ADDRESS_TO_LISTEN), 0);
    assert_string_equal(a.path, geteuid() == 0 ? "/run/bus-router/bus.sock" : a.path);
}

#define WITH_ENV(name) cmocka_unit_test_setup(test_##name, clear_env)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type_prefix_selects_the_socket_type),
        cmocka_unit_test(test_at_sign_is_an_abstract_name),
        cmocka_unit_test(test_only_the_known_types_are_prefixes),
        cmocka_unit_test(test_empty_paths_and_directories_are_refused),
        cmocka_unit_test(test_abstract_names_have_at_most_106_bytes),
        cmocka_unit_test(test_paths_have_at_most_4095_bytes),
        cmocka_unit_test(test_failure_leaves_the_result_alone),
        cmocka_unit_test(test_format_can_be_parsed_again),
        cmocka_unit_test(test_format_of_a_bare_path_is_seqpacket_and_may_be_cut),
        WITH_ENV(default_is_bus_address_before_all),
        WITH_ENV(default_is_in_the_runtime_directory),
        WITH_ENV(default_under_tmp_must_be_private),
        WITH_ENV(default_of_root_is_under_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
