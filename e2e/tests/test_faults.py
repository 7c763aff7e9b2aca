"""A disk that fails under the running gateway: nothing is forwarded or answered that the record does not have."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import time

import httpx
import pytest

from calls import ask, refused, verified
from parts.gateway import PATIENCE
from parts.process import ROOT, PartFailed

traced = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

SYNC = "fsync,fdatasync"
# From which of its calls on the disk fails; `make torture` tries each.
FIRSTS = range(1, 30) if os.environ.get("GATEWAYD_TORTURE") else (1, 6)
RENAME = "rename,renameat,renameat2"


@contextlib.contextmanager
def failing(gateway, calls: str, error: str, first: int = 1):
    """While this holds, the gateway's system calls fail, from the `first` one on."""
    process = pathlib.Path(f"/proc/{gateway.process.child.pid}")
    files = []
    for entry in (process / "fd").iterdir():
        # It may be closed before it is looked at.
        with contextlib.suppress(FileNotFoundError):
            files.append(entry.resolve())
    # `write` is also how threads wake each other, so it fails only on the gateway's own files.
    ours = [f"--trace-path={file}" for file in files if gateway.data in file.parents] if calls == "write" else []
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", gateway.folder / "strace.log", "-p", str(gateway.process.child.pid), *ours]
        + ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={first}+"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not all(map(traced_now, (process / "task").iterdir())):
            if tracer.poll() is not None:
                pytest.skip(f"strace may not attach here: {tracer.stderr.read()}")
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        tracer.terminate()
        tracer.wait(PATIENCE)


def traced_now(thread: pathlib.Path) -> bool:
    """Also if it ended meanwhile, as idle ones do."""
    try:
        return "TracerPid:\t0" not in (thread / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def answers(gateway, token: str) -> list[str]:
    """Asks once. The name of the request if it is answered; none if it is refused, or cut where it cannot be recorded."""
    try:
        answer = ask(gateway, token, "fake-answer")
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return []
    if answer.status_code == 200:
        return [answer.headers["x-request-id"]]
    refused(answer, 503, "recorder_unavailable")
    return []


def struck(gateway) -> bool:
    return "(INJECTED)" in (gateway.folder / "strace.log").read_text()


@traced
@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize(
    "calls,error", [(SYNC, "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("write", "ENOSPC"), (RENAME, "EIO")]
)
def test_a_failing_disk(own_gateway, world, calls, error, first):
    gateway = own_gateway()
    token = world.token("alice")
    assert ask(gateway, token, "fake-answer").status_code == 200
    answered = []
    with failing(gateway, calls, error, first):
        for _ in range(15):
            answered += answers(gateway, token)
        if calls == RENAME:
            # Once a second while there is something new, a checkpoint is renamed into its place.
            deadline = time.monotonic() + PATIENCE
            while not struck(gateway):
                assert time.monotonic() < deadline, "the fault never struck, so this shows nothing"
                answered += answers(gateway, token)
                time.sleep(0.05)
    assert gateway.process.running
    strikes = struck(gateway)
    gateway.stop()

    # The disk is well again.
    gateway.start()
    known = {session["id"] for session in gateway.sessions("--limit", "1000")}
    assert set(answered) <= known, "an answer was given that the record does not have"
    verified(gateway)
    assert ask(gateway, token, "fake-answer").status_code == 200
    if calls in (SYNC, "pwrite64"):
        assert strikes, "the fault never struck, so this shows nothing"


@traced
@pytest.mark.parametrize("calls,error", [(SYNC, "EIO"), ("pwrite64", "ENOSPC")])
def test_what_has_side_effects_is_not_forwarded_without_its_intent(own_gateway, world, calls, error):
    allow = '\n[[policy.rule]]\nname = "may-write"\ngroups = ["ml-eng"]\nactions = ["write"]\neffect = "allow"\n'
    fake = 'models = ["fake-*"]\n'
    gateway = own_gateway(lambda text: text.replace("default = true\n", "").replace(fake, f"{fake}default = true\n") + allow)
    token = world.token("alice")

    def store() -> int:
        try:
            return ask(gateway, token, "fake-answer", path="/v1/vector_stores", name="x").status_code
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return 0  # Cut, since it could not be recorded.

    assert store() == 200
    refusals = 0
    with failing(gateway, calls, error, first=4):
        for _ in range(15):
            before = len(world.fake.seen)
            if store() == 503:
                refusals += 1
                assert len(world.fake.seen) == before, "it reached the upstream without a record"
    assert refusals, "the fault never struck"


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The library of the recorder's own tests that strikes one call; there at every call, here at some."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = ROOT / "crates/recorder/tests/faults/shim.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


# `make torture` tries more of a life, which has about 200 of them. The first dozen may write a byte each, of which there is no part.
PLACES = range(14, 200, 9) if os.environ.get("GATEWAYD_TORTURE") else (40,)


@pytest.mark.parametrize("first", PLACES)
@pytest.mark.parametrize("kind", ["short", "torn", "tornkill"])
def test_a_disk_that_writes_in_part(own_gateway, world, shim, kind, first):
    """Short writes, short writes on a disk that is then full, and a process that ends in the middle of one."""
    gateway = own_gateway()
    token, evidence, report = world.token("alice"), gateway.data / "evidence", gateway.folder / "struck"
    gateway.stop()
    strike = {"FAULT_CALL": "pwrite", "FAULT_KIND": kind, "FAULT_FIRST": str(first), "FAULT_TIMES": "3"}
    preload = {"LD_PRELOAD": str(shim), "FAULT_DIR": str(evidence), "FAULT_REPORT": str(report)}
    gateway.process.env = {**strike, **preload}
    answered = []
    with contextlib.suppress(PartFailed, httpx.TransportError):
        gateway.start()
        for _ in range(25):
            answered += answers(gateway, token)
    gateway.stop()
    assert "struck" in report.read_text(), "the fault never struck, so this shows nothing"

    gateway.process.env = None
    gateway.start()
    known = {session["id"]: session for session in gateway.sessions("--limit", "1000")}
    assert set(answered) <= set(known), "an answer was given that the record does not have"
    assert not [session for session in known.values() if session["altered"]]
    verified(gateway)
    assert ask(gateway, token, "fake-answer").status_code == 200
