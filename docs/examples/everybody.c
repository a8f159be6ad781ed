/* SPDX-License-Identifier: MIT */
#include <bus/request.h>
#include <stdio.h>
#include <string.h>

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    (void) userdata;
    if (reply->message) {
        printf("server %u: %.*s\n", (unsigned) reply->part, (int) bus_message_bytes(reply->message),
               (const char *) bus_message_data(reply->message));
    }
    if (!reply->more) { /* the last call, whatever happens */
        printf("%s: %u replied, %u gone, %u too slow\n", bus_status_text(reply->status),
               (unsigned) reply->replied, (unsigned) reply->gone, (unsigned) reply->timed_out);
        bus_stop(conn);
    }
}

int main(void)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    struct bus_conn *conn;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    opts.flags = BUS_REQUEST_ALL;
    opts.timeout_ms = 2000;
    r = bus_request(conn, "math/double", "4", 1, &opts, on_reply, NULL, NULL);
    r = r < 0 ? r : bus_run(conn);
    bus_close(conn);
    return r < 0;
}
