/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/request.h - requests and replies
 *
 * A request goes to one server of a topic, or to all; replies come back through the router, which knows who asked: nobody else sees them, and
 * nobody else can give them. Each request ends exactly once, and says at once when nobody serves the topic or when the server has gone. The rules of
 * <bus/bus.h> hold here too.
 */

#include <bus/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A request that has not ended. */
struct bus_request;
/** A call: a request as its server has it. */
struct bus_call;

/* ---- asking ---------------------------------------------------------------------------------------------------- */

/** Ask all servers, not one. */
#define BUS_REQUEST_ALL 0x1u
/** Receive the descriptors that come with replies, see bus_message_fd(). */
#define BUS_REQUEST_DESCRIPTORS 0x2u

/** Error number of a reply that libbus gives for a server that drops a call. */
#define BUS_ERROR_DROPPED 0xFFFFFFFFu

/** What a request brought: a reply, or its end. */
struct bus_reply {
    enum bus_status status; /**< BUS_STATUS_OK, or why it ended without a reply */
    const char *text;       /**< about that, for people; "" if nothing */
    const struct bus_message *message; /**< the reply; NULL if this is only the end */
    uint32_t error;         /**< 0, or the server's number for what went wrong; the message says more */
    uint32_t part;          /**< BUS_REQUEST_ALL: which server, 1 and up */
    int more;               /**< the callback will be called again */
    uint32_t replied;       /**< BUS_REQUEST_ALL, in the last call: servers that have answered … */
    uint32_t gone;          /**< … have gone before that … */
    uint32_t timed_out;     /**< … or did not answer in time */
};

/** Called for each reply, and for the end if that is none: the last call, and only that, has more = 0. Valid during the call; keep the message with
 *  bus_message_ref(). */
typedef void (*bus_reply_fn)(struct bus_conn *conn, const struct bus_reply *reply, void *userdata);

/** Options of bus_request(). */
struct bus_request_opts {
    uint32_t size;
    uint32_t flags;                   /**< BUS_REQUEST_ flags */
    uint32_t timeout_ms;              /**< for the answer, and from each reply with more to the next; 0: 30,000; at most what the router allows: one hour */
    const struct bus_header *headers; /**< copied; may be NULL if n_headers is 0 */
    size_t n_headers;                 /**< 0 to BUS_HEADERS_MAX */
    const int *fds;                   /**< descriptors that go with it; duplicated, so they stay the caller's */
    size_t n_fds;                     /**< 0 to BUS_FDS_MAX */
};
#define BUS_REQUEST_OPTS_INIT {sizeof(struct bus_request_opts), 0, 0, NULL, 0, NULL, 0}

