/* SPDX-License-Identifier: MIT */
#pragma once
/* Bodies of which every byte is checked, children that publish, take and keep them, and what they
 * cost: mappings, descriptors, and what the router counts. */

#include <inttypes.h>
#include "support/children.h"

static inline const char *address_of(const struct router_fixture *f, bool packets)
{
    return packets ? f->seqpacket : f->stream;
}

/* ---- bodies ---- */

#define BODY_MIB ((size_t) 1 << 20)
/* A prime: neither pages nor slots that are exchanged go unnoticed. */
#define BODY_PERIOD 4093u

static inline uint8_t body_byte(uint64_t number, size_t i)
{
    return (uint8_t) (number * 37 + i * 11 + (i >> 8));
}

static inline void body_fill(uint8_t *dst, size_t bytes, uint64_t number)
{
    size_t done = MIN(bytes, (size_t) BODY_PERIOD);

    for (size_t i = 0; i < done; i++) {
        dst[i] = body_byte(number, i);
    }
    while (done < bytes) {
        size_t n = MIN(done, bytes - done);

        memcpy(dst + done, dst, n);
        done += n;
    }
}

static inline bool body_is(const uint8_t *body, size_t bytes, uint64_t number)
{
    for (size_t i = 0; i < MIN(bytes, (size_t) BODY_PERIOD); i++) {
        if (body[i] != body_byte(number, i)) {
            return false;
        }
    }
    return bytes <= BODY_PERIOD || memcmp(body, body + BODY_PERIOD, bytes - BODY_PERIOD) == 0;
}

/* ---- what a process has ---- */

/* The mappings of buffers of a process, and their bytes. */
static inline unsigned buffers_mapped(pid_t pid, size_t *ret_bytes)
{
    uint64_t from, to;
    char line[512];
    unsigned n = 0;
    FILE *f;

    (void) snprintf(line, sizeof(line), "/proc/%ld/maps", (long) pid);
    f = fopen(line, "re");
    assert_non_null(f);
    *ret_bytes = 0;
    while (fgets(line, sizeof(line), f)) {
        if (strstr(line, "memfd:bus-buffer") &&
            sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2) {
            *ret_bytes += to - from;
            n++;
        }
    }
    (void) fclose(f);
    return n;
}

static inline unsigned process_fd_count(pid_t pid)
{
    struct router_process p = {.pid = pid};

    return router_fd_count(&p);
}

/* The most that was seen so far. */
struct peak {
    unsigned maps, fds;
    size_t bytes;
};

static inline void peak_note(struct peak *p, pid_t pid)
{
    size_t bytes;
    unsigned maps = buffers_mapped(pid, &bytes);
    unsigned fds = process_fd_count(pid);

    p->maps = MAX(p->maps, maps);
    p->fds = MAX(p->fds, fds);
    p->bytes = MAX(p->bytes, bytes);
}

/* ---- what the router has ---- */

/* Of one type, as the other: it is compared as a whole. */
struct cargo_state {
    struct router_state rest;
    uint64_t buffers, leases, descriptors;
};

static inline struct cargo_state cargo_state(const struct router_fixture *f, struct bus_conn *conn)
{
    return (struct cargo_state){
        .rest = router_state(f, conn),
        .buffers = router_counter(conn, "buffers_now"),
        .leases = router_counter(conn, "leases_now"),
        .descriptors = router_counter(conn, "descriptors_now"),
    };
}

/* A connection for the questions, and what there is with nobody else. */
static inline struct cargo_state cargo_ask(const struct router_fixture *f,
                                           struct bus_conn **ret_conn)
{
    struct cargo_state s;

    (void) router_ask(f, ret_conn);
    s = cargo_state(f, *ret_conn);
    assert_int_equal(s.buffers, 0);
    assert_int_equal(s.leases, 0);
    assert_int_equal(s.descriptors, 0);
    return s;
}

