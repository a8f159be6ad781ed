/* SPDX-License-Identifier: MIT */
/* Records of peers, topics, buffers and messages. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/interest.h"
#include "core/member.h"
#include "core/reliance.h"
#include "core/will.h"
#include "wire/hot.h"
#include "wire/topic.h"

/* ---- senders and parcels ---- */

bool load_sender(struct load *l)
{
    const struct record *rec = l->record;
    struct text name = record_text(rec, SENDER_NAME);
    bool is_self = record_get(rec, SENDER_IS_SELF);
    struct router *r = l->router;
    struct sender *s;

    if (name.len > BUS_NAME_MAX || !utf8_valid_printable(name.data, name.len) ||
        record_get(rec, SENDER_ID) == 0 || (is_self && r->presence.self)) {
        return load_refuse(l, "sender");
    }
    s = sender_make(r, record_get_32(rec, SENDER_UID), record_get_32(rec, SENDER_ID));
    if (!s) {
        return load_refuse(l, "sender: its number, or memory");
    }
    s->connection_id = record_get(rec, SENDER_CONNECTION);
    s->session = record_get(rec, SENDER_SESSION);
    s->gid = record_get_32(rec, SENDER_GID);
    s->pid = record_get_32(rec, SENDER_PID);
    memcpy(s->name, name.data, name.len);
    s->name_len = (uint8_t) name.len;
    if (is_self) {
        r->presence.self = s;
    }
    return true;
}

bool load_parcel(struct load *l)
{
    struct image_source *from = l->from;
    uint64_t n = record_get(l->record, PARCEL_COUNT);
    struct parcel *parcel;

    if (n > PARCEL_FDS_MAX || n > from->n_fds - from->fds_used) {
        return load_refuse(l, "descriptors that did not come");
    }
    if (!load_reach(l, (void ***) &l->parcels, l->n_parcels, &l->n_parcels_max)) {
        return false;
    }
    parcel = parcel_new(from->fds + from->fds_used, (unsigned) n, from->close);
    if (!parcel) {
        return load_starve(l);
    }
    from->fds_used += n;
    parcel->refused = record_get(l->record, PARCEL_REFUSED);
    parcel->truncated = record_get(l->record, PARCEL_TRUNCATED);
    l->parcels[l->n_parcels++] = parcel;
    return true;
}

/* ---- peers ---- */

bool load_set(struct load *l, unsigned field, struct idset *set)
{
    struct text words = record_text(l->record, field);
    uint32_t n = (uint32_t) (words.len / sizeof(uint64_t));

    if (n == 0) {
        return true;
    }
    set->words = malloc(n * sizeof(uint64_t));
    if (!set->words) {
        return load_starve(l);
    }
    memcpy(set->words, words.data, n * sizeof(uint64_t));
    set->n_words = n;
    return true;
}

/* All that is in one is in the other. */
static bool set_join(struct load *l, struct idset *all, const struct idset *set)
{
    if (set->n_words == 0) {
        return true;
    }
    if (!idset_has(all, set->n_words * 64 - 1)) {
        if (!idset_add(all, set->n_words * 64 - 1)) {
            return load_starve(l);
        }
        idset_remove(all, set->n_words * 64 - 1);
    }
    for (uint32_t i = 0; i < set->n_words; i++) {
        all->words[i] |= set->words[i];
    }
    return true;
}

static bool peer_sets(struct load *l, struct peer *p)
{
    struct router *r = l->router;

    if (!load_set(l, PEER_KNOWN, &p->known)) {
        return false;
    }
    charge_force(&p->charge, idset_memory(&p->known));
    if (!load_set(l, PEER_KNOWN_TOPICS, &p->known_topics)) {
        return false;
    }
    charge_force(&p->charge, idset_memory(&p->known_topics));
    return load_set(l, PEER_KNOWN_BUFFERS, &p->known_buffers) &&
           set_join(l, &r->introduced, &p->known) &&
           set_join(l, &r->groups.topics, &p->known_topics);
}

/* What has arrived and no frame has claimed. */
static bool peer_parcels(struct load *l, struct peer *p)
{
    for (unsigned i = 0; i < PEER_PARCELS_MAX; i++) {
        struct parcel *parcel = load_parcel_of(l, PEER_PARCEL + i);

        if (parcel && (p->state == PEER_CLOSING || parcel->n > FRAME_FDS_MAX)) {
            return load_refuse(l, "descriptors that nobody will claim");
        }
        if (parcel) {
            charge_force(&p->parcels_charge, parcel->n);
            p->parcels[p->n_parcels++] = parcel_ref(parcel);
        }
    }
    return true;
}

