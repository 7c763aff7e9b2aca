//! The literals at which rules begin, in one automaton.

use std::collections::HashMap;
use std::sync::Arc;

use super::automaton::{Automaton, State};
use super::bytes::Bytes;
use super::candidate::{Candidate, Phase};
use super::dfa::{Step, Table};
use super::joint::{Joint, Member};
use super::machine::Machine;
use super::together::JOINT;
use crate::rule::{Boundary, Rule, RuleError};

/// No anchor is longer.
pub(crate) const LONGEST: usize = 64;
/// How many names go together at most: more would take long to join.
const MOST_TOGETHER: usize = 64;
/// How many bytes before a match decide whether a word begins there.
const BOUNDARY: usize = 24;

/// An automaton over the anchors of all rules.
///
/// It ignores case; anchors that do not are compared with the text when they are hit.
#[derive(Debug)]
pub(crate) struct Anchors {
    automaton: Automaton,
    /// In small letters.
    #[cfg(feature = "vectorscan")]
    literals: Vec<Vec<u8>>,
    /// By anchor of the automaton, each by itself.
    #[cfg(feature = "vectorscan")]
    by_anchor: Vec<Box<[Hit]>>,
    /// By number of a state in which anchors end.
    hits: Vec<Box<[Hit]>>,
    /// By number of a state: which anchors could have begun, longest first.
    heads: Vec<Box<[Head]>>,
    lookbehind: usize,
    /// The length of the longest anchor.
    longest: usize,
}

/// An anchor that has been seen, and the rule that starts there.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) rule: u16,
    /// How many bytes back from the anchor's end the match starts: from so many to so many.
    pub(crate) back: (usize, usize),
    /// Directly behind another secret its own begins here.
    pub(crate) beside: bool,
    /// The anchor as it must be spelled; empty where case does not matter.
    exact: Box<[u8]>,
    /// Words before the anchor that say that no secret follows, in small letters.
    unless: Arc<[Box<[u8]>]>,
    length: usize,
    /// The candidate as it is behind the anchor, where that is the same wherever the anchor stands.
    pub(crate) ready: Option<Candidate>,
    /// With which bytes behind the anchor a ready candidate stays alive or decides something.
    goes_on: Bytes,
}

/// The beginning of an anchor that must be held back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    spelled: Box<[u8]>,
    ignore_case: bool,
    /// Only where the byte before is not a word byte.
    word: bool,
    /// It may stand directly behind another secret.
    beside: bool,
}

impl Anchors {
    pub(crate) fn new(rules: &[Rule], machines: &[Machine], dfas: &Table) -> Result<Self, RuleError> {
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
            let unless: Arc<[Box<[u8]>]> =
                rule.unless_behind.iter().map(|word| word.to_ascii_lowercase().into_bytes().into()).collect();
            for anchor in &rule.anchors {
                if anchor.len() < 2 || anchor.len() > LONGEST || farthest > 64 || nearest > farthest {
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
                let rule_index =
                    u16::try_from(index).ok().filter(|index| *index < JOINT).ok_or_else(|| {
                        bad("anchors", "there are more than 65,534 rules; split them over maskers")
                    })?;
                if let Some(hits) = hits.get_mut(id) {
                    let machine = machines.get(index).filter(|_| back.0 == back.1 && farthest == 0);
                    let ready = machine
                        .and_then(|machine| machine.behind_anchor(dfas, rule_index, anchor.as_bytes()));
                    let goes_on = machine
                        .zip(ready)
                        .map_or(Bytes::ALL, |(machine, ready)| goes_on(dfas, machine, ready));
                    hits.push(Hit {
                        rule: rule_index,
                        back,
                        beside: may_stand_beside(anchor, rule),
                        exact,
                        unless: Arc::clone(&unless),
                        length: anchor.len(),
                        ready,
                        goes_on,
                    });
                }
                if rule.context.is_none() {
                    hold_heads_of(anchor, rule, &mut held);
                }
            }
        }
        let automaton = Automaton::new(&literals).map_err(|error| RuleError {
            rule: "all".into(),
            field: "anchors",
            problem: error.to_string(),
        })?;
        let heads = heads_by_state(&automaton, &literals, &held);
        #[cfg(feature = "vectorscan")]
        let by_anchor = hits.iter().map(|hits| hits.as_slice().into()).collect();
        let of = |anchor: &u32| hits.get(*anchor as usize).into_iter().flatten().cloned();
        let hits = automaton.ended().map(|anchors| anchors.iter().flat_map(of).collect()).collect();
        let longest = literals.iter().map(Vec::len).max().unwrap_or_default();
        Ok(Self {
            automaton,
            #[cfg(feature = "vectorscan")]
            literals,
            #[cfg(feature = "vectorscan")]
            by_anchor,
            hits,
            heads,
            lookbehind,
            longest,
        })
    }

    pub(crate) fn start(&self) -> State {
        self.automaton.start()
    }