/* The router is as it was. */
static inline void expect_cargo_state(const struct router_fixture *f, struct bus_conn *conn,
                                      const struct cargo_state *expected)
{
    uint64_t deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    struct cargo_state now;

    do {
        now = cargo_state(f, conn);
    } while (memcmp(&now, expected, sizeof(now)) != 0 && clock_monotonic_ns() < deadline_ns);
    assert_int_equal(now.buffers, expected->buffers);
    assert_int_equal(now.leases, expected->leases);
    assert_int_equal(now.descriptors, expected->descriptors);
    expect_router_state(f, conn, &expected->rest);
}

/* ---- children ---- */

struct bodies_role {
    const char *address;
    const char *topic;                  /* or filter */
    size_t (*size_of)(uint64_t number); /* of the body of that number; NULL: of any size */
    uint64_t n;                         /* publishers: how many; 0: until they are told */
    uint64_t pool_bytes_max;            /* publishers */
    uint64_t threshold;                 /* publishers: bus_opts.buffer_threshold_bytes */
    bool copies;                        /* publishers: by bus_topic_publish(), else loans */
    size_t keeps;                       /* subscribers: how many they keep until they are told */
    bool many_publishers;               /* subscribers: there may be gaps */
    struct bus_sub_opts opts;           /* subscribers */
};

static inline size_t size_1_mib(uint64_t number)
{
    (void) number;
    return BODY_MIB;
}

static inline int bodies_try(struct bus_topic *topic, struct bus_loan *loan, const uint8_t *copy,
                             size_t bytes)
{
    return loan ? bus_loan_publish(loan, bytes, NULL) : bus_topic_publish(topic, copy, bytes, NULL);
}

/* One body; nothing if it is told to finish before there is room. */
static inline void bodies_publish(struct child_self *self, struct bus_conn *conn,
                                  struct bus_topic *topic)
{
    const struct bodies_role *role = self->role;
    uint64_t number = self->report->done + 1;
    size_t bytes = role->size_of(number);
    struct bus_loan *loan = NULL;
    uint8_t *data;
    int r, waited;

    if (role->copies) {
        data = malloc(bytes);
        CHILD_CHECK(self, data != NULL);
    } else {
        CHILD_CHECK(self, bus_loan(topic, bytes, &loan) == 0);
        data = bus_loan_data(loan);
    }
    body_fill(data, bytes, number);
    while ((r = bodies_try(topic, loan, data, bytes)) == -EAGAIN) {
        waited = bus_wait_writable(conn, 50);
        CHILD_CHECK(self, waited == 0 || waited == -ETIMEDOUT);
        if (waited < 0 && child_wait(self, -1, 0)) {
            break;
        }
    }
    CHILD_CHECK(self, r == 0 || r == -EAGAIN);
    self->report->done += r == 0;
    if (role->copies) {
        free(data);
    } else if (r < 0) {
        bus_loan_cancel(loan);
    }
    CHILD_CHECK(self, bus_process(conn) >= 0);
}

/* Goes on until it is told to finish. */
static inline void bodies_idle(struct child_self *self, struct bus_conn *conn)
{
    int r = 0;

    while (!child_wait(self, bus_fd(conn), r > 0 ? 0 : -1)) {
        r = bus_process(conn);
        CHILD_CHECK(self, r >= 0);
    }
}

static inline void bodies_publisher(struct child_self *self)
{
    const struct bodies_role *role = self->role;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_topic *topic;
    struct bus_conn *conn;

    opts.name = CHILD_PUBLISHER;
    opts.pool_bytes_max = role->pool_bytes_max;
    opts.buffer_threshold_bytes = role->threshold;
    CHILD_CHECK(self, bus_open(role->address, &opts, &conn) == 0);
    CHILD_CHECK(self, bus_advertise(conn, role->topic, &topic) == 0);
    child_ready(self);
    while ((role->n == 0 || self->report->done < role->n) && !child_wait(self, -1, 0)) {
        bodies_publish(self, conn, topic);
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, bus_sequence(conn) == self->report->done);
    bodies_idle(self, conn);
    bus_close(conn);
}

