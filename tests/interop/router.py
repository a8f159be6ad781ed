# SPDX-License-Identifier: MIT
"""Starts the router under test on addresses of its own, and sees to it that it stops well."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pybus


class Router:
    """A router that listens on both kinds of link, with extra options."""

    def __init__(self, *options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="bus-interop-")
        os.chmod(self.dir, 0o755)
        self.addresses = {kind: f"{kind}:{self.dir}/{kind}.sock" for kind in ("seqpacket", "stream")}
        self.log_path = pathlib.Path(self.dir, "log")
        self.start()

    def start(self):
        """At the beginning, and again after kill() or end()."""
        self.is_terminated = False
        ready, writable = os.pipe()
        listen = [word for address in self.addresses.values() for word in ("--listen", address)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.environ["BUS_ROUTER"], "--no-config", "--ready-fd", str(writable), "--mode", "0666", *listen, *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writable])
        os.close(writable)
        is_ready = pybus.wait_ready(ready)
        os.close(ready)
        if not is_ready:
            self.process.kill()
            raise RuntimeError("the router does not start: " + self.log_path.read_text())

    def client(self, kind="seqpacket", **kwargs):
        return pybus.Client(self.addresses[kind], **kwargs)

    def terminate(self):
        """Once only: a second signal means "at once", and may come when nobody handles it any more."""
        if not self.is_terminated and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.is_terminated = True

    def kill(self):
        """As a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stops it for good."""
        try:
            self.end()
        finally:
            shutil.rmtree(self.dir)

    def end(self):
        """Stops it and insists on a good end, so that every test also finds leaks and failed assertions."""
        self.terminate()
        try:
            code = self.process.wait(pybus.TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "none in time"
        log = self.log_path.read_text(errors="replace")
        assert code == 0, f"the router ended with {code}:\n{log}"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
