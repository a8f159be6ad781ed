/* SPDX-License-Identifier: MIT */
/* Descriptors of applications between real processes: they arrive as they are, none stays open that
 * nobody wants, tables and limits that are full cost one message and not the connection, and
 * neither those who do not read nor those who send what they should not take any from the others.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/sock.h"
#include "support/bodies.h"
#include "support/fds.h"
#include "support/raw_fds.h"

#define LARGE 100000u
#define OTHER_UID 54321

/* ---- a router, a publisher, and what there was before ---- */

struct scene {
    struct router_fixture f;
    struct bus_conn *ask;
    struct cargo_state before;
    const char *address; /* of the link under test */
    struct bus_conn *publisher;
    unsigned n_statuses;
    enum bus_status status; /* the last one */
};

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    struct scene *x = userdata;

    (void) conn;
    x->n_statuses++;
    x->status = event->status;
}

static struct bus_conn *scene_connect(struct scene *x)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;

    opts.on_status = on_status;
    opts.userdata = x;
    assert_int_equal(bus_open(x->address, &opts, &conn), 0);
    return conn;
}

static void scene_start(struct scene *x, bool packets, const struct router_options *o)
{
    *x = (struct scene){0};
    router_start(&x->f, o);
    x->before = cargo_ask(&x->f, &x->ask);
    x->address = address_of(&x->f, packets);
    x->publisher = scene_connect(x);
}

static void scene_stop(struct scene *x)
{
    bus_close(x->publisher);
    expect_cargo_state(&x->f, x->ask, &x->before);
    bus_close(x->ask);
    router_stop(&x->f);
}

static int publish_fds(struct bus_conn *conn, size_t bytes, const int *fds, size_t n)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    static uint8_t body[LARGE];

    opts.fds = fds;
    opts.n_fds = n;
    body_fill(body, bytes, bus_sequence(conn) + 1);
    return bus_publish_with(conn, "fds/0", body, bytes, &opts);
}

static void publish_and_flush(struct scene *x, size_t bytes, const int *fds, size_t n)
{
    assert_int_equal(publish_fds(x->publisher, bytes, fds, n), 0);
    assert_int_equal(bus_flush(x->publisher, FIXTURE_TIMEOUT_MS), 0);
}

/* ---- a subscriber of this process ---- */

struct taker {
    struct bus_conn *conn;
    unsigned n, n_with, n_without; /* messages; with all their descriptors; with -EMFILE */
    uint64_t lost;
    enum bus_loss_reason reason; /* of the last loss */
    const struct stat *files;    /* what the descriptors must be, or NULL */
    struct bus_message *kept;    /* the last one, if it keeps */
    bool keeps;
};

static void expect_file(int fd, const struct stat *file)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, file->st_ino);
    assert_int_equal(st.st_dev, file->st_dev);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void take_fds(struct taker *t, const struct bus_message *m, int wanted)
{
    size_t n = bus_message_n_fds(m);

    for (size_t i = 0; i < n; i++) {
        int fd = bus_message_fd(m, i);

        assert_true(wanted < 0 ? fd == wanted : fd >= 0);
        if (fd >= 0 && t->files) {
            expect_file(fd, &t->files[i]);
        }
    }
    assert_int_equal(bus_message_fd(m, n), -EINVAL);
    t->n_with += n > 0 && wanted >= 0;
    t->n_without += wanted == -EMFILE;
}

static void on_taken(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct taker *t = userdata;
    int first = bus_message_n_fds(m) > 0 ? bus_message_fd(m, 0) : 0;

    (void) sub;
    assert_true(body_is(bus_message_data(m), bus_message_bytes(m), bus_message_sequence(m)));
    take_fds(t, m, MIN(first, 0));
    t->n++;
    if (t->keeps) {
        bus_message_unref(t->kept);
        t->kept = bus_message_ref(m);
        assert_non_null(t->kept);
    }
}

static void on_taker_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct taker *t = userdata;

    (void) sub;
    t->lost += loss->count;
    t->reason = loss->reason;
}

static void taker_start(struct taker *t, const char *address, const struct bus_sub_opts *o)
{
    struct bus_sub_opts opts = *o;

    *t = (struct taker){0};
    opts.on_loss = on_taker_loss;
    assert_int_equal(bus_open(address, NULL, &t->conn), 0);
    assert_int_equal(bus_subscribe(t->conn, "fds/+", &opts, on_taken, t, NULL), 0);
    assert_int_equal(bus_flush(t->conn, FIXTURE_TIMEOUT_MS), 0);
}

static const struct bus_sub_opts opts_none = BUS_SUB_OPTS_INIT;
static const struct bus_sub_opts opts_fds = {
    .size = sizeof(struct bus_sub_opts), .flags = BUS_SUB_DESCRIPTORS, .policy = BUS_POLICY_BLOCK};

/* Until it has so many, delivered or lost. */
static void taker_reach(struct taker *t, uint64_t n)
{
    while (t->n + t->lost < n) {
        assert_int_equal(bus_wait(t->conn, FIXTURE_TIMEOUT_MS), 1);
        assert_true(bus_process(t->conn) >= 0);
    }
    assert_int_equal(t->n + t->lost, n);
}

static void taker_stop(struct taker *t)
{
    bus_message_unref(t->kept);
    bus_close(t->conn);
}

/* ---- files ---- */

