/* SPDX-License-Identifier: MIT */
/* Any configuration file, and any text of a rule, a quota or a listener. What is accepted is
 * printed as a file that is accepted and says the same; what is not is explained. The first byte
 * says what it is. */
#include <errno.h>
#include "config.h"
#include "fuzz/fuzz.h"
#include "records.h"

/* libconfig does not free the texts that its parser still holds when it meets a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

static void begin(struct options *o, struct report *report)
{
    static char name[] = "fuzz", no_config[] = "--no-config", check[] = "--check";
    char *argv[] = {name, no_config, check, NULL};

    *report = (struct report){.out = NULL};
    CHECK(options_parse(o, 3, argv, NULL, report) == OPTIONS_RUN);
}

/* As a file without comments, which say where things came from. */
static char *print(const struct options *o)
{
    char *text = NULL, *to;
    bool is_quoted = false, is_comment = false;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    CHECK(f);
    options_print(o, f);
    CHECK(fclose(f) == 0);
    to = text;
    for (const char *c = text; *c; c++) {
        if (!is_comment && is_quoted && *c == '\\') {
            *to++ = *c++;
        } else if (!is_comment && *c == '"') {
            is_quoted = !is_quoted;
        }
        is_comment = (is_comment && *c != '\n') || (!is_quoted && *c == '#');
        if (!is_comment && (is_quoted || *c != ' ')) {
            *to++ = *c;
        }
    }
    *to = '\0';
    return text;
}

static void check_round_trip(const struct options *o, const struct option_table *t)
{
    char *first = print(o), *second;
    struct report report;
    struct options again;

    begin(&again, &report);
    CHECK(config_load_text(&again, t, "again", first, strlen(first), &report) == 0);
    if (report.n_errors > 0) {
        (void) fprintf(stderr, "%s\n%s\n", report.first.text, first);
    }
    CHECK(report.n_errors == 0);
    second = print(&again);
    CHECK(strcmp(first, second) == 0);
    free(first);
    free(second);
    options_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct record_kind *const kinds[] = {&record_rule, &record_quota, &record_listen};
    struct option_table t;
    struct report report;
    struct options o;
    struct failure f;
    char *text;
    int r;

    if (len == 0) {
        return 0;
    }
    text = malloc(len);
    CHECK(text);
    memcpy(text, data + 1, len - 1);
    text[len - 1] = '\0';
    option_table_init(&t);
    begin(&o, &report);
    if (data[0] % 4 == 0) {
        r = config_load_text(&o, &t, "file", text, len - 1, &report);
        CHECK(r == 0);
        r = report.n_errors > 0 ? -EINVAL : 0;
        f = report.first;
    } else {
        r = record_add_text(&o, kinds[data[0] % 4 - 1], text, "flag", &f);
    }
    CHECK(r == 0 || *f.text);
    if (r == 0) {
        check_round_trip(&o, &t);
    }
    options_fini(&o);
    free(text);
    return 0;
}
