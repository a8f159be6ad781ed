# SPDX-License-Identifier: MIT
"""docs/protocol.md sections 4 to 7: publishing, subscribing and the delivery contract, on both kinds of link."""
import os
import time
import unittest

from pybus import LOSS, STATUS, VERBS, Closed, frame, raw_frame
from test_greeting import OnBothLinks, Seqpacket, Stream


def sent(frames):
    """What a subscriber got, in order: bodies, and ("lost", count, reason) where something is missing."""
    out = []
    for f in frames:
        if f.verb == "MESSAGE":
            out.append(f.body.decode())
        elif f.verb == "LOSS":
            out.append(("lost", f.count, LOSS[f.reason]))
    return merged(out)


def merged(items):
    """A gap may take several LOSS frames."""
    out = []
    for item in items:
        if out and isinstance(item, tuple) and isinstance(out[-1], tuple) and out[-1][2] == item[2]:
            item = ("lost", out.pop()[1] + item[1], item[2])
        out.append(item)
    return out


class Publishing(OnBothLinks):
    def refuse(self, code, verb="PUBLISH", body=b"", **fields):
        client = self.client()
        client.send(verb, body, **fields)
        return client.expect_status(code, verb=VERBS[verb])

    def test_message_carries_topic_sender_sequence_time_and_headers(self):
        a, b = self.client(name="a"), self.client(name="b")
        a.subscribe(7, "x/+")
        headers = [("content-type", "text"), ("k", "1"), ("k", ""), ("\u00e9", "\n")]
        before = time.time_ns()
        b.publish("x/y", b"\0body", headers=headers)
        m = a.expect("MESSAGE", subscription=7, sequence=1, flags=0)
        self.assertEqual((m.body, m.topic_name), (b"\0body", "x/y"))
        self.assertEqual([(h["name"].decode(), h["value"].decode()) for h in m.headers], headers)
        self.assertTrue(before - 10 ** 9 <= m.time <= time.time_ns())
        self.assertEqual((m.peer.connection_id, m.peer.name), (b.welcome.connection_id, b"b"))
        self.assertEqual((m.peer.pid, m.peer.uid, m.peer.gid), (os.getpid(), os.geteuid(), os.getegid()))

    def test_alias_is_a_topic(self):
        client = self.client()
        client.subscribe(1, "#")
        client.send_raw(frame("ADVERTISE", alias=3, topic="al/ias") + frame("PUBLISH", b"1", alias=3) +
                        frame("UNADVERTISE", alias=3) + frame("PUBLISH", b"2", alias=3) +
                        frame("ADVERTISE", alias=3, topic="other") + frame("PUBLISH", b"3", alias=3))
        self.assertEqual(client.expect("MESSAGE", sequence=1).topic_name, "al/ias")
        client.expect_status("UNKNOWN_ALIAS", verb=VERBS["PUBLISH"], alias=3, sequence=2)
        self.assertEqual(client.expect("MESSAGE", sequence=3).topic_name, "other")
        client.send("UNADVERTISE", alias=9)
        client.expect_status("UNKNOWN_ALIAS", verb=VERBS["UNADVERTISE"], alias=9)

    def test_refused_advertises(self):
        client = self.client()
        client.send("ADVERTISE", alias=1, topic="a")
        most = client.welcome.aliases_max
        for code, alias, topic in (("IN_USE", 1, "a"), ("INVALID_TOPIC", 2, "a/+"), ("INVALID_TOPIC", 2, ""),
                                   ("DENIED", 2, "$bus/x"), ("INVALID_ARGUMENT", 0, "a"),
                                   ("LIMIT", most + 1, "a")):
            client.send("ADVERTISE", alias=alias, topic=topic)
            client.expect_status(code, verb=VERBS["ADVERTISE"], alias=alias)
        client.send("ADVERTISE", alias=most, topic="a")
        self.assertEqual(client.sync(), [])

    def test_refused_publishes(self):
        for topic in ("a/#", "+", "a\nb", b"\xff", "x" * 256, "/" * 32):
            self.refuse("INVALID_TOPIC", topic=topic)
        self.refuse("DENIED", topic="$bus")
        self.refuse("DENIED", topic="$bus/x")
        self.refuse("UNKNOWN_ALIAS", alias=1)
        self.refuse("INVALID_ARGUMENT")
        self.refuse("INVALID_ARGUMENT", topic="a", alias=1)
        self.refuse("INVALID_ARGUMENT", topic="a", flags=4)
        for bad in (("", "v"), ("x" * 256, "v"), ("a\n", "v"), (b"\xff", "v"), ("k", b"\xff"), ("k", "\0")):
            self.refuse("INVALID_ARGUMENT", topic="a", headers=[bad])

    def test_refused_publishes_count_in_the_sequence(self):
        client = self.client()
        client.subscribe(1, "#")
        client.send_raw(frame("PUBLISH", topic="+") + raw_frame(VERBS["PUBLISH"], b"\x08") + frame("PUBLISH", topic="a"))
        client.expect_status("INVALID_TOPIC", sequence=1)
        client.expect_status("MALFORMED", sequence=2)
        client.expect("MESSAGE", sequence=3)

    def test_confirm_counts_what_became_of_a_message(self):
        a, b = self.client(), self.client()
        a.subscribe(1, "c", window_messages=1, queue_messages=1, policy="drop_newest")
        a.subscribe(2, "c/#")
        for expected in ((2, 2, 0, 0), (2, 1, 1, 0), (2, 1, 0, 1)):
            b.publish("c", b"x", flags=1)
            f = b.expect("CONFIRM")
            self.assertEqual((f.matched, f.delivered, f.queued, f.dropped), expected)
        b.publish("nobody", flags=1)
        b.expect("CONFIRM", sequence=4, matched=0)
        b.publish("+", flags=1)
        b.expect_status("INVALID_TOPIC", sequence=5)

    def test_credit_is_needed_and_given_back_in_steps(self):
        client = self.client()
        count = client.welcome.publish_window_messages
        given = 0
        for _ in range(4):
            for _ in range(count // 2 // 1024):
                client.send_raw(frame("PUBLISH", topic="a") * 1024)
            given += sum(f.messages for f in client.sync() if f.verb == "PUBLISH_CREDIT")
        self.assertGreaterEqual(given, count)


class Subscribing(OnBothLinks):
    def test_refused_subscriptions(self):
        client = self.client()
        client.subscribe(1, "a")
        w = client.welcome
        for code, fields in (("IN_USE", {"subscription": 1}), ("INVALID_FILTER", {"filter": "a+"}),
                             ("INVALID_FILTER", {"filter": ""}), ("INVALID_FILTER", {"filter": "#/a"}),
                             ("INVALID_ARGUMENT", {"subscription": 0}),
                             ("LIMIT", {"subscription": w.subscriptions_max + 1}),
                             ("INVALID_ARGUMENT", {"policy": 5}), ("INVALID_ARGUMENT", {"flags": 4}),
                             ("LIMIT", {"window_messages": w.window_messages_max + 1}),
                             ("LIMIT", {"window_bytes": w.window_bytes_max + 1}),
                             ("LIMIT", {"queue_messages": w.queue_messages_max + 1}),
                             ("LIMIT", {"queue_bytes": w.queue_bytes_max + 1})):
            fields = {"subscription": 2, "filter": "a", **fields}
            client.send("SUBSCRIBE", **fields)
            client.expect_status(code, verb=VERBS["SUBSCRIBE"], subscription=fields["subscription"])
        client.send("CREDIT", subscription=5, messages=1)
        self.assertEqual(client.sync(), [], "credit may still be on its way after UNSUBSCRIBE")
        client.send("UNSUBSCRIBE", subscription=5)
        client.expect_status("UNKNOWN_SUBSCRIPTION", verb=VERBS["UNSUBSCRIBE"], subscription=5)

    def test_each_matching_subscription_gets_its_own_message(self):
        client = self.client()
        client.subscribe(1, "a/#")
        client.subscribe(2, "+/b")
        client.subscribe(3, "b")
        client.publish("a/b", b"x")
        self.assertEqual(sorted(f.subscription for f in client.sync() if f.verb == "MESSAGE"), [1, 2])

    def test_dollar_topics_need_a_filter_that_says_so(self):
        client = self.client()
        client.subscribe(1, "#")
        client.subscribe(2, "$mine/#")
        client.publish("$mine/x", b"x")
        self.assertEqual([f.subscription for f in client.sync() if f.verb == "MESSAGE"], [2])

    def test_no_local_leaves_out_the_own_messages(self):
        a, b = self.client(), self.client()
        a.subscribe(1, "#", flags=1)
        a.publish("x", b"mine")
        a.sync()
        b.publish("x", b"other")
        self.assertEqual(a.expect("MESSAGE").body, b"other")

    def test_unsubscribe_ends_it_and_frees_the_number(self):
        client = self.client()
        client.subscribe(1, "a", window_messages=1)
        for body in (b"1", b"2", b"3"):
            client.publish("a", body)
        client.expect("MESSAGE")
        client.send_raw(frame("UNSUBSCRIBE", subscription=1) + frame("PUBLISH", topic="a"))
        client.expect_status("OK", verb=VERBS["UNSUBSCRIBE"], subscription=1)
        self.assertEqual(client.sync(), [])
        client.subscribe(1, "b")
        client.publish("b", b"new")
        self.assertEqual(client.expect("MESSAGE", subscription=1).body, b"new")

    def test_a_subscription_drains(self):
        client = self.client()
        client.subscribe(1, "a", window_messages=1)
        for body in (b"1", b"2"):
            client.publish("a", body)
        self.assertEqual(client.expect("MESSAGE").body, b"1")
        client.send_raw(frame("UNSUBSCRIBE", subscription=1, flags=1) + frame("PUBLISH", topic="a"))
        self.assertEqual(client.sync(), [])
        client.send("CREDIT", subscription=1, messages=1)
        self.assertEqual(client.expect("MESSAGE").body, b"2")
        client.expect_status("OK", verb=VERBS["UNSUBSCRIBE"], subscription=1)
        self.assertEqual(client.sync(), [])

    def test_all_subscriptions_see_one_order(self):
        subs = [self.client() for _ in range(2)]
        for client in subs:
            client.subscribe(1, "o/#")
        pubs = [self.client() for _ in range(3)]
        for turn in range(50):
            for i, p in enumerate(pubs):
                p.publish(f"o/{turn % 4}", b"%d.%d" % (i, turn))
        seen = [[s.expect("MESSAGE").body for _ in range(150)] for s in subs]
        self.assertEqual(seen[0], seen[1])
        for i in range(3):
            own = [b for b in seen[0] if b.startswith(b"%d." % i)]
            self.assertEqual(own, [b"%d.%d" % (i, t) for t in range(50)])


class Delivery(OnBothLinks):
    def publish_digits(self, client, n, topic="t"):
        publisher = self.client()
        for i in range(n):
            publisher.publish(topic, b"%d" % i)
        publisher.sync()
        return publisher

    def test_message_window_is_honoured(self):
        client = self.client()
        client.subscribe(1, "t", window_messages=3)
        self.publish_digits(client, 10)
        self.assertEqual(sent(client.sync()), list("012"))
        client.send("CREDIT", subscription=1, messages=2, bytes=2)
        self.assertEqual(sent(client.sync()), list("34"))
        client.send("CREDIT", subscription=1, messages=1000, bytes=1000)
        self.assertEqual(sent(client.sync()), list("567"), "credit beyond the window is cut")

    def test_byte_window_may_be_exceeded_by_one_message(self):
        client = self.client()
        client.subscribe(1, "t", window_bytes=10)
        p = self.client()
        for body in (b"a" * 6, b"b" * 2, b"c" * 3):
            p.publish("t", body, headers=[("k", "v")])
        p.sync()
        self.assertEqual(sent(client.sync()), ["aaaaaa", "bb"])  # 10 - 8 - 4 < 0
        client.send("CREDIT", subscription=1, messages=2, bytes=2)
        self.assertEqual(sent(client.sync()), [])
        client.send("CREDIT", subscription=1, bytes=1)
        self.assertEqual(sent(client.sync()), ["ccc"])

    def overflow(self, policy, n=10, **fields):
        client = self.client()
        client.subscribe(1, "t", policy=policy, window_messages=2, queue_messages=3, **fields)
        self.publish_digits(client, n)
        got = client.sync()
        for _ in range(n):
            client.send("CREDIT", subscription=1, messages=2, bytes=2)
            got += client.sync()
        lost = sum(f.bytes for f in got if f.verb == "LOSS")
        self.assertEqual(lost + sum(len(f.body) for f in got if f.verb == "MESSAGE"), n)
        return sent(got)

    def test_drop_oldest(self):
        self.assertEqual(self.overflow("drop_oldest"), ["0", "1", ("lost", 5, "QUEUE_FULL"), "7", "8", "9"])

    def test_drop_newest(self):
        self.assertEqual(self.overflow("drop_newest"), ["0", "1", "2", "3", "4", ("lost", 5, "QUEUE_FULL")])

    def test_latest_keeps_one_of_each_topic(self):
        client, p = self.client(), self.client()
        client.subscribe(1, "#", policy="latest", window_messages=1, queue_messages=2)
        for topic, body in (("a", b"a0"), ("a", b"a1"), ("b", b"b1"), ("a", b"a2"), ("b", b"b2")):
            p.publish(topic, body)
        p.sync()
        got = client.sync()
        for _ in range(3):
            client.send("CREDIT", subscription=1, messages=1, bytes=2)
            got += client.sync()
        self.assertEqual(sent(got), ["a0", ("lost", 2, "CONFLATED"), "a2", "b2"])
        for topic in "abcd":
            p.publish(topic, topic.encode() + b"3")
        p.sync()
        got = client.sync()
        for _ in range(3):
            client.send("CREDIT", subscription=1, messages=1, bytes=2)
            got += client.sync()
        self.assertEqual(sent(got), ["a3", ("lost", 1, "QUEUE_FULL"), "c3", "d3"])

    def test_byte_bound_of_the_queue(self):
        client, p = self.client(), self.client()
        client.subscribe(1, "t", window_messages=1, queue_bytes=10)
        for body in (b"first", b"x" * 6, b"y" * 5, b"z" * 30):
            p.publish("t", body)
        p.sync()
        got = client.sync()
        for _ in range(2):
            client.send("CREDIT", subscription=1, messages=1, bytes=50)
            got += client.sync()
        self.assertEqual(sent(got), ["first", ("lost", 2, "QUEUE_FULL"), "z" * 30], "a large one enters an empty queue")

    def test_disconnect(self):
        client = self.client()
        client.subscribe(1, "t", policy="disconnect", window_messages=1, queue_messages=1)
        self.publish_digits(client, 3)
        before = client.expect_end("SLOW_CONSUMER")
        self.assertEqual(sent(before)[:1], ["0"])

    def test_link_that_is_not_read_loses_nothing_silently(self):
        client, p = self.client(), self.client()
        client.subscribe(1, "t", window_messages=100000, queue_messages=50)
        for i in range(300):
            p.publish("t", b"%d" % i + b"x" * 20000)
            if i % 50 == 0:
                p.sync()
        p.sync()
        got = client.sync()
        while sum(1 if f.verb == "MESSAGE" else f.count if f.verb == "LOSS" else 0 for f in got) < 300:
            got.append(client.recv())
        order = [int(f.body.split(b"x")[0]) for f in got if f.verb == "MESSAGE"]
        self.assertEqual(order, sorted(order))
        self.assertEqual(order[-1], 299)
        self.assertTrue(any(f.verb == "LOSS" for f in got))

    def test_shutdown_comes_behind_everything(self):
        from router import Router
        with Router() as router:
            client, p = router.client(self.kind), router.client(self.kind)
            client.subscribe(1, "t")
            p.send_raw(b"".join(frame("PUBLISH", b"%d" % i, topic="t") for i in range(500)))
            p.sync()
            router.terminate()
            self.assertEqual(sent(client.expect_end("SHUTDOWN")), [str(i) for i in range(500)])
            p.expect_end("SHUTDOWN")


def credit_of(frames):
    return sum(f.messages for f in frames if f.verb == "PUBLISH_CREDIT")


class Blocking(OnBothLinks):
    options = ("--publish-window-messages", "8")

    def test_full_queue_stops_its_publisher_and_loses_nothing(self):
        client, p, other = self.client(), self.client(), self.client()
        client.subscribe(1, "t", policy="block", window_messages=1, queue_messages=2)
        credit, i, got = 8, 0, []
        for turn in range(200):
            while credit > 0 and i < 40:
                p.publish("t", b"%d" % i)
                credit, i = credit - 1, i + 1
            credit += credit_of(p.sync())
            other.publish("u", b"x", flags=1)
            other.expect("CONFIRM")
            client.send("CREDIT", subscription=1, messages=1, bytes=2)
            got += client.sync()
            if len(sent(got)) == 40:
                break
        self.assertEqual(sent(got), [str(n) for n in range(40)])

    def test_publishing_without_credit_is_refused(self):
        client, p = self.client(), self.client()
        client.subscribe(1, "t", policy="block", window_messages=1, queue_messages=1)
        p.send_raw(frame("PUBLISH", topic="t") * 9)
        frames = p.sync()
        refused = [f for f in frames if f.verb == "STATUS"]
        self.assertEqual([(STATUS[f.code], f.sequence) for f in refused], [("NO_CREDIT", 9)])
        self.assertEqual(credit_of(frames), 0)


class Stalling(OnBothLinks):
    options = ("--publish-window-messages", "8", "--stall-timeout", "100ms")

    def test_stalled_subscription_loses_its_right_to_block(self):
        client, p = self.client(), self.client()
        client.subscribe(4, "t", policy="block", window_messages=1, queue_messages=1)
        p.send_raw(b"".join(frame("PUBLISH", b"%d" % i, topic="t") for i in range(8)))
        got = [client.expect("MESSAGE")]
        f = client.recv_any("STATUS", "LOSS")
        while f.verb == "LOSS":
            got.append(f)
            f = client.recv_any("STATUS", "LOSS")
        self.assertEqual((STATUS[f.code], f.verb, f.subscription), ("STALLED", "STATUS", 4))
        self.assertEqual(f.fields["verb"], VERBS["SUBSCRIBE"])
        self.assertGreaterEqual(credit_of([p.recv()]), 4)
        client.send("CREDIT", subscription=4, messages=1, bytes=1)
        got += client.sync()
        got = sent(got)
        self.assertEqual((got[0], got[1][0], got[1][2]), ("0", "lost", "QUEUE_FULL"))
        self.assertEqual(1 + got[1][1] + len(got[2:]), 8)


class TestPublishingSeqpacket(Seqpacket, Publishing, unittest.TestCase):
    pass


class TestPublishingStream(Stream, Publishing, unittest.TestCase):
    def test_body_too_large_for_a_link_is_a_loss_there(self):
        client = self.router.client("seqpacket")
        self.addCleanup(client.sock.close)
        client.subscribe(1, "#")
        p = self.client()
        p.publish("a", b"x" * 65537)
        p.publish("a", b"fits")
        f = client.expect("LOSS", subscription=1, count=1, bytes=65537)
        self.assertEqual(LOSS[f.reason], "TOO_LARGE")
        self.assertEqual(client.expect("MESSAGE").body, b"fits")


class TestSubscribingSeqpacket(Seqpacket, Subscribing, unittest.TestCase):
    pass


class TestSubscribingStream(Stream, Subscribing, unittest.TestCase):
    pass


class TestDeliverySeqpacket(Seqpacket, Delivery, unittest.TestCase):
    pass


class TestDeliveryStream(Stream, Delivery, unittest.TestCase):
    pass


class TestBlockingSeqpacket(Seqpacket, Blocking, unittest.TestCase):
    pass


class TestBlockingStream(Stream, Blocking, unittest.TestCase):
    pass


class TestStallingSeqpacket(Seqpacket, Stalling, unittest.TestCase):
    pass


class TestStallingStream(Stream, Stalling, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
