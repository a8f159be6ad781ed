# SPDX-License-Identifier: MIT
"""docs/protocol.md section 14: what topics keep, expiry and rate, on both kinds of link."""
import unittest

from pybus import LOSS, VERBS
from test_greeting import OnBothLinks, Seqpacket, Stream

LAST, ALL = 1, 2
RETAINED = OWNED = 1


class Retained(OnBothLinks):
    def setUp(self):
        self.topic = self.id().rsplit(".", 1)[-1]

    def keeper(self, n=1, **fields):
        client = self.client()
        client.send("ADVERTISE", alias=1, topic=self.topic, retain_messages=n, **fields)
        return client

    def kept(self, retained=ALL, **fields):
        """What a new subscription gets first."""
        client = self.client()
        client.subscribe(1, self.topic, retained=retained, **fields)
        bodies = []
        while (f := client.recv_any("MESSAGE", "SNAPSHOT_END")).verb == "MESSAGE":
            self.assertEqual(f.flags, RETAINED)
            bodies.append(f.body)
        self.assertEqual((f.subscription, f.kind, f.messages), (1, 0, len(bodies)))
        return bodies

    def test_kept_ones_come_first_and_then_the_live_ones(self):
        a, b = self.keeper(2), self.client()
        for body in (b"1", b"2", b"3"):
            a.publish(self.topic, body)
        a.sync()
        b.subscribe(5, self.topic, retained=ALL, window_messages=1)
        a.publish(self.topic, b"4")
        a.sync()
        got = []
        for _ in range(4):
            f = b.recv_any("MESSAGE", "SNAPSHOT_END")
            got.append((f.body, f.flags) if f.verb == "MESSAGE" else f.messages)
            b.send("CREDIT", subscription=5, messages=1, bytes=1)
        self.assertEqual(got, [(b"2", 1), (b"3", 1), 2, (b"4", 0)])
        self.assertEqual(self.kept(LAST), [b"4"])
        a.send("CLEAR", topic=self.topic)
        a.sync()
        self.assertEqual(self.kept(), [])

    def test_lifetimes(self):
        a = self.keeper(flags=OWNED)
        a.publish(self.topic, b"1")
        a.sync()
        self.assertEqual(self.kept(), [b"1"])
        a.send("UNADVERTISE", alias=1)
        a.sync()
        self.assertEqual(self.kept(), [])
        a = self.keeper(retain_ttl_ms=1)
        a.publish(self.topic, b"1")
        a.sync()
        while self.kept():
            pass
        a = self.keeper()
        a.publish(self.topic, b"2")
        a.sync()
        a.sock.close()
        self.assertEqual(self.kept(), [b"2"])
        b = self.client()
        b.send("CLEAR", topic=self.topic)
        self.assertEqual(b.sync(), [])
        self.assertEqual(self.kept(), [])

    def test_refusals(self):
        client = self.client()
        client.send("ADVERTISE", alias=1, topic="x", retain_messages=1 << 30)
        client.expect_status("LIMIT", verb=VERBS["ADVERTISE"], alias=1)
        client.send("ADVERTISE", alias=1, topic="x", flags=1 << 20)
        client.expect_status("INVALID_ARGUMENT", verb=VERBS["ADVERTISE"], alias=1)
        for fields in ({"retained": 3}, {"retained": 1, "group": "g"}, {"min_interval_ms": 1, "policy": 3}):
            client.send("SUBSCRIBE", subscription=1, filter="x", **fields)
            client.expect_status("INVALID_ARGUMENT", verb=VERBS["SUBSCRIBE"], subscription=1)
        for code, fields in (("INVALID_ARGUMENT", {}), ("INVALID_ARGUMENT", {"alias": 1, "topic": "a"}),
                             ("UNKNOWN_ALIAS", {"alias": 9}), ("INVALID_TOPIC", {"topic": "+"}),
                             ("DENIED", {"topic": "$bus/x"})):
            client.send("CLEAR", **fields)
            client.expect_status(code, verb=VERBS["CLEAR"], alias=fields.get("alias", 0))

    def test_expired_messages_are_told_in_their_place(self):
        a, b = self.client(), self.client()
        b.subscribe(1, self.topic, window_messages=1)
        a.publish(self.topic, b"1")
        a.publish(self.topic, b"2", ttl_ms=1)
        a.publish(self.topic, b"3")
        a.sync()
        b.expect("MESSAGE")
        # messages[2] expires whenever that is; it must come before it or be told, and the sum is right
        b.send("CREDIT", subscription=1, messages=2, bytes=2)
        f = b.recv_any("MESSAGE", "LOSS")
        if f.verb == "LOSS":
            self.assertEqual((f.count, f.fields["bytes"], LOSS[f.reason]), (1, 1, "EXPIRED"))
        else:
            self.assertEqual(f.body, b"2")
            b.send("CREDIT", subscription=1, messages=1, bytes=1)
        self.assertEqual(b.expect("MESSAGE").body, b"3")

    def test_at_most_one_in_an_interval(self):
        a, b = self.client(), self.client()
        b.subscribe(1, self.topic, min_interval_ms=50)
        for i in range(10):
            a.publish(self.topic, b"%d" % i)
        self.assertEqual(b.expect("MESSAGE").body, b"0")
        lost = delivered = 0
        while lost + delivered < 9:
            f = b.recv_any("MESSAGE", "LOSS")
            if f.verb == "LOSS":
                self.assertEqual(LOSS[f.reason], "CONFLATED")
                lost += f.count
            else:
                delivered += 1
                last = f.body
        self.assertEqual(last, b"9")


class TestRetainedSeqpacket(Seqpacket, Retained, unittest.TestCase):
    pass


class TestRetainedStream(Stream, Retained, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
