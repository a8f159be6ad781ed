/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Publishes each line; none is lost, whatever becomes of the router meanwhile. */
static int publish_line(struct bus_conn *conn, struct bus_topic *topic, const char *line)
{
    int r = bus_topic_publish(topic, line, strcspn(line, "\n"), NULL);

    while (r == -EAGAIN) { /* so much is kept already: wait until some of it is consumed */
        r = bus_wait_writable(conn, -1);
        r = r < 0 ? r : bus_topic_publish(topic, line, strcspn(line, "\n"), NULL);
    }
    return r;
}

int main(void)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_topic_opts topic_opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *topic = NULL;
    struct bus_conn *conn = NULL;
    char line[256];
    int r;

    opts.flags = BUS_OPEN_RECONNECT;
    topic_opts.flags = BUS_TOPIC_RELIABLE;
    r = bus_open(NULL, &opts, &conn);
    r = r < 0 ? r : bus_advertise_with(conn, "jobs/list", &topic_opts, &topic);
    if (r == 0) {
        puts("ready");
        fflush(stdout);
    }
    while (r == 0 && fgets(line, sizeof(line), stdin)) {
        r = publish_line(conn, topic, line);
    }
    r = r < 0 ? r : bus_wait_acked(conn, -1); /* every subscriber has had everything */
    puts(r == 0 ? "all consumed" : strerror(-r));
    bus_close(conn);
    return r < 0;
}
