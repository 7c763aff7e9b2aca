//! Values typed along the alphabet: `abc123def456`, `AbCdEfGh1234`, `0123456789abcdef`.

/// Fewer steps along the alphabet are chance, or the end of a password.
const FEWEST_STEPS: usize = 8;

/// Whether most of a value runs along the alphabet and the digits, upwards or downwards, each for itself and from the
/// start again where they end. Issuers draw keys at random, so that such a value is made up for a text.
pub(super) fn sequence(value: &[u8]) -> bool {
    runs(value, true) || runs(value, false)
}

fn runs(value: &[u8], upwards: bool) -> bool {
    let (mut letters, mut digits) = (Track::default(), Track::default());
    for &byte in value {
        match byte {
            b'0'..=b'9' => digits.take(byte, b'0', b'9', upwards),
            b'a'..=b'z' | b'A'..=b'Z' => letters.take(byte, b'a', b'z', upwards),
            _ => {}
        }
    }
    let along = letters.along + digits.along;
    along >= FEWEST_STEPS && along * 5 >= (letters.steps + digits.steps) * 3
}

/// The letters of a value, or its digits, one after the other.
#[derive(Default)]
struct Track {
    last: Option<u8>,
    steps: usize,
    /// How many steps go to the next letter.
    along: usize,
}

impl Track {
    fn take(&mut self, byte: u8, lowest: u8, highest: u8, upwards: bool) {
        if let Some(last) = self.last.replace(byte) {
            let (from, to) = (last.to_ascii_lowercase(), byte.to_ascii_lowercase());
            let (from, to) = if upwards { (from, to) } else { (to, from) };
            let next = to == from.wrapping_add(1);
            // Behind the last of the alphabet, or of the hexadecimal digits, it begins again.
            let again = to == lowest && (from == highest || from == b'f');
            // `aAbBcC`
            let other_case = last != byte && from == to;
            self.steps += 1;
            self.along += usize::from(next || again || other_case);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_along_the_alphabet_is_told_from_what_is_drawn() {
        for typed in [
            "abcdefghijklmnop",
            "abc123def456ghi789",
            "AbCdEfGhIjKlMnOpQrStUvWxYz123456",
            "0123456789abcdef0123456789abcdef",
            "a1B2c3D4e5F6g7H8i9J0k1L2",
            "Aa1Bb2Cc3Dd4Ee5Ff6Gg7H/aA1bB2cC3dD4eE5fF6gG7h",
            "12345678-1234-1234-1234-123456789012",
            "zyxwvutsrqponmlkjihg",
            "sk_abcdefghijklmnopqrstuvwxyz123",
        ] {
            assert!(sequence(typed.as_bytes()), "{typed}");
        }
        for drawn in [
            "6fe4476ee5a1832882e326b506d14126",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "kQ7vLm2ZpR9sXw4TbY6n",
            "hunter2abc123",
            "38127746550918273645",
            "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        ] {
            assert!(!sequence(drawn.as_bytes()), "{drawn}");
        }
    }
}
