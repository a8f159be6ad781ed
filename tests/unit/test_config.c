/* SPDX-License-Identifier: MIT */
/* Configuration files: what they mean, and what is said of those that are wrong. */
#include "config.h"
#include "support/config_dir.h"
#include "support/failmalloc.h"
#include "support/texts.h"

static void assert_said(const struct config_dir *d, const char *what)
{
    char expected[512];

    (void) snprintf(expected, sizeof(expected), "%s:%s", d->file, what);
    if (!strstr(d->said, expected)) {
        fail_msg("'%s' is not in: %s", expected, d->said);
    }
}

/* ---- what is right ---- */

static void test_values_are_those_of_the_file(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_try(&d, "log_level = \"debug\"; drain_timeout = \"7s\";\n"
                                        "clients_max = 100 linger = 500; body_max = \"2M\";\n"
                                        "# a comment\nmode = \"0640\"; /* and one */ spin: 7"),
                     OPTIONS_RUN);
    assert_int_equal(d.options.log_level, 3);
    assert_int_equal(d.options.drain_timeout_ms, 7000);
    assert_int_equal(d.options.limits.clients_max, 100);
    assert_int_equal(d.options.limits.linger_ms, 500);
    assert_int_equal(d.options.limits.body_max, 2 * MIB);
    assert_int_equal(d.options.access.mode, 0640);
    assert_int_equal(d.options.spin_us, 7);
    assert_int_equal(d.report.n_errors, 0);
    config_dir_close(&d);
}

static void test_flags_count_more_than_files(void **state)
{
    const char *const flags[] = {"--clients-max", "7", "--listen", "/run/two", NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "clients_max = 100; linger = 500; listen = \"/run/one\";");
    assert_int_equal(config_dir_parse(&d, flags), OPTIONS_RUN);
    assert_int_equal(d.options.limits.clients_max, 7);
    assert_int_equal(d.options.limits.linger_ms, 500);
    assert_int_equal(d.options.n_listens, 2); /* lists add up */
    assert_string_equal(d.options.listens[0].address.path, "/run/one");
    assert_string_equal(d.options.listens[1].address.path, "/run/two");
    config_dir_close(&d);
}

static void test_listeners_have_names_and_access_of_their_own(void **state)
{
    struct config_dir d;
    const struct listen_option *l;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_try(&d, "mode = \"0600\"; listen = (\n"
                                        "{ address = \"stream:/run/a\"; name = \"public\"; "
                                        "mode = 0666; owner = \"root\"; group = 7; },\n"
                                        "\"private=/run/with blanks mode=0640 group=root\","
                                        "\"@abstract\", \"/run/a=b\");"),
                     OPTIONS_RUN);
    assert_int_equal(d.options.n_listens, 4);
    l = &d.options.listens[0];
    assert_int_equal(l->address.type, ADDRESS_STREAM);
    assert_string_equal(l->name, "public");
    assert_int_equal(l->access.mode, 0666);
    assert_int_equal(l->access.owner, 0);
    assert_int_equal(l->access.group, 7);
    l = &d.options.listens[1];
    assert_string_equal(l->name, "private");
    assert_string_equal(l->address.path, "/run/with blanks");
    assert_int_equal(l->access.mode, 0640);
    assert_int_equal(l->access.group, 0);
    assert_int_equal(l->access.owner, LISTENER_KEEP_ID);
    assert_true(d.options.listens[2].address.abstract);
    assert_int_equal(d.options.listens[2].access.mode, 0600); /* that of all */
    assert_string_equal(d.options.listens[3].name, "");
    assert_string_equal(d.options.listens[3].address.path, "/run/a=b");
    config_dir_close(&d);
}

