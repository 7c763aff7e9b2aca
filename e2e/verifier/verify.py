"""A second verifier of gatewayd's evidence, written from docs/evidence-format.md alone.

    verify.py DIRECTORY [--key FILE] [--pinned FILE]

It shares no code with the gateway. It looks at the log, the pin, the rules, the words and the bodies, in this
order, and stops at the first damage: what hangs on damaged things proves nothing. Exit status: 0 intact, 2 it cannot
be checked; damage of 10 the log, 11 the pin, 12 rules 2 to 4, 13 words, 14 bodies.
"""

import argparse
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
from contextlib import closing, contextmanager
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# The schema of the database and the layouts of entries and words are taken from the page itself.
PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/evidence-format.md").read_text()
SCHEMA, LAYOUTS = PAGE.split("```sql\n")[1].split("```")[0], {}
for name, layout in re.findall(r"^(\w+):(.*)$", PAGE.split("```layouts\n")[1].split("```")[0], re.MULTILINE):
    LAYOUTS[name] = " ".join(LAYOUTS.get(word, word) for word in layout.split())
INTENT, REFUSAL, EVENT, GAP, ERASURE, HOLD, KEY, ENDS, BORDERS = 1, 3, 4, 5, 7, 8, 9, (2, 6), (10, 11)
LONGEST = 1 << 20  # No value is longer, and no block.


class Damage(Exception):
    """The exit code, and what is damaged."""


