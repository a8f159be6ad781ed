/* SPDX-License-Identifier: MIT */
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include "base/clock.h"
#include "base/macros.h"
#include "journal.h"

/* Not more than PIPE_BUF, so that a pipe takes a line whole or not at all. */
#define LINE_BYTES 1024

struct line {
    char text[LINE_BYTES];
    size_t len;
};

/* A token bucket in nanoseconds: time saved up, of which each line costs NS_PER_S / LOG_PER_SECOND.
 */
struct bucket {
    uint64_t saved_ns;
    uint64_t filled_ns; /* when saved_ns was right */
    uint64_t n_suppressed;
};

#define LINE_NS (NS_PER_S / LOG_PER_SECOND)
#define BUCKET_NS (LINE_NS * LOG_BURST)

static struct {
    int fd;
    int own_fd;             /* fd if it was opened here, else -1 */
    struct journal journal; /* closed if fd does not lead there */
    enum log_level level;
    struct bucket buckets[LOG_EVENTS_COUNT];
    uint64_t n_dropped;
} sink = {.fd = -1, .own_fd = -1, .journal = {.fd = -1}};

static const char *const level_names[] = {"error", "warn", "info", "debug"};
/* of syslog(3) */
static const unsigned priorities[] = {3, 4, 6, 7};

static const struct {
    const char *name;
    bool limited;
} events[] = {
#define X(name, event, limited) {event, limited},
    LOG_EVENTS(X)
#undef X
};

/* ---- lines ---- */

static void line_put(struct line *l, const char *text, size_t len)
{
    size_t room = sizeof(l->text) - 1 - l->len; /* 1 for the newline */
    size_t n = MIN(len, room);

    memcpy(l->text + l->len, text, n);
    l->len += n;
}

static void line_put_text(struct line *l, const char *text)
{
    line_put(l, text, strlen(text));
}

static bool is_plain(const char *text)
{
    if (!*text) {
        return false;
    }
    for (const unsigned char *p = (const unsigned char *) text; *p; p++) {
        if (*p <= ' ' || *p >= 0x7F || *p == '"' || *p == '\\' || *p == '=') {
            return false;
        }
    }
    return true;
}

/* Everything but printable ASCII is escaped: no terminal and no parser of the log is at a client's
 * mercy. */
static void line_put_quoted(struct line *l, const char *text)
{
    char escape[8];

    line_put(l, "\"", 1);
    for (const unsigned char *p = (const unsigned char *) text; *p; p++) {
        if (*p == '"' || *p == '\\') {
            (void) snprintf(escape, sizeof(escape), "\\%c", *p);
        } else if (*p < ' ' || *p >= 0x7F) {
            (void) snprintf(escape, sizeof(escape), "\\x%02x", *p);
        } else {
            (void) snprintf(escape, sizeof(escape), "%c", *p);
        }
        line_put_text(l, escape);
    }
    line_put(l, "\"", 1);
}

static void line_put_field(struct line *l, const struct log_field *f)
{
    char number[24];

    line_put(l, " ", 1);
    line_put_text(l, f->key);
    line_put(l, "=", 1);
    if (!f->text) {
        (void) snprintf(number, sizeof(number), "%llu", (unsigned long long) f->number);
        line_put_text(l, number);
    } else if (is_plain(f->text)) {
        line_put_text(l, f->text);
    } else {
        line_put_quoted(l, f->text);
    }
}

static void line_put_time(struct line *l)
{
    uint64_t now = clock_realtime_ns();
    time_t seconds = (time_t) (now / NS_PER_S);
    char date[32], text[48];
    struct tm tm;

    (void) gmtime_r(&seconds, &tm);
    (void) strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    (void) snprintf(text, sizeof(text), "%s.%03uZ ", date, (unsigned) (now % NS_PER_S / NS_PER_MS));
    line_put_text(l, text);
}

/* ---- the descriptor ---- */

/* A pipe that nobody reads, or a terminal that is stopped, must not stop the router: only a
 * descriptor that says it is writable is written to, and a socket is told not to wait. */
static bool sink_write(const char *text, size_t len)
{
    struct pollfd p = {.fd = sink.fd, .events = POLLOUT};
    ssize_t n;

    if (sink.fd < 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
        return false;
    }
    n = send(sink.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) {
        n = write(sink.fd, text, len);
    }
    return n == (ssize_t) len;
}

static void line_put_event(struct line *l, enum log_event event, const struct log_field *fields)
{
    line_put_text(l, events[event].name);
    for (const struct log_field *f = fields; f->key; f++) {
        line_put_field(l, f);
    }
}

