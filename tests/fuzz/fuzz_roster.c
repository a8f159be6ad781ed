/* SPDX-License-Identifier: MIT */
/* Any file of sessions. What is read of it is what writing it again gives, byte for byte; and with
 * a whole header in front, too, so that its records are reached. */
#include "fuzz/fuzz.h"
#include "roster.h"

static const char boot[ROSTER_BOOT_BYTES] = "00000000-1111-2222-3333-444444444444";

struct again {
    uint8_t *data;
    size_t n;
};

static void on_record(void *ctx, bool is_there, const struct session_id *id)
{
    struct again *a = ctx;

    CHECK(id->session != 0);
    roster_put_record(a->data + a->n, is_there, id);
    a->n += ROSTER_RECORD_BYTES;
}

static void parse(const uint8_t *data, size_t len)
{
    struct again a = {.data = malloc(len + ROSTER_HEADER_BYTES + ROSTER_RECORD_BYTES),
                      .n = ROSTER_HEADER_BYTES};
    size_t good;

    CHECK(a.data);
    roster_put_header(a.data, boot);
    good = roster_parse(data, len, boot, on_record, &a);
    CHECK(good <= len);
    CHECK(good == 0 ? a.n == ROSTER_HEADER_BYTES : good == a.n && memcmp(data, a.data, good) == 0);
    free(a.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *with = malloc(len + ROSTER_HEADER_BYTES);

    parse(data, len);
    CHECK(with);
    roster_put_header(with, boot);
    if (len > 0) {
        memcpy(with + ROSTER_HEADER_BYTES, data, len);
    }
    parse(with, len + ROSTER_HEADER_BYTES);
    free(with);
    return 0;
}
