//! Secrets with nothing between them are masked as one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

use std::sync::LazyLock;

use gatewayd_masker::{Builder, Engine, Masker, rule};

/// A key id of AWS: 20 capital letters and digits, no letter or digit beside it.
const AWS: &str = "AKIAZ7QF3NXR2WLTK9EB";
/// Of GitHub: of one length too, and of another kind of letters.
const GITHUB: &str = "ghp_r8Vq2LmZ0xTnB5yKcW7dHs4JfA9eUg3PoX1i";
/// Ends where its own letters end.
const GITLAB: &str = "glpat-x7Kq2mVz9RtB4nWcL8sD";

fn engines() -> Vec<Engine> {
    vec![
        Engine::Plain,
        Engine::Interleaved,
        #[cfg(feature = "vectorscan")]
        Engine::Vectorscan,
    ]
}

fn each(builder: impl Fn() -> Builder) -> Vec<Masker> {
    engines().into_iter().map(|engine| builder().engine(engine).build().unwrap()).collect()
}

/// The rules that come with the crate, and known secrets.
static BUILT_IN: LazyLock<Vec<Masker>> =
    LazyLock::new(|| each(|| Masker::builder().known_secret("a-known-value-of-ours").known_secret("a-knot")));

/// Masks a text by itself and far inside of another, with each engine and in pieces, which must agree.
fn masked(maskers: &[Masker], text: &str) -> String {
    let mut outs = Vec::new();
    for masker in maskers {
        let far = "calm text ".repeat(2_000);
        let out = String::from_utf8(masker.mask((far.clone() + text).as_bytes())).unwrap();
        outs.push(out.strip_prefix(&far).unwrap().to_owned());
        outs.push(String::from_utf8(masker.mask(text.as_bytes())).unwrap());
        for at in 0..=text.len() {
            let mut stream = masker.stream();
            let mut out = stream.push(&text.as_bytes()[..at]);
            out.extend(stream.push(&text.as_bytes()[at..]));
            out.extend(stream.finish());
            outs.push(String::from_utf8(out).unwrap());
        }
        let mut stream = masker.stream();
        let mut out: Vec<u8> = text.bytes().flat_map(|byte| stream.push(&[byte])).collect();
        out.extend(stream.finish());
        outs.push(String::from_utf8(out).unwrap());
    }
    assert!(outs.windows(2).all(|pair| pair[0] == pair[1]), "{text}: {outs:?}");
    outs.remove(0)
}

/// A text of secrets and what stands around them, and what comes of it.
fn check(text: &str, expected: &str) {
    assert_eq!(masked(&BUILT_IN, text), expected, "{text}");
}

#[test]
fn two_of_a_kind() {
    check(&format!("see {AWS}{AWS}."), "see [REDACTED:aws-access-key-id].");
    check(&format!("{AWS}{AWS}"), "[REDACTED:aws-access-key-id]");
    check(&format!("{GITHUB}{GITHUB} "), "[REDACTED:github-pat] ");
}

#[test]
fn many_in_a_row() {
    for count in [3, 4, 50] {
        let keys = AWS.repeat(count);
        check(&format!("\"{keys}\", and more"), "\"[REDACTED:aws-access-key-id]\", and more");
    }
}

#[test]
fn two_kinds() {
    check(&format!("{GITHUB}{AWS};"), "[REDACTED:github-pat];");
    check(&format!("{AWS}{GITHUB}\n"), "[REDACTED:aws-access-key-id]\n");
    check(&format!("k={AWS}{GITLAB}!"), "k=[REDACTED:aws-access-key-id]!");
    check(&format!("k={AWS}{GITHUB}{AWS}{GITHUB}."), "k=[REDACTED:aws-access-key-id].");
}

#[test]
fn beside_a_known_secret() {
    let aws = "[REDACTED:aws-access-key-id]";
    check(&format!("see a-known-value-of-ours{AWS}."), "see [REDACTED:known-secret].");
    check(&format!("see {AWS}a-known-value-of-ours."), &format!("see {aws}."));
    check(&format!("see {AWS}{AWS}a-known-value-of-ours{AWS}."), &format!("see {aws}."));
    // Not all of it.
    check(&format!("see {AWS}a-known-value-of-our."), &format!("see {AWS}a-known-value-of-our."));
    check(&format!("see {AWS}a-kn"), &format!("see {AWS}a-kn"));
}

