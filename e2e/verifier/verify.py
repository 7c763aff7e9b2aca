"""A second verifier of gatewayd's evidence, written from docs/evidence-format.md alone; no code is the gateway's.

    verify.py DIRECTORY [PUBLIC-KEY [PINNED-CHECKPOINT]]

It decodes the entries by the layouts of that page, compares them with the tree and the checkpoints, and then asks the
rules of the page. It ends with the status that the page names: 0 intact, 2 it cannot be checked; damage of 10 the log,
11 the pin, 12 rules 2 to 4, 13 words, 14 bodies. What it names is the first damage: what hangs on that proves nothing.
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
import zlib
from contextlib import closing, suppress
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# The schema, the layouts and the rules are taken from the page itself.
PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/evidence-format.md").read_text()
PARTS = "sql", "tables", "rules", "layouts"
SCHEMA, TABLES, RULES, LINES = (PAGE.split(f"```{part}\n")[1].split("```")[0] for part in PARTS)
LAYOUTS, KINDS = {}, {}
for name, code, fields in re.findall(r"^(\w+) ?(\d*):(.*)$", LINES, re.M):
    LAYOUTS[name], KINDS[code] = dict(field.split("=") for field in fields.split()), name
FIELDS = sorted({field for code, name in KINDS.items() if code for field in LAYOUTS[name]})
LONGEST = 1 << 20  # No value is longer, and no block.
BROKEN = ValueError, TypeError, AttributeError, LookupError, InvalidSignature, sqlite3.Error, OSError


def need(holds, what: str) -> None:
    if not holds:
        raise ValueError(what)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def string(words: str) -> bytes:
    return varint(len(words.encode())) + words.encode()


def unbase64(text: str) -> bytes:
    held = base64.b64decode(text, validate=True)
    need(base64.b64encode(held).decode() == text, "base64 has one form")
    return held


def is_file(path: pathlib.Path) -> bool:
    return path.is_file() and not path.is_symlink()


class Decoder:
    """Takes values off the front of some bytes, by the layouts of the page."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        self.at += count
        need(self.at <= len(self.data), "it ends too early")
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) >= 0x80 and shift < 63:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
        value |= byte << shift
        need(value < 1 << 64 and (byte or not shift), "a number is too large or not in its shortest form")
        return value

    def text(self, most: int) -> str | bytes | None:
        length = self.take(1)[0]
        need(length >= 0xFE or length <= most, "a text is too long")
        return None if length == 0xFE else self.take(16) if length == 0xFF else self.take(length).decode()

    SHAPES = {
        "v": lambda self, _: self.varint(),
        "s": lambda self, _: self.take(self.varint()).decode(),
        "t": lambda self, most: self.text(int(most)),
        "?": lambda self, shape: self.value(shape) if self.value("0..1") else None,
        "~": lambda self, shapes: (number, *self.values(shapes)) if (number := self.varint()) else None,
        "*": lambda self, shapes: [self.values(shapes) for _ in range(self.varint())],
        "#": lambda self, _: self.take(16 * self.value("0..3")),
    }

    def value(self, shape: str):
        if shape[0] in self.SHAPES:
            return self.SHAPES[shape[0]](self, shape[1:])
        low, is_code, high = shape.partition("..")
        held = self.take(1 if is_code else int(low))
        need(not is_code or int(low) <= held[0] <= int(high), f"{held[0]} is not in {shape}")
        return held[0] if is_code else held

    def values(self, shapes: str) -> tuple:
        return tuple(map(self.value, shapes.split(",")))

    def fields(self, layout: str) -> dict:
        return {name: self.value(shape) for name, shape in LAYOUTS[layout].items()}


def parse(layout: str, data: bytes, at: int = 0) -> dict:
    found = (decoder := Decoder(data, at)).fields(layout)
    need(decoder.at == len(data), "something follows the end")
    return found


