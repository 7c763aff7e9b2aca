"""What the reading commands say is all there is to say: nothing is left out quietly, nobody passes for somebody else."""

import datetime
import json

import httpx
import pytest

from calls import CHAT, ask, bearer, recorded, refused
from parts.gateway import PATIENCE


def test_what_is_not_in_a_recording_is_told(own_gateway, world):
    gateway = own_gateway(lambda text: text.replace("[recorder]", '[recorder]\nbody_limit = "128B"'))
    answer = ask(gateway, world.token("alice"), "fake-answer", note="x" * 500)
    name = recorded(gateway, answer)["id"]
    told = "128 bytes are stored"
    assert gateway.cli("sessions", "show", name).stdout.count(told) == 2, "of the request and of the answer"
    assert gateway.cli("sessions", "replay", name, "--speed", "0").stderr.count(told) == 2
    for form in ("jsonl", "har", "asciicast", "otel"):
        assert told in gateway.cli("sessions", "export", name, "--format", form).stdout, form
    checked = gateway.cli("sessions", "recheck", name, status=2).stdout
    assert "only 128 bytes" in checked and "nothing would be different" not in checked


def test_nothing_is_said_of_what_cannot_be_checked(own_gateway, world):
    gateway = own_gateway()
    name = recorded(gateway, ask(gateway, world.token("alice"), "fake-answer"))["id"]
    gateway.cli("sessions", "recheck", name)
    gateway.cli("sessions", "erase", name, "-m", "asked for")
    stranger = ask(gateway, None)
    unread = httpx.post(
        gateway.url + CHAT,
        content=b"not gzip",
        headers={**bearer(world.token("alice")), "content-type": "application/json", "content-encoding": "gzip"},
        timeout=PATIENCE,
    )
    refused(unread, 400, "invalid_request")
    for one in (name, stranger.headers["x-request-id"]):
        assert "cannot be told" in gateway.cli("sessions", "recheck", one, status=2).stdout
    # Policy had not been asked then: that it would allow it is no change.
    checked = gateway.cli("sessions", "recheck", unread.headers["x-request-id"]).stdout
    assert "not decided: invalid_request" in checked and "nothing would be different" in checked


def test_what_is_erased_while_it_is_open_is_not_shown(own_gateway, world):
    gateway = own_gateway()
    with world.fake.slowly(10, 0.2), httpx.Client(timeout=PATIENCE) as client:
        asked = {"model": "fake-slow", "messages": [], "stream": True}
        with client.stream("POST", gateway.url + CHAT, json=asked, headers=bearer(world.token("alice"))) as stream:
            name = stream.headers["x-request-id"]
            issuer = gateway.json("sessions", "show", name)["issuer"]
            gateway.cli("sessions", "erase", "--issuer", issuer, "--subject", "alice", "-m", "asked for")
            assert b"[DONE]" in stream.read()
    shown = gateway.finished_session(name)
    assert shown["erased"] and shown["ending"] == "complete" and not shown["subject"]
    assert not shown["request_headers"] and not shown["response_headers"]
    assert "erased" in gateway.cli("sessions", "replay", name, status=2).stderr
    gateway.stop()
    gateway.cli("sessions", "verify", gateway.data / "evidence")
    held = b"".join(file.read_bytes() for file in (gateway.data / "evidence").glob("evidence.db*"))
    assert b"|alice" not in held


def test_nobody_passes_for_the_gateway(own_gateway, world):
    gateway = own_gateway()
    token = gateway.json("token", "create", "--name", "gatewayd", "--groups", "ml-eng")["token"]
    refused(ask(gateway, token, "tiny-reviewed"), 403, "approval_pending")
    rows = [line for line in gateway.cli("sessions", "events").stdout.splitlines() if "approval-requested" in line]
    assert len(rows) == 1 and "gatewayd (gatewayd)" in rows[0], rows
    started = [line for line in gateway.cli("sessions", "events").stdout.splitlines() if " start " in line]
    assert started and "(" not in started[0], started


def test_a_list_says_that_there_may_be_more(own_gateway, world):
    gateway = own_gateway()
    for _ in range(3):
        recorded(gateway, ask(gateway, world.token("alice"), "fake-answer"))
    assert "older ones" in gateway.cli("sessions", "list", "--limit", "2").stderr
    assert not gateway.cli("sessions", "list", "--limit", "4").stderr


def test_what_is_not_there_cannot_be_held(own_gateway, world):
    gateway = own_gateway()
    mistyped = "01900000-0000-7000-8000-000000000000"
    assert "no session" in gateway.cli("sessions", "hold", mistyped, "-m", "case 7", status=2).stderr
    assert gateway.json("sessions", "holds") == []


@pytest.mark.parametrize("form", ["har", "asciicast", "otel"])
def test_an_export_begins_when_the_request_arrived(own_gateway, world, form):
    """Not when people had agreed to it."""
    gateway = own_gateway()
    token = world.token("alice")
    parked = refused(ask(gateway, token, "tiny-reviewed"), 403, "approval_pending")
    session = gateway.json("sessions", "show", parked["request_id"])
    text = gateway.cli("sessions", "export", session["id"], "--format", form).stdout
    arrived = session["time"] - session["duration_us"]
    shown = json.loads(text.splitlines()[0])
    if form == "asciicast":
        assert shown["timestamp"] == arrived // 1_000_000
    elif form == "otel":
        record = shown["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        assert int(record["timeUnixNano"]) == arrived * 1000
    else:
        told = datetime.datetime.fromisoformat(shown["log"]["entries"][0]["startedDateTime"])
        assert int(told.timestamp() * 1000) == arrived // 1000


def test_a_session_shows_who_agreed_to_it(own_gateway, world):
    gateway = own_gateway()
    parked = refused(ask(gateway, world.token("alice"), "tiny-reviewed"), 403, "approval_pending")
    approval = parked["approval_id"]
    gateway.cli("approvals", "approve", approval, token=world.token("bob"))
    answer = ask(gateway, world.token("alice"), "tiny-reviewed")
    assert answer.status_code == 200
    recorded(gateway, answer)
    shown = gateway.cli("sessions", "show", answer.headers["x-request-id"]).stdout.splitlines()
    about = [line.split("Z ", 1)[1] for line in shown if approval in line and "by" in line]
    for kind, who, what in (("requested", "alice", "one-lead"), ("vote", "bob", "approve"), ("state", "gatewayd", "consumed")):
        assert any(f"approval-{kind} {approval} by {who}" in line and line.endswith(what) for line in about), (kind, shown)


def test_reading_entries_is_on_record(own_gateway, world):
    gateway = own_gateway()
    key = (gateway.data / "admin.key").read_text().strip()
    url = f"{gateway.admin_url}/log/tile/entries/000.p/1"
    assert httpx.get(url, timeout=PATIENCE).status_code == 401
    # The first entry is under a checkpoint from the start.
    assert httpx.get(url, headers=bearer(key), timeout=PATIENCE).status_code == 200
    read = [event for event in gateway.json("sessions", "events") if event["outcome"] == "entries"]
    assert [(one["kind"], one["object"], one["actor"]) for one in read] == [("admin-read", "entries/000.p/1", "local-admin")]
