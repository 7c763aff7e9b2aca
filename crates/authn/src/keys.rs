//! The public keys of one issuer (RFC 7517), and which of them fits a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewayd_core::Timestamp;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm as Jws, DecodingKey};
use serde_json::{Map, Value};

use crate::Algorithm;
use crate::jwt::Unverified;
use crate::strict_json;

/// Issuers publish a handful of keys; a set with more is not one.
const MAX_KEYS: usize = 128;
/// Keys tried for a token that names none.
const MAX_CANDIDATES: usize = 8;

/// The keys of one issuer at one time.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Reads a JWKS. Keys that cannot be used here are passed over; `known` keys that are still in it
    /// live on, so that verdicts they gave stay good.
    pub(crate) fn parse(body: &[u8], known: &Self, usable_until: &Arc<AtomicI64>) -> Result<Self, String> {
        let set = strict_json::object(body).ok_or("the key set is no JSON object, or has duplicate keys")?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err("the key set has no list of keys".to_owned());
        };
        if list.len() > MAX_KEYS {
            return Err(format!("the key set has more than {MAX_KEYS} keys"));
        }
        let mut keys = Vec::with_capacity(list.len());
        for jwk in list.iter().filter_map(Value::as_object) {
            match Key::read(jwk, usable_until) {
                Ok(key) => keys.push(known.same(&key).unwrap_or_else(|| Arc::new(key))),
                Err(why) => {
                    let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
                    tracing::debug!(?kid, why, "a key of the issuer is passed over");
                }
            }
        }
        Ok(Self(keys))
    }

    /// Ends the life of keys that are not in `next`, and with it every verdict they gave.
    pub(crate) fn retire_except(&self, next: &Self) {
        for key in self.0.iter().filter(|key| next.same(key).is_none()) {
            key.life.retired.store(true, Ordering::Release);
        }
    }

    /// The keys that fit a token: the named one or, if it names none, a few.
    pub(crate) fn fitting(&self, token: &Unverified<'_>) -> Vec<Arc<Key>> {
        self.0
            .iter()
            .filter(|key| token.kid.is_none() || key.kid == token.kid)
            .filter(|key| key.fits(token.algorithm))
            .take(MAX_CANDIDATES)
            .cloned()
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn same(&self, key: &Key) -> Option<Arc<Key>> {
        self.0.iter().find(|known| known.thumbprint == key.thumbprint).cloned()
    }
}

/// One public key.
#[derive(Debug)]
pub(crate) struct Key {
    kid: Option<String>,
    /// The only algorithm it may be used with, if the issuer says so.
    only: Option<Algorithm>,
    material: Material,
    decoding: DecodingKey,
    thumbprint: [u8; 32],
    pub(crate) life: Arc<KeyLife>,
}

impl Key {
    /// True if the key's signature is on the token.
    pub(crate) fn verifies(&self, token: &Unverified<'_>) -> bool {
        // Checked again where it matters: a key never serves an algorithm it does not fit.
        self.fits(token.algorithm)
            && (DEFAULT_PROVIDER.verifier_factory)(&jws(token.algorithm), &self.decoding)
                .is_ok_and(|verifier| verifier.verify(token.signed.as_bytes(), &token.signature).is_ok())
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    fn read(jwk: &Map<String, Value>, usable_until: &Arc<AtomicI64>) -> Result<Self, &'static str> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.contains_key("d") || jwk.contains_key("k") {
            return Err("it holds private key material");
        }
        if jwk.get("use").is_some_and(|usage| usage.as_str() != Some("sig")) {
            return Err("its use is not signing");
        }
        if jwk.get("key_ops").is_some_and(|ops| !names(ops, "verify")) {
            return Err("its operations do not include verifying");
        }
        let only = match jwk.get("alg") {
            None => None,
            Some(name) => {
                Some(name.as_str().and_then(Algorithm::from_name).ok_or("its algorithm is not accepted")?)
            }
        };
        let (material, decoding) = read_material(text("kty").unwrap_or_default(), &text)?;
        if only.is_some_and(|only| !material.fits(only)) {
            return Err("its algorithm does not fit its type");
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or("its id is no string")?.to_owned()),
        };
        // Everything that says which tokens the key is good for.
        let identity = format!(
            "{:?}",
            (text("kty"), text("crv"), text("n"), text("e"), text("x"), text("y"), &kid, only)
        );
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, identity.as_bytes()).as_ref());
        let life = KeyLife { retired: AtomicBool::new(false), usable_until: Arc::clone(usable_until) };
        Ok(Self { kid, only, material, decoding, thumbprint, life: Arc::new(life) })
    }
}

