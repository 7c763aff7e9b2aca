//! What is measured in which order.
//!
//! Every target takes its turn in every round, and no target always comes first. What a target adds is
//! the difference to the direct measurement of the same round; a figure is the median over the rounds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Serialize, Serializer};

use crate::child::Process;
use crate::client::{Call, Connection};
use crate::load::{self, Load, OpenStreams};
use crate::stats::Summary;
use crate::target::{Kind, Target};
use crate::upstream::Model;
use crate::wire::Discard;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Phase {
    /// JSON answers, one caller.
    #[value(name = "json-1")]
    Json1,
    /// JSON answers, 64 callers.
    #[value(name = "json-64")]
    Json64,
    /// JSON answers of an upstream that takes 20 ms, 8 callers.
    #[value(name = "json-20ms-8")]
    JsonThinks,
    /// Streams of 50 events, one caller.
    #[value(name = "stream-1")]
    Stream1,
    /// Streams of 50 events, 64 callers.
    #[value(name = "stream-64")]
    Stream64,
    /// Streams of an upstream that takes 20 ms to its first event, 8 callers.
    #[value(name = "stream-20ms-8")]
    StreamThinks,
}

impl Phase {
    /// In the order in which they are measured.
    pub const ALL: [Self; 6] =
        [Self::Json1, Self::Stream1, Self::JsonThinks, Self::StreamThinks, Self::Json64, Self::Stream64];

    /// Its name in the JSON report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json1 => "json-1",
            Self::Json64 => "json-64",
            Self::JsonThinks => "json-20ms-8",
            Self::Stream1 => "stream-1",
            Self::Stream64 => "stream-64",
            Self::StreamThinks => "stream-20ms-8",
        }
    }

    fn model(self) -> Model {
        if matches!(self, Self::JsonThinks | Self::StreamThinks) { Model::Thinks } else { Model::Instant }
    }

    fn streams(self) -> bool {
        matches!(self, Self::Stream1 | Self::Stream64 | Self::StreamThinks)
    }

    fn connections(self) -> usize {
        match self {
            Self::Json1 | Self::Stream1 => 1,
            Self::JsonThinks | Self::StreamThinks => 8,
            Self::Json64 | Self::Stream64 => 64,
        }
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How long the run may take.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Effort {
    /// How many rounds.
    pub rounds: usize,
    /// How long a target is measured in a phase of a round.
    pub span: Duration,
    /// How long streams stay open before and while they are measured.
    pub open: Duration,
}

impl Effort {
    /// Under eight minutes.
    pub const FULL: Self =
        Self { rounds: 5, span: Duration::from_millis(2000), open: Duration::from_secs(4) };
    /// Under one minute.
    pub const QUICK: Self =
        Self { rounds: 2, span: Duration::from_millis(350), open: Duration::from_millis(900) };
}

/// One target in one phase of one round.
#[derive(Debug, Serialize)]
pub struct Round {
    /// What callers saw.
    #[serde(flatten)]
    pub load: Load,
    /// Processor time of the target for each answer, in microseconds; in steps of the kernel's clock tick.
    pub cpu: Option<f64>,
}

/// The rounds of every target in every phase.
pub type Rounds = BTreeMap<Phase, BTreeMap<Kind, Vec<Round>>>;

/// Measures these phases.
///
/// # Errors
/// A target does not answer at all.
pub async fn rounds(targets: &[Target], phases: &[Phase], effort: Effort) -> anyhow::Result<Rounds> {
    let mut rounds = Rounds::new();
    for round in 0..effort.rounds {
        progress(&format!("round {} of {}", round + 1, effort.rounds));
        for &phase in phases {
            let mut order: Vec<&Target> = targets.iter().collect();
            order.rotate_left(round % targets.len().max(1));
            for target in order {
                let measured = measure(target, phase, effort.span).await;
                let measured =
                    measured.with_context(|| format!("{}, {}", target.kind.title(), phase.name()))?;
                rounds.entry(phase).or_default().entry(target.kind).or_default().push(measured);
            }
        }
    }
    Ok(rounds)
}

async fn measure(target: &Target, phase: Phase, span: Duration) -> anyhow::Result<Round> {
    let call = Call::chat(phase.model(), phase.streams(), &target.token);
    let before = target.process().map(Process::cpu).transpose()?;
    let load = load::closed_loop(target.address, &call, phase.streams(), phase.connections(), span).await?;
    let after = target.process().map(Process::cpu).transpose()?;
    let cpu = before.zip(after).filter(|_| load.answers > 0);
    let cpu = cpu.map(|(before, after)| (after - before).as_secs_f64() * 1e6 / load.answers as f64);
    Ok(Round { load, cpu })
}

/// How many streams are open at once.
pub const OPEN: [usize; 3] = [1, 64, 1000];

/// A target while streams are open through it.
#[derive(Debug, Serialize)]
pub struct Open {
    /// How many streams.
    pub streams: usize,
    /// Resident memory of the fresh process after a few answers, in bytes.
    pub idle: Option<u64>,
    /// Resident memory while they are open, in bytes.
    pub resident: Option<u64>,
    /// From the writing of an event by the upstream to its reading by the caller.
    pub events: Summary,
}

impl Open {
    /// Memory of one open stream, in bytes.
    #[must_use]
    pub fn a_stream(&self) -> Option<f64> {
        let (idle, open) = (self.idle?, self.resident?);
        Some((open as f64 - idle as f64) / self.streams as f64)
    }
}

/// Every target, at each number of open streams.
pub type Opens = BTreeMap<Kind, Vec<Open>>;

/// Opens streams through each target, freshly started, and leaves them open.
///
/// # Errors
/// A target does not come up again, or does not keep the streams.
pub async fn open_streams(targets: &mut [Target], effort: Effort) -> anyhow::Result<Opens> {
    let mut opens = Opens::new();
    for target in targets {
        progress(&format!("open streams: {}", target.kind.title()));
        target.restart()?;
        warm_up(target).await?;
        let idle = target.process().map(Process::resident).transpose()?;
        for streams in OPEN {
            let open = open(target, streams, idle, effort.open).await;
            let open = open.with_context(|| format!("{}, {streams} open streams", target.kind.title()))?;
            opens.entry(target.kind).or_default().push(open);
        }
    }
    Ok(opens)
}

async fn open(target: &Target, streams: usize, idle: Option<u64>, span: Duration) -> anyhow::Result<Open> {
    let call = Call::chat(Model::Endless, true, &target.token);
    let open = OpenStreams::open(target.address, &call, streams).await?;
    tokio::time::sleep(span / 4).await;
    open.measure(span).await;
    let resident = target.process().map(Process::resident).transpose()?;
    let events = open.finish().await?;
    // What the callers left behind is cleaned up before the next are counted.
    tokio::time::sleep(span / 4).await;
    Ok(Open { streams, idle, resident, events })
}

/// A few answers of each kind, so that what is set up once is not counted with the first stream.
async fn warm_up(target: &Target) -> anyhow::Result<()> {
    for _ in 0..4 {
        let mut connection = Connection::open(target.address).await?;
        for streams in [false, true] {
            let call = Call::chat(Model::Instant, streams, &target.token);
            connection.exchange(&call, &mut Discard).await?;
        }
    }
    Ok(())
}

fn progress(text: &str) {
    let _nobody_watches = writeln!(std::io::stderr(), "{text}");
}
