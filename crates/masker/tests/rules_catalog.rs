//! The rules that come with the crate, as data: they pass the checks that a user's rules must pass.

use std::collections::{BTreeMap, BTreeSet};

use gatewayd_masker::rule;

#[test]
fn every_rule_passes_the_checks() {
    let problems: Vec<String> =
        rule::builtin().iter().filter_map(|rule| rule::check(rule).err()).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_are_unique_and_families_covered() {
    let rules = rule::builtin();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(names.len(), rules.len(), "each name once");
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &rules {
        *families.entry(rule.family.as_str()).or_default() += 1;
    }
    for (family, least) in [("cloud", 30), ("code", 30)] {
        let count = families.get(family).copied().unwrap_or_default();
        assert!(count >= least, "{family}: {count} rules, {least} promised");
    }
}
