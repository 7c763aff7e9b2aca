//! Places for connections to the admin listener: always one for the next.
//!
//! Where all are taken, a connection makes room: the one for which the gateway has waited longest, or, where it waits for
//! none, the one that is being answered longest. So whoever asks whether the gateway lives is answered, however many
//! connections somebody holds without a word, or with half of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The places there are. A clone is the same handle.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Counts what happens: the order of time.
    now: u64,
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    /// Requests that have arrived whole and are being answered.
    answering: usize,
    /// Since when the gateway waits for it, or answers it.
    since: u64,
    leave: CancellationToken,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, taken: Mutex::default() }))
    }

    /// A place. Another connection may have to leave for it.
    pub(super) fn take(&self) -> Place {
        let mut taken = self.lock();
        if taken.connections.len() >= self.0.most {
            let longest = taken.connections.iter().min_by_key(|(_, c)| (c.answering > 0, c.since));
            if let Some(number) = longest.map(|(number, _)| *number)
                && let Some(left) = taken.connections.remove(&number)
            {
                left.leave.cancel();
            }
        }
        taken.now += 1;
        let (number, leave) = (taken.now, CancellationToken::new());
        taken.connections.insert(number, Connection { answering: 0, since: number, leave: leave.clone() });
        drop(taken);
        Place(Arc::new(Held { places: self.clone(), number, leave }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Connection)) {
        let mut taken = self.lock();
        taken.now += 1;
        let now = taken.now;
        if let Some(connection) = taken.connections.get_mut(&number) {
            change(connection);
            connection.since = now;
        }
    }
}

/// The place of a connection, given back with its last clone.
#[derive(Clone)]
pub(super) struct Place(Arc<Held>);

struct Held {
    places: Places,
    number: u64,
    leave: CancellationToken,
}

impl Place {
    /// Ready when the connection must leave.
    pub(super) async fn must_leave(&self) {
        self.0.leave.cancelled().await;
    }

    /// A request on this connection, whose body is still to come unless it `has_arrived`.
    pub(super) fn ask(&self, has_arrived: bool) -> Asked {
        let asked = Asked(Arc::new(Asking { place: self.clone(), arrived: std::sync::OnceLock::new() }));
        if has_arrived {
            asked.has_arrived();
        }
        asked
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

/// A request until its answer has left; kept by whatever works on it.
#[derive(Clone)]
pub(super) struct Asked(Arc<Asking>);

struct Asking {
    place: Place,
    arrived: std::sync::OnceLock<()>,
}

impl Asked {
    /// Its body is there.
    pub(super) fn has_arrived(&self) {
        if self.0.arrived.set(()).is_ok() {
            let Held { places, number, .. } = &*self.0.place.0;
            places.change(*number, |connection| connection.answering += 1);
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.arrived.get().is_some() {
            let Held { places, number, .. } = &*self.place.0;
            places.change(*number, |connection| {
                connection.answering = connection.answering.saturating_sub(1);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(place: &Place) -> bool {
        place.0.leave.is_cancelled()
    }

    #[test]
    fn who_keeps_the_gateway_waiting_longest_makes_room() {
        let places = Places::new(3);
        let (silent, slow, served) = (places.take(), places.take(), places.take());
        let _half_a_body = slow.ask(false);
        let answer = served.ask(true);
        let probe = places.take();
        assert!(left(&silent) && !left(&slow) && !left(&served));
        let second = places.take();
        assert!(left(&slow) && !left(&served) && !left(&probe));
        drop(second);
        let _fits = places.take();
        assert!(!left(&served) && !left(&probe), "a place was given back");
        drop(answer);
        let _third = places.take();
        assert!(
            left(&probe) && !left(&served),
            "what was answered has waited less long than what never asked"
        );
    }

    #[test]
    fn where_all_are_answered_the_longest_answer_ends() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        let (_one, _two) = (first.ask(true), second.ask(true));
        let _probe = places.take();
        assert!(left(&first) && !left(&second));
    }
}
