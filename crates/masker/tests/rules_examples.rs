//! Every example of every rule, made concrete many times: what is marked is masked, exactly; nothing else is.

use std::ops::Range;

use gatewayd_masker::rule::{self, Rule, Tier};
use gatewayd_masker::{Masker, Stream};

const SEEDS: u64 = 8;

fn alone(rule: &Rule) -> Masker {
    let rule = Rule { tier: Tier::Default, ..rule.clone() };
    Masker::builder().rules([rule]).build().expect("each built-in rule compiles alone")
}

fn together() -> Masker {
    Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().expect("the built-in rules compile")
}

fn ranges(masker: &Masker, text: &[u8]) -> Vec<Range<usize>> {
    masker.find(text).into_iter().map(|finding| finding.range).collect()
}

fn show(text: &[u8], ranges: &[Range<usize>]) -> String {
    format!("{:?} in {:?}", ranges, String::from_utf8_lossy(text))
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn what_is_marked_in_a_positive_example_is_found_exactly() {
    let mut problems = Vec::new();
    for rule in rule::builtin() {
        let masker = alone(&rule);
        for seed in 0..SEEDS {
            for example in rule.positives(seed).expect("well written") {
                let found = ranges(&masker, &example.text);
                if found != example.secrets {
                    problems.push(format!(
                        "{}: found {}, marked {:?}",
                        rule.id,
                        show(&example.text, &found),
                        example.secrets
                    ));
                    break;
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn a_negative_example_is_left_alone_by_its_rule() {
    let mut problems = Vec::new();
    for rule in rule::builtin() {
        let masker = alone(&rule);
        for seed in 0..SEEDS {
            for text in rule.negatives(seed).expect("well written") {
                let found = ranges(&masker, &text);
                if !found.is_empty() {
                    problems.push(format!("{}: found {}", rule.id, show(&text, &found)));
                    break;
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn all_rules_together_cover_what_each_finds_alone() {
    let masker = together();
    let mut problems = Vec::new();
    for rule in rule::builtin() {
        for example in rule.positives(0).expect("well written") {
            let found = ranges(&masker, &example.text);
            let covered = |secret: &Range<usize>| {
                found.iter().any(|range| range.start <= secret.start && secret.end <= range.end)
            };
            if !example.secrets.iter().all(covered) {
                problems.push(format!("{}: found {}", rule.id, show(&example.text, &found)));
            }
        }
    }
    report(&problems);
}

#[test]
fn an_example_that_arrives_byte_by_byte_is_masked_as_a_whole_one() {
    let masker = together();
    for rule in rule::builtin() {
        for example in rule.positives(1).expect("well written") {
            let whole = masker.mask(&example.text);
            let mut stream: Stream = masker.stream();
            let mut pieces: Vec<u8> = Vec::new();
            for byte in &example.text {
                pieces.extend(stream.push(std::slice::from_ref(byte)));
            }
            pieces.extend(stream.finish());
            assert_eq!(
                String::from_utf8_lossy(&pieces),
                String::from_utf8_lossy(&whole),
                "{}: {:?}",
                rule.id,
                String::from_utf8_lossy(&example.text)
            );
        }
    }
}
