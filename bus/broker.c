/* SPDX-License-Identifier: MIT */
#include "broker.h"
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "activation.h"
#include "audit.h"
#include "base/clock.h"
#include "base/macros.h"
#include "io/closer.h"
#include "io/descriptors.h"
#include "log.h"
#include "parts.h"

/* How often suppressed log lines are counted out. */
#define LOG_CATCH_UP_MS 1000
/* How often it is looked whether those who are expected are still alive. */
#define GRACE_LOOK_MS 50
/* The same of those who are not read because they do not read. */
#define UNREAD_LOOK_MS 2000

static const int signals[BROKER_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

static struct now now_read(void)
{
    return (struct now){clock_monotonic_ns(), clock_realtime_ns()};
}

/* ---- stopping ---- */

/* Ends what is left; uv_run() returns when the close callbacks have been called. */
static void broker_close_handles(struct broker *b)
{
    b->state = BROKER_CLOSING;
    loop_close(&b->loop);
    uv_close((uv_handle_t *) &b->deadline, NULL);
    uv_close((uv_handle_t *) &b->drain, NULL);
    uv_close((uv_handle_t *) &b->catch_up, NULL);
    uv_close((uv_handle_t *) &b->replace, NULL);
    uv_close((uv_handle_t *) &b->grace, NULL);
    uv_close((uv_handle_t *) &b->unread, NULL);
    service_close(&b->service);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        uv_close((uv_handle_t *) &b->signals[i], NULL);
    }
    uv_stop(&b->uv); /* the rest is broker_finish() */
}

/* The files go before the clients do: the next router can start at once. */
static void broker_stop_listening(struct broker *b)
{
    acceptor_close(&b->acceptor);
    while (b->n_listeners > 0) {
        listener_close(&b->listeners[--b->n_listeners]);
    }
}

void broker_send(struct broker *b)
{
    struct peer *p;

    while ((p = router_next_dirty(b->router))) {
        session_flush(p);
    }
}

static void broker_say_goodbye(struct broker *b)
{
    struct now now = now_read();

    b->state = BROKER_ENDING;
    router_shutdown(b->router, &now);
    broker_send(b);
}

/* What clients take at once is still theirs. */
static void broker_cut_off(struct broker *b)
{
    if (b->state == BROKER_DRAINING) {
        log(LOG_WARN, LOG_ROUTER_CUT_OFF,
            log_number("messages", router_counters(b->router)->messages_queued_now),
            log_number("requests", router_counters(b->router)->requests_now));
        broker_say_goodbye(b);
    }
    sessions_close_all(&b->sessions);
}

static void on_drain_timeout(uv_timer_t *handle)
{
    broker_cut_off(container_of(handle, struct broker, drain));
}

