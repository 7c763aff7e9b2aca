"""Two programs that were written from docs/evidence-format.md alone say what `gatewayd sessions verify` says.

So the format is what the page says it is, and neither program is blind where the other sees.
"""

import concurrent.futures
import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zlib

import httpx
import pytest
import rules
import verify
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from calls import CHAT, HELLO, ask, bearer
from damages import DAMAGES
from evidence import Copy, Unfit
from forgeries import enrich
from parts.gateway import PATIENCE
from parts.model import says
from parts.process import ROOT

pool = concurrent.futures.ThreadPoolExecutor(8)

# `make torture` asks for more.
ROUNDS = int(os.environ.get("GATEWAYD_DAMAGES", "2"))


@pytest.fixture(scope="module")
def evidence(world, tmp_path_factory):
    """A folder with evidence of a crash, of two runs, with more than 256 entries; and some kept earlier."""
    folder = tmp_path_factory.mktemp("evidence")
    gateway = world.gateway("evidence")
    gateway.kept = folder
    alice = world.token("alice")
    ask(gateway, world.token("mallory"))
    held = pool.submit(ask, gateway, alice, "tiny-restricted", grammar=says("yes"))
    waiting = gateway.wait_for_approval()
    for who in ("bob", "carol"):
        gateway.cli("approvals", "approve", waiting["id"], "-m", f"fine by {who}", token=world.token(who))
    assert held.result(PATIENCE).status_code == 200
    ask(gateway, alice, "telling", stream=True, max_tokens=60)
    ask(gateway, alice, "fake-answer", text="a word or two " * 20000)
    answers = list(pool.map(lambda _: ask(gateway, alice, "fake-answer"), range(130)))
    assert {answer.status_code for answer in answers} == {200}
    gateway.wait_until(
        lambda: not [session for session in gateway.sessions("--limit", "1000") if session["ending"] == "open"],
        "did not close its records",
    )
    asked = {"model": "fake-slow", "messages": HELLO, "stream": True}
    with (
        world.fake.slowly(1000, 0.1),
        httpx.Client(timeout=PATIENCE) as client,
        client.stream("POST", gateway.url + CHAT, json=asked, headers=bearer(alice)) as stream,
    ):
        words = stream.iter_text()  # Kept: a client that drops it hangs up.
        next(words)
        time.sleep(1.5)
        gateway.kill()
    source = gateway.data / "evidence"
    shutil.copytree(source, folder / "crashed")
    gateway.start()
    ask(gateway, alice, "fake-slow", stream=True)
    assert gateway.stop() == 0
    shutil.copytree(source, folder / "good")
    enrich(Copy(folder / "good", folder / "rich"))
    return gateway


# Damage that is said to begin somewhere, not to be in one entry.
SOMEWHERE = ("tree-mismatch", "truncated", "bad-checkpoint", "rolled-back", "forked")


