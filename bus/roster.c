/* SPDX-License-Identifier: MIT */
#include "roster.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include "base/macros.h"
#include "identity.h"
#include "log.h"
#include "wire/frame.h"

/* So many records that are not needed any more make the file be written anew. */
#define DEAD_MAX 4096u
/* No router leaves more; whatever is larger was not made by one. */
#define FILE_BYTES_MAX (64u << 20)

static const char magic[16] = "bus-sessions 1\n";

/* ---- the format ---- */

enum { RECORD_GONE = 0, RECORD_THERE = 1 };

static void store_u32le(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t load_u32le(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

/* FNV-1a: against what is torn or garbage, not against people. */
static uint32_t checksum(const uint8_t *data, size_t n)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < n; i++) {
        sum = (sum ^ data[i]) * 16777619u;
    }
    return sum;
}

void roster_put_header(uint8_t dst[ROSTER_HEADER_BYTES], const char boot[ROSTER_BOOT_BYTES])
{
    memset(dst, 0, ROSTER_HEADER_BYTES);
    memcpy(dst, magic, sizeof(magic));
    memcpy(dst + sizeof(magic), boot, ROSTER_BOOT_BYTES);
    store_u32le(dst + ROSTER_HEADER_BYTES - 4, checksum(dst, ROSTER_HEADER_BYTES - 4));
}

void roster_put_record(uint8_t dst[ROSTER_RECORD_BYTES], bool is_there, const struct session_id *id)
{
    store_u32le(dst, is_there ? RECORD_THERE : RECORD_GONE);
    store_u32le(dst + 4, id->uid);
    store_u32le(dst + 8, id->pid);
    store_u64le(dst + 12, id->session);
    store_u32le(dst + 20, checksum(dst, 20));
}

static bool record_get(const uint8_t *data, bool *is_there, struct session_id *id)
{
    uint32_t kind = load_u32le(data);

    *is_there = kind == RECORD_THERE;
    *id = (struct session_id){load_u32le(data + 4), load_u32le(data + 8), load_u64le(data + 12)};
    return kind <= RECORD_THERE && id->session != 0 && load_u32le(data + 20) == checksum(data, 20);
}

size_t roster_parse(const uint8_t *data, size_t len, const char boot[ROSTER_BOOT_BYTES],
                    roster_visit_fn visit, void *ctx)
{
    uint8_t header[ROSTER_HEADER_BYTES];
    size_t at = ROSTER_HEADER_BYTES;

    roster_put_header(header, boot);
    if (len < sizeof(header) || memcmp(data, header, sizeof(header)) != 0) {
        return 0;
    }
    for (; len - at >= ROSTER_RECORD_BYTES; at += ROSTER_RECORD_BYTES) {
        struct session_id id;
        bool is_there;

        if (!record_get(data + at, &is_there, &id)) {
            break;
        }
        visit(ctx, is_there, &id);
    }
    return at;
}

/* ---- who is there ---- */

/* A session that has connections, or is expected. It is in the file, as far as that can be written.
 */
struct returner {
    struct session_id id;
    struct returner *prev, *next; /* roster.list */
    size_t n_connections;
    bool is_expected;
};

static uint32_t id_hash(const struct roster *r, const struct session_id *id)
{
    uint64_t words[2] = {(uint64_t) id->uid << 32 | id->pid, id->session};

    return table_hash(&r->by_id, 0, words, sizeof(words));
}

static bool id_equals(const void *object, const void *key)
{
    const struct session_id *a = &((const struct returner *) object)->id, *b = key;

    return a->uid == b->uid && a->pid == b->pid && a->session == b->session;
}

static struct returner *returner_find(const struct roster *r, const struct session_id *id)
{
    return table_find(&r->by_id, id_hash(r, id), id_equals, id);
}

/* NULL if out of memory, or there are more than there can be clients. */
static struct returner *returner_new(struct roster *r, const struct session_id *id)
{
    struct returner *x;

    if (r->by_id.n >= r->n_max || table_prepare(&r->by_id) < 0) {
        return NULL;
    }
    x = calloc(1, sizeof(*x));
    if (x) {
        x->id = *id;
        table_insert(&r->by_id, id_hash(r, id), x);
        DL_APPEND(r->list, x);
    }
    return x;
}

