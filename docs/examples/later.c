/* SPDX-License-Identifier: MIT */
#include <bus/request.h>
#include <stdio.h>
#include <string.h>

struct painter {
    struct bus_call *job; /* what it works on; NULL: nothing */
};

static void on_call(struct bus_call *call, void *userdata)
{
    struct painter *painter = (struct painter *) userdata;
    struct bus_reply_opts opts = BUS_REPLY_OPTS_INIT;

    opts.flags = BUS_REPLY_MORE; /* the call stays open */
    if (bus_call_reply(call, "begun", 5, &opts) < 0) {
        bus_call_drop(call);
        return;
    }
    painter->job = call; /* with its message, until it is answered */
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct painter *painter = (struct painter *) userdata;

    (void) reason; /* cancelled, too late, … */
    painter->job = NULL;
    bus_call_drop(call);
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    int *is_over = (int *) userdata;

    (void) conn;
    if (reply->message) {
        printf("%.*s\n", (int) bus_message_bytes(reply->message),
               (const char *) bus_message_data(reply->message));
    } else {
        printf("no answer: %s\n", bus_status_text(reply->status));
    }
    *is_over = !reply->more;
}

int main(void)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct painter painter = {NULL};
    struct bus_conn *conn;
    int is_over = 0;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    opts.calls_max = 1; /* others wait in the router, or go to another server */
    opts.on_cancel = on_cancel;
    r = bus_serve(conn, "jobs/paint", &opts, on_call, &painter, NULL);
    r = r < 0 ? r : bus_request(conn, "jobs/paint", "the door", 8, NULL, on_reply, &is_over, NULL);
    while (r >= 0 && !is_over) {
        r = bus_process(conn);
        if (r == 0) { /* nothing more to do for the bus: a stroke of work */
            if (painter.job && bus_call_reply(painter.job, "painted", 7, NULL) == 0) {
                painter.job = NULL;
            }
            r = bus_wait(conn, -1);
        }
    }
    bus_close(conn);
    return r < 0;
}
