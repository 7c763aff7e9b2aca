//! Rules as data: what a secret looks like, and what only looks like one.

mod check;
mod checksum;
mod code;
mod example;
mod judge;
mod prove;
mod sample;
mod sequence;
mod shape;
mod stand_in;
mod tuning;
mod validator;
mod verdicts;

use serde::Deserialize;

pub use check::check;
pub use example::Example;
pub(crate) use judge::Judge;
pub use prove::prove;
pub use tuning::{Change, Tuning};
pub(crate) use verdicts::{LookedAt, Verdicts};

/// One kind of secret.
///
/// A rule is plain data. The scanner starts looking where one of `anchors` appears, runs `context` (if
/// any) from there, and where the context ends runs `pattern`, which matches the secret itself. Patterns are
/// regular expressions over bytes; Unicode classes are off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name of the rule, in kebab-case; it is what the placeholder says.
    pub id: String,
    /// The group of rules it belongs to; where a rule names none, its file's `family`.
    #[serde(default)]
    pub family: String,
    /// One sentence for people.
    pub description: String,
    /// Which tier turns the rule on.
    #[serde(default)]
    pub tier: Tier,
    /// Literals that start a match: each match of `context` (or of `pattern`, where there is no context)
    /// begins with one of them, or holds one `anchor_offset` bytes in.
    pub anchors: Vec<String>,
    /// How many bytes of the context stand before the anchor, at least and at most. Zero without a context.
    #[serde(default)]
    pub anchor_offset: [usize; 2],
    /// Words that say, directly before an anchor or with one `_`, `-`, `.` or blank between, that what follows is no
    /// secret: `public` before `key`. In any case, of at most 20 bytes; only with a context.
    #[serde(default)]
    pub unless_behind: Vec<String>,
    /// Anchors, context and pattern ignore ASCII case.
    #[serde(default)]
    pub ignore_case: bool,
    /// What must stand directly before the secret. It is neither masked nor held back.
    #[serde(default)]
    pub context: Option<String>,
    /// The secret itself. The longest match counts.
    pub pattern: String,
    /// What must stand directly after the secret and is not masked; every match has the same length.
    #[serde(default)]
    pub after: Option<String>,
    /// The longest match, in bytes. A match that grows beyond it is masked as far as it goes.
    #[serde(default)]
    pub max: Option<usize>,
    /// A beginning of the secret after which there is no doubt: the placeholder goes out, and what
    /// follows is swallowed while `pattern` can go on, or up to and with `until`.
    #[serde(default)]
    pub commit: Option<String>,
    /// Where a committed match ends.
    #[serde(default)]
    pub until: Option<String>,
    /// The most bytes a committed match swallows; without a bound where it says nothing.
    #[serde(default)]
    pub cap: Option<usize>,
    /// What the byte before the match must be; it is the last of the context where there is one.
    #[serde(default)]
    pub left: Boundary,
    /// What the byte after the match must be.
    #[serde(default)]
    pub right: Boundary,
    /// Checks on the matched text, by name.
    #[serde(default)]
    pub validators: Vec<String>,
    /// Values that are never masked by this rule.
    #[serde(default)]
    pub allow: Allow,
    /// Texts in which the rule finds something.
    #[serde(default)]
    pub positive: Vec<String>,
    /// Texts in which it finds nothing.
    #[serde(default)]
    pub negative: Vec<String>,
}

/// How sure a rule is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// High confidence, on by default.
    #[default]
    Default,
    /// Assignments such as `password = ...`: lower confidence, off by default.
    Assignments,
}

/// What stands beside a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// Anything.
    #[default]
    None,
    /// Not a letter or digit; behind a match no underscore either where the pattern can end with one.
    Word,
}

/// Values a rule leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Exact values.
    pub values: Vec<String>,
    /// Regular expressions that match the whole value.
    pub patterns: Vec<String>,
    /// SHA-256 of values that are public, in hex: samples that an issuer publishes, without their text.
    pub sha256: Vec<String>,
    /// HMAC-SHA-256 of values under the deployment's fingerprint key, in hex.
    pub hmacs: Vec<String>,
}

/// Why a rule, or a file of rules, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("rule `{rule}`, {field}: {problem}")]
pub struct RuleError {
    /// The id of the rule, or the name of the file.
    pub rule: String,
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong and what to do about it.
    pub problem: String,
}

impl Rule {
    fn error(&self, field: &'static str, problem: impl Into<String>) -> RuleError {
        RuleError { rule: self.id.clone(), field, problem: problem.into() }
    }
}

/// The syntax of patterns: over bytes, ASCII classes.
fn syntax(ignore_case: bool) -> regex_automata::util::syntax::Config {
    regex_automata::util::syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case)
}

/// The files of the rules that come with the crate.
const FILES: &[(&str, &str)] = &[
    ("cloud.toml", include_str!("../../rules/cloud.toml")),
    ("code.toml", include_str!("../../rules/code.toml")),
    ("ai.toml", include_str!("../../rules/ai.toml")),
    ("saas.toml", include_str!("../../rules/saas.toml")),
    ("stores.toml", include_str!("../../rules/stores.toml")),
    ("structures.toml", include_str!("../../rules/structures.toml")),
    ("named.toml", include_str!("../../rules/named.toml")),
    ("assignments.toml", include_str!("../../rules/assignments.toml")),
];

/// The rules that come with the crate, of every tier.
///
/// # Panics
/// Never: a test parses them.
pub fn builtin() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, text) in FILES {
        rules.extend(parse_file(name, text).expect("the embedded rules parse: a test reads them"));
    }
    let public: Published = toml::from_str(PUBLISHED).expect("the embedded samples parse: a test reads them");
    for rule in &mut rules {
        rule.allow.sha256.extend(public.sample.iter().flat_map(|sample| sample.sha256.iter().cloned()));
    }
    rules
}

/// Values that everybody can read: samples of an issuer's documentation, keys that are meant for the public.
const PUBLISHED: &str = include_str!("../../rules/published.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    sample: Vec<PublishedValues>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedValues {
    /// Where they are published.
    #[expect(dead_code, reason = "said for those who read the file")]
    whence: String,
    sha256: Vec<String>,
}

/// Reads rules from TOML: a file is a list of `[[rule]]` tables, and may name the `family` of those that do not.
/// The rules are read, not checked: a file of a user's is read with [`Tuning::parse`], which checks them and runs
/// their examples.
///
/// # Errors
/// Says which field cannot be read.
pub fn parse(toml: &str) -> Result<Vec<Rule>, RuleError> {
    let tuning = Tuning::read(toml)?;
    if tuning.change.is_empty() && tuning.allow == Allow::default() {
        return Ok(tuning.rule);
    }
    let problem = "a list of rules alone is wanted here; leave out `[allow]` and `[[change]]`".to_owned();
    Err(RuleError { rule: "the file of rules".to_owned(), field: "change", problem })
}

fn parse_file(name: &str, toml: &str) -> Result<Vec<Rule>, RuleError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        family: String,
        rule: Vec<Rule>,
    }
    let mut file: File = toml::from_str(toml).map_err(|error| RuleError {
        rule: name.to_owned(),
        field: "toml",
        problem: error.to_string(),
    })?;
    for rule in &mut file.rule {
        rule.family.clone_from(&file.family);
    }
    Ok(file.rule)
}
