//! The scanner: spans of secrets in a text that arrives in any pieces.
//!
//! A [`Scan`] carries what is undecided from one piece to the next: the state of the anchor automaton, the
//! candidates that are alive, and the traces of known secrets. What it reports depends on the bytes alone,
//! never on where the pieces were cut, because every step is taken byte by byte.

mod adjacent;
mod anchors;
mod automaton;
mod bytes;
mod candidate;
mod crowd;
mod dfa;
mod encoders;
mod glance;
mod joint;
mod known;
mod machine;
mod pass;
mod scout;
mod telling;
mod together;
mod variants;

use self::adjacent::Edges;
use self::anchors::{Anchors, Hit};
use self::automaton::State;
use self::candidate::{Aside, Candidate, End, Here, Out, Phase, ends_blackout};
use self::dfa::Table;
use self::known::Trace;
pub(crate) use self::known::{HEAD, Known};
use self::machine::Machine;
pub use self::scout::Engine;
use self::scout::Scout;
use self::together::{JOINT, Together};
use crate::rule::{Rule, RuleError, Verdicts};

/// The rule number of known secrets.
pub(crate) const KNOWN: u16 = u16::MAX;

/// All rules, compiled.
#[derive(Debug)]
pub(crate) struct Machines {
    rules: Vec<Machine>,
    /// The automata of all rules.
    table: Table,
    anchors: Anchors,
    together: Together,
    /// The length of the shortest secret.
    shortest: usize,
    /// What looks ahead in large pieces.
    engine: Engine,
    #[cfg(feature = "vectorscan")]
    database: Option<scout::vectorscan::Database>,
}

/// A part of a text that is to be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) rule: u16,
}

/// What is carried from one piece of a text to the next.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pos: u64,
    anchor: State,
    /// The last eight bytes.
    window: u64,
    /// Which table of known secrets `traces` points into.
    generation: u32,
    live: Vec<Candidate>,
    traces: Vec<Trace>,
    edges: Edges,
    /// Where the text will be as long as what checks have looked at of it.
    settled: u64,
}

/// The bytes at hand: those not yet released and some before them.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) bytes: &'a [u8],
    /// The position of the first of them.
    pub(crate) base: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn get(&self, from: u64, to: u64) -> &'a [u8] {
        self.bytes.get(self.index(from)..self.index(to)).unwrap_or_default()
    }

    /// Where a position is among the bytes.
    fn index(&self, pos: u64) -> usize {
        usize::try_from(pos.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    fn before(&self, pos: u64) -> &'a [u8] {
        self.get(self.base, pos)
    }
}

impl Machines {
    pub(crate) fn new(rules: &[Rule], key: Option<&[u8]>, engine: Engine) -> Result<Self, RuleError> {
        let mut table = Table::default();
        let machines = rules.iter().map(|rule| Machine::new(&mut table, rule, key));
        let machines = machines.collect::<Result<Vec<_>, _>>()?;
        let mut anchors = Anchors::new(rules, &machines, &table)?;
        let together = Together::new(&mut table, &machines, &mut anchors).map_err(|problem| RuleError {
            rule: "all".into(),
            field: "context",
            problem,
        })?;
        table.shrink();
        #[cfg(feature = "vectorscan")]
        let database =
            (engine == Engine::Vectorscan).then(|| scout::vectorscan::Database::new(&anchors)).transpose()?;
        let rules = machines;
        let shortest = rules.iter().map(|machine| machine.shortest).min().unwrap_or(usize::MAX);
        Ok(Self {
            rules,
            table,
            anchors,
            together,
            shortest,
            engine,
            #[cfg(feature = "vectorscan")]
            database,
        })
    }

    /// How many bytes before the undecided ones a scan must be able to see.
    pub(crate) fn lookbehind(&self) -> usize {
        self.anchors.lookbehind().max(HEAD)
    }

    pub(crate) fn memory(&self) -> usize {
        let rules: usize = self.rules.iter().map(Machine::memory).sum();
        #[cfg(feature = "vectorscan")]
        let rules = rules + self.database.as_ref().map_or(0, scout::vectorscan::Database::memory);
        rules + self.table.memory() + self.anchors.memory() + self.together.memory()
    }

    #[inline]
    fn rule(&self, rule: u16) -> Option<&Machine> {
        self.rules.get(usize::from(rule))
    }
}

impl Scan {
    pub(crate) fn new(machines: &Machines) -> Self {
        Self {
            pos: 0,
            anchor: machines.anchors.start(),
            window: 0,
            generation: 0,
            live: Vec::new(),
            traces: Vec::new(),
            edges: Edges::default(),
            settled: 0,
        }
    }

