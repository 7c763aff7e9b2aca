//! Random texts of a shape, so that examples need not hold anything that looks like a live secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::checksum;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A source of random text that gives the same for the same seed.
pub(super) struct Sampler {
    state: u64,
}

impl Sampler {
    /// Starts from a name and a number.
    pub(super) fn new(name: &str, seed: u64) -> Self {
        // FNV-1a, then the steps of SplitMix64.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { state: hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn text(&mut self, alphabet: &[u8], length: usize, out: &mut Vec<u8>) {
        for _ in 0..length {
            let at = usize::try_from(self.next() % alphabet.len() as u64).unwrap_or_default();
            out.extend(alphabet.get(at));
        }
    }

    /// Adds a piece such as `base62 36`, `uuid` or `crc32` to `out`. `None`: there is no such piece.
    pub(super) fn piece(&mut self, piece: &str, out: &mut Vec<u8>) -> Option<()> {
        let (name, length) = match piece.split_once(' ') {
            Some((name, length)) => (name, length.parse().ok().filter(|&length| length <= 4096)?),
            None => (piece, 0_usize),
        };
        let alphabet: &[u8] = match (name, length) {
            ("crc32", length) => {
                let from = out.len().checked_sub(if length == 0 { 30 } else { length })?;
                let digits = checksum::crc32_digits(out.get(from..)?);
                out.extend(digits);
                return Some(());
            }
            ("uuid", 0) => return self.uuid(out),
            ("basic", 0) => {
                let mut login = b"deploy:".to_vec();
                self.text(BASE62, 17, &mut login);
                out.extend(STANDARD.encode(login).bytes());
                return Some(());
            }
            ("basic-key", 0) => {
                let mut key = b"key_".to_vec();
                self.text(BASE62, 25, &mut key);
                key.push(b':');
                out.extend(STANDARD.encode(key).bytes());
                return Some(());
            }
            ("jwt", 0) => {
                self.jwt(out);
                return Some(());
            }
            (_, 0) => return None,
            ("base62", _) => BASE62,
            ("hex", _) => b"0123456789abcdef",
            ("b64", _) => BASE64,
            ("url", _) => BASE64_URL,
            ("digit", _) => BASE62.get(..10)?,
            ("upper", _) => BASE62.get(10..36)?,
            ("lower", _) => BASE62.get(36..)?,
            ("B36", _) => BASE62.get(..36)?,
            ("b36", _) => b"0123456789abcdefghijklmnopqrstuvwxyz",
            ("HEX", _) => b"0123456789ABCDEF",
            ("base32", _) => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            ("b32low", _) => b"abcdefghijklmnopqrstuvwxyz234567",
            ("b58", _) => b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
            ("b32chk", _) => b"023456789acdefghjklmnpqrstuvwxyz",
            ("bech32", _) => b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
            _ => return None,
        };
        self.text(alphabet, length, out);
        Some(())
    }

    fn uuid(&mut self, out: &mut Vec<u8>) -> Option<()> {
        for (at, length) in [8_usize, 4, 4, 4, 12].into_iter().enumerate() {
            if at > 0 {
                out.push(b'-');
            }
            self.piece(&format!("hex {length}"), out)?;
        }
        Some(())
    }

    fn jwt(&mut self, out: &mut Vec<u8>) {
        let mut subject = Vec::new();
        self.text(BASE62, 12, &mut subject);
        let claims = format!(r#"{{"sub":"{}","iat":1700000000}}"#, String::from_utf8_lossy(&subject));
        out.extend(URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#).bytes());
        out.push(b'.');
        out.extend(URL_SAFE_NO_PAD.encode(claims).bytes());
        out.push(b'.');
        self.text(BASE64_URL, 43, out);
    }
}
