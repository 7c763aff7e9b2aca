//! The figures as tables for people, and the aims that they are held against.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::plan::{Effort, Opens, Phase, Round, Rounds};
use crate::stats::median;
use crate::target::Kind;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// How long it measured.
    pub effort: Effort,
    /// What was proven before, and what could not be measured.
    pub notes: Vec<String>,
    /// Closed loops.
    pub rounds: Rounds,
    /// Open streams.
    pub opens: Opens,
}

/// One figure of a round.
type Figure = fn(&Round) -> f64;

impl Report {
    /// Wrong or missing answers in the whole run, and what was wrong with the first.
    #[must_use]
    pub fn failures(&self) -> (usize, Option<&str>) {
        let all = || self.rounds.values().flat_map(|kinds| kinds.values().flatten());
        (all().map(|round| round.load.failures).sum(), all().find_map(|round| round.load.failure.as_deref()))
    }

    /// The tables, Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.json_table(&mut out);
        self.thinking_table(&mut out);
        self.stream_table(&mut out);
        self.open_table(&mut out);
        self.aims_table(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        let machine = &self.machine;
        let (millis, rounds) = (self.effort.span.as_millis(), self.effort.rounds);
        line(out, &format!("{} cores of {}, Linux {}.", machine.cores, machine.processor, machine.kernel));
        let (p50, p99) = (whole(Some(machine.sync.p50)), whole(Some(machine.sync.p99)));
        line(out, &format!("Appending 4 KiB and syncing takes {p50} us p50, {p99} us p99 on this disk."));
        line(
            out,
            &format!(
                "{rounds} rounds of {millis} ms a target and load; load average before: {:.2}.",
                machine.load_before
            ),
        );
        line(out, "Times are microseconds; \"added\" is against direct in the same round.");
        line(out, "");
        for note in &self.notes {
            line(out, &format!("- {note}"));
        }
        if let (failures @ 1.., why) = self.failures() {
            line(
                out,
                &format!(
                    "\n**{failures} answers were wrong or missing; the first: {}**",
                    why.unwrap_or_default()
                ),
            );
        }
    }

    fn json_table(&self, out: &mut String) {
        if !self.has(&[Phase::Json1, Phase::Json64]) {
            return;
        }
        line(out, "\n### JSON answers of 1 KB, upstream without delay\n");
        line(
            out,
            "| | p50, 1 caller | added p50 | added p99 | requests/s, 64 callers | added p50 | added p99 | CPU a request |",
        );
        line(out, "|---|--:|--:|--:|--:|--:|--:|--:|");
        for kind in self.kinds() {
            let cells = [
                whole(self.median(Phase::Json1, kind, total_p50)),
                whole(self.added(Phase::Json1, kind, total_p50)),
                whole(self.added(Phase::Json1, kind, total_p99)),
                whole(self.median(Phase::Json64, kind, |r| r.load.rate())),
                whole(self.added(Phase::Json64, kind, total_p50)),
                whole(self.added(Phase::Json64, kind, total_p99)),
                whole(self.median(Phase::Json64, kind, |r| r.cpu.unwrap_or(f64::NAN))),
            ];
            row(out, kind.title(), &cells);
        }
    }

