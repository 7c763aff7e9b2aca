"""What may come back: the model is forced to tell a secret, and nobody ever gets it."""

import json
import pathlib

import httpx
import pytest

from calls import HELLO, ask, bearer, recorded, stream_text
from conftest import FAKE_AWS_KEY, MASKED, TOLD
from parts.gateway import PATIENCE
from parts.model import says


def tell(client, **options):
    return client.chat.completions.create(
        model="tiny", messages=HELLO, extra_body={"grammar": says(TOLD)}, **options
    )


def all_strings(value) -> list[str]:
    """Every string of a JSON value in order, so that a secret spelled over several is found."""
    if isinstance(value, dict):
        return [s for item in value.values() for s in all_strings(item)]
    if isinstance(value, list):
        return [s for item in value for s in all_strings(item)]
    return [value] if isinstance(value, str) else []


def assert_not_spelled(documents: list) -> None:
    """No four consecutive characters of the key's random part, in any field or run of fields, as text or as bytes."""
    tail = FAKE_AWS_KEY[4:]
    pieces = {tail[n : n + 4] for n in range(len(tail) - 3)}
    text = json.dumps(documents)
    assert FAKE_AWS_KEY not in text
    deltas = "".join(
        choice.get("delta", {}).get("content") or choice.get("text") or ""
        for document in documents
        for choice in document.get("choices", [])
    )
    tokens = [
        entry
        for document in documents
        for choice in document.get("choices", [])
        for entry in ((choice.get("logprobs") or {}).get("content") or [])
    ]
    spelled = "".join(entry["token"] for entry in tokens)
    as_bytes = bytes(byte for entry in tokens for byte in entry.get("bytes") or []).decode(errors="replace")
    for piece in pieces:
        assert piece not in deltas and piece not in spelled and piece not in as_bytes, piece


def test_whole_answer(gateway, world):
    answer = tell(gateway.openai(world.token("alice")))
    assert answer.choices[0].message.content == MASKED
    assert FAKE_AWS_KEY not in answer.model_dump_json()


def test_stream(gateway, world):
    chunks = list(tell(gateway.openai(world.token("alice")), stream=True, stream_options={"include_usage": True}))
    deltas = stream_text(chunks)
    assert "".join(deltas) == MASKED
    assert len(deltas) >= 10, f"the clean text around it still streams in small pieces: {deltas}"
    assert chunks[-1].usage.completion_tokens > 0
    assert any(c.choices and c.choices[0].finish_reason == "stop" for c in chunks)
    assert_not_spelled([c.model_dump() for c in chunks])


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_do_not_spell_it(gateway, world, stream):
    answer = tell(gateway.openai(world.token("alice")), stream=stream, logprobs=True, top_logprobs=3)
    documents = [c.model_dump() for c in answer] if stream else [answer.model_dump()]
    assert_not_spelled(documents)
    if not stream:
        assert documents[0]["choices"][0]["message"]["content"] == MASKED


@pytest.mark.parametrize("stream", [False, True])
def test_text_completions(gateway, world, stream):
    client = gateway.openai(world.token("alice"))
    answer = client.completions.create(
        model="tiny", prompt="x", max_tokens=100, stream=stream, extra_body={"grammar": says(TOLD)}
    )
    chunks = list(answer) if stream else [answer]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == MASKED


