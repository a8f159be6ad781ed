/* SPDX-License-Identifier: MIT */
#pragma once
/* An advertised topic: a handle of the application, or one of those that bus_publish() makes by
 * itself. */

#include "client/conn.h"
#include "wire/hot.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

/* Prefix and header of a plain PUBLISH; copied in one piece, which OUTQ_SLACK_BYTES allows. */
#define PUBLISH_LEAD_BYTES 16u

struct bus_topic {
    struct bus_conn *conn; /* not owned; outlives it */
    uint32_t alias;        /* index into bus_conn.aliases */
    uint32_t lead_bytes;
    uint8_t lead[PUBLISH_LEAD_BYTES];
    uint32_t refused; /* status with which the router refused the ADVERTISE, or 0 */
    uint32_t why;     /* the last such status, and what was said with it: NULL if nothing */
    char *why_text;
    bool automatic;
    uint32_t flags; /* BUS_TOPIC_ flags */
    uint32_t retain_messages;
    uint32_t retain_ttl_ms;
    struct topic_name *shared_name; /* for messages that do not bring it; NULL until needed */
    bus_interest_fn on_interest;
    void *userdata;
    uint64_t since;    /* publishes up to this number may have used the alias for another topic */
    UT_hash_handle hh; /* bus_conn.by_name, if automatic */
    struct bus_topic *prev; /* bus_conn.lru, if automatic; bus_conn.leaving or departing */
    struct bus_topic *next;
    int64_t subscriptions; /* what on_interest was called with last, or -1 */
    uint64_t ends_behind;  /* ended by the application: number of the last publish before that */
    uint64_t left_at;      /* ended by the application: token of the PING behind, else 0 */
    size_t len;
    char name[];
};

/* The automatic topic of that name, made if there is none. -EINVAL, -ENOMEM, or -ENOSPC: publish by
 * name. */
int bus__topic_automatic(struct bus_conn *c, const char *name, struct bus_topic **ret);
/* The router has refused the ADVERTISE. */
void bus__topic_refuse(struct bus_topic *t, const struct wire_status *m);
/* Why its alias is unknown, put in place of that; text points into the topic. */
void bus__topic_why(const struct bus_topic *t, uint32_t *code, struct text *text);
/* The automatic topic of that name, or NULL. */
struct bus_topic *bus__topic_find(const struct bus_conn *c, const char *name, size_t len);
/* Its name, counted, with one more reference; NULL if out of memory. */
struct topic_name *bus__topic_shared_name(struct bus_topic *t);
void bus__topics_fini(struct bus_conn *c);
