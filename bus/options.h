/* SPDX-License-Identifier: MIT */
#pragma once
/* The command line of bus-router: one table makes the parser, its error messages and --help. Reads
 * no files and starts nothing. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/address.h"
#include "core/limits.h"
#include "io/acceptor.h"
#include "io/listener.h"

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1,
    EXIT_CODE_USAGE = 2,
};

struct options {
    struct address
        *addresses; /* n_addresses of them, none if sockets are given; never ADDRESS_ANY */
    size_t n_addresses;
    struct listener_access access;
    uint64_t drain_timeout_ms;
    uint64_t replace_timeout_ms;
    uint64_t restart_grace_ms; /* 0: nobody is waited for */
    uint64_t spin_us;          /* how long to look for input before sleeping */
    uint64_t log_level;        /* enum log_level */
    int ready_fd;              /* -1: none */
    bool replace;              /* a router that runs */
    char **successor;          /* arguments for one that replaces this one, NULL-terminated */
    size_t n_successor;
    struct limits limits;
};

enum options_verdict {
    OPTIONS_RUN,
    OPTIONS_DONE,  /* --help or --version: it has been written to out */
    OPTIONS_USAGE, /* a mistake: it has been explained on err */
};

/* Fills *ret, also on a verdict other than OPTIONS_RUN; or -ENOMEM. */
int options_parse(struct options *ret, int argc, char **argv, FILE *out, FILE *err);
void options_fini(struct options *o);