static void test_rules_stand_for_all_that_their_lists_name(void **state)
{
    struct config_dir d;
    const struct policy_rule *r;
    char place[96];

    (void) state;
    config_dir_open(&d);
    assert_int_equal(
        config_dir_try(&d, "rules = (\n"
                           "{ allow = [\"publish\", \"retain\"]; user = \"root\"; "
                           "topic = \"home/%u/#\"; },\n"
                           "{ deny = \"all\"; group = [\"root\", \"7\"]; topic = [\"a/#\", "
                           "\"b\"]; listener = \"x\"; label = \"s0:c1,c2\" },\n"
                           "\"allow subscribe,serve user=0,7 topic=\\\"a b/#\\\" topic=c,d\" );"),
        OPTIONS_RUN);
    assert_int_equal(d.options.n_rules, 1 + 4 + 4);
    r = &d.options.rules[0];
    assert_false(r->deny);
    assert_int_equal(r->verbs, POLICY_PUBLISH | POLICY_RETAIN);
    assert_true(r->by_uid && !r->by_gid && r->uid == 0);
    assert_text(r->topic, "home/%u/#");
    (void) snprintf(place, sizeof(place), "%s:2", d.file);
    assert_text(r->place, place);
    r = &d.options.rules[4];
    assert_true(r->deny && r->by_gid && !r->by_uid && r->gid == 7);
    assert_int_equal(r->verbs, POLICY_ALL);
    assert_text(r->topic, "b");
    assert_text(r->listener, "x");
    assert_text(r->label, "s0:c1,c2");
    r = &d.options.rules[8];
    assert_true(!r->deny && r->by_uid && r->uid == 7);
    assert_int_equal(r->verbs, POLICY_SUBSCRIBE | POLICY_SERVE);
    assert_text(r->topic, "c,d");
    assert_text(d.options.rules[5].topic, "a b/#");
    config_dir_close(&d);
}

static void test_quotas_of_one_user_are_put_together(void **state)
{
    const char *const flags[] = {"--quota", "user=7 bytes=3M", NULL};
    const struct user_override *q;
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c",
                     "quotas = ( { user = (7, \"root\"); bytes = \"1M\"; rate = 5000; },"
                     "\"user=7 connections=5\" );");
    assert_int_equal(config_dir_parse(&d, flags), OPTIONS_RUN);
    assert_int_equal(d.options.n_quotas, 2);
    q = &d.options.quotas[0];
    assert_int_equal(q->uid, 7);
    assert_int_equal(q->set,
                     1u << USER_SLOT_bytes | 1u << USER_SLOT_rate | 1u << USER_SLOT_connections);
    assert_int_equal(q->limits.bytes, 3 * MIB); /* what is said last */
    assert_int_equal(q->limits.rate, 5000);
    assert_int_equal(q->limits.connections, 5);
    assert_text(q->place, "--quota 1");
    assert_int_equal(d.options.quotas[1].uid, 0);
    assert_int_equal(d.options.quotas[1].limits.bytes, MIB);
    config_dir_close(&d);
}

static void test_texts_may_be_in_parts_and_have_escapes(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_try(&d, "log_level = \"de\" /* \" */ \"bug\"; listen = "
                                        "\"/run/\\\"x\\x41\"; spin = \"bad\";"),
                     OPTIONS_INVALID);
    assert_int_equal(d.options.log_level, 3);
    assert_string_equal(d.options.listens[0].address.path, "/run/\"xA");
    assert_said(&d, "1:65: 'bad'"); /* what comes behind is found, too */
    config_dir_close(&d);
}

/* ---- what is wrong ---- */

