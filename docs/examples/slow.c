/* SPDX-License-Identifier: MIT */
#include <bus/inside.h>
#include <stdio.h>
#include <string.h>

/* For each client, and at the end with entry NULL. */
static void on_entry(struct bus_conn *conn, const struct bus_inside_entry *entry,
                     enum bus_status status, const char *text, void *userdata)
{
    int *failed = userdata;

    if (!entry) {
        *failed = status != BUS_STATUS_OK;
        if (*failed) {
            printf("%s: %s\n", bus_status_text(status), text);
        }
        bus_stop(conn);
        return;
    }
    printf("%s: %s", entry->client->name, bus_slow_text((enum bus_slow) entry->client->slow));
    if (entry->client->slow_messages > 0) {
        printf(", %d messages wait", (int) entry->client->slow_messages);
    }
    printf("\n");
}

int main(void)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    int failed = 1;
    int r;

    opts.name = "slow";
    r = bus_open(NULL, &opts, &conn);
    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_inside(conn, BUS_INSIDE_CLIENTS, NULL, on_entry, &failed);
    r = r < 0 ? r : bus_run(conn);
    bus_close(conn);
    return r < 0 || failed;
}