    /// How many bytes of history a hit can look back at.
    pub(crate) fn lookbehind(&self) -> usize {
        self.lookbehind
    }

    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The state behind some bytes. What stands before them does not matter if they are as many as the longest anchor
    /// has, or the first of a text.
    pub(crate) fn behind(&self, text: &[u8]) -> State {
        let last = text.get(text.len().saturating_sub(self.longest)..).unwrap_or_default();
        last.iter().fold(self.start(), |state, byte| self.step(state, *byte))
    }

    #[inline(always)]
    pub(crate) fn step(&self, state: State, byte: u8) -> State {
        self.automaton.step(state, byte)
    }

    #[inline(always)]
    pub(crate) fn is_hit(&self, state: State) -> bool {
        self.automaton.is_hit(state)
    }

    /// The rules that begin at an anchor which ends at the end of `text`.
    pub(crate) fn hits<'a>(&'a self, state: State, text: &'a [u8]) -> impl Iterator<Item = &'a Hit> {
        let hits = if self.is_hit(state) { self.hits.get(self.automaton.number(state)) } else { None };
        let is_there = move |hit: &&Hit| hit.is_spelled_in(text) && !hit.is_ruled_out_in(text);
        hits.into_iter().flatten().filter(is_there)
    }

    /// How many of the last bytes of `text` may be the beginning of an anchor that is held back.
    /// `first` says that the text has no byte before it.
    pub(crate) fn held(&self, state: State, text: &[u8], first: bool) -> usize {
        let Some(heads) = self.heads.get(self.automaton.number(state)) else { return 0 };
        heads.iter().find(|head| head.fits(text, first)).map_or(0, |head| head.spelled.len())
    }

    /// How many of the last bytes of `text` may be the beginning of an anchor with which a secret begins, directly behind
    /// another: the most of those numbers that are `open`.
    pub(crate) fn begun_beside(
        &self,
        state: State,
        text: &[u8],
        open: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let heads = self.heads.get(self.automaton.number(state))?;
        let fits = |head: &&Head| head.beside && open(head.spelled.len()) && head.ends(text);
        heads.iter().find(fits).map(|head| head.spelled.len())
    }

    /// Whether an anchor with which a secret begins may begin with the last `length` bytes of `text`, and is longer.
    pub(crate) fn begin_with(&self, state: State, text: &[u8], length: usize) -> bool {
        let heads = self.heads.get(self.automaton.number(state)).map_or(&[][..], |heads| heads);
        heads.iter().any(|head| head.beside && head.spelled.len() == length && head.ends(text))
    }

    /// Every anchor with each rule that begins there.
    #[cfg(feature = "vectorscan")]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], &Hit)> {
        let with = |(literal, hits)| std::iter::repeat(literal).zip(hits);
        self.literals.iter().map(Vec::as_slice).zip(&self.by_anchor).flat_map(with)
    }

    /// By number of a state in which anchors end: the names that are there wherever another of their group is.
    pub(super) fn groups(&self) -> Vec<Vec<Group>> {
        self.hits.iter().map(|hits| groups(hits)).collect()
    }

    /// Lets groups begin as one, where they have a state of the joint automaton.
    pub(super) fn join(&mut self, names: &Joint, groups: &[Vec<Group>]) {
        for (hits, groups) in self.hits.iter_mut().zip(groups) {
            let joined = || groups.iter().filter(|group| group.state.is_some());
            let is_alone = |index: usize| !joined().any(|group| group.hits.contains(&index));
            let alone = hits.iter().enumerate().filter(|(index, _)| is_alone(*index));
            let joint = joined().filter_map(|group| group.as_one(hits, names));
            *hits = joint.chain(alone.map(|(_, hit)| hit.clone())).collect();
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.automaton.memory() + self.hits.iter().map(|hits| size_of_val(&**hits)).sum::<usize>()
    }
}

/// Names that are there wherever another of them is.
pub(super) struct Group {
    /// Which of the hits in a state they are.
    hits: Vec<usize>,
    pub(super) members: Vec<Member>,
    /// The state of the joint automaton in which they begin.
    pub(super) state: Option<usize>,
}

impl Group {
    fn as_one(&self, hits: &[Hit], names: &Joint) -> Option<Hit> {
        let ready = Some(Candidate::name(names.classes(), names.place(self.state?)));
        let members = || self.hits.iter().filter_map(|index| hits.get(*index));
        let goes_on = (0..=255).filter(|byte| members().any(|hit| !hit.dies_with(*byte))).collect();
        let shortest = members().min_by_key(|hit| hit.length)?.clone();
        Some(Hit { rule: JOINT, ready, goes_on, ..shortest })
    }
}

fn groups(hits: &[Hit]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, hit) in hits.iter().enumerate() {
        let Some(ready) = hit.ready.filter(|ready| ready.phase == Phase::Context) else { continue };
        let member = Member { rule: hit.rule, place: ready.state };
        let is_like = |group: &&mut Group| {
            let first = group.hits.first().and_then(|index| hits.get(*index));
            group.hits.len() < MOST_TOGETHER && first.is_some_and(|first| first.is_there_like(hit))
        };
        match groups.iter_mut().find(is_like) {
            Some(group) => {
                group.hits.push(index);
                group.members.push(member);
            }
            None => groups.push(Group { hits: vec![index], members: vec![member], state: None }),
        }
    }
    groups.retain(|group| group.hits.len() > 1);
    groups
}

