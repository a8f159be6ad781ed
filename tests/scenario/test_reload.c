/* SPDX-License-Identifier: MIT */
/* SIGHUP: the configuration is swapped as a whole, or nothing changes. */
#include <bus/types.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include "support/router_fixture.h"
#include "support/unit.h"

/* A machine that is busy takes its time. */
#define PATIENCE_MS 60000

struct scene {
    char dir[64], file[96];
    const char *args[8];
    int log; /* what the router writes to stderr, not read yet */
    char said[FIXTURE_LOG_BYTES];
    struct router_fixture router;
};

static void scene_write(const struct scene *s, const char *text)
{
    FILE *f = fopen(s->file, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void scene_open(struct scene *s, const char *config)
{
    int pipes[2];
    struct router_options o;

    *s = (struct scene){.args = {"--config", s->file}};
    fixture_dir_new(s->dir);
    (void) snprintf(s->file, sizeof(s->file), "%s/c", s->dir);
    scene_write(s, config);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    o = (struct router_options){.args = s->args, .stderr_fd = pipes[1]};
    router_start(&s->router, &o);
    (void) close(pipes[1]);
    s->log = pipes[0];
}

static void scene_close(struct scene *s)
{
    router_stop(&s->router);
    (void) close(s->log);
    fixture_dir_remove(s->dir);
}

/* Reads on until the router has said that. What it said since the last SIGHUP is in s->said. */
static void scene_expect(struct scene *s, const char *what)
{
    struct pollfd p = {.fd = s->log, .events = POLLIN};
    size_t len = strlen(s->said);

    while (!strstr(s->said, what)) {
        ssize_t n;

        if (poll(&p, 1, PATIENCE_MS) != 1) {
            fail_msg("'%s' was not said, but: %s", what, s->said);
        }
        assert_true(len + 1 < sizeof(s->said));
        n = read(s->log, s->said + len, sizeof(s->said) - 1 - len);
        assert_true(n > 0);
        len += (size_t) n;
        s->said[len] = '\0';
    }
}

/* With that in the file; waits for what the router says then. */
static void scene_reload(struct scene *s, const char *config, const char *says)
{
    scene_write(s, config);
    s->said[0] = '\0';
    assert_int_equal(kill(s->router.process.pid, SIGHUP), 0);
    scene_expect(s, says);
}

/* What clients are told that come now. */
static void assert_stall_timeout(const struct scene *s, uint64_t ms)
{
    struct raw_client c;
    union wire_any m;

    raw_connect(&c, s->router.seqpacket);
    raw_send_hello(&c, "");
    assert_int_equal(raw_next(&c, &m), VERB_WELCOME);
    assert_int_equal(m.welcome.stall_timeout_ms, ms);
    raw_close(&c);
}

static void test_a_good_file_is_in_force_at_once(void **state)
{
    struct raw_client c;
    struct scene s;

    (void) state;
    scene_open(&s, "stall_timeout = \"2s\";");
    raw_greet(&c, s.router.stream);
    assert_stall_timeout(&s, 2000);
    scene_reload(&s, "stall_timeout = \"3s\"; quotas = ( \"user=0 rate=5000\" );", "config.loaded");
    assert_says(s.said, "config.loaded files=1 rules=0 quotas=1");
    assert_stall_timeout(&s, 3000);
    scene_reload(&s, "", "config.loaded files=1 rules=0 quotas=0");
    assert_stall_timeout(&s, 30000); /* what is not said any more is the default again */
    assert_null(strstr(s.said, "config.pending"));
    raw_round_trip(&c, 1); /* who was there stays */
    raw_close(&c);
    scene_close(&s);
}

static void test_a_bad_file_changes_nothing(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"stall_timeout = ;", "/c:1:17: "},
        {"stall_timeout = \"9s\";\nspin = \"x\";", "/c:2:8: "},
        {"stall_timeout = \"9s\"; soap = 1;", "/c:1:23: there is no setting 'soap'"},
        {"stall_timeout = \"9s\"; rules = ( { allow = \"all\"; user = \"no-such-user\"; topic = "
         "\"#\"; } );",
         "no-such-user"},
        {"stall_timeout = \"9s\"; queue_bytes_max = \"1M\";", "/c:1:23: "},
        {"stall_timeout = \"9s\"; a = 1; b = 2; c = 3;", "(and 2 more; see --check)"},
    };
    struct scene s;

    (void) state;
    scene_open(&s, "stall_timeout = \"2s\";");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scene_reload(&s, cases[i].text, "config.rejected");
        scene_expect(&s, "\n");
        scene_expect(&s, cases[i].says);
        assert_stall_timeout(&s, 2000);
    }
    assert_int_equal(unlink(s.file), 0);
    s.said[0] = '\0';
    assert_int_equal(kill(s.router.process.pid, SIGHUP), 0);
    scene_expect(&s, "cannot read it");
    assert_stall_timeout(&s, 2000);
    scene_reload(&s, "stall_timeout = \"4s\";", "config.loaded"); /* and then a good one again */
    assert_stall_timeout(&s, 4000);
    scene_close(&s);
}

