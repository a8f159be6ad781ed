/* SPDX-License-Identifier: MIT */
/* What the clients of a user may make the router do in a second: who is too fast is not read for a
 * while, nobody else notices, and nothing is lost. */
#include "core/rate.h"
#include "core/state.h"
#include "support/sim_policy.h"
#include "support/world.h"

#define RATE 10000u
#define BURST (RATE * RATE_BURST_NS / 1000000000)
/* A round in which a few messages are published costs no more. */
#define ROUND 100u

static const struct world_sub any = {"a", BUS_POLICY_DROP_OLDEST, .window = 10000, .queue = 10000};

static struct sim_client *join_as(struct world *w, uint32_t uid)
{
    struct sim_client *c;

    if (!w->s.config.policy) { /* without rules other users may do nothing */
        sim_allow_everybody(&w->s);
    }
    w->s.uid = uid;
    c = world_join(w);
    w->s.uid = 1000;
    return c;
}

static struct sim_client *join_fast(struct world *w)
{
    struct sim_client *c = join_as(w, 2000);

    c->peer->user->rate.limit = RATE;
    sim_advertise(&w->s, c, 0, "a");
    return c;
}

/* Publishes until its user may not go on. Returns how many units of work that were. */
static uint64_t publish_all(struct world *w, struct sim_client *p)
{
    uint64_t before = w->s.router->work;

    while (peer_wants_input(p->peer)) {
        world_publish(w, p, "a");
        sim_read(&w->s, p, 10);
        world_clear(w, p);
        assert_true(w->s.router->work - before <= BURST + ROUND);
    }
    return w->s.router->work - before;
}

static void test_all_connections_of_a_user_that_is_too_fast_are_not_read(void **state)
{
    struct world *w = *state;
    struct sim_client *other = world_join(w), *p = join_fast(w), *q = join_fast(w);

    assert_true(publish_all(w, p) > BURST / 2);
    assert_false(peer_wants_input(q->peer));
    assert_true(peer_wants_input(other->peer));
    assert_true(q->peer->is_dirty); /* or its link would not know */
    assert_int_equal(router_counters(w->s.router)->rate_pauses, 1);
}

static void test_nothing_is_lost_and_it_goes_on_when_it_is_paid(void **state)
{
    struct world *w = *state;
    struct sim_client *c = world_join(w), *p = join_fast(w);

    world_subscribe(w, c, 0, &any);
    (void) publish_all(w, p);
    while (router_next_dirty(w->s.router)) {
    }
    sim_advance(&w->s, RATE_PAUSE_NS / 2);
    assert_false(peer_wants_input(p->peer));
    sim_advance(&w->s, RATE_PAUSE_NS);
    assert_true(peer_wants_input(p->peer));
    assert_true(p->peer->is_dirty);
    world_publish(w, p, "a");
    sim_settle(&w->s);
    assert_int_equal(c->subs[0].delivered, p->sequence);
}

/* Its link has ceased to be read, too, and nothing else would begin that again. */
static void test_who_has_not_greeted_yet_is_heard_when_it_is_paid(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_fast(w), *q;

    w->s.uid = 2000;
    q = sim_attach(&w->s, true);
    w->s.uid = 1000;
    assert_int_equal(q->peer->state, PEER_GREETING);
    (void) publish_all(w, p);
    assert_false(peer_wants_input(q->peer));
    while (router_next_dirty(w->s.router)) {
    }
    sim_advance(&w->s, 2 * RATE_PAUSE_NS);
    assert_true(peer_wants_input(q->peer));
    assert_true(q->peer->is_dirty);
}

static void test_in_the_long_run_it_is_the_rate(void **state)
{
    const unsigned seconds = 20;
    struct world *w = *state;
    struct sim_client *p = join_fast(w);
    uint64_t work = publish_all(w, p);

    for (unsigned i = 0; i < seconds * 100; i++) {
        sim_advance(&w->s, 10 * MS);
        work += publish_all(w, p);
    }
    assert_in_range(work, seconds * RATE - BURST, seconds * RATE + BURST + seconds * ROUND);
}

/* What a client leaves behind is dropped on its user's account; and a user may go while it owes. */
static void test_going_pays_nothing_back(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_fast(w), *q = join_fast(w);

    (void) publish_all(w, p);
    sim_disconnect(&w->s, p);
    assert_false(peer_wants_input(q->peer));
    p = join_as(w, 2000);
    assert_false(peer_wants_input(p->peer));
    sim_disconnect(&w->s, p);
    sim_disconnect(&w->s, q);
    sim_advance(&w->s, 1000 * MS);
    router_check(w->s.router);
}

static void test_the_work_of_a_user_is_told_once(void **state)
{
    struct world *w = *state;
    struct sim_client *p = join_fast(w), *q = join_fast(w), *other = world_join(w);
    uint64_t work;

    (void) peer_take_work(p->peer);
    (void) peer_take_work(other->peer);
    world_publish(w, p, "a");
    work = peer_take_work(q->peer);
    assert_true(work > 0);
    assert_int_equal(peer_take_work(p->peer), 0);
    assert_int_equal(peer_take_work(other->peer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_CASE(test_all_connections_of_a_user_that_is_too_fast_are_not_read),
        WORLD_CASE(test_nothing_is_lost_and_it_goes_on_when_it_is_paid),
        WORLD_CASE(test_who_has_not_greeted_yet_is_heard_when_it_is_paid),
        WORLD_CASE(test_in_the_long_run_it_is_the_rate),
        WORLD_CASE(test_going_pays_nothing_back),
        WORLD_CASE(test_the_work_of_a_user_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
