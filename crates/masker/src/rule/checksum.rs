//! Checksums that issuers publish for their tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether `prefix_` is followed by so many random characters and their CRC-32 in six base62 digits. GitHub and npm
/// have 30, the gateway's own tokens 43.
pub(super) fn crc32_base62(token: &[u8], random: usize) -> bool {
    let Some(prefix) = token.iter().position(|&b| b == b'_') else { return false };
    let body = token.get(prefix + 1..).unwrap_or_default();
    match body.split_at_checked(random) {
        Some((random, sum)) => sum == crc32_digits(random),
        None => false,
    }
}

/// CRC-32 as six base62 digits, most significant first.
pub(super) fn crc32_digits(random: &[u8]) -> [u8; 6] {
    let mut rest = crc32fast::hash(random);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// Whether this is `pypi-` and a version 2 macaroon whose location is a package index.
pub(super) fn pypi_macaroon(token: &[u8]) -> bool {
    let Some(body) = token.strip_prefix(b"pypi-") else { return false };
    // 20 bytes hold the version, the location's type and length, and the location.
    let Some(Ok(head)) = body.get(..28).map(|head| URL_SAFE_NO_PAD.decode(head)) else { return false };
    let Some(packet) = head.strip_prefix(&[2, 1]) else { return false };
    let Some((&length, rest)) = packet.split_first() else { return false };
    let location = rest.get(..usize::from(length)).unwrap_or_default();
    location == b"pypi.org" || location == b"test.pypi.org"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_is_that_of_the_issuer() {
        // Computed with Python's zlib over thirty `a`, in base62 with digits, capitals, small letters.
        assert_eq!(&crc32_digits(&[b'a'; 30]), b"1yLcDB");
        assert!(crc32_base62(&[b"gho_".as_slice(), &[b'a'; 30], b"1yLcDB"].concat(), 30));
        assert!(!crc32_base62(&[b"gho_".as_slice(), &[b'a'; 30], b"1yLcDC"].concat(), 30));
        assert!(!crc32_base62(b"gho_", 30), "too short");
        assert!(!crc32_base62(b"", 30), "empty");
    }

    #[test]
    fn a_macaroon_names_its_index() {
        let token = |location: &[u8]| {
            let mut raw = vec![2, 1, u8::try_from(location.len()).expect("short")];
            raw.extend_from_slice(location);
            raw.extend_from_slice(&[2, 36, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
            [b"pypi-".as_slice(), URL_SAFE_NO_PAD.encode(raw).as_bytes()].concat()
        };
        assert!(pypi_macaroon(&token(b"pypi.org")));
        assert!(pypi_macaroon(&token(b"test.pypi.org")));
        assert!(!pypi_macaroon(&token(b"evil.org")));
        assert!(!pypi_macaroon(b"pypi-AgE"));
    }
}
