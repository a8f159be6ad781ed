/* SPDX-License-Identifier: MIT */
/* Who hears that a right is missing: router_events, and $bus/access/denied, at a bounded rate. */
#include "core/denied.h"
#include "core/policy.h"
#include "core/state.h"
#include "support/failmalloc.h"
#include "support/sim.h"
#include "wire/denied_event.h"

#define TOPIC "$bus/access/denied"

static unsigned n_told;
static struct denial told;

static void on_denied(void *userdata, const struct denial *d)
{
    assert_ptr_equal(userdata, &n_told);
    n_told++;
    told = *d;
}

static const struct router_events events = {.denied = on_denied};

/* What one client has got of it. */
static struct {
    unsigned n, n_lost;
    struct denied_event last;
    uint64_t left_out; /* of all */
    char name[64], topic[64], rule[64], text[64], verb[32];
} got;

static void keep(char *dst, size_t room, struct text t)
{
    assert_true(t.len < room);
    memcpy(dst, t.data, t.len);
    dst[t.len] = '\0';
}

static void on_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    (void) s;
    got.n_lost += f->verb == VERB_LOSS ? m->loss.count : 0;
    if (f->verb != VERB_MESSAGE || strcmp(c->topics[m->message.topic], TOPIC) != 0) {
        return;
    }
    assert_int_equal(c->senders[m->message.sender], 0);
    assert_int_equal(m->message.sequence, 0);
    assert_true(denied_event_decode(f->body, f->body_bytes, &got.last));
    got.n++;
    got.left_out += got.last.left_out;
    keep(got.name, sizeof(got.name), got.last.name);
    keep(got.topic, sizeof(got.topic), got.last.topic);
    keep(got.rule, sizeof(got.rule), got.last.rule);
    keep(got.text, sizeof(got.text), got.last.text);
    keep(got.verb, sizeof(got.verb), got.last.verb);
}

static int setup(void **state)
{
    struct sim *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    sim_init(s, NULL);
    s->on_frame = on_frame;
    s->looks_away = true;
    s->router->config.events = &events;
    s->router->config.events_userdata = &n_told;
    n_told = 0;
    memset(&got, 0, sizeof(got));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct sim *s = *state;

    sim_shutdown(s);
    sim_fini(s);
    free(s);
    return 0;
}

static void deny(struct sim *s)
{
    const struct denial d = {.connection_id = 4711,
                             .uid = 1000,
                             .gid = 1001,
                             .pid = 77,
                             .name = text_from("sensor"),
                             .verb = POLICY_PUBLISH,
                             .topic = text_from("a/b"),
                             .place = text_from("rules.conf:7"),
                             .why = "denied",
                             .is_lost = true};

    denied_tell(s->router, &d);
    router_check(s->router);
}

static struct sim_client *subscriber(struct sim *s)
{
    const struct wire_subscribe m = {.subscription = 1, .filter = text_from(TOPIC)};
    struct sim_client *c;

    s->uid = s->router->config.owner_uid;
    c = sim_connect(s, true);
    assert_true(sim_subscribe(s, c, 0, &m));
    return c;
}

static void work_off(struct sim *s, struct sim_client *c)
{
    (void) sim_work_off(s);
    sim_read(s, c, 100000);
    router_check(s->router);
}

static void test_each_is_told_and_counted_and_published_if_anybody_listens(void **state)
{
    struct sim *s = *state;
    struct sim_client *c;

    deny(s);
    assert_int_equal(n_told, 1);
    assert_int_equal(told.verb, POLICY_PUBLISH);
    assert_int_equal(told.uid, 1000);
    assert_int_equal(router_counters(s->router)->denials, 1);
    c = subscriber(s);
    work_off(s, c);
    assert_int_equal(got.n, 0);
    deny(s);
    assert_int_equal(got.n, 0); /* not yet: somebody may be walking over peers */
    work_off(s, c);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.last.connection_id, 4711);
    assert_int_equal(got.last.uid, 1000);
    assert_int_equal(got.last.gid, 1001);
    assert_int_equal(got.last.pid, 77);
    assert_int_equal(got.last.taken, 1);
    assert_int_equal(got.last.left_out, 0);
    assert_string_equal(got.name, "sensor");
    assert_string_equal(got.verb, "publish");
    assert_string_equal(got.topic, "a/b");
    assert_string_equal(got.rule, "rules.conf:7");
    assert_string_equal(got.text, "denied");
    assert_int_equal(n_told, 2);
}

