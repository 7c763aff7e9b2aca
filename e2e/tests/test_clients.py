"""The official clients talk to a real model through the gateway and notice nothing."""

import subprocess

import pytest

from calls import HELLO, stream_text
from parts.gateway import PATIENCE
from parts.model import says
from parts.process import NODE, ROOT

SENTENCE = "The quick brown fox jumps over the lazy dog - again, and again."


def test_python_client_gets_a_whole_answer(gateway, world):
    client = gateway.openai(world.token("alice"))
    answer = client.chat.completions.create(model="tiny", messages=HELLO, extra_body={"grammar": says(SENTENCE)})
    assert answer.choices[0].message.content == SENTENCE
    assert answer.usage.completion_tokens > 0


def test_python_client_streams_in_many_events(gateway, world):
    client = gateway.openai(world.token("alice"))
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, stream=True, extra_body={"grammar": says(SENTENCE)}
    )
    deltas = stream_text(stream)
    assert "".join(deltas) == SENTENCE
    assert len(deltas) > len(SENTENCE) * 0.6, f"clean text must leave as it comes, not in lumps: {deltas}"


def test_python_client_lists_models_and_completes_text(gateway, world):
    client = gateway.openai(world.token("alice"))
    assert [model.id for model in client.models.list()]
    answer = client.completions.create(model="tiny", prompt="x", max_tokens=8, extra_body={"grammar": says("done")})
    assert answer.choices[0].text == "done"


@pytest.mark.parametrize("stream", ["whole", "stream"])
def test_node_client(gateway, world, stream):
    done = subprocess.run(
        [NODE, ROOT / "e2e/clients/chat.mjs", f"{gateway.url}/v1", stream, says(SENTENCE)],
        env={"OPENAI_API_KEY": world.token("alice"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == SENTENCE, done.stderr


def test_the_answer_is_the_models_own_and_the_question_reached_it(gateway, world):
    client = gateway.openai(world.token("alice"))
    answer = client.chat.completions.create(model="fake-answer", messages=[{"role": "user", "content": "ünïcödé \u2028"}])
    assert answer.choices[0].message.content == "fine"
    seen = world.fake.of("fake-answer")[-1]
    assert "ünïcödé".encode() in seen.body or b"\\u00fcn" in seen.body
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
