/* SPDX-License-Identifier: MIT */
#include <bus/request.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_call(struct bus_call *call, void *userdata)
{
    const struct bus_message *question = bus_call_message(call);
    size_t n = bus_message_bytes(question);
    char text[64], *end;
    long number;
    int r;

    (void) userdata;
    snprintf(text, sizeof(text), "%.*s", (int) n, (const char *) bus_message_data(question));
    number = strtol(text, &end, 10);
    if (end == text || *end || n >= sizeof(text)) {
        r = bus_call_fail(call, 1, "that is no number");
    } else {
        snprintf(text, sizeof(text), "%ld", 2 * number);
        r = bus_call_reply(call, text, strlen(text), NULL);
    }
    if (r < 0) {
        bus_call_drop(call); /* on failure the call is still ours: each is ended once */
    }
}

static void on_ready(struct bus_sub *sub, enum bus_status status, const char *text, void *userdata)
{
    (void) text; /* what the router has to say about a refusal */
    (void) userdata;
    printf("serving %s: %s\n", bus_sub_filter(sub), bus_status_text(status));
    fflush(stdout);
}

int main(void)
{
    struct bus_serve_opts opts = BUS_SERVE_OPTS_INIT;
    struct bus_conn *conn;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    opts.on_ready = on_ready;
    r = bus_serve(conn, "math/double", &opts, on_call, NULL, NULL);
    r = r < 0 ? r : bus_run(conn);
    bus_close(conn);
    return r < 0;
}