/* Files with different content and offsets. */
static void files_open(int fds[BUS_FDS_MAX], struct stat files[BUS_FDS_MAX])
{
    for (unsigned i = 0; i < BUS_FDS_MAX; i++) {
        fds[i] = memfd_sealed(100, 0, NULL);
        assert_int_equal(fstat(fds[i], &files[i]), 0);
        assert_int_equal(lseek(fds[i], i, SEEK_SET), i);
    }
}

static void files_close(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void) close(fds[i]);
    }
}

/* ---- who asks gets them ---- */

/* The same open files: what is done to the offset here is seen there. */
static void expect_shared_offsets(const struct taker *t, const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = bus_message_fd(t->kept, i);

        assert_int_equal(lseek(fd, 0, SEEK_CUR), i);
        assert_int_equal(lseek(fds[i], 50, SEEK_SET), 50);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 50);
        assert_int_equal(lseek(fd, (off_t) i, SEEK_SET), i);
    }
}

static void expect_none(const struct taker *t, size_t n)
{
    assert_int_equal(bus_message_n_fds(t->kept), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(bus_message_fd(t->kept, i), -ENOTSUP);
    }
}

static void drop_kept(struct taker *t)
{
    bus_message_unref(t->kept);
    t->kept = NULL;
}

/* Two who ask, on both links, and one who does not. */
static void hand_over(struct scene *x, struct taker *takers, const int *fds, size_t n, size_t bytes)
{
    unsigned open = fds_open();

    publish_and_flush(x, bytes, fds, n);
    for (unsigned i = 0; i < 3; i++) {
        taker_reach(&takers[i], bus_sequence(x->publisher));
    }
    assert_int_equal(fds_open(), open + 2 * n);
    expect_shared_offsets(&takers[0], fds, n);
    expect_shared_offsets(&takers[1], fds, n);
    expect_none(&takers[2], n);
    for (unsigned i = 0; i < 3; i++) {
        drop_kept(&takers[i]);
    }
    assert_int_equal(fds_open(), open);
}

static void descriptors_reach_those_who_ask(bool packets)
{
    struct stat files[BUS_FDS_MAX];
    struct taker takers[3];
    int fds[BUS_FDS_MAX];
    struct scene x;

    scene_start(&x, packets, NULL);
    files_open(fds, files);
    for (unsigned i = 0; i < 3; i++) {
        taker_start(&takers[i], address_of(&x.f, i % 2), i < 2 ? &opts_fds : &opts_none);
        takers[i].files = files;
        takers[i].keeps = true;
    }
    for (size_t n = 1; n <= BUS_FDS_MAX; n++) {
        hand_over(&x, takers, fds, n, 17);
        hand_over(&x, takers, fds, n, LARGE);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(takers[i].n, 2 * BUS_FDS_MAX);
        taker_stop(&takers[i]);
    }
    files_close(fds, BUS_FDS_MAX);
    scene_stop(&x);
}
ON_BOTH_LINKS(descriptors_reach_those_who_ask)

static void what_cannot_be_sent_is_refused_at_once(bool packets)
{
    int fds[BUS_FDS_MAX + 1], closed = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 500);
    struct taker taker;
    struct scene x;
    unsigned open;

    for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = STDERR_FILENO;
    }
    (void) close(closed);
    scene_start(&x, packets, NULL);
    taker_start(&taker, x.address, &opts_fds);
    open = fds_open();
    assert_int_equal(publish_fds(x.publisher, 10, fds, BUS_FDS_MAX + 1), -EINVAL);
    assert_int_equal(publish_fds(x.publisher, 10, NULL, 1), -EINVAL);
    fds[3] = closed;
    assert_int_equal(publish_fds(x.publisher, 10, fds, BUS_FDS_MAX), -EBADF);
    assert_int_equal(publish_fds(x.publisher, LARGE, fds, 4), -EBADF);
    fds[3] = -1;
    assert_int_equal(publish_fds(x.publisher, 10, fds, 4), -EBADF);
    assert_int_equal(bus_sequence(x.publisher), 0);
    assert_int_equal(fds_open(), open);
    publish_and_flush(&x, 10, fds, 3);
    taker_reach(&taker, 1);
    assert_int_equal(taker.n_with, 1);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(what_cannot_be_sent_is_refused_at_once)

/* ---- tables that are full ---- */

/* From now on this process can open so many descriptors more. */
static struct rlimit table_allow(unsigned n)
{
    struct rlimit old, limit;
    int fd = 0;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (unsigned n_free = 0;; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && n_free++ == n) {
            break;
        }
    }
    limit = (struct rlimit){(rlim_t) fd, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return old;
}

static void table_restore(const struct rlimit *old)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, old), 0);
}

/* With room for so many: three do not fit, and those that would are closed. */
static void take_with_full_table(struct scene *x, struct taker *t, size_t bytes, unsigned n_free)
{
    const int fds[3] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
    unsigned open = fds_open(), n_without = t->n_without;
    struct rlimit old;

    publish_and_flush(x, bytes, fds, ARRAY_LEN(fds));
    old = table_allow(n_free);
    taker_reach(t, bus_sequence(x->publisher));
    table_restore(&old);
    assert_int_equal(t->n_without, n_without + 1);
    assert_int_equal(fds_open(), open);
}

