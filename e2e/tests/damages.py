"""Ways to damage a copy of the evidence. Each takes the copy and a source of chance, and leaves a changed copy.

Those named `resigned_...` sign the changed log anew with the key that a thief of `log.key` would have, so that
nothing but the rules of the format can find them.
"""

import base64
import contextlib
import hashlib
import pathlib
import random
import shutil
import sqlite3
import struct
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DAMAGES = []


class Unfit(Exception):
    """This log has nothing that could be damaged in this way."""


def damage(*statuses: int):
    """What both verifiers must end with; nothing where chance decides how bad it is, so that they must only agree."""

    def keep(change):
        change.statuses = statuses
        DAMAGES.append(change)
        return change

    return keep


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


# Leaves, by somebody who can write the database.


@damage(10)
def a_bit_of_a_leaf(copy: Copy, rng):
    index, data = rng.choice(copy.query("SELECT idx, data FROM leaves"))
    copy.query("UPDATE leaves SET data = ? WHERE idx = ?", flip(data, rng), index)


@damage(10)
def the_time_of_a_leaf(copy: Copy, rng):
    index, data = rng.choice(copy.query("SELECT idx, data FROM leaves"))
    copy.query("UPDATE leaves SET data = ? WHERE idx = ?", data[:2] + flip(data[2:10], rng) + data[10:], index)


@damage(10)
def a_leaf_deleted(copy: Copy, rng):
    copy.query("DELETE FROM leaves WHERE idx = ?", rng.randrange(len(copy.leaves())))


@damage(10)
def a_leaf_taken_out(copy: Copy, rng):
    leaves = copy.leaves()
    del leaves[rng.randrange(len(leaves))]
    copy.rewrite(leaves)


@damage(10)
def a_leaf_inserted(copy: Copy, rng):
    leaves = copy.leaves()
    leaves.insert(rng.randrange(len(leaves)), flip(rng.choice(leaves), rng))
    copy.rewrite(leaves)


@damage(10)
def a_leaf_twice(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.randrange(len(leaves) - 1)
    leaves.insert(index, leaves[index])
    copy.rewrite(leaves)


@damage(10)
def leaves_reordered(copy: Copy, rng):
    leaves = copy.leaves()
    one, other = rng.sample(range(len(leaves)), 2)
    leaves[one], leaves[other] = leaves[other], leaves[one]
    copy.rewrite(leaves)


@damage(10)
def the_end_cut_off(copy: Copy, rng):
    leaves = copy.leaves()
    copy.rewrite(leaves[: rng.randrange(len(leaves))])


@damage()
def a_leaf_appended_unsigned(copy: Copy, rng):
    leaves = copy.leaves()
    copy.rewrite([*leaves, rng.choice(leaves)])


@damage(10)
def a_bit_of_a_tile(copy: Copy, rng):
    tiles = copy.query("SELECT level, n, data FROM tiles")
    if not tiles:
        raise Unfit
    level, n, data = rng.choice(tiles)
    copy.query("UPDATE tiles SET data = ? WHERE (level, n) = (?, ?)", flip(data, rng), level, n)


# Checkpoints.


@damage(10)
def a_byte_of_the_checkpoint(copy: Copy, rng):
    copy.edit(copy.checkpoint, lambda held: flip(held, rng))


@damage(10)
def a_byte_of_a_stored_checkpoint(copy: Copy, rng):
    size, note = rng.choice(copy.query("SELECT size, note FROM checkpoints"))
    at = rng.randrange(len(note))
    note = note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]
    copy.query("UPDATE checkpoints SET note = ? WHERE size = ?", note, size)


@damage(10)
def a_checkpoint_by_another_key(copy: Copy, rng):
    leaves = copy.leaves()
    note = copy.note(len(leaves), tree([sha(b"\0", data) for data in leaves]), Ed25519PrivateKey.generate())
    copy.checkpoint.write_text(note)


@damage(10)
def a_checkpoint_of_another_size(copy: Copy, rng):
    size = rng.randrange(len(copy.leaves()))
    copy.query("UPDATE checkpoints SET size = ? WHERE size = (SELECT max(size) FROM checkpoints)", size * 1000 + 1)


