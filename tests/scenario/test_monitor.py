#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus-monitor as people and scripts use it: with a router, bus-sub and bus-pub.

Environment: BUS_ROUTER, the router; BUS_BUILD_DIR, where tools/ and tools/monitor/ were built. Nothing here sleeps:
everything waits for a line in a pipe or for the end of a process, for at most TIMEOUT seconds.
"""
import base64
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["BUS_BUILD_DIR"])
ROUTER = os.environ["BUS_ROUTER"]
SUB = BUILD / "tools" / "bus-sub"
PUB = BUILD / "tools" / "bus-pub"
ASK = BUILD / "tools" / "bus-request"
SERVE = BUILD / "tools" / "bus-serve"
MONITOR = BUILD / "tools" / "monitor" / "bus-monitor"
TIMEOUT = 20
HELLO, STATUS, PUBLISH, SUBSCRIBE = 1, 3, 18, 32
NOBODY = 65534


def wait_readable(fd):
    if not select.select([fd], [], [], TIMEOUT)[0]:
        raise TimeoutError("nothing to read")


def read_line(fd):
    line = b""
    while not line.endswith(b"\n"):
        wait_readable(fd)
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line.decode()


def read_lines(fd):
    """Lines as they come, without end; in larger pieces than read_line()."""
    rest = b""
    while True:
        wait_readable(fd)
        piece = os.read(fd, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(verb, *fields, body=b""):
    header = b"".join(field(n, v) for n, v in fields)
    return struct.pack("<IHBB", len(body), len(header), verb, 0) + header + body


class RawClient:
    """A client that reads only when asked to: what bus-sub is too well-behaved for."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(address)
        self.socket.send(frame(HELLO, (1, 1), (2, 1), (3, b"raw")))

    def wait_for(self, verb):
        while True:
            packet = self.socket.recv(1 << 18)
            if not packet:
                raise EOFError
            while packet:
                body, header, found, _ = struct.unpack_from("<IHBB", packet)
                if found == verb:
                    return
                packet = packet[8 + header + body:]

    def subscribe(self, topic_filter, window, queue, policy):
        self.socket.send(frame(SUBSCRIBE, (1, 1), (2, topic_filter), (3, policy), (4, window),
                               (6, queue)))
        self.wait_for(STATUS)


