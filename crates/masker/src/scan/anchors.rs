//! The literals at which rules begin, in one automaton.

use std::collections::HashMap;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::{Anchored, MatchKind, dfa};

use super::candidate::Candidate;
use super::machine::Machine;
use crate::rule::{Boundary, Rule, RuleError};

/// How many bytes before a match decide whether a word begins there.
const BOUNDARY: usize = 24;

/// An automaton over the anchors of all rules.
///
/// It ignores case; anchors that do not are compared with the text when they are hit.
#[derive(Debug)]
pub(crate) struct Anchors {
    dfa: dfa::DFA,
    /// By pattern of the automaton.
    hits: Vec<Vec<Hit>>,
    /// By state, shifted: which anchors could have begun, longest first.
    heads: Vec<Box<[Head]>>,
    shift: u32,
    start: StateID,
    lookbehind: usize,
}

/// An anchor that has been seen, and the rule that starts there.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) rule: u16,
    /// How many bytes back from the anchor's end the match starts: from so many to so many.
    pub(crate) back: (usize, usize),
    /// The anchor as it must be spelled; empty where case does not matter.
    exact: Box<[u8]>,
    /// The candidate as it is behind the anchor, where that is the same wherever the anchor stands.
    pub(crate) ready: Option<Candidate>,
}

/// The beginning of an anchor that must be held back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    spelled: Box<[u8]>,
    ignore_case: bool,
    /// Only where the byte before is not a word byte.
    word: bool,
}

impl Anchors {
    pub(crate) fn new(rules: &[Rule], machines: &[Machine]) -> Result<Self, RuleError> {
        let mut ids: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut hits: Vec<Vec<Hit>> = Vec::new();
        let mut held: HashMap<Vec<u8>, Vec<Head>> = HashMap::new();
        let mut lookbehind = BOUNDARY;
        for (index, rule) in rules.iter().enumerate() {
            let bad =
                |field, problem: &str| RuleError { rule: rule.id.clone(), field, problem: problem.into() };
            if rule.anchors.is_empty() {
                return Err(bad("anchors", "a rule needs at least one literal to start from"));
            }
            let [nearest, farthest] = rule.anchor_offset;
            if farthest > 0 && rule.context.is_none() {
                return Err(bad(
                    "anchor_offset",
                    "without a context the bytes before the anchor are already out; move them into `context`",
                ));
            }
            for anchor in &rule.anchors {
                if anchor.len() < 2 || anchor.len() > 64 || farthest > 64 || nearest > farthest {
                    return Err(bad(
                        "anchors",
                        "an anchor has 2 to 64 bytes, at most 64 bytes into the match",
                    ));
                }
                let lower = anchor.to_ascii_lowercase().into_bytes();
                let id = *ids.entry(lower.clone()).or_insert_with(|| {
                    literals.push(lower.clone());
                    hits.push(Vec::new());
                    literals.len() - 1
                });
                let back = (anchor.len() + nearest, anchor.len() + farthest);
                lookbehind = lookbehind.max(back.1 + BOUNDARY);
                let exact = if rule.ignore_case { Box::default() } else { anchor.as_bytes().into() };
                let rule_index = u16::try_from(index).map_err(|_| {
                    bad("anchors", "there are more than 65,535 rules; split them over maskers")
                })?;
                if let Some(hits) = hits.get_mut(id) {
                    let machine = machines.get(index).filter(|_| back.0 == back.1 && farthest == 0);
                    let ready =
                        machine.and_then(|machine| machine.behind_anchor(rule_index, anchor.as_bytes()));
                    hits.push(Hit { rule: rule_index, back, exact, ready });
                }
                if rule.context.is_none() {
                    hold_heads_of(anchor, rule, &mut held);
                }
            }
        }
        let dfa = dfa::Builder::new()
            .match_kind(MatchKind::Standard)
            .start_kind(aho_corasick::StartKind::Unanchored)
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(&literals)
            .map_err(|error| RuleError {
                rule: "all".into(),
                field: "anchors",
                problem: error.to_string(),
            })?;
        let start = dfa.start_state(Anchored::No).map_err(|error| RuleError {
            rule: "all".into(),
            field: "anchors",
            problem: error.to_string(),
        })?;
        let (heads, shift) = heads_by_state(&dfa, start, &literals, &held);
        Ok(Self { dfa, hits, heads, shift, start, lookbehind })
    }

    pub(crate) fn start(&self) -> StateID {
        self.start
    }

    /// How many bytes of history a hit can look back at.
    pub(crate) fn lookbehind(&self) -> usize {
        self.lookbehind
    }

    #[inline]
    pub(crate) fn step(&self, state: StateID, byte: u8) -> StateID {
        self.dfa.next_state(Anchored::No, state, byte)
    }

    #[inline]
    pub(crate) fn is_hit(&self, state: StateID) -> bool {
        self.dfa.is_special(state) && self.dfa.is_match(state)
    }

    /// The rules that begin at an anchor which ends at the end of `text`.
    pub(crate) fn hits<'a>(&'a self, state: StateID, text: &'a [u8]) -> impl Iterator<Item = &'a Hit> {
        (0..self.dfa.match_len(state))
            .filter_map(move |index| self.hits.get(self.dfa.match_pattern(state, index).as_usize()))
            .flatten()
            .filter(move |hit| hit.is_spelled_in(text))
    }