static void a_full_table_costs_a_message_its_descriptors(bool packets)
{
    const int fds[3] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
    struct taker taker;
    struct scene x;

    scene_start(&x, packets, NULL);
    taker_start(&taker, x.address, &opts_fds);
    publish_and_flush(&x, LARGE, NULL, 0); /* what bodies lie in is mapped */
    taker_reach(&taker, 1);
    for (unsigned n_free = 0; n_free < 3; n_free++) {
        take_with_full_table(&x, &taker, 17, n_free);
        take_with_full_table(&x, &taker, LARGE, n_free);
        publish_and_flush(&x, 17, fds, ARRAY_LEN(fds));
        taker_reach(&taker, bus_sequence(x.publisher));
    }
    assert_int_equal(taker.lost, 0);
    assert_int_equal(taker.n_with, 3);
    assert_int_equal(taker.n_without, 6);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_full_table_costs_a_message_its_descriptors)

static void publish_large(struct scene *x, uint32_t flags)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    static uint8_t body[LARGE];

    opts.flags = flags;
    body_fill(body, LARGE, bus_sequence(x->publisher) + 1);
    assert_int_equal(bus_publish_with(x->publisher, "fds/0", body, LARGE, &opts), 0);
    assert_int_equal(bus_flush(x->publisher, FIXTURE_TIMEOUT_MS), 0);
}

/* Each body is lost while there is no room for its buffer, and the next one is not. */
static void lose_with_full_table(struct scene *x, struct taker *t, uint32_t flags)
{
    uint64_t lost = t->lost;
    struct rlimit old;

    for (unsigned i = 0; i < 3; i++) {
        publish_large(x, flags);
    }
    publish_and_flush(x, 17, NULL, 0);
    old = table_allow(0);
    taker_reach(t, bus_sequence(x->publisher));
    table_restore(&old);
    assert_int_equal(t->lost, lost + 3);
    assert_int_equal(t->reason, BUS_LOSS_NO_DESCRIPTORS);
    assert_int_equal(bus_flush(t->conn, FIXTURE_TIMEOUT_MS), 0); /* the router knows, too */
    for (unsigned i = 0; i < 3; i++) {
        publish_large(x, flags);
        taker_reach(t, bus_sequence(x->publisher));
    }
    assert_int_equal(t->lost, lost + 3);
}

static void a_full_table_costs_bodies_until_there_is_room(bool packets)
{
    struct taker taker;
    struct scene x;

    scene_start(&x, packets, NULL);
    taker_start(&taker, x.address, &opts_none);
    lose_with_full_table(&x, &taker, 0);
    lose_with_full_table(&x, &taker, BUS_PUBLISH_IMMUTABLE); /* a buffer for each */
    lose_with_full_table(&x, &taker, BUS_PUBLISH_IMMUTABLE);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_full_table_costs_bodies_until_there_is_room)

static void a_full_table_of_the_sender_changes_nothing(bool packets)
{
    const int fds[3] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
    unsigned open = fds_open();
    struct taker taker;
    struct rlimit old;
    struct scene x;

    scene_start(&x, packets, NULL);
    taker_start(&taker, x.address, &opts_fds);
    open = fds_open();
    for (unsigned n_free = 0; n_free < 3; n_free++) {
        old = table_allow(n_free);
        assert_int_equal(publish_fds(x.publisher, 17, fds, 3), -EMFILE);
        assert_int_equal(publish_fds(x.publisher, LARGE, fds, 3), -EMFILE);
        table_restore(&old);
        assert_int_equal(fds_open(), open);
        assert_int_equal(bus_sequence(x.publisher), 2 * n_free);
        publish_and_flush(&x, 17, fds, 3);
        publish_and_flush(&x, LARGE, fds, 3);
        taker_reach(&taker, bus_sequence(x.publisher));
        open = fds_open();
    }
    assert_int_equal(taker.n_with, 6);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_full_table_of_the_sender_changes_nothing)

#define ROUTER_NOFILE 64

/* Connections until the router has no descriptor left for one. */
static unsigned fill_router(struct scene *x, int *fds, unsigned max)
{
    static char text[FIXTURE_LOG_BYTES];
    struct address a;
    unsigned n = 0;
    int type;

    assert_int_equal(address_parse(x->address, &a), 0);
    do {
        assert_true(n < max);
        fds[n] = sock_connect(&a, &type);
        assert_true(fds[n++] >= 0);
        (void) router_counter(x->ask, "clients_now"); /* its turn */
        router_log(&x->f.process, text);
    } while (!strstr(text, "accept.paused"));
    return n;
}

static void expect_status(struct scene *x, enum bus_status status)
{
    assert_true(x->n_statuses > 0);
    assert_int_equal(x->status, status);
    x->n_statuses = 0;
}

