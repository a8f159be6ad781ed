/* SPDX-License-Identifier: MIT */
/* Sessions that come back to a router that was started again: until they have, what is published is
 * held. docs/protocol.md, section 16. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "core/image.h"
#include "core/state.h"

static uint32_t id_hash(const struct router *r, const struct session_id *id)
{
    uint64_t words[2] = {(uint64_t) id->uid << 32 | id->pid, id->session};

    return table_hash(&r->expected, 0, words, sizeof(words));
}

static bool id_equals(const void *object, const void *key)
{
    const struct session_id *a = object, *b = key;

    return a->uid == b->uid && a->pid == b->pid && a->session == b->session;
}

static struct session_id id_of(const struct peer *p)
{
    return (struct session_id){p->info.uid, p->info.pid, p->sender->session};
}

static struct session_id *expected_find(const struct router *r, const struct session_id *id)
{
    return table_find(&r->expected, id_hash(r, id), id_equals, id);
}

void expected_forget(struct router *r)
{
    table_fini(&r->expected);
    free(r->expected_ids);
    r->expected_ids = NULL;
    r->hold_ns = 0;
}

int router_expect(struct router *r, const struct session_id *ids, size_t n, uint64_t until_ns)
{
    table_init(&r->expected, r->config.hash_seed);
    r->expected_ids = calloc(n ? n : 1, sizeof(*ids));
    if (!r->expected_ids) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        r->expected_ids[i] = ids[i];
        if (expected_find(r, &ids[i])) {
            continue;
        }
        if (table_prepare(&r->expected) < 0) {
            expected_forget(r);
            return -ENOMEM;
        }
        table_insert(&r->expected, id_hash(r, &ids[i]), &r->expected_ids[i]);
    }
    r->hold_ns = until_ns;
    return 0;
}

bool router_is_holding(const struct router *r)
{
    return r->expected.n > 0;
}

/* Their links go on with what they have, in turn. */
static void hold_end(struct router *r)
{
    struct peer *p;

    expected_forget(r);
    DL_FOREACH (r->peers, p) {
        if (p->is_held) {
            p->is_held = false;
            parcels_watch(p);
            peer_mark_dirty(p);
        }
    }
}

void router_unexpect(struct router *r, const struct session_id *id)
{
    struct session_id *expected = expected_find(r, id);

    if (!expected) {
        return;
    }
    table_remove(&r->expected, id_hash(r, id), expected);
    if (r->expected.n == 0) {
        hold_end(r);
    }
}

void restored_handle(struct peer *p, const struct wire_restored *m)
{
    const struct session_id id = id_of(p);
    struct wire_status status = {
        .code = BUS_STATUS_INVALID_ARGUMENT, .verb = VERB_RESTORED, .text = text_from("flags")};

    if (m->flags != 0) {
        peer_send_status(p, &status);
    } else if (router_is_holding(p->router)) {
        router_unexpect(p->router, &id);
    }
}

uint64_t hold_deadline(const struct router *r)
{
    return router_is_holding(r) ? r->hold_ns : UINT64_MAX;
}

void hold_expire(struct router *r, uint64_t now_ns)
{
    if (hold_deadline(r) <= now_ns) {
        hold_end(r);
    }
}

bool hold_begins(struct peer *p, const uint8_t *data, size_t len)
{
    uint8_t verb = len >= FRAME_PREFIX_BYTES ? frame_peek_verb(data) : 0;

    if (p->state != PEER_READY || !router_is_holding(p->router) ||
        (verb != VERB_PUBLISH && verb != VERB_REQUEST && verb != VERB_CLEAR)) {
        return false;
    }
    p->is_held = true;
    parcels_unwatch(p); /* it is not the client that is late */
    return true;
}

/* ---- who would come back ---- */

void returns_greeted(struct peer *p, const struct wire_hello *m)
{
    const struct session_ops *ops = p->router->config.sessions;
    const struct session_id id = id_of(p);

    if (ops && id.session != 0 && (m->features & FEATURE_RETURNS)) {
        p->comes_back = true;
        ops->begun(p->router->config.sessions_userdata, &id);
    }
}

void returns_ended(struct peer *p)
{
    const struct session_id id = id_of(p);

    if (p->comes_back) {
        p->comes_back = false;
        p->router->config.sessions->ended(p->router->config.sessions_userdata, &id);
    }
}

void router_list_returning(const struct router *r)
{
    const struct session_ops *ops = r->config.sessions;
    const struct peer *p;

    DL_FOREACH (r->peers, p) {
        const struct session_id id = id_of(p);

        if (ops && p->comes_back) {
            ops->begun(r->config.sessions_userdata, &id);
        }
    }
}
