/* SPDX-License-Identifier: MIT */
#pragma once
/* One queue of a subscription with what it needs around it; messages are told apart by a number. */

#include "core/subq.h"
#include "core/topics.h"
#include "support/unit.h"

#define TOPICS 8u
#define RELEASED_MAX 4096u

struct fixture {
    struct topics topics;
    struct idpool ids;
    struct sender *sender;
    struct topic *topic[TOPICS];
    struct match match[TOPICS];
    struct quota quota;
    struct charge charge;
    struct subq q;
};

static const struct subq_bounds no_bounds __attribute__((unused)) = {UINT32_MAX, UINT64_MAX};
/* what subq_release_fn was called with; it has no context to carry this */
static uint64_t released[RELEASED_MAX];
static size_t n_released;

static inline int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    n_released = 0;
    topics_init(&f.topics, 1);
    f.sender = calloc(1, sizeof(*f.sender));
    f.sender->refs = 1;
    f.sender->ids = &f.ids;
    f.sender->id = idpool_add(&f.ids, f.sender);
    for (size_t i = 0; i < TOPICS; i++) {
        char name[] = {(char) ('a' + i)};

        f.topic[i] = topics_get(&f.topics, name, 1);
        f.match[i].topic = f.topic[i];
    }
    quota_init(&f.quota, 64 << 20, NULL);
    charge_init(&f.charge, &f.quota);
    subq_init(&f.q, &f.charge);
    *state = &f;
    return 0;
}

static inline uint64_t number_of(const struct message *m)
{
    uint64_t number;

    memcpy(&number, m->data, sizeof(number));
    return number;
}

static inline void on_release(struct message *m)
{
    assert_int_equal(m->holds, 0);
    assert_true(n_released < RELEASED_MAX);
    released[n_released++] = number_of(m);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    subq_check(&f->q);
    subq_fini(&f->q, on_release);
    assert_int_equal(f->quota.used, 0);
    for (size_t i = 0; i < TOPICS; i++) {
        assert_int_equal(f->topic[i]->refs, 1);
        topic_unref(f->topic[i]);
    }
    assert_int_equal(f->sender->refs, 1);
    sender_unref(f->sender);
    topics_fini(&f->topics);
    idpool_fini(&f->ids);
    return 0;
}

/* A message whose data is its number. */
static inline struct message *make(struct fixture *f, size_t topic, uint64_t number, size_t size)
{
    struct message_parts parts = {
        f->topic[topic], f->sender, (uint8_t *) &number, sizeof(number), NULL, 0, size, NULL, NULL};
    struct message *m = message_new(&parts);

    assert_non_null(m);
    m->holds = 0; /* no fan-out is running */
    return m;
}

static inline void push(struct fixture *f, size_t topic, uint64_t number, size_t size)
{
    struct message *m = make(f, topic, number, size);

    assert_true(subq_prepare(&f->q, m));
    subq_push(&f->q, m, &f->match[topic]);
    message_unref(m);
}

static inline bool push_held(struct fixture *f, uint64_t number, size_t size,
                             const struct subq_bounds *b)
{
    struct message *m = make(f, 0, number, size);
    bool held;

    assert_true(subq_prepare(&f->q, m));
    held = subq_push_held(&f->q, m, &f->match[0], b);
    message_unref(m);
    return held;
}

static inline void lose(struct fixture *f, enum bus_loss_reason reason, uint64_t count,
                        uint64_t bytes)
{
    subq_note_loss(&f->q, reason, count, bytes);
}

static inline void assert_message(struct fixture *f, uint64_t number)
{
    enum bus_loss_reason reason;
    struct match *match = NULL;
    struct message *m;
    struct gap gap;

    assert_false(subq_is_empty(&f->q));
    m = subq_front(&f->q, &match, &gap, &reason);
    assert_non_null(m);
    assert_int_equal(number_of(m), number);
    assert_ptr_equal(match->topic, m->topic);
    subq_pop(&f->q, &no_bounds, on_release);
    subq_check(&f->q);
}

static inline void assert_gap(struct fixture *f, enum bus_loss_reason due, uint64_t count,
                              uint64_t bytes)
{
    enum bus_loss_reason reason;
    struct match *match;
    struct gap gap;

    assert_false(subq_is_empty(&f->q));
    assert_null(subq_front(&f->q, &match, &gap, &reason));
    assert_int_equal(reason, due);
    assert_int_equal(gap.count, count);
    assert_int_equal(gap.bytes, bytes);
    subq_pop(&f->q, &no_bounds, on_release);
    subq_check(&f->q);
}

static inline void assert_empty(struct fixture *f)
{
    assert_true(subq_is_empty(&f->q));
    assert_int_equal(f->q.n_messages, 0);
    assert_int_equal(f->q.bytes, 0);
}
