/* SPDX-License-Identifier: MIT */
/* The router: frames of its peers are handed to the verbs, and there is something for their links.
 */
#include "core/router.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/judge.h"
#include "core/over.h"
#include "core/rate.h"
#include "core/reclaim.h"
#include "core/reliance.h"
#include "core/state.h"
#include "wire/topic.h"

#define POOL_CHUNKS 64u

static const char mistake_text[] =
    "This is the message socket of bus-router. It speaks the binary protocol of docs/protocol.md, "
    "not text: use bus-pub, bus-sub, bus-monitor or libbus.\n";

/* ---- the router ---- */

/* A number is in use for another topic now: monitors and members of groups must be told again. */
static void on_new_topic(struct topic *t, void *userdata)
{
    struct router *r = userdata;

    for (struct peer *p = r->taps; p; p = p->tap_next) {
        idset_remove(&p->tap->known_topics, t->id);
    }
    if (idset_has(&r->groups.topics, t->id)) {
        for (struct peer *p = r->peers; p; p = p->next) {
            idset_remove(&p->known_topics, t->id);
        }
        idset_remove(&r->groups.topics, t->id);
    }
}

int router_new(const struct router_config *config, struct router **ret)
{
    struct router *r = calloc(1, sizeof(*r));
    struct user_override *overrides;

    if (!r) {
        return -ENOMEM;
    }
    if (!overrides_copy(config->overrides, config->n_overrides, &overrides)) {
        free(r);
        return -ENOMEM;
    }
    r->config = *config;
    r->config.overrides = NULL;
    r->scratch = malloc(FRAME_HEADER_MAX + OUTQ_SLACK_BYTES);
    if (!r->scratch || !closed_init(&r->closed) || arena_init(&r->arena, CODEC_ARENA_BYTES) < 0) {
        closed_fini(&r->closed);
        free(overrides);
        free(r->scratch);
        free(r);
        return -ENOMEM;
    }
    quota_init(&r->quota, config->limits.total_bytes_max, NULL);
    quota_init(&r->descriptors, UINT64_MAX, NULL);
    outq_pool_init(&r->pool, POOL_CHUNKS);
    topics_init(&r->topics, config->hash_seed);
    presence_init(r);
    users_init(&r->users, &r->config.limits, config->owner_uid, &r->quota, &r->descriptors);
    r->users.timers = &r->timers;
    users_override(&r->users, overrides, config->n_overrides);
    groups_init(&r->groups, config->hash_seed);
    r->topics.on_new = on_new_topic;
    r->topics.on_matches = interest_note;
    r->topics.on_over = over_note;
    r->topics.make_room = room_make_for;
    r->topics.suits = sub_may_get;
    accesses_init(&r->accesses, config->hash_seed, config->policy, config->owner_uid);
    r->accesses.names = config->names;
    r->accesses.names_userdata = config->names_userdata;
    r->config.policy = NULL; /* they have it */
    r->topics.userdata = r;
    *ret = r;
    return 0;
}

struct router *router_free(struct router *r)
{
    if (!r) {
        return NULL;
    }
    while (r->peers) {
        if (r->peers->is_gone) {
            router_reap(r, UINT_MAX);
        } else {
            router_remove_peer(r, r->peers);
        }
    }
    parcel_unref(r->replacement);
    presence_fini(r);
    expected_forget(r);
    keep_clear_all(r);
    groups_fini(r);
    users_fini(&r->users);
    assert(r->quota.used == 0 && r->descriptors.used == 0);
    accesses_fini(&r->accesses);
    topics_fini(&r->topics);
    idpool_fini(&r->sender_ids);
    idpool_fini(&r->buffer_ids);
    idpool_fini(&r->calls);
    idset_fini(&r->introduced);
    outq_pool_fini(&r->pool);
    arena_fini(&r->arena);
    closed_fini(&r->closed);
    free(r->recipients);
    free(r->scratch);
    free(r);
    return NULL;
}

/* ---- verbs ---- */

