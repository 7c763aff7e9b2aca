//! One thread, one single-threaded runtime, its own upstream connections.
//!
//! A connection stays on its worker for life, and so does the upstream connection that answers it: no
//! task moves between cores, and no lock is taken to hand one over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatewayd_core::{Body, Peer};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tower::{Service as _, ServiceExt as _};

use super::listen::Accepted;

/// The assembled controls, ready to take a request.
pub(crate) type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The stack in force on one worker; a reload puts another one in for the next request.
pub(crate) type CurrentStack = Arc<ArcSwap<Stack>>;

/// How long a stream that was cut may take to say so.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Is told of a head that was no request, and why. It does not block.
pub(crate) type OnUnreadable = Arc<dyn Fn(Peer, &'static str) + Send + Sync>;

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
        let server = server(limits);
        let graceful = GracefulShutdown::new();
        while let Some(accepted) = incoming.recv().await {
            let stack = Arc::clone(stack);
            tokio::spawn(connection(accepted, stack, server.clone(), graceful.watcher(), limits, Arc::clone(unreadable)));
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

fn server(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let headers = u32::try_from(limits.headers).unwrap_or(u32::MAX);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // Twice the limit, so that what is a little over it gets an answer in its own dialect from the stack;
        // above, hyper answers a bare 431. It takes no less than 8 KiB.
        .max_buf_size(limits.headers.saturating_mul(2).max(8192))
        .half_close(false);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(headers)
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    server
}

async fn connection(
    accepted: Accepted,
    stack: CurrentStack,
    server: auto::Builder<TokioExecutor>,
    watcher: Watcher,
    limits: ConnectionLimits,
    unreadable: OnUnreadable,
) {
    let Accepted { stream, peer, tls, permit } = accepted;
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    let service = hyper::service::service_fn(move |request| respond(Arc::clone(&stack), peer, request));
    let result = match tls {
        Some(tls) => match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                watcher.watch(server.serve_connection(TokioIo::new(stream), service).into_owned()).await
            }
            // Port scanners and health checks do this all day.
            _ => return,
        },
        None => watcher.watch(server.serve_connection(TokioIo::new(stream), service).into_owned()).await,
    };
    if let Err(error) = result {
        if let Some(why) = why_unreadable(&*error) {
            unreadable(peer, why);
        }
        tracing::debug!(%error, peer = %peer.address, "the connection ended early");
    }
    drop(permit);
}

/// Why hyper could make no request of what came, if that is how the connection ended.
fn why_unreadable(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<hyper::Error>()?;
    if error.is_parse_too_large() {
        return Some("head too large");
    }
    error.is_parse().then_some("not HTTP")
}

async fn respond(
    stack: CurrentStack,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let mut service = Stack::clone(&stack.load());
    service.ready().await?.call(request).await
}
