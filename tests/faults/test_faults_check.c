/* SPDX-License-Identifier: MIT */
/* The checker of bus-faults finds what is wrong: a story in which all is well, and what it says
 * when one line of it is different. */
#include "faults/check.h"
#include "support/unit.h"

enum { PUBLISHER, SUBSCRIBER, MEMBER, REQUESTER, SERVER, N_CLIENTS };
static const enum client_kind kinds[CLIENTS_MAX] = {CLIENT_PUBLISHER, CLIENT_SUBSCRIBER,
                                                    CLIENT_MEMBER, CLIENT_REQUESTER, CLIENT_SERVER};

#define RECORDS 64u
#define LIFE(client) ((uint64_t) (client) << 32 | 1)

struct story {
    struct records *records[CLIENTS_MAX];
    uint64_t t_ns;
};

static void tell(struct story *s, unsigned client, struct record r)
{
    struct records *to = s->records[client];

    r.t_ns = ++s->t_ns;
    assert_true(to->n < RECORDS);
    to->at[to->n++] = r;
}
#define TELL(s, client, kind_, ...)                                                                \
    tell(s, client, (struct record){.kind = RECORD_##kind_, __VA_ARGS__})

static void send_and_confirm(struct story *s, uint32_t number, unsigned class, uint32_t n)
{
    TELL(s, PUBLISHER, SENT, .life = LIFE(PUBLISHER), .n = n, .nk = class == CLASS_JOB ? 0 : n,
         .again = (uint8_t) class, .number = number, .topic = 1);
    TELL(s, PUBLISHER, CONFIRMED, .life = LIFE(PUBLISHER), .number = number, .nk = 1);
}

static struct record *find(struct story *s, unsigned client, enum record_kind kind, unsigned nth)
{
    struct records *r = s->records[client];

    for (uint32_t i = 0; i < r->n; i++) {
        if (r->at[i].kind == kind && nth-- == 0) {
            return &r->at[i];
        }
    }
    fail_msg("no such record");
    return NULL;
}

/* Messages 1 to 5, of which 3 is lost; jobs 1 and 2, of which 2 is given up; requests 1 and 2. */
static void story_tell(struct story *s)
{
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        TELL(s, i, OPENED, .life = LIFE(i));
    }
    TELL(s, SUBSCRIBER, ASKED, .topic = TOPIC_ALL);
    TELL(s, SUBSCRIBER, READY, .n = 0);
    TELL(s, MEMBER, READY, .n = 0);
    for (uint32_t n = 1; n <= 5; n++) {
        send_and_confirm(s, n, CLASS_MESSAGE, n);
        if (n == 3) {
            TELL(s, SUBSCRIBER, LOST, .number = 1, .reason = BUS_LOSS_QUEUE_FULL);
        } else {
            TELL(s, SUBSCRIBER, GOT, .life = LIFE(PUBLISHER), .n = n, .nk = n, .topic = 1);
        }
    }
    TELL(s, SUBSCRIBER, OVER, .reason = OVER_SETTLED);
    for (uint32_t n = 1; n <= 2; n++) {
        send_and_confirm(s, 5 + n, CLASS_JOB, n);
        TELL(s, MEMBER, GOT, .life = LIFE(PUBLISHER), .n = n);
        TELL(s, REQUESTER, BEGUN, .life = LIFE(REQUESTER), .n = n);
        TELL(s, SERVER, CALLED, .life = LIFE(REQUESTER), .n = n);
        TELL(s, REQUESTER, ENDED, .life = LIFE(REQUESTER), .n = n, .reason = BUS_STATUS_OK);
    }
    TELL(s, MEMBER, ACKED, .life = LIFE(PUBLISHER), .n = 1);
    TELL(s, MEMBER, GOT, .life = LIFE(PUBLISHER), .n = 2, .again = 1);
    TELL(s, MEMBER, DEAD, .life = LIFE(PUBLISHER), .n = 2);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        TELL(s, i, CLOSED, .life = LIFE(i));
    }
}

static int begin(void **state)
{
    struct story *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        s->records[i] = calloc(1, sizeof(struct records) + RECORDS * sizeof(struct record));
        assert_non_null(s->records[i]);
        s->records[i]->n_lives = 1;
    }
    story_tell(s);
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct story *s = *state;

    for (unsigned i = 0; i < N_CLIENTS; i++) {
        free(s->records[i]);
    }
    free(s);
    return 0;
}

