#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/guide.md: its programs are those of docs/examples, they build against an installed libbus in
every way it names, and do what it says. No sleeps: every step waits for output."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

from ready import PATIENCE, PIPE, start_ready

SOURCE = pathlib.Path(os.environ.get("BUS_SOURCE_DIR", pathlib.Path(__file__).parents[2])).resolve()
BUILD = pathlib.Path(os.environ.get("BUS_BUILD_DIR", SOURCE / "build/dev")).resolve()
ROUTER = os.environ.get("BUS_ROUTER", str(BUILD / "bus/bus-router"))
EXAMPLES = SOURCE / "docs/examples"
GUIDE = (SOURCE / "docs/guide.md").read_text()
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.c"))
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# How a program is built from one file, besides what pkg-config says.
LANGUAGES = {"c99": ["gcc", "-std=c99", "-x", "c"], "c++": ["g++", "-std=c++11", "-x", "c++"]}


def run(*argv, **kwargs):
    """A command that must succeed; its output."""
    r = subprocess.run(argv, stdout=PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, **kwargs)
    if r.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, argv))} ended with {r.returncode}:\n{r.stdout}")
    return r.stdout


def blocks(info):
    """The fenced blocks of the guide with that info string."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", GUIDE, re.S | re.M)


def without_licence(path):
    return path.read_text().split("\n", 1)[1]


def is_sanitized():
    return "BUS_SANITIZE:BOOL=ON" in (BUILD / "CMakeCache.txt").read_text()


class GuideTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="bus-guide-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = pathlib.Path(cls.folder.name)
        cls.prefix = cls.path / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        pc = next(cls.prefix.rglob("libbus.pc"))
        cls.env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "LD_LIBRARY_PATH": str(pc.parents[1]),
                   "CMAKE_PREFIX_PATH": str(cls.prefix), "BUS_ADDRESS": str(cls.path / "bus.sock")}
        # a sanitized libbus needs programs that are
        cls.flags = ["-fsanitize=address,undefined"] if is_sanitized() else []
        cls.bin = cls.path / "c99"
        for language, compiler in LANGUAGES.items():
            cls.compile_all(cls.path / language, compiler)
        cls.router = cls.start_router()

    @classmethod
    def tearDownClass(cls):
        cls.stop_router()

    @classmethod
    def compile_all(cls, folder, compiler):
        folder.mkdir()
        for name in NAMES:
            libs = ["libbus", "libuv"] if name == "ticker" else ["libbus"]
            flags = run("pkg-config", "--cflags", "--libs", *libs, env=cls.env).split()
            run(*compiler, *WARNINGS, *cls.flags, EXAMPLES / f"{name}.c", "-x", "none", "-o", folder / name,
                *flags, env=cls.env)

    @classmethod
    def start_router(cls):
        return start_ready([ROUTER, "--no-config", "--log-level", "warn"], env=cls.env)

    @classmethod
    def stop_router(cls):
        cls.router.terminate()
        assert cls.router.wait(PATIENCE) == 0

    def start(self, name, *args, wait_for):
        """Starts an example, and waits for its first line."""
        process = subprocess.Popen([self.bin / name, *args], stdin=PIPE, stdout=PIPE, text=True, env=self.env)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), wait_for + "\n")
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdout.close()
        if not process.stdin.closed:
            process.stdin.close()

    def example(self, name, *args, **kwargs):
        return run(self.bin / name, *args, env=self.env, **kwargs)

    # ---- the text ----

    def test_the_guide_holds_the_examples_and_nothing_else(self):
        self.assertCountEqual(blocks("c"), [without_licence(EXAMPLES / f"{n}.c") for n in NAMES])
        self.assertEqual(blocks("cmake"), [without_licence(EXAMPLES / "CMakeLists.txt")])
        for name in NAMES:
            text = without_licence(EXAMPLES / f"{name}.c")
            self.assertIn(f"[{name}.c](examples/{name}.c)", GUIDE.split(text)[0], "named before it is shown")

    def test_links_lead_somewhere(self):
        documents = [SOURCE / "README.md", *(SOURCE / "docs").glob("**/*.md")]
        for document in documents:
            for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", document.read_text()):
                path = document.parent / target
                self.assertTrue(path.exists(), f"{document.name}: {target}")

    def test_output_is_what_the_guide_shows(self):
        shown = "".join(blocks("console run"))
        self.assertTrue(shown)
        for command, output in re.findall(r"^\$ \./(.*)\n((?:(?!\$ ).*\n)*)", shown, re.M):
            name, *args = shlex.split(command)
            for folder in LANGUAGES:
                with self.subTest(command=command, built=folder):
                    r = subprocess.run([self.path / folder / name, *args], stdout=PIPE, text=True,
                                       timeout=PATIENCE, env=self.env)
                    self.assertEqual(r.stdout, output)

    # ---- building ----

    def test_cmake_finds_and_builds_it(self):
        build = self.path / "cmake"
        flags = " ".join(self.flags)
        run("cmake", "-G", "Ninja", "-S", EXAMPLES, "-B", build, f"-DCMAKE_C_FLAGS={flags}", env=self.env)
        run("cmake", "--build", build, env=self.env)
        self.assertEqual(sorted(NAMES), sorted(n for n in NAMES if (build / n).is_file()))
        run(build / "publish", env=self.env)

    def test_what_is_installed_may_be_moved(self):
        moved = self.path / "moved"
        shutil.copytree(self.prefix, moved, symlinks=True)
        pc = next(moved.rglob("libbus.pc"))
        flags = run("pkg-config", "--cflags", "libbus", env={**self.env, "PKG_CONFIG_PATH": str(pc.parent)})
        self.assertIn(str(moved), flags)

    # ---- running ----

    def test_a_published_message_reaches_the_subscriber(self):
        subscriber = self.start("subscribe", wait_for="waiting for sensors/+/temp")
        self.example("publish")
        self.assertEqual(subscriber.stdout.readline(), "sensors/kitchen/temp: 21.5\n")

    def test_the_report_is_confirmed_as_shown(self):
        subscriber = self.start("subscribe", wait_for="waiting for sensors/+/temp")
        self.assertIn(self.example("report"), blocks("text"))
        lines = [subscriber.stdout.readline() for _ in range(3)]
        self.assertEqual(lines, [f"sensors/kitchen/temp: {t}\n" for t in ("21.5", "21.6", "21.8")])

    def test_policy_block_loses_nothing(self):
        self.assertEqual(self.example("losses", "block").splitlines(),
                         [f"message {i}" for i in range(1, 101)] + ["got 100, lost 0"])

    def test_the_flood_reaches_a_small_blocking_reader(self):
        reader = start_ready([BUILD / "tools/bus-sub", "-p", "block", "-w", "100", "-q", "100", "-n", "100000", "numbers"],
                             stdout=PIPE, text=True, env=self.env)
        flood = subprocess.Popen([self.bin / "flood"], stdout=PIPE, text=True, env=self.env)
        out, _ = reader.communicate(timeout=PATIENCE)
        said, _ = flood.communicate(timeout=PATIENCE)
        self.assertEqual(out, "".join(f"{i}\n" for i in range(1, 100001)))
        self.assertRegex(said, r"^published 100000, waited \d+ times\n$")

    def test_questions_are_answered(self):
        server = self.start("answer", wait_for="serving math/double: ok")
        self.assertEqual(self.example("ask", "21"), f"42, says process {server.pid}\n")
        r = subprocess.run([self.bin / "ask", "twelve"], stdout=PIPE, text=True, timeout=PATIENCE, env=self.env)
        self.assertEqual((r.returncode, r.stdout), (1, "error 1: that is no number\n"))
        self.start("answer", wait_for="serving math/double: ok")
        self.assertEqual(sorted(self.example("everybody").splitlines()),
                         ["ok: 2 replied, 0 gone, 0 too slow", "server 1: 8", "server 2: 8"])

    def test_chat(self):
        anna = self.start("chat", "anna", wait_for="type to say something")
        ben = self.start("chat", "ben", wait_for="type to say something")
        for speaker, listener, name in ((anna, ben, "anna"), (ben, anna, "ben")):
            speaker.stdin.write("hello\n")
            speaker.stdin.flush()
            self.assertEqual(listener.stdout.readline(), f"{name} (uid {os.getuid()}): hello\n")
        anna.stdin.close()
        self.assertEqual(anna.wait(PATIENCE), 0)

    def test_presence(self):
        watcher = self.start("presence", wait_for="watching")
        worker = self.start("presence", "work", wait_for="1 want to know")
        lines = [watcher.stdout.readline() for _ in range(2)]
        worker.kill()
        lines += [watcher.stdout.readline() for _ in range(2)]
        self.assertIn("watching\n" + "".join(lines), blocks("text"))
    def test_who_is_told_to_stop_takes_what_is_left(self):
        process = self.start("orderly", wait_for="ready")
        run(BUILD / "tools/bus-pub", "orders", "last one", env=self.env)
        process.terminate()
        self.assertEqual(process.stdout.read(), "last one\nfinished\n")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_workers_share_jobs_and_give_up_what_is_refused(self):
        worker = self.start("worker", wait_for="ready")
        run(BUILD / "tools/bus-pub", "jobs/1", "paint the fence", env=self.env)
        self.assertEqual(worker.stdout.readline(), "done: paint the fence\n")
        run(BUILD / "tools/bus-pub", "jobs/2", "hard to do", env=self.env)
        lines = [worker.stdout.readline() for _ in range(4)]
        self.assertEqual(lines, ["refused: hard to do\n"] * 3 + ["given up after 3 deliveries: hard to do\n"])

    def test_without_a_router_the_reason_is_said(self):
        r = subprocess.run([self.bin / "publish"], stderr=PIPE, text=True, timeout=PATIENCE,
                           env={**self.env, "BUS_ADDRESS": str(self.path / "nobody")})
        self.assertEqual((r.returncode, r.stderr), (1, "cannot reach the router: No such file or directory\n"))

    def test_surely_reaches_its_subscriber_across_a_restart_of_the_router(self):
        worker = self.start("forever", wait_for="ready")
        surely = self.start("surely", wait_for="ready")
        surely.stdin.write("one\n")
        surely.stdin.flush()
        self.assertEqual(worker.stdout.readline(), "jobs/list: one\n")
        self.stop_router()
        self.assertEqual(worker.stdout.readline(), "lost: the router stops\n")
        surely.stdin.write("two\n")
        surely.stdin.close()
        type(self).router = self.start_router()
        self.assertEqual(worker.stdout.readline(), "restored\n")
        self.assertEqual(worker.stdout.readline(), "jobs/#: something may be missing\n")
        self.assertEqual(worker.stdout.readline(), "jobs/list: two\n")
        self.assertEqual(surely.stdout.readline(), "all consumed\n")

    def test_forever_survives_a_restart_of_the_router(self):
        worker = self.start("forever", wait_for="ready")
        self.stop_router()
        self.assertEqual(worker.stdout.readline(), "lost: the router stops\n")
        type(self).router = self.start_router()
        self.assertEqual(worker.stdout.readline(), "restored\n")
        self.assertEqual(worker.stdout.readline(), "jobs/#: something may be missing\n")
        run(BUILD / "tools/bus-pub", "jobs/1", "paint", env=self.env)
        self.assertEqual(worker.stdout.readline(), "jobs/1: paint\n")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