/* The functions have the names of the structs, as stat() has: in C++ those are shadowed constructors. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/**
 * bus_request() - ask who serves a topic
 * @conn:         connection
 * @topic:        NUL-terminated topic, as for bus_publish(); copied
 * @data:         the question, @bytes long; copied; may be NULL if @bytes is 0
 * @bytes:        0 to bus_body_max()
 * @opts:         options, or NULL for defaults; read during the call only
 * @on_reply:     called with the reply, or with the reason why there is none
 * @userdata:     handed to @on_reply
 * @ret_request:  receives the request, to be cancelled; or NULL
 *
 * @on_reply comes exactly once with more = 0, unless the request is cancelled or the connection closed by bus_close(). Statuses: NO_RESPONDER (nobody
 * serves that topic), RESPONDER_GONE (whether it did the work is unknown), TIMEOUT, LIMIT (a quota of this connection), DENIED, DISCONNECTED (the link to the router has
 * broken: whether a server has it is unknown), or what else the router refuses. A request is delivered to one server at most once (with BUS_REQUEST_ALL to each), never again.
 *
 * Returns: 0 if accepted for sending.
 *
 * Errors:
 *   -EINVAL    @on_reply is NULL, @topic is not valid, @data is NULL, or something in @opts is wrong
 *   -EAGAIN    max_out_bytes wait to be sent, or the router has not answered yet (BUS_OPEN_NOWAIT)
 *   -EMSGSIZE  @bytes exceeds bus_body_max(), or the headers are too long together
 *   -ENOSPC    as many requests are open as the router allows
 *   -EBADF     one of the descriptors is none
 *   -EMFILE, -ENFILE  out of descriptors for a large body or for duplicates
 *   -EBUSY     the connection is a monitor
 *   -ENOTCONN  the connection has ended, or is away: see bus_is_away()
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *   -ENOSYS    a large body needs a memfd, which this system does not have
 *   -ENOBUFS   as many buffers are in use as the router allows
 *
 * Ownership: *@ret_request is the library's; it must not be used after the last call of @on_reply has begun, or after bus_close(). @userdata must stay
 * valid until then.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_request(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
                        const struct bus_request_opts *opts, bus_reply_fn on_reply, void *userdata,
                        struct bus_request **ret_request);

/**
 * bus_request_cancel() - want no answer any more
 * @request: request, or NULL
 *
 * The callback is not called any more. The server is told (bus_serve_opts.on_cancel).
 *
 * Ownership: @request must not be used again.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API void bus_request_cancel(struct bus_request *request);

/** What bus_request_wait() brought. */
struct bus_answer {
    enum bus_status status;      /**< BUS_STATUS_OK: there is a message; else why not */
    uint32_t error;              /**< as bus_reply.error */
    struct bus_message *message; /**< the caller's: bus_message_unref() it; NULL unless status is OK */
};

/**
 * bus_request_wait() - the same, waiting for the only answer
 * @conn:        connection
 * @topic:       as for bus_request()
 * @data:        as for bus_request()
 * @bytes:       as for bus_request()
 * @opts:        as for bus_request(), without BUS_REQUEST_ALL
 * @ret_answer:  receives the outcome; of several replies the last
 *
 * Processes meanwhile, so other callbacks run. Waits also while the connection takes no more output.
 *
 * Returns: 0 when the request has ended, in whatever way: @ret_answer->status says how.
 *
 * Errors: those of bus_request(), and
 *   -EINTR   a signal handler ran; the request is cancelled
 *   -EINVAL  BUS_REQUEST_ALL
 *
 * Ownership: as said at struct bus_answer.
 * Threads: blocks, at most for the timeout of the request and the time it takes to send it.
 * Since: 0.2
 */
BUS_API int bus_request_wait(struct bus_conn *conn, const char *topic, const void *data,
                             size_t bytes, const struct bus_request_opts *opts,
                             struct bus_answer *ret_answer);

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* ---- answering ------------------------------------------------------------------------------------------------- */

/** Called for each call. It may be answered in the callback or later. */
typedef void (*bus_call_fn)(struct bus_call *call, void *userdata);
/** Called when nobody waits for the answer any more: cancelled, timed out, its requester's queue is full, the link to the router was lost
 *  (BUS_STATUS_DISCONNECTED), or the server was ended by the router (BUS_STATUS_DENIED, BUS_STATUS_LIMIT). The call is still to be ended. */
typedef void (*bus_cancel_fn)(struct bus_call *call, enum bus_status reason, void *userdata);

/** Options of bus_serve(). */
struct bus_serve_opts {
    uint32_t size;
    uint32_t flags;          /**< BUS_SUB_DESCRIPTORS, BUS_SUB_IMMUTABLE, BUS_SUB_NARROW */
    uint32_t calls_max;      /**< calls that may be open at this server at a time, others go elsewhere or wait in the router; 0: 16,384 */
    uint64_t calls_bytes_max; /**< and how many bytes of them; one call may exceed it; 0: 4 MiB */
    bus_ready_fn on_ready;   /**< as in bus_sub_opts, or NULL */
    bus_cancel_fn on_cancel; /**< or NULL */
};
#define BUS_SERVE_OPTS_INIT {sizeof(struct bus_serve_opts), 0, 0, 0, NULL, NULL}

