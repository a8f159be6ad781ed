/* SPDX-License-Identifier: MIT */
/* A router on sockets that whoever started it has opened: real processes that are given
 * descriptors from 3 on. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "support/router_fixture.h"
#include "support/unit.h"

static char text[FIXTURE_LOG_BYTES];

enum { PACKETS, STREAM, DOORS };

/* What a service manager has: the sockets, whoever serves there. */
struct manager {
    char dir[64];
    char addresses[DOORS][96];
    int fds[DOORS];
    const char *args[8];
    struct router_options options;
    struct router_process p;
};

static const char *const names[] = {"LISTEN_FDNAMES=public:inside", NULL};

static int door(const char *address, int type)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    (void) snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fixture_path(address));
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *) &sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static void manager_open(struct manager *m)
{
    *m = (struct manager){0};
    fixture_dir_new(m->dir);
    (void) snprintf(m->addresses[PACKETS], 96, "seqpacket:%s/packets", m->dir);
    (void) snprintf(m->addresses[STREAM], 96, "stream:%s/stream", m->dir);
    m->fds[PACKETS] = door(m->addresses[PACKETS], SOCK_SEQPACKET);
    m->fds[STREAM] = door(m->addresses[STREAM], SOCK_STREAM);
    m->options = (struct router_options){
        .args = m->args, .env = names, .listen_fds = m->fds, .n_listen_fds = DOORS};
}

static void manager_close(struct manager *m)
{
    (void) close(m->fds[PACKETS]);
    (void) close(m->fds[STREAM]);
    fixture_dir_remove(m->dir);
}

static void service_start(struct manager *m)
{
    router_spawn(&m->p, &m->options);
    if (!router_is_ready(&m->p)) {
        router_log(&m->p, text);
        fail_msg("bus-router did not start: %s", text);
    }
}

static void service_stop(struct manager *m)
{
    assert_int_equal(kill(m->p.pid, SIGTERM), 0);
    assert_int_equal(router_wait(&m->p), 0);
    router_log(&m->p, text);
    router_discard(&m->p);
}

static void greet(const char *address)
{
    struct raw_client c;

    raw_greet(&c, address);
    raw_round_trip(&c, 1);
    raw_close(&c);
}

static bool is_there(const struct manager *m, const char *name)
{
    char path[96];

    (void) snprintf(path, sizeof(path), "%s/%s", m->dir, name);
    return access(path, F_OK) == 0;
}

static void expect_refused(struct manager *m, const char *why)
{
    router_spawn(&m->p, &m->options);
    assert_false(router_is_ready(&m->p));
    assert_int_equal(router_wait(&m->p), 1);
    router_log(&m->p, text);
    assert_says(text, why);
    router_discard(&m->p);
}

static void test_it_serves_on_sockets_of_both_types_with_their_names(void **state)
{
    struct manager m;

    (void) state;
    manager_open(&m);
    service_start(&m);
    greet(m.addresses[PACKETS]);
    greet(m.addresses[STREAM]);
    service_stop(&m);
    assert_says(text, "packets name=public given=yes");
    assert_says(text, "stream name=inside given=yes");
    manager_close(&m);
}

static void test_without_names_they_have_none(void **state)
{
    struct manager m;

    (void) state;
    manager_open(&m);
    m.options.env = NULL;
    service_start(&m);
    greet(m.addresses[STREAM]);
    service_stop(&m);
    assert_says(text, "packets name=\"\" given=yes");
    manager_close(&m);
}

