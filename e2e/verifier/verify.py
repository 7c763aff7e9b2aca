"""A second verifier of gatewayd's evidence, written from docs/evidence-format.md alone.

    verify.py DIRECTORY [--key FILE] [--pinned FILE]

It shares no code with the gateway. It looks at the log, the pin, the rules, the words and the bodies, in this order, and
stops after the first of them that is damaged: what hangs on damaged things proves nothing. Exit status: 0 intact, 2 it
cannot be checked; damage of 10 the log, 11 the pin, 12 rules 2 to 4, 13 words, 14 bodies.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import re
import sqlite3
import struct
import sys
import zlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# A shape: a number of bytes; `low..high`, a code of one byte; `v`, a varint; `t32`, a text(32); `s`, a string; `?` and a
# shape, one byte and perhaps that; `*` and shapes, a varint and so many of them; `~` and shapes, a varint and, if it is not
# 0, these; `#`, a byte and so many claims.
BODIES = "lost=0..15 passed_in=v passed_out=v request=~v,v,v,32 response=~v,v,v,32"
OUTCOME = f"id=16 intent=v ending=1..7 status=2 refusal=0..22 {BODIES} first=v end=v masks=~32"
ENTRIES = {
    1: "id=16 flags=0..7 identity=1..4 dialect=1..7 action=1..14 effect=0..3 waited=v who=32 what=32 seen=v body=32"
    " rule=t32 version=t16 credential=t24 credential_version=t24 claims=#",
    2: OUTCOME,
    3: "id=16 ending=1..7 status=2 refusal=0..22 identity=0..4 dialect=0..7 action=0..14 effect=0..3 who=32 what=32"
    f" rule=t32 version=t16 {BODIES} end=v",
    4: "event=1..11 who=32 object=t64 outcome=t64 about=?16",
    5: "reason=1..2 missing=v note=t64",
    6: OUTCOME,
    7: "scope=1..3 segment=v sessions=v list=32 who=32 reason=t64",
    8: "released=0..1 hold=32 who=32",
    9: "role=1..2 key=32 name=t64",
    10: "disk=0..1 interrupted=v software=t64",
    11: "",
}
INTENT, REFUSAL, EVENT, GAP, ERASURE, HOLD, KEY, ENDS, BORDERS = 1, 3, 4, 5, 7, 8, 9, (2, 6), (10, 11)
WHO = "issuer=?s subject=?s name=?s groups=*s address=?s tls=0..1"
WHAT = "method=s path=s route=?s model=?s upstream=?s type=?s rule=?s version=?s credential=?s credential_version=?s claims=*s,s"
MASKS, WORDS = "rules=*s,v places=*v,s,v,v,?s", "object=s outcome=s"
# The statements of the schema are taken from the page itself.
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/evidence-format.md"
TYPES = {"INTEGER": int, "BLOB": bytes, "TEXT": str}


def require(holds: bool, what: str) -> None:
    """All that is malformed is a ValueError, like what is no UTF-8 and no base64."""
    if not holds:
        raise ValueError(what)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


class Bytes:
    """Takes what the format knows off the front of some bytes."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        self.at += count
        require(self.at <= len(self.data), "it ends too early")
        return self.data[self.at - count : self.at]

    def code(self, low: int, high: int) -> int:
        require(low <= (code := self.take(1)[0]) <= high, f"{code} is not from {low} to {high}")
        return code

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) >= 0x80 and shift < 63:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
        value |= byte << shift
        require(value < 1 << 64 and (byte or not shift), "a number is too large or not in its shortest form")
        return value

    def string(self, length: int | None = None) -> str:
        return self.take(self.varint() if length is None else length).decode()

    def text(self, most: int) -> bytes:
        """As it stands there: `as_text` gives the same for the same words."""
        start, length = self.at, self.code(0, 255)
        require(length >= 0xFE or length <= most, "a text is too long")
        self.take(16) if length == 0xFF else self.string(length % 0xFE)
        return self.data[start : self.at]

    def shape(self, shape: str):
        first, rest = shape[0], shape[1:]
        if first == "~":
            return (count, *self.shapes(rest)) if (count := self.varint()) else None
        if first == "*":
            return [self.shapes(rest) for _ in range(self.varint())]
        if first == "?":
            return self.shape(rest) if self.code(0, 1) else None
        if first == "#":
            return [self.take(16) for _ in range(self.code(0, 3))]
        if first in "vst":
            return self.varint() if first == "v" else self.string() if first == "s" else self.text(int(rest))
        low, _, high = shape.partition("..")
        return self.code(int(low), int(high)) if high else self.take(int(low))

    def shapes(self, shapes: str) -> tuple:
        return tuple(map(self.shape, shapes.split(",")))

    def all(self, layout: str) -> dict:
        found = {name: self.shape(shape) for name, shape in named(layout)}
        require(self.at == len(self.data), "something follows the end")
        return found


