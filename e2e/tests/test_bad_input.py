"""Callers that misbehave: each gets a clear answer or a closed connection, and the gateway goes on."""

import json
import socket
import time

import httpx
import pytest

from calls import CHAT, HELLO, ask, bearer, recorded_refusal, refused
from parts.gateway import PATIENCE


@pytest.fixture(autouse=True)
def unharmed(gateway, world):
    yield
    assert ask(gateway, world.token("alice"), "fake-answer").status_code == 200
    assert "panicked" not in gateway.process.log_text()


def wire(gateway, *pieces: bytes, patience: float = 30) -> bytes:
    """Sends raw bytes as far as the other side takes them; returns what it says until it closes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=patience) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # It had heard enough.
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except OSError:
            pass
        return answer


def start(world, *headers: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {world.token('alice')}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *headers, "", ""]).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_a_hundred_megabytes_of_header(gateway):
    piece = b"a" * (1 << 20)
    answer = wire(gateway, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Big: ", *[piece] * 100)
    assert status(answer) in (0, 400, 431)
    memory = open(f"/proc/{gateway.process.child.pid}/status").read()
    resident = int(next(line for line in memory.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident < 400 << 10


def test_a_header_over_the_limit_gets_431(gateway, world):
    answer = ask(gateway, world.token("alice"), headers={"x-big": "a" * (80 << 10)})
    assert answer.status_code == 431


def test_ten_thousand_headers(gateway):
    answer = wire(gateway, b"GET /v1/models HTTP/1.1\r\nHost: x\r\n", *[b"X-A: b\r\n"] * 10_000, b"\r\n")
    assert status(answer) in (0, 400, 431)


@pytest.mark.parametrize(
    "garbage",
    [b"zz\r\n\r\n", b"-1\r\nx\r\n", b"ffffffffffffffffff\r\nx", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"5;" + b"x" * 100_000],
    ids=["letters", "negative", "overflow", "wrong size", "endless extension"],
)
def test_chunked_garbage(gateway, world, garbage):
    answer = wire(gateway, start(world, "Transfer-Encoding: chunked"), garbage)
    assert status(answer) in (0, 400, 408), answer[:300]


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
        ["Content-Length: +5"],
        ["Content-Length: 5", "Content-Length : 6"],
    ],
)
def test_request_smuggling_shapes(gateway, world, headers):
    """No second request may ever come out of one of these."""
    before = len(world.fake.seen)
    trailing = json.dumps({"model": "fake-answer", "messages": []}).encode()
    hidden = b"0\r\n\r\n" + start(world, f"Content-Length: {len(trailing)}") + trailing
    answer = wire(gateway, start(world, *headers), hidden)
    assert answer.count(b"HTTP/1.1 200") == 0, answer[:500]
    assert len(world.fake.seen) == before


def send(gateway, world, body: bytes) -> httpx.Response:
    headers = {**bearer(world.token("alice")), "content-type": "application/json"}
    return httpx.post(gateway.url + CHAT, content=body, headers=headers, timeout=PATIENCE)


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"model": 1}', b'{"model":"tiny","model":"fake-answer"}', b"\xff\xfe", b'{"a":' * 20_000],
    ids=["cut", "number", "two models", "not utf-8", "deep"],
)
def test_invalid_json(gateway, world, body):
    answer = send(gateway, world, body)
    refused(answer, 400, "invalid_request")
    recorded_refusal(gateway, answer, "invalid_request")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"tiny"', b'[{"model":"fake-answer"}]'])
def test_a_body_that_can_name_no_model_is_told_what_to_send(gateway, world, body):
    answer = send(gateway, world, body)
    error = refused(answer, 400, "invalid_request")
    assert "JSON object" in error["message"] and "`model`" in error["message"]
    recorded_refusal(gateway, answer, "invalid_request")


def test_a_body_that_names_no_model_cannot_slip_past_a_rule_about_models(gateway, world):
    answer = send(gateway, world, b"{}")
    refused(answer, 403, "policy_denied")
    recorded_refusal(gateway, answer, "policy_denied")


def test_a_body_over_the_limit(gateway, world):
    before = len(world.fake.seen)
    answer = ask(gateway, world.token("alice"), "fake-answer", padding="x" * (2 << 20))
    refused(answer, 413, "body_too_large")
    recorded_refusal(gateway, answer, "body_too_large")
    assert len(world.fake.seen) == before


def test_an_endless_chunked_body_is_cut_at_the_limit(gateway, world):
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = wire(gateway, start(world, "Transfer-Encoding: chunked"), *[piece] * 64)
    assert status(answer) in (0, 413)


def test_a_body_that_never_ends_arriving(gateway, world):
    started = time.monotonic()
    answer = wire(gateway, start(world, "Content-Length: 1000"), b'{"model":')
    assert status(answer) == 408, answer[:300]
    assert time.monotonic() - started > 2


def test_a_head_that_never_ends_arriving(gateway):
    answer = wire(gateway, b"GET /v1/models HTTP/1.1\r\nHost: x\r\n")
    assert status(answer) in (0, 408)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n", b"\x00" * 100, b"GET\r\n\r\n"]
)
def test_another_protocol(gateway, junk):
    assert status(wire(gateway, junk, b"\r\n\r\n")) in (0, 400)


def test_log_lines_cannot_be_forged(gateway, world):
    forged = "2026-01-01T00:00:00Z INFO gatewayd: all is well"
    ask(gateway, world.token("alice"), model=f"x\n{forged}", headers={"x-approval-reason": "a\tb"})
    assert not [line for line in gateway.process.log_text().splitlines() if line.startswith(forged)]


def test_duplicate_authorization_headers(gateway, world):
    first, rest = start(world, "Content-Length: 2").split(b"\r\n", 1)
    answer = wire(gateway, first + b"\r\nAuthorization: Bearer other\r\nConnection: close\r\n" + rest + b"{}")
    assert status(answer) == 401


def test_upgrade_and_connect_are_not_tunnels(gateway, world):
    for request in (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n", b"GET /v1/models HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"):
        head = request + f"Authorization: Bearer {world.token('alice')}\r\nConnection: close\r\n\r\n".encode()
        answer = wire(gateway, head)
        assert status(answer) not in (101,) and not (request.startswith(b"CONNECT") and status(answer) == 200)


def test_a_hundred_idle_connections_do_no_harm(gateway, world):
    idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(100)]
    try:
        assert ask(gateway, world.token("alice"), "fake-answer").status_code == 200
    finally:
        for connection in idle:
            connection.close()
