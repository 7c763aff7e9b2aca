//! The examples of a rule, run as tests of it.

use std::ops::Range;

use super::{Rule, RuleError, Tier};
use crate::Masker;

/// Runs the examples of a rule, made concrete from `seed`: what is marked in a positive one is found, exactly and
/// nothing else; in a negative one nothing is.
///
/// # Errors
/// Names the rule, the example and what was found in its place.
pub fn prove(rule: &Rule, seed: u64) -> Result<(), RuleError> {
    // Allowlists by HMAC need the deployment's key, and examples have no part in them.
    let mut alone = Rule { tier: Tier::Default, ..rule.clone() };
    alone.allow.hmacs.clear();
    let masker = Masker::builder().rules([alone]).build().map_err(|error| match error {
        crate::BuildError::Rule(error) => error,
        other => rule.error("pattern", other.to_string()),
    })?;
    let find = |text: &[u8]| -> Vec<Range<usize>> {
        masker.find(text).into_iter().map(|finding| finding.range).collect()
    };
    for example in rule.positives(seed)? {
        let found = find(&example.text);
        if found != example.secrets {
            let text = String::from_utf8_lossy(&example.text);
            return Err(rule.error(
                "positive",
                format!(
                    "in `{text}` bytes {:?} are marked and {found:?} are found; mend the rule or the marks",
                    example.secrets
                ),
            ));
        }
    }
    for text in rule.negatives(seed)? {
        let found = find(&text);
        if !found.is_empty() {
            let text = String::from_utf8_lossy(&text);
            return Err(rule.error(
                "negative",
                format!("in `{text}` bytes {found:?} are found; make the rule narrower"),
            ));
        }
    }
    Ok(())
}
