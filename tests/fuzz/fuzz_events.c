/* SPDX-License-Identifier: MIT */
/* Any bytes as the body of an event: read without looking beyond them; and what was read is written
 * and read again as it was. */
#include "fuzz/fuzz.h"
#include "wire/denied_event.h"
#include "wire/quota_event.h"

static void check_same_text(struct text a, struct text b, size_t max)
{
    CHECK(b.len == (a.len < max ? a.len : max));
    CHECK(memcmp(a.data, b.data, b.len) == 0);
}

static void check_client_event(const uint8_t *data, size_t len)
{
    struct client_event a, b;
    uint8_t again[CLIENT_EVENT_MAX];

    if (client_event_decode(data, len, &a)) {
        size_t n = client_event_encode(&a, again);

        CHECK(n <= sizeof(again));
        CHECK(client_event_decode(again, n, &b));
        CHECK(a.kind == b.kind && a.connection_id == b.connection_id && a.reason == b.reason);
        CHECK(a.uid == b.uid && a.gid == b.gid && a.pid == b.pid);
        check_same_text(a.name, b.name, BUS_NAME_MAX);
        check_same_text(a.text, b.text, EVENT_TEXT_MAX);
    }
}

static void check_denied_event(const uint8_t *data, size_t len)
{
    struct denied_event a, b;
    uint8_t again[DENIED_EVENT_MAX];

    if (denied_event_decode(data, len, &a)) {
        size_t n = denied_event_encode(&a, again);

        CHECK(n <= sizeof(again));
        CHECK(denied_event_decode(again, n, &b));
#define NUMBER(number, name) CHECK(a.name == b.name);
#define TEXT(number, name, max) check_same_text(a.name, b.name, max);
        DENIED_EVENT_FIELDS(NUMBER, NUMBER, TEXT)
#undef NUMBER
#undef TEXT
    }
}

static void check_quota_event(const uint8_t *data, size_t len)
{
    struct quota_event a, b;
    uint8_t again[QUOTA_EVENT_MAX];

    if (quota_event_decode(data, len, &a)) {
        size_t n = quota_event_encode(&a, again);

        CHECK(n <= sizeof(again));
        CHECK(quota_event_decode(again, n, &b));
        CHECK(a.uid == b.uid && a.connection_id == b.connection_id && a.limit == b.limit);
        CHECK(a.used == b.used && a.requested == b.requested && a.times == b.times);
        check_same_text(a.slot, b.slot, QUOTA_SLOT_MAX);
        CHECK(a.n_holders <= QUOTA_HOLDERS_MAX && b.n_holders <= a.n_holders); /* empty ones go */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy = exact_copy(data, len);

    check_client_event(copy, len);
    check_denied_event(copy, len);
    check_quota_event(copy, len);
    free(copy);
    return 0;
}