static void hello_handle(struct peer *p, const struct wire_hello *m)
{
    struct router *r = p->router;
    const struct limits *l = &r->config.limits;
    struct wire_welcome welcome = {
        .protocol = 1,
        .connection_id = p->sender->connection_id,
        .router_epoch = r->config.epoch,
        .router_version = text_from(r->config.version),
        .inline_max = p->inline_max,
        .publish_window_messages = (uint32_t) l->publish_window_messages,
        .publish_window_bytes = l->publish_window_bytes,
        .aliases_max = (uint32_t) l->aliases_max,
        .subscriptions_max = (uint32_t) l->subscriptions_max,
        .queue_messages_max = (uint32_t) l->queue_messages_max,
        .queue_bytes_max = l->queue_bytes_max,
        .window_messages_max = (uint32_t) l->window_messages_max,
        .window_bytes_max = l->window_bytes_max,
        .stall_timeout_ms = (uint32_t) l->stall_timeout_ms,
        .features = r->config.descriptors ? FEATURE_BUFFERS | FEATURE_DESCRIPTORS : 0,
        .body_max = l->body_max,
        .buffers_max = (uint32_t) l->buffers_max,
        .buffer_bytes_max = l->buffer_bytes_max,
        .descriptors_max = FRAME_FDS_MAX,
        .leases_max = (uint32_t) l->leases_max,
        .requests_max = (uint32_t) l->requests_max,
        .request_timeout_max_ms = (uint32_t) l->request_timeout_max_ms,
    };

    if (m->client_name.len > BUS_NAME_MAX ||
        !utf8_valid_printable(m->client_name.data, m->client_name.len)) {
        peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR, "HELLO: client_name");
        return;
    }
    if (m->protocol_min > 1 || m->protocol_max < 1) {
        peer_end(p, BUS_GOODBYE_VERSION, "this router speaks protocol version 1");
        return;
    }
    memcpy(p->sender->name, m->client_name.data, m->client_name.len);
    p->sender->name_len = (uint8_t) m->client_name.len;
    if (!access_greet(p)) {
        peer_end(p, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return;
    }
    if (!presence_greet(p, m)) {
        return;
    }
    p->sender->session = m->session;
    p->features = (welcome.features | FEATURE_STOPPING) & (uint32_t) m->features;
    DL_DELETE2(r->greeting, p, timed_prev, timed_next);
    p->state = PEER_READY;
    returns_greeted(p, m);
    parcels_watch(p);
    peer_send(p, VERB_WELCOME, &welcome);
    if (p->state == PEER_READY) {
        presence_joined(p);
    }
    if (r->is_stopping) {
        router_tell_stopping(p);
    }
}

static void ping_handle(struct peer *p, const struct wire_ping *m)
{
    struct wire_pong pong = {m->token};

    peer_send(p, VERB_PONG, &pong);
}

static void refuse_frame(struct peer *p, const struct frame *f, enum bus_status code,
                         const char *why)
{
    struct wire_status status = {.code = code, .verb = f->verb, .text = text_from(why)};

    peer_send_status(p, &status);
}

static void dispatch(struct peer *p, const struct frame *f, const union wire_any *m,
                     struct parcel *parcel)
{
    switch (f->verb) {
    case VERB_PING:
        ping_handle(p, &m->ping);
        return;
    case VERB_PONG:
        pong_handle(p, &m->pong);
        return;
    case VERB_GOODBYE:
        peer_end(p, BUS_GOODBYE_NORMAL, "");
        return;
    case VERB_ADVERTISE:
        advertise_handle(p, &m->advertise);
        return;
    case VERB_UNADVERTISE:
        unadvertise_handle(p, &m->unadvertise);
        return;
    case VERB_WILL:
        will_handle(p, &m->will, f);
        return;
    case VERB_BUFFER:
        buffer_handle(p, &m->buffer, parcel);
        return;
    case VERB_UNBUFFER:
        unbuffer_handle(p, &m->unbuffer);
        return;
    case VERB_RELEASE:
        release_handle(p, &m->release);
        return;
    case VERB_CLEAR:
        clear_handle(p, &m->clear);
        return;
    case VERB_SUBSCRIBE:
        subscribe_handle(p, &m->subscribe);
        return;
    case VERB_UNSUBSCRIBE:
        unsubscribe_handle(p, &m->unsubscribe);
        return;
    case VERB_ACK:
        ack_handle(p, &m->ack);
        return;
    case VERB_CREDIT:
        credit_handle(p, &m->credit);
        return;
    case VERB_MONITOR:
        monitor_handle(p, &m->monitor);
        return;
    case VERB_SNAPSHOT:
        snapshot_handle(p, &m->snapshot);
        return;
    case VERB_CANCEL:
        cancel_handle(p, &m->cancel);
        return;
    case VERB_REPLACE:
        replace_handle(p, &m->replace, parcel);
        return;
    case VERB_RESTORED:
        restored_handle(p, &m->restored);
        return;
    default:
        refuse_frame(p, f, BUS_STATUS_UNEXPECTED, "not in this direction, or not now");
    }
}

