#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is said where the connections of a user meet a bound: to the one that is refused, to who watches, and in the log. The bounds are those of this user, whoever it is."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ.get("BUS_BUILD_DIR", "build/dev")).resolve()
ROUTER = os.environ.get("BUS_ROUTER", str(BUILD / "bus/bus-router"))
PATIENCE = 60
PIPE = subprocess.PIPE
UID = os.getuid()


def start_ready(argv, **kwargs):
    read_end, write_end = os.pipe()
    process = subprocess.Popen([argv[0], "--ready-fd", str(write_end), *argv[1:]], pass_fds=[write_end], stdout=PIPE, stderr=PIPE,
                               text=True, **kwargs)
    os.close(write_end)
    with os.fdopen(read_end) as ready:
        if ready.readline() != "READY\n":
            raise AssertionError(f"{argv[0]} did not get ready: {process.communicate()}")
    return process


class QuotasTest(unittest.TestCase):
    link = "seqpacket"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(self.folder.cleanup)
        self.address = f"{self.link}:{self.folder.name}/bus.sock"
        self.config = pathlib.Path(self.folder.name, "router.conf")
        self.write(2)
        self.router = start_ready([ROUTER, "--config", str(self.config), "--listen", self.address])
        self.addCleanup(self.end, self.router)

    def write(self, connections):
        self.config.write_text(f'quotas = ( {{ user = "{UID}"; connections = {connections}; }} );\n')

    def end(self, process):
        process.terminate()
        return process.communicate(timeout=PATIENCE)

    def argv(self, name, *args):
        return [str(BUILD / "tools" / name), "-a", self.address, *args]

    def start(self, *args):
        process = start_ready(self.argv("bus-sub", *args))
        self.addCleanup(self.end, process)
        return process

    def publish(self):
        return subprocess.run(self.argv("bus-pub", "a", "1"), stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, text=True,
                              timeout=PATIENCE)

    def test_a_connection_too_many_is_refused_and_seen(self):
        text = self.start("-n", "1", "$bus/quota/exceeded")
        lines = self.start("-n", "1", "-f", "json", "$bus/quota/#")
        refused = self.publish()
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("as many connections as the router lets them have", refused.stderr)
        out, err = text.communicate(timeout=PATIENCE)
        self.assertEqual(text.returncode, 0, err)
        self.assertEqual(out, f"exceeded: connections uid={UID} conn=0 used=2 of 2 requested=1 times=1; most is held by uid={UID} conn=0: 2\n")
        out, err = lines.communicate(timeout=PATIENCE)
        event = json.loads(out)["event"]
        self.assertEqual(event, {"kind": "quota", "slot": "connections", "uid": UID, "id": 0, "limit": 2, "used": 2, "requested": 1, "times": 1,
                                 "holders": [{"uid": UID, "id": 0, "name": "", "used": 2}]})
        self.assertEqual(self.publish().returncode, 0, "who has gone leaves room")
        _, log = self.end(self.router)
        self.assertRegex(log, rf" quota\.exceeded uid={UID} id=0 slot=connections limit=2 used=2 requested=1 times=1 holders=")

    def test_another_configuration_holds_at_once(self):
        first, second = self.start("a"), self.start("a")
        self.assertNotEqual(self.publish().returncode, 0)
        self.write(3)
        self.router.send_signal(signal.SIGHUP)
        for line in self.router.stderr:
            if " config.loaded" in line:
                break
        self.assertEqual(self.publish().returncode, 0)
        for process in (first, second):
            self.assertIsNone(process.poll())


class StreamQuotasTest(QuotasTest):
    link = "stream"


if __name__ == "__main__":
    unittest.main(verbosity=2)
