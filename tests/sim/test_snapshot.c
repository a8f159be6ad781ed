/* SPDX-License-Identifier: MIT */
/* SNAPSHOT: what is in the lists, and that they come in parts. docs/protocol.md, section 9. */
#include "core/router.h"
#include "support/world.h"

static void ask(struct world *w, struct sim_client *c, uint32_t kind, uint64_t after,
                uint32_t limit)
{
    struct wire_snapshot m = {kind, after, limit};

    sim_send(&w->s, c, VERB_SNAPSHOT, &m, NULL, 0);
}

static void test_clients_are_listed_by_connection_id_in_parts(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *second = world_join(w);

    (void) world_join(w);
    (void) world_join(w);
    ask(w, c, BUS_SNAPSHOT_CLIENTS, 0, 0);
    world_expect(w, c,
                 "CLIENT_STATS 1\nCLIENT_STATS 2\nCLIENT_STATS 3\nCLIENT_STATS 4\n"
                 "SNAPSHOT_END 1 0\n");
    ask(w, c, BUS_SNAPSHOT_CLIENTS, 0, 2);
    world_expect(w, c, "CLIENT_STATS 1\nCLIENT_STATS 2\nSNAPSHOT_END 1 2\n");
    sim_disconnect(&w->s, second); /* between the parts */
    ask(w, c, BUS_SNAPSHOT_CLIENTS, 2, 2);
    world_expect(w, c, "CLIENT_STATS 3\nCLIENT_STATS 4\nSNAPSHOT_END 1 0\n");
    ask(w, c, BUS_SNAPSHOT_CLIENTS, UINT64_MAX, 2);
    world_expect(w, c, "SNAPSHOT_END 1 0\n");
}

static void test_clients_that_have_not_greeted_are_not_listed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    assert_non_null(sim_attach(&w->s, true));
    ask(w, c, BUS_SNAPSHOT_CLIENTS, 0, 0);
    world_expect(w, c, "CLIENT_STATS 1\nSNAPSHOT_END 1 0\n");
}

static void test_topics_are_listed_by_number_in_parts(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct world *w = *state;
    struct sim_client *c = world_join(w), *p = world_join(w);
    struct wire_unadvertise hole = {2};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        sim_advertise(&w->s, p, i, names[i]);
    }
    sim_send(&w->s, p, VERB_UNADVERTISE, &hole, NULL, 0);
    ask(w, c, BUS_SNAPSHOT_TOPICS, 0, 2);
    world_expect(w, c, "TOPIC_STATS a\nTOPIC_STATS c\nSNAPSHOT_END 2 3\n");
    ask(w, c, BUS_SNAPSHOT_TOPICS, 3, 2);
    world_expect(w, c, "TOPIC_STATS d\nTOPIC_STATS e\nSNAPSHOT_END 2 0\n");
    ask(w, c, BUS_SNAPSHOT_TOPICS, 0, 0);
    world_expect(w, c,
                 "TOPIC_STATS a\nTOPIC_STATS c\nTOPIC_STATS d\nTOPIC_STATS e\n"
                 "SNAPSHOT_END 2 0\n");
    ask(w, c, BUS_SNAPSHOT_TOPICS, UINT64_MAX, 0);
    world_expect(w, c, "SNAPSHOT_END 2 0\n");
}

#define X(name, unit, meaning) "COUNTER " #name "\n"
static const char all_counters[] = COUNTERS(X);
#undef X
#define X(name, unit, meaning) +1
enum { N_COUNTERS = COUNTERS(X) };
#undef X

static void test_every_counter_is_listed(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    ask(w, c, BUS_SNAPSHOT_COUNTERS, 0, 0);
    sim_read(&w->s, c, 100);
    assert_int_equal(c->snapshot_end.next, 0);
    strcpy(strstr(w->text[c - w->s.clients], "SNAPSHOT_END"), "");
    assert_string_equal(w->text[c - w->s.clients], all_counters);
}

static void test_counters_come_in_parts_too(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);
    char whole[WORLD_TEXT];
    size_t len = 0;
    uint64_t after = 0;
    unsigned parts = 0;

    do {
        char *text = w->text[c - w->s.clients], *end;

        ask(w, c, BUS_SNAPSHOT_COUNTERS, after, 7);
        sim_read(&w->s, c, 100);
        end = strstr(text, "SNAPSHOT_END");
        assert_non_null(end);
        memcpy(whole + len, text, (size_t) (end - text));
        len += (size_t) (end - text);
        world_clear(w, c);
        after = c->snapshot_end.next;
    } while (after != 0 && ++parts < 100);
    whole[len] = '\0';
    assert_int_equal(parts, (N_COUNTERS - 1) / 7);
    assert_string_equal(whole, all_counters);
}

static struct wire_client_stats client_stats;
static struct wire_topic_stats topic_stats;
static uint64_t counter_value;

static void keep_stats(struct sim *s, struct sim_client *c, const struct frame *f,
                       const union wire_any *m)
{
    (void) s;
    (void) c;
    if (f->verb == VERB_CLIENT_STATS) {
        client_stats = m->client_stats;
    } else if (f->verb == VERB_TOPIC_STATS) {
        topic_stats = m->topic_stats;
    } else if (f->verb == VERB_COUNTER && m->counter.name.len == 18 &&
               memcmp(m->counter.name.data, "messages_published", 18) == 0) {
        counter_value = m->counter.value;
    }
}

