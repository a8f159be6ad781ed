/* SPDX-License-Identifier: MIT */
/* Publishing: frames are written where they will be sent from. The plain case, an advertised topic
 * and no options, is straight line code; everything else goes through the codec. */

#include <errno.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/topic_handle.h"
#include "wire/codec.h"
#include "wire/topic.h"

/* More credit than this is not used: the sizes of so many publishes are remembered. */
#define WINDOW_MESSAGES_USED (1u << 20)
#define WINDOW_BYTES_USED (INT64_C(1) << 40)
#define CODEC_SCRATCH_BYTES 8192
/* Of a PUBLISH without texts, and of one text header beyond its texts: tags and lengths. */
#define PUBLISH_HEADER_OVERHEAD 32u
#define TEXT_HEADER_OVERHEAD 16u

/* A publish whose outcome has been asked for. */
struct confirm {
    struct confirm *prev, *next; /* bus_conn.confirms */
    uint64_t sequence;
    bus_confirm_fn on_confirm;
    void *userdata;
};

/* A publish that is not plain. */
struct publish {
    const struct bus_topic *topic; /* NULL: by name */
    const char *name;
    const void *data;
    size_t bytes;
    const struct bus_publish_opts *opts; /* may be NULL */
    size_t text_bytes;                   /* names and values of the headers */
    size_t header_max;
};

bool bus__is_writable(const struct bus_conn *c)
{
    return c->credit_messages > 0 && c->credit_bytes > 0 && c->outq.bytes <= c->max_out_bytes / 2 &&
           (c->outq.bytes == 0 || c->outq.bytes + c->want_bytes <= c->max_out_bytes);
}

static inline void store_body_bytes(uint8_t *dst, size_t bytes)
{
    dst[0] = (uint8_t) bytes;
    dst[1] = (uint8_t) (bytes >> 8);
    dst[2] = (uint8_t) (bytes >> 16);
    dst[3] = (uint8_t) (bytes >> 24);
}

static inline void commit(struct bus_conn *c, size_t frame_bytes, size_t message_bytes)
{
    outq_commit(&c->outq, frame_bytes);
    c->sequence++;
    c->sizes[c->sequence & c->sizes_mask] = (uint32_t) message_bytes;
    c->credit_messages--;
    c->credit_bytes -= (int64_t) message_bytes;
    bus__output_queued(c);
}

static inline bool is_plain_possible(const struct bus_conn *c, const void *data, size_t bytes)
{
    return *c->fork_mark && c->credit_messages > 0 && c->credit_bytes > 0 && (data || bytes == 0) &&
           bytes <= c->inline_max && c->outq.bytes + bytes + PUBLISH_LEAD_BYTES <= c->max_out_bytes;
}

static inline int publish_plain(struct bus_conn *c, const struct bus_topic *t, const void *data,
                                size_t bytes)
{
    uint8_t *dst = outq_reserve(&c->outq, t->lead_bytes + bytes);

    if (UNLIKELY(!dst)) {
        return -ENOMEM;
    }
    memcpy(dst, t->lead, PUBLISH_LEAD_BYTES);
    store_body_bytes(dst, bytes);
    if (LIKELY(bytes > 0)) {
        memcpy(dst + t->lead_bytes, data, bytes);
    }
    commit(c, t->lead_bytes + bytes, bytes);
    return 0;
}

/* ---- the long way ---- */

static int again(struct bus_conn *c, size_t bytes)
{
    c->want_writable = true;
    c->want_bytes = bytes;
    return -EAGAIN;
}

static int room_check(struct bus_conn *c, size_t bytes)
{
    if (c->credit_messages <= 0 || c->credit_bytes <= 0) {
        return again(c, bytes);
    }
    if (c->outq.bytes + bytes > c->max_out_bytes) {
        bus__output(c, OUTPUT_ALL); /* it may have been a cork that held it */
        if (c->outq.bytes > 0 && c->outq.bytes + bytes > c->max_out_bytes) {
            return again(c, bytes);
        }
    }
    return bus__usable(c);
}

