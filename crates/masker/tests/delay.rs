//! A byte leaves as soon as nothing that may follow could make it part of a mask.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that fails may panic"
)]

use gatewayd_masker::{Masker, Placeholder, rule};
use proptest::prelude::*;

/// What stands for a mask: a byte that no text of these tests has.
const MARK: u8 = b'#';

fn masker(rules: &str, known: &[&str]) -> Masker {
    let rules = rule::parse(rules).unwrap();
    let builder = Masker::builder().rules(rules).placeholder(Placeholder::Text("#".into()));
    known.iter().fold(builder, gatewayd_masker::Builder::known_secret).build().unwrap()
}

/// All texts over an alphabet up to a length.
fn continuations(alphabet: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut last = vec![Vec::new()];
    for _ in 0..length {
        last = last
            .iter()
            .flat_map(|text: &Vec<u8>| alphabet.iter().map(move |byte| [text.as_slice(), &[*byte]].concat()))
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What every continuation of a text has in common in its output: the most a perfect masker could have put out.
fn ideal(masker: &Masker, text: &[u8], continuations: &[Vec<u8>]) -> Vec<u8> {
    let mut common = masker.mask(text);
    for more in continuations {
        let output = masker.mask(&[text, more].concat());
        let same = common.iter().zip(&output).take_while(|(left, right)| left == right).count();
        common.truncate(same);
    }
    common
}

/// A shape, the letters that provoke it, and how far ahead it can look.
fn shapes() -> Vec<(Masker, &'static [u8], usize)> {
    let rule =
        |fields: &str| format!("[[rule]]\nid = \"r\"\nfamily = \"t\"\ndescription = \"d\"\n{fields}\n");
    vec![
        (masker("", &["abaaba", "bbabba"]), b"ab", 7),
        (masker(&rule("anchors = ['ab']\npattern = 'ab[ab]{2}'"), &[]), b"ab ", 5),
        (
            masker(&rule("anchors = ['ab']\npattern = 'ab[ab]{2}'\nleft = 'word'\nright = 'word'"), &[]),
            b"ab ",
            5,
        ),
        (masker(&rule("anchors = ['ab']\npattern = 'ab[ab]{1,}'\nmax = 4"), &[]), b"ab ", 5),
        (
            masker(&rule("anchors = ['ab']\ncontext = 'ab='\npattern = 'b{2,3}'\nright = 'word'"), &[]),
            b"ab=",
            5,
        ),
        (masker(&rule("anchors = ['aa']\ncontext = 'aa'\npattern = 'b{1,2}'\nafter = 'c'"), &[]), b"abc", 5),
        (
            masker(&rule("anchors = ['ab']\npattern = 'abb'\ncommit = 'abb'\nuntil = 'cc'\ncap = 5"), &[]),
            b"abc",
            5,
        ),
        // Certain from a point on, as far as it goes.
        (masker(&rule("anchors = ['ab']\npattern = 'aba[ab]*'\ncommit = 'aba'\ncap = 4"), &[]), b"ab ", 5),
        // A check that refutes some of what has the form.
        (masker(&rule("anchors = ['ab']\npattern = 'ab[b1]{2}'\nvalidators = ['digits:1']"), &[]), b"ab1", 5),
        // An anchor inside of the context, and a known secret that begins in a match.
        (
            masker(
                &rule("anchors = ['ab']\nanchor_offset = [1, 1]\ncontext = 'bab'\npattern = '[ab]{3}'"),
                &["bbabab"],
            ),
            b"ab",
            7,
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn nothing_is_held_that_could_leave(picks in prop::collection::vec(0usize..6, 1..10)) {
        thread_local!(static SHAPES: Vec<(Masker, &'static [u8], usize)> = shapes());
        SHAPES.with(|shapes| -> Result<(), TestCaseError> {
            for (number, (masker, alphabet, ahead)) in shapes.iter().enumerate() {
                let text: Vec<u8> = picks.iter().map(|pick| alphabet[pick % alphabet.len()]).collect();
                let continuations = continuations(alphabet, *ahead);
                let mut stream = masker.stream();
                let mut out = Vec::new();
                for (at, byte) in text.iter().enumerate() {
                    out.extend(stream.push(&[*byte]));
                    let ideal = ideal(masker, &text[..=at], &continuations);
                    let shown = format!("shape {number}: {:?} -> {:?}, ideal {:?}",
                        String::from_utf8_lossy(&text[..=at]), String::from_utf8_lossy(&out), String::from_utf8_lossy(&ideal));
                    prop_assert!(ideal.starts_with(&out), "too early: {}", shown);
                    // A mask may be put out with the byte after it; a byte of text may not wait.
                    prop_assert!(ideal[out.len()..].iter().all(|byte| *byte == MARK), "too late: {}", shown);
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn ordinary_text_is_hardly_held() {
    let masker = Masker::builder().build().unwrap();
    let json = include_str!("../Cargo.toml").replace(" = ", "\": \"").replace('\n', "\",\n\"");
    let texts = [
        ("code", include_str!("../src/scan/mod.rs")),
        ("prose", include_str!("../../../LICENSE")),
        ("more code", include_str!("../src/format/sse.rs")),
        ("json", json.as_str()),
    ];
    for (name, text) in texts {
        let mut held = Vec::new();
        let mut stream = masker.stream();
        for delta in text.as_bytes().chunks(4) {
            stream.push(delta);
            held.push(stream.held());
        }
        held.sort_unstable();
        let mean = held.iter().sum::<usize>() as f64 / held.len() as f64;
        let p99 = held[held.len() * 99 / 100];
        println!("{name}: mean {mean:.3}, p99 {p99}, most {}", held[held.len() - 1]);
        assert!(mean <= 0.5, "{name}: {mean} bytes are held on average");
        assert!(p99 <= 4, "{name}: one in a hundred pushes holds {p99} bytes");
    }
}
