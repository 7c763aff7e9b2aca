//! A bounded number of bytes that may wait, with a place to wait for more room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts what waits. Streams that find no room are woken when there is some.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    used: AtomicUsize,
    // Touched only when there is no room.
    waiters: Mutex<Vec<Waker>>,
    waiting: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0), waiters: Mutex::new(Vec::new()), waiting: AtomicUsize::new(0) }
    }

    /// Takes room for `amount`, if there is some. What is larger than the whole passes when nothing waits.
    pub(crate) fn try_reserve(&self, amount: usize) -> bool {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                let next = used.saturating_add(amount);
                (next <= self.max || used == 0).then_some(next)
            })
            .is_ok()
    }

    /// Takes room without asking: for what must be written because something else was.
    pub(crate) fn force(&self, amount: usize) {
        self.used.fetch_add(amount, Ordering::SeqCst);
    }

    /// Takes room, or arranges to be woken when there may be some.
    pub(crate) fn poll_reserve(&self, cx: &mut Context<'_>, amount: usize) -> Poll<()> {
        if self.try_reserve(amount) {
            return Poll::Ready(());
        }
        {
            let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.push(cx.waker().clone());
            self.waiting.store(waiters.len(), Ordering::SeqCst);
        }
        // Room may have appeared between the first look and the entry in the list.
        if self.try_reserve(amount) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Gives room back.
    pub(crate) fn release(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = {
            let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *waiters)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// How much waits.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// True if nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_until_it_does() {
        let budget = Budget::new(10);
        assert!(budget.try_reserve(100), "one that is larger than all passes alone");
        assert!(!budget.try_reserve(1));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(budget.poll_reserve(&mut cx, 5).is_pending());
        budget.release(100);
        assert!(budget.poll_reserve(&mut cx, 5).is_ready());
        assert!(budget.try_reserve(5));
        assert!(budget.is_full());
    }
}
