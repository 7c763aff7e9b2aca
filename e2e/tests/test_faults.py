"""A disk that fails under the gateway: nothing is forwarded or answered that the record does not have."""

import json
import shutil

import pytest

from calls import ask, refused
from parts.process import PartFailed

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

# Which call fails, how, and from which time on.
FAULTS = [
    (call, error, first)
    for call, error in [("fsync,fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("ftruncate", "EIO")]
    for first in (1, 5, 12, 25)
]


@pytest.mark.parametrize("call,error,first", FAULTS, ids=lambda part: str(part).replace(",", "+"))
def test_a_failing_disk(own_gateway, world, call, error, first):
    tracer = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}"]
    tracer += ["-e", f"inject={call}:error={error}:when={first}+"]
    before = len(world.fake.of("fake-answer"))
    try:
        gateway = own_gateway(under=tuple(tracer))
    except PartFailed as failure:
        assert "panicked" not in str(failure)
        return  # It says so and does not start: nothing passes either.
    answered = []
    for _ in range(12):
        answer = ask(gateway, world.token("alice"), "fake-answer")
        if answer.status_code == 200:
            answered.append(answer.headers["x-request-id"])
        else:
            refused(answer, 503, "recorder_unavailable")
    gateway.stop()
    assert "panicked" not in gateway.process.log_text()

    # The disk is well again.
    gateway.process.command = gateway.process.command[len(tracer) :]
    gateway.start()
    known = {session["id"] for session in gateway.sessions("--limit", "1000")}
    assert set(answered) <= known, "an answer was given that the record does not have"
    gateway.cli("sessions", "verify", gateway.data / "evidence")
    assert ask(gateway, world.token("alice"), "fake-answer").status_code == 200
    assert len(world.fake.of("fake-answer")) > before


def test_a_full_disk_forwards_no_side_effect_without_its_intent(own_gateway, world):
    tracer = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=pwrite64,fsync,fdatasync"]
    tracer += ["-e", "inject=pwrite64,fsync,fdatasync:error=ENOSPC:when=60+"]
    allow = '\n[[policy.rule]]\nname = "may-write"\ngroups = ["ml-eng"]\nactions = ["write"]\neffect = "allow"\n'
    gateway = own_gateway(lambda text: text + allow, under=tuple(tracer))
    forwarded = 0
    for number in range(60):
        world.fake.seen.clear()
        answer = ask(gateway, world.token("alice"), "fake-answer", path="/v1/uploads", filename=f"f{number}")
        if answer.status_code == 503:
            assert not world.fake.seen, "it reached the upstream without a record"
        elif answer.status_code == 200:
            forwarded += 1
    assert forwarded < 60, f"the fault never struck: {json.dumps(answer.headers.raw, default=str)[:200]}"
