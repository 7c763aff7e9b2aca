"""A second verifier of gatewayd's evidence, written from docs/evidence-format.md alone; no code is the gateway's.

    verify.py DIRECTORY [PUBLIC-KEY [PINNED-CHECKPOINT]]

Are these the entries that were signed, all of them, in this order, and on top of those that were pinned? So it finds
whatever is done to the log by somebody who has not its secret key. What the entries say, and the words and bodies that
they commit to, is for rules.py, which asks this first. Both end with the status that the page names, here 0 intact,
2 it cannot be checked, 10 the log, 11 the pin, and tell the first damage: what hangs on it proves nothing.
"""

import base64
import hashlib
import os
import pathlib
import re
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/evidence-format.md").read_text()
LONGEST = 1 << 20  # No value of the database is longer, and no block.
NAME = r"[^\s+\0-\x1f]+"
BROKEN = ValueError, TypeError, AttributeError, LookupError, InvalidSignature, sqlite3.Error, OSError


def section(name: str) -> str:
    """What the page says to programs: its schema, its layouts, its rules."""
    return PAGE.split(f"```{name}\n")[1].split("```")[0]


def need(holds, what: str) -> None:
    if not holds:
        raise ValueError(what)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text: str) -> bytes:
    held = base64.b64decode(text, validate=True)
    need(base64.b64encode(held).decode() == text, "base64 has one form")
    return held


def is_file(path: pathlib.Path) -> bool:
    return path.is_file() and not path.is_symlink()


def read(path: pathlib.Path) -> str:
    need(is_file(path), f"{path.name} is no file")
    return path.read_bytes().decode()