static int state_check(struct bus_conn *c)
{
    int r = bus__usable(c);

    if (r < 0) {
        return r;
    }
    return c->monitor.on_record ? -EBUSY : 0;
}

static int body_check(struct bus_conn *c, const void *data, size_t bytes)
{
    if (!data && bytes > 0) {
        return -EINVAL;
    }
    if (c->state == CONN_GREETING) {
        return again(c, 0);
    }
    return bytes > c->inline_max ? -EMSGSIZE : 0;
}

static bool header_valid(const struct bus_header *h, size_t *text_bytes)
{
    size_t name_len = h->name ? strnlen(h->name, BUS_TOPIC_MAX + 1) : 0;
    size_t value_len = h->value ? strnlen(h->value, FRAME_HEADER_MAX + 1) : 0;

    *text_bytes += name_len + value_len;
    return name_len > 0 && name_len <= BUS_TOPIC_MAX && h->value &&
           utf8_valid_printable(h->name, name_len) &&
           (value_len > FRAME_HEADER_MAX || utf8_valid(h->value, value_len));
}

/* Also fills in the lengths. */
static int opts_check(struct publish *p)
{
    const struct bus_publish_opts *opts = p->opts;

    p->header_max = PUBLISH_HEADER_OVERHEAD + BUS_TOPIC_MAX;
    if (!opts) {
        return 0;
    }
    if (opts->size != sizeof(*opts) || (opts->flags & ~BUS_PUBLISH_CONFIRM) != 0 ||
        opts->n_headers > BUS_HEADERS_MAX || (!opts->headers && opts->n_headers > 0) ||
        ((opts->flags & BUS_PUBLISH_CONFIRM) && !opts->on_confirm)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < opts->n_headers; i++) {
        if (!header_valid(&opts->headers[i], &p->text_bytes)) {
            return -EINVAL;
        }
    }
    p->header_max += p->text_bytes + opts->n_headers * TEXT_HEADER_OVERHEAD;
    return p->header_max > FRAME_HEADER_MAX ? -EMSGSIZE : 0;
}

/* Everything that can be known before a byte is written. */
static int publish_check(struct bus_conn *c, struct publish *p)
{
    int r = state_check(c);

    r = r < 0 ? r : opts_check(p);
    r = r < 0 ? r : body_check(c, p->data, p->bytes);
    return r < 0 ? r : room_check(c, FRAME_PREFIX_BYTES + p->header_max + p->bytes);
}

static long encode(const struct publish *p, uint8_t *dst)
{
    _Alignas(16) uint8_t memory[CODEC_SCRATCH_BYTES];
    struct arena scratch = {memory, 0, sizeof(memory)};
    struct wire_header headers[BUS_HEADERS_MAX];
    struct wire_publish m = {.topic = {"", 0}, .headers = headers};

    if (p->topic) {
        m.alias = p->topic->alias;
    } else {
        m.topic = text_from(p->name);
    }
    if (p->opts) {
        m.flags = p->opts->flags;
        m.n_headers = p->opts->n_headers;
    }
    for (size_t i = 0; i < m.n_headers; i++) {
        headers[i].name = text_from(p->opts->headers[i].name);
        headers[i].value = text_from(p->opts->headers[i].value);
    }
    return codec_encode(&scratch, VERB_PUBLISH, &m, dst, p->header_max);
}

static int confirm_new(const struct publish *p, struct confirm **ret)
{
    struct confirm *confirm;

    if (!p->opts || !(p->opts->flags & BUS_PUBLISH_CONFIRM)) {
        return 0;
    }
    confirm = malloc(sizeof(*confirm));
    if (!confirm) {
        return -ENOMEM;
    }
    *confirm = (struct confirm){.on_confirm = p->opts->on_confirm, .userdata = p->opts->userdata};
    *ret = confirm;
    return 0;
}

