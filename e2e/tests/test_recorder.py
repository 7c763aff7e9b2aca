"""What happened: every session can be listed, shown, played back and proven, also after a crash."""

import concurrent.futures
import gzip
import json
import os
import random
import shutil
import time

import httpx
import pytest

from calls import CHAT, HELLO, ask, bearer, recorded, recorded_refusal, verified
from parts.gateway import PATIENCE
from parts.model import says
from parts.process import PartFailed

pool = concurrent.futures.ThreadPoolExecutor(16)


def test_list_show_and_replay(own_gateway, world):
    gateway = own_gateway()
    text = "recorded, word for word"
    good = ask(gateway, world.token("alice"), stream=True, max_tokens=60, grammar=says(text))
    bad = ask(gateway, world.token("mallory"))
    recorded(gateway, good)
    listed = {session["id"]: json.dumps(session) for session in gateway.sessions()}
    assert set(listed) == {good.headers["x-request-id"], bad.headers["x-request-id"]}
    assert "alice" in listed[good.headers["x-request-id"]] and "mallory" in listed[bad.headers["x-request-id"]]
    assert [s["id"] for s in gateway.sessions("--subject", "alice")] == [good.headers["x-request-id"]]
    assert [s["id"] for s in gateway.sessions("--status", "403")] == [bad.headers["x-request-id"]]
    assert [s["id"] for s in gateway.sessions("--rule", "engineers-may-infer")] == [good.headers["x-request-id"]]

    shown = gateway.cli("sessions", "show", good.headers["x-request-id"]).stdout
    for fact in ("alice", "ml-eng", "infer", "tiny", "engineers-may-infer", "tiny-key", "complete", "200"):
        assert fact in shown, f"{fact} is missing:\n{shown}"
    assert "refused" in gateway.cli("sessions", "show", bad.headers["x-request-id"]).stdout

    played = gateway.cli("sessions", "replay", good.headers["x-request-id"], "--speed", "0").stdout
    assert text in played
    raw = gateway.cli("sessions", "replay", good.headers["x-request-id"], "--speed", "0", "--raw").stdout
    assert good.text.strip() in raw


def test_replay_keeps_the_time_it_took(own_gateway, world):
    gateway = own_gateway()
    with world.fake.slowly(10, 0.5):
        answer = ask(gateway, world.token("alice"), "fake-slow", stream=True)
    recorded(gateway, answer)
    name = answer.headers["x-request-id"]
    head, *events = gateway.cli("sessions", "export", name, "--format", "asciicast").stdout.splitlines()
    # Each event says how long it came after the one before.
    took = sum(json.loads(event)[0] for event in events)
    assert took > 4.5, "ten events, half a second apart"

    def play(*options) -> float:
        started = time.monotonic()
        gateway.cli("sessions", "replay", name, *options)
        return time.monotonic() - started

    # How long a busy machine takes to start a program is nobody's promise, so these are far apart.
    assert play() >= took
    assert took / 4 <= play("--speed", "4") < took
    assert play("--speed", "0") < took


def test_sigkill_during_a_stream_leaves_it_interrupted(own_gateway, world):
    gateway = own_gateway()
    text = ""
    with httpx.Client(timeout=PATIENCE) as client, client.stream(
        "POST",
        gateway.url + CHAT,
        json={"model": "fake-slow", "messages": HELLO, "stream": True},
        headers=bearer(world.token("alice")),
    ) as stream:
        name = stream.headers["x-request-id"]
        with pytest.raises(httpx.TransportError):
            for piece in stream.iter_text():
                text += piece
                if "word5" in text and gateway.process.running:
                    gateway.kill()
    gateway.start()
    assert gateway.json("sessions", "show", name)["ending"] == "interrupted"
    assert "interrupted" in gateway.cli("sessions", "list").stdout
    verified(gateway)


# `make torture` asks for more.
CRASHES = int(os.environ.get("GATEWAYD_CRASHES", "5"))


def test_sigkill_under_load_loses_no_answered_request(own_gateway, world):
    """Again and again on the same evidence, at another moment each time."""
    gateway = own_gateway()
    answered: set[str] = set()
    known: set[str] = set()
    for _ in range(CRASHES):
        load_then_kill(gateway, world, answered, seconds=random.uniform(0.2, 1.5))
        gateway.start()
        verified(gateway)
        known |= {session["id"] for session in gateway.sessions("--limit", "10000")}
    assert answered and answered <= known, f"{len(answered - known)} of {len(answered)} lost"


