/* SPDX-License-Identifier: MIT */
/* Bodies in shared memory between real processes: every byte arrives, memory is used again, and
 * neither those who keep, stop, die nor lie take anything from the others. BUS_TEST_LONG=1 sends
 * one of 1 GiB. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/resource.h>
#include "support/bodies.h"
#include "support/raw_fds.h"

#define HEALTHY 2
#define POOL_SMALL (8 * BODY_MIB)

static const struct bus_sub_opts opts_none = BUS_SUB_OPTS_INIT;

static struct bodies_role role_of(const char *address, const char *topic)
{
    return (struct bodies_role){.address = address, .topic = topic, .opts = opts_none};
}

/* ---- sizes ---- */

static const size_t sizes[] = {
    1,     4095,  4096,         4097,     8191,         8192,         8193,          65535,
    65536, 65537, BODY_MIB - 1, BODY_MIB, BODY_MIB + 1, 5 * BODY_MIB, 64 * BODY_MIB,
};

/* Small ones in between. */
static size_t size_from_table(uint64_t number)
{
    return number % 2 ? 17 : sizes[(number / 2 - 1) % ARRAY_LEN(sizes)];
}

static void start_blocking(struct child *subs, size_t n, const struct router_fixture *f,
                           size_t (*size_of)(uint64_t))
{
    for (size_t i = 0; i < n; i++) {
        struct bodies_role role = role_of(address_of(f, i % 2), "large/+");

        role.size_of = size_of;
        role.opts.policy = BUS_POLICY_BLOCK;
        bodies_start(&subs[i], bodies_subscriber, &role);
    }
}

/* All that was published is there; returns what the publisher says. */
static uint64_t finish_healthy(struct child *publisher, struct child *subs, size_t n)
{
    struct child *all[8];
    uint64_t published;

    for (size_t i = 0; i < n; i++) {
        all[i] = &subs[i];
    }
    children_finish(publisher, all, n);
    published = publisher->report->done;
    child_forget(publisher);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(subs[i].report->lost, 0);
        assert_int_equal(subs[i].report->done, published);
        child_forget(&subs[i]);
    }
    return published;
}

static void publish_table(const struct router_fixture *f, bool packets, bool copies,
                          uint64_t threshold)
{
    struct bodies_role role = role_of(address_of(f, packets), "large/table");
    struct child publisher, subs[3];

    start_blocking(subs, ARRAY_LEN(subs), f, size_from_table);
    role.size_of = size_from_table;
    role.n = 2 * ARRAY_LEN(sizes);
    role.copies = copies;
    role.threshold = threshold;
    bodies_start(&publisher, bodies_publisher, &role);
    bodies_reach(&publisher, role.n, NULL, 0);
    assert_int_equal(finish_healthy(&publisher, subs, ARRAY_LEN(subs)), role.n);
}

static void bodies_of_every_size_arrive(bool packets)
{
    struct cargo_state before;
    struct router_fixture f;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    publish_table(&f, packets, true, 0);
    publish_table(&f, packets, false, 0);
    publish_table(&f, packets, false, 65537);
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}
ON_BOTH_LINKS(bodies_of_every_size_arrive)

static uint64_t memory_available(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        (void) sscanf(line, "MemAvailable: %llu", &kib);
    }
    (void) fclose(f);
    return (uint64_t) kib * 1024;
}

static size_t size_huge(uint64_t number)
{
    (void) number;
    return (is_long_run() ? 1024 : 300) * BODY_MIB;
}

static void one_huge_body_arrives(bool packets)
{
    struct child publisher, sub;
    struct bodies_role role;
    struct router_fixture f;

    if (memory_available() < 2 * size_huge(1)) {
        print_message("not enough memory for a body of %zu MiB\n", size_huge(1) / BODY_MIB);
        skip();
    }
    router_start(&f, NULL);
    start_blocking(&sub, 1, &f, size_huge);
    role = role_of(address_of(&f, packets), "large/huge");
    role.size_of = size_huge;
    role.n = 1;
    bodies_start(&publisher, bodies_publisher, &role);
    bodies_reach(&publisher, 1, NULL, 0);
    assert_int_equal(finish_healthy(&publisher, &sub, 1), 1);
    router_stop(&f);
}
ON_BOTH_LINKS(one_huge_body_arrives)

