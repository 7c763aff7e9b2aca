//! Signs checkpoints, keeps them, and shows them to the world.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewayd_core::Timestamp;

use crate::lock::CheckpointLock;
use crate::note::LogKey;
use crate::sequence::{Sequencer, SignedHead};
use crate::shared::Shared;

/// Name of the file that holds the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Signs checkpoints, keeps them, and shows them to the world.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    key: LogKey,
    lock: Arc<dyn CheckpointLock>,
    size: u64,
    last: Instant,
    /// A checkpoint that is not in the database yet: it goes with the next transaction.
    pending: Option<Pending>,
}

struct Pending {
    size: u64,
    time: Timestamp,
    note: String,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, key: LogKey, lock: Arc<dyn CheckpointLock>) -> Self {
        Self { shared, key, lock, size: 0, last: Instant::now(), pending: None }
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

    pub(crate) fn publish_if_due(&mut self, sequencer: &dyn Sequencer) {
        if self.last.elapsed() >= self.interval(sequencer.tree().size()) {
            self.publish(sequencer);
        }
    }

    /// Signs the head of the tree, which is durable, and shows it.
    pub(crate) fn publish(&mut self, sequencer: &dyn Sequencer) {
        let tree = sequencer.tree();
        let idle = tree.size() == self.size;
        let note = self.key.sign(tree.size(), tree.root());
        if idle && let Some(alone) = self.pending() {
            // Nothing will carry it into the database, so it goes alone.
            if let Err(error) = sequencer.keep(alone) {
                tracing::warn!(%error, "a checkpoint could not be kept in the database; it is in the file");
            }
            self.pending = None;
        } else if !idle {
            self.pending = Some(Pending { size: tree.size(), time: self.shared.now(), note: note.clone() });
        }
        self.size = tree.size();
        self.last = Instant::now();
        if let Err(error) = self.lock.advance(&note) {
            tracing::warn!(%error, "the checkpoint file could not be written");
        }
        self.shared.set_checkpoint(&note);
    }

    /// The checkpoint that goes with the next transaction.
    pub(crate) fn pending(&self) -> Option<SignedHead<'_>> {
        let Pending { size, time, note } = self.pending.as_ref()?;
        Some(SignedHead { size: *size, time: *time, note })
    }

    /// The transaction is durable.
    pub(crate) fn stored(&mut self) {
        self.pending = None;
    }
}
