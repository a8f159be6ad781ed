/* SPDX-License-Identifier: MIT */
/* What the router says of publishes: credit, confirmations and refusals. */

#include <errno.h>
#include <string.h>
#include "client/publish.h"
#include "client/session.h"

/* More credit than this is not used: the sizes of so many publishes are remembered. */
#define WINDOW_MESSAGES_USED (1u << 20)
#define WINDOW_BYTES_USED (INT64_C(1) << 40)

/* ---- who wants to know ---- */

void bus__publish_confirm_add(struct bus_conn *c, struct confirm *confirm, uint64_t sequence)
{
    if (confirm) {
        confirm->sequence = sequence;
        DL_APPEND(c->confirms, confirm);
    }
}

bool bus__publish_confirm_waits(const struct bus_conn *c, uint64_t sequence)
{
    const struct confirm *confirm;

    DL_FOREACH (c->confirms, confirm) {
        if (confirm->sequence >= sequence) {
            break;
        }
    }
    return confirm && confirm->sequence == sequence;
}

int bus__publish_confirm_new(const struct publish *p, struct confirm **ret)
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

/* ---- the window ---- */

int bus__publish_init(struct bus_conn *c, const struct wire_welcome *m)
{
    uint32_t messages = MIN(m->publish_window_messages, WINDOW_MESSAGES_USED);
    uint32_t *sizes;
    uint32_t n = 1;

    while (n < messages) {
        n *= 2;
    }
    sizes = calloc(n, sizeof(*sizes));
    if (!sizes) {
        return -ENOMEM;
    }
    free(c->sizes); /* of the link before */
    c->sizes = sizes;
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

    DL_CONCAT(c->confirms, c->unknown);
    DL_FOREACH_SAFE (c->confirms, confirm, next) {
        free(confirm);
    }
    c->confirms = c->unknown = NULL;
    free(TAKE(c->sizes));
    bus__topics_fini(c);
}

static void credit_add(struct bus_conn *c, uint64_t messages, uint64_t bytes)
{
    if (!bus__has_link(c)) {
        return;
    }
    messages = MIN(messages, (uint64_t) WINDOW_MESSAGES_USED);
    bytes = MIN(bytes, (uint64_t) WINDOW_BYTES_USED);
    c->credit_messages = MIN(c->credit_messages + (int64_t) messages, c->window_messages);
    c->credit_bytes = MIN(c->credit_bytes + (int64_t) bytes, c->window_bytes);
    if (UNLIKELY(bus__session_waits(c))) {
        bus__session_send(c);
    }
}

void bus__on_publish_credit(struct bus_conn *c, const struct wire_publish_credit *m)
{
    credit_add(c, m->messages, m->bytes);
}

/* ---- a link has ended ---- */

void bus__publish_lost(struct bus_conn *c)
{
    uint64_t unsent = bus__session_next(c);
    struct confirm *confirm, *next;

    DL_FOREACH_SAFE (c->confirms, confirm, next) {
        if (confirm->sequence < unsent) {
            DL_DELETE(c->confirms, confirm);
            DL_APPEND(c->unknown, confirm);
        }
    }
    c->credit_messages = c->credit_bytes = 0;
    c->plain_limit = 0;
    c->wire_sequence = 0;
    c->sequence_due = c->sequence > 0;
    c->handed_over = 0;
    c->buffer_status = 0;
    c->starved = false;
}

void bus__confirms_unknown(struct bus_conn *c)
{
    while (c->unknown) {
        struct confirm *first = c->unknown;
        struct confirm confirm = *first;
        struct bus_confirmation outcome = {.sequence = confirm.sequence,
                                           .status = BUS_STATUS_DISCONNECTED};

        DL_DELETE(c->unknown, first);
        free(first);
        confirm.on_confirm(c, &outcome, confirm.userdata);
    }
}

/* ---- answers ---- */

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

/* The right to publish to that alias was taken away; those that bus_publish() has made by itself
 * tell when it is used. */
static void on_muted(struct bus_conn *c, const struct wire_status *m)
{
    const struct bus_topic *t = bus__table_get(&c->aliases, m->alias);
    char name[BUS_TOPIC_MAX + 1];

    if (t && !t->automatic) {
        memcpy(name, t->name, t->len + 1);
        bus__tell_status(c, m, name);
    }
}

void bus__on_publish_status(struct bus_conn *c, const struct wire_status *m)
{
    const struct bus_topic *t = topic_at(c, m->alias, m->sequence);
    struct wire_status status = *m;
    char name[BUS_TOPIC_MAX + 1];
    char text[GOODBYE_TEXT_MAX + 1];
    struct confirm confirm;

    if (m->sequence == 0) {
        on_muted(c, m);
        return;
    }
    if (!credit_return(c, m->sequence)) {
        bus__fail_protocol(c, "STATUS for a publish that was not made");
        return;
    }
    if (t) {
        memcpy(name, t->name, t->len + 1);
        bus__topic_why(t, &status.code, &status.text);
        status.text.len = MIN(status.text.len, GOODBYE_TEXT_MAX);
        status.text.data = memcpy(text, status.text.data, status.text.len); /* t may go */
    }
    if (m->code == BUS_STATUS_UNKNOWN_BUFFER && c->buffer_status) {
        status.code = c->buffer_status; /* the cause: why the buffer is unknown */
        status.text = text_from(bus_status_text((enum bus_status) c->buffer_status));
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
    bus__topic_refuse(t, m);
    if (t->flags & BUS_TOPIC_RELIABLE) {
        bus__reliable_settle(c);
    }
    if (t->automatic) {
        return; /* the publish it was made for is refused next, and tells */
    }
    memcpy(name, t->name, t->len + 1);
    bus__tell_status(c, m, name);
}
