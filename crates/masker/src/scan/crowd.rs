//! Limits: where too much is undecided at once, all of it is masked up to the next blank or quote.
//!
//! What a byte costs grows with the number of candidates that it is shown to. Ordinary text has one on average
//! and ten at most; an input made for it has hundreds. What holds nothing back, or can reach beyond a blank, is never
//! given up: of candidates that can only go the same way one is kept, and there is no more of them than their rules
//! have states.

use super::candidate::{Candidate, Phase};
use super::known::Known;
use super::machine::Machine;
use super::{KNOWN, Machines, Scan, Span};
use crate::rule::LookedAt;

/// How many secrets may have begun at once that end before a blank or quote. In 560 MB of programs and documents eight are
/// the most, in samples of secrets eleven.
const MOST_SECRETS: usize = 12;
/// Secrets with so few bytes or fewer are not counted: nearly all are over before they have more.
pub(super) const YOUNG: usize = 12;
/// How many more bytes may have been looked at by checks than the text has. In the same texts 350 are the most, in samples
/// of secrets 2,700.
const MOST_DEBT: u64 = 4096;
/// How many known secrets may have begun at once.
const MOST_TRACES: usize = 16;
/// How often candidates are compared with each other, in bytes: it costs the square of their number. It must not depend
/// on that, which differs between texts that arrive in other pieces.
const MERGED_EVERY: u64 = 8;
/// How often they are counted, in bytes.
const COUNTED_EVERY: u64 = 4;

impl Scan {
    /// Keeps the crowd within limits.
    pub(super) fn limit(&mut self, machines: &Machines, known: &Known) {
        if self.live.len() > 1 && self.pos.is_multiple_of(MERGED_EVERY) {
            self.merge();
        }
        if self.traces.len() > MOST_TRACES {
            self.black_out_known(known);
        }
        let is_counted = self.live.len() > MOST_SECRETS && self.pos.is_multiple_of(COUNTED_EVERY);
        if is_counted && self.old(machines).count() > MOST_SECRETS {
            self.merge();
        }
        let is_in_debt = self.settled > self.pos + MOST_DEBT;
        if is_counted && self.old(machines).count() > MOST_SECRETS
            || is_in_debt && self.old(machines).any(|candidate| candidate.phase != Phase::Blackout)
        {
            self.black_out(machines);
        }
    }

    /// What a blackout would hide, but for what is young: whether that has begun depends on how the text is cut.
    fn old(&self, machines: &Machines) -> impl Iterator<Item = &Candidate> {
        let old = self.pos.saturating_sub(YOUNG as u64);
        self.live.iter().filter(move |candidate| candidate.start < old && is_near(candidate, machines))
    }

    /// Checks have looked at values, whose own text pays for it.
    pub(super) fn owe(&mut self, LookedAt { from, bytes }: LookedAt) {
        if bytes > 0 {
            self.settled = self.settled.max(from) + bytes;
        }
    }

    /// Too many secrets of rules have begun: all of them are masked, and what follows up to a blank.
    fn black_out(&mut self, machines: &Machines) {
        self.part_all(machines);
        let near = self.live.iter().filter(|candidate| is_near(candidate, machines));
        let Some((start, rule)) = near.map(|candidate| (candidate.start, candidate.rule)).min() else {
            return;
        };
        let blackouts = self.live.iter().filter(|candidate| candidate.phase == Phase::Blackout);
        let mark = blackouts.map(|blackout| blackout.mark).max().unwrap_or_default();
        self.live.retain(|candidate| !is_near(candidate, machines));
        self.live.push(Candidate::blackout(rule, start, mark));
    }

    /// Too many known secrets have begun: all of them are masked as far as the longest can go, and what follows up to a
    /// blank.
    fn black_out_known(&mut self, known: &Known) {
        let Some(start) = self.traces.iter().map(|trace| trace.start).min() else { return };
        let mark = self.pos + self.traces.iter().map(|trace| known.rest(trace)).max().unwrap_or_default();
        self.traces.clear();
        self.add(Candidate::blackout(KNOWN, start, mark));
    }

    /// Whether a blackout hides all that a secret of this rule could be, if it began here.
    pub(super) fn is_hidden(&self, machine: &Machine) -> bool {
        !machine.reaches_far && self.is_blacked_out()
    }

    pub(super) fn is_blacked_out(&self) -> bool {
        self.live.iter().any(|candidate| candidate.phase == Phase::Blackout)
    }

    pub(super) fn add(&mut self, candidate: Candidate) {
        if !self.live.iter_mut().any(|other| other.absorb(&candidate)) {
            self.live.push(candidate);
        }
    }

    /// Adds a candidate that has begun with the byte at hand, behind all that have stepped over it.
    pub(super) fn add_begun(&mut self, candidate: Candidate) {
        let mut begun = self.live.iter_mut().rev().take_while(|other| other.start == candidate.start);
        if !begun.any(|other| other.absorb(&candidate)) {
            self.live.push(candidate);
        }
    }

    /// Makes one of candidates that can only go the same way.
    fn merge(&mut self) {
        // Most are in states of their own, which few bits tell.
        let mut seen = [0_u64; 16];
        let mut kept = 0;
        for index in 0..self.live.len() {
            let Some(candidate) = self.live.get(index).copied() else { break };
            let hash = candidate.state.bits();
            let bit = 1 << (hash >> 26);
            let word = seen.get_mut((hash >> 22 & 15) as usize);
            let is_new = word.is_some_and(|word| std::mem::replace(word, *word | bit) & bit == 0);
            let mut others = self.live.get_mut(..kept).unwrap_or_default().iter_mut();
            if is_new || !others.any(|other| other.absorb(&candidate)) {
                self.live.swap(kept, index);
                kept += 1;
            }
        }
        self.live.truncate(kept);
    }

    /// The open spans of what is certain.
    pub(super) fn certain(&self) -> impl Iterator<Item = Span> {
        let certain = self.live.iter().filter(|candidate| candidate.phase.is_certain());
        certain.map(|candidate| Span { start: candidate.start, end: self.pos, rule: candidate.rule })
    }
}

/// Whether a blackout hides all that a candidate could.
fn is_near(candidate: &Candidate, machines: &Machines) -> bool {
    match candidate.phase {
        // What is young goes by itself before anything is hidden.
        Phase::Context | Phase::Until | Phase::Young => false,
        Phase::Blackout => true,
        Phase::Secret | Phase::Tail => {
            machines.rule(candidate.rule).is_some_and(|machine| !machine.reaches_far)
        }
    }
}
