/* SPDX-License-Identifier: MIT */
/* The configuration of a router that runs: read anew, and swapped as a whole or not at all.
 * docs/decisions/035-configuration.md. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "log.h"
#include "parts.h"

int broker_settings(const struct options *o, struct router_settings *ret)
{
    *ret = (struct router_settings){
        .limits = o->limits,
        .overrides = o->quotas,
        .n_overrides = o->n_quotas,
    };
    return o->n_rules > 0 ? policy_new(o->rules, o->n_rules, &ret->policy) : 0;
}

/* Everything that can fail, before anything changes. */
static int read_anew(const struct options *running, struct options *ret,
                     struct router_settings *settings, struct failure *f)
{
    struct report report = {.out = NULL};
    int r = options_reload(ret, running, &report);

    if (r == OPTIONS_RUN) {
        r = broker_settings(ret, settings);
        return r < 0 ? failure_set(f, r, "the rules: %s", strerror(-r)) : 0;
    }
    if (r < 0) {
        return failure_set(f, r, "out of memory");
    }
    *f = report.first;
    if (report.n_errors > 1) {
        size_t len = strlen(f->text);

        (void) snprintf(f->text + len, sizeof(f->text) - len, " (and %u more; see --check)",
                        report.n_errors - 1);
    }
    return -EINVAL;
}

static void say_loaded(const struct broker *b)
{
    const struct options *o = b->options;
    char pending[PENDING_BYTES];

    log(LOG_INFO, LOG_CONFIG_LOADED, log_number("files", o->n_files),
        log_number("rules", o->n_rules), log_number("quotas", o->n_quotas));
    options_pending(b->started, o, pending, sizeof(pending));
    if (*pending) {
        log(LOG_WARN, LOG_CONFIG_PENDING, log_text("settings", pending),
            log_text("until", "--replace or a restart"));
    }
}

/* Takes over what *take is. */
static void broker_swap_options(struct broker *b, struct options **take)
{
    struct options *old = b->reloaded;

    b->options = b->reloaded = *take;
    *take = NULL;
    b->roster.n_max = b->options->limits.clients_max;
    log_set_level((enum log_level) b->options->log_level);
    if (old) {
        options_fini(old);
        free(old);
    }
}

static int reload(struct broker *b, struct failure *f)
{
    const struct now now = {clock_monotonic_ns(), clock_realtime_ns()};
    struct router_settings settings = {.policy = NULL};
    struct options *fresh = calloc(1, sizeof(*fresh));
    int r;

    if (!fresh) {
        return failure_set(f, -ENOMEM, "out of memory");
    }
    r = read_anew(b->started, fresh, &settings, f);
    if (r == 0) {
        names_forget(&b->names);
        r = router_reconfigure(b->router, &settings, &now);
        if (r < 0) {
            (void) failure_set(f, r, "%s", strerror(-r));
        }
    }
    policy_unref(settings.policy);
    if (r == 0) {
        broker_swap_options(b, &fresh);
        say_loaded(b);
    } else {
        options_fini(fresh);
        free(fresh);
    }
    return r;
}

int broker_reload(struct broker *b, struct failure *f)
{
    int r;

    service_reloading(&b->service);
    r = reload(b, f);
    router_count_reload(b->router, r == 0);
    if (r < 0) {
        log(LOG_ERROR, LOG_CONFIG_REJECTED, log_text("error", f->text));
    }
    service_reloaded(&b->service, r < 0 ? f->text : NULL);
    return r;
}

void broker_forget_options(struct broker *b)
{
    if (b->reloaded) {
        options_fini(b->reloaded);
        free(b->reloaded);
        b->reloaded = NULL;
    }
}
