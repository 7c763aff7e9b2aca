"""A second verifier of gatewayd's evidence, written from docs/evidence-format.md alone.

    verify.py DIRECTORY [--key FILE] [--pinned FILE]

It shares no code with the gateway. Exit status: 0 intact, 2 cannot be read; for damage the lowest that applies of
10 the log itself, 11 not the pinned log, 12 a rule of the log, 13 words that are not those of the log, 14 bodies.
"""

import argparse
import base64
import binascii
import hashlib
import pathlib
import re
import sqlite3
import struct
import sys
import zlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, PIN, RULE, WORDS, BODY = 10, 11, 12, 13, 14
INTENT, OUTCOME, REFUSAL, EVENT, GAP, INTERRUPTION, ERASURE, HOLD, KEY, START, STOP = range(1, 12)
ENDS = (OUTCOME, INTERRUPTION)
NOBODY = bytes(32)
TABLES = {"leaves", "tiles", "checkpoints", "labels", "sessions", "claims", "events", "holds"}


class Malformed(Exception):
    """These bytes are not what the format says."""


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def salted(kind: int, salt: bytes, words: bytes) -> bytes:
    return sha(bytes([kind]), salt, words)


class Bytes:
    """Reads the primitives of the format off the front of some bytes."""

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) != count:
            raise Malformed("ends too early")
        self.at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def code(self, low: int, high: int) -> int:
        if not low <= (code := self.number(1)) <= high:
            raise Malformed(f"unknown code {code}")
        return code

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >= 1 << 64:
                    break
                return value
        raise Malformed("a number that is not in its shortest form, or too large")

    def utf8(self, count: int) -> str:
        try:
            return self.take(count).decode()
        except UnicodeDecodeError as error:
            raise Malformed("a text that is not UTF-8") from error

    def text(self, most: int) -> bytes:
        """Checked, but left as it is: see `as_text`."""
        start, length = self.at, self.number(1)
        if length == 0xFF:
            self.take(16)
        elif length != 0xFE:
            if length > most:
                raise Malformed("a text that is too long")
            self.utf8(length)
        return self.data[start : self.at]

    def string(self) -> str:
        return self.utf8(self.varint())

    def optional(self) -> str | None:
        return self.string() if self.code(0, 1) else None

    def end(self) -> None:
        if self.at != len(self.data):
            raise Malformed("something follows the end")


def as_string(words: str) -> bytes:
    held, length, head = words.encode(), len(words.encode()), b""
    while length >= 0x80:
        head, length = head + bytes([length & 0x7F | 0x80]), length >> 7
    return head + bytes([length]) + held


def as_optional(words: str | None) -> bytes:
    return b"\0" if words is None else b"\1" + as_string(words)


def as_text(words: str | None, most: int) -> bytes:
    """How an entry gives these words."""
    if words is None:
        return b"\xfe"
    held = words.encode()
    return bytes([len(held)]) + held if len(held) <= most else b"\xff" + sha(held)[:16]


# Entries. A field is a number of bytes, `low..high` for a code of one byte, `v` for a varint, `t32` for a text(32), or
# one of the shapes in `field`.

LAYOUTS = {
    INTENT: "id=16 flags=0..7 identity=1..4 dialect=1..7 action=1..14 effect=0..3 waited=v who=32 what=32 seen=v"
    " body=32 rule=t32 version=t16 credential=t24 credential_version=t24 claims=claims",
    OUTCOME: "id=16 intent=v ending=1..7 status=2 refusal=0..22 lost=0..15 passed_in=v passed_out=v"
    " request=stored response=stored first=v end=v masks=masks",
    REFUSAL: "id=16 ending=1..7 status=2 refusal=0..22 identity=0..4 dialect=0..7 action=0..14 effect=0..3 who=32"
    " what=32 rule=t32 version=t16 lost=0..15 passed_in=v passed_out=v request=stored response=stored end=v",
    EVENT: "event=1..10 who=32 object=t64 outcome=t64 about=request",
    GAP: "reason=1..2 missing=v note=t64",
    ERASURE: "scope=1..3 segment=v sessions=v list=32 who=32 reason=t64",
    HOLD: "released=0..1 hold=32 who=32",
    KEY: "role=1..2 key=32 name=t64",
    START: "disk=0..1 interrupted=v software=t64",
    STOP: "",
}
LAYOUTS[INTERRUPTION] = LAYOUTS[OUTCOME]


