/* SPDX-License-Identifier: MIT */
#pragma once
/* The records of a router's state, in the order in which they come, and their fields. The numbers
 * are those of schemas/state.proto, which says what they mean; a check compares the two. */

/* Both sides must have the same major one. */
#define STATE_MAJOR 1u
#define STATE_MINOR 0u

enum state_kind {
    STATE_ROUTER = 1,
    STATE_COUNTER = 2,
    STATE_SENDER = 3,
    STATE_PARCEL = 4, /* before its first use */
    STATE_PEER = 5,
    STATE_OUTPUT = 6, /* of the peer before it */
    STATE_SUB = 7,    /* of a group: in front of it */
    STATE_GROUP = 8,  /* of the subscriptions before it */
    STATE_TOPIC = 9,  /* with those that match it */
    STATE_ALIAS = 10,
    STATE_KEEP = 11,
    STATE_BUFFER = 12,
    STATE_MESSAGE = 13, /* before its first use */
    STATE_KEPT = 14,    /* in the router's order */
    STATE_LEASE = 15,
    STATE_QUEUE = 16, /* of a subscription or a group */
    STATE_ITEM = 17,  /* of the queue before it */
    STATE_PACE = 18,  /* of the queue before it */
    STATE_DELIVERY = 19,
    STATE_REQUEST = 20,
    STATE_CALL = 21,     /* of the request before it */
    STATE_CALL_ROW = 22, /* those that wait at one place */
    STATE_ANSWER = 23,
    STATE_WAITING = 24, /* subscriptions that wait for room */
    STATE_TEXT = 25,    /* of the will or the monitor behind it */
    STATE_WILL = 26,
    STATE_MONITOR = 27,
    STATE_RELIABLE = 28,
    STATE_STALLED = 29,
    STATE_CLOSED = 30,
    STATE_LISTENER = 64, /* those from here on belong to the process, not to the core */
    STATE_LINK = 65,
};

enum {
    ROUTER_MAJOR = 1,
    ROUTER_MINOR = 2,
    ROUTER_EPOCH = 3,
    ROUTER_HASH_SEED = 4,
    ROUTER_CONNECTIONS = 5,
    ROUTER_ORDER = 6,
    ROUTER_CALLS = 7,
    ROUTER_REQUESTS = 8,
    ROUTER_RETRY_NS = 9,
    ROUTER_UNRESOLVED = 10,
    ROUTER_PUBLISH_MESSAGES = 11,
    ROUTER_PUBLISH_BYTES = 12
};

enum { COUNTER_NAME = 1, COUNTER_VALUE = 2 };

enum {
    SENDER_ID = 1,
    SENDER_CONNECTION = 2,
    SENDER_SESSION = 3,
    SENDER_UID = 4,
    SENDER_GID = 5,
    SENDER_PID = 6,
    SENDER_NAME = 7,
    SENDER_IS_SELF = 8
};

enum { PARCEL_COUNT = 1, PARCEL_REFUSED = 2, PARCEL_TRUNCATED = 3 };

enum {
    PEER_SENDER = 1,
    PEER_STATE = 2,
    PEER_PACKETS = 3,
    PEER_TOKEN = 4,
    PEER_KNOWN = 5,
    PEER_KNOWN_TOPICS = 6,
    PEER_KNOWN_BUFFERS = 7,
    PEER_PARCEL = 8,
    PEER_PARCEL_2 = 9,
    PEER_COMES_BACK = 10,
    PEER_USER = 11,
    PEER_GROUP = 12,
    PEER_GROUPS = 13,
    PEER_LISTENER = 14,
    PEER_LABEL = 15,
    PEER_PLAIN = 16, /* and those behind it: core/handover.h */
    PEER_LOST_BY = 42,
    PEER_IS_KNOWN = 43
};

enum { OUTPUT_PARCEL = 1, OUTPUT_BYTES = 2 };

