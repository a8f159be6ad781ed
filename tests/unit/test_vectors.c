/* SPDX-License-Identifier: MIT */
/* The golden vectors: bytes that were not made by this code. y_: one whole frame that comes back
 * byte for byte; n_: the verdict that the first line names. */
#include <dirent.h>
#include "support/unit.h"
#include "wire/codec.h"

#define VECTORS BUS_SOURCE_DIR "/tests/vectors/1"
#define VECTOR_BYTES_MAX 8192

struct vector {
    char name[256];
    char rule[256]; /* the comment of the first line */
    uint8_t bytes[VECTOR_BYTES_MAX];
    size_t len;
};

static struct arena decoded, scratch;

static int setup(void **state)
{
    (void) state;
    return arena_init(&decoded, CODEC_ARENA_BYTES) < 0 ||
           arena_init(&scratch, CODEC_ARENA_BYTES) < 0;
}

static int teardown(void **state)
{
    (void) state;
    arena_fini(&decoded);
    arena_fini(&scratch);
    return 0;
}

static void parse_line(struct vector *v, const char *line)
{
    unsigned byte;
    int used;

    if (line[0] == '#') {
        if (v->rule[0] == 0) {
            (void) snprintf(v->rule, sizeof(v->rule), "%.*s", (int) sizeof(v->rule) - 1, line + 2);
        }
        return;
    }
    while (sscanf(line, "%x%n", &byte, &used) == 1) {
        assert_true(byte <= 0xFF && v->len < sizeof(v->bytes));
        v->bytes[v->len++] = (uint8_t) byte;
        line += used;
    }
}

static void load(struct vector *v, const char *name)
{
    char path[1024], line[512];
    FILE *f;

    memset(v, 0, sizeof(*v));
    (void) snprintf(v->name, sizeof(v->name), "%s", name);
    (void) snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        parse_line(v, line);
    }
    (void) fclose(f);
    assert_true(v->len > 0 && v->rule[0] != 0);
}

static bool takes_descriptors(const struct frame *f)
{
    return f->fds <= FRAME_FDS_MAX &&
           (f->verb == VERB_PUBLISH || f->verb == VERB_BUFFER || f->verb == VERB_MESSAGE);
}

/* The verdict on one packet that should hold one frame. */
static const char *verdict(const struct vector *v, struct frame *f, union wire_any *m)
{
    size_t bytes;

    switch (frame_parse(v->bytes, v->len, FRAME_INLINE_MAX_SEQPACKET, f, &bytes)) {
    case FRAME_PARTIAL:
        return "PARTIAL";
    case FRAME_TOO_LARGE:
        return "TOO_LARGE";
    case FRAME_OK:
        break;
    }
    assert_int_equal(bytes, v->len);
    if (strcmp(verb_name(f->verb), "?") == 0) {
        return "UNKNOWN_VERB";
    }
    if (f->fds != 0 && !takes_descriptors(f)) {
        return "UNSUPPORTED";
    }
    arena_reset(&decoded);
    return codec_decode(&decoded, f->verb, f->header, f->header_bytes, m) == CODEC_OK ? "OK"
                                                                                      : "MALFORMED";
}

static void check_accepted(const struct vector *v)
{
    static uint8_t again[VECTOR_BYTES_MAX];
    struct frame f;
    union wire_any m;
    long n;

    if (strcmp(verdict(v, &f, &m), "OK") != 0) {
        fail_msg("%s is refused: %s", v->name, v->rule);
    }
    n = codec_encode(&scratch, f.verb, &m, again + FRAME_PREFIX_BYTES, sizeof(again) - 8);
    assert_true(n >= 0);
    frame_write_prefix(again, f.verb, (size_t) n, f.body_bytes);
    again[FRAME_PREFIX_BYTES - 1] = f.fds;
    if (f.body_bytes > 0) {
        memcpy(again + FRAME_PREFIX_BYTES + n, f.body, f.body_bytes);
    }
    if (FRAME_PREFIX_BYTES + (size_t) n + f.body_bytes != v->len ||
        memcmp(again, v->bytes, v->len) != 0) {
        fail_msg("%s is encoded otherwise: %s", v->name, v->rule);
    }
}

static void check_refused(const struct vector *v)
{
    struct frame f;
    union wire_any m;
    const char *got = verdict(v, &f, &m);

    if (strncmp(v->rule, got, strlen(got)) != 0 || v->rule[strlen(got)] != ':') {
        fail_msg("%s: %s instead of %s", v->name, got, v->rule);
    }
}

static unsigned for_each(const char *prefix, void (*check)(const struct vector *v))
{
    static struct vector v;
    struct dirent *entry;
    unsigned n = 0;
    DIR *dir = opendir(VECTORS);

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            load(&v, entry->d_name);
            check(&v);
            n++;
        }
    }
    (void) closedir(dir);
    return n;
}

static void test_accepted_vectors_come_back_byte_for_byte(void **state)
{
    (void) state;
    assert_true(for_each("y_", check_accepted) >= 25);
}

static void test_refused_vectors_get_the_verdict_they_name(void **state)
{
    (void) state;
    assert_true(for_each("n_", check_refused) >= 20);
}

static bool seen[256];

static void note_verb(const struct vector *v)
{
    seen[v->bytes[6]] = true;
}

static void test_every_verb_has_an_accepted_vector(void **state)
{
    (void) state;
    (void) for_each("y_", note_verb);
#define X(name, number, pb, member, body)                                                          \
    if (!seen[number]) {                                                                           \
        fail_msg("%s has no vector", #name);                                                       \
    }
    VERB_LIST(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_vectors_come_back_byte_for_byte),
        cmocka_unit_test(test_refused_vectors_get_the_verdict_they_name),
        cmocka_unit_test(test_every_verb_has_an_accepted_vector),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
