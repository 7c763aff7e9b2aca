//! JSON strings: from their spelling to their text, without losing the spelling.

use crate::lane::Lane;

/// Decodes the inside of a JSON string into a lane; where the text is itself JSON, its escapes too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decoder {
    outer: Unescape,
    /// The second level, for JSON inside of a string.
    inner: Option<Unescape>,
    /// Whether the first character has been looked at.
    begun: bool,
}

impl Decoder {
    /// A decoder that looks at the first character: a text that begins like JSON is taken for JSON.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A decoder for a text that is JSON, whatever it begins with.
    pub(crate) fn nested() -> Self {
        Self { inner: Some(Unescape::default()), begun: true, ..Self::default() }
    }

    /// A decoder for a text of which nothing is known but that it may have escapes.
    pub(crate) fn outer() -> Self {
        Self { begun: true, ..Self::default() }
    }

    /// Takes a part of the inside of a string, as it is spelled.
    pub(crate) fn push(&mut self, mut raw: &[u8], lane: &mut Lane) {
        while !raw.is_empty() {
            if self.outer.is_empty() {
                let run = memchr::memchr(b'\\', raw).unwrap_or(raw.len());
                let (plain, rest) = raw.split_at(run);
                self.plain(plain, lane);
                raw = rest;
            }
            let Some((byte, rest)) = raw.split_first() else { return };
            raw = rest;
            let (inner, begun) = (&mut self.inner, &mut self.begun);
            self.outer.push(
                std::slice::from_ref(byte),
                std::slice::from_ref(byte),
                &mut |decoded, spelled| {
                    unit(inner, begun, decoded, spelled, lane);
                },
            );
        }
    }

    /// The end of one string. A text may go on in another.
    pub(crate) fn end_of_string(&mut self, lane: &mut Lane) {
        let (inner, begun) = (&mut self.inner, &mut self.begun);
        self.outer.flush(&mut |decoded, spelled| unit(inner, begun, decoded, spelled, lane));
    }

    /// The end of the text.
    pub(crate) fn finish(&mut self, lane: &mut Lane) {
        self.end_of_string(lane);
        if let Some(inner) = &mut self.inner {
            inner.flush(&mut |decoded, spelled| put(decoded, spelled, lane));
        }
    }

    /// Whether part of an escape waits for the rest.
    pub(crate) fn is_holding(&self) -> bool {
        !self.outer.is_empty() || self.inner.as_ref().is_some_and(|inner| !inner.is_empty())
    }

    fn plain(&mut self, bytes: &[u8], lane: &mut Lane) {
        if bytes.is_empty() {
            return;
        }
        look(&mut self.inner, &mut self.begun, bytes);
        match &mut self.inner {
            Some(inner) => inner.run(bytes, lane),
            None => lane.push(bytes),
        }
    }
}

fn look(inner: &mut Option<Unescape>, begun: &mut bool, bytes: &[u8]) {
    if !*begun && let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        *begun = true;
        if matches!(first, b'{' | b'[') {
            *inner = Some(Unescape::default());
        }
    }
}

fn unit(inner: &mut Option<Unescape>, begun: &mut bool, decoded: &[u8], spelled: &[u8], lane: &mut Lane) {
    look(inner, begun, decoded);
    match inner {
        Some(inner) => inner.push(decoded, spelled, &mut |decoded, spelled| put(decoded, spelled, lane)),
        None => put(decoded, spelled, lane),
    }
}

fn put(decoded: &[u8], spelled: &[u8], lane: &mut Lane) {
    if decoded == spelled { lane.push(decoded) } else { lane.push_spelled(decoded, spelled) }
}

/// One level of escapes.
#[derive(Clone, Debug, Default)]
struct Unescape {
    /// The escape so far, beginning with a backslash.
    escape: Vec<u8>,
    /// Its spelling one level further out.
    spelled: Vec<u8>,
    /// How much of that spells the first six characters.
    first: usize,
}

impl Unescape {
    fn is_empty(&self) -> bool {
        self.escape.is_empty()
    }

    /// Takes text that is spelled as it is.
    fn run(&mut self, mut bytes: &[u8], lane: &mut Lane) {
        while !bytes.is_empty() {
            if self.is_empty() {
                let run = memchr::memchr(b'\\', bytes).unwrap_or(bytes.len());
                let (plain, rest) = bytes.split_at(run);
                lane.push(plain);
                bytes = rest;
            }
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.push(std::slice::from_ref(byte), std::slice::from_ref(byte), &mut |d, s| put(d, s, lane));
        }
    }

    /// Takes one unit: what it means, and how it is spelled one level further out.
    fn push(&mut self, decoded: &[u8], spelled: &[u8], sink: &mut impl FnMut(&[u8], &[u8])) {
        let &[byte] = decoded else {
            self.flush(sink);
            sink(decoded, spelled);
            return;
        };
        if self.is_empty() {
            if byte != b'\\' {
                sink(decoded, spelled);
                return;
            }
        } else if !self.takes(byte) {
            self.flush_one(sink);
            return self.push(decoded, spelled, sink);
        }
        self.escape.push(byte);
        self.spelled.extend_from_slice(spelled);
        if self.escape.len() <= 6 {
            self.first = self.spelled.len();
        }
        while !self.is_empty() && !self.may_go_on() {
            self.flush_one(sink);
        }
    }

