/* SPDX-License-Identifier: MIT */
#pragma once
/* The command line of bus-ctl. */

#include <bus/inside.h>
#include <stdbool.h>
#include <stdint.h>

/** Exit codes, documented in --help. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_TIMEOUT = 3,
    CTL_DENIED = 4,
    CTL_REFUSED = 5
};

struct ctl_options {
    const char *address;       /* NULL: the library's default */
    const char *command;       /* as it was given */
    enum bus_inside_list list; /* 0: it is a control */
    enum bus_control control;
    uint64_t connection_id; /* 0: all */
    const char *text;       /* or NULL */
    bool json;
    uint64_t interval_ns; /* 0: no rates */
    uint64_t timeout_ns;
};

enum ctl_verdict { CTL_RUN, CTL_DONE, CTL_WRONG, CTL_CANNOT };

/** Anything but CTL_RUN has been answered on stdout or stderr. @argv must outlive @ret. */
enum ctl_verdict ctl_options_parse(int argc, char **argv, struct ctl_options *ret);
