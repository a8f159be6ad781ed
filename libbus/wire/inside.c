/* SPDX-License-Identifier: MIT */
#include "wire/inside.h"
#include "base/macros.h"

/* ---- the tables ---- */

#define IS_TEXT_TEXT true
#define IS_TEXT_NUMBER false
#define IS_TEXT_POLICY false
#define IS_TEXT_GOODBYE false
#define IS_TEXT_LINK false
#define IS_TEXT_STATE false
#define IS_TEXT_SLOW false

#define FIELD(type, number, kind, name) {number, IS_TEXT_##kind, offsetof(struct type, name)},

static const struct inside_field client_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_client, number, kind, name)
    BUS_INSIDE_CLIENT_FIELDS(X)
#undef X
};
static const struct inside_field topic_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_topic, number, kind, name)
    BUS_INSIDE_TOPIC_FIELDS(X)
#undef X
};
static const struct inside_field subscription_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_subscription, number, kind, name)
    BUS_INSIDE_SUBSCRIPTION_FIELDS(X)
#undef X
};
static const struct inside_field group_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_group, number, kind, name)
    BUS_INSIDE_GROUP_FIELDS(X)
#undef X
};
static const struct inside_field quota_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_quota, number, kind, name)
    BUS_INSIDE_QUOTA_FIELDS(X)
#undef X
};
static const struct inside_field closed_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_closed, number, kind, name)
    BUS_INSIDE_CLOSED_FIELDS(X)
#undef X
};
static const struct inside_field counter_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_counter, number, kind, name)
    BUS_INSIDE_COUNTER_FIELDS(X)
#undef X
};
static const struct inside_field query_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_query, number, kind, name)
    BUS_INSIDE_QUERY_FIELDS(X)
#undef X
};
static const struct inside_field disconnect_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_disconnect, number, kind, name)
    BUS_INSIDE_DISCONNECT_FIELDS(X)
#undef X
};
static const struct inside_field controlled_fields[] = {
#define X(number, kind, name, meaning) FIELD(inside_controlled, number, kind, name)
    BUS_INSIDE_CONTROLLED_FIELDS(X)
#undef X
};

#define LAYOUT(fields, type)                                                                       \
    {                                                                                              \
        fields, ARRAY_LEN(fields), sizeof(struct type)                                             \
    }

const struct inside_layout inside_query_layout = LAYOUT(query_fields, inside_query);
const struct inside_layout inside_disconnect_layout = LAYOUT(disconnect_fields, inside_disconnect);
const struct inside_layout inside_controlled_layout = LAYOUT(controlled_fields, inside_controlled);

static const struct inside_layout layouts[BUS_INSIDE_LISTS_END] = {
    [BUS_INSIDE_CLIENTS] = LAYOUT(client_fields, inside_client),
    [BUS_INSIDE_TOPICS] = LAYOUT(topic_fields, inside_topic),
    [BUS_INSIDE_SUBSCRIPTIONS] = LAYOUT(subscription_fields, inside_subscription),
    [BUS_INSIDE_GROUPS] = LAYOUT(group_fields, inside_group),
    [BUS_INSIDE_QUOTAS] = LAYOUT(quota_fields, inside_quota),
    [BUS_INSIDE_CLOSED] = LAYOUT(closed_fields, inside_closed),
    [BUS_INSIDE_COUNTERS] = LAYOUT(counter_fields, inside_counter),
};

const struct inside_layout *inside_layout_of(unsigned list)
{
    return list < BUS_INSIDE_LISTS_END && layouts[list].fields ? &layouts[list] : NULL;
}

/* ---- topics ---- */

static bool is(struct text topic, const char *name)
{
    return topic.len == strlen(name) && memcmp(topic.data, name, topic.len) == 0;
}

