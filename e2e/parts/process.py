"""A child process with a log file, a ready check and a certain end."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = ROOT / ".real"
PYTHON = REAL / "venv/bin/python"
NODE = REAL / "bin/node"
GIVEN: set[int] = set()


class PartFailed(Exception):
    """A part did not start, with the end of its log."""


def outgoing_ports() -> int:
    """The lowest port that the system gives to outgoing connections by itself."""
    setting = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(setting.read_text().split()[0]) if setting.exists() else 32768
    return lowest if lowest > 12000 else 32768


def free_port() -> int:
    """A port that nobody listens on, below those of outgoing connections, and given to nobody else in this run.

    So it is still free when a part starts again, and one that has to stay closed does.
    """
    while True:
        port = random.randrange(10000, outgoing_ports())
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port


class Process:
    """Runs a command; what it says goes to a file."""

    def __init__(self, name: str, command: list, log: pathlib.Path, env: dict | None = None):
        self.name = name
        self.log = log
        self.command = [str(word) for word in command]
        # Whatever ends us ends them too. It replaces itself, so the process id is the command's own.
        self.guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        self.env = env
        self.child: subprocess.Popen | None = None

    def start(self, stdout=None) -> None:
        log = self.log.open("ab")
        self.child = subprocess.Popen(
            [*self.guard, *self.command],
            stdin=subprocess.DEVNULL,
            stdout=stdout or log,
            stderr=log,
            env={**os.environ, **(self.env or {})},
            start_new_session=True,  # Ctrl-C in a terminal is for us alone; we end our children in order.
        )
        log.close()

    def start_and_read_ready_line(self, seconds: float = 120) -> dict:
        """For parts that say in a line of JSON on standard output where they listen."""
        said = self.log.with_suffix(".out")
        with said.open("wb") as stdout:
            self.start(stdout=stdout)
        deadline = time.monotonic() + seconds
        while True:
            waits = self.running and time.monotonic() < deadline
            for line in said.read_bytes().splitlines(keepends=True):
                if line.startswith(b'{"ready"') and line.endswith(b"\n"):
                    return json.loads(line)
            if not waits:
                raise PartFailed(f"{self.name} did not start; its log ends:\n{self.tail()}")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def stop(self, seconds: float = 15) -> int | None:
        """Asks it to end, then makes it; returns its exit status."""
        if self.child is None:
            return None
        if self.running:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.returncode

    def kill(self) -> None:
        """As a crash would end it."""
        self.child.kill()
        self.child.wait()

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""
