"""A copy of an evidence directory that tests may damage, and the bytes of its format."""

import base64
import contextlib
import hashlib
import pathlib
import random
import shutil
import sqlite3

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Unfit(Exception):
    """This log has nothing that could be damaged in this way."""


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tree(hashes: list) -> bytes:
    """By the recursion of RFC 6962, as it stands there."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha(b"\1", tree(hashes[:split]), tree(hashes[split:]))


class Copy:
    """A copy of an evidence directory, all of it but the reserve."""

    def __init__(self, source: pathlib.Path, folder: pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("reserve", "lock"))
        self.source, self.folder = source, folder
        self.checkpoint = folder / "checkpoint"
        _, _, self.origin, _, seed = (folder / "log.key").read_text().strip().split("+", 4)
        self.key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)[1:])

    def query(self, words: str, *values) -> list:
        return self.queries((words, values))

    def queries(self, *statements) -> list:
        with contextlib.closing(sqlite3.connect(self.folder / "evidence.db")) as db, db:
            return [db.execute(*statement).fetchall() for statement in statements][-1]

    def script(self, statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "evidence.db")) as db:
            db.executescript(statements)

    def restate(self, name: str, part: str, other: str) -> None:
        """Makes the statement of a table or index another, and leaves the pages as they are."""
        [(sql,)] = self.query("SELECT sql FROM sqlite_master WHERE name = ?", name)
        assert part in sql, sql
        define = "UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql.replace(part, other), name)
        self.queries(("PRAGMA writable_schema = ON", ()), define, ("PRAGMA writable_schema = RESET", ()))

    def leaves(self) -> list:
        return [data for (data,) in self.query("SELECT data FROM leaves ORDER BY idx")]

    def rewrite(self, leaves: list) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "evidence.db")) as db, db:
            db.execute("DELETE FROM leaves")
            db.executemany("INSERT INTO leaves VALUES (?, ?)", enumerate(leaves))

    def resign(self, leaves: list) -> None:
        self.rewrite(leaves)
        hashes, level, tiles = [sha(b"\0", data) for data in leaves], 0, []
        roots = hashes
        while full := [roots[n : n + 256] for n in range(0, len(roots) - 255, 256)]:
            tiles += [(level, n, b"".join(tile)) for n, tile in enumerate(full)]
            roots, level = [tree(tile) for tile in full], level + 1
        note = self.note(len(leaves), tree(hashes))
        with contextlib.closing(sqlite3.connect(self.folder / "evidence.db")) as db, db:
            db.execute("DELETE FROM tiles")
            db.executemany("INSERT INTO tiles VALUES (?, ?, ?)", tiles)
            db.execute("DELETE FROM checkpoints")
            db.execute("INSERT INTO checkpoints VALUES (?, 0, ?)", (len(leaves), note))
        self.checkpoint.write_text(note)

    def note(self, size: int, root: bytes, key: Ed25519PrivateKey | None = None) -> str:
        key = key or self.key
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        hashed = sha(self.origin.encode(), b"\n\1", public)[:4]
        return f"{text}\n— {self.origin} {base64.b64encode(hashed + key.sign(text.encode())).decode()}\n"

    def of_kind(self, *kinds: int) -> list:
        found = [index for index, data in enumerate(self.leaves()) if data[1] in kinds]
        if not found:
            raise Unfit
        return found

    def segment(self, rng: random.Random) -> pathlib.Path:
        return rng.choice([file for file in sorted((self.folder / "segments").iterdir()) if file.stat().st_size > 100])

    def edit(self, file: pathlib.Path, change) -> None:
        held = bytearray(file.read_bytes())
        file.write_bytes(change(held) or held)


def flip(data: bytes, rng: random.Random) -> bytes:
    held = bytearray(data)
    held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
    return bytes(held)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def blocks(data: bytes) -> list:
    """Where each block of a segment begins and ends, and where its sealed bytes begin."""
    found, at = [], 16
    while at + 40 < len(data):
        _, after = read_varint(data, at + 18)
        length, after = read_varint(data, after)
        if after + 4 + length > len(data):
            break
        found.append((at, after + 4, after + 4 + length))
        at = after + 4 + length
    return found


def string(words: str) -> bytes:
    return varint(len(words.encode())) + words.encode()


def text(words: str, most: int = 64) -> bytes:
    held = words.encode()
    return bytes([len(held)]) + held if len(held) <= most else b"\xff" + sha(held)[:16]
