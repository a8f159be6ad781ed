/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    printf("%s: %.*s\n", bus_message_topic(message), (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    fflush(stdout);
}

int main(void)
{
    struct bus_conn *conn;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_subscribe(conn, "sensors/+/temp", NULL, on_message, NULL, NULL);
    if (r == 0) {
        r = bus_flush(conn, 5000); /* the subscription is in force from here on */
    }
    if (r == 0) {
        puts("waiting for sensors/+/temp");
        fflush(stdout);
        r = bus_run(conn);
    }
    fprintf(stderr, "%s\n", strerror(-r));
    bus_close(conn);
    return 1;
}
