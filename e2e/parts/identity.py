"""The OpenID Connect provider, and the people who sign in with it."""

import json
import pathlib
import secrets
import signal

import httpx

from .process import NODE, ROOT, Process

AUDIENCE = "https://gateway.example"

# Who there is, and the groups that their tokens carry.
PEOPLE = {
    "alice": ["ml-eng"],
    "bob": ["ml-leads"],
    "carol": ["security"],
    "dave": ["ml-leads", "security"],
    "erin": ["ml-eng"],
    "frank": ["ml-eng", "ml-leads", "security"],
    "olga": ["platform-admins"],
    "mallory": [],
}


class IdentityProvider:
    """A running provider. Nobody's secret outlives it."""

    def __init__(self, folder: pathlib.Path, lab: bool = False, port: int = 0, ttl: int = 900):
        folder.mkdir(parents=True, exist_ok=True)
        self.secrets = {name: secrets.token_urlsafe(24) for name in PEOPLE}
        people = folder / "people.json"
        people.touch(mode=0o600)
        people.write_text(
            json.dumps({name: {"secret": self.secrets[name], "groups": groups} for name, groups in PEOPLE.items()})
        )
        command = [NODE, ROOT / "e2e/idp/idp.mjs", "--people", people, "--audience", AUDIENCE]
        command += ["--port", port, "--ttl", ttl] + (["--token-lab"] if lab else [])
        self.process = Process("idp", command, folder / "idp.log")
        self.issuer = ""

    def start(self) -> "IdentityProvider":
        self.issuer = self.process.start_and_read_ready_line()["issuer"]
        return self

    def stop(self) -> None:
        self.process.stop()

    def token(self, name: str) -> str:
        """Signs a person in; a fresh JWT access token."""
        answer = httpx.post(
            f"{self.issuer}/token",
            data={"grant_type": "client_credentials"},
            auth=(name, self.secrets[name]),
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json()["access_token"]

    def rotate_keys(self) -> None:
        self.process.signal(signal.SIGHUP)

    def lab(self, route: str, **body) -> dict:
        """One of the test routes below /lab/."""
        answer = httpx.post(f"{self.issuer}/lab/{route}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def mint(self, header: dict | None = None, foreign_key: bool = False, **claims) -> str:
        """A token with the provider's own signature (or a stranger's) over any claims."""
        return self.lab("mint", claims=claims, header=header or {}, foreign_key=foreign_key)["token"]
