#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the golden vectors of version 1 with the independent encoder of tests/interop. Vectors are never changed once
they are released; this file says where they come from and makes new ones.

y_*: decode and re-encode to the same bytes. n_*: must be refused, with the verdict that the first line names."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
from pybus import VERBS, frame, raw_frame  # noqa: E402

BIG32, BIG64 = 2 ** 32 - 1, 2 ** 64 - 1
HEADERS = [("traceparent", "00-ab-cd-01"), ("k", ""), ("k", "\u00e9")]


def write(name, rule, data):
    lines = [f"# {rule}"] + [data[i:i + 16].hex(" ") for i in range(0, len(data), 16)]
    (HERE / "1" / f"{name}.hex").write_text("\n".join(lines) + "\n")


def accept(verb, suffix, rule, body=b"", /, **fields):
    write(f"y_{verb.lower()}_{suffix}", f"{rule}", frame(verb, body, **fields))


def refuse(name, verdict, rule, data):
    write(f"n_{name}", f"{verdict}: {rule}", data)


def greeting():
    accept("HELLO", "plain", "section 3: the first frame", protocol_min=1, protocol_max=1, client_name="me")
    accept("HELLO", "all", "section 3: every field", protocol_min=1, protocol_max=BIG32, client_name="n" * 64,
           features=BIG64, resume_token=b"\0\1\2")
    accept("HELLO", "session", "section 16: a number other than 0", protocol_min=1, protocol_max=1, features=13,
           session=BIG64)
    accept("RESTORED", "plain", "section 16: all is set up again")
    accept("STOPPING", "all", "section 18: until then", deadline_ms=BIG32)
    accept("REPLACE", "all", "section 19: another router, with its descriptor", version=1)
    accept("WELCOME", "all", "section 3: every field", protocol=1, connection_id=2, router_epoch=BIG64,
           router_version="0.1.0", features=4, inline_max=65536, publish_window_messages=65536,
           publish_window_bytes=8 << 20, aliases_max=131072, subscriptions_max=131072, queue_messages_max=1 << 20,
           queue_bytes_max=64 << 20, window_messages_max=1 << 20, window_bytes_max=256 << 20, stall_timeout_ms=30000)
    accept("WELCOME", "buffers", "section 3: what section 10 needs", protocol=1, connection_id=2, features=3,
           body_max=1 << 30, buffers_max=128, buffer_bytes_max=4 << 30, descriptors_max=16, leases_max=16384)
    accept("STATUS", "ok", "section 2: absent fields are 0", verb=VERBS["SUBSCRIBE"], subscription=1)
    accept("STATUS", "all", "section 11: every field", code=12, verb=18, alias=3, subscription=4, sequence=BIG64,
           text="no credit")
    accept("STATUS", "buffer", "section 10: which buffer", code=17, verb=VERBS["BUFFER"], buffer=128)
    accept("GOODBYE", "normal", "section 8: an end", reason=1, text="done")
    accept("PING", "zero", "section 2: a header of 0 bytes")
    accept("PING", "largest", "section 8: a token is any number", token=BIG64)
    accept("PONG", "token", "section 8: the answer", token=127)
    accept("PONG", "two_bytes", "a varint of two bytes", token=128)


def publishing():
    accept("ADVERTISE", "plain", "section 5: an alias for a topic", alias=1, topic="a/b")
    accept("ADVERTISE", "utf8", "section 4: topics are UTF-8", alias=131072, topic="\u00e9/\u20ac/\U0001f600")
    accept("UNADVERTISE", "plain", "section 5: its end", alias=1)
    accept("PUBLISH", "alias", "section 5: by alias", b"body", alias=300)
    accept("PUBLISH", "topic", "section 5: by topic, with confirmation", b"\0\xff", topic="a", flags=1)
    accept("PUBLISH", "headers", "section 5: names may repeat and values be empty", b"", topic="a", headers=HEADERS)
    accept("PUBLISH", "64_headers", "section 5: at most 64 headers", b"x", alias=1, headers=[("k", "v")] * 64)
    accept("PUBLISH", "sequence", "section 17: sent again, with its number", b"x", alias=1, flags=2, sequence=BIG64)
    accept("ACKED", "all", "section 17: consumed up to here", sequence=BIG64)
    accept("PUBLISH", "empty_body", "section 2: a body may have 0 bytes", b"", alias=1)
    accept("PUBLISH_CREDIT", "plain", "section 7: credit given back", messages=32768, bytes=4 << 20)
    accept("CONFIRM", "all", "section 5: matched = delivered + queued + dropped", sequence=9, matched=6, delivered=3,
           queued=2, dropped=1)


