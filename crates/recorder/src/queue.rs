//! How work gets to a thread that writes: many senders, one worker, as few wake-ups as can be.
//!
//! Waking a thread that sleeps costs the sender more than the work itself, and most of what is sent is waited
//! for by nobody. So a worker that was busy lately only dozes: it looks again by itself after a moment, and is
//! woken before that only for what is urgent or when much has come together. A worker that had nothing to do
//! for a while sleeps until it is woken.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A worker that had nothing to do for this long sleeps.
const LINGER: Duration = Duration::from_millis(100);
/// So many items are worth waking for, urgent or not.
const MANY: usize = 64;

/// Something that is sent to a worker.
pub(crate) trait Work {
    /// True if somebody waits for it.
    fn is_urgent(&self) -> bool;
}

/// Makes a queue whose worker, when it dozes, looks by itself after `doze`.
pub(crate) fn queue<T: Work>(doze: Duration) -> (Sender<T>, Worker<T>) {
    let queue = Arc::new(Queue { state: Mutex::new(State::new()), changed: Condvar::new() });
    let now = Instant::now();
    (Sender(Arc::clone(&queue)), Worker { queue, doze, taken: VecDeque::new(), busy: now })
}

struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Something in it is urgent, or was asked for by [`Sender::nudge`].
    urgent: bool,
    rest: Rest,
    /// The worker is no more.
    gone: bool,
}

/// What the worker does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Works,
    Dozes,
    Sleeps,
}

impl<T> State<T> {
    fn new() -> Self {
        Self { items: VecDeque::new(), urgent: false, rest: Rest::Works, gone: false }
    }

    fn is_pressing(&self) -> bool {
        self.urgent || self.items.len() >= MANY
    }

    /// True if the worker has to be woken; it is then taken to be awake.
    fn wakes(&mut self) -> bool {
        let wakes = match self.rest {
            Rest::Works => false,
            Rest::Dozes => self.is_pressing(),
            Rest::Sleeps => true,
        };
        if wakes {
            self.rest = Rest::Works;
        }
        wakes
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that sends.
pub(crate) struct Sender<T>(Arc<Queue<T>>);

impl<T: Work> Sender<T> {
    /// Sends; gives the item back if the worker is gone.
    pub(crate) fn send(&self, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.gone {
            return Err(item);
        }
        state.urgent |= item.is_urgent();
        state.items.push_back(item);
        let wakes = state.wakes();
        drop(state);
        if wakes {
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Makes the worker look around, although nothing is sent.
    pub(crate) fn nudge(&self) {
        let mut state = self.0.lock();
        state.urgent = true;
        let wakes = state.wakes();
        drop(state);
        if wakes {
            self.0.changed.notify_one();
        }
    }
}

/// The end that works. Items come in the order they were sent.
pub(crate) struct Worker<T> {
    queue: Arc<Queue<T>>,
    doze: Duration,
    /// Taken over from the queue, all at once.
    taken: VecDeque<T>,
    /// When there was something to do last.
    busy: Instant,
}

impl<T> Worker<T> {
    /// Waits for work, a nudge, or until patience is over.
    pub(crate) fn wait(&mut self, patience: Duration) {
        if !self.taken.is_empty() {
            return;
        }
        let until = Instant::now() + patience;
        let mut state = self.queue.lock();
        loop {
            let now = Instant::now();
            let wanted = state.is_pressing() || now >= until;
            let lingers = now.duration_since(self.busy) < LINGER;
            if wanted || (!lingers && !state.items.is_empty()) {
                break;
            }
            state.rest = if lingers { Rest::Dozes } else { Rest::Sleeps };
            let left = until.duration_since(now);
            let moment = if lingers { left.min(self.doze) } else { left };
            let (woken, timeout) =
                self.queue.changed.wait_timeout(state, moment).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && !state.items.is_empty() {
                break;
            }
        }
        state.rest = Rest::Works;
        state.urgent = false;
        std::mem::swap(&mut state.items, &mut self.taken);
        drop(state);
        if !self.taken.is_empty() {
            self.busy = Instant::now();
        }
    }

    /// The next item, if one was sent by now.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.taken.is_empty() {
            let mut state = self.queue.lock();
            state.urgent = false;
            std::mem::swap(&mut state.items, &mut self.taken);
        }
        self.taken.pop_front()
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.gone = true;
        // Whoever waits for an answer to one of these learns that none will come.
        let left = std::mem::take(&mut state.items);
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOZE: Duration = Duration::from_millis(2);

    struct Item(u32, bool);

    impl Work for Item {
        fn is_urgent(&self) -> bool {
            self.1
        }
    }

    /// A worker that counts how often it wakes, until it gets item 0.
    fn count(mut worker: Worker<Item>) -> std::thread::JoinHandle<(Vec<u32>, usize)> {
        std::thread::spawn(move || {
            let (mut seen, mut rounds) = (Vec::new(), 0);
            loop {
                worker.wait(Duration::from_secs(10));
                rounds += 1;
                while let Some(Item(n, _)) = worker.next() {
                    if n == 0 {
                        return (seen, rounds);
                    }
                    seen.push(n);
                }
            }
        })
    }

    #[test]
    fn all_arrives_in_order_and_what_nobody_waits_for_comes_together() {
        let (sender, worker) = queue(DOZE);
        let worker = count(worker);
        let began = Instant::now();
        for n in 1..=1000 {
            assert!(sender.send(Item(n, false)).is_ok());
            if n % 10 == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        let took = began.elapsed();
        assert!(sender.send(Item(0, true)).is_ok());
        let (seen, rounds) = worker.join().unwrap();
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
        let most = took.as_micros() / DOZE.as_micros() + 1000 / MANY as u128 + 3;
        assert!(rounds as u128 <= most, "{rounds} rounds in {took:?}");
    }

    #[test]
    fn what_is_urgent_wakes_a_worker_that_sleeps_or_dozes() {
        let (sender, worker) = queue(DOZE);
        let worker = count(worker);
        assert!(sender.send(Item(1, false)).is_ok(), "it wakes a sleeper, too");
        std::thread::sleep(LINGER + Duration::from_millis(50));
        let began = Instant::now();
        assert!(sender.send(Item(2, true)).is_ok());
        assert!(sender.send(Item(0, false)).is_ok());
        assert_eq!(worker.join().unwrap().0, [1, 2]);
        assert!(began.elapsed() < Duration::from_secs(5), "not only when patience was over");
        assert!(sender.send(Item(3, true)).is_err(), "the worker is gone");
    }
}
