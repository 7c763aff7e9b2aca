"""Must a person agree: held, decided on another terminal, and never for another request."""

import concurrent.futures
import contextlib
import http.client
import json
import time

import httpx
import openai
import pytest

from calls import CHAT, HELLO, ask, bearer, recorded_refusal, refused
from parts.gateway import PATIENCE
from parts.model import says

pool = concurrent.futures.ThreadPoolExecutor(16)


@pytest.fixture
def gateway(own_gateway):
    """Each test sees only its own approvals."""
    return own_gateway()


def request(gateway, world, who="alice", model="tiny-restricted", content="what is in the report?"):
    client = gateway.openai(world.token(who))
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content}],
        extra_body={"grammar": says("the report says yes")},
        extra_headers={"x-approval-reason": "quarterly audit"},
    )


def approve(gateway, world, who: str, name: str, status=0):
    return gateway.cli("approvals", "approve", name, "-m", f"fine by {who}", token=world.token(who), status=status)


def test_held_then_approved_by_two_people_on_another_terminal(gateway, world):
    held = pool.submit(request, gateway, world)
    waiting = gateway.wait_for_approval()
    shown = gateway.cli("approvals", "show", waiting["id"], token=world.token("bob")).stdout
    for fact in ("alice", "infer", "tiny-restricted", "quarterly audit", "what is in the report?", "restricted-models"):
        assert fact in shown, shown
    approve(gateway, world, "bob", waiting["id"])
    time.sleep(0.3)
    assert not held.done(), "one of two groups is not enough"
    approve(gateway, world, "carol", waiting["id"])
    assert held.result(PATIENCE).choices[0].message.content == "the report says yes"
    everything = gateway.cli("approvals", "list", "--all").stdout
    assert "consumed" in everything
    [session] = gateway.sessions("--model", "tiny-restricted")
    record = gateway.finished_session(session["id"])
    assert waiting["id"] in json.dumps(record["claims"]), "the record names the approval"
    assert (record["effect"], record["ending"]) == ("approve", "complete")


def test_a_streamed_request_is_held_too(gateway, world):
    def stream():
        client = gateway.openai(world.token("alice"))
        chunks = client.chat.completions.create(
            model="tiny-restricted", messages=HELLO, stream=True, extra_body={"grammar": says("the report says yes")}
        )
        return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]

    held = pool.submit(stream)
    waiting = gateway.wait_for_approval()
    for who in ("bob", "carol"):
        approve(gateway, world, who, waiting["id"])
    deltas = held.result(PATIENCE)
    assert "".join(deltas) == "the report says yes" and len(deltas) > 2, deltas


def test_a_denial_ends_it(gateway, world):
    held = pool.submit(request, gateway, world)
    waiting = gateway.wait_for_approval()
    gateway.cli("approvals", "deny", waiting["id"], "-m", "not now", token=world.token("carol"))
    with pytest.raises(openai.PermissionDeniedError) as raised:
        held.result(PATIENCE)
    assert raised.value.code == "approval_denied"


def test_an_approval_covers_no_other_body_and_no_other_caller(gateway, world):
    with pytest.raises(openai.PermissionDeniedError) as raised:
        request(gateway, world, model="tiny-reviewed", content="small question")
    assert raised.value.code == "approval_pending"
    first = raised.value.body["approval_id"]
    approve(gateway, world, "bob", first)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        request(gateway, world, model="tiny-reviewed", content="small question, and everything else")
    assert raised.value.code == "approval_pending" and raised.value.body["approval_id"] != first
    with pytest.raises(openai.PermissionDeniedError) as raised:
        request(gateway, world, who="erin", model="tiny-reviewed", content="small question")
    assert raised.value.code == "approval_pending" and raised.value.body["approval_id"] != first
    # The very request passes without any special header, once.
    answer = request(gateway, world, model="tiny-reviewed", content="small question")
    assert answer.choices[0].message.content == "the report says yes"
    with pytest.raises(openai.PermissionDeniedError) as raised:
        request(gateway, world, model="tiny-reviewed", content="small question")
    assert raised.value.body["approval_id"] != first, "an approval is used once"


def test_two_retries_at_once_use_an_approval_once(gateway, world):
    body = {"grammar": says("yes")}
    parked = refused(ask(gateway, world.token("alice"), "tiny-reviewed", **body), 403, "approval_pending")
    approve(gateway, world, "bob", parked["approval_id"])
    answers = list(pool.map(lambda _: ask(gateway, world.token("alice"), "tiny-reviewed", **body), range(8)))
    assert [a.status_code for a in answers].count(200) == 1, [a.text[:200] for a in answers]
    assert {a.status_code for a in answers} <= {200, 403, 409}, [a.text[:200] for a in answers]


