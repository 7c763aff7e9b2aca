//! The decision about a finished match: the rule's validators, then allowlists.

use hmac::{Hmac, KeyInit, Mac};
use regex_automata::meta::Regex;
use sha2::{Digest as _, Sha256};

use super::validator::{Validator, Verdict};
use super::{Rule, RuleError, Verdicts};

/// Bits a byte that even digits in any order have, if they are not all the same few.
const LEAST_ENTROPY: f32 = 2.0;

/// Decides about the text of a finished match: validators and allowlists, made ready to run.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    validators: Vec<Validator>,
    values: Vec<Vec<u8>>,
    patterns: Vec<Regex>,
    hashes: Vec<[u8; 32]>,
    digests: Option<Digests>,
}

/// Allowlisted values under the deployment's key.
#[derive(Debug)]
struct Digests {
    keyed: Hmac<Sha256>,
    known: Vec<[u8; 32]>,
}

impl Digests {
    fn contains(&self, value: &[u8]) -> bool {
        let digest: [u8; 32] = self.keyed.clone().chain_update(value).finalize().into_bytes().into();
        self.known.contains(&digest)
    }
}

impl Judge {
    /// Makes the checks of a rule ready; `key` is the deployment's fingerprint key, for `allow.hmacs`.
    pub(crate) fn new(rule: &Rule, key: Option<&[u8]>) -> Result<Self, RuleError> {
        let mut validators = Vec::with_capacity(rule.validators.len());
        for name in &rule.validators {
            validators.push(Validator::parse(name).map_err(|problem| rule.error("validators", problem))?);
        }
        // All must agree, so the cheap ones are asked first: a hostile text has much judged.
        validators.sort_by_key(|validator: &Validator| validator.price());
        let mut values: Vec<Vec<u8>> =
            rule.allow.values.iter().map(|value| value.clone().into_bytes()).collect();
        values.sort_unstable();
        let mut patterns = Vec::with_capacity(rule.allow.patterns.len());
        for pattern in &rule.allow.patterns {
            patterns.push(whole_value(pattern).map_err(|problem| rule.error("allow.patterns", problem))?);
        }
        let hashes = unhex_all(&rule.allow.sha256)
            .ok_or_else(|| rule.error("allow.sha256", "write each as the 64 hex digits of SHA-256"))?;
        Ok(Self { validators, values, patterns, hashes, digests: digests(rule, key)? })
    }

    /// Whether the matched text is to be masked. It is the value that `verdicts` are about.
    pub(crate) fn masks(&self, value: &[u8], verdicts: &mut Verdicts) -> bool {
        for validator in &self.validators {
            match verdicts.ask(*validator, value) {
                Verdict::Genuine => break,
                Verdict::Refuted => return false,
                Verdict::Plausible => {}
            }
        }
        // Last, because of the hashes: few values come so far.
        !self.allows(value)
    }

    /// Whether a beginning of a match of at least `shortest` bytes is to be masked, where there is no more of it.
    /// Words are not, nor rows of one character, nor what begins like a sample.
    pub(crate) fn masks_beginning(&self, value: &[u8], shortest: usize) -> bool {
        let good = |validator: &Validator| validator.check_beginning(value, shortest) != Verdict::Refuted;
        let always = [Validator::NotSample, Validator::NotSequence, Validator::Entropy(LEAST_ENTROPY)];
        !super::code::name(value) && self.validators.iter().chain(&always).all(good) && !self.allows(value)
    }

    fn allows(&self, value: &[u8]) -> bool {
        self.values.binary_search_by(|known| known.as_slice().cmp(value)).is_ok()
            || self.patterns.iter().any(|pattern| pattern.is_match(value))
            || (!self.hashes.is_empty() && self.hashes.contains(&Sha256::digest(value).into()))
            || self.digests.as_ref().is_some_and(|digests| digests.contains(value))
    }
}

