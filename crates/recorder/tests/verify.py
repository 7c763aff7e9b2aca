"""A second verifier, written from docs/evidence-format.md alone, with nothing but the standard library.

    python3 verify.py DIRECTORY PUBLIC_KEY_FILE [PINNED_CHECKPOINT_FILE]

Prints what is damaged, one finding a line; exit status 0 if nothing is, 1 if something is.
"""
import base64, hashlib, pathlib, sqlite3, sys, zlib

sha256 = lambda *parts: hashlib.sha256(b"".join(parts)).digest()

# Ed25519 verification (RFC 8032, section 5.1.7), slow and plain.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P

def add(a, b):
    x1, y1, x2, y2 = *a, *b
    k = D * x1 * x2 * y1 * y2 % P
    return ((x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P)

def times(n, point):
    out = (0, 1)
    while n:
        out = add(out, point) if n & 1 else out
        point, n = add(point, point), n >> 1
    return out

def unpack(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("no point")
    return (P - x if x & 1 != sign else x, y)

BASE = unpack(bytes([0x58] + 31 * [0x66]))

def signed(key, text, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(r + key + text).digest(), "little") % L
    return len(signature) == 64 and s < L and times(s, BASE) == add(unpack(r), times(h, unpack(key)))

class Key:
    def __init__(self, text):
        self.name, self.id, blob = text.strip().split("+", 2)
        self.key = base64.b64decode(blob)[1:]
        assert self.id == sha256(self.name.encode(), b"\n\x01", self.key)[:4].hex(), "not a public key"

    def open(self, note):
        text, lines = note.split("\n\n", 1)
        text, (origin, size, root) = text + "\n", text.split("\n")
        assert origin == self.name and str(int(size)) == size and int(size) >= 0
        for line in lines.splitlines():
            mark, name, blob = line.split(" ")
            blob = base64.b64decode(blob, validate=True)
            if (mark, name, blob[:4].hex()) == ("—", self.name, self.id) and signed(self.key, text.encode(), blob[4:]):
                return int(size), base64.b64decode(root, validate=True)
        raise ValueError("no signature holds")

def root(hashes):
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1", root(hashes[:k]), root(hashes[k:]))

class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        out = self.data[self.at:self.at + count]
        self.at += count
        if len(out) != count:
            raise ValueError("it ends too early")
        return out

    def byte(self, allowed=range(256)):
        value = self.take(1)[0]
        if value not in allowed:
            raise ValueError(f"unknown code {value}")
        return value

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                if value >> 64 or (byte == 0 and shift > 7):
                    raise ValueError("not the shortest form")
                return value

    def text(self, most):
        size = self.byte()
        if size == 0xFE:
            return None
        if size == 0xFF:
            return self.take(16)
        if size > most:
            raise ValueError("too long")
        return self.take(size).decode()

    def stored(self):
        blocks = self.varint()
        if blocks:
            first = self.varint()
            last = first + self.varint()
            return blocks, first, last, self.varint() and None, self.take(32)

    def bodies(self):
        self.byte(range(16)), self.varint(), self.varint()
        return self.stored(), self.stored()

def entry(data):
    """Kind and what the checks below need; raises ValueError on anything but the one encoding."""
    b = Bytes(data)
    if len(data) > 300 or b.byte() != 1:
        raise ValueError("not an entry of version 1")
    kind, _time, e = b.byte(range(1, 12)), b.take(8), {}
    if kind == 1:
        e["id"], _ = b.take(16), (b.byte(range(8)), b.byte(range(1, 5)), b.byte(range(1, 8)), b.byte(range(1, 15)), b.byte(range(4)))
        b.varint(); e["who"], e["what"] = b.take(32), b.take(32); b.varint(); b.take(32)
        b.text(32), b.text(16), b.text(24), b.text(24)
        e["claims"] = [b.take(16) for _ in range(b.byte(range(4)))]
    elif kind in (2, 6):
        e["id"], e["intent"], _ = b.take(16), b.varint(), (b.byte(range(1, 8)), b.take(2), b.byte(range(23)))
        e["bodies"], _ = b.bodies(), (b.varint(), b.varint())
        e["masks"] = b.take(32) if b.varint() else None
    elif kind == 3:
        e["id"], _ = b.take(16), (b.byte(range(1, 8)), b.take(2), b.byte(range(23)), b.byte(range(5)), b.byte(range(8)), b.byte(range(15)), b.byte(range(4)))
        e["who"], e["what"], _ = b.take(32), b.take(32), (b.text(32), b.text(16))
        e["bodies"], _ = b.bodies(), b.varint()
    elif kind == 4:
        b.byte(range(1, 11)); e["who"] = b.take(32); b.text(64), b.text(64); b.byte(range(2)) and b.take(16)
    elif kind == 5:
        b.byte(range(1, 3)), b.varint(), b.text(64)
    elif kind == 7:
        e["scope"], e["segment"], e["count"], e["list"] = b.byte(range(1, 4)), b.varint(), b.varint(), b.take(32)
        e["who"], _ = b.take(32), b.text(64)
    elif kind == 8:
        b.byte(range(2)), b.take(32); e["who"] = b.take(32)
    elif kind == 9:
        e["role"], e["key"], _ = b.byte(range(1, 3)), b.take(32), b.text(64)
    elif kind == 10:
        b.byte(range(2)), b.varint(), b.text(64)
    if b.at != len(data):
        raise ValueError("bytes follow its end")
    return kind, e

def blocks(data, number):
    """The whole blocks of a segment: (request id, direction, number, bytes)."""
    if data[:16] != b"GWDSEG1\n" + number.to_bytes(8, "big"):
        yield None
        return
    b = Bytes(data)
    b.at = 16
    while b.at < len(data):
        start = b.at
        try:
            mark, flags, name, block, size = b.byte((0xB1,)), b.byte(range(8)), b.take(16), b.varint(), b.varint()
            head, crc, sealed = data[start:b.at], b.take(4), b.take(size)
        except ValueError:
            return
        if zlib.crc32(head + sealed).to_bytes(4, "big") != crc:
            return
        yield name, flags & 1, block, data[start:b.at]

def verify(directory, key, pinned=None):
    found = []
    db = sqlite3.connect(f"file:{directory}/evidence.db?mode=ro", uri=True)
    notes = [(None, (directory / "checkpoint").read_text())] + db.execute("SELECT size, note FROM checkpoints").fetchall()
    heads = [key.open(pinned)] if pinned else []
    for size, note in notes:
        try:
            heads.append(key.open(note))
            if size not in (None, heads[-1][0]):
                raise ValueError("it is of another size")
        except Exception as why:
            found.append(f"a checkpoint does not hold: {why}")
    rows = db.execute("SELECT idx, data FROM leaves ORDER BY idx").fetchall()
    if [idx for idx, _ in rows] != list(range(len(rows))):
        found.append("an entry is missing")
    hashes = [sha256(b"\0", data if isinstance(data, bytes) else b"") for _, data in rows]
    for size, expected in heads:
        if size > len(hashes) or root(hashes[:size]) != expected:
            found.append(f"the first {size} entries are not those that were signed")
    entries, opened, closed, claims, expect, erased, dropped = [], {}, set(), set(), {}, {}, set()
    for at, (_, data) in enumerate(rows):
        try:
            kind, e = entry(data)
        except Exception as why:
            found.append(f"entry {at} cannot be read: {why}")
            kind, e = 0, {}
        entries.append((kind, e))
        if kind == 1:
            opened[at] = e["id"]
            found += [f"entry {at} uses an approval again" for claim in e["claims"] if claim in claims]
            claims.update(e["claims"])
        elif kind in (2, 6):
            if opened.pop(e["intent"], None) != e["id"]:
                found.append(f"entry {at} closes no open request")
        elif kind in (10, 11) and opened:
            found += [f"the request of entry {n} has no outcome" for n in opened]
            opened.clear()
        elif kind == 9 and e["role"] == 1 and (at or e["key"] != key.key):
            found.append(f"entry {at} names another key")
        elif kind == 7:
            dropped.add(e["segment"]) if e["scope"] == 3 else erased.update({at: []})
        for way, stored in enumerate(e.get("bodies", ())):
            if stored:
                expect[e["id"], way] = at, stored
    seen = set()
    for number, name, outcome, salt, who, what, masks, erasure in db.execute("SELECT number, id, outcome, salt, who, what, masks, erased FROM sessions"):
        kind, e = entries[number] if 0 <= number < len(entries) else (0, {})
        seen.add(number)
        if kind not in (1, 3) or e["id"] != name:
            found.append(f"the row of session {number} belongs to no entry")
        elif erasure is not None:
            erased.setdefault(erasure, []).append(number)
        else:
            closing = entries[outcome] if outcome is not None and outcome < len(entries) else (0, {})
            digest = lambda kind, words: sha256(bytes([kind]), salt, words)
            if digest(1, who) != e["who"] or digest(2, what) != e["what"]:
                found.append(f"the words of entry {number} were changed")
            if (digest(4, masks) if masks else None) != closing[1].get("masks"):
                found.append(f"the mask counts of entry {number} were changed")
            if closing[1].get("intent", number) != number or (outcome is None and number not in opened):
                found.append(f"the outcome of entry {number} was changed")
    found += [f"the words of entry {n} are missing" for n, (kind, _) in enumerate(entries) if kind in (1, 3) and n not in seen]
    for at, numbers in erased.items():
        kind, e = entries[at] if at < len(entries) else (0, {})
        if kind != 7 or (len(numbers), sha256(*(n.to_bytes(8, "big") for n in sorted(numbers)))) != (e["count"], e["list"]):
            found.append(f"entry {at} declares other erasures than those that are there")
    bodies = {}
    for path in sorted((directory / "segments").glob("*.seg")):
        for block in blocks(path.read_bytes(), int(path.stem)):
            if block is None:
                found.append(f"{path.name} is no segment")
                continue
            name, way, number, data = block
            parts, where = bodies.setdefault((name, way), ([], []))
            if (name, way) in expect and number != len(parts):
                found.append(f"a body of entry {expect[name, way][0]} is out of order")
            parts.append(data), where.append(int(path.stem))
    for wanted, (at, (count, first, last, _, digest)) in expect.items():
        if dropped.isdisjoint(range(first, last + 1)):
            parts, where = bodies.get(wanted, ([], []))
            if (len(parts), where[:1], where[-1:], sha256(*parts)) != (count, [first], [last], digest):
                found.append(f"a body of entry {at} is not the one that was recorded")
    return found

if __name__ == "__main__":
    pin = pathlib.Path(sys.argv[3]).read_text() if len(sys.argv) > 3 else None
    try:
        damage = verify(pathlib.Path(sys.argv[1]), Key(pathlib.Path(sys.argv[2]).read_text()), pin)
    except sqlite3.DatabaseError as why:
        damage = [f"the database is broken: {why}"]
    print("\n".join(damage) or "intact")
    sys.exit(bool(damage))
