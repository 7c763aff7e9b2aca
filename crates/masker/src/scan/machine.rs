//! One rule, compiled to dense automata.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

use super::anchors::word_may_begin;
use super::bytes::Bytes;
use super::candidate::{Candidate, Phase, ends_blackout};
use super::telling::Telling;
use crate::rule::{Boundary, Judge, Rule, RuleError};

/// The most memory one automaton may take.
const DFA_LIMIT: usize = 8 << 20;
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
    entry: Option<(StateID, Option<StateID>)>,
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
    fn of(word: bool, secret: &Dfa) -> Self {
        if !word {
            Self::Anywhere
        } else if secret.matches_behind(b'_') {
            Self::Name
        } else {
            Self::Word
        }
    }
}

/// An anchored dense automaton that reports every match end, and the states after which nothing can follow.
#[derive(Debug)]
pub(crate) struct Dfa {
    dfa: dense::DFA<Vec<u32>>,
    /// Indexed by state: a match state from which every byte is a dead end.
    terminal: Vec<bool>,
    /// Indexed by state: whatever comes next, a match ends here and nothing goes on. Empty where there is no such
    /// state.
    sure: Vec<bool>,
    stride2: usize,
}

/// What an automaton says after a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It can go on.
    Alive,
    /// A match ended before this byte; it can go on.
    Match,
    /// A match ended before this byte, and this byte was not a part of anything longer.
    Last,
    /// A match ends with this byte, whatever comes next, and nothing can go on.
    Sure,
    /// Nothing can match any more.
    Dead,
}

