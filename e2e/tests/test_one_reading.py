"""What is judged is what is executed: no content type, query or form makes an upstream read another request."""

import codecs
import concurrent.futures
import contextlib
import email.message
import http.server
import json
import threading
import urllib.parse

import httpx
import pytest

from calls import HELLO, bearer, recorded, refused
from parts.gateway import PATIENCE

pool = concurrent.futures.ThreadPoolExecutor(2)

EMBED = "/v1/embeddings"
# Three requests in one: JSON for `reader`, a form for `payroll`, and UTF-7 for `payroll`.
AS_FORM = '{"model":"reader","input":"&model=payroll&input=hello&z="}'
AS_UTF7 = '{"model":"reader","input":"+ACIALAAi-model+ACIAOgAi-payroll"}'


class Obliging(http.server.BaseHTTPRequestHandler):
    """An upstream that reads a request as some servers do: by its query, its content type and its charset."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        kind = email.message.Message()
        kind["content-type"] = self.headers.get("content-type", "")
        charset = kind.get_param("charset", "utf-8")
        with contextlib.suppress(ValueError):
            body = json.dumps(self.read(kind, codecs.decode(body, charset))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read(self, kind, text: str) -> dict:
        content_type = kind.get_content_type()
        fields = dict(urllib.parse.parse_qsl(text)) if "urlencoded" in content_type else {}
        if "json" in content_type:
            fields = json.loads(text)
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        return {"executed": {**fields, **query}, "content_type": self.headers.get("content-type"), "text": text}

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def obliging():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Obliging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(world, obliging):
    """With the obliging upstream for `reader` and `payroll`, of which nobody may ask for `payroll`."""
    more = f"""
[[upstream]]
name = "obliging"
url = "{obliging}"
models = ["reader", "payroll", "mine-*"]
credential = "fake-key"

[[policy.rule]]
name = "nobody-touches-payroll"
models = ["*payroll*"]
effect = "deny"

[[policy.rule]]
name = "own-models"
groups = ["ml-eng"]
actions = ["manage-model"]
models = ["mine-*", "reader"]
effect = "allow"
"""
    gateway = world.gateway("one-reading", lambda text: text + more)
    yield gateway
    gateway.stop()
    assert "panicked" not in gateway.process.log_text(), "a panic in the gateway's log"


def send(gateway, world, path: str, body: str, content_type: str | None = None) -> httpx.Response:
    headers = bearer(world.token("alice"))
    if content_type:
        headers["content-type"] = content_type
    return httpx.post(gateway.url + path, content=body.encode(), headers=headers, timeout=PATIENCE)


def test_the_upstream_would_be_fooled(obliging):
    """If this fails, the other tests show nothing."""
    for body, content_type in ((AS_FORM, "application/x-www-form-urlencoded"), (AS_UTF7, "application/json; charset=utf-7")):
        answer = httpx.post(obliging + EMBED, content=body, headers={"content-type": content_type}, timeout=PATIENCE)
        assert answer.json()["executed"]["model"] == "payroll"
    answer = httpx.post(f"{obliging}{EMBED}?model=payroll", json={"model": "reader"}, timeout=PATIENCE)
    assert answer.json()["executed"]["model"] == "payroll"


@pytest.mark.parametrize("body", [AS_FORM, AS_UTF7], ids=["form", "utf-7"])
def test_no_content_type_makes_another_request_of_it(gateway, world, body):
    for content_type in (
        None,
        "application/json",
        "application/json; charset=utf-7",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-7",
        "text/plain",
        "multipart/form-data; boundary=x",
    ):
        answer = send(gateway, world, EMBED, body, content_type)
        assert answer.status_code == 200, answer.text
        seen = answer.json()
        assert (seen["content_type"], seen["executed"]["model"]) == ("application/json", "reader"), content_type
        assert seen["text"] == body
        record = recorded(gateway, answer)
        assert record["model"] == "reader"


def test_curl_without_a_content_type_works(gateway, world):
    """`curl -d` says that everything is a form, and Ollama's own examples leave it at that."""
    body = json.dumps({"model": "reader", "messages": HELLO, "stream": False})
    answer = send(gateway, world, "/api/chat", body, "application/x-www-form-urlencoded")
    assert answer.json()["executed"]["model"] == "reader"
    answer = send(gateway, world, EMBED, "model=payroll&input=hello", "application/x-www-form-urlencoded")
    assert "JSON" in refused(answer, 400, "invalid_request")["message"]


