//! The spellings in which a known secret may appear.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

use super::encoders;
use crate::value::Value;

/// Shorter spellings than this are not looked for: they would mask ordinary text.
pub(crate) const SHORTEST: usize = 6;

/// A spelling of a value, and what may follow it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spelling {
    pub(crate) bytes: Value,
    pub(crate) tail: Tail,
}

/// The character of base64 behind a spelling that holds the value's last bits and some of what follows, and the
/// padding behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tail {
    /// How many of the character's six bits are not the value's; zero where there is no such character.
    unknown: u8,
    /// The character's bits, the unknown ones zero.
    bits: u8,
}

impl Tail {
    /// Whether this byte belongs to the value, `past` bytes behind its spelling.
    pub(crate) fn accepts(self, past: usize, byte: u8) -> bool {
        match past {
            0 => self.unknown > 0 && digit(byte).is_some_and(|bits| (bits ^ self.bits) >> self.unknown == 0),
            _ => self.goes_on(past) && byte == b'=',
        }
    }

    /// Whether a byte `past` bytes behind the spelling may belong to the value: one character, and a padding
    /// character for every two bits that are missing.
    pub(crate) fn goes_on(self, past: usize) -> bool {
        self.unknown > 0 && past <= usize::from(self.unknown / 2)
    }
}

/// The bits a character of base64 or base64url stands for.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// All spellings of a value, each once: raw, base64 and base64url at the three offsets, hex (also with colons or blanks
/// between), percent-encoded, JSON (also as encoders write it that take care of HTML), C and octal escapes, HTML
/// entities (also padded to four digits, and of what is not ASCII alone), UTF-16.
pub(crate) fn of(value: &[u8]) -> Vec<Spelling> {
    let mut all: Vec<Spelling> = Vec::with_capacity(24);
    let mut add_with = |bytes: Vec<u8>, tail: Tail| {
        let bytes = Value::from(bytes);
        if bytes.len() >= SHORTEST && !all.iter().any(|other| other.bytes == bytes) {
            all.push(Spelling { bytes, tail });
        }
    };
    for offset in 0..3 {
        for engine in [&STANDARD, &URL_SAFE] {
            let (bytes, tail) = base64_at(engine, offset, value);
            add_with(bytes, tail);
        }
    }
    let mut add = |bytes: Vec<u8>| add_with(bytes, Tail::default());
    add(value.to_vec());
    add(each(value, |byte, out| hex(out, byte, LOWER)));
    add(each(value, |byte, out| hex(out, byte, UPPER)));
    for digits in [LOWER, UPPER] {
        add(each(value, |byte, out| {
            out.push(b'%');
            hex(out, byte, digits);
        }));
        add(each(value, |byte, out| {
            out.extend(b"\\x");
            hex(out, byte, digits);
        }));
        for between in [b':', b' '] {
            let mut spelled = each(value, |byte, out| {
                hex(out, byte, digits);
                out.push(between);
            });
            spelled.pop();
            add(spelled);
        }
    }
    add(each(value, |byte, out| {
        out.push(b'\\');
        out.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| b'0' + digit));
    }));
    encoders::of(value, &mut add);
    if let Ok(text) = std::str::from_utf8(value) {
        of_text(text, &mut add);
    }
    all
}

fn of_text(text: &str, add: &mut impl FnMut(Vec<u8>)) {
    let units: Zeroizing<Vec<u16>> = Zeroizing::new(text.encode_utf16().collect());
    for digits in [LOWER, UPPER] {
        add(units.iter().fold(Vec::new(), |mut out, unit| {
            escape_u(&mut out, *unit, digits);
            out
        }));
    }
    let mut by_number = |write: fn(u32) -> String| {
        add(text.chars().flat_map(|c| write(u32::from(c)).into_bytes()).collect());
    };
    by_number(|c| format!("&#{c};"));
    by_number(|c| format!("&#{c:04};"));
    by_number(|c| format!("&#x{c:x};"));
    by_number(|c| format!("&#x{c:X};"));
    by_number(|c| format!("&#X{c:X};"));
    by_number(|c| format!("&#x{c:04x};"));
    by_number(|c| format!("&#x{c:04X};"));
    by_number(|c| format!("\\u{{{c:x}}}"));
    add(units.iter().flat_map(|unit| unit.to_le_bytes()).collect());
    add(units.iter().flat_map(|unit| unit.to_be_bytes()).collect());
}

