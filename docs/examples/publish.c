/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const char *reading = "21.5";
    struct bus_conn *conn;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_publish(conn, "sensors/kitchen/temp", reading, strlen(reading));
    if (r == 0) {
        r = bus_flush(conn, 5000); /* until the router has handled it */
    }
    bus_close(conn);
    if (r < 0) {
        fprintf(stderr, "cannot publish: %s\n", strerror(-r));
    }
    return r < 0;
}
