/* SPDX-License-Identifier: MIT */
/* Publishing: frames are written where they will be sent from. The plain case, an advertised topic
 * and no options, is straight line code; everything else goes through the codec. */

#include "client/publish.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/sock.h"
#include "client/conn.h"
#include "client/handlers.h"
#include "client/session.h"
#include "client/topic_handle.h"
#include "wire/codec.h"
#include "wire/topic.h"

/* Bodies in buffers that wait for others to be sent together. */
#define HANDED_OVER_MAX (1024u * 1024u)
/* Of a PUBLISH without texts, and of one text header beyond its texts: tags and lengths. */
#define PUBLISH_HEADER_OVERHEAD 64u
#define TEXT_HEADER_OVERHEAD 16u
#define PUBLISH_FLAGS (BUS_PUBLISH_CONFIRM | BUS_PUBLISH_IMMUTABLE)

bool bus__has_room(const struct bus_conn *c)
{
    return c->outq.bytes <= c->max_out_bytes / 2 &&
           (c->outq.bytes == 0 || c->outq.bytes + c->want_bytes <= c->max_out_bytes);
}

static bool is_link_writable(const struct bus_conn *c)
{
    return c->credit_messages > 0 && c->credit_bytes > 0 && bus__has_room(c);
}

bool bus__is_writable(const struct bus_conn *c)
{
    if (UNLIKELY(c->session != NULL)) {
        if (c->session->reliable.want_bytes > 0) {
            return bus__reliable_has_room(c) && (c->away || is_link_writable(c));
        }
        if (c->away) {
            return bus__backlog_has_room(c);
        }
    }
    return is_link_writable(c);
}

static inline void store_body_bytes(uint8_t *dst, size_t bytes)
{
    dst[0] = (uint8_t) bytes;
    dst[1] = (uint8_t) (bytes >> 8);
    dst[2] = (uint8_t) (bytes >> 16);
    dst[3] = (uint8_t) (bytes >> 24);
}

static inline void charge(struct bus_conn *c, uint64_t sequence, size_t message_bytes)
{
    c->sizes[sequence & c->sizes_mask] = (uint32_t) message_bytes;
    c->credit_messages--;
    c->credit_bytes -= (int64_t) message_bytes;
    bus__output_queued(c);
}

void bus__publish_charge(struct bus_conn *c, uint64_t sequence, size_t message_bytes)
{
    c->wire_sequence = sequence;
    charge(c, sequence, message_bytes);
}

void bus__publish_count_on(struct bus_conn *c)
{
    c->sequence_due = false;
    c->plain_limit = MIN((size_t) c->inline_max, c->buffer_from - 1) + 1;
}

/* A publish is in the output. */
static inline void account(struct bus_conn *c, size_t message_bytes)
{
    c->sequence++;
    charge(c, c->sequence, message_bytes);
}

static inline bool is_plain_possible(const struct bus_conn *c, const void *data, size_t bytes)
{
    return *c->fork_mark && c->credit_messages > 0 && c->credit_bytes > 0 && (data || bytes == 0) &&
           bytes < c->plain_limit && c->outq.bytes + bytes + PUBLISH_LEAD_BYTES <= c->max_out_bytes;
}

static inline int publish_plain(struct bus_conn *c, const struct bus_topic *t, const void *data,
                                size_t bytes)
{
    uint8_t *dst = outq_reserve(&c->outq, t->lead_bytes + bytes);

    if (UNLIKELY(!dst)) {
        return -ENOMEM;
    }
    if (UNLIKELY(t->flags & BUS_TOPIC_RELIABLE)) {
        int r = bus__reliable_note_plain(c, t, data, bytes);

        if (r < 0) {
            return r;
        }
    }
    memcpy(dst, t->lead, PUBLISH_LEAD_BYTES);
    store_body_bytes(dst, bytes);
    if (LIKELY(bytes > 0)) {
        memcpy(dst + t->lead_bytes, data, bytes);
    }
    outq_commit(&c->outq, t->lead_bytes + bytes);
    account(c, bytes);
    return 0;
}

/* ---- the long way ---- */

static int again(struct bus_conn *c, size_t bytes)
{
    c->want_writable = true;
    c->want_bytes = bytes;
    c->starved = false;
    return -EAGAIN;
}

static int output_room_check(struct bus_conn *c, size_t bytes)
{
    if (c->outq.bytes + bytes > c->max_out_bytes) {
        bus__output(c, OUTPUT_ALL); /* it may have been a cork that held it */
        if (c->outq.bytes > 0 && c->outq.bytes + bytes > c->max_out_bytes) {
            return again(c, bytes);
        }
    }
    return bus__usable(c);
}

