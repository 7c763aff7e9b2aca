"""The parts by themselves: what the other tests rely on, shown without a gateway in between."""

import json

import httpx
import openai

from conftest import FAKE_AWS_KEY, TOLD
from parts.gateway import PATIENCE
from parts.model import says


def straight(world) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{world.tiny.url}/v1", api_key=world.keys["tiny"], max_retries=0)


def test_without_a_gateway_the_forced_key_reaches_the_client_byte_by_byte(world):
    """If this fails, a masking test that passes shows nothing."""
    stream = straight(world).chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        extra_body={"grammar": says(TOLD)},
    )
    deltas = [c.choices[0].delta.content for c in stream if c.choices and c.choices[0].delta.content]
    assert "".join(deltas) == TOLD
    assert FAKE_AWS_KEY in TOLD and max(map(len, deltas)) == 1


def test_the_model_server_answers_only_to_its_key(world):
    for headers in ({}, {"authorization": "Bearer another"}):
        answer = httpx.post(f"{world.tiny.url}/v1/chat/completions", json={"messages": []}, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 401


def test_a_server_wide_grammar_makes_the_model_tell_its_own_key(world):
    answer = httpx.post(
        f"{world.leaky.url}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": f"Bearer {world.keys['leaky']}"},
        timeout=PATIENCE,
    )
    assert world.keys["leaky"] in answer.json()["choices"][0]["message"]["content"]


def test_the_provider_signs_people_in_and_rotates_its_keys(world):
    keys = f"{world.idp.issuer}/jwks"
    before = {key["kid"] for key in httpx.get(keys, timeout=PATIENCE).json()["keys"]}
    world.rotate_identity_keys()
    after = {key["kid"] for key in httpx.get(keys, timeout=PATIENCE).json()["keys"]}
    assert len(after - before) == 1
    assert before & after, "an old key stays published for the tokens that it signed"
    assert world.idp.token("alice").count(".") == 2


def test_the_misbehaving_upstream_misbehaves(world):
    def ask(model: str) -> httpx.Response:
        headers = {"authorization": "Bearer secret"}
        return httpx.post(f"{world.fake.url}/v1/chat/completions", json={"model": model}, headers=headers, timeout=3)

    assert ask("fake-answer").json()["choices"][0]["message"]["content"] == "fine"
    assert "secret" in json.dumps(ask("fake-tell-all").json())
    assert "secret" in ask("fake-gzip").text
    for model, error in {
        "fake-nonsense": httpx.RemoteProtocolError,
        "fake-reset": httpx.ReadError,
        "fake-short": httpx.RemoteProtocolError,
        "fake-bad-chunk": httpx.RemoteProtocolError,
        "fake-stall": httpx.ReadTimeout,
    }.items():
        try:
            ask(model)
        except error:
            continue
        raise AssertionError(f"{model} did not raise {error}")
    assert world.fake.of("fake-tell-all")[-1].header("authorization") == ["Bearer secret"]
