/* SPDX-License-Identifier: MIT */
/* A router whose place another one takes. That nobody notices is in the schedules of the other
 * simulations; here is what fails, and what another router says that is wrong. */
#include <errno.h>
#include "core/image.h"
#include "core/kinds.h"
#include "support/cargo.h"
#include "support/failmalloc.h"
#include "support/sim_cargo.h"
#include "support/world.h"

/* A bit of everything, held in every place. */
static struct sim_client *fill(struct world *w)
{
    struct sim *s = &w->s;
    struct sim_client *pub, *sub, *idle;
    struct wire_subscribe m = {.filter = text_from("a/#"),
                               .window_messages = 1,
                               .window_bytes = 100,
                               .queue_messages = 5,
                               .queue_bytes = 10000,
                               .group = {"", 0},
                               .dead_letter = {"", 0},
                               .flags = 2};
    struct wire_will will = {.topic = text_from("gone")};

    s->features = FEATURE_BUFFERS;
    s->looks_away = true;
    s->session = 7;
    pub = sim_connect(s, true);
    sub = sim_connect(s, false);
    idle = sim_attach(s, true);
    assert_non_null(idle);
    assert_true(sim_subscribe(s, sub, 0, &m));
    m.policy = BUS_POLICY_BLOCK;
    assert_true(sim_subscribe(s, sub, 1, &m));
    m.policy = BUS_POLICY_DROP_OLDEST;
    m.min_interval_ms = 1000;
    assert_true(sim_subscribe(s, sub, 2, &m));
    m.min_interval_ms = 0;
    m.silence_ms = 100;
    assert_true(sim_subscribe(s, pub, 0, &m));
    m.silence_ms = 0;
    m.flags = 8;
    m.group = text_from("g");
    assert_true(sim_subscribe(s, sub, 3, &m));
    sim_send(s, pub, VERB_WILL, &will, "body", 4);
    sim_send(s, pub, VERB_ADVERTISE,
             &(struct wire_advertise){
                 .alias = 1, .topic = text_from("a/b"), .flags = 2 | 4, .retain_messages = 2},
             NULL, 0);
    snprintf(pub->aliases[0], sizeof(pub->aliases[0]), "a/b");
    assert_true(sim_register(s, pub, 1, 64, false));
    for (unsigned i = 0; i < 8; i++) {
        (void) sim_publish(s, pub,
                           &(struct sim_publish){.body_bytes = 40,
                                                 .buffer = i % 3 == 0,
                                                 .slot = i % SIM_SLOTS,
                                                 .n_fds = i % 4 == 1,
                                                 .n_headers = i % 3});
    }
    sim_send(s, sub, VERB_UNSUBSCRIBE, &(struct wire_unsubscribe){2, UNSUBSCRIBE_DRAIN}, NULL, 0);
    m = (struct wire_subscribe){
        .filter = text_from("ask"), .window_messages = 1, .flags = SUBSCRIBE_SERVE};
    assert_true(sim_subscribe(s, sub, 4, &m));
    for (uint32_t i = 1; i <= 3; i++) {
        sim_send(s, pub, VERB_REQUEST,
                 &(struct wire_request){
                     .call = i, .topic = text_from("ask"), .flags = i == 3 ? REQUEST_ALL : 0},
                 "question", 8);
    }
    sim_send(s, sim_connect(s, true), VERB_MONITOR, &(struct wire_monitor){.queue_bytes = 1000},
             NULL, 0);
    return sub;
}

/* What topics keep outlives those who published it. */
static void end(struct world *w)
{
    struct sim_client *c = sim_connect(&w->s, true);

    assert_non_null(c);
    sim_send(&w->s, c, VERB_CLEAR, &(struct wire_clear){.topic = text_from("a/b")}, NULL, 0);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *other = &w->s.clients[i];

        if (other->peer && other != c) {
            sim_disconnect(&w->s, other);
        }
    }
    (void) sim_work_off(&w->s);
    sim_send(&w->s, c, VERB_CLEAR, &(struct wire_clear){.topic = text_from("a/b")}, NULL, 0);
    world_free(w);
}

static struct image save(const struct sim *s)
{
    struct image image = {0};
    const char *why;

    router_settle(s->router, &s->now);
    assert_int_equal(router_save(s->router, &image, &why), IMAGE_OK);
    return image;
}

