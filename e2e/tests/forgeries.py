"""Damages by somebody who has `log.key`: the log is signed anew, so only the rules of the format find them."""

import struct

from damages import ERASE, a_block_for, as_damage, damage, without_a_body
from evidence import Copy, Unfit, flip, read_varint, blocks, sha, text, string, varint

# Of these a log has many. The others are damaged one by one, below.
ORDINARY = (1, 2, 3, 4, 6, 10, 11)


def nothing_dropped(copy: Copy) -> list:
    """The entries of a log without erasures; what chance does to one with them is a matter of its own, below."""
    leaves = copy.leaves()
    if any(data[1] == 7 for data in leaves):
        raise Unfit
    return leaves


@damage()
def resigned_a_bit(copy: Copy, rng):
    leaves = nothing_dropped(copy)
    index = rng.choice(copy.of_kind(*ORDINARY))
    leaves[index] = flip(leaves[index], rng)
    copy.resign(leaves)


@damage()
def resigned_a_byte(copy: Copy, rng):
    leaves = nothing_dropped(copy)
    held = bytearray(leaves[index := rng.choice(copy.of_kind(*ORDINARY))])
    held[rng.randrange(len(held))] = rng.choice((0, 1, 2, 3, 4, 8, 16, 0x7F, 0x80, 0xFD, 0xFE, 0xFF))
    leaves[index] = bytes(held)
    copy.resign(leaves)


@damage()
def resigned_a_byte_more_or_less(copy: Copy, rng):
    leaves = nothing_dropped(copy)
    held = bytearray(leaves[index := rng.choice(copy.of_kind(*ORDINARY))])
    at = rng.randrange(len(held))
    held[at : at + rng.randrange(2)] = rng.randbytes(rng.randrange(2))
    leaves[index] = bytes(held)
    copy.resign(leaves)


# Entries that are none: each value has one form, and nothing may follow. Each: its kind, and what follows its time.
ENTRIES = {
    "a_number_in_a_longer_form": b"\5\2\x87\0\xfe",
    "a_number_of_too_many_bits": b"\5\2" + b"\xff" * 9 + b"\2\xfe",
    "a_number_without_end": b"\5\2" + b"\x80" * 10 + b"\1\xfe",
    "something_behind_an_entry": b"\5\2\7\xfe\0",
    "a_text_longer_than_its_field": b"\5\2\7\x41" + b"x" * 0x41,
    "a_text_that_is_none": b"\5\2\7\1\xff",
    "a_text_that_ends_too_early": b"\5\2\7\5abc",
    "a_gap_of_no_reason": b"\5\0\7\xfe",
    "a_gap_of_another_reason": b"\5\3\7\xfe",
    "a_kind_below_all": b"\0",
    "a_kind_above_all": b"\x0c",
    "an_event_of_no_kind": b"\4\0" + bytes(32) + b"\xfe\xfe\0",
    "an_event_of_another_kind": b"\4\x0d" + bytes(32) + b"\xfe\xfe\0",
    "an_event_of_two_requests": b"\4\1" + bytes(32) + b"\xfe\xfe\2" + bytes(32),
    "an_erasure_of_nothing": b"\7\0\0\0" + sha() + bytes(32) + b"\xfe",
    "an_erasure_of_more": b"\7\4\0\0" + sha() + bytes(32) + b"\xfe",
    "a_hold_between": b"\x08\2" + bytes(96),
    "a_key_of_no_role": b"\x09\0" + bytes(32) + b"\xfe",
    "a_key_of_another_role": b"\x09\3" + bytes(32) + b"\xfe",
    "a_second_key_of_the_log": b"\x09\1" + bytes(32) + b"\xfe",
    "a_start_in_between": b"\x0a\2\0\xfe",
    "a_body_in_segments_beyond_all": b"\2" + bytes(16) + b"\1\1\0\0\0\0\0\0\0" + b"\1" + varint(2**64 - 1) + b"\1\0" + bytes(35),
    "an_entry_longer_than_any": b"\3" + bytes(16) + b"\2" + bytes(71) + text("r" * 32) + text("v" * 16) + b"\0"
    + 2 * varint(2**64 - 1) + 2 * (varint(2**64 - 1) + 2 * varint(2**63 - 1) + varint(2**64 - 1) + bytes(32)) + b"\0",
}


def resigned_with(copy: Copy, entry: bytes) -> None:
    leaves = copy.leaves()
    copy.resign([*leaves, b"\1" + entry[:1] + leaves[-1][2:10] + entry[1:]])


for name, entry in ENTRIES.items():
    as_damage(name, lambda copy, rng, entry=entry: resigned_with(copy, entry))


