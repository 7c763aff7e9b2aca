//! A lane: one text, masked as it arrives.

use std::sync::Arc;

use crate::emit::{Emitter, Piece};
use crate::masker::Inner;
use crate::report::MaskEvent;
use crate::scan::{KNOWN, Known, Scan, Span, Window};

/// What the lanes of one body share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) inner: Arc<Inner>,
    known: Arc<Known>,
    events: Vec<MaskEvent>,
    /// Masks keep the length of what they hide.
    stars: bool,
    spans: Vec<Span>,
}

impl Session {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        let known = inner.known.table();
        let stars = inner.stars();
        Self { inner, known, events: Vec::new(), stars, spans: Vec::new() }
    }

    /// As [`new`](Self::new), for framings whose lengths must not change.
    pub(crate) fn keeping_length(inner: Arc<Inner>) -> Self {
        Self { stars: true, ..Self::new(inner) }
    }

    /// Takes notice of known secrets that were added or withdrawn.
    pub(crate) fn refresh(&mut self) {
        if self.inner.known.generation() != self.known.generation {
            self.known = self.inner.known.table();
        }
    }

    /// The number of the table of known secrets in use.
    pub(crate) fn generation(&self) -> u64 {
        self.known.generation
    }

    /// How many masks are waiting to be taken.
    pub(crate) fn masks(&self) -> usize {
        self.events.len()
    }

    /// The length of the shortest text anything can be found in.
    pub(crate) fn shortest(&self) -> usize {
        Scan::shortest(&self.inner.machines, &self.known)
    }

    /// Whether a known secret is lost sight of where a part of a letter is not told.
    pub(crate) fn needs_whole_letters(&self) -> bool {
        self.known.reaches_beyond_ascii()
    }

    /// Says whether a name is of interest as context: whether a scan that has seen it and what stands between it
    /// and a value is not as one that has seen only the latter.
    pub(crate) fn primes(&mut self, name: &[u8], between: &[u8]) -> bool {
        let with = Lane::behind(self, &[name, between]);
        let without = Lane::behind(self, &[between]);
        !with.scan.is_like(&without.scan)
    }

    pub(crate) fn take_events(&mut self) -> Vec<MaskEvent> {
        std::mem::take(&mut self.events)
    }

    /// The spans of a whole text, united.
    pub(crate) fn find(&mut self, text: &[u8]) -> Vec<Span> {
        let mut found = Vec::new();
        self.whole(text, 0, &mut |piece| {
            if let Piece::Done(span, _) = piece {
                found.push(span);
            }
        });
        found
    }

    /// Masks a whole text, before which other bytes are imagined. `None` where there is nothing to mask.
    pub(crate) fn mask(&mut self, text: &[u8], before: &[u8], name: &dyn Fn() -> String) -> Option<Vec<u8>> {
        if self.is_clean(text, before) {
            return None;
        }
        let joined;
        let (bytes, origin) = if before.is_empty() {
            (text, 0)
        } else {
            joined = [before, text].concat();
            (joined.as_slice(), before.len() as u64)
        };
        let inner = Arc::clone(&self.inner);
        let stars = self.stars;
        let window = Window { bytes, base: 0 };
        let mut out = Vec::new();
        let mut events = Vec::new();
        self.whole(bytes, origin, &mut |piece| match piece {
            // Nothing is copied before it is known that something is masked.
            Piece::Plain(from, _) if from == origin && out.is_empty() => {}
            Piece::Plain(from, to) => out.extend_from_slice(window.get(from, to)),
            Piece::Drop(from, to) => inner.drop_bytes(stars, to - from, &mut out),
            Piece::Mark(rule, print) => inner.placeholder(stars, rule, print, &mut out),
            Piece::Done(span, print) => events.push((span, print)),
        });
        let (first, _) = events.first()?;
        out.splice(0..0, window.get(origin, first.start).iter().copied());
        let reports = events.into_iter().map(|(span, print)| self.inner.event(span, origin, print, name()));
        self.events.extend(reports);
        Some(out)
    }

    /// Whether there is nothing to mask in a whole text, before which other bytes are imagined, nor in these.
    pub(crate) fn is_clean(&mut self, text: &[u8], before: &[u8]) -> bool {
        let machines = &self.inner.machines;
        if text.len() < Scan::shortest(machines, &self.known) {
            return true;
        }
        let joined;
        let bytes = if before.is_empty() {
            if machines.begins_nothing(&self.known, text) {
                return true;
            }
            text
        } else {
            joined = [before, text].concat();
            joined.as_slice()
        };
        self.scan(bytes);
        let is_clean = self.spans.is_empty();
        self.spans.clear();
        is_clean
    }

    /// Collects the spans of a whole text.
    fn scan(&mut self, text: &[u8]) -> u64 {
        let Self { inner, known, spans, .. } = self;
        let window = Window { bytes: text, base: 0 };
        let mut scan = Scan::new(&inner.machines);
        scan.advance(&inner.machines, known, window, spans);
        scan.finish(&inner.machines, known, window, spans);
        scan.pos()
    }

    fn whole(&mut self, text: &[u8], origin: u64, sink: &mut impl FnMut(Piece)) {
        let end = self.scan(text);
        if self.spans.is_empty() {
            // Clean, as nearly all texts are.
            return;
        }
        let mut emitter = Emitter::at(origin);
        emitter.add(&mut self.spans);
        let window = Window { bytes: text, base: 0 };
        emitter.release(window, end, true, self.inner.manner(self.stars), sink);
    }
}

