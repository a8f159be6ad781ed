#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus-pub, bus-sub and bus-bench end to end, over both kinds of link. No sleeps: every step waits
for an event.

BUS_TEST_LINES is how many lines of `find /` go through (default 100000)."""
import base64
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from ready import PATIENCE, PIPE, ROUTER, start_ready, tool

PUB = tool("bus-pub")
SUB = tool("bus-sub")
BENCH = tool("bus-bench")
LINES = int(os.environ.get("BUS_TEST_LINES", "100000"))
BODY_MAX = 2 << 20  # of the router under test
LINKS = ["seqpacket", "stream"]


class RouterTest(unittest.TestCase):
    """A router on both kinds of link, and the tools at one of them: self.link."""
    link = "seqpacket"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        cls.address = {link: f"{link}:{cls.folder.name}/{link}" for link in LINKS}
        listen = [word for link in LINKS for word in ("--listen", cls.address[link])]
        cls.router = start_ready([ROUTER, "--no-config", *listen, "--log-level", "warn", "--body-max", str(BODY_MAX)])

    @classmethod
    def tearDownClass(cls):
        cls.router.terminate()
        code = cls.router.wait(PATIENCE)
        cls.folder.cleanup()
        assert code == 0, f"the router ended with {code}"

    def setUp(self):
        self.topic = "test/" + self.id().rsplit(".", 1)[-1]

    def sub(self, *args, **kwargs):
        """A subscriber in force. Its stdout and stderr are pipes."""
        argv = [SUB, "-a", self.address[self.link], *args, self.topic]
        process = start_ready(argv, stdout=PIPE, stderr=PIPE, **kwargs)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def pub_argv(self, *args, topic=None):
        return [PUB, "-a", self.address[self.link], topic or self.topic, *args]

    def pub(self, *args, data=b"", topic=None, code=0):
        done = subprocess.run(self.pub_argv(*args, topic=topic), input=data, stdout=PIPE,
                              stderr=PIPE, timeout=PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr.decode()

    def output(self, sub, code=0):
        out, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual(sub.returncode, code, err)
        return out

    def run_tool(self, *argv):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE,
                              timeout=PATIENCE, text=True)
        return done.returncode, done.stdout, done.stderr


class LinkTests:
    """What is tested over each kind of link."""

    # ---- groups -------------------------------------------------------------------------------

    def test_group_shares_lines(self):
        subs = [self.sub("-g", "workers", "-n", "50") for _ in range(2)]
        self.pub(data=b"".join(b"%d\n" % i for i in range(100)))
        parts = [self.output(sub).split() for sub in subs]
        self.assertEqual(sorted(int(word) for part in parts for word in part), list(range(100)))

    def test_key_goes_to_one_member(self):
        # the first key goes to the first, the second to the second
        subs = [self.sub("-g", "workers", "--sticky", "-n", "30") for _ in range(2)]
        for _ in range(3):
            for key in ("one", "two"):
                self.pub("--key", key, data=f"{key}\n".encode() * 10)
        self.assertEqual([set(self.output(sub).split()) for sub in subs], [{b"one"}, {b"two"}])

    def test_what_a_killed_worker_had_is_done_by_another(self):
        # its output is a pipe that nobody reads: it cannot write all of its messages
        stuck = self.sub("-g", "workers", "--ack")
        body = "x" * 5000
        self.pub("-n", "40", body)
        other = self.sub("-g", "workers", "--ack", "-f", "json", "-n", "20")
        stuck.kill()
        stuck.wait()
        lines = [json.loads(line) for line in self.output(other).splitlines()]
        self.assertEqual({line["body"] for line in lines}, {body})
        self.assertEqual({line["deliveries"] for line in lines}, {1})

    def test_what_is_given_up_is_published_to_the_dead_letter_topic(self):
        args = ["-g", "workers", "--ack", "--deliveries", "1", "--dead-letter", self.topic + "/dead"]
        dead = start_ready([SUB, "-a", self.address[self.link], "-f", "json", "-n", "1", self.topic + "/dead"],
                           stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, dead)
        stuck = self.sub(*args)
        self.sub(*args)
        self.pub("-n", "200", "x" * 5000)  # more than a pipe takes, for both
        stuck.kill()
        letter = json.loads(self.output(dead))
        self.assertEqual(dict(letter["headers"]),
                         {"bus-topic": self.topic, "bus-group": "workers", "bus-deliveries": "1"})

    def test_wrong_group_options(self):
        for args in (["--ack"], ["--sticky"], ["-g", "x", "--deliveries", "2"], ["-g", ""], ["-g", "x" * 65],
                     ["-g", "x", "--ack", "--dead-letter", "a/#"], ["-g", "x", "--ack", "--deliveries", "0"]):
            code, _, err = self.run_tool(SUB, *args, "a")
            self.assertEqual(code, 2, args)
            self.assertIn("bus-sub:", err)
        self.assertEqual(self.run_tool(PUB, "--key", "", "a", "b")[0], 2)

    # ---- what goes through --------------------------------------------------------------------

    def test_find_reaches_three_blocking_subscribers_byte_for_byte(self):
        find = subprocess.run(f"find / -xdev 2>/dev/null | head -n {LINES}", shell=True,
                              stdout=PIPE).stdout
        n = find.count(b"\n")
        subs = [self.sub("-p", "block", "-n", str(n)) for _ in range(3)]
        sums = [None] * len(subs)

        def digest(i):
            total = hashlib.sha256()
            while chunk := subs[i].stdout.read(1 << 20):
                total.update(chunk)
            sums[i] = total.hexdigest()

        readers = [threading.Thread(target=digest, args=[i]) for i in range(len(subs))]
        for reader in readers:
            reader.start()
        self.pub(data=find)
        for reader in readers:
            reader.join(PATIENCE)
        self.assertEqual(sums, [hashlib.sha256(find).hexdigest()] * 3)
        self.assertEqual([sub.wait(PATIENCE) for sub in subs], [0, 0, 0])

    def test_lines_are_exact_whatever_they_hold(self):
        lines = [b"", b"\xff\xfe invalid", b"", b"a\0b", b"\r", b"x" * 65536, b"no newline"]
        sub = self.sub("-n", str(len(lines)))
        self.pub(data=b"\n".join(lines))
        self.assertEqual(self.output(sub), b"\n".join(lines) + b"\n")

    def test_nul_separated_messages_may_hold_newlines(self):
        sub = self.sub("-0", "-n", "3")
        self.pub("-0", data=b"a\nb\0\0c\n")
        self.assertEqual(self.output(sub), b"a\nb\0\0c\n\0")

    def test_file_is_one_message(self):
        body = bytes(range(256)) * 200
        path = pathlib.Path(self.folder.name) / "body"
        path.write_bytes(body)
        sub = self.sub("-f", "raw", "-n", "2")
        self.pub("--file", str(path))
        self.pub("--file", "-", data=b"tail")
        self.assertEqual(self.output(sub), body + b"tail")

    def test_line_that_comes_alone_goes_out_at_once(self):
        sub = self.sub()
        pub = subprocess.Popen(self.pub_argv(), stdin=PIPE, bufsize=0)
        self.addCleanup(self.end, pub)
        for i in range(100):
            line = b"line %d\n" % i
            pub.stdin.write(line)
            self.assertEqual(sub.stdout.readline(), line)
        pub.stdin.close()
        self.assertEqual(pub.wait(PATIENCE), 0)

    def test_repeat_and_rate(self):
        sub = self.sub("-n", "5")
        start = time.monotonic()
        self.pub("--repeat", "5", "--rate", "50.5", "again")
        self.assertGreaterEqual(time.monotonic() - start, 4 / 50.5)
        self.assertEqual(self.output(sub), b"again\n" * 5)

    # ---- formats ------------------------------------------------------------------------------

    def test_json_tells_everything(self):
        sub = self.sub("-f", "json", "-n", "2")
        self.pub("-H", "a=1", "-H", "b==\"", "-H", "a=", "caf\u00e9 \"\\\t\x01")
        self.pub(data=b"\xed\xa0\x80\xff")
        first, second = map(json.loads, self.output(sub).splitlines())
        self.assertEqual(first["body"], "caf\u00e9 \"\\\t\x01")
        self.assertEqual(first["headers"], [["a", "1"], ["b", "=\""], ["a", ""]])
        self.assertEqual([first["topic"], first["bytes"], first["sequence"]], [self.topic, 10, 1])
        self.assertRegex(first["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
        self.assertEqual(first["sender"]["name"], "bus-pub")
        self.assertEqual(first["sender"]["uid"], os.getuid())
        self.assertNotEqual(first["sender"]["id"], second["sender"]["id"])
        self.assertNotIn("body", second)
        self.assertEqual(base64.b64decode(second["body_base64"]), b"\xed\xa0\x80\xff")

    def test_format_string(self):
        sub = self.sub("-f", "<%t|%b|%s|%q|%{h}|%{none}|%c|%u|100%%>%n", "-n", "1")
        self.pub("-H", "h=value", "hello")
        expected = f"<{self.topic}|hello|5|1|value||bus-pub|{os.getuid()}|100%>\n"
        self.assertEqual(self.output(sub).decode(), expected)

    def test_verbose_shows_the_topic(self):
        sub = self.sub("-v", "-n", "1")
        self.pub("hello")
        self.assertEqual(self.output(sub).decode(), f"{self.topic}\thello\n")

    # ---- presence -----------------------------------------------------------------------------

    def test_events_are_readable(self):
        self.topic = "$bus/client/#"
        js = self.sub("-f", "json", "-n", "2")
        self.pub("-v", topic="a/b")
        joined, left = [json.loads(line) for line in self.output(js).splitlines()]
        self.assertEqual(joined["event"]["kind"], "joined")
        self.assertEqual(joined["event"]["name"], "bus-pub")
        self.assertEqual(joined["event"]["uid"], os.getuid())
        self.assertEqual(joined["sender"]["id"], 0)
        self.assertEqual(left["event"]["id"], joined["event"]["id"])
        self.assertEqual((left["event"]["kind"], left["event"]["reason_text"]), ("left", "done"))
        self.topic = "$bus/client/+/joined"
        text = self.sub("-n", "1")
        self.pub("-v", topic="a/b")
        self.assertRegex(self.output(text).decode().strip(), rf"^joined bus-pub pid=\d+ uid={os.getuid()} conn=\d+$")

    def test_will_of_one_that_is_killed(self):
        sub = self.sub("-n", "2")
        pub = subprocess.Popen(self.pub_argv("--will", self.topic + "=gone = away", "-v"), stdin=PIPE,
                               stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, pub)
        pub.stdin.write(b"alive\n")
        pub.stdin.flush()
        self.assertEqual(sub.stdout.readline(), b"alive\n")
        pub.kill()
        self.assertEqual(self.output(sub), b"gone = away\n")

    def test_wait_for_subscribers(self):
        pub = subprocess.Popen(self.pub_argv("-W", "2", "hello"), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, pub)
        subs = [self.sub("-n", "1") for _ in range(2)]
        for sub in subs:
            self.assertEqual(self.output(sub), b"hello\n")
        self.assertEqual(pub.wait(PATIENCE), 0)

    def test_waiting_for_subscribers_can_be_interrupted(self):
        watch = self.topic
        self.topic = "$bus/client/+/joined"
        sub = self.sub("-n", "1")
        pub = subprocess.Popen(self.pub_argv("-W", "2", "hello", topic=watch), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, pub)
        self.output(sub)
        pub.terminate()
        self.assertIn(pub.wait(PATIENCE), (0, -signal.SIGTERM))

    def test_silence(self):
        sub = self.sub("-f", "json", "--silence", "20", "-n", "1")
        silence = json.loads(sub.stdout.readline())
        self.assertEqual(silence["filter"], self.topic)
        self.assertGreaterEqual(silence["silent_ms"], 20)
        self.pub("hello")
        self.assertEqual(json.loads(self.output(sub).splitlines()[0])["body"], "hello")

    # ---- back-pressure and loss ---------------------------------------------------------------

    # ---- what is kept ---------------------------------------------------------------------------

    def test_retained_messages_come_first_and_are_marked(self):
        self.pub("--retain=2", data=b"one\ntwo\nthree\n")
        sub = self.sub("-f", "json", "--retained", "all", "-n", "3")
        self.pub("four")
        lines = [json.loads(line) for line in self.output(sub).splitlines()]
        self.assertEqual([line.get("body") for line in lines], ["two", "three", None, "four"])
        self.assertEqual([line.get("retained") for line in lines], [True, True, 2, None])
        self.assertEqual(lines[2], {"live": True, "retained": 2, "filter": self.topic})
        sub = self.sub("--retained", "last", "-n", "1", "-f", "%b %r%n")
        self.assertEqual(self.output(sub), b"four retained\n")

    def test_clear_owned_and_lifetimes(self):
        def kept():
            sub = self.sub("--retained", "last")
            line = sub.stderr.readline().decode()
            self.end(sub)
            return int(re.search(r": (\d+) retained messages; live from here on", line)[1])

        self.pub("--retain", "x")
        self.assertEqual(kept(), 1)
        self.assertEqual(self.pub("--clear"), "")
        self.assertEqual(kept(), 0)
        self.pub("--retain", "--owned", "x")
        self.assertEqual(kept(), 0)
        self.pub("--retain", "--retain-ttl", "1", "--ttl", "1", "x")
        while kept() > 0:
            pass

    def test_min_interval_thins_out_and_ends_with_the_newest(self):
        sub = self.sub("--min-interval", "50", "-t", "20", "-f", "json")
        self.pub(data=b"".join(b"%d\n" % i for i in range(1000)))
        bodies, lost = [], 0
        for line in sub.stdout:
            line = json.loads(line)
            lost += line.get("lost", 0)
            if "body" in line:
                bodies.append(int(line["body"]))
                if bodies[-1] == 999:
                    break
        self.assertEqual((bodies[0], bodies, lost), (0, sorted(bodies), 1000 - len(bodies)))
        self.assertLess(len(bodies), 500)

    def test_block_loses_nothing_when_output_is_not_read(self):
        lines = b"".join(b"%d " % i + b"x" * 1000 + b"\n" for i in range(20000))
        sub = self.sub("-p", "block", "-w", "10", "-q", "10", "-n", "20000")
        pub = subprocess.Popen(self.pub_argv(), stdin=PIPE)
        self.addCleanup(self.end, pub)
        # More than all buffers on the way hold: the writer cannot end before the reader reads.
        writer = threading.Thread(target=lambda: (pub.stdin.write(lines), pub.stdin.close()))
        writer.start()
        self.assertEqual(self.output(sub), lines)
        writer.join(PATIENCE)
        self.assertEqual(pub.wait(PATIENCE), 0)

    def test_losses_are_counted_in_place_and_give_exit_code_5(self):
        sub = self.sub("-f", "json", "-p", "drop_newest", "-w", "1", "-q", "1")
        self.pub("--repeat", "50", "x" * 60000)
        entries, sent = [], 50
        # The queue may still be full; each "end" that is lost is counted, too.
        while not entries or entries[-1].get("body") != "end":
            self.pub("end")
            sent += 1
            while True:
                entries.append(json.loads(sub.stdout.readline()))
                total = sum(entry.get("lost", 1) for entry in entries)
                if total == sent:
                    break
        lost = [entry for entry in entries if "lost" in entry]
        self.assertGreater(sum(entry["lost"] for entry in lost), 10)
        self.assertEqual({entry["reason"] for entry in lost}, {"queue full"})
        sub.send_signal(signal.SIGINT)
        self.output(sub, code=5)

    def test_loss_is_said_on_stderr(self):
        sub = self.sub("-p", "drop_oldest", "-w", "1", "-q", "1", "-f", "%q%n%b%n")
        self.pub("--repeat", "50", "x" * 60000)
        while sub.stdout.readline() != b"50\n":  # drop_oldest: the last one always comes
            pass
        sub.send_signal(signal.SIGINT)
        _, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual(sub.returncode, 5)
        found = re.findall(rb"lost (\d+) messages \((\d+) bytes\) of .*: queue full", err)
        self.assertGreater(sum(int(count) for count, _ in found), 10)
        self.assertTrue(all(int(n) == 60000 * int(count) for count, n in found))

    # ---- confirmations and refusals -----------------------------------------------------------

    def test_confirm_and_must_match(self):
        err = self.pub("-v", "--confirm", "nobody")
        self.assertIn("published 1, refused 0, matched 0", err)
        self.assertIn("matched no subscription", self.pub("--must-match", "nobody", code=4))
        sub = self.sub("-n", "1")
        self.assertIn("matched 1", self.pub("-v", "--must-match", "somebody"))
        self.assertEqual(self.output(sub), b"somebody\n")

    def test_refusal_is_said_and_fails(self):
        err = self.pub("x", topic="$bus/forbidden", code=1)
        self.assertIn("not allowed to publish to $bus/forbidden: ", err)

    def test_line_that_is_too_long_names_its_number(self):
        sub = self.sub("-n", "2")
        data = b"one\ntwo\n" + b"x" * (BODY_MAX + 1)
        for end in (b"", b"\nfour\n"):
            err = self.pub(data=data + end, code=1)
            self.assertIn(f"line 3 of standard input is longer than {BODY_MAX} bytes", err)
        self.assertEqual(self.output(sub), b"one\ntwo\n")
        path = pathlib.Path(self.folder.name) / "large"
        path.write_bytes(b"x" * (BODY_MAX + 1))
        self.assertIn(f"larger than {BODY_MAX} bytes", self.pub("-f", str(path), code=1))

    # ---- ends ---------------------------------------------------------------------------------

    def test_closed_output_is_a_quiet_end(self):
        sub = self.sub()
        sub.stdout.close()  # noticed without any message
        self.assertEqual(sub.wait(PATIENCE), 0)
        self.assertEqual(sub.stderr.read(), b"")

    def test_timeout_and_signals(self):
        # not waited for to be ready: the time is for that, too
        for args, code in ((["-n", "1"], 3), ([], 0)):
            argv = [SUB, "-a", self.address[self.link], "-t", "0.05", *args, self.topic]
            self.assertEqual(self.run_tool(*argv), (code, "", ""))
        for number in (signal.SIGINT, signal.SIGTERM):
            sub = self.sub()
            sub.send_signal(number)
            self.assertEqual(self.output(sub), b"")

    def test_interrupted_while_nobody_reads_or_all_wait(self):
        sub = self.sub("-p", "block", "-w", "10", "-q", "10")
        pub = subprocess.Popen(self.pub_argv("--repeat", "0", "x" * 1000))
        self.addCleanup(self.end, pub)
        # The queue is full, so the publisher waits, when one that does not is told so.
        while "queued 1" not in self.pub("-v", "--confirm", "-n", "1", "probe"):
            pass
        for process in (pub, sub):
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(PATIENCE), 0)

    def test_interrupted_publisher_has_published_what_it_read(self):
        sub = self.sub("-n", "1")
        pub = subprocess.Popen(self.pub_argv(), stdin=PIPE, bufsize=0)
        self.addCleanup(self.end, pub)
        pub.stdin.write(b"only\n")
        self.assertEqual(self.output(sub), b"only\n")
        pub.send_signal(signal.SIGINT)
        self.assertEqual(pub.wait(PATIENCE), 0)

    def test_end_of_the_router_is_said(self):
        address = f"{self.link}:{self.folder.name}/other"
        router = start_ready([ROUTER, "--no-config", "--listen", address, "--log-level", "error"])
        sub = start_ready([SUB, "-a", address, "#"], stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, sub)
        router.terminate()
        self.assertEqual(router.wait(PATIENCE), 0)
        _, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual(sub.returncode, 1)
        self.assertIn(b"the connection to the router has ended: the router stops", err)

    def test_reconnect_survives_a_restart_of_the_router(self):
        address = f"{self.link}:{self.folder.name}/again"
        argv = [ROUTER, "--no-config", "--listen", address, "--log-level", "error"]
        router = start_ready(argv)
        sub = start_ready([SUB, "-a", address, "--reconnect", "-n", "3", "#"], stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, sub)
        pub = subprocess.Popen([PUB, "-a", address, "--reconnect", self.topic], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        self.addCleanup(self.end, pub)
        pub.stdin.write(b"one\n")
        pub.stdin.flush()
        self.assertEqual(sub.stdout.readline(), b"one\n")
        router.terminate()
        self.assertEqual(router.wait(PATIENCE), 0)
        lost = b"the link to the router is lost, waiting for its return: the router stops\n"
        self.assertEqual(sub.stderr.readline(), b"bus-sub: " + lost)
        self.assertEqual(pub.stderr.readline(), b"bus-pub: " + lost)
        router = start_ready(argv)
        self.addCleanup(self.end, router)
        self.assertEqual(sub.stderr.readline(), b"bus-sub: the router is back\n")
        self.assertEqual(sub.stderr.readline(), b"bus-sub: messages of # may be missing: "
                         b"the connection was lost and has come back\n")
        self.assertEqual(pub.stderr.readline(), b"bus-pub: the router is back\n")
        _, err = pub.communicate(b"two\nthree\n", timeout=PATIENCE)
        self.assertEqual((pub.returncode, err), (0, b""))
        out, err = sub.communicate(timeout=PATIENCE)
        self.assertEqual((sub.returncode, out, err), (5, b"two\nthree\n", b""))

    def test_bench_uses_a_running_router(self):
        code, out, err = self.run_tool(BENCH, "fanout", "-j", "-n", "2", "-c", "1000", "-R", "1",
                                       "-a", self.address[self.link])
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["rows"][0]["bus"]["checked"], 2000)


class SeqpacketTest(LinkTests, RouterTest):
    link = "seqpacket"


class StreamTest(LinkTests, RouterTest):
    link = "stream"


class CommandLineTest(RouterTest):
    def test_no_router(self):
        for argv in ([PUB, "t", "m"], [SUB, "t"]):
            code, _, err = self.run_tool(*argv, "-a", f"{self.folder.name}/nothing")
            self.assertEqual(code, 1)
            self.assertRegex(err, r"^bus-(pub|sub): cannot connect to .*/nothing: No such file or "
                                  r"directory: is bus-router running\? Give its address with "
                                  r"--address or BUS_ADDRESS\n$")

    def test_wrong_usage_is_2_and_says_what(self):
        for argv in ([PUB], [PUB, "a/+", "m"], [PUB, "t", "m", "n"], [PUB, "-H", "x", "t"],
                     [PUB, "--rate", "nan", "t"], [PUB, "--rate", "0", "t"], [PUB, "--bad"],
                     [PUB, "--repeat", "0", "t"], [PUB, "-f", "x", "t", "m"], [SUB],
                     [SUB, "a/#/b"], [SUB, "-f", "xml", "t"], [SUB, "-f", "%y", "t"],
                     [SUB, "-f", "%{x", "t"], [SUB, "-n", "0", "t"], [SUB, "-p", "none", "t"],
                     [SUB, "-w", "1,", "t"], [SUB, "-s", "9", "t"], [PUB, "--will", "x", "t"],
                     [PUB, "--will", "a/+=x", "t"], [PUB, "-W", "0", "t"], [PUB, "--will-delay", "x", "t"],
                     [PUB, "--resume-token", "", "t"], [SUB, "-t", "-1", "t"], [SUB, "-0f", "raw", "t"],
                     [BENCH], [BENCH, "speed"], [BENCH, "-b", "7", "rtt"],
                     [BENCH, "-b", "1025M", "rtt"], [BENCH, "-b", "K", "rtt"],
                     [BENCH, "-b", "1T", "rtt"], [BENCH, "--memory-from", "2G", "rtt"]):
            with self.subTest(argv=argv):
                code, out, err = self.run_tool(*argv)
                self.assertEqual((code, out), (2, ""))
                name = pathlib.Path(argv[0]).name
                self.assertTrue(all(line.startswith(name) or argv[0] in line
                                    for line in err.splitlines()), err)

    def test_help_and_version(self):
        for tool in (PUB, SUB, BENCH):
            code, out, err = self.run_tool(tool, "--help")
            self.assertEqual((code, err, out[:6]), (0, "", "usage:"))
            self.assertTrue(all(len(line) <= 100 for line in out.splitlines()))
            self.assertEqual(self.run_tool(tool, "-h"), (0, out, ""))
            code, out, err = self.run_tool(tool, "--version")
            self.assertRegex(out, r"^bus-\w+ \d+\.\d+\.\d+\n$")
            self.assertEqual(self.run_tool(tool, "-V"), (0, out, ""))

    def test_bench_measures_everything(self):
        code, out, err = self.run_tool(BENCH, "suite", "--json", "-l", "both", "-b", "8,61,4096",
                                       "-n", "3", "-s", "0.02", "-R", "2", "-r", "2000",
                                       "--router", ROUTER)
        self.assertEqual((code, err), (0, ""))
        rows = json.loads(out)["rows"]
        self.assertEqual(len(rows), 2 * (7 * 3 + 2))
        for row in rows:
            no_floor = row["mode"] in ("connect", "subs", "request", "requests")
            for side in ("bus",) if no_floor else ("bus", "floor"):
                self.assertGreater(row[side]["checked"], 0)
                self.assertGreater(row[side]["per_second"]["median"], 0)
            flows = row["mode"] in ("throughput", "fanout", "fanin")
            self.assertEqual("gigabytes_per_second" in row["bus"], flows)

    def floor_rows(self, *argv):
        code, out, err = self.run_tool(BENCH, *argv, "--side", "floor", "-j", "-R", "1")
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)["rows"]

    def test_bench_floor_in_memory_checks_every_message(self):
        for loan in ([], ["--loan"]):
            rows = self.floor_rows("floor", *loan, "-l", "both", "-b", "8,4099,1M",
                                   "--memory-from", "0", "-n", "3", "-c", "300", "-r", "3000")
            self.assertEqual(len(rows), 2 * 5 * 3)
            for row in rows:
                self.assertEqual(row["loan"], loan != [])
                self.assertEqual(row["floor"]["through"], "memory")
                flows = 3 if row["mode"] in ("fanout", "fanin") else 1
                self.assertEqual(row["floor"]["checked"], 300 * flows)

    def test_bench_floor_of_large_bodies_is_in_memory(self):
        rows = self.floor_rows("throughput", "-l", "both", "-c", "100", "-b", "64K,65K,1M")
        self.assertEqual([row["bytes"] for row in rows], [65536, 66560, 1 << 20] * 2)
        self.assertEqual([row["floor"]["through"] for row in rows],
                         ["sockets", "memory", "memory"] * 2)
        rows = self.floor_rows("throughput", "-l", "both", "-c", "100", "-b", "128K",
                               "--memory-from", "1G")
        self.assertEqual([row["floor"]["through"] for row in rows], ["memory", "sockets"])
        for row in rows:
            self.assertAlmostEqual(row["floor"]["gigabytes_per_second"]["median"],
                                   row["floor"]["per_second"]["median"] * 131072 / 1e9, places=2)

    def test_bench_counts_memory_of_subscriptions(self):
        code, out, err = self.run_tool(BENCH, "subs", "-j", "-n", "20000", "-R", "1",
                                       "--router", ROUTER)
        self.assertEqual((code, err), (0, ""))
        side = json.loads(out)["rows"][0]["bus"]
        self.assertEqual(side["checked"], 20000)
        self.assertGreater(side["bytes_each"]["median"], 0)
        self.assertLess(side["bytes_each"]["median"], 4096)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
