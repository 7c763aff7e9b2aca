//! Which credential a request presents: exactly one, or a reason why not.

use std::sync::Arc;

use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};

use zeroize::Zeroizing;

use crate::error::Rejected;

/// What a request presented, for another look at it later, when the request waited before it goes on.
///
/// [`AuthnLayer`](crate::AuthnLayer) takes the credential off the request and leaves this in the request's
/// extensions. Nobody but [`Authn::authenticate_presented`](crate::Authn::authenticate_presented) can read
/// it: it cannot be printed, compared or put back into a header. The bytes are wiped with the last clone.
#[derive(Clone)]
pub struct Presented(Arc<Zeroizing<Box<str>>>);

impl Presented {
    pub(crate) fn new(token: &str) -> Self {
        Self(Arc::new(Zeroizing::new(token.into())))
    }

    pub(crate) fn token(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(..)")
    }
}

/// Largest token taken; the same bound for every header that may hold one.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The headers that callers put credentials into. None of them goes further than this control.
const CREDENTIAL_HEADERS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, X_API_KEY, API_KEY];

/// The one credential of a request.
pub(crate) fn token(headers: &HeaderMap) -> Result<&str, Rejected> {
    let mut found = None;
    for (name, value) in [
        (&AUTHORIZATION, only(headers, &AUTHORIZATION)?),
        (&X_API_KEY, only(headers, &X_API_KEY)?),
        (&API_KEY, only(headers, &API_KEY)?),
    ] {
        let Some(value) = value else { continue };
        let token = if *name == AUTHORIZATION { bearer(value)? } else { bare(value.as_bytes())? };
        match found {
            Some(other) if other != token => return Err(Rejected::Several),
            _ => found = Some(token),
        }
    }
    found.ok_or(Rejected::Missing)
}

/// Removes what callers authenticate with, also under names that differ only in `_` for `-`: servers
/// in the tradition of CGI take the two for the same.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in &CREDENTIAL_HEADERS {
        headers.remove(name);
    }
    let alike: Vec<HeaderName> = headers.keys().filter(|name| is_alike(name)).cloned().collect();
    for name in alike {
        headers.remove(name);
    }
}

fn is_alike(name: &HeaderName) -> bool {
    name.as_str().contains('_') && {
        let dashed = name.as_str().replace('_', "-");
        CREDENTIAL_HEADERS.iter().any(|known| known.as_str() == dashed)
    }
}

/// The header's value if it comes at most once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Rejected> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Rejected::Duplicate) } else { Ok(first) }
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1; the scheme's case does not matter).
fn bearer(value: &HeaderValue) -> Result<&str, Rejected> {
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at_checked(7).ok_or(Rejected::Scheme)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(Rejected::Scheme);
    }
    bare(rest.trim_ascii_start())
}

/// A token68 (RFC 9110, section 11.2): no space, comma, quote, control or non-ASCII byte gets through.
fn bare(bytes: &[u8]) -> Result<&str, Rejected> {
    if bytes.len() > MAX_TOKEN {
        return Err(Rejected::TooLarge);
    }
    let is_token68 = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
    if bytes.is_empty() || !bytes.iter().all(is_token68) {
        return Err(Rejected::Malformed);
    }
    std::str::from_utf8(bytes).map_err(|_| Rejected::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn exactly_one_credential_is_taken() {
        type Case<'a> = (&'a [(&'a str, &'a [u8])], Result<&'a str, Rejected>);
        let cases: &[Case<'_>] = &[
            (&[], Err(Rejected::Missing)),
            (&[("cookie", b"session=1"), ("proxy-authorization", b"Bearer a")], Err(Rejected::Missing)),
            (&[("authorization", b"Bearer abc")], Ok("abc")),
            (&[("authorization", b"bEARER abc")], Ok("abc")),
            (&[("authorization", b"Bearer   abc")], Ok("abc")),
            (&[("x-api-key", b"abc")], Ok("abc")),
            (&[("api-key", b"abc")], Ok("abc")),
            (&[("x-api-key", b"abc"), ("authorization", b"Bearer abc")], Ok("abc")),
            (&[("x-api-key", b"abc"), ("authorization", b"Bearer abd")], Err(Rejected::Several)),
            (&[("x-api-key", b"abc"), ("api-key", b"x")], Err(Rejected::Several)),
            (&[("authorization", b"Bearer a"), ("authorization", b"Bearer a")], Err(Rejected::Duplicate)),
            (&[("x-api-key", b"a"), ("x-api-key", b"a")], Err(Rejected::Duplicate)),
            (&[("x-api-key", b"a"), ("authorization", b"Basic YTpi")], Err(Rejected::Scheme)),
            (&[("authorization", b"Bearer")], Err(Rejected::Scheme)),
            (&[("authorization", b"Bearerabc")], Err(Rejected::Scheme)),
            (&[("authorization", b"Bearer\tabc")], Err(Rejected::Scheme)),
            (&[("authorization", b"")], Err(Rejected::Scheme)),
            (&[("authorization", b"Bearer ")], Err(Rejected::Malformed)),
            (&[("authorization", b"Bearer a b")], Err(Rejected::Malformed)),
            (&[("authorization", b"Bearer a, Bearer b")], Err(Rejected::Malformed)),
            (&[("authorization", b"Bearer \"a\"")], Err(Rejected::Malformed)),
            (&[("authorization", b"Bearer a\xff")], Err(Rejected::Malformed)),
            (&[("x-api-key", b"Bearer abc")], Err(Rejected::Malformed)),
            (&[("x-api-key", b"")], Err(Rejected::Malformed)),
        ];
        for (pairs, expected) in cases {
            assert_eq!(token(&headers(pairs)), *expected, "{pairs:?}");
        }
        let huge = vec![b'a'; MAX_TOKEN + 1];
        assert_eq!(token(&headers(&[("api-key", &huge)])), Err(Rejected::TooLarge));
        assert!(token(&headers(&[("api-key", &huge[1..])])).is_ok());
    }

    #[test]
    fn nothing_a_caller_authenticates_with_remains() {
        let mut map = headers(&[
            ("authorization", b"Bearer a"),
            ("authorization", b"Bearer b"),
            ("x-api-key", b"a"),
            ("x_api_key", b"a"),
            ("X_Api-Key", b"a"),
            ("api_key", b"a"),
            ("proxy_authorization", b"a"),
            ("proxy-authorization", b"a"),
            ("cookie", b"kept"),
            ("x_other", b"kept"),
        ]);
        strip(&mut map);
        assert_eq!(map, headers(&[("cookie", b"kept"), ("x_other", b"kept")]));
    }
}
