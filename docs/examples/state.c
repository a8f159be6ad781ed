/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) userdata;
    printf("%s %s: %.*s\n", bus_message_is_retained(message) ? "kept" : "live",
           bus_message_topic(message), (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    if (!bus_message_is_retained(message)) {
        bus_stop(bus_sub_conn(sub));
    }
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    struct bus_conn *writer = (struct bus_conn *) userdata;

    (void) sub;
    printf("that was all that is kept: %d\n", (int) messages);
    bus_publish(writer, "room/hall/temp", "18.5", 4);
}

static int say(struct bus_topic *topic, const char *text)
{
    return bus_topic_publish(topic, text, strlen(text), NULL);
}

int main(void)
{
    struct bus_topic_opts keep = BUS_TOPIC_OPTS_INIT;
    struct bus_sub_opts want = BUS_SUB_OPTS_INIT;
    struct bus_topic *kitchen = NULL, *hall = NULL;
    struct bus_conn *writer = NULL, *reader = NULL;
    int r;

    keep.retain_messages = 1;
    keep.flags = BUS_TOPIC_OWNED; /* our values go with us */
    want.retained = BUS_RETAINED_LAST;
    want.on_live = on_live;
    r = bus_open(NULL, NULL, &writer);
    r = r < 0 ? r : bus_advertise_with(writer, "room/kitchen/temp", &keep, &kitchen);
    r = r < 0 ? r : bus_advertise_with(writer, "room/hall/temp", &keep, &hall);
    r = r < 0 ? r : say(kitchen, "21.5");
    r = r < 0 ? r : say(hall, "18.0");
    r = r < 0 ? r : say(kitchen, "21.6");
    r = r < 0 ? r : bus_flush(writer, 5000);
    /* much later, somebody else */
    r = r < 0 ? r : bus_open(NULL, NULL, &reader);
    r = r < 0 ? r : bus_subscribe(reader, "room/+/temp", &want, on_message, writer, NULL);
    r = r < 0 ? r : bus_run(reader);
    if (r < 0) {
        printf("%s\n", strerror(-r));
    }
    bus_close(reader);
    bus_close(writer);
    return r < 0;
}
