"""May they: the rule that decides is named, and nothing is allowed that no rule allows."""

import socket

import httpx
import openai
import pytest

from calls import HELLO, ask, bearer, recorded_refusal, refused
from parts.gateway import PATIENCE


def test_403_names_the_rule(gateway, world):
    with pytest.raises(openai.PermissionDeniedError) as raised:
        gateway.openai(world.token("alice")).chat.completions.create(model="tiny-secret", messages=HELLO)
    assert raised.value.code == "policy_denied"
    assert "engineers-must-not-touch-secret-models" in raised.value.message
    answer = ask(gateway, world.token("alice"), model="tiny-secret")
    error = refused(answer, 403, "policy_denied")
    assert error["rule"] == "engineers-must-not-touch-secret-models"
    record = recorded_refusal(gateway, answer, "policy_denied")
    assert (record["effect"], record["rule"]) == ("deny", "engineers-must-not-touch-secret-models")


def test_someone_in_no_group_may_nothing(gateway, world):
    refused(ask(gateway, world.token("mallory")), 403, "policy_denied")


def test_a_refused_request_does_not_reach_the_model(gateway, world):
    before = len(world.fake.seen)
    refused(ask(gateway, world.token("mallory"), model="fake-answer"), 403, "policy_denied")
    assert len(world.fake.seen) == before


@pytest.mark.parametrize(
    "method,path",
    [
        ("POST", "/v1/no-such-thing"),
        ("DELETE", "/v1/models/tiny"),
        ("GET", "/slots"),
        ("PATCH", "/v1/chat/completions"),
        ("GET", "/"),
    ],
)
def test_what_no_rule_names_is_denied(gateway, world, method, path):
    answer = httpx.request(method, gateway.url + path, headers=bearer(world.token("alice")), timeout=PATIENCE)
    assert answer.status_code in (403, 404), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/../../slots",
        "/v1/chat/%2e%2e/%2e%2e/slots",
        "/v1//chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions;x=/../../slots",
        "/V1/chat/completions",
        "/v1\\chat\\completions",
    ],
)
def test_no_spelling_of_a_path_gets_around_the_rules(gateway, world, path):
    """Sent raw: a client library would tidy the path up."""
    body = b'{"model":"tiny","messages":[]}'
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as wire:
        wire.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.token('alice')}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 403, 404), answer[:300]


def test_explain_says_decision_and_rule(gateway):
    def explain(*words) -> str:
        return gateway.cli("policy", "explain", *words).stdout

    training = explain("--groups", "ml-eng", "POST", "/v1/fine_tuning/jobs")
    assert "training-needs-two-people" in training and "approv" in training.lower()
    secret = explain("--groups", "ml-eng", "--model", "tiny-secret", "POST", "/v1/chat/completions")
    assert "deny" in secret.lower() and "engineers-must-not-touch-secret-models" in secret
    assert "engineers-may-infer" in explain("--groups", "ml-eng", "--model", "tiny", "POST", "/v1/chat/completions")
    assert "deny" in explain("--groups", "nobody", "POST", "/v1/chat/completions").lower()
