//! Known secrets: every spelling, thousands of values, added and withdrawn while streams run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that fails may panic"
)]

mod support;

use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{KnownSecretError, KnownSecrets, Masker};
use proptest::prelude::*;

fn masker(known: &KnownSecrets) -> Masker {
    Masker::builder().rules([]).known(known.clone()).build().unwrap()
}

#[test]
fn a_value_added_while_a_stream_runs_is_masked_from_then_on() {
    let known = KnownSecrets::new();
    let masker = masker(&known);
    let mut stream = masker.stream();
    assert_eq!(stream.push(b"a rotated-value b"), b"a rotated-value b");
    known.insert(b"rotated-value").unwrap();
    assert_eq!(stream.push(b" rotated-va"), b" ");
    assert_eq!(stream.push(b"lue."), b"[REDACTED:known-secret].");
    assert!(known.remove(b"rotated-value"));
    assert_eq!(stream.push(b" rotated-value "), b" rotated-value ");
    assert!(!known.remove(b"rotated-value"));
}

#[test]
fn a_change_in_the_middle_of_a_value_loses_nothing() {
    let known = KnownSecrets::new();
    known.insert(b"first-secret").unwrap();
    let masker = masker(&known);
    let mut stream = masker.stream();
    assert_eq!(stream.push(b"x first-se"), b"x ");
    known.insert(b"another-secret").unwrap();
    assert_eq!(stream.push(b"cret another-"), b"[REDACTED:known-secret] ");
    known.remove(b"first-secret");
    assert_eq!(stream.push(b"secret"), b"[REDACTED:known-secret]");
    let mut stream = masker.stream();
    assert_eq!(stream.push(b"another-s"), b"");
    known.remove(b"another-secret");
    assert_eq!(stream.push(b"ecret"), b"another-secret");
}

#[test]
fn a_value_registered_twice_stays_until_withdrawn_twice() {
    let known = KnownSecrets::new();
    let masker = masker(&known);
    known.insert(b"twice-registered").unwrap();
    known.insert(b"twice-registered").unwrap();
    known.remove(b"twice-registered");
    assert_eq!(masker.mask(b"twice-registered"), b"[REDACTED:known-secret]");
    known.remove(b"twice-registered");
    assert_eq!(masker.mask(b"twice-registered"), b"twice-registered");
}

#[test]
fn overlapping_and_adjacent_values_are_one_mask_and_neighbours_are_two() {
    let known = KnownSecrets::new();
    known.extend([&b"first-one"[..], b"one-second", b"third-value"]).unwrap();
    let masker = masker(&known);
    for (text, expected) in [
        ("a first-one-second b", "a [REDACTED:known-secret] b"),
        ("a first-onethird-value b", "a [REDACTED:known-secret] b"),
        ("a first-one third-value b", "a [REDACTED:known-secret] [REDACTED:known-secret] b"),
    ] {
        assert_eq!(masker.mask(text.as_bytes()), expected.as_bytes());
        let mut stream = masker.stream();
        let mut out: Vec<u8> = text.bytes().flat_map(|byte| stream.push(&[byte])).collect();
        out.extend(stream.finish());
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn short_and_huge_values_are_refused_with_a_reason() {
    let known = KnownSecrets::new();
    assert_eq!(known.insert(b"12345"), Err(KnownSecretError::TooShort(5)));
    assert_eq!(known.insert(&[b'x'; 20_000]), Err(KnownSecretError::TooLong(20_000)));
    assert!(KnownSecretError::TooShort(5).to_string().contains("at least 6"));
    assert!(known.is_empty());
}

#[test]
fn nothing_prints_a_value() {
    let known = KnownSecrets::new();
    known.insert(b"never-to-be-printed").unwrap();
    let masker = masker(&known);
    let shown = format!("{known:?} {masker:?} {:?} {:?}", masker.stream(), masker.body(BodyKind::Json));
    assert!(!shown.contains("never"), "{shown}");
}

#[test]
fn one_of_ten_thousand_is_found_in_every_spelling() {
    let known = KnownSecrets::new();
    let values: Vec<String> = (0..10_000u64)
        .map(|i| {
            format!(
                "s{:016x}-{:016x}",
                i.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                i.wrapping_mul(0xD6E8_FEB8_6659_FD93)
            )
        })
        .collect();
    known.extend(values.iter().map(String::as_bytes)).unwrap();
    let masker = masker(&known);
    for value in values.iter().step_by(997) {
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let escaped: String = value.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        for text in [value.clone(), hex, escaped] {
            assert_eq!(masker.mask(format!("<{text}>").as_bytes()), b"<[REDACTED:known-secret]>");
        }
    }
}

#[test]
fn base64_is_masked_with_its_last_character_and_padding() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let known = KnownSecrets::new();
    for secret in ["secret-of-16-byt", "secret-of-17-byte", "secret-of-18-bytes"] {
        known.insert(secret.as_bytes()).unwrap();
        let masker = masker(&known);
        for before in 0..3 {
            for after in 0..4 {
                let text = [&b"~~~"[..before], secret.as_bytes(), &b"\xB7\x3C\xF1"[..after]].concat();
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let masked = masker.mask(encoded.as_bytes());
                    let mut stream = masker.stream();
                    let mut cut: Vec<u8> = encoded.bytes().flat_map(|byte| stream.push(&[byte])).collect();
                    cut.extend(stream.finish());
                    assert_eq!(cut, masked, "{encoded}");
                    // What is left behind the mask holds bits of what stands behind the secret alone.
                    let masked = String::from_utf8(masked).unwrap();
                    let (_, rest) = masked.split_once("[REDACTED:known-secret]").expect(&encoded);
                    let first_free = ((before + secret.len()) * 8).div_ceil(6);
                    let left = if after == 0 { 0 } else { encoded.len() - first_free };
                    assert_eq!(rest.len(), left, "{encoded} {masked}");
                }
            }
        }
        known.remove(secret.as_bytes());
    }
}

