//! What a value is made of: randomness, kinds of characters, structure under base64.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Shannon entropy in bits a byte.
pub(super) fn entropy(value: &[u8]) -> f32 {
    if value.is_empty() {
        return 0.0;
    }
    let mut counts = [0_u32; 256];
    for &byte in value {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    // Each byte that occurs weighs once, where it is first met again.
    let mut weights = 0.0;
    for &byte in value {
        let count = counts.get_mut(usize::from(byte)).map(std::mem::take).unwrap_or_default();
        weights += weight(count);
    }
    #[expect(clippy::cast_precision_loss, reason = "values are far shorter than 2^24 bytes")]
    let length = value.len() as f32;
    length.log2() - weights / length
}

/// `count * log2(count)`. A logarithm is dear, and most counts are small.
fn weight(count: u32) -> f32 {
    const SMALL: [f32; 9] = [0.0, 0.0, 2.0, 4.754_887_5, 8.0, 11.609_64, 15.509_775, 19.651_484, 24.0];
    SMALL.get(count as usize).copied().unwrap_or_else(|| {
        #[expect(clippy::cast_precision_loss, reason = "values are far shorter than 2^24 bytes")]
        let count = count as f32;
        count * count.log2()
    })
}

/// How many kinds of characters occur: lower case, upper case, digits, signs.
pub(super) fn kinds(value: &[u8]) -> usize {
    let has = |test: fn(&u8) -> bool| usize::from(value.iter().any(test));
    has(u8::is_ascii_lowercase)
        + has(u8::is_ascii_uppercase)
        + has(u8::is_ascii_digit)
        + has(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether what follows the last `-` or `_` is hexadecimal.
pub(super) fn hex(value: &[u8]) -> bool {
    let last = value.rsplit(|b| matches!(b, b'-' | b'_')).next().unwrap_or_default();
    last.iter().all(u8::is_ascii_hexdigit)
}

/// Whether the value is a UUID in its usual spelling.
pub(super) fn uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Whether the first segment of a compact JWS or JWE is a JSON object that names an algorithm.
pub(super) fn jwt_header(token: &[u8]) -> bool {
    let header = token.split(|&b| b == b'.').next().unwrap_or_default();
    if header.len() > 4096 {
        return true;
    }
    let Ok(json) = decode(header) else { return false };
    serde_json::from_slice::<serde_json::Value>(&json)
        .is_ok_and(|header| header.get("alg").is_some() || header.get("typ").is_some())
}

/// Whether the value is base64 of text that opens a JSON object.
pub(super) fn base64_json(value: &[u8]) -> bool {
    let head = value.get(..value.len().min(64) & !3).unwrap_or_default();
    decode(head)
        .is_ok_and(|text| text.trim_ascii_start().starts_with(b"{") && std::str::from_utf8(&text).is_ok())
}

/// Whether the value is base64 of `name:password`, both of them printable, or of a key in the place of the name and no
/// password.
pub(super) fn basic_credentials(value: &[u8]) -> bool {
    let Ok(text) = decode(value) else { return false };
    if !text.iter().all(|&b| b >= 0x20 && b != 0x7f) {
        return false;
    }
    let Some(colon) = text.iter().position(|&b| b == b':') else { return false };
    let (name, password) = text.split_at(colon);
    match password {
        // Services that know their users by a key alone want it as the name.
        [b':'] => name.len() >= KEY_AS_NAME && kinds(name) > 1 && !super::code::name(name),
        [_, password @ ..] => !super::stand_in::placeholder(password),
        [] => false,
    }
}

/// So long is a key that stands in the place of a name.
const KEY_AS_NAME: usize = 12;

/// Decodes base64 of either alphabet.
pub(super) fn decode(value: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    if value.iter().any(|&b| b == b'-' || b == b'_') {
        URL_SAFE.decode(value)
    } else {
        STANDARD.decode(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_shannons() {
        assert!(entropy(b"").abs() < 1e-6);
        assert!(entropy(b"aaaaaaaa").abs() < 1e-6);
        assert!((entropy(b"abcdabcd") - 2.0).abs() < 1e-5);
        let all: Vec<u8> = (0..=255).collect();
        assert!((entropy(&all) - 8.0).abs() < 1e-4);
        for number in 1..20_u8 {
            let count = f32::from(number);
            assert!((weight(u32::from(number)) - count * count.log2()).abs() < 1e-4, "{number}");
        }
    }

    #[test]
    fn a_jwt_has_a_json_header() {
        let token =
            |header: &str| [URL_SAFE.encode(header).trim_end_matches('='), "eyJhIjoxfQ", "c2ln"].join(".");
        assert!(jwt_header(token(r#"{"alg":"RS256"}"#).as_bytes()));
        assert!(jwt_header(token(r#"{"typ":"JWT","alg":"none"}"#).as_bytes()));
        assert!(!jwt_header(token(r#"{"alg":"#).as_bytes()), "cut short");
        assert!(!jwt_header(token(r#"{"a":1}"#).as_bytes()), "no algorithm");
        assert!(!jwt_header(b"not base64!.x.y"));
    }

    #[test]
    fn basic_credentials_have_a_colon_and_a_password() {
        let encode = |text: &str| STANDARD.encode(text).into_bytes();
        assert!(basic_credentials(&encode("deploy:correct horse")));
        assert!(!basic_credentials(&encode("deploy:")), "a name alone");
        assert!(!basic_credentials(&encode("deploy-of-the-site:")), "a long name alone");
        assert!(basic_credentials(&encode("sk_4eC39HqLyjWDarjtT1z:")), "a key in the place of the name");
        assert!(!basic_credentials(&encode("just a sentence")));
        assert!(!basic_credentials(&encode("user:password")), "a stand-in");
        assert!(!basic_credentials(b"%%%"));
    }
}