static void returner_free(struct roster *r, struct returner *x)
{
    table_remove(&r->by_id, id_hash(r, &x->id), x);
    DL_DELETE(r->list, x);
    free(x);
}

/* ---- writing ---- */

static void say_failed(struct roster *r, int error)
{
    if (!r->has_failed) {
        r->has_failed = true;
        log(LOG_WARN, LOG_SESSIONS_FILE, log_text("path", r->path),
            log_text("error", strerror(error)));
    }
}

static bool write_all(int fd, const uint8_t *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, data, n);

        if (done < 0 && errno != EINTR) {
            return false;
        }
        done = MAX(done, 0);
        data += done;
        n -= (size_t) done;
    }
    return true;
}

static void roster_shut(struct roster *r)
{
    if (r->fd >= 0) {
        (void) close(r->fd);
        r->fd = -1;
    }
}

/* All that is there, as a file's content; NULL if out of memory. */
static uint8_t *roster_content(const struct roster *r, size_t *ret_bytes)
{
    size_t bytes = ROSTER_HEADER_BYTES + (size_t) r->by_id.n * ROSTER_RECORD_BYTES;
    uint8_t *content = malloc(bytes), *dst = content;
    const struct returner *x;

    if (!content) {
        return NULL;
    }
    roster_put_header(dst, r->boot);
    dst += ROSTER_HEADER_BYTES;
    DL_FOREACH (r->list, x) {
        roster_put_record(dst, true, &x->id);
        dst += ROSTER_RECORD_BYTES;
    }
    *ret_bytes = bytes;
    return content;
}

/* Beside the old one, and then in its place: there is a whole file at every moment. */
static int roster_write_new(struct roster *r, const uint8_t *content, size_t bytes)
{
    char temporary[sizeof(r->path) + sizeof(".new")];
    int fd;

    (void) snprintf(temporary, sizeof(temporary), "%s.new", r->path);
    (void) unlink(temporary); /* of a router that died here */
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    if (!write_all(fd, content, bytes) || rename(temporary, r->path) < 0) {
        int error = errno;

        (void) unlink(temporary);
        (void) close(fd);
        return -error;
    }
    r->fd = fd;
    return 0;
}

static void roster_rewrite(struct roster *r)
{
    size_t bytes = 0;
    AUTO_FREE uint8_t *content = roster_content(r, &bytes);
    int e;

    roster_shut(r);
    e = content ? roster_write_new(r, content, bytes) : -ENOMEM;
    if (e < 0) {
        say_failed(r, -e);
        return;
    }
    r->n_dead = 0;
    r->has_failed = false;
}

/* What is torn makes all that follows worthless, so then the whole file is written. */
static void roster_note(struct roster *r, bool is_there, const struct session_id *id)
{
    uint8_t record[ROSTER_RECORD_BYTES];

    r->n_dead += is_there ? 0 : 2; /* this one, and the one that it takes back */
    roster_put_record(record, is_there, id);
    if (r->fd < 0 || r->n_dead > DEAD_MAX ||
        write(r->fd, record, sizeof(record)) != (ssize_t) sizeof(record)) {
        roster_rewrite(r);
    }
}

/* While nobody is there, there is no file, and none is open. False if it cannot be removed. */
static bool roster_remove(struct roster *r)
{
    if (unlink(r->path) < 0 && errno != ENOENT) {
        return false;
    }
    roster_shut(r);
    r->n_dead = 0;
    return true;
}

static void returner_look(struct roster *r, struct returner *x)
{
    if (x->n_connections == 0 && !x->is_expected) {
        const struct session_id id = x->id;

        returner_free(r, x);
        if (r->list || !roster_remove(r)) {
            roster_note(r, false, &id);
        }
    }
}

static void on_begun(void *userdata, const struct session_id *id)
{
    struct roster *r = userdata;
    struct returner *x;

    if (!*r->path || r->is_frozen) {
        return;
    }
    x = returner_find(r, id);
    if (!x) {
        x = returner_new(r, id);
        if (!x) {
            say_failed(r, ENOMEM);
            return;
        }
        roster_note(r, true, id);
    }
    x->n_connections++;
}

static void on_ended(void *userdata, const struct session_id *id)
{
    struct roster *r = userdata;
    struct returner *x = r->is_frozen ? NULL : returner_find(r, id);

    if (x && x->n_connections > 0) { /* it may be one for which there was no memory */
        x->n_connections--;
        returner_look(r, x);
    }
}

