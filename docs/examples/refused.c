/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

static void on_status(struct bus_conn *conn, const struct bus_status_event *event, void *userdata)
{
    (void) conn;
    (void) userdata;
    printf("message %d to %s: %s (%s)\n", (int) event->sequence,
           event->topic ? event->topic : "a topic", bus_status_text(event->status), event->text);
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    (void) userdata;
    printf("%s: %s (%s)\n", bus_sub_filter(sub), bus_status_text(status), text);
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) message;
    (void) userdata;
}

int main(void)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;
    int r;

    opts.on_status = on_status;
    sub_opts.on_ready = on_ready;
    r = bus_open(NULL, &opts, &conn);
    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    /* a mistake of the program: known at once */
    r = bus_publish(conn, "not/a/topic/#", "x", 1);
    printf("bus_publish: %s\n", strerror(-r));

    /* a refusal of the router: known later */
    r = bus_publish(conn, "$bus/mine", "x", 1);
    sub_opts.queue_messages = 4000000000u;
    r = r < 0 ? r : bus_subscribe(conn, "a/b", &sub_opts, on_message, NULL, NULL);
    r = r < 0 ? r : bus_flush(conn, 5000); /* on_status and on_ready are called in here */
    bus_close(conn);
    return r < 0;
}
