/* SPDX-License-Identifier: MIT */
/* bus-faults: a router, its clients, and everything that may go wrong between them, for so long;
 * then whether what docs/reliability.md promises was held. */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "faults/stage.h"

#define NS_PER_MS UINT64_C(1000000)
#define ROUND_MS 4000u
#define STRIKE_MS_MAX 60u

static const char help[] =
    "usage: bus-faults [OPTION]...\n"
    "Run a router and its clients, kill, stop and flood them, let their system calls fail, and\n"
    "check that each message, each request and each job has come to the end that it must.\n"
    "\n"
    "      --seconds N        for so long; default: 20\n"
    "      --seed S           what is drawn from it is drawn again; default: at random\n"
    "      --router PATH      the router; default: $BUS_ROUTER\n"
    "      --shim PATH        the library that lets system calls fail; default: "
    "$BUS_FAULTS_LIBRARY;\n"
    "                         none: they do not\n"
    "      --router-one-in N  so many of the router's system calls, one fails; default: 4000\n"
    "      --client-one-in N  the same for clients; default: 1000\n"
    "      --keep             keep the records\n"
    "      --help             this text\n"
    "\n"
    "Exit codes: 0 all was as it must be; 1 not; 2 wrong usage.\n";

struct totals {
    struct tally tally;
    uint64_t faults[FAULTS_MAX];
    unsigned rounds;
};

/* ---- one round ---- */

static void chaos(struct stage *s, struct totals *t)
{
    uint64_t end_ns = now_ns() + s->settings.round_ms * NS_PER_MS;
    uint64_t next_ns = now_ns();

    while (now_ns() < end_ns && s->n_wrong == 0) {
        if (now_ns() >= next_ns) {
            strike(s, t->faults);
            next_ns = now_ns() + (1 + dice_below(&s->dice, STRIKE_MS_MAX)) * NS_PER_MS;
        }
        stage_turn(s);
    }
}

static bool play_round(struct stage *s, struct totals *t)
{
    t->rounds++;
    clients_begin(s);
    chaos(s, t);
    return stage_settle(s) && clients_end(s) && router_is_at_rest(s, false) && s->n_wrong == 0 &&
           check_round(s->records, s->n_clients, s->anchor, s->kinds, &t->tally) == 0;
}

/* ---- what is said ---- */

#define ROW(name, value) (void) printf("  %-44s %12llu\n", name, (unsigned long long) (value))

static void say_losses(const struct tally *t)
{
#define X(name, number, text)                                                                      \
    if (t->lost[number] > 0) {                                                                     \
        ROW("lost and told: " text, t->lost[number]);                                              \
    }
    BUS_LOSS_LIST(X)
#undef X
}

static void say_ends(const struct tally *t)
{
#define X(name, number, text)                                                                      \
    if (t->ends[number] > 0) {                                                                     \
        ROW("requests that ended with " #name, t->ends[number]);                                   \
    }
    BUS_STATUS_LIST(X)
#undef X
}

static void say_totals(const struct stage *s, const struct totals *t)
{
    const struct tally *k = &t->tally;

    (void) printf("bus-faults: seed %llu, %u rounds\n", (unsigned long long) s->settings.seed,
                  t->rounds);
    for (unsigned i = 0; i < n_faults; i++) {
        ROW(fault_name(i), t->faults[i]);
    }
    ROW("messages and jobs sent", k->sent);
    ROW("... confirmed", k->confirmed);
    ROW("... refused", k->refused);
    ROW("messages delivered", k->delivered);
    say_losses(k);
    ROW("subscriptions accounted for to the end", k->subscriptions);
    ROW("... cut off by a fault", k->cut);
    ROW("... messages at their edges", k->uncertain);
    ROW("jobs accounted for", k->jobs);
    ROW("jobs delivered again", k->redelivered);
    ROW("jobs given up", k->dead);
    ROW("requests", k->requests);
    say_ends(k);
    ROW("longest wait for a confirmation, ms", k->longest_ns / NS_PER_MS);
}

static int play(const struct settings *settings)
{
    struct totals totals = {0};
    struct stage s;
    bool is_good = stage_open(&s, settings) == 0 && router_start(&s) && router_is_at_rest(&s, true);

    for (unsigned i = 0; is_good && i < settings->rounds; i++) {
        is_good = play_round(&s, &totals);
    }
    is_good = is_good && router_stop(&s);
    say_totals(&s, &totals);
    (void) printf("bus-faults: %s\n", is_good ? "all as it must be" : "WRONG");
    stage_close(&s, is_good);
    if (!is_good) {
        (void) fprintf(stderr, "bus-faults: again with --seed %llu\n",
                       (unsigned long long) settings->seed);
    }
    return is_good ? 0 : 1;
}

/* ---- clients ---- */

static int run_client(const char *name, struct client *c, uint64_t seed)
{
    static const struct role *const roles[] = {
        &publisher_role,          &subscriber_role, &member_role,
        &requester_role,          &server_role,     &reliable_publisher_role,
        &reliable_subscriber_role};
    char addresses[2][256];
    const char *const list[2] = {addresses[0], addresses[1]};

    (void) snprintf(addresses[0], sizeof(addresses[0]), "seqpacket:%s/s", c->dir);
    (void) snprintf(addresses[1], sizeof(addresses[1]), "stream:%s/t", c->dir);
    c->dice.state = seed;
    if (strcmp(name, "hostile") == 0) {
        return hostile_run(list, seed);
    }
    c->control = control_map(c->dir);
    c->records = records_map(c->dir, c->index);
    for (unsigned i = 0; c->control && c->records && i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i]->name, name) == 0) {
            return client_run(roles[i], c, list);
        }
    }
    return 2;
}

