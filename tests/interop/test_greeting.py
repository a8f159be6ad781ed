# SPDX-License-Identifier: MIT
"""docs/protocol.md sections 2, 3 and 8: frames, greeting, ends. Every test runs on both kinds of link."""
import os
import time
import unittest

from pybus import BUFFERS, DESCRIPTORS, VERBS, frame, raw_frame
from router import Router

HELLO = frame("HELLO", protocol_min=1, protocol_max=1, client_name="raw")


class OnBothLinks:
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.router = Router(*cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.router.stop()

    def client(self, **kwargs):
        client = self.router.client(self.kind, **kwargs)
        self.addCleanup(client.sock.close)
        return client

    def refused(self, data, reason="PROTOCOL_ERROR"):
        client = self.client(hello=False)
        client.send_raw(data)
        return client.expect_end(reason)


class Greeting(OnBothLinks):
    def test_welcome_says_what_a_client_needs(self):
        a, b = self.client().welcome, self.client().welcome
        self.assertEqual(a.protocol, 1)
        self.assertEqual(a.features, BUFFERS | DESCRIPTORS)
        self.assertEqual(a.inline_max, self.inline_max)
        self.assertEqual(a.router_epoch, b.router_epoch)
        self.assertNotEqual(a.connection_id, b.connection_id)
        for field in ("connection_id router_epoch router_version publish_window_messages publish_window_bytes "
                      "aliases_max subscriptions_max queue_messages_max queue_bytes_max window_messages_max "
                      "window_bytes_max stall_timeout_ms body_max buffers_max buffer_bytes_max descriptors_max "
                      "leases_max").split():
            self.assertTrue(a.fields[field], field)

    def test_highest_common_version_is_used(self):
        client = self.client(hello=False)
        client.send("HELLO", protocol_min=0, protocol_max=7)
        client.expect("WELCOME", protocol=1)

    def test_no_common_version(self):
        self.refused(frame("HELLO", protocol_min=2, protocol_max=9), "VERSION")
        self.refused(frame("HELLO"), "VERSION")

    def test_first_frame_must_be_hello(self):
        self.refused(frame("PING", token=1))
        self.refused(frame("PUBLISH", topic="a"))

    def test_hello_must_be_decodable(self):
        self.refused(raw_frame(VERBS["HELLO"], b"\x08"))

    def test_client_name_must_be_short_printable_text(self):
        self.client(name="x" * 64)
        self.client(name="")
        for bad in ("x" * 65, "a\nb", b"\xff"):
            self.refused(frame("HELLO", protocol_min=1, protocol_max=1, client_name=bad))

    def test_unknown_features_and_fields_are_ignored(self):
        client = self.client(hello=False)
        hello = HELLO[8:] + b"\xf8\x07\x01"
        client.send_raw(raw_frame(VERBS["HELLO"], hello))
        client.expect("WELCOME", protocol=1)
        other = self.client(hello=False)
        other.send("HELLO", protocol_min=1, protocol_max=1, features=1 << 63)
        other.expect("WELCOME", features=BUFFERS | DESCRIPTORS)

    def test_second_hello_is_unexpected(self):
        client = self.client()
        client.send_raw(HELLO)
        client.expect_status("UNEXPECTED", verb=VERBS["HELLO"])
        client.sync()

    def test_frames_may_follow_hello_at_once(self):
        client = self.client(hello=False)
        client.send_raw(HELLO + frame("SUBSCRIBE", subscription=1, filter="#") + frame("PUBLISH", b"x", topic="a") +
                        frame("PING", token=5))
        client.expect("WELCOME")
        client.expect_status("OK")
        self.assertEqual(client.expect("MESSAGE").body, b"x")
        client.expect("PONG", token=5)

    def test_text_is_answered_with_a_line_of_text(self):
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"hello\n", b"\0\0\0a"):
            client = self.client(hello=False)
            client.send_raw(text)
            with self.assertRaises(Exception):
                while True:
                    client.fill(time.monotonic() + 10)
            self.assertRegex(client.buffer, rb"\A[ -~]+\n\Z")

    def test_goodbye_ends_the_connection_and_what_follows_is_ignored(self):
        listener, client = self.client(), self.client()
        listener.subscribe(1, "#")
        client.send_raw(frame("GOODBYE", reason=1) + frame("PUBLISH", b"never", topic="a"))
        client.expect_end("NORMAL")
        self.assertEqual(listener.sync(), [])

    def test_ping_is_answered_in_its_turn(self):
        client = self.client()
        client.send_raw(frame("SUBSCRIBE", subscription=1, filter="a") + frame("PING", token=2 ** 64 - 1))
        client.expect_status("OK")
        client.expect("PONG", token=2 ** 64 - 1)


