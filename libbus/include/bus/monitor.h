/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/monitor.h - watch what passes through a router, without affecting it
 *
 * The rules at the top of <bus/bus.h> hold here too. Monitoring is allowed for the router's own user and root.
 */

#include <bus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What became of a message for one subscription. */
struct bus_recipient {
    const struct bus_peer *peer; /**< whose subscription it is */
    uint32_t subscription;       /**< its number on that peer's connection */
    enum bus_verdict verdict;
    enum bus_loss_reason reason; /**< why, if dropped */
    uint32_t evicted;            /**< older messages dropped from its queue to make room */
};

/** What a record is about. */
enum bus_record_kind {
    BUS_RECORD_PUBLISH = 0,
    BUS_RECORD_REQUEST = 1,    /**< with its recipients: the servers that were asked at once; refused: with its status, and that was its end */
    BUS_RECORD_REPLY = 2,      /**< of one server, its last; of a request to one server that was the end */
    BUS_RECORD_END = 3,        /**< of a request, otherwise than by the reply of its only server, with its status; the sender is the requester */
    BUS_RECORD_REPLY_MORE = 4, /**< a reply that others of that server follow */
};

/** One publish, as a monitor sees it; or a request, a reply, or the end of a request. Everything in it is valid during the callback only. */
struct bus_record {
    uint64_t order;                /**< the router's count of accepted messages */
    const char *topic;
    const struct bus_peer *sender;
    uint64_t sequence;             /**< number among the sender's publishes */
    uint64_t time_ns;              /**< nanoseconds since 1970-01-01 UTC */
    enum bus_status status;        /**< BUS_STATUS_OK, or why the router refused it */
    const void *data;              /**< the first snap_bytes of the body */
    size_t snap_bytes;             /**< how many there are */
    uint64_t body_bytes;           /**< length of the whole body */
    const struct bus_header *headers;
    size_t n_headers;
    const struct bus_recipient *recipients;
    size_t n_recipients;
    uint32_t recipients_omitted;   /**< matching subscriptions beyond those listed */
    uint32_t n_fds;                /**< descriptors published with it; a monitor does not get them */
    enum bus_record_kind kind;
    uint64_t call;                 /**< number of the request, the same in all its records and never used twice; 0 for a publish */
    uint32_t error;                /**< of a reply: 0, or the server's number for what went wrong */
};

/** Called for each publish that matches, and for each request, reply and end of one. */
typedef void (*bus_record_fn)(struct bus_conn *conn, const struct bus_record *record,
                              void *userdata);
/** Called where the monitor itself missed records, because it reads too slowly. */
typedef void (*bus_monitor_loss_fn)(struct bus_conn *conn, const struct bus_loss *loss,
                                    void *userdata);
/** Called with the router's answer to bus_monitor(), and again with BUS_STATUS_DENIED if the right to it was taken away later: the connection is an ordinary one
 *  then. */
typedef void (*bus_monitor_ready_fn)(struct bus_conn *conn, enum bus_status status,
                                     const char *text, void *userdata);

/** Options of bus_monitor(). */
struct bus_monitor_opts {
    uint32_t size;
    uint32_t snap_bytes;  /**< how much of each body to see; 0: all, up to the link's limit */
    uint64_t queue_bytes; /**< how much may wait in the router for this monitor; 0: 1 MiB */
    bus_monitor_loss_fn on_loss;
    bus_monitor_ready_fn on_ready;
};
#define BUS_MONITOR_OPTS_INIT {sizeof(struct bus_monitor_opts), 0, 0, NULL, NULL}

/**
 * bus_monitor() - turn a connection into a monitor
 * @conn:       connection without subscriptions and topics
 * @filters:    topic filters; NULL if @n_filters is 0; copied
 * @n_filters:  0 (everything, topics beginning with $ too) to 32
 * @opts:       options, or NULL
 * @on_record:  called for each publish that matches; must not be NULL
 * @userdata:   for the callbacks
 *
 * From here on the connection can neither publish nor subscribe. The router answers through opts->on_ready.
 *
 * Returns: 0 if asked.
 *
 * Errors:
 *   -EINVAL    @on_record is NULL, a filter is not valid, or there are more than 32, or the connection was opened with BUS_OPEN_RECONNECT: what
 *              passes while a monitor is away is not seen, so a new one is to be opened
 *   -EBUSY     the connection has subscriptions or topics, or is a monitor already
 *   -EAGAIN    max_out_bytes wait to be sent
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: nothing is kept but @userdata, which must stay valid until bus_close().
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_monitor(struct bus_conn *conn, const char *const *filters, size_t n_filters,
                        const struct bus_monitor_opts *opts, bus_record_fn on_record,
                        void *userdata);

/** A client of the router. */
struct bus_client_stats {
    struct bus_peer peer;
    uint64_t published_messages;
    uint64_t published_bytes;
    uint64_t delivered_messages;
    uint64_t delivered_bytes;
    uint64_t lost_messages;   /**< reported as lost to its subscriptions */
    uint64_t refused_messages; /**< its publishes that were refused */
    uint64_t queued_messages; /**< waiting now in its subscriptions' queues */
    uint64_t queued_bytes;
    uint64_t charged_bytes;   /**< memory of the router that it holds now */
    uint32_t subscriptions;
    uint32_t aliases;
};

/** A topic that somebody has advertised or that messages wait for. */
struct bus_topic_stats {
    uint32_t id;
    const char *name;
    uint64_t published_messages;
    uint64_t published_bytes;
    uint64_t delivered_messages;
    uint64_t lost_messages;
    uint32_t publishers;
    uint32_t subscriptions;
    uint64_t retained_messages; /**< kept for later subscriptions */
    uint64_t retained_bytes;    /**< memory that these are charged with */
};

/** A counter of the router. */
struct bus_counter {
    const char *name;
    uint64_t value;
};

/** One entry of a snapshot; the member that belongs to @kind is valid, during the callback only. */
struct bus_snapshot_entry {
    enum bus_snapshot_kind kind;
    const struct bus_client_stats *client;
    const struct bus_topic_stats *topic;
    const struct bus_counter *counter;
};

/** Called for each entry, and at last with @entry NULL and the status: BUS_STATUS_OK, why the router refused, or BUS_STATUS_DISCONNECTED. */
typedef void (*bus_snapshot_fn)(struct bus_conn *conn, const struct bus_snapshot_entry *entry,
                                enum bus_status status, void *userdata);

/**
 * bus_snapshot() - ask the router for a list of its clients, topics or counters
 * @conn:      connection; it may be a monitor
 * @kind:      which
 * @on_entry:  called for each entry and once at the end; must not be NULL
 * @userdata:  for @on_entry
 *
 * The library asks in parts, so that a long list does not hold the router up; entries that come or go meanwhile may be missed or not.
 * Snapshots asked for before one has ended are answered in turn.
 *
 * Returns: 0 if asked.
 *
 * Errors:
 *   -EINVAL    unknown @kind, or @on_entry is NULL
 *   -EAGAIN    max_out_bytes wait to be sent
 *   -ENOTCONN  the connection has ended, or is away: see bus_is_away()
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: @userdata must stay valid until the last call, or bus_close().
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_snapshot(struct bus_conn *conn, enum bus_snapshot_kind kind,
                         bus_snapshot_fn on_entry, void *userdata);

#ifdef __cplusplus
}
#endif