@contextmanager
def about(code: int, what: str):
    """Whatever does not hold in here is damage of this."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise Damage(code, f"{what}: {error}") from error


def need(holds, what: str) -> None:
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
        need(self.at <= len(self.data), "it ends too early")
        return self.data[self.at - count : self.at]

    def code(self, low: int, high: int) -> int:
        need(low <= (code := self.take(1)[0]) <= high, f"{code} is not from {low} to {high}")
        return code

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) >= 0x80 and shift < 63:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
        value |= byte << shift
        need(value < 1 << 64 and (byte or not shift), "a number is too large or not in its shortest form")
        return value

    def text(self, most: int) -> str | bytes | None:
        length = self.code(0, 255)
        need(length >= 0xFE or length <= most, "a text is too long")
        return None if length == 0xFE else self.take(16) if length == 0xFF else self.take(length).decode()

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
        if first == "s":
            return self.take(self.varint()).decode()
        if first in "vt":
            return self.varint() if first == "v" else self.text(int(rest))
        low, _, high = shape.partition("..")
        return self.code(int(low), int(high)) if high else self.take(int(low))

    def shapes(self, shapes: str) -> tuple:
        return tuple(map(self.shape, shapes.split(",")))


def parse(layout: str, data: bytes, at: int = 0) -> dict:
    b = Bytes(data, at)
    found = {name: b.shape(shape) for name, shape in (field.split("=") for field in LAYOUTS[layout].split())}
    need(b.at == len(data), "something follows the end")
    return found


def parse_entry(data: bytes) -> dict:
    need(isinstance(data, bytes) and 10 <= len(data) <= 300 and data[0] == 1 and data[1] in range(1, 12), "it is none")
    entry = {"kind": data[1], **parse(str(data[1]), data, 10)}
    for _, first, more, *_ in filter(None, map(entry.get, ("request", "response"))):
        need(first + more < 1 << 64, "the number of a segment is too large")
    return entry


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def string(words: str) -> bytes:
    return varint(len(words.encode())) + words.encode()


def optional(words: str | None) -> bytes:
    return b"\0" if words is None else b"\1" + string(words)


def shortened(word: str | None, most: int) -> str | bytes | None:
    return word if word is None or len(word.encode()) <= most else sha(word.encode())[:16]


def claim_digest(kind: str, name: str) -> bytes:
    return sha(string(kind), string(name))[:16]


def same_texts(entry: dict, words: dict) -> bool:
    """Whether the texts of an entry are the words of the same name, where it has these words."""
    texts = re.findall(r"(\w+)=t(\d+)", LAYOUTS[str(entry["kind"])])
    return all(entry[name] == shortened(words[name], int(most)) for name, most in texts if name in words)


def is_file(path: pathlib.Path) -> bool:
    return path.is_file() and not path.is_symlink()


def read_note(path: pathlib.Path) -> str:
    need(is_file(path), f"{path.name} is no file")
    return path.read_text()


def unbase64(text: str) -> bytes:
    held = base64.b64decode(text, validate=True)
    need(base64.b64encode(held).decode() == text, "base64 has one form")
    return held


class LogKey:
    def __init__(self, text: str):
        self.origin, name, key = text.strip().split("+", 2)
        key = unbase64(key)
        self.hash, self.bytes = sha(self.origin.encode(), b"\n", key)[:4], key[1:]
        need(len(key) == 33 and key[0] == 1 and self.hash.hex() == name, "this is no public key of a log")

    def open(self, note: str) -> tuple[int, bytes]:
        """The size and the root that a checkpoint is signed for."""
        form = re.fullmatch(r"(([^\n]+)\n(0|[1-9][0-9]{0,19})\n([^\n]+)\n)\n((?:— [^\n ]+ [^\n]+\n)+)", note)
        need(form and form[2] == self.origin, "it is no checkpoint of this log")
        for name, signature in re.findall(r"— (\S+) (.+)", form[5]):
            signature = unbase64(signature)
            if (name, signature[:4]) == (self.origin, self.hash):
                try:
                    Ed25519PublicKey.from_public_bytes(self.bytes).verify(signature[4:], form[1].encode())
                    return int(form[3]), unbase64(form[4])
                except InvalidSignature:
                    pass
        raise ValueError("it has no signature of the key that holds")


class Verifier:
    def __init__(self, directory: pathlib.Path, key: str | None = None, pinned: str | None = None):
        self.directory, self.pinned = directory, pinned
        self.unproven = [] if key else ["the public key was taken from the directory itself, not from you"]
        if pinned is None:
            self.unproven.append("that no older state was put back, nor the log written anew: no pin")
        self.key = LogKey(key or read_note(directory / "log.pub"))
        self.entries: list[dict] = []
        self.signed = self.checkpoints = self.bodies = 0

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as private, closing(self.open(pathlib.Path(private))) as self.db:
            try:
                need(self.rows("PRAGMA user_version")[0][0] == 1, "the evidence has a format that I do not know")
                self.check_log()
                if self.pinned is not None:
                    self.key.open(self.pinned)  # One that does not hold is no damage, but nothing to check against.
                    with about(11, "the pinned checkpoint"):
                        self.check_note(self.pinned)
                self.check_rules()
                self.check_words()
                self.check_bodies()
            except sqlite3.DatabaseError as error:
                raise Damage(10, f"the database is broken: {error}") from error

    def open(self, private: pathlib.Path) -> sqlite3.Connection:
        """What is in evidence.db-wal belongs to the database; nothing is made beside what is examined."""
        files = {end: self.directory / f"evidence.db{end}" for end in ("", "-wal", "-shm", "-journal")}
        for file in files.values():
            need(is_file(file) or not os.path.lexists(file), f"{file.name} is no file")
        written = files["-wal"].exists()
        for file in (files[""], files["-wal"]) if written else ():
            shutil.copy(file, private)
        path = private / "evidence.db" if written else files[""].absolute()
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro{'' if written else '&immutable=1'}", uri=True)
        db.row_factory, db.text_factory = sqlite3.Row, lambda held: held.decode(errors="replace")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        return db

    def rows(self, query: str) -> list:
        return self.db.execute(query).fetchall()

    def of_kind(self, *kinds: int) -> dict:
        return {at: e for at, e in enumerate(self.entries) if e["kind"] in kinds}

    def check_log(self) -> None:
        model = sqlite3.connect(":memory:")
        model.executescript(SCHEMA)
        schema = "SELECT type, name, sql FROM sqlite_schema"
        expected, held = (set(map(tuple, db.execute(schema))) for db in (model, self.db))
        with about(10, "the schema"):
            need(expected == held, f"it is not that of the format: {expected ^ held}")
        hashes = []
        for at, (index, data) in enumerate(self.rows("SELECT idx, data FROM leaves ORDER BY idx")):
            with about(10, f"entry {at}"):
                need(index == at, "it is missing")
                entry = parse_entry(data)
                need((entry.get("role") == 1) == (at == 0), "the first, and no other, names the key of the log")
                need(at > 0 or entry["key"] == self.key.bytes, "it names another key")
            self.entries.append(entry)
            hashes.append(sha(b"\0", data))

        @lru_cache(maxsize=None)
        def root(low: int, high: int) -> bytes:
            if high - low < 2:
                return hashes[low] if high > low else sha()
            split = low + (1 << (high - low - 1).bit_length() - 1)
            return sha(b"\1", root(low, split), root(split, high))

        self.root = root
        self.check_tiles()
        with about(10, "the file `checkpoint`"):
            self.check_note(read_note(self.directory / "checkpoint"))
        for size, time, note in self.rows("SELECT size, time, note FROM checkpoints"):
            with about(10, f"the checkpoint that stands at {size}"):
                need(isinstance(time, int) and self.check_note(note) == size, "it is of another size, or has no time")
        with about(10, "the database"):
            need((found := self.rows("PRAGMA integrity_check(1)")[0][0]) == "ok", found)

    def check_note(self, note: str) -> int:
        size, root = self.key.open(note)
        need(size <= len(self.entries), f"it covers {size} entries, there are {len(self.entries)}")
        need(self.root(0, size) == root, f"it has another root than the first {size} entries")
        self.signed, self.checkpoints = max(self.signed, size), self.checkpoints + 1
        return size

    def check_tiles(self) -> None:
        tiles, count = {(level, n): data for level, n, data in self.rows("SELECT level, n, data FROM tiles")}, 0
        for level in range(8):
            width = 256**level
            count += (full := len(self.entries) // width // 256)
            for n in range(256 * full):
                with about(10, f"entry {n * width}, or tile {n // 256} of level {level}"):
                    held = tiles.get((level, n // 256), b"")[n % 256 * 32 :][:32]
                    need(held == self.root(n * width, (n + 1) * width), "one is not that of the other")
        with about(10, "the tiles"):
            need(len(tiles) == count and {*map(len, tiles.values())} <= {8192}, "there is one too many or too long")

    def check_rules(self) -> None:
        self.closed: dict[int, int] = {}
        self.claimed: dict[bytes, tuple] = {}
        opened: dict[int, bytes] = {}
        broken: list[tuple[int, str]] = []
        for at, e in enumerate(self.entries):
            if e["kind"] == INTENT:
                opened[at] = e["id"]
                for claim in e["claims"]:
                    if self.claimed.setdefault(claim, (at, e["id"]))[0] != at or e["claims"].count(claim) > 1:
                        broken.append((at, "makes a claim that was made before"))
            elif e["kind"] in ENDS:
                if opened.pop(e["intent"], None) != e["id"]:
                    broken.append((at, f"closes entry {e['intent']}, no open intent of its request"))
                self.closed[e["intent"]] = at
            elif e["kind"] in BORDERS:
                broken += [(intent, f"has no outcome before the start or stop at entry {at}") for intent in opened]
                opened.clear()
            elif e["kind"] == GAP:
                self.unproven.append(f"{e['missing']} things are missing, as entry {at} says")
        if broken:
            raise Damage(12, "entry {} {}".format(*min(broken)))
        if opened:
            self.unproven.append(f"{len(opened)} requests are open at the end of the log")
        if self.signed < len(self.entries):
            self.unproven.append(f"entries {self.signed} to {len(self.entries) - 1}: no checkpoint covers them")

    def check_words(self) -> None:
        names = "sessions", "events", "holds"
        tables = [{row[0]: row for row in self.rows(f"SELECT * FROM {name} ORDER BY 1")} for name in names]
        sessions, events, holds = tables
        self.labels = dict(map(tuple, self.rows("SELECT id, text FROM labels")))
        self.erased: dict[int, list] = {}
        for number, row in sessions.items():
            self.erased.setdefault(row["erased"], []).append(number)
        for at, e in enumerate(self.entries):
            kind = e["kind"]
            with about(13, f"the words of entry {at}"):
                worded = kind in (EVENT, HOLD) or kind == ERASURE and e["scope"] != 3
                expected = [kind in (INTENT, REFUSAL), worded, kind == HOLD and not e["released"]]
                need([at in rows for rows in tables] == expected, "they are missing, or there are some of another kind")
                if at in sessions:
                    self.check_session(at, sessions[at], e)
                if at in events:
                    self.check_event(events[at], e)
                if kind == HOLD:
                    self.check_hold(at, holds.get(at), e)
                if kind == ERASURE:
                    numbers = self.erased.get(at, [])
                    listed = sha(*(number.to_bytes(8) for number in numbers))
                    need((len(numbers), listed) == (e["sessions"], e["list"]), "it erased other sessions")
        more = sorted(at for rows in tables for at in rows if at not in range(len(self.entries)))
        with about(13, f"the words of entry {more[0]}" if more else "words"):
            need(not more, "there is no such entry")
        claims = self.rows("SELECT kind, id, session, request FROM claims")
        for kind, name, *by in claims:
            with about(13, f"the claim of {str(kind)[:64]!r} {str(name)[:64]!r}"):
                entry, request = self.claimed.get(claim_digest(kind, name), (None, None))
                need([entry, request] == by, f"entry {entry} made it, or none")
        with about(13, "claims"):
            need(len(claims) == len(self.claimed), f"{len(self.claimed)} were made, {len(claims)} are there")
            need(all(isinstance(text, str) for text in self.labels.values()), "a label is no text")
        keyed = {number for (number,) in self.rows("SELECT number FROM session_keys JOIN subject_keys USING (subject)")}
        stored = {e.get("intent", at) for at, e in enumerate(self.entries) if e.get("request") or e.get("response")}
        if locked := [at for at in stored - keyed if sessions[at]["erased"] is None]:
            self.unproven.append(f"the bodies of {len(locked)} requests cannot be opened: their keys are missing")

    def check_session(self, at: int, row: sqlite3.Row, e: dict) -> None:
        end = at if e["kind"] == REFUSAL else self.closed.get(at)
        need((row["id"], row["outcome"]) == (e["id"], end), "they are of another request or outcome")
        salt, who, what, masks = words = [row[name] for name in ("salt", "who", "what", "masks")]
        if row["erased"] is not None:
            erasure = row["erased"] in self.of_kind(ERASURE)
            return need(erasure and [row["subject"], *words] == [None] * 5, "no erasure erased them, or not all")
        need(len(salt) == 16 and sha(b"\1", salt, who) == e["who"], "who asked is another")
        need(sha(b"\2", salt, what) == e["what"], "what was asked is something else")
        masked = end is not None and self.entries[end].get("masks")
        need((masked[1] if masked else None) == (None if masks is None else sha(b"\4", salt, masks)), "the mask counts")
        if masks is not None:
            masks = parse("masks", masks)
            rules = [rule for rule, _spans in masks["rules"]]
            places = all(rule < len(rules) for rule, *_ in masks["places"])
            need(rules == sorted(rules) and places, "the order of the masks")
        who, what = parse("who", who), parse("what", what)
        claims = [claim_digest(kind, name) for kind, name in what["claims"]]
        need(same_texts(e, what) and claims == e.get("claims", claims), "rule, credential or claims are others")
        known = who["issuer"] is not None and who["subject"] is not None
        label = f"{len(who['issuer'].encode())}:{who['issuer']}|{who['subject']}" if known else ""
        need(self.labels.get(row["subject"]) == label, "the label of the subject is another")

    def check_event(self, row: sqlite3.Row, e: dict) -> None:
        words = parse("event", row["words"])
        who = bytes(32) if row["who"] is None else sha(b"\1", row["salt"], row["who"])
        need(len(row["salt"]) == 16 and who == e["who"], "who did it is another")
        need(row["request"] == e.get("about") and same_texts(e, {**words, "reason": words["outcome"]}), "what was done")
        need(e["kind"] != HOLD or sha(b"\2", row["salt"], row["words"]) == e["what"], "why it is held")
        need(e["kind"] != ERASURE or words["object"] == ("", "session", "subject")[e["scope"]], "what was erased")

    def check_hold(self, at: int, row: sqlite3.Row | None, e: dict) -> None:
        """Rule 6, and what a row says of a hold that was set."""
        same = {n: other["released"] for n, other in self.of_kind(HOLD).items() if other["hold"] == e["hold"]}
        need(list(same.values()) in ([0], [0, 1]), "it sets a hold again, or releases one that is not in force")
        if row is not None:
            session = None if row["session"] is None else row["session"].hex()
            words = optional(session) + optional(row["subject"]) + string(row["reason"])
            need(len(row["salt"]) == 16 and sha(b"\5", row["salt"], words) == e["hold"], "what is held is another")
            need([at, row["released"]] == [*same, None][:2], "another entry released it, or none")

    def check_bodies(self) -> None:
        found: dict[tuple, tuple] = {}
        segments = {int(file.stem): file for file in (self.directory / "segments").glob("*.seg")
                    if re.fullmatch(r"[0-9]{10}\.seg", file.name) and is_file(file)}
        for segment, file in sorted(segments.items()):
            for request, way, number, block in blocks(file.read_bytes(), segment):
                places, digest = found.setdefault((request, way), ([], hashlib.sha256()))
                places.append((number, segment))
                digest.update(block)
        dropped = {e["segment"] for e in self.of_kind(ERASURE).values() if e["scope"] == 3}
        ways = [(at, e, part) for at, e in enumerate(self.entries) for part in ("request", "response") if part in e]
        for at, e, part in ways:
            places, digest = found.get((e["id"], part == "response"), ([], hashlib.sha256()))
            with about(14, f"the {part} body of entry {at}"):
                if not e[part]:
                    need(not places or e["lost"] & 8, "there should be none, but there are blocks of it")
                    continue
                count, first, more, _length, expected = e[part]
                if [number for number, _ in places] == list(range(count)) and digest.digest() == expected:
                    need((places[0][1], places[-1][1]) == (first, first + more), "it stands in other segments")
                    self.bodies += 1
                    continue
                known = {n for n in segments.keys() | dropped if first <= n <= first + more}
                gone = known - segments.keys()
                need(gone and len(known) == more + 1 and len(places) < count, "it was changed, or a segment is missing")
                self.unproven.append(f"the {part} body of entry {at}: segments {gone} were dropped, as the log says")


def blocks(data: bytes, segment: int):
    """Request, direction, number and bytes of each block of a segment, up to the first that is not whole."""
    b = Bytes(data, 16)
    try:
        need(data[:16] == b"GWDSEG1\n" + segment.to_bytes(8), "this is no such segment")
        while b.at < len(data):
            start, _ = b.at, b.code(0xB1, 0xB1)
            flags, request, number, length = b.code(0, 15), b.take(16), b.varint(), b.varint()
            need((flags < 8 or number == 0) and length <= LONGEST, "this is no block")
            head, checksum, sealed = data[start : b.at], b.take(4), b.take(length)
            need(zlib.crc32(head + sealed) == int.from_bytes(checksum), "it is torn")
            yield request, flags & 1, number, data[start : b.at]
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
    except Damage as damage:
        print("DAMAGED ({}): {}".format(*damage.args))
        return damage.args[0]
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = verifier.signed, len(verifier.entries), verifier.checkpoints, verifier.bodies
    print("proven: {} of {} entries, {} checkpoints, {} bodies".format(*counts))
    for what in verifier.unproven:
        print(f"not proven: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
