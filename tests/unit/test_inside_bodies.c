/* SPDX-License-Identifier: MIT */
/* What the router says of itself, written and read by hand, is what protobuf-c makes of
 * schemas/inside.proto, whatever is in it. */
#include "inside.pb-c.h"
#include "support/unit.h"
#include "wire/inside.h"

/* How protobuf-c describes a message, and the same of ours. */
struct both {
    const ProtobufCMessageDescriptor *theirs;
    const struct inside_layout *ours;
};

static struct both messages[10];
#define N_MESSAGES ARRAY_LEN(messages)

static void messages_init(void)
{
    const struct both all[N_MESSAGES] = {
        {&bus__inside__client__descriptor, inside_layout_of(BUS_INSIDE_CLIENTS)},
        {&bus__inside__topic__descriptor, inside_layout_of(BUS_INSIDE_TOPICS)},
        {&bus__inside__subscription__descriptor, inside_layout_of(BUS_INSIDE_SUBSCRIPTIONS)},
        {&bus__inside__group__descriptor, inside_layout_of(BUS_INSIDE_GROUPS)},
        {&bus__inside__quota__descriptor, inside_layout_of(BUS_INSIDE_QUOTAS)},
        {&bus__inside__closed__descriptor, inside_layout_of(BUS_INSIDE_CLOSED)},
        {&bus__inside__counter__descriptor, inside_layout_of(BUS_INSIDE_COUNTERS)},
        {&bus__inside__query__descriptor, &inside_query_layout},
        {&bus__inside__disconnect__descriptor, &inside_disconnect_layout},
        {&bus__inside__controlled__descriptor, &inside_controlled_layout},
    };

    memcpy(messages, all, sizeof(messages));
}

union any {
    union inside_any entry;
    struct inside_query query;
    struct inside_disconnect disconnect;
    struct inside_controlled controlled;
};

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

/* The same random content in both. */
static void fill(struct rng *rng, const struct both *b, union any *ours, ProtobufCMessage *theirs)
{
    protobuf_c_message_init(b->theirs, theirs);
    for (unsigned i = 0; i < b->ours->n_fields; i++) {
        const struct inside_field *f = &b->ours->fields[i];
        const ProtobufCFieldDescriptor *d =
            protobuf_c_message_descriptor_get_field(b->theirs, f->number);
        char *to = (char *) ours + f->at, *at = (char *) theirs + d->offset;

        if (f->is_text) {
            const char *text = letters + rng_below(rng, sizeof(letters));
            struct text t = text_from(text);

            memcpy(to, &t, sizeof(t));
            memcpy(at, &text, sizeof(text));
        } else {
            uint64_t v = rng_below(rng, 3) ? rng_magnitude(rng) : 0;

            memcpy(to, &v, sizeof(v));
            memcpy(at, &v, sizeof(v));
        }
    }
}

static void test_the_fields_are_those_of_the_schema(void **state)
{
    (void) state;
    messages_init();
    for (unsigned k = 0; k < N_MESSAGES; k++) {
        assert_int_equal(messages[k].theirs->n_fields, messages[k].ours->n_fields);
        for (unsigned i = 0; i < messages[k].ours->n_fields; i++) {
            const struct inside_field *f = &messages[k].ours->fields[i];
            const ProtobufCFieldDescriptor *d =
                protobuf_c_message_descriptor_get_field(messages[k].theirs, f->number);

            assert_non_null(d);
            assert_int_equal(d->type, f->is_text ? PROTOBUF_C_TYPE_STRING : PROTOBUF_C_TYPE_UINT64);
        }
    }
}

static void test_written_as_the_schema_says_and_read_again(void **state)
{
    struct rng rng = rng_from_env();

    (void) state;
    messages_init();
    for (unsigned turn = 0; turn < 500; turn++) {
        const struct both *b = &messages[turn % N_MESSAGES];
        uint64_t space[512]; /* for any of them */
        ProtobufCMessage *theirs = (ProtobufCMessage *) (void *) space;
        uint8_t ours[2048], due[2048];
        union any any, again;
        size_t n;

        assert_true(b->theirs->sizeof_message <= sizeof(space));
        fill(&rng, b, &any, theirs);
        n = inside_encode(b->ours, &any, ours, sizeof(ours));
        assert_int_equal(protobuf_c_message_pack(theirs, due), n);
        assert_memory_equal(ours, due, n);
        assert_true(n == 0 || inside_encode(b->ours, &any, ours, n - 1) == 0); /* no room */
        assert_true(inside_decode(b->ours, ours, n, &again));
        memset(due, 0, sizeof(due));
        assert_int_equal(inside_encode(b->ours, &again, due, sizeof(due)), n);
        assert_memory_equal(ours, due, n);
    }
}

