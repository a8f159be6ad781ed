/* SPDX-License-Identifier: MIT */
/* The live table of bus-monitor without router and terminal: differences, order, cells; and what
 * becomes of hostile text. The files are compiled into the test, so that it needs no library of the
 * tools and can make their allocations fail. */
#include "../../tools/monitor/conversations.c"
#include "../../tools/monitor/json.c"
#include "../../tools/monitor/names.c"
#include "../../tools/monitor/safe.c"
#include "../../tools/monitor/top_model.c"
#include "../../tools/monitor/top_view.c"
#include "../../tools/monitor/words.c"
#include "support/failmalloc.h"
#include "support/unit.h"

#define SECOND UINT64_C(1000000000)

static int setup(void **state)
{
    struct top_model *m = malloc(sizeof(*m));

    if (!m) {
        return -1;
    }
    top_model_init(m);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    top_model_fini(*state);
    free(*state);
    return 0;
}

static int add_topic(struct top_model *m, uint32_t id, const char *name, uint64_t published)
{
    const struct bus_inside_topic e = {
        .id = id, .name = name, .published_messages = published, .published_bytes = published * 10};
    const struct bus_inside_entry entry = {.list = BUS_INSIDE_TOPICS, .topic = &e};

    return top_model_add(m, &entry);
}

static int add_client(struct top_model *m, uint64_t id, const char *name, uint64_t lost,
                      uint64_t queued)
{
    const struct bus_inside_client e = {.connection_id = id,
                                        .name = name,
                                        .pid = 7,
                                        .lost_messages = lost,
                                        .queued_messages = queued,
                                        .slow = queued ? BUS_SLOW_CREDIT : BUS_SLOW_NONE,
                                        .slow_ms = queued ? 3200 : 0,
                                        .slow_subscription = 2,
                                        .slow_messages = queued};
    const struct bus_inside_entry entry = {.list = BUS_INSIDE_CLIENTS, .client = &e};

    return top_model_add(m, &entry);
}

static void commit(struct top_model *m, enum bus_inside_list list, uint64_t now_ns)
{
    assert_int_equal(top_model_commit(m, list, now_ns), 0);
}

static const struct top_row *topic(const struct top_model *m, const char *name)
{
    const struct top_row *row;

    for (size_t i = 0; (row = top_model_row(m, TOP_TOPICS, i)); i++) {
        if (!strcmp(row->name, name)) {
            return row;
        }
    }
    return NULL;
}

static void assert_order(const struct top_model *m, enum top_table_id table, const char *names)
{
    char text[128] = "";
    const struct top_row *row;

    for (size_t i = 0; (row = top_model_row(m, table, i)); i++) {
        size_t at = strlen(text);

        (void) snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", row->name);
    }
    assert_string_equal(text, names);
}

static double rate(const struct top_row *row, enum top_value value)
{
    assert_non_null(row);
    assert_true(row->has_rate);
    return row->rate[value];
}

/* ---- differences ---- */

static void test_first_snapshot_has_totals_and_no_rates(void **state)
{
    struct top_model *m = *state;

    assert_int_equal(add_topic(m, 1, "a", 50), 0);
    assert_null(topic(m, "a")); /* not shown before it is complete */
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    assert_false(topic(m, "a")->has_rate);
    assert_int_equal(topic(m, "a")->total[TOP_PUB_MESSAGES], 50);
    assert_null(top_model_row(m, TOP_TOPICS, 1));
}

static void test_rates_are_differences_per_second(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 1, "a", 50);
    add_topic(m, 2, "b", 5);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    add_topic(m, 1, "a", 150);
    add_topic(m, 2, "b", 5);
    commit(m, BUS_INSIDE_TOPICS, 3 * SECOND);
    assert_float_equal(rate(topic(m, "a"), TOP_PUB_MESSAGES), 50, 1e-9);
    assert_float_equal(rate(topic(m, "a"), TOP_PUB_BYTES), 500, 1e-9);
    assert_float_equal(rate(topic(m, "b"), TOP_PUB_MESSAGES), 0, 1e-9);
}

