//! What comes out does not depend on how the text was cut.

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

use gatewayd_masker::{MaskEvent, Masker, Stream};
use proptest::prelude::*;

fn streamed(mut stream: Stream, pieces: &[&[u8]]) -> (Vec<u8>, Vec<MaskEvent>) {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(stream.push(piece));
    }
    out.extend(stream.finish());
    (out, stream.take_events())
}

/// Every one-byte cut, every two-way cut and the given cuts agree with the whole.
fn check(masker: &Masker, text: &[u8], cuts: &[Vec<usize>]) {
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let whole = masker.mask_with_events(text);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(
        streamed(masker.stream(), &bytes),
        whole,
        "byte by byte: {:?} -> {:?}",
        show(text),
        show(&whole.0)
    );
    for place in 0..=text.len() {
        let (left, right) = text.split_at(place);
        assert_eq!(
            streamed(masker.stream(), &[left, right]),
            whole,
            "cut at {place}: {:?} -> {:?}",
            show(text),
            show(&whole.0)
        );
    }
    for cut in cuts {
        assert_eq!(
            streamed(masker.stream(), &support::cut(text, cut)),
            whole,
            "cut at {cut:?}: {:?}",
            show(text)
        );
    }
}

fn cases() -> u32 {
    std::env::var("MASKER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn any_cut_gives_the_same(
        text in support::texts(),
        cuts in prop::collection::vec(prop::collection::vec(any::<usize>(), 1..8), 3),
    ) {
        thread_local!(static MASKER: Masker = support::masker());
        MASKER.with(|masker| check(masker, &text, &cuts));
    }
}

#[test]
fn cases_that_once_went_wrong() {
    let masker = support::masker();
    for text in [
        // A swallowed block ends inside of a character, and a known secret begins right behind that.
        "<<b0a0aabca00a0c00ba\u{1F600}cc0cc0c;c:ab0bbabcabcabc;0c",
        "<<bxxxxxxxxxxxxxxxxxxx\u{1F600}",
        "<<bxxxxxxxxxxxxxxxxxxx\u{1F600}\u{1F600}b>>",
    ] {
        check(&masker, text.as_bytes(), &[]);
    }
}

#[test]
fn each_builtin_example_can_be_cut_anywhere() {
    let masker = Masker::builder()
        .tiers([gatewayd_masker::Tier::Default, gatewayd_masker::Tier::Assignments])
        .build()
        .unwrap();
    for rule in gatewayd_masker::rule::builtin() {
        for text in rule.positive.iter().chain(&rule.negative) {
            check(&masker, text.as_bytes(), &[]);
        }
    }
}

#[test]
fn a_text_of_ten_thousand_bytes_gives_the_same_in_pieces_of_any_size() {
    let masker = support::masker();
    let unit = b"pw=abc0 c.ab c.abc0ab .c <<b xx b>> ba baaaaaaaaaaaaaaab 0:abcabc;0 //a:abc@ aabaabaab ";
    let text: Vec<u8> = unit.iter().copied().cycle().take(10_000).collect();
    let whole = masker.mask_with_events(&text);
    for size in [1, 2, 3, 7, 64, 1000, 4096, 9_999] {
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        assert_eq!(streamed(masker.stream(), &pieces), whole, "pieces of {size}");
    }
}