/* The journal has its own time, and the level is a field. */
static bool emit_fields(enum log_level level, enum log_event event, const struct log_field *fields)
{
    struct line l = {.len = 0};

    if (sink.journal.fd < 0) {
        return false;
    }
    line_put_event(&l, event, fields);
    l.text[l.len] = '\0';
    return journal_put(&sink.journal, priorities[level], l.text, events[event].name, fields);
}

/* If it leads to the journal all the same, that takes the level from the front of the line. */
static bool emit_line(enum log_level level, enum log_event event, const struct log_field *fields)
{
    struct line l = {.len = 0};
    char priority[8];

    if (sink.journal.fd >= 0) {
        (void) snprintf(priority, sizeof(priority), "<%u>", priorities[level]);
        line_put_text(&l, priority);
    } else {
        line_put_time(&l);
        line_put_text(&l, level_names[level]);
        line_put(&l, " ", 1);
    }
    line_put_event(&l, event, fields);
    l.text[l.len++] = '\n';
    return sink_write(l.text, l.len);
}

static void emit(enum log_level level, enum log_event event, const struct log_field *fields)
{
    if (!emit_fields(level, event, fields) && !emit_line(level, event, fields)) {
        sink.n_dropped++;
    }
}

/* ---- limits ---- */

static bool bucket_take(struct bucket *b, uint64_t now_ns)
{
    b->saved_ns = MIN(b->saved_ns + (now_ns - b->filled_ns), BUCKET_NS);
    b->filled_ns = now_ns;
    if (b->saved_ns < LINE_NS) {
        return false;
    }
    b->saved_ns -= LINE_NS;
    return true;
}

bool log_is_behind(void)
{
    for (size_t i = 0; i < LOG_EVENTS_COUNT; i++) {
        if (sink.buckets[i].n_suppressed > 0) {
            return true;
        }
    }
    return sink.n_dropped > 0 && sink.fd >= 0;
}

static void say_suppressed(enum log_event event, uint64_t now_ns)
{
    struct bucket *b = &sink.buckets[event];
    uint64_t n = b->n_suppressed;

    if (n > 0 && bucket_take(b, now_ns)) {
        b->n_suppressed = 0;
        emit(LOG_WARN, event, (const struct log_field[]){log_number("suppressed", n), {0}});
    }
}

static void say_dropped(void)
{
    uint64_t n = sink.n_dropped;

    if (n > 0) {
        sink.n_dropped = 0;
        emit(LOG_WARN, LOG_LOG_DROPPED, (const struct log_field[]){log_number("lines", n), {0}});
        sink.n_dropped = sink.n_dropped > 0 ? n : 0; /* still not writable: as before */
    }
}

void log_catch_up(void)
{
    uint64_t now_ns = clock_monotonic_ns();

    for (unsigned i = 0; i < LOG_EVENTS_COUNT; i++) {
        say_suppressed((enum log_event) i, now_ns);
    }
    say_dropped();
}

bool log_enabled(enum log_level level)
{
    return level <= sink.level && sink.fd >= 0;
}

void log_write(enum log_level level, enum log_event event, const struct log_field *fields)
{
    struct bucket *b = &sink.buckets[event];

    if (events[event].limited && level < LOG_DEBUG) {
        uint64_t now_ns = clock_monotonic_ns();

        say_suppressed(event, now_ns);
        if (b->n_suppressed > 0 || !bucket_take(b, now_ns)) {
            b->n_suppressed++;
            return;
        }
    }
    say_dropped();
    emit(level, event, fields);
}

/* ---- lifecycle ---- */

/* A pipe or terminal is opened again, so that it can be non-blocking here and stay as it is for
 * those who share it. */
static int reopen_nonblocking(int fd)
{
    char path[64];
    struct stat st;

    if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        return -1;
    }
    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_open(int fd, enum log_level level)
{
    log_open_with(fd, level, getenv("JOURNAL_STREAM"), JOURNAL_SOCKET);
}

void log_open_with(int fd, enum log_level level, const char *stream, const char *journal)
{
    memset(&sink, 0, sizeof(sink));
    for (size_t i = 0; i < LOG_EVENTS_COUNT; i++) {
        sink.buckets[i].saved_ns = BUCKET_NS;
    }
    sink.level = level;
    sink.own_fd = fd >= 0 ? reopen_nonblocking(fd) : -1;
    sink.fd = sink.own_fd >= 0 ? sink.own_fd : fd;
    sink.journal.fd = -1;
    if (journal_is_behind(fd, stream)) {
        journal_open(&sink.journal, journal);
    }
}

void log_set_level(enum log_level level)
{
    sink.level = level;
}

void log_close(void)
{
    if (sink.own_fd >= 0) {
        (void) close(sink.own_fd);
    }
    sink.fd = sink.own_fd = -1;
    journal_close(&sink.journal);
}