@damage(10)
def a_checkpoint_of_another_tree(copy: Copy, rng):
    copy.checkpoint.write_text(copy.note(len(copy.leaves()), sha(rng.randbytes(8))))


@damage(10)
def no_checkpoint(copy: Copy, rng):
    copy.checkpoint.unlink()


@damage(10)
def a_good_log_of_another_key(copy: Copy, rng):
    copy.key = Ed25519PrivateKey.generate()
    copy.resign(copy.leaves())


# Words beside the log.

ERASE = "UPDATE sessions SET salt = NULL, who = NULL, what = NULL, masks = NULL, erased = ?"
SESSION_WORDS = ("id", "outcome", "salt", "who", "what", "masks", "subject")


@damage(13)
def a_word_of_a_session(copy: Copy, rng, columns=SESSION_WORDS):
    column = rng.choice(columns)
    held = copy.query(f"SELECT number, {column} FROM sessions WHERE {column} IS NOT NULL AND erased IS NULL")
    if not held:
        raise Unfit
    number, value = rng.choice(held)
    value = value + 1 if isinstance(value, int) else flip(value, rng)
    copy.query(f"UPDATE sessions SET {column} = ? WHERE number = ?", value, number)


@damage(13)
def a_word_of_an_event(copy: Copy, rng):
    column = rng.choice(("salt", "who", "words"))
    rows = copy.query(f"SELECT idx, {column} FROM events WHERE {'words' if column == 'words' else 'who'} IS NOT NULL")
    held = [row for row in rows if row[0] in copy.of_kind(4)]
    if not held:
        raise Unfit
    index, value = rng.choice(held)
    copy.query(f"UPDATE events SET {column} = ? WHERE idx = ?", flip(value, rng), index)


@damage(13)
def a_row_less(copy: Copy, rng):
    table, column = rng.choice((("sessions", "number"), ("events", "idx"), ("claims", "id")))
    [value] = rng.choice(copy.query(f"SELECT {column} FROM {table} ORDER BY 1") or [(None,)])
    copy.query(f"DELETE FROM {table} WHERE {column} = ?", value)


@damage(13)
def a_label(copy: Copy, rng):
    copy.query("UPDATE labels SET text = text || 'x' WHERE id = (SELECT subject FROM sessions LIMIT 1)")


@damage(13)
def another_claim(copy: Copy, rng):
    if not copy.query("SELECT * FROM claims"):
        raise Unfit
    column = rng.choice(("id = 'apr-another'", "kind = 'another'", "session = session + 1"))
    copy.query(f"UPDATE claims SET {column} WHERE id = (SELECT id FROM claims LIMIT 1)")


@damage(13)
def another_request_of_a_claim(copy: Copy, rng):
    if not copy.query("SELECT * FROM claims"):
        raise Unfit
    copy.query("UPDATE claims SET request = zeroblob(16) WHERE id = (SELECT id FROM claims LIMIT 1)")


@damage(13)
def a_word_of_a_hold(copy: Copy, rng):
    if not copy.query("SELECT * FROM holds"):
        raise Unfit
    change = ("session = zeroblob(16)", "subject = NULL", "subject = 'x'", "reason = 'x'", "salt = zeroblob(16)",
              "idx = idx + 1", "released = released + 1", "released = idx", "released = 0")
    copy.query(f"UPDATE holds SET {rng.choice(change)}")


@damage(13)
def a_release_forgotten(copy: Copy, rng):
    if not copy.query("SELECT * FROM holds"):
        raise Unfit
    copy.query("UPDATE holds SET released = NULL")


@damage(13)
def a_hold_less(copy: Copy, rng):
    if not copy.query("SELECT * FROM holds"):
        raise Unfit
    copy.query("DELETE FROM holds")


@damage(13)
def a_row_more(copy: Copy, rng):
    index = rng.choice(copy.of_kind(2, 10))
    copy.query("INSERT INTO events VALUES (?, zeroblob(16), NULL, x'0000')", index)


