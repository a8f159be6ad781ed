/* SPDX-License-Identifier: MIT */
#include "audit.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/macros.h"
#include "core/policy.h"
#include "log.h"
#include "wire/quota_event.h"

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

/* "uid 1001 conn 7: 123; …" */
static const char *holders_text(char dst[TEXT_BYTES], const struct quota_event *e)
{
    size_t n = 0;

    *dst = '\0';
    for (uint32_t i = 0; i < e->n_holders; i++) {
        const struct quota_holder *h = &e->holders[i];
        int len =
            snprintf(dst + n, TEXT_BYTES - n, "%suid %" PRIu32 " conn %" PRIu64 "%s%.*s: %" PRIu64,
                     i ? "; " : "", h->uid, h->connection_id, h->name.len > 0 ? " " : "",
                     (int) h->name.len, h->name.data, h->used);

        n = MIN(n + (size_t) MAX(len, 0), TEXT_BYTES - 1);
    }
    return dst;
}

static void on_quota(void *userdata, const struct quota_event *e)
{
    char slot[TEXT_BYTES], holders[TEXT_BYTES];

    (void) userdata;
    log(LOG_WARN, LOG_QUOTA_EXCEEDED, log_number("uid", e->uid), log_number("id", e->connection_id),
        log_text("slot", terminated(slot, e->slot)), log_number("limit", e->limit),
        log_number("used", e->used), log_number("requested", e->requested),
        log_number("times", e->times), log_text("holders", holders_text(holders, e)));
}

const struct router_events audit_events = {.denied = on_denied, .quota = on_quota};
