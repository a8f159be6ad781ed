# SPDX-License-Identifier: MIT
"""docs/protocol.md section 16: a router that is started again waits for those who were there, on both kinds of link."""
import os
import pathlib
import subprocess
import sys
import unittest

from pybus import RETURNS, Closed
from router import Router
from test_greeting import Seqpacket, Stream

# A client in a process of its own, whose death is seen by its number.
ELSEWHERE = """
import sys, pybus
client = pybus.Client(sys.argv[1], features=pybus.RETURNS, session=9)
print("there", flush=True)
sys.stdin.read()
"""


class Returning:
    def begin(self, *options):
        router = Router("--restart-grace", "30s", *options)
        self.addCleanup(router.stop)
        return router

    def session(self, router, number):
        client = router.client(self.kind, features=RETURNS, session=number)
        self.addCleanup(client.sock.close)
        return client

    def publish_held(self, router, number=0):
        """A client that has published and heard nothing yet."""
        client = self.session(router, number)
        client.send("RESTORED")
        client.publish("t", b"after the restart")
        client.send("PING", token=1)
        return client

    def elsewhere(self, router):
        process = subprocess.Popen([sys.executable, "-c", ELSEWHERE, router.addresses[self.kind]], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)})
        self.addCleanup(self.end_elsewhere, process)
        self.assertEqual(process.stdout.readline(), "there\n")
        return process

    def end_elsewhere(self, process):
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def file(self, router):
        return pathlib.Path(router.dir, "seqpacket.sock.sessions")

    def returns_in_any_order(self, router, stop):
        publisher, subscriber = self.session(router, 1), self.session(router, 2)
        publisher.sync()
        subscriber.sync()
        stop()
        router.start()
        publisher = self.publish_held(router, 1)
        subscriber = self.session(router, 2)
        subscriber.subscribe(1, "t")
        self.assertEqual(subscriber.sync(), [])  # nobody has published anything yet
        subscriber.send("RESTORED")
        self.assertEqual(subscriber.expect("MESSAGE").body, b"after the restart")
        publisher.expect("PONG", token=1)

    def test_publisher_waits_for_subscriber_after_a_crash(self):
        router = self.begin()
        self.returns_in_any_order(router, router.kill)

    def test_publisher_waits_for_subscriber_after_a_good_end(self):
        router = self.begin()
        self.returns_in_any_order(router, router.end)

    def test_who_has_gone_before_is_not_waited_for(self):
        router = self.begin()
        client = self.session(router, 1)
        client.send("GOODBYE")
        client.expect_end("NORMAL")
        with router.client(self.kind, session=2) as other:  # does not say that it returns
            other.sync()
        with router.client(self.kind) as last:  # what they were is noted by now
            last.sync()
        router.kill()
        router.start()
        self.publish_held(router).expect("PONG")
        self.assertFalse(self.file(router).exists())

    def test_who_died_with_the_router_is_not_waited_for(self):
        router = self.begin()
        self.end_elsewhere_with(router, before=True)
        self.publish_held(router).expect("PONG")

    def test_who_dies_meanwhile_is_waited_for_no_longer(self):
        router = self.begin()
        process = self.end_elsewhere_with(router, before=False)
        client = self.publish_held(router)
        process.kill()
        process.wait()
        client.expect("PONG")

    def end_elsewhere_with(self, router, before):
        process = self.elsewhere(router)
        router.kill()
        if before:
            process.kill()
            process.wait()
        router.start()
        return process

    def test_grace_ends(self):
        router = self.begin("--restart-grace", "200ms")
        self.session(router, 1).sync()
        router.kill()
        router.start()
        self.publish_held(router).expect("PONG")

    def test_without_grace_nothing_is_noted(self):
        router = self.begin("--restart-grace", "0")
        self.session(router, 1).sync()
        self.assertFalse(self.file(router).exists())
        router.kill()
        router.start()
        self.publish_held(router).expect("PONG")

    def test_file_is_private_and_garbage_in_it_harmless(self):
        router = self.begin()
        self.session(router, 1).sync()
        self.assertEqual(self.file(router).stat().st_mode & 0o777, 0o600)
        router.kill()
        self.file(router).write_bytes(os.urandom(1000))
        router.start()
        self.publish_held(router).expect("PONG")

    def test_held_client_may_die(self):
        router = self.begin()
        self.session(router, 1).sync()
        router.kill()
        router.start()
        self.publish_held(router).sock.close()
        returned = self.session(router, 1)
        returned.subscribe(1, "t")
        returned.send("RESTORED")
        self.assertEqual(returned.expect("MESSAGE").body, b"after the restart")
        self.assertEqual(returned.sync(), [])

    def test_router_stops_while_it_holds(self):
        router = self.begin()
        self.session(router, 1).sync()
        router.kill()
        router.start()
        client = self.publish_held(router)
        router.terminate()
        try:
            client.expect_end("SHUTDOWN")
        except Closed:
            self.fail("without a word")


class TestReturningSeqpacket(Seqpacket, Returning, unittest.TestCase):
    pass


class TestReturningStream(Stream, Returning, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
