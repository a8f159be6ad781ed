#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus-request and bus-serve end to end, over both kinds of link: every exit code, and that commands
end when nobody wants their answer. No sleeps: commands tell through named pipes how far they are."""
import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from ready import PATIENCE, PIPE, ROUTER, start_ready, tool
from test_tools import BODY_MAX, LINKS, RouterTest

ASK = tool("bus-request")
SERVE = tool("bus-serve")


class RequestTest(RouterTest):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)

    def fifo(self, name):
        path = self.path / name
        os.mkfifo(path)
        return path

    def serve(self, *args, topic=None, address=None, **kwargs):
        """A server whose requests can come. Arguments before "--" are its options."""
        args = list(args)
        at = args.index("--") if "--" in args else len(args)
        argv = [SERVE, "-a", address or self.address[self.link], "-d", "100", *args[:at]]
        kwargs.setdefault("stderr", PIPE)
        process = start_ready([*argv, topic or self.topic, *args[at:]], **kwargs)
        self.addCleanup(self.end_server, process)
        return process

    def serve_shell(self, script, *options, **kwargs):
        return self.serve(*options, "--", "sh", "-c", script, **kwargs)

    def ask_argv(self, *args, topic=None):
        return [ASK, "-a", self.address[self.link], *args[:-1], topic or self.topic, *args[-1:]]

    def ask(self, *args, code=0, data=None, topic=None):
        """What it wrote: the last of args is the body; data, if given, is standard input."""
        argv = [ASK, "-a", self.address[self.link], *(args if data is not None else args[:-1]), topic or self.topic,
                *(() if data is not None else args[-1:])]
        done = subprocess.run(argv, input=data if data is not None else b"", stdout=PIPE, stderr=PIPE,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, code, (done.stdout[:200], done.stderr))
        return done.stdout, done.stderr.decode()

    def start_ask(self, *args, **kwargs):
        process = subprocess.Popen(self.ask_argv(*args), stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE,
                                   **kwargs)
        self.addCleanup(self.end, process)
        return process

    def end_server(self, process):
        if process.poll() is None:
            process.terminate()  # so that it takes its commands with it
            process.wait(PATIENCE)
        self.end(process)

    def begun(self, command):
        """A command has said that it works; its number."""
        here, pid = command.readline().split()
        self.assertEqual(here, b"here")
        return int(pid)

    @contextlib.contextmanager
    def too_slow(self, *args, before="", work="exec sleep 1000"):
        """Who asks and soon gives up, and the output of the command that has begun to work by then. When it begins is up to the
        machine: who gave up before that asks again, with more patience."""
        for ms in ("300", "3000", "30000"):
            fifo = self.fifo("within" + ms)
            server = self.serve_shell(f"{before} exec > {fifo}; echo here; {work}", "--drain-timeout", "0")
            with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as command:
                asker = self.start_ask(*args, "-t", ms, "")
                ended = os.pidfd_open(asker.pid)
                select.select([command, ended], [], [], PATIENCE)
                os.close(ended)
                os.set_blocking(command.fileno(), True)
                if command.readline():
                    yield asker, command
                    return
            self.stop(server)
        self.fail("no command begins")

    def stop(self, server, number=signal.SIGTERM):
        server.send_signal(number)
        self.assertEqual(server.wait(PATIENCE), 0)


class LinkTests:
    """What is tested over each kind of link."""

    # ---- commands ------------------------------------------------------------------------------

    def test_a_command_gets_the_question_and_gives_the_reply(self):
        script = """printf '%s|' "$(cat)" "$BUS_TOPIC" "$BUS_SENDER_NAME" "$BUS_SENDER_UID" "$BUS_SENDER_PID" \
                 "$BUS_TIMEOUT_MS" "$BUS_HEADER_CONTENT_TYPE" "$BUS_HEADER_FORGED" """
        server = self.serve_shell(script, topic="test/command/+", env={**os.environ, "BUS_HEADER_FORGED": "x"})
        asker = self.start_ask("-H", "content-type=a b", "-H", "Content Type=second", "-t", "20000", "what?")
        out, err = asker.communicate(timeout=PATIENCE)
        self.assertEqual(asker.returncode, 3, err)
        argv = self.ask_argv("-H", "content-type=a b", "-H", "Content Type=second", "-t", "20000", "what?",
                             topic="test/command/1")
        asker = subprocess.Popen(argv, stdout=PIPE)
        out, _ = asker.communicate(timeout=PATIENCE)
        question, topic, name, uid, pid, timeout, header, forged, _ = out.decode().split("|")
        self.assertEqual([question, topic, name, uid, pid], ["what?", "test/command/1", "bus-request",
                                                             str(os.getuid()), str(asker.pid)])
        self.assertTrue(0 < int(timeout) <= 20000)
        self.assertEqual([header, forged], ["a b", ""])
        self.stop(server)

    def test_failing_commands_answer_with_errors(self):
        server = self.serve_shell("case $(cat) in text) echo oops >&2; echo lost; exit 3;; quiet) exit 4;; "
                                  "signal) kill -9 $$;; *) echo fine; echo noise >&2;; esac")
        for body, said in (("text", "answered with error 3: oops\n"), ("quiet", "error 4: sh ended with code 4"),
                           ("signal", "error 137: sh was ended by signal 9")):
            out, err = self.ask(body, code=7)
            self.assertEqual(out, b"")
            self.assertIn(said, err)
            self.assertEqual(self.ask("-q", body, code=7), (b"", ""))
        self.assertEqual(self.ask("ok"), (b"fine\n", ""))
        self.stop(server)
        self.assertEqual(server.stderr.read(), b"")

    def test_a_command_that_cannot_be_started(self):
        self.serve("--", "/nonexistent/command")
        out, err = self.ask("-j", "", code=7)
        reply = json.loads(out)
        self.assertEqual([reply["error"], reply["more"]], [127, False])
        self.assertEqual(reply["body"], "cannot start /nonexistent/command: No such file or directory")

    def test_control_characters_of_an_error_are_not_obeyed(self):
        self.serve_shell(r"printf 'a\033[2Jb' >&2; exit 1")
        _, err = self.ask("", code=7)
        self.assertIn(r"error 1: a\x1b[2Jb", err)

    def test_large_bodies_go_both_ways(self):
        body = bytes(range(256)) * (BODY_MAX // 256)
        self.serve("--", "cat")
        self.assertEqual(self.ask(data=body), (body, ""))
        path = self.path / "body"
        path.write_bytes(body[1:])
        self.assertEqual(self.ask("-f", str(path), data=b""), (body[1:], ""))
        self.serve("--", "sh", "-c", "exec <&-; echo did not read", topic=self.topic + "/deaf")
        self.assertEqual(self.ask(data=body, topic=self.topic + "/deaf"), (b"did not read\n", ""))

    def test_what_is_too_large_is_refused(self):
        server = self.serve_shell(f"yes | head -c {BODY_MAX}")
        self.assertEqual(len(self.ask("")[0]), BODY_MAX)
        self.stop(server)
        server = self.serve("--", "yes")
        _, err = self.ask("", code=7)
        self.assertIn(f"error 256: the output is longer than {BODY_MAX} bytes", err)
        self.stop(server)
        self.serve("-s", "--", "sh", "-c", "yes | tr -d '\\n'")
        self.assertIn("error 256: a line of the output", self.ask("", code=7)[1])
        _, err = self.ask(data=b"x" * (BODY_MAX + 1), code=1)
        self.assertIn(f"longer than {BODY_MAX} bytes", err)

    def test_as_many_commands_as_allowed_run_at_a_time(self):
        self.serve_shell(f"mkdir {self.path}/lock || exit 9; cat; rmdir {self.path}/lock", "-j", "1")
        askers = [self.start_ask(str(i)) for i in range(20)]
        for i, asker in enumerate(askers):
            self.assertEqual(asker.communicate(timeout=PATIENCE), (b"%d" % i, b""))
        self.assertEqual({asker.returncode for asker in askers}, {0})

    def test_commands_run_side_by_side(self):
        fifo = self.fifo("meet")
        self.serve_shell(f"if [ $(cat) = reads ]; then cat {fifo}; else echo met > {fifo}; fi", "--jobs", "2")
        reads, writes = self.start_ask("reads"), self.start_ask("writes")
        self.assertEqual(reads.communicate(timeout=PATIENCE), (b"met\n", b""))
        self.assertEqual(writes.communicate(timeout=PATIENCE), (b"", b""))

    # ---- streams -------------------------------------------------------------------------------

    def test_lines_come_as_they_are_written(self):
        fifo = self.fifo("go")
        self.serve_shell(f"echo one; cat {fifo}; printf three", "--stream")
        asker = self.start_ask("-F", "text", "")
        self.assertEqual(asker.stdout.readline(), b"one\n")
        fifo.write_bytes(b"two\n")
        self.assertEqual(asker.communicate(timeout=PATIENCE), (b"two\nthree\n", b""))
        self.assertEqual(asker.returncode, 0)

    def test_a_long_stream_keeps_its_order(self):
        self.serve("-s", "--", "seq", "20000")
        asker = self.start_ask("-F", "%b%n", "")
        out, err = asker.communicate(timeout=PATIENCE)
        self.assertEqual((out.split(), err), ([b"%d" % i for i in range(1, 20001)], b""))

    def test_a_stream_may_end_with_an_error(self):
        self.serve_shell("echo one; echo why >&2; exit 5", "-s")
        out, err = self.ask("-F", "text", "", code=7)
        self.assertEqual(out, b"one\n")
        self.assertIn("error 5: why", err)
        replies = [json.loads(line) for line in self.ask("-j", "", code=7)[0].splitlines()]
        self.assertEqual([(r["body"], r["error"], r["more"]) for r in replies], [("one", 0, True), ("why", 5, False)])

    def test_the_end_of_a_stream_is_written_as_json_only(self):
        self.serve_shell("echo one; echo; echo", "-s")
        self.assertEqual(self.ask("-F", "text", "")[0], b"one\n\n\n")
        self.assertEqual(len(self.ask("-j", "")[0].splitlines()), 4)

    # ---- ends ----------------------------------------------------------------------------------

    def held(self):
        """A server with a command that has begun to work; the returned file ends when it has."""
        fifo = self.fifo("held")
        server = self.serve_shell(f"exec > {fifo}; echo here $$; exec sleep 1000", "--drain-timeout", "0")
        return server, fifo

    def test_nobody_serves_it(self):
        _, err = self.ask("", code=3)
        self.assertEqual(err, f"bus-request: {self.topic}: nobody serves that topic\n")
        self.assertEqual(self.ask("--quiet", "", code=3), (b"", ""))
        self.assertEqual(json.loads(self.ask("-qj", "", code=3)[0]), {"status": "nobody serves that topic"})

    def test_no_answer_in_time_ends_the_command(self):
        with self.too_slow() as (asker, command):
            _, err = asker.communicate(timeout=PATIENCE)
            self.assertEqual(asker.returncode, 4)
            self.assertIn(b"no answer in time", err)
            self.assertEqual(command.read(), b"")

    def test_who_gives_up_ends_the_command(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                server, fifo = self.held()
                asker = self.start_ask("")
                with open(fifo, "rb") as command:
                    self.begun(command)
                    asker.send_signal(number)
                    self.assertEqual(asker.wait(PATIENCE), -9 if number == signal.SIGKILL else 1)
                    self.assertEqual(command.read(), b"")
                self.stop(server)
                fifo.unlink()

    def test_a_command_that_ignores_sigterm_is_killed(self):
        with self.too_slow(before="trap '' TERM;", work="while :; do sleep 1000; done") as (asker, command):
            self.assertEqual(asker.wait(PATIENCE), 4)
            self.assertEqual(command.read(), b"")

    def test_the_server_goes(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                server, fifo = self.held()
                asker = self.start_ask("")
                with open(fifo, "rb") as command:
                    pid = self.begun(command)
                    server.send_signal(number)
                    _, err = asker.communicate(timeout=PATIENCE)
                    self.assertEqual((asker.returncode, server.wait(PATIENCE)),
                                     (5, -9 if number == signal.SIGKILL else 0))
                    self.assertIn(b"who was to answer has gone", err)
                    if number == signal.SIGKILL:
                        os.kill(pid, signal.SIGKILL)  # nobody else could end it
                    self.assertEqual(command.read(), b"")
                fifo.unlink()

    def test_a_server_finishes_what_it_has(self):
        begun, go = self.fifo("begun"), self.fifo("go")
        server = self.serve_shell(f"echo here $$ > {begun}; cat {go}", "-j", "1", "-d", "3600000")
        asker = self.start_ask("")
        with open(begun, "rb") as command:
            self.begun(command)
        other = self.start_ask("")  # waits
        server.send_signal(signal.SIGTERM)
        _, err = other.communicate(timeout=PATIENCE)
        self.assertEqual(other.returncode, 3, err)
        go.write_text("done after all")
        out, err = asker.communicate(timeout=PATIENCE)
        self.assertEqual((out, asker.returncode), (b"done after all", 0), err)
        self.assertEqual(server.wait(PATIENCE), 0)

    def test_the_router_belongs_to_itself(self):
        _, err = self.ask("", topic="$bus/x", code=3)
        self.assertIn("the router does not serve that topic", err)
        out, _ = self.ask("", topic="$bus/topics")
        self.assertTrue(out)
        done = subprocess.run([SERVE, "-a", self.address[self.link], "--echo", "$bus/#"], stderr=PIPE, timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"not allowed to serve $bus/#: ", done.stderr)

    def test_the_router_stops(self):
        address = f"{self.link}:{self.path}/other"
        router = start_ready([ROUTER, "--no-config", "--listen", address, "--log-level", "error", "--drain-timeout", "1ms"])
        self.addCleanup(self.end, router)
        fifo = self.fifo("working")
        server = self.serve_shell(f"exec > {fifo}; echo here $$; exec sleep 1000", address=address)
        asker = subprocess.Popen([ASK, "-a", address, self.topic, ""], stderr=PIPE)
        self.addCleanup(self.end, asker)
        with open(fifo, "rb") as command:
            self.begun(command)
            router.terminate()
            self.assertEqual(router.wait(PATIENCE), 0)
            for process in (asker, server):
                _, err = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, 1)
                self.assertIn(b"the connection to the router has ended: the router stops", err)
            self.assertEqual(command.read(), b"")

    def test_closed_output_is_a_quiet_end(self):
        _, fifo = self.held()
        asker = self.start_ask("")
        with open(fifo, "rb") as command:
            self.begun(command)
            asker.stdout.close()
            self.assertEqual(asker.wait(PATIENCE), 0)
            self.assertEqual(asker.stderr.read(), b"")
            self.assertEqual(command.read(), b"")

    def test_reconnecting_server_survives_a_restart_of_the_router(self):
        address = f"{self.link}:{self.folder.name}/again"
        argv = [ROUTER, "--no-config", "--listen", address, "--log-level", "error"]
        router = start_ready(argv)
        server = self.serve("--reconnect", "--text", "yes", address=address)
        router.kill()
        router.wait(PATIENCE)
        self.assertIn(b"the link to the router is lost", server.stderr.readline())
        router = start_ready(argv)
        self.addCleanup(self.end, router)
        self.assertEqual(server.stderr.readline(), b"bus-serve: the router is back\n")
        # the router has its SUBSCRIBE, but may not have handled it yet
        deadline = time.monotonic() + PATIENCE
        asked = None
        while (asked is None or asked.returncode != 0) and time.monotonic() < deadline:
            asked = subprocess.run([ASK, "-a", address, self.topic, ""], stdout=PIPE, stderr=PIPE, timeout=PATIENCE)
        self.assertEqual((asked.returncode, asked.stdout.rstrip()), (0, b"yes"), asked.stderr)
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(PATIENCE), 0)

    # ---- several servers -----------------------------------------------------------------------

    def test_all_are_asked(self):
        self.serve("--text", "first")
        self.serve("--text", "second")
        self.serve_shell("echo sick >&2; exit 1")
        out, err = self.ask("--all", "", code=7)
        self.assertRegex(out.decode(), r"^(bus-serve pid=\d+\t(first|second)\n){2}$")
        self.assertIn("answered with error 1: sick", err)
        self.assertIn("asked 3: 3 replied, 0 gone, 0 not in time", err)
        lines = [json.loads(line) for line in self.ask("-A", "-j", "-q", "", code=7)[0].splitlines()]
        self.assertEqual(sorted(line["part"] for line in lines[:-1]), [1, 2, 3])
        self.assertEqual(sorted(line["body"] for line in lines[:-1]), ["first", "second", "sick"])
        self.assertEqual(lines[-1], {"status": "ok", "replied": 3, "gone": 0, "timed_out": 0})

    def test_the_worst_of_all_counts(self):
        self.ask("--all", "", code=3)
        self.serve("--text", "fine")
        self.assertIn("asked 1: 1 replied", self.ask("--all", "")[1])
        going, fifo = self.held()
        asker = self.start_ask("-A", "")
        with open(fifo, "rb") as command:
            self.begun(command)
            self.stop(going)
            _, err = asker.communicate(timeout=PATIENCE)
        self.assertEqual(asker.returncode, 5, err)
        self.assertIn(b"asked 2: 1 replied, 1 gone, 0 not in time", err)
        with self.too_slow("-A") as (asker, _):
            _, err = asker.communicate(timeout=PATIENCE)
        self.assertEqual(asker.returncode, 4)
        self.assertIn(b"asked 2: 1 replied, 0 gone, 1 not in time", err)

    def test_the_first_free_server_gets_it(self):
        slow, fifo = self.held()
        held = self.start_ask("")
        with open(fifo, "rb") as command:
            self.begun(command)
            self.serve("-e")
            for i in range(10):
                self.assertEqual(self.ask(str(i))[0], b"%d" % i)
            self.stop(slow)
            self.assertEqual(held.wait(PATIENCE), 5)

    # ---- simple servers and formats ------------------------------------------------------------

    def test_echo_and_its_formats(self):
        server = self.serve("--echo")
        body = b"a\0b\xff\n"
        self.assertEqual(self.ask(data=body)[0], body)
        self.assertEqual(self.ask("-F", "text", "a\nb")[0], b"a\nb\n")
        self.assertEqual(self.ask("-F", "<%t|%b|%s|%{h}|%c>%n", "-H", "h=v", "x")[0].decode(),
                         f"<{self.topic}|x|1|v|bus-serve>\n")
        reply = json.loads(self.ask("-j", "-H", "h=v", "x")[0])
        self.assertEqual([reply["body"], reply["headers"], reply["sender"]["pid"], reply["error"], reply["more"]],
                         ["x", [["h", "v"]], server.pid, 0, False])
        self.stop(server, signal.SIGINT)

    def test_many_ask_at_once(self):
        self.serve("--", "cat")
        askers = [self.start_ask(str(i) * 100) for i in range(50)]
        for i, asker in enumerate(askers):
            self.assertEqual(asker.communicate(timeout=PATIENCE), (b"%d" % i * 100, b""))


class SeqpacketTest(LinkTests, RequestTest):
    link = "seqpacket"


class StreamTest(LinkTests, RequestTest):
    link = "stream"


class CommandLineTest(RequestTest):
    def test_no_router(self):
        for argv in ([ASK, "t", "b"], [SERVE, "-a", f"{self.path}/nothing", "--echo", "t"]):
            argv = [*argv, "-a", f"{self.path}/nothing"] if argv[0] == ASK else argv
            code, _, err = self.run_tool(*argv)
            self.assertEqual(code, 1)
            self.assertIn("is bus-router running?", err)

    def test_wrong_usage_is_2_and_says_what(self):
        for argv in ([ASK], [ASK, "a/+", ""], [ASK, "t", "m", "n"], [ASK, "-H", "x", "t"], [ASK, "-t", "0", "t"],
                     [ASK, "-t", "x", "t"], [ASK, "-F", "none", "t"], [ASK, "-f", "x", "t", "m"], [ASK, "--bad", "t"],
                     [SERVE], [SERVE, "t"], [SERVE, "t", "--"], [SERVE, "a#", "--", "cat"], [SERVE, "-j", "0", "t"],
                     [SERVE, "--echo", "-T", "x", "t"], [SERVE, "--echo", "t", "--", "cat"],
                     [SERVE, "--ready-fd", "999", "t", "--", "cat"], [SERVE, "-e", "-s", "t"]):
            with self.subTest(argv=argv[1:]):
                code, out, err = self.run_tool(*argv)
                self.assertEqual((code, out), (2, ""))
                self.assertIn("(--help says more)", err)

    def test_help_and_version(self):
        for tool in (ASK, SERVE):
            code, out, err = self.run_tool(tool, "--help")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("Exit codes:", out)
            self.assertTrue(all(len(line) <= 100 for line in out.splitlines()))
            self.assertEqual(self.run_tool(tool, "-h"), (0, out, ""))
            code, out, err = self.run_tool(tool, "--version")
            self.assertRegex(out, r"^bus-\w+ \d+\.\d+")
            self.assertEqual(self.run_tool(tool, "-V"), (0, out, ""))

    def test_an_unreadable_file(self):
        code, _, err = self.run_tool(ASK, "-a", self.address[LINKS[0]], "-f", f"{self.path}/none", "t")
        self.assertEqual(code, 1)
        self.assertIn("/none: No such file", err)

    def test_commands_get_no_descriptors_but_their_own(self):
        self.serve_shell("ls /proc/self/fd | tr '\\n' ' '; exec ls -l /proc/self/fd/0 >&2")
        out, _ = self.ask("")
        # 3 is that of ls itself, for the directory
        self.assertEqual(out.split(), [b"0", b"1", b"2", b"3"])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
