/* SPDX-License-Identifier: MIT */
/* Who takes part, and in which order. */

#include "common.h"
#include "peer.h"

#ifdef WITH_REDIS
#define REDIS &peer_redis
#else
#define REDIS NULL
#endif
#ifdef WITH_ZMQ
#define ZMQ &peer_zmq
#else
#define ZMQ NULL
#endif
#ifdef WITH_NATS
#define NATS &peer_nats
#else
#define NATS NULL
#endif
#ifdef WITH_MOSQUITTO
#define MOSQUITTO &peer_mosquitto
#else
#define MOSQUITTO NULL
#endif
#ifdef WITH_NNG
#define NNG &peer_nng
#else
#define NNG NULL
#endif

const struct peer_entry peer_entries[] = {
    {"bus", &peer_bus, ""},
    {"bus-stream", &peer_bus_stream, ""},
    {"redis", REDIS, "libhiredis-dev"},
    {"zmq", ZMQ, "libzmq3-dev"},
    {"nats", NATS, "libnats-dev"},
    {"mosquitto", MOSQUITTO, "libmosquitto-dev"},
    {"nng", NNG, "libnng-dev"},
};

const unsigned n_peer_entries = ARRAY_LEN(peer_entries);
