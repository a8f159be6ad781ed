/* SPDX-License-Identifier: MIT */
#include "audit.h"
#include <string.h>
#include "base/macros.h"
#include "core/policy.h"
#include "log.h"

#define TEXT_BYTES 512u

/* Texts of the core have no NUL behind them. */
static const char *terminated(char dst[TEXT_BYTES], struct text t)
{
    size_t len = MIN(t.len, TEXT_BYTES - 1);

    if (len > 0) {
        memcpy(dst, t.data, len);
    }
    dst[len] = '\0';
    return dst;
}

static void on_denied(void *userdata, const struct denial *d)
{
    char name[TEXT_BYTES], topic[TEXT_BYTES], rule[TEXT_BYTES];

    (void) userdata;
    log(LOG_WARN, LOG_ACCESS_DENIED, log_number("id", d->connection_id), log_number("uid", d->uid),
        log_number("pid", d->pid), log_text("name", terminated(name, d->name)),
        log_text("verb", policy_verb_name(d->verb)), log_text("topic", terminated(topic, d->topic)),
        log_text("rule", terminated(rule, d->place)), log_text("text", d->why ? d->why : ""),
        log_text("right", d->is_lost ? "taken" : "missing"));
}

const struct router_events audit_events = {.denied = on_denied};
