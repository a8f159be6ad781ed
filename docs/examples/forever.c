/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    printf("%s: %.*s\n", bus_message_topic(message), (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    fflush(stdout);
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    (void) conn;
    (void) userdata;
    printf("closed: %s (%s)\n", bus_goodbye_text(reason), text);
    fflush(stdout);
}

/* One connection, from its beginning to its end. */
static int serve(void)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    int r;

    opts.on_closed = on_closed;
    r = bus_open(NULL, &opts, &conn);
    if (r < 0) {
        return r;
    }
    r = bus_subscribe(conn, "jobs/#", NULL, on_message, NULL, NULL);
    if (r == 0) {
        r = bus_flush(conn, 5000);
    }
    if (r == 0) {
        puts("ready");
        fflush(stdout);
        r = bus_run(conn);
    }
    bus_close(conn);
    return r;
}

int main(void)
{
    for (;;) {
        (void) serve();
        sleep(1);
    }
}