def parse_entry(data: bytes) -> dict:
    if len(data) > 300:
        raise Malformed("longer than 300 bytes")
    b = Bytes(data)
    b.code(1, 1)
    entry = {"kind": b.code(INTENT, STOP), "time": struct.unpack(">q", b.take(8))[0]}
    for each in LAYOUTS[entry["kind"]].split():
        name, shape = each.split("=")
        entry[name] = field(b, shape)
    b.end()
    return entry


def field(b: Bytes, shape: str):
    match shape:
        case "v":
            return b.varint()
        case "claims":
            return [b.take(16) for _ in range(b.code(0, 3))]
        case "stored":
            return stored(b)
        case "masks":
            return b.take(32) if b.varint() else None
        case "request":
            return b.take(16) if b.code(0, 1) else None
    if shape[0] == "t":
        return b.text(int(shape[1:]))
    low, _, high = shape.partition("..")
    return b.code(int(low), int(high)) if high else b.take(int(low))


def stored(b: Bytes) -> dict | None:
    if not (blocks := b.varint()):
        return None
    first, more, _text = b.varint(), b.varint(), b.varint()
    if first + more >= 1 << 64:
        raise Malformed("a segment whose number is too large")
    return {"blocks": blocks, "first": first, "last": first + more, "digest": b.take(32)}


# Signatures


class LogKey:
    """What `log.pub` holds."""

    def __init__(self, text: str):
        try:
            self.origin, named, key = text.strip().split("+", 2)
            key = base64.b64decode(key, validate=True)
        except ValueError as error:
            raise Malformed("this is no public key of a log") from error
        self.hash = sha(self.origin.encode(), b"\n", key)[:4]
        if len(key) != 33 or key[0] != 1 or self.hash.hex() != named:
            raise Malformed("this is no public key of a log")
        self.bytes = key[1:]

    def checkpoint(self, note: str) -> tuple[int, bytes]:
        """The size and the root that a note is a good signature over."""
        form = r"(([^\n+]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/=]+)\n)\n— ([^\n ]+) ([A-Za-z0-9+/=]+)\n"
        if not (found := re.fullmatch(form, note)):
            raise Malformed("is no checkpoint")
        text, origin, size, root, signer, signature = found.groups()
        root, signature = unbase64(root), unbase64(signature)
        if (origin, signer) != (self.origin, self.origin) or signature[:4] != self.hash or len(root) != 32:
            raise Malformed("is of another log or key")
        try:
            Ed25519PublicKey.from_public_bytes(self.bytes).verify(signature[4:], text.encode())
        except InvalidSignature as error:
            raise Malformed("has a false signature") from error
        return int(size), root


def unbase64(text: str) -> bytes:
    try:
        held = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Malformed("is no base64") from error
    if base64.b64encode(held).decode() != text:
        raise Malformed("is no base64 in its only form")
    return held


# Segments


def read_segment(data: bytes, number: int) -> list:
    """(request, direction, number of the block, the block) of each whole block."""
    if data[:16] != b"GWDSEG1\n" + struct.pack(">Q", number):
        return []
    blocks, b = [], Bytes(data, 16)
    while b.at < len(data):
        start = b.at
        try:
            b.code(0xB1, 0xB1)
            flags, request, count, length = b.code(0, 7), b.take(16), b.varint(), b.varint()
            head, checksum, sealed = data[start : b.at], b.number(4), b.take(length)
        except Malformed:
            break
        if length > 1 << 20 or zlib.crc32(head + sealed) != checksum:
            break
        blocks.append((request, flags & 1, count, data[start : b.at]))
    return blocks