/// The characters of base64 that depend on nothing but the value, where `offset` bytes stand before it in
/// its group of three; and the one behind them that depends on the value in part.
fn base64_at(engine: &impl base64::Engine, offset: usize, value: &[u8]) -> (Vec<u8>, Tail) {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(value);
    let encoded = Zeroizing::new(engine.encode(&*padded));
    let from = (offset * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    let whole = encoded.as_bytes().get(from..to).unwrap_or_default().to_vec();
    let unknown = match padded.len() % 3 {
        0 => 0,
        1 => 4,
        _ => 2,
    };
    // The encoder fills up with zeros.
    let bits = encoded.as_bytes().get(to).copied().and_then(digit).unwrap_or_default();
    (whole, Tail { unknown, bits: if unknown == 0 { 0 } else { bits } })
}

/// How sixteen digits are written.
pub(super) type Digits = [u8; 16];

pub(super) const LOWER: &Digits = b"0123456789abcdef";
pub(super) const UPPER: &Digits = b"0123456789ABCDEF";

fn each(value: &[u8], write: impl Fn(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 4);
    for byte in value {
        write(*byte, &mut out);
    }
    out
}

fn nibble(digits: &Digits, value: u16) -> u8 {
    digits.get(usize::from(value & 15)).copied().unwrap_or(b'0')
}

pub(super) fn hex(out: &mut Vec<u8>, byte: u8, digits: &Digits) {
    out.push(nibble(digits, u16::from(byte >> 4)));
    out.push(nibble(digits, u16::from(byte)));
}

pub(super) fn escape_u(out: &mut Vec<u8>, unit: u16, digits: &Digits) {
    out.extend(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(nibble(digits, unit >> shift));
    }
}

/// Writes a byte as it is where it is a letter, a digit or left alone, and else by number.
pub(super) fn percent(out: &mut Vec<u8>, byte: u8, digits: &Digits, left: impl Fn(u8) -> bool) {
    if byte.is_ascii_alphanumeric() || left(byte) {
        out.push(byte);
    } else {
        out.push(b'%');
        hex(out, byte, digits);
    }
}

pub(super) fn json(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend(b"\\\""),
        b'\\' => out.extend(b"\\\\"),
        b'\n' => out.extend(b"\\n"),
        b'\r' => out.extend(b"\\r"),
        b'\t' => out.extend(b"\\t"),
        0..0x20 => escape_u(out, u16::from(byte), LOWER),
        _ => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn base64_of_any_surroundings_holds_one_of_the_three() {
        let value = b"s3cr3t/Value+with~bytes";
        let spellings = of(value);
        for before in 0..6 {
            for after in 0..4 {
                let mut text = vec![b'x'; before];
                text.extend(value);
                text.extend(vec![b'y'; after]);
                for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                    assert!(
                        spellings
                            .iter()
                            .any(|s| encoded.as_bytes().windows(s.bytes.len()).any(|w| *w == *s.bytes)),
                        "{before} {after}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_spelling_is_listed_once() {
        let spellings = of(b"a\"b'c&d e/f");
        for expected in [
            &b"a\\\"b'c&d e/f"[..],
            b"a%22b%27c%26d%20e%2Ff",
            b"a%22b%27c%26d+e%2Ff",
            b"a&quot;b&#39;c&amp;d e/f",
            b"6122622763266420652f66",
            b"6122622763266420652F66",
            b"\\u0061\\u0022\\u0062\\u0027\\u0063\\u0026\\u0064\\u0020\\u0065\\u002f\\u0066",
            b"a\0\"\0b\0'\0c\0&\0d\0 \0e\0/\0f\0",
        ] {
            assert_eq!(spellings.iter().filter(|s| *s.bytes == *expected).count(), 1, "{expected:?}");
        }
    }

    #[test]
    fn signs_and_letters_beyond_ascii_are_known_in_the_usual_escapes() {
        for (value, spelled) in [
            ("sp ace\"q-9x", "sp ace&#34;q-9x"),
            ("a<b>c&d-9", "a\\u003cb\\u003ec\\u0026d-9"),
            ("a<b>c&d-9", "a\\u003Cb\\u003Ec\\u0026d-9"),
            ("o'brien-9x", "o\\u0027brien-9x"),
            ("pässwörd-9", "p&#228;ssw&#246;rd-9"),
            ("pässwörd-9", "p&#xE4;ssw&#xF6;rd-9"),
            ("pässwörd-9", "p&auml;ssw&ouml;rd-9"),
            ("pässwörd-9", "p\\xe4ssw\\xf6rd-9"),
            ("pässwörd-9", "p\\xc3\\xa4ssw\\xc3\\xb6rd-9"),
            ("pä+sswörd-9", "p\\u00E4\\u002Bssw\\u00F6rd-9"),
        ] {
            assert!(of(value.as_bytes()).iter().any(|s| *s.bytes == *spelled.as_bytes()), "{spelled}");
        }
    }

    #[test]
    fn a_value_without_signs_has_no_more_spellings_for_those_that_have_some() {
        assert_eq!(of(b"q7Lx2mB9vT4kR8wZ").len(), 27);
    }
}
