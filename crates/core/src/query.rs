//! Credentials in the query of a URL, which never is a place to keep them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Stands in the place of such a value.
const HIDDEN: &str = "[REDACTED:query-credential]";

/// Words in the name of a parameter whose value proves something, whatever it looks like.
const PROOFS: [&str; 18] = [
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "code",
    "credential",
    "credentials",
    "jwt",
    "key",
    "passwd",
    "password",
    "pwd",
    "secret",
    "session",
    "sessionid",
    "sig",
    "signature",
    "token",
];

/// The path and query with the values of parameters hidden that are credentials by their name, as in `?api_key=...`,
/// `accessToken=` or `X-Amz-Signature=`. A masker finds secrets by what they look like; these need not look like any.
///
/// ```
/// use gatewayd_core::without_credentials;
/// assert_eq!(without_credentials("/v1?n=2&token=abc"), "/v1?n=2&token=[REDACTED:query-credential]");
/// ```
#[must_use]
pub fn without_credentials(path: &str) -> Cow<'_, str> {
    let Some((before, query)) = path.split_once('?') else { return Cow::Borrowed(path) };
    if !query.split(['&', ';']).any(is_credential) {
        return Cow::Borrowed(path);
    }
    let mut shown = format!("{before}?");
    for part in query.split_inclusive(['&', ';']) {
        let (pair, end) = match part.strip_suffix(['&', ';']) {
            Some(pair) => (pair, part.get(pair.len()..).unwrap_or_default()),
            None => (part, ""),
        };
        match pair.split_once('=').filter(|_| is_credential(pair)) {
            Some((name, _)) => shown.extend([name, "=", HIDDEN]),
            None => shown.push_str(pair),
        }
        shown.push_str(end);
    }
    Cow::Owned(shown)
}

fn is_credential(pair: &str) -> bool {
    let Some((name, value)) = pair.split_once('=') else { return false };
    !value.is_empty() && words(name).iter().any(|word| PROOFS.binary_search(&word.as_str()).is_ok())
}

/// The words of a name, in lower case: cut where it is no letter, and before a capital after a small one. What is behind
/// percent signs is read first.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in percent_decode_str(name).decode_utf8_lossy().chars() {
        if !c.is_ascii_alphabetic() || (was_small && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphabetic()) {
            word.push(c.to_ascii_lowercase());
        }
        was_small = c.is_ascii_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_by_their_name_alone() {
        assert!(PROOFS.is_sorted());
        for name in [
            "key",
            "api_key",
            "apikey",
            "API-KEY",
            "apiKey",
            "access_token",
            "accessToken",
            "token",
            "sig",
            "secret",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "client%5Fsecret",
            "%6Bey",
            "a.password",
            "code",
            "key1",
            "key[]",
        ] {
            let shown = without_credentials(&format!("/v1/x?a=1&{name}=abc&b=2")).into_owned();
            assert_eq!(shown, format!("/v1/x?a=1&{name}={HIDDEN}&b=2"));
        }
        assert_eq!(without_credentials("/x?key=a;token=b&"), format!("/x?key={HIDDEN};token={HIDDEN}&"));
        assert_eq!(without_credentials("/x?key=a=b?c"), format!("/x?key={HIDDEN}"));
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for path in [
            "/v1/keys/token=abc",
            "/x?",
            "/x?max_tokens=5&keys=2&monkey=1&keyboard=x",
            "/x?key",
            "/x?key=&a=b",
            "/x?%=1&%4=2&&",
            "/x?tokenizer=bpe&encoding=utf-8",
        ] {
            assert!(matches!(without_credentials(path), Cow::Borrowed(same) if same == path), "{path}");
        }
    }
}
