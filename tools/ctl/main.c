/* SPDX-License-Identifier: MIT */
/* bus-ctl: what a router has, as tables or JSON lines, and what it is told to do. */
#include <bus/inside.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>
#include "common.h"
#include "ctl_json.h"
#include "ctl_options.h"
#include "rows.h"

struct ctl {
    const struct ctl_options *options;
    struct bus_conn *conn;
    struct table table;
    struct samples samples; /* of the first answer, with --interval */
    bool is_first;          /* it is being received */
    bool is_done;
    bool has_ended; /* the connection, and that was said */
    enum ctl_exit result;
    uint64_t deadline_ns;
};

static void on_closed(struct bus_conn *conn, enum bus_goodbye reason, const char *text,
                      void *userdata)
{
    struct ctl *c = userdata;

    (void) conn;
    if (!c->is_done) { /* otherwise it has done what it was to do: drain */
        tool_say_closed(reason, text);
        c->has_ended = true;
    }
}

static enum ctl_exit say_refused(const struct ctl *c, enum bus_status status, const char *text)
{
    if (status == BUS_STATUS_DISCONNECTED) {
        return CTL_FAILED; /* on_closed() says it */
    }
    if (status == BUS_STATUS_DENIED) {
        tool_say_refused("ask for", c->options->command, status, text);
        return CTL_DENIED;
    }
    tool_error("%s: %s", c->options->command, *text ? text : bus_status_text(status));
    return CTL_REFUSED;
}

/* ---- lists ---- */

static void entry_take(struct ctl *c, const struct bus_inside_entry *entry)
{
    double rates[RATES];
    bool has_rates = c->options->interval_ns && samples_rates(&c->samples, entry, rates);

    if (c->options->json) {
        ctl_json_entry(stdout, entry, has_rates ? rates : NULL);
    } else {
        row_add(&c->table, entry, has_rates ? rates : NULL);
    }
}

static void on_entry(struct bus_conn *conn, const struct bus_inside_entry *entry,
                     enum bus_status status, const char *text, void *userdata)
{
    struct ctl *c = userdata;

    (void) conn;
    if (!entry) {
        c->is_done = true;
        c->result = status == BUS_STATUS_OK ? CTL_OK : say_refused(c, status, text);
    } else if (!c->is_first) {
        entry_take(c, entry);
    } else if (!samples_add(&c->samples, entry)) {
        c->table.is_failed = true;
    }
}

static void on_controlled(struct bus_conn *conn, const struct bus_control_result *result,
                          void *userdata)
{
    struct ctl *c = userdata;

    (void) conn;
    c->is_done = true;
    if (c->options->json) {
        ctl_json_result(stdout, c->options->command, result);
    }
    if (result->status != BUS_STATUS_OK) {
        c->result = say_refused(c, result->status, result->text);
    } else if (result->error) {
        tool_error("%s: %s", c->options->command, result->text);
        c->result = CTL_REFUSED;
    } else if (!c->options->json && *result->text) {
        (void) printf("%s\n", result->text);
    }
}

/* ---- waiting ---- */

static int ms_until(uint64_t ns)
{
    uint64_t now_ns = tool_now_ns();
    uint64_t ms = ns > now_ns ? (ns - now_ns + 999999) / 1000000 : 0;

    return ms > 1000000 ? 1000000 : (int) ms;
}

/* Until it is done, or until that time if there is one. */
static enum ctl_exit wait_until(struct ctl *c, uint64_t until_ns)
{
    while (!c->is_done) {
        uint64_t now_ns = tool_now_ns();
        int r;

        if (tool_interrupted()) {
            return CTL_FAILED;
        }
        if (now_ns >= until_ns) {
            return CTL_TIMEOUT;
        }
        r = bus_wait(c->conn, ms_until(until_ns));
        if (r >= 0) {
            r = bus_process(c->conn);
        }
        if (r < 0 && r != -EINTR && !c->is_done) {
            if (!c->has_ended) {
                tool_error("the connection is lost: %s", strerror(-r));
            }
            return CTL_FAILED;
        }
    }
    return c->result;
}

static enum ctl_exit ask(struct ctl *c)
{
    struct bus_inside_opts list = BUS_INSIDE_OPTS_INIT;
    struct bus_control_opts control = BUS_CONTROL_OPTS_INIT;
    const struct ctl_options *o = c->options;
    enum ctl_exit result;
    int r;

    c->is_done = false;
    list.connection_id = control.connection_id = o->connection_id;
    control.text = o->text;
    r = o->list ? bus_inside(c->conn, o->list, &list, on_entry, c)
                : bus_control_router(c->conn, o->control, &control, on_controlled, c);
    if (r < 0) {
        tool_error("%s: %s", o->command, strerror(-r));
        return CTL_FAILED;
    }
    result = wait_until(c, c->deadline_ns);
    if (result == CTL_TIMEOUT) {
        tool_error("%s: no answer in time", o->command);
    }
    return result;
}

static enum ctl_exit ask_first(struct ctl *c)
{
    enum ctl_exit result;

    c->is_first = true;
    result = ask(c);
    c->is_first = c->is_done = false;
    if (result != CTL_OK) {
        return result;
    }
    result = wait_until(c, tool_now_ns() + c->options->interval_ns);
    return result == CTL_TIMEOUT ? CTL_OK : result;
}

static enum ctl_exit show(struct ctl *c)
{
    if (c->options->list && !c->options->json) {
        table_print(&c->table, stdout);
    }
    if (c->table.is_failed) {
        tool_error("out of memory");
        return CTL_FAILED;
    }
    return tool_print("") == TOOL_OK ? CTL_OK : CTL_FAILED;
}

static enum ctl_exit run(struct ctl *c)
{
    enum ctl_exit result = c->options->interval_ns ? ask_first(c) : CTL_OK;

    c->deadline_ns = tool_now_ns() + c->options->timeout_ns;
    if (result == CTL_OK) {
        result = ask(c);
    }
    /* what was received of a list that was refused is not all: it is not shown */
    return result == CTL_OK ? show(c) : result;
}

int main(int argc, char **argv)
{
    struct bus_opts opts = BUS_OPTS_INIT;
    struct ctl_options options;
    struct ctl c = {.options = &options};
    enum ctl_exit result;
    size_t n = 0;
    int r;

    setlocale(LC_CTYPE, "");
    switch (ctl_options_parse(argc, argv, &options)) {
    case CTL_DONE:
        return CTL_OK;
    case CTL_WRONG:
        return CTL_USAGE;
    case CTL_CANNOT:
        return CTL_FAILED;
    case CTL_RUN:
        break;
    }
    if (!tool_catch_signals()) {
        return CTL_FAILED;
    }
    opts.name = "bus-ctl";
    opts.on_closed = on_closed;
    opts.userdata = &c;
    r = tool_connect(options.address, &opts, &c.conn);
    if (r < 0) {
        return r == -EACCES ? CTL_DENIED : CTL_FAILED;
    }
    if (options.list) {
        const struct table_column *columns = row_columns(options.list, &n);

        table_init(&c.table, columns, n,
                   strcmp(nl_langinfo(CODESET), "UTF-8") && isatty(STDOUT_FILENO) ? SAFE_ASCII
                                                                                  : SAFE_UTF8);
    }
    c.deadline_ns = tool_now_ns() + options.timeout_ns;
    result = run(&c);
    bus_close(c.conn);
    table_fini(&c.table);
    samples_fini(&c.samples);
    return (int) result;
}