static void test_no_more_than_100_in_a_second_and_the_rest_is_counted(void **state)
{
    struct sim *s = *state;
    struct sim_client *c = subscriber(s);

    for (unsigned i = 0; i < 250; i++) {
        deny(s);
        if (i % 40 == 0) {
            work_off(s, c);
        }
    }
    work_off(s, c);
    assert_int_equal(got.n, DENIED_PER_SECOND);
    assert_int_equal(n_told, 250);
    sim_advance(s, 1000 * MS);
    deny(s);
    work_off(s, c);
    assert_int_equal(got.n, DENIED_PER_SECOND + 1);
    assert_int_equal(got.n + got.left_out, 251);
}

/* Whoever refuses faster than the router takes turns cannot make it keep more. */
static void test_what_waits_is_bounded(void **state)
{
    struct sim *s = *state;
    struct sim_client *c = subscriber(s);

    for (unsigned second = 0; second < 3; second++) {
        for (unsigned i = 0; i < 2 * DENIED_PER_SECOND; i++) {
            deny(s);
        }
        s->router->now.monotonic_ns += 1000 * MS; /* in one dispatch, so to speak */
    }
    work_off(s, c);
    assert_true(got.n >= DENIED_PER_SECOND);
    assert_int_equal(got.n + got.left_out + s->router->denials.left_out, 6 * DENIED_PER_SECOND);
}

static void assert_monitored(struct sim *s, const char *filter, unsigned n_records)
{
    struct text text = text_from(filter ? filter : "");
    const struct wire_monitor m = {.filters = &text, .n_filters = filter != NULL};
    struct sim_client *c;

    s->uid = s->router->config.owner_uid;
    c = sim_connect(s, true);
    sim_send(s, c, VERB_MONITOR, &m, NULL, 0);
    c->monitoring = true;
    work_off(s, c);
    deny(s);
    work_off(s, c);
    assert_int_equal(c->n_records, n_records);
    sim_disconnect(s, c);
}

static void test_monitors_see_them(void **state)
{
    assert_monitored(*state, "$bus/access/#", 1);
    assert_monitored(*state, NULL, 1);
    assert_monitored(*state, "a/#", 0);
}

/* It comes later, or is counted. */
static void test_without_memory(void **state)
{
    struct sim *s = *state;
    struct sim_client *c = subscriber(s);
    unsigned n_denied = 0;

    s->starving = true;
    FOR_EACH_FAILING_MALLOC (n) {
        deny(s);
        n_denied++;
        (void) sim_work_off(s);
        if (!failmalloc_has_failed()) {
            (void) failmalloc_disarm();
            break;
        }
        (void) failmalloc_disarm();
        sim_advance(s, 1000 * MS); /* time to try again */
        work_off(s, c);
    }
    s->starving = false;
    sim_advance(s, 1000 * MS);
    deny(s);
    n_denied++;
    work_off(s, c);
    assert_int_equal(got.n + got.n_lost + got.left_out, n_denied);
    assert_true(n_denied > 3);
}

static void test_a_router_that_is_replaced_publishes_them_first(void **state)
{
    struct sim *s = *state;
    struct sim_client *c = subscriber(s);

    deny(s);
    assert_true(sim_replace(s));
    work_off(s, c);
    assert_int_equal(got.n, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_is_told_and_counted_and_published_if_anybody_listens),
        CASE(no_more_than_100_in_a_second_and_the_rest_is_counted),
        CASE(what_waits_is_bounded),
        CASE(monitors_see_them),
        CASE(without_memory),
        CASE(a_router_that_is_replaced_publishes_them_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