def named(layout: str) -> list:
    return [each.split("=") for each in layout.split()]


def parse_entry(data: bytes) -> dict:
    require(isinstance(data, bytes) and len(data) <= 300, "it is longer than 300 bytes, or none")
    b = Bytes(data)
    b.code(1, 1)
    kind, _time = b.code(1, 11), b.take(8)
    entry = {"kind": kind, **b.all(ENTRIES[kind])}
    for _, first, more, *_ in filter(None, map(entry.get, ("request", "response"))):
        require(first + more < 1 << 64, "the number of a segment is too large")
    return entry


def as_varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + as_varint(number >> 7)


def as_string(words: str) -> bytes:
    return as_varint(len(words.encode())) + words.encode()


def as_optional(words: str | None) -> bytes:
    return b"\0" if words is None else b"\1" + as_string(words)


def as_text(words: str | None, most: int) -> bytes:
    if words is None:
        return b"\xfe"
    held = words.encode()
    return bytes([len(held)]) + held if len(held) <= most else b"\xff" + sha(held)[:16]


def claim_digest(kind: str, name: str) -> bytes:
    return sha(as_string(kind), as_string(name))[:16]


def same_texts(entry: dict, words: dict) -> bool:
    """Whether the texts of an entry are the words of the same name, where it has these words."""
    texts = [(name, int(shape[1:])) for name, shape in named(ENTRIES[entry["kind"]]) if shape[0] == "t"]
    return all(entry[name] == as_text(words[name], most) for name, most in texts if name in words)


def is_file(path: pathlib.Path) -> bool:
    return path.is_file() and not path.is_symlink()


def read_note(path: pathlib.Path) -> str:
    require(is_file(path), f"{path.name} is no file")
    return path.read_text()


def unbase64(text: str) -> bytes:
    held = base64.b64decode(text, validate=True)
    require(base64.b64encode(held).decode() == text, "base64 has one form")
    return held