class Verifier:
    """Checks one directory. It goes on after a damage as far as that makes sense. It holds all bodies in memory."""

    def __init__(self, directory: pathlib.Path, key: str | None, pinned: str | None):
        self.directory = directory
        self.damages: list[tuple[int, int | None, str]] = []
        self.unproven: list[str] = []
        if key is None:
            self.unproven.append("the public key was taken from the directory itself, not from you")
        if pinned is None:
            self.unproven.append("that no older state was put back, nor the log written anew: no pin")
        self.key = LogKey((directory / "log.pub").read_text() if key is None else key)
        self.pinned = pinned
        self.entries: list[dict] = []

    def damage(self, code: int, entry: int | None, what: str) -> None:
        self.damages.append((code, entry, what))

    def run(self) -> None:
        # Not `immutable`: what is in evidence.db-wal belongs to the database.
        self.db = sqlite3.connect(f"{(self.directory / 'evidence.db').absolute().as_uri()}?mode=ro", uri=True)
        self.db.text_factory = lambda held: held.decode(errors="replace")
        try:
            if (form := self.db.execute("PRAGMA user_version").fetchone()[0]) != 1:
                raise Malformed(f"the evidence has format {form}, which I do not know")
            there = {name for (name,) in self.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if missing := TABLES - there:
                self.damage(LOG, None, f"the database lacks {sorted(missing)}")
                return
            if (found := self.db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                self.damage(LOG, None, f"the database is broken: {found}")
            self.read_entries()
            self.check_tree()
            self.check_rules()
            self.check_bodies()
            self.check_words()
        except sqlite3.OperationalError:
            raise  # No such file or table: this is no evidence.
        except sqlite3.DatabaseError as error:
            self.damage(LOG, None, f"the database is broken: {error}")

    def read_entries(self) -> None:
        hashes = []
        for at, (index, data) in enumerate(self.db.execute("SELECT idx, data FROM leaves ORDER BY idx")):
            try:
                if index != at:
                    raise Malformed("is missing")
                if not isinstance(data, bytes):
                    raise Malformed("is no bytes")
                self.entries.append(parse_entry(data))
            except Malformed as error:
                self.damage(LOG, at, f"entry {at}: {error}")
                break
            hashes.append(sha(b"\0", data))

        @lru_cache(maxsize=None)
        def root(low: int, high: int) -> bytes:
            if high - low < 2:
                return hashes[low] if high > low else sha()
            split = low + (1 << (high - low - 1).bit_length() - 1)
            return sha(b"\1", root(low, split), root(split, high))

        self.root = root

    def check_tree(self) -> None:
        count, self.signed, self.checkpoints = len(self.entries), 0, 0
        rows = self.rows(LOG, "checkpoints", size=int, note=str)
        notes = [(LOG, f"checkpoint {size}", size, note) for size, note in rows]
        try:
            notes.append((LOG, "the file `checkpoint`", None, (self.directory / "checkpoint").read_text()))
        except (OSError, UnicodeDecodeError) as error:
            self.damage(LOG, None, f"the file `checkpoint` cannot be read: {error}")
        if self.pinned is not None:
            notes.append((PIN, "the pinned checkpoint", None, self.pinned))
        for code, name, named, note in notes:
            try:
                size, root = self.key.checkpoint(note)
                if named not in (None, size):
                    raise Malformed(f"is for {size} entries")
                if size > count:
                    raise Malformed(f"covers {size} entries, there are {count}")
                if self.root(0, size) != root:
                    raise Malformed(f"has another root than the first {size} entries")
            except (Malformed, TypeError) as error:
                self.damage(code, None, f"{name} {error}")
                continue
            self.signed, self.checkpoints = max(self.signed, size), self.checkpoints + 1
        if self.signed < count:
            self.unproven.append(f"entries {self.signed} to {count - 1}: no checkpoint covers them")
        self.check_tiles(count)

    def check_tiles(self, count: int) -> None:
        tiles = {(level, n): data for level, n, data in self.rows(LOG, "tiles", level=int, n=int, data=bytes)}
        wanted, width = {}, 1
        for level in range(8):
            for n in range(count // (256 * width)):
                roots = [self.root(k * width, (k + 1) * width) for k in range(256 * n, 256 * (n + 1))]
                wanted[level, n] = b"".join(roots)
            width *= 256
        for level, n in sorted(wanted.keys() | tiles.keys()):
            if tiles.get((level, n)) != wanted.get((level, n)):
                self.damage(LOG, None, f"tile {n} of level {level} is not that of the entries")

    def rows(self, code: int, table: str, **columns) -> list:
        """All rows whose values have these types; the others are damage."""
        good = []
        for row in self.db.execute(f"SELECT {', '.join(columns)} FROM {table}"):
            if all(isinstance(value, kind) for value, kind in zip(row, columns.values(), strict=True)):
                good.append(row)
            else:
                self.damage(code, None, f"a row of {table} holds something of another type: {row[0]}")
        return good

    def check_rules(self) -> None:
        for at, e in enumerate(self.entries):
            if (at == 0) != (e["kind"] == KEY and e["role"] == 1) or (at == 0 and e["key"] != self.key.bytes):
                self.damage(LOG, at, f"entry {at}: the key of the log is named by entry 0, and there only")
        opened: dict[int, dict] = {}
        claimed: dict[bytes, int] = {}
        self.closed: dict[int, int] = {}
        for at, e in enumerate(self.entries):
            if e["kind"] == INTENT:
                opened[at] = e
                for claim in e["claims"]:
                    if claim in claimed:
                        self.damage(RULE, at, f"entry {at} makes a claim that entry {claimed[claim]} made")
                    claimed.setdefault(claim, at)
            elif e["kind"] in ENDS:
                intent = opened.pop(e["intent"], None)
                if intent is None or intent["id"] != e["id"]:
                    self.damage(RULE, at, f"entry {at} closes entry {e['intent']}, no open intent of its request")
                self.closed.setdefault(e["intent"], at)
            elif e["kind"] in (START, STOP):
                for intent in opened:
                    self.damage(RULE, at, f"entry {intent} has no outcome before the start or stop at entry {at}")
                opened.clear()
            elif e["kind"] == GAP:
                self.unproven.append(f"{e['missing']} entries are missing, as entry {at} says")
        if opened:
            self.unproven.append(f"{len(opened)} requests are open at the end of the log")

    def check_bodies(self) -> None:
        held: dict[tuple, list] = {}
        there = set()
        for file in sorted((self.directory / "segments").glob("*.seg")):
            if re.fullmatch(r"\d{10}\.seg", file.name):
                there.add(number := int(file.stem))
                for request, direction, count, block in read_segment(file.read_bytes(), number):
                    held.setdefault((request, direction), []).append((number, count, block))
        dropped = {e["segment"] for e in self.entries if e["kind"] == ERASURE and e["scope"] == 3}
        self.bodies = 0
        for at, e in enumerate(self.entries):
            for direction, part in enumerate(("request", "response")):
                if not (body := e.get(part)):
                    continue
                name, blocks = f"the {part} body of entry {at}", held.get((e["id"], direction), [])
                # One at a time: an entry may speak of 2^64 segments.
                gone = (n for n in range(body["first"], body["last"] + 1) if n not in there)
                missing = next(gone, None)
                whole = [count for _, count, _ in blocks] == list(range(body["blocks"]))
                if missing in dropped and all(n in dropped for n in gone) and not whole:
                    self.unproven.append(f"{name}: segment {missing} was erased, as the log says")
                    continue
                if missing is not None and missing not in dropped:
                    self.damage(BODY, at, f"{name} needs segment {missing}, which is missing")
                elif not whole or (blocks[0][0], blocks[-1][0]) != (body["first"], body["last"]):
                    self.damage(BODY, at, f"{name} is not whole, or elsewhere")
                elif sha(*(block for _, _, block in blocks)) != body["digest"]:
                    self.damage(BODY, at, f"{name} was changed")
                else:
                    self.bodies += 1

    def check_words(self) -> None:
        entries = dict(enumerate(self.entries))
        self.check_sessions(entries)
        self.check_events(entries)
        self.check_holds(entries)

    def check_sessions(self, entries: dict) -> None:
        labels = dict(self.rows(WORDS, "labels", id=int, text=str))
        claims: dict[int, list] = {}
        for kind, name, session, request in self.rows(WORDS, "claims", kind=str, id=str, session=int, request=bytes):
            claims.setdefault(session, []).append((kind, name, request))
        erased: dict[int, list] = {n: [] for n, e in entries.items() if e["kind"] == ERASURE}
        words = dict.fromkeys(("salt", "who", "what", "masks"), bytes | None)
        columns = {"number": int, "id": bytes, "outcome": int | None, "subject": int | None, **words}
        rows = {row[0]: row[1:] for row in self.rows(WORDS, "sessions", **columns, erased=int | None)}
        self.same_keys("session", rows, [n for n, e in entries.items() if e["kind"] in (INTENT, REFUSAL)])
        for number, (name, outcome, subject, salt, who, what, masks, erasure) in sorted(rows.items()):
            e = entries.get(number, {})
            if e.get("kind") not in (INTENT, REFUSAL):
                continue
            end = number if e["kind"] == REFUSAL else self.closed.get(number)
            if (name, outcome) != (e["id"], end):
                self.damage(WORDS, number, f"the row of entry {number} names another request or outcome")
            mine = claims.pop(number, [])
            made = [sha(as_string(kind), as_string(name))[:16] for kind, name, _ in mine]
            if sorted(made) != sorted(e.get("claims", [])) or any(request != e["id"] for *_, request in mine):
                self.damage(WORDS, number, f"the claims of entry {number} are not those of the database")
            if erasure is not None:
                erased.get(erasure, []).append(number)
                if erasure not in erased or (salt, who, what, masks) != (None,) * 4:
                    self.damage(WORDS, number, f"the row of entry {number} is erased, but not by an erasure")
                continue
            try:
                spoken = self.spoken(e, entries.get(end, {}), salt, who, what, masks)
                if (labels.get(subject) or "") != spoken:
                    raise Malformed("the subject is another")
            except (Malformed, TypeError) as error:
                self.damage(WORDS, number, f"the words of entry {number} are not those of the log: {error}")
        for session in claims:
            self.damage(WORDS, None, f"claims of entry {session}, which is no request")
        for at, numbers in erased.items():
            listed = len(numbers), sha(*(struct.pack(">Q", number) for number in numbers))
            if listed != (entries[at]["sessions"], entries[at]["list"]):
                self.damage(WORDS, at, f"entry {at} erased other sessions than the database says")

    def spoken(self, e: dict, end: dict, salt: bytes, who: bytes, what: bytes, masks: bytes | None) -> str:
        """Checks the words of one session; returns the label of its subject."""
        if len(salt) != 16 or salted(1, salt, who) != e["who"] or salted(2, salt, what) != e["what"]:
            raise Malformed("digests of who or what")
        if (masks is None or salted(4, salt, masks)) != (end.get("masks") or True):
            raise Malformed("digest of the masks")
        b = Bytes(what)
        b.string(), b.string()
        words = [b.optional() for _ in range(8)][4:]
        claims = [sha(as_string(b.string()), as_string(b.string()))[:16] for _ in range(b.varint())]
        b.end()
        mosts = {"rule": 32, "version": 16, "credential": 24, "credential_version": 24}
        for (name, most), word in zip(mosts.items(), words, strict=True):
            if e.get(name, as_text(word, most)) != as_text(word, most):
                raise Malformed(name)
        if claims != e.get("claims", claims):
            raise Malformed("claims")
        if masks is not None:
            b = Bytes(masks)
            rules = [(b.string(), b.varint()) for _ in range(b.varint())]
            b.end()
            if rules != sorted(rules):
                raise Malformed("masks out of order")
        b = Bytes(who)
        issuer, subject, _ = b.optional(), b.optional(), b.optional()
        _ = [b.string() for _ in range(b.varint())], b.optional(), b.code(0, 1)
        b.end()
        if issuer is None and subject is None:
            return ""
        return f"{len((issuer or '').encode())}:{issuer or ''}|{subject or ''}"

    def check_events(self, entries: dict) -> None:
        worded = [n for n, e in entries.items() if e["kind"] in (EVENT, HOLD) or e.get("scope") in (1, 2)]
        columns = {"idx": int, "request": bytes | None, "salt": bytes, "who": bytes | None, "words": bytes}
        rows = {row[0]: row[1:] for row in self.rows(WORDS, "events", **columns)}
        self.same_keys("event", rows, worded)
        for at in sorted(rows.keys() & set(worded)):
            (request, salt, who, words), e = rows[at], entries[at]
            try:
                b = Bytes(words)
                thing, outcome = as_text(b.string(), 64), as_text(b.string(), 64)
                said = {"object": thing, "outcome": outcome, "reason": outcome}
                b.end()
                if len(salt) != 16 or (NOBODY if who is None else salted(1, salt, who)) != e["who"]:
                    raise Malformed("who did it")
                if any(e.get(name, word) != word for name, word in said.items()) or e.get("about") != request:
                    raise Malformed("object, outcome, reason or request")
            except (Malformed, TypeError) as error:
                self.damage(WORDS, at, f"the words of entry {at} are not those of the log: {error}")

    def check_holds(self, entries: dict) -> None:
        columns = {"idx": int, "session": bytes | None, "subject": str | None, "reason": str, "salt": bytes}
        holds = {row[0]: row[1:] for row in self.rows(WORDS, "holds", **columns, released=int | None)}
        self.same_keys("hold", holds, [n for n, e in entries.items() if e["kind"] == HOLD and not e["released"]])
        ends = {at for at, e in entries.items() if e["kind"] == HOLD and e["released"]}
        self.same_keys("released hold", {row[-1]: row for row in holds.values() if row[-1] is not None}, list(ends))
        for at, (session, subject, reason, salt, released) in holds.items():
            words = as_optional(None if session is None else session.hex()) + as_optional(subject) + as_string(reason)
            for index in (at, released) if released in ends else (at,):
                if entries.get(index, {}).get("hold") != salted(5, salt, words):
                    self.damage(WORDS, at, f"the hold of entry {at} is not that of entry {index}")

    def same_keys(self, what: str, rows: dict, entries: list) -> None:
        for number in sorted(rows.keys() ^ set(entries)):
            self.damage(WORDS, number, f"entry {number} and the table of {what}s: one is without the other")

    def print(self) -> int:
        self.damages.sort(key=lambda damage: damage[0])
        for code, _, what in self.damages[:20]:
            print(f"DAMAGED ({code}): {what}")
        places = [entry for _, entry, _ in self.damages if entry is not None]
        if places:
            print(f"first damage: entry {min(places)}")
        if not self.damages:
            entries = f"{self.signed} of {len(self.entries)} entries"
            print(f"proven: {entries}, {self.checkpoints} checkpoints, {self.bodies} bodies")
        for what in self.unproven:
            print(f"not proven: {what}")
        return self.damages[0][0] if self.damages else 0


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
    except (OSError, UnicodeDecodeError, Malformed, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return verifier.print()


if __name__ == "__main__":
    sys.exit(main())