void broker_stop(struct broker *b)
{
    struct now now = now_read();
    uint64_t timeout_ms = b->options->drain_timeout_ms;

    log(LOG_INFO, LOG_ROUTER_STOPPING, log_number("clients", b->sessions.n));
    b->state = BROKER_DRAINING;
    service_stopping(&b->service);
    roster_freeze(&b->roster); /* before the next router can read it */
    (void) uv_timer_stop(&b->grace);
    broker_stop_listening(b);
    router_drain(b->router, now.monotonic_ns + timeout_ms * NS_PER_MS, &now);
    (void) uv_timer_start(&b->drain, on_drain_timeout, timeout_ms, 0);
    if (b->sessions.n == 0) {
        broker_close_handles(b);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct broker *b = handle->data;
    struct failure f;

    log(LOG_INFO, LOG_ROUTER_SIGNAL, log_text("signal", strsignal(number)));
    if (number == SIGUSR2) {
        broker_start_successor(b);
        return;
    }
    if (number == SIGHUP) {
        if (b->state == BROKER_SERVING) {
            (void) broker_reload(b, &f); /* it says by itself how that went */
        }
        return;
    }
    if (b->state == BROKER_CLOSING) {
        return;
    }
    if (b->state == BROKER_SERVING) {
        broker_stop(b);
    } else {
        broker_cut_off(b);
    }
}

/* ---- serving ---- */

static void on_deadline(uv_timer_t *handle)
{
    struct broker *b = container_of(handle, struct broker, deadline);
    struct now now = now_read();

    b->deadline_ns = UINT64_MAX;
    router_tick(b->router, &now); /* what it made dirty is sent before the poll */
}

/* A timer that fires too early does no harm, so it is set again only if it would be too late. */
static void broker_arm_deadline(struct broker *b)
{
    uint64_t due_ns = router_deadline(b->router);
    uint64_t now_ms, due_ms;

    if (due_ns >= b->deadline_ns) {
        return;
    }
    b->deadline_ns = due_ns;
    now_ms = uv_now(&b->uv);
    due_ms = due_ns / NS_PER_MS + 1;
    (void) uv_timer_start(&b->deadline, on_deadline, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void on_catch_up(uv_timer_t *handle)
{
    log_catch_up();
    if (!log_is_behind()) {
        (void) uv_timer_stop(handle);
    }
}

static void broker_watch_log(struct broker *b)
{
    if (log_is_behind() && !uv_is_active((const uv_handle_t *) &b->catch_up)) {
        (void) uv_timer_start(&b->catch_up, on_catch_up, LOG_CATCH_UP_MS, LOG_CATCH_UP_MS);
    }
}

static void on_grace(uv_timer_t *handle)
{
    struct broker *b = container_of(handle, struct broker, grace);
    size_t n_missing = 0;

    if (!roster_check_expected(&b->roster, b->router, &n_missing)) {
        (void) uv_timer_stop(handle);
        log(LOG_INFO, LOG_SESSIONS_BACK, log_number("missing", n_missing));
    }
}

static void on_unread(uv_timer_t *handle)
{
    struct broker *b = container_of(handle, struct broker, unread);

    if (!sessions_end_gone(&b->sessions, clock_monotonic_ns())) {
        (void) uv_timer_stop(handle);
    }
}

static void on_session_unread(struct sessions *all)
{
    struct broker *b = container_of(all, struct broker, sessions);

    if (!uv_is_active((const uv_handle_t *) &b->unread)) {
        (void) uv_timer_start(&b->unread, on_unread, UNREAD_LOOK_MS, UNREAD_LOOK_MS);
    }
}

static void on_flush(struct loop *loop)
{
    struct broker *b = container_of(loop, struct broker, loop);

    broker_send(b);
    if (b->state == BROKER_SERVING && router_is_to_be_replaced(b->router)) {
        (void) uv_timer_start(&b->replace, broker_hand_over, 0, 0);
    }
    if (b->state == BROKER_DRAINING && router_is_drained(b->router)) {
        broker_say_goodbye(b);
    }
    if (b->state != BROKER_CLOSING) {
        broker_arm_deadline(b);
        broker_watch_log(b);
    }
}

static void on_session_closed(struct sessions *all)
{
    struct broker *b = container_of(all, struct broker, sessions);

    acceptor_resume(&b->acceptor);
    if (b->state > BROKER_SERVING && b->state < BROKER_CLOSING && all->n == 0) {
        broker_close_handles(b);
    }
}

static void on_accept(struct acceptor *a, const struct listener *l, int *take_fd)
{
    struct broker *b = container_of(a, struct broker, acceptor);

    session_open(&b->sessions, l, take_fd);
}

static void on_accept_paused(struct acceptor *a, int error)
{
    struct broker *b = container_of(a, struct broker, acceptor);

    log(LOG_WARN, LOG_ACCEPT_PAUSED, log_text("error", strerror(error)),
        log_number("clients", b->sessions.n));
}

static void on_accept_resumed(struct acceptor *a)
{
    struct broker *b = container_of(a, struct broker, acceptor);

    log(LOG_INFO, LOG_ACCEPT_RESUMED, log_number("clients", b->sessions.n));
}

static const struct acceptor_ops broker_acceptor_ops = {
    .on_accept = on_accept,
    .on_paused = on_accept_paused,
    .on_resumed = on_accept_resumed,
};

/* ---- starting ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit); /* with less it pauses accepting sooner */
    }
}

static uint64_t random_number(void)
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof(number), 0) != (ssize_t) sizeof(number)) {
        number =
            clock_monotonic_ns() ^ (uint64_t) (uintptr_t) &number; /* hard to guess, at least */
    }
    return number;
}

static int inspect(int fd, struct descriptor_info *ret)
{
    struct memfd_facts facts;
    int r = descriptor_inspect(fd, &facts);

    *ret = (struct descriptor_info){facts.sealed, facts.immutable, facts.bytes};
    return r;
}

static struct router_config broker_config(const struct broker *b,
                                          const struct router_settings *settings)
{
    static const struct descriptor_ops descriptors = {inspect, descriptor_read};
    static const struct subject_ops names = {names_fill};

    return (struct router_config){
        .sessions = &roster_ops,
        .sessions_userdata = (void *) (uintptr_t) &b->roster,
        .limits = settings->limits,
        .policy = settings->policy,
        .overrides = settings->overrides,
        .n_overrides = settings->n_overrides,
        .epoch = clock_realtime_ns(),
        .hash_seed = random_number(),
        .owner_uid = geteuid(),
        .version = BUS_VERSION,
        .descriptors = &descriptors,
        .events = &audit_events,
        .names = &names,
        .names_userdata = (void *) (uintptr_t) &b->names,
        .controls = &broker_controls,
        .controls_userdata = (void *) (uintptr_t) b,
    };
}

