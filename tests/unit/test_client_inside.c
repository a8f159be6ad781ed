/* SPDX-License-Identifier: MIT */
/* Asking a router about itself with the client library, against one that says what the test wants.
 */
#include <bus/inside.h>
#include "client/conn.h"
#include "support/failmalloc.h"
#include "unit/test_client_fake.h"
#include "wire/inside.h"

/* What the callbacks were told. */
struct seen {
    struct fake *f;
    unsigned n_entries, n_ends;
    uint64_t sum; /* of the values of counters */
    enum bus_status status;
    uint32_t error;
    char text[300], name[300];
    bool closes; /* at the first entry */
};

static void on_entry(struct bus_conn *conn, const struct bus_inside_entry *entry,
                     enum bus_status status, const char *text, void *userdata)
{
    struct seen *s = userdata;

    if (!entry) {
        s->n_ends++;
        s->status = status;
        snprintf(s->text, sizeof(s->text), "%s", text);
        return;
    }
    assert_int_equal(entry->list, BUS_INSIDE_COUNTERS);
    assert_int_equal(entry->time_ns, 77);
    assert_null(entry->client);
    s->n_entries++;
    s->sum += entry->counter->value;
    snprintf(s->name, sizeof(s->name), "%s", entry->counter->name);
    if (s->closes) {
        s->f->conn = NULL;
        bus_close(conn);
    }
}

static void on_done(struct bus_conn *conn, const struct bus_control_result *r, void *userdata)
{
    struct seen *s = userdata;

    (void) conn;
    s->n_ends++;
    s->status = r->status;
    s->error = r->error;
    snprintf(s->text, sizeof(s->text), "%s", r->text);
}

static struct seen *start(struct seen *s, struct fake *f)
{
    *s = (struct seen){.f = f};
    fake_start(f);
    fake_bind_peer(f, 1, "bus-router");
    return s;
}

static void say_page(struct fake *f, uint32_t call, unsigned n, uint64_t next)
{
    struct wire_answer m = {.call = call, .sender = 1, .time = 1};
    const struct inside_counter c = {text_from("some_counter"), 5};
    uint8_t body[4096];
    struct inside_page page = {body, sizeof(body), 0};

    while (n-- > 0) {
        assert_true(inside_page_add(&page, inside_layout_of(BUS_INSIDE_COUNTERS), &c));
    }
    inside_page_end(&page, next, 77);
    fake_say_body(f, VERB_ANSWER, &m, body, page.len);
}

static struct inside_query hear_query(struct fake *f, const char *topic, uint32_t *ret_call)
{
    struct inside_query q;
    struct frame frame;
    union wire_any m = fake_hear_frame(f, VERB_REQUEST, &frame);

    assert_text(m.request.topic, topic);
    assert_true(inside_decode(&inside_query_layout, frame.body, frame.body_bytes, &q));
    *ret_call = m.request.call;
    return q;
}

static void test_a_list_is_asked_for_page_by_page(void **state)
{
    struct bus_inside_opts opts = BUS_INSIDE_OPTS_INIT;
    struct fake *f = *state;
    struct inside_query q;
    uint32_t call;
    struct seen s;

    start(&s, f);
    opts.page = 3;
    opts.connection_id = 9;
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_COUNTERS, &opts, on_entry, &s), 0);
    q = hear_query(f, "$bus/counters", &call);
    assert_true(q.after == 0 && q.limit == 3 && q.connection_id == 9);
    say_page(f, call, 3, 40);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_entries, 3);
    assert_int_equal(s.n_ends, 0);
    q = hear_query(f, "$bus/counters", &call);
    assert_true(q.after == 40 && q.limit == 3 && q.connection_id == 9);
    say_page(f, call, 0, 41); /* a page may be empty */
    assert_int_equal(fake_settle(f), 0);
    q = hear_query(f, "$bus/counters", &call);
    assert_int_equal(q.after, 41);
    say_page(f, call, 2, 0);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_entries, 5);
    assert_int_equal(s.sum, 25);
    assert_string_equal(s.name, "some_counter");
    assert_int_equal(s.n_ends, 1);
    assert_int_equal(s.status, BUS_STATUS_OK);
    fake_hear_nothing(f);
}

