/* SPDX-License-Identifier: MIT */
/* Starting in the place of a router that runs: bus-router --replace. Up to the word of the other
 * one nothing is touched that it may still need. docs/decisions/030-replacing.md. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "activation.h"
#include "parts.h"

/* What was another router's, until it is this one's. */
struct inheritance {
    struct succession from;
    struct listener old[ACCEPTOR_SOCKETS_MAX];
    size_t n_old;
    bool is_ours[ACCEPTOR_SOCKETS_MAX]; /* of broker.listeners: newly opened */
};

/* Nothing of it may be touched, so nothing is taken down in order: the process ends. */
static _Noreturn void inheritance_give_up(struct broker *b, const struct inheritance *in,
                                          const struct failure *f)
{
    for (size_t i = 0; i < b->n_listeners; i++) {
        if (in->is_ours[i]) {
            listener_close(&b->listeners[i]);
        }
    }
    (void) fprintf(stderr, "bus-router: %s\n", f->text);
    _exit(EXIT_CODE_FAILED);
}

/* The one that listens there, off the list; or NULL. */
static bool inheritance_take(struct inheritance *in, const struct address *a, struct listener *ret)
{
    for (size_t i = 0; i < in->n_old; i++) {
        if (listener_is_at(&in->old[i], a)) {
            *ret = in->old[i];
            in->old[i] = in->old[--in->n_old];
            return true;
        }
    }
    return false;
}

/* Those that were given to the first router, whoever that was, are in nobody's arguments. */
static void inheritance_take_given(struct broker *b, struct inheritance *in)
{
    size_t n = 0;

    for (size_t i = 0; i < in->n_old; i++) {
        if (in->old[i].is_given) {
            b->listeners[b->n_listeners++] = in->old[i];
        } else {
            in->old[n++] = in->old[i];
        }
    }
    in->n_old = n;
}

static int inheritance_listeners(struct broker *b, struct inheritance *in, struct failure *f)
{
    const struct options *o = b->options;
    struct listener *l;

    inheritance_take_given(b, in);
    for (size_t i = 0; i < o->n_listens; i++) {
        const struct listen_option *wanted = &o->listens[i];
        int r = broker_next_listener(b, &wanted->address, &l, f);

        if (r == 0 && l && !inheritance_take(in, &wanted->address, l)) {
            r = listener_open(l, &wanted->address, &wanted->access, f);
            in->is_ours[b->n_listeners] = r == 0;
        }
        if (r < 0) {
            return r;
        }
        if (l) {
            memcpy(l->name, wanted->name, sizeof(l->name));
            b->n_listeners++;
        }
    }
    return 0;
}

/* From here on it is this process that serves, whatever happens. */
static int inheritance_enter(struct broker *b, struct inheritance *in, struct failure *f)
{
    int r;

    for (size_t i = 0; i < b->n_listeners; i++) {
        listener_own(&b->listeners[i]);
    }
    for (size_t i = 0; i < in->n_old; i++) {
        listener_close(&in->old[i]); /* an address that is not wanted any more */
    }
    broker_init_roster(b);
    router_list_returning(b->router); /* the file is written anew */
    r = broker_listen(b, f);
    if (r == 0) {
        sessions_start(&b->sessions);
        broker_say_ready(b);
    }
    return r;
}

/* The router that runs need not have all addresses that are wanted now: whoever answers first. */
static int inheritance_begin(const struct options *o, struct succession *from, struct failure *f)
{
    int r = succession_begin(from, &o->listens[0].address, f);
    struct failure other;

    for (size_t i = 1; i < o->n_listens && (r == -ENOENT || r == -ECONNREFUSED); i++) {
        r = succession_begin(from, &o->listens[i].address, &other);
        if (r < 0 && r != -ENOENT && r != -ECONNREFUSED) {
            *f = other;
        }
    }
    return r;
}

int broker_inherit(struct broker *b, struct failure *f)
{
    struct inheritance *in = calloc(1, sizeof(*in));
    int r;

    if (!in) {
        return failure_set(f, -ENOMEM, "out of memory");
    }
    if (activation_is_there()) {
        free(in);
        return failure_set(f, -EINVAL,
                           "there are sockets of a service manager, which has started this router "
                           "anew; start it without --replace");
    }
    r = inheritance_begin(b->options, &in->from, f);
    r = r < 0 ? r : broker_open_router(b, &in->from, f);
    if (r == 0 && broker_open_loop(b) < 0) {
        r = failure_set(f, -ENOMEM, "cannot start: out of memory");
    }
    r = r < 0 ? r : broker_open_signals(b);
    r = r < 0 ? r : succession_adopt(&in->from, &b->sessions, in->old, &in->n_old, f);
    r = r < 0 ? r : inheritance_listeners(b, in, f);
    r = r < 0 ? r : succession_end(&in->from, f);
    if (r < 0) {
        inheritance_give_up(b, in, f);
    }
    r = inheritance_enter(b, in, f);
    free(in);
    return r;
}