class Log:
    def __init__(self, directory: str):
        self.directory, self.hashes, self.unproven = pathlib.Path(directory), [], []
        self.signed = self.checkpoints = self.bodies = 0
        self.place = 2, "the directory"  # What does not hold is damage of this: the status to end with, and a name.

    def verify(self, key: str | None, pin: str | None) -> None:
        self.origin, name, public = (key or read(self.directory / "log.pub")).strip().split("+", 2)
        self.key, self.key_id = unbase64(public), sha(self.origin.encode(), b"\n", unbase64(public))[:4]
        need(len(self.key) == 33 and self.key[0] == 1 and self.key_id.hex() == name, "the key is none of a log")
        if not key:
            self.unproven.append("that this is your log: the public key was taken from the directory itself")
        if pin:
            self.open(pin)  # One that does not hold is no damage, but nothing to check against.
        else:
            self.unproven.append("that no older state was put back, nor the log written anew: there is no pin")
        with tempfile.TemporaryDirectory() as private, closing(self.database(private)) as self.db:
            need(self.rows("PRAGMA user_version") == [(1,)], "the evidence has a format that I do not know")
            self.check_schema()
            self.check_entries()
            self.check_tiles()
            self.check_checkpoints(pin)
            self.check_more()

    def database(self, private: str) -> sqlite3.Connection:
        """In a copy, so that nothing is made beside what is examined; what is in -wal belongs to the database."""
        for end in ("", "-wal", "-shm", "-journal"):
            file = self.directory / f"evidence.db{end}"
            need(is_file(file) or not os.path.lexists(file), f"{file.name} is no file")
            if file.exists() and end in ("", "-wal"):
                shutil.copy(file, private)
        db = sqlite3.connect(f"{private}/evidence.db")
        db.text_factory = lambda held: held.decode(errors="replace")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        return db

    def rows(self, query: str) -> list:
        return self.db.execute(query).fetchall()

    def check_schema(self) -> None:
        self.place = 10, "the schema"
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(section("sql"))
            expected, found = (set(db.execute("SELECT type, name, sql FROM sqlite_schema")) for db in (model, self.db))
        need(expected == found, f"it is not that of the format: {expected ^ found}")

    def check_entries(self) -> None:
        for at, (index, data) in enumerate(self.rows("SELECT idx, data FROM leaves ORDER BY idx")):
            self.place = 10, f"entry {at}"
            need(index == at, "it is missing")
            need(10 <= len(data) <= 300 and data[0] == 1, "it is no entry")
            need((data[1:2] + data[10:11] == b"\x09\1") == (at == 0), "the first, and no other, names the log's key")
            need(at or data[11:43] == self.key[1:], "it names another key")
            self.check_entry(data)
            self.hashes.append(sha(b"\0", data))

    @cache
    def root(self, low: int, high: int) -> bytes:
        """The hash of the tree over these entries."""
        if high - low < 2:
            return self.hashes[low] if high > low else sha()
        split = low + (1 << (high - low - 1).bit_length() - 1)
        return sha(b"\1", self.root(low, split), self.root(split, high))

    def check_tiles(self) -> None:
        tiles, full = {(level, n): data for level, n, data in self.rows("SELECT level, n, data FROM tiles")}, 0
        for level, width in enumerate(256**level for level in range(8)):
            for at in range(len(self.hashes) // width // 256 * 256):
                self.place = 10, f"entry {at * width}, or its tile of level {level}"
                tile, made = tiles.get((level, at // 256), b""), self.root(at * width, (at + 1) * width)
                need(len(tile) == 8192 and tile[at % 256 * 32 :][:32] == made, "one is not that of the other")
            full += len(self.hashes) // width // 256
        self.place = 10, "the tiles"
        need(len(tiles) == full, "there is one of entries that are not there")

    def open(self, note: str) -> tuple[int, bytes]:
        """The size and the root that a checkpoint is signed for. Others may have signed it, too."""
        found = re.fullmatch(rf"({NAME}\n\d+\n\S{{44}}\n)\n((?:— {NAME} \S+\n)+)", note)
        need(found and len(note.encode()) <= 1 << 17, "it is no checkpoint")
        (text, lines), (origin, size, root) = found.groups(), found[1].split()
        signatures = [(by, unbase64(blob)) for by, blob in re.findall(r"— (\S+) (\S+)", lines)]
        need(all(len(blob) > 4 for _, blob in signatures), "a signature is too short")
        ours = [blob[4:] for by, blob in signatures if (by, blob[:4]) == (self.origin, self.key_id)]
        need(origin == self.origin and str(int(size)) == size and ours, "it is of another log, or not signed")
        for signature in ours:
            Ed25519PublicKey.from_public_bytes(self.key[1:]).verify(signature, text.encode())
        return int(size), unbase64(root)

    def check_checkpoint(self, note: str) -> int:
        size, root = self.open(note)
        need(size <= len(self.hashes), f"it covers {size} entries, there are {len(self.hashes)}")
        need(self.root(0, size) == root, f"it has another root than the first {size} entries")
        self.signed, self.checkpoints = max(self.signed, size), self.checkpoints + 1
        return size

    def check_checkpoints(self, pin: str | None) -> None:
        self.place = 10, "the file `checkpoint`"
        self.check_checkpoint(read(self.directory / "checkpoint"))
        for size, time, note in self.rows("SELECT size, time, note FROM checkpoints"):
            self.place = 10, f"the checkpoint that stands at {size}"
            need(self.check_checkpoint(note) == size and isinstance(time, int), "it is of another size, or has no time")
        self.place = 10, "the database"
        need((found := self.rows("PRAGMA integrity_check(1)")[0][0]) == "ok", found)
        self.place, entries = (11, "the pinned checkpoint"), len(self.hashes)
        if pin and (pinned := self.check_checkpoint(pin)) < entries:
            self.unproven.append(f"that the entries from {pinned} on, which came after the pin, were not written anew")
        if self.signed < entries:
            self.unproven.append(f"the entries from {self.signed} on: no checkpoint covers them yet")

    def check_entry(self, data: bytes) -> None:
        """What an entry says is for rules.py."""

    def check_more(self) -> None:
        self.unproven.append("what the entries say, and the words and bodies that they commit to: ask rules.py")


def main(kind: type, directory: str, key: str | None = None, pin: str | None = None) -> int:
    log = kind(directory)
    try:
        log.verify(*(file and pathlib.Path(file).read_bytes().decode() for file in (key, pin)))
    except BROKEN as error:
        status, what = log.place
        status = 2 if isinstance(error, OSError) else 10 if isinstance(error, sqlite3.Error) else status
        print(f"{'DAMAGED' if status > 2 else 'error'} ({status}): {what}: {error}")
        return status
    print(f"proven: {log.signed} of {len(log.hashes)} entries, {log.checkpoints} checkpoints, {log.bodies} bodies")
    for what in log.unproven:
        print(f"not proven: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Log, *sys.argv[1:]))
