/* SPDX-License-Identifier: MIT */
/* What all tools do the same way. */

#include "common.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A signal handler can reach nothing but globals. */
static volatile sig_atomic_t interrupted;
static int signal_pipe[2] = {-1, -1};

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args,
                                                      const char *more)
{
    char text[4096];
    int n = snprintf(text, sizeof(text), "%s: ", program_invocation_short_name);
    size_t at = n > 0 && (size_t) n < sizeof(text) ? (size_t) n : 0;

    n = vsnprintf(text + at, sizeof(text) - at, format, args);
    at = strlen(text);
    if (n >= 0 && at + strlen(more) + 1 < sizeof(text)) {
        memcpy(text + at, more, strlen(more));
        at += strlen(more);
    }
    text[at] = '\n'; /* in place of the NUL: strlen() <= sizeof(text) - 1 */
    (void) !write(STDERR_FILENO, text, at + 1);
}

void tool_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args, "");
    va_end(args);
}

int tool_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args, " (--help says more)");
    va_end(args);
    return TOOL_USAGE;
}

int tool_print(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) == EOF) {
        if (errno == EPIPE) {
            return TOOL_OK; /* the reader has seen enough */
        }
        tool_error("cannot write to standard output: %s", strerror(errno));
        return TOOL_FAILURE;
    }
    return TOOL_OK;
}

int tool_version(void)
{
    char text[128];

    (void) snprintf(text, sizeof(text), "%s %s\n", program_invocation_short_name, bus_version());
    return tool_print(text);
}

bool tool_options(int argc, char **argv, const struct tool_syntax *syntax, void *settings,
                  int *ret_exit)
{
    int option, r = 0;

    while (r == 0 &&
           (option = getopt_long(argc, argv, syntax->letters, syntax->options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            *ret_exit = option == 'h' ? tool_print(syntax->help) : tool_version();
            return false;
        }
        r = syntax->take(option, settings);
    }
    *ret_exit = r;
    return r == 0;
}

bool tool_parse_u64(const char *text, uint64_t low, uint64_t high, uint64_t *ret)
{
    char *end;
    unsigned long long value;

    if (text[0] < '0' || text[0] > '9') { /* strtoull() takes signs and blanks */
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value < low || value > high) {
        return false;
    }
    *ret = value;
    return true;
}

bool tool_parse_double(const char *text, double low, double high, double *ret)
{
    char *end;
    double value;

    if (!strchr("0123456789.", text[0]) || !text[0]) { /* strtod() takes "nan" and blanks */
        return false;
    }
    errno = 0;
    value = strtod(text, &end);
    if (errno || *end || !(value >= low && value <= high)) {
        return false;
    }
    *ret = value;
    return true;
}

bool tool_parse_pair(const char *text, uint64_t *ret_messages, uint64_t *ret_bytes)
{
    const char *comma = strchr(text, ',');
    char first[32];
    size_t n = comma ? (size_t) (comma - text) : strlen(text);
    uint64_t messages;

    if (n >= sizeof(first)) {
        return false;
    }
    memcpy(first, text, n);
    first[n] = '\0';
    if (!tool_parse_u64(first, 1, UINT32_MAX, &messages)) {
        return false;
    }
    if (comma && !tool_parse_u64(comma + 1, 1, UINT64_MAX, ret_bytes)) {
        return false;
    }
    *ret_messages = messages;
    return true;
}

static void on_signal(int number)
{
    int saved = errno;

    (void) number;
    interrupted = 1;
    (void) !write(signal_pipe[1], "", 1);
    (void) alarm(1);
    errno = saved;
}

/* A signal between the last look at tool_interrupted() and a system call that blocks would be
 * noticed when that returns, perhaps never: so it comes again until it is. */
static void on_alarm(int number)
{
    (void) number;
    (void) alarm(1);
}

bool tool_catch_signals(void)
{
    /* Without SA_RESTART a blocking write() ends too. */
    struct sigaction caught = {.sa_handler = on_signal, .sa_flags = (int) SA_RESETHAND};
    struct sigaction again = {.sa_handler = on_alarm};
    struct sigaction ignored = {.sa_handler = SIG_IGN};

    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) || sigaction(SIGALRM, &again, NULL) ||
        sigaction(SIGINT, &caught, NULL) || sigaction(SIGTERM, &caught, NULL) ||
        sigaction(SIGPIPE, &ignored, NULL)) {
        tool_error("cannot catch signals: %s", strerror(errno));
        return false;
    }
    return true;
}

bool tool_interrupted(void)
{
    return interrupted;
}

int tool_signal_fd(void)
{
    return signal_pipe[0];
}

static const char *connect_hint(int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        return "is bus-router running? Give its address with --address or BUS_ADDRESS";
    case EINVAL:
    case ENAMETOOLONG:
        return "an address is seqpacket:PATH, stream:PATH or PATH, where @NAME is an abstract name";
    case EACCES:
        return "this user may not use that socket: ask who runs the router, or run another one";
    case EPERM:
        return "the default directory must belong to you and have mode 0700; or use --address";
    case EUSERS:
        return "this user, or all together, have as many connections as the router lets them have";
    case EPROTO:
        return "what listens there is no bus-router, or it refused this client";
    case EPROTOTYPE:
        return "that socket is of the other type: leave seqpacket: or stream: away";
    case ETIMEDOUT:
        return "something listens there, but does not answer: is bus-router hanging?";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files (ulimit -n)";
    default:
        return "is that the address of bus-router?";
    }
}

int tool_connect(const char *address, const struct bus_opts *opts, struct bus_conn **ret)
{
    int r = bus_open(address, opts, ret);
    const char *shown = address ? address : getenv("BUS_ADDRESS");

    if (r < 0) {
        tool_error("cannot connect to %s: %s: %s", shown && *shown ? shown : "the default address",
                   strerror(-r), connect_hint(-r));
    }
    return r;
}

static void say_reason(const char *what, enum bus_goodbye reason, const char *text)
{
    if (text && *text && strcmp(text, bus_goodbye_text(reason)) != 0) {
        tool_error("%s: %s: %s", what, bus_goodbye_text(reason), text);
    } else {
        tool_error("%s: %s", what, bus_goodbye_text(reason));
    }
}

void tool_say_state(struct bus_conn *conn, const struct bus_state_event *event, void *userdata)
{
    (void) conn;
    (void) userdata;
    if (event->state == BUS_CONN_LOST) {
        say_reason("the link to the router is lost, waiting for its return", event->reason,
                   event->text);
    } else if (event->state == BUS_CONN_RESTORED) {
        tool_error("the router is back");
    }
}

void tool_say_refused(const char *verb, const char *topic, enum bus_status status, const char *text)
{
    const char *what = status == BUS_STATUS_DENIED ? "not allowed to" : "the router refused to";
    const char *why = bus_status_text(status);
    bool has_text = *text && strcmp(text, why) != 0;

    tool_error("%s %s%s%s: %s%s%s", what, verb, topic ? " " : "", topic ? topic : "",
               status == BUS_STATUS_DENIED && has_text ? "" : why,
               status != BUS_STATUS_DENIED && has_text ? ": " : "", has_text ? text : "");
}

void tool_say_closed(enum bus_goodbye reason, const char *text)
{
    say_reason("the connection to the router has ended", reason, text);
}

uint64_t tool_now_ns(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}