def load_then_kill(gateway, world, answered: set, seconds: float) -> None:
    """Eight callers at once, until the gateway is shot. Only what was answered with 200 counts as answered."""

    def caller(_) -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            while True:
                try:
                    answer = client.post(
                        gateway.url + CHAT,
                        json={"model": "fake-answer", "messages": HELLO},
                        headers=bearer(world.token("alice")),
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    answered.add(answer.headers["x-request-id"])

    callers = [pool.submit(caller, n) for n in range(8)]
    time.sleep(seconds)
    gateway.kill()
    for done in callers:
        done.result(PATIENCE)


def evidence(gateway):
    return gateway.data / "evidence"


def test_verify_finds_a_changed_byte_in_a_copy(own_gateway, world):
    gateway = own_gateway()
    for _ in range(5):
        ask(gateway, world.token("alice"), "fake-answer")
    gateway.stop()
    verified(gateway)
    for file in sorted(evidence(gateway).rglob("*")):
        if not file.is_file() or "seg" not in str(file.relative_to(evidence(gateway))):
            continue
        copy = gateway.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(evidence(gateway), copy)
        target = copy / file.relative_to(evidence(gateway))
        held = bytearray(target.read_bytes())
        if len(held) < 64:
            continue
        held[len(held) // 2] ^= 1
        target.write_bytes(held)
        assert gateway.cli("sessions", "verify", copy, status=None).returncode != 0, f"{file.name} was changed unnoticed"
        return
    raise AssertionError("no segment file found in the evidence")


def test_a_second_gateway_on_the_same_evidence_is_refused(own_gateway, world):
    gateway = own_gateway()
    with pytest.raises(PartFailed):
        other = world.gateway("second", lambda text: text.replace(str(world.folder / "gateway-second/data"), str(gateway.data)))
        other.stop()
    assert ask(gateway, world.token("alice")).status_code == 200


def test_a_caller_who_goes_away_is_recorded_and_the_upstream_is_told(gateway, world):
    with world.fake.slowly(100 * PATIENCE, 0.1), httpx.Client(timeout=PATIENCE) as client, client.stream(
        "POST",
        gateway.url + CHAT,
        json={"model": "fake-slow", "messages": HELLO, "stream": True},
        headers=bearer(world.token("alice")),
    ) as stream:
        name = stream.headers["x-request-id"]
        next(stream.iter_bytes())
    assert world.fake.of("fake-slow")[-1].closed.wait(PATIENCE), "the upstream still works for nobody"
    gateway.wait_until(lambda: gateway.json("sessions", "show", name)["ending"] == "client-gone", "did not record the end")


def test_health_probes_and_reads_need_no_trust_in_luck(gateway, world):
    """What the admin listener answers to a stranger: health, and nothing else."""
    assert httpx.get(f"{gateway.admin_url}/healthz", timeout=PATIENCE).status_code == 200
    for path in ("/api/v1/sessions", "/sessions", "/api/sessions", "/approvals", "/tokens"):
        assert httpx.get(gateway.admin_url + path, timeout=PATIENCE).status_code in (401, 403, 404)


def test_the_record_of_a_refusal_exists_before_the_answer(gateway, world):
    for _ in range(5):
        recorded_refusal(gateway, ask(gateway, world.token("mallory")), "policy_denied")


def test_what_callers_name_is_masked_before_it_is_kept(own_gateway, world):
    """A model, a path, a content type, a mislabelled or compressed body: all are the caller's words."""
    gateway = own_gateway()
    key, bearer_token = "AKIA" + "Q2WZXC4RTV5BNM6K", world.token("alice")
    escaped = "".join(f"\\u{ord(c):04x}" for c in key)
    spelled = "".join(f"%{ord(c):02x}" for c in key)
    body = {"model": f"fake-{key}", "messages": HELLO}
    calls = [
        ("POST", CHAT, {"json": body}),
        ("GET", f"/v1/models?page={spelled}", {}),
        ("POST", CHAT, {"content": json.dumps(body), "headers": {"content-type": f"application/json; x={key}"}}),
        ("POST", CHAT, {"content": '{"model":"fake-answer","x":"' + escaped + '"}', "headers": {"content-type": "image/png"}}),
        ("POST", "/v1/files", {"content": gzip.compress(key.encode()), "headers": {"content-encoding": "gzip"}}),
    ]
    for method, path, options in calls:
        headers = {**bearer(bearer_token), **options.pop("headers", {})}
        answer = httpx.request(method, gateway.url + path, headers=headers, timeout=PATIENCE, **options)
        name = answer.headers["x-request-id"]
        recorded(gateway, answer)
        shown = gateway.cli("sessions", "show", name, "-o", "json").stdout
        kept = gateway.cli("sessions", "export", name, status=None).stdout
        for held in (key, escaped, spelled):
            assert held not in shown + kept, (path, options)
    gateway.stop()
    for file in gateway.data.rglob("*"):
        if file.is_file():
            assert key.encode() not in file.read_bytes(), file.name
