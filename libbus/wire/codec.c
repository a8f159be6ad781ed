/* SPDX-License-Identifier: MIT */
#include "wire/codec.h"
#include <bus/types.h>
#include "bus.pb-c.h"

static void *codec_alloc(void *arena, size_t bytes)
{
    return arena_alloc(arena, bytes);
}

static void codec_free(void *arena, void *p)
{
    (void) arena;
    (void) p;
}

static struct text text_of(const ProtobufCBinaryData *b)
{
    return (struct text){b->len ? (const char *) b->data : "", b->len};
}

static ProtobufCBinaryData bytes_of(struct text t)
{
    return (ProtobufCBinaryData){t.len, (uint8_t *) (uintptr_t) t.data};
}

/* ---- repeated fields: an array of pointers in protobuf-c, an array of structs here ---- */

static bool headers_decode(struct arena *a, Bus__Wire__TextHeader **pb, size_t n,
                           const struct wire_header **ret)
{
    struct wire_header *v;

    if (n > BUS_HEADERS_MAX) {
        return false;
    }
    v = arena_alloc(a, (n + 1) * sizeof(*v));
    if (!v) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = (struct wire_header){text_of(&pb[i]->name), text_of(&pb[i]->value)};
    }
    *ret = v;
    return true;
}

static Bus__Wire__TextHeader **headers_encode(struct arena *a, const struct wire_header *v,
                                              size_t n)
{
    Bus__Wire__TextHeader **list = arena_alloc(a, (n + 1) * sizeof(*list));
    Bus__Wire__TextHeader *pb = arena_alloc(a, (n + 1) * sizeof(*pb));

    if (!list || !pb) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        bus__wire__text_header__init(&pb[i]);
        pb[i].name = bytes_of(v[i].name);
        pb[i].value = bytes_of(v[i].value);
        list[i] = &pb[i];
    }
    return list;
}

static bool recipients_decode(struct arena *a, Bus__Wire__Recipient **pb, size_t n,
                              const struct wire_recipient **ret)
{
    struct wire_recipient *v = arena_alloc(a, (n + 1) * sizeof(*v));

    if (!v) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = (struct wire_recipient){pb[i]->peer, pb[i]->subscription, pb[i]->verdict,
                                       pb[i]->reason, pb[i]->evicted};
    }
    *ret = v;
    return true;
}

static Bus__Wire__Recipient **recipients_encode(struct arena *a, const struct wire_recipient *v,
                                                size_t n)
{
    Bus__Wire__Recipient **list = arena_alloc(a, (n + 1) * sizeof(*list));
    Bus__Wire__Recipient *pb = arena_alloc(a, (n + 1) * sizeof(*pb));

    if (!list || !pb) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        bus__wire__recipient__init(&pb[i]);
        pb[i].peer = v[i].peer;
        pb[i].subscription = v[i].subscription;
        pb[i].verdict = v[i].verdict;
        pb[i].reason = v[i].reason;
        pb[i].evicted = v[i].evicted;
        list[i] = &pb[i];
    }
    return list;
}

static bool texts_decode(struct arena *a, const ProtobufCBinaryData *pb, size_t n,
                         const struct text **ret)
{
    struct text *v = arena_alloc(a, (n + 1) * sizeof(*v));

    if (!v) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = text_of(&pb[i]);
    }
    *ret = v;
    return true;
}

static ProtobufCBinaryData *texts_encode(struct arena *a, const struct text *v, size_t n)
{
    ProtobufCBinaryData *pb = arena_alloc(a, (n + 1) * sizeof(*pb));

    for (size_t i = 0; pb && i < n; i++) {
        pb[i] = bytes_of(v[i]);
    }
    return pb;
}

/* ---- one converter for each message, from its list of fields ---- */