class LogKey:
    def __init__(self, text: str):
        require(bool(form := re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)\s*", text)), "this is no public key of a log")
        self.origin, key = form[1], unbase64(form[3])
        self.hash, self.bytes = sha(self.origin.encode(), b"\n", key)[:4], key[1:]
        require(len(key) == 33 and key[0] == 1 and self.hash.hex() == form[2], "this is no public key of a log")

    def open(self, note: str) -> tuple[int, bytes]:
        """The size and the root that a checkpoint is signed for."""
        form = re.fullmatch(r"(([^\n]+)\n(0|[1-9][0-9]{0,19})\n([^\n]+)\n)\n((?:— [^\n ]+ [^\n]+\n)+)", note)
        require(bool(form) and form[2] == self.origin, "is no checkpoint of this log")
        for line in form[5].splitlines():
            _, name, signature = line.split(" ", 2)
            signature = unbase64(signature)
            if (name, signature[:4]) == (self.origin, self.hash):
                try:
                    Ed25519PublicKey.from_public_bytes(self.bytes).verify(signature[4:], form[1].encode())
                    return int(form[3]), unbase64(form[4])
                except InvalidSignature:
                    pass
        raise ValueError("has no signature of the key that holds")


class Verifier:
    def __init__(self, directory: pathlib.Path, key: str | None = None, pinned: str | None = None):
        self.directory, self.pinned = directory, pinned
        self.damages: list[tuple[int, int | None, str]] = []
        self.unproven: list[str] = []
        self.entries: list[dict] = []
        self.signed = self.checkpoints = self.bodies = 0
        if key is None:
            self.unproven.append("the public key was taken from the directory itself, not from you")
        if pinned is None:
            self.unproven.append("that no older state was put back, nor the log written anew: no pin")
        self.key = LogKey(read_note(directory / "log.pub") if key is None else key)

    def run(self) -> None:
        files = path, wal, *_ = [self.directory / f"evidence.db{end}" for end in ("", "-wal", "-shm", "-journal")]
        require(all(is_file(file) or not os.path.lexists(file) for file in files), "the database is no file")
        # What is in evidence.db-wal belongs to the database; where there is none, nothing is made beside it.
        how = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
        try:
            self.db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
            self.db.text_factory = lambda held: held.decode(errors="replace")
            form = self.db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise ValueError(f"there is no evidence: {error}") from error
        except sqlite3.DatabaseError as error:
            return self.damage(10, None, f"the database is broken: {error}")
        require(form == 1, f"the evidence has format {form}, which I do not know")
        for check in self.check_log, self.check_pin, self.check_rules, self.check_words, self.check_bodies:
            try:
                check()
            except sqlite3.DatabaseError as error:
                self.damage(10, None, f"the database is broken: {error}")
            if self.damages:
                return

    def damage(self, code: int, entry: int | None, what: str) -> None:
        self.damages.append((code, entry, what))

    def of_kind(self, *kinds: int) -> dict:
        return {at: e for at, e in enumerate(self.entries) if e["kind"] in kinds}

    def rows(self, table: str, code: int = 13) -> list[dict]:
        """The rows of a table; a value of another type is damage."""
        columns = self.model.execute(f"PRAGMA table_info({table})").fetchall()
        names = [column[1] for column in columns]
        rows = [dict(zip(names, row, strict=True)) for row in self.db.execute(f"SELECT * FROM {table}")]
        for row in rows:
            for _, name, kind, never_null, _, key in columns:
                if type(row[name]) is not TYPES[kind] and (row[name] is not None or never_null or key):
                    self.damage(code, None, f"{name} of a row of {table} is of another type")
        return rows

    def check_log(self) -> None:
        self.model = sqlite3.connect(":memory:")
        self.model.executescript(PAGE.read_text().split("```sql")[1].split("```")[0])
        expected, held = (set(db.execute("SELECT type, name, sql FROM sqlite_schema")) for db in (self.model, self.db))
        if expected != held:
            return self.damage(10, None, f"the schema is not that of the format: {expected ^ held}")
        if (found := self.db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            self.damage(10, None, f"the database is broken: {found}")
        hashes = []
        for at, (index, data) in enumerate(self.db.execute("SELECT idx, data FROM leaves ORDER BY idx")):
            if index != at:
                self.damage(10, at, f"entry {at} is missing")
                break
            try:
                entry = parse_entry(data)
                names_it = entry["kind"] == KEY and entry["role"] == 1 and entry["key"] == self.key.bytes
                require(names_it if at == 0 else entry.get("role") != 1, "entry 0, and no other, names the key")
                self.entries.append(entry)
            except ValueError as error:
                self.damage(10, at, f"entry {at}: {error}")
            hashes.append(sha(b"\0", data if isinstance(data, bytes) else b""))

        @lru_cache(maxsize=None)
        def root(low: int, high: int) -> bytes:
            if high - low < 2:
                return hashes[low] if high > low else sha()
            split = low + (1 << (high - low - 1).bit_length() - 1)
            return sha(b"\1", root(low, split), root(split, high))

        self.size, self.root = len(hashes), root
        try:
            self.check_note(10, read_note(self.directory / "checkpoint"), "the file `checkpoint`")
        except (OSError, ValueError) as error:
            self.damage(10, None, f"the file `checkpoint` cannot be read: {error}")
        for row in self.rows("checkpoints", 10):
            self.check_note(10, str(row["note"]), "a checkpoint in the database", row["size"])
        self.check_tiles()

    def check_note(self, code: int, note: str, name: str, named: int | None = None) -> None:
        try:
            size, root = self.key.open(note)
            require(named in (None, size), f"is for {size} entries and stands at {named}")
            require(size <= self.size, f"covers {size} entries, there are {self.size}")
            require(self.root(0, size) == root, f"has another root than the first {size} entries")
            self.signed, self.checkpoints = max(self.signed, size), self.checkpoints + 1
        except ValueError as error:
            self.damage(code, None, f"{name} {error}")

    def check_tiles(self) -> None:
        tiles = {(row["level"], row["n"]): row["data"] for row in self.rows("tiles", 10)}
        for level in range(8):
            width = 256**level
            for n in range(self.size // (256 * width)):
                wanted = [self.root(k * width, (k + 1) * width) for k in range(256 * n, 256 * (n + 1))]
                if (held := tiles.pop((level, n), None)) != b"".join(wanted):
                    parts = [held[k : k + 32] for k in range(0, 8192, 32)] if isinstance(held, bytes) else []
                    same = next((k for k, (a, b) in enumerate(zip(parts, wanted)) if a != b), 0)
                    self.damage(10, (256 * n + same) * width, f"tile {n} of level {level} is not that of the entries")
        for level, n in tiles:
            self.damage(10, None, f"there is a tile {n} of level {level}, which should not be")

    def check_pin(self) -> None:
        if self.pinned is not None:
            self.key.open(self.pinned)  # A pin that does not hold is no damage, but nothing to check against.
            self.check_note(11, self.pinned, "the pinned checkpoint")

    def check_rules(self) -> None:
        self.closed: dict[int, int] = {}
        self.claimed: dict[bytes, tuple] = {}
        opened: dict[int, bytes] = {}
        for at, e in enumerate(self.entries):
            if e["kind"] == INTENT:
                opened[at] = e["id"]
                for claim in e["claims"]:
                    if self.claimed.setdefault(claim, (at, e["id"]))[0] != at or e["claims"].count(claim) > 1:
                        self.damage(12, at, f"entry {at} makes a claim that was made before")
            elif e["kind"] in ENDS:
                if opened.pop(e["intent"], None) != e["id"]:
                    self.damage(12, at, f"entry {at} closes entry {e['intent']}, no open intent of its request")
                self.closed[e["intent"]] = at
            elif e["kind"] in BORDERS:
                for intent in opened:
                    self.damage(12, intent, f"entry {intent} has no outcome before the start or stop at entry {at}")
                opened.clear()
            elif e["kind"] == GAP:
                self.unproven.append(f"{e['missing']} things are missing, as entry {at} says")
        if opened:
            self.unproven.append(f"{len(opened)} requests are open at the end of the log")
        if self.signed < self.size:
            self.unproven.append(f"entries {self.signed} to {self.size - 1}: no checkpoint covers them")

    def one_each(self, table: str, entries: dict) -> dict:
        """The rows of a table, by their entry: one for each of these entries, and no other."""
        rows = {next(iter(row.values())): row for row in self.rows(table)}
        for at in rows.keys() ^ entries.keys():
            self.damage(13, at, f"entry {at} and the table {table}: one is without the other")
        return {at: (rows[at], entries[at]) for at in sorted(rows.keys() & entries.keys(), key=int)}

    def check_words(self) -> None:
        claims = self.rows("claims")
        for row in claims:
            made = self.claimed.get(claim_digest(str(row["kind"]), str(row["id"])))
            if made != (row["session"], row["request"]):
                self.damage(13, made and made[0], f"the log has no such claim of {row['kind']} {row['id']}")
        if len(claims) != len(self.claimed):
            self.damage(13, None, f"{len(self.claimed)} claims were made, {len(claims)} are there")
        labels = {row["id"]: row["text"] for row in self.rows("labels")}
        erased: dict[int, list] = {at: [] for at in self.of_kind(ERASURE)}
        worded = {at: e for at, e in self.of_kind(EVENT, HOLD, ERASURE).items() if e.get("scope") != 3}
        tables = [(self.check_session, self.one_each("sessions", self.of_kind(INTENT, REFUSAL)), labels, erased),
                  (self.check_event, self.one_each("events", worded)), (self.check_hold, self.holds())]
        for check, rows, *more in tables:
            for at, (row, e) in rows.items():
                try:
                    check(at, row, e, *more)
                except (ValueError, TypeError) as error:  # A type is damage already, where it is a row's.
                    self.damage(13, at, f"the row of entry {at}: {error}")
        for at, numbers in erased.items():
            listed = sha(*(struct.pack(">Q", number) for number in numbers))
            if (len(numbers), listed) != (self.entries[at]["sessions"], self.entries[at]["list"]):
                self.damage(13, at, f"entry {at} erased other sessions than the database says")
        keys = self.db.execute("SELECT number FROM session_keys JOIN subject_keys USING (subject)")
        keyed = {number for (number,) in keys}
        stored = {e.get("intent", at) for at, e in enumerate(self.entries) if e.get("request") or e.get("response")}
        if locked := stored.difference(keyed, *erased.values()):
            self.unproven.append(f"the bodies of {len(locked)} requests cannot be opened: their keys are missing")

    def check_session(self, at: int, row: dict, e: dict, labels: dict, erased: dict) -> None:
        end = at if e["kind"] == REFUSAL else self.closed.get(at)
        require((row["id"], row["outcome"]) == (e["id"], end), "it names another request or outcome")
        words = [row[name] for name in ("salt", "who", "what", "masks")]
        if row["erased"] is not None:
            require(row["erased"] in erased and [row["subject"], *words] == [None] * 5, "it was not erased by an erasure, or not whole")
            return erased[row["erased"]].append(at)
        salt, who, what, masks = words
        require(len(salt) == 16 and sha(b"\1", salt, who) == e["who"], "who asked")
        require(sha(b"\2", salt, what) == e["what"], "what was asked")
        masked = self.entries[end].get("masks") if end is not None else None
        require((masked and masked[1]) == (None if masks is None else sha(b"\4", salt, masks)), "the mask counts")
        if masks is not None:
            masks = Bytes(masks).all(MASKS)
            rules = [rule for rule, _spans in masks["rules"]]
            require(rules == sorted(rules), "the mask counts are not sorted")
            require(all(rule < len(rules) for rule, *_ in masks["places"]), "a mask of no rule")
        what, who = Bytes(what).all(WHAT), Bytes(who).all(WHO)
        claims = [claim_digest(kind, name) for kind, name in what["claims"]]
        require(same_texts(e, what) and claims == e.get("claims", claims), "rule, credential or claims")
        issuer, subject = who["issuer"], who["subject"]
        label = "" if issuer is None or subject is None else f"{len(issuer.encode())}:{issuer}|{subject}"
        require(labels.get(row["subject"]) == label, "the label of the subject")

    def check_event(self, at: int, row: dict, e: dict) -> None:
        words = Bytes(row["words"]).all(WORDS)
        who = bytes(32) if row["who"] is None else sha(b"\1", row["salt"], row["who"])
        require(len(row["salt"]) == 16 and who == e["who"], "who did it")
        require(row["request"] == e.get("about") and same_texts(e, {**words, "reason": words["outcome"]}), "what was done")

    def holds(self) -> dict:
        """Rule 6, and the rows of the holds that were set, whose entries are told when they were released."""
        by_digest: dict[bytes, dict] = {}
        for at, e in self.of_kind(HOLD).items():
            hold = by_digest.get(e["hold"])
            if (hold is None or hold["end"] is not None) if e["released"] else hold is not None:
                self.damage(13, at, f"entry {at} sets a hold again, or releases one that is not in force")
            elif e["released"]:
                hold["end"] = at
            else:
                by_digest[e["hold"]] = {**e, "at": at, "end": None}
        return self.one_each("holds", {e["at"]: e for e in by_digest.values()})

    def check_hold(self, at: int, row: dict, e: dict) -> None:
        session = None if row["session"] is None else row["session"].hex()
        words = as_optional(session) + as_optional(row["subject"]) + as_string(row["reason"])
        require(len(row["salt"]) == 16 and sha(b"\5", row["salt"], words) == e["hold"], "what is held")
        require(row["released"] == e["end"], "its release")

    def check_bodies(self) -> None:
        found: dict[tuple, list] = {}  # Blocks, digest, first and last segment, whether in order
        numbers = {int(file.stem): file for file in (self.directory / "segments").glob("*.seg")
                   if re.fullmatch(r"[0-9]{10}\.seg", file.name) and is_file(file)}
        for number, file in sorted(numbers.items()):
            for request, way, count, block in blocks(file.read_bytes(), number):
                body = found.setdefault((request, way), [0, hashlib.sha256(), number, number, True])
                body[4] &= count == body[0]
                body[0], body[3] = body[0] + 1, number
                body[1].update(block)
        dropped = {e["segment"] for e in self.of_kind(ERASURE).values() if e["scope"] == 3}
        for at, e in enumerate(self.entries):
            for way, part in enumerate(("request", "response")):
                if not (stored := e.get(part)):
                    if part in e and (e["id"], way) in found and not e["lost"] & 8:
                        self.damage(14, at, f"entry {at} has no {part} body, but there are blocks of it")
                    continue
                count, first, more, _length, digest = stored
                last = first + more
                held, hashed, *place = found.get((e["id"], way), [0, hashlib.sha256(), None, None, True])
                # One at a time: an entry may speak of 2^64 segments.
                missing = (n for n in range(first, last + 1) if n not in numbers)
                gone = next(missing, None)
                if (held, hashed.digest(), *place) == (count, digest, first, last, True):
                    self.bodies += 1
                elif gone in dropped and all(n in dropped for n in missing) and held < count:
                    self.unproven.append(f"the {part} body of entry {at}: segment {gone} was dropped, as the log says")
                else:
                    what = f"needs segment {gone}, which is missing" if gone is not None else "was changed"
                    self.damage(14, at, f"the {part} body of entry {at} {what}")

    def print(self) -> int:
        self.damages.sort(key=lambda damage: (damage[0], damage[1] is None, damage[1] or 0))
        for code, entry, what in self.damages[:20]:
            print(f"DAMAGED ({code}){'' if entry is None else f' entry {entry}'}: {what}")
        if not self.damages:
            print(f"proven: {self.signed} of {self.size} entries, {self.checkpoints} checkpoints, {self.bodies} bodies")
        for what in self.unproven:
            print(f"not proven: {what}")
        return self.damages[0][0] if self.damages else 0


def blocks(data: bytes, number: int):
    """Request, direction, number and bytes of each block of a segment, up to the first that is not whole."""
    b = Bytes(data, 16)
    try:
        require(data[:16] == b"GWDSEG1\n" + struct.pack(">Q", number), "this is no such segment")
        while b.at < len(data):
            start, _ = b.at, b.code(0xB1, 0xB1)
            flags, request, count, length = b.code(0, 15), b.take(16), b.varint(), b.varint()
            require(flags < 8 or count == 0, "a head after the beginning")
            head, checksum, sealed = data[start : b.at], b.take(4), b.take(length)
            require(length <= 1 << 20 and zlib.crc32(head + sealed) == int.from_bytes(checksum), "it is torn")
            yield request, flags & 1, count, data[start : b.at]
    except ValueError:
        return


def main(words: list | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("directory", type=pathlib.Path)
    options.add_argument("--key", type=pathlib.Path)
    options.add_argument("--pinned", type=pathlib.Path)
    asked = options.parse_args(words)
    try:
        key, pinned = (file and file.read_text() for file in (asked.key, asked.pinned))
        verifier = Verifier(asked.directory, key, pinned)
        verifier.run()
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return verifier.print()


if __name__ == "__main__":
    sys.exit(main())
