# SPDX-License-Identifier: MIT
"""docs/protocol.md section 22: what the router says of itself, and what it is told, on both kinds of link."""
import os
import time
import unittest

from pybus import ALL, INSIDE, decode, encode, frame
from test_greeting import OnBothLinks, Seqpacket, Stream

PAGES = {"clients": "ClientPage", "topics": "TopicPage", "subscriptions": "SubscriptionPage", "groups": "GroupPage",
         "quotas": "QuotaPage", "closed": "ClosedPage", "counters": "CounterPage"}
NORMAL, PROTOCOL_ERROR, ADMIN = 1, 3, 9
CREDIT = 2  # Client.slow


class Inside(OnBothLinks):
    def page(self, client, topic, **query):
        client.request(1, f"$bus/{topic}", encode("Query", query, INSIDE))
        answer = client.expect("ANSWER", call=1, part=0, flags=0, error=0)
        self.assertEqual((answer.peer.connection_id, answer.peer.name), (0, b"bus-router"))
        return decode(PAGES[topic], answer.body, INSIDE)

    def all(self, client, topic, **query):
        """All entries, page by page."""
        entries, after = [], 0
        while True:
            page = self.page(client, topic, after=after, **query)
            entries += page["entries"]
            if not page["next"]:
                return entries
            self.assertGreater(page["next"], after)
            after = page["next"]

    def client_entry(self, me, connection_id):
        entries = self.all(me, "clients", connection_id=connection_id)
        self.assertEqual(len(entries), 1)
        return entries[0]

    def test_clients(self):
        me, a = self.client(name="me"), self.client(name="a", session=0)
        a.subscribe(1, "c/#", window_messages=1, queue_messages=1)
        for _ in range(4):
            a.publish("c/x", b"12345")
        a.sync()
        e = self.client_entry(me, a.welcome.connection_id)
        self.assertEqual((e["name"], e["uid"], e["gid"], e["pid"]), ("a", os.getuid(), os.getgid(), os.getpid()))
        self.assertEqual((e["published_messages"], e["published_bytes"]), (4, 20))
        self.assertEqual((e["delivered_messages"], e["queued_messages"], e["lost_messages"], e["lost_queue_full"]), (1, 1, 2, 2))
        self.assertEqual((e["subscriptions"], e["state"]), (1, 2))
        self.assertEqual(e["link"], {"seqpacket": 1, "stream": 2}[self.kind])
        self.assertLess(abs(e["since_ns"] / 1e9 - time.time()), 60)
        for limit in (0, 1):
            ids = {e["connection_id"] for e in self.all(me, "clients", limit=limit)}
            self.assertLessEqual({me.welcome.connection_id, a.welcome.connection_id}, ids)
        deadline = time.monotonic() + 60
        while self.client_entry(me, a.welcome.connection_id)["slow"] != CREDIT:
            self.assertLess(time.monotonic(), deadline)
        e = self.client_entry(me, a.welcome.connection_id)
        self.assertEqual((e["slow_subscription"], e["slow_messages"]), (1, 1))
        self.assertGreaterEqual(e["slow_ms"], 1000)

    def test_topics_subscriptions_and_groups(self):
        me, a = self.client(), self.client()
        for alias in range(1, 6):
            a.send("ADVERTISE", alias=alias, topic=f"topic/{alias}")
        a.subscribe(3, "topic/+", window_messages=5, policy="latest")
        a.subscribe(4, "work/#", group="crew", flags=8)
        a.publish("topic/2", b"x")
        a.sync()
        topics = {e["name"]: e for e in self.all(me, "topics", limit=2)}
        self.assertEqual(topics["topic/2"]["published_messages"], 1)
        self.assertEqual(topics["topic/5"]["publishers"], 1)
        self.assertFalse([name for name in topics if name.startswith("$bus/")])
        subs = {e["subscription"]: e for e in self.all(me, "subscriptions", connection_id=a.welcome.connection_id)}
        self.assertEqual(set(subs), {3, 4})
        self.assertEqual((subs[3]["filter"], subs[3]["window_messages"], subs[3]["used_messages"]), ("topic/+", 5, 1))
        self.assertEqual((subs[4]["filter"], subs[4]["group"], subs[4]["flags"]), ("work/#", "crew", 8))
        groups = [e for e in self.all(me, "groups") if e["name"] == "crew"]
        self.assertEqual([(g["filter"], g["members"], g["ready_members"]) for g in groups], [("work/#", 1, 1)])

    def test_quotas_and_counters(self):
        me = self.client()
        quotas = self.all(me, "quotas", limit=3)
        self.assertTrue([q for q in quotas if q["is_total"] and q["slot"] == "bytes" and 0 < q["used"] < q["limit"]])
        self.assertTrue([q for q in quotas if not q["is_total"] and q["uid"] == os.getuid()])
        counters = {e["name"]: e["value"] for e in self.all(me, "counters", limit=7)}
        self.assertGreaterEqual(counters["clients_now"], 1)
        self.assertGreater(counters["requests_inside"], 1)

    def test_ends(self):
        me, a, b = self.client(), self.client(name="a"), self.client(name="b", hello=False)
        a.publish("e", b"x")
        a.send("GOODBYE")
        a.expect_end("NORMAL")
        b.send_raw(frame("PING", token=1))
        b.expect_end("PROTOCOL_ERROR")
        ends = self.all(me, "closed")
        by_reason = {e["reason"]: e for e in ends[-2:]}
        self.assertEqual([e["number"] for e in ends], sorted(e["number"] for e in ends))
        self.assertEqual((by_reason[NORMAL]["name"], by_reason[NORMAL]["published_messages"]), ("a", 1))
        self.assertEqual(by_reason[PROTOCOL_ERROR]["text"], "the first frame must be HELLO")
        self.assertEqual(self.all(me, "closed", connection_id=a.welcome.connection_id), [by_reason[NORMAL]])

    def test_disconnect(self):
        me, a = self.client(), self.client()
        body = encode("Disconnect", {"connection_id": a.welcome.connection_id, "text": "enough"}, INSIDE)
        me.request(1, "$bus/control/disconnect", body)
        answer = me.expect("ANSWER", call=1, error=0)
        self.assertEqual(decode("Controlled", answer.body, INSIDE)["text"], "disconnected")
        self.assertEqual(a.expect("GOODBYE", reason=ADMIN).text, b"enough")
        self.assertEqual(self.all(me, "closed")[-1]["text"], "enough")
        me.request(1, "$bus/control/disconnect", body)
        me.expect_done("INVALID_ARGUMENT", call=1)

    def test_refusals(self):
        me = self.client()
        for topic, body, status in (("$bus/nothing", b"", "NO_RESPONDER"), ("$bus", b"", "NO_RESPONDER"),
                                    ("$bus/clients", b"\xff", "INVALID_ARGUMENT"), ("$bus/clients/#", b"", "INVALID_TOPIC"),
                                    ("$bus/control/disconnect", b"", "INVALID_ARGUMENT")):
            me.request(1, topic, body)
            me.expect_done(status, call=1)
        me.request(1, "$bus/counters", flags=ALL)
        me.expect("ANSWER", call=1, part=1)
        me.expect_done("OK", call=1, replied=1)
        me.send("MONITOR")
        me.expect_status("OK")
        me.request(1, "$bus/counters")
        me.expect_done("UNEXPECTED", call=1)

    @unittest.skipIf(os.getuid(), "needs root to be somebody else")
    def test_others_may_not_ask(self):
        os.seteuid(65534)
        try:
            other = self.client()
        finally:
            os.seteuid(0)
        other.request(1, "$bus/clients")
        other.expect_done("DENIED", call=1)


class TestInsideSeqpacket(Seqpacket, Inside, unittest.TestCase):
    pass


class TestInsideStream(Stream, Inside, unittest.TestCase):
    pass


class TestDraining(Seqpacket, OnBothLinks, unittest.TestCase):
    def test_drain_answers_and_stops(self):
        client = self.client()
        client.request(1, "$bus/control/drain")
        client.expect("ANSWER", call=1, error=0)
        client.expect_end("SHUTDOWN")
        self.assertEqual(self.router.process.wait(60), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