int broker_open_router(struct broker *b, struct succession *from, struct failure *f)
{
    struct router_settings settings = {.policy = NULL};
    struct router_config config;
    int r = broker_settings(b->options, &settings);

    if (r < 0) {
        return failure_set(f, r, "the rules: %s", strerror(-r));
    }
    config = broker_config(b, &settings);
    if (from) {
        r = succession_load(from, &config, &b->router, f);
    } else {
        r = router_new(&config, &b->router);
        r = r < 0 ? failure_set(f, r, "cannot start: %s", strerror(-r)) : 0;
    }
    policy_unref(settings.policy);
    return r;
}

/* After the first handle was made, only broker_run() and broker_free() can take it back. */
int broker_open_loop(struct broker *b)
{
    int r = uv_loop_init(&b->uv);

    if (r < 0) {
        return r;
    }
    r = loop_open(&b->loop, &b->uv, (unsigned) b->options->spin_us, on_flush);
    if (r < 0) {
        (void) uv_loop_close(&b->uv);
        return r;
    }
    closer_init(&b->uv);
    acceptor_open(&b->acceptor, &b->uv, &b->loop.lanes, &broker_acceptor_ops);
    /* these cannot fail */
    (void) uv_timer_init(&b->uv, &b->deadline);
    (void) uv_timer_init(&b->uv, &b->drain);
    (void) uv_timer_init(&b->uv, &b->catch_up);
    (void) uv_timer_init(&b->uv, &b->replace);
    (void) uv_timer_init(&b->uv, &b->grace);
    (void) uv_timer_init(&b->uv, &b->unread);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        (void) uv_signal_init(&b->uv, &b->signals[i]);
        b->signals[i].data = b;
    }
    b->sessions = (struct sessions){
        .loop = &b->loop,
        .turns = {.lanes = &b->loop.lanes},
        .router = b->router,
        .on_closed = on_session_closed,
        .on_unread = on_session_unread,
    };
    service_open(&b->service, &b->uv, &b->sessions);
    return 0;
}

int broker_open_signals(struct broker *b)
{
    int r = 0;

    (void) signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(signals) && r == 0; i++) {
        r = uv_signal_start(&b->signals[i], on_signal, signals[i]);
    }
    return r;
}

/* Clients can connect from now on. */
int broker_listen(struct broker *b, struct failure *f)
{
    for (size_t i = 0; i < b->n_listeners; i++) {
        struct listener *l = &b->listeners[i];
        int r = listener_listen(l, f);

        if (r < 0) {
            return r;
        }
        r = acceptor_add(&b->acceptor, l);
        if (r < 0) {
            return failure_set(f, r, "cannot wait for connections: %s", strerror(-r));
        }
    }
    return 0;
}

int broker_next_listener(struct broker *b, const struct address *a, struct listener **ret,
                         struct failure *f)
{
    *ret = NULL;
    for (size_t i = 0; i < b->n_listeners; i++) {
        if (listener_is_at(&b->listeners[i], a)) {
            return 0;
        }
    }
    if (b->n_listeners == ARRAY_LEN(b->listeners)) {
        return failure_set(f, -EINVAL,
                           "at most %d addresses can be listened at, those of sockets "
                           "that were given included",
                           ACCEPTOR_SOCKETS_MAX);
    }
    *ret = &b->listeners[b->n_listeners];
    return 0;
}

/* All addresses are claimed before the first client can connect to any of them. */
static int broker_open_listeners(struct broker *b, struct failure *f)
{
    const struct options *o = b->options;
    int r = activation_take(b->listeners, &b->n_listeners, f);

    for (size_t i = 0; r == 0 && i < o->n_listens; i++) {
        const struct listen_option *wanted = &o->listens[i];
        struct listener *l;

        r = broker_next_listener(b, &wanted->address, &l, f);
        if (r == 0 && l) {
            r = listener_open(l, &wanted->address, &wanted->access, f);
            memcpy(l->name, wanted->name, sizeof(l->name));
            b->n_listeners += r == 0;
        }
    }
    return r < 0 ? r : broker_listen(b, f);
}

