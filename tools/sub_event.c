/* SPDX-License-Identifier: MIT */
/* Events of the router, readable. */

#include <bus/events.h>
#include "sub_format.h"

/* Only the router has this number, and only it publishes there. */
static bool is_event(const struct bus_message *message, struct bus_client_event *ret)
{
    return bus_message_sender(message)->connection_id == 0 &&
           bus_filter_matches(BUS_EVENTS_CLIENTS, bus_message_topic(message)) &&
           bus_client_event_parse(bus_message_data(message), bus_message_bytes(message), ret) == 0;
}

static void number(struct out *o, const char *name, uint64_t value)
{
    out_text(o, name);
    out_u64(o, value);
}

static const char *kind_text(const struct bus_client_event *e)
{
    return e->kind == BUS_CLIENT_JOINED ? "joined" : e->kind == BUS_CLIENT_LEFT ? "left" : "other";
}

bool event_text(struct out *o, const struct bus_message *message)
{
    struct bus_client_event e = BUS_CLIENT_EVENT_INIT;

    if (!is_event(message, &e)) {
        return false;
    }
    out_text(o, kind_text(&e));
    out_byte(o, ' ');
    out_text(o, e.name);
    number(o, " pid=", e.pid);
    number(o, " uid=", e.uid);
    number(o, " conn=", e.connection_id);
    if (e.kind == BUS_CLIENT_LEFT) {
        out_text(o, ": ");
        out_text(o, bus_goodbye_text(e.reason));
        out_text(o, *e.text ? ": " : "");
        out_text(o, e.text);
    }
    return true;
}

void event_json(struct out *o, const struct bus_message *message)
{
    struct bus_client_event e = BUS_CLIENT_EVENT_INIT;

    if (!is_event(message, &e)) {
        return;
    }
    out_text(o, ",\"event\":{\"kind\":\"");
    out_text(o, kind_text(&e));
    number(o, "\",\"id\":", e.connection_id);
    out_text(o, ",\"name\":");
    json_text(o, e.name);
    number(o, ",\"pid\":", e.pid);
    number(o, ",\"uid\":", e.uid);
    number(o, ",\"gid\":", e.gid);
    if (e.kind == BUS_CLIENT_LEFT) {
        number(o, ",\"reason\":", e.reason);
        out_text(o, ",\"reason_text\":");
        json_text(o, bus_goodbye_text(e.reason));
        out_text(o, ",\"text\":");
        json_text(o, e.text);
    }
    out_byte(o, '}');
}