/* ---- options ---- */

enum {
    OPT_SECONDS = 256,
    OPT_SEED,
    OPT_ROUTER,
    OPT_SHIM,
    OPT_ROUTER_ONE_IN,
    OPT_CLIENT_ONE_IN,
    OPT_KEEP,
    OPT_HELP,
    OPT_CLIENT,
    OPT_INDEX,
    OPT_DIR,
    OPT_ANCHOR
};

static const struct option options[] = {
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"router", required_argument, NULL, OPT_ROUTER},
    {"shim", required_argument, NULL, OPT_SHIM},
    {"router-one-in", required_argument, NULL, OPT_ROUTER_ONE_IN},
    {"client-one-in", required_argument, NULL, OPT_CLIENT_ONE_IN},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"help", no_argument, NULL, OPT_HELP},
    /* of processes that it starts itself */
    {"client", required_argument, NULL, OPT_CLIENT},
    {"index", required_argument, NULL, OPT_INDEX},
    {"dir", required_argument, NULL, OPT_DIR},
    {"anchor", no_argument, NULL, OPT_ANCHOR},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct settings settings;
    unsigned long seconds;
    const char *role; /* NULL: it is no client */
    struct client client;
};

static bool number(unsigned long long *ret)
{
    char *end;

    *ret = strtoull(optarg, &end, 10);
    return *optarg >= '0' && *optarg <= '9' && !*end;
}

/* -1: go on; else an exit code. */
static int take_option(int option, struct arguments *a)
{
    unsigned long long n = 0;

    if ((option == OPT_SECONDS || option == OPT_SEED || option == OPT_INDEX ||
         option == OPT_ROUTER_ONE_IN || option == OPT_CLIENT_ONE_IN) &&
        !number(&n)) {
        (void) fprintf(stderr, "bus-faults: %s: not a number\n", optarg);
        return 2;
    }
    switch (option) {
    case OPT_SECONDS:
        a->seconds = (unsigned long) n;
        return -1;
    case OPT_SEED:
        a->settings.seed = n;
        return -1;
    case OPT_ROUTER:
        a->settings.router = optarg;
        return -1;
    case OPT_SHIM:
        a->settings.shim = strcmp(optarg, "none") == 0 ? NULL : optarg;
        return -1;
    case OPT_ROUTER_ONE_IN:
        a->settings.router_one_in = (uint32_t) n;
        return -1;
    case OPT_CLIENT_ONE_IN:
        a->settings.client_one_in = (uint32_t) n;
        return -1;
    case OPT_KEEP:
        a->settings.keeps = true;
        return -1;
    case OPT_CLIENT:
        a->role = optarg;
        return -1;
    case OPT_INDEX:
        a->client.index = (unsigned) n;
        return -1;
    case OPT_DIR:
        a->client.dir = optarg;
        return -1;
    case OPT_ANCHOR:
        a->client.is_anchor = true;
        return -1;
    default:
        (void) fputs(help, option == OPT_HELP ? stdout : stderr);
        return option == OPT_HELP ? 0 : 2;
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {.settings = {.router = getenv("BUS_ROUTER"),
                                       .shim = getenv("BUS_FAULTS_LIBRARY"),
                                       .self = "/proc/self/exe",
                                       .round_ms = ROUND_MS,
                                       .router_one_in = 4000,
                                       .client_one_in = 1000},
                          .seconds = 20};
    int option, r;

    (void) getrandom(&a.settings.seed, 4, 0);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        r = take_option(option, &a);
        if (r >= 0) {
            return r;
        }
    }
    (void) signal(SIGPIPE, SIG_IGN);
    if (a.role) {
        return run_client(a.role, &a.client, a.settings.seed);
    }
    if (!a.settings.router) {
        (void) fputs("bus-faults: no --router, and no BUS_ROUTER\n", stderr);
        return 2;
    }
    a.settings.rounds = (unsigned) ((a.seconds * 1000 + ROUND_MS - 1) / ROUND_MS);
    return play(&a.settings);
}