/// A regular expression that matches a value from end to end.
fn whole_value(pattern: &str) -> Result<Regex, String> {
    Regex::builder()
        .syntax(super::syntax(false))
        .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(1 << 20)))
        .build(&format!(r"\A(?:{pattern})\z"))
        .map_err(|error| {
            format!("`{pattern}` is not a usable regular expression ({error}); write one that matches the whole value")
        })
}

fn digests(rule: &Rule, key: Option<&[u8]>) -> Result<Option<Digests>, RuleError> {
    if rule.allow.hmacs.is_empty() {
        return Ok(None);
    }
    let refuse = |problem: &str| rule.error("allow.hmacs", problem.to_owned());
    let key =
        key.ok_or_else(|| refuse("a fingerprint key is needed to compare with; give the masker one"))?;
    let keyed =
        Hmac::<Sha256>::new_from_slice(key).map_err(|_| refuse("the fingerprint key cannot be used"))?;
    let known = unhex_all(&rule.allow.hmacs)
        .ok_or_else(|| refuse("write each as the 64 hex digits of HMAC-SHA-256"))?;
    Ok(Some(Digests { keyed, known }))
}

fn unhex_all(texts: &[String]) -> Option<Vec<[u8; 32]>> {
    texts.iter().map(|text| unhex(text)).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Allow;

    fn rule(validators: &[&str], allow: Allow) -> Rule {
        Rule {
            id: "test".into(),
            validators: validators.iter().map(|name| (*name).to_owned()).collect(),
            allow,
            ..Rule::default()
        }
    }

    #[test]
    fn nothing_to_check_masks_all() {
        let judge = Judge::new(&rule(&[], Allow::default()), None).expect("valid");
        assert!(judge.masks(b"anything", &mut Verdicts::default()));
    }

    #[test]
    fn values_patterns_and_digests_are_left_alone_and_only_as_a_whole() {
        let mac =
            Hmac::<Sha256>::new_from_slice(b"key").expect("any length").chain_update("third").finalize();
        let hex: String = mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let sha256 = Sha256::digest("fourth").iter().map(|byte| format!("{byte:02x}")).collect();
        let allow = Allow {
            values: vec!["first".into()],
            patterns: vec!["sec.nd".into()],
            hmacs: vec![hex],
            sha256: vec![sha256],
        };
        let judge = Judge::new(&rule(&[], allow), Some(b"key")).expect("valid");
        for known in ["first", "second", "third", "fourth"] {
            assert!(!judge.masks(known.as_bytes(), &mut Verdicts::default()), "{known}");
            assert!(
                judge.masks(format!("{known}x").as_bytes(), &mut Verdicts::default()),
                "{known} and more"
            );
            assert!(
                judge.masks(format!("x{known}").as_bytes(), &mut Verdicts::default()),
                "{known} behind something"
            );
        }
    }

    #[test]
    fn an_allowlisted_value_is_left_alone_even_with_a_right_checksum() {
        let token =
            [b"ghp_".as_slice(), &[b'a'; 30], &super::super::checksum::crc32_digits(&[b'a'; 30])].concat();
        let text = String::from_utf8(token.clone()).expect("ASCII");
        let names = ["github-crc32", "entropy:3.0"];
        assert!(
            Judge::new(&rule(&names, Allow::default()), None)
                .expect("valid")
                .masks(&token, &mut Verdicts::default())
        );
        let allow = Allow { values: vec![text], ..Allow::default() };
        assert!(
            !Judge::new(&rule(&names, allow), None).expect("valid").masks(&token, &mut Verdicts::default())
        );
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        let problem = |allow: Allow, key: Option<&[u8]>| {
            Judge::new(&rule(&[], allow), key).expect_err("refused").to_string()
        };
        let hmacs = |text: &str| Allow { hmacs: vec![text.into()], ..Allow::default() };
        assert!(problem(hmacs(&"0".repeat(64)), None).contains("fingerprint key"));
        assert!(problem(hmacs("zz"), Some(b"k")).contains("64 hex"));
        assert!(
            problem(Allow { patterns: vec!["(".into()], ..Allow::default() }, None)
                .contains("allow.patterns")
        );
        assert!(Judge::new(&rule(&["luck"], Allow::default()), None).is_err());
    }
}