static int room_check(struct bus_conn *c, const struct publish *p, size_t bytes)
{
    if (c->away) {
        return p->outgoing ? -ENOTCONN : 0; /* the backlog says whether it takes it */
    }
    if (!p->outgoing && (c->credit_messages <= 0 || c->credit_bytes <= 0)) {
        return again(c, bytes);
    }
    return output_room_check(c, bytes);
}

static int state_check(struct bus_conn *c)
{
    int r = bus__usable(c);

    if (r < 0) {
        return r;
    }
    return c->monitor.on_record ? -EBUSY : 0;
}

/* Descriptors are the application's: the message gets duplicates. */
static int fds_check(const struct bus_publish_opts *opts)
{
    if (opts->n_fds > BUS_FDS_MAX || (!opts->fds && opts->n_fds > 0)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < opts->n_fds; i++) {
        if (fcntl(opts->fds[i], F_GETFD) < 0) {
            return -EBADF;
        }
    }
    return 0;
}

static int body_check(struct bus_conn *c, const void *data, size_t bytes)
{
    if (!data && bytes > 0) {
        return -EINVAL;
    }
    if (c->state == CONN_GREETING && !c->away) {
        return again(c, 0);
    }
    if (c->inline_max == 0) {
        return 0; /* no router has said yet what it takes */
    }
    return bytes > bus_body_max(c) ? -EMSGSIZE : 0;
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

int bus__headers_check(const struct bus_header *headers, size_t n, size_t *text_bytes)
{
    if (n > BUS_HEADERS_MAX || (!headers && n > 0)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!header_valid(&headers[i], text_bytes)) {
            return -EINVAL;
        }
    }
    return 0;
}

/* Also fills in the lengths. */
static int opts_check(struct publish *p)
{
    const struct bus_publish_opts *opts = p->opts;

    p->header_max = PUBLISH_HEADER_OVERHEAD + BUS_TOPIC_MAX;
    if (!opts) {
        return 0;
    }
    p->header_max += opts->key ? BUS_TOPIC_MAX : 0;
    if (opts->size != sizeof(*opts) || (opts->flags & ~PUBLISH_FLAGS) != 0 ||
        ((opts->flags & BUS_PUBLISH_CONFIRM) && !opts->on_confirm) ||
        (opts->key && (!*opts->key || strnlen(opts->key, BUS_TOPIC_MAX + 1) > BUS_TOPIC_MAX))) {
        return -EINVAL;
    }
    if (bus__headers_check(opts->headers, opts->n_headers, &p->text_bytes) < 0) {
        return -EINVAL;
    }
    p->header_max += p->text_bytes + opts->n_headers * TEXT_HEADER_OVERHEAD;
    return p->header_max > FRAME_HEADER_MAX ? -EMSGSIZE : fds_check(opts);
}

/* What of the body goes into the frame, as far as can be said before it is tried. */
static size_t inline_bytes(const struct bus_conn *c, const struct publish *p)
{
    return p->slot.segment || p->bytes >= c->buffer_from ? 0 : p->bytes;
}

/* Everything that can be known before a byte is written. */
static int publish_check(struct bus_conn *c, struct publish *p)
{
    int r = state_check(c);

    r = r < 0 ? r : opts_check(p);
    r = r < 0 ? r : body_check(c, p->data, p->bytes);
    return r < 0 ? r : room_check(c, p, bus__publish_frame_max(p) + inline_bytes(c, p));
}

static enum verb verb_of(const struct publish *p)
{
    return p->outgoing ? p->outgoing->verb : VERB_PUBLISH;
}

