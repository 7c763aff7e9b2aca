"""Upstreams that misbehave: a clear error in the caller's dialect, a record, and nothing of the upstream's insides."""

import json
import time

import httpx
import openai
import pytest

from calls import HELLO, ask, bearer, events, recorded, refused, stream_text
from parts.gateway import PATIENCE


@pytest.mark.parametrize(
    "model,status,code",
    [
        ("fake-nonsense", 502, "upstream_invalid"),
        ("fake-refuse", 502, "upstream_unavailable"),
        ("fake-huge-head", 502, "upstream_invalid"),
        ("fake-hang", 504, "upstream_timeout"),
        ("nobody", 502, "upstream_unavailable"),
    ],
)
def test_no_answer_or_a_senseless_one(gateway, world, model, status, code):
    answer = ask(gateway, world.token("alice"), model)
    error = refused(answer, status, code if model not in LOOSE else answer.json()["error"]["code"])
    assert error["code"].startswith("upstream_")
    assert world.keys["fake"] not in answer.text and "127.0.0.1" not in answer.text
    assert recorded(gateway, answer)["refusal"] == error["code"]


# Whether a connection broke or spoke nonsense is for the HTTP library to say; either name is right.
LOOSE = {"fake-nonsense", "fake-refuse", "fake-huge-head"}


@pytest.mark.parametrize("model", ["fake-reset", "fake-stall", "fake-bad-chunk"])
def test_a_stream_that_breaks_says_so_in_the_stream_and_in_the_record(gateway, world, model):
    started = time.monotonic()
    answer = ask(gateway, world.token("alice"), model, stream=True)
    assert time.monotonic() - started < 25, "only when the upstream gave up"
    seen = events(answer.text)
    assert seen[0]["choices"][0]["delta"]["content"] == "one "
    assert "error" in seen[-1] and seen[-1]["error"]["code"].startswith("upstream_"), seen
    assert "[DONE]" not in seen
    assert recorded(gateway, answer)["ending"] in ("upstream-cut", "limit")


@pytest.mark.parametrize("model", ["fake-reset", "fake-stall", "fake-bad-chunk"])
def test_the_official_client_raises_on_a_stream_that_breaks(gateway, world, model):
    client = gateway.openai(world.token("alice"))
    got = []
    with pytest.raises(openai.APIError):
        for part in client.chat.completions.create(model=model, messages=HELLO, stream=True):
            got += stream_text([part])
    assert got and got[0] == "one "


def test_a_cut_body_is_not_passed_for_a_whole_one(gateway, world):
    try:
        answer = ask(gateway, world.token("alice"), "fake-short")
    except httpx.TransportError:
        return
    assert answer.status_code == 502, answer.text


def test_an_anthropic_caller_gets_an_anthropic_error(gateway, world):
    answer = httpx.post(
        f"{gateway.url}/v1/messages",
        json={"model": "fake-refuse", "max_tokens": 5, "messages": HELLO},
        headers={"x-api-key": world.token("alice"), "anthropic-version": "2023-06-01"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 502
    assert answer.json()["type"] == "error" and answer.json()["error"]["type"] == "api_error"


def test_an_ollama_caller_gets_an_ollama_error(gateway, world):
    answer = httpx.post(
        f"{gateway.url}/api/chat",
        json={"model": "fake-refuse", "messages": HELLO},
        headers=bearer(world.token("alice")),
        timeout=PATIENCE,
    )
    assert answer.status_code == 502 and isinstance(answer.json()["error"], str)


def test_after_all_this_a_good_request_still_passes(gateway, world):
    assert ask(gateway, world.token("alice"), "fake-answer").status_code == 200
