//! The handle.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::rand;
use gatewayd_core::{BoxFuture, Claim, Clock, Event, EventKind, Identity, Journal, JournalError, RequestId};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use crate::blobs::{BlobStore, Segments};
use crate::codec::Text;
use crate::commit::{Committer, Entry, EventEntry};
use crate::config::{Config, Durability};
use crate::error::Error;
use crate::facts::{self, Who, Words};
use crate::hashes::StoredHashes;
use crate::keys::{RootKey, sync_dir};
use crate::leaf::{self, Gap, GapReason, Key, KeyRole, Kind, Leaf, Start};
use crate::lock::DirectoryLock;
use crate::note::{self, Checkpoint, LOG_KEY, LogKey, PublicKey};
use crate::proof;
use crate::publish::{CHECKPOINT, Publisher};
use crate::queue::queue;
use crate::reserve::Reserve;
use crate::retention::{self, Target};
use crate::seal::{Job, Sealer};
use crate::sequence::LocalSequencer;
use crate::shared::{Fallen, Health, Shared};
use crate::store::{self, Store};
use crate::tiles::TilePath;
use crate::tree::{TILE, TILE_HEIGHT, Tree};
use crate::watch::Watch;
use crate::{commit, recovery, rotate};

/// The recorder: cheap to clone, all clones write the same log.
///
/// When the last clone is dropped, everything that waits is written and the log ends in good order;
/// [`close`](Self::close) does the same at a moment of your choice.
#[derive(Clone)]
pub struct Recorder(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    key: PublicKey,
    reader: Mutex<Connection>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    // Held as long as the handle lives, even if the committer is gone.
    _lock: Arc<DirectoryLock>,
}

/// Counts for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Entries in the log.
    pub entries: u64,
    /// Transactions since the start.
    pub batches: u64,
    /// Time spent in them, in microseconds.
    pub commit_micros: u64,
    /// Bytes of sealed bodies since the start.
    pub sealed_bytes: u64,
    /// Entries that were refused since the start, because the recorder was full or could not write.
    pub unavailable: u64,
    /// Entries that wait.
    pub queued: usize,
    /// Bytes of bodies that wait.
    pub queued_bytes: usize,
    /// Requests that are being forwarded.
    pub open: usize,
}

impl Recorder {
    /// Opens the directory, makes it if it is missing, closes what a crash left open, and starts to write.
    ///
    /// # Errors
    /// If another process writes there, a key is not usable, or the log is not what it was when its last
    /// checkpoint was signed.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        store::check_sqlite()?;
        if config.durability == Durability::Process {
            tracing::warn!(
                dir = %config.dir.display(),
                "durability = \"process\": what is acknowledged survives a crash of the process, NOT the loss of power"
            );
        }
        let segments = Segments::below(&config.dir);
        make_dir(&config.dir)?;
        segments.make_dir()?;
        let lock = Arc::new(DirectoryLock::take(&config.dir)?);
        let mut store = Store::open(&config.dir, config.durability)?;
        let key = log_key(&config, &store)?;
        let public = key.public().clone();
        let root = rotate::load_current(&config, &store)?;
        let reserve = Reserve::new(config.dir.join("reserve"), config.reserve_bytes);
        if let Err(error) = reserve.restore() {
            return Err(Error::file("set room aside in", config.dir.join("reserve"))(error));
        }
        let tree = begin(&mut store, &config, &segments, &*clock, &public, &root)?;
        let last_segment = last_segment(&store, &segments)?;
        let first = key.sign(tree.size(), tree.root());
        sync_dir(&config.dir)?;

