/* SPDX-License-Identifier: MIT */
#pragma once
/**
 * @file bus/bus.h - publish and subscribe through bus-router
 *
 * Rules that hold for every function here, so that the blocks below need not repeat them:
 *
 * - Functions that return `int` return 0 or a positive number on success and a negative errno on failure. On failure nothing
 *   changed, outputs are untouched, and no callback will come of the call.
 * - What the *router* refuses is not an errno: it arrives later, as an `enum bus_status` in a callback.
 * - A connection and everything that belongs to it (subscriptions, topics, messages) belongs to one thread at a time. Different
 *   connections are independent. The library starts no thread, installs no signal handler, raises no SIGPIPE and has no global
 *   state.
 * - After fork() the child must not use the parent's connection: every call on it returns -ECHILD there (the void ones only
 *   release the child's memory). bus_close() in the child does not disturb the parent.
 * - Callbacks run inside bus_process(), bus_run(), bus_flush() and bus_wait_writable(), never inside the call that
 *   registered them. Any function may be called from any callback, bus_close(), bus_sub_unref() and bus_process() included.
 * - Passing NULL for a handle to a function that ends it is a no-op.
 * - Option structs begin with their size: initialise them with their _INIT macro. Unknown flag bits are refused with -EINVAL.
 */

#include <stddef.h>
#include <stdint.h>
#include <bus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A connection to a router. */
struct bus_conn;
/** A subscription. */
struct bus_sub;
/** An advertised topic: the cheap way to publish to it again and again. */
struct bus_topic;
/** A received message. */
struct bus_message;
/** Memory for a body that the application fills in place. */
struct bus_loan;

/** A text header of a message. */
struct bus_header {
    const char *name;  /**< 1 to BUS_TOPIC_MAX bytes of UTF-8 without control characters */
    const char *value; /**< UTF-8, NUL-terminated */
};

/** Who sent a message; filled by the router from the kernel's knowledge, not forgeable. */
struct bus_peer {
    uint64_t connection_id; /**< never used twice by one router process */
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;     /**< of the process that connected; it may have ended since */
    const char *name; /**< what the client calls itself: a claim, for people */
};

/** A gap in a subscription. */
struct bus_loss {
    uint64_t count; /**< messages lost, at least 1; with BUS_LOSS_ROUTER_RESTART 0: nobody knows how many, perhaps none */
    uint64_t bytes; /**< their bodies and headers */
    enum bus_loss_reason reason;
};

/** A refusal, or another word of the router about something this connection did. */
struct bus_status_event {
    enum bus_status status;
    const char *text;  /**< what the router says, for people; "" if nothing */
    const char *topic; /**< topic of the publish or advertise, or filter of the subscription, it is about; or NULL */
    uint64_t sequence; /**< sequence number of the publish it is about, or 0: see bus_sequence() */
};

/** What has happened to a connection that comes back. */
enum bus_conn_state {
    BUS_CONN_LOST = 1,     /**< the link broke; the library tries to connect again */
    BUS_CONN_RESTORED = 2, /**< a router has answered, and has been asked for everything that was set up before */
};

/** A change of it. */
struct bus_state_event {
    enum bus_conn_state state;
    enum bus_goodbye reason; /**< LOST: why the link ended, as far as the router said */
    const char *text;        /**< about that, for people; "" if nothing */
};

/** What became of one publish, see BUS_PUBLISH_CONFIRM; matched = delivered + queued + dropped. */
struct bus_confirmation {
    uint64_t sequence;
    enum bus_status status; /**< BUS_STATUS_OK, or why the router refused it, or BUS_STATUS_DISCONNECTED: the link broke, and nobody knows what
                                 became of it */
    uint32_t matched;       /**< subscriptions that matched */
    uint32_t delivered;     /**< on their link's output at once */
    uint32_t queued;        /**< waiting in a subscription's queue */
    uint32_t dropped;       /**< dropped by policy, and reported to the subscriber */
};

/** Called for each refused publish or advertise, and with BUS_STATUS_DENIED and sequence 0 when a right was taken away that an advertised topic needs: the handle
 *  stays, but what is published through it is refused, until the right is given back, or it keeps nothing any more (bus_topic_opts.retain_messages); and, without a topic, that a will was
 *  taken away. Valid during the call. */
typedef void (*bus_status_fn)(struct bus_conn *conn, const struct bus_status_event *event,
                              void *userdata);
/** Called when publishing can go on after -EAGAIN. */
typedef void (*bus_writable_fn)(struct bus_conn *conn, void *userdata);
/** Called once when the connection has ended for good other than by bus_close(). PROTOCOL_ERROR and NO_MEMORY may be this side's reasons too. */
typedef void (*bus_closed_fn)(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                              void *userdata);
/** Called when a connection with BUS_OPEN_RECONNECT has lost the router or has got it back. Valid during the call. */
typedef void (*bus_state_fn)(struct bus_conn *conn, const struct bus_state_event *event,
                             void *userdata);
/** Called when the router is about to stop: it serves on for at most so long, until nothing is under way. */
typedef void (*bus_stopping_fn)(struct bus_conn *conn, uint32_t deadline_ms, void *userdata);
/** Called for each message. Keep it beyond the call with bus_message_ref(). */
typedef void (*bus_message_fn)(struct bus_sub *sub, const struct bus_message *message,
                               void *userdata);
/** Called in the place of a gap. */
typedef void (*bus_loss_fn)(struct bus_sub *sub, const struct bus_loss *loss, void *userdata);
/** Called when the router has accepted or refused a subscription, or takes something back: BUS_STATUS_STALLED, after 30 s
 *  without credit from this subscription, means that one with policy block holds publishers up no longer, and that reliable publishers do not wait for any other until it gives some.
 *  BUS_STATUS_DENIED: there is no right to it, or, later, not any more; then it has ended, and what still waited for it was told as BUS_LOSS_DENIED. The text
 *  begins with the place of the rule that decided. BUS_STATUS_LIMIT: the same, for a bound of the router; later it means that one topic
 *  matches too many subscriptions of this user, and what still waited was told as BUS_LOSS_NO_MEMORY. A subscription that has ended so is still to be given back with bus_sub_unref(), and can be made anew.
 *  After a return of the connection it is called again, also of subscriptions that were refused before: they are asked for again, once on each link. */
typedef void (*bus_ready_fn)(struct bus_sub *sub, enum bus_status status, const char *text,
                             void *userdata);
