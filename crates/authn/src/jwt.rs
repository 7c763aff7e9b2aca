//! A JSON Web Token taken apart (RFC 7515 compact form, RFC 7519). Nothing here is trusted yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::Algorithm;
use crate::error::Rejected;
use crate::strict_json;

/// Some issuers put their certificates into every header; more than this is no header.
const MAX_HEADER: usize = 8 * 1024;
const MAX_KID: usize = 512;

/// A token whose signature was not looked at.
#[derive(Debug)]
pub(crate) struct Unverified<'t> {
    /// The bytes that are signed.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) claims: Map<String, Value>,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. Of the header only `alg`, `kid`, `typ` and `crit` are looked at: keys and
    /// places of keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) mean nothing here.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Rejected> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejected::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejected::Malformed)?;
        if header.len() > MAX_HEADER {
            return Err(Rejected::Malformed);
        }
        let header = part(header)?;
        if header.contains_key("crit") {
            return Err(Rejected::Critical);
        }
        let name = header.get("alg").and_then(Value::as_str).ok_or(Rejected::Malformed)?;
        let algorithm = Algorithm::from_name(name).ok_or(Rejected::Algorithm)?;
        check_type(header.get("typ"))?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
            Some(_) => return Err(Rejected::Malformed),
        };
        let signature = decode(signature)?;
        Ok(Self { signed, signature, algorithm, kid, claims: part(claims)? })
    }

    /// Who the token says it is from.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }
}

/// Tokens made for another purpose (logout, security events, `DPoP` proofs) carry a type of their own.
fn check_type(typ: Option<&Value>) -> Result<(), Rejected> {
    let name = match typ {
        None => return Ok(()),
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return Err(Rejected::Malformed),
    };
    let prefix = "application/";
    let short = match name.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest,
        _ => name,
    };
    if short.eq_ignore_ascii_case("jwt") || short.eq_ignore_ascii_case("at+jwt") {
        Ok(())
    } else {
        Err(Rejected::Type)
    }
}

fn part(text: &str) -> Result<Map<String, Value>, Rejected> {
    strict_json::object(&decode(text)?).ok_or(Rejected::Malformed)
}

/// Base64url without padding; a second spelling of the same bytes is refused.
fn decode(text: &str) -> Result<Vec<u8>, Rejected> {
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Rejected::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
    }

    fn outcome(header: &str) -> Result<(), Rejected> {
        Unverified::parse(&token(header, "{}")).map(|_| ())
    }

    #[test]
    fn headers_are_judged_before_anything_else() {
        assert_eq!(outcome(r#"{"alg":"RS256"}"#), Ok(()));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":"JWT","kid":"1"}"#), Ok(()));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":"application/AT+jwt"}"#), Ok(()));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":"logout+jwt"}"#), Err(Rejected::Type));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":"dpop+jwt"}"#), Err(Rejected::Type));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":""}"#), Err(Rejected::Type));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":7}"#), Err(Rejected::Malformed));
        assert_eq!(outcome(r#"{"alg":"none"}"#), Err(Rejected::Algorithm));
        assert_eq!(outcome(r#"{"alg":"nOnE"}"#), Err(Rejected::Algorithm));
        assert_eq!(outcome(r#"{"alg":"HS256"}"#), Err(Rejected::Algorithm));
        assert_eq!(outcome(r#"{"alg":["RS256"]}"#), Err(Rejected::Malformed));
        assert_eq!(outcome(r#"{"alg":"RS256","alg":"none"}"#), Err(Rejected::Malformed));
        assert_eq!(outcome("{}"), Err(Rejected::Malformed));
        assert_eq!(outcome(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#), Err(Rejected::Critical));
        assert_eq!(outcome(r#"{"alg":"RS256","crit":[]}"#), Err(Rejected::Critical));
        assert_eq!(outcome(r#"{"alg":"RS256","kid":null}"#), Err(Rejected::Malformed));
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(MAX_KID + 1));
        assert_eq!(outcome(&long), Err(Rejected::Malformed));
    }

    #[test]
    fn shapes_that_are_no_token() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        assert!(Unverified::parse(&good).is_ok());
        let trimmed = good.rsplit_once('.').unwrap().0;
        for bad in [
            "",
            ".",
            "..",
            "a.b.c",
            trimmed,
            &format!("{trimmed}."),
            &format!("{good}="),
            &format!("{good}."),
            &format!(".{good}"),
            &format!("{good}.a.b"),
            &good.replace('.', ".."),
            // One more bit in the last character: the same bytes for a lenient reader.
            &format!("{trimmed}.QR"),
        ] {
            assert!(Unverified::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,200}") {
            let _ = Unverified::parse(&text);
        }

        #[test]
        fn parsing_never_panics_on_tokens_of_any_json(header in "[{}\\[\\]\",:a-z0-9 ]{0,80}", claims in "\\PC{0,80}") {
            let _ = Unverified::parse(&token(&header, &claims));
        }

        #[test]
        fn parsing_never_panics_on_damaged_tokens(at in 0usize..60, with in any::<char>()) {
            let mut damaged: Vec<char> = token(r#"{"alg":"RS256","kid":"1"}"#, r#"{"iss":"x"}"#).chars().collect();
            let at = at % damaged.len();
            damaged[at] = with;
            let _ = Unverified::parse(&damaged.into_iter().collect::<String>());
        }
    }
}
