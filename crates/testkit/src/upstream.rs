//! A fake model server on loopback, which does what it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError};
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::pki::Pki;
use crate::reply::{Reply, Watch};

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its protocol version.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body; empty where the reply streams it back.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// A running fake upstream, on a thread of its own; it stops when dropped.
#[derive(Debug)]
pub struct FakeUpstream {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    cancelled: usize,
    connections: usize,
    closed: usize,
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

#[derive(Clone)]
enum Manner {
    /// Real HTTP.
    Http { script: Script, remembers: bool },
    /// Reads a little, writes these bytes, closes.
    Raw(Bytes),
}

impl FakeUpstream {
    /// Gives every request the same reply.
    #[must_use]
    pub fn start(reply: Reply) -> Self {
        Self::start_with(move |_| reply.clone())
    }

    /// Gives each request the reply that the script says.
    pub fn start_with(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(Manner::Http { script: Arc::new(script), remembers: true }, None)
    }

    /// As [`start`](Self::start), but remembers no request: for long runs under load.
    #[must_use]
    pub fn forgetful(reply: Reply) -> Self {
        Self::run(Manner::Http { script: Arc::new(move |_| reply.clone()), remembers: false }, None)
    }

    /// Answers every connection with these bytes, whatever they are, and closes it.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::run(Manner::Raw(bytes.into()), None)
    }

    /// As [`start`](Self::start), over TLS with HTTP/2 on offer; may ask for a certificate of the same authority.
    #[must_use]
    pub fn tls(reply: Reply, pki: &Pki, wants_client: bool) -> Self {
        let manner = Manner::Http { script: Arc::new(move |_| reply.clone()), remembers: true };
        Self::run(manner, Some(TlsAcceptor::from(pki.server_config(wants_client))))
    }

    /// Its base URL, without a slash at the end. Over TLS it is named `localhost`.
    #[must_use]
    pub fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// How many replies were given up by the other side before their end.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.shared.lock().cancelled
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until that many replies were given up; false if it takes longer than a minute.
    /// It blocks: call it where no runtime thread is needed by the test itself.
    #[must_use]
    pub fn wait_cancelled(&self, count: usize) -> bool {
        self.wait(|state| state.cancelled >= count)
    }

    /// Waits until that many requests were seen; false if it takes longer than a minute.
    #[must_use]
    pub fn wait_seen(&self, count: usize) -> bool {
        self.wait(|state| state.seen.len() >= count)
    }

    /// Waits until a [`raw`](Self::raw) upstream has closed that many connections; false if it takes longer than a minute.
    #[must_use]
    pub fn wait_closed(&self, count: usize) -> bool {
        self.wait(|state| state.closed >= count)
    }

    fn wait(&self, is_reached: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut state = self.shared.lock();
        while !is_reached(&state) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn run(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a fresh socket can be set");
        let address = listener.local_addr().expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a test machine can start a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("the socket does not block");
                tokio::select! {
                    () = accept(listener, manner, tls, theirs) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked_already = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: impl FnOnce(&mut State)) {
        what(&mut self.lock());
        self.changed.notify_all();
    }

    pub(crate) fn note_cancelled(&self) {
        self.note(|state| state.cancelled += 1);
    }
}

async fn accept(listener: TcpListener, manner: Manner, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        shared.note(|state| state.connections += 1);
        let _best_effort = socket.set_nodelay(true);
        let (manner, tls, shared) = (manner.clone(), tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match (manner, tls) {
                (Manner::Raw(bytes), _) => {
                    answer_raw(socket, &bytes).await;
                    shared.note(|state| state.closed += 1);
                }
                (Manner::Http { script, remembers }, None) => serve(socket, script, remembers, shared).await,
                (Manner::Http { script, remembers }, Some(tls)) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, script, remembers, shared).await;
                    }
                }
            }
        });
    }
}

async fn answer_raw(mut socket: TcpStream, bytes: &[u8]) {
    let mut head = [0; 16 * 1024];
    let _ignored = socket.read(&mut head).await;
    let _ignored = socket.write_all(bytes).await;
    let _ignored = socket.shutdown().await;
}

async fn serve<I>(io: I, script: Script, remembers: bool, shared: Arc<Shared>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (script, shared) = (Arc::clone(&script), Arc::clone(&shared));
        async move { Ok::<_, Infallible>(answer(request, script, remembers, shared).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let _the_other_side_sees = server.serve_connection(TokioIo::new(io), service).await;
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    remembers: bool,
    shared: Arc<Shared>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut seen = Seen {
        method: parts.method,
        uri: parts.uri,
        version: parts.version,
        headers: parts.headers,
        body: Bytes::new(),
        trailers: None,
    };
    let mut watch = Watch::new(Arc::clone(&shared));
    // The script may look at the head only; it decides whether the body is read first.
    let reply = script(&seen);
    if reply.streams_back() {
        if remembers {
            shared.note(|state| state.seen.push(seen));
        }
        return reply.piped(Body::new(body.map_err(BoxError::from)), watch);
    }
    let Ok(collected) = body.collect().await else {
        // The request broke off: there is nobody to answer.
        watch.finish();
        return Response::new(Body::empty());
    };
    seen.trailers = collected.trailers().cloned();
    seen.body = collected.to_bytes();
    if remembers {
        shared.note(|state| state.seen.push(seen.clone()));
    }
    reply.answer(&seen, watch).await
}
