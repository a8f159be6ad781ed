/* SPDX-License-Identifier: MIT */
#include "journal.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/macros.h"
#include "log.h"

#define KEY_BYTES 64u

struct entry {
    char data[JOURNAL_ENTRY_BYTES];
    size_t len;
};

/* ---- encoding ---- */

static void put_bytes(struct entry *e, const void *data, size_t len)
{
    memcpy(e->data + e->len, data, len);
    e->len += len;
}

/* KEY=value, or with its length in front: then there may be newlines in it, and nobody who chooses
 * a value can make another field of it. */
static void put_field(struct entry *e, const char *key, const char *value)
{
    size_t key_len = strlen(key), len = strnlen(value, JOURNAL_VALUE_BYTES);
    bool is_long = memchr(value, '\n', len) != NULL;
    uint8_t size[8];

    if (key_len + len + sizeof(size) + 2 > sizeof(e->data) - e->len) {
        return;
    }
    put_bytes(e, key, key_len);
    if (is_long) {
        for (size_t i = 0; i < sizeof(size); i++) {
            size[i] = (uint8_t) ((uint64_t) len >> (8 * i));
        }
        put_bytes(e, "\n", 1);
        put_bytes(e, size, sizeof(size));
    } else {
        put_bytes(e, "=", 1);
    }
    put_bytes(e, value, len);
    put_bytes(e, "\n", 1);
}

/* paused_us -> BUS_PAUSED_US */
static void put_log_field(struct entry *e, const struct log_field *f)
{
    char key[KEY_BYTES], number[24];

    (void) snprintf(key, sizeof(key), "BUS_%s", f->key);
    for (char *p = key; *p; p++) {
        *p = *p >= 'a' && *p <= 'z' ? (char) (*p - 'a' + 'A') : *p;
    }
    (void) snprintf(number, sizeof(number), "%llu", (unsigned long long) f->number);
    put_field(e, key, f->text ? f->text : number);
}

/* ---- the socket ---- */

bool journal_is_behind(int fd, const char *stream)
{
    unsigned long long dev, ino;
    struct stat st;
    int end = 0;

    return stream && fd >= 0 && sscanf(stream, "%llu:%llu%n", &dev, &ino, &end) == 2 &&
           !stream[end] && fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* It is not connected: a journal that starts anew is found again under its name. */
void journal_open(struct journal *j, const char *path)
{
    *j = (struct journal){.fd = -1, .sun = {.sun_family = AF_UNIX}};
    if (strlen(path) < sizeof(j->sun.sun_path)) {
        (void) snprintf(j->sun.sun_path, sizeof(j->sun.sun_path), "%s", path);
        j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
}

void journal_close(struct journal *j)
{
    if (j->fd >= 0) {
        (void) close(j->fd);
    }
    j->fd = -1;
}

bool journal_put(const struct journal *j, unsigned priority, const char *message, const char *event,
                 const struct log_field *fields)
{
    const char digit[] = {(char) ('0' + priority), '\0'};
    struct entry e = {.len = 0};
    ssize_t n;

    if (j->fd < 0) {
        return false;
    }
    put_field(&e, "MESSAGE", message);
    put_field(&e, "PRIORITY", digit);
    put_field(&e, "SYSLOG_IDENTIFIER", "bus-router");
    put_field(&e, "BUS_EVENT", event);
    for (const struct log_field *f = fields; f->key; f++) {
        put_log_field(&e, f);
    }
    do {
        n = sendto(j->fd, e.data, e.len, MSG_DONTWAIT | MSG_NOSIGNAL,
                   (const struct sockaddr *) &j->sun, sizeof(j->sun));
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}
