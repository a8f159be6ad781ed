#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tools say of rights that are missing, or taken away: with the place of the rule. The rules are for this user, whoever it is."""
import json
import os
import signal
import unittest

from ready import PATIENCE, ConfiguredTest

ALLOW_EVENTS = '{ allow = "subscribe"; topic = "$bus/#"; }'
ALLOW = '{ allow = "all"; topic = "sensors/+/temp"; }'
DENY = '{ deny = "publish"; topic = "sensors/kitchen/temp"; }'
NOTHING = '{ deny = "all"; topic = "nothing"; }'


def rules(*lines):
    """One rule on each line, beginning with line 2."""
    return "rules = (\n" + ",\n".join(lines) + "\n);\n"


class AccessTest(ConfiguredTest):
    router_options = ["--log-level", "warn"]

    def configuration(self):
        return rules(ALLOW_EVENTS, ALLOW, DENY)

    def place(self, line):
        return f"{self.config}:{line}: "

    def said(self, name, *args, code):
        """What a tool says that ends with that code."""
        done = self.run_tool(name, *args)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def test_all_tools_name_the_rule(self):
        part = "this rule allows only a part of it\n"
        err = self.said("bus-sub", "sensors/#", code=1)
        self.assertEqual(err, f"bus-sub: not allowed to subscribe to sensors/#: {self.place(3)}{part}")
        err = self.said("bus-serve", "--echo", "sensors/#", code=1)
        self.assertEqual(err, f"bus-serve: not allowed to serve sensors/#: {self.place(3)}{part}")
        err = self.said("bus-pub", "sensors/kitchen/temp", "1", code=1)
        self.assertIn(f"bus-pub: not allowed to publish to sensors/kitchen/temp: {self.place(4)}this rule denies it\n", err)
        err = self.said("bus-pub", "elsewhere", "1", code=1)
        self.assertIn("bus-pub: not allowed to publish to elsewhere: no rule allows it\n", err)
        err = self.said("bus-request", "elsewhere", "1", code=6)
        self.assertEqual(err, "bus-request: not allowed to ask elsewhere: no rule allows it\n")
        err = self.said("bus-monitor", code=4)
        self.assertEqual(err, f"bus-monitor: not allowed to monitor: {self.place(3)}{part}")
        err = self.said("bus-monitor", "--top", "--count=1", code=4)
        self.assertEqual(err, "bus-monitor: not allowed to make requests to $bus/#: no rule allows it\n")

    def test_narrow_gets_what_is_allowed(self):
        sub = self.start("bus-sub", "--narrow", "-v", "-n", "1", "sensors/#")
        self.said("bus-pub", "sensors/cellar/temp", "7", code=0)
        out, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual((out, sub.returncode), ("sensors/cellar/temp\t7\n", 0))
        self.assertIn(f"bus-sub: only a part of sensors/# is allowed: {self.place(3)}", err)

    def test_what_is_taken_away_ends_them(self):
        sub = self.start("bus-sub", "sensors/cellar/temp")
        server = self.start("bus-serve", "--echo", "sensors/attic/temp")
        self.config.write_text(rules(NOTHING))
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
        self.said("bus-pub", "sensors/kitchen/temp", "1", code=1)
        out, err = text.communicate(timeout=PATIENCE)
        self.assertRegex(out, r"^denied: publish sensors/kitchen/temp by bus-pub pid=\d+ uid=\d+ conn=\d+: ")
        self.assertTrue(out.endswith(f": {self.place(4)}this rule denies it\n"), out)
        self.assertEqual(text.returncode, 0, err)
        waiting = self.start("bus-sub", "sensors/cellar/temp")
        self.config.write_text(rules(ALLOW_EVENTS))
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