static void test_pages(void **state)
{
    const struct inside_layout *layout = inside_layout_of(BUS_INSIDE_COUNTERS);
    uint8_t body[64];
    struct inside_page page = {body, sizeof(body), 0};
    struct inside_counter c = {text_from("counter"), 300};
    struct inside_page_reader reader = {0};
    Bus__Inside__CounterPage *theirs;
    unsigned n = 0;

    (void) state;
    while (inside_page_add(&page, layout, &c)) {
        n++;
    }
    assert_int_equal(n, 2); /* 14 bytes each, and 24 for the end */
    inside_page_end(&page, UINT64_MAX, UINT64_MAX);
    assert_true(page.len <= sizeof(body));
    theirs = bus__inside__counter_page__unpack(NULL, page.len, body);
    assert_non_null(theirs);
    assert_int_equal(theirs->n_entries, 2);
    assert_string_equal(theirs->entries[1]->name, "counter");
    assert_true(theirs->next == UINT64_MAX && theirs->time_ns == UINT64_MAX);
    bus__inside__counter_page__free_unpacked(theirs, NULL);
    reader.in = (struct pb_reader){body, body + page.len};
    while (inside_page_next(&reader, layout, &c) == INSIDE_ENTRY) {
        assert_int_equal(c.value, 300);
        n--;
    }
    assert_int_equal(n, 0);
    assert_true(reader.next == UINT64_MAX && reader.time_ns == UINT64_MAX);
}

static enum inside_step step_of(const char *bytes, size_t n)
{
    struct inside_page_reader reader = {
        .in = {(const uint8_t *) bytes, (const uint8_t *) bytes + n}};
    union inside_any any;

    return inside_page_next(&reader, inside_layout_of(BUS_INSIDE_COUNTERS), &any);
}
#define STEP_OF(bytes) step_of(bytes, sizeof(bytes) - 1)

static void test_what_is_wrong_is_refused_and_what_is_unknown_ignored(void **state)
{
    (void) state;
    assert_int_equal(STEP_OF(""), INSIDE_END);
    assert_int_equal(STEP_OF("\x10\x05"), INSIDE_END);
    assert_int_equal(STEP_OF("\x0a\x00"), INSIDE_ENTRY);
    assert_int_equal(STEP_OF("\x7a\x01x\x0a\x02\x10\x01"), INSIDE_ENTRY); /* field 15 */
    assert_int_equal(STEP_OF("\x0a\x03\x78\x01\x7f"), INSIDE_MALFORMED);
    assert_int_equal(STEP_OF("\x0a\x02\x78\x01"), INSIDE_ENTRY);
    assert_int_equal(STEP_OF("\x0a\x05\x10\x01"), INSIDE_MALFORMED); /* longer than all */
    assert_int_equal(STEP_OF("\x0a\x02\x08\x01"), INSIDE_MALFORMED); /* a number for a text */
    assert_int_equal(STEP_OF("\x08\x01"), INSIDE_MALFORMED);         /* the same of the page */
    assert_int_equal(STEP_OF("\x12\x01x"), INSIDE_MALFORMED);
    assert_int_equal(STEP_OF("\x80"), INSIDE_MALFORMED);
    assert_int_equal(STEP_OF("\x02\x00"), INSIDE_MALFORMED); /* field 0 */
}

static void test_topics_stand_for_lists_and_controls(void **state)
{
    (void) state;
    assert_int_equal(inside_list_of(text_from("$bus/clients")), BUS_INSIDE_CLIENTS);
    assert_int_equal(inside_list_of(text_from("$bus/counters")), BUS_INSIDE_COUNTERS);
    assert_int_equal(inside_list_of(text_from("$bus/client")), 0);
    assert_int_equal(inside_list_of(text_from("$bus/clientsx")), 0);
    assert_int_equal(inside_control_of(text_from("$bus/control/drain")), INSIDE_DRAIN);
    assert_int_equal(inside_control_of(text_from("$bus/control")), 0);
    assert_null(inside_layout_of(0));
    assert_null(inside_layout_of(BUS_INSIDE_LISTS_END));
    assert_null(inside_layout_of(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_fields_are_those_of_the_schema),
        cmocka_unit_test(test_written_as_the_schema_says_and_read_again),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_what_is_wrong_is_refused_and_what_is_unknown_ignored),
        cmocka_unit_test(test_topics_stand_for_lists_and_controls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
