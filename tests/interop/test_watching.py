# SPDX-License-Identifier: MIT
"""docs/protocol.md section 9: monitors and snapshots, on both kinds of link; and the tools, if they are built."""
import os
import pathlib
import subprocess
import unittest

import pybus
from pybus import LOSS, STATUS, VERBS
from test_greeting import OnBothLinks, Seqpacket, Stream

DELIVERED, QUEUED, DROPPED, DISCONNECTED = 1, 2, 3, 4


class Watching(OnBothLinks):
    options = ("--rule", f"allow all user={os.geteuid()} topic=# topic=$bus/# topic=$dollar/#",
               "--rule", "allow publish,subscribe user=54321 topic=#")

    def monitor(self, *filters, **fields):
        client = self.client(name="monitor")
        client.send("MONITOR", filters=filters, **fields)
        client.expect_status("OK", verb=VERBS["MONITOR"])
        return client

    def test_record_says_what_became_of_a_message(self):
        m, a, b = self.monitor("w/#"), self.client(name="a"), self.client(name="b")
        a.subscribe(5, "w/+", window_messages=1, queue_messages=1)
        for body in (b"one", b"two", b"three"):
            b.publish("w/x", body, headers=[("k", "v")])
        b.publish("elsewhere", b"")
        b.sync()
        records = [m.expect("MONITORED") for _ in range(3)]
        self.assertEqual(m.sync(), [])
        self.assertEqual([r.body for r in records], [b"one", b"two", b"three"])
        self.assertEqual([r.order for r in records], [records[0].order + i for i in range(3)])
        self.assertEqual([r.sequence for r in records], [1, 2, 3])
        for r in records:
            self.assertEqual((r.topic_name, r.peer.name, r.peer.pid), ("w/x", b"b", os.getpid()))
            self.assertEqual((r.status, r.body_bytes, r.recipients_omitted), (0, len(r.body), 0))
            self.assertEqual(r.headers, [{"name": b"k", "value": b"v"}])
            self.assertEqual(m.peers[r.recipients[0]["peer"]].connection_id, a.welcome.connection_id)
            self.assertEqual(r.recipients[0]["subscription"], 5)
        self.assertEqual([(r.recipients[0]["verdict"], r.recipients[0]["evicted"]) for r in records],
                         [(DELIVERED, 0), (QUEUED, 0), (QUEUED, 1)])

    def test_drops_and_disconnects_are_recorded(self):
        m, a, b, p = self.monitor("d"), self.client(), self.client(), self.client()
        a.subscribe(1, "d", window_messages=1, queue_messages=1, policy="drop_newest")
        b.subscribe(2, "d", window_messages=1, queue_messages=1, policy="disconnect")
        for _ in range(3):
            p.publish("d", b"x")
        p.sync()
        for _ in range(2):
            m.expect("MONITORED")
        verdicts = {r["subscription"]: (r["verdict"], LOSS[r["reason"]]) for r in m.expect("MONITORED").recipients}
        self.assertEqual(verdicts[1], (DROPPED, "QUEUE_FULL"))
        self.assertEqual(verdicts[2][0], DISCONNECTED)

    def test_refused_publishes_are_seen_if_they_have_a_topic(self):
        m, p = self.monitor(), self.client()
        p.publish("+")
        p.publish("$bus/x")
        p.publish("ok")
        p.publish("bad", b"no", headers=[("", "")])
        p.sync()
        f = m.expect("MONITORED", status=STATUS.index("DENIED"), sequence=2)
        self.assertEqual(f.topic_name, "$bus/x")
        ok = m.expect("MONITORED", status=0, sequence=3, order=f.order + 1)
        refused = m.expect("MONITORED", status=STATUS.index("INVALID_ARGUMENT"), sequence=4, order=ok.order)
        self.assertEqual((refused.topic_name, refused.body), ("bad", b"no"))

    def test_bodies_are_cut_to_the_snap_length(self):
        m, p = self.monitor("s", snap_bytes=4), self.client()
        p.publish("s", b"123456")
        p.publish("s", b"12")
        r = m.expect("MONITORED", body_bytes=6)
        self.assertEqual(r.body, b"1234")
        self.assertEqual(m.expect("MONITORED", body_bytes=2).body, b"12")

    def test_no_filter_is_every_topic(self):
        m, p = self.monitor(), self.client()
        p.publish("$dollar")
        p.publish("plain")
        self.assertEqual([m.expect("MONITORED").topic_name for _ in range(2)], ["$dollar", "plain"])

    def test_monitor_may_do_nothing_else(self):
        m = self.monitor()
        for verb, fields in (("PUBLISH", {"topic": "a"}), ("SUBSCRIBE", {"subscription": 1, "filter": "a"}),
                             ("ADVERTISE", {"alias": 1, "topic": "a"}), ("MONITOR", {})):
            m.send(verb, **fields)
            m.expect_status("UNEXPECTED", verb=VERBS[verb])
        client = self.client()
        client.subscribe(1, "a")
        client.send("MONITOR")
        client.expect_status("UNEXPECTED", verb=VERBS["MONITOR"])

    def test_filters_are_checked(self):
        client = self.client()
        client.send("MONITOR", filters=["a+"])
        client.expect_status("INVALID_FILTER", verb=VERBS["MONITOR"])
        client.send("MONITOR", filters=["a"] * 33)
        self.assertIn(STATUS[client.expect("STATUS").code], ("LIMIT", "INVALID_ARGUMENT"))
        client.send("MONITOR", filters=["a"] * 32)
        client.expect_status("OK")

    def test_slow_monitor_loses_records_and_is_told(self):
        m, p = self.monitor("big", queue_bytes=65536), self.client()
        for i in range(200):
            p.publish("big", b"%d" % i + b"x" * 20000)
            if i % 50 == 0:
                p.sync()
        p.sync()
        seen = lost = 0
        while seen + lost < 200:
            f = m.recv_any("MONITORED", "LOSS")
            if f.verb == "LOSS":
                self.assertEqual((f.subscription, LOSS[f.reason]), (0, "QUEUE_FULL"))
                lost += f.count
            else:
                self.assertEqual(int(f.body.split(b"x")[0]), seen + lost)
                seen += 1
        self.assertGreater(lost, 0)
        self.assertEqual(m.sync(), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to connect as somebody else")
    def test_others_may_not_watch(self):
        os.seteuid(54321)
        try:
            client = self.client()
        finally:
            os.seteuid(0)
        client.send("MONITOR")
        client.expect_status("DENIED", verb=VERBS["MONITOR"])
        client.send("SNAPSHOT", kind=1)
        client.expect_status("DENIED", verb=VERBS["SNAPSHOT"])
        client.subscribe(1, "#")
        client.publish("a")
        self.assertEqual(client.expect("MESSAGE").peer.uid, 54321)

    def snapshot(self, client, verb, kind, limit=0):
        entries, after = [], 0
        while True:
            client.send("SNAPSHOT", kind=kind, after=after, limit=limit)
            n = 0
            f = client.recv_any(verb, "SNAPSHOT_END")
            while f.verb == verb:
                entries, n = entries + [f], n + 1
                f = client.recv_any(verb, "SNAPSHOT_END")
            self.assertEqual(f.kind, kind)
            self.assertLessEqual(n, limit or 1000)
            if f.next == 0:
                return entries
            after = f.next

    def test_snapshot_of_clients(self):
        me = self.client(name="me")
        others = [self.client(name=f"o{i}") for i in range(5)]
        others[0].subscribe(1, "s/1", window_messages=1)
        others[0].send("ADVERTISE", alias=1, topic="s/2")
        for _ in range(3):
            others[1].publish("s/1", b"1234")
        others[1].publish("+")
        for c in others[:2]:
            c.sync()
        for limit in (0, 2):
            ids = [f.connection_id for f in self.snapshot(me, "CLIENT_STATS", 1, limit)]
            self.assertEqual(ids, sorted(set(ids)))
            self.assertTrue({c.welcome.connection_id for c in others + [me]} <= set(ids))
        stats = {f.name: f for f in self.snapshot(me, "CLIENT_STATS", 1)}
        o0, o1 = stats[b"o0"], stats[b"o1"]
        self.assertEqual((o0.subscriptions, o0.aliases, o0.delivered_messages, o0.queued_messages), (1, 1, 1, 2))
        self.assertEqual((o0.delivered_bytes, o0.queued_bytes), (4, 8))
        self.assertEqual((o1.published_messages, o1.published_bytes, o1.refused_messages), (3, 12, 1))
        self.assertEqual((o1.pid, o1.uid), (os.getpid(), os.geteuid()))

    def test_snapshot_of_topics(self):
        client = self.client()
        names = {b"st/%d" % i for i in range(7)}
        for i, name in enumerate(sorted(names)):
            client.send("ADVERTISE", alias=i + 1, topic=name)
            client.send("PUBLISH", b"xy", alias=i + 1)
        for limit in (0, 3):
            stats = [f for f in self.snapshot(client, "TOPIC_STATS", 2, limit) if f.name in names]
            self.assertEqual({f.name for f in stats}, names)
            for f in stats:
                self.assertEqual((f.published_messages, f.published_bytes, f.publishers), (1, 2, 1))

    def test_snapshot_of_counters(self):
        client = self.client()
        counters = {f.name: f.value for f in self.snapshot(client, "COUNTER", 3)}
        self.assertGreaterEqual(counters[b"clients_now"], 1)
        self.assertGreater(len(counters), 10)

    def test_unknown_kind_of_snapshot(self):
        client = self.client()
        client.send("SNAPSHOT", kind=4)
        client.expect_status("INVALID_ARGUMENT", verb=VERBS["SNAPSHOT"])

    def tool(self, name, *args, **kwargs):
        path = str(pathlib.Path(os.environ["BUS_BUILD_DIR"], "tools", name))
        return subprocess.Popen([path, "--address", self.router.addresses[self.kind], *args], **kwargs)

    def test_bus_pub_is_understood(self):
        client = self.client()
        client.subscribe(1, "tool/#")
        p = self.tool("bus-pub", "-H", "k=v", "tool/a", "hello", stdin=subprocess.DEVNULL)
        self.assertEqual(p.wait(pybus.TIMEOUT), 0)
        f = client.expect("MESSAGE")
        self.assertEqual((f.topic_name, f.body, f.headers), ("tool/a", b"hello", [{"name": b"k", "value": b"v"}]))
        self.assertEqual(f.peer.pid, p.pid)

    def test_bus_sub_understands(self):
        ready, writable = os.pipe()
        p = self.tool("bus-sub", "--ready-fd", str(writable), "-n", "2", "-f", "%t %b %{k} %p%n", "tool/+",
                      stdout=subprocess.PIPE, text=True, pass_fds=[writable])
        os.close(writable)
        self.assertTrue(pybus.wait_ready(ready))
        os.close(ready)
        client = self.client()
        client.publish("tool/x", b"one", headers=[("k", "v")])
        client.publish("tool/x", b"two")
        out, _ = p.communicate(timeout=pybus.TIMEOUT)
        self.assertEqual(out, f"tool/x one v {os.getpid()}\ntool/x two  {os.getpid()}\n")
        self.assertEqual(p.returncode, 0)


class TestWatchingSeqpacket(Seqpacket, Watching, unittest.TestCase):
    pass


class TestWatchingStream(Stream, Watching, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