static void test_new_row_has_counted_since_the_snapshot_before(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 2, "b", 5);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    add_topic(m, 1, "a", 30);
    add_topic(m, 2, "b", 5);
    add_topic(m, 3, "c", 60);
    commit(m, BUS_INSIDE_TOPICS, 3 * SECOND);
    assert_float_equal(rate(topic(m, "a"), TOP_PUB_MESSAGES), 15, 1e-9);
    assert_float_equal(rate(topic(m, "c"), TOP_PUB_MESSAGES), 30, 1e-9);
}

static void test_row_that_left_is_gone(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 1, "a", 5);
    add_topic(m, 2, "b", 5);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    add_topic(m, 2, "b", 6);
    commit(m, BUS_INSIDE_TOPICS, 2 * SECOND);
    assert_order(m, TOP_TOPICS, "b");
    commit(m, BUS_INSIDE_TOPICS, 3 * SECOND);
    assert_order(m, TOP_TOPICS, "");
}

static void test_reused_topic_number_is_another_topic(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 1, "old", 1000);
    add_topic(m, 2, "again", 1000);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    add_topic(m, 1, "new", 1001);
    add_topic(m, 2, "again", 7); /* ended and begun anew under the same name */
    commit(m, BUS_INSIDE_TOPICS, 2 * SECOND);
    assert_float_equal(rate(topic(m, "new"), TOP_PUB_MESSAGES), 1001, 1e-9);
    assert_float_equal(rate(topic(m, "again"), TOP_PUB_MESSAGES), 7, 1e-9);
}

static void test_entries_in_any_order_and_twice_are_one_row_each(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 3, "c", 1);
    add_topic(m, 1, "a", 1);
    add_topic(m, 3, "c", 1);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    assert_order(m, TOP_TOPICS, "a c");
}

static void test_gauges_may_fall(void **state)
{
    struct top_model *m = *state;
    const struct top_row *row;

    add_client(m, 1, "sub", 10, 500);
    commit(m, BUS_INSIDE_CLIENTS, SECOND);
    add_client(m, 1, "sub", 14, 20);
    commit(m, BUS_INSIDE_CLIENTS, 2 * SECOND);
    row = top_model_row(m, TOP_CLIENTS, 0);
    assert_float_equal(rate(row, TOP_LOST), 4, 1e-9);
    assert_int_equal(row->total[TOP_QUEUE_MESSAGES], 20);
}

static void test_counters_have_rates_from_the_second_snapshot_on(void **state)
{
    struct top_model *m = *state;

    assert_null(top_model_counter(m, "messages_published"));
    for (uint64_t i = 1; i <= 2; i++) {
        const struct bus_inside_counter c = {"messages_published", i * 100};
        const struct bus_inside_entry entry = {.list = BUS_INSIDE_COUNTERS, .counter = &c};

        assert_int_equal(top_model_add(m, &entry), 0);
        commit(m, BUS_INSIDE_COUNTERS, i * SECOND);
        assert_int_equal(top_model_counter(m, "messages_published")->has_rate, i == 2);
    }
    assert_float_equal(top_model_counter(m, "messages_published")->rate, 100, 1e-9);
}

/* ---- order ---- */

static void test_rows_are_sorted_by_the_chosen_column(void **state)
{
    struct top_model *m = *state;

    add_topic(m, 1, "b", 5);
    add_topic(m, 2, "a", 7);
    add_topic(m, 3, "c", 5);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    assert_order(m, TOP_TOPICS, "b a c"); /* no rates yet: by id */
    top_model_sort(m, TOP_TOPICS, (struct top_sort){.column = 0});
    assert_order(m, TOP_TOPICS, "a b c");
    top_model_sort(m, TOP_TOPICS, (struct top_sort){.column = 0, .reverse = true});
    assert_order(m, TOP_TOPICS, "c b a");
    top_model_sort(m, TOP_TOPICS, (struct top_sort){.column = 5});
    assert_order(m, TOP_TOPICS, "a b c");
    top_model_sort(m, TOP_TOPICS, (struct top_sort){.column = 5, .reverse = true});
    assert_order(m, TOP_TOPICS, "b c a"); /* equals keep their order */
}

