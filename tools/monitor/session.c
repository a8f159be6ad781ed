/* SPDX-License-Identifier: MIT */
/* The connection of the monitor, when it has to end, and what is said when the router refuses. */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common.h"

int session_poll_ms(uint64_t when_ns)
{
    uint64_t now_ns = tool_now_ns();
    uint64_t ms;

    if (when_ns == UINT64_MAX) {
        return -1;
    }
    ms = when_ns <= now_ns ? 0 : (when_ns - now_ns + 999999) / 1000000;
    return ms > INT_MAX ? INT_MAX : (int) ms;
}

const char *session_address(const struct options *options)
{
    return options->address ? options->address : getenv("BUS_ADDRESS");
}

/* The file of the socket as far as it can be told without the library's default; NULL for abstract
 * names. */
static const char *socket_path(const struct options *options)
{
    const char *address = session_address(options);

    if (!address) {
        return NULL;
    }
    if (!strncmp(address, "seqpacket:", 10)) {
        address += 10;
    } else if (!strncmp(address, "stream:", 7)) {
        address += 7;
    }
    return address[0] == '@' ? NULL : address;
}

/* Whom a router without rules lets watch. */
static void say_who_may(const struct options *options)
{
    const char *path = socket_path(options);
    struct stat st;

    if (path && !stat(path, &st) && S_ISSOCK(st.st_mode)) {
        const struct passwd *user = getpwuid(st.st_uid);

        tool_error("run as %s (uid %u), who owns %s%s", user ? user->pw_name : "the user",
                   (unsigned) st.st_uid, path, st.st_uid ? ", or as root" : "");
    } else {
        tool_error("run as the router's own user or as root");
    }
}

/* Only kept here: the screen may have to be given back before anything can be said. */
static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct session *s = userdata;

    (void) conn;
    s->ended = true;
    s->end_reason = reason;
    snprintf(s->end_text, sizeof(s->end_text), "%s", text ? text : "");
}

enum exit_code session_open(struct session *s, const struct options *options)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    int r;

    *s = (struct session){.options = options, .deadline_ns = UINT64_MAX};
    if (!tool_catch_signals()) {
        return EXIT_FAILED;
    }
    if (options->timeout_ns) {
        s->deadline_ns = tool_now_ns() + options->timeout_ns;
    }
    opts.name = "bus-monitor";
    opts.on_closed = on_closed;
    opts.userdata = s;
    r = tool_connect(options->address, &opts, &s->conn);
    if (r < 0) {
        return r == -EACCES ? EXIT_DENIED : EXIT_FAILED;
    }
    return EXIT_DONE;
}

void session_close(struct session *s)
{
    bus_close(s->conn);
    s->conn = NULL;
}

void session_ready(struct session *s)
{
    static const char ready[] = "READY\n";
    int fd = s->options->ready_fd;

    if (fd >= 0 && write(fd, ready, sizeof(ready) - 1) < 0) {
        tool_error("--ready-fd: cannot write to %d: %s", fd, strerror(errno));
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

/* How the router begins if it has none: what it says then is of no use to who has to set it up. */
static const char without_rules[] = "there are no rules";

enum exit_code session_refused(const struct session *s, enum bus_status status, const char *text)
{
    bool is_top = s->options->output == OUTPUT_TOP;

    text = text ? text : "";
    tool_say_refused(is_top ? "make requests to" : "monitor", is_top ? "$bus/#" : NULL, status,
                     text);
    if (status != BUS_STATUS_DENIED) {
        return EXIT_FAILED;
    }
    if (strncmp(text, without_rules, sizeof(without_rules) - 1) == 0) {
        say_who_may(s->options);
    }
    return EXIT_DENIED;
}

void session_say_lost(const struct session *s, int error)
{
    if (s->ended) {
        bool same = !strcmp(s->end_text, bus_goodbye_text(s->end_reason));

        tool_say_closed(s->end_reason, same ? "" : s->end_text);
    } else {
        tool_error("the connection is lost: %s", strerror(-error));
    }
}