/* By deadline: they come in the order in which they connected, which nearly is that. */
static void timed_insert(struct peer **list, struct peer *p)
{
    struct peer *before = *list ? (*list)->timed_prev : NULL; /* the last one */

    while (before && before->deadline_ns > p->deadline_ns) {
        before = before == *list ? NULL : before->timed_prev;
    }
    if (before) {
        DL_APPEND_ELEM2(*list, before, p, timed_prev, timed_next);
    } else {
        DL_PREPEND2(*list, p, timed_prev, timed_next);
    }
}

static bool peer_list(struct load *l, struct peer *p)
{
    struct router *r = l->router;

    if (p->state == PEER_GREETING) {
        timed_insert(&r->greeting, p);
    } else if (p->state == PEER_CLOSING) {
        timed_insert(&r->lingering, p);
    }
    if (!peer_parcels(l, p)) {
        return false;
    }
    if (p->state == PEER_READY && p->n_parcels > 0) {
        p->is_claiming = true;
        timed_insert(&r->claiming, p);
    }
    return true;
}

/* As after its HELLO. */
static bool peer_greet(struct load *l, struct peer *p)
{
    const struct sender *s = p->sender;
    struct wire_hello hello = {.client_name = {s->name, s->name_len},
                               .resume_token = record_text(l->record, PEER_TOKEN)};

    if (p->state != PEER_READY) {
        return true;
    }
    if (hello.resume_token.len > BUS_RESUME_TOKEN_MAX) {
        return load_refuse(l, "peer: resume_token");
    }
    if (!wills_greet(p, &hello)) {
        return load_starve(l);
    }
    p->sender->is_present = true;
    wills_return(p);
    return true;
}

static bool peer_plain_check(struct load *l, const struct peer *p)
{
    return (p->free_messages <= p->used_messages && p->free_bytes <= p->used_bytes &&
            p->fds_pinged <= p->fds_flying && (!p->is_expired || p->state == PEER_CLOSING) &&
            p->inline_max <= l->router->config.limits.stream_inline_max) ||
           load_refuse(l, "peer");
}

bool load_subject(struct load *l, const struct subject_fields *f, struct subject *s,
                  uint32_t **groups)
{
    const struct record *rec = l->record;
    struct text words = record_text(rec, f->groups);
    size_t n = words.len / sizeof(**groups);

    *s = (struct subject){.user = record_text(rec, f->user),
                          .group = record_text(rec, f->group),
                          .listener = record_text(rec, f->listener),
                          .label = record_text(rec, f->label),
                          .is_vague = !record_get(rec, f->is_known) || n > SUBJECT_GROUPS_MAX};
    if (n == 0 || s->is_vague) {
        return true;
    }
    *groups = malloc(n * sizeof(**groups)); /* in the record they are not aligned */
    if (!*groups) {
        return load_starve(l);
    }
    memcpy(*groups, words.data, n * sizeof(**groups));
    s->groups = *groups;
    s->n_groups = n;
    return true;
}

/* A router that did not tell them apart has only their sum. */
static void peer_losses(struct load *l, struct peer *p)
{
    struct text lost_by = record_text(l->record, PEER_LOST_BY);
    uint64_t sum = 0;

    memcpy(p->lost_by, lost_by.data, MIN(lost_by.len, sizeof(p->lost_by)));
    for (unsigned i = 0; i < PEER_LOSS_REASONS; i++) {
        sum += p->lost_by[i];
    }
    if (sum != p->lost_messages) {
        memset(p->lost_by, 0, sizeof(p->lost_by));
        p->lost_by[BUS_LOSS_NONE] = p->lost_messages;
    }
}