        let (to_committer, entries) = queue(doze(config.durability));
        let (to_sealer, jobs) = queue(doze(config.durability));
        let dir = config.dir.clone();
        let shared = Arc::new(Shared::new(config, clock, to_committer, to_sealer, first.as_str().into()));
        shared.counters.entries.store(tree.size(), Ordering::Relaxed);
        let (watch, reader) = (Watch::begin(dir.clone(), public.clone()), store::open_read(&dir)?);
        let sealer = Sealer::new(Arc::clone(&shared), segments, last_segment, reader, root, watch)?;
        let publisher = Publisher::new(Arc::clone(&shared), key, lock.clone());
        let sequencer = Box::new(LocalSequencer::new(store, tree, sealer.root_name()));
        let committer = Committer::new(Arc::clone(&shared), sequencer, publisher, reserve);
        let threads = vec![
            spawn("recorder-commit", &shared, |shared| &shared.writing, move || committer.run(entries))?,
            spawn("recorder-seal", &shared, |shared| &shared.sealing, move || sealer.run(jobs))?,
        ];
        let reader = Mutex::new(store::open_read(&dir)?);
        Ok(Self(Arc::new(Handle { shared, key: public, reader, threads: Mutex::new(threads), _lock: lock })))
    }

    /// Ends the log in good order: open requests are closed as interrupted, a last checkpoint is signed.
    /// Blocks until that is done. What is tried afterwards is refused.
    pub fn close(&self) {
        self.0.close();
    }

    /// Why nothing can be recorded, if so. For a readiness probe.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.shared.failure()
    }

    /// Counts for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (shared, counters) = (&self.0.shared, &self.0.shared.counters);
        Stats {
            entries: counters.entries.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            commit_micros: counters.commit_micros.load(Ordering::Relaxed),
            sealed_bytes: counters.sealed_bytes.load(Ordering::Relaxed),
            unavailable: counters.unavailable.load(Ordering::Relaxed),
            queued: shared.queued.load(Ordering::Relaxed),
            queued_bytes: shared.budget.used(),
            open: shared.open_count(),
        }
    }

    /// The public key of the log: give it to those who verify.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.key
    }

    /// The newest signed checkpoint, for `/log/checkpoint` (C2SP tlog-checkpoint).
    #[must_use]
    pub fn checkpoint(&self) -> Arc<str> {
        self.0.shared.checkpoint()
    }

    /// A tile or bundle of entries that the newest checkpoint covers, for `/log/tile/...` (C2SP
    /// tlog-tiles). `path` begins with `tile/`. `None`: there is no such tile. Reads the database.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tile(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(tile) = TilePath::parse(path) else { return Ok(None) };
        let size = Checkpoint::parse_unverified(&self.checkpoint())?.size;
        let level = tile.level.unwrap_or(0);
        let available = size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0);
        let start = tile.index.saturating_mul(TILE as u64);
        let end = start.saturating_add(tile.width as u64);
        // A partial tile exists only at the right edge; a full one makes it superfluous but stays valid.
        if end > available {
            return Ok(None);
        }
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let hashes = StoredHashes(&reader);
        match tile.level {
            None => hashes.entries(start, end).map(Some),
            Some(level) => Ok(Some(hashes.range(level, start, end)?.concat())),
        }
    }

    /// Makes the bodies and words of a session, or of everything a caller did, unreadable for good, and
    /// says so in the log, which still verifies. Returns how many sessions. Blocks.
    ///
    /// # Errors
    /// [`Error::Held`] if a legal hold covers any of it; then nothing is erased.
    pub fn erase(&self, target: &Target, by: Option<&Identity>, reason: &str) -> Result<u64, Error> {
        retention::erase(&self.0.shared, target, by, reason)
    }

    /// Sets a legal hold: what it covers is neither erased nor dropped. Returns its number. Blocks.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn hold(&self, target: &Target, by: Option<&Identity>, reason: &str) -> Result<i64, Error> {
        retention::hold(&self.0.shared, target, by, reason)
    }

    /// Releases a legal hold. Blocks.
    ///
    /// # Errors
    /// If there is no such hold, or it cannot be written.
    pub fn release(&self, hold: i64, by: Option<&Identity>, reason: &str) -> Result<(), Error> {
        retention::release(&self.0.shared, hold, by, reason)
    }

    /// Drops the segments whose time is over; returns how many. It also happens by itself once a minute.
    /// Blocks.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sweep(&self) -> Result<u64, Error> {
        let (answer, swept) = mpsc::sync_channel(1);
        self.0.shared.seal(Job::Sweep(answer));
        swept.recv().map_err(|_| Error::Unavailable("the recorder is closed".into()))?
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    fn put_event(
        &self,
        event: &Event,
    ) -> Result<oneshot::Receiver<Result<u64, commit::CommitError>>, String> {
        let salt = facts::salt().map_err(|_| Error::Crypto.to_string())?;
        let who = event.actor.as_ref().map(|actor| Who::encode(Some(actor), None));
        let request = event.request.map(|id| *id.as_bytes());
        let (object, outcome) = (facts::clip_event(&event.object), facts::clip_event(&event.outcome));
        let leaf = leaf::Event {
            event: event.kind,
            who: who.as_deref().map_or([0; 32], |who| facts::digest(Words::Who, &salt, who)),
            object: Text::new(Some(object), leaf::WORD),
            outcome: Text::new(Some(outcome), leaf::WORD),
            request,
        };
        let (ack, answer) = oneshot::channel();
        let entry = EventEntry {
            leaf: Leaf { time: self.0.shared.now(), kind: Kind::Event(leaf) }.encode(),
            request,
            salt,
            who,
            words: facts::encode_event(object, outcome),
            ack,
        };
        let (shared, entry) = (&self.0.shared, Entry::Event(Box::new(entry)));
        // Who reads a recording that was just made is to find all of it.
        let put = match event.kind {
            EventKind::AdminRead => shared.submit_behind(entry),
            _ => shared.submit(entry),
        };
        put.map_err(|error| error.to_string())?;
        Ok(answer)
    }

    fn who_claimed(&self, claim: &Claim) -> Result<Option<RequestId>, Error> {
        let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let made: Option<[u8; 16]> = reader
            .prepare_cached("SELECT request FROM claims WHERE kind = ?1 AND id = ?2")?
            .query_row([claim.kind, &*claim.id], |row| row.get(0))
            .optional()?;
        Ok(made.map(RequestId::from_bytes))
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("dir", &self.0.shared.config.dir).finish_non_exhaustive()
    }
}