def second(kind: type, folder, key=None, pin=None) -> tuple[int, str]:
    """How the second verifier ends, and what it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        return verify.main(kind, folder, key, pin), said.getvalue()


def both(gateway, folder, key=None, pin=None) -> tuple[int, int, str]:
    """How both end, and what they say. They also name the same entry as the first damaged one."""
    options = [word for option, file in (("--key", key), ("--pinned", pin)) if file for word in (option, file)]
    done = gateway.cli("sessions", "verify", folder, *options, "-o", "json", status=None)
    ours, found = second(rules.Evidence, folder, key, pin)
    said = done.stdout + done.stderr + found
    if done.stdout:
        report = json.loads(done.stdout)
        assert (report["damages"] == 0) == (done.returncode == 0), said
        first = report["findings"][0] if report["findings"] else {"damage": "", "entry": None}
        if first["entry"] is not None and first["damage"] not in SOMEWHERE and ours == done.returncode:
            place = re.search(r"entry (\d+)", found)
            assert place and int(place[1]) == first["entry"], said
    return done.returncode, ours, said


@pytest.mark.parametrize("name", ["crashed", "good", "rich"])
def test_a_good_log_is_good_to_both(evidence, name):
    folder = evidence.kept / name
    theirs, ours, said = both(evidence, folder)
    assert (theirs, ours) == (0, 0), said
    told = json.JSONDecoder().raw_decode(said)[0]
    counts = re.search(r"proven: (\d+) of (\d+) entries, (\d+) checkpoints, (\d+) bodies", said).groups()
    assert [int(count) for count in counts] == [told[what] for what in ("signed", "entries", "checkpoints", "bodies")]
    assert told["entries"] > 256 and told["bodies"] > 256


@pytest.mark.parametrize("table", ["session_keys", "subject_keys"])
def test_a_lost_key_is_told_and_is_no_damage(evidence, tmp_path, table):
    copy = Copy(evidence.kept / "good", tmp_path / "copy")
    assert "key is missing" not in both(evidence, copy.folder)[2]
    copy.query(f"DELETE FROM {table}")
    theirs, ours, said = both(evidence, copy.folder)
    assert (theirs, ours) == (0, 0), said
    [told] = re.findall(r"the bodies of (\d+) requests.*keys are missing", said)
    assert said.count("its bodies: the key is missing") == int(told) > 0, said


def test_nothing_is_made_beside_what_is_examined(evidence):
    folder = evidence.kept / "good"
    before = {file.name for file in folder.iterdir()}
    assert both(evidence, folder)[:2] == (0, 0)
    assert {file.name for file in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["verify.py", "rules.py"])
def test_the_second_verifier_is_a_program(evidence, name):
    good = evidence.kept / "good"
    program = [sys.executable, ROOT / "e2e/verifier" / name]
    words = [*program, good, good / "log.pub", good / "checkpoint"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout.startswith("proven: "), done.stdout + done.stderr
    assert ("not proven" in done.stdout) == (name == "verify.py"), done.stdout
    assert subprocess.run([*program, evidence.kept], capture_output=True, timeout=PATIENCE).returncode == 2


# What is not proven, as each of the two says it.
UNPROVEN = {
    "whose key it is": ("the public key was taken", "the public key was taken"),
    "no pin": ("without a pinned checkpoint", "there is no pin"),
    "after the pin": ("came after the pinned checkpoint", "came after the pin"),
    "not covered": ("no checkpoint covers them", "no checkpoint covers them"),
    "open requests": ("had not ended", "had not ended"),
    "gaps": ("were refused or lost unrecorded", "things are missing"),
    "dropped": ("dropped", "was dropped"),
}


def unproven(evidence, folder, key=None, pin=None) -> set:
    theirs, ours, said = both(evidence, folder, key, pin)
    assert (theirs, ours) == (0, 0), said
    report, end = json.JSONDecoder().raw_decode(said)
    lines = "\n".join(report["unproven"]), said[end:]
    told = [{name for name, words in UNPROVEN.items() if words[who] in lines[who]} for who in (0, 1)]
    assert told[0] == told[1], said
    return told[0]


def test_both_say_the_same_is_not_proven(evidence, tmp_path):
    good, rich, crashed = (evidence.kept / name for name in ("good", "rich", "crashed"))
    key, nothing_given = good / "log.pub", {"whose key it is", "no pin"}
    assert unproven(evidence, good) == nothing_given
    assert unproven(evidence, good, key) == {"no pin"}
    assert unproven(evidence, good, key, good / "checkpoint") == set()
    assert unproven(evidence, good, key, crashed / "checkpoint") == {"after the pin"}
    assert unproven(evidence, crashed) == nothing_given | {"open requests"}
    assert unproven(evidence, rich) == nothing_given | {"gaps", "dropped"}
    copy = Copy(good, tmp_path / "copy")
    copy.rewrite([*copy.leaves(), b"\1\5" + copy.leaves()[-1][2:10] + b"\2\7\xfe"])
    assert unproven(evidence, copy.folder, key, good / "checkpoint") == {"after the pin", "not covered", "gaps"}


@pytest.mark.parametrize("change", DAMAGES, ids=lambda change: change.__name__)
def test_both_see_the_same_damage(evidence, tmp_path, change):
    struck = 0
    for number in range(ROUNDS * 20):
        rng = random.Random(zlib.crc32(change.__name__.encode()) + number)
        copy = Copy(evidence.kept / ("rich", "good")[number % 2], tmp_path / "copy")
        try:
            change(copy, rng)
        except Unfit:
            continue
        theirs, ours, said = both(evidence, copy.folder)
        assert theirs == ours, f"round {number}: gatewayd ended with {theirs}, verify.py with {ours}\n{said}"
        assert not change.statuses or ours in change.statuses, f"round {number}: {ours}\n{said}"
        alone, log = second(verify.Log, copy.folder)
        # What only the holder of the key can do, and what is done to words and bodies, is not for it.
        is_in_the_log = ours in (2, 10) and change.__module__ == "damages" and "value" not in change.__name__
        assert alone == ours if is_in_the_log else alone in (0, ours), f"round {number}: {ours}, the log alone {log}"
        if (struck := struck + 1) == ROUNDS:
            return
    assert struck, "neither log has anything to damage in this way"


def test_a_pinned_checkpoint_shows_what_the_key_alone_does_not(evidence, tmp_path):
    """Put back, cut off, or written anew by the holder of the key: good by itself, damaged against the pin."""
    good, crashed = evidence.kept / "good", evidence.kept / "crashed"
    key = good / "log.pub"
    assert both(evidence, good, key, crashed / "checkpoint")[:2] == (0, 0)
    assert both(evidence, crashed, key)[:2] == (0, 0)
    assert both(evidence, crashed, key, good / "checkpoint")[:2] == (11, 11)
    copy = Copy(good, tmp_path / "copy")
    leaves = copy.leaves()
    later = leaves[0][:9] + bytes([leaves[0][9] ^ 1]) + leaves[0][10:]
    copy.resign([later, *leaves[1:]])
    assert both(evidence, copy.folder, key)[:2] == (0, 0)
    assert both(evidence, copy.folder, key, crashed / "checkpoint")[:2] == (11, 11)
    pin = tmp_path / "pin"
    pin.write_text(copy.checkpoint.read_text())
    assert both(evidence, good, key, pin)[:2] == (11, 11)
    held = (good / "checkpoint").read_text()
    for more, status in (("— witness.example AAAAAAAA\n", 0), ("what is no signature\n", 2), ("\r\n", 2)):
        pin.write_bytes((held + more).encode())
        assert both(evidence, good, key, pin)[:2] == (status, status), more
    pin.write_text(copy.note(3, bytes(32), Ed25519PrivateKey.generate()))
    assert both(evidence, good, key, pin)[:2] == (2, 2), "a pin by somebody else is no pin"
    stranger = tmp_path / "log.pub"
    stranger.write_text((good / "log.pub").read_text().replace("+", "-", 1))
    assert both(evidence, good, stranger)[:2] == (2, 2)


def test_the_page_says_how_long_the_verifier_is():
    told = re.findall(r"`(\w+\.py)` \((\d+) lines\)", verify.PAGE)
    lengths = {name: (ROOT / "e2e/verifier" / name).read_text().split("\n") for name, _ in told}
    assert dict(told) == {name: str(sum(map(bool, lines))) for name, lines in lengths.items()} and len(told) == 2


def test_the_layouts_know_the_codes_of_the_page():
    """The layouts say each range of codes once more: a code that one of them lacks would be damage to its reader."""
    codes = dict(re.findall(r"^\| (\w+) \| 1 .*, (\d+) [^,]+ \|$", verify.PAGE, re.MULTILINE))
    assert len(codes) == 7
    for kind in filter(None, rules.KINDS):
        for field, shape in rules.LAYOUTS[rules.KINDS[kind]].items():
            assert field not in codes or shape.split("..")[1] == codes[field], (kind, field)
