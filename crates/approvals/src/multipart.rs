//! Naming a multipart body without its boundary, which clients draw anew each time they send.
//!
//! The body is cut at its delimiter lines, and the pieces are hashed in order, each with its own hash. Two bodies with
//! the same pieces mean the same to whoever reads them by their own boundary, so an approval holds for both.
//! This only holds where every reader agrees on what the boundary is and which lines are delimiters. So the header is
//! read as strictly as can be, and a body that holds its boundary anywhere else than in a plain delimiter line has no
//! such name: a reader that takes `--boundary` and a space for a delimiter would see other pieces than people agreed to.

use aws_lc_rs::digest;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::digest::finish;

/// The boundary, where there is one content type and it says nothing but `multipart/form-data` and a plain boundary.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let rest = value.to_str().ok()?.strip_prefix("multipart/form-data;")?;
    let boundary = rest.strip_prefix(' ').unwrap_or(rest).strip_prefix("boundary=")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!boundary.is_empty() && boundary.len() <= 70 && boundary.bytes().all(plain)).then_some(boundary)
}

/// The hash of a body's pieces, fed as the body arrives.
pub(crate) struct Pieces {
    /// Line break, two hyphens, boundary.
    delimiter: Vec<u8>,
    /// What may still turn out to be a delimiter line.
    held: Vec<u8>,
    piece: digest::Context,
    all: digest::Context,
    /// Delimiter lines so far.
    lines: u64,
    /// Places so far where the boundary stands, in delimiter lines or not.
    mentions: Mentions,
}

/// Counts where a text stands in a stream.
struct Mentions {
    text: Vec<u8>,
    /// The end of the stream so far, shorter than the text.
    tail: Vec<u8>,
    count: u64,
}

/// What a delimiter line is.
enum Line {
    /// Between two pieces.
    Between,
    /// After the last piece.
    Closing,
    /// No delimiter line.
    Content,
    /// More bytes are needed to tell.
    Open,
}

impl Pieces {
    pub(crate) fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first delimiter has no line break before it.
            held: b"\r\n".to_vec(),
            piece: digest::Context::new(&digest::SHA256),
            all: digest::Context::new(&digest::SHA256),
            lines: 0,
            mentions: Mentions { text: boundary.as_bytes().to_vec(), tail: Vec::new(), count: 0 },
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.mentions.push(bytes);
        self.held.extend_from_slice(bytes);
        self.cut(false);
    }

    /// The name, or `None` where readers could disagree on what the pieces are.
    pub(crate) fn finish(mut self) -> Option<[u8; 32]> {
        self.cut(true);
        let rest = std::mem::take(&mut self.held);
        self.piece.update(&rest);
        self.end_piece(b"end");
        (self.lines > 0 && self.lines == self.mentions.count).then(|| finish(self.all))
    }

    fn cut(&mut self, at_end: bool) {
        let mut held = std::mem::take(&mut self.held);
        let mut done = 0;
        while let Some(found) = held.get(done..).and_then(|rest| rest.iter().position(|byte| *byte == b'\r'))
        {
            let start = done + found;
            let candidate = held.get(start..).unwrap_or_default();
            self.piece.update(held.get(done..start).unwrap_or_default());
            done = match self.line(candidate, at_end) {
                Line::Open => {
                    held.drain(..start);
                    self.held = held;
                    return;
                }
                Line::Between => {
                    self.lines += 1;
                    self.end_piece(b"between");
                    start + self.delimiter.len()
                }
                Line::Closing => {
                    self.lines += 1;
                    self.end_piece(b"closing");
                    start + self.delimiter.len() + 2
                }
                Line::Content => {
                    self.piece.update(b"\r");
                    start + 1
                }
            };
        }
        self.piece.update(held.get(done..).unwrap_or_default());
    }

    /// What begins at this carriage return.
    fn line(&self, text: &[u8], at_end: bool) -> Line {
        let or_open = |complete: bool| if complete || at_end { Line::Content } else { Line::Open };
        let Some(after) = text.strip_prefix(self.delimiter.as_slice()) else {
            return or_open(!self.delimiter.starts_with(text));
        };
        match after {
            [b'\r', b'\n', ..] => Line::Between,
            [b'-', b'-', b'\r', b'\n', ..] => Line::Closing,
            [b'-', b'-'] if at_end => Line::Closing,
            [] | [b'\r' | b'-'] | [b'-', b'-'] | [b'-', b'-', b'\r'] => or_open(false),
            _ => Line::Content,
        }
    }

    fn end_piece(&mut self, how: &[u8]) {
        let piece = std::mem::replace(&mut self.piece, digest::Context::new(&digest::SHA256));
        self.all.update(&finish(piece));
        self.all.update(&(how.len() as u64).to_be_bytes());
        self.all.update(how);
    }
}

