/* SPDX-License-Identifier: MIT */
#include "ctl_json.h"

#include <inttypes.h>
#include <string.h>
#include "json.h"
#include "words.h"

static void put_text(FILE *out, const char *value)
{
    json_string(out, value, strlen(value));
}

static void put_number(FILE *out, uint64_t value)
{
    (void) fprintf(out, "%" PRIu64, value);
}

#define PUT_WORD(kind)                                                                             \
    static void put_##kind(FILE *out, uint64_t value)                                              \
    {                                                                                              \
        char word[WORD_BYTES];                                                                     \
                                                                                                   \
        put_text(out, word_of_##kind(value, word));                                                \
    }
PUT_WORD(policy)
PUT_WORD(goodbye)
PUT_WORD(link)
PUT_WORD(state)
PUT_WORD(slow)

#define PUT_TEXT put_text
#define PUT_NUMBER put_number
#define PUT_POLICY put_policy
#define PUT_GOODBYE put_goodbye
#define PUT_LINK put_link
#define PUT_STATE put_state
#define PUT_SLOW put_slow

#define MEMBER(number, kind, name, meaning)                                                        \
    (void) fputs(number == 1 ? "{\"" #name "\":" : ",\"" #name "\":", out);                        \
    PUT_##kind(out, e->name);

#define PUT_ENTRY(type, table)                                                                     \
    static void put_entry_##type(FILE *out, const struct bus_inside_##type *e)                     \
    {                                                                                              \
        BUS_INSIDE_##table##_FIELDS(MEMBER)                                                        \
    }
PUT_ENTRY(client, CLIENT)
PUT_ENTRY(topic, TOPIC)
PUT_ENTRY(subscription, SUBSCRIPTION)
PUT_ENTRY(group, GROUP)
PUT_ENTRY(quota, QUOTA)
PUT_ENTRY(closed, CLOSED)
PUT_ENTRY(counter, COUNTER)

static void put_rates(FILE *out, const struct bus_inside_entry *e, const double *rates)
{
    if (e->counter) {
        (void) fprintf(out, ",\"value_per_s\":%.3f", rates[RATE_VALUE]);
    } else {
        (void) fprintf(out,
                       ",\"published_messages_per_s\":%.3f,\"delivered_messages_per_s\":%.3f,"
                       "\"lost_messages_per_s\":%.3f",
                       rates[RATE_PUBLISHED], rates[RATE_DELIVERED], rates[RATE_LOST]);
    }
}

void ctl_json_entry(FILE *out, const struct bus_inside_entry *entry, const double *rates)
{
    if (entry->client) {
        put_entry_client(out, entry->client);
    } else if (entry->topic) {
        put_entry_topic(out, entry->topic);
    } else if (entry->subscription) {
        put_entry_subscription(out, entry->subscription);
    } else if (entry->group) {
        put_entry_group(out, entry->group);
    } else if (entry->quota) {
        put_entry_quota(out, entry->quota);
    } else if (entry->closed) {
        put_entry_closed(out, entry->closed);
    } else {
        put_entry_counter(out, entry->counter);
    }
    if (rates) {
        put_rates(out, entry, rates);
    }
    (void) fputs("}\n", out);
}

void ctl_json_result(FILE *out, const char *command, const struct bus_control_result *result)
{
    char status[WORD_BYTES];

    (void) fputs("{\"command\":", out);
    put_text(out, command);
    (void) fputs(",\"status\":", out);
    put_text(out, word_of_status(result->status, status));
    (void) fprintf(out, ",\"error\":%" PRIu32 ",\"text\":", result->error);
    put_text(out, result->text);
    (void) fputs("}\n", out);
}