/* Who comes while nobody serves waits, and finds the next router. */
static void test_sockets_stay_when_the_router_ends(void **state)
{
    struct manager m;
    struct raw_client c;
    union wire_any w;

    (void) state;
    manager_open(&m);
    for (int i = 0; i < 3; i++) {
        service_start(&m);
        greet(m.addresses[PACKETS]);
        service_stop(&m);
        assert_true(is_there(&m, "packets") && is_there(&m, "stream"));
        assert_false(is_there(&m, "packets.lock") || is_there(&m, "stream.lock"));
        raw_connect(&c, m.addresses[STREAM]);
        raw_send_hello(&c, "early");
        service_start(&m);
        assert_int_equal(raw_next(&c, &w), VERB_WELCOME);
        raw_close(&c);
        assert_int_equal(kill(m.p.pid, SIGKILL), 0);
        assert_int_equal(router_wait(&m.p), -SIGKILL);
        router_discard(&m.p);
    }
    manager_close(&m);
}

static void test_others_are_listened_at_besides(void **state)
{
    char address[96];
    struct manager m;

    (void) state;
    manager_open(&m);
    (void) snprintf(address, sizeof(address), "seqpacket:%s/own", m.dir);
    m.args[0] = m.args[2] = "--listen";
    m.args[1] = address;
    m.args[3] = m.addresses[PACKETS]; /* given, and asked for */
    service_start(&m);
    greet(address);
    greet(m.addresses[PACKETS]);
    greet(m.addresses[STREAM]);
    service_stop(&m);
    assert_says(text, "own name=\"\" given=no");
    assert_false(is_there(&m, "own") || is_there(&m, "own.lock"));
    assert_true(is_there(&m, "packets") && is_there(&m, "stream"));
    manager_close(&m);
}

static void test_nobody_else_gets_the_path(void **state)
{
    struct manager m;
    const char *const args[] = {"--listen", m.addresses[PACKETS], NULL};

    (void) state;
    manager_open(&m);
    assert_int_equal(router_run(args, text), 1); /* the manager listens */
    assert_says(text, "is in use by");
    service_start(&m);
    assert_int_equal(router_run(args, text), 1);
    assert_says(text, "is in use by");
    greet(m.addresses[PACKETS]);
    service_stop(&m);
    manager_close(&m);
}

static void test_descriptors_for_another_process_are_not_taken(void **state)
{
    static const char *const env[] = {"LISTEN_PID=1", "LISTEN_FDS=1", NULL};
    struct router_options o = {.env = env};
    struct router_fixture f;

    (void) state;
    router_start(&f, &o);
    router_log(&f.process, text);
    assert_null(strstr(text, "given=yes"));
    router_stop(&f);
}

static void test_what_is_no_door_is_refused_with_what_to_change(void **state)
{
    static const char *const too_few[] = {"LISTEN_FDNAMES=public", NULL};
    struct manager m;
    int fds[DOORS];

    (void) state;
    manager_open(&m);
    memcpy(fds, m.fds, sizeof(fds));
    m.options.listen_fds = fds;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    expect_refused(&m, "Accept=no");
    (void) close(fds[0]);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect_refused(&m, "ListenSequentialPacket=");
    (void) close(fds[0]);
    (void) close(fds[1]);
    m.options.listen_fds = m.fds;
    m.options.env = too_few;
    expect_refused(&m, "expected are 2 names");
    m.options.env = names;
    m.args[0] = "--replace";
    expect_refused(&m, "start it without --replace");
    assert_true(is_there(&m, "packets") && is_there(&m, "stream"));
    manager_close(&m);
}

/* ---- replacing ---- */

static void replace(struct manager *m, bool by_signal)
{
    static const char *const by_hand[] = {"--replace", "--listen", NULL, NULL};
    const char *args[ARRAY_LEN(by_hand)];
    const struct router_options o = {.args = args};
    struct router_process next = {.pid = 0};

    if (by_signal) {
        assert_int_equal(kill(m->p.pid, SIGUSR2), 0);
    } else {
        memcpy(args, by_hand, sizeof(args));
        args[2] = m->addresses[STREAM];
        router_spawn(&next, &o);
        assert_true(router_is_ready(&next));
    }
    assert_int_equal(router_wait(&m->p), 0);
    if (by_signal) {
        return;
    }
    router_discard(&m->p);
    m->p = next;
}

