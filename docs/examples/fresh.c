/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    const char *last = (const char *) userdata;
    int bytes = (int) bus_message_bytes(message);

    printf("%s: %.*s\n", bus_message_topic(message), bytes,
           (const char *) bus_message_data(message));
    if ((size_t) bytes == strlen(last) &&
        memcmp(bus_message_data(message), last, strlen(last)) == 0) {
        bus_stop(bus_sub_conn(sub));
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) userdata;
    printf("%s: %d lost: %s\n", bus_sub_filter(sub), (int) loss->count,
           bus_loss_text(loss->reason));
}

static int speeds(struct bus_conn *writer)
{
    static const char *const values[] = {"50", "51", "52", "53"};
    int r = 0;

    for (int i = 0; i < 4 && r == 0; i++) {
        r = bus_publish(writer, "speed", values[i], 2);
    }
    return r;
}

static int alarms(struct bus_conn *writer)
{
    struct bus_publish_opts brief = BUS_PUBLISH_OPTS_INIT;
    int r;

    brief.ttl_ms = 20;
    r = bus_publish_with(writer, "alarm", "door open", 9, &brief);
    r = r < 0 ? r : bus_publish_with(writer, "alarm", "still open", 10, &brief);
    r = r < 0 ? r : bus_publish(writer, "alarm", "closed", 6);
    return r < 0 ? r : bus_flush(writer, 5000);
}

int main(void)
{
    struct bus_sub_opts display = BUS_SUB_OPTS_INIT, horn = BUS_SUB_OPTS_INIT;
    struct bus_conn *writer = NULL, *reader = NULL;
    int r = bus_open(NULL, NULL, &writer);

    display.min_interval_ms = 500; /* at most two values a second */
    display.on_loss = on_loss;
    horn.window_messages = 1; /* one alarm at a time */
    horn.on_loss = on_loss;
    r = r < 0 ? r : bus_open(NULL, NULL, &reader);
    r = r < 0 ? r : bus_subscribe(reader, "speed", &display, on_message, (void *) "53", NULL);
    r = r < 0 ? r : bus_subscribe(reader, "alarm", &horn, on_message, (void *) "closed", NULL);
    r = r < 0 ? r : bus_flush(reader, 5000);
    r = r < 0 ? r : speeds(writer);
    r = r < 0 ? r : bus_run(reader);
    r = r < 0 ? r : alarms(writer);
    if (r == 0) {
        (void) bus_wait(writer, 100); /* the reader is busy with something else */
        r = bus_run(reader);
    }
    if (r < 0) {
        printf("%s\n", strerror(-r));
    }
    bus_close(reader);
    bus_close(writer);
    return r < 0;
}
