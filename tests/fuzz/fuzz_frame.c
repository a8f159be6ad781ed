/* SPDX-License-Identifier: MIT */
/* Any bytes of a stream, cut anywhere: the frames are the same as when all bytes are there at once.
 * Input: a count of cuts, the lengths of the pieces, the bytes. */
#include "fuzz/fuzz.h"
#include "wire/frame.h"

#define BODY_MAX 300u
#define FRAMES_MAX 64

struct seen {
    struct frame frames[FRAMES_MAX];
    size_t at[FRAMES_MAX];
    size_t n;
    size_t consumed;
    enum frame_verdict end;
};

/* Everything there is in data[at..len), appended to s. */
static void parse(const uint8_t *data, size_t len, struct seen *s)
{
    while (s->n < FRAMES_MAX) {
        struct frame *f = &s->frames[s->n];
        size_t left = len - s->consumed, bytes = 0;
        uint8_t *piece = exact_copy(data + s->consumed, left);

        s->end = frame_parse(piece, left, BODY_MAX, f, &bytes);
        if (s->end == FRAME_PARTIAL) {
            CHECK(bytes > left);
        }
        if (s->end != FRAME_OK) {
            free(piece);
            return;
        }
        CHECK(bytes <= left && bytes == 8u + f->header_bytes + f->body_bytes);
        CHECK(f->header == piece + 8 && f->body == f->header + f->header_bytes);
        CHECK(f->body_bytes == 0 || (verb_has_body(f->verb) && f->body_bytes <= BODY_MAX));
        s->at[s->n++] = s->consumed;
        s->consumed += bytes;
        free(piece);
    }
}

static void check_same(const struct seen *a, const struct seen *b)
{
    CHECK(a->n == b->n && a->consumed == b->consumed && a->end == b->end);
    for (size_t i = 0; i < a->n; i++) {
        CHECK(a->at[i] == b->at[i] && a->frames[i].verb == b->frames[i].verb);
        CHECK(a->frames[i].header_bytes == b->frames[i].header_bytes);
        CHECK(a->frames[i].body_bytes == b->frames[i].body_bytes);
        CHECK(a->frames[i].fds == b->frames[i].fds);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct seen whole, pieces;
    struct input in = {data, len};
    size_t n_cuts = take_u8(&in) & 15, have = 0;
    const uint8_t *cuts = take_bytes(&in, &n_cuts);

    memset(&whole, 0, sizeof(whole));
    memset(&pieces, 0, sizeof(pieces));
    parse(in.data, in.left, &whole);
    for (size_t i = 0; i < n_cuts && have < in.left; i++) {
        have += cuts[i];
        have = have < in.left ? have : in.left;
        parse(in.data, have, &pieces);
        if (pieces.end == FRAME_TOO_LARGE) {
            break;
        }
    }
    if (pieces.end != FRAME_TOO_LARGE) {
        parse(in.data, in.left, &pieces);
    }
    check_same(&whole, &pieces);
    return 0;
}