    /// How many bytes have been scanned.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// Scans the bytes of `text` from where the last call ended, and adds what is certain to `spans`.
    pub(crate) fn advance(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        spans: &mut Vec<Span>,
    ) {
        if self.generation != known.version() {
            self.retrace(known, text);
        }
        let mut scout = Scout::new(machines, text.bytes.len().saturating_sub(text.index(self.pos)));
        while text.index(self.pos) < text.bytes.len() {
            let mut ahead = None;
            if self.is_idle() {
                ahead = scout.as_mut().and_then(|scout| self.pass(machines, known, text, scout));
                if ahead.is_none() {
                    self.skim(machines, known, text.bytes.get(text.index(self.pos)..).unwrap_or_default());
                }
            }
            let Some(&byte) = text.bytes.get(text.index(self.pos)) else { break };
            let anchor = ahead.unwrap_or_else(|| machines.anchors.step(self.anchor, byte));
            self.byte(machines, known, text, byte, anchor, spans);
        }
        self.judge_refused(machines, text);
        spans.extend(self.certain());
    }

    /// The end of the text: decides what is still open. A text may end inside of a secret, where a model was stopped;
    /// a beginning that gives most of it away is masked like the whole.
    pub(crate) fn finish(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        spans: &mut Vec<Span>,
    ) {
        spans.extend(self.certain());
        self.part_all(machines);
        let mut live = std::mem::take(&mut self.live);
        for candidate in &mut live {
            let machine = machines.rule(candidate.rule);
            if let (Some(machine), Phase::Secret) = (machine, candidate.phase) {
                if machine.secret.matches_at_end(candidate.state) {
                    candidate.mark = self.pos;
                }
                let committed = machine.commit.as_ref().zip(candidate.commit);
                if committed.is_some_and(|(commit, state)| commit.matches_at_end(state)) {
                    spans.push(Span { start: candidate.start, end: self.pos, rule: candidate.rule });
                }
                let mut out = Out { spans, verdicts: &mut Verdicts::default() };
                candidate.conclude(machine, text, &mut out);
                candidate.cut_off(machine, text, self.pos, spans);
            }
        }
        let told = self.traces.drain(..).filter(|trace| known.tells(trace));
        spans.extend(told.map(|trace| Span { start: trace.start, end: self.pos, rule: KNOWN }));
    }

    /// No byte before this position can become a part of a span that is not yet reported.
    pub(crate) fn safe(&self, machines: &Machines, known: &Known, text: Window<'_>) -> u64 {
        let bytes = text.before(self.pos);
        let heads =
            machines.anchors.held(self.anchor, bytes, text.base == 0).max(known.held(self.window, bytes));
        let undecided = self.live.iter().filter(|candidate| candidate.phase.is_held()).map(|c| c.start);
        let traced = self.traces.iter().map(|trace| trace.start);
        let beside = self.held_beside(machines, bytes);
        undecided.chain(traced).fold(beside.min(self.pos - heads as u64), u64::min)
    }