HEADS = {
    "an_entry_below_all_versions": b"\0\x0b" + bytes(8),
    "an_entry_above_all_versions": b"\2\x0b" + bytes(8),
    "an_entry_without_a_time": b"\1\x0b",
    "an_entry_with_less_of_a_time": b"\1\x0b" + bytes(7),
    "an_entry_of_nothing": b"",
}
for name, head in HEADS.items():
    as_damage(name, lambda copy, rng, head=head: copy.resign([*copy.leaves(), head]))


@damage(10)
def resigned_another_key_at_its_head(copy: Copy, rng):
    leaves = copy.leaves()
    copy.resign([leaves[0][:11] + rng.randbytes(32) + leaves[0][43:], *leaves[1:]])


def another_optional(words: bytes, which: int) -> bytes:
    """*what* with another value for one of its optional texts, from 4: rule, version of the policy, credential, its version."""
    at = 0
    for number in range(2 + which + 1):
        is_there = number < 2 or words[at]
        at += number >= 2
        if is_there:
            length, at = read_varint(words, at)
            at += length
    if not is_there:
        raise Unfit
    return words[: at - 1] + bytes([words[at - 1] ^ 1]) + words[at:]


# Words in another form than the page's, with digests that are theirs: what they say, and which digest is of them.
MASKS = string("b") + varint(1) + string("a") + varint(1)
WORDS = {
    "who_and_more": ("who", 1, lambda words: words + b"\0"),
    "who_that_ends_too_early": ("who", 1, lambda words: words[:-1]),
    "who_with_another_flag": ("who", 1, lambda words: words[:-1] + b"\2"),
    "what_in_another_form": ("what", 2, lambda words: bytes([words[0] | 0x80, 0]) + words[1:]),
    "what_that_is_no_text": ("what", 2, lambda words: words[:1] + b"\xff" + words[2:]),
    "what_by_another_rule": ("what", 2, lambda words: b"\3GET\1/" + 4 * b"\0" + 4 * b"\1\1x" + b"\0", "="),
    "what_with_a_rule_of_another_name": ("what", 2, lambda words: another_optional(words, 4), ">"),
    "what_with_another_version_of_the_policy": ("what", 2, lambda words: another_optional(words, 5), ">"),
    "what_with_another_credential": ("what", 2, lambda words: another_optional(words, 6), ">"),
    "what_with_another_version_of_it": ("what", 2, lambda words: another_optional(words, 7), ">"),
    "masks_and_more": ("masks", 4, lambda words: words + b"\0"),
    "masks_out_of_order": ("masks", 4, lambda words: b"\2" + MASKS + b"\0"),
    "a_mask_of_no_rule": ("masks", 4, lambda words: b"\1" + MASKS[:3] + b"\1\1" + string("text") + b"\0\1\0"),
}


def reword(copy: Copy, rng, column: str, kind: int, change, only: str = ">=") -> None:
    """Changes words of a request, and their digest in its entry or that of its outcome. An outcome with the number of the
    session itself is that of a refusal."""
    kept = f"{column} IS NOT NULL AND outcome {only} number"
    rows = copy.query(f"SELECT number, outcome, salt, {column} FROM sessions WHERE {kept}")
    if not rows:
        raise Unfit
    number, outcome, salt, words = rng.choice(rows)
    leaves, index = copy.leaves(), outcome if column == "masks" else number
    digest = sha(bytes([kind]), salt, words)
    assert leaves[index].count(digest) == 1
    leaves[index] = leaves[index].replace(digest, sha(bytes([kind]), salt, change(words)))
    copy.query(f"UPDATE sessions SET {column} = ? WHERE number = ?", change(words), number)
    copy.resign(leaves)


for name, how in WORDS.items():
    as_damage(name, lambda copy, rng, how=how: reword(copy, rng, *how), 13)


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
def resigned_an_outcome_of_what_is_no_intent(copy: Copy, rng):
    """Of a refusal, by its own request id."""
    leaves = copy.leaves()
    index = rng.choice(copy.of_kind(3))
    copy.resign([*leaves, b"\1\2" + leaves[-1][2:10] + leaves[index][10:26] + varint(index) + b"\1" + bytes(11)])


