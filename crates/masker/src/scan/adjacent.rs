//! Secrets with nothing between them.
//!
//! A rule may ask for no letter or digit beside its secret. The beginning of another secret is not such a letter: where
//! an anchor that begins a secret stands directly behind a match, or a known secret, the match ends there, and the other
//! may begin. Such a match waits for no more than the rest of that anchor, or of the known secret.

use super::anchors::{Anchors, Hit};
use super::automaton::State;
use super::candidate::{Claim, End};
use super::known::Known;
use super::{KNOWN, Machines, Scan, Span, Window};
use crate::rule::{LookedAt, Verdicts};

/// Where matches end, and what waits for that to be seen: few texts have any.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    /// Places where another secret may begin, as bits: how many bytes ago.
    open: u64,
    /// What only the byte behind it speaks against.
    refused: Option<Box<Refusals>>,
}

#[derive(Clone, Debug, Default)]
struct Refusals {
    list: Vec<Refused>,
}

/// A match that only the byte behind it speaks against.
#[derive(Clone, Copy, Debug)]
struct Refused {
    claim: Claim,
    /// Its checks agree.
    judged: bool,
}

impl Edges {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0 && self.refused().is_empty()
    }

    /// One byte is taken.
    #[inline]
    pub(super) fn step(&mut self) {
        self.open <<= 1;
    }

    fn refused(&self) -> &[Refused] {
        self.refused.as_ref().map_or(&[], |refused| &refused.list)
    }

    fn refused_mut(&mut self) -> &mut Vec<Refused> {
        &mut self.refused.get_or_insert_default().list
    }

    /// How many bytes ago another secret may have begun, the longest first.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut open = self.open;
        std::iter::from_fn(move || {
            let length = open.checked_ilog2()?;
            open &= !(1 << length);
            Some(length as usize)
        })
    }

    fn is_open(&self, length: usize) -> bool {
        length < 64 && self.open >> length & 1 == 1
    }

    fn open(&mut self, length: usize) {
        if length < 64 {
            self.open |= 1 << length;
        }
    }
}

impl Scan {
    /// How many bytes ago a place is.
    fn ago(&self, at: u64) -> usize {
        usize::try_from(self.pos.saturating_sub(at)).unwrap_or(usize::MAX)
    }

    /// Takes note of the end of a match behind which another secret may begin.
    pub(super) fn heed(&mut self, machines: &Machines, text: Window<'_>, end: End, spans: &mut Vec<Span>) {
        match end {
            End::Refused(claim) => self.refuse(machines, text, claim, spans),
            End::Passes(at) => self.open(machines, text, at, spans),
        }
    }

    /// Another secret may begin where the spans from a number on end. Gives the number of the next.
    pub(super) fn end(
        &mut self,
        machines: &Machines,
        text: Window<'_>,
        spans: &mut Vec<Span>,
        from: usize,
    ) -> usize {
        let mut next = from;
        while let Some(span) = spans.get(next).copied() {
            next += 1;
            self.open(machines, text, span.end, spans);
        }
        next
    }

    /// Another secret may begin at `end`.
    fn open(&mut self, machines: &Machines, text: Window<'_>, end: u64, spans: &mut Vec<Span>) {
        let length = self.ago(end);
        if self.edges.is_open(length) {
            return;
        }
        self.edges.open(length);
        for rule in self.begun(machines, text, end) {
            // What may begin behind the bytes alone has done so.
            if machines.rule(rule).is_some_and(|rule| !rule.may_begin(text.before(end), end == 0)) {
                self.begin_secret(machines, text, rule, end, spans);
            }
        }
    }

    fn refuse(&mut self, machines: &Machines, text: Window<'_>, claim: Claim, spans: &mut Vec<Span>) {
        // To be paid for now: whether it is judged, and when, depends on how the text is cut.
        self.owe(LookedAt::value((claim.start, claim.end)));
        if self.begun(machines, text, claim.end).is_empty() {
            self.edges.refused_mut().push(Refused { claim, judged: false });
        } else if let Some(span) = machines.judged(claim, text) {
            spans.push(span);
            self.open(machines, text, span.end, spans);
        }
    }

