//! Limits: where too much is undecided at once, or has been for long, all of it is masked.
//!
//! What a byte costs grows with the number of candidates that it is shown to. Ordinary text has one on average
//! and ten at most; an input made for it has hundreds. Two things are limited:
//!
//! - *How many at once.* Beyond it what has begun is masked, and what follows up to a blank or quote. What can reach
//!   farther than that stays alive.
//! - *How many in the long run.* Beyond it everything is masked until nothing has begun for so long that nothing that
//!   began before can still be under way. Meanwhile only rules without a longest match are followed.

use super::candidate::{Candidate, Phase, ends_blackout};
use super::known::Known;
use super::machine::Machine;
use super::{Effects, KNOWN, Machines, Scan, Span, Window};

/// How many secrets may have begun at once.
pub(super) const MOST_SECRETS: usize = 16;
/// How many of them that can reach beyond a blank stay alive where there are more.
const MOST_FAR: usize = 6;
/// How many contexts may be alive at once.
const MOST_CONTEXTS: usize = 32;
/// More candidates than this are compared with each other less often.
const MOST_AT_ONCE: usize = 8;
/// How many steps of candidates each byte pays for. Text that is made of nothing but names of secrets takes 20 with all
/// rules on, and is no crowd.
const STEPS: u32 = 24;
/// How many unpaid steps there may be.
const MOST_DEBT: u32 = 16 << 10;
/// What it costs that a rule begins, in steps.
pub(super) const BEGINNING: u32 = 4;
/// What it costs to follow a known secret by one byte.
pub(super) const FOLLOWING: usize = 4;
/// What it costs to judge a finished match, and each byte of it.
const JUDGING: (u32, u32) = (16, 4);

/// Everything is being masked.
#[derive(Clone, Debug)]
pub(super) struct Hush {
    start: u64,
    rule: u16,
    /// It ends before the first blank or quote from here on.
    mark: u64,
}

impl Hush {
    fn prolong(&mut self, mark: u64) {
        self.mark = self.mark.max(mark);
    }
}

impl Effects<'_> {
    /// Notes steps of candidates.
    #[inline]
    pub(super) fn stepping(&mut self, steps: usize) {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(MOST_DEBT));
    }

    /// Notes that a match is judged.
    pub(super) fn judging(&mut self, bytes: u64) {
        let (each, byte) = JUDGING;
        let steps = u32::try_from(bytes).unwrap_or(MOST_DEBT).saturating_mul(byte).saturating_add(each);
        self.steps = self.steps.saturating_add(steps);
    }
}

impl Scan {
    /// Notes the steps that a byte took.
    #[inline]
    pub(super) fn pay(&mut self, steps: u32) {
        self.debt = self.debt.saturating_add(steps).saturating_sub(STEPS);
    }

    /// Notes bytes that took none.
    #[inline]
    pub(super) fn rest(&mut self, bytes: usize) {
        if self.debt > 0 {
            let paid = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(STEPS);
            self.debt = self.debt.saturating_sub(paid);
        }
    }

    /// Whether so many candidates that begin where there is none, and so many steps, come near no limit.
    #[inline]
    pub(super) fn bears(&self, candidates: u32, steps: u32) -> bool {
        candidates as usize <= MOST_SECRETS && self.debt.saturating_add(steps) <= MOST_DEBT
    }

    /// Keeps the crowd within limits.
    pub(super) fn limit(&mut self, machines: &Machines, known: &Known) {
        // It costs the square of their number.
        let every = if self.live.len() > MOST_AT_ONCE { 64 } else { 8 };
        if self.live.len() > 1 && self.pos.is_multiple_of(every) {
            self.merge();
        }
        if self.live.len() + self.traces.len() <= MOST_SECRETS && self.debt <= MOST_DEBT {
            return;
        }
        let contexts = self.live.iter().filter(|candidate| candidate.phase == Phase::Context).count();
        let secrets = self.live.len() - contexts + self.traces.len();
        if contexts <= MOST_CONTEXTS && secrets <= MOST_SECRETS && self.debt <= MOST_DEBT {
            return;
        }
        self.merge();
        let contexts = self.live.iter().filter(|candidate| candidate.phase == Phase::Context).count();
        if contexts > MOST_CONTEXTS || self.debt > MOST_DEBT {
            self.hush(machines, known);
        } else if self.live.len() - contexts + self.traces.len() > MOST_SECRETS {
            self.black_out(machines, known);
        }
    }