static void a_full_table_of_the_router_costs_the_sender_a_message(bool packets)
{
    const struct router_options o = {.nofile = ROUTER_NOFILE};
    const int fds[2] = {STDERR_FILENO, STDERR_FILENO};
    int fillers[2 * ROUTER_NOFILE];
    struct healthy_pair pair;
    struct taker taker;
    unsigned n, n_full;
    struct scene x;

    scene_start(&x, packets, &o);
    pair_start(&pair, &x.f);
    taker_start(&taker, x.address, &opts_fds);
    n = fill_router(&x, fillers, ARRAY_LEN(fillers));
    n_full = router_fd_count(&x.f.process);
    publish_and_flush(&x, 17, fds, 2);
    expect_status(&x, BUS_STATUS_BAD_DESCRIPTORS);
    publish_and_flush(&x, LARGE, NULL, 0);
    expect_status(&x, BUS_STATUS_BAD_DESCRIPTORS);
    publish_and_flush(&x, 17, NULL, 0); /* the connection goes on */
    assert_int_equal(x.n_statuses, 0);
    taker_reach(&taker, 1);
    pair_watch(&pair, 1000, 0);
    files_close(fillers, n);
    while (router_fd_count(&x.f.process) > n_full - 8) {
        (void) router_counter(x.ask, "clients_now");
    }
    publish_and_flush(&x, 17, fds, 2);
    publish_and_flush(&x, LARGE, NULL, 0);
    publish_and_flush(&x, LARGE, fds, 2);
    assert_int_equal(x.n_statuses, 0);
    taker_reach(&taker, 4);
    assert_int_equal(taker.lost, 0);
    assert_int_equal(taker.n_with, 2);
    taker_stop(&taker);
    (void) pair_finish(&pair);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_full_table_of_the_router_costs_the_sender_a_message)

/* ---- limits ---- */

static const int four[4] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};

/* Of 8 descriptors: the first message goes to a subscriber who does not read yet, two wait. */
static void exhaust_limit(struct scene *x)
{
    for (int i = 0; i < 3; i++) {
        publish_and_flush(x, 17, four, 4);
        assert_int_equal(x->n_statuses, 0);
    }
    publish_and_flush(x, 17, four, 4);
    expect_status(x, BUS_STATUS_LIMIT);
    publish_and_flush(x, 17, NULL, 0); /* without it is no matter */
    assert_int_equal(x->n_statuses, 0);
}

