//! The automaton over all anchors, run at several places of a block at once.
//!
//! A step of an automaton is a load whose address is the result of the step before: most of the time the processor
//! waits. Four runs that do not depend on each other fill this time.

use super::End;
use crate::scan::anchors::{Anchors, LONGEST};
use crate::scan::automaton::State;

/// How many places are read at once.
const PLACES: usize = 4;
/// Each place is led up to by as many bytes as the longest anchor has: in shorter pieces nothing would be gained.
pub(super) const LEAST: usize = PLACES * SHORT;
const SHORT: usize = LONGEST;
const MIDDLE: usize = 128;
const LONG: usize = 512;
const LONGER: usize = 2048;

/// The ends seen from each place, so that they come out in order.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seen: [Vec<End>; PLACES],
}

impl Notes {
    /// Notes all ends of anchors in a block that begins at `from`, before which the automaton is in `state`. Gives where
    /// the block ends, and the state there. Nothing is read in fewer than [`LEAST`] bytes.
    pub(super) fn note(
        &mut self,
        anchors: &Anchors,
        text: &[u8],
        from: usize,
        state: State,
        ends: &mut Vec<End>,
    ) -> (usize, State) {
        let rest = text.get(from..).unwrap_or_default();
        // The length of a part is a constant, so that one register and a distance address all parts.
        let end = if let Some(parts) = parts::<LONGER>(rest) {
            self.read(anchors, parts, from, state)
        } else if let Some(parts) = parts::<LONG>(rest) {
            self.read(anchors, parts, from, state)
        } else if let Some(parts) = parts::<MIDDLE>(rest) {
            self.read(anchors, parts, from, state)
        } else if let Some(parts) = parts::<SHORT>(rest) {
            self.read(anchors, parts, from, state)
        } else {
            (from, state)
        };
        for seen in &mut self.seen {
            ends.append(seen);
        }
        end
    }

    fn read<const LENGTH: usize>(
        &mut self,
        anchors: &Anchors,
        parts: &[[u8; LENGTH]; PLACES],
        from: usize,
        state: State,
    ) -> (usize, State) {
        let mut states = lead_up(anchors, parts, state);
        for index in 0..LENGTH {
            let mut any = false;
            for (state, part) in states.iter_mut().zip(parts) {
                *state = anchors.step(*state, part.get(index).copied().unwrap_or_default());
                any |= anchors.is_hit(*state);
            }
            if any {
                let found = self.seen.iter_mut().zip(&states).zip((from + index..).step_by(LENGTH));
                for ((seen, state), at) in found {
                    if anchors.is_hit(*state) {
                        seen.push(End { at, state: Some(*state) });
                    }
                }
            }
        }
        let [.., last] = states;
        (from + PLACES * LENGTH, last)
    }
}

/// The states before each part. What stands before a place decides them; as many bytes as the longest anchor has are
/// enough.
fn lead_up<const LENGTH: usize>(
    anchors: &Anchors,
    parts: &[[u8; LENGTH]; PLACES],
    state: State,
) -> [State; PLACES] {
    let mut states = [anchors.start(); PLACES];
    for index in LENGTH - anchors.longest().min(LENGTH)..LENGTH {
        // The last leads up to what is behind the block, in vain.
        for (state, part) in states.iter_mut().zip(parts) {
            *state = anchors.step(*state, part.get(index).copied().unwrap_or_default());
        }
    }
    states.rotate_right(1);
    if let Some(first) = states.first_mut() {
        *first = state;
    }
    states
}

fn parts<const LENGTH: usize>(text: &[u8]) -> Option<&[[u8; LENGTH]; PLACES]> {
    text.as_chunks().0.first_chunk()
}