def test_the_query_has_no_say(gateway, world):
    body = '{"model":"reader","input":"x"}'
    for query in ("model=payroll", "m%6fdel=payroll", "Model=payroll", "model[]=payroll", "a=1&model=payroll", "stream=true"):
        error = refused(send(gateway, world, f"{EMBED}?{query}", body, "application/json"), 400, "invalid_request")
        assert "query" in error["message"], error
    assert send(gateway, world, f"{EMBED}?model=reader&api-version=1", body, "application/json").status_code == 200


def test_what_people_approve_is_what_runs(gateway, world):
    body = '{"model":"reader","training_file":"file-safe","metadata":"&model=payroll&training_file=file-evil&z="}'
    held = pool.submit(send, gateway, world, "/v1/fine_tuning/jobs", body, "application/x-www-form-urlencoded")
    waiting = gateway.wait_for_approval()
    shown = gateway.json("approvals", "show", waiting["id"], token=world.token("bob"))
    assert '"application/json"' in json.dumps(shown) and "urlencoded" not in json.dumps(shown), shown
    for who in ("bob", "carol"):
        gateway.cli("approvals", "approve", waiting["id"], "-m", "fine", token=world.token(who))
    executed = held.result(PATIENCE).json()["executed"]
    assert (executed["model"], executed["training_file"]) == ("reader", "file-safe")


def test_the_parts_of_a_form_are_read_one_way(gateway, world):
    def form(*parts: str) -> str:
        return "".join(f"--x\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--x--\r\n"

    file = 'name="file"; filename="a.wav"\r\n\r\nRIFF'
    path, kind = "/v1/audio/transcriptions", "multipart/form-data; boundary=x"
    good = form('name="model"\r\n\r\nreader', file)
    answer = send(gateway, world, path, good, f"{kind}; charset=utf-7")
    assert (answer.json()["content_type"], answer.json()["text"]) == (kind, good)
    for parts in (
        ('name="model"\r\n\r\nreader', file, 'name="model"\r\n\r\npayroll'),
        ('name="model"\r\n\r\nreader', 'name="Model"\r\n\r\npayroll'),
        ('name="model"\r\n\r\nreader', 'name="model[]"\r\n\r\npayroll'),
        ('name="_charset_"\r\n\r\nutf-7', 'name="model"\r\n\r\n+AHA-ayroll'),
        ('name="model"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+AHA-ayroll',),
        ('name="x"\r\nContent-Length: 999\r\n\r\ny', 'name="model"\r\n\r\nreader'),
    ):
        refused(send(gateway, world, path, form(*parts), kind), 400, "invalid_request")
    refused(send(gateway, world, path, form('name="model"\r\n\r\npayroll', file), kind), 403, "policy_denied")


@pytest.mark.parametrize(
    "path,body,status",
    [
        ("/api/create", {"model": "mine-x", "from": "reader"}, 200),
        ("/api/create", {"model": "mine-x", "from": "payroll"}, 403),
        ("/api/create", {"model": "mine-x", "from": "elsewhere"}, 403),
        ("/api/create", {"model": "mine-x", "modelfile": "FROM payroll"}, 400),
        ("/api/copy", {"source": "mine-x", "destination": "mine-y"}, 200),
        ("/api/copy", {"source": "mine-x", "destination": "payroll"}, 403),
        ("/api/copy", {"source": "mine-x", "destination": "x://registry.ollama.ai/library/payroll:latest"}, 403),
        ("/v1/chat/completions", {"model": "reader", "messages": [], "fallbacks": ["payroll"]}, 403),
    ],
)
def test_every_model_that_is_named_must_be_allowed(gateway, world, path, body, status):
    answer = send(gateway, world, path, json.dumps(body), "application/json")
    assert answer.status_code == status, answer.text
