/* SPDX-License-Identifier: MIT */
/* Rights of users who do not trust each other, with real ones: children that become somebody else.
 * docs/protocol.md, section 20. Needs root. */
#include <bus/events.h>
#include <bus/request.h>
#include <sys/stat.h>
#include "support/people.h"

#define RULE(text) "--rule", text
#define OPEN_TO_ALL "--mode", "0666"
#define FOR_ROOT                                                                                   \
    RULE("allow all user=0 topic=#"), RULE("allow subscribe,monitor,request user=0 topic=$bus/#")

/* A router with these arguments, that everybody may connect to. */
static void start(struct router_fixture *f, const char *const *args)
{
    const struct router_options o = {.args = args};

    router_start(f, &o);
    assert_int_equal(chmod(f->dir, 0755), 0);
}

/* ---- what a client hears ---- */

struct heard {
    struct child_self *self;
    unsigned n_status, n_ready, n_messages, n_losses;
    enum bus_status status;
    char text[512], topic[256];
};

static void on_status(struct bus_conn *conn, const struct bus_status_event *e, void *userdata)
{
    struct heard *h = userdata;

    (void) conn;
    h->n_status++;
    h->status = e->status;
    (void) snprintf(h->text, sizeof(h->text), "%s", e->text);
    (void) snprintf(h->topic, sizeof(h->topic), "%s", e->topic ? e->topic : "");
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    struct heard *h = userdata;

    (void) sub;
    h->n_ready++;
    h->status = status;
    (void) snprintf(h->text, sizeof(h->text), "%s", text);
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct heard *h = userdata;

    (void) sub;
    h->n_messages++;
    (void) snprintf(h->topic, sizeof(h->topic), "%s", bus_message_topic(message));
}

static void subscribe(struct bus_conn *conn, const char *filter, uint32_t flags, struct heard *h)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    opts.flags = flags;
    opts.on_ready = on_ready;
    CHILD_CHECK(h->self, bus_subscribe(conn, filter, &opts, on_message, h, NULL) == 0);
    CHILD_CHECK(h->self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
}

/* In this process, which is root. */
static struct bus_conn *open_as_root(const struct router_fixture *f)
{
    struct bus_conn *conn = NULL;

    assert_int_equal(bus_open(f->seqpacket, NULL, &conn), 0);
    return conn;
}

static void root_subscribes(struct bus_conn *conn, const char *filter, struct heard *h)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;

    opts.on_ready = on_ready;
    assert_int_equal(bus_subscribe(conn, filter, &opts, on_message, h, NULL), 0);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(h->status, BUS_STATUS_OK);
}

/* ---- publishing ---- */

static void publishes_at_home(struct child_self *self)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct heard h = {.self = self};
    struct bus_conn *conn;

    opts.on_status = on_status;
    opts.userdata = &h;
    conn = become(self, self->role, &opts);
    CHILD_CHECK(self, bus_publish(conn, "home/40001/a", "mine", 4) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, h.n_status == 0);
    CHILD_CHECK(self, bus_publish(conn, "home/40002/a", "not mine", 8) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, h.n_status == 1);
    CHILD_CHECK(self, h.status == BUS_STATUS_DENIED);
    CHILD_CHECK(self, strcmp(h.topic, "home/40002/a") == 0);
    CHILD_CHECK(self, *h.text);
    CHILD_CHECK(self, bus_publish(conn, "home/40001/secret", "", 0) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, h.n_status == 2);
    CHILD_CHECK(self, strstr(h.text, "--rule 4") == h.text);
    bus_close(conn);
}

static void test_a_user_publishes_where_the_rules_allow_it(void **state)
{
    static const char *const args[] = {OPEN_TO_ALL, FOR_ROOT, RULE("allow publish topic=home/%U/#"),
                                       RULE("deny publish topic=home/+/secret"), NULL};
    struct heard h = {0};
    struct router_fixture f;
    struct bus_conn *conn;

    (void) state;
    need_root();
    start(&f, args);
    conn = open_as_root(&f);
    root_subscribes(conn, "#", &h);
    run_both(publishes_at_home, &f, ALICE, false);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(h.n_messages, 2); /* one of each child */
    assert_string_equal(h.topic, "home/40001/a");
    bus_close(conn);
    router_stop(&f);
}