#[test]
fn a_tail_that_does_not_fit_is_no_part_of_the_mask() {
    let known = KnownSecrets::new();
    known.insert(b"secret-of-16-byt").unwrap();
    // "c2VjcmV0LW9mLTE2LWJ5dA==" is all of it; in place of the A, a character with other bits.
    let masker = masker(&known);
    for (text, expected) in [
        ("c2VjcmV0LW9mLTE2LWJ5dA==.", "[REDACTED:known-secret]."),
        ("c2VjcmV0LW9mLTE2LWJ5dA=x", "[REDACTED:known-secret]x"),
        ("c2VjcmV0LW9mLTE2LWJ5dA===", "[REDACTED:known-secret]="),
        ("c2VjcmV0LW9mLTE2LWJ5d7==", "[REDACTED:known-secret]7=="),
        ("c2VjcmV0LW9mLTE2LWJ5d", "[REDACTED:known-secret]"),
    ] {
        assert_eq!(String::from_utf8(masker.mask(text.as_bytes())).unwrap(), expected, "{text}");
    }
}

/// The plain way: look for every value at every place.
fn reference(text: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    let mut hidden = vec![false; text.len()];
    for value in values {
        for at in 0..text.len() {
            if text[at..].starts_with(value) {
                hidden[at..at + value.len()].fill(true);
            }
        }
    }
    // A text that ends inside of a value hides what gives much of it away.
    for value in values {
        for at in 0..text.len() {
            let seen = text.len() - at;
            if seen >= 6 && value.starts_with(&text[at..]) && (seen >= 8 || seen * 2 >= value.len()) {
                hidden[at..].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match (hidden[at], at > 0 && hidden[at - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend(b"[REDACTED:known-secret]"),
            (true, true) => {}
        }
    }
    out
}

/// Where the bytes begin that a perfect masker holds back: at the first place from which some value may go on beyond
/// the end of the text, not counting what is masked for certain.
fn first_held(text: &[u8], values: &[Vec<u8>]) -> usize {
    let may_go_on = |at: usize| {
        values.iter().any(|value| value.len() > text.len() - at && value.starts_with(&text[at..]))
    };
    let first = (0..text.len()).find(|at| may_go_on(*at)).unwrap_or(text.len());
    (first..text.len()).find(|at| !is_masked(text, values, *at)).unwrap_or(text.len())
}

fn is_masked(text: &[u8], values: &[Vec<u8>], at: usize) -> bool {
    (0..=at).any(|from| values.iter().any(|value| at < from + value.len() && text[from..].starts_with(value)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// On a small alphabet, so that values overlap themselves and each other.
    #[test]
    fn as_a_plain_search_does_and_with_the_least_delay(
        values in prop::collection::vec("[ab]{6,12}", 1..5),
        text in "[ab]{0,60}",
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let known = KnownSecrets::new();
        known.extend(values.iter().map(String::as_bytes)).unwrap();
        let masker = masker(&known);
        // Their hex, say, cannot appear among these letters; their other spellings are the values themselves.
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        let mut stream = masker.stream();
        let mut out = Vec::new();
        let mut seen = 0;
        for piece in support::cut(text.as_bytes(), &cuts) {
            out.extend(stream.push(piece));
            seen += piece.len();
            let text = &text.as_bytes()[..seen];
            let (first, held) = (first_held(text, &values), text.len() - stream.held());
            // A mask that is certain may wait for one that begins where it does; a byte of text may not.
            prop_assert!(held <= first && (held..first).all(|at| is_masked(text, &values, at)), "{held} {first}");
        }
        out.extend(stream.finish());
        prop_assert_eq!(out, reference(text.as_bytes(), &values));
    }
}
