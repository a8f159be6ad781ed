/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/inside.h - what a router says of itself, and what an administrator tells it
 *
 * Clients, topics, subscriptions, groups, quotas, the last thousand connections that ended, and counters; reloading the configuration, draining, and
 * disconnecting a client. All of it goes by requests to topics under `$bus/`, which the router itself answers to whoever has the right to
 * make them. docs/protocol.md, section 22. The rules of <bus/bus.h> hold here too.
 */

#include <bus/bus.h>
#include <bus/inside_fields.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- entries ---------------------------------------------------------------------------------------------------- */

/* Members of the structs below: texts end with NUL and are never NULL. */
#define BUS_INSIDE_C_TEXT const char *
#define BUS_INSIDE_C_NUMBER uint64_t
#define BUS_INSIDE_C_POLICY uint64_t
#define BUS_INSIDE_C_GOODBYE uint64_t
#define BUS_INSIDE_C_LINK uint64_t
#define BUS_INSIDE_C_STATE uint64_t
#define BUS_INSIDE_C_SLOW uint64_t
#define BUS_INSIDE_MEMBER(number, kind, name, meaning) BUS_INSIDE_C_##kind name;

/** A connection. The members are those of BUS_INSIDE_CLIENT_FIELDS; so it is with the others. */
struct bus_inside_client {
    BUS_INSIDE_CLIENT_FIELDS(BUS_INSIDE_MEMBER)
};
/** A topic that somebody has advertised, or that messages are kept or wait for. */
struct bus_inside_topic {
    BUS_INSIDE_TOPIC_FIELDS(BUS_INSIDE_MEMBER)
};
/** A subscription, or a server. */
struct bus_inside_subscription {
    BUS_INSIDE_SUBSCRIPTION_FIELDS(BUS_INSIDE_MEMBER)
};
/** A group of subscriptions. */
struct bus_inside_group {
    BUS_INSIDE_GROUP_FIELDS(BUS_INSIDE_MEMBER)
};
/** What a user has of something that is limited. */
struct bus_inside_quota {
    BUS_INSIDE_QUOTA_FIELDS(BUS_INSIDE_MEMBER)
};
/** A connection that has ended, or was not let in. */
struct bus_inside_closed {
    BUS_INSIDE_CLOSED_FIELDS(BUS_INSIDE_MEMBER)
};
/** A counter of the router. */
struct bus_inside_counter {
    BUS_INSIDE_COUNTER_FIELDS(BUS_INSIDE_MEMBER)
};

/** One entry of a list; the member that belongs to @list is not NULL. Valid during the callback only. */
struct bus_inside_entry {
    enum bus_inside_list list;
    uint64_t time_ns; /**< of the router (CLOCK_MONOTONIC): the difference of a count in two answers, divided by that of this, is a rate */
    const struct bus_inside_client *client;
    const struct bus_inside_topic *topic;
    const struct bus_inside_subscription *subscription;
    const struct bus_inside_group *group;
    const struct bus_inside_quota *quota;
    const struct bus_inside_closed *closed;
    const struct bus_inside_counter *counter;
};

/* ---- lists ------------------------------------------------------------------------------------------------------ */

/** Called for each entry, and at last with @entry NULL and the status: BUS_STATUS_OK, why the router refused, or BUS_STATUS_DISCONNECTED; @text says more, for people, or is "". */
typedef void (*bus_inside_fn)(struct bus_conn *conn, const struct bus_inside_entry *entry, enum bus_status status, const char *text, void *userdata);

/** Options of bus_inside(). */
struct bus_inside_opts {
    uint32_t size;
    uint32_t page;          /**< so many entries are asked for at a time; 0: as many as the router gives */
    uint64_t connection_id; /**< 0, or clients, subscriptions and ends of that connection only */
};
#define BUS_INSIDE_OPTS_INIT {sizeof(struct bus_inside_opts), 0, 0}

/**
 * bus_inside() - ask the router for one of its lists
 * @conn:      connection, not a monitor
 * @list:      which
 * @opts:      options, or NULL for defaults; read during the call only
 * @on_entry:  called for each entry and once at the end; must not be NULL
 * @userdata:  for @on_entry
 *
 * The library asks page after page, so that a long list holds nobody up. What is there all the time is in it once; what comes or goes meanwhile may be
 * missed or not (users and groups that go may make others be missed, too).
 *
 * Returns: 0 if asked.
 *
 * Errors:
 *   -EINVAL    unknown @list, @on_entry is NULL, or opts->size is unknown
 *   -EAGAIN    max_out_bytes wait to be sent, or the router has not answered yet (BUS_OPEN_NOWAIT)
 *   -ENOSPC    as many requests are open as the router allows
 *   -EBUSY     the connection is a monitor
 *   -ENOTCONN  the connection has ended, or is away: see bus_is_away()
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: @userdata must stay valid until the last call, or bus_close().
 * Threads: never blocks.
 * Since: 0.3
 */
