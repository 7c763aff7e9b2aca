"""Model servers that misbehave: a small HTTP server on raw sockets that breaks the protocol on purpose.

The model that a request names chooses the behaviour: `fake-hang`, `fake-reset` ... Every request is kept, so that a
test can see what arrived upstream.
"""

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Seen:
    """A request as it arrived upstream."""

    line: str
    headers: list
    body: bytes
    model: str
    closed: threading.Event = field(default_factory=threading.Event)

    def header(self, name: str) -> list:
        return [value for key, value in self.headers if key.lower() == name]


def event(content: str) -> bytes:
    """One chat delta as a server-sent event."""
    chunk = {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


def completion(content: str) -> bytes:
    return json.dumps({
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }).encode()


def head(status: str, media: str, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {media}", *more, "", ""]).encode()


def whole(status: str, media: str, body: bytes, *more: str) -> bytes:
    return head(status, media, f"Content-Length: {len(body)}", *more) + body


SSE = "text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class FakeUpstream:
    """Runs in a thread of its own; `with FakeUpstream() as fake: fake.url ... fake.seen`."""

    def __init__(self, port: int = 0):
        self.seen: list[Seen] = []
        self.port = port
        self.events, self.pause = 50, 0.1
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeUpstream":
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(self, *_) -> None:
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, model: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.model == model]

    @contextlib.contextmanager
    def slowly(self, events: int, pause: float):
        """While this holds, a slow stream is of so many events, with such a pause after each."""
        before, self.events, self.pause = (self.events, self.pause), events, pause
        try:
            yield
        finally:
            self.events, self.pause = before

    def wait_for(self, model: str, count: int, seconds: float) -> None:
        """Waits until so many requests for the model have arrived."""
        deadline = time.monotonic() + seconds
        while len(self.of(model)) < count:
            assert time.monotonic() < deadline, f"{len(self.of(model))} of {count} requests for {model} came"
            time.sleep(0.02)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer) -> None:
        try:
            while True:
                seen = await self._read(reader)
                self.seen.append(seen)
                known = seen.model.startswith("fake-")
                behave = getattr(self, seen.model.replace("-", "_"), None) if known else None
                behave = behave or self.fake_answer
                try:
                    keep = await behave(seen, writer)
                finally:
                    seen.closed.set()
                if not keep:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader) -> Seen:
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = raw.split("\r\n")[:-2]
        headers = [tuple(f.split(": ", 1)) for f in fields]
        lower = {key.lower(): value for key, value in headers}
        body = b""
        if "content-length" in lower:
            body = await reader.readexactly(int(lower["content-length"]))
        elif "transfer-encoding" in lower:
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        try:
            model = json.loads(body).get("model", "")
        except (ValueError, AttributeError):
            model = ""
        return Seen(line, headers, body, model)

    # ---- behaviours: each returns True to keep the connection ----

    async def fake_answer(self, seen, writer) -> bool:
        """A good answer."""
        writer.write(whole("200 OK", "application/json", completion("fine")))
        await writer.drain()
        return True

    async def fake_slow(self, seen, writer) -> bool:
        """A good stream of `events` events, one each `pause`."""
        events, pause = self.events, self.pause
        writer.write(head("200 OK", SSE, CHUNKED))
        for number in range(events):
            writer.write(chunk(event(f"word{number} ")))
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()
        return True

    async def fake_nonsense(self, seen, writer) -> bool:
        """Another protocol, with a secret in it."""
        writer.write(b"SSH-2.0-OpenSSH_9.2 " + seen.header("authorization")[0].encode() + b"\r\n\r\n")
        await writer.drain()
        return False

    async def fake_hang(self, seen, writer) -> bool:
        """Reads, and never answers."""
        await asyncio.sleep(30)
        return False

    async def fake_stall(self, seen, writer) -> bool:
        """Two events, then silence."""
        writer.write(head("200 OK", SSE, CHUNKED) + chunk(event("one ")) + chunk(event("two ")))
        await writer.drain()
        await asyncio.sleep(30)
        return False

    async def fake_reset(self, seen, writer) -> bool:
        """Two events, then the connection is torn down."""
        writer.write(head("200 OK", SSE, CHUNKED) + chunk(event("one ")) + chunk(event("two ")))
        await writer.drain()
        await asyncio.sleep(0.2)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        return False

    async def fake_refuse(self, seen, writer) -> bool:
        """Closes without a word."""
        return False

    async def fake_short(self, seen, writer) -> bool:
        """Promises more than it sends."""
        writer.write(head("200 OK", "application/json", "Content-Length: 1000") + b'{"id": "chatcmpl')
        await writer.drain()
        return False

    async def fake_bad_chunk(self, seen, writer) -> bool:
        """A chunk size that is none, in mid-stream."""
        writer.write(head("200 OK", SSE, CHUNKED) + chunk(event("one ")) + b"zz\r\nnot a chunk\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)
        return False

    async def fake_not_json(self, seen, writer) -> bool:
        """Says JSON, is none, and holds the credential that it got."""
        body = b'{"choices": [{"message": {"content": "' + seen.header("authorization")[0].encode()
        writer.write(whole("200 OK", "application/json", body))
        await writer.drain()
        return True

    async def fake_tell_all(self, seen, writer) -> bool:
        """An error page that shows the request's headers, as debug pages do."""
        shown = json.dumps({"error": {"message": "boom", "debug": dict(seen.headers)}}).encode()
        writer.write(whole("500 Internal Server Error", "application/json", shown))
        await writer.drain()
        return True

    async def fake_headers(self, seen, writer) -> bool:
        """The credential in the answer's headers."""
        secret = seen.header("authorization")[0]
        writer.write(whole("200 OK", "application/json", completion("fine"), f"X-Debug: {secret}", f"Set-Cookie: k={secret}"))
        await writer.drain()
        return True

    async def fake_huge_head(self, seen, writer) -> bool:
        """An answer whose head does not end."""
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(20_000):
            writer.write(b"X-%d: %s\r\n" % (number, b"a" * 100))
            await writer.drain()
        return False

    async def fake_gzip(self, seen, writer) -> bool:
        """The credential in a compressed body."""
        body = gzip.compress(completion(seen.header("authorization")[0]))
        writer.write(whole("200 OK", "application/json", body, "Content-Encoding: gzip"))
        await writer.drain()
        return True

    async def fake_bomb(self, seen, writer) -> bool:
        """A hundred kilobytes that unpack to a hundred megabytes."""
        body = gzip.compress(b"0" * (1 << 20), 9)
        writer.write(head("200 OK", "application/json", CHUNKED, "Content-Encoding: gzip"))
        for _ in range(100):
            writer.write(chunk(body))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return False

    async def fake_redirect(self, seen, writer) -> bool:
        """Points elsewhere; a gateway that follows takes the credential with it."""
        writer.write(whole("307 Temporary Redirect", "text/plain", b"", f"Location: {self.url}/elsewhere"))
        await writer.drain()
        return True