/** Called when all retained messages have come: so many did; from here on they are live. They come again after a return of the connection. */
typedef void (*bus_live_fn)(struct bus_sub *sub, uint64_t messages, void *userdata);
/** Called when no message came for bus_sub_opts.silence_ms; since_ms is how long it has been. */
typedef void (*bus_silence_fn)(struct bus_sub *sub, uint64_t since_ms, void *userdata);
/** Called with how many subscriptions match an advertised topic. */
typedef void (*bus_interest_fn)(struct bus_topic *topic, uint32_t subscriptions, void *userdata);
/** Called with the outcome of a publish that asked for it, unless the connection ends for good before. */
typedef void (*bus_confirm_fn)(struct bus_conn *conn, const struct bus_confirmation *confirmation,
                               void *userdata);

/* ---- connection ------------------------------------------------------------------------------------------------ */

/** bus_open() returns as soon as the socket is connected; until the router has answered, publishing returns -EAGAIN. */
#define BUS_OPEN_NOWAIT 0x1u
/** When the link to the router breaks, the library connects again, for as long as it takes, and sets everything up as it was: see bus_open(). */
#define BUS_OPEN_RECONNECT 0x2u

/** Options of bus_open(). */
struct bus_opts {
    uint32_t size;
    uint32_t flags;            /**< BUS_OPEN_ flags */
    const char *name;          /**< name for people, 0 to BUS_NAME_MAX bytes; NULL: the program's name */
    uint32_t timeout_ms;       /**< for the connection and the router's answer; 0: 5000 */
    uint64_t max_out_bytes;    /**< bound of what waits to be sent; less than 256 KiB counts as that; 0: 1 MiB */
    bus_status_fn on_status;   /**< or NULL */
    bus_writable_fn on_writable; /**< or NULL */
    bus_closed_fn on_closed;   /**< or NULL */
    void *userdata;            /**< for the callbacks; never dereferenced by the library */
    /** Bodies of so many bytes and more are handed over in shared memory; 0: 4096, measured to be where that becomes faster; UINT64_MAX:
     *  only those that do not fit into a frame. */
    uint64_t buffer_threshold_bytes;
    /** Bound of the memory that is kept for that and used again and again; 0: 256 MiB. Beyond it, each body gets memory of its
     *  own for as long as somebody holds it. */
    uint64_t pool_bytes_max;
    /** A secret of this application, by which the router knows that it has returned: see bus_will(). NULL: none. */
    const void *resume_token;
    size_t resume_token_bytes; /**< 0 to BUS_RESUME_TOKEN_MAX */
    bus_stopping_fn on_stopping; /**< or NULL */
    /** Longest time in microseconds that a call which waits (bus_wait(), bus_run(), bus_request_wait(), …) looks for input before it sleeps. It does
     *  so only as long as that pays, which is when answers come faster than a sleeping process is woken; who is idle sleeps. Such a
     *  call then takes processor time while it waits. 0: 250; BUS_SPIN_OFF: none; at most 10000. An application that waits for
     *  bus_fd() itself is not concerned. */
    uint32_t spin_us;
    /* the following only with BUS_OPEN_RECONNECT, else 0 or NULL */
    bus_state_fn on_state;         /**< called when the router is lost, and when it is back; or NULL */
    uint32_t reconnect_min_ms;     /**< longest pause before the first try; 0: 10. Pauses are of random length, */
    uint32_t reconnect_max_ms;     /**< up to a bound that doubles with each try, until this; 0: 1000 */
    uint32_t reconnect_timeout_ms; /**< after so long without a router the connection ends; 0: never */
    /** What is published while the router is away is kept up to so many bytes (bodies, headers, and about 150 bytes for each message), and sent
     *  when it is back; 0: it is refused with -ENOTCONN. */
    uint64_t backlog_bytes_max;
    uint64_t reliable_bytes_max; /**< what is kept for topics with BUS_TOPIC_RELIABLE, about 40 bytes for each message included; 0: 16 MiB */
};
#define BUS_SPIN_OFF UINT32_MAX /**< bus_opts.spin_us: sleep at once */
#define BUS_OPTS_INIT                                                                              \
    {sizeof(struct bus_opts), 0, NULL, 0, 0, NULL, NULL, NULL, NULL, 0, 0, NULL, 0, NULL, 0, NULL, \
     0, 0, 0, 0, 0}

/**
 * bus_open() - connect to a router
 * @address:   `seqpacket:PATH`, `stream:PATH`, or a bare path, which tries both; a PATH beginning with `@` is an abstract
 *             name. NULL: $BUS_ADDRESS, else the default of docs/protocol.md section 1. Copied.
 * @opts:      options, or NULL for defaults; read during the call only
 * @ret_conn:  receives the connection
 *
 * Waits for the router's answer, at most opts->timeout_ms, so that a returned connection is known to work; with
 * BUS_OPEN_NOWAIT it does not wait; a refusal, or no answer in time (BUS_GOODBYE_NONE), comes as on_closed.
 *
 * With BUS_OPEN_RECONNECT the connection outlives its link. When that breaks, or the router ends it for whatever reason but a violation of the
 * protocol, opts->on_state is called with BUS_CONN_LOST and the library connects again to the same address, by the same kind of link, as
 * opts->reconnect_ say. On the next link it asks for everything anew, in the order in which it was made: subscriptions (their groups, servers,
 * retained messages, intervals and silence too), advertised topics, wills. When a router has answered, opts->on_state is called with
 * BUS_CONN_RESTORED; each subscription gets its on_loss, with BUS_LOSS_ROUTER_RESTART and a count of 0, and its on_ready again before the first
 * message that comes then. on_closed is called only when the connection has ended for good. What every application should know:
 *
 * - Messages that were on their way when the link broke are lost in both directions. Without opts->backlog_bytes_max that includes those that
 *   bus_publish() has accepted and that had not left yet; bus_flush() says when everything has been routed.
 * - While it is away, subscriptions, topics and wills can be made and ended as always, and take effect at the return. Publishes are kept or
 *   refused, see opts->backlog_bytes_max; what needs an answer at once (bus_request(), bus_clear(), bus_snapshot()) returns -ENOTCONN. The
 *   same errno means that it has ended: bus_is_away() tells the two apart.
 * - Requests and snapshots end with BUS_STATUS_DISCONNECTED, and so do publishes with BUS_PUBLISH_CONFIRM. Open calls are cancelled
 *   (bus_serve_opts.on_cancel); they are still to be answered or dropped, which then only frees them.
 * - Kept messages and loans stay valid. Acknowledging an old message returns -ESTALE: its group gets it again.
 * - bus_process(), bus_run(), bus_wait(), bus_flush() and bus_wait_writable() go on meanwhile, and bus_fd() stays the same.
 *
 * Returns: 0 if connected.
 *
 * Errors:
 *   -EINVAL        the address cannot be parsed, opts->size or a flag is unknown, opts->name or the resume token is too long,
 *                  the name is not UTF-8, opts->spin_us is out of range, or an option for BUS_OPEN_RECONNECT is set without it
 *   -ENAMETOOLONG  the address' last component cannot fit into a socket address
 *   -ENOENT        there is no socket at that path: is the router running?
 *   -ECONNREFUSED  there is a socket, but nobody listens on it
 *   -EACCES        no permission to connect
 *   -EPERM         the default directory under /tmp is not safe: not owned by this user, or not of mode 0700
 *   -EUSERS        the router has as many connections as it may have, of this user or in all
 *   -EPROTO        what listens there does not speak this protocol, or refused this client
 *   -ETIMEDOUT     no answer in time
 *   -EMFILE, -ENFILE  out of file descriptors
 *   -ENOMEM        out of memory
 *   Any other errno of socket(2), connect(2) and epoll_create1(2), negated.
 *
 * Ownership: the caller ends *@ret_conn with bus_close(). @opts->userdata must stay valid until then.
 * Threads: blocks as said above.
 * Since: 0.1
 */