BUS_API int bus_inside(struct bus_conn *conn, enum bus_inside_list list, const struct bus_inside_opts *opts, bus_inside_fn on_entry,
                       void *userdata);

/** Called for each entry of a page. */
typedef void (*bus_inside_entry_fn)(const struct bus_inside_entry *entry, void *userdata);

/**
 * bus_inside_parse() - read the body of an answer, of which bus_inside() makes several
 * @list:      what was asked for: with bus_request() to BUS_INSIDE_PREFIX and the last level of the list
 * @data:      the body
 * @bytes:     its length
 * @on_entry:  called for each entry; must not be NULL
 * @userdata:  for @on_entry
 * @ret_next:  receives what to ask for as `after` of the next page, 0 if that was the last; or NULL
 *
 * For programs that ask themselves, page by page. Fields that this version does not know are ignored.
 *
 * Returns: 0; entries that come before something wrong have been handed out also with an error.
 *
 * Errors:
 *   -EBADMSG  not such a body
 *   -EINVAL   unknown @list, @on_entry is NULL, or @data is NULL and @bytes is not 0
 *   -ENOMEM   out of memory
 *
 * Ownership: nothing is kept.
 * Threads: any.
 * Since: 0.3
 */
BUS_API int bus_inside_parse(enum bus_inside_list list, const void *data, size_t bytes, bus_inside_entry_fn on_entry, void *userdata,
                             uint64_t *ret_next);

/**
 * bus_slow_text() - a reason for being slow, in words
 * @slow: reason
 *
 * Returns: static text, such as "does not read its socket"; "unknown" for what is not known.
 *
 * Ownership: nothing to free.
 * Threads: any.
 * Since: 0.3
 */
BUS_API const char *bus_slow_text(enum bus_slow slow);

/* ---- controls --------------------------------------------------------------------------------------------------- */

/** What an administrator can have done. */
enum bus_control {
    BUS_CONTROL_RELOAD = 1,     /**< read the configuration again, as SIGHUP does */
    BUS_CONTROL_DRAIN = 2,      /**< stop in good order, as SIGTERM does */
    BUS_CONTROL_DISCONNECT = 3, /**< end one connection: GOODBYE {ADMIN} */
};

/** What came of it. */
struct bus_control_result {
    enum bus_status status; /**< BUS_STATUS_OK, or why the router did not do it: DENIED, UNSUPPORTED, UNEXPECTED (it stops already), INVALID_ARGUMENT (no such connection) … */
    uint32_t error;         /**< not 0: it tried, and failed: with RELOAD the configuration is wrong, and the old one stays */
    const char *text;       /**< more about it, for people; "" if nothing */
};

/** Called once with what came of it. */
typedef void (*bus_control_fn)(struct bus_conn *conn, const struct bus_control_result *result, void *userdata);

/** Options of bus_control(). */
struct bus_control_opts {
    uint32_t size;
    uint64_t connection_id; /**< BUS_CONTROL_DISCONNECT: which */
    const char *text;       /**< BUS_CONTROL_DISCONNECT: said to it, up to 255 bytes; or NULL */
};
#define BUS_CONTROL_OPTS_INIT {sizeof(struct bus_control_opts), 0, NULL}

/**
 * bus_control_router() - have the router do something
 * @conn:      connection, not a monitor
 * @control:   what
 * @opts:      options, or NULL for defaults; read during the call only
 * @on_done:   called with what came of it; must not be NULL
 * @userdata:  for @on_done
 *
 * Returns: 0 if asked.
 *
 * Errors:
 *   -EINVAL    unknown @control, @on_done is NULL, opts->size is unknown, or BUS_CONTROL_DISCONNECT without a connection_id
 *   -EMSGSIZE  opts->text is too long
 *   -EAGAIN    max_out_bytes wait to be sent, or the router has not answered yet (BUS_OPEN_NOWAIT)
 *   -ENOSPC    as many requests are open as the router allows
 *   -EBUSY     the connection is a monitor
 *   -ENOTCONN  the connection has ended, or is away: see bus_is_away()
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: @userdata must stay valid until the call of @on_done, or bus_close().
 * Threads: never blocks.
 * Since: 0.3
 */
BUS_API int bus_control_router(struct bus_conn *conn, enum bus_control control, const struct bus_control_opts *opts, bus_control_fn on_done,
                               void *userdata);

#ifdef __cplusplus
}
#endif
