"""Running it: tokens for programs, configuration that is right or is not taken, health, metrics, an orderly end."""

import concurrent.futures
import re
import signal
import socket
import time

import httpx
import pytest

from calls import HELLO, ask, recorded, refused, stream_text
from parts.gateway import PATIENCE, Gateway

pool = concurrent.futures.ThreadPoolExecutor(4)


def create_token(gateway, *options) -> str:
    text = gateway.cli("token", "create", "--name", "nightly-job", "--groups", "programs", *options).stdout
    [token] = re.findall(r"\bgwd_[A-Za-z0-9_-]{20,}", text)
    return token


def test_a_program_gets_a_token_uses_it_and_loses_it(own_gateway, world):
    gateway = own_gateway()
    token = create_token(gateway, "--ttl", "1h")
    answer = ask(gateway, token)
    assert answer.status_code == 200
    record = recorded(gateway, answer)
    assert (record["subject"], record["groups"], record["identity_kind"]) == ("nightly-job", ["programs"], "gateway_token")
    listed = gateway.cli("token", "list").stdout
    assert "nightly-job" in listed and token not in listed
    [entry] = gateway.json("token", "list")
    assert token not in str(entry)
    for file in gateway.data.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes(), f"{file} holds the token"
    gateway.cli("token", "revoke", entry["id"])
    refused(ask(gateway, token), 401, "invalid_token")


def test_a_tokens_time_runs_out(own_gateway):
    gateway = own_gateway()
    token = create_token(gateway, "--ttl", "10s")
    assert ask(gateway, token).status_code == 200
    time.sleep(11)
    refused(ask(gateway, token), 401, "invalid_token")


def test_only_administrators_make_tokens(gateway, world):
    for who in ("alice", "bob", "mallory"):
        done = gateway.cli("token", "create", "--name", "x", "--groups", "ml-eng", token=world.token(who), status=None)
        assert done.returncode != 0 and "gwd_" not in done.stdout
    done = gateway.cli("token", "create", "--name", "x", "--groups", "programs", token=world.token("olga"))
    assert "gwd_" in done.stdout


def test_a_reload_changes_the_policy_without_a_restart(own_gateway, world):
    gateway = own_gateway()
    refused(ask(gateway, world.token("alice"), "tiny-secret"), 403, "policy_denied")
    text = gateway.config.read_text()
    gateway.write_config(text.replace('models = ["tiny-secret"]', 'models = ["tiny-very-secret"]'))
    gateway.hang_up()
    gateway.wait_until(
        lambda: ask(gateway, world.token("alice"), "tiny-secret").status_code == 200, "did not take the new policy"
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_comes_as_soon_as_it_listens_does_not_end_it_on_the_spot(own_gateway, number):
    gateway = own_gateway()
    for _ in range(3):
        gateway.stop()
        gateway.process.start()
        while gateway.process.running and not listens(gateway.port):
            pass
        gateway.process.signal(number)
        if number == signal.SIGTERM:
            assert gateway.process.child.wait(PATIENCE) == 0
        else:
            gateway.wait_until(lambda: gateway.says_ok("readyz"), "did not get ready")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    "breakage",
    [
        lambda text: text + "\n[nonsense]\nx = 1\n",
        lambda text: text.replace('effect = "deny"', 'effect = "perhaps"'),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("$", "").replace('credential = "tiny-key"', 'credential = "no-such-key"'),
    ],
    ids=["unknown table", "bad value", "cut in half", "dangling name"],
)
def test_a_reload_that_is_half_broken_changes_nothing(own_gateway, world, breakage):
    gateway = own_gateway()
    before = gateway.config.read_text()
    loosened = before.replace('models = ["tiny-secret"]', 'models = ["tiny-very-secret"]')
    gateway.write_config(breakage(loosened))
    gateway.hang_up()
    said = "the new configuration is not usable"
    gateway.wait_until(lambda: said in gateway.process.log_text(), "did not look at the new configuration")
    refused(ask(gateway, world.token("alice"), "tiny-secret"), 403, "policy_denied")
    assert ask(gateway, world.token("alice")).status_code == 200
    assert "gatewayd.toml" in gateway.process.log_text(), "the log says what is wrong, and where"
    gateway.write_config(before)
    events = gateway.json("sessions", "events")
    refusal = next(event for event in events if event["kind"] == "configuration-refused")
    assert refusal["object"] == "gatewayd.toml" and "gatewayd.toml:" in refusal["outcome"], "and so does the evidence"


@pytest.mark.parametrize(
    "breakage,words",
    [
        (lambda t: t.replace("[recorder]", "[recoder]"), ["recoder"]),
        (lambda t: t.replace('durability = "disk"', 'durability = "disc"'), ["durability", "disk"]),
        (lambda t: t.replace('credential = "leaky-key"', 'credential = "leeky-key"'), ["leeky-key"]),
        (lambda t: t.replace('approval = "one-lead"', 'approval = "nobody"'), ["nobody"]),
        (lambda t: t.replace('file = "', 'value = "sk-very-secret-value" # "', 1), ["value"]),
        (lambda t: t.replace("[[issuer]]", "[[issuer"), []),
    ],
    ids=["unknown table", "bad value", "dangling credential", "dangling approval", "inline secret", "not toml"],
)
def test_check_names_file_line_key_and_remedy(gateway, tmp_path, breakage, words):
    other = Gateway(tmp_path)
    other.write_config(breakage(gateway.config.read_text()))
    done = other.cli("check", status=None)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search(r"gatewayd\.toml:\d+", said), said
    for word in words:
        assert word in said, said
    assert "sk-very-secret-value" not in said


def test_check_accepts_the_good_one(gateway):
    gateway.cli("check")


def test_health_readiness_and_metrics(gateway, world):
    ask(gateway, world.token("alice"))
    refused(ask(gateway, world.token("mallory")), 403, "policy_denied")
    assert httpx.get(f"{gateway.admin_url}/healthz", timeout=PATIENCE).status_code == 200
    assert httpx.get(f"{gateway.admin_url}/readyz", timeout=PATIENCE).status_code == 200
    metrics = httpx.get(f"{gateway.admin_url}/metrics", timeout=PATIENCE).text
    assert "# TYPE" in metrics and "gatewayd_" in metrics
    assert "alice" not in metrics, "people are no label"


def test_an_orderly_end_lets_streams_finish(own_gateway, world):
    gateway = own_gateway()
    before = len(world.fake.of("fake-slow"))

    def stream():
        client = gateway.openai(world.token("alice"))
        return "".join(stream_text(client.chat.completions.create(model="fake-slow", messages=HELLO, stream=True)))

    with world.fake.slowly(20, 0.1):
        flowing = pool.submit(stream)
        world.fake.wait_for("fake-slow", before + 1, PATIENCE)
        assert gateway.stop() == 0
        assert flowing.result(PATIENCE).endswith("word19 ")


def test_help_is_worth_reading():
    gateway = Gateway.__new__(Gateway)
    gateway.config = "none.toml"
    text = gateway.cli("--help").stdout
    for command in ("serve", "check", "policy", "approvals", "sessions", "token", "mask", "rules"):
        assert command in text
    for command in ("policy explain", "approvals approve", "sessions replay", "token create"):
        assert len(gateway.cli(*command.split(), "--help").stdout) > 200


def test_mask_is_a_filter(gateway):
    from conftest import FAKE_AWS_KEY

    done = gateway.cli("mask", stdin=f"key={FAKE_AWS_KEY} end\n", status=None)
    assert done.stdout == "key=[REDACTED:aws-access-key-id] end\n"
