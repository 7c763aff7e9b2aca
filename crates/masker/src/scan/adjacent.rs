//! Secrets with nothing between them.
//!
//! A rule may ask for no letter or digit beside its secret. The beginning of another secret is not such a letter: where
//! an anchor that begins a secret stands directly behind a match, the match ends there, and the other may begin.
//! Such a match waits for no more than the rest of that anchor.

use super::anchors::{Anchors, Hit};
use super::automaton::State;
use super::candidate::{Aside, Candidate};
use super::known::Known;
use super::{KNOWN, Machines, Scan, Span, Window};

/// Where a match ends, or may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    span: Span,
    /// Another may begin here; else only the byte behind the match speaks against it.
    open: bool,
}

/// A byte before which a candidate may be over.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) aside: Aside,
    pub(super) candidate: Candidate,
    pub(super) at: u64,
}

/// The edges behind which another secret may still begin: few texts have one.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges(Option<Box<Inner>>);

#[derive(Clone, Debug, Default)]
struct Inner {
    list: Vec<Edge>,
}

impl Edges {
    pub(super) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    pub(super) fn list(&self) -> &[Edge] {
        self.0.as_ref().map_or(&[], |inner| &inner.list)
    }

    fn list_mut(&mut self) -> &mut Vec<Edge> {
        &mut self.0.get_or_insert_default().list
    }
}

impl Edge {
    /// From where on nothing can be let go for it.
    pub(super) fn held(&self) -> u64 {
        if self.open { self.span.end } else { self.span.start }
    }

    /// How much of an anchor there is behind it.
    fn length(&self, pos: u64) -> usize {
        usize::try_from(pos.saturating_sub(self.span.end)).unwrap_or(usize::MAX)
    }
}

impl Scan {
    /// Takes note of the end of a match behind which an anchor may stand.
    pub(super) fn heed(&mut self, machines: &Machines, text: Window<'_>, end: End, spans: &mut Vec<Span>) {
        let End { aside, candidate, at } = end;
        let byte = text.get(at, at + 1).first().copied();
        let Some((machine, byte)) = machines.rule(candidate.rule).zip(byte) else { return };
        let edge = match aside {
            Aside::Refused => candidate.judged(machine, text, at).map(|span| Edge { span, open: false }),
            // What has a name before it may be any word, and goes as far as it goes.
            Aside::Passes
                if machine.context.is_none()
                    && machines.anchors.can_begin_with(byte)
                    && !self.is_edge(at) =>
            {
                Some(Edge { span: Span { start: at, end: at, rule: candidate.rule }, open: true })
            }
            _ => None,
        };
        if let Some(edge) = edge {
            self.note(machines, text, edge, spans);
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
            if !self.is_edge(span.end) {
                self.note(machines, text, Edge { span, open: true }, spans);
            }
        }
        next
    }

    /// Takes note of an edge, and of the anchors that stand behind it by now. The byte taken last is left to
    /// [`settle`](Self::settle).
    fn note(&mut self, machines: &Machines, text: Window<'_>, mut edge: Edge, spans: &mut Vec<Span>) {
        let end = edge.span.end;
        let mut begun = Vec::new();
        let mut state = machines.anchors.start();
        for (at, byte) in (end..).zip(text.get(end, (self.pos - 1).max(end))) {
            state = machines.anchors.step(state, *byte);
            let (seen, length) = (text.before(at + 1), edge.length(at + 1));
            begun.extend(secrets_of(&machines.anchors, state, seen, length));
            if !machines.anchors.begin_with(state, seen, length) {
                break;
            }
        }
        if !begun.is_empty() && !edge.open {
            edge.open = true;
            spans.push(edge.span);
        }
        self.edges.list_mut().push(edge);
        for rule in begun {
            // What may begin behind the bytes alone has done so.
            if machines.rule(rule).is_some_and(|rule| !rule.may_begin(text.before(end), end == 0)) {
                self.begin_secret(machines, text, rule, end, spans);
            }
        }
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
        let (state, pos, traces) = (self.anchor, self.pos, &self.traces);
        let seen = text.before(pos);
        self.edges.list_mut().retain_mut(|edge| {
            let (end, length) = (edge.span.end, edge.length(pos));
            let is_known = |span: &Span| span.rule == KNOWN && span.start == end;
            let anchor = secrets_of(&machines.anchors, state, seen, length).next().is_some();
            let begun = anchor || spans.get(from..).unwrap_or_default().iter().any(is_known);
            if begun && !edge.open {
                edge.open = true;
                spans.push(edge.span);
            }
            let may_begin = machines.anchors.begin_with(state, seen, length)
                || (!edge.open && known.begin_with(self.window, seen, length))
                || (!edge.open && traces.iter().any(|trace| trace.start == end));
            begun || length == 0 || may_begin
        });
    }

    /// Whether a match ends here, so that another may begin.
    pub(super) fn is_edge(&self, at: u64) -> bool {
        self.edges.list().iter().any(|edge| edge.open && edge.span.end == at)
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