impl Mentions {
    fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let found = self.tail.windows(self.text.len()).filter(|window| *window == self.text).count();
        self.count += found as u64;
        let keep = self.tail.len().min(self.text.len().saturating_sub(1));
        self.tail.drain(..self.tail.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(boundary: &str, body: &[u8], cut: usize) -> Option<[u8; 32]> {
        let mut pieces = Pieces::new(boundary);
        for part in body.chunks(cut.max(1)) {
            pieces.push(part);
        }
        pieces.finish()
    }

    fn body(boundary: &str, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in parts {
            body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        body
    }

    #[test]
    fn only_a_plain_boundary_is_taken() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, value.parse().unwrap());
            }
            boundary(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["multipart/form-data; boundary=----WebKit_0aZ"]).as_deref(), Some("----WebKit_0aZ"));
        for wrong in [
            &[][..],
            &["multipart/form-data"],
            &["multipart/form-data; boundary="],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; boundary=\"a\""],
            &["multipart/form-data; charset=utf-8; boundary=a"],
            &["multipart/mixed; boundary=a"],
            &["multipart/form-data; boundary=a", "multipart/form-data; boundary=b"],
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_boundary_in_the_content_is_a_doubt() {
        for line in [
            "\r\n--ZZB\r\n",
            "\n--ZZ\n",
            "\r\n--ZZ \r\n",
            "\r\n--ZZ--x\r\n",
            "x--ZZ\r\n",
            "ZZ",
            "\r\r--ZZ\r\n",
        ] {
            let parts = [line.as_bytes().to_vec()];
            assert!(name("other", &body("other", &parts), 99).is_some(), "content like any other: {line:?}");
            // Sent with that boundary, a lenient reader would see more pieces than people were shown.
            assert_eq!(name("ZZ", &body("ZZ", &parts), 99), None, "{line:?}");
        }
        assert_eq!(name("ZZ", b"no delimiter", 99), None);
        // A plain delimiter line in the content makes other pieces, for every reader.
        let parts = [b"a\r\n--ZZ\r\nb".to_vec()];
        assert_ne!(name("ZZ", &body("ZZ", &parts), 99), name("other", &body("other", &parts), 99));
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let token = prop::sample::select(vec!["\r\n", "\r", "--A", "A", "--", "x", "\r\n--", "B", "", "\n"]);
        let part = prop::collection::vec(token, 0..8).prop_map(|tokens| tokens.concat().into_bytes());
        prop::collection::vec(part, 0..4)
    }

    proptest! {
        #[test]
        fn the_name_does_not_depend_on_how_the_network_cut_it(parts in parts(), cut in 1usize..9) {
            for boundary in ["A", "AB", "f00d"] {
                let body = body(boundary, &parts);
                prop_assert_eq!(name(boundary, &body, cut), name(boundary, &body, body.len()));
            }
        }

        #[test]
        fn another_boundary_is_the_same_and_other_parts_are_not(a in parts(), b in parts()) {
            // A boundary that is not in the parts, as clients choose it.
            let named = |boundary: &str, parts: &[Vec<u8>]| name(boundary, &body(boundary, parts), 7);
            prop_assert!(named("f00d", &a).is_some());
            prop_assert_eq!(named("f00d", &a), named("cafe", &a));
            prop_assert_eq!(named("f00d", &a) == named("cafe", &b), a == b);
        }
    }
}
