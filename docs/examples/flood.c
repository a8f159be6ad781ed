/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COUNT 100000

int main(void)
{
    struct bus_conn *conn;
    struct bus_topic *topic;
    char text[16];
    int waits = 0;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_advertise(conn, "numbers", &topic);
    bus_cork(conn); /* sent in large pieces, not one by one */
    for (int i = 1; i <= COUNT && r == 0; i++) {
        snprintf(text, sizeof(text), "%d", i);
        while ((r = bus_topic_publish(topic, text, strlen(text), NULL)) == -EAGAIN) {
            waits++;
            r = bus_wait_writable(conn, -1);
            if (r < 0) {
                break;
            }
        }
    }
    bus_uncork(conn);
    if (r == 0) {
        r = bus_flush(conn, -1);
    }
    printf("published %d, waited %d times\n", (int) bus_sequence(conn), waits);
    bus_close(conn);
    return r < 0;
}
