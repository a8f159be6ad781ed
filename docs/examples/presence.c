/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <bus/events.h>
#include <stdio.h>
#include <string.h>

static void on_event(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct bus_client_event event = BUS_CLIENT_EVENT_INIT;

    (void) sub;
    (void) userdata;
    if (bus_client_event_parse(bus_message_data(message), bus_message_bytes(message), &event) < 0 ||
        strcmp(event.name, "worker") != 0) {
        return;
    }
    if (event.kind == BUS_CLIENT_JOINED) {
        printf("%s has come\n", event.name);
    } else if (event.kind == BUS_CLIENT_LEFT) {
        printf("%s has gone: %s\n", event.name, bus_goodbye_text(event.reason));
    }
    fflush(stdout);
}

static void on_state(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    printf("state: %.*s\n", (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    fflush(stdout);
}

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    (void) userdata;
    printf("nothing of %s for %d ms\n", bus_sub_filter(sub), (int) since_ms);
    fflush(stdout);
}

static int watch(struct bus_conn *conn)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    int r = bus_subscribe(conn, BUS_EVENTS_CLIENTS, NULL, on_event, NULL, NULL);

    opts.silence_ms = 60000;
    opts.on_silence = on_silence;
    r = r < 0 ? r : bus_subscribe(conn, "worker/state", &opts, on_state, NULL, NULL);
    r = r < 0 ? r : bus_flush(conn, 5000);
    if (r == 0) {
        puts("watching");
        fflush(stdout);
        r = bus_run(conn);
    }
    return r;
}

static void on_interest(struct bus_topic *topic, uint32_t subscriptions, void *userdata)
{
    (void) userdata;
    printf("%d want to know\n", (int) subscriptions);
    fflush(stdout);
    if (subscriptions > 0) {
        bus_topic_publish(topic, "up", 2, NULL);
    }
}

static int work(struct bus_conn *conn)
{
    struct bus_topic_opts opts = BUS_TOPIC_OPTS_INIT;
    struct bus_topic *state;
    int r = bus_will(conn, "worker/state", "dead", 4, NULL);

    opts.on_interest = on_interest;
    r = r < 0 ? r : bus_advertise_with(conn, "worker/state", &opts, &state);
    return r < 0 ? r : bus_run(conn);
}

int main(int argc, char **argv)
{
    int works = argc > 1 && strcmp(argv[1], "work") == 0;
    struct bus_opts opts = BUS_OPTS_INIT;
    struct bus_conn *conn;
    int r;

    opts.name = works ? "worker" : "watcher";
    r = bus_open(NULL, &opts, &conn);
    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    r = works ? work(conn) : watch(conn);
    bus_close(conn);
    return r < 0;
}
