"""With whose secret: the upstream's key is injected, rotates without a restart, and goes nowhere else."""

import concurrent.futures
import json
import os

import httpx
import pytest

from calls import CHAT, HELLO, ask, bearer, recorded, refused, stream_text
from parts.gateway import PATIENCE

pool = concurrent.futures.ThreadPoolExecutor(4)


def replace(file, value: str) -> None:
    """As an administrator or Kubernetes would: a new file in the place of the old."""
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(value + "\n")
    os.replace(fresh, file)


def wait_for_key(gateway, world, value: str) -> None:
    def used() -> bool:
        ask(gateway, world.token("alice"), "fake-answer")
        return world.fake.of("fake-answer")[-1].header("authorization") == [f"Bearer {value}"]

    gateway.wait_until(used, "did not use the new key")


def test_rotation_between_two_requests_and_under_a_stream(own_gateway, world):
    gateway = own_gateway()
    first = ask(gateway, world.token("alice"), "fake-answer")
    assert world.fake.of("fake-answer")[-1].header("authorization") == [f"Bearer {world.keys['fake']}"]

    before = len(world.fake.of("fake-slow"))

    def stream():
        client = gateway.openai(world.token("alice"))
        return "".join(stream_text(client.chat.completions.create(model="fake-slow", messages=HELLO, stream=True)))

    flowing = pool.submit(stream)
    world.fake.wait_for("fake-slow", before + 1, PATIENCE)
    rotated = "rotated-upstream-key-5d41402abc4b2a76b9719d911017c592"
    replace(gateway.secrets / "fake", rotated)
    wait_for_key(gateway, world, rotated)
    last = ask(gateway, world.token("alice"), "fake-answer")
    assert flowing.result(PATIENCE).endswith("word49 "), "the stream in flight is untouched"

    records = [recorded(gateway, answer) for answer in (first, last)]
    assert {record["credential"] for record in records} == {"fake-key"}
    assert len({record["credential_version"] for record in records}) == 2, "the record says which version"
    for value in (rotated, world.keys["fake"]):
        assert value not in json.dumps(records) and value not in gateway.process.log_text()


def test_the_old_key_is_still_masked_after_a_rotation(own_gateway, world):
    """The model server takes both keys, and its grammar still tells the old one."""
    gateway = own_gateway()

    def told() -> dict:
        answer = ask(gateway, world.token("alice"), "leaky", max_tokens=200)
        assert answer.status_code == 200
        text = answer.json()["choices"][0]["message"]["content"]
        assert text.startswith("ok [REDACTED:") and text.endswith("] ok"), text
        return recorded(gateway, answer)

    before = told()["credential_version"]
    replace(gateway.secrets / "leaky", world.later_key)
    gateway.wait_until(lambda: told()["credential_version"] != before, "did not use the new key")


def test_a_key_that_goes_missing_keeps_the_last_good_one_or_refuses(own_gateway, world):
    gateway = own_gateway()
    replace(gateway.secrets / "fake", "")
    gateway.wait_until(lambda: "gives no value" in gateway.process.log_text(), "did not look at the emptied file")
    answer = ask(gateway, world.token("alice"), "fake-answer")
    if answer.status_code != 200:
        refused(answer, 503, "credential_unavailable")
    seen = world.fake.of("fake-answer")
    assert not seen or seen[-1].header("authorization") == [f"Bearer {world.keys['fake']}"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example", "forwarded": "host=evil.example"},
        {"x-original-url": "http://evil.example/", "x-rewrite-url": "http://evil.example/"},
    ],
)
def test_a_caller_cannot_steer_the_credential(gateway, world, headers):
    assert ask(gateway, world.token("alice"), "fake-answer", headers=headers).status_code == 200
    seen = world.fake.of("fake-answer")[-1]
    assert seen.header("host") == [f"127.0.0.1:{world.fake.port}"]
    assert "evil.example" not in repr(seen.headers)


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/v1/chat/completions", "//127.0.0.1:{port}/v1/chat/completions"])
def test_an_absolute_target_does_not_choose_the_upstream(gateway, world, target):
    """The named port is the trap's; the model's upstream is the tiny one."""
    import socket

    before = len(world.fake.seen)
    body = json.dumps({"model": "tiny", "messages": HELLO, "max_tokens": 2}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as wire:
        wire.sendall(
            f"POST {target.format(port=world.fake.port)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {world.token('alice')}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        b"".join(iter(lambda: wire.recv(65536), b""))
    assert len(world.fake.seen) == before


def test_a_redirect_is_not_followed(gateway, world):
    answer = ask(gateway, world.token("alice"), "fake-redirect")
    assert answer.status_code in (307, 502)
    assert not [seen for seen in world.fake.seen if "/elsewhere" in seen.line]


def test_a_callers_own_key_for_the_upstream_is_of_no_use(gateway, world):
    answer = httpx.post(
        gateway.url + CHAT, json={"model": "tiny", "messages": HELLO}, headers=bearer(world.keys["tiny"]), timeout=PATIENCE
    )
    refused(answer, 401, "invalid_token")