BUS_API int bus_open(const char *address, const struct bus_opts *opts, struct bus_conn **ret_conn);

/**
 * bus_close() - end a connection and everything that belongs to it
 * @conn: connection, or NULL
 *
 * Sends what is waiting as far as the socket takes it without blocking, and a goodbye; call bus_flush() before to be sure, or bus_wait_acked(). No
 * callback runs after this returns. Subscriptions and topics of the connection are ended with it and must not be used again; messages
 * kept with bus_message_ref() stay valid.
 *
 * Ownership: frees @conn, now or, if called from one of its callbacks, when the outermost call into the library returns;
 * either way it must not be used again.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_close(struct bus_conn *conn);

/**
 * bus_fd() - the descriptor to put into an event loop
 * @conn: connection
 *
 * One descriptor for the whole life of the connection. It is readable (POLLIN, level-triggered) whenever bus_process() has something to
 * do: input, room for waiting output, a timer. Do nothing else with it.
 *
 * Returns: the descriptor.
 *
 * Errors:
 *   -ECHILD  after fork()
 *
 * Ownership: stays with @conn; do not close it.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_fd(struct bus_conn *conn);

/**
 * bus_process() - do what is to be done now
 * @conn: connection
 *
 * Reads at most one buffer of input (up to 256 KiB), calls the callbacks for it, sends what waits. Call it when bus_fd() is readable, or
 * whenever you like. Publishes made by callbacks meanwhile are packed into as few sends as possible and go out before it returns.
 *
 * Returns: 1 if there may be more to do at once, 0 if it is time to wait for bus_fd() or with bus_wait().
 *
 * Errors:
 *   -ENOTCONN  the connection has ended for good (on_closed has been called, in this call or earlier); only bus_close() makes sense
 *   -ECHILD    after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: never blocks, apart from the callbacks.
 * Since: 0.1
 */
BUS_API int bus_process(struct bus_conn *conn);

/**
 * bus_wait() - wait until bus_process() has something to do
 * @conn:       connection
 * @timeout_ms: at most this long; -1: for ever
 *
 * Signals: here and in every other call that waits, a signal that comes between the time of the call and the first callback, or while it sleeps,
 * ends the wait with -EINTR, also if it comes before the sleep has begun. One that comes while callbacks run does not, nor one between two calls: a program that
 * must not miss those has a timeout, or polls bus_fd() together with a signalfd.
 *
 * Returns: 1 if there is something to do, 0 after the timeout.
 *
 * Errors:
 *   -EINTR     a signal handler ran
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: blocks; calls no callbacks.
 * Since: 0.1
 */
BUS_API int bus_wait(struct bus_conn *conn, int timeout_ms);

/**
 * bus_run() - process until bus_stop() or the end of the connection
 * @conn: connection
 *
 * Returns: 0 after bus_stop().
 *
 * Errors:
 *   -EINTR     a signal handler ran; call again to go on
 *   -ENOTCONN  the connection has ended, also by a bus_close() from a callback
 *   -ECHILD    after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: blocks.
 * Since: 0.1
 */
BUS_API int bus_run(struct bus_conn *conn);

/**
 * bus_stop() - make the innermost bus_run() return
 * @conn: connection
 *
 * If no bus_run() is active, the next one returns at once.
 *
 * Ownership: nothing changes hands.
 * Threads: not for other threads or signal handlers; call it from a callback.
 * Since: 0.1
 */
BUS_API void bus_stop(struct bus_conn *conn);

/**
 * bus_flush() - wait until the router has handled everything sent so far
 * @conn:       connection
 * @timeout_ms: at most this long; -1: for ever
 *
 * Processes meanwhile, so callbacks run. When it returns 0, every publish made before has been routed or refused (and the refusal
 * has been reported to on_status), and every subscription made before is in force or refused. Output held by bus_cork() is sent too.
 *
 * If the link breaks meanwhile (BUS_OPEN_RECONNECT), what the router had handled before is unknown; it then waits for the return and for what was
 * kept in the backlog and set up again.
 *
 * Returns: 0 when the router has answered.
 *
 * Errors:
 *   -ETIMEDOUT  not within @timeout_ms
 *   -EINTR      a signal handler ran
 *   -ENOTCONN   the connection has ended
 *   -ECHILD     after fork()
 *   -ENOMEM     out of memory
 *
 * Ownership: nothing changes hands.
 * Threads: blocks.
 * Since: 0.1
 */
BUS_API int bus_flush(struct bus_conn *conn, int timeout_ms);

/**
 * bus_cork() - hold output back to send it together
 * @conn: connection
 *
 * Until the matching bus_uncork() publishes are collected and sent in large pieces (64 KiB). Calls nest. Not needed inside callbacks,
 * where this happens by itself.
 *
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_cork(struct bus_conn *conn);

/**
 * bus_uncork() - send what bus_cork() held back
 * @conn: connection
 *
 * Returns: 0; what the socket does not take now goes out in bus_process().
 *
 * Errors:
 *   -EINVAL    without a bus_cork()
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_uncork(struct bus_conn *conn);

/**
 * bus_connection_id() - the number the router gave this connection
 * @conn: connection
 *
 * Returns: the number, as in bus_peer.connection_id; 0 while the router has not answered yet. After a return it is another one.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API uint64_t bus_connection_id(const struct bus_conn *conn);

/**
 * bus_is_away() - whether a connection has lost its router and tries to come back
 * @conn: connection
 *
 * Where a function says that the connection has ended or is away, this tells which: as long as it says 1, things will go on.
 *
 * Returns: 1 from the loss until a router has answered again, else 0; always 0 without BUS_OPEN_RECONNECT.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.3
 */
