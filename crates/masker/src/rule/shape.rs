//! What a value looks like: randomness, structure, stand-ins, pieces of programs.

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
    let mut counts = [0_u32; 256];
    for &byte in value {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "values are far shorter than 2^24 bytes")]
    let length = value.len() as f32;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            #[expect(clippy::cast_precision_loss, reason = "a count is at most the length")]
            let share = count as f32 / length;
            -share * share.log2()
        })
        .sum()
}

/// How many kinds of characters occur: lower case, upper case, digits, signs.
pub(super) fn kinds(value: &[u8]) -> usize {
    let has = |test: fn(&u8) -> bool| usize::from(value.iter().any(test));
    has(u8::is_ascii_lowercase)
        + has(u8::is_ascii_uppercase)
        + has(u8::is_ascii_digit)
        + has(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether a value is words with single signs between them: `www-data`, `SOME_NAME`, `x.y.z`, `challengePassword`.
pub(super) fn name(value: &[u8]) -> bool {
    value.split(|&b| b != b'!' && b.is_ascii_punctuation()).all(|part| !part.is_empty() && is_word(part))
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

/// Whether the value is base64 of `name:password`, both of them printable and the password not empty.
pub(super) fn basic_credentials(value: &[u8]) -> bool {
    let Ok(text) = decode(value) else { return false };
    let printable = text.iter().all(|&b| b >= 0x20 && b != 0x7f);
    match text.iter().position(|&b| b == b':') {
        Some(colon) => {
            printable && colon + 1 < text.len() && !placeholder(text.get(colon + 1..).unwrap_or_default())
        }
        None => false,
    }
}

/// Decodes base64 of either alphabet.
pub(super) fn decode(value: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    if value.iter().any(|&b| b == b'-' || b == b'_') {
        URL_SAFE.decode(value)
    } else {
        STANDARD.decode(value)
    }
}

/// Texts that stand where a secret will be put: each so long, or of such signs, that a random value practically
/// never holds one.
const STAND_INS: &[&[u8]] = &[
    b"example",
    b"changeme",
    b"change-me",
    b"change_me",
    b"placeholder",
    b"xxxxxxx",
    b"****",
    b"redacted",
    b"secret_here",
    b"undefined",
    b"0000000",
    b"1111111",
    b"<",
    b"${",
    b"{{",
    b"$(",
    b"%(",
    b"#{",
    b"[password",
    b"[secret",
    b"[token",
];

/// Words that say so where they stand alone: `your-api-key`, `TODO`.
const STAND_IN_WORDS: &[&[u8]] = &[
    b"your", b"xxxx", b"dummy", b"sample", b"insert", b"todo", b"fixme", b"here", b"masked", b"hidden",
    b"removed", b"none", b"null", b"environ", b"env",
];

/// Values that are words of a language or a form, not secrets.
const WORDS: &[&[u8]] = &[
    b"true",
    b"false",
    b"yes",
    b"no",
    b"string",
    b"password",
    b"passwd",
    b"token",
    b"username",
    b"user",
    b"pass",
    b"required",
    b"optional",
    b"value",
    b"default",
    b"test",
    b"bytes",
    b"text",
    b"object",
    b"function",
];

/// Whether a value stands in for a secret: a template, a row of one character, a word that says so.
pub(super) fn placeholder(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let Some(&first) = value.first() else { return true };
    if value.iter().all(|&b| b == first) || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return true;
    }
    let name = value.strip_prefix(b"\\").unwrap_or(value).strip_prefix(b"$").unwrap_or_default();
    let variable = !name.is_empty() && name.iter().all(|&b| b == b'_' || b.is_ascii_alphanumeric())
        || name.len() > 2 && name.iter().take(3).all(|&b| b == b'_' || b.is_ascii_uppercase());
    let words = || value.split(|b| !b.is_ascii_alphanumeric());
    let template = (first == b'{' && value.ends_with(b"}")) || (first == b'%' && value.ends_with(b"%"));
    variable
        || template
        || value.starts_with(b"arn:")
        || value.ends_with(b"...")
        || starts_ignoring_case(value, b"your")
        || STAND_INS.iter().any(|word| contains_ignoring_case(value, word))
        || words().any(|part| STAND_IN_WORDS.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Long words of samples: each so long that a random value practically never holds it.
const SAMPLES: &[&[u8]] = &[
    b"example",
    b"placeholder",
    b"redacted",
    b"changeme",
    b"xxxxxxx",
    b"your_",
    b"your-",
    b"_here",
    b"-here",
    b"0000000000",
];

/// Whether a value says itself that it is a sample.
pub(super) fn sample(value: &[u8]) -> bool {
    SAMPLES.iter().any(|word| contains_ignoring_case(value, word))
}

/// Whether what follows the last `-` or `_` is hexadecimal.
pub(super) fn hex(value: &[u8]) -> bool {
    let last = value.rsplit(|b| matches!(b, b'-' | b'_')).next().unwrap_or_default();
    last.iter().all(u8::is_ascii_hexdigit)
}

fn starts_ignoring_case(value: &[u8], word: &[u8]) -> bool {
    value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn contains_ignoring_case(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// Whether a value is an expression that fetches a secret from elsewhere: a call, an index, a path of names.
pub(super) fn reference(value: &[u8]) -> bool {
    let bracketed =
        value.iter().any(|b| matches!(b, b'(' | b'[')) && value.iter().any(|b| matches!(b, b')' | b']'));
    let path = value.contains(&b'.') && value.split(|&b| b == b'.').all(is_name);
    let snake = value.contains(&b'_') && value.split(|&b| b == b'_').all(is_name);
    let called = value.iter().all(u8::is_ascii_alphabetic) && contains_ignoring_case(value, b"password");
    bracketed || path || snake || called
}

fn is_name(part: &[u8]) -> bool {
    part.len() > 1 && is_word(part)
}

/// Whether a value is a piece of a program: a name, a path of names, a call, a version, a file.
///
/// ```text
/// config.password   get_token()   process.env.KEY   KeyEvent.VK_ENTER   lib/keys.py
/// ```
pub(super) fn code(value: &[u8]) -> bool {
    if value.iter().any(|b| matches!(b, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b';')) {
        return true;
    }
    let has_digit = value.iter().any(u8::is_ascii_digit);
    let segments = || value.split(|b| !b.is_ascii_alphanumeric());
    // `self.password`, `X-Api-Key`, `a/b/c`, `SOME_NAME`: words between single signs, none of them random.
    let wordy = segments().all(is_word);
    if wordy && !has_digit {
        return true;
    }
    // `kVK_Return.u16`, `x64-uwp`: mostly words, the digits stand alone or at a word's end.
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    if digits < 5 && segments().count() > 1 && segments().all(|part| is_word(trim_digits(part))) {
        return true;
    }
    // `Ed25519PublicKey`, `win32api.RegEnumKey`: short, all words once a number or two are taken out.
    let letters = || value.split(|b| !b.is_ascii_alphabetic()).filter(|part| !part.is_empty());
    let numbers = value.split(|b| !b.is_ascii_digit()).filter(|part| !part.is_empty()).count();
    value.len() < 24
        && numbers < 3
        && letters().count() > 1
        && letters().all(is_word)
        && letters().any(|part| part.len() > 5)
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

/// An abbreviation in capitals, or a word with a vowel and no long row of consonants.
fn is_sayable(word: &[u8]) -> bool {
    let rows = || word.split(|b| b"aeiouyAEIOUY".contains(b)).map(<[u8]>::len);
    let longest = rows().max().unwrap_or_default();
    word.len() < 4
        || (longest < 5 && longest < word.len())
        || (word.len() < 7 && word.iter().all(u8::is_ascii_uppercase))
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
        assert!(!basic_credentials(&encode("deploy:")));
        assert!(!basic_credentials(&encode("just a sentence")));
        assert!(!basic_credentials(&encode("user:password")), "a stand-in");
        assert!(!basic_credentials(b"%%%"));
    }

    #[test]
    fn placeholders_are_recognised_and_secrets_are_not() {
        for stand_in in [
            "",
            "xxxxxxxx",
            "changeme",
            "<password>",
            "${DB_PASS}",
            "$PASSWORD",
            "{{ .pw }}",
            "{pw}",
            "%PW%",
            "your-api-key",
            "\\$_POST",
            "$BASE_URL/reset",
            "null",
            "AKIAIOSFODNN7EXAMPLE",
            "TRUE",
        ] {
            assert!(placeholder(stand_in.as_bytes()), "{stand_in}");
        }
        for secret in ["a3nULLk9TodoQx", "hunter22", "$ecr3t!", "correct horse battery", "9f8b2c", "p4$$w0rd"]
        {
            assert!(!placeholder(secret.as_bytes()), "{secret}");
        }
    }

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
        ] {
            assert!(code(piece.as_bytes()), "{piece}");
        }
        for secret in ["hunter22", "9f8b2c41d0", "qW3rT-y7Ui9", "sjdhfgkqwrtzpsdfg", "Tr0ub4dor&3"] {
            assert!(!code(secret.as_bytes()), "{secret}");
        }
    }
}