static void test_numbers_of_clients_and_topics_are_what_happened(void **state)
{
    struct world *w = *state;
    struct sim_client *watch = world_join(w), *p = world_join(w), *c = world_join(w);

    sim_advertise(&w->s, p, 0, "a");
    world_subscribe(w, c, 0,
                    &(struct world_sub){"a", BUS_POLICY_DROP_NEWEST, .window = 3, .queue = 2});
    world_publish_n(w, p, "a", 9);
    assert_false(world_publish_bytes(w, p, "+", 10));
    w->s.on_frame = keep_stats;
    ask(w, watch, BUS_SNAPSHOT_CLIENTS, 1, 1);
    sim_read(&w->s, watch, 100);
    assert_int_equal(client_stats.connection_id, 2);
    assert_int_equal(client_stats.uid, 1000);
    assert_int_equal(client_stats.published_messages, 9);
    assert_int_equal(client_stats.published_bytes, 90);
    assert_int_equal(client_stats.refused_messages, 1);
    assert_int_equal(client_stats.aliases, 1);
    assert_int_equal(client_stats.delivered_messages, 0);
    ask(w, watch, BUS_SNAPSHOT_CLIENTS, 2, 1);
    sim_read(&w->s, watch, 100);
    assert_int_equal(client_stats.delivered_messages, 3);
    assert_int_equal(client_stats.delivered_bytes, 30);
    assert_int_equal(client_stats.queued_messages, 2);
    assert_int_equal(client_stats.queued_bytes, 20);
    assert_int_equal(client_stats.lost_messages, 4);
    assert_int_equal(client_stats.subscriptions, 1);
    assert_true(client_stats.charged_bytes > 1000);
    ask(w, watch, BUS_SNAPSHOT_TOPICS, 0, 0);
    ask(w, watch, BUS_SNAPSHOT_COUNTERS, 0, 0);
    sim_read(&w->s, watch, 100);
    assert_int_equal(topic_stats.published_messages, 9);
    assert_int_equal(topic_stats.published_bytes, 90);
    assert_int_equal(topic_stats.delivered_messages, 3);
    assert_int_equal(topic_stats.lost_messages, 4);
    assert_int_equal(topic_stats.publishers, 1);
    assert_int_equal(topic_stats.subscriptions, 1);
    assert_int_equal(counter_value, 9);
    sim_settle(&w->s);
}

static void test_snapshot_is_for_the_routers_user_and_root(void **state)
{
    struct world *w = *state;
    struct sim_client *c;

    w->s.uid = 1001;
    c = world_join(w);
    for (uint32_t kind = 1; kind <= 4; kind++) {
        ask(w, c, kind, 0, 0);
        world_expect(w, c, "STATUS DENIED SNAPSHOT\n");
    }
    w->s.uid = 0;
    c = world_join(w);
    ask(w, c, BUS_SNAPSHOT_TOPICS, 0, 0);
    world_expect(w, c, "SNAPSHOT_END 2 0\n");
}

static void test_unknown_kind_is_refused(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w);

    ask(w, c, 0, 0, 0);
    ask(w, c, 4, 0, 0);
    world_expect(w, c, "STATUS INVALID_ARGUMENT SNAPSHOT\nSTATUS INVALID_ARGUMENT SNAPSHOT\n");
}

static void test_monitor_and_subscriber_may_ask_too(void **state)
{
    struct world *w = *state;
    struct sim_client *m = world_join(w), *c = world_join(w);
    struct wire_monitor monitor = {0};

    sim_send(&w->s, m, VERB_MONITOR, &monitor, NULL, 0);
    ask(w, m, BUS_SNAPSHOT_TOPICS, 0, 0);
    world_expect(w, m, "STATUS OK MONITOR\nSNAPSHOT_END 2 0\n");
    world_subscribe(w, c, 0, &(struct world_sub){"a", BUS_POLICY_LATEST, .window = 1, .queue = 1});
    ask(w, c, BUS_SNAPSHOT_TOPICS, 0, 0);
    world_expect(w, c, "SNAPSHOT_END 2 0\n");
}

static void test_at_most_1000_entries_come_at_once(void **state)
{
    struct limits limits = sim_small_limits();
    struct sim_client *c, *p;
    struct world *w;
    unsigned n = 0;

    (void) state;
    limits.aliases_max = 2000;
    limits.client_bytes_max = 16 * MIB;
    w = world_new(&limits);
    c = world_join(w);
    p = world_join(w);
    for (uint32_t i = 1; i <= 1500; i++) {
        char name[16];
        struct wire_advertise m = {i, {name, (size_t) snprintf(name, sizeof(name), "t/%u", i)}};

        sim_send(&w->s, p, VERB_ADVERTISE, &m, NULL, 0);
    }
    ask(w, c, BUS_SNAPSHOT_TOPICS, 0, 5000);
    sim_read(&w->s, c, 1000);
    assert_int_equal(c->snapshot_end.next, 1000);
    for (const char *at = w->text[c - w->s.clients]; (at = strstr(at, "TOPIC_STATS")); at++) {
        n++;
    }
    assert_int_equal(n, 1000);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_clients_are_listed_by_connection_id_in_parts),
        WORLD_CASE(test_clients_that_have_not_greeted_are_not_listed),
        WORLD_CASE(test_topics_are_listed_by_number_in_parts),
        WORLD_CASE(test_every_counter_is_listed),
        WORLD_CASE(test_counters_come_in_parts_too),
        WORLD_CASE(test_numbers_of_clients_and_topics_are_what_happened),
        WORLD_CASE(test_snapshot_is_for_the_routers_user_and_root),
        WORLD_CASE(test_unknown_kind_is_refused),
        WORLD_CASE(test_monitor_and_subscriber_may_ask_too),
        cmocka_unit_test(test_at_most_1000_entries_come_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
