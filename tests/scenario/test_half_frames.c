/* SPDX-License-Identifier: MIT */
/* A frame that there is no memory for ends its sender with a word, and nobody else. */
#include <bus/types.h>
#include <errno.h>
#include <sys/socket.h>
#include "support/router_fixture.h"
#include "support/unit.h"

#define BODY_BYTES (1024u * 1024u)

/* As far as the router takes it. */
static void send_frame_beyond_memory(struct raw_client *c)
{
    static uint8_t data[FRAME_PREFIX_BYTES + BODY_BYTES];
    size_t sent = 0;

    frame_write_prefix(data, VERB_PUBLISH, 0, BODY_BYTES);
    while (sent < sizeof(data) && !raw_is_readable(c, 0)) {
        ssize_t n = send(c->fd, data + sent, sizeof(data) - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        assert_true(n > 0 || errno == EAGAIN || errno == EPIPE);
        sent += n > 0 ? (size_t) n : 0;
    }
}

static void expect_end_by(const char *option)
{
    const char *const args[] = {option, "1048576", NULL};
    struct raw_client c, other;
    struct router_fixture f;

    router_start(&f, &(struct router_options){.args = args});
    raw_greet(&other, f.stream);
    raw_greet(&c, f.stream);
    send_frame_beyond_memory(&c);
    raw_expect_goodbye(&c, BUS_GOODBYE_NO_MEMORY);
    raw_round_trip(&other, 1);
    raw_close(&c);
    raw_close(&other);
    router_stop(&f);
}

static void test_no_memory_for_a_frame_is_said(void **state)
{
    (void) state;
    expect_end_by("--total-bytes-max");
}

static void test_half_a_frame_is_charged_to_its_sender(void **state)
{
    (void) state;
    expect_end_by("--client-bytes-max");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_for_a_frame_is_said),
        cmocka_unit_test(test_half_a_frame_is_charged_to_its_sender),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
