#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus-router --check, --print-config and --explain, with the users that every system has.
Environment: BUS_ROUTER, the router."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROUTER = os.environ["BUS_ROUTER"]
IS_ROOT = os.geteuid() == 0


def run(*args, **more):
    return subprocess.run([ROUTER, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **more)


class Config(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(self.folder.cleanup)
        self.file = pathlib.Path(self.folder.name, "c")
        self.file.write_text("")

    def write(self, text):
        self.file.write_text(text)

    def router(self, *args, **more):
        return run("--config", str(self.file), *args, **more)

    # ---- --check ----

    def test_check_says_that_a_file_is_good(self):
        drop_in = pathlib.Path(f"{self.file}.d", "a.conf")
        drop_in.parent.mkdir()
        drop_in.write_text("spin = 5;")
        done = self.router("--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"{self.file}: ok\n{drop_in}: ok\n")

    def test_check_says_what_is_wrong(self):
        self.write("spin = 5;\nlinger = 5s;\n")
        done = self.router("--check")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"bus-router: {self.file}:2:10: '5s' is no number; with a unit it needs quotes\n")

    def test_check_makes_nothing(self):
        done = self.router("--check", "--listen", f"{self.folder.name}/folder/socket")
        self.assertEqual(done.returncode, 0)
        self.assertFalse(os.path.exists(f"{self.folder.name}/folder"))

    def test_a_router_with_a_bad_file_does_not_start(self):
        self.write("spin = ;")
        done = self.router("--listen", f"{self.folder.name}/socket")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{self.file}:1:8: ", done.stderr)

    def test_a_mistake_on_the_command_line_is_another_code(self):
        self.assertEqual(self.router("--check", "--rule", "permit").returncode, 2)

    def test_a_listener_that_no_rule_can_mean_is_said(self):
        self.write('listen = "a=/run/a"; rules = ( "allow all topic=# listener=a", "deny all topic=# listener=b" );')
        done = self.router("--check")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, f"bus-router: warning: {self.file}:1: no listener is called 'b'\n")

    # ---- which file ----

    @unittest.skipUnless(IS_ROOT, "only root can become somebody else")
    def test_others_than_root_have_a_file_of_their_own(self):
        home = pathlib.Path(self.folder.name, "home")
        for path in (home / ".config/bus-router", home / "xdg/bus-router"):
            path.mkdir(parents=True)
            (path / "bus-router.conf").write_text("spin = 5;")
        os.chmod(self.folder.name, 0o755)
        for more, expected in ({"HOME": str(home)}, ".config"), ({"HOME": "/", "XDG_CONFIG_HOME": f"{home}/xdg"}, "xdg"):
            done = run("--check", env={**os.environ, **more} if "XDG_CONFIG_HOME" in more else
                       {k: v for k, v in {**os.environ, **more}.items() if k != "XDG_CONFIG_HOME"}, user=65534)
            self.assertEqual(done.stdout, f"{home}/{expected}/bus-router/bus-router.conf: ok\n")
        done = run("--check", "--no-config", env={**os.environ, "HOME": str(home)}, user=65534)
        self.assertEqual(done.stdout, "no configuration file: ok\n")

    # ---- --print-config ----

    def test_what_is_printed_is_a_file_that_says_the_same(self):
        self.write('spin = 7; rules = ( "allow publish user=nobody topic=\\"a b/#\\"" ); quotas = ( "user=nobody bytes=1M" );')
        first = self.router("--print-config", "--linger", "100", "--listen", "x=/run/x mode=0666")
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertIn(f"spin = 7; # {self.file}:1:1\n", first.stdout)
        self.assertIn('linger = "100ms";\n', first.stdout)
        self.write(first.stdout)
        second = self.router("--print-config")
        self.assertEqual((second.returncode, second.stderr), (0, ""))

        def without_comments(text):
            return [line.split(" # ")[0] for line in text.splitlines() if not line.startswith("#")]
        self.assertEqual(without_comments(first.stdout), without_comments(second.stdout))

    # ---- docs/configuration.md ----

    def test_the_example_of_the_manual_is_good(self):
        manual = pathlib.Path(os.environ["BUS_SOURCE_DIR"], "docs/configuration.md").read_text()
        example = manual.split("## A complete example\n\n```\n")[1].split("```")[0]
        self.write(example)
        done = self.router("--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        code, out, _ = self.explain("user=daemon", "verb=publish", "topic=public/weather/berlin")
        self.assertEqual(code, 0)
        self.assertTrue(out.replace(str(self.file), "/etc/bus-router/bus-router.conf") in manual, out)
        code, out, _ = self.explain("user=nobody", "verb=publish", "topic=public/weather/berlin")
        self.assertEqual(code, 3)
        self.assertTrue(out in manual, out)

    # ---- --explain ----

    def explain(self, *words):
        done = self.router("--explain", *words)
        return done.returncode, done.stdout, done.stderr

    def test_explain_names_the_rule_that_decides(self):
        self.write('rules = (\n'
                   '  { allow = "publish"; user = "root"; topic = "home/%u/#"; },\n'
                   '  { allow = ["publish", "subscribe"]; topic = "public/#"; },\n'
                   '  { deny = "publish"; user = "nobody"; topic = "public/a"; },\n'
                   '  { allow = "monitor"; listener = "inner"; topic = "#"; },\n'
                   '  { allow = "serve"; topic = "of/%n/#"; }\n'
                   ');\n')
        for words, code, line in (
                (["user=root", "verb=publish", "topic=home/root/a"], 0, 2),
                (["user=nobody", "verb=publish", "topic=home/nobody/a"], 3, None),
                (["user=nobody", "verb=publish", "topic=public/b"], 0, 3),
                (["user=nobody", "verb=publish", "topic=public/a"], 3, 4),
                (["user=0", "verb=publish", "topic=public/a"], 0, 3),
                (["user=nobody", "verb=monitor", "topic=a/#"], 3, None),
                (["user=nobody", "verb=monitor", "topic=a/#", "listener=inner"], 0, 5),
                (["user=nobody", "verb=serve", "topic=of/x/y", "name=x"], 0, 6),
                (["user=nobody", "verb=serve", "topic=of/x/y", "name=z"], 3, None)):
            with self.subTest(words=words):
                returned, out, err = self.explain(*words)
                self.assertEqual((returned, err), (code, ""))
                self.assertTrue(out.startswith("allowed: " if code == 0 else "denied: "), out)
                self.assertIn(f" {self.file}:{line}: " if line else "no rule", out)

    def test_explain_says_what_no_rule_can_give_away(self):
        self.write('rules = ( "allow all topic=$bus/#" );')
        for verb in "publish", "serve", "retain":
            self.assertEqual(self.explain("user=root", f"verb={verb}", "topic=$bus/a"),
                             (3, "denied: $bus belongs to the router\n", ""))
        self.assertEqual(self.explain("user=root", "verb=request", "topic=$bus/a")[0], 0)

    def test_explain_says_what_a_topic_is_to_be(self):
        code, _, err = self.explain("user=root", "verb=publish", "topic=a/+")
        self.assertEqual((code, err), (2, "bus-router: topic=: 'a/+': for publish expected is a topic\n"))
        code, _, err = self.explain("user=root", "verb=monitor", "topic=a/#/b")
        self.assertEqual((code, err), (2, "bus-router: topic=: 'a/#/b': for monitor expected is a topic or a topic filter\n"))

    def test_explain_knows_groups(self):
        self.write('rules = ( "allow publish group=daemon topic=a" );')
        self.assertEqual(self.explain("user=root", "verb=publish", "topic=a")[0], 3)
        self.assertEqual(self.explain("user=daemon", "verb=publish", "topic=a")[0], 0)
        self.assertEqual(self.explain("user=root", "group=root,daemon", "verb=publish", "topic=a")[0], 0)
        self.assertEqual(self.explain("user=4000000000", "group=1", "verb=publish", "topic=a")[0], 0)
        self.assertEqual(self.explain("user=4000000000", "verb=publish", "topic=a")[0], 2)

    def test_explain_without_rules(self):
        self.assertEqual(self.explain("user=root", "verb=publish", "topic=a")[0], 0)
        code, out, _ = self.explain("user=daemon", "verb=publish", "topic=a")
        self.assertEqual(code, 3)
        self.assertIn("there are no rules", out)

    def test_explain_says_what_it_needs(self):
        for words in ([], ["user=root"], ["user=root", "verb=fly", "topic=a"], ["user=no-such-user", "verb=publish", "topic=a"],
                      ["user=root", "verb=publish", "topic=a/#/b"], ["user=root", "user=root", "verb=publish", "topic=a"],
                      ["user=root", "verb=publish", "topic=a", "mood=good"], ["user=root", "verb=publish", "topic=a", "group=no-such"]):
            with self.subTest(words=words):
                code, out, err = self.explain(*words)
                self.assertEqual((code, out), (2, ""))
                self.assertIn("bus-router: ", err)


if __name__ == "__main__":
    unittest.main()
