/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <stdio.h>
#include <string.h>

static void on_job(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    const char *job = (const char *) bus_message_data(message);
    int bytes = (int) bus_message_bytes(message);

    (void) sub;
    (void) userdata;
    if (bytes > 4 && memcmp(job, "hard", 4) == 0) {
        printf("refused: %.*s\n", bytes, job);
        bus_message_refuse(message);
    } else {
        printf("%s: %.*s\n", bus_message_is_redelivered(message) ? "done again" : "done", bytes,
               job);
        bus_message_ack(message);
    }
    fflush(stdout);
}

static void on_dead_letter(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    (void) sub;
    (void) userdata;
    printf("given up after %s deliveries: %.*s\n", bus_message_header(message, "bus-deliveries"),
           (int) bus_message_bytes(message), (const char *) bus_message_data(message));
    fflush(stdout);
}

int main(void)
{
    struct bus_sub_opts opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *conn;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    opts.group = "workers";
    opts.flags = BUS_SUB_ACK;
    opts.policy = BUS_POLICY_BLOCK; /* publishers wait when the workers cannot keep up */
    opts.window_messages = 1;       /* one job at a time */
    opts.deliveries_max = 3;
    opts.dead_letter = "failed/jobs";
    r = bus_subscribe(conn, "jobs/#", &opts, on_job, NULL, NULL);
    if (r == 0) {
        r = bus_subscribe(conn, "failed/jobs", NULL, on_dead_letter, NULL, NULL);
    }
    if (r == 0) {
        r = bus_flush(conn, 5000);
    }
    if (r == 0) {
        puts("ready");
        fflush(stdout);
        r = bus_run(conn);
    }
    fprintf(stderr, "%s\n", strerror(-r));
    bus_close(conn);
    return 1;
}
