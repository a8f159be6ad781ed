/* SPDX-License-Identifier: MIT */
#include <bus/request.h>
#include <stdio.h>
#include <string.h>

/* What there is to say about the outcome; whether it is an answer. */
static int show(const struct bus_answer *answer)
{
    int n;
    const char *text;

    if (answer->status != BUS_STATUS_OK) {
        printf("no answer: %s\n", bus_status_text(answer->status));
        return 0;
    }
    n = (int) bus_message_bytes(answer->message);
    text = (const char *) bus_message_data(answer->message);
    if (answer->error) {
        printf("error %u: %.*s\n", (unsigned) answer->error, n, text);
        return 0;
    }
    printf("%.*s, says process %u\n", n, text, (unsigned) bus_message_sender(answer->message)->pid);
    return 1;
}

int main(int argc, char **argv)
{
    struct bus_request_opts opts = BUS_REQUEST_OPTS_INIT;
    const char *question = argc > 1 ? argv[1] : "21";
    struct bus_answer answer;
    struct bus_conn *conn;
    int answered = 0;
    int r = bus_open(NULL, NULL, &conn);

    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    opts.timeout_ms = 2000;
    r = bus_request_wait(conn, "math/double", question, strlen(question), &opts, &answer);
    if (r < 0) {
        fprintf(stderr, "cannot ask: %s\n", strerror(-r));
    } else {
        answered = show(&answer);
        bus_message_unref(answer.message);
    }
    bus_close(conn);
    return !answered;
}
