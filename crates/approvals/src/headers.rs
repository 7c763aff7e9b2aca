//! Which headers of a request are part of what people agree to, and how they are shown.
//!
//! Every header is, but for those named here: they say how the request is carried, who carries it, or which try of the
//! same request it is, and a client that sends the same request again sends others. A header that nobody has thought of
//! is covered.

use gatewayd_core::Redact;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::preview::{printable, short};

/// Header values that are put before people at most: what they agree to, they are shown.
const MAX_VALUES: usize = 64;
/// Characters of one value that are shown.
const MAX_SHOWN: usize = 512;
const MAX_NAME: usize = 128;

/// Headers that are not part of what people agree to.
const VOLATILE: &[&str] = &[
    // Of one connection (RFC 9110, 7.6.1), or about how the body is carried. They end at the gateway.
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "host",
    "content-length",
    "expect",
    // Who sends it by which way. The caller's identity is covered by itself.
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "forwarded",
    "via",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "user-agent",
    // What kind of answer is understood, how soon, and from which cache. Whether it is a stream is covered by itself.
    "accept",
    "cache-control",
    "pragma",
    "priority",
    "date",
    // The name of one try, drawn anew each time.
    "idempotency-key",
    "x-request-id",
    "x-client-request-id",
    "x-ms-client-request-id",
    "x-correlation-id",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "sentry-trace",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    // For people, and not sent on.
    "x-approval-reason",
];

/// Beginnings of such names: of negotiation, proxies, browsers, tracing, and what SDKs tell of themselves, such as
/// `x-stainless-retry-count`.
const VOLATILE_FAMILIES: &[&str] =
    &["accept-", "x-forwarded-", "sec-", "x-b3-", "x-datadog-", "x-stainless-"];

/// Parts of names whose values are credentials by all appearance, and shown to nobody.
const SECRETIVE: &[&str] =
    &["auth", "cookie", "credential", "key", "passw", "secret", "session", "signature", "token"];

/// The headers that people agree to, sorted by name; values of one name stay in their order.
pub(crate) struct Covered<'a> {
    headers: Vec<(&'a HeaderName, &'a HeaderValue)>,
    /// Those among their names that the `Connection` header names: a proxy takes them off the request, so with
    /// another `Connection` it is another request.
    pub(crate) dropped: Vec<&'a HeaderName>,
}

impl<'a> Covered<'a> {
    /// `but` is a header that is covered in another way.
    pub(crate) fn of(headers: &'a HeaderMap, but: Option<&HeaderName>) -> Self {
        let mut covered: Vec<_> = headers.iter().filter(|(name, _)| !is_volatile(name.as_str())).collect();
        covered.sort_by_key(|(name, _)| name.as_str());
        let mut dropped: Vec<_> =
            covered.iter().map(|(name, _)| *name).filter(|name| is_nominated(headers, name)).collect();
        dropped.dedup();
        covered.retain(|(name, _)| Some(*name) != but);
        Self { headers: covered, dropped }
    }

    /// Each name with its values.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&'a HeaderName, Vec<&'a [u8]>)> {
        self.headers.chunk_by(|(one, _), (other, _)| one == other).filter_map(|values| {
            let (name, _) = values.first()?;
            Some((*name, values.iter().map(|(_, value)| value.as_bytes()).collect()))
        })
    }

    /// How many different names there are.
    pub(crate) fn names(&self) -> usize {
        self.by_name().count()
    }

    /// For people: masked, bounded, printable. `None` if there are too many to be looked at.
    pub(crate) fn shown(&self, redact: &dyn Redact) -> Option<Vec<(String, String)>> {
        let show = |(name, value): &(&HeaderName, &HeaderValue)| {
            let dropped = if self.dropped.contains(name) { " (dropped by `Connection`)" } else { "" };
            (short(redact, name.as_str(), MAX_NAME), shown(redact, name.as_str(), value) + dropped)
        };
        (self.headers.len() <= MAX_VALUES).then(|| self.headers.iter().map(show).collect())
    }
}

fn shown(redact: &dyn Redact, name: &str, value: &HeaderValue) -> String {
    let length = value.len();
    if SECRETIVE.iter().any(|part| name.contains(part)) {
        return format!("(not shown, {length} bytes)");
    }
    let masked = short(redact, &String::from_utf8_lossy(value.as_bytes()), usize::MAX);
    if masked.chars().nth(MAX_SHOWN).is_none() {
        return masked;
    }
    format!("{}... (cut, of {length} bytes)", printable(&masked, MAX_SHOWN))
}

fn is_volatile(name: &str) -> bool {
    VOLATILE.contains(&name) || VOLATILE_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// True if a `Connection` header names this one.
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let options =
        headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gatewayd_core::RedactStream;

    /// Masks the letters `xyz`.
    struct Hide;
    impl Redact for Hide {
        fn start(&self, _: Option<&str>) -> Box<dyn RedactStream> {
            Box::new(Self)
        }
    }
    impl RedactStream for Hide {
        fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
            Ok(String::from_utf8_lossy(chunk).replace("xyz", "***").into_bytes().into())
        }
        fn finish(&mut self) -> Result<Bytes, String> {
            Ok(Bytes::new())
        }
    }

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn see(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        Covered::of(&map(pairs), None).shown(&Hide).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn what_is_not_known_to_be_volatile_is_covered_in_order() {
        let seen = see(&[
            ("x-unknown", "1"),
            ("openai-beta", "b=2"),
            ("anthropic-beta", "z"),
            ("anthropic-beta", "a"),
            ("accept-language", "en"),
            ("x-stainless-retry-count", "1"),
            ("x-forwarded-for", "::1"),
            ("cookie", "c"),
            ("acceptance", "1"),
        ]);
        let names: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            names,
            [
                ("acceptance", "1"),
                ("anthropic-beta", "z"),
                ("anthropic-beta", "a"),
                ("openai-beta", "b=2"),
                ("x-unknown", "1")
            ]
        );
    }

    #[test]
    fn what_is_shown_is_masked_bounded_and_printable() {
        let long = "é".repeat(600);
        let seen = see(&[("a", "say xyz"), ("b", &long), ("x-goog-api-key", "1234"), ("xyz", "1")]);
        assert_eq!(seen[0], pair("a", "say ***"));
        assert_eq!(seen[1], pair("b", &format!("{}... (cut, of 1200 bytes)", "é".repeat(512))));
        assert_eq!(seen[2], pair("x-goog-api-key", "(not shown, 4 bytes)"));
        assert_eq!(seen[3], pair("***", "1"));
    }

    #[test]
    fn more_than_people_look_at_is_too_much() {
        let mut headers = HeaderMap::new();
        for _ in 0..MAX_VALUES {
            headers.append("a", HeaderValue::from_static("1"));
        }
        assert!(Covered::of(&headers, None).shown(&Hide).is_some());
        headers.append("b", HeaderValue::from_static("1"));
        assert!(Covered::of(&headers, None).shown(&Hide).is_none());
    }

    #[test]
    fn what_connection_takes_away_is_seen() {
        let headers =
            map(&[("b", "1"), ("b", "2"), ("c", "1"), ("connection", "close, B"), ("connection", "x")]);
        let covered = Covered::of(&headers, None);
        assert_eq!(covered.dropped, ["b"]);
        assert_eq!(covered.shown(&Hide).unwrap()[0], pair("b", "1 (dropped by `Connection`)"));
    }
}
