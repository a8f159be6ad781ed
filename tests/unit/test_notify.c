/* SPDX-License-Identifier: MIT */
/* What a service manager is told, by a manager that reads, one that does not, and none at all. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "notify.h"
#include "support/unit.h"

struct manager {
    char dir[64], address[128];
    int fd;
};

static void manager_bind(struct manager *m)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    size_t len = strlen(m->address);

    memcpy(sun.sun_path, m->address, len);
    sun.sun_path[0] = *m->address == '@' ? '\0' : '/';
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(m->fd >= 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *) &sun,
                          (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
}

static void manager_open(struct manager *m)
{
    (void) snprintf(m->dir, sizeof(m->dir), "/tmp/bus-test-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    (void) snprintf(m->address, sizeof(m->address), "%s/notify", m->dir);
    manager_bind(m);
}

static void manager_close(struct manager *m)
{
    (void) close(m->fd);
    (void) unlink(m->address);
    assert_int_equal(rmdir(m->dir), 0);
}

/* The next notice, or "" if there is none. */
static const char *next(const struct manager *m)
{
    static char text[NOTIFY_BYTES + 1];
    ssize_t n = recv(m->fd, text, sizeof(text) - 1, 0);

    assert_true(n > 0 || errno == EAGAIN);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* As much as the socket takes. Returns how many. */
static unsigned fill(const struct notify *n)
{
    struct sockaddr_un sun = n->sun;
    unsigned sent = 0;

    while (sendto(n->fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *) &sun, n->bytes) == 1) {
        sent++;
    }
    assert_int_equal(errno, EAGAIN);
    assert_true(sent > 0);
    return sent;
}

static void skip_fill(const struct manager *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_string_equal(next(m), "x");
    }
}

static void test_notices_arrive_as_they_are(void **state)
{
    struct manager m;
    struct notify n;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    assert_true(notify_is_open(&n));
    notify_say(&n, "STATUS=well");
    notify_change(&n, "READY=1\nSTATUS=better");
    notify_last(&n, "MAINPID=12");
    assert_string_equal(next(&m), "STATUS=well");
    assert_string_equal(next(&m), "READY=1\nSTATUS=better");
    assert_string_equal(next(&m), "MAINPID=12");
    assert_string_equal(next(&m), "");
    notify_close(&n);
    manager_close(&m);
}

static void test_an_abstract_name_is_found(void **state)
{
    struct manager m = {.fd = -1};
    struct notify n;

    (void) state;
    (void) snprintf(m.address, sizeof(m.address), "@bus-test-notify-%ld", (long) getpid());
    manager_bind(&m);
    notify_open(&n, m.address);
    notify_say(&n, "READY=1");
    assert_string_equal(next(&m), "READY=1");
    notify_close(&n);
    (void) close(m.fd);
}

static void test_what_is_no_address_is_nobody(void **state)
{
    static const char *const addresses[] = {NULL, "", "/", "@", "relative/path", "vsock:2:1"};
    char longer[256];

    (void) state;
    memset(longer, '/', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    for (size_t i = 0; i <= ARRAY_LEN(addresses); i++) {
        struct notify n;

        notify_open(&n, i < ARRAY_LEN(addresses) ? addresses[i] : longer);
        assert_false(notify_is_open(&n));
        notify_say(&n, "a");
        notify_change(&n, "b");
        assert_false(notify_retry(&n));
        notify_last(&n, "c");
        notify_close(&n);
    }
}

static void test_a_dead_manager_is_owed_nothing_and_found_again(void **state)
{
    struct manager m;
    struct notify n;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    (void) close(m.fd); /* nobody is behind the name */
    notify_change(&n, "READY=1");
    assert_false(notify_retry(&n));
    assert_int_equal(unlink(m.address), 0); /* nor is there one */
    notify_change(&n, "READY=1");
    notify_last(&n, "READY=1");
    assert_false(notify_retry(&n));
    manager_bind(&m);
    notify_change(&n, "READY=2");
    assert_string_equal(next(&m), "READY=2");
    notify_close(&n);
    manager_close(&m);
}

static void test_a_full_manager_gets_changes_later_and_in_their_order(void **state)
{
    struct manager m;
    struct notify n;
    unsigned sent;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    sent = fill(&n);
    notify_change(&n, "RELOADING=1");
    notify_say(&n, "STATUS=forgotten");
    notify_change(&n, "READY=1");
    assert_true(notify_retry(&n));
    skip_fill(&m, sent);
    assert_false(notify_retry(&n));
    assert_string_equal(next(&m), "RELOADING=1");
    assert_string_equal(next(&m), "READY=1");
    assert_string_equal(next(&m), "");
    notify_close(&n);
    manager_close(&m);
}

static void test_a_change_does_not_overtake_what_is_owed(void **state)
{
    struct manager m;
    struct notify n;
    unsigned sent;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    sent = fill(&n);
    notify_change(&n, "1");
    skip_fill(&m, sent);
    notify_change(&n, "2");
    assert_string_equal(next(&m), "1");
    assert_string_equal(next(&m), "2");
    notify_close(&n);
    manager_close(&m);
}

static void test_of_what_is_owed_the_newest_is_kept(void **state)
{
    struct manager m;
    struct notify n;
    char text[16];
    unsigned sent;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    sent = fill(&n);
    for (unsigned i = 0; i < NOTIFY_OWED_MAX + 3; i++) {
        (void) snprintf(text, sizeof(text), "N=%u", i);
        notify_change(&n, text);
    }
    skip_fill(&m, sent);
    assert_false(notify_retry(&n));
    for (unsigned i = 3; i < NOTIFY_OWED_MAX + 3; i++) {
        (void) snprintf(text, sizeof(text), "N=%u", i);
        assert_string_equal(next(&m), text);
    }
    assert_string_equal(next(&m), "");
    notify_close(&n);
    manager_close(&m);
}

/* It waits a while for one that is only slow, and not for ever. */
static void test_the_last_word_gives_up_on_a_full_manager(void **state)
{
    struct manager m;
    struct notify n;
    uint64_t begin_ns;
    unsigned sent;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    sent = fill(&n);
    notify_change(&n, "owed");
    begin_ns = clock_monotonic_ns();
    notify_last(&n, "MAINPID=1");
    assert_true(clock_monotonic_ns() - begin_ns >= NOTIFY_LAST_MS * NS_PER_MS / 2);
    skip_fill(&m, sent);
    assert_string_equal(next(&m), "");
    notify_close(&n);
    manager_close(&m);
}

static void test_a_long_notice_is_cut(void **state)
{
    char text[2 * NOTIFY_BYTES];
    struct manager m;
    struct notify n;

    (void) state;
    manager_open(&m);
    notify_open(&n, m.address);
    memset(text, 's', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    notify_change(&n, text);
    assert_int_equal(strlen(next(&m)), NOTIFY_BYTES - 1);
    notify_close(&n);
    manager_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notices_arrive_as_they_are),
        cmocka_unit_test(test_an_abstract_name_is_found),
        cmocka_unit_test(test_what_is_no_address_is_nobody),
        cmocka_unit_test(test_a_dead_manager_is_owed_nothing_and_found_again),
        cmocka_unit_test(test_a_full_manager_gets_changes_later_and_in_their_order),
        cmocka_unit_test(test_a_change_does_not_overtake_what_is_owed),
        cmocka_unit_test(test_of_what_is_owed_the_newest_is_kept),
        cmocka_unit_test(test_the_last_word_gives_up_on_a_full_manager),
        cmocka_unit_test(test_a_long_notice_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