/* A publish with an alias, options or descriptors, or with its body in a buffer. */
static int publish_encoded(struct bus_conn *c, struct publish *p)
{
    size_t body_bytes = p->slot.segment ? 0 : p->bytes;
    uint8_t *dst = outq_reserve_with(&c->outq, bus__publish_frame_max(p) + body_bytes, p->parcel);
    AUTO_FREE struct confirm *confirm = NULL;
    long header_bytes;
    int r;

    if (!dst || bus__publish_confirm_new(p, &confirm) < 0) {
        return -ENOMEM;
    }
    if (UNLIKELY(c->sequence_due)) {
        p->sequence = c->sequence + 1;
    }
    header_bytes = bus__publish_encode(p, dst + FRAME_PREFIX_BYTES);
    if (header_bytes < 0) {
        return -ENOMEM;
    }
    frame_write_prefix_fds(dst, verb_of(p), (size_t) header_bytes, body_bytes,
                           parcel_count(p->parcel));
    if (body_bytes > 0) {
        memcpy(dst + FRAME_PREFIX_BYTES + header_bytes, p->data, body_bytes);
    }
    if (bus__publish_is_reliable(p)) {
        r = bus__reliable_note(c, p, dst + FRAME_PREFIX_BYTES, (size_t) header_bytes);
        if (r < 0) {
            return r;
        }
    }
    if (p->slot.segment && p->slot.segment->once) {
        bus__pool_seal(p->slot.segment); /* from here on nothing can fail */
    }
    if (p->slot.segment) {
        bus__pool_publish(p->slot);
    }
    bus__publish_confirm_add(c, TAKE(confirm), c->sequence + 1);
    outq_commit_with(&c->outq, FRAME_PREFIX_BYTES + (size_t) header_bytes + body_bytes, p->parcel);
    c->urgent = c->urgent || p->parcel;
    if (p->outgoing) {
        bus__output_queued(c);
        return 0;
    }
    if (UNLIKELY(c->sequence_due)) {
        bus__publish_count_on(c);
    }
    account(c, p->text_bytes + p->bytes);
    return 0;
}

static bool is_plain(const struct publish *p)
{
    return p->topic && !p->slot.segment && !p->outgoing &&
           (!p->opts || ((p->opts->flags & BUS_PUBLISH_CONFIRM) == 0 && p->opts->n_headers == 0 &&
                         p->opts->n_fds == 0 && !p->opts->key && p->opts->ttl_ms == 0));
}

/* ---- bodies in buffers ---- */

int bus__publish_announce(struct bus_conn *c, struct segment *s)
{
    struct wire_buffer m = {.id = s->number, .bytes = s->bytes};
    _Alignas(16) uint8_t memory[256];
    struct arena scratch = {memory, 0, sizeof(memory)};
    uint8_t *dst = outq_reserve_first(&c->outq, CONTROL_HEADER_MAX);
    long bytes;

    if (!dst) {
        return -ENOMEM;
    }
    bytes = codec_encode(&scratch, VERB_BUFFER, &m, dst + FRAME_PREFIX_BYTES,
                         CONTROL_HEADER_MAX - FRAME_PREFIX_BYTES);
    if (bytes < 0) {
        return -ENOMEM;
    }
    frame_write_prefix_fds(dst, VERB_BUFFER, (size_t) bytes, 0, 1);
    outq_commit_parcel(&c->outq, FRAME_PREFIX_BYTES + (size_t) bytes, s->parcel);
    s->announced = true;
    if (!s->once && !s->keeps_fd) {
        parcel_unref(TAKE(s->parcel));
    }
    return 0;
}

/* Frames are collected until a packet is full; bodies in buffers make no packet full, and their
 * readers could have begun long before. */
static void note_handed_over(struct bus_conn *c, size_t bytes)
{
    c->handed_over += bytes;
    if (c->handed_over >= HANDED_OVER_MAX) {
        c->handed_over = 0;
        bus__output(c, OUTPUT_ALL);
    }
}

void bus__publish_unregister(struct bus_conn *c, struct segment *s)
{
    struct wire_unbuffer unbuffer = {s->number};
    struct wire_ping ping = {c->ping_token + 1};

    if (!bus__has_link(c) || bus__send(c, VERB_UNBUFFER, &unbuffer, CONTROL_HEADER_MAX) < 0) {
        return; /* then when it is returned */
    }
    if (bus__send(c, VERB_PING, &ping, CONTROL_HEADER_MAX) == 0) {
        c->ping_token++; /* else it is the next one's */
    }
    if (bus__has_link(c)) { /* else what was published from it may not have been sent at all */
        bus__pool_leave(&c->pool, s, ping.token);
    }
}

static int publish_from_slot(struct bus_conn *c, struct publish *p)
{
    struct segment *s = p->slot.segment;
    int r = s->announced ? 0 : bus__publish_announce(c, s);

    r = r < 0 ? r : publish_encoded(c, p);
    if (r == 0) {
        note_handed_over(c, p->bytes);
    }
    if (s->once && r < 0) {
        s->dead = true; /* the router will refuse it, for it is not sealed */
    } else if (s->once && !bus__publish_is_reliable(p)) {
        bus__publish_unregister(c, s);
    }
    return r;
}

static bool is_immutable(const struct bus_publish_opts *opts)
{
    return opts && (opts->flags & BUS_PUBLISH_IMMUTABLE);
}

bool bus__fits_every_link(const struct bus_conn *c, size_t bytes)
{
    return bytes <= MIN(c->inline_max, FRAME_INLINE_MAX_SEQPACKET);
}

