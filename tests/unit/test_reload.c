/* SPDX-License-Identifier: MIT */
/* Reading the configuration anew, without memory: the old one stays as it was, as a whole. */
#include "parts.h"
#include "support/config_dir.h"
#include "support/failmalloc.h"

struct scene {
    struct config_dir dir;
    char socket[96];
    struct broker *broker;
};

static void scene_open(struct scene *s, const char *config)
{
    const char *const flags[] = {"--listen", s->socket, NULL};
    struct failure f;

    config_dir_open(&s->dir);
    (void) snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir.path);
    config_dir_write(&s->dir, "c", config);
    assert_int_equal(config_dir_parse(&s->dir, flags), OPTIONS_RUN);
    assert_int_equal(broker_new(&s->dir.options, &s->broker, &f), 0);
}

static void scene_close(struct scene *s)
{
    (void) broker_free(s->broker);
    config_dir_close(&s->dir);
}

static void test_without_memory_what_was_stays(void **state)
{
    const struct counters *c;
    uint64_t n_failed = 0;
    struct scene s;

    (void) state;
    scene_open(&s, "linger = 100; rules = ( \"allow all topic=a\" );");
    config_dir_write(&s.dir, "c",
                     "linger = 200; rules = ( \"allow all topic=b user=0\", \"deny all "
                     "topic=c/%u\" ); quotas = ( \"user=7 rate=5000\" );");
    FOR_EACH_FAILING_MALLOC (n) {
        struct failure f;
        int r = broker_reload(s.broker, &f);

        if (failmalloc_has_failed()) {
            assert_int_equal(r, -ENOMEM);
            assert_ptr_equal(s.broker->options, &s.dir.options);
            assert_non_null(strstr(f.text, "memory"));
            n_failed++;
        } else {
            assert_int_equal(r, 0);
        }
        router_check(s.broker->router);
    }
    assert_int_equal(s.broker->options->limits.linger_ms, 200);
    assert_int_equal(s.broker->options->n_rules, 2);
    assert_int_equal(s.broker->options->n_quotas, 1);
    c = router_counters(s.broker->router);
    assert_int_equal(c->config_reloads, 1);
    assert_int_equal(c->config_reloads_failed, n_failed);
    assert_true(n_failed > 10);
    scene_close(&s);
}

static void test_errors_are_counted_and_change_nothing(void **state)
{
    const struct options *before;
    struct failure f;
    struct scene s;

    (void) state;
    scene_open(&s, "linger = 100;");
    config_dir_write(&s.dir, "c", "linger = 200;");
    assert_int_equal(broker_reload(s.broker, &f), 0);
    before = s.broker->options;
    config_dir_write(&s.dir, "c", "linger = 300; spin = ;");
    assert_int_equal(broker_reload(s.broker, &f), -EINVAL);
    assert_non_null(strstr(f.text, "/c:1:22: "));
    assert_ptr_equal(s.broker->options, before);
    assert_int_equal(before->limits.linger_ms, 200);
    assert_int_equal(router_counters(s.broker->router)->config_reloads_failed, 1);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_memory_what_was_stays),
        cmocka_unit_test(test_errors_are_counted_and_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
