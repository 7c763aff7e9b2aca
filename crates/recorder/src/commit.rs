//! The one thread that writes entries. All that waits goes into one transaction and one sync; what cannot be
//! written is refused or, where it follows from something acknowledged, kept until it can.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gatewayd_core::{Claim, Timestamp};
use tokio::sync::oneshot;

use crate::codec::Text;
use crate::error::Error;
use crate::facts::{Facts, Salt};
use crate::keys::WRAPPED;
use crate::leaf::{self, Bodies, Gap, GapReason, Kind, Leaf};
use crate::publish::Publisher;
use crate::queue::{Work, Worker};
use crate::reserve::Reserve;
use crate::sequence::Sequencer;
use crate::session::{End, Session};
use crate::shared::Shared;
use crate::store::Store;

/// At most this many entries go into one transaction.
const BATCH: usize = 4096;
/// How long the thread waits before it tries again to write.
const RETRY: Duration = Duration::from_millis(250);
/// How often it tries at the end, before it leaves what is owed to the next start.
const LAST_TRIES: usize = 20;
/// At most so often a gap is told.
const GAP_EVERY: Duration = Duration::from_secs(1);

/// Why an entry was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CommitError {
    /// Another request made the claim.
    #[error("{kind} {id} was used by another request")]
    Claimed { kind: &'static str, id: Arc<str> },
    /// Nothing can be written.
    #[error("{0}")]
    Unavailable(String),
}

/// Tells whoever waits that an entry is durable, and where it is.
pub(crate) type Ack = oneshot::Sender<Result<u64, CommitError>>;

/// Changes other tables together with the entries it returns.
pub(crate) type Task = Box<dyn FnOnce(&mut Store, u64) -> Result<Vec<Leaf>, Error> + Send>;

/// Something to be written.
pub(crate) enum Entry {
    Intent(Box<IntentEntry>),
    /// A new key of a subject.
    Subject {
        subject: Arc<str>,
        wrapped: [u8; WRAPPED],
    },
    /// The key of a session that is being forwarded.
    Key {
        id: [u8; 16],
        key: SessionKey,
    },
    Close(Box<Close>),
    Event(Box<EventEntry>),
    /// A segment was closed.
    Segment {
        number: u64,
        closed: Timestamp,
        bytes: u64,
    },
    Task {
        task: Option<Task>,
        ack: Option<mpsc::SyncSender<Result<u64, Error>>>,
    },
    /// Answered when everything before it is written, or cannot be.
    Barrier(mpsc::SyncSender<bool>),
    /// Writes the last entry, the last checkpoint, and ends the thread.
    Stop,
}

impl Work for Entry {
    fn is_urgent(&self) -> bool {
        match self {
            Self::Close(close) => close.ack.is_some(),
            Self::Subject { .. } | Self::Key { .. } | Self::Segment { .. } => false,
            Self::Intent(_) | Self::Event(_) | Self::Task { .. } | Self::Barrier(_) | Self::Stop => true,
        }
    }
}

pub(crate) struct IntentEntry {
    pub(crate) id: [u8; 16],
    pub(crate) leaf: Vec<u8>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) ack: Ack,
}

/// The wrapped key of a session.
#[derive(Clone)]
pub(crate) struct SessionKey {
    pub(crate) subject: Arc<str>,
    pub(crate) wrapped: [u8; WRAPPED],
}

/// The end of a request.
pub(crate) struct Close {
    pub(crate) session: Arc<Session>,
    pub(crate) end: End,
    pub(crate) bodies: Bodies,
    pub(crate) key: Option<SessionKey>,
    pub(crate) ack: Option<Ack>,
}

pub(crate) struct EventEntry {
    pub(crate) leaf: Vec<u8>,
    pub(crate) request: Option<[u8; 16]>,
    pub(crate) salt: Salt,
    pub(crate) who: Option<Vec<u8>>,
    pub(crate) words: Vec<u8>,
    pub(crate) ack: Ack,
}

pub(crate) type Written = Result<u64, CommitError>;

