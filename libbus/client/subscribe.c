/* SPDX-License-Identifier: MIT */
/* Subscriptions. bus_conn.subs holds each one from bus_subscribe() until its number is free again,
 * which is later than bus_sub_unref(): messages already on their way still name it. */

#include <errno.h>
#include <string.h>
#include <utlist.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/session.h"
#include "wire/topic.h"

/* The router's defaults, docs/protocol.md section 6. */
#define WINDOW_MESSAGES 16384u
#define WINDOW_BYTES (4u * 1024u * 1024u)
/* What the router knows of, and all. */
#define SUB_WIRE_FLAGS                                                                             \
    (BUS_SUB_NO_LOCAL | BUS_SUB_DESCRIPTORS | BUS_SUB_ACK | BUS_SUB_STICKY | BUS_SUB_NARROW)
#define SUB_FLAGS (SUB_WIRE_FLAGS | BUS_SUB_IMMUTABLE)

/* A filter, a group and a topic, and the numbers. */
#define SUBSCRIBE_HEADER_MAX (2 * BUS_TOPIC_MAX + BUS_NAME_MAX + 128u)

/* NULL, or a text of that length. */
static bool text_fits(const char *text, size_t max)
{
    return !text || (*text && strnlen(text, max + 1) <= max);
}

static int opts_check(const struct bus_sub_opts *opts)
{
    if (opts->size != sizeof(*opts) || (opts->flags & ~SUB_FLAGS) != 0 ||
        (unsigned) opts->policy > BUS_POLICY_DISCONNECT ||
        (unsigned) opts->retained > BUS_RETAINED_ALL || !text_fits(opts->group, BUS_NAME_MAX) ||
        !text_fits(opts->dead_letter, BUS_TOPIC_MAX) || (opts->silence_ms && !opts->on_silence)) {
        return -EINVAL;
    }
    return 0;
}

static struct bus_sub *sub_new(struct bus_conn *c, const char *filter, size_t len,
                               const struct bus_sub_opts *opts)
{
    struct bus_sub *sub = calloc(1, sizeof(*sub) + len + 1);
    uint32_t messages = opts->window_messages ? opts->window_messages : WINDOW_MESSAGES;
    uint64_t bytes = opts->window_bytes ? opts->window_bytes : WINDOW_BYTES;

    if (sub) {
        sub->conn = c;
        sub->on_loss = opts->on_loss;
        sub->immutable = opts->flags & BUS_SUB_IMMUTABLE;
        sub->on_ready = opts->on_ready;
        sub->on_live = opts->on_live;
        sub->on_silence = opts->on_silence;
        sub->shares = opts->group;
        sub->by_topic = opts->min_interval_ms > 0;
        sub->half_messages = MAX(messages / 2, 1u);
        sub->half_bytes = MAX(bytes / 2, UINT64_C(1));
        if (opts->flags & BUS_SUB_ACK) { /* it is ACK that gives credit back */
            sub->half_messages = UINT32_MAX;
            sub->half_bytes = UINT64_MAX;
        }
        memcpy(sub->filter, filter, len);
    }
    return sub;
}

static int ask(struct bus_conn *c, struct bus_sub *sub, const struct bus_sub_opts *opts,
               uint32_t flags)
{
    struct wire_subscribe m = {
        .subscription = sub->number,
        .filter = text_from(sub->filter),
        .policy = (uint32_t) opts->policy,
        .window_messages = opts->window_messages,
        .window_bytes = opts->window_bytes,
        .queue_messages = opts->queue_messages,
        .queue_bytes = opts->queue_bytes,
        .flags = (opts->flags & SUB_WIRE_FLAGS) | flags,
        .group = text_from(opts->group ? opts->group : ""),
        .deliveries_max = opts->deliveries_max,
        .dead_letter = text_from(opts->dead_letter ? opts->dead_letter : ""),
        .retained = (uint32_t) opts->retained,
        .min_interval_ms = opts->min_interval_ms,
        .silence_ms = opts->silence_ms,
    };

    int r;

    if (!c->session) {
        return bus__send(c, VERB_SUBSCRIBE, &m, SUBSCRIBE_HEADER_MAX);
    }
    r = bus__kept_frame_new(VERB_SUBSCRIBE, &m, SUBSCRIBE_HEADER_MAX, &sub->again);
    r = r < 0 ? r : bus__kept_frame_send(c, sub->again);
    if (r < 0) {
        free(TAKE(sub->again));
    }
    return r;
}

int bus__sub_ask(struct bus_conn *c, struct bus_sub *sub, const struct bus_sub_opts *opts,
                 uint32_t flags)
{
    int r = bus__room(c);

    r = r < 0 ? r : bus__numbers_peek(&c->sub_numbers, c->subscriptions_max, &sub->number);
    r = r < 0 ? r : bus__table_reserve(&c->subs, sub->number);
    r = r < 0 ? r : ask(c, sub, opts, flags);
    if (r < 0) {
        return r;
    }
    bus__numbers_take(&c->sub_numbers);
    c->subs.at[sub->number] = sub;
    DL_APPEND(c->sub_list, sub);
    c->n_subs++;
    return 0;
}