class Frames(OnBothLinks):
    def violates(self, data):
        client = self.client()
        client.send_raw(data)
        client.expect_end("PROTOCOL_ERROR")

    def test_body_over_the_limit(self):
        self.violates(raw_frame(VERBS["PUBLISH"], b"")[:8].replace(b"\0\0\0\0", (self.inline_max + 1).to_bytes(4, "little"), 1)
                      + b"x")

    def test_body_on_a_verb_without_one(self):
        self.violates(raw_frame(VERBS["PING"], b"", b"x"))
        self.violates(raw_frame(200, b"", b"x"))

    def test_largest_body_passes(self):
        client = self.client()
        client.subscribe(1, "big")
        body = os.urandom(self.inline_max)
        client.publish("big", body)
        self.assertEqual(client.expect("MESSAGE").body, body)

    def test_descriptors_are_unsupported_on_verbs_that_take_none(self):
        client = self.client()
        for verb in ("PING", "UNBUFFER", "RELEASE", "SUBSCRIBE", "MESSAGE"):
            client.send_raw(raw_frame(VERBS[verb], b"", fds=1))
            client.expect_status("UNSUPPORTED", verb=VERBS[verb])
        client.send_raw(raw_frame(VERBS["PUBLISH"], b"", fds=17))
        client.expect_status("UNSUPPORTED", verb=VERBS["PUBLISH"])
        client.sync()

    def test_malformed_header(self):
        client = self.client()
        client.subscribe(1, "#")
        client.send_raw(raw_frame(VERBS["SUBSCRIBE"], b"\x08"))
        client.expect_status("MALFORMED", verb=VERBS["SUBSCRIBE"])
        client.send("PUBLISH", topic="a", headers=[("k", "v")] * 65)
        client.expect_status("MALFORMED", verb=VERBS["PUBLISH"], sequence=1)
        self.assertEqual(client.sync(), [])

    def test_unknown_and_unexpected_verbs(self):
        client = self.client()
        for verb in (0, 10, 15, 200, 255):
            client.send_raw(raw_frame(verb))
            client.expect_status("UNKNOWN_VERB", verb=verb)
        for name in ("WELCOME STATUS PUBLISH_CREDIT CONFIRM TOPIC PEER LOSS CLIENT_STATS TOPIC_STATS COUNTER "
                     "SNAPSHOT_END MESSAGE MONITORED").split():
            client.send(name)
            client.expect_status("UNEXPECTED", verb=VERBS[name])
        client.sync()

    def test_several_frames_at_once(self):
        client = self.client()
        client.subscribe(1, "#")
        client.send_raw(b"".join(frame("PUBLISH", b"%d" % i, topic=f"t/{i % 3}") for i in range(500)))
        self.assertEqual([client.expect("MESSAGE").body for _ in range(500)], [b"%d" % i for i in range(500)])


class Seqpacket:
    kind, inline_max = "seqpacket", 65536


class Stream:
    kind, inline_max = "stream", 1 << 20


class TestGreetingSeqpacket(Seqpacket, Greeting, unittest.TestCase):
    pass


class TestGreetingStream(Stream, Greeting, unittest.TestCase):
    def test_any_cut_of_the_bytes_will_do(self):
        client = self.client(hello=False)
        for byte in HELLO + frame("SUBSCRIBE", subscription=1, filter="a/#") + frame("PUBLISH", b"body", topic="a/b"):
            client.send_raw(bytes([byte]))
        client.expect("WELCOME")
        client.expect_status("OK")
        self.assertEqual(client.expect("MESSAGE").body, b"body")


class TestFramesSeqpacket(Seqpacket, Frames, unittest.TestCase):
    def test_packet_must_hold_whole_frames(self):
        self.violates(frame("PING", token=1)[:-1])
        self.violates(frame("PING", token=1) + b"\0\0\0\0")

    def test_empty_packet_is_end_of_file(self):
        client = self.client()
        client.sock.send(b"")
        client.expect_eof()

    def test_largest_packet(self):
        client = self.client()
        client.subscribe(1, "#")
        headers = [("n" * 255, "v" * 745)] * 63 + [("n", "")]
        data = frame("PUBLISH", b"x" * 65536, topic="a", headers=headers)
        headers[-1] = ("n", "v" * (131079 - len(data) - 5))
        data = frame("PUBLISH", b"x" * 65536, topic="a", headers=headers)
        self.assertGreater(len(data), 131000)
        self.assertLessEqual(len(data), 131079)
        client.send_raw(data)
        # it has arrived whole, but with what the router adds the header would be too large for a MESSAGE
        client.expect_status("LIMIT", sequence=1)


class TestFramesStream(Stream, Frames, unittest.TestCase):
    pass


class HelloTimeout(OnBothLinks):
    options = ("--hello-timeout", "500ms")

    def test_silence_ends_the_connection(self):
        self.client(hello=False).expect_end("HELLO_TIMEOUT")

    def test_half_a_hello_ends_the_connection(self):
        if self.kind == "stream":
            self.refused(HELLO[:5], "HELLO_TIMEOUT")

    def test_after_hello_silence_is_fine(self):
        client = self.client()
        self.client(hello=False).expect_end("HELLO_TIMEOUT")
        client.sync()


class TestHelloTimeoutSeqpacket(Seqpacket, HelloTimeout, unittest.TestCase):
    pass


class TestHelloTimeoutStream(Stream, HelloTimeout, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