BUS_API int bus_is_away(const struct bus_conn *conn);

/**
 * bus_body_max() - the largest body that can be published on this connection
 * @conn: connection
 *
 * Returns: bytes; 0 while the router has not answered yet.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API size_t bus_body_max(const struct bus_conn *conn);

/* ---- publishing ------------------------------------------------------------------------------------------------ */

/** Ask for the outcome of a publish: on_confirm is called once. */
#define BUS_PUBLISH_CONFIRM 0x1u
/** A body that goes through shared memory gets memory of its own that nobody can change any more, this process included. Costs more than
 *  the usual way, in which receivers trust this process not to write to it before they are done. */
#define BUS_PUBLISH_IMMUTABLE 0x2u

/** Options of one publish. */
struct bus_publish_opts {
    uint32_t size;
    uint32_t flags;                   /**< BUS_PUBLISH_ flags */
    const struct bus_header *headers; /**< copied; may be NULL if n_headers is 0 */
    size_t n_headers;                 /**< 0 to BUS_HEADERS_MAX */
    bus_confirm_fn on_confirm;        /**< required with BUS_PUBLISH_CONFIRM */
    void *userdata;                   /**< for on_confirm */
    const int *fds;                   /**< descriptors that go with the message; duplicated, so they stay the caller's */
    size_t n_fds;                     /**< 0 to BUS_FDS_MAX */
    const char *key;                  /**< messages of one key go to one member of a group with BUS_SUB_STICKY; 1 to 255 bytes, or NULL */
    uint32_t ttl_ms;                  /**< what still waits after that time is lost as BUS_LOSS_EXPIRED; 0: waits for ever */
};
#define BUS_PUBLISH_OPTS_INIT                                                                      \
    {sizeof(struct bus_publish_opts), 0, NULL, 0, NULL, NULL, NULL, 0, NULL, 0}

/**
 * bus_publish() - publish one message to a topic by name
 * @conn:   connection
 * @topic:  NUL-terminated topic, 1 to BUS_TOPIC_MAX bytes: see bus_topic_valid(); copied
 * @data:   body; copied; may be NULL if @bytes is 0
 * @bytes:  length of the body, 0 to bus_body_max()
 *
 * Never blocks. A lone message goes out at once; inside callbacks, under back-pressure and between bus_cork() and bus_uncork() messages are
 * packed and sent together. The topic is advertised by the library at its first use. Messages of one connection reach each subscription
 * in the order of the calls. If the router refuses it (say, not allowed), on_status is called.
 *
 * Returns: 0 if accepted for sending; bus_sequence() is then its number.
 *
 * Errors:
 *   -EAGAIN    no room: the router withholds credit (a subscriber with policy block is full), or max_out_bytes wait to be
 *              sent, or the router has not answered yet (BUS_OPEN_NOWAIT), or the backlog of a connection that is away is full, or too much is kept
 *              for reliable topics. on_writable is called when it makes sense to try again; or call
 *              bus_wait_writable().
 *   -EINVAL    @topic is not a valid topic, or @data is NULL and @bytes is not 0
 *   -EMSGSIZE  @bytes exceeds bus_body_max()
 *   -EBUSY     the connection is a monitor, see <bus/monitor.h>
 *   -ENOTCONN  the connection has ended, or is away and keeps no backlog: see bus_is_away()
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *   -EMFILE, -ENFILE, -ENOSYS, -ENOBUFS  a body that does not fit into a frame, and no shared memory for it: see bus_loan()
 *
 * Ownership: nothing is kept.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_publish(struct bus_conn *conn, const char *topic, const void *data, size_t bytes);

/**
 * bus_publish_with() - publish one message with options
 * @conn:   connection
 * @topic:  as for bus_publish()
 * @data:   as for bus_publish()
 * @bytes:  as for bus_publish()
 * @opts:   headers, confirmation; NULL for none; read during the call only
 *
 * Returns: 0 if accepted for sending.
 *
 * Errors: those of bus_publish(), and
 *   -EINVAL    unknown flag, too many headers, an invalid header, or BUS_PUBLISH_CONFIRM without on_confirm
 *   -EMSGSIZE  the headers are too long together (about 60 KiB)
 *   -EBADF     one of @opts->fds is not an open descriptor
 *   -EMFILE    out of descriptors for the duplicates
 *
 * Ownership: nothing is kept; opts->userdata must stay valid until on_confirm or the end of the connection.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_publish_with(struct bus_conn *conn, const char *topic, const void *data,
                             size_t bytes, const struct bus_publish_opts *opts);

/**
 * bus_advertise() - announce a topic to publish to
 * @conn:       connection
 * @topic:      topic, as for bus_publish(); copied
 * @ret_topic:  receives the handle
 *
 * Publishing through a handle saves looking the topic up for each message. The router checks the right to publish here, once; a refusal
 * comes to on_status, and again for each publish. Two handles of one topic are independent.
 *
 * Returns: 0.
 *
 * Errors:
 *   -EINVAL    @topic is not a valid topic
 *   -EAGAIN    max_out_bytes wait to be sent
 *   -ENOSPC    the connection has as many advertised topics as the router allows
 *   -EBUSY     the connection is a monitor, see <bus/monitor.h>
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: the caller ends *@ret_topic with bus_topic_unref(), or lets bus_close() do it.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_advertise(struct bus_conn *conn, const char *topic, struct bus_topic **ret_topic);

/** What this connection has published to the topic is kept until the handle or the connection ends, and not longer. */
#define BUS_TOPIC_OWNED 0x1u

/** What is published is kept here, too, until every subscription has consumed it, or has been told that it was lost to it; if the link to the router
 *  breaks before, it is published again, in its order and with its number, and subscribers get it once: see bus_advertise_with(). */
#define BUS_TOPIC_RELIABLE 0x4u

/** Options of bus_advertise_with(). */
struct bus_topic_opts {
    uint32_t size;
    uint32_t flags;           /**< BUS_TOPIC_ flags */
    uint32_t retain_messages; /**< how many of the last messages the router keeps for later subscriptions; 0: none */
    uint32_t retain_ttl_ms;   /**< for how long each; 0: until it is replaced or cleared, see bus_clear() */
    bus_interest_fn on_interest; /**< called with the number of matching subscriptions, now and whenever it changes; or NULL */
    void *userdata;           /**< for on_interest */
};
#define BUS_TOPIC_OPTS_INIT {sizeof(struct bus_topic_opts), 0, 0, 0, NULL, NULL}

