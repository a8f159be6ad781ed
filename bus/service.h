/* SPDX-License-Identifier: MIT */
#pragma once
/* What the router says of itself to the service manager that started it, if one did: that it is
 * ready, reloading, stopping, how it does, and, from its own loop, that it is alive. Owned by the
 * broker. Without $NOTIFY_SOCKET nothing of it costs anything. docs/service.md. */

#include <uv.h>
#include "notify.h"
#include "session.h"

/* How often the status is told, if it has changed. */
#define SERVICE_STATUS_MS UINT64_C(10000)
/* How soon a notice is tried again that the manager has not taken. */
#define SERVICE_RETRY_MS UINT64_C(100)
/* While the router drains, the manager is asked for so much more time at each beat. */
#define SERVICE_EXTEND_MS UINT64_C(30000)

#define SERVICE_STATUS_BYTES 512u

struct service {
    struct notify notify;
    const struct sessions *sessions; /* not owned; outlive the service, as their router does */
    uv_timer_t beat;
    uint64_t beat_ms;
    bool has_watchdog;
    bool is_stopping;
    uint64_t counted;                   /* messages, at the last beat */
    uint64_t counted_ns;                /* when that was */
    char problem[SERVICE_STATUS_BYTES]; /* why the last reload has failed; "": it has not */
    char status[SERVICE_STATUS_BYTES];  /* what was told last */
};

/* Reads the environment, and takes out of it what concerns this process only. Cannot fail. */
void service_open(struct service *s, uv_loop_t *uv, const struct sessions *sessions);
/* Ends the handle; the struct may go when uv_run() has returned. */
void service_close(struct service *s);

/* Clients can connect. has_replaced: it took the place of another process. */
void service_ready(struct service *s, bool has_replaced);
/* The configuration is read anew; and how that went: NULL, or what is wrong with it. */
void service_reloading(struct service *s);
void service_reloaded(struct service *s, const char *problem);
/* It serves on until nothing waits. */
void service_stopping(struct service *s);
/* That process is the router now, and this one ends. */
void service_leave_to(struct service *s, pid_t pid);

/* ---- for tests ---- */

/* "1 client, 3.4k messages/s; …" */
void service_format_status(char buf[SERVICE_STATUS_BYTES], uint64_t clients, uint64_t per_second,
                           const char *problem);
/* Half the time that the manager grants, in ms; 0 if it does not watch this process. */
uint64_t service_watchdog_ms(const char *usec, const char *pid, pid_t self);
