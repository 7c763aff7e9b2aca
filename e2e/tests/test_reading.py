"""Who reads what was asked is on record, and what is on record holds no credential of a query."""

import json

from calls import CHAT, ask, recorded, refused
from conftest import assert_nowhere

# Named for what they are; only the first three look like it.
IN_QUERY = {
    "api_key": "8f2Kd93hXq7LmZpR4tVw",
    "sig": "2Nf8%2Bq7Lk3xZp9Rt5Vw1YbC4dG6hJ0mQsUeXaToIrE%3D",
    "X-Amz-Signature": "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
    "token": "please-and-thank-you",
    "accessToken": "open-the-door",
    "client%5Fsecret": "mellon-mellon",
    "key": "swordfish-again",
}


def reads(events: list) -> list:
    return [(e["actor"], e["object"], e["outcome"]) for e in events if e["kind"] == "admin-read"]


def test_reading_an_approval_is_on_record(own_gateway, world):
    gateway = own_gateway()
    parked = refused(ask(gateway, world.token("alice"), "tiny-reviewed"), 403, "approval_pending")
    name = parked["approval_id"]
    bob, mallory = world.token("bob"), world.token("mallory")
    gateway.cli("approvals", "show", name, token=bob)
    gateway.cli("approvals", "list", token=bob)
    assert gateway.cli("approvals", "show", name, token=mallory, status=None).returncode != 0
    found = reads(gateway.json("sessions", "events"))
    assert ("bob", name, "show") in found and ("bob", "approvals", "list") in found
    assert not any(actor == "mallory" for actor, *_ in found), "nothing was shown to them"
    assert ("bob", name, "show") in reads(gateway.json("sessions", "show", parked["request_id"])["events"])


def test_no_credential_of_a_query_is_anywhere(own_gateway, world):
    gateway = own_gateway()
    query = "&".join(f"{name}={value}" for name, value in IN_QUERY.items())
    path = f"{CHAT}?page=2&{query}&trace=yes"
    answer = ask(gateway, world.token("alice"), path=path)
    name = recorded(gateway, answer)["id"]
    turned_away = ask(gateway, world.token("mallory"), path=path)
    assert turned_away.status_code == 403
    shown = gateway.json("sessions", "show", name)["path"]
    assert shown.startswith(f"{CHAT}?page=2&") and shown.endswith("&trace=yes")
    assert shown.count("[REDACTED:query-credential]") == len(IN_QUERY), shown
    told = [gateway.cli("sessions", "export", name, "--format", form).stdout for form in ("jsonl", "har", "asciicast", "otel")]
    told += [gateway.cli("sessions", "list").stdout, json.dumps(gateway.json("sessions", "events"))]
    for value in IN_QUERY.values():
        assert not any(value in text for text in told), value
    gateway.stop()
    assert_nowhere(gateway, *IN_QUERY.values())