const struct session_ops roster_ops = {on_begun, on_ended};

/* ---- reading ---- */

static void on_record(void *ctx, bool is_there, const struct session_id *id)
{
    struct roster *r = ctx;
    struct returner *x = returner_find(r, id);

    if (is_there && !x) {
        x = returner_new(r, id); /* without memory it is not expected */
    }
    if (x && is_there) {
        x->is_expected = true;
    } else if (x) {
        returner_free(r, x);
    }
}

/* Only a file that nobody else can have written counts. */
static int roster_open(const struct roster *r, size_t *ret_bytes)
{
    int fd = open(r->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) || st.st_size > (off_t) FILE_BYTES_MAX) {
        (void) close(fd);
        return -EPERM;
    }
    *ret_bytes = (size_t) st.st_size;
    return fd;
}

static int roster_read(struct roster *r)
{
    size_t bytes = 0, n = 0;
    AUTO_CLOSE int fd = roster_open(r, &bytes);
    AUTO_FREE uint8_t *data = NULL;
    ssize_t got = 1;

    if (fd < 0) {
        return fd;
    }
    data = malloc(bytes + 1);
    if (!data) {
        return -ENOMEM;
    }
    while (n < bytes && got > 0) {
        got = read(fd, data + n, bytes - n);
        n += (size_t) MAX(got, 0);
    }
    (void) roster_parse(data, n, r->boot, on_record, r);
    return 0;
}

static void expect_all(struct roster *r, struct router *router, uint64_t until_ns)
{
    AUTO_FREE struct session_id *ids = calloc(r->by_id.n, sizeof(*ids));
    const struct returner *x;
    size_t n = 0;

    DL_FOREACH (r->list, x) {
        if (ids) {
            ids[n++] = x->id;
        }
    }
    if (!ids || router_expect(router, ids, n, until_ns) < 0) {
        say_failed(r, ENOMEM);
    }
}

size_t roster_load(struct roster *r, struct router *router, uint64_t until_ns)
{
    struct returner *x, *next;
    int e = *r->path ? roster_read(r) : -ENOENT;

    if (e == -ENOENT) {
        return 0;
    }
    if (e < 0) {
        say_failed(r, -e);
    }
    DL_FOREACH_SAFE (r->list, x, next) {
        if (process_is_gone(x->id.pid)) {
            returner_free(r, x);
        }
    }
    if (!r->list) {
        (void) roster_remove(r);
        return 0;
    }
    roster_rewrite(r);
    expect_all(r, router, until_ns);
    return r->by_id.n;
}

bool roster_check_expected(struct roster *r, struct router *router, size_t *ret_missing)
{
    struct returner *x, *next;
    size_t n = 0;

    DL_FOREACH_SAFE (r->list, x, next) {
        if (x->is_expected && process_is_gone(x->id.pid)) {
            router_unexpect(router, &x->id);
            x->is_expected = false;
            returner_look(r, x);
        }
    }
    if (router_is_holding(router)) {
        return true;
    }
    DL_FOREACH_SAFE (r->list, x, next) {
        n += x->is_expected && x->n_connections == 0;
        x->is_expected = false;
        returner_look(r, x);
    }
    *ret_missing = n;
    return false;
}

/* ---- lifecycle ---- */

static void boot_read(char boot[ROSTER_BOOT_BYTES])
{
    AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(boot, 0, ROSTER_BOOT_BYTES);
    if (fd >= 0 && read(fd, boot, ROSTER_BOOT_BYTES) < 0) {
        memset(boot, 0, ROSTER_BOOT_BYTES);
    }
}

void roster_init(struct roster *r, const char *path, size_t n_max, uint64_t seed)
{
    *r = (struct roster){.fd = -1, .n_max = n_max};
    table_init(&r->by_id, seed);
    boot_read(r->boot);
    if (path) {
        (void) snprintf(r->path, sizeof(r->path), "%s.sessions", path);
    }
}

void roster_freeze(struct roster *r)
{
    r->is_frozen = true;
    roster_shut(r);
}

void roster_fini(struct roster *r)
{
    roster_freeze(r);
    while (r->list) {
        returner_free(r, r->list);
    }
    table_fini(&r->by_id);
}
