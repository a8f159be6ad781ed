/* SPDX-License-Identifier: MIT */
/* Which configuration files there are, and in which order they count. */
#include <fcntl.h>
#include "config.h"
#include "support/config_dir.h"

static const char *const check[] = {"--check", NULL};

static void assert_files(const struct config_dir *d, const char *const *names)
{
    char path[256];

    for (size_t i = 0; i < d->options.n_files; i++) {
        assert_non_null(names[i]);
        (void) snprintf(path, sizeof(path), "%s/%s", d->path, names[i]);
        assert_string_equal(d->options.files[i], path);
    }
    assert_null(names[d->options.n_files]);
}

static void test_drop_ins_are_read_in_the_order_of_their_bytes(void **state)
{
    const char *const names[] = {"c",          "c.d/10-b.conf", "c.d/9-a.conf",
                                 "c.d/B.conf", "c.d/a.conf",    NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_folder(&d);
    config_dir_write(&d, "c", "spin = 1; linger = 100; listen = \"/0\";");
    config_dir_write(&d, "c.d/a.conf", "spin = 5; listen = \"/4\";");
    config_dir_write(&d, "c.d/9-a.conf", "spin = 3; clients_max = 9; listen = \"/2\";");
    config_dir_write(&d, "c.d/10-b.conf", "spin = 2; clients_max = 10; listen = \"/1\";");
    config_dir_write(&d, "c.d/B.conf", "spin = 4; listen = \"/3\";");
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    assert_files(&d, names);
    assert_int_equal(d.options.spin_us, 5);
    assert_int_equal(d.options.limits.clients_max, 9);
    assert_int_equal(d.options.limits.linger_ms, 100);
    assert_int_equal(d.options.n_listens, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(d.options.listens[i].address.path[1], '0' + i);
    }
    config_dir_close(&d);
}

static void test_what_is_no_drop_in_is_not_read(void **state)
{
    static const char *const others[] = {
        "c.d/.a.conf", "c.d/a.conf~",         "c.d/#a.conf#",       "c.d/.#a.conf",
        "c.d/a.con",   "c.d/a.conf.dpkg-new", "c.d/a.conf.rpmsave", "c.d/.conf",
    };
    const char *const names[] = {"c", NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_folder(&d);
    config_dir_write(&d, "c", "");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        config_dir_write(&d, others[i], "this is no configuration");
    }
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    assert_files(&d, names);
    assert_string_equal(d.said, "");
    config_dir_close(&d);
}

static void test_empty_files_are_fine(void **state)
{
    const char *const names[] = {"c", "c.d/a.conf", NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_folder(&d);
    config_dir_write(&d, "c", "");
    config_dir_write(&d, "c.d/a.conf", "# nothing\n");
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    assert_files(&d, names);
    config_dir_close(&d);
}

static void test_errors_in_drop_ins_have_their_names(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_folder(&d);
    config_dir_write(&d, "c", "spin = 5;");
    config_dir_write(&d, "c.d/a.conf", "spin = ;");
    config_dir_write(&d, "c.d/b.conf", "\nsoap = 1;");
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_int_equal(d.report.n_errors, 2);
    assert_non_null(strstr(d.said, "/c.d/a.conf:1:8: "));
    assert_non_null(strstr(d.said, "/c.d/b.conf:2:1: "));
    config_dir_close(&d);
}

static void test_a_file_that_is_named_must_be_there(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_non_null(strstr(d.said, "/c: cannot read it: No such file"));
    config_dir_close(&d);
}

/* Also for root, whom no mode keeps out. */
static void test_what_cannot_be_read_is_an_error(void **state)
{
    struct config_dir d;
    char path[256];

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "");
    config_dir_folder(&d);
    (void) snprintf(path, sizeof(path), "%s/c.d/a.conf", d.path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_non_null(strstr(d.said, "/c.d/a.conf: cannot read it: Is a directory"));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_non_null(strstr(d.said, "/c.d/a.conf: cannot read it: No such file"));
    config_dir_close(&d);
}

static void test_a_folder_that_is_none_is_an_error(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "");
    config_dir_write(&d, "c.d", "");
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_non_null(strstr(d.said, "/c.d: cannot read it: Not a directory"));
    config_dir_close(&d);
}

/* Nobody writes into it: whoever opens it without care waits for ever. */
static void test_a_pipe_does_not_hang(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(mkfifo(d.file, 0600), 0);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    config_dir_close(&d);
}

static void test_too_many_drop_ins_are_an_error(void **state)
{
    struct config_dir d;
    char name[32];

    (void) state;
    config_dir_open(&d);
    config_dir_folder(&d);
    config_dir_write(&d, "c", "");
    for (unsigned i = 0; i <= CONFIG_FILES_MAX; i++) {
        (void) snprintf(name, sizeof(name), "c.d/%u.conf", i);
        config_dir_write(&d, name, "");
    }
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_INVALID);
    assert_non_null(strstr(d.said, "/c.d: more than 256 files"));
    config_dir_close(&d);
}

static void test_who_else_can_write_a_file_is_said(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "");
    assert_int_equal(chmod(d.file, 0664), 0);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    assert_int_equal(d.report.n_warnings, 1);
    assert_non_null(strstr(d.said, "warning: "));
    assert_non_null(strstr(d.said, "/c: others than its owner can write it"));
    assert_int_equal(chmod(d.file, 0644), 0);
    assert_int_equal(config_dir_parse(&d, check), OPTIONS_RUN);
    assert_int_equal(d.report.n_warnings, 0);
    config_dir_close(&d);
}

static void test_no_config_reads_nothing(void **state)
{
    const char *const flags[] = {"--check", "--no-config", NULL};
    const char *const names[] = {NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "this is no configuration");
    assert_int_equal(config_dir_parse(&d, flags), OPTIONS_RUN);
    assert_files(&d, names);
    config_dir_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drop_ins_are_read_in_the_order_of_their_bytes),
        cmocka_unit_test(test_what_is_no_drop_in_is_not_read),
        cmocka_unit_test(test_empty_files_are_fine),
        cmocka_unit_test(test_errors_in_drop_ins_have_their_names),
        cmocka_unit_test(test_a_file_that_is_named_must_be_there),
        cmocka_unit_test(test_what_cannot_be_read_is_an_error),
        cmocka_unit_test(test_a_folder_that_is_none_is_an_error),
        cmocka_unit_test(test_a_pipe_does_not_hang),
        cmocka_unit_test(test_too_many_drop_ins_are_an_error),
        cmocka_unit_test(test_who_else_can_write_a_file_is_said),
        cmocka_unit_test(test_no_config_reads_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