/// One text, masked as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    scan: Scan,
    emitter: Emitter,
    /// The undecided bytes, and some before them.
    text: Vec<u8>,
    base: u64,
    /// Where the text itself begins: what is before it is context that was never part of it.
    origin: u64,
    escapes: Option<Box<Escapes>>,
    /// What was dropped, where someone wants to know.
    drops: Option<Vec<(u64, u64)>>,
    /// Where the text was last said to end; beyond all text if it never was.
    paused: u64,
}

/// How some of the held bytes were spelled in the source.
#[derive(Clone, Debug, Default)]
struct Escapes {
    units: std::collections::VecDeque<Unit>,
    /// The spellings of all units, one behind the other.
    spelled: Vec<u8>,
    /// How much of that is used up.
    used: usize,
    /// Bytes before this position belong to a spelling that was dropped.
    dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    at: u64,
    decoded: u32,
    spelled: u32,
}

impl Lane {
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            scan: Scan::new(&session.inner.machines),
            emitter: Emitter::default(),
            text: Vec::new(),
            base: 0,
            origin: 0,
            escapes: None,
            drops: None,
            paused: u64::MAX,
        }
    }

    /// A lane that keeps a list of what it dropped.
    pub(crate) fn listing_drops(session: &Session) -> Self {
        Self { drops: Some(Vec::new()), ..Self::new(session) }
    }

    /// The places of what was dropped, to be shortened by whoever has used them.
    pub(crate) fn drops(&mut self) -> &mut Vec<(u64, u64)> {
        self.drops.get_or_insert_default()
    }

    /// A lane before whose text other bytes are imagined: they are context and never put out.
    pub(crate) fn behind(session: &mut Session, context: &[&[u8]]) -> Self {
        let mut lane = Self::new(session);
        for bytes in context {
            lane.text.extend_from_slice(bytes);
        }
        lane.origin = lane.text.len() as u64;
        lane.emitter = Emitter::at(lane.origin);
        let mut spans = std::mem::take(&mut session.spans);
        lane.scan.advance(
            &session.inner.machines,
            &session.known,
            Window { bytes: &lane.text, base: 0 },
            &mut spans,
        );
        // What ends before the text begins is no part of it.
        spans.clear();
        session.spans = spans;
        lane
    }

    /// Another lane puts out what was pushed: to this one it is context.
    pub(crate) fn disown(&mut self) {
        self.emitter = Emitter::at(self.base + self.text.len() as u64);
        self.escapes = None;
        self.drops = self.drops.take().map(|_| Vec::new());
    }

    /// Takes bytes that are spelled as they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// Takes bytes that the source spells differently; they leave together or not at all.
    pub(crate) fn push_spelled(&mut self, decoded: &[u8], spelled: &[u8]) {
        let at = self.base + self.text.len() as u64;
        let escapes = self.escapes.get_or_insert_default();
        escapes.tidy();
        escapes.units.push_back(Unit {
            at,
            decoded: u32::try_from(decoded.len()).unwrap_or(u32::MAX),
            spelled: u32::try_from(spelled.len()).unwrap_or(u32::MAX),
        });
        escapes.spelled.extend_from_slice(spelled);
        self.text.extend_from_slice(decoded);
    }

    /// Scans what was pushed and puts out what may leave.
    pub(crate) fn advance(&mut self, session: &mut Session, name: &dyn Fn() -> String, out: &mut Vec<u8>) {
        let mut spans = std::mem::take(&mut session.spans);
        let window = Window { bytes: &self.text, base: self.base };
        self.scan.advance(&session.inner.machines, &session.known, window, &mut spans);
        let safe = self.scan.safe(&session.inner.machines, &session.known, window);
        session.spans = spans;
        self.let_go(session, safe, false, name, out);
        self.forget(safe, session.inner.lookbehind);
    }

    /// The text is said to end here: puts out the rest, and goes on if there is more after all. Where that has
    /// happened before, it is not believed.
    pub(crate) fn pause(&mut self, session: &mut Session, name: &dyn Fn() -> String, out: &mut Vec<u8>) {
        let pushed = self.base + self.text.len() as u64;
        if self.paused < pushed {
            return self.advance(session, name, out);
        }
        self.paused = pushed;
        self.let_all_go(session, u64::MAX, name, out);
    }

    /// Puts out all that is clean, and goes on. So many undecided bytes are not taken for clean.
    pub(crate) fn let_all_go(
        &mut self,
        session: &mut Session,
        doubtful: u64,
        name: &dyn Fn() -> String,
        out: &mut Vec<u8>,
    ) {
        let inner = Arc::clone(&session.inner);
        let mut spans = std::mem::take(&mut session.spans);
        let window = Window { bytes: &self.text, base: self.base };
        self.scan.advance(&inner.machines, &session.known, window, &mut spans);
        let safe = self.scan.safe(&inner.machines, &session.known, window);
        self.scan.clone().finish(&inner.machines, &session.known, window, &mut spans);
        if self.scan.pos().saturating_sub(safe) >= doubtful {
            spans.push(Span { start: safe, end: self.scan.pos(), rule: KNOWN });
        }
        session.spans = spans;
        self.let_go(session, self.scan.pos(), true, name, out);
        self.forget(safe, inner.lookbehind);
    }

    /// The end of the text: puts out the rest.
    pub(crate) fn finish(&mut self, session: &mut Session, name: &dyn Fn() -> String, out: &mut Vec<u8>) {
        let inner = Arc::clone(&session.inner);
        let mut spans = std::mem::take(&mut session.spans);
        let window = Window { bytes: &self.text, base: self.base };
        self.scan.advance(&inner.machines, &session.known, window, &mut spans);
        self.scan.finish(&inner.machines, &session.known, window, &mut spans);
        session.spans = spans;
        let end = self.scan.pos();
        self.let_go(session, end, true, name, out);
        self.text.clear();
        self.base = end;
    }

    /// Whether something waits for more text.
    pub(crate) fn is_holding(&self) -> bool {
        self.emitter.out() < self.scan.pos() || self.emitter.is_busy()
    }

    /// Whether forgetting this lane would forget nothing that matters.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_holding() && self.scan.is_idle()
    }

    /// Up to where the text is decided, and how much of it there is.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.emitter.out() - self.origin, self.scan.pos() - self.origin)
    }

    /// How many bytes of the text were pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.base + self.text.len() as u64 - self.origin
    }

    fn let_go(
        &mut self,
        session: &mut Session,
        safe: u64,
        end: bool,
        name: &dyn Fn() -> String,
        out: &mut Vec<u8>,
    ) {
        self.emitter.add(&mut session.spans);
        let safe = if end { safe } else { self.whole_units(safe) };
        if safe <= self.emitter.out() && !self.emitter.is_busy() {
            return;
        }
        let window = Window { bytes: &self.text, base: self.base };
        let inner = &session.inner;
        let (stars, origin, events) = (session.stars, self.origin, &mut session.events);
        let (escapes, drops) = (&mut self.escapes, &mut self.drops);
        self.emitter.release(window, safe.max(self.emitter.out()), end, inner.manner(stars), &mut |piece| {
            match piece {
                Piece::Plain(from, to) => match escapes {
                    None => out.extend_from_slice(window.get(from, to)),
                    Some(escapes) => escapes.write(window, from, to, out),
                },
                Piece::Drop(from, to) => {
                    inner.drop_bytes(stars, to - from, out);
                    if let Some(drops) = drops {
                        drops.push((from, to));
                    }
                    if let Some(escapes) = escapes {
                        escapes.drop_to(to);
                    }
                }
                Piece::Mark(rule, print) => inner.placeholder(stars, rule, print, out),
                Piece::Done(span, print) => events.push(inner.event(span, origin, print, name())),
            }
        });
    }

    /// The largest position up to `safe` that is not inside of a unit.
    fn whole_units(&self, safe: u64) -> u64 {
        let Some(escapes) = &self.escapes else { return safe };
        let inside = |unit: &&Unit| unit.at < safe && unit.at + u64::from(unit.decoded) > safe;
        escapes.units.iter().find(inside).map_or(safe, |unit| unit.at)
    }

    /// Forgets bytes that nothing can look back at.
    fn forget(&mut self, safe: u64, lookbehind: usize) {
        let keep = safe.min(self.emitter.out()).saturating_sub(lookbehind as u64);
        let spare = usize::try_from(keep.saturating_sub(self.base)).unwrap_or_default();
        // Moving bytes has a price: only when there is something to gain.
        if spare > lookbehind.max(self.text.len() / 2) || spare > 4096 {
            self.text.drain(..spare);
            self.base += spare as u64;
            if self.text.capacity() > 1 << 14 && self.text.len() < 1 << 12 {
                self.text.shrink_to(1 << 12);
            }
        }
    }
}

