/* SPDX-License-Identifier: MIT */
#include "support/router_fixture.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/arena.h"
#include "base/sock.h"
#include "support/unit.h"
#include "wire/codec.h"

/* ---- processes ---- */

static const char *router_binary(void)
{
    const char *path = getenv("BUS_ROUTER");

    if (!path) {
        fail_msg("BUS_ROUTER must be the path of bus-router");
    }
    return path;
}

/* What is in the way of the descriptors from 3 on is moved out of it, and is another number then.
 */
#define FIRST_FREE_FD 64

static void child_pass_fds(const struct router_options *o)
{
    char number[16];
    int fds[16];

    for (unsigned i = 0; i < o->n_listen_fds; i++) {
        fds[i] = fcntl(o->listen_fds[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    }
    for (unsigned i = 0; i < o->n_listen_fds; i++) {
        (void) dup2(fds[i], 3 + (int) i);
    }
    (void) snprintf(number, sizeof(number), "%u", o->n_listen_fds);
    (void) setenv("LISTEN_FDS", number, 1);
    (void) snprintf(number, sizeof(number), "%ld", (long) getpid());
    (void) setenv("LISTEN_PID", number, 1);
}

static void child_set_env(const struct router_options *o)
{
    char number[16];

    for (size_t i = 0; o->env && o->env[i]; i++) {
        (void) putenv((char *) (uintptr_t) o->env[i]);
    }
    if (o->watchdog_pid) {
        (void) snprintf(number, sizeof(number), "%ld", (long) getpid());
        (void) setenv("WATCHDOG_PID", number, 1);
    }
}

static void child_exec(const struct router_options *o, int stderr_fd, int ready)
{
    int ready_fd = fcntl(ready, F_DUPFD, FIRST_FREE_FD);
    const struct rlimit limit = {o->nofile, o->nofile};
    const char *argv[FIXTURE_ARGS_MAX + 5] = {router_binary(), "--no-config", "--ready-fd"};
    char number[16];
    size_t n = 3;

    (void) snprintf(number, sizeof(number), "%d", ready_fd);
    argv[n++] = number;
    for (size_t i = 0; o->args && o->args[i] && n < FIXTURE_ARGS_MAX; i++) {
        argv[n++] = o->args[i];
    }
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing running */
    if (stderr_fd >= 0) {
        (void) dup2(stderr_fd, STDERR_FILENO);
    } else {
        (void) close(STDERR_FILENO);
    }
    child_set_env(o);
    if (o->listen_fds) {
        child_pass_fds(o);
    }
    if (o->nofile > 0) {
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void) execv(argv[0], (char **) (uintptr_t) argv);
    _exit(127);
}

void router_spawn(struct router_process *p, const struct router_options *o)
{
    int ready[2], stderr_fd = o->stderr_fd;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    *p = (struct router_process){.ready_fd = ready[0], .stderr_fd = -1};
    if (stderr_fd == 0) {
        stderr_fd = p->stderr_fd = memfd_create("router.stderr", MFD_CLOEXEC);
        assert_true(stderr_fd >= 0);
        assert_int_equal(fcntl(stderr_fd, F_SETFL, O_APPEND), 0);
    }
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        child_exec(o, stderr_fd, ready[1]);
    }
    (void) close(ready[1]);
}

static void wait_readable(int fd, const char *what)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (poll(&poll_fd, 1, FIXTURE_TIMEOUT_MS) != 1) {
        fail_msg("%s did not come in time", what);
    }
}

bool router_is_ready(struct router_process *p)
{
    char buf[16] = "";

    wait_readable(p->ready_fd, "READY");
    return read(p->ready_fd, buf, sizeof(buf) - 1) > 0 && strcmp(buf, "READY\n") == 0;
}

int router_wait(struct router_process *p)
{
    int pidfd = (int) syscall(SYS_pidfd_open, p->pid, 0);
    int status;

    assert_true(pidfd >= 0);
    wait_readable(pidfd, "the end of bus-router");
    (void) close(pidfd);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void router_log(const struct router_process *p, char buf[FIXTURE_LOG_BYTES])
{
    ssize_t n = p->stderr_fd < 0 ? 0 : pread(p->stderr_fd, buf, FIXTURE_LOG_BYTES - 1, 0);

    assert_true(n >= 0);
    buf[n] = '\0';
}

void assert_says(const char *log, const char *needle)
{
    if (!strstr(log, needle)) {
        fail_msg("'%s' is not in: %s", needle, log);
    }
}

void router_discard(struct router_process *p)
{
    (void) close(p->ready_fd);
    if (p->stderr_fd >= 0) {
        (void) close(p->stderr_fd);
    }
    *p = (struct router_process){.ready_fd = -1, .stderr_fd = -1};
}

int router_run(const char *const *args, char err[FIXTURE_LOG_BYTES])
{
    const struct router_options o = {.args = args};
    struct router_process p;
    int code;

    router_spawn(&p, &o);
    assert_false(router_is_ready(&p));
    code = router_wait(&p);
    router_log(&p, err);
    router_discard(&p);
    return code;
}

size_t router_rss_bytes(const struct router_process *p)
{
    char path[64];
    unsigned long pages;
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%ld/statm", (long) p->pid);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    (void) fclose(f);
    return pages * (size_t) sysconf(_SC_PAGESIZE);
}

uint64_t router_cpu_ns(const struct router_process *p)
{
    unsigned long long ns;
    char path[64];
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%ld/schedstat", (long) p->pid);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu", &ns), 1);
    (void) fclose(f);
    return ns;
}

