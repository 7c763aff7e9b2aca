//! Pieces of programs: names, paths, calls, and what a word looks like.

/// Whether a value is a piece of a program: a name, a path of names, a call, a version, a file.
///
/// ```text
/// config.password   get_token()   process.env.KEY   KeyEvent.VK_ENTER   lib/keys.py
/// ```
pub(super) fn code(value: &[u8]) -> bool {
    let outline = Outline::of(value);
    if is_path(value, &outline) {
        return true;
    }
    // `Ed25519PublicKey`, `win32api.RegEnumKey`: short or a path, all words once a number or two are taken out.
    let letters = || value.split(|b| !b.is_ascii_alphabetic()).filter(|part| !part.is_empty());
    outline.numbers < 3
        && (value.len() < 24 || value.contains(&b'.'))
        && letters().count() > 1
        && letters().all(is_word)
        && letters().any(|part| part.len() > 5)
}

/// Whether a value is an expression, or words with signs between them and no more than a number at the end of each.
/// A random password of letters and digits never is, whereas it may pass for a name with a number in it.
pub(super) fn path(value: &[u8]) -> bool {
    is_path(value, &Outline::of(value))
}

fn is_path(value: &[u8], outline: &Outline) -> bool {
    if outline.bracketed || outline.address || is_long_name(value, outline) {
        return true;
    }
    if outline.signs == 0 {
        return outline.digits == 0 && is_word(value);
    }
    // `self.password`, `X-Api-Key`, `a/b/c`, `SOME_NAME`: words between single signs, none of them random.
    let mut wordy = outline.digits == 0;
    // `kVK_Return.u16`, `x64-uwp`, `hash_64b`: mostly words, the digits stand alone, at a word's end or before a unit.
    let mut numbered = outline.digits < 5;
    let mut letters = 0;
    for part in value.split(|b| !b.is_ascii_alphanumeric()) {
        let word = trim_digits(part);
        let is_word = is_word(word);
        wordy &= is_word;
        numbered &= is_word || is_amount(part);
        if is_word && is_plain(word) {
            letters += word.len();
        }
    }
    // `D3D_SB_RETURN_TYPE`, `org/ALL.SOURCE-A1B2C3`, `MyDatabaseSecret-a1b2c3`.
    let mostly_words = letters >= A_LONG_WORD && letters * 5 >= outline.alphanumerics * 3;
    wordy || numbered || mostly_words
}

/// What one look at each byte tells of a value.
#[derive(Default)]
struct Outline {
    alphanumerics: usize,
    digits: usize,
    /// Rows of digits.
    numbers: usize,
    /// What is no letter nor digit.
    signs: usize,
    /// The longest row of letters.
    row: usize,
    /// A capital stands behind a small letter.
    camel: bool,
    bracketed: bool,
    /// It holds `::` or `://`.
    address: bool,
}

impl Outline {
    fn of(value: &[u8]) -> Self {
        let mut outline = Self::default();
        let (mut last, mut row) = (b' ', 0);
        for (at, &byte) in value.iter().enumerate() {
            if byte.is_ascii_alphabetic() {
                row += 1;
                outline.camel |= byte.is_ascii_uppercase() && last.is_ascii_lowercase();
            } else {
                outline.row = outline.row.max(row);
                row = 0;
                if byte.is_ascii_digit() {
                    outline.digits += 1;
                    outline.numbers += usize::from(!last.is_ascii_digit());
                } else {
                    outline.signs += 1;
                    outline.bracketed |= matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b';');
                    outline.address |=
                        byte == b':' && (last == b':' || value.get(at..at + 3) == Some(b"://"));
                }
            }
            last = byte;
        }
        outline.row = outline.row.max(row);
        outline.alphanumerics = value.len() - outline.signs;
        outline
    }
}

/// Whether a value is a long name in camel case with a number or two in it: `X509CertificateTemplate`, `MaxLength256`.
fn is_long_name(value: &[u8], outline: &Outline) -> bool {
    let mut letters = value.split(|b| !b.is_ascii_alphabetic()).filter(|part| !part.is_empty());
    outline.camel && outline.row >= LONG_NAME && outline.numbers < 3 && letters.all(is_word)
}

/// A row of letters so long is random only if it does not read as words.
const LONG_NAME: usize = 12;

/// A number with a letter or two behind it: `64b`, `2nd`.
fn is_amount(part: &[u8]) -> bool {
    let unit =
        part.iter().position(|b| !b.is_ascii_digit()).and_then(|at| part.get(at..)).unwrap_or_default();
    unit.len() < part.len() && unit.len() <= 2 && unit.iter().all(u8::is_ascii_alphabetic)
}

