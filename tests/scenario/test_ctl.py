#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus-ctl with a router, bus-sub and bus-pub, over both kinds of link: every command, as tables and as JSON lines, every exit
code. No sleeps: what takes time is asked for until it is there."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from ready import PATIENCE, ROUTER, start_ready, tool
from test_tools import LINKS, RouterTest

CTL = tool("bus-ctl")
NOBODY = 65534


class CtlTest(RouterTest):
    def ctl(self, *args, code=0, **kwargs):
        """What it wrote, and what it complained about."""
        env = dict(os.environ, BUS_ADDRESS=self.address[self.link], TZ="UTC")
        done = subprocess.run([CTL, *map(str, args)], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, **kwargs)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr

    def json(self, *args):
        return [json.loads(line) for line in self.ctl("--json", *args)[0].splitlines()]

    def rows(self, *args):
        """A table as a list of {title: cell}; cells stand below their titles."""
        titles, *lines = self.ctl(*args)[0].splitlines()
        spans = [(m.group(), m.start(), m.end()) for m in re.finditer(r"\S+( \S+)*", titles)]
        rows = []
        for line in lines:
            cells = re.split(r"  +", line.strip())
            rows.append(cells if len(cells) != len(spans) else dict(zip([t for t, _, _ in spans], cells)))
        return rows

    def client_of(self, process):
        return next(c for c in self.json("clients") if c["pid"] == process.pid)

    def rate_of(self, command, rate, **whose):
        return next(entry for entry in self.json("-i", "0.3", command) if whose.items() <= entry.items())[rate]

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)