/* ---- subscribing ---- */

static void subscribes(struct child_self *self)
{
    struct heard wide = {.self = self}, narrow = {.self = self}, none = {.self = self};
    struct bus_conn *conn = become(self, self->role, NULL);

    subscribe(conn, "open/#", 0, &wide);
    CHILD_CHECK(self, wide.n_ready == 1 && wide.status == BUS_STATUS_DENIED && *wide.text);
    subscribe(conn, "other", BUS_SUB_NARROW, &none);
    CHILD_CHECK(self, none.status == BUS_STATUS_DENIED);
    subscribe(conn, "open/#", BUS_SUB_NARROW, &narrow);
    CHILD_CHECK(self, narrow.n_ready == 1 && narrow.status == BUS_STATUS_OK);
    CHILD_CHECK(self, strstr(narrow.text, "--rule 4") == narrow.text);
    child_ready(self);
    while (!child_wait(self, bus_fd(conn), -1)) {
        CHILD_CHECK(self, bus_process(conn) >= 0);
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, narrow.n_messages == 1);
    CHILD_CHECK(self, strcmp(narrow.topic, "open/a") == 0);
    CHILD_CHECK(self, wide.n_messages == 0 && none.n_messages == 0);
    bus_close(conn);
}

static void test_a_subscription_is_refused_or_narrowed(void **state)
{
    static const char *const args[] = {OPEN_TO_ALL, FOR_ROOT, RULE("allow subscribe topic=open/#"),
                                       RULE("deny subscribe topic=open/secret"), NULL};
    struct router_fixture f;
    struct bus_conn *conn;

    (void) state;
    need_root();
    start(&f, args);
    conn = open_as_root(&f);
    for (int i = 0; i < 2; i++) {
        const struct person alice = {ALICE, false, i ? f.stream : f.seqpacket};
        struct child c;

        child_start(&c, subscribes, &alice);
        child_expect_ready(&c);
        assert_int_equal(bus_publish(conn, "open/secret", "", 0), 0);
        assert_int_equal(bus_publish(conn, "open/a", "", 0), 0);
        assert_int_equal(bus_publish(conn, "other", "", 0), 0);
        assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
        child_finish(&c);
        child_join(&c);
        child_forget(&c);
    }
    bus_close(conn);
    router_stop(&f);
}

/* ---- who somebody is ---- */

static void may_publish_to_crew(struct child_self *self)
{
    const struct person *p = self->role;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct heard h = {.self = self};
    struct bus_conn *conn;

    opts.on_status = on_status;
    opts.userdata = &h;
    conn = become(self, p, &opts);
    child_ready(self);
    do {
        h.n_status = 0;
        CHILD_CHECK(self, bus_publish(conn, "crew/a", "", 0) == 0);
        CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
        CHILD_CHECK(self, h.n_status == (p->is_crew ? 0 : 1));
    } while (!child_wait(self, -1, 0));
    bus_close(conn);
}

/* Also when another router has taken over, which asks nobody. */
static void test_supplementary_groups_count_and_survive_a_replacement(void **state)
{
    static const char *const args[] = {
        OPEN_TO_ALL,         FOR_ROOT, RULE("allow publish group=40500 topic=crew/#"),
        "--replace-timeout", "60s",    NULL};
    const struct router_options o = {.args = args};
    struct router_fixture f;
    struct person people[4];
    struct child c[4];

    (void) state;
    need_root();
    start(&f, args);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        people[i] = (struct person){ALICE, i & 1, i & 2 ? f.stream : f.seqpacket};
        child_start(&c[i], may_publish_to_crew, &people[i]);
        child_expect_ready(&c[i]);
    }
    router_replace(&f, &o);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        child_finish(&c[i]);
        child_join(&c[i]);
        child_forget(&c[i]);
    }
    router_stop(&f);
}

