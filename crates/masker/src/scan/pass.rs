//! Passing over clean bytes, while nothing is alive: on foot, or from one note of a scout to the next.

use super::automaton::State;
use super::known::Known;
use super::scout::{self, Next, Scout};
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
            let from = text.index(self.pos);
            let Some(next) = scout.next(known, text, from, self.anchor) else { break None };
            let (Next::Clean(at, state) | Next::Anchor(at, state) | Next::Known(at, state)) = next;
            self.pos = text.base + at as u64;
            match next {
                Next::Clean(..) => self.anchor = state,
                Next::Anchor(..) if machines.comes_to_nothing(text, at, state) => {
                    self.pos += 1;
                    self.anchor = state;
                }
                _ => break Some(state),
            }
        };
        if self.pos > begun {
            let seen = text.get(self.pos.saturating_sub(8), self.pos);
            self.window = seen.iter().fold(0, |window, byte| (window << 8) | u64::from(*byte));
        }
        if ahead.is_none() {
            self.walk(machines, known, text);
        }
        ahead
    }

    /// Passes over the rest on foot, up to a byte with which something begins that may come to something.
    fn walk(&mut self, machines: &Machines, known: &Known, text: Window<'_>) {
        loop {
            let from = text.index(self.pos);
            self.skim(machines, known, text.bytes.get(from..).unwrap_or_default());
            let at = text.index(self.pos);
            let Some(byte) = text.bytes.get(at) else { return };
            let state = machines.anchors.step(self.anchor, *byte);
            let window = (self.window << 8) | u64::from(*byte);
            let is_known = !known.is_empty() && known.may_begin(window);
            if is_known || !machines.anchors.is_hit(state) || !machines.comes_to_nothing(text, at, state) {
                return;
            }
            self.pos += 1;
            (self.anchor, self.window) = (state, window);
        }
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
    /// Whether a whole text is certain to hold no anchor and no known secret. Only for short ones: others have a scout.
    pub(crate) fn begins_nothing(&self, known: &Known, text: &[u8]) -> bool {
        if text.len() >= scout::LEAST {
            return false;
        }
        let mut state = self.anchors.start();
        let mut window = 0;
        text.iter().all(|byte| {
            state = self.anchors.step(state, *byte);
            window = (window << 8) | u64::from(*byte);
            !self.anchors.is_hit(state) && (known.is_empty() || !known.may_begin(window))
        })
    }
}

#[cfg(test)]
mod tests;