bool load_peer(struct load *l)
{
    const struct record *rec = l->record;
    struct sender *s = idpool_get(&l->router->sender_ids, record_get_32(rec, PEER_SENDER));
    uint32_t state = record_get_32(rec, PEER_STATE);
    struct peer *last = l->router->peers ? l->router->peers->prev : NULL;
    struct subject subject;
    struct peer_info info;
    struct peer *p;

    l->peer = NULL;
    if (!s || s->peer || s == l->router->presence.self || state > PEER_CLOSING ||
        s->connection_id > l->router->next_connection_id ||
        (last && last->sender->connection_id >= s->connection_id)) {
        return load_refuse(l, "peer: its sender, its state or its place");
    }
    info = (struct peer_info){
        .uid = s->uid, .gid = s->gid, .pid = s->pid, .packets = record_get(rec, PEER_PACKETS)};
    AUTO_FREE uint32_t *groups = NULL;

    if (!load_subject(l, SUBJECT_FIELDS(PEER), &subject, &groups)) {
        return false;
    }
    info.subject = &subject;
    p = peer_make(l->router, s, &info);
    if (!p) {
        return load_starve(l);
    }
    p->state = (enum peer_state) state;
    p->comes_back = l->sessions && p->state == PEER_READY && s->session != 0 &&
                    record_get(rec, PEER_COMES_BACK);
#define X(field, name) p->name = (__typeof__(p->name)) record_get(rec, field);
    PEER_PLAIN_FIELDS(X)
#undef X
    peer_losses(l, p);
    l->peer = p;
    /* it must be on its list whatever comes next, for it is taken off when it goes */
    return peer_list(l, p) && peer_plain_check(l, p) && peer_greet(l, p) && peer_sets(l, p);
}

bool load_output(struct load *l)
{
    struct text bytes = record_text(l->record, OUTPUT_BYTES);
    struct parcel *parcel = load_parcel_of(l, OUTPUT_PARCEL);
    struct peer *p = l->peer;
    uint8_t *dst;

    if (!p || bytes.len == 0 || (p->info.packets && bytes.len > FRAME_PACKET_MAX)) {
        return load_refuse(l, "output");
    }
    dst = outq_reserve_first(&p->out, bytes.len);
    if (!dst) {
        return load_starve(l);
    }
    memcpy(dst, bytes.data, bytes.len);
    outq_commit_with(&p->out, bytes.len, parcel);
    peer_charge_output(p);
    peer_mark_dirty(p);
    return true;
}

/* ---- topics ---- */

static bool match_take(struct load *l, struct topic *t, struct text *row)
{
    uint64_t whose, number;
    const struct sender *sender;
    struct sub *s = NULL;
    struct match *match;
    char filter[256];

    if (!number_take(row, &whose) || !number_take(row, &number)) {
        return load_refuse(l, "topic: matches");
    }
    if (whose & 1) {
        s = whose >> 1 && whose >> 1 <= l->n_groups ? l->groups[(whose >> 1) - 1]->face : NULL;
    } else {
        sender = whose >> 1 <= UINT32_MAX
                     ? idpool_get(&l->router->sender_ids, (uint32_t) (whose >> 1))
                     : NULL;
        if (sender && sender->peer && number >> 1 > 0 && number >> 1 <= sender->peer->n_subs_max) {
            s = sender->peer->subs[(number >> 1) - 1];
        }
    }
    if (!s || (s->flags & SUB_MEMBER) || s->is_marked ||
        !filter_matches(filter, filters_text(s, filter), t->name, t->len)) {
        return load_refuse(l, "topic: a match that is none");
    }
    match = topic_restore_match(t, s);
    if (!match) {
        return load_starve(l);
    }
    match->announced = number & 1;
    s->is_marked = true;
    return true;
}

static bool matches_take(struct load *l, struct topic *t)
{
    struct text row = record_text(l->record, TOPIC_MATCHES);
    bool done = true;

    while (done && row.len > 0) {
        done = match_take(l, t, &row);
    }
    for (uint32_t i = 0; i < t->n_matches; i++) {
        t->matches[i]->sub->is_marked = false;
    }
    return done;
}

bool load_topic(struct load *l)
{
    const struct record *rec = l->record;
    struct topics *ts = &l->router->topics;
    struct text name = record_text(rec, TOPIC_NAME);
    struct topic *t;

    if (!topic_valid(name.data, name.len)) {
        return load_refuse(l, "topic: its name");
    }
    t = topics_restore(ts, record_get_32(rec, TOPIC_ID), name.data, name.len);
    if (!t) {
        return load_refuse(l, "topic: it is there already, or memory");
    }
    t->epoch = record_get(rec, TOPIC_IS_RESOLVED) ? ts->epoch : 0;
    t->last_server = record_get_32(rec, TOPIC_LAST_SERVER);
    t->published_messages = record_get(rec, TOPIC_PUBLISHED);
    t->published_bytes = record_get(rec, TOPIC_PUBLISHED_BYTES);
    t->delivered_messages = record_get(rec, TOPIC_DELIVERED);
    t->lost_messages = record_get(rec, TOPIC_LOST);
    return matches_take(l, t);
}