/// What stands behind the first is masked by itself or not at all.
#[test]
fn the_second_is_judged_by_itself() {
    check(
        &format!("{AWS}AKIAnothing {AWS}"),
        "[REDACTED:aws-access-key-id]AKIAnothing [REDACTED:aws-access-key-id]",
    );
    check(&format!("{AWS}AKIAIOSFODNN7EXAMPLE."), "[REDACTED:aws-access-key-id]AKIAIOSFODNN7EXAMPLE.");
    check(&format!("{AWS}{AWS}x "), &format!("[REDACTED:aws-access-key-id]{AWS}x "));
}

/// Only an anchor counts, all of it and directly behind.
#[test]
fn no_other_letter_is_an_end() {
    for behind in ["x", "AKI", "AKI ", "AKJA", "akia", "7", "KAKIA", "_AKIA"] {
        let text = format!("see {AWS}{behind} end");
        let expected = if behind == "_AKIA" { "see [REDACTED:aws-access-key-id]_AKIA end" } else { &text };
        check(&text, expected);
    }
    for before in ["x", "AKIA", "ghp_x"] {
        let text = format!("see {before}{AWS} end");
        check(&text, &text);
    }
    // A sample is no secret, so that none begins behind it.
    let text = format!("see AKIAIOSFODNN7EXAMPLE{AWS} end");
    check(&text, &text);
}

/// A row of one letter is not many secrets, though some begin so.
#[test]
fn a_row_of_one_letter_stays() {
    let text = format!("see {} end", "A".repeat(700));
    check(&text, &text);
}

/// An anchor that begins a name is not a secret's.
#[test]
fn a_name_is_no_end() {
    let rules = r#"
[[rule]]
id = "fixed"
family = "test"
description = "A word."
anchors = ["abc"]
pattern = "abc[0-9a-z]{5}"
left = "word"
right = "word"

[[rule]]
id = "named"
family = "test"
description = "Behind a name."
anchors = ["name="]
context = "name="
pattern = "[0-9]{5}"
right = "word"
"#;
    let maskers = each(|| Masker::builder().rules(rule::parse(rules).unwrap()));
    assert_eq!(masked(&maskers, "abc12345name=12345"), "abc12345name=[REDACTED:named]");
    assert_eq!(masked(&maskers, "name=12345abc12345"), "name=[REDACTED:named]");
    assert_eq!(masked(&maskers, "name=12345abc1234-"), "name=[REDACTED:named]abc1234-");
}

/// Nothing is held that cannot become an anchor.
#[test]
fn what_is_held_is_the_rest_of_an_anchor() {
    let masker = Masker::builder().build().unwrap();
    let mut stream = masker.stream();
    assert_eq!(stream.push(format!("see {AWS}").as_bytes()), b"see ");
    assert_eq!(stream.push(b"AKI"), b"");
    let out = stream.push(b"J");
    assert_eq!(out, format!("{AWS}AKIJ").as_bytes());
    assert_eq!(stream.held(), 0);
    let mut stream = masker.stream();
    stream.push(AWS.as_bytes());
    assert_eq!(stream.push(b"AKIA"), b"[REDACTED:aws-access-key-id]");
    assert_eq!(stream.push(b"!"), b"AKIA!");
}

/// Where a match is known to end only after something stands behind it.
#[test]
fn an_end_that_shows_late() {
    let rules = r#"
[[rule]]
id = "long"
family = "test"
description = "May go on."
anchors = ["long-"]
pattern = "long-[0-9]{4}(?:abc[0-9]{2}xyz)?"

[[rule]]
id = "fixed"
family = "test"
description = "A word."
anchors = ["abc", "xyz"]
pattern = "(?:abc|xyz)[0-9]{2}"
left = "word"
right = "word"
"#;
    let maskers = each(|| Masker::builder().rules(rule::parse(rules).unwrap()));
    assert_eq!(masked(&maskers, "long-1234abc12 "), "[REDACTED:long] ");
    assert_eq!(masked(&maskers, "long-1234abc12xyz "), "[REDACTED:long] ");
    assert_eq!(masked(&maskers, "long-1234abc12xyz12 "), "[REDACTED:long] ");
    assert_eq!(masked(&maskers, "long-1234abc12xyz1 "), "[REDACTED:long]1 ");
    assert_eq!(masked(&maskers, "long-1234abc12abc34."), "[REDACTED:long].");
    assert_eq!(masked(&maskers, "long-1234abc12xyw"), "[REDACTED:long]abc12xyw");
}
