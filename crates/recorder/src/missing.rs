//! What has no entry of its own because it was turned away, until an entry says how much that is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts refusals and events that could not be recorded.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    count: AtomicU64,
    why: Mutex<String>,
}

impl Missing {
    /// One more; true if it is the first since all were told.
    pub(crate) fn add(&self, why: &str) -> bool {
        let first = self.count.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
        }
        first
    }

    /// How many no entry tells of yet.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Why the first of them was turned away.
    pub(crate) fn why(&self) -> String {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An entry that tells of so many is durable.
    pub(crate) fn told(&self, count: u64) {
        self.count.fetch_sub(count, Ordering::SeqCst);
    }
}