/* The number that was told last. All topics are counted anew, and who has been told the right one
 * is not told again. */
static void watch_restore(struct load *l, const struct peer *p, uint32_t alias)
{
    struct watch *w = p->watches[alias - 1];

    w->is_told = record_get(l->record, ALIAS_IS_TOLD);
    w->told = record_get_32(l->record, ALIAS_TOLD);
}

/* Whether it still is will be seen: its client is not to be told again. */
static bool muted_restore(struct load *l, struct peer *p, uint32_t alias)
{
    uint64_t before = idset_memory(&p->muted);

    if (alias > l->router->config.limits.aliases_max || !idset_add(&p->muted, alias)) {
        return load_refuse(l, "alias: its number, or memory for it");
    }
    charge_force(&p->charge, idset_memory(&p->muted) - before);
    return true;
}

bool load_alias(struct load *l)
{
    const struct record *rec = l->record;
    struct peer *p = load_peer_of(l, ALIAS_PEER);
    const struct topic *t = load_topic_of(l, ALIAS_TOPIC);
    struct wire_advertise m = {.alias = record_get_32(rec, ALIAS_NUMBER)};

    if (!p || !t) {
        return load_refuse(l, "alias: its peer or its topic");
    }
    m.topic = (struct text){t->name, t->len};
    m.flags = (record_get(rec, ALIAS_IS_OWNED) ? ADVERTISE_OWNED : 0u) |
              (record_get(rec, ALIAS_IS_WATCHED) ? ADVERTISE_INTEREST : 0u) |
              (record_get(rec, ALIAS_IS_RELIABLE) ? ADVERTISE_RELIABLE : 0u);
    m.retain_messages = record_get(rec, ALIAS_IS_WISH) != 0;
    if (record_get(rec, ALIAS_IS_MUTED) && !muted_restore(l, p, m.alias)) {
        return false;
    }
    if (!alias_restore(p, &m)) {
        return load_refuse(l, "alias");
    }
    if ((m.flags & ADVERTISE_RELIABLE) && record_get(rec, ALIAS_IS_NOTED)) {
        reliable_note(p, m.alias);
    }
    if (m.flags & ADVERTISE_INTEREST) {
        watch_restore(l, p, m.alias);
    }
    return true;
}

bool load_keep(struct load *l)
{
    struct topic *t = load_topic_of(l, KEEP_TOPIC);
    uint32_t n_max = record_get_32(l->record, KEEP_MESSAGES);

    if (!t || n_max == 0 || n_max > l->router->config.limits.retained_messages_max ||
        (t->keep && t->keep->n > 0)) {
        return load_refuse(l, "keep");
    }
    if (!keep_restore(l->router, t, n_max, record_get_32(l->record, KEEP_TTL_MS))) {
        return load_starve(l);
    }
    return true;
}

bool load_kept(struct load *l)
{
    struct topic *t = load_topic_of(l, KEPT_TOPIC);
    struct message *m = load_message_of(l, KEPT_MESSAGE);

    return (t && m &&
            kept_restore(t, m, record_get(l->record, KEPT_END_NS),
                         record_get(l->record, KEPT_IS_ROUTERS))) ||
           load_refuse(l, "kept");
}

/* ---- buffers ---- */

/* It still is what a buffer must be; the descriptor says so, not the state. */
static bool buffer_inspect(struct load *l, struct buffer *b)
{
    const struct descriptor_ops *ops = l->router->config.descriptors;
    struct descriptor_info info = {0};

    if (!b->parcel) {
        return true;
    }
    if (!ops || b->parcel->n != 1 || ops->inspect(b->parcel->fds[0], &info) < 0 ||
        !info.is_buffer || b->bytes > info.bytes) {
        return false;
    }
    b->immutable = info.immutable;
    return true;
}