static void greeting_handle(struct peer *p, const struct frame *f)
{
    union wire_any m;

    if (f->verb != VERB_HELLO) {
        peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR, "the first frame must be HELLO");
    } else if (f->fds != 0 ||
               codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &m) != 0) {
        peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR, "HELLO cannot be decoded");
    } else {
        hello_handle(p, &m.hello);
    }
}

static bool takes_descriptors(const struct peer *p, const struct frame *f)
{
    return p->router->config.descriptors && f->fds <= FRAME_FDS_MAX &&
           (f->verb == VERB_PUBLISH || f->verb == VERB_BUFFER || f->verb == VERB_REQUEST ||
            f->verb == VERB_REPLY || f->verb == VERB_REPLACE);
}

/* It answers for itself also if it must be refused for its descriptors. */
static bool brings_message(uint8_t verb)
{
    return verb == VERB_PUBLISH || verb == VERB_REQUEST || verb == VERB_REPLY;
}

/* Whatever is not the usual PUBLISH. */
static void frame_handle_other(struct peer *p, const struct frame *f, struct parcel *parcel)
{
    union wire_any m;

    if (*verb_name(f->verb) == '?') {
        refuse_frame(p, f, BUS_STATUS_UNKNOWN_VERB, "unknown verb");
    } else if (f->fds != 0 && !takes_descriptors(p, f) && !brings_message(f->verb)) {
        refuse_frame(p, f, BUS_STATUS_UNSUPPORTED, "this verb takes no descriptors");
    } else if (f->verb == VERB_PUBLISH) {
        publish_handle(p, f, parcel, f->fds == 0 || takes_descriptors(p, f));
    } else if (f->verb == VERB_REQUEST) {
        request_handle(p, f, parcel, f->fds == 0 || takes_descriptors(p, f));
    } else if (f->verb == VERB_REPLY) {
        reply_handle(p, f, parcel, f->fds == 0 || takes_descriptors(p, f));
    } else if (codec_decode(&p->router->arena, f->verb, f->header, f->header_bytes, &m) != 0) {
        refuse_frame(p, f, BUS_STATUS_MALFORMED, verb_name(f->verb));
    } else {
        dispatch(p, f, &m, parcel);
    }
}

/* What a frame may need besides its own bytes, but for tables. */
#define FRAME_ROOM 4096u

static void frame_handle(struct peer *p, const struct frame *f)
{
    struct parcel *parcel;

    arena_reset(&p->router->arena);
    if (LIKELY(f->fds == 0 && f->verb == VERB_PUBLISH && p->state != PEER_GREETING)) {
        publish_handle(p, f, NULL, true);
        return;
    }
    if (LIKELY(f->verb == VERB_RELEASE && f->fds == 0 && p->state != PEER_GREETING) &&
        LIKELY(release_plain(p, f->header, f->header_bytes))) {
        return;
    }
    p->router->work += frame_work(f);
    p->is_over_limit = false;
    parcel = f->fds ? peer_claim_parcel(p, f->fds) : NULL;
    if (UNLIKELY(!quota_allows(&p->quota, FRAME_ROOM + f->header_bytes + f->body_bytes))) {
        (void) room_make(p, FRAME_ROOM + f->header_bytes + f->body_bytes);
    }
    if (p->state == PEER_GREETING) {
        greeting_handle(p, f);
    } else {
        frame_handle_other(p, f, parcel);
    }
    parcel_unref(parcel);
}

/* ---- input ---- */

/* A first frame is HELLO, which has no body: its first four bytes are 0. Text has no NUL. */
static bool is_mistake(const struct peer *p, const uint8_t *data, size_t len)
{
    for (size_t i = 0; !p->has_spoken && i < MIN(len, 4); i++) {
        if (data[i] != 0) {
            return true;
        }
    }
    return false;
}

