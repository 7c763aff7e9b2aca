"""The whole second verifier: the log, by verify.py, and then what its entries say together and what they commit to.

    rules.py DIRECTORY [PUBLIC-KEY [PINNED-CHECKPOINT]]

The rules are queries on docs/evidence-format.md. This makes the tables and the functions that they ask, of the entries,
the words beside them and the segments, and ends with a rule's own status: 12 rules 2 to 4, 13 words, 14 bodies.
"""

import hashlib
import re
import sqlite3
import sys
import zlib
from contextlib import suppress

from verify import BROKEN, LONGEST, Log, is_file, main, need, section, sha

VARINT = re.compile(rb"\0|[\x80-\xff]{0,9}[\1-\x7f]")
LAYOUTS, KINDS = {}, {}
for name, code, fields in re.findall(r"^(\w+) ?(\d*):(.*)$", section("layouts"), re.M):
    LAYOUTS[name], KINDS[code] = dict(field.split("=") for field in fields.split()), name
FIELDS = sorted({field for code, name in KINDS.items() if code for field in LAYOUTS[name]})


class Decoder:
    """Takes values off the front of some bytes, by the layouts of the page."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        self.at += count
        need(self.at <= len(self.data), "it ends too early")
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        need(digits := VARINT.match(self.data, self.at), "a number is not in its shortest form")
        value = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(self.take(len(digits[0]))))
        need(value < 1 << 64, "a number is too large")
        return value

    def text(self, most: int) -> str | bytes | None:
        length = self.take(1)[0]
        need(length >= 0xFE or length <= most, "a text is too long")
        return None if length == 0xFE else self.take(16) if length == 0xFF else self.take(length).decode()

    def value(self, shape: str):
        kind, rest = shape[0], shape[1:]
        if kind == "v":
            return self.varint()
        if kind == "s":
            return self.take(self.varint()).decode()
        if kind == "t":
            return self.text(int(rest))
        if kind == "?":
            return self.value(rest) if self.value("0..1") else None
        if kind == "~":
            return (number, *self.values(rest)) if (number := self.varint()) else None
        if kind == "*":
            return [self.values(rest) for _ in range(self.varint())]
        if kind == "#":
            return self.take(16 * self.value("0..3"))
        if ".." not in shape:
            return self.take(int(shape))
        low, high = map(int, shape.split(".."))
        need(low <= (code := self.take(1)[0]) <= high, f"{code} is not in {shape}")
        return code

    def values(self, shapes: str) -> tuple:
        return tuple(map(self.value, shapes.split(",")))

    def fields(self, layout: str) -> dict:
        return {name: self.value(shape) for name, shape in LAYOUTS[layout].items()}


def parse(layout: str, data: bytes, at: int = 0) -> dict:
    found = (decoder := Decoder(data, at)).fields(layout)
    need(decoder.at == len(data), "something follows the end")
    return found


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def string(words: str) -> bytes:
    return varint(len(words.encode())) + words.encode()


# What the rules call.


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


def plain(value):
    """As the page wants it in a table."""
    if isinstance(value, tuple):
        return value[-1]
    return min(value, (1 << 63) - 1) if isinstance(value, int) else value


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


class Evidence(Log):
    def __init__(self, directory: str):
        super().__init__(directory)
        self.entries = []

    def check_entry(self, data: bytes) -> None:
        self.entries.append(entry := {"kind": (kind := KINDS[str(data[1])]), **parse(kind, data, 10)})
        for _, first, more, *_ in filter(None, (entry.get("request"), entry.get("response"))):
            need(first + more < 1 << 64, "the number of a segment is too large")

    def check_more(self) -> None:
        for function in (salted, readable, word, claims, claim, held):
            self.db.create_function(function.__name__, -1, null_if_broken(function))
        self.load_entries()
        self.load_segments()
        self.check_rules()

    def table(self, columns: str, rows: list) -> None:
        """One of the tables that the rules ask."""
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
        self.db.executescript(section("tables"))
        [(self.bodies,)] = self.rows("SELECT count(*) FROM body JOIN found USING (id, way, digest)")
        broken = []
        for status, what, query in re.findall(r"^(\d+) (.+)\n((?:    .+\n)+)", section("rules"), re.M):
            self.place = int(status), what
            broken += [(int(status), at is None, at, what) for (at,) in self.rows(query)]
        for status, _, at, what in sorted(broken):
            self.place = status, f"entry {at}"
            need(status == 0, what)
            self.unproven.append(f"entry {at}: {what}")


if __name__ == "__main__":
    sys.exit(main(Evidence, *sys.argv[1:]))