static void test_errors_say_where_and_what_was_expected(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        /* names */
        {"\n  log-level = 1;", "2:3: there is no setting 'log-level'; is it 'log_level'?"},
        {"clients_mx = 1;", "1:1: there is no setting 'clients_mx'; is it 'clients_max'?"},
        {"zzzzzzzzzzzzzzzz = 1;", "expected is one of those that --print-config shows"},
        {"replace = true;", "1:1: 'replace' can be said on the command line only, as --replace"},
        {"rule = ();", "is it 'rules'?"},
        /* values */
        {"clients_max = \"many\";", "1:15: 'many': expected is a number, from 1 to 1000000"},
        {"clients_max = 0;", "1:15: '0': out of range, which is 1 to 1000000"},
        {"clients_max = -1;", "1:15: '-1': expected is a number"},
        {"clients_max = true;", "1:15: 'true': expected is a number"},
        {"clients_max = 1.5;", "1:15: '1.5': expected is a number"},
        {"clients_max = 99999999999;", "out of range"},
        {"linger = \"soon\";", "1:10: 'soon': expected is a time like 500ms or 5s"},
        {"body_max = \"1X\";", "1:12: '1X': expected is a number of bytes"},
        {"log_level = \"loud\";", "1:13: 'loud': expected is error, warn, info or debug"},
        {"mode = \"0999\";", "1:8: '0999': expected is an octal file mode"},
        {"owner = \"no-such-user\";", "1:9: 'no-such-user': there is no such user"},
        {"group = \"no-such-group\";", "1:9: 'no-such-group': there is no such group"},
        {"linger = [1, 2];", "1:10: expected is one value"},
        {"linger = { a = 1; };", "1:10: expected is one value"},
        {"queue_bytes_max = \"1M\"; /* below the default */", "1:1: --queue-bytes-default (8"},
        /* listeners */
        {"listen = 5;", "1:10: expected is a listener: { ... }, or a \"text\" as --listen"},
        {"listen = ( \"stream:\" );", "1:12: 'stream:': expected is seqpacket:PATH"},
        {"listen = ( { name = \"a\"; } );", "1:12: a listener needs an address"},
        {"listen = ( { address = \"/a\"; name = \"a b\"; } );", "1:37: 'a b': expected is a name"},
        {"listen = ( { adress = \"/a\"; } );", "1:14: there is no key of a listener 'adress'; "
                                               "is it 'address'?"},
        {"listen = ( { address = [\"/a\", \"/b\"]; } );", "1:31: '/b': address is given twice"},
        {"listen = ( { address = \"/a\"; mode = [1, 2]; } );", "1:41: '2': mode is given twice"},
        {"listen = ( \"/a\", \"stream:/a\" );", "1:18: 'stream:/a': the address is given twice"},
        /* rules */
        {"rules = ( { allow = \"fly\"; topic = \"a\"; } );",
         "1:21: 'fly': expected is one of publish, subscribe"},
        {"rules = ( { allow = \"all\"; deny = \"all\"; topic = \"a\"; } );",
         "1:35: 'all': a rule either allows or denies"},
        {"rules = ( { topic = \"a\"; } );", "1:11: a rule needs allow or deny"},
        {"rules = ( { allow = \"all\"; } );", "1:11: a rule needs a topic"},
        {"rules = (\n { allow = \"all\";\n topic = [\"a\",\n  \"a/#/b\"]; } );", "4:3: 'a/#/b': "},
        {"rules = ( { allow = \"all\"; topic = \"a/%x\"; } );", "1:36: 'a/%x': "},
        {"rules = ( { deny = \"all\"; topic = \"a/%n\"; } );", "1:11: topic a/%n: "},
        {"rules = ( { allow = []; topic = \"a\"; } );", "1:21: the list is empty"},
        {"rules = ( { allow = ( { } ); topic = \"a\"; } );", "1:23: expected is one value, or"},
        {"rules = ( { allow = \"all\"; user = \"\"; topic = \"a\"; } );",
         "1:35: '': there is no such"},
        {"rules = ( { allow = \"all\"; label = \"\"; topic = \"a\"; } );", "label is empty"},
        {"rules = ( \"permit all\" );", "1:11: 'permit all': 'permit': expected is allow or deny"},
        {"rules = ( \"allow all tpic=a\" );", "'tpic=a': expected is one of allow=, deny="},
        {"rules = ( \"allow all topic=\\\"a\" );", "a quote is not closed"},
        {"rules = ( \"allow\" );", "expected is allow or deny, and then what"},
        {"rules = ( 5 );", "1:11: expected is a rule: { ... }, or a \"text\" as --rule takes it"},
        /* quotas */
        {"quotas = ( { bytes = \"1M\"; } );", "1:12: a quota needs a user"},
        {"quotas = ( { user = 7; } );", "1:12: a quota needs a user, and what"},
        {"quotas = ( { user = 7; bites = 1; } );",
         "1:24: there is no key of a quota 'bites'; is it "
         "'bytes'?"},
        {"quotas = ( { user = 7; bytes = 1; } );", "1:32: '1': out of range"},
        {"quotas = ( { user = 7; bytes = [\"1M\", \"2M\"]; } );", "bytes is given twice"},
        /* syntax */
        {"a = ;", "1:5: ';' is not right here; expected is a value"},
        {"linger = 5s;", "1:10: '5s' is no number; with a unit it needs quotes"},
        {"x =\n\"abc", "2:1: the text that begins here is not closed"},
        {"linger = 5;\n/* abc", "2:1: the comment that begins here is not closed"},
        {"spin = 5;\nspin = 6;", "2:1: duplicate setting name: 'spin'"},
        {"rules = (\n {", "2:3: the file ends too early; expected is NAME = VALUE; or }"},
        {"  @include \"x\"", "1:3: @include is not supported"},
        {"listen = [ \"a\" 5 ];", "1:16: '5' is not right here; expected is , or ]"},
        {"listen = ( \"a\", );", "1:17: ')' is not right here; expected is a value, or {"},
        {"rules = ( { allow = \"all\" topic: \"a\"; } };",
         "1:41: '}' is not right here; expected is "
         ", or )"},
        {"\xC3\xA4\xC3\xB6 = 1; spin = \"x\";", "1:1: unexpected character"},
        {"# \xC3\xA4\n/* \xC3\xA4 */ a b", "2:11: 'b' is not right here; expected is = behind"},
    };
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(config_dir_try(&d, cases[i].text), OPTIONS_INVALID);
        if (!strstr(d.said, cases[i].said)) {
            fail_msg("%s\n'%s' is not in: %s", cases[i].text, cases[i].said, d.said);
        }
        assert_non_null(strstr(d.said, d.file));
    }
    config_dir_close(&d);
}

