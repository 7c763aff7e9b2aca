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

/// Byte by byte and the given cuts agree with the whole.
fn check_cuts(masker: &Masker, text: &[u8], cuts: &[Vec<usize>]) {
    let whole = masker.mask_with_events(text);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    let cuts = cuts.iter().map(|cut| support::cut(text, cut));
    for pieces in std::iter::once(bytes).chain(cuts) {
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(streamed(masker.stream(), &pieces), whole, "{sizes:?}: {}", text.escape_ascii());
    }
}

/// Runs random texts, cut at random.
fn run(cases: u32) {
    let masker = support::masker();
    let simple = support::masker_of(&["fixed", "open", "two-parts"]);
    let cuts = prop::collection::vec(prop::collection::vec(any::<usize>(), 1..8), 4);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&(support::texts(), cuts), |(text, cuts)| {
        check_cuts(&masker, &text, &cuts);
        as_the_reference(&simple, &text);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_cut_of_twenty_thousand_texts_gives_the_same() {
    run(20_000);
}

#[test]
#[ignore = "torture: a million texts"]
fn torture_any_cut_of_a_million_texts_gives_the_same() {
    run(1_000_000);
}

/// What the rules without a context find, and the known secrets, said another way: at each place where a word may begin,
/// or another of them may be over, the longest text that the whole pattern matches. Slow, and without a scanner.
struct Reference {
    /// No letter or digit stands beside it.
    word: bool,
    /// It is one of a rule, behind which another may begin though it goes on.
    rule: bool,
    pattern: regex_automata::meta::Regex,
}

/// Known secrets as they are spelled in these texts.
const KNOWN: [&str; 5] = ["aabaab", "abcabcabc", "cc0cc0c", "YWFiYWFi", "616162616162"];

impl Reference {
    fn all() -> Vec<Self> {
        let new = |word: bool, rule: bool, pattern: &str| Self {
            word,
            rule,
            pattern: regex_automata::meta::Regex::builder()
                .syntax(regex_automata::util::syntax::Config::new().unicode(false).utf8(false))
                .build(&format!(r"\A(?:{pattern})\z"))
                .unwrap(),
        };
        let rules = [
            new(true, true, "ab[a-c0]{4}"),
            new(false, true, "ba[ab]{3,}"),
            new(false, true, r"c\.[abc. ]{0,12}\.c"),
        ];
        rules.into_iter().chain(KNOWN.map(|value| new(false, false, value))).collect()
    }

    fn may_end(&self, text: &[u8], end: usize) -> bool {
        // No pattern here has a match that ends with a `_`. Those that ask for it have one length.
        let rest = &text[end..];
        let another = |begins: &str| rest.starts_with(begins.as_bytes());
        let another = ["ab", "ba", "c."].into_iter().chain(KNOWN).any(another);
        !self.word || another || !rest.first().is_some_and(u8::is_ascii_alphanumeric)
    }

    /// Where the matches end that begin at a place.
    fn ends(&self, text: &[u8], start: usize) -> Vec<usize> {
        let ends = start + 1..=text.len().min(start + 80);
        let matches = |end: &usize| self.may_end(text, *end) && self.pattern.is_match(&text[start..*end]);
        ends.filter(matches).collect()
    }
}

/// Behind no letter or digit, or behind an escape that is spelled out.
fn begins_word(before: &[u8]) -> bool {
    let hex = |count: usize, from: usize| {
        before.len() >= count && before[before.len() - count..][from..].iter().all(u8::is_ascii_hexdigit)
    };
    let sign = |back: usize| before.len().checked_sub(back).map(|at| before[at]);
    let octal = before.len() >= 3 && before[before.len() - 3..].iter().all(|b| (b'0'..b'8').contains(b));
    sign(1).is_none_or(|last| !last.is_ascii_alphanumeric())
        || (sign(2) == Some(b'\\') && b"nrtbfvae0".contains(&sign(1).unwrap()))
        || (matches!(sign(3), Some(b'%' | b'=')) && hex(2, 0))
        || (sign(4) == Some(b'\\') && octal)
}

/// What is masked is what the reference covers, byte for byte.
fn as_the_reference(masker: &Masker, text: &[u8]) {
    thread_local!(static REFERENCE: Vec<Reference> = Reference::all());
    // What ends a text is judged otherwise.
    let text = [text, b"\n\n"].concat();
    let mut covered = vec![false; text.len()];
    // Where another may begin.
    let mut edges = vec![false; text.len() + 1];
    REFERENCE.with(|references| {
        for start in 0..text.len() {
            for reference in references {
                if reference.word && !edges[start] && !begins_word(&text[..start]) {
                    continue;
                }
                let ends = reference.ends(&text, start);
                if let Some(longest) = ends.last() {
                    covered[start..*longest].fill(true);
                    edges[*longest] = true;
                }
                for end in ends.into_iter().filter(|_| reference.rule) {
                    edges[end] = true;
                }
            }
        }
    });
    let mut masked = vec![false; text.len()];
    for finding in masker.find(&text) {
        masked[finding.range].fill(true);
    }
    for at in 0..text.len() {
        assert_eq!(masked[at], covered[at], "byte {at} is masked, is to be: {}", text.escape_ascii());
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
