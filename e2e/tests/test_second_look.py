"""What was true when a request came may not be true any more when people have agreed to it."""

import concurrent.futures

from calls import ask, refused
from parts.gateway import PATIENCE

pool = concurrent.futures.ThreadPoolExecutor(4)


def decided_by_both(gateway, world, name: str) -> None:
    for who in ("bob", "carol"):
        gateway.cli("approvals", "approve", name, token=world.token(who))


def test_a_token_revoked_while_its_request_is_held(own_gateway, world):
    gateway = own_gateway()
    made = gateway.json("token", "create", "--name", "job", "--groups", "ml-eng")
    held = pool.submit(ask, gateway, made["token"], "tiny-restricted")
    waiting = gateway.wait_for_approval()
    gateway.cli("token", "revoke", made["id"])
    decided_by_both(gateway, world, waiting["id"])
    refused(held.result(PATIENCE), 401, "invalid_token")
    [session] = gateway.sessions("--model", "tiny-restricted")
    assert session["status"] == 401


def test_a_policy_changed_while_a_request_is_held(own_gateway, world):
    gateway = own_gateway()
    held = pool.submit(ask, gateway, world.token("alice"), "tiny-restricted")
    waiting = gateway.wait_for_approval()
    before = gateway.json("policy", "explain", "--groups", "ml-eng", "POST", "/v1/chat/completions")
    rule = '[[policy.rule]]\nname = "freeze"\nmodels = ["tiny-restricted"]\neffect = "deny"\n'
    gateway.write_config(gateway.config.read_text() + rule)
    gateway.hang_up()
    gateway.wait_until(lambda: "the new configuration is in force" in gateway.process.log_text(), "did not reload")
    assert before != gateway.json("policy", "explain", "--groups", "ml-eng", "POST", "/v1/chat/completions")
    decided_by_both(gateway, world, waiting["id"])
    answer = held.result(PATIENCE)
    refused(answer, 403, "policy_denied")
    assert "freeze" in answer.text