static void test_what_cannot_change_yet_is_said(void **state)
{
    char config[256];
    struct scene s;

    (void) state;
    scene_open(&s, "spin = 5;");
    (void) snprintf(config, sizeof(config), "spin = 6; listen = \"%s/more\";", s.dir);
    scene_reload(&s, config, "config.pending");
    scene_expect(&s, "settings=\"spin listen\"");
    assert_says(s.said, "config.loaded");
    scene_reload(&s, config, "config.pending"); /* it still is not in force */
    scene_reload(&s, "spin = 5;", "config.loaded");
    scene_reload(&s, "spin = 5;", "config.loaded");
    assert_null(strstr(s.said, "config.pending"));
    scene_close(&s);
}

/* A router that takes over reads the same files. */
static void test_a_successor_has_what_is_in_the_file(void **state)
{
    struct router_options o;
    char config[256], more[128];
    struct raw_client c;
    struct scene s;

    (void) state;
    scene_open(&s, "");
    (void) snprintf(more, sizeof(more), "%s/more", s.dir);
    (void) snprintf(config, sizeof(config),
                    "stall_timeout = \"5s\"; listen = { address = \"%s\"; mode = \"0640\"; };",
                    more);
    scene_write(&s, config);
    o = (struct router_options){.args = s.args};
    router_replace(&s.router, &o);
    assert_stall_timeout(&s, 5000);
    raw_greet(&c, more);
    raw_close(&c);
    scene_close(&s);
}

static void assert_status(struct raw_client *c, unsigned code, uint32_t subscription,
                          const char *text)
{
    union wire_any m;

    assert_int_equal(raw_next(c, &m), VERB_STATUS);
    assert_int_equal(m.status.code, code);
    assert_int_equal(m.status.verb, VERB_SUBSCRIBE);
    assert_int_equal(m.status.subscription, subscription);
    assert_non_null(memmem(m.status.text.data, m.status.text.len, text, strlen(text)));
}

/* With their places in the file, to those who are there. */
static void rights_are_taken_away(bool packets)
{
    const struct wire_subscribe a = {.subscription = 1, .filter = text_from("a/#")};
    const struct wire_subscribe b = {.subscription = 2, .filter = text_from("b/#")};
    struct raw_client c;
    struct scene s;

    scene_open(&s, "rules = ( \"allow subscribe topic=a/# topic=b/#\" );");
    raw_greet(&c, packets ? s.router.seqpacket : s.router.stream);
    raw_send_frame(&c, VERB_SUBSCRIBE, &a);
    assert_status(&c, BUS_STATUS_OK, 1, "");
    raw_send_frame(&c, VERB_SUBSCRIBE, &b);
    assert_status(&c, BUS_STATUS_OK, 2, "");
    scene_reload(&s, "rules = ( \"allow subscribe topic=a/#\",\n \"deny all topic=b/c\" ) ;;",
                 "config.rejected"); /* a bad file takes nothing away */
    raw_round_trip(&c, 1);
    scene_reload(&s, "rules = ( \"allow subscribe topic=#\",\n \"deny all topic=b/c\" );",
                 "config.loaded");
    assert_status(&c, BUS_STATUS_DENIED, 2, "/c:2: ");
    raw_send_frame(&c, VERB_SUBSCRIBE, &b);
    assert_status(&c, BUS_STATUS_DENIED, 2, "/c:2: ");
    raw_round_trip(&c, 2); /* nothing was said of the other one */
    raw_close(&c);
    scene_close(&s);
}
ON_BOTH_LINKS(rights_are_taken_away)

static void test_the_log_says_more_when_it_is_told_to(void **state)
{
    struct scene s;

    (void) state;
    scene_open(&s, "log_level = \"error\";");
    scene_reload(&s, "log_level = \"info\";", "config.loaded");
    scene_reload(&s, "log_level = \"error\"; soap = 1;", "config.rejected");
    scene_reload(&s, "log_level = \"info\";", "config.loaded");
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_file_is_in_force_at_once),
        cmocka_unit_test(test_a_bad_file_changes_nothing),
        cmocka_unit_test(test_what_cannot_change_yet_is_said),
        cmocka_unit_test(test_a_successor_has_what_is_in_the_file),
        BOTH_CASES(rights_are_taken_away),
        cmocka_unit_test(test_the_log_says_more_when_it_is_told_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