/* ---- memory is used again ---- */

#define REUSED 2000
/* Both windows (4 MiB), the queue (8 MiB) and what is being filled: 17 slots in segments of 4 MiB,
 * and some more because a slot is returned later than it is let go of. */
#define MAPS_MAX 10u
#define CLIENT_FDS_MAX 12u

static void memory_is_used_again(bool packets)
{
    struct peak publisher_peak = {0}, sub_peak = {0};
    struct child publisher, sub;
    struct cargo_state before;
    struct router_fixture f;
    struct bodies_role role;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    role = role_of(address_of(&f, packets), "large/again");
    role.size_of = size_1_mib;
    role.opts.policy = BUS_POLICY_BLOCK;
    bodies_start(&sub, bodies_subscriber, &role);
    role.n = REUSED;
    bodies_start(&publisher, bodies_publisher, &role);
    while (publisher.report->done < REUSED) {
        bodies_reach(&publisher, MIN(publisher.report->done + 50, REUSED), NULL, 0);
        peak_note(&publisher_peak, publisher.pid);
        peak_note(&sub_peak, sub.pid);
    }
    print_message("%d bodies: %u mappings and %u descriptors of the publisher, %u and %u of the "
                  "subscriber\n",
                  REUSED, publisher_peak.maps, publisher_peak.fds, sub_peak.maps, sub_peak.fds);
    assert_in_range(publisher_peak.maps, 1, MAPS_MAX);
    assert_in_range(sub_peak.maps, 1, MAPS_MAX);
    assert_in_range(publisher_peak.fds, 1, CLIENT_FDS_MAX);
    assert_in_range(sub_peak.fds, 1, CLIENT_FDS_MAX);
    assert_in_range(router_counter(conn, "buffers_now"), 1, MAPS_MAX);
    assert_int_equal(finish_healthy(&publisher, &sub, 1), REUSED);
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}
ON_BOTH_LINKS(memory_is_used_again)

/* ---- what is kept ---- */

#define KEPT 8
#define GOES_ON 3000

static const size_t kept_sizes[] = {300, 5000, 65536, 70000, BODY_MIB};

static size_t size_kept(uint64_t number)
{
    return kept_sizes[number % ARRAY_LEN(kept_sizes)];
}

/* Takes what comes until it is asked, then looks whether all it keeps is as it was. */
static void keeper_look(struct child_self *self, struct bus_conn *conn)
{
    int r = conn ? 0 : -ENOTCONN;
    char byte;

    while (!child_wait(self, r == -ENOTCONN ? -1 : bus_fd(conn), r > 0 ? 0 : -1)) {
        r = bus_process(conn);
        CHILD_CHECK(self, r >= 0 || r == -ENOTCONN);
    }
    CHILD_CHECK(self, read(self->control, &byte, 1) == 1);
    CHILD_CHECK(self, n_bodies_kept == KEPT);
    bodies_check_kept(self);
    child_ready(self);
}

static void keeper(struct child_self *self)
{
    struct bus_conn *conn;
    size_t bytes;

    bodies_subscribe(self, &conn);
    child_ready(self);
    keeper_look(self, conn); /* while the publisher goes on */
    keeper_look(self, conn); /* after its end */
    keeper_look(self, conn); /* after the router's */
    bus_close(conn);
    keeper_look(self, NULL);
    CHILD_CHECK(self, buffers_mapped(getpid(), &bytes) > 0);
    bodies_drop_kept();
    CHILD_CHECK(self, buffers_mapped(getpid(), &bytes) == 0);
}

static void ask_keeper(struct child *c)
{
    assert_int_equal(write(c->control, "?", 1), 1);
    child_expect_ready(c);
}

