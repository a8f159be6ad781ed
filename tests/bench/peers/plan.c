/* SPDX-License-Identifier: MIT */
/* The command line, and the rows that follow from it. */

#include "plan.h"
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common.h"

static const char help[] =
    "usage: bus-peers [OPTION]...\n"
    "Measure the same work through the bus and through other brokers of this host: one publisher,\n"
    "a server, N subscribers, each a process of its own. Every byte is written and checked;\n"
    "anything lost, repeated or changed is a failure of that peer.\n"
    "\n"
    "  -p, --peers NAME[,NAME]...  who takes part (default all: bus, bus-stream, redis, zmq, "
    "nats,\n"
    "                              mosquitto, nng)\n"
    "  -b, --bytes N[,N]...        sizes of a body, 8 or more\n"
    "                              (default 64,1024,16384,65536,1048576)\n"
    "  -n, --number N[,N]...       subscribers (default 1,8)\n"
    "  -s, --seconds S             how long to publish in each run (default 0.5)\n"
    "  -R, --runs N                runs, of which the median is reported (default 3)\n"
    "  -w, --window N[,BYTES]      how far the publisher may be ahead of the slowest subscriber:\n"
    "                              messages, and bytes of bodies, but at least 4 messages\n"
    "                              (default 1024,4194304)\n"
    "  -j, --json                  JSON instead of a table\n"
    "      --help                  this text\n"
    "      --version               the version\n"
    "\n"
    "Peers take turns in each run. A peer whose library was not found when this was built, or\n"
    "whose server is not installed, is left out, and that is said.\n"
    "Exit codes: 0 measured; 1 failure, also if a message was lost or wrong; 2 wrong usage.\n";

enum { OPT_HELP = 256, OPT_VERSION };

static const struct option long_options[] = {
    {"peers", required_argument, NULL, 'p'},
    {"bytes", required_argument, NULL, 'b'},
    {"number", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'},
    {"runs", required_argument, NULL, 'R'},
    {"window", required_argument, NULL, 'w'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int parse_list(struct list *list, int option, char *text, uint64_t low, uint64_t high)
{
    char *save;

    list->n = 0;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (list->n == LIST_MAX || !tool_parse_u64(word, low, high, &list->values[list->n])) {
            return tool_usage("-%c %s: not 1 to %d numbers from %llu to %llu", option, word,
                              LIST_MAX, (unsigned long long) low, (unsigned long long) high);
        }
        list->n++;
    }
    return list->n > 0 ? -1 : tool_usage("-%c: no number", option);
}

static int parse_peers(struct plan *p, char *text)
{
    char *save;

    memset(p->is_wanted, 0, sizeof(p->is_wanted));
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        unsigned i = 0;

        while (i < n_peer_entries && strcmp(peer_entries[i].name, word) != 0) {
            i++;
        }
        if (i == n_peer_entries) {
            return tool_usage("--peers: there is no peer %s", word);
        }
        p->is_wanted[i] = true;
    }
    return -1;
}

static int parse_option(struct plan *p, int option)
{
    uint64_t value = 0;
    bool fine = true;

    switch (option) {
    case OPT_HELP:
        return tool_print(help);
    case OPT_VERSION:
        return tool_version();
    case 'p':
        return parse_peers(p, optarg);
    case 'b':
        return parse_list(&p->bytes, option, optarg, PATTERN_BYTES_MIN, 64u * 1024 * 1024);
    case 'n':
        return parse_list(&p->n, option, optarg, 1, SUBSCRIBERS_MAX);
    case 's':
        fine = tool_parse_double(optarg, 0.01, 3600, &p->seconds);
        break;
    case 'R':
        fine = tool_parse_u64(optarg, 1, RUNS_MAX, &value);
        p->runs = (unsigned) value;
        break;
    case 'w':
        fine = tool_parse_pair(optarg, &p->window_messages, &p->window_bytes) &&
               p->window_messages <= INT_MAX;
        break;
    case 'j':
        p->json = true;
        break;
    default: /* '?' */
        return tool_usage("wrong option");
    }
    return fine ? -1 : tool_usage("-%c %s: not a number, or out of range", option, optarg);
}

/* Why a peer cannot take part, or NULL. */
static const char *find_reason(const struct peer_entry *entry)
{
    char path[PATH_MAX];

    if (!entry->peer) {
        return "built without its library";
    }
    if (entry->peer->program && !program_find(entry->peer->program, path, sizeof(path))) {
        return "its server is not installed";
    }
    return NULL;
}

static int make_rows(struct plan *p)
{
    p->rows = calloc((size_t) p->n.n * p->bytes.n * n_peer_entries, sizeof(*p->rows));
    if (!p->rows) {
        tool_error("out of memory");
        return TOOL_FAILURE;
    }
    for (unsigned i = 0; i < p->n.n * p->bytes.n * n_peer_entries; i++) {
        unsigned peer = i % n_peer_entries;
        struct row *row = &p->rows[p->n_rows];

        if (!p->is_wanted[peer] || p->skipped[peer]) {
            continue;
        }
        row->entry = &peer_entries[peer];
        row->spec = (struct spec){.peer = row->entry->peer,
                                  .bytes = p->bytes.values[i / n_peer_entries % p->bytes.n],
                                  .n = (unsigned) p->n.values[i / n_peer_entries / p->bytes.n],
                                  .seconds = p->seconds,
                                  .window_messages = (unsigned) p->window_messages,
                                  .window_bytes = p->window_bytes};
        p->n_rows++;
    }
    return -1;
}

int plan_parse(struct plan *p, int argc, char **argv)
{
    int option;

    *p = (struct plan){.bytes = {{64, 1024, 16384, 65536, 1048576}, 5},
                       .n = {{1, 8}, 2},
                       .runs = 3,
                       .seconds = 0.5,
                       .window_messages = 1024,
                       .window_bytes = 4u * 1024 * 1024};
    memset(p->is_wanted, true, sizeof(p->is_wanted));
    while ((option = getopt_long(argc, argv, "p:b:n:s:R:w:j", long_options, NULL)) != -1) {
        int r = parse_option(p, option);

        if (r >= 0) {
            return r;
        }
    }
    if (optind < argc) {
        return tool_usage("%s: takes options only", argv[optind]);
    }
    for (unsigned i = 0; i < n_peer_entries; i++) {
        p->skipped[i] = find_reason(&peer_entries[i]);
    }
    return make_rows(p);
}

void plan_fini(struct plan *p)
{
    free(p->rows);
}
