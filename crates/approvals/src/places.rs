//! How many requests are held at once: in all, and of one caller, so that one cannot take every place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatewayd_core::Identity;

/// The places there are.
#[derive(Clone)]
pub(crate) struct Places {
    taken: Arc<Mutex<Taken>>,
    in_all: usize,
    per_caller: usize,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_caller: HashMap<String, usize>,
}

/// A place, given back when dropped.
pub(crate) struct Place {
    places: Places,
    caller: String,
}

impl Places {
    pub(crate) fn new(in_all: usize, per_caller: usize) -> Self {
        Self { taken: Arc::default(), in_all, per_caller }
    }

    /// A place for this caller, if there is one.
    pub(crate) fn take(&self, caller: &Identity) -> Option<Place> {
        let key = caller.key();
        let mut taken = self.lock();
        let of_caller = taken.by_caller.get(&key).copied().unwrap_or(0);
        if taken.in_all >= self.in_all || of_caller >= self.per_caller {
            return None;
        }
        taken.in_all += 1;
        taken.by_caller.insert(key.clone(), of_caller + 1);
        Some(Place { places: self.clone(), caller: key })
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().in_all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.in_all = taken.in_all.saturating_sub(1);
        if let Some(of_caller) = taken.by_caller.get_mut(&self.caller) {
            *of_caller -= 1;
            if *of_caller == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
    }
}
