"""Ways to damage a copy of the evidence. Each takes the copy and a source of chance."""

import base64
import contextlib
import os
import sqlite3
import struct
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence import Copy, Unfit, blocks, flip, read_varint, sha, tree, varint

DAMAGES = []
ERASE = "UPDATE sessions SET subject = NULL, salt = NULL, who = NULL, what = NULL, masks = NULL, erased = ?"


def damage(*statuses: int):
    """What both verifiers must end with; nothing where chance decides how bad it is, so that they must only agree."""

    def keep(change):
        change.statuses = statuses
        DAMAGES.append(change)
        return change

    return keep


def as_damage(name: str, change, status: int = 10) -> None:
    change.__name__ = name
    damage(status)(change)


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
def the_time_of_the_last_leaf(copy: Copy, rng):
    """No full tile has its hash, so that only checkpoints tell."""
    index, data = copy.query("SELECT idx, data FROM leaves")[-1]
    copy.query("UPDATE leaves SET data = ? WHERE idx = ?", data[:9] + bytes([data[9] ^ 1]) + data[10:], index)


@damage(10)
def a_leaf_deleted(copy: Copy, rng):
    copy.query("DELETE FROM leaves WHERE idx = ?", rng.randrange(len(copy.leaves())))


@damage(10)
def a_leaf_that_is_called_text(copy: Copy, rng):
    copy.query("UPDATE leaves SET data = CAST(data AS TEXT) WHERE idx = ?", rng.randrange(len(copy.leaves())))


@damage(10)
def a_leaf_under_another_number(copy: Copy, rng):
    copy.query("UPDATE leaves SET idx = idx + 1 WHERE idx = (SELECT max(idx) FROM leaves)")


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


@damage(10)
def a_tile_more(copy: Copy, rng):
    level, data = rng.choice(((5, bytes(8192)), (0, b""), (-1, bytes(8192))))
    copy.query("INSERT INTO tiles VALUES (?, 99, ?)", level, data)


@damage(10)
def a_tile_longer(copy: Copy, rng):
    [(level, n, data)] = copy.query("SELECT level, n, data FROM tiles LIMIT 1")
    data += rng.randbytes(rng.choice((1, 32)))
    copy.query("UPDATE tiles SET data = ? WHERE (level, n) = (?, ?)", data, level, n)


# Checkpoints.


@damage(10)
def a_checkpoint_in_other_characters(copy: Copy, rng):
    """The last character of its signature holds two bits that nothing means."""
    held = copy.checkpoint.read_text()
    assert held.endswith("=\n")
    copy.checkpoint.write_text(held[:-3] + chr(ord(held[-3]) + 1) + held[-2:])


@damage(10)
def a_checkpoint_with_more_in_it(copy: Copy, rng):
    held = copy.checkpoint.read_text()
    copy.checkpoint.write_text(rng.choice((held + "\n", "\n" + held, held[:-1], held.replace("\n", "\r\n"))))


@damage(10)
def a_checkpoint_of_another_log(copy: Copy, rng):
    """Signed by the same key, under its own name or that of the other log."""
    name, text = copy.origin + "x", copy.checkpoint.read_text().split("\n\n")[0] + "\n"
    text = name + text.removeprefix(copy.origin)
    signed = base64.b64decode(copy.checkpoint.read_text().split()[-1])[:4] + copy.key.sign(text.encode())
    name = rng.choice((name, copy.origin))
    copy.checkpoint.write_text(f"{text}\n— {name} {base64.b64encode(signed).decode()}\n")


@damage(10)
def a_checkpoint_of_a_size_in_another_form(copy: Copy, rng):
    leaves = copy.leaves()
    root = tree([sha(b"\0", data) for data in leaves])
    copy.checkpoint.write_text(copy.note(rng.choice((f"0{len(leaves)}", f"+{len(leaves)}")), root))


def renote(copy: Copy, rng, change) -> None:
    """Changes a checkpoint, in the file or in the database."""
    if rng.randrange(2):
        copy.checkpoint.write_text(change(copy.checkpoint.read_text()))
    else:
        size, note = rng.choice(copy.query("SELECT size, note FROM checkpoints"))
        copy.query("UPDATE checkpoints SET note = ? WHERE size = ?", change(note), size)