/**
 * bus_advertise_with() - the same with options
 * @conn:       connection
 * @topic:      topic, as for bus_publish(); copied
 * @opts:       options, or NULL for defaults; read during the call only
 * @ret_topic:  receives the handle
 *
 * With BUS_TOPIC_RELIABLE each publish through this handle is kept until the router has said that it is done: every subscription that it matched has
 * consumed it, or lost it by its own policy and was told so, or has ended. bus_wait_acked() waits for that. When bus_opts.reliable_bytes_max are kept, publishing returns -EAGAIN;
 * on_writable comes when there is room. While the connection is away such publishes are accepted as long as there is room. What is not done when a link breaks is published again at the
 * return; a subscription that has had it does not get it a second time, but for members of a group, which may. Bodies in shared memory and descriptors are kept as they are. What the
 * router has refused is not kept. With the end of this process, or bus_close(), what is kept is gone.
 *
 * Returns: 0.
 *
 * Errors: those of bus_advertise(), and
 *   -EINVAL  opts->size or a flag is unknown, or BUS_TOPIC_RELIABLE on a connection without BUS_OPEN_RECONNECT
 *
 * Ownership: as for bus_advertise(). @opts->userdata must stay valid until the handle is ended.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_advertise_with(struct bus_conn *conn, const char *topic,
                               const struct bus_topic_opts *opts, struct bus_topic **ret_topic);

/**
 * bus_topic_clear() - drop what is kept of an advertised topic
 * @topic: handle
 *
 * As bus_clear().
 *
 * Returns: 0 if queued.
 *
 * Errors: those of bus_clear() but -EINVAL.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_topic_clear(struct bus_topic *topic);

/**
 * bus_clear() - drop what is kept of a topic
 * @conn:  connection
 * @topic: topic, as for bus_publish()
 *
 * Later subscriptions do not get what was published before, whoever published it. What is published afterwards is kept again as long as somebody
 * advertises the topic so (bus_topic_opts.retain_messages). Subscriptions that are there are not told. Nothing happens if nothing is kept; a refusal
 * goes to on_status.
 *
 * Returns: 0 if queued.
 *
 * Errors:
 *   -EINVAL    @topic is malformed
 *   -EAGAIN    max_out_bytes wait to be sent; try again from on_writable
 *   -EBUSY     the connection is a monitor, see <bus/monitor.h>
 *   -ENOTCONN  the connection has ended, or is away
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: nothing is kept.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_clear(struct bus_conn *conn, const char *topic);

/**
 * bus_topic_publish() - publish one message to an advertised topic
 * @topic:  handle
 * @data:   as for bus_publish()
 * @bytes:  as for bus_publish()
 * @opts:   as for bus_publish_with(), or NULL
 *
 * Returns: 0 if accepted for sending.
 *
 * Errors: those of bus_publish_with().
 * Ownership: nothing is kept.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_topic_publish(struct bus_topic *topic, const void *data, size_t bytes,
                              const struct bus_publish_opts *opts);

/* The function has the name of the struct, as stat() has: in C++ that is a shadowed constructor. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/**
 * bus_loan() - memory for a body, to be filled in place
 * @topic:     handle; must not be ended before the loan
 * @bytes:     size wanted, 0 to bus_body_max()
 * @ret_loan:  receives the loan
 *
 * For large bodies (camera frames, point clouds): what is written to bus_loan_data() is what subscribers read, and nothing is copied. The memory
 * comes from the connection's pool (bus_opts.pool_bytes_max), and holds what its last use left in it. Each loan ends with one
 * bus_loan_publish() that succeeds, or with bus_loan_cancel(). Publishing is in the order of bus_loan_publish().
 *
 * Returns: 0.
 *
 * Errors:
 *   -EAGAIN    the router has not answered yet (BUS_OPEN_NOWAIT)
 *   -EMSGSIZE  @bytes exceeds bus_body_max()
 *   -EMFILE, -ENFILE  out of descriptors for new memory
 *   -ENOBUFS   as many buffers are in use as the router allows (all held by subscribers)
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *   -ENOSYS    this system has no memfd, and @bytes does not fit into a frame
 *
 * Ownership: the caller ends *@ret_loan as said above, or lets bus_close() do it.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_loan(struct bus_topic *topic, size_t bytes, struct bus_loan **ret_loan);

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/**
 * bus_loan_data() - the memory
 * @loan: loan
 *
 * Returns: bus_loan_bytes() bytes, aligned to 64 (from the pool: to 4096), never NULL.
 * Ownership: belongs to @loan; after bus_loan_publish() it must not be touched any more.
 * Threads: never blocks. Another thread may fill it, as long as nothing else uses @loan meanwhile.
 * Since: 0.1
 */
BUS_API void *bus_loan_data(struct bus_loan *loan);

/**
 * bus_loan_bytes() - its size
 * @loan: loan
 *
 * Returns: what was asked for.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API size_t bus_loan_bytes(const struct bus_loan *loan);

/**
 * bus_loan_publish() - publish what is in it
 * @loan:   loan
 * @bytes:  length of the body, 0 to bus_loan_bytes()
 * @opts:   as for bus_publish_with(), or NULL; with BUS_PUBLISH_IMMUTABLE the body is copied
 *
 * Returns: 0 if accepted for sending.
 *
 * Errors: those of bus_publish_with(), and
 *   -EINVAL  @bytes exceeds bus_loan_bytes()
 *
 * Ownership: on success @loan is gone; on failure it stays the caller's.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_loan_publish(struct bus_loan *loan, size_t bytes,
                             const struct bus_publish_opts *opts);

/**
 * bus_loan_cancel() - give a loan back unpublished
 * @loan: loan, or NULL
 *
 * Ownership: frees @loan.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_loan_cancel(struct bus_loan *loan);

/**
 * bus_topic_subscriptions() - how many subscriptions match an advertised topic
 * @topic:  handle
 *
 * Subscriptions of this connection with BUS_SUB_NO_LOCAL do not count: they would get nothing.
 *
 * Returns: what bus_topic_opts.on_interest was called with last; -1 before, or without on_interest.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int64_t bus_topic_subscriptions(const struct bus_topic *topic);

/**
 * bus_topic_unref() - end an advertised topic
 * @topic: handle, or NULL
 *
 * What was published through it before is not affected.
 *
 * Ownership: frees @topic.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_topic_unref(struct bus_topic *topic);

/**
 * bus_sequence() - number of the last publish
 * @conn: connection
 *
 * The router and subscribers see the same number (bus_message_sequence(), bus_status_event.sequence). After a return of the connection
 * (BUS_OPEN_RECONNECT) the count goes on.
 *
 * Returns: how many publishes of this connection were accepted for sending.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API uint64_t bus_sequence(const struct bus_conn *conn);

/**
 * bus_wait_writable() - wait until publishing makes sense again after -EAGAIN
 * @conn:       connection
 * @timeout_ms: at most this long; -1: for ever
 *
 * Processes meanwhile, so callbacks run. While the connection is away it waits for the return, or for room in the backlog.
 *
 * Returns: 0 when a message can be published.
 *
 * Errors:
 *   -ETIMEDOUT  not within @timeout_ms
 *   -EINTR      a signal handler ran
 *   -ENOTCONN   the connection has ended
 *   -ECHILD     after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: blocks.
 * Since: 0.1
 */
