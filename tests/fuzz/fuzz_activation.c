/* SPDX-License-Identifier: MIT */
/* Any three texts, a NUL between them, for LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. What is
 * accepted has as many names as descriptors, and these are the names that the text holds. */
#include "activation.h"
#include "fuzz/fuzz.h"

#define SELF 1234

/* The next text, up to a NUL; NULL if there is none any more. */
static char *next_text(const uint8_t **data, size_t *len)
{
    const uint8_t *end = *len > 0 ? memchr(*data, 0, *len) : NULL;
    size_t n = end ? (size_t) (end - *data) : *len;
    char *text;

    if (*len == 0) {
        return NULL;
    }
    text = malloc(n + 1);
    CHECK(text);
    memcpy(text, *data, n);
    text[n] = '\0';
    n += end != NULL;
    *data += n;
    *len -= n;
    return text;
}

static void check_accepted(const struct activation *a, const char *names)
{
    size_t at = 0;

    CHECK(a->n <= ACTIVATION_MAX);
    for (unsigned i = 0; i < a->n; i++) {
        size_t len = strnlen(a->names[i], LISTENER_NAME_BYTES);

        CHECK(len < LISTENER_NAME_BYTES);
        if (!names) {
            CHECK(len == 0);
            continue;
        }
        CHECK(strncmp(names + at, a->names[i], len) == 0);
        at += len;
        CHECK(names[at] == (i + 1 < a->n ? ':' : '\0'));
        at++;
    }
}

static void parse(const char *pid, const char *fds, const char *names)
{
    struct activation a;
    struct failure f = {.text = ""};
    int r = activation_parse(&a, pid, fds, names, SELF, &f);

    CHECK(r <= 0);
    CHECK((r < 0) == (*f.text != '\0'));
    CHECK(memchr(f.text, 0, sizeof(f.text)));
    if (r == 0) {
        check_accepted(&a, names);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *pid = next_text(&data, &len);
    char *fds = next_text(&data, &len);
    char *names = next_text(&data, &len);

    parse(pid, fds, names);
    parse("1234", fds, names); /* so that it gets beyond the first */
    parse("1234", "3", names);
    free(pid);
    free(fds);
    free(names);
    return 0;
}