@pytest.mark.parametrize("stream", [False, True])
def test_responses_api_with_its_final_copies(gateway, world, stream):
    client = gateway.openai(world.token("alice"))
    answer = client.responses.create(model="tiny", input="hello", stream=stream, extra_body={"grammar": says(TOLD)})
    if stream:
        seen = list(answer)
        deltas = "".join(e.delta for e in seen if e.type == "response.output_text.delta")
        assert deltas == MASKED
        finals = [e for e in seen if e.type in ("response.output_text.done", "response.completed")]
        assert len(finals) == 2
        for event in seen:
            assert FAKE_AWS_KEY not in event.model_dump_json()
    else:
        assert answer.output_text == MASKED


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_messages(gateway, world, stream):
    answer = httpx.post(
        f"{gateway.url}/v1/messages",
        json={"model": "telling", "max_tokens": 100, "messages": HELLO, "stream": stream},
        headers={"x-api-key": world.token("alice"), "anthropic-version": "2023-06-01"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200, answer.text
    assert FAKE_AWS_KEY not in answer.text
    if stream:
        lines = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        text = "".join(e["delta"].get("text", "") for e in lines if e["type"] == "content_block_delta")
    else:
        text = "".join(block.get("text", "") for block in answer.json()["content"])
    assert text == MASKED


def test_llama_cpps_own_completion_route_is_masked_too(gateway, world):
    answer = httpx.post(
        f"{gateway.url}/completion",
        json={"model": "tiny", "prompt": "x", "n_predict": 100, "stream": True, "grammar": says(TOLD)},
        headers=bearer(world.token("alice")),
        timeout=PATIENCE,
    )
    assert answer.status_code == 200, answer.text
    assert FAKE_AWS_KEY not in answer.text
    lines = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(e.get("content", "") for e in lines) == MASKED


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_tells_the_gateways_own_credential(gateway, world, stream):
    client = gateway.openai(world.token("alice"))
    answer = client.chat.completions.create(model="leaky", messages=HELLO, stream=stream)
    text = "".join(stream_text(answer)) if stream else answer.choices[0].message.content
    assert text.startswith("ok [REDACTED:") and text.endswith("] ok"), "the rest of the answer is intact"
    assert world.keys["leaky"] not in text


@pytest.mark.parametrize("model", ["fake-tell-all", "fake-headers", "fake-gzip", "fake-not-json"])
def test_the_credential_does_not_come_back_by_another_way(gateway, world, model):
    answer = ask(gateway, world.token("alice"), model=model)
    seen = world.fake.of(model)[-1]
    assert seen.header("authorization") == [f"Bearer {world.keys['fake']}"], "it did get the credential"
    everything = answer.text + repr(answer.headers.raw)
    assert world.keys["fake"] not in everything


def test_a_decompression_bomb_does_not_fill_the_memory(gateway, world):
    """It may be cut off or streamed on; a hundred megabytes must not be held."""
    before = resident(gateway)
    with httpx.Client(timeout=PATIENCE) as client:
        request = {"json": {"model": "fake-bomb", "messages": HELLO}, "headers": bearer(world.token("alice"))}
        try:
            with client.stream("POST", f"{gateway.url}/v1/chat/completions", **request) as answer:
                for _ in answer.iter_raw():
                    assert resident(gateway) - before < 64 << 20
        except httpx.TransportError:
            pass  # Cut off.


def resident(gateway) -> int:
    """Bytes of memory that the gateway holds now."""
    status = pathlib.Path(f"/proc/{gateway.process.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10


def test_neither_the_record_nor_the_log_has_it(gateway, world):
    answer = ask(gateway, world.token("alice"), stream=True, max_tokens=100, grammar=says(TOLD))
    record = recorded(gateway, answer)
    name = answer.headers["x-request-id"]
    shown = gateway.cli("sessions", "show", name).stdout + gateway.cli("sessions", "show", name, "-o", "json").stdout
    played = gateway.cli("sessions", "replay", name, "--speed", "0").stdout
    raw = gateway.cli("sessions", "replay", name, "--speed", "0", "--raw").stdout
    for text in (shown, played, raw, gateway.process.log_text()):
        assert FAKE_AWS_KEY not in text
    assert record["masks"] == [{"rule": "aws-access-key-id", "count": 1}]
    [place] = record["mask_places"]
    assert place["rule"] == "aws-access-key-id" and place["length"] == len(FAKE_AWS_KEY)
    assert "content" in place["lane"] and place["offset"] == TOLD.index(FAKE_AWS_KEY)