static int publish_encoded(struct bus_conn *c, const struct publish *p)
{
    uint8_t *dst = outq_reserve(&c->outq, FRAME_PREFIX_BYTES + p->header_max + p->bytes);
    AUTO_FREE struct confirm *confirm = NULL;
    long header_bytes;

    if (!dst || confirm_new(p, &confirm) < 0) {
        return -ENOMEM;
    }
    header_bytes = encode(p, dst + FRAME_PREFIX_BYTES);
    if (header_bytes < 0) {
        return -ENOMEM;
    }
    frame_write_prefix(dst, VERB_PUBLISH, (size_t) header_bytes, p->bytes);
    if (p->bytes > 0) {
        memcpy(dst + FRAME_PREFIX_BYTES + header_bytes, p->data, p->bytes);
    }
    if (confirm) {
        confirm->sequence = c->sequence + 1;
        DL_APPEND(c->confirms, confirm);
        confirm = NULL;
    }
    commit(c, FRAME_PREFIX_BYTES + (size_t) header_bytes + p->bytes, p->text_bytes + p->bytes);
    return 0;
}

static bool is_plain(const struct publish *p)
{
    return p->topic && (!p->opts || (p->opts->flags == 0 && p->opts->n_headers == 0));
}

static int publish_slowly(struct bus_conn *c, struct publish *p)
{
    int r = publish_check(c, p);

    if (r < 0) {
        return r;
    }
    return is_plain(p) ? publish_plain(c, p->topic, p->data, p->bytes) : publish_encoded(c, p);
}

int bus_topic_publish(struct bus_topic *topic, const void *data, size_t bytes,
                      const struct bus_publish_opts *opts)
{
    struct bus_conn *c = topic->conn;
    struct publish p;

    if (LIKELY(!opts && is_plain_possible(c, data, bytes))) {
        return publish_plain(c, topic, data, bytes);
    }
    p = (struct publish){.topic = topic, .data = data, .bytes = bytes, .opts = opts};
    return publish_slowly(c, &p);
}

/* ---- by name ---- */

int bus_publish_with(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
                     const struct bus_publish_opts *opts)
{
    struct publish p = {.name = topic, .data = data, .bytes = bytes, .opts = opts};
    struct bus_topic *t = NULL;
    int r;

    if (opts || !is_plain_possible(conn, data, bytes)) {
        r = publish_check(conn, &p);
        if (r < 0) {
            return r == -EAGAIN && !bus_topic_valid(topic) ? -EINVAL : r;
        }
    }
    r = bus__topic_automatic(conn, topic, &t);
    if (r < 0 && r != -ENOSPC) {
        return r;
    }
    if (t && !opts) {
        return publish_plain(conn, t, data, bytes);
    }
    p.topic = t; /* without an alias left, the name goes with the message */
    p.header_max = 0;
    p.text_bytes = 0;
    (void) opts_check(&p);
    return publish_encoded(conn, &p);
}

int bus_publish(struct bus_conn *conn, const char *topic, const void *data, size_t bytes)
{
    return bus_publish_with(conn, topic, data, bytes, NULL);
}

uint64_t bus_sequence(const struct bus_conn *conn)
{
    return conn->sequence;
}

/* ---- what the router says ---- */

int bus__publish_init(struct bus_conn *c, const struct wire_welcome *m)
{
    uint32_t messages = MIN(m->publish_window_messages, WINDOW_MESSAGES_USED);
    uint32_t n = 1;

    while (n < messages) {
        n *= 2;
    }
    c->sizes = calloc(n, sizeof(*c->sizes));
    if (!c->sizes) {
        return -ENOMEM;
    }
    c->sizes_mask = n - 1;
    c->window_messages = messages;
    c->window_bytes = (int64_t) MIN(m->publish_window_bytes, (uint64_t) WINDOW_BYTES_USED);
    if (!c->out_dead) {
        c->credit_messages = c->window_messages;
        c->credit_bytes = c->window_bytes;
    }
    return 0;
}

void bus__publish_fini(struct bus_conn *c)
{
    struct confirm *confirm, *next;

    DL_FOREACH_SAFE (c->confirms, confirm, next) {
        free(confirm);
    }
    c->confirms = NULL;
    free(TAKE(c->sizes));
    bus__topics_fini(c);
}

