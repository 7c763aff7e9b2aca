//! Playing frames back when they are due.

use std::time::{Duration, Instant};

/// The system's timer is late by its slack and by the time a wake-up takes: it wakes this much early, and waits awake. Not
/// longer: on a busy machine a thread that computes all the time is let in later than one that sleeps.
const EARLY: Duration = Duration::from_micros(120);

/// Tells when each frame of a replay is due. Against the start, so that small errors do not add up.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    due: Duration,
}

impl Pace {
    /// A replay that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), due: Duration::ZERO }
    }

    /// Blocks until `delta` after the moment at which the frame before was due.
    pub fn wait(&mut self, delta: Duration) {
        self.due = self.due.saturating_add(delta);
        let left = self.due.saturating_sub(self.started.elapsed());
        if left > EARLY {
            std::thread::sleep(left - EARLY);
        }
        while self.started.elapsed() < self.due {
            std::hint::spin_loop();
        }
    }

    /// How late it is, against the frame waited for last.
    #[must_use]
    pub fn late(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_comes_early_and_errors_do_not_add_up() {
        let began = Instant::now();
        let mut pace = Pace::start();
        for n in 1..=20 {
            pace.wait(Duration::from_millis(5));
            assert!(began.elapsed() >= Duration::from_millis(5) * n);
        }
        std::thread::sleep(Duration::from_millis(30));
        pace.wait(Duration::from_millis(5));
        assert!(pace.late() >= Duration::from_millis(25), "a late frame is not waited for");
    }
}