def parse_entry(data: bytes) -> dict:
    need(10 <= len(data) <= 300 and data[0] == 1, "it is no entry")
    entry = {"kind": (kind := KINDS[str(data[1])]), **parse(kind, data, 10)}
    for _, first, more, *_ in filter(None, (entry.get("request"), entry.get("response"))):
        need(first + more < 1 << 64, "the number of a segment is too large")
    return entry


# What the rules of the page call.


def salted(kind: int, salt: bytes, words: bytes) -> bytes:
    need(len(salt) == 16, "the salt has another length")
    return sha(bytes([kind]), salt, words)


def readable(layout: str, words: bytes) -> bool:
    found = parse(layout, words)
    rules = [rule for rule, _count in found.get("rules", ())]
    return rules == sorted(rules) and all(rule < len(rules) for rule, *_ in found.get("places", ()))


def word(layout: str, words: bytes, field: str, most: int = LONGEST) -> str | bytes | None:
    text = parse(layout, words)[field]
    return text if text is None or len(text.encode()) <= most else sha(text.encode())[:16]


def claims(what: bytes) -> bytes:
    return b"".join(claim(*names) for names in parse("what", what)["claims"])


def claim(kind: str, name: str) -> bytes:
    return sha(string(kind), string(name))[:16]


def held(session: bytes | None, subject: str | None, reason: str) -> bytes:
    optional = [b"\0" if text is None else b"\1" + string(text) for text in (session and session.hex(), subject)]
    return b"".join(optional) + string(reason)


def null_if_broken(function):
    def called(*values):
        with suppress(*BROKEN):
            return function(*values)

    return called


def blocks(data: bytes, segment: int):
    """Head and bytes of each block of a segment, up to the first that is not whole."""
    decoder = Decoder(data, 16)
    with suppress(ValueError):
        need(data[:16] == b"GWDSEG1\n" + segment.to_bytes(8), "this is no such segment")
        while (start := decoder.at) < len(data):
            head = decoder.fields("block")
            checked = data[start : decoder.at - 4] + decoder.take(head["length"])
            need(head["flags"] < 8 or head["number"] == 0, "only the first block has a head")
            need(head["length"] <= LONGEST and zlib.crc32(checked).to_bytes(4) == head["checksum"], "it is torn")
            yield head, data[start : decoder.at]


