/* SPDX-License-Identifier: MIT */
/* What all options have in common, on the command line and in files. */
#include "records.h"
#include "support/config_dir.h"

/* What --print-config writes, without the comments, which say where it came from. */
static void print(const struct config_dir *d, char *buf, size_t bytes)
{
    char *text = NULL, *to = buf;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    options_print(&d->options, f);
    assert_int_equal(fclose(f), 0);
    assert_true(len < bytes);
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        const char *comment = strstr(line, "# ");
        size_t n = (size_t) ((comment && comment < end ? comment : end) - line);

        while (n > 0 && line[n - 1] == ' ') {
            n--;
        }
        memcpy(to, line, n);
        to += n;
        *to++ = '\n';
        line = end + 1;
    }
    *to = '\0';
    free(text);
}

static void test_what_is_printed_says_the_same_again(void **state)
{
    static char first[65536], second[65536];
    char *text = NULL;
    struct config_dir d;
    size_t len;
    FILE *f;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(
        config_dir_try(&d, "log_level = \"warn\"; linger = 1500; body_max = 5000; clients_max = "
                           "99; mode = \"0640\"; owner = \"root\"; spin = 1000;\n"
                           "total_bytes_max = \"1073741823\"; drain_timeout = 0;\n"
                           "listen = ( { address = \"/run/\\\"a\\\\b\\x01\"; name = \"n\"; }, "
                           "\"b=stream:/run/b mode=0600 group=7\", \"@c\" );\n"
                           "rules = ( { allow = [\"publish\", \"serve\"]; user = 7; group = 8; "
                           "listener = \"n\"; label = \"l \\\"x\\\"\"; topic = [\"a/%u/#\", "
                           "\"b c\"]; }, \"deny all topic=x\" );\n"
                           "quotas = ( { user = [0, 7]; bytes = \"1M\"; rate = 5000; } );\n"),
        OPTIONS_RUN);
    print(&d, first, sizeof(first));
    f = open_memstream(&text, &len); /* with its comments, as a user would have it */
    assert_non_null(f);
    options_print(&d.options, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_dir_try(&d, text), OPTIONS_RUN);
    assert_string_equal(d.said, "");
    print(&d, second, sizeof(second));
    assert_string_equal(first, second);
    /* that the printing shows what differs is not for granted */
    assert_non_null(strstr(first, "linger = \"1500ms\";"));
    assert_non_null(strstr(first, "drain_timeout = \"0ms\";"));
    assert_non_null(strstr(first,
                           "address = \"seqpacket:/run/\\\"a\\\\b\\x01\"; name = \"n\"; mode = "
                           "\"0640\"; owner = \"0\";"));
    assert_non_null(strstr(first,
                           "{ allow = [\"publish\", \"serve\"]; user = \"7\"; group = \"8\"; "
                           "listener = \"n\"; label = \"l \\\"x\\\"\"; topic = \"a/%u/#\"; }"));
    assert_non_null(strstr(first, "{ user = \"7\"; bytes = \"1M\"; rate = \"5000\"; }"));
    free(text);
    config_dir_close(&d);
}

static void test_the_defaults_are_a_file_too(void **state)
{
    static char first[65536], second[65536];
    struct config_dir d;
    char *text = NULL;
    size_t len;
    FILE *f;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_try(&d, ""), OPTIONS_RUN);
    print(&d, first, sizeof(first));
    f = open_memstream(&text, &len);
    assert_non_null(f);
    options_print(&d.options, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_dir_try(&d, text), OPTIONS_RUN);
    print(&d, second, sizeof(second));
    assert_string_equal(first, second);
    free(text);
    config_dir_close(&d);
}

/* Each option that a file can say is a flag, and the other way round. */
static void test_every_value_can_be_said_both_ways(void **state)
{
    char value[OPTION_VALUE_BYTES], name[OPTION_NAME_BYTES], line[256], flag[64];
    struct option_table t;
    struct config_dir d;

    (void) state;
    option_table_init(&t);
    config_dir_open(&d);
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        const struct option_def *def = &t.defs[i];
        const char *const flags[] = {flag, value, "--check", NULL};

        if (!def->format) {
            assert_true(def->list || (def->traits & OPTION_NO_FILE));
            continue;
        }
        def->format(options_defaults(), def, value, sizeof(value));
        if (!*value) {
            (void) snprintf(value, sizeof(value), "root"); /* owner, group */
        }
        option_setting_name(def, name);
        (void) snprintf(line, sizeof(line), "%s = \"%s\";", name, value);
        assert_int_equal(config_dir_try(&d, line), OPTIONS_RUN);
        assert_non_null(d.options.places[i]);
        (void) snprintf(flag, sizeof(flag), "--%s", def->name);
        config_dir_write(&d, "c", "");
        assert_int_equal(config_dir_parse(&d, flags), OPTIONS_RUN);
        assert_null(d.options.places[i]);
    }
    config_dir_close(&d);
}

