/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    const struct bus_peer *sender = bus_message_sender(message);

    (void) sub;
    (void) userdata;
    printf("%s (uid %d): %.*s", sender->name, (int) sender->uid, (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    fflush(stdout);
}

/* What was typed, as one message. False at the end of the input. */
static int say(struct bus_conn *conn)
{
    char text[1024];
    ssize_t n = read(STDIN_FILENO, text, sizeof(text));

    if (n <= 0) {
        return 0;
    }
    if (bus_publish(conn, "chat", text, (size_t) n) < 0) {
        fprintf(stderr, "not said\n");
    }
    return 1;
}

static void converse(struct bus_conn *conn)
{
    struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {bus_fd(conn), POLLIN, 0}};

    while (poll(fds, 2, -1) > 0) {
        if (fds[1].revents != 0 && bus_process(conn) < 0) {
            return;
        }
        if (fds[0].revents != 0 && !say(conn)) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    int r;

    opts.name = argc > 1 ? argv[1] : "somebody";
    sub_opts.flags = BUS_SUB_NO_LOCAL; /* not what we say ourselves */
    r = bus_open(NULL, &opts, &conn);
    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = bus_subscribe(conn, "chat", &sub_opts, on_message, NULL, NULL);
    if (r == 0) {
        r = bus_flush(conn, 5000);
    }
    if (r == 0) {
        puts("type to say something");
        fflush(stdout);
        converse(conn);
        r = bus_flush(conn, 5000);
    }
    bus_close(conn);
    return r < 0;
}
