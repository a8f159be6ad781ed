/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/uv.h - a connection in a libuv loop
 *
 * Only inline functions: libbus itself does not need libuv. The rules at the top of <bus/bus.h> hold here too. Callbacks of the
 * connection run inside uv_run(), in the thread of the loop. Never blocks the loop.
 *
 *     struct bus_uv watcher;
 *     bus_uv_start(&watcher, loop, conn, on_end);
 *     ...
 *     bus_uv_stop(&watcher, on_stopped);
 *     bus_close(conn);
 */

#include <bus/bus.h>
#include <stddef.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bus_uv;

/** Called once when there is nothing to watch any more: @result is what bus_process() has returned, usually -ENOTCONN. */
typedef void (*bus_uv_end_fn)(struct bus_uv *watcher, int result);
/** Called when the memory of the watcher is the application's again. */
typedef void (*bus_uv_stopped_fn)(struct bus_uv *watcher);

/** Watches one connection. The memory is the application's; nothing in it but @data is for applications. */
struct bus_uv {
    uv_poll_t poll;
    struct bus_conn *conn;
    bus_uv_end_fn on_end;
    bus_uv_stopped_fn on_stopped;
    void *data; /**< for the application; not touched by bus_uv_start() */
};

/* The callbacks of the connection may have stopped the watcher; its memory is there until on_stopped, which is in a later turn. */
static inline void bus_uv_on_poll(uv_poll_t *poll, int status, int events)
{
    struct bus_uv *watcher = (struct bus_uv *) poll->data;
    int r = status < 0 ? status : bus_process(watcher->conn);

    (void) events;
    if (r < 0 && !uv_is_closing((uv_handle_t *) poll)) {
        (void) uv_poll_stop(poll);
        if (watcher->on_end != NULL) {
            watcher->on_end(watcher, r);
        }
    }
}

static inline void bus_uv_on_close(uv_handle_t *handle)
{
    struct bus_uv *watcher = (struct bus_uv *) handle->data;

    if (watcher->on_stopped != NULL) {
        watcher->on_stopped(watcher);
    }
}

/**
 * bus_uv_start() - process a connection in a loop
 * @watcher:  uninitialised memory, which must stay valid until on_stopped of bus_uv_stop()
 * @loop:     loop; must outlive the watcher
 * @conn:     connection; must outlive the watcher, up to bus_uv_stop()
 * @on_end:   called once when the connection has ended, after its on_closed; may be NULL. Not called after bus_uv_stop()
 *
 * bus_process() is called whenever bus_fd() is readable, once in a turn of the loop, so that a busy connection does not starve others.
 *
 * Returns: 0.
 *
 * Errors:
 *   -ECHILD  after fork()
 *   Any error of uv_poll_init(): the watcher has not been started and must not be stopped.
 *
 * Ownership: nothing changes hands.
 * Threads: that of the loop. Never blocks.
 * Since: 0.1
 */
static inline int bus_uv_start(struct bus_uv *watcher, uv_loop_t *loop, struct bus_conn *conn,
                               bus_uv_end_fn on_end)
{
    int fd = bus_fd(conn);
    int r = fd < 0 ? fd : uv_poll_init(loop, &watcher->poll, fd);

    if (r < 0) {
        return r;
    }
    watcher->poll.data = watcher;
    watcher->conn = conn;
    watcher->on_end = on_end;
    watcher->on_stopped = NULL;
    (void) uv_poll_start(&watcher->poll, UV_READABLE, bus_uv_on_poll); /* cannot fail on a new one */
    return 0;
}

/**
 * bus_uv_stop() - take a connection out of its loop
 * @watcher:     started watcher, whether its connection has ended or not
 * @on_stopped:  called in a later turn of the loop, when the memory is free for other use; may be NULL
 *
 * Call it before bus_close(), whose descriptor the loop would otherwise still watch. It may be called from any callback, on_end included,
 * but only once.
 *
 * Ownership: @watcher must stay valid until @on_stopped.
 * Threads: that of the loop. Never blocks.
 * Since: 0.1
 */
static inline void bus_uv_stop(struct bus_uv *watcher, bus_uv_stopped_fn on_stopped)
{
    watcher->on_stopped = on_stopped;
    uv_close((uv_handle_t *) &watcher->poll, bus_uv_on_close);
}

#ifdef __cplusplus
}
#endif
