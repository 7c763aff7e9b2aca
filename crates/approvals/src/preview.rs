//! What people are shown of a request: masked, bounded, and free of characters that play tricks on a terminal.

use gatewayd_core::{Redact, inert_text};

/// A body is masked up to here; what is behind is not shown.
pub(crate) const LOOKED_AT: usize = 1 << 20;

/// The masked beginning of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Preview {
    /// The masked text; empty where it cannot be shown.
    pub text: String,
    /// True if there is more than is shown.
    pub truncated: bool,
    /// Why it cannot be shown.
    pub note: Option<String>,
}

impl Preview {
    /// Masks `head`, the first bytes of a body; `whole` says whether that is all of it.
    pub(crate) fn of(
        redact: &dyn Redact,
        content_type: Option<&str>,
        head: &[u8],
        whole: bool,
        limit: usize,
    ) -> Self {
        let mut stream = redact.start(content_type);
        let mut masked = match stream.push(head) {
            Ok(bytes) => bytes.to_vec(),
            Err(reason) => return Self::unseen(&reason),
        };
        if whole {
            match stream.finish() {
                Ok(rest) => masked.extend_from_slice(&rest),
                Err(reason) => return Self::unseen(&reason),
            }
        }
        let truncated = !whole || masked.len() > limit;
        masked.truncate(limit);
        let Some(text) = as_text(masked, truncated) else {
            return Self { text: String::new(), truncated: true, note: Some("it is not text".to_owned()) };
        };
        Self { text: inert_text(&text).into_owned(), truncated, note: None }
    }

    pub(crate) fn unseen(reason: &str) -> Self {
        let note = format!("it could not be masked, so it is not shown: {}", printable(reason, 200));
        Self { text: String::new(), truncated: true, note: Some(note) }
    }
}

/// A short text of the caller's, masked and printable.
pub(crate) fn short(redact: &dyn Redact, text: &str, limit: usize) -> String {
    let mut stream = redact.start(Some("text/plain; charset=utf-8"));
    let masked = stream.push(text.as_bytes()).and_then(|first| Ok([first, stream.finish()?].concat()));
    match masked {
        Ok(masked) => printable(&String::from_utf8_lossy(&masked), limit),
        Err(_) => "(it could not be masked, so it is not shown)".to_owned(),
    }
}

/// The text on one line, fit for a terminal: what would not be seen, or would turn the direction of text, is spelled out.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let one_line: String = text.chars().map(|c| if c < ' ' { ' ' } else { c }).collect();
    inert_text(&one_line).chars().take(limit).collect::<String>().trim().to_owned()
}

/// UTF-8, where a cut may have split the last character.
fn as_text(bytes: Vec<u8>, truncated: bool) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let cut_only = truncated && error.utf8_error().error_len().is_none();
            let mut bytes = error.into_bytes();
            bytes.truncate(good);
            if cut_only { String::from_utf8(bytes).ok() } else { None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gatewayd_core::RedactStream;

    struct Upper;
    impl Redact for Upper {
        fn start(&self, _: Option<&str>) -> Box<dyn RedactStream> {
            Box::new(Self)
        }
    }
    impl RedactStream for Upper {
        fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
            Ok(chunk.to_ascii_uppercase().into())
        }
        fn finish(&mut self) -> Result<Bytes, String> {
            Ok(Bytes::new())
        }
    }

    #[test]
    fn a_preview_is_masked_and_bounded() {
        let preview = Preview::of(&Upper, None, "söße and more".as_bytes(), true, 2);
        assert_eq!((preview.text.as_str(), preview.truncated), ("S", true), "no half character");
        assert_eq!(Preview::of(&Upper, None, b"abc", true, 10).text, "ABC");
        assert!(Preview::of(&Upper, None, b"abc", false, 10).truncated);
        assert!(Preview::of(&Upper, None, b"\xff\xfe", true, 10).note.is_some());
    }

    #[test]
    fn terminals_are_not_tricked() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\u{202e}d\u{200b}", 100), "a [31mb  c\\u202ed\\u200b");
        let preview = Preview::of(&Upper, None, "{\"dry\u{200b}\":1}\u{1b}\n\tc".as_bytes(), true, 100);
        assert_eq!(preview.text, "{\"DRY\\u200b\":1}\\u001b\n\tC");
        assert_eq!(short(&Upper, "x\u{7}y", 2), "X");
    }
}
