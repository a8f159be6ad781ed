/* SPDX-License-Identifier: MIT */
/* Rules that change while everybody works: at no moment has anybody wider rights than by the rules
 * before or after. Two sets of rules take turns; between two changes each message says under which
 * of them it was published. */
#include <bus/monitor.h>
#include <sys/stat.h>
#include "support/people.h"

#define RELOADS 30u
#define STEADY 200u /* messages to each topic between two changes */

/* Body of a message: what rules were in force, or that they were just changing. */
struct stamp {
    uint32_t generation;
    uint32_t is_steady;
};

static char letter_of(uint32_t generation)
{
    return generation % 2 == 0 ? 'a' : 'b';
}

static char last_letter(const char *topic)
{
    return topic[strlen(topic) - 1];
}

/* ---- Alice, who subscribes ---- */

struct reader {
    struct child_self *self;
    uint64_t n_steady, n_lost, n_ended;
    struct bus_sub *plain[2]; /* of load/a and load/b: one of them is refused */
    bool is_dead[2];
};

static void on_steady(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct reader *r = userdata;
    struct stamp stamp;

    CHILD_CHECK(r->self, bus_message_bytes(message) == sizeof(stamp));
    memcpy(&stamp, bus_message_data(message), sizeof(stamp));
    if (stamp.is_steady) {
        CHILD_CHECK(r->self,
                    last_letter(bus_message_topic(message)) == letter_of(stamp.generation));
        r->n_steady += sub != r->plain[0] && sub != r->plain[1];
    }
    r->self->report->done = stamp.generation;
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct reader *r = userdata;

    CHILD_CHECK(r->self, loss->reason == BUS_LOSS_DENIED);
    r->n_lost += sub != r->plain[0] && sub != r->plain[1] ? loss->count : 0;
}

static void on_wide_ready(struct bus_sub *sub, enum bus_status status, const char *text,
                          void *userdata)
{
    struct reader *r = userdata;

    (void) sub;
    CHILD_CHECK(r->self, status == BUS_STATUS_OK && *text);
}

static void on_plain_ready(struct bus_sub *sub, enum bus_status status, const char *text,
                           void *userdata)
{
    struct reader *r = userdata;

    (void) text;
    if (status != BUS_STATUS_OK) {
        CHILD_CHECK(r->self, status == BUS_STATUS_DENIED);
        r->is_dead[sub == r->plain[1]] = true;
        r->n_ended++;
    }
}

static void subscribe_plain(struct reader *r, struct bus_conn *conn, unsigned i)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    opts.on_loss = on_loss;
    opts.on_ready = on_plain_ready;
    r->is_dead[i] = false;
    CHILD_CHECK(r->self, bus_subscribe(conn, i ? "load/b" : "load/a", &opts, on_steady, r,
                                       &r->plain[i]) == 0);
}

/* What has ended is asked for again and again. */
static void alice(struct child_self *self)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct reader r = {.self = self};
    struct bus_conn *conn = become(self, self->role, NULL);

    opts.flags = BUS_SUB_NARROW;
    opts.on_loss = on_loss;
    opts.on_ready = on_wide_ready;
    CHILD_CHECK(self, bus_subscribe(conn, "load/#", &opts, on_steady, &r, NULL) == 0);
    subscribe_plain(&r, conn, 0);
    subscribe_plain(&r, conn, 1);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        CHILD_CHECK(self, bus_process(conn) >= 0);
        for (unsigned i = 0; i < 2; i++) {
            if (r.is_dead[i]) {
                bus_sub_unref(r.plain[i]);
                subscribe_plain(&r, conn, i);
            }
        }
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, r.n_steady + r.n_lost >= (uint64_t) RELOADS * STEADY);
    CHILD_CHECK(self, r.n_steady > 0 && r.n_ended >= RELOADS);
    bus_close(conn);
}

/* ---- Bob, who publishes ---- */

static void on_refused(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct child_self *self = userdata;

    (void) conn;
    CHILD_CHECK(self, event->status == BUS_STATUS_DENIED);
    self->report->lost++;
}