static unsigned n_wrong(struct story *s)
{
    struct tally tally = {0};

    return check_round(s->records, N_CLIENTS, MEMBER, kinds, &tally);
}

/* ---- cases ---- */

static void test_all_is_well(void **state)
{
    struct story *s = *state;
    struct tally tally = {0};

    assert_int_equal(check_round(s->records, N_CLIENTS, MEMBER, kinds, &tally), 0);
    assert_int_equal(tally.sent, 7);
    assert_int_equal(tally.confirmed, 7);
    assert_int_equal(tally.delivered, 4);
    assert_int_equal(tally.lost[BUS_LOSS_QUEUE_FULL], 1);
    assert_int_equal(tally.subscriptions, 1);
    assert_int_equal(tally.uncertain, 0);
    assert_int_equal(tally.jobs, 2);
    assert_int_equal(tally.dead, 1);
    assert_int_equal(tally.redelivered, 1);
    assert_int_equal(tally.requests, 2);
    assert_int_equal(tally.ends[BUS_STATUS_OK], 2);
}

#define CASE(name, client, kind, nth, change)                                                      \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        struct record *r = find(*state, client, RECORD_##kind, nth);                               \
                                                                                                   \
        change;                                                                                    \
        assert_true(n_wrong(*state) > 0);                                                          \
    }

CASE(a_message_comes_twice, SUBSCRIBER, GOT, 1, r->n = r->nk = 1)
CASE(messages_come_in_another_order, SUBSCRIBER, GOT, 0, r->n = r->nk = 5)
CASE(a_loss_is_not_told, SUBSCRIBER, LOST, 0, r->number = 0)
CASE(a_loss_is_told_that_was_none, SUBSCRIBER, LOST, 0, r->number = 2)
CASE(the_last_message_is_missing, SUBSCRIBER, GOT, 3, r->kind = RECORD_NONE)
CASE(the_first_message_is_missing, SUBSCRIBER, GOT, 0, r->kind = RECORD_NONE)
CASE(a_message_was_not_sent, SUBSCRIBER, GOT, 3, r->n = r->nk = 9)
CASE(a_message_has_another_topic, SUBSCRIBER, GOT, 2, r->topic = 2)
CASE(a_message_is_not_for_that_filter, SUBSCRIBER, ASKED, 0, r->topic = 3)
CASE(a_confirmation_comes_twice, PUBLISHER, CONFIRMED, 1, r->number = 1)
CASE(a_job_is_not_done, MEMBER, ACKED, 0, r->kind = RECORD_NONE)
CASE(a_job_is_not_given_up, MEMBER, DEAD, 0, r->kind = RECORD_NONE)
CASE(a_job_comes_again_as_new, MEMBER, GOT, 2, r->again = 0)
CASE(a_job_matches_nothing, PUBLISHER, CONFIRMED, 5, r->nk = 0)
CASE(a_request_ends_twice, REQUESTER, ENDED, 1, r->n = 1)
CASE(a_request_does_not_end, REQUESTER, ENDED, 1, r->kind = RECORD_NONE)
CASE(a_request_goes_to_two, SERVER, CALLED, 1, r->n = 1)
CASE(an_answer_comes_from_nobody, SERVER, CALLED, 1, r->kind = RECORD_NONE)
CASE(a_body_is_wrong, SERVER, CALLED, 0, r->kind = RECORD_WRONG)

/* What a process that was killed has not done is not missed. */
static void test_a_killed_requester_hears_of_no_end(void **state)
{
    find(*state, REQUESTER, RECORD_ENDED, 1)->kind = RECORD_NONE;
    find(*state, REQUESTER, RECORD_CLOSED, 0)->kind = RECORD_NONE;
    assert_int_equal(n_wrong(*state), 0);
}

static void test_a_subscription_that_was_cut_off_misses_its_last_messages(void **state)
{
    find(*state, SUBSCRIBER, RECORD_GOT, 3)->kind = RECORD_NONE;
    find(*state, SUBSCRIBER, RECORD_OVER, 0)->reason = OVER_LOST;
    assert_int_equal(n_wrong(*state), 0);
}

static void test_order_holds_across_a_return(void **state)
{
    struct record *r = find(*state, SUBSCRIBER, RECORD_LOST, 0);

    r->kind = RECORD_AWAY; /* in place of the loss: 3 is missing, and nobody knows */
    find(*state, SUBSCRIBER, RECORD_OVER, 0)->reason = OVER_LOST;
    assert_int_equal(n_wrong(*state), 0);
    r = find(*state, SUBSCRIBER, RECORD_GOT, 2);
    r->n = r->nk = 2; /* again */
    assert_true(n_wrong(*state) > 0);
}

