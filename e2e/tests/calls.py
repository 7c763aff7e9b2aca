"""Short ways to say what a caller does, and what must be true of an answer."""

import json

import httpx

from parts.gateway import PATIENCE

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def bearer(token: str) -> dict:
    return {"authorization": f"Bearer {token}"}


def ask(gateway, token: str | None, model: str = "tiny", timeout: float = 2 * PATIENCE, path: str = CHAT, headers=None, **body):
    """One chat request by plain HTTP."""
    return httpx.post(
        gateway.url + path,
        json={"model": model, "messages": HELLO, "max_tokens": 8, **body},
        headers={**(bearer(token) if token else {}), **(headers or {})},
        timeout=timeout,
    )


def refused(answer: httpx.Response, status: int, code: str) -> dict:
    """The answer is a refusal in OpenAI's shape, with a sentence for people; returns its error object."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert len(error["message"]) > 10 and "type" in error, error
    assert answer.headers["x-request-id"] == error["request_id"]
    return error


def recorded(gateway, answer: httpx.Response) -> dict:
    """The record of an answered request, found by its name."""
    return gateway.finished_session(answer.headers["x-request-id"])


def recorded_refusal(gateway, answer: httpx.Response, code: str) -> dict:
    """The record of a refusal; it is there before the answer is."""
    record = gateway.json("sessions", "show", answer.headers["x-request-id"])
    assert (record["refusal"], record["ending"], record["status"]) == (code, "refused", answer.status_code), record
    return record


def verified(gateway) -> None:
    """The log holds at each moment, also of a gateway that runs."""
    gateway.cli("sessions", "verify", gateway.data / "evidence")


def stream_text(chunks) -> list[str]:
    """The content deltas of a chat stream of the official client."""
    return [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]


def events(text: str) -> list:
    """The JSON of each data line of a raw event stream; other data as text."""
    found = []
    for line in text.splitlines():
        if line.startswith("data:"):
            data = line[5:].strip()
            found.append(json.loads(data) if data.startswith("{") else data)
    return found
