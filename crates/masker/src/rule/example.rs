//! Examples of a rule: texts with a secret marked in them, and texts without one.

use std::ops::Range;

use super::sample::Sampler;
use super::{Rule, RuleError};

/// A text in which a rule finds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The whole text.
    pub text: Vec<u8>,
    /// Where the secrets stand in it.
    pub secrets: Vec<Range<usize>>,
}

impl Rule {
    /// The positive examples, made concrete.
    ///
    /// In an example, `«` and `»` enclose the secret (without them it is the whole text), and `‹base62 36›` stands
    /// for random text: `hex`, `HEX`, `base62`, `b36`, `B36`, `b64`, `url`, `base32`, `b32low`, `bech32`, `b32chk` (the same in small letters), `b58`, `digit`, `upper`,
    /// `lower`, each with a length, or `uuid`, `jwt`, `basic`, and `crc32`: the checksum of the 30 characters
    /// before it (`crc32 43`: of 43). The same seed gives the same text.
    ///
    /// # Errors
    /// An example that is not written so.
    pub fn positives(&self, seed: u64) -> Result<Vec<Example>, RuleError> {
        self.expand_all(&self.positive, "positive", seed)
    }

    /// The negative examples, made concrete as [`positives`](Self::positives) are, and each with a line break behind it:
    /// a text that ends inside of a secret is masked as if the rest of it were there.
    ///
    /// # Errors
    /// An example that is not written so.
    pub fn negatives(&self, seed: u64) -> Result<Vec<Vec<u8>>, RuleError> {
        Ok(self
            .expand_all(&self.negative, "negative", seed)?
            .into_iter()
            .map(|example| [example.text.as_slice(), b"\n"].concat())
            .collect())
    }

    fn expand_all(
        &self,
        templates: &[String],
        field: &'static str,
        seed: u64,
    ) -> Result<Vec<Example>, RuleError> {
        let mut sampler = Sampler::new(&self.id, seed);
        let mut examples = Vec::with_capacity(templates.len());
        for template in templates {
            examples.push(expand(template, &mut sampler).map_err(|problem| self.error(field, problem))?);
        }
        Ok(examples)
    }
}

fn expand(template: &str, sampler: &mut Sampler) -> Result<Example, String> {
    let mut text = Vec::with_capacity(template.len() * 2);
    let mut secrets = Vec::new();
    let mut open = None;
    let mut rest = template;
    while let Some(at) = rest.find(['«', '»', '‹']) {
        let (before, marked) = rest.split_at(at);
        text.extend_from_slice(before.as_bytes());
        let mut after = marked.chars();
        match after.next() {
            Some('«') if open.is_none() => open = Some(text.len()),
            Some('»') if open.is_some() => secrets.extend(open.take().map(|start| start..text.len())),
            Some('‹') => {
                let Some((piece, behind)) = after.as_str().split_once('›') else {
                    return Err(format!("`{template}`: a `‹` is not closed by `›`"));
                };
                sampler.piece(piece, &mut text).ok_or_else(|| {
                    format!("`{template}`: there is no random text `‹{piece}›`; write a kind and a length, as in ‹hex 32›")
                })?;
                after = behind.chars();
            }
            _ => return Err(format!("`{template}`: the marks « and » do not pair")),
        }
        rest = after.as_str();
    }
    text.extend_from_slice(rest.as_bytes());
    if open.is_some() {
        return Err(format!("`{template}`: the marks « and » do not pair"));
    }
    if secrets.is_empty() {
        secrets.push(0..text.len());
    }
    Ok(Example { text, secrets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(template: &str) -> Result<Example, String> {
        expand(template, &mut Sampler::new("rule", 7))
    }

    #[test]
    fn marks_and_random_text() {
        let example = one("key=«ab‹hex 8›»;").expect("valid");
        assert_eq!(example.text.len(), 4 + 10 + 1);
        assert_eq!(example.secrets.first(), Some(&(4..14)));
        assert!(example.text[6..14].iter().all(u8::is_ascii_hexdigit));
        assert_eq!(example, one("key=«ab‹hex 8›»;").expect("valid"), "the same seed gives the same text");
        assert_eq!(one("whole").expect("valid").secrets.first(), Some(&(0..5)));
        assert_eq!(one("«a» and «b»").expect("valid").secrets, [0..1, 6..7]);
    }

    #[test]
    fn checksums_follow_their_text() {
        let example = one("ghp_‹base62 30›‹crc32›").expect("valid");
        assert!(super::super::checksum::crc32_base62(&example.text, 30));
    }

    #[test]
    fn mistakes_are_explained() {
        for wrong in
            ["«a", "a»", "««a»»", "‹hex 3", "‹hex›", "‹luck 3›", "‹crc32›", "‹crc32 43›", "‹hex 99999›"]
        {
            let problem = one(wrong).expect_err(wrong);
            assert!(problem.contains(wrong), "{problem}");
        }
    }
}
