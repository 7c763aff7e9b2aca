//! One rule, compiled to automata.

use regex_syntax::hir::Hir;

use super::anchors::word_may_begin;
use super::bytes::Bytes;
use super::candidate::{Candidate, Phase, ends_blackout};
use super::crowd::YOUNG;
use super::dfa::{Dfa, Place, Step, Table};
use super::telling::Telling;
use crate::rule::{Boundary, Judge, Rule, RuleError};

/// The longest undecided match of a rule that does not say.
const DEFAULT_MAX: u64 = 64 << 10;
/// The most bytes a match that is certain swallows where the rule does not say: as far as it goes.
const DEFAULT_CAP: u64 = u64::MAX >> 1;

/// A rule, ready to run.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) context: Option<Dfa>,
    pub(crate) secret: Dfa,
    pub(crate) commit: Option<Dfa>,
    pub(crate) until: Option<Dfa>,
    /// Beyond this many bytes an undecided match is masked as far as it goes.
    pub(crate) max: u64,
    /// A committed match swallows at most so many bytes after the commit point.
    pub(crate) cap: u64,
    /// Length of what stands behind the secret and is not masked.
    pub(crate) after: u64,
    /// How much of a secret is masked where the text ends inside of it; `None` where only the whole is.
    pub(crate) telling: Option<Telling>,
    /// A secret may hold a blank or a quote: it reaches beyond the end of a blackout.
    pub(crate) reaches_far: bool,
    /// The secret begins only where a word does.
    word: bool,
    /// Before which bytes it ends.
    ends: Ends,
    /// The states a secret starts in, where they do not depend on what stands before it.
    entry: Option<(Place, Option<Place>)>,
    /// The bytes a secret can begin with.
    first: Bytes,
    /// The shortest secret.
    pub(crate) shortest: usize,
    pub(crate) judge: Judge,
}

/// What must not stand behind a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Anywhere,
    /// A letter or digit.
    Word,
    /// A letter, a digit or a `_`: the secret itself may end with one.
    Name,
}

impl Ends {
    fn of(table: &Table, word: bool, secret: &Dfa) -> Self {
        if !word {
            Self::Anywhere
        } else if secret.matches_behind(table, b'_') {
            Self::Name
        } else {
            Self::Word
        }
    }
}

