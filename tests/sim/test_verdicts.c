/* SPDX-License-Identifier: MIT */
/* Everything the router can say is said in some test of this folder: each name of the enums of
 * bus/types.h stands in a transcript there. */
#include <bus/types.h>
#include <dirent.h>
#include "core/router.h"
#include "support/world.h"

static char all[1 << 20]; /* the sources of tests/sim */

static int read_sources(void **state)
{
    const char *folder = BUS_SOURCE_DIR "/tests/sim";
    DIR *dir = opendir(folder);
    size_t len = 0;

    (void) state;
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char path[512];
        FILE *f;

        if (e->d_name[0] == '.' || strcmp(e->d_name, "test_verdicts.c") == 0) {
            continue;
        }
        assert_true(snprintf(path, sizeof(path), "%s/%s", folder, e->d_name) < 512);
        f = fopen(path, "r");
        assert_non_null(f);
        len += fread(all + len, 1, sizeof(all) - 1 - len, f);
        (void) fclose(f);
        assert_true(len < sizeof(all) - 1);
    }
    (void) closedir(dir);
    all[len] = '\0';
    return 0;
}

static bool is_said(const char *before, const char *name, const char *after)
{
    char text[64];

    snprintf(text, sizeof(text), "%s%s%s", before, name, after);
    return strstr(all, text);
}

static void assert_said(const char *before, const char *name, const char *after)
{
    if (!is_said(before, name, after)) {
        fail_msg("no test expects \"%s%s%s\"", before, name, after);
    }
}

static void test_every_status_is_expected_somewhere(void **state)
{
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(world_status); i++) {
        /* some are only said of a request that is over; DISCONNECTED is said by libbus */
        if (i != BUS_STATUS_DISCONNECTED && !is_said("DONE ", world_status[i], " ")) {
            assert_said("STATUS ", world_status[i], " ");
        }
    }
}

static void test_every_goodbye_is_expected_somewhere(void **state)
{
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(world_goodbye); i++) {
        /* NONE is no GOODBYE; LIMIT is said to links that never become peers, outside the core */
        if (i != BUS_GOODBYE_NONE && i != BUS_GOODBYE_LIMIT) {
            assert_said("GOODBYE ", world_goodbye[i], "\\n");
        }
    }
}

static void test_every_loss_reason_is_expected_somewhere(void **state)
{
    (void) state;
    for (size_t i = 1; i < ARRAY_LEN(world_loss); i++) {
        /* told by libbus, of what the router has delivered, and of what a router has lost */
        if (i != BUS_LOSS_NO_DESCRIPTORS && i != BUS_LOSS_ROUTER_RESTART) {
            assert_said(" ", world_loss[i], "\\n");
        }
    }
}

static void test_every_verdict_and_its_reasons_are_expected_somewhere(void **state)
{
    (void) state;
    for (size_t i = 1; i < ARRAY_LEN(world_verdict); i++) {
        assert_said("/1 ", world_verdict[i], " ");
    }
    assert_said("DROPPED ", "QUEUE_FULL", "");
    assert_said("DROPPED ", "TOO_LARGE", "");
    assert_said("DROPPED ", "NO_MEMORY", "");
}

static void test_every_policy_is_used_somewhere(void **state)
{
#define X(name, number, text) #name,
    static const char *const policies[] = {BUS_POLICY_LIST(X)};
#undef X

    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        assert_said("BUS_POLICY_", policies[i], "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_is_expected_somewhere),
        cmocka_unit_test(test_every_goodbye_is_expected_somewhere),
        cmocka_unit_test(test_every_loss_reason_is_expected_somewhere),
        cmocka_unit_test(test_every_verdict_and_its_reasons_are_expected_somewhere),
        cmocka_unit_test(test_every_policy_is_used_somewhere),
    };

    return cmocka_run_group_tests(tests, read_sources, NULL);
}
