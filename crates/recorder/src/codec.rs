//! The primitives that leaves and facts are written with. Every value has exactly one encoding, and the
//! reader refuses any other, so that equal bytes mean equal facts.

use aws_lc_rs::digest::{self, Context, SHA256};

/// A SHA-256 digest.
pub(crate) type Digest = [u8; 32];

/// Hashes the concatenation of the parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    // A running hash takes memory of its own; what is short is put together here instead.
    let mut together = [0; 512];
    let mut len = 0;
    for part in parts {
        match together.get_mut(len..len + part.len()) {
            Some(room) => room.copy_from_slice(part),
            None => return sha256_long(parts),
        }
        len += part.len();
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&SHA256, together.split_at(len).0).as_ref());
    hash
}

fn sha256_long(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

/// The digest of a running hash.
pub(crate) fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Length byte of a text that is absent.
const ABSENT: u8 = 0xFE;
/// Length byte of a text that is too long for its field and is named by its digest.
const DIGESTED: u8 = 0xFF;

/// A short text inside a leaf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Text {
    /// There is none.
    #[default]
    Absent,
    /// The text itself.
    Inline(String),
    /// The first 16 bytes of the SHA-256 of a text that is longer than the field.
    Digested([u8; 16]),
}

impl Text {
    /// The text, or its digest if it is longer than `max` bytes.
    pub(crate) fn new(text: Option<&str>, max: usize) -> Self {
        match text {
            None => Self::Absent,
            Some(text) if text.len() <= max => Self::Inline(text.to_owned()),
            Some(text) => Self::Digested(short_digest(text.as_bytes())),
        }
    }

    /// True if `text` is what this stands for.
    pub(crate) fn is(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Self::Absent, None) => true,
            (Self::Inline(inline), Some(text)) => inline == text,
            (Self::Digested(digest), Some(text)) => *digest == short_digest(text.as_bytes()),
            _ => false,
        }
    }

    /// True if the entry has these words in their only form: as a digest where they are longer than `max`, and only there.
    pub(crate) fn gives(&self, words: Option<&str>, max: usize) -> bool {
        let too_long = words.is_some_and(|words| words.len() > max);
        self.is(words) && too_long == matches!(self, Self::Digested(_))
    }

    /// The text for people; a digest is shown as such.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Inline(text) => Some(text.clone()),
            Self::Digested(digest) => Some(format!("sha256:{}..", hex::encode(digest))),
        }
    }
}

/// The first half of a SHA-256 digest.
pub(crate) fn short_digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(sha256(&[bytes]).split_at(16).0);
    short
}

/// Appends encoded values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// LEB128: seven bits a byte, least significant first.
    pub(crate) fn varint(&mut self, value: u64) {
        put_varint(&mut self.0, value);
    }

    /// A text of a leaf. The caller made it with the field's own `max`.
    pub(crate) fn text(&mut self, text: &Text) {
        match text {
            Text::Absent => self.u8(ABSENT),
            Text::Inline(text) => {
                self.u8(u8::try_from(text.len()).expect("an inline text fits its field, at most 64 bytes"));
                self.bytes(text.as_bytes());
            }
            Text::Digested(digest) => {
                self.u8(DIGESTED);
                self.bytes(digest);
            }
        }
    }

    /// A string of any length, for facts.
    pub(crate) fn string(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// A string that may be missing: a byte 0, or a byte 1 and the string.
    pub(crate) fn optional(&mut self, text: Option<&str>) {
        match text {
            None => self.u8(0),
            Some(text) => {
                self.u8(1);
                self.string(text);
            }
        }
    }
}

/// Appends one LEB128 number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7F).expect("seven bits fit a byte");
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it ends too early")]
    Short,
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("{0} is not written in its one allowed form")]
    NotCanonical(&'static str),
    #[error("{what} has the unknown code {code}")]
    Unknown { what: &'static str, code: u8 },
}

/// Takes encoded values off the front of a slice.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::NotCanonical("a number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::NotCanonical("a number"));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::NotCanonical("a number"))
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<Text, DecodeError> {
        match self.u8()? {
            ABSENT => Ok(Text::Absent),
            DIGESTED => Ok(Text::Digested(self.array()?)),
            len if usize::from(len) <= max => {
                let bytes = self.take(usize::from(len))?;
                let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotCanonical("a text"))?;
                Ok(Text::Inline(text.to_owned()))
            }
            _ => Err(DecodeError::NotCanonical("a text")),
        }
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Short)?;
        let bytes = self.take(len)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotCanonical("a string"))
    }

    pub(crate) fn optional(&mut self) -> Result<Option<String>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.string().map(Some),
            _ => Err(DecodeError::NotCanonical("an optional string")),
        }
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_has_one_form(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut decoder = Decoder(&out);
            prop_assert_eq!(decoder.varint(), Ok(value));
            prop_assert!(decoder.end().is_ok());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut decoder = Decoder(&bytes);
            if let Ok(value) = decoder.varint() {
                let used = bytes.len() - decoder.0.len();
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&bytes[..used], &again[..]);
            }
        }
    }

    #[test]
    fn a_long_text_is_named_by_its_digest() {
        let text = Text::new(Some("a rule with a very long name"), 8);
        assert!(text.is(Some("a rule with a very long name")));
        assert!(!text.is(Some("another")));
        let mut encoder = Encoder::default();
        encoder.text(&text);
        assert_eq!(encoder.0.len(), 17);
        assert_eq!(Decoder(&encoder.0).text(8), Ok(text));
    }
}