static void test_a_router_that_never_ends_is_not_followed(void **state)
{
    struct fake *f = *state;
    uint32_t call;
    struct seen s;

    start(&s, f);
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_COUNTERS, NULL, on_entry, &s), 0);
    (void) hear_query(f, "$bus/counters", &call);
    say_page(f, call, 1, 7);
    assert_int_equal(fake_settle(f), 0);
    (void) hear_query(f, "$bus/counters", &call);
    say_page(f, call, 1, 7);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_ends, 1);
    assert_int_equal(s.status, BUS_STATUS_MALFORMED);
}

static void test_refusals_and_nonsense_end_it(void **state)
{
    struct wire_answer answer = {.sender = 1, .time = 1};
    struct wire_done done = {.status = BUS_STATUS_DENIED, .text = text_from("no right")};
    struct fake *f = *state;
    struct seen s;

    start(&s, f);
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_CLIENTS, NULL, on_entry, &s), 0);
    (void) hear_query(f, "$bus/clients", &done.call);
    fake_say(f, VERB_DONE, &done);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.status, BUS_STATUS_DENIED);
    assert_string_equal(s.text, "no right");
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_CLIENTS, NULL, on_entry, &s), 0);
    (void) hear_query(f, "$bus/clients", &answer.call);
    fake_say_body(f, VERB_ANSWER, &answer, "\x08", 1);
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.status, BUS_STATUS_MALFORMED);
    assert_int_equal(s.n_ends, 2);
    assert_int_equal(s.n_entries, 0);
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_CLIENTS, NULL, on_entry, &s), 0);
    fake_hang_up(f);
    (void) fake_settle(f);
    assert_int_equal(s.n_ends, 3);
    assert_int_equal(s.status, BUS_STATUS_DISCONNECTED);
}

static void test_closing_within_the_callback(void **state)
{
    struct fake *f = *state;
    uint32_t call;
    struct seen s;

    start(&s, f);
    s.closes = true;
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_TOPICS, NULL, on_entry, &s), 0);
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_COUNTERS, NULL, on_entry, &s), 0);
    (void) hear_query(f, "$bus/topics", &call);
    (void) hear_query(f, "$bus/counters", &call);
    say_page(f, call, 3, 1);
    fake_send(f);
    (void) bus_process(f->conn);
    assert_int_equal(s.n_entries, 1);
    assert_int_equal(s.n_ends, 0);
}

static void test_arguments(void **state)
{
    struct bus_control_opts control = BUS_CONTROL_OPTS_INIT;
    struct bus_inside_opts opts = BUS_INSIDE_OPTS_INIT;
    struct fake *f = *state;
    char text[257];
    struct seen s;

    start(&s, f);
    memset(text, 'x', 256);
    text[256] = '\0';
    assert_int_equal(bus_inside(f->conn, (enum bus_inside_list) 0, NULL, on_entry, &s), -EINVAL);
    assert_int_equal(bus_inside(f->conn, (enum bus_inside_list) 8, NULL, on_entry, &s), -EINVAL);
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_CLIENTS, NULL, NULL, &s), -EINVAL);
    opts.size++;
    assert_int_equal(bus_inside(f->conn, BUS_INSIDE_CLIENTS, &opts, on_entry, &s), -EINVAL);
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_RELOAD, NULL, NULL, &s), -EINVAL);
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_DISCONNECT, NULL, on_done, &s),
                     -EINVAL);
    control.connection_id = 4;
    control.text = text;
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_DISCONNECT, &control, on_done, &s),
                     -EMSGSIZE);
    assert_int_equal(bus_inside_parse((enum bus_inside_list) 0, "", 0, NULL, &s, NULL), -EINVAL);
    assert_string_equal(bus_slow_text(BUS_SLOW_LINK), "does not read its socket");
    assert_string_equal(bus_slow_text((enum bus_slow) 99), "unknown");
    fake_hear_nothing(f);
}

