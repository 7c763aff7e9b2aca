//! Signs checkpoints, keeps them, and shows them to the world.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::note::LogKey;
use crate::shared::Shared;
use crate::store::Store;
use crate::tree::Tree;

/// Name of the file that holds the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Signs checkpoints, keeps them, and shows them to the world.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    key: LogKey,
    size: u64,
    last: Instant,
    /// A checkpoint that is not in the database yet: it goes with the next transaction.
    pending: Option<(u64, String)>,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, key: LogKey) -> Self {
        Self { shared, key, size: 0, last: Instant::now(), pending: None }
    }

    /// How long the committer may sleep.
    pub(crate) fn patience(&self, size: u64) -> Duration {
        self.interval(size).saturating_sub(self.last.elapsed())
    }

    fn interval(&self, size: u64) -> Duration {
        let config = &self.shared.config;
        if size == self.size && self.pending.is_none() {
            config.checkpoint_idle
        } else {
            config.checkpoint_every
        }
    }

    pub(crate) fn publish_if_due(&mut self, store: &Store, tree: &Tree) {
        if self.last.elapsed() >= self.interval(tree.size()) {
            self.publish(store, tree);
        }
    }

    /// Signs the head of the tree, which is durable, and writes it beside the database.
    pub(crate) fn publish(&mut self, store: &Store, tree: &Tree) {
        let idle = tree.size() == self.size;
        let note = self.key.sign(tree.size(), tree.root());
        if idle && self.pending.is_some() {
            // Nothing will carry it into the database, so it goes alone.
            if let Some((size, note)) = &self.pending
                && let Err(error) = store.insert_checkpoint(*size, self.shared.now(), note)
            {
                tracing::warn!(%error, "a checkpoint could not be kept in the database; it is in the file");
            }
            self.pending = None;
        } else if !idle {
            self.pending = Some((tree.size(), note.clone()));
        }
        self.size = tree.size();
        self.last = Instant::now();
        if let Err(error) = self.write_file(&note) {
            tracing::warn!(%error, "the checkpoint file could not be written");
        }
        self.shared.set_checkpoint(&note);
    }

    fn write_file(&self, note: &str) -> Result<(), Error> {
        let path = self.shared.config.dir.join(CHECKPOINT);
        let fresh = path.with_extension("new");
        fs::write(&fresh, note).map_err(Error::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::file("replace", &path))
    }

    /// Puts the waiting checkpoint into the running transaction.
    pub(crate) fn store_pending(&self, store: &Store) -> Result<(), Error> {
        match &self.pending {
            Some((size, note)) => store.insert_checkpoint(*size, self.shared.now(), note),
            None => Ok(()),
        }
    }

    /// The transaction is durable.
    pub(crate) fn stored(&mut self) {
        self.pending = None;
    }
}
