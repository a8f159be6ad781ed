/* SPDX-License-Identifier: MIT */
/* What the router publishes itself: in the name of a sender, and without credit. */
#include <stdlib.h>
#include "core/fan_out.h"
#include "core/state.h"

/* It may have to be kept; it can then not be refused. */
static void publication_keep(struct fan_out *out, struct message_parts *parts, struct kept **ret)
{
    enum bus_status status;

    uint64_t bytes = message_parts_body_bytes(parts);

    if (!parts->topic->keep) {
        return;
    }
    if (!out->message) {
        out->message = message_new(parts);
    }
    *ret = out->message ? keep_prepare(parts->topic, parts, bytes, &status) : NULL;
}

/* What was kept before must not stand for it. */
static void publication_kept(struct fan_out *out, struct kept *kept)
{
    if (kept) {
        kept->is_routers = true;
        keep_commit(kept, out->message);
    } else if (out->parts->topic->keep) {
        keep_clear(out->parts->topic->keep);
    }
}

bool publish_as(struct router *r, const struct publication *pub)
{
    size_t cap = MESSAGE_HEADER_MAX;
    AUTO_FREE uint8_t *header = malloc(FRAME_HEADER_MAX + OUTQ_SLACK_BYTES);
    struct topic *t = topics_get(&r->topics, pub->topic.data, pub->topic.len);
    struct message_parts parts = {.topic = t,
                                  .sender = pub->sender,
                                  .header = header,
                                  .body = pub->body,
                                  .body_bytes = pub->body_bytes,
                                  .size = pub->body_bytes,
                                  .flags = MESSAGE_UNCREDITED};
    struct fan_out out = {.router = r, .parts = &parts, .tapped = tap_wants(r)};
    struct kept *kept = NULL;
    struct tap_record record = {.parts = &parts,
                                .headers = pub->headers,
                                .n_headers = pub->n_headers,
                                .sequence = pub->sequence};
    struct wire_message m = {.topic = t ? t->id : 0,
                             .sender = pub->sender->id,
                             .sequence = pub->sequence,
                             .time = r->now.realtime_ns,
                             .headers = pub->headers,
                             .n_headers = pub->n_headers};
    long n = t && header ? codec_encode(&r->arena, VERB_MESSAGE, &m, header, cap) : -1;

    if (pub->cargo) {
        parts.body_bytes = 0;
        parts.size = pub->cargo->bytes;
    }
    for (size_t i = 0; i < pub->n_headers; i++) {
        parts.size += pub->headers[i].name.len + pub->headers[i].value.len;
    }
    parts.header_bytes = (size_t) MAX(n, 0L);
    if (pub->cargo) {
        parts.whole = n > 0 ? message_new(&parts) : NULL;
        out.message = parts.whole;
        n = parts.whole ? n : -1;
        if (!parts.whole) {
            cargo_discard(pub->cargo);
        } else {
            parts.whole->cargo = pub->cargo;
            (void) message_ref(parts.whole); /* for the record */
        }
    }
    if (n > 0) {
        publication_keep(&out, &parts, &kept);
        fan_out(&out);
        publication_kept(&out, kept);
        if (out.tapped) {
            record.n_matched = out.counts.matched;
            tap_emit(r, &record);
        }
        (void) fan_out_end(&out);
    }
    if (parts.whole) {
        message_unref(parts.whole);
    }
    if (t) {
        topic_unref(t);
    }
    return n > 0;
}
