//! Holding a request until people have decided, or until its time on the line is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::approvals::Approvals;
use crate::error::Error;
use crate::record::Record;
use crate::state::State;

/// Why a held request goes on.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is not pending any more.
    Decided(Box<Record>, State),
    /// Nobody decided in time.
    Parked(Box<Record>),
    /// The gateway stops.
    ShuttingDown,
}

/// Waits until the approval is decided, here or by another process, at most for its requirement's `hold`.
pub(crate) async fn until_decided(approvals: &Approvals, id: &Arc<str>) -> Result<Outcome, Error> {
    let mut changes = approvals.0.changes.subscribe();
    let mut stopping = approvals.0.stopping.subscribe();
    let start = Instant::now();
    loop {
        if *stopping.borrow() {
            return Ok(Outcome::ShuttingDown);
        }
        changes.mark_unchanged();
        let record = Box::new(approvals.get(id).await?);
        let state = record.progress.state_at(approvals.now());
        if state != State::Pending {
            return Ok(Outcome::Decided(record, state));
        }
        let left = record.progress.requirement.hold.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(Outcome::Parked(record));
        }
        // Another process may decide, and the clock may end it: neither wakes us.
        let nap = left.min(approvals.0.config.poll).max(Duration::from_millis(1));
        tokio::select! {
            _ = changes.changed() => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(Outcome::ShuttingDown),
            () = tokio::time::sleep(nap) => {}
        }
    }
}
