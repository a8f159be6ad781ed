/* SPDX-License-Identifier: MIT */
/* bus-monitor: watch what passes through a bus-router. */
#include <locale.h>
#include "options.h"
#include "session.h"
#include "stream.h"
#include "top.h"

int main(int argc, char **argv)
{
    struct options options;
    struct session session;
    enum exit_code code;

    setlocale(LC_CTYPE, "");
    switch (options_parse(argc, argv, &options)) {
    case OPTIONS_RUN:
        break;
    case OPTIONS_DONE:
        return EXIT_DONE;
    case OPTIONS_WRONG:
        return EXIT_USAGE;
    case OPTIONS_FAILED:
        return EXIT_FAILED;
    }
    code = session_open(&session, &options);
    if (code == EXIT_DONE) {
        code = options.output == OUTPUT_TOP ? top_run(&session) : stream_run(&session);
    }
    session_close(&session);
    return (int) code;
}
