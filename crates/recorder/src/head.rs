//! The header fields of a message, as far as they are stored: which, and how.
//!
//! Every name is stored, so that it can be seen that a field was there; the value only of fields that hold no
//! credential by their meaning. What is stored is masked like a body, and sealed with it.

use http::{HeaderMap, Version};
use serde::Serialize;

/// A header field of a recorded message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderField {
    /// The name, in lower case.
    pub name: String,
    /// The value, masked; `None` where values of this name are not stored.
    pub value: Option<String>,
}

/// Fields whose values are stored. Sorted. What a caller, an upstream or a hop between them may use to prove who
/// it is must never be here, nor what may hold a signed address.
const TOLD: [&str; 53] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "age",
    "allow",
    "anthropic-beta",
    "anthropic-version",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "deprecation",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "host",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "openai-beta",
    "openai-model",
    "openai-organization",
    "openai-processing-ms",
    "openai-project",
    "openai-version",
    "origin",
    "range",
    "retry-after",
    "server",
    "server-timing",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-forwarded-for",
    "x-request-id",
];

/// No value is stored longer.
const MAX_VALUE: usize = 256;
/// Not more text than this is stored of one message.
const MAX_TEXT: usize = 4096;
/// Stands where fields did not fit.
const MORE: &str = "...";

/// Stands before the version of HTTP. No field has such a name.
const VERSION: &str = ":version";

/// The head of a request, not masked yet: its version of HTTP, then its fields.
pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::with_capacity(32 + headers.len() * 32);
    text.extend_from_slice(format!("{VERSION}: {version:?}\n").as_bytes());
    collect(headers, text)
}

/// The head of an answer, likewise. It is in the version of the request.
pub(crate) fn of_answer(headers: &HeaderMap) -> Vec<u8> {
    collect(headers, Vec::with_capacity(headers.len() * 32))
}

/// The fields as they are stored: a line each, `name: value`, or the name alone.
fn collect(headers: &HeaderMap, mut text: Vec<u8>) -> Vec<u8> {
    for (name, value) in headers {
        let (name, told) = (name.as_str(), TOLD.binary_search(&name.as_str()).is_ok());
        if text.len() + name.len() + MAX_VALUE + MORE.len() + 4 > MAX_TEXT {
            text.extend_from_slice(MORE.as_bytes());
            text.push(b'\n');
            break;
        }
        text.extend_from_slice(name.as_bytes());
        if let Some(start) = told.then(|| beginning(value.as_bytes())).flatten() {
            text.extend_from_slice(b": ");
            text.extend_from_slice(start);
        }
        text.push(b'\n');
    }
    text
}

/// As much of a value as is stored. It is cut where a word ends: of half a secret nobody sees any more that it is one.
/// `None`: it is one long word.
fn beginning(value: &[u8]) -> Option<&[u8]> {
    if value.len() <= MAX_VALUE {
        return Some(value);
    }
    let start = value.get(..MAX_VALUE)?;
    let end = start.iter().rposition(|b| b.is_ascii_whitespace() || b",;()\"'<>".contains(b))?;
    start.get(..end)
}

/// What is stored of a head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Option<String>,
    pub(crate) fields: Vec<HeaderField>,
}

impl Head {
    /// Reads it again.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut head = Self::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some((VERSION, version)) => head.version = Some(version.to_owned()),
                Some((name, value)) => {
                    head.fields.push(HeaderField { name: name.to_owned(), value: Some(value.to_owned()) });
                }
                None => head.fields.push(HeaderField { name: line.to_owned(), value: None }),
            }
        }
        head
    }
}

/// The value of a field.
pub(crate) fn value<'f>(fields: &'f [HeaderField], name: &str) -> Option<&'f str> {
    fields.iter().find(|field| field.name == name)?.value.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_list_is_sorted_and_names_no_credential() {
        assert!(TOLD.is_sorted());
        for name in TOLD {
            for sign in ["auth", "cookie", "key", "token", "secret", "signature"] {
                let known = ["idempotency-key", "www-authenticate"].contains(&name);
                assert!(known || !name.contains(sign), "{name}");
            }
        }
    }

    #[test]
    fn names_are_kept_and_values_only_of_what_is_no_credential() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("authorization", HeaderValue::from_static("Bearer abc"));
        headers.append("x-api-key", HeaderValue::from_static("abc"));
        headers.append("cookie", HeaderValue::from_static("a=abc"));
        let text = of_request(Version::HTTP_2, &headers);
        assert!(!text.windows(3).any(|w| w == b"abc"));
        let Head { version, fields } = Head::parse(&text);
        assert_eq!(version.as_deref(), Some("HTTP/2.0"));
        assert_eq!(value(&fields, "content-type"), Some("application/json"));
        assert_eq!(fields.iter().filter(|field| field.value.is_none()).count(), 3);
    }

    #[test]
    fn no_half_of_a_word_is_stored() {
        let secret = "sk-".to_owned() + &"7Qf3".repeat(12);
        for before in 180..260 {
            let long = format!("{} {secret} end", "a".repeat(before));
            let mut headers = HeaderMap::new();
            headers.insert("user-agent", long.parse().unwrap());
            headers.insert("server", secret.repeat(6).parse().unwrap());
            let Head { fields, .. } = Head::parse(&of_answer(&headers));
            let told = value(&fields, "user-agent").unwrap_or_default();
            assert!(long.starts_with(told) && (told.contains(&secret) || !told.contains("sk-")), "{told}");
            assert_eq!(value(&fields, "server"), None, "one word");
        }
    }

    #[test]
    fn however_many_and_long_they_are_the_text_is_bounded() {
        let mut headers = HeaderMap::new();
        for _ in 0..100 {
            headers.append("user-agent", HeaderValue::from_bytes(&b"\xE9 ".repeat(1500)).unwrap());
        }
        let text = of_answer(&headers);
        assert!(text.len() <= MAX_TEXT);
        let Head { version, fields } = Head::parse(&text);
        assert_eq!((version, fields.last().map(|field| field.name.as_str())), (None, Some(MORE)));
        assert_eq!(Head::parse(b""), Head::default());
    }
}
