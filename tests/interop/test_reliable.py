# SPDX-License-Identifier: MIT
"""docs/protocol.md sections 16 and 17: sequence numbers of a session, reliable topics, on both kinds of link."""
import unittest

from test_greeting import OnBothLinks, Seqpacket, Stream

RELIABLE = 4  # ADVERTISE.flags and MESSAGE.flags
RESENT, MESSAGE_RESENT = 2, 8  # PUBLISH.flags, MESSAGE.flags
ACK = 8


class Reliable(OnBothLinks):
    def publisher(self, alias=1, topic="r"):
        client = self.client(session=4711)
        client.send("ADVERTISE", alias=alias, topic=topic, flags=RELIABLE)
        return client

    def receive(self, client, n):
        return [client.expect("MESSAGE") for _ in range(n)]

    def test_consumed_is_acknowledged(self):
        subscriber, publisher = self.client(), self.publisher()
        subscriber.subscribe(1, "r")
        for text in (b"a", b"b", b"c"):
            publisher.send("PUBLISH", text, alias=1)
        got = self.receive(subscriber, 3)
        self.assertEqual([(m.sequence, m.flags, m.body) for m in got],
                         [(1, RELIABLE, b"a"), (2, RELIABLE, b"b"), (3, RELIABLE, b"c")])
        self.assertEqual(publisher.sync(), [])
        subscriber.send("CREDIT", subscription=1, messages=3, bytes=3)
        acked = 0
        while acked < 3:
            acked = publisher.expect("ACKED").sequence
        self.assertEqual(acked, 3)

    def test_publisher_goes_on_counting_and_resends(self):
        subscriber, publisher = self.client(), self.publisher()
        subscriber.subscribe(1, "r")
        publisher.send("PUBLISH", b"a", alias=1, sequence=7, flags=RESENT)
        publisher.send("PUBLISH", b"b", alias=1)
        publisher.send("PUBLISH", b"c", alias=1, sequence=8)
        got = self.receive(subscriber, 2)
        self.assertEqual([(m.sequence, m.flags) for m in got], [(7, RELIABLE | MESSAGE_RESENT), (8, RELIABLE)])
        self.assertEqual(got[0].peer.session, 4711)
        publisher.expect_status("INVALID_ARGUMENT", sequence=9)

    def test_without_a_session_there_is_neither(self):
        client = self.client()
        client.send("ADVERTISE", alias=1, topic="r", flags=RELIABLE)
        client.expect_status("INVALID_ARGUMENT", alias=1)
        client.publish("r", b"", sequence=5)
        client.expect_status("INVALID_ARGUMENT", sequence=1)

    def test_end_of_a_subscriber_is_enough(self):
        subscriber, publisher = self.client(), self.publisher()
        subscriber.subscribe(1, "r", window_messages=1)
        publisher.send("PUBLISH", b"a", alias=1)
        publisher.send("PUBLISH", b"b", alias=1)
        self.assertEqual(publisher.sync(), [])
        subscriber.sock.close()
        acked = 0
        while acked < 2:
            acked = publisher.expect("ACKED").sequence

    def test_group_that_acknowledges(self):
        member, publisher = self.client(), self.publisher()
        member.subscribe(1, "r", group="g", flags=ACK)
        publisher.send("PUBLISH", b"a", alias=1)
        m = self.receive(member, 1)[0]
        self.assertEqual((m.flags, m.delivery), (RELIABLE, 1))
        self.assertEqual(publisher.sync(), [])
        member.send("ACK", subscription=1, delivery=1)
        publisher.expect("ACKED", sequence=1)


class TestReliableSeqpacket(Seqpacket, Reliable, unittest.TestCase):
    pass


class TestReliableStream(Stream, Reliable, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
