//! Whatever a file of rules says, it is read or refused, and a rule that compiles can be run.

#![no_main]

use gatewayd_masker::{Masker, rule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(rules) = rule::parse(text) else { return };
    if rules.len() > 4 || rules.iter().any(|rule| rule.pattern.len() > 100) {
        return;
    }
    let Ok(masker) = Masker::builder().rules(rules.clone()).build() else { return };
    for text in rules.iter().flat_map(|rule| rule.positive.iter().chain(&rule.negative)) {
        let _ = masker.mask(text.as_bytes());
    }
});