def cargo():
    accept("BUFFER", "plain", "section 10: one descriptor travels with it", id=1, bytes=4 << 20, n_fds=1)
    accept("BUFFER", "immutable", "section 10: to a client", id=BIG32, bytes=BIG64, flags=1, n_fds=1)
    accept("UNBUFFER", "plain", "section 10: its end", id=128)
    accept("RETURNED", "first", "section 10: a place is free again", buffer=1)
    accept("RETURNED", "all", "section 10: every field", buffer=BIG32, offset=BIG64)
    accept("RELEASE", "plain", "section 10: the end of a lease", lease=16384)
    accept("RELEASE", "forget", "section 10: the buffer was not mapped", lease=1, flags=1)
    accept("PUBLISH", "buffer", "section 10: the body lies in a buffer", alias=1, buffer=2, offset=4096, bytes=100000)
    accept("PUBLISH", "descriptors", "section 10: 16 descriptors travel with it", b"body", topic="a", n_fds=16)
    accept("MESSAGE", "buffer", "section 10: where the body is", subscription=1, topic=2, sender=3, sequence=4, time=5,
           buffer=6, offset=7, bytes=8, lease=9)
    accept("MESSAGE", "descriptors", "section 10: with them", b"body", subscription=1, topic=2, sender=3, sequence=4,
           time=5, descriptors=2, n_fds=2)
    accept("MONITORED", "descriptors", "section 9: how many there were", b"", order=1, topic=2, sender=3, sequence=4,
           time=5, descriptors=16)


def subscribing():
    accept("SUBSCRIBE", "defaults", "section 6: 0 is the router's default", subscription=1, filter="#")
    accept("SUBSCRIBE", "all", "section 6: every field", subscription=2, filter="+/x/#", policy=4, window_messages=1,
           window_bytes=2, queue_messages=3, queue_bytes=BIG64, flags=1)
    accept("UNSUBSCRIBE", "plain", "section 6: its end", subscription=2)
    accept("MESSAGE", "plain", "section 6: time is a fixed64", b"body", subscription=1, topic=2, sender=3, sequence=4,
           time=1700000000000000000)
    accept("MESSAGE", "headers", "section 6: headers as published", b"", subscription=BIG32, topic=BIG32,
           sender=BIG32, sequence=BIG64, time=BIG64, flags=BIG32, headers=HEADERS)
    accept("MESSAGE", "reliable", "section 17: published reliably, and once more", b"body", subscription=1, topic=2,
           sender=3, sequence=2 ** 62 - 1, time=5, flags=12)
    accept("ADVERTISE", "reliable", "section 17: what is consumed is to be told", alias=1, topic="a", flags=4)
    accept("TOPIC", "plain", "section 6: binds an id", id=1, name="a/b")
    accept("PEER", "all", "section 6: who a sender is", id=1, connection_id=2, uid=1000, gid=1000, pid=4242,
           name="sensor")
    accept("CREDIT", "plain", "section 6: credit given back", subscription=1, messages=8192, bytes=2 << 20)
    accept("LOSS", "plain", "section 6: a gap", subscription=1, count=5, bytes=500, reason=1)


