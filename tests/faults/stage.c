/* SPDX-License-Identifier: MIT */
#include "faults/stage.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS (UINT64_C(60) * 1000000000)
#define TURN_MS 2
#define STARTS_MAX 20u

static const struct role *const roles[N_CLIENT_KINDS] = {
    [CLIENT_PUBLISHER] = &publisher_role,
    [CLIENT_SUBSCRIBER] = &subscriber_role,
    [CLIENT_MEMBER] = &member_role,
    [CLIENT_REQUESTER] = &requester_role,
    [CLIENT_SERVER] = &server_role,
    [CLIENT_RELIABLE_PUBLISHER] = &reliable_publisher_role,
    [CLIENT_RELIABLE_SUBSCRIBER] = &reliable_subscriber_role,
};

/* ---- processes ---- */

static void shim_load(const struct stage *s, uint64_t seed, uint32_t one_in)
{
    char text[256];

    if (!s->settings.shim || one_in == 0) {
        return;
    }
    (void) snprintf(text, sizeof(text), "%s/control:%llu:%u", s->dir, (unsigned long long) seed,
                    one_in);
    (void) setenv("BUS_FAULTS_SHIM", text, 1);
    (void) setenv("LD_PRELOAD", s->settings.shim, 1);
    (void) setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
}

static void log_to(const struct stage *s, const char *name)
{
    char path[128];
    int fd;

    (void) snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        (void) dup2(fd, STDERR_FILENO);
        (void) close(fd);
    }
}

/* In the child: never returns. */
__attribute__((noreturn)) static void become_client(const struct stage *s, const struct process *p,
                                                    const char *role, uint64_t seed)
{
    char index[16], number[24], log[32];

    (void) snprintf(index, sizeof(index), "%u", p->index);
    (void) snprintf(number, sizeof(number), "%llu", (unsigned long long) seed);
    (void) snprintf(log, sizeof(log), "log-%02u", p->index);
    log_to(s, log);
    (void) execl(s->settings.self, s->settings.self, "--client", role, "--index", index, "--dir",
                 s->dir, "--seed", number, p->index == s->anchor ? "--anchor" : NULL, NULL);
    _exit(127);
}

static pid_t spawn(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

static void client_start(struct stage *s, struct process *p)
{
    uint64_t seed = s->settings.seed + (uint64_t) p->index * 1000003 + p->n_started++;

    p->is_killed = false;
    p->stopped_ns = 0;
    p->pid = spawn();
    if (p->pid == 0) {
        shim_load(s, seed, s->settings.client_one_in);
        become_client(s, p, p->role->name, seed);
    }
}

bool hostile_start(struct stage *s)
{
    uint64_t seed = dice_u64(&s->dice);

    for (unsigned i = 0; i < HOSTILES_MAX; i++) {
        struct process *p = &s->hostiles[i];

        if (p->pid == 0) {
            p->index = CLIENTS_MAX + i;
            p->pid = spawn();
            if (p->pid == 0) {
                become_client(s, p, "hostile", seed);
            }
            return true;
        }
    }
    return false;
}

/* In the child: never returns. */
__attribute__((noreturn)) static void become_router(const struct stage *s, int ready_fd,
                                                    bool replaces, uint64_t seed)
{
    char listen[2][112], ready[24];

    (void) snprintf(ready, sizeof(ready), "--ready-fd=%d", dup(ready_fd));
    for (unsigned i = 0; i < 2; i++) {
        (void) snprintf(listen[i], sizeof(listen[i]), "--listen=%s", s->addresses[i]);
    }
    log_to(s, "log-router");
    shim_load(s, seed, s->settings.router_one_in);
    /* --linger: longer than any stop, or bodies in buffers would be used again that a stopped
     * client has not looked at */
    (void) execl(s->settings.router, s->settings.router, "--no-config", listen[0], listen[1], ready,
                 "--stall-timeout=500ms", "--drain-timeout=500ms", "--linger=30s",
                 "--restart-grace=30s", replaces ? "--replace" : NULL, NULL);
    _exit(127);
}

/* Whether it says that it is ready. */
static bool router_spawn(struct stage *s, bool replaces, pid_t *ret)
{
    uint64_t seed = s->settings.seed ^ (UINT64_C(77) << 32) ^ s->router.n_started++;
    char text[8];
    int fds[2];
    ssize_t n;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return false;
    }
    *ret = spawn();
    if (*ret == 0) {
        become_router(s, fds[1], replaces, seed);
    }
    (void) close(fds[1]);
    do {
        n = read(fds[0], text, sizeof(text));
    } while (n < 0 && errno == EINTR);
    (void) close(fds[0]);
    return n > 0;
}

