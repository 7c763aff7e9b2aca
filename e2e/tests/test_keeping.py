"""What can be done with a record: export, prove, check again, hold, erase."""

import concurrent.futures
import contextlib
import json
import sqlite3
import time

from calls import ask, recorded, refused
from parts.gateway import PATIENCE
from parts.model import says


def a_session(gateway, world, text="the quick brown fox") -> str:
    answer = ask(gateway, world.token("alice"), stream=True, max_tokens=60, grammar=says(text))
    assert answer.status_code == 200
    recorded(gateway, answer)
    return answer.headers["x-request-id"]


def test_exports_hold_what_was_recorded(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world)

    def export(form: str) -> str:
        return gateway.cli("sessions", "export", name, "--format", form).stdout

    lines = [json.loads(line) for line in export("jsonl").splitlines()]
    assert lines[0]["type"] == "session" and lines[0]["subject"] == "alice" and lines[0]["id"] == name
    assert json.loads(lines[1]["text"])["model"] == "tiny"
    frames = [line for line in lines if line["type"] == "response-frame"]
    answer = "".join(frame["text"] for frame in frames)
    assert answer.rstrip().endswith("data: [DONE]") and len(frames) > 1

    har = json.loads(export("har"))["log"]
    [entry] = har["entries"]
    assert har["version"] == "1.2" and entry["request"]["method"] == "POST" and entry["response"]["status"] == 200
    assert entry["response"]["content"]["text"] == answer
    assert abs(sum(entry["timings"].values()) - entry["time"]) < 1

    head, *events = [json.loads(line) for line in export("asciicast").splitlines()]
    assert head["version"] == 3 and head["term"]["cols"] > 0
    assert all(kind == "o" and seconds >= 0 for seconds, kind, _ in events)
    assert "".join(text for *_, text in events).replace("\r\n", "\n") == answer

    [record] = json.loads(export("otel"))["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    facts = {a["key"]: next(iter(a["value"].values())) for a in record["attributes"]}
    assert record["eventName"].startswith("gen_ai.") and facts["gen_ai.operation.name"] == "chat"
    assert facts["gen_ai.request.model"] == "tiny" and facts["user.id"] == "alice"

    # Each reading is on record.
    shown = json.dumps(gateway.json("sessions", "show", name)["events"])
    assert shown.count('"export"') == 4


def test_a_proof_names_the_log_and_its_entries(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world)
    deadline = time.monotonic() + PATIENCE
    while (done := gateway.cli("sessions", "proof", name, status=None)).returncode != 0:
        assert time.monotonic() < deadline, done.stderr  # a checkpoint comes within a second
        time.sleep(0.2)
    assert done.stdout.count("c2sp.org/tlog-proof@v1") == 2
    assert (gateway.data / "evidence" / "log.pub").read_text().split("+")[0] in done.stdout


def test_what_policy_would_say_today(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world)
    same = gateway.cli("sessions", "recheck", name)
    assert "nothing would be different today" in same.stdout

    text = gateway.config.read_text().replace('name = "engineers-may-infer"', 'name = "engineers-may-still-infer"')
    gateway.write_config(text.replace('models = ["tiny-secret"]', 'models = ["tiny"]'))
    gateway.wait_until(
        lambda: gateway.cli("sessions", "recheck", name, status=None).returncode == 1,
        "did not take the new policy",
    )
    checked = gateway.cli("sessions", "recheck", name, status=1).stdout
    assert "allow by engineers-may-infer" in checked
    assert "deny by engineers-must-not-touch-secret-models" in checked


def test_a_hold_forbids_erasure_and_the_log_still_verifies(own_gateway, world):
    gateway = own_gateway()
    text = "something to forget"
    name, other = a_session(gateway, world, text), a_session(gateway, world, "something to keep")
    hold = gateway.json("sessions", "hold", name, "-m", "case 7")["hold"]
    refused = gateway.cli("sessions", "erase", name, "-m", "asked for", status=None)
    assert refused.returncode != 0 and "hold" in refused.stderr
    assert text in gateway.cli("sessions", "replay", name, "--speed", "0").stdout

    gateway.cli("sessions", "release", hold, "-m", "case closed")
    gateway.cli("sessions", "erase", name, "-m", "asked for")
    assert gateway.cli("sessions", "replay", name, "--speed", "0", status=None).returncode != 0
    gone = gateway.json("sessions", "show", name)
    assert gone["erased"] and gone["subject"] is None
    assert "something to keep" in gateway.cli("sessions", "replay", other, "--speed", "0").stdout
    gateway.stop()
    gateway.cli("sessions", "verify", gateway.data / "evidence")


def test_everything_that_a_caller_did_is_held_and_erased(own_gateway, world):
    gateway = own_gateway()
    first, second = a_session(gateway, world, "one of alice"), a_session(gateway, world, "two of alice")
    issuer = gateway.json("sessions", "show", first)["issuer"]
    other = ask(gateway, world.token("carol"))
    recorded(gateway, other)
    alice = ["--issuer", issuer, "--subject", "alice"]

    hold = gateway.json("sessions", "hold", *alice, "-m", "case 8")["hold"]
    for what in (alice, [second]):
        assert "hold" in gateway.cli("sessions", "erase", *what, "-m", "asked for", status=2).stderr
    gateway.cli("sessions", "release", hold, "-m", "case closed")
    [listed] = gateway.json("sessions", "holds")
    assert listed["number"] == hold and listed["reason"] == "case 8" and listed["released"]
    assert gateway.json("sessions", "erase", *alice, "-m", "asked for")["sessions"] == 2
    for name in (first, second):
        assert gateway.json("sessions", "show", name)["erased"]
        assert gateway.cli("sessions", "replay", name, "--speed", "0", status=None).returncode != 0
    assert gateway.json("sessions", "show", other.headers["x-request-id"])["subject"] == "carol"

    for wrong in ([], ["--subject", "alice"], [first, *alice]):
        assert gateway.cli("sessions", "erase", *wrong, "-m", "x", status=2).stderr.startswith("error")
    gateway.stop()
    gateway.cli("sessions", "verify", gateway.data / "evidence")


def used_approval(gateway, world, words: str) -> tuple[dict, str, str]:
    """An approval that was asked for, agreed to and used; with the requests that asked and used it."""

    def send():
        return ask(gateway, world.token("alice"), "tiny-reviewed", grammar=says("yes"), user=words)

    parked = refused(send(), 403, "approval_pending")
    gateway.cli("approvals", "approve", parked["approval_id"], "-m", words, token=world.token("bob"))
    answer = send()
    assert answer.status_code == 200
    recorded(gateway, answer)
    approval = gateway.json("approvals", "show", parked["approval_id"])
    assert words in approval["body"]["preview"]["text"] and approval["used_by"] == answer.headers["x-request-id"]
    return approval, approval["request"], approval["used_by"]


def approvals_keep(gateway, words: str) -> bool:
    return any(words.encode() in path.read_bytes() for path in gateway.data.glob("approvals.sqlite*"))


def test_erasing_a_caller_reaches_what_approvals_keep(own_gateway, world):
    gateway = own_gateway()
    used, first, _ = used_approval(gateway, world, "platypus-one")
    issuer = gateway.json("sessions", "show", first)["issuer"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        held = pool.submit(ask, gateway, world.token("alice"), "tiny-restricted", user="platypus-two")
        waiting = gateway.wait_for_approval()
        assert approvals_keep(gateway, "platypus-one") and approvals_keep(gateway, "platypus-two")
        done = gateway.json("sessions", "erase", "--issuer", issuer, "--subject", "alice", "-m", "asked for")
        assert (done["approvals"], done["withdrawn"]) == (2, 1) and done["sessions"] >= 2, done
        refused(held.result(PATIENCE), 403, "approval_denied")
    for words in ("platypus", "alice"):
        assert not approvals_keep(gateway, words), "while the gateway runs on"
    left = gateway.json("approvals", "show", used["id"])
    assert left["erased"] and left["requester"] is None and left["body"]["preview"]["text"] == ""
    for fact in ("id", "state", "created", "decided", "ended", "used_by", "rule"):
        assert left[fact] == used[fact], fact
    assert left["votes"][0]["by"]["subject"] == "bob" and left["body"]["sha256"] == used["body"]["sha256"]
    assert gateway.json("approvals", "show", waiting["id"])["state"] == "cancelled"
    assert "erased" in gateway.cli("approvals", "show", used["id"]).stdout
    assert gateway.cli("approvals", "list", "--all").stdout.count("(erased)") == 2
    again = gateway.cli("sessions", "erase", "--issuer", issuer, "--subject", "alice", "-m", "again").stdout
    assert "0 approvals" in again, again
    gateway.stop()
    gateway.cli("sessions", "verify", gateway.data / "evidence")


def test_erasing_a_session_reaches_its_approval_unless_a_hold_keeps_it(own_gateway, world):
    gateway = own_gateway()
    approval, first, by = used_approval(gateway, world, "wombat-one")
    hold = gateway.json("sessions", "hold", by, "-m", "case 9")["hold"]
    assert "hold" in gateway.cli("sessions", "erase", first, "-m", "asked for", status=2).stderr
    assert approvals_keep(gateway, "wombat"), "the held session was passed on it"
    gateway.cli("sessions", "release", hold, "-m", "case closed")
    said = gateway.cli("sessions", "erase", by, "-m", "asked for").stdout
    assert "1 sessions" in said and "1 approvals" in said, said
    assert not approvals_keep(gateway, "wombat")
    assert gateway.json("approvals", "show", approval["id"])["erased"]
    assert not gateway.json("sessions", "show", first)["erased"], "that is a session of its own"
    assert gateway.json("sessions", "erase", first, "-m", "asked for") == {"sessions": 1, "approvals": 0, "withdrawn": 0}


def test_no_hold_comes_between_an_erasure_and_what_it_takes(own_gateway, world):
    """Somebody else writes in the approvals, so that an erasure stands still after it looked for holds."""
    gateway = own_gateway()
    approval, _, by = used_approval(gateway, world, "numbat-one")
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        contextlib.closing(sqlite3.connect(gateway.data / "approvals.sqlite", isolation_level=None)) as db,
    ):
        db.execute("BEGIN IMMEDIATE")
        erased = pool.submit(gateway.json, "sessions", "erase", by, "-m", "asked for")
        time.sleep(1)
        held = pool.submit(gateway.cli, "sessions", "hold", by, "-m", "case 10", status=None)
        time.sleep(1)
        was_waiting = not held.done() and not erased.done()
        db.execute("ROLLBACK")
        assert erased.result(PATIENCE) == {"sessions": 1, "approvals": 1, "withdrawn": 0}
        assert "erased" in held.result(PATIENCE).stderr and held.result().returncode != 0
    assert was_waiting and gateway.json("sessions", "holds") == []
    assert gateway.json("approvals", "show", approval["id"])["erased"]


def test_a_list_begins_and_ends_when_asked(own_gateway, world):
    gateway = own_gateway()
    # Before the session is made: also where midnight comes in between, it began today.
    today = time.strftime("%Y-%m-%d", time.gmtime())
    name = a_session(gateway, world)

    def listed(*when) -> list:
        return [session["id"] for session in gateway.json("sessions", "list", *when)]

    assert listed() == listed("--since", "1h") == listed("--since", today) == [name]
    assert listed("--until", "1h") == listed("--until", today) == listed("--since", "2199-01-01T00:00:00Z") == []
    assert "how long ago" in gateway.cli("sessions", "list", "--since", "yesterday", status=2).stderr


def test_a_new_root_key_reads_what_the_old_one_sealed(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world, "sealed before")
    root = gateway.data / "evidence" / "root.key"
    old = root.read_bytes()
    assert "in use" in gateway.cli("sessions", "rotate-key", "--config", gateway.config, status=2).stderr
    gateway.stop()
    gateway.cli("sessions", "rotate-key", "--config", gateway.config)
    assert root.read_bytes() != old and root.stat().st_mode & 0o777 == 0o600
    gateway.start()
    assert "sealed before" in gateway.cli("sessions", "replay", name, "--speed", "0").stdout
    gateway.stop()
    gateway.cli("sessions", "verify", gateway.data / "evidence")


def test_what_was_altered_is_marked_wherever_it_is_shown(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world)
    other = ask(gateway, world.token("carol"))
    recorded(gateway, other)
    gateway.stop()
    with sqlite3.connect(gateway.data / "evidence" / "evidence.db") as log:
        id_of = [bytes.fromhex(one.replace("-", "")) for one in (name, other.headers["x-request-id"])]
        log.execute("UPDATE sessions SET who = (SELECT who FROM sessions WHERE id = ?2) WHERE id = ?1", id_of)
    gateway.start()
    listed = {line.split()[0]: line for line in gateway.cli("sessions", "list").stdout.splitlines()[1:] if line.strip()}
    assert "ALTERED" in listed[name] and "ALTERED" not in listed[other.headers["x-request-id"]]
    assert "ALTERED" in gateway.cli("sessions", "show", name).stdout
    assert "ALTERED" in gateway.cli("sessions", "replay", name, "--speed", "0").stderr
    assert gateway.json("sessions", "replay", name)["altered"]
    assert not gateway.cli("sessions", "replay", other.headers["x-request-id"], "--speed", "0").stderr
    for form in ("har", "asciicast", "otel"):
        assert "ALTERED" in gateway.cli("sessions", "export", name, "--format", form).stdout, form
    checked = gateway.cli("sessions", "recheck", name, status=1).stdout
    assert "altered" in checked and "allow by" not in checked.split("now", 1)[1]


def test_only_administrators_read_what_was_recorded(own_gateway, world):
    gateway = own_gateway()
    name = a_session(gateway, world)
    for who in ("alice", "bob", "mallory"):
        for words in (["list"], ["show", name], ["export", name], ["proof", name], ["erase", name, "-m", "x"]):
            done = gateway.cli("sessions", *words, token=world.token(who), status=None)
            assert done.returncode == 2 and not done.stdout, (who, words, done.stdout)
    assert gateway.json("sessions", "list", token=world.token("olga"))