/**
 * bus_serve() - answer requests to the topics that match a filter
 * @conn:      connection
 * @filter:    NUL-terminated topic filter, as for bus_subscribe(); copied
 * @opts:      options, or NULL for defaults; read during the call only
 * @on_call:   called for each call
 * @userdata:  handed to the callbacks
 * @ret_sub:   receives the server, ended with bus_sub_unref() as a subscription is; NULL makes it live as long as @conn
 *
 * Of several servers of a topic the one with the fewest open calls gets the next: a server that answers slowly gets less.
 * bus_sub_unref() ends its open calls: their requesters hear that the server has gone.
 *
 * Returns: 0 if queued; the router's answer comes to on_ready.
 *
 * Errors: those of bus_subscribe().
 *
 * Ownership: as for bus_subscribe().
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_serve(struct bus_conn *conn, const char *filter, const struct bus_serve_opts *opts,
                      bus_call_fn on_call, void *userdata, struct bus_sub **ret_sub);

/**
 * bus_call_message() - what was asked, and by whom
 * @call: call
 *
 * Returns: the message; its sequence is 0.
 * Ownership: belongs to @call; keep it longer with bus_message_ref().
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API const struct bus_message *bus_call_message(const struct bus_call *call);

/**
 * bus_call_timeout_ms() - how long the requester waits
 * @call: call
 *
 * Returns: milliseconds that were left when the router sent the call.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API uint32_t bus_call_timeout_ms(const struct bus_call *call);

/**
 * bus_call_is_cancelled() - whether nobody waits for the answer any more
 * @call: call
 *
 * Returns: 1 or 0.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_call_is_cancelled(const struct bus_call *call);

/** Further replies follow. */
#define BUS_REPLY_MORE 0x1u

/** Options of bus_call_reply(). */
struct bus_reply_opts {
    uint32_t size;
    uint32_t flags;                   /**< BUS_REPLY_MORE */
    uint32_t error;                   /**< 0, or a number of your own that says what went wrong; not BUS_ERROR_DROPPED */
    const struct bus_header *headers; /**< as in bus_request_opts */
    size_t n_headers;
    const int *fds;
    size_t n_fds;
};
#define BUS_REPLY_OPTS_INIT {sizeof(struct bus_reply_opts), 0, 0, NULL, 0, NULL, 0}

/**
 * bus_call_reply() - answer a call
 * @call:   call
 * @data:   the reply, @bytes long; copied; may be NULL if @bytes is 0
 * @bytes:  0 to bus_body_max()
 * @opts:   options, or NULL for defaults
 *
 * Without BUS_REPLY_MORE this ends the call. bus_close() ends all calls of the connection, whose requesters hear that the server has gone. With it, at most 64 replies are ahead of what the requester has consumed. If nobody waits for the answer any more,
 * also because the link that the call came by was lost, nothing is sent.
 *
 * Returns: 0.
 *
 * Errors: those of bus_request() but -ENOSPC, and
 *   -EAGAIN  also: 64 replies with BUS_REPLY_MORE are not consumed yet; on_writable comes, and bus_wait_writable() returns, when some have been or
 *            nobody waits for them any more
 *
 * Ownership: without BUS_REPLY_MORE @call is gone on success; on failure, and with it, it stays the caller's.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_call_reply(struct bus_call *call, const void *data, size_t bytes,
                           const struct bus_reply_opts *opts);

/**
 * bus_call_fail() - answer a call with an error
 * @call:   call
 * @error:  a number of your own, not 0 and not BUS_ERROR_DROPPED
 * @text:   what went wrong, for people: the body of the reply
 *
 * Returns: 0.
 *
 * Errors: those of bus_call_reply().
 *
 * Ownership: @call is gone on success.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_call_fail(struct bus_call *call, uint32_t error, const char *text);

/**
 * bus_call_drop() - end a call without an answer
 * @call: call, or NULL
 *
 * Its requester gets a reply with the error BUS_ERROR_DROPPED, if it still waits.
 *
 * Ownership: @call is gone.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API void bus_call_drop(struct bus_call *call);

#ifdef __cplusplus
}
#endif