static void kept_messages_outlive_everybody(bool packets)
{
    struct child publisher, sub;
    struct router_fixture f;
    struct bodies_role role;

    router_start(&f, NULL);
    role = role_of(address_of(&f, packets), "large/kept");
    role.size_of = size_kept;
    role.keeps = KEPT;
    bodies_start(&sub, keeper, &role);
    bodies_start(&publisher, bodies_publisher, &role);
    bodies_watch(&sub, KEPT, NULL, 0);
    bodies_watch(&publisher, GOES_ON, NULL, 0);
    ask_keeper(&sub);
    child_kill9(&publisher);
    ask_keeper(&sub);
    router_kill9(&f);
    ask_keeper(&sub);
    ask_keeper(&sub);
    child_join(&sub);
    child_forget(&sub);
    fixture_dir_remove(f.dir);
}
ON_BOTH_LINKS(kept_messages_outlive_everybody)

/* ---- those who hold, and their ends ---- */

/* A publisher with little memory, and healthy subscribers on both links. */
struct cast {
    struct router_fixture f;
    struct bus_conn *conn;
    struct cargo_state before;
    struct child publisher, healthy[HEALTHY];
    struct child other; /* pid 0: there is none */
    size_t (*size_of)(uint64_t number);
};

static void start_other(struct cast *t, bool packets, enum bus_policy policy, size_t keeps)
{
    struct bodies_role role = role_of(address_of(&t->f, packets), "large/+");

    role.size_of = t->size_of;
    role.keeps = keeps;
    role.opts.policy = policy;
    bodies_start(&t->other, bodies_subscriber, &role);
}

static void cast_prepare(struct cast *t, const char *const *args, size_t (*size_of)(uint64_t))
{
    const struct router_options o = {.args = args};

    *t = (struct cast){.size_of = size_of};
    router_start(&t->f, &o);
    t->before = cargo_ask(&t->f, &t->conn);
    start_blocking(t->healthy, HEALTHY, &t->f, size_of);
}

static void cast_start(struct cast *t, bool packets)
{
    struct bodies_role role;

    role = role_of(address_of(&t->f, packets), "large/held");
    role.size_of = t->size_of;
    role.pool_bytes_max = POOL_SMALL;
    bodies_start(&t->publisher, bodies_publisher, &role);
}

static void cast_watch(struct cast *t, uint64_t n)
{
    struct child *const others[] = {&t->publisher, &t->healthy[0], &t->healthy[1]};

    bodies_watch(&t->publisher, n, others, ARRAY_LEN(others));
    for (unsigned i = 0; i < HEALTHY; i++) {
        bodies_watch(&t->healthy[i], n / 2, others, ARRAY_LEN(others));
    }
}

/* Nothing was lost to the healthy ones, and the other has all or was told. */
static void cast_finish(struct cast *t)
{
    struct child *subs[HEALTHY + 1] = {&t->healthy[0], &t->healthy[1], &t->other};

    children_finish(&t->publisher, subs, HEALTHY + (t->other.pid != 0));
    for (unsigned i = 0; i < HEALTHY; i++) {
        assert_int_equal(t->healthy[i].report->lost, 0);
        assert_int_equal(t->healthy[i].report->done, t->publisher.report->done);
        child_forget(&t->healthy[i]);
    }
    if (t->other.report) {
        const struct child_report *r = t->other.report;

        print_message("the other: %" PRIu64 " delivered + %" PRIu64 " lost = %" PRIu64
                      " published\n",
                      r->done, r->lost, t->publisher.report->done);
        assert_int_equal(r->done + r->lost, t->publisher.report->done);
        assert_true(r->lost > 0);
        child_forget(&t->other);
    }
    child_forget(&t->publisher);
    expect_cargo_state(&t->f, t->conn, &t->before);
    bus_close(t->conn);
    router_stop(&t->f);
}

#define HOLDERS_KILLED 8

static void killed_holders_take_nothing_with_them(bool packets)
{
    struct bodies_role role;
    struct child holder;
    struct cast t;

    cast_prepare(&t, NULL, size_1_mib);
    cast_start(&t, packets);
    role = role_of(address_of(&t.f, packets), "large/+");
    role.keeps = 16;
    role.many_publishers = true; /* it comes in the middle */
    for (int i = 0; i < HOLDERS_KILLED; i++) {
        bodies_start(&holder, bodies_subscriber, &role);
        bodies_watch(&holder, 1 + (uint64_t) i * 3, NULL, 0);
        child_kill9(&holder);
        cast_watch(&t, 4);
    }
    cast_finish(&t);
}
ON_BOTH_LINKS(killed_holders_take_nothing_with_them)