def watching():
    accept("MONITOR", "all_topics", "section 9: no filter means all topics")
    accept("MONITOR", "all", "section 9: filters in order", filters=["a/#", "b", "a/#"], snap_bytes=16,
           queue_bytes=1 << 20)
    accept("MONITORED", "refused", "section 9: a refused publish", b"", order=1, topic=2, sender=3, sequence=4,
           time=5, status=12)
    accept("MONITORED", "all", "section 9: every field", b"bo", order=BIG64, topic=2, sender=3, sequence=4, time=5,
           body_bytes=1 << 20, recipients_omitted=7, headers=HEADERS,
           recipients=[{"peer": 1, "subscription": 2, "verdict": 1}, {},
                       {"peer": 3, "subscription": 4, "verdict": 3, "reason": 1, "evicted": 6}])
    accept("SNAPSHOT", "all", "section 9", kind=1, after=BIG64, limit=10)
    accept("CLIENT_STATS", "all", "section 9", connection_id=1, uid=2, gid=3, pid=4, name="n", published_messages=5,
           published_bytes=6, delivered_messages=7, delivered_bytes=8, lost_messages=9, queued_messages=10,
           queued_bytes=11, subscriptions=12, aliases=13, charged_bytes=14, refused_messages=15)
    accept("TOPIC_STATS", "all", "section 9", id=1, name="a", published_messages=2, published_bytes=3,
           delivered_messages=4, lost_messages=5, publishers=6, subscriptions=7)
    accept("COUNTER", "plain", "section 9", name="frames_in", value=BIG64)
    accept("SNAPSHOT_END", "last", "section 9: 0 means that was all", kind=3)
    accept("SNAPSHOT_END", "next", "section 9: to be asked for next", kind=1, next=1000)


def requests():
    accept("REQUEST", "plain", "section 12: a call number and a topic", b"body", alias=1, call=2, timeout_ms=5000)
    accept("REQUEST", "all", "section 12: every field", b"", topic="a", flags=1, buffer=3, offset=4, bytes=5,
           call=BIG32, timeout_ms=BIG32, headers=HEADERS)
    accept("CALL", "plain", "section 12: time is a fixed64", b"body", subscription=1, topic=2, sender=3, call=BIG64, time=5,
           timeout_ms=6)
    accept("CALL", "all", "section 12: every field", b"", subscription=1, topic=2, sender=3, call=4, time=5, flags=1,
           buffer=7, offset=8, bytes=9, lease=10, descriptors=11, timeout_ms=12, headers=HEADERS)
    accept("REPLY", "plain", "section 12: the only reply", b"body", call=BIG64)
    accept("REPLY", "all", "section 12: every field", b"", call=1, flags=1, buffer=2, offset=3, bytes=4, error=BIG32,
           headers=HEADERS)
    accept("ANSWER", "plain", "section 12: to the requester", b"body", call=1, sender=2, time=3)
    accept("ANSWER", "all", "section 12: every field", b"", call=1, sender=3, time=5, flags=1, buffer=7, offset=8,
           bytes=9, lease=10, descriptors=11, error=12, headers=HEADERS)
    accept("DONE", "all", "section 12: the end of a request", call=1, status=20, replied=3, gone=4, timed_out=5, text="t")
    accept("CANCEL", "plain", "section 12: the requester's number, or the router's", call=BIG64, reason=21)


def sharing():
    accept("ACK", "all", "section 13: a message is done", subscription=1, delivery=2, flags=1)
    accept("SUBSCRIBE", "group", "section 13: a member of a group", subscription=1, filter="a", flags=8, group="workers",
           deliveries_max=3, dead_letter="dead/a")
    accept("MESSAGE", "delivery", "section 13: to be acknowledged", b"body", subscription=1, topic=2, sender=3, sequence=4,
           time=5, flags=2, delivery=6, deliveries=7)


def keeping():
    accept("ADVERTISE", "retain", "section 14: what is kept", alias=1, topic="a", flags=3, retain_messages=4,
           retain_ttl_ms=5)
    accept("CLEAR", "all", "section 14: nothing is kept any more", alias=1, topic="a")
    accept("SUBSCRIBE", "retained", "section 14: what was kept comes first", subscription=1, filter="a", retained=2,
           min_interval_ms=3)
    accept("SNAPSHOT_END", "subscription", "section 14: from here on live", subscription=1, messages=2)
    accept("PUBLISH", "ttl", "section 14: a time to live, and a key", b"body", alias=1, key="k", ttl_ms=1000)


