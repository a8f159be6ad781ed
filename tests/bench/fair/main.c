/* SPDX-License-Identifier: MIT */
/* bus-fair: what a user still gets while another one does his worst. As root, for it becomes two
 * users; docs/decisions/039-fair-turns.md. */
#include <bus/bus.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/macros.h"
#include "fair/attack.h"

#define HOSTILE_UID 64991
#define VICTIM_UID 64990
#define BODY 100u
#define BUCKETS 64u

struct shared {
    _Atomic bool is_listening, is_subscribed, is_attacking, is_over;
    _Atomic uint64_t sent, received, lost, latency_max_ns;
    _Atomic uint64_t latencies[BUCKETS]; /* by powers of the root of 2, from 1 us */
};

struct options {
    const char *router;
    unsigned seconds;
    uint64_t rate; /* 0: as fast as it goes */
    bool stays_root;
};

static struct shared *shared;
static char dir[] = "/tmp/bus-fair-XXXXXX";
static char address[128];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void become(uid_t uid)
{
    if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0) {
        die("setuid");
    }
}

/* ---- the router ---- */

static pid_t router_begin(const char *program)
{
    char fd[16];
    char ready[8];
    int pipe_fds[2];
    pid_t pid;

    if (pipe(pipe_fds) < 0) {
        die("pipe");
    }
    (void) snprintf(fd, sizeof(fd), "%d", pipe_fds[1]);
    pid = fork();
    if (pid == 0) {
        (void) close(pipe_fds[0]);
        (void) execl(program, program, "--no-config", "--listen", address, "--mode", "0666",
                     "--ready-fd", fd, "--log-level", "error", "--rule", "allow all topic=#",
                     (char *) NULL);
        _exit(127);
    }
    (void) close(pipe_fds[1]);
    if (read(pipe_fds[0], ready, sizeof(ready)) <= 0) {
        fprintf(stderr, "the router does not start\n");
        exit(1);
    }
    (void) close(pipe_fds[0]);
    return pid;
}

/* Time on a processor. */
static uint64_t cpu_ns(pid_t pid)
{
    char path[64];
    uint64_t ns = 0;
    FILE *f;

    (void) snprintf(path, sizeof(path), "/proc/%d/schedstat", (int) pid);
    f = fopen(path, "r");
    if (!f || fscanf(f, "%" SCNu64, &ns) != 1) {
        die(path);
    }
    (void) fclose(f);
    return ns;
}

/* ---- the victim ---- */

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    uint64_t sent_ns, ns;
    unsigned bucket = 0;

    (void) sub;
    (void) userdata;
    memcpy(&sent_ns, bus_message_data(message), sizeof(sent_ns));
    ns = clock_monotonic_ns() - sent_ns;
    while (bucket + 1 < BUCKETS && UINT64_C(1000) << (bucket / 2) < ns) {
        bucket++;
    }
    shared->latencies[bucket]++;
    if (ns > shared->latency_max_ns) {
        shared->latency_max_ns = ns;
    }
    shared->received++;
}

static _Noreturn void subscriber_run(void)
{
    struct bus_conn *conn;

    if (bus_open(address, NULL, &conn) < 0 ||
        bus_subscribe(conn, "victim/topic", NULL, on_message, NULL, NULL) < 0 ||
        bus_flush(conn, 10000) < 0) {
        _exit(1);
    }
    shared->is_subscribed = true;
    (void) bus_run(conn);
    _exit(0);
}

static _Noreturn void publisher_run(uint64_t rate)
{
    uint64_t begin_ns = clock_monotonic_ns(), n = 0;
    uint8_t body[BODY] = {0};
    struct bus_topic *topic;
    struct bus_conn *conn;

    if (bus_open(address, NULL, &conn) < 0 || bus_advertise(conn, "victim/topic", &topic) < 0) {
        _exit(1);
    }
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        uint64_t due = rate ? (now_ns - begin_ns) * rate / 1000000000 : n + 64;

        bus_cork(conn);
        for (unsigned i = 0; n < due && i < 1000; n++, i++) {
            memcpy(body, &now_ns, sizeof(now_ns));
            if (bus_topic_publish(topic, body, sizeof(body), NULL) < 0) {
                break;
            }
        }
        if (bus_uncork(conn) < 0 || bus_process(conn) < 0) {
            _exit(1);
        }
        shared->sent = n;
        if (n < due) {
            (void) bus_wait_writable(conn, 100);
        } else if (rate) {
            (void) bus_wait(conn, 1);
        }
    }
}

/* ---- a run ---- */

struct result {
    double rate;
    uint64_t p50_us, p99_us, max_us;
    double router_share; /* of a processor */
};

static uint64_t latency_us(double part)
{
    uint64_t n = 0, seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        n += shared->latencies[i];
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += shared->latencies[i];
        if ((double) seen >= part * (double) n) {
            return UINT64_C(1) << (i / 2);
        }
    }
    return 0;
}