/* All that was accepted arrives, and then there is room again. */
static void expect_limit_released(struct scene *x, struct taker *t, unsigned n)
{
    taker_reach(t, n);
    while (router_counter(x->ask, "descriptors_now") > 0) {
        assert_int_equal(bus_flush(t->conn, FIXTURE_TIMEOUT_MS), 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        publish_and_flush(x, 17, four, 4);
        taker_reach(t, n + 1 + i);
        assert_int_equal(bus_flush(t->conn, FIXTURE_TIMEOUT_MS), 0);
    }
    assert_int_equal(x->n_statuses, 0);
    assert_int_equal(t->lost, 0);
    assert_int_equal(t->n_without, 0);
}

static void a_connection_has_a_limit_of_its_own(bool packets)
{
    const char *const args[] = {"--client-descriptors-max", "8", NULL};
    const struct router_options o = {.args = args};
    struct bus_conn *other;
    struct taker taker;
    struct scene x;

    scene_start(&x, packets, &o);
    taker_start(&taker, x.address, &opts_fds);
    exhaust_limit(&x);
    other = scene_connect(&x);
    assert_int_equal(publish_fds(other, 17, four, 4), 0);
    assert_int_equal(bus_flush(other, FIXTURE_TIMEOUT_MS), 0);
    assert_int_equal(x.n_statuses, 0);
    expect_limit_released(&x, &taker, 5);
    bus_close(other);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_connection_has_a_limit_of_its_own)

static void count_refused(struct bus_conn *conn, const struct bus_status_event *event,
                          void *userdata)
{
    struct child_self *self = userdata;

    (void) conn;
    (void) event;
    self->report->lost++;
}

/* Publishes as somebody else. */
static void other_user(struct child_self *self)
{
    const struct scene *x = self->role;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;

    CHILD_CHECK(self, setgid(OTHER_UID) == 0 && setuid(OTHER_UID) == 0);
    opts.on_status = count_refused;
    opts.userdata = self;
    CHILD_CHECK(self, bus_open(x->address, &opts, &conn) == 0);
    CHILD_CHECK(self, publish_fds(conn, 17, four, 4) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    CHILD_CHECK(self, self->report->lost == 0);
    bus_close(conn);
}

/* Returns how many it has published. */
static unsigned publish_as_other_user(struct scene *x)
{
    struct child c;

    if (geteuid() != 0) {
        print_message("only root can be another user\n");
        return 0;
    }
    assert_int_equal(chmod(x->f.dir, 0711), 0);
    child_start(&c, other_user, x);
    child_join(&c);
    child_forget(&c);
    return 1;
}

static void a_user_has_a_limit_for_all_connections(bool packets)
{
    char quota[64];
    const char *const args[] = {"--quota", quota,  "--rule", "allow all topic=# topic=$bus/#",
                                "--mode",  "0666", NULL};
    const struct router_options o = {.args = args};
    struct bus_conn *other;
    struct taker taker;
    struct scene x;
    unsigned n;

    (void) snprintf(quota, sizeof(quota), "user=%u descriptors=8", (unsigned) geteuid());
    scene_start(&x, packets, &o);
    taker_start(&taker, x.address, &opts_fds);
    exhaust_limit(&x);
    other = scene_connect(&x);
    assert_int_equal(publish_fds(other, 17, four, 4), 0);
    assert_int_equal(bus_flush(other, FIXTURE_TIMEOUT_MS), 0);
    expect_status(&x, BUS_STATUS_LIMIT);
    n = publish_as_other_user(&x);
    expect_limit_released(&x, &taker, 4 + n);
    bus_close(other);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(a_user_has_a_limit_for_all_connections)

/* ---- who does not read ---- */

/* A subscriber with all features that reads only when it is told. */
struct deaf {
    struct raw_client c;
    unsigned n_messages, n_buffers; /* with descriptors, since it was asked last */
    uint64_t delivered, lost;
    uint64_t ping; /* the last one, 0: none that is not answered */
};

static void deaf_start(struct deaf *d, const char *address, uint32_t queue_messages)
{
    const struct wire_hello hello = {.protocol_min = 1,
                                     .protocol_max = 1,
                                     .client_name = text_from("deaf"),
                                     .features = FEATURE_BUFFERS,
                                     .resume_token = text_from("")};
    const struct wire_subscribe subscribe = {.subscription = 1,
                                             .filter = text_from("fds/+"),
                                             .window_bytes = 64 * BODY_MIB,
                                             .queue_messages = queue_messages,
                                             .queue_bytes = 64 * BODY_MIB,
                                             .flags = 2};
    union wire_any m;

    *d = (struct deaf){0};
    raw_connect(&d->c, address);
    raw_send_frame(&d->c, VERB_HELLO, &hello);
    assert_int_equal(raw_next(&d->c, &m), VERB_WELCOME);
    raw_send_frame(&d->c, VERB_SUBSCRIBE, &subscribe);
    (void) raw_expect_status(&d->c, VERB_SUBSCRIBE, BUS_STATUS_OK);
}

/* What is there to be read; returns how many descriptors came along. */
static unsigned deaf_receive(struct raw_client *c)
{
    struct iovec iov = {c->data + c->len, RAW_BYTES - c->len};
    struct sock_received in;
    ssize_t n = sock_receive(c->fd, &iov, 1, MSG_DONTWAIT, &in);
    unsigned n_fds = 0;

    if (n == -EAGAIN) {
        return 0;
    }
    assert_true(n > 0);
    c->len += (size_t) n;
    if (in.parcel) {
        n_fds = in.parcel->n;
        assert_false(in.parcel->truncated);
        parcel_unref(in.parcel);
    }
    return n_fds;
}

static void deaf_handle(struct deaf *d, int verb, const union wire_any *m)
{
    switch (verb) {
    case VERB_MESSAGE:
        d->delivered++;
        d->n_messages += m->message.descriptors > 0;
        if (m->message.lease) {
            raw_send_frame(&d->c, VERB_RELEASE, &(struct wire_release){m->message.lease, 0});
        }
        break;
    case VERB_BUFFER:
        d->n_buffers++;
        break;
    case VERB_LOSS:
        d->lost += m->loss.count;
        break;
    case VERB_PING:
        d->ping = m->ping.token;
        break;
    default:
        break; /* names */
    }
}

/* Reads all there is without answering; returns how many descriptors came. */
static unsigned deaf_read(struct deaf *d)
{
    union wire_any m;
    unsigned n_fds = 0;
    struct frame f;
    size_t bytes;

    while (raw_is_readable(&d->c, 0)) {
        n_fds += deaf_receive(&d->c);
        while (frame_parse(d->c.data, d->c.len, UINT32_MAX, &f, &bytes) == FRAME_OK) {
            deaf_handle(d, raw_next(&d->c, &m), &m);
        }
    }
    return n_fds;
}

/* Reads, and answers once. */
static void deaf_answer(struct deaf *d)
{
    d->n_messages = d->n_buffers = 0;
    if (d->ping) {
        raw_send_frame(&d->c, VERB_PONG, &(struct wire_pong){d->ping});
        d->ping = 0;
    }
    (void) raw_is_readable(&d->c, 20);
    (void) deaf_read(d);
    assert_in_range(d->n_messages, 0, 1);
    assert_in_range(d->n_buffers, 0, 16);
}

#define IGNORED 60

/* By turns with three descriptors and in a buffer of its own. */
static void publish_to_deaf(struct scene *x, struct taker *t)
{
    for (unsigned i = 0; i < IGNORED; i++) {
        if (i % 2) {
            publish_large(x, BUS_PUBLISH_IMMUTABLE);
        } else {
            publish_and_flush(x, 17, four, 3);
        }
        taker_reach(t, bus_sequence(x->publisher));
    }
    assert_int_equal(x->n_statuses, 0);
    assert_int_equal(t->lost, 0);
}

static void who_does_not_read_has_few_on_their_way(bool packets)
{
    uint64_t deadline_ns;
    struct taker taker;
    struct deaf deaf;
    struct scene x;
    unsigned n_fds;

    scene_start(&x, packets, NULL);
    deaf_start(&deaf, x.address, 40);
    taker_start(&taker, x.address, &opts_fds);
    publish_to_deaf(&x, &taker);
    n_fds = deaf_read(&deaf);
    assert_int_equal(deaf.n_messages, 1);
    assert_in_range(deaf.n_buffers, 0, 16);
    assert_int_equal(n_fds, 3 + deaf.n_buffers);
    deadline_ns = clock_monotonic_ns() + FIXTURE_TIMEOUT_MS * NS_PER_MS;
    while (deaf.delivered + deaf.lost < IGNORED) {
        deaf_answer(&deaf);
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    print_message("%" PRIu64 " delivered + %" PRIu64 " lost\n", deaf.delivered, deaf.lost);
    assert_int_equal(deaf.delivered + deaf.lost, IGNORED);
    assert_true(deaf.lost > 0);
    raw_close(&deaf.c);
    taker_stop(&taker);
    scene_stop(&x);
}
ON_BOTH_LINKS(who_does_not_read_has_few_on_their_way)

/* ---- who sends what it should not ---- */

static size_t publish_frame(uint8_t *dst, size_t cap, unsigned fds)
{
    const struct wire_publish publish = {.topic = text_from("fds/hostile")};

    return raw_frame_fds(dst, cap, VERB_PUBLISH, &publish, fds);
}

/* So many announced, so many sent, and what is said about it. */
static void send_wrong_number(struct raw_client *c, unsigned announced, unsigned sent,
                              enum bus_status status)
{
    int fds[RAW_FDS_MAX];
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), announced);

    for (unsigned i = 0; i < sent; i++) {
        fds[i] = i % 2 ? c->fd : STDERR_FILENO;
    }
    raw_send_fds(c, buf, len, fds, sent);
    if (status != BUS_STATUS_OK) {
        (void) raw_expect_status(c, VERB_PUBLISH, status);
    }
    raw_round_trip(c, 1);
}

static void wrong_numbers(struct raw_client *c)
{
    send_wrong_number(c, 0, 1, BUS_STATUS_OK);
    send_wrong_number(c, 0, 17, BUS_STATUS_OK);
    send_wrong_number(c, 0, RAW_FDS_MAX, BUS_STATUS_OK);
    send_wrong_number(c, 1, 0, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 1, 2, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 2, 1, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 16, 15, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 16, 17, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 16, 18, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 16, RAW_FDS_MAX, BUS_STATUS_BAD_DESCRIPTORS);
    send_wrong_number(c, 17, 17, BUS_STATUS_UNSUPPORTED);
    send_wrong_number(c, 255, RAW_FDS_MAX, BUS_STATUS_UNSUPPORTED);
    send_wrong_number(c, 255, 0, BUS_STATUS_UNSUPPORTED);
    send_wrong_number(c, 16, 16, BUS_STATUS_OK);
    send_wrong_number(c, 1, 1, BUS_STATUS_OK);
}

/* On all verbs that take none; each connection is still there afterwards. */
static void wrong_verbs(struct raw_client *c)
{
    const struct wire_advertise advertise = {1, text_from("hostile/1")};
    const struct wire_subscribe subscribe = {.subscription = 1, .filter = text_from("hostile/9")};
    const struct wire_ping ping = {7};
    const struct wire_credit credit = {1, 1, 1};

    raw_send_frame_fds(c, VERB_ADVERTISE, &advertise, four, 2);
    (void) raw_expect_status(c, VERB_ADVERTISE, BUS_STATUS_UNSUPPORTED);
    raw_send_frame_fds(c, VERB_SUBSCRIBE, &subscribe, four, 1);
    (void) raw_expect_status(c, VERB_SUBSCRIBE, BUS_STATUS_UNSUPPORTED);
    raw_send_frame_fds(c, VERB_PING, &ping, four, 4);
    (void) raw_expect_status(c, VERB_PING, BUS_STATUS_UNSUPPORTED);
    raw_send_frame_fds(c, VERB_CREDIT, &credit, NULL, 0);
    raw_round_trip(c, 2);
}

static void on_hello(const char *address)
{
    const struct wire_hello hello = {.protocol_min = 1,
                                     .protocol_max = 1,
                                     .client_name = text_from("hostile"),
                                     .resume_token = text_from("")};
    struct raw_client c;
    union wire_any m;
    uint8_t buf[256];
    size_t len = raw_frame(buf, sizeof(buf), VERB_HELLO, &hello);

    raw_connect(&c, address);
    raw_send_fds(&c, buf, len, four, 3); /* not announced: it is a HELLO as any */
    assert_int_equal(raw_next(&c, &m), VERB_WELCOME);
    raw_round_trip(&c, 1);
    raw_close(&c);
    raw_connect(&c, address);
    raw_send_frame_fds(&c, VERB_HELLO, &hello, four, 1);
    raw_expect_goodbye(&c, BUS_GOODBYE_PROTOCOL_ERROR);
    raw_close(&c);
    raw_connect(&c, address);
    assert_true(raw_try_send_fds(&c, "GET ", 4, four, 4) > 0);
    raw_close(&c);
}

/* seqpacket: the end of file with descriptors. */
static void empty_packet(const char *address)
{
    struct raw_client c;

    raw_greet(&c, address);
    (void) raw_try_send_fds(&c, "", 0, four, 4);
    raw_close(&c);
}

/* A packet with several frames, of which the second one has the descriptors. */
static void second_frame(const char *address)
{
    struct raw_client c;
    uint8_t buf[512];
    size_t len = publish_frame(buf, sizeof(buf), 0);

    raw_greet(&c, address);
    len += publish_frame(buf + len, sizeof(buf) - len, 3);
    len += publish_frame(buf + len, sizeof(buf) - len, 3); /* a batch that does not exist */
    raw_send_fds(&c, buf, len, four, 3);
    (void) raw_expect_status(&c, VERB_PUBLISH, BUS_STATUS_BAD_DESCRIPTORS);
    raw_round_trip(&c, 1);
    raw_close(&c);
}

/* stream: descriptors with any byte of a frame. */
static void middle_of_a_frame(const char *address)
{
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), 2);

    raw_greet(&c, address);
    for (size_t at = 1; at < len; at++) {
        raw_send_fds(&c, buf, at, NULL, 0);
        raw_send_fds(&c, buf + at, len - at, four, 2);
        raw_round_trip(&c, at);
    }
    raw_close(&c);
}

