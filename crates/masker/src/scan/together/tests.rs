//! What goes together finds what each finds by itself.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::rule;
use crate::scan::{Engine, Known, Span};

/// The rules of both tiers, and the same with nothing that goes together.
static BOTH: LazyLock<[Machines; 2]> = LazyLock::new(|| {
    let rules = rule::builtin();
    let engine = Engine::Plain;
    let mut table = Table::default();
    let machines: Vec<_> = rules.iter().map(|rule| Machine::new(&mut table, rule, None).unwrap()).collect();
    let apart = Machines {
        anchors: Anchors::new(&rules, &machines, &table).unwrap(),
        table,
        shortest: machines.iter().map(|machine| machine.shortest).min().unwrap(),
        rules: machines,
        together: Together::default(),
        engine,
        #[cfg(feature = "vectorscan")]
        database: None,
    };
    [Machines::new(&rules, None, engine).unwrap(), apart]
});

/// What is found in a text that arrives in pieces of so many bytes, and how many bytes may leave behind each.
fn found(machines: &Machines, text: &[u8], cut: usize) -> (BTreeSet<(u64, u64, u16)>, Vec<u64>) {
    let known = Known::default();
    let (mut scan, mut spans, mut safe) = (Scan::new(machines), Vec::new(), Vec::new());
    for end in (cut..text.len()).step_by(cut).chain([text.len()]) {
        let window = Window { bytes: &text[..end], base: 0 };
        scan.advance(machines, &known, window, &mut spans);
        safe.push(scan.safe(machines, &known, window));
    }
    scan.finish(machines, &known, Window { bytes: text, base: 0 }, &mut spans);
    (spans.into_iter().map(|Span { start, end, rule }| (start, end, rule)).collect(), safe)
}

fn check(text: &[u8], cut: usize) {
    let [together, apart] = &*BOTH;
    assert_eq!(found(together, text, cut), found(apart, text, cut), "{} in {cut}", text.escape_ascii());
}

#[test]
fn rules_are_found_by_both() {
    for rule in rule::builtin() {
        for example in rule.positives(7).unwrap() {
            check(&example.text, 4);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn names_and_values_in_any_order_are_found_by_both(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "key", "token", "secret", "api_key", "api-key", "API_KEY", "password", "PASSWORD", "access", "auth", "public_",
                "sourcegraph", "azure", "AccountKey", "=", ": ", ":", " = \"", "\": \"", " is ", " ", "\"", "\n", "_", "-", "sk-",
                "value", "x", "BEIj", "77ff", "9f86d081884c7d659a2feaa0c55ad015", "hX7kPq2vTz9LmN4rWc8JbYdG5sFe3Ua1oKiQ",
                "Zm9vYmFyYmF6cXV4", "s3cr3t!Pa55", "550e8400-e29b-41d4-a716-446655440000", "correct.horse",
            ]),
            1..60,
        ),
        cut in 1..40_usize,
    ) {
        check(words.concat().as_bytes(), cut);
    }
}