enum {
    SUB_PEER = 1,
    SUB_NUMBER = 2,
    SUB_FILTER = 3,
    SUB_FLAGS_WORD = 4,
    SUB_POLICY = 5,
    SUB_CREDIT_MESSAGES = 6,
    SUB_CREDIT_BYTES = 7,
    SUB_WINDOW_MESSAGES = 8,
    SUB_WINDOW_BYTES = 9,
    SUB_QUEUE_MESSAGES = 10,
    SUB_QUEUE_BYTES = 11,
    SUB_LOST = 12,
    SUB_LOST_BYTES = 13,
    SUB_SILENCE_MS = 14,
    SUB_SILENCE_LAST_NS = 15,
    SUB_SILENCE_TOLD = 16,
    SUB_SILENCE_NS = 17,
    SUB_GROUP = 18,
    SUB_DEAD_LETTER = 19,
    SUB_DELIVERIES_MAX = 20,
    SUB_POLICY_NOW = 21,
    SUB_MEMBER_NUMBER = 22,
    SUB_MEMBER_TURN = 23,
    SUB_LAST_DELIVERY = 24,
    SUB_IS_READY = 25,
    SUB_IS_DRAINING = 26
};

enum {
    GROUP_TURN = 1,
    GROUP_LAST_NUMBER = 2,
    GROUP_POLICY_NOW = 3,
    GROUP_LOST = 4,
    GROUP_LOST_BYTES = 5,
    GROUP_GAPS = 6,
    GROUP_SLOT_NUMBERS = 7
};

enum {
    TOPIC_ID = 1,
    TOPIC_NAME = 2,
    TOPIC_IS_RESOLVED = 3,
    TOPIC_MATCHES = 4,
    TOPIC_LAST_SERVER = 5,
    TOPIC_PUBLISHED = 6,
    TOPIC_PUBLISHED_BYTES = 7,
    TOPIC_DELIVERED = 8,
    TOPIC_LOST = 9
};

enum {
    ALIAS_PEER = 1,
    ALIAS_NUMBER = 2,
    ALIAS_TOPIC = 3,
    ALIAS_IS_WISH = 4,
    ALIAS_IS_OWNED = 5,
    ALIAS_IS_WATCHED = 6,
    ALIAS_IS_TOLD = 7,
    ALIAS_TOLD = 8,
    ALIAS_IS_RELIABLE = 9,
    ALIAS_IS_NOTED = 10,
    ALIAS_IS_MUTED = 11
};

enum { KEEP_TOPIC = 1, KEEP_MESSAGES = 2, KEEP_TTL_MS = 3 };

enum {
    BUFFER_ID = 1,
    BUFFER_SENDER = 2,
    BUFFER_NUMBER = 3,
    BUFFER_IS_REGISTERED = 4,
    BUFFER_BYTES = 5,
    BUFFER_PARCEL = 6
};

enum {
    MESSAGE_TOPIC = 1,
    MESSAGE_SENDER = 2,
    MESSAGE_EXPIRES_NS = 3,
    MESSAGE_SIZE = 4,
    MESSAGE_FLAGS = 5,
    MESSAGE_KEY = 6,
    MESSAGE_HEADER = 7,
    MESSAGE_BODY = 8,
    MESSAGE_HAS_CARGO = 9,
    MESSAGE_BUFFER = 10,
    MESSAGE_OFFSET = 11,
    MESSAGE_BYTES = 12,
    MESSAGE_PARCEL = 13,
    MESSAGE_ORIGIN = 14
};

enum { KEPT_TOPIC = 1, KEPT_MESSAGE = 2, KEPT_END_NS = 3, KEPT_IS_ROUTERS = 4 };

enum { LEASE_PEER = 1, LEASE_NUMBER = 2, LEASE_MESSAGE = 3 };

enum {
    QUEUE_PEER = 1,
    QUEUE_SUB = 2,
    QUEUE_GROUP = 3,
    QUEUE_INSIDE = 4,
    QUEUE_PROGRESS_NS = 5,
    QUEUE_LOST = 6,
    QUEUE_LOST_BYTES = 7,
    QUEUE_HAS_REPLAY = 8,
    QUEUE_REPLAYED = 9,
    QUEUE_INTERVAL_MS = 10,
    QUEUE_REPLAY_LOST = 11,
    QUEUE_REPLAY_LOST_BYTES = 12,
    QUEUE_IS_STALLING = 13,
    QUEUE_BEGAN_NS = 14,
    QUEUE_MOVED_NS = 15
};

enum {
    ITEM_MESSAGE = 1,
    ITEM_MATCH = 2,
    ITEM_LOST = 3,
    ITEM_LOST_BYTES = 4,
    ITEM_REASON = 5,
    ITEM_IS_REPLAY = 6
};

enum {
    PACE_TOPIC = 1,
    PACE_MATCH = 2,
    PACE_MESSAGE = 3,
    PACE_LOST = 4,
    PACE_LOST_BYTES = 5,
    PACE_NS = 6
};

