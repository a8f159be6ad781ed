/* SPDX-License-Identifier: MIT */
/* The state of a router as records: the router itself, its peers and topics, and what they have. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/handover.h"
#include "core/interest.h"
#include "core/reliance.h"
#include "core/will.h"

/* ---- the image ---- */

void image_fini(struct image *image)
{
    free(image->records.data);
    free(image->fds);
    *image = (struct image){0};
}

bool image_add_fds(struct image *image, const int *fds, size_t n)
{
    size_t n_max = MAX(image->n_fds_max, 16u);
    int *more;

    while (n_max - image->n_fds < n) {
        n_max *= 2;
    }
    if (n_max > image->n_fds_max) {
        more = reallocarray(image->fds, n_max, sizeof(*more));
        if (!more) {
            image->records.is_failed = true;
            return false;
        }
        image->fds = more;
        image->n_fds_max = n_max;
    }
    if (n > 0) {
        memcpy(image->fds + image->n_fds, fds, n * sizeof(*fds));
        image->n_fds += n;
    }
    return true;
}

/* ---- objects with numbers ---- */

/* True if it is new: *ret is its number in either case. */
static bool number_new(struct save *s, const void *object, uint32_t *last, uint32_t *ret)
{
    struct numbered *place = object ? numbering_find(&s->objects, object) : NULL;

    *ret = 0;
    if (!place) {
        s->w->is_failed = s->w->is_failed || object;
        return false;
    }
    if (place->number) {
        *ret = place->number;
        return false;
    }
    place->number = *ret = ++*last;
    return true;
}

uint32_t save_parcel(struct save *s, const struct parcel *parcel)
{
    uint32_t number;

    if (number_new(s, parcel, &s->n_parcels, &number)) {
        record_begin(s->w, STATE_PARCEL);
        record_number(s->w, PARCEL_COUNT, parcel->n);
        record_number(s->w, PARCEL_REFUSED, parcel->refused);
        record_number(s->w, PARCEL_TRUNCATED, parcel->truncated);
        record_end(s->w);
        (void) image_add_fds(s->image, parcel->fds, parcel->n);
    }
    return number;
}

static void message_write(struct save *s, const struct message *m, uint32_t parcel, uint32_t origin)
{
    const struct cargo *c = m->cargo;

    record_begin(s->w, STATE_MESSAGE);
    record_number(s->w, MESSAGE_TOPIC, m->topic->id);
    record_number(s->w, MESSAGE_SENDER, m->sender->id);
    record_number(s->w, MESSAGE_EXPIRES_NS, m->expires_ns);
    record_number(s->w, MESSAGE_SIZE, m->size);
    record_number(s->w, MESSAGE_FLAGS, m->flags);
    record_number(s->w, MESSAGE_KEY, m->key);
    record_bytes(s->w, MESSAGE_HEADER, m->data, m->header_bytes);
    record_bytes(s->w, MESSAGE_BODY, m->data + m->header_bytes, m->body_bytes);
    if (c) {
        record_number(s->w, MESSAGE_HAS_CARGO, 1);
        record_number(s->w, MESSAGE_BUFFER, c->buffer ? c->buffer->id : 0);
        record_number(s->w, MESSAGE_OFFSET, c->offset);
        record_number(s->w, MESSAGE_BYTES, c->bytes);
        record_number(s->w, MESSAGE_PARCEL, parcel);
        record_number(s->w, MESSAGE_ORIGIN, origin);
    }
    record_end(s->w);
}

uint32_t save_message(struct save *s, const struct message *m)
{
    /* what it names comes first; an origin has none itself */
    uint32_t parcel = m && m->cargo ? save_parcel(s, m->cargo->parcel) : 0;
    uint32_t origin = m && m->cargo ? save_message(s, m->cargo->origin) : 0;
    uint32_t number;

    if (number_new(s, m, &s->n_messages, &number)) {
        message_write(s, m, parcel, origin);
    }
    return number;
}

uint32_t save_group_number(struct save *s, const struct group *g)
{
    uint32_t number;

    (void) number_new(s, g, &s->n_groups, &number);
    return number;
}

void save_set(struct save *s, unsigned field, const struct idset *set)
{
    uint32_t n = set->n_words;

    while (n > 0 && set->words[n - 1] == 0) {
        n--;
    }
    record_bytes(s->w, field, set->words, n * sizeof(uint64_t));
}

/* ---- the router ---- */

