//! Which spellings of a path and of a query are let through.
//!
//! Two servers may read one path in two ways: one decodes `%2e%2e` before it routes, one cuts at `;`, one
//! folds `//`. A policy that reads it in a third way can be walked around. So only paths that everybody
//! reads alike pass; everything else is refused with 400, before any table is asked.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Longest path that is looked at.
pub(crate) const MAX_PATH: usize = 4096;

/// Why a path or a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// The request target is not a path (`OPTIONS *`, `CONNECT host:port`).
    #[error("it does not start with `/`")]
    NotAbsolute,
    /// Longer than 4096 bytes.
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// An empty segment, `.` or `..`.
    #[error("it holds an empty segment, `.` or `..`; send it normalised")]
    NotNormal,
    /// A character that servers treat differently: `;`, `\`, control or non-ASCII ones.
    #[error("it holds a character that servers read differently, such as `;` or `\\`")]
    AmbiguousCharacter,
    /// A percent-encoding that is broken, needless, or hides a delimiter.
    #[error(
        "it holds a percent-encoding that is broken, of a plain character, or of `/`, `\\`, `%`, `;` or a control"
    )]
    AmbiguousEncoding,
    /// A query parameter that decides what is done is given twice or in another spelling, or the query cannot be
    /// split safely.
    #[error("its query names a deciding parameter twice or in another spelling, or holds `;`")]
    AmbiguousQuery,
}

/// Refuses every path that two servers could read in two ways.
pub(crate) fn check(path: &str) -> Result<(), PathProblem> {
    if path.len() > MAX_PATH {
        return Err(PathProblem::TooLong);
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PathProblem::NotAbsolute);
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) {
            return Err(PathProblem::NotNormal);
        }
        check_segment(segment.as_bytes())?;
    }
    Ok(())
}

fn check_segment(mut segment: &[u8]) -> Result<(), PathProblem> {
    while let Some((&byte, rest)) = segment.split_first() {
        segment = rest;
        if byte == b'%' {
            let Some((&[high, low], rest)) = segment.split_first_chunk::<2>() else {
                return Err(PathProblem::AmbiguousEncoding);
            };
            segment = rest;
            let decoded = hex(high).zip(hex(low)).map(|(high, low)| high * 16 + low);
            if !decoded.is_some_and(may_be_encoded) {
                return Err(PathProblem::AmbiguousEncoding);
            }
        } else if !is_plain(byte) && !b"!$&'()*+,=:@".contains(&byte) {
            return Err(PathProblem::AmbiguousCharacter);
        }
    }
    Ok(())
}

/// RFC 3986 `unreserved`: encoding one of these changes the spelling but not the meaning.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn may_be_encoded(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_control() && !is_plain(byte) && !b"/\\%;?#".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A checked segment, decoded.
pub(crate) fn decode(segment: &str) -> Cow<'_, str> {
    // Only ASCII can be encoded in a checked path, so nothing is lost.
    percent_decode_str(segment).decode_utf8_lossy()
}

/// The one value of a query parameter.
pub(crate) fn parameter<'q>(query: Option<&'q str>, name: &str) -> Result<Option<Cow<'q, str>>, PathProblem> {
    let Some(query) = query else { return Ok(None) };
    if query.contains(';') {
        return Err(PathProblem::AmbiguousQuery);
    }
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decode(key)? == name && found.replace(form_decode(value)?).is_some() {
            return Err(PathProblem::AmbiguousQuery);
        }
    }
    Ok(found)
}

/// Refuses parameters that some servers take for one of these: `Model`, `model[]`, ` model`.
pub(crate) fn check_spelling(query: &str, names: &[&str]) -> Result<(), PathProblem> {
    for pair in query.split('&') {
        let key = form_decode(pair.split_once('=').map_or(pair, |(key, _)| key))?;
        let stem = key.split(['[', '.', '\0']).next().unwrap_or_default().trim();
        if names.iter().any(|name| stem.eq_ignore_ascii_case(name) && key != *name) {
            return Err(PathProblem::AmbiguousQuery);
        }
    }
    Ok(())
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, PathProblem> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| PathProblem::AmbiguousQuery)?;
    Ok(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_reading_passes() {
        for good in [
            "/",
            "/v1/chat/completions",
            "/v1/chat/completions/",
            "/v1/models/llama3%3A8b",
            "/v1/models/meta/llama",
            "/v2/models/a b".replace(' ', "%20").as_str(),
            "/v1/files/...",
            "/v1/models/x:predict",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let cases = [
            ("", PathProblem::NotAbsolute),
            ("*", PathProblem::NotAbsolute),
            ("v1", PathProblem::NotAbsolute),
            ("//v1", PathProblem::NotNormal),
            ("/v1//models", PathProblem::NotNormal),
            ("/v1/models//", PathProblem::NotNormal),
            ("/v1/../models", PathProblem::NotNormal),
            ("/v1/./models", PathProblem::NotNormal),
            ("/v1/..", PathProblem::NotNormal),
            ("/v1/%2e%2e/models", PathProblem::AmbiguousEncoding),
            ("/v1/.%2E/models", PathProblem::AmbiguousEncoding),
            ("/v1/a%2fb", PathProblem::AmbiguousEncoding),
            ("/v1/a%5Cb", PathProblem::AmbiguousEncoding),
            ("/v1/a%00", PathProblem::AmbiguousEncoding),
            ("/v1/a%0a", PathProblem::AmbiguousEncoding),
            ("/v1/a%3bb", PathProblem::AmbiguousEncoding),
            ("/v1/%63hat", PathProblem::AmbiguousEncoding),
            ("/v1/a%252e", PathProblem::AmbiguousEncoding),
            ("/v1/a%3f", PathProblem::AmbiguousEncoding),
            ("/v1/a%c0%ae", PathProblem::AmbiguousEncoding),
            ("/v1/a%", PathProblem::AmbiguousEncoding),
            ("/v1/a%2", PathProblem::AmbiguousEncoding),
            ("/v1/a%zz", PathProblem::AmbiguousEncoding),
            ("/v1/models;x=1/y", PathProblem::AmbiguousCharacter),
            ("/v1\\models", PathProblem::AmbiguousCharacter),
            ("/v1/mod\u{e9}ls", PathProblem::AmbiguousCharacter),
            ("/v1/a b", PathProblem::AmbiguousCharacter),
            ("/v1/a\u{0}", PathProblem::AmbiguousCharacter),
        ];
        for (bad, problem) in cases {
            assert_eq!(check(bad), Err(problem), "{bad:?}");
        }
        assert_eq!(check(&format!("/{}", "a".repeat(MAX_PATH))), Err(PathProblem::TooLong));
    }

    #[test]
    fn a_deciding_parameter_is_given_once() {
        assert_eq!(parameter(Some("a=1&action=save"), "action"), Ok(Some("save".into())));
        assert_eq!(parameter(Some("%61ction=s%61ve"), "action"), Ok(Some("save".into())));
        assert_eq!(parameter(Some("a=1"), "action"), Ok(None));
        assert_eq!(parameter(Some("action"), "action"), Ok(Some("".into())));
        for bad in ["action=save&action=erase", "action=save&%61ction=erase", "x=1;action=save", "action=%ff"]
        {
            assert_eq!(parameter(Some(bad), "action"), Err(PathProblem::AmbiguousQuery), "{bad}");
        }
    }
}