impl Journal for Recorder {
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), JournalError>> {
        let put = self.put_event(&event);
        Box::pin(async move {
            let answer = put.map_err(JournalError)?;
            match answer.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(JournalError(error.to_string())),
                Err(_) => Err(JournalError("the recorder is closed".into())),
            }
        })
    }

    fn claimed(&self, claim: &Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>> {
        // One look-up by key in memory-mapped pages: not worth another thread.
        let claimed = self.who_claimed(claim).map_err(|error| JournalError(error.to_string()));
        Box::pin(std::future::ready(claimed))
    }
}

impl Handle {
    fn close(&self) {
        self.shared.set_closing();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = threads.into_iter();
        let (committer, sealer) = (threads.next(), threads.next());
        if let Some(sealer) = sealer {
            self.shared.seal(Job::Stop);
            if sealer.join().is_err() {
                tracing::error!(
                    "the sealer panicked; the log shows its sessions as interrupted at the next start"
                );
            }
        }
        if let Some(committer) = committer {
            // It is refused only if the committer is gone already.
            let _gone = self.shared.must_submit(Entry::Stop);
            if committer.join().is_err() {
                tracing::error!("the committer panicked; run `verify`");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// How long what nobody waits for may lie, so that it shares its transaction with others: each costs a sync of the
/// disk, which whoever waits for another one has to wait for, too.
fn doze(durability: Durability) -> Duration {
    match durability {
        Durability::Disk => Duration::from_millis(10),
        Durability::Process => Duration::from_millis(2),
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    health: fn(&Shared) -> &Health,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _tells = Fallen(health(&shared));
            run();
        })
        .map_err(|error| Error::Unavailable(format!("no thread: {error}")))
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::file("make", dir))
}

/// The key of this log, which stays the same from its first entry on.
fn log_key(config: &Config, store: &Store) -> Result<LogKey, Error> {
    let path = config.log_key.clone().unwrap_or_else(|| config.dir.join("log.key"));
    let known = store.meta("log_key")?;
    let key = match (&known, &config.log_key) {
        // A log whose key went missing must not go on under another one by itself.
        (Some(_), _) | (None, Some(_)) => LogKey::load(&path)?,
        (None, None) => LogKey::load_or_make(&path, &origin(config)?)?,
    };
    let public = key.public().to_string();
    match known {
        Some(known) if known != public => {
            let why =
                format!("the log was begun with the key {known}; begin another directory for another key");
            return Err(Error::BadKey { path, why });
        }
        Some(_) => {}
        None => store.set_meta("log_key", &public)?,
    }
    if let Some(origin) = config.origin.as_ref().filter(|origin| *origin != key.public().name()) {
        let why = format!("it is the key of {:?}, not of {origin:?}", key.public().name());
        return Err(Error::BadKey { path, why });
    }
    show_key(&config.dir.join(LOG_KEY), &format!("{public}\n"))?;
    Ok(key)
}

/// Writes the public key beside the log. Not again where it stands: a verifier may be reading it.
fn show_key(path: &Path, public: &str) -> Result<(), Error> {
    let found = note::read(path).unwrap_or_default();
    if found == public {
        return Ok(());
    }
    // A crash can leave a part of it, or nothing.
    if !public.starts_with(&found) {
        tracing::error!(
            file = %path.display(),
            "the public key beside the log was another one; whoever verified with it verified another log. It is put right"
        );
    }
    fs::write(path, public).map_err(Error::file("write", path))
}

fn origin(config: &Config) -> Result<String, Error> {
    if let Some(origin) = &config.origin {
        return Ok(origin.clone());
    }
    let mut random = [0; 4];
    rand::fill(&mut random)?;
    Ok(format!("gatewayd/{}", hex::encode(random)))
}

/// The number of the newest segment there ever was.
fn last_segment(store: &Store, segments: &dyn BlobStore) -> Result<u64, Error> {
    let noted: Option<i64> = store.conn().query_row("SELECT max(n) FROM segments", [], |row| row.get(0))?;
    Ok(segments.numbers()?.last().copied().unwrap_or(0).max(noted.map_or(0, store::index)))
}

/// Compares the log with what was published, closes what a crash left open, and notes the start.
fn begin(
    store: &mut Store,
    config: &Config,
    segments: &dyn BlobStore,
    clock: &dyn Clock,
    key: &PublicKey,
    root: &RootKey,
) -> Result<Tree, Error> {
    let mut tree = store.tree()?;
    let rolled_back = compare_with_published(store, config, key, &tree)?;
    let now = clock.now();
    store.begin()?;
    recovery::settle_segments(store, segments, now, tree.size())?;
    let mut leaves = Vec::new();
    if tree.size() == 0 {
        let name = Text::new(Some(key.name()), leaf::WORD);
        leaves.push(Leaf { time: now, kind: Kind::Key(Key { role: KeyRole::Log, key: *key.bytes(), name }) });
    }
    let root_name = hex::encode(root.name);
    if store.meta("root_key")?.is_none() {
        store.set_meta("root_key", &root_name)?;
        let kind = Kind::Key(Key { role: KeyRole::Root, key: root.name, name: Text::Absent });
        leaves.push(Leaf { time: now, kind });
    }
    if let Some(published) = rolled_back {
        let note = Text::new(Some("the published checkpoint covers more entries"), leaf::WORD);
        let gap = Gap { reason: GapReason::RolledBack, count: published - tree.size(), note };
        leaves.push(Leaf { time: now, kind: Kind::Gap(gap) });
    }
    let closing = recovery::interruptions(store, segments, now)?;
    let interrupted = closing.len() as u64;
    let start = Start {
        durable: config.durability == Durability::Disk,
        interrupted,
        software: Text::new(Some(concat!("gatewayd-recorder ", env!("CARGO_PKG_VERSION"))), leaf::WORD),
    };
    let mut tiles = Vec::new();
    let mut append = |store: &Store, leaf: &Leaf| -> Result<u64, Error> {
        let (bytes, index) = (leaf.encode(), tree.size());
        store.insert_leaf(index, &bytes)?;
        tree.push(crate::tree::leaf_hash(&bytes), &mut tiles);
        Ok(index)
    };
    for leaf in &leaves {
        append(store, leaf)?;
    }
    for (number, leaf) in &closing {
        let index = append(store, leaf)?;
        store.close_session(*number, index, None)?;
    }
    append(store, &Leaf { time: now, kind: Kind::Start(start) })?;
    for tile in &tiles {
        store.insert_tile(tile)?;
    }
    store.commit()?;
    // A crash may have left what was erased in the write-ahead log.
    store.fold_log()?;
    if interrupted > 0 {
        tracing::warn!(
            interrupted,
            "requests were cut off by the last end of the process; they are closed as such"
        );
    }
    Ok(tree)
}

/// A log that does not extend its own last checkpoint is not signed again. In process durability a loss
/// of power may take entries away: that is noted as a gap of the returned size.
fn compare_with_published(
    store: &Store,
    config: &Config,
    key: &PublicKey,
    tree: &Tree,
) -> Result<Option<u64>, Error> {
    let path = config.dir.join(CHECKPOINT);
    let in_file = note::read(&path).ok().and_then(|note| key.open(&note).ok());
    let in_store: Option<String> = store
        .conn()
        .query_row("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1", [], |row| row.get(0))
        .optional()?;
    let in_store = in_store.map(|note| key.open(&note)).transpose()?;
    for published in in_file.iter().chain(&in_store) {
        let size = tree.size();
        if published.size > size && config.durability == Durability::Process {
            tracing::error!(size, published = published.size, "the log lost entries that it had published");
            return Ok(Some(published.size));
        }
        if published.size > size {
            return Err(Error::RolledBack { size, published: published.size });
        }
        if proof::root_at(&mut StoredHashes(store.conn()), published.size)? != published.root {
            let what = format!("the first {} entries are not those of the signed checkpoint", published.size);
            return Err(Error::Damaged(what));
        }
    }
    Ok(None)
}
