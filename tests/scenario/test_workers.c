/* SPDX-License-Identifier: MIT */
/* Workers of a group that are killed at random: every job is done, and no job twice that did not
 * come back. */
#include <bus/bus.h>
#include "support/children.h"

#define WORKERS 5
#define JOBS 20000u
#define KILLS 60

/* What all processes see. */
struct board {
    _Atomic uint32_t done[JOBS + 1];    /* by number */
    _Atomic uint32_t excused[JOBS + 1]; /* of these, delivered before to somebody else */
    _Atomic uint32_t n_lost;
};

struct work_role {
    const char *address;
    struct board *board;
};

static void on_job(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct child_self *self = userdata;
    const struct work_role *role = self->role;
    uint64_t number;

    (void) sub;
    CHILD_CHECK(self, bus_message_bytes(m) >= sizeof(number));
    memcpy(&number, bus_message_data(m), sizeof(number));
    CHILD_CHECK(self, number >= 1 && number <= JOBS);
    CHILD_CHECK(self, child_body_is(bus_message_data(m), bus_message_bytes(m), number));
    role->board->excused[number] += bus_message_is_redelivered(m) != 0;
    role->board->done[number]++;
    self->report->done++;
    CHILD_CHECK(self, bus_message_ack(m) == 0);
}

static void on_job_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct child_self *self = userdata;
    const struct work_role *role = self->role;

    (void) sub;
    role->board->n_lost += (uint32_t) loss->count;
}

static void worker(struct child_self *self)
{
    const struct work_role *role = self->role;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;

    opts.group = "workers";
    opts.flags = BUS_SUB_ACK;
    opts.policy = BUS_POLICY_BLOCK;
    opts.window_messages = 50;
    opts.queue_messages = 200;
    opts.deliveries_max = 1000;
    opts.on_loss = on_job_loss;
    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_subscribe(conn, "jobs", &opts, on_job, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        while (bus_process(conn) > 0) {
        }
    }
    bus_close(conn);
}

/* Publishes while it can; large jobs lie in shared memory. Returns how many there are by now. */
static uint64_t publish_some(struct bus_conn *conn, struct bus_topic *topic, uint64_t done)
{
    static uint8_t body[20000];
    int r = 0;

    for (unsigned i = 0; i < 300 && done < JOBS && r == 0; i++) {
        size_t bytes = done % 7 == 0 ? sizeof(body) : 40;

        child_body_fill(body, bytes, done + 1);
        r = bus_topic_publish(topic, body, bytes, NULL);
        done += r == 0;
    }
    assert_true(r == 0 || r == -EAGAIN);
    while (bus_process(conn) > 0) {
    }
    return done;
}

static bool is_all_done(const struct board *b)
{
    for (unsigned i = 1; i <= JOBS; i++) {
        if (b->done[i] == 0) {
            return false;
        }
    }
    return true;
}

static void test_killed_workers_leave_no_job_undone(void **state)
{
    struct rng rng = rng_from_env();
    struct router_fixture f;
    struct router_state before;
    struct child children[WORKERS];
    struct work_role roles[2];
    struct bus_conn *ask, *conn;
    struct bus_topic *topic;
    uint64_t deadline_ns, n_again = 0, n_jobs = 0, deaths_at = 0;
    unsigned kills = 0;
    struct board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void) state;
    assert_ptr_not_equal(board, MAP_FAILED);
    router_start(&f, NULL);
    before = router_ask(&f, &ask);
    roles[0] = (struct work_role){f.seqpacket, board};
    roles[1] = (struct work_role){f.stream, board};
    for (unsigned i = 0; i < WORKERS; i++) {
        child_start(&children[i], worker, &roles[i % 2]);
        child_expect_ready(&children[i]);
    }
    assert_int_equal(bus_open(f.seqpacket, NULL, &conn), 0);
    assert_int_equal(bus_advertise(conn, "jobs", &topic), 0);
    deadline_ns = clock_monotonic_ns() + 2 * FIXTURE_TIMEOUT_MS * NS_PER_MS;
    while (n_jobs < JOBS || kills < KILLS) {
        uint64_t n = publish_some(conn, topic, n_jobs);

        (void) bus_wait(conn, 1);
        n_jobs = n;
        if (kills < KILLS && (n_jobs >= deaths_at || n_jobs == JOBS)) {
            unsigned i = rng_below(&rng, WORKERS);

            child_kill9(&children[i]);
            child_start(&children[i], worker, &roles[rng_below(&rng, 2)]);
            if (rng_below(&rng, 2)) {
                child_expect_ready(&children[i]);
            }
            kills++;
            deaths_at += JOBS / KILLS;
        }
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    while (!is_all_done(board) || router_counter(ask, "messages_unacknowledged_now") > 0) {
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    assert_int_equal(board->n_lost, 0);
    for (unsigned i = 1; i <= JOBS; i++) {
        /* one of them was the first; a dead one may have had it and not done it */
        assert_true(board->done[i] <= board->excused[i] + 1);
        n_again += board->done[i] - 1;
    }
    print_message("%u kills, %llu jobs done again, %llu redelivered\n", kills,
                  (unsigned long long) n_again,
                  (unsigned long long) router_counter(ask, "messages_redelivered"));
    assert_int_equal(router_counter(ask, "messages_lost"), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        child_finish(&children[i]);
        child_join(&children[i]);
        child_forget(&children[i]);
    }
    bus_close(conn);
    expect_router_state(&f, ask, &before);
    assert_int_equal(router_counter(ask, "groups_now"), 0);
    bus_close(ask);
    router_stop(&f);
    (void) munmap(board, sizeof(*board));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_workers_leave_no_job_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
