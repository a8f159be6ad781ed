/* SPDX-License-Identifier: MIT */
/* bus-hostile: a router of one user, clients of a second, and a third who does everything to hurt
 * them; then whether what docs/security.md promises was held. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "hostile/measure.h"

#define EXIT_SKIPPED 77
#define RSS_MAX_MIB 400u

static const char help[] =
    "usage: bus-hostile [OPTION]...\n"
    "Make three users, let the third attack the first two, and see what they notice. Needs root.\n"
    "\n"
    "      --router PATH   the router; default: $BUS_ROUTER\n"
    "      --phase-ms N    so long is each measurement; default: 700\n"
    "      --rounds N      so often each attack; default: 1\n"
    "      --rounds-max N  so often if it looks bad; default: 5\n"
    "      --attack NAME   only this one, or: all (all of them together)\n"
    "      --lenient       for machines that others use, too: rates may halve, turns take eight\n"
    "                      times as long, and the best round counts, not the median\n"
    "      --verbose       say all rates\n"
    "      --keep          keep the router's log\n"
    "      --help          this text\n"
    "\n"
    "Exit codes: 0 all was as it must be; 1 not; 2 wrong usage; 77 not run, for want of root.\n";

static volatile sig_atomic_t is_told_to_end;

static void on_signal(int number)
{
    (void) number;
    is_told_to_end = 1;
}

/* The users are removed by a process that does nothing else, so that nothing keeps it from that. */
static int play_and_clean(struct stage *s)
{
    struct sigaction action = {.sa_handler = on_signal};
    int status = 0;
    pid_t pid;

    if (!users_make(s->users)) {
        return EXIT_SKIPPED;
    }
    (void) sigaction(SIGINT, &action, NULL);
    (void) sigaction(SIGTERM, &action, NULL);
    (void) sigaction(SIGHUP, &action, NULL);
    pid = party_fork();
    if (pid == 0) {
        (void) signal(SIGINT, SIG_DFL);
        (void) signal(SIGTERM, SIG_DFL);
        (void) signal(SIGHUP, SIG_DFL);
        exit(play(s));
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        if (is_told_to_end) {
            (void) kill(pid, SIGKILL); /* and with it goes everything that it has started */
        }
    }
    users_remove(s->users);
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* ---- options ---- */

enum {
    OPT_ROUTER = 256,
    OPT_PHASE,
    OPT_ROUNDS,
    OPT_ROUNDS_MAX,
    OPT_ATTACK,
    OPT_LENIENT,
    OPT_VERBOSE,
    OPT_KEEP,
    OPT_HELP
};

static const struct option options[] = {
    {"router", required_argument, NULL, OPT_ROUTER},
    {"phase-ms", required_argument, NULL, OPT_PHASE},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"rounds-max", required_argument, NULL, OPT_ROUNDS_MAX},
    {"attack", required_argument, NULL, OPT_ATTACK},
    {"lenient", no_argument, NULL, OPT_LENIENT},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* A number from 1 to max; 0: it is none. */
static unsigned number(unsigned max)
{
    char *end;
    unsigned long n = strtoul(optarg, &end, 10);

    return *end == '\0' && n <= max ? (unsigned) n : 0;
}

static bool attack_is_known(const char *name)
{
    for (unsigned i = 0; i < n_attack_kinds; i++) {
        if (strcmp(attack_kinds[i].name, name) == 0) {
            return true;
        }
    }
    return strcmp(name, "all") == 0;
}

static bool option_take(int c, struct settings *o)
{
    switch (c) {
    case OPT_ROUTER:
        o->router = optarg;
        return true;
    case OPT_PHASE:
        o->phase_ms = number(3600000);
        return o->phase_ms > 0;
    case OPT_ROUNDS:
        o->rounds = number(ROUNDS_MAX);
        return o->rounds > 0;
    case OPT_ROUNDS_MAX:
        o->rounds_max = number(ROUNDS_MAX);
        return o->rounds_max > 0;
    case OPT_ATTACK:
        o->only = optarg;
        return attack_is_known(optarg);
    case OPT_LENIENT:
        o->is_lenient = true;
        return true;
    case OPT_VERBOSE:
        o->is_wordy = true;
        return true;
    case OPT_KEEP:
        o->keeps = true;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static struct stage s;
    int c;

    s.settings = (struct settings){.router = getenv("BUS_ROUTER"),
                                   .phase_ms = 700,
                                   .rounds = 1,
                                   .rounds_max = 5,
                                   .rss_max = RSS_MAX_MIB * 1024ull * 1024ull};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == OPT_HELP) {
            (void) fputs(help, stdout);
            return 0;
        }
        if (!option_take(c, &s.settings)) {
            (void) fputs(help, stderr);
            return 2;
        }
    }
    if (optind != argc || !s.settings.router) {
        (void) fputs(help, stderr);
        return 2;
    }
    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    if (geteuid() != 0) {
        (void) fputs("bus-hostile: NOT RUN: it needs root, to make users\n", stderr);
        return EXIT_SKIPPED;
    }
    return play_and_clean(&s);
}
