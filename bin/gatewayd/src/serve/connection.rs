//! One connection: which HTTP it speaks, and its requests into the stack.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{Body, Peer};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::{Service as _, ServiceExt as _};

use super::listen::Accepted;
use super::worker::{ConnectionLimits, CurrentStack, Stack};

/// Is told of a head that was no request, and why. It does not block.
pub(crate) type OnUnreadable = Arc<dyn Fn(Peer, &'static str) + Send + Sync>;

/// A connection that is being served.
type Spoken = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// How often a connection is looked at that has sent one byte and no second.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What every connection of a worker is served with.
#[derive(Clone)]
pub(super) struct Serving {
    stack: CurrentStack,
    limits: ConnectionLimits,
    unreadable: OnUnreadable,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Serving {
    pub(super) fn new(stack: CurrentStack, limits: ConnectionLimits, unreadable: OnUnreadable) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            // Twice the limit, so that what is a little over it gets an answer in its own dialect from the stack;
            // above, hyper answers a bare 431. It takes no less than 8 KiB.
            .max_buf_size(limits.headers.saturating_mul(2).max(8192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.headers).unwrap_or(u32::MAX))
            .max_concurrent_streams(256)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        Self { stack, limits, unreadable, http1, http2 }
    }

    /// Serves a connection to its end.
    pub(super) async fn run(self, accepted: Accepted, watcher: Watcher) {
        let Accepted { stream, peer, tls, permit } = accepted;
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let patience = self.limits.head_timeout;
        let ended = match tls {
            // Port scanners and health checks come and go without a word; that is no error.
            Some(tls) => match tokio::time::timeout(patience, Box::pin(tls.accept(stream))).await {
                Ok(Ok(stream)) => {
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.speak(is_http2, stream, peer, watcher).await
                }
                _ => return,
            },
            None => match tokio::time::timeout(patience, begins_http2(&stream)).await {
                Ok(Ok(is_http2)) => self.speak(is_http2, stream, peer, watcher).await,
                _ => return,
            },
        };
        if let Err(error) = ended {
            if let Some(why) = why_unreadable(&error) {
                (self.unreadable)(peer, why);
            }
            tracing::debug!(%error, peer = %peer.address, "the connection ended early");
        }
        drop(permit);
    }

    /// The connection from here on. It is put aside by itself: with TLS, without, and in each HTTP it is of another size, and
    /// in one task with all of them each connection would take the room of the largest.
    fn speak<I>(&self, is_http2: bool, stream: I, peer: Peer, watcher: Watcher) -> Spoken
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stack = Arc::clone(&self.stack);
        let service = hyper::service::service_fn(move |request| respond(Arc::clone(&stack), peer, request));
        let stream = TokioIo::new(stream);
        if is_http2 {
            Box::pin(watcher.watch(self.http2.serve_connection(stream, service)))
        } else {
            Box::pin(watcher.watch(self.http1.serve_connection(stream, service)))
        }
    }
}

/// Whether a plain connection opens with HTTP/2's preface (RFC 9113, section 3.4), by its first two bytes: no
/// method of HTTP/1.1 that is served here begins like it. Asking the socket costs no buffer, which a connection
/// would else keep for life.
async fn begins_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; 2];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Ok(false),
            1 if first.first() == Some(&b'P') => tokio::time::sleep(LOOK_AGAIN).await,
            1 => return Ok(false),
            _ => return Ok(&first == b"PR"),
        }
    }
}

/// Why hyper could make no request of what came, if that is how the connection ended.
fn why_unreadable(error: &hyper::Error) -> Option<&'static str> {
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