    /// Whether the byte can belong to the escape begun.
    fn takes(&self, byte: u8) -> bool {
        match self.escape.len() {
            1 => true,
            2..=5 | 8..=11 => byte.is_ascii_hexdigit(),
            // A second escape may complete a pair of surrogates.
            6 => byte == b'\\',
            7 => byte == b'u',
            _ => false,
        }
    }

    fn may_go_on(&self) -> bool {
        match (self.escape.len(), self.escape.get(1)) {
            (1, _) => true,
            (2..=5 | 7..=11, Some(b'u')) => true,
            (6, Some(b'u')) => matches!(code_unit(&self.escape), Some(0xD800..=0xDBFF)),
            _ => false,
        }
    }

    /// Gives out what there is, complete or not.
    fn flush(&mut self, sink: &mut impl FnMut(&[u8], &[u8])) {
        while !self.is_empty() {
            self.flush_one(sink);
        }
    }

    /// Gives out the first escape, or both of a pair of surrogates.
    fn flush_one(&mut self, sink: &mut impl FnMut(&[u8], &[u8])) {
        let first = code_unit(&self.escape).filter(|_| self.escape.get(1) == Some(&b'u'));
        let second = self.escape.get(6..).and_then(code_unit).filter(|_| self.escape.get(7) == Some(&b'u'));
        let (taken, character) = match (first, second) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                let point = 0x1_0000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
                (12, char::from_u32(point))
            }
            (Some(unit), _) => (6, char::from_u32(u32::from(unit))),
            (None, _) => {
                let byte =
                    if self.escape.len() == 2 { self.escape.get(1).copied().and_then(simple) } else { None };
                match byte {
                    Some(byte) => sink(&[byte], &self.spelled),
                    None => sink(&self.escape, &self.spelled),
                }
                self.escape.clear();
                self.spelled.clear();
                self.first = 0;
                return;
            }
        };
        let spelled = if taken == 12 { self.spelled.len() } else { self.first.min(self.spelled.len()) };
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        sink(character.encode_utf8(&mut [0; 4]).as_bytes(), self.spelled.get(..spelled).unwrap_or_default());
        self.escape.drain(..taken);
        self.spelled.drain(..spelled);
        self.first = self.spelled.len();
    }
}

fn code_unit(escape: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(escape.get(2..6)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn simple(short: u8) -> Option<u8> {
    Some(match short {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'"' | b'\\' | b'/' => short,
        _ => return None,
    })
}

/// The text of a JSON string, given its inside. For strings that are at hand.
pub(crate) fn text_of(inside: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', inside) else { return inside.into() };
    let (plain, mut rest) = inside.split_at(first);
    let mut text = Vec::with_capacity(inside.len());
    text.extend_from_slice(plain);
    let mut unescape = Unescape::default();
    while let Some((byte, behind)) = rest.split_first() {
        if unescape.is_empty() {
            // Most escapes are of two characters, and most text has none.
            if let [b'\\', short, behind @ ..] = rest
                && let Some(byte) = simple(*short)
            {
                text.push(byte);
                rest = behind;
                continue;
            }
            let run = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            if run > 0 {
                let (plain, behind) = rest.split_at(run);
                text.extend_from_slice(plain);
                rest = behind;
                continue;
            }
        }
        unescape.push(&[*byte], &[*byte], &mut |decoded, _| text.extend_from_slice(decoded));
        rest = behind;
    }
    unescape.flush(&mut |decoded, _| text.extend_from_slice(decoded));
    text.into()
}

/// Whether a text is taken for JSON, whose escapes are read as well.
pub(super) fn begins_like_json(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_as_serde_json_does() {
        for spelled in [
            r"plain",
            r"\n\r\t\b\f\/\\",
            r#"\""#,
            r"\u0041\u00e9\u20ac",
            r"\ud83d\ude00",
            r"x\ud83d\ude00y",
            r"\u005c\u0022",
            r"\\u0041",
            r"\\\\",
        ] {
            let expected: String = serde_json::from_str(&format!("\"{spelled}\"")).unwrap();
            assert_eq!(text_of(spelled.as_bytes()), expected.as_bytes(), "{spelled}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(&*text_of(br"\q"), br"\q");
        assert_eq!(&*text_of(br"\u00g1"), br"\u00g1");
        assert_eq!(&*text_of(br"\ud83dx"), "\u{FFFD}x".as_bytes());
        assert_eq!(&*text_of(br"\ud83d\n"), "\u{FFFD}\n".as_bytes());
        assert_eq!(&*text_of(br"\ud83d\u0041"), "\u{FFFD}A".as_bytes());
        assert_eq!(&*text_of(br"\ud83d\ud83d\ude00"), "\u{FFFD}\u{1F600}".as_bytes());
        assert_eq!(&*text_of(br"\"), br"\");
    }
}