int bus__sub_new(struct bus_conn *c, const char *filter, const struct bus_sub_opts *opts,
                 struct bus_sub **ret)
{
    size_t len = filter ? strnlen(filter, BUS_TOPIC_MAX + 1) : 0;

    if (!filter_valid(filter, len) || opts_check(opts) < 0) {
        return -EINVAL;
    }
    if (c->monitor.on_record) {
        return -EBUSY;
    }
    *ret = sub_new(c, filter, len, opts);
    return *ret ? 0 : -ENOMEM;
}

int bus_subscribe(struct bus_conn *conn, const char *filter, const struct bus_sub_opts *opts,
                  bus_message_fn on_message, void *userdata, struct bus_sub **ret_sub)
{
    static const struct bus_sub_opts defaults = BUS_SUB_OPTS_INIT;
    AUTO_FREE struct bus_sub *sub = NULL;
    AUTO_FREE struct ack_link *acks = NULL;
    int r = bus__usable(conn);

    opts = opts ? opts : &defaults;
    r = r < 0 ? r : on_message ? bus__sub_new(conn, filter, opts, &sub) : -EINVAL;
    if (r < 0) {
        return r;
    }
    if (opts->flags & BUS_SUB_ACK) {
        acks = bus__ack_link_new();
        if (!acks) {
            return -ENOMEM;
        }
    }
    sub->on_message = on_message;
    sub->userdata = userdata;
    r = bus__sub_ask(conn, sub, opts, 0);
    if (r < 0) {
        return r;
    }
    sub->acks = TAKE(acks);
    if (sub->acks) {
        sub->acks->sub = sub;
    }
    if (ret_sub) {
        *ret_sub = sub;
    }
    (void) TAKE(sub);
    return 0;
}

void bus__sub_free_idle(struct bus_sub *sub)
{
    if (sub->state == SUB_DEAD && sub->busy == 0) {
        bus__ack_link_end(sub->acks);
        bus__seen_fini(&sub->seen);
        free(sub->again);
        free(sub);
    }
}

static void owe_nothing(struct bus_conn *c, struct bus_sub *sub)
{
    if (sub->owes) {
        sub->owes = false;
        DL_DELETE2(c->owing, sub, owing_prev, owing_next);
    }
}

/* Its number is free. */
static void sub_remove(struct bus_conn *c, struct bus_sub *sub)
{
    c->subs.at[sub->number] = NULL;
    DL_DELETE(c->sub_list, sub);
    owe_nothing(c, sub);
    bus__numbers_give(&c->sub_numbers, sub->number);
    sub->state = SUB_DEAD;
    bus__sub_free_idle(sub);
}

void bus_sub_unref(struct bus_sub *sub)
{
    struct wire_unsubscribe m = {0};
    struct bus_conn *c;

    if (!sub) {
        return;
    }
    c = sub->conn;
    c->n_subs--;
    bus__drain_forget(sub);
    if (sub->on_call) {
        bus__calls_cancel(c, sub->number);
    }
    if ((sub->state == SUB_REFUSED && sub->n_endings == 0) || sub->state == SUB_DRAINED ||
        bus__forked(c) || !bus__is_up(c)) {
        sub_remove(c, sub);
        return;
    }
    m.subscription = sub->number;
    if (sub->state == SUB_REFUSED) { /* while it drained: that is still answered */
        sub->state = SUB_ENDING;
        return;
    }
    sub->state = SUB_ENDING;
    sub->n_endings++;
    owe_nothing(c, sub);
    bus__send_or_fail(c, VERB_UNSUBSCRIBE, &m);
}

void bus__subscribe_fini(struct bus_conn *c)
{
    struct bus_sub *sub, *next;

    DL_FOREACH_SAFE (c->sub_list, sub, next) {
        sub->state = SUB_DEAD;
        bus__sub_free_idle(sub);
    }
    c->sub_list = c->owing = NULL;
    bus__table_fini(&c->subs);
    bus__numbers_fini(&c->sub_numbers);
}

const char *bus_sub_filter(const struct bus_sub *sub)
{
    return sub->filter;
}

struct bus_conn *bus_sub_conn(const struct bus_sub *sub)
{
    return sub->conn;
}

/* ---- one link after another ---- */

void bus__subscribe_lost(struct bus_conn *c)
{
    struct bus_sub *sub, *next;

    DL_FOREACH_SAFE (c->sub_list, sub, next) {
        sub->used_messages = 0;
        sub->used_bytes = 0;
        owe_nothing(c, sub);
        sub->gap = sub->gap || sub->state == SUB_ACTIVE;
        sub->n_endings = 0;
        if (sub->state == SUB_ENDING) {
            sub_remove(c, sub);
        } else if (sub->drains || sub->state == SUB_DRAINED) {
            sub->state = SUB_DRAINED; /* what waited for it has gone */
        } else {
            sub->state = SUB_ASKED;
        }
    }
}

