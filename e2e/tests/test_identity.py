"""Who is calling: a real provider's tokens, and every way for a token to be wrong."""

import base64
import hashlib
import hmac
import json
import time

import httpx
import openai
import pytest

from calls import CHAT, HELLO, ask, bearer, recorded_refusal, refused
from parts.gateway import PATIENCE


def claims(world, **changes) -> dict:
    now = int(time.time())
    base = {
        "iss": world.idp.issuer,
        "sub": "alice",
        "aud": "https://gateway.example",
        "iat": now,
        "exp": now + 600,
        "groups": ["ml-eng"],
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_good_token_passes_so_the_bad_ones_below_are_refused_for_their_fault(gateway, world):
    assert ask(gateway, world.idp.mint(**claims(world))).status_code == 200


def test_no_credential(gateway):
    answer = ask(gateway, None)
    refused(answer, 401, "missing_credentials")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    with pytest.raises(openai.AuthenticationError) as raised:
        gateway.openai("not-a-token").chat.completions.create(model="tiny", messages=HELLO)
    assert raised.value.code == "invalid_token"


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
def test_the_headers_of_other_clients_carry_a_token_too(gateway, world, name):
    assert ask(gateway, None, headers={name: world.token("alice")}).status_code == 200


def test_two_credentials_at_once_are_refused(gateway, world):
    answer = ask(gateway, world.token("alice"), headers={"x-api-key": world.token("erin")})
    refused(answer, 401, "invalid_token")


WRONG = {
    "wrong audience": lambda w: w.idp.mint(**claims(w, aud="https://elsewhere.example")),
    "no audience": lambda w: w.idp.mint(**claims(w, aud=None)),
    "expired": lambda w: w.idp.mint(**claims(w, exp=int(time.time()) - 600)),
    "no expiry": lambda w: w.idp.mint(**claims(w, exp=None)),
    "not yet valid": lambda w: w.idp.mint(**claims(w, nbf=int(time.time()) + 3600)),
    "foreign issuer": lambda w: w.idp.mint(**claims(w, iss="http://127.0.0.1:1")),
    "no subject": lambda w: w.idp.mint(**claims(w, sub=None)),
    "foreign key under a known kid": lambda w: w.idp.mint(foreign_key=True, **claims(w)),
    "unknown kid": lambda w: w.idp.mint(header={"kid": "no-such-key"}, **claims(w)),
    "critical extension": lambda w: forged(w, {"crit": ["exp"]}),
    "signature cut off": lambda w: w.idp.mint(**claims(w)).rsplit(".", 1)[0] + ".",
    "payload changed": lambda w: swap_payload(w),
    "alg none": lambda w: forged(w, {"alg": "none"}, sign=lambda _: b""),
    "hmac with the public key": lambda w: forged(w, {"alg": "HS256"}, sign=lambda text: hmac_of_public_key(w, text)),
    "not base64": lambda _: "ey?.ey?.?",
    "two parts": lambda _: "abc.def",
    "empty parts": lambda _: "..",
    "a kilobyte of dots": lambda _: "." * 1000,
    "deep json": lambda _: f"{b64(b'[' * 5000)}.{b64(b'[' * 5000)}.x",
    "very long": lambda _: "a" * 20_000,
}


def forged(world, header: dict, sign=lambda _: b"x" * 256) -> str:
    kid = httpx.get(f"{world.idp.issuer}/jwks", timeout=PATIENCE).json()["keys"][0]["kid"]
    parts = [{"alg": "RS256", "typ": "at+jwt", "kid": kid, **header}, claims(world)]
    text = ".".join(b64(json.dumps(part).encode()) for part in parts)
    return f"{text}.{b64(sign(text.encode()))}"


def hmac_of_public_key(world, text: bytes) -> bytes:
    modulus = httpx.get(f"{world.idp.issuer}/jwks", timeout=PATIENCE).json()["keys"][0]["n"]
    return hmac.new(modulus.encode(), text, hashlib.sha256).digest()


def swap_payload(world) -> str:
    header, _, signature = world.idp.mint(**claims(world)).split(".")
    return f"{header}.{b64(json.dumps(claims(world, groups=['platform-admins'])).encode())}.{signature}"


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_token_is_refused_and_recorded(gateway, world, fault):
    token = WRONG[fault](world)
    answer = ask(gateway, token)
    refused(answer, 401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    record = json.dumps(recorded_refusal(gateway, answer, "invalid_token"))
    if len(token) > 40:
        assert token not in record and token not in gateway.process.log_text()


def test_the_provider_rotates_its_keys_and_both_tokens_hold(own_gateway, world):
    gateway = own_gateway()
    old = world.idp.token("alice")
    assert ask(gateway, old).status_code == 200
    world.rotate_identity_keys()
    new = world.idp.token("alice")
    assert ask(gateway, new).status_code == 200, "an unknown key is looked up at once, when it is not one of many"
    assert ask(gateway, old).status_code == 200, "the old key is still published"


def test_a_storm_of_unknown_keys_costs_the_provider_next_to_nothing(gateway, world):
    before, started = world.idp.lab("stats")["jwks_fetches"], time.monotonic()
    tokens = [world.idp.mint(header={"kid": f"storm-{n}"}, **claims(world)) for n in range(100)]
    with httpx.Client(timeout=PATIENCE) as client:
        for token in tokens:
            answer = client.post(gateway.url + CHAT, json={"model": "tiny", "messages": HELLO}, headers=bearer(token))
            assert answer.status_code == 401
    fetches = world.idp.lab("stats")["jwks_fetches"] - before
    assert fetches <= 2 + (time.monotonic() - started) / 2, f"{fetches} fetches for 100 unknown keys"

    # And it locks nobody out for long: a key that is new in truth is honoured when the next lookup is due.
    world.rotate_identity_keys()
    gateway.wait_until(
        lambda: ask(gateway, world.token("alice")).status_code == 200, "did not honour the provider's new key"
    )


def test_an_unreachable_provider_means_no_entry(world, own_gateway):
    gateway = own_gateway(lambda text: text + '\n[[issuer]]\nurl = "http://127.0.0.1:9"\naudiences = ["x"]\n', until="health")
    answer = ask(gateway, world.idp.mint(**claims(world, iss="http://127.0.0.1:9", aud="x")))
    refused(answer, 503, "identity_provider_unavailable")


def test_a_callers_credential_never_goes_upstream(gateway, world):
    token = world.token("alice")
    answer = ask(gateway, token, model="fake-answer", headers={"proxy-authorization": "Basic c2VjcmV0"})
    assert answer.status_code == 200
    seen = world.fake.of("fake-answer")[-1]
    assert seen.header("authorization") == [f"Bearer {world.keys['fake']}"]
    assert token not in repr(seen.headers)
    assert seen.header("proxy-authorization") == [] and seen.header("x-api-key") == []
