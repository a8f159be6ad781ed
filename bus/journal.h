/* SPDX-License-Identifier: MIT */
#pragma once
/* Entries of the log for the journal of systemd, with their fields, as its native protocol lays
 * down (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram for each. Owned by the log. Nothing here
 * waits, and an entry has a size that any socket takes. */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct log_field;

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
/* A value is cut there; a field that has no room is left out. */
#define JOURNAL_VALUE_BYTES 1024u
#define JOURNAL_ENTRY_BYTES 8192u

struct journal {
    int fd; /* -1: there is none */
    struct sockaddr_un sun;
};

/* stream: $JOURNAL_STREAM or NULL. Whether it says that this descriptor leads to the journal. */
bool journal_is_behind(int fd, const char *stream);

/* path: of the journal's socket, which need not be there now. */
void journal_open(struct journal *j, const char *path);
void journal_close(struct journal *j);
/* priority: of syslog(3); fields: up to one without a key. False if it is not taken now. */
bool journal_put(const struct journal *j, unsigned priority, const char *message, const char *event,
                 const struct log_field *fields);
