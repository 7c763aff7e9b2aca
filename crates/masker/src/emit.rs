//! From spans to output: what may leave, where a placeholder goes, what is dropped.

use std::collections::VecDeque;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::scan::{Span, Window};

/// Turns the spans of one text into pieces of output, in order.
///
/// Overlapping and adjacent spans become their union, named by the one that begins first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Emitter {
    /// Everything before this position is out, or dropped.
    out: u64,
    /// Sorted by start; none of them begun.
    pending: VecDeque<Span>,
    open: Option<Open>,
}

/// A union that is being dropped and may still grow.
#[derive(Clone, Debug)]
struct Open {
    span: Span,
    marked: bool,
    hmac: Option<Box<Hmac<Sha256>>>,
}

/// A piece of output.
pub(crate) enum Piece {
    /// These bytes leave as they are.
    Plain(u64, u64),
    /// These bytes are dropped.
    Drop(u64, u64),
    /// A union begins: here stands its placeholder.
    Mark(u16, Option<[u8; 32]>),
    /// A union is complete.
    Done(Span, Option<[u8; 32]>),
}

/// How unions are written.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// The key of fingerprints, where they are wanted.
    pub(crate) key: Option<&'a [u8]>,
    /// The placeholder waits for the end of the union, because it holds the fingerprint.
    pub(crate) late: bool,
}

impl Emitter {
    /// Starts at a position: what is before it is never put out.
    pub(crate) fn at(out: u64) -> Self {
        Self { out, ..Self::default() }
    }

    pub(crate) fn out(&self) -> u64 {
        self.out
    }

    /// Whether a span is begun or waiting.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.is_some() || !self.pending.is_empty()
    }

    pub(crate) fn add(&mut self, spans: &mut Vec<Span>) {
        for mut span in spans.drain(..) {
            span.start =
                span.start.max(self.out.min(self.open.as_ref().map_or(u64::MAX, |open| open.span.start)));
            if span.start < span.end {
                self.wait(span);
            }
        }
    }

    /// Keeps a span until it can be put out. What is certain is said again with every piece: it joins what it touches,
    /// so that no more is kept than there is text.
    fn wait(&mut self, span: Span) {
        let at = self.pending.partition_point(|other| (other.start, other.rule) <= (span.start, span.rule));
        let before = at.checked_sub(1).and_then(|before| self.pending.get_mut(before));
        match before.filter(|before| span.start <= before.end) {
            Some(before) => before.end = before.end.max(span.end),
            None => self.pending.insert(at, span),
        }
    }

    /// Lets go of everything before `safe`. At the end of the text `safe` is its end and `end` is set.
    pub(crate) fn release(
        &mut self,
        text: Window<'_>,
        safe: u64,
        end: bool,
        manner: Manner<'_>,
        sink: &mut impl FnMut(Piece),
    ) {
        loop {
            if self.open.is_some() {
                if !self.go_on(text, safe, end, manner, sink) {
                    return;
                }
                continue;
            }
            let next = self.pending.front().copied().filter(|span| span.start < safe);
            let until = next.map_or(safe, |span| span.start.max(self.out));
            if until > self.out {
                sink(Piece::Plain(self.out, until));
                self.out = until;
            }
            let Some(span) = next else { return };
            self.pending.pop_front();
            let hmac = manner.key.and_then(|key| Hmac::new_from_slice(key).ok()).map(Box::new);
            let span = Span { start: span.start.max(self.out), ..span };
            if span.start >= span.end {
                continue;
            }
            if !manner.late {
                sink(Piece::Mark(span.rule, None));
            }
            self.open = Some(Open { span, marked: !manner.late, hmac });
        }
    }

    /// Drops what is certain of the open union, and closes it if nothing can be added. Says whether it closed.
    fn go_on(
        &mut self,
        text: Window<'_>,
        safe: u64,
        end: bool,
        manner: Manner<'_>,
        sink: &mut impl FnMut(Piece),
    ) -> bool {
        let Some(open) = &mut self.open else { return false };
        while let Some(next) = self.pending.front().filter(|next| next.start <= open.span.end) {
            open.span.end = open.span.end.max(next.end);
            self.pending.pop_front();
        }
        let mut closes = end || safe > open.span.end;
        if closes {
            // Never half a character of UTF-8.
            let last = text.get(open.span.end.saturating_sub(1), open.span.end).first();
            if last.is_some_and(|byte| *byte >= 0x80) {
                let rest = text.get(open.span.end, safe);
                open.span.end += rest.iter().take_while(|byte| (0x80..0xC0).contains(*byte)).count() as u64;
            }
            // The union may now reach as far as is known, and something may join it there.
            closes = end || safe > open.span.end;
        }
        if open.span.end > self.out {
            if let Some(hmac) = &mut open.hmac {
                hmac.update(text.get(self.out, open.span.end));
            }
            sink(Piece::Drop(self.out, open.span.end));
            self.out = open.span.end;
        }
        if !closes || self.pending.front().is_some_and(|next| next.start <= open.span.end) {
            return closes;
        }
        if let Some(open) = self.open.take() {
            let fingerprint = open.hmac.map(|hmac| hmac.finalize().into_bytes().into());
            if !open.marked {
                sink(Piece::Mark(open.span.rule, fingerprint.filter(|_| manner.late)));
            }
            sink(Piece::Done(open.span, fingerprint));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_with_every_piece_is_kept_once() {
        let mut emitter = Emitter::at(0);
        let span = |start, end| Span { start, end, rule: 7 };
        for end in 20..5_000 {
            emitter.add(&mut vec![span(10, end), span(end - 5, end)]);
        }
        assert_eq!(emitter.pending, [span(10, 4_999)]);
        emitter.add(&mut vec![span(6_000, 6_001)]);
        assert_eq!(emitter.pending, [span(10, 4_999), span(6_000, 6_001)]);
    }
}