class LinkTests:
    def test_clients_topics_and_subscriptions(self):
        sub = self.sub("-w", "7")
        self.pub("hello")
        c = self.client_of(sub)
        self.assertEqual((c["name"], c["uid"], c["state"], c["link"]), ("bus-sub", os.getuid(), "ready", self.link))
        self.assertEqual((c["delivered_messages"], c["delivered_bytes"], c["subscriptions"], c["slow"]), (1, 5, 1, "none"))
        self.assertEqual(self.json("clients", c["connection_id"])[0]["pid"], sub.pid)
        row = next(r for r in self.rows("clients") if isinstance(r, list) and r[0] == str(c["connection_id"]))
        self.assertEqual(row[1:5], ["bus-sub", str(sub.pid), str(os.getuid()), "ready"])
        subs = self.json("subs", c["connection_id"])
        self.assertEqual([(s["filter"], s["policy"], s["window_messages"]) for s in subs], [(self.topic, "drop_oldest", 7)])
        self.assertIn(self.topic, self.ctl("subscriptions")[0])
        holder = self.sub("-g", "crew")  # something keeps the topic
        self.pub("-n", "2", "x")
        group = next(g for g in self.json("groups") if g["name"] == "crew")
        self.assertEqual((group["filter"], group["members"]), (self.topic, 1))
        self.assertIn("crew", self.ctl("groups")[0])
        self.assertTrue(holder.pid)

    def test_topics_say_what_passed(self):
        self.sub()
        self.pub("--retain", "kept")
        topic = next(t for t in self.json("topics") if t["name"] == self.topic)
        self.assertEqual((topic["published_messages"], topic["delivered_messages"], topic["retained_messages"]), (1, 1, 1))
        row = next(r for r in self.rows("topics") if r["TOPIC"] == self.topic)
        self.assertEqual((row["PUB"], row["OUT"], row["KEPT"]), ("1", "1", "1"))

    def test_who_is_slow_and_why(self):
        sub = self.sub("-w", "1")
        os.kill(sub.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, sub.pid, signal.SIGCONT)
        self.pub("-n", "5", "x")
        self.until(lambda: self.client_of(sub)["slow"] == "credit")
        c = self.client_of(sub)
        self.assertEqual((c["slow_subscription"], c["slow_messages"]), (1, 4))
        self.assertGreaterEqual(c["slow_ms"], 1000)
        self.assertRegex(self.ctl("clients")[0], r"bus-sub .* credit \d[\dms.]* sub 1 \(4 wait\)\n")
        self.assertEqual(self.json("subs", c["connection_id"])[0]["slow"], "credit")
        os.kill(sub.pid, signal.SIGCONT)
        self.until(lambda: self.client_of(sub)["slow"] == "none")

    def test_rates(self):
        sub = self.sub()
        busy = subprocess.Popen(self.pub_argv("-r", "200", "-n", "0", "x"))
        self.addCleanup(busy.wait)
        self.addCleanup(busy.kill)
        self.until(lambda: self.client_of(sub)["delivered_messages"] > 10)
        # whoever measures may find that the others did not run for so long
        self.until(lambda: 10 < self.rate_of("topics", "published_messages_per_s", name=self.topic) < 2000)
        self.until(lambda: self.rate_of("clients", "delivered_messages_per_s", pid=sub.pid) > 10)
        self.until(lambda: re.search(rf"{self.topic} +[1-9]\S*/s ", self.ctl("-i", "0.3", "topics")[0]))
        self.until(lambda: re.search(r"messages_published +\d+ +[1-9]\S*\n", self.ctl("-i", "0.3", "counters")[0]))

    def test_quotas_and_counters(self):
        quotas = self.json("quotas")
        self.assertTrue([q for q in quotas if q["is_total"] and q["slot"] == "connections" and 0 < q["used"] <= q["limit"]])
        self.assertTrue([q for q in quotas if not q["is_total"] and q["uid"] == os.getuid() and q["slot"] == "bytes"])
        self.assertRegex(self.ctl("quotas")[0], r"(?m)^ *all  connections +[1-9]\d* +\d+ +[\d.]+$")
        counters = {c["name"]: c["value"] for c in self.json("counters")}
        self.assertGreaterEqual(counters["clients_now"], 1)
        self.assertRegex(self.ctl("counters")[0], r"(?m)^clients_total +\d+ *$")

    def test_disconnect_and_closed(self):
        sub = self.sub()
        c = self.client_of(sub)
        self.assertEqual(self.ctl("disconnect", c["connection_id"], "too much")[0], "disconnected\n")
        _, err = sub.communicate(timeout=PATIENCE)
        self.assertRegex(err.decode(), "disconnected by an administrator: too much\n$")
        self.assertNotEqual(sub.returncode, 0)
        end = self.json("closed", c["connection_id"])[0]
        self.assertEqual((end["reason"], end["text"], end["pid"]), ("admin", "too much", sub.pid))
        self.assertRegex(self.ctl("closed")[0], rf"\d\d:\d\d:\d\d +{c['connection_id']}  bus-sub .* admin   *too much\n")
        _, err = self.ctl("disconnect", c["connection_id"], code=5)
        self.assertEqual(err, "bus-ctl: disconnect: no client has that connection_id\n")
        result = json.loads(self.ctl("--json", "disconnect", c["connection_id"], code=5)[0])
        self.assertEqual((result["command"], result["status"]), ("disconnect", "invalid_argument"))


class SeqpacketTest(LinkTests, CtlTest):
    link = "seqpacket"


class StreamTest(LinkTests, CtlTest):
    link = "stream"