    /// Too much is undecided: all of it is masked, and what follows up to a blank.
    fn black_out(&mut self, machines: &Machines, known: &Known) {
        let (start, rule) = self.first_undecided();
        let stays = |candidate: &Candidate| {
            candidate.phase == Phase::Until
                || (candidate.phase != Phase::Blackout
                    && machines.rule(candidate.rule).is_some_and(|machine| machine.reaches_far))
        };
        let secrets = self.live.iter().filter(|candidate| candidate.phase != Phase::Context);
        if secrets.filter(|candidate| stays(candidate)).count() + self.traces.len() > MOST_FAR {
            self.hush(machines, known);
            return;
        }
        self.live.retain(|candidate| candidate.phase == Phase::Context || stays(candidate));
        self.live.push(Candidate::blackout(rule, start));
    }

    /// There has been too much for too long: everything is masked until it is over.
    fn hush(&mut self, machines: &Machines, known: &Known) {
        let (start, rule) = self.first_undecided();
        self.traces.clear();
        self.live.retain(|candidate| machines.rule(candidate.rule).is_some_and(Machine::is_endless));
        self.hush = Some(Box::new(Hush { start, rule, mark: self.pos + machines.calm(known) }));
        self.debt = 0;
    }

    /// Takes the bytes from where the scan is, while everything is masked.
    pub(super) fn go_on_hushed(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        effects: &mut Effects<'_>,
    ) {
        let Some(mut hush) = self.hush.take() else { return };
        let calm = machines.calm(known);
        let fresh = text.get(self.pos, text.base + text.bytes.len() as u64);
        for &byte in fresh {
            if self.pos >= hush.mark && ends_blackout(byte) {
                effects.spans.push(Span { start: hush.start, end: self.pos, rule: hush.rule });
                return;
            }
            self.pos += 1;
            if !self.live.is_empty() {
                self.step_live(machines, text, byte, self.pos - 1, effects);
                if self.pos.is_multiple_of(8) {
                    self.merge();
                }
            }
            self.window = (self.window << 8) | u64::from(byte);
            self.anchor = machines.anchors.step(self.anchor, byte);
            if machines.anchors.is_hit(self.anchor) {
                // Something may be under way for as long again.
                hush.prolong(self.pos + calm);
                let hits = machines.anchors.hits(self.anchor, text.before(self.pos));
                for hit in hits.filter(|hit| machines.rule(hit.rule).is_some_and(Machine::is_endless)) {
                    self.begin(machines, text, hit, effects);
                }
            }
            if known.may_begin(self.window) && known.begin(self.window, self.pos).is_some() {
                hush.prolong(self.pos + calm);
            }
            if self.live.len() > MOST_SECRETS {
                // More than can be followed: it lasts to the end of the text.
                self.live.clear();
                hush.mark = u64::MAX;
            }
        }
        self.hush = Some(hush);
    }

    /// Where masking must begin, and in the name of which rule.
    fn first_undecided(&self) -> (u64, u16) {
        let undecided = self.live.iter().filter(|candidate| candidate.phase != Phase::Context);
        let first = undecided.map(|candidate| (candidate.start, candidate.rule));
        let traced = self.traces.iter().map(|trace| (trace.start, KNOWN));
        first.chain(traced).min().unwrap_or((self.pos, 0))
    }

    pub(super) fn add(&mut self, candidate: Candidate) {
        if !self.live.iter_mut().any(|other| other.absorb(&candidate)) {
            self.live.push(candidate);
        }
    }

    /// Makes one of candidates that can only go the same way.
    fn merge(&mut self) {
        let mut kept = 0;
        for index in 0..self.live.len() {
            let Some(candidate) = self.live.get(index).copied() else { break };
            let absorbed = self
                .live
                .get_mut(..kept)
                .is_some_and(|kept| kept.iter_mut().any(|one| one.absorb(&candidate)));
            if !absorbed {
                self.live.swap(kept, index);
                kept += 1;
            }
        }
        self.live.truncate(kept);
    }

    /// The open spans of what is certain.
    pub(super) fn certain(&self) -> impl Iterator<Item = Span> {
        let certain = self.live.iter().filter(|candidate| candidate.phase.is_certain());
        let hushed = self.hush.iter().map(|hush| (hush.start, hush.rule));
        let certain = certain.map(|candidate| (candidate.start, candidate.rule)).chain(hushed);
        certain.map(|(start, rule)| Span { start, end: self.pos, rule })
    }
}