BUS_API int bus_wait_writable(struct bus_conn *conn, int timeout_ms);

/**
 * bus_wait_acked() - wait until everything published to reliable topics is done
 * @conn:       connection
 * @timeout_ms: at most this long; -1: for ever
 *
 * Processes meanwhile, so callbacks run. Done means consumed by all subscriptions, see BUS_TOPIC_RELIABLE; bus_flush() only waits until the router has routed it. A subscriber
 * that does not read holds it up, for 30 s at most unless the router was started otherwise.
 *
 * Returns: 0 when nothing is kept any more; at once if nothing was published to a reliable topic.
 *
 * Errors:
 *   -ETIMEDOUT  not within @timeout_ms
 *   -EINTR      a signal handler ran
 *   -ENOTCONN   the connection has ended
 *   -ECHILD     after fork()
 *
 * Ownership: nothing changes hands.
 * Threads: blocks.
 * Since: 0.3
 */
BUS_API int bus_wait_acked(struct bus_conn *conn, int timeout_ms);

/** Options of bus_will(). */
struct bus_will_opts {
    uint32_t size;
    uint32_t flags;                   /**< 0 */
    uint32_t delay_ms;                /**< publish it only so long after the end, unless the application has returned; 0: at once */
    const struct bus_header *headers; /**< copied; may be NULL if n_headers is 0 */
    size_t n_headers;                 /**< 0 to BUS_HEADERS_MAX */
};
#define BUS_WILL_OPTS_INIT {sizeof(struct bus_will_opts), 0, 0, NULL, 0}

/**
 * bus_will() - leave a message that the router publishes if this connection ends without bus_close()
 * @conn:   connection
 * @topic:  NUL-terminated topic; copied
 * @data:   body; copied; may be NULL if @bytes is 0
 * @bytes:  length of the body, 0 to 65,536
 * @opts:   options, or NULL for defaults; read during the call only
 *
 * The router publishes it in the name of this connection, behind everything that it has published, when the process dies, or when the router
 * ends the connection (protocol error, slow consumer); not after bus_close(), and not when the router itself stops. A further will of the same topic takes
 * the place of the first. If the router refuses it, on_status is called; bus_flush() tells when it is in force.
 *
 * With opts->delay_ms nobody hears of it if the application is back in time: if a connection of the same user, with the same name and
 * the same bus_opts.resume_token, has been opened. Choose a token at random, and keep it as long as the application is to count as the same. The
 * connection that has come back leaves its wills anew; with BUS_OPEN_RECONNECT the library does that, with the last of each topic that was asked for.
 *
 * Returns: 0 if queued.
 *
 * Errors:
 *   -EINVAL    @topic is not a valid topic, @data is NULL and @bytes is not 0, an invalid header, or opts->size or a flag is unknown
 *   -EMSGSIZE  the body is too long, or the headers are, together
 *   -EAGAIN    max_out_bytes wait to be sent, or the router has not answered yet (BUS_OPEN_NOWAIT): try again from on_writable
 *   -EBUSY     the connection is a monitor, see <bus/monitor.h>
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: nothing is kept.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_will(struct bus_conn *conn, const char *topic, const void *data, size_t bytes,
                     const struct bus_will_opts *opts);

/**
 * bus_will_clear() - take a will back
 * @conn:   connection
 * @topic:  its topic; nothing happens if there is no will of it
 *
 * Returns: 0 if queued.
 *
 * Errors: those of bus_will().
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_will_clear(struct bus_conn *conn, const char *topic);

/* ---- subscribing ----------------------------------------------------------------------------------------------- */

/** Do not deliver what this connection publishes itself. */
#define BUS_SUB_NO_LOCAL 0x1u
/** Receive the descriptors that publishers attach, see bus_message_fd(). */
#define BUS_SUB_DESCRIPTORS 0x2u
/** Bodies cannot change while they are looked at, whatever the publisher does: those that could are copied before @on_message. */
#define BUS_SUB_IMMUTABLE 0x4u

/** Each message is to be acknowledged with bus_message_ack(); only in a group. The window is what may be in work. */
#define BUS_SUB_ACK 0x8u
/** Messages of one key (bus_publish_opts.key) go to one member of the group for as long as it is there. */
#define BUS_SUB_STICKY 0x10u
/** If only some of the topics that the filter matches are allowed, subscribe to these, and to what else is allowed later. on_ready is then called with BUS_STATUS_OK
 *  and a text that begins with the place of the rule that decided. Without it such a subscription is refused as a whole. Not in a group. */
#define BUS_SUB_NARROW 0x40u

/** Options of bus_subscribe(). Zeros are the router's defaults. */
struct bus_sub_opts {
    uint32_t size;
    uint32_t flags;           /**< BUS_SUB_ flags */
    enum bus_policy policy;   /**< what happens when the queue is full; default BUS_POLICY_DROP_OLDEST */
    uint32_t window_messages; /**< how many messages may be on their way unconsumed; 0: 16,384 */
    uint64_t window_bytes;    /**< how many bytes of them; 0: 4 MiB */
    uint32_t queue_messages;  /**< how many more may wait in the router; 0: 16,384 */
    uint64_t queue_bytes;     /**< how many bytes of them; 0: 8 MiB, with BUS_POLICY_BLOCK 1 MiB */
    bus_loss_fn on_loss;      /**< called in the place of each gap, or NULL */
    bus_ready_fn on_ready;    /**< called with the router's answer, or NULL: refusals then go to on_status */
    const char *group;        /**< subscriptions with this filter and group share the messages; 1 to 64 bytes, or NULL. All of them ask for the same policy, queue
                                   and flags, and not for BUS_POLICY_DISCONNECT. */
    uint32_t deliveries_max;  /**< with BUS_SUB_ACK: after so many deliveries without acknowledgement it is given up; 0: 5 */
    const char *dead_letter;  /**< topic to which such messages are then published, or NULL */
    enum bus_retained retained; /**< what was kept of matching topics comes first */
    bus_live_fn on_live;      /**< called when all of that has come, or NULL */
    uint32_t min_interval_ms; /**< of each topic at most one message in that time, the newest; 0: all */
    uint32_t silence_ms;      /**< on_silence is called when no message came for so long; 0: never */
    bus_silence_fn on_silence; /**< required with silence_ms */
};
#define BUS_SUB_OPTS_INIT                                                                          \
    {sizeof(struct bus_sub_opts), 0, BUS_POLICY_DROP_OLDEST, 0, 0, 0, 0, NULL, NULL, NULL, 0, NULL, \
     BUS_RETAINED_NONE, NULL, 0, 0, NULL}

