#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is installed for systemd: it is whole, systemd understands it and calls it safe, and the configuration is in order."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ.get("BUS_BUILD_DIR", "build/dev")).resolve()
SOURCE = pathlib.Path(os.environ.get("BUS_SOURCE_DIR", ".")).resolve()
ROUTER = os.environ.get("BUS_ROUTER", str(BUILD / "bus/bus-router"))
FILES = ["systemd/system/bus-router.service", "systemd/system/bus-router.socket", "systemd/user/bus-router.service",
         "systemd/user/bus-router.socket", "sysusers.d/bus-router.conf", "tmpfiles.d/bus-router.conf"]


def run(*argv, **kwargs):
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0", **kwargs.pop("env", {})}
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=120, **kwargs)


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"NOT RUN: {program} is not here")


class Units(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(folder.cleanup)
        self.prefix = pathlib.Path(folder.name).resolve()
        (self.prefix / "bin").mkdir()
        (self.prefix / "bin/bus-router").symlink_to(ROUTER)

    def install(self, env=None):
        script = BUILD / "packaging/cmake_install.cmake"
        done = run("cmake", f"-DCMAKE_INSTALL_PREFIX={self.prefix}", "-P", str(script), env=env or {})
        self.assertEqual(done.returncode, 0, done.stdout)

    def install_for(self, version):
        shutil.rmtree(self.prefix / "lib", ignore_errors=True)
        variables = {"CMAKE_INSTALL_PREFIX": self.prefix, "source": SOURCE / "packaging", "folder": self.prefix / "made",
                     "files": ";".join(FILES), "systemd_version": version, "bindir": "bin", "docdir": "share/doc/bus",
                     "sysconfdir": "etc"}
        done = run("cmake", *(f"-D{name}={value}" for name, value in variables.items()), "-P",
                   str(SOURCE / "packaging/install.cmake"))
        self.assertEqual(done.returncode, 0, done.stdout)
        return {f: (self.prefix / "lib" / f).read_text() for f in FILES}

    def units(self, which):
        return [str(self.prefix / "lib/systemd" / which / f"bus-router.{kind}") for kind in ("service", "socket")]

    def test_nothing_is_left_to_be_filled_in(self):
        for version in ("252", "253", "257.4"):
            for name, text in self.install_for(version).items():
                self.assertNotRegex(text, r"@[A-Z_]+@", name)
                self.assertNotIn("build/", text, name)

    def test_a_reload_is_waited_for_where_systemd_can(self):
        old = self.install_for("252")[FILES[0]]
        new = self.install_for("253")[FILES[0]]
        self.assertIn("\nType=notify\n", old)
        self.assertIn("\nExecReload=kill -HUP $MAINPID\n", old)
        self.assertIn("\nType=notify-reload\n", new)
        self.assertNotIn("ExecReload=", new)

    @needs("systemd-analyze")
    def test_systemd_understands_the_units(self):
        self.install()
        for which, option in (("system", "--system"), ("user", "--user")):
            done = run("systemd-analyze", option, "verify", "--man=no", *self.units(which),
                       env={"XDG_RUNTIME_DIR": str(self.prefix)})
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    @needs("systemd-analyze")
    def test_the_exposure_is_what_the_documentation_says(self):
        self.install()
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", self.units("system")[0])
        figure = float(re.search(r"Overall exposure level for bus-router.service: ([0-9.]+)", done.stdout).group(1))
        stated = float(re.search(r"exposure[^.]*?\*\*([0-9.]+)\*\*", (SOURCE / "docs/service.md").read_text()).group(1))
        self.assertEqual(figure, stated)

    @needs("systemd-socket-activate")
    def test_systemd_gives_it_sockets(self):
        """No unit, but the code of systemd that passes descriptors: it starts the router when the first client comes."""
        path = str(self.prefix / "bus.sock")
        router = subprocess.Popen(["systemd-socket-activate", "--seqpacket", "--listen", path, "--fdname", "public", ROUTER,
                                   "--no-config"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(router.stderr.close)
        self.addCleanup(router.kill)
        lines = iter(router.stderr.readline, "")
        self.assertIn(path, next(line for line in lines if line.startswith("Listening on ")))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(path)
            self.assertIn(f"address=seqpacket:{path} name=public given=yes",
                          next(line for line in lines if "router.listening" in line))
            next(line for line in lines if "router.started" in line)
        router.terminate()
        self.assertEqual(router.wait(60), 0)
        self.assertTrue(pathlib.Path(path).is_socket())

    @needs("systemd-sysusers")
    @needs("systemd-tmpfiles")
    @unittest.skipUnless(os.geteuid() == 0, "NOT RUN: it needs root")
    def test_the_user_and_the_folder_are_made(self):
        self.install()
        root = self.prefix / "root"
        (root / "etc").mkdir(parents=True)
        done = run("systemd-sysusers", f"--root={root}", str(self.prefix / "lib/sysusers.d/bus-router.conf"))
        self.assertEqual(done.returncode, 0, done.stdout)
        user = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("bus-router:"))
        done = run("systemd-tmpfiles", "--create", f"--root={root}", str(self.prefix / "lib/tmpfiles.d/bus-router.conf"))
        self.assertEqual(done.returncode, 0, done.stdout)
        made = (root / "run/bus-router").stat()
        self.assertEqual((made.st_mode & 0o7777, made.st_uid), (0o755, int(user.split(":")[2])))

    def test_the_configuration_is_in_order_and_denies_by_default(self):
        self.install()
        config = self.prefix / "etc/bus-router/bus-router.conf"
        unit = (self.prefix / "lib" / FILES[0]).read_text()
        self.assertIn(f"\nExecStart={self.prefix}/bin/bus-router --config {config}\n", unit)
        done = run(ROUTER, "--config", str(config), "--check")
        self.assertEqual((done.returncode, done.stdout), (0, f"{config}: ok\n"))
        for words, code in (("user=root verb=publish topic=any/thing", 0), ("user=root verb=block topic=host/x", 3),
                            ("user=nobody verb=publish topic=users/nobody/x", 0),
                            ("user=nobody verb=publish topic=users/root/x", 3),
                            ("user=nobody verb=subscribe topic=host/#", 0), ("user=nobody verb=publish topic=host/x", 3),
                            ("user=nobody verb=monitor topic=#", 3)):
            done = run(ROUTER, "--config", str(config), "--explain", *words.split())
            self.assertEqual(done.returncode, code, f"{words}: {done.stdout}")

    def test_what_an_administrator_has_written_stays(self):
        self.install()
        config = self.prefix / "etc/bus-router/bus-router.conf"
        config.write_text("// mine\n")
        self.install()
        self.assertEqual(config.read_text(), "// mine\n")
        destination = self.prefix / "destination"
        staged = pathlib.Path(str(destination) + str(config))
        self.install({"DESTDIR": str(destination)})
        self.assertIn("rules = (", staged.read_text())
        staged.write_text("// mine, too\n")
        self.install({"DESTDIR": str(destination)})
        self.assertEqual(staged.read_text(), "// mine, too\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
