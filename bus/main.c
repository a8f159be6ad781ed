/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include "base/macros.h"
#include "broker.h"
#include "explain.h"
#include "log.h"

/* Without this a socket could get the number of a closed stdin, stdout or stderr, and the log would
 * go to a client. */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        (void) close(fd);
    }
}

/* Not by exit(): that runs the destructors of libraries, and libuv's joins threads, one of which
 * may be inside a close() whose time is up to whoever made the descriptor. Nothing is left for any
 * of them to do. With sanitizers it is exit(), for that is when they look for leaks. */
static _Noreturn void leave(int code)
{
    (void) fflush(NULL);
#if defined(BUS_SANITIZE) || defined(__SANITIZE_ADDRESS__)
    exit(code);
#else
    _exit(code);
#endif
}

static int serve(const struct options *o)
{
    struct failure failure;
    struct broker *b;

    if (broker_new(o, &b, &failure) < 0) {
        (void) fprintf(stderr, "bus-router: %s\n", failure.text);
        return EXIT_CODE_FAILED;
    }
    broker_run(b);
    (void) broker_free(b);
    return EXIT_CODE_OK;
}

/* What was asked for instead of serving. */
static int answer(const struct options *o, struct report *report)
{
    switch (o->action) {
    case OPTIONS_PRINT:
        options_print(o, stdout);
        break;
    case OPTIONS_CHECK:
        for (size_t i = 0; i < o->n_files; i++) {
            (void) printf("%s: ok\n", o->files[i]);
        }
        if (o->n_files == 0) {
            (void) puts("no configuration file: ok");
        }
        break;
    case OPTIONS_EXPLAIN:
        return explain(o, stdout, report);
    case OPTIONS_SERVE:
    case OPTIONS_RELOAD:
        break;
    }
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int main(int argc, char **argv)
{
    struct report report = {.out = stderr};
    int code = EXIT_CODE_USAGE;
    struct options o;
    int r;

    fill_standard_descriptors();
    r = options_parse(&o, argc, argv, stdout, &report);
    if (r < 0) {
        (void) fputs("bus-router: out of memory\n", stderr);
        code = EXIT_CODE_FAILED;
    } else if (r == OPTIONS_RUN && o.action != OPTIONS_SERVE) {
        code = answer(&o, &report);
    } else if (r == OPTIONS_RUN) {
        log_open(STDERR_FILENO, (enum log_level) o.log_level);
        code = serve(&o);
        log_close();
    } else if (r == OPTIONS_DONE) {
        code = EXIT_CODE_OK;
    } else if (r == OPTIONS_INVALID) {
        code = EXIT_CODE_FAILED;
    }
    options_fini(&o);
    leave(code);
}