/**
 * bus_subscribe() - receive messages whose topic matches a filter
 * @conn:        connection
 * @filter:      NUL-terminated topic filter, 1 to BUS_TOPIC_MAX bytes; `+` matches one level, a final `#` the rest; copied
 * @opts:        options, or NULL for defaults; read during the call only
 * @on_message:  called once per matching message; must not be NULL
 * @userdata:    handed to the callbacks; never dereferenced or freed by the library
 * @ret_sub:     receives the subscription; NULL makes it live as long as @conn
 *
 * Queues a subscription and returns at once; opts->on_ready gets the router's answer, and if it is a refusal no message arrives.
 * Messages of one publisher arrive in publishing order, also over several topics; two subscriptions that both get A and B get them in the
 * same order. Two matching subscriptions each get their own call. A message counts as consumed when @on_message returns.
 * Nothing is lost in silence: opts->on_loss is called where messages are missing, with their exact number.
 *
 * Returns: 0 if queued.
 *
 * Errors:
 *   -EINVAL    @on_message is NULL, @filter is malformed (see bus_filter_valid()), unknown bits in @opts->flags, or an unknown policy
 *   -EAGAIN    max_out_bytes wait to be sent; try again from on_writable
 *   -ENOSPC    the connection has as many subscriptions as the router allows
 *   -EBUSY     the connection is a monitor, see <bus/monitor.h>
 *   -ENOTCONN  the connection has ended
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: the caller ends *@ret_sub with bus_sub_unref(). @userdata must stay valid until then, or until bus_close().
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_subscribe(struct bus_conn *conn, const char *filter,
                          const struct bus_sub_opts *opts, bus_message_fn on_message,
                          void *userdata, struct bus_sub **ret_sub);

/**
 * bus_sub_unref() - end a subscription
 * @sub: subscription, or NULL
 *
 * After it returns none of the subscription's callbacks is called again, not even for messages already received.
 *
 * Ownership: frees @sub, also when called from its own callback.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_sub_unref(struct bus_sub *sub);

/**
 * bus_sub_filter() - the filter of a subscription
 * @sub: subscription
 *
 * Returns: the filter, valid as long as @sub.
 * Ownership: stays with @sub.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const char *bus_sub_filter(const struct bus_sub *sub);

/**
 * bus_sub_conn() - the connection of a subscription
 * @sub: subscription
 *
 * Returns: the connection.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API struct bus_conn *bus_sub_conn(const struct bus_sub *sub);

/* ---- messages -------------------------------------------------------------------------------------------------- */

/**
 * bus_message_ref() - keep a message
 * @message: message, as handed to a callback or as returned by this function
 *
 * The body is not copied: data pointers got before stay valid. A kept message keeps the buffer alive that it was received in (up to 256 KiB), which
 * it shares with its neighbours: to keep few small messages for long, copy them instead.
 *
 * Returns: a message to be used from now on in place of @message (it may be another pointer), or NULL if out of memory.
 * Ownership: the caller ends it with bus_message_unref(). It may outlive subscription and connection.
 * Threads: in the thread of the connection, like everything else.
 * Since: 0.1
 */
BUS_API struct bus_message *bus_message_ref(const struct bus_message *message);

/**
 * bus_message_unref() - give a kept message back
 * @message: message from bus_message_ref(), or NULL
 *
 * Ownership: frees @message with its last reference.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API void bus_message_unref(struct bus_message *message);

/**
 * bus_message_ack() - say that the work of a message is done
 * @message: message of a subscription with BUS_SUB_ACK, in its callback or kept
 *
 * A message that is not acknowledged counts as being worked on: it uses the window of the subscription, and goes to another member of the
 * group when this subscription or its connection ends. A message may so be worked on twice. Giving up the last reference acknowledges nothing.
 *
 * Returns: 0 when it is on its way.
 *
 * Errors:
 *   -EINVAL    its subscription has no BUS_SUB_ACK
 *   -EALREADY  it was acknowledged or refused before, through this or another reference
 *   -ENOTCONN  the subscription or the connection has ended: somebody else gets it
 *   -ESTALE    the link that it came by was lost since (BUS_OPEN_RECONNECT): it is delivered again
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: nothing changes hands; a kept message is still to be given back.
 * Threads: in the thread of the connection. Never blocks.
 * Since: 0.2
 */
BUS_API int bus_message_ack(const struct bus_message *message);

/**
 * bus_message_refuse() - give a message back undone
 * @message: message of a subscription with BUS_SUB_ACK, in its callback or kept
 *
 * It goes to another member of the group that can take it now, else to any, this one included. After bus_sub_opts.deliveries_max deliveries it is
 * given up instead.
 *
 * Returns: 0 when it is on its way.
 *
 * Errors:
 *   -EINVAL    its subscription has no BUS_SUB_ACK
 *   -EALREADY  it was acknowledged or refused before, through this or another reference
 *   -ENOTCONN  the subscription or the connection has ended: somebody else gets it
 *   -ESTALE    the link that it came by was lost since (BUS_OPEN_RECONNECT): it is delivered again
 *   -ECHILD    after fork()
 *   -ENOMEM    out of memory
 *
 * Ownership: nothing changes hands; a kept message is still to be given back.
 * Threads: in the thread of the connection. Never blocks.
 * Since: 0.2
 */
BUS_API int bus_message_refuse(const struct bus_message *message);