impl Dfa {
    pub(super) fn new(pattern: &str, ignore_case: bool, anchored: bool) -> Result<Self, String> {
        let starts = if anchored { StartKind::Anchored } else { StartKind::Unanchored };
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(starts)
            .accelerate(false)
            .dfa_size_limit(Some(DFA_LIMIT))
            .determinize_size_limit(Some(4 * DFA_LIMIT));
        let dfa = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case))
            .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
            .build(pattern)
            .map_err(|error| {
                if error.is_size_limit_exceeded() {
                    "the automaton is too large; replace large bounded repeats such as {64,8192} by {64,} and set `max`".to_owned()
                } else {
                    source_message(&error)
                }
            })?;
        let stride2 = dfa.stride2();
        let mut this = Self { dfa, terminal: Vec::new(), sure: Vec::new(), stride2 };
        let states = this.find_terminal_states();
        this.find_sure_states(&states);
        Ok(this)
    }

    /// Marks the states that a match is bound to follow. Matches are reported one byte late; this makes up for it.
    fn find_sure_states(&mut self, states: &[StateID]) {
        let mut sure = vec![false; self.terminal.len()];
        for state in states {
            let ends = self.matches_at_end(*state)
                && !self.dfa.is_match_state(*state)
                && (0..=255).all(|byte| self.is_terminal(self.dfa.next_state(*state, byte)));
            if let Some(slot) = sure.get_mut(state.as_usize() >> self.stride2) {
                *slot = ends;
            }
        }
        if sure.contains(&true) {
            self.sure = sure;
        }
    }

    fn is_terminal(&self, state: StateID) -> bool {
        self.terminal.get(state.as_usize() >> self.stride2).copied().unwrap_or_default()
    }

    /// Walks all reachable states and marks the match states that lead nowhere.
    fn find_terminal_states(&mut self) -> Vec<StateID> {
        let mut states = Vec::new();
        let mut seen = vec![false; 1];
        let mut todo = Vec::new();
        for byte in std::iter::once(None).chain((0..=255).map(Some)) {
            if let Ok(start) = self.start_in(Anchored::Yes, byte) {
                todo.push(start);
            }
            if let Ok(start) = self.start_in(Anchored::No, byte) {
                todo.push(start);
            }
        }
        while let Some(state) = todo.pop() {
            let index = state.as_usize() >> self.stride2;
            if index >= seen.len() {
                seen.resize(index + 1, false);
                self.terminal.resize(index + 1, false);
            }
            match seen.get_mut(index) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            states.push(state);
            let mut terminal = self.dfa.is_match_state(state);
            for byte in 0..=255u8 {
                let next = self.dfa.next_state(state, byte);
                if !self.dfa.is_dead_state(next) {
                    terminal = false;
                    todo.push(next);
                }
            }
            let eoi = self.dfa.next_eoi_state(state);
            terminal &= self.dfa.is_dead_state(eoi);
            if let Some(slot) = self.terminal.get_mut(index) {
                *slot = terminal;
            }
        }
        states
    }

    fn start_in(&self, anchored: Anchored, before: Option<u8>) -> Result<StateID, ()> {
        self.dfa.start_state(&start::Config::new().anchored(anchored).look_behind(before)).map_err(|_| ())
    }

    /// The state before the first byte; `None` where this automaton cannot start.
    pub(crate) fn start(&self, before: Option<u8>) -> Option<StateID> {
        self.start_in(Anchored::Yes, before).or_else(|()| self.start_in(Anchored::No, before)).ok()
    }

    /// The state behind some bytes, where it is the same whatever stands before them, and nothing was decided.
    fn behind(&self, bytes: &[u8]) -> Option<StateID> {
        let mut start = None;
        for before in std::iter::once(None).chain((0..=255).map(Some)) {
            let here = self.start(before)?;
            if *start.get_or_insert(here) != here {
                return None;
            }
        }
        let mut state = start?;
        let undecided = bytes.iter().all(|byte| self.step(&mut state, *byte) == Step::Alive);
        undecided.then_some(state)
    }

    #[inline]
    pub(crate) fn step(&self, state: &mut StateID, byte: u8) -> Step {
        *state = self.dfa.next_state(*state, byte);
        if self.dfa.is_special_state(*state) {
            self.special(*state)
        } else if !self.sure.is_empty() && self.sure.get(state.as_usize() >> self.stride2) == Some(&true) {
            Step::Sure
        } else {
            Step::Alive
        }
    }

    fn special(&self, state: StateID) -> Step {
        if self.dfa.is_match_state(state) {
            if self.is_terminal(state) { Step::Last } else { Step::Match }
        } else if self.dfa.is_dead_state(state) || self.dfa.is_quit_state(state) {
            Step::Dead
        } else {
            Step::Alive
        }
    }

    /// Whether a match ends at the end of the text.
    pub(crate) fn matches_at_end(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }

    /// Whether a match can hold one of some bytes.
    fn goes_on_behind(&self, byte: impl Fn(u8) -> bool) -> bool {
        let bytes = || (0..=255).filter(|b| byte(*b));
        let numbers = 0..self.terminal.len();
        numbers.map(|number| StateID::must(number << self.stride2)).any(|state| {
            bytes().any(|byte| {
                let next = self.dfa.next_state(state, byte);
                !self.dfa.is_dead_state(next) && !self.dfa.is_quit_state(next) && !self.is_terminal(next)
            })
        })
    }

    /// Whether a match can end with this byte.
    fn matches_behind(&self, byte: u8) -> bool {
        let mut states = (0..self.terminal.len()).map(|number| StateID::must(number << self.stride2));
        states.any(|state| self.matches_at_end(self.dfa.next_state(state, byte)))
    }

    /// The number of a state, from zero on.
    pub(crate) fn number(&self, state: StateID) -> usize {
        state.as_usize() >> self.stride2
    }

    /// By number of a state: how many bytes a match needs at least from there.
    pub(crate) fn missing(&self) -> Vec<u16> {
        let mut missing = vec![u16::MAX; self.terminal.len()];
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.terminal.len()];
        let mut level = Vec::new();
        for number in 0..self.terminal.len() {
            let state = StateID::must(number << self.stride2);
            for class in self.dfa.byte_classes().representatives(0..=255) {
                let next = class.as_u8().map(|byte| self.dfa.next_state(state, byte));
                if let Some(list) = next.and_then(|next| before.get_mut(self.number(next))) {
                    list.push(number);
                }
            }
            if self.matches_at_end(state) {
                level.push(number);
            }
        }
        for distance in 0.. {
            let mut next = Vec::new();
            for number in std::mem::take(&mut level) {
                if let Some(slot) = missing.get_mut(number).filter(|slot| **slot == u16::MAX) {
                    *slot = distance;
                    next.extend_from_slice(before.get(number).map(Vec::as_slice).unwrap_or_default());
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        missing
    }

    fn memory(&self) -> usize {
        self.dfa.memory_usage() + self.terminal.len() + self.sure.len()
    }
}

impl Machine {
    pub(crate) fn new(rule: &Rule, key: Option<&[u8]>) -> Result<Self, RuleError> {
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
        let compile = |field: &'static str, pattern: &str, anchored: bool| {
            Dfa::new(pattern, rule.ignore_case, anchored).map_err(|problem| bad(field, problem))
        };
        let right = rule.right == Boundary::Word;
        let pattern = match &rule.after {
            Some(after) if right => format!(r"(?:{})\b{{end-half}}(?:{after})", rule.pattern),
            Some(after) => format!("(?:{})(?:{after})", rule.pattern),
            None => rule.pattern.clone(),
        };
        let secret = compile("pattern", &pattern, true)?;
        let mut machine = Self {
            context: match &rule.context {
                Some(context) => Some(compile("context", context, true)?),
                None => None,
            },
            telling: Telling::new(rule, &parsed_pattern, &secret),
            ends: Ends::of(right && rule.after.is_none(), &secret),
            reaches_far: rule.until.is_some() || secret.goes_on_behind(ends_blackout),
            secret,
            commit: match &rule.commit {
                Some(commit) => Some(compile("commit", commit, true)?),
                None => None,
            },
            until: match &rule.until {
                Some(until) => Some(compile("until", until, false)?),
                None => None,
            },
            max: longest,
            cap: rule.cap.map_or(DEFAULT_CAP, |cap| cap as u64),
            after: after as u64,
            word: rule.left == Boundary::Word,
            entry: None,
            first: Bytes::ALL,
            shortest: ends.min,
            judge: Judge::new(rule, key)?,
        };
        machine.find_entry();
        Ok(machine)
    }

    fn find_entry(&mut self) {
        let commit = match &self.commit {
            Some(commit) => commit.behind(b"").map(Some),
            None => Some(None),
        };
        self.entry = self.secret.behind(b"").zip(commit);
        if let Some((secret, None)) = self.entry {
            let begins = |byte: &u8| self.secret.step(&mut { secret }, *byte) != Step::Dead;
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
    pub(crate) fn start(&self, before: Option<u8>) -> Option<(StateID, Option<StateID>)> {
        if self.entry.is_some() {
            return self.entry;
        }
        let commit = self.commit.as_ref().and_then(|commit| commit.start(before));
        Some((self.secret.start(before)?, commit))
    }

    /// Whether the secret may begin behind these bytes.
    pub(crate) fn may_begin(&self, before: &[u8], first: bool) -> bool {
        !self.word || word_may_begin(before, first)
    }

    /// The candidate as it is behind an anchor at its start. `None` where that depends on what stands before the
    /// anchor, or where something is decided inside of it.
    pub(crate) fn behind_anchor(&self, rule: u16, anchor: &[u8]) -> Option<Candidate> {
        match &self.context {
            Some(context) => Some(Candidate::new(rule, Phase::Context, context.behind(anchor)?, None, 0)),
            None => {
                let commit = match &self.commit {
                    Some(commit) => Some(commit.behind(anchor)?),
                    None => None,
                };
                Some(Candidate::new(rule, Phase::Secret, self.secret.behind(anchor)?, commit, 0))
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

/// The innermost message of an error: the one that names the place in the pattern.
fn source_message(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