impl Hit {
    /// Whether a ready candidate dies with this byte behind the anchor, and decides nothing.
    #[inline]
    pub(crate) fn dies_with(&self, byte: u8) -> bool {
        !self.goes_on.contains(byte)
    }

    /// The anchor as it must be spelled; `None` where case does not matter.
    #[cfg(feature = "vectorscan")]
    pub(crate) fn exact(&self) -> Option<&[u8]> {
        Some(&*self.exact).filter(|exact| !exact.is_empty())
    }

    /// Whether one is there wherever the other is.
    fn is_there_like(&self, other: &Self) -> bool {
        let same_length = self.unless.is_empty() || self.length == other.length;
        same_length && self.exact == other.exact && self.unless == other.unless
    }

    fn is_spelled_in(&self, text: &[u8]) -> bool {
        // Most of what differs in case differs in the last letter.
        self.exact.is_empty() || (text.last() == self.exact.last() && text.ends_with(&self.exact))
    }

    /// Whether a word stands before the anchor, with a sign between or none, that says that no secret follows.
    fn is_ruled_out_in(&self, text: &[u8]) -> bool {
        if self.unless.is_empty() {
            return false;
        }
        let before = text.len().checked_sub(self.length).and_then(|at| text.get(..at)).unwrap_or_default();
        let before = match before {
            [before @ .., b'_' | b'-' | b'.' | b' '] => before,
            _ => before,
        };
        let last = before.last().map(u8::to_ascii_lowercase);
        self.unless.iter().any(|word| {
            // Seldom more than a letter tells.
            let tail = || before.len().checked_sub(word.len()).and_then(|at| before.get(at..));
            word.last().copied() == last && tail().is_some_and(|tail| tail.eq_ignore_ascii_case(word))
        })
    }
}

impl Head {
    /// Whether it must be held back where `text` ends with it.
    fn fits(&self, text: &[u8], first: bool) -> bool {
        let before = text.get(..text.len().saturating_sub(self.spelled.len())).unwrap_or_default();
        self.ends(text) && (!self.word || word_may_begin(before, first))
    }

    /// Whether `text` ends with it.
    fn ends(&self, text: &[u8]) -> bool {
        let at = text.len().checked_sub(self.spelled.len());
        at.and_then(|at| text.get(at..)).is_some_and(|tail| {
            if self.ignore_case { tail.eq_ignore_ascii_case(&self.spelled) } else { tail == &*self.spelled }
        })
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

/// Whether a secret that begins with this anchor can be told from a letter behind another: an anchor of one letter over
/// and over is a part of a longer row of it. One of the greatest length is more than is remembered.
fn may_stand_beside(anchor: &str, rule: &Rule) -> bool {
    let bytes = anchor.as_bytes();
    rule.context.is_none() && bytes.len() < LONGEST && bytes.iter().any(|byte| Some(byte) != bytes.first())
}

fn hold_heads_of(anchor: &str, rule: &Rule, held: &mut HashMap<Vec<u8>, Vec<Head>>) {
    let word = rule.left == Boundary::Word;
    for length in 1..anchor.len() {
        let Some(spelled) = anchor.as_bytes().get(..length) else { continue };
        let heads = held.entry(spelled.to_ascii_lowercase()).or_default();
        let beside = may_stand_beside(anchor, rule);
        let head = Head { spelled: spelled.into(), ignore_case: rule.ignore_case, word, beside };
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
}

/// The bytes with which a candidate stays alive or decides something.
fn goes_on(dfas: &Table, machine: &Machine, ready: Candidate) -> Bytes {
    let lives = |byte: &u8| {
        let mut state = ready.state;
        match (&machine.context, ready.phase) {
            (Some(context), Phase::Context) => context.step(dfas, &mut state, *byte) != Step::Dead,
            _ => {
                let commit = machine.commit.as_ref().zip(ready.commit);
                let commit =
                    commit.map_or(Step::Dead, |(commit, mut state)| commit.step(dfas, &mut state, *byte));
                machine.secret.step(dfas, &mut state, *byte) != Step::Dead || commit != Step::Dead
            }
        }
    };
    (0..=255).filter(lives).collect()
}

/// For each state of the automaton, the heads its text ends with, longest first.
fn heads_by_state(
    automaton: &Automaton,
    literals: &[Vec<u8>],
    held: &HashMap<Vec<u8>, Vec<Head>>,
) -> Vec<Box<[Head]>> {
    let mut table: Vec<Box<[Head]>> = vec![Box::default(); automaton.count()];
    for literal in literals {
        let mut state = automaton.start();
        for (index, byte) in literal.iter().enumerate() {
            state = automaton.step(state, *byte);
            let Some(slot) = table.get_mut(automaton.number(state)).filter(|slot| slot.is_empty()) else {
                continue;
            };
            *slot = (0..=index)
                .filter_map(|from| held.get(literal.get(from..=index)?))
                .flatten()
                .cloned()
                .collect();
        }
    }
    table
}
