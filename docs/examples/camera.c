/* SPDX-License-Identifier: MIT */
#include <bus/bus.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FRAME_BYTES (1920 * 1080 * 3)
#define FRAMES 3

static void on_frame(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    const unsigned char *pixels = (const unsigned char *) bus_message_data(message);
    int *seen = (int *) userdata;

    printf("frame %d: %d bytes, each is %d\n", *seen, (int) bus_message_bytes(message), pixels[0]);
    if (++*seen == FRAMES) {
        bus_stop(bus_sub_conn(sub));
    }
}

/* The sensor writes straight into the memory that all viewers will look at. */
static int capture(struct bus_conn *conn, struct bus_topic *camera, int number)
{
    struct bus_loan *frame;
    int r = bus_loan(camera, FRAME_BYTES, &frame);

    if (r < 0) {
        return r;
    }
    memset(bus_loan_data(frame), 100 + number, FRAME_BYTES);
    while ((r = bus_loan_publish(frame, FRAME_BYTES, NULL)) == -EAGAIN) {
        r = bus_wait_writable(conn, -1); /* or drop this frame */
        if (r < 0) {
            break;
        }
    }
    if (r < 0) {
        bus_loan_cancel(frame); /* a loan that was not published is still ours */
    }
    return r;
}

int main(void)
{
    struct bus_sub_opts sub_opts = BUS_SUB_OPTS_INIT;
    struct bus_conn *sender, *viewer;
    struct bus_topic *camera;
    int seen = 0;
    int r = bus_open(NULL, NULL, &viewer);

    if (r < 0 || (r = bus_open(NULL, NULL, &sender)) < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    sub_opts.queue_bytes = 4 * FRAME_BYTES; /* the default, 8 MiB, is one frame */
    r = bus_subscribe(viewer, "camera/+", &sub_opts, on_frame, &seen, NULL);
    r = r < 0 ? r : bus_flush(viewer, 5000);
    r = r < 0 ? r : bus_advertise(sender, "camera/1", &camera);
    for (int i = 0; r == 0 && i < FRAMES; i++) {
        r = capture(sender, camera, i);
    }
    r = r < 0 ? r : bus_run(viewer);
    bus_close(sender);
    bus_close(viewer);
    return r < 0;
}
