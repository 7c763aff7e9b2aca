//! The one thread that writes entries. All that waits goes into one transaction and one sync.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gatewayd_core::{Claim, Timestamp};
use tokio::sync::oneshot;

use crate::codec::{Digest, Text};
use crate::error::Error;
use crate::facts::{Facts, Salt};
use crate::keys::WRAPPED;
use crate::leaf::{self, Bodies, Gap, GapReason, Kind, Leaf};
use crate::note::LogKey;
use crate::publish::Publisher;
use crate::reserve::Reserve;
use crate::session::{End, Session};
use crate::shared::Shared;
use crate::store::Store;
use crate::tree::{FullTile, Tree, leaf_hash};

/// At most this many entries go into one transaction.
const BATCH: usize = 4096;
/// How long the thread waits before it tries again to write.
const RETRY: Duration = Duration::from_millis(250);

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

type Written = Result<u64, CommitError>;

/// The committer's state.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    store: Store,
    tree: Tree,
    /// Numbers of the sessions that have an intent and no outcome.
    open: HashMap<[u8; 16], u64>,
    root: Digest,
    publisher: Publisher,
    reserve: Reserve,
    /// Closing entries that could not be written yet.
    owed: Vec<Entry>,
    /// Entries that were refused since writing failed, and since when.
    lost: u64,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Store,
        tree: Tree,
        root: Digest,
        key: LogKey,
        reserve: Reserve,
    ) -> Self {
        let mut publisher = Publisher::new(Arc::clone(&shared), key);
        publisher.publish(&store, &tree);
        Self {
            shared,
            store,
            tree,
            open: HashMap::new(),
            root,
            publisher,
            reserve,
            owed: Vec::new(),
            lost: 0,
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, entries: &mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if !self.owed.is_empty() || self.shared.writing.is_failing() {
                self.try_again();
            }
            let patience = if self.shared.writing.is_failing() {
                RETRY
            } else {
                self.publisher.patience(self.tree.size())
            };
            match entries.recv_timeout(patience) {
                Ok(entry) => batch.push(entry),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            batch.extend(entries.try_iter().take(BATCH - batch.len()));
            self.shared.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            let stop = batch.iter().position(|entry| matches!(entry, Entry::Stop));
            batch.truncate(stop.unwrap_or(batch.len()));
            if !batch.is_empty() {
                self.write(&mut batch);
            }
            if stop.is_some() {
                return self.stop();
            }
            self.publisher.publish_if_due(&self.store, &self.tree);
        }
    }

    /// Writes the batch and answers everyone who waits for it.
    fn write(&mut self, batch: &mut Vec<Entry>) {
        if self.shared.writing.is_failing() {
            // The owed entries come first; until they are written nothing new is.
            return self.refuse(batch, "an earlier write failed");
        }
        let began = Instant::now();
        match self.transact(batch) {
            Ok(written) => {
                for (entry, written) in batch.drain(..).zip(written) {
                    entry.answer(written);
                }
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let counters = &self.shared.counters;
                counters.commit_micros.fetch_add(micros, Ordering::Relaxed);
                counters.batches.fetch_add(1, Ordering::Relaxed);
                counters.entries.store(self.tree.size(), Ordering::Relaxed);
            }
            Err(error) => {
                let why = error.to_string();
                self.shared.writing.fail(&why);
                self.recover(&error);
                self.refuse(batch, &why);
            }
        }
    }

    /// One transaction. On an error nothing of it counts, in memory or on disk.
    fn transact(&mut self, batch: &mut [Entry]) -> Result<Vec<Written>, Error> {
        let mut next = Next::after(&self.tree);
        self.store.begin()?;
        let mut written = Vec::with_capacity(batch.len());
        for entry in batch {
            written.push(self.apply(entry, &mut next)?);
        }
        for tile in &next.tiles {
            self.store.insert_tile(tile)?;
        }
        self.publisher.store_pending(&self.store)?;
        self.store.commit()?;
        self.publisher.stored();
        self.tree = next.tree;
        self.open.extend(next.opened);
        for id in next.closed {
            self.open.remove(&id);
        }
        Ok(written)
    }

    fn apply(&mut self, entry: &mut Entry, next: &mut Next) -> Result<Written, Error> {
        match entry {
            Entry::Intent(intent) => return self.apply_intent(intent, next),
            Entry::Subject { subject, wrapped } => {
                self.store.insert_subject_key(subject, &self.root, wrapped.as_slice())?;
            }
            Entry::Key { id, key } => {
                // Without an intent, the key comes with the closing entry.
                if let Some(number) = self.number(id, next) {
                    self.store.insert_session_key(number, &key.subject, &key.wrapped)?;
                }
            }
            Entry::Close(close) => return self.apply_close(close, next).map(Ok),
            Entry::Event(event) => {
                let index = next.append(&self.store, &event.leaf)?;
                self.store.insert_event(
                    index,
                    event.request.as_ref(),
                    &event.salt,
                    event.who.as_deref(),
                    &event.words,
                )?;
                return Ok(Ok(index));
            }
            Entry::Segment { number, closed, bytes } => {
                self.store.insert_segment(*number, *closed, *bytes)?;
            }
            Entry::Task { task, ack } => return self.apply_task(task, ack, next),
            Entry::Barrier(_) | Entry::Stop => {}
        }
        Ok(Ok(next.tree.size()))
    }

    fn apply_intent(&mut self, intent: &IntentEntry, next: &mut Next) -> Result<Written, Error> {
        let number = next.tree.size();
        for (made, claim) in intent.claims.iter().enumerate() {
            if !self.store.claim(claim.kind, &claim.id, number, &intent.id)? {
                // Those it made before this one are given back: the request does not pass.
                for claim in intent.claims.iter().take(made) {
                    self.store.unclaim(claim.kind, &claim.id, number)?;
                }
                return Ok(Err(CommitError::Claimed { kind: claim.kind, id: Arc::clone(&claim.id) }));
            }
        }
        let index = next.append(&self.store, &intent.leaf)?;
        self.store.insert_session(index, &intent.id, &intent.facts, None)?;
        next.opened.insert(intent.id, index);
        Ok(Ok(index))
    }

    fn apply_close(&mut self, close: &Close, next: &mut Next) -> Result<u64, Error> {
        let id = *close.session.trail.id().as_bytes();
        let bodies = close.bodies.clone();
        let (number, index) = match self.number(&id, next) {
            Some(number) => {
                let (leaf, masks) = close.session.outcome(number, close.end, bodies);
                let index = next.append(&self.store, &leaf.encode())?;
                self.store.close_session(number, index, masks.as_deref())?;
                next.closed.insert(id);
                (number, index)
            }
            None => {
                let (leaf, facts) = close.session.refusal(close.end, bodies);
                let index = next.append(&self.store, &leaf.encode())?;
                self.store.insert_session(index, &id, &facts, Some(index))?;
                (index, index)
            }
        };
        if let Some(key) = &close.key {
            self.store.insert_session_key(number, &key.subject, &key.wrapped)?;
        }
        Ok(index)
    }

    /// Runs a task so that its failure is its own.
    fn apply_task(
        &mut self,
        task: &mut Option<Task>,
        ack: &mut Option<mpsc::SyncSender<Result<u64, Error>>>,
        next: &mut Next,
    ) -> Result<Written, Error> {
        let Some(task) = task.take() else { return Ok(Ok(next.tree.size())) };
        self.store.conn().execute_batch("SAVEPOINT task")?;
        match task(&mut self.store, next.tree.size()) {
            Ok(leaves) => {
                self.store.conn().execute_batch("RELEASE task")?;
                for leaf in leaves {
                    next.append(&self.store, &leaf.encode())?;
                }
                Ok(Ok(next.tree.size()))
            }
            Err(error) => {
                self.store.conn().execute_batch("ROLLBACK TO task; RELEASE task")?;
                self.store.forget_labels();
                if let Some(ack) = ack.take() {
                    // Whoever asked may be gone.
                    let _asker = ack.send(Err(error));
                }
                Ok(Ok(next.tree.size()))
            }
        }
    }

    fn number(&self, id: &[u8; 16], next: &Next) -> Option<u64> {
        let number = next.opened.get(id).or_else(|| self.open.get(id)).copied();
        number.filter(|_| !next.closed.contains(id))
    }

    /// Refuses what may be refused, and keeps what must be written.
    fn refuse(&mut self, batch: &mut Vec<Entry>, why: &str) {
        for entry in batch.drain(..) {
            if entry.must_be_written() {
                self.owed.push(entry);
            } else {
                self.lost += 1;
                entry.answer(Err(CommitError::Unavailable(why.to_owned())));
            }
        }
    }

    /// After a failed transaction: believes only what the file says.
    fn recover(&mut self, error: &Error) {
        if is_full(error) {
            self.reserve.release();
        }
        self.store.rollback();
        let reload = |committer: &mut Self| -> Result<(), Error> {
            committer.store.reopen()?;
            committer.tree = committer.store.tree()?;
            committer.open = committer.store.open_sessions()?.into_iter().map(|(n, id)| (id, n)).collect();
            Ok(())
        };
        if let Err(error) = reload(self) {
            tracing::error!(%error, "the evidence database could not be opened again");
        }
    }

    /// Writes what is owed; if that works and there is room again, new entries are accepted.
    fn try_again(&mut self) {
        let mut owed = std::mem::take(&mut self.owed);
        // A sync may fail although the entries arrived: what is closed by now is not closed again.
        owed.retain(|entry| match entry {
            Entry::Close(close) => {
                !self.store.is_closed(close.session.trail.id().as_bytes()).unwrap_or(false)
            }
            _ => true,
        });
        if self.lost > 0 && self.reserve.restore().is_ok() {
            owed.push(self.gap());
        }
        if owed.is_empty() {
            if self.reserve.restore().is_ok() {
                self.shared.writing.recovered();
            }
            return;
        }
        match self.transact(&mut owed) {
            Ok(written) => {
                for (entry, written) in owed.drain(..).zip(written) {
                    if matches!(entry, Entry::Task { .. }) {
                        self.lost = 0;
                    }
                    entry.answer(written);
                }
                if self.reserve.restore().is_ok() {
                    self.shared.writing.recovered();
                }
            }
            Err(error) => {
                self.shared.writing.fail(&error.to_string());
                self.recover(&error);
                owed.retain(Entry::must_be_written);
                self.owed = owed;
            }
        }
    }

    /// The entry that says that others are missing.
    fn gap(&self) -> Entry {
        let (time, count) = (self.shared.now(), self.lost);
        let note = Text::new(self.shared.writing.failure().as_deref(), leaf::WORD);
        let gap = Gap { reason: GapReason::WriteFailed, count, note };
        let task: Task = Box::new(move |_, _| Ok(vec![Leaf { time, kind: Kind::Gap(gap) }]));
        Entry::Task { task: Some(task), ack: None }
    }

    fn stop(mut self) {
        if !self.owed.is_empty() || self.shared.writing.is_failing() {
            self.try_again();
        }
        let time = self.shared.now();
        let task: Task = Box::new(move |_, _| Ok(vec![Leaf { time, kind: Kind::Stop }]));
        if !self.shared.writing.is_failing() && self.open.is_empty() {
            self.write(&mut vec![Entry::Task { task: Some(task), ack: None }]);
        }
        self.publisher.publish(&self.store, &self.tree);
        if let Err(error) = self.store.fold_log() {
            tracing::warn!(%error, "the write-ahead log could not be folded into the database; it stays valid");
        }
    }
}

/// What a transaction would change in memory.
struct Next {
    tree: Tree,
    tiles: Vec<FullTile>,
    opened: HashMap<[u8; 16], u64>,
    closed: HashSet<[u8; 16]>,
}

impl Next {
    fn after(tree: &Tree) -> Self {
        Self { tree: tree.clone(), tiles: Vec::new(), opened: HashMap::new(), closed: HashSet::new() }
    }

    fn append(&mut self, store: &Store, leaf: &[u8]) -> Result<u64, Error> {
        let index = self.tree.size();
        store.insert_leaf(index, leaf)?;
        self.tree.push(leaf_hash(leaf), &mut self.tiles);
        Ok(index)
    }
}

impl Entry {
    /// True for what follows from something that is already acknowledged.
    fn must_be_written(&self) -> bool {
        match self {
            Self::Close(close) => close.ack.is_none(),
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
