/* SPDX-License-Identifier: MIT */
/* Events of the router, readable. */

#include <bus/events.h>
#include "sub_format.h"

/* Only the router has this number, and only it publishes there. */
static bool is_told(const struct bus_message *message, const char *filter)
{
    return bus_message_sender(message)->connection_id == 0 &&
           bus_filter_matches(filter, bus_message_topic(message));
}

static bool is_client(const struct bus_message *message, struct bus_client_event *ret)
{
    return is_told(message, BUS_EVENTS_CLIENTS) &&
           bus_client_event_parse(bus_message_data(message), bus_message_bytes(message), ret) == 0;
}

static bool is_denied(const struct bus_message *message, struct bus_denied_event *ret)
{
    return is_told(message, BUS_EVENTS_DENIED) &&
           bus_denied_event_parse(bus_message_data(message), bus_message_bytes(message), ret) == 0;
}

static bool is_quota(const struct bus_message *message, struct bus_quota_event *ret)
{
    return is_told(message, BUS_EVENTS_QUOTA) &&
           bus_quota_event_parse(bus_message_data(message), bus_message_bytes(message), ret) == 0;
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

static void text_denied(struct out *o, const struct bus_denied_event *e)
{
    out_text(o, e->taken ? "denied from now on: " : "denied: ");
    out_text(o, e->verb);
    out_byte(o, ' ');
    out_text(o, e->topic);
    out_text(o, " by ");
    out_text(o, e->name);
    number(o, " pid=", e->pid);
    number(o, " uid=", e->uid);
    number(o, " conn=", e->connection_id);
    out_text(o, ": ");
    out_text(o, e->rule);
    out_text(o, *e->rule && *e->text ? ": " : "");
    out_text(o, e->text);
    if (e->left_out > 0) {
        number(o, "; and ", e->left_out);
        out_text(o, " more before");
    }
}

static void text_client(struct out *o, const struct bus_client_event *e)
{
    out_text(o, kind_text(e));
    out_byte(o, ' ');
    out_text(o, e->name);
    number(o, " pid=", e->pid);
    number(o, " uid=", e->uid);
    number(o, " conn=", e->connection_id);
    if (e->kind == BUS_CLIENT_LEFT) {
        out_text(o, ": ");
        out_text(o, bus_goodbye_text(e->reason));
        out_text(o, *e->text ? ": " : "");
        out_text(o, e->text);
    }
}

static void text_quota(struct out *o, const struct bus_quota_event *e)
{
    out_text(o, "exceeded: ");
    out_text(o, e->slot);
    number(o, " uid=", e->uid);
    number(o, " conn=", e->connection_id);
    number(o, " used=", e->used);
    number(o, " of ", e->limit);
    number(o, " requested=", e->requested);
    number(o, " times=", e->times);
    for (uint32_t i = 0; i < e->n_holders; i++) {
        out_text(o, i == 0 ? "; most is held by" : ",");
        out_text(o, *e->holders[i].name ? " " : "");
        out_text(o, e->holders[i].name);
        number(o, " uid=", e->holders[i].uid);
        number(o, " conn=", e->holders[i].connection_id);
        number(o, ": ", e->holders[i].used);
    }
}

bool event_text(struct out *o, const struct bus_message *message)
{
    struct bus_quota_event quota = BUS_QUOTA_EVENT_INIT;
    struct bus_denied_event denied = BUS_DENIED_EVENT_INIT;
    struct bus_client_event client = BUS_CLIENT_EVENT_INIT;

    if (is_client(message, &client)) {
        text_client(o, &client);
        return true;
    }
    if (is_denied(message, &denied)) {
        text_denied(o, &denied);
        return true;
    }
    if (is_quota(message, &quota)) {
        text_quota(o, &quota);
        return true;
    }
    return false;
}

static void json_client(struct out *o, const struct bus_client_event *e)
{
    out_text(o, ",\"event\":{\"kind\":\"");
    out_text(o, kind_text(e));
    number(o, "\",\"id\":", e->connection_id);
    out_text(o, ",\"name\":");
    json_text(o, e->name);
    number(o, ",\"pid\":", e->pid);
    number(o, ",\"uid\":", e->uid);
    number(o, ",\"gid\":", e->gid);
    if (e->kind == BUS_CLIENT_LEFT) {
        number(o, ",\"reason\":", e->reason);
        out_text(o, ",\"reason_text\":");
        json_text(o, bus_goodbye_text(e->reason));
        out_text(o, ",\"text\":");
        json_text(o, e->text);
    }
    out_byte(o, '}');
}

static void field(struct out *o, const char *name, const char *text)
{
    out_text(o, name);
    json_text(o, text);
}

static void json_denied(struct out *o, const struct bus_denied_event *e)
{
    out_text(o, ",\"event\":{\"kind\":\"denied\",\"taken\":");
    out_text(o, e->taken ? "true" : "false");
    number(o, ",\"id\":", e->connection_id);
    field(o, ",\"name\":", e->name);
    number(o, ",\"pid\":", e->pid);
    number(o, ",\"uid\":", e->uid);
    number(o, ",\"gid\":", e->gid);
    field(o, ",\"verb\":", e->verb);
    field(o, ",\"topic\":", e->topic);
    field(o, ",\"rule\":", e->rule);
    field(o, ",\"text\":", e->text);
    number(o, ",\"left_out\":", e->left_out);
    out_byte(o, '}');
}

static void json_quota(struct out *o, const struct bus_quota_event *e)
{
    out_text(o, ",\"event\":{\"kind\":\"quota\"");
    field(o, ",\"slot\":", e->slot);
    number(o, ",\"uid\":", e->uid);
    number(o, ",\"id\":", e->connection_id);
    number(o, ",\"limit\":", e->limit);
    number(o, ",\"used\":", e->used);
    number(o, ",\"requested\":", e->requested);
    number(o, ",\"times\":", e->times);
    out_text(o, ",\"holders\":[");
    for (uint32_t i = 0; i < e->n_holders; i++) {
        number(o, i == 0 ? "{\"uid\":" : ",{\"uid\":", e->holders[i].uid);
        number(o, ",\"id\":", e->holders[i].connection_id);
        field(o, ",\"name\":", e->holders[i].name);
        number(o, ",\"used\":", e->holders[i].used);
        out_byte(o, '}');
    }
    out_text(o, "]}");
}

void event_json(struct out *o, const struct bus_message *message)
{
    struct bus_quota_event quota = BUS_QUOTA_EVENT_INIT;
    struct bus_denied_event denied = BUS_DENIED_EVENT_INIT;
    struct bus_client_event client = BUS_CLIENT_EVENT_INIT;

    if (is_client(message, &client)) {
        json_client(o, &client);
    } else if (is_denied(message, &denied)) {
        json_denied(o, &denied);
    } else if (is_quota(message, &quota)) {
        json_quota(o, &quota);
    }
}
