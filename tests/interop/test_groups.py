# SPDX-License-Identifier: MIT
"""docs/protocol.md section 13: groups, keys and acknowledgement, on both kinds of link."""
import unittest

from pybus import LOSS, VERBS
from test_greeting import OnBothLinks, Seqpacket, Stream

ACK, STICKY = 8, 16
REDELIVERED = 2
REFUSE = 1


def bodies(frames):
    return [f.body.decode() for f in frames if f.verb == "MESSAGE"]


class Groups(OnBothLinks):
    topic = "work"

    def member(self, number=1, **fields):
        client = self.client()
        client.subscribe(number, self.topic, group="g", **fields)
        return client

    def publish(self, *texts, **fields):
        with self.client() as client:
            for text in texts:
                client.publish(self.topic, text.encode(), **fields)
            client.sync()

    def test_each_message_goes_to_one_member(self):
        members = [self.member(), self.member(), self.member(window_messages=1)]
        other = self.client()
        other.subscribe(1, "#")
        self.publish(*"abcdef")
        got = [bodies(m.sync()) for m in members]
        self.assertEqual(sorted(sum(got, [])), list("abcdef"))
        self.assertEqual(len(got[2]), 1)
        self.assertEqual(bodies(other.sync()), list("abcdef"))

    def test_key_goes_to_one_member_in_order(self):
        members = [self.member(flags=STICKY) for _ in range(3)]
        self.publish(*"abc", key="k")
        self.publish("x", key="l")
        self.publish(*"def", key="k")
        got = [bodies(m.sync()) for m in members]
        self.assertIn(list("abcdef"), got)
        self.assertIn(["x"], got)

    def test_what_is_not_acknowledged_comes_back(self):
        a = self.member(number=5, flags=ACK, window_messages=2)
        self.publish(*"abc")
        first = [a.expect("MESSAGE", subscription=5, deliveries=0, flags=0) for _ in range(2)]
        self.assertEqual([f.body for f in first], [b"a", b"b"])
        self.assertNotEqual(first[0].delivery, first[1].delivery)
        a.send("CREDIT", subscription=5, messages=2, bytes=2)
        self.assertEqual(a.sync(), [])
        a.send("ACK", subscription=5, delivery=first[0].delivery)
        self.assertEqual(a.expect("MESSAGE").body, b"c")
        a.send("ACK", subscription=5, delivery=first[0].delivery)
        a.expect_status("UNKNOWN_DELIVERY", verb=VERBS["ACK"], subscription=5)
        b = self.member(flags=ACK)
        a.sock.close()
        again = [b.expect("MESSAGE", deliveries=1, flags=REDELIVERED) for _ in range(2)]
        self.assertEqual([f.body for f in again], [b"b", b"c"])
        for f in again:
            b.send("ACK", subscription=1, delivery=f.delivery)
        self.assertEqual(b.sync(), [])

    def test_what_is_given_up_is_a_dead_letter(self):
        watcher = self.client()
        watcher.subscribe(1, "dead/+")
        a = self.member(flags=ACK, deliveries_max=2, dead_letter="dead/work")
        self.publish("hard", headers=[("k", "v")])
        for n in range(2):
            f = a.expect("MESSAGE", deliveries=n)
            a.send("ACK", subscription=1, delivery=f.delivery, flags=REFUSE)
        f = watcher.expect("MESSAGE", sequence=1)
        self.assertEqual((f.topic_name, f.body), ("dead/work", b"hard"))
        self.assertEqual([(h["name"].decode(), h["value"].decode()) for h in f.headers],
                         [("k", "v"), ("bus-topic", "work"), ("bus-group", "g"), ("bus-deliveries", "2")])

    def test_without_a_dead_letter_it_is_a_loss(self):
        a = self.member(flags=ACK, deliveries_max=1)
        self.publish("hard")
        a.send("ACK", subscription=1, delivery=a.expect("MESSAGE").delivery, flags=REFUSE)
        a.expect("LOSS", subscription=1, count=1, bytes=4, reason=LOSS.index("EXPIRED"))

    def test_members_that_do_not_agree_are_refused(self):
        self.member(flags=ACK, queue_messages=7)
        b = self.client()
        for fields in ({"flags": 0}, {"queue_messages": 8}, {"policy": 1}, {"deliveries_max": 4}, {"dead_letter": "d"}):
            b.send("SUBSCRIBE", subscription=1, filter=self.topic, group="g",
                   **{"flags": ACK, "queue_messages": 7, **fields})
            b.expect_status("INVALID_ARGUMENT", verb=VERBS["SUBSCRIBE"], subscription=1)
        for fields in ({"flags": ACK}, {"group": "g", "flags": 1}, {"group": "g", "policy": 4}, {"group": "x" * 65},
                       {"group": "g", "retained": 1}, {"deliveries_max": 1}):
            b.send("SUBSCRIBE", subscription=1, filter="other", **fields)
            b.expect_status("INVALID_ARGUMENT", verb=VERBS["SUBSCRIBE"], subscription=1)
        b.subscribe(1, self.topic, group="g", flags=ACK, queue_messages=7, window_messages=1, deliveries_max=5)


class TestGroupsSeqpacket(Seqpacket, Groups, unittest.TestCase):
    pass


class TestGroupsStream(Stream, Groups, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