enum {
    DELIVERY_GROUP = 1,
    DELIVERY_MEMBER = 2,
    DELIVERY_IS_OUT = 3,
    DELIVERY_MESSAGE = 4,
    DELIVERY_NUMBER = 5,
    DELIVERY_COUNT = 6,
    DELIVERY_REFUSED_BY = 7
};

enum {
    REQUEST_PEER = 1,
    REQUEST_NUMBER = 2,
    REQUEST_TOPIC = 3,
    REQUEST_MESSAGE = 4,
    REQUEST_ID = 5,
    REQUEST_NS = 6,
    REQUEST_TIMEOUT_MS = 7,
    REQUEST_SIZE = 8,
    REQUEST_FLAGS = 9,
    REQUEST_CALL_IDS = 10,
    REQUEST_REPLIED = 11,
    REQUEST_GONE = 12,
    REQUEST_TIMED_OUT = 13
};

enum { CALL_INDEX = 1, CALL_STATE = 2, CALL_AHEAD = 3, CALL_MATCH = 4 };

enum { CALL_ROW_TOPIC = 1, CALL_ROW_PEER = 2, CALL_ROW_SUB = 3, CALL_ROW_PLACES = 4 };

enum {
    ANSWER_PEER = 1,
    ANSWER_NUMBER = 2,
    ANSWER_PART = 3,
    ANSWER_WANTS_FDS = 4,
    ANSWER_MESSAGE = 5,
    ANSWER_STATUS = 6,
    ANSWER_REPLIED = 7,
    ANSWER_GONE = 8,
    ANSWER_TIMED_OUT = 9,
    ANSWER_TEXT = 10
};

enum { WAITING_PEER = 1, WAITING_SUBS = 2 };

enum { TEXT_NAME = 1, TEXT_VALUE = 2 };

enum {
    WILL_SENDER = 1,
    WILL_TOPIC = 2,
    WILL_DELAY_MS = 3,
    WILL_BODY = 4,
    WILL_HAS_LEFT = 5,
    WILL_NS = 6,
    WILL_HAS_TOKEN = 7,
    WILL_TOKEN = 8,
    WILL_USER = 9,
    WILL_GROUP = 10,
    WILL_GROUPS = 11,
    WILL_LISTENER = 12,
    WILL_LABEL = 13,
    WILL_IS_KNOWN = 14
};

enum {
    MONITOR_PEER = 1,
    MONITOR_SNAP_BYTES = 2,
    MONITOR_QUEUE_BYTES = 3,
    MONITOR_LOST = 4,
    MONITOR_LOST_BYTES = 5,
    MONITOR_KNOWN_TOPICS = 6
};

enum {
    LISTENER_ADDRESS = 1,
    LISTENER_HAS_LOCK = 2,
    LISTENER_DEV = 3,
    LISTENER_INO = 4,
    LISTENER_NAME = 5,
    LISTENER_IS_GIVEN = 6
};

enum {
    LINK_CONNECTION = 1,
    LINK_REST = 2,
    LINK_HAS_PARCELS = 3,
    LINK_IS_DEAF = 4,
    LINK_HAS_ENDED = 5,
};

enum {
    RELIABLE_PEER = 1,
    RELIABLE_DONE = 2,
    RELIABLE_TOLD = 3,
    RELIABLE_SEQUENCE = 4,
    RELIABLE_PLACES = 5,
};

enum { STALLED_PEER = 1, STALLED_SUB = 2, STALLED_GROUP = 3 };

enum {
    CLOSED_NUMBER = 1,
    CLOSED_CONNECTION = 2,
    CLOSED_SESSION = 3,
    CLOSED_SINCE_NS = 4,
    CLOSED_UNTIL_NS = 5,
    CLOSED_TIMES = 6,
    CLOSED_PUBLISHED = 7,
    CLOSED_PUBLISHED_BYTES = 8,
    CLOSED_REFUSED = 9,
    CLOSED_DELIVERED = 10,
    CLOSED_DELIVERED_BYTES = 11,
    CLOSED_LOST = 12,
    CLOSED_QUEUED = 13,
    CLOSED_CHARGED_BYTES = 14,
    CLOSED_UID = 15,
    CLOSED_GID = 16,
    CLOSED_PID = 17,
    CLOSED_SUBSCRIPTIONS = 18,
    CLOSED_PACKETS = 19,
    CLOSED_REASON = 20,
    CLOSED_NAME = 21,
    CLOSED_TEXT = 22,
};