@damage(13)
def an_erasure_that_no_entry_tells(copy: Copy, rng):
    [number] = rng.choice(copy.query("SELECT number FROM sessions WHERE erased IS NULL"))
    erasure = rng.choice([*range(len(copy.leaves())), 100000])
    copy.query(f"{ERASE} WHERE number = ?", erasure, number)


@damage(13)
def an_erasure_undone(copy: Copy, rng):
    """Somebody who kept an old copy of the database puts the erased words back."""
    erased = copy.query("SELECT number, erased FROM sessions WHERE erased IS NOT NULL ORDER BY 1")
    if not erased:
        raise Unfit
    _, erasure = rng.choice(erased)
    with contextlib.closing(sqlite3.connect(copy.folder / "evidence.db")) as db, db:
        db.execute("ATTACH ? AS old", (str(copy.source.parent / "good" / "evidence.db"),))
        these = "SELECT number FROM main.sessions WHERE erased = ?"
        db.execute(f"REPLACE INTO sessions SELECT * FROM old.sessions WHERE number IN ({these})", (erasure,))


@damage(10, 13)
def a_value_of_another_type(copy: Copy, rng):
    places = (("leaves", "data"), ("tiles", "data"), ("checkpoints", "note"), ("sessions", "who"), ("sessions", "salt"),
              ("events", "words"), ("events", "salt"), ("claims", "id"), ("labels", "text"), ("holds", "reason"))
    table, column = rng.choice(places)
    if not copy.query(f"SELECT * FROM {table}"):
        raise Unfit
    other = rng.choice(("7", "CAST('x' AS TEXT)", "zeroblob(3)"))
    one = "" if table in ("tiles", "claims") else f" WHERE rowid = (SELECT max(rowid) FROM {table})"
    copy.query(f"UPDATE {table} SET {column} = {other}{one}")


@damage(2)
def a_table_less(copy: Copy, rng):
    tables = ("leaves", "tiles", "checkpoints", "sessions", "labels", "claims", "events", "holds")
    copy.query(f"DROP TABLE {rng.choice(tables)}")


@damage(10)
def an_index_of_other_values(copy: Copy, rng):
    """Whoever asks by subject does not find the sessions any more, though they are in the table."""
    define = "UPDATE sqlite_master SET sql = ? WHERE name = 'sessions_of_subject'"
    [(sql,)] = copy.query("SELECT sql FROM sqlite_master WHERE name = 'sessions_of_subject'")
    on, off = ("PRAGMA writable_schema = ON", ()), ("PRAGMA writable_schema = RESET", ())
    copy.queries(on, (define, (sql.replace("subject,", "erased,"),)), off)
    copy.queries(("REINDEX sessions_of_subject", ()), on, (define, (sql,)), off)


# Bodies.


@damage(14)
def a_bit_of_a_segment(copy: Copy, rng):
    def change(held):
        whole = blocks(held)[-1][2]
        return flip(held[:whole], rng) + bytes(held[whole:])

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_bit_of_a_body_with_its_checksum_made_right(copy: Copy, rng):
    """The frames' times are inside the sealed bytes, so this is how timing would be edited."""

    def change(held):
        start, sealed, end = rng.choice(blocks(held))
        held[sealed:end] = flip(held[sealed:end], rng)
        held[sealed - 4 : sealed] = struct.pack(">I", zlib.crc32(held[start : sealed - 4] + held[sealed:end]))

    copy.edit(copy.segment(rng), change)


@damage(0, 14)
def blocks_swapped(copy: Copy, rng):
    def change(held):
        found = blocks(held)
        if len(found) < 2:
            raise Unfit
        parts = [bytes(held[start:end]) for start, _, end in found]
        one, other = rng.sample(range(len(parts)), 2)
        parts[one], parts[other] = parts[other], parts[one]
        return bytes(held[:16]) + b"".join(parts)

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_block_twice(copy: Copy, rng):
    def change(held):
        start, _, end = rng.choice(blocks(held))
        return bytes(held) + bytes(held[start:end])

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_block_less(copy: Copy, rng):
    def change(held):
        start, _, end = rng.choice(blocks(held))
        return bytes(held[:start] + held[end:])

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_block_more(copy: Copy, rng):
    """A whole block of a closed request, with the next number."""

    def change(held):
        start, sealed, _ = rng.choice(blocks(held))
        number, after = read_varint(held, start + 18)
        head = bytes(held[start : start + 18]) + varint(number + 1) + varint(20)
        body = rng.randbytes(20)
        return bytes(held) + head + struct.pack(">I", zlib.crc32(head + body)) + body

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_block_moved_to_another_segment(copy: Copy, rng):
    files = sorted((copy.folder / "segments").iterdir())
    if len(files) < 2:
        raise Unfit
    source, target = rng.sample(files, 2)
    held = source.read_bytes()
    start, _, end = rng.choice(blocks(held))
    if rng.randrange(2):
        source.write_bytes(held[:start] + held[end:])
    target.write_bytes(target.read_bytes() + held[start:end])