    /// The rules whose anchors stand at `end` by now. The byte taken last is left to [`settle`](Self::settle).
    fn begun(&self, machines: &Machines, text: Window<'_>, end: u64) -> Vec<u16> {
        let mut begun = Vec::new();
        let mut state = machines.anchors.start();
        for (length, byte) in (1..).zip(text.get(end, (self.pos - 1).max(end))) {
            state = machines.anchors.step(state, *byte);
            let seen = text.before(end + length as u64);
            begun.extend(secrets_of(&machines.anchors, state, seen, length));
            if !machines.anchors.begin_with(state, seen, length) {
                break;
            }
        }
        begun
    }

    /// Decides about the matches behind which another secret has begun with the byte just taken, or cannot any more.
    /// A known one has begun when all of it is seen; those are among the spans from a number on.
    pub(super) fn settle(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        spans: &mut Vec<Span>,
        from: usize,
    ) {
        let seen = text.before(self.pos);
        let mut kept = 0;
        for index in 0..self.edges.refused().len() {
            let Some(refused) = self.edges.refused().get(index).copied() else { break };
            let (end, length) = (refused.claim.end, self.ago(refused.claim.end));
            let is_known = |span: &Span| span.rule == KNOWN && span.start == end;
            let begun = secrets_of(&machines.anchors, self.anchor, seen, length).next().is_some()
                || spans.get(from..).unwrap_or_default().iter().any(is_known);
            if begun {
                if let Some(span) = machines.judged(refused.claim, text) {
                    spans.push(span);
                    self.edges.open(length);
                }
            } else if machines.anchors.begin_with(self.anchor, seen, length)
                || known.begin_with(self.window, seen, length)
                || self.traces.iter().any(|trace| trace.start == end)
            {
                self.edges.refused_mut().swap(kept, index);
                kept += 1;
            }
        }
        if let Some(refused) = &mut self.edges.refused {
            refused.list.truncate(kept);
        }
        // While something is alive they are harmless, and cost nothing.
        if self.live.is_empty() && self.traces.is_empty() && self.edges.open > 1 {
            let gone = |length: &usize| *length > 0 && !self.may_begin_ago(machines, seen, *length);
            let gone = self.edges.lengths().filter(gone).fold(0, |gone, length| gone | 1 << length);
            self.edges.open &= !gone;
        }
    }

    /// Whether the last `length` bytes may be the beginning of an anchor, or are one.
    fn may_begin_ago(&self, machines: &Machines, seen: &[u8], length: usize) -> bool {
        machines.anchors.begin_with(self.anchor, seen, length)
            || secrets_of(&machines.anchors, self.anchor, seen, length).next().is_some()
    }

    /// Forgets the matches that are refused by their own checks too: nothing is held back for them.
    pub(super) fn judge_refused(&mut self, machines: &Machines, text: Window<'_>) {
        if let Some(refused) = &mut self.edges.refused {
            refused.list.retain_mut(|refused| {
                if !refused.judged {
                    let Some(span) = machines.judged(refused.claim, text) else { return false };
                    refused.claim.start = span.start;
                    refused.judged = true;
                }
                true
            });
        }
    }

    /// From where on nothing can be let go, because another secret may have begun behind a match.
    pub(super) fn held_beside(&self, machines: &Machines, seen: &[u8]) -> u64 {
        let open = match self.edges.open {
            0 => None,
            _ => machines.anchors.begun_beside(self.anchor, seen, |length| self.edges.is_open(length)),
        };
        let refused = self.edges.refused().iter().map(|refused| refused.claim.start).min();
        refused.unwrap_or(u64::MAX).min(self.pos - open.unwrap_or_default() as u64)
    }

    /// Whether a match ends here, so that another may begin.
    pub(super) fn is_edge(&self, at: u64) -> bool {
        self.edges.is_open(self.ago(at))
    }
}

impl Machines {
    fn judged(&self, claim: Claim, text: Window<'_>) -> Option<Span> {
        claim.judged(self.rule(claim.rule)?, text, &mut Verdicts::default())
    }
}

/// The rules whose secrets begin with an anchor of this length, at the end of `text`.
fn secrets_of<'a>(
    anchors: &'a Anchors,
    state: State,
    text: &'a [u8],
    length: usize,
) -> impl Iterator<Item = u16> + 'a {
    let begins = move |hit: &&Hit| hit.beside && hit.back.0 == length;
    anchors.hits(state, text).filter(begins).map(|hit| hit.rule)
}
