#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is said where the connections of a user meet a bound: to the one that is refused, to who watches, and in the log. The bounds are those of this user, whoever it is."""
import json
import os
import signal
import unittest

from ready import PATIENCE, ConfiguredTest

UID = os.getuid()


def quota(connections):
    return f'quotas = ( {{ user = "{UID}"; connections = {connections}; }} );\n'


class QuotasTest(ConfiguredTest):
    def configuration(self):
        return quota(2)

    def subscribe(self, *args):
        return self.start("bus-sub", *args)

    def publish(self):
        return self.run_tool("bus-pub", "a", "1")

    def test_a_connection_too_many_is_refused_and_seen(self):
        text = self.subscribe("-n", "1", "$bus/quota/exceeded")
        lines = self.subscribe("-n", "1", "-f", "json", "$bus/quota/#")
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
        first, second = self.subscribe("a"), self.subscribe("a")
        self.assertNotEqual(self.publish().returncode, 0)
        self.config.write_text(quota(3))
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
