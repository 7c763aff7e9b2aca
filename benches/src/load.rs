//! Two kinds of load: callers that ask again as soon as they are answered, and streams that stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Call, Connection, Timing};
use crate::events::Events;
use crate::stats::{Samples, Summary};
use crate::upstream;
use crate::wire::{Discard, Sink};

/// What callers saw in one round.
#[derive(Debug, Default, Serialize)]
pub struct Load {
    /// Answers that were right.
    pub answers: usize,
    /// Answers that were wrong or did not come; a round with one is no measurement.
    pub failures: usize,
    /// What was wrong with the first.
    pub failure: Option<String>,
    /// How long the round took, in seconds.
    pub seconds: f64,
    /// From before the request was written to the first byte of the body, less what the upstream took.
    pub first: Summary,
    /// From before the request was written to the last byte of the body, less what the upstream took to its head.
    pub total: Summary,
    /// From the writing of an event by the upstream to its reading here; streams only.
    pub events: Summary,
}

impl Load {
    /// Answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.answers as f64 / self.seconds } else { 0.0 }
    }
}

#[derive(Debug, Default)]
struct Seen {
    first: Samples,
    total: Samples,
    events: Samples,
    failures: usize,
    failure: Option<String>,
}

impl Seen {
    fn answer(&mut self, timing: Timing) {
        self.first.add(timing.first.saturating_sub(timing.upstream));
        self.total.add(timing.total.saturating_sub(timing.upstream));
    }

    fn failed(&mut self, why: String) {
        self.failures += 1;
        self.failure.get_or_insert(why);
    }

    fn extend(&mut self, other: Self) {
        self.first.extend(other.first);
        self.total.extend(other.total);
        self.events.extend(other.events);
        self.failures += other.failures;
        self.failure = self.failure.take().or(other.failure);
    }
}

/// Asks over so many connections, each again as soon as it was answered, for `span`.
///
/// # Errors
/// A connection cannot be opened, or the round does not end.
pub async fn closed_loop(
    address: SocketAddr,
    call: &Call,
    streams: bool,
    connections: usize,
    span: Duration,
) -> anyhow::Result<Load> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        // The first answer on a connection pays for its way to the upstream; that is no caller's daily life.
        connection.exchange(call, &mut Discard).await.context("the first answer on a connection")?;
        open.push(connection);
    }
    let started = Instant::now();
    let until = started + span;
    let mut callers = JoinSet::new();
    for connection in open {
        callers.spawn(caller(connection, address, call.clone(), streams, until));
    }
    let all = async {
        let mut seen = Seen::default();
        while let Some(one) = callers.join_next().await {
            seen.extend(one.context("a caller panicked")?);
        }
        anyhow::Ok(seen)
    };
    let seen = tokio::time::timeout(span + Duration::from_secs(10), all)
        .await
        .with_context(|| format!("{address} left a caller without an answer for ten seconds"))??;
    Ok(Load {
        answers: seen.total.len(),
        failures: seen.failures,
        failure: seen.failure,
        seconds: started.elapsed().as_secs_f64(),
        first: seen.first.summary(),
        total: seen.total.summary(),
        events: seen.events.summary(),
    })
}

async fn caller(
    mut connection: Connection,
    address: SocketAddr,
    call: Call,
    streams: bool,
    until: Instant,
) -> Seen {
    let mut seen = Seen::default();
    let mut events = Events::default();
    while Instant::now() < until {
        let answer = if streams {
            events.restart();
            connection.exchange(&call, &mut events).await
        } else {
            connection.exchange(&call, &mut Discard).await
        };
        match answer {
            Ok((head, _)) if head.status != 200 => seen.failed(format!("status {}", head.status)),
            Ok(_) if streams && (events.count < upstream::EVENTS || !events.done) => {
                seen.failed(format!("a stream with {} events, done: {}", events.count, events.done));
            }
            Ok((_, timing)) => seen.answer(timing),
            Err(error) => {
                seen.failed(format!("{error:#}"));
                match Connection::open(address).await {
                    Ok(fresh) => connection = fresh,
                    Err(_) => break,
                }
            }
        }
    }
    seen.events = events.delays;
    seen
}

/// Streams that stay open until this is finished.
#[derive(Debug)]
pub struct OpenStreams {
    streams: JoinSet<anyhow::Result<Events>>,
    measuring: Arc<AtomicBool>,
    stop: watch::Sender<()>,
}

impl OpenStreams {
    /// Opens so many, a few at a time.
    ///
    /// # Errors
    /// One cannot be opened.
    pub async fn open(address: SocketAddr, call: &Call, count: usize) -> anyhow::Result<Self> {
        let mut streams = JoinSet::new();
        let measuring = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = watch::channel(());
        for _ in 0..count {
            let connection = Connection::open(address).await?;
            let late = Late { events: Events::default(), measuring: Arc::clone(&measuring) };
            streams.spawn(open_stream(connection, call.clone(), late, stopped.clone()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { streams, measuring, stop })
    }

    /// Takes the delay of each event for `span`.
    pub async fn measure(&self, span: Duration) {
        self.measuring.store(true, Ordering::Relaxed);
        tokio::time::sleep(span).await;
        self.measuring.store(false, Ordering::Relaxed);
    }

    /// Leaves all streams; gives the delays of their events.
    ///
    /// # Errors
    /// A stream broke, or brought nothing while it was measured.
    pub async fn finish(mut self) -> anyhow::Result<Summary> {
        drop(self.stop);
        let mut delays = Samples::default();
        while let Some(stream) = self.streams.join_next().await {
            let events = stream.context("a stream's reader panicked")??;
            anyhow::ensure!(
                !events.delays.is_empty(),
                "an open stream brought no event while it was measured"
            );
            delays.extend(events.delays);
        }
        Ok(delays.summary())
    }
}

async fn open_stream(
    mut connection: Connection,
    call: Call,
    mut late: Late,
    mut stopped: watch::Receiver<()>,
) -> anyhow::Result<Events> {
    tokio::select! {
        answer = connection.exchange(&call, &mut late) => {
            let (head, _) = answer.context("an open stream broke")?;
            anyhow::bail!("a stream that should stay open ended; its status was {}", head.status);
        }
        _ = stopped.changed() => {}
    }
    Ok(late.events)
}

/// Keeps the delays of the events that come while measuring is on.
struct Late {
    events: Events,
    measuring: Arc<AtomicBool>,
}

impl Sink for Late {
    fn data(&mut self, bytes: &[u8]) {
        let before = self.events.delays.len();
        self.events.data(bytes);
        if !self.measuring.load(Ordering::Relaxed) {
            self.events.delays.truncate(before);
        }
    }
}
