# SPDX-License-Identifier: MIT
"""docs/protocol.md section 10: bodies in shared memory, and descriptors, on both kinds of link."""
import mmap
import os
import time
import unittest

from pybus import (BUFFERS, DESCRIPTORS, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE, SEALS_OF_SIZE,
                   TIMEOUT, VERBS, SharedMemory, frame)
from test_greeting import OnBothLinks, Seqpacket, Stream


class Buffers(OnBothLinks):
    options = ("--stall-timeout", "2s")

    def memory(self, *args, **kwargs):
        memory = SharedMemory(*args, **kwargs)
        self.addCleanup(memory.close)
        return memory

    def publisher(self, memory, number=1):
        p = self.client()
        p.send("BUFFER", fds=[memory.fd], id=number, bytes=memory.size)
        return p

    def subscriber(self, **kwargs):
        client = self.client(features=BUFFERS)
        client.subscribe(1, "t", **kwargs)
        return client

    def returned(self, p, offset):
        p.expect("RETURNED", buffer=1, offset=offset)

    def test_a_body_goes_from_memory_to_memory(self):
        memory = self.memory(4 << 20)
        client, p = self.subscriber(), self.publisher(memory)
        body = os.urandom(3_000_000)
        memory.memory[4096:4096 + len(body)] = body
        p.publish("t", buffer=1, offset=4096, bytes=len(body))
        f = client.recv_any("BUFFER")
        self.assertEqual((f.fields["bytes"], f.flags), (4 << 20, 0))
        m = client.expect("MESSAGE", buffer=f.id, offset=4096, bytes=len(body), descriptors=0)
        self.assertTrue(m.body == body)
        self.assertEqual([f for f in p.sync() if f.verb == "RETURNED"], [], "it is held")
        client.send("RELEASE", lease=m.lease)
        self.returned(p, 4096)
        memory.memory[0:5] = b"again"
        p.publish("t", buffer=1, bytes=5)
        m = client.recv_any("MESSAGE")
        self.assertEqual(m.body, b"again")
        client.send("RELEASE", lease=m.lease)
        self.returned(p, 0)

    def test_subscribers_can_only_read(self):
        memory = self.memory(8192, b"x" * 8192)
        p = self.publisher(memory)
        client = self.client(features=BUFFERS)
        client.subscribe(1, "t")
        p.publish("t", buffer=1, bytes=10)
        while True:
            f = client.read_frame(time.monotonic() + TIMEOUT)
            if f.verb == "BUFFER":
                break
        with self.assertRaises(PermissionError):
            mmap.mmap(f.fds[0], 4096)
        with self.assertRaises(PermissionError):
            os.pwrite(f.fds[0], b"y", 0)
        for size in (0, 4096, 16384):
            with self.assertRaises(PermissionError):
                os.ftruncate(f.fds[0], size)
        os.close(f.fds[0])

    def test_immutable_buffers_are_marked(self):
        memory = self.memory(4096, b"for ever", immutable=True)
        client, p = self.subscriber(), self.publisher(memory)
        p.publish("t", buffer=1, bytes=8)
        self.assertEqual(client.recv_any("BUFFER").flags, 1)
        self.assertEqual(client.recv_any("MESSAGE").body, b"for ever")

    def test_refused_registrations(self):
        readable, writable = os.pipe()
        self.addCleanup(os.close, readable)
        self.addCleanup(os.close, writable)
        good = self.memory(4096)
        weak = [self.memory(4096, seals=seals) for seals in (
            0, SEALS_OF_SIZE, SEAL_SEAL | SEAL_SHRINK | SEAL_FUTURE_WRITE, SEAL_SEAL | SEAL_GROW | SEAL_FUTURE_WRITE,
            SEAL_SHRINK | SEAL_GROW | SEAL_FUTURE_WRITE)]
        weak.append(self.memory(4096, immutable=True, seals=SEAL_SHRINK | SEAL_GROW | SEAL_WRITE))
        p = self.client()
        w = p.welcome
        cases = [("BAD_DESCRIPTORS", [fd], 1, 4096) for fd in [readable] + [m.fd for m in weak]]
        cases += [("BAD_DESCRIPTORS", [], 1, 4096), ("BAD_DESCRIPTORS", [good.fd] * 2, 1, 4096),
                  ("BAD_DESCRIPTORS", [good.fd], 1, 4097), ("BAD_DESCRIPTORS", [good.fd], 1, 0),
                  ("INVALID_ARGUMENT", [good.fd], 0, 4096), ("LIMIT", [good.fd], w.buffers_max + 1, 4096)]
        for code, fds, number, size in cases:
            p.send("BUFFER", fds=fds, id=number, bytes=size)
            p.expect_status(code, verb=VERBS["BUFFER"], buffer=number)
        p.send("BUFFER", fds=[good.fd], id=1, bytes=4096)
        p.send("BUFFER", fds=[good.fd], id=1, bytes=4096)
        p.expect_status("IN_USE", verb=VERBS["BUFFER"], buffer=1)
        p.send("UNBUFFER", id=1)
        p.send("BUFFER", fds=[good.fd], id=1, bytes=4096)
        self.assertEqual(p.sync(), [])

    def test_refused_places(self):
        p = self.publisher(self.memory(4096))
        for code, fields in (("UNKNOWN_BUFFER", {"buffer": 2, "bytes": 1}), ("INVALID_ARGUMENT", {"bytes": 1})):
            p.publish("t", **fields)
            p.expect_status(code, verb=VERBS["PUBLISH"])
        for fields in ({"bytes": 4097}, {"offset": 4096, "bytes": 1}, {"offset": 2 ** 64 - 1, "bytes": 2}):
            p.publish("t", buffer=1, **fields)
            p.expect_status("INVALID_ARGUMENT", verb=VERBS["PUBLISH"])
            self.returned(p, fields.get("offset", 0))
        p.publish("t", b"both", buffer=1, bytes=1)
        p.expect_status("INVALID_ARGUMENT", verb=VERBS["PUBLISH"])
        self.returned(p, 0)

    def test_who_cannot_map_gets_the_bytes(self):
        memory = self.memory(4096, b"plain text")
        client, p = self.client(), self.publisher(memory)
        client.subscribe(1, "t")
        p.publish("t", buffer=1, offset=6, bytes=4)
        self.assertEqual(client.expect("MESSAGE", buffer=0, lease=0).body, b"text")
        self.returned(p, 6)

    def test_a_body_outlives_its_publisher(self):
        memory = self.memory(4096, b"last words")
        client, p = self.subscriber(window_messages=1), self.publisher(memory)
        p.publish("t", buffer=1, bytes=4)
        p.publish("t", buffer=1, offset=5, bytes=5)
        p.sync()
        p.sock.close()
        m = client.recv_any("MESSAGE")
        self.assertEqual(m.body, b"last")
        client.send("CREDIT", subscription=1, messages=1, bytes=4)
        n = client.recv_any("MESSAGE")
        self.assertEqual(n.body, b"words")
        client.send("RELEASE", lease=n.lease)
        client.send("RELEASE", lease=m.lease)
        self.assertEqual(client.recv_any("UNBUFFER").id, m.fields["buffer"])

    def test_a_lease_ends_with_its_connection(self):
        memory = self.memory(4096, b"x")
        client, p = self.subscriber(), self.publisher(memory)
        p.publish("t", buffer=1, bytes=1)
        client.recv_any("MESSAGE")
        client.sock.close()
        self.returned(p, 0)

    def test_forgotten_buffers_come_again(self):
        memory = self.memory(4096, b"xy")
        client, p = self.subscriber(), self.publisher(memory)
        for turn in range(3):
            p.publish("t", buffer=1, bytes=2)
            client.recv_any("BUFFER")
            m = client.recv_any("MESSAGE")
            client.send("RELEASE", lease=m.lease, flags=1)
            self.returned(p, 0)

    def test_unknown_leases(self):
        client = self.subscriber()
        for lease in (0, 1, 2 ** 32 - 1):
            client.send("RELEASE", lease=lease)
            client.expect_status("INVALID_ARGUMENT", verb=VERBS["RELEASE"])

    # ---- descriptors

    def pipe(self):
        ends = os.pipe()
        for fd in ends:
            self.addCleanup(os.close, fd)
        return ends

    def test_descriptors_reach_those_who_asked(self):
        readable, writable = self.pipe()
        other, p = self.client(), self.client()
        other.subscribe(1, "t")
        client = self.client()
        client.subscribe(1, "t", flags=DESCRIPTORS)
        p.publish("t", b"here", fds=[writable] * 16)
        p.publish("t", b"and here", fds=[writable])
        for body, n in ((b"here", 16), (b"and here", 1)):
            m = client.expect("MESSAGE", descriptors=n)
            self.assertEqual((m.body, len(m.fds)), (body, n))
            os.write(m.fds[-1], b"!")
            self.assertEqual(os.read(readable, 10), b"!")
            for fd in m.fds:
                os.close(fd)
            m = other.expect("MESSAGE", descriptors=n)
            self.assertEqual((m.body, m.fds), (body, []))

    def test_descriptors_and_a_body_in_a_buffer(self):
        readable, writable = self.pipe()
        memory = self.memory(4096, b"body")
        client, p = self.subscriber(flags=DESCRIPTORS), self.publisher(memory)
        p.publish("t", fds=[writable], buffer=1, bytes=4)
        m = client.expect("MESSAGE", descriptors=1)
        self.assertEqual((m.body, len(m.fds)), (b"body", 1))
        os.close(m.fds[0])
        client.send("RELEASE", lease=m.lease)
        self.returned(p, 0)

    def test_batches_that_do_not_fit(self):
        readable, writable = self.pipe()
        p = self.client()
        p.send_raw_fds(frame("PUBLISH", topic="t", n_fds=2), [writable])
        p.expect_status("BAD_DESCRIPTORS", verb=VERBS["PUBLISH"], sequence=1)
        p.send_raw(frame("PUBLISH", topic="t", n_fds=1))
        p.expect_status("BAD_DESCRIPTORS", verb=VERBS["PUBLISH"], sequence=2)
        p.send_raw_fds(frame("PUBLISH", topic="t"), [writable] * 30)
        p.send_raw_fds(frame("PUBLISH", topic="t", n_fds=16), [writable] * 18)
        p.expect_status("BAD_DESCRIPTORS", verb=VERBS["PUBLISH"], sequence=4)
        p.publish("t", fds=[writable], flags=1)
        p.expect("CONFIRM", sequence=5)

    def test_nothing_is_left_open(self):
        readable, writable = os.pipe()
        p = self.client()
        client = self.client()
        client.subscribe(1, "t", flags=DESCRIPTORS, window_messages=1, queue_messages=2)
        for _ in range(9):
            p.publish("t", fds=[writable] * 3)
        p.send_raw_fds(frame("PING", token=1, n_fds=1), [writable])
        p.expect_status("UNSUPPORTED")
        p.sync()
        client.sock.close()
        os.close(writable)
        self.assertEqual(os.read(readable, 1), b"", "end of file: nobody has the other end")
        os.close(readable)

    def clients_now(self, client):
        client.send("SNAPSHOT", kind=3)
        now = None
        while True:
            f = client.recv_any("COUNTER", "SNAPSHOT_END")
            if f.verb == "SNAPSHOT_END":
                return now
            if f.name == b"clients_now":
                now = f.value

    def test_a_client_that_sends_its_own_end_is_gone_when_it_is(self):
        watcher = self.client()
        before = self.clients_now(watcher)
        for cut in (4, 9):
            client = self.client()
            data = frame("PUBLISH", b"", topic="t", n_fds=1)
            if client.packets:
                cut = len(data)
            client.send_raw_fds(data[:cut], [client.sock.fileno()])
            client.sock.close()
        deadline = time.monotonic() + TIMEOUT
        while self.clients_now(watcher) > before and time.monotonic() < deadline:
            watcher.sync()
        self.assertEqual(self.clients_now(watcher), before)


class TestBuffersSeqpacket(Seqpacket, Buffers, unittest.TestCase):
    pass


class TestBuffersStream(Stream, Buffers, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