unsigned inside_list_of(struct text topic)
{
#define X(name, number, level, table)                                                              \
    if (is(topic, BUS_INSIDE_PREFIX #level)) {                                                     \
        return number;                                                                             \
    }
    BUS_INSIDE_LISTS(X)
#undef X
    return 0;
}

unsigned inside_control_of(struct text topic)
{
    return is(topic, BUS_INSIDE_PREFIX "control/reload")       ? INSIDE_RELOAD
           : is(topic, BUS_INSIDE_PREFIX "control/drain")      ? INSIDE_DRAIN
           : is(topic, BUS_INSIDE_PREFIX "control/disconnect") ? INSIDE_DISCONNECT
                                                               : 0;
}

/* ---- messages ---- */

static const void *place(const void *message, const struct inside_field *f)
{
    return (const char *) message + f->at;
}

static size_t field_bytes(const void *message, const struct inside_field *f)
{
    size_t tag = f->number < 16 ? 1 : 2;

    if (f->is_text) {
        const struct text *t = place(message, f);

        return t->len ? tag + pb_varint_bytes(t->len) + t->len : 0;
    } else {
        uint64_t v = *(const uint64_t *) place(message, f);

        return v ? tag + pb_varint_bytes(v) : 0;
    }
}

static size_t message_bytes(const struct inside_layout *layout, const void *message)
{
    size_t n = 0;

    for (unsigned i = 0; i < layout->n_fields; i++) {
        n += field_bytes(message, &layout->fields[i]);
    }
    return n;
}

static uint8_t *message_put(uint8_t *p, const struct inside_layout *layout, const void *message)
{
    for (unsigned i = 0; i < layout->n_fields; i++) {
        const struct inside_field *f = &layout->fields[i];

        if (f->is_text) {
            p = pb_put_text(p, f->number, *(const struct text *) place(message, f));
        } else {
            p = pb_put_number(p, f->number, *(const uint64_t *) place(message, f));
        }
    }
    return p;
}

size_t inside_encode(const struct inside_layout *layout, const void *message, uint8_t *dst,
                     size_t cap)
{
    return message_bytes(layout, message) <= cap
               ? (size_t) (message_put(dst, layout, message) - dst)
               : 0;
}

static bool take_field(const struct inside_layout *layout, const struct pb_field *f, void *ret)
{
    for (unsigned i = 0; i < layout->n_fields; i++) {
        const struct inside_field *known = &layout->fields[i];
        char *at = (char *) ret + known->at;

        if (known->number != f->number) {
            continue;
        }
        if (f->kind != (known->is_text ? PB_BYTES : PB_VARINT)) {
            return false;
        }
        if (known->is_text) {
            memcpy(at, &f->bytes, sizeof(f->bytes));
        } else {
            memcpy(at, &f->value, sizeof(f->value));
        }
    }
    return true; /* or it is of a later version */
}

static void message_clear(const struct inside_layout *layout, void *ret)
{
    const struct text empty = {"", 0};

    memset(ret, 0, layout->bytes);
    for (unsigned i = 0; i < layout->n_fields; i++) {
        if (layout->fields[i].is_text) {
            memcpy((char *) ret + layout->fields[i].at, &empty, sizeof(empty));
        }
    }
}

bool inside_decode(const struct inside_layout *layout, const uint8_t *data, size_t bytes, void *ret)
{
    struct pb_reader in = {data, data + bytes};
    struct pb_field field;

    message_clear(layout, ret);
    while (in.p < in.end) {
        if (!pb_next(&in, &field) || !take_field(layout, &field, ret)) {
            return false;
        }
    }
    return true;
}

/* ---- pages ---- */

enum { PAGE_ENTRIES = 1, PAGE_NEXT = 2, PAGE_TIME = 3 };
#define PAGE_END_MAX (2u * PB_NUMBER_MAX)

bool inside_page_add(struct inside_page *page, const struct inside_layout *layout,
                     const void *entry)
{
    size_t bytes = message_bytes(layout, entry);
    uint8_t *p = page->dst + page->len;

    if (1 + pb_varint_bytes(bytes) + bytes + PAGE_END_MAX > page->cap - page->len) {
        return false;
    }
    p = pb_put_varint(pb_put_varint(p, PAGE_ENTRIES << 3 | PB_BYTES), bytes);
    page->len = (size_t) (message_put(p, layout, entry) - page->dst);
    return true;
}

void inside_page_end(struct inside_page *page, uint64_t next, uint64_t time_ns)
{
    uint8_t *p = pb_put_number(page->dst + page->len, PAGE_NEXT, next);

    page->len = (size_t) (pb_put_number(p, PAGE_TIME, time_ns) - page->dst);
}

enum inside_step inside_page_next(struct inside_page_reader *page,
                                  const struct inside_layout *layout, void *ret)
{
    struct pb_field f;

    while (page->in.p < page->in.end) {
        if (!pb_next(&page->in, &f)) {
            return INSIDE_MALFORMED;
        }
        if (f.number == PAGE_ENTRIES) {
            return f.kind == PB_BYTES &&
                           inside_decode(layout, (const uint8_t *) f.bytes.data, f.bytes.len, ret)
                       ? INSIDE_ENTRY
                       : INSIDE_MALFORMED;
        }
        if (f.number == PAGE_NEXT || f.number == PAGE_TIME) {
            if (f.kind != PB_VARINT) {
                return INSIDE_MALFORMED;
            }
            *(f.number == PAGE_NEXT ? &page->next : &page->time_ns) = f.value;
        }
    }
    return INSIDE_END;
}
