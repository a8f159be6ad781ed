/* SPDX-License-Identifier: MIT */
/* Where features meet: events and dead letters in groups and in topics that keep, what is handed
 * over with descriptors. Each case on both kinds of link. */
#include "core/state.h"
#include "support/calls.h"
#include "support/failmalloc.h"
#include "support/sim_cargo.h"
#include "support/world.h"

static bool packets; /* kind of link of those who join */

static int setup_packets(void **state)
{
    packets = true;
    return world_setup(state);
}

static int setup_stream(void **state)
{
    packets = false;
    return world_setup(state);
}

#define BOTH_LINKS(f)                                                                              \
    {#f "_packets", f, setup_packets, world_teardown, NULL},                                       \
    {                                                                                              \
#f "_stream", f, setup_stream, world_teardown, NULL                                        \
    }

static struct sim_client *join(struct world *w)
{
    struct sim_client *c = sim_connect(&w->s, packets);

    assert_non_null(c);
    world_clear(w, c);
    return c;
}

/* ---- events ---- */

static void test_group_alone_gets_events(void **state)
{
    struct world *w = *state;
    struct sim_client *m = join(w), *c;

    w->s.looks_away = true;
    world_subscribe(w, m, 0, &(struct world_sub){"$bus/client/#", .window = 9, .group = "g"});
    c = join(w);
    world_expect(w, m, "MESSAGE 1 $bus/client/2/joined 0.0\n");
    sim_disconnect(&w->s, c);
    sim_work_off(&w->s);
    world_expect(w, m, "MESSAGE 1 $bus/client/2/left 0.0\n");
}

static void test_refused_event_becomes_a_dead_letter_that_is_kept(void **state)
{
    struct world *w = *state;
    struct wire_advertise keep = {.alias = 1, .topic = text_from("dead"), .retain_messages = 1};
    struct sim_client *m = join(w), *p = join(w), *late;

    w->s.looks_away = true;
    sim_send(&w->s, p, VERB_ADVERTISE, &keep, NULL, 0);
    world_expect(w, p, "");
    world_subscribe(w, m, 0,
                    &(struct world_sub){"$bus/client/#", .window = 9, .group = "g", .ack = true,
                                        .deliveries_max = 1, .dead_letter = "dead"});
    world_subscribe(w, m, 1, &(struct world_sub){"$bus/client/#", .window = 9});
    late = join(w);
    world_expect(w, m,
                 "MESSAGE 1 $bus/client/3/joined 0.0 #1\nMESSAGE 2 $bus/client/3/joined 0.0\n");
    world_ack(w, m, 0, 1, true);
    sim_work_off(&w->s);
    router_check(w->s.router);
    world_subscribe(w, late, 0, &(struct world_sub){"other", .window = 9});
    sim_send(&w->s, late, VERB_SUBSCRIBE,
             &(struct wire_subscribe){
                 .subscription = 2, .filter = text_from("dead"), .retained = BUS_RETAINED_LAST},
             NULL, 0);
    sim_read(&w->s, late, 100);
    assert_non_null(
        strstr(w->text[late - w->s.clients], "MESSAGE 2 dead 0.0 retained\nLIVE 2 1\n"));
    sim_send(&w->s, p, VERB_CLEAR, &(struct wire_clear){.alias = 1, .topic = {"", 0}}, NULL, 0);
}

/* ---- wills ---- */

/* The longest header that the router takes fits into every MESSAGE: else it would try for ever, and
 * events and wills of all others would wait behind it. */
static void test_longest_will_is_published(void **state)
{
    static char value[FRAME_HEADER_MAX];
    struct wire_header header = {text_from("n"), {value, sizeof(value) - 500}};
    struct wire_will will = {.topic = text_from("w"), .headers = &header, .n_headers = 1};
    struct world *w = *state;
    struct sim_client *m = join(w), *dying = join(w);

    w->s.looks_away = true;
    world_subscribe(w, m, 0, &(struct world_sub){"w", .window = 9});
    memset(value, 'v', sizeof(value));
    for (; dying->n_status[BUS_STATUS_LIMIT] == 0; header.value.len++) {
        sim_send(&w->s, dying, VERB_WILL, &will, NULL, 0);
        sim_read(&w->s, dying, 100);
    }
    sim_disconnect(&w->s, dying);
    sim_work_off(&w->s);
    world_expect(w, m, "MESSAGE 1 w 2.0\n");
}

#define N_ALIASES 4000u

/* What a client owned may be dropped long after its will was published. */
static void test_will_in_a_topic_that_its_client_owned_stays(void **state)
{
    struct limits limits = sim_small_limits();
    struct wire_advertise own = {.topic = text_from("st"), .flags = 1, .retain_messages = 1};
    struct wire_will will = {.topic = text_from("st")};
    struct sim_client *other, *dying, *late;
    struct world *w;
    char name[16];

    world_free(*state);
    limits.aliases_max = N_ALIASES;
    limits.client_bytes_max = 64 * MIB;
    w = world_new(&limits);
    *state = w;
    w->s.looks_away = true;
    other = join(w);
    dying = join(w);
    own.alias = 1;
    sim_send(&w->s, dying, VERB_ADVERTISE, &own, NULL, 0);
    own.flags = 0;
    sim_send(&w->s, other, VERB_ADVERTISE, &own, NULL, 0);
    for (uint32_t i = 2; i <= N_ALIASES; i++) {
        (void) snprintf(name, sizeof(name), "t/%u", i);
        own = (struct wire_advertise){.alias = i, .topic = text_from(name)};
        sim_send(&w->s, dying, VERB_ADVERTISE, &own, NULL, 0);
    }
    sim_send(&w->s, dying, VERB_WILL, &will, "last words", 10);
    world_publish(w, dying, "st");
    sim_disconnect(&w->s, dying);
    sim_work_off(&w->s);
    late = join(w);
    sim_send(&w->s, late, VERB_SUBSCRIBE,
             &(struct wire_subscribe){
                 .subscription = 1, .filter = text_from("st"), .retained = BUS_RETAINED_ALL},
             NULL, 0);
    world_expect(w, late, "STATUS OK SUBSCRIBE sub=1\nMESSAGE 1 st 2.0 retained\nLIVE 1 1\n");
    sim_send(&w->s, late, VERB_CLEAR, &(struct wire_clear){.topic = text_from("st")}, NULL, 0);
}

/* ---- descriptors ---- */

static void test_descriptors_are_handed_over_with_what_was_not_delivered(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join(w), *a = join(w), *b;
    const struct world_sub sub = {"t",          .window = 1,    .queue = 9,
                                  .group = "g", .sticky = true, .descriptors = true};

    world_subscribe(w, a, 0, &sub);
    world_publish_key(w, p, "t", "k");
    assert_true(sim_publish(&w->s, p,
                            &(struct sim_publish){"t", .body_bytes = 10, .n_fds = 2, .key = "k"}));
    world_expect(w, a, "MESSAGE 1 t 1.1\n");
    b = join(w);
    world_subscribe(w, b, 0, &sub);
    world_expect(w, b, "");
    sim_unsubscribe(&w->s, a, 0);
    world_expect(w, b, "MESSAGE 1 t 1.2 2/2\nPING\n");
}

/* ---- requests ---- */

/* Both fill the output again and again: neither has to wait for the end of the other. */
static void test_answers_and_messages_that_wait_take_turns(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join(w), *s = join(w), *c = join(w);
    const char *text = w->text[c - w->s.clients], *first, *last = NULL;

    world_serve(w, s, "s", 0);
    world_subscribe(w, c, 0, &(struct world_sub){"t", .window = 100, .queue = 100});
    for (uint32_t i = 1; i <= 32; i++) {
        world_request(w, c, i, "s");
    }
    sim_read(&w->s, s, 100);
    for (unsigned i = 1; i <= 32; i++) {
        sim_reply(&w->s, s, &(struct sim_reply){world_call(w, i), .body.bytes = 600});
    }
    for (unsigned i = 0; i < 20; i++) {
        assert_true(world_publish_bytes(w, p, "t", 600));
    }
    sim_read(&w->s, c, 1000);
    first = strstr(text, "MESSAGE");
    for (const char *at = text; (at = strstr(at, "ANSWER")) != NULL; at++) {
        last = at;
    }
    assert_true(first && last && first < last);
    sim_settle(&w->s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_LINKS(test_group_alone_gets_events),
        BOTH_LINKS(test_refused_event_becomes_a_dead_letter_that_is_kept),
        BOTH_LINKS(test_longest_will_is_published),
        BOTH_LINKS(test_will_in_a_topic_that_its_client_owned_stays),
        BOTH_LINKS(test_descriptors_are_handed_over_with_what_was_not_delivered),
        BOTH_LINKS(test_answers_and_messages_that_wait_take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
