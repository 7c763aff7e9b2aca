"""The local administrator's key opens everything: it goes to the gateway, and to nobody who took its place."""

import os
import socket
import subprocess
import sys

import pytest

NOBODY = 65534
LISTENER = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
connection, _ = listener.accept()
print(connection.recv(65536).decode(), flush=True)
connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n[]")
"""


def listen(port: int, user: int) -> subprocess.Popen:
    command = [sys.executable, "-c", LISTENER, str(port), str(user)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of somebody else")
def test_the_key_is_not_shown_to_somebody_who_took_the_port(own_gateway):
    gateway = own_gateway()
    gateway.stop()
    stranger = listen(gateway.admin_port, NOBODY)
    try:
        refusal = gateway.cli("sessions", "list", status=None)
        assert refusal.returncode != 0 and "another user" in refusal.stderr and "remedy" in refusal.stderr, refusal
    finally:
        stranger.kill()
    heard = stranger.communicate()[0].strip()
    assert heard == "", "the stranger was told something"


def test_the_key_goes_to_the_address_in_the_configuration_only(own_gateway):
    gateway = own_gateway()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        refusal = gateway.cli("sessions", "list", "--admin", address, status=None)
        assert refusal.returncode != 0 and "GATEWAYD_TOKEN" in refusal.stderr, refusal
        elsewhere.settimeout(0.2)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
    assert gateway.cli("sessions", "list").returncode == 0