    /// Whether forgetting this scan would forget nothing that matters.
    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_empty() && self.traces.is_empty() && self.edges.is_empty()
    }

    /// Whether nothing has begun here, and what follows will be seen as by the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.is_idle() && self.anchor == other.anchor
    }

    /// The shortest text anything can be found in.
    pub(crate) fn shortest(machines: &Machines, known: &Known) -> usize {
        if known.is_empty() { machines.shortest } else { machines.shortest.min(HEAD) }
    }

    /// Takes one byte, behind which the anchor automaton is in the state `anchor`.
    fn byte(
        &mut self,
        machines: &Machines,
        known: &Known,
        text: Window<'_>,
        byte: u8,
        anchor: State,
        spans: &mut Vec<Span>,
    ) {
        let at = self.pos;
        self.pos += 1;
        self.edges.step();
        let from = spans.len();
        if !self.live.is_empty() {
            self.step_live(machines, text, byte, at, spans);
        }
        self.step_known(known, byte, spans);
        self.anchor = anchor;
        let ended = self.end(machines, text, spans, from);
        if !self.edges.is_empty() {
            self.settle(machines, known, text, spans, from);
        }
        if machines.anchors.is_hit(self.anchor) {
            let seen = text.before(self.pos);
            for hit in machines.anchors.hits(self.anchor, seen) {
                self.begin(machines, text, hit, spans);
            }
        }
        self.end(machines, text, spans, ended);
        self.limit(machines, known);
    }

    fn step_live(&mut self, machines: &Machines, text: Window<'_>, byte: u8, at: u64, spans: &mut Vec<Span>) {
        let mut due = None;
        for (index, candidate) in self.live.iter_mut().enumerate() {
            if candidate.follow(&machines.table, byte, at) {
                due = due.or(Some(index));
            }
        }
        if let Some(first) = due {
            self.decide_live(machines, Here { table: &machines.table, text, byte, at }, first, spans);
        }
    }

    /// Decides about the candidates from a number on, which have stepped over a byte.
    fn decide_live(&mut self, machines: &Machines, here: Here<'_>, first: usize, spans: &mut Vec<Span>) {
        let count = self.live.len();
        let mut kept = first;
        let mut verdicts = Verdicts::default();
        for index in first..count {
            let Some(candidate) = self.live.get_mut(index) else { break };
            let goes_on = !candidate.is_due(here.at)
                || self.decide(machines, here, index, &mut Out { spans, verdicts: &mut verdicts });
            if goes_on {
                if kept < index {
                    self.live.swap(kept, index);
                }
                kept += 1;
            }
        }
        if kept < count {
            self.live.drain(kept..count);
        }
        self.owe(verdicts.looked_at());
    }

    /// Decides about one candidate; says whether it lives on.
    fn decide(&mut self, machines: &Machines, here: Here<'_>, index: usize, out: &mut Out<'_>) -> bool {
        let Some(candidate) = self.live.get_mut(index) else { return false };
        let rule = candidate.rule;
        if candidate.phase == Phase::Blackout {
            // It may stand for a known secret, which has no machine.
            let ends = here.at >= candidate.mark && ends_blackout(here.byte);
            if ends {
                out.spans.push(Span { start: candidate.start, end: here.at, rule });
            }
            return !ends;
        }
        if rule == JOINT {
            let candidate = *candidate;
            return self.decide_together(machines, here, candidate, out);
        }
        let Some(machine) = machines.rule(rule) else { return false };
        let mut aside = Aside::Nothing;
        let goes_on = candidate.decide(machine, here, out, &mut aside);
        let end = candidate.end(machine, aside, here.at);
        if aside == Aside::Begins {
            self.begin_behind(machines, here, rule, out);
        }
        if let Some(end) = end {
            self.heed(machines, here.text, end, out.spans);
        }
        goes_on
    }

    /// Behind a name the secret of a rule begins with the byte at hand.
    fn begin_behind(&mut self, machines: &Machines, here: Here<'_>, rule: u16, out: &mut Out<'_>) {
        if let Some(secret) = self.secret_at(machines, here.text, rule, here.at, out, &mut Vec::new()) {
            self.add_begun(secret);
        }
    }

    fn step_known(&mut self, known: &Known, byte: u8, spans: &mut Vec<Span>) {
        self.window = (self.window << 8) | u64::from(byte);
        if known.is_empty() {
            return;
        }
        let end = self.pos;
        self.traces.retain_mut(|trace| match known.follow(trace, byte) {
            None => false,
            Some(ends) => {
                if ends {
                    spans.push(Span { start: trace.start, end, rule: KNOWN });
                }
                !known.is_last(trace)
            }
        });
        if known.may_begin(self.window)
            && let Some((trace, ends)) = known.begin(self.window, end)
        {
            if ends {
                spans.push(Span { start: trace.start, end, rule: KNOWN });
            }
            if !known.is_last(&trace) {
                self.traces.push(trace);
            }
        }
    }

    /// The table of known secrets has changed: finds again what has begun, in the bytes at hand.
    fn retrace(&mut self, known: &Known, text: Window<'_>) {
        self.generation = known.version();
        self.traces.clear();
        let seen = text.before(self.pos);
        let from = seen.len().saturating_sub(known.longest());
        for (start, head) in seen.windows(HEAD).enumerate().skip(from) {
            let window = head.iter().fold(0, |window, byte| (window << 8) | u64::from(*byte));
            let end = text.base + (start + HEAD) as u64;
            let Some((mut trace, _)) = known.begin(window, end).filter(|_| known.may_begin(window)) else {
                continue;
            };
            let rest = seen.get(start + HEAD..).unwrap_or_default();
            if rest.iter().all(|byte| known.follow(&mut trace, *byte).is_some()) && !known.is_last(&trace) {
                self.traces.push(trace);
            }
        }
    }

    /// An anchor has been seen: its rule begins.
    fn begin(&mut self, machines: &Machines, text: Window<'_>, hit: &Hit, spans: &mut Vec<Span>) {
        if let Some(ready) = hit.ready {
            let Some(start) = self.pos.checked_sub(hit.back.0 as u64).filter(|start| *start >= text.base)
            else {
                return;
            };
            // Nothing can tell whether one began that comes to nothing.
            let next = text.index(self.pos);
            let is_over = text.bytes.get(next).is_some_and(|byte| hit.dies_with(*byte));
            let begins = match ready.phase {
                Phase::Context => !is_over,
                _ => {
                    machines.rule(hit.rule).is_some_and(|machine| self.lets_begin(machine, hit, text, start))
                }
            };
            if begins {
                self.add(ready.starting_at(start));
            }
            return;
        }
        let Some(machine) = machines.rule(hit.rule) else { return };
        for back in hit.back.0..=hit.back.1 {
            let Some(start) = self.pos.checked_sub(back as u64).filter(|start| *start >= text.base) else {
                break;
            };
            if machine.context.is_some() {
                self.begin_context(machines, machine, text, hit.rule, start, spans);
            } else if self.lets_begin(machine, hit, text, start) {
                self.begin_secret(machines, text, hit.rule, start, spans);
            }
        }
    }

    /// Whether what stands before an anchor lets the secret of a rule begin with it.
    fn lets_begin(&self, machine: &Machine, hit: &Hit, text: Window<'_>, start: u64) -> bool {
        (machine.may_begin(text.before(start), start == 0) || (hit.beside && self.is_edge(start)))
            && !self.is_hidden(machine)
    }

    fn begin_context(
        &mut self,
        machines: &Machines,
        machine: &Machine,
        text: Window<'_>,
        rule: u16,
        start: u64,
        spans: &mut Vec<Span>,
    ) {
        let Some(context) = &machine.context else { return };
        let state = context.start(text.before(start).last().copied());
        let mut candidate = Candidate::new(machine, rule, Phase::Context, (state, None), start);
        let mut alive = true;
        for (at, byte) in (start..).zip(text.get(start, self.pos)) {
            let mut aside = Aside::Nothing;
            alive = candidate.step_context(&machines.table, *byte, at, &mut aside);
            if aside == Aside::Begins {
                self.begin_secret(machines, text, rule, at, spans);
            }
            if !alive {
                break;
            }
        }
        if alive {
            self.add(candidate);
        }
    }

    fn begin_secret(
        &mut self,
        machines: &Machines,
        text: Window<'_>,
        rule: u16,
        start: u64,
        spans: &mut Vec<Span>,
    ) {
        let mut ends = Vec::new();
        let mut out = Out { spans, verdicts: &mut Verdicts::default() };
        if let Some(candidate) = self.secret_at(machines, text, rule, start, &mut out, &mut ends) {
            self.add(candidate);
        }
        self.owe(out.verdicts.looked_at());
        for end in ends {
            self.heed(machines, text, end, spans);
        }
    }

    /// Whether what stands before the secret of a rule lets it begin here.
    fn may_begin(&self, machine: &Machine, text: Window<'_>, start: u64) -> bool {
        machine.may_begin(text.before(start), start == 0)
            || (machine.context.is_none() && self.is_edge(start))
    }

    /// The secret part of a rule from `start` on, behind the bytes already taken, if it is still alive there. Says too
    /// where another may begin.
    fn secret_at(
        &self,
        machines: &Machines,
        text: Window<'_>,
        rule: u16,
        start: u64,
        out: &mut Out<'_>,
        ends: &mut Vec<End>,
    ) -> Option<Candidate> {
        let machine = machines.rule(rule)?;
        let bytes = text.get(start, self.pos);
        if bytes.first().is_some_and(|byte| !machine.can_begin_with(*byte)) {
            return None;
        }
        if !self.may_begin(machine, text, start) || self.is_hidden(machine) {
            return None;
        }
        let states = machine.start(text.before(start).last().copied());
        let mut candidate = Candidate::new(machine, rule, Phase::Secret, states, start);
        let mut goes_on = true;
        for (at, byte) in (start..).zip(bytes) {
            let mut aside = Aside::Nothing;
            let here = Here { table: &machines.table, text, byte: *byte, at };
            goes_on = candidate.step(machine, here, out, &mut aside);
            ends.extend(candidate.end(machine, aside, at));
            if !goes_on {
                break;
            }
        }
        goes_on.then_some(candidate)
    }
}

#[cfg(test)]
mod tests;
