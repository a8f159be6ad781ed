/* SPDX-License-Identifier: MIT */
#pragma once
/* The log of the router: lines `time level event key=value …` on one descriptor; if that leads to
 * the journal of systemd, entries with fields there. Owned by the process, one sink. Values are
 * quoted where that is needed, so that no name a client chooses can look like another line or
 * field. Writing never waits and never fails: what the descriptor does not take is counted and said
 * later. */

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* name, event, whether a client can cause it. Those are limited to a burst of LOG_BURST and
 * LOG_PER_SECOND after it, but for level debug, which was asked for. */
#define LOG_EVENTS(X)                                                                              \
    X(ROUTER_STARTED, "router.started", false)                                                     \
    X(ROUTER_LISTENING, "router.listening", false)                                                 \
    X(ROUTER_SIGNAL, "router.signal", false)                                                       \
    X(ROUTER_REPLACING, "router.replacing", false)                                                 \
    X(ROUTER_REPLACED, "router.replaced", false)                                                   \
    X(ROUTER_STOPPING, "router.stopping", false)                                                   \
    X(ROUTER_CUT_OFF, "router.cut_off", false)                                                     \
    X(ROUTER_STOPPED, "router.stopped", false)                                                     \
    X(CLIENT_CONNECTED, "client.connected", true)                                                  \
    X(CLIENT_REFUSED, "client.refused", true)                                                      \
    X(CLIENT_CLOSED, "client.closed", true)                                                        \
    X(ACCESS_DENIED, "access.denied", true)                                                        \
    X(QUOTA_EXCEEDED, "quota.exceeded", true)                                                      \
    X(ACCEPT_PAUSED, "accept.paused", true)                                                        \
    X(ACCEPT_RESUMED, "accept.resumed", true)                                                      \
    X(SESSIONS_EXPECTED, "sessions.expected", false)                                               \
    X(SESSIONS_BACK, "sessions.back", false)                                                       \
    X(SESSIONS_FILE, "sessions.file", false)                                                       \
    X(CONFIG_LOADED, "config.loaded", false)                                                       \
    X(CONFIG_REJECTED, "config.rejected", false)                                                   \
    X(CONFIG_PENDING, "config.pending", false)                                                     \
    X(LOG_DROPPED, "log.dropped", false)

#define LOG_BURST 10u
#define LOG_PER_SECOND 1u

enum log_event {
#define X(name, event, limited) LOG_##name,
    LOG_EVENTS(X)
#undef X
        LOG_EVENTS_COUNT,
};

struct log_field {
    const char *key;  /* NULL ends the list */
    const char *text; /* NULL: the number counts */
    uint64_t number;
};

static inline struct log_field log_text(const char *key, const char *text)
{
    return (struct log_field){.key = key, .text = text};
}

static inline struct log_field log_number(const char *key, uint64_t number)
{
    return (struct log_field){.key = key, .number = number};
}

/* Logs to that descriptor (-1: nowhere), which stays the caller's. */
void log_open(int fd, enum log_level level);
/* The same with $JOURNAL_STREAM (NULL: none) and the path of the journal's socket. */
void log_open_with(int fd, enum log_level level, const char *stream, const char *journal);
void log_close(void);
void log_set_level(enum log_level level);

bool log_enabled(enum log_level level);
void log_write(enum log_level level, enum log_event event, const struct log_field *fields);
/* log(LOG_INFO, LOG_ROUTER_STOPPED, log_number("clients", n)) */
#define log(level, event, ...)                                                                     \
    do {                                                                                           \
        if (log_enabled(level)) {                                                                  \
            log_write(level, event, (const struct log_field[]){__VA_ARGS__, {0}});                 \
        }                                                                                          \
    } while (0)

/* Says how many lines were suppressed or dropped, where it may be said now. */
void log_catch_up(void);
/* Whether there is something for log_catch_up() to say. */
bool log_is_behind(void);