static void mistake_answer(struct peer *p)
{
    size_t bytes = sizeof(mistake_text) - 1;
    uint8_t *dst = outq_reserve(&p->out, bytes);

    if (dst) {
        memcpy(dst, mistake_text, bytes);
        outq_commit(&p->out, bytes);
    }
    /* no GOODBYE behind the text: whoever sent text cannot read it */
    peer_begin_closing(p, BUS_GOODBYE_PROTOCOL_ERROR, "text or another protocol was sent");
}

/* Handles the frame at the front. Returns how many bytes it had, 0 if none is whole. */
static size_t input_one(struct peer *p, const uint8_t *data, size_t len, size_t *ret_need)
{
    struct frame f;
    size_t bytes = 0;

    switch (frame_parse(data, len, p->inline_max, &f, &bytes)) {
    case FRAME_OK:
        p->has_spoken = true;
        p->router->counters.frames_in++;
        p->router->work++;
        frame_handle(p, &f);
        return bytes;
    case FRAME_PARTIAL:
        if (p->info.packets) {
            peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR, "a packet must hold whole frames");
        }
        *ret_need = bytes;
        return 0;
    case FRAME_TOO_LARGE:
        peer_end(p, BUS_GOODBYE_PROTOCOL_ERROR,
                 "a body exceeds inline_max, or the verb has no body");
        return 0;
    }
    return 0;
}

struct input_result router_input(struct router *r, struct peer *p, const struct received *in,
                                 unsigned budget, const struct now *now)
{
    struct input_result result = {0};
    bool holds = router_is_holding(r); /* it may cease to */
    uint64_t work_begin = r->work, work_end = r->work + budget;

    r->now = *now;
    p->heard_ns = now->monotonic_ns;
    r->slab = in->slab;
    if (p->state == PEER_GREETING && is_mistake(p, in->data, in->len)) {
        mistake_answer(p);
    }
    while (result.consumed < in->len && p->state != PEER_CLOSING && result.need == 0) {
        if (r->work >= work_end) {
            result.more = true;
            break;
        }
        if (UNLIKELY(holds) &&
            hold_begins(p, in->data + result.consumed, in->len - result.consumed)) {
            result.more = true; /* as soon as peer_wants_input() */
            break;
        }
        result.consumed +=
            input_one(p, in->data + result.consumed, in->len - result.consumed, &result.need);
        if (UNLIKELY(r->control.kind != 0)) {
            inside_control_run(r);
        }
    }
    if (p->state == PEER_CLOSING) {
        result = (struct input_result){.consumed = in->len};
    }
    r->slab = NULL;
    if (UNLIKELY(p->reliable != NULL) && p->state == PEER_READY) {
        reliable_settle(p);
    }
    rate_spend(p, r->work - work_begin);
    router_reap(r, REAP_AT_ONCE);
    return result;
}

/* ---- output ---- */

struct peer *router_next_dirty(struct router *r)
{
    struct peer *p = r->dirty;

    if (p) {
        peer_unmark_dirty(p);
        peer_charge_output(p);
        if (p->blocked_ns == 0 && p->out.bytes > 0) {
            p->blocked_ns = r->now.monotonic_ns; /* until it has taken something */
        }
    }
    return p;
}

void router_output_sent(struct router *r, struct peer *p, size_t bytes)
{
    uint64_t work_begin = r->work;

    outq_consume(&p->out, bytes);
    p->progress_ns = r->now.monotonic_ns;
    p->blocked_ns = p->out.bytes > 0 ? r->now.monotonic_ns : 0;
    if (p->state != PEER_CLOSING && p->out.bytes <= p->output_max / 2) {
        peer_pump_waiting(p);
        tap_flush_loss(p);
        interest_resume(p);
        reliable_retry(p);
    }
    peer_charge_output(p);
    rate_spend(p, r->work - work_begin);
    router_reap(r, REAP_AT_ONCE);
}

const struct counters *router_counters(struct router *r)
{
    r->counters.topics_now = r->topics.ids.n_used;
    r->counters.charged_bytes_now = r->quota.used;
    r->counters.descriptors_now = r->descriptors.used;
    return &r->counters;
}
