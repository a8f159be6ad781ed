/* SPDX-License-Identifier: MIT */
/* Bodies of events, written and read by hand, are what protobuf-c makes of schemas/events.proto. */
#include "events.pb-c.h"
#include "support/texts.h"
#include "wire/events.h"

static const struct client_event *const events[] = {
    &(struct client_event){.kind = CLIENT_JOINED, .name = {"", 0}, .text = {"", 0}},
    &(struct client_event){CLIENT_JOINED, 7, 1000, 1001, 4711, {"name", 4}, 0, {"", 0}},
    &(struct client_event){CLIENT_LEFT, 300, 0, 0, 1, {"\xc3\xa4", 2}, 5, {"slow", 4}},
    &(struct client_event){
        CLIENT_LEFT, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, {"", 0}, 8, {"x", 1}},
};

static void assert_same(const struct client_event *a, const struct client_event *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->connection_id == b->connection_id);
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->gid, b->gid);
    assert_int_equal(a->pid, b->pid);
    assert_int_equal(a->reason, b->reason);
    assert_texts_equal(a->name, b->name);
    assert_texts_equal(a->text, b->text);
}

static void test_written_as_the_schema_says(void **state)
{
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        Bus__Events__ClientEvent pb = BUS__EVENTS__CLIENT_EVENT__INIT;
        uint8_t ours[CLIENT_EVENT_MAX], theirs[CLIENT_EVENT_MAX];
        size_t n = client_event_encode(events[i], ours);
        char name[8] = "", text[8] = "";

        memcpy(name, events[i]->name.data, events[i]->name.len);
        memcpy(text, events[i]->text.data, events[i]->text.len);
        pb.kind = (Bus__Events__ClientEvent__Kind) events[i]->kind;
        pb.connection_id = events[i]->connection_id;
        pb.uid = events[i]->uid;
        pb.gid = events[i]->gid;
        pb.pid = events[i]->pid;
        pb.name = name;
        pb.reason = events[i]->reason;
        pb.text = text;
        assert_int_equal(bus__events__client_event__pack(&pb, theirs), n);
        assert_memory_equal(ours, theirs, n);
    }
}

static void test_read_as_written(void **state)
{
    (void) state;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        uint8_t body[CLIENT_EVENT_MAX];
        size_t n = client_event_encode(events[i], body);
        struct client_event e;

        assert_true(client_event_decode(body, n, &e));
        assert_same(&e, events[i]);
    }
}

static void test_texts_are_cut(void **state)
{
    char long_text[400];
    struct client_event e = {CLIENT_LEFT, UINT64_MAX,       UINT32_MAX, UINT32_MAX,
                             UINT32_MAX,  {long_text, 400}, UINT32_MAX, {long_text, 400}};
    uint8_t body[CLIENT_EVENT_MAX];
    size_t n;

    (void) state;
    memset(long_text, 'x', sizeof(long_text));
    n = client_event_encode(&e, body);
    assert_true(n <= sizeof(body));
    assert_true(client_event_decode(body, n, &e));
    assert_int_equal(e.name.len, BUS_NAME_MAX);
    assert_int_equal(e.text.len, EVENT_TEXT_MAX);
}

static bool decodes(const char *bytes, size_t n, struct client_event *ret)
{
    return client_event_decode((const uint8_t *) bytes, n, ret);
}
#define DECODES(bytes, ret) decodes(bytes, sizeof(bytes) - 1, ret)

static void test_what_is_unknown_is_ignored(void **state)
{
    struct client_event e;

    (void) state;
    assert_true(DECODES("", &e));
    assert_int_equal(e.kind, 0);
    assert_true(DECODES("\x48\x01\x08\x02", &e)); /* field 9, a number */
    assert_int_equal(e.kind, 2);
    assert_true(DECODES("\x52\x03xyz\x08\x02", &e)); /* bytes */
    assert_true(DECODES("\x59"
                        "12345678"
                        "\x08\x02",
                        &e)); /* 64 bits */
    assert_true(DECODES("\x5d"
                        "1234"
                        "\x08\x02",
                        &e)); /* 32 bits */
    assert_int_equal(e.kind, 2);
    assert_true(DECODES("\x08\x01\x08\x02", &e)); /* the last one holds */
    assert_int_equal(e.kind, 2);
    assert_true(DECODES("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &e));
    assert_int_equal(e.uid, UINT32_MAX);
}

static void test_what_is_wrong_is_refused(void **state)
{
    struct client_event e = {.kind = 42};

    (void) state;
    assert_false(DECODES("\x08", &e));     /* no number */
    assert_false(DECODES("\x08\x80", &e)); /* half a number */
    assert_false(DECODES("\x00\x01", &e)); /* field 0 */
    assert_false(DECODES("\x32\x05"
                         "abcd",
                         &e)); /* longer than there is */
    assert_false(DECODES("\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &e));
    assert_false(DECODES("\x30\x01", &e));  /* a name that is a number */
    assert_false(DECODES("\x0a\x01x", &e)); /* a kind that is bytes */
    assert_false(DECODES("\x4b\x4c", &e));  /* groups */
    assert_false(DECODES("\x59"
                         "1234567",
                         &e));
    assert_false(DECODES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", &e)); /* 65 bits */
    assert_false(DECODES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", &e));
    assert_int_equal(e.kind, 42); /* and nothing is changed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_as_the_schema_says),
        cmocka_unit_test(test_read_as_written),
        cmocka_unit_test(test_texts_are_cut),
        cmocka_unit_test(test_what_is_unknown_is_ignored),
        cmocka_unit_test(test_what_is_wrong_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
