//! Codings that nobody in front of us could see through.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

/// Text outside of `text/`, by the last part of the media type.
const TEXT: [&str; 13] = [
    "json",
    "x-ndjson",
    "ndjson",
    "jsonl",
    "x-jsonl",
    "jsonlines",
    "json-seq",
    "xml",
    "yaml",
    "x-yaml",
    "javascript",
    "x-javascript",
    "x-www-form-urlencoded",
];

/// True if the transfer codings are none, or `chunked` and nothing else.
///
/// The client undoes `chunked` and leaves any other as it is (RFC 9112, 6.1), so that a body in
/// `gzip, chunked` would look like one without a coding.
pub(crate) fn is_transfer_plain(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// True if the headers promise text in no coding. A type left out promises it too.
pub(crate) fn promises_text(headers: &HeaderMap) -> bool {
    let is_coded = headers.get_all(CONTENT_ENCODING).iter().any(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    });
    if is_coded {
        return false;
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    types.peek().is_none() || types.any(is_text)
}

fn is_text(media_type: &HeaderValue) -> bool {
    let Ok(value) = media_type.to_str() else { return true };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    let Some((kind, form)) = media_type.split_once('/') else { return true };
    // `application/problem+json` is JSON too.
    let form = form.rsplit('+').next().unwrap_or(form);
    kind.eq_ignore_ascii_case("text") || TEXT.iter().any(|text| form.eq_ignore_ascii_case(text))
}

/// Watches the first bytes of a body that promised text.
///
/// It holds nothing back: what passes before the mark is whole is part of the mark, and says nothing.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: [u8; Self::LENGTH],
    seen: usize,
}

impl Opening {
    const LENGTH: usize = 4;

    /// How packed bodies begin. No UTF-8 text does: each has a byte that is none, or a control character.
    const MARKS: [&'static [u8]; 6] = [
        b"\x1f\x8b",         // gzip
        b"\x28\xb5\x2f\xfd", // zstd
        b"\x04\x22\x4d\x18", // lz4
        b"\xfd7zX",          // xz
        b"\x78\x01",         // zlib, fastest
        b"\x78\x9c",         // zlib, default
    ];

    /// True if the body turns out to be packed.
    pub(crate) fn is_packed_with(&mut self, piece: &[u8]) -> bool {
        if self.seen == Self::LENGTH {
            return false;
        }
        let free = self.bytes.iter_mut().skip(self.seen);
        self.seen += free.zip(piece).map(|(free, byte)| *free = *byte).count();
        let seen = self.bytes.get(..self.seen).unwrap_or_default();
        Self::MARKS.iter().any(|mark| seen.starts_with(mark)) || Self::is_skippable(seen)
    }

    /// A zstd frame that decoders skip, `0x50` to `0x5f` and then `2a 4d 18`.
    fn is_skippable(seen: &[u8]) -> bool {
        matches!(seen, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_packed(pieces: &[&[u8]]) -> bool {
        let mut opening = Opening::default();
        pieces.iter().any(|piece| opening.is_packed_with(piece))
    }

    proptest! {
        #[test]
        fn a_mark_is_found_however_it_is_cut(mark in 0..Opening::MARKS.len(), at in 0..6usize, rest in prop::collection::vec(any::<u8>(), 3..9)) {
            let whole = [Opening::MARKS[mark], &rest].concat();
            let (front, back) = whole.split_at(at.min(whole.len()));
            prop_assert!(is_packed(&[front, back]));
            prop_assert!(is_packed(&whole.chunks(1).collect::<Vec<_>>()));
        }

        #[test]
        fn printable_text_is_never_taken_for_it(text in "[\\PC\\r\\n\\t]{0,12}") {
            prop_assert!(!is_packed(&[text.as_bytes()]));
        }
    }
}
