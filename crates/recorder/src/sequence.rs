//! The place of entries in the log: [`Sequencer`], and the SQLite database that is one.
//!
//! The committer decides what is written, refused or tried again; a sequencer gives each entry its index and
//! makes a batch durable. What a [`Task`](crate::commit::Task) does (erasures, holds, dropped segments) is still
//! said in the SQL of [`Store`]: another back end brings its own tasks, not a translation of these.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};

use gatewayd_core::Timestamp;

use crate::codec::Digest;
use crate::commit::{Close, CommitError, Entry, IntentEntry, Task, Written};
use crate::error::Error;
use crate::store::Store;
use crate::tree::{FullTile, Tree, leaf_hash};

/// Gives entries their place in the log and makes them durable. There is one for a log at any time.
pub(crate) trait Sequencer: Send {
    /// Writes a batch, and the checkpoint with it. When this returns, all of it is durable; after an error
    /// nothing of it counts, or [`reload`](Self::reload) finds out what does. The answers are in the order of
    /// the entries; a claim that was made before is an answer, not an error.
    fn sequence(
        &mut self,
        batch: &mut [Entry],
        checkpoint: Option<SignedHead<'_>>,
    ) -> Result<Vec<Written>, Error>;
    /// After an error: forgets everything and believes only what is stored.
    fn reload(&mut self) -> Result<(), Error>;
    /// The tree over all entries that are durable.
    fn tree(&self) -> &Tree;
    /// True if a request has its intent and no closing entry.
    fn has_open(&self) -> bool;
    /// True if the request has its closing entry.
    fn is_closed(&self, id: &[u8; 16]) -> Result<bool, Error>;
    /// Keeps a checkpoint when no entries will carry it.
    fn keep(&self, checkpoint: SignedHead<'_>) -> Result<(), Error>;
    /// Leaves nothing of what was erased, and everything in good order; false if that takes another try.
    fn settle(&self) -> Result<bool, Error>;
}

/// A checkpoint on its way into the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedHead<'a> {
    pub(crate) size: u64,
    pub(crate) time: Timestamp,
    pub(crate) note: &'a str,
}

/// The entries of a log in SQLite.
pub(crate) struct LocalSequencer {
    store: Store,
    tree: Tree,
    /// Numbers of the sessions that have an intent and no outcome.
    open: HashMap<[u8; 16], u64>,
    /// Names the key that wraps the keys of subjects.
    root: Digest,
}

impl Sequencer for LocalSequencer {
    fn sequence(
        &mut self,
        batch: &mut [Entry],
        checkpoint: Option<SignedHead<'_>>,
    ) -> Result<Vec<Written>, Error> {
        let mut next = Next::after(&self.tree);
        self.store.begin()?;
        let mut written = Vec::with_capacity(batch.len());
        for entry in batch {
            written.push(self.apply(entry, &mut next)?);
        }
        for tile in &next.tiles {
            self.store.insert_tile(tile)?;
        }
        if let Some(checkpoint) = checkpoint {
            self.keep(checkpoint)?;
        }
        self.store.commit()?;
        self.tree = next.tree;
        self.open.extend(next.opened);
        for id in next.closed {
            self.open.remove(&id);
        }
        Ok(written)
    }

    fn reload(&mut self) -> Result<(), Error> {
        self.store.rollback();
        self.store.reopen()?;
        self.tree = self.store.tree()?;
        self.open = self.store.open_sessions()?.into_iter().map(|(n, id)| (id, n)).collect();
        Ok(())
    }

    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn is_closed(&self, id: &[u8; 16]) -> Result<bool, Error> {
        self.store.is_closed(id)
    }

    fn keep(&self, checkpoint: SignedHead<'_>) -> Result<(), Error> {
        self.store.insert_checkpoint(checkpoint.size, checkpoint.time, checkpoint.note)
    }

    fn settle(&self) -> Result<bool, Error> {
        self.store.fold_log()
    }
}

impl LocalSequencer {
    /// Continues a log whose requests are all closed.
    pub(crate) fn new(store: Store, tree: Tree, root: Digest) -> Self {
        Self { store, tree, open: HashMap::new(), root }
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
                    self.store.insert_session_key(id, number, &key.subject, &key.wrapped)?;
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
                self.store.insert_segment(*number, *closed, *bytes, next.tree.size())?;
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
            self.store.insert_session_key(&id, number, &key.subject, &key.wrapped)?;
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