/* What becomes of that state, with descriptors of its own: a router that is in order, or none. */
static int try_load(const struct sim *s, const struct image *image, size_t len)
{
    int fds[64];
    struct image_source from = {.records = {image->records.data, len},
                                .fds = fds,
                                .n_fds = image->n_fds,
                                .close = sim_fd_close};
    struct router *r = NULL;
    const char *why = NULL;
    int ret;

    assert_true(image->n_fds <= ARRAY_LEN(fds));
    for (size_t i = 0; i < image->n_fds; i++) {
        fds[i] = image->fds[i];
        sim_fd_dup(fds[i]);
    }
    ret = router_load(&s->config, &from, &s->now, &r, &why);
    for (size_t i = from.fds_used; i < from.n_fds; i++) {
        sim_fd_close(fds[i]);
    }
    if (ret == IMAGE_OK) {
        (void) failmalloc_disarm();
        router_check(r);
        (void) router_free(r);
    } else {
        assert_non_null(why);
        assert_null(r);
    }
    return ret;
}

static void test_all_of_it_is_there_afterwards(void **state)
{
    struct world *w = world_new(NULL);
    struct sim_client *sub = fill(w);

    (void) state;
    assert_true(router_counters(w->s.router)->messages_queued_now > 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(sim_replace(&w->s));
    }
    sim_read(&w->s, sub, 1000);
    router_check(w->s.router);
    end(w);
}

static void test_saving_changes_nothing_whatever_allocation_fails(void **state)
{
    struct world *w = world_new(NULL);
    struct image first;

    (void) state;
    (void) fill(w);
    first = save(&w->s);
    FOR_EACH_FAILING_MALLOC (n) {
        struct image image = {0};
        const char *why;
        int ret = router_save(w->s.router, &image, &why);

        assert_true(ret == IMAGE_OK || ret == -ENOMEM);
        router_check(w->s.router);
        if (ret == IMAGE_OK) {
            assert_int_equal(image.records.len, first.records.len);
            assert_memory_equal(image.records.data, first.records.data, first.records.len);
        }
        image_fini(&image);
    }
    image_fini(&first);
    end(w);
}

static void test_loading_leaves_nothing_behind_whatever_allocation_fails(void **state)
{
    struct world *w = world_new(NULL);
    unsigned open;
    struct image image;

    (void) state;
    (void) fill(w);
    image = save(&w->s);
    open = sim_fds_open();
    FOR_EACH_FAILING_MALLOC (n) {
        int ret = try_load(&w->s, &image, image.records.len);

        assert_true(ret == IMAGE_OK || ret == -ENOMEM || ret == IMAGE_REFUSED);
        assert_int_equal(sim_fds_open(), open);
        if (ret == IMAGE_OK && !failmalloc_has_failed()) {
            break;
        }
    }
    (void) failmalloc_disarm();
    assert_int_equal(try_load(&w->s, &image, image.records.len), IMAGE_OK);
    image_fini(&image);
    end(w);
}

/* A state that ends anywhere, or in which any byte is another one. */
static void test_a_wrong_state_is_refused_or_makes_a_router_in_order(void **state)
{
    struct rng rng = rng_from_env();
    struct world *w = world_new(NULL);
    struct image image;
    unsigned n_refused = 0, open;

    (void) state;
    (void) fill(w);
    image = save(&w->s);
    open = sim_fds_open();
    for (size_t len = 0; len < image.records.len; len++) {
        (void) try_load(&w->s, &image, len);
        assert_int_equal(sim_fds_open(), open);
    }
    for (unsigned i = 0; i < 20000; i++) {
        size_t at = rng_below(&rng, (uint32_t) image.records.len);
        uint8_t was = image.records.data[at];

        image.records.data[at] =
            (uint8_t) (rng_below(&rng, 2) ? rng_below(&rng, 256) : was ^ 1u << rng_below(&rng, 8));
        n_refused += try_load(&w->s, &image, image.records.len) != IMAGE_OK;
        image.records.data[at] = was;
        assert_int_equal(sim_fds_open(), open);
    }
    assert_true(n_refused > 0);
    image_fini(&image);
    end(w);
}

static void test_another_major_version_is_refused(void **state)
{
    struct world *w = world_new(NULL);
    struct image image = {0};

    (void) state;
    record_begin(&image.records, STATE_ROUTER);
    record_number(&image.records, ROUTER_MAJOR, STATE_MAJOR + 1);
    record_number(&image.records, ROUTER_PUBLISH_MESSAGES, 100);
    record_number(&image.records, ROUTER_PUBLISH_BYTES, 10000);
    record_end(&image.records);
    assert_int_equal(try_load(&w->s, &image, image.records.len), IMAGE_REFUSED);
    image_fini(&image);
    world_free(w);
}

