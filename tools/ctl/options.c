/* SPDX-License-Identifier: MIT */
#include "ctl_options.h"

#include <getopt.h>
#include <string.h>
#include "common.h"

#define NS_PER_S 1000000000.0

static const char help[] =
    "Usage: bus-ctl [OPTION...] COMMAND [ARGUMENT...]\n"
    "Ask a bus-router what it has, or tell it what to do.\n"
    "\n"
    "  clients [ID]          who is connected, what they did, and who is slow and why\n"
    "  topics                topics, and what passed through them\n"
    "  subs [ID]             subscriptions and servers\n"
    "  groups                groups of subscriptions\n"
    "  quotas                what each user has of what is limited\n"
    "  closed [ID]           the last 1,000 connections that ended or were not let in, and why\n"
    "  counters              counters of the router\n"
    "  reload                read the configuration again\n"
    "  drain                 stop in good order: nothing that waits is lost\n"
    "  disconnect ID [TEXT]  end one connection; TEXT is said to the client\n"
    "\n"
    "ID is the number of a connection (clients).\n"
    "\n"
    "  -a, --address=ADDRESS   seqpacket:PATH, stream:PATH or PATH; default $BUS_ADDRESS\n"
    "  -j, --json              one JSON object for each entry, with all there is to know of it\n"
    "  -i, --interval=SECONDS  ask twice, and show how much of messages passed in a second\n"
    "                          (clients, topics, counters)\n"
    "  -t, --timeout=SECONDS   give up after this time (default 10)\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit codes: 0 done, 1 failure (no router, connection lost), 2 wrong usage, 3 timeout,\n"
    "4 not allowed, 5 the router could not do it (reload: the configuration is wrong).\n"
    "\n"
    "Examples:\n"
    "  bus-ctl clients\n"
    "  bus-ctl --json clients | jq 'select(.slow != \"none\")'\n"
    "  bus-ctl disconnect 17 'please stop that'\n";

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},
    {"json", no_argument, NULL, 'j'},
    {"interval", required_argument, NULL, 'i'},
    {"timeout", required_argument, NULL, 't'},
    TOOL_HELP_OPTIONS,
    {NULL, 0, NULL, 0},
};

static const struct command {
    const char *name;
    enum bus_inside_list list;
    enum bus_control control;
    int arguments_min, arguments_max;
} commands[] = {
    {"clients", BUS_INSIDE_CLIENTS, (enum bus_control) 0, 0, 1},
    {"topics", BUS_INSIDE_TOPICS, (enum bus_control) 0, 0, 0},
    {"subs", BUS_INSIDE_SUBSCRIPTIONS, (enum bus_control) 0, 0, 1},
    {"subscriptions", BUS_INSIDE_SUBSCRIPTIONS, (enum bus_control) 0, 0, 1},
    {"groups", BUS_INSIDE_GROUPS, (enum bus_control) 0, 0, 0},
    {"quotas", BUS_INSIDE_QUOTAS, (enum bus_control) 0, 0, 0},
    {"closed", BUS_INSIDE_CLOSED, (enum bus_control) 0, 0, 1},
    {"counters", BUS_INSIDE_COUNTERS, (enum bus_control) 0, 0, 0},
    {"reload", (enum bus_inside_list) 0, BUS_CONTROL_RELOAD, 0, 0},
    {"drain", (enum bus_inside_list) 0, BUS_CONTROL_DRAIN, 0, 0},
    {"disconnect", (enum bus_inside_list) 0, BUS_CONTROL_DISCONNECT, 1, 2},
};

static bool parse_seconds(const char *option, const char *text, double least, uint64_t *ret_ns)
{
    double seconds;

    if (!tool_parse_double(text, least, 1e6, &seconds)) {
        (void) tool_usage("%s: '%s' is not a time in seconds, at least %g", option, text, least);
        return false;
    }
    *ret_ns = (uint64_t) (seconds * NS_PER_S);
    return true;
}

static bool parse_option(int option, const char *value, struct ctl_options *o)
{
    switch (option) {
    case 'a':
        o->address = value;
        return true;
    case 'j':
        o->json = true;
        return true;
    case 'i':
        return parse_seconds("--interval", value, 0.1, &o->interval_ns);
    case 't':
        return parse_seconds("--timeout", value, 0.001, &o->timeout_ns);
    default:
        (void) tool_usage("wrong option"); /* getopt_long() has said which */
        return false;
    }
}

static bool parse_arguments(int n, char **arguments, struct ctl_options *o)
{
    if (n > 0 && !tool_parse_u64(arguments[0], 1, UINT64_MAX, &o->connection_id)) {
        (void) tool_usage("%s: '%s' is not the number of a connection", o->command, arguments[0]);
        return false;
    }
    o->text = n > 1 ? arguments[1] : NULL;
    if (o->text && strlen(o->text) > 255) {
        (void) tool_usage("%s: the text is longer than 255 bytes", o->command);
        return false;
    }
    if (o->interval_ns && o->list != BUS_INSIDE_CLIENTS && o->list != BUS_INSIDE_TOPICS &&
        o->list != BUS_INSIDE_COUNTERS) {
        (void) tool_usage("%s: --interval is for clients, topics and counters", o->command);
        return false;
    }
    return true;
}

static bool say_arguments(const struct command *c)
{
    if (c->arguments_max == 0) {
        (void) tool_usage("%s takes no arguments", c->name);
    } else if (c->arguments_min == 0) {
        (void) tool_usage("%s takes at most %d argument", c->name, c->arguments_max);
    } else {
        (void) tool_usage("%s takes %d to %d arguments", c->name, c->arguments_min,
                          c->arguments_max);
    }
    return false;
}

static bool parse_command(int n, char **arguments, struct ctl_options *o)
{
    if (n == 0) {
        (void) tool_usage("a command is missing");
        return false;
    }
    o->command = arguments[0];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, o->command) != 0) {
            continue;
        }
        if (n - 1 < commands[i].arguments_min || n - 1 > commands[i].arguments_max) {
            return say_arguments(&commands[i]);
        }
        o->list = commands[i].list;
        o->control = commands[i].control;
        return parse_arguments(n - 1, arguments + 1, o);
    }
    (void) tool_usage("'%s' is no command", o->command);
    return false;
}

enum ctl_verdict ctl_options_parse(int argc, char **argv, struct ctl_options *ret)
{
    struct ctl_options o = {.timeout_ns = (uint64_t) (10 * NS_PER_S)};
    int option;

    while ((option = getopt_long(argc, argv, "a:ji:t:hV", long_options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            int r = option == 'h' ? tool_print(help) : tool_version();

            return r == TOOL_OK ? CTL_DONE : CTL_CANNOT;
        }
        if (!parse_option(option, optarg, &o)) {
            return CTL_WRONG;
        }
    }
    if (!parse_command(argc - optind, argv + optind, &o)) {
        return CTL_WRONG;
    }
    *ret = o;
    return CTL_RUN;
}