/* stream: descriptors with every byte of a frame. */
static void every_byte(const char *address)
{
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), 4);

    raw_greet(&c, address);
    for (size_t at = 0; at < len; at++) {
        raw_send_fds(&c, buf + at, 1, four, 4);
    }
    (void) raw_is_readable(&c, 20);
    raw_close(&c);
}

#define FLOOD 500

static void flood(const char *address, bool announced)
{
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), announced ? 4 : 0);

    raw_greet(&c, address);
    for (int i = 0; i < FLOOD; i++) {
        if (raw_try_send_fds(&c, buf, len, four, 4) < 0) {
            struct pollfd p = {.fd = c.fd, .events = POLLOUT};

            assert_int_equal(poll(&p, 1, FIXTURE_TIMEOUT_MS), 1);
        }
    }
    raw_close(&c);
}

/* Its own end of the connection, with the beginning of a frame whose rest never comes: nobody else
 * has it then, and the router sees no end of file. */
static void own_end(const char *address, bool packets)
{
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), 1);

    raw_greet(&c, address);
    raw_send_fds(&c, buf, packets ? len : len - 1, &c.fd, 1);
    raw_close(&c);
}

/* The same within descriptors: sockets that hold one another. */
static void cycle(const char *address)
{
    int pair[2], both[2];
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), 2);

    raw_greet(&c, address);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    memcpy(both, pair, sizeof(both));
    raw_send_fds(&(struct raw_client){.fd = pair[0]}, "x", 1, pair, 2);
    both[1] = c.fd;
    raw_send_fds(&c, buf, len, both, 2);
    files_close(pair, 2);
    raw_close(&c);
}

