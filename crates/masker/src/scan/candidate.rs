//! A rule that has begun to match.

use super::crowd::YOUNG;
use super::dfa::{Classes, Place, Step, Table};
use super::machine::Machine;
use super::together::JOINT;
use super::{Span, Window};
use crate::rule::Verdicts;

/// How far a context reaches from its anchor.
pub(super) const CONTEXT_CAP: u64 = 320;

/// A rule that has begun to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Where the automaton of its phase is.
    pub(crate) state: Place,
    classes: Classes,
    /// From here on a byte is more than a step.
    due: u64,
    pub(crate) rule: u16,
    pub(crate) phase: Phase,
    /// The state of the commit automaton, while there is one.
    pub(crate) commit: Option<Place>,
    pub(crate) start: u64,
    /// The latest start of the candidates merged into this one.
    late: u64,
    /// Where the longest match so far ends; zero for none. Once certain: where swallowing must stop.
    pub(crate) mark: u64,
}

/// A match, not yet judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) rule: u16,
    pub(crate) start: u64,
    /// A later start, where the match may begin as well.
    late: u64,
    pub(crate) end: u64,
}

/// A byte, and what there is to judge it by.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) table: &'a Table,
    pub(crate) text: Window<'a>,
    pub(crate) byte: u8,
    pub(crate) at: u64,
}

/// Where what is decided goes.
pub(crate) struct Out<'a> {
    pub(crate) spans: &'a mut Vec<Span>,
    pub(crate) verdicts: &'a mut Verdicts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// What stands before the secret; not held back.
    Context,
    /// Secrets that have begun together and are nothing yet; held back.
    Young,
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

/// What a byte is before which a candidate may be over: another secret may begin with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The match is over and only this byte speaks against it.
    Refused(Claim),
    /// The match may be over before the byte at this position.
    Passes(u64),
}

impl Phase {
    /// Whether it holds back what it has seen.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::Young | Self::Secret)
    }

    pub(crate) fn is_certain(self) -> bool {
        matches!(self, Self::Tail | Self::Until | Self::Blackout)
    }
}

impl Candidate {
    /// A candidate whose automata are in these states.
    pub(crate) fn new(
        machine: &Machine,
        rule: u16,
        phase: Phase,
        (state, commit): (Place, Option<Place>),
        start: u64,
    ) -> Self {
        let runs = machine.context.as_ref().filter(|_| phase == Phase::Context).unwrap_or(&machine.secret);
        let classes = runs.classes();
        let due = match phase {
            Phase::Context => start + CONTEXT_CAP,
            _ => due(machine, commit, start),
        };
        Self { state, classes, due, rule, phase, commit, start, late: start, mark: 0 }
    }

    /// The same from another place on, before which it has seen nothing.
    pub(crate) fn starting_at(self, start: u64) -> Self {
        let due = if self.due == 0 { 0 } else { self.due + start - self.start };
        Self { start, late: start, due, ..self }
    }

    /// Names that go together, in a state of their joint automaton.
    pub(crate) fn name(classes: Classes, state: Place) -> Self {
        Self { state, classes, due: CONTEXT_CAP, phase: Phase::Context, ..Self::blackout(JOINT, 0, 0) }
    }

    /// Secrets that have begun together.
    pub(crate) fn young(classes: Classes, state: Place, start: u64) -> Self {
        let due = start + YOUNG as u64;
        Self { state, classes, due, phase: Phase::Young, ..Self::blackout(JOINT, start, 0) }
    }

    /// A blackout from `start` to the first blank or quote from `mark` on.
    pub(crate) fn blackout(rule: u16, start: u64, mark: u64) -> Self {
        Self {
            state: Place::DEAD,
            classes: Classes::default(),
            due: 0,
            rule,
            phase: Phase::Blackout,
            commit: None,
            start,
            late: start,
            mark,
        }
    }

    /// Steps over the byte at `at`. Says whether there is something to [`decide`](Self::decide), as there seldom is.
    #[inline(always)]
    pub(crate) fn follow(&mut self, table: &Table, byte: u8, at: u64) -> bool {
        self.state = table.follow(self.classes, self.state, byte);
        self.is_due(at)
    }

    /// Whether the byte at `at`, over which it has stepped, decides something.
    #[inline(always)]
    pub(crate) fn is_due(&self, at: u64) -> bool {
        !self.state.is_alive() | (at >= self.due)
    }

    /// Takes a byte; says whether the candidate lives on, and what else the byte means to it.
    pub(crate) fn step(
        &mut self,
        machine: &Machine,
        here: Here<'_>,
        out: &mut Out<'_>,
        aside: &mut Aside,
    ) -> bool {
        !self.follow(here.table, here.byte, here.at) || self.decide(machine, here, out, aside)
    }

    /// Decides what the byte means over which it has just stepped; says whether the candidate lives on.
    pub(crate) fn decide(
        &mut self,
        machine: &Machine,
        here: Here<'_>,
        out: &mut Out<'_>,
        aside: &mut Aside,
    ) -> bool {
        match self.phase {
            Phase::Secret => self.decide_secret(machine, here, out, aside),
            Phase::Context => self.decide_context(here.at, aside),
            Phase::Tail | Phase::Until => self.swallow(here.at, out.spans, aside),
            // They have no machine.
            Phase::Young | Phase::Blackout => true,
        }
    }

    /// As [`step`](Self::step), for what stands before a secret: there is nothing to judge, and nothing to report.
    pub(crate) fn step_context(&mut self, table: &Table, byte: u8, at: u64, aside: &mut Aside) -> bool {
        !self.follow(table, byte, at) || self.decide_context(at, aside)
    }

