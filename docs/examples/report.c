/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void on_confirm(struct bus_conn *conn, const struct bus_confirmation *c, void *userdata)
{
    (void) conn;
    (void) userdata;
    if (c->status != BUS_STATUS_OK) {
        printf("message %d: %s\n", (int) c->sequence, bus_status_text(c->status));
        return;
    }
    printf("message %d: %d matched, %d delivered, %d queued, %d dropped\n", (int) c->sequence,
           (int) c->matched, (int) c->delivered, (int) c->queued, (int) c->dropped);
}

/* Publishes, and waits where the bus says that it has no room. */
static int publish(struct bus_conn *conn, struct bus_topic *topic, const char *text)
{
    const struct bus_header headers[] = {{"content-type", "text/plain"}, {"unit", "C"}};
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;
    int r;

    opts.headers = headers;
    opts.n_headers = 2;
    opts.flags = BUS_PUBLISH_CONFIRM;
    opts.on_confirm = on_confirm;
    while ((r = bus_topic_publish(topic, text, strlen(text), &opts)) == -EAGAIN) {
        r = bus_wait_writable(conn, -1);
        if (r < 0) {
            return r;
        }
    }
    return r;
}

int main(void)
{
    const char *readings[] = {"21.5", "21.6", "21.8"};
    struct bus_conn *conn;
    struct bus_topic *topic;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_advertise(conn, "sensors/kitchen/temp", &topic);
    for (int i = 0; r == 0 && i < 3; i++) {
        r = publish(conn, topic, readings[i]);
    }
    if (r == 0) {
        r = bus_flush(conn, 5000); /* the confirmations come before it returns */
    }
    bus_close(conn);
    return r < 0;
}