static void test_controls(void **state)
{
    struct bus_control_opts opts = BUS_CONTROL_OPTS_INIT;
    const struct inside_controlled wrong = {text_from("a.conf:1:1: what is that?")};
    struct wire_answer answer = {.sender = 1, .time = 1, .error = 1};
    struct inside_disconnect d;
    struct fake *f = *state;
    struct frame frame;
    union wire_any m;
    uint8_t body[64];
    struct seen s;

    start(&s, f);
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_RELOAD, NULL, on_done, &s), 0);
    m = fake_hear_frame(f, VERB_REQUEST, &frame);
    assert_text(m.request.topic, "$bus/control/reload");
    assert_int_equal(frame.body_bytes, 0);
    answer.call = m.request.call;
    fake_say_body(f, VERB_ANSWER, &answer, body,
                  inside_encode(&inside_controlled_layout, &wrong, body, sizeof(body)));
    assert_int_equal(fake_settle(f), 0);
    assert_int_equal(s.n_ends, 1);
    assert_int_equal(s.status, BUS_STATUS_OK);
    assert_int_equal(s.error, 1);
    assert_string_equal(s.text, "a.conf:1:1: what is that?");
    opts.connection_id = 12;
    opts.text = "go";
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_DISCONNECT, &opts, on_done, &s), 0);
    m = fake_hear_frame(f, VERB_REQUEST, &frame);
    assert_text(m.request.topic, "$bus/control/disconnect");
    assert_true(inside_decode(&inside_disconnect_layout, frame.body, frame.body_bytes, &d));
    assert_int_equal(d.connection_id, 12);
    assert_text(d.text, "go");
    assert_int_equal(bus_control_router(f->conn, BUS_CONTROL_DRAIN, NULL, on_done, &s), 0);
    m = fake_hear(f, VERB_REQUEST);
    assert_text(m.request.topic, "$bus/control/drain");
}

static void count_entry(const struct bus_inside_entry *entry, void *userdata)
{
    assert_int_equal(entry->client->connection_id, 7);
    assert_string_equal(entry->client->name, "n");
    ++*(unsigned *) userdata;
}

static void test_bodies_can_be_read_without_a_connection(void **state)
{
    const struct inside_client c = {.connection_id = 7, .name = {"n", 1}};
    uint8_t body[256];
    struct inside_page page = {body, sizeof(body), 0};
    uint64_t next = 0;
    unsigned n = 0;

    (void) state;
    assert_true(inside_page_add(&page, inside_layout_of(BUS_INSIDE_CLIENTS), &c));
    assert_true(inside_page_add(&page, inside_layout_of(BUS_INSIDE_CLIENTS), &c));
    inside_page_end(&page, 3, 4);
    assert_int_equal(bus_inside_parse(BUS_INSIDE_CLIENTS, body, page.len, count_entry, &n, &next),
                     0);
    assert_int_equal(n, 2);
    assert_int_equal(next, 3);
    assert_int_equal(bus_inside_parse(BUS_INSIDE_CLIENTS, NULL, 0, count_entry, &n, &next), 0);
    assert_int_equal(next, 0);
    assert_int_equal(bus_inside_parse(BUS_INSIDE_CLIENTS, body, 3, count_entry, &n, NULL),
                     -EBADMSG);
    assert_int_equal(n, 2);
}

static void test_nothing_is_left_behind_without_memory(void **state)
{
    struct fake *f = *state;
    struct seen s;
    int r = -ENOMEM;

    start(&s, f);
    FOR_EACH_FAILING_MALLOC (n) {
        r = bus_inside(f->conn, BUS_INSIDE_CLIENTS, NULL, on_entry, &s);
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(r, 0);
}

#define CASES(f)                                                                                   \
    cmocka_unit_test_setup_teardown(f, fake_set_up_seqpacket, fake_tear_down),                     \
    {                                                                                              \
#f "_on_streams", f, fake_set_up_stream, fake_tear_down, NULL                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES(test_a_list_is_asked_for_page_by_page),
        CASES(test_a_router_that_never_ends_is_not_followed),
        CASES(test_refusals_and_nonsense_end_it),
        CASES(test_closing_within_the_callback),
        CASES(test_arguments),
        CASES(test_controls),
        cmocka_unit_test(test_bodies_can_be_read_without_a_connection),
        CASES(test_nothing_is_left_behind_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
