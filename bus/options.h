/* SPDX-License-Identifier: MIT */
#pragma once
/* What bus-router was told, by its command line and its files (docs/configuration.md): one table
 * makes the parser of both, the error messages, --help and --print-config. Starts nothing. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/address.h"
#include "core/limits.h"
#include "core/policy.h"
#include "io/acceptor.h"
#include "io/listener.h"
#include "report.h"

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_DENIED = 3, /* --explain */
};

#define LISTEN_MODE_DEFAULT ((mode_t) -1)

/* One address to listen on. */
struct listen_option {
    struct address address;         /* never ADDRESS_ANY */
    char name[LISTENER_NAME_BYTES]; /* what rules call it; "": nothing */
    struct listener_access access;  /* what was not said here is that of all listeners */
};

/* What was asked for instead of a router. */
enum options_action {
    OPTIONS_SERVE,
    OPTIONS_CHECK,
    OPTIONS_PRINT,
    OPTIONS_EXPLAIN,
    OPTIONS_RELOAD, /* not from the command line: options_reload() */
};

struct options {
    struct listen_option *listens; /* n_listens of them; none if sockets are given */
    size_t n_listens;
    bool is_default_listen;        /* nobody has said where */
    struct listener_access access; /* of listeners that do not say it */
    struct policy_rule *rules;     /* n_rules of them; none: no policy */
    size_t n_rules;
    struct user_override *quotas; /* n_quotas of them, each user once */
    size_t n_quotas;
    uint64_t drain_timeout_ms;
    uint64_t replace_timeout_ms;
    uint64_t restart_grace_ms; /* 0: nobody is waited for */
    uint64_t spin_us;          /* how long to look for input before sleeping */
    uint64_t log_level;        /* enum log_level */
    int ready_fd;              /* -1: none */
    bool replace;              /* a router that runs */
    enum options_action action;
    const char *config; /* --config, of argv; NULL: the default */
    bool no_config;
    char **files; /* that were read, n_files of them, in their order */
    size_t n_files;
    char **successor; /* arguments for one that replaces this one, NULL-terminated */
    size_t n_successor;
    char **arguments; /* behind the options, of argv: of --explain */
    int n_arguments;
    char **places; /* where each option was said; of them, NULL: nowhere or on the command line */
    char **texts;  /* n_texts of them: what rules refer to */
    size_t n_texts;
    struct limits limits;
};

enum options_verdict {
    OPTIONS_RUN,     /* go on with the action */
    OPTIONS_DONE,    /* --help or --version: it has been written to out */
    OPTIONS_USAGE,   /* a mistake on the command line: it has been explained */
    OPTIONS_INVALID, /* mistakes in files: they have been explained */
};

/* Fills *ret, also on a verdict other than OPTIONS_RUN; or -ENOMEM. Keeps argv, which it may put
 * into another order. Reads the configuration files and looks up users and groups. */
int options_parse(struct options *ret, int argc, char **argv, FILE *out, struct report *report);
/* What a router that runs with these options would be told now. As above; out is not needed. */
int options_reload(struct options *ret, const struct options *running, struct report *report);
void options_fini(struct options *o);

/* Everything that is in force, as a configuration file that says the same. */
void options_print(const struct options *o, FILE *out);

#define PENDING_BYTES 512
/* Names of what is different and cannot change while a router runs, one after the other; "" if
 * there is nothing. */
void options_pending(const struct options *running, const struct options *fresh, char *buf,
                     size_t bytes);