@damage(12)
def resigned_an_outcome_of_another_request(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice(copy.of_kind(2, 6))
    leaves[index] = leaves[index][:10] + rng.randbytes(16) + leaves[index][26:]
    copy.resign(leaves)


@damage(12)
def resigned_an_outcome_before_its_intent(copy: Copy, rng):
    leaves, id = copy.leaves(), rng.randbytes(16)
    intent = rng.choice([leaves[index] for index in copy.of_kind(1) if leaves[index][-1] == 0])
    outcome = b"\1\2" + leaves[-1][2:10] + id + varint(len(leaves) + 1) + b"\1" + bytes(11)
    copy.resign([*leaves, outcome, intent[:10] + id + intent[26:]])


@damage(12)
def resigned_a_claim_twice(copy: Copy, rng):
    leaves = copy.leaves()
    claiming = one_that_claims(copy)
    claim = leaves[claiming][-16:]
    if rng.randrange(2):
        leaves[claiming] = leaves[claiming][:-17] + b"\2" + claim + claim
    else:
        sessions = {index for (index,) in copy.query("SELECT session FROM claims")}
        other = rng.choice([index for index in copy.of_kind(1) if index not in sessions])
        leaves[other] = leaves[other][:-1] + b"\1" + claim
    copy.resign(leaves)


@damage(13)
def resigned_another_claim_than_the_words_name(copy: Copy, rng):
    leaves = copy.leaves()
    index = one_that_claims(copy)
    if not copy.query("SELECT * FROM sessions WHERE number = ? AND erased IS NULL", index):
        raise Unfit  # Nobody knows any more what its words named.
    [(kind,)] = copy.query("SELECT kind FROM claims WHERE session = ?", index)
    leaves[index] = leaves[index][:-16] + sha(string(kind) + string("other"))[:16]
    copy.query("UPDATE claims SET id = 'other' WHERE session = ?", index)
    copy.resign(leaves)


def one_that_claims(copy: Copy) -> int:
    """The entry of a request that made one claim."""
    for (index,) in copy.query("SELECT session FROM claims GROUP BY session HAVING count(*) = 1"):
        return index
    raise Unfit


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
def resigned_another_number_of_erased_sessions(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice([index for index in copy.of_kind(7) if leaves[index][10] != 3])
    _, at = read_varint(leaves[index], 11)
    leaves[index] = leaves[index][:at] + bytes([leaves[index][at] ^ 1]) + leaves[index][at + 1 :]
    copy.resign(leaves)


@damage(13)
def resigned_another_reason_of_an_erasure(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice([index for index in copy.of_kind(7) if leaves[index][10] != 3])
    _, at = read_varint(leaves[index], 11)
    leaves[index] = leaves[index][: at + 1 + 32 + 32] + text("another")
    copy.resign(leaves)


@damage(13)
def resigned_another_list_of_a_dropped_segment(copy: Copy, rng):
    leaves = copy.leaves()
    index = rng.choice([index for index in copy.of_kind(7) if leaves[index][10] == 3])
    _, at = read_varint(leaves[index], 11)
    leaves[index] = leaves[index][:at] + b"\2" + rng.randbytes(32) + leaves[index][at + 33 :]
    copy.resign(leaves)


@damage(13)
def resigned_a_release_once_more(copy: Copy, rng):
    leaves, index = copy.leaves(), copy.of_kind(8)[-1]
    row = "INSERT INTO events SELECT ?, request, salt, who, words FROM events WHERE idx = ?"
    copy.query(row, len(leaves), index)
    copy.resign([*leaves, leaves[index]])


def first_stored(copy: Copy, rng) -> tuple[list, int, int]:
    """All leaves, one whose request has stored blocks that are there, and where in it they are told."""
    leaves, index = copy.leaves(), rng.choice(copy.of_kind(2))
    count, first = leaves[index][(at := stored_at(leaves[index])) :][:2]
    if not count or not (copy.folder / "segments" / f"{first:010}.seg").exists():
        raise Unfit
    return leaves, index, at


@damage(14)
def resigned_one_block_more_than_there_is(copy: Copy, rng):
    leaves, index, at = first_stored(copy, rng)
    leaves[index] = leaves[index][:at] + bytes([leaves[index][at] + 1]) + leaves[index][at + 1 :]
    copy.resign(leaves)


@damage(14)
def resigned_a_segment_more_than_a_body_is_in(copy: Copy, rng):
    leaves, index, at = first_stored(copy, rng)
    first, more = leaves[index][at + 1 : at + 3]
    leaves[index] = leaves[index][: at + 1] + bytes([first - 1, more + 1]) + leaves[index][at + 3 :]
    copy.resign(leaves)


@damage(0)
def resigned_a_block_of_a_body_that_was_lost(copy: Copy, rng):
    """The flag that something was lost in writing lets blocks be there that no entry tells of."""
    leaves, index = copy.leaves(), without_a_body(copy)
    refusal = leaves[index]
    leaves[index] = refusal[:-6] + b"\x08" + refusal[-5:]
    a_block_for(copy, rng, refusal[10:26])
    copy.resign(leaves)


@damage(14)
def resigned_blocks_in_another_order(copy: Copy, rng):
    """With the digest of that order: the numbers of the blocks still tell."""
    file = copy.folder / "segments/0000000001.seg"
    held, bodies = file.read_bytes(), {}
    for start, _, end in blocks(held):
        bodies.setdefault((held[start + 1] & 1, held[start + 2 : start + 18]), []).append(held[start:end])
    leaves, found = copy.leaves(), next(body for body in bodies.values() if len(body) > 1)
    [index] = [at for at, data in enumerate(leaves) if sha(*found) in data]
    leaves[index] = leaves[index].replace(sha(*found), sha(*reversed(found)))
    rest = [held[start:end] for start, _, end in blocks(held) if held[start:end] not in found]
    file.write_bytes(held[:16] + b"".join([*rest, *reversed(found)]))
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


def enrich(copy: Copy) -> None:
    """Adds entries of every kind that the log lacks: erasures, holds, gaps, a key. Signed, and in order."""
    leaves, salt = copy.leaves(), bytes(range(16))
    long = "a reason that is told at greater length than an entry has room for, so that it is there as a digest"
    who = b"\0\1" + string("olga") + b"\0" + b"\1" + string("platform-admins") + b"\0\1"

    def add(kind: int, rest: bytes) -> int:
        leaves.append(bytes([1, kind]) + leaves[-1][2:10] + rest)
        return len(leaves) - 1

    def words(at: int, theirs: bytes | None, thing: str, outcome: str):
        row = (at, salt, theirs, string(thing) + string(outcome))
        return "INSERT INTO events (idx, salt, who, words) VALUES (?, ?, ?, ?)", row

    def erase(scope: bytes, numbers: list, theirs: bytes | None, reason: str) -> tuple[int, list]:
        numbered = varint(len(numbers)) + sha(*(struct.pack(">Q", number) for number in sorted(numbers)))
        scope = scope if scope[0] == 3 else scope + b"\0"
        at = add(7, scope + numbered + (sha(b"\1", salt, theirs) if theirs else bytes(32)) + text(reason))
        return at, [(f"{ERASE} WHERE number = ?", (at, number)) for number in numbers]

    intents = copy.of_kind(1)
    first, done = erase(b"\1", intents[:1], who, long)
    more = [words(first, who, "session", long), *done]
    second, done = erase(b"\2", intents[1:3], None, "asked for")
    more += [words(second, None, "subject", "asked for"), *done]
    number = max(int(file.stem) for file in (copy.folder / "segments").iterdir())
    (copy.folder / "segments" / f"{number:010}.seg").unlink()
    _, done = erase(b"\3" + varint(number), [], None, "kept long enough")
    more += done
    hold = sha(b"\5", salt, b"\0", b"\1" + string("1:i|alice"), string("a lawsuit"))
    why = [sha(b"\2", salt, string("hold") + string(reason)) for reason in ("a lawsuit", "settled")]
    at = add(8, b"\0" + hold + sha(b"\1", salt, who) + why[0])
    released = add(8, b"\1" + hold + sha(b"\1", salt, who) + why[1])
    more += [words(at, who, "hold", "a lawsuit"), words(released, who, "hold", "settled")]
    holding = "INSERT INTO holds (idx, subject, reason, salt, released) VALUES (?, ?, ?, ?, ?)"
    more += [(holding, (at, "1:i|alice", "a lawsuit", salt, released))]
    add(5, b"\1" + varint(300) + b"\xfe")
    add(5, b"\2" + varint(7) + text(long))
    add(9, b"\2" + bytes(32) + text("root"))
    nobody, what = bytes(6), b"\3GET\1/" + bytes(9)
    digests = sha(b"\1", salt, nobody) + sha(b"\2", salt, what)
    refused = add(3, salt + b"\2\1\x90" + bytes(5) + digests + b"\xfe\xfe" + bytes(6))
    session = "INSERT INTO sessions (number, id, outcome, subject, salt, who, what) SELECT ?1, ?2, ?1, id, ?2, ?3, ?4"
    more += [("INSERT OR IGNORE INTO labels (text) VALUES ('')", ())]
    more += [(f"{session} FROM labels WHERE text = ''", (refused, salt, nobody, what))]
    event = add(4, b"\x0c" + sha(b"\1", salt, who) + text(long) + text("") + b"\0")
    more += [words(event, who, long, "")]
    copy.queries(*more)
    copy.resign(leaves)
