# SPDX-License-Identifier: MIT
"""docs/protocol.md section 12: requests and replies, on both kinds of link."""
import os
import time
import unittest

from pybus import ALL, BUFFERS, DESCRIPTORS, MORE, STATUS, VERBS, SharedMemory
from test_greeting import OnBothLinks, Seqpacket, Stream


class Requests(OnBothLinks):
    options = ("--request-timeout-max", "60s")

    def server(self, topic="t", **fields):
        client = self.client(features=fields.pop("features", 0))
        client.serve(1, topic, **fields)
        return client

    def test_welcome_says_what_a_requester_needs(self):
        w = self.client().welcome
        self.assertEqual(w.request_timeout_max_ms, 60000)
        self.assertGreater(w.requests_max, 0)

    def test_a_request_is_answered(self):
        server, client = self.server("sum/+"), self.client()
        client.request(7, "sum/int", b"1 2", headers=[("traceparent", "00-1")], timeout_ms=50000)
        call = server.expect("CALL", subscription=1, timeout_ms=50000)
        self.assertEqual((call.body, call.topic_name), (b"1 2", "sum/int"))
        self.assertEqual(call.headers, [{"name": b"traceparent", "value": b"00-1"}])
        self.assertEqual(call.peer.connection_id, client.welcome.connection_id)
        self.assertLess(abs(call.time / 1e9 - time.time()), 60)
        server.reply(call, b"3", error=5, headers=[("k", "v")])
        answer = client.expect("ANSWER", call=7, part=0, flags=0, error=5)
        self.assertEqual((answer.body, answer.headers), (b"3", [{"name": b"k", "value": b"v"}]))
        self.assertEqual(answer.peer.connection_id, server.welcome.connection_id)
        server.reply(call, b"4")
        server.expect_status("UNKNOWN_CALL", verb=VERBS["REPLY"], call=call.fields["call"])
        self.assertEqual(client.sync(), [])

    def test_numbers_are_free_after_the_end(self):
        server, client = self.server(), self.client()
        client.request(1, "t")
        client.request(1, "t")
        client.expect_status("IN_USE", verb=VERBS["REQUEST"], call=1)
        first = server.expect("CALL")
        client.send("CANCEL", call=1)
        client.expect_done("CANCELLED", call=1)
        client.request(1, "t")
        server.expect("CANCEL", call=first.fields["call"], reason=STATUS.index("CANCELLED"))
        second = server.expect("CALL")
        self.assertNotEqual(first.fields["call"], second.fields["call"])
        server.reply(first, b"late")
        server.reply(second, b"in time")
        server.expect_status("UNKNOWN_CALL", call=first.fields["call"])
        self.assertEqual(client.expect("ANSWER", call=1).body, b"in time")

    def test_refusals(self):
        client = self.client()
        w = client.welcome
        for status, fields in (("NO_RESPONDER", {"topic": "nobody"}), ("NO_RESPONDER", {"topic": "nobody", "flags": ALL}),
                               ("NO_RESPONDER", {"topic": "$bus/x"}), ("INVALID_TOPIC", {"topic": "a/#"}), ("INVALID_ARGUMENT", {}),
                               ("UNKNOWN_ALIAS", {"alias": 3}), ("LIMIT", {"topic": "t", "timeout_ms": 60001})):
            client.send("REQUEST", call=5, **fields)
            client.expect_done(status, call=5)
        client.request(0, "t")
        client.expect_status("INVALID_ARGUMENT", verb=VERBS["REQUEST"])
        client.request(w.requests_max + 1, "t")
        client.expect_status("LIMIT", verb=VERBS["REQUEST"], call=w.requests_max + 1)
        client.send("SUBSCRIBE", subscription=1, filter="$bus/#", flags=32)
        client.expect_status("DENIED", verb=VERBS["SUBSCRIBE"])

    def test_the_window_bounds_open_calls(self):
        server, client = self.server("w", window_messages=2), self.client()
        for number in (1, 2, 3):
            client.request(number, "w", b"%d" % number)
        client.sync()
        calls = [f for f in server.sync() if f.verb == "CALL"]
        self.assertEqual([f.body for f in calls], [b"1", b"2"])
        server.reply(calls[1])
        self.assertEqual(server.expect("CALL").body, b"3")
        client.expect("ANSWER", call=2)

    def test_a_stream_of_replies_has_credit(self):
        server, client = self.server("s"), self.client()
        client.request(1, "s")
        call = server.expect("CALL")
        for i in range(65):
            server.reply(call, b"%d" % i, flags=MORE)
        server.expect_status("NO_CREDIT", verb=VERBS["REPLY"], call=call.fields["call"])
        for i in range(64):
            self.assertEqual(client.expect("ANSWER", call=1, flags=MORE).body, b"%d" % i)
        client.send("CREDIT", call=1, messages=64)
        server.expect("CREDIT", call=call.fields["call"], messages=64)
        server.reply(call, b"one more", flags=MORE)
        server.reply(call, b"end")
        self.assertEqual(client.expect("ANSWER", flags=MORE).body, b"one more")
        self.assertEqual(client.expect("ANSWER", flags=0).body, b"end")

    def test_time_is_limited(self):
        server, client = self.server("slow"), self.client()
        client.request(1, "slow", timeout_ms=50)
        call = server.expect("CALL")
        client.expect_done("TIMEOUT", call=1)
        server.expect("CANCEL", call=call.fields["call"], reason=STATUS.index("TIMEOUT"))

    def test_a_request_to_all(self):
        servers = [self.server("all", window_messages=1) for _ in range(3)]
        client = self.client()
        client.request(4, "all", flags=ALL, timeout_ms=30000)
        calls = [s.expect("CALL") for s in servers]
        servers[0].reply(calls[0], b"zero")
        servers[1].sock.close()
        servers[2].reply(calls[2], b"two")
        answers = [client.expect("ANSWER", call=4) for _ in range(2)]
        self.assertEqual({f.body for f in answers}, {b"zero", b"two"})
        self.assertEqual(len({f.part for f in answers} | {0}), 3)
        client.expect_done("OK", call=4, replied=2, gone=1, timed_out=0)

    def test_a_server_drains(self):
        server, client = self.server("draining"), self.client()
        client.request(1, "draining")
        call = server.expect("CALL")
        server.send("UNSUBSCRIBE", subscription=1, flags=1)
        self.assertEqual(server.sync(), [])
        client.request(2, "draining")
        client.expect_done("NO_RESPONDER", call=2)
        server.reply(call)
        server.expect_status("OK", verb=VERBS["UNSUBSCRIBE"])
        client.expect("ANSWER", call=1)

    def test_ends_of_servers_and_requesters(self):
        server, client = self.server("gone", window_messages=1), self.client()
        client.request(1, "gone")
        client.request(2, "gone")
        call = server.expect("CALL")
        server.send("UNSUBSCRIBE", subscription=1)
        client.expect_done("RESPONDER_GONE", call=1)
        client.expect_done("NO_RESPONDER", call=2)
        server.expect_status("OK", verb=VERBS["UNSUBSCRIBE"])
        server.reply(call)
        server.expect_status("UNKNOWN_CALL", verb=VERBS["REPLY"])
        server.serve(2, "gone")
        client.request(3, "gone")
        call = server.expect("CALL", subscription=2)
        client.sock.close()
        server.expect("CANCEL", call=call.fields["call"], reason=STATUS.index("CANCELLED"))

    def test_bodies_in_buffers_both_ways(self):
        memory = SharedMemory(1 << 20, os.urandom(1 << 20))
        self.addCleanup(memory.close)
        server, client = self.server("big", features=BUFFERS), self.client(features=BUFFERS)
        for c in (server, client):
            c.send("BUFFER", fds=[memory.fd], id=1, bytes=memory.size)
        client.request(1, "big", buffer=1, offset=4096, bytes=500_000)
        call = server.expect("CALL")
        self.assertTrue(call.body == memory.memory[4096:504096])
        server.send("RELEASE", lease=call.lease)
        client.expect("RETURNED", buffer=1, offset=4096)
        server.reply(call, buffer=1, offset=8192, bytes=700_000)
        answer = client.expect("ANSWER", call=1)
        self.assertTrue(answer.body == memory.memory[8192:708192])
        client.send("RELEASE", lease=answer.lease)
        server.expect("RETURNED", buffer=1, offset=8192)

    def test_descriptors_both_ways(self):
        readable, writable = os.pipe()
        self.addCleanup(os.close, readable)
        self.addCleanup(os.close, writable)
        server, client = self.server("fds", flags=DESCRIPTORS), self.client()
        client.request(1, "fds", flags=DESCRIPTORS, fds=[writable])
        call = server.expect("CALL", descriptors=1)
        os.write(call.fds[0], b"hello")
        os.close(call.fds[0])
        self.assertEqual(os.read(readable, 10), b"hello")
        server.reply(call, fds=[writable, readable])
        answer = client.expect("ANSWER", descriptors=2)
        self.assertEqual(len(answer.fds), 2)
        for fd in answer.fds:
            os.close(fd)


class TestRequestsSeqpacket(Seqpacket, Requests, unittest.TestCase):
    pass


class TestRequestsStream(Stream, Requests, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
