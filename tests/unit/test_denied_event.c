/* SPDX-License-Identifier: MIT */
/* Bodies of refusals, written and read by hand, are what protobuf-c makes of schemas/events.proto.
 */
#include "events.pb-c.h"

#include <bus/events.h>
#include <errno.h>
#include "client/conn.h"
#include "support/texts.h"
#include "wire/denied_event.h"

static const struct denied_event none = {
    .name = {"", 0}, .verb = {"", 0}, .topic = {"", 0}, .rule = {"", 0}, .text = {"", 0}};

static const struct denied_event full = {.connection_id = UINT64_C(1) << 40,
                                         .uid = 1000,
                                         .gid = 1001,
                                         .pid = 4711,
                                         .name = {"sensor", 6},
                                         .verb = {"publish", 7},
                                         .topic = {"a/b", 3},
                                         .rule = {"/etc/rules.conf:7", 17},
                                         .text = {"denied", 6},
                                         .taken = 1,
                                         .left_out = 300};

static void assert_same(const struct denied_event *a, const struct denied_event *b)
{
#define NUMBER(number, name) assert_int_equal(a->name, b->name);
#define TEXT(number, name, max) assert_texts_equal(a->name, b->name);
    DENIED_EVENT_FIELDS(NUMBER, NUMBER, TEXT)
#undef NUMBER
#undef TEXT
}

static void assert_as_schema(const struct denied_event *e)
{
    Bus__Events__DeniedEvent pb = BUS__EVENTS__DENIED_EVENT__INIT;
    uint8_t ours[DENIED_EVENT_MAX], theirs[DENIED_EVENT_MAX];
    char texts[5][64] = {{0}};
    size_t n = denied_event_encode(e, ours);
    struct denied_event again;
    unsigned i = 0;

#define NUMBER(number, name) pb.name = e->name;
#define TEXT(number, name, max)                                                                    \
    memcpy(texts[i], e->name.data, e->name.len);                                                   \
    pb.name = texts[i++];
    DENIED_EVENT_FIELDS(NUMBER, NUMBER, TEXT)
#undef NUMBER
#undef TEXT
    assert_int_equal(bus__events__denied_event__pack(&pb, theirs), n);
    assert_memory_equal(ours, theirs, n);
    assert_true(denied_event_decode(ours, n, &again));
    assert_same(&again, e);
}

static void test_written_as_the_schema_says(void **state)
{
    (void) state;
    assert_as_schema(&none);
    assert_as_schema(&full);
}

static void test_texts_are_cut(void **state)
{
    uint8_t body[DENIED_EVENT_MAX];
    struct denied_event e = full;
    char text[400];
    size_t n;

    (void) state;
    memset(text, 'x', sizeof(text));
    e.connection_id = e.left_out = UINT64_MAX;
    e.uid = e.gid = e.pid = e.taken = UINT32_MAX;
    e.name = e.verb = e.topic = e.rule = e.text = (struct text){text, sizeof(text)};
    n = denied_event_encode(&e, body);
    assert_true(n <= sizeof(body));
    assert_true(denied_event_decode(body, n, &e));
    assert_int_equal(e.name.len, BUS_NAME_MAX);
    assert_int_equal(e.verb.len, DENIED_VERB_MAX);
    assert_int_equal(e.topic.len, BUS_TOPIC_MAX);
    assert_int_equal(e.rule.len, EVENT_TEXT_MAX);
    assert_int_equal(e.text.len, EVENT_TEXT_MAX);
}

static bool decodes(const char *bytes, size_t n)
{
    struct denied_event e;

    return denied_event_decode((const uint8_t *) bytes, n, &e);
}
#define DECODES(bytes) decodes(bytes, sizeof(bytes) - 1)

static void test_other_types_are_refused_and_unknown_fields_are_not(void **state)
{
    (void) state;
    assert_true(DECODES(""));
    assert_true(DECODES("\x60\x01")); /* field 12 */
    assert_false(DECODES("\x32"));
    assert_false(DECODES("\x30\x01"));  /* a verb that is a number */
    assert_false(DECODES("\x12\x01x")); /* a uid that is bytes */
    assert_false(DECODES("\x5a\x01x")); /* what was left out, as bytes */
    assert_false(DECODES("\x32\x05"
                         "abcd"));
}

static void test_parsed_by_applications(void **state)
{
    struct bus_denied_event e = BUS_DENIED_EVENT_INIT;
    uint8_t body[DENIED_EVENT_MAX];
    size_t n = denied_event_encode(&full, body);

    (void) state;
    assert_int_equal(bus_denied_event_parse(body, n, &e), 0);
    assert_int_equal(e.connection_id, full.connection_id);
    assert_int_equal(e.uid, 1000);
    assert_int_equal(e.gid, 1001);
    assert_int_equal(e.pid, 4711);
    assert_int_equal(e.taken, 1);
    assert_int_equal(e.left_out, 300);
    assert_string_equal(e.name, "sensor");
    assert_string_equal(e.verb, "publish");
    assert_string_equal(e.topic, "a/b");
    assert_string_equal(e.rule, "/etc/rules.conf:7");
    assert_string_equal(e.text, "denied");
    assert_int_equal(bus_denied_event_parse(body, n - 1, &e), -EBADMSG);
    assert_int_equal(bus_denied_event_parse(NULL, 0, &e), -EBADMSG);
    assert_int_equal(bus_denied_event_parse(NULL, 1, &e), -EINVAL);
    e.size--;
    assert_int_equal(bus_denied_event_parse(body, n, &e), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_as_the_schema_says),
        cmocka_unit_test(test_texts_are_cut),
        cmocka_unit_test(test_other_types_are_refused_and_unknown_fields_are_not),
        cmocka_unit_test(test_parsed_by_applications),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