static void test_all_errors_are_said_up_to_a_bound(void **state)
{
    char text[4096] = "";
    struct config_dir d;
    size_t len = 0;

    (void) state;
    config_dir_open(&d);
    assert_int_equal(config_dir_try(&d,
                                    "spin = \"a\";\nlinger = \"b\";\nrules = ( { allow = \"c\"; "
                                    "topic = \"#/d\"; } );\nx = 5;"),
                     OPTIONS_INVALID);
    assert_int_equal(d.report.n_errors, 5);
    assert_said(&d, "1:8: 'a'");
    assert_said(&d, "2:10: 'b'");
    assert_said(&d, "3:21: 'c'");
    assert_said(&d, "3:34: '#/d'");
    assert_said(&d, "4:1: ");
    for (int i = 0; i < 40; i++) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "nothing%d = 1;\n", i);
    }
    assert_int_equal(config_dir_try(&d, text), OPTIONS_INVALID);
    assert_int_equal(d.report.n_errors, 40);
    assert_said(&d, "20:1: ");
    assert_null(strstr(d.said, "c:21:1: "));
    assert_non_null(strstr(d.said, "there are more errors"));
    config_dir_close(&d);
}

static void test_a_file_that_is_no_text_is_refused(void **state)
{
    struct config_dir d;
    FILE *f;

    (void) state;
    config_dir_open(&d);
    f = fopen(d.file, "we");
    assert_non_null(f);
    assert_int_equal(fwrite("spin = 5;\n\0", 1, 11, f), 11);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_dir_parse(&d, NULL), OPTIONS_INVALID);
    assert_said(&d, "2:1: unexpected character 0");
    assert_int_equal(truncate(d.file, CONFIG_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(config_dir_parse(&d, NULL), OPTIONS_INVALID);
    assert_said(&d, " cannot read it: ");
    assert_non_null(strstr(d.said, "at most 1048576 bytes"));
    config_dir_close(&d);
}

static void test_brackets_without_end_are_refused(void **state)
{
    enum { DEPTH = 100000 };
    static char text[DEPTH + 8];
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    memcpy(text, "spin = ", 7);
    memset(text + 7, '(', DEPTH);
    assert_int_equal(config_dir_try(&d, text), OPTIONS_INVALID);
    assert_int_equal(d.report.n_errors, 1);
    config_dir_close(&d);
}

/* ---- memory ---- */

static const char everything[] =
    "log_level = \"debug\"; linger = 500;\n"
    "listen = ( { address = \"/run/a\"; name = \"n\"; }, \"b=/run/b mode=0600\" );\n"
    "rules = ( { allow = [\"publish\", \"serve\"]; user = [0, 7]; group = 7; listener = \"n\";\n"
    "  label = \"l\"; topic = [\"a/%u/#\", \"b\"]; }, \"deny all user=0,7 topic=x\" );\n"
    "quotas = ( { user = [0, 7]; bytes = \"1M\"; }, \"user=8 rate=5000\" );\n";

static void test_without_memory_nothing_is_half_done(void **state)
{
    const char *const flags[] = {"--rule",           "allow all topic=y", "--quota",
                                 "user=9 rate=5000", "--check",           NULL};
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", everything);
    config_dir_folder(&d);
    config_dir_write(&d, "c.d/1.conf", "spin = 5;");
    config_dir_write(&d, "c.d/2.conf", "spin = 6;");
    FOR_EACH_FAILING_MALLOC (n) {
        int r = config_dir_parse(&d, flags);

        assert_int_equal(r, failmalloc_has_failed() ? -ENOMEM : OPTIONS_RUN);
    }
    assert_int_equal(d.options.n_rules, 4 + 2 + 1);
    assert_int_equal(d.options.n_quotas, 4);
    assert_int_equal(d.options.spin_us, 6);
    config_dir_close(&d);
}

/* What is said of errors needs memory only to find their columns. */
static void test_errors_are_said_without_memory(void **state)
{
    struct config_dir d;

    (void) state;
    config_dir_open(&d);
    config_dir_write(&d, "c", "spin = 5;\nlinger = ;\n");
    FOR_EACH_FAILING_MALLOC (n) {
        int r = config_dir_parse(&d, NULL);

        assert_true(r == OPTIONS_INVALID || (r == -ENOMEM && failmalloc_has_failed()));
        assert_int_equal(d.report.n_errors, r == OPTIONS_INVALID);
    }
    assert_said(&d, "2:10: ';'");
    config_dir_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_those_of_the_file),
        cmocka_unit_test(test_flags_count_more_than_files),
        cmocka_unit_test(test_listeners_have_names_and_access_of_their_own),
        cmocka_unit_test(test_rules_stand_for_all_that_their_lists_name),
        cmocka_unit_test(test_quotas_of_one_user_are_put_together),
        cmocka_unit_test(test_texts_may_be_in_parts_and_have_escapes),
        cmocka_unit_test(test_errors_say_where_and_what_was_expected),
        cmocka_unit_test(test_all_errors_are_said_up_to_a_bound),
        cmocka_unit_test(test_a_file_that_is_no_text_is_refused),
        cmocka_unit_test(test_brackets_without_end_are_refused),
        cmocka_unit_test(test_without_memory_nothing_is_half_done),
        cmocka_unit_test(test_errors_are_said_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
