/* SPDX-License-Identifier: MIT */
#pragma once
/* What all tools do the same way: messages for people, exit codes, numbers in options, signals,
 * connecting. Uses the public API and libc only. */

#include <bus/bus.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Codes that mean the same in every tool; a tool may have more from 3 on. */
enum tool_exit { TOOL_OK = 0, TOOL_FAILURE = 1, TOOL_USAGE = 2 };

/* "NAME: text" and a newline on stderr, in one write. */
void tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with a hint at --help. Returns TOOL_USAGE. */
int tool_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What getopt_long() takes: among the letters h and V, among the options TOOL_HELP_OPTIONS. */
struct tool_syntax {
    const char *letters;
    const struct option *options;
    const char *help;
    /* Takes one, its value in optarg. Returns 0, or an exit code, and has said why. */
    int (*take)(int option, void *settings);
};

#define TOOL_HELP_OPTIONS                                                                          \
    {"help", no_argument, NULL, 'h'},                                                              \
    {                                                                                              \
        "version", no_argument, NULL, 'V'                                                          \
    }

/* Takes all options, and answers --help and --version. False: exit with *ret_exit. */
bool tool_options(int argc, char **argv, const struct tool_syntax *syntax, void *settings,
                  int *ret_exit);
/* --help and --version: prints to stdout. Returns TOOL_OK, or TOOL_FAILURE if stdout cannot be
 * written. */
int tool_print(const char *text);
int tool_version(void);

/* Numbers of options: whole or fractional, nothing behind them, within the bounds. False if not. */
bool tool_parse_u64(const char *text, uint64_t low, uint64_t high, uint64_t *ret);
bool tool_parse_double(const char *text, double low, double high, double *ret);
/* "MESSAGES" or "MESSAGES,BYTES". The second is left alone if it is not given. */
bool tool_parse_pair(const char *text, uint64_t *ret_messages, uint64_t *ret_bytes);

/* SIGINT and SIGTERM from now on make tool_interrupted() true and tool_signal_fd() readable; the
 * second one kills. SIGPIPE is ignored, so that EPIPE can be seen. False if that cannot be done,
 * and stderr says why. */
bool tool_catch_signals(void);
bool tool_interrupted(void);
int tool_signal_fd(void);

/* bus_open() that says on stderr what went wrong and what to do about it. 0 or a negative errno. */
int tool_connect(const char *address, const struct bus_opts *opts, struct bus_conn **ret);
/* Says what has happened: an on_state. */
void tool_say_state(struct bus_conn *conn, const struct bus_state_event *event, void *userdata);
/* Says that the router does not let this user do something with a topic or a filter (or NULL), and
 * why, with the text that came: for DENIED that begins with the place of the rule. */
void tool_say_refused(const char *verb, const char *topic, enum bus_status status,
                      const char *text);
/* Says why the connection ended: for on_closed. */
void tool_say_closed(enum bus_goodbye reason, const char *text);

uint64_t tool_now_ns(void); /* CLOCK_MONOTONIC */