static void save_router(struct save *s)
{
    const struct router *r = s->router;

    record_begin(s->w, STATE_ROUTER);
    record_number(s->w, ROUTER_MAJOR, STATE_MAJOR);
    record_number(s->w, ROUTER_MINOR, STATE_MINOR);
    record_number(s->w, ROUTER_EPOCH, r->config.epoch);
    record_number(s->w, ROUTER_HASH_SEED, r->config.hash_seed);
    record_number(s->w, ROUTER_CONNECTIONS, r->next_connection_id);
    record_number(s->w, ROUTER_ORDER, r->order);
    record_number(s->w, ROUTER_CALLS, r->n_calls);
    record_number(s->w, ROUTER_REQUESTS, r->n_requests);
    record_number(s->w, ROUTER_RETRY_NS, r->retry_ns);
    record_number(s->w, ROUTER_UNRESOLVED, r->calls_unresolved);
    record_number(s->w, ROUTER_PUBLISH_MESSAGES, r->config.limits.publish_window_messages);
    record_number(s->w, ROUTER_PUBLISH_BYTES, r->config.limits.publish_window_bytes);
    record_end(s->w);
}

static void save_counter(struct save *s, const char *name, uint64_t value)
{
    record_begin(s->w, STATE_COUNTER);
    record_bytes(s->w, COUNTER_NAME, name, strlen(name));
    record_number(s->w, COUNTER_VALUE, value);
    record_end(s->w);
}

/* What is counted now is counted again. */
static void save_counters(struct save *s)
{
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        if (!counter_is_momentary(i)) {
            save_counter(s, counter_name(i), counter_get(&s->router->counters, i));
        }
    }
}

static void save_senders(struct save *s)
{
    const struct idpool *ids = &s->router->sender_ids;

    for (uint32_t id = 1; id <= ids->n_slots; id++) {
        const struct sender *sender = idpool_get(ids, id);

        if (!sender) {
            continue;
        }
        record_begin(s->w, STATE_SENDER);
        record_number(s->w, SENDER_ID, id);
        record_number(s->w, SENDER_CONNECTION, sender->connection_id);
        record_number(s->w, SENDER_SESSION, sender->session);
        record_number(s->w, SENDER_UID, sender->uid);
        record_number(s->w, SENDER_GID, sender->gid);
        record_number(s->w, SENDER_PID, sender->pid);
        record_bytes(s->w, SENDER_NAME, sender->name, sender->name_len);
        record_number(s->w, SENDER_IS_SELF, sender == s->router->presence.self);
        record_end(s->w);
    }
}

/* ---- peers ---- */