/* What its pool may have, and a body that gets memory of its own. */
static void expect_little_memory(struct cast *t)
{
    struct peak peak = {0};

    peak_note(&peak, t->publisher.pid);
    assert_in_range(peak.bytes, 0, POOL_SMALL + BODY_MIB);
    assert_in_range(peak.fds, 1, CLIENT_FDS_MAX);
}

static void a_stopped_subscriber_costs_only_itself(bool packets)
{
    struct cast t;

    cast_prepare(&t, NULL, size_1_mib);
    start_other(&t, packets, BUS_POLICY_DROP_OLDEST, 0);
    cast_start(&t, packets);
    cast_watch(&t, 50);
    child_stop(&t.other);
    for (int i = 0; i < 10; i++) {
        cast_watch(&t, 30);
        expect_little_memory(&t);
    }
    /* its queue, its window, and what everybody else has */
    assert_in_range(router_counter(t.conn, "buffers_now"), 1, 64);
    child_continue(&t.other);
    cast_watch(&t, 50);
    cast_finish(&t);
}
ON_BOTH_LINKS(a_stopped_subscriber_costs_only_itself)

/* It keeps what it gets, as much as it may: 16 MiB. */
static void hoard(bool packets, enum bus_policy policy, size_t (*size_of)(uint64_t))
{
    /* short only where it is waited for: a healthy subscriber must not meet it on a busy machine */
    const char *const stall = policy == BUS_POLICY_BLOCK ? "2s" : "60s";
    const char *const args[] = {"--lease-bytes-max", "16M", "--stall-timeout", stall, NULL};
    struct cast t;

    cast_prepare(&t, args, size_of);
    start_other(&t, packets, policy, SIZE_MAX);
    cast_start(&t, packets);
    for (int i = 0; i < 10; i++) {
        cast_watch(&t, 30);
        expect_little_memory(&t);
    }
    assert_in_range(t.other.report->done, 1, 16 * BODY_MIB / size_of(1) + 1);
    assert_true(router_counter(t.conn, "leases_now") >= t.other.report->done);
    cast_finish(&t);
}

static void a_hoarder_costs_only_itself(bool packets)
{
    hoard(packets, BUS_POLICY_DROP_OLDEST, size_1_mib);
}
ON_BOTH_LINKS(a_hoarder_costs_only_itself)

/* Just too large for any frame. */
static size_t size_of_many(uint64_t number)
{
    return 65537 + number % 100;
}

/* More bodies than a client can register buffers. */
static void a_hoarder_of_many_costs_only_itself(bool packets)
{
    hoard(packets, BUS_POLICY_DROP_OLDEST, size_of_many);
}
ON_BOTH_LINKS(a_hoarder_of_many_costs_only_itself)

static void a_hoarder_blocks_until_its_stall_timeout(bool packets)
{
    hoard(packets, BUS_POLICY_BLOCK, size_1_mib);
}
ON_BOTH_LINKS(a_hoarder_blocks_until_its_stall_timeout)

/* ---- publishers that die ---- */

#define KILLS 50

static const size_t noise_sizes[] = {20000, 70000, 300000, BODY_MIB};

static size_t size_noise(uint64_t number)
{
    return noise_sizes[number % ARRAY_LEN(noise_sizes)];
}

static void killed_publishers_leave_nothing_behind(bool packets)
{
    struct rng rng = rng_from_env();
    struct child publisher, subs[2];
    struct cargo_state before;
    struct healthy_pair pair;
    struct router_fixture f;
    struct bodies_role role;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    pair_start(&pair, &f);
    for (unsigned i = 0; i < ARRAY_LEN(subs); i++) {
        role = role_of(address_of(&f, i), "noise/+");
        role.many_publishers = true;
        role.size_of = size_noise;
        role.opts.policy = i ? BUS_POLICY_BLOCK : BUS_POLICY_DROP_OLDEST;
        bodies_start(&subs[i], bodies_subscriber, &role);
    }
    role = role_of(address_of(&f, packets), "noise/0");
    role.size_of = size_noise;
    for (int i = 0; i < KILLS; i++) {
        role.copies = i % 2;
        role.pool_bytes_max = i % 3 ? 0 : BODY_MIB * 4;
        child_start(&publisher, bodies_publisher, &role);
        (void) child_is_readable(&publisher, i % 5 ? FIXTURE_TIMEOUT_MS : 0);
        pair_watch(&pair, i % 10 == 0, (int) rng_below(&rng, 20));
        child_kill9(&publisher);
    }
    for (unsigned i = 0; i < ARRAY_LEN(subs); i++) {
        assert_true(subs[i].report->done > 0);
        child_finish(&subs[i]);
        child_join(&subs[i]);
        child_forget(&subs[i]);
    }
    (void) pair_finish(&pair);
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}
ON_BOTH_LINKS(killed_publishers_leave_nothing_behind)

