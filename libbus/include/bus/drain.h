/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/drain.h - ending without losing anything
 *
 * A subscription that drains gets nothing new, and all that waits for it; a server answers the calls that it has. A program that is told to stop calls bus_drain() and then
 * bus_close(); one with an event loop calls bus_sub_drain() for each subscription. The router drains too when it is told to stop: bus_opts.on_stopping says so. The rules of
 * <bus/bus.h> hold here too.
 */

#include <bus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Called once when a subscription has drained, or cannot: see bus_sub_drain(). */
typedef void (*bus_drained_fn)(struct bus_sub *sub, enum bus_status status, void *userdata);

/**
 * bus_sub_drain() - let a subscription end when what waits for it has come
 * @sub:        subscription, also one of bus_serve()
 * @on_drained: called with the subscription's own userdata when it is over, or NULL
 *
 * Nothing that is published after the router has heard of it comes any more. What waits comes through the callbacks as before, losses included; with BUS_SUB_ACK it is over when all of it is
 * acknowledged or refused, and for a server when all its calls are answered. Other members of a group, and other servers, take over at once. Then @on_drained is called with
 * BUS_STATUS_OK, and only bus_sub_unref() makes sense. It is called with BUS_STATUS_DISCONNECTED when the link to the router breaks before (with BUS_OPEN_RECONNECT the subscription
 * does not come back then); with BUS_STATUS_UNKNOWN_SUBSCRIPTION if the router had
 * refused the subscription; and with BUS_STATUS_NO_MEMORY if the router cannot drain it: then it goes on as before, and this may be called again. bus_sub_unref() ends it at any time.
 *
 * Returns: 0 if the router will be told.
 *
 * Errors:
 *   -EALREADY  it is draining already, or has drained
 *   -EINVAL    the router has refused the subscription
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: @sub stays the caller's, who ends it with bus_sub_unref(), also in @on_drained.
 * Threads: never blocks.
 * Since: 0.3
 */
BUS_API int bus_sub_drain(struct bus_sub *sub, bus_drained_fn on_drained);

/**
 * bus_drain() - finish everything before bus_close()
 * @conn:       connection
 * @timeout_ms: at most this long; -1: for ever
 *
 * Drains all subscriptions that there are, waits for the ends of the requests that are open, and for the router to have handled all that was published. Callbacks run meanwhile, and may
 * publish. Not from within a callback that holds something up itself: a message that it has not acknowledged yet, a call that it has not answered. After a timeout it may be called
 * again; what drains goes on draining.
 *
 * Returns: 0 when nothing is left; bus_close() loses nothing then.
 *
 * Errors:
 *   -ETIMEDOUT  not within @timeout_ms
 *   -EINTR      a signal handler ran
 *   -ENOTCONN   the connection has ended
 *   -ECHILD     after fork()
 *   -ENOMEM     out of memory, here or in the router
 *
 * Ownership: nothing changes hands: subscriptions remain until bus_sub_unref() or bus_close().
 * Threads: blocks.
 * Since: 0.3
 */
BUS_API int bus_drain(struct bus_conn *conn, int timeout_ms);

#ifdef __cplusplus
}
#endif