class MonitorTest(unittest.TestCase):
    link = "seqpacket"

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.directory = tempfile.mkdtemp(prefix="bus-monitor-test-")
        self.stack.callback(shutil.rmtree, self.directory)
        self.path = self.directory + "/bus.sock"
        self.start_router()

    def start_router(self, *options):
        self.address = f"{self.link}:{self.path}"
        self.env = dict(os.environ, BUS_ADDRESS=self.address, TZ="UTC")
        self.env.pop("NO_COLOR", None)
        self.router, _ = self.start_ready([ROUTER, "--no-config", "--listen", self.address, *options],
                                          stderr=subprocess.DEVNULL)

    def stop(self, process):
        if process.poll() is None:
            process.kill()
        process.wait(TIMEOUT)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()

    def start(self, command, **options):
        process = subprocess.Popen([str(c) for c in command], env=self.env, **options)
        self.stack.callback(self.stop, process)
        return process

    def start_ready(self, command, **options):
        """Start a program that has --ready-fd, and wait until it is ready."""
        read_fd, write_fd = os.pipe()
        process = self.start([*command, f"--ready-fd={write_fd}"] if command[0] != ROUTER else
                             [*command, "--ready-fd", write_fd], pass_fds=[write_fd], **options)
        os.close(write_fd)
        line = read_line(read_fd)
        os.close(read_fd)
        return process, line

    def monitor(self, *options):
        process, line = self.start_ready([MONITOR, *options], stdout=subprocess.PIPE)
        self.assertEqual(line, "READY\n")
        return process

    def subscriber(self, *options):
        process, line = self.start_ready([SUB, *options], stdout=subprocess.PIPE)
        self.assertEqual(line, "READY\n")
        return process

    def publish(self, topic, body, *options):
        if isinstance(body, str):
            body = body.encode()
        subprocess.run([PUB, *options, "--file", "-", topic], input=body, env=self.env, check=True,
                       timeout=TIMEOUT)

    def run_monitor(self, *options, **more):
        return subprocess.run([str(MONITOR), *options], env=self.env, timeout=TIMEOUT,
                              capture_output=True, text=True, **more)

    def finish(self, process, code=0):
        out, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, code)
        return out.decode()

    def records(self, process):
        return [json.loads(line) for line in self.finish(process).splitlines()]

    # ---- text ----

    def test_text_shows_message_headers_body_and_recipients(self):
        monitor = self.monitor("--count=2")
        sub = self.subscriber("a/#")
        self.publish("a/b", "hello\nworld", "--header", "content-type=text/plain")
        self.publish("other", "")
        text = self.finish(monitor)
        self.assertRegex(text, re.compile(
            r"\A-- \d{4}-\d\d-\d\d, UTC\+0000\n"
            r"\d\d:\d\d:\d\d\.\d{6}  a/b  11 bytes  from bus-pub pid=\d+ uid=\d+ conn=\d+ seq=1\n"
            r"    \[content-type: text/plain\]\n"
            r"    \| hello\n"
            r"    \| world\n"
            rf"    -> delivered: bus-sub pid={sub.pid} uid=\d+ conn=\d+ sub=1\n"
            r"\d\d:\d\d:\d\d\.\d{6}  other  0 bytes  from .*\n"
            r"    -> nobody\n\Z"))

    def test_each_record_is_written_at_once(self):
        monitor = self.monitor()
        self.publish("a", "x")
        lines = [read_line(monitor.stdout.fileno()) for _ in range(4)]
        self.assertEqual(lines[3], "    -> nobody\n")
        monitor.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(monitor), "")

    def test_filters_choose_topics(self):
        monitor = self.monitor("--json", "--count=2", "a/+", "b/#")
        for topic in ("a", "a/x", "a/x/y", "c", "b"):
            self.publish(topic, "x")
        self.assertEqual([r["topic"] for r in self.records(monitor)], ["a/x", "b"])

    def test_hostile_text_reaches_no_terminal(self):
        monitor = self.monitor("--count=4")
        self.publish("a b", "\033[2J\033]0;x\a")
        self.publish("a", "line\n    -> delivered: forged\rover")
        self.publish("a", "\u202egnp.exe\u2028", "--header", "x]=\033[2J\n-> forged")
        self.publish("a", b"\x9b2J\xff\x00")
        text = self.finish(monitor)
        self.assertEqual([c for c in text if (ord(c) < 32 and c != "\n") or
                          0x7f <= ord(c) < 0xa0 or c in "\u202e\u2028"], [])
        self.assertIn('  "a b"  10 bytes', text)
        self.assertIn("    0000  1b 5b 32 4a 1b 5d 30 3b  78 07", text)
        self.assertIn("    |     -> delivered: forged\\rover\n", text)
        self.assertIn("    | \\u{202e}gnp.exe\\u{2028}\n", text)
        self.assertIn("    [x\\]: \\e[2J\\n-> forged]\n", text)
        self.assertIn("|.2J..|", text)
        self.assertEqual(text.count("\n    -> "), 4)

    def test_long_bodies_are_cut_between_characters(self):
        monitor = self.monitor("--count=1", "--snap=8")
        self.publish("a", "1234567\u20ac90")
        self.assertIn("    | 1234567\n    + 5 more bytes\n", self.finish(monitor))

    def test_no_body_shows_no_body(self):
        monitor = self.monitor("--count=1", "--no-body")
        self.publish("a", "secret")
        text = self.finish(monitor)
        self.assertNotIn("s", text.split("seq=1")[1])
        self.assertIn("  6 bytes  ", text)

    def test_colour_only_if_wanted(self):
        for option, found in (("auto", False), ("always", True), ("never", False)):
            monitor = self.monitor("--count=1", f"--color={option}")
            self.publish("a", "x")
            self.assertEqual("\033[" in self.finish(monitor), found, option)

    # ---- json ----

    def test_json_has_everything(self):
        monitor = self.monitor("--json", "--count=3")
        sub = self.subscriber("a")
        bodies = [b"text \x00\x1b\n\xc3\xa9", b"\xff\xfe", b"x" * 5000]
        for body in bodies:
            self.publish("a", body, "--header", "k=v", "--header", "k=w")
        records = self.records(monitor)
        self.assertEqual(records[0]["body"], bodies[0].decode())
        self.assertEqual(base64.b64decode(records[1]["body_base64"]), bodies[1])
        self.assertNotIn("body", records[1])
        self.assertEqual(records[2]["body"], bodies[2].decode())
        for record, body in zip(records, bodies):
            self.assertEqual((record["type"], record["topic"], record["status"], record["bytes"]),
                             ("message", "a", "ok", len(body)))
            self.assertEqual(record["headers"], [["k", "v"], ["k", "w"]])
            self.assertEqual(record["sender"]["name"], "bus-pub")
            self.assertEqual(record["sender"]["uid"], os.getuid())
            self.assertEqual(record["recipients"][0]["pid"], sub.pid)
            self.assertEqual(record["recipients"][0]["verdict"], "delivered")
            self.assertEqual(record["recipients_omitted"], 0)
        self.assertEqual([r["order"] for r in records], [1, 2, 3])

    def test_json_of_a_cut_body(self):
        monitor = self.monitor("--json", "--count=1", "--snap=2")
        self.publish("a", "1\u20ac")
        record = self.records(monitor)[0]
        self.assertEqual((record["body"], record["bytes"], record["bytes_shown"]), ("1", 4, 1))

    # ---- verdicts ----

    def verdicts(self, policy, n):
        """Publish n messages to a subscriber with room for 1 in flight and 2 in the queue that does not read."""
        monitor = self.monitor("--json", f"--count={n}")
        raw = RawClient(self.path)
        self.stack.callback(raw.socket.close)
        raw.subscribe(b"q", 1, 2, policy)
        for i in range(n):
            self.publish("q", str(i))
        return [(r["recipients"][0]["verdict"], r["recipients"][0]["reason"],
                 r["recipients"][0]["evicted"]) for r in self.records(monitor)]

    def test_verdicts_of_drop_newest(self):
        self.assertEqual(self.verdicts(1, 5), [
            ("delivered", "none", 0), ("queued", "none", 0), ("queued", "none", 0),
            ("dropped", "queue_full", 0), ("dropped", "queue_full", 0)])

    def test_verdicts_of_drop_oldest(self):
        self.assertEqual(self.verdicts(0, 4), [
            ("delivered", "none", 0), ("queued", "none", 0), ("queued", "none", 0),
            ("queued", "none", 1)])

    def test_verdict_of_disconnect(self):
        self.assertEqual([v[0] for v in self.verdicts(4, 4)],
                         ["delivered", "queued", "queued", "disconnected"])

    def test_verdicts_in_text(self):
        monitor = self.monitor("--count=3")
        raw = RawClient(self.path)
        self.stack.callback(raw.socket.close)
        raw.subscribe(b"q", 1, 1, 1)
        for i in range(3):
            self.publish("q", str(i))
        fates = re.findall(r"^    -> (.*?): raw ", self.finish(monitor), re.M)
        self.assertEqual(fates, ["delivered", "queued", "dropped (queue full)"])

    def test_refused_publish_is_shown_with_its_reason(self):
        text = self.monitor("--count=1")
        as_json = self.monitor("--json", "--count=1")
        raw = RawClient(self.path)
        self.stack.callback(raw.socket.close)
        raw.socket.send(frame(PUBLISH, (2, b"a"), (15, field(1, b"\n")), body=b"no"))
        raw.wait_for(STATUS)
        self.assertIn("    [\\n: ]\n    | no\n    !! refused: a field is out of its range\n", self.finish(text))
        record = self.records(as_json)[0]
        self.assertEqual((record["status"], record["recipients"]), ("invalid_argument", []))

    # ---- requests ----

    def ask(self, *options, code=0):
        done = subprocess.run([str(ASK), *options], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, code, done.stderr)

    def start_server(self, topic, *command):
        """bus-serve takes what follows its topic for the command."""
        read_fd, write_fd = os.pipe()
        options = ["--jobs=1", "--stream"] if command else ["--echo"]
        process = self.start([SERVE, f"--ready-fd={write_fd}", *options, topic, *command], pass_fds=[write_fd])
        os.close(write_fd)
        self.assertEqual(read_line(read_fd), "READY\n")
        os.close(read_fd)
        self.stack.callback(self.end_server, process)
        return process

    def end_server(self, process):
        """It takes its commands with it."""
        process.terminate()
        process.wait(TIMEOUT)

    def test_request_and_reply_are_one_conversation(self):
        monitor = self.monitor("--count=3")
        server = self.start_server("a")
        self.ask("-H", "k=v", "a", "what?")
        self.ask("b", "x", code=3)
        text = self.finish(monitor)
        peer = r"pid=\d+ uid=\d+ conn=\d+"
        time = r"\d\d:\d\d:\d\d\.\d{6}"
        self.assertRegex(text, re.compile(
            r"\A-- .*\n"
            rf"{time}  a  5 bytes  request 1 from bus-request {peer}\n"
            r"    \[k: v\]\n"
            r"    \| what\?\n"
            rf"    -> delivered: bus-serve pid={server.pid} uid=\d+ conn=\d+ sub=1\n"
            rf"{time}  a  5 bytes  reply to 1 after \d+\.\d\d\d ms  from bus-serve pid={server.pid} .*\n"
            r"    \[k: v\]\n"
            r"    \| what\?\n"
            rf"    -> delivered: bus-request {peer}\n"
            rf"{time}  b  1 bytes  request 2 from bus-request {peer}\n"
            r"    \| x\n"
            r"    !! refused: nobody serves that topic\n\Z"))

    def test_streams_ends_and_what_waits(self):
        monitor = self.monitor("--count=6", "--no-body")
        fifo = self.directory + "/end"
        os.mkfifo(fifo)
        self.start_server("a", "sh", "-c", f"echo first; exec cat {fifo}")
        first = self.start([ASK, "-Ftext", "a", "1"], stdout=subprocess.PIPE)
        self.assertEqual(read_line(first.stdout.fileno()), "first\n")
        self.ask("-t", "100", "a", "2", code=4)
        with open(fifo, "w", encoding="ascii") as end:
            end.write("second\n")
        first.wait(TIMEOUT)
        lines = [re.sub(r"^\S+  ", "", line) for line in self.finish(monitor).splitlines()[1:]]
        seen = [re.sub(r"[a-z-]+ pid=.*|\d+\.\d+ ms", "…", line) for line in lines]
        self.assertEqual(seen, [
            "a  1 bytes  request 1 from …", "    -> delivered: …",
            "a  5 bytes  reply to 1, more follow, after …  from …", "    -> delivered: …",
            "a  1 bytes  request 2 from …", "    -> waits for a server that is free",
            "a  end of 2 after …  asked by …", "    !! no answer in time",
            "a  6 bytes  reply to 1, more follow, after …  from …", "    -> delivered: …",
            "a  0 bytes  reply to 1 after …  from …", "    -> delivered: …"])

    def test_conversations_in_json(self):
        monitor = self.monitor("--json", "--count=5")
        for _ in range(2):
            self.start_server("a")
        self.publish("a", "not a request")
        self.ask("--all", "a", "x")
        records = self.records(monitor)
        self.assertEqual([r["type"] for r in records], ["message", "request", "reply", "reply", "end"])
        self.assertEqual(len({r["call"] for r in records[1:]}), 1)
        self.assertEqual([r.get("more") for r in records], [None, None, False, False, None])
        self.assertEqual(["after_ns" in r for r in records], [False, False, True, True, True])
        self.assertNotIn("call", records[0])
        for record in records[2:]:
            self.assertEqual(record["after_ns"], record["time_ns"] - records[1]["time_ns"])
        self.assertEqual(len(records[1]["recipients"]), 2)
        self.assertEqual({r["recipients"][0]["id"] for r in records[2:4]}, {records[1]["sender"]["id"]})
        self.assertEqual((records[4]["status"], records[4]["sender"]), ("ok", records[1]["sender"]))

    def test_reply_that_is_an_error(self):
        monitor = self.monitor("--count=4")
        json_monitor = self.monitor("--json", "--count=4")
        self.start_server("a", "--", "sh", "-c", "exit 3")
        for _ in range(2):
            self.ask("a", "x", code=7)
        lines = [re.sub(r"^\S+  |\d+\.\d+ ms.*", "", line) for line in self.finish(monitor).splitlines()[1:]]
        self.assertEqual([line for line in lines if "reply" in line],
                         ["a  20 bytes  reply to 1 error 3 after ", "a  20 bytes  reply to 2 error 3 after "])
        self.assertEqual([r.get("error") for r in self.records(json_monitor)], [None, 3, None, 3])

    def test_top_counts_requests(self):
        self.start_server("a")
        for _ in range(3):
            self.ask("a", "x")
        self.ask("b", "x", code=3)
        out = self.run_monitor("--top", "--count=2", "--interval=0.1").stdout
        self.assertIn("\nrequests 0/s  replies 0/s  open 0  failed 1\n", out.split("-- ")[2])

    # ---- losses of the monitor ----

    def test_own_losses_are_shown_in_place(self):
        """A monitor that is stopped misses records; they are counted exactly where they are missing."""
        n = 20000
        monitor = self.monitor("--json", "--queue=64K", "--timeout=60")
        monitor.send_signal(signal.SIGSTOP)
        os.waitpid(monitor.pid, os.WUNTRACED)
        subprocess.run([PUB, "--repeat", str(n), "a", "x" * 100], env=self.env, check=True,
                       timeout=TIMEOUT)
        monitor.send_signal(signal.SIGCONT)
        seen, lost, order = 0, 0, 0
        for line in read_lines(monitor.stdout.fileno()):
            record = json.loads(line)
            if record["type"] == "loss":
                self.assertEqual(record["reason"], "queue_full")
                lost += record["lost"]
                order += record["lost"]
            else:
                seen += 1
                order += 1
                self.assertEqual(record["order"], order)
            if seen + lost == n:
                break
        self.assertGreater(lost, 0)
        monitor.send_signal(signal.SIGTERM)
        self.finish(monitor)

    # ---- ends ----

    def test_count_that_is_not_reached_in_time(self):
        result = self.run_monitor("--count=1", "--timeout=0.05")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (3, "", ""))
        self.assertEqual(self.run_monitor("--timeout=0.05").returncode, 0)

    def test_interrupt_is_a_clean_end(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            monitor = self.monitor()
            monitor.send_signal(number)
            self.finish(monitor)

    def test_reader_that_leaves_is_a_quiet_end(self):
        read_fd, write_fd = os.pipe()
        monitor, _ = self.start_ready([MONITOR], stdout=write_fd, stderr=subprocess.PIPE)
        os.close(write_fd)
        os.close(read_fd)
        _, errors = monitor.communicate(timeout=TIMEOUT)
        self.assertEqual((monitor.returncode, errors), (0, b""))

    def test_interrupt_works_while_nobody_reads(self):
        monitor = self.monitor("--json")
        subprocess.run([PUB, "--repeat", "2000", "a", "x" * 100], env=self.env, check=True,
                       timeout=TIMEOUT)
        wait_readable(monitor.stdout.fileno())
        monitor.send_signal(signal.SIGINT)
        self.assertEqual(monitor.wait(TIMEOUT), 0)

    def test_full_disk_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            monitor, _ = self.start_ready([MONITOR], stdout=full, stderr=subprocess.PIPE)
        self.publish("a", "x")
        _, errors = monitor.communicate(timeout=TIMEOUT)
        self.assertEqual(monitor.returncode, 1)
        self.assertIn(b"No space left", errors)

    def test_end_of_the_router_is_said(self):
        for option in ("--json", "--top"):
            monitor, _ = self.start_ready([MONITOR, option], stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE)
            self.router.send_signal(signal.SIGTERM)
            _, errors = monitor.communicate(timeout=TIMEOUT)
            self.assertEqual(monitor.returncode, 1)
            self.assertIn(b"the router stops", errors)
            self.router.wait(TIMEOUT)
            self.start_router()

    def test_wrong_usage(self):
        for options, text in (
                (["--nonsense"], "nonsense"), (["--count=0"], "--count: '0'"),
                (["--snap=9x"], "--snap: '9x'"), (["--queue=17M"], "--queue: '17M'"),
                (["--interval=0"], "--interval: '0'"), (["--color=red"], "--color: 'red'"),
                (["--timeout=soon"], "--timeout: 'soon'"), (["--ready-fd=999"], "--ready-fd"),
                (["--json", "--top"], "combined"), (["a/#/b"], "'a/#/b' is not a topic filter"),
                (["a"] * 33, "33 filters")):
            result = self.run_monitor(*options)
            self.assertEqual((result.returncode, result.stdout), (2, ""), options)
            self.assertIn(text, result.stderr)

    def test_no_router(self):
        result = self.run_monitor("--address", self.directory + "/none")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/none: No such file", result.stderr)

    def test_help_and_version(self):
        self.assertIn("Exit codes", self.run_monitor("--help").stdout)
        self.assertRegex(self.run_monitor("--version").stdout, r"^bus-monitor \d")

    # ---- rights ----

    @unittest.skipIf(os.getuid() != 0, "only root can become somebody else")
    def test_others_are_denied(self):
        self.router.terminate()
        self.router.wait(TIMEOUT)
        os.chmod(self.directory, 0o755)
        self.start_router("--mode", "0666")
        for options in ([], ["--json"], ["--top"]):
            with self.subTest(options=options):
                try:
                    result = self.run_monitor(*options, user=NOBODY, group=NOBODY,
                                              extra_groups=[])
                except PermissionError:
                    self.skipTest("others may not run what was built here")
                self.assertEqual((result.returncode, result.stdout), (4, ""), result.stderr)
                self.assertIn("only the router's own user and root", result.stderr)
                self.assertIn("run as root (uid 0)", result.stderr)

    # ---- top ----

    def test_top_in_a_pipe_prints_tables(self):
        self.subscriber("a/#")
        pub = self.start([PUB, "a/b"], stdin=subprocess.PIPE)
        pub.stdin.write(b"hello\n")
        pub.stdin.flush()
        tap = self.monitor("--count=2")
        pub.stdin.write(b"again\nagain\n")
        pub.stdin.flush()
        self.finish(tap)
        result = self.run_monitor("--top", "--count=2", "--interval=0.1")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        tables = result.stdout.split("-- ")[1:]
        self.assertEqual(len(tables), 2)
        row = re.search(r"^a/b +(.*)$", tables[0], re.M).group(1).split()
        self.assertEqual(row[:5], ["-"] * 4 + ["3"])
        row = re.search(r"^a/b +(.*)$", tables[1], re.M).group(1).split()
        self.assertEqual(row[:5], ["0"] * 4 + ["3"])
        for name in ("bus-sub", "bus-pub", "bus-monitor"):
            self.assertRegex(tables[1], rf"(?m)^{name}#\d+ ")
        self.assertIn("\nclients 3  subscriptions 1  topics 1 ", tables[1])
        self.assertRegex(tables[1], r"\nin 0/s 0B/s  out 0/s ")
        pub.stdin.close()
        pub.wait(TIMEOUT)

    def test_top_shows_what_waits_and_what_was_lost(self):
        raw = RawClient(self.path)
        self.stack.callback(raw.socket.close)
        raw.subscribe(b"q", 1, 2, 1)
        for i in range(7):
            self.publish("q", "body")
        result = self.run_monitor("--top", "--count=1")
        titles, row = re.search(r"^CLIENT +(.*)\n(?:.*\n)*?raw#\d+ +(.*)$", result.stdout,
                                re.M).groups()
        row = dict(zip(titles.split(), row.split()))
        self.assertEqual((row["QUEUE"], row["QUEUEB"], row["LOST"], row["SUBS"]),
                         ("2", "8", "4", "1"))

    def test_top_shows_filtered_topics_only(self):
        self.subscriber("#")
        pubs = []
        for topic in ("a/b", "c"):
            pubs.append(self.start([PUB, topic], stdin=subprocess.PIPE))
            tap = self.monitor("--count=1", topic)
            pubs[-1].stdin.write(b"x\n")
            pubs[-1].stdin.flush()
            self.finish(tap)
        result = self.run_monitor("--top", "--count=1", "a/+")
        self.assertRegex(result.stdout, r"(?m)^a/b ")
        self.assertNotRegex(result.stdout, r"(?m)^c ")
        for pub in pubs:
            pub.stdin.close()
            pub.wait(TIMEOUT)


class StreamMonitorTest(MonitorTest):
    link = "stream"

    def verdicts(self, policy, n):
        self.skipTest("the raw client speaks seqpacket")

    test_verdicts_in_text = test_refused_publish_is_shown_with_its_reason = None
    test_top_shows_what_waits_and_what_was_lost = None


if __name__ == "__main__":
    unittest.main()
