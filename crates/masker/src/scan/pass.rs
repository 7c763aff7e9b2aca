//! Passing over clean bytes, while nothing is alive: on foot, or from one note of a scout to the next.

use super::anchors::Begun;
use super::automaton::State;
use super::crowd::MOST_SECRETS;
use super::known::Known;
use super::scout::{Next, Scout};
use super::{Machines, Scan, Window};

impl Scan {
    /// Passes over clean bytes as a scout says: up to one with which something may begin. Gives the state of the anchor
    /// automaton behind that; `None` where the scout goes no farther.
    pub(super) fn pass(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        scout: &mut Scout<'_>,
    ) -> Option<State> {
        let begun = self.pos;
        let ahead = loop {
            let from = usize::try_from(self.pos - text.base).unwrap_or(usize::MAX);
            let Some(next) = scout.next(known, text.bytes, from, self.anchor) else { break None };
            let (Next::Clean(at, state) | Next::Anchor(at, state) | Next::Known(at, state)) = next;
            self.pos = text.base + at as u64;
            match next {
                Next::Clean(..) => self.anchor = state,
                Next::Anchor(..) if self.flashes(machines, text, at, state, scout) => {}
                _ => break Some(state),
            }
        };
        if self.pos > begun {
            let seen = text.get(self.pos.saturating_sub(8), self.pos);
            self.window = seen.iter().fold(0, |window, byte| (window << 8) | u64::from(*byte));
        }
        ahead
    }

    /// Passes over the end of an anchor with which nothing begins, or nothing that outlives the next byte: most names
    /// of secrets in ordinary text. Everything is then as if it had begun. Where that is not so, passes over nothing.
    fn flashes(
        &mut self,
        machines: &Machines,
        text: Window<'_>,
        at: usize,
        state: State,
        scout: &Scout<'_>,
    ) -> bool {
        let Some(begun) = machines.flash(text, at, state) else { return false };
        if begun && scout.is_noted(at + 1) {
            return false;
        }
        self.pos += 1;
        self.anchor = state;
        if let Some(byte) = text.bytes.get(at + 1).filter(|_| begun) {
            self.pos += 1;
            self.anchor = machines.anchors.step(state, *byte);
        }
        true
    }

    /// Passes over clean bytes: up to the first that completes an anchor or the head of a known secret.
    #[inline]
    pub(super) fn skim(&mut self, machines: &Machines, known: &Known, bytes: &[u8]) {
        let mut state = self.anchor;
        let mut window = self.window;
        let mut clean = bytes.len();
        if known.is_empty() {
            for (index, byte) in bytes.iter().enumerate() {
                let next = machines.anchors.step(state, *byte);
                if machines.anchors.is_hit(next) {
                    clean = index;
                    break;
                }
                state = next;
            }
            let seen = bytes.get(clean.saturating_sub(8)..clean).unwrap_or_default();
            window = seen.iter().fold(window, |window, byte| (window << 8) | u64::from(*byte));
        } else {
            for (index, byte) in bytes.iter().enumerate() {
                let next = machines.anchors.step(state, *byte);
                let shifted = (window << 8) | u64::from(*byte);
                if machines.anchors.is_hit(next) || known.may_begin(shifted) {
                    clean = index;
                    break;
                }
                state = next;
                window = shifted;
            }
        }
        self.anchor = state;
        self.window = window;
        self.pos += clean as u64;
    }
}

impl Machines {
    /// Whether anything begins with the anchor that ends with the byte at `at`. `None` where it outlives the next byte, or
    /// is so much that it comes near a limit.
    fn flash(&self, text: Window<'_>, at: usize, state: State) -> Option<bool> {
        let seen = text.bytes.get(..=at).unwrap_or_default();
        let next = text.bytes.get(at + 1).copied();
        let mut begun = 0;
        for hit in self.anchors.hits(state, seen) {
            match hit.begun(self.rule(hit.rule)?, seen, text.base == 0, next) {
                Begun::Nothing => {}
                Begun::Lasting => return None,
                Begun::Flash => begun += 1,
            }
        }
        (begun <= MOST_SECRETS).then_some(begun > 0)
    }
}

#[cfg(test)]
mod tests;
