/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    int fd = bus_message_fd(message, 0);
    char text[64];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text)); /* dup() it to keep it longer */

    (void) userdata;
    printf("%d descriptor, and in it: %.*s\n", (int) bus_message_n_fds(message),
           n < 0 ? 0 : (int) n, text);
    bus_stop(bus_sub_conn(sub));
}

static int hand_over(struct bus_conn *conn, int fd)
{
    struct bus_publish_opts opts = BUS_PUBLISH_OPTS_INIT;

    opts.fds = &fd;
    opts.n_fds = 1;
    return bus_publish_with(conn, "jobs/new", "", 0, &opts); /* fd stays ours */
}

int main(void)
{
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;
    int ends[2];
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    if (pipe(ends) < 0 || write(ends[1], "a letter", 8) != 8) {
        return 1;
    }
    sub_opts.flags = BUS_SUB_DESCRIPTORS; /* who does not ask gets the message without them */
    r = bus_subscribe(conn, "jobs/#", &sub_opts, on_message, NULL, NULL);
    r = r < 0 ? r : bus_flush(conn, 5000);
    r = r < 0 ? r : hand_over(conn, ends[0]);
    r = r < 0 ? r : bus_run(conn);
    bus_close(conn);
    close(ends[0]);
    close(ends[1]);
    return r < 0;
}