    pub(super) fn decide_context(&self, at: u64, aside: &mut Aside) -> bool {
        let step = self.state.step();
        if matches!(step, Step::Match | Step::Last) {
            *aside = Aside::Begins;
        }
        matches!(step, Step::Alive | Step::Match | Step::Sure) && at < self.due
    }

    fn decide_secret(
        &mut self,
        machine: &Machine,
        here: Here<'_>,
        out: &mut Out<'_>,
        aside: &mut Aside,
    ) -> bool {
        let Here { table, text, byte, at } = here;
        if let (Some(commit), Some(state)) = (&machine.commit, &mut self.commit) {
            match commit.step(table, state, byte) {
                Step::Alive | Step::Sure => {}
                Step::Dead => self.forget_commit(machine),
                Step::Match | Step::Last => return self.commit_at(machine, here, out.spans, aside),
            }
        }
        match self.state.step() {
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
                self.conclude(machine, text, out);
                return false;
            }
            // A commit automaton may outlive a pattern that is finished.
            Step::Dead if self.commit.is_some() && machine.until.is_some() => {}
            Step::Dead => {
                self.conclude(machine, text, out);
                return false;
            }
        }
        at < self.start + machine.max || self.too_long(machine, text, at, out)
    }

    fn forget_commit(&mut self, machine: &Machine) {
        self.commit = None;
        self.due = due(machine, None, self.start);
    }

    /// The commit point was passed before the byte at hand.
    fn commit_at(
        &mut self,
        machine: &Machine,
        here: Here<'_>,
        spans: &mut Vec<Span>,
        aside: &mut Aside,
    ) -> bool {
        self.be_certain(machine, here.at);
        if let Some(until) = &machine.until {
            self.phase = Phase::Until;
            self.classes = until.classes();
            self.state = here.table.follow(self.classes, until.start(None), here.byte);
        }
        self.swallow(here.at, spans, aside)
    }

    /// From here on all is swallowed while the pattern can go on.
    fn be_certain(&mut self, machine: &Machine, at: u64) {
        self.phase = Phase::Tail;
        self.commit = None;
        self.mark = at + machine.cap;
        self.due = self.mark;
    }

    /// The match is longer than the rule allows: what has matched and is a secret, or tells enough, is masked as far as
    /// it goes; what is none is given up.
    fn too_long(&mut self, machine: &Machine, text: Window<'_>, at: u64, out: &mut Out<'_>) -> bool {
        let is_secret = if self.mark > 0 {
            self.claim(self.mark).judged(machine, text, out.verdicts).is_some()
        } else {
            out.verdicts.turn_to((self.start, at));
            self.tells(machine, text, at)
        };
        if is_secret {
            self.be_certain(machine, at);
            return true;
        }
        let again = self.late > self.start && at < self.late + machine.max;
        self.start = self.late;
        self.due = due(machine, self.commit, self.start);
        again
    }

    fn swallow(&mut self, at: u64, spans: &mut Vec<Span>, aside: &mut Aside) -> bool {
        let step = self.state.step();
        let goes_on = at < self.mark
            && match self.phase {
                Phase::Until => matches!(step, Step::Alive | Step::Dead),
                _ => matches!(step, Step::Alive | Step::Match | Step::Sure),
            };
        if !goes_on {
            spans.push(Span { start: self.start, end: at, rule: self.rule });
        } else if self.phase == Phase::Tail && step == Step::Match {
            *aside = Aside::Passes;
        }
        goes_on
    }

    /// The end of an undecided match: reports it, if there is one and the rule's checks agree.
    pub(crate) fn conclude(&self, machine: &Machine, text: Window<'_>, out: &mut Out<'_>) {
        if self.mark > 0 {
            out.spans.extend(self.claim(self.mark).judged(machine, text, out.verdicts));
        }
    }

    /// What the byte at `at` ends. A secret that has a name before it may be any word, and goes as far as it goes.
    #[inline]
    pub(crate) fn end(&self, machine: &Machine, aside: Aside, at: u64) -> Option<End> {
        match aside {
            Aside::Refused => Some(End::Refused(self.claim(at))),
            Aside::Passes if machine.context.is_none() => Some(End::Passes(at)),
            _ => None,
        }
    }

    /// A match that ends at `end`.
    fn claim(&self, end: u64) -> Claim {
        Claim { rule: self.rule, start: self.start, late: self.late, end }
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
        let same = (self.state, self.rule, self.phase, self.commit)
            == (other.state, other.rule, other.phase, other.commit)
            // Where the young began must be known when they part.
            && (self.phase != Phase::Young || self.start == other.start);
        if same {
            self.mark = self.mark.max(other.mark);
            self.late = self.late.max(other.late);
            match self.phase {
                Phase::Context => self.start = self.start.max(other.start),
                _ => self.start = self.start.min(other.start),
            }
            self.due = match self.phase {
                Phase::Secret => self.due.min(other.due),
                _ => self.due.max(other.due),
            };
        }
        same
    }
}

impl Claim {
    /// The span of the match, if the rule's checks agree.
    pub(crate) fn judged(
        &self,
        machine: &Machine,
        text: Window<'_>,
        verdicts: &mut Verdicts,
    ) -> Option<Span> {
        let end = self.end.saturating_sub(machine.after);
        let starts = [self.start, self.late].into_iter().take_while(|start| *start < end);
        let mut masked = starts.filter(|start| {
            verdicts.turn_to((*start, end));
            machine.judge.masks(text.get(*start, end), verdicts)
        });
        masked.next().map(|start| Span { start, end, rule: self.rule })
    }
}

/// From where on a byte is more than a step to a secret.
fn due(machine: &Machine, commit: Option<Place>, start: u64) -> u64 {
    if commit.is_some() { 0 } else { start + machine.max }
}

/// Whether a blackout can end before this byte.
pub(super) fn ends_blackout(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'"' || byte == b'\''
}