def test_nobody_agrees_to_their_own_request_and_one_person_counts_once(gateway, world):
    held = pool.submit(request, gateway, world, who="frank")
    waiting = gateway.wait_for_approval()
    refusal = approve(gateway, world, "frank", waiting["id"], status=None)
    assert refusal.returncode != 0 and "own" in (refusal.stdout + refusal.stderr)
    approve(gateway, world, "dave", waiting["id"])  # In both groups, and still one person.
    time.sleep(0.3)
    assert not held.done()
    approve(gateway, world, "carol", waiting["id"], status=None)
    approve(gateway, world, "bob", waiting["id"], status=None)
    assert held.result(PATIENCE).choices


def test_a_stranger_has_no_vote(gateway, world):
    held = pool.submit(request, gateway, world)
    waiting = gateway.wait_for_approval()
    for who in ("erin", "mallory"):
        assert approve(gateway, world, who, waiting["id"], status=None).returncode != 0
    gateway.cli("approvals", "deny", waiting["id"], token=world.token("bob"))
    with pytest.raises(openai.PermissionDeniedError):
        held.result(PATIENCE)


def test_a_restart_while_a_request_is_held(gateway, world):
    body = {"grammar": says("after the restart"), "max_tokens": 60}
    held = pool.submit(ask, gateway, world.token("alice"), "tiny-restricted", **body)
    waiting = gateway.wait_for_approval()
    gateway.stop()
    answer = held.result(PATIENCE)
    refused(answer, 503, "shutting_down")
    assert int(answer.headers["retry-after"]) >= 1
    gateway.start()
    assert [a["id"] for a in gateway.approvals()] == [waiting["id"]], "it still waits"
    approve(gateway, world, "bob", waiting["id"])
    again = pool.submit(ask, gateway, world.token("alice"), "tiny-restricted", **body)
    time.sleep(0.3)
    approve(gateway, world, "carol", waiting["id"])
    assert again.result(PATIENCE).json()["choices"][0]["message"]["content"] == "after the restart"


def test_a_crash_while_a_request_is_held(gateway, world):
    body = {"grammar": says("after the crash"), "max_tokens": 60}
    held = pool.submit(ask, gateway, world.token("alice"), "tiny-restricted", **body)
    waiting = gateway.wait_for_approval()
    gateway.kill()
    with pytest.raises(httpx.TransportError):
        held.result(PATIENCE)
    gateway.start()
    for who in ("bob", "carol"):
        approve(gateway, world, who, waiting["id"])
    answer = ask(gateway, world.token("alice"), "tiny-restricted", **body)
    assert answer.json()["choices"][0]["message"]["content"] == "after the crash"


def test_a_caller_who_hangs_up_comes_back_to_the_same_approval(gateway, world):
    body = json.dumps({"model": "tiny-restricted", "messages": HELLO, "grammar": says("yes")})
    headers = {**bearer(world.token("alice")), "content-type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port)) as caller:
        caller.request("POST", CHAT, body, headers)
        waiting = gateway.wait_for_approval()
    gateway.wait_until(
        lambda: [session["ending"] for session in gateway.sessions()] == ["client-gone"], "did not notice that the caller left"
    )
    for who in ("bob", "carol"):
        approve(gateway, world, who, waiting["id"])
    answer = httpx.post(gateway.url + CHAT, content=body, headers=headers, timeout=PATIENCE)
    assert answer.json()["choices"][0]["message"]["content"] == "yes"


def test_a_parked_request_says_how_to_go_on(gateway, world):
    answer = ask(gateway, world.token("alice"), "tiny-reviewed")
    error = refused(answer, 403, "approval_pending")
    assert error["approval_id"] and int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-should-retry"] == "false", "the SDKs must not hammer"
    recorded_refusal(gateway, answer, "approval_pending")


def test_an_approver_sees_no_secret_that_the_request_holds(gateway, world):
    from conftest import FAKE_AWS_KEY

    held = pool.submit(request, gateway, world, content=f"my key {FAKE_AWS_KEY} fails")
    waiting = gateway.wait_for_approval()
    for form in ([], ["-o", "json"]):
        shown = gateway.cli("approvals", "show", waiting["id"], *form, token=world.token("bob")).stdout
        assert FAKE_AWS_KEY not in shown and "REDACTED" in shown
    gateway.cli("approvals", "deny", waiting["id"], token=world.token("bob"))
    with pytest.raises(openai.PermissionDeniedError):
        held.result(PATIENCE)
