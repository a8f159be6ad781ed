/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

#define PUBLISHED 100

struct seen {
    int messages;
    int lost;
};

static void check_done(struct bus_sub *sub, const struct seen *seen)
{
    if (seen->messages + seen->lost == PUBLISHED) {
        printf("got %d, lost %d\n", seen->messages, seen->lost);
        bus_stop(bus_sub_conn(sub));
    }
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct seen *seen = (struct seen *) userdata;

    seen->messages++;
    printf("message %.*s\n", (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    check_done(sub, seen);
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    struct seen *seen = (struct seen *) userdata;

    seen->lost += (int) loss->count;
    printf("(%d lost: %s)\n", (int) loss->count, bus_loss_text(loss->reason));
    check_done(sub, seen);
}

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    (void) conn;
    (void) userdata;
    printf("closed: %s (%s)\n", bus_goodbye_text(reason), text);
}

static int publish_all(struct bus_conn *conn)
{
    char text[16];
    int r = 0;

    for (int i = 1; i <= PUBLISHED && r == 0; i++) {
        snprintf(text, sizeof(text), "%d", i);
        r = bus_publish(conn, "numbers", text, strlen(text));
    }
    return r < 0 ? r : bus_flush(conn, 5000);
}

int main(int argc, char **argv)
{
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *reader = NULL, *writer = NULL;
    struct seen seen = {0, 0};
    int r = bus_policy_parse(argc > 1 ? argv[1] : "drop_oldest", &sub_opts.policy);

    sub_opts.window_messages = 4; /* much too little, to see what happens */
    sub_opts.queue_messages = 4;
    sub_opts.on_loss = on_loss;
    opts.on_closed = on_closed;
    r = r < 0 ? r : bus_open(NULL, &opts, &reader);
    r = r < 0 ? r : bus_open(NULL, NULL, &writer);
    r = r < 0 ? r : bus_subscribe(reader, "numbers", &sub_opts, on_message, &seen, NULL);
    r = r < 0 ? r : bus_flush(reader, 5000);
    r = r < 0 ? r : publish_all(writer); /* meanwhile nobody processes reader */
    r = r < 0 ? r : bus_run(reader);
    if (r < 0) {
        printf("%s\n", strerror(-r));
    }
    bus_close(reader);
    bus_close(writer);
    return r < 0;
}
