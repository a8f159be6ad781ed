/* SPDX-License-Identifier: MIT */
/* Functions of bus/bus.h that need no connection. */

#include <bus/bus.h>
#include <errno.h>
#include <string.h>
#include "base/macros.h"
#include "wire/topic.h"

/* A text of at most BUS_TOPIC_MAX bytes, measured without running over a long one. */
static size_t name_len(const char *s)
{
    return s ? strnlen(s, BUS_TOPIC_MAX + 1) : 0;
}

int bus_topic_valid(const char *topic)
{
    return topic_valid(topic, name_len(topic));
}

int bus_filter_valid(const char *filter)
{
    return filter_valid(filter, name_len(filter));
}

int bus_filter_matches(const char *filter, const char *topic)
{
    size_t filter_len = name_len(filter);
    size_t topic_len = name_len(topic);

    return filter_valid(filter, filter_len) && topic_valid(topic, topic_len) &&
           filter_matches(filter, filter_len, topic, topic_len);
}

#define X(name, number, text) [number] = text,
static const char *const status_texts[] = {BUS_STATUS_LIST(X)};
static const char *const goodbye_texts[] = {BUS_GOODBYE_LIST(X)};
static const char *const loss_texts[] = {BUS_LOSS_LIST(X)};
static const char *const verdict_texts[] = {BUS_VERDICT_LIST(X)};
static const char *const policy_texts[] = {BUS_POLICY_LIST(X)};
#undef X

/* The numbers come from the wire: any value is possible. */
static const char *text_of(const char *const *texts, size_t n, unsigned number)
{
    return number < n && texts[number] ? texts[number] : "unknown";
}

const char *bus_status_text(enum bus_status status)
{
    return text_of(status_texts, ARRAY_LEN(status_texts), (unsigned) status);
}

const char *bus_goodbye_text(enum bus_goodbye reason)
{
    return text_of(goodbye_texts, ARRAY_LEN(goodbye_texts), (unsigned) reason);
}

const char *bus_loss_text(enum bus_loss_reason reason)
{
    return text_of(loss_texts, ARRAY_LEN(loss_texts), (unsigned) reason);
}

const char *bus_verdict_text(enum bus_verdict verdict)
{
    return text_of(verdict_texts, ARRAY_LEN(verdict_texts), (unsigned) verdict);
}

int bus_policy_parse(const char *name, enum bus_policy *ret_policy)
{
    for (size_t i = 0; i < ARRAY_LEN(policy_texts); i++) {
        if (strcmp(policy_texts[i], name) == 0) {
            *ret_policy = (enum bus_policy) i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *bus_version(void)
{
    return BUS_VERSION;
}