/**
 * bus_message_deliveries() - how often it has been delivered before
 * @message: message
 *
 * Returns: the number of deliveries to members of the group that did not acknowledge it; 0 for all other messages.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API uint32_t bus_message_deliveries(const struct bus_message *message);

/**
 * bus_message_is_redelivered() - whether somebody may have worked on it before
 * @message: message
 *
 * Returns: 1 or 0.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_message_is_redelivered(const struct bus_message *message);

/**
 * bus_message_data() - the body
 * @message: message
 *
 * Returns: the body, bus_message_bytes() long, not NUL-terminated, not aligned; never NULL.
 * Ownership: belongs to @message and lives as long as it.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const void *bus_message_data(const struct bus_message *message);

/**
 * bus_message_bytes() - length of the body
 * @message: message
 *
 * Returns: bytes.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API size_t bus_message_bytes(const struct bus_message *message);

/**
 * bus_message_is_immutable() - whether nobody can change the body any more
 * @message: message
 *
 * Large bodies come in shared memory. It stays as it is as long as the message is kept, whatever happens to the publisher and to the router; but its
 * publisher, and nobody else, could write to it, which an honest one does not before all receivers are done. Who does not
 * trust the publisher subscribes with BUS_SUB_IMMUTABLE, and gets 1 here always.
 *
 * Returns: 1 or 0.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_message_is_immutable(const struct bus_message *message);

/**
 * bus_message_is_retained() - whether it was published before the subscription, and kept
 * @message: message
 *
 * Such messages come first, see bus_sub_opts.retained; behind the last one bus_sub_opts.on_live is called.
 *
 * Returns: 1 or 0.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.2
 */
BUS_API int bus_message_is_retained(const struct bus_message *message);

/**
 * bus_message_n_fds() - how many descriptors were published with it
 * @message: message
 *
 * Returns: 0 to BUS_FDS_MAX, whether or not they came along.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API size_t bus_message_n_fds(const struct bus_message *message);

/**
 * bus_message_fd() - a descriptor that came with it
 * @message: message
 * @index:   0 to bus_message_n_fds() - 1
 *
 * Returns: the descriptor, close-on-exec.
 *
 * Errors:
 *   -ENOTSUP  the subscription has not asked for descriptors (BUS_SUB_DESCRIPTORS)
 *   -EMFILE   this process had too many descriptors open when the message came: the kernel has dropped this message's
 *   -EINVAL   @index is too high
 *
 * Ownership: belongs to @message and is closed with it; dup(2) it to keep it longer.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API int bus_message_fd(const struct bus_message *message, size_t index);

/**
 * bus_message_topic() - the topic it was published to
 * @message: message
 *
 * Returns: the topic, NUL-terminated.
 * Ownership: belongs to @message.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const char *bus_message_topic(const struct bus_message *message);

/**
 * bus_message_sender() - who published it
 * @message: message
 *
 * Returns: the sender's identity as the router knows it.
 * Ownership: belongs to @message.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const struct bus_peer *bus_message_sender(const struct bus_message *message);

/**
 * bus_message_sequence() - its number among all publishes of its sender
 * @message: message
 *
 * Returns: 1 for the sender's first publish. Gaps are usual: other topics count too. 0: it is none of them, but a will, or an event of the router.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API uint64_t bus_message_sequence(const struct bus_message *message);

/**
 * bus_message_time_ns() - when the router accepted it
 * @message: message
 *
 * Returns: nanoseconds since 1970-01-01 UTC (CLOCK_REALTIME of this host).
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API uint64_t bus_message_time_ns(const struct bus_message *message);

/**
 * bus_message_n_headers() - how many text headers it has
 * @message: message
 *
 * Returns: 0 to BUS_HEADERS_MAX.
 * Ownership: nothing changes hands.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API size_t bus_message_n_headers(const struct bus_message *message);

/**
 * bus_message_header_at() - one text header by position
 * @message: message
 * @index:   0 to bus_message_n_headers() - 1
 *
 * Returns: the header, or NULL if @index is too high.
 * Ownership: belongs to @message.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const struct bus_header *bus_message_header_at(const struct bus_message *message,
                                                       size_t index);

/**
 * bus_message_header() - the value of a text header by name
 * @message: message
 * @name:    name, compared byte by byte
 *
 * Returns: the value of the first header of that name, or NULL if there is none.
 * Ownership: belongs to @message.
 * Threads: never blocks.
 * Since: 0.1
 */
BUS_API const char *bus_message_header(const struct bus_message *message, const char *name);

/* ---- helpers --------------------------------------------------------------------------------------------------- */

/**
 * bus_topic_valid() - whether a text is a topic
 * @topic: NUL-terminated text
 *
 * Returns: 1 if it follows the rules of docs/protocol.md section 4 (MQTT 5.0 section 4.7, at most 255 bytes and 32 levels), else 0.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Since: 0.1
 */
BUS_API int bus_topic_valid(const char *topic);

/**
 * bus_filter_valid() - whether a text is a topic filter
 * @filter: NUL-terminated text
 *
 * Returns: 1 or 0, as bus_topic_valid().
 * Ownership: nothing changes hands.
 * Threads: any.
 * Since: 0.1
 */
BUS_API int bus_filter_valid(const char *filter);

/**
 * bus_filter_matches() - whether a filter matches a topic
 * @filter: a valid filter
 * @topic:  a valid topic
 *
 * Returns: 1 if it matches; 0 if it does not, or if either is not valid.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Since: 0.1
 */
BUS_API int bus_filter_matches(const char *filter, const char *topic);

/**
 * bus_status_text() - a status in words
 * @status: status
 *
 * Returns: a static text.
 * Ownership: static.
 * Threads: any.
 * Since: 0.1
 */
BUS_API const char *bus_status_text(enum bus_status status);

/**
 * bus_goodbye_text() - the reason of an end in words
 * @reason: reason
 *
 * Returns: a static text.
 * Ownership: static.
 * Threads: any.
 * Since: 0.1
 */
BUS_API const char *bus_goodbye_text(enum bus_goodbye reason);

/**
 * bus_loss_text() - the reason of a loss in words
 * @reason: reason
 *
 * Returns: a static text.
 * Ownership: static.
 * Threads: any.
 * Since: 0.1
 */
BUS_API const char *bus_loss_text(enum bus_loss_reason reason);

/**
 * bus_verdict_text() - a verdict in words
 * @verdict: verdict
 *
 * Returns: a static text.
 * Ownership: static.
 * Threads: any.
 * Since: 0.1
 */
BUS_API const char *bus_verdict_text(enum bus_verdict verdict);

/**
 * bus_policy_parse() - a policy by its name
 * @name:        drop_oldest, drop_newest, latest, block or disconnect
 * @ret_policy:  receives it
 *
 * Returns: 0.
 *
 * Errors:
 *   -EINVAL  no such policy
 *
 * Ownership: nothing changes hands.
 * Threads: any.
 * Since: 0.1
 */
BUS_API int bus_policy_parse(const char *name, enum bus_policy *ret_policy);

/**
 * bus_version() - version of the library
 *
 * Returns: such as "0.1.0".
 * Ownership: static.
 * Threads: any.
 * Since: 0.1
 */
BUS_API const char *bus_version(void);

#ifdef __cplusplus
}
#endif
