//! What can be wrong with a policy, and what to do about it.

/// Why a policy did not come into force. Each text says where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule in TOML is wrong.
    #[error("policy rule `{}`, key `{key}`: {problem}; {remedy}", .rule.escape_debug())]
    Rule {
        /// Name of the rule, or its place (`#3`) where it has none that can be used.
        rule: String,
        /// The key of the rule.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// A Cedar file is wrong.
    #[error("Cedar file `{}`, {place}: {problem}; {remedy}", .file.escape_debug())]
    Cedar {
        /// The file as it was named to [`Config`](crate::Config).
        file: String,
        /// Where in the file: a line or a policy.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// The policy as a whole is too large.
    #[error("the policy has {found} {what}, more than {limit}; merge rules that differ only in a list")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A table of expectations cannot be read.
    #[error("policy test table: {0}")]
    Table(String),
}

impl Error {
    pub(crate) fn rule(
        rule: &str,
        key: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Rule { rule: rule.to_owned(), key, problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn cedar(
        file: &str,
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Cedar {
            file: file.to_owned(),
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}