class CommandLineTest(CtlTest):
    def test_wrong_usage_is_2_and_says_what(self):
        for args, what in (([], "a command is missing"), (["clint"], "'clint' is no command"),
                           (["clients", "x"], "'x' is not the number of a connection"), (["clients", "0"], "'0' is not"),
                           (["topics", "1"], "takes no arguments"), (["disconnect"], "takes 1 to 2 arguments"),
                           (["disconnect", "1", "x" * 256], "longer than 255 bytes"), (["-t", "0", "clients"], "--timeout"),
                           (["-i", "nan", "clients"], "--interval"), (["-i", "1", "subs"], "--interval is for"),
                           (["--bad"], "wrong option")):
            _, err = self.ctl(*args, code=2)
            self.assertIn(what, err)

    def test_help_and_version(self):
        self.assertIn("Exit codes:", self.ctl("--help")[0])
        self.assertRegex(self.ctl("--version")[0], r"^bus-ctl \d")

    def test_no_router_is_1(self):
        _, err = self.ctl("-a", f"{self.folder.name}/nothing", "clients", code=1)
        self.assertIn("is bus-router running?", err)

    def test_a_router_that_does_not_answer_is_1(self):
        path = f"{self.folder.name}/deaf"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
            deaf.bind(path)
            deaf.listen()
            _, err = self.ctl("-a", f"stream:{path}", "clients", code=1)
            self.assertIn("does not answer", err)

    @unittest.skipIf(os.getuid(), "needs root to be somebody else")
    def test_not_allowed_is_4(self):
        with tempfile.TemporaryDirectory(prefix="bus-test-") as folder:
            os.chmod(folder, 0o755)
            address = f"seqpacket:{folder}/open"
            router = start_ready([ROUTER, "--listen", address, "--mode", "0666", "--log-level", "error"])
            try:
                _, err = self.ctl("-a", address, "clients", code=4, user=NOBODY)
                self.assertIn("bus-ctl: not allowed to ask for clients: ", err)
                _, err = self.ctl("-a", address, "drain", code=4, user=NOBODY)
                self.ctl("-a", address, "clients")
            finally:
                router.terminate()
                self.assertEqual(router.wait(PATIENCE), 0)

    def test_reload(self):
        with tempfile.TemporaryDirectory(prefix="bus-test-") as folder:
            path, address = f"{folder}/bus.conf", f"seqpacket:{folder}/s"

            def write(text):
                with open(path, "w") as f:
                    f.write(text)

            write('queue_messages_default = 7;\n')
            router = start_ready([ROUTER, "--config", path, "--listen", address, "--log-level", "error"],
                                 stderr=subprocess.DEVNULL)
            try:
                self.assertIn("in force", self.ctl("-a", address, "reload")[0])
                write('queue_messages_default = 7;\nspin = 11;\n')
                self.assertRegex(self.ctl("-a", address, "reload")[0], "--replace or a restart: spin$")
                write('queue_messages_default = 7;\nnonsense = 1;\n')
                _, err = self.ctl("-a", address, "reload", code=5)
                self.assertRegex(err, rf"^bus-ctl: reload: {path}:2:")
                result = json.loads(self.ctl("-a", address, "--json", "reload", code=5)[0])
                self.assertEqual((result["status"], result["error"]), ("ok", 1))
                write('rules = ({ allow = "all"; topic = "x"; });\n')
                self.ctl("-a", address, "reload")
                _, err = self.ctl("-a", address, "clients", code=4)  # root and the router's own user, too
                self.assertIn("bus-ctl: not allowed to ask for clients: ", err)
            finally:
                router.terminate()
                self.assertEqual(router.wait(PATIENCE), 0)

    def test_hostile_names_do_not_reach_the_terminal(self):
        sub = self.sub()
        self.pub("--retain", "x", topic="a\u202eb")
        self.assertNotIn("\u202e", self.ctl("topics")[0])
        self.assertTrue(any(t["name"] == "a\u202eb" for t in self.json("topics")))
        self.assertTrue(sub.pid)

    def test_drain_stops_the_router(self):
        with tempfile.TemporaryDirectory(prefix="bus-test-") as folder:
            for link in LINKS:
                address = f"{link}:{folder}/{link}"
                router = start_ready([ROUTER, "--listen", address, "--log-level", "error"])
                self.assertEqual(self.ctl("-a", address, "drain")[0], "the router drains, and stops then\n")
                self.assertEqual(router.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
