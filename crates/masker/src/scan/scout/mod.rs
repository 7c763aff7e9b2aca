//! The scout: runs ahead of the scanner over a large piece and notes where something may begin.
//!
//! The scanner takes a text byte by byte, and each byte waits for the one before it. While nothing is alive, all it looks
//! for is the end of an anchor or of the first bytes of a known secret; a scout finds these faster than the
//! scanner, because it may read at several places at once. It decides nothing: the scanner goes to the place noted,
//! in the very state it would have reached on foot, and goes on by itself. So spans, and what is held back, do not
//! depend on the [`Engine`].

pub(super) mod heads;
mod interleaved;
#[cfg(feature = "vectorscan")]
pub(super) mod vectorscan;

use super::automaton::State;
use super::{Known, Machines, Window};

/// What looks for the places where something may begin, in large pieces of a text. Spans are the same with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// The scanner itself, byte by byte: the reference for the others.
    Plain,
    /// One automaton that reads at several places at once.
    #[default]
    Interleaved,
    /// Vectorscan, for pieces of at least 16 KiB; smaller ones are interleaved.
    #[cfg(feature = "vectorscan")]
    Vectorscan,
}

/// Fewer bytes are passed on foot: to start reading at several places has a price.
pub(super) const LEAST: usize = interleaved::LEAST;

/// A place where an anchor ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The index of its last byte.
    at: usize,
    /// The state of the automaton behind it, where the engine knows it.
    state: Option<State>,
}

/// What comes next in a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Nothing ends before the byte at this index, where the automaton is in this state.
    Clean(usize, State),
    /// An anchor ends with the byte at this index, and the automaton is in this state behind it.
    Anchor(usize, State),
    /// The same for the first bytes of a known secret.
    Known(usize, State),
}

/// Notes over one piece of text, made block by block.
#[derive(Debug)]
pub(super) struct Scout<'m> {
    machines: &'m Machines,
    interleaved: interleaved::Notes,
    #[cfg(feature = "vectorscan")]
    vectorscan: Option<vectorscan::Scanner<'m>>,
    /// Where the block ends that the notes are about, and the state of the automaton there.
    to: usize,
    state: State,
    ends: Vec<End>,
    next_end: usize,
    /// Where first bytes of known secrets end.
    heads: Vec<usize>,
    next_head: usize,
}

impl<'m> Scout<'m> {
    /// A scout for a piece of `length` bytes; `None` where it is not worth it.
    pub(super) fn new(machines: &'m Machines, length: usize) -> Option<Self> {
        if length < LEAST || machines.engine == Engine::Plain {
            return None;
        }
        Some(Self {
            machines,
            interleaved: interleaved::Notes::default(),
            #[cfg(feature = "vectorscan")]
            vectorscan: machines.database.as_ref().and_then(|database| database.scanner(length)),
            to: 0,
            state: machines.anchors.start(),
            ends: Vec::new(),
            next_end: 0,
            heads: Vec::new(),
            next_head: 0,
        })
    }

    /// What comes next in `text` from the byte at `from`, before which the automaton is in `state`. `None` where the
    /// rest is too short for a scout.
    pub(super) fn next(
        &mut self,
        known: &Known,
        text: Window<'_>,
        from: usize,
        state: State,
    ) -> Option<Next> {
        if from >= self.to {
            if text.bytes.len() - from < LEAST {
                return None;
            }
            self.look_ahead(known, text, from, state);
        }
        let end = first_from(&self.ends, &mut self.next_end, from, |end| end.at);
        let head = first_from(&self.heads, &mut self.next_head, from, |head| *head);
        let behind = |at: usize| self.machines.anchors.behind(text.bytes.get(..=at).unwrap_or_default());
        Some(match (end, head) {
            (Some(end), head) if head.is_none_or(|head| end.at < head) => {
                Next::Anchor(end.at, end.state.unwrap_or_else(|| behind(end.at)))
            }
            (_, Some(head)) => Next::Known(head, behind(head)),
            _ => Next::Clean(self.to, self.state),
        })
    }

    /// Notes what ends in the block that begins at `from`.
    fn look_ahead(&mut self, known: &Known, text: Window<'_>, from: usize, state: State) {
        self.ends.clear();
        self.heads.clear();
        (self.next_end, self.next_head) = (0, 0);
        (self.to, self.state) = self.anchors_ahead(text, from, state);
        if !known.is_empty() {
            known.note(text.bytes, from..self.to, &mut self.heads);
        }
    }

    /// Notes the ends of anchors. Gives where the block ends, and the state of the automaton there.
    fn anchors_ahead(&mut self, text: Window<'_>, from: usize, state: State) -> (usize, State) {
        let anchors = &self.machines.anchors;
        #[cfg(feature = "vectorscan")]
        if let Some(scanner) = &mut self.vectorscan {
            let to = text.bytes.len().min(from + vectorscan::BLOCK);
            if scanner.note(self.machines, text, from..to, &mut self.ends).is_ok() {
                let state = anchors.behind(text.bytes.get(..to).unwrap_or_default());
                // What stands behind the last byte is not known.
                if to == text.bytes.len() && anchors.is_hit(state) {
                    self.ends.push(End { at: to - 1, state: Some(state) });
                }
                return (to, state);
            }
            // What one engine cannot read, the other can.
            self.vectorscan = None;
            self.ends.clear();
        }
        self.interleaved.note(anchors, text.bytes, from, state, &mut self.ends)
    }
}

/// The first of sorted notes that is not before `from`.
fn first_from<T: Copy>(notes: &[T], next: &mut usize, from: usize, at: impl Fn(&T) -> usize) -> Option<T> {
    while let Some(note) = notes.get(*next) {
        if at(note) >= from {
            return Some(*note);
        }
        *next += 1;
    }
    None
}