static void strange_kinds(const char *address)
{
    int fds[] = {epoll_create1(EPOLL_CLOEXEC), open("/", O_PATH | O_CLOEXEC),
                 open("/dev/zero", O_RDWR | O_CLOEXEC), memfd_sealed(1, 0, NULL)};
    struct raw_client c;
    uint8_t buf[256];
    size_t len = publish_frame(buf, sizeof(buf), ARRAY_LEN(fds));

    raw_greet(&c, address);
    raw_send_fds(&c, buf, len, fds, ARRAY_LEN(fds));
    raw_round_trip(&c, 1);
    raw_close(&c);
    files_close(fds, ARRAY_LEN(fds));
}

static void be_hostile(const char *address, bool packets)
{
    struct raw_client c;

    raw_greet(&c, address);
    wrong_numbers(&c);
    wrong_verbs(&c);
    raw_close(&c);
    on_hello(address);
    second_frame(address);
    if (packets) {
        empty_packet(address);
    } else {
        middle_of_a_frame(address);
        every_byte(address);
    }
    flood(address, true);
    flood(address, false);
    own_end(address, packets);
    cycle(address);
    strange_kinds(address);
}

/* First for nobody; then what is accepted waits for subscribers who do not read, among it the ends
 * of connections. */
static void hostile_descriptors_harm_nobody_else(bool packets)
{
    const char *const args[] = {"--stall-timeout", "2s", NULL};
    const struct router_options o = {.args = args};
    unsigned open = fds_open();
    struct healthy_pair pair;
    struct taker taker;
    struct deaf deaf;
    struct scene x;

    scene_start(&x, packets, &o);
    pair_start(&pair, &x.f);
    be_hostile(x.address, packets);
    pair_watch(&pair, 100, 0);
    deaf_start(&deaf, x.address, 0);
    taker_start(&taker, x.address, &opts_fds);
    be_hostile(x.address, packets);
    pair_watch(&pair, 100, 0);
    raw_close(&deaf.c);
    taker_stop(&taker);
    (void) pair_finish(&pair);
    scene_stop(&x);
    assert_int_equal(fds_open(), open);
}
ON_BOTH_LINKS(hostile_descriptors_harm_nobody_else)

/* ---- those who die ---- */

/* Publishes messages with 0 to 16 descriptors, large and small ones, as fast as it can. */
static void fds_publisher(struct child_self *self)
{
    const struct bodies_role *role = self->role;
    struct bus_opts opts = BUS_OPTS_INIT;
    int fds[BUS_FDS_MAX], r;
    struct bus_conn *conn;

    for (unsigned i = 0; i < BUS_FDS_MAX; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHILD_CHECK(self, fds[i] >= 0);
    }
    opts.on_status = count_refused; /* at the limit of descriptors */
    opts.userdata = self;
    CHILD_CHECK(self, bus_open(role->address, &opts, &conn) == 0);
    child_ready(self);
    while (!child_wait(self, -1, 0)) {
        uint64_t number = bus_sequence(conn) + 1;

        r = publish_fds(conn, number % 5 ? 100 : LARGE, fds, number % (BUS_FDS_MAX + 1));
        CHILD_CHECK(self, r == 0 || r == -EAGAIN);
        self->report->done += r == 0;
        r = r == 0 ? bus_process(conn) : bus_wait_writable(conn, 50);
        CHILD_CHECK(self, r >= 0 || r == -ETIMEDOUT);
    }
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    bus_close(conn);
}