static void test_a_rule_may_be_for_one_listener(void **state)
{
    char listen[160], rule[] = "allow publish listener=crew topic=crew/#";
    struct person inside = {BOB, true, NULL}, outside = {BOB, false, NULL};
    const char *args[] = {OPEN_TO_ALL,         FOR_ROOT, RULE(rule), "--listen", listen,
                          "--replace-timeout", "60s",    NULL};
    const struct router_options o = {.args = args};
    char dir[64], address[128];
    struct router_fixture f;
    struct child c[2];

    (void) state;
    need_root();
    fixture_dir_new(dir);
    assert_int_equal(chmod(dir, 0755), 0);
    (void) snprintf(address, sizeof(address), "seqpacket:%s/crew.sock", dir);
    (void) snprintf(listen, sizeof(listen), "crew=%s", address);
    start(&f, args);
    inside.address = address;
    outside.address = f.seqpacket;
    for (unsigned i = 0; i < 2; i++) {
        child_start(&c[i], may_publish_to_crew, i ? &inside : &outside);
        child_expect_ready(&c[i]);
    }
    router_replace(&f, &o);
    for (unsigned i = 0; i < 2; i++) {
        child_finish(&c[i]);
        child_join(&c[i]);
        child_forget(&c[i]);
    }
    router_stop(&f);
    fixture_dir_remove(dir);
}

/* ---- who hears of it ---- */

struct told {
    unsigned n;
    struct bus_denied_event last;
};

static void on_denied(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct told *t = userdata;

    (void) sub;
    t->n++;
    t->last = (struct bus_denied_event) BUS_DENIED_EVENT_INIT;
    assert_int_equal(
        bus_denied_event_parse(bus_message_data(message), bus_message_bytes(message), &t->last), 0);
}

static void publishes_elsewhere(struct child_self *self)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;

    opts.name = "elsewhere";
    conn = become(self, self->role, &opts);
    CHILD_CHECK(self, bus_publish(conn, "not/mine", "", 0) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    bus_close(conn);
}

static void test_refusals_are_events_and_lines_of_the_log(void **state)
{
    static const char *const args[] = {OPEN_TO_ALL, FOR_ROOT,
                                       RULE("deny publish user=40002 topic=not/#"), NULL};
    static char log[FIXTURE_LOG_BYTES];
    struct router_fixture f;
    struct told told = {0};
    struct person bob = {.uid = BOB};
    struct bus_conn *conn;
    char line[128];

    (void) state;
    need_root();
    start(&f, args);
    bob.address = f.stream;
    conn = open_as_root(&f);
    assert_int_equal(bus_subscribe(conn, BUS_EVENTS_DENIED, NULL, on_denied, &told, NULL), 0);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    run_as(publishes_elsewhere, &bob);
    while (told.n == 0) {
        assert_true(bus_wait(conn, FIXTURE_TIMEOUT_MS) > 0);
        assert_true(bus_process(conn) >= 0);
    }
    assert_int_equal(told.last.uid, BOB);
    assert_int_equal(told.last.gid, BOB);
    assert_string_equal(told.last.name, "elsewhere");
    assert_string_equal(told.last.verb, "publish");
    assert_string_equal(told.last.topic, "not/mine");
    assert_string_equal(told.last.rule, "--rule 3");
    assert_int_equal(told.last.taken, 0);
    bus_close(conn);
    router_log(&f.process, log);
    assert_says(log, "access.denied");
    (void) snprintf(line, sizeof(line), "uid=%u", BOB);
    assert_says(log, line);
    assert_says(log, "topic=not/mine");
    router_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_user_publishes_where_the_rules_allow_it),
        cmocka_unit_test(test_a_subscription_is_refused_or_narrowed),
        cmocka_unit_test(test_supplementary_groups_count_and_survive_a_replacement),
        cmocka_unit_test(test_a_rule_may_be_for_one_listener),
        cmocka_unit_test(test_refusals_are_events_and_lines_of_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