static void test_help_names_every_option(void **state)
{
    const char *const help[] = {"--help", NULL};
    struct option_table t;
    struct config_dir d;
    char flag[64];

    (void) state;
    option_table_init(&t);
    config_dir_open(&d);
    assert_int_equal(config_dir_parse(&d, help), OPTIONS_DONE);
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        (void) snprintf(flag, sizeof(flag), "\n  --%s", t.defs[i].name);
        assert_non_null(strstr(d.out, flag));
    }
    config_dir_close(&d);
}

static void test_the_manual_has_every_setting(void **state)
{
    static char manual[65536];
    FILE *f = fopen(BUS_SOURCE_DIR "/docs/configuration.md", "re");
    struct option_table t;
    char row[128], name[OPTION_NAME_BYTES];

    (void) state;
    assert_non_null(f);
    assert_true(fread(manual, 1, sizeof(manual) - 1, f) > 0);
    assert_int_equal(fclose(f), 0);
    option_table_init(&t);
    for (size_t i = 0; i < OPTIONS_GENERAL_COUNT; i++) {
        const struct option_def *d = &t.defs[i];

        option_setting_name(d, name);
        if (d->traits & OPTION_NO_FILE) {
            (void) snprintf(row, sizeof(row), "`--%s`", d->name);
        } else {
            (void) snprintf(row, sizeof(row), "\n| `%s`%s | `--%s` | ", name,
                            d->traits & OPTION_FIXED ? " \u2020" : "", d->name);
        }
        if (!strstr(manual, row)) {
            fail_msg("'%s' is not in the manual", row);
        }
    }
    for (size_t i = 0; i < USER_SLOTS_COUNT; i++) {
        (void) snprintf(row, sizeof(row), "\n| `%s` | `user_%s_max` |\n", quota_slot_name(i),
                        quota_slot_name(i));
        if (!strstr(manual, row)) {
            fail_msg("'%s' is not in the manual", row);
        }
    }
}

static void test_what_cannot_change_is_named(void **state)
{
    struct config_dir before, after;
    char buf[256], small[8];

    (void) state;
    config_dir_open(&before);
    config_dir_open(&after);
    assert_int_equal(config_dir_try(&before, "listen = \"/a\"; spin = 5; linger = 100;"),
                     OPTIONS_RUN);
    assert_int_equal(config_dir_try(&after, "listen = \"/a\"; spin = 5; linger = 200;"),
                     OPTIONS_RUN);
    options_pending(&before.options, &after.options, buf, sizeof(buf));
    assert_string_equal(buf, "");
    assert_int_equal(config_dir_try(&after, "listen = \"x=/a\"; spin = 6; mode = \"0660\";"),
                     OPTIONS_RUN);
    options_pending(&before.options, &after.options, buf, sizeof(buf));
    assert_string_equal(buf, "spin listen mode");
    options_pending(&before.options, &after.options, small, sizeof(small));
    assert_string_equal(small, "spin li");
    assert_int_equal(config_dir_try(&after, "spin = 5;"), OPTIONS_RUN);
    options_pending(&before.options, &after.options, buf, sizeof(buf));
    assert_string_equal(buf, "listen");
    config_dir_close(&before);
    config_dir_close(&after);
}

static void test_reading_again_takes_the_same_flags(void **state)
{
    const char *const flags[] = {"--linger", "300ms", "--check", "--rule=allow all topic=a", NULL};
    struct report report = {.out = NULL};
    struct options again;
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "spin = 5;");
    assert_int_equal(config_dir_parse(&d, flags), OPTIONS_RUN);
    config_dir_write(&d, "c", "spin = 6;");
    assert_int_equal(options_reload(&again, &d.options, &report), OPTIONS_RUN);
    assert_int_equal(again.spin_us, 6);
    assert_int_equal(again.limits.linger_ms, 300);
    assert_int_equal(again.n_rules, 1);
    assert_int_equal(again.n_listens, 0); /* nobody has said where: nothing is made for that */
    assert_int_equal(again.action, OPTIONS_RELOAD);
    options_fini(&again);
    config_dir_write(&d, "c", "spin = ;");
    assert_int_equal(options_reload(&again, &d.options, &report), OPTIONS_INVALID);
    assert_non_null(strstr(report.first.text, "/c:1:8: "));
    options_fini(&again);
    config_dir_close(&d);
}

static void test_only_one_thing_is_asked_for(void **state)
{
    const char *const flags[] = {"--check", "--print-config", NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "");
    assert_int_equal(config_dir_parse(&d, flags), OPTIONS_USAGE);
    assert_non_null(strstr(d.said, "only one of --check"));
    config_dir_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_printed_says_the_same_again),
        cmocka_unit_test(test_the_defaults_are_a_file_too),
        cmocka_unit_test(test_every_value_can_be_said_both_ways),
        cmocka_unit_test(test_help_names_every_option),
        cmocka_unit_test(test_the_manual_has_every_setting),
        cmocka_unit_test(test_what_cannot_change_is_named),
        cmocka_unit_test(test_reading_again_takes_the_same_flags),
        cmocka_unit_test(test_only_one_thing_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
