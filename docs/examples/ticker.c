/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L /* <uv.h> wants more than C99 */
#include <bus/bus.h>
#include <bus/uv.h>
#include <stdio.h>
#include <string.h>

struct app {
    uv_timer_t timer;
    struct bus_uv watcher;
    struct bus_conn *conn;
    int ticks, heard;
};

static void stop(struct app *app)
{
    if (!uv_is_closing((uv_handle_t *) &app->timer)) {
        bus_uv_stop(&app->watcher, NULL); /* before bus_close() */
        bus_close(app->conn);
        uv_close((uv_handle_t *) &app->timer, NULL);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct app *app = (struct app *) timer->data;
    char text[16];

    snprintf(text, sizeof(text), "%d", ++app->ticks);
    if (bus_publish(app->conn, "tick", text, strlen(text)) < 0) {
        stop(app);
    }
}

static void on_message(struct bus_sub *sub, const struct bus_message *message, void *userdata)
{
    struct app *app = (struct app *) userdata;

    (void) sub;
    printf("tick %.*s\n", (int) bus_message_bytes(message),
           (const char *) bus_message_data(message));
    if (++app->heard == 3) {
        stop(app);
    }
}

static void on_end(struct bus_uv *watcher, int result)
{
    fprintf(stderr, "the connection has ended: %s\n", strerror(-result));
    stop((struct app *) watcher->data);
}

int main(void)
{
    struct app app;
    uv_loop_t *loop = uv_default_loop();
    int r;

    memset(&app, 0, sizeof(app));
    r = bus_open(NULL, NULL, &app.conn);
    if (r < 0) {
        fprintf(stderr, "cannot reach the router: %s\n", strerror(-r));
        return 1;
    }
    app.watcher.data = &app;
    app.timer.data = &app;
    r = bus_subscribe(app.conn, "tick", NULL, on_message, &app, NULL);
    if (r == 0) {
        r = bus_uv_start(&app.watcher, loop, app.conn, on_end);
    }
    if (r < 0) {
        bus_close(app.conn);
        return 1;
    }
    uv_timer_init(loop, &app.timer);
    uv_timer_start(&app.timer, on_timer, 0, 100);
    uv_run(loop, UV_RUN_DEFAULT);
    return uv_loop_close(loop) < 0 || app.heard != 3;
}