/// The committer's state.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    sequencer: Box<dyn Sequencer>,
    publisher: Publisher,
    reserve: Reserve,
    /// Closing entries that could not be written yet.
    owed: Vec<Entry>,
    /// How many missing ones the gap entry that is being written tells of.
    declaring: u64,
    /// When a gap was told last.
    declared: Option<Instant>,
    /// What was erased may still stand in the write-ahead log.
    unsettled: bool,
    /// When writing was tried again last.
    tried: Option<Instant>,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sequencer: Box<dyn Sequencer>,
        mut publisher: Publisher,
        reserve: Reserve,
    ) -> Self {
        publisher.publish(&*sequencer);
        Self {
            shared,
            sequencer,
            publisher,
            reserve,
            owed: Vec::new(),
            declaring: 0,
            declared: None,
            unsettled: false,
            tried: None,
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, mut entries: Worker<Entry>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.tried.is_none_or(|tried| tried.elapsed() >= RETRY);
            if due && (!self.owed.is_empty() || self.shared.writing.is_failing()) {
                self.try_again(false);
            }
            if self.unsettled {
                self.settle();
            }
            entries.wait(self.patience());
            batch.extend(std::iter::from_fn(|| entries.next()).take(BATCH));
            self.shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            let stop = batch.iter().position(|entry| matches!(entry, Entry::Stop));
            batch.truncate(stop.unwrap_or(batch.len()));
            if self.until_gap().is_zero() && !self.shared.writing.is_failing() {
                batch.extend(self.gap());
            }
            if !batch.is_empty() {
                self.write(&mut batch);
            }
            if stop.is_some() {
                return self.stop();
            }
            self.publisher.publish_if_due(&*self.sequencer);
        }
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&self) -> Duration {
        if self.shared.writing.is_failing() || self.unsettled {
            return RETRY;
        }
        self.publisher.patience(self.sequencer.tree().size()).min(self.until_gap())
    }

    /// How long until what is missing is told: at once, but not with each batch while the queue is full.
    fn until_gap(&self) -> Duration {
        if self.shared.missing.count() == 0 {
            return Duration::MAX;
        }
        self.declared.map_or(Duration::ZERO, |told| GAP_EVERY.saturating_sub(told.elapsed()))
    }

    /// Writes the batch and answers everyone who waits for it.
    fn write(&mut self, batch: &mut Vec<Entry>) {
        if self.shared.writing.is_failing() {
            // The owed entries come first; until they are written nothing new is.
            return self.refuse(batch, "an earlier write failed");
        }
        let began = Instant::now();
        // Only somebody who asked for it changes or erases what is there.
        self.unsettled |= batch.iter().any(|entry| matches!(entry, Entry::Task { ack: Some(_), .. }));
        match self.transact(batch) {
            Ok(written) => {
                if self.unsettled {
                    self.settle();
                }
                // Before anybody is told: what is acknowledged is counted.
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let counters = &self.shared.counters;
                counters.commit_micros.fetch_add(micros, Ordering::Relaxed);
                counters.batches.fetch_add(1, Ordering::Relaxed);
                counters.entries.store(self.sequencer.tree().size(), Ordering::Relaxed);
                for (entry, written) in batch.drain(..).zip(written) {
                    entry.answer(written);
                }
            }
            Err(error) => {
                let why = error.to_string();
                self.shared.writing.fail(&why);
                self.recover(&error);
                self.refuse(batch, &why);
            }
        }
    }

    /// All of it, or nothing. What is signed already goes with it.
    fn transact(&mut self, batch: &mut [Entry]) -> Result<Vec<Written>, Error> {
        let declaring = std::mem::take(&mut self.declaring);
        let written = self.sequencer.sequence(batch, self.publisher.pending())?;
        self.publisher.stored();
        if declaring > 0 {
            self.shared.missing.told(declaring);
            self.declared = Some(Instant::now());
        }
        Ok(written)
    }

    /// What was erased must not stand in the write-ahead log any longer than it takes those who read it to end.
    fn settle(&mut self) {
        match self.sequencer.settle() {
            Ok(done) => self.unsettled = !done,
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log could not be folded into the database yet");
            }
        }
    }

    /// Refuses what may be refused, and keeps what must be written.
    fn refuse(&mut self, batch: &mut Vec<Entry>, why: &str) {
        for entry in batch.drain(..) {
            if entry.must_be_written() {
                self.owed.push(entry);
            } else {
                if entry.is_missed() {
                    self.shared.missing.add(why);
                }
                entry.answer(Err(CommitError::Unavailable(why.to_owned())));
            }
        }
    }

    /// After a failed transaction: believes only what the file says.
    fn recover(&mut self, error: &Error) {
        if is_full(error) {
            self.reserve.release();
        }
        if let Err(error) = self.sequencer.reload() {
            tracing::error!(%error, "the evidence database could not be opened again");
        }
    }

    /// Writes what is owed; if that works and there is room again, new entries are accepted. The last time, the
    /// reserve is spent.
    fn try_again(&mut self, last: bool) {
        self.tried = Some(Instant::now());
        if last {
            self.reserve.release();
        }
        let mut owed = std::mem::take(&mut self.owed);
        // A sync may fail although the entries arrived: what is closed by now is not closed again.
        owed.retain(|entry| match entry {
            Entry::Close(close) => {
                !self.sequencer.is_closed(close.session.trail.id().as_bytes()).unwrap_or(false)
            }
            _ => true,
        });
        // First what is owed: to set the reserve aside again may take the very room that it needs.
        if !self.write_owed(owed) {
            return;
        }
        let room = |reserve: &Reserve| last || (reserve.restore().is_ok() && reserve.has_company());
        if !room(&self.reserve) {
            return;
        }
        let gap = Vec::from_iter(self.gap());
        if self.write_owed(gap) && room(&self.reserve) {
            self.shared.writing.recovered();
        }
    }

    /// Writes these; where that fails, keeps those that must be written.
    fn write_owed(&mut self, mut owed: Vec<Entry>) -> bool {
        if owed.is_empty() {
            return true;
        }
        match self.transact(&mut owed) {
            Ok(written) => {
                for (entry, written) in owed.drain(..).zip(written) {
                    entry.answer(written);
                }
                true
            }
            Err(error) => {
                self.shared.writing.fail(&error.to_string());
                self.recover(&error);
                owed.retain(Entry::must_be_written);
                self.owed = owed;
                false
            }
        }
    }

    /// The entry that says that others are missing, if some are.
    fn gap(&mut self) -> Option<Entry> {
        let (time, count) = (self.shared.now(), self.shared.missing.count());
        if count == 0 {
            return None;
        }
        self.declaring = count;
        let note = Text::new(Some(&self.shared.missing.why()), leaf::WORD);
        let gap = Gap { reason: GapReason::WriteFailed, count, note };
        let task: Task = Box::new(move |_, _| Ok(vec![Leaf { time, kind: Kind::Gap(gap) }]));
        Some(Entry::Task { task: Some(task), ack: None })
    }

    fn stop(mut self) {
        for _ in 0..LAST_TRIES {
            let settled = self.owed.is_empty() && !self.shared.writing.is_failing();
            if settled && self.shared.missing.count() == 0 {
                break;
            }
            self.try_again(true);
            if self.shared.writing.is_failing() {
                std::thread::sleep(RETRY);
            }
        }
        let time = self.shared.now();
        let task: Task = Box::new(move |_, _| Ok(vec![Leaf { time, kind: Kind::Stop }]));
        if !self.shared.writing.is_failing() && !self.sequencer.has_open() {
            self.write(&mut vec![Entry::Task { task: Some(task), ack: None }]);
        }
        self.publisher.publish(&*self.sequencer);
        match self.sequencer.settle() {
            Ok(true) => {}
            Ok(false) => tracing::warn!("somebody reads the log, so its write-ahead log stays; it is valid"),
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log stays beside the database; it is valid");
            }
        }
    }
}

