"""Starts the real parts once, and gateways in front of them."""

import pathlib
import secrets
import string
import sys

import pytest

E2E = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = str(E2E), str(E2E / "verifier")

from parts.gateway import Gateway  # noqa: E402
from parts.identity import IdentityProvider  # noqa: E402
from parts.model import ModelServer, says  # noqa: E402
from parts.process import free_port  # noqa: E402
from parts.upstreams import FakeUpstream  # noqa: E402

TEMPLATE = string.Template((pathlib.Path(__file__).parent / "gatewayd.toml").read_text())

# Shaped like an AWS access key id, and nobody's.
FAKE_AWS_KEY = "AKIA" + "Z7QF3MXW5T2LKCVB"
# What models are forced to say, and what may come out of the gateway.
TOLD = f"the key is {FAKE_AWS_KEY}, keep it."
MASKED = TOLD.replace(FAKE_AWS_KEY, "[REDACTED:aws-access-key-id]")


UPSTREAMS = ("tiny", "leaky", "telling", "fake")


class World:
    """What stands around every gateway of a test run."""

    def __init__(self, folder: pathlib.Path, idp: IdentityProvider, fake: FakeUpstream):
        self.folder = folder
        self.idp = idp
        self.fake = fake
        self.keys = {name: f"{name}-upstream-key-{secrets.token_urlsafe(24)}" for name in UPSTREAMS}
        self.tiny = ModelServer(folder, self.keys["tiny"])
        self.later_key = f"later-{secrets.token_urlsafe(24)}"
        both = f"{self.keys['leaky']}\n{self.later_key}"
        self.leaky = ModelServer(folder, both, alias="leaky", grammar=says(f"ok {self.keys['leaky']} ok"))
        self.telling = ModelServer(folder, self.keys["telling"], alias="telling", grammar=says(TOLD))
        self.gateways: list[Gateway] = []
        self.retired: list[str] = []
        self._tokens: dict[str, str] = {}

    def token(self, name: str) -> str:
        """Signed in once a run; the tokens hold for the run."""
        if name not in self._tokens:
            self._tokens[name] = self.idp.token(name)
        return self._tokens[name]

    def rotate_identity_keys(self) -> None:
        """After two of these the provider has forgotten the key of an old token, so people sign in anew."""
        self.idp.lab("rotate")
        self.retired += self._tokens.values()
        self._tokens.clear()

    def callers_tokens(self) -> list[str]:
        return [*self.retired, *self._tokens.values()]

    def gateway(self, name: str, change=lambda text: text, under: tuple = (), until: str = "ready") -> Gateway:
        """A gateway of one's own; `change` edits its configuration, `under` is a program that runs it."""
        gateway = Gateway(self.folder / f"gateway-{name}", under=under)
        self.gateways.append(gateway)
        gateway.secrets = gateway.folder / "secrets"
        gateway.secrets.mkdir()
        for key, value in self.keys.items():
            file = gateway.secrets / key
            file.touch(mode=0o600)
            file.write_text(value + "\n")
        gateway.write_config(change(self.config(gateway)))
        return gateway.start(until)

    def config(self, gateway: Gateway) -> str:
        return TEMPLATE.substitute(
            data=gateway.data,
            port=gateway.port,
            admin_port=gateway.admin_port,
            issuer=self.idp.issuer,
            secrets=gateway.secrets,
            tiny=self.tiny.url,
            leaky=self.leaky.url,
            telling=self.telling.url,
            fake=self.fake.url,
            closed_port=free_port(),
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    # However long the run takes, nobody's token runs out in it.
    idp = IdentityProvider(folder, lab=True, ttl=24 * 3600)
    with FakeUpstream() as fake:
        world = World(folder, idp, fake)
        parts = [idp, world.tiny, world.leaky, world.telling]
        try:
            for part in parts:
                part.start()
            yield world
        finally:
            for part in [*world.gateways, *parts]:
                part.stop()


@pytest.fixture(scope="session")
def gateway(world):
    """The gateway that most tests share. What must hold of it at the very end is checked when it stops."""
    gateway = world.gateway("shared")
    yield gateway
    status = gateway.stop()
    log = gateway.process.log_text()
    assert "panicked" not in log, "a panic in the gateway's log"
    assert status == 0, f"gatewayd did not end cleanly: {status}\n{gateway.process.tail()}"
    assert_nowhere(gateway, FAKE_AWS_KEY, *world.keys.values(), *world.callers_tokens())


@pytest.fixture
def own_gateway(world, request):
    """Starts gateways for one test: `own_gateway(change, under=..., until=...)`."""
    started = []

    def start(*how, **options) -> Gateway:
        gateway = world.gateway(f"{request.node.name}-{len(started)}".replace("/", "_"), *how, **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop()
        assert "panicked" not in gateway.process.log_text(), "a panic in the gateway's log"


def assert_nowhere(gateway: Gateway, *needles: str) -> None:
    """None of these is in the gateway's log, its evidence, or any other file that it wrote."""
    for file in [gateway.process.log, *gateway.data.rglob("*")]:
        if file.is_file():
            held = file.read_bytes()
            for needle in needles:
                assert needle.encode() not in held, f"{needle[:6]}... is in {file.name}"
