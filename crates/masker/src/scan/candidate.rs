//! A rule that has begun to match.

use regex_automata::util::primitives::StateID;

use super::machine::{Machine, Step};
use super::{Span, Window};

/// How far a context reaches from its anchor.
pub(super) const CONTEXT_CAP: u64 = 320;

/// A rule that has begun to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) rule: u16,
    pub(crate) phase: Phase,
    pub(crate) state: StateID,
    /// The state of the commit automaton, while there is one.
    pub(crate) commit: Option<StateID>,
    pub(crate) start: u64,
    /// The latest start of the candidates merged into this one.
    late: u64,
    /// Where the longest match so far ends; zero for none. Once certain: where swallowing must stop.
    pub(crate) mark: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// What stands before the secret; not held back.
    Context,
    /// The secret; held back.
    Secret,
    /// Certain; swallowed while the pattern can go on.
    Tail,
    /// Certain; swallowed up to the end marker.
    Until,
    /// Too many candidates: swallowed up to a blank.
    Blackout,
}

/// What else a byte means to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    Nothing,
    /// The context ends before it, so that the secret may begin with it.
    Begins,
    /// The match is over before it and would count if something else stood behind it.
    Refused,
    /// The secret may be over before it, and may go on.
    Passes,
}

impl Aside {
    /// Whether another secret may begin with the byte.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Refused | Self::Passes)
    }
}

impl Phase {
    pub(crate) fn is_certain(self) -> bool {
        matches!(self, Self::Tail | Self::Until | Self::Blackout)
    }
}

impl Candidate {
    pub(crate) fn new(rule: u16, phase: Phase, state: StateID, commit: Option<StateID>, start: u64) -> Self {
        Self { rule, phase, state, commit, start, late: start, mark: 0 }
    }

    pub(crate) fn starting_at(self, start: u64) -> Self {
        Self { start, late: start, ..self }
    }

    /// A blackout from `start` to the first blank or quote from `mark` on.
    pub(crate) fn blackout(rule: u16, start: u64, mark: u64) -> Self {
        Self { mark, ..Self::new(rule, Phase::Blackout, StateID::ZERO, None, start) }
    }

    /// Takes the byte at `at`; says whether the candidate lives on, and what else the
    /// byte means to it.
    #[inline]
    pub(crate) fn step(
        &mut self,
        machine: &Machine,
        text: Window<'_>,
        byte: u8,
        at: u64,
        spans: &mut Vec<Span>,
        aside: &mut Aside,
    ) -> bool {
        match self.phase {
            Phase::Secret => self.step_secret(machine, text, byte, at, spans, aside),
            Phase::Context => self.step_context(machine, byte, at, aside),
            Phase::Tail | Phase::Until => self.swallow(machine, byte, at, spans, aside),
            // It is stepped without a machine.
            Phase::Blackout => true,
        }
    }

    fn step_context(&mut self, machine: &Machine, byte: u8, at: u64, aside: &mut Aside) -> bool {
        let Some(context) = &machine.context else { return false };
        let step = context.step(&mut self.state, byte);
        if matches!(step, Step::Match | Step::Last) {
            *aside = Aside::Begins;
        }
        matches!(step, Step::Alive | Step::Match | Step::Sure) && at - self.start < CONTEXT_CAP
    }

    fn step_secret(
        &mut self,
        machine: &Machine,
        text: Window<'_>,
        byte: u8,
        at: u64,
        spans: &mut Vec<Span>,
        aside: &mut Aside,
    ) -> bool {
        if let (Some(commit), Some(state)) = (&machine.commit, &mut self.commit) {
            match commit.step(state, byte) {
                Step::Alive | Step::Sure => {}
                Step::Dead => self.commit = None,
                Step::Match | Step::Last => return self.commit_at(machine, byte, at, spans, aside),
            }
        }
        match machine.secret.step(&mut self.state, byte) {
            Step::Alive => {}
            Step::Match => {
                *aside = Aside::Passes;
                if machine.can_end_before(byte) {
                    self.mark = at;
                }
            }
            // The commit automaton decides first, or the next byte.
            Step::Sure if self.commit.is_some() || !machine.ends_anywhere() => {}
            step @ (Step::Last | Step::Sure) => {
                if step == Step::Sure {
                    self.mark = at + 1;
                } else if machine.can_end_before(byte) {
                    self.mark = at;
                } else {
                    *aside = Aside::Refused;
                }
                self.conclude(machine, text, spans);
                return false;
            }
            // A commit automaton may outlive a pattern that is finished.
            Step::Dead if self.commit.is_some() && machine.until.is_some() => {}
            Step::Dead => {
                self.conclude(machine, text, spans);
                return false;
            }
        }
        at < self.start + machine.max || self.too_long(machine, text, at)
    }

