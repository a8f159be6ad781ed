/* SPDX-License-Identifier: MIT */
#include "client/seen.h"
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/names.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

/* Publishers that one subscription remembers, or with an interval: their topics. */
#define SEEN_MAX 1024u

/* Who publishes: a process and one of its sessions. */
struct identity {
    uint64_t session;
    uint32_t uid;
    uint32_t pid;
};

struct seen {
    struct seen *prev, *next; /* seen_table.list */
    uint64_t highest;
    UT_hash_handle hh; /* seen_table.by_key */
    size_t key_bytes;
    struct identity who; /* with what follows: the key */
    char topic[];        /* if each topic counts for itself; not NUL-terminated */
};

struct key {
    struct identity who;
    char topic[BUS_TOPIC_MAX];
};

/* With an interval, messages of one topic overtake those of another: each topic counts for itself.
 */
static size_t key_make(const struct bus_sub *sub, const struct peer_name *sender,
                       const struct topic_name *topic, struct key *ret)
{
    size_t len = sub->by_topic ? strlen(topic->name) : 0;

    ret->who = (struct identity){sender->session, sender->peer.uid, sender->peer.pid};
    memcpy(ret->topic, topic->name, len);
    return sizeof(ret->who) + len;
}

static bool is_of(const struct seen *s, const struct key *key, size_t bytes)
{
    return s && s->key_bytes == bytes && memcmp(&s->who, key, bytes) == 0;
}

static void forget(struct seen_table *t, struct seen *s)
{
    HASH_DEL(t->by_key, s);
    DL_DELETE(t->list, s);
    t->last = t->last == s ? NULL : t->last;
    t->n--;
    free(s);
}

static struct seen *add(struct seen_table *t, const struct key *key, size_t bytes)
{
    struct seen *s = malloc(sizeof(*s) + bytes - sizeof(s->who));

    if (!s) {
        return NULL;
    }
    s->highest = 0;
    s->key_bytes = bytes;
    memcpy(&s->who, key, bytes);
    HASH_ADD(hh, t->by_key, who, bytes, s);
    if (!s->hh.tbl) {
        free(s);
        return NULL;
    }
    DL_APPEND(t->list, s);
    t->n++;
    if (t->n > SEEN_MAX) {
        forget(t, t->list);
    }
    return s;
}

static struct seen *find(struct seen_table *t, const struct key *key, size_t bytes)
{
    struct seen *s;

    HASH_FIND(hh, t->by_key, key, bytes, s);
    if (!s) {
        return add(t, key, bytes);
    }
    DL_DELETE(t->list, s);
    DL_APPEND(t->list, s);
    return s;
}

enum seen_verdict bus__seen(struct bus_conn *c, struct bus_sub *sub, const struct peer_name *sender,
                            const struct topic_name *topic, uint64_t sequence, uint32_t flags)
{
    struct seen_table *t = &sub->seen;
    struct key key;
    size_t bytes;

    if (sub->shares) {
        return SEEN_NEW; /* others have what is missing here: nothing follows from a number */
    }
    bytes = key_make(sub, sender, topic, &key);
    if (UNLIKELY(!is_of(t->last, &key, bytes))) {
        t->last = find(t, &key, bytes);
    }
    if (!t->last) {
        bus__fail(c, BUS_GOODBYE_NO_MEMORY, "out of memory");
        return SEEN_FAILED;
    }
    if (sequence > t->last->highest) {
        t->last->highest = sequence;
        return SEEN_NEW;
    }
    return flags & MESSAGE_RESENT ? SEEN_BEFORE : SEEN_NEW;
}

void bus__seen_fini(struct seen_table *t)
{
    while (t->list) {
        forget(t, t->list);
    }
}