static void save_output_chunk(struct save *s, struct outq_chunk *c)
{
    struct iovec iov[OUTQ_PACKET_IOV];
    int n = outq_chunk_peek(c, iov);
    uint32_t parcel = save_parcel(s, outq_chunk_parcel(c));
    size_t bytes = 0;
    uint8_t *dst;

    for (int i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    if (bytes == 0) {
        return;
    }
    record_begin(s->w, STATE_OUTPUT);
    record_number(s->w, OUTPUT_PARCEL, parcel);
    dst = record_room(s->w, OUTPUT_BYTES, bytes);
    for (int i = 0; dst && i < n; i++) {
        memcpy(dst, iov[i].iov_base, iov[i].iov_len);
        dst += iov[i].iov_len;
    }
    record_end(s->w);
}

void save_subject(struct save *s, const struct subject_fields *f, const struct subject *subject)
{
    record_bytes(s->w, f->user, subject->user.data, subject->user.len);
    record_bytes(s->w, f->group, subject->group.data, subject->group.len);
    record_bytes(s->w, f->groups, subject->groups, subject->n_groups * sizeof(*subject->groups));
    record_bytes(s->w, f->listener, subject->listener.data, subject->listener.len);
    record_bytes(s->w, f->label, subject->label.data, subject->label.len);
    record_number(s->w, f->is_known, !subject->is_vague);
}

static void save_peer(struct save *s, const struct peer *p)
{
    const struct identity *identity = p->sender->identity;
    uint32_t parcels[PEER_PARCELS_MAX] = {0};

    for (uint32_t i = 0; i < p->n_parcels; i++) {
        parcels[i] = save_parcel(s, p->parcels[i]);
    }
    record_begin(s->w, STATE_PEER);
    record_number(s->w, PEER_SENDER, peer_number(p));
    record_number(s->w, PEER_STATE, p->state);
    record_number(s->w, PEER_PACKETS, p->info.packets);
    save_subject(s, SUBJECT_FIELDS(PEER), access_subject(p->access));
    if (identity) {
        record_bytes(s->w, PEER_TOKEN, identity->text + identity->name_len, identity->token_len);
    }
    save_set(s, PEER_KNOWN, &p->known);
    save_set(s, PEER_KNOWN_TOPICS, &p->known_topics);
    save_set(s, PEER_KNOWN_BUFFERS, &p->known_buffers);
    record_number(s->w, PEER_COMES_BACK, p->comes_back);
    record_bytes(s->w, PEER_LOST_BY, p->lost_by, sizeof(p->lost_by));
    record_number(s->w, PEER_PARCEL, parcels[0]);
    record_number(s->w, PEER_PARCEL_2, parcels[1]);
#define X(field, name) record_number(s->w, field, (uint64_t) p->name);
    PEER_PLAIN_FIELDS(X)
#undef X
    record_end(s->w);
    for (struct outq_chunk *c = p->out.head; c; c = c->next) {
        save_output_chunk(s, c);
    }
}

static void save_peers(struct save *s)
{
    const struct peer *p;

    DL_FOREACH (s->router->peers, p) {
        save_peer(s, p);
    }
}

/* ---- topics ---- */

/* Whose it is: of a client, or of a group; its number there, and whether it knows the topic. */
static size_t match_write(struct save *s, uint8_t *dst, const struct match *m)
{
    const struct group *g = m->sub->peer->group;
    uint8_t *p = number_put(dst, g ? (uint64_t) save_group_number(s, g) << 1 | 1
                                   : (uint64_t) peer_number(m->sub->peer) << 1);

    return (size_t) (number_put(p, (uint64_t) sub_id(m->sub) << 1 | m->announced) - dst);
}

/* In the record that is being written. */
static void save_matches(struct save *s, const struct topic *t)
{
    uint8_t *row = t->n_matches ? malloc((size_t) t->n_matches * 2 * NUMBER_MAX) : NULL;
    size_t n = 0;

    if (!row) {
        s->w->is_failed = s->w->is_failed || t->n_matches > 0;
        return;
    }
    for (uint32_t i = 0; i < t->n_matches; i++) {
        n += match_write(s, row + n, t->matches[i]);
    }
    record_bytes(s->w, TOPIC_MATCHES, row, n);
    free(row);
}

static void save_topics(struct save *s)
{
    const struct idpool *ids = &s->router->topics.ids;

    for (uint32_t id = 1; id <= ids->n_slots; id++) {
        const struct topic *t = idpool_get(ids, id);

        if (!t) {
            continue;
        }
        record_begin(s->w, STATE_TOPIC);
        record_number(s->w, TOPIC_ID, id);
        record_bytes(s->w, TOPIC_NAME, t->name, t->len);
        record_number(s->w, TOPIC_IS_RESOLVED, topic_is_resolved(t));
        save_matches(s, t);
        record_number(s->w, TOPIC_LAST_SERVER, t->last_server);
        record_number(s->w, TOPIC_PUBLISHED, t->published_messages);
        record_number(s->w, TOPIC_PUBLISHED_BYTES, t->published_bytes);
        record_number(s->w, TOPIC_DELIVERED, t->delivered_messages);
        record_number(s->w, TOPIC_LOST, t->lost_messages);
        record_end(s->w);
    }
}

static void save_aliases(struct save *s, const struct peer *p)
{
    for (uint32_t alias = 1; alias <= p->n_aliases_max; alias++) {
        const struct watch *w = alias <= p->n_watches_max ? p->watches[alias - 1] : NULL;

        if (!p->aliases[alias - 1]) {
            continue;
        }
        record_begin(s->w, STATE_ALIAS);
        record_number(s->w, ALIAS_PEER, peer_number(p));
        record_number(s->w, ALIAS_NUMBER, alias);
        record_number(s->w, ALIAS_TOPIC, p->aliases[alias - 1]->id);
        record_number(s->w, ALIAS_IS_WISH, idset_has(&p->wishes, alias));
        record_number(s->w, ALIAS_IS_OWNED, idset_has(&p->owned, alias));
        record_number(s->w, ALIAS_IS_MUTED, idset_has(&p->muted, alias));
        if (alias_is_reliable(p, alias)) {
            record_number(s->w, ALIAS_IS_RELIABLE, 1);
            record_number(s->w, ALIAS_IS_NOTED, idset_has(&p->reliable->noted, alias));
        }
        if (w) {
            record_number(s->w, ALIAS_IS_WATCHED, 1);
            record_number(s->w, ALIAS_IS_TOLD, w->is_told);
            record_number(s->w, ALIAS_TOLD, w->told);
        }
        record_end(s->w);
    }
}

static void save_keeps(struct save *s)
{
    const struct idpool *ids = &s->router->topics.ids;

    for (uint32_t id = 1; id <= ids->n_slots; id++) {
        const struct topic *t = idpool_get(ids, id);

        if (t && t->keep) {
            record_begin(s->w, STATE_KEEP);
            record_number(s->w, KEEP_TOPIC, id);
            record_number(s->w, KEEP_MESSAGES, t->keep->n_max);
            record_number(s->w, KEEP_TTL_MS, t->keep->ttl_ms);
            record_end(s->w);
        }
    }
}

static void save_kept(struct save *s)
{
    const struct kept *k;

    DL_FOREACH2(s->router->keeper.all, k, all_next)
    {
        uint32_t message = save_message(s, k->message);

        record_begin(s->w, STATE_KEPT);
        record_number(s->w, KEPT_TOPIC, k->keep->topic->id);
        record_number(s->w, KEPT_MESSAGE, message);
        record_number(s->w, KEPT_END_NS, k->timer.is_set ? k->timer.ns : 0);
        record_number(s->w, KEPT_IS_ROUTERS, k->is_routers);
        record_end(s->w);
    }
}

/* ---- buffers ---- */

static void save_buffers(struct save *s)
{
    const struct idpool *ids = &s->router->buffer_ids;

    for (uint32_t id = 1; id <= ids->n_slots; id++) {
        const struct buffer *b = idpool_get(ids, id);
        uint32_t parcel = b ? save_parcel(s, b->parcel) : 0;

        if (!b) {
            continue;
        }
        record_begin(s->w, STATE_BUFFER);
        record_number(s->w, BUFFER_ID, id);
        record_number(s->w, BUFFER_SENDER, b->sender->id);
        record_number(s->w, BUFFER_NUMBER, b->number);
        record_number(s->w, BUFFER_IS_REGISTERED, b->registered);
        record_number(s->w, BUFFER_BYTES, b->bytes);
        record_number(s->w, BUFFER_PARCEL, parcel);
        record_end(s->w);
    }
}

static void save_leases(struct save *s, const struct peer *p)
{
    for (uint32_t lease = 1; p->leases.n_used > 0 && lease <= p->leases.n_slots; lease++) {
        uint32_t message = save_message(s, idpool_get(&p->leases, lease));

        if (message) {
            record_begin(s->w, STATE_LEASE);
            record_number(s->w, LEASE_PEER, peer_number(p));
            record_number(s->w, LEASE_NUMBER, lease);
            record_number(s->w, LEASE_MESSAGE, message);
            record_end(s->w);
        }
    }
}

/* ---- all of it ---- */

void router_settle(struct router *r, const struct now *now)
{
    r->now = *now;
    router_retry(r);
    reliable_tell_all(r);
    for (unsigned turn = 0; router_deadline(r) == 0 && turn < UINT16_MAX; turn++) {
        router_tick(r, now);
    }
}

/* What is half done when memory is short is not handed over: the next attempt may find it done. */
static const char *what_is_in_the_way(const struct router *r)
{
    const struct peer *p;

    if (r->is_shutting_down) {
        return "the router stops";
    }
    if (r->is_stopping) {
        return "the router stops";
    }
    if (router_is_holding(r)) {
        return "it waits for clients to come back after a restart; try again";
    }
    if (r->doomed || r->draining || r->presence.due || r->denials.notes || r->groups.dead) {
        return "the router is short of memory or has too much to do; try again";
    }
    DL_FOREACH (r->peers, p) {
        if (p->returns) {
            return "the router is short of memory; try again";
        }
    }
    return NULL;
}

static void save_all(struct save *s)
{
    const struct peer *p;

    save_router(s);
    save_counters(s);
    save_senders(s);
    save_peers(s);
    save_subs(s);
    save_topics(s);
    DL_FOREACH (s->router->peers, p) {
        save_aliases(s, p);
    }
    save_keeps(s);
    save_buffers(s);
    save_kept(s);
    DL_FOREACH (s->router->peers, p) {
        save_leases(s, p);
    }
    save_queues(s);
    save_reliable(s);
    save_requests(s);
    save_presence(s);
    save_closed(s);
}

int router_save(const struct router *r, struct image *image, const char **ret_why)
{
    struct save s = {.router = r, .image = image, .w = &image->records};

    *ret_why = what_is_in_the_way(r);
    if (*ret_why) {
        return IMAGE_REFUSED;
    }
    save_all(&s);
    numbering_fini(&s.objects);
    return s.w->is_failed ? -ENOMEM : IMAGE_OK;
}