    /// The commit point was passed before the byte at `at`.
    fn commit_at(
        &mut self,
        machine: &Machine,
        byte: u8,
        at: u64,
        spans: &mut Vec<Span>,
        aside: &mut Aside,
    ) -> bool {
        self.commit = None;
        self.mark = at + machine.cap;
        self.phase = Phase::Tail;
        if let Some(until) = &machine.until {
            let Some(state) = until.start(None) else { return false };
            self.state = state;
            self.phase = Phase::Until;
        }
        self.swallow(machine, byte, at, spans, aside)
    }

    /// The match is longer than the rule allows: what has matched, or tells enough, is masked as far as it goes; what
    /// has not is given up.
    fn too_long(&mut self, machine: &Machine, text: Window<'_>, at: u64) -> bool {
        if self.mark > 0 || self.tells(machine, text, at) {
            self.phase = Phase::Tail;
            self.commit = None;
            self.mark = at + machine.cap;
            return true;
        }
        let again = self.late > self.start && at < self.late + machine.max;
        self.start = self.late;
        again
    }

    fn swallow(
        &mut self,
        machine: &Machine,
        byte: u8,
        at: u64,
        spans: &mut Vec<Span>,
        aside: &mut Aside,
    ) -> bool {
        let goes_on = at < self.mark
            && match (self.phase, &machine.until) {
                (Phase::Until, Some(until)) => {
                    matches!(until.step(&mut self.state, byte), Step::Alive | Step::Dead)
                }
                _ => {
                    let step = machine.secret.step(&mut self.state, byte);
                    if step == Step::Match {
                        *aside = Aside::Passes;
                    }
                    matches!(step, Step::Alive | Step::Match | Step::Sure)
                }
            };
        if !goes_on {
            spans.push(Span { start: self.start, end: at, rule: self.rule });
        }
        goes_on
    }

    /// The end of an undecided match: reports it, if there is one and the rule's checks agree.
    pub(crate) fn conclude(&self, machine: &Machine, text: Window<'_>, spans: &mut Vec<Span>) {
        if self.mark > 0 {
            spans.extend(self.judged(machine, text, self.mark));
        }
    }

    /// A match that ends at `mark`, if the rule's checks agree.
    pub(crate) fn judged(&self, machine: &Machine, text: Window<'_>, mark: u64) -> Option<Span> {
        let end = mark.saturating_sub(machine.after);
        let starts = [self.start, self.late].into_iter().take_while(|start| *start < end);
        let mut masked = starts.filter(|start| machine.judge.masks(text.get(*start, end)));
        masked.next().map(|start| Span { start, end, rule: self.rule })
    }

    /// The text ends inside of a match: reports what there is of it, if that tells enough.
    pub(crate) fn cut_off(&self, machine: &Machine, text: Window<'_>, end: u64, spans: &mut Vec<Span>) {
        if self.mark == 0 && self.tells(machine, text, end) {
            spans.push(Span { start: self.start, end, rule: self.rule });
        }
    }

    /// Whether what there is of a match is long enough to be masked by itself, and nothing speaks against it.
    fn tells(&self, machine: &Machine, text: Window<'_>, end: u64) -> bool {
        let telling = machine.telling.as_ref();
        telling.is_some_and(|telling| telling.tells(end - self.start, machine.secret.number(self.state)))
            && machine.judge.masks_beginning(text.get(self.start, end), machine.shortest)
    }

    /// Takes over another candidate that can only go the same way from here.
    pub(crate) fn absorb(&mut self, other: &Self) -> bool {
        let same = (self.rule, self.phase, self.state, self.commit)
            == (other.rule, other.phase, other.state, other.commit);
        if same {
            self.mark = self.mark.max(other.mark);
            self.late = self.late.max(other.late);
            self.start = if self.phase == Phase::Context {
                self.start.max(other.start)
            } else {
                self.start.min(other.start)
            };
        }
        same
    }
}

/// Whether a blackout can end before this byte.
pub(super) fn ends_blackout(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'"' || byte == b'\''
}