/* It may say what fails, but not crash. */
static void router_failed(struct stage *s, pid_t pid)
{
    int status = 0;

    (void) waitpid(pid, &status, 0);
    if (!WIFEXITED(status)) {
        s->n_wrong++;
        (void) fprintf(stderr, "bus-faults: WRONG: a router that starts ends by signal %d\n",
                       WTERMSIG(status));
    }
}

bool router_start(struct stage *s)
{
    s->router.is_killed = false;
    s->router.stopped_ns = 0;
    for (unsigned i = 0; i < STARTS_MAX; i++) { /* calls of it may fail */
        if (router_spawn(s, false, &s->router.pid)) {
            return true;
        }
        router_failed(s, s->router.pid);
        s->router.pid = 0;
    }
    return false;
}

static void say_file(pid_t pid, const char *task, const char *file)
{
    char path[320], line[256];
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int) pid, task, file);
    f = fopen(path, "r");
    if (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        (void) fprintf(stderr, " %s: %s;", file, line);
    }
    if (f) {
        (void) fclose(f);
    }
}

/* What each of its threads waits for; a core is left to whoever looks for the cause. */
static void say_where_it_is(pid_t pid)
{
    char path[64];
    struct dirent *e;
    DIR *d;

    (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
    d = opendir(path);
    while (d && (e = readdir(d))) {
        if (*e->d_name != '.') {
            (void) fprintf(stderr, "bus-faults: its thread %s:", e->d_name);
            say_file(pid, e->d_name, "comm");
            say_file(pid, e->d_name, "wchan");
            say_file(pid, e->d_name, "syscall");
            say_file(pid, e->d_name, "stat");
            (void) fputc('\n', stderr);
        }
    }
    if (d) {
        (void) closedir(d);
    }
    (void) kill(pid, SIGABRT);
}

/* Its end, with 0. */
static bool router_await(struct stage *s)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    int status = -1;
    pid_t pid = 0;

    while (pid == 0 && now_ns() < until_ns) {
        pid = waitpid(s->router.pid, &status, WNOHANG);
        (void) poll(NULL, 0, TURN_MS);
    }
    if (pid != s->router.pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        (void) fprintf(stderr, "bus-faults: WRONG: the router does not end with 0: status %x\n",
                       (unsigned) status);
        s->n_wrong++;
        if (pid == 0) {
            say_where_it_is(s->router.pid);
        }
        process_kill(&s->router);
        return false;
    }
    s->router.pid = 0;
    return true;
}

bool router_replace(struct stage *s)
{
    pid_t new;

    if (!s->can_replace || s->router.is_killed) {
        return false;
    }
    process_continue(&s->router);
    if (!router_spawn(s, true, &new)) { /* a call has failed it: the old one goes on */
        router_failed(s, new);
        return false;
    }
    if (!router_await(s)) {
        return false;
    }
    s->router.pid = new;
    return true;
}

void process_kill(struct process *p)
{
    if (p->pid > 0) {
        p->is_killed = true;
        (void) kill(p->pid, SIGKILL);
    }
}

void process_stop(struct process *p, uint64_t for_ns)
{
    if (p->pid > 0 && p->stopped_ns == 0) {
        p->stopped_ns = now_ns() + for_ns;
        (void) kill(p->pid, SIGSTOP);
    }
}

void process_continue(struct process *p)
{
    if (p->pid > 0 && p->stopped_ns != 0) {
        (void) kill(p->pid, SIGCONT);
    }
    p->stopped_ns = 0;
}

static struct process *process_by_pid(struct stage *s, pid_t pid)
{
    for (unsigned i = 0; i < s->n_clients; i++) {
        if (s->clients[i].pid == pid) {
            return &s->clients[i];
        }
    }
    for (unsigned i = 0; i < HOSTILES_MAX; i++) {
        if (s->hostiles[i].pid == pid) {
            return &s->hostiles[i];
        }
    }
    return s->router.pid == pid ? &s->router : NULL;
}

