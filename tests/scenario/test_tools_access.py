#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tools say of rights that are missing, or taken away: with the place of the rule. The rules are for this user, whoever it is."""
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

ALLOW_EVENTS = '{ allow = "subscribe"; topic = "$bus/#"; }'
ALLOW = '{ allow = "all"; topic = "sensors/+/temp"; }'
DENY = '{ deny = "publish"; topic = "sensors/kitchen/temp"; }'
NOTHING = '{ deny = "all"; topic = "nothing"; }'


def tool(name):
    folder = "tools/monitor" if name == "bus-monitor" else "tools"
    return str(BUILD / folder / name)


def start_ready(argv, **kwargs):
    read_end, write_end = os.pipe()
    process = subprocess.Popen([argv[0], "--ready-fd", str(write_end), *argv[1:]], pass_fds=[write_end], stdout=PIPE, stderr=PIPE,
                               text=True, **kwargs)
    os.close(write_end)
    with os.fdopen(read_end) as ready:
        if ready.readline() != "READY\n":
            raise AssertionError(f"{argv[0]} did not get ready: {process.communicate()}")
    return process


class AccessTest(unittest.TestCase):
    link = "seqpacket"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(self.folder.cleanup)
        self.address = f"{self.link}:{self.folder.name}/bus.sock"
        self.config = pathlib.Path(self.folder.name, "router.conf")
        self.write(ALLOW_EVENTS, ALLOW, DENY)
        self.router = start_ready([ROUTER, "--config", str(self.config), "--listen", self.address, "--log-level", "warn"])
        self.addCleanup(self.end, self.router)

    def write(self, *rules):
        """One rule on each line, beginning with line 2."""
        self.config.write_text("rules = (\n" + ",\n".join(rules) + "\n);\n")

    def place(self, line):
        return f"{self.config}:{line}: "

    def end(self, process):
        process.terminate()
        process.communicate(timeout=PATIENCE)

    def argv(self, name, *args):
        return [tool(name), "-a", self.address, *args]

    def run_tool(self, name, *args, code):
        done = subprocess.run(self.argv(name, *args), stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def start(self, name, *args):
        process = start_ready(self.argv(name, *args))
        self.addCleanup(self.end, process)
        return process

    def test_all_tools_name_the_rule(self):
        part = "this rule allows only a part of it\n"
        err = self.run_tool("bus-sub", "sensors/#", code=1)
        self.assertEqual(err, f"bus-sub: not allowed to subscribe to sensors/#: {self.place(3)}{part}")
        err = self.run_tool("bus-serve", "--echo", "sensors/#", code=1)
        self.assertEqual(err, f"bus-serve: not allowed to serve sensors/#: {self.place(3)}{part}")
        err = self.run_tool("bus-pub", "sensors/kitchen/temp", "1", code=1)
        self.assertIn(f"bus-pub: not allowed to publish to sensors/kitchen/temp: {self.place(4)}this rule denies it\n", err)
        err = self.run_tool("bus-pub", "elsewhere", "1", code=1)
        self.assertIn("bus-pub: not allowed to publish to elsewhere: no rule allows it\n", err)
        err = self.run_tool("bus-request", "elsewhere", "1", code=6)
        self.assertEqual(err, "bus-request: not allowed to ask elsewhere: no rule allows it\n")
        err = self.run_tool("bus-monitor", code=4)
        self.assertEqual(err, f"bus-monitor: not allowed to monitor: {self.place(3)}{part}")
        err = self.run_tool("bus-monitor", "--top", "--count=1", code=4)
        self.assertEqual(err, "bus-monitor: not allowed to make requests to $bus/#: no rule allows it\n")

    def test_narrow_gets_what_is_allowed(self):
        sub = self.start("bus-sub", "--narrow", "-v", "-n", "1", "sensors/#")
        self.run_tool("bus-pub", "sensors/cellar/temp", "7", code=0)
        out, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual((out, sub.returncode), ("sensors/cellar/temp\t7\n", 0))
        self.assertIn(f"bus-sub: only a part of sensors/# is allowed: {self.place(3)}", err)

    def test_what_is_taken_away_ends_them(self):
        sub = self.start("bus-sub", "sensors/cellar/temp")
        server = self.start("bus-serve", "--echo", "sensors/attic/temp")
        self.write(NOTHING)
        self.router.send_signal(signal.SIGHUP)
        _, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual(sub.returncode, 1, err)
        self.assertEqual(err, "bus-sub: not allowed to subscribe to sensors/cellar/temp: no rule allows it\n")
        _, err = server.communicate(timeout=PATIENCE)
        self.assertEqual(server.returncode, 1, err)
        self.assertEqual(err, "bus-serve: not allowed to serve sensors/attic/temp: no rule allows it\n")

    def test_refusals_are_readable_events(self):
        text = self.start("bus-sub", "-n", "1", "$bus/access/denied")
        lines = self.start("bus-sub", "-n", "2", "-f", "json", "$bus/access/#")
        self.run_tool("bus-pub", "sensors/kitchen/temp", "1", code=1)
        out, err = text.communicate(timeout=PATIENCE)
        self.assertRegex(out, r"^denied: publish sensors/kitchen/temp by bus-pub pid=\d+ uid=\d+ conn=\d+: ")
        self.assertTrue(out.endswith(f": {self.place(4)}this rule denies it\n"), out)
        self.assertEqual(text.returncode, 0, err)
        waiting = self.start("bus-sub", "sensors/cellar/temp")
        self.write(ALLOW_EVENTS)
        self.router.send_signal(signal.SIGHUP)
        waiting.wait(PATIENCE)
        out, err = lines.communicate(timeout=PATIENCE)
        first, second = [json.loads(line)["event"] for line in out.splitlines()]
        self.assertEqual((first["kind"], first["verb"], first["topic"], first["taken"]),
                         ("denied", "publish", "sensors/kitchen/temp", False))
        self.assertEqual((first["rule"], first["uid"], first["left_out"]), (f"{self.config}:4", os.getuid(), 0))
        self.assertEqual((second["verb"], second["topic"], second["taken"], second["rule"], second["name"]),
                         ("subscribe", "sensors/cellar/temp", True, "", "bus-sub"))


class StreamAccessTest(AccessTest):
    link = "stream"


if __name__ == "__main__":
    unittest.main(verbosity=2)