def presence():
    accept("WILL", "all", "section 15: what is published at the end", b"body", topic="a", flags=1, delay_ms=2,
           headers=HEADERS)
    accept("INTEREST", "all", "section 15: how many listen", alias=1, subscriptions=2)
    accept("UNSUBSCRIBE", "drain", "section 18: what waits still comes", subscription=1, flags=1)
    accept("SUBSCRIBE", "silence", "section 15: an alarm", subscription=1, filter="a", silence_ms=1000)
    accept("SILENCE", "all", "section 15: nothing came", subscription=1, since_ms=BIG64)


def refused_frames():
    ping, publish = VERBS["PING"], VERBS["PUBLISH"]
    refuse("prefix_cut", "PARTIAL", "section 2: a prefix has 8 bytes", frame("PING", token=1)[:7])
    refuse("header_cut", "PARTIAL", "section 2: the header is as long as the prefix says", frame("PING", token=1)[:-1])
    refuse("body_cut", "PARTIAL", "section 2: the body is as long as the prefix says",
           frame("PUBLISH", b"body", alias=1)[:-1])
    refuse("body_of_ping", "TOO_LARGE", "section 2: no body on a verb without one", raw_frame(ping, b"", b"x"))
    refuse("body_of_unknown_verb", "TOO_LARGE", "section 2: unknown verbs have no body", raw_frame(200, b"", b"x"))
    refuse("body_of_status", "TOO_LARGE", "section 2", raw_frame(VERBS["STATUS"], b"", b"x"))
    refuse("body_65537", "TOO_LARGE", "section 3: over the inline limit of seqpacket",
           b"\1\0\1\0\0\0" + bytes([publish, 0]))
    refuse("fds", "UNSUPPORTED", "section 2: PING takes no descriptors", raw_frame(ping, b"", fds=1))
    refuse("fds_of_unbuffer", "UNSUPPORTED", "section 2: only PUBLISH, BUFFER and MESSAGE take descriptors",
           raw_frame(VERBS["UNBUFFER"], b"", fds=1))
    refuse("fds_17", "UNSUPPORTED", "section 2: at most 16 descriptors", raw_frame(publish, b"", fds=17))
    for verb in (0, 10, 15, 24, 40, 55, 255):
        refuse(f"verb_{verb}", "UNKNOWN_VERB", "section 11: no such verb", raw_frame(verb))
    refuse("text_get", "TOO_LARGE", "section 2: text by mistake", b"GET / HTTP/1.1\r\n\r\n")


def refused_headers():
    def malformed(name, verb, header, rule):
        refuse(name, "MALFORMED", rule, raw_frame(VERBS[verb], header))

    malformed("tag_only", "PING", b"\x08", "a tag without its value")
    malformed("varint_open", "PING", b"\x08\x80", "a varint that does not end")
    malformed("varint_11_bytes", "PING", b"\x08" + b"\x80" * 10 + b"\x01", "a varint of more than ten bytes")
    malformed("field_0", "PING", b"\x00\x01", "there is no field 0")
    malformed("group", "PING", b"\x0b\x0c", "groups are not part of proto3")
    malformed("wire_type_7", "PING", b"\x0f", "there is no wire type 7")
    malformed("text_too_long", "GOODBYE", b"\x12\x05a", "a text that ends after the header")
    malformed("wrong_type_number", "PING", b"\x0a\x01\x01", "a known field with another wire type")
    malformed("wrong_type_text", "ADVERTISE", b"\x10\x01", "a known field with another wire type")
    malformed("time_as_varint", "MESSAGE", b"\x28\x01", "section 6: time is a fixed64")
    malformed("time_cut", "MESSAGE", b"\x29\1\2\3\4\5\6\7", "a fixed64 has eight bytes")
    malformed("header_inside_cut", "PUBLISH", b"\x7a\x03\x0a\x05a", "a message inside that ends too late")
    refuse("65_headers", "MALFORMED", "section 2: at most 64 headers",
           frame("PUBLISH", b"", alias=1, headers=[("k", "v")] * 65))


if __name__ == "__main__":
    for make in (greeting, publishing, cargo, subscribing, watching, requests, sharing, keeping, presence, refused_frames, refused_headers):
        make()