    fn thinking_table(&self, out: &mut String) {
        if !self.has(&[Phase::JsonThinks, Phase::StreamThinks]) {
            return;
        }
        line(
            out,
            "\n### Upstream that takes 20 ms to its first byte and 1 ms an event, 8 callers; its own time taken off\n",
        );
        line(
            out,
            "| | JSON p50 | added p50 | added p99 | stream: first event p50 | added p50 | added p99 | an event's way p50 | p99 |",
        );
        line(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        for kind in self.kinds() {
            let cells = [
                whole(self.median(Phase::JsonThinks, kind, total_p50)),
                whole(self.added(Phase::JsonThinks, kind, total_p50)),
                whole(self.added(Phase::JsonThinks, kind, total_p99)),
                whole(self.median(Phase::StreamThinks, kind, first_p50)),
                whole(self.added(Phase::StreamThinks, kind, first_p50)),
                whole(self.added(Phase::StreamThinks, kind, first_p99)),
                whole(self.median(Phase::StreamThinks, kind, |r| r.load.events.p50)),
                whole(self.median(Phase::StreamThinks, kind, |r| r.load.events.p99)),
            ];
            row(out, kind.title(), &cells);
        }
    }

    fn stream_table(&self, out: &mut String) {
        if !self.has(&[Phase::Stream1, Phase::Stream64]) {
            return;
        }
        line(out, "\n### Streams of 50 events, each written by itself, upstream without delay\n");
        line(
            out,
            "| | first event p50, 1 caller | added p50 | added p99 | whole stream p50 | added p50 | added p99 \
             | streams/s, 64 callers | CPU a stream |",
        );
        line(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        for kind in self.kinds() {
            let cells = [
                whole(self.median(Phase::Stream1, kind, first_p50)),
                whole(self.added(Phase::Stream1, kind, first_p50)),
                whole(self.added(Phase::Stream1, kind, first_p99)),
                whole(self.median(Phase::Stream1, kind, total_p50)),
                whole(self.added(Phase::Stream1, kind, total_p50)),
                whole(self.added(Phase::Stream1, kind, total_p99)),
                whole(self.median(Phase::Stream64, kind, |r| r.load.rate())),
                whole(self.median(Phase::Stream64, kind, |r| r.cpu.unwrap_or(f64::NAN))),
            ];
            row(out, kind.title(), &cells);
        }
    }

    fn open_table(&self, out: &mut String) {
        if self.opens.is_empty() {
            return;
        }
        line(out, "\n### Open streams, five events a second each\n");
        line(
            out,
            "| | resident, idle | 1 stream | 64 | 1,000 | a stream at 1,000 \
             | event p50/p99 late, 1 stream | 64 | 1,000 |",
        );
        line(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        for (kind, opens) in &self.opens {
            let mut cells = vec![opens.first().and_then(|open| open.idle).map_or("-".to_owned(), mebibytes)];
            cells.extend(opens.iter().map(|open| open.resident.map_or("-".to_owned(), mebibytes)));
            let a_stream = opens.last().and_then(crate::plan::Open::a_stream);
            cells.push(a_stream.map_or("-".to_owned(), |bytes| format!("{:.1} KiB", bytes / 1024.0)));
            let late = |open: &crate::plan::Open| {
                format!("{} / {}", whole(Some(open.events.p50)), whole(Some(open.events.p99)))
            };
            cells.extend(opens.iter().map(late));
            row(out, kind.title(), &cells);
        }
    }

    fn aims_table(&self, out: &mut String) {
        let aims = self.aims();
        if aims.is_empty() {
            return;
        }
        line(out, "\n### Held against the aims\n");
        line(out, "| aim | measured | |\n|---|--:|---|");
        for Aim { what, measured, limit, unit } in aims {
            let verdict = if measured <= limit { "met" } else { "**missed**" };
            line(out, &format!("| {what} <= {limit} {unit} | {measured:.0} {unit} | {verdict} |"));
        }
    }

    fn aims(&self) -> Vec<Aim> {
        let mut aims = Vec::new();
        let mut aim = |what: &str, measured: Option<f64>, limit: f64, unit: &'static str| {
            aims.extend(measured.map(|measured| Aim { what: what.to_owned(), measured, limit, unit }));
        };
        let json = |kind, figure| self.added(Phase::Json1, kind, figure);
        let thinks = |kind, figure| self.added(Phase::JsonThinks, kind, figure);
        let first = |kind, figure| self.added(Phase::StreamThinks, kind, figure);
        aim("process, no delay: added p50", json(Kind::Process, total_p50), 300.0, "us");
        aim("process, no delay: added p99", json(Kind::Process, total_p99), 1000.0, "us");
        aim("disk, 20 ms upstream, JSON: added p50", thinks(Kind::Disk, total_p50), 300.0, "us");
        aim("disk, 20 ms upstream, JSON: added p99", thinks(Kind::Disk, total_p99), 1000.0, "us");
        aim("disk, 20 ms upstream, first event: added p50", first(Kind::Disk, first_p50), 300.0, "us");
        aim("disk, 20 ms upstream, first event: added p99", first(Kind::Disk, first_p99), 1000.0, "us");
        for kind in [Kind::Process, Kind::Disk] {
            let open =
                self.opens.get(&kind).and_then(|opens| opens.last()).and_then(crate::plan::Open::a_stream);
            aim(&format!("{}: memory an open stream", kind.title()), open.map(|b| b / 1024.0), 64.0, "KiB");
        }
        aims
    }

    fn has(&self, phases: &[Phase]) -> bool {
        phases.iter().any(|phase| self.rounds.contains_key(phase))
    }

    /// The targets, in the order of the tables.
    fn kinds(&self) -> BTreeSet<Kind> {
        self.rounds.values().flat_map(|kinds| kinds.keys().copied()).collect()
    }

    fn of(&self, phase: Phase, kind: Kind) -> &[Round] {
        self.rounds.get(&phase).and_then(|kinds| kinds.get(&kind)).map_or(&[], Vec::as_slice)
    }

    fn median(&self, phase: Phase, kind: Kind, figure: Figure) -> Option<f64> {
        median(self.of(phase, kind).iter().map(figure))
    }

    fn added(&self, phase: Phase, kind: Kind, figure: Figure) -> Option<f64> {
        if kind == Kind::Direct {
            return None;
        }
        let pairs = self.of(phase, kind).iter().zip(self.of(phase, Kind::Direct));
        median(pairs.map(|(through, direct)| figure(through) - figure(direct)))
    }
}

struct Aim {
    what: String,
    measured: f64,
    limit: f64,
    unit: &'static str,
}

fn total_p50(round: &Round) -> f64 {
    round.load.total.p50
}

fn total_p99(round: &Round) -> f64 {
    round.load.total.p99
}

fn first_p50(round: &Round) -> f64 {
    round.load.first.p50
}

fn first_p99(round: &Round) -> f64 {
    round.load.first.p99
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn row(out: &mut String, title: &str, cells: &[String]) {
    let _infallible = writeln!(out, "| {title} | {} |", cells.join(" | "));
}

fn whole(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.0}"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::Load;
    use crate::stats::Summary;

    fn report(rounds: &[(f64, f64)]) -> Report {
        let round = |p50: f64| {
            let total = Summary { count: 1, p50, p99: p50 * 2.0 };
            Round { load: Load { answers: 1, seconds: 1.0, total, ..Load::default() }, cpu: None }
        };
        let kinds = BTreeMap::from([
            (Kind::Direct, rounds.iter().map(|&(direct, _)| round(direct)).collect()),
            (Kind::Process, rounds.iter().map(|&(_, through)| round(through)).collect()),
        ]);
        let machine = Machine {
            processor: "any".to_owned(),
            cores: 2,
            kernel: "any".to_owned(),
            load_before: 0.0,
            sync: Summary::default(),
        };
        let rounds = BTreeMap::from([(Phase::Json1, kinds)]);
        Report { machine, effort: Effort::QUICK, notes: Vec::new(), rounds, opens: Opens::new() }
    }

    #[test]
    fn what_is_added_is_told_apart_from_a_machine_that_drifts() {
        // The machine gets slower and slower; the target always adds 100, but for one disturbed round.
        let report =
            report(&[(10.0, 110.0), (50.0, 150.0), (400.0, 9000.0), (900.0, 1000.0), (1000.0, 1100.0)]);
        assert_eq!(report.added(Phase::Json1, Kind::Process, total_p50), Some(100.0));
        assert_eq!(report.added(Phase::Json1, Kind::Direct, total_p50), None);
        let text = report.markdown();
        assert!(text.contains("added p50 <= 300 us | 100 us | met |"), "{text}");
    }

    #[test]
    fn a_missed_aim_and_a_failure_are_said() {
        let mut report = report(&[(10.0, 400.0)]);
        let round = report.rounds.get_mut(&Phase::Json1).and_then(|kinds| kinds.get_mut(&Kind::Process));
        let load = &mut round.expect("it is there")[0].load;
        (load.failures, load.failure) = (3, Some("status 503".to_owned()));
        let text = report.markdown();
        assert!(text.contains("| 390 us | **missed** |"), "{text}");
        assert!(text.contains("3 answers were wrong or missing; the first: status 503"), "{text}");
    }
}