static void test_order_survives_the_next_snapshot(void **state)
{
    struct top_model *m = *state;

    top_model_sort(m, TOP_TOPICS, (struct top_sort){.column = 5});
    for (uint64_t i = 1; i <= 2; i++) {
        add_topic(m, 1, "a", 10);
        add_topic(m, 2, "b", i == 1 ? 5 : 15);
        commit(m, BUS_INSIDE_TOPICS, i * SECOND);
        assert_order(m, TOP_TOPICS, i == 1 ? "a b" : "b a");
    }
}

static void test_unknown_column_sorts_by_name(void **state)
{
    struct top_model *m = *state;

    add_client(m, 1, "z", 0, 0);
    add_client(m, 2, "y", 0, 0);
    commit(m, BUS_INSIDE_CLIENTS, SECOND);
    top_model_sort(m, TOP_CLIENTS, (struct top_sort){.column = 1000});
    assert_order(m, TOP_CLIENTS, "y z");
}

static void test_without_memory_nothing_changes(void **state)
{
    struct top_model *m = *state;

    FOR_EACH_FAILING_MALLOC (n) {
        int r = add_topic(m, 1, "a", 1);

        if (r == 0) {
            r = top_model_commit(m, BUS_INSIDE_TOPICS, SECOND);
        }
        assert_true(r == 0 || r == -ENOMEM);
        if (r < 0) {
            assert_null(top_model_row(m, TOP_TOPICS, 0));
        }
    }
    assert_order(m, TOP_TOPICS, "a");
}

/* ---- cells ---- */

static void assert_number(double value, const char *text)
{
    char buffer[32];

    view_number(value, buffer, sizeof(buffer));
    assert_string_equal(buffer, text);
    assert_true(strlen(buffer) <= 6);
}

static void test_numbers_fit_into_six_columns(void **state)
{
    (void) state;
    assert_number(0, "0");
    assert_number(0.5, "0.5");
    assert_number(9.96, "10");
    assert_number(12.5, "12");
    assert_number(99999, "99999");
    assert_number(99999.7, "100.0k");
    assert_number(999949, "999.9k");
    assert_number(999951, "1.0M");
    assert_number(1.5e9, "1.5G");
    assert_number(18446744073709551615.0, "18.4E");
}

static void assert_fit(const char *text, int width, enum safe_charset charset, const char *expected)
{
    char buffer[VIEW_CELL_BYTES];

    view_fit(text, width, charset, buffer);
    assert_string_equal(buffer, expected);
}

static void test_text_is_fitted_and_made_harmless(void **state)
{
    (void) state;
    assert_fit("abc", 5, SAFE_ASCII, "abc  ");
    assert_fit("abcdef", 6, SAFE_ASCII, "abcdef");
    assert_fit("sensors/kitchen/temperature", 12, SAFE_ASCII, "sens~erature");
    assert_fit("x\033[2Jy", 10, SAFE_ASCII, "x\\e[2Jy   ");
    assert_fit("\xc3\xa9", 8, SAFE_ASCII, "\\xe9    ");
    assert_fit("abc", 0, SAFE_ASCII, "");
    assert_fit("abc", 1, SAFE_ASCII, "~");
}

static void test_tables_show_every_row(void **state)
{
    struct top_model *m = *state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    add_topic(m, 1, "a/long/topic/name", 3);
    add_client(m, 12, "sub", 4, 500);
    commit(m, BUS_INSIDE_TOPICS, SECOND);
    commit(m, BUS_INSIDE_CLIENTS, SECOND);
    view_print(out, m, SAFE_ASCII);
    (void) fclose(out);
    assert_non_null(strstr(text, "\na/long/topic/name      -      -      -      -      3      0"));
    assert_non_null(strstr(text, "\nsub#12 "));
    free(text);
}

