/* SPDX-License-Identifier: MIT */
/* Leaving everything to the process that takes the place of this one; the other side is inherit.c.
 * docs/decisions/030-replacing.md. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/macros.h"
#include "base/sock.h"
#include "log.h"
#include "parts.h"

/* The arguments of this process, and whom to ask if only the service manager knows where this one
 * listens. */
static char **successor_arguments(const struct broker *b, char address[ADDRESS_PATH_MAX + 16])
{
    static char listen[] = "--listen";
    const struct options *o = b->started; /* one that was read anew need not say where */
    char **args = calloc(o->n_successor + 3, sizeof(*args));

    if (!args) {
        return NULL;
    }
    memcpy(args, o->successor, o->n_successor * sizeof(*args));
    if (o->n_listens == 0) {
        address_format(&b->listeners[0].address, address, ADDRESS_PATH_MAX + 16);
        args[o->n_successor] = listen;
        args[o->n_successor + 1] = address;
    }
    return args;
}

/* It connects like any client, and asks. */
void broker_start_successor(struct broker *b)
{
    char address[ADDRESS_PATH_MAX + 16];
    AUTO_FREE char **args = successor_arguments(b, address);
    int r = b->state != BROKER_SERVING ? -ECANCELED
            : !args                    ? -ENOMEM
            : *b->program              ? successor_start(b->program, args)
                                       : -ENOENT;

    if (r < 0) {
        log(LOG_WARN, LOG_ROUTER_REPLACING, log_text("program", b->program),
            log_text("error", strerror(-r)));
    }
}

/* The pair of sockets was made by that process. */
static void say_who_serves(struct broker *b, int fd)
{
    struct creds creds;

    if (sock_peer_creds(fd, &creds) == 0) {
        service_leave_to(&b->service, creds.pid);
    }
}

/* Nothing of the loop is running now: what links have read is handled or kept. Who asked has had
 * its answer, and is no client. */
void broker_hand_over(uv_timer_t *handle)
{
    struct broker *b = container_of(handle, struct broker, replace);
    const struct estate estate = {b->router, &b->sessions, b->listeners, b->n_listeners};
    uint64_t begin_ns = clock_monotonic_ns();
    struct now now = {begin_ns, clock_realtime_ns()};
    struct failure f;
    struct peer *who;
    struct parcel *parcel = router_take_replacement(b->router, &who);
    int r;

    if (!parcel) {
        return;
    }
    if (who) {
        session_drop(who);
    }
    broker_send(b);
    router_settle(b->router, &now);
    broker_send(b);
    log(LOG_INFO, LOG_ROUTER_REPLACING, log_number("clients", b->sessions.n));
    r = estate_hand_over(&estate, parcel->fds[0], b->options->replace_timeout_ms, &f);
    if (r == 0) {
        log(LOG_INFO, LOG_ROUTER_REPLACED,
            log_number("paused_us", (clock_monotonic_ns() - begin_ns) / 1000));
        say_who_serves(b, parcel->fds[0]);
        _exit(EXIT_CODE_OK); /* every file, lock and link is another's now */
    }
    log(LOG_WARN, LOG_ROUTER_REPLACING, log_text("failed", f.text));
    parcel_unref(parcel);
}
