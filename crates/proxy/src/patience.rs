//! How long an upstream may be silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long silence may last.
pub(crate) struct Patience {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        // So far off that nobody waits for it, and still a time that can be reckoned with.
        const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        Self { limit: limit.min(LONGEST), sleep: None, is_running: false }
    }

    /// A piece has come.
    pub(crate) fn rest(&mut self) {
        self.is_running = false;
    }

    /// Ready once the silence has lasted too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !std::mem::replace(&mut self.is_running, true) {
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx)
    }
}