/// Whether verdicts that a key gave may still be used.
#[derive(Debug)]
pub(crate) struct KeyLife {
    /// Set once the issuer publishes the key no longer.
    retired: AtomicBool,
    /// Shared by all keys of the issuer: when they must have been confirmed again.
    usable_until: Arc<AtomicI64>,
}

impl KeyLife {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.retired.load(Ordering::Acquire) || now.0 >= self.usable_until.load(Ordering::Acquire)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Material {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Material {
    fn fits(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => self == Self::Rsa,
            Algorithm::Es256 => self == Self::P256,
            Algorithm::Es384 => self == Self::P384,
            Algorithm::EdDsa => self == Self::Ed25519,
        }
    }
}

fn read_material<'j>(
    kty: &str,
    text: &impl Fn(&str) -> Option<&'j str>,
) -> Result<(Material, DecodingKey), &'static str> {
    let bytes = |name: &str| text(name).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    match (kty, text("crv")) {
        ("RSA", _) => {
            let (Some(n), Some(e)) = (bytes("n"), bytes("e")) else { return Err("it has no n or no e") };
            // Some issuers put a zero byte in front; the library takes none.
            let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
            if !(256..=1024).contains(&n.len()) || (n.len() == 256 && n.first().is_none_or(|top| *top < 0x80))
            {
                return Err("its modulus is not of 2048 to 8192 bits");
            }
            if e.is_empty() || e.len() > 4 || e == [1] {
                return Err("its exponent is not a usual one");
            }
            Ok((Material::Rsa, DecodingKey::from_rsa_raw_components(n, e)))
        }
        ("EC", Some("P-256")) => Ok((Material::P256, point(&bytes, 32)?)),
        ("EC", Some("P-384")) => Ok((Material::P384, point(&bytes, 48)?)),
        ("OKP", Some("Ed25519")) => match bytes("x") {
            Some(x) if x.len() == 32 => Ok((Material::Ed25519, DecodingKey::from_ed_der(&x))),
            _ => Err("its x is not of 32 bytes"),
        },
        _ => Err("its type or curve is not supported"),
    }
}

