//! The shape of secrets that the gateway itself makes.
//!
//! `gwd_` or `gwa_`, 43 random characters of base 62 (256 bits), and 6 characters of checksum: the
//! CRC-32 of the 43, in base 62, most significant first. The prefix and the checksum let scanners, and
//! the masker, know such a secret when they see one, without a false alarm; neither helps to guess it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;

/// Prefix of tokens for programs.
pub(crate) const TOKEN_PREFIX: &str = "gwd_";
/// Prefix of the local administrator's key.
pub(crate) const ADMIN_PREFIX: &str = "gwa_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM: usize = 43;
const CHECKSUM: usize = 6;

pub(crate) type SecretHash = [u8; 32];

/// A fresh secret.
pub(crate) fn generate(prefix: &str) -> Result<Zeroizing<String>, Error> {
    // Reserved at full size: growing would leave copies behind.
    let mut secret = Zeroizing::new(String::with_capacity(prefix.len() + RANDOM + CHECKSUM));
    secret.push_str(prefix);
    push_random(&mut secret, RANDOM)?;
    let sum = checksum(secret.get(prefix.len()..).unwrap_or_default());
    secret.push_str(&sum);
    Ok(secret)
}

/// A random name without secrecy, such as a token's id.
pub(crate) fn random_name(prefix: &str, length: usize) -> Result<String, Error> {
    let mut name = prefix.to_owned();
    push_random(&mut name, length)?;
    Ok(name)
}

/// The hash of a secret of that shape; `None` if it cannot be one. Only the hash is ever compared.
pub(crate) fn hash(prefix: &str, secret: &str) -> Option<SecretHash> {
    let rest = secret.strip_prefix(prefix)?;
    let (random, sum) = rest.split_at_checked(RANDOM)?;
    if !random.bytes().all(|b| ALPHABET.contains(&b)) || sum != checksum(random) {
        return None;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    Some(hash)
}

fn checksum(random: &str) -> String {
    let mut left = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET.get((left % 62) as usize).copied().unwrap_or_default();
        left /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// Bytes that are 248 or more are thrown away, so that every character is as likely as any other.
fn push_random(text: &mut String, length: usize) -> Result<(), Error> {
    let mut bytes = [0; 64];
    let mut missing = length;
    while missing > 0 {
        rand::fill(&mut bytes).map_err(|_| Error::Randomness)?;
        for byte in bytes.iter().filter(|byte| **byte < 248).take(missing) {
            text.push(char::from(ALPHABET.get(usize::from(byte % 62)).copied().unwrap_or_default()));
            missing -= 1;
        }
    }
    bytes.zeroize();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_shape() {
        let secret = generate(TOKEN_PREFIX).unwrap();
        assert_eq!(secret.len(), 53);
        assert!(hash(TOKEN_PREFIX, &secret).is_some());
        assert!(hash(ADMIN_PREFIX, &secret).is_none());
        assert_ne!(*secret, *generate(TOKEN_PREFIX).unwrap());
    }

    #[test]
    fn any_changed_character_is_noticed_before_the_store_is_asked() {
        let secret = generate(TOKEN_PREFIX).unwrap();
        for at in 0..secret.len() {
            let mut changed = secret.as_bytes().to_vec();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(hash(TOKEN_PREFIX, std::str::from_utf8(&changed).unwrap()).is_none(), "{at}");
        }
        assert!(hash(TOKEN_PREFIX, &secret[..52]).is_none());
        assert!(hash(TOKEN_PREFIX, &format!("{}x", *secret)).is_none());
        assert!(hash(TOKEN_PREFIX, "gwd_").is_none());
        assert!(hash(TOKEN_PREFIX, &format!("gwd_{}", "é".repeat(30))).is_none());
    }

    #[test]
    fn the_checksum_is_the_documented_one() {
        // CRC-32 of 43 zeros is 0xd4e0d3a9 or whatever crc32fast says; its digits must spell it in base 62.
        let value = crc32fast::hash("0".repeat(RANDOM).as_bytes());
        let spelled = checksum(&"0".repeat(RANDOM));
        let read = spelled.bytes().fold(0u64, |sum, digit| {
            sum * 62 + ALPHABET.iter().position(|known| *known == digit).unwrap() as u64
        });
        assert_eq!(read, u64::from(value));
    }
}
