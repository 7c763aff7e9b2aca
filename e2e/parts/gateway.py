"""The gateway under test, and its command line as people use it."""

import json
import os
import pathlib
import signal
import subprocess
import time

import httpx
import openai

from .process import ROOT, PartFailed, Process, free_port

# Seconds that are given to what an idle machine does at once.
PATIENCE = 60


def binary() -> pathlib.Path:
    """The gateway's program; GATEWAYD_BIN names another one."""
    if named := os.environ.get("GATEWAYD_BIN"):
        return pathlib.Path(named)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "gatewayd"


class Gateway:
    """A gateway in a folder of its own. `write_config` may be called again while it runs."""

    def __init__(self, folder: pathlib.Path, port: int = 0, admin_port: int = 0, under: tuple = ()):
        """`under` are the words of a program that runs the gateway, such as a tracer."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "gatewayd.toml"
        self.data = folder / "data"
        self.port = port or free_port()
        self.admin_port = admin_port or free_port()
        self.process = Process("gatewayd", [*under, binary(), "serve", "--config", self.config], folder / "gatewayd.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def write_config(self, text: str) -> None:
        """At once, so that the gateway never reads half of it."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.config)

    def start(self, until: str = "ready", seconds: float = 120) -> "Gateway":
        """`until` it is ready for requests, or only `health`: up, though something it needs is not."""
        self.process.start()
        self.wait_until(lambda: self.says_ok(f"{until}z"), f"said no {until}z", seconds)
        return self

    def says_ok(self, probe: str) -> bool:
        if not self.process.running:
            raise PartFailed(f"gatewayd ended with {self.process.child.returncode}:\n{self.process.tail()}")
        try:
            return httpx.get(f"{self.admin_url}/{probe}", timeout=PATIENCE).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until(self, true, otherwise: str, seconds: float = PATIENCE) -> None:
        """What has to become true does so soon on an idle machine; a busy one is given time."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise PartFailed(f"gatewayd {otherwise} within {seconds} s; its log ends:\n{self.process.tail()}")
            time.sleep(0.05)

    def stop(self) -> int | None:
        return self.process.stop(seconds=30)

    def kill(self) -> None:
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def hang_up(self) -> None:
        self.process.signal(signal.SIGHUP)

    def openai(self, token: str, **options) -> openai.OpenAI:
        """The official client, as a caller who knows nothing of the gateway would use it."""
        options = {"timeout": 2 * PATIENCE, "max_retries": 0, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, **options)

    def cli(self, *words, token: str | None = None, status: int | None = 0, stdin: str | None = None):
        """Runs `gatewayd WORDS...`; with a token as that person, otherwise with the local admin key."""
        env = {**os.environ, "GATEWAYD_CONFIG": str(self.config), "NO_COLOR": "1"}
        env.pop("GATEWAYD_TOKEN", None)
        if token:
            env["GATEWAYD_TOKEN"] = token
        done = subprocess.run(
            [str(binary()), *map(str, words)],
            env=env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        if status is not None and done.returncode != status:
            raise AssertionError(f"gatewayd {words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def json(self, *words, token: str | None = None):
        """The same, for programs: the parsed JSON output."""
        return json.loads(self.cli(*words, "--output", "json", token=token).stdout)

    def sessions(self, *filters) -> list:
        """What was recorded, newest first."""
        return self.json("sessions", "list", *filters)

    def finished_session(self, name: str) -> dict:
        """A session's record. An answer's last byte is on its way a moment before its record is closed."""
        record = {}

        def closed() -> bool:
            record.update(self.json("sessions", "show", name))
            return record["ending"] != "open"

        self.wait_until(closed, f"did not close the record {name}")
        return record

    def approvals(self, *filters) -> list:
        return self.json("approvals", "list", *filters)

    def wait_for_approval(self) -> dict:
        """The newest request that waits for people."""
        found = []

        def one() -> bool:
            found[:] = [each for each in self.approvals() if each["state"] == "pending"]
            return bool(found)

        self.wait_until(one, "held no request")
        return found[0]