/// An uncompressed point. That it lies on the curve is checked by the library at each verification.
fn point(bytes: &impl Fn(&str) -> Option<Vec<u8>>, size: usize) -> Result<DecodingKey, &'static str> {
    match (bytes("x"), bytes("y")) {
        (Some(x), Some(y)) if x.len() == size && y.len() == size => {
            let point: Vec<u8> = [&[4][..], &x, &y].concat();
            Ok(DecodingKey::from_ec_der(&point))
        }
        _ => Err("its coordinates are not of the curve's size"),
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn names(list: &Value, wanted: &str) -> bool {
    list.as_array().is_some_and(|items| items.iter().any(|item| item.as_str() == Some(wanted)))
}

fn jws(algorithm: Algorithm) -> Jws {
    match algorithm {
        Algorithm::Rs256 => Jws::RS256,
        Algorithm::Rs384 => Jws::RS384,
        Algorithm::Rs512 => Jws::RS512,
        Algorithm::Ps256 => Jws::PS256,
        Algorithm::Ps384 => Jws::PS384,
        Algorithm::Ps512 => Jws::PS512,
        Algorithm::Es256 => Jws::ES256,
        Algorithm::Es384 => Jws::ES384,
        Algorithm::EdDsa => Jws::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(jwks: &str, known: &KeySet) -> Result<KeySet, String> {
        KeySet::parse(jwks.as_bytes(), known, &Arc::new(AtomicI64::new(i64::MAX)))
    }

    fn set_of(jwk: &str) -> usize {
        read(&format!("{{\"keys\":[{jwk}]}}"), &KeySet::default()).unwrap().len()
    }

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn keys_that_must_not_be_used_are_passed_over() {
        let ec = |more: &str| format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{more}}}"#);
        assert_eq!(set_of(&ec("")), 1);
        assert_eq!(set_of(&ec(r#","use":"sig","alg":"ES256","key_ops":["verify"]"#)), 1);
        for bad in [
            r#","use":"enc""#,
            r#","use":null"#,
            r#","key_ops":["sign"]"#,
            r#","alg":"ES384""#,
            r#","alg":"RS256""#,
            r#","alg":"HS256""#,
            r#","d":"AAAA""#,
            r#","kid":7"#,
        ] {
            assert_eq!(set_of(&ec(bad)), 0, "{bad}");
        }
        assert_eq!(set_of(r#"{"kty":"oct","k":"c2VjcmV0"}"#), 0);
        assert_eq!(set_of(&format!(r#"{{"kty":"EC","crv":"P-384","x":"{X}","y":"{Y}"}}"#)), 0);
        assert_eq!(set_of(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#), 0, "far too short");
        let weak = URL_SAFE_NO_PAD.encode([0xff; 255]);
        assert_eq!(set_of(&format!(r#"{{"kty":"RSA","n":"{weak}","e":"AQAB"}}"#)), 0, "2040 bits");
        let long = URL_SAFE_NO_PAD.encode([0xff; 256]);
        assert_eq!(set_of(&format!(r#"{{"kty":"RSA","n":"{long}","e":"AQAB"}}"#)), 1);
        assert_eq!(set_of(&format!(r#"{{"kty":"RSA","n":"{long}","e":"AQ"}}"#)), 0, "exponent one");
        assert_eq!(set_of(&format!(r#"7,null,[],{}"#, ec(""))), 1);
    }

    #[test]
    fn a_set_that_is_none_is_an_error() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
            assert!(read(bad, &KeySet::default()).is_err(), "{bad}");
        }
        let many = vec!["{}"; MAX_KEYS + 1].join(",");
        assert!(read(&format!("{{\"keys\":[{many}]}}"), &KeySet::default()).is_err());
    }

    #[test]
    fn a_key_lives_on_only_if_nothing_about_it_changed() {
        let set = |kid: &str, more: &str| {
            format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","kid":"{kid}"{more}}}]}}"#)
        };
        let first = read(&set("a", ""), &KeySet::default()).unwrap();
        let again = read(&set("a", ""), &first).unwrap();
        first.retire_except(&again);
        assert!(!first.0[0].life.is_over(Timestamp(0)));
        let narrowed = read(&set("a", r#","alg":"ES256""#), &again).unwrap();
        again.retire_except(&narrowed);
        assert!(first.0[0].life.is_over(Timestamp(0)));
        assert!(!narrowed.0[0].life.is_over(Timestamp(0)));
    }

    const PUBLISHED_CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    /// Signatures that others made: RFC 7515, appendices A.2 and A.3, and RFC 8037, appendix A.4.
    #[test]
    fn published_signatures_hold_and_damaged_ones_do_not() {
        let rsa = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
        let rsa_signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}}"#);
        let ec_signature =
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let ed_signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let ed_signature =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        for (algorithm, jwk, signed, signature) in [
            (Algorithm::Rs256, rsa, format!("eyJhbGciOiJSUzI1NiJ9.{PUBLISHED_CLAIMS}"), rsa_signature),
            (Algorithm::Es256, &ec, format!("eyJhbGciOiJFUzI1NiJ9.{PUBLISHED_CLAIMS}"), ec_signature),
            (Algorithm::EdDsa, ed, ed_signed.to_owned(), ed_signature),
        ] {
            let set = read(&format!("{{\"keys\":[{jwk}]}}"), &KeySet::default()).unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let token = |signature: Vec<u8>| Unverified {
                signed: &signed,
                signature,
                algorithm,
                kid: None,
                claims: Map::new(),
            };
            assert!(set.0[0].verifies(&token(signature.clone())), "{algorithm:?}");
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut damaged = signature.clone();
                damaged[at] ^= 1;
                assert!(!set.0[0].verifies(&token(damaged)), "{algorithm:?} at {at}");
            }
        }
    }
}