impl Escapes {
    fn write(&mut self, text: Window<'_>, from: u64, to: u64, out: &mut Vec<u8>) {
        let mut from = from.max(self.dropped);
        while let Some(unit) = self.units.front().copied().filter(|unit| unit.at < to) {
            out.extend_from_slice(text.get(from, unit.at.max(from)));
            let end = unit.at + u64::from(unit.decoded);
            let spelled = self.pop(unit);
            if unit.at >= from && end <= to {
                out.extend_from_slice(self.spelled.get(spelled).unwrap_or_default());
            } else {
                self.dropped = end;
            }
            from = end;
        }
        if from < to {
            out.extend_from_slice(text.get(from, to));
        }
    }

    fn drop_to(&mut self, to: u64) {
        while let Some(unit) = self.units.front().copied().filter(|unit| unit.at < to) {
            self.dropped = unit.at + u64::from(unit.decoded);
            self.pop(unit);
        }
    }

    /// Takes the first unit; gives where its spelling is.
    fn pop(&mut self, unit: Unit) -> std::ops::Range<usize> {
        self.units.pop_front();
        let spelled = self.used..self.used + unit.spelled as usize;
        self.used = spelled.end;
        spelled
    }

    /// Forgets the spellings that are used up.
    fn tidy(&mut self) {
        if self.units.is_empty() {
            self.spelled.clear();
            self.used = 0;
        } else if self.used > 4096 {
            self.spelled.drain(..self.used);
            self.used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Masker;

    #[test]
    fn an_idle_lane_is_small() {
        let masker = Masker::builder().build().unwrap();
        let mut session = Session::new(Arc::clone(&masker.inner));
        let mut lane = Lane::new(&session);
        let mut out = Vec::new();
        let mut most = 0;
        for delta in include_bytes!("scan/mod.rs").chunks(4) {
            lane.push(delta);
            lane.advance(&mut session, &String::new, &mut out);
            most = most.max(size_of::<Lane>() + lane.text.capacity());
        }
        assert!(most <= 512, "{most} bytes, of which {} are the lane itself", size_of::<Lane>());
    }
}
