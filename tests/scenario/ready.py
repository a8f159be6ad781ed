# SPDX-License-Identifier: MIT
"""What the scenarios share that run programs: where these are, how they are started and waited for."""
import os
import pathlib
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ.get("BUS_BUILD_DIR", "build/dev")).resolve()
ROUTER = os.environ.get("BUS_ROUTER", str(BUILD / "bus/bus-router"))
PATIENCE = 120
PIPE = subprocess.PIPE


def tool(name):
    folder = {"bus-monitor": "tools/monitor", "bus-ctl": "tools/ctl", "bus-bench": "tools/bench"}.get(name, "tools")
    return str(BUILD / folder / name)


def start_ready(argv, **kwargs):
    """Starts a program, and waits for the line READY by which it tells that it is set up."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen([argv[0], "--ready-fd", str(write_end), *argv[1:]], pass_fds=[write_end], **kwargs)
    os.close(write_end)
    with os.fdopen(read_end) as ready:
        if ready.readline() != "READY\n":
            process.kill()
            raise AssertionError(f"{argv[0]} did not get ready: {process.communicate()}")
    return process


class ConfiguredTest(unittest.TestCase):
    """For each test a router with a file of its own, as configuration() has it, and the tools on self.link."""
    link = "seqpacket"
    router_options = []

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bus-test-")
        self.addCleanup(self.folder.cleanup)
        self.address = f"{self.link}:{self.folder.name}/bus.sock"
        self.config = pathlib.Path(self.folder.name, "router.conf")
        self.config.write_text(self.configuration())
        self.router = self.start_program([ROUTER, "--config", str(self.config), "--listen", self.address, *self.router_options])

    def start_program(self, argv):
        process = start_ready(argv, stdout=PIPE, stderr=PIPE, text=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        """What it has written that nobody has read."""
        process.terminate()
        return process.communicate(timeout=PATIENCE)

    def argv(self, name, *args):
        return [tool(name), "-a", self.address, *args]

    def start(self, name, *args):
        return self.start_program(self.argv(name, *args))

    def run_tool(self, name, *args):
        """One that ends by itself."""
        return subprocess.run(self.argv(name, *args), stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, text=True,
                              timeout=PATIENCE)