/* Who listens there now. The kernel notes it at listen() and copies it at connect(), so the first
 * connection only waits until whoever comes next serves. */
static pid_t server_of(const char *address)
{
    struct raw_client c;
    struct ucred creds;
    socklen_t len = sizeof(creds);

    greet(address);
    raw_greet(&c, address);
    assert_int_equal(getsockopt(c.fd, SOL_SOCKET, SO_PEERCRED, &creds, &len), 0);
    raw_close(&c);
    return creds.pid;
}

static void test_who_replaces_it_has_the_sockets_and_leaves_them_too(void **state)
{
    struct manager m;
    struct raw_client c;
    pid_t first, pid;

    (void) state;
    /* its child is ours when it has gone */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    manager_open(&m);
    service_start(&m);
    first = m.p.pid;
    raw_greet(&c, m.addresses[PACKETS]);
    for (int i = 0; i < 4; i++) {
        pid = m.p.pid;
        replace(&m, i % 2 == 0);
        raw_round_trip(&c, 10u + (unsigned) i); /* answered by the next one, which has begun */
        if (i % 2 == 0) {
            m.p.pid = server_of(m.addresses[PACKETS]);
        }
        assert_int_not_equal(m.p.pid, pid);
        assert_int_equal(server_of(m.addresses[PACKETS]), m.p.pid);
        assert_int_equal(server_of(m.addresses[STREAM]), m.p.pid);
    }
    raw_close(&c);
    assert_int_not_equal(m.p.pid, first);
    service_stop(&m);
    assert_says(text, "packets name=public given=yes");
    assert_says(text, "stream name=inside given=yes");
    assert_true(is_there(&m, "packets") && is_there(&m, "stream"));
    assert_false(is_there(&m, "packets.lock") || is_there(&m, "stream.lock"));
    service_start(&m); /* and the manager can give them again */
    greet(m.addresses[STREAM]);
    service_stop(&m);
    manager_close(&m);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* The configuration that is read anew does not say where it listens: that is no change. */
static void test_they_stay_over_a_reload_and_a_replacement_behind_it(void **state)
{
    char config[96];
    struct manager m;
    pid_t first;
    FILE *f;

    (void) state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    manager_open(&m);
    (void) snprintf(config, sizeof(config), "%s/bus.conf", m.dir);
    f = fopen(config, "we");
    assert_non_null(f);
    assert_true(
        fputs("rules = ({ allow = \"all\"; listener = \"public\"; topic = \"#\"; });\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    m.args[0] = "--config";
    m.args[1] = config;
    service_start(&m);
    first = m.p.pid;
    assert_int_equal(kill(first, SIGHUP), 0);
    assert_int_equal(kill(first, SIGUSR2), 0); /* behind the reload */
    assert_int_equal(router_wait(&m.p), 0);
    m.p.pid = server_of(m.addresses[STREAM]);
    assert_int_not_equal(m.p.pid, first);
    assert_int_equal(server_of(m.addresses[PACKETS]), m.p.pid);
    service_stop(&m);
    assert_says(text, "config.loaded files=1 rules=1");
    assert_null(strstr(text, "config.pending"));
    manager_close(&m);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_serves_on_sockets_of_both_types_with_their_names),
        cmocka_unit_test(test_without_names_they_have_none),
        cmocka_unit_test(test_sockets_stay_when_the_router_ends),
        cmocka_unit_test(test_others_are_listened_at_besides),
        cmocka_unit_test(test_nobody_else_gets_the_path),
        cmocka_unit_test(test_descriptors_for_another_process_are_not_taken),
        cmocka_unit_test(test_what_is_no_door_is_refused_with_what_to_change),
        cmocka_unit_test(test_who_replaces_it_has_the_sockets_and_leaves_them_too),
        cmocka_unit_test(test_they_stay_over_a_reload_and_a_replacement_behind_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
