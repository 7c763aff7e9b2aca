//! What the rules do not find, so that nobody relies on it; and what the documentation says about it.

use gatewayd_masker::{Masker, Tier, rule};

fn both_tiers() -> Masker {
    Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().expect("the built-in rules compile")
}

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";

#[test]
fn the_key_of_these_tests_is_found_as_it_is() {
    assert_eq!(both_tiers().mask(KEY.as_bytes()), b"[REDACTED:aws-access-key-id]");
}

#[test]
fn a_secret_that_is_spelled_apart_or_backwards_is_out_of_scope() {
    let apart: Vec<String> = KEY.chars().map(String::from).collect();
    let backwards: String = KEY.chars().rev().collect();
    for text in [apart.join(" "), apart.join("-"), backwards] {
        assert_eq!(both_tiers().mask(text.as_bytes()), text.as_bytes(), "documented as out of scope");
    }
}

#[test]
fn a_secret_that_no_one_registered_is_not_looked_for_under_an_encoding() {
    let encoded = "it decodes to QUtJQVpRM0RSU1RVVldYWTIzNDU= here";
    assert_eq!(both_tiers().mask(encoded.as_bytes()), encoded.as_bytes(), "documented as out of scope");
    let known = Masker::builder().known_secret(KEY).build().expect("compiles").mask(encoded.as_bytes());
    assert_ne!(known, encoded.as_bytes(), "a known secret is found under each listed encoding");
}

#[test]
fn characters_without_width_between_its_characters_are_out_of_scope() {
    let text = KEY.replace("ZQ", "Z\u{200b}Q");
    assert_eq!(both_tiers().mask(text.as_bytes()), text.as_bytes(), "documented as out of scope");
}

#[test]
fn values_without_form_or_name_are_out_of_scope() {
    for text in
        ["it is 9f8b2c41d05e6a7788990011aabbccdd", "see 3286a508-a6ca-478a-8078-85b2b515d8d2 for more"]
    {
        assert_eq!(both_tiers().mask(text.as_bytes()), text.as_bytes(), "documented as out of scope");
    }
}

#[test]
fn what_the_documentation_counts_is_what_there_is() {
    let text = include_str!("../../../docs/masking.md");
    let rules = rule::builtin();
    let count = |tier: Tier| rules.iter().filter(|rule| rule.tier == tier).count();
    assert!(text.contains(&format!("{} rules for secrets", count(Tier::Default))), "the default tier");
    assert!(text.contains(&format!("{} rules for values", count(Tier::Assignments))), "the assignments tier");
    let mut families: Vec<&str> = rules.iter().map(|rule| rule.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    for family in families {
        let rules = rules.iter().filter(|rule| rule.family == family).count();
        assert!(text.contains(&format!("| `{family}` | {rules} |")), "{family}: {rules} rules");
    }
}

#[test]
fn the_file_in_the_documentation_works() {
    let text = include_str!("../../../docs/masking.md");
    let (_, rest) = text.split_once("```toml\n").expect("a TOML example");
    let (file, _) = rest.split_once("```").expect("it ends");
    let tuning = rule::Tuning::parse(file).expect("it reads");
    let rules = tuning.apply(rule::builtin()).expect("it applies");
    let masker = Masker::builder().rules(rules).fingerprint_key("a key of sixteen bytes or more").build();
    let masker = masker.expect("it compiles");
    assert_eq!(masker.mask(b"acme_0a1b2c3d4e5f6g7h8i9j"), b"[REDACTED:acme-key]");
}
