//! What the handle, the requests and the two writing threads share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gatewayd_core::{Clock, RequestId, Timestamp};

use crate::budget::Budget;
use crate::commit::{CommitError, Entry};
use crate::config::Config;
use crate::missing::Missing;
use crate::queue::Sender;
use crate::seal::Job;
use crate::session::Session;

/// What the handle, the requests and the two writing threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    /// Bytes of bodies that wait to be sealed.
    pub(crate) budget: Budget,
    /// Entries that wait to be written.
    pub(crate) queued: AtomicUsize,
    to_committer: Sender<Entry>,
    to_sealer: Sender<Job>,
    /// What was turned away and no entry tells yet.
    pub(crate) missing: Missing,
    /// Whether entries can be written.
    pub(crate) writing: Health,
    /// Whether bodies can be written.
    pub(crate) sealing: Health,
    /// Whether what is written is where it is looked for.
    pub(crate) place: Health,
    /// The log is being ended: nothing new is accepted.
    closing: AtomicBool,
    /// Requests that were forwarded and have not ended.
    open: Mutex<HashMap<RequestId, Arc<Session>>>,
    checkpoint: Mutex<Arc<str>>,
    pub(crate) counters: Counters,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) entries: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) sealed_bytes: AtomicU64,
    pub(crate) unavailable: AtomicU64,
}

/// Whether one of the two threads can do its work.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: AtomicBool,
    why: Mutex<String>,
}

impl Health {
    /// From now on nothing is accepted.
    pub(crate) fn fail(&self, why: &str) {
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.failing.swap(true, Ordering::SeqCst) {
            tracing::error!(reason = why, "the recorder cannot write; requests are refused until it can");
        }
        why.clone_into(&mut kept);
    }

    /// It works again.
    pub(crate) fn recovered(&self) {
        if self.failing.swap(false, Ordering::SeqCst) {
            tracing::info!("the recorder can write again");
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::SeqCst)
    }

    /// Why it does not work, if so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.is_failing().then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Says so if the thread that holds it panics: from then on nothing passes.
pub(crate) struct Fallen<'a>(pub(crate) &'a Health);

impl Drop for Fallen<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the recorder panicked; restart the gateway");
        }
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        to_committer: Sender<Entry>,
        to_sealer: Sender<Job>,
        checkpoint: Arc<str>,
    ) -> Self {
        Self {
            budget: Budget::new(config.max_queue_bytes),
            config,
            clock,
            queued: AtomicUsize::new(0),
            to_committer,
            to_sealer,
            missing: Missing::default(),
            writing: Health::default(),
            sealing: Health::default(),
            place: Health::default(),
            closing: AtomicBool::new(false),
            open: Mutex::new(HashMap::new()),
            checkpoint: Mutex::new(checkpoint),
            counters: Counters::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether a request may be forwarded: both its intent and its bodies must find a place.
    pub(crate) fn admit(&self) -> Result<(), CommitError> {
        if let Some(why) = self.failure() {
            return Err(self.unavailable(why));
        }
        if self.budget.is_full() {
            return Err(self.unavailable("too many bytes of bodies wait to be written".into()));
        }
        self.has_room()
    }

    /// Puts an entry that may be refused before the committer. What is turned away here is counted where the
    /// log is to tell of it.
    pub(crate) fn submit(&self, entry: Entry) -> Result<(), CommitError> {
        self.check(&entry)?;
        self.must_submit(entry)
    }

    /// The same, behind the closing entries of all requests that ended until now.
    pub(crate) fn submit_behind(&self, entry: Entry) -> Result<(), CommitError> {
        self.check(&entry)?;
        if self.seal(Job::Behind(Box::new(entry))) {
            return Ok(());
        }
        Err(self.unavailable("the recorder is closed".into()))
    }

    fn check(&self, entry: &Entry) -> Result<(), CommitError> {
        let room = match self.closed().or_else(|| self.writing.failure()).or_else(|| self.place.failure()) {
            Some(why) => Err(self.unavailable(why)),
            None => self.has_room(),
        };
        room.inspect_err(|error| {
            if entry.is_missed() {
                self.miss(&error.to_string());
            }
        })
    }

    fn has_room(&self) -> Result<(), CommitError> {
        if self.queued.load(Ordering::Relaxed) < self.config.max_queue {
            return Ok(());
        }
        Err(self.unavailable("too many entries wait to be written".into()))
    }

    /// Notes that something will have no entry of its own; the committer says so in the log.
    pub(crate) fn miss(&self, why: &str) {
        if self.missing.add(why) {
            self.to_committer.nudge();
        }
    }

    /// Puts an entry before the committer that follows from one that was accepted.
    pub(crate) fn must_submit(&self, entry: Entry) -> Result<(), CommitError> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.to_committer.send(entry).map_err(|_| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.unavailable("the recorder is closed".into())
        })
    }

    /// From now on only what was begun is written.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn unavailable(&self, why: String) -> CommitError {
        self.counters.unavailable.fetch_add(1, Ordering::Relaxed);
        CommitError::Unavailable(why)
    }

    /// Gives work to the sealer; false if it is gone.
    pub(crate) fn seal(&self, job: Job) -> bool {
        let sent = self.to_sealer.send(job).is_ok();
        if !sent {
            self.sealing.fail("the sealer is gone");
        }
        sent
    }

    /// Somebody waits for room.
    pub(crate) fn hurry_sealer(&self) {
        self.to_sealer.nudge();
    }

    /// Why nothing is accepted, if so.
    pub(crate) fn failure(&self) -> Option<String> {
        let health = [&self.writing, &self.sealing, &self.place];
        self.closed().or_else(|| health.into_iter().find_map(Health::failure))
    }

    fn closed(&self) -> Option<String> {
        self.closing.load(Ordering::SeqCst).then(|| "the recorder is closed".into())
    }

    /// Notes a request that is being forwarded.
    pub(crate) fn register(&self, session: &Arc<Session>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(session.trail.id(), Arc::clone(session));
    }

    pub(crate) fn unregister(&self, id: RequestId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// The requests that are being forwarded.
    pub(crate) fn open_sessions(&self) -> Vec<Arc<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The newest signed checkpoint.
    pub(crate) fn checkpoint(&self) -> Arc<str> {
        Arc::clone(&self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_checkpoint(&self, note: &str) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = note.into();
    }
}