    /// How many of the last bytes of `text` may be the beginning of an anchor that is held back.
    /// `first` says that the text has no byte before it.
    pub(crate) fn held(&self, state: StateID, text: &[u8], first: bool) -> usize {
        let Some(heads) = self.heads.get(state.as_usize() >> self.shift) else { return 0 };
        heads.iter().find(|head| head.fits(text, first)).map_or(0, |head| head.spelled.len())
    }

    pub(crate) fn memory(&self) -> usize {
        self.dfa.memory_usage()
    }
}

impl Hit {
    fn is_spelled_in(&self, text: &[u8]) -> bool {
        // Most of what differs in case differs in the last letter.
        self.exact.is_empty() || (text.last() == self.exact.last() && text.ends_with(&self.exact))
    }
}

impl Head {
    fn fits(&self, text: &[u8], first: bool) -> bool {
        let Some(at) = text.len().checked_sub(self.spelled.len()) else { return false };
        let Some((before, tail)) = text.split_at_checked(at) else { return false };
        let same =
            if self.ignore_case { tail.eq_ignore_ascii_case(&self.spelled) } else { tail == &*self.spelled };
        same && (!self.word || word_may_begin(before, first))
    }
}

/// Whether a word may begin behind these bytes: behind anything but a letter or digit, and behind an escape
/// spelled in the text, whose last byte is one: `\n`, `%0A`, `%253D`, `\x20`, `\075`, `\u003d`, `=3D`, and the codes
/// that colour a terminal, with or without their escape character.
pub(crate) fn word_may_begin(before: &[u8], first: bool) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [] => first,
        [.., last] if !last.is_ascii_alphanumeric() => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f' | b'v' | b'a' | b'e' | b'0'] => true,
        _ => {
            let tail = |length: usize| before.len().checked_sub(length).and_then(|at| before.get(at..));
            let escaped = match (tail(3), tail(4), tail(5), tail(6)) {
                (Some([b'%' | b'=', digits @ ..]), ..) if hex(digits) => true,
                (_, Some([b'\\', b'x', digits @ ..]), ..) if hex(digits) => true,
                (_, Some([b'\\', digits @ ..]), ..) if digits.iter().all(|b| matches!(b, b'0'..=b'7')) => {
                    true
                }
                (_, _, Some([b'%', b'2', b'5', digits @ ..]), _) if hex(digits) => true,
                (_, _, _, Some([b'\\' | b'%', b'u', digits @ ..])) if hex(digits) => true,
                _ => false,
            };
            escaped || ends_with_colour(before)
        }
    }
}

/// Whether the text ends with a code of a terminal such as `[31m` or `[0K`.
fn ends_with_colour(before: &[u8]) -> bool {
    let [rest @ .., b'm' | b'K' | b'G' | b'H' | b'J'] = before else { return false };
    let parameters = rest.iter().rev().take(BOUNDARY - 2);
    let count = parameters.take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    rest.len().checked_sub(count + 1).and_then(|at| rest.get(at)) == Some(&b'[')
        && (count > 0 || rest.ends_with(b"\x1b[") || rest.ends_with(b"1b[") || rest.ends_with(b"1B["))
}

fn hold_heads_of(anchor: &str, rule: &Rule, held: &mut HashMap<Vec<u8>, Vec<Head>>) {
    let word = rule.left == Boundary::Word;
    for length in 1..anchor.len() {
        let Some(spelled) = anchor.as_bytes().get(..length) else { continue };
        let heads = held.entry(spelled.to_ascii_lowercase()).or_default();
        let head = Head { spelled: spelled.into(), ignore_case: rule.ignore_case, word };
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
}

/// For each state of the automaton, the heads its text ends with, longest first.
fn heads_by_state(
    dfa: &dfa::DFA,
    start: StateID,
    literals: &[Vec<u8>],
    held: &HashMap<Vec<u8>, Vec<Head>>,
) -> (Vec<Box<[Head]>>, u32) {
    let mut heads: HashMap<u32, Vec<Head>> = HashMap::new();
    for literal in literals {
        let mut state = start;
        for (index, byte) in literal.iter().enumerate() {
            state = dfa.next_state(Anchored::No, state, *byte);
            if heads.contains_key(&state.as_u32()) {
                continue;
            }
            let here: Vec<Head> = (0..=index)
                .filter_map(|from| held.get(literal.get(from..=index)?))
                .flatten()
                .cloned()
                .collect();
            if !here.is_empty() {
                heads.insert(state.as_u32(), here);
            }
        }
    }
    // States are numbered in steps of a power of two.
    let shift = heads.keys().fold(0, |all, state| all | state).trailing_zeros().min(31);
    let most = heads.keys().max().map_or(0, |state| (state >> shift) as usize + 1);
    let mut table = vec![Box::default(); most];
    for (state, here) in heads {
        if let Some(slot) = table.get_mut((state >> shift) as usize) {
            *slot = here.into_boxed_slice();
        }
    }
    (table, shift)
}