#define BODIES_KEPT_MAX 8192u

static struct bus_message *bodies_kept[BODIES_KEPT_MAX];
static size_t n_bodies_kept, bodies_keep;

static inline void bodies_on_message(struct bus_sub *sub, const struct bus_message *m,
                                     void *userdata)
{
    struct child_self *self = userdata;
    const struct bodies_role *role = self->role;
    uint64_t number = bus_message_sequence(m);
    size_t bytes = bus_message_bytes(m);

    (void) sub;
    CHILD_CHECK(self,
                role->many_publishers || number == self->report->done + self->report->lost + 1);
    CHILD_CHECK(self, !role->size_of || bytes == role->size_of(number));
    CHILD_CHECK(self, body_is(bus_message_data(m), bytes, number));
    if (n_bodies_kept < bodies_keep) {
        bodies_kept[n_bodies_kept] = bus_message_ref(m);
        CHILD_CHECK(self, bodies_kept[n_bodies_kept] != NULL);
        n_bodies_kept++;
    }
    self->report->done++;
}

/* What is kept is as it was. */
static inline void bodies_check_kept(struct child_self *self)
{
    for (size_t i = 0; i < n_bodies_kept; i++) {
        const struct bus_message *m = bodies_kept[i];

        CHILD_CHECK(self,
                    body_is(bus_message_data(m), bus_message_bytes(m), bus_message_sequence(m)));
    }
}

static inline void bodies_drop_kept(void)
{
    while (n_bodies_kept > 0) {
        bus_message_unref(bodies_kept[--n_bodies_kept]);
    }
}

static inline void bodies_subscribe(struct child_self *self, struct bus_conn **ret_conn)
{
    const struct bodies_role *role = self->role;
    struct bus_sub_opts opts = role->opts;

    opts.on_loss = child_on_loss;
    opts.on_ready = child_on_ready;
    bodies_keep = MIN(role->keeps, (size_t) BODIES_KEPT_MAX);
    CHILD_CHECK(self, bus_open(role->address, NULL, ret_conn) == 0);
    CHILD_CHECK(self,
                bus_subscribe(*ret_conn, role->topic, &opts, bodies_on_message, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(*ret_conn, FIXTURE_TIMEOUT_MS) == 0);
}

/* Takes and checks until it is told to finish; then it drops what it keeps and takes the rest. */
static inline void bodies_subscriber(struct child_self *self)
{
    const struct bodies_role *role = self->role;
    struct bus_conn *conn;

    bodies_subscribe(self, &conn);
    child_ready(self);
    bodies_idle(self, conn);
    bodies_check_kept(self);
    bodies_drop_kept();
    bodies_keep = 0;
    child_receive(self, conn);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, role->many_publishers ||
                          self->report->done + self->report->lost == self->report->expected);
    bus_close(conn);
}

/* ---- the parent's side ---- */

static inline void bodies_start(struct child *c, child_fn fn, const struct bodies_role *role)
{
    child_start(c, fn, role);
    child_expect_ready(c);
}

/* Until a publisher or subscriber has done so many. None of the others may end meanwhile. */
static inline void bodies_reach(struct child *c, uint64_t n, struct child *const *others,
                                size_t n_others)
{
    uint64_t deadline_ns = clock_monotonic_ns() + 2 * FIXTURE_TIMEOUT_MS * NS_PER_MS;

    while (c->report->done < n) {
        children_watch(&c, 1, 2);
        children_watch(others, n_others, 0);
        if (clock_monotonic_ns() > deadline_ns) {
            fail_msg("no progress: %" PRIu64 " of %" PRIu64, c->report->done, n);
        }
    }
}

/* So many more. */
static inline void bodies_watch(struct child *c, uint64_t n, struct child *const *others,
                                size_t n_others)
{
    bodies_reach(c, c->report->done + n, others, n_others);
}
