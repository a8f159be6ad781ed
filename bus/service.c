/* SPDX-License-Identifier: MIT */
#include "service.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/macros.h"
#include "core/counters.h"

#define US_PER_MS UINT64_C(1000)

/* ---- texts ---- */

static void format_rate(char *buf, size_t bytes, uint64_t n)
{
    static const char *const suffixes[] = {"", "k", "M", "G"};
    uint64_t tenths = MIN(n, UINT64_MAX / 20) * 10;
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(suffixes) && tenths >= 10000) {
        tenths /= 1000;
        i++;
    }
    if (i == 0 || tenths >= 1000) {
        (void) snprintf(buf, bytes, "%" PRIu64 "%s", tenths / 10, suffixes[i]);
    } else {
        (void) snprintf(buf, bytes, "%" PRIu64 ".%" PRIu64 "%s", tenths / 10, tenths % 10,
                        suffixes[i]);
    }
}

/* A newline in it would be another notice. */
static void make_one_line(char *text)
{
    for (; *text; text++) {
        *text = (unsigned char) *text < ' ' ? ' ' : *text;
    }
}

void service_format_status(char buf[SERVICE_STATUS_BYTES], uint64_t clients, uint64_t per_second,
                           const char *problem)
{
    char rate[32];

    format_rate(rate, sizeof(rate), per_second);
    (void) snprintf(buf, SERVICE_STATUS_BYTES, "%" PRIu64 " client%s, %s messages/s%s%s", clients,
                    clients == 1 ? "" : "s", rate, *problem ? "; reload failed: " : "", problem);
    make_one_line(buf);
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;

    if (!text || *text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && !*end;
}

uint64_t service_watchdog_ms(const char *usec, const char *pid, pid_t self)
{
    uint64_t us, id;

    if (!parse_number(usec, &us) || us == 0 || us > INT64_MAX) {
        return 0;
    }
    if (pid && (!parse_number(pid, &id) || id != (uint64_t) self)) {
        return 0;
    }
    return MAX(us / 2 / US_PER_MS, UINT64_C(1));
}

/* ---- the beat ---- */

static uint64_t messages_now(const struct service *s)
{
    return router_counters(s->sessions->router)->messages_published;
}

/* Of what has come since it was counted last. */
static uint64_t messages_per_second(struct service *s)
{
    uint64_t now_ns = clock_monotonic_ns(), n = messages_now(s);
    uint64_t ms = MAX((now_ns - s->counted_ns) / NS_PER_MS, UINT64_C(1));
    uint64_t rate = (n - s->counted) * 1000 / ms;

    s->counted = n;
    s->counted_ns = now_ns;
    return rate;
}

static void status_update(struct service *s, char buf[SERVICE_STATUS_BYTES])
{
    const struct counters *c = router_counters(s->sessions->router);

    if (s->is_stopping) {
        (void) snprintf(buf, SERVICE_STATUS_BYTES,
                        "stopping: clients %zu, messages that wait %" PRIu64, s->sessions->n,
                        c->messages_queued_now);
    } else {
        service_format_status(buf, s->sessions->n, messages_per_second(s), s->problem);
    }
}

static void on_beat(uv_timer_t *handle)
{
    struct service *s = container_of(handle, struct service, beat);
    char status[SERVICE_STATUS_BYTES], text[NOTIFY_BYTES], extend[64] = "";
    bool is_owing = notify_retry(&s->notify), is_new;

    status_update(s, status);
    is_new = strcmp(status, s->status) != 0;
    memcpy(s->status, status, sizeof(status));
    if (s->is_stopping) {
        (void) snprintf(extend, sizeof(extend), "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n",
                        SERVICE_EXTEND_MS * US_PER_MS);
    }
    (void) snprintf(text, sizeof(text), "%s%s%s%s", s->has_watchdog ? "WATCHDOG=1\n" : "", extend,
                    is_new ? "STATUS=" : "", is_new ? status : "");
    if (*text) {
        notify_say(&s->notify, text);
    }
    (void) uv_timer_start(handle, on_beat,
                          is_owing ? MIN(SERVICE_RETRY_MS, s->beat_ms) : s->beat_ms, 0);
}

/* Says it, now or at a beat that is soon. */
static void change(struct service *s, const char *text)
{
    if (notify_is_open(&s->notify)) {
        notify_change(&s->notify, text);
        if (notify_retry(&s->notify)) {
            (void) uv_timer_start(&s->beat, on_beat, MIN(SERVICE_RETRY_MS, s->beat_ms), 0);
        }
    }
}

/* ---- lifecycle ---- */

/* A router that replaces this one is another process: of what is for this process alone it must see
 * nothing. Where to speak to, and how often, is for both. */
void service_open(struct service *s, uv_loop_t *uv, const struct sessions *sessions)
{
    uint64_t watchdog_ms =
        service_watchdog_ms(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"), getpid());

    *s = (struct service){
        .sessions = sessions,
        .has_watchdog = watchdog_ms > 0,
        .beat_ms = watchdog_ms > 0 ? MIN(watchdog_ms, SERVICE_STATUS_MS) : SERVICE_STATUS_MS,
        .counted_ns = clock_monotonic_ns(),
    };
    (void) unsetenv("WATCHDOG_PID");
    notify_open(&s->notify, getenv("NOTIFY_SOCKET"));
    (void) uv_timer_init(uv, &s->beat); /* cannot fail */
}

void service_close(struct service *s)
{
    uv_close((uv_handle_t *) &s->beat, NULL);
    notify_close(&s->notify);
}

/* ---- changes ---- */

void service_ready(struct service *s, bool has_replaced)
{
    char text[NOTIFY_BYTES], main_pid[48] = "";

    if (!notify_is_open(&s->notify)) {
        return;
    }
    s->counted = messages_now(s);
    service_format_status(s->status, s->sessions->n, 0, s->problem);
    if (has_replaced) {
        (void) snprintf(main_pid, sizeof(main_pid), "MAINPID=%ld\n", (long) getpid());
    }
    (void) snprintf(text, sizeof(text), "%sREADY=1\nSTATUS=%s%s", main_pid, s->status,
                    s->has_watchdog ? "\nWATCHDOG=1" : "");
    (void) uv_timer_start(&s->beat, on_beat, s->beat_ms, 0);
    change(s, text);
}

void service_reloading(struct service *s)
{
    char text[NOTIFY_BYTES];

    (void) snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                    clock_monotonic_ns() / 1000);
    change(s, text);
}

void service_reloaded(struct service *s, const char *problem)
{
    char text[NOTIFY_BYTES];

    (void) snprintf(s->problem, sizeof(s->problem), "%s", problem ? problem : "");
    if (!notify_is_open(&s->notify)) {
        return;
    }
    status_update(s, s->status);
    (void) snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", s->status);
    change(s, text);
}

void service_stopping(struct service *s)
{
    char text[NOTIFY_BYTES];

    s->is_stopping = true;
    if (!notify_is_open(&s->notify)) {
        return;
    }
    status_update(s, s->status);
    (void) snprintf(text, sizeof(text), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64 "\nSTATUS=%s",
                    SERVICE_EXTEND_MS * US_PER_MS, s->status);
    change(s, text);
}

/* Before this process ends, or its end would be that of the service. */
void service_leave_to(struct service *s, pid_t pid)
{
    char text[NOTIFY_BYTES];

    (void) snprintf(text, sizeof(text), "MAINPID=%ld", (long) pid);
    notify_last(&s->notify, text);
}
