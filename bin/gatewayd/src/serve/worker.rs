//! One thread, one single-threaded runtime, its own upstream connections.
//!
//! A connection stays on its worker for life, and so does the upstream connection that answers it: no
//! task moves between cores, and no lock is taken to hand one over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatewayd_core::Body;
use http::{Request, Response};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

use super::connection::{OnUnreadable, Serving};
use super::listen::Accepted;

/// The assembled controls, ready to take a request.
pub(crate) type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The stack in force on one worker; a reload puts another one in for the next request.
pub(crate) type CurrentStack = Arc<ArcSwap<Stack>>;

/// How long a stream that was cut may take to say so.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Bounds on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Largest request head, in bytes.
    pub headers: usize,
    /// Time for a TLS handshake, and for a request head to arrive.
    pub head_timeout: Duration,
    /// How long open requests may go on after the gateway was told to stop.
    pub drain: Duration,
}

/// Runs a worker until its channel closes, then lets its connections finish.
pub(crate) fn run(
    mut incoming: mpsc::UnboundedReceiver<Accepted>,
    stack: &CurrentStack,
    limits: ConnectionLimits,
    cut: &CancellationToken,
    unreadable: &OnUnreadable,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let serving = Serving::new(Arc::clone(stack), limits, Arc::clone(unreadable));
        let graceful = GracefulShutdown::new();
        while let Some(accepted) = incoming.recv().await {
            tokio::spawn(serving.clone().run(accepted, graceful.watcher()));
        }
        let mut finished = std::pin::pin!(graceful.shutdown());
        if tokio::time::timeout(limits.drain, &mut finished).await.is_err() {
            tracing::warn!(after = ?limits.drain, "requests are still open and the time to drain is over; cutting them");
            // What is cut says so in the stream and in the record; these last bytes get their way out.
            cut.cancel();
            let _the_rest_is_dropped = tokio::time::timeout(LAST_BYTES, &mut finished).await;
        }
    });
    Ok(())
}