unsigned router_fd_count(const struct router_process *p)
{
    char path[64];
    unsigned n = 0;
    DIR *dir;

    (void) snprintf(path, sizeof(path), "/proc/%ld/fd", (long) p->pid);
    dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        n += e->d_name[0] != '.';
    }
    (void) closedir(dir);
    return n;
}

/* ---- the fixture ---- */

void fixture_dir_new(char dir[64])
{
    (void) snprintf(dir, 64, "/tmp/bus-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

void fixture_dir_remove(const char *dir)
{
    assert_int_equal(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

const char *fixture_path(const char *address)
{
    return strchr(address, ':') + 1;
}

void router_restart(struct router_fixture *f, const struct router_options *o)
{
    const struct router_options none = {0};
    const char *args[FIXTURE_ARGS_MAX] = {"--listen", f->seqpacket, "--listen", f->stream};
    struct router_options with_addresses = o ? *o : none;

    for (size_t i = 0; with_addresses.args && with_addresses.args[i]; i++) {
        assert_true(i + 5 < FIXTURE_ARGS_MAX);
        args[i + 4] = with_addresses.args[i];
    }
    with_addresses.args = args;
    router_spawn(&f->process, &with_addresses);
    if (!router_is_ready(&f->process)) {
        char log[FIXTURE_LOG_BYTES];

        router_log(&f->process, log);
        fail_msg("bus-router did not start: %s", log);
    }
}

void router_start(struct router_fixture *f, const struct router_options *o)
{
    *f = (struct router_fixture){0};
    fixture_dir_new(f->dir);
    (void) snprintf(f->seqpacket, sizeof(f->seqpacket), "seqpacket:%s/packets", f->dir);
    (void) snprintf(f->stream, sizeof(f->stream), "stream:%s/stream", f->dir);
    router_restart(f, o);
}

/* Prints the log if the process ended otherwise than it should: a sanitizer's report is in it. */
static void expect_exit(struct router_process *p, int expected)
{
    int code = router_wait(p);

    if (code != expected) {
        char log[FIXTURE_LOG_BYTES];

        router_log(p, log);
        fail_msg("bus-router ended with %d, not %d: %s", code, expected, log);
    }
    router_discard(p);
}

/* What is left for the next router, if there are clients that would return to it. */
static void remove_sessions(const struct router_fixture *f)
{
    char path[96];

    (void) snprintf(path, sizeof(path), "%s/packets.sessions", f->dir);
    (void) unlink(path);
}

void router_replace(struct router_fixture *f, const struct router_options *o)
{
    const struct router_options none = {0};
    const char *args[FIXTURE_ARGS_MAX] = {"--replace"};
    struct router_options with_replace = o ? *o : none;
    struct router_process old = f->process;
    size_t n = 1;

    for (; with_replace.args && with_replace.args[n - 1]; n++) {
        args[n] = with_replace.args[n - 1];
    }
    with_replace.args = args;
    router_restart(f, &with_replace);
    expect_exit(&old, 0);
}

void router_stop(struct router_fixture *f)
{
    assert_int_equal(kill(f->process.pid, SIGTERM), 0);
    expect_exit(&f->process, 0);
    assert_int_equal(access(fixture_path(f->seqpacket), F_OK), -1);
    assert_int_equal(access(fixture_path(f->stream), F_OK), -1);
    remove_sessions(f);
    /* neither sockets nor locks are left */
    assert_int_equal(rmdir(f->dir), 0);
}

void router_kill9(struct router_fixture *f)
{
    assert_int_equal(kill(f->process.pid, SIGKILL), 0);
    expect_exit(&f->process, -SIGKILL);
}

/* ---- raw clients ---- */

void raw_connect(struct raw_client *c, const char *address)
{
    struct address a;
    int type;

    assert_int_equal(address_parse(address, &a), 0);
    *c = (struct raw_client){.fd = sock_connect(&a, &type)};
    assert_true(c->fd >= 0);
    c->data = malloc(RAW_BYTES);
    assert_non_null(c->data);
}

void raw_close(struct raw_client *c)
{
    (void) close(c->fd);
    free(c->data);
    *c = (struct raw_client){.fd = -1};
}

void raw_send(struct raw_client *c, const void *data, size_t len)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    ssize_t n;

    while (len > 0) {
        assert_int_equal(poll(&p, 1, FIXTURE_TIMEOUT_MS), 1);
        n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            continue;
        }
        assert_true(n > 0);
        data = (const uint8_t *) data + n;
        len -= (size_t) n;
    }
}

size_t raw_frame(uint8_t *dst, size_t cap, enum verb verb, const void *message)
{
    _Alignas(16) uint8_t memory[8192];
    struct arena arena = {memory, 0, sizeof(memory)};
    long n;

    n = codec_encode(&arena, verb, message, dst + FRAME_PREFIX_BYTES, cap - FRAME_PREFIX_BYTES);
    assert_true(n >= 0);
    frame_write_prefix(dst, verb, (size_t) n, 0);
    return FRAME_PREFIX_BYTES + (size_t) n;
}

void raw_send_frame(struct raw_client *c, enum verb verb, const void *message)
{
    uint8_t buf[1024];

    raw_send(c, buf, raw_frame(buf, sizeof(buf), verb, message));
}

void raw_send_hello(struct raw_client *c, const char *name)
{
    const struct wire_hello hello = {
        .protocol_min = 1,
        .protocol_max = 1,
        .client_name = text_from(name),
        .resume_token = text_from(""),
    };

    raw_send_frame(c, VERB_HELLO, &hello);
}

void raw_send_ping(struct raw_client *c, uint64_t token)
{
    const struct wire_ping ping = {token};

    raw_send_frame(c, VERB_PING, &ping);
}

bool raw_is_readable(const struct raw_client *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

bool raw_receive(struct raw_client *c)
{
    ssize_t n;

    assert_true(c->len < RAW_BYTES);
    wait_readable(c->fd, "an answer");
    n = recv(c->fd, c->data + c->len, RAW_BYTES - c->len, 0);
    if (n < 0) {
        fail_msg("receiving failed: %s", strerror(errno));
    }
    c->len += (size_t) n;
    return n > 0;
}

/* Decodes the first frame into memory that lives until the next one is taken. */
static void take_frame(struct raw_client *c, const struct frame *f, size_t bytes,
                       union wire_any *ret)
{
    static uint8_t memory[CODEC_ARENA_BYTES]; /* tests have one thread */
    struct arena arena = {.base = memory, .capacity = sizeof(memory)};

    assert_int_equal(codec_decode(&arena, f->verb, f->header, f->header_bytes, ret), CODEC_OK);
    memmove(c->data, c->data + bytes, c->len - bytes);
    c->len -= bytes;
}

int raw_next(struct raw_client *c, union wire_any *ret)
{
    struct frame f;
    size_t bytes;

    while (frame_parse(c->data, c->len, UINT32_MAX, &f, &bytes) != FRAME_OK) {
        if (!raw_receive(c)) {
            assert_int_equal(c->len, 0);
            return 0;
        }
    }
    take_frame(c, &f, bytes, ret);
    return f.verb;
}

void raw_greet(struct raw_client *c, const char *address)
{
    union wire_any m;

    raw_connect(c, address);
    raw_send_hello(c, "raw");
    assert_int_equal(raw_next(c, &m), VERB_WELCOME);
}

void raw_round_trip(struct raw_client *c, uint64_t token)
{
    union wire_any m;

    raw_send_ping(c, token);
    assert_int_equal(raw_next(c, &m), VERB_PONG);
    assert_int_equal(m.pong.token, token);
}

/* Sends a packet; false if the socket takes none for a while. */
static bool try_send(struct raw_client *c, const uint8_t *data, size_t len)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};

    while (send(c->fd, data, len, MSG_NOSIGNAL) < 0) {
        assert_int_equal(errno, EAGAIN);
        if (poll(&p, 1, 300) != 1) {
            return false;
        }
    }
    return true;
}

uint64_t raw_fill(struct raw_client *c)
{
    uint8_t buf[16384];
    uint64_t sent = 0;

    for (;;) {
        struct wire_ping ping = {sent};
        size_t len = 0;

        while (len + 64 < sizeof(buf)) {
            ping.token++;
            len += raw_frame(buf + len, sizeof(buf) - len, VERB_PING, &ping);
        }
        if (!try_send(c, buf, len)) {
            return sent;
        }
        sent = ping.token;
    }
}

void raw_expect_goodbye(struct raw_client *c, unsigned reason)
{
    union wire_any m;

    assert_int_equal(raw_next(c, &m), VERB_GOODBYE);
    assert_int_equal(m.goodbye.reason, reason);
    assert_int_equal(raw_next(c, &m), 0);
}