/* By a handle, or by name without one; when root, who must not miss anything, has read. */
static void bob_publish(struct child_self *self, struct bus_conn *conn, struct bus_topic *topic,
                        const char *name)
{
    int r;

    do {
        r = topic ? bus_topic_publish(topic, "", 0, NULL) : bus_publish(conn, name, "", 0);
    } while (r == -EAGAIN && bus_wait_writable(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, r == 0);
}

/* To both, by handles and by name. */
static void bob(struct child_self *self)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_topic *topic[2];
    struct bus_conn *conn;

    opts.on_status = on_refused;
    opts.userdata = self;
    conn = become(self, self->role, &opts);
    CHILD_CHECK(self, bus_advertise(conn, "in/a", &topic[0]) == 0);
    CHILD_CHECK(self, bus_advertise(conn, "in/b", &topic[1]) == 0);
    child_ready(self);
    while (!child_wait(self, -1, 0)) {
        for (unsigned i = 0; i < 2; i++) {
            bob_publish(self, conn, topic[i], NULL);
            bob_publish(self, conn, NULL, i ? "in/name/b" : "in/name/a");
        }
        CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
        self->report->done++;
    }
    CHILD_CHECK(self, self->report->lost > 0);
    bus_close(conn);
}

/* ---- root, who changes the rules ---- */

struct world {
    struct router_fixture f;
    char path[128]; /* of the configuration */
    struct bus_conn *conn;
    uint32_t generation;
    bool is_steady;
    struct {
        uint64_t begin_ns, end_ns; /* of the router's clock: it knew no other rules between them */
    } steady[RELOADS + 1];
    uint64_t n_in[2]; /* from Bob, in steady times */
    uint64_t n_reloads;
    bool has_answered;
};

static void write_rules(const struct world *w, uint32_t generation)
{
    char other[sizeof(w->path) + 8];
    char letter = letter_of(generation);
    FILE *out;

    (void) snprintf(other, sizeof(other), "%s.new", w->path);
    out = fopen(other, "w");
    assert_non_null(out);
    (void) fprintf(
        out,
        "rules = (\n"
        "  { allow = \"all\"; user = \"0\"; topic = [\"#\", \"$bus/#\"]; },\n"
        "  { allow = \"subscribe\"; user = \"%u\"; topic = \"load/%c\"; },\n"
        "  { allow = \"publish\"; user = \"%u\"; topic = [\"in/%c\", \"in/name/%c\"]; }\n"
        ");\n",
        ALICE, letter, BOB, letter, letter);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(rename(other, w->path), 0);
}

static void on_in(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct world *w = userdata;
    char letter = last_letter(bus_message_topic(message));
    uint64_t time_ns = bus_message_time_ns(message); /* it may have waited */

    (void) sub;
    for (uint32_t i = 0; i <= w->generation; i++) {
        if (time_ns > w->steady[i].begin_ns && time_ns < w->steady[i].end_ns) {
            assert_int_equal(letter, letter_of(i));
            w->n_in[letter == 'b']++;
        }
    }
}

static void on_counter(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                       enum bus_status status, void *userdata)
{
    struct world *w = userdata;

    (void) conn;
    assert_int_equal(status, BUS_STATUS_OK);
    if (!entry) {
        w->has_answered = true;
    } else if (strcmp(entry->counter->name, "config_reloads") == 0) {
        w->n_reloads = entry->counter->value;
    }
}

static void steady_begin(struct world *w, uint32_t generation)
{
    w->generation = generation;
    w->steady[generation].begin_ns = clock_realtime_ns();
    w->steady[generation].end_ns = UINT64_MAX;
    w->is_steady = true;
}

static uint64_t count_reloads(struct world *w)
{
    w->has_answered = false;
    assert_int_equal(bus_snapshot(w->conn, BUS_SNAPSHOT_COUNTERS, on_counter, w), 0);
    while (!w->has_answered) {
        assert_int_equal(bus_wait(w->conn, FIXTURE_TIMEOUT_MS), 1);
        assert_true(bus_process(w->conn) >= 0);
    }
    return w->n_reloads;
}

static void publish(struct world *w, unsigned n)
{
    const struct stamp stamp = {w->generation, w->is_steady};

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(bus_publish(w->conn, "load/a", &stamp, sizeof(stamp)), 0);
        assert_int_equal(bus_publish(w->conn, "load/b", &stamp, sizeof(stamp)), 0);
    }
}

