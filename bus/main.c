/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include "base/macros.h"
#include "broker.h"
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

int main(int argc, char **argv)
{
    struct options o;
    int code = EXIT_CODE_USAGE;

    fill_standard_descriptors();
    switch ((enum options_verdict) options_parse(&o, argc, argv, stdout, stderr)) {
    case OPTIONS_RUN:
        log_open(STDERR_FILENO, (enum log_level) o.log_level);
        code = serve(&o);
        log_close();
        break;
    case OPTIONS_DONE:
        code = EXIT_CODE_OK;
        break;
    case OPTIONS_USAGE:
        break;
    }
    options_fini(&o);
    leave(code);
}