/* What a newer minor version says besides is ignored; a kind of record that is not known is not:
 * something would be lost. */
static void test_unknown_fields_are_ignored_and_unknown_records_are_not(void **state)
{
    struct world *w = world_new(NULL);
    struct image image = {0};

    (void) state;
    record_begin(&image.records, STATE_ROUTER);
    record_number(&image.records, ROUTER_MAJOR, STATE_MAJOR);
    record_number(&image.records, ROUTER_MINOR, STATE_MINOR + 1);
    record_number(&image.records, ROUTER_PUBLISH_MESSAGES, 100);
    record_number(&image.records, ROUTER_PUBLISH_BYTES, 10000);
    record_number(&image.records, RECORD_FIELDS - 1, 1);
    record_bytes(&image.records, RECORD_FIELDS + 100, "text", 4);
    record_end(&image.records);
    assert_int_equal(try_load(&w->s, &image, image.records.len), IMAGE_OK);
    record_begin(&image.records, STATE_LISTENER - 1);
    record_end(&image.records);
    assert_int_equal(try_load(&w->s, &image, image.records.len), IMAGE_REFUSED);
    image_fini(&image);
    world_free(w);
}

static void test_a_router_that_stops_is_not_handed_over(void **state)
{
    struct world *w = world_new(NULL);
    struct image image = {0};
    const char *why;

    (void) state;
    router_shutdown(w->s.router, &w->s.now);
    assert_int_equal(router_save(w->s.router, &image, &why), IMAGE_REFUSED);
    assert_string_equal(why, "the router stops");
    image_fini(&image);
    world_free(w);
}

/* What it holds must fit into what the new one may hold. */
static void test_what_does_not_fit_is_refused(void **state)
{
    struct world *w = world_new(NULL);
    struct image image;
    uint64_t total = w->s.config.limits.total_bytes_max;

    (void) state;
    (void) fill(w);
    image = save(&w->s);
    w->s.config.limits.total_bytes_max = router_counters(w->s.router)->charged_bytes_now / 2;
    assert_int_equal(try_load(&w->s, &image, image.records.len), IMAGE_REFUSED);
    w->s.config.limits.total_bytes_max = total;
    image_fini(&image);
    end(w);
}

/* Its link is dropped when the router hands over, and what is not sent by then with it. */
static void test_who_asks_has_its_answer_before_it_is_handed_over(void **state)
{
    struct world *w = world_new(NULL);
    struct sim_client *c = world_join(w);
    struct parcel *parcel;
    struct peer *who;

    (void) state;
    sim_send_parcel(&w->s, c, VERB_REPLACE, &(struct wire_replace){1}, NULL, 0, 1,
                    sim_parcel_of(1));
    assert_false(router_is_to_be_replaced(w->s.router));
    sim_read(&w->s, c, UINT32_MAX);
    assert_true(router_is_to_be_replaced(w->s.router));
    parcel = router_take_replacement(w->s.router, &who);
    assert_ptr_equal(who, c->peer);
    parcel_unref(parcel);
    world_free(w);
}

static void test_who_asks_and_goes_is_not_waited_for(void **state)
{
    struct world *w = world_new(NULL);
    struct sim_client *c = world_join(w);
    struct peer *who;

    (void) state;
    sim_send_parcel(&w->s, c, VERB_REPLACE, &(struct wire_replace){1}, NULL, 0, 1,
                    sim_parcel_of(1));
    sim_disconnect(&w->s, c);
    assert_true(router_is_to_be_replaced(w->s.router));
    parcel_unref(router_take_replacement(w->s.router, &who));
    assert_null(who);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it_is_there_afterwards),
        cmocka_unit_test(test_saving_changes_nothing_whatever_allocation_fails),
        cmocka_unit_test(test_loading_leaves_nothing_behind_whatever_allocation_fails),
        cmocka_unit_test(test_a_wrong_state_is_refused_or_makes_a_router_in_order),
        cmocka_unit_test(test_another_major_version_is_refused),
        cmocka_unit_test(test_unknown_fields_are_ignored_and_unknown_records_are_not),
        cmocka_unit_test(test_a_router_that_stops_is_not_handed_over),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
        cmocka_unit_test(test_who_asks_has_its_answer_before_it_is_handed_over),
        cmocka_unit_test(test_who_asks_and_goes_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