/* ---- text of others ---- */

static void assert_json(const char *data, size_t n, const char *expected)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    json_string(out, data, n);
    (void) fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void test_json_strings_are_valid_and_harmless(void **state)
{
    (void) state;
    assert_json("a\"b\\c\n", 6, "\"a\\\"b\\\\c\\n\"");
    assert_json("\0\033\x7f", 3, "\"\\u0000\\u001b\\u007f\"");
    assert_json("\xc3\xa9", 2, "\"\xc3\xa9\"");
    assert_json("\xc2\x9b", 2, "\"\\u009b\"");
    assert_json("\xe2\x80\xae", 3, "\"\\u202e\"");
    assert_json("\xf3\xa0\x80\x81", 4, "\"\\udb40\\udc01\"");
    assert_json("\xff", 1, "\"\\ufffd\"");
}

static void test_base64_is_padded(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    (void) state;
    assert_non_null(out);
    json_base64(out, "\xff\x00\x01\x02", 4);
    json_base64(out, "ab", 2);
    json_base64(out, "", 0);
    (void) fclose(out);
    assert_string_equal(text, "\"/wABAg==\"\"YWI=\"\"\"");
    free(text);
}

static void test_utf8_is_told_from_other_bytes(void **state)
{
    size_t n = 99;

    (void) state;
    assert_true(utf8_valid("\xe2\x82\xac", 3, false, &n));
    assert_int_equal(n, 3);
    assert_false(utf8_valid("a\xe2\x82", 3, false, &n)); /* unfinished */
    assert_true(utf8_valid("a\xe2\x82", 3, true, &n));   /* unfinished because it was cut */
    assert_int_equal(n, 1);
    assert_false(utf8_valid("\xc0\x80", 2, true, &n));         /* overlong */
    assert_false(utf8_valid("\xed\xa0\x80", 3, true, &n));     /* surrogate */
    assert_false(utf8_valid("\xf4\x90\x80\x80", 4, true, &n)); /* beyond U+10FFFF */
    assert_true(safe_is_readable("a\tb\r\n", 5));
    assert_false(safe_is_readable("a\033b", 3));
    assert_false(safe_is_readable("a\0b", 3));
    assert_false(safe_is_readable("\xc2\x9b", 2)); /* CSI in one character */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- conversations ---- */

static uint64_t note(struct conversations *c, enum bus_record_kind kind, uint64_t call,
                     uint64_t time_ns)
{
    struct bus_record record = {.kind = kind, .call = call, .time_ns = time_ns};

    return conversations_note(c, &record);
}

static void test_conversations_know_how_long_they_take(void **state)
{
    struct conversations c;

    (void) state;
    assert_true(conversations_init(&c));
    assert_int_equal(note(&c, BUS_RECORD_PUBLISH, 0, 5), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_REQUEST, 1, 10), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_REQUEST, 2, 12), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_REPLY_MORE, 1, 15), 5);
    assert_int_equal(note(&c, BUS_RECORD_REPLY, 2, 15), 3);
    assert_int_equal(note(&c, BUS_RECORD_REPLY, 1, 9), CONVERSATION_UNKNOWN); /* set back */
    assert_int_equal(note(&c, BUS_RECORD_END, 1, 20), 10);
    assert_int_equal(note(&c, BUS_RECORD_END, 1, 20), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_END, 3, 20), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_END, 0, 20), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, (enum bus_record_kind) 99, 2, 20), CONVERSATION_UNKNOWN);
    conversations_fini(&c);
}