#define TO_U32(name) m->name = pb->name;
#define TO_U64(name) m->name = pb->name;
#define TO_TEXT(name) m->name = text_of(&pb->name);
#define TO_LIST(name, decode)                                                                      \
    m->n_##name = pb->n_##name;                                                                    \
    if (!decode(a, pb->name, pb->n_##name, &m->name)) {                                            \
        return false;                                                                              \
    }
#define TO_TEXTS(name) TO_LIST(name, texts_decode)
#define TO_HEADERS(name) TO_LIST(name, headers_decode)
#define TO_RECIPIENTS(name) TO_LIST(name, recipients_decode)

#define FROM_U32(name) pb->name = m->name;
#define FROM_U64(name) pb->name = m->name;
#define FROM_TEXT(name) pb->name = bytes_of(m->name);
#define FROM_LIST(name, encode)                                                                    \
    pb->n_##name = m->n_##name;                                                                    \
    pb->name = encode(a, m->name, m->n_##name);                                                    \
    if (!pb->name) {                                                                               \
        return false;                                                                              \
    }
#define FROM_TEXTS(name) FROM_LIST(name, texts_encode)
#define FROM_HEADERS(name) FROM_LIST(name, headers_encode)
#define FROM_RECIPIENTS(name) FROM_LIST(name, recipients_encode)

#define X(upper, number, Pb, member, body)                                                         \
    static bool member##_decode(struct arena *a, const void *from, void *to)                       \
    {                                                                                              \
        const Bus__Wire__##Pb *pb = from;                                                          \
        struct wire_##member *m = to;                                                              \
                                                                                                   \
        (void) a;                                                                                  \
        WIRE_FIELDS_##upper(TO_U32, TO_U64, TO_TEXT, TO_TEXTS, TO_HEADERS, TO_RECIPIENTS);         \
        return true;                                                                               \
    }                                                                                              \
    static bool member##_encode(struct arena *a, const void *from, void *to)                       \
    {                                                                                              \
        const struct wire_##member *m = from;                                                      \
        Bus__Wire__##Pb *pb = to;                                                                  \
                                                                                                   \
        (void) a;                                                                                  \
        WIRE_FIELDS_##upper(FROM_U32, FROM_U64, FROM_TEXT, FROM_TEXTS, FROM_HEADERS,               \
                            FROM_RECIPIENTS);                                                      \
        return true;                                                                               \
    }
VERB_LIST(X)
#undef X

struct codec_entry {
    const ProtobufCMessageDescriptor *descriptor;
    bool (*decode)(struct arena *a, const void *from, void *to);
    bool (*encode)(struct arena *a, const void *from, void *to);
};

static bool codec_entry_of(uint8_t verb, struct codec_entry *ret)
{
    switch (verb) {
#define X(upper, number, Pb, member, body)                                                         \
    case number:                                                                                   \
        *ret = (struct codec_entry){(const ProtobufCMessageDescriptor *) PB_DESCRIPTOR(member),    \
                                    member##_decode, member##_encode};                             \
        return true;
#define PB_DESCRIPTOR(member) &bus__wire__##member##__descriptor
        VERB_LIST(X)
#undef X
    }
    return false;
}

enum codec_verdict codec_decode(struct arena *a, uint8_t verb, const uint8_t *header, size_t bytes,
                                union wire_any *ret)
{
    ProtobufCAllocator allocator = {codec_alloc, codec_free, a};
    struct codec_entry entry;
    ProtobufCMessage *pb;

    if (!codec_entry_of(verb, &entry)) {
        return CODEC_MALFORMED;
    }
    pb = protobuf_c_message_unpack(entry.descriptor, &allocator, bytes, header);
    if (!pb || !entry.decode(a, pb, ret)) {
        return CODEC_MALFORMED;
    }
    return CODEC_OK;
}

long codec_encode(struct arena *a, enum verb verb, const void *m, uint8_t *dst, size_t cap)
{
    size_t mark = a->used;
    struct codec_entry entry;
    ProtobufCMessage *pb;
    long bytes = -1;

    if (!codec_entry_of((uint8_t) verb, &entry)) {
        return -1;
    }
    pb = arena_alloc(a, entry.descriptor->sizeof_message);
    if (pb) {
        protobuf_c_message_init(entry.descriptor, pb);
        if (entry.encode(a, m, pb)) {
            size_t need = protobuf_c_message_get_packed_size(pb);

            if (need <= cap && need <= FRAME_HEADER_MAX) {
                bytes = (long) protobuf_c_message_pack(pb, dst);
            }
        }
    }
    a->used = mark;
    return bytes;
}
