//! Values that stand where a secret will be put, and samples that say so themselves.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Whether a value stands in for a secret: a template, a row of one character, a word that says so.
pub(super) fn placeholder(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let Some(&first) = value.first() else { return true };
    if value.iter().all(|&b| b == first) || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return true;
    }
    // `pwd`, `xyz`: a password of so few small letters stands for one, or is none.
    if value.len() <= FEW && value.iter().all(u8::is_ascii_lowercase) {
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
        || value.ends_with(b"..")
        || starts_ignoring_case(value, b"your")
        || ANY_STAND_IN.is_match(value)
        || words().any(|part| STAND_IN_WORDS.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Whether a value says itself that it is a sample.
pub(super) fn sample(value: &[u8]) -> bool {
    ANY_SAMPLE.is_match(value)
}

/// Whether the beginning of a value says so already, or breaks off in a word that would.
pub(super) fn sample_beginning(value: &[u8]) -> bool {
    let broken_off = |word: &[u8]| {
        (MOST_OF_A_WORD.max(word.len() / 2)..word.len())
            .any(|length| ends_ignoring_case(value, word.get(..length).unwrap_or_default()))
    };
    sample(value) || SAMPLES.iter().any(|word| broken_off(word))
}

/// So many letters of a word of samples are seen as it, where the text ends.
const MOST_OF_A_WORD: usize = 3;

/// The longest value of small letters alone that nobody takes for a secret.
const FEW: usize = 4;

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
    b"####",
    b"redacted",
    b"secret_here",
    b"undefined",
    b"0000000",
    b"1111111",
    b"<",
    b"&lt;",
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
    b"1111111111",
    b"2222222222",
    b"3333333333",
    b"4444444444",
    b"5555555555",
    b"6666666666",
    b"7777777777",
    b"8888888888",
    b"9999999999",
];

/// Looked for in one pass: an upstream may have millions of values judged.
static ANY_STAND_IN: LazyLock<AhoCorasick> = LazyLock::new(|| any_of(STAND_INS));
static ANY_SAMPLE: LazyLock<AhoCorasick> = LazyLock::new(|| any_of(SAMPLES));

fn any_of(words: &[&[u8]]) -> AhoCorasick {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(aho_corasick::AhoCorasickKind::DFA))
        .build(words)
        .expect("a handful of short words")
}

fn starts_ignoring_case(value: &[u8], word: &[u8]) -> bool {
    value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn ends_ignoring_case(value: &[u8], word: &[u8]) -> bool {
    let from = value.len().checked_sub(word.len());
    from.and_then(|from| value.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}

pub(super) fn contains_ignoring_case(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "pwd",
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
}