/* ---- a publisher that lies ---- */

#define CHANGED_BYTES 50000u

/* A process that writes to the memory all the time; shared: how often it has written all of it. */
struct writer {
    pid_t pid;
    _Atomic uint64_t *rounds;
    uint8_t *data;
};

static void writer_start(struct writer *w)
{
    w->rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(w->rounds, MAP_FAILED);
    w->pid = fork();
    assert_true(w->pid >= 0);
    while (w->pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        memset(w->data, (int) (*w->rounds & 0xff), CHANGED_BYTES);
        (*w->rounds)++;
    }
}

static void writer_stop(struct writer *w)
{
    assert_int_equal(kill(w->pid, SIGKILL), 0);
    assert_int_equal(waitpid(w->pid, NULL, 0), w->pid);
    (void) munmap((void *) w->rounds, 4096);
}

struct looks {
    const struct writer *writer;
    unsigned n, n_changed, n_immutable;
};

/* Two looks, between which all was written. */
static void on_look(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    static uint8_t first[CHANGED_BYTES];
    struct looks *l = userdata;
    uint64_t until;

    (void) sub;
    assert_int_equal(bus_message_bytes(m), CHANGED_BYTES);
    memcpy(first, bus_message_data(m), CHANGED_BYTES);
    for (until = *l->writer->rounds + 3; *l->writer->rounds < until;) {
        (void) sched_yield();
    }
    l->n_changed += memcmp(first, bus_message_data(m), CHANGED_BYTES) != 0;
    l->n_immutable += bus_message_is_immutable(m) == 1;
    l->n++;
}

static struct looks look(const struct router_fixture *f, bool packets, const struct writer *w,
                         int fd, uint32_t flags)
{
    const struct wire_buffer buffer = {.id = 1, .bytes = CHANGED_BYTES};
    const struct wire_publish publish = {
        .topic = text_from("lies/0"), .buffer = 1, .bytes = CHANGED_BYTES};
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct looks looks = {.writer = w};
    struct raw_client liar;
    struct bus_conn *conn;

    opts.flags = flags;
    assert_int_equal(bus_open(address_of(f, packets), NULL, &conn), 0);
    assert_int_equal(bus_subscribe(conn, "lies/+", &opts, on_look, &looks, NULL), 0);
    assert_int_equal(bus_flush(conn, FIXTURE_TIMEOUT_MS), 0);
    raw_greet(&liar, address_of(f, packets));
    raw_send_frame_fds(&liar, VERB_BUFFER, &buffer, &fd, 1);
    for (unsigned i = 1; i <= 10; i++) {
        raw_send_frame(&liar, VERB_PUBLISH, &publish);
        while (looks.n < i) {
            assert_int_equal(bus_wait(conn, FIXTURE_TIMEOUT_MS), 1);
            assert_true(bus_process(conn) >= 0);
        }
    }
    raw_close(&liar);
    bus_close(conn);
    return looks;
}

static void what_is_checked_cannot_change_if_asked_for(bool packets)
{
    struct router_fixture f;
    struct looks looks;
    struct writer w;
    int fd = memfd_sealed(CHANGED_BYTES, SEALS_POOLED, &w.data);

    router_start(&f, NULL);
    writer_start(&w);
    looks = look(&f, packets, &w, fd, 0);
    assert_int_equal(looks.n_immutable, 0);
    assert_true(looks.n_changed > 0);
    looks = look(&f, packets, &w, fd, BUS_SUB_IMMUTABLE);
    assert_int_equal(looks.n_immutable, looks.n);
    assert_int_equal(looks.n_changed, 0);
    writer_stop(&w);
    (void) munmap(w.data, CHANGED_BYTES);
    (void) close(fd);
    router_stop(&f);
}
ON_BOTH_LINKS(what_is_checked_cannot_change_if_asked_for)