static void on_child_fds(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct child_self *self = userdata;

    (void) sub;
    CHILD_CHECK(self, body_is(bus_message_data(m), bus_message_bytes(m), bus_message_sequence(m)));
    for (size_t i = 0; i < bus_message_n_fds(m); i++) {
        CHILD_CHECK(self, fcntl(bus_message_fd(m, i), F_GETFD) == FD_CLOEXEC);
    }
    self->report->done++;
}

static void fds_subscriber(struct child_self *self)
{
    const struct bodies_role *role = self->role;
    struct bus_sub_opts opts = role->opts;
    struct bus_conn *conn;

    opts.on_loss = child_on_loss;
    opts.on_ready = child_on_ready;
    CHILD_CHECK(self, bus_open(role->address, NULL, &conn) == 0);
    CHILD_CHECK(self, bus_subscribe(conn, "fds/+", &opts, on_child_fds, self, NULL) == 0);
    CHILD_CHECK(self, bus_flush(conn, FIXTURE_TIMEOUT_MS) == 0);
    child_ready(self);
    bodies_idle(self, conn);
    bus_close(conn);
}

static void start_fds_child(const struct scene *x, struct child *c, struct rng *rng, bool publishes)
{
    struct bodies_role role = {.address = x->address, .opts = opts_fds};

    role.opts.policy = rng_below(rng, BUS_POLICY_DISCONNECT);
    role.opts.queue_messages = 1 + rng_below(rng, 20);
    if (rng_below(rng, 4) == 0) {
        role.address = address_of(&x->f, rng_below(rng, 2));
    }
    bodies_start(c, publishes ? fds_publisher : fds_subscriber, &role);
}

#define DYING 6
#define DEATHS 40

static void deaths_leave_no_descriptor_behind(bool packets)
{
    struct rng rng = rng_from_env();
    struct child children[DYING];
    struct healthy_pair pair;
    struct scene x;

    scene_start(&x, packets, NULL);
    pair_start(&pair, &x.f);
    for (unsigned i = 0; i < DYING; i++) {
        start_fds_child(&x, &children[i], &rng, i % 2);
    }
    for (int i = 0; i < DEATHS; i++) {
        unsigned who = rng_below(&rng, DYING);

        if (rng_below(&rng, 3) == 0) {
            child_stop(&children[who]); /* its queues fill first */
        }
        pair_watch(&pair, i % 10 == 0, (int) rng_below(&rng, 30));
        child_kill9(&children[who]);
        start_fds_child(&x, &children[who], &rng, who % 2);
    }
    for (unsigned i = 0; i < DYING; i++) {
        assert_true(children[i].report->failure[0] == '\0');
        child_kill9(&children[i]);
    }
    (void) pair_finish(&pair);
    scene_stop(&x);
}
ON_BOTH_LINKS(deaths_leave_no_descriptor_behind)

/* Reads nothing, so at some time it is not read either, and its own end of the link waits where the
 * router does not see it. */
static void deaf_with_own_end(struct child_self *self)
{
    const struct bodies_role *role = self->role;
    struct raw_client c;
    uint8_t buf[16384];
    uint64_t token = 0;
    struct pollfd p;

    raw_greet(&c, role->address);
    p = (struct pollfd){.fd = c.fd, .events = POLLOUT};
    for (;;) {
        size_t len = 0;

        while (len + 64 < sizeof(buf)) {
            const struct wire_ping ping = {++token};

            len += raw_frame(buf + len, sizeof(buf) - len, VERB_PING, &ping);
        }
        if (raw_try_send_fds(&c, buf, len, &c.fd, 1) < 0 && poll(&p, 1, 500) != 1) {
            break;
        }
    }
    child_ready(self);
    while (!child_wait(self, -1, 0)) {
        continue;
    }
}

static void who_sends_its_own_end_and_reads_nothing_does_not_stay(bool packets)
{
    const char *const args[] = {"--stall-timeout", "2s", NULL};
    const struct router_options o = {.args = args};
    struct bodies_role role = {0};
    struct healthy_pair pair;
    struct child child;
    struct scene x;

    scene_start(&x, packets, &o);
    pair_start(&pair, &x.f);
    role.address = x.address;
    child_start(&child, deaf_with_own_end, &role);
    child_expect_ready(&child);
    child_kill9(&child);
    (void) pair_finish(&pair);
    scene_stop(&x); /* which waits until all of it is gone */
}
ON_BOTH_LINKS(who_sends_its_own_end_and_reads_nothing_does_not_stay)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_CASES(descriptors_reach_those_who_ask),
        BOTH_CASES(what_cannot_be_sent_is_refused_at_once),
        BOTH_CASES(a_full_table_costs_a_message_its_descriptors),
        BOTH_CASES(a_full_table_costs_bodies_until_there_is_room),
        BOTH_CASES(a_full_table_of_the_sender_changes_nothing),
        BOTH_CASES(a_full_table_of_the_router_costs_the_sender_a_message),
        BOTH_CASES(a_connection_has_a_limit_of_its_own),
        BOTH_CASES(a_user_has_a_limit_for_all_connections),
        BOTH_CASES(who_does_not_read_has_few_on_their_way),
        BOTH_CASES(hostile_descriptors_harm_nobody_else),
        BOTH_CASES(deaths_leave_no_descriptor_behind),
        BOTH_CASES(who_sends_its_own_end_and_reads_nothing_does_not_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