@damage(0)
def a_block_of_nobody(copy: Copy, rng):
    def change(held):
        head = b"\xb1\0" + rng.randbytes(16) + varint(0) + varint(20)
        body = rng.randbytes(20)
        return bytes(held) + head + struct.pack(">I", zlib.crc32(head + body)) + body

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_segment_cut(copy: Copy, rng):
    copy.edit(copy.segment(rng), lambda held: bytes(held[: rng.randrange(len(held))]))


@damage(14)
def a_segment_missing(copy: Copy, rng):
    copy.segment(rng).unlink()


@damage(0)
def a_segment_with_a_torn_end(copy: Copy, rng):
    copy.edit(copy.segment(rng), lambda held: bytes(held) + rng.randbytes(rng.randrange(1, 60)))


@damage(14)
def a_segment_under_another_number(copy: Copy, rng):
    copy.segment(rng).rename(copy.folder / "segments" / "0000000777.seg")


# By somebody who has the key of the log.

# Of these a log has many. The others are damaged one by one, below.
ORDINARY = (1, 2, 3, 4, 6, 10, 11)


@damage()
def resigned_a_bit(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice(copy.of_kind(*ORDINARY))
    leaves[index] = flip(leaves[index], rng)
    copy.resign(leaves)


@damage()
def resigned_a_byte(copy: Copy, rng):
    leaves = copy.leaves()
    held = bytearray(leaves[index := rng.choice(copy.of_kind(*ORDINARY))])
    held[rng.randrange(len(held))] = rng.choice((0, 1, 2, 3, 4, 8, 16, 0x7F, 0x80, 0xFD, 0xFE, 0xFF))
    leaves[index] = bytes(held)
    copy.resign(leaves)


@damage()
def resigned_a_byte_more_or_less(copy: Copy, rng):
    leaves = copy.leaves()
    held = bytearray(leaves[index := rng.choice(copy.of_kind(*ORDINARY))])
    at = rng.randrange(len(held))
    held[at : at + rng.randrange(2)] = rng.randbytes(rng.randrange(2))
    leaves[index] = bytes(held)
    copy.resign(leaves)


@damage(12, 13)
def resigned_without_an_entry(copy: Copy, rng):
    leaves = copy.leaves()
    del leaves[rng.choice(copy.of_kind(1, 2, 3))]
    copy.resign(leaves)


@damage()
def resigned_two_entries_swapped(copy: Copy, rng):
    leaves = copy.leaves()
    one = rng.randrange(1, len(leaves) - 1)
    leaves[one], leaves[one + 1] = leaves[one + 1], leaves[one]
    copy.resign(leaves)


@damage()
def resigned_an_entry_again_at_the_end(copy: Copy, rng):
    leaves = copy.leaves()
    copy.resign([*leaves, rng.choice(leaves)])


@damage(12, 13)
def resigned_cut(copy: Copy, rng):
    leaves = copy.leaves()
    copy.resign(leaves[: rng.randrange(1, len(leaves))])


@damage(12)
def resigned_without_an_outcome(copy: Copy, rng):
    """The last stop and start hide nothing: the outcome goes, its row with it, later ones keep their index."""
    leaves = copy.leaves()
    index = rng.choice(copy.of_kind(2, 6))
    leaves[index] = b"\1\5" + leaves[index][2:10] + b"\2\1\xfe"
    copy.query("UPDATE sessions SET outcome = NULL WHERE outcome = ?", index)
    copy.resign(leaves)


@damage(12)
def resigned_a_claim_twice(copy: Copy, rng):
    leaves = copy.leaves()
    claiming = [index for index in copy.of_kind(1) if b"\0" != leaves[index][-1:] and leaves[index][-17:-16] == b"\1"]
    if not claiming:
        raise Unfit
    others = [index for index in copy.of_kind(1) if index not in claiming]
    index = rng.choice(others)
    leaves[index] = leaves[index][:-1] + leaves[claiming[0]][-17:]
    copy.resign(leaves)


@damage(0)
def resigned_gaps_beyond_counting(copy: Copy, rng):
    gap = b"\1\5" + copy.leaves()[-1][2:10] + b"\2" + varint(2**64 - 1) + b"\xfe"
    copy.resign([*copy.leaves(), gap, gap])


@damage(0, 10, 14)
def resigned_segments_without_end(copy: Copy, rng):
    """An outcome that says its body is in so many segments that a program which visits each would not end."""
    leaves = copy.leaves()
    index = rng.choice(copy.of_kind(2))
    held = leaves[index]
    count, at = read_varint(held, stored_at(held))
    number, _ = read_varint(held, at)
    if not count or not (copy.folder / "segments" / f"{number:010}.seg").exists():
        raise Unfit
    _, after = read_varint(held, at)
    _, after = read_varint(held, after)
    segments = varint(rng.choice((0, 1, 2, 2**64 - 1))) + varint(rng.choice((0, 1, 2**32, 2**63, 2**64 - 1)))
    leaves[index] = held[:at] + segments + held[after:]
    copy.resign(leaves)


@damage(10)
def resigned_without_the_key_at_its_head(copy: Copy, rng):
    leaves = copy.leaves()
    copy.resign([b"\1\x0b" + leaves[0][2:10], *leaves[1:]])


@damage(13)
def resigned_the_release_of_another_hold(copy: Copy, rng):
    leaves = copy.leaves()
    index = copy.of_kind(8)[-1]
    leaves[index] = leaves[index][:11] + rng.randbytes(32) + leaves[index][43:]
    copy.resign(leaves)


@damage(13)
def resigned_another_list_of_erased_sessions(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice([index for index in copy.of_kind(7) if leaves[index][10] != 3])
    _, at = read_varint(leaves[index], 11)
    leaves[index] = leaves[index][: at + 1] + rng.randbytes(32) + leaves[index][at + 33 :]
    copy.resign(leaves)


@damage(13)
def resigned_another_list_of_a_dropped_segment(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice([index for index in copy.of_kind(7) if leaves[index][10] == 3])
    _, at = read_varint(leaves[index], 11)
    leaves[index] = leaves[index][:at] + b"\2" + rng.randbytes(32) + leaves[index][at + 33 :]
    copy.resign(leaves)


@damage(14)
def the_rest_of_a_body_that_retention_cut(copy: Copy, rng):
    """A body in two segments: the log says that the first was dropped; the second is taken away by somebody else."""
    leaves = copy.leaves()
    body_in_two_segments(copy, leaves)
    erasure = b"\1\7" + leaves[-1][2:10] + b"\3" + varint(FIRST_HALF) + varint(0) + sha() + bytes(32) + text("old")
    copy.resign([*leaves, erasure])
    for number in (FIRST_HALF, FIRST_HALF + 1):
        (copy.folder / "segments" / f"{number:010}.seg").unlink()


FIRST_HALF = 900


def stored_at(leaf: bytes) -> int:
    """Where in an outcome the first *stored* begins."""
    _, at = read_varint(leaf, 26)
    at += 5
    for _ in range(2):
        _, at = read_varint(leaf, at)
    return at


def body_in_two_segments(copy: Copy, leaves: list) -> None:
    """Moves the blocks of one answer into two segments of their own, as if the writer had begun a new one between."""
    for index in reversed(copy.of_kind(2)):
        at = stored_at(leaves[index])
        count, after = read_varint(leaves[index], at)
        if count:  # the request's: pass over them
            for _ in range(3):
                _, after = read_varint(leaves[index], after)
            after += 32
        count, at = read_varint(leaves[index], after)
        if count > 1:
            break
    else:
        raise Unfit
    held = leaves[index]
    number, after = read_varint(held, at)
    _, after = read_varint(held, after)
    file = copy.folder / "segments" / f"{number:010}.seg"
    if not file.exists():
        raise Unfit
    data = file.read_bytes()
    mine = [data[a:c] for a, _, c in blocks(data) if data[a + 1] & 1 and data[a + 2 : a + 18] == held[10:26]]
    if len(mine) != count:
        raise Unfit
    file.write_bytes(data[:16] + b"".join(data[a:c] for a, _, c in blocks(data) if data[a:c] not in mine))
    for segment, part in ((FIRST_HALF, mine[:1]), (FIRST_HALF + 1, mine[1:])):
        head = b"GWDSEG1\n" + struct.pack(">Q", segment)
        (copy.folder / "segments" / f"{segment:010}.seg").write_bytes(head + b"".join(part))
    leaves[index] = held[:at] + varint(FIRST_HALF) + b"\1" + held[after:]


# What no test of an hour brings about by itself, written as the format says.


def string(words: str) -> bytes:
    return varint(len(words.encode())) + words.encode()


def text(words: str, most: int = 64) -> bytes:
    held = words.encode()
    return bytes([len(held)]) + held if len(held) <= most else b"\xff" + sha(held)[:16]


def enrich(copy: Copy) -> None:
    """Adds entries of every kind that the log lacks: erasures, holds, gaps, a key. Signed, and in order."""
    leaves, salt = copy.leaves(), bytes(range(16))
    long = "a reason that is told at greater length than an entry has room for, so that it is there as a digest"
    who = b"\0\1" + string("olga") + b"\0" + b"\1" + string("platform-admins") + b"\0\1"

    def add(kind: int, rest: bytes) -> int:
        leaves.append(bytes([1, kind]) + leaves[-1][2:10] + rest)
        return len(leaves) - 1

    def words(at: int, theirs: bytes | None, thing: str, outcome: str):
        return "INSERT INTO events VALUES (?, ?, ?, ?)", (at, salt, theirs, string(thing) + string(outcome))

    def erase(scope: bytes, numbers: list, theirs: bytes | None, reason: str) -> tuple[int, list]:
        numbered = varint(len(numbers)) + sha(*(struct.pack(">Q", number) for number in sorted(numbers)))
        scope = scope if scope[0] == 3 else scope + b"\0"
        at = add(7, scope + numbered + (sha(b"\1", salt, theirs) if theirs else bytes(32)) + text(reason))
        return at, [(f"{ERASE} WHERE number = ?", (at, number)) for number in numbers]

    intents = copy.of_kind(1)
    first, done = erase(b"\1", intents[:1], who, long)
    more = [words(first, who, "a session", long), *done]
    second, done = erase(b"\2", intents[1:3], None, "asked for")
    more += [words(second, None, "a subject", "asked for"), *done]
    number = max(int(file.stem) for file in (copy.folder / "segments").iterdir())
    (copy.folder / "segments" / f"{number:010}.seg").unlink()
    _, done = erase(b"\3" + varint(number), [], None, "kept long enough")
    more += done
    hold = sha(b"\5", salt, b"\0", b"\1" + string("1:i|alice"), string("a lawsuit"))
    at = add(8, b"\0" + hold + sha(b"\1", salt, who))
    released = add(8, b"\1" + hold + sha(b"\1", salt, who))
    more += [words(at, who, "1:i|alice", "set"), words(released, who, "1:i|alice", "released")]
    holding = "INSERT INTO holds VALUES (?, NULL, '1:i|alice', 'a lawsuit', ?, ?)"
    more += [(holding, (at, salt, released))]
    add(5, b"\1" + varint(300) + b"\xfe")
    add(5, b"\2" + varint(7) + text(long))
    add(9, b"\2" + bytes(32) + text("root"))
    event = add(4, b"\6" + sha(b"\1", salt, who) + text(long) + text("") + b"\0")
    more += [words(event, who, long, "")]
    copy.queries(*more)
    copy.resign(leaves)