/* ---- bodies that nobody can change ---- */

static bool is_in_a_buffer(const void *data)
{
    uint64_t from, to, at = (uint64_t) (uintptr_t) data;
    FILE *f = fopen("/proc/self/maps", "re");
    bool found = false;
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2 && at >= from && at < to) {
            found = strstr(line, "memfd:bus-buffer") != NULL;
        }
    }
    (void) fclose(f);
    return found;
}

struct sealed_seen {
    unsigned n;
    int immutable;
    bool is_copy;
};

static void on_sealed(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct sealed_seen *seen = userdata;

    (void) sub;
    assert_true(body_is(bus_message_data(m), bus_message_bytes(m), 5));
    seen->immutable = bus_message_is_immutable(m);
    seen->is_copy = !is_in_a_buffer(bus_message_data(m));
    seen->n++;
}

static void expect_sealed(const struct router_fixture *f, bool packets, uint32_t publish_flags,
                          uint32_t sub_flags, const struct sealed_seen *expected)
{
    struct bus_publish_opts publish = BUS_PUBLISH_OPTS_INIT;
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct sealed_seen seen = {0};
    struct bus_conn *from, *to;
    uint8_t *body = malloc(BODY_MIB);

    assert_non_null(body);
    body_fill(body, BODY_MIB, 5);
    opts.flags = sub_flags;
    publish.flags = publish_flags;
    assert_int_equal(bus_open(address_of(f, packets), NULL, &from), 0);
    assert_int_equal(bus_open(address_of(f, packets), NULL, &to), 0);
    assert_int_equal(bus_subscribe(to, "sealed", &opts, on_sealed, &seen, NULL), 0);
    assert_int_equal(bus_flush(to, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(bus_publish_with(from, "sealed", body, BODY_MIB, &publish), 0);
    assert_int_equal(bus_flush(from, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(bus_flush(to, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.immutable, expected->immutable);
    assert_int_equal(seen.is_copy, expected->is_copy);
    bus_close(from);
    bus_close(to);
    free(body);
}

static void sealed_bodies_cost_no_copy(bool packets)
{
    struct cargo_state before;
    struct router_fixture f;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    expect_sealed(&f, packets, 0, 0, &(struct sealed_seen){.immutable = 0, .is_copy = false});
    expect_sealed(&f, packets, 0, BUS_SUB_IMMUTABLE,
                  &(struct sealed_seen){.immutable = 1, .is_copy = true});
    expect_sealed(&f, packets, BUS_PUBLISH_IMMUTABLE, 0,
                  &(struct sealed_seen){.immutable = 1, .is_copy = false});
    expect_sealed(&f, packets, BUS_PUBLISH_IMMUTABLE, BUS_SUB_IMMUTABLE,
                  &(struct sealed_seen){.immutable = 1, .is_copy = false});
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}
ON_BOTH_LINKS(sealed_bodies_cost_no_copy)

/* ---- what is no buffer ---- */

#define BAD_BYTES 8192u

static int open_unsealed(void)
{
    return memfd_sealed(BAD_BYTES, 0, NULL);
}

static int open_shrinkable(void)
{
    return memfd_sealed(BAD_BYTES, SEALS_POOLED & ~F_SEAL_SHRINK, NULL);
}

static int open_growable(void)
{
    return memfd_sealed(BAD_BYTES, SEALS_POOLED & ~F_SEAL_GROW, NULL);
}

static int open_sealable(void)
{
    return memfd_sealed(BAD_BYTES, SEALS_POOLED & ~F_SEAL_SEAL, NULL);
}

static int open_writable(void)
{
    return memfd_sealed(BAD_BYTES, SEALS_OF_SIZE, NULL);
}

static int open_too_small(void)
{
    return memfd_sealed(BAD_BYTES - 1, SEALS_POOLED, NULL);
}

static int open_pipe(void)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void) close(ends[1]);
    return ends[0];
}

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int open_file(void)
{
    char name[] = "/tmp/bus-test-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);

    assert_true(fd >= 0);
    (void) unlink(name);
    assert_int_equal(ftruncate(fd, BAD_BYTES), 0);
    return fd;
}

static int open_zero(void)
{
    return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int open_directory(void)
{
    return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The right memfd, but nothing can be read from it this way. */
static int open_path(void)
{
    char path[64];
    int fd = memfd_sealed(BAD_BYTES, SEALS_POOLED, NULL), opened;

    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    opened = open(path, O_PATH | O_CLOEXEC);
    (void) close(fd);
    return opened;
}

static int (*const bad_buffers[])(void) = {
    open_unsealed, open_shrinkable, open_growable, open_sealable, open_writable,  open_too_small,
    open_pipe,     open_socket,     open_file,     open_zero,     open_directory, open_path,
};

static void send_bad_buffer(struct raw_client *c, uint32_t id, int fd)
{
    const struct wire_buffer m = {.id = id, .bytes = BAD_BYTES};

    assert_true(fd >= 0);
    raw_send_frame_fds(c, VERB_BUFFER, &m, &fd, 1);
    assert_int_equal(raw_expect_status(c, VERB_BUFFER, BUS_STATUS_BAD_DESCRIPTORS).buffer, id);
    raw_round_trip(c, 1000 + id);
    (void) close(fd);
}

/* The number of a refused one can be used. */
static void send_good_buffer(struct raw_client *c)
{
    const struct wire_buffer m = {.id = 1, .bytes = BAD_BYTES};
    const struct wire_publish publish = {
        .topic = text_from("bad"), .buffer = 1, .offset = 5, .bytes = BAD_BYTES - 5};
    int fd = memfd_sealed(BAD_BYTES, SEALS_POOLED, NULL);
    union wire_any any;

    raw_send_frame_fds(c, VERB_BUFFER, &m, &fd, 1);
    raw_send_frame(c, VERB_PUBLISH, &publish);
    raw_send_ping(c, 1); /* what is returned may wait for something else to go */
    assert_int_equal(raw_next(c, &any), VERB_RETURNED);
    assert_int_equal(any.returned.buffer, 1);
    assert_int_equal(any.returned.offset, 5);
    assert_int_equal(raw_next(c, &any), VERB_PONG);
    (void) close(fd);
}

static void what_is_no_buffer_is_refused(bool packets)
{
    struct wire_buffer m = {.id = 1, .bytes = BAD_BYTES};
    int two[2] = {open_unsealed(), open_too_small()};
    struct cargo_state before;
    struct router_fixture f;
    struct raw_client c;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    raw_greet(&c, address_of(&f, packets));
    for (uint32_t i = 0; i < ARRAY_LEN(bad_buffers); i++) {
        send_bad_buffer(&c, i + 1, bad_buffers[i]());
    }
    raw_send_frame(&c, VERB_BUFFER, &m); /* none */
    (void) raw_expect_status(&c, VERB_BUFFER, BUS_STATUS_BAD_DESCRIPTORS);
    raw_send_frame_fds(&c, VERB_BUFFER, &m, two, 2);
    (void) raw_expect_status(&c, VERB_BUFFER, BUS_STATUS_BAD_DESCRIPTORS);
    send_good_buffer(&c);
    raw_close(&c);
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
    (void) close(two[0]);
    (void) close(two[1]);
}
ON_BOTH_LINKS(what_is_no_buffer_is_refused)

/* ---- without memory to share ---- */

#define INLINE_PACKETS 65536u
#define INLINE_STREAM BODY_MIB
#define NOFILE_LOW 32

struct poor_role {
    const char *address;
    size_t inline_max;
    int error; /* ENOSYS or EMFILE */
};

/* From here on memfd_create() says ENOSYS, as on a system that does not have it. */
static void forbid_memfd(struct child_self *self)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};

    CHILD_CHECK(self, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHILD_CHECK(self, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* Takes every descriptor that there is; returns the last one. */
static int exhaust_descriptors(struct child_self *self)
{
    const struct rlimit limit = {NOFILE_LOW, NOFILE_LOW};
    int fd, last = -1;

    CHILD_CHECK(self, setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((fd = dup(self->control)) >= 0) {
        last = fd;
    }
    CHILD_CHECK(self, errno == EMFILE && last > 0);
    return last;
}

static void poor_publish(struct child_self *self, struct bus_conn *conn, size_t bytes, int expected)
{
    static uint8_t body[2 * BODY_MIB];
    int r;

    body_fill(body, bytes, self->report->done + 1);
    while ((r = bus_publish(conn, "poor/0", body, bytes)) == -EAGAIN) {
        CHILD_CHECK(self, bus_wait_writable(conn, FIXTURE_TIMEOUT_MS) == 0);
    }
    CHILD_CHECK(self, r == -expected);
    self->report->done += r == 0;
}

static void poor_child(struct child_self *self)
{
    const struct poor_role *role = self->role;
    const size_t fit[] = {1, 4096, 8192, 65536, role->inline_max - 1, role->inline_max};
    const size_t too_large[] = {role->inline_max + 1, 2 * BODY_MIB};
    struct bus_loan *loan = NULL;
    struct bus_topic *topic;
    struct bus_conn *conn;
    int last = -1;

    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_advertise(conn, "poor/1", &topic) == 0);
    if (role->error == EMFILE) {
        last = exhaust_descriptors(self);
    } else {
        forbid_memfd(self);
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(fit); i++) {
            poor_publish(self, conn, fit[i], 0);
            poor_publish(self, conn, too_large[i % 2], role->error);
            CHILD_CHECK(self, bus_loan(topic, too_large[i % 2], &loan) == -role->error);
            CHILD_CHECK(self, loan == NULL);
        }
    }
    if (last >= 0) { /* it was for the moment only */
        CHILD_CHECK(self, close(last) == 0);
        poor_publish(self, conn, 2 * BODY_MIB, 0);
    }
    CHILD_CHECK(self, bus_sequence(conn) == self->report->done);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    bus_close(conn);
}

static void be_poor(bool packets, int error)
{
    struct bodies_role role;
    struct child publisher, sub;
    struct cargo_state before;
    struct poor_role poor;
    struct router_fixture f;
    struct bus_conn *conn;

    router_start(&f, NULL);
    before = cargo_ask(&f, &conn);
    role = role_of(address_of(&f, packets), "poor/+");
    role.opts.policy = BUS_POLICY_BLOCK;
    bodies_start(&sub, bodies_subscriber, &role);
    poor = (struct poor_role){.address = address_of(&f, packets),
                              .inline_max = packets ? INLINE_PACKETS : INLINE_STREAM,
                              .error = error};
    child_start(&publisher, poor_child, &poor);
    assert_true(finish_healthy(&publisher, &sub, 1) >= 18);
    expect_cargo_state(&f, conn, &before);
    bus_close(conn);
    router_stop(&f);
}

static void without_memfd_bodies_go_in_frames(bool packets)
{
    be_poor(packets, ENOSYS);
}
ON_BOTH_LINKS(without_memfd_bodies_go_in_frames)

static void without_descriptors_bodies_go_in_frames(bool packets)
{
    be_poor(packets, EMFILE);
}
ON_BOTH_LINKS(without_descriptors_bodies_go_in_frames)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(bodies_of_every_size_arrive),
        BOTH_CASES(one_huge_body_arrives),
        BOTH_CASES(memory_is_used_again),
        BOTH_CASES(kept_messages_outlive_everybody),
        BOTH_CASES(killed_holders_take_nothing_with_them),
        BOTH_CASES(a_stopped_subscriber_costs_only_itself),
        BOTH_CASES(a_hoarder_costs_only_itself),
        BOTH_CASES(a_hoarder_of_many_costs_only_itself),
        BOTH_CASES(a_hoarder_blocks_until_its_stall_timeout),
        BOTH_CASES(killed_publishers_leave_nothing_behind),
        BOTH_CASES(what_is_checked_cannot_change_if_asked_for),
        BOTH_CASES(sealed_bodies_cost_no_copy),
        BOTH_CASES(what_is_no_buffer_is_refused),
        BOTH_CASES(without_memfd_bodies_go_in_frames),
        BOTH_CASES(without_descriptors_bodies_go_in_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
