/* SPDX-License-Identifier: MIT */
/* What topics keep: clearing it, and where it ends for a new subscription. Asking for it is in
 * topic_handle.c and subscribe.c. */

#include <errno.h>
#include <string.h>
#include "client/conn.h"
#include "client/handlers.h"
#include "client/message.h"
#include "client/topic_handle.h"
#include "wire/topic.h"

static int clear(struct bus_conn *c, const struct wire_clear *m)
{
    int r = bus__connected(c);

    if (r < 0) {
        return r;
    }
    r = c->monitor.on_record ? -EBUSY : bus__room(c);
    return r < 0 ? r : bus__send(c, VERB_CLEAR, m, CONTROL_HEADER_MAX);
}

int bus_clear(struct bus_conn *conn, const char *topic)
{
    size_t len = topic ? strnlen(topic, BUS_TOPIC_MAX + 1) : 0;
    struct wire_clear m = {.topic = {topic, len}};

    return topic_valid(topic, len) ? clear(conn, &m) : -EINVAL;
}

int bus_topic_clear(struct bus_topic *topic)
{
    struct wire_clear m = {.alias = topic->alias, .topic = {"", 0}};

    return clear(topic->conn, &m);
}

int bus_message_is_retained(const struct bus_message *message)
{
    return (message->flags & MESSAGE_RETAINED) != 0;
}

/* ---- what the router says ---- */

void bus__on_clear_status(struct bus_conn *c, const struct wire_status *m)
{
    const struct bus_topic *t = bus__table_get(&c->aliases, m->alias);
    char name[BUS_TOPIC_MAX + 1];

    if (t) {
        memcpy(name, t->name, t->len + 1);
    }
    bus__tell_status(c, m, t ? name : NULL);
}

void bus__on_live(struct bus_conn *c, const struct wire_snapshot_end *m)
{
    struct bus_sub *sub = bus__table_get(&c->subs, m->subscription);

    if (!sub) {
        bus__fail_protocol(c, "SNAPSHOT_END for an unknown subscription");
        return;
    }
    if (sub->state >= SUB_ENDING || !sub->on_live) {
        return;
    }
    sub->busy++;
    sub->on_live(sub, m->messages, sub->userdata);
    (void) bus__sub_release(sub);
}