impl Machine {
    pub(crate) fn new(table: &mut Table, rule: &Rule, key: Option<&[u8]>) -> Result<Self, RuleError> {
        let bad = |field: &'static str, problem: String| RuleError { rule: rule.id.clone(), field, problem };
        let parsed_pattern = parsed(rule, &rule.pattern).map_err(|problem| bad("pattern", problem))?;
        let ends = Length::of(&parsed_pattern);
        if ends.min == 0 {
            return Err(bad("pattern", "it matches the empty text; let it match at least one byte".into()));
        }
        let after = match &rule.after {
            None => 0,
            Some(after) => {
                let length = Length::of(&parsed(rule, after).map_err(|problem| bad("after", problem))?);
                if length.max != Some(length.min) {
                    return Err(bad("after", "every match must have the same length".into()));
                }
                length.min
            }
        };
        if ends.max.is_none() && rule.max.is_none() && rule.commit.is_none() {
            return Err(bad(
                "max",
                "the pattern has no longest match; set `max`, or a `commit` point".into(),
            ));
        }
        if rule.until.is_some() && rule.commit.is_none() {
            return Err(bad("until", "only a rule with a `commit` point can have it".into()));
        }
        let longest = rule.max.or(ends.max).map_or(DEFAULT_MAX, |max| (max + after) as u64);
        let mut compile = |field: &'static str, pattern: &str, anchored: bool| {
            Dfa::new(table, pattern, rule.ignore_case, anchored).map_err(|problem| bad(field, problem))
        };
        let right = rule.right == Boundary::Word;
        let pattern = match &rule.after {
            Some(after) if right => format!(r"(?:{})\b{{end-half}}(?:{after})", rule.pattern),
            Some(after) => format!("(?:{})(?:{after})", rule.pattern),
            None => rule.pattern.clone(),
        };
        let secret = compile("pattern", &pattern, true)?;
        let mut optional = |field: &'static str, pattern: &Option<String>, anchored: bool| {
            pattern.as_ref().map(|pattern| compile(field, pattern, anchored)).transpose()
        };
        let context = optional("context", &rule.context, true)?;
        let commit = optional("commit", &rule.commit, true)?;
        let until = optional("until", &rule.until, false)?;
        let mut machine = Self {
            context,
            telling: Telling::new(table, rule, &parsed_pattern, &secret),
            ends: Ends::of(table, right && rule.after.is_none(), &secret),
            reaches_far: rule.until.is_some() || secret.goes_on_behind(table, ends_blackout),
            secret,
            commit,
            until,
            max: longest,
            cap: rule.cap.map_or(DEFAULT_CAP, |cap| cap as u64),
            after: after as u64,
            word: rule.left == Boundary::Word,
            entry: None,
            first: Bytes::ALL,
            shortest: ends.min,
            judge: Judge::new(rule, key)?,
        };
        machine.find_entry(table);
        Ok(machine)
    }

    fn find_entry(&mut self, table: &Table) {
        let commit = match &self.commit {
            Some(commit) => commit.behind(table, b"").map(Some),
            None => Some(None),
        };
        self.entry = self.secret.behind(table, b"").zip(commit);
        if let Some((secret, None)) = self.entry {
            let begins = |byte: &u8| self.secret.step(table, &mut { secret }, *byte) != Step::Dead;
            self.first = (0..=255).filter(begins).collect();
        }
    }

    /// Whether a secret can begin with this byte.
    #[inline]
    pub(crate) fn can_begin_with(&self, byte: u8) -> bool {
        self.first.contains(byte)
    }

    /// Whether a match may end before this byte.
    #[inline]
    pub(crate) fn can_end_before(&self, byte: u8) -> bool {
        match self.ends {
            Ends::Anywhere => true,
            Ends::Word => !byte.is_ascii_alphanumeric(),
            Ends::Name => !byte.is_ascii_alphanumeric() && byte != b'_',
        }
    }

    /// Whether the byte behind a match decides about it.
    #[inline]
    pub(crate) fn ends_anywhere(&self) -> bool {
        self.ends == Ends::Anywhere
    }

    /// The states a secret starts in.
    pub(crate) fn start(&self, before: Option<u8>) -> (Place, Option<Place>) {
        let start = || (self.secret.start(before), self.commit.as_ref().map(|commit| commit.start(before)));
        self.entry.unwrap_or_else(start)
    }

    /// The state a secret starts in, where it can go together with others while it is young.
    pub(super) fn entry(&self) -> Option<Place> {
        let (secret, commit) = self.entry?;
        (commit.is_none() && self.max > YOUNG as u64).then_some(secret)
    }

    /// Whether the secret may begin behind these bytes.
    pub(crate) fn may_begin(&self, before: &[u8], first: bool) -> bool {
        !self.word || word_may_begin(before, first)
    }

    /// The candidate as it is behind an anchor at its start. `None` where that depends on what stands before the
    /// anchor, or where something is decided inside of it.
    pub(crate) fn behind_anchor(&self, table: &Table, rule: u16, anchor: &[u8]) -> Option<Candidate> {
        match &self.context {
            Some(context) => {
                Some(Candidate::new(self, rule, Phase::Context, (context.behind(table, anchor)?, None), 0))
            }
            None => {
                let commit = match &self.commit {
                    Some(commit) => Some(commit.behind(table, anchor)?),
                    None => None,
                };
                let states = (self.secret.behind(table, anchor)?, commit);
                Some(Candidate::new(self, rule, Phase::Secret, states, 0))
            }
        }
    }

    pub(crate) fn memory(&self) -> usize {
        [self.context.as_ref(), Some(&self.secret), self.commit.as_ref(), self.until.as_ref()]
            .into_iter()
            .flatten()
            .map(Dfa::memory)
            .sum::<usize>()
            + self.telling.as_ref().map_or(0, Telling::memory)
    }
}

fn parsed(rule: &Rule, pattern: &str) -> Result<Hir, String> {
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(rule.ignore_case)
        .build()
        .parse(pattern)
        .map_err(|error| error.to_string())
}

/// Shortest and longest match of a pattern.
struct Length {
    min: usize,
    max: Option<usize>,
}

impl Length {
    fn of(pattern: &Hir) -> Self {
        let properties = pattern.properties();
        Self { min: properties.minimum_len().unwrap_or_default(), max: properties.maximum_len() }
    }
}