int bus__subscribe_again(struct bus_conn *c)
{
    struct bus_sub *sub;
    int r = 0;

    DL_FOREACH (c->sub_list, sub) {
        r = r < 0 || sub->state == SUB_DRAINED ? r : bus__kept_frame_send(c, sub->again);
    }
    return r;
}

/* Before anything of the new link: whether the subscription is still to be used. */
static bool tell_gap(struct bus_sub *sub)
{
    struct bus_loss loss = {0, 0, BUS_LOSS_ROUTER_RESTART};

    sub->gap = false;
    if (!sub->on_loss) {
        return true;
    }
    sub->busy++;
    sub->on_loss(sub, &loss, sub->userdata);
    return bus__sub_release(sub);
}

/* ---- what the router says ---- */

static void tell_ready(struct bus_sub *sub, const struct wire_status *m)
{
    char text[GOODBYE_TEXT_MAX + 1];
    size_t len = MIN(m->text.len, sizeof(text) - 1);

    memcpy(text, m->text.data, len);
    text[len] = '\0';
    sub->busy++;
    sub->on_ready(sub, (enum bus_status) m->code, text, sub->userdata);
    (void) bus__sub_release(sub);
}

/* The right to it was taken away, or it was one too many: the router knows it no more. */
static bool sub_end_by_router(struct bus_conn *c, struct bus_sub *sub, enum bus_status why)
{
    sub->state = SUB_REFUSED;
    sub->used_messages = 0;
    sub->used_bytes = 0;
    owe_nothing(c, sub);
    if (!sub->on_call) {
        return true;
    }
    sub->busy++;
    bus__calls_lost(c, sub->number);
    bus__calls_tell_lost(c, why);
    return bus__sub_release(sub);
}

void bus__on_subscribe_status(struct bus_conn *c, const struct wire_status *m)
{
    struct bus_sub *sub = bus__table_get(&c->subs, m->subscription);

    if (!sub || sub->state == SUB_ENDING) {
        return; /* the application has let go of it meanwhile */
    }
    if (sub->state == SUB_ASKED) {
        sub->state = m->code == BUS_STATUS_OK ? SUB_ACTIVE : SUB_REFUSED;
    } else if (sub->state == SUB_ACTIVE &&
               (m->code == BUS_STATUS_DENIED || m->code == BUS_STATUS_LIMIT) &&
               !sub_end_by_router(c, sub, (enum bus_status) m->code)) {
        return;
    }
    if (sub->gap && !tell_gap(sub)) {
        return;
    }
    if (sub->on_ready) {
        tell_ready(sub, m);
    } else if (m->code != BUS_STATUS_OK) {
        sub->busy++;
        bus__tell_status(c, m, sub->filter);
        (void) bus__sub_release(sub);
    }
}

void bus__on_unsubscribe_status(struct bus_conn *c, const struct wire_status *m)
{
    struct bus_sub *sub = bus__table_get(&c->subs, m->subscription);

    if (!sub || sub->n_endings == 0) {
        bus__fail_protocol(c, "STATUS for an UNSUBSCRIBE that was not sent");
        return;
    }
    sub->n_endings--;
    if (sub->state != SUB_ENDING) {
        bus__on_drained_status(c, sub, m);
    } else if (sub->n_endings == 0) {
        sub_remove(c, sub);
    }
}

void bus__on_loss(struct bus_conn *c, const struct wire_loss *m)
{
    struct bus_sub *sub = bus__table_get(&c->subs, m->subscription);
    struct bus_loss loss = {m->count, m->bytes, (enum bus_loss_reason) m->reason};

    if (!sub || m->count == 0) {
        bus__fail_protocol(c, "LOSS of nothing, or for an unknown subscription");
        return;
    }
    if (sub->state >= SUB_ENDING || !sub->on_loss) {
        return;
    }
    sub->busy++;
    sub->on_loss(sub, &loss, sub->userdata);
    (void) bus__sub_release(sub);
}

void bus__give_credit(struct bus_conn *c, struct bus_sub *sub)
{
    struct wire_credit m = {
        .subscription = sub->number, .messages = sub->used_messages, .bytes = sub->used_bytes};

    sub->used_messages = 0;
    sub->used_bytes = 0;
    bus__send_or_fail(c, VERB_CREDIT, &m);
}

void bus__owe_credit(struct bus_conn *c, struct bus_sub *sub)
{
    if (!sub->owes && sub->half_messages != UINT32_MAX) {
        sub->owes = true;
        DL_APPEND2(c->owing, sub, owing_prev, owing_next);
    }
}

void bus__give_owed(struct bus_conn *c)
{
    while (c->owing) {
        struct bus_sub *sub = c->owing;

        owe_nothing(c, sub);
        if (sub->used_messages > 0) {
            bus__give_credit(c, sub);
        }
    }
}
