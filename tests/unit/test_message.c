/* SPDX-License-Identifier: MIT */
#include "core/message.h"
#include "core/topics.h"
#include "support/failmalloc.h"
#include "support/unit.h"

struct fixture {
    struct topics topics;
    struct idpool ids;
    struct topic *topic;
    struct sender *sender;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    topics_init(&f.topics, 1);
    f.topic = topics_get(&f.topics, "a/b", 3);
    f.sender = calloc(1, sizeof(*f.sender));
    f.sender->refs = 1;
    f.sender->ids = &f.ids;
    f.sender->id = idpool_add(&f.ids, f.sender);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    topic_unref(f->topic);
    sender_unref(f->sender);
    assert_int_equal(f->topics.ids.n_used, 0);
    assert_int_equal(f->ids.n_used, 0);
    topics_fini(&f->topics);
    idpool_fini(&f->ids);
    return 0;
}

static struct message *make(struct fixture *f, size_t header_bytes, size_t body_bytes)
{
    static const uint8_t bytes[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    struct message_parts parts = {f->topic,   f->sender,      bytes, header_bytes, bytes + 10,
                                  body_bytes, body_bytes + 3, NULL,  NULL};

    return message_new(&parts);
}

static void test_message_copies_its_parts(void **state)
{
    struct message *m = make(*state, 4, 6);

    assert_int_equal(m->refs, 1);
    assert_int_equal(m->holds, 1);
    assert_int_equal(m->size, 9);
    assert_int_equal(m->header_bytes, 4);
    assert_int_equal(m->body_bytes, 6);
    assert_memory_equal(m->data, "0123abcdef", 10);
    assert_int_equal(message_memory(m), sizeof(*m) + 10 + topic_memory(m->topic->len));
    message_unref(m);
}

static void test_message_without_body_needs_none(void **state)
{
    struct fixture *f = *state;
    struct message_parts parts = {f->topic, f->sender, (const uint8_t *) "h", 1, NULL, 0, 0,
                                  NULL,     NULL};
    struct message *m = message_new(&parts);

    assert_int_equal(m->body_bytes, 0);
    assert_memory_equal(m->data, "h", 1);
    message_unref(m);
}

static void test_message_holds_topic_and_sender_until_its_last_reference(void **state)
{
    struct fixture *f = *state;
    struct message *m = make(f, 1, 1);

    assert_int_equal(f->topic->refs, 2);
    assert_int_equal(f->sender->refs, 2);
    assert_ptr_equal(message_ref(m), m);
    message_unref(m);
    assert_int_equal(f->topic->refs, 2);
    message_unref(m);
    assert_int_equal(f->topic->refs, 1);
    assert_int_equal(f->sender->refs, 1);
}

static void test_sender_number_is_free_when_its_last_message_is_gone(void **state)
{
    struct fixture *f = *state;
    struct message *m;
    struct sender *s = calloc(1, sizeof(*s));
    struct sender *kept = f->sender;

    *s = (struct sender){.refs = 1, .ids = &f->ids};
    s->id = idpool_add(&f->ids, s);
    f->sender = s;
    m = make(f, 1, 1);
    f->sender = kept;
    sender_unref(s);
    assert_ptr_equal(idpool_get(&f->ids, s->id), s);
    message_unref(m);
    assert_int_equal(f->ids.n_used, 1);
}

static void test_message_that_cannot_be_made_takes_no_references(void **state)
{
    struct fixture *f = *state;

    failmalloc_arm(1);
    assert_null(make(f, 4, 4));
    (void) failmalloc_disarm();
    assert_int_equal(f->topic->refs, 1);
    assert_int_equal(f->sender->refs, 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_message_copies_its_parts),
        CASE(test_message_without_body_needs_none),
        CASE(test_message_holds_topic_and_sender_until_its_last_reference),
        CASE(test_sender_number_is_free_when_its_last_message_is_gone),
        CASE(test_message_that_cannot_be_made_takes_no_references),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