def signature(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def beside(copy: Copy, rng, *lines: str) -> None:
    """Puts lines before or behind the signature of the log."""
    more, before = "".join(lines), rng.randrange(2)
    renote(copy, rng, lambda note: note.replace("\n\n", "\n\n" + more) if before else note + more)


@damage(0)
def a_checkpoint_that_others_signed_too(copy: Copy, rng):
    """Witnesses, with keys that nobody here knows, one of this log's name, one of its key's hash."""
    ours = base64.b64decode(copy.checkpoint.read_text().split()[-1])[:4]
    lines = [signature(f"witness-{n}.example", rng.randbytes(5004)) for n in range(14)]
    namesakes = signature(copy.origin, rng.randbytes(68)), signature("other.example", ours + rng.randbytes(64))
    beside(copy, rng, *lines, *namesakes)


@damage(10)
def a_checkpoint_that_only_others_signed(copy: Copy, rng):
    name = rng.choice((copy.origin, "witness.example"))
    other = signature(name, rng.randbytes(68))
    renote(copy, rng, lambda note: note.split("\n\n")[0] + "\n\n" + other)


@damage(10)
def a_checkpoint_that_its_own_key_also_signed_otherwise(copy: Copy, rng):
    ours = base64.b64decode(copy.checkpoint.read_text().split()[-1])[:4]
    beside(copy, rng, signature(copy.origin, ours + rng.randbytes(rng.choice((1, 63, 64, 65)))))


# In place of a good signature line of a witness.
NO_SIGNATURES = {
    "other_words": lambda good: "something else\n",
    "a_name_alone": lambda good: "— witness.example\n",
    "another_dash": lambda good: good.replace("—", "-"),
    "a_blank_at_its_end": lambda good: good.replace("\n", " \n"),
    "a_name_of_two_words": lambda good: good.replace("witness", "two words"),
    "a_name_with_a_plus": lambda good: good.replace("witness", "a+b"),
    "a_name_with_a_bell": lambda good: good.replace("witness", "bell\a"),
    "no_name": lambda good: good.replace("witness.example", ""),
    "a_key_hash_alone": lambda good: signature("witness.example", bytes(4)),
    "base64_of_another_form": lambda good: good[:-4] + "B==\n",
    "no_end": lambda good: good[:-1],
}
for name, change in NO_SIGNATURES.items():
    line = change(signature("witness.example", bytes(76)))
    as_damage(f"a_checkpoint_with_{name}", lambda copy, rng, line=line: beside(copy, rng, line))


@damage(10)
def a_checkpoint_longer_than_any(copy: Copy, rng):
    beside(copy, rng, *(signature(f"witness-{n}.example", rng.randbytes(5004)) for n in range(20)))


@damage(10)
def a_checkpoint_with_an_extension(copy: Copy, rng):
    """Signed by the log's own key; but no writer of this format signs one."""
    extension = rng.choice(("an extension\n", "\nan extension\n", "— witness.example AAAAAAAA\n"))

    def change(note: str) -> str:
        text, ours = note.split("\n\n")[0] + "\n" + extension, base64.b64decode(note.split()[-1])[:4]
        return text + "\n" + signature(copy.origin, ours + copy.key.sign(text.encode()))

    renote(copy, rng, change)


@damage(10)
def a_checkpoint_without_a_time(copy: Copy, rng):
    copy.query("UPDATE checkpoints SET time = 'now'")


# Words beside the log.

SESSION_WORDS = ("id", "outcome", "salt", "who", "what", "masks", "subject")


def a_word_of_a_session(copy: Copy, rng, column: str) -> None:
    held = copy.query(f"SELECT number, {column} FROM sessions WHERE {column} IS NOT NULL AND erased IS NULL")
    if not held:
        raise Unfit
    number, value = rng.choice(held)
    value = value + 1 if isinstance(value, int) else flip(value, rng)
    copy.query(f"UPDATE sessions SET {column} = ? WHERE number = ?", value, number)


@damage(13)
def whether_a_caller_came_by_tls(copy: Copy, rng):
    """Nothing but the digest of who asked tells."""
    number, who = rng.choice(copy.query("SELECT number, who FROM sessions WHERE who IS NOT NULL"))
    copy.query("UPDATE sessions SET who = ? WHERE number = ?", who[:-1] + bytes([who[-1] ^ 1]), number)


@damage(13)
def a_word_of_an_event(copy: Copy, rng):
    column = rng.choice(("salt", "who", "words", "request"))
    given = column if column in ("words", "request") else "who"
    rows = copy.query(f"SELECT idx, {column} FROM events WHERE {given} IS NOT NULL")
    held = [row for row in rows if row[0] in copy.of_kind(4, 7, 8)]
    if not held:
        raise Unfit
    index, value = rng.choice(held)
    copy.query(f"UPDATE events SET {column} = ? WHERE idx = ?", flip(value, rng), index)


def another_word(copy: Copy, rng, kind: int, which: int) -> None:
    """Another object or outcome of an event or an erasure."""
    rows = [row for row in copy.query("SELECT idx, words FROM events") if row[0] in copy.of_kind(kind)]
    if not rows:
        raise Unfit
    (index, words), end = rng.choice(rows), 0
    for _ in range(1 + which):
        length, at = read_varint(words, end)
        end = at + length
    if not length:
        raise Unfit
    copy.query("UPDATE events SET words = ? WHERE idx = ?", words[: end - 1] + bytes([words[end - 1] ^ 1]) + words[end:], index)


for kind, of in ((4, "an_event"), (7, "an_erasure")):
    for which, what in enumerate(("object", "outcome")):
        change = lambda copy, rng, kind=kind, which=which: another_word(copy, rng, kind, which)  # noqa: E731
        as_damage(f"another_{what}_of_{of}", change, 13)


@damage(13)
def the_border_of_salt_and_words(copy: Copy, rng):
    """The same bytes have the same digest, wherever the salt is said to end."""
    index, salt, who = rng.choice(copy.query("SELECT idx, salt, who FROM events WHERE who IS NOT NULL"))
    border = rng.choice((1, 15, 17, 20))
    copy.query("UPDATE events SET salt = ?, who = ? WHERE idx = ?", (salt + who)[:border], (salt + who)[border:], index)


@damage(13)
def a_row_less(copy: Copy, rng):
    table, column = rng.choice((("sessions", "number"), ("events", "idx"), ("claims", "id")))
    [value] = rng.choice(copy.query(f"SELECT {column} FROM {table} ORDER BY 1") or [(None,)])
    copy.query(f"DELETE FROM {table} WHERE {column} = ?", value)


@damage(13)
def a_label(copy: Copy, rng):
    copy.query("UPDATE labels SET text = text || 'x' WHERE id = (SELECT subject FROM sessions WHERE subject IS NOT NULL LIMIT 1)")


@damage(13)
def a_claim_again(copy: Copy, rng):
    """To SQLite, bytes are another key than the text that they spell."""
    if not copy.query("SELECT * FROM claims"):
        raise Unfit
    again = rng.choice(("kind, CAST(id AS BLOB)", "CAST(kind AS BLOB), id", "kind, id || ' '", "upper(kind), id"))
    copy.query(f"INSERT INTO claims SELECT {again}, session, request FROM claims")


# One value of a row, each time another.
VALUES = {
    "another_name_of_a_claim": ("claims", "id = 'apr-another'"),
    "another_kind_of_a_claim": ("claims", "kind = 'another'"),
    "another_session_of_a_claim": ("claims", "session = session + 1"),
    "another_request_of_a_claim": ("claims", "request = zeroblob(16)"),
    "a_hold_on_a_session_instead": ("holds", "session = zeroblob(16)"),
    "a_hold_on_nothing": ("holds", "subject = NULL"),
    "a_hold_on_somebody_else": ("holds", "subject = 'x'"),
    "another_reason_of_a_hold": ("holds", "reason = 'x'"),
    "another_salt_of_a_hold": ("holds", "salt = zeroblob(16)"),
    "another_number_of_a_hold": ("holds", "idx = idx + 1"),
    "a_later_release_of_a_hold": ("holds", "released = released + 1"),
    "a_hold_released_by_itself": ("holds", "released = idx"),
    "a_hold_released_by_the_key": ("holds", "released = 0"),
}


def another_value(copy: Copy, table: str, value: str) -> None:
    if not copy.query(f"SELECT * FROM {table}"):
        raise Unfit
    key = "idx" if table == "holds" else "id"
    copy.query(f"UPDATE {table} SET {value} WHERE {key} = (SELECT min({key}) FROM {table})")


for name, value in VALUES.items():
    as_damage(name, lambda copy, rng, value=value: another_value(copy, *value), 13)


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
    copy.query("INSERT INTO events (idx, salt, who, words) VALUES (?, zeroblob(16), NULL, x'0000')", index)


@damage(13)
def a_row_of_no_entry(copy: Copy, rng):
    index = rng.choice((-1, len(copy.leaves()), 2**62))
    copy.query("INSERT INTO events (idx, salt, who, words) VALUES (?, zeroblob(16), NULL, x'0000')", index)


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


@damage(10)
def a_value_longer_than_any(copy: Copy, rng):
    """Whoever reads it into memory, or compares it with each row, does not end."""
    places = (("labels", "text"), ("sessions", "who"), ("events", "words"), ("leaves", "data"), ("checkpoints", "note"))
    table, column = rng.choice(places)
    copy.query(f"UPDATE {table} SET {column} = printf('%.*c', 3000000, 'x') WHERE rowid = (SELECT max(rowid) FROM {table})")


@damage(10)
def a_table_less(copy: Copy, rng):
    tables = ("leaves", "tiles", "checkpoints", "sessions", "labels", "claims", "events", "holds")
    copy.query(f"DROP TABLE {rng.choice(tables)}")


# What stands in a schema can run, keep what is erased, or hide what is there: none of these rows may be another's.
SCHEMAS = {
    "a_trigger_more": "CREATE TRIGGER kept AFTER UPDATE ON sessions BEGIN INSERT INTO meta VALUES (old.number, old.who); END",
    "a_view_more": "CREATE VIEW kept AS SELECT * FROM sessions",
    "a_table_more": "CREATE TABLE kept AS SELECT * FROM sessions",
    "an_index_more": "CREATE INDEX kept ON sessions(who)",
    "an_index_less": "DROP INDEX open_sessions",
    "statistics_of_values": "ANALYZE",
    "a_column_more": "ALTER TABLE events ADD COLUMN kept BLOB",
    "a_generated_column": "ALTER TABLE sessions ADD COLUMN kept BLOB AS (who) VIRTUAL",
    "a_view_in_place_of_a_table": "ALTER TABLE holds RENAME TO kept; CREATE VIEW holds AS SELECT * FROM kept",
    "a_column_of_another_name": "ALTER TABLE holds RENAME COLUMN reason TO why",
}

# By somebody who edits the statements themselves: part of one, and what comes in its place.
STATEMENTS = {
    "a_constraint_less": ("sessions", "id BLOB NOT NULL UNIQUE", "id BLOB UNIQUE"),
    "a_constraint_more": ("holds", "reason TEXT NOT NULL", "reason TEXT NOT NULL CHECK(reason <> 'x')"),
    "a_default": ("claims", "request BLOB NOT NULL", "request BLOB NOT NULL DEFAULT x''"),
    "another_type": ("segments", "closed INTEGER", "closed ANY"),
    "a_space": ("meta", "meta(key", "meta (key"),
    "an_index_of_fewer_rows": ("open_sessions", "outcome IS NULL", "outcome IS NULL AND number > 9"),
}



# Public keys that are none; the last is named by another digest than its own.
KEYS = {
    "a_key_for_another_algorithm": lambda key: b"\2" + key[1:],
    "a_key_that_is_too_short": lambda key: key[:-1],
    "a_key_that_is_too_long": lambda key: key + b"\0",
    "a_key_under_another_name": bytes,
}


def another_key(copy: Copy, change) -> None:
    file = copy.folder / "log.pub"
    origin, name, key = file.read_text().strip().split("+", 2)
    other = change(base64.b64decode(key))
    name = "00000000" if change is bytes else sha(origin.encode(), b"\n", other)[:4].hex()
    file.write_text(f"{origin}+{name}+{base64.b64encode(other).decode()}\n")


for name, change in KEYS.items():
    as_damage(name, lambda copy, rng, change=change: another_key(copy, change), 2)
for name, statements in SCHEMAS.items():
    as_damage(name, lambda copy, rng, statements=statements: copy.script(statements))
for name, part in STATEMENTS.items():
    as_damage(name, lambda copy, rng, part=part: copy.restate(*part))


# No file in its place. Whoever opened a pipe would wait; a link leads to what nobody handed over.
NO_FILES = {
    "a_pipe_for_the_database": ("evidence.db", os.mkfifo, 2),
    "a_directory_for_the_database": ("evidence.db", os.mkdir, 2),
    "a_pipe_for_what_is_written_beside_it": ("evidence.db-wal", os.mkfifo, 2),
    "a_pipe_for_shared_memory": ("evidence.db-shm", os.mkfifo, 2),
    "a_link_for_the_public_key": ("log.pub", None, 2),
    "a_link_for_the_database": ("evidence.db", None, 2),
    "a_link_for_the_checkpoint": ("checkpoint", None, 10),
    "a_link_for_a_segment": ("segments/0000000001.seg", None, 14),
}


def no_file(copy: Copy, name: str, make) -> None:
    place, elsewhere = copy.folder / name, copy.folder / "elsewhere"
    if make is None:
        place.rename(elsewhere)
        place.symlink_to(elsewhere)
    else:
        place.unlink(missing_ok=True)
        make(place)


for column in SESSION_WORDS:
    as_damage(f"the_{column}_of_a_session", lambda copy, rng, column=column: a_word_of_a_session(copy, rng, column), 13)
for name, (place, make, status) in NO_FILES.items():
    as_damage(name, lambda copy, rng, place=place, make=make: no_file(copy, place, make), status)


@damage(2)
def another_format(copy: Copy, rng):
    copy.script("PRAGMA user_version = 2")


@damage(10)
def an_index_of_other_values(copy: Copy, rng):
    """Whoever asks by subject does not find the sessions any more, though they are in the table."""
    copy.restate("sessions_of_subject", "subject,", "erased,")
    copy.script("REINDEX sessions_of_subject")
    copy.restate("sessions_of_subject", "erased,", "subject,")


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


@damage(0, 14)
def a_block_more(copy: Copy, rng):
    """A whole block with the next number: of a closed request, or of one that lost what was to be written."""

    def change(held):
        start, sealed, _ = rng.choice(blocks(held))
        number, after = read_varint(held, start + 18)
        head = bytes(held[start : start + 18]) + varint(number + 1) + varint(20)
        body = rng.randbytes(20)
        return bytes(held) + head + struct.pack(">I", zlib.crc32(head + body)) + body

    copy.edit(copy.segment(rng), change)


def without_a_body(copy: Copy) -> int:
    """The entry of a refusal that had none, nor an answer."""
    for index in copy.of_kind(3):
        if copy.leaves()[index].endswith(bytes(6)):
            return index
    raise Unfit


def a_block_for(copy: Copy, rng, id: bytes) -> None:
    """A first block of an answer to the request with that id."""

    def change(held):
        head, body = b"\xb1\1" + id + varint(0) + varint(20), rng.randbytes(20)
        return bytes(held) + head + struct.pack(">I", zlib.crc32(head + body)) + body

    copy.edit(copy.segment(rng), change)


@damage(14)
def a_block_of_an_answer_that_was_none(copy: Copy, rng):
    a_block_for(copy, rng, copy.leaves()[without_a_body(copy)][10:26])


@damage(14)
def a_block_longer_than_any(copy: Copy, rng):
    """Nobody's; but what follows it is lost, as whoever reads it stops there."""

    def change(held):
        head = b"\xb1\0" + rng.randbytes(16) + varint(0) + varint((1 << 20) + 1)
        body = bytes((1 << 20) + 1)
        return bytes(held[:16]) + head + struct.pack(">I", zlib.crc32(head + body)) + body + bytes(held[16:])

    copy.edit(copy.segment(rng), change)


@damage(0)
def a_torn_block_more(copy: Copy, rng):
    """As a crash leaves it, when the bytes of a block are not those that its head was written for."""

    def change(held):
        start, _, end = blocks(held)[-1]
        number, _ = read_varint(held, start + 18)
        head = bytes((held[start], held[start + 1] & 7)) + held[start + 2 : start + 18]
        return bytes(held[:end] + head) + varint(number + 1) + varint(20) + bytes(24)

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
    a_block_for(copy, rng, rng.randbytes(16))


@damage(14)
def a_segment_cut(copy: Copy, rng):
    copy.edit(copy.segment(rng), lambda held: bytes(held[: rng.randrange(len(held))]))


@damage(0)
def a_segment_in_another_spelling(copy: Copy, rng):
    file = copy.segment(rng)
    for name in (f"0{file.name}", file.name[1:], file.name + ".old", f"{file.stem}.SEG"):
        file.with_name(name).write_bytes(file.read_bytes())


@damage(14)
def a_segment_missing(copy: Copy, rng):
    copy.segment(rng).unlink()


@damage(0)
def a_segment_with_a_torn_end(copy: Copy, rng):
    copy.edit(copy.segment(rng), lambda held: bytes(held) + rng.randbytes(rng.randrange(1, 60)))


@damage(14)
def a_segment_under_another_number(copy: Copy, rng):
    copy.segment(rng).rename(copy.folder / "segments" / "0000000777.seg")