static void credit_add(struct bus_conn *c, uint64_t messages, uint64_t bytes)
{
    if (c->out_dead || bus__is_over(c)) {
        return;
    }
    messages = MIN(messages, (uint64_t) WINDOW_MESSAGES_USED);
    bytes = MIN(bytes, (uint64_t) WINDOW_BYTES_USED);
    c->credit_messages = MIN(c->credit_messages + (int64_t) messages, c->window_messages);
    c->credit_bytes = MIN(c->credit_bytes + (int64_t) bytes, c->window_bytes);
}

void bus__on_publish_credit(struct bus_conn *c, const struct wire_publish_credit *m)
{
    credit_add(c, m->messages, m->bytes);
}

/* Answers come in the order of the publishes: it is the first one, or that publish did not ask. */
static bool confirm_take(struct bus_conn *c, uint64_t sequence, struct confirm *ret)
{
    struct confirm *first = c->confirms;

    if (!first || first->sequence != sequence) {
        return false;
    }
    *ret = *first;
    DL_DELETE(c->confirms, first);
    free(first);
    return true;
}

void bus__on_confirm(struct bus_conn *c, const struct wire_confirm *m)
{
    struct bus_confirmation outcome = {
        .sequence = m->sequence,
        .status = BUS_STATUS_OK,
        .matched = m->matched,
        .delivered = m->delivered,
        .queued = m->queued,
        .dropped = m->dropped,
    };
    struct confirm confirm;

    if (!confirm_take(c, m->sequence, &confirm)) {
        bus__fail_protocol(c, "CONFIRM for a publish that did not ask for it");
        return;
    }
    confirm.on_confirm(c, &outcome, confirm.userdata);
}

/* The topic an alias stood for when publish number sequence was made, as far as it is known. */
static const struct bus_topic *topic_at(struct bus_conn *c, uint32_t alias, uint64_t sequence)
{
    const struct bus_topic *t = bus__table_get(&c->aliases, alias);

    return t && sequence > t->since ? t : NULL;
}

/* A refused publish used no credit, but it was counted here when it was sent. */
static bool credit_return(struct bus_conn *c, uint64_t sequence)
{
    if (sequence == 0 || sequence > c->sequence || c->sequence - sequence > c->sizes_mask) {
        return false;
    }
    credit_add(c, 1, c->sizes[sequence & c->sizes_mask]);
    return true;
}

void bus__on_publish_status(struct bus_conn *c, const struct wire_status *m)
{
    const struct bus_topic *t = topic_at(c, m->alias, m->sequence);
    struct wire_status status = *m;
    char name[BUS_TOPIC_MAX + 1];
    struct confirm confirm;

    if (!credit_return(c, m->sequence)) {
        bus__fail_protocol(c, "STATUS for a publish that was not made");
        return;
    }
    if (t) {
        memcpy(name, t->name, t->len + 1);
        if (t->refused && m->code == BUS_STATUS_UNKNOWN_ALIAS) {
            status.code = t->refused; /* the cause: why the alias is unknown */
            status.text = text_from(bus_status_text((enum bus_status) t->refused));
        }
    }
    if (confirm_take(c, m->sequence, &confirm)) {
        struct bus_confirmation outcome = {.sequence = m->sequence,
                                           .status = (enum bus_status) status.code};

        confirm.on_confirm(c, &outcome, confirm.userdata);
    }
    if (!bus__is_over(c)) {
        bus__tell_status(c, &status, t ? name : NULL);
    }
}

void bus__on_advertise_status(struct bus_conn *c, const struct wire_status *m)
{
    struct bus_topic *t = bus__table_get(&c->aliases, m->alias);
    char name[BUS_TOPIC_MAX + 1];

    if (!t) {
        bus__tell_status(c, m, NULL);
        return;
    }
    t->refused = m->code;
    if (t->automatic) {
        return; /* the publish it was made for is refused next, and tells */
    }
    memcpy(name, t->name, t->len + 1);
    bus__tell_status(c, m, name);
}
