"""Plays gatewayd's story with real parts and says, step by step, what happens.

Run it with `make demo`. With --oneshot it ends by itself, with exit status 0 only if every step showed what it must.
"""

import argparse
import concurrent.futures
import os
import pathlib
import secrets
import shutil
import signal
import string
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "e2e"))

import openai  # noqa: E402

from parts.gateway import Gateway  # noqa: E402
from parts.identity import PEOPLE, IdentityProvider  # noqa: E402
from parts.model import SMOLLM2, ModelServer, says  # noqa: E402
from parts.process import PartFailed, free_port  # noqa: E402
from terminal import bold, chapter, command, dim, line, mark, out, stream  # noqa: E402

RUN = ROOT / ".demo"
MODEL = "smollm2"
# Shaped like an AWS access key id, and nobody's.
LEAKED = "AKIA" + "Q3R7TZ5MWN2XJ6VB"
LEAK = f"Sure! Set AWS_ACCESS_KEY_ID={LEAKED} and you can read the bucket."


def port(wanted: int) -> int:
    """The port people expect, or another one if something listens there already."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
            return wanted
        except OSError:
            return free_port()


class Story:
    """The parts, the people, and whether everything was shown so far."""

    def __init__(self):
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(mode=0o700)
        self.failures: list[str] = []
        self.keys = [f"llama-{secrets.token_urlsafe(24)}" for _ in range(2)]
        self.idp = IdentityProvider(RUN / "idp", port=port(9100), ttl=8 * 3600)
        self.model = ModelServer(RUN / "model", "\n".join(self.keys), model=SMOLLM2, alias=MODEL, port=port(9200))
        self.gateway = Gateway(RUN, port=port(8080), admin_port=port(8081))
        self.secret_file = RUN / "secrets" / "llama-key"
        self.pool = concurrent.futures.ThreadPoolExecutor(4)
        self.tokens: dict[str, str] = {}

    # ---- setting and ending the scene ----

    def set_scene(self) -> None:
        out(bold("gatewayd: who may ask a model what, and the proof of it"))
        self.idp.start()
        (RUN / "issuer").write_text(self.idp.issuer)
        self.model.start()
        self.secret_file.parent.mkdir(mode=0o700)
        self.write_secret(self.keys[0])
        template = string.Template((ROOT / "demo/gatewayd.toml").read_text())
        self.gateway.write_config(
            template.substitute(
                data=self.gateway.data,
                port=self.gateway.port,
                admin_port=self.gateway.admin_port,
                issuer=self.idp.issuer,
                model=self.model.url,
                secrets=self.secret_file.parent,
            )
        )
        self.gateway.start()
        line("OpenID provider", f"{self.idp.issuer} (oidc-provider)")
        line("model server", f"{self.model.url} (llama.cpp with SmolLM2-135M; answers only to its own key)")
        line("gateway", f"{self.gateway.url}/v1, administration at {self.gateway.admin_url}")
        line("people", ", ".join(f"{name} ({' '.join(groups) or 'no group'})" for name, groups in PEOPLE.items()
                                 if name in ("alice", "bob", "carol", "mallory")))
        self.tokens = {name: self.idp.token(name) for name in PEOPLE}

    def end(self) -> None:
        for part in (self.gateway, self.model, self.idp):
            part.stop()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def write_secret(self, value: str) -> None:
        fresh = self.secret_file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(value)
        os.replace(fresh, self.secret_file)

    # ---- tools of the trade ----

    def shown(self, good: bool, what: str) -> None:
        mark(good, what)
        if not good:
            self.failures.append(what)

    def client(self, who: str) -> openai.OpenAI:
        return self.gateway.openai(self.tokens[who])

    def chat(self, who: str, question: str, model: str = MODEL, **options):
        options.setdefault("max_tokens", 60)
        messages = [{"role": "user", "content": question}]
        return self.client(who).chat.completions.create(model=model, messages=messages, temperature=0, **options)

    def run(self, words: str, who: str | None = None, limit: int = 16) -> str:
        """A command line as a person would type it."""
        done = self.gateway.cli(*words.split()[1:], token=self.tokens[who] if who else None, status=None)
        command((f"[{who}] " if who else "") + words, done.stdout + done.stderr, limit)
        if done.returncode != 0:
            self.shown(False, f"`{words}` succeeds")
        return done.stdout

    def refusal(self, kind: type, code: str, ask) -> openai.APIStatusError | None:
        """Runs what must be refused, and shows how the official client reports it."""
        try:
            ask()
        except openai.APIStatusError as error:
            line("caller saw", f"{type(error).__name__} {error.status_code}: {error.body.get('message')}")
            self.shown(isinstance(error, kind) and error.code == code, f"refused with {kind.__name__}, code {code}")
            return error
        self.shown(False, f"refused with {code}")
        return None

    def decided(self, name: str) -> None:
        """What the record of a request says was decided, and with whose secret it went on."""
        record = self.gateway.finished_session(name)
        line("decided", f"{record['effect']}, by the rule {record['rule']}")
        line("sent with", f"{record['credential']}, version {record['credential_version']}")

    # ---- the chapters ----

    def who_is_calling(self) -> None:
        chapter(1, "Nobody gets in without a name")
        line("who", "someone with a made-up key")
        stranger = self.gateway.openai("sk-i-made-this-up")
        self.refusal(openai.AuthenticationError, "invalid_token", lambda: stranger.models.list())

    def a_question(self) -> None:
        chapter(2, "Alice asks, the model answers")
        question = "In one sentence: why is the sky blue?"
        line("who", "alice, signed in by the provider, in ml-eng")
        line("asked", question)
        answer = self.chat("alice", question, stream=True)
        name = answer.response.headers["x-request-id"]
        text = stream("caller saw", (c.choices[0].delta.content or "" for c in answer if c.choices))
        self.shown(len(text) > 10, "the answer of the real model, streamed")
        self.decided(name)
        shown = self.run(f"gatewayd sessions show {name}", limit=40)
        self.shown("engineers-may-chat" in shown, "the record names the rule that decided")
        self.shown("llama-key" in shown and self.keys[0] not in shown, "and the credential's version, never the credential")

    def may_they(self) -> None:
        chapter(3, "Policy says no, and which rule says it")
        line("who", "mallory, signed in, in no group")
        self.refusal(openai.PermissionDeniedError, "policy_denied", lambda: self.chat("mallory", "hello"))
        line("who", "alice, at a model that is off limits")
        error = self.refusal(
            openai.PermissionDeniedError, "policy_denied", lambda: self.chat("alice", "hello", model="llama-payroll")
        )
        self.shown(bool(error) and error.body.get("rule") == "payroll-model-is-off-limits", "the refusal names the rule")
        text = self.run("gatewayd policy explain --groups ml-eng POST /v1/fine_tuning/jobs")
        self.shown("training-needs-two-people" in text, "what would happen can be asked beforehand")

    def must_a_person_agree(self) -> None:
        chapter(4, "Two people must agree to exactly this request")
        question = "Say hello to our customers."
        line("who", "alice")
        line("asked", f"the model {MODEL}-customers: {question}")
        held = self.pool.submit(self.chat, "alice", question, f"{MODEL}-customers", max_tokens=30,
                                extra_headers={"x-approval-reason": "spring newsletter"})
        waiting = self.gateway.wait_for_approval()["id"]
        self.shown(not held.done(), "her connection waits, the model has not seen the request")
        self.run("gatewayd approvals list")
        shown = self.run(f"gatewayd approvals show {waiting}", "bob", limit=40)
        self.shown(question in shown and "spring newsletter" in shown, "bob sees what he agrees to")
        self.run(f"gatewayd approvals approve {waiting}", "bob")
        time.sleep(0.5)
        self.shown(not held.done(), "one of two is not enough")
        self.run(f"gatewayd approvals approve {waiting}", "carol")
        answer = held.result(60).choices[0].message.content
        line("caller saw", answer)
        self.shown(bool(answer), "now it passes, on the same connection")
        self.decided(self.gateway.sessions("--model", f"{MODEL}-customers")[0]["id"])
        self.a_changed_request(waiting)

    def a_changed_request(self, approved: str) -> None:
        line("asked", "the same again with one word changed")
        again = self.pool.submit(self.chat, "alice", "Say goodbye to our customers.", f"{MODEL}-customers")
        other = self.gateway.wait_for_approval()["id"]
        self.shown(other != approved, "that is another request: it waits for its own approval")
        self.run(f"gatewayd approvals deny {other}", "carol")
        self.refusal(openai.PermissionDeniedError, "approval_denied", lambda: again.result(30))

    def what_may_come_back(self) -> None:
        chapter(5, "The model tells a secret, the caller never gets it")
        options = {"stream": True, "extra_body": {"grammar": says(LEAK)}}
        straight = openai.OpenAI(base_url=f"{self.model.url}/v1", api_key=self.keys[0], max_retries=0)
        question = [{"role": "user", "content": "How do I read the bucket?"}]
        told = straight.chat.completions.create(model=MODEL, messages=question, **options)
        said = stream("model says", (c.choices[0].delta.content or "" for c in told if c.choices))
        answer = self.chat("alice", "How do I read the bucket?", **options)
        name = answer.response.headers["x-request-id"]
        chunks = list(answer)
        saw = stream("caller saw", (c.choices[0].delta.content or "" for c in chunks if c.choices))
        self.shown(said == LEAK, "the model (forced by a grammar) tells a key, cut into tokens")
        self.shown(saw == LEAK.replace(LEAKED, "[REDACTED:aws-access-key-id]"), "masked while it streams, the rest untouched")
        self.shown(not any(LEAKED[4:10] in c.model_dump_json() for c in chunks), "no event holds a part of it")
        self.decided(name)
        masks = self.gateway.finished_session(name)["masks"]
        line("recorded", ", ".join(f"{mask['count']} x {mask['rule']} masked" for mask in masks))
        self.shown([mask["rule"] for mask in masks] == ["aws-access-key-id"], "the record says which rule struck, not the key")

    def with_whose_secret(self) -> None:
        chapter(6, "The upstream's key changes, and nobody notices")
        before = self.chat("alice", "Say one.", max_tokens=4)._request_id
        self.write_secret(self.keys[1])
        line("rotated", "the key's file was replaced; no restart, no reload")
        time.sleep(2)
        after = self.chat("alice", "Say two.", max_tokens=4)._request_id
        versions = [self.gateway.finished_session(name)["credential_version"] for name in (before, after)]
        for label, version in zip(("first request", "second request"), versions):
            line(label, f"llama-key, version {version}")
        self.shown(bool(versions[0]) and versions[0] != versions[1], "two requests, two versions of the key, both answered")

    def what_happened(self) -> None:
        chapter(7, "Everything is on record, and can be proven")
        listed = self.run("gatewayd sessions list", limit=30)
        self.shown(all(name in listed for name in ("alice", "mallory")), "each request above, refusals included")
        newest = self.gateway.sessions("--masked", "aws-access-key-id")[0]["id"]
        played = self.run(f"gatewayd sessions replay {newest}")
        self.shown("[REDACTED:aws-access-key-id]" in played and LEAKED not in played, "played back as the caller saw it")
        self.run(f"gatewayd sessions verify {(self.gateway.data / 'evidence').relative_to(ROOT)}")
        log = self.gateway.process.log_text()
        silent = not any(secret in log for secret in (LEAKED, *self.keys, *self.tokens.values()))
        self.shown(silent and "panicked" not in log, "the gateway's log holds no key and no token")

    def chapters(self):
        return [
            self.who_is_calling,
            self.a_question,
            self.may_they,
            self.must_a_person_agree,
            self.what_may_come_back,
            self.with_whose_secret,
            self.what_happened,
        ]

    def stay(self) -> None:
        """Leaves everything running, and says what to try."""
        relative = self.gateway.config.relative_to(ROOT)
        program = os.path.relpath(self.gateway.process.command[0], ROOT)
        out()
        out(bold("Everything is still running. In another terminal, in this folder:"))
        out(f"""
   export GATEWAYD_CONFIG={relative}
   export OPENAI_BASE_URL={self.gateway.url}/v1 OPENAI_API_KEY=$(demo/sign-in alice)

   curl $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" \\
        -d '{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello"}}],"stream":true}}'

   {program} sessions list
   {program} approvals list
   GATEWAYD_TOKEN=$(demo/sign-in bob) {program} approvals approve ID
   {program} token create --name my-job --groups ml-eng --ttl 1h

   health and metrics   {self.gateway.admin_url}/healthz  {self.gateway.admin_url}/metrics
   configuration        {relative}  (change it, it is read again at once)
   log                  {self.gateway.process.log.relative_to(ROOT)}
""")
        out(dim("   Ctrl-C ends it."))
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        out()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--oneshot", action="store_true")
    options = arguments.parse_args()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    try:
        story.set_scene()
        for tell in story.chapters():
            tell()
        out()
        if story.failures:
            out(bold(f"{len(story.failures)} things were not shown:"))
            for what in story.failures:
                out(f"   {what}")
        else:
            out(bold(f"Everything was shown, in {time.monotonic() - started:.0f} s."))
        if not options.oneshot:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            story.stay()
    except PartFailed as failure:
        out(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        out()
        return 130
    finally:
        story.end()
    return 1 if story.failures else 0


if __name__ == "__main__":
    sys.exit(main())