void broker_say_ready(struct broker *b)
{
    char address[ADDRESS_PATH_MAX + 16];
    int fd = b->options->ready_fd;

    for (size_t i = 0; i < b->n_listeners; i++) {
        const struct listener *l = &b->listeners[i];

        address_format(&l->address, address, sizeof(address));
        log(LOG_INFO, LOG_ROUTER_LISTENING, log_text("address", address), log_text("name", l->name),
            log_text("given", l->is_given ? "yes" : "no"));
    }
    log(LOG_INFO, LOG_ROUTER_STARTED, log_number("pid", (uint64_t) getpid()),
        log_text("version", BUS_VERSION));
    if (fd >= 0) {
        if (write(fd, "READY\n", 6) != 6) {
            log(LOG_WARN, LOG_ROUTER_STARTED, log_text("ready_fd", strerror(errno)));
        }
        (void) close(fd);
    }
    service_ready(&b->service, b->options->replace);
}

/* The file beside the first socket that is one: its lock is this router's. */
void broker_init_roster(struct broker *b)
{
    const char *path = NULL;

    for (size_t i = b->n_listeners; i > 0 && b->options->restart_grace_ms > 0; i--) {
        const struct address *a = &b->listeners[i - 1].address;

        path = a->abstract ? path : a->path;
    }
    roster_init(&b->roster, path, b->options->limits.clients_max, random_number());
}

/* Nobody is accepted yet. */
static void broker_open_roster(struct broker *b)
{
    uint64_t grace_ms = b->options->restart_grace_ms;
    size_t n;

    broker_init_roster(b);
    n = roster_load(&b->roster, b->router, clock_monotonic_ns() + grace_ms * NS_PER_MS);
    if (n > 0) {
        log(LOG_INFO, LOG_SESSIONS_EXPECTED, log_number("sessions", n));
        (void) uv_timer_start(&b->grace, on_grace, GRACE_LOOK_MS, GRACE_LOOK_MS);
    }
}

static int broker_start(struct broker *b, struct failure *f)
{
    int r = broker_open_signals(b);

    if (r < 0) {
        return failure_set(f, r, "cannot watch signals: %s", strerror(-r));
    }
    r = broker_open_listeners(b, f);
    if (r == 0) {
        broker_open_roster(b);
        broker_say_ready(b);
    }
    return r;
}

/* ---- the broker ---- */

static int broker_start_anew(struct broker *b, struct failure *f)
{
    int r = broker_open_router(b, NULL, f);

    if (r < 0) {
        return r;
    }
    r = broker_open_loop(b);
    if (r < 0) {
        b->router = router_free(b->router);
        return failure_set(f, r, "cannot start: %s", strerror(-r));
    }
    return broker_start(b, f);
}

int broker_new(const struct options *o, struct broker **ret, struct failure *failure)
{
    struct broker *b = calloc(1, sizeof(*b));
    int r;

    if (!b) {
        return failure_set(failure, -ENOMEM, "out of memory");
    }
    b->options = b->started = o;
    b->deadline_ns = UINT64_MAX;
    names_init(&b->names, names_ask_user, names_ask_group);
    if (!program_path(b->program, sizeof(b->program))) {
        *b->program = '\0';
    }
    b->roster.fd = -1;
    raise_descriptor_limit();
    r = o->replace ? broker_inherit(b, failure) : broker_start_anew(b, failure);
    if (r < 0 && b->router) {
        (void) broker_free(b);
    } else if (r < 0) {
        free(b);
    } else {
        *ret = b;
    }
    return r;
}

static void on_walk(uv_handle_t *handle, void *n)
{
    (void) handle;
    ++*(unsigned *) n;
}

/* Nothing but descriptors that do not want to be closed: nobody waits for these. */
static bool only_closing_is_left(struct broker *b)
{
    unsigned n = 0;

    if (b->state == BROKER_CLOSING && closer_pending() > 0) {
        uv_walk(&b->uv, on_walk, &n);
        return n == 0;
    }
    return false;
}

static void broker_finish(struct broker *b)
{
    while (!only_closing_is_left(b) && uv_run(&b->uv, UV_RUN_ONCE) != 0) {
    }
}

void broker_run(struct broker *b)
{
    (void) uv_run(&b->uv, UV_RUN_DEFAULT);
    broker_finish(b);
    log(LOG_INFO, LOG_ROUTER_STOPPED,
        log_number("clients_total", router_counters(b->router)->clients_total));
}

struct broker *broker_free(struct broker *b)
{
    int r;

    if (!b) {
        return NULL;
    }
    broker_stop_listening(b);
    if (b->state != BROKER_CLOSING) {
        broker_close_handles(b);
        broker_finish(b);
    }
    closer_abandon();
    (void) router_free(b->router);
    names_fini(&b->names);
    roster_fini(&b->roster);
    turns_fini(&b->sessions.turns);
    broker_forget_options(b);
    if (closer_pending() > 0) {
        _exit(EXIT_SUCCESS); /* libuv would wait for its threads */
    }
    r = uv_loop_close(&b->uv);
    assert(r == 0); /* a handle was forgotten */
    (void) r;
    free(b);
    return NULL;
}