impl Entry {
    /// True for what happened even if no entry says so: a refusal, an event. A request that is turned away before
    /// its intent still comes to its refusal.
    pub(crate) fn is_missed(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Event(_))
    }

    /// True for what follows from something that is already acknowledged.
    fn must_be_written(&self) -> bool {
        match self {
            Self::Close(close) => close.session.is_intended(),
            Self::Subject { .. } | Self::Key { .. } | Self::Segment { .. } => true,
            Self::Intent(_) | Self::Event(_) | Self::Task { .. } | Self::Barrier(_) | Self::Stop => false,
        }
    }

    /// Tells whoever waits; they may be gone.
    fn answer(self, written: Written) {
        match self {
            Self::Intent(intent) => drop(intent.ack.send(written)),
            Self::Event(event) => drop(event.ack.send(written)),
            Self::Close(close) => drop(close.ack.map(|ack| ack.send(written))),
            Self::Task { ack: Some(ack), .. } => {
                drop(ack.send(written.map_err(|error| Error::Unavailable(error.to_string()))));
            }
            Self::Barrier(ack) => drop(ack.send(written.is_ok())),
            Self::Task { ack: None, .. } | Self::Subject { .. } | Self::Key { .. } => {}
            Self::Segment { .. } | Self::Stop => {}
        }
    }
}

/// True if the disk is full, as far as SQLite can tell.
fn is_full(error: &Error) -> bool {
    use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
    matches!(error, Error::Database(rusqlite::Error::SqliteFailure(e, _)) if matches!(e.code, DiskFull | SystemIoFailure))
}