static void note_end(struct stage *s, struct process *p, int status)
{
    bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool is_expected = p->is_killed || (is_good && (!p->role || s->control->phase == PHASE_END));

    p->pid = 0;
    p->stopped_ns = 0;
    if (is_expected && (p != &s->router || p->is_killed)) {
        return;
    }
    s->n_wrong++;
    (void) fprintf(stderr, "bus-faults: WRONG: %s %u has ended by itself: %s %d\n",
                   p == &s->router ? "the router"
                   : p->role       ? p->role->name
                                   : "a hostile client",
                   p->index, WIFEXITED(status) ? "exit code" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void reap(struct stage *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct process *p = process_by_pid(s, pid);

        if (p) {
            note_end(s, p, status);
        }
    }
}

void stage_turn(struct stage *s)
{
    uint64_t now = now_ns();

    (void) poll(NULL, 0, TURN_MS);
    reap(s);
    if (s->router.pid == 0 && !router_start(s)) {
        s->n_wrong++;
        (void) fputs("bus-faults: WRONG: the router does not start\n", stderr);
    }
    if (s->router.stopped_ns && s->router.stopped_ns <= now) {
        process_continue(&s->router);
    }
    for (unsigned i = 0; i < s->n_clients; i++) {
        struct process *p = &s->clients[i];

        if (p->pid == 0 && s->control->phase != PHASE_END) {
            client_start(s, p);
        }
        if (p->stopped_ns && p->stopped_ns <= now) {
            process_continue(p);
        }
    }
}

/* ---- all ---- */

void clients_begin(struct stage *s)
{
    for (unsigned i = 0; i < s->n_clients; i++) {
        records_clear(s->records[i]);
    }
    s->control->phase = PHASE_CHAOS;
    s->control->shim_is_on = 1;
    stage_turn(s);
}

static bool some_run(const struct stage *s)
{
    for (unsigned i = 0; i < s->n_clients; i++) {
        if (s->clients[i].pid) {
            return true;
        }
    }
    return false;
}

bool clients_end(struct stage *s)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;

    s->control->phase = PHASE_END;
    while (some_run(s) && now_ns() < until_ns && s->n_wrong == 0) {
        stage_turn(s);
    }
    if (some_run(s)) {
        (void) fputs("bus-faults: WRONG: a client does not come to its end\n", stderr);
        return false;
    }
    return true;
}

void hostiles_end(struct stage *s)
{
    for (unsigned i = 0; i < HOSTILES_MAX; i++) {
        process_kill(&s->hostiles[i]);
        while (s->hostiles[i].pid) {
            stage_turn(s);
        }
    }
}

bool router_stop(struct stage *s)
{
    (void) kill(s->router.pid, SIGTERM);
    return router_await(s);
}

/* Whether it can take the place of another. */
static bool knows_replace(const char *router)
{
    char command[600], line[256];
    bool does = false;
    FILE *help;

    (void) snprintf(command, sizeof(command), "'%s' --help", router);
    help = popen(command, "r");
    while (help && fgets(line, sizeof(line), help)) {
        does = does || strstr(line, "--replace\n");
    }
    if (help) {
        (void) pclose(help);
    }
    return does;
}

static void clients_plan(struct stage *s)
{
    for (unsigned kind = 0; kind < N_CLIENT_KINDS; kind++) {
        for (unsigned i = 0; i < roles[kind]->count; i++) {
            if (kind == CLIENT_MEMBER && i == 0) {
                s->anchor = s->n_clients;
            }
            s->kinds[s->n_clients] = (enum client_kind) kind;
            s->clients[s->n_clients] = (struct process){.role = roles[kind], .index = s->n_clients};
            s->n_clients++;
        }
    }
}

int stage_open(struct stage *s, const struct settings *settings)
{
    const char *tmp = getenv("TMPDIR");
    int n;

    *s = (struct stage){.settings = *settings, .dice = {settings->seed}};
    n = snprintf(s->dir, sizeof(s->dir), "%s/bus-faults-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (n < 0 || (size_t) n >= sizeof(s->dir) || !mkdtemp(s->dir)) {
        (void) fprintf(stderr, "bus-faults: no directory %s: %s\n", s->dir, strerror(errno));
        return -1;
    }
    (void) snprintf(s->addresses[0], sizeof(s->addresses[0]), "seqpacket:%s/s", s->dir);
    (void) snprintf(s->addresses[1], sizeof(s->addresses[1]), "stream:%s/t", s->dir);
    clients_plan(s);
    s->can_replace = knows_replace(settings->router);
    s->control = control_map(s->dir);
    for (unsigned i = 0; i < s->n_clients; i++) {
        s->records[i] = records_map(s->dir, i);
        if (!s->control || !s->records[i]) {
            (void) fprintf(stderr, "bus-faults: no records: %s\n", strerror(errno));
            return -1;
        }
    }
    s->control->phase = PHASE_END; /* until clients_begin() */
    return 0;
}

void stage_close(struct stage *s, bool is_good)
{
    for (unsigned i = 0; i < s->n_clients; i++) {
        process_kill(&s->clients[i]);
    }
    for (unsigned i = 0; i < HOSTILES_MAX; i++) {
        process_kill(&s->hostiles[i]);
    }
    process_kill(&s->router);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    if (is_good && !s->settings.keeps) {
        dir_remove(s->dir);
    } else {
        (void) fprintf(stderr, "bus-faults: the records are in %s\n", s->dir);
    }
}