bool load_buffer(struct load *l)
{
    const struct record *rec = l->record;
    struct buffer as = {
        .id = record_get_32(rec, BUFFER_ID),
        .number = record_get_32(rec, BUFFER_NUMBER),
        .registered = record_get(rec, BUFFER_IS_REGISTERED),
        .sender = idpool_get(&l->router->sender_ids, record_get_32(rec, BUFFER_SENDER)),
        .parcel = load_parcel_of(l, BUFFER_PARCEL),
        .bytes = record_get(rec, BUFFER_BYTES),
    };

    if (!as.sender || as.sender == l->router->presence.self || as.bytes == 0 ||
        !buffer_inspect(l, &as)) {
        return load_refuse(l, "buffer");
    }
    return buffer_restore(l->router, &as) || load_refuse(l, "buffer: its number, or memory");
}

bool load_lease(struct load *l)
{
    struct peer *p = load_peer_of(l, LEASE_PEER);
    struct message *m = load_message_of(l, LEASE_MESSAGE);
    uint32_t lease = record_get_32(l->record, LEASE_NUMBER);

    return (p && m && lease <= l->router->config.limits.leases_max + 1 &&
            lease_restore(p, lease, m)) ||
           load_refuse(l, "lease");
}

/* ---- messages ---- */

/* What comes with it besides its bytes. NULL, and why not is said, if it cannot be. */
static struct cargo *cargo_restore(struct load *l, const struct sender *sender)
{
    const struct record *rec = l->record;
    struct buffer *b = idpool_get(&l->router->buffer_ids, record_get_32(rec, MESSAGE_BUFFER));
    struct parcel *parcel = load_parcel_of(l, MESSAGE_PARCEL);
    struct message *origin = load_message_of(l, MESSAGE_ORIGIN);
    uint64_t offset = record_get(rec, MESSAGE_OFFSET), bytes = record_get(rec, MESSAGE_BYTES);
    struct cargo *c;

    if ((record_get(rec, MESSAGE_BUFFER) && !b) || (!b && (offset || bytes || origin)) ||
        (b && (offset > b->bytes || bytes > b->bytes - offset || bytes > INT32_MAX)) ||
        (origin && (!origin->cargo || origin->cargo->buffer != b || origin->cargo->origin)) ||
        (parcel && parcel->n > FRAME_FDS_MAX)) {
        (void) load_refuse(l, "message: what comes with it");
        return NULL;
    }
    c = cargo_new(b, offset, (uint32_t) bytes, parcel);
    if (!c) {
        (void) load_starve(l);
        return NULL;
    }
    c->origin = origin ? message_ref(origin) : NULL;
    charge_init(&c->charge, (struct quota *) (uintptr_t) &sender->descriptors);
    charge_force(&c->charge, parcel_count(parcel));
    return c;
}

bool load_message(struct load *l)
{
    const struct record *rec = l->record;
    struct text header = record_text(rec, MESSAGE_HEADER), body = record_text(rec, MESSAGE_BODY);
    struct message_parts parts = {
        .topic = load_topic_of(l, MESSAGE_TOPIC),
        .sender = idpool_get(&l->router->sender_ids, record_get_32(rec, MESSAGE_SENDER)),
        .header = (const uint8_t *) header.data,
        .header_bytes = header.len,
        .body = (const uint8_t *) body.data,
        .body_bytes = body.len,
        .size = record_get_32(rec, MESSAGE_SIZE),
        .flags = (uint8_t) record_get(rec, MESSAGE_FLAGS),
        .key = record_get_32(rec, MESSAGE_KEY),
    };
    struct cargo *c = NULL;
    struct message *m;

    /* what they are told by is where put_with() looks for it */
    if ((parts.flags & MESSAGE_SHARED_FLAGS) &&
        hot_message_end(parts.header, header.len) + HOT_FLAGS_BYTES > header.len) {
        return load_refuse(l, "message: its flags");
    }
    if (!parts.topic || !parts.sender || header.len > FRAME_HEADER_MAX ||
        body.len > l->router->config.limits.stream_inline_max) {
        return load_refuse(l, "message");
    }
    if (!load_reach(l, (void ***) &l->messages, l->n_messages, &l->n_messages_max)) {
        return false;
    }
    if (record_get(rec, MESSAGE_HAS_CARGO)) {
        c = cargo_restore(l, parts.sender);
        if (!c) {
            return false;
        }
    }
    m = message_new(&parts);
    if (!m) {
        if (c) {
            cargo_discard(c);
        }
        return load_starve(l);
    }
    m->cargo = c;
    m->expires_ns = record_get(rec, MESSAGE_EXPIRES_NS);
    l->messages[l->n_messages++] = m;
    return true;
}