static pid_t child(void)
{
    pid_t pid = fork();

    if (pid < 0) {
        die("fork");
    }
    return pid;
}

static void await(const _Atomic bool *flag)
{
    while (!*flag) {
        (void) usleep(1000);
    }
}

static struct result run(const struct options *o, enum attack attack, unsigned n_links)
{
    const struct attack_plan plan = {attack, address + strlen("stream:"), n_links};
    uint64_t begin_ns, begin_cpu_ns, received;
    pid_t router, pids[3];
    struct result result;
    size_t n = 0;

    memset(shared, 0, sizeof(*shared));
    router = router_begin(o->router);
    if ((pids[n++] = child()) == 0) {
        become(VICTIM_UID);
        subscriber_run();
    }
    await(&shared->is_subscribed);
    if (attack != ATTACK_NONE) {
        if ((pids[n++] = child()) == 0) {
            become(HOSTILE_UID);
            attack_run(&plan, &shared->is_attacking);
        }
        await(&shared->is_attacking);
        (void) usleep(200000);
    }
    if ((pids[n++] = child()) == 0) {
        become(VICTIM_UID);
        publisher_run(o->rate);
    }
    (void) usleep(300000);
    memset((void *) shared->latencies, 0, sizeof(shared->latencies));
    shared->latency_max_ns = 0;
    begin_ns = clock_monotonic_ns();
    begin_cpu_ns = cpu_ns(router);
    received = shared->received;
    (void) usleep(o->seconds * 1000000);
    result.rate =
        (double) (shared->received - received) * 1e9 / (double) (clock_monotonic_ns() - begin_ns);
    result.router_share =
        (double) (cpu_ns(router) - begin_cpu_ns) / (double) (clock_monotonic_ns() - begin_ns);
    result.p50_us = latency_us(0.5);
    result.p99_us = latency_us(0.99);
    result.max_us = shared->latency_max_ns / 1000;
    for (size_t i = 0; i < n; i++) {
        (void) kill(pids[i], SIGKILL);
        (void) waitpid(pids[i], NULL, 0);
    }
    (void) kill(router, SIGKILL);
    (void) waitpid(router, NULL, 0);
    (void) unlink(address + strlen("stream:"));
    return result;
}

static void print(const char *name, unsigned n_links, const struct result *r, double offered)
{
    printf("%-10s %5u  %9.0f msg/s (%3.0f %%)  p50 %6" PRIu64 " us  p99 %6" PRIu64
           " us  max %7" PRIu64 " us  router %3.0f %% of a processor\n",
           name, n_links, r->rate, offered > 0 ? 100 * r->rate / offered : 100, r->p50_us,
           r->p99_us, r->max_us, 100 * r->router_share);
    (void) fflush(stdout);
}

static void run_all(struct options *o, const char *only, unsigned only_links)
{
    static const unsigned links[] = {1, 100, 1000};
    struct result alone = run(o, ATTACK_NONE, 0);
    double offered = alone.rate;

    print("saturated", 0, &alone, 0);
    if (o->rate == 0) {
        o->rate = (uint64_t) (alone.rate / 2);
        offered = (double) o->rate;
        alone = run(o, ATTACK_NONE, 0);
        print("alone", 0, &alone, offered);
    }
    for (int a = 1; a < ATTACK_COUNT; a++) {
        for (size_t i = 0; i < ARRAY_LEN(links); i++) {
            struct result r;

            if ((only && strcmp(only, attack_name((enum attack) a)) != 0) ||
                (only_links > 0 && links[i] != only_links)) {
                continue;
            }
            r = run(o, (enum attack) a, links[i]);
            print(attack_name((enum attack) a), links[i], &r, offered);
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {.router = getenv("BUS_ROUTER"), .seconds = 2};
    const char *only = NULL;
    unsigned only_links = 0;
    int c;

    while ((c = getopt(argc, argv, "b:s:r:a:l:")) != -1) {
        switch (c) {
        case 'b':
            o.router = optarg;
            break;
        case 's':
            o.seconds = (unsigned) atoi(optarg);
            break;
        case 'r':
            o.rate = (uint64_t) atoll(optarg);
            break;
        case 'a':
            only = optarg;
            break;
        case 'l':
            only_links = (unsigned) atoi(optarg);
            break;
        default:
            fprintf(stderr, "bus-fair [-b ROUTER] [-s SECONDS] [-r RATE] [-a ATTACK] [-l LINKS]\n");
            return 2;
        }
    }
    if (geteuid() != 0 || !o.router) {
        fprintf(stderr, "bus-fair runs as root, with $BUS_ROUTER or -b\n");
        return 2;
    }
    (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(dir) || chmod(dir, 0755) < 0) {
        die("bus-fair");
    }
    (void) snprintf(address, sizeof(address), "stream:%s/s", dir);
    run_all(&o, only, only_links);
    (void) rmdir(dir);
    return 0;
}
