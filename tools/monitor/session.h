/* SPDX-License-Identifier: MIT */
#pragma once
/* What the stream of records and the live table have in common: the connection, the end,
 * complaints. */

#include <bus/bus.h>
#include <stdbool.h>
#include <stdint.h>
#include "options.h"

struct session {
    const struct options *options;
    struct bus_conn *conn;
    uint64_t deadline_ns; /* of --timeout; UINT64_MAX: none */
    bool ended;           /* other than by us */
    enum bus_goodbye end_reason;
    char end_text[256];
};

/** Connect; a failure has been reported. Returns an exit code. */
enum exit_code session_open(struct session *s, const struct options *options);
void session_close(struct session *s);

/** Write READY to --ready-fd, once. */
void session_ready(struct session *s);

/** Report what the router refused. Returns the exit code for it. */
enum exit_code session_refused(const struct session *s, enum bus_status status, const char *text);

/** Report the end of the connection, which a call into the library returned @error for. */
void session_say_lost(const struct session *s, int error);

/** The address that was given, or NULL. */
const char *session_address(const struct options *options);

/** For poll(): milliseconds until @when_ns, rounded up; -1 for ever. */
int session_poll_ms(uint64_t when_ns);
