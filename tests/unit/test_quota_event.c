/* SPDX-License-Identifier: MIT */
/* Bodies of bounds that were met, written and read by hand, are what protobuf-c makes of
 * schemas/events.proto. */
#include "events.pb-c.h"

#include <bus/events.h>
#include <errno.h>
#include "client/conn.h"
#include "support/texts.h"
#include "wire/quota_event.h"

static const struct quota_event none = {.slot = {"", 0}};

static const struct quota_event full = {
    .uid = 1000,
    .connection_id = UINT64_C(1) << 40,
    .slot = {"bytes", 5},
    .limit = 1000,
    .used = 999,
    .requested = 300,
    .times = 7,
    .n_holders = 3,
    .holders = {{1000, 7, 600, {"sensor", 6}}, {1000, 8, 399, {"", 0}}, {1000, 0, 1, {"x", 1}}}};

static void assert_same(const struct quota_event *a, const struct quota_event *b)
{
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->connection_id, b->connection_id);
    assert_texts_equal(a->slot, b->slot);
    assert_int_equal(a->limit, b->limit);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->requested, b->requested);
    assert_int_equal(a->times, b->times);
    assert_int_equal(a->n_holders, b->n_holders);
    for (uint32_t i = 0; i < a->n_holders; i++) {
        assert_int_equal(a->holders[i].uid, b->holders[i].uid);
        assert_int_equal(a->holders[i].connection_id, b->holders[i].connection_id);
        assert_int_equal(a->holders[i].used, b->holders[i].used);
        assert_texts_equal(a->holders[i].name, b->holders[i].name);
    }
}

static void assert_as_schema(const struct quota_event *e)
{
    Bus__Events__QuotaEvent pb = BUS__EVENTS__QUOTA_EVENT__INIT;
    Bus__Events__QuotaHolder holders[QUOTA_HOLDERS_MAX], *list[QUOTA_HOLDERS_MAX];
    uint8_t ours[QUOTA_EVENT_MAX], theirs[QUOTA_EVENT_MAX];
    char slot[64] = "", names[QUOTA_HOLDERS_MAX][64] = {{0}};
    size_t n = quota_event_encode(e, ours);
    struct quota_event again;

    memcpy(slot, e->slot.data, e->slot.len);
    pb.uid = e->uid;
    pb.connection_id = e->connection_id;
    pb.slot = slot;
    pb.limit = e->limit;
    pb.used = e->used;
    pb.requested = e->requested;
    pb.times = e->times;
    pb.n_holders = e->n_holders;
    pb.holders = list;
    for (uint32_t i = 0; i < e->n_holders; i++) {
        memcpy(names[i], e->holders[i].name.data, e->holders[i].name.len);
        list[i] = &holders[i];
        bus__events__quota_holder__init(&holders[i]);
        holders[i].uid = e->holders[i].uid;
        holders[i].connection_id = e->holders[i].connection_id;
        holders[i].used = e->holders[i].used;
        holders[i].name = names[i];
    }
    assert_int_equal(bus__events__quota_event__pack(&pb, theirs), n);
    assert_memory_equal(ours, theirs, n);
    assert_true(quota_event_decode(ours, n, &again));
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
    uint8_t body[QUOTA_EVENT_MAX];
    struct quota_event e = full;
    char text[400];
    size_t n;

    (void) state;
    memset(text, 'x', sizeof(text));
    e.connection_id = e.limit = e.used = e.requested = e.times = UINT64_MAX;
    e.uid = UINT32_MAX;
    e.slot = (struct text){text, sizeof(text)};
    for (uint32_t i = 0; i < QUOTA_HOLDERS_MAX; i++) {
        e.holders[i] = (struct quota_holder){UINT32_MAX, UINT64_MAX, UINT64_MAX, e.slot};
    }
    n = quota_event_encode(&e, body);
    assert_true(n <= sizeof(body));
    assert_true(quota_event_decode(body, n, &e));
    assert_int_equal(e.slot.len, QUOTA_SLOT_MAX);
    assert_int_equal(e.holders[2].name.len, BUS_NAME_MAX);
}

static bool decodes(const char *bytes, size_t n)
{
    struct quota_event e;

    return quota_event_decode((const uint8_t *) bytes, n, &e);
}
#define DECODES(bytes) decodes(bytes, sizeof(bytes) - 1)

static void test_other_types_are_refused_and_unknown_fields_are_not(void **state)
{
    (void) state;
    assert_true(DECODES(""));
    assert_true(DECODES("\x48\x01"));          /* field 9 */
    assert_true(DECODES("\x42\x02\x28\x01"));  /* a holder with a field 5 */
    assert_false(DECODES("\x42"));             /* no length */
    assert_false(DECODES("\x42\x02\x08"));     /* too short */
    assert_false(DECODES("\x42\x01\x08"));     /* a holder that ends in the middle */
    assert_false(DECODES("\x40\x01"));         /* a holder that is a number */
    assert_false(DECODES("\x42\x02\x20\x01")); /* a name that is one */
    assert_false(DECODES("\x0a\x01x"));        /* a uid that is bytes */
    assert_true(DECODES("\x42\x02\x18\x01\x42\x02\x18\x01\x42\x02\x18\x01\x42\x02\x18\x01"));
}

static void test_parsed_by_applications(void **state)
{
    struct bus_quota_event e = BUS_QUOTA_EVENT_INIT;
    uint8_t body[QUOTA_EVENT_MAX];
    size_t n = quota_event_encode(&full, body);

    (void) state;
    assert_int_equal(bus_quota_event_parse(body, n, &e), 0);
    assert_int_equal(e.uid, 1000);
    assert_int_equal(e.connection_id, full.connection_id);
    assert_string_equal(e.slot, "bytes");
    assert_int_equal(e.limit, 1000);
    assert_int_equal(e.used, 999);
    assert_int_equal(e.requested, 300);
    assert_int_equal(e.times, 7);
    assert_int_equal(e.n_holders, 3);
    assert_int_equal(e.holders[0].connection_id, 7);
    assert_int_equal(e.holders[0].used, 600);
    assert_string_equal(e.holders[0].name, "sensor");
    assert_string_equal(e.holders[2].name, "x");
    assert_int_equal(bus_quota_event_parse(body, n - 1, &e), -EBADMSG);
    assert_int_equal(bus_quota_event_parse(NULL, 0, &e), -EBADMSG);
    assert_int_equal(bus_quota_event_parse(NULL, 1, &e), -EINVAL);
    e.size--;
    assert_int_equal(bus_quota_event_parse(body, n, &e), -EINVAL);
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