/// Whether a value is words with single signs between them: `www-data`, `SOME_NAME`, `x.y.z`, `challengePassword`.
pub(super) fn name(value: &[u8]) -> bool {
    value.split(|&b| b != b'!' && b.is_ascii_punctuation()).all(|part| !part.is_empty() && is_word(part))
}

/// Whether a value is an expression that fetches a secret from elsewhere: a call, an index, a path of names.
pub(super) fn reference(value: &[u8]) -> bool {
    let bracketed =
        value.iter().any(|b| matches!(b, b'(' | b'[')) && value.iter().any(|b| matches!(b, b')' | b']'));
    let path = value.contains(&b'.') && value.split(|&b| b == b'.').all(is_name);
    let snake = value.contains(&b'_') && value.split(|&b| b == b'_').all(is_name);
    let called = value.iter().all(u8::is_ascii_alphabetic)
        && super::stand_in::contains_ignoring_case(value, b"password");
    bracketed || path || snake || called
}

/// Whether a word is in one case, or long, and has a vowel behind its first letter.
fn is_plain(word: &[u8]) -> bool {
    let Some((_, rest)) = word.split_first().filter(|_| word.len() > 2) else { return false };
    let one_case = || rest.iter().all(u8::is_ascii_lowercase) || word.iter().all(u8::is_ascii_uppercase);
    (word.len() >= LONG_NAME || one_case()) && rest.iter().any(|byte| is_vowel(*byte))
}

/// So many letters of words are no chance.
const A_LONG_WORD: usize = 8;

fn is_name(part: &[u8]) -> bool {
    part.len() > 1 && is_word(part)
}

fn trim_digits(mut part: &[u8]) -> &[u8] {
    while let [rest @ .., last] = part
        && last.is_ascii_digit()
    {
        part = rest;
    }
    part
}

/// Letters only, in the cases that words and names have (`word`, `Word`, `WORD`, `someName`, `HTTPServer`), each
/// long part with a vowel and without long rows of consonants.
fn is_word(part: &[u8]) -> bool {
    if !part.iter().all(u8::is_ascii_alphabetic) {
        return false;
    }
    if part.len() < 6 {
        return true;
    }
    let (mut rest, mut parts) = (part, 0);
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(hump(rest));
        if !is_sayable(head) {
            return false;
        }
        rest = tail;
        parts += 1;
    }
    parts * 5 <= part.len() + 5
}

/// How long the first part of a name in camel case is: `some|Name`, `HTTP|Server`, `Name`.
fn hump(name: &[u8]) -> usize {
    let capitals = name.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let small = name.iter().skip(capitals).take_while(|b| b.is_ascii_lowercase()).count();
    match (capitals, small) {
        (0 | 1, _) => capitals + small,
        (_, 0) => capitals,
        // The last capital begins the next part.
        _ => capitals - 1,
    }
}

fn is_vowel(letter: u8) -> bool {
    matches!(letter.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

/// The longest row of letters in one case that may be words.
const LONGEST_WORD: usize = 24;

/// An abbreviation in capitals, or a word with a vowel and no long row of consonants.
fn is_sayable(word: &[u8]) -> bool {
    let (mut longest, mut row) = (0, 0);
    for &byte in word {
        row = if is_vowel(byte) { 0 } else { row + 1 };
        longest = longest.max(row);
    }
    word.len() < 4
        || (word.len() <= LONGEST_WORD && longest < 5 && longest < word.len())
        || (word.len() < 7 && word.iter().all(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_programs_are_recognised_and_secrets_are_not() {
        for piece in [
            "config.password",
            "get_token()",
            "X-Api-Key",
            "kVK_Return.u16",
            "someVariableName",
            "lib/keys",
            "CREDENTIALS_ID",
            "x64-uwp",
            "DOT11EXT_SET_DEFAULT_KEY",
            "D3DKMT_PRESENTHISTORYTOKEN_0",
            "X509CertificateTemplatePrivateKeyFlag",
            "SensitiveString2048",
            "ring_core_0_17_14__aes_hw_set_encrypt_key_base",
            "myorg/myuser/ALL.SOURCE.ORACLE_12-A1B2C3",
            "Buffer|Uint8Array|Blob|string",
            "Utf8PathBuf::from",
            "https://h.example/a1",
            "ed25519.Ed25519PrivateKey",
            "XXH3_hashLong_64b_default",
        ] {
            assert!(code(piece.as_bytes()), "{piece}");
        }
        assert!(!path(b"r7KyluN25uWeen") && path(b"config.Password1"));
        for secret in ["hunter22", "9f8b2c41d0", "qW3rT-y7Ui9", "sjdhfgkqwrtzpsdfg", "Tr0ub4dor&3"] {
            assert!(!code(secret.as_bytes()), "{secret}");
        }
    }
}