static void test_old_conversations_are_forgotten(void **state)
{
    struct conversations c;

    (void) state;
    assert_true(conversations_init(&c));
    for (uint64_t call = 1; call <= CONVERSATIONS_MAX + 1; call++) {
        (void) note(&c, BUS_RECORD_REQUEST, call, call);
    }
    assert_int_equal(note(&c, BUS_RECORD_REPLY, 1, 1u << 20), CONVERSATION_UNKNOWN);
    assert_int_equal(note(&c, BUS_RECORD_REPLY, 2, 1u << 20), (1u << 20) - 2);
    conversations_fini(&c);
}

static void test_groups_quotas_and_who_is_slow(void **state)
{
    struct top_model *m = *state;
    const struct bus_inside_group g = {
        .filter = "jobs/#", .name = "w", .members = 2, .queued_messages = 5};
    const struct bus_inside_quota quotas[] = {
        {.is_total = 1, .slot = "bytes", .used = 10, .limit = 100},
        {.uid = 1000, .slot = "topics", .used = 0, .limit = 5},
        {.uid = 1000, .slot = "requests", .used = 5, .limit = 5}};
    const struct bus_inside_entry group = {.list = BUS_INSIDE_GROUPS, .group = &g};
    const struct top_row *row;

    assert_int_equal(top_model_add(m, &group), 0);
    commit(m, BUS_INSIDE_GROUPS, SECOND);
    row = top_model_row(m, TOP_GROUPS, 0);
    assert_string_equal(row->name, "w of jobs/#");
    assert_int_equal(row->total[TOP_MEMBERS], 2);
    assert_int_equal(row->total[TOP_QUEUE_MESSAGES], 5);
    for (size_t i = 0; i < 3; i++) {
        const struct bus_inside_entry quota = {.list = BUS_INSIDE_QUOTAS, .quota = &quotas[i]};

        assert_int_equal(top_model_add(m, &quota), 0);
    }
    commit(m, BUS_INSIDE_QUOTAS, SECOND);
    row = top_model_row(m, TOP_QUOTAS, 0); /* the fullest first */
    assert_string_equal(row->name, "1000: requests");
    assert_int_equal(row->total[TOP_PERCENT], 100);
    assert_string_equal(top_model_row(m, TOP_QUOTAS, 1)->name, "all: bytes");
    assert_null(top_model_row(m, TOP_QUOTAS, 2)); /* nothing is used of it */
    assert_int_equal(add_client(m, 1, "fast", 0, 0), 0);
    assert_int_equal(add_client(m, 2, "slow", 0, 120), 0);
    commit(m, BUS_INSIDE_CLIENTS, SECOND);
    assert_null(top_model_row(m, TOP_CLIENTS, 0)->note);
    assert_string_equal(top_model_row(m, TOP_CLIENTS, 1)->note, "credit:3.2s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_first_snapshot_has_totals_and_no_rates),
        CASE(test_rates_are_differences_per_second),
        CASE(test_new_row_has_counted_since_the_snapshot_before),
        CASE(test_row_that_left_is_gone),
        CASE(test_reused_topic_number_is_another_topic),
        CASE(test_entries_in_any_order_and_twice_are_one_row_each),
        CASE(test_gauges_may_fall),
        CASE(test_counters_have_rates_from_the_second_snapshot_on),
        CASE(test_groups_quotas_and_who_is_slow),
        CASE(test_rows_are_sorted_by_the_chosen_column),
        CASE(test_order_survives_the_next_snapshot),
        CASE(test_unknown_column_sorts_by_name),
        CASE(test_without_memory_nothing_changes),
        CASE(test_tables_show_every_row),
        cmocka_unit_test(test_numbers_fit_into_six_columns),
        cmocka_unit_test(test_text_is_fitted_and_made_harmless),
        cmocka_unit_test(test_json_strings_are_valid_and_harmless),
        cmocka_unit_test(test_base64_is_padded),
        cmocka_unit_test(test_utf8_is_told_from_other_bytes),
        cmocka_unit_test(test_conversations_know_how_long_they_take),
        cmocka_unit_test(test_old_conversations_are_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