class Verifier:
    def __init__(self, directory: str):
        self.directory, self.entries, self.hashes, self.unproven = pathlib.Path(directory), [], [], []
        self.signed = self.checkpoints = self.bodies = 0
        self.place = 2, "the directory"  # What does not hold is damage of this: the status to end with, and a name.

    def run(self, key: str | None, pin: str | None) -> None:
        self.origin, name, public = (key or self.read("log.pub")).strip().split("+", 2)
        self.key, self.key_id = unbase64(public), sha(self.origin.encode(), b"\n", unbase64(public))[:4]
        need(len(self.key) == 33 and self.key[0] == 1 and self.key_id.hex() == name, "the key is none of a log")
        if not key:
            self.unproven.append("that this is your log: the public key was taken from the directory itself")
        if pin:
            self.open(pin)  # One that does not hold is no damage, but nothing to check against.
        else:
            self.unproven.append("that no older state was put back, nor the log written anew: there is no pin")
        with tempfile.TemporaryDirectory() as private, closing(self.database(private)) as self.db:
            need(self.rows("PRAGMA user_version")[0][0] == 1, "the evidence has a format that I do not know")
            self.check_schema()
            self.check_entries()
            self.check_tiles()
            self.check_checkpoints(pin)
            self.load_entries()
            self.load_segments()
            self.check_rules()

    def read(self, name: str) -> str:
        need(is_file(self.directory / name), f"{name} is no file")
        return (self.directory / name).read_bytes().decode()

    def database(self, private: str) -> sqlite3.Connection:
        """In a copy, so that nothing is made beside what is examined; what is in -wal belongs to the database."""
        for end in ("-shm", "-journal", "-wal", ""):
            file = self.directory / f"evidence.db{end}"
            need(is_file(file) or not os.path.lexists(file), f"{file.name} is no file")
            if file.exists() and end in ("", "-wal"):
                shutil.copy(file, private)
        db = sqlite3.connect(f"{private}/evidence.db")
        db.text_factory = lambda held: held.decode(errors="replace")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        for function in (salted, readable, word, claims, claim, held):
            db.create_function(function.__name__, -1, null_if_broken(function))
        return db

    def rows(self, query: str) -> list:
        return self.db.execute(query).fetchall()

    def check_schema(self) -> None:
        self.place, parts = (10, "the schema"), "SELECT type, name, sql FROM sqlite_schema"
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(SCHEMA)
            expected, found = (set(db.execute(parts)) for db in (model, self.db))
        need(expected == found, f"it is not that of the format: {expected ^ found}")

    def check_entries(self) -> None:
        for at, (index, data) in enumerate(self.rows("SELECT idx, data FROM leaves ORDER BY idx")):
            self.place = 10, f"entry {at}"
            need(index == at, "it is missing")
            self.entries.append(e := parse_entry(data))
            need((e.get("role") == 1) == (at == 0), "the first, and no other, names the key of the log")
            need(at or e["key"] == self.key[1:], "it names another key")
            self.hashes.append(sha(b"\0", data))

    @cache
    def root(self, low: int, high: int) -> bytes:
        """The hash of the tree over these entries."""
        if high - low < 2:
            return self.hashes[low] if high > low else sha()
        split = low + (1 << (high - low - 1).bit_length() - 1)
        return sha(b"\1", self.root(low, split), self.root(split, high))

    def check_tiles(self) -> None:
        stored = self.rows("SELECT level, n, CASE typeof(data) WHEN 'blob' THEN data ELSE x'' END FROM tiles")
        tiles = {(level, n): data for level, n, data in stored}
        for level in range(8):
            width = 256**level
            for n in range(len(self.entries) // width // 256):
                made = b"".join(self.root(at * width, (at + 1) * width) for at in range(256 * n, 256 * n + 256))
                same = len(os.path.commonprefix([made, found := tiles.pop((level, n), b"")])) // 32
                self.place = 10, f"entry {(256 * n + same) * width}, or its tile of level {level}"
                need(found == made, "one is not that of the other")
        self.place = 10, "the tiles"
        need(not tiles, "there is one of entries that are not there")

    def open(self, note: str) -> tuple[int, bytes]:
        """The size and the root that a checkpoint is signed for."""
        text, signatures = re.fullmatch(r"(\S+\n\d+\n\S+\n)\n((?:— \S+ \S+\n)+)", note).groups()
        origin, size, root = text.split()
        ours = [unbase64(signature) for by, signature in re.findall(r"— (\S+) (\S+)", signatures) if by == origin]
        ours = [signature[4:] for signature in ours if signature[:4] == self.key_id]
        need(origin == self.origin and str(int(size)) == size and ours, "it is of another log, or not signed")
        Ed25519PublicKey.from_public_bytes(self.key[1:]).verify(ours[0], text.encode())
        return int(size), unbase64(root)

    def check_checkpoint(self, note: str) -> int:
        size, root = self.open(note)
        need(size <= len(self.entries), f"it covers {size} entries, there are {len(self.entries)}")
        need(self.root(0, size) == root, f"it has another root than the first {size} entries")
        self.signed, self.checkpoints = max(self.signed, size), self.checkpoints + 1
        return size

    def check_checkpoints(self, pin: str | None) -> None:
        self.place = 10, "the file `checkpoint`"
        self.check_checkpoint(self.read("checkpoint"))
        for size, time, note in self.rows("SELECT size, time, note FROM checkpoints"):
            self.place = 10, f"the checkpoint that stands at {size}"
            need(self.check_checkpoint(note) == size and isinstance(time, int), "it is of another size, or has no time")
        self.place = 10, "the database"
        need((found := self.rows("PRAGMA integrity_check(1)")[0][0]) == "ok", found)
        if pin:
            self.place = 11, "the pinned checkpoint"
            self.check_checkpoint(pin)

    def table(self, columns: str, rows: list) -> None:
        """One of the tables that the rules of the page ask."""
        self.db.execute(f"CREATE TEMP TABLE {columns}")
        insert = f"INSERT INTO {columns.split('(')[0]} VALUES ({', '.join('?' * (columns.count(',') + 1))})"
        self.db.executemany(insert, [tuple(map(plain, row)) for row in rows])

    def load_entries(self) -> None:
        bodies, erased = [], {at: [] for at, e in enumerate(self.entries) if e["kind"] == "erasure"}
        for at, e in enumerate(self.entries):
            for way, stored in enumerate((e["request"], e["response"]) if "lost" in e else ()):
                count, first, more, _length, digest = stored or (0, 0, 0, 0, None)
                bodies.append((at, e["id"], way, e["lost"], count, first, first + more, digest))
        for number, erasure in self.rows("SELECT number, erased FROM sessions ORDER BY number"):
            erased.get(erasure, []).append(number.to_bytes(8, signed=True))
        columns = ", ".join(f'"{field}"' for field in FIELDS)
        entries = [(at, e["kind"], *map(e.get, FIELDS)) for at, e in enumerate(self.entries)]
        self.table(f"entry(at INTEGER PRIMARY KEY, kind, {columns})", entries)
        self.table("body(at, id, way, lost, blocks, first, last, digest)", bodies)
        self.table("erased(at, sessions, list)", [(at, len(numbers), sha(*numbers)) for at, numbers in erased.items()])

    def load_segments(self) -> None:
        self.place, found, segments = (14, "the segments"), {}, []
        for file in sorted((self.directory / "segments").glob("*.seg")):
            if re.fullmatch(r"[0-9]{10}", file.stem) and is_file(file):
                segments.append((segment := int(file.stem),))
                for head, block in blocks(file.read_bytes(), segment):
                    empty = [0, True, segment, segment, hashlib.sha256()]
                    body = found.setdefault((head["id"], head["flags"] & 1), empty)
                    body[:4] = body[0] + 1, body[1] and head["number"] == body[0], body[2], segment
                    body[4].update(block)
        bodies = [(*key, *body, digest.digest()) for key, (*body, digest) in found.items()]
        self.table("found(id, way, blocks, ordered, first, last, digest)", bodies)
        self.table("file(n)", segments)

    def check_rules(self) -> None:
        self.db.executescript(TABLES)
        [(self.bodies,)] = self.rows("SELECT count(*) FROM body JOIN found USING (id, way, digest)")
        broken = []
        for status, what, query in re.findall(r"^(\d+) (.+)\n((?:    .+\n)+)", RULES, re.M):
            self.place = int(status), what
            broken += [(int(status), at is None, at, what) for (at,) in self.rows(query)]
        for status, _, at, what in sorted(broken):
            self.place = status, f"entry {at}"
            need(status == 0, what)
            self.unproven.append(f"entry {at}: {what}")


def plain(value):
    """As the page wants it in a table."""
    if isinstance(value, tuple):
        return value[-1]
    return min(value, (1 << 63) - 1) if isinstance(value, int) else value


def main(directory: str, key: str | None = None, pin: str | None = None) -> int:
    verifier = Verifier(directory)
    try:
        verifier.run(*(file and pathlib.Path(file).read_text() for file in (key, pin)))
    except BROKEN as error:
        status, what = verifier.place
        broken = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        status = 2 if isinstance(error, OSError) else 10 if broken else status
        print(f"{'DAMAGED' if status > 2 else 'error'} ({status}): {what}: {error}")
        return status
    counts = verifier.signed, len(verifier.entries), verifier.checkpoints, verifier.bodies
    print("proven: {} of {} entries, {} checkpoints, {} bodies".format(*counts))
    for what in verifier.unproven:
        print(f"not proven: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
