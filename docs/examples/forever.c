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

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) userdata;
    if (loss->reason == BUS_LOSS_ROUTER_RESTART) {
        printf("%s: something may be missing\n", bus_sub_filter(sub));
    } else {
        printf("%s: %llu are missing\n", bus_sub_filter(sub), (unsigned long long) loss->count);
    }
    fflush(stdout);
}

static void on_state(struct bus_conn *conn, const struct bus_state_event *event, void *userdata)
{
    (void) conn;
    (void) userdata;
    if (event->state == BUS_CONN_LOST) {
        printf("lost: %s\n", bus_goodbye_text(event->reason));
    } else if (event->state == BUS_CONN_RESTORED) {
        printf("restored\n");
    }
    fflush(stdout);
}

int main(void)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn = NULL;
    int r;

    opts.flags = BUS_OPEN_RECONNECT;
    opts.on_state = on_state;
    sub_opts.on_loss = on_loss;
    r = bus_open(NULL, &opts, &conn);
    r = r < 0 ? r : bus_subscribe(conn, "jobs/#", &sub_opts, on_message, NULL, NULL);
    r = r < 0 ? r : bus_flush(conn, 5000);
    if (r == 0) {
        puts("ready");
        fflush(stdout);
        r = bus_run(conn); /* for ever */
    }
    if (r < 0) {
        fprintf(stderr, "%s\n", strerror(-r));
    }
    bus_close(conn);
    return r < 0;
}