int bus__publish_place(struct bus_conn *c, struct publish *p)
{
    int r;

    if (p->bytes < c->buffer_from && p->bytes <= c->inline_max) {
        return 1;
    }
    r = is_immutable(p->opts) ? -ENOBUFS : bus__pool_take(&c->pool, p->bytes, &p->slot);
    if (r < 0 && bus__fits_every_link(c, p->bytes)) {
        return 1;
    }
    r = r < 0 ? bus__pool_take_once(&c->pool, p->bytes, &p->slot) : r;
    if (r < 0 && p->bytes <= c->inline_max) {
        return 1;
    }
    if (r == 0) {
        memcpy(bus__slot_data(p->slot), p->data, p->bytes);
    }
    return r;
}

/* There is no link now. */
static int put_aside(struct bus_conn *c, struct publish *p)
{
    if (p->outgoing) {
        return -ENOTCONN;
    }
    return bus__publish_is_reliable(p) ? bus__reliable_put(c, p) : bus__backlog_put(c, p);
}

static int publish_placed(struct bus_conn *c, struct publish *p)
{
    int r = bus__publish_place(c, p);

    if (r == 0) {
        r = publish_from_slot(c, p);
        if (r < 0) {
            bus__give_slot(c, p->slot);
        }
        return r;
    }
    r = r > 0 ? room_check(c, p, bus__publish_frame_max(p) + p->bytes) : r;
    if (r < 0) {
        return r;
    }
    if (c->away) { /* making room has shown that nobody reads any more */
        return put_aside(c, p);
    }
    return is_plain(p) && !c->sequence_due ? publish_plain(c, p->topic, p->data, p->bytes)
                                           : publish_encoded(c, p);
}

/* Duplicates of the application's descriptors. */
static int fds_take(const struct bus_publish_opts *opts, struct parcel **ret)
{
    struct parcel *parcel;

    if (!opts || opts->n_fds == 0) {
        return 0;
    }
    parcel = parcel_new(opts->fds, (unsigned) opts->n_fds, sock_close_fd);
    if (!parcel) {
        return -ENOMEM;
    }
    for (parcel->n = 0; parcel->n < opts->n_fds; parcel->n++) {
        int fd = fcntl(opts->fds[parcel->n], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            int error = errno;

            parcel_unref(parcel); /* those it has got so far */
            return -error;
        }
        parcel->fds[parcel->n] = fd;
    }
    *ret = parcel;
    return 0;
}

/* What has been checked and found fit. */
static int publish_checked(struct bus_conn *c, struct publish *p)
{
    int r = fds_take(p->opts, &p->parcel);

    if (r == 0 && UNLIKELY(c->away)) {
        r = put_aside(c, p);
    } else if (r == 0) {
        r = p->slot.segment ? publish_from_slot(c, p) : publish_placed(c, p);
    }
    parcel_unref(p->parcel);
    return r;
}

static int publish_slowly(struct bus_conn *c, struct publish *p)
{
    int r = publish_check(c, p);

    return r < 0 ? r : publish_checked(c, p);
}

int bus__publish_slot(struct bus_topic *topic, struct slot slot, size_t bytes,
                      const struct bus_publish_opts *opts)
{
    struct publish p = {
        .topic = topic, .data = bus__slot_data(slot), .bytes = bytes, .opts = opts, .slot = slot};

    bool as_is = !slot.segment->dead && (slot.segment->once || !is_immutable(opts));
    int r;

    if (!as_is) {
        p.slot.segment = NULL; /* the bytes go another way */
    }
    r = publish_slowly(topic->conn, &p);
    if (r == 0 && !as_is) {
        bus__give_slot(topic->conn, slot);
    }
    return r;
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
    if (t && !opts && bytes < conn->plain_limit && !conn->away) {
        return publish_plain(conn, t, data, bytes);
    }
    p.topic = t; /* without an alias left, the name goes with the message */
    p.header_max = 0;
    p.text_bytes = 0;
    (void) opts_check(&p);
    return publish_checked(conn, &p);
}

int bus__send_outgoing(struct bus_conn *c, const struct outgoing *o, const void *data, size_t bytes,
                       const struct bus_publish_opts *opts)
{
    struct publish p = {.outgoing = o,
                        .topic = o->topic,
                        .name = o->name,
                        .data = data,
                        .bytes = bytes,
                        .opts = opts};

    return publish_slowly(c, &p);
}

int bus_publish(struct bus_conn *conn, const char *topic, const void *data, size_t bytes)
{
    return bus_publish_with(conn, topic, data, bytes, NULL);
}

uint64_t bus_sequence(const struct bus_conn *conn)
{
    return conn->sequence;
}
