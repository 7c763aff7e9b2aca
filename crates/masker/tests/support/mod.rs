//! Rules and texts that tests share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod bodies;

use gatewayd_masker::rule::parse;
use gatewayd_masker::{Masker, Rule};
use proptest::prelude::*;

/// Small rules that are easily provoked, one of each shape.
pub(crate) fn rules() -> Vec<Rule> {
    parse(
        r#"
[[rule]]
id = "fixed"
family = "test"
description = "Fixed length, words on both sides."
anchors = ["ab"]
pattern = "ab[a-c0]{4}"
left = "word"
right = "word"

[[rule]]
id = "open"
family = "test"
description = "Open ended, with a cap."
anchors = ["ba"]
pattern = "ba[ab]{3,}"
max = 9

[[rule]]
id = "two-parts"
family = "test"
description = "A long attempt that can fail, with other secrets inside."
anchors = ["c."]
pattern = "c\\.[abc. ]{0,12}\\.c"

[[rule]]
id = "context"
family = "test"
description = "Behind a name."
anchors = ["pw"]
ignore_case = true
context = "pw[ =:]{1,3}"
pattern = "[abc0]{3,}"
max = 6

[[rule]]
id = "url"
family = "test"
description = "With something behind it."
anchors = ["//"]
context = "//[abc]{0,4}:"
pattern = "[abc0]{1,8}"
after = "@"

[[rule]]
id = "block"
family = "test"
description = "Certain from the start, up to a marker."
anchors = ["<<"]
pattern = "<<b"
commit = "<<b"
until = "b>>"
cap = 20

[[rule]]
id = "tail"
family = "test"
description = "Certain from a point on, as far as it goes."
anchors = ["0:"]
pattern = "0:a[abc]*(?:;0)?"
commit = "0:a"
cap = 15

[[rule]]
id = "behind"
family = "test"
description = "An anchor inside of the context."
anchors = ["~0"]
anchor_offset = [1, 2]
context = "[a-c]{1,2}~"
pattern = "[0abc]{4}"
right = "word"
"#,
    )
    .expect("the test's rules parse")
}

/// A masker over the small rules and some known secrets, two of which overlap themselves and each other.
pub(crate) fn masker() -> Masker {
    build(rules())
}

/// The same with some of the rules alone.
pub(crate) fn masker_of(ids: &[&str]) -> Masker {
    build(rules().into_iter().filter(|rule| ids.contains(&rule.id.as_str())).collect())
}

fn build(rules: Vec<Rule>) -> Masker {
    Masker::builder()
        .rules(rules)
        .known_secret("aabaab")
        .known_secret("abcabcabc")
        .known_secret("cc0cc0c")
        .fingerprint_key("0123456789abcdef")
        .build()
        .expect("the test's rules compile")
}

/// Texts made of what the small rules are made of.
pub(crate) fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[abc0]{1,3}",
        2 => "[ .:;@<>/=~_]",
        1 => prop::sample::select(vec![
            "ab", "abc0ab", "ba", "c.", ".c", "pw=", "PW: ", "//a:", "<<b", "b>>", "0:a", ";0", "a~0", "aabaab",
            "abcabcabc", "cc0cc0c", "cc0", "\\n", "%0a", "é", "\u{1F600}", "YWFiYWFi", "616162616162",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Cuts a text at the given places, which are taken modulo its length.
pub(crate) fn cut<'a>(text: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (text.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places.into_iter().chain([text.len()]) {
        pieces.push(&text[from..place]);
        from = place;
    }
    pieces
}