/* The story with reliable topics: confirmations say nothing of them. */
static void make_reliable(struct story *s)
{
    find(s, SUBSCRIBER, RECORD_ASKED, 0)->topic = TOPIC_RELIABLE;
    for (unsigned i = 0; i < 5; i++) {
        find(s, PUBLISHER, RECORD_SENT, i)->again = CLASS_RELIABLE;
    }
    find(s, SUBSCRIBER, RECORD_LOST, 0)->kind = RECORD_AWAY;
    find(s, PUBLISHER, RECORD_CONFIRMED, 2)->kind = RECORD_NONE;
}

static void test_what_is_reliable_is_not_lost_with_a_router(void **state)
{
    struct story *s = *state;
    struct record *got;

    make_reliable(s);
    assert_true(n_wrong(s) > 0); /* 3 is missing */
    for (unsigned i = 0; i < 4; i++) {
        got = find(s, SUBSCRIBER, RECORD_GOT, i);
        got->n = got->nk = i + 1;
    }
    assert_true(n_wrong(s) > 0); /* the last one is */
    find(s, PUBLISHER, RECORD_SENT, 4)->kind = RECORD_NONE;
    find(s, PUBLISHER, RECORD_CONFIRMED, 3)->kind = RECORD_NONE;
    assert_int_equal(n_wrong(s), 0);
    find(s, SUBSCRIBER, RECORD_GOT, 3)->n = 3; /* twice, before and after */
    find(s, SUBSCRIBER, RECORD_GOT, 3)->nk = 3;
    assert_true(n_wrong(s) > 0);
}

static void test_a_killed_publisher_may_not_have_sent_what_is_reliable(void **state)
{
    struct story *s = *state;
    struct record *got;

    make_reliable(s);
    for (unsigned i = 0; i < 4; i++) {
        got = find(s, SUBSCRIBER, RECORD_GOT, i);
        got->n = got->nk = i + 1;
    }
    find(s, PUBLISHER, RECORD_CLOSED, 0)->kind = RECORD_NONE;
    assert_int_equal(n_wrong(s), 0);
}

static void test_a_job_whose_acknowledgement_failed_is_not_done(void **state)
{
    find(*state, MEMBER, RECORD_GOT, 0)->kind = RECORD_UNACKED;
    assert_true(n_wrong(*state) > 0);
}

/* Nobody knows whether a publish that was not confirmed has been published. */
static void test_a_killed_publisher_may_not_have_sent_its_last_message(void **state)
{
    find(*state, PUBLISHER, RECORD_CONFIRMED, 4)->kind = RECORD_NONE;
    assert_int_equal(n_wrong(*state), 0);
    find(*state, SUBSCRIBER, RECORD_GOT, 3)->kind = RECORD_NONE;
    assert_int_equal(n_wrong(*state), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_is_well),
        TEST(a_message_comes_twice),
        TEST(messages_come_in_another_order),
        TEST(a_loss_is_not_told),
        TEST(a_loss_is_told_that_was_none),
        TEST(the_last_message_is_missing),
        TEST(the_first_message_is_missing),
        TEST(a_message_was_not_sent),
        TEST(a_message_has_another_topic),
        TEST(a_message_is_not_for_that_filter),
        TEST(a_confirmation_comes_twice),
        TEST(a_job_is_not_done),
        TEST(a_job_is_not_given_up),
        TEST(a_job_comes_again_as_new),
        TEST(a_job_matches_nothing),
        TEST(a_request_ends_twice),
        TEST(a_request_does_not_end),
        TEST(a_request_goes_to_two),
        TEST(an_answer_comes_from_nobody),
        TEST(a_body_is_wrong),
        TEST(a_killed_requester_hears_of_no_end),
        TEST(a_subscription_that_was_cut_off_misses_its_last_messages),
        TEST(order_holds_across_a_return),
        TEST(what_is_reliable_is_not_lost_with_a_router),
        TEST(a_killed_publisher_may_not_have_sent_what_is_reliable),
        TEST(a_job_whose_acknowledgement_failed_is_not_done),
        TEST(a_killed_publisher_may_not_have_sent_its_last_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