/* Messages go on meanwhile. */
static void change_rules(struct world *w)
{
    uint64_t before = count_reloads(w);

    w->is_steady = false;
    w->steady[w->generation].end_ns = clock_realtime_ns();
    publish(w, 5);
    write_rules(w, w->generation + 1);
    assert_int_equal(kill(w->f.process.pid, SIGHUP), 0);
    do {
        publish(w, 5);
    } while (count_reloads(w) == before);
    steady_begin(w, w->generation + 1);
}

static void world_begin(struct world *w, const char *const *args)
{
    const struct router_options o = {.args = args};
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    router_start(&w->f, &o);
    assert_int_equal(chmod(w->f.dir, 0755), 0);
    assert_int_equal(bus_open(w->f.seqpacket, NULL, &w->conn), 0);
    opts.policy = BUS_POLICY_BLOCK;
    assert_int_equal(bus_subscribe(w->conn, "in/#", &opts, on_in, w, NULL), 0);
    assert_int_equal(bus_flush(w->conn, FIXTURE_TIMEOUT_MS), 0);
    steady_begin(w, 0);
}

static void children_begin(struct world *w, struct child c[4], struct person people[4])
{
    for (unsigned i = 0; i < 4; i++) {
        people[i] =
            (struct person){i & 1 ? BOB : ALICE, false, i & 2 ? w->f.stream : w->f.seqpacket};
        child_start(&c[i], i & 1 ? bob : alice, &people[i]);
        child_expect_ready(&c[i]);
    }
}

static void test_nobody_has_wider_rights_than_before_or_after(void **state)
{
    struct world w = {.generation = 0};
    const char *args[] = {"--mode", "0666", "--config", w.path, "--log-level", "error", NULL};
    struct person people[4];
    struct child c[4];
    char dir[64];

    (void) state;
    need_root();
    fixture_dir_new(dir);
    (void) snprintf(w.path, sizeof(w.path), "%s/router.conf", dir);
    write_rules(&w, 0);
    world_begin(&w, args);
    children_begin(&w, c, people);
    for (unsigned i = 0; i < RELOADS; i++) {
        publish(&w, STEADY);
        assert_int_equal(bus_flush(w.conn, FIXTURE_TIMEOUT_MS), 0);
        change_rules(&w);
    }
    for (unsigned i = 0; i < 4; i++) {
        child_finish(&c[i]);
        while (!child_is_readable(&c[i], 0)) { /* Bob may wait for us to read */
            assert_true(bus_wait(w.conn, 10) >= 0);
            assert_true(bus_process(w.conn) >= 0);
        }
        child_join(&c[i]);
        child_forget(&c[i]);
    }
    assert_true(w.n_in[0] > 0 && w.n_in[1] > 0);
    bus_close(w.conn);
    router_stop(&w.f);
    fixture_dir_remove(dir);
}

/* What cannot be read changes nothing. */
static void test_wrong_rules_leave_the_old_ones(void **state)
{
    static char log[FIXTURE_LOG_BYTES];
    struct world w = {.generation = 0};
    const char *args[] = {"--mode", "0666", "--config", w.path, NULL};
    char dir[64];
    FILE *out;

    (void) state;
    need_root();
    fixture_dir_new(dir);
    (void) snprintf(w.path, sizeof(w.path), "%s/router.conf", dir);
    write_rules(&w, 0);
    world_begin(&w, args);
    out = fopen(w.path, "w");
    assert_non_null(out);
    (void) fputs("rules = ( { allow = \"everything\"; topic = \"#\"; } );\n", out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(kill(w.f.process.pid, SIGHUP), 0);
    do {
        (void) count_reloads(&w); /* the router turns */
        router_log(&w.f.process, log);
    } while (!strstr(log, "config.rejected"));
    assert_int_equal(w.n_reloads, 0);
    assert_int_equal(bus_publish(w.conn, "in/a", "", 0), 0);
    assert_int_equal(bus_flush(w.conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(w.n_in[0], 1); /* root may still */
    bus_close(w.conn);
    router_stop(&w.f);
    fixture_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_has_wider_rights_than_before_or_after),
        cmocka_unit_test(test_wrong_rules_leave_the_old_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
