/* SPDX-License-Identifier: MIT */
/* Loans: memory for a body that the application fills in place, so that publishing copies nothing.
 */

#include <errno.h>
#include <utlist.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/topic_handle.h"

struct bus_loan {
    struct bus_loan *prev, *next; /* bus_conn.loans */
    struct bus_topic *topic;      /* not owned; the application must not end it before */
    struct slot slot;             /* no segment: the body is behind this struct */
    size_t bytes;
    _Alignas(64) uint8_t memory[];
};

static int loan_new(size_t bytes, struct bus_loan **ret)
{
    struct bus_loan *loan = aligned_alloc(64, (sizeof(*loan) + bytes + 63) / 64 * 64);

    if (!loan) {
        return -ENOMEM;
    }
    *loan = (struct bus_loan){.bytes = bytes};
    *ret = loan;
    return 0;
}

/* A slot of the pool; if there is none, memory for a body in the frame, or a buffer of its own. */
static int loan_place(struct bus_conn *c, size_t bytes, struct bus_loan **ret)
{
    bool small = bytes < c->buffer_from && bytes <= c->inline_max;
    struct slot slot = {NULL, 0};
    int r = small ? -ENOBUFS : bus__pool_take(&c->pool, bytes, &slot);

    if (r < 0 && bus__fits_every_link(c, bytes)) {
        return loan_new(bytes, ret);
    }
    r = r < 0 ? bus__pool_take_once(&c->pool, bytes, &slot) : r;
    if (r < 0 && bytes <= c->inline_max) {
        return loan_new(bytes, ret);
    }
    r = r < 0 ? r : loan_new(0, ret);
    if (r < 0 && slot.segment) {
        bus__give_slot(c, slot);
    }
    if (r == 0) {
        (*ret)->slot = slot;
        (*ret)->bytes = bytes;
    }
    return r;
}

int bus_loan(struct bus_topic *topic, size_t bytes, struct bus_loan **ret_loan)
{
    struct bus_conn *c = topic->conn;
    struct bus_loan *loan = NULL;
    int r = bus__usable(c);

    if (r < 0) {
        return r;
    }
    if (c->inline_max == 0) {
        c->want_writable = true;
        return -EAGAIN;
    }
    if (bytes > bus_body_max(c)) {
        return -EMSGSIZE;
    }
    r = loan_place(c, bytes, &loan);
    if (r < 0) {
        return r;
    }
    loan->topic = topic;
    DL_APPEND(c->loans, loan);
    *ret_loan = loan;
    return 0;
}

void *bus_loan_data(struct bus_loan *loan)
{
    return loan->slot.segment ? bus__slot_data(loan->slot) : loan->memory;
}

size_t bus_loan_bytes(const struct bus_loan *loan)
{
    return loan->bytes;
}

static void loan_free(struct bus_conn *c, struct bus_loan *loan)
{
    DL_DELETE(c->loans, loan);
    free(loan);
}

int bus_loan_publish(struct bus_loan *loan, size_t bytes, const struct bus_publish_opts *opts)
{
    struct bus_topic *topic = loan->topic;
    int r;

    if (bytes > loan->bytes) {
        return -EINVAL;
    }
    if (loan->slot.segment) {
        r = bus__publish_slot(topic, loan->slot, bytes, opts);
    } else {
        r = bus_topic_publish(topic, loan->memory, bytes, opts);
    }
    if (r == 0) {
        loan_free(topic->conn, loan);
    }
    return r;
}

void bus_loan_cancel(struct bus_loan *loan)
{
    struct bus_conn *c;

    if (!loan) {
        return;
    }
    c = loan->topic->conn;
    if (loan->slot.segment) {
        bus__give_slot(c, loan->slot);
    }
    loan_free(c, loan);
}

void bus__loans_fini(struct bus_conn *c)
{
    while (c->loans) {
        loan_free(c, c->loans);
    }
}
