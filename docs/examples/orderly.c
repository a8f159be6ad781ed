/* SPDX-License-Identifier: MIT */
#include <bus/drain.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t told;

static void on_signal(int number)
{
    (void) number;
    told = 1;
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    printf("%.*s\n", (int) bus_message_bytes(message), (const char *) bus_message_data(message));
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
    signal(SIGTERM, on_signal);
    r = bus_subscribe(conn, "orders", NULL, on_message, NULL, NULL);
    if (r == 0) {
        r = bus_flush(conn, 5000);
    }
    if (r == 0) {
        puts("ready");
        fflush(stdout);
    }
    while (r >= 0 && !told) {
        r = bus_process(conn);
        if (r == 0) {
            (void) bus_wait(conn, 100); /* looks at told now and then */
        }
    }
    if (r >= 0) {
        r = bus_drain(conn, 5000);
    }
    puts(r == 0 ? "finished" : strerror(-r));
    bus_close(conn);
    return r == 0 ? 0 : 1;
}
